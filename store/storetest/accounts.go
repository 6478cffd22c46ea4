package storetest

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/pacing"
	"bidwell/rtb"
)

// Accounts is what an engine that keeps money offers.
type Accounts interface {
	pacing.Accounts
	Tallies(ctx context.Context) ([]pacing.Tally, error)
	Seen(ctx context.Context, notices []pacing.Notice) error
	Close() error
}

// TestAccounts tests an engine. place makes an empty place where it can keep
// accounts; what it returns opens those that are there, and that are durable:
// called again, as after a crash of the process that has them open.
func TestAccounts(t *testing.T, place func() (open func() (Accounts, error))) {
	t.Run("random history", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			h := newHistory(t, place())
			t.Repeat(map[string]func(*rapid.T){
				"book":   h.book,
				"again":  h.again,
				"lease":  h.lease,
				"wait":   h.wait,
				"limits": h.limits,
				"crash":  h.crash,
				"":       h.check,
			})
		})
	})
	t.Run("callers at once", func(t *testing.T) { testCallers(t, place()) })
	t.Run("cancelled", func(t *testing.T) { testCancelledAccounts(t, place()) })
}

// history is a run of a store, and a model of it that forgets nothing.
type history struct {
	t        *rapid.T
	ctx      context.Context
	open     func() (Accounts, error)
	accounts Accounts

	now          time.Time
	total, daily rtb.Money
	bids         []pacing.Notice // Bid, Made, Node, Exchange and LineItem
	log          []logged

	seen    map[rtb.BidID]pacing.Kinds
	rows    map[rtb.AccountID]*pacing.Row
	tallies map[[2]uint32]*pacing.Tally
	spent   map[rtb.AccountID]rtb.Money // counted without the help of Row
	granted map[string]rtb.Money        // by node and account
}

type logged struct {
	position uint64
	notices  []pacing.Notice // as they came back
}

func newHistory(t *rapid.T, open func() (Accounts, error)) *history {
	h := &history{
		t: t, ctx: context.Background(), open: open, now: Now, total: 5000, daily: 1000,
		seen: map[rtb.BidID]pacing.Kinds{}, rows: map[rtb.AccountID]*pacing.Row{}, tallies: map[[2]uint32]*pacing.Tally{},
		spent: map[rtb.AccountID]rtb.Money{}, granted: map[string]rtb.Money{},
	}
	h.reopen()
	return h
}

// reopen leaves the accounts that are open to crash. They are closed only
// in the end, because closing would save what a crash does not.
func (h *history) reopen() {
	a, err := h.open()
	if err != nil {
		h.t.Fatal(err)
	}
	h.accounts = a
	h.t.Cleanup(func() {
		if err := a.Close(); err != nil {
			h.t.Error(err)
		}
	})
}

func (h *history) last() uint64 {
	if len(h.log) == 0 {
		return 0
	}
	return h.log[len(h.log)-1].position
}

func (h *history) row(id rtb.AccountID) *pacing.Row {
	if h.rows[id] == nil {
		h.rows[id] = new(pacing.Row)
	}
	return h.rows[id]
}

// book adds a batch to the log and books it.
func (h *history) book(t *rapid.T) {
	b := logged{position: h.last() + uint64(rapid.IntRange(1, 3).Draw(t, "step"))}
	for range rapid.IntRange(0, 12).Draw(t, "notices") {
		b.notices = append(b.notices, h.notice(t))
	}
	for i := range b.notices {
		h.model(&b.notices[i])
	}
	h.log = append(h.log, b)
	h.apply(t, b)
}

