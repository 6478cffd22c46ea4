package admin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"bidwell/rtb"
)

// LineItem is one buying instruction of a campaign. In its targeting, empty
// means no restriction.
type LineItem struct {
	Head
	Campaign  string    `json:"campaign" doc:"Id of its campaign" example:"spring"`
	Name      string    `json:"name" minLength:"1" maxLength:"200" example:"Runners 25-44, Berlin"`
	Status    Status    `json:"status,omitempty"`
	Flight    Flight    `json:"flight,omitzero"`
	Budget    Budget    `json:"budget,omitzero"`
	Limits    Limits    `json:"limits,omitzero"`
	Fees      Fees      `json:"fees,omitzero" doc:"On top of the price of the media. Budgets, goals and caps include them"`
	Pacing    string    `json:"pacing,omitempty" enum:"even,asap,ahead" default:"even" doc:"How the daily budget is spread over the day"`
	Goal      Goal      `json:"goal"`
	Targeting Targeting `json:"targeting,omitzero"`
	Caps      []Cap     `json:"caps,omitempty" maxItems:"16" doc:"Limits on the impressions that one user sees, in sliding windows. A line item with caps or a min_gap does not bid for users without an identifier"`
	MinGap    Duration  `json:"min_gap,omitempty" doc:"Least time between two impressions of it for one user" example:"10m"`
	Creatives []string  `json:"creatives,omitempty" maxItems:"200" doc:"Ids of the creatives it shows"`

	Rotation string            `json:"rotation,omitempty" enum:"optimize,even,weighted,sequence" default:"optimize" doc:"How it chooses among those of its creatives that fit: the one most likely to be clicked, as far as experience tells, each as often as the others, by weights, or the next of their order for each impression of the line item that the user has seen within 30 days. Unknown users get the first of a sequence"`
	Weights  map[string]uint16 `json:"weights,omitempty" doc:"For the rotation weighted: by id of the creative 1 to 1000; 1 for those that are not named"`
	Repeat   bool              `json:"sequence_repeat,omitempty" doc:"For the rotation sequence: begins again after the last creative, which stays otherwise"`
}

// Goal is what the advertiser pays for.
type Goal struct {
	Type   string `json:"type" enum:"cpm,cpc,cpa,roas" doc:"Impressions, clicks, conversions after a click, or their revenue"`
	Value  Amount `json:"value" doc:"Worth of a thousand impressions (cpm), of a click (cpc) or of a conversion (cpa); for roas what each unit of spend shall bring" example:"0.80"`
	MaxCPM CPM    `json:"max_cpm,omitempty" doc:"Highest bid for a thousand impressions; required but for cpm, where it is value when empty. Fees count" example:"6.00"`

	OrderValue Amount `json:"order_value,omitempty" doc:"For roas: what a conversion brings, until conversions of the campaign have told by their v; required" example:"60.00"`

	MaxCPC Amount `json:"max_cpc,omitempty" doc:"What a click may cost on average, fees included; no such cap when absent" example:"0.60"`
	MaxCPA Amount `json:"max_cpa,omitempty" doc:"What a conversion may cost on average, fees included; no such cap when absent. Conversions must be reported: put {CLICK_ID} into the click_url of its creatives, and send it back to /e/conversion" example:"25.00"`
}

// Cap limits the impressions that one user sees.
type Cap struct {
	Per    string   `json:"per" enum:"line-item,campaign,advertiser,creative" doc:"What is counted: impressions of this line item, of its campaign, of its advertiser, or of each creative, whichever line item shows them"`
	Limit  uint16   `json:"limit" minimum:"1" maximum:"1000"`
	Window Duration `json:"window" example:"24h"`
}

func (l *LineItem) check(c *checker) {
	l.Status.check(c)
	c.id("campaign", l.Campaign)
	l.Flight.check(c)
	l.Budget.check(c)
	if l.Pacing == "" {
		l.Pacing = "even"
	}
	known(c, "pacing", l.Pacing, paces)
	l.Goal.check(c)
	l.Limits.check(c)
	l.Fees.check(c)
	l.checkFees(c)
	l.Targeting.check(c)
	for i := range l.Caps {
		l.Caps[i].check(c, fmt.Sprintf("caps[%d]", i))
	}
	c.duration("min_gap", l.MinGap, time.Second, maxWindow)
	c.ids("creatives", l.Creatives)
	l.checkRotation(c)
}

