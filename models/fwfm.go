package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// FwFMConfig sets how an [FwFM] learns.
type FwFMConfig struct {
	// Fields is the field of each feature of an example, in the order of its
	// hashes; noField for one that is left out. Features of one field do not
	// interact with one another.
	Fields []uint8

	Eta    float64 // learning rate of AdaGrad
	L2     float64 // draws vectors to zero and the strengths of pairs to one
	Spread float64 // of a vector before the first example of its feature, which it makes no difference to
	Rate   float64 // of positive labels before the first example; zero means one half
}

// DefaultFwFM suits some thousands to millions of examples of up to 64 fields.
func DefaultFwFM(fields []uint8) FwFMConfig {
	return FwFMConfig{Fields: fields, Eta: 0.02, L2: 1e-3, Spread: 0.02, Rate: 0.005}
}

const (
	maxFields = 64
	noField   = 255
	rank      = 8 // of the vectors
)

// Validate reports every setting that is wrong.
func (c FwFMConfig) Validate() error {
	var errs []error
	if len(c.Fields) == 0 || len(c.Fields) > maxHashes {
		errs = append(errs, fmt.Errorf("fields: got %d features, want 1 to %d", len(c.Fields), maxHashes))
	}
	for i, f := range c.Fields {
		if f >= maxFields && f != noField {
			errs = append(errs, fmt.Errorf("fields[%d]: want less than %d", i, maxFields))
		}
	}
	for _, v := range []struct {
		name     string
		value    float64
		from, to float64
	}{{"eta", c.Eta, 1e-6, 10}, {"l2", c.L2, 0, 10}, {"spread", c.Spread, 0, 1}, {"rate", c.Rate, 0, 0.999999}} {
		if !(v.value >= v.from && v.value <= v.to) {
			errs = append(errs, fmt.Errorf("%s: want %g to %g", v.name, v.from, v.to))
		}
	}
	return errors.Join(errs...)
}

// FwFM is a field-weighted factorisation machine (Pan et al., Field-weighted
// Factorization Machines for Click-Through Rate Prediction, 2018): each
// feature has a vector; two features add the product of their vectors, times
// the strength of the pair of their fields, and one adds the product of its
// vector with one of its field. It has the methods of an [FTRL] and is for
// one goroutine.
type FwFM struct {
	factors
	cfg   FwFMConfig
	coin  uint64
	score scoreboard

	// Sums of squared gradients.
	squares  []vector
	linearSq []vector
	strongSq []float32
	biasSq   float32

	// Of the example at hand.
	sums []vector // of the vectors of each field
	pull []vector // of all other fields on each field
}

// factors are all that predictions are made from.
type factors struct {
	fields   int
	vectors  []vector  // by hash
	linear   []vector  // by field
	strength []float32 // by pair of fields, both ways round
	bias     float32
	base     float64
}

type vector [rank]float32

// NewFwFM starts from nothing, with a table of 2^tableBits vectors.
func NewFwFM(tableBits int, cfg FwFMConfig) (*FwFM, error) {
	if tableBits < 10 || tableBits > 22 {
		return nil, fmt.Errorf("fwfm: %d bits: want 10 to 22", tableBits)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fwfm: %w", err)
	}
	fields := 0
	for _, v := range cfg.Fields {
		if v != noField {
			fields = max(fields, int(v)+1)
		}
	}
	cfg.Fields = slices.Clone(cfg.Fields)
	f := &FwFM{
		factors: factors{
			fields: fields, vectors: make([]vector, 1<<tableBits),
			linear: make([]vector, fields), strength: make([]float32, fields*fields),
		},
		cfg: cfg, coin: key1, squares: make([]vector, 1<<tableBits),
		linearSq: make([]vector, fields), strongSq: make([]float32, fields*fields),
		sums: make([]vector, fields), pull: make([]vector, fields),
	}
	if cfg.Rate > 0 {
		f.base = logit(cfg.Rate)
	}
	for i := range f.strength {
		if i/fields != i%fields {
			f.strength[i] = 1
		}
	}
	return f, nil
}

// Logit is the score of an example, of which the sigmoid is the prediction.
// There must be as many hashes as cfg.Fields. Sums and pull are left behind
// for the step.
func (f *FwFM) Logit(hashes []uint32) float64 {
	return f.factors.logit(hashes, f.cfg.Fields, f.sums, f.pull)
}

