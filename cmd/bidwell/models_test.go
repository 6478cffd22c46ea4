package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/models"
	"bidwell/store/sql"
)

// byClick is a shop that pays 5.00 for a click.
var byClick = strings.Replace(shop, `{type: cpm, value: "10.00"}`, `{type: cpc, value: "5.00", max_cpm: "500.00"}`, 1)

// priorFile is the file of a model that predicts rate for everything: a click
// of byClick is then worth a CPM of 5000 times that.
func priorFile(t *testing.T, rate float64) (path string, content []byte) {
	t.Helper()
	m, err := models.Prior(models.MinBits, rate)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := m.Write(&file); err != nil {
		t.Fatal(err)
	}
	return write(t, fmt.Sprint(rate, ".model"), file.String()), file.Bytes()
}

// models are the statuses by version, the newest first.
func (p *program) models() string {
	p.t.Helper()
	var list struct{ Models []admin.Model }
	if err := json.Unmarshal([]byte(mustRun(p.t, "model", "list", "--json", p.api())), &list); err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for _, m := range list.Models {
		all = append(all, fmt.Sprintf("%d %s %t", m.Version, m.Status, m.Serving))
	}
	return strings.Join(all, ", ")
}

func (p *program) wantModels(want string) {
	p.t.Helper()
	if got := p.models(); got != want {
		p.t.Errorf("the models are %s, want %s", got, want)
	}
}

func (p *program) wantPrice(want float64) {
	p.t.Helper()
	if got := p.mustBid(request).Price; math.Abs(got-want) > 0.001*want {
		p.t.Errorf("price %v, want %v", got, want)
	}
}

