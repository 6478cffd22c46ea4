package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"bidwell/models"
)

// Maturities are how late conversions are, and whether those of recent clicks
// come as they should.
type Maturities struct {
	All       Maturity   `json:"all" doc:"All campaigns together"`
	Campaigns []Maturity `json:"campaigns" nullable:"false" doc:"Those with clicks"`
}

// Maturity is that of one campaign.
type Maturity struct {
	Campaign    string       `json:"campaign" doc:"Id of the campaign; its number after a # where it was deleted; empty for all together"`
	Clicks      uint64       `json:"clicks" doc:"That were learned from"`
	Conversions uint64       `json:"conversions" doc:"Of these clicks, those that were heard of"`
	WithinHour  float64      `json:"within_hour" doc:"Part of the conversions that is heard of within an hour of the click. Where a campaign has few, that of all; before there are any, what is usual"`
	WithinDay   float64      `json:"within_day"`
	WithinWeek  float64      `json:"within_week"`
	Recent      RecentClicks `json:"recent" doc:"The last clicks, which the predicted rate of conversions is held against: 4,096 of all campaigns together"`
}

// RecentClicks are those that the rate of conversions is held against.
type RecentClicks struct {
	Clicks      int     `json:"clicks"`
	Conversions int     `json:"conversions" doc:"That were heard of"`
	Due         float64 `json:"due" doc:"Conversions that should have been heard of by now, by the predicted rates and how late conversions are"`
	Expected    float64 `json:"expected" doc:"Conversions that should be heard of in the end"`
}

func (s *Server) registerMaturity() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-maturity", Method: http.MethodGet, Path: "/v1/maturity", Tags: []string{"models"},
		Summary: "How late conversions are, by campaign, and how many of those of recent clicks have come",
		Errors:  []int{500, 501},
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body Maturities }, error) {
		if s.parts.Maturity == nil {
			return nil, huma.Error501NotImplemented("this process learns nothing")
		}
		ids, err := s.names.all(ctx, s.docs, campaigns)
		if err != nil {
			return nil, s.problem(err)
		}
		out := Maturities{Campaigns: []Maturity{}}
		for _, m := range s.parts.Maturity() {
			one := Maturity{
				Clicks: m.Clicks, Conversions: m.Conversions, WithinHour: m.Hour, WithinDay: m.Day, WithinWeek: m.Week, Recent: recentClicks(m.Recent),
			}
			if m.Campaign == 0 {
				out.All = one
				continue
			}
			one.Campaign = nameOf(ids, uint32(m.Campaign))
			out.Campaigns = append(out.Campaigns, one)
		}
		return &struct{ Body Maturities }{out}, nil
	})
}

func recentClicks(r models.Recent) RecentClicks {
	return RecentClicks{Clicks: r.Clicks, Conversions: r.Conversions, Due: r.Due, Expected: r.Expected}
}
