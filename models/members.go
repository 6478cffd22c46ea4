package models

import (
	"errors"
	"math/bits"
	"slices"
)

// tableBits leaves room for eight times the values, so that few collide.
func tableBits(values int) int { return max(MinBits, min(bits.Len(uint(values*8)), MaxBits-2)) }

func (e *Ensemble) newMembers(s *encodings) ([]member, error) {
	var members []member
	var errs []error
	values := 0
	for i := range e.enc.fields {
		values += len(e.enc.fields[i].ids)
	}
	ftrl := func(name string, cfg FTRLConfig, passes int, crossed bool) {
		cfg.Rate = sigmoid(e.base)
		bits := tableBits(values)
		if crossed {
			bits = tableBits(min(values*8, len(s.h)/s.fields*len(e.crosses)))
		}
		f, err := NewFTRL(bits, cfg)
		errs = append(errs, err)
		part := func(x *encoded) []uint32 {
			if crossed {
				return x.hashes
			}
			return x.hashes[:x.plain]
		}
		members = append(members, member{
			name: name, passes: passes,
			learn: func(x *encoded, label bool) { f.Learn(part(x), label, 1) },
			logit: func(x *encoded) float64 { return f.Logit(part(x)) },
		})
	}
	fwfm := func(name string, passes int, set func(*FwFMConfig)) {
		fields := make([]uint8, s.fields)
		for i := range fields {
			fields[i] = uint8(min(i, maxFields-1))
		}
		cfg := DefaultFwFM(fields)
		cfg.Rate = sigmoid(e.base)
		set(&cfg)
		f, err := NewFwFM(max(10, min(bits.Len(uint(values*8)), 20)), cfg)
		errs = append(errs, err)
		members = append(members, member{
			name: name, passes: passes,
			learn: func(x *encoded, label bool) { f.Learn(x.hashes[:x.fields], label, 1) },
			logit: func(x *encoded) float64 { return f.Logit(x.hashes[:x.fields]) },
		})
	}
	ftrl("ftrl", DefaultFTRL(), 1, false)
	ftrl("ftrl-rare", RareFTRL(), 1, false)
	ftrl("ftrl-firm", FTRLConfig{Alpha: 0.1, Beta: 1, L2: 10}, 3, false)
	ftrl("ftrl-crosses", FTRLConfig{Alpha: 0.05, Beta: 1, L2: 20}, 2, true)
	fwfm("fwfm", 2, func(c *FwFMConfig) { c.Eta, c.L2 = 0.01, 1e-3 })

	linear := func(name string, inputs func(x *encoded) []float64, mean, variance []float64) {
		p := newStackPosterior(mean, variance)
		members = append(members, member{
			name: name, passes: 1,
			learn: func(x *encoded, label bool) { p.learnOffset(inputs(x), e.base, label) },
			logit: func(x *encoded) float64 { return e.base + p.logit(inputs(x)) },
		})
	}
	mean, variance := make([]float64, s.rates), make([]float64, s.rates)
	sizes := 1 + e.enc.sizes
	for i := range mean {
		if variance[i] = 0.1; i >= sizes {
			mean[i], variance[i] = 1/float64(s.rates-sizes+1), 0.05
		}
	}
	variance[0] = 1
	linear("rates", func(x *encoded) []float64 { return x.rates }, mean, variance)
	if sizes > 1 {
		linear("numbers", func(x *encoded) []float64 { return x.rates[:sizes] }, make([]float64, sizes), slices.Repeat([]float64{1}, sizes))
	}

	var grown *forest
	members = append(members, member{
		name:  "forest",
		logit: func(x *encoded) float64 { return grown.logit(x.numbers, len(grown.trees)) },
		grow: func(x *encodings, from, to int, labels []bool, more func(f *forest) bool) {
			from += (to - from) / 10 // the first rows know of none before them
			grown = growForest(x.n[from*x.numbers:to*x.numbers], x.numbers, labels[from:to], forestConfig{
				trees: 300, depth: 4, rate: 0.06, firmness: 2, least: 1, rows: 0.7, inputs: 0.5,
			}, more)
		},
	})
	return members, errors.Join(errs...)
}
