package loadtest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"bidwell/rtb"
)

// ReplayResult is what a replay came to. Amounts are in the unit of the log.
type ReplayResult struct {
	Auctions     int     `json:"auctions"`
	Bids         int     `json:"bids"`
	Wins         int     `json:"wins"`
	Spend        float64 `json:"spend"`
	Clicks       int     `json:"clicks"`
	Value        float64 `json:"value"` // sum of pctr over wins
	Budget       float64 `json:"budget"`
	Utilisation  float64 `json:"utilisation"`   // spend over budget
	MaxDeviation float64 `json:"max_deviation"` // of what is spent from the plan, at the end of 96 slots, over the budget
	Overspend    float64 `json:"overspend"`     // spend beyond the budget, when all notices have come: spend never falls
	ECPC         float64 `json:"ecpc"`          // spend over clicks; zero without clicks
	ExpectedCPC  float64 `json:"expected_cpc"`  // spend over value

	CapRatio float64 `json:"cap_ratio,omitempty"` // expected CPC over its cap

	// The oracle knows all prices beforehand: it takes the auctions with the
	// most pctr for their price until the budget is spent, the last in part.
	OracleValue float64 `json:"oracle_value"`
	OracleShare float64 `json:"oracle_share"` // value over the oracle's

	*Surplus // nil without a value

	Bidders      int     `json:"bidders"`
	BidsByBidder []int   `json:"bids_by_bidder"` // the first is the one that was dropped
	LateCharges  float64 `json:"late_charges"`   // part of the spend that no lease covered
	HoldSeconds  float64 `json:"hold_seconds"`   // how long a bid held its price

	From       time.Time `json:"from"`
	Until      time.Time `json:"until"`
	Multiplier float64   `json:"multiplier"` // at the end, the mean of the bidders
	Worth      float64   `json:"worth"`      // of a click at a multiplier of 1
	OutOfOrder int       `json:"out_of_order,omitempty"`
	Seconds    float64   `json:"seconds"`
}

// score compares what was spent with the books and the plan, and what was won
// with the oracle.
func (r *replaying) score(ctx context.Context) error {
	statements, err := r.books.Statements(ctx, r.now)
	if err != nil {
		return err
	}
	booked, late := rtb.Money(0), rtb.Money(0)
	for _, s := range statements {
		if s.Account == r.item.Budgets[0].Account {
			booked, late = s.Spent, s.Late
		}
	}
	if booked != r.spent {
		return fmt.Errorf("the books say that %v was spent, and the auctions %v",
			float64(booked)/r.scale, float64(r.spent)/r.scale)
	}
	l, res := r.Log, &r.result
	res.Auctions, res.OutOfOrder, res.Budget = l.Len(), l.OutOfOrder, r.Budget
	res.Spend = float64(r.spent) / r.scale
	res.Utilisation = res.Spend / r.Budget
	res.Bidders, res.LateCharges = len(r.bidders), float64(late)/r.scale
	for i := range r.bidders {
		res.BidsByBidder = append(res.BidsByBidder, r.bidders[i].bids)
	}
	res.Overspend = max(0, float64(r.spent-r.item.Budgets[0].Total)/r.scale)
	if res.Clicks > 0 {
		res.ECPC = res.Spend / float64(res.Clicks)
	}
	if res.Value > 0 {
		res.ExpectedCPC = res.Spend / res.Value
		if r.MaxCPC > 0 {
			res.CapRatio = res.ExpectedCPC / r.MaxCPC
		}
	}
	for i, spent := range r.slots {
		plan := planned(r.Profile, float64(i+1)/ReplaySlots)
		res.MaxDeviation = max(res.MaxDeviation, math.Abs(float64(spent)/r.scale/r.Budget-plan))
	}
	most := math.Inf(1)
	if r.Value > 0 {
		most = r.Value
	}
	left := r.Budget
	for _, i := range oracleOrder(l, l.Len(), most) {
		cost := l.cost(int(i))
		if cost > left {
			res.OracleValue += l.PCTR[i] * left / cost
			break
		}
		left -= cost
		res.OracleValue += l.PCTR[i]
	}
	if res.OracleValue > 0 {
		res.OracleShare = res.Value / res.OracleValue
	}
	r.surplus()
	return nil
}

// planned is the part of the budget that the plan spends in a part of the time.
func planned(profile []float64, part float64) float64 {
	if len(profile) == 0 {
		return part
	}
	sum, before := 0.0, 0.0
	at := part * float64(len(profile))
	for i, share := range profile {
		sum += share
		before += share * max(0, min(1, at-float64(i)))
	}
	return before / sum
}

// oracleOrder are the first n rows whose price for a click is at most that, the
// cheapest first.
func oracleOrder(l *AuctionLog, n int, most float64) []int32 {
	price := make([]float32, n)
	rows := make([]int32, 0, n)
	for i := range n {
		if p := l.cost(i) / l.PCTR[i]; l.PCTR[i] > 0 && p <= most {
			price[i] = float32(p)
			rows = append(rows, int32(i))
		}
	}
	slices.SortFunc(rows, func(a, b int32) int { return cmp.Compare(price[a], price[b]) })
	return rows
}

// WriteText prints the result for people.
func (r *ReplayResult) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, `%s from %s to %s
%s, %s, %s
spend          %.6g of %.6g
utilisation    %.4f
max deviation  %.4f from the plan, at the end of %d slots
overspend      %.6g, and %.6g charged to no lease
bidders        %d, a bid holds its price for %v
value          %.6g (sum of pctr), %.4f of the oracle's %.6g
CPC            %s, %.6g expected
multiplier     %.6g, of a click worth %.6g
%s`,
		counted(r.Auctions, "auction"), r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339),
		counted(r.Bids, "bid"), counted(r.Wins, "win"), counted(r.Clicks, "click"),
		r.Spend, r.Budget, r.Utilisation, r.MaxDeviation, ReplaySlots, r.Overspend, r.LateCharges,
		r.Bidders, time.Duration(r.HoldSeconds*float64(time.Second)).Round(time.Second),
		r.Value, r.OracleShare, r.OracleValue, clickCost(r), r.ExpectedCPC, r.Multiplier, r.Worth, r.Surplus.text())
	return err
}

func clickCost(r *ReplayResult) string {
	if r.Clicks == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.6g", r.ECPC)
}
