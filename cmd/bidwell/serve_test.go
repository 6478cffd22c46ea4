package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// shop is one advertiser with a line item for everyone.
const shop = `
advertisers:
  acme: {name: Acme, domains: [acme.example], categories: [IAB18]}
campaigns:
  spring: {advertiser: acme, name: Spring}
creatives:
  picture: {advertiser: acme, type: banner, width: 300, height: 250, image: "https://cdn.example/a.jpg", click_url: "https://acme.example/spring?from=ad&to=%C3%A4"}
  wide: {advertiser: acme, type: banner, width: 728, height: 90, image: "https://cdn.example/b.jpg", click_url: "https://acme.example/wide"}
line-items:
  everyone: {campaign: spring, name: Everyone, pacing: asap, goal: {type: cpm, value: "10.00"}, creatives: [picture, wide]}
`

const (
	request = `{"id":"r","at":2,"tmax":5000,"cur":["USD"],"imp":[{"id":"1","banner":{"w":300,"h":250},"bidfloor":0.5}],` +
		`"site":{"id":"s","domain":"news.example"},"device":{"ua":"Mozilla/5.0","ip":"203.0.113.7","ifa":"IFA"}}`
	ann = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
	bob = "0d2c5f7a-91e4-4a7e-9b2f-7f3c1c5264de"
)

// from is a request from a device.
func from(device string) string { return strings.Replace(request, "IFA", device, 1) }

func TestServeApplyAndBid(t *testing.T) {
	p := serve(t, "--reload", "100ms")
	p.mustNotBid(request)
	wantText(t, p.apply(shop), "created   line-items/everyone", "5 created, 0 updated, 0 unchanged")
	if out := p.apply(shop); out != "0 created, 0 updated, 5 unchanged\n" {
		t.Errorf("applied again: %s", out)
	}
	p.await(request, true)

	b := p.mustBid(request)
	if b.ImpID != "1" || b.W != 300 || b.H != 250 || b.Price != 10 {
		t.Errorf("bid %+v", b)
	}
	wantText(t, b.AdM, "https://cdn.example/a.jpg", "http://"+p.bid+"/e/view?t=")
	wide := p.mustBid(strings.Replace(request, `"w":300,"h":250`, `"w":728,"h":90`, 1))
	wantText(t, wide.AdM, "https://cdn.example/b.jpg")
	if wide.CRID == b.CRID {
		t.Errorf("two creatives are %q", b.CRID)
	}
	p.mustNotBid(strings.Replace(request, `"bidfloor":0.5`, `"bidfloor":10.01`, 1))
	p.mustNotBid(strings.Replace(request, `"w":300`, `"w":320`, 1))

	paused := strings.Replace(shop, "name: Everyone", "name: Everyone, status: paused", 1)
	wantText(t, p.apply(paused), "updated   line-items/everyone", "0 created, 1 updated, 4 unchanged")
	eventually(t, time.Second, "no bid after the line item was paused", func() bool {
		status, _ := p.post(request)
		return status == http.StatusNoContent
	})
	if got := p.pacing("everyone"); got.State != "ended" || got.Held == "0.00" {
		t.Errorf("%+v of a paused line item, want what it holds", got)
	}
	p.apply(shop)
	p.await(request, true)
	if p.pacing("everyone").State != "serving" {
		t.Error("a line item that bids is not serving")
	}
}

func TestApplyRefuses(t *testing.T) {
	p := serve(t)
	for text, named := range map[string][]string{
		strings.Replace(shop, `value: "10.00"`, `value: "ten"`, 1):     {"documents.yaml:10", "line-item everyone", "goal.value"},
		strings.Replace(shop, `[picture, wide]`, `[picture, tall]`, 1): {"documents.yaml:10", "line-item everyone", "creatives[1]"},
		strings.Replace(shop, `name: Spring}`, `nmae: Spring}`, 1):     {"documents.yaml:5", "campaign spring", "nmae"},
		strings.Replace(shop, "line-items:", "lines:", 1):              {"lines"},
		"advertisers: [": {"documents.yaml"},
		"":               {"no documents"},
	} {
		_, err := command(t, "apply", "-f", write(t, "documents.yaml", text), p.api())
		wantError(t, err, named...)
	}
	if status, body := p.get("http://" + p.admin + "/v1/advertisers"); status != 200 || strings.Contains(body, "acme") {
		t.Errorf("something of a refused file was stored: %s", body)
	}
	_, err := command(t, "apply", "-f", "/nonexistent.yaml", p.api())
	wantError(t, err, "/nonexistent.yaml")
	_, err = command(t, "apply", p.api())
	wantError(t, err, `"file"`)
	_, err = command(t, "apply", "-f", write(t, "documents.yaml", shop), "--admin", "http://"+freeAddress(t))
	wantError(t, err, "connection refused", "is `bidwell serve`")

	out := mustRun(t, "apply", "-f", write(t, "documents.yaml", shop), "--dry-run", "--json", p.api())
	wantText(t, out, `"dry_run":true`, `"created":5`)
	p.mustNotBid(request)
}

// What was spent stays spent, whatever is applied.
func TestApplyDoesNotRestoreABudget(t *testing.T) {
	p := serve(t)
	limited := strings.Replace(shop, "pacing: asap", `pacing: asap, budget: {total: "0.03"}`, 1)
	p.apply(limited)
	p.await(request, true) // 0.01 is held from here on
	for range 2 {
		b := p.mustBid(request)
		if status, _ := p.get(strings.Replace(b.BURL, "${AUCTION_PRICE}", "10", 1)); status != http.StatusNoContent {
			t.Fatalf("burl: status %d", status)
		}
	}
	p.awaitMoney("everyone", "0.02", "0.01")
	p.mustNotBid(request)
	spent := p.pacing("everyone")

	p.apply(limited)
	p.mustNotBid(request)
	p.apply(strings.Replace(limited, "name: Everyone", "name: Everyone, status: paused", 1))
	p.awaitKnown("everyone", false)
	p.apply(strings.Replace(limited, "name: Everyone", "name: All of them", 1))
	p.awaitKnown("everyone", true)
	p.mustNotBid(request)
	if got := p.pacing("everyone"); got != spent {
		t.Errorf("%+v after a pause, want %+v", got, spent)
	}

	p.apply(strings.Replace(limited, "0.03", "0.04", 1))
	p.await(request, true)
	p.mustNotBid(request) // the budget was raised by one impression
}

// awaitExplained waits until the explanation of a bid request says something.
func (p *program) awaitExplained(text string) {
	p.t.Helper()
	file := write(p.t, "request.json", request)
	eventually(p.t, patience, "explained as "+text, func() bool {
		return strings.Contains(mustRun(p.t, "explain", file, "--json", p.api()), text)
	})
}

// awaitKnown waits until the bidder has, or has no longer, a line item.
func (p *program) awaitKnown(item string, known bool) {
	p.t.Helper()
	file := write(p.t, "request.json", request)
	eventually(p.t, patience, "known or not: "+item, func() bool {
		return strings.Contains(mustRun(p.t, "explain", file, "--json", p.api()), `"line_item":"`+item+`"`) == known
	})
}
