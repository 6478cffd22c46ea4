package pacing

import (
	"math"

	"bidwell/rtb"
)

const (
	minRate   = 1.0 / 256 // never closed: without bids nothing is learned of the traffic
	minSample = 20.0      // nor so far that fewer opportunities come in a time constant
	firstRate = 0.1       // of a line item whose traffic is not known yet
	riseRate  = 1.25      // a second at most

	demandLife = 60.0  // seconds: mean life of what is known of the traffic
	flowLife   = 900.0 // of their number
	paidLife   = 900.0 // of the part of holds that is paid

	// The valve stays open as long as bids would spend no more than openUntil
	// times the plan, for that is what multipliers are for. From closeFrom on
	// it lets through what the plan asks for.
	openUntil = 1.5
	closeFrom = 2.5

	// astray is how far spend may be off the plan, as part of the day's money,
	// until what is left is planned anew.
	astray = 0.02
)

// steering moves the multipliers and the valves of an account so that spend
// follows its plan.
type steering struct {
	rates [3]float64 // by rtb.Pacing: the part of the opportunities to let through
	duals [3]dual    // by rtb.Pacing
	pulse pulse

	// loosest are the highest multipliers that line items had since the last
	// Step, by rtb.Pacing, as logarithms: more than zero when there was none.
	loosest [3]float64

	asked         float64 // since the last Step: cost of all bids
	offered       float64 // what it would have been if this account alone moved valves
	slack0        int64   // slack at the last Step
	openness      float64 // offered over asked, when there was something last
	opportunities float64 // since the last Step
	meanBid       float64 // the mean of those since the last Step that had some

	flow               float64 // opportunities a second of late
	demand, demandTime float64 // what would be paid with open valves, decaying, and the time it is of
	resolvedMean       float64 // cost of holds that were decided, decaying
	paidMean           float64 // and what was paid of it
	expected0          float64 // what was spent and will be of what is held, at the last Step
	day                float64 // money of the day, when its plan was first made

	forecast          *outlook
	profile           *profile
	seen              float64 // opportunities of today
	seenSince         int64
	hourEnd           int64
	hour              int // of the week
	hourSum, hourTime float64

	history *history
	stream  stream

	came, cameCost float64 // opportunities between the two last Steps, and what was asked for them
}

// payShare is the part of what is held that will be spent: all of it, until
// wins and losses say otherwise.
func (a *account) payShare() float64 {
	if share, known := a.likely(); known {
		return share
	}
	prior := min(float64(a.plan.burst()), 5*a.meanBid) + 1
	return max(0.01, min(1, (a.paidMean+prior)/(a.resolvedMean+prior)))
}

// expectedSpend is what was spent, ever, and what will be of what is held.
func (a *account) expectedSpend() float64 {
	return float64(a.spent()) + a.payShare()*float64(a.held())
}

// observe takes in what has happened since the Step before.
func (a *account) observe(now int64, dt float64) {
	k := decay(dt, paidLife)
	a.resolvedMean = a.resolvedMean*k + float64(a.resolved)
	a.paidMean = a.paidMean*k + float64(a.paid)
	a.resolved, a.paid = 0, 0

	if a.asked > 0 {
		a.openness = a.offered / a.asked
	}
	a.flow = a.flow*decay(dt, flowLife) + a.opportunities*(1-decay(dt, flowLife))/dt
	a.seen += a.opportunities
	a.hourSum += a.opportunities
	a.hourTime += dt
	a.came, a.cameCost = a.opportunities, a.asked
	a.asked, a.offered, a.opportunities = 0, 0, 0
	if now >= a.hourEnd {
		a.closeHour(now)
	}
}

// closeHour learns from an hour that was watched for at least half of it.
func (a *account) closeHour(now int64) {
	if a.hourEnd != 0 && a.hourTime >= 1800 && (a.profile != nil || a.hourSum > 0) {
		if a.profile == nil {
			a.profile = new(profile)
		}
		a.profile.learn(a.hour, a.hourSum/a.hourTime)
	}
	if a.hourEnd != 0 && a.stream.on {
		a.stream.note(a.hour, a.hourSum, a.hourTime)
	}
	a.hour, a.hourEnd = hourOfWeek(now, a.terms.location), nextHour(now, a.terms.location)
	a.hourSum, a.hourTime = 0, 0
}

// steer moves the multipliers and the valves after a Step of dt seconds, whose
// bids were made between two epochs.
func (a *account) steer(now, dt float64, first, last int64) {
	expected := a.expectedSpend()
	// What was refused for lack of room would have been spent too: bids that are
	// too dear are no reason to bid more. Unless there is more room now.
	paid := expected - a.expected0
	if refused := float64(a.refused.Swap(0)) * a.crowd(); a.slack() <= a.slack0 {
		paid += a.payShare() * refused
	}
	a.slack0 = a.slack()
	a.expected0 = expected
	open := paid * max(1, a.openness) // with open valves
	k := decay(dt, max(demandLife, a.pulse.tau/2))
	a.demand = a.demand*k + open
	a.demandTime = a.demandTime*k + dt
	a.rates[rtb.PaceASAP], a.duals[rtb.PaceASAP].log = 1, 0
	if !a.planned {
		a.rates = [3]float64{1, 1, 1}
		a.duals = [3]dual{}
		return
	}
	if a.stream.on {
		a.stream.course(a, now, first, last)
		a.note(now)
		return
	}
	today := expected - float64(a.before)
	if off := float64(a.plan.at(now)) - today; math.Abs(off) > astray*a.day+float64(a.slack()) && float64(a.plan.end)-now > quarter {
		a.replan(int64(now))
	}
	a.pulse.feel(a, now, dt, paid)
	a.course(rtb.PaceEven, now, dt, open, today, a.plan.at)
	a.course(rtb.PaceAhead, now, dt, open, today, a.plan.ahead)
	a.note(now)
}

// course moves one multiplier and one valve along a plan.
func (a *account) course(mode rtb.Pacing, now, dt, open, today float64, plan func(float64) int64) {
	tau, left := a.pulse.tau, float64(a.plan.end)-now
	if left <= 0 || today >= float64(a.plan.target) {
		return
	}
	planned := float64(plan(now))
	ahead := min(tau, left)
	mean := (float64(a.plan.target) - planned) / left
	pace := max((float64(plan(now+ahead))-planned)/ahead, mean/50, 1e-9) // money a second
	gap := max(-2, min(2, (planned-today)/(pace*tau)))

	d := &a.duals[mode]
	if loosest := a.loosest[mode]; loosest <= 0 {
		d.log = min(d.log, loosest+slackLog)
	}
	a.loosest[mode] = 1 // none
	d.step(planned-float64(plan(now-dt)), open, gap, dt, tau, pace)

	want := 1.0
	over := a.demand / max(1e-9, a.demandTime) / pace
	if over > openUntil {
		mix := min(1, (over-openUntil)/(closeFrom-openUntil))
		want = 1 - mix + mix*(1+min(gap, 0.5))/over
	}
	want = max(want, minSample/max(1e-9, a.flow*tau))
	a.rates[mode] = max(minRate, min(want, 1, a.rates[mode]*math.Pow(riseRate, min(dt, 10))))
}
