package models

import "math"

// ratio follows how many clicks come for each that was predicted. It keeps
// four memories of different length and trusts each by how well it has
// predicted of late (fixed share, Herbster and Warmuth 1998): in quiet times
// the long memory with its firm prior decides; when the click rate jumps, the
// short ones take over within some tens of clicks, and what they have refuted
// starts again from where they are. The short ones are counted in clicks, not
// in impressions, since it is clicks that carry the information.
type ratio struct {
	rows, clicks uint64
	memories     [len(memoryShapes)]memory
}

// memory is one decayed sum with its share of the trust.
type memory struct {
	clicks, predicted float64
	trust             float64
	prior             float64 // where it has started again; zero means the prior that it is given
}

// A memoryShape says how firmly a memory holds to the prior and how soon it
// forgets.
var memoryShapes = [...]struct {
	firmness float64 // of CalibrationConfig.Clicks
	halfLife float64 // in clicks, seen or predicted; 0 means CalibrationConfig.HalfLife, in impressions
	trust    float64 // before the first example
}{
	{1, 0, 0.88},
	{1.0 / 3, 150, 0.06},
	{1.0 / 10, 25, 0.04},
	{1.0 / 20, 6, 0.02},
}

const (
	// trustShared is what the memories give back to one another for each
	// click, so that none is ever out of the race.
	trustShared = 0.01

	// refuted is how little of its first trust is left to a memory that is of
	// another time.
	refuted = 0.1

	// minFactor and maxFactor bound every correction.
	minFactor, maxFactor = 0.01, 100
)

func newRatio() (r ratio) {
	for i := range r.memories {
		r.memories[i].trust = memoryShapes[i].trust
	}
	return r
}

// estimate is the posterior mean of a gamma law with the mean prior and the
// firmness of k clicks.
func (m *memory) estimate(prior, k float64) float64 {
	if m.prior > 0 {
		prior, k = m.prior, k/3 // known from a few clicks alone
	}
	return max(minFactor, min((m.clicks+k)/(m.predicted+k/prior), maxFactor))
}

// factor is what predictions are to be multiplied by.
func (r *ratio) factor(prior float64, cfg *CalibrationConfig) float64 {
	sum := 0.0
	for i := range r.memories {
		m := &r.memories[i]
		sum += m.trust * m.estimate(prior, cfg.Clicks*memoryShapes[i].firmness)
	}
	return sum
}

// learn takes in one example and its prediction before any correction.
func (r *ratio) learn(prior, p float64, click bool, cfg *CalibrationConfig) {
	r.rows++
	if click {
		r.clicks++
	}
	total, expected := 0.0, 0.0
	for i := range r.memories {
		m := &r.memories[i]
		own := clampProbability(p * m.estimate(prior, cfg.Clicks*memoryShapes[i].firmness))
		expected += m.trust * own

		keep := cfg.keep
		if h := memoryShapes[i].halfLife; h > 0 {
			seen := own
			if click {
				seen++
			}
			keep = 1 - math.Ln2/h*seen/2
		}
		m.clicks *= keep
		m.predicted = m.predicted*keep + p
		if click {
			m.clicks++
			m.trust *= own
		} else {
			m.trust *= 1 - own
		}
		total += m.trust
	}
	if r.refuted(total) {
		r.restart(prior)
		return
	}
	share := trustShared * expected
	for i := range r.memories {
		m := &r.memories[i]
		m.trust = (1-share)*m.trust/total + share*memoryShapes[i].trust
	}
}

// refuted reports that the longest memory has nearly no trust left, and the
// shortest has most of it.
func (r *ratio) refuted(total float64) bool {
	last := len(r.memories) - 1
	return r.memories[last].trust > 0.7*total && r.memories[0].trust < refuted*memoryShapes[0].trust*total
}

// restart lets all memories begin where the shortest one is, which loosens its
// own prior first: that may be far off. What it remembers may be half from
// before the jump, so that it is emptied too; if it was, there is soon another
// restart.
func (r *ratio) restart(prior float64) {
	at := r.memories[len(r.memories)-1].estimate(prior, 1)
	for i := range r.memories {
		r.memories[i] = memory{prior: at, trust: memoryShapes[i].trust}
	}
}

// rescale says that predictions will be by times what they were.
func (r *ratio) rescale(by float64) {
	for i := range r.memories {
		r.memories[i].predicted *= by
		r.memories[i].prior /= by
	}
}

func clampProbability(p float64) float64 {
	if p > maxProbability {
		return maxProbability
	}
	if p >= minProbability {
		return p
	}
	return minProbability // also when it is not a number
}
