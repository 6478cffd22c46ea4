package main

import (
	"os"
	"testing"
	"time"

	"bidwell/loadtest"
)

// A program that is left to itself learns from what it buys: it is not far from
// the oracle, and its bids say what is true. `make learn` plays a whole day.
func TestLearn(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1")
	cfg := loadtest.CrashConfig{
		Bidwell: self, Settings: []string{"--cache-mb", "4", "--learn.bits", "18", "--learn.every", "100ms"}, Data: t.TempDir(),
		Documents: "../../scripts/learning.yaml", Hold: time.Hour, Lease: time.Hour, Exchange: loadtest.DefaultExchangeConfig(),
	}
	cfg.Exchange.Seed, cfg.Exchange.Auction, cfg.Exchange.NoFloors, cfg.Exchange.NoDeals = 2, loadtest.AuctionSecond, true, true
	cfg.Exchange.Auctions, cfg.Exchange.Span = 6000, 30*time.Minute
	cfg.Exchange.TMax = 5 * time.Second // the machine may have other things to do
	card, err := loadtest.Learn(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	limits := loadtest.DefaultExchangeLimits()
	// Far from what a day reaches: there are some forty clicks. The first third is
	// over in half a second, and may be before its money is leased.
	limits.MinLastSurplus, limits.CalibrationWithin = .7, .5
	if err := limits.Check(card); err != nil {
		t.Errorf("%v\n%s", err, card)
	}
	if s := card.Surplus; s.UnknownBids > 0 || s.LeftOut > 0 || s.ShareOfKnowable < s.Share || s.SecondPrice == nil || s.FirstPrice != nil {
		t.Errorf("surplus %+v\n%s", s, card)
	}
}
