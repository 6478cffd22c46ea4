package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bidwell/rtb"

	"github.com/prebid/openrtb/v20/openrtb2"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

// testBidder is a small bidder on a real server. What it bids follows from the
// request alone; it writes down the notices that it is sent.
type testBidder struct {
	URL string

	mu      sync.Mutex
	notices map[string]int // path and query
	paths   map[string]int
	bids    func(o *openrtb2.BidRequest) []map[string]any     // instead of those of testBid
	answer  func(o *openrtb2.BidRequest, resp map[string]any) // changes an answer
	status  func(id string) int                               // another status than 200 or 204
	failing bool                                              // notices get a 500
	busy    bool                                              // the first call of each notice gets a 429
	landing string                                            // where clicks lead, before the click's token
	times   []int64                                           // that requests named
	calls   func(n int)                                       // told of the n-th bid request
	asked   int
}

func startBidder(t *testing.T, b *testBidder) *testBidder {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.notices, b.paths = map[string]int{}, map[string]int{}
	b.URL = "http://" + listener.Addr().String()
	server := &fasthttp.Server{Handler: b.serve, NoDefaultServerHeader: true}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		// The test server's own: they end ten seconds later, or never.
		goleak.VerifyNone(t, leaks, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
	})
	return b
}

func (b *testBidder) serve(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	if at, err := strconv.ParseInt(string(ctx.Request.Header.Peek("X-Bidwell-Time")), 10, 64); err == nil {
		b.mu.Lock()
		b.times = append(b.times, at)
		b.mu.Unlock()
	}
	if !strings.HasPrefix(path, "/bid/") {
		b.mu.Lock()
		b.notices[string(ctx.RequestURI())]++
		first := b.notices[string(ctx.RequestURI())] == 1
		b.mu.Unlock()
		switch {
		case b.failing:
			ctx.SetStatusCode(500)
		case b.busy && first:
			ctx.SetStatusCode(429)
		case path == "/e/click":
			ctx.Redirect(b.landing+string(ctx.QueryArgs().Peek("t")), 302)
		default:
			ctx.SetStatusCode(204)
		}
		return
	}
	b.mu.Lock()
	b.paths[path]++
	b.asked++
	n := b.asked
	b.mu.Unlock()
	if b.calls != nil {
		b.calls(n)
	}
	var req openrtb2.BidRequest
	if err := json.Unmarshal(ctx.PostBody(), &req); err != nil {
		ctx.SetStatusCode(400)
		return
	}
	if b.status != nil {
		if status := b.status(req.ID); status != 0 {
			ctx.SetStatusCode(status)
			return
		}
	}
	var bids []map[string]any
	if b.bids != nil {
		bids = b.bids(&req)
	} else {
		for i := range req.Imp {
			if bid := testBid(&req, &req.Imp[i]); bid != nil {
				bids = append(bids, bid)
			}
		}
	}
	if len(bids) == 0 {
		ctx.SetStatusCode(204)
		return
	}
	answer := map[string]any{"id": req.ID, "cur": "USD", "seatbid": []any{map[string]any{"seat": "seat-1", "bid": bids}}}
	if b.answer != nil {
		b.answer(&req, answer)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		ctx.SetStatusCode(500)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(body)
}

// testBid answers three of four imps, above the floor by up to a CPM of 4.
func testBid(req *openrtb2.BidRequest, imp *openrtb2.Imp) map[string]any {
	h := textHash(req.ID + imp.ID)
	if h%4 == 0 {
		return nil
	}
	const host = "https://bid.bidder.example"
	id := fmt.Sprintf("%x", h)
	bid := map[string]any{
		"id": id, "impid": imp.ID, "price": imp.BidFloor + float64(1+h>>8%400)/100, "cid": fmt.Sprintf("line-%d", h>>20%3), "tactic": strconv.FormatUint(7+h>>20%3, 10),
		"nurl": host + "/e/win?t=" + id + "&p=${AUCTION_PRICE}&a=${AUCTION_ID}&s=${AUCTION_SEAT_ID}&c=${AUCTION_CURRENCY}",
		"burl": host + "/e/bill?t=" + id + "&p=${AUCTION_PRICE:B64}&m=${AUCTION_MULTIPLIER}&i=${AUCTION_IMP_TS}",
		"lurl": host + "/e/loss?t=" + id + "&p=${AUCTION_PRICE}&r=${AUCTION_LOSS}&m=${AUCTION_MIN_TO_WIN}&b=${AUCTION_BID_ID}",
	}
	if imp.PMP != nil {
		deal := imp.PMP.Deals[0]
		bid["dealid"], bid["price"] = deal.ID, deal.BidFloor+float64(1+h>>8%400)/100
	}
	view, click := host+"/e/view?t="+id+"&p=${AUCTION_PRICE}", host+"/e/click?t="+id
	switch {
	case imp.Banner != nil:
		size := imp.Banner.Format[0]
		bid["mtype"], bid["w"], bid["h"], bid["crid"] = 1, size.W, size.H, fmt.Sprintf("banner-%dx%d", size.W, size.H)
		bid["adm"] = `<a href="` + strings.ReplaceAll(click, "&", "&amp;") + `"><img src="https://cdn.example/a.png"></a><img width=1 src='` +
			strings.ReplaceAll(view, "&", "&amp;") + `'>`
	case imp.Video != nil || imp.Audio != nil:
		bid["mtype"], bid["crid"] = 2, "video-15"
		if imp.Audio != nil {
			bid["mtype"], bid["crid"] = 3, "audio-15"
		}
		var tracking string
		for _, name := range quartileNames {
			tracking += `<Tracking event="` + name + `"><![CDATA[` + host + `/e/video?t=` + id + `&v=` + name + `]]></Tracking>`
		}
		bid["adm"] = `<?xml version="1.0"?><VAST version="4.0"><Ad id="1"><InLine><AdSystem>x</AdSystem><Impression><![CDATA[ ` + view +
			` ]]></Impression><Creatives><Creative><Linear><TrackingEvents>` + tracking + `</TrackingEvents><VideoClicks><ClickThrough><![CDATA[` +
			click + `]]></ClickThrough></VideoClicks></Linear></Creative></Creatives></InLine></Ad></VAST>`
	default:
		bid["mtype"], bid["crid"] = 4, "native"
		bid["adm"] = `{"native":{"link":{"url":"https://landing.example/","clicktrackers":["` + click +
			`"]},"eventtrackers":[{"event":1,"method":1,"url":"` + view + `"}]}}`
	}
	return bid
}

func testRun(url string, change func(cfg *ExchangeConfig)) ExchangeConfig {
	cfg := DefaultExchangeConfig()
	cfg.URL, cfg.Users, cfg.Seed, cfg.Auctions, cfg.TMax = url, 10_000, 11, 1500, 10*time.Second
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// Every notice is worked out again from the seed and the rules of an auction,
// and must have been sent, once, and no other.
func TestExchangeNotices(t *testing.T) {
	bidder := startBidder(t, &testBidder{})
	cfg := testRun(bidder.URL, nil)
	card, err := RunExchange(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}

	traffic := NewTraffic(TrafficConfig{Seed: cfg.Seed, Users: cfg.Users, Auction: cfg.Auction, TMax: cfg.TMax})
	market := NewMarket(cfg.Seed)
	want := map[string]int{}
	var bids, wins, shown, clicks int
	var spend rtb.Money
	var o Offer
	for i := range cfg.Auctions {
		traffic.Offer(i, DefaultStart.Add(time.Duration(i)*time.Millisecond), &o)
		var req openrtb2.BidRequest
		if err := json.Unmarshal(o.Body, &req); err != nil {
			t.Fatal(err)
		}
		for n := range o.Slots {
			s := &o.Slots[n]
			bid := testBid(&req, &req.Imp[n])
			if bid == nil {
				continue
			}
			bids++
			price, floor, at := rtb.FromCPM(bid["price"].(float64)), s.Floor, o.Auction
			if s.Deal != nil {
				floor, at = s.DealFloor, s.Deal.Auction
			}
			rival := market.Rival(&o, s)
			least := floor
			if rival > 0 && at != 3 {
				least = max(floor, rival+priceStep)
			}
			id := bid["id"].(string)
			if at != 3 && price <= rival {
				want["/e/loss?t="+id+"&p=&r=102&m="+string(least.AppendCPM(nil))+"&b="+id]++
				continue
			}
			wins++
			clearing := map[uint8]rtb.Money{1: price, 2: min(price, max(least, priceStep)), 3: floor}[at]
			cpm := string(clearing.AppendCPM(nil))
			want["/e/win?t="+id+"&p="+cpm+"&a="+string(o.ID[:])+"&s=seat-1&c=USD"]++
			ad := Ad{LineItem: bid["cid"].(string), Creative: bid["crid"].(string), Media: rtb.Media(bid["mtype"].(int))}
			switch ad.Media {
			case rtb.Banner:
				ad.Size = s.Sizes[0]
			case rtb.Video:
				ad.Size = s.Player
			}
			v := market.show(&o, &contender{slot: s, ad: ad})
			if !v.shown {
				continue
			}
			shown++
			spend += clearing
			encoded := (&Macros{Price: clearing}).Expand("${AUCTION_PRICE:B64}")
			want[fmt.Sprintf("/e/bill?t=%s&p=%s&m=1&i=%d", id, encoded, o.Time.UnixMilli())]++
			want["/e/view?t="+id+"&p="+cpm]++
			if v.clicked {
				clicks++
				want["/e/click?t="+id]++
			}
			for _, name := range quartileNames[:v.quartiles] {
				want["/e/video?t="+id+"&v="+name]++
			}
		}
	}
	if card.Bids != bids || card.Wins != wins || card.Impressions != shown || card.Clicks != clicks || card.Spend != spend.String() {
		t.Errorf("bids %d, wins %d, shown %d, clicks %d, spend %s; want %d, %d, %d, %d, %s",
			card.Bids, card.Wins, card.Impressions, card.Clicks, card.Spend, bids, wins, shown, clicks, spend)
	}
	if wins < 200 || bids-wins < 200 || shown == wins {
		t.Errorf("%d bids, %d wins, %d shown: too few to tell", bids, wins, shown)
	}
	for notice, n := range want {
		if bidder.notices[notice] != n {
			t.Errorf("notice %s sent %d times, want %d", notice, bidder.notices[notice], n)
		}
	}
	for notice := range bidder.notices {
		if want[notice] == 0 {
			t.Errorf("unexpected notice %s", notice)
		}
	}
	if len(card.Violations) != 0 || len(card.Errors) != 0 || card.Late != 0 {
		t.Errorf("violations %v, errors %v, late %d, want none", card.Violations, card.Errors, card.Late)
	}
	if n := card.Notices; n[NoticeWin].Sent != wins || n[NoticeLoss].Sent != bids-wins || n[NoticeBill].Sent != shown ||
		n[NoticeImpression].Sent != shown || n[NoticeClick].Sent != clicks || n[NoticeVideo].Sent == 0 || n[NoticeWin].Failed != 0 {
		t.Errorf("notices %+v, want %d wins, %d bills, %d clicks", n, wins, shown, clicks)
	}
	checkSums(t, card)

	text := card.String()
	for _, want := range []string{"auctions     1500 in", "spend        " + dollars(spend) + ", average CPM ", "notice       nurl", "exchange     generic",
		"format       native", "creative     banner-320x50 of line-0", "lost         102 lost to a higher bid: "} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if err := card.WriteText(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("text that cannot be written: %v", err)
	}
}

// checkSums holds the parts of a scorecard against the whole.
func checkSums(t *testing.T, card *Scorecard) {
	t.Helper()
	sum := func(shares []Share) (s Share) {
		for _, one := range shares {
			s.Auctions += one.Auctions
			s.Bids += one.Bids
			s.Wins += one.Wins
			s.Impressions += one.Impressions
			s.Clicks += one.Clicks
			spent, err := rtb.ParseMoney(one.Spend)
			if err != nil {
				t.Error(err)
			}
			s.spent += spent
		}
		s.Spend = s.spent.String()
		return s
	}
	list := func(m map[string]*Share) (shares []Share) {
		for _, s := range m {
			shares = append(shares, *s)
		}
		return shares
	}
	for name, shares := range map[string][]Share{"creatives": card.Creatives, "formats": list(card.Formats), "exchanges": list(card.Exchanges)} {
		got := sum(shares)
		if got.Bids != card.Bids || got.Wins != card.Wins || got.Impressions != card.Impressions || got.Clicks != card.Clicks || got.Spend != card.Spend {
			t.Errorf("%s sum to %+v, want bids %d, wins %d, impressions %d, clicks %d, spend %s", name, got,
				card.Bids, card.Wins, card.Impressions, card.Clicks, card.Spend)
		}
		if name == "exchanges" && got.Auctions != card.Auctions {
			t.Errorf("exchanges held %d auctions, want %d", got.Auctions, card.Auctions)
		}
	}
}

// The same seed makes the same run and the same log, however many connections
// race for the auctions; another seed makes another.
func TestExchangeIsDeterministic(t *testing.T) {
	bidder := startBidder(t, &testBidder{})
	run := func(seed uint64, conns int) (string, string) {
		var log bytes.Buffer
		card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) {
			cfg.Seed, cfg.Conns, cfg.Log, cfg.Auctions = seed, conns, &log, 600
			cfg.Exchanges = []string{"generic", "index"}
		}))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(withoutTimes(card))
		if err != nil {
			t.Fatal(err)
		}
		return string(text), log.String()
	}
	card, log := run(5, 1)
	for _, conns := range []int{1, 12} {
		if again, sameLog := run(5, conns); again != card || sameLog != log {
			t.Errorf("%d connections: another run\n%s\n%s", conns, card, again)
		}
	}
	if other, _ := run(6, 1); other == card {
		t.Error("another seed gives the same scorecard")
	}
	if bidder.paths["/bid/generic"] == 0 || bidder.paths["/bid/index"] == 0 {
		t.Errorf("requests went to %v, want both exchanges", bidder.paths)
	}
	checkLog(t, log)
}

