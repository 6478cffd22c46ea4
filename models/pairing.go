package models

import (
	"fmt"
	"math"
	"slices"
)

// pairing learns, beside a linear model, what pairs of features add to it, and
// keeps account of what that would have been worth.
type pairing struct {
	*FwFM
	keep  float64 // part of the negatives that is learned from
	shift float64 // logarithm of keep

	plain, with float64 // log losses of late: of the linear model, and with the pairs
	serves      bool
}

// DefaultPairBits is the size of a table of vectors, as a power of two: 8 MB.
const DefaultPairBits = 18

func checkPairBits(bits int) error {
	if bits != 0 && (bits < 10 || bits > 22) {
		return fmt.Errorf("pairs: %d bits: want 10 to 22, or 0 for none", bits)
	}
	return nil
}

// pairConfig is for pairs that add to a linear model.
func pairConfig() FwFMConfig {
	cfg := DefaultFwFM(places[maxSegments])
	cfg.Rate = 0
	return cfg
}

// newPairing adds to what was known of pairs, nil for nothing.
func newPairing(tableBits int, cfg FwFMConfig, known *Pairs, keep float64) (*pairing, error) {
	if known != nil {
		for 1<<tableBits < len(known.vectors) {
			tableBits++
		}
	}
	f, err := NewFwFM(tableBits, cfg)
	if err != nil {
		return nil, err
	}
	g := &pairing{FwFM: f, keep: keep, shift: math.Log(keep)}
	if known != nil {
		g.serves = true
		copy(f.linear, known.linear)
		copy(f.strength, known.strength)
		f.bias = known.bias
		for i := range f.vectors {
			if v := &known.vectors[i&(len(known.vectors)-1)]; *v != (vector{}) {
				f.vectors[i], f.squares[i] = *v, knownSquares
			}
		}
	}
	return g, nil
}

// knownSquares has what was known move as slowly as what was seen some times.
var knownSquares = func() (v vector) {
	for k := range v {
		v[k] = 1e-2
	}
	return v
}()

// learn takes an example that the linear model has given the probability p. It
// returns what it is with the pairs, where they serve, else p.
func (g *pairing) learn(hashes []uint32, p float64, label bool) float64 {
	segments := segmentsOf(len(hashes))
	if segments < 0 {
		return p
	}
	fields := places[segments]
	score := logit(p) + g.factors.logit(hashes, fields, g.sums, g.pull)
	q := probability(float32(score))
	g.plain = g.plain*(1-1.0/lossLife) + logLoss(p, label)
	g.with = g.with*(1-1.0/lossLife) + logLoss(q, label)
	g.score.add(q, label)
	if label || g.keep == 1 || g.uniform() < g.keep {
		slope := sigmoid(max(-35, min(score-g.shift, 35)))
		if label {
			slope--
		}
		g.step(hashes, fields, float32(slope))
	}
	if g.serves {
		p = q
	}
	switch { // no change for next to nothing, or what may be luck
	case g.plain-g.with > max(leastGain, 0.001*g.plain):
		g.serves = true
	case g.plain < g.with:
		g.serves = false
	}
	return p
}

// model is what has been learned so far, without the vectors that nothing was
// learned of.
func (g *pairing) model() *Pairs {
	m := &Pairs{g.factors}
	m.linear, m.strength = slices.Clone(g.linear), slices.Clone(g.strength)
	m.vectors = make([]vector, len(g.vectors))
	for i := range m.vectors {
		if g.squares[i] != (vector{}) {
			m.vectors[i] = g.vectors[i]
		}
	}
	return m
}
