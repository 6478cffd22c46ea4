package pacing

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

func leaseOrFail(t interface{ Fatal(...any) }, p *Pacer, a Accounts, now time.Time) {
	if err := p.Lease(context.Background(), a, now); err != nil {
		t.Fatal(err)
	}
}

// stateOf is the account of a line item as the accounts have it.
func stateOf(books *Memory, owner string, now time.Time) Statement {
	return books.row(named(owner)).Statement(named(owner), now)
}

func TestNoBidBeforeTheFirstLease(t *testing.T) {
	p := NewPacer(7, monday)
	p.Assign([]rtb.LineItem{asap(1, 64*cent, 0), asap(2, 0, 0)}, monday)
	if p.Node() != 7 || p.Take(0, cent, monday) || p.Take(1, cent, monday) {
		t.Fatal("a bid before the first lease")
	}
	leaseOrFail(t, p, NewMemory(), monday)
	if !p.Take(0, cent, monday) || !p.Take(1, cent, monday) {
		t.Error("no bid after it")
	}
}

func TestALeaseIsAFewBids(t *testing.T) {
	books := NewMemory()
	now := monday
	nodes := []*Pacer{NewPacer(1, now), NewPacer(2, now)}
	for _, p := range nodes {
		p.Assign([]rtb.LineItem{asap(1, 1000*cent, 0)}, now)
		leaseOrFail(t, p, books, now)
		if p.Take(0, 20*cent, now) {
			t.Fatal("a bid past the lease")
		}
		select {
		case <-p.wake:
		default:
			t.Error("nobody is woken to lease more")
		}
		leaseOrFail(t, p, books, now)
	}
	if s := stateOf(books, "line-item/b", now); s.Leased != 2*4*20*cent || s.Nodes != 2 {
		t.Fatalf("%+v, want four bids for each of two bidders", s)
	}
	p := nodes[0]
	for i := range 4 {
		if !p.Take(0, 20*cent, now) {
			t.Fatalf("bid %d of the lease is refused", i)
		}
	}
	if p.Take(0, 20*cent, now) {
		t.Error("a bid past the lease")
	}
	leaseOrFail(t, p, books, now) // less than half is left: the time has come
	if s := stateOf(books, "line-item/b", now); s.Leased != (4+8)*20*cent {
		t.Errorf("%+v, want four bids more", s)
	}

	// When its bids have lost it needs less, and gives the rest back.
	for range 4 {
		p.Apply(&rtb.Event{Type: rtb.EventLoss, LineItem: 1, Node: 1, Cost: 20 * cent, Made: now}, 0, now)
	}
	for range 600 {
		now = now.Add(5 * time.Second)
		for _, p := range nodes {
			p.Step(now)
			leaseOrFail(t, p, books, now)
		}
	}
	if s := stateOf(books, "line-item/b", now); s.Leased > 2*4*20*cent || s.Leased < 20*cent {
		t.Errorf("%+v after an idle hour", s)
	}
	p.Assign(nil, now)
	leaseOrFail(t, p, books, now)
	if s := stateOf(books, "line-item/b", now); s.Leased > 4*20*cent || s.Nodes != 1 {
		t.Errorf("%+v: the lease of a line item that is gone is kept", s)
	}
}

// A bidder that cannot renew its lease stops a hold timeout before it ends, so
// that its bids in flight are still covered, and goes on when it can.
func TestLeasesThatAreNotRenewed(t *testing.T) {
	books := NewMemory()
	p := assigned(monday, asap(1, 640*cent, 0))
	p.books = books
	p.lease()
	if !p.Pacer.Take(0, cent, monday) {
		t.Fatal("no bid")
	}
	down := refusing{errors.New("no disk")}
	at := monday
	for s := range 400 {
		at = monday.Add(time.Duration(s) * time.Second)
		p.Pacer.Step(at)
		if err := p.Pacer.Lease(t.Context(), down, at); s >= 5 && !errors.Is(err, down.error) {
			t.Fatalf("after %d s: %v", s, err)
		}
		if got := p.Pacer.Take(0, 0, at); got != (s <= 10) {
			t.Fatalf("after %d s Take = %t", s, got)
		}
	}
	p.lease() // at the time of the last Assign: as good as never
	end := at.Add(time.Hour)
	p.Step(end)
	if !p.Take(0, cent, end) {
		t.Error("no bid once leases are to be had again")
	}
	// Its first lease has ended: what was charged since is late, not lost.
	p.Settle(0, cent, cent, monday, end)
	p.Step(end.Add(time.Minute))
	wantMoney(t, p, "line-item/b", cent, cent)
	if s := stateOf(books, "line-item/b", end); s.Spent != cent {
		t.Errorf("%+v, want 0.01 spent", s)
	}
}

