package loadtest

import (
	"math"
	"strings"

	"bidwell/rtb"
)

// Market is what nobody but the simulator knows: what others would pay for an
// impression and who would click what. Both follow from the seed and change
// slowly over the simulated day. It is safe for concurrent use.
type Market struct{ seed uint64 }

// NewMarket is the market of a seed.
func NewMarket(seed uint64) *Market { return &Market{seed: seed} }

// priceStep is how much above the second price a winner pays: a CPM of 0.01.
const priceStep = rtb.OneCPM / 100

// spread is the standard deviation of the logarithm of competing bids.
const spread = .75

// usualPrice is the median of the highest competing bid for a slot, as a CPM,
// without the drift of the day.
func usualPrice(o *Offer, s *Slot) float64 {
	price := .9
	switch {
	case s.Video && o.User.DeviceType == 3:
		price = 12
	case s.Video:
		price = 5.5
	case s.Audio:
		price = 4.5
	case s.Native && !s.Banner:
		price = 1.8
	case s.Interstitial:
		price = 2.4
	case s.SizeCount > 0 && int(s.Sizes[0].W)*int(s.Sizes[0].H) >= 970*250:
		price = 2.2
	case s.SizeCount > 0 && s.Sizes[0].H >= 250:
		price = 1.3
	}
	if s.Position == 3 {
		price *= .7
	}
	switch o.User.Country {
	case "US":
		price *= 1.35
	case "IN":
		price *= .3
	case "BR":
		price *= .45
	case "ES", "IT":
		price *= .75
	}
	if o.User.Segments.Has(segCars) || o.User.Segments.Has(segMovers) {
		price *= 1.5 // many want them
	}
	if o.privacy.private() {
		price *= .55
	}
	return price * math.Exp(o.Publisher.lift)
}

// Rival is the highest bid of all others for one impression, zero when nobody
// else wants it: log-normal around the usual price, which follows the hour and
// drifts for each publisher.
func (m *Market) Rival(o *Offer, s *Slot) rtb.Money {
	d := dice(scramble(m.seed^0x7269_7661_6c, s.seed))
	if d.chance(o.Publisher.thin) {
		return 0
	}
	hour := float64(o.local.Hour()) + float64(o.local.Minute())/60
	daily := .18 * math.Sin(2*math.Pi*(hour-14)/24) // dearest at eight in the evening
	return rtb.FromCPM(usualPrice(o, s) * math.Exp(daily+m.drift(o)+spread*d.normal()))
}

// drift is a smooth random walk of a publisher's prices with a knot every six
// hours.
func (m *Market) drift(o *Offer) float64 {
	const knot = 6 * 3600
	t := o.Time.Unix()
	k := t / knot
	at := float64(t%knot) / knot
	seed := m.seed ^ uint64(o.Publisher.Index)<<40
	return .15 * ((1-at)*seedNormal(seed, uint64(k)) + at*seedNormal(seed, uint64(k+1)))
}

// Ad is what a person would see: the creative that won and the place it took.
type Ad struct {
	LineItem string
	Creative string
	Media    rtb.Media
	Size     rtb.Size
}

// averageClick is the log-odds of a click before anything is known; with the
// spread of the rest about 1 % of impressions are clicked.
const averageClick = -5.15

// Click is the true probability of a click: a logistic function of what the
// request says, what the ad is, and how the two suit each other, with weights
// drawn from the seed, plus a share that nothing observable explains.
func (m *Market) Click(o *Offer, s *Slot, ad *Ad) float64 {
	return logistic(m.shown(o, s, ad) + placed(s) + m.person(&o.User, ad))
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// shown is the part of the log-odds of a click that follows from what every
// request says.
func (m *Market) shown(o *Offer, s *Slot, ad *Ad) float64 {
	u := &o.User
	creative := textHash(ad.Creative)
	x := averageClick
	x += .45 * m.weight('c', creative)
	x += .55 * o.Publisher.taste
	x += .20 * m.weight('p', creative, uint64(o.Publisher.Index))
	x += .20 * m.weight('g', creative, textHash(o.Publisher.genre.name))
	x += .12 * m.weight('o', textHash(u.OS))
	x += .12 * m.weight('n', textHash(u.Country))
	x += .25 * m.weight('t', uint64(u.DeviceType))
	x += .25 * m.weight('z', uint64(ad.Size.W), uint64(ad.Size.H))
	x += .10 * m.weight('h', uint64(o.local.Hour()/4))
	switch ad.Media {
	case rtb.Native:
		x += .35
	case rtb.Video:
		x += .15
	case rtb.Audio:
		x -= 1.2
	}
	if u.DeviceType == 3 {
		x -= 2 // a television is hard to click
	}
	if s.Interstitial {
		x += .6
	}
	return x
}

// placed is the part that the position on the page makes, which only banners
// and videos are told of.
func placed(s *Slot) float64 {
	switch s.Position {
	case 1:
		return .15
	case 3:
		return -.35
	}
	return 0
}

// person is the part that the person makes: what they are interested in, which
// a bidder may have been told of, their age, which some requests say, and what
// nobody can know.
func (m *Market) person(u *User, ad *Ad) float64 {
	creative := textHash(ad.Creative)
	x := .15 * m.weight('a', creative, uint64(u.BirthYear/12))
	x += .30 * u.Propensity
	for i, name := range segmentNames {
		if !u.Segments.Has(i) {
			continue
		}
		x += .15 * m.weight('s', creative, uint64(i))
		// An ad about something appeals to those who care for it.
		if strings.Contains(ad.Creative, name) || strings.Contains(ad.LineItem, name) {
			x += .8
		}
	}
	return x
}

// Conversion is the true probability that a click leads to a purchase.
func (m *Market) Conversion(o *Offer, ad *Ad) float64 {
	x := -2.9 + .5*m.weight('v', textHash(ad.Creative)) + .3*o.User.Propensity
	if o.User.Segments.Has(segBought) {
		x += .5
	}
	return logistic(x)
}

// weight is the standard normal weight of one value, or pair of values, of a
// field.
func (m *Market) weight(field byte, values ...uint64) float64 {
	seed := scramble(m.seed^0x7765_6967_6874, uint64(field))
	for _, v := range values[:len(values)-1] {
		seed = scramble(seed, v)
	}
	return seedNormal(seed, values[len(values)-1])
}

func seedNormal(seed, v uint64) float64 {
	d := dice(scramble(seed, v))
	return d.normal()
}

// textHash is FNV-1a.
func textHash(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
