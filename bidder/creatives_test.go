package bidder

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"bidwell/events"
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/targeting/audience"
)

// rotating is a line item with so many creatives of one size.
func rotating(id uint32, n int, rotation rtb.Rotation) rtb.LineItem {
	item := lineItem(id, 5)
	for i := range n {
		item.Creatives = append(item.Creatives, banner(id*100+uint32(i), 300, 250))
	}
	item.Rotation = rotation
	return item
}

// perClick pays for clicks.
func perClick(item rtb.LineItem) rtb.LineItem {
	item.Goal = rtb.Goal{Type: rtb.GoalCPC, Value: 5 * rtb.Unit, Max: rtb.FromCPM(1000)}
	return item
}

// teach gives a creative clicks at ratio times its predictions, for users
// without segments.
func teach(c *models.Creatives, id rtb.CreativeID, ratio float64, impressions int) {
	const p = 0.01
	for i := range impressions {
		clicks := func(n int) int { return int(float64(n) * p * ratio) }
		c.Learn(id, 0, p, clicks(i) != clicks(i+1))
	}
	c.Publish()
}

// shares bids so many times and counts the creatives that it bids with.
func (f *fixture) shares(t *testing.T, n int, body []byte) map[string]int {
	t.Helper()
	s, shown := newScratch(), map[string]int{}
	for range n {
		if f.answer(t, s, "generic", body) == nil {
			t.Fatalf("no bid: %s", s.response.Reason)
		}
		shown[s.response.Bids[0].Creative.Key]++
		f.withdraw(s, rtb.BidMade)
	}
	return shown
}

func TestExperienceChooses(t *testing.T) {
	for _, item := range []rtb.LineItem{rotating(1, 3, rtb.RotateOptimize), perClick(rotating(1, 3, rtb.RotateOptimize))} {
		f := newFixture(t, []rtb.LineItem{item})
		body := request("0", "")
		cold := f.shares(t, 2000, body)
		for key, n := range cold {
			if n < 100 || len(cold) != 3 {
				t.Errorf("of creatives that nobody knows %s is shown %d times, want all of them", key, n)
			}
		}
		teach(f.Creatives, 100, 0.7, 100_000)
		teach(f.Creatives, 101, 1.4, 100_000)
		teach(f.Creatives, 102, 0.6, 100_000)
		if warm := f.shares(t, 1000, body); warm["banner-101"] < 950 {
			t.Errorf("shown %v, want the best known", warm)
		}
	}
}

// Exploration shows other creatives than the best known, within what it may
// cost, and nobody pays for it: the price is that of the creative shown.
func TestExplorationDoesNotOverpay(t *testing.T) {
	both := perClick(rotating(1, 2, rtb.RotateOptimize))
	f := newFixture(t, []rtb.LineItem{both})
	teach(f.Creatives, 100, 1, 50_000)
	teach(f.Creatives, 101, 0.8, 800) // hardly known
	prices := map[string]rtb.Money{}
	s, body := newScratch(), request("0", "")
	shown := map[string]int{}
	for range 5000 {
		if f.answer(t, s, "generic", body) == nil {
			t.Fatal(s.response.Reason)
		}
		bid := &s.response.Bids[0]
		if had, ok := prices[bid.Creative.Key]; ok && had != bid.Price {
			t.Fatalf("%s bids %s and %s for the same", bid.Creative.Key, had, bid.Price)
		}
		prices[bid.Creative.Key] = bid.Price
		shown[bid.Creative.Key]++
		f.withdraw(s, rtb.BidMade)
	}
	for i, key := range []string{"banner-100", "banner-101"} {
		alone := both
		alone.Creatives = both.Creatives[i : i+1 : i+1]
		g := newFixture(t, []rtb.LineItem{alone})
		if g.answer(t, s, "generic", body) == nil || s.response.Bids[0].Price != prices[key] {
			t.Errorf("%s bids %s among others, and alone %s", key, prices[key], s.response.Bids[0].Price)
		}
	}
	if shown["banner-101"] == 0 || float64(shown["banner-101"]) > 5000*0.02/0.15 {
		t.Errorf("shown %v, want the lesser known now and then", shown)
	}
	f.cfg.Explore = 0
	if shown := f.shares(t, 1000, body); shown["banner-100"] != 1000 {
		t.Errorf("without exploration: shown %v, want the best known always", shown)
	}
}

