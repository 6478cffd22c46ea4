package models

import "math"

// Savings compares what shaded bids paid with those of the control group,
// which bid what they were worth. A price is in parts of the worth of what was
// won for it.
type Savings struct {
	Shaded, Control SpendPerWin

	Saved         float64 // part of the price of the control group that shading saved
	SavedLow      float64 // with 95 % confidence
	SavedHigh     float64
	Surplus       float64 // what a bid of the shaded group brought beyond its price, less the same of control, in its worth
	SurplusLow    float64
	SurplusHigh   float64
	Distinguished bool // both groups have won enough to compare
}

// SpendPerWin is what one group has bought.
type SpendPerWin struct {
	Bids, Wins int64
	Spend      float64 // money
	Worth      float64 // of what was won
	Surplus    float64 // what that brought beyond its price
}

// spending sums up the bids of one kind.
type spending struct {
	bids, wins           int64
	paid, worth          float64
	paid2, worth2, cross float64 // squares and product, over wins
	gain, gain2          float64 // surplus in parts of the mean worth
	asked                float64 // worth of all bids
}

func (g *spending) add(o *Outcome) {
	g.bids++
	g.asked += float64(o.Worth)
	if !o.Won {
		return
	}
	g.wins++
	p, w := float64(o.Paid), float64(o.Worth)
	g.paid, g.worth = g.paid+p, g.worth+w
	g.paid2, g.worth2, g.cross = g.paid2+p*p, g.worth2+w*w, g.cross+p*w
	g.gain, g.gain2 = g.gain+(w-p), g.gain2+(w-p)*(w-p)
}

// price is what a unit of worth has cost, and the variance of that (delta
// method, over wins).
func (g *spending) price() (mean, variance float64) {
	if g.worth <= 0 {
		return 0, 0
	}
	r := g.paid / g.worth
	return r, max(0, g.paid2-2*r*g.cross+r*r*g.worth2) / (g.worth * g.worth) // rounding leaves less than nothing where all have cost alike
}

// surplus is what one bid brings, in its mean worth.
func (g *spending) surplus() (mean, variance float64) {
	if g.bids == 0 || g.asked <= 0 {
		return 0, 0
	}
	n, unit := float64(g.bids), g.asked/float64(g.bids)
	mean = g.gain / n
	return mean / unit, max(0, g.gain2/n-mean*mean) / n / (unit * unit)
}

func (g *spending) report() SpendPerWin {
	return SpendPerWin{Bids: g.bids, Wins: g.wins, Spend: g.paid, Worth: g.worth, Surplus: g.gain}
}

// Savings is what shading has saved until the last Publish.
func (s *Shader) Savings() Savings { return s.live.Load().savings }

func (s *Shader) savings() Savings {
	const least = 30 // wins
	shaded, control := &s.spread[Shaded], &s.spread[ShadingControl]
	r := Savings{Shaded: shaded.report(), Control: control.report()}
	if shaded.wins < least || control.wins < least || shaded.paid <= 0 || control.paid <= 0 {
		return r
	}
	r.Distinguished = true
	a, va := shaded.price()
	b, vb := control.price()
	r.Saved = 1 - a/b
	off := 1.96 * a / b * math.Sqrt(va/(a*a)+vb/(b*b))
	r.SavedLow, r.SavedHigh = r.Saved-off, r.Saved+off
	sa, vsa := shaded.surplus()
	sb, vsb := control.surplus()
	r.Surplus = sa - sb
	off = 1.96 * math.Sqrt(vsa+vsb)
	r.SurplusLow, r.SurplusHigh = r.Surplus-off, r.Surplus+off
	return r
}
