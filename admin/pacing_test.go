package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/pacing"
	"bidwell/rtb"
)

// spending is a report with something in every field.
func spending() admin.PacingReport {
	day := time.Date(2026, 7, 1, 0, 0, 0, 0, time.FixedZone("", 7200))
	statement := func(id rtb.AccountID, spent, before, leased rtb.Money) pacing.Statement {
		return pacing.Statement{Account: id, Spent: spent, Before: before, Leased: leased, DayStart: day, DayEnd: day.AddDate(0, 0, 1), Nodes: 2}
	}
	return admin.PacingReport{
		State: admin.StateStopped, StoppedSince: day.Add(20 * time.Minute), Reason: "no notice for 30m although 1200 bids were made",
		Accounts: []admin.AccountReport{
			{Statement: statement(rtb.LineItemAccount(1, rtb.OfMoney), 3*rtb.Unit, 2*rtb.Unit+rtb.Unit/2, rtb.Unit), Daily: 200 * rtb.Unit, Held: rtb.Unit / 4},
			{Statement: statement(rtb.LineItemAccount(1, rtb.OfImpressions), 3000, 2500, 100), Total: 1_000_000, Held: 25},
			{Statement: statement(rtb.CampaignAccount(1, rtb.OfMoney), 9*rtb.Unit, 0, 0), Total: 5000 * rtb.Unit},
			{Statement: pacing.Statement{Account: rtb.CampaignAccount(77, rtb.OfClicks), Late: 3}},
		},
		Slots: []admin.SlotReport{
			{Start: day, Planned: rtb.Unit / 10, Spent: rtb.Unit / 20},
			{Start: day.Add(15 * time.Minute), Planned: rtb.Unit / 5, Future: true},
		},
		Planned: rtb.Unit / 8, Multiplier: 0.83, BidRate: 0.5, Opportunities: 1234.7,
		Caps: []admin.CapReport{{Per: "click", Limit: 6 * rtb.Unit / 10, Actual: 57 * rtb.Unit / 100}, {Per: "conversion", Limit: 25 * rtb.Unit}},
	}
}

func TestPacing(t *testing.T) {
	s := start(t, func(p *admin.Parts) {
		p.Pacing = func(id rtb.LineItemID) (admin.PacingReport, bool) {
			if id != 1 {
				return admin.PacingReport{}, false
			}
			return spending(), true
		}
	})
	s.seed()
	a := s.want(200, "GET", "/v1/line-items/runners-berlin/pacing", "")
	want := strings.ReplaceAll(`{"line_item":"runners-berlin","state":"stopped",
"stopped":{"since":"2026-07-01T00:20:00+02:00","reason":"no notice for 30m although 1200 bids were made"},
"spent":"3.00","spent_today":"0.50","held":"0.25","planned_today":"0.125","multiplier":0.83,"bid_rate":0.5,"opportunities_left":1234,
"accounts":[
{"owner":"line-item/runners-berlin","counts":"money","daily":"200.00","spent":"3.00","spent_today":"0.50","held":"0.25","leased":"1.00","late":"0.00","day_start":"2026-07-01T00:00:00+02:00","nodes":2},
{"owner":"line-item/runners-berlin","counts":"impressions","total":"1000000","spent":"3000","spent_today":"500","held":"25","leased":"100","late":"0","day_start":"2026-07-01T00:00:00+02:00","nodes":2},
{"owner":"campaign/spring","counts":"money","total":"5000.00","spent":"9.00","spent_today":"9.00","held":"0.00","leased":"0.00","late":"0.00","day_start":"2026-07-01T00:00:00+02:00","nodes":2},
{"owner":"campaign/#77","counts":"clicks","spent":"0","spent_today":"0","held":"0","leased":"0","late":"3","nodes":0}],
"slots":[{"start":"2026-07-01T00:00:00+02:00","planned":"0.10","spent":"0.05"},{"start":"2026-07-01T00:15:00+02:00","planned":"0.20"}],
"caps":[{"per":"click","limit":"0.60","actual":"0.57"},{"per":"conversion","limit":"25.00"}]}`, "\n", "")
	if strings.TrimSpace(a.Body) != want {
		t.Errorf("pacing\n got %s\nwant %s", a.Body, want)
	}
	got, err := s.client().Pacing(t.Context(), "runners-berlin")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(got); err != nil || string(text) != want {
		t.Errorf("the client reads %s, %v", text, err)
	}

	s.want(201, "PUT", "/v1/line-items/second", lineItem)
	want = `{"line_item":"second","state":"waiting","spent":"0.00","spent_today":"0.00","held":"0.00","planned_today":"0.00","multiplier":0,"bid_rate":0,"accounts":[],"slots":[],"caps":[]}`
	if a := s.want(200, "GET", "/v1/line-items/second/pacing", ""); strings.TrimSpace(a.Body) != want {
		t.Errorf("pacing of a line item that the pacer lacks is %s", a.Body)
	}
	s.want(404, "GET", "/v1/line-items/nothing/pacing", "").problems(t)
	var refused *admin.RefusedError
	if _, err := s.client().Pacing(t.Context(), "nothing"); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("the client says %v, want a refusal with 404", err)
	}
	start(t, nil).want(501, "GET", "/v1/line-items/x/pacing", "")
}

