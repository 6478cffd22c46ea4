package models

import "math"

// stackPosterior is a logistic regression on a few numbers that keeps the whole
// covariance of its weights: each example is one step of an extended Kalman
// filter, so that one pass comes close to what a fit to all of them would
// give. It is for some tens of inputs: its cost grows with their square.
type stackPosterior struct {
	mean []float64
	cov  []float64 // row by row
	temp []float64
}

// newStackPosterior starts from independent normal laws.
func newStackPosterior(mean, variance []float64) *stackPosterior {
	n := len(mean)
	p := &stackPosterior{mean: append([]float64(nil), mean...), cov: make([]float64, n*n), temp: make([]float64, n)}
	for i, v := range variance {
		p.cov[i*n+i] = v
	}
	return p
}

func (p *stackPosterior) logit(x []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += v * p.mean[i]
	}
	return sum
}

// learnOffset takes in an example whose logit is offset and what the weights
// say.
func (p *stackPosterior) learnOffset(x []float64, offset float64, label bool) {
	n := len(p.mean)
	l := offset + p.logit(x)
	q := sigmoid(max(-30, min(l, 30)))
	v := max(q*(1-q), 1e-9)
	s := 0.0
	for i := range n {
		row, sum := p.cov[i*n:][:n], 0.0
		for j, xj := range x {
			sum += row[j] * xj
		}
		p.temp[i] = sum
		s += sum * x[i]
	}
	d := -q
	if label {
		d++
	}
	gain := 1 / (1 + v*s)
	step := d * gain
	// A logistic slope flattens as the step goes on: a full step from far away
	// would land beyond the answer.
	if far := math.Abs(step) * s; far > 1 {
		step *= (1 + math.Log(far)) / far
	}
	for i := range n {
		p.mean[i] += p.temp[i] * step
		row, c := p.cov[i*n:][:n], v*gain*p.temp[i]
		for j := range row {
			row[j] -= c * p.temp[j]
		}
	}
}
