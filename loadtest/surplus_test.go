package loadtest

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"

	"github.com/prebid/openrtb/v20/openrtb2"
)

// testShop is an advertiser's documents: line items 7 and 8 with banners, a
// video and a native ad each.
type testShop struct {
	goal string // of line item 8; 7 pays 0.40 for a click
	more string // members of line item 8
}

type testAd struct {
	ad    Ad
	item  string
	value float64 // of a click
}

var testSizes = []rtb.Size{{W: 320, H: 50}, {W: 320, H: 100}, {W: 300, H: 250}, {W: 728, H: 90}, {W: 160, H: 600}, {W: 970, H: 250}, {W: 320, H: 480}}

// ads are those of the documents, made again from what start serves.
func (shop *testShop) ads() (ads []testAd) {
	for i, item := range []string{"7", "8"} {
		value := [...]float64{.4, .3}[i]
		add := func(media rtb.Media, size rtb.Size, name string) {
			ads = append(ads, testAd{Ad{LineItem: "1", Creative: fmt.Sprintf("c%s-%s", item, name), Media: media, Size: size}, item, value})
		}
		for _, size := range testSizes {
			add(rtb.Banner, size, fmt.Sprintf("%dx%d", size.W, size.H))
		}
		add(rtb.Video, rtb.Size{}, "video")
		add(rtb.Native, rtb.Size{}, "native")
	}
	return ads
}

