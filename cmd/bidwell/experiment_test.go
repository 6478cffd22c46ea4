package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bidwell/events/report"
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