// withoutTimes leaves out how long things took, and with that on which side of
// midnight a notice arrived.
func withoutTimes(card *Scorecard) *Scorecard {
	card.Seconds, card.P50, card.P99, card.Max = 0, 0, 0, 0
	for i := range card.Truth {
		card.Truth[i].Days = nil
	}
	return card
}

func checkLog(t *testing.T, log string) (clicks, rows int) {
	t.Helper()
	for line := range strings.Lines(log) {
		var row struct {
			Time               time.Time
			Exchange, Imp      string
			LineItem           string `json:"line_item"`
			Creative, Media    string
			W, H               int
			Price              float64
			Click, Conversion  int
			Segments           []string
			Request            openrtb2.BidRequest
			unused, mustBeZero struct{}
		}
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&row); err != nil {
			t.Fatalf("row %d: %v\n%s", rows, err, line)
		}
		found := false
		for _, imp := range row.Request.Imp {
			found = found || imp.ID == row.Imp
		}
		if !found || row.Creative == "" || row.LineItem == "" || row.Price <= 0 || row.Time.IsZero() || row.Exchange == "" || row.Click|row.Conversion > 1 || row.Conversion > row.Click {
			t.Fatalf("row %d: %s", rows, line)
		}
		rows++
		clicks += row.Click
	}
	if rows == 0 {
		t.Error("the log is empty")
	}
	return clicks, rows
}

