package bidder

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prebid/openrtb/v20/openrtb2"
	"github.com/valyala/fasthttp"

	"bidwell/bidder/exchange"
	"bidwell/bidder/openrtb"
	"bidwell/events"
	"bidwell/models"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/store/pebble"
	"bidwell/targeting"
	"bidwell/targeting/audience"
)

const publicURL = "https://bid.example.com"

// testNow is a Thursday noon, so that tests do not depend on the day.
var testNow = time.Date(2030, 5, 16, 12, 0, 0, 0, time.UTC)

// fixture is a whole bidder on real engines.
type fixture struct {
	*Bidder
	store *pebble.Store
	books *pacing.Memory
	salt  [32]byte
}

// lease lets the pacer have what it has found to be missing.
func (f *fixture) lease(tb testing.TB) {
	tb.Helper()
	if err := f.Pacer.Lease(tb.Context(), f.books, testNow); err != nil {
		tb.Fatal(err)
	}
}

// newFixture makes a bidder for items; each gets a slot and markup.
func newFixture(tb testing.TB, items []rtb.LineItem) *fixture {
	tb.Helper()
	f := &fixture{books: pacing.NewMemory(), salt: [32]byte{7}}
	var err error
	if f.store, err = pebble.Open(tb.TempDir(), pebble.Options{}); err != nil {
		tb.Fatal(err)
	}
	cache, err := NewCache(f.store, 64<<20)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cache.Close()
		if err := f.store.Close(); err != nil {
			tb.Error(err)
		}
	})
	directory, err := exchange.NewDirectory(exchange.Builtin(), publicURL)
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := events.NewKeyring([]events.Key{{ID: 1, Secret: [32]byte{1}}})
	if err != nil {
		tb.Fatal(err)
	}
	model, err := models.Starter()
	if err != nil {
		tb.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.SampleShare = 0.5
	f.Bidder, err = New(cfg, Parts{
		Samples:   events.NewSamples(nil, events.SamplesConfig{}), // gathers; nobody writes them
		Clock:     RealTime(),
		Catalog:   targeting.NewCatalog(),
		Profiles:  cache,
		Pacer:     pacing.NewPacer(77, testNow),
		Predictor: models.NewPredictor(model),
		Keys:      keys,
		Exchanges: directory,
		Rates:     rtb.NewRates(rtb.USD, map[rtb.Currency]float64{{'E', 'U', 'R'}: 1.1, {'J', 'P', 'Y'}: 0.0067}),
		Salt:      &f.salt,
	})
	if err != nil {
		tb.Fatal(err)
	}
	f.serveItems(tb, items)
	return f
}

