package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
)

const unshaded = `{"name": "Unshaded", "share": 0.5, "start": "2026-12-01T00:00:00Z", "expected_effect": 0.2, "scope": {"campaigns": ["spring"]},
  "arms": [{"name": "shaded", "weight": 3, "control": true}, {"name": "unshaded", "weight": 1, "shading": "off", "value_factor": 0.9}]}`

// clock is a time that a test sets.
type clock struct{ now time.Time }

func startAt(t *testing.T, now string) (*site, *clock) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, now)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{at}
	return start(t, func(p *admin.Parts) { p.Now = func() time.Time { return c.now } }), c
}

func TestExperimentIsPutAndCompiled(t *testing.T) {
	s, _ := startAt(t, "2026-11-01T00:00:00Z")
	s.seed()
	first := s.want(201, "PUT", "/v1/experiments/shading", unshaded)
	if again := s.want(200, "PUT", "/v1/experiments/shading", unshaded); again.etag() != first.etag() {
		t.Errorf("the same PUT changed it: %s", again.Body)
	}
	if back := s.want(200, "PUT", "/v1/experiments/shading", first.Body); back.etag() != first.etag() {
		t.Errorf("what was read and put back changed it: %s", back.Body)
	}
	set, err := admin.Experiments(t.Context(), s.docs)
	if err != nil || len(set.Problems) != 0 || set.Version == 0 || len(set.Runs) != 1 || len(set.Watched) != 1 {
		t.Fatalf("%+v, %v", set, err)
	}
	if w := set.Watched[0]; w.Number != 1 || len(w.Campaigns) != 1 || w.Campaigns[0] != 1 || !slices.Equal(w.Owners, []rtb.AdvertiserID{1}) || w.Start.IsZero() {
		t.Errorf("watched %+v", w)
	}
	e, made := set.Runs[0], set.Made
	if e.Number != 1 || e.Key != "shading" || e.Salt != "shading" || e.First != 0 || e.Buckets != 5000 || !e.Start.Equal(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", e)
	}
	arms := map[uint16]int{}
	var id rtb.UserID
	for i := range 8000 {
		id[0], id[1] = byte(i), byte(i>>8)+1
		var of [rtb.MaxLayers]uint16
		made.Assign(id, e.Start, &of)
		arms[of[0]]++
	}
	control, err := models.ArmID(1, 0)
	if err != nil || arms[0] < 3700 || arms[0] > 4300 || arms[control] < 2700 || arms[control+1] < 800 || len(arms) != 3 {
		t.Errorf("of 8000 users %v are in the arms", arms)
	}
	o := made.Overrides(&[rtb.MaxLayers]uint16{control + 1}, &rtb.LineItem{Campaign: 1})
	if o.Shading != models.ShadingOff || o.Value != 0.9 {
		t.Errorf("the arm changes %+v", o)
	}
	if o := made.Overrides(&[rtb.MaxLayers]uint16{control + 1}, &rtb.LineItem{Campaign: 2}); !o.None() {
		t.Errorf("outside of its scope the arm changes %+v", o)
	}
	s.want(409, "DELETE", "/v1/campaigns/spring", "")
	s.want(204, "DELETE", "/v1/experiments/shading", "")
}

