package pacing

import "math"

// What is held will mostly not be paid. Near the end of a budget that must not
// keep bids away, and in the hands of many bidders it would keep away most. So
// of what is held only what is expected to be paid counts against a lease,
// with a margin that makes it as good as impossible to be wrong.
const (
	slowLife   = 86400.0 // seconds: mean life of the part of holds that is paid
	fastFloor  = 60.0    // seconds: least mean life of what follows the market
	payMargin  = 0.35    // of what is expected: it may be so much more
	deviations = 4.5     // standard deviations of the sum of the payments
	knownToPay = 50.0    // payments, before anything is expected
	unseen     = 10.0    // payments by which the part that is paid is taken to be more

	steepness = 2.5 // how much more wins a higher multiplier brings at most: its power

	// A stream may find another multiplier before it is heard what the last one has
	// brought. With notices that late all that is held counts.
	streamLate = 3600.0 // seconds

	levelCount  = 80 // of multipliers: the last is for all that are lower
	levelOctave = 8  // levels from a multiplier to half of it
)

// expectation is what is known of how holds end.
//
// A hold counts by how long it stood: then the part that is paid is the part
// of what stands at any time that will be paid, whether losses are told at
// once, late or never, and wins early or late. Bids that are a larger part of
// their value win more often, so that part is known for each level of the
// multiplier; what the market does besides shows in how payments compare with
// what was foretold.
type expectation struct {
	shares           *[levelCount]share // by level, decaying; nil before anything was decided
	fresh, fast, mid recent
	payments         float64         // how many, decaying
	sum, squares     float64         // of payments, decaying
	waited           float64         // of payments, times the seconds until they came
	relief           int64           // part of what is held that will not be paid
	relieved         float64         // relief for each unit of what was held at the last Step
	share            float64         // of what is held that will be paid, most likely
	levels           [ringSize]uint8 // of each bucket: the highest multiplier's and one; zero is not known
}

// share is money by how long it was held, in seconds.
type share struct{ held, paid float64 }

func (s share) of(otherwise float64) float64 {
	if s.held <= 0 {
		return otherwise
	}
	return s.paid / s.held
}

// recent is what was decided of late.
type recent struct {
	share
	levels          float64 // of what was held
	known, foretold float64 // paid, where the shares foretold something, and what that was
}

func (r *recent) add(fresh recent, k float64) {
	r.held = r.held*k + fresh.held
	r.paid = r.paid*k + fresh.paid
	r.levels = r.levels*k + fresh.levels
	r.known = r.known*k + fresh.known
	r.foretold = r.foretold*k + fresh.foretold
}

// ratio is by how much more was paid than was foretold.
func (r *recent) ratio() float64 {
	if r.foretold <= 0 {
		return 1
	}
	return r.known / r.foretold
}

// climb is the part that would be paid at the level of a higher multiplier
// than those of late.
func (r *recent) climb(level int) float64 {
	up := 0.0
	if r.held > 0 {
		up = r.levels/r.held - float64(level)
	}
	if up <= 0 {
		return 0
	}
	return r.of(0) * math.Exp2(steepness*up/levelOctave)
}

// levelOf is the level of a multiplier: zero is that of one.
func levelOf(multiplier float64) uint8 {
	if multiplier >= 1 {
		return 0
	}
	return uint8(min(levelCount-1, -levelOctave*math.Log2(max(multiplier, lowestMultiplier))))
}

// bidAt notes the multiplier of bids made in an epoch.
func (x *expectation) bidAt(epoch int64, multiplier float64) {
	l := &x.levels[epoch&(ringSize-1)]
	if level := levelOf(multiplier) + 1; *l == 0 || level < *l {
		*l = level
	}
}

// level is that of the bids made in an epoch.
func (x *expectation) level(bucket int64) int {
	return max(0, int(x.levels[bucket&(ringSize-1)])-1)
}

