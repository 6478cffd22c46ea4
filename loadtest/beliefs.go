package loadtest

import (
	"cmp"
	"slices"
)

// maxBeliefs bounds the sample, as maxOffers does that of the oracle.
const maxBeliefs = 1 << 20

// beliefs compare what bids say of clicks with the truth. In a second price
// auction the best bid is what the impression is worth, so a bid divided by
// the value of a click is the probability that the bidder believes in, whether
// it wins or loses: the whole inventory can be judged, and not only what was
// bought. What it bid nothing for, such as what it holds worth less than the
// floor, cannot be seen; nor can first prices, where a bid says little.
type beliefs struct {
	seed   uint64
	share  uint64 // beliefs whose hash is at most this are in the sample
	list   []belief
	bids   int
	unseen int
	capped int
}

// belief is that of one bid.
type belief struct {
	hash             uint64
	believed, actual float64
	capped           bool // the bid is the highest that its line item may make
	third            uint8
}

func newBeliefs(seed uint64) beliefs {
	return beliefs{seed: seed ^ 0x6265_6c69_6566, share: ^uint64(0)}
}

func (b *beliefs) add(one belief) {
	b.bids++
	b.capped += flagged(one.capped)
	if one.hash = scramble(b.seed, one.hash); one.hash > b.share {
		return
	}
	b.list = append(b.list, one)
	if len(b.list) > maxBeliefs {
		b.share /= 2
		b.list = slices.DeleteFunc(b.list, func(one belief) bool { return one.hash > b.share })
	}
}

// beliefOf is what a bid says of a click or, for a line item that buys
// conversions, of a click with a conversion.
func (k *surplus) beliefOf(bid *contender, click, conversion float64) (belief, bool) {
	a := k.stock.lines[bid.bid.Tactic]
	if a.goal != "cpc" && a.goal != "cpa" {
		return belief{}, false
	}
	if a.goal == "cpa" {
		click *= conversion
	}
	whole := bid.price
	if bid.line != nil {
		whole = bid.line.buyer.fees.On(whole)
	}
	return belief{hash: bid.slot.seed, believed: float64(whole) / float64(a.value), actual: click, capped: a.most > 0 && whole >= a.most}, true
}

// CalibrationTruth is what bids in second price auctions say of clicks against
// the truth, over all that was bid for, won or lost.
type CalibrationTruth struct {
	Bids    int        `json:"bids"`
	Unseen  int        `json:"unseen"` // impressions that some ad fits and no bid was made for
	Capped  int        `json:"capped"` // bids at the highest that is allowed, which may believe in more
	Ratio   float64    `json:"ratio"`  // of the sum of what was believed to that of the truth
	ByThird [3]float64 `json:"by_third"`
	Last    float64    `json:"last_third"`
	Deciles []Decile   `json:"deciles"` // by what was believed, the least first
}

// Decile is a tenth of the bids.
type Decile struct {
	Count    int     `json:"count"`
	Believed float64 `json:"believed"` // mean
	Actual   float64 `json:"actual"`
	Ratio    float64 `json:"ratio"`
}

func (b *beliefs) truth() *CalibrationTruth {
	t := &CalibrationTruth{Bids: b.bids, Unseen: b.unseen, Capped: b.capped, Deciles: []Decile{}}
	// In an order that does not depend on the connections.
	slices.SortFunc(b.list, func(a, b belief) int { return cmp.Or(cmp.Compare(a.believed, b.believed), cmp.Compare(a.hash, b.hash)) })
	type sums struct{ believed, actual float64 }
	var all sums
	var thirds [3]sums
	for i := range b.list {
		one := &b.list[i]
		all.believed += one.believed
		all.actual += one.actual
		thirds[one.third].believed += one.believed
		thirds[one.third].actual += one.actual
	}
	per := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	t.Ratio = per(all.believed, all.actual)
	for i := range thirds {
		t.ByThird[i] = per(thirds[i].believed, thirds[i].actual)
	}
	t.Last = t.ByThird[2]
	for i := range 10 {
		part := b.list[i*len(b.list)/10 : (i+1)*len(b.list)/10]
		if len(part) == 0 {
			continue
		}
		d := Decile{Count: len(part)}
		for j := range part {
			d.Believed += part[j].believed / float64(len(part))
			d.Actual += part[j].actual / float64(len(part))
		}
		d.Ratio = per(d.Believed, d.Actual)
		t.Deciles = append(t.Deciles, d)
	}
	return t
}

// writeText writes it for people.
func (t *CalibrationTruth) writeText(p *printer) {
	p.linef("calibration  %.4f over %d second price bids, won or lost, by thirds %.4f %.4f %.4f; %d impressions without a bid, %d bids at their highest",
		t.Ratio, t.Bids, t.ByThird[0], t.ByThird[1], t.ByThird[2], t.Unseen, t.Capped)
	for i, d := range t.Deciles {
		p.linef("calibration  tenth %2d: believed %.5f, true %.5f: %.3f (%d)", i+1, d.Believed, d.Actual, d.Ratio, d.Count)
	}
}
