package bidder

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/bidder/openrtb"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/targeting/audience"
)

func bidOf(n uint64) (id rtb.BidID) {
	binary.LittleEndian.PutUint64(id[8:], n)
	return id
}

func newTestExposures(t *testing.T, holds int) *Exposures {
	t.Helper()
	x, err := NewExposures(holds, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestHolds(t *testing.T) {
	user := rtb.UserID{1, 8: 1, 15: 7}
	e := rtb.Exposure{LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 4}
	event := func(kind rtb.EventType, bid uint64) rtb.Event {
		return rtb.Event{Type: kind, User: user, Bid: bidOf(bid), Made: testNow}
	}
	tests := []struct {
		name  string
		after []rtb.EventType
		at    time.Duration
		alive bool
	}{
		{"just made", nil, 0, true},
		{"before the timeout", nil, 5*time.Minute - 1, true},
		{"at the timeout, rounded up", nil, 5*time.Minute + time.Second, false},
		{"lost", []rtb.EventType{rtb.EventLoss}, 0, false},
		{"won", []rtb.EventType{rtb.EventWin}, time.Hour - 1, true},
		{"won, but an hour ago", []rtb.EventType{rtb.EventWin}, time.Hour + time.Second, false},
		{"shown", []rtb.EventType{rtb.EventView}, time.Hour - 1, true},
		{"won, then lost", []rtb.EventType{rtb.EventWin, rtb.EventLoss}, time.Hour - 1, true},
		{"won twice", []rtb.EventType{rtb.EventWin, rtb.EventWin}, time.Hour - 1, true},
		{"lost, then won", []rtb.EventType{rtb.EventLoss, rtb.EventWin}, 0, false},
		{"a sample", []rtb.EventType{rtb.EventBid}, time.Hour - 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTestExposures(t, 64)
			if !x.add(&user, new(bidOf(1)), &e, testNow) {
				t.Fatal("no room in an empty table")
			}
			for _, kind := range tt.after {
				other, ours := event(kind, 2), event(kind, 1)
				x.Apply(&other)
				x.Apply(&ours)
			}
			got := x.append(nil, &user, testNow.Add(tt.at))
			if alive := len(got) == 1; alive != tt.alive {
				t.Errorf("holds %+v, want one: %t", got, tt.alive)
			}
			for _, h := range got {
				want := e
				want.Time, want.Count = uint32(testNow.Add(tt.at).Unix())+1, 1
				if h.Exposure != want || h.bid != 1 {
					t.Errorf("hold %+v, want %+v", h, want)
				}
			}
			billing := event(rtb.EventBill, 1)
			x.Recorded([]rtb.Event{billing}) // does not bill
			if left := x.append(nil, &user, testNow.Add(tt.at)); len(left) != len(got) {
				t.Error("a notice that does not bill ended the hold")
			}
			billing.Billing = true
			before := x.records(&user)
			x.Recorded([]rtb.Event{billing})
			if left := x.append(nil, &user, testNow.Add(tt.at)); len(left) != 0 || x.records(&user) == before {
				t.Errorf("left after the billing was recorded: %+v", left)
			}
		})
	}
}

// One user's holds fill the places of the set, and then there is no room until
// one ends.
func TestHoldsAreRefusedWhenFull(t *testing.T) {
	x := newTestExposures(t, holdWays)
	var e rtb.Exposure
	user, other := rtb.UserID{8: 1, 15: 1}, rtb.UserID{8: 1, 15: 2}
	add := func(user rtb.UserID, n uint64, after time.Duration) bool {
		return x.add(&user, new(bidOf(n)), &e, testNow.Add(after))
	}
	for n := range uint64(holdWays) {
		if !add(user, n, 0) {
			t.Fatalf("no room for hold %d of %d", n, holdWays)
		}
	}
	if add(user, 99, time.Minute) || add(other, 99, time.Minute) {
		t.Fatal("there was room in a full table")
	}
	x.remove(&user, new(bidOf(7)))
	if !add(other, 99, time.Minute) || add(other, 100, time.Minute) {
		t.Error("one hold has ended, so there is room for one")
	}
	if !add(other, 101, 5*time.Minute+time.Second) {
		t.Error("holds have expired, but there is no room")
	}
	late := testNow.Add(5*time.Minute + time.Second)
	if a, b := x.append(nil, &user, late), x.append(nil, &other, late); len(a) != 0 || len(b) != 2 {
		t.Errorf("%d and %d holds, want 0 and 2", len(a), len(b))
	}
}

func TestNewExposuresRefuses(t *testing.T) {
	for _, holds := range []int{-1, 0, 1 << 40} {
		if _, err := NewExposures(holds, time.Minute); err == nil {
			t.Errorf("a table for %d holds was made", holds)
		}
	}
	for _, timeout := range []time.Duration{-1, 0, time.Millisecond, 48 * time.Hour} {
		if _, err := NewExposures(1000, timeout); err == nil {
			t.Errorf("a hold timeout of %s was taken", timeout)
		}
	}
}

// Whatever else goes on in a set, nobody misses a hold that was added before
// and has not ended, and nobody reads a mixture of two.
func TestHoldsUnderConcurrency(t *testing.T) {
	x := newTestExposures(t, holdWays) // one set
	var group sync.WaitGroup
	for g := range uint64(4) {
		group.Go(func() {
			user := rtb.UserID{15: byte(1 + g)}
			var list []inFlight
			for i := range uint64(20_000) {
				n := g<<32 | i
				id := rtb.LineItemID(n*2654435761 + 1)
				e := rtb.Exposure{LineItem: id, Campaign: rtb.CampaignID(id), Advertiser: rtb.AdvertiserID(id), Creative: rtb.CreativeID(id)}
				if !x.add(&user, new(bidOf(n)), &e, testNow) {
					t.Errorf("no room for hold %d", i)
					return
				}
				if i%3 > 0 { // so that there are up to three
					x.remove(&user, new(bidOf(n-i%3)))
				}
				list = x.append(list[:0], &user, testNow)
				if !slices.ContainsFunc(list, func(h inFlight) bool { return h.bid == n && h.LineItem == id }) {
					t.Errorf("hold %d is missing in %+v", i, list)
					return
				}
				for _, h := range list {
					if uint32(h.LineItem) != uint32(h.Creative) || uint32(h.Campaign) != uint32(h.Advertiser) || uint32(h.LineItem) != uint32(h.Campaign) {
						t.Errorf("a mixture: %+v", h)
						return
					}
				}
				for k := uint64(0); k < 3 && k <= i; k++ {
					if i%3 == 2 {
						x.remove(&user, new(bidOf(n-k)))
					}
				}
			}
		})
	}
	group.Wait()
}

// world is a bidder, its users and all that happens to its bids.
type world struct {
	*fixture
	recorder *audience.Recorder
	dice     *rand.Rand
	now      time.Time
	round    int
	position uint64
	shown    []shown
	due      []due
	batches  [][]rtb.Event // in the log, but not recorded yet; the last has position
	oldest   time.Time     // of them
	capped   int           // imps that no line item bid on because of a cap
}

// shown is an impression that was billed, now or later.
type shown struct {
	made
	at    time.Time // before the billing notice
	round int       // of the bid; bids of one round are made at the same moment
}

// due is a notice on its way.
type due struct {
	rtb.Event
	at time.Time
}

// worldItems are line items of two advertisers with all kinds of caps. Those
// of a campaign or an advertiser are on all its line items, but for line items
// that have no caps at all and yet count.
func worldItems(r *rapid.T) []rtb.LineItem {
	windows := []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 5 * time.Hour}
	draw := func(name string, per rtb.CapScope, most int) []rtb.FrequencyCap {
		var list []rtb.FrequencyCap
		for range rapid.IntRange(0, most).Draw(r, name) {
			list = append(list, rtb.FrequencyCap{Per: per, Limit: uint16(rapid.IntRange(1, 4).Draw(r, "limit")), Window: rapid.SampledFrom(windows).Draw(r, "window")})
		}
		return list
	}
	campaigns, advertisers := map[rtb.CampaignID][]rtb.FrequencyCap{}, map[rtb.AdvertiserID][]rtb.FrequencyCap{}
	items := make([]rtb.LineItem, rapid.IntRange(1, 6).Draw(r, "line items"))
	for i := range items {
		creatives := []rtb.Creative{banner(uint32(10+2*i), 300, 250), banner(uint32(11+2*i), 300, 250), banner(9, 300, 250)}
		items[i] = lineItem(uint32(i+1), 1+float64(i%2), creatives[rapid.IntRange(0, 2).Draw(r, "creatives"):]...)
		item := &items[i]
		item.Campaign, item.Advertiser = rtb.CampaignID(1+i%4), rtb.AdvertiserID(1+i%2)
		if rapid.IntRange(0, 5).Draw(r, "uncapped") == 0 {
			continue
		}
		if _, ok := campaigns[item.Campaign]; !ok {
			campaigns[item.Campaign] = draw("campaign caps", rtb.CapCampaign, 1)
		}
		if _, ok := advertisers[item.Advertiser]; !ok {
			advertisers[item.Advertiser] = draw("advertiser caps", rtb.CapAdvertiser, 1)
		}
		item.Caps = slices.Concat(draw("caps", rtb.CapLineItem, 2), draw("creative caps", rtb.CapCreative, 1), campaigns[item.Campaign], advertisers[item.Advertiser])
		if rapid.IntRange(0, 2).Draw(r, "gap?") == 0 {
			item.MinGap = rapid.SampledFrom(windows).Draw(r, "gap")
		}
	}
	return items
}

