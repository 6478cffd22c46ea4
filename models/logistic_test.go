package models

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"bidwell/rtb"
)

func randomModel(bits int) *Logistic {
	r := rand.New(rand.NewPCG(1, 2))
	m := &Logistic{weights: make([]float32, 1<<bits), bias: -6}
	for i := range m.weights {
		m.weights[i] = float32(r.NormFloat64()) * 0.1
	}
	return m
}

func TestPredictIsTheSumOfTheWeights(t *testing.T) {
	m := &Logistic{weights: make([]float32, 1<<MinBits), bias: -2}
	copy(m.weights, []float32{0.5, 0.25, -1, 2, 1, 0.125})
	tests := []struct {
		hashes []uint32
		logit  float64
	}{
		{nil, -2},
		{[]uint32{0}, -1.5},
		{[]uint32{0, 1, 2, 3, 4}, 0.75},
		{[]uint32{5 + 1<<MinBits, 0x3fff<<MinBits | 3}, 0.125},
		{[]uint32{3, 3, 3, 3, 3, 3}, math.Log(9)}, // as far as it goes
		{[]uint32{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, math.Log(1e-6 / (1 - 1e-6))},
	}
	for _, tt := range tests {
		want := sigmoid(tt.logit)
		if got := m.Predict(tt.hashes); math.Abs(got-want) > 1e-9 {
			t.Errorf("Predict(%v) = %v, want %v", tt.hashes, got, want)
		}
	}
}

func TestPredictionsAreAlwaysProbabilities(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, bias := range []float32{0, 1e30, -1e30, inf, -inf, float32(math.NaN())} {
		m := &Logistic{weights: make([]float32, 1<<MinBits), bias: bias}
		m.weights[0] = -inf
		for _, hashes := range [][]uint32{nil, {0}, {0, 1}} {
			if p := m.Predict(hashes); !(p >= minProbability && p <= maxProbability) {
				t.Errorf("bias %v: Predict(%v) = %v", bias, hashes, p)
			}
		}
	}
}

func TestPredictorAgreesWithTheModel(t *testing.T) {
	first, second := randomModel(18), randomModel(20)
	p, other := NewPredictor(&Model{Clicks: first}), NewPredictor(&Model{Clicks: second})
	req, imp, user := benchRequest()
	var f Features
	f.Begin(req, imp, user, noon)
	p.Begin(&f)
	for id := range rtb.CreativeID(20) {
		f.Candidate(&rtb.LineItem{ID: 3}, &rtb.Creative{ID: id}, rtb.Size{W: 320, H: 50})
		if id == 10 {
			p.Swap(&Model{Clicks: second}) // too late for this imp
		}
		if got, want := p.Click(&f), first.Predict(f.Hashes); math.Abs(got-want) > 1e-6*want {
			t.Fatalf("Predict = %v, the model says %v", got, want)
		}
	}
	if got, want := other.Click(&f), second.Predict(f.Hashes); math.Abs(got-want) > 1e-6*want {
		t.Errorf("another Predictor says %v, want %v", got, want)
	}
	f.Begin(req, imp, user, noon)
	f.Candidate(&rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}, rtb.Size{})
	if got, want := p.Click(&f), second.Predict(f.Hashes); math.Abs(got-want) > 1e-6*want {
		t.Errorf("after a swap Predict = %v, want %v", got, want)
	}
}

func TestScoringDoesNotAllocate(t *testing.T) {
	p := NewPredictor(&Model{Clicks: randomModel(18)})
	req, imp, user := benchRequest()
	item, creative := &rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}
	var f Features
	dst := make([]uint32, 0, MaxFeatures)
	score := func() {
		f.Begin(req, imp, user, noon)
		p.Begin(&f)
		for range 3 {
			f.Candidate(item, creative, rtb.Size{W: 320, H: 50})
			p.Click(&f)
		}
		dst = Extract(dst[:0], req, imp, user, item, creative, rtb.Size{}, noon)
	}
	score()
	if allocs := testing.AllocsPerRun(100, score); allocs != 0 {
		t.Errorf("scoring allocates %v times, want 0", allocs)
	}
}

// BenchmarkScore is the features and predictions of all candidates of one imp.
func BenchmarkScore(b *testing.B) {
	for _, bits := range []int{18, 22} {
		for _, candidates := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("bits=%d/candidates=%d", bits, candidates), func(b *testing.B) {
				p := NewPredictor(&Model{Clicks: randomModel(bits)})
				req, imp, user := benchRequest()
				items, creatives := make([]rtb.LineItem, 64), make([]rtb.Creative, 64)
				for i := range items {
					items[i].ID, creatives[i].ID = rtb.LineItemID(i+1), rtb.CreativeID(i+1)
				}
				var f Features
				b.ReportAllocs()
				for b.Loop() {
					f.Begin(req, imp, user, noon)
					p.Begin(&f)
					for i := range candidates {
						f.Candidate(&items[i], &creatives[i], rtb.Size{W: 320, H: 50})
						p.Click(&f)
					}
				}
				b.ReportMetric(float64(len(f.Hashes)), "features")
			})
		}
	}
}

// BenchmarkPredict is the predictions alone.
func BenchmarkPredict(b *testing.B) {
	p := NewPredictor(&Model{Clicks: randomModel(18)})
	req, imp, user := benchRequest()
	var f Features
	f.Begin(req, imp, user, noon)
	p.Begin(&f)
	f.Candidate(&rtb.LineItem{ID: 1}, &rtb.Creative{ID: 1}, rtb.Size{W: 320, H: 50})
	b.ReportAllocs()
	for b.Loop() {
		p.Click(&f)
	}
}