// notice is one that a tracker could have accepted.
func (h *history) notice(t *rapid.T) pacing.Notice {
	n := pacing.Notice{Time: h.now.Add(-time.Duration(rapid.IntRange(0, 1800).Draw(t, "seconds late")) * time.Second)}
	n.Kind = pacing.Kind(rapid.IntRange(0, pacing.KindCount-2).Draw(t, "kind"))
	if n.Kind >= pacing.KindSpend {
		n.Kind++
	}
	if rapid.IntRange(0, 9).Draw(t, "conversion") == 0 {
		n.Kind = pacing.KindConversion
	}
	var known []pacing.Notice // bids of which such a notice may come
	for _, b := range h.bids {
		age := n.Time.Sub(b.Made)
		clicked := h.seen[b.Bid].Has(pacing.KindClick) || h.seen[b.Bid].Has(pacing.KindConversion)
		if age >= 0 && (age <= 24*time.Hour || n.Kind == pacing.KindConversion && clicked && age <= 30*24*time.Hour) {
			known = append(known, b)
		}
	}
	var bid pacing.Notice
	if len(known) > 0 && rapid.IntRange(0, 3).Draw(t, "known") > 0 {
		bid = rapid.SampledFrom(known).Draw(t, "bid")
	} else {
		binary.LittleEndian.PutUint64(bid.Bid[:], uint64(len(h.bids)+1)*0x9e3779b97f4a7c15)
		bid.Made = n.Time.Add(-time.Duration(rapid.IntRange(0, 24*60).Draw(t, "age")) * time.Minute)
		bid.Node = uint32(rapid.IntRange(1, 3).Draw(t, "node"))
		bid.LineItem = rtb.LineItemID(rapid.IntRange(1, 2).Draw(t, "line item"))
		bid.Exchange = rtb.ExchangeID(rapid.IntRange(1, 2).Draw(t, "exchange"))
		h.bids = append(h.bids, bid)
	}
	n.Bid, n.Made, n.Node, n.LineItem, n.Exchange = bid.Bid, bid.Made, bid.Node, bid.LineItem, bid.Exchange
	n.Price = rtb.Money(rapid.IntRange(-1, 50).Draw(t, "price"))
	switch {
	case n.Kind == pacing.KindClick:
		n.Charges = [4]pacing.Charge{{Account: rtb.LineItemAccount(n.LineItem, rtb.OfClicks), Amount: 1}}
	case (n.Kind == pacing.KindBill || n.Kind == pacing.KindWin) && n.Price > 0:
		n.Spends = rapid.Bool().Draw(t, "spends")
	}
	if n.Spends {
		n.Charges = [4]pacing.Charge{
			{Account: rtb.LineItemAccount(n.LineItem, rtb.OfMoney), Amount: n.Price}, {Account: rtb.CampaignAccount(1, rtb.OfMoney), Amount: n.Price},
			{Account: rtb.LineItemAccount(n.LineItem, rtb.OfImpressions), Amount: 1},
		}
	}
	return n
}

// model books a notice for good.
func (h *history) model(n *pacing.Notice) {
	n.Seen = h.seen[n.Bid]
	h.seen[n.Bid] = n.Seen | 1<<n.Kind
	due := !n.Seen.Has(n.Kind)
	if n.Spends {
		due = !n.Seen.Has(pacing.KindSpend)
		h.seen[n.Bid] |= 1 << pacing.KindSpend
	}
	if due {
		for _, c := range n.Charges {
			h.spent[c.Account] += c.Amount
		}
	}
	n.Book(h.row)
	of := [2]uint32{uint32(n.LineItem), uint32(n.Exchange)}
	if h.tallies[of] == nil {
		h.tallies[of] = &pacing.Tally{LineItem: n.LineItem, Exchange: n.Exchange}
	}
	h.tallies[of].Add(n)
}

// apply has the store book a batch, which must say what the model has said.
func (h *history) apply(t *rapid.T, b logged) {
	got := slices.Clone(b.notices)
	for i := range got {
		got[i].Seen, got[i].Late = 0, 99
	}
	if err := h.accounts.Seen(h.ctx, got); err != nil { // which books nothing
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Seen != b.notices[i].Seen || got[i].Late != 99 {
			t.Fatalf("position %d to come: notices[%d]: %+v, want Seen of %+v", b.position, i, got[i], b.notices[i])
		}
		got[i].Seen = 0
	}
	if err := h.accounts.Book(h.ctx, b.position, got); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != b.notices[i] {
			t.Fatalf("position %d: notices[%d]: %+v, want %+v", b.position, i, got[i], b.notices[i])
		}
	}
}