func TestExchangeCountsWhatIsWrong(t *testing.T) {
	firstBid := func(resp map[string]any) map[string]any {
		return resp["seatbid"].([]any)[0].(map[string]any)["bid"].([]map[string]any)[0]
	}
	tests := []struct {
		name      string
		bidder    *testBidder
		change    func(cfg *ExchangeConfig)
		violation string
		problem   string
	}{
		{name: "below the floor", violation: "below-floor",
			bidder: &testBidder{answer: func(req *openrtb2.BidRequest, resp map[string]any) {
				delete(firstBid(resp), "dealid")
				if imp := req.Imp[0]; imp.PMP == nil && imp.BidFloor > .02 {
					firstBid(resp)["price"] = .01
				}
			}}},
		{name: "negative price", violation: "price-not-positive",
			bidder: &testBidder{answer: func(_ *openrtb2.BidRequest, resp map[string]any) { firstBid(resp)["price"] = -1 }}},
		{name: "another currency", violation: "currency-not-offered",
			bidder: &testBidder{answer: func(_ *openrtb2.BidRequest, resp map[string]any) { resp["cur"] = "JPY" }}},
		{name: "another id", problem: "wrong-id",
			bidder: &testBidder{answer: func(_ *openrtb2.BidRequest, resp map[string]any) { resp["id"] = "x" }}},
		{name: "a field of another type", problem: "bad-answer",
			bidder: &testBidder{answer: func(_ *openrtb2.BidRequest, resp map[string]any) { firstBid(resp)["price"] = "1" }}},
		{name: "server error", problem: "status-500", bidder: &testBidder{status: func(string) int { return 500 }}},
		{name: "late", bidder: &testBidder{}, change: func(cfg *ExchangeConfig) { cfg.TMax = 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bidder := startBidder(t, tt.bidder)
			card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) {
				if cfg.Auctions = 150; tt.change != nil {
					tt.change(cfg)
				}
			}))
			if err != nil {
				t.Fatal(err)
			}
			if tt.violation != "" && card.Violations[tt.violation] < 20 {
				t.Errorf("violations %v, want many %s", card.Violations, tt.violation)
			}
			if tt.problem != "" && (card.Errors[tt.problem] < 80 || card.Wins != 0 && tt.problem == "status-500") {
				t.Errorf("errors %v with %d wins, want many %s", card.Errors, card.Wins, tt.problem)
			}
			if tt.name == "late" && (card.Late != 150 || card.Wins != 0 || len(bidder.notices) != 0) {
				t.Errorf("%d late, %d wins, %d notices, want all late", card.Late, card.Wins, len(bidder.notices))
			}
			if card.Violations["currency-not-offered"] > 0 && card.Wins != 0 {
				t.Errorf("%d wins in another currency", card.Wins)
			}
		})
	}
}

