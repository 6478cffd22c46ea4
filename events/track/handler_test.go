package track

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"bidwell/events"
	"bidwell/rtb"
)

var testNow = time.UnixMilli(1_900_000_000_123)

// fixture is a Handler with what it was asked to write.
type fixture struct {
	*Handler
	written   []rtb.Event
	deadlines []time.Time
	fail      error // of Write
	bids      uint64
}

func newFixture(t testing.TB) *fixture {
	keys, err := events.NewKeyring([]events.Key{{ID: 1, Secret: [32]byte{1}}})
	if err != nil {
		t.Fatal(err)
	}
	landing, err := rtb.ParseLanding("https://shoes.example/{CAMPAIGN}/{LINE_ITEM}?c={CLICK_ID}&b={BID_ID}&x={EXCHANGE}&r={CACHE_BUSTER}")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{}
	f.Handler = New(Parts{
		Keys:    keys,
		Repeats: events.NewDedup(10),
		Price: func(_ rtb.ExchangeID, macro []byte) (rtb.Money, error) {
			switch string(macro) {
			case "":
				return 0, ErrNoPrice
			case "${AUCTION_PRICE}":
				return 0, ErrUnexpanded
			case "AUDIT":
				return 0, ErrAudit
			case "sealed":
				return rtb.UnreadablePrice, ErrNoKeys
			}
			price, err := rtb.ParseCPM(string(macro))
			if err != nil {
				price = rtb.UnreadablePrice
			}
			return price, err
		},
		Bill: func(e *rtb.Event) {
			if e.Billing = e.Type == rtb.EventBill; e.Billing {
				e.Charge = max(0, e.Price)
			}
		},
		Write: func(e *rtb.Event, deadline time.Time) error {
			f.written, f.deadlines = append(f.written, *e), append(f.deadlines, deadline)
			return f.fail
		},
		Landing: func(e *rtb.Event, click *rtb.Click) *rtb.Landing {
			click.Campaign, click.LineItem, click.Exchange = "spring", "a b", "google"
			if e.Creative == 7 {
				return landing
			}
			return nil
		},
	})
	return f
}

// bid is a new bid on a creative, made just now.
func (f *fixture) bid(creative rtb.CreativeID) rtb.Event {
	f.bids++
	return rtb.Event{
		Bid: events.NewBidID(f.bids, f.bids<<7), Creative: creative, LineItem: 3, Campaign: 4, Node: 5, Cost: rtb.OneCPM,
		Fees: rtb.Fees{Share: 100}, Currency: rtb.USD, Made: testNow.Add(-time.Minute),
	}
}

func (f *fixture) token(class events.Class, e rtb.Event) string {
	return string(f.Keys.AppendToken(nil, class, &e))
}

func (f *fixture) serve(method, uri, body string) *fasthttp.RequestCtx {
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI("http://bid.example" + uri)
	if body != "" {
		req.Header.SetContentType("application/x-www-form-urlencoded")
		req.SetBodyString(body)
	}
	ctx := &fasthttp.RequestCtx{}
	ctx.Init(&req, nil, nil)
	f.Serve(ctx, testNow)
	return ctx
}

func (f *fixture) get(uri string) *fasthttp.Response { return &f.serve("GET", uri, "").Response }

// notice is one kind of notice and its answer when all is well.
type notice struct {
	path, query string
	class       events.Class
	status      int
	want        rtb.Event // what the notice adds
}

