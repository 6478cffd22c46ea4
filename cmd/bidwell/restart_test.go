package main

import (
	"net/http"
	"strings"
	"testing"
)

// What was spent is spent after a restart, notices that came before are
// repeats, and an ad of a line item that is paused still leads to its page.
func TestRestartKeepsMoney(t *testing.T) {
	p := secured(t)
	b := p.mustBid(request)
	bill := p.reach(b.BURL, "8.5")
	if got := p.notify(bill); got != (answer{status: 204}) {
		t.Fatalf("burl: %+v", got)
	}
	p.awaitMoney("everyone", "0.0085", "0.00")
	p.apply(strings.Replace(shop, "name: Everyone", "name: Everyone, status: paused", 1))
	p.awaitKnown("everyone", false)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	again := serve(t, "--public-url", "https://bid.example.com", "--data", p.data)
	if got := again.notify(again.reach(clickInMarkup.FindString(b.AdM), "")); got.status != http.StatusFound || got.goes != landing {
		t.Errorf("click on an ad of a paused line item: %+v", got)
	}
	again.apply(shop)
	again.awaitExplained(`"outcome":"bid"`)
	for range 2 {
		if got := again.notify(again.reach(b.BURL, "8.5")); got != (answer{status: 204}) {
			t.Errorf("burl again: %+v", got)
		}
	}
	late := again.mustBid(request)
	if got := again.notify(again.reach(late.BURL, "1")); got != (answer{status: 204}) {
		t.Errorf("burl of a new bid: %+v", got)
	}
	again.awaitMoney("everyone", "0.0095", "0.00") // the repeats came before it in the log
}
