package models

import "math"

// numberSize puts the numbers of a column on a scale on which a logit may be
// linear in them: their logit where all are probabilities, as the predictions of
// another model are, their logarithm where none is negative, else as they are.
type numberSize struct {
	scale      numberScale
	mean, unit float64
}

type numberScale uint8

const (
	scalePlain numberScale = iota
	scaleLog
	scaleLogit
)

const farthestSize = 8 // standard deviations

func newNumberSize(rows *Rows, column int) *numberSize {
	s := &numberSize{scale: scaleLogit}
	numbers := make([]float32, len(rows.columns[column].values))
	for i, v := range rows.columns[column].values {
		numbers[i] = noNumber
		x, ok := parseNumber(v)
		if !ok {
			continue
		}
		numbers[i] = float32(x)
		switch {
		case x < 0:
			s.scale = scalePlain
		case x > 1 && s.scale == scaleLogit:
			s.scale = scaleLog
		}
	}
	var n, sum, squares float64
	for i := range rows.Len() {
		if x := numbers[rows.row(i)[column]]; x > noNumber {
			v := s.at(x)
			n++
			sum += v
			squares += v * v
		}
	}
	s.mean = sum / max(n, 1)
	s.unit = math.Sqrt(max(squares/max(n, 1)-s.mean*s.mean, 0))
	return s
}

func (s *numberSize) at(x float32) float64 {
	switch v := float64(x); s.scale {
	case scaleLogit:
		return logit(max(1e-9, min(v, 1-1e-9)))
	case scaleLog:
		return math.Log1p(max(v, 0))
	default:
		return v
	}
}

// of is how far a number is from the mean, in standard deviations; 0 for none.
func (s *numberSize) of(x float32) float64 {
	if x <= noNumber || !(s.unit > 0) {
		return 0
	}
	return max(-farthestSize, min((s.at(x)-s.mean)/s.unit, farthestSize))
}
