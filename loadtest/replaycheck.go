package loadtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bidwell/rtb"
)

const maxBidders = 1000

var pacings = map[string]rtb.Pacing{"": rtb.PaceEven, "even": rtb.PaceEven, "asap": rtb.PaceASAP, "ahead": rtb.PaceAhead}

// Validate reports every setting that is wrong.
func (r *Replay) Validate() error {
	var errs []error
	positive := func(name string, v float64, zero bool) {
		if !(v > 0 || zero && v == 0) || v > 1e15 {
			errs = append(errs, fmt.Errorf("%s: %v is not an amount", name, v))
		}
	}
	positive("budget", r.Budget, false)
	positive("value", r.Value, true)
	positive("max-cpc", r.MaxCPC, true)
	positive("forecast", r.Forecast, true)
	if !(r.Multiplier >= 0 && r.Multiplier <= 100) || r.Value > 0 && r.Multiplier > 1 {
		errs = append(errs, errors.New("start-multiplier: want more than 0, at most 100, and at most 1 with a value"))
	}
	if r.Auction != AuctionFirst && r.Auction != AuctionSecond {
		errs = append(errs, fmt.Errorf("auction: %q is neither first nor second", r.Auction))
	}
	if _, ok := pacings[r.Pacing]; !ok {
		errs = append(errs, fmt.Errorf("pacing: %q is none of even, asap and ahead", r.Pacing))
	}
	if r.Delay < 0 || r.Delay > 24*time.Hour {
		errs = append(errs, errors.New("delay: want 0 to 24h"))
	}
	if r.Bidders < 0 || r.Bidders > maxBidders {
		errs = append(errs, fmt.Errorf("bidders: want 1 to %d", maxBidders))
	}
	if r.Late < 0 || r.Late > maxAuctions {
		errs = append(errs, fmt.Errorf("late: want 0 to %d auctions", maxAuctions))
	}
	if !slices.Contains([]string{"", "told", "never"}, r.Losses) {
		errs = append(errs, fmt.Errorf("losses: %q is neither told nor never", r.Losses))
	}
	if !(r.Drop >= 0 && r.Drop < 1) || r.Drop > 0 && r.Bidders < 2 {
		errs = append(errs, errors.New("drop: want a part of the log, 0 to less than 1, and more than one bidder"))
	}
	if !slices.Contains([]string{"", FeedbackPrice, FeedbackWinLoss}, r.Feedback) {
		errs = append(errs, fmt.Errorf("feedback: %q is neither price nor win-loss", r.Feedback))
	}
	if !(r.Control >= 0 && r.Control <= 0.9) {
		errs = append(errs, errors.New("control: want a part of the bids, 0 to 0.9"))
	}
	if r.Log == nil || r.Log.Len() == 0 {
		errs = append(errs, errors.New("log: no rows"))
	}
	return errors.Join(errs...)
}
