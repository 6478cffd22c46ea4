package pacing

import (
	"math"
	"time"

	"bidwell/rtb"
)

const (
	minRate   = 1.0 / 256 // never closed: without bids nothing is learned of the traffic
	firstRate = 0.1       // of a line item whose traffic is not known yet
	riseRate  = 1.25      // a second at most

	horizon      = 60.0  // seconds of the plan to spend in as many seconds
	catchUp      = 600.0 // seconds to make up for what is missing
	demandLife   = 60.0  // seconds: mean life of what is known of the traffic
	paidLife     = 900.0 // of the part of holds that is paid
	hourLearning = 0.3   // weight of an hour against those of the weeks before
)

// steering moves the valves of an account so that spend follows its plan.
type steering struct {
	rates [3]float64 // by rtb.Pacing: the part of the opportunities to let through

	offered float64 // since the last Step: cost of what this account alone could have had
	traffic float64 // since the last Step: cost of all opportunities

	demand, demandTime float64 // offered, decaying, and the time it is of
	resolvedMean       float64 // cost of holds that were decided, decaying
	paidMean           float64 // and what was paid of it

	profile           *profile
	hourEnd           int64
	hour              int // of the week
	hourSum, hourTime float64
}

// payShare is the part of what is held that will be spent: all of it, until
// wins and losses say otherwise.
func (a *account) payShare() float64 {
	prior := float64(a.plan.burst()) + 1
	return max(0.01, min(1, (a.paidMean+prior)/(a.resolvedMean+prior)))
}

// observe takes in what has happened since the Step before.
func (a *account) observe(now int64, dt float64) {
	k := decay(dt, paidLife)
	a.resolvedMean = a.resolvedMean*k + float64(a.resolved)
	a.paidMean = a.paidMean*k + float64(a.paid)
	a.resolved, a.paid = 0, 0

	k = decay(dt, demandLife)
	a.demand = a.demand*k + a.offered
	a.demandTime = a.demandTime*k + dt

	a.hourSum += a.traffic
	a.hourTime += dt
	a.offered, a.traffic = 0, 0
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
	a.hour, a.hourEnd = hourOfWeek(now, a.terms.location), nextHour(now, a.terms.location)
	a.hourSum, a.hourTime = 0, 0
}

// weight is how much a quarter of an hour counts in the plan.
func (a *account) weight(at int64) float64 {
	hour := hourOfWeek(at, a.terms.location)
	if !a.terms.hours.Has(hour) {
		return 0
	}
	if a.profile == nil {
		return 1
	}
	return a.profile.weight(hour)
}

// steer moves the valves. The valve is what the plan asks for in the next
// minute over what traffic there is; what is missing so far is asked for over
// ten minutes, or less towards the end, what is too much at once.
func (a *account) steer(now, dt float64) {
	a.rates[rtb.PaceASAP] = 1
	a.rates[rtb.PaceEven] = a.valve(a.rates[rtb.PaceEven], now, dt, a.plan.at)
	a.rates[rtb.PaceAhead] = a.valve(a.rates[rtb.PaceAhead], now, dt, a.plan.ahead)
}

func (a *account) valve(rate, now, dt float64, plan func(float64) int64) float64 {
	if !a.planned {
		return 1
	}
	share := a.payShare()
	left := max(1, float64(a.plan.end)-now)
	ahead := min(horizon, left)
	planned := float64(plan(now))
	need := float64(plan(now+ahead)) - planned
	if gap := planned - float64(a.today()) - share*float64(a.held()); gap > 0 {
		need += gap * ahead / max(1, min(catchUp, left/4))
	} else {
		need += gap
	}

	want := 1.0
	if traffic := share * a.demand / max(1e-9, a.demandTime) * ahead; traffic > need {
		want = need / traffic
	}
	return max(minRate, min(want, 1, rate*math.Pow(riseRate, min(dt, 10))))
}

// profile is the traffic of the hours of the week, in money a second.
type profile struct {
	hours [168]float32
	seen  rtb.WeekHours
}

func (p *profile) learn(hour int, traffic float64) {
	if p.seen.Set && p.seen.Has(hour) {
		traffic = hourLearning*traffic + (1-hourLearning)*float64(p.hours[hour])
	}
	p.seen.Add(time.Weekday(hour/24), hour%24)
	p.hours[hour] = float32(traffic)
}

// weight is the traffic of an hour: what it was in the weeks before, or in
// such an hour of the other days. Until each hour of the day has been seen
// once, all are equal. None counts less than a fiftieth of the mean.
func (p *profile) weight(hour int) float64 {
	sum, mean := 0.0, 0.0
	for h := range 24 {
		v, ok := p.ofDay(h)
		if !ok {
			return 1
		}
		sum += v
		if h == hour%24 {
			mean = v
		}
	}
	if p.seen.Has(hour) {
		mean = float64(p.hours[hour])
	}
	if sum == 0 {
		return 1
	}
	return max(mean, sum/24/50)
}

// ofDay is the mean of an hour over the days on which it was seen.
func (p *profile) ofDay(h int) (float64, bool) {
	sum, n := 0.0, 0
	for ; h < 168; h += 24 {
		if p.seen.Has(h) {
			sum += float64(p.hours[h])
			n++
		}
	}
	return sum / float64(max(n, 1)), n > 0
}
