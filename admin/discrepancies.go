package admin

import (
	"cmp"
	"context"
	"maps"
	"math"
	"net/http"
	"slices"

	"bidwell/pacing"
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Discrepancies are what the notices of each line item through each exchange
// say: the same impressions are counted by several notices, of which one spends
// money.
type Discrepancies struct {
	Rows  []Discrepancy `json:"rows" nullable:"false" doc:"By line item and exchange"`
	Total Discrepancy   `json:"total" doc:"All rows together"`
}

// Discrepancy is a row, in the account currency.
type Discrepancy struct {
	LineItem string       `json:"line_item" doc:"Id of the line item; its number after a # where it was deleted; empty in the total"`
	Exchange string       `json:"exchange" doc:"Name of the exchange; empty in the total"`
	Counts   NoticeCounts `json:"counts"`
	Prices   NoticePrices `json:"prices"`
	Billed   uint64       `json:"billed" doc:"Impressions that were charged, by whichever notice the exchange's profile names"`
	Charged  Amount       `json:"charged" doc:"All that was spent, fees included"`
	Repeats  uint64       `json:"repeats" doc:"Notices that came again, of those that reached the books; most are known before and only counted in bidwell_notices_total"`

	BillsToWins   *Gap `json:"bills_to_wins,omitempty" doc:"Billing notices against win notices, and the prices that they name; absent without wins, and where the exchange bills without such notices, which the total leaves out"`
	ViewsToBilled *Gap `json:"views_to_billed,omitempty" doc:"Views, counted by our pixel, against impressions that were charged, and the difference at the average charge; absent where nothing was charged"`
}

// NoticeCounts are bids by the notices that came of them, each once.
type NoticeCounts struct {
	Win        uint64      `json:"win"`
	Bill       uint64      `json:"bill"`
	Loss       uint64      `json:"loss"`
	View       uint64      `json:"view"`
	Viewable   uint64      `json:"viewable"`
	Click      uint64      `json:"click"`
	Conversion uint64      `json:"conversion"`
	Video      VideoCounts `json:"video"`
}

// VideoCounts are bids by how far their video was played.
type VideoCounts struct {
	Start         uint64 `json:"start"`
	FirstQuartile uint64 `json:"first_quartile"`
	Midpoint      uint64 `json:"midpoint"`
	ThirdQuartile uint64 `json:"third_quartile"`
	Complete      uint64 `json:"complete"`
}

// NoticePrices are sums of the prices that notices name, without fees.
type NoticePrices struct {
	Win  Amount `json:"win"`
	Bill Amount `json:"bill"`
	View Amount `json:"view"`
}

// Gap is by how much one count differs from another. It is negative where the
// first is less.
type Gap struct {
	Count   int64   `json:"count" doc:"Of notices"`
	Percent float64 `json:"percent" doc:"Of the second, to a hundredth"`
	Money   string  `json:"money,omitempty" doc:"Difference in money; absent where it is unknown" example:"-1.25"`
}

type discrepanciesInput struct {
	LineItem string `query:"line_item" maxLength:"64" doc:"Id of a line item; all when empty"`
	Exchange string `query:"exchange" maxLength:"64" doc:"Name of an exchange; all when empty"`
}

type discrepanciesOutput struct{ Body Discrepancies }

func (s *Server) registerDiscrepancies() {
	huma.Register(s.api, huma.Operation{
		OperationID: "list-discrepancies", Method: http.MethodGet, Path: "/v1/discrepancies", Tags: []string{"discrepancies"},
		Summary:     "Compare what the notices say",
		Description: "Counts and sums of the notices since the beginning, by line item and exchange, and how far those that should be equal differ.",
		Errors:      []int{404, 422, 500, 501},
	}, func(ctx context.Context, in *discrepanciesInput) (*discrepanciesOutput, error) {
		if s.parts.Discrepancies == nil {
			return nil, huma.Error501NotImplemented("this process keeps no accounts")
		}
		tallies, err := s.parts.Discrepancies(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		lines, err := s.names.all(ctx, s.docs, lineItems)
		if err != nil {
			return nil, s.problem(err)
		}
		out := &discrepanciesOutput{Body: Discrepancies{Rows: []Discrepancy{}}}
		knownItem, knownExchange := in.LineItem == "" || slices.Contains(slices.Collect(maps.Values(lines)), in.LineItem), in.Exchange == "" || s.hasExchange(in.Exchange)
		var total, compared pacing.Tally // compared: the rows that have wins to compare bills with
		for i := range tallies {
			t := &tallies[i]
			if t.LineItem == 0 {
				continue // conversions that were uploaded: they are of no impression
			}
			item, exchange := nameOf(lines, uint32(t.LineItem)), s.exchangeName(t.Exchange)
			knownItem, knownExchange = knownItem || item == in.LineItem, knownExchange || exchange == in.Exchange
			if in.LineItem != "" && in.LineItem != item || in.Exchange != "" && in.Exchange != exchange {
				continue
			}
			row := discrepancy(t)
			row.LineItem, row.Exchange = item, exchange
			out.Body.Rows = append(out.Body.Rows, row)
			add(&total, t)
			if row.BillsToWins != nil {
				add(&compared, t)
			}
		}
		switch {
		case !knownItem:
			return nil, s.problem(describe(rtb.ErrNotFound, kindOf(lineItems), in.LineItem))
		case !knownExchange:
			return nil, s.problem(describe(rtb.ErrNotFound, kindOf(exchanges), in.Exchange))
		}
		slices.SortFunc(out.Body.Rows, func(a, b Discrepancy) int {
			return cmp.Or(cmp.Compare(a.LineItem, b.LineItem), cmp.Compare(a.Exchange, b.Exchange))
		})
		out.Body.Total = discrepancy(&total)
		out.Body.Total.BillsToWins = discrepancy(&compared).BillsToWins
		return out, nil
	})
}

// hasExchange reports whether an exchange has this name; any may where nobody
// knows them.
func (s *Server) hasExchange(name string) bool {
	if s.parts.ExchangeID == nil {
		return true
	}
	_, ok := s.parts.ExchangeID(name)
	return ok
}

func (s *Server) exchangeName(id rtb.ExchangeID) string {
	if s.parts.ExchangeName != nil {
		if name, ok := s.parts.ExchangeName(id); ok {
			return name
		}
	}
	return nameOf(nil, uint32(id))
}

func add(sum, t *pacing.Tally) {
	for k := range t.Counts {
		sum.Counts[k] += t.Counts[k]
		sum.Prices[k] += t.Prices[k]
	}
	sum.Charged += t.Charged
	sum.Repeats += t.Repeats
}

func discrepancy(t *pacing.Tally) Discrepancy {
	n := &t.Counts
	row := Discrepancy{
		Counts: NoticeCounts{
			Win: n[pacing.KindWin], Bill: n[pacing.KindBill], Loss: n[pacing.KindLoss], View: n[pacing.KindView],
			Viewable: n[pacing.KindViewable], Click: n[pacing.KindClick], Conversion: n[pacing.KindConversion],
			Video: VideoCounts{
				Start: n[pacing.KindVideo], FirstQuartile: n[pacing.KindVideo+1], Midpoint: n[pacing.KindVideo+2],
				ThirdQuartile: n[pacing.KindVideo+3], Complete: n[pacing.KindVideo+4],
			},
		},
		Prices: NoticePrices{
			Win: Amount(t.Prices[pacing.KindWin].String()), Bill: Amount(t.Prices[pacing.KindBill].String()), View: Amount(t.Prices[pacing.KindView].String()),
		},
		Billed: n[pacing.KindSpend], Charged: Amount(t.Charged.String()), Repeats: t.Repeats,
	}
	wins, bills, billed, views := n[pacing.KindWin], n[pacing.KindBill], n[pacing.KindSpend], n[pacing.KindView]
	// An exchange that bills by another notice sends no bills, and lacks none.
	if wins > 0 && (bills > 0 || billed == 0) {
		row.BillsToWins = gap(bills, wins)
		if won, paid := t.Prices[pacing.KindWin], t.Prices[pacing.KindBill]; won > 0 && (paid > 0 || bills == 0) {
			row.BillsToWins.Money = (paid - won).String()
		}
	}
	if billed > 0 {
		row.ViewsToBilled = gap(views, billed)
		row.ViewsToBilled.Money = (t.Charged / rtb.Money(billed) * rtb.Money(row.ViewsToBilled.Count)).String()
	}
	return row
}

func gap(count, of uint64) *Gap {
	diff := int64(count) - int64(of)
	return &Gap{Count: diff, Percent: math.Round(float64(diff)/float64(of)*10_000) / 100}
}