// gather adds the vectors of features to the sums of their fields.
func (f *factors) gather(hashes []uint32, fields []uint8, sums []vector) {
	mask := uint32(len(f.vectors) - 1)
	for i, h := range hashes[:len(fields)] {
		if fields[i] == noField {
			continue
		}
		s, v := &sums[fields[i]], &f.vectors[h&mask]
		for k := range s {
			s[k] += v[k]
		}
	}
}

// logit sums up the vectors of each field, which is all that a product of sums
// needs, and leaves behind what the fields are pulled by.
func (f *factors) logit(hashes []uint32, fields []uint8, sums, pull []vector) float64 {
	clear(sums)
	f.gather(hashes, fields, sums)
	logit := f.bias
	for a := range pull {
		var all vector
		row := f.strength[a*f.fields:][:f.fields]
		for b := range sums {
			r, s := row[b], &sums[b]
			all[0] += r * s[0]
			all[1] += r * s[1]
			all[2] += r * s[2]
			all[3] += r * s[3]
			all[4] += r * s[4]
			all[5] += r * s[5]
			all[6] += r * s[6]
			all[7] += r * s[7]
		}
		s, w := &sums[a], &f.linear[a]
		for k := range all {
			logit += s[k] * (all[k]/2 + w[k])
			all[k] += w[k]
		}
		pull[a] = all
	}
	return f.base + float64(logit)
}

// Update is Learn with a weight of 1.
func (f *FwFM) Update(hashes []uint32, label bool) float64 { return f.Learn(hashes, label, 1) }

// Learn predicts the example, keeps score of the prediction, learns from the
// label and returns the prediction. It does not allocate.
func (f *FwFM) Learn(hashes []uint32, label bool, weight float64) float64 {
	logit := f.Logit(hashes)
	p := probability(float32(logit))
	if !(weight > 0) {
		return p
	}
	f.score.add(p, label)
	g := sigmoid(max(-35, min(logit, 35)))
	if label {
		g--
	}
	f.step(hashes, f.cfg.Fields, float32(g*weight))
	return p
}

// step goes down the gradient g of the last logit.
func (f *FwFM) step(hashes []uint32, fields []uint8, g float32) {
	mask := uint32(len(f.vectors) - 1)
	eta, l2 := float32(f.cfg.Eta), float32(f.cfg.L2)
	for i, h := range hashes[:len(fields)] {
		if fields[i] == noField {
			continue
		}
		v := &f.vectors[h&mask]
		if *v == (vector{}) {
			f.begin(v, h&mask)
		}
		v.descend(&f.squares[h&mask], &f.pull[fields[i]], g, eta, l2)
	}
	for a := range f.sums {
		f.linear[a].descend(&f.linearSq[a], &f.sums[a], g, eta, l2)
		for b := range a {
			product := float32(0)
			for k := range rank {
				product += f.sums[a][k] * f.sums[b][k]
			}
			i, j := a*f.fields+b, b*f.fields+a
			d := g*product + l2*(f.strength[i]-1)
			if d != 0 {
				f.strongSq[i] += d * d
				f.strength[i] -= eta * d / sqrt32(f.strongSq[i]+1e-2)
				f.strength[j] = f.strength[i]
			}
		}
	}
	f.biasSq += g * g
	f.bias -= eta * g / sqrt32(f.biasSq+1)
}

// begin gives a vector that has learned nothing a direction, always the same for
// a place: all would learn the same from zero.
func (f *FwFM) begin(v *vector, place uint32) {
	for k := range v {
		h := mix(uint64(place)<<8|uint64(k)^key0, key1)
		// The sum of four has nearly the shape of a normal law.
		sum := h&0xffff + h>>16&0xffff + h>>32&0xffff + h>>48
		v[k] = float32((float64(sum)/0xffff - 2) * math.Sqrt(3) * f.cfg.Spread)
	}
}

// descend is one step of AdaGrad: the gradient of v is g times along.
func (v *vector) descend(squares, along *vector, g, eta, l2 float32) {
	for k := range v {
		d := g*along[k] + l2*v[k]
		squares[k] += d * d
		v[k] -= eta * d / sqrt32(squares[k]+1e-4)
	}
}

func (f *FwFM) uniform() float64 {
	f.coin += 0x9e3779b97f4a7c15
	return float64(mix(f.coin^key0, key2^f.coin)>>11) / (1 << 53)
}

// Metrics are those of all examples so far, each predicted before it was
// learned from.
func (f *FwFM) Metrics() Metrics { return f.score.metrics() }