func (shop *testShop) start(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	answer("/v1/advertisers", `{"items":[{"id":"acme","timezone":"UTC"}]}`)
	answer("/v1/campaigns", `{"items":[{"id":"spring","number":1,"advertiser":"acme"}]}`)
	answer("/v1/exchanges", `{"items":[]}`)
	answer("/v1/discrepancies", `{"rows":[]}`)
	answer("/v1/line-items/{id}/pacing", `{}`)
	answer("/metrics", "bidwell_bids_total{exchange=\"generic\"} 7\nbidwell_no_bids_total{reason=\"below-floor\"} 12\nbidwell_no_bids_total{reason=\"paced-out\"} 0\n")
	answer("/v1/shading", `{"shaded":{"bids":90,"wins":30,"spend":"0.20","worth":"0.50","surplus":"0.30"},
		"control":{"bids":10,"wins":5,"spend":"0.08","worth":"0.08","surplus":"0.00"},"saved":{"estimate":0.6,"low":0.5,"high":0.7}}`)
	var creatives, names [2][]string
	for _, ad := range shop.ads() {
		k := int(ad.item[0] - '7')
		names[k] = append(names[k], `"`+ad.ad.Creative+`"`)
		text := fmt.Sprintf(`{"id":%q,"type":%q,"width":%d,"height":%d`, ad.ad.Creative, ad.ad.Media.String(), ad.ad.Size.W, ad.ad.Size.H)
		if ad.ad.Media == rtb.Video {
			text += `,"duration":"15s"`
		}
		creatives[k] = append(creatives[k], text+"}")
	}
	answer("/v1/creatives", `{"items":[`+strings.Join(slices.Concat(creatives[0], creatives[1]), ",")+`]}`)
	goal := shop.goal
	if goal == "" {
		goal = `{"type":"cpc","value":"0.30","max_cpm":"900"}`
	}
	answer("/v1/line-items", fmt.Sprintf(`{"items":[
		{"id":"seven","number":7,"campaign":"spring","pacing":"asap","goal":{"type":"cpc","value":"0.40","max_cpm":"900"},"creatives":[%s],
			"targeting":{"segments":{"any":[]},"timezone":"user","geo":{"fences":null}}},
		{"id":"eight","number":8,"campaign":"spring","pacing":"asap","goal":%s,"creatives":[%s]%s},
		{"id":"nine","number":9,"campaign":"spring","status":"paused","goal":{"type":"none"},"caps":[{"window":"24h"}],"creatives":["c7-video"]}]}`,
		strings.Join(names[0], ","), goal, strings.Join(names[1], ","), shop.more))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// seer is a bidder that knows the market: the slot behind every imp, and the
// truth.
type seer struct {
	market *Market
	offers map[string]*Offer
	ads    []testAd
	bid    func(o *Offer, s *Slot, ad *testAd, shown *Ad) (worth, price float64) // as a CPM
}

func newSeer(cfg *ExchangeConfig, shop *testShop) *seer {
	k := &seer{market: NewMarket(cfg.Seed), offers: map[string]*Offer{}, ads: shop.ads()}
	traffic := NewTraffic(cfg.traffic())
	for i := range cfg.Auctions {
		o := &Offer{}
		traffic.Offer(i, DefaultStart.Add(time.Duration(i)*time.Millisecond), o)
		k.offers[string(o.ID[:])] = o
	}
	return k
}

// fitting goes through the ads for a slot.
func (k *seer) fitting(s *Slot, each func(ad *testAd, shown *Ad)) {
	for i := range k.ads {
		ad := &k.ads[i]
		shown := ad.ad
		switch ad.ad.Media {
		case rtb.Banner:
			if !s.Banner || !slices.Contains(s.Sizes[:s.SizeCount], ad.ad.Size) {
				continue
			}
		case rtb.Video:
			if !s.Video {
				continue
			}
			shown.Size = s.Player
		case rtb.Native:
			if !s.Native {
				continue
			}
		}
		each(ad, &shown)
	}
}

// bids are the best for each imp.
func (k *seer) bids(req *openrtb2.BidRequest) (bids []map[string]any) {
	o := k.offers[req.ID]
	for i := range o.Slots {
		s := &o.Slots[i]
		best := -1.0
		var bid map[string]any
		k.fitting(s, func(ad *testAd, shown *Ad) {
			worth, price := k.bid(o, s, ad, shown)
			if worth <= best {
				return
			}
			best = worth
			bid = map[string]any{"id": req.ID + s.ID, "impid": s.ID, "price": math.Floor(price*1e6) / 1e6, "cid": "1", "tactic": ad.item,
				"crid": shown.Creative, "mtype": int(shown.Media), "w": shown.Size.W, "h": shown.Size.H, "adm": "<b>"}
		})
		if bid != nil && bid["price"].(float64) > 0 {
			bids = append(bids, bid)
		}
	}
	return bids
}

func surplusRun(t *testing.T, kind AuctionKind, bid func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (worth, price float64)) (*Scorecard, *seer) {
	t.Helper()
	shop, bidder := &testShop{}, startBidder(t, &testBidder{})
	cfg := testRun(bidder.URL, func(cfg *ExchangeConfig) {
		cfg.NoFloors, cfg.NoDeals, cfg.Surplus, cfg.Admin, cfg.Auction, cfg.Settle = true, true, true, shop.start(t), kind, 0
	})
	k := newSeer(&cfg, shop)
	k.bid = func(o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) { return bid(k, o, s, ad, shown) }
	bidder.bids = k.bids
	card, err := RunExchange(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(card.Violations) > 0 || len(card.Errors) > 0 || card.Surplus == nil || card.Surplus.UnknownBids != 0 || card.Surplus.LeftOut != 0 {
		t.Fatalf("violations %v, errors %v, surplus %+v", card.Violations, card.Errors, card.Surplus)
	}
	return card, k
}

// part bids a part of the true worth.
func part(of float64) func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) {
	return func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) {
		worth := 1000 * ad.value * k.market.Click(o, s, shown)
		return worth, of * worth
	}
}

