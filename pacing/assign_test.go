package pacing

import (
	"math"
	"testing"
	"time"

	"bidwell/rtb"
)

func TestSpendAndHoldsSurviveReloads(t *testing.T) {
	item := asap(1, 10*cent, 0)
	p := assigned(monday, item)
	p.Take(0, 4*cent, monday)
	p.Settle(0, 4*cent, 4*cent, monday, monday)
	p.Take(0, 3*cent, monday)
	for range 3 {
		items := []rtb.LineItem{asap(7, cent, 0), item} // another order, another neighbour
		p.Assign(items, monday)
		if items[1].Slot != 0 || items[0].Slot == 0 {
			t.Fatalf("slots %d, %d: a slot has moved", items[1].Slot, items[0].Slot)
		}
		wantMoney(t, p, "line-item/b", 4*cent, 3*cent)
	}
	if p.Take(0, 4*cent, monday) {
		t.Error("the budget is full again after a reload")
	}
	p.Lose(0, 3*cent, monday, monday)
	wantMoney(t, p, "line-item/b", 4*cent, 0)
}

func TestChangedBudgetsCountAtOnce(t *testing.T) {
	p := assigned(monday, asap(1, 10*cent, 0))
	p.Take(0, 6*cent, monday)
	p.Assign([]rtb.LineItem{asap(1, 5*cent, 0)}, monday)
	if p.Take(0, 1, monday) {
		t.Error("a bid past the lowered limit")
	}
	p.Assign([]rtb.LineItem{asap(1, 0, 8*cent)}, monday)
	if p.Take(0, 3*cent, monday) || !p.Take(0, 2*cent, monday) {
		t.Error("the new limit is not the one that counts")
	}
	even := asap(1, 0, 96*cent)
	even.Pacing = rtb.PaceEven
	p.Assign([]rtb.LineItem{even}, monday)
	if p.Take(0, 50*cent, monday) {
		t.Error("even pacing does not count at once")
	}
}

func TestRemovedLineItemsDoNotGetTheirMoneyBack(t *testing.T) {
	item := asap(1, 10*cent, 0)
	p := assigned(monday, item)
	p.Take(0, 4*cent, monday)
	p.Take(0, 6*cent, monday)
	p.Assign(nil, monday)
	if p.Admit(0, 0) == rtb.BidMade || p.Take(0, 0, monday) {
		t.Error("a line item that is gone may bid")
	}
	if slot, ok := p.SlotOf(1); !ok || slot != 0 {
		t.Error("its notices find no slot")
	}
	p.Settle(0, 4*cent, 4*cent, monday, monday)
	p.Step(monday.Add(time.Hour))
	wantMoney(t, p, "line-item/b", 4*cent, 0)

	p.Step(monday.Add(25 * time.Hour)) // its day is over
	if _, ok := p.SlotOf(1); ok || len(p.Balances()) != 0 || len(p.accounts) != 0 {
		t.Errorf("it is still there: %+v", p.Balances())
	}
	later := monday.Add(50 * time.Hour)
	p.Step(later)
	items := []rtb.LineItem{item}
	p.Assign(items, later)
	if items[0].Slot == 0 {
		t.Error("a slot was given out again")
	}
	wantMoney(t, p, "line-item/b", 4*cent, 0)
	if slot := items[0].Slot; p.Take(slot, 7*cent, later) || !p.Take(slot, 6*cent, later) {
		t.Error("what is left is not 6 cents")
	}
}

// Bids in flight are decided where they were held, although the line item has
// got into another campaign.
func TestHoldsStayWhereTheyWereMade(t *testing.T) {
	in := func(campaign string) []rtb.LineItem {
		item := asap(1, 0, 0)
		item.Budgets = append(item.Budgets, rtb.Budget{Account: named(campaign), Total: 10 * cent})
		return []rtb.LineItem{item}
	}
	p := assigned(monday, in("campaign/x")...)
	p.Take(0, 4*cent, monday)
	later := monday.Add(10 * time.Second)
	p.Assign(in("campaign/y"), later)
	p.Take(0, 5*cent, later)
	p.Assign(in("campaign/y"), later.Add(time.Second)) // nothing has changed

	x := p.accounts[named("campaign/x")]
	if x.own() != int64(4*cent) {
		t.Errorf("campaign/x holds %d, want %d", x.own(), 4*cent)
	}
	p.Settle(0, 4*cent, 3*cent, monday, later)
	if x.own() != 0 || x.spent() != int64(3*cent) {
		t.Errorf("campaign/x: held %d, spent %d, want 0, %d", x.own(), x.spent(), 3*cent)
	}
	wantMoney(t, p, "campaign/y", 0, 5*cent)
	wantMoney(t, p, "line-item/b", 3*cent, 5*cent)
}

func TestEveryLineItemHasAnAccountOfItsOwn(t *testing.T) {
	item := rtb.LineItem{ID: 1, Key: "k"} // no budget, no location
	p := assigned(monday, item)
	p.Take(0, cent, monday)
	p.Settle(0, cent, cent, monday, monday)
	wantMoney(t, p, "line-item/k", cent, 0)
	if len(item.Budgets) != 0 {
		t.Error("the caller's line item got a budget")
	}
}

