package main

import (
	"image"
	"image/gif"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const landing = "https://acme.example/spring?from=ad&to=%C3%A4"

// secured is a program whose exchanges are told another address than the one
// that it listens on, as behind a proxy.
func secured(t *testing.T) *program {
	p := serve(t, "--public-url", "https://bid.example.com")
	p.apply(shop)
	p.awaitExplained(`"outcome":"bid"`) // its budget is leased
	return p
}

// reach rewrites a notice's address to the listener and fills in the price.
func (p *program) reach(notice, price string) string {
	p.t.Helper()
	path, ours := strings.CutPrefix(notice, "https://bid.example.com/e/")
	if !ours {
		p.t.Fatalf("notice %q is not below the public address", notice)
	}
	return "http://" + p.bid + "/e/" + strings.NewReplacer("${AUCTION_PRICE}", price, "&amp;", "&").Replace(path)
}

var (
	pixelInMarkup  = regexp.MustCompile(`https://bid\.example\.com/e/view\?[^"' ]+`)
	productInClick = regexp.MustCompile(`\?i=([a-z]+)&`)
	clickInMarkup  = regexp.MustCompile(`https://bid\.example\.com/e/click\?[^"' ]+`)
)

// answer is all that a notice's answer may say.
type answer struct {
	status                  int
	contentType, body, goes string
}

func (p *program) notify(url string) answer {
	p.t.Helper()
	resp, err := p.http.Get(url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body strings.Builder
	if err := resp.Write(&body); err != nil {
		p.t.Fatal(err)
	}
	_, text, _ := strings.Cut(body.String(), "\r\n\r\n")
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), text, resp.Header.Get("Location")}
}

func TestNotices(t *testing.T) {
	p := secured(t)
	b := p.mustBid(request)
	if held := p.pacing("everyone"); held.Held != "0.01" || held.Spent != "0.00" {
		t.Fatalf("%+v after a bid of 10 CPM", held)
	}
	for range 2 { // an exchange may call twice
		if got := p.notify(p.reach(b.NURL, "8.5")); got != (answer{status: 204}) {
			t.Errorf("nurl: %+v", got)
		}
		if got := p.notify(p.reach(b.BURL, "8.5")); got != (answer{status: 204}) {
			t.Errorf("burl: %+v", got)
		}
		p.awaitMoney("everyone", "0.0085", "0.00")
	}

	pixel, click := pixelInMarkup.FindString(b.AdM), clickInMarkup.FindString(b.AdM)
	for range 2 {
		got := p.notify(p.reach(strings.ReplaceAll(pixel, "&amp;", "&"), "8.5"))
		if got.status != 200 || got.contentType != "image/gif" || len(got.body) != 43 {
			t.Errorf("pixel: %+v", got)
		}
		if picture, err := gif.Decode(strings.NewReader(got.body)); err != nil || picture.Bounds() != image.Rect(0, 0, 1, 1) {
			t.Errorf("pixel: %v, %v", picture, err)
		}
		if got := p.notify(p.reach(click, "")); got.status != http.StatusFound || got.goes != landing || got.body != "" {
			t.Errorf("click: %+v", got)
		}
	}
	// A click leads to where its own token says, whatever else the address says.
	if got := p.notify(p.reach(click, "") + "&url=https://evil.example/&r=//evil.example&d=evil.example"); got.goes != landing {
		t.Errorf("click with an address: %+v", got)
	}
	wide := p.mustBid(strings.Replace(request, `"w":300,"h":250`, `"w":728,"h":90`, 1))
	if got := p.notify(p.reach(clickInMarkup.FindString(wide.AdM), "")); got.goes != "https://acme.example/wide" {
		t.Errorf("click on the other creative: %+v", got)
	}

	lost := p.mustBid(request)
	for range 2 {
		if got := p.notify(p.reach(lost.LURL, "11")); got != (answer{status: 204}) {
			t.Errorf("lurl: %+v", got)
		}
		p.awaitMoney("everyone", "0.0085", "0.01") // wide is open
	}
}

// A click on a template leads to the product that was shown, and nothing that
// an address says leads to anything else.
func TestClicksOnProducts(t *testing.T) {
	p := serve(t, "--public-url", "https://bid.example.com")
	p.apply(strings.Replace(shop, `type: banner, width: 300, height: 250, image: "https://cdn.example/a.jpg"`,
		`type: banner, width: 300, height: 250, html: '<a href="{PRODUCT_URL}">{PRODUCT_TITLE}</a>', products: [`+
			`{id: boot, title: "Boot & Co", url: "https://acme.example/boot?l={LINE_ITEM}"}, {id: sock, title: Sock}]`, 1))
	p.awaitExplained(`"outcome":"bid"`)
	leads := map[string]string{"boot": "https://acme.example/boot?l=everyone", "sock": landing}
	seen := map[string]bool{}
	for i := 0; len(seen) < len(leads) && i < 200; i++ {
		b := p.mustBid(request)
		click := clickInMarkup.FindString(b.AdM)
		product := productInClick.FindStringSubmatch(click)
		if product == nil {
			t.Fatalf("click %q names no product", click)
		}
		title := map[string]string{"boot": ">Boot &amp; Co<", "sock": ">Sock<"}[product[1]]
		if seen[product[1]] = true; !strings.Contains(b.AdM, title) {
			t.Errorf("markup of %s: %s", product[1], b.AdM)
		}
		if got := p.notify(p.reach(click, "")); got.goes != leads[product[1]] {
			t.Errorf("%s: a click leads to %q, want %q", product[1], got.goes, leads[product[1]])
		}
		for altered, want := range map[string]string{"i=boot": leads["boot"], "i=nothing": landing, "i=https://evil.example/": landing, "i=": landing} {
			if got := p.notify(strings.Replace(p.reach(click, ""), "i="+product[1], altered, 1)); got.goes != want {
				t.Errorf("%s: a click leads to %q, want %q", altered, got.goes, want)
			}
		}
	}
	if len(seen) != len(leads) {
		t.Errorf("200 bids showed %v, want both", seen)
	}
}

