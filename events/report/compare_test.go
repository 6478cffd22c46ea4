package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// digits is v with three significant digits, as published figures are.
func digits(v float64) string { return fmt.Sprintf("%.3g", v) }

// The published figures of Cookie Cats: 44,700 users with the gate at level 30
// and 45,489 at level 40.
func TestCookieCats(t *testing.T) {
	gate30, gate40 := Proportion(44_700, 8_502), Proportion(45_489, 8_279)
	c := Compare(&gate30, &gate40, Settings{})
	for _, f := range []struct {
		name      string
		got, want float64
		format    string
	}{
		{"control", gate30.Rate(), 0.1902, "%.4f"},
		{"arm", gate40.Rate(), 0.1820, "%.4f"},
		{"difference", c.Difference, -0.0082, "%.4f"},
		{"low", c.FixedInterval.Low, -0.0133, "%.4f"},
		{"high", c.FixedInterval.High, -0.0031, "%.4f"},
		{"p", c.FixedP, 0.00155, "%.5f"},
	} {
		if got, want := fmt.Sprintf(f.format, f.got), fmt.Sprintf(f.format, f.want); got != want {
			t.Errorf("%s: %s, want %s", f.name, got, want)
		}
	}
	if c.AlwaysP <= c.FixedP || c.AlwaysInterval.Low >= c.FixedInterval.Low || c.AlwaysInterval.High <= c.FixedInterval.High {
		t.Errorf("always valid p %v and %v are not wider than %v and %v", c.AlwaysP, c.AlwaysInterval, c.FixedP, c.FixedInterval)
	}
	day30, day40 := Proportion(44_700, 20_034), Proportion(45_489, 20_119)
	if c := Compare(&day30, &day40, Settings{}); digits(c.FixedP) != "0.0744" {
		t.Errorf("first day: p = %v, want 0.0744", c.FixedP)
	}
	r := CheckRatio([]float64{44_700, 45_489}, []float64{1, 1})
	if fmt.Sprintf("%.4f", r.P) != "0.0086" || !r.Warns() || r.Withholds() {
		t.Errorf("ratio: %+v, want a warning with p = 0.0086", r)
	}
}

func TestRatioWithholds(t *testing.T) {
	if r := CheckRatio([]float64{50_000, 51_100}, []float64{1, 1}); !r.Withholds() || !r.Warns() {
		t.Errorf("%+v does not withhold", r)
	}
	if r := CheckRatio([]float64{96_000, 4_000}, []float64{24, 1}); r.P != 1 || r.Warns() {
		t.Errorf("an exact split gives %+v", r)
	}
	if r := CheckRatio([]float64{0, 0}, []float64{1, 1}); r.P != 1 {
		t.Errorf("no users give %+v", r)
	}
}

// The example of Rosetta Code, "Welch's t-test": p = 0.021378.
func TestWelch(t *testing.T) {
	var a, b Sample
	for _, v := range []float64{27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4} {
		a.Add(User{Metric: v, Denominator: 1})
	}
	second := []float64{27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4}
	for _, v := range second {
		b.Add(User{Metric: v, Denominator: 1})
	}
	c := Compare(&a, &b, Settings{})
	if fmt.Sprintf("%.6f", c.FixedP) != "0.021378" {
		t.Errorf("p = %v", c.FixedP)
	}
	// At either end of the interval the test is just at alpha.
	for _, end := range []float64{c.FixedInterval.Low, c.FixedInterval.High} {
		moved := Sample{}
		for _, v := range second {
			moved.Add(User{Metric: v - end, Denominator: 1})
		}
		if p, _ := Welch(&a, &moved); math.Abs(p-Alpha) > 1e-9 {
			t.Errorf("p = %v at the end %v of the interval", p, end)
		}
	}
}

// The formula of the mixture, written out once more, against its integral.
func TestAlwaysValidPIsTheMixture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, tau := rapid.Float64Range(1e-4, 4).Draw(t, "v"), rapid.Float64Range(1e-2, 3).Draw(t, "tau")
		d := rapid.Float64Range(-6, 6).Draw(t, "z") * math.Sqrt(v)
		// Lambda is the likelihood ratio of d, averaged over effects of N(0, tau²).
		sum, steps := 0.0, 20_000
		width := 24 * tau / float64(steps)
		for i := range steps {
			theta := -12*tau + (float64(i)+0.5)*width
			sum += math.Exp(theta*d/v-theta*theta/(2*v)-theta*theta/(2*tau*tau)) * width
		}
		lambda := sum / (tau * math.Sqrt(2*math.Pi))
		if got, want := AlwaysValidP(d, v, tau), min(1, 1/lambda); math.Abs(got-want) > 1e-6*want+1e-9 {
			t.Fatalf("p = %v, want %v", got, want)
		}
	})
}

