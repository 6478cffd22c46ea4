package pacing

import (
	"math"

	"bidwell/rtb"
)

// A stream steers an account whose traffic nobody knows beforehand. A plan by
// the clock would spend in the hours that it guessed, and pay more in those
// with little traffic: but the same multiplier at any time buys the most. So
// the money left is divided by the opportunities left, however many come when,
// and the multiplier is the one with which all those before would have cost as
// much: what each brought is taken to be more where it was lower, by the
// elasticity of spend. How many are left follows from those seen and from what
// a day is usually like.
type stream struct {
	on          bool
	edges       edges
	trials      *[ringSize]trial // by the time of the bids; nil while it is off
	log         float64          // the multiplier, a logarithm
	paid, tried float64          // money and opportunities, as if all had been with that multiplier
	all         float64          // opportunities, ever
	hours       []observed
	left        float64 // opportunities, when they were estimated
	leftAt      float64 // and after so many, of all
	estimateAt  float64 // seconds: when to do so again
}

// trial is what came of the bids of one stretch of time.
type trial struct {
	epoch          int64
	log            float64 // their multiplier
	came, cost     float64 // opportunities, and what bids on them would have held
	resolved, paid float64 // of that cost, since the last Step
}

// observed is the traffic of an hour, in opportunities a second.
type observed struct {
	hour    int // of the day
	traffic float64
	weight  float64 // of an hour that was watched
}

const (
	streamDoubt  = 3.0 // payments, as planned: until then the multiplier hardly moves
	streamFade   = 0.3 // how much less than the last what came first counts: a power of its place
	streamForget = 0.3 // what another multiplier has shown, as a rate of its distance

	hourNoise = 0.2  // standard deviation of a step of the logarithm of the traffic from its shape
	hourTrend = 0.75 // of a deviation from the shape, what is left of it an hour later
)

// usualDay is the traffic of the hours of a day as sites for people in one time
// zone have it: least before dawn, most in the evening.
var usualDay = [24]float64{
	.65, .42, .28, .21, .19, .25, .42, .68, .92, 1.08, 1.16, 1.18,
	1.20, 1.18, 1.14, 1.12, 1.13, 1.16, 1.24, 1.38, 1.48, 1.42, 1.22, .92,
}

// dayShape is one that a day may have: usualDay in some time zone, more or
// less pronounced.
type dayShape struct {
	hours [24]float64
	prior float64 // logarithm of its probability
}

// dayShapes are those that are taken to be possible, the likeliest in the time
// zone of the line item.
var dayShapes = func() []dayShape {
	flat := dayShape{prior: math.Log(0.2)}
	for h := range flat.hours {
		flat.hours[h] = 1
	}
	shapes := []dayShape{flat}
	for shift := range 24 {
		for _, power := range [...]float64{0.5, 0.75, 1, 1.25, 1.5} {
			p := 0.0012
			switch {
			case shift == 0:
				p = 0.1
			case shift <= 2 || shift >= 22:
				p = 0.009
			}
			s := dayShape{prior: math.Log(p)}
			for h := range s.hours {
				s.hours[h] = math.Pow(usualDay[(h+shift)%24], power)
			}
			shapes = append(shapes, s)
		}
	}
	return shapes
}()

// note remembers an hour that is over, or the part of it that was watched.
func (u *stream) note(hourOfWeek int, sum, time float64) {
	const day = 24
	if time < 300 {
		return
	}
	u.hours = append(u.hours, observed{hourOfWeek % day, sum / time, min(1, time/3600)})
	if len(u.hours) > 28*day {
		u.hours = u.hours[day:]
	}
}