const twoImps = `{"id":"r","imp":[{"id":"1","banner":{"w":300,"h":250}},{"id":"2","banner":{"w":300,"h":250}}],` +
	`"site":{"domain":"news.example"},"device":{%s},"user":{%s},"tmax":1000}`

// body is a request of a user, who is not always known by the same identifiers.
func (w *world) body(user int) []byte {
	device, cookie := fmt.Sprintf(`"ifa":"%s"`, deviceID(user)), fmt.Sprintf(`"buyeruid":"cookie-of-%d-0000"`, user)
	switch w.dice.IntN(8) {
	case 0:
		cookie = ""
	case 1:
		device = ""
	case 2:
		if w.dice.IntN(4) == 0 {
			device, cookie = "", ""
		}
	}
	return fmt.Appendf(nil, twoImps, device, cookie)
}

// made is a bid with the request it answers.
type made struct {
	rtb.Event
	item    *rtb.LineItem
	ids     []rtb.UserID // of the request
	request int          // of its round
	imp     int          // of the request
}

// request decides on a request and returns the bids. It may be called
// concurrently.
func (w *world) request(tb rapid.TB, s *scratch, body []byte) (bids []made, capped bool) {
	s.reset()
	s.exchange = w.directory.Load().Lookup([]byte("generic"))
	s.arrived, s.now = w.now, w.now
	if err := openrtb.Decode(body, &s.request); err != nil {
		tb.Errorf("decode: %v", err)
		return nil, false
	}
	s.deadline = w.deadline(s)
	w.bid(s)
	for i := range s.response.Bids {
		bid := &s.response.Bids[i]
		m := made{item: bid.LineItem, ids: slices.Clone(s.request.Users), imp: i}
		m.Event = rtb.Event{Bid: bid.ID, LineItem: bid.LineItem.ID, Campaign: bid.LineItem.Campaign, Advertiser: bid.LineItem.Advertiser,
			Creative: bid.Creative.ID, Made: s.now, Cost: bid.Cost}
		if len(m.ids) > 0 {
			m.User = m.ids[0]
		}
		if len(m.ids) == 0 && (len(m.item.Caps) > 0 || m.item.MinGap > 0) {
			tb.Errorf("line item %d has caps, but bid for a user without an identifier", m.item.ID)
		}
		bids = append(bids, m)
	}
	return bids, len(s.response.Bids) == 0 && (s.response.Reason == rtb.FrequencyCapped || s.response.Reason == rtb.UserUnknown)
}

