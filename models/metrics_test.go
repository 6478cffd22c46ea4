package models

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestECE(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, tt := range []struct {
		name string
		real func(p float64) float64
		want float64
	}{
		{"right", func(p float64) float64 { return p }, 0},
		{"half", func(p float64) float64 { return p / 2 }, 0.1},
		{"mean alone is right", func(float64) float64 { return 0.2 }, 0.1},
	} {
		var s Score
		for range 200_000 {
			p := 0.4 * r.Float64() // 0.2 on average, 0.1 from that
			s.Add(p, r.Float64() < tt.real(p))
		}
		if got := s.ECE(); math.Abs(got-tt.want) > 0.003 {
			t.Errorf("%s: ECE %v, want %v", tt.name, got, tt.want)
		}
	}
	var none Score
	if e := none.ECE(); e != 0 {
		t.Errorf("ECE of nothing is %v", e)
	}
	none.Add(math.NaN(), true)
	if e := none.ECE(); !(e > 0.99 && e <= 1) {
		t.Errorf("ECE of a click that was not expected is %v", e)
	}
}
