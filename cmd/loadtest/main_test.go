package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bidwell/admin"
	"bidwell/rtb"
	"bidwell/store/sql"
)

// bidder answers every request on an impression "1" with a right bid, or with
// none where the request has a body of two bytes.
func bidder(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bid/generic" {
			http.NotFound(w, r)
			return
		}
		if body, _ := io.ReadAll(r.Body); len(body) == 2 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"r","seatbid":[{"bid":[{"id":"b","impid":"1","price":1.5,"w":300,"h":250,"mtype":1,"adm":"<b>buy</b>","adomain":["brand.example"]}]}]}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const request = `{"id":"r","imp":[{"id":"1","banner":{"w":300,"h":250},"bidfloor":1,"bidfloorcur":"EUR"}],"site":{"id":"s"},"tmax":5000}`

func input(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs the whole program.
func command(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), args, &out, io.Discard)
	return out.String(), err
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}

func TestConformCommand(t *testing.T) {
	url := bidder(t)
	in := input(t, request, `{"body_b64":"e30=","expect":[400]}`)
	out, err := command(t, "conform", "--url", url, "--in", in, "--min-bid-rate", "1", "--encoding", "plain", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Sent, Bids int
		Statuses   map[string]int
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Sent != 2 || report.Bids != 1 || report.Statuses["400"] != 1 {
		t.Errorf("%v: %s", err, out)
	}
	out, err = command(t, "conform", "--url", url, "--in", input(t, request), "--rates", "USD=1,EUR=1.6")
	wantError(t, err, "2 violations") // the floor, plain and gzip
	if !strings.Contains(out, "in.jsonl:1 gzip") {
		t.Errorf("the line is not named:\n%s", out)
	}
	none := input(t, request, request, strings.Replace(request, `"banner":{"w":300,"h":250}`, `"video":{}`, 1))
	_, err = command(t, "conform", "--url", url+"/nobody", "--in", none, "--encoding", "plain")
	wantError(t, err, "3 violations")
	for flag, value := range map[string]string{"--encoding": "zip", "--rates": "USD=0", "--conns": "-1"} {
		_, err = command(t, "conform", "--url", url, "--in", in, flag, value)
		wantError(t, err, strings.TrimPrefix(flag, "--"))
	}
	_, err = command(t, "conform", "--in", in)
	wantError(t, err, "url")
	_, err = command(t, "conform", "--url", url, "--in", in+".none")
	wantError(t, err, "in.jsonl.none")
}

func TestConformCommandBidRate(t *testing.T) {
	in := input(t, request, `{"body":{"id":"n","imp":[{"id":"1","banner":{}}]},"valid":true,"expect":[204]}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }))
	defer server.Close()
	_, err := command(t, "conform", "--url", server.URL, "--in", in, "--min-bid-rate", "0.6")
	wantError(t, err, "bid rate")
}

func TestAttackCommand(t *testing.T) {
	url := bidder(t)
	page := filepath.Join(t.TempDir(), "report.html")
	args := []string{"attack", "--url", url, "--in", input(t, request), "--rate", "200", "--duration", "100ms", "--conns", "2"}
	out, err := command(t, append(args, "--html", page, "--json", "--max-p99", "5s", "--max-late", "0", "--min-bid-rate", "1", "--max-errors", "0")...)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Answers int
		BidRate float64 `json:"bid_rate"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Answers != 20 || report.BidRate != 1 {
		t.Errorf("%v: %s", err, out)
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("<svg")) {
		t.Errorf("no page with charts: %v", err)
	}
	_, err = command(t, append(args, "--max-p99", "1us")...)
	wantError(t, err, "p99")
	_, err = command(t, append(args, "--exchange", "unknown", "--max-errors", "0")...)
	wantError(t, err, "errors")
	_, err = command(t, append(args, "--html", page+"/no/folder")...)
	wantError(t, err, "no/folder")
}

// What generate makes must be what the admin API takes, all of it.
func TestGeneratedLineItemsCanBeApplied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "items.json")
	out, err := command(t, "generate", "--kind", "line-items", "--count", "120", "--seed", "4", "--out", path, "--json")
	if err != nil || !strings.Contains(out, `"count":120`) {
		t.Fatalf("%s: %v", out, err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list, err := admin.ReadFile(path, file)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "documents.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	exchange := func(string) (rtb.ExchangeID, bool) { return 1, true }
	server, err := admin.New(admin.DefaultConfig(), admin.Parts{Documents: store, ExchangeID: exchange})
	if err != nil {
		t.Fatal(err)
	}
	var documents []admin.ApplyDocument
	for _, d := range list {
		documents = append(documents, d.ApplyDocument)
	}
	result, err := server.Apply(t.Context(), documents, false)
	if err != nil {
		t.Fatal(err)
	}
	if result.Created != len(list) {
		t.Errorf("%d of %d documents created", result.Created, len(list))
	}
	items, _, err := admin.NewCompiler(store, exchange, func(*rtb.Creative) error { return nil }).LineItems(context.Background(), 0)
	if err != nil || len(items) != 120 {
		t.Errorf("%d line items can serve, want 120: %v", len(items), err)
	}
}

func TestGenerateCommand(t *testing.T) {
	out, err := command(t, "generate", "--kind", "users", "--count", "3", "--users", "50")
	if err != nil || strings.Count(out, "\n") != 3 {
		t.Errorf("%q: %v", out, err)
	}
	out, err = command(t, "generate", "--kind", "requests", "--count", "2", "--users", "50", "--exchanges", "google")
	if err != nil || strings.Count(out, `"exchange":"google"`) != 2 {
		t.Errorf("%q: %v", out, err)
	}
	_, err = command(t, "generate", "--kind", "users", "--users", "5", "--json")
	wantError(t, err, "--out")
	_, err = command(t, "generate", "--kind", "money")
	wantError(t, err, "kind")
}
