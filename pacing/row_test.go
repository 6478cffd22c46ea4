package pacing_test

import (
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/pacing"
	"bidwell/rtb"
)

var (
	account = rtb.LineItemAccount(7, rtb.OfMoney)
	monday  = time.Date(2031, 3, 3, 0, 0, 0, 0, time.UTC)
)

func ask(granted, total, daily rtb.Money, at time.Time) pacing.Ask {
	start := at.Truncate(24 * time.Hour)
	return pacing.Ask{
		Account: account, Total: total, Daily: daily, DayStart: start, DayEnd: start.Add(24 * time.Hour),
		Granted: granted, Until: at.Add(time.Minute),
	}
}

func wantGrant(t *testing.T, g pacing.Grant, granted, charged rtb.Money) {
	t.Helper()
	if g.Granted != granted || g.Charged != charged {
		t.Errorf("granted %d, charged %d; want %d, %d", g.Granted, g.Charged, granted, charged)
	}
}

func TestLeaseKeepsLimits(t *testing.T) {
	var r pacing.Row
	now := monday.Add(time.Hour)
	wantGrant(t, r.Lease(1, now, ask(60, 200, 100, now)), 60, 0)
	wantGrant(t, r.Lease(2, now, ask(60, 200, 100, now)), 40, 0) // the daily limit
	if late := r.Book(1, 50, now); late != 0 {
		t.Errorf("late %d, want 0", late)
	}
	wantGrant(t, r.Lease(1, now, ask(50, 200, 100, now)), 50, 50) // returns what it does not need
	wantGrant(t, r.Lease(2, now, ask(60, 200, 100, now)), 50, 0)
	wantGrant(t, r.Lease(2, now, ask(60, 200, 80, now)), 50, 0) // a lower limit takes nothing back
	wantGrant(t, r.Lease(2, now, ask(20, 200, 80, now)), 20, 0)
	wantGrant(t, r.Lease(2, now, ask(90, 0, 0, now)), 90, 0) // no limits
	want := pacing.Statement{
		Account: account, Spent: 50, DayStart: monday, DayEnd: monday.Add(24 * time.Hour), Leased: 90, Nodes: 2,
	}
	if s := r.Statement(account, now); s != want {
		t.Errorf("statement %+v, want %+v", s, want)
	}
}

// A node that does not renew its lease bids no more with it, long before the
// lease ends for the sake of its bids in flight.
func TestLeaseIsStranded(t *testing.T) {
	var r pacing.Row
	now := monday
	a := ask(100, 200, 0, now)
	a.Usable = now.Add(10 * time.Second)
	wantGrant(t, r.Lease(1, now, a), 100, 0)
	r.Book(1, 30, now)
	now = now.Add(9 * time.Second)
	a = ask(50, 200, 0, now)
	a.Usable = now.Add(10 * time.Second)
	if g := r.Lease(2, now, a); g.Nodes != 2 || g.Leased != 120 || g.Stranded != 0 {
		t.Errorf("%+v, want two nodes and nothing stranded", g)
	}
	if s := r.Statement(account, now.Add(time.Second)); s.Nodes != 1 || s.Leased != 120 || s.Stranded != 70 {
		t.Errorf("%+v, want one node and 70 stranded", s)
	}
	wantGrant(t, r.Lease(2, now, ask(500, 200, 0, now)), 100, 0) // it is reserved all the same
}

// The multiplier of an account is that of the nodes that bid.
func TestLeaseTellsTheMultiplier(t *testing.T) {
	var r pacing.Row
	now := monday
	for node, multiplier := range []float64{0, 0.1, 0.4, 0.9} {
		a := ask(10, 200, 0, now)
		if a.Multiplier = multiplier; multiplier == 0.9 {
			a.Usable = now.Add(time.Second)
		}
		r.Lease(uint32(node+1), now, a)
	}
	if s := r.Statement(account, now.Add(time.Second)); math.Abs(s.Multiplier-0.2) > 1e-9 {
		t.Errorf("multiplier %v, want the geometric mean of 0.1 and 0.4", s.Multiplier)
	}
}

func TestLeaseOfTheNextDay(t *testing.T) {
	var r pacing.Row
	now := monday.Add(23*time.Hour + 59*time.Minute + 50*time.Second)
	wantGrant(t, r.Lease(1, now, ask(100, 0, 100, now)), 100, 0)
	r.Book(1, 70, now)
	next := now.Add(20 * time.Second)
	// What is in hand counts for the day in which it is spent.
	wantGrant(t, r.Lease(1, next, ask(200, 0, 100, next)), 170, 70)
	r.Book(1, 10, now) // came before midnight, and is read only now
	s := r.Statement(account, next)
	if s.Spent != 80 || s.Before != 80 || s.Late != 0 || s.Leased != 90 {
		t.Errorf("statement %+v, want that all 80 are of the day before", s)
	}
	// A node whose clock is late does not bring the day back.
	wantGrant(t, r.Lease(2, now, ask(100, 0, 100, now)), 10, 0)
	if got := r.Statement(account, next).DayStart; !got.Equal(monday.Add(24 * time.Hour)) {
		t.Errorf("the day began %s", got)
	}
}

