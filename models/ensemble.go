package models

import (
	"errors"
	"fmt"
	"math"
)

// EnsembleConfig sets what an [Ensemble] tries.
type EnsembleConfig struct {
	// Progress is told from time to time what is being done, and how much of
	// all is. It may be nil.
	Progress func(what string, done float64)
}

// Ensemble predicts the label of rows by several learners, which it weighs by
// how well they predicted the later part of the rows that it was made from, and
// believes as far as what comes proves them right. All go on learning with each
// row. It is for one goroutine.
type Ensemble struct {
	enc     *encoder
	crosses [][2]int
	members []member
	stack   *stackPosterior
	inputs  []float64 // of the stack: 1, then the members' logits
	base    float64
	outlook *outlook
	score   float64 // of the row at hand by all members, above the base
	p       float64
	logits  []float64

	row    encoded
	cells  []uint32
	report []Member
}

// Member says how one learner of an ensemble did.
type Member struct {
	Name    string
	LogLoss float64 // on the later part of the rows that the ensemble was made from
	AUC     float64
	Weight  float64 // in the mean of all
}

// member is a learner that sees what it needs of the encoded row.
type member struct {
	name   string
	passes int
	learn  func(x *encoded, label bool)
	logit  func(x *encoded) float64
	grow   func(x *encodings, from, to int, labels []bool, more func(f *forest) bool)
	trees  int
}

// encoded is one row as learners see it.
type encoded struct {
	hashes  []uint32 // of the fields, of the parts of lists, and of crosses
	fields  int
	plain   int // how many hashes there are before the crosses
	rates   []float64
	numbers []float32
}

// encodings are those of all training rows.
type encodings struct {
	enc                    *encoder
	first                  int // row of the table
	fields, rates, numbers int // of each row

	h    []uint32  // hashes of the fields
	r, n []float32 // rates and numbers
}

const maxCrosses = 60

// at is the row i; hashes and rates are copied to x.
func (s *encodings) at(i int, x *encoded, crosses [][2]int) {
	x.setHashes(s.h[i*s.fields:][:s.fields], s.enc, s.enc.rows.row(s.first+i), crosses)
	x.rates = x.rates[:0]
	for _, v := range s.r[i*s.rates:][:s.rates] {
		x.rates = append(x.rates, float64(v))
	}
	x.numbers = s.n[i*s.numbers:][:s.numbers]
}

func (x *encoded) setHashes(fields []uint32, enc *encoder, cells []uint32, crosses [][2]int) {
	x.hashes = enc.appendParts(append(x.hashes[:0], fields...), cells)
	x.fields, x.plain = len(fields), len(x.hashes)
	for k, c := range crosses {
		x.hashes = append(x.hashes, fold(cross(seedTable+field(1000+k), uint64(fields[c[0]]), uint64(fields[c[1]]))))
	}
}

const (
	holdOut    = 0.4 // of the rows weigh the members
	maxNumbers = 64 << 20
)

// NewEnsemble learns from rows, whose order is that of time.
func NewEnsemble(rows *Rows, cfg EnsembleConfig) (*Ensemble, error) {
	n := rows.Len()
	if n == 0 {
		return nil, fmt.Errorf("ensemble: %w", errNoRows)
	}
	progress := cfg.Progress
	if progress == nil {
		progress = func(string, float64) {}
	}
	e := &Ensemble{enc: newEncoder(rows)}
	s, labels := e.encode(rows, progress)
	n = len(labels)

	// Members learn from the first part and predict the second, which weighs
	// them; then they learn from all.
	split := n - int(holdOut*float64(n))
	if err := e.weigh(s, labels, split, progress); err != nil {
		return nil, err
	}
	members, err := e.newMembers(s)
	if err != nil {
		return nil, err
	}
	for i := range members {
		progress(members[i].name, 0.5+0.5*float64(i)/float64(len(members)))
		m := &members[i]
		m.trees = e.members[i].trees
		m.fit(s, 0, n, labels, e.crosses, func(f *forest) bool { return len(f.trees) < m.trees })
	}
	e.members = members
	e.outlook.begin()
	return e, nil
}

// encode works out what learners see of the rows, or of the last ones, as
// many as memory allows.
func (e *Ensemble) encode(rows *Rows, progress func(string, float64)) (*encodings, []bool) {
	progress("looking for pairs of columns", 0)
	all := e.enc.crosses(rows.Len() - int(holdOut*float64(rows.Len())))
	e.enc.keep(all)
	e.crosses = all[:min(len(all), maxCrosses)]
	e.base = logit(clampProbability(e.enc.started))

	progress("encoding", 0.05)
	s := &encodings{enc: e.enc}
	n := rows.Len()
	kept := 0
	for i := range n {
		e.enc.begin(rows.row(i))
		if i == 0 {
			s.fields, s.rates, s.numbers = len(e.enc.Hashes), len(e.enc.Rates), len(e.enc.Numbers)
			kept = min(n, maxNumbers/(s.fields+s.rates+s.numbers))
		}
		if i >= n-kept {
			s.h = append(s.h, e.enc.Hashes...)
			for _, v := range e.enc.Rates {
				s.r = append(s.r, float32(v))
			}
			s.n = append(s.n, e.enc.Numbers...)
		}
		e.enc.end(rows.labels[i])
	}
	s.first = n - kept
	return s, rows.labels[s.first:]
}

