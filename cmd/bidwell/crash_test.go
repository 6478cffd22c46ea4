package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bidwell/loadtest"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/store/pebble"
)

// A program that is killed in the middle of its work loses no money and books
// none twice. `make crash` does the same with many more kills.
func TestCrash(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1")
	keys, err := loadtest.ParsePriceKeys("sealed=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f," +
		"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f") // those of the documents
	if err != nil {
		t.Fatal(err)
	}
	cfg := loadtest.CrashConfig{
		Bidwell: self, Settings: []string{"--cache-mb", "4"}, Data: t.TempDir(), Documents: "../../scripts/money.yaml",
		Kills: 5, Hold: 75 * time.Minute, Lease: 5 * time.Minute, Exchange: loadtest.DefaultExchangeConfig(),
	}
	cfg.Exchange.Exchanges = []string{"generic", "index", "winners", "sealed"}
	cfg.Exchange.Auctions, cfg.Exchange.Span = 6000, 24*time.Hour
	cfg.Exchange.PriceKeys, cfg.Exchange.TMax = keys, 5*time.Second // the machine may have other things to do
	cfg.Exchange.Fates = loadtest.NoticeFates{Late: .1, LateBy: time.Hour, Loss: .05, Duplicate: .05, Blank: .005, Retries: 12}
	report, err := loadtest.Crash(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	limits := loadtest.DefaultExchangeLimits()
	limits.MinWins = 500
	if err := limits.Check(report.Scorecard); err != nil {
		t.Errorf("%v\n%s", err, report)
	}
	if err := report.Check(patience); err != nil {
		t.Errorf("%v\n%s", err, report)
	}
	if report.Kills != 5 {
		t.Errorf("killed %d times, want 5", report.Kills)
	}
}

// A program that is asked to stop in the middle of notices books every one
// that it answered, and gives back all that its bids do not hold.
func TestStopKeepsTheBooks(t *testing.T) {
	const (
		bids  = 40 // too few to expect what part of them is paid
		cost  = rtb.Unit / 100
		price = 8500 * rtb.Unit / 1_000_000
	)
	p := serve(t, "--public-url", "https://bid.example.com")
	p.apply(strings.Replace(shop, "pacing: asap,", `pacing: asap, budget: {total: "100.00"},`, 1))
	p.awaitExplained(`"outcome":"bid"`)
	notices := make(chan string, bids)
	for range bids {
		notices <- p.reach(p.mustBid(request).BURL, "8.5")
	}
	close(notices)
	var accepted, unheard atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for notice := range notices {
				resp, err := p.http.Get(notice)
				if err != nil { // the listener is closed, or the connection before the answer was read
					unheard.Add(1)
					return
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusNoContent && accepted.Add(1) == bids/4 {
					p.cancel()
				}
			}
		})
	}
	callers.Wait()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	accounts, err := pebble.OpenAccounts(filepath.Join(p.data, "accounts"), pebble.AccountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := accounts.Close(); err != nil {
			t.Error(err)
		}
	}()
	list, err := accounts.Statements(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var money pacing.Statement
	for _, s := range list {
		if s.Account.LineItem() && s.Account.Measure() == rtb.OfMoney {
			money = s
		}
	}
	heard := rtb.Money(accepted.Load())
	n := money.Spent / price // an answer that nobody heard may have been booked too
	if heard < bids/4 || n < heard || n > heard+rtb.Money(unheard.Load()) || money.Spent != n*price || money.Leased != (bids-n)*cost || money.Late != 0 {
		t.Errorf("%d of %d notices accepted, %d without an answer: %+v; want %s spent and %s leased", heard, bids, unheard.Load(), money, n*price, (bids-n)*cost)
	}
}

// Profiles may be older than the log, because they are not synced with every
// notice. Nobody gets a bid before they have what is in the log.
func TestRestartCountsImpressionsFirst(t *testing.T) {
	data, before := t.TempDir(), filepath.Join(t.TempDir(), "profiles")
	p := serve(t, "--data", data, "--public-url", "https://bid.example.com")
	p.apply(strings.Replace(shop, "pacing: asap,", "pacing: asap, caps: [{per: line-item, limit: 1, window: 24h}],", 1))
	p.await(from(ann), true)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(before, os.DirFS(filepath.Join(data, "profiles"))); err != nil {
		t.Fatal(err)
	}

	p = serve(t, "--data", data, "--public-url", "https://bid.example.com")
	p.await(from(bob), true)
	if got := p.notify(p.reach(p.mustBid(from(ann)).BURL, "8")); got.status != http.StatusNoContent {
		t.Fatalf("burl: %+v", got)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(data, "profiles")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(before, filepath.Join(data, "profiles")); err != nil {
		t.Fatal(err)
	}

	p = serve(t, "--data", data, "--public-url", "https://bid.example.com")
	p.mustNotBid(from(ann))
	p.await(from(bob), true)
	p.mustNotBid(from(ann))
}
