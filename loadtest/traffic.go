package loadtest

import (
	"math"
	"time"

	"bidwell/rtb"
)

// Traffic is the stream of impressions that the publishers of a market have to
// sell. Offer number i is the same for a seed and a time, whoever asks and
// whenever. It is safe for concurrent use.
type Traffic struct {
	population *Population
	publishers []Publisher
	exchanges  []string
	tmax       time.Duration
	seed       uint64
	noFloors   bool
	noDeals    bool

	sites, android, apple, television shelf
}

// TrafficConfig sets what traffic looks like.
type TrafficConfig struct {
	Seed      uint64
	Users     int
	Exchanges []string      // names as in POST /bid/{name}; empty means generic
	Auction   AuctionKind   // empty means mixed
	TMax      time.Duration // in every request; zero means each publisher's own

	// NoFloors and NoDeals leave out the floors and the deals; all else is the
	// same with them.
	NoFloors, NoDeals bool
}

// NewTraffic draws the publishers of a market.
func NewTraffic(cfg TrafficConfig) *Traffic {
	t := &Traffic{
		population: NewPopulation(cfg.Seed, cfg.Users),
		exchanges:  cfg.Exchanges,
		tmax:       cfg.TMax,
		seed:       cfg.Seed,
		noFloors:   cfg.NoFloors,
		noDeals:    cfg.NoDeals,
	}
	if len(t.exchanges) == 0 {
		t.exchanges = []string{"generic"}
	}
	t.publishers = newPublishers(cfg.Seed, len(t.exchanges), cfg.Auction)
	for i := range t.publishers {
		switch p := &t.publishers[i]; {
		case p.Television:
			t.television.add(p)
		case p.Kind == rtb.Site:
			t.sites.add(p)
		case p.apple:
			t.apple.add(p)
		default:
			t.android.add(p)
		}
	}
	return t
}

// Population is who visits the publishers.
func (t *Traffic) Population() *Population { return t.population }

// Publishers lists the sites and apps. The caller must not change them.
func (t *Traffic) Publishers() []Publisher { return t.publishers }

// Offer is one bid request and what the market knows of it. It is reused;
// everything in it is valid until the next [Traffic.Offer] into it.
type Offer struct {
	Index     int
	Time      time.Time
	ID        [36]byte
	User      User
	Publisher *Publisher
	Exchange  string
	Auction   uint8 // OpenRTB "at"
	TMax      time.Duration
	Slots     []Slot
	Body      []byte // the request as JSON

	privacy privacySignals
	local   time.Time // in the user's time zone
	seed    uint64
}

// Slot is one impression of an [Offer].
type Slot struct {
	ID                           string
	Banner, Video, Audio, Native bool
	Sizes                        [4]rtb.Size // of the banner; the player's size is that of the video
	SizeCount                    int
	Player                       rtb.Size
	MaxDuration                  int // seconds
	Position                     uint8
	Interstitial                 bool
	Floor                        rtb.Money // of the open auction; zero when there is none
	Deal                         *Deal     // nil when there is none
	DealFloor                    rtb.Money

	seed uint64
}

type privacySignals struct {
	gdpr, consent, coppa, lmt, usOptOut, usPrivacy, gpp bool
}

// private reports whether the request may not carry ids of the person.
func (s *privacySignals) private() bool {
	return s.coppa || s.lmt || (s.gdpr && !s.consent)
}

// positions on the page, of the OpenRTB list "ad positions", as often as they
// are.
var positions = [...]uint8{0, 1, 1, 1, 3, 3, 7}

var slotIDs = [...]string{"1", "2", "3"}

