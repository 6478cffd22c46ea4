package models

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Example is one impression and whether it was clicked. Its Hashes are those
// of [Extract], valid until the next example is asked for.
type Example struct {
	Hashes []uint32
	Click  bool
	Time   time.Time
}

// TrainConfig sets how a model is trained.
type TrainConfig struct {
	Bits int
	// Settings are tried side by side on the same examples; the model is the
	// one whose predictions, made before learning, had the least log loss.
	Settings []FTRLConfig
	// PairBits is the size of the table of what pairs of features add, which is
	// in the model if it predicted better so: 2^PairBits vectors; zero for none.
	PairBits int
}

// DefaultTrainConfig tries the usual settings and those for rare clicks, and
// pairs of features.
func DefaultTrainConfig() TrainConfig {
	return TrainConfig{
		Bits: DefaultBits, Settings: []FTRLConfig{DefaultFTRL(), RareFTRL(), SteadyFTRL()}, PairBits: DefaultPairBits,
	}
}

// Validate reports every setting that is wrong.
func (c TrainConfig) Validate() error {
	errs := []error{checkBits(c.Bits), checkPairBits(c.PairBits)}
	if len(c.Settings) == 0 || len(c.Settings) > 16 {
		errs = append(errs, fmt.Errorf("settings: got %d, want 1 to 16", len(c.Settings)))
	}
	for i, s := range c.Settings {
		if err := s.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("settings[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// ErrNoExamples means that there was nothing to learn from.
var ErrNoExamples = errors.New("no examples to learn from")

// maxChecks is how many of the first examples go into the file of a model,
// with their predictions.
const maxChecks = 8

// Train learns a model of clicks from examples in the order of their time, in
// one pass. It stops at the first error.
func Train(examples iter.Seq2[Example, error], cfg TrainConfig) (*Model, Metrics, error) {
	if err := cfg.Validate(); err != nil {
		return nil, Metrics{}, fmt.Errorf("train: %w", err)
	}
	var learners []*FTRL
	for _, s := range cfg.Settings {
		l, err := NewFTRL(cfg.Bits, s)
		if err != nil {
			return nil, Metrics{}, fmt.Errorf("train: %w", err)
		}
		learners = append(learners, l)
	}
	best := learners[0]
	var pairs *pairings
	if cfg.PairBits > 0 {
		var err error
		if pairs, err = newPairings(cfg.PairBits, nil, 1); err != nil {
			return nil, Metrics{}, fmt.Errorf("train: %w", err)
		}
	}
	var checks [][]uint32
	var from, through time.Time
	for e, err := range examples {
		if err != nil {
			return nil, Metrics{}, fmt.Errorf("train: %w", err)
		}
		if len(e.Hashes) > maxHashes {
			return nil, Metrics{}, fmt.Errorf("train: example has %d features, want at most %d", len(e.Hashes), maxHashes)
		}
		if !e.Time.IsZero() {
			if from.IsZero() || e.Time.Before(from) {
				from = e.Time
			}
			if e.Time.After(through) {
				through = e.Time
			}
		}
		if len(checks) < maxChecks {
			checks = append(checks, slices.Clone(e.Hashes))
		}
		p := 0.0
		for _, l := range learners {
			if q := l.Update(e.Hashes, e.Click); l == best {
				p = q
			}
		}
		if pairs != nil {
			pairs.learn(e.Hashes, p, e.Click)
		}
		for _, l := range learners {
			if l.score.loss < best.score.loss {
				best = l
			}
		}
	}
	m := &Model{Clicks: best.Model()}
	metrics := &m.Clicks.metrics
	if metrics.Rows == 0 {
		return nil, Metrics{}, fmt.Errorf("train: %w", ErrNoExamples)
	}
	if pairs != nil {
		least := 0.999 * metrics.LogLoss // no change for next to nothing
		for _, g := range pairs.all {
			if with := g.Metrics(); with.Rows == metrics.Rows && with.LogLoss < least {
				least, *metrics, m.Pairs = with.LogLoss, with, g.model()
			}
		}
	}
	metrics.From, metrics.Through = from, through
	m.Clicks.checks = checks
	return m, *metrics, nil
}
