package loadtest

import (
	"context"
)

// ShadingTruth is what a bidder paid in first price auctions, and what would
// have been enough. One that bids the whole worth has no surplus by intent:
// whatever it made is the difference between what it believed and the truth.
type ShadingTruth struct {
	Wins    int        `json:"wins"`
	Paid    string     `json:"paid"`
	Least   string     `json:"least"` // the least prices that would have won the same
	Left    float64    `json:"left"`  // what was paid beyond them, as a share of what was paid
	ByThird [3]float64 `json:"left_by_third"`

	// Own is what the bidder itself says of its bids, those of a control group
	// that it does not shade beside the others: which bids those are, nobody
	// else knows. Worth and surplus are by what it believes. Nil where it says
	// nothing.
	Own *OwnShading `json:"own,omitempty"`
}

// OwnShading is the bidder's view.
type OwnShading struct {
	Shaded  ShadedGroup     `json:"shaded"`
	Control ShadedGroup     `json:"control"`
	Saved   *SavingInterval `json:"saved,omitempty"`   // part of the control's price for the same worth
	Surplus *SavingInterval `json:"surplus,omitempty"` // of a bid beyond that of the control, in parts of its worth
}

// ShadedGroup are the bids of one group.
type ShadedGroup struct {
	Bids    int64  `json:"bids"`
	Wins    int64  `json:"wins"`
	Spend   string `json:"spend"`
	Worth   string `json:"worth"` // of what was won
	Surplus string `json:"surplus"`
}

// SavingInterval is an estimate with its 95 % interval.
type SavingInterval struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

func shadingOf(thirds *[3]surplusSums) *ShadingTruth {
	var all surplusSums
	t := &ShadingTruth{}
	for i := range thirds {
		s := &thirds[i]
		all.add(s)
		t.ByThird[i] = moneyRatio(s.paid-s.least, s.paid)
	}
	t.Wins, t.Paid, t.Least, t.Left = all.wins, all.paid.String(), all.least.String(), moneyRatio(all.paid-all.least, all.paid)
	return t
}

// readOwn asks the bidder. One that has no answer shades nothing.
func (t *ShadingTruth) readOwn(ctx context.Context, a *adminAPI) {
	var own OwnShading
	if a.get(ctx, "/v1/shading", &own) == nil && own.Shaded.Bids+own.Control.Bids > 0 {
		t.Own = &own
	}
}

func (t *ShadingTruth) writeText(p *printer) {
	p.linef("shading      paid %s for %d wins in first price auctions, %s was enough: %.4f too much, by thirds %.4f %.4f %.4f",
		t.Paid, t.Wins, t.Least, t.Left, t.ByThird[0], t.ByThird[1], t.ByThird[2])
	if t.Own == nil {
		return
	}
	for _, g := range []struct {
		name string
		of   *ShadedGroup
	}{{"shaded", &t.Own.Shaded}, {"unshaded control", &t.Own.Control}} {
		p.linef("shading      %s, by the bidder: %d of %d bids won, spend %s, worth %s, surplus %s", g.name, g.of.Wins, g.of.Bids, g.of.Spend, g.of.Worth, g.of.Surplus)
	}
	if s := t.Own.Saved; s != nil {
		p.linef("shading      saves %.4f of the control's price for the same worth (%.4f to %.4f)", s.Estimate, s.Low, s.High)
	}
}
