package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bidwell/rtb"
)

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
)

func (r *compilation) targeting(t *Targeting, out *rtb.Targeting) (err error) {
	for _, list := range []struct {
		ids []string
		out *[]rtb.SegmentID
	}{{t.Segments.Any, &out.SegmentsAny}, {t.Segments.All, &out.SegmentsAll}, {t.Segments.None, &out.SegmentsNone}} {
		for _, id := range list.ids {
			number, ok := r.segments[id]
			if !ok {
				return fmt.Errorf("segment %s does not exist", id)
			}
			*list.out = append(*list.out, number)
		}
	}
	for _, code := range t.Geo.Countries {
		out.Countries = append(out.Countries, [2]byte([]byte(code)))
	}
	for _, code := range t.Languages {
		out.Languages = append(out.Languages, [2]byte([]byte(code)))
	}
	for _, f := range t.Geo.Fences {
		out.Fences = append(out.Fences, rtb.Fence(f))
	}
	out.Regions, out.Cities, out.Zips, out.Carriers = t.Geo.Regions, t.Geo.Cities, t.Geo.Zips, t.Carriers
	if out.Devices, err = numbersOf("device", t.Devices, deviceTypes); err != nil {
		return err
	}
	if out.Connections, err = numbersOf("connection", t.Connections, connectionTypes); err != nil {
		return err
	}
	for _, name := range t.OS {
		system, ok := systems[name]
		if !ok {
			return fmt.Errorf("operating system %q is not known", name)
		}
		out.OS = append(out.OS, system)
	}
	out.UserTime = t.Timezone == "user"
	set, wrong := hours(t.Hours)
	if wrong != "" {
		return fmt.Errorf("hours: %s", wrong)
	}
	out.Hours = set
	return r.inventory(&t.Inventory, out)
}

func (r *compilation) inventory(in *InventoryTargeting, out *rtb.Targeting) error {
	out.AllowDomains, out.DenyDomains = in.Allow, in.Deny
	out.AllowApps, out.DenyApps = in.Apps, in.DenyApps
	out.AllowCategories, out.DenyCategories = in.Categories, in.DenyCategories
	for _, name := range in.Media {
		media, ok := inventoryKinds[name]
		if !ok {
			return fmt.Errorf("inventory %q is not known", name)
		}
		out.Media = append(out.Media, media)
	}
	for _, name := range in.Exchanges {
		number, ok := r.exchange(name)
		if !ok {
			return fmt.Errorf("exchange %s is not known", name)
		}
		out.Exchanges = append(out.Exchanges, number)
	}
	return r.addDeals(in.Deals, out)
}

// addDeals replaces deal documents by what they stand for. An id without a
// document is the exchange's own. Where all deals are of known exchanges and the
// line item names none, it serves on those.
func (r *compilation) addDeals(ids []string, out *rtb.Targeting) error {
	var from []rtb.ExchangeID
	anywhere := len(out.Exchanges) > 0
	for _, id := range ids {
		d := r.deals[id].doc
		if d == nil {
			out.Deals = append(out.Deals, id)
			anywhere = true
			continue
		}
		out.Deals = append(out.Deals, d.Deal)
		if d.Exchange == "" {
			anywhere = true
			continue
		}
		number, ok := r.exchange(d.Exchange)
		if !ok {
			return fmt.Errorf("exchange %s of deal %s is not known", d.Exchange, id)
		}
		from = append(from, number)
	}
	if !anywhere {
		slices.Sort(from)
		out.Exchanges = slices.Compact(from)
	}
	return nil
}

// numbersOf replaces names by OpenRTB's numbers, each once and in order.
func numbersOf(what string, names []string, table map[string][]uint8) ([]uint8, error) {
	var list []uint8
	for _, name := range names {
		numbers, ok := table[name]
		if !ok {
			return nil, fmt.Errorf("%s %q is not known", what, name)
		}
		list = append(list, numbers...)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
