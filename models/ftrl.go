package models

import (
	"errors"
	"math"
)

// FTRLConfig sets how fast and how sparsely an [FTRL] learns.
type FTRLConfig struct {
	Alpha, Beta float64 // learning rate of a coordinate: Alpha / (Beta + sqrt(sum of squared gradients))
	L1, L2      float64

	// Rate is the rate of positive labels before the first example. The bias
	// starts there and the weights of features learn what differs from it;
	// otherwise the features that are nearly always there would share in the
	// mean, and whatever lacks some of them would seem far too likely. Zero
	// means one half.
	Rate float64
}

// DefaultFTRL suits click rates of a per cent and above.
func DefaultFTRL() FTRLConfig { return FTRLConfig{Alpha: 0.1, Beta: 1, L1: 1, L2: 1, Rate: 0.005} }

// RareFTRL suits click and conversion rates below 0.3 %, where L1 would keep
// most features at zero.
func RareFTRL() FTRLConfig { return FTRLConfig{Alpha: 0.3, Beta: 1, L1: 0, L2: 0.1, Rate: 0.005} }

// Validate reports every setting that is wrong.
func (c FTRLConfig) Validate() error {
	var errs []error
	if !(c.Alpha > 0 && c.Alpha <= 100) {
		errs = append(errs, errors.New("alpha: want more than 0 and at most 100"))
	}
	for _, v := range []struct {
		name  string
		value float64
	}{{"beta", c.Beta}, {"l1", c.L1}, {"l2", c.L2}} {
		if !(v.value >= 0 && v.value <= 1e6) {
			errs = append(errs, errors.New(v.name+": want 0 to 1e6"))
		}
	}
	if !(c.Rate >= 0 && c.Rate < 1) {
		errs = append(errs, errors.New("rate: want 0 to below 1"))
	}
	if c.Beta == 0 && c.L2 == 0 {
		errs = append(errs, errors.New("beta and l2: one must be more than 0"))
	}
	return errors.Join(errs...)
}

// FTRL learns a [Logistic] one example at a time: follow the regularised
// leader, proximal (McMahan et al., Ad Click Prediction, 2013). It is for one
// goroutine.
type FTRL struct {
	cfg     FTRLConfig
	base    float64 // logit of cfg.Rate
	z, n    []float32
	biasZ   float64
	biasN   float64
	score   scoreboard
	weights []float64 // of the example at hand
}

// NewFTRL starts from nothing, with a table of 2^bits.
func NewFTRL(bits int, cfg FTRLConfig) (*FTRL, error) {
	if err := checkBits(bits); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	base := 0.0
	if cfg.Rate > 0 {
		base = math.Log(cfg.Rate / (1 - cfg.Rate))
	}
	return &FTRL{cfg: cfg, base: base, z: make([]float32, 1<<bits), n: make([]float32, 1<<bits)}, nil
}

// Update predicts the example, keeps score of the prediction, learns from the
// label and returns the prediction. It does not allocate once warm.
func (f *FTRL) Update(hashes []uint32, label bool) float64 {
	mask := uint32(len(f.z) - 1)
	bias := f.biasWeight()
	logit := f.base + bias
	f.weights = f.weights[:0]
	for _, h := range hashes {
		i := h & mask
		w := f.weight(float64(f.z[i]), float64(f.n[i]))
		f.weights = append(f.weights, w)
		logit += w
	}
	p := probability(float32(logit))
	f.score.add(p, label)

	g := sigmoid(max(-35, min(logit, 35)))
	if label {
		g--
	}
	for k, h := range hashes {
		i := h & mask
		n := float64(f.n[i])
		sigma := (math.Sqrt(n+g*g) - math.Sqrt(n)) / f.cfg.Alpha
		f.z[i] += float32(g - sigma*f.weights[k])
		f.n[i] += float32(g * g)
	}
	sigma := (math.Sqrt(f.biasN+g*g) - math.Sqrt(f.biasN)) / f.cfg.Alpha
	f.biasZ += g - sigma*bias
	f.biasN += g * g
	return p
}

func (f *FTRL) weight(z, n float64) float64 {
	if math.Abs(z) <= f.cfg.L1 {
		return 0
	}
	return -(z - math.Copysign(f.cfg.L1, z)) / ((f.cfg.Beta+math.Sqrt(n))/f.cfg.Alpha + f.cfg.L2)
}

// biasWeight is what the bias has learned beyond the base. It is free of L1:
// there always is a mean.
func (f *FTRL) biasWeight() float64 {
	return -f.biasZ / ((f.cfg.Beta+math.Sqrt(f.biasN))/f.cfg.Alpha + f.cfg.L2)
}

// Metrics are those of all examples so far, each predicted before it was
// learned from.
func (f *FTRL) Metrics() Metrics { return f.score.metrics() }

// Model is what has been learned so far.
func (f *FTRL) Model() *Logistic {
	m := &Logistic{
		weights: make([]float32, len(f.z)), bias: float32(f.base + f.biasWeight()), metrics: f.Metrics(),
	}
	for i := range f.z {
		m.weights[i] = float32(f.weight(float64(f.z[i]), float64(f.n[i])))
	}
	return m.index()
}
