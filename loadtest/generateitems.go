package loadtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// LineItemsConfig sets what line items [WriteLineItems] makes.
type LineItemsConfig struct {
	Seed  uint64
	Count int
	// Progress is told now and then how many are done; nil for none.
	Progress func(done int)
}

// WriteLineItems writes line items with the segments, advertisers, campaigns
// and creatives that they need, as one JSON object of documents by kind and id
// that `bidwell apply` reads, one document a line. Their budgets are large, so
// that a load test does not come to their end.
func WriteLineItems(w io.Writer, cfg LineItemsConfig) error {
	if cfg.Count <= 0 {
		return errors.New("count: must be positive")
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int) {}
	}
	c := newCampaigns(cfg.Seed, cfg.Count)
	out := bufio.NewWriterSize(w, 256<<10)
	for i, section := range [...]struct {
		kind  string
		count int
		make  func(i int) (id string, doc document)
	}{
		{"segments", segmentCount, func(i int) (string, document) { return segmentNames[i], document{"name": segmentNames[i]} }},
		{"advertisers", c.advertisers, c.advertiser},
		{"campaigns", c.campaigns, c.campaign},
		{"creatives", c.advertisers * len(creativeKinds), c.creative},
		{"line-items", cfg.Count, c.lineItem},
	} {
		before := "{\n"
		if i > 0 {
			before = "\n},\n"
		}
		fmt.Fprintf(out, "%s%q: {", before, section.kind) // a bufio.Writer keeps its error for Flush
		for n := range section.count {
			id, doc := section.make(n)
			text, err := json.Marshal(doc)
			if err != nil {
				return fmt.Errorf("%s %s: %w", section.kind, id, err)
			}
			comma := ","
			if n == 0 {
				comma = ""
			}
			fmt.Fprintf(out, "%s\n  %q: %s", comma, id, text)
			if n%progressStep == 0 && section.kind == "line-items" {
				cfg.Progress(n)
			}
		}
	}
	out.WriteString("\n}\n}\n")
	return out.Flush()
}

// document is one resource of the admin API.
type document map[string]any

// campaigns makes advertisers with their campaigns, creatives and line items.
// Any of them is made when asked for, always the same for a seed.
type campaigns struct {
	seed                              uint64
	lineItems, advertisers, campaigns int
}

// Up to 20 line items belong to an advertiser and 10 to a campaign, until
// there are so many that advertisers would not fit their names.
func newCampaigns(seed uint64, lineItems int) *campaigns {
	c := &campaigns{seed: seed ^ 0x6974656d73, lineItems: lineItems}
	c.advertisers = min((lineItems+19)/20, 2000)
	c.campaigns = min((lineItems+9)/10, 2*c.advertisers)
	return c
}

func (c *campaigns) dice(kind, i int) dice { return dice(scramble(c.seed+uint64(kind)<<56, uint64(i))) }

var brandWords = [...]string{
	"acorn", "birch", "comet", "delta", "ember", "fjord", "grove", "harbor", "indigo", "juniper",
	"kite", "lumen", "maple", "nectar", "orchid", "pebble", "quartz", "river", "summit", "tundra",
}

// brandCategories are what advertisers sell; none that requests block.
var brandCategories = [...]string{"IAB2-10", "IAB6", "IAB8-5", "IAB10", "IAB13", "IAB16", "IAB17-18", "IAB18", "IAB19-6", "IAB20", "IAB22"}

func brandID(i int) string {
	return fmt.Sprintf("%s-%s-%d", brandWords[i%len(brandWords)], brandWords[i/len(brandWords)%len(brandWords)], i)
}

func (c *campaigns) advertiser(i int) (string, document) {
	d := c.dice(1, i)
	id := brandID(i)
	return id, document{
		"name": "Brand " + strconv.Itoa(i), "domains": []string{id + ".example"},
		"categories": []string{brandCategories[d.next()%uint64(len(brandCategories))]}, "timezone": "UTC",
	}
}

func campaignID(i int) string { return fmt.Sprintf("campaign-%d", i) }

