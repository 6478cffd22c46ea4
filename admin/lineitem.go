package admin

import (
	"fmt"
	"slices"
	"strings"
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
	Caps      []Cap     `json:"caps,omitempty" maxItems:"16" doc:"Limits on the impressions that one user sees"`
	Creatives []string  `json:"creatives,omitempty" maxItems:"200" doc:"Ids of the creatives it shows"`
}

// Goal is what the advertiser pays for.
type Goal struct {
	Type   string `json:"type" enum:"cpm,cpc" doc:"Impressions or clicks"`
	Value  Amount `json:"value" doc:"Worth of a thousand impressions (cpm) or of a click (cpc)" example:"0.80"`
	MaxCPM CPM    `json:"max_cpm,omitempty" doc:"Highest bid for a thousand impressions; required for cpc, value when empty for cpm. Fees count" example:"6.00"`

	MaxCPC Amount `json:"max_cpc,omitempty" doc:"What a click may cost on average, fees included; no such cap when absent" example:"0.60"`
	MaxCPA Amount `json:"max_cpa,omitempty" doc:"What a conversion may cost on average, fees included; no such cap when absent. Conversions must be reported: put {CLICK_ID} into the click_url of its creatives, and send it back to /e/conversion" example:"25.00"`
}

// Targeting is where and to whom a line item may serve.
type Targeting struct {
	Segments    SegmentTargeting        `json:"segments,omitzero"`
	Geo         GeoTargeting            `json:"geo,omitzero"`
	Devices     []string                `json:"devices,omitempty" maxItems:"16" enum:"phone,tablet,mobile,desktop,tv,set-top,connected,screen" doc:"mobile is any of phone, tablet and the unspecific kind; screen is out of home"`
	OS          []string                `json:"os,omitempty" maxItems:"16" enum:"android,ios,windows,macos,linux,chromeos,tvos,other"`
	Languages   []string                `json:"languages,omitempty" maxItems:"64" doc:"ISO 639-1"`
	Connections []string                `json:"connections,omitempty" maxItems:"16" enum:"ethernet,wifi,cellular,2g,3g,4g,5g"`
	Carriers    []string                `json:"carriers,omitempty" maxItems:"100" maxLength:"100" doc:"Names, or MCC-MNC such as 262-01"`
	Inventory   InventoryTargeting      `json:"inventory,omitzero"`
	Hours       map[string][]HourWindow `json:"hours,omitempty" doc:"Hours of the week by day: monday to sunday, each with windows [from, to) in whole hours. A day that is not named does not serve" example:"{\"monday\":[[7,9],[17,22]]}"`
	Timezone    string                  `json:"timezone,omitempty" enum:"user,advertiser" default:"advertiser" doc:"Whose hours: the user's where known, or the advertiser's"`
}

// HourWindow is from one hour, included, to another, left out.
type HourWindow [2]int

// SegmentTargeting chooses users by the segments they are in.
type SegmentTargeting struct {
	Any  []string `json:"any,omitempty" maxItems:"500" doc:"In one of these"`
	All  []string `json:"all,omitempty" maxItems:"100" doc:"In every one of these"`
	None []string `json:"none,omitempty" maxItems:"500" doc:"In none of these"`
}

// GeoTargeting chooses places.
type GeoTargeting struct {
	Countries []string `json:"countries,omitempty" maxItems:"250" doc:"ISO 3166-1 alpha-2" example:"[\"DE\"]"`
	Regions   []string `json:"regions,omitempty" maxItems:"500" maxLength:"64" doc:"\"US-CA\", or \"CA\" together with countries"`
	Cities    []string `json:"cities,omitempty" maxItems:"2000" maxLength:"100"`
	Zips      []string `json:"zips,omitempty" maxItems:"10000" maxLength:"16" doc:"A trailing * makes it a prefix"`
	Fences    []Fence  `json:"fences,omitempty" maxItems:"1000"`
}

