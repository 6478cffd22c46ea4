package pacing_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"bidwell/pacing"
	"bidwell/rtb"
)

// failing are accounts whose store fails once it is told to.
type failing struct {
	*pacing.Memory
	err error
}

func (f *failing) Book(ctx context.Context, position uint64, notices []pacing.Notice) error {
	if f.err != nil {
		return f.err
	}
	return f.Memory.Book(ctx, position, notices)
}

func TestLedger(t *testing.T) {
	accounts := &failing{Memory: pacing.NewMemory()}
	spent := func(id rtb.AccountID) rtb.Money {
		list, err := accounts.Statements(t.Context(), monday)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.Account == id {
				return s.Spent
			}
		}
		return 0
	}
	type told struct {
		e    rtb.EventType
		seen pacing.Kinds
	}
	var heard []told
	euro := rtb.Currency{'E', 'U', 'R'}
	l := pacing.NewLedger(accounts,
		func(price rtb.Money, c rtb.Currency) rtb.Money {
			if c != euro || price <= 0 {
				t.Errorf("asked to convert %s %s", price, c)
			}
			return 2 * price
		},
		func(e *rtb.Event, seen pacing.Kinds) { heard = append(heard, told{e.Type, seen}) })
	event := func(typ rtb.EventType, price, charge rtb.Money) rtb.Event {
		return rtb.Event{
			Bid: rtb.BidID{1}, Node: 3, LineItem: 7, Campaign: 8, Currency: euro, Made: monday, Time: monday.Add(time.Minute),
			Cost: 500, Type: typ, Price: price, Billing: typ == rtb.EventBill, Charge: charge,
		}
	}
	part := event(rtb.EventVideo, 0, 0)
	part.Part = 3
	unknown := event(rtb.EventVideo, 0, 0)
	unknown.Part = 6
	none, win, bill, view, spend := pacing.Kinds(0), pacing.Kinds(1<<pacing.KindWin), pacing.Kinds(1<<pacing.KindBill), pacing.Kinds(1<<pacing.KindView), pacing.Kinds(1<<pacing.KindSpend)
	steps := []struct {
		name   string
		batch  []rtb.Event
		told   []told
		money  rtb.Money
		imps   rtb.Money
		clicks rtb.Money
	}{
		{name: "nothing to book", batch: []rtb.Event{event(rtb.EventBid, 100, 0), unknown}},
		{name: "a win does not spend", batch: []rtb.Event{event(rtb.EventWin, 100, 300)}, told: []told{{rtb.EventWin, none}}},
		{name: "nor does a price that is missing", batch: []rtb.Event{event(rtb.EventBill, 0, 0), event(rtb.EventBill, rtb.UnreadablePrice, 0)},
			told: []told{{rtb.EventBill, win}}},
		{name: "a priced repeat does, once", batch: []rtb.Event{event(rtb.EventBill, 100, 300), event(rtb.EventView, 0, 0), event(rtb.EventBill, 100, 300)},
			told: []told{{rtb.EventBill, win | bill}, {rtb.EventView, win | bill | spend}}, money: 300, imps: 1},
		{name: "clicks count once", batch: []rtb.Event{event(rtb.EventClick, 0, 0), event(rtb.EventClick, 0, 0), part},
			told:  []told{{rtb.EventClick, win | bill | spend | view}, {rtb.EventVideo, win | bill | spend | view | 1<<pacing.KindClick}},
			money: 300, imps: 1, clicks: 1},
	}
	for i, s := range steps {
		heard = nil
		if err := l.Apply(uint64(i+1), s.batch); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if !slices.Equal(heard, s.told) {
			t.Errorf("%s: told %v, want %v", s.name, heard, s.told)
		}
		for of, want := range map[rtb.Measure]rtb.Money{rtb.OfMoney: s.money, rtb.OfImpressions: s.imps, rtb.OfClicks: s.clicks} {
			if a, b := spent(rtb.LineItemAccount(7, of)), spent(rtb.CampaignAccount(8, of)); a != want || b != want {
				t.Errorf("%s: %s: line item %d, campaign %d, want %d", s.name, of, a, b, want)
			}
		}
	}
	heard = nil
	if err := l.Apply(2, []rtb.Event{event(rtb.EventViewable, 0, 0)}); err != nil || heard != nil {
		t.Errorf("a batch of before: told %v, %v", heard, err)
	}
	accounts.err = errors.New("no disk")
	if err := l.Apply(99, []rtb.Event{event(rtb.EventViewable, 0, 0)}); !errors.Is(err, accounts.err) || heard != nil {
		t.Errorf("a failure: told %v, %v", heard, err)
	}
}

func TestTally(t *testing.T) {
	own, shared := rtb.LineItemAccount(7, rtb.OfMoney), rtb.CampaignAccount(8, rtb.OfMoney)
	bill := pacing.Notice{Kind: pacing.KindBill, Price: 40}
	var tally pacing.Tally
	tally.Add(&bill) // blank, as far as spending goes
	bill.Spends, bill.Charges = true, [4]pacing.Charge{{Account: own, Amount: 50}, {Account: shared, Amount: 50}}
	bill.Seen = 1 << pacing.KindBill
	tally.Add(&bill)
	bill.Seen = bill.After()
	tally.Add(&bill)
	want := pacing.Tally{Charged: 50, Repeats: 2}
	want.Counts[pacing.KindBill], want.Counts[pacing.KindSpend], want.Prices[pacing.KindBill] = 1, 1, 80
	if tally != want {
		t.Errorf("tally %+v, want %+v", tally, want)
	}
}
