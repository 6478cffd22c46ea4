package loadtest

import (
	"strings"
	"testing"
	"time"
)

func TestExchangeLimits(t *testing.T) {
	good := func() *Scorecard {
		return &Scorecard{Bids: 100, Wins: 10, BidRate: .5, LateRate: .01, P99: 12,
			Errors: map[string]int{"timeout": 1}, Violations: map[string]int{}, Notices: map[NoticeKind]NoticeCount{NoticeWin: {Sent: 10, Failed: 1}}}
	}
	if err := DefaultExchangeLimits().Check(good()); err != nil {
		t.Errorf("the default limits fail a good run: %v", err)
	}
	strict := ExchangeLimits{MinBids: 100, MinWins: 10, MinBidRate: .5, MaxLate: .01, MaxErrors: 1, MaxFailedNotices: 1, MaxP99: 12 * time.Millisecond}
	if err := strict.Check(good()); err != nil {
		t.Errorf("limits met exactly: %v", err)
	}
	tests := []struct {
		name   string
		change func(c *Scorecard)
	}{
		{"99 bids", func(c *Scorecard) { c.Bids = 99 }},
		{"9 wins", func(c *Scorecard) { c.Wins = 9 }},
		{"bid rate 0.499", func(c *Scorecard) { c.BidRate = .499 }},
		{"0.0110 of the answers are late", func(c *Scorecard) { c.LateRate = .011 }},
		{"2 errors", func(c *Scorecard) { c.Errors["status-500"] = 1 }},
		{"1 violations", func(c *Scorecard) { c.Violations["below-floor"] = 1 }},
		{"2 notices failed", func(c *Scorecard) { c.Notices[NoticeBill] = NoticeCount{Sent: 1, Failed: 1} }},
		{"p99 is 12.1ms", func(c *Scorecard) { c.P99 = 12.1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			card := good()
			tt.change(card)
			if err := strict.Check(card); err == nil || !strings.Contains(err.Error(), tt.name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Check = %v, want that limit alone", err)
			}
		})
	}
}
