package models

import (
	"errors"
	"math"
	"math/bits"
	"slices"
)

// FTRLConfig sets how fast and how sparsely an [FTRL] learns.
type FTRLConfig struct {
	Alpha, Beta float64 // learning rate of a coordinate: Alpha / (Beta + sqrt(sum of squared gradients))
	L1, L2      float64

	// Steady has the learning rate of a coordinate fall with the sum of squared
	// gradients itself, Alpha / (Beta + sum), not with its root. With an Alpha of
	// 1 that is the posterior of a Gaussian prior with the variance 1/Beta, to the
	// second order (Graepel et al., Web-Scale Bayesian Click-Through Rate
	// Prediction, 2010): the weights of frequent features come to rest, where with
	// the root they swing with every click. It is for truths that change slowly.
	Steady bool

	// Rate is the rate of positive labels before the first example. The bias
	// starts there and the weights of features learn what differs from it;
	// otherwise the features that are nearly always there would share in the
	// mean, and whatever lacks some of them would seem far too likely. Zero
	// means one half.
	Rate float64

	// Negatives is the share of negative examples that are learned from, drawn
	// by chance; all are predicted. The model learns the mix that it sees, and
	// its score is shifted by the logarithm of the share, which is exact (King
	// and Zeng 2001). Zero means all.
	Negatives float64
}

// DefaultFTRL suits click rates of a per cent and above.
func DefaultFTRL() FTRLConfig { return FTRLConfig{Alpha: 0.1, Beta: 1, L1: 1, L2: 1, Rate: 0.005} }

// RareFTRL suits click and conversion rates below 0.3 %, where L1 would keep
// most features at zero.
func RareFTRL() FTRLConfig { return FTRLConfig{Alpha: 0.3, Beta: 1, L1: 0, L2: 0.1, Rate: 0.005} }

// SteadyFTRL suits rates that change slowly, however rare.
func SteadyFTRL() FTRLConfig { return FTRLConfig{Alpha: 1, Beta: 40, Steady: true, Rate: 0.005} }

// scarceFTRL suits conversions, of which there are tens where there are
// thousands of clicks: each feature may say little.
func scarceFTRL() FTRLConfig { return FTRLConfig{Alpha: 1, Beta: 150, Steady: true, Rate: 0.005} }

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
	if !(c.Negatives >= 0 && c.Negatives <= 1) {
		errs = append(errs, errors.New("negatives: want 0 to 1"))
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
	cfg   FTRLConfig
	base  float64 // logit of cfg.Rate, in the mix that is learned from
	shift float64 // logarithm of the share of negatives
	coin  uint64  // state of the generator that draws negatives

	known *Logistic // what it adds to, nil for nothing

	table        []coordinate
	biasZ, biasN float64
	score        scoreboard

	// What the next Model has other than the last: the weights that changed,
	// each once.
	last    *Logistic
	round   uint32
	changed []uint32
}

// coordinate is all that is known of one weight, four to a cache line.
type coordinate struct {
	z, n   float32
	weight float32
	round  uint32 // of the last change
}

// NewFTRL starts from nothing, with a table of 2^bits.
func NewFTRL(tableBits int, cfg FTRLConfig) (*FTRL, error) {
	if err := checkBits(tableBits); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &FTRL{cfg: cfg, coin: key0, table: make([]coordinate, 1<<tableBits), round: 1}
	if cfg.Rate > 0 {
		f.base = logit(cfg.Rate)
	}
	if cfg.Negatives > 0 {
		f.shift = math.Log(cfg.Negatives)
		f.base -= f.shift
	}
	return f, nil
}

// Extend has f add to what a model knows, which has a table as large or
// smaller: it learns what differs from that. Call it before the first example,
// with a Rate of zero, as the model knows the mean.
func (f *FTRL) Extend(known *Logistic) { f.known = known }

// Update is Learn with a weight of 1.
func (f *FTRL) Update(hashes []uint32, label bool) float64 { return f.Learn(hashes, label, 1) }

// Learn predicts the example, keeps score of the prediction, learns from the
// label and returns the prediction. A weight of 2 is as if the example came
// twice; the score counts it once, and not at all if the weight is 0 or less.
// It does not allocate once warm.
func (f *FTRL) Learn(hashes []uint32, label bool, weight float64) float64 {
	mask := uint32(len(f.table) - 1)
	bias := f.biasWeight()
	logit := f.base + bias + f.before(hashes) + float64(f.sum(hashes))
	p := probability(float32(logit + f.shift))
	if !(weight > 0) {
		return p
	}
	f.score.add(p, label)
	if !label && f.shift < 0 && !f.draw() {
		return p
	}

	g := sigmoid(max(-35, min(logit, 35)))
	if label {
		g--
	}
	g2 := g * g * weight
	g *= weight
	step := f.step(g, g2)
	for _, h := range hashes {
		c := &f.table[h&mask]
		if c.round != f.round {
			c.round = f.round
			if len(f.changed) <= len(f.table)/8 { // with more, Model goes through the table
				f.changed = append(f.changed, h&mask)
			}
		}
		c.learn(&step)
	}
	// The same step in full precision: the bias sees every example.
	n := f.biasN + g2
	switch {
	case f.cfg.Steady:
		f.biasZ += g - g2/f.cfg.Alpha*bias
	case n > 0:
		f.biasZ += g - g2/(math.Sqrt(n)+math.Sqrt(f.biasN))/f.cfg.Alpha*bias
	}
	f.biasN = n
	return p
}