func TestExchangeCountsFailedNotices(t *testing.T) {
	bidder := startBidder(t, &testBidder{failing: true})
	card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions, cfg.Fates.Retries = 60, 1 }))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []NoticeKind{NoticeWin, NoticeLoss, NoticeBill, NoticeImpression} {
		if n := card.Notices[kind]; n.Sent == 0 || n.Failed != n.Sent || n.Retried != n.Sent {
			t.Errorf("%s: %+v, want all failed, each tried twice", kind, n)
		}
	}
	bidder = startBidder(t, &testBidder{})
	if _, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions, cfg.Notices = 200, false })); err != nil {
		t.Fatal(err)
	}
	if len(bidder.notices) != 0 {
		t.Errorf("%d notices sent though none were wanted", len(bidder.notices))
	}
}

// A run ends with its context or its duration, with a scorecard and without an
// error, and keeps to its rate until then.
func TestExchangeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	bidder := startBidder(t, &testBidder{calls: func(n int) {
		if n == 100 {
			cancel()
		}
	}})
	var log bytes.Buffer
	card, err := RunExchange(ctx, testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions, cfg.Log = 0, &log }))
	if err != nil || card.Auctions < 90 || card.Auctions > 200 {
		t.Fatalf("cancelled: %+v, %v", card, err)
	}
	if rows := strings.Count(log.String(), "\n"); rows != card.Impressions {
		t.Errorf("cancelled: %d rows logged, want one for each of %d impressions", rows, card.Impressions)
	}

	bidder = startBidder(t, &testBidder{})
	card, err = RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions, cfg.Duration = 0, 200*time.Millisecond }))
	if err != nil || card.Auctions == 0 {
		t.Fatalf("after 200 ms: %+v, %v", card, err)
	}
	card, err = RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions, cfg.Rate = 60, 1000 }))
	if err != nil || card.Seconds < .059 {
		t.Fatalf("60 auctions at 1000 a second took %.3f s, want 0.059 at least; %v", card.Seconds, err)
	}
	var profile bytes.Buffer
	card, err = RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) {
		cfg.Auctions, cfg.Span, cfg.Speed, cfg.Profile = 60, time.Hour, 36_000, &profile
	}))
	if err != nil || card.Seconds < .09 {
		t.Fatalf("an hour at 36,000 times the speed took %.3f s, want almost 0.1 at least; %v", card.Seconds, err)
	}
	noon := strings.Split(profile.String(), "\n")[48:52]
	if sum := strings.Count(profile.String(), "\n"); sum != 96 || slices.Contains(noon, "0.000000000") {
		t.Errorf("a profile of %d lines, %v of them the hour after noon", sum, noon)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestExchangeFails(t *testing.T) {
	bidder := startBidder(t, &testBidder{})
	if _, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Log = brokenWriter{} })); !errors.Is(err, errBroken) {
		t.Errorf("a log that cannot be written: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if _, err := RunExchange(t.Context(), testRun("http://"+listener.Addr().String(), nil)); err == nil || !strings.Contains(err.Error(), "connect to the bidder") {
		t.Errorf("nobody listens: %v", err)
	}
	_, err = RunExchange(t.Context(), ExchangeConfig{URL: "ftp://x", Exchanges: []string{"a/b"}, Rate: -1, Auction: "third", Span: -1, Speed: -1, Admin: "x", Settle: -1})
	for _, field := range []string{"url", "exchange", "rate", "users", "auction", "conns", "span", "speed", "admin", "settle"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong config: error %q does not name %s", err, field)
		}
	}
}

