package loadtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

// bookkeeper is the admin API of a test bidder: its documents, and books made
// of the notices that came.
type bookkeeper struct {
	bidder  *testBidder
	items   string // JSON of the line items 7, 8 and 9
	careful bool   // books each bid once
	spent   string // today, in the pacing report
}

var testFees = rtb.Fees{Share: 1500, Fixed: 250_000}

// start serves the API and returns its address.
func (k *bookkeeper) start(t *testing.T) string {
	mux := http.NewServeMux()
	answer := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	}
	answer("/v1/advertisers", `{"items":[{"id":"acme","timezone":"Europe/Berlin"}]}`)
	answer("/v1/campaigns", `{"items":[{"id":"spring","number":1,"advertiser":"acme","budget":{"total":"1000000"}}]}`)
	answer("/v1/exchanges", `{"items":[{"id":"generic","billing":"burl"}]}`)
	mux.HandleFunc("GET /v1/line-items", func(w http.ResponseWriter, r *http.Request) {
		items := strings.Split(k.items, "\n")
		at := 0
		if cursor := r.URL.Query().Get("cursor"); cursor != "" {
			at, _ = strconv.Atoi(cursor)
		}
		next := ""
		if at+1 < len(items) {
			next = fmt.Sprintf(`,"next":"%d"`, at+1)
		}
		fmt.Fprintf(w, `{"items":[%s]%s}`, items[at], next)
	})
	mux.HandleFunc("GET /v1/discrepancies", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, k.books(t)) })
	mux.HandleFunc("GET /v1/line-items/{id}/pacing", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"multiplier":0.8,"bid_rate":1,"accounts":[{"owner":"line-item/%s","counts":"money","daily":"10.00","spent_today":"%s","late":"0.25","day_start":"2026-01-05T00:00:00+01:00"}],
			"slots":[{"start":"2026-01-05T00:00:00+01:00","planned":"1.00","spent":"1.20"},{"start":"2026-01-05T00:15:00+01:00","planned":"3.00","spent":"3.00"},{"start":"2026-01-05T00:30:00+01:00","planned":"9.00"}]}`,
			r.PathValue("id"), k.spent)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func (k *bookkeeper) books(t *testing.T) string {
	k.bidder.mu.Lock()
	defer k.bidder.mu.Unlock()
	charged := map[string]rtb.Money{}
	for notice, calls := range k.bidder.notices {
		u, err := url.Parse(notice)
		if err != nil {
			t.Error(err)
		}
		query := u.Query()
		h, _ := strconv.ParseUint(query.Get("t"), 16, 64)
		macro, _ := base64.RawURLEncoding.DecodeString(query.Get("p"))
		price, err := rtb.ParseCPM(string(macro))
		if u.Path != "/e/bill" || err != nil {
			continue
		}
		key := fmt.Sprintf("line-%d", h>>20%3)
		if key == "line-1" {
			price = testFees.On(price)
		}
		if k.careful {
			calls = 1
		}
		charged[key] += price * rtb.Money(calls)
	}
	var rows []string
	for key, sum := range charged {
		rows = append(rows, fmt.Sprintf(`{"line_item":"%s","exchange":"generic","charged":"%s","repeats":1}`, key, sum))
	}
	slices.Sort(rows)
	return `{"rows":[` + strings.Join(rows, ",") + `]}`
}

// What the bidder booked must be what it was told, no budget may be overrun,
// and no cap; and where one of these is not so, the run fails and says it.
func TestExchangeReconciles(t *testing.T) {
	const plain = `{"id":"line-0","number":7,"campaign":"spring"}
{"id":"line-1","number":8,"campaign":"spring","fees":{"share":"0.15","cpm":"0.25"}}
{"id":"line-2","number":9,"campaign":"spring"}`
	tests := []struct {
		name    string
		items   string
		careful bool
		fails   string
	}{
		{"careful", plain, true, ""},
		{"repeats are booked", plain, false, "the books are off by"},
		{"daily budget", strings.Replace(plain, `"number":9`, `"number":9,"budget":{"daily":"0.01"}`, 1), true, "overspend of"},
		{"total budget", strings.Replace(plain, `"number":9`, `"number":9,"budget":{"total":"0.01"}`, 1), true, "overspend of"},
		{"caps", strings.Replace(plain, `"number":9`, `"number":9,"caps":[{"per":"campaign","limit":1,"window":"24h"}],"min_gap":"1h"`, 1), true, "beyond a frequency cap"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bidder := startBidder(t, &testBidder{})
			keeper := &bookkeeper{bidder: bidder, items: tt.items, careful: tt.careful, spent: "0.00"}
			card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) {
				cfg.Auctions, cfg.Users, cfg.SimulatedTime, cfg.Span = 600, 100, true, 24*time.Hour
				cfg.Start = time.Date(2026, 1, 4, 23, 0, 0, 0, time.UTC)
				cfg.Fates = NoticeFates{Late: .1, LateBy: time.Hour, Loss: .05, Duplicate: .1, Blank: .02}
				cfg.Admin, cfg.Settle = keeper.start(t), time.Millisecond
			}))
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "careful" {
				checkTruth(t, card)
			}
			err = DefaultExchangeLimits().Check(card)
			if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("limits: %v, want %q\n%s", err, tt.fails, card)
			}
			if tt.name == "caps" && (card.Frequency["campaign"].Faults == 0 || card.Frequency["min-gap"].Over == 0) {
				t.Errorf("frequency %+v", card.Frequency)
			}
			if tt.name == "daily budget" {
				days := card.Books.Days
				if len(days) != 1 || days[0].Budget != "line-item/line-2" || days[0].Day != "2026-01-05" || !days[0].Demand || days[0].Used < 1 || math.Abs(days[0].OffPlan-20) > 1e-9 {
					t.Errorf("days %+v", days)
				}
			}
		})
	}
}

// checkTruth holds the sums of a run without budgets against each other.
func checkTruth(t *testing.T, card *Scorecard) {
	t.Helper()
	spend, err := rtb.ParseMoney(card.Spend)
	if err != nil {
		t.Fatal(err)
	}
	var charged, delivered, days rtb.Money
	impressions := 0
	for _, l := range card.Truth {
		charged, delivered, impressions = charged+l.charged, delivered+l.delivered, impressions+l.Impressions
		if l.Told >= l.Impressions || l.delivered >= l.charged || l.unsure != 0 {
			t.Errorf("%+v: nothing was lost", l)
		}
		for _, day := range l.Days {
			sum, err := rtb.ParseMoney(day.Delivered)
			if err != nil {
				t.Error(err)
			}
			days += sum
		}
	}
	if len(card.Truth) != 3 || impressions != card.Impressions || charged <= spend || days > delivered || days == 0 {
		t.Errorf("truth %+v of a spend of %s", card.Truth, card.Spend)
	}
	if card.Books.Booked != delivered.String() || card.Books.Difference != "0.00" || card.Books.Late != "0.75" {
		t.Errorf("books %+v, want %s booked", card.Books, delivered)
	}
	if o := card.Oracle; o.Bought == 0 || o.Offers <= o.Bought || o.Ratio <= 0 || o.Ratio > 1 {
		t.Errorf("oracle %+v", o)
	}
	text := card.String()
	for _, want := range []string{"truth        charged " + charged.String(), "books        delivered " + delivered.String(), "oracle       ", "budgets      overspend 0.00, late 0.75"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if _, err := json.Marshal(card); err != nil {
		t.Error(err)
	}
}

// An impression is charged once, by the first notice that comes; one that
// nobody answered may be booked or not.
func TestCharges(t *testing.T) {
	noon := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	midnight := time.Date(2026, 1, 6, 0, 0, 0, 0, time.UTC)
	b := newBooks(map[string]*buyer{"7": {key: "shoes", zone: time.UTC}})
	l := b.of(&seatBid{Tactic: "7"})
	once, twice, unsure, late := b.charge(l, 5), b.charge(l, 7), b.charge(l, 11), b.charge(l, 13)
	once.tell(noon, noon.Add(time.Second))
	once.tell(noon, noon.Add(time.Second))
	twice.fail(true)
	twice.tell(midnight.Add(-time.Second), midnight)
	twice.fail(true)
	unsure.fail(true)
	unsure.fail(false)
	late.fail(false)
	truth := b.truth()
	if len(truth) != 1 || truth[0].charged != 36 || truth[0].delivered != 12 || truth[0].unsure != 11 || truth[0].Told != 2 {
		t.Fatalf("truth %+v", truth)
	}
	if d := truth[0].Days; d["2026-01-05"] != (DayTruth{Delivered: "0.000000005", Midnight: "0.000000007"}) || d["2026-01-06"].Midnight != "0.000000007" {
		t.Errorf("days %+v", d)
	}
	before := map[string]rtb.Money{"shoes": 100}
	for booked, off := range map[rtb.Money]rtb.Money{111: 1, 112: 0, 123: 0, 124: 1} {
		if got := compareBooks(truth, before, map[string]rtb.Money{"shoes": booked}); got.difference != off {
			t.Errorf("%d booked: off by %d, want %d", booked, got.difference, off)
		}
	}
	if got := compareBooks(nil, before, map[string]rtb.Money{"shoes": 100, "unknown": 3}); got.difference != 3 {
		t.Errorf("a charge out of nowhere: off by %d, want 3", got.difference)
	}
}

// A budget is judged by its use where it was what bound; that of a campaign by
// what all its line items spent.
func TestDaysOfBudgets(t *testing.T) {
	shared := budgetDocument{Daily: decimal(10 * rtb.Unit)}
	own := budgetDocument{Daily: decimal(8 * rtb.Unit)}
	buyers := map[string]*buyer{
		"1": {key: "shoes", campaign: "spring", zone: time.UTC, own: own, shared: shared},
		"2": {key: "hats", campaign: "spring", zone: time.UTC, own: own, shared: shared},
		"3": {key: "bags", campaign: "autumn", zone: time.UTC, own: own, asap: true},
		"4": {key: "socks", campaign: "winter", zone: time.UTC, own: own},
		"5": {key: "ties", campaign: "winter", zone: time.UTC, own: own},
	}
	b := newBooks(buyers)
	w := &watch{until: time.Date(2026, 1, 6, 0, 0, 0, 0, time.UTC), buyers: map[string]*buyer{}, zones: map[string]*time.Location{}, days: map[dayOf]*daySeen{}}
	for number, buyer := range buyers {
		w.buyers[buyer.key], w.zones[buyer.key] = buyer, time.UTC
		l := b.of(&seatBid{Tactic: number})
		l.days["2026-01-05"] = &dayTotal{dearest: rtb.Unit / 300, sure: map[string]rtb.Money{
			"shoes": 7 * rtb.Unit, "hats": rtb.Unit, "bags": 6 * rtb.Unit, "socks": 4 * rtb.Unit, "ties": 7968 * rtb.Unit / 1000,
		}[buyer.key]}
	}
	see := func(key, multiplier, rest string) {
		var view pacingView
		text := fmt.Sprintf(`{"multiplier":%s,"bid_rate":1,"accounts":[{"owner":"line-item/%s","counts":"money","daily":"8.00","spent_today":%q,"day_start":"2026-01-05T00:00:00Z"},%s`,
			multiplier, key, b.byKey(key).days["2026-01-05"].sure, rest)
		if err := json.Unmarshal([]byte(text), &view); err != nil {
			t.Fatal(err)
		}
		w.see(key, &view)
	}
	const (
		spring = `{"owner":"campaign/spring","counts":"money","daily":"10.00","spent_today":"9.00","day_start":"2026-01-05T00:00:00Z"}],`
		slots  = `"slots":[{"planned":"1.00"},{"planned":"2.00","spent":"2.80"},{"planned":"9.00","spent":"3.00"},{"planned":"10.00"}]}`
	)
	see("shoes", "0.5", spring+slots)
	see("hats", "0.5", spring+slots)
	see("bags", "0.5", `{"counts":"clicks","total":"40","spent":"1","day_start":"2026-01-05T00:00:00Z"}],`+slots)
	see("socks", "0.5", `{"owner":"line-item/socks","counts":"impressions","daily":"1000","spent_today":"990","day_start":"2026-01-05T00:00:00Z"}],`+slots)
	see("ties", "1", `{"counts":"clicks"}],`+slots)
	var truth BooksTruth
	w.used(b, &truth)
	want := []DaySpent{
		{Budget: "line-item/hats", Spent: "1.00", Used: .125, Left: 2100, Bound: "campaign/spring money"},
		{Budget: "line-item/socks", Spent: "4.00", Used: .5, Left: 1200, Bound: "line-item/socks impressions"},
		{Budget: "line-item/bags", Spent: "6.00", Used: .75, Left: 600, Bound: "line-item/bags money", Demand: true},
		{Budget: "campaign/spring", Daily: "10.00", Spent: "8.00", Used: .8, Left: 600, Bound: "campaign/spring money", Demand: true},
		{Budget: "line-item/shoes", Spent: "7.00", Used: .875, Left: 300, Bound: "campaign/spring money"},
		{Budget: "line-item/ties", Spent: "7.968", Used: .996, Left: 9, Bound: "line-item/ties money", Demand: true, OffPlan: .1},
	}
	for i := range truth.Days {
		truth.Days[i].Left = math.Floor(truth.Days[i].Left)
	}
	for i := range want {
		want[i].Day = "2026-01-05"
		if want[i].Daily == "" {
			want[i].Daily = "8.00"
		}
	}
	if !slices.Equal(truth.Days, want) {
		t.Errorf("days\n%+v, want\n%+v", truth.Days, want)
	}
	if truth.MinUsed != .75 || math.Abs(truth.MeanUsed-(.75+.8+.996)/3) > 1e-9 || truth.MaxOffPlan != .1 {
		t.Errorf("used %v at least, %v on average, off the plan by %v", truth.MinUsed, truth.MeanUsed, truth.MaxOffPlan)
	}
}

// Only what the bidder had to know of is its fault.
func TestFrequencyFaults(t *testing.T) {
	shoes := &buyer{key: "shoes", campaign: "spring", caps: []capRule{{"campaign", 1, time.Hour}}}
	hats := &buyer{key: "hats", campaign: "spring"}
	const minute = int64(time.Minute)
	for _, tt := range []struct {
		name         string
		first        *buyer
		apart        int64
		told         int64
		over, faults int
	}{
		{"told", hats, 30 * minute, 50, 1, 1},
		{"told too late", hats, 30 * minute, 150, 1, 0},
		{"never told", shoes, 30 * minute, 0, 1, 0},
		{"in flight", shoes, minute / 2, 0, 1, 1},
		{"outside of the window", shoes, 60 * minute, 50, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			buyers := map[string]*buyer{"1": shoes, "2": hats}
			b, p := newBooks(buyers), newPeople(buyers, nil)
			before, after := &line{buyer: tt.first, rules: map[string]*frequencyCount{}}, b.of(&seatBid{Tactic: "1"})
			old := &exposure{line: before, at: 1000 * minute, answered: 20}
			old.told.Store(tt.told)
			p.see(b, 5, old, 10)
			p.see(b, 5, &exposure{line: after, at: 1000*minute + tt.apart, answered: 120}, 100)
			if got := b.frequency()["campaign"]; got != (FrequencyTruth{tt.over, tt.faults}) {
				t.Errorf("%+v, want %d over, %d faults", got, tt.over, tt.faults)
			}
		})
	}
}

// The oracle buys the most clicks for the money, and its sample is bounded and
// does not depend on the order.
func TestOracle(t *testing.T) {
	k := newOracle(1)
	shoes, hats := &line{}, &line{}
	for i, o := range []offered{
		{line: shoes, clicks: .01, price: 100, paid: 150}, {line: shoes, clicks: .04, price: 100}, {line: shoes, clicks: .02, price: 100},
		{line: hats, clicks: .9, price: 1},
	} {
		o.hash = uint64(i)
		k.add(o)
	}
	if got := k.truth(); got != (OracleTruth{Offers: 4, Bought: 1, Clicks: .01, Best: .05, Ratio: .2}) {
		t.Errorf("%+v, want 0.01 of 0.05 clicks", got)
	}
	var kept [2]OracleTruth
	for order := range kept {
		k := newOracle(2)
		for i := range 2*maxOffers + 5 {
			if order == 1 {
				i = 2*maxOffers + 4 - i
			}
			s := Slot{seed: uint64(i)}
			if hash, ok := k.sampled(&s); ok {
				k.add(offered{line: shoes, hash: hash, clicks: float64(i%7) / 100, price: rtb.Money(1 + i%5), paid: rtb.Money(i % 2)})
			}
		}
		kept[order] = k.truth()
	}
	if kept[0] != kept[1] || kept[0].Offers > maxOffers || kept[0].Offers < maxOffers/4 {
		t.Errorf("samples %+v", kept)
	}
}
