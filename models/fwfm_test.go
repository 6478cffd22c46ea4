package models

import (
	"math"
	"math/rand/v2"
	"testing"
)

// exclusive draws clicks that only pairs of features tell: whether the first
// two are of like parity. The others say nothing.
func exclusive(r *rand.Rand, hashes []uint32) bool {
	for i := range hashes {
		hashes[i] = uint32(i)<<8 | r.Uint32N(6)
	}
	if (hashes[0]^hashes[1])&1 == 0 {
		return r.Float64() < 0.6
	}
	return r.Float64() < 0.1
}

func TestFwFMLearnsWhatAPairSays(t *testing.T) {
	fields := []uint8{0, 1, 2, 3, 3}
	for seed := range uint64(4) {
		cfg := DefaultFwFM(fields)
		cfg.Rate = 0.3
		fm, err := NewFwFM(12, cfg)
		if err != nil {
			t.Fatal(err)
		}
		linear := newFTRL(t, DefaultFTRL())
		r := rand.New(rand.NewPCG(seed, 1))
		hashes := make([]uint32, len(fields))
		for range 20_000 {
			click := exclusive(r, hashes)
			fm.Update(hashes, click)
			linear.Update(hashes, click)
		}
		var a, b scoreboard
		for range 5000 {
			click := exclusive(r, hashes)
			a.add(probability(float32(fm.Logit(hashes))), click)
			b.add(probability(float32(linear.Logit(hashes))), click)
		}
		if got, plain := a.metrics(), b.metrics(); got.AUC < 0.74 || got.NE() > 0.85 || plain.AUC > 0.6 {
			t.Errorf("seed %d: AUC %.3f, NE %.3f; of a linear model %.3f, %.3f", seed, got.AUC, got.NE(), plain.AUC, plain.NE())
		}
	}
}

// The step must go down the slope that differences of the loss measure.
func TestFwFMStepsDownTheGradient(t *testing.T) {
	cfg := FwFMConfig{Fields: []uint8{0, 1, 1, 2}, Eta: 0.1, Spread: 0.3}
	f, err := NewFwFM(10, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for a := range f.linear {
		for k := range f.linear[a] {
			f.linear[a][k] = float32(f.uniform() - 0.5)
		}
	}
	hashes := []uint32{1, 2, 3, 4}
	for _, h := range hashes {
		f.begin(&f.vectors[h], h)
	}
	loss := func() float64 { return -math.Log(sigmoid(f.Logit(hashes))) }
	g := float32(sigmoid(f.Logit(hashes)) - 1)
	slope := func(v *float32) float64 {
		const h = 1e-3
		before := *v
		*v = before + h
		up := loss()
		*v = before - h
		down := loss()
		*v = before
		return (up - down) / (2 * h)
	}
	f.Logit(hashes)
	for i, h := range hashes {
		for k := range rank {
			f.Logit(hashes)
			want := g * f.pull[cfg.Fields[i]][k]
			if got := slope(&f.vectors[h][k]); math.Abs(got-float64(want)) > 1e-3 {
				t.Errorf("feature %d, %d: slope %v, the step takes %v", i, k, got, want)
			}
		}
	}
	f.Logit(hashes)
	for a := range f.linear {
		want := g * f.sums[a][3]
		if got := slope(&f.linear[a][3]); math.Abs(got-float64(want)) > 1e-3 {
			t.Errorf("field %d: slope %v, the step takes %v", a, got, want)
		}
	}
	product := float32(0)
	for k := range rank {
		product += f.sums[0][k] * f.sums[2][k]
	}
	half := slope(&f.strength[2]) + slope(&f.strength[2*3])
	if math.Abs(half-float64(g*product)) > 1e-3 {
		t.Errorf("pair: slope %v, the step takes %v", half, g*product)
	}
}

func TestFwFMRefuses(t *testing.T) {
	for name, cfg := range map[string]FwFMConfig{
		"no fields": {Eta: 0.1}, "field": {Fields: []uint8{64}, Eta: 0.1}, "eta": {Fields: []uint8{0}},
		"l2": {Fields: []uint8{0}, Eta: 0.1, L2: math.NaN()},
	} {
		if _, err := NewFwFM(12, cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewFwFM(40, DefaultFwFM([]uint8{0})); err == nil {
		t.Error("40 bits: no error")
	}
}

func TestFwFMDoesNotAllocate(t *testing.T) {
	f, err := NewFwFM(12, DefaultFwFM([]uint8{0, 1, 2}))
	if err != nil {
		t.Fatal(err)
	}
	f.Update([]uint32{1, 2, 3}, true)
	if allocs := testing.AllocsPerRun(100, func() { f.Update([]uint32{1, 2, 3}, false) }); allocs != 0 {
		t.Errorf("Update allocates %v times, want 0", allocs)
	}
}

// BenchmarkFwFM is one example of 40 fields, learned from.
func BenchmarkFwFM(b *testing.B) {
	fields := make([]uint8, 40)
	for i := range fields {
		fields[i] = uint8(i)
	}
	f, err := NewFwFM(18, DefaultFwFM(fields))
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	hashes := make([]uint32, 40)
	b.ReportAllocs()
	for b.Loop() {
		for k := range hashes {
			hashes[k] = r.Uint32()
		}
		f.Update(hashes, r.IntN(50) == 0)
	}
}
