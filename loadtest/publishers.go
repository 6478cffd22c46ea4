package loadtest

import (
	"fmt"
	"math"
	"sort"
	"time"

	"bidwell/rtb"
)

// Publisher is a simulated site, app or television channel.
type Publisher struct {
	Index      int
	ID         string
	Name       string
	Kind       rtb.InventoryKind
	Domain     string
	Bundle     string // of an app
	StoreURL   string
	Categories []string
	Country    string // empty when its audience is worldwide
	Kids       bool   // directed at children: COPPA applies
	Television bool
	Exchange   int // which of the exchanges sells it
	Auction    uint8
	TMax       time.Duration
	Modern     bool // writes OpenRTB 2.6 rather than 2.5
	Deals      []Deal

	genre *genre
	apple bool    // an app for iOS
	lift  float64 // how much dearer than usual it is, natural logarithm
	thin  float64 // share of impressions that nobody else wants
	floor float64 // floor as a share of the usual price
	taste float64 // how readily its visitors click, standard normal
}

// Deal is a standing private deal of a publisher.
type Deal struct {
	ID      string
	Auction uint8
	Private bool    // its impressions are not sold openly
	Premium float64 // floor as a multiple of the publisher's floor
}

// genre is a kind of publisher.
type genre struct {
	name       string
	categories []string
	peak       float64 // hour of the day with the most visits, in the user's time
	weekend    float64 // visits on a Saturday or Sunday as a multiple of a weekday's
	site, app  uint32  // how many of each, relative
	kids, tv   bool
	media      [4]uint32 // shares of banner, video, audio, native
}

var genres = [...]genre{
	{"news", []string{"IAB12"}, 8, .8, 30, 8, false, false, [4]uint32{70, 12, 0, 18}},
	{"sport", []string{"IAB17"}, 20, 1.6, 20, 10, false, false, [4]uint32{62, 22, 0, 16}},
	{"tech", []string{"IAB19"}, 14, .7, 14, 3, false, false, [4]uint32{78, 8, 0, 14}},
	{"food", []string{"IAB8"}, 18, 1.3, 12, 4, false, false, [4]uint32{66, 12, 0, 22}},
	{"travel", []string{"IAB20"}, 19, 1.2, 12, 4, false, false, [4]uint32{70, 10, 0, 20}},
	{"auto", []string{"IAB2"}, 19, 1.1, 10, 2, false, false, [4]uint32{76, 12, 0, 12}},
	{"finance", []string{"IAB13"}, 9, .5, 10, 4, false, false, [4]uint32{84, 4, 0, 12}},
	{"weather", []string{"IAB15-10"}, 7, 1, 8, 10, false, false, [4]uint32{84, 4, 0, 12}},
	{"style", []string{"IAB18"}, 20, 1.1, 10, 4, false, false, [4]uint32{64, 12, 0, 24}},
	{"family", []string{"IAB6"}, 21, 1, 8, 3, false, false, [4]uint32{74, 8, 0, 18}},
	{"clips", []string{"IAB1", "IAB14"}, 21, 1.3, 10, 8, false, false, [4]uint32{20, 72, 0, 8}},
	{"puzzle", []string{"IAB9-30"}, 20, 1.3, 4, 30, false, false, [4]uint32{58, 34, 0, 8}},
	{"racer", []string{"IAB9-30"}, 21, 1.5, 0, 16, false, false, [4]uint32{50, 44, 0, 6}},
	{"tunes", []string{"IAB1-6"}, 17, 1, 3, 12, false, false, [4]uint32{36, 8, 50, 6}},
	{"kids", []string{"IAB6-6"}, 16, 1.8, 3, 5, true, false, [4]uint32{74, 20, 0, 6}},
	{"channel", []string{"IAB1-7"}, 21, 1.4, 0, 14, false, true, [4]uint32{0, 100, 0, 0}},
}

const publisherCount = 300

