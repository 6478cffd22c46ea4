package pacing

import (
	"math"

	"bidwell/rtb"
)

const (
	lowestMultiplier = 1e-6
	slackLog         = 0.7 // a multiplier that does not bind is at most twice the one that does

	correction = 0.25 // weight of the gap between spend and plan
	meeting    = 0.2  // of the way to the mean of all bidders, each time a lease is asked for

	// The time constant of a multiplier is what the plan takes to spend so many
	// payments: few at first, when nothing is known, then enough for their
	// chance not to matter.
	firstPayments = 10.0
	mostPayments  = 100.0
	slowest       = 16.0  // never more than this part of the plan
	quickest      = 288.0 // nor less than this one: five minutes of a day, for notices come late
	delays        = 3.0   // nor than so many times the delay of notices
)

// dual is the logarithm of the part of its value that a line item bids: the
// dual variable of its budget. Money that is scarce is worth more than one.
//
// Spend that keeps up with the plan leaves it where it is; each payment lowers
// it and the passing of planned time raises it, so that it finds by itself what
// the market asks (mirror descent, Balseiro, Lu, Mirrokni 2020). The gap
// between what was spent and what was planned pulls on it too, or errors of
// what is only expected would add up.
type dual struct{ log float64 }

// step takes in dt seconds in which planned was to be spent and paid was.
func (d *dual) step(planned, paid, gap, dt, tau, pace float64) {
	move := (planned-paid)/(pace*tau) + correction*gap*min(1, dt/tau)
	d.log = max(math.Log(lowestMultiplier), min(0, d.log+max(-1, min(1, move))))
}

func (d *dual) multiplier() float64 { return math.Exp(d.log) }

// common is the multiplier that other bidders should know of: that of the line
// items that draw on the account, zero when none is steered.
func (s *steering) common() float64 {
	for _, mode := range [...]rtb.Pacing{rtb.PaceEven, rtb.PaceAhead} {
		if s.loosest[mode] <= 0 {
			return s.duals[mode].multiplier()
		}
	}
	return 0
}

// meet moves the multipliers towards those of the others. Bidders that share a
// plan see only what all spend together: without this one would bid ever more
// and another ever less, until few bids take all the money.
func (s *steering) meet(asked float64, g *Grant) {
	if asked <= 0 || g.Multiplier <= 0 || g.Nodes < 2 {
		return
	}
	move := meeting * math.Log(g.Multiplier/asked)
	for mode := range s.duals {
		d := &s.duals[mode]
		d.log = max(math.Log(lowestMultiplier), min(0, d.log+move))
	}
	s.stream.log += move // what was learned is of that one now
}

// pulse knows how grainy the spend of an account is, and from that how fast
// its multipliers may follow.
type pulse struct {
	sum, squares float64 // of payments, decaying
	count        float64 // of payments of typical size, ever
	age          float64 // seconds
	tau          float64 // seconds
}

const (
	pulseLife = 4 * 3600.0 // seconds
)

// feel takes in what was paid in dt seconds.
func (u *pulse) feel(a *account, now, dt, paid float64) {
	k := decay(dt, pulseLife)
	u.sum = u.sum*k + math.Abs(paid)
	u.squares = u.squares*k + paid*paid
	u.age += dt
	grain := a.meanBid // before anything is paid a bid is as good a guess as any
	if u.sum > 0 {
		grain = u.squares / u.sum
	}
	if grain > 0 {
		u.count += math.Abs(paid) / grain
	}

	length := float64(a.plan.end - a.plan.from)
	left := max(1, float64(a.plan.end)-now)
	pace := max(1e-9, float64(a.plan.target-a.plan.base)/max(1, length))
	payments := min(mostPayments, firstPayments+u.count/8)
	tau := payments * grain / pace
	floor := max(min(float64(a.dayEnd-a.dayStart)/quickest, length/30, 20+u.age/4), delays*a.delay())
	u.tau = max(1, min(max(tau, floor), length/slowest, max(left/3, 30)))
}

// multiply is the smallest of the multipliers of a line item.
func (s *slot) multiply(d *drawing) float64 {
	least := 0.0
	if d.mode != rtb.PaceASAP {
		for _, a := range d.accounts {
			least = min(least, a.duals[d.mode].log)
		}
	}
	if s.caps != nil {
		least = min(least, s.caps.clicks.log, s.caps.conversions.log)
	}
	return math.Exp(least)
}

// tighten keeps multipliers that do not bind close to those that do. Otherwise
// one would be far too high when its turn comes.
func (t *table) tighten() {
	for _, s := range t.slots {
		if s == nil {
			continue
		}
		if d := s.draws.Load(); !d.closed {
			log := math.Log(math.Float64frombits(s.multiplier.Load()))
			for _, a := range d.accounts {
				if l := &a.loosest[d.mode]; *l > 0 || log > *l {
					*l = log
				}
			}
			if c := s.caps; c != nil {
				for _, r := range []*ratio{&c.clicks, &c.conversions} {
					if r.cap > 0 {
						r.log = min(r.log, log+slackLog)
					}
				}
			}
		}
	}
}
