package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"bidwell/models"
	"bidwell/rtb"
)

// Shading compares what bids in first-price auctions cost since the bidder began
// to learn with those of a control group that bids its whole worth.
type Shading struct {
	Shaded  ShadedBids `json:"shaded" doc:"Bids that were lowered"`
	Control ShadedBids `json:"control" doc:"A random part of the bids that was not"`

	Saved   *Interval `json:"saved,omitempty" doc:"The part of the control group's price that shading saves, for each unit of worth that was won; absent until both groups have won thirty impressions"`
	Surplus *Interval `json:"surplus,omitempty" doc:"What a bid brings beyond its price, less the same of the control group, in parts of a bid's worth; absent likewise"`
}

// ShadedBids are the bids of one group whose outcome is known.
type ShadedBids struct {
	Bids    int64  `json:"bids"`
	Wins    int64  `json:"wins"`
	Spend   Amount `json:"spend" doc:"Paid for the media of the wins"`
	Worth   Amount `json:"worth" doc:"Of what was won"`
	Surplus Amount `json:"surplus" doc:"Worth of the wins beyond what they cost"`
}

// Interval is an estimate and where the truth is with 95 % confidence.
type Interval struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

func (s *Server) registerShading() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-shading", Method: http.MethodGet, Path: "/v1/shading", Tags: []string{"shading"},
		Summary: "What shading saves in first-price auctions, against a control group",
		Errors:  []int{501},
	}, func(context.Context, *struct{}) (*struct{ Body Shading }, error) {
		if s.parts.Shading == nil {
			return nil, huma.Error501NotImplemented("this process shades no bids")
		}
		return &struct{ Body Shading }{shadingOf(s.parts.Shading())}, nil
	})
}

func shadingOf(v models.Savings) Shading {
	sum := func(v float64) Amount { return money(rtb.RoundMoney(v)) }
	group := func(g models.SpendPerWin) ShadedBids {
		return ShadedBids{Bids: g.Bids, Wins: g.Wins, Spend: sum(g.Spend), Worth: sum(g.Worth), Surplus: sum(g.Surplus)}
	}
	out := Shading{Shaded: group(v.Shaded), Control: group(v.Control)}
	if v.Distinguished {
		out.Saved = &Interval{v.Saved, v.SavedLow, v.SavedHigh}
		out.Surplus = &Interval{v.Surplus, v.SurplusLow, v.SurplusHigh}
	}
	return out
}
