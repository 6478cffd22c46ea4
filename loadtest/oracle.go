package loadtest

import (
	"cmp"
	"slices"
	"sync"

	"bidwell/rtb"
)

// maxOffers bounds the sample that the oracle chooses from.
const maxOffers = 100_000

// oracle compares what a bidder bought with what it could have bought for the
// same money by one who knows the true click probabilities and everybody's
// prices. What it could have bought are the impressions that it bid for, won
// or lost, each with the ad of the bid and at the lowest price that would
// have won; those that it left out it may not have been allowed to buy, so
// nobody can hold them against it. Each line item has the money that it spent
// itself, and the oracle buys the most clicks for the money first (the greedy
// solution of a knapsack, whose last item may be bought in part).
//
// The offers are a sample by the hash of the impression: once there are more
// than maxOffers, every other one is dropped, and the same share of what
// comes after, so that the sample does not depend on the order.
type oracle struct {
	mu     sync.Mutex
	seed   uint64
	share  uint64 // offers whose hash is at most this are in the sample
	offers []offered
}

// offered is an impression that a line item bid for and that would be shown.
type offered struct {
	line   *line
	hash   uint64
	clicks float64   // the true probability
	price  rtb.Money // that would have won
	paid   rtb.Money // zero when it was lost
}

func newOracle(seed uint64) *oracle { return &oracle{seed: seed ^ 0x6f72_6163_6c65, share: ^uint64(0)} }

// sampled reports whether an impression is in the sample.
func (k *oracle) sampled(s *Slot) (hash uint64, ok bool) {
	hash = scramble(k.seed, s.seed)
	k.mu.Lock()
	defer k.mu.Unlock()
	return hash, hash <= k.share
}

func (k *oracle) add(o offered) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o.hash > k.share {
		return
	}
	k.offers = append(k.offers, o)
	if len(k.offers) > maxOffers {
		k.share /= 2
		k.offers = slices.DeleteFunc(k.offers, func(o offered) bool { return o.hash > k.share })
	}
}

// OracleTruth is how the clicks for the money compare with the oracle's.
type OracleTruth struct {
	Offers int     `json:"offers"` // in the sample
	Bought int     `json:"bought"` // of them, by the bidder
	Clicks float64 `json:"clicks"` // to be expected of what the bidder bought
	Best   float64 `json:"best"`   // of what the oracle buys for the same money
	Ratio  float64 `json:"ratio"`  // of the two; zero when nothing was bought
}

// truth lets the oracle buy.
func (k *oracle) truth() OracleTruth {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := OracleTruth{Offers: len(k.offers)}
	byLine := map[*line][]offered{}
	for _, o := range k.offers {
		byLine[o.line] = append(byLine[o.line], o)
	}
	for _, offers := range byLine {
		var money rtb.Money
		for _, o := range offers {
			if o.paid > 0 {
				t.Bought++
				t.Clicks += o.clicks
				money += o.paid
			}
		}
		slices.SortFunc(offers, func(a, b offered) int {
			return cmp.Or(cmp.Compare(b.clicks/float64(b.price), a.clicks/float64(a.price)), cmp.Compare(a.hash, b.hash))
		})
		for _, o := range offers {
			if o.price >= money {
				t.Best += o.clicks * float64(money) / float64(o.price)
				break
			}
			money -= o.price
			t.Best += o.clicks
		}
	}
	if t.Best > 0 {
		t.Ratio = t.Clicks / t.Best
	}
	// Floats add up differently in another order, which maps have.
	t.Clicks, t.Best, t.Ratio = rounded(t.Clicks), rounded(t.Best), rounded(t.Ratio)
	return t
}

func rounded(v float64) float64 { return float64(int64(v*1e6+.5)) / 1e6 }

// consult offers the oracle what the bidder bid for.
func (c *exchangeConn) consult() {
	x := c.run
	for i := range c.out.contenders {
		b := &c.out.contenders[i]
		if b.loss != lossNone && b.loss != lossHigherBid || !x.market.shows(b.slot) {
			continue
		}
		hash, ok := x.oracle.sampled(b.slot)
		if !ok {
			continue
		}
		o := offered{line: b.line, hash: hash, clicks: x.market.Click(&c.offer, b.slot, &b.ad), price: max(b.minToWin, priceStep)}
		if b.loss == lossNone {
			o.paid = b.clearing
			o.price = min(o.price, b.clearing)
		}
		x.oracle.add(o)
	}
}