// Fence is a circle on the ground.
type Fence struct {
	Lat    float64 `json:"lat" minimum:"-90" maximum:"90"`
	Lon    float64 `json:"lon" minimum:"-180" maximum:"180"`
	Meters float64 `json:"meters" exclusiveMinimum:"0" maximum:"500000"`
}

// InventoryTargeting chooses sites, apps and ways to buy.
type InventoryTargeting struct {
	Allow          []string `json:"allow,omitempty" maxItems:"10000" maxLength:"253" doc:"Domains; each covers its subdomains"`
	Deny           []string `json:"deny,omitempty" maxItems:"10000" maxLength:"253" doc:"Domains; each covers its subdomains"`
	Apps           []string `json:"apps,omitempty" maxItems:"10000" maxLength:"200" doc:"Bundles that are allowed"`
	DenyApps       []string `json:"deny_apps,omitempty" maxItems:"10000" maxLength:"200" doc:"Bundles that are not"`
	Categories     []string `json:"categories,omitempty" maxItems:"500" maxLength:"32" doc:"Categories of the inventory; one of the IAB form covers its children"`
	DenyCategories []string `json:"deny_categories,omitempty" maxItems:"500" maxLength:"32"`
	Deals          []string `json:"deals,omitempty" maxItems:"500" maxLength:"128" doc:"Only through one of these: ids of deal documents, or the exchanges' own deal ids"`
	Exchanges      []string `json:"exchanges,omitempty" maxItems:"100" doc:"Names of exchanges"`
	Media          []string `json:"media,omitempty" maxItems:"3" enum:"site,app,dooh"`
}

// Cap limits the impressions that one user sees.
type Cap struct {
	Per    string   `json:"per" enum:"line-item,campaign,advertiser,creative"`
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
		k, field := &l.Caps[i], fmt.Sprintf("caps[%d]", i)
		known(c, field+".per", k.Per, capScopes)
		if k.Limit == 0 {
			c.fail(field+".limit", nil, "must be at least 1")
		}
		if k.Window == "" {
			c.fail(field+".window", nil, "is required")
		}
		c.duration(field+".window", k.Window, time.Second, maxWindow)
	}
	c.ids("creatives", l.Creatives)
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
	case g.Type == "cpc":
		c.fail("goal.max_cpm", nil, "is required for a %s goal", g.Type)
	}
	const hint = "leave it out for no such cap"
	c.positive("goal.max_cpc", &g.MaxCPC, hint)
	c.positive("goal.max_cpa", &g.MaxCPA, hint)
}

func (t *Targeting) check(c *checker) {
	t.Segments.check(c)
	t.Geo.check(c)
	c.codes("targeting.languages", t.Languages, strings.ToLower, "a language of two letters such as de")
	c.words("targeting.carriers", t.Carriers)
	in := &t.Inventory
	c.domains("targeting.inventory.allow", in.Allow)
	c.domains("targeting.inventory.deny", in.Deny)
	c.words("targeting.inventory.apps", in.Apps)
	c.words("targeting.inventory.deny_apps", in.DenyApps)
	c.words("targeting.inventory.categories", in.Categories)
	c.words("targeting.inventory.deny_categories", in.DenyCategories)
	c.words("targeting.inventory.deals", in.Deals)
	c.ids("targeting.inventory.exchanges", in.Exchanges)
	if t.Hours != nil {
		if _, wrong := hours(t.Hours); wrong != "" {
			c.fail("targeting.hours", nil, "%s", wrong)
		}
	}
}

func (s *SegmentTargeting) check(c *checker) {
	c.ids("targeting.segments.any", s.Any)
	c.ids("targeting.segments.all", s.All)
	c.ids("targeting.segments.none", s.None)
	for i, id := range s.None {
		if slices.Contains(s.All, id) || len(s.Any) == 1 && s.Any[0] == id {
			c.fail(fmt.Sprintf("targeting.segments.none[%d]", i), id, "is also required, so nobody would match")
		}
	}
}