// maxWeight is the highest weight of a creative.
const maxWeight = 1000

func (l *LineItem) checkRotation(c *checker) {
	if l.Rotation == "" {
		l.Rotation = "optimize"
	}
	known(c, "rotation", l.Rotation, rotations)
	if len(l.Weights) > 0 && l.Rotation != "weighted" {
		c.fail("weights", nil, "belong to the rotation weighted")
	}
	for _, id := range slices.Sorted(maps.Keys(l.Weights)) {
		switch w := l.Weights[id]; {
		case !slices.Contains(l.Creatives, id):
			c.fail("weights."+id, nil, "is not among its creatives")
		case w < 1 || w > maxWeight:
			c.fail("weights."+id, w, "must be between 1 and %d", maxWeight)
		}
	}
	if l.Repeat && l.Rotation != "sequence" {
		c.fail("sequence_repeat", l.Repeat, "belongs to the rotation sequence")
	}
}

func (k *Cap) check(c *checker, field string) {
	known(c, field+".per", k.Per, capScopes)
	if k.Limit == 0 {
		c.fail(field+".limit", nil, "must be at least 1")
	}
	if k.Window == "" {
		c.fail(field+".window", nil, "is required")
	}
	c.duration(field+".window", k.Window, time.Second, maxWindow)
}

func (g *Goal) check(c *checker) {
	known(c, "goal.type", g.Type, goals)
	var value rtb.Money
	if g.Type == "cpm" {
		v := CPM(g.Value)
		value = c.cpm("goal.value", &v)
		g.Value = Amount(v)
	} else {
		value = c.amount("goal.value", &g.Value)
	}
	if value == 0 {
		c.fail("goal.value", string(g.Value), "must be more than zero")
	}
	switch {
	case g.MaxCPM != "":
		if c.cpm("goal.max_cpm", &g.MaxCPM) == 0 {
			c.fail("goal.max_cpm", string(g.MaxCPM), "must be more than zero")
		}
	case g.Type != "cpm" && goals[g.Type] != 0:
		c.fail("goal.max_cpm", nil, "is required for a %s goal", g.Type)
	}
	switch {
	case g.Type == "roas" && value > maxReturn:
		c.fail("goal.value", string(g.Value), "is the return on each unit of spend: must be at most %s", maxReturn)
	case g.Type == "roas" && value > 0 && value < rtb.Unit/100:
		c.fail("goal.value", string(g.Value), "is the return on each unit of spend: must be at least 0.01")
	case g.Type == "roas" && g.OrderValue == "":
		c.fail("goal.order_value", nil, "is required for a roas goal")
	case g.Type != "roas" && g.OrderValue != "":
		c.fail("goal.order_value", string(g.OrderValue), "is for a roas goal only")
	}
	c.positive("goal.order_value", &g.OrderValue, "what a conversion brings")
	const hint = "leave it out for no such cap"
	c.positive("goal.max_cpc", &g.MaxCPC, hint)
	c.positive("goal.max_cpa", &g.MaxCPA, hint)
}

// maxReturn is the highest return on spend that makes sense as a goal.
const maxReturn = 10_000 * rtb.Unit

func (l *LineItem) refer(each func(field, kind, id string)) {
	each("campaign", campaigns, l.Campaign)
	list := func(field, kind string, ids []string) {
		for i, id := range ids {
			each(fmt.Sprintf("%s[%d]", field, i), kind, id)
		}
	}
	list("creatives", creatives, l.Creatives)
	list("targeting.segments.any", segments, l.Targeting.Segments.Any)
	list("targeting.segments.all", segments, l.Targeting.Segments.All)
	list("targeting.segments.none", segments, l.Targeting.Segments.None)
	list("targeting.inventory.deals", deals, l.Targeting.Inventory.Deals)
	list("targeting.inventory.exchanges", exchanges, l.Targeting.Inventory.Exchanges)
}

