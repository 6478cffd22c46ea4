package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/nats"
)

// cookieCats writes a table with the published counts of the experiment.
func cookieCats(t *testing.T) string {
	t.Helper()
	var text bytes.Buffer
	text.WriteString("userid,version,sum_gamerounds,retention_1,retention_7\n")
	boolean := map[bool]string{true: "True", false: "False"}
	user := 0
	for _, arm := range []struct {
		name               string
		users, day1, week1 int
	}{{"gate_30", 44_700, 20_034, 8_502}, {"gate_40", 45_489, 20_119, 8_279}} {
		for i := range arm.users {
			user++
			fmt.Fprintf(&text, "%d,%s,%d,%s,%s\n", user, arm.name, i%97, boolean[i < arm.day1], boolean[i < arm.week1])
		}
	}
	name := filepath.Join(t.TempDir(), "cats.csv")
	if err := os.WriteFile(name, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func readExperiment(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), append([]string{"experiment", "read"}, args...), &out, &errs)
	return out.String(), err
}

func TestExperimentReadsCookieCats(t *testing.T) {
	file := cookieCats(t)
	for metric, want := range map[string]string{
		"retention_7": "-0.0082 [-0.0133,-0.0031] p=0.00155, ratio p=0.00861 warns true",
		"retention_1": "-0.0059 [-0.0124,0.0006] p=0.0744, ratio p=0.00861 warns true",
	} {
		out, err := readExperiment(t, "--in", file, "--arm", "version", "--metric", metric, "--json")
		if err != nil {
			t.Fatal(err)
		}
		var r report.Figures
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Comparisons) != 1 || r.Arms[0].Users != 44_700 || r.Arms[1].Users != 45_489 {
			t.Fatalf("%s", out)
		}
		c := r.Comparisons[0]
		got := fmt.Sprintf("%.4f [%.4f,%.4f] p=%.3g, ratio p=%.3g warns %v", c.Difference, *c.FixedHorizon.Low, *c.FixedHorizon.High, c.FixedHorizon.P, r.Ratio.P, r.Ratio.Warns)
		if got != want {
			t.Errorf("%s: %s, want %s", metric, got, want)
		}
	}

	out, err := readExperiment(t, "--in", file, "--arm", "version", "--metric", "retention_7", "--covariate", "sum_gamerounds", "--control", "gate_40")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gate_40 (control)  45489", "WARNING", "gate_30 against gate_40: +0.008201, +4.51%", "fixed horizon         p = 0.00155", "sum_gamerounds saved 0.00% of the variance"} {
		if !strings.Contains(out, want) {
			t.Errorf("the text lacks %q:\n%s", want, out)
		}
	}
}