func TestExperimentCompilesEveryOverride(t *testing.T) {
	s, _ := startAt(t, "2026-11-01T00:00:00Z")
	s.seed()
	s.want(201, "PUT", "/v1/experiments/all", `{"name": "All", "share": 1, "layer": 3, "salt": "pepper", "arms": [
		{"name": "a", "weight": 1, "control": true, "holdout": true}, {"name": "b", "weight": 1, "model": "canary", "shading": "0.85"},
		{"name": "c", "weight": 2, "model": "17", "shading": "on", "creatives": ["banner-300x250"], "caps": [{"per": "campaign", "limit": 2, "window": "24h"}]}]}`)
	set, err := admin.Experiments(t.Context(), s.docs)
	if err != nil || len(set.Runs) != 1 {
		t.Fatal(set, err)
	}
	list := set.Runs
	want := `[{Weight:1 Override:{Value:0 Model:0 Canary:false Shading:0 Factor:0 Creatives:[] Caps:[] Holdout:true}}` +
		` {Weight:1 Override:{Value:0 Model:0 Canary:true Shading:3 Factor:0.85 Creatives:[] Caps:[] Holdout:false}}` +
		` {Weight:2 Override:{Value:0 Model:17 Canary:false Shading:2 Factor:0 Creatives:[1] Caps:[{Per:2 Limit:2 Window:24h0m0s}] Holdout:false}}]`
	if got := fmt.Sprintf("%+v", list[0].Arms); got != want || list[0].Salt != "pepper" || list[0].Layer != 3 {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := list[0].Start.Format(time.RFC3339); got != "2026-11-01T00:00:00Z" {
		t.Errorf("without a start it begins at %s, want the time it became active", got)
	}
}

func TestEveryWrongFieldOfAnExperimentIsNamed(t *testing.T) {
	s, _ := startAt(t, "2026-11-01T00:00:00Z")
	s.seed()
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"all": {`{"name": "", "layer": 4, "share": 0, "unit": "request", "metric": "joy", "expected_effect": -1, "start": "2026-12-02T00:00:00Z", "end": "2026-12-01T00:00:00Z", "status": "on",
			"scope": {"campaigns": ["nowhere", "UP"], "line_items": ["runners-berlin", "runners-berlin"]},
			"arms": [{"name": "a", "weight": 0, "model": "latest", "shading": "2", "value_factor": -1}, {"name": "a", "weight": 1, "creatives": ["UP"], "caps": [{"per": "day", "limit": 0, "window": "x"}]}]}`,
			[]string{"body.arms", "body.arms[0].model", "body.arms[0].shading", "body.arms[0].value_factor", "body.arms[0].weight", "body.arms[1].caps[0].limit", "body.arms[1].caps[0].per",
				"body.arms[1].caps[0].window", "body.arms[1].creatives[0]", "body.arms[1].name", "body.end", "body.expected_effect", "body.layer", "body.metric", "body.name",
				"body.scope.campaigns[0]", "body.scope.campaigns[1]", "body.scope.line_items[1]", "body.share", "body.status", "body.unit"}},
		"two controls":    {strings.Replace(unshaded, `"weight": 1`, `"weight": 1, "control": true`, 1), []string{"body.arms"}},
		"no control":      {strings.Replace(unshaded, `, "control": true`, ``, 1), []string{"body.arms"}},
		"fine share":      {strings.Replace(unshaded, `0.5`, `0.33333`, 1), []string{"body.share"}},
		"nothing":         {`{}`, []string{"body.arms", "body.name", "body.share"}},
		"unknown members": {strings.Replace(unshaded, `"off"`, `"off", "colour": "red"`, 1), []string{"body.arms[1].colour"}},
		"references":      {strings.Replace(unshaded, `"off"`, `"off", "creatives": ["none"]`, 1), []string{"body.arms[1].creatives[0]"}},
		"clicks beside a holdout": {strings.Replace(unshaded, `"shading": "off"`, `"holdout": true`, 1)[:1] + `"metric": "clicks", ` + strings.Replace(unshaded, `"shading": "off"`, `"holdout": true`, 1)[1:],
			[]string{"body.metric"}},
		"shading of zero": {strings.Replace(unshaded, `"off"`, `"0.0"`, 1), []string{"body.arms[1].shading"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.want(422, "PUT", "/v1/experiments/x", c.body)
			if got := a.problems(t); !slices.Equal(got, c.want) {
				t.Errorf("wrong fields\n got %q\nwant %q\n%s", got, c.want, a.Body)
			}
		})
	}
}

