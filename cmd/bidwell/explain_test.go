package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bidwell/rtb"
)

func TestExplain(t *testing.T) {
	p := serve(t)
	p.apply(strings.Replace(runners, "line-items:\n", `line-items:
  cheap: {campaign: spring, name: Cheap, pacing: asap, goal: {type: cpm, value: "0.10"}, creatives: [picture]}
  dear: {campaign: spring, name: Dear, pacing: asap, goal: {type: cpm, value: "12.00"}, creatives: [picture]}
  tall: {campaign: spring, name: Tall, pacing: asap, goal: {type: cpm, value: "15.00"}, creatives: [wide]}
`, 1))
	p.awaitExplained(`"outcome":"bid"`) // the budgets are leased
	file := write(t, "request.json", from(ann))

	out := mustRun(t, "explain", file, p.api())
	wantText(t, out, "generic: bid\n", `imp "1": bid, floor 0.5 CPM`, "RANK  LINE ITEM", "segment-missing")
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, " dear ") && (!strings.HasPrefix(line, "1 ") || !strings.Contains(line, " 12 ")) {
			t.Errorf("the winner's line is %q", line)
		}
	}

	var e rtb.Explanation
	text := mustRun(t, "explain", file, "--json", p.api())
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	if e.Exchange != "generic" || e.Outcome != "bid" || len(e.Imps) != 1 || len(e.Imps[0].LineItems) != 4 {
		t.Fatalf("explanation %+v", e)
	}
	stages := map[string]string{}
	for _, l := range e.Imps[0].LineItems {
		stages[l.LineItem] = l.Stage
		if (l.Stage == "bid") != (l.Reason == "") || (l.LineItem == "dear") != (l.Rank == 1) {
			t.Errorf("line item %+v", l)
		}
	}
	for item, stages2 := range map[string]string{"dear": "bid", "cheap": "match price", "tall": "creative", "everyone": "match filter"} {
		if stages[item] == "" || !strings.Contains(stages2, stages[item]) {
			t.Errorf("%s got to %q, want %s", item, stages[item], stages2)
		}
	}
	answer := readBid(t, e.Answer)
	if answer.Price != 12 {
		t.Errorf("answer %s", e.Answer)
	}
	// Its notices are nobody's, and no money is held for it.
	if status, _ := p.get(strings.Replace(answer.BURL, "${AUCTION_PRICE}", "12", 1)); status != 400 {
		t.Errorf("burl of an explanation: status %d", status)
	}
	if got := p.pacing("dear"); got.Held != "0.00" || got.Spent != "0.00" {
		t.Errorf("an explanation costs %+v", got)
	}
	if b := p.mustBid(from(ann)); b.Price != answer.Price {
		t.Errorf("explained %v and bid %v", answer.Price, b.Price)
	}

	none := write(t, "none.json", strings.Replace(from(ann), `"bidfloor":0.5`, `"bidfloor":50`, 1))
	wantText(t, mustRun(t, "explain", none, p.api(), "--exchange", "pubmatic"), "pubmatic: floor-too-high", "floor 50 CPM")
}

// Of a goal of conversions people see how likely one is, in text as in JSON.
func TestExplainShowsConversions(t *testing.T) {
	p := serve(t)
	p.apply(strings.Replace(shop, `{type: cpm, value: "10.00"}`, `{type: cpa, value: "50.00", max_cpm: "500.00"}`, 1))
	p.awaitExplained(`"outcome":"bid"`)
	file := write(t, "request.json", request)
	var e rtb.Explanation
	if err := json.Unmarshal([]byte(mustRun(t, "explain", file, "--json", p.api())), &e); err != nil {
		t.Fatal(err)
	}
	l := e.Imps[0].LineItems[0]
	if l.CTR <= 0 || l.CVR <= 0 || l.CTR == l.CVR {
		t.Fatalf("explained as %+v", l)
	}
	wantText(t, mustRun(t, "explain", file, p.api()), "PCTR    PCVR    VALUE CPM", fmt.Sprintf("  %.3f%%  %.3f%%  %s", 100*l.CTR, 100*l.CVR, l.ValueCPM))
}

func TestExplainRefuses(t *testing.T) {
	p := serve(t)
	for _, c := range []struct {
		request string
		args    []string
		named   []string
	}{
		{request, []string{"--exchange", "bazaar"}, []string{"404", `no exchange "bazaar"`}},
		{"bid please", nil, []string{"not JSON"}},
		{`{"id":"r"}`, nil, []string{"422", "body.request"}},
		{`[]`, nil, []string{"422", "body.request"}},
	} {
		out, err := command(t, append([]string{"explain", write(t, "request.json", c.request), p.api()}, c.args...)...)
		wantError(t, err, c.named...)
		if out != "" {
			t.Errorf("printed %s", out)
		}
	}
	_, err := command(t, "explain", "/nonexistent.json", p.api())
	wantError(t, err, "/nonexistent.json")
	_, err = command(t, "explain", write(t, "request.json", request), "--admin", "http://"+freeAddress(t))
	wantError(t, err, "connection refused", "is `bidwell serve`")
}