// Line items of like worth are all shown until it is known which is best; nobody
// bids more for that than alone.
func TestExperienceChoosesAmongLineItems(t *testing.T) {
	items := []rtb.LineItem{perClick(lineItem(1, 1, banner(100, 300, 250))), perClick(lineItem(2, 2, banner(101, 300, 250)))}
	items[1].Goal.Value += items[1].Goal.Value / 50
	f := newFixture(t, items)
	body := request("0", "")
	cold := f.shares(t, 2000, body)
	if cold["banner-100"] < 100 || cold["banner-101"] < 100 {
		t.Errorf("of line items that nobody knows: shown %v, want both", cold)
	}
	teach(f.Creatives, 100, 1, 2_000_000)
	teach(f.Creatives, 101, 1, 2_000_000)
	if warm := f.shares(t, 2000, body); warm["banner-101"] <= cold["banner-101"]+100 {
		t.Errorf("shown %v, and %v while nobody knew them: want the one worth more, more often", warm, cold)
	}
	prices := map[string]rtb.Money{}
	s := newScratch()
	for _, item := range items {
		alone := newFixture(t, []rtb.LineItem{item})
		if alone.answer(t, s, "generic", body) == nil {
			t.Fatal(s.response.Reason)
		}
		prices[s.response.Bids[0].Creative.Key] = s.response.Bids[0].Price
	}
	f = newFixture(t, items)
	drawn := ""
	for range 200 {
		if f.answer(t, s, "generic", body) == nil {
			t.Fatal(s.response.Reason)
		}
		if bid := &s.response.Bids[0]; bid.Price != prices[bid.Creative.Key] {
			t.Fatalf("%s bids %s among others, and alone %s", bid.Creative.Key, bid.Price, prices[bid.Creative.Key])
		}
		f.withdraw(s, rtb.BidMade)
		got, err := f.Explain("generic", body, testNow)
		if err != nil {
			t.Fatal(err)
		}
		first := got.Imps[0].LineItems[0]
		if first.Stage != "bid" || first.Rank != 1 {
			t.Fatalf("the first explained is %+v, want the one that bids", first)
		}
		if first.Choice != "" {
			drawn = first.Choice
		}
	}
	if !strings.HasPrefix(drawn, "drawn before others") {
		t.Errorf("no explanation says that a draw decided: %q", drawn)
	}
	f.cfg.Explore = 0
	if shown := f.shares(t, 1000, body); len(shown) != 1 {
		t.Errorf("without exploration: shown %v, want one", shown)
	}
}

// What the bid drew from is in its token, and labels teach the same cell.
func TestBidsOfChosenCreativesCanBeLearned(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{rotating(1, 2, rtb.RotateOptimize)})
	s := newScratch()
	if f.answer(t, s, "generic", request("0", "")) == nil {
		t.Fatal(s.response.Reason)
	}
	var e rtb.Event
	if err := f.Keys.Open(s.response.Bids[0].ViewToken, events.View, &e, nil); err != nil {
		t.Fatal(err)
	}
	if e.CTR <= 0 || e.Creative != s.response.Bids[0].Creative.ID {
		t.Errorf("the token says creative %d at %g", e.Creative, e.CTR)
	}
}