var allNotices = []notice{
	{"/e/win", "&p=2.5&m=3.25", events.Server, 204, rtb.Event{Type: rtb.EventWin, Price: rtb.FromCPM(2.5), MinToWin: rtb.FromCPM(3.25)}},
	{"/e/bill", "&p=2.5", events.Server, 204, rtb.Event{Type: rtb.EventBill, Price: rtb.FromCPM(2.5), Billing: true, Charge: rtb.FromCPM(2.5)}},
	{"/e/loss", "&p=4&r=102&m=4.01", events.Server, 204, rtb.Event{Type: rtb.EventLoss, Price: rtb.FromCPM(4), Reason: 102, MinToWin: rtb.FromCPM(4.01)}},
	{"/e/view", "&p=2.5", events.View, 200, rtb.Event{Type: rtb.EventView, Price: rtb.FromCPM(2.5)}},
	{"/e/view", "&v=viewable", events.Browser, 200, rtb.Event{Type: rtb.EventViewable}},
	{"/e/click", "", events.Browser, 302, rtb.Event{Type: rtb.EventClick}},
	{"/e/video", "&v=start", events.Browser, 200, rtb.Event{Type: rtb.EventVideo, Part: 1}},
	{"/e/video", "&v=firstQuartile", events.Browser, 200, rtb.Event{Type: rtb.EventVideo, Part: 2}},
	{"/e/video", "&v=midpoint", events.Browser, 200, rtb.Event{Type: rtb.EventVideo, Part: 3}},
	{"/e/video", "&v=thirdQuartile", events.Browser, 200, rtb.Event{Type: rtb.EventVideo, Part: 4}},
	{"/e/video", "&v=complete", events.Browser, 200, rtb.Event{Type: rtb.EventVideo, Part: 5}},
	{"/e/conversion", "&v=12.50", events.Conversion, 200, rtb.Event{Type: rtb.EventConversion, Value: 12*rtb.Unit + rtb.Unit/2}},
	{"/e/conversion", "", events.Conversion, 200, rtb.Event{Type: rtb.EventConversion}},
}

// checkAnswer wants the answer of a notice that is good, or of one that is not.
func checkAnswer(t *testing.T, got *fasthttp.Response, status int) {
	t.Helper()
	if got.StatusCode() != status {
		t.Errorf("status %d %q, want %d", got.StatusCode(), got.Body(), status)
	}
	location := string(got.Header.Peek("Location"))
	if (location != "") != (status == 302) || location != "" && !strings.HasPrefix(location, "https://shoes.example/spring/a%20b?c=") {
		t.Errorf("status %d leads to %q", status, location)
	}
	if (string(got.Header.ContentType()) == "image/gif") != (status == 200) || status == 200 && !bytes.Equal(got.Body(), pixel) {
		t.Errorf("status %d with a %s of %d bytes", status, got.Header.ContentType(), len(got.Body()))
	}
	if retry := string(got.Header.Peek("Retry-After")); (retry == "1") != (status == 429) {
		t.Errorf("status %d with Retry-After %q", status, retry)
	}
	if none := status != 200 && status != 400; none != (len(got.Body()) == 0) {
		t.Errorf("status %d with the body %q", status, got.Body())
	}
}

// became runs a notice and returns which of its results was counted.
func became(t *testing.T, of rtb.EventType, run func()) string {
	t.Helper()
	var before [resultCount]uint64
	for r := range before {
		before[r] = notices[of][r].Get()
	}
	run()
	name := ""
	for r := range before {
		if n := notices[of][r].Get() - before[r]; n == 1 && name == "" {
			name = resultNames[r]
		} else if n != 0 {
			t.Errorf("%s and %d times %s counted of one notice", name, n, resultNames[r])
		}
	}
	return name
}

