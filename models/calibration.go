package models

import (
	"errors"
	"math"
	"slices"
)

// CalibrationConfig sets how a [Calibrator] learns.
type CalibrationConfig struct {
	// Clicks is how many clicks a campaign needs until its own ratio counts as
	// much as that of all campaigns, and all of them until theirs counts as
	// much as the model's word.
	Clicks float64

	// HalfLife is after how many impressions an example counts half, while
	// nothing sudden happens.
	HalfLife float64

	// PlattClicks and IsotonicClicks are how many clicks it takes to try such
	// a curve.
	PlattClicks, IsotonicClicks float64

	keep float64 // what is left of an example after one more; from HalfLife
}

// DefaultCalibration suits campaigns of thousands to millions of impressions.
func DefaultCalibration() CalibrationConfig {
	return CalibrationConfig{Clicks: 30, HalfLife: 50_000, PlattClicks: 60, IsotonicClicks: 1000}
}

// Validate reports every setting that is wrong.
func (c CalibrationConfig) Validate() error {
	var errs []error
	for _, v := range []struct {
		name  string
		value float64
	}{{"clicks", c.Clicks}, {"half-life", c.HalfLife}, {"platt-clicks", c.PlattClicks}, {"isotonic-clicks", c.IsotonicClicks}} {
		if !(v.value >= 1 && v.value <= 1e9) {
			errs = append(errs, errors.New("calibration: "+v.name+": want 1 to 1e9"))
		}
	}
	return errors.Join(errs...)
}

// Calibrator learns what predictions must be corrected by so that as many
// clicks come as were predicted: a curve for all, then a factor for each
// campaign, which is that of all campaigns until the campaign has clicks of
// its own. It is for one goroutine; [Calibrator.Table] is what bidders read.
type Calibrator struct {
	cfg  CalibrationConfig
	data bendData

	// The curves race, each with a ratio of its own; gain is by how much log
	// loss one has done better than none, older examples counting less. used
	// is the one in force.
	curves [bendKinds]struct {
		bend
		ratio
		fitted bool
		gain   float64
	}
	used bendKind

	campaigns map[uint32]*ratio
}

// NewCalibrator starts with no correction.
func NewCalibrator(cfg CalibrationConfig) (*Calibrator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.keep = math.Exp2(-1 / cfg.HalfLife)
	c := &Calibrator{cfg: cfg, campaigns: map[uint32]*ratio{}}
	c.curves[bendNone].fitted = true
	for i := range c.curves {
		c.curves[i].ratio = newRatio()
	}
	return c, nil
}

// Learn takes in one impression of a campaign, the probability that the model
// gave it, not corrected, and whether it was clicked. It returns the
// correction that it would have made before it knew of the click.
func (c *Calibrator) Learn(campaign uint32, p float64, click bool) (corrected float64) {
	return c.LearnWeighted(campaign, p, click, 1)
}

// LearnWeighted is [Calibrator.Learn] of an impression that stands for so many.
func (c *Calibrator) LearnWeighted(campaign uint32, p float64, click bool, weight float64) (corrected float64) {
	p = clampProbability(p)
	global, bent, none := 1.0, p, 0.0
	for i := range c.curves {
		v := &c.curves[i]
		if !v.fitted {
			continue
		}
		q := v.apply(p)
		factor := v.factor(1, &c.cfg)
		if bendKind(i) == c.used {
			global, bent = factor, q
		}
		loss := logLoss(clampProbability(q*factor), click)
		if bendKind(i) == bendNone {
			none = loss
		}
		v.gain += none - loss
		v.ratio.learn(1, q, click, weight, &c.cfg)
	}
	r := c.campaigns[campaign]
	if r == nil {
		r = new(ratio)
		*r = newRatio()
		c.campaigns[campaign] = r
	}
	corrected = clampProbability(bent * r.factor(global, &c.cfg))
	r.learn(global, bent, click, weight, &c.cfg)
	c.data.add(p, click, weight, c.cfg.keep)
	return corrected
}

// Predict is the correction that Learn would make.
func (c *Calibrator) Predict(campaign uint32, p float64) float64 {
	v := &c.curves[c.used]
	factor := v.factor(1, &c.cfg)
	if r := c.campaigns[campaign]; r != nil {
		factor = r.factor(factor, &c.cfg)
	}
	return clampProbability(v.apply(clampProbability(p)) * factor)
}

func logLoss(p float64, click bool) float64 {
	if click {
		return -math.Log(p)
	}
	return -math.Log1p(-p)
}

// leastGain is what a curve must have done better than none, in nats, before
// it is used: less may be luck.
const leastGain = 2

// Refit puts that curve in force which has predicted best since it was first
// fitted, if any did better than none, and fits new ones on what has been
// seen. Call it once a night, or after some thousands of impressions.
func (c *Calibrator) Refit() {
	best := bendNone
	for i := range c.curves {
		if v := &c.curves[i]; v.gain > max(leastGain, c.curves[best].gain) {
			best = bendKind(i)
		}
	}
	before := c.curves[c.used].factor(1, &c.cfg)
	_, clicks := c.data.totals()
	for i, fit := range [...]struct {
		clicks float64
		fit    func() (bend, bool)
	}{bendPlatt: {c.cfg.PlattClicks, c.data.platt}, bendIsotonic: {c.cfg.IsotonicClicks, c.data.isotonic}} {
		v := &c.curves[i]
		v.gain /= 2
		if fit.fit == nil || clicks < fit.clicks {
			continue
		}
		if fitted, ok := fit.fit(); ok {
			// What the mean was wrong by before, the new curve has in it.
			v.bend, v.fitted, v.ratio = fitted, true, newRatio()
		}
	}
	c.used = best
	// Each campaign keeps its distance from the others.
	by := before / c.curves[best].factor(1, &c.cfg)
	for _, r := range c.campaigns {
		r.rescale(by)
	}
}

// Table is what has been learned so far.
func (c *Calibrator) Table() *Calibration {
	v := &c.curves[c.used]
	t := &Calibration{bend: v.bend, global: float32(v.factor(1, &c.cfg))}
	global := float64(t.global)
	for id, r := range c.campaigns {
		t.lines = append(t.lines, CalibrationLine{
			Campaign: id, Rows: r.rows, Clicks: r.clicks, Factor: float32(r.factor(global, &c.cfg)),
		})
	}
	slices.SortFunc(t.lines, func(a, b CalibrationLine) int {
		if a.Campaign < b.Campaign {
			return -1
		}
		return 1
	})
	t.index()
	return t
}