// What a click is handed comes back as a conversion, and a browser can say no
// more than a browser may.
func TestNoticesOfEveryClass(t *testing.T) {
	p := secured(t)
	p.apply(strings.Replace(shop, landing, "https://acme.example/{CAMPAIGN}/{LINE_ITEM}/{CREATIVE}?x={EXCHANGE}&c={CLICK_ID}", 1))
	b, to := p.mustBid(request), ""
	eventually(t, patience, "the new landing page", func() bool {
		to = p.notify(p.reach(clickInMarkup.FindString(b.AdM), "")).goes
		return to != landing
	})
	id, ok := strings.CutPrefix(to, "https://acme.example/spring/everyone/picture?x=generic&c=")
	if !ok {
		t.Fatalf("a click leads to %q", to)
	}
	for range 2 {
		if got := p.notify("http://" + p.bid + "/e/conversion?t=" + id + "&v=12.50"); got.status != 200 || got.contentType != "image/gif" {
			t.Errorf("conversion: %+v", got)
		}
	}
	view := p.reach(pixelInMarkup.FindString(b.AdM), "")
	browser, _, _ := strings.Cut(strings.SplitAfter(p.reach(clickInMarkup.FindString(b.AdM), ""), "?t=")[1], "&")
	if got := p.notify("http://" + p.bid + "/e/view?t=" + browser + "&v=viewable"); got.status != 200 {
		t.Errorf("viewable: %+v", got)
	}

	before := p.pacing("everyone")
	pixel, _, _ := strings.Cut(strings.SplitAfter(view, "?t=")[1], "&")
	server, _, _ := strings.Cut(strings.SplitAfter(b.BURL, "?t=")[1], "&")
	for path, tokens := range map[string][]string{
		"win": {browser, id}, "bill": {browser, id}, "loss": {browser, id},
		"view": {server, id, browser}, "click": {server, id, pixel}, "video": {server, id, pixel}, "conversion": {server, browser},
	} {
		for _, token := range tokens {
			if got := p.notify("http://" + p.bid + "/e/" + path + "?v=start&p=8&t=" + token); got.status != 400 || got.goes != "" {
				t.Errorf("%s with a token of another class: %+v", path, got)
			}
		}
	}
	if got := p.pacing("everyone"); got != before {
		t.Errorf("%+v, was %+v", got, before)
	}
}

func TestNoticesWithAlteredTokens(t *testing.T) {
	p := secured(t)
	b := p.mustBid(request)
	before := p.pacing("everyone")
	for _, notice := range []string{b.NURL, b.BURL, b.LURL, clickInMarkup.FindString(b.AdM)} {
		url := p.reach(notice, "8.5")
		at := strings.Index(url, "?t=") + 3
		for _, altered := range []string{
			url[:at+5] + string(url[at+5]^1) + url[at+6:],
			url[:at] + "A" + url[at:],
			url[:at] + url[at+1:],
			url[:at],
			url[:at-3],
			url[:at] + "%00%ff" + url[at:],
			url[:at] + strings.Repeat("A", 8000),
		} {
			if got := p.notify(altered); got.status != 400 || got.goes != "" {
				t.Errorf("%.80s…: %+v", altered, got)
			}
		}
	}
	if got := p.pacing("everyone"); got != before {
		t.Errorf("%+v, was %+v", got, before)
	}
	for path, status := range map[string]int{"/e/": 404, "/e/conversion?t=x": 400, "/e/conversions?t=x": 404, "/": 404, "/e/win/": 404, "/metrics": 404, "/v1/apply": 404, "/debug/pprof/": 404} {
		if got := p.notify("http://" + p.bid + path); got.status != status {
			t.Errorf("%s: %+v, want %d", path, got, status)
		}
	}
}

// An impression without a price spends nothing; one whose price cannot be read
// cost something, so it spends what was bid.
func TestNoticesWithoutAPrice(t *testing.T) {
	p := secured(t)
	for _, price := range []string{"", "${AUCTION_PRICE}", "%24%7BAUCTION_PRICE%7D", "AUDIT", "audit", "free", "-4", "1e400", "NaN", "99999999999"} {
		b := p.mustBid(request)
		for _, notice := range []string{b.NURL, b.BURL} {
			if got := p.notify(p.reach(notice, price)); got != (answer{status: 204}) {
				t.Errorf("price %q: %+v", price, got)
			}
		}
	}
	p.awaitMoney("everyone", "0.05", "0.05")
}

// An exchange that reports a loss after it billed must not free the money of
// other bids.
func TestNoticesOfBothOutcomes(t *testing.T) {
	p := secured(t)
	billed, lost, _ := p.mustBid(request), p.mustBid(request), p.mustBid(request)
	for _, notice := range []string{billed.NURL, billed.BURL, billed.LURL} {
		p.notify(p.reach(notice, "8"))
	}
	p.awaitMoney("everyone", "0.008", "0.02") // two bids are open
	for _, notice := range []string{lost.LURL, lost.NURL, lost.BURL} {
		p.notify(p.reach(notice, "8"))
	}
	p.awaitMoney("everyone", "0.016", "0.01") // both are billed and one bid is open
}
