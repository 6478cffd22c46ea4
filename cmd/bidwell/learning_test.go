package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// clickRate is what the bidder believes of the request's ad.
func (p *program) clickRate() float64 {
	p.t.Helper()
	var out struct {
		Imps []struct {
			LineItems []struct {
				PCTR float64 `json:"pctr"`
			} `json:"line_items"`
		}
	}
	file := write(p.t, "request.json", request)
	if err := json.Unmarshal([]byte(mustRun(p.t, "explain", file, "--json", p.api())), &out); err != nil {
		p.t.Fatal(err)
	}
	if len(out.Imps) != 1 || len(out.Imps[0].LineItems) != 1 {
		p.t.Fatalf("explained as %+v", out)
	}
	return out.Imps[0].LineItems[0].PCTR
}

// What people click changes what the bidder believes of it, at once and after
// a restart, from what it wrote down or from the log.
func TestBidderLearnsFromClicks(t *testing.T) {
	args := []string{"--public-url", "https://bid.example.com", "--learn.click-wait", "1s", "--learn.every", "50ms", "--learn.bits", "18"}
	p := serve(t, args...)
	p.apply(shop)
	p.awaitExplained(`"outcome":"bid"`)
	before := p.clickRate()
	view := func() bid {
		b := p.mustBid(request)
		if got := p.notify(p.reach(pixelInMarkup.FindString(b.AdM), "")); got.status != http.StatusOK {
			t.Fatalf("view: %+v", got)
		}
		return b
	}
	for range 20 {
		if got := p.notify(p.reach(clickInMarkup.FindString(view().AdM), "")); got.status != http.StatusFound {
			t.Fatalf("click: %+v", got)
		}
	}
	learned := 0.0
	eventually(t, patience, "learned from clicks", func() bool {
		// Time goes on by what happens.
		if got := p.notify(p.reach(p.mustBid(request).NURL, "1")); got.status != http.StatusNoContent {
			t.Fatalf("nurl: %+v", got)
		}
		learned = p.clickRate()
		return learned > 5*before
	})
	wantText(t, mustRun(t, "report", "maturity", p.api()), "CAMPAIGN", "IN AN HOUR", "\nspring", "\nall", " 20 ")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.data, "learner")
	for _, how := range []string{"from the file", "from the log", "from the log, as the file is damaged"} {
		p = serve(t, append(args, "--data", p.data)...)
		p.awaitExplained(`"outcome":"bid"`)
		eventually(t, patience, "known "+how, func() bool { return p.clickRate() > learned/3 })
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if how == "from the file" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(file, []byte("bidwell learner\n\x01 and something else"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
