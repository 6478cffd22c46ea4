package pacing

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

const cent = rtb.Unit / 100

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// asap is a line item without a brake but its own budget.
func asap(id rtb.LineItemID, total, daily rtb.Money) rtb.LineItem {
	key := string(rune('a' + id))
	return rtb.LineItem{
		ID: id, Key: key, Location: time.UTC, Pacing: rtb.PaceASAP,
		Budgets: []rtb.Budget{{Account: named("line-item/" + key), Total: total, Daily: daily}},
	}
}

// named is the account of the line item that asap makes for a letter, or of a
// campaign of that name.
func named(owner string) rtb.AccountID {
	kind, name, _ := strings.Cut(owner, "/")
	switch {
	case kind != "line-item":
		return rtb.CampaignAccount(rtb.CampaignID(name[0]), rtb.OfMoney)
	case name == "k":
		return rtb.LineItemAccount(1, rtb.OfMoney)
	}
	return rtb.LineItemAccount(rtb.LineItemID(name[0]-'a'), rtb.OfMoney)
}

// desk is a bidder alone with its accounts: it leases whenever it needs to,
// and books what it is told.
type desk struct {
	*Pacer
	books   *Memory
	notices uint64
	hearing sync.Mutex
	now     atomic.Int64
}

func newDesk(now time.Time) *desk {
	d := &desk{Pacer: NewPacer(1, now), books: NewMemory()}
	d.now.Store(now.UnixNano())
	return d
}

func assigned(now time.Time, items ...rtb.LineItem) *desk {
	d := newDesk(now)
	d.Assign(items, now)
	return d
}

func (d *desk) lease() {
	if err := d.Pacer.Lease(context.Background(), d.books, time.Unix(0, d.now.Load())); err != nil {
		panic(err)
	}
}

func (d *desk) Assign(items []rtb.LineItem, now time.Time) {
	d.now.Store(now.UnixNano())
	d.Pacer.Assign(items, now)
	d.lease()
}

func (d *desk) Step(now time.Time) {
	d.now.Store(now.UnixNano())
	d.Pacer.Step(now)
	d.lease()
}

func (d *desk) Take(slot int32, cost rtb.Money, made time.Time) bool {
	for range 3 { // the first lease after a long time only says how it stands
		if d.Pacer.Take(slot, cost, made) {
			return true
		}
		d.lease()
	}
	return false
}

// Settle is the notice of a bid that won, Lose that of one that lost.
func (d *desk) Settle(slot int32, cost, paid rtb.Money, made, now time.Time) {
	if paid == 0 { // no price: what the exchange charges is not known
		d.Lose(slot, cost, made, now)
		return
	}
	d.hear(rtb.Event{Type: rtb.EventBill, Cost: cost, Billing: true, Charge: paid, Made: made}, slot, now)
}

func (d *desk) Lose(slot int32, cost rtb.Money, made, now time.Time) {
	d.hear(rtb.Event{Type: rtb.EventLoss, Cost: cost, Made: made}, slot, now)
}

func (d *desk) hear(e rtb.Event, slot int32, now time.Time) {
	s := d.slot(slot)
	if s == nil {
		return
	}
	e.Node, e.LineItem, e.Time = d.Node(), s.id, now
	d.hearing.Lock()
	defer d.hearing.Unlock()
	d.notices++
	position := d.notices
	n := Notice{Time: now, Node: e.Node, Spends: e.Billing && e.Charge > 0}
	binary.LittleEndian.PutUint64(n.Bid[:], position)
	n.Kind = kindOf[e.Type]
	if n.Spends {
		for i, a := range s.draws.Load().at(e.Made).accounts {
			n.Charges[i] = Charge{a.id, rtb.Money(a.amount(int64(e.Charge)))}
		}
	}
	if err := d.books.Book(context.Background(), position, []Notice{n}); err != nil {
		panic(err)
	}
	d.Apply(&e, 0, now)
}

func balance(t testing.TB, p *desk, owner string) Balance {
	t.Helper()
	for _, b := range p.Balances() {
		if b.Account == named(owner) {
			return b
		}
	}
	t.Fatalf("no balance of %s in %+v", owner, p.Balances())
	return Balance{}
}