func TestMacros(t *testing.T) {
	m := Macros{AuctionID: "a/1", BidID: "b", ImpID: "i", SeatID: "s&t", AdID: "d", Price: rtb.FromCPM(1.25), MinToWin: rtb.FromCPM(1.26),
		Currency: "USD", Loss: 102, ImpTime: time.UnixMilli(1500), GDPR: true, Consent: "CPx"}
	for text, want := range map[string]string{
		"":                                      "",
		"no macro":                              "no macro",
		"${AUCTION_ID}":                         "a%2F1",
		"${AUCTION_PRICE}":                      "1.25",
		"${AUCTION_PRICE:B64}x${AUCTION_PRICE}": "MS4yNQx1.25",
		"${AUCTION_BID_ID}${AUCTION_IMP_ID}${AUCTION_AD_ID}":        "bid",
		"s=${AUCTION_SEAT_ID}":                                      "s=s%26t",
		"${AUCTION_LOSS}-${AUCTION_MIN_TO_WIN}-${AUCTION_CURRENCY}": "102-1.26-USD",
		"${AUCTION_MBR}|${AUCTION_MULTIPLIER}|${AUCTION_IMP_TS}":    "|1|1500",
		"${AUCTION_DISCOUNT_PCT}${AUCTION_DISCOUNT_CPM}":            "00",
		"gdpr=${GDPR}&gdpr_consent=${GDPR_CONSENT_123}":             "gdpr=1&gdpr_consent=CPx",
		"${UNKNOWN}":         "${UNKNOWN}",
		"${AUCTION_PRICE":    "${AUCTION_PRICE",
		"$${AUCTION_PRICE}}": "$1.25}",
	} {
		if got := m.Expand(text); got != want {
			t.Errorf("Expand(%q) = %q, want %q", text, got, want)
		}
	}
	if got := (&Macros{}).Expand("p=${AUCTION_PRICE}&m=${AUCTION_MIN_TO_WIN}&t=${AUCTION_IMP_TS}"); got != "p=&m=&t=" {
		t.Errorf("unknown values expand to %q, want blanks", got)
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string][2]string{
		"https://a.example/e/win?t=1#x": {"a.example", "/e/win?t=1"},
		"http://a.example:80?q":         {"a.example:80", "/?q"},
		"https://a.example":             {"a.example", "/"},
		"//a.example/x":                 {"", "/"},
		"/e/win":                        {"", "/"},
	} {
		if host := hostOf(address); host != want[0] || (host != "" && pathOf(address) != want[1]) {
			t.Errorf("%q has host %q and path %q, want %q", address, host, pathOf(address), want)
		}
	}
	n := &notifier{to: endpoint{host: "bidder"}, prefix: "/x"}
	for _, address := range []string{"/e/win", "https://a.example/a b", "https://a.example/\r\nHost: evil"} {
		if request, err := n.appendGet(nil, &notice{address: address}); err == nil {
			t.Errorf("appendGet(%q) = %q, want an error", address, request)
		}
	}
	request, err := n.appendGet(nil, &notice{address: "https://a.example/e/win?t=1"})
	if err != nil || string(request) != "GET /x/e/win?t=1 HTTP/1.1\r\nHost: bidder\r\n\r\n" {
		t.Errorf("appendGet = %q, %v", request, err)
	}
}