// clairvoyant works out again what could be made.
func (k *seer) clairvoyant() (surplus float64, imps, wins int) {
	for _, o := range k.offers {
		for i := range o.Slots {
			s := &o.Slots[i]
			if !k.market.shows(s) {
				continue
			}
			best := -1.0
			k.fitting(s, func(ad *testAd, shown *Ad) { best = max(best, ad.value*k.market.Click(o, s, shown)) })
			if best < 0 {
				continue
			}
			imps++
			price := .00001
			if rival := k.market.Rival(o, s); rival > 0 {
				price += float64(rival) / float64(rtb.Unit)
			}
			if best > price {
				wins++
				surplus += best - price
			}
		}
	}
	return surplus, imps, wins
}

func near(a, b, by float64) bool { return math.Abs(a-b) <= by }

func dollarsOf(t *testing.T, text string) float64 {
	t.Helper()
	m, err := rtb.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return float64(m) / float64(rtb.Unit)
}

// In second price auctions whoever bids the true worth makes all that the
// oracle does, and bids say what is true.
func TestSurplusOfTheTruth(t *testing.T) {
	card, k := surplusRun(t, AuctionSecond, part(1))
	s := card.Surplus
	want, imps, wins := k.clairvoyant()
	if !near(dollarsOf(t, s.Oracle), want, 1e-6) || s.Impressions != imps || s.OracleWins != wins || wins < 300 || wins > imps-100 {
		t.Errorf("the oracle makes %s with %d of %d, want %.6f with %d of %d", s.Oracle, s.OracleWins, s.Impressions, want, wins, imps)
	}
	if !near(s.Share, 1, 1e-5) || !near(s.LastThird, 1, 1e-5) || !near(s.ByThird[0], 1, 1e-5) || s.ShareOfKnowable < 1 {
		t.Errorf("whoever knows the truth makes %+v", s.SurplusShare)
	}
	if s.FirstPrice != nil || s.SecondPrice == nil || s.SecondPrice.Share != s.Share || card.Shading != nil {
		t.Errorf("first price %+v, second price %+v, shading %+v", s.FirstPrice, s.SecondPrice, card.Shading)
	}
	c := card.Calibration
	if !near(c.Ratio, 1, 1e-3) || !near(c.Last, 1, 1e-3) || c.Bids != card.Bids || len(c.Deciles) != 10 || c.Capped != 0 {
		t.Errorf("calibration %+v, want 1 over %d bids", c, card.Bids)
	}
	count, last := 0, 0.0
	for _, d := range c.Deciles {
		count += d.Count
		if d.Believed < last || !near(d.Ratio, 1, .01) {
			t.Errorf("decile %+v after one of %.6f", d, last)
		}
		last = d.Believed
	}
	if count != c.Bids {
		t.Errorf("deciles of %d bids, want %d", count, c.Bids)
	}
	limits := DefaultExchangeLimits()
	limits.MaxDifference = -1 // the shop keeps no books
	limits.MinSurplus, limits.MinLastSurplus, limits.CalibrationWithin = .999, .999, .01
	if err := limits.Check(card); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"no bid       below-floor: 12\n", "surplus      " + s.Bidder + " of the oracle's " + s.Oracle, "calibration  1.0000 over", "calibration  tenth 10"} {
		if text := card.String(); !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
}