// Each notice with each class of token, at each age, once and again.
func TestNotices(t *testing.T) {
	ages := []struct {
		name string
		made time.Duration // before now
		far  map[events.Class]string
	}{
		{"now", 0, nil},
		{"from a clock that is ahead", -10 * time.Minute, nil},
		{"from the future", -10*time.Minute - time.Millisecond, map[events.Class]string{events.Server: "premature", events.Browser: "premature", events.Conversion: "premature", events.View: "premature"}},
		{"a day old", 24 * time.Hour, nil},
		{"more than a day old", 24*time.Hour + time.Millisecond, map[events.Class]string{events.Server: "expired", events.Browser: "expired", events.View: "expired"}},
		{"thirty days old", 30 * 24 * time.Hour, map[events.Class]string{events.Server: "expired", events.Browser: "expired", events.View: "expired"}},
		{"more than that", 30*24*time.Hour + time.Millisecond, map[events.Class]string{events.Server: "expired", events.Browser: "expired", events.View: "expired", events.Conversion: "expired"}},
	}
	for _, n := range allNotices {
		for class := events.Server; class <= events.Conversion; class++ {
			for _, age := range ages {
				t.Run(fmt.Sprintf("%s%s class %d %s", n.path, n.query, class, age.name), func(t *testing.T) {
					f := newFixture(t)
					bid := f.bid(7)
					bid.Made = testNow.Add(-age.made)
					uri := n.path + "?t=" + f.token(class, bid) + n.query
					status, result := n.status, "accepted"
					if class != n.class {
						status, result = 400, "wrong-class"
					} else if far := age.far[class]; far != "" {
						if result = far; n.want.Type != rtb.EventClick { // a click leads somewhere all the same
							status = 400
						}
					}
					for range 3 { // a repeat is answered like the first
						got := became(t, n.want.Type, func() { checkAnswer(t, f.get(uri), status) })
						if got != result {
							t.Errorf("counted as %q, want %q", got, result)
						}
						if result == "accepted" {
							result = "repeated"
						}
					}
					if result != "repeated" {
						if len(f.written) != 0 {
							t.Errorf("written %+v", f.written)
						}
						return
					}
					want := bid
					want.Type, want.Time, want.Price, want.Reason, want.MinToWin = n.want.Type, testNow, n.want.Price, n.want.Reason, n.want.MinToWin
					want.Part, want.Value, want.Billing, want.Charge = n.want.Part, n.want.Value, n.want.Billing, n.want.Charge
					if len(f.written) != 1 || f.written[0] != want {
						t.Errorf("written %+v, want once %+v", f.written, want)
					}
				})
			}
		}
	}
}

// A price in any form never fails a notice; the form is counted.
func TestNoticesWithEveryPrice(t *testing.T) {
	forms := []struct {
		macro, form string
		price       rtb.Money
		billing     bool
	}{
		{"2.5", "read", rtb.FromCPM(2.5), true},
		{"0", "read", 0, true},
		{"", "blank", 0, true},
		{"${AUCTION_PRICE}", "unexpanded", 0, true},
		{"%24%7BAUCTION_PRICE%7D", "unexpanded", 0, true},
		{"AUDIT", "audit", 0, false},
		{"sealed", "no-keys", rtb.UnreadablePrice, true},
		{"free", "unreadable", rtb.UnreadablePrice, true},
		{"-1x", "unreadable", rtb.UnreadablePrice, true},
		{"%00%ff%zz", "unreadable", rtb.UnreadablePrice, true},
	}
	for _, n := range allNotices[:4] {
		for i, form := range forms {
			f := newFixture(t)
			uri := n.path + "?t=" + f.token(n.class, f.bid(7)) + "&p="
			counter := prices[n.want.Type][slices.Index(formNames[:], form.form)]
			before := counter.Get()
			checkAnswer(t, f.get(uri+form.macro), n.status)
			if len(f.written) != 1 || f.written[0].Price != form.price || counter.Get() != before+1 {
				t.Fatalf("%s with the price %q: written %+v, counted %d times as %s", n.path, form.macro, f.written, counter.Get()-before, form.form)
			}
			charge := rtb.Money(0)
			if n.want.Billing {
				charge = max(0, form.price)
			}
			if e := f.written[0]; e.Billing != (form.billing && n.want.Billing) || e.Charge != charge {
				t.Errorf("%s with the price %q: billing %t, charge %s", n.path, form.macro, e.Billing, e.Charge)
			}
			// A later notice with a price says more; one without says less.
			for _, again := range []string{forms[(i+1)%len(forms)].macro, "7", "", "7"} {
				f.get(uri + again)
			}
			priced := 0
			for _, e := range f.written {
				if e.Price != 0 {
					priced++
				}
			}
			if priced != 1 || len(f.written) != 2 {
				t.Errorf("%s after the price %q: %d events written, %d of them with a price", n.path, form.macro, len(f.written), priced)
			}
		}
	}
}