// shape is the expected traffic of the hours of a day, in opportunities a
// second: the mean of the shapes by how well they go with the hours seen, and
// of an hour that was seen before mostly what it was. Trend is by how much more
// came of late than that, as a logarithm.
func (u *stream) shape(now observed) (hours [24]float64, trend float64) {
	seen := u.hours
	if now.weight > 0 {
		seen = append(seen[:len(seen):len(seen)], now)
	}
	if len(seen) == 0 {
		return usualDay, 0
	}
	recent := seen[max(0, len(seen)-48):]
	scores, best := make([]float64, len(dayShapes)), math.Inf(-1)
	for k := range dayShapes {
		s := &dayShapes[k]
		scores[k] = s.prior
		for i := 1; i < len(recent); i++ {
			a, b := recent[i-1], recent[i]
			step := math.Log(max(b.traffic, 1e-9) / max(a.traffic, 1e-9) * s.hours[a.hour] / s.hours[b.hour])
			step = max(-1, min(1, step))
			scores[k] -= step * step / 2 / (hourNoise*hourNoise + 1/(1+a.count()) + 1/(1+b.count()))
		}
		best = max(best, scores[k])
	}
	total := 0.0
	for k := range dayShapes {
		s, p := &dayShapes[k], math.Exp(scores[k]-best)
		if p < 1e-6 {
			continue
		}
		total += p
		traffic, expected := 0.0, 0.0
		for _, o := range recent {
			traffic, expected = traffic+o.weight*o.traffic, expected+o.weight*s.hours[o.hour]
		}
		for h := range hours {
			hours[h] += p * s.hours[h] * traffic / expected
		}
	}
	var sums, weights [24]float64
	const guess = 0.25 // weight of the shapes against an hour that was seen
	for h := range hours {
		sums[h], weights[h] = guess*hours[h]/total, guess
	}
	// The trend is against the days before: this one knows itself.
	today := seen[max(0, len(seen)-20):]
	count := func(hours []observed) {
		for _, o := range hours {
			sums[o.hour] += o.weight * o.traffic
			weights[o.hour] += o.weight
		}
	}
	count(seen[:len(seen)-len(today)])
	errors, n := 0.0, 1.0
	for i, o := range today {
		w := o.weight * math.Pow(hourTrend, float64(len(today)-1-i))
		e := math.Log(max(o.traffic, 1e-9) * weights[o.hour] / sums[o.hour])
		errors, n = errors+w*max(-2, min(2, e)), n+w
	}
	count(today)
	for h := range hours {
		hours[h] = sums[h] / weights[h]
	}
	return hours, errors / n
}

// count is how many opportunities there were.
func (o *observed) count() float64 { return o.traffic * o.weight * 3600 }

// estimate counts the opportunities to come between two times.
func (a *account) estimate(now, until float64) float64 {
	u := &a.stream
	if f := a.forecast; f.covers(int64(now), int64(until)) {
		return f.left(now, until, u.all)
	}
	current := observed{hour: a.hour % 24}
	if a.hourTime >= 300 || a.hourTime > 0 && len(u.hours) == 0 {
		current.traffic, current.weight = a.hourSum/a.hourTime, min(1, a.hourTime/3600)
	}
	hours, trend := u.shape(current)
	left := 0.0
	for at := now; at < until; {
		next := min(until, float64(nextHour(int64(at), a.terms.location)))
		if hour := hourOfWeek(int64(at), a.terms.location); a.terms.hours.Has(hour) {
			left += hours[hour%24] * math.Exp(trend) * (next - at)
		}
		trend *= math.Pow(hourTrend, (next-at)/3600)
		at = next
	}
	// A forecast counts as much as a part of what it is for.
	if f := a.forecast; f != nil && f.total > 0 {
		passed := u.all / max(1, u.all+left)
		left = (f.total*forecastTrust + u.all) / (forecastTrust + passed) * (1 - passed)
	}
	return left
}

// left is the traffic between two times, in opportunities, by what came before.
func (o *outlook) left(now, until, seen float64) float64 {
	trust := 1e-9
	if o.total > 0 {
		trust = forecastTrust
	}
	before, after := o.before(int64(now)), o.before(int64(until))
	return (o.total*trust + seen) / (trust + before) * max(0, after-before)
}

// try notes the opportunities that came between two epochs, and the cost of the
// bids on them. What nobody bid on has cost nothing.
func (u *stream) try(first, last int64, log, came, cost float64) {
	u.all += came
	if cost <= 0 {
		u.tried += came
		return
	}
	part := 1 / float64(last-first+1)
	for e := first; e <= last; e++ {
		t := u.trial(e)
		t.came += part * came
		t.log += (log - t.log) * part * came / max(1e-9, t.came)
		t.cost += part * cost
	}
}

func (u *stream) trial(epoch int64) *trial {
	t := &u.trials[epoch&(ringSize-1)]
	if t.epoch != epoch {
		*t = trial{epoch: epoch}
	}
	return t
}

// decide notes how a hold has ended.
func (u *stream) decide(epoch, cost, paid int64) {
	if u.on {
		t := u.trial(epoch)
		t.resolved += float64(cost)
		t.paid += float64(paid)
	}
}

