package report

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Alpha is the chance to be wrong that intervals and the words "significant"
// go by.
const Alpha = 0.05

// DefaultEffect is the relative difference that a comparison expects where
// nobody says one: a tenth of the control's rate.
const DefaultEffect = 0.1

// Interval is where a difference is with a confidence of 1 - Alpha.
type Interval struct{ Low, High float64 }

// Settings of a comparison.
type Settings struct {
	// Effect is the relative difference that is expected, 0.1 for a tenth of the
	// control's rate; DefaultEffect when zero. The always-valid figures are
	// right whatever it is, and find a difference soonest when it is of that
	// size. It must not be chosen after having seen the results.
	Effect float64
}

// Comparison is one arm against the control.
type Comparison struct {
	Difference float64 // of the rates, arm less control
	Relative   float64 // to the control's rate; NaN where that is zero
	Variance   float64 // of Difference

	// Fixed horizon: right only for one who looks once, at a time that was set
	// beforehand.
	FixedP        float64
	FixedInterval Interval

	// Always valid: right however often one looks and whenever one stops.
	AlwaysP        float64
	AlwaysInterval Interval
	Tau            float64 // the difference that was expected

	// CUPED is the same comparison with less noise, where there is a covariate;
	// nil where it says nothing.
	CUPED *Adjusted
}

// Adjusted is a comparison that takes out what a covariate of before the
// experiment explains (Deng, Xu, Kohavi, Walker, Improving the Sensitivity of
// Online Controlled Experiments by Utilizing Pre-Experiment Data, WSDM 2013).
type Adjusted struct {
	Theta          float64 // the slope: cov / var
	Saved          float64 // part of the variance that is gone
	Difference     float64
	Variance       float64
	FixedP         float64
	FixedInterval  Interval
	AlwaysP        float64
	AlwaysInterval Interval
}

// Compare compares an arm with the control.
func Compare(control, arm *Sample, s Settings) Comparison {
	if s.Effect == 0 {
		s.Effect = DefaultEffect
	}
	base := control.Rate()
	c := Comparison{Difference: arm.Rate() - base, Variance: differenceVariance(control, arm)}
	c.Relative = c.Difference / base
	if base == 0 {
		c.Relative = math.NaN()
	}
	if control.NotBinary || arm.NotBinary {
		c.FixedP, c.FixedInterval = Welch(control, arm)
	} else {
		c.FixedP, c.FixedInterval = TwoProportions(control, arm)
	}
	c.Tau = math.Abs(s.Effect * base)
	if base == 0 { // then a part of what all users do
		all := control.plus(arm)
		c.Tau = math.Abs(s.Effect * all.Rate())
	}
	c.AlwaysP = AlwaysValidP(c.Difference, c.Variance, c.Tau)
	c.AlwaysInterval = AlwaysValidInterval(c.Difference, c.Variance, c.Tau)
	c.CUPED = adjust(control, arm, c.Difference, c.Variance, c.Tau)
	return c
}

// TwoProportions is the z test of two proportions, and the interval of their
// difference. The test pools them, as the null hypothesis says that they are
// one; the interval does not.
func TwoProportions(a, b *Sample) (p float64, i Interval) {
	if a.Users == 0 || b.Users == 0 {
		return 1, everything
	}
	pooled := (a.Y + b.Y) / (a.Users + b.Users)
	d := b.Y/b.Users - a.Y/a.Users
	p = zTest(d, pooled*(1-pooled)*(1/a.Users+1/b.Users))
	pa, pb := a.Y/a.Users, b.Y/b.Users
	v := pa*(1-pa)/a.Users + pb*(1-pb)/b.Users
	if v == 0 { // the normal distribution says nothing of none or all
		return p, everything
	}
	return p, zInterval(d, v)
}

// Welch is the t test of two means, or ratios, whose variances differ, and the
// interval of their difference. The degrees of freedom are those of Welch and
// Satterthwaite.
func Welch(a, b *Sample) (p float64, i Interval) {
	va, vb := a.Variance(), b.Variance()
	v, d := va+vb, b.Rate()-a.Rate()
	switch {
	case v == 0, math.IsInf(v, 1): // users who are all alike tell nothing of how others differ
		return 1, everything
	}
	part := va / v
	nu := 1 / (part*part/(a.Users-1) + (1-part)*(1-part)/(b.Users-1))
	if nu > 1e6 { // the same to six digits, and the distribution below loses some
		return zTest(d, v), zInterval(d, v)
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: nu}
	half := t.Quantile(1-Alpha/2) * math.Sqrt(v)
	return min(1, 2*t.CDF(-math.Abs(d)/math.Sqrt(v))), Interval{d - half, d + half}
}