func (m *member) fit(s *encodings, from, to int, labels []bool, crosses [][2]int, more func(f *forest) bool) {
	if m.grow != nil {
		m.grow(s, from, to, labels, more)
		return
	}
	var x encoded
	for range m.passes {
		for i := from; i < to; i++ {
			s.at(i, &x, crosses)
			m.learn(&x, labels[i])
		}
	}
}

// weigh fits the weights of the members, and how many trees a forest has, on
// the rows from split on.
func (e *Ensemble) weigh(s *encodings, labels []bool, split int, progress func(string, float64)) error {
	n := len(labels)
	members, err := e.newMembers(s)
	if err != nil {
		return err
	}
	logits := make([][]float64, len(members))
	var x encoded
	for k := range members {
		m := &members[k]
		progress(m.name, 0.1+0.4*float64(k)/float64(len(members)))
		if m.grow != nil {
			logits[k] = e.growBest(m, s, split, labels)
			continue
		}
		m.fit(s, 0, split, labels, e.crosses, nil)
		logits[k] = make([]float64, 0, n-split)
		for i := split; i < n; i++ {
			s.at(i, &x, e.crosses)
			logits[k] = append(logits[k], m.logit(&x))
			m.learn(&x, labels[i])
		}
	}
	e.members = members

	mean, variance := []float64{0}, []float64{1}
	for range members {
		mean = append(mean, 1/float64(len(members)))
		variance = append(variance, stackVariance)
	}
	e.stack = newStackPosterior(mean, variance)
	e.outlook = newOutlook(e.enc.started)
	scores := make([]Score, len(members))
	row := make([]float64, len(members))
	for i := split; i < n; i++ {
		for k := range members {
			row[k] = logits[k][i-split]
			scores[k].Add(sigmoid(row[k]), labels[i])
		}
		e.combine(row)
		e.outlook.meet(e.score)
		e.stack.learnOffset(e.inputs, e.base, labels[i])
	}
	for k := range members {
		m := scores[k].Metrics()
		e.report = append(e.report, Member{Name: members[k].name, LogLoss: m.LogLoss, AUC: m.AUC, Weight: e.stack.mean[k+1]})
	}
	return nil
}

const stackVariance = 0.03

// growBest grows a forest on the rows before split until those after it have
// gained nothing for a while.
func (e *Ensemble) growBest(m *member, s *encodings, split int, labels []bool) []float64 {
	n := len(labels)
	scores := make([]float64, n-split)
	best, bestLoss := make([]float64, n-split), math.Inf(1)
	var binned []uint8
	m.grow(s, 0, split, labels, func(f *forest) bool {
		if len(f.trees) == 1 {
			binned = make([]uint8, (n-split)*s.numbers)
			for i := range scores {
				scores[i] = f.base
				for k, v := range s.n[(split+i)*s.numbers:][:s.numbers] {
					binned[i*s.numbers+k] = bin(f.edges[k], v)
				}
			}
		}
		t := &f.trees[len(f.trees)-1]
		loss := 0.0
		for i := range scores {
			scores[i] += t.at(binned[i*s.numbers:][:s.numbers])
			loss += logLoss(clampProbability(sigmoid(scores[i])), labels[split+i])
		}
		if loss < bestLoss {
			bestLoss, m.trees = loss, len(f.trees)
			copy(best, scores)
		}
		return len(f.trees) < m.trees+25
	})
	return best
}

// combine sets score, what all members together say of a row.
func (e *Ensemble) combine(logits []float64) {
	e.inputs = append(e.inputs[:0], 1)
	for _, l := range logits {
		e.inputs = append(e.inputs, max(-8, min(l-e.base, 8)))
	}
	e.score = e.stack.logit(e.inputs)
}

// ErrColumns means that a row has other columns than those before.
var ErrColumns = errors.New("another number of values than columns")

// Predict is the probability of a positive label for the row, between 1e-6
// and 0.9.
func (e *Ensemble) Predict(values [][]byte) (float64, error) {
	if len(values) != len(e.enc.rows.columns) {
		return 0, fmt.Errorf("predict: %w", ErrColumns)
	}
	e.cells = e.enc.rows.appendCells(e.cells[:0], values)
	e.enc.begin(e.cells)
	x := &e.row
	x.setHashes(e.enc.Hashes, e.enc, e.cells, e.crosses)
	x.rates, x.numbers = e.enc.Rates, e.enc.Numbers
	e.logits = e.logits[:0]
	for i := range e.members {
		e.logits = append(e.logits, e.members[i].logit(x))
	}
	e.combine(e.logits)
	e.p = e.outlook.predict(e.score)
	return e.p, nil
}

// Learn takes in the label of the row that was predicted last.
func (e *Ensemble) Learn(label bool) {
	for i := range e.members {
		if m := &e.members[i]; m.learn != nil {
			m.learn(&e.row, label)
		}
	}
	e.outlook.learn(e.score, e.p, label)
	// The base is part of the logit that the stack does not see.
	e.stack.learnOffset(e.inputs, e.base, label)
	e.enc.end(label)
}

// Members are the learners with what they were weighed by.
func (e *Ensemble) Members() []Member { return e.report }