func wantMoney(t testing.TB, p *desk, owner string, spent, held rtb.Money) {
	t.Helper()
	if b := balance(t, p, owner); b.Spent != spent || b.Held != held {
		t.Errorf("%s: spent %s, held %s, want %s, %s", owner, b.Spent, b.Held, spent, held)
	}
}

func TestTakeStopsAtTheLimit(t *testing.T) {
	for name, item := range map[string]rtb.LineItem{
		"total": asap(1, 10*cent, 0), "daily": asap(1, 0, 10*cent), "both": asap(1, 10*cent, 20*cent),
	} {
		p := assigned(monday, item)
		for i, want := range []bool{true, true, true, false} {
			if got := p.Take(0, 3*cent, monday); got != want {
				t.Errorf("%s: Take %d = %t, want %t", name, i, got, want)
			}
		}
		if !p.Take(0, cent, monday) || p.Take(0, 1, monday) {
			t.Errorf("%s: the last cent does not fit, or more than it", name)
		}
		p.Settle(0, 3*cent, 2*cent, monday, monday) // a cent comes back
		p.Lose(0, 3*cent, monday, monday)           // and three
		wantMoney(t, p, "line-item/b", 2*cent, 4*cent)
		if p.Take(0, 4*cent+1, monday) || !p.Take(0, 4*cent, monday) {
			t.Errorf("%s: what came back is not there to be taken", name)
		}
	}
}

func TestTakeRefusesWhatIsNoPrice(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	for _, cost := range []rtb.Money{-1, rtb.Money(maxCost) + 1, rtb.MaxMoney, -rtb.MaxMoney} {
		if p.Take(0, cost, monday) {
			t.Errorf("Take(%d) = true", cost)
		}
	}
	for _, slot := range []int32{-1, 1, 1 << 30} {
		if p.Take(slot, 1, monday) || p.Admit(slot, 0) == rtb.BidMade {
			t.Errorf("slot %d, which nobody has, may bid", slot)
		}
		p.Settle(slot, 1, 1, monday, monday)
		p.Lose(slot, 1, monday, monday)
	}
	if !p.Take(0, 0, monday) || !p.Take(0, rtb.Money(maxCost), monday) {
		t.Error("a line item without a limit is refused")
	}
}

func TestTakeHoldsOnAllAccountsOrNone(t *testing.T) {
	a, b := asap(1, 100*cent, 0), asap(2, 2*cent, 0)
	for _, item := range []*rtb.LineItem{&a, &b} {
		item.Budgets = append(item.Budgets, rtb.Budget{Account: named("campaign/x"), Total: 5 * cent})
	}
	p := assigned(monday, a, b)
	if !p.Take(0, 3*cent, monday) || p.Take(0, 3*cent, monday) {
		t.Error("the campaign has room for one bid of 3 cents, not two")
	}
	if p.Take(1, 3*cent, monday) { // its own account first says no
		t.Error("a bid of 3 cents on a budget of 2")
	}
	wantMoney(t, p, "line-item/b", 0, 3*cent)
	wantMoney(t, p, "line-item/c", 0, 0)
	wantMoney(t, p, "campaign/x", 0, 3*cent)
	if !p.Take(1, 2*cent, monday) || p.Take(0, 1, monday) {
		t.Error("line items of a campaign do not draw on the same money")
	}
}

func TestHoldsExpire(t *testing.T) {
	p := assigned(monday, asap(1, 10*cent, 0))
	step := func(d time.Duration) { p.Step(monday.Add(d)) }
	p.Take(0, 6*cent, monday)
	step(2 * time.Minute)
	p.Take(0, 4*cent, monday.Add(2*time.Minute))

	step(HoldTimeout - time.Second)
	wantMoney(t, p, "line-item/b", 0, 10*cent)
	step(HoldTimeout + 7*time.Second) // a bucket is 7 seconds wide
	wantMoney(t, p, "line-item/b", 0, 4*cent)

	// A win after that is money spent, and known to be late.
	p.Settle(0, 6*cent, 5*cent, monday, monday.Add(6*time.Minute))
	wantMoney(t, p, "line-item/b", 5*cent, 4*cent)
	if late := balance(t, p, "line-item/b").Late; late != 5*cent {
		t.Errorf("late %s, want %s", late, 5*cent)
	}
	p.Lose(0, 6*cent, monday, monday.Add(6*time.Minute)) // and a loss is nothing
	wantMoney(t, p, "line-item/b", 5*cent, 4*cent)
	if p.Take(0, 2*cent, monday.Add(6*time.Minute)) {
		t.Error("Take past the limit after a late win")
	}
	step(time.Hour)
	wantMoney(t, p, "line-item/b", 5*cent, 0)
}

