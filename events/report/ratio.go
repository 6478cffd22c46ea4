package report

import "gonum.org/v1/gonum/stat/distuv"

// Limits of the sample-ratio check. A split that is this unlikely means that
// the assignment or the log is broken, and no difference between the arms can
// be believed (Fabijan et al., Diagnosing Sample Ratio Mismatch, KDD 2019).
const (
	RatioWarns     = 0.01
	RatioWithholds = 0.001
)

// RatioCheck compares how many users each arm has with how many it should.
type RatioCheck struct {
	ChiSquare float64
	P         float64
}

// Warns reports whether results come with a warning.
func (r RatioCheck) Warns() bool { return r.P < RatioWarns }

// Withholds reports whether results must not be shown.
func (r RatioCheck) Withholds() bool { return r.P < RatioWithholds }

// CheckRatio is a chi-square test of the numbers of users against the weights
// of the arms, which must be positive.
func CheckRatio(users, weights []float64) RatioCheck {
	var n, total float64
	for i := range users {
		n += users[i]
		total += weights[i]
	}
	if n == 0 || len(users) < 2 {
		return RatioCheck{P: 1}
	}
	var r RatioCheck
	for i := range users {
		expected := n * weights[i] / total
		r.ChiSquare += (users[i] - expected) * (users[i] - expected) / expected
	}
	r.P = distuv.ChiSquared{K: float64(len(users) - 1)}.Survival(r.ChiSquare)
	return r
}
