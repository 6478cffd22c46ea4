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

// account is one budget as this bidder sees it. What the bid path touches is
// atomic; the rest is guarded by the mutex of the Pacer.
type account struct {
	id      rtb.AccountID
	measure rtb.Measure

	// committed is what was charged to this bidder, what it holds, and what it
	// has given back. It is one number, and each limit becomes a ceiling for
	// it, so that one compare and swap keeps all of them.
	committed atomic.Int64
	ceilings  [3]atomic.Int64 // by rtb.Pacing; the lease is part of them
	leased    atomic.Int64    // the ceiling of the lease alone
	wished    atomic.Int64    // bid that was refused for want of a lease
	awake     atomic.Bool     // its want of a lease is known
	refused   atomic.Int64    // since the last Step: what there was a lease for, but no room

	ring [ringSize]atomic.Int64 // sums of the holds of one stretch of time

	charged int64 // to this bidder, since it began
	others  int64 // all else that was spent, when Accounts were asked last
	late    int64 // part of charged: its hold had expired

	// What became of holds since the last Step: their cost, and the part paid.
	resolved, paid int64

	terms            terms
	drawn            bool  // some line item draws on it
	dayStart, dayEnd int64 // seconds
	before           int64 // spent before the day began
	plan             plan
	planned          bool // the plan applies
	lease
	expectation
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

// refuse notes a bid for which there was no room, although there was a lease.
func (a *account) refuse(amount int64) {
	if amount <= a.leased.Load()-a.committed.Load() {
		a.refused.Add(amount)
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

// amount is what a sum of money is in the measure of the account: an
// impression is one, and so is a click, but no bid holds any.
func (a *account) amount(money int64) int64 {
	switch a.measure {
	case rtb.OfImpressions:
		return 1
	case rtb.OfClicks:
		return 0
	}
	return money
}

// settle replaces a hold by a charge; live says that the hold cannot have
// expired, open that no loss has released it.
func (a *account) settle(live, open bool, epoch, cost, charge int64, age float64) {
	switch {
	case !open:
		cost = 0
	case live && a.withdraw(epoch, cost):
		a.resolved += cost
		a.decide(epoch, cost, charge, age)
		a.stream.decide(epoch, cost, charge)
		a.relent(cost)
	default:
		a.late += charge
		a.stream.paid += float64(charge)
		cost = 0
	}
	a.paid += charge
	a.stream.edge(cost, charge)
	a.charged += charge
	a.committed.Add(charge - cost)
}

// click counts a click.
func (a *account) click() {
	a.charged++
	a.taken++
	a.committed.Add(1)
}

// release gives back the hold of a bid that has lost.
func (a *account) release(epoch, cost int64, age float64) {
	if a.withdraw(epoch, cost) {
		a.resolved += cost
		a.decide(epoch, cost, 0, age)
		a.stream.decide(epoch, cost, 0)
		a.relent(cost)
		a.committed.Add(-cost)
	}
}

// relent takes back the relief of a hold that is decided, before others can
// stand in its place.
func (a *account) relent(cost int64) {
	if a.relief == 0 {
		return
	}
	part := min(a.relief, int64(math.Ceil(float64(cost)*a.relieved)))
	a.relief -= part
	a.leased.Add(-part)
	for i := range a.ceilings {
		a.ceilings[i].Add(-part)
	}
}

// expire gives back what is left in a bucket.
func (a *account) expire(epoch int64, age float64) {
	if v := a.ring[epoch&(ringSize-1)].Swap(0); v != 0 {
		a.resolved += v
		a.decide(epoch, v, 0, age)
		a.stream.decide(epoch, v, 0)
		a.committed.Add(-v)
	}
	a.levels[epoch&(ringSize-1)] = 0
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
		a.resolved += a.limbo
		a.committed.Add(-a.limbo)
		a.limbo = 0
	}
}

// own is what the bids of this bidder hold.
func (a *account) own() int64 { return max(0, a.committed.Load()-a.charged-a.idle) }

// held is what the bids of all bidders hold: those of this one, and as much of
// what others had in hand as this one holds of its own.
func (a *account) held() int64 { return a.own() + a.heldBeside }

// spent is what all bidders have spent, ever: what Accounts said last, and
// what was charged to this one since.
func (a *account) spent() int64 { return a.others + a.charged }

// today is the part of spent that belongs to the advertiser's day.
func (a *account) today() int64 { return a.spent() - a.before }

const (
	bidsLeft   = 32  // bids at least that the money left is for
	timesGrain = 8.0 // but a bid may be so many times a typical payment
)

// dearest is what one bid may cost where money is scarce. What is left should
// be enough for many, or bids worth most would find no room at all.
func (a *account) dearest() int64 {
	left := unlimited
	if a.terms.total > 0 {
		left = a.terms.total - a.spent()
	}
	if a.terms.daily > 0 {
		left = min(left, a.terms.daily-a.today())
	}
	if left >= maxCost || a.measure != rtb.OfMoney {
		return maxCost
	}
	return max(1, min(left, max(left/bidsLeft, int64(timesGrain*a.grain()))))
}

// turn begins a new day where the old one is over. A clock that is set back
// does not bring a day back.
func (a *account) turn(now int64) bool {
	if now < a.dayEnd {
		return false
	}
	a.dayStart, a.dayEnd = dayOf(now, a.terms.location)
	a.before = a.spent()
	a.vain = false // there is new money to lease
	a.seen, a.seenSince, a.day = 0, now, 0
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
	a.terms, a.vain, a.renewAt, a.day = t, false, 0, 0
	if moved { // the end of the day moves; what was spent today stays today's
		a.dayStart, a.dayEnd = dayOf(now, t.location)
	}
	a.replan(now)
}

// replan spreads what is left for today over what is left of the day.
func (a *account) replan(now int64) {
	t := &a.terms
	a.planned = (t.daily > 0 || t.total > 0 && t.end > 0) && a.measure != rtb.OfClicks
	if !a.planned {
		return
	}
	from, end := max(now, a.dayStart, t.start), a.dayEnd
	if t.end > 0 {
		end = min(end, t.end)
	}
	today, target := int64(a.expectedSpend())-a.before, t.daily // what bids in flight will spend is gone
	if t.total > 0 {
		left := max(0, t.total-a.before-today)
		switch {
		case t.daily > 0:
			target = min(target, today+left)
		case end > from:
			// The days left share what is left, as long as they serve.
			part := a.expected(from, end) / max(1e-9, a.expected(from, t.end))
			target = today + int64(min(1, part)*float64(left))
		default:
			target = today
		}
	}
	a.plan.make(from, end, a.dayStart, today, max(today, target), a.expected)
	if a.day == 0 {
		a.day = float64(a.plan.target - a.plan.base)
	}
}

// slack is how far what is held may be past the plan: a moment's worth of it,
// and room for a bid that is much dearer than most.
func (a *account) slack() int64 {
	return max(int64(float64(a.plan.burst())/a.crowd()), min(int64(2*a.most), int64(a.day/16)))
}

// limits recomputes the ceilings, which are for committed: what was charged to
// this bidder and given back is in it, what others spent is not.
func (a *account) limits(now float64) {
	leased := a.room(now)
	a.leased.Store(leased)
	hard := unlimited
	if a.terms.total > 0 {
		hard = min(hard, a.terms.total)
	}
	if a.terms.daily > 0 {
		hard = min(hard, a.before+a.terms.daily)
	}
	if hard < unlimited {
		hard += a.idle - a.others + a.relief
		if a.measure == rtb.OfClicks {
			hard-- // a bid holds no click, but may bring one
		}
	}
	hard = min(hard, leased)
	even, ahead := hard, hard
	if a.planned && !a.stream.on {
		// Of what is held, only the part that will be paid counts as spend.
		// What the plan leaves is shared with those who bid beside us.
		own := a.own()
		base := a.charged + a.idle + own + a.slack()
		gone := float64(a.spent()-a.before) + a.payShare()*float64(own+a.heldBeside)
		even = min(hard, base+int64((float64(a.plan.at(now))-gone)/a.crowd()))
		ahead = min(hard, base+int64((float64(a.plan.ahead(now))-gone)/a.crowd()))
	}
	a.ceilings[rtb.PaceASAP].Store(hard)
	a.ceilings[rtb.PaceEven].Store(even)
	a.ceilings[rtb.PaceAhead].Store(ahead)
}

// clampMoney keeps sums of prices far from the end of the numbers.
func clampMoney(m rtb.Money) int64 { return min(max(0, int64(m)), unlimited) }

func seconds(t time.Time) float64 {
	return float64(t.Unix()) + float64(t.Nanosecond())/float64(time.Second)
}

// decay is what is left of one after a time, with a mean life.
func decay(dt, life float64) float64 { return math.Exp(-dt / life) }
