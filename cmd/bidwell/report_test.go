package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
)

func TestReportPacing(t *testing.T) {
	p := serve(t)
	p.apply(strings.Replace(shop, "pacing: asap", `pacing: asap, budget: {total: "5.00", daily: "0.03"}`, 1))
	p.await(request, true) // 0.01 is held from here on
	b := p.mustBid(request)
	if status, _ := p.get(strings.Replace(b.BURL, "${AUCTION_PRICE}", "10", 1)); status != http.StatusNoContent {
		t.Fatalf("burl: status %d", status)
	}
	p.awaitMoney("everyone", "0.01", "0.01")
	out := mustRun(t, "report", "pacing", "everyone", p.api())
	wantText(t, out, "everyone: serving\n", "spent 0.01 today, without a plan", "ACCOUNT", "line-item/everyone", "5.00", "0.03")

	var got admin.Pacing
	if err := json.Unmarshal([]byte(mustRun(t, "report", "pacing", "everyone", "--json", p.api())), &got); err != nil {
		t.Fatal(err)
	}
	if got.State != "serving" || got.Spent != "0.01" || len(got.Accounts) == 0 || got.Accounts[0].Daily != "0.03" {
		t.Errorf("report %+v", got)
	}
	wantText(t, mustRun(t, "report", "discrepancies", "--json", p.api()), `"billed":1,"charged":"0.01"`, `"views_to_billed":{"count":-1,`)
	// The other one has no notices, but is there.
	p.apply(strings.Replace(shop, "line-items:\n", "line-items:\n"+`  other: {campaign: spring, name: Other, status: paused, goal: {type: cpm, value: "1.00"}, creatives: [wide]}`+"\n", 1))
	if out := mustRun(t, "report", "discrepancies", "--line-item", "other", "--exchange", "index", p.api()); out != "no notices\n" {
		t.Errorf("without notices: %q", out)
	}
	_, err := command(t, "report", "discrepancies", "--line-item", "nope", p.api())
	wantError(t, err, `discrepancies: refused with 404: there is no line-item "nope"`)
	_, err = command(t, "report", "discrepancies", "--exchange", "nope", p.api())
	wantError(t, err, `there is no exchange "nope"`)
	_, err = command(t, "report", "pacing", p.api())
	wantError(t, err, "the id of one line item")
	_, err = command(t, "report", "pacing", "nobody", p.api())
	wantError(t, err, "404", `no line-item "nobody"`)
	_, err = command(t, "report", "pacing", "everyone", "--admin", "http://"+freeAddress(t))
	wantError(t, err, "bidwell serve")
}