func (r *compilation) lineItem(l *LineItem, campaign *Campaign, owner *Advertiser) (item rtb.LineItem, err error) {
	item = rtb.LineItem{
		ID: rtb.LineItemID(l.Number), Key: l.ID, Name: l.Name,
		Campaign: rtb.CampaignID(campaign.Number), CampaignKey: campaign.ID, Advertiser: rtb.AdvertiserID(owner.Number), Seat: owner.Seat,
		Budgets: l.budgets(campaign), Fees: l.Fees.compile(), Pacing: paces[l.Pacing], Goal: l.Goal.compile(),
		Rotation: rotations[l.Rotation], Repeat: l.Repeat,
	}
	if item.Flight, err = flight(l.Flight, campaign.Flight); err != nil {
		return item, err
	}
	if item.Location, err = r.zone(owner.Timezone); err != nil {
		return item, err
	}
	for _, k := range l.Caps {
		window, err := time.ParseDuration(string(k.Window))
		if err != nil {
			return item, err
		}
		item.Caps = append(item.Caps, rtb.FrequencyCap{Per: capScopes[k.Per], Limit: k.Limit, Window: window})
	}
	if l.MinGap != "" {
		if item.MinGap, err = time.ParseDuration(string(l.MinGap)); err != nil {
			return item, err
		}
	}
	if err := r.targeting(&l.Targeting, &item.Targeting); err != nil {
		return item, err
	}
	return item, r.addCreatives(l, owner, &item)
}

// flight is the time that a line item has in common with its campaign.
func flight(item, campaign Flight) (rtb.Flight, error) {
	var f rtb.Flight
	for _, part := range []Flight{item, campaign} {
		if part.Start != "" {
			start, err := time.Parse(time.RFC3339, string(part.Start))
			if err != nil {
				return f, err
			}
			if start.After(f.Start) {
				f.Start = start
			}
		}
		if part.End != "" {
			end, err := time.Parse(time.RFC3339, string(part.End))
			if err != nil {
				return f, err
			}
			if f.End.IsZero() || end.Before(f.End) {
				f.End = end
			}
		}
	}
	if !f.End.IsZero() && !f.End.After(f.Start) {
		return f, errors.New("its flight and that of its campaign have no time in common")
	}
	return f, nil
}

func (g *Goal) compile() rtb.Goal {
	out := rtb.Goal{Type: goals[g.Type]}
	switch out.Type {
	case rtb.GoalCPM:
		out.Value, _ = rtb.ParseCPM(string(g.Value))
		out.Max = out.Value
	case rtb.GoalROAS:
		share, _ := rtb.ParseMoney(string(g.Value))
		out.Return = uint32(share / (rtb.Unit / 100))
		out.Value, _ = rtb.ParseMoney(string(g.OrderValue))
	default:
		out.Value, _ = rtb.ParseMoney(string(g.Value))
	}
	if g.MaxCPM != "" {
		out.Max, _ = rtb.ParseCPM(string(g.MaxCPM))
	}
	out.MaxCPC, _ = rtb.ParseMoney(string(g.MaxCPC))
	out.MaxCPA, _ = rtb.ParseMoney(string(g.MaxCPA))
	return out
}

// What the names in a line item stand for.
var (
	paces     = map[string]rtb.Pacing{"even": rtb.PaceEven, "asap": rtb.PaceASAP, "ahead": rtb.PaceAhead}
	goals     = map[string]rtb.GoalType{"cpm": rtb.GoalCPM, "cpc": rtb.GoalCPC, "cpa": rtb.GoalCPA, "roas": rtb.GoalROAS}
	rotations = map[string]rtb.Rotation{
		"optimize": rtb.RotateOptimize, "even": rtb.RotateEven, "weighted": rtb.RotateWeighted, "sequence": rtb.RotateSequence,
	}
	capScopes = map[string]rtb.CapScope{
		"line-item": rtb.CapLineItem, "campaign": rtb.CapCampaign, "advertiser": rtb.CapAdvertiser, "creative": rtb.CapCreative,
	}
)
