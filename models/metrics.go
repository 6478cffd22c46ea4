package models

import (
	"math"
	"time"
)

// Metrics say how good predictions were.
type Metrics struct {
	Rows, Clicks  uint64
	From, Through time.Time // when the first and the last example were made; zero when not known
	LogLoss       float64   // mean, in nats
	AUC           float64   // 0.5 where there are no clicks, or nothing but clicks
	Calibration   float64   // sum of predictions over clicks; zero without clicks
}

// NE is the log loss over that of always predicting the mean. Below 1 the
// model knows more than the mean. It is zero where the mean says it all.
func (m Metrics) NE() float64 {
	if m.Clicks == 0 || m.Clicks == m.Rows {
		return 0
	}
	p := float64(m.Clicks) / float64(m.Rows)
	return m.LogLoss / -(p*math.Log(p) + (1-p)*math.Log(1-p))
}

// Score sums up predictions and what became of them.
type Score struct{ board scoreboard }

// Add takes in one prediction, which is taken for 1e-6 or 0.9 beyond those.
func (s *Score) Add(p float64, click bool) { s.board.add(clampProbability(p), click) }

// Metrics are those of all predictions so far.
func (s *Score) Metrics() Metrics { return s.board.metrics() }

// ECE is the expected calibration error: how far the mean prediction is from
// the rate of clicks, on average over ten classes of equally many examples
// with rising predictions.
func (s *Score) ECE() float64 { return s.board.ece(10) }

// scoreboard sums up predictions in memory that does not grow: the AUC is
// that of logits rounded to a 256th, which is far finer than its error.
type scoreboard struct {
	loss, predicted float64
	clicks, others  []uint64 // by logit
}

// ece splits the examples of one logit between classes where it must.
func (s *scoreboard) ece(classes int) float64 {
	rows := 0.0
	for i := range s.clicks {
		rows += float64(s.clicks[i] + s.others[i])
	}
	if rows == 0 {
		return 0
	}
	size := rows / float64(classes)
	var sum, n, predicted, clicks float64
	for i := range s.clicks {
		left := float64(s.clicks[i] + s.others[i])
		if left == 0 {
			continue
		}
		rate := float64(s.clicks[i]) / left
		p := sigmoid((float64(i)+0.5)/scoreSteps - scoreRange)
		for left > 0 {
			take := min(left, size-n)
			n += take
			left -= take
			predicted += take * p
			clicks += take * rate
			if n >= size*(1-1e-9) {
				sum += math.Abs(predicted - clicks)
				n, predicted, clicks = 0, 0, 0
			}
		}
	}
	return (sum + math.Abs(predicted-clicks)) / rows
}

const (
	scoreRange = 15 // logits of 1e-6 and 0.9 are within
	scoreSteps = 256
	scoreBins  = 2 * scoreRange * scoreSteps
)

func (s *scoreboard) add(p float64, click bool) {
	if s.clicks == nil {
		s.clicks, s.others = make([]uint64, scoreBins), make([]uint64, scoreBins)
	}
	bin := int((math.Log(p/(1-p)) + scoreRange) * scoreSteps)
	s.predicted += p
	if click {
		s.clicks[bin]++
		s.loss -= math.Log(p)
	} else {
		s.others[bin]++
		s.loss -= math.Log1p(-p)
	}
}

func (s *scoreboard) metrics() Metrics {
	var clicks, others uint64
	var below float64 // pairs in the right order
	for i := range s.clicks {
		below += float64(s.clicks[i]) * (float64(others) + float64(s.others[i])/2)
		clicks += s.clicks[i]
		others += s.others[i]
	}
	m := Metrics{Rows: clicks + others, Clicks: clicks, AUC: 0.5}
	if m.Rows > 0 {
		m.LogLoss = s.loss / float64(m.Rows)
	}
	if clicks > 0 {
		m.Calibration = s.predicted / float64(clicks)
		if others > 0 {
			m.AUC = below / (float64(clicks) * float64(others))
		}
	}
	return m
}