// A change of the time zone moves the day; it does not bring a new budget.
func TestLeaseInAnotherTimeZone(t *testing.T) {
	var r pacing.Row
	now := monday.Add(16 * time.Hour)
	zoned := func(start time.Time) pacing.Ask {
		a := ask(1000, 0, 100, now)
		a.DayStart, a.DayEnd = start, start.Add(24*time.Hour)
		return a
	}
	losAngeles, tokyo := monday.Add(8*time.Hour), monday.Add(15*time.Hour)
	wantGrant(t, r.Lease(1, now, zoned(losAngeles)), 100, 0)
	r.Book(1, 100, now)
	for _, start := range []time.Time{tokyo, losAngeles, tokyo} {
		if g := r.Lease(1, now, zoned(start)); g.Granted != 100 || g.Spent-g.Before != 100 {
			t.Errorf("the day began at %s: %+v, want no more and 100 spent today", start, g)
		}
	}
	now = tokyo.Add(25 * time.Hour)
	if g := r.Lease(2, now, zoned(tokyo.Add(24*time.Hour))); g.Granted != 100 {
		t.Errorf("on the next day %+v, want 100", g)
	}
}

func TestBookTurnsTheDay(t *testing.T) {
	var r pacing.Row
	if late := r.Book(1, 5, monday); late != 0 { // before anybody asked: of no day, and without a limit
		t.Errorf("late %d, want 0: nobody leases it", late)
	}
	now := monday.Add(time.Hour)
	wantGrant(t, r.Lease(1, now, ask(10, 0, 10, now)), 10, 0)
	if late := r.Book(1, 4, monday.Add(24*time.Hour)); late != 4 {
		t.Errorf("late %d, want 4: the lease had ended", late)
	}
	if s := r.Statement(account, monday.Add(25*time.Hour)); s.Spent != 9 || s.Before != 5 || s.Late != 4 || s.Leased != 0 || s.Nodes != 0 {
		t.Errorf("statement %+v", s)
	}
	r.Book(1, 1, monday.Add(75*time.Hour))
	if !r.DayStart.Equal(monday.Add(72*time.Hour)) || r.Before != 9 {
		t.Errorf("day %s, before %d; want Thursday, 9", r.DayStart, r.Before)
	}
	// The advertiser's day has 23 hours, as the ask knows.
	a := ask(10, 0, 10, monday.Add(75*time.Hour))
	a.DayEnd = a.DayStart.Add(23 * time.Hour)
	r.Lease(1, monday.Add(75*time.Hour), a)
	if !r.DayEnd.Equal(monday.Add(95*time.Hour)) || r.Before != 9 {
		t.Errorf("day end %s, before %d", r.DayEnd, r.Before)
	}
}

func TestLeaseEnds(t *testing.T) {
	var r pacing.Row
	now := monday
	r.Lease(1, now, ask(100, 100, 0, now))
	r.Book(1, 30, now)
	now = now.Add(time.Minute)
	wantGrant(t, r.Lease(2, now, ask(100, 100, 0, now)), 70, 0)
	if late := r.Book(1, 5, now); late != 5 {
		t.Errorf("late %d, want 5", late)
	}
	wantGrant(t, r.Lease(1, now, ask(130, 100, 0, now)), 0, 0) // begins again, with nothing
	if late := r.Book(2, 80, now); late != 10 {
		t.Errorf("late %d, want the 10 that were not granted", late)
	}
	a := ask(70, 100, 0, now)
	a.Until = now // goodbye
	wantGrant(t, r.Lease(2, now, a), 70, 70)
	if s := r.Statement(account, now); s.Spent != 115 || s.Late != 15 || s.Nodes != 0 || len(r.Leases) != 0 {
		t.Errorf("statement %+v, leases %v", s, r.Leases)
	}
}

func TestRowDoesNotOverflow(t *testing.T) {
	var r pacing.Row
	for node := range uint32(3) {
		wantGrant(t, r.Lease(node, monday, ask(rtb.MaxMoney, 0, 0, monday)), rtb.MaxMoney, 0)
	}
	r.Book(9, rtb.MaxMoney, monday)
	r.Book(9, rtb.MaxMoney, monday)
	r.Book(9, -5, monday)
	g := r.Lease(3, monday, ask(1, rtb.MaxMoney, rtb.MaxMoney, monday))
	if g.Spent != rtb.MaxMoney || g.Late != rtb.MaxMoney || g.Leased != rtb.MaxMoney || g.Granted != 0 {
		t.Errorf("grant %+v", g)
	}
}

