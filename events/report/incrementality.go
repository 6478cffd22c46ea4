package report

import "math"

// Ghosts are the users of a holdout whose bids were computed and not sent. What
// counts for one is the chance that at least one of the bids would have won.
type Ghosts struct {
	Users, Sum              float64 // of the chances w
	Y                       float64 // sum of w times what the user did
	WW, WWY, WWYY           float64 // sums of w² with it
	LeastChance, MostChance float64 // of one user, to see what was predicted
}

// Add puts a user in: the chance that an ad would have been shown, and what the
// user did.
func (g *Ghosts) Add(chance, did float64) {
	if g.Users == 0 || chance < g.LeastChance {
		g.LeastChance = chance
	}
	g.MostChance = max(g.MostChance, chance)
	g.Users++
	g.Sum += chance
	g.Y += chance * did
	w := chance * chance
	g.WW += w
	g.WWY += w * did
	g.WWYY += w * did * did
}

// Rate is what users do who would have seen an ad but for the holdout.
func (g *Ghosts) Rate() float64 {
	if g.Sum == 0 {
		return 0
	}
	return g.Y / g.Sum
}

// Variance is that of Rate, which is a ratio of weighted sums, by linearisation.
func (g *Ghosts) Variance() float64 {
	if g.Users < 2 || g.Sum == 0 {
		return math.Inf(1)
	}
	r := g.Rate()
	return max(g.WWYY-2*r*g.WWY+r*r*g.WW, 0) / (g.Sum * g.Sum) * g.Users / (g.Users - 1)
}

// Incrementality is what the ads add.
type Incrementality struct {
	Treated, Control float64 // rates of those who saw an ad, and of those who would have
	Difference       float64
	Interval         Interval
	P                float64
	Lift             float64 // relative to Control; NaN where that is zero
	LiftInterval     Interval
	Added            float64 // what the treated did that they would not have done
}

// Increment compares users who were shown an ad with those of the holdout who
// would have been, weighted by the predicted chance to win (Johnson, Lewis,
// Nubbemeyer, Ghost Ads, Journal of Marketing Research 2017, for predicted
// ghost ads). It believes the prediction: a win rate that is wrong for some
// kinds of users compares other people.
func Increment(treated *Sample, control *Ghosts) Incrementality {
	r := Incrementality{Treated: treated.Rate(), Control: control.Rate()}
	vt, vc := treated.Variance(), control.Variance()
	r.Difference = r.Treated - r.Control
	if math.IsInf(vt+vc, 1) {
		r.P, r.Interval = 1, everything
	} else {
		r.P, r.Interval = zTest(r.Difference, vt+vc), zInterval(r.Difference, vt+vc)
	}
	r.Added = r.Difference * treated.D
	r.Lift, r.LiftInterval = math.NaN(), everything
	if r.Control > 0 {
		// The logarithm of a ratio is nearer to normal than the ratio.
		r.Lift = r.Treated/r.Control - 1
		if r.Treated > 0 && !math.IsInf(vt+vc, 1) {
			half := z975 * math.Sqrt(vt/(r.Treated*r.Treated)+vc/(r.Control*r.Control))
			r.LiftInterval = Interval{(1+r.Lift)*math.Exp(-half) - 1, (1+r.Lift)*math.Exp(half) - 1}
		}
	}
	return r
}