// serveItems replaces the line items, as a change of campaigns does.
func (f *fixture) serveItems(tb testing.TB, items []rtb.LineItem) {
	tb.Helper()
	for i := range items {
		for j := range items[i].Creatives {
			if err := openrtb.Compile(&items[i].Creatives[j], publicURL); err != nil {
				tb.Fatal(err)
			}
		}
	}
	f.Pacer.Assign(items, testNow)
	f.lease(tb)
	f.Catalog = targeting.NewCatalog()
	ctx, cancel := context.WithCancel(tb.Context())
	load := func(context.Context, uint64) ([]rtb.LineItem, uint64, error) { return items, 1, nil }
	done := make(chan error)
	go func() { done <- f.Catalog.Follow(ctx, load, time.Hour) }()
	select {
	case <-f.Catalog.Ready():
	case <-time.After(time.Minute):
		tb.Error("the line items are not loaded")
	}
	cancel()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

// answer decides on body and returns the answer's bytes; nil is a no-bid.
func (f *fixture) answer(tb testing.TB, s *scratch, exchange string, body []byte) []byte {
	tb.Helper()
	s.reset()
	s.exchange = f.directory.Load().Lookup([]byte(exchange))
	s.arrived, s.now = testNow, testNow
	if err := openrtb.Decode(body, &s.request); err != nil {
		tb.Fatalf("decode: %v", err)
	}
	s.deadline = f.deadline(s)
	f.bid(s)
	if len(s.response.Bids) == 0 {
		return nil
	}
	s.body = openrtb.AppendResponse(s.body[:0], &s.response, &s.exchange.Form)
	return s.body
}

// banner is a creative that any test may use.
func banner(id uint32, w, h uint16) rtb.Creative {
	return rtb.Creative{
		ID: rtb.CreativeID(id), Key: fmt.Sprintf("banner-%d", id), Media: rtb.Banner, Size: rtb.Size{W: w, H: h},
		Mime: rtb.ParseMime("image/jpeg"), MimeAll: rtb.ParseMime("image/jpeg"), BannerType: 2,
		Advertisers: []string{"shoes.example"}, Categories: []string{"IAB18"}, Taxonomy: 1,
		ClickURL: "https://shoes.example/run", Assets: rtb.Assets{Image: "https://cdn.example/a.jpg"}, Secure: true,
	}
}

// lineItem bids cpm on everything that its creatives fit.
func lineItem(id uint32, cpm float64, creatives ...rtb.Creative) rtb.LineItem {
	return rtb.LineItem{
		ID: rtb.LineItemID(id), Key: fmt.Sprintf("line-%d", id), Campaign: 1, Advertiser: rtb.AdvertiserID(1 + id%7),
		Flight:   rtb.Flight{Start: testNow.Add(-time.Hour)},
		Budgets:  []rtb.Budget{{Account: rtb.LineItemAccount(rtb.LineItemID(id), rtb.OfMoney), Daily: 1_000_000 * rtb.Unit}},
		Pacing:   rtb.PaceASAP,
		Goal:     rtb.Goal{Type: rtb.GoalCPM, Value: rtb.FromCPM(cpm), Max: rtb.FromCPM(cpm)},
		Location: time.UTC, Creatives: creatives,
	}
}

const simpleRequest = `{"id":"r-1","imp":[{"id":"1","banner":{"w":300,"h":250},"bidfloor":%s,"secure":1}],` +
	`"site":{"domain":"news.example"},"device":{"ifa":"9B1D5A2E-7C40-4E0B-B6D3-1F2A3C4D5E6F"},"tmax":200%s}`

func request(floor, more string) []byte { return fmt.Appendf(nil, simpleRequest, floor, more) }

func decodeAnswer(tb testing.TB, answer []byte) openrtb2.BidResponse {
	tb.Helper()
	var out openrtb2.BidResponse
	if err := json.Unmarshal(answer, &out); err != nil {
		tb.Fatalf("answer is no BidResponse: %v\n%s", err, answer)
	}
	return out
}

func TestBestBidWins(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{
		lineItem(1, 2, banner(1, 300, 250)), lineItem(2, 5, banner(2, 300, 250)), lineItem(3, 9, banner(3, 728, 90)),
	})
	got := decodeAnswer(t, f.answer(t, newScratch(), "generic", request("1.5", "")))
	if got.ID != "r-1" || got.Cur != "USD" || len(got.SeatBid) != 1 || len(got.SeatBid[0].Bid) != 1 {
		t.Fatalf("answer = %+v", got)
	}
	if bid := got.SeatBid[0].Bid[0]; bid.Price != 5 || bid.ImpID != "1" || bid.CrID != "banner-2" || bid.W != 300 || bid.H != 250 {
		t.Errorf("bid = %+v, want line item 2 at 5", bid)
	}
}

func TestReasons(t *testing.T) {
	targeted := lineItem(1, 5, banner(1, 300, 250))
	targeted.Targeting.SegmentsAny = []rtb.SegmentID{7}
	tests := []struct {
		name    string
		item    rtb.LineItem
		request []byte
		want    rtb.NoBid
	}{
		{"floor above the ceiling", lineItem(1, 1, banner(1, 300, 250)), request("1.000001", ""), rtb.FloorTooHigh},
		{"floor in a currency without a rate", lineItem(1, 1, banner(1, 300, 250)), request(`0.1,"bidfloorcur":"XYZ"`, ""), rtb.CurrencyUnknown},
		{"currency that nobody trades", lineItem(1, 1, banner(1, 300, 250)), request("0", `,"cur":["XYZ"]`), rtb.CurrencyUnknown},
		{"other size", lineItem(1, 1, banner(1, 728, 90)), request("0", ""), rtb.SizeMismatch},
		{"unknown user", targeted, request("0", ""), rtb.SegmentMissing},
		{"other seat", lineItem(1, 1, banner(1, 300, 250)), request("0", `,"wseat":["nobody"]`), rtb.SeatNotAllowed},
		{"blocked advertiser", lineItem(1, 1, banner(1, 300, 250)), request("0", `,"badv":["WWW.Shoes.example"]`), rtb.AdvertiserBlocked},
		{"no time left", lineItem(1, 1, banner(1, 300, 250)), []byte(strings.Replace(string(request("0", "")), `"tmax":200`, `"tmax":1`, 1)), rtb.TooLate},
		{"site and app", lineItem(1, 1, banner(1, 300, 250)), request("0", `,"app":{"id":"1"}`), rtb.NoUsableImp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, []rtb.LineItem{tt.item})
			s := newScratch()
			if answer := f.answer(t, s, "generic", tt.request); answer != nil || s.response.Reason != tt.want {
				t.Errorf("answer %s, reason %s, want %s", answer, s.response.Reason, tt.want)
			}
			for _, b := range f.Pacer.Balances() {
				if b.Held != 0 {
					t.Errorf("%s is held for a bid that was not made", b.Held)
				}
			}
		})
	}
}

