package pacing

import (
	"math"

	"bidwell/rtb"
)

// A stream steers an account whose traffic nobody knows beforehand. A plan by
// the clock would spend in the hours that it guessed, and pay more in those
// with little traffic: but the same multiplier at any time buys the most. So
// the money left is divided by the opportunities left, however many come when,
// and the multiplier moves less the more payments it has seen, until it stays
// (stochastic approximation: steps of one over their number). How many are
// left follows from those seen and from what a day is usually like.
type stream struct {
	on           bool
	sum, squares float64 // of payments
	payments     float64 // of typical size, as far as they were planned
	edges        edges
	gap          float64 // what was planned of late beyond what was paid
	all          float64 // opportunities, ever
	since        int64   // seconds; zero before the first Step
	hours        []observed
	left         float64 // opportunities, when they were estimated
	leftAt       float64 // and after so many, of all
	estimateAt   float64 // seconds: when to do so again
}

// observed is the traffic of an hour, in opportunities a second.
type observed struct {
	hour    int // of the day
	traffic float64
	weight  float64 // of an hour that was watched
}

const (
	streamFirst = 3.0 // payments: the time constant of the multiplier at first
	streamShare = 0.8 // and of all payments until now, times their elasticity
	streamLast  = 5.0 // but no more than this part of those to come

	// Where spend is off by more than this part, and by so many standard
	// deviations, half of what was learned counts no more.
	streamOff   = 0.3
	streamDoubt = 3.5

	hourNoise = 0.12 // standard deviation of the logarithm of the traffic of an hour from its shape
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
		for _, power := range [...]float64{0.5, 1, 1.5} {
			p := 0.002
			switch {
			case shift == 0 && power == 1:
				p = 0.3
			case shift == 0:
				p = 0.1
			case shift <= 2 || shift >= 22:
				p = 0.015
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
// of an hour that was seen before mostly what it was.
func (u *stream) shape(now observed) (hours [24]float64) {
	seen := u.hours
	if now.weight > 0 {
		seen = append(seen[:len(seen):len(seen)], now)
	}
	if len(seen) == 0 {
		return usualDay
	}
	recent := seen[max(0, len(seen)-48):]
	scores, best := make([]float64, len(dayShapes)), math.Inf(-1)
	for k := range dayShapes {
		s := &dayShapes[k]
		n, sum, squares := 0.0, 0.0, 0.0
		for _, o := range recent {
			e := math.Log(max(o.traffic, 1e-9) / s.hours[o.hour])
			n, sum, squares = n+o.weight, sum+o.weight*e, squares+o.weight*e*e
		}
		scores[k] = s.prior - (squares-sum*sum/n)/(2*hourNoise*hourNoise)
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
	for _, o := range seen {
		sums[o.hour] += o.weight * o.traffic
		weights[o.hour] += o.weight
	}
	const guess = 0.25 // weight of the shapes against an hour that was seen
	for h := range hours {
		hours[h] = (guess*hours[h]/total + sums[h]) / (guess + weights[h])
	}
	return hours
}

// estimate counts the opportunities to come between two times.
func (a *account) estimate(now, until float64) float64 {
	u := &a.stream
	if f := a.forecast; f.covers(int64(now), int64(until)) {
		return f.left(now, until, u.all)
	}
	current := observed{hour: a.hour % 24, weight: min(1, a.hourTime/3600)}
	if a.hourTime < 300 {
		current.weight = 0
	} else {
		current.traffic = a.hourSum / a.hourTime
	}
	hours, left := u.shape(current), 0.0
	for at := now; at < until; {
		next := min(until, float64(nextHour(int64(at), a.terms.location)))
		if hour := hourOfWeek(int64(at), a.terms.location); a.terms.hours.Has(hour) {
			left += hours[hour%24] * (next - at)
		}
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

// course moves the multiplier of an account after a Step of dt seconds, in
// which so many opportunities came and so much was paid.
func (u *stream) course(a *account, now, came, paid float64) {
	until, money := float64(a.terms.end), float64(a.terms.total)-a.expectedSpend()
	if a.terms.daily > 0 {
		until, money = float64(a.plan.end), float64(a.plan.target)-(a.expectedSpend()-float64(a.before))
	}
	if until <= now {
		return
	}
	if u.since == 0 {
		u.since = int64(now)
	}
	u.all += came
	if paid > 0 {
		u.sum += paid
		u.squares += paid * paid
	}
	grain := a.meanBid
	if g := u.grain(); g > 0 {
		grain = g
	}
	if grain <= 0 {
		return
	}
	if now >= u.estimateAt || u.all-u.leftAt > 0.2*u.left {
		u.left, u.leftAt = a.estimate(now, until), u.all
		u.estimateAt = now + max(1, min(300, (until-now)/20))
	}
	left := max(u.left-(u.all-u.leftAt), 0.5*u.left, 1)
	planned := max(0, money) / left * came
	u.payments += min(planned, max(0, paid)) / grain
	window := max(25, u.payments/4)
	u.gap = u.gap*decay(planned/grain, window) + (planned-paid)/grain
	if math.Abs(u.gap) > max(streamOff*window, streamDoubt*math.Sqrt(window)) {
		u.payments, u.gap = u.payments/2, 0
	}
	payments := streamFirst + streamShare*u.elasticity()*u.payments
	payments = max(1, min(payments, money/grain/streamLast))
	move := max(-1, min(1, (planned-paid)/(grain*payments)))
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

// elasticity is by what part spend rises when bids rise by one. Where the bid
// is the price, payments do not tell.
func (u *stream) elasticity() float64 {
	const least, most, first = 0.3, 3, 1
	prior := 10 * u.grain()
	x := (u.edges.near/edgeWidth + first*prior) / (u.edges.all + prior)
	switch {
	case u.edges.all == 0 || u.edges.near > 0.95*u.edges.all:
		return first
	}
	return max(least, min(most, x))
}

// grain is the size of a typical payment.
func (u *stream) grain() float64 {
	if u.sum <= 0 {
		return 0
	}
	return u.squares / u.sum
}