func TestHoldFor(t *testing.T) {
	p := newDesk(monday)
	for _, d := range []time.Duration{0, -time.Second, 25 * time.Hour} {
		if p.HoldFor(d, monday) == nil {
			t.Errorf("HoldFor(%v) is accepted", d)
		}
	}
	if err := p.HoldFor(10*time.Second, monday); err != nil {
		t.Fatal(err)
	}
	p.Assign([]rtb.LineItem{asap(1, cent, 0)}, monday)
	p.Take(0, cent, monday)
	p.Step(monday.Add(9 * time.Second))
	wantMoney(t, p, "line-item/b", 0, cent)
	p.Step(monday.Add(12 * time.Second))
	wantMoney(t, p, "line-item/b", 0, 0)
}

func TestClockSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Second, 2 * time.Minute, time.Hour, 100 * time.Hour} {
		p := assigned(monday, asap(1, 0, 10*cent))
		noon := monday.Add(12 * time.Hour)
		p.Step(noon)
		if !p.Take(0, 6*cent, noon) {
			t.Fatal("Take at noon = false")
		}
		earlier := noon.Add(-back)
		p.Step(earlier)
		wantMoney(t, p, "line-item/b", 0, 6*cent)
		if p.Take(0, 5*cent, earlier) || !p.Take(0, 4*cent, earlier) {
			t.Errorf("back by %v: Take does not know what is held", back)
		}
		p.Settle(0, 4*cent, 4*cent, earlier, earlier)
		for s := range 13 * 60 { // the clock goes on
			p.Step(earlier.Add(time.Duration(s) * time.Second))
			if held := balance(t, p, "line-item/b").Held; held != 6*cent && s < 290 && back > HoldTimeout {
				t.Fatalf("back by %v: after %d s %s is held, want %s", back, s, held, 6*cent)
			}
		}
		p.Step(noon.Add(7 * time.Minute))
		wantMoney(t, p, "line-item/b", 4*cent, 0)
		want := 4 * cent
		if back > 12*time.Hour {
			want = 0 // the notice says that it belongs to a day before
		}
		if today := balance(t, p, "line-item/b").SpentToday; today != want {
			t.Errorf("back by %v: spent today %s, want %s", back, today, want)
		}
	}
}

// Between the sweep of a bucket and the end of the Step a notice may find the
// bucket empty, or with the hold of another account.
func TestNoticeDuringASweep(t *testing.T) {
	p := assigned(monday, asap(1, 10*cent, 0))
	a := p.accounts[named("line-item/b")]
	p.Take(0, 4*cent, monday)
	a.expire(p.epoch(monday.Unix()), 300)
	p.Settle(0, 4*cent, 3*cent, monday, monday)
	p.Lose(0, 4*cent, monday, monday)
	wantMoney(t, p, "line-item/b", 3*cent, 0)
	if late := balance(t, p, "line-item/b").Late; late != 3*cent || a.committed.Load()-a.idle != int64(3*cent) {
		t.Errorf("late %s, committed %d, want both %s", late, a.committed.Load()-a.idle, 3*cent)
	}
}

func TestBidsWaitForStep(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	if !p.Take(0, 1, monday.Add(2*time.Minute)) {
		t.Error("no bid two minutes after the last Step")
	}
	later := monday.Add(8 * time.Minute)
	if p.Take(0, 1, later) {
		t.Error("a bid eight minutes after the last Step: its bucket may hold older bids")
	}
	p.Step(later)
	if !p.Take(0, 1, later) || p.Take(0, 1, monday) {
		t.Error("after Step bids of now are refused, or those of eight minutes ago are not")
	}
}