// An answer in another currency is never below the floor as the exchange
// reads it, whatever the rounding.
func TestFloorHoldsInEveryCurrency(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{lineItem(1, 20, banner(1, 300, 250))})
	s := newScratch()
	r := rand.New(rand.NewPCG(1, 1))
	for _, cur := range []string{"USD", "EUR", "JPY"} {
		for range 200 {
			floor := float64(r.IntN(2_000_000)) / 1e6
			if cur == "JPY" {
				floor *= 150
			}
			answer := f.answer(t, s, "generic", request(fmt.Sprintf(`%g,"bidfloorcur":%q`, floor, cur), fmt.Sprintf(`,"cur":[%q]`, cur)))
			if answer == nil {
				t.Fatalf("no bid for a floor of %g %s: %s", floor, cur, s.response.Reason)
			}
			got := decodeAnswer(t, answer)
			if got.Cur != cur || got.SeatBid[0].Bid[0].Price < floor {
				t.Fatalf("bid %g %s for a floor of %g %s", got.SeatBid[0].Bid[0].Price, got.Cur, floor, cur)
			}
		}
	}
}

func TestKnownUserIsReached(t *testing.T) {
	targeted := lineItem(1, 5, banner(1, 300, 250))
	targeted.Targeting.SegmentsAny = []rtb.SegmentID{7}
	f := newFixture(t, []rtb.LineItem{targeted})
	importer := audience.NewImporter(f.store, &f.salt)
	list := strings.NewReader("9b1d5a2e-7c40-4e0b-b6d3-1f2a3c4d5e6f\n")
	if _, err := importer.Import(t.Context(), testNow, audience.Upload{Segment: 7}, list, nil); err != nil {
		t.Fatal(err)
	}
	s := newScratch()
	if f.answer(t, s, "generic", request("0", "")) == nil {
		t.Errorf("no bid for a member: %s", s.response.Reason)
	}
	if answer := f.answer(t, s, "generic", request("0", `,"regs":{"coppa":1}`)); answer != nil {
		t.Errorf("a child's profile was used: %s", answer)
	}
}

// The budget stops bids at the unit, notices move it, and a change of
// campaigns neither restores nor loses any of it.
func TestBudgetIsKept(t *testing.T) {
	item := func(daily rtb.Money) []rtb.LineItem {
		l := lineItem(1, 1000, banner(1, 300, 250)) // one unit an impression
		l.Budgets[0].Daily = daily
		return []rtb.LineItem{l}
	}
	f := newFixture(t, item(3*rtb.Unit))
	s := newScratch()
	f.answer(t, s, "generic", request("0", "")) // what a bid costs is not known before
	f.lease(t)
	var bids []rtb.Event
	for range 3 {
		if f.answer(t, s, "generic", request("0", "")) == nil {
			t.Fatalf("no bid within the budget: %s", s.response.Reason)
		}
		var e rtb.Event
		if err := f.Keys.Open(s.response.Bids[0].Token, events.Browser, &e, nil); err != nil {
			t.Fatal(err)
		}
		bids = append(bids, e)
	}
	refused := func(when string) {
		t.Helper()
		f.Pacer.Step(testNow)
		f.lease(t)
		if answer := f.answer(t, s, "generic", request("0", "")); answer != nil {
			t.Fatalf("%s: a bid beyond the budget", when)
		}
	}
	refused("three bids are open")
	f.serveItems(t, item(3*rtb.Unit))
	refused("after a change of campaigns")

	// Who sees the ad has the token, and may ask for any price.
	bids[0].Type, bids[0].Price = rtb.EventBill, 1000*bids[0].Cost
	bids[1].Type = rtb.EventLoss
	ledger := pacing.NewLedger(f.books, func(price rtb.Money, _ rtb.Currency) rtb.Money { return price },
		func(e *rtb.Event, seen pacing.Kinds) { f.Pacer.Apply(e, seen, testNow) })
	f.Bill(&bids[0])
	f.Bill(&bids[1])
	if err := ledger.Apply(1, bids[:2]); err != nil {
		t.Fatal(err)
	}
	f.Pacer.Step(testNow)
	f.lease(t)
	if f.answer(t, s, "generic", request("0", "")) == nil {
		t.Fatalf("no bid though one was lost: %s", s.response.Reason)
	}
	refused("one spent, two open")
	if b := f.Pacer.Balances()[0]; b.Spent != rtb.Unit || b.Held != 2*rtb.Unit {
		t.Errorf("balance = %s spent, %s held, want 1.00 and 2.00", b.Spent, b.Held)
	}
}

