package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bidwell/admin"
	"bidwell/events"
	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/nats"
	"bidwell/store/pebble"
)

// heldOut is a shop half of whose users see no ad.
const heldOut = shop + `
experiments:
  ads:
    name: What ads add
    share: 1
    start: 2020-01-01T00:00:00Z
    scope: {campaigns: [spring]}
    arms:
      - {name: none, weight: 1, control: true, holdout: true}
      - {name: ads, weight: 1}
`

// convert uploads a list of conversions.
func (p *program) convert(list string, args ...string) (r admin.ConversionsResult, err error) {
	p.t.Helper()
	out, err := command(p.t, append([]string{"conversions", "import", write(p.t, "orders", list), "--json", p.api()}, args...)...)
	if err == nil {
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			p.t.Fatal(err)
		}
	}
	return r, err
}

func (p *program) mustConvert(list string, args ...string) admin.ConversionsResult {
	p.t.Helper()
	r, err := p.convert(list, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// Users of both arms come, those with ads see one, and then people buy: of the
// holdout as well, which no click can tell. Only the upload says what ads add.
func TestConversionsOfHoldout(t *testing.T) {
	data := t.TempDir()
	t.Setenv("BIDWELL_KEYS", write(t, "keys", strings.Repeat("5a", 64)+"\n")) // the same users in the same arms each time
	args := []string{"--data", data, "--public-url", "https://bid.example.com"}
	p := serve(t, args...)
	p.apply(heldOut)
	p.awaitExplained(`"outcome":"bid"`)

	before := time.Now().Add(-time.Hour)
	var shown, held []string
	for n := range 200 {
		status, body := p.post(from(device(n)))
		if status == 204 {
			held = append(held, device(n))
			continue
		}
		shown = append(shown, device(n))
		pixel := pixelInMarkup.FindString(readBid(t, body).AdM)
		if got := p.notify(p.reach(strings.ReplaceAll(pixel, "&amp;", "&"), "8.5")); got.status != 200 {
			t.Fatalf("pixel: %+v", got)
		}
	}
	results := func(what string, done func(r *admin.ExperimentResults) bool) (r *admin.ExperimentResults) {
		t.Helper()
		eventually(t, patience, what, func() bool { r = p.results("ads"); return len(r.Arms) == 2 && done(r) })
		return r
	}
	r := results("all users are assigned", func(r *admin.ExperimentResults) bool {
		return r.Arms[0].Users == int64(len(held)) && r.Arms[1].Users == int64(len(shown)) && r.Totals[1].Impressions == uint64(len(shown))
	})
	if len(held) < 80 || len(shown) < 80 || !strings.Contains(r.Withheld, "upload") || len(r.Increments)+len(r.Comparisons) > 0 {
		t.Fatalf("%d held out, %d shown: %+v, want no comparison before there is an upload", len(held), len(shown), r)
	}
	if out, err := command(t, "experiment", "results", "ads", "--metric", "ctr", p.api()); err == nil || !strings.Contains(err.Error(), "conversions and value") {
		t.Errorf("clicks of a holdout: %v, %s", err, out)
	}

	// Every second one who saw an ad buys, and every fourth of the others.
	var list strings.Builder
	list.WriteString("device_id,time,value,order\n")
	bought := func(users []string, part int) (n uint64) {
		for i := 0; i < len(users); i += part {
			fmt.Fprintf(&list, "%s,%s,10.50,order %s\n", strings.ToUpper(users[i]), time.Now().UTC().Format(time.RFC3339), users[i])
			n++
		}
		return n
	}
	treated, control := bought(shown, 2), bought(held, 4)
	fmt.Fprintf(&list, "%s,%d,99,before the experiment\n", shown[1], before.Unix())
	fmt.Fprintf(&list, "%s,%d,99,before the experiment as well\n", held[1], before.Unix())
	fmt.Fprintf(&list, "%s,%d,99,of a stranger\n", device(1000), time.Now().Unix())
	fmt.Fprintf(&list, "%s,%d,99,twice\n", shown[1], before.Unix())
	fmt.Fprintf(&list, "%s,%d,99,twice\n", shown[1], before.Unix())
	accepted := int64(treated + control + 4)
	got := p.mustConvert(list.String())
	if want := (admin.ConversionsResult{Read: accepted + 1, Accepted: accepted, Duplicate: 1, InExperiments: accepted - 1, Errors: []admin.LineError{}}); !same(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	counted := func(r *admin.ExperimentResults) bool {
		return r.Totals[0].Conversions == control && r.Totals[1].Conversions == treated
	}
	r = results("the conversions are counted", counted)
	i := r.Increments[0]
	wantTreated, wantControl := float64(treated)/float64(len(shown)), float64(control)/float64(len(held))
	if !near(i.Treated, wantTreated) || !near(i.Control, wantControl) || i.Lift == nil || *i.Lift < .5 || i.P > .01 {
		t.Errorf("%+v, want a lift from %v to %v", i, wantControl, wantTreated)
	}
	if value := fmt.Sprintf("%.2f", 10.5*float64(treated)); string(r.Totals[1].Value) != value {
		t.Errorf("they have bought for %s, want %s", r.Totals[1].Value, value)
	}
	wantText(t, mustRun(t, "experiment", "results", "ads", p.api()), "ads adds +0.2", "conversions are those that were uploaded")
	if discrepancies := mustRun(t, "report", "discrepancies", p.api()); strings.Contains(discrepancies, "#0") {
		t.Errorf("uploads are taken for notices:\n%s", discrepancies)
	}

	// The same list again says nothing new, packed or not, before and after a
	// restart.
	repeated := admin.ConversionsResult{Read: accepted + 1, Duplicate: accepted + 1, Errors: []admin.LineError{}}
	if got := p.mustConvert(zipped(t, list.String())); !same(got, repeated) {
		t.Errorf("%+v, want %+v", got, repeated)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p = serve(t, args...)
	if got := p.mustConvert(list.String()); !same(got, repeated) {
		t.Errorf("after a restart %+v, want %+v", got, repeated)
	}
	more := p.mustConvert(fmt.Sprintf(`{"device_id":%q,"time":%d,"value":1,"order":"another","advertiser":"acme"}`, held[1], time.Now().Unix()))
	if more.Accepted != 1 || more.InExperiments != 1 {
		t.Errorf("%+v", more)
	}
	control++
	results("one more is counted", counted)

	// Neither identifiers nor orders are left behind.
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	wantNowhere(t, data, shown[0], strings.ToUpper(shown[0]), "order "+shown[0], "before the experiment")
}

// wantNowhere looks for texts in all files of a folder.
func wantNowhere(t *testing.T, folder string, texts ...string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("%s holds %s", path, text)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func near(a, b float64) bool { return a > b-1e-9 && a < b+1e-9 }

func same(a, b admin.ConversionsResult) bool {
	return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

func TestConversionsImport(t *testing.T) {
	p := serve(t)
	stamp := time.Now().UTC().Format(time.RFC3339)
	list := "id,time,value,order\n" + ann + "," + stamp + ",5,1\nnobody,today,5,2\n" + bob + "," + stamp + ",x,3\n"
	_, err := p.convert(list)
	wantError(t, err, "422", "there is none yet")
	p.apply(shop)

	out := mustRun(t, "conversions", "import", write(t, "orders", list), p.api())
	wantText(t, out, "3 read, 1 accepted, 0 duplicate, 2 invalid, 0 opted out; 0 of users in experiments\n  line 3: not a cookie of ours", "  line 4: value: want an amount")
	if strings.Contains(out, "nobody") {
		t.Errorf("what is wrong is repeated:\n%s", out)
	}

	// What breaks off is there as far as it came, and the rest when it comes again.
	var long strings.Builder
	long.WriteString("cookie,time,order\n")
	for n := range 3 * conversionBatch {
		fmt.Fprintf(&long, "cookie-%d,%s,%d\n", n, stamp, n+10)
	}
	whole := zipped(t, long.String())
	_, err = p.convert(whole[:len(whole)*3/4])
	wantError(t, err, "422", "the list cannot be read: ", "conversions are accepted, so send the whole list again: none counts twice")
	got := p.mustConvert(whole)
	if got.Read != 3*conversionBatch || got.Accepted+got.Duplicate != got.Read || got.Accepted == 0 || got.Duplicate < conversionBatch {
		t.Errorf("%+v", got)
	}
	_, metrics := p.get("http://" + p.admin + "/metrics")
	wantText(t, metrics, `bidwell_uploaded_conversions_total{result="accepted"}`, `bidwell_uploaded_conversions_total{result="duplicate"}`)

	// Of two uploads at once each conversion is accepted by one.
	again := strings.ReplaceAll(long.String(), "cookie-", "biscuit-")
	again = strings.ReplaceAll(again, stamp+",", stamp+",b")
	var both sync.WaitGroup
	var results [2]admin.ConversionsResult
	for i := range results {
		both.Go(func() { results[i], _ = p.convert(again) })
	}
	both.Wait()
	if a, b := results[0], results[1]; a.Accepted+b.Accepted != 3*conversionBatch || a.Duplicate+b.Duplicate != 3*conversionBatch {
		t.Errorf("%+v and %+v", a, b)
	}
}

// Who does not want to be known is not known by what they buy either.
func TestConversionsImportLeavesOutWhoOptedOut(t *testing.T) {
	data := t.TempDir()
	t.Setenv("BIDWELL_KEYS", write(t, "keys", strings.Repeat("5a", 64)+"\n"))
	store, err := pebble.Open(filepath.Join(data, "profiles"), pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	salt := [32]byte(bytes.Repeat([]byte{0x5a}, 32))
	if err := errors.Join(store.SetOptOut(t.Context(), rtb.HashUser(&salt, rtb.IDDevice, []byte(ann)), true), store.Close()); err != nil {
		t.Fatal(err)
	}
	p := serve(t, "--data", data)
	p.apply(shop)
	stamp := time.Now().UTC().Format(time.RFC3339)
	if got := p.mustConvert("device_id,time\n" + ann + "," + stamp + "\n" + bob + "," + stamp + "\n"); got.OptedOut != 1 || got.Accepted != 1 || got.Read != 2 {
		t.Errorf("%+v", got)
	}
}

// After a start both logs are read side by side, and yet conversions find who
// was assigned before them.
func TestConversionsAreCountedAfterAssignments(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--data", data)
	p.apply(heldOut)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	cfg := nats.DefaultConfig()
	cfg.Dir = filepath.Join(data, "log")
	log, err := nats.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	const users, batch = 20_000, 2
	at := time.Now().Add(-time.Minute)
	var assigned, bought []rtb.Event
	for n := range users {
		id, err := models.ArmID(1, n%2)
		if err != nil {
			t.Fatal(err)
		}
		e := rtb.Event{Type: rtb.EventAssigned, User: rtb.HashUser(&[32]byte{}, rtb.IDDevice, []byte(device(n))), Time: at, Made: at, Arms: [rtb.MaxLayers]uint16{id}}
		assigned = append(assigned, e)
		e.Type, e.Arms, e.Advertiser, e.Bid = rtb.EventConversion, [rtb.MaxLayers]uint16{}, 1, rtb.BidID(e.User)
		if n < 2000 || n >= users-2000 {
			bought = append(bought, e)
		}
	}
	for part := range slices.Chunk(assigned, batch) {
		err = errors.Join(err, log.Samples().Append(t.Context(), part))
	}
	if err := errors.Join(err, log.Events().Append(t.Context(), bought), log.Close()); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--data", data)
	var r *admin.ExperimentResults
	eventually(t, patience, "all are assigned", func() bool {
		r = p.results("ads")
		return r.Arms[0].Users == users/2 && r.Arms[1].Users == users/2
	})
	eventually(t, patience, "the conversions of all are counted", func() bool {
		r = p.results("ads")
		return r.Totals[0].Conversions == 2000 && r.Totals[1].Conversions == 2000
	})
}

// lost is a log whose end nobody can read any more.
type lost struct{ events.Log }

func (lost) Last(context.Context) (uint64, error) { return 7, nil }

// noRows keeps nothing.
type noRows struct{}

func (noRows) LoadRows(context.Context, func(key, value []byte) error) error { return nil }
func (noRows) SaveRows(context.Context, iter.Seq2[[]byte, []byte]) error     { return nil }

// Where assignments are gone for good, conversions wait for them once and no
// longer.
func TestConversionsDoNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rollup, err := report.NewRollup(t.Context(), noRows{}, report.RollupConfig{}, models.ArmOf)
		if err != nil {
			t.Fatal(err)
		}
		trials := trials{rollup: rollup}
		waits := func(e rtb.Event) time.Duration {
			start := time.Now()
			if err := trials.awaitAssigned(t.Context(), []rtb.Event{{Type: rtb.EventView}, e}, lost{}); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		upload := rtb.Event{Type: rtb.EventConversion}
		if waited := waits(rtb.Event{Type: rtb.EventConversion, LineItem: 1, Campaign: 1}); waited != 0 {
			t.Errorf("a notice waits %v", waited)
		}
		if waited := waits(upload); waited < maxAssigning || waited > 2*maxAssigning {
			t.Errorf("an upload waits %v", waited)
		}
		if waited := waits(upload); waited != 0 {
			t.Errorf("the next waits %v", waited)
		}
	})
}

func TestConversionsImportRefuses(t *testing.T) {
	p := serve(t)
	p.apply(shop)
	for _, c := range []struct {
		list  string
		args  []string
		named []string
	}{
		{"id,order\n", nil, []string{"422", "line 1: no column has the time"}},
		{ann + "," + time.Now().Format(time.RFC3339), nil, []string{"line 1: want CSV whose first line names the columns"}},
		{"id,time\n" + ann + ",yesterday\n", nil, []string{"the list has no usable conversion", "body line 2: time: want RFC 3339"}},
		{"id,time\n", []string{"--kind", "shoe-size"}, []string{"422", `kind "shoe-size"`}},
		{"id,time\n", []string{"--advertiser", "nobody"}, []string{"422", `there is no advertiser "nobody"`}},
		{"PK\x03\x04", nil, []string{"422", "ZIP"}},
	} {
		_, err := p.convert(c.list, c.args...)
		wantError(t, err, c.named...)
		if err != nil && strings.Contains(err.Error(), ann) {
			t.Errorf("the error repeats an identifier: %v", err)
		}
	}
	_, err := command(t, "conversions", "import", "/nonexistent.csv", p.api())
	wantError(t, err, "/nonexistent.csv")
	_, err = command(t, "conversions", "import", p.api())
	wantError(t, err, "conversions import: want one file, such as orders.csv")
}