// The same operations on a list of bids, one by one, must come to the same
// sums at all times.
func TestAccountsAgreeWithAListOfBids(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := [3]rtb.Money{30, 40, 50}
		items := []rtb.LineItem{asap(0, limits[0], 0), asap(1, 0, limits[1])}
		for i := range items {
			items[i].Budgets = append(items[i].Budgets, rtb.Budget{Account: named("campaign/x"), Total: limits[2]})
		}
		owners := [3]string{"line-item/a", "line-item/b", "campaign/x"}
		now := monday
		p := newDesk(now)
		p.Assign(items, now)

		type bid struct {
			slot int32
			cost rtb.Money
			made time.Time
		}
		var bids []bid
		var spent, before [3]rtb.Money
		held := func(account int) (sum rtb.Money) {
			for _, b := range bids {
				if b.slot == int32(account) || account == 2 {
					sum += b.cost
				}
			}
			return sum
		}
		day := now
		for range rapid.IntRange(1, 80).Draw(t, "operations") {
			switch rapid.IntRange(0, 4).Draw(t, "operation") {
			case 0, 1:
				b := bid{int32(rapid.IntRange(0, 1).Draw(t, "slot")), rtb.Money(rapid.IntRange(0, 12).Draw(t, "cost")), now}
				room := spent[2]+held(2)+b.cost <= limits[2]
				own := spent[b.slot] + held(int(b.slot)) + b.cost
				if b.slot == 1 {
					own -= before[1]
				}
				room = room && own <= limits[b.slot]
				if got := p.Take(b.slot, b.cost, now); got != room {
					t.Fatalf("Take(%d, %d) = %t, want %t", b.slot, b.cost, got, room)
				} else if got {
					bids = append(bids, b)
				}
			case 2, 3:
				if len(bids) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(bids)-1).Draw(t, "bid")
				b := bids[i]
				bids = append(bids[:i], bids[i+1:]...)
				whole := b.made.Truncate(time.Second) // as a token keeps it
				if rapid.Bool().Draw(t, "won") {
					paid := rtb.Money(rapid.IntRange(0, int(b.cost)).Draw(t, "paid"))
					p.Settle(b.slot, b.cost, paid, whole, now)
					spent[b.slot] += paid
					spent[2] += paid
				} else {
					p.Lose(b.slot, b.cost, whole, now)
				}
			case 4:
				now = now.Add(time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond)
				if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
					now = now.Add(13 * time.Hour)
				}
				p.Step(now)
				var live []bid
				for _, b := range bids {
					if e := b.made.Unix() / 7; now.Unix() < e*7+7+300 {
						live = append(live, b)
					}
				}
				bids = live
				if d := now.Truncate(24 * time.Hour); !d.Equal(day) {
					day, before = d, spent
				}
			}
			for i, owner := range owners {
				for _, b := range p.Balances() {
					if b.Account != named(owner) {
						continue
					}
					if b.Spent != spent[i] || b.Held != held(i) || i == 1 && b.SpentToday != spent[1]-before[1] {
						t.Fatalf("%s: %+v, want spent %d, before today %d, held %d", owner, b, spent[i], before[i], held(i))
					}
				}
			}
		}
	})
}