// owner is the advertiser of a campaign.
func (c *campaigns) owner(campaign int) int { return campaign % c.advertisers }

func (c *campaigns) campaign(i int) (string, document) {
	return campaignID(i), document{"advertiser": brandID(c.owner(i)), "name": "Campaign " + strconv.Itoa(i)}
}

// creativeKinds are the ads that every advertiser has. Sizes are those that
// [Traffic] offers.
var creativeKinds = [...]struct {
	kind    string
	w, h    int
	seconds int
}{
	{"banner", 300, 250, 0}, {"banner", 320, 50, 0}, {"banner", 728, 90, 0}, {"banner", 320, 480, 0},
	{"banner", 300, 600, 0}, {"banner", 160, 600, 0}, {"banner", 970, 250, 0}, {"banner", 320, 100, 0},
	{"video", 0, 0, 15}, {"video", 0, 0, 30}, {"audio", 0, 0, 30}, {"native", 0, 0, 0},
}

func creativeID(advertiser, kind int) string {
	k := &creativeKinds[kind]
	switch {
	case k.w > 0:
		return fmt.Sprintf("%s-%dx%d", brandID(advertiser), k.w, k.h)
	case k.seconds > 0:
		return fmt.Sprintf("%s-%s-%ds", brandID(advertiser), k.kind, k.seconds)
	}
	return brandID(advertiser) + "-" + k.kind
}

func (c *campaigns) creative(i int) (string, document) {
	owner, kind := i/len(creativeKinds), i%len(creativeKinds)
	k, brand, id := &creativeKinds[kind], brandID(owner), creativeID(owner, kind)
	cdn := "https://cdn.example/" + id
	doc := document{
		"advertiser": brand, "name": id, "type": k.kind, "click_url": "https://" + brand + ".example/?from=" + id,
		"dsa": document{"behalf": "Brand " + strconv.Itoa(owner), "paid": "Brand " + strconv.Itoa(owner)},
	}
	file := func(mime, end string, w, h, bitrate int) document {
		f := document{"url": cdn + end, "mime": mime, "bitrate": bitrate}
		if w > 0 {
			f["width"], f["height"] = w, h
		}
		return f
	}
	switch k.kind {
	case "banner":
		doc["width"], doc["height"], doc["image"], doc["image_url"] = k.w, k.h, cdn+".jpg", cdn+".jpg"
	case "video":
		doc["title"], doc["duration"] = "Brand "+strconv.Itoa(owner), strconv.Itoa(k.seconds)+"s"
		doc["media_files"] = []document{
			file("video/mp4", ".mp4", 640, 360, 800), file("video/mp4", "-hd.mp4", 1920, 1080, 4500), file("video/webm", ".webm", 640, 360, 700),
		}
	case "audio":
		doc["title"], doc["duration"] = "Brand "+strconv.Itoa(owner), strconv.Itoa(k.seconds)+"s"
		doc["media_files"] = []document{file("audio/mpeg", ".mp3", 0, 0, 128), file("audio/mp4", ".m4a", 0, 0, 96)}
	case "native":
		doc["title"], doc["body"] = "Meet Brand "+strconv.Itoa(owner), "Made to last, and shipped today."
		doc["sponsor"], doc["cta"], doc["rating"] = "Brand "+strconv.Itoa(owner), "See more", "4.5"
		doc["icon"] = document{"url": cdn + "-icon.png", "width": 128, "height": 128}
		doc["main"] = document{"url": cdn + "-main.jpg", "width": 1200, "height": 627}
	}
	return id, doc
}