// bidder is a node as its owner sees it.
type bidder struct {
	granted rtb.Money
	hand    rtb.Money // of it, less what was charged
	alive   time.Time // it has a lease until then
}

// Several nodes ask, spend, return, lose answers and fall silent while days
// pass and limits change.
func TestRowProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r pacing.Row
		now := monday.Add(23 * time.Hour)
		total, daily := rtb.Money(1000), rtb.Money(300)
		nodes := make([]bidder, 3)
		var booked, late rtb.Money
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := r.Statement(account, now)
			i := rapid.IntRange(0, len(nodes)-1).Draw(t, "node")
			b := &nodes[i]
			node := uint32(i + 1)
			if !b.alive.After(now) {
				*b = bidder{} // a node that has lost its lease begins again
			}
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0, 1:
				charged, had := b.granted-b.hand, b.granted
				a := ask(charged+rtb.Money(rapid.IntRange(0, 400).Draw(t, "wants")), total, daily, now)
				g := r.Lease(node, now, a)
				after := r.Clone()
				if rapid.Bool().Draw(t, "lost") { // the answer: it asks again
					g = r.Lease(node, now, a)
					if !reflect.DeepEqual(after, r) {
						t.Fatalf("asking again made %+v of %+v", r, after)
					}
				}
				if g.Granted > a.Granted || g.Granted < g.Charged {
					t.Fatalf("asked for %d, granted %d, charged %d", a.Granted, g.Granted, g.Charged)
				}
				b.granted, b.hand, b.alive = g.Granted, g.Granted-g.Charged, a.Until
				s := r.Statement(account, now)
				if s != g.Statement {
					t.Fatalf("grant says %+v, the row %+v", g.Statement, s)
				}
				if s.Spent+s.Leased > before.Spent+before.Leased &&
					(total > 0 && s.Spent+s.Leased > total || daily > 0 && s.Spent-s.Before+s.Leased > daily) {
					t.Fatalf("leased more than the limits %d and %d a day: %+v, before %+v", total, daily, s, before)
				}
				if g.Granted < min(a.Granted, had) {
					t.Fatalf("had %d, asked for %d, granted %d: money in hand was taken back", had, a.Granted, g.Granted)
				}
				if g.Granted < a.Granted && !(total > 0 && s.Spent+s.Leased >= total || daily > 0 && s.Spent-s.Before+s.Leased >= daily) {
					t.Fatalf("asked for %d, granted %d, but the limits %d and %d a day leave more: %+v", a.Granted, g.Granted, total, daily, s)
				}
			case 2: // a charge, covered or not
				amount := rtb.Money(rapid.IntRange(0, 100).Draw(t, "amount"))
				covered := min(amount, b.hand)
				at := now
				if b.alive.After(now) { // else it may still be covered by the lease it had then
					at = now.Add(-time.Duration(rapid.IntRange(0, 2).Draw(t, "ago")) * time.Hour)
				}
				uncovered := amount - covered
				if before.DayEnd.IsZero() { // nobody has asked
					uncovered = 0
				}
				l := r.Book(node, amount, at)
				if l != uncovered {
					t.Fatalf("booked %d of %d in hand: late %d", amount, b.hand, l)
				}
				b.hand -= covered
				booked, late = booked+amount, late+l
				s := r.Statement(account, now)
				if s.Spent+s.Leased != before.Spent+before.Leased+amount-covered {
					t.Fatalf("booked %d, late %d: %+v, before %+v", amount, l, s, before)
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "seconds")) * time.Second)
				if rapid.IntRange(0, 9).Draw(t, "hours") == 0 {
					now = now.Add(8 * time.Hour)
				}
			case 4:
				total = rtb.Money(rapid.SampledFrom([]int{0, 500, 1000, 2000}).Draw(t, "total"))
				daily = rtb.Money(rapid.SampledFrom([]int{0, 100, 300, 600}).Draw(t, "daily"))
			}
			s := r.Statement(account, now)
			if s.Spent != booked || s.Late != late || s.Before > s.Spent || s.Before < before.Before {
				t.Fatalf("booked %d, late %d: %+v, before %+v", booked, late, s, before)
			}
			var hands rtb.Money
			for _, b := range nodes {
				if b.alive.After(now) {
					hands += b.hand
				}
			}
			if s.Leased != hands {
				t.Fatalf("leased %d, but the nodes have %d in hand", s.Leased, hands)
			}
		}
	})
}