// An account without a limit is leased too: else all that it spends would seem
// to be late.
func TestSpendWithoutALimitIsNotLate(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	for s := range 60 {
		now := monday.Add(time.Duration(s) * time.Second)
		p.Step(now)
		for range 50 {
			if !p.Pacer.Take(0, 10*cent, now) {
				t.Fatal("no bid without a limit")
			}
			p.Settle(0, 10*cent, 10*cent, now, now)
		}
	}
	if s := stateOf(p.books, "line-item/b", monday); s.Spent != 300*rtb.Unit || s.Late > 10*rtb.Unit {
		t.Errorf("%+v, want 300 spent and next to nothing late", s)
	}
}

// refusing are accounts whose store does not work.
type refusing struct{ error }

func (r refusing) Book(context.Context, uint64, []Notice) error               { return r.error }
func (r refusing) Position(context.Context) (uint64, error)                   { return 0, r.error }
func (r refusing) Statements(context.Context, time.Time) ([]Statement, error) { return nil, r.error }
func (r refusing) Lease(context.Context, uint32, time.Time, []Ask) ([]Grant, error) {
	return nil, r.error
}

// A notice counts for the hold of its own bid, once.
func TestApply(t *testing.T) {
	limits := []rtb.Budget{
		{Account: rtb.LineItemAccount(1, rtb.OfMoney), Total: 640 * cent},
		{Account: rtb.LineItemAccount(1, rtb.OfImpressions), Total: 1000},
		{Account: rtb.CampaignAccount(9, rtb.OfClicks), Total: 2},
	}
	p := assigned(monday, rtb.LineItem{ID: 1, Location: time.UTC, Pacing: rtb.PaceASAP, Budgets: limits})
	state := func() (text string) {
		for _, b := range p.Balances() {
			text += fmt.Sprintf("%s %d+%d ", b.Account.Measure(), b.Spent, b.Held)
		}
		return text
	}
	bill := rtb.Event{Type: rtb.EventBill, Billing: true, Charge: 3, Cost: 5, Node: 1, LineItem: 1, Made: monday}
	blank := bill
	blank.Charge = 0
	foreign := bill
	foreign.Node = 2
	loss := rtb.Event{Type: rtb.EventLoss, Cost: 5, Node: 1, LineItem: 1, Made: monday}
	click := rtb.Event{Type: rtb.EventClick, Cost: 5, Node: 1, LineItem: 1, Made: monday}
	const lost, spent, clicked = Kinds(1 << KindLoss), Kinds(1<<KindBill | 1<<KindSpend), Kinds(1 << KindClick)
	for range 3 {
		if !p.Take(0, 5, monday) {
			t.Fatal("no bid")
		}
	}
	for _, step := range []struct {
		name string
		e    rtb.Event
		seen Kinds
		want string
	}{
		{"of another bidder", foreign, 0, "money 0+15 impressions 0+3 clicks 0+0 "},
		{"a price that is missing", blank, 0, "money 0+15 impressions 0+3 clicks 0+0 "},
		{"a bill", bill, 1 << KindBill, "money 3+10 impressions 1+2 clicks 0+0 "},
		{"its repeat", bill, spent, "money 3+10 impressions 1+2 clicks 0+0 "},
		{"a loss after it", loss, spent, "money 3+10 impressions 1+2 clicks 0+0 "},
		{"a click", click, spent, "money 3+10 impressions 1+2 clicks 1+0 "},
		{"another", click, spent | clicked, "money 3+10 impressions 1+2 clicks 1+0 "},
		{"a loss", loss, 0, "money 3+5 impressions 1+1 clicks 1+0 "},
		{"its repeat", loss, lost, "money 3+5 impressions 1+1 clicks 1+0 "},
		{"a bill after all", bill, lost, "money 6+5 impressions 2+1 clicks 1+0 "},
	} {
		p.Apply(&step.e, step.seen, monday)
		if got := state(); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if !p.Pacer.Take(0, 1, monday) {
		t.Error("no bid although one click is left")
	}
	p.Apply(&click, 0, monday)
	if p.Pacer.Take(0, 1, monday) {
		t.Error("a bid after the last click")
	}
}

// slow is a store that answers when it is told to.
type slow struct {
	*Memory
	asked  chan struct{}
	answer chan error
}

func (s *slow) Lease(ctx context.Context, node uint32, now time.Time, asks []Ask) ([]Grant, error) {
	s.asked <- struct{}{}
	if err := <-s.answer; err != nil {
		return nil, err
	}
	return s.Memory.Lease(ctx, node, now, asks)
}

func TestRunDoesNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{NewMemory(), make(chan struct{}), make(chan error)}
		p := NewPacer(1, time.Now())
		p.Assign([]rtb.LineItem{asap(1, 640*cent, 0)}, time.Now())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx, store, time.Now, time.Second) }()
		<-store.asked
		time.Sleep(90 * time.Second) // of the bubble
		p.mu.Lock()
		behind := seconds(time.Now()) - p.last
		p.mu.Unlock()
		if behind > 1 {
			t.Errorf("Step is %v seconds behind", behind)
		}
		store.answer <- errors.New("no disk")
		<-store.asked // it tries again
		store.answer <- nil
		synctest.Wait()
		if p.Take(0, 50*cent, time.Now()) {
			t.Error("a bid past the lease")
		}
		<-store.asked // at once, not with the next second
		store.answer <- nil
		synctest.Wait()
		if !p.Take(0, 50*cent, time.Now()) {
			t.Error("the lease has not grown")
		}
		stop()
		<-store.asked
		store.answer <- nil
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s := stateOf(store.Memory, "line-item/b", time.Now()); s.Leased != 50*cent {
			t.Errorf("%+v: want 0.50 kept for the bid in flight", s)
		}
	})
}