func (g *GeoTargeting) check(c *checker) {
	c.codes("targeting.geo.countries", g.Countries, strings.ToUpper, "a country of two letters such as DE")
	c.words("targeting.geo.regions", g.Regions)
	c.words("targeting.geo.cities", g.Cities)
	c.words("targeting.geo.zips", g.Zips)
	for i, region := range g.Regions {
		field := fmt.Sprintf("targeting.geo.regions[%d]", i)
		country, _, ok := strings.Cut(region, "-")
		switch {
		case !ok && len(g.Countries) == 0:
			c.fail(field, region, `must name its country, as in "US-CA", or stand beside countries`)
		case ok && len(country) == 2 && len(g.Countries) > 0 && !slices.Contains(g.Countries, strings.ToUpper(country)):
			c.fail(field, region, "is in a country that is not among targeting.geo.countries")
		}
	}
	for i, zip := range g.Zips {
		if star := strings.IndexByte(zip, '*'); star == 0 || star > 0 && star != len(zip)-1 {
			c.fail(fmt.Sprintf("targeting.geo.zips[%d]", i), zip, "may have a * at its end only, after at least one character")
		}
	}
}

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

var weekdays = map[string]time.Weekday{
	"sunday": time.Sunday, "monday": time.Monday, "tuesday": time.Tuesday, "wednesday": time.Wednesday,
	"thursday": time.Thursday, "friday": time.Friday, "saturday": time.Saturday,
}

// hours is the set of hours that windows by day name, or what is wrong with
// them. Windows that name no hour at all are wrong: such a line item would
// never serve.
func hours(days map[string][]HourWindow) (set rtb.WeekHours, wrong string) {
	if len(days) == 0 {
		return set, ""
	}
	for name, windows := range days {
		day, ok := weekdays[name]
		if !ok {
			return set, fmt.Sprintf("%q is not a day: want monday to sunday", name)
		}
		if len(windows) > 24 {
			return set, name + " has more than 24 windows"
		}
		for _, w := range windows {
			if w[0] < 0 || w[1] > 24 || w[0] >= w[1] {
				return set, fmt.Sprintf("%s has the window [%d, %d]: want 0 <= from < to <= 24; split one that passes midnight", name, w[0], w[1])
			}
			for h := w[0]; h < w[1]; h++ {
				set.Add(day, h)
			}
		}
	}
	if !set.Set {
		return set, "names no hour, so it would never serve"
	}
	return set, ""
}

// Names of OpenRTB's numbers.
var (
	// OpenRTB list "device types".
	deviceTypes = map[string][]uint8{
		"mobile": {1, 4, 5}, "desktop": {2}, "tv": {3}, "phone": {4}, "tablet": {5}, "connected": {6}, "set-top": {7}, "screen": {8},
	}
	systems = map[string]rtb.OS{
		"android": rtb.Android, "ios": rtb.IOS, "windows": rtb.Windows, "macos": rtb.MacOS, "linux": rtb.Linux,
		"chromeos": rtb.ChromeOS, "tvos": rtb.TVOS, "other": rtb.OSOther,
	}
	// OpenRTB list "connection types"; 3 is cellular of an unknown generation.
	connectionTypes = map[string][]uint8{
		"ethernet": {1}, "wifi": {2}, "cellular": {3, 4, 5, 6, 7}, "2g": {4}, "3g": {5}, "4g": {6}, "5g": {7},
	}
	inventoryKinds = map[string]rtb.InventoryKind{"site": rtb.Site, "app": rtb.App, "dooh": rtb.DOOH}
	paces          = map[string]rtb.Pacing{"even": rtb.PaceEven, "asap": rtb.PaceASAP, "ahead": rtb.PaceAhead}
	goals          = map[string]rtb.GoalType{"cpm": rtb.GoalCPM, "cpc": rtb.GoalCPC}
	capScopes      = map[string]rtb.CapScope{
		"line-item": rtb.CapLineItem, "campaign": rtb.CapCampaign, "advertiser": rtb.CapAdvertiser, "creative": rtb.CapCreative,
	}
)