// What an exchange does not fill in says nothing, and nothing of it fails.
func TestNoticesWithOtherMacros(t *testing.T) {
	for macro, want := range map[string]rtb.Event{
		"&r=102&m=1.5":     {Reason: 102, MinToWin: rtb.FromCPM(1.5)},
		"&r=65535&m=1e-3":  {Reason: 65535, MinToWin: rtb.FromCPM(0.001)},
		"&r=65536&m=-1":    {},
		"&r=-1&m=1e400":    {},
		"&r=&m=":           {},
		"":                 {},
		"&r=AUDIT&m=AUDIT": {},
		"&r=${AUCTION_LOSS}&m=${AUCTION_MIN_TO_WIN}": {},
		"&r=1.0&m=NaN":                  {},
		"&r=999999&m=1000001":           {},
		"&r=1&r=2&m=0x10&m=1":           {Reason: 1},
		"&m=" + strings.Repeat("1", 40): {},
	} {
		f := newFixture(t)
		checkAnswer(t, f.get("/e/loss?t="+f.token(events.Server, f.bid(7))+macro), 204)
		if len(f.written) != 1 || f.written[0].Reason != want.Reason || f.written[0].MinToWin != want.MinToWin {
			t.Errorf("%s: written %+v, want reason %d and %s", macro, f.written, want.Reason, want.MinToWin)
		}
	}
}

func TestNoticesRefused(t *testing.T) {
	f := newFixture(t)
	browser, conversion := f.token(events.Browser, f.bid(7)), f.token(events.Conversion, f.bid(7))
	other, err := events.NewKeyring([]events.Key{{ID: 2, Secret: [32]byte{2}}})
	if err != nil {
		t.Fatal(err)
	}
	bid := f.bid(7)
	tests := []struct{ uri, result, says string }{
		{"/e/click", "malformed", "t: "},
		{"/e/click?t=", "malformed", "t: "},
		{"/e/click?t=" + browser[1:], "malformed", "t: "},
		{"/e/click?t=" + browser + "A", "malformed", "t: "},
		{"/e/click?t=${TOKEN}", "malformed", "t: "},
		{"/e/click?t=" + strings.Repeat("A", 8000), "malformed", "t: "},
		{"/e/click?t=" + browser[:40] + string(browser[40]^1) + browser[41:], "forged", "t: "},
		{"/e/click?t=" + string(other.AppendToken(nil, events.Browser, &bid)), "unknown-key", "t: "},
		{"/e/video?t=" + browser, "unknown-part", "v: "},
		{"/e/video?t=" + browser + "&v=loop", "unknown-part", "v: "},
		{"/e/conversion?t=" + conversion + "&v=12,50", "bad-value", "v: "},
		{"/e/conversion?t=" + conversion + "&v=-1", "bad-value", "v: "},
		{"/e/conversion?t=" + conversion + "&v=1e3", "bad-value", "v: "},
		{"/e/conversion?t=" + conversion + "&v=10000000.000000001", "bad-value", "v: "},
		{"/e/conversion?t=" + conversion + "&v={VALUE}", "bad-value", "v: "},
		{"/e/conversion?t=" + conversion + "&v=99999999999999999999", "bad-value", "v: "},
	}
	for _, tt := range tests {
		of := map[byte]rtb.EventType{'l': rtb.EventClick, 'i': rtb.EventVideo, 'o': rtb.EventConversion}[tt.uri[4]]
		result := became(t, of, func() {
			got := f.get(tt.uri)
			checkAnswer(t, got, 400)
			if !strings.HasPrefix(string(got.Body()), tt.says) {
				t.Errorf("%.60s: told %q", tt.uri, got.Body())
			}
		})
		if result != tt.result {
			t.Errorf("%.60s: counted as %q, want %q", tt.uri, result, tt.result)
		}
	}
	for path, status := range map[string]int{"/e/": 404, "/e/other": 404, "/e/win/": 404, "/e/viewable": 404, "/e/bid": 404, "/e/WIN": 404} {
		if got := f.get(path + "?t=" + browser).StatusCode(); got != status {
			t.Errorf("%s: status %d, want %d", path, got, status)
		}
	}
	if got := f.serve("PUT", "/e/click?t="+browser, "").Response.StatusCode(); got != 405 {
		t.Errorf("PUT: status %d, want 405", got)
	}
	if got := f.get("/e/video?t=" + browser + "&v=error&c=405"); got.StatusCode() != 200 {
		t.Errorf("a player's error: status %d", got.StatusCode())
	}
	if len(f.written) != 0 {
		t.Errorf("written %+v", f.written)
	}
}

