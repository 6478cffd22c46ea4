package models

import (
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// Sizes of the table of weights, as powers of two.
const (
	MinBits     = 18
	MaxBits     = rtb.FeatureBits
	DefaultBits = 22
)

// No prediction is outside of these, whatever the weights: a price made from
// it stays a price.
const (
	minProbability = 1e-6
	maxProbability = 0.9
)

// Logistic is a trained model: the logit of the probability is the sum of one
// weight for each feature. It is immutable and safe to share.
type Logistic struct {
	weights []float32 // 2^bits
	present []uint64  // a bit for each weight that is not zero, where those are few; else nil
	bias    float32
	metrics Metrics
	checks  [][]uint32 // feature lists whose predictions go into the file
}

// Prior is the model that knows only the mean: it predicts ctr for everything.
func Prior(bits int, ctr float64) (*Logistic, error) {
	if err := checkBits(bits); err != nil {
		return nil, err
	}
	if !(ctr >= minProbability && ctr <= maxProbability) {
		return nil, fmt.Errorf("prior: ctr %v: want %v to %v", ctr, minProbability, maxProbability)
	}
	return (&Logistic{weights: make([]float32, 1<<bits), bias: float32(math.Log(ctr / (1 - ctr)))}).index(), nil
}

func checkBits(bits int) error {
	if bits < MinBits || bits > MaxBits {
		return fmt.Errorf("model: %d bits: want %d to %d", bits, MinBits, MaxBits)
	}
	return nil
}

// Bits is the size of the table as a power of two.
func (m *Logistic) Bits() int {
	bits := 0
	for 1<<bits < len(m.weights) {
		bits++
	}
	return bits
}

// Metrics are those of its training, each example predicted before it was
// learned from.
func (m *Logistic) Metrics() Metrics { return m.metrics }

// Trained is when the last example was made that it learned from; zero when
// it learned from none.
func (m *Logistic) Trained() time.Time { return m.metrics.Through }

// Predict is the probability for a list of features, between 1e-6 and 0.9. It
// does not allocate.
func (m *Logistic) Predict(hashes []uint32) float64 {
	return probability(m.bias + m.sum(hashes))
}

// index marks the weights that are not zero, if they are few: the marks of a
// sparse model stay in the processor's cache where its table does not.
func (m *Logistic) index() *Logistic {
	m.present = nil
	present := make([]uint64, len(m.weights)/64)
	count := 0
	for i, w := range m.weights {
		if w != 0 {
			present[i/64] |= 1 << (i % 64)
			count++
		}
	}
	if count <= len(m.weights)/16 {
		m.present = present
	}
	return m
}

// sum gathers with four independent sums, since each load waits for memory.
func (m *Logistic) sum(hashes []uint32) float32 {
	if m.present != nil {
		return m.sparseSum(hashes)
	}
	w := m.weights
	mask := uint32(len(w) - 1)
	var a, b, c, d float32
	for len(hashes) >= 4 {
		a += w[hashes[0]&mask]
		b += w[hashes[1]&mask]
		c += w[hashes[2]&mask]
		d += w[hashes[3]&mask]
		hashes = hashes[4:]
	}
	for _, h := range hashes {
		a += w[h&mask]
	}
	return a + b + c + d
}

func (m *Logistic) sparseSum(hashes []uint32) (sum float32) {
	mask := uint32(len(m.weights) - 1)
	for _, h := range hashes {
		i := h & mask
		if m.present[i/64]&(1<<(i%64)) != 0 {
			sum += m.weights[i]
		}
	}
	return sum
}

func sigmoid(logit float64) float64 { return 1 / (1 + math.Exp(-logit)) }

// probability never returns NaN: a comparison with it is false.
func probability(logit float32) float64 {
	p := sigmoid(float64(logit))
	if p > maxProbability {
		return maxProbability
	}
	if p >= minProbability {
		return p
	}
	return minProbability
}
