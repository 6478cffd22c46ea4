package loadtest

import (
	"math"
	"slices"

	"bidwell/rtb"
)

// insight is what can be known of clicks by somebody who knows the market's
// weights but only what requests say: the true probability averaged over the
// people who could have made the same request. What requests say of the person
// is at most the year of birth and the gender; of the page, for native and
// audio, not the position.
//
// The average is over a sample of the population. It is kept for each ad as a
// curve over the log-odds of what is known.
type insight struct {
	market *Market
	people [len(audiences)][]User
}

// ages are the years of birth that the market tells apart, first to last: the
// classes of twelve years that clicks follow, cut where segments do.
var ages = [...][2]uint16{{0, 1955}, {1956, 1967}, {1968, 1969}, {1970, 1979}, {1980, 1991}, {1992, 1998}, {1999, 2003}, {2004, 9999}}

// audiences are the kinds of people that requests tell apart: nothing is said
// of the first, and of the others the age, and of each age the gender or that
// the publisher does not know it.
var audiences [1 + 3*len(ages)]struct{}

const (
	panel      = 40_000 // people from whom the audiences are drawn
	maxSampled = 512    // of an audience
)

func newInsight(market *Market, population *Population, all *assortment) *insight {
	k := &insight{market: market}
	for i := range panel {
		u := population.User(int(scramble(uint64(i), 0x696e_7369) % uint64(population.Len())))
		for _, audience := range [...]int{0, audienceOf(&u)} {
			if len(k.people[audience]) < maxSampled {
				k.people[audience] = append(k.people[audience], u)
			}
		}
	}
	for i := range k.people {
		if len(k.people[i]) == 0 {
			k.people[i] = k.people[0] // of a tiny population
		}
	}
	everyone := k.people[0]
	for _, a := range all.ads {
		for j := range everyone {
			a.conversion += market.Conversion(&Offer{User: everyone[j]}, &a.Ad) / float64(len(everyone))
		}
	}
	return k
}

// audienceOf is the place in audiences of a person whose age is known.
func audienceOf(u *User) int {
	age := slices.IndexFunc(ages[:], func(a [2]uint16) bool { return u.BirthYear <= a[1] })
	switch u.Gender {
	case 'F':
		return 1 + 3*age
	case 'M':
		return 2 + 3*age
	}
	return 3 + 3*age
}

// curve is the difference between the log-odds of the average probability and
// those of what is known, at equal steps of the latter.
type curve [1 + (curveEnd-curveStart)*curveSteps]float32

const (
	curveStart, curveEnd = -14, 6
	curveSteps           = 2
)

func (c *curve) at(x float64) float64 {
	at := (min(max(x, curveStart), curveEnd) - curveStart) * curveSteps
	i := min(int(at), len(c)-2)
	part := at - float64(i)
	return float64(c[i])*(1-part) + float64(c[i+1])*part
}

// click is the probability of a click as far as the request tells.
func (k *insight) click(o *Offer, s *Slot, a *stocked, ad *Ad) float64 {
	audience, hidden := 0, 1
	if o.tellsAge() {
		audience = audienceOf(&o.User)
	}
	x := k.market.shown(o, s, ad)
	if s.Banner || s.Video {
		hidden = 0
		x += placed(s)
	}
	c := a.expected[audience][hidden].Load()
	if c == nil {
		c = k.curve(ad, k.people[audience], hidden == 1)
		a.expected[audience][hidden].Store(c) // another connection has made the same
	}
	return logistic(x + c.at(x))
}

func (k *insight) curve(ad *Ad, people []User, everywhere bool) *curve {
	parts := make([]float64, len(people))
	for i := range people {
		parts[i] = k.market.person(&people[i], ad)
		if everywhere {
			parts[i] += placed(&Slot{Position: positions[i%len(positions)]})
		}
	}
	c := &curve{}
	for i := range c {
		x := curveStart + float64(i)/curveSteps
		sum := 0.0
		for _, part := range parts {
			sum += logistic(x + part)
		}
		p := sum / float64(len(parts))
		c[i] = float32(math.Log(p/(1-p)) - x)
	}
	return c
}

// worth is what an ad in a slot is worth as far as the request tells.
func (k *insight) worth(o *Offer, s *Slot, a *stocked, ad *Ad) rtb.Money {
	return a.worth(k.click(o, s, a, ad), a.conversion)
}
