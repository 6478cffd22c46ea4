package report

import (
	"math"
	"time"

	"bidwell/rtb"
)

// Arm is an arm of an experiment as the document has it.
type Arm struct {
	Name    string
	Weight  float64
	Holdout bool // its bids are ghosts
}

// Ask is what is asked of a Rollup.
type Ask struct {
	Experiment uint32
	Arms       []Arm // in the order of their numbers
	Control    int   // which of them
	Metric     Metric
	Settings   Settings
}

// Totals are what came of the users of an arm.
type Totals struct {
	Users, Impressions, Clicks, Conversions uint64
	Value, Spend                            rtb.Money
}

// Result is what a Rollup says of an experiment. Its lists begin with the
// control, and then have the arms in their order.
type Result struct {
	*Reading
	Totals []Totals
	// Increments are of each other arm against a control that is a holdout; empty
	// otherwise, and where results are withheld.
	Increments []Incrementality
	// Assigned says that the users are those who were assigned. Otherwise they are
	// those whom some event names, and an arm that bids less may have fewer.
	Assigned bool
	// Uploaded says that the conversions are those that were uploaded. Beside them
	// the conversions of clicks are not counted: they may be the same, and nobody
	// of a holdout has any.
	Uploaded bool
	// Part of the users that are kept; the totals are of those.
	Part float64
	// Remembered says since when repeats of notices are known as such.
	Remembered time.Time
	Looks      int // that were taken at this metric, this one included
}

// Result reads an experiment. Each reading is one look: the always-valid
// p-value is the least of all looks, and the interval what all have in common.
// It fails with [ErrLetGo] where there is nothing left to read.
func (r *Rollup) Result(ask Ask) (*Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, gone := r.gone[ask.Experiment]; gone {
		return nil, ErrLetGo
	}
	n := len(ask.Arms)
	order := make([]int, 0, n)
	if n > 0 {
		order = append(order, ask.Control)
	}
	for i := range n {
		if i != ask.Control {
			order = append(order, i)
		}
	}
	samples := make([]ArmSample, n)
	totals := make([]Totals, n)
	shown := make([]Sample, n) // users who saw an ad, by their conversions
	ghosts := make([]Ghosts, n)
	place := make([]int, n)
	for at, i := range order {
		place[i] = at
		samples[at].Name, samples[at].Weight = ask.Arms[i].Name, ask.Arms[i].Weight
	}
	assigned, uploaded := false, false
	for key, m := range r.members {
		if key.experiment == ask.Experiment {
			assigned, uploaded = assigned || m.assigned, uploaded || m.uploaded.conversions > 0
		}
	}
	for key, m := range r.members {
		if key.experiment != ask.Experiment || int(m.arm) >= n || assigned && !m.assigned {
			continue
		}
		if uploaded {
			m.conversions, m.value = m.uploaded.conversions, m.uploaded.value
		}
		at := place[m.arm]
		samples[at].Add(m.user(ask.Metric))
		totals[at].add(&m)
		did := m.did(ask.Metric)
		if ask.Arms[m.arm].Holdout {
			if m.missed < 1 {
				ghosts[at].Add(1-float64(m.missed), did)
			}
		} else if m.impressions > 0 {
			shown[at].Add(User{Metric: did, Denominator: 1})
		}
	}
	reading, err := Read(samples, ask.Settings)
	if err != nil {
		return nil, err
	}
	res := &Result{Reading: reading, Assigned: assigned, Uploaded: uploaded, Totals: totals, Part: math.Exp2(-float64(r.shift)), Remembered: r.repeats[0].begun}
	for i := range reading.Comparisons {
		c := &reading.Comparisons[i]
		key := lookKey{experiment: ask.Experiment, arm: uint8(order[i+1]), metric: ask.Metric,
			uploaded: uploaded && (ask.Metric == Conversions || ask.Metric == Value)} // it is of another measure then
		s := r.look(key, c.AlwaysP, c.AlwaysInterval)
		c.AlwaysP, c.AlwaysInterval, res.Looks = s.P, s.Interval, s.Looks
		if a := c.CUPED; a != nil {
			key.adjusted = true
			s := r.look(key, a.AlwaysP, a.AlwaysInterval)
			a.AlwaysP, a.AlwaysInterval = s.P, s.Interval
		}
		if ask.Arms[ask.Control].Holdout {
			res.Increments = append(res.Increments, Increment(&shown[i+1], &ghosts[0]))
		}
	}
	return res, nil
}

// look takes one more look into account. It is written with the next save.
func (r *Rollup) look(key lookKey, p float64, i Interval) Sequence {
	s := r.looks[key]
	s.Look(p, i)
	r.looks[key] = s
	r.changedLooks[key] = struct{}{}
	return s
}

// user is what the metric and the covariate are of one member. What a user
// clicked before says most of clicks to come; of money it is how much was shown.
func (m *member) user(metric Metric) User {
	switch metric {
	case CTR:
		return User{float64(m.clicks), float64(m.impressions), float64(m.before.clicks)}
	case Clicks:
		return User{float64(m.clicks), 1, float64(m.before.clicks)}
	case Conversions:
		return User{float64(m.conversions), 1, float64(m.before.clicks)}
	case Value:
		return User{amount(m.value), 1, float64(m.before.clicks)}
	default:
		return User{amount(m.spend), 1, float64(m.before.impressions)}
	}
}

// did is what incrementality is of: conversions, or their value. Clicks need an
// ad, so they say nothing of those who saw none.
func (m *member) did(metric Metric) float64 {
	if metric == Value {
		return amount(m.value)
	}
	return float64(m.conversions)
}

// amount is money in the account currency.
func amount(m rtb.Money) float64 { return float64(m) / 1e9 }

func (t *Totals) add(m *member) {
	t.Users++
	t.Impressions += uint64(m.impressions)
	t.Clicks += uint64(m.clicks)
	t.Conversions += uint64(m.conversions)
	t.Value = plus(t.Value, m.value)
	t.Spend = plus(t.Spend, m.spend)
}

// plus adds to a sum what is not negative, as far as there is room: a thousand
// conversions of the highest value that is believed are more than Money holds.
func plus(sum, m rtb.Money) rtb.Money {
	if m = max(m, 0); m > math.MaxInt64-sum {
		return math.MaxInt64
	}
	return sum + m
}
