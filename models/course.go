package models

// course is how one kind of thing is learned: several settings side by side,
// each adding to what was known before, and the corrections of the best.
type course struct {
	learners   []*FTRL
	losses     []float64 // log loss of each, older examples counting less
	best       int
	pairs      *pairings // what pairs of features add to the best; nil for none
	calibrator *Calibrator

	// Of the corrected predictions of late, and of those before: what went bad
	// lately must not look good for having been good for long.
	score, before Score
	scored        int // predictions in score
}

// scoreLife is how many predictions one score is of.
const scoreLife = 50_000

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
		c.losses[i] = c.losses[i]*(1-1.0/lossLife) + logLoss(q, label)
	}
	if c.pairs != nil {
		p = c.pairs.learn(hashes, p, label)
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
	if c.scored == scoreLife {
		c.before, c.score, c.scored = c.score, Score{}, 0
	}
	c.scored++
	c.score.Add(c.calibrator.LearnWeighted(campaign, p, label, weight), label)
}

// metrics are those of late: of at least a fifth of a scoreLife, once there
// were as many.
func (c *course) metrics() Metrics {
	if m := c.before.Metrics(); c.scored < scoreLife/5 && m.Rows > 0 {
		return m
	}
	return c.score.Metrics()
}

// model is the best of the learners.
func (c *course) model() *Logistic { return c.learners[c.best].Model() }

// paired is what the pairs add to it, nil while it predicts better without.
func (c *course) paired() *Pairs {
	if c.pairs == nil || c.pairs.serves < 0 {
		return nil
	}
	return c.pairs.all[c.pairs.serves].model()
}