func TestSharedTermsAreJoined(t *testing.T) {
	day := 24 * time.Hour
	morning, evening := rtb.WeekHours{}, rtb.WeekHours{}
	morning.Add(time.Monday, 8)
	evening.Add(time.Monday, 20)
	a := terms{total: 10, daily: 0, start: 100, end: 200, hours: morning}
	b := terms{total: 7, daily: 5, start: 50, end: 300, hours: evening}
	got := a.join(b)
	if got.total != 7 || got.daily != 5 || got.start != 50 || got.end != 300 {
		t.Errorf("join = %+v", got)
	}
	if !got.hours.Has(24+8) || !got.hours.Has(24+20) || got.hours.Has(24+9) {
		t.Errorf("hours = %v", got.hours)
	}
	b.end, b.hours = 0, rtb.WeekHours{}
	if got := a.join(b); got.end != 0 || got.hours.Set {
		t.Errorf("with an open one: %+v", got)
	}
	if got, want := (&account{terms: terms{hours: morning, location: time.UTC}}).expected(monday.Unix(), monday.Add(15*day).Unix()), 3*3600.0; got != want {
		t.Errorf("two weeks and a Monday serve %v seconds, want %v", got, want)
	}
	if got := (&account{terms: terms{location: time.UTC}}).expected(10, 30); got != 20 {
		t.Errorf("always serves %v of 20 seconds", got)
	}
}

func TestDailyLimitsTurnWithTheAdvertisersDay(t *testing.T) {
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	item := asap(1, 0, 10*cent)
	item.Location = tokyo
	p := assigned(monday, item) // nine in the morning there
	p.Take(0, 10*cent, monday)
	p.Settle(0, 10*cent, 10*cent, monday, monday)
	before := monday.Add(15*time.Hour - time.Second)
	p.Step(before)
	if p.Take(0, cent, before) {
		t.Error("a second before midnight there is money again")
	}
	midnight := monday.Add(15 * time.Hour)
	p.Step(midnight)
	if b := balance(t, p, "line-item/b"); b.SpentToday != 0 || b.Spent != 10*cent {
		t.Errorf("at midnight %+v", b)
	}
	if !p.Take(0, 10*cent, midnight) || p.Take(0, 1, midnight) {
		t.Error("the new day does not have its budget, or more")
	}
	// Holds of the day before take from the new day until they are decided.
	next := midnight.Add(24*time.Hour + time.Minute)
	p.Step(next.Add(-2 * time.Minute))
	p.Take(0, 10*cent, next.Add(-2*time.Minute))
	p.Step(next)
	if p.Take(0, 1, next) {
		t.Error("a hold was forgotten at midnight")
	}
}

// What was spent is in the accounts: a bidder that begins anew knows it from
// its first lease, and the lease of the one before stays reserved for its bids.
func TestANewBidderKnowsWhatWasSpent(t *testing.T) {
	item := asap(1, 20*cent, 10*cent)
	p := assigned(monday, item)
	p.Take(0, 6*cent, monday)
	p.Settle(0, 6*cent, 6*cent, monday, monday)
	p.Take(0, 1*cent, monday) // in flight
	restarted := func(node uint32, now time.Time) *desk {
		q := &desk{Pacer: NewPacer(node, now), books: p.books}
		if q.Take(0, 1, now) {
			t.Error("a bid before anything was assigned")
		}
		q.Pacer.Assign([]rtb.LineItem{item}, now)
		if q.Pacer.Take(0, 1, now) {
			t.Error("a bid before the first lease")
		}
		q.Assign([]rtb.LineItem{item}, now)
		return q
	}
	soon := monday.Add(time.Minute)
	q := restarted(2, soon)
	wantMoney(t, q, "line-item/b", 6*cent, 0)
	if q.Take(0, 4*cent, soon) {
		t.Error("the bids in flight of the one before were forgotten")
	}
	same := monday.Add(20 * time.Hour)
	q = restarted(3, same)
	wantMoney(t, q, "line-item/b", 6*cent, 0)
	if b := balance(t, q, "line-item/b"); b.SpentToday != 6*cent {
		t.Errorf("spent today %s, want 0.06", b.SpentToday)
	}
	if q.Take(0, 5*cent, same) || !q.Take(0, 4*cent, same) {
		t.Error("on the same day 4 cents are left")
	}
	next := monday.Add(30 * time.Hour)
	q = restarted(4, next)
	if b := balance(t, q, "line-item/b"); b.Spent != 6*cent || b.SpentToday != 0 {
		t.Errorf("on the next day %+v", b)
	}
}

func TestBalances(t *testing.T) {
	item := asap(1, 50*cent, 24*cent)
	item.Pacing = rtb.PaceEven
	p := assigned(monday, asap(0, 0, 0), item)
	later := monday.Add(20 * time.Minute)
	for at := monday; !at.After(later); at = at.Add(time.Minute) {
		p.Step(at)
	}
	p.Take(1, cent/5, later)
	p.Settle(1, cent/5, cent/10, later, later)
	p.Take(1, cent/4, later)
	got := p.Balances()
	if len(got) != 2 || got[0].LineItem != 0 || got[0].Rate != 1 || got[0].Planned != 0 {
		t.Fatalf("Balances = %+v", got)
	}
	want := Balance{
		LineItem: 1, Account: named("line-item/b"), Spent: cent / 10, SpentToday: cent / 10, Held: cent / 4,
		LimitTotal: 50 * cent, LimitDaily: 24 * cent, Planned: cent / 3, Rate: 1,
	}
	if math.Abs(float64(got[1].Planned-want.Planned)) < 1000 {
		got[1].Planned = want.Planned
	}
	got[1].Leased = 0
	if got[1] != want {
		t.Errorf("Balance = %+v, want %+v", got[1], want)
	}
}