// Many bidders at once never commit more than the limits, whatever becomes of
// their bids, and when all is decided the sums are exact.
func TestManyBiddersStayWithinTheLimits(t *testing.T) {
	items := []rtb.LineItem{asap(0, 4000, 0), asap(1, 0, 5000), asap(2, 0, 0)}
	limits := map[string]int64{"line-item/a": 4000, "line-item/b": 5000, "campaign/x": 9000}
	for i := range items {
		items[i].Budgets = append(items[i].Budgets, rtb.Budget{Account: named("campaign/x"), Total: 9000})
	}
	p := assigned(monday, items...)

	var spent [8]rtb.Money
	var bidders, others sync.WaitGroup
	done := make(chan struct{})
	for g := range spent {
		bidders.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			made := monday.Add(time.Duration(g) * time.Second)
			for range 5000 {
				slot, cost := int32(r.IntN(3)), rtb.Money(r.IntN(20))
				if p.Admit(slot, 0) != rtb.BidMade || !p.Take(slot, cost, made) {
					continue
				}
				if r.IntN(3) == 0 {
					paid := cost / 4
					p.Settle(slot, cost, paid, made, made)
					spent[g] += paid
				} else {
					p.Lose(slot, cost, made, made)
				}
			}
		})
	}
	others.Go(func() {
		for s := 0; ; s++ {
			select {
			case <-done:
				return
			default:
			}
			p.Step(monday.Add(time.Duration(s%60) * time.Second))
			if s%50 == 0 {
				p.Assign(items, monday)
			}
			p.mu.Lock()
			for owner, limit := range limits {
				if a := p.accounts[named(owner)]; a.committed.Load()-a.idle-a.offset > limit {
					t.Errorf("%s: %d committed, limit %d", owner, a.committed.Load()-a.idle-a.offset, limit)
				}
			}
			p.mu.Unlock()
		}
	})
	bidders.Wait()
	close(done)
	others.Wait()

	var sum rtb.Money
	for _, s := range spent {
		sum += s
	}
	if sum == 0 {
		t.Error("nothing was spent")
	}
	wantMoney(t, p, "campaign/x", sum, 0)
}

func TestRunSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := assigned(time.Now(), asap(1, cent, 0))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx, p.books, time.Now, time.Second) }()
		if !p.Take(0, cent, time.Now()) || p.Take(0, cent, time.Now()) {
			t.Error("the budget is one bid")
		}
		time.Sleep(HoldTimeout + 10*time.Second) // of the bubble
		if !p.Take(0, cent, time.Now()) {
			t.Error("the hold has not expired")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestBidPathDoesNotAllocate(t *testing.T) {
	item := asap(1, 0, 0)
	item.Budgets = append(item.Budgets, rtb.Budget{Account: named("campaign/x"), Daily: rtb.Unit}, rtb.Budget{Account: named("advertiser/y")},
		rtb.Budget{Account: rtb.LineItemAccount(1, rtb.OfImpressions), Total: 1e6}, rtb.Budget{Account: rtb.LineItemAccount(1, rtb.OfClicks), Total: 1e6})
	p := assigned(monday, item)
	p.Take(0, cent, monday)
	p.Step(monday)
	won := rtb.Event{Type: rtb.EventBill, LineItem: 1, Node: p.Node(), Cost: cent / 10, Charge: 1, Billing: true, Made: monday}
	allocs := testing.AllocsPerRun(100, func() {
		if p.Admit(0, 7) != rtb.BidMade || !p.Pacer.Take(0, cent/10, monday) || !p.Pacer.Take(0, cent/10, monday) {
			t.Fatal("no bid")
		}
		p.Release(0, cent/10, monday)
		p.Apply(&won, 0, monday)
		if p.Pacer.Take(0, 90*cent, monday) {
			t.Fatal("a bid without a lease for it")
		}
		p.SlotOf(1)
	})
	if allocs != 0 {
		t.Errorf("the bid path allocates %v times, want 0", allocs)
	}
}

func BenchmarkAdmit(b *testing.B) {
	p := assigned(monday, asap(1, 0, 0))
	for b.Loop() {
		p.Admit(0, 7)
	}
}

// BenchmarkTake is a bid that is withdrawn, on two accounts.
func BenchmarkTake(b *testing.B) {
	item := asap(1, 0, 0)
	item.Budgets = append(item.Budgets, rtb.Budget{Account: named("campaign/x"), Daily: rtb.Unit})
	p := assigned(monday, item)
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			p.Pacer.Take(0, cent/10, monday)
			p.Release(0, cent/10, monday)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				p.Pacer.Take(0, cent/10, monday)
				p.Release(0, cent/10, monday)
			}
		})
	})
}

func BenchmarkStep(b *testing.B) {
	items := make([]rtb.LineItem, 10_000)
	for i := range items {
		items[i] = asap(rtb.LineItemID(i+1), 0, rtb.Unit)
		items[i].Pacing = rtb.PaceEven
	}
	p := assigned(monday, items...)
	now := monday
	for b.Loop() {
		now = now.Add(time.Second)
		p.Step(now)
	}
}