func TestModelsInService(t *testing.T) {
	p := serve(t)
	p.apply(byClick)
	p.await(request, true)
	starter := p.mustBid(request).Price
	p.wantModels("1 live true")

	path, file := priorFile(t, 0.02)
	wantText(t, mustRun(t, "model", "add", path, p.api()), "version 2: shadow")
	wantText(t, mustRun(t, "model", "add", path, p.api()), "version 2: shadow")
	p.wantModels("2 shadow false, 1 live true")
	p.wantPrice(starter)

	// On trial with half of the users.
	wantText(t, mustRun(t, "model", "promote", "2", "--canary", "0.5", p.api()), "version 2: canary 50%")
	p.wantModels("2 canary true, 1 live true")
	prices := map[bool]int{}
	for i := range 60 {
		b := p.mustBid(from(fmt.Sprintf("6f9619ff-8b86-4011-b42d-%012x", 1+i)))
		prices[b.Price > 90]++
	}
	if prices[true] < 15 || prices[false] < 15 {
		t.Errorf("%d of 60 users get the canary, want about half", prices[true])
	}
	wantText(t, mustRun(t, "model", "promote", "2", p.api()), "version 2: live, pinned")
	p.wantModels("2 live true, 1 retired false")
	p.wantPrice(100)
	if _, text := p.get("http://" + p.admin + "/metrics"); !strings.Contains(text, "\nbidwell_model_version 2\n") {
		t.Error("the metrics do not say that version 2 is in service")
	}

	// What is no model changes nothing.
	for name, content := range map[string][]byte{"half": file[:len(file)/2], "text": []byte("weights: 1")} {
		_, err := command(t, "model", "add", write(t, name, string(content)), p.api())
		wantError(t, err, name+": add model: refused with 422: the model is refused")
	}
	p.wantModels("2 live true, 1 retired false")
	p.wantPrice(100)

	// Another process promotes, and this one follows.
	store, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(p.data, "models.db"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := models.NewRegistry(models.DefaultRegistry(), store, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, third := priorFile(t, 0.04)
	added, _, err := other.Save(t.Context(), models.Version{Origin: models.FromFile}, third)
	if err == nil {
		_, err = other.Promote(t.Context(), added.Number, nil)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the bidder has what was promoted elsewhere", func() bool { return p.mustBid(request).Price > 190 })
	p.wantModels("3 live true, 2 retired false, 1 retired false")

	// It outlives a restart; one step back, and one more.
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--data", p.data)
	p.await(request, true)
	p.wantPrice(200)
	wantText(t, mustRun(t, "model", "rollback", "--reason", "too dear", p.api()), "version 3: rolled-back")
	p.wantModels("3 rolled-back false, 2 live true, 1 retired false")
	p.wantPrice(100)
	wantText(t, mustRun(t, "model", "rollback", "2", p.api()), "version 2: rolled-back")
	p.wantModels("3 rolled-back false, 2 rolled-back false, 1 live true")
	p.wantPrice(starter)
	wantText(t, mustRun(t, "model", "show", "3", p.api()), "version 3: rolled-back since ", "reason: too dear", "origin: file", "version 2 was live", "sha256 ")
	wantText(t, mustRun(t, "model", "list", p.api()), "VERSION", "rolled-back", "starter")
	_, err = command(t, "model", "rollback", p.api())
	wantError(t, err, "refused with 409", "none left that was live before it")
	wantText(t, mustRun(t, "model", "promote", "online", p.api()), "version 1: live\nnothing that was learned while bidding can serve yet: version 1 does until something can\n")
}

// A file that is named at the start goes live once; what people decide later
// stays.
func TestModelFileAtStart(t *testing.T) {
	path, _ := priorFile(t, 0.02)
	p := serve(t, "--model", path)
	p.apply(byClick)
	p.await(request, true)
	p.wantPrice(100)
	p.wantModels("1 live true")
	second, _ := priorFile(t, 0.03)
	mustRun(t, "model", "add", second, p.api())
	mustRun(t, "model", "promote", "2", p.api())
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--model", path, "--data", p.data)
	p.await(request, true)
	p.wantPrice(150)
	p.wantModels("2 live true, 1 retired false")
}

func TestModelTrainAdds(t *testing.T) {
	p := serve(t)
	log, _ := impressionLog(t, 300)
	train := func(more ...string) (string, error) {
		args := []string{"model", "train", "--in", write(t, "log.jsonl", log), "--out", filepath.Join(t.TempDir(), "click.model"), "--bits", "18", "--add"}
		return command(t, append(args, more...)...)
	}
	out, err := train(p.api(), "--json")
	var trained struct{ Rows, Version int }
	if err := errors.Join(err, json.Unmarshal([]byte(out), &trained)); err != nil || trained.Rows != 300 || trained.Version != 2 {
		t.Errorf("trained %s, %v, want 300 rows and version 2", out, err)
	}
	p.wantModels("2 shadow false, 1 live true")
	out, err = train(p.api())
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, out, "300 impressions", "added as version 2, a shadow")
	var m admin.Model
	if err := json.Unmarshal([]byte(mustRun(t, "model", "show", "2", "--json", p.api())), &m); err != nil || m.Training.Rows != 300 || m.From == "" || m.Through == "" {
		t.Errorf("shown as %+v, %v", m, err)
	}
	wantText(t, mustRun(t, "model", "show", "2", p.api()), "learned from: ", "training")
	wantText(t, mustRun(t, "model", "retire", "2", p.api()), "version 2: retired")
	_, err = train("--admin=ftp://localhost")
	wantError(t, err, `--admin "ftp://localhost": want the address`)
	_, err = train("--admin=http://" + freeAddress(t))
	wantError(t, err, "connection refused", "is `bidwell serve`")
}

func TestModelCommandsRefuse(t *testing.T) {
	p := serve(t)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"show"}, []string{"model show: want one version"}},
		{[]string{"show", "seven"}, []string{`model show: "seven" is no version`}},
		{[]string{"show", "online"}, []string{`"online" is no version`}},
		{[]string{"show", "9"}, []string{"refused with 404", `there is no model "9"`}},
		{[]string{"promote", "0"}, []string{`"0" is no version`}},
		{[]string{"promote", "1", "2"}, []string{"want one version"}},
		{[]string{"promote", "1", "--canary", "0"}, []string{"--canary 0", "more than 0"}},
		{[]string{"promote", "1", "--canary", "1.5"}, []string{"--canary 1.5"}},
		{[]string{"promote", "1", "--canary", "0.5"}, []string{"refused with 409", "is live"}},
		{[]string{"retire", "1"}, []string{"refused with 409", "only a shadow or a canary"}},
		{[]string{"rollback", "x"}, []string{`"x" is no version`}},
		{[]string{"add", "/nonexistent.model"}, []string{"/nonexistent.model"}},
		{[]string{"list", "all"}, []string{"all"}},
	} {
		_, err := command(t, append(append([]string{"model"}, c.args...), p.api())...)
		wantError(t, err, c.want...)
		if err != nil && strings.Contains(err.Error(), "is `bidwell serve`") {
			t.Errorf("%v: %v, although it runs", c.args, err)
		}
	}
	p.wantModels("1 live true")
	_, err := command(t, "model", "list", "--admin=http://"+freeAddress(t))
	wantError(t, err, "is `bidwell serve`")
	empty := filepath.Join(t.TempDir(), "empty.model")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = command(t, "serve", "--model", empty, "--data", t.TempDir(), "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t))
	wantError(t, err, "read model "+empty, "not a model file")
}

// A version that promises clicks which do not come is taken out of service,
// by what the log says of its impressions.
func TestBadModelIsRolledBack(t *testing.T) {
	p := serve(t, "--public-url", "https://bid.example.com", "--learn.click-wait", "1s", "--learn.every", "50ms", "--learn.bits", "18")
	p.apply(byClick)
	p.awaitExplained(`"outcome":"bid"`)
	path, _ := priorFile(t, 0.5)
	mustRun(t, "model", "add", path, p.api())
	mustRun(t, "model", "promote", "2", p.api())
	for range 150 {
		if got := p.notify(p.reach(pixelInMarkup.FindString(p.mustBid(request).AdM), "")); got.status != http.StatusOK {
			t.Fatalf("view: %+v", got)
		}
	}
	eventually(t, patience, "rolled back", func() bool {
		// Time goes on by what happens.
		if got := p.notify(p.reach(p.mustBid(request).NURL, "1")); got.status != http.StatusNoContent {
			t.Fatalf("nurl: %+v", got)
		}
		return p.models() == "2 rolled-back false, 1 live true"
	})
	var m admin.Model
	if err := json.Unmarshal([]byte(mustRun(t, "model", "show", "2", "--json", p.api())), &m); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(m.Reason, "calibration 0.000 is not within 0.8 to 1.25: about 0 clicks came of ") || m.Observed == nil || m.Observed.Rows < 100 {
		t.Errorf("shown as %+v, observed %+v", m, m.Observed)
	}
}
