package loadtest

import (
	"fmt"
	"io"
	"math"
	"sort"
	"sync/atomic"
	"time"
)

// quarterHour is how finely the rate of auctions follows the week.
const (
	quarterHour = 15 * time.Minute
	weekOf      = 7 * 24 * time.Hour
	quarters    = int(weekOf / quarterHour)
)

// timeline says when each auction is. It is a function of its number, so that
// many connections play the same day.
type timeline struct {
	start  time.Time
	step   float64 // nanoseconds of traffic between two auctions
	shape  *[quarters + 1]float64
	passed float64 // traffic of the week before start
}

// newTimeline lets step pass between two auctions, on average over a week
// where shaped says that they are as frequent as people are awake. With a span
// the given number of auctions takes just that long.
func newTimeline(start time.Time, step, span time.Duration, auctions int, shaped bool) timeline {
	t := timeline{start: start, step: float64(step)}
	if shaped {
		t.shape = &weekShape
		t.passed = t.traffic(start)
	}
	if span > 0 {
		t.step = float64(span) / float64(auctions)
		if shaped {
			t.step = (t.traffic(start.Add(span)) - t.passed) / float64(auctions)
		}
	}
	return t
}

// sunday is when the week of a time began: on Sunday at midnight UTC.
func sunday(t time.Time) time.Time {
	t = t.UTC()
	into := time.Duration(t.Weekday())*24*time.Hour + time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute +
		time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	return t.Add(-into)
}

// traffic is the traffic between the week of start's beginning and a time, in
// nanoseconds of a week without a shape.
func (t *timeline) traffic(at time.Time) float64 {
	since := at.Sub(sunday(t.start))
	weeks, into := since/weekOf, since%weekOf
	q := int(into / quarterHour)
	part := float64(into%quarterHour) / float64(quarterHour)
	return float64(weeks)*t.shape[quarters] + t.shape[q] + part*(t.shape[q+1]-t.shape[q])
}

// at is when auction number i is.
func (t *timeline) at(i int) time.Time {
	if t.shape == nil {
		return t.start.Add(time.Duration(float64(i) * t.step))
	}
	first := sunday(t.start)
	target := t.passed + float64(i)*t.step
	weeks := math.Floor(target / t.shape[quarters])
	target -= weeks * t.shape[quarters]
	q := min(sort.Search(quarters, func(q int) bool { return t.shape[q+1] > target }), quarters-1)
	part := (target - t.shape[q]) / (t.shape[q+1] - t.shape[q])
	at := first.Add(time.Duration(weeks)*weekOf + time.Duration(q)*quarterHour + time.Duration(part*float64(quarterHour)))
	if at.Before(t.start) { // by the last digit of a float
		return t.start
	}
	return at
}

// weekdays is how much people are online on each day, from Sunday.
var weekdays = [7]float64{1.06, .97, .96, .97, .98, 1, 1.06}

// weekShape is the running sum of traffic over the quarters of an hour of a
// week from Sunday midnight UTC, in nanoseconds: people in all the places,
// each by their own clock.
var weekShape = func() (sums [quarters + 1]float64) {
	var rates [quarters]float64
	total := 0.0
	for q := range rates {
		for i := range places {
			p := &places[i]
			into := time.Duration(q)*quarterHour + quarterHour/2 + time.Duration(p.offset)*time.Minute
			into = (into + weekOf) % weekOf
			hours := into.Hours() // in the week, by their clock
			hour := math.Mod(hours, 24)
			// The shares stand for the middle of each hour.
			low := int(math.Floor(hour - .5))
			part := hour - .5 - float64(low)
			online := (1-part)*awake[(low+24)%24] + part*awake[(low+1)%24]
			rates[q] += float64(p.weight) * online * weekdays[int(hours/24)]
		}
		total += rates[q]
	}
	for q, rate := range rates {
		sums[q+1] = sums[q] + rate/total*float64(weekOf)
	}
	return sums
}()

// quarterOf is the quarter of an hour of the day, UTC.
func quarterOf(t time.Time) int {
	t = t.UTC()
	return t.Hour()*4 + t.Minute()/15
}

// writeProfile writes the shares of the quarters of the day, one a line from
// midnight UTC on: what "loadtest replay --profile" reads.
func writeProfile(w io.Writer, counts *[96]atomic.Int64) error {
	var total int64
	for i := range counts {
		total += counts[i].Load()
	}
	for i := range counts {
		if _, err := fmt.Fprintf(w, "%.9f\n", float64(counts[i].Load())/float64(max(total, 1))); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	return nil
}
