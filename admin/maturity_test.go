package admin_test

import (
	"testing"

	"bidwell/admin"
	"bidwell/models"
)

func TestMaturity(t *testing.T) {
	s := start(t, nil)
	s.want(501, "GET", "/v1/maturity", "")

	s = start(t, func(p *admin.Parts) {
		p.Maturity = func() []models.Maturity {
			return []models.Maturity{
				{Clicks: 40, Conversions: 4, Week: 1},
				{Campaign: 1, Clicks: 30, Conversions: 3, Hour: .25, Day: .5, Week: .75, Recent: models.Recent{Clicks: 20, Conversions: 2, Due: 2.5, Expected: 4}},
				{Campaign: 99, Clicks: 10, Conversions: 1},
			}
		}
	})
	s.seed()
	m, err := s.client().Maturity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := admin.Maturity{
		Campaign: "spring", Clicks: 30, Conversions: 3, WithinHour: .25, WithinDay: .5, WithinWeek: .75,
		Recent: admin.RecentClicks{Clicks: 20, Conversions: 2, Due: 2.5, Expected: 4},
	}
	if len(m.Campaigns) != 2 || m.Campaigns[0] != want || m.Campaigns[1].Campaign != "#99" || m.All.Clicks != 40 || m.All.Campaign != "" {
		t.Errorf("%+v", m)
	}
}
