package pacing

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// Balance is what one account of one line item has, in the measure of the
// account. Accounts that line items share appear once for each. Spent and
// SpentToday are what [Accounts] said when leases were asked for last, and what
// was charged to this bidder since: what others have spent in the last seconds
// is missing.
type Balance struct {
	LineItem   rtb.LineItemID
	Account    rtb.AccountID
	Spent      rtb.Money
	SpentToday rtb.Money // in the time zone of the advertiser
	Held       rtb.Money // by bids of this bidder that are not decided
	Leased     rtb.Money // and may be held: what this bidder has in hand, Held included
	Late       rtb.Money // part of what was charged to this bidder: the hold had expired
	LimitTotal rtb.Money // zero for none
	LimitDaily rtb.Money
	Planned    rtb.Money // what should be spent today by now; zero without a plan
	Rate       float64   // part of the opportunities that the line item is let through to
	Stopped    time.Time // since when it does not bid because its notices are missing; zero when it may
	Why        string    // it has stopped, for people
}

// Assign makes the line items those that may spend and writes their slots into
// items. A line item keeps its slot, and an account its spend and holds; new
// limits count at once. What is not in items may not bid any more, but its slot
// and accounts stay until its holds and its day are over, its spend for good.
func (p *Pacer) Assign(items []rtb.LineItem, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	second := now.Unix()

	wanted := map[rtb.AccountID]terms{}
	for i := range items {
		for _, b := range budgets(&items[i]) {
			t := termsOf(&items[i], b)
			if have, ok := wanted[b.Account]; ok {
				t = have.join(t)
			}
			wanted[b.Account] = t
		}
	}
	for _, a := range p.accounts {
		a.drawn = false
	}
	for id, t := range wanted {
		if a := p.accounts[id]; a != nil {
			a.change(t, second)
		} else {
			p.accounts[id] = newAccount(id, t, second)
		}
		p.accounts[id].drawn = true
	}

	old := p.slots.Load()
	next := &table{slots: slices.Clone(old.slots), ids: make(map[rtb.LineItemID]int32, len(items))}
	for id, i := range old.ids {
		next.ids[id] = i
	}
	kept := make([]bool, len(next.slots), len(next.slots)+len(items))
	for i := range items {
		item := &items[i]
		at, ok := next.ids[item.ID]
		if !ok {
			at = int32(len(next.slots))
			next.slots = append(next.slots, &slot{id: item.ID, open: 1})
			next.ids[item.ID] = at
			kept = append(kept, true)
		}
		kept[at] = true
		item.Slot = at
		p.draw(next.slots[at], item, now.UnixMilli())
		next.slots[at].capCosts(&item.Goal)
	}
	for i, s := range next.slots {
		if s != nil && !kept[i] {
			s.close(second, p.timeout)
		}
	}
	for _, a := range p.accounts {
		a.limits(seconds(now))
	}
	next.gates = make([]atomic.Int64, len(next.slots))
	next.open()
	p.slots.Store(next)
	p.hurry() // new accounts may not bid before they have been asked
}

// draw points a slot to the accounts of its line item.
func (p *Pacer) draw(s *slot, item *rtb.LineItem, now int64) {
	d := &drawing{mode: min(item.Pacing, rtb.PaceAhead), since: now}
	for _, b := range budgets(item) {
		if a := p.accounts[b.Account]; !slices.Contains(d.accounts, a) {
			d.accounts = append(d.accounts, a)
		}
	}
	if old := s.draws.Load(); old != nil {
		if slices.Equal(old.accounts, d.accounts) {
			d.since, d.before = old.since, old.before
		} else {
			d.before = &drawing{accounts: old.accounts, mode: old.mode, since: old.since, before: old.before}
		}
	}
	s.draws.Store(d)
}

// close ends bidding and keeps what late notices need until their day is over.
func (s *slot) close(now, timeout int64) {
	d := *s.draws.Load()
	if d.closed {
		return
	}
	d.closed = true
	s.keep = now + 2*timeout
	for _, a := range d.accounts {
		s.keep = max(s.keep, a.dayEnd)
	}
	s.draws.Store(&d)
}