// decide notes how a hold has ended.
func (x *expectation) decide(epoch, cost, paid int64, age float64) {
	age++ // a hold of no time at all is one as well
	if x.shares == nil {
		x.shares = new([levelCount]share)
	}
	level := x.level(epoch)
	s := &x.shares[level]
	part := share{float64(cost) * age, float64(min(paid, cost)) * age}
	x.fresh.held += part.held
	x.fresh.paid += part.paid
	x.fresh.levels += part.held * float64(level)
	if s.held > 0 {
		x.fresh.known += part.paid
		x.fresh.foretold += part.held * s.of(0)
	}
	s.held += part.held
	s.paid += part.paid
	if paid > 0 {
		x.payments++
		x.sum += float64(paid)
		x.squares += float64(paid) * float64(paid)
		x.waited += float64(paid) * age
	}
}

// delay is how long a payment takes, in seconds; the dearer counts for more.
func (x *expectation) delay() float64 {
	if x.sum <= 0 {
		return 0
	}
	return x.waited / x.sum
}

// grain is the size of a typical payment, of the money paid; zero when there was none.
func (x *expectation) grain() float64 {
	if x.sum <= 0 {
		return 0
	}
	return x.squares / x.sum
}

// likely is the part of what is held that will be paid, once that is known.
func (x *expectation) likely() (share float64, known bool) {
	return max(0.01, x.share), x.payments >= knownToPay && x.share > 0
}

// expect computes what of the holds will not be paid.
func (a *account) expect(p *Pacer, now int64, dt float64) {
	x := &a.expectation
	a.relief, a.relieved = 0, 0
	if x.shares == nil {
		return
	}
	k := decay(dt, slowLife)
	x.payments, x.sum, x.squares, x.waited = x.payments*k, x.sum*k, x.squares*k, x.waited*k
	var all share
	for l := range x.shares {
		s := &x.shares[l]
		s.held, s.paid = s.held*k, s.paid*k
		all.held, all.paid = all.held+s.held, all.paid+s.paid
	}
	// In the time that a payment takes the market is known anew.
	life := max(fastFloor, x.delay())
	x.fast.add(x.fresh, decay(dt, 1.5*life))
	x.mid.add(x.fresh, decay(dt, 4.5*life))
	x.fresh = recent{}
	held := a.own()
	if x.payments < knownToPay || held == 0 || a.limbo != 0 {
		return
	}
	if a.stream.on && x.delay() > streamLate {
		return
	}

	var standing [levelCount]share // what is held, and for how long it was
	waiting := 0.0
	for i := range a.ring {
		if v := float64(a.ring[i].Load()); v > 0 {
			s := &standing[x.level(int64(i))]
			age := v * max(1, float64(now-p.madeIn(i)))
			s.held += v
			s.paid += age
			waiting += age
		}
	}
	ratio := x.fast.ratio()
	trend := max(1, ratio, 2*ratio-x.mid.ratio()) // a trend goes on
	grain := x.squares / x.sum
	doubt := unseen * grain * life
	// All that is in flight may be paid, as long as what was decided does not
	// outweigh it: losses may be heard of first. Of one level no more than twice
	// as much as of all.
	usual := min(1, 2*(all.paid+waiting)/(all.held+waiting))
	expected, variance, likely, most := 0.0, 0.0, 0.0, 1.0
	for l := range standing {
		s, open := x.shares[l], standing[l].paid
		// A lower multiplier wins no more than a higher one.
		most = min(most, (s.paid+usual*open+doubt)/(s.held+open+doubt))
		v := standing[l].held
		q := min(1, max(most*trend, x.fast.climb(l)))
		expected += q * v
		variance += q * (1 - q) * v
		likely += v * min(q, ratio*(s.paid+doubt*all.of(1))/(s.held+doubt))
	}
	x.share = likely / float64(held)

	// Two things may be wrong with the expectation, independently: the part that
	// is paid, and chance. By Bernstein's inequality the dearest bids count on
	// top of the deviations.
	margin := math.Hypot(payMargin*expected, deviations*math.Sqrt(variance*grain)) + deviations*deviations/6*a.most
	a.relief = held - int64(min(math.Ceil(expected+margin), float64(held)))
	a.relieved = float64(a.relief) / float64(held)
}

// madeIn is when the oldest bids in a bucket may have been made.
func (p *Pacer) madeIn(bucket int) int64 {
	first := p.expired.Load() + 1
	return (first + (int64(bucket)-first)&(ringSize-1)) * p.width
}