// learn takes in what was decided since the last Step.
func (u *stream) learn(elasticity float64) {
	for i := range u.trials {
		t := &u.trials[i]
		if t.resolved == 0 {
			continue
		}
		keep, rise := likeness(u.log-t.log, elasticity)
		u.paid += keep * rise * t.paid
		if t.cost > 0 {
			u.tried += keep * t.came * t.resolved / t.cost
		}
		t.resolved, t.paid = 0, 0
	}
}

// likeness is what is worth knowing of what another multiplier has brought,
// and by what part more this one would have.
func likeness(move, elasticity float64) (keep, rise float64) {
	return math.Exp(-streamForget * math.Abs(move)), math.Exp(elasticity * move)
}

// course moves the multiplier of an account after a Step in which so many
// opportunities came between two epochs.
func (u *stream) course(a *account, now float64, first, last int64) {
	grain := a.grain()
	if grain <= 0 {
		grain = a.meanBid // as good a guess as any
	}
	elasticity, log := u.elasticity(grain), a.duals[rtb.PaceEven].log
	for _, loosest := range a.loosest {
		if loosest <= 0 {
			log = loosest // what was bid
		}
	}
	keep, rise := likeness(log-u.log, elasticity)
	u.log, u.paid, u.tried = log, keep*rise*u.paid, keep*u.tried
	fade := 1 - streamFade*a.came/max(1, u.all+a.came)
	u.paid, u.tried = fade*u.paid, fade*u.tried
	paid, tried := u.paid, u.tried
	u.try(first, last, log, a.came, a.cameCost)
	u.learn(elasticity)

	until, money := float64(a.terms.end), float64(a.terms.total)-a.expectedSpend()
	if a.terms.daily > 0 {
		until, money = float64(a.plan.end), float64(a.plan.target)-(a.expectedSpend()-float64(a.before))
	}
	if until <= now || grain <= 0 {
		return
	}
	if now >= u.estimateAt || u.all > 1.1*u.leftAt || u.all-u.leftAt > 0.2*u.left {
		u.left, u.leftAt = a.estimate(now, until), u.all
		u.estimateAt = now + max(1, min(300, (until-now)/20))
	}
	left := max(u.left-(u.all-u.leftAt), 0.5*u.left, 1)
	// No further than what was heard of since the last Step allows for: notices
	// are late, and nothing is known yet of the multipliers of late.
	pace, doubt := max(0, money)/left/a.crowd(), streamDoubt*grain
	most := min(1, (pace*max(0, u.tried-tried)+max(0, u.paid-paid))/grain)
	move := max(-most, min(most, math.Log((pace*u.tried+doubt)/(max(0, u.paid)+doubt))/max(1, elasticity)))
	for _, mode := range [...]rtb.Pacing{rtb.PaceEven, rtb.PaceAhead} {
		d := &a.duals[mode]
		if loosest := a.loosest[mode]; loosest <= 0 {
			d.log = min(d.log, loosest+slackLog)
		}
		a.loosest[mode] = 1 // none
		d.log = max(math.Log(lowestMultiplier), min(0, d.log+move))
		a.rates[mode] = 1
	}
}

// edges says how much of what is paid would not have been won with a bid that
// is lower by edgeWidth: as a rate, by what part spend rises when bids rise by
// one.
type edges struct{ near, all float64 }

const (
	edgeWidth = 0.2  // of a logarithm
	edgeLife  = 1000 // payments
)

// edge takes in a payment for a bid that held so much.
func (u *stream) edge(cost, charge int64) {
	if !u.on || charge <= 0 || cost <= 0 {
		return
	}
	const keep = 1 - 1.0/edgeLife
	u.edges.near, u.edges.all = u.edges.near*keep, u.edges.all*keep+float64(charge)
	if float64(charge) > float64(cost)*edgeFrom {
		u.edges.near += float64(charge)
	}
}

var edgeFrom = math.Exp(-edgeWidth)

// elasticity is by what part spend rises when bids rise by one, with payments
// of typical size. Where the bid is the price, payments do not tell.
func (u *stream) elasticity(grain float64) float64 {
	const least, most, first = 0.3, 3, 1
	if u.edges.all == 0 || u.edges.near > 0.95*u.edges.all {
		return first
	}
	prior := 10 * grain
	return max(least, min(most, (u.edges.near/edgeWidth+first*prior)/(u.edges.all+prior)))
}