func TestProgressLine(t *testing.T) {
	var out bytes.Buffer
	printProgress(&out, 12*time.Second, moment{auctions: 1000, answered: 500, bids: 550, wins: 100, impressions: 98, clicks: 1, spent: rtb.Unit},
		moment{auctions: 3000, answered: 1900, bids: 2050, wins: 700, impressions: 680, clicks: 7, spent: 3 * rtb.Unit / 2})
	want := "  12s  2000 req/s  70% bid  40% won   total $1.50  CPM 2.21  CTR 1.03%\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

// What people read is rounded; what programs read is exact.
func TestScorecardForPeople(t *testing.T) {
	card := Scorecard{Bids: 1, Wins: 1, Impressions: 1, Clicks: 1, Conversions: 1, Spend: "6.58123", AvgCPM: "3.8", Losses: map[string]int{"103": 1},
		Creatives: []Share{{CID: "shoes", CRID: "wide", Bids: 1, Wins: 1, Clicks: 1, Spend: "0.00380001"}, {CID: "shoes", CRID: "tall", Spend: "0.00"}}}
	text := card.String()
	for _, want := range []string{"spend        $6.58, average CPM 3.80\n", "1 conversion\n", "lost         103 lost to a bid for a deal: 1\n",
		"wide of shoes: 1 bid, 1 win, 1 click, spend $0.0038\n", "tall of shoes: 0 bids, 0 wins, 0 clicks, spend $0.00\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	exact, err := json.Marshal(card)
	if err != nil || !strings.Contains(string(exact), `"spend":"6.58123"`) {
		t.Errorf("%s, %v", exact, err)
	}
}
