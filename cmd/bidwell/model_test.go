package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bidwell/loadtest"
)

// impressionLog is a log of simulated impressions.
func impressionLog(t *testing.T, rows int) (log string, clicks int) {
	t.Helper()
	var out bytes.Buffer
	result, err := loadtest.Sample(t.Context(), loadtest.SampleConfig{
		Traffic: loadtest.TrafficConfig{Seed: 7, Users: 5000}, Rows: rows, Ads: loadtest.DefaultSampleAds(),
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), result.Clicks
}

func TestModelTrainAndServe(t *testing.T) {
	log, clicks := impressionLog(t, 3000)
	file := filepath.Join(t.TempDir(), "click.model")
	out := mustRun(t, "model", "train", "--in", write(t, "log.jsonl", log), "--out", file, "--bits", "18", "--json")
	var trained struct {
		Rows, Clicks, Bytes int
		Calibration         float64
	}
	if err := json.Unmarshal([]byte(out), &trained); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if trained.Rows != 3000 || trained.Clicks != clicks || int64(trained.Bytes) != info.Size() || math.IsNaN(trained.Calibration) {
		t.Errorf("trained on %s, want 3000 rows and %d clicks; the file has %d bytes", out, clicks, info.Size())
	}

	// The bidder predicts by this model: no longer what the starter model says.
	byClick := strings.Replace(shop, `{type: cpm, value: "10.00"}`, `{type: cpc, value: "5.00", max_cpm: "500.00"}`, 1)
	prices := map[string]float64{}
	for _, model := range []string{"", file} {
		p := serve(t, "--model", model)
		p.apply(byClick)
		p.await(request, true)
		prices[model] = p.mustBid(request).Price
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
	}
	if prices[""] == prices[file] || prices[file] < 0.5 {
		t.Errorf("a click is worth %v by the starter model and %v by the trained one", prices[""], prices[file])
	}

	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0x10
	for name, content := range map[string][]byte{
		"half": whole[:len(whole)/2], "one byte less": whole[:len(whole)-1], "empty": nil, "text": []byte("weights: 1"),
		"damaged": flipped, "one byte more": append(bytes.Clone(whole), 0),
	} {
		path := write(t, "broken.model", string(content))
		_, err := command(t, "serve", "--model", path, "--data", t.TempDir(), "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t))
		if err == nil {
			t.Errorf("%s: served", name)
		}
		wantError(t, err, "read model", path)
	}
}

// A log of other campaigns teaches little, and people should hear of it.
func TestModelTrainOfUnknownCreatives(t *testing.T) {
	p := serve(t)
	p.apply(shop)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	line := func(creative string) string {
		return `{"time":"2026-01-05T12:00:00Z","imp":"1","creative":"` + creative + `","media":"banner","click":1,"request":` + request + "}\n" +
			`{"time":"2026-01-05T12:00:00Z","imp":"1","creative":"` + creative + `","media":"banner","request":` + request + "}\n"
	}
	for log, want := range map[string]string{
		line("picture") + line("poster") + line("postcard") + line("poster"): "only 25.0% of the log's impressions",
		line("picture") + line("wide") + line("poster"):                      "",
	} {
		var stderr bytes.Buffer
		err := run(t.Context(), []string{"model", "train", "--in", write(t, "log.jsonl", log), "--out", filepath.Join(t.TempDir(), "click.model"),
			"--bits", "18", "--data", p.data}, io.Discard, &stderr)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(stderr.String(), want) || (want == "" && stderr.Len() > 0) {
			t.Errorf("said %q, want %q", stderr.String(), want)
		}
	}
}

func TestModelTrainRefuses(t *testing.T) {
	log, _ := impressionLog(t, 20)
	lines := strings.Split(strings.TrimSpace(log), "\n")
	out := filepath.Join(t.TempDir(), "click.model")
	for name, c := range map[string]struct {
		log   string
		named []string
	}{
		"empty":      {"", []string{"log.jsonl: empty"}},
		"no rows":    {"\n\n", []string{"log.jsonl"}},
		"no JSON":    {strings.Join(lines[:3], "\n") + "\nclick\n", []string{"log.jsonl: line 4"}},
		"no time":    {strings.Join(lines[:2], "\n") + "\n{}\n", []string{"line 3", "time is missing"}},
		"no request": {`{"time":"2026-01-05T12:00:00Z","imp":"1"}`, []string{"line 1", "request"}},
		"wrong imp":  {`{"time":"2026-01-05T12:00:00Z","imp":"9","request":` + request + `}`, []string{"line 1", `imp "9"`}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			_, err := command(t, "model", "train", "--in", write(t, "log.jsonl", c.log), "--out", out, "--bits", "18")
			wantError(t, err, c.named...)
			if _, err := os.Stat(out); err == nil {
				t.Error("a model was written")
			}
		})
	}
	good := write(t, "log.jsonl", log)
	_, err := command(t, "model", "train", "--in", good, "--out", out, "--bits", "99")
	wantError(t, err, "bits")
	_, err = command(t, "model", "train", "--in", "/nonexistent.jsonl", "--out", out)
	wantError(t, err, "/nonexistent.jsonl")
	_, err = command(t, "model", "train", "--in", good)
	wantError(t, err, `"out"`)
	_, err = command(t, "model", "train", "--in", good, "--out", out, "--data", t.TempDir())
	wantError(t, err, "documents")
}