func TestExplainIsTheBid(t *testing.T) {
	other := lineItem(3, 9, banner(3, 728, 90))
	f := newFixture(t, []rtb.LineItem{lineItem(1, 2, banner(1, 300, 250)), lineItem(2, 5, banner(2, 300, 250)), other})
	got, err := f.Explain("generic", request("1.5", ""), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if got.Outcome != "bid" || len(got.Imps) != 1 || len(got.Imps[0].LineItems) != 3 {
		t.Fatalf("explanation = %+v", got)
	}
	want := []rtb.LineItemExplanation{
		{LineItem: "line-2", Stage: "bid", Rank: 1, PriceCPM: "5"},
		{LineItem: "line-1", Stage: "auction", Rank: 2, PriceCPM: "2", Reason: "outbid"},
		{LineItem: "line-3", Stage: "creative", Reason: "size"},
	}
	for i, l := range got.Imps[0].LineItems {
		w := want[i]
		if l.LineItem != w.LineItem || l.Stage != w.Stage || l.Rank != w.Rank || l.PriceCPM != w.PriceCPM || l.Reason != w.Reason {
			t.Errorf("line item %d = %+v, want %+v", i, l, w)
		}
	}
	if held := f.Pacer.Balances(); held[0].Held+held[1].Held+held[2].Held != 0 {
		t.Error("an explanation holds money")
	}
	if decodeAnswer(t, []byte(got.Answer)).SeatBid[0].Bid[0].CrID != "banner-2" {
		t.Errorf("answer = %s", got.Answer)
	}
	if _, err := f.Explain("nobody", request("0", ""), testNow); err == nil {
		t.Error("an unknown exchange was explained")
	}
}

// crowd is a thousand line items of many kinds; about a tenth fits any request.
func crowd(n int) []rtb.LineItem {
	sizes := []rtb.Size{{W: 300, H: 250}, {W: 728, H: 90}, {W: 320, H: 50}, {W: 336, H: 280}, {W: 160, H: 600}}
	countries := [][2]byte{{'U', 'S'}, {'D', 'E'}, {'G', 'B'}, {'F', 'R'}, {'J', 'P'}}
	items := make([]rtb.LineItem, n)
	for i := range items {
		size := sizes[i%len(sizes)]
		item := lineItem(uint32(i+1), 1+float64(i%97)/10, banner(uint32(2*i+1), size.W, size.H), banner(uint32(2*i+2), size.W, size.H))
		t := &item.Targeting
		if i%3 > 0 {
			t.Countries = [][2]byte{countries[i%len(countries)], {'U', 'S'}}
		}
		if i%4 == 0 {
			t.SegmentsAny = []rtb.SegmentID{rtb.SegmentID(1 + i%20)}
		}
		if i%5 == 0 {
			t.Devices = []uint8{1, 2, 4}
		}
		if i%7 == 0 {
			t.OS = []rtb.OS{rtb.Android, rtb.IOS}
		}
		if i%2 == 0 {
			item.Goal = rtb.Goal{Type: rtb.GoalCPC, Value: 2 * rtb.Unit, Max: rtb.FromCPM(12)}
		}
		item.Pacing = rtb.PaceEven
		items[i] = item
	}
	return items
}

// knowUsers puts n users into the twenty segments that crowd targets.
func (f *fixture) knowUsers(tb testing.TB, n int) {
	tb.Helper()
	for segment := range rtb.SegmentID(20) {
		users := func(yield func(rtb.UserID, error) bool) {
			for i := range n {
				if i%20 < int(segment) && i > 0 {
					continue
				}
				if !yield(rtb.HashUser(&f.salt, rtb.IDDevice, deviceID(i)), nil) {
					return
				}
			}
		}
		if _, err := f.store.Change(tb.Context(), testNow, audience.Change{Segment: segment + 1}, iter.Seq2[rtb.UserID, error](users)); err != nil {
			tb.Fatal(err)
		}
	}
}

func deviceID(i int) []byte { return fmt.Appendf(nil, "9b1d5a2e-7c40-4e0b-b6d3-%012x", i+1) }

// sampleRequests are the exemplar banner request for different known users.
func sampleRequests(tb testing.TB, n int) [][]byte {
	tb.Helper()
	body, err := os.ReadFile("openrtb/testdata/generic/banner.request.json")
	if err != nil {
		tb.Fatal(err)
	}
	body = bytes.TrimSpace(body)
	out := make([][]byte, n)
	for i := range out {
		out[i] = bytes.Replace(body, []byte(`"device":{`), fmt.Appendf(nil, `"device":{"ifa":"%s",`, deviceID(i)), 1)
		if bytes.Equal(out[i], body) {
			tb.Fatal("the exemplar has no device")
		}
	}
	return out
}

var knownUsers = flag.Int("users", 4_000, "known users in TestBidDoesNotAllocate")

// From the body of a request to the bytes of its answer, through the handler
// with its metrics, for users of whom the cache knows.
func TestBidDoesNotAllocate(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates")
	}
	f := newFixture(t, crowd(1_000))
	f.knowUsers(t, *knownUsers)
	bodies := sampleRequests(t, 64)
	requests := make([]fasthttp.RequestCtx, len(bodies))
	for i := range requests {
		requests[i].Request.Header.SetMethod(fasthttp.MethodPost)
		requests[i].Request.SetRequestURI("/bid/generic")
		requests[i].Request.SetBody(bodies[i])
	}
	i, bids := 0, 0
	bid := func() {
		ctx := &requests[i%len(requests)]
		f.serveBid(ctx, testNow)
		if ctx.Response.StatusCode() == fasthttp.StatusOK && len(ctx.Response.Body()) > 0 {
			bids++
		}
		i++
	}
	for range 20 * len(bodies) { // let the scratch grow, and the cache take the users in
		f.Pacer.Step(testNow)
		bid()
	}
	if bids < i/2 {
		t.Fatalf("%d bids for %d requests", bids, i)
	}
	if allocs := testing.AllocsPerRun(1000, bid); allocs != 0 {
		t.Errorf("a bid allocates %v times from body to answer, want 0", allocs)
	}
}