func TestARunningExperimentStaysAsItIs(t *testing.T) {
	s, clock := startAt(t, "2026-11-01T00:00:00Z")
	s.seed()
	s.want(201, "PUT", "/v1/experiments/shading", unshaded)
	// Before it begins all may change.
	s.want(200, "PUT", "/v1/experiments/shading", strings.Replace(unshaded, `"weight": 3`, `"weight": 1`, 1))
	s.want(200, "PUT", "/v1/experiments/shading", unshaded)

	clock.now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"weight": {strings.Replace(unshaded, `"weight": 3`, `"weight": 1`, 1), []string{"body.arms[0]"}},
		"arm":    {strings.Replace(unshaded, `"off"`, `"on"`, 1), []string{"body.arms[1]"}},
		"more arms": {strings.Replace(unshaded, `"arms": [`, `"arms": [{"name": "third", "weight": 1}, `, 1),
			[]string{"body.arms"}},
		"salt, layer, metric, effect and start": {strings.Replace(strings.Replace(unshaded, "0.2", "0.1", 1), `"name": "Unshaded"`, `"name": "Unshaded", "salt": "x", "layer": 2, "metric": "value"`, 1),
			[]string{"body.expected_effect", "body.layer", "body.metric", "body.salt"}},
		"start": {strings.Replace(unshaded, "2026-12-01", "2026-12-02", 1), []string{"body.start"}},
		"scope": {strings.Replace(unshaded, `{"campaigns": ["spring"]}`, `{}`, 1), []string{"body.scope"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.want(422, "PUT", "/v1/experiments/shading", c.body)
			if got := a.problems(t); !slices.Equal(got, c.want) || !strings.Contains(a.Body, "start another experiment") {
				t.Errorf("wrong fields\n got %q\nwant %q\n%s", got, c.want, a.Body)
			}
			apply := fmt.Sprintf(`{"documents": [{"kind": "experiment", "id": "shading", %s]}`, strings.TrimPrefix(c.body, "{"))
			s.want(422, "POST", "/v1/apply", apply)
		})
	}
	// A name, an end, more users and a pause may.
	s.want(200, "PUT", "/v1/experiments/shading", strings.Replace(unshaded, `"Unshaded", "share": 0.5`, `"Other", "share": 0.6, "end": "2027-01-01T00:00:00Z", "status": "paused"`, 1))
	s.want(422, "PUT", "/v1/experiments/shading", strings.Replace(unshaded, `"weight": 3`, `"weight": 1`, 1)) // paused it has still begun
	s.want(200, "PUT", "/v1/experiments/shading", strings.Replace(unshaded, `"start": "2026-12-01T00:00:00Z", `, ``, 1))
	a := s.want(200, "GET", "/v1/experiments/shading", "")
	if !strings.Contains(a.Body, `"start":"2026-12-01T00:00:00Z"`) || !strings.Contains(a.Body, `"began":"2026-12-01T00:00:00Z"`) {
		t.Errorf("a start that is left out goes: %s", a.Body)
	}
}

func experimentWith(share string, more string) string {
	return fmt.Sprintf(`{"name": "x", "share": %s, "arms": [{"name": "a", "weight": 1, "control": true}, {"name": "b", "weight": 1%s}]}`, share, more)
}

func firstBucket(t *testing.T, a answer) int {
	t.Helper()
	var x struct {
		First *int `json:"first_bucket"`
	}
	if err := json.Unmarshal([]byte(a.Body), &x); err != nil || x.First == nil {
		t.Fatalf("no first bucket: %v: %s", err, a.Body)
	}
	return *x.First
}

func TestExperimentsShareALayer(t *testing.T) {
	s, _ := startAt(t, "2026-12-01T00:00:00Z")
	if got := firstBucket(t, s.want(201, "PUT", "/v1/experiments/a", experimentWith("0.3", ""))); got != 0 {
		t.Errorf("a begins at %d", got)
	}
	if got := firstBucket(t, s.want(201, "PUT", "/v1/experiments/b", experimentWith("0.4", ""))); got != 3000 {
		t.Errorf("b begins at %d", got)
	}
	full := s.want(422, "PUT", "/v1/experiments/c", experimentWith("0.4", ""))
	if got := full.problems(t); !slices.Equal(got, []string{"body.share"}) || !strings.Contains(full.Body, "a (0.3), b (0.4): at most 0.3 is free") {
		t.Errorf("%q %s", got, full.Body)
	}
	if got := firstBucket(t, s.want(201, "PUT", "/v1/experiments/c", experimentWith("0.3", ""))); got != 7000 {
		t.Errorf("c begins at %d", got)
	}
	grown := s.want(422, "PUT", "/v1/experiments/b", experimentWith("0.5", ""))
	if !strings.Contains(grown.Body, "begin at 3000, and some of them are those of c") {
		t.Errorf("%s", grown.Body)
	}
	// What is archived gives its buckets back.
	s.want(200, "PUT", "/v1/experiments/a", strings.Replace(experimentWith("0.3", ""), `"name": "x"`, `"name": "x", "status": "archived"`, 1))
	if got := firstBucket(t, s.want(201, "PUT", "/v1/experiments/d", experimentWith("0.2", ""))); got != 0 {
		t.Errorf("d begins at %d", got)
	}
	s.want(422, "PUT", "/v1/experiments/a", experimentWith("0.3", "")) // back again it would find d there
	// In one apply each finds the others.
	s.want(200, "POST", "/v1/apply", `{"documents": [{"kind": "experiments", "id": "e", "layer": 1, `+experimentWith("0.5", "")[1:]+`, {"kind": "experiments", "id": "f", "layer": 1, `+experimentWith("0.5", "")[1:]+`]}`)
	if got := firstBucket(t, s.want(200, "GET", "/v1/experiments/f", "")); got != 5000 {
		t.Errorf("f begins at %d", got)
	}
	// The one that was archived assigns nobody, and what it did is still counted.
	if set, err := admin.Experiments(t.Context(), s.docs); err != nil || len(set.Problems) != 0 || len(set.Runs) != 5 || len(set.Watched) != 6 ||
		!slices.ContainsFunc(set.Watched, func(w report.Watched) bool { return w.Archived }) {
		t.Errorf("%+v, %v", set, err)
	}
}

