package pacing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// Balance is what one account of one line item has, in the account currency.
// Accounts that line items share appear once for each.
type Balance struct {
	LineItem   rtb.LineItemID
	Account    rtb.AccountID
	Spent      rtb.Money
	SpentToday rtb.Money // in the time zone of the advertiser
	Held       rtb.Money // by bids that are not decided
	Late       rtb.Money // part of Spent: won after the hold had expired
	LimitTotal rtb.Money // zero for none
	LimitDaily rtb.Money
	Planned    rtb.Money // what should be spent today by now; zero without a plan
	Rate       float64   // part of the opportunities that the line item is let through to
}

// Spend is what outlives a Pacer: the spend of one account.
type Spend struct {
	Account    rtb.AccountID
	Spent      rtb.Money
	SpentToday rtb.Money
	Day        time.Time // when the day of SpentToday began
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
	for id, t := range wanted {
		if a := p.accounts[id]; a != nil {
			a.change(t, second)
		} else {
			p.accounts[id] = p.newAccount(id, t, second)
		}
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
		p.draw(next.slots[at], item, second)
	}
	for i, s := range next.slots {
		if s != nil && !kept[i] {
			s.close(second, p.timeout)
		}
	}
	for _, a := range p.accounts {
		a.limits(seconds(now))
	}
	next.gates = make([]atomic.Uint64, len(next.slots))
	next.open()
	p.slots.Store(next)
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

func (p *Pacer) newAccount(id rtb.AccountID, t terms, now int64) *account {
	a := &account{id: id, terms: t}
	a.rates = [3]float64{rtb.PaceEven: firstRate, rtb.PaceASAP: 1, rtb.PaceAhead: firstRate}
	a.dayStart, a.dayEnd = dayOf(now, t.location)
	past := p.past[id]
	delete(p.past, id)
	a.spent.Store(int64(past.Spent))
	a.committed.Store(int64(past.Spent))
	a.before = int64(past.Spent)
	if past.Day.Unix() == a.dayStart {
		a.before -= int64(past.SpentToday)
	}
	a.replan(now)
	if !a.planned {
		a.rates = [3]float64{1, 1, 1}
	}
	return a
}

// retire lets go of the slots of line items that are gone, and of accounts on
// which no slot draws and nothing is held. Their spend is kept: a line item
// that comes back has not got its money back.
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
		if d.before != nil && d.since < now-2*p.timeout { // no hold can be from before
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
	next.gates = make([]atomic.Uint64, len(next.slots))
	next.open()
	p.slots.Store(next)
	for id, a := range p.accounts {
		if used[a] || a.limbo != 0 || a.committed.Load() != a.spent.Load() {
			continue
		}
		delete(p.accounts, id)
		if s := a.spend(); s.Spent != 0 {
			p.past[id] = s
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
				Spent: rtb.Money(a.spent.Load()), SpentToday: rtb.Money(a.today()),
				Held: rtb.Money(a.held()), Late: rtb.Money(a.late.Load()),
				LimitTotal: rtb.Money(a.terms.total), LimitDaily: rtb.Money(a.terms.daily),
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

// Snapshot is the spend of all accounts, for [Pacer.Restore]. What is
// held is not part of it.
func (p *Pacer) Snapshot() []Spend {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Collect(maps.Values(p.past))
	for _, a := range p.accounts {
		list = append(list, a.spend())
	}
	slices.SortFunc(list, func(a, b Spend) int { return cmp.Compare(a.Account, b.Account) })
	return list
}

func (a *account) spend() Spend {
	return Spend{
		Account: a.id, Spent: rtb.Money(a.spent.Load()), SpentToday: rtb.Money(a.today()),
		Day: time.Unix(a.dayStart, 0).UTC(),
	}
}

// Restore tells a new Pacer what was spent before it began. Call it before the
// first Assign: accounts that exist already are an error.
func (p *Pacer) Restore(spends []Spend) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range spends {
		switch {
		case s.Account == 0:
			return fmt.Errorf("restore: spends[%d]: account: missing", i)
		case s.SpentToday < 0 || s.Spent < s.SpentToday || int64(s.Spent) >= unlimited:
			return fmt.Errorf("restore: %s: spent %s, of it today %s: out of range", s.Account, s.Spent, s.SpentToday)
		case p.accounts[s.Account] != nil:
			return fmt.Errorf("restore: %s: the account is in use", s.Account)
		}
	}
	for _, s := range spends {
		p.past[s.Account] = s
	}
	return nil
}