// Whoever bids too little or too much, shows another ad or leaves something
// out makes less, and the scorecard says where the rest is.
func TestSurplusOfErrors(t *testing.T) {
	tests := []struct {
		name  string
		bid   func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64)
		where func(s *SurplusShare) float64
		ratio float64
	}{
		{"half", part(.5), func(s *SurplusShare) float64 { return s.Underbid }, .5},
		{"twice", part(2), func(s *SurplusShare) float64 { return s.Overbid }, 2},
		{"the other ad", func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) {
			worth, price := part(1)(k, o, s, ad, shown)
			return 100 - worth, price
		}, func(s *SurplusShare) float64 { return s.WorseAd }, 1},
		{"no natives", func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) {
			worth, price := part(1)(k, o, s, ad, shown)
			if s.Native {
				price = 0
			}
			return worth, price
		}, func(s *SurplusShare) float64 { return s.Unanswered }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			card, _ := surplusRun(t, AuctionSecond, tt.bid)
			s, c := card.Surplus, card.Calibration
			if s.Share > .98 || s.Share < .2 || tt.where(&s.SurplusShare) < .02 || !near(c.Ratio, tt.ratio, .01*tt.ratio) {
				t.Errorf("surplus %+v, calibration %.4f, want %.4f", s.SurplusShare, c.Ratio, tt.ratio)
			}
			if sum := s.Share + s.Unanswered + s.Underbid + s.Overbid + s.WorseAd + s.Overpaid; !near(sum, 1, 1e-9) {
				t.Errorf("the parts sum to %.9f", sum)
			}
			if (c.Unseen > 0) != (tt.name == "no natives") {
				t.Errorf("%d impressions without a bid", c.Unseen)
			}
			limits := DefaultExchangeLimits()
			limits.MinSurplus, limits.MinLastSurplus, limits.CalibrationWithin = .99, .99, .02
			err := limits.Check(card)
			for _, want := range []string{"surplus is 0.", "surplus of the last third is 0."} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("limits: %v, want %s", err, want)
				}
			}
			if tt.ratio != 1 && !strings.Contains(err.Error(), "bids believe in") {
				t.Errorf("limits: %v", err)
			}
		})
	}
}

// In first price auctions the whole worth leaves nothing, and who pays the
// least that wins makes all.
func TestSurplusFirstPrice(t *testing.T) {
	card, _ := surplusRun(t, AuctionFirst, part(1))
	s := card.Surplus
	if !near(s.Share, 0, 1e-4) || s.Overpaid < .98 || card.Calibration != nil || card.Shading == nil || card.Shading.Left < .1 {
		t.Errorf("the whole worth makes %+v, shading %+v", s.SurplusShare, card.Shading)
	}
	card, k := surplusRun(t, AuctionFirst, func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) {
		worth, _ := part(1)(k, o, s, ad, shown)
		least := k.market.Rival(o, s).CPM() + .01
		if worth <= least {
			return worth, 0
		}
		return worth, math.Ceil(least*1e6) / 1e6
	})
	want, _, wins := k.clairvoyant()
	if s = card.Surplus; !near(s.Share, 1, .001) || s.Wins < wins-3 || !near(dollarsOf(t, s.Bidder), want, .001*want) || !near(card.Shading.Left, 0, .001) {
		t.Errorf("the least prices make %+v with %d wins, shading %+v; want %.6f with %d", s.SurplusShare, s.Wins, card.Shading, want, wins)
	}
	for _, want := range []string{"unshaded control, by the bidder: 5 of 10 bids won, spend 0.08, worth 0.08, surplus 0.00", "saves 0.6000 of the control's price"} {
		if text := card.String(); !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if mixed, _ := surplusRun(t, AuctionMixed, part(.7)); mixed.Surplus.FirstPrice == nil || mixed.Surplus.SecondPrice == nil ||
		mixed.Surplus.FirstPrice.Impressions+mixed.Surplus.SecondPrice.Impressions != mixed.Surplus.Impressions ||
		mixed.Surplus.FirstPrice.Share >= mixed.Surplus.SecondPrice.Share || !strings.Contains(mixed.String(), "first price ") {
		t.Errorf("mixed: %s", mixed)
	}
}

// What requests tell is the truth averaged over everybody who could have made
// the same request: whoever bids that makes what is knowable.
func TestKnowable(t *testing.T) {
	var everyone [60]User // more would not fit the time of a test
	card, _ := surplusRun(t, AuctionSecond, func(k *seer, o *Offer, s *Slot, ad *testAd, shown *Ad) (float64, float64) {
		if everyone[0].Alpha3 == "" {
			for i := range everyone {
				everyone[i] = NewPopulation(11, 10_000).User(137 * i)
			}
		}
		sum := 0.0
		for i := range everyone {
			of := *o
			of.User.Segments, of.User.Propensity, of.User.BirthYear = everyone[i].Segments, everyone[i].Propensity, everyone[i].BirthYear
			at := *s
			if !s.Banner && !s.Video {
				at.Position = everyone[(i*7)%60].Device[0] % 8 // nobody says
			}
			sum += k.market.Click(&of, &at, shown)
		}
		worth := 1000 * ad.value * sum / float64(len(everyone))
		return worth, worth
	})
	s := card.Surplus
	if s.Share > .985 || !near(s.ShareOfKnowable, 1, .02) || dollarsOf(t, s.Knowable) > dollarsOf(t, s.Oracle) {
		t.Errorf("whoever knows the average makes %+v", s.SurplusShare)
	}
}

