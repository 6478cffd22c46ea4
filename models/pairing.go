package models

import (
	"fmt"
	"math"
	"slices"
)

// pairings learn, beside a linear model, what pairs of features add to it: in
// several settings side by side, of which the best serves while it predicts
// better than the linear model alone.
type pairings struct {
	all    []*pairing
	plain  float64 // log loss of the linear model, older examples counting less
	serves int     // place in all, less than zero for none
}

type pairing struct {
	*FwFM
	keep  float64 // part of the negatives that is learned from
	shift float64 // logarithm of keep
	loss  float64 // as plain, with the pairs
}

// DefaultPairBits is the size of a table of vectors, as a power of two: 8 MB.
const DefaultPairBits = 18

func checkPairBits(bits int) error {
	if bits != 0 && (bits < 10 || bits > 22) {
		return fmt.Errorf("pairs: %d bits: want 10 to 22, or 0 for none", bits)
	}
	return nil
}

// Pairs serve when they have won by so many nats of late: ads are chosen by
// what they make of small differences, where luck costs more than it gains.
const (
	pairGain = 5
	pairLife = 100_000 // examples
)

// pairConfigs are for pairs that add to a linear model. In most markets pairs
// say little, and only who learns slowly gains from them; where they say much
// the other one does sooner.
func pairConfigs() []FwFMConfig {
	fields := places[maxSegments]
	return []FwFMConfig{
		{Fields: fields, Eta: 0.005, L2: 1e-3, Spread: 0.01},
		{Fields: fields, Eta: 0.02, L2: 1e-3, Spread: 0.02},
	}
}

// newPairings add to what was known of pairs, nil for nothing.
func newPairings(tableBits int, known *Pairs, keep float64) (*pairings, error) {
	g := &pairings{serves: -1}
	if known != nil {
		g.serves = 0
		for 1<<tableBits < len(known.vectors) {
			tableBits++
		}
	}
	for _, cfg := range pairConfigs() {
		f, err := NewFwFM(tableBits, cfg)
		if err != nil {
			return nil, err
		}
		if known != nil {
			f.extend(known)
		}
		g.all = append(g.all, &pairing{FwFM: f, keep: keep, shift: math.Log(keep)})
	}
	return g, nil
}

// extend has f begin with what a model knows.
func (f *FwFM) extend(known *Pairs) {
	copy(f.linear, known.linear)
	copy(f.strength, known.strength)
	f.bias = known.bias
	for i := range f.vectors {
		if v := &known.vectors[i&(len(known.vectors)-1)]; *v != (vector{}) {
			f.vectors[i], f.squares[i] = *v, knownSquares
		}
	}
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
func (g *pairings) learn(hashes []uint32, p float64, label bool) float64 {
	segments := segmentsOf(len(hashes))
	if segments < 0 {
		return p
	}
	g.plain = g.plain*(1-1.0/pairLife) + logLoss(p, label)
	served, best := p, 0
	for i, one := range g.all {
		q := one.learn(hashes, places[segments], logit(p), label)
		if i == g.serves {
			served = q
		}
		if one.loss < g.all[best].loss {
			best = i
		}
	}
	switch loss := g.all[best].loss; {
	case g.serves < 0:
		if g.plain-loss > max(pairGain, 0.001*g.plain) {
			g.serves = best
		}
	case g.plain < g.all[g.serves].loss:
		g.serves = -1
	case loss < 0.999*g.all[g.serves].loss:
		g.serves = best
	}
	return served
}

// learn takes an example that the linear model has given a logit, and returns
// the probability with the pairs.
func (g *pairing) learn(hashes []uint32, fields []uint8, linear float64, label bool) float64 {
	score := linear + g.factors.logit(hashes, fields, g.sums, g.pull)
	p := probability(float32(score))
	g.loss = g.loss*(1-1.0/pairLife) + logLoss(p, label)
	g.score.add(p, label)
	if label || g.keep == 1 || g.uniform() < g.keep {
		slope := sigmoid(max(-35, min(score-g.shift, 35)))
		if label {
			slope--
		}
		g.step(hashes, fields, float32(slope))
	}
	return p
}

// model is what has been learned so far. It costs a copy of the table.
func (g *pairing) model() *Pairs {
	m := &Pairs{g.factors}
	m.vectors, m.linear, m.strength = slices.Clone(g.vectors), slices.Clone(g.linear), slices.Clone(g.strength)
	return m
}