// again gives the store a batch that it has.
func (h *history) again(t *rapid.T) {
	if len(h.log) == 0 {
		return
	}
	b := rapid.SampledFrom(h.log).Draw(t, "batch")
	got := slices.Clone(b.notices)
	if err := h.accounts.Book(h.ctx, b.position, got); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if !got[i].Repeats() || got[i].Late != 0 || !got[i].Seen.Has(pacing.KindSpend) {
			t.Fatalf("position %d came again: notices[%d]: %+v", b.position, i, got[i])
		}
	}
}

func (h *history) lease(t *rapid.T) {
	node := uint32(rapid.IntRange(1, 3).Draw(t, "node"))
	day := h.now.Truncate(24 * time.Hour)
	until := h.now.Add(time.Duration(rapid.IntRange(-1, 90).Draw(t, "minutes")) * time.Minute)
	var asks []pacing.Ask
	for range rapid.IntRange(0, 3).Draw(t, "asks") {
		id := rapid.SampledFrom([]rtb.AccountID{
			rtb.LineItemAccount(1, rtb.OfMoney), rtb.LineItemAccount(2, rtb.OfMoney), rtb.CampaignAccount(1, rtb.OfMoney),
			rtb.LineItemAccount(1, rtb.OfImpressions), rtb.LineItemAccount(1, rtb.OfClicks),
		}).Draw(t, "account")
		more := rtb.Money(rapid.IntRange(-200, 400).Draw(t, "more"))
		asks = append(asks, pacing.Ask{
			Account: id, Total: h.total, Daily: h.daily, DayStart: day, DayEnd: day.Add(24 * time.Hour),
			Granted: max(0, h.granted[fmt.Sprint(node, id)]+more), Until: until,
			Usable:     until.Add(-time.Duration(rapid.IntRange(0, 60).Draw(t, "minutes in flight")) * time.Minute),
			Multiplier: float64(rapid.IntRange(0, 4).Draw(t, "multiplier")) / 4,
		})
	}
	for range 2 { // the answer is lost, and it asks again
		got, err := h.accounts.Lease(h.ctx, node, h.now, asks)
		if err != nil || len(got) != len(asks) {
			t.Fatalf("%d asks: %d grants, %v", len(asks), len(got), err)
		}
		for i, a := range asks {
			if want := h.row(a.Account).Lease(node, h.now, a); got[i] != want {
				t.Fatalf("grants[%d]: %+v, want %+v", i, got[i], want)
			}
			h.granted[fmt.Sprint(node, a.Account)] = got[i].Granted
		}
	}
}