// racing says that the race detector watches.
var racing bool

func BenchmarkBid(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("lineItems=%d", n), func(b *testing.B) {
			f := newFixture(b, crowd(n))
			f.knowUsers(b, 10_000)
			bodies := sampleRequests(b, 256)
			s := newScratch()
			i, bids := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				if f.answer(b, s, "generic", bodies[i%len(bodies)]) != nil {
					bids++
				}
				i++
			}
			b.ReportMetric(float64(bids)/float64(i), "bids/op")
		})
	}
}

// A line item bids the part of its value that lets its money last, and its fees
// come off that.
func TestBidsAPartOfTheValue(t *testing.T) {
	half := lineItem(1, 8, banner(1, 300, 250))
	half.Pacing, half.Fees = rtb.PaceEven, rtb.Fees{Share: 6000}
	f := newFixture(t, []rtb.LineItem{half})
	err := f.Pacer.Forecast(half.Budgets[0].Account, pacing.Forecast{From: testNow, Until: testNow.Add(time.Hour), Multiplier: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	var answer []byte
	s := newScratch()
	for coin := 0; answer == nil && coin < 1000; coin++ { // the valve begins at a tenth
		answer = f.answer(t, s, "generic", request("2.5", ""))
	}
	if price := decodeAnswer(t, answer).SeatBid[0].Bid[0].Price; price != 2.5 {
		t.Errorf("bid %v, want 8 x 0.5 / 1.6", price)
	}
	if f.answer(t, s, "generic", request("2.51", "")) != nil {
		t.Error("it bids more than its part")
	}
}
