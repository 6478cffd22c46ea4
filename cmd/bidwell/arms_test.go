package main

import (
	"context"
	database "database/sql"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"bidwell/admin"
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/sql"
)

const twoModels = `
experiments:
  fixed:
    name: As it was
    share: 1
    arms:
      - {name: as it is, weight: 1, control: true}
      - name: as it was
        weight: 1
        model: "2"
`

// device is the id of one of many devices.
func device(i int) string { return fmt.Sprintf("6f9619ff-8b86-4011-b42d-%012x", 1+i) }

// priced is how many of sixty users get each price, and one who gets the first.
func (p *program) priced(first, second float64) (counts [2]int, user string) {
	p.t.Helper()
	for i := range 60 {
		price := p.mustBid(from(device(i))).Price
		switch {
		case math.Abs(price-first) < 0.001*first:
			counts[0]++
			user = device(i)
		case math.Abs(price-second) < 0.001*second:
			counts[1]++
		default:
			p.t.Fatalf("user %d: price %v, want %v or %v", i, price, first, second)
		}
	}
	return counts, user
}

// awaitServing waits until the process predicts with version 2, or no more.
func (p *program) awaitServing(serves bool) (m admin.Model) {
	p.t.Helper()
	eventually(p.t, patience, fmt.Sprintf("version 2 serves: %t", serves), func() bool {
		if err := json.Unmarshal([]byte(mustRun(p.t, "model", "show", "2", "--json", p.api())), &m); err != nil {
			p.t.Fatal(err)
		}
		return m.Serving == serves
	})
	return m
}

// The users of an arm are predicted by the version that it names, although that
// is retired, and the log, its score and explanations say so.
func TestArmOfARetiredModel(t *testing.T) {
	p := serve(t, "--public-url", "https://bid.example.com", "--learn.click-wait", "1s", "--learn.every", "50ms", "--learn.bits", "18")
	p.apply(byClick)
	p.awaitExplained(`"outcome":"bid"`)
	_, err := command(t, "apply", "-f", write(t, "two.yaml", twoModels), p.api())
	wantError(t, err, "two.yaml:10: experiment fixed: arms[1].model: there is no version 2 of the model")
	for _, rate := range []float64{0.02, 0.04} {
		path, _ := priorFile(t, rate)
		mustRun(t, "model", "add", path, p.api())
	}
	mustRun(t, "model", "promote", "3", p.api())
	mustRun(t, "model", "retire", "2", p.api())
	p.wantModels("3 live true, 2 retired false, 1 retired false")
	if counts, _ := p.priced(100, 200); counts != [2]int{0, 60} {
		t.Errorf("before the experiment %v of the users get the prices", counts)
	}
	p.apply(twoModels)
	p.awaitServing(true)
	both := func() (user string) {
		t.Helper()
		eventually(t, patience, "the experiment runs", func() bool {
			var counts [2]int
			counts, user = p.priced(100, 200)
			return counts[0] >= 15 && counts[1] >= 15
		})
		return user
	}
	user := both()
	p.wantPrice(200) // who is not known is in no arm
	wantText(t, mustRun(t, "model", "list", p.api()), "retired, in experiment fixed")
	wantText(t, mustRun(t, "model", "show", "2", p.api()), "version 2: retired, in experiment fixed since ")

	var e rtb.Explanation
	file := write(t, "request.json", from(user))
	if err := json.Unmarshal([]byte(mustRun(t, "explain", file, "--json", p.api())), &e); err != nil {
		t.Fatal(err)
	}
	if l := e.Imps[0].LineItems[0]; l.Model != 2 || math.Abs(l.CTR-0.02) > 1e-4 || len(e.Experiments) != 1 {
		t.Errorf("explained as %+v, in %v, want a click rate of 0.02 by version 2", l, e.Experiments)
	}
	seen := p.mustBid(from(user))
	if got := p.notify(p.reach(pixelInMarkup.FindString(seen.AdM), "")); got.status != 200 {
		t.Fatalf("view: %+v", got)
	}
	eventually(t, patience, "the impression is in the score of version 2", func() bool {
		// Time goes on by what happens.
		if got := p.notify(p.reach(p.mustBid(request).NURL, "1")); got.status != 204 {
			t.Fatalf("nurl: %+v", got)
		}
		m := p.awaitServing(true)
		return m.Observed != nil && m.Observed.Rows == 1
	})

	// It outlives a restart, but not its file.
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--data", p.data)
	p.await(request, true)
	p.awaitServing(true)
	both()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	store, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(p.data, "models.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = store.ChangeModels(t.Context(), func(all models.Versions) (models.Change, error) {
		all[1].Kept = false
		return models.Change{Put: all[1:2]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--data", p.data)
	p.await(request, true)
	p.awaitServing(false)
	if counts, _ := p.priced(100, 200); counts != [2]int{0, 60} {
		t.Errorf("without its file %v of the users get the prices", counts)
	}
	if _, problems := p.get("http://" + p.admin + "/v1/problems"); !strings.Contains(problems, `"id":"fixed","reason":"arms[1].model version 2: its body is not kept any more"`) {
		t.Errorf("the problems are %s", problems)
	}
}

// What serves for arms follows the experiments.
func TestArmsComeAndGo(t *testing.T) {
	p := serve(t)
	p.apply(byClick)
	p.await(request, true)
	for _, rate := range []float64{0.02, 0.04} {
		path, _ := priorFile(t, rate)
		mustRun(t, "model", "add", path, p.api())
	}
	mustRun(t, "model", "promote", "3", p.api())
	with := func(status string) {
		p.apply(strings.Replace(twoModels, "share: 1", "share: 1\n    status: "+status, 1))
	}
	with("paused")
	p.awaitServing(false)
	with("active")
	if m := p.awaitServing(true); m.Status != "shadow" || len(m.Experiments) != 1 {
		t.Errorf("shown as %+v", m)
	}
	with("paused")
	if m := p.awaitServing(false); len(m.Experiments) != 1 {
		t.Errorf("paused, it is shown as %+v", m)
	}
	with("active")
	p.awaitServing(true)
	with("archived")
	if m := p.awaitServing(false); len(m.Experiments) != 0 {
		t.Errorf("archived, it is shown as %+v", m)
	}
	p.wantPrice(200)
}

// What could not be loaded when the experiments changed is loaded when it can.
func TestArmsAreLoadedLater(t *testing.T) {
	p := serve(t)
	p.apply(byClick)
	p.await(request, true)
	path, _ := priorFile(t, 0.02)
	mustRun(t, "model", "add", path, p.api())
	p.apply(strings.Replace(twoModels, "share: 1", "share: 1\n    status: paused", 1))

	file, err := database.Open("sqlite", filepath.Join(p.data, "models.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rename := func(table, to string) {
		t.Helper()
		if _, err := file.ExecContext(t.Context(), "ALTER TABLE "+table+" RENAME TO "+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("models", "away")
	documents, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(p.data, "documents.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer documents.Close()
	err = documents.Update(t.Context(), func(ctx context.Context) error {
		for _, change := range [][4]string{{"experiments", "fixed", `"paused"`, `"active"`}, {"line-items", "everyone", `"active"`, `"paused"`}} {
			body, _, _, err := documents.Get(ctx, change[0], change[1])
			if err != nil {
				return err
			}
			changed := strings.Replace(string(body), change[2], change[3], 1)
			if _, _, err := documents.Put(ctx, change[0], change[1], []byte(changed), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.await(request, false) // it has read that
	rename("away", "models")
	p.awaitServing(true)
}
