package models

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// Numbers are put on the scale that they are written on.
func TestNumberSizeTellsTheScale(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		of     float32
		want   float64
	}{
		{"probabilities", []string{"0.1", "0.9"}, 0.9, 1},
		{"probabilities, beyond", []string{"0.5", "0.50001", "0.5"}, 0, -farthestSize},
		{"logits", []string{"-1.5", "2.5"}, 0.5, 0},
		{"amounts", []string{"0.5", "3.5", ""}, 3.5, 1},
		{"missing", []string{"0.5", "3.5", ""}, noNumber, 0},
		{"one value", []string{"0.5", "0.5"}, 0.5, 0},
		{"none", []string{"", "NA"}, 7, 0},
	} {
		rows, err := NewRows([]string{"x"})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range tt.values {
			if err := rows.Add(bytesOf([]string{v}), false); err != nil {
				t.Fatal(err)
			}
		}
		if got := newNumberSize(rows, 0).of(tt.of); math.Abs(got-tt.want) > 1e-3 {
			t.Errorf("%s: %v is at %v, want %v", tt.name, tt.of, got, tt.want)
		}
	}
}

// The predictions of another model, too sure of themselves, are worth nearly
// what they are when put right.
func TestEnsembleTakesPredictionsForWhatTheyAre(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	a := &analog{train: 8000, names: []string{"pctr"}}
	for range 12_000 {
		other := -3.5 + 1.5*r.NormFloat64()
		a.add(r, -3+0.6*(other+3.5), strconv.FormatFloat(sigmoid(other), 'g', 6, 64))
	}
	o := a.run(t)
	if all, truth := o.all.Metrics().NE(), o.truth.Metrics().NE(); all > truth+0.012 {
		t.Errorf("NE %.4f, of the truth %.4f", all, truth)
	}
}