// Nobody is told that a notice has come before the log has it, and what it did
// not take may come again.
func TestNoticesThatAreNotWritten(t *testing.T) {
	for _, n := range allNotices {
		f := newFixture(t)
		f.fail = errors.New("disk full")
		uri := n.path + "?t=" + f.token(n.class, f.bid(7)) + n.query
		status, wait := 429, maxWait
		if n.want.Type == rtb.EventClick {
			status, wait = 302, maxClickWait
		}
		for range 2 {
			var ctx *fasthttp.RequestCtx
			if result := became(t, n.want.Type, func() { ctx = f.serve("GET", uri, "") }); result != "unwritten" {
				t.Errorf("%s: counted as %q", uri, result)
			}
			checkAnswer(t, &ctx.Response, status)
			if got := f.deadlines[len(f.deadlines)-1]; !got.Equal(ctx.Time().Add(wait)) {
				t.Errorf("%s: deadline %s after it came, want %s", n.path, got.Sub(ctx.Time()), wait)
			}
		}
		f.fail = nil
		if result := became(t, n.want.Type, func() { checkAnswer(t, f.get(uri), n.status) }); result != "accepted" {
			t.Errorf("%s: counted as %q when the log works again", uri, result)
		}
		if len(f.written) != 3 {
			t.Errorf("%s: %d events handed over, want 3", uri, len(f.written))
		}
	}
}

func TestClicks(t *testing.T) {
	f := newFixture(t)
	bid := f.bid(7)
	uri := "/e/click?t=" + f.token(events.Browser, bid)
	location := string(f.get(uri + "&url=https://evil.example/&r=//evil.example").Header.Peek("Location"))
	rest, ok := strings.CutPrefix(location, "https://shoes.example/spring/a%20b?c=")
	if !ok || len(rest) < events.TokenSize {
		t.Fatalf("a click leads to %q", location)
	}
	id, rest := rest[:events.TokenSize], rest[events.TokenSize:]
	if !strings.HasPrefix(rest, "&b=AQ") || !strings.Contains(rest, "&x=google&r=") {
		t.Errorf("a click leads to %q", location)
	}
	// What the landing page was handed is good for a conversion.
	for range 2 {
		checkAnswer(t, f.get("/e/conversion?t="+id+"&v=3"), 200)
	}
	if len(f.written) != 2 || f.written[1].Type != rtb.EventConversion || f.written[1].Bid != bid.Bid || f.written[1].Value != 3*rtb.Unit {
		t.Errorf("written %+v, want a click and a conversion", f.written)
	}

	// Nothing comes of a click that is too late, but for the person.
	bid = f.bid(7)
	bid.Made = testNow.Add(-25 * time.Hour)
	location = string(f.get("/e/click?t=" + f.token(events.Browser, bid)).Header.Peek("Location"))
	if !strings.HasPrefix(location, "https://shoes.example/spring/a%20b?c=&b=") {
		t.Errorf("an expired click leads to %q", location)
	}
	// A creative that leads nowhere.
	checkAnswer(t, f.get("/e/click?t="+f.token(events.Browser, f.bid(8))), 404)
}