func TestLayersDoNotChangeTheSame(t *testing.T) {
	s, _ := startAt(t, "2026-12-01T00:00:00Z")
	s.seed()
	s.want(201, "PUT", "/v1/campaigns/autumn", spring)
	in := func(scope, layer, more string) string {
		return fmt.Sprintf(`{"scope": %s, "layer": %s, %s`, scope, layer, experimentWith("1", more)[1:])
	}
	s.want(201, "PUT", "/v1/experiments/a", in(`{"line_items": ["runners-berlin"]}`, "0", `, "shading": "off", "value_factor": 2`))
	for scope, status := range map[string]int{`{}`: 422, `{"campaigns": ["spring"]}`: 422, `{"advertisers": ["acme"]}`: 422, `{"line_items": ["runners-berlin"]}`: 422, `{"campaigns": ["autumn"]}`: 201} {
		if a := s.want(status, "PUT", "/v1/experiments/b", in(scope, "1", `, "shading": "on"`)); status == 422 && !strings.Contains(a.Body, "a in layer 0 changes shading as well") {
			t.Errorf("%s: %s", scope, a.Body)
		}
		s.do("DELETE", "/v1/experiments/b", "")
	}
	s.want(201, "PUT", "/v1/experiments/c", in(`{}`, "1", `, "value_factor": 3, "model": "canary"`))
}

func TestUnusableExperimentsAreLeftOut(t *testing.T) {
	s, _ := startAt(t, "2026-12-01T00:00:00Z")
	put := func(id, body string) {
		t.Helper()
		if _, _, err := s.docs.Put(t.Context(), "experiments", id, []byte(body), 0); err != nil {
			t.Fatal(err)
		}
	}
	arms := `"arms": [{"name": "a", "weight": 1, "control": true}, {"name": "b", "weight": 1}]`
	put("a-good", `{"name": "x", "status": "active", "share": 0.5, "first_bucket": 0, `+arms+`}`)
	put("b-overlaps", `{"name": "x", "status": "active", "share": 0.5, "first_bucket": 4000, `+arms+`}`)
	put("c-scope", `{"name": "x", "status": "active", "share": 0.1, "first_bucket": 9000, "scope": {"campaigns": ["gone"]}, `+arms+`}`)
	put("d-nowhere", `{"name": "x", "status": "active", "share": 0.1, `+arms+`}`)
	put("e-broken", `{"name": 5}`)
	put("f-share", `{"name": "x", "status": "active", "share": 2, "first_bucket": 9000, `+arms+`}`)
	set, err := admin.Experiments(t.Context(), s.docs)
	if err != nil || len(set.Runs) != 1 || set.Runs[0].Key != "a-good" || len(set.Problems) != 5 {
		t.Errorf("%+v, %v", set, err)
	}
	a := s.want(200, "GET", "/v1/problems", "")
	for _, want := range []string{"b-overlaps", "overlap those of a-good", "campaign gone: not found", "it has no buckets", "e-broken", "experiment.share"} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("the problems lack %q: %s", want, a.Body)
		}
	}
}