// An average over a class of people is close to that over all of them, also
// where the click is likely.
func TestInsight(t *testing.T) {
	population := NewPopulation(3, 50_000)
	market := NewMarket(3)
	stock := &assortment{ads: []*stocked{{Ad: Ad{Creative: "techies-b", Media: rtb.Banner, Size: rtb.Size{W: 300, H: 250}}}}}
	k := newInsight(market, population, stock)
	traffic := NewTraffic(TrafficConfig{Seed: 3, Users: 50_000})
	told := 0
	for i := range 400 {
		var o Offer
		traffic.Offer(i, DefaultStart, &o)
		s := &o.Slots[0]
		if !s.Banner {
			continue
		}
		told += flagged(o.tellsAge())
		sum, n := 0.0, 0
		for j := range 4000 {
			u := population.User(j * 11)
			if o.tellsAge() && (u.BirthYear != o.User.BirthYear || u.Gender != o.User.Gender) {
				continue
			}
			of := o
			of.User.Segments, of.User.Propensity, of.User.BirthYear = u.Segments, u.Propensity, u.BirthYear
			sum += market.Click(&of, s, &stock.ads[0].Ad)
			n++
		}
		if n < 20 {
			continue
		}
		by := .12 + 1.5/math.Sqrt(float64(n)) // of those who are few, who also differ
		if got, want := k.click(&o, s, stock.ads[0], &stock.ads[0].Ad), sum/float64(n); !near(got/want, 1, by) {
			t.Errorf("offer %d: %.5f, want %.5f over %d people", i, got, want, n)
		}
	}
	if told < 20 {
		t.Errorf("%d requests told an age, too few", told)
	}
}

func TestSurplusRefusesWhatIsNotOpen(t *testing.T) {
	for _, tt := range []struct{ named, goal, more string }{
		{"targeting.devices", "", `,"targeting":{"devices":["phone"]}`},
		{"targeting.geo.fences", "", `,"targeting":{"geo":{"fences":[{"lat":1}]}}`},
		{"caps", "", `,"caps":[{"per":"campaign","limit":1,"window":"24h"}]`},
		{"min_gap", "", `,"min_gap":"1h"`},
		{"flight", "", `,"flight":{"start":"2026-01-05T00:00:00Z"}`},
		{"goal.type", `{"type":"fame"}`, ""},
	} {
		shop := &testShop{goal: tt.goal, more: tt.more}
		bidder := startBidder(t, &testBidder{})
		_, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Surplus, cfg.Admin = true, shop.start(t) }))
		if err == nil || !strings.Contains(err.Error(), tt.named) {
			t.Errorf("%+v: %v does not name %s", tt, err, tt.named)
		}
	}
	cfg := testRun("http://x", func(cfg *ExchangeConfig) { cfg.Surplus, cfg.Auctions, cfg.MinToWin = true, 0, 2 })
	for _, want := range []string{"needs the admin API", "needs a number of auctions", "min-to-win"} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// Leaving out the floors and the deals changes nothing else.