// printed is how a line item with a day's plan is shown.
func printed(t *testing.T, p *admin.Pacing) string {
	t.Helper()
	var out bytes.Buffer
	if err := printPacing(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPrintPacing(t *testing.T) {
	left := int64(4200)
	p := &admin.Pacing{
		LineItem: "runners", State: "stopped", Stopped: &admin.Stop{Since: "2026-07-01T05:20:00+02:00", Reason: "no notice for 30m although 1200 bids were made"},
		SpentToday: "23.00", PlanOf: "line-item/runners", PlannedToday: "21.501234567", Multiplier: 0.83, BidRate: 1, Expected: &left,
		Caps: []admin.PacingCap{{Per: "click", Limit: "0.60", Actual: "0.57"}, {Per: "conversion", Limit: "25.00"}},
	}
	day := time.Date(2026, 7, 1, 0, 0, 0, 0, time.FixedZone("", 7200))
	for i := range 96 {
		s := admin.PacingSlot{Start: admin.Time(day.Add(time.Duration(i) * 15 * time.Minute).Format(time.RFC3339)), Planned: admin.Amount(fmt.Sprint(i + 1))}
		if i < 22 {
			s.Spent = admin.Amount(fmt.Sprint(i + 2))
		}
		p.Slots = append(p.Slots, s)
	}
	out := printed(t, p)
	wantText(t, out, "runners: stopped\n", "since 2026-07-01T05:20:00+02:00: no notice for 30m", "/v1/line-items/runners/resume",
		"spent 23.00 today, plan 21.5012; bids 0.83 of its value on 100% of its chances, about 4200 more chances today\n",
		"a click may cost 0.60 on average and costs 0.57\n", "a conversion may cost 25.00 on average and costs nothing so far")
	lines := map[string]string{}
	for line := range strings.Lines(out) {
		first, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[first] = strings.TrimSpace(rest)
	}
	for until, want := range map[string]string{
		"01:00": "4        5      1.0%  ██|",
		"05:00": "20       21     1.0%  ████████|",
		"now":   "21.5012  23     1.6%  █████████|",
		"06:00": "24",
		"00:00": "96",
	} {
		if got := lines[until]; !strings.HasPrefix(got, want) {
			t.Errorf("%s shows %q, want %q", until, got, want)
		}
	}
	if n := strings.Count(out, "\n"); n != 5+1+1+25 {
		t.Errorf("%d lines, want one an hour and one for now:\n%s", n, out)
	}

	// Quarters of which nothing is known, such as before a restart, are not now.
	p.PlanOf, p.Slots[9].Spent = "campaign/spring", ""
	out = printed(t, p)
	wantText(t, out, "today, plan of campaign/spring 21.5012; bids")
	if n := strings.Count(out, "\nnow "); n != 1 {
		t.Errorf("%d lines for now:\n%s", n, out)
	}
	// Without a plan there are no hours to come, and nothing to compare with.
	p.PlanOf = ""
	out = printed(t, p)
	wantText(t, out, "today, without a plan; bids", "05:00        21           █████████\n", "now          23           ██████████\n")
	if strings.Contains(out, "06:00") || strings.Contains(out, "|") {
		t.Errorf("without a plan:\n%s", out)
	}

	// A day without money has a plan without a scale; a line item that the
	// bidder does not have has nothing but its state.
	p.Slots = []admin.PacingSlot{{Start: p.Slots[0].Start, Planned: "0.00", Spent: "0.00"}}
	wantText(t, printed(t, p), "00:15")
	if out := printed(t, &admin.Pacing{LineItem: "new", State: "waiting"}); strings.Contains(out, "ACCOUNT") || strings.Contains(out, "UNTIL") {
		t.Errorf("a line item without accounts shows %s", out)
	}
	p.Slots[0].Start = "today"
	if err := printPacing(new(bytes.Buffer), p); err == nil {
		t.Error("a slot without a time was printed")
	}
}

func TestReportDiscrepancies(t *testing.T) {
	rows := `{"line_item":"runners","exchange":"index","counts":{"win":1000,"bill":970,"view":960,"click":7},"billed":970,"charged":"12.00","repeats":31,
		"bills_to_wins":{"count":-30,"percent":-3,"money":"-0.50"},"views_to_billed":{"count":-10,"percent":-1.03,"money":"-0.12"}}`
	total := strings.Replace(strings.Replace(rows, `"runners"`, `""`, 1), `"index"`, `""`, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case r.Method != http.MethodGet || r.URL.Path != "/v1/discrepancies":
			w.WriteHeader(http.StatusNotFound)
		case q.Get("line_item") == "nobody":
			fmt.Fprintf(w, `{"rows":[],"total":{}}`)
		case q.Get("exchange") == "index":
			fmt.Fprintf(w, `{"rows":[%s],"total":%s}`, rows, total)
		default:
			fmt.Fprintf(w, `{"rows":[%s,{"line_item":"walkers","exchange":"generic","counts":{"win":1},"charged":"0.00"}],"total":%s}`, rows, total)
		}
	}))
	defer front.Close()
	report := func(args ...string) string {
		return mustRun(t, append([]string{"report", "discrepancies", "--admin", front.URL}, args...)...)
	}
	out := report()
	wantText(t, out, "LINE ITEM", "runners    index     1000  970    -3.00%   -0.50  970      12.00   960    -1.03%      -0.12  7       31\n", "walkers", "\ntotal ")
	if n := strings.Count(out, "\n"); n != 4 {
		t.Errorf("%d lines, want a head, two rows and a total:\n%s", n, out)
	}
	if out := report("--exchange", "index"); strings.Contains(out, "total") {
		t.Errorf("a single row has a total:\n%s", out)
	}
	if out := report("--line-item", "nobody"); out != "no notices\n" {
		t.Errorf("without rows: %q", out)
	}
	wantText(t, report("--json"), `"bills_to_wins":{"count":-30,"percent":-3,"money":"-0.50"}`)
}