// before is the logit of what was known before.
func (f *FTRL) before(hashes []uint32) float64 {
	if f.known == nil {
		return 0
	}
	return float64(f.known.bias + f.known.sum(hashes))
}

// sum gathers with independent sums, since each load waits for memory.
func (f *FTRL) sum(hashes []uint32) float32 {
	table := f.table
	mask := uint32(len(table) - 1)
	var a, b, c, d float32
	for len(hashes) >= 4 {
		a += table[hashes[0]&mask].weight
		b += table[hashes[1]&mask].weight
		c += table[hashes[2]&mask].weight
		d += table[hashes[3]&mask].weight
		hashes = hashes[4:]
	}
	for _, h := range hashes {
		a += table[h&mask].weight
	}
	return a + b + c + d
}

// ftrlStep is what one step has in common for all coordinates.
type ftrlStep struct {
	g, g2, sigma       float32 // sigma is g2 / alpha
	rate, base, refuse float32 // 1/alpha, beta/alpha + l2, l1
	steady             bool
}

func (f *FTRL) step(g, g2 float64) ftrlStep {
	return ftrlStep{
		g: float32(g), g2: float32(g2), sigma: float32(g2 / f.cfg.Alpha),
		rate: float32(1 / f.cfg.Alpha), base: float32(f.cfg.Beta/f.cfg.Alpha + f.cfg.L2), refuse: float32(f.cfg.L1),
		steady: f.cfg.Steady,
	}
}

// learn takes the step. The difference of the two roots is written as a
// quotient: as a difference it would be lost to rounding where n is large.
func (c *coordinate) learn(s *ftrlStep) {
	n := c.n + s.g2
	pace := n
	if s.steady {
		c.z += s.g - s.sigma*c.weight
	} else {
		pace = sqrt32(n)
		if both := pace + sqrt32(c.n); both > 0 {
			c.z += s.g - s.sigma/both*c.weight
		}
	}
	c.n = n
	switch z := c.z; {
	case z > s.refuse:
		c.weight = (s.refuse - z) / (pace*s.rate + s.base)
	case z < -s.refuse:
		c.weight = (-s.refuse - z) / (pace*s.rate + s.base)
	default:
		c.weight = 0
	}
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// draw says whether to learn from a negative example (splitmix64).
func (f *FTRL) draw() bool {
	f.coin += 0x9e3779b97f4a7c15
	h := f.coin
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return float64((h^h>>31)>>11) < f.cfg.Negatives*(1<<53)
}

// biasWeight is what the bias has learned beyond the base. It is free of L1:
// there always is a mean.
func (f *FTRL) biasWeight() float64 {
	beta, pace := f.cfg.Beta, f.biasN
	if f.cfg.Steady {
		beta = min(beta, 1) // the mean may be far from what was known, the features but a little each
	} else {
		pace = math.Sqrt(pace)
	}
	return -f.biasZ / ((beta+pace)/f.cfg.Alpha + f.cfg.L2)
}

// Logit is the score of an example, of which the sigmoid is the prediction.
func (f *FTRL) Logit(hashes []uint32) float64 {
	return f.base + f.shift + f.biasWeight() + f.before(hashes) + float64(f.sum(hashes))
}

// Metrics are those of all examples so far, each predicted before it was
// learned from.
func (f *FTRL) Metrics() Metrics { return f.score.metrics() }

// Model is what has been learned so far. It costs a copy of the table of
// weights and a look at those that changed since the last call.
func (f *FTRL) Model() *Logistic {
	m := &Logistic{bias: float32(f.base + f.shift + f.biasWeight()), metrics: f.Metrics()}
	if f.last == nil || len(f.changed) > len(f.table)/8 {
		m.weights = make([]float32, len(f.table))
		for i := range f.table {
			m.weights[i] = f.weight(uint32(i))
		}
		m.index()
	} else {
		m.weights = slices.Clone(f.last.weights)
		for _, i := range f.changed {
			m.weights[i] = f.weight(i)
		}
		m.present = f.marks(m.weights)
	}
	if f.known != nil {
		m.bias += f.known.bias
	}
	f.last, f.changed = m, f.changed[:0]
	f.round++
	return m
}

// weight is what a model of all that is known has at a place of its table.
func (f *FTRL) weight(i uint32) float32 {
	w := f.table[i].weight
	if f.known != nil {
		w += f.known.weights[i&uint32(len(f.known.weights)-1)]
	}
	return w
}

// marks are those of the last model, brought up to date: nil once it has too
// many weights for them to be of use.
func (f *FTRL) marks(weights []float32) []uint64 {
	if f.last.present == nil {
		return nil
	}
	present := slices.Clone(f.last.present)
	for _, i := range f.changed {
		present[i/64] &^= 1 << (i % 64)
		if weights[i] != 0 {
			present[i/64] |= 1 << (i % 64)
		}
	}
	count := 0
	for _, word := range present {
		count += bits.OnesCount64(word)
	}
	if count > len(weights)/16 {
		return nil
	}
	return present
}