func TestResume(t *testing.T) {
	var resumed []rtb.LineItemID
	s := start(t, func(p *admin.Parts) {
		p.Resume = func(id rtb.LineItemID) error {
			if id != 1 {
				return fmt.Errorf("line item %d: %w", id, rtb.ErrNotFound)
			}
			resumed = append(resumed, id)
			return nil
		}
	})
	s.seed()
	s.want(201, "PUT", "/v1/line-items/second", lineItem)
	s.want(204, "POST", "/v1/line-items/runners-berlin/resume", "")
	if len(resumed) != 1 {
		t.Errorf("resumed %v, want line item 1", resumed)
	}
	if a := s.want(404, "POST", "/v1/line-items/second/resume", ""); !strings.Contains(a.Body, `does not have line item \"second\"`) {
		t.Errorf("answered %s", a.Body)
	}
	s.want(404, "POST", "/v1/line-items/nothing/resume", "").problems(t)
	s.want(405, "GET", "/v1/line-items/runners-berlin/resume", "")
	start(t, nil).want(501, "POST", "/v1/line-items/x/resume", "")
}

// tally counts a few kinds of notices.
func tally(item rtb.LineItemID, exchange rtb.ExchangeID, charged rtb.Money, counts map[pacing.Kind]uint64, prices map[pacing.Kind]rtb.Money) pacing.Tally {
	t := pacing.Tally{LineItem: item, Exchange: exchange, Charged: charged}
	for k, n := range counts {
		t.Counts[k] = n
	}
	for k, m := range prices {
		t.Prices[k] = m
	}
	return t
}

