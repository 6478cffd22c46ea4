package pacing

import (
	"errors"
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// Forecast is what is known from outside of the opportunities to come, for
// [Pacer.Forecast].
type Forecast struct {
	From, Until   time.Time
	Opportunities float64   // in that time; zero when unknown
	Shares        []float64 // of them in equal stretches of that time; empty when unknown

	// Stream lets spend follow the traffic as it comes, rather than a plan by
	// the clock: for when the shares are not known and the most is to be bought
	// by the end, whenever that is.
	Stream bool

	// Multiplier is what the line items begin with; zero leaves it as it is.
	Multiplier float64
}

// maxShares is a share for each minute of a week.
const maxShares = 7 * 24 * 60

// Validate reports what is wrong with a forecast.
func (f *Forecast) Validate() error {
	switch {
	case !f.Until.After(f.From):
		return errors.New("forecast: it ends before it begins")
	case !(f.Opportunities >= 0) || math.IsInf(f.Opportunities, 0):
		return errors.New("forecast: opportunities: want a number of zero or more")
	case !(f.Multiplier >= 0 && f.Multiplier <= 1):
		return errors.New("forecast: multiplier: want a number up to 1")
	case len(f.Shares) > maxShares:
		return fmt.Errorf("forecast: %d shares, want at most %d", len(f.Shares), maxShares)
	}
	sum := 0.0
	for i, share := range f.Shares {
		if !(share >= 0) || math.IsInf(share, 0) {
			return fmt.Errorf("forecast: shares[%d]: want a number of zero or more", i)
		}
		sum += share
	}
	if len(f.Shares) > 0 && !(sum > 0) || math.IsInf(sum, 0) {
		return errors.New("forecast: shares: they add up to nothing")
	}
	return nil
}

// Forecast tells an account what traffic to expect. It replaces what was
// learned, for the time it covers; what is seen corrects the number.
func (p *Pacer) Forecast(id rtb.AccountID, f Forecast) error {
	if err := f.Validate(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.accounts[id]
	if a == nil {
		return fmt.Errorf("forecast: %s: no such account", id)
	}
	a.forecast = &outlook{from: f.From.Unix(), until: f.Until.Unix(), total: f.Opportunities}
	a.stream = stream{on: f.Stream}
	if f.Stream {
		a.stream.trials = new([ringSize]trial)
	}
	if len(f.Shares) > 0 {
		sums, sum := make([]float64, len(f.Shares)+1), 0.0
		for i, share := range f.Shares {
			sum += share
			sums[i+1] = sum
		}
		for i := range sums {
			sums[i] /= sum
		}
		a.forecast.sums = sums
	}
	if f.Multiplier > 0 {
		for mode := range a.duals {
			a.duals[mode].log = math.Log(f.Multiplier)
		}
	}
	a.replan(int64(p.last))
	a.limits(p.last)
	p.slots.Load().open()
	return nil
}

// outlook is a forecast as it is kept.
type outlook struct {
	from, until int64
	total       float64
	sums        []float64 // of the shares before each stretch, and all; nil when unknown
}

// covers says that the shares speak of all the time between two.
func (o *outlook) covers(from, end int64) bool {
	return o != nil && o.sums != nil && from >= o.from && end <= o.until
}

// before is the share of the traffic before a time.
func (o *outlook) before(at int64) float64 {
	part := float64(at-o.from) / float64(o.until-o.from)
	if part <= 0 || part >= 1 || o.sums == nil {
		return max(0, min(1, part))
	}
	x := part * float64(len(o.sums)-1)
	i := int(x)
	return o.sums[i] + (o.sums[i+1]-o.sums[i])*(x-float64(i))
}

// expected is the traffic between two times, on a scale of its own, without
// the hours that do not serve. What no forecast covers follows the profile.
func (a *account) expected(from, end int64) float64 {
	covered := a.forecast.covers(from, end)
	if covered && !a.terms.hours.Set {
		return a.forecast.before(end) - a.forecast.before(from)
	}
	const week = 7 * 24 * 3600
	sum := 0.0
	if weeks := (end - from) / week; weeks > 1 && !covered {
		sum = float64(weeks) * a.expected(from, from+week)
		from += weeks * week
	}
	for at := from; at < end; {
		next := min(end, nextHour(at, a.terms.location))
		if hour := hourOfWeek(at, a.terms.location); !a.terms.hours.Has(hour) {
		} else if covered {
			sum += a.forecast.before(next) - a.forecast.before(at)
		} else {
			sum += a.weight(hour) * float64(next-at)
		}
		at = next
	}
	return sum
}

// weight is how much an hour of the week counts in the plan.
func (a *account) weight(hour int) float64 {
	if a.profile == nil {
		return 1
	}
	return a.profile.weight(hour)
}

// forecastTrust is what a forecast weighs against what was seen: as much as
// that part of a day.
const forecastTrust = 0.02

// opportunitiesLeft is how many are to come today: the forecast, or what was
// usual in the weeks before, corrected by what was seen so far.
func (a *account) opportunitiesLeft(now float64) float64 {
	at := int64(now)
	from, end := a.serves()
	if at >= end {
		return 0
	}
	day := a.expected(from, end)
	if day <= 0 {
		return 0
	}
	since := max(from, a.seenSince)
	watched := a.expected(min(since, at), at) / day
	left := a.expected(max(from, at), end) / day
	total, trust := 0.0, forecastTrust
	switch f := a.forecast; {
	case f != nil && f.total > 0:
		total = f.total * max(0, f.before(end)-f.before(from))
	case a.profile != nil && a.profile.whole():
		total = day
	default:
		if watched <= 0 {
			return 0
		}
		trust = 0
	}
	return (total*trust + a.seen) / (trust + watched) * left
}

// serves is the part of today in which the account may spend.
func (a *account) serves() (from, end int64) {
	from, end = max(a.dayStart, a.terms.start), a.dayEnd
	if a.terms.end > 0 {
		end = min(end, a.terms.end)
	}
	return from, end
}

// profile is the traffic of the hours of the week, in opportunities a second.
type profile struct {
	hours [168]float32
	seen  rtb.WeekHours
}

const hourLearning = 0.3 // weight of an hour against those of the weeks before

func (p *profile) learn(hour int, traffic float64) {
	if p.seen.Set && p.seen.Has(hour) {
		traffic = hourLearning*traffic + (1-hourLearning)*float64(p.hours[hour])
	}
	p.seen.Add(time.Weekday(hour/24), hour%24)
	p.hours[hour] = float32(traffic)
}

// whole says that each hour of the day has been seen once.
func (p *profile) whole() bool {
	for h := range 24 {
		if _, ok := p.ofDay(h); !ok {
			return false
		}
	}
	return true
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
