package models

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"bidwell/rtb"
)

// MaxNamed is how many versions serve at most because experiments name them.
const MaxNamed = 8

// Predictor holds the models in service and replaces them without a pause: one
// for nearly everybody, perhaps another that is on trial with a share of the
// users, and those that arms of experiments name.
type Predictor struct{ serving atomic.Pointer[serving] }

// serving is immutable.
type serving struct {
	live, canary *Model // canary is nil for none
	share        Share
	named        [MaxNamed]*Model // for arms of experiments; nil from the end of the list on
}

// NewPredictor puts m, which must not be nil, into service.
func NewPredictor(m *Model) *Predictor {
	p := new(Predictor)
	p.Swap(m)
	return p
}

// Swap puts m, which must not be nil, into service for everybody. Imps that have
// begun finish with the model before.
func (p *Predictor) Swap(m *Model) { p.Serve(m, nil, 0) }

// Serve puts live, which must not be nil, into service, and canary for a share
// of the users unless it is nil. Imps that have begun finish with the model
// before, and what arms name stays. It is for one goroutine at a time.
func (p *Predictor) Serve(live, canary *Model, share Share) {
	next := &serving{live: live, canary: canary, share: share}
	if before := p.serving.Load(); before != nil {
		next.named = before.named
	}
	p.serving.Store(next)
}

// Model is the one in service for nearly everybody.
func (p *Predictor) Model() *Model { return p.serving.Load().live }

// Canary is the one on trial, nil for none, and its share of the users.
func (p *Predictor) Canary() (*Model, Share) {
	s := p.serving.Load()
	return s.canary, s.share
}

// Coin chooses between the models in service: always alike for a user or, where
// nothing is known of the user, for a request.
func Coin(users []rtb.UserID, request []byte) uint64 {
	if len(users) > 0 {
		return mix(binary.LittleEndian.Uint64(users[0][:])^key0, binary.LittleEndian.Uint64(users[0][8:])^key1)
	}
	return exact(0, request)
}

// of is the model for a coin. The users of a canary are others than those of
// the canary before.
func (s *serving) of(coin uint64) *Model {
	if s.canary == nil {
		return s.live
	}
	if part, _ := bits.Mul64(mix(coin^key0, uint64(s.canary.Version)^key1), uint64(WholeShare)); part < uint64(s.share) {
		return s.canary
	}
	return s.live
}

// version is the model with a number, nil where it is not in service.
func (s *serving) version(number uint32) *Model {
	if s.live.Version == number {
		return s.live
	}
	if s.canary != nil && s.canary.Version == number {
		return s.canary
	}
	for _, m := range s.named {
		if m == nil || m.Version == number {
			return m
		}
	}
	return nil
}

// Begin works out what all candidates of an imp share, by the model that serves
// nearly everybody. Call it after [Features.Begin].
func (p *Predictor) Begin(f *Features) { p.begin(f, p.serving.Load().live) }

// BeginFor is [Predictor.Begin] by the model that a [Coin] chooses, which
// [Features.Version] then names.
func (p *Predictor) BeginFor(f *Features, coin uint64) { p.begin(f, p.serving.Load().of(coin)) }

// Use has the candidates to come predicted by a version, or by the canary, if
// they are in service, else by what [Predictor.BeginFor] chooses for the coin.
func (p *Predictor) Use(f *Features, version uint32, canary bool, coin uint64) {
	s := p.serving.Load()
	var m *Model
	switch {
	case canary && s.canary != nil:
		m = s.canary
	case version != 0:
		m = s.version(version)
	}
	if m == nil {
		m = s.of(coin)
	}
	if f.model != m || f.by != p {
		p.begin(f, m)
	}
}

func (p *Predictor) begin(f *Features, m *Model) {
	f.by, f.model = p, m
	f.sum = m.Clicks.bias + m.Clicks.sum(f.Hashes[:f.shared])
	if m.Pairs != nil {
		m.Pairs.begin(&f.paired, f.Hashes[:f.shared])
	}
	f.converted = false
}

// Click is the probability of a click for the last [Features.Candidate],
// between 1e-6 and 0.9. It does not allocate.
func (p *Predictor) Click(f *Features) float64 {
	if f.by != p {
		p.Begin(f)
	}
	m, own := f.model, f.Hashes[f.shared:]
	logit := f.sum + m.Clicks.sum(own)
	if m.Pairs != nil {
		logit += m.Pairs.candidate(&f.paired, own)
	}
	return m.clicks(f.campaign, logit)
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