func (h *history) wait(t *rapid.T) {
	unit := rapid.SampledFrom([]time.Duration{time.Minute, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
	h.now = h.now.Add(unit * time.Duration(rapid.IntRange(1, 20).Draw(t, "units")))
}

func (h *history) limits(t *rapid.T) {
	h.total = rtb.Money(rapid.SampledFrom([]int{0, 500, 5000}).Draw(t, "total"))
	h.daily = rtb.Money(rapid.SampledFrom([]int{0, 100, 1000}).Draw(t, "daily"))
}

// crash loses what is not durable. Leases are; what is not booked any more
// comes again from the log.
func (h *history) crash(t *rapid.T) {
	h.reopen()
	for id, s := range h.statements(t) {
		want := h.row(id).Statement(id, h.now)
		if s.Nodes != want.Nodes || s.Spent > want.Spent || s.Leased < want.Leased {
			t.Fatalf("after a crash %+v, before it %+v: a lease was forgotten or spending invented", s, want)
		}
	}
	position, err := h.accounts.Position(h.ctx)
	if err != nil || position > h.last() {
		t.Fatalf("position %d after a crash, %v; the log ends at %d", position, err, h.last())
	}
	for _, b := range h.log {
		if b.position > position {
			h.apply(t, b)
		}
	}
}

func (h *history) statements(t *rapid.T) map[rtb.AccountID]pacing.Statement {
	list, err := h.accounts.Statements(h.ctx, h.now)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(list, func(a, b pacing.Statement) int { return cmp.Compare(a.Account, b.Account) }) {
		t.Fatalf("statements are not sorted: %+v", list)
	}
	all := map[rtb.AccountID]pacing.Statement{}
	for _, s := range list {
		all[s.Account] = s
	}
	return all
}

// check compares the whole store with the model.
func (h *history) check(t *rapid.T) {
	if position, err := h.accounts.Position(h.ctx); err != nil || position != h.last() {
		t.Fatalf("position %d, %v; want %d", position, err, h.last())
	}
	got := h.statements(t)
	for id, row := range h.rows {
		want := row.Statement(id, h.now)
		if got[id] != want && (got[id] != pacing.Statement{} || want != pacing.Statement{Account: id}) {
			t.Fatalf("statement %+v, want %+v", got[id], want)
		}
		if want.Spent != h.spent[id] {
			t.Fatalf("%s: %d was due, but spent %+v", id, h.spent[id], want)
		}
	}
	for id, s := range got {
		if h.rows[id] == nil {
			t.Fatalf("statement of nobody: %+v", s)
		}
	}
	tallies, err := h.accounts.Tallies(h.ctx)
	if err != nil || len(tallies) != len(h.tallies) {
		t.Fatalf("%d tallies, %v; want %d", len(tallies), err, len(h.tallies))
	}
	for _, tally := range tallies {
		if want := h.tallies[[2]uint32{uint32(tally.LineItem), uint32(tally.Exchange)}]; tally != *want {
			t.Fatalf("tally %+v, want %+v", tally, *want)
		}
	}
}

// testCallers has several nodes lease from one account while notices are
// booked: together they get no more than there is.
func testCallers(t *testing.T, open func() (Accounts, error)) {
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	const total, nodes, rounds = 1000, 4, 20
	id := rtb.LineItemAccount(1, rtb.OfMoney)
	lease := func(node uint32, granted rtb.Money) error {
		_, err := a.Lease(t.Context(), node, Now, []pacing.Ask{{
			Account: id, Total: total, DayStart: Now, DayEnd: Now.Add(24 * time.Hour), Granted: granted, Until: Now.Add(time.Hour),
		}})
		return err
	}
	if err := lease(0, 0); err != nil { // from here on charges need a lease
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for node := range uint32(nodes) {
		all.Go(func() {
			for n := range rounds {
				err := lease(node, rtb.Money(20*n))
				if _, serr := a.Statements(t.Context(), Now); err != nil || serr != nil {
					t.Error(err, serr)
				}
			}
		})
	}
	all.Go(func() {
		for n := range rounds {
			notice := pacing.Notice{
				Bid: rtb.BidID{byte(n), 1}, Made: Now, Time: Now, Kind: pacing.KindBill, Spends: true, Node: 99, LineItem: 1,
				Charges: [4]pacing.Charge{{Account: id, Amount: 1}},
			}
			if err := a.Book(t.Context(), uint64(n+1), []pacing.Notice{notice}); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	list, err := a.Statements(t.Context(), Now)
	if err != nil || len(list) != 1 {
		t.Fatalf("statements %+v, %v", list, err)
	}
	s := list[0]
	if s.Spent != rounds || s.Late != rounds || s.Leased < total-rounds || s.Leased > total {
		t.Errorf("statement %+v, want %d spent, all of it late, and what is left of %d leased", s, rounds, total)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func testCancelledAccounts(t *testing.T, open func() (Accounts, error)) {
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]error{}
	calls["Book"] = a.Book(ctx, 1, nil)
	calls["Seen"] = a.Seen(ctx, nil)
	_, calls["Position"] = a.Position(ctx)
	_, calls["Lease"] = a.Lease(ctx, 1, Now, nil)
	_, calls["Statements"] = a.Statements(ctx, Now)
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if calls[name] == nil {
			t.Errorf("%s of a cancelled context succeeds", name)
		}
	}
	if _, err := a.Lease(t.Context(), 1, Now, []pacing.Ask{{Granted: 1, Until: Now.Add(time.Hour)}}); err == nil {
		t.Error("a lease of no account was granted")
	}
	if err := a.Book(t.Context(), 1, []pacing.Notice{{Kind: pacing.KindSpend}}); err == nil {
		t.Error("a notice of no kind was booked")
	}
	if position, err := a.Position(t.Context()); err != nil || position != 0 {
		t.Errorf("position %d, %v; want 0", position, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
