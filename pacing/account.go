package pacing

import (
	"math"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

const (
	// ringSize buckets hold the bids that are not decided, by the time when
	// they were made. The timeout is at most liveBuckets of them; the rest is
	// for as long as Step may be late.
	ringSize    = 64
	liveBuckets = 48

	unlimited = int64(1) << 60 // a limit that no sum of prices reaches
	maxCost   = int64(1) << 43 // 8,796 units for one impression
)

// account is one budget. What the bid path touches is atomic; the rest is
// guarded by the mutex of the Pacer.
type account struct {
	id rtb.AccountID

	// committed is what has been spent, ever, and what is held. It is one
	// number, and each limit becomes a ceiling for it, so that one compare and
	// swap keeps all of them.
	committed atomic.Int64
	ceilings  [3]atomic.Int64 // by rtb.Pacing
	spent     atomic.Int64
	late      atomic.Int64 // part of spent: won after the hold had expired

	// What became of holds since the last Step: their cost, and the part paid.
	resolved, paid atomic.Int64

	ring [ringSize]atomic.Int64 // sums of the holds of one stretch of time

	terms            terms
	dayStart, dayEnd int64 // seconds
	before           int64 // spent before the day began
	plan             plan
	planned          bool // the plan applies
	steering

	limbo      int64 // holds of a clock that was set back
	limboUntil int64
}

// terms are what campaigns say of an account.
type terms struct {
	total, daily int64 // limits, 0 for none
	start, end   int64 // of the flights of its line items together, in seconds; 0 when open
	hours        rtb.WeekHours
	location     *time.Location
}

// hold adds cost to what is committed, unless that would pass the ceiling.
func (a *account) hold(mode rtb.Pacing, cost int64) bool {
	for {
		c := a.committed.Load()
		if cost > a.ceilings[mode].Load()-c {
			return false
		}
		if a.committed.CompareAndSwap(c, c+cost) {
			return true
		}
	}
}

// withdraw takes a hold out of its bucket. It is false when the bucket does
// not have it any more, because it has expired in between.
func (a *account) withdraw(epoch, cost int64) bool {
	b := &a.ring[epoch&(ringSize-1)]
	for {
		v := b.Load()
		if v < cost {
			return false
		}
		if b.CompareAndSwap(v, v-cost) {
			return true
		}
	}
}

// settle books what was paid; live says that the hold cannot have expired.
func (a *account) settle(live bool, epoch, cost, paid int64) {
	if live && a.withdraw(epoch, cost) {
		a.resolved.Add(cost)
	} else {
		a.late.Add(paid)
		cost = 0
	}
	a.paid.Add(paid)
	a.committed.Add(paid - cost)
	a.spent.Add(paid)
}

func (a *account) release(epoch, cost int64) {
	if a.withdraw(epoch, cost) {
		a.resolved.Add(cost)
		a.committed.Add(-cost)
	}
}

// expire gives back what is left in a bucket.
func (a *account) expire(epoch int64) {
	if v := a.ring[epoch&(ringSize-1)].Swap(0); v != 0 {
		a.resolved.Add(v)
		a.committed.Add(-v)
	}
}

// strand moves all holds to where one time of expiry is enough.
func (a *account) strand(until int64) {
	for i := range a.ring {
		a.limbo += a.ring[i].Swap(0)
	}
	a.limboUntil = until
}

func (a *account) rescue(now int64) {
	if a.limbo != 0 && now >= a.limboUntil {
		a.resolved.Add(a.limbo)
		a.committed.Add(-a.limbo)
		a.limbo = 0
	}
}

func (a *account) held() int64  { return max(0, a.committed.Load()-a.spent.Load()) }
func (a *account) today() int64 { return a.spent.Load() - a.before }

// turn begins a new day where the old one is over. A clock that is set back
// does not bring a day back.
func (a *account) turn(now int64) bool {
	if now < a.dayEnd {
		return false
	}
	a.dayStart, a.dayEnd = dayOf(now, a.terms.location)
	a.before = a.spent.Load()
	a.replan(now)
	return true
}

// change gives the account new terms, which count at once. What has been spent
// and is held stays.
func (a *account) change(t terms, now int64) {
	if a.terms == t {
		return
	}
	moved := a.terms.location != t.location
	a.terms = t
	if moved { // the end of the day moves; what was spent today stays today's
		a.dayStart, a.dayEnd = dayOf(now, t.location)
	}
	a.replan(now)
}

// replan spreads what is left for today over what is left of the day.
func (a *account) replan(now int64) {
	t := &a.terms
	a.planned = t.daily > 0 || t.total > 0 && t.end > 0
	if !a.planned {
		return
	}
	from, end := max(now, a.dayStart, t.start), a.dayEnd
	if t.end > 0 {
		end = min(end, t.end)
	}
	today, target := a.today(), t.daily
	if t.total > 0 {
		left := max(0, t.total-a.spent.Load())
		switch {
		case t.daily > 0:
			target = min(target, today+left)
		case end > from:
			// The days left share what is left, as long as they serve.
			part := t.serving(from, end) / max(1, t.serving(from, t.end))
			target = today + int64(min(1, part)*float64(left))
		default:
			target = today
		}
	}
	a.plan.make(from, end, a.dayStart, today, max(today, target), a.weight)
}

// limits recomputes the ceilings.
func (a *account) limits(now float64) {
	hard := unlimited
	if a.terms.total > 0 {
		hard = min(hard, a.terms.total)
	}
	if a.terms.daily > 0 {
		hard = min(hard, a.before+a.terms.daily)
	}
	even, ahead := hard, hard
	if a.planned {
		// Of what is held, only the part that will be paid counts as spend.
		lost := int64((1 - a.payShare()) * float64(a.held()))
		slack := a.before + a.plan.burst() + lost
		even = min(hard, slack+a.plan.at(now))
		ahead = min(hard, slack+a.plan.ahead(now))
	}
	a.ceilings[rtb.PaceASAP].Store(hard)
	a.ceilings[rtb.PaceEven].Store(even)
	a.ceilings[rtb.PaceAhead].Store(ahead)
}

// serving counts the seconds between two times in which the hours of the week
// allow to serve.
func (t *terms) serving(from, end int64) float64 {
	if end <= from {
		return 0
	}
	if !t.hours.Set {
		return float64(end - from)
	}
	const week = 7 * 24 * 3600
	open := 0
	for h := range 168 {
		if t.hours.Has(h) {
			open++
		}
	}
	weeks := (end - from) / week
	sum := float64(weeks) * float64(open) * 3600
	for at := from + weeks*week; at < end; {
		next := min(end, nextHour(at, t.location))
		if t.hours.Has(hourOfWeek(at, t.location)) {
			sum += float64(next - at)
		}
		at = next
	}
	return sum
}

// clampMoney keeps sums of prices far from the end of the numbers.
func clampMoney(m rtb.Money) int64 { return min(max(0, int64(m)), unlimited) }

func seconds(t time.Time) float64 {
	return float64(t.Unix()) + float64(t.Nanosecond())/float64(time.Second)
}

// decay is what is left of one after a time, with a mean life.
func decay(dt, life float64) float64 { return math.Exp(-dt / life) }