// An advertiser's server may send a conversion as a form.
func TestConversionByPost(t *testing.T) {
	f := newFixture(t)
	for i, tt := range []struct{ query, form string }{{"?t=%s&v=2", ""}, {"", "t=%s&v=2"}, {"?v=9", "t=%s&v=2"}, {"?t=%s&v=2", "v=9"}} {
		token := f.token(events.Conversion, f.bid(7))
		uri, body := strings.Replace("/e/conversion"+tt.query, "%s", token, 1), strings.Replace(tt.form, "%s", token, 1)
		checkAnswer(t, &f.serve("POST", uri, body).Response, 200)
		if len(f.written) != i+1 || f.written[i].Value != 2*rtb.Unit {
			t.Fatalf("POST %s with %s: written %+v", uri, body, f.written)
		}
	}
	// Other notices have all in their address.
	if got := f.serve("POST", "/e/bill", "t="+f.token(events.Server, f.bid(7))).Response.StatusCode(); got != 400 {
		t.Errorf("a form as billing: status %d", got)
	}
}

// quick is a fixture whose log keeps nothing.
func quick(t testing.TB) *fixture {
	f := newFixture(t)
	f.Write = func(*rtb.Event, time.Time) error { return nil }
	return f
}

// server answers notices of one kind, each of another bid, as one connection
// does: the memory of a request serves the next one too.
func (f *fixture) server(n notice, count int) (serve func()) {
	uris := make([][]byte, count)
	for i := range uris {
		uris[i] = []byte("http://bid.example" + n.path + "?t=" + f.token(n.class, f.bid(7)) + n.query)
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	i := 0
	return func() {
		ctx.Request.SetRequestURIBytes(uris[i%count])
		f.Serve(&ctx, testNow)
		i++
	}
}

func TestServeDoesNotAllocate(t *testing.T) {
	f := quick(t)
	for _, n := range allNotices {
		serve := f.server(n, 202)
		for range 100 {
			serve()
		}
		if allocs := testing.AllocsPerRun(100, serve); allocs != 0 {
			t.Errorf("%s%s allocates %v times, want 0", n.path, n.query, allocs)
		}
	}
}

// Whatever a request says, the answer is one of those that are promised.
func FuzzServe(f *testing.F) {
	fix := newFixture(f)
	for _, n := range allNotices {
		f.Add(n.path+"?t="+fix.token(n.class, fix.bid(7))+n.query, "")
	}
	f.Add("/e/conversion", "t=x&v=1")
	f.Fuzz(func(t *testing.T, uri, body string) {
		if !strings.HasPrefix(uri, Prefix) || strings.ContainsAny(uri, "\r\n\x00 #") {
			return
		}
		fix.written = fix.written[:0]
		var req fasthttp.Request
		req.Header.SetMethod("POST")
		req.SetRequestURI("http://bid.example" + uri)
		if !bytes.HasPrefix(req.URI().Path(), []byte(Prefix)) {
			return // the router sends it elsewhere
		}
		req.SetBodyString(body)
		got := &fix.serve("POST", uri, body).Response
		if status := got.StatusCode(); !slices.Contains([]int{200, 204, 302, 400, 404}, status) {
			t.Errorf("status %d", status)
		}
		if to := string(got.Header.Peek("Location")); to != "" && !strings.HasPrefix(to, "https://shoes.example/spring/") {
			t.Errorf("leads to %q", to)
		}
	})
}

// The work on one notice beyond that of the HTTP server: without the log.
func BenchmarkServe(b *testing.B) {
	for _, n := range []notice{allNotices[1], allNotices[3], allNotices[5], allNotices[6]} {
		b.Run(n.want.Type.String(), func(b *testing.B) {
			f := quick(b)
			serve := f.server(n, 1024)
			f.Repeats = events.NewDedup(4) // so small that each comes as the first
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}
