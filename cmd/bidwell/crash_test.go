package main

import (
	"os"
	"testing"
	"time"

	"bidwell/loadtest"
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
	cfg.Exchange.PriceKeys = keys
	cfg.Exchange.Fates = loadtest.NoticeFates{Late: .1, LateBy: time.Hour, Loss: .05, Duplicate: .05, Blank: .005, Retries: 12}
	report, err := loadtest.Crash(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	limits := loadtest.DefaultExchangeLimits()
	limits.MinWins = 1000
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