// within is a duration from zero to most, in milliseconds.
func (w *world) within(most time.Duration) time.Duration {
	return time.Duration(w.dice.Int64N(int64(most/time.Millisecond)+1)) * time.Millisecond
}

func (w *world) notice(e rtb.Event, kind rtb.EventType, billing bool, after time.Duration) {
	e.Type, e.Billing, e.Time = kind, billing, e.Made.Add(after)
	w.due = append(w.due, due{e, e.Time})
}

// fate decides what becomes of a bid. Impressions are shown, and something is
// heard of them, before the hold times out; they are billed within the hour,
// less what the recorder may lag behind.
func (w *world) fate(m *made) {
	timely := pacing.HoldTimeout
	switch w.dice.IntN(10) {
	case 0: // lost, and nobody says so
		return
	case 1, 2, 3:
		w.notice(m.Event, rtb.EventLoss, false, w.within(10*time.Minute))
		return
	case 4: // won, but never billed
		w.notice(m.Event, rtb.EventWin, false, w.within(timely))
		return
	}
	billed := w.within(timely)
	if w.dice.IntN(2) == 0 {
		w.notice(m.Event, []rtb.EventType{rtb.EventWin, rtb.EventView}[w.dice.IntN(2)], false, w.within(timely))
		billed = w.within(time.Hour - maxLag)
	}
	w.notice(m.Event, rtb.EventBill, true, billed)
	if w.dice.IntN(3) == 0 { // a repeat
		w.notice(m.Event, rtb.EventBill, true, w.within(3*time.Hour)+time.Hour-maxLag)
	}
	if w.dice.IntN(5) == 0 { // out of order, or simply wrong
		w.notice(m.Event, rtb.EventWin, false, w.within(3*time.Hour))
	}
	w.shown = append(w.shown, shown{*m, m.Made.Add(w.within(min(timely, billed))), w.round})
}

