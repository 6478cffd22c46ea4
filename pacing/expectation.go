package pacing

import "math"

// What is held will mostly not be paid. Near the end of a budget that must not
// keep bids away, and in the hands of many bidders it would keep away most. So
// of what is held only what is expected to be paid counts against a lease,
// with a margin that makes it as good as impossible to be wrong.
const (
	slowLife   = 86400.0 // seconds: mean life of the part of holds that is paid
	fastFloor  = 60.0    // seconds: least mean life of what follows the market
	payMargin  = 1.0     // of what is expected: multipliers and markets may double it before it is heard
	deviations = 5.0     // standard deviations of the sum of the payments
	knownToPay = 50.0    // payments, before anything is expected
)

// expectation is what is known of how holds end.
//
// A hold counts by how long it stood: then the part that is paid is the part
// of what stands at any time that will be paid, whether losses are told at
// once, late or never, and wins early or late.
type expectation struct {
	slow, mid, fast share
	fresh           share   // since the last Step
	payments        float64 // how many, decaying
	sum, squares    float64 // of payments, decaying
	relief          int64   // part of what is held that will not be paid
	relieved        float64 // relief for each unit of what was held at the last Step
}

// share is money by how long it was held, in seconds.
type share struct{ held, paid float64 }

// decide notes how a hold has ended.
func (x *expectation) decide(cost, paid int64, age float64) {
	age++ // a hold of no time at all is one as well
	x.fresh.held += float64(cost) * age
	x.fresh.paid += float64(min(paid, cost)) * age
	if paid > 0 {
		x.payments++
		x.sum += float64(paid)
		x.squares += float64(paid) * float64(paid)
	}
}

func (s *share) add(fresh share, k float64) {
	s.held = s.held*k + fresh.held
	s.paid = s.paid*k + fresh.paid
}

func (s *share) of(otherwise float64) float64 {
	if s.held <= 0 {
		return otherwise
	}
	return s.paid / s.held
}

// delay is how long a payment takes, in seconds; the dearer counts for more.
func (x *expectation) delay() float64 {
	if x.sum <= 0 {
		return 0
	}
	return x.slow.paid / x.sum
}

// likely is the part of what is held that will be paid, once that is known.
func (x *expectation) likely() (share float64, known bool) {
	return max(0.01, x.fast.of(x.slow.of(1))), x.payments >= knownToPay
}

// expect computes what of the holds will not be paid.
func (a *account) expect(p *Pacer, now int64, dt float64) {
	x := &a.expectation
	k := decay(dt, slowLife)
	x.slow.add(x.fresh, k)
	x.payments, x.sum, x.squares = x.payments*k, x.sum*k, x.squares*k
	a.relief = 0
	held := a.own()
	if held == 0 && x.fresh == (share{}) && x.fast == (share{}) {
		return
	}
	// In the time that a payment takes the market is known anew.
	life := max(fastFloor, x.delay())
	x.fast.add(x.fresh, decay(dt, 1.5*life))
	x.mid.add(x.fresh, decay(dt, 4.5*life))
	x.fresh = share{}
	if x.payments < knownToPay || held == 0 || a.limbo != 0 {
		return
	}

	// What is in flight may all be paid, as far as the past day does not
	// outweigh it: in the beginning it is the losses or the wins that are heard
	// of first.
	open := 0.0
	for i := range a.ring {
		if v := a.ring[i].Load(); v > 0 {
			open += float64(v) * max(1, float64(now-p.madeIn(i)))
		}
	}
	q := (x.slow.paid + open) / (x.slow.held + open)
	fast := x.fast.of(q)
	q = max(q, fast, 2*fast-x.mid.of(fast)) // a trend goes on
	q = min(1, q)

	// Two things may be wrong with the expectation, independently: the part that
	// is paid, and chance. By Bernstein's inequality the dearest bids count on
	// top of the deviations.
	expected := q * float64(held)
	drift := payMargin * expected
	chance := deviations * math.Sqrt(expected*(1-q)*x.squares/x.sum)
	margin := math.Hypot(drift, chance) + deviations*deviations/6*a.most
	a.relief = held - int64(min(math.Ceil(expected+margin), float64(held)))
	a.relieved = float64(a.relief) / float64(held)
}

// madeIn is when the oldest bids in a bucket may have been made.
func (p *Pacer) madeIn(bucket int) int64 {
	first := p.expired.Load() + 1
	return (first + (int64(bucket)-first)&(ringSize-1)) * p.width
}
