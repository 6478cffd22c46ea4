package pacing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"bidwell/rtb"
)

// LeaseRenewal is how long a lease is good for new bids without being renewed,
// unless [Pacer.LeaseFor] says otherwise. It is renewed at half of it.
const LeaseRenewal = 10 * time.Second

const (
	handSeconds = 5.0    // of bids, at their full cost, to have in hand
	handBids    = 4      // of the dearest, at least
	firstHand   = 64     // part of the limit to ask for while no bid is known
	freeHand    = 1e9    // to have in hand at least where there is no limit
	useLife     = 10.0   // seconds: mean life of what is known of the use
	dearestLife = 3600.0 // seconds: and of the dearest bid
)

// lease is what this bidder may commit of an account.
//
// A lease shrinks by what is given back, which stays committed as idle, so that
// a ceiling that bids compare with is never lowered under a bid that has just
// passed it. Accounts count from the lease they know; offset is what was
// charged before that.
type lease struct {
	answered   bool    // Accounts have said how it stands
	lapsed     bool    // but the lease has ended since
	high       int64   // all that was ever granted, offset and idle included
	idle       int64   // part of it that was given back
	offset     int64   // charged to this bidder, but not to the lease that Accounts know
	usable     float64 // until when it is good for bids, in seconds
	until      float64 // until when its charges are not late
	renewAt    float64
	vain       bool    // Accounts gave less than was asked for
	nodes      int     // that bid with a lease
	free       int64   // what is neither spent nor leased
	inUse      float64 // part of what is in hand that bids hold, decaying
	heldBeside int64   // what the bids of others are taken to hold
	taken      int64   // by bids since the last Step
	rate       float64 // of it, a second
	most       float64 // of one bid
}

// LeaseFor sets how long a lease is good for new bids without being renewed: a
// second to an hour. It is renewed at half of it.
func (p *Pacer) LeaseFor(renewal time.Duration) error {
	if renewal < time.Second || renewal > time.Hour {
		return errors.New("lease renewal: want a second to an hour")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renewal = int64(renewal / time.Second)
	return nil
}

// Run calls Step every so often until ctx ends, and Lease as often and when a
// bid found its lease used up. A slow store does not keep Step. At the end all
// that is not held is given back.
func (p *Pacer) Run(ctx context.Context, accounts Accounts, clock func() time.Time, every time.Duration) error {
	leased := make(chan struct{})
	go func() {
		defer close(leased)
		p.keepLeases(ctx, accounts, clock, every)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			<-leased
			return nil
		case <-tick.C:
			p.Step(clock())
		}
	}
}

// leaseTimeout is how long Accounts may take for an answer.
const leaseTimeout = 5 * time.Second

func (p *Pacer) keepLeases(ctx context.Context, accounts Accounts, clock func() time.Time, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	trouble := ""
	for {
		err := p.leaseWithin(ctx, leaseTimeout, accounts, clock)
		switch {
		case ctx.Err() != nil:
			p.mu.Lock()
			p.closing = true
			p.mu.Unlock()
			if err := p.leaseWithin(context.WithoutCancel(ctx), leaseTimeout, accounts, clock); err != nil {
				slog.Warn("leases are not given back; they end by themselves", "cause", err)
			}
			return
		case err != nil && err.Error() != trouble:
			trouble = err.Error()
			slog.Warn("budgets cannot be leased; bidding stops when the leases at hand have ended", "cause", err)
		case err == nil && trouble != "":
			trouble = ""
			slog.Info("budgets can be leased again")
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-p.wake:
		}
	}
}

func (p *Pacer) leaseWithin(ctx context.Context, timeout time.Duration, accounts Accounts, clock func() time.Time) error {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	return p.Lease(ctx, accounts, clock())
}