// The interval holds zero exactly where the p-value is above alpha.
func TestAlwaysValidIntervalInvertsTheTest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, tau := rapid.Float64Range(1e-6, 4).Draw(t, "v"), rapid.Float64Range(1e-3, 3).Draw(t, "tau")
		d := rapid.Float64Range(-6, 6).Draw(t, "z") * math.Sqrt(v)
		p, i := AlwaysValidP(d, v, tau), AlwaysValidInterval(d, v, tau)
		if math.Abs(p-Alpha) < 1e-9 {
			return
		}
		if inside := i.Low < 0 && 0 < i.High; inside != (p > Alpha) {
			t.Fatalf("p = %v but the interval is %v", p, i)
		}
	})
}

// A small arm in which nobody did anything is no evidence.
func TestAlwaysValidPOfAnEmptyHandedArm(t *testing.T) {
	big, small := Proportion(10_000, 100), Proportion(100, 0)
	if c := Compare(&big, &small, Settings{}); c.AlwaysP < 0.5 {
		t.Errorf("0 of 100 against 1 %% has p = %v", c.AlwaysP)
	}
	// But many of whom none did is.
	if c := Compare(&Sample{Users: 10_000, D: 10_000, DD: 10_000}, &big, Settings{Effect: 1}); c.AlwaysP > 1e-6 || !math.IsNaN(c.Relative) {
		t.Errorf("1 %% against 0 of 10,000 has p = %v", c.AlwaysP)
	}
	none := Sample{}
	c := Compare(&none, &small, Settings{})
	if c.AlwaysP != 1 || c.FixedP != 1 || !math.IsInf(c.FixedInterval.High, 1) {
		t.Errorf("an empty arm gives %+v", c)
	}
}

// Users with many impressions: the variance by the delta method is that of the
// click rate over repetitions, the binomial one of impressions is not.
func TestRatioVarianceIsThatOfUsers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const users, runs = 2000, 400
	var rates, rates2, variance, naive float64
	for range runs {
		var s Sample
		for range users {
			impressions := 1 + random.IntN(40)
			rate := 0.2 * random.Float64() * random.Float64()
			clicks := 0
			for range impressions {
				if random.Float64() < rate {
					clicks++
				}
			}
			s.Add(User{Metric: float64(clicks), Denominator: float64(impressions)})
		}
		r := s.Rate()
		rates, rates2 = rates+r, rates2+r*r
		variance += s.Variance() / runs
		naive += r * (1 - r) / s.D / runs
	}
	mean := rates / runs
	seen := (rates2 - runs*mean*mean) / (runs - 1)
	if ratio := variance / seen; ratio < 0.8 || ratio > 1.25 {
		t.Errorf("variance %.3g, over repetitions it is %.3g", variance, seen)
	}
	if naive > 0.8*seen {
		t.Errorf("the test needs users who differ: %.3g by impressions, %.3g seen", naive, seen)
	}
}

func TestCUPED(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var control, arm Sample
	const n = 20_000
	for range n {
		x := random.NormFloat64()
		control.Add(User{10 + 3*x + 2*random.NormFloat64(), 1, x})
		x = random.NormFloat64()
		arm.Add(User{10.1 + 3*x + 2*random.NormFloat64(), 1, x})
	}
	c := Compare(&control, &arm, Settings{})
	a := c.CUPED
	// Of a variance of 9 + 4 the covariate explains 9.
	if math.Abs(a.Theta-3) > 0.05 || math.Abs(a.Saved-9.0/13) > 0.01 {
		t.Errorf("theta %v saved %v, want 3 and %v", a.Theta, a.Saved, 9.0/13)
	}
	if math.Abs(a.Difference-0.1) > 4*2*math.Sqrt(2.0/n) || math.Abs(a.Variance-8.0/n) > 0.1*8/n {
		t.Errorf("difference %v with variance %v, want 0.1 and %v", a.Difference, a.Variance, 8.0/n)
	}

	// A covariate of noise saves nothing, one that does not vary says nothing.
	control, arm = Sample{}, Sample{}
	for range n {
		control.Add(User{random.NormFloat64(), 1, random.NormFloat64()})
		arm.Add(User{random.NormFloat64(), 1, random.NormFloat64()})
	}
	if c := Compare(&control, &arm, Settings{}); c.CUPED.Saved > 0.001 {
		t.Errorf("noise saved %v", c.CUPED.Saved)
	}
	control, arm = Sample{}, Sample{}
	for range n {
		control.Add(User{random.Float64(), 1, 0.1})
		arm.Add(User{random.Float64(), 1, 0.1})
	}
	if c := Compare(&control, &arm, Settings{}); c.CUPED != nil {
		t.Errorf("a constant gives %+v", c.CUPED)
	}
}

