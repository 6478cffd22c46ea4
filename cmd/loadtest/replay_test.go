package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bidwell/loadtest"
)

func TestReplayCommand(t *testing.T) {
	folder := t.TempDir()
	log, profile := filepath.Join(folder, "log.csv"), filepath.Join(folder, "shares.txt")
	if err := run(t.Context(), []string{"generate", "--kind", "auctions", "--count", "20000", "--out", log}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(profile, []byte("1\n1\n\n2\n2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	args := []string{"replay", "--in", log, "--budget", "200000", "--forecast", "20000", "--profile", profile}
	if err := run(t.Context(), append(args, "--json"), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var result loadtest.ReplayResult
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	if result.Auctions != 20000 || result.Utilisation < 0.98 || result.Overspend != 0 || result.OracleShare < 0.85 {
		t.Errorf("result = %+v", result)
	}
	out.Reset()
	if err := run(t.Context(), args, &out, io.Discard); err != nil || !strings.Contains(out.String(), "utilisation") {
		t.Errorf("%v: %s", err, &out)
	}
	for want, more := range map[string][]string{
		"pacing":               {"--pacing", "never"},
		"auction":              {"--auction", "third"},
		"profile":              {"--profile", log},
		"no such file":         {"--in", filepath.Join(folder, "none.csv")},
		"line 1: column":       {"--in", profile},
		"budget: -1 is not an": {"--budget", "-1"},

		"bidders: want more":           {"--bidders", "0"},
		"start-multiplier: want more":  {"--start-multiplier", "0"},
		"hold: want more":              {"--hold", "0s"},
		"losses: nothing":              {"--losses", ""},
		"control: only bids in first":  {"--control", "0.1"},
		"feedback: only bids in first": {"--feedback", "win-loss"},
		"shade: only bids in first":    {"--shade=false"},
		"feedback: no bid is shaded":   {"--auction", "first", "--shade=false", "--feedback", "price"},
		"drop: want a part":            {"--bidders", "2", "--drop", "1"},
	} {
		if err := run(t.Context(), append(args[:len(args):len(args)], more...), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error = %v, want %q", more, err, want)
		}
	}
}

// Whatever is in a profile, its shares are numbers of zero or more.
func FuzzParseShares(f *testing.F) {
	f.Add("0.5\n\n 1e3 \n0\n")
	f.Add("-1\nNaN\nx")
	f.Fuzz(func(t *testing.T, text string) {
		shares, err := parseShares(strings.NewReader(text))
		if err == nil && len(shares) == 0 {
			t.Fatal("no shares and no error")
		}
		for _, share := range shares {
			if !(share >= 0 && share <= 1e15) {
				t.Fatalf("share %v", share)
			}
		}
	})
}