// everything is the interval of one who knows nothing.
var everything = Interval{math.Inf(-1), math.Inf(1)}

// z975 is the quantile of the normal distribution for intervals of 1 - Alpha.
var z975 = distuv.UnitNormal.Quantile(1 - Alpha/2)

// zTest is the two-sided p-value of a normal difference.
func zTest(d, variance float64) float64 {
	switch {
	case math.IsInf(variance, 1), d == 0:
		return 1
	case variance == 0:
		return 0
	}
	return math.Erfc(math.Abs(d) / math.Sqrt(2*variance))
}

func zInterval(d, variance float64) Interval {
	half := z975 * math.Sqrt(variance)
	return Interval{d - half, d + half}
}

// AlwaysValidP is the p-value of the mixture sequential probability ratio test
// at one look, 1/Lambda with
//
//	Lambda = sqrt(V/(V+tau^2)) exp(d^2 tau^2 / (2 V (V+tau^2)))
//
// for a difference d of variance V, mixed over N(0, tau^2) (Johari, Koomen,
// Pekelis, Walsh, Peeking at A/B Tests, KDD 2017). Whenever one stops, it is
// below alpha with a chance of at most alpha if there is no difference. The
// least of all looks so far is as valid, see [Sequence].
func AlwaysValidP(d, v, tau float64) float64 {
	if tau == 0 || v <= 0 || math.IsInf(v, 1) || math.IsNaN(v) {
		return 1
	}
	t2 := tau * tau
	log := 0.5*math.Log(v/(v+t2)) + d*d*t2/(2*v*(v+t2))
	return math.Exp(-max(log, 0))
}

// AlwaysValidInterval holds the true difference at all looks together with a
// chance of at least 1 - Alpha: the differences that the test would not reject.
func AlwaysValidInterval(d, v, tau float64) Interval {
	if tau == 0 || v <= 0 || math.IsInf(v, 1) || math.IsNaN(v) {
		return everything
	}
	t2 := tau * tau
	half := math.Sqrt(2 * v * (v + t2) / t2 * (math.Log(1/Alpha) + 0.5*math.Log((v+t2)/v)))
	return Interval{d - half, d + half}
}

// Sequence is what several looks at the same comparison say together. The zero
// value has not looked.
type Sequence struct {
	Looks int
	P     float64 // the least of all looks; 1 before the first
	Interval
}

// Look takes one more look into account.
func (s *Sequence) Look(p float64, i Interval) {
	if s.Looks == 0 {
		s.P, s.Interval = 1, everything
	}
	s.Looks++
	s.P = min(s.P, p)
	// All intervals hold the truth together, so their intersection does. Where
	// they have nothing in common the metric is drifting, and the last is shown.
	low, high := max(s.Low, i.Low), min(s.High, i.High)
	if low > high {
		low, high = i.Low, i.High
	}
	s.Interval = Interval{low, high}
}

// adjust is CUPED. The slope is that of the residuals of both arms on the
// covariate, so that it cannot favour one.
func adjust(control, arm *Sample, d, v, tau float64) *Adjusted {
	ee1, ex1, xx1 := control.residual()
	ee2, ex2, xx2 := arm.residual()
	if xx := xx1 + xx2; !(xx > 1e-12*(control.XX+arm.XX)) || math.IsInf(v, 1) || v == 0 {
		return nil
	}
	theta := (ex1 + ex2) / (xx1 + xx2)
	a := &Adjusted{Theta: theta}
	// The rate less theta times the mean covariate, in units of the rate: a user
	// counts D/Users in the denominator.
	shift := func(s *Sample) float64 { return theta * s.X / s.D }
	mean := (control.X + arm.X) / (control.Users + arm.Users)
	about := func(s *Sample) float64 { return shift(s) - theta*mean*s.Users/s.D }
	a.Difference = d - (about(arm) - about(control))
	a.Variance = control.variance(ee1-2*theta*ex1+theta*theta*xx1) + arm.variance(ee2-2*theta*ex2+theta*theta*xx2)
	// Scaled as the variance without the covariate, so that only what it
	// explains makes them differ.
	a.Saved = 1 - a.Variance/(control.Variance()+arm.Variance())
	a.Variance = v * (1 - a.Saved)
	a.FixedP, a.FixedInterval = zTest(a.Difference, a.Variance), zInterval(a.Difference, a.Variance)
	a.AlwaysP, a.AlwaysInterval = AlwaysValidP(a.Difference, a.Variance, tau), AlwaysValidInterval(a.Difference, a.Variance, tau)
	return a
}