// For a ratio the adjusted difference has the variance that it says.
func TestCUPEDOfARatio(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	const users, runs = 1000, 300
	var sum, sum2, said, saved float64
	for range runs {
		arms := [2]Sample{}
		for k := range arms {
			for range users {
				rate := 0.3 * random.Float64() * random.Float64()
				before, impressions, clicks, past := 20, 1+random.IntN(20), 0, 0
				for range before {
					if random.Float64() < rate {
						past++
					}
				}
				for range impressions {
					if random.Float64() < rate {
						clicks++
					}
				}
				arms[k].Add(User{float64(clicks), float64(impressions), float64(past)})
			}
		}
		c := Compare(&arms[0], &arms[1], Settings{})
		sum, sum2 = sum+c.CUPED.Difference, sum2+c.CUPED.Difference*c.CUPED.Difference
		said, saved = said+c.CUPED.Variance/runs, saved+c.CUPED.Saved/runs
	}
	mean := sum / runs
	seen := (sum2 - runs*mean*mean) / (runs - 1)
	if ratio := said / seen; ratio < 0.75 || ratio > 1.3 {
		t.Errorf("variance %.3g, over repetitions it is %.3g", said, seen)
	}
	if saved < 0.1 {
		t.Errorf("clicks of before saved only %v", saved)
	}
}

func TestSequenceKeepsTheLeast(t *testing.T) {
	var s Sequence
	s.Look(0.2, Interval{-1, 3})
	s.Look(0.04, Interval{0.5, 4})
	s.Look(0.3, Interval{-2, 2})
	if s.P != 0.04 || s.Interval != (Interval{0.5, 2}) || s.Looks != 3 {
		t.Errorf("%+v", s)
	}
	s.Look(1, Interval{5, 6})
	if s.Interval != (Interval{5, 6}) {
		t.Errorf("nothing in common gives %v", s.Interval)
	}
}

// Ads that make one in five convert where one in ten would have: users who win
// more often convert more often by themselves, so all users of the holdout
// would be the wrong comparison.
func TestIncrement(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	var covered, runs = 0, 200
	var sum, plain float64
	for range runs {
		var treated Sample
		var control Ghosts
		var all float64
		const users = 3000
		for i := range 2 * users {
			chance := random.Float64()
			natural := 0.02 + 0.15*chance
			own := 0.0
			if i < users {
				if random.Float64() < natural {
					own = 1
				}
				control.Add(chance, own)
				all += own
			} else if random.Float64() < chance { // it won
				if random.Float64() < natural+0.1 {
					own = 1
				}
				treated.Add(User{Metric: own, Denominator: 1})
			}
		}
		r := Increment(&treated, &control)
		if r.Interval.Low < 0.1 && 0.1 < r.Interval.High {
			covered++
		}
		sum += r.Difference / float64(runs)
		plain += (treated.Rate() - all/users) / float64(runs)
		if r.P > 1e-4 || r.Lift < r.LiftInterval.Low || r.Lift > r.LiftInterval.High || r.Added <= 0 {
			t.Fatalf("%+v", r)
		}
	}
	if math.Abs(sum-0.1) > 0.004 {
		t.Errorf("mean difference %v, want 0.1", sum)
	}
	if math.Abs(plain-0.1) < 0.01 {
		t.Errorf("the test needs users who differ: without weights it is %v", plain)
	}
	if covered < 180 || covered > 199 {
		t.Errorf("the interval held the truth %d times of %d, want about 190", covered, runs)
	}
}

// Without a difference, at most one experiment in twenty finds one at any of a
// hundred looks, also where the arms are uneven and the users are not alike.
func TestAlwaysValidFindsNothingWhereNothingIs(t *testing.T) {
	for name, c := range map[string]struct {
		small float64 // part of the users in the arm
		user  func(*rand.Rand) User
	}{
		"rare, one arm of 4 %": {0.04, func(r *rand.Rand) User {
			if r.Float64() < 0.005 {
				return User{1, 1, 0}
			}
			return User{0, 1, 0}
		}},
		"clicks by impressions of users who differ": {0.2, func(r *rand.Rand) User {
			n, rate, clicks := 1+int(r.ExpFloat64()*4), 0.1*r.Float64()*r.Float64(), 0.0
			for range n {
				if r.Float64() < rate {
					clicks++
				}
			}
			return User{clicks, float64(n), clicks}
		}},
		"money, few pay and some much": {0.5, func(r *rand.Rand) User {
			if r.Float64() < 0.03 {
				return User{math.Exp(3 + r.NormFloat64()), 1, 0}
			}
			return User{0, 1, 0}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(11, 12))
			const runs, looks, each = 300, 100, 100
			found := 0
			for range runs {
				var arms [2]Sample
				var s Sequence
				for range looks {
					for range each {
						k := 0
						if random.Float64() < c.small {
							k = 1
						}
						arms[k].Add(c.user(random))
					}
					r := Compare(&arms[0], &arms[1], Settings{Effect: 0.5})
					s.Look(r.AlwaysP, r.AlwaysInterval)
				}
				if s.P < Alpha {
					found++
				}
			}
			if found > runs/20 {
				t.Errorf("%d of %d find a difference", found, runs)
			}
			t.Logf("%d of %d", found, runs)
		})
	}
}