func TestExplainSaysWhyACreative(t *testing.T) {
	weighted := rotating(2, 2, rtb.RotateWeighted)
	weighted.Creatives[0].Weight = 9
	template := lineItem(5, 5, shop(500))
	items := []rtb.LineItem{
		rotating(1, 3, rtb.RotateOptimize), weighted, rotating(3, 2, rtb.RotateEven), rotating(4, 2, rtb.RotateSequence),
		template, lineItem(6, 5, banner(600, 300, 250)),
	}
	f := newFixture(t, items)
	got, err := f.Explain("generic", request("0", ""), testNow)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		choice string
		fits   int
	}{"line-1": {"optimize: ", 3}, "line-2": {"weighted: by chance, with a weight of ", 2}, "line-3": {"even: by chance", 2},
		"line-4": {"sequence: impression 1", 2}, "line-5": {"", 0}, "line-6": {"", 0}}
	for _, l := range got.Imps[0].LineItems {
		w := want[l.LineItem]
		if !strings.HasPrefix(l.Choice, w.choice) || (w.choice == "") != (l.Choice == "") || len(l.Creatives) != w.fits {
			t.Errorf("%s: %q among %+v, want %q among %d", l.LineItem, l.Choice, l.Creatives, w.choice, w.fits)
		}
		if w.fits > 0 && !slices.ContainsFunc(l.Creatives, func(e rtb.CreativeExplanation) bool { return e.Creative == l.Creative }) {
			t.Errorf("%s: %q is not among %+v", l.LineItem, l.Creative, l.Creatives)
		}
		for _, e := range l.Creatives {
			if l.LineItem == "line-1" && (e.CTR <= 0 || math.Abs(e.Known/e.CTR-1) > 1e-6 || e.Draw <= 0) {
				t.Errorf("of a creative that nobody knows: %+v", e)
			}
		}
		if l.LineItem == "line-5" && l.Product == "" {
			t.Errorf("no product of the template: %+v", l)
		}
	}
}

// A user sees the creatives of a sequence one after the other, by the
// impressions that are in the record: a bid in flight or lost is no step.
func TestSequenceGoesOnWithImpressions(t *testing.T) {
	item := rotating(1, 3, rtb.RotateSequence)
	f := newFixture(t, []rtb.LineItem{item})
	recorder := audience.NewRecorder(f.store, f.Catalog.Index().Remember)
	s, body := newScratch(), request("0", "")
	for step, want := range []string{"banner-100", "banner-101", "banner-102", "banner-102"} {
		var b *rtb.Bid
		for range 3 {
			if f.answer(t, s, "generic", body) == nil {
				t.Fatal(s.response.Reason)
			}
			if b = &s.response.Bids[0]; b.Creative.Key != want {
				t.Fatalf("after %d impressions: %s, want %s", step, b.Creative.Key, want)
			}
		}
		e := rtb.Event{Bid: b.ID, LineItem: 1, Campaign: 1, Advertiser: item.Advertiser, Creative: b.Creative.ID, User: s.request.Users[0],
			Type: rtb.EventBill, Billing: true, Made: testNow.Add(-time.Minute), Time: testNow.Add(-time.Minute)}
		if err := recorder.Apply(uint64(step+1), []rtb.Event{e}); err != nil {
			t.Fatal(err)
		}
		f.Exposures.Recorded([]rtb.Event{e})
	}
	if f.answer(t, s, "generic", []byte(strings.Replace(string(body), "9B1D5A2E", "00000000", 1))) == nil || s.response.Bids[0].Creative.Key != "banner-100" {
		t.Errorf("to somebody else: %s", s.response.Reason)
	}
	if f.answer(t, s, "generic", []byte(strings.Replace(string(body), `"ifa":"9B1D5A2E-7C40-4E0B-B6D3-1F2A3C4D5E6F"`, "", 1))) == nil || s.response.Bids[0].Creative.Key != "banner-100" {
		t.Errorf("to an unknown user: %s", s.response.Reason)
	}
}

// shop is a template with a product for users in segment 7 and two for all.
func shop(id uint32) rtb.Creative {
	c := banner(id, 300, 250)
	c.Assets = rtb.Assets{HTML: `<a href="{PRODUCT_URL}"><img src="{PRODUCT_IMAGE}" alt="{PRODUCT_TITLE}">{PRODUCT_TITLE}</a>`}
	for i, name := range []string{"one", "two", "runner"} {
		p := rtb.Product{ID: name, Title: "Shoe <" + name + ">", Image: "https://cdn.example/p.jpg"}
		if i == 2 {
			p.Segments = []rtb.SegmentID{7}
		}
		c.Products = append(c.Products, p)
	}
	return c
}