func TestDiscrepancies(t *testing.T) {
	tallies := []pacing.Tally{
		tally(9, 1, 0, map[pacing.Kind]uint64{pacing.KindWin: 4}, map[pacing.Kind]rtb.Money{pacing.KindWin: 4 * rtb.OneCPM}), // a deleted line item: burls do not come
		tally(1, 3, 12*rtb.Unit, map[pacing.Kind]uint64{pacing.KindWin: 1000, pacing.KindBill: 970, pacing.KindSpend: 970, pacing.KindView: 960, pacing.KindLoss: 5, pacing.KindViewable: 500,
			pacing.KindClick: 7, pacing.KindConversion: 2, pacing.KindVideo: 90, pacing.KindVideo + 1: 80, pacing.KindVideo + 2: 70, pacing.KindVideo + 3: 60, pacing.KindVideo + 4: 50},
			map[pacing.Kind]rtb.Money{pacing.KindWin: 11 * rtb.Unit, pacing.KindBill: 10*rtb.Unit + rtb.Unit/2, pacing.KindView: rtb.Unit}),
		tally(1, 1, 2*rtb.Unit, map[pacing.Kind]uint64{pacing.KindWin: 8, pacing.KindSpend: 8, pacing.KindView: 9}, nil), // billed by nurl
		tally(1, 200, 0, nil, nil),
	}
	tallies[1].Repeats = 31
	var failed error
	s := start(t, func(p *admin.Parts) {
		p.ExchangeID = func(name string) (rtb.ExchangeID, bool) {
			id, ok := exchangeIDs[name]
			return id, ok || name == "magnite"
		}
		p.ExchangeName = func(id rtb.ExchangeID) (string, bool) {
			for name, number := range exchangeIDs {
				if number == id {
					return name, true
				}
			}
			return "", false
		}
		p.Discrepancies = func(context.Context) ([]pacing.Tally, error) { return tallies, failed }
	})
	s.seed()
	all, err := s.client().Discrepancies(t.Context(), "", "")
	if err != nil || len(all.Rows) != 4 {
		t.Fatalf("%+v, %v, want four rows", all, err)
	}
	want := []string{
		`{"line_item":"#9","exchange":"generic","counts":{"win":4,"bill":0,"loss":0,"view":0,"viewable":0,"click":0,"conversion":0,"video":{"start":0,"first_quartile":0,"midpoint":0,"third_quartile":0,"complete":0}},` +
			`"prices":{"win":"0.004","bill":"0.00","view":"0.00"},"billed":0,"charged":"0.00","repeats":0,"bills_to_wins":{"count":-4,"percent":-100,"money":"-0.004"}}`,
		`{"line_item":"runners-berlin","exchange":"#200","counts":{"win":0,"bill":0,"loss":0,"view":0,"viewable":0,"click":0,"conversion":0,"video":{"start":0,"first_quartile":0,"midpoint":0,"third_quartile":0,"complete":0}},` +
			`"prices":{"win":"0.00","bill":"0.00","view":"0.00"},"billed":0,"charged":"0.00","repeats":0}`,
		`{"line_item":"runners-berlin","exchange":"generic","counts":{"win":8,"bill":0,"loss":0,"view":9,"viewable":0,"click":0,"conversion":0,"video":{"start":0,"first_quartile":0,"midpoint":0,"third_quartile":0,"complete":0}},` +
			`"prices":{"win":"0.00","bill":"0.00","view":"0.00"},"billed":8,"charged":"2.00","repeats":0,"views_to_billed":{"count":1,"percent":12.5,"money":"0.25"}}`,
		`{"line_item":"runners-berlin","exchange":"index","counts":{"win":1000,"bill":970,"loss":5,"view":960,"viewable":500,"click":7,"conversion":2,"video":{"start":90,"first_quartile":80,"midpoint":70,"third_quartile":60,"complete":50}},` +
			`"prices":{"win":"11.00","bill":"10.50","view":"1.00"},"billed":970,"charged":"12.00","repeats":31,` +
			`"bills_to_wins":{"count":-30,"percent":-3,"money":"-0.50"},"views_to_billed":{"count":-10,"percent":-1.03,"money":"-0.12371134"}}`,
	}
	for i, row := range all.Rows {
		if text, err := json.Marshal(row); err != nil || string(text) != want[i] {
			t.Errorf("row %d, %v\n got %s\nwant %s", i, err, text, want[i])
		}
	}
	if sum := all.Total; sum.Counts.Win != 1012 || sum.Billed != 978 || sum.Charged != "14.00" || sum.Repeats != 31 || sum.Prices.Win != "11.004" || sum.ViewsToBilled.Count != -9 || sum.BillsToWins.Count != -34 {
		t.Errorf("total %+v", sum)
	}
	s.want(201, "PUT", "/v1/line-items/second", lineItem)
	for _, tt := range []struct {
		item, exchange string
		rows           int
		charged        admin.Amount
	}{{"runners-berlin", "", 3, "14.00"}, {"", "generic", 2, "2.00"}, {"runners-berlin", "index", 1, "12.00"}, {"#9", "", 1, "0.00"}, {"second", "", 0, "0.00"}, {"", "#200", 1, "0.00"}, {"", "magnite", 0, "0.00"}} {
		got, err := s.client().Discrepancies(t.Context(), tt.item, tt.exchange)
		if err != nil || len(got.Rows) != tt.rows || got.Total.Charged != tt.charged {
			t.Errorf("of %q and %q: %+v, %v, want %d rows of %s", tt.item, tt.exchange, got, err, tt.rows, tt.charged)
		}
	}
	for query, want := range map[string]string{
		"line_item=nothing": `there is no line-item \"nothing\"`, "line_item=%238": `there is no line-item \"#8\"`, "exchange=elsewhere": `there is no exchange \"elsewhere\"`,
	} {
		if a := s.want(404, "GET", "/v1/discrepancies?"+query, ""); !strings.Contains(a.Body, want) {
			t.Errorf("%s: %s", query, a.Body)
		}
	}
	// Names are those of now.
	tallies[0].LineItem = 2
	if got, err := s.client().Discrepancies(t.Context(), "second", ""); err != nil || len(got.Rows) != 1 {
		t.Errorf("of a new line item: %+v, %v", got, err)
	}
	failed = errors.New("disk on fire")
	if a := s.want(500, "GET", "/v1/discrepancies", ""); strings.Contains(a.Body, "fire") {
		t.Errorf("%s tells what is inside", a.Body)
	}
	s.want(422, "GET", "/v1/discrepancies?exchange="+strings.Repeat("x", 65), "")
	start(t, nil).want(501, "GET", "/v1/discrepancies", "")
}