// maxLag is how far the recorder lags behind the ledger at most.
const maxLag = 10 * time.Minute

// deliver puts the notices that are due into the log, where the ledger sees
// them at once and the recorder some time.
func (w *world) deliver() {
	slices.SortStableFunc(w.due, func(a, b due) int { return a.at.Compare(b.at) })
	var batch []rtb.Event
	for len(w.due) > 0 && !w.due[0].at.After(w.now) {
		w.Exposures.Apply(&w.due[0].Event)
		batch, w.due = append(batch, w.due[0].Event), w.due[1:]
	}
	if len(batch) > 0 {
		if len(w.batches) == 0 {
			w.oldest = batch[0].Time
		}
		w.position++
		w.batches = append(w.batches, batch)
	}
}

// record lets the recorder catch up; at times it does a batch again.
func (w *world) record(tb rapid.TB) {
	for i, batch := range w.batches {
		position := w.position - uint64(len(w.batches)-1-i)
		for range 1 + i%2 {
			if err := w.recorder.Apply(position, batch); err != nil {
				tb.Error(err)
			}
			w.Exposures.Recorded(batch)
		}
	}
	w.batches = w.batches[:0]
}

// play lets some users send requests at the same moment.
func (w *world) play(tb rapid.TB, users, base int) {
	w.now = w.now.Add(w.within(90 * time.Second))
	w.Pacer.Step(w.now)
	if err := w.Pacer.Lease(context.Background(), w.books, w.now); err != nil {
		tb.Fatal(err)
	}
	w.deliver()
	w.round++
	late := len(w.batches) > 0 && w.now.Sub(w.oldest) > maxLag/2
	var bodies [][]byte
	for range 1 + w.dice.IntN(3) {
		bodies = append(bodies, w.body(base+w.dice.IntN(users)))
	}
	concurrent := w.dice.IntN(3) == 0
	record := late || w.dice.IntN(4) == 0
	if record && !concurrent {
		w.record(tb)
	}
	if !concurrent {
		bodies = bodies[:1]
	}
	bids := make([][]made, len(bodies))
	capped := make([]bool, len(bodies))
	var group sync.WaitGroup
	for i := range bodies {
		run := func() {
			s := scratches.Get().(*scratch)
			defer scratches.Put(s)
			if bids[i], capped[i] = w.request(tb, s, bodies[i]); len(bids[i]) > 0 && bids[i][0].Bid[0]%16 == 0 {
				w.withdraw(s, rtb.TooLate)
				bids[i] = nil
			}
		}
		if concurrent {
			group.Go(run)
		} else {
			run()
		}
	}
	if record && concurrent {
		w.record(tb)
	}
	group.Wait()
	for i := range bids {
		for k := range bids[i] {
			bids[i][k].request = i
			w.fate(&bids[i][k])
		}
		if capped[i] {
			w.capped++
		}
	}
}

