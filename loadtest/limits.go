package loadtest

import (
	"errors"
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// ExchangeLimits are what a run of the market must hold to pass. A negative
// maximum, and a zero minimum or MaxP99, sets no limit.
type ExchangeLimits struct {
	MinBids, MinWins int
	MinBidRate       float64 // share of auctions with a bid
	MaxLate          float64 // share of answers after tmax
	MaxErrors        int
	MaxViolations    int
	MaxFailedNotices int
	MaxP99           time.Duration

	// With the bidder's books: how far they may be off what it was told, how
	// much budgets may be overrun, and impressions beyond a frequency cap that
	// it had to know of.
	MaxDifference, MaxOverspend rtb.Money
	MaxCapFaults                int
	MinUsed                     float64 // share of each daily budget with demand
	MaxOffPlan                  float64 // deviation from the plan, as a share of the daily budget
	MinClickRatio               float64 // clicks for the money against the oracle's

	// With the surplus: its share of the oracle's, over all auctions and over
	// their last third, and how far from 1 the calibration of the bids may be.
	MinSurplus, MinLastSurplus float64
	CalibrationWithin          float64 // zero sets no limit
}

// DefaultExchangeLimits allow no bid that breaks a rule of its auction, no
// error in the books, no overspend and nothing beyond a frequency cap that the
// bidder had to know of; nothing else limits.
func DefaultExchangeLimits() ExchangeLimits {
	return ExchangeLimits{MaxLate: -1, MaxErrors: -1, MaxFailedNotices: -1, MaxOffPlan: -1}
}

// Check reports every limit that does not hold.
func (l ExchangeLimits) Check(c *Scorecard) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Bids < l.MinBids {
		fail("%d bids, want at least %d", c.Bids, l.MinBids)
	}
	if c.Wins < l.MinWins {
		fail("%d wins, want at least %d", c.Wins, l.MinWins)
	}
	if c.BidRate < l.MinBidRate {
		fail("bid rate %.3f, want at least %.3f", c.BidRate, l.MinBidRate)
	}
	if l.MaxLate >= 0 && c.LateRate > l.MaxLate {
		fail("%.4f of the answers are late, want at most %.4f", c.LateRate, l.MaxLate)
	}
	if n := sumCounts(c.Errors); l.MaxErrors >= 0 && n > l.MaxErrors {
		fail("%d errors %v, want at most %d", n, c.Errors, l.MaxErrors)
	}
	if n := sumCounts(c.Violations); l.MaxViolations >= 0 && n > l.MaxViolations {
		fail("%d violations %v, want at most %d", n, c.Violations, l.MaxViolations)
	}
	failed := 0
	for _, n := range c.Notices {
		failed += n.Failed
	}
	if l.MaxFailedNotices >= 0 && failed > l.MaxFailedNotices {
		fail("%d notices failed, want at most %d", failed, l.MaxFailedNotices)
	}
	if p99 := time.Duration(c.P99 * float64(time.Millisecond)); l.MaxP99 > 0 && p99 > l.MaxP99 {
		fail("p99 is %v, want at most %v", p99, l.MaxP99)
	}
	faults := 0
	for _, f := range c.Frequency {
		faults += f.Faults
	}
	if l.MaxCapFaults >= 0 && faults > l.MaxCapFaults {
		fail("%d impressions beyond a frequency cap, want at most %d", faults, l.MaxCapFaults)
	}
	if c.Oracle.Ratio < l.MinClickRatio {
		fail("clicks for the money are %.4f of the oracle's, want at least %.4f", c.Oracle.Ratio, l.MinClickRatio)
	}
	if s := c.Surplus; s != nil {
		if s.Share < l.MinSurplus {
			fail("surplus is %.4f of the oracle's, want at least %.4f", s.Share, l.MinSurplus)
		}
		if s.LastThird < l.MinLastSurplus {
			fail("surplus of the last third is %.4f of the oracle's, want at least %.4f", s.LastThird, l.MinLastSurplus)
		}
	} else if l.MinSurplus > 0 || l.MinLastSurplus > 0 {
		fail("the surplus was not measured, so its limits cannot hold")
	}
	if l.CalibrationWithin > 0 {
		if k := c.Calibration; k == nil || k.Bids == 0 {
			fail("there is no second price bid to judge the calibration by")
		} else if math.Abs(k.Ratio-1) > l.CalibrationWithin {
			fail("bids believe in %.4f times the clicks that there are, want within %.4f of 1", k.Ratio, l.CalibrationWithin)
		}
	}
	if b := c.Books; b != nil {
		if l.MaxDifference >= 0 && b.difference > l.MaxDifference {
			fail("the books are off by %s, want at most %s", b.difference, l.MaxDifference)
		}
		if l.MaxOverspend >= 0 && b.overspend > l.MaxOverspend {
			fail("overspend of %s, want at most %s", b.overspend, l.MaxOverspend)
		}
		if b.MinUsed < l.MinUsed {
			fail("a daily budget is used to %.4f, want at least %.4f", b.MinUsed, l.MinUsed)
		}
		if l.MaxOffPlan >= 0 && b.MaxOffPlan > l.MaxOffPlan {
			fail("spend is %.4f of a daily budget off the plan, want at most %.4f", b.MaxOffPlan, l.MaxOffPlan)
		}
	}
	return errors.Join(errs...)
}

func sumCounts(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
