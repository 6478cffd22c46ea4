package models

import "math"

// course is how one kind of thing is learned: several settings side by side,
// each adding to what was known before, and the corrections of the best.
type course struct {
	learners   []*FTRL
	losses     []float64 // log loss of each, older examples counting less
	best       int
	calibrator *Calibrator
	score      Score // of the corrected predictions
}

const lossLife = 20_000 // examples

func newCourse(cfg LearnerConfig, settings []FTRLConfig, known *Logistic, keep float64) (*course, error) {
	c := &course{losses: make([]float64, len(settings))}
	for _, s := range settings {
		if s.Negatives = keep; keep == 1 {
			s.Negatives = 0
		}
		if known != nil {
			s.Rate = 0
		}
		f, err := NewFTRL(cfg.Bits, s)
		if err != nil {
			return nil, err
		}
		if known != nil {
			f.Extend(known)
		}
		c.learners = append(c.learners, f)
	}
	var err error
	c.calibrator, err = NewCalibrator(cfg.Calibration)
	return c, err
}

// learn takes in one example and returns what it was predicted, not corrected.
func (c *course) learn(hashes []uint32, label bool) float64 {
	p := 0.0
	for i, f := range c.learners {
		q := f.Learn(hashes, label, 1)
		if i == c.best {
			p = q
		}
		loss := math.Log1p(-q)
		if label {
			loss = math.Log(q)
		}
		c.losses[i] = c.losses[i]*(1-1.0/lossLife) - loss
	}
	for i := range c.losses {
		if c.losses[i] < 0.999*c.losses[c.best] { // no change for next to nothing
			c.best = i
		}
	}
	return p
}

// correct has the corrections learn of a prediction that stands for so many.
func (c *course) correct(campaign uint32, p float64, label bool, weight float64) {
	c.score.Add(c.calibrator.LearnWeighted(campaign, p, label, weight), label)
}

// model is the best of the learners.
func (c *course) model() *Logistic { return c.learners[c.best].Model() }
