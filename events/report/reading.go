package report

import (
	"errors"
	"fmt"
	"slices"
)

// ArmSample is an arm with its name and the weight by which users should come
// to it.
type ArmSample struct {
	Name   string
	Weight float64
	Sample
}

// Reading is what an experiment says. Its first arm is the control.
type Reading struct {
	Arms  []ArmSample
	Ratio RatioCheck
	// Comparisons are of the other arms, in their order; empty where the ratio
	// check withholds.
	Comparisons []Comparison
	Adjust      bool // there is a covariate that varies
}

// Withheld says why there are no comparisons; empty when there are.
func (r *Reading) Withheld() string {
	if !r.Ratio.Withholds() {
		return ""
	}
	return fmt.Sprintf("the numbers of users do not fit the weights of the arms (p = %.2g, below %v): the assignment or the log is broken, and so would be any result", r.Ratio.P, RatioWithholds)
}

// Errors of Read.
var errArms = errors.New("an experiment has at least two arms")

// Read compares all arms with the first. Every comparison is made at Alpha: with
// many arms one of them is found different by chance more often than that.
func Read(arms []ArmSample, s Settings) (*Reading, error) {
	if len(arms) < 2 {
		return nil, errArms
	}
	users, weights := make([]float64, len(arms)), make([]float64, len(arms))
	for i := range arms {
		if !(arms[i].Weight > 0) {
			return nil, fmt.Errorf("arm %s: weight %v: must be more than zero", arms[i].Name, arms[i].Weight)
		}
		users[i], weights[i] = arms[i].Users, arms[i].Weight
	}
	r := &Reading{Arms: slices.Clone(arms), Ratio: CheckRatio(users, weights)}
	if r.Ratio.Withholds() {
		return r, nil
	}
	for i := range arms[1:] {
		c := Compare(&arms[0].Sample, &arms[1+i].Sample, s)
		r.Adjust = r.Adjust || c.CUPED != nil
		r.Comparisons = append(r.Comparisons, c)
	}
	return r, nil
}
