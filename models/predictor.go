package models

import "sync/atomic"

// Predictor holds the model in service and replaces it without a pause.
type Predictor struct{ model atomic.Pointer[Model] }

// NewPredictor puts m, which must not be nil, into service.
func NewPredictor(m *Model) *Predictor {
	p := new(Predictor)
	p.Swap(m)
	return p
}

// Swap puts m, which must not be nil, into service. Imps that have begun
// finish with the model before.
func (p *Predictor) Swap(m *Model) { p.model.Store(m) }

// Model is the one in service.
func (p *Predictor) Model() *Model { return p.model.Load() }

// Begin works out what all candidates of an imp share. Call it after
// [Features.Begin].
func (p *Predictor) Begin(f *Features) {
	m := p.model.Load()
	f.by, f.model = p, m
	f.sum = m.Clicks.bias + m.Clicks.sum(f.Hashes[:f.shared])
	f.converted = false
}

// Click is the probability of a click for the last [Features.Candidate],
// between 1e-6 and 0.9. It does not allocate.
func (p *Predictor) Click(f *Features) float64 {
	if f.by != p {
		p.Begin(f)
	}
	return f.model.clicks(f.campaign, f.sum+f.model.Clicks.sum(f.Hashes[f.shared:]))
}

// Conversion is the probability that a click on the last [Features.Candidate]
// leads to a conversion, within the same bounds.
func (p *Predictor) Conversion(f *Features) float64 {
	if f.by != p {
		p.Begin(f)
	}
	c := f.model.Conversions
	if c == nil {
		return f.model.conversions(f.campaign, defaultConversionScore)
	}
	if !f.converted {
		f.converted, f.conversionSum = true, c.bias+c.sum(f.Hashes[:f.shared])
	}
	return f.model.conversions(f.campaign, f.conversionSum+c.sum(f.Hashes[f.shared:]))
}
