package admin

import (
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Limits that no honest document reaches.
const (
	maxAmount   = 1_000_000_000 * rtb.Unit
	maxCPM      = 100_000 * rtb.OneCPM
	maxFeeCPM   = 4_000 * rtb.OneCPM // so that it fits rtb.Fees.Fixed
	maxFeeShare = rtb.MaxFeeShare * shareUnit
	shareUnit   = rtb.Unit / 10_000 // of a share that was read as an amount
)

// Budget limits spend, fees included.
type Budget struct {
	Total Amount `json:"total,omitempty" doc:"Limit over its whole life; none when absent. Fees count"`
	Daily Amount `json:"daily,omitempty" doc:"Limit on each day of the advertiser's time zone; none when absent. Fees count"`
}

func (b *Budget) check(c *checker) {
	const hint = "leave it out for no limit, or pause what should not spend"
	c.positive("budget.total", &b.Total, hint)
	c.positive("budget.daily", &b.Daily, hint)
}

// positive reports an amount of zero where none would be the opposite of what
// it looks like.
func (c *checker) positive(field string, a *Amount, hint string) {
	if *a != "" && c.amount(field, a) == 0 {
		c.fail(field, string(*a), "must be more than zero; %s", hint)
	}
}

func (b Budget) compile(account rtb.AccountID) rtb.Budget {
	total, _ := rtb.ParseMoney(string(b.Total))
	daily, _ := rtb.ParseMoney(string(b.Daily))
	return rtb.Budget{Account: account, Total: total, Daily: daily}
}

// Limits are on what is delivered, beside the budget.
type Limits struct {
	Impressions Count `json:"impressions,omitzero" doc:"Impressions that are billed"`
	Clicks      Count `json:"clicks,omitzero" doc:"Impressions that are clicked, each once. Clicks come late, so there may be some more"`
}

// Count limits a number of things.
type Count struct {
	Total int64 `json:"total,omitempty" minimum:"1" maximum:"1000000000000" doc:"Limit over its whole life; none when absent" example:"1000000"`
	Daily int64 `json:"daily,omitempty" minimum:"1" maximum:"1000000000000" doc:"Limit on each day of the advertiser's time zone; none when absent" example:"50000"`
}

// maxCount is the highest limit, as the schema says as well.
const maxCount = 1_000_000_000_000

func (l *Limits) check(c *checker) {
	l.Impressions.check(c, "limits.impressions")
	l.Clicks.check(c, "limits.clicks")
}

func (n Count) check(c *checker, field string) {
	if n.Total < 0 || n.Total > maxCount {
		c.fail(field+".total", nil, "must be between 1 and %d", int64(maxCount))
	}
	if n.Daily < 0 || n.Daily > maxCount {
		c.fail(field+".daily", nil, "must be between 1 and %d", int64(maxCount))
	}
}

// append adds the limits as budgets of the accounts that count them.
func (l Limits) append(budgets []rtb.Budget, account func(rtb.Measure) rtb.AccountID) []rtb.Budget {
	if n := l.Impressions; n != (Count{}) {
		budgets = append(budgets, rtb.Budget{Account: account(rtb.OfImpressions), Total: rtb.Money(n.Total), Daily: rtb.Money(n.Daily)})
	}
	if n := l.Clicks; n != (Count{}) {
		budgets = append(budgets, rtb.Budget{Account: account(rtb.OfClicks), Total: rtb.Money(n.Total), Daily: rtb.Money(n.Daily)})
	}
	return budgets
}

// budgets are all that a line item draws on: its own and those of its campaign.
func (l *LineItem) budgets(campaign *Campaign) []rtb.Budget {
	own := func(of rtb.Measure) rtb.AccountID { return rtb.LineItemAccount(rtb.LineItemID(l.Number), of) }
	shared := func(of rtb.Measure) rtb.AccountID {
		return rtb.CampaignAccount(rtb.CampaignID(campaign.Number), of)
	}
	// Its own is there without a limit as well, so that its spend is known.
	list := l.Limits.append([]rtb.Budget{l.Budget.compile(own(rtb.OfMoney))}, own)
	if campaign.Budget != (Budget{}) {
		list = append(list, campaign.Budget.compile(shared(rtb.OfMoney)))
	}
	return campaign.Limits.append(list, shared)
}

// Share is a part of something as a decimal string with at most four decimals.
type Share string

// Schema describes a Share to the API.
func (Share) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[0-9](\.[0-9]{1,4})?$`,
		PatternDescription: `a part as a decimal string with at most four decimals, such as "0.15" for 15 percent`, Examples: []any{"0.15"}}
}

// Fees are what an impression costs the advertiser on top of its media price.
type Fees struct {
	Share Share `json:"share,omitempty" doc:"Margin on the media price, at most 5" example:"0.15"`
	CPM   CPM   `json:"cpm,omitempty" doc:"For a thousand impressions, such as the price of data" example:"0.50"`
}

func (f *Fees) check(c *checker) {
	if f.Share != "" {
		m, err := rtb.ParseMoney(string(f.Share))
		if err != nil || m < 0 || m > maxFeeShare || m%shareUnit != 0 {
			c.fail("fees.share", string(f.Share), `must be between 0 and 5 with at most four decimals, such as "0.15" for 15 percent`)
		} else {
			f.Share = Share(m.String())
		}
	}
	if c.cpm("fees.cpm", &f.CPM) > maxFeeCPM {
		c.fail("fees.cpm", string(f.CPM), "must be at most %s", maxFeeCPM*1000)
	}
}

func (f Fees) compile() rtb.Fees {
	share, _ := rtb.ParseMoney(string(f.Share))
	fixed, _ := rtb.ParseCPM(string(f.CPM))
	return rtb.Fees{Share: uint16(share / shareUnit), Fixed: uint32(fixed)}
}

// checkFees reports fees that leave nothing of what an impression is worth:
// such a line item would never bid. A goal that is wrong is reported already.
func (l *LineItem) checkFees(c *checker) {
	goal, field := l.Goal.compile(), "goal.max_cpm"
	most := goal.Max
	if goal.Type == rtb.GoalCPM && goal.Value <= most {
		most, field = goal.Value, "goal.value"
	}
	if most > 0 && l.Fees.compile().Off(most) == 0 {
		c.fail("fees.cpm", string(l.Fees.CPM), "leaves nothing for the media: %s is %s", field, most*1000)
	}
}