// inScope reports whether an impression counts for a cap of the line item when
// it shows the creative.
func inScope(per rtb.CapScope, y *rtb.Event, item *rtb.LineItem, creative rtb.CreativeID) bool {
	switch per {
	case rtb.CapLineItem:
		return y.LineItem == item.ID
	case rtb.CapCampaign:
		return y.Campaign == item.Campaign
	case rtb.CapAdvertiser:
		return y.Advertiser == item.Advertiser
	}
	return y.Creative == creative
}

// check compares all that was shown to the caps.
func (w *world) check(tb rapid.TB) {
	for i := range w.shown {
		x := &w.shown[i]
		caps := slices.Clone(x.item.Caps)
		if x.item.MinGap > 0 {
			caps = append(caps, rtb.FrequencyCap{Per: rtb.CapLineItem, Limit: 1, Window: x.item.MinGap})
		}
		for _, c := range caps {
			earlier, beside := 0, 0
			for k := range w.shown {
				y := &w.shown[k]
				if k == i || !inScope(c.Per, &y.Event, x.item, x.Creative) || !y.at.After(x.at.Add(-c.Window)) {
					continue
				}
				// What was bid before x and shown less than a window before it, or
				// later, has left x no room.
				before := y.round < x.round || y.round == x.round && y.request == x.request && y.imp < x.imp
				if before && slices.Contains(x.ids, y.User) {
					earlier++
				}
				// Bids of the same moment have no order: but those that keep to the
				// same cap may together not be more than it allows, in any window.
				keeps := y.LineItem == x.LineItem || c.Per != rtb.CapCreative && slices.Contains(y.item.Caps, c)
				if keeps && y.User == x.User && !y.at.After(x.at) {
					beside++
				}
			}
			if earlier >= int(c.Limit) || beside >= int(c.Limit) {
				tb.Fatalf("line item %d, creative %d, shown at %s: %d impressions bid for earlier and %d beside it are in the window of %+v",
					x.LineItem, x.Creative, x.at, earlier, beside, c)
			}
		}
	}
}

// Whatever happens to its bids, no user sees more than the caps allow: of
// impressions that were bid for by the same identifier, in sliding windows of
// the times at which they were shown.
func TestCapsAreKept(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.Pacer.SilenceFor(7 * 24 * time.Hour); err != nil { // it is told of no notices
		t.Fatal(err)
	}
	now, base, seen, capped := testNow, 0, 0, 0
	rapid.Check(t, func(r *rapid.T) {
		items := worldItems(r)
		f.serveItems(t, items)
		seed := rapid.Uint64().Draw(r, "seed")
		w := &world{fixture: f, now: now, position: f.store.Recorded(), dice: rand.New(rand.NewPCG(seed, 1)),
			recorder: audience.NewRecorder(f.store, f.Catalog.Index().Remember)}
		users := rapid.IntRange(1, 3).Draw(r, "users")
		for range rapid.IntRange(20, 200).Draw(r, "rounds") {
			w.play(r, users, base)
		}
		w.check(r)
		base += users // nobody has seen anything at the next try
		now = w.now
		seen, capped = seen+len(w.shown), capped+w.capped
	})
	t.Logf("%d impressions, %d requests answered by nobody because of a cap", seen, capped)
	if seen < 1000 || capped < 500 {
		t.Errorf("%d impressions and %d capped requests: so few prove nothing", seen, capped)
	}
}

// cappedItem may be shown once an hour to a user.
func cappedItem() rtb.LineItem {
	item := lineItem(1, 5, banner(1, 300, 250))
	item.Caps = []rtb.FrequencyCap{{Per: rtb.CapLineItem, Limit: 1, Window: time.Hour}}
	return item
}

func (f *fixture) held() (sum rtb.Money) {
	for _, b := range f.Pacer.Balances() {
		sum += b.Held
	}
	return sum
}