// newPublishers draws the publishers of a market and their running sums of
// traffic for each kind of inventory: sites, Android apps, iOS apps, television.
func newPublishers(seed uint64, exchanges int, auction AuctionKind) []Publisher {
	all := make([]Publisher, publisherCount)
	for i := range all {
		d := dice(scramble(seed^0x7075_6273, uint64(i)))
		p := &all[i]
		*p = Publisher{Index: i, ID: fmt.Sprintf("pub-%d", 1000+i), Kind: rtb.Site}
		if i%5 >= 2 {
			p.Kind = rtb.App
		}
		p.genre = &genres[weightedPick(len(genres), d.next(), func(g int) uint32 {
			if p.Kind == rtb.App {
				return genres[g].app
			}
			return genres[g].site
		})]
		g := p.genre
		p.Name = fmt.Sprintf("%s %d", g.name, i)
		p.Domain = fmt.Sprintf("%s-%d.example", g.name, i)
		p.Categories, p.Kids, p.Television = g.categories, g.kids, g.tv
		if p.Kind == rtb.App {
			p.apple = d.chance(.45)
			p.Bundle = fmt.Sprintf("com.example.%s%d", g.name, i)
			p.StoreURL = "https://play.example/store/apps/details?id=" + p.Bundle
			if p.apple {
				p.Bundle = fmt.Sprintf("%d", 900_000_000+i)
				p.StoreURL = "https://apps.example/app/id" + p.Bundle
			}
		}
		if d.chance(.65) {
			p.Country = places[weightedPick(len(places), d.next(), func(i int) uint32 { return places[i].weight })].country
		}
		p.Exchange = int(d.next() % uint64(exchanges))
		p.Auction = auction.of(d.next())
		p.TMax = time.Duration([...]int{80, 100, 100, 120, 150, 200, 250, 300}[d.next()%8]) * time.Millisecond
		p.Modern = d.chance(.55)
		p.lift = .45 * d.normal()
		p.thin = .04 + .2*d.float()
		p.floor = .2 + .5*d.float()
		p.taste = d.normal()
		if d.chance(.3) {
			p.Deals = append(p.Deals, Deal{
				ID:      fmt.Sprintf("deal-%s-%d", g.name, i),
				Auction: uint8(1 + d.next()%3),
				Private: d.chance(.15),
				Premium: 1.1 + .6*d.float(),
			})
		}
	}
	return all
}

// AuctionKind is how the exchanges set the price.
type AuctionKind string

// The kinds of auction; mixed draws one for each publisher.
const (
	AuctionFirst  AuctionKind = "first"
	AuctionSecond AuctionKind = "second"
	AuctionMixed  AuctionKind = "mixed"
)

// of is OpenRTB's "at".
func (k AuctionKind) of(r uint64) uint8 {
	switch k {
	case AuctionFirst:
		return 1
	case AuctionSecond:
		return 2
	}
	return uint8(1 + r>>7&1)
}

// shelf is inventory of one kind with its running sums of traffic.
type shelf struct {
	publishers []*Publisher
	sums       []float64
}

func (s *shelf) add(p *Publisher) {
	// Traffic falls with the rank, as the popularity of sites does.
	weight := 1 / math.Pow(float64(len(s.publishers)+3), .8)
	if n := len(s.sums); n > 0 {
		weight += s.sums[n-1]
	}
	s.publishers = append(s.publishers, p)
	s.sums = append(s.sums, weight)
}

func (s *shelf) draw(r float64) *Publisher {
	at := sort.SearchFloat64s(s.sums, r*s.sums[len(s.sums)-1])
	return s.publishers[min(at, len(s.publishers)-1)]
}

// visits is how likely someone comes at an hour of the week, between 0 and 1.
func (g *genre) visits(local time.Time) float64 {
	away := math.Abs(float64(local.Hour()) - g.peak)
	away = min(away, 24-away)
	v := .25 + .75*math.Exp(-away*away/18)
	if day := local.Weekday(); day == time.Saturday || day == time.Sunday {
		return v * min(g.weekend, 1.6) / 1.6
	}
	return v / 1.6 * min(1.6, 1/max(g.weekend, .625))
}

// awake is the share of people who are online at an hour of the day.
var awake = [24]float64{
	.30, .20, .12, .10, .10, .15, .35, .55, .65, .70, .72, .75,
	.80, .75, .70, .70, .75, .80, .90, .95, 1, 1, .85, .55,
}