func TestExperimentNumbersEnd(t *testing.T) {
	s, _ := startAt(t, "2026-12-01T00:00:00Z")
	err := s.docs.Update(t.Context(), func(ctx context.Context) error {
		for range models.MaxExperiment {
			if _, _, err := s.docs.Put(ctx, "experiments", "old", []byte(`{}`), 0); err != nil {
				return err
			}
			if err := s.docs.Delete(ctx, "experiments", "old", 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := s.want(409, "PUT", "/v1/experiments/new", experimentWith("1", ""))
	if !strings.Contains(a.Body, "experiment number 8191 is out of range") {
		t.Errorf("%s", a.Body)
	}
}

func TestExperimentResults(t *testing.T) {
	var asked report.Ask
	uploaded := false
	c := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	s := start(t, func(p *admin.Parts) {
		p.Now = func() time.Time { return c.now }
		p.ExperimentResult = func(a report.Ask) (*report.Result, error) {
			asked = a
			users := [2]float64{5000, 5100}
			if a.Metric == report.Value {
				users[1] = 9000
			}
			arms := []report.ArmSample{{Name: "holdout", Weight: 1, Sample: report.Proportion(int(users[0]), 100)}, {Name: "ads", Weight: 1, Sample: report.Proportion(int(users[1]), 160)}}
			reading, err := report.Read(arms, a.Settings)
			if err != nil {
				return nil, err
			}
			result := &report.Result{Reading: reading, Part: 0.5, Looks: 4, Uploaded: uploaded, Totals: []report.Totals{{Users: 5000}, {Users: 5100, Clicks: 9, Value: 2_500_000_000}}}
			if !reading.Ratio.Withholds() {
				result.Increments = []report.Incrementality{{Treated: 0.2, Control: 0, Lift: math.NaN(), LiftInterval: report.Interval{Low: math.Inf(-1), High: math.Inf(1)}}}
			}
			return result, nil
		}
	})
	s.want(404, "GET", "/v1/experiments/lift/results", "").problems(t)
	s.want(201, "PUT", "/v1/experiments/lift", `{"name": "Lift", "share": 1, "start": "2026-11-02T00:00:00Z", "expected_effect": 0.3,
		"arms": [{"name": "ads", "weight": 2}, {"name": "holdout", "weight": 1, "control": true, "holdout": true}]}`)
	client := admin.NewClient(s.url)
	defer client.Close()
	// Who sees no ad clicks on none: without an upload there is nothing to compare.
	r, err := client.ExperimentResults(t.Context(), "lift", "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Withheld, "upload") || len(r.Comparisons) != 0 || len(r.Increments) != 0 || r.Arms[0].Rate != nil || len(r.Totals) != 2 {
		t.Errorf("before an upload: %+v", r)
	}
	s.want(422, "GET", "/v1/experiments/lift/results?metric=spend", "").problems(t)
	uploaded = true
	if r, err = client.ExperimentResults(t.Context(), "lift", ""); err != nil {
		t.Fatal(err)
	}
	want := report.Ask{Experiment: 1, Control: 1, Metric: report.Conversions, Settings: report.Settings{Effect: 0.3},
		Arms: []report.Arm{{Name: "ads", Weight: 2}, {Name: "holdout", Weight: 1, Holdout: true}}}
	if !reflect.DeepEqual(asked, want) {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	if r.Experiment != "lift" || r.Metric != "conversions" || !r.Primary || r.Began != "" || r.Looks != 4 || r.UsersPart != 0.5 || len(r.Comparisons) != 1 ||
		r.Totals[1].Value != "2.50" || r.Increments[0].Treated != 0.2 || r.Increments[0].Lift != nil || *r.Arms[0].Rate != 0.02 {
		t.Errorf("%+v", r)
	}
	c.now = c.now.Add(48 * time.Hour)
	if r, err = client.ExperimentResults(t.Context(), "lift", "value"); err != nil || r.Primary || r.Began != "2026-11-02T00:00:00Z" {
		t.Errorf("%+v, %v", r, err)
	}
	// Nothing of the arms but how many users they have.
	if r.Withheld == "" || len(r.Comparisons) != 0 || len(r.Totals) != 0 || len(r.Increments) != 0 || r.Arms[1].Rate != nil || r.Arms[1].Users != 9000 {
		t.Errorf("withheld %+v", r)
	}
	s.want(422, "GET", "/v1/experiments/lift/results?metric=joy", "").problems(t)
	none := start(t, nil)
	none.want(501, "GET", "/v1/experiments/lift/results", "")
}