// lineItem draws a line item. About as many are narrow as are wide, so that
// matching has both to do.
func (c *campaigns) lineItem(i int) (string, document) {
	d := c.dice(2, i)
	campaign := i % c.campaigns
	owner := c.owner(campaign)
	targeting, geo := document{}, document{}
	where := &places[weightedPick(len(places), d.next(), func(i int) uint32 { return places[i].weight })]
	if d.chance(.75) {
		countries := []string{where.country}
		if other := places[d.next()%uint64(len(places))].country; d.chance(.3) && other != where.country {
			countries = append(countries, other)
		}
		geo["countries"] = countries
		switch r := d.float(); {
		case r < .10:
			geo["cities"] = []string{where.city}
		case r < .14:
			geo["fences"] = []document{{"lat": where.lat, "lon": where.lon, "meters": 5000 + 1000*int(d.next()%16)}}
		case r < .20:
			geo["regions"] = []string{where.country + "-" + where.region}
		}
		targeting["geo"] = geo
	}
	if d.chance(.5) {
		targeting["segments"] = c.segments(&d)
	}
	if d.chance(.35) {
		targeting["devices"] = [][]string{{"phone"}, {"phone", "tablet"}, {"desktop"}, {"tv", "set-top", "connected"}}[d.next()%4]
	}
	if d.chance(.15) {
		targeting["os"] = [][]string{{"android"}, {"ios"}, {"windows", "macos"}}[d.next()%3]
	}
	if d.chance(.05) {
		targeting["connections"] = []string{"wifi"}
	}
	if inventory := c.inventory(&d); len(inventory) > 0 {
		targeting["inventory"] = inventory
	}
	if d.chance(.2) {
		from := int(d.next() % 12)
		hours := document{}
		for _, day := range [...]string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"} {
			hours[day] = [][2]int{{from, from + 12}}
		}
		targeting["hours"], targeting["timezone"] = hours, []string{"user", "advertiser"}[d.next()%2]
	}
	doc := document{
		"campaign": campaignID(campaign), "name": fmt.Sprintf("%s %d", where.city, i),
		"budget":    document{"daily": amount(100_000 + float64(d.next()%900_000)), "total": amount(30_000_000)},
		"pacing":    []string{"even", "asap", "ahead", "asap"}[d.next()%4],
		"goal":      c.goal(&d),
		"caps":      []document{},
		"targeting": targeting, "creatives": c.creatives(&d, owner),
	}
	if d.chance(.4) {
		doc["caps"] = []document{{"per": "line-item", "limit": 3 + d.next()%20, "window": "24h"}}
	}
	return fmt.Sprintf("line-item-%d", i), doc
}

func (c *campaigns) segments(d *dice) document {
	first := d.next() % segmentCount
	any := []string{segmentNames[first]}
	for n := d.next() % 3; n > 0; n-- {
		any = append(any, segmentNames[(first+n)%segmentCount])
	}
	out := document{"any": any}
	if none := segmentNames[(first+5)%segmentCount]; d.chance(.2) {
		out["none"] = []string{none}
	}
	return out
}

func (c *campaigns) inventory(d *dice) document {
	out := document{}
	if d.chance(.15) {
		g := &genres[d.next()%uint64(len(genres))]
		out["categories"] = g.categories
	} else if d.chance(.1) {
		out["deny_categories"] = []string{"IAB14", "IAB9-30"}
	}
	if d.chance(.1) {
		out["deny"] = []string{fmt.Sprintf("news-%d.example", d.next()%publisherCount), "unwanted.example"}
	}
	if d.chance(.15) {
		out["media"] = []string{[]string{"site", "app"}[d.next()%2]}
	}
	return out
}

func (c *campaigns) goal(d *dice) document {
	if d.chance(.6) {
		return document{"type": "cpm", "value": amount(3 * math.Exp(.5*d.normal()))}
	}
	return document{"type": "cpc", "value": amount(.8 * math.Exp(.4*d.normal())), "max_cpm": amount(3 + 7*d.float())}
}

// amount is a decimal string with two decimals, one cent at least.
func amount(v float64) string { return strconv.FormatFloat(max(v, .01), 'f', 2, 64) }

// creatives is all that the advertiser has, or those of one kind.
func (c *campaigns) creatives(d *dice, owner int) []string {
	only := ""
	if r := d.float(); r < .45 {
		only = "banner"
	} else if r < .65 {
		only = "video"
	} else if r < .7 {
		only = "native"
	}
	var ids []string
	for kind := range creativeKinds {
		if only == "" || creativeKinds[kind].kind == only {
			ids = append(ids, creativeID(owner, kind))
		}
	}
	return ids
}
