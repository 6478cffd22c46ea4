package models

import (
	"cmp"
	"slices"

	"bidwell/rtb"
)

// Maturity is how late the conversions of a campaign are, and how many of those
// of its recent clicks have come.
type Maturity struct {
	Campaign            rtb.CampaignID // zero for all together
	Clicks, Conversions uint64         // that were learned from
	Recent              Recent

	Hour, Day, Week float64 // parts of the conversions that are heard of within so long of their click
}

// Recent are the last clicks, those that a conversion rate is held against.
type Recent struct {
	Clicks, Conversions int
	Due                 float64 // conversions that should have come by now, as bids are made
	Expected            float64 // conversions that should come at all
}

// Maturities are those of all campaigns with clicks, and first of all of them
// together, as of the last Model. There are none before the first click.
func (l *Learner) Maturities() []Maturity {
	var list []Maturity
	for campaign, g := range l.lags.campaigns {
		list = append(list, Maturity{
			Campaign: campaign, Clicks: g.Clicks, Conversions: g.Converted, Recent: g.recent,
			Hour: l.Maturity(campaign, 3600), Day: l.Maturity(campaign, 24*3600), Week: l.Maturity(campaign, 7*24*3600),
		})
	}
	slices.SortFunc(list, func(a, b Maturity) int { return cmp.Compare(a.Campaign, b.Campaign) })
	return list
}
