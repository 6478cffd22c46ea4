package pacing

import (
	"math"
	"slices"
	"time"

	"bidwell/rtb"
)

// Row is what a store keeps of one account. Its methods are the rules of
// [Accounts], so that all stores share them. The zero Row is an account that
// nobody has heard of. What has been spent and what is leased is together never
// more than the limits, but for charges that no lease covers.
type Row struct {
	Spent, Before, Late rtb.Money // as in Statement
	DayStart, DayEnd    time.Time // zero as long as nobody has asked
	Leases              []RowLease
}

// RowLease is what one node may spend of an account. When it has ended nothing
// is remembered of it.
type RowLease struct {
	Node             uint32
	Granted, Charged rtb.Money // both since the node began; Charged is never more than Granted
	Usable, Until    time.Time // as in Ask
	Multiplier       float64   // as in Ask
}

// Clone is a copy that shares nothing with the row.
func (r *Row) Clone() Row {
	c := *r
	c.Leases = slices.Clone(r.Leases)
	return c
}

// Lease answers an ask. An ask that comes again, because its answer was lost,
// changes nothing. What was granted is not taken back, however low the limits
// have become, because bids may be under way with it: the node returns it by
// asking for less. A lease that ends by now returns everything.
func (r *Row) Lease(node uint32, now time.Time, ask Ask) Grant {
	r.Leases = slices.DeleteFunc(r.Leases, func(l RowLease) bool { return !l.Until.After(now) })
	r.adopt(ask.DayStart, ask.DayEnd)
	at := slices.IndexFunc(r.Leases, func(l RowLease) bool { return l.Node == node })
	if at < 0 {
		at = len(r.Leases)
		r.Leases = append(r.Leases, RowLease{Node: node})
	}
	l := &r.Leases[at]
	want := max(ask.Granted, l.Charged)
	if !ask.Until.After(now) {
		want = l.Charged
	}
	if want > l.Granted {
		want = min(want, max(l.Granted, addMoney(l.Charged, r.room(node, ask))))
	}
	l.Granted, l.Usable, l.Until, l.Multiplier = want, ask.Usable, ask.Until, ask.Multiplier
	if l.Usable.IsZero() || l.Usable.After(l.Until) {
		l.Usable = l.Until
	}
	g := Grant{Granted: l.Granted, Charged: l.Charged}
	if !ask.Until.After(now) || l.Granted == 0 { // nothing to remember
		r.Leases = slices.Delete(r.Leases, at, at+1)
	}
	g.Statement = r.Statement(ask.Account, now)
	return g
}

// room is what the limits leave to a node, what it has in hand included.
func (r *Row) room(node uint32, ask Ask) rtb.Money {
	used := r.Spent
	for _, l := range r.Leases {
		if l.Node != node {
			used = addMoney(used, l.Granted-l.Charged)
		}
	}
	room := rtb.MaxMoney
	if ask.Total > 0 {
		room = min(room, ask.Total-used)
	}
	if ask.Daily > 0 {
		room = min(room, addMoney(r.Before, ask.Daily)-used)
	}
	return max(room, 0)
}

// Book takes a charge at the time of its notice, and returns the part of it
// that no lease covers, though one should: an account that nobody has ever asked
// has no limit. A notice of a day that is over counts for that day.
func (r *Row) Book(node uint32, amount rtb.Money, at time.Time) (late rtb.Money) {
	if amount <= 0 {
		return 0
	}
	r.turn(at)
	r.Spent = addMoney(r.Spent, amount)
	if at.Before(r.DayStart) {
		r.Before = addMoney(r.Before, amount)
	}
	if r.DayEnd.IsZero() {
		return 0
	}
	late = amount
	for i := range r.Leases {
		if l := &r.Leases[i]; l.Node == node && l.Until.After(at) {
			covered := min(amount, l.Granted-l.Charged)
			l.Charged += covered
			late -= covered
		}
	}
	r.Late = addMoney(r.Late, late)
	return late
}

// adopt begins the day that an ask names, if it is a later one. Of the same day
// the ask knows better when it ends. A day that begins within half a day of the
// one before is the same day in another time zone: what was spent today stays
// today's, or a change of the time zone would bring a new daily budget.
func (r *Row) adopt(start, end time.Time) {
	if start.IsZero() || start.Before(r.DayStart) {
		return
	}
	if !end.After(start) {
		end = start.Add(fullDay)
	}
	if start.Sub(r.DayStart) >= fullDay/2 {
		r.Before = r.Spent
	}
	r.DayStart, r.DayEnd = start.UTC(), end.UTC()
}

// turn begins the day of a notice, if it is a later one. Days after the one
// that is known are taken to have 24 hours, until an ask says it exactly.
func (r *Row) turn(at time.Time) {
	if r.DayEnd.IsZero() || at.Before(r.DayEnd) {
		return
	}
	r.DayStart = r.DayEnd.Add(at.Sub(r.DayEnd).Truncate(fullDay))
	r.DayEnd = r.DayStart.Add(fullDay)
	r.Before = r.Spent
}

const fullDay = 24 * time.Hour

// Statement is the state of the row, which is that of an account.
func (r *Row) Statement(account rtb.AccountID, now time.Time) Statement {
	s := Statement{
		Account: account, Spent: r.Spent, Before: r.Before, DayStart: r.DayStart, DayEnd: r.DayEnd, Late: r.Late,
	}
	logs, known := 0.0, 0
	for _, l := range r.Leases {
		if l.Until.After(now) {
			s.Leased = addMoney(s.Leased, l.Granted-l.Charged)
			if l.Usable.After(now) {
				s.Nodes++
				if l.Multiplier > 0 {
					logs += math.Log(l.Multiplier)
					known++
				}
			} else {
				s.Stranded = addMoney(s.Stranded, l.Granted-l.Charged)
			}
		}
	}
	if known > 0 {
		s.Multiplier = math.Exp(logs / float64(known))
	}
	return s
}

// addMoney is the sum of two amounts that are not negative, or what fits.
func addMoney(a, b rtb.Money) rtb.Money {
	if a > math.MaxInt64-b {
		return rtb.MaxMoney
	}
	return a + b
}
