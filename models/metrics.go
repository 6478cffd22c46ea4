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

// scoreboard sums up predictions in memory that does not grow: the AUC is
// that of logits rounded to a 256th, which is far finer than its error.
type scoreboard struct {
	loss, predicted float64
	clicks, others  []uint64 // by logit
}

const (
	scoreRange = 15 // logits of 1e-6 and 0.9 are within
	scoreBins  = 2 * scoreRange * 256
)

func (s *scoreboard) add(p float64, click bool) {
	if s.clicks == nil {
		s.clicks, s.others = make([]uint64, scoreBins), make([]uint64, scoreBins)
	}
	bin := int((math.Log(p/(1-p)) + scoreRange) * 256)
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
