package models

import (
	"math"
	"math/rand/v2"
	"testing"
)

// follow is how many nats an outlook loses to who knows the rate of the labels
// to come, over so many rows of a score that says by of what it seems to, and the
// predictions over the labels after the first fifth of the rows.
func follow(seed uint64, learned, rate float64, rows int, by float64) (lost, calibration float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	o := newOutlook(learned)
	for range 1000 {
		o.meet(0.5 * r.NormFloat64())
	}
	o.begin()
	var all, later Score
	for i := range rows {
		score := 0.5 * r.NormFloat64()
		p := o.predict(score)
		label := r.Float64() < sigmoid(logit(rate)+by*score)
		all.Add(p, label)
		if i > rows/5 {
			later.Add(p, label)
		}
		o.learn(score, p, label)
	}
	m := all.Metrics()
	return (m.NE() - 1) * m.LogLoss / m.NE() * float64(m.Rows), later.Metrics().Calibration
}

func TestOutlookFollowsTheRate(t *testing.T) {
	for _, tt := range []struct {
		name          string
		learned, rate float64
		rows          int
		by            float64
		most          float64 // nats lost on average
	}{
		{"falls by 4", 0.009, 0.0022, 21_000, 0, 4.5},
		{"falls by 10", 0.009, 0.0009, 21_000, 0, 5.2},
		{"rises by 4", 0.0022, 0.009, 21_000, 0, 5.5},
		{"rises by 10", 0.0009, 0.009, 21_000, 0, 6.2},
		{"stays", 0.004, 0.004, 21_000, 0, 3.2},
		{"stays and is common", 0.2, 0.2, 2000, 0, 4.5},
		{"stays with a true score", 0.2, 0.2, 2000, 1, -20},
		{"falls with a true score", 0.009, 0.0022, 21_000, 1, 0.5},
	} {
		const runs = 5
		lost, off := 0.0, 0.0
		for seed := range uint64(runs) {
			l, c := follow(seed, tt.learned, tt.rate, tt.rows, tt.by)
			lost += l / runs
			off += math.Log(c) / runs
		}
		t.Logf("%s: %.2f nats lost, later calibration %.3f", tt.name, lost, math.Exp(off))
		if lost > tt.most {
			t.Errorf("%s: %.2f nats lost, want at most %.1f", tt.name, lost, tt.most)
		}
		if math.Abs(off) > 0.2 {
			t.Errorf("%s: later calibration %.3f", tt.name, math.Exp(off))
		}
	}
}

// What an outlook says of a label and of its opposite adds up to one, whatever
// the score, and its weights stay a distribution.
func TestOutlookStaysADistribution(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for _, rate := range []float64{1e-6, 0.01, 0.5, 1} {
		o := newOutlook(rate)
		o.begin()
		for i := range 3000 {
			score := 20 * r.NormFloat64()
			p := o.predict(score)
			o.learn(score, p, i%7 == 0 || i > 2900)
			sum := 0.0
			for k := range o.views {
				for _, w := range o.views[k].weights {
					sum += w
				}
			}
			if !(math.Abs(sum-1) < 1e-9) || !(p >= minProbability && p <= maxProbability) {
				t.Fatalf("rate %v, row %d: predicted %v, weights add up to %v", rate, i, p, sum)
			}
		}
	}
}