func TestTemplateIsAnsweredWithAProduct(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{lineItem(1, 5, shop(1))})
	s := newScratch()
	seen := map[string]bool{}
	for range 50 {
		answer := f.answer(t, s, "generic", request("0", ""))
		if answer == nil {
			t.Fatal(s.response.Reason)
		}
		product := s.response.Bids[0].Creative.Product
		seen[product] = true
		bid := decodeAnswer(t, answer).SeatBid[0].Bid[0]
		click := publicURL + "/e/click?i=" + product + "&amp;t=" + string(s.response.Bids[0].Token)
		if !strings.Contains(bid.AdM, click) || !strings.Contains(bid.AdM, "Shoe &lt;"+product+"&gt;") || bid.CrID != "banner-1" {
			t.Fatalf("crid %s, markup %s, want %s", bid.CrID, bid.AdM, click)
		}
	}
	if !seen["one"] || !seen["two"] || seen["runner"] {
		t.Errorf("shown to an unknown user: %v, want the products for everybody", seen)
	}
}

// A choice among many creatives, a template and a sequence allocates nothing.
func TestChoosingDoesNotAllocate(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates")
	}
	sequence := rotating(3, 12, rtb.RotateSequence)
	sequence.Repeat = true
	many := perClick(rotating(2, 12, rtb.RotateOptimize))
	acquire := rotating(5, 3, rtb.RotateOptimize)
	acquire.Goal = rtb.Goal{Type: rtb.GoalCPA, Value: 500 * rtb.Unit, Max: rtb.FromCPM(1000)}
	f := newFixture(t, []rtb.LineItem{rotating(1, 8, rtb.RotateOptimize), many, sequence, lineItem(4, 5, shop(400), shop(401)), acquire})
	teach(f.Creatives, 100, 2, 1000)
	var requests [64]fasthttp.RequestCtx // of as many users: the cache may refuse a few
	for i := range requests {
		requests[i].Request.Header.SetMethod(fasthttp.MethodPost)
		requests[i].Request.SetRequestURI("/bid/generic")
		requests[i].Request.SetBody(bytes.Replace(request("0", ""), []byte("9B1D5A2E"), fmt.Appendf(nil, "9B1D5A%02X", i), 1))
	}
	i, bids := 0, 0
	bid := func() {
		ctx := &requests[i%len(requests)]
		if f.serveBid(ctx, testNow); ctx.Response.StatusCode() == fasthttp.StatusOK {
			bids++
		}
		i++
	}
	for range 20 * len(requests) {
		bid()
	}
	// So many that what happens once in the background does not count.
	if allocs := testing.AllocsPerRun(3000, bid); allocs != 0 {
		t.Errorf("a bid allocates %v times, want 0", allocs)
	}
	if bids < i*9/10 {
		t.Errorf("%d bids of %d", bids, i)
	}
}

// BenchmarkChoose is a bid among line items of which each has several
// creatives that fit, decided by experience and by chance.
func BenchmarkChoose(b *testing.B) {
	for _, rotation := range []rtb.Rotation{rtb.RotateEven, rtb.RotateOptimize} {
		for _, n := range []int{1, 4, 8} {
			b.Run(fmt.Sprintf("%v/creatives=%d", rotation, n), func(b *testing.B) {
				var items []rtb.LineItem
				r := rand.New(rand.NewPCG(1, 1))
				for i := range uint32(16) {
					item := perClick(rotating(1+i, n, rotation))
					item.Goal.Value += rtb.Money(r.IntN(int(rtb.Unit)))
					items = append(items, item)
				}
				f := newFixture(b, items)
				s, body := newScratch(), request("0", "")
				b.ReportAllocs()
				for b.Loop() {
					f.answer(b, s, "generic", body)
					f.withdraw(s, rtb.BidMade)
				}
			})
		}
	}
}