func TestTrafficWithoutFloors(t *testing.T) {
	plain, bare := NewTraffic(TrafficConfig{Seed: 9, Users: 5000}), NewTraffic(TrafficConfig{Seed: 9, Users: 5000, NoFloors: true, NoDeals: true})
	floors, deals := 0, 0
	var o, open Offer
	for i := range 2000 {
		plain.Offer(i, DefaultStart, &o)
		bare.Offer(i, DefaultStart, &open)
		for n := range o.Slots {
			s := o.Slots[n]
			floors += flagged(s.Floor > 0)
			deals += flagged(s.Deal != nil)
			s.Floor, s.Deal, s.DealFloor = 0, nil, 0
			if s != open.Slots[n] {
				t.Fatalf("offer %d: %+v, want %+v", i, open.Slots[n], s)
			}
		}
		if strings.Contains(string(open.Body), "bidfloor") || !json.Valid(open.Body) {
			t.Fatalf("a floor in %s", open.Body)
		}
	}
	if floors < 1000 || deals < 50 {
		t.Errorf("%d floors and %d deals left out, too few to tell", floors, deals)
	}
}

// Only the exchanges that are asked to say what would have been enough to win.
func TestMinToWin(t *testing.T) {
	for _, share := range []float64{0, .5, 1} {
		bidder := startBidder(t, &testBidder{answer: func(req *openrtb2.BidRequest, resp map[string]any) {
			for _, bid := range resp["seatbid"].([]any)[0].(map[string]any)["bid"].([]map[string]any) {
				bid["nurl"] = "https://bid.example/e/win?m=${AUCTION_MIN_TO_WIN}&t=" + req.ID
			}
		}})
		cfg := testRun(bidder.URL, func(cfg *ExchangeConfig) {
			cfg.MinToWin, cfg.Exchanges, cfg.Auctions = share, []string{"generic", "index"}, 800
		})
		if _, err := RunExchange(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		told, silent := map[string]int{}, map[string]int{}
		for notice := range bidder.notices {
			path, query, _ := strings.Cut(notice, "?")
			switch {
			case path != "/e/win" && path != "/e/loss":
			case strings.HasPrefix(query, "m=&") || strings.Contains(query, "&m=&"):
				silent[path]++
			default:
				told[path]++
			}
		}
		for _, path := range []string{"/e/win", "/e/loss"} {
			of := told[path] + silent[path]
			if got := float64(told[path]) / float64(of); of < 80 || math.Abs(got-share) > .25 || share != .5 && got != share && got < .9 {
				t.Errorf("%s at %.1f: %d told, %d silent", path, share, told[path], silent[path])
			}
		}
	}
}

// The worth of an impression by its goal; what a purchase brings is the mean of
// those that are made.
func TestWorth(t *testing.T) {
	sum, n := 0.0, 40_000
	for i := range n {
		d := dice(scramble(77, uint64(i)))
		sum += drawPurchase(&d).value
	}
	order := sum / float64(n)
	for _, tt := range []struct {
		goal string
		want float64
		by   float64
	}{
		{`{"type":"cpm","value":"2.50"}`, .0025, 1e-8},
		{`{"type":"cpc","value":"0.40","max_cpm":"9.00"}`, .004, 1e-8},
		{`{"type":"cpa","value":"5.00","max_cpm":"9.00"}`, .005, 1e-8},
		{`{"type":"roas","value":"4.00","max_cpm":"9.00"}`, order / 4 * .001, 1e-4},
	} {
		var d openDocument
		if err := json.Unmarshal([]byte(`{"number":7,"goal":`+tt.goal+`}`), &d); err != nil {
			t.Fatal(err)
		}
		a, err := d.stock(&creativeDocument{ID: "c", Type: "native"}, "1")
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(a.worth(.01, .1)) / float64(rtb.Unit); !near(got, tt.want, tt.by) {
			t.Errorf("%s: worth %.6f, want %.6f", tt.goal, got, tt.want)
		}
		if want := rtb.FromCPM(9); tt.goal[9:12] != "cpm" && a.most != want || tt.goal[9:12] == "cpm" && a.most != a.value {
			t.Errorf("%s: at most %s", tt.goal, a.most)
		}
	}
}