// Whatever several bidders do, in whatever order, all they hold and were
// charged is together never more than the limit, and no hold is left over.
func TestLeasesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rtb.Money(rapid.IntRange(1, 400).Draw(t, "limit"))
		item := asap(1, limit, 0)
		item.Budgets = append(item.Budgets, rtb.Budget{Account: named("campaign/x"), Daily: 300})
		books, now := NewMemory(), monday
		var nodes []*Pacer
		next, position, serial := uint32(0), uint64(0), uint64(0)
		join := func() *Pacer {
			next++
			p := NewPacer(next, now)
			p.Assign([]rtb.LineItem{item}, now)
			return p
		}
		var surprises rtb.Money // charges of bids that had lost, or of which nothing was heard in time
		ledger := NewLedger(books, func(price rtb.Money, _ rtb.Currency) rtb.Money { return price }, func(e *rtb.Event, seen Kinds) {
			if !seen.Has(KindSpend) && (seen.Has(KindLoss) || now.Sub(e.Made) >= HoldTimeout) {
				surprises += e.Charge
			}
			for _, p := range nodes {
				p.Apply(e, seen, now)
			}
		})
		for range 3 {
			nodes = append(nodes, join())
		}
		var bids []rtb.Event
		check := func() {
			committed := map[rtb.AccountID]int64{}
			for _, p := range nodes {
				for id, a := range p.accounts {
					if a.relief != 0 {
						t.Fatal("relief after a handful of bids")
					}
					if own := a.committed.Load() - a.charged - a.idle; own < 0 {
						t.Fatalf("node %d: %s holds %d", p.node, id, own)
					} else {
						committed[id] += own
					}
				}
			}
			for id, held := range committed {
				row := books.row(id)
				room := limit
				if id == named("campaign/x") {
					room = row.Before + 300
				}
				if rtb.Money(held)+row.Spent > room+surprises {
					t.Fatalf("%s: spent %d, of it by surprise %d, held %d, limit %d", id, row.Spent, surprises, held, room)
				}
			}
		}
		for range rapid.IntRange(1, 150).Draw(t, "operations") {
			p := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
			switch rapid.IntRange(0, 8).Draw(t, "operation") {
			case 0, 1, 2:
				serial++
				cost := rtb.Money(rapid.IntRange(0, 30).Draw(t, "cost"))
				if p.Take(0, cost, now) {
					b := rtb.Event{Node: p.node, LineItem: 1, Campaign: rtb.CampaignID('x'), Cost: cost, Made: now}
					b.Bid[0], b.Bid[1] = byte(serial), byte(serial>>8)
					bids = append(bids, b)
				}
			case 3, 4: // a notice, perhaps one of many of its bid
				if len(bids) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(bids)-1).Draw(t, "bid")
				e := bids[i]
				e.Time = now
				switch rapid.IntRange(0, 3).Draw(t, "notice") {
				case 0:
					e.Type = rtb.EventLoss
				case 1:
					e.Type, e.Billing = rtb.EventBill, true // no price
				default:
					e.Type, e.Billing = rtb.EventBill, true
					e.Charge = rtb.Money(rapid.IntRange(0, int(e.Cost)).Draw(t, "charge"))
				}
				position++
				if err := ledger.Apply(position, []rtb.Event{e}); err != nil {
					t.Fatal(err)
				}
			case 5: // a bid that never left
				if len(bids) == 0 {
					continue
				}
				i := len(bids) - 1
				b := bids[i]
				if books.seen[b.Bid] != 0 {
					continue
				}
				for _, p := range nodes {
					if p.node == b.Node {
						p.Release(0, b.Cost, b.Made)
					}
				}
				bids = bids[:i]
			case 6:
				leaseOrFail(t, p, books, now)
			case 7:
				seconds := rapid.SampledFrom([]int{1, 1, 1, 5, 30, 200, 400, 50_000}).Draw(t, "seconds")
				now = now.Add(time.Duration(seconds) * time.Second)
				for _, p := range nodes {
					p.Step(now)
				}
			case 8: // one crashes, and begins anew
				if rapid.IntRange(0, 4).Draw(t, "crash") == 0 {
					for i := range nodes {
						if nodes[i] == p {
							nodes[i] = join()
						}
					}
				}
			}
			check()
		}
		now = now.Add(time.Hour)
		for _, p := range nodes {
			p.Step(now)
			for id, a := range p.accounts {
				if held := a.committed.Load() - a.charged - a.idle; held != 0 {
					t.Fatalf("node %d: %s holds %d in the end", p.node, id, held)
				}
			}
		}
	})
}
