package report

import "math"

// Figures is a Reading as the API and --json give it: without infinities, and
// without a figure that must not be seen.
type Figures struct {
	Arms        []ArmFigures        `json:"arms" nullable:"false" doc:"The control first"`
	Ratio       SampleRatio         `json:"sample_ratio" doc:"Whether the arms have as many users as they should"`
	Withheld    string              `json:"withheld,omitempty" doc:"Why there are no rates and no comparisons"`
	Comparisons []ComparisonFigures `json:"comparisons" nullable:"false" doc:"Of the other arms with the control, in their order"`
}

// ArmFigures is one arm.
type ArmFigures struct {
	Name     string   `json:"name"`
	Users    int64    `json:"users"`
	Share    float64  `json:"share" doc:"Part of the users"`
	Expected float64  `json:"expected_share"`
	Rate     *float64 `json:"rate,omitempty" doc:"The metric; absent where results are withheld"`
}

// SampleRatio is the sample-ratio check.
type SampleRatio struct {
	ChiSquare float64 `json:"chi_square"`
	P         float64 `json:"p"`
	Warns     bool    `json:"warns" doc:"p is below 0.01"`
	Withholds bool    `json:"withholds" doc:"p is below 0.001"`
}

// TestFigures is a p-value with the interval of the difference.
type TestFigures struct {
	P    float64  `json:"p"`
	Low  *float64 `json:"low,omitempty" doc:"Of the 95 % interval of the difference; absent where nothing is known"`
	High *float64 `json:"high,omitempty"`
}

// ComparisonFigures is one arm against the control.
type ComparisonFigures struct {
	Arm          string           `json:"arm"`
	Difference   float64          `json:"difference" doc:"Of the rates, arm less control"`
	Relative     *float64         `json:"relative,omitempty" doc:"To the control's rate"`
	AlwaysValid  TestFigures      `json:"always_valid" doc:"Right however often one looks and whenever one stops"`
	FixedHorizon TestFigures      `json:"fixed_horizon" doc:"Right only for one who looks once, at a time set beforehand"`
	CUPED        *AdjustedFigures `json:"cuped,omitempty" doc:"With less noise, by what the users did before"`
}

// AdjustedFigures is the comparison with a covariate taken out.
type AdjustedFigures struct {
	VarianceSaved float64     `json:"variance_saved" doc:"Part of the variance that is gone"`
	Theta         float64     `json:"theta"`
	Difference    float64     `json:"difference"`
	AlwaysValid   TestFigures `json:"always_valid"`
	FixedHorizon  TestFigures `json:"fixed_horizon"`
}

// Show makes a Reading fit to be seen.
func Show(r *Reading) *Figures {
	out := &Figures{
		Ratio:    SampleRatio{ChiSquare: r.Ratio.ChiSquare, P: r.Ratio.P, Warns: r.Ratio.Warns(), Withholds: r.Ratio.Withholds()},
		Withheld: r.Withheld(), Comparisons: []ComparisonFigures{},
	}
	var users, weights float64
	for i := range r.Arms {
		users += r.Arms[i].Users
		weights += r.Arms[i].Weight
	}
	for i := range r.Arms {
		a := &r.Arms[i]
		arm := ArmFigures{Name: a.Name, Users: int64(a.Users), Expected: a.Weight / weights}
		if users > 0 {
			arm.Share = a.Users / users
		}
		if out.Withheld == "" {
			arm.Rate = new(a.Rate())
		}
		out.Arms = append(out.Arms, arm)
	}
	for i := range r.Comparisons {
		c := &r.Comparisons[i]
		shown := ComparisonFigures{
			Arm: r.Arms[1+i].Name, Difference: c.Difference, Relative: finite(c.Relative),
			AlwaysValid: showTest(c.AlwaysP, c.AlwaysInterval), FixedHorizon: showTest(c.FixedP, c.FixedInterval),
		}
		if a := c.CUPED; a != nil {
			shown.CUPED = &AdjustedFigures{
				VarianceSaved: a.Saved, Theta: a.Theta, Difference: a.Difference,
				AlwaysValid: showTest(a.AlwaysP, a.AlwaysInterval), FixedHorizon: showTest(a.FixedP, a.FixedInterval),
			}
		}
		out.Comparisons = append(out.Comparisons, shown)
	}
	return out
}

func showTest(p float64, i Interval) TestFigures {
	return TestFigures{P: p, Low: finite(i.Low), High: finite(i.High)}
}

func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