// Offer makes offer number i at the simulated time now.
func (t *Traffic) Offer(i int, now time.Time, o *Offer) {
	seed := scramble(t.seed^0x6f66_6665_72, uint64(i))
	d := dice(seed)
	*o = Offer{Index: i, Time: now, Slots: o.Slots[:0], Body: o.Body[:0], seed: seed}
	appendUUID(o.ID[:0], seed)

	// Some people are online far more than others, and most sleep at night.
	for range 4 {
		r := d.float()
		o.User = t.population.User(int(r * math.Sqrt(r) * float64(t.population.Len())))
		o.local = now.UTC().Add(time.Duration(o.User.Offset) * time.Minute)
		if d.chance(awake[o.local.Hour()]) {
			break
		}
	}
	o.Publisher = t.publisher(&d, o)
	o.Exchange = t.exchanges[o.Publisher.Exchange]
	o.Auction = o.Publisher.Auction
	if o.TMax = t.tmax; o.TMax == 0 {
		o.TMax = o.Publisher.TMax
	}
	o.privacy = privacySignals{
		gdpr:    o.User.place.gdpr,
		consent: o.User.Consents,
		coppa:   o.Publisher.Kids,
		lmt:     o.User.LMT && o.User.DeviceType != 2,
	}
	if o.User.Country == "US" {
		o.privacy.usPrivacy = d.chance(.5)
		o.privacy.usOptOut = o.privacy.usPrivacy && d.chance(.06)
		o.privacy.gpp = d.chance(.05)
	}

	imps := 1
	if o.Publisher.Kind == rtb.Site && d.chance(.14) {
		imps = 2 + int(d.next()%2)
	}
	for n := range imps {
		o.Slots = append(o.Slots, Slot{ID: slotIDs[n], seed: scramble(seed, uint64(n))})
		t.fillSlot(o, &o.Slots[n])
	}
	o.Body = appendRequest(o.Body, o)
}

// publisher draws where the user is met: something in the user's country, or
// worldwide, at an hour when people go there.
func (t *Traffic) publisher(d *dice, o *Offer) *Publisher {
	from := &t.sites
	switch u := &o.User; {
	case u.DeviceType == 3:
		from = &t.television
	case u.InApps && u.gadget.apple:
		from = &t.apple
	case u.InApps:
		from = &t.android
	}
	var p *Publisher
	for range 24 {
		p = from.draw(d.float())
		if (p.Country == "" || p.Country == o.User.Country) && d.chance(p.genre.visits(o.local)) {
			break
		}
	}
	return p
}

// fillSlot draws the format, the floor and the deal of one impression.
func (t *Traffic) fillSlot(o *Offer, s *Slot) {
	d := dice(s.seed)
	p := o.Publisher
	switch weightedPick(4, d.next(), func(i int) uint32 { return p.genre.media[i] }) {
	case 0:
		s.Banner = true
		s.Video = d.chance(.05)
		s.Native = !s.Video && d.chance(.04)
	case 1:
		s.Video = true
		s.Banner = !p.Television && d.chance(.06)
	case 2:
		s.Audio = true
	case 3:
		s.Native = true
	}
	s.Position = positions[d.next()%uint64(len(positions))]
	if s.Banner {
		s.Interstitial = p.Kind == rtb.App && d.chance(.12)
		s.fillSizes(&d, o.User.DeviceType)
	}
	if s.Video {
		s.fillPlayer(&d, o)
	}
	if s.Audio {
		s.MaxDuration = 30
	}
	if d.chance(.75) && !t.noFloors {
		s.Floor = roundFloor(p.floor * usualPrice(o, s))
	}
	if len(p.Deals) > 0 && d.chance(.35) && !t.noDeals {
		s.Deal = &p.Deals[0]
		s.DealFloor = roundFloor(p.floor * s.Deal.Premium * usualPrice(o, s))
	}
}

func (s *Slot) fillSizes(d *dice, device uint8) {
	r := d.next()
	add := func(w, h uint16) {
		s.Sizes[s.SizeCount] = rtb.Size{W: w, H: h}
		s.SizeCount++
	}
	switch {
	case s.Interstitial:
		add(320, 480)
		if r&3 == 0 {
			add(300, 250)
		}
	case device == 4:
		switch r % 5 {
		case 0, 1:
			add(320, 50)
		case 2:
			add(320, 50)
			add(320, 100)
		default:
			add(300, 250)
		}
	default:
		switch r % 7 {
		case 0, 1:
			add(728, 90)
		case 2, 3:
			add(300, 250)
		case 4:
			add(300, 600)
			add(300, 250)
			add(160, 600)
		case 5:
			add(160, 600)
		default:
			add(970, 250)
			add(728, 90)
		}
	}
}

func (s *Slot) fillPlayer(d *dice, o *Offer) {
	s.MaxDuration = [...]int{15, 30, 30, 60}[d.next()%4]
	switch {
	case s.Banner:
		s.Player = s.Sizes[0]
	case o.User.DeviceType == 3:
		s.Player = rtb.Size{W: 1920, H: 1080}
	case o.User.DeviceType == 4 && d.chance(.5):
		s.Player = rtb.Size{W: 360, H: 640}
	default:
		s.Player = rtb.Size{W: 640, H: 360}
	}
}

// roundFloor makes a CPM with two decimals of a price, as publishers set them.
func roundFloor(cpm float64) rtb.Money { return rtb.FromCPM(math.Round(cpm*100) / 100) }