// A cap holds back while a bid is in flight and while its impression is in the
// window, and no longer.
func TestCapIsExact(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{cappedItem()})
	recorder := audience.NewRecorder(f.store, f.Catalog.Index().Remember)
	s := newScratch()
	body := request("0", "")
	bid := func(want rtb.NoBid, when string) rtb.Event {
		t.Helper()
		if f.answer(t, s, "generic", body); s.response.Reason != want {
			t.Fatalf("%s: %v, want %v", when, s.response.Reason, want)
		}
		if want != rtb.BidMade {
			return rtb.Event{}
		}
		b := &s.response.Bids[0]
		return rtb.Event{Bid: b.ID, LineItem: 1, Campaign: 1, Advertiser: 2, Creative: 1, User: s.request.Users[0], Made: testNow, Time: testNow}
	}
	e := bid(rtb.BidMade, "at first")
	held := f.held()
	bid(rtb.FrequencyCapped, "one bid is in flight")
	explained, err := f.Explain("generic", body, testNow)
	if err != nil || explained.Imps[0].LineItems[0].Reason != rtb.FrequencyCapped.String() {
		t.Errorf("explained: %+v, %v", explained, err)
	}
	if f.held() != held {
		t.Error("a bid that was not made holds money")
	}
	e.Type = rtb.EventLoss
	f.Exposures.Apply(&e)
	if explained, err = f.Explain("generic", body, testNow); err != nil || explained.Outcome != "bid" {
		t.Errorf("explained after a loss: %+v, %v", explained, err)
	}
	bid(rtb.BidMade, "after an explanation")
	f.withdraw(s, rtb.TooLate)
	e = bid(rtb.BidMade, "after a bid that was too late")
	e.Type, e.Billing, e.Time = rtb.EventBill, true, testNow.Add(-time.Hour+time.Millisecond)
	e.Made = e.Time
	if err := recorder.Apply(1, []rtb.Event{e}); err != nil {
		t.Fatal(err)
	}
	f.Exposures.Recorded([]rtb.Event{e})
	bid(rtb.FrequencyCapped, "an hour ago, less a millisecond")
	if err := f.store.EraseUser(t.Context(), e.User, false); err != nil {
		t.Fatal(err)
	}
	f.withdraw(s, rtb.TooLate)
	e.Bid, e.Made, e.Time = bidOf(1), testNow.Add(-time.Hour), testNow.Add(-time.Hour)
	if err := recorder.Apply(2, []rtb.Event{e}); err != nil {
		t.Fatal(err)
	}
	bid(rtb.BidMade, "an hour ago")
}

// Somebody else's bid is added, billed and recorded between reading the record
// of the user and looking at the holds again.
func TestRecordedMeanwhile(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{cappedItem()})
	s := newScratch()
	s.exchange, s.arrived, s.now = f.directory.Load().Lookup([]byte("generic")), testNow, testNow
	if err := openrtb.Decode(request("0", ""), &s.request); err != nil {
		t.Fatal(err)
	}
	s.deadline = f.deadline(s)
	if reason := f.open(s); reason != rtb.BidMade {
		t.Fatal(reason)
	}
	s.index.Begin(&s.matches, &s.context)
	s.index.Match(&s.matches, &s.request.Imps[0])
	user := s.request.Users[0]
	if !f.Exposures.add(&user, new(bidOf(1)), &rtb.Exposure{LineItem: 1}, testNow) {
		t.Fatal("no room")
	}
	f.Exposures.Recorded([]rtb.Event{{Bid: bidOf(1), User: user, Billing: true}})
	if reason := f.hold(s, &s.matches.Candidates[0], new(bidOf(2))); reason != rtb.FrequencyCapped {
		t.Errorf("%v, want %v", reason, rtb.FrequencyCapped)
	}
	if left := f.Exposures.append(nil, &user, testNow); len(left) != 0 {
		t.Errorf("a bid that is not made is held: %+v", left)
	}
}

