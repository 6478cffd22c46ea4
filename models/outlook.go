package models

import "math"

// outlook says how far a score that was learned from earlier rows is to be
// believed, and what the rate of labels has become since. It weighs views that
// take more or less of the score to be true, each at all levels that the rate may
// have, by how well they predict (Bayes' rule). With each label that is expected
// a share of the weights returns to what they were at first, so that nothing is
// ever ruled out (fixed share, Herbster and Warmuth 1998).
type outlook struct {
	base  float64 // logit of the rate of labels in the rows learned from
	first [levels]float64
	views []view

	// The scores of late, and those of the rows learned from. A centred view takes
	// only what sets a score apart from those around it: members that learn a new
	// rate, or are misled by values that they hardly know, move all scores, and the
	// level would have to follow.
	sum, rows, usual float64
}

// view takes the logit to be the base, a level, and so much of the score.
type view struct {
	by      float64
	centred bool
	trust   float64         // before the first row
	weights [levels]float64 // of the levels; those of all views add up to 1
	said    [levels]float64 // of the row at hand
}

const (
	levels     = 81
	levelStep  = 0.1 // between levels, in logits: up to 50 times the rate, and down
	levelWidth = 1.5 // standard deviation of the logit of a rate that has changed

	scoreHalfLife = 500  // rows
	scoreStart    = 20   // rows that the usual score is worth
	outlookShared = 1e-3 // for each label expected
)

// Where labels are rare, their rate is what is known least, and what tells them
// was learned from few.
const (
	rareLabels             = 0.02
	changed, rareChanged   = 0.1, 0.7 // probability that the rate is another one
	believed, rareBelieved = 0.5, 0.2 // trust in the score as it is
)

var (
	levelOdds = func() (e [levels]float64) {
		for i := range e {
			e[i] = math.Exp(levelStep * float64(i-levels/2))
		}
		return e
	}()
	scoreKept = math.Exp2(-1.0 / scoreHalfLife)
)

// newOutlook is that of rows with this rate of labels.
func newOutlook(rate float64) *outlook {
	o := &outlook{base: logit(clampProbability(rate))}
	change, belief := changed, believed
	if rate < rareLabels {
		change, belief = rareChanged, rareBelieved
	}
	sum := 0.0
	for i := range o.first {
		x := levelStep * float64(i-levels/2) / levelWidth
		o.first[i] = math.Exp(-x * x / 2)
		sum += o.first[i]
	}
	for i := range o.first {
		o.first[i] *= change / sum
	}
	o.first[levels/2] += 1 - change

	rest := (1 - belief) / 4
	o.views = []view{
		{by: 1, trust: belief},
		{by: 1, centred: true, trust: rest}, {by: 0.6, centred: true, trust: rest},
		{by: 0.3, centred: true, trust: rest}, {by: 0, centred: true, trust: rest},
	}
	for k := range o.views {
		v := &o.views[k]
		for i, w := range o.first {
			v.weights[i] = v.trust * w
		}
	}
	return o
}

// meet takes in the score of a row that is learned from.
func (o *outlook) meet(score float64) {
	o.sum = o.sum*scoreKept + score
	o.rows = o.rows*scoreKept + 1
}

// begin says that the rows from now on are of another time.
func (o *outlook) begin() {
	o.usual = o.sum / max(o.rows, 1)
	o.sum, o.rows = o.usual*scoreStart, scoreStart
}

// predict is the probability of a row with this score, which is relative to the
// base.
func (o *outlook) predict(score float64) float64 {
	shift := (o.sum+score)/(o.rows+1) - o.usual
	p := 0.0
	for k := range o.views {
		v := &o.views[k]
		s := score
		if v.centred {
			s -= shift
		}
		at := math.Exp(min(o.base+v.by*s, 30))
		for i, w := range &v.weights {
			odds := at * levelOdds[i]
			v.said[i] = clampProbability(odds / (1 + odds))
			p += w * v.said[i]
		}
	}
	return clampProbability(p)
}

// learn takes in the label of the row that was predicted last.
func (o *outlook) learn(score, p float64, label bool) {
	o.meet(score)
	total := 0.0
	for k := range o.views {
		v := &o.views[k]
		for i, q := range &v.said {
			if !label {
				q = 1 - q
			}
			v.weights[i] *= q
			total += v.weights[i]
		}
	}
	share := outlookShared * p
	for k := range o.views {
		v := &o.views[k]
		for i, w := range &o.first {
			v.weights[i] = (1-share)*v.weights[i]/total + share*v.trust*w
		}
	}
}