// Lease asks for what bids will need in the next seconds, renews what would
// end, gives back what is idle, and learns what others have spent. Nothing is
// asked of Accounts when nothing is due. Before the first Lease there are no
// bids.
func (p *Pacer) Lease(ctx context.Context, accounts Accounts, now time.Time) error {
	p.leasing.Lock()
	defer p.leasing.Unlock()
	demands := p.demands(now)
	if len(demands) == 0 {
		return nil
	}
	asks := make([]Ask, len(demands))
	for i := range demands {
		asks[i] = demands[i].ask
	}
	grants, err := accounts.Lease(ctx, p.node, now, asks)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if len(grants) != len(asks) {
		return fmt.Errorf("lease: %d grants for %d asks", len(grants), len(asks))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range grants {
		if grants[i].Account != asks[i].Account {
			return fmt.Errorf("lease: grant of %s for an ask of %s", grants[i].Account, asks[i].Account)
		}
		demands[i].grant(&grants[i], seconds(now), float64(p.renewal))
	}
	return nil
}

// demand is an Ask on its way.
type demand struct {
	ask     Ask
	account *account
	charged int64 // of the account, when it asked
	usable  float64
}

// demands are the asks that are due.
func (p *Pacer) demands(now time.Time) []demand {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := seconds(now)
	usable := now.Add(time.Duration(p.renewal) * time.Second)
	until := usable.Add(time.Duration(p.timeout+p.width) * time.Second) // no hold outlives it
	var list []demand
	for _, a := range p.accounts {
		a.lapse(at)
		want := a.want(p.closing)
		if !a.due(at, want, float64(p.renewal), p.closing) {
			continue
		}
		list = append(list, demand{account: a, charged: a.charged, usable: seconds(usable), ask: Ask{
			Account: a.id, Total: rtb.Money(a.terms.total), Daily: rtb.Money(a.terms.daily),
			DayStart: time.Unix(a.dayStart, 0).UTC(), DayEnd: time.Unix(a.dayEnd, 0).UTC(),
			Granted: rtb.Money(a.request(want)), Usable: usable, Until: until, Multiplier: a.common(),
		}})
	}
	slices.SortFunc(list, func(a, b demand) int { return cmp.Compare(a.ask.Account, b.ask.Account) })
	return list
}

// hand is what was granted and not charged: what bids hold, and what they may.
func (a *account) hand() int64 { return a.high - a.idle - a.charged }

func (a *account) limited() bool { return a.terms.total > 0 || a.terms.daily > 0 }

// room is the ceiling that the lease sets for committed.
func (a *account) room(now float64) int64 {
	switch {
	case !a.answered:
		return -unlimited
	case !a.limited():
		return unlimited
	case now > a.usable:
		return -unlimited
	case a.measure == rtb.OfClicks:
		return a.high - 1 // a bid holds no click, but may bring one
	}
	return a.high + a.relief
}

// dry reports, once, that a bid was refused because the lease is used up.
func (a *account) dry(cost int64) bool {
	amount := a.amount(cost)
	if amount <= a.leased.Load()-a.committed.Load() {
		return false
	}
	raise(&a.wished, amount)
	return !a.awake.Load() && !a.awake.Swap(true)
}

// used notes what bids took, and the dearest that was asked for.
func (a *account) used(taken, dearest int64) {
	a.taken += taken
	a.most = max(a.most, float64(dearest))
}

// learn follows the use.
func (l *lease) learn(dt float64) {
	now := float64(l.taken) / dt
	k := decay(dt, useLife)
	l.rate = max(k*l.rate+(1-k)*now, min(now, 2*l.rate))
	l.most *= decay(dt, dearestLife)
	l.taken = 0
}

// want is what bids should be able to take without asking: a few of the
// dearest, and those of the next seconds.
func (a *account) want(closing bool) int64 {
	if closing || !a.drawn {
		return 0
	}
	bid := max(a.most, float64(a.wished.Load()))
	if a.measure == rtb.OfClicks {
		bid = 1
	}
	if !a.limited() { // nobody goes short of it, and charges should find a lease
		return int64(max(freeHand, 4*handBids*bid, 4*handSeconds*a.rate))
	}
	if bid == 0 {
		return stricter(a.terms.total, a.terms.daily) / firstHand / int64(a.crowd())
	}
	return int64(min(max(handBids*bid, handSeconds*a.rate), float64(unlimited)))
}

// due says whether Accounts must be asked.
func (a *account) due(now float64, want int64, renewal float64, closing bool) bool {
	switch {
	case closing || !a.drawn:
		return a.hand() > 0
	case !a.answered || now >= a.renewAt || now < a.renewAt-renewal:
		return true
	}
	return !a.vain && a.high+a.relief-a.committed.Load() < want/2
}

// lapse lets go of a lease that has ended: no hold is left in it, and what was
// charged to it is behind us.
func (a *account) lapse(now float64) {
	if !a.answered || a.lapsed || now < a.until {
		return
	}
	a.lapsed, a.offset = true, a.charged
	if h := a.hand(); h > 0 {
		a.shrink(h)
	} else {
		a.high -= h
	}
}

// shrink takes from what bids may commit.
func (a *account) shrink(by int64) {
	a.idle += by
	a.committed.Add(by)
}

// request is the number to ask for. What is given back can from here on not be
// taken by a bid any more.
func (a *account) request(want int64) int64 {
	for {
		c := a.committed.Load()
		room := a.high + a.relief - c
		back := min(room-want, a.hand())
		if back <= 0 || want > 0 && room <= 2*want {
			break
		}
		if a.committed.CompareAndSwap(c, c+back) {
			a.idle += back
			break
		}
	}
	more := max(0, want-(a.high+a.relief-a.committed.Load()))
	if a.answered && !a.lapsed {
		// No more than a fair share of what is left, unless that is not enough
		// for a bid.
		more = min(more, max(a.free/int64(a.crowd()), int64(a.most)))
	}
	return max(0, a.high-a.idle-a.offset+more)
}

// crowd is the number of bidders that share the account.
func (l *lease) crowd() float64 { return float64(max(1, l.nodes)) }

// grant takes in the answer.
func (d *demand) grant(g *Grant, now, renewal float64) {
	a := d.account
	charged := int64(g.Charged)
	unheard := !a.answered
	first := unheard || a.lapsed
	if told := charged + a.offset; first || d.charged > told {
		// What we know of is charged to no lease: Accounts have begun a new one.
		a.offset += d.charged - told
	}
	a.others = int64(g.Spent) - charged - a.offset
	if g.DayStart.Unix() == a.dayStart {
		a.before = int64(g.Before)
	}

	granted := int64(g.Granted) + a.offset
	switch more := granted + a.idle - a.high; {
	case more > 0:
		again := min(more, a.idle)
		a.high += more - again
		a.idle -= again
		a.committed.Add(-again)
	case more < 0:
		a.shrink(-more)
	}
	a.answered, a.lapsed = true, false
	a.nodes = g.Nodes
	if hand := a.hand(); hand > 0 {
		use := float64(a.own()) / float64(hand)
		if a.inUse > 0 {
			use = a.inUse + 0.2*(use-a.inUse)
		}
		a.inUse = use
	}
	// What dead bidders left stays reserved, but little of it will be spent: it
	// is no reason for the living to bid less.
	a.heldBeside = int64(a.inUse * float64(max(0, g.Leased-g.Stranded-g.Granted+g.Charged)))
	a.meet(d.ask.Multiplier, g)
	a.free = unlimited
	if t := a.terms.total; t > 0 {
		a.free = min(a.free, t-int64(g.Spent)-int64(g.Leased))
	}
	if t := a.terms.daily; t > 0 {
		a.free = min(a.free, t-int64(g.Spent-g.Before)-int64(g.Leased))
	}
	a.vain = g.Granted < d.ask.Granted
	a.most = max(a.most, float64(a.wished.Swap(0)))
	if !a.vain {
		a.awake.Store(false)
	}
	a.usable, a.until = d.usable, seconds(d.ask.Until)
	a.renewAt = now + renewal/2
	if unheard {
		a.replan(int64(now)) // with what was spent before
		a.expected0 = a.expectedSpend()
	}
	a.limits(now)
}