// Where there is no room for a hold nobody who counts is bid for, and others are.
func TestNoRoomForHolds(t *testing.T) {
	free := lineItem(2, 1, banner(2, 300, 250))
	f := newFixture(t, []rtb.LineItem{cappedItem(), free})
	x, err := NewExposures(holdWays, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.Exposures = x
	for n := range uint64(holdWays) {
		x.add(&rtb.UserID{1}, new(bidOf(n)), &rtb.Exposure{}, testNow)
	}
	s := newScratch()
	if f.answer(t, s, "generic", request("0", "")); len(s.response.Bids) != 1 || s.response.Bids[0].LineItem.ID != 2 {
		t.Fatalf("bids %+v, want one of line item 2: %v", s.response.Bids, s.response.Reason)
	}
	if want := s.response.Bids[0].Cost; f.held() != want {
		t.Errorf("%s is held, want %s", f.held(), want)
	}
}

type unreadable struct{}

func (unreadable) Profile(_, _ time.Time, _ []rtb.UserID, p *rtb.Profile) error {
	p.Reset()
	return os.ErrDeadlineExceeded
}

func TestUnreadableUserIsUnknown(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{cappedItem()})
	f.Profiles = unreadable{}
	s := newScratch()
	if f.answer(t, s, "generic", request("0", "")); s.response.Reason != rtb.UserUnknown {
		t.Errorf("%v, want %v", s.response.Reason, rtb.UserUnknown)
	}
}

// cappedCrowd is crowd with caps on two line items of three.
func cappedCrowd(n int) []rtb.LineItem {
	items := crowd(n)
	for i := range items {
		item := &items[i]
		item.Campaign = rtb.CampaignID(1 + i/5)
		if i%3 != 0 {
			item.Caps = []rtb.FrequencyCap{
				{Per: rtb.CapLineItem, Limit: 3, Window: 24 * time.Hour}, {Per: rtb.CapCampaign, Limit: 5, Window: 24 * time.Hour},
				{Per: rtb.CapCreative, Limit: 2, Window: time.Hour},
			}
			item.MinGap = 10 * time.Minute
		}
	}
	return items
}

// seeSome gives each of the first n users of the samples some exposures.
func (f *fixture) seeSome(tb testing.TB, n, each int) {
	tb.Helper()
	var list []audience.Impression
	for i := range n {
		for k := range each {
			id := uint32(i*7 + k*131)
			list = append(list, audience.Impression{
				User: rtb.HashUser(&f.salt, rtb.IDDevice, deviceID(i)), Bid: bidOf(uint64(id) + 1), LineItem: rtb.LineItemID(1 + id%1000),
				Campaign: rtb.CampaignID(1 + id%1000/5), Advertiser: 1, Creative: rtb.CreativeID(id), Time: testNow, Until: testNow.Add(time.Hour),
			})
		}
	}
	if err := f.store.RecordExposures(tb.Context(), f.store.Recorded()+1, testNow, list); err != nil {
		tb.Fatal(err)
	}
}

func TestCappedBidDoesNotAllocate(t *testing.T) {
	f := newFixture(t, cappedCrowd(1_000))
	f.knowUsers(t, 40)
	f.seeSome(t, 40, 20)
	bodies := sampleRequests(t, 64) // some of them of users who are new
	s := newScratch()
	i, bids, counted := 0, 0, 0
	bid := func() {
		if f.answer(t, s, "generic", bodies[i%len(bodies)]) != nil {
			bids++
			counted += s.exposed.made
			f.withdraw(s, rtb.TooLate)
		}
		i++
	}
	for range 20 * len(bodies) {
		f.Pacer.Step(testNow)
		f.lease(t)
		bid()
	}
	if counted < i/4 {
		t.Fatalf("%d bids for %d requests, %d of them counted", bids, i, counted)
	}
	if allocs := testing.AllocsPerRun(1000, bid); allocs != 0 {
		t.Errorf("a bid with caps allocates %v times, want 0", allocs)
	}
}

// BenchmarkCappedBid is BenchmarkBid with caps on two line items of three, for
// users who have seen as many impressions.
func BenchmarkCappedBid(b *testing.B) {
	for _, each := range []int{0, 5, 30} {
		b.Run(fmt.Sprintf("exposures=%d", each), func(b *testing.B) {
			f := newFixture(b, cappedCrowd(1_000))
			f.knowUsers(b, 10_000)
			f.seeSome(b, 256, each)
			bodies := sampleRequests(b, 256)
			s := newScratch()
			i, bids := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				if f.answer(b, s, "generic", bodies[i%len(bodies)]) != nil {
					bids++
					f.withdraw(s, rtb.TooLate)
				}
				i++
			}
			b.ReportMetric(float64(bids)/float64(i), "bids/op")
		})
	}
}
