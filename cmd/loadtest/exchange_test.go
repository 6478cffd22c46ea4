package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"bidwell/loadtest"
)

func runExchange(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	cmd := newExchangeCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), progress.String(), err
}

func TestExchangeDryWritesALog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log.jsonl")
	stdout, _, err := runExchange(t, "--dry", "--auctions", "500", "--seed", "3", "--json", "--log", log)
	if err != nil {
		t.Fatal(err)
	}
	var result loadtest.SampleResult
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || result.Rows != 500 {
		t.Errorf("printed %q: %v", stdout, err)
	}
	written, err := os.ReadFile(log)
	if err != nil || bytes.Count(written, []byte("\n")) != 500 {
		t.Errorf("%d lines written, %v, want 500", bytes.Count(written, []byte("\n")), err)
	}
	toStdout, toStderr, err := runExchange(t, "--dry", "--auctions", "500", "--seed", "3", "--log", "-")
	if err != nil || toStdout != string(written) || !strings.Contains(toStderr, "500 impressions") {
		t.Errorf("--log -: another log on standard output, or no summary beside it: %q, %v", toStderr, err)
	}
}

func TestExchangeCommandFails(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(list, []byte("creative\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		named string
		args  []string
	}{
		{"--log", []string{"--dry"}},
		{"--profile-out", []string{"--dry", "--log", "-", "--profile-out", "shares.txt"}},
		{"rows", []string{"--dry", "--log", "-"}},
		{"line_item", []string{"--dry", "--auctions", "1", "--log", "-", "--creatives", list}},
		{"start", []string{"--start", "yesterday"}},
		{"auction", []string{"--auction", "third", "--auctions", "1"}},
		{"conns", []string{"--conns", "0", "--auctions", "1"}},
		{"price keys", []string{"--price-key", "00", "--auctions", "1"}},
		{"--max-overspend", []string{"--max-overspend", "much", "--auctions", "1"}},
		{"profile", []string{"--profile-out", t.TempDir(), "--auctions", "1"}},
		{"notice-loss", []string{"--notice-loss", "2", "--auctions", "1"}},
	} {
		if _, _, err := runExchange(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.named) {
			t.Errorf("%v: error %v does not name %s", tt.args, err, tt.named)
		}
	}
}

// A bidder that never bids is no failure until a limit says so.
func TestExchangeCommandChecksLimits(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(204) }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	url := "http://" + listener.Addr().String()
	stdout, _, err := runExchange(t, "--url", url, "--auctions", "100", "--tmax", "5s", "--json")
	var card loadtest.Scorecard
	if err != nil || json.Unmarshal([]byte(stdout), &card) != nil || card.Auctions != 100 || card.NoBids != 100 {
		t.Errorf("scorecard %q, %v", stdout, err)
	}
	stdout, _, err = runExchange(t, "--url", url, "--auctions", "100", "--tmax", "5s", "--min-bids", "1")
	if err == nil || !strings.Contains(err.Error(), "0 bids, want at least 1") || !strings.Contains(stdout, "auctions     100") {
		t.Errorf("scorecard %q, error %v", stdout, err)
	}
}