// budgets are those of a line item, with one of its own without a limit where
// it has none, so that its spend is known.
func budgets(item *rtb.LineItem) []rtb.Budget {
	own := rtb.LineItemAccount(item.ID, rtb.OfMoney)
	for _, b := range item.Budgets {
		if b.Account == own {
			return item.Budgets
		}
	}
	return append(slices.Clone(item.Budgets), rtb.Budget{Account: own})
}

func termsOf(item *rtb.LineItem, b rtb.Budget) terms {
	t := terms{total: clampMoney(b.Total), daily: clampMoney(b.Daily), location: item.Location}
	if t.location == nil {
		t.location = time.UTC
	}
	if !item.Flight.Start.IsZero() {
		t.start = item.Flight.Start.Unix()
	}
	if !item.Flight.End.IsZero() {
		t.end = item.Flight.End.Unix()
	}
	if !item.Targeting.UserTime {
		t.hours = item.Targeting.Hours
	}
	return t
}

// join is the terms of an account that two line items share: the stricter
// limits, and all times at which one of them serves.
func (t terms) join(o terms) terms {
	t.total, t.daily = stricter(t.total, o.total), stricter(t.daily, o.daily)
	t.start = min(t.start, o.start) // zero is open
	if t.end == 0 || o.end == 0 {
		t.end = 0
	} else {
		t.end = max(t.end, o.end)
	}
	if !t.hours.Set || !o.hours.Set {
		t.hours = rtb.WeekHours{}
	} else {
		for i := range t.hours.Bits {
			t.hours.Bits[i] |= o.hours.Bits[i]
		}
	}
	return t
}

func stricter(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func newAccount(id rtb.AccountID, t terms, now int64) *account {
	a := &account{id: id, measure: id.Measure(), terms: t}
	a.seenSince, a.loosest = now, [3]float64{1, 1, 1}
	a.rates = [3]float64{rtb.PaceEven: firstRate, rtb.PaceASAP: 1, rtb.PaceAhead: firstRate}
	a.dayStart, a.dayEnd = dayOf(now, t.location)
	a.replan(now)
	a.expected0 = float64(a.spent())
	if !a.planned {
		a.rates = [3]float64{1, 1, 1}
	}
	return a
}

// retire lets go of the slots of line items that are gone, and of accounts on
// which no slot draws, nothing is held and no lease is left. What was spent is
// in Accounts: a line item that comes back has not got its money back.
func (p *Pacer) retire(now int64) {
	old := p.slots.Load()
	next := &table{slots: slices.Clone(old.slots), ids: maps.Clone(old.ids)}
	used := map[*account]bool{}
	for i, s := range next.slots {
		if s == nil {
			continue
		}
		d := s.draws.Load()
		if d.closed && now >= s.keep {
			next.slots[i] = nil
			delete(next.ids, s.id)
			continue
		}
		if d.before != nil && d.since < (now-2*p.timeout)*1000 { // no hold can be from before
			c := *d
			c.before = nil
			s.draws.Store(&c)
			d = &c
		}
		for ; d != nil; d = d.before {
			for _, a := range d.accounts {
				used[a] = true
			}
		}
	}
	next.gates = make([]atomic.Int64, len(next.slots))
	next.open()
	p.slots.Store(next)
	for id, a := range p.accounts {
		if !used[a] && a.limbo == 0 && a.own() == 0 && a.hand() <= 0 {
			delete(p.accounts, id)
		}
	}
}

// Balances lists the accounts of all line items, by line item and account.
func (p *Pacer) Balances() []Balance {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Balance
	for _, s := range p.slots.Load().slots {
		if s == nil {
			continue
		}
		for _, a := range s.draws.Load().accounts {
			b := Balance{
				LineItem: s.id, Account: a.id, Rate: s.rate,
				Spent: rtb.Money(a.spent()), SpentToday: rtb.Money(a.today()),
				Held: rtb.Money(a.own()), Late: rtb.Money(a.late), Leased: rtb.Money(max(0, a.hand())),
				LimitTotal: rtb.Money(a.terms.total), LimitDaily: rtb.Money(a.terms.daily),
			}
			if s.stopped != 0 {
				b.Stopped, b.Why, b.Rate = time.Unix(s.stopped, 0).UTC(), s.why, 0
			}
			if a.planned {
				b.Planned = rtb.Money(a.plan.at(p.last))
			}
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b Balance) int {
		return cmp.Or(cmp.Compare(a.LineItem, b.LineItem), cmp.Compare(a.Account, b.Account))
	})
	return list
}