func TestExperimentReadWithholds(t *testing.T) {
	file := cookieCats(t)
	out, err := readExperiment(t, "--in", file, "--arm", "version", "--metric", "retention_7", "--ratio", "48:52")
	if err != nil || !strings.Contains(out, "RESULTS ARE WITHHELD") || strings.Contains(out, "against") || strings.Contains(out, "0.1902") {
		t.Errorf("%v:\n%s", err, out)
	}
	out, err = readExperiment(t, "--in", file, "--arm", "version", "--metric", "retention_7", "--ratio", "gate_40=52,gate_30=48", "--json")
	var r report.Figures
	if err != nil || json.Unmarshal([]byte(out), &r) != nil || r.Withheld == "" || len(r.Comparisons) != 0 || r.Arms[0].Rate != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestExperimentReadRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "t.csv")
	if err := os.WriteFile(file, []byte("arm,y\na,1\na,x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := filepath.Join(t.TempDir(), "one.csv")
	if err := os.WriteFile(one, []byte("arm,y\na,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		`line 3: column y: "x"`:              {"--in", file, "--arm", "arm", "--metric", "y"},
		`there is no column "z"`:             {"--in", file, "--arm", "arm", "--metric", "z"},
		"column arm: an experiment has at":   {"--in", one, "--arm", "arm", "--metric", "y"},
		`there is no arm "b"`:                {"--in", one, "--arm", "arm", "--metric", "y", "--control", "b"},
		"effect: must be":                    {"--in", one, "--arm", "arm", "--metric", "y", "--effect", "-1"},
		"no such file":                       {"--in", one + "x", "--arm", "arm", "--metric", "y"},
		`required flag(s) "metric" not set`:  {"--in", one, "--arm", "arm"},
		`ratio: "1:2" has 2 parts for 1 arm`: {"--in", one, "--arm", "arm", "--metric", "y", "--ratio", "1:2"},
	} {
		if _, err := readExperiment(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want one that says %q", args, err, want)
		}
	}
}

const oneExperiment = `
advertisers:
  acme: {name: Acme, domains: [acme.example]}
campaigns:
  spring: {advertiser: acme, name: Spring}
experiments:
  factor:
    name: Half as much again
    share: 1
    start: 2020-01-01T00:00:00Z
    expected_effect: 0.5
    scope: {campaigns: [spring]}
    arms:
      - {name: as it is, weight: 1, control: true}
      - {name: more, weight: 1, value_factor: 1.5}
`

// appendNotices puts events into the log of a program that does not run.
func appendNotices(t *testing.T, data string, batches ...[]rtb.Event) {
	t.Helper()
	cfg := nats.DefaultConfig()
	cfg.Dir = filepath.Join(data, "log")
	log, err := nats.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, batch := range batches {
		if err := log.Events().Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
}

// views are of so many users in one arm of the first experiment, each of whom
// sees an ad once; the first of them click.
func views(t *testing.T, arm, users, clicks int) (batch []rtb.Event) {
	t.Helper()
	id, err := models.ArmID(1, arm)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Minute)
	for i := range users {
		e := rtb.Event{Type: rtb.EventView, LineItem: 1, Campaign: 1, Advertiser: 1, User: rtb.HashUser(&[32]byte{}, rtb.IDDevice, fmt.Appendf(nil, "%d of %d", i, arm)),
			Time: at, Made: at, Arms: [rtb.MaxLayers]uint16{id}}
		binary.LittleEndian.PutUint64(e.Bid[:], uint64(i+1)*0x9e3779b97f4a7c15)
		e.Bid[15] = byte(arm)
		batch = append(batch, e)
		if i < clicks {
			e.Type = rtb.EventClick
			batch = append(batch, e)
		}
	}
	return batch
}

func (p *program) results(args ...string) *admin.ExperimentResults {
	p.t.Helper()
	var r admin.ExperimentResults
	out := mustRun(p.t, append([]string{"experiment", "results", "--json", p.api()}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		p.t.Fatal(err)
	}
	return &r
}

// awaitUsers waits until the report has counted so many users of both arms.
func (p *program) awaitUsers(control, other int64) (r *admin.ExperimentResults) {
	p.t.Helper()
	eventually(p.t, patience, fmt.Sprintf("%d and %d users are counted", control, other), func() bool {
		r = p.results("factor")
		return r.Arms[0].Users == control && r.Arms[1].Users == other
	})
	return r
}

func TestExperimentResultsOfTheLog(t *testing.T) {
	data := t.TempDir()
	p := serve(t, "--data", data)
	p.apply(oneExperiment)
	if r := p.results("factor"); r.Arms[0].Users != 0 || r.Comparisons[0].AlwaysValid.P != 1 || r.Began != "2020-01-01T00:00:00Z" {
		t.Errorf("at first %+v", r)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	control, more := views(t, 0, 2000, 100), views(t, 1, 2040, 240)
	appendNotices(t, data, control, more, more[:500]) // some notices come twice
	p = serve(t, "--data", data)
	r := p.awaitUsers(2000, 2040)
	if r.Totals[0].Clicks != 100 || r.Totals[1].Clicks != 240 || r.Totals[1].Impressions != 2040 || r.Metric != "ctr" || !r.Primary || r.UsersPart != 1 {
		t.Errorf("%+v", r)
	}
	if c := r.Comparisons[0]; c.AlwaysValid.P > 1e-4 || c.AlwaysValid.P < c.FixedHorizon.P || *c.Relative < 1 {
		t.Errorf("%+v", c)
	}
	text := mustRun(t, "experiment", "results", "factor", p.api())
	wantText(t, text, "factor: ctr by user; since 2020-01-01T00:00:00Z, look", "as it is (control)  2000", "more                2040", "more against as it is: +0.06765, +135.29%", "always valid", "fixed horizon")
	wantText(t, mustRun(t, "experiment", "results", "factor", "--metric", "value", p.api()), "which is not the metric that was set beforehand")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	// What was counted is still there, and is not counted again.
	p = serve(t, "--data", data)
	again := p.awaitUsers(2000, 2040)
	if again.Totals[1].Clicks != 240 || again.Looks <= r.Looks {
		t.Errorf("after a restart %+v", again)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	appendNotices(t, data, views(t, 1, 2500, 300)[2000:])
	p = serve(t, "--data", data)
	withheld := p.awaitUsers(2000, 2500)
	if withheld.Withheld == "" || len(withheld.Comparisons) != 0 {
		t.Errorf("%+v", withheld)
	}
	wantText(t, mustRun(t, "experiment", "results", "factor", p.api()), "RESULTS ARE WITHHELD: the numbers of users do not fit the weights of the arms")
}

func TestExperimentResultsRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"want the id of one experiment": {"experiment", "results"},
		`there is no metric "joy"`:      {"experiment", "results", "x", "--metric", "joy"},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want one that says %q", args, err, want)
		}
	}
	p := serve(t)
	if err := run(t.Context(), []string{"experiment", "results", "nothing", p.api()}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), `there is no experiment "nothing"`) {
		t.Errorf("error %v", err)
	}
}
