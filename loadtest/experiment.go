package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"math/rand/v2"
	"text/tabwriter"
	"time"

	"bidwell/events/report"
)

// ExperimentCheck runs many simulated experiments through the statistics that
// read the real ones, where it is known whether the arms differ.
type ExperimentCheck struct {
	Runs  int     // of each kind
	Looks int     // at each run, evenly spaced
	Users int     // an arm
	Rate  float64 // of the control's users who click
	Lift  float64 // of the runs in which the arms differ, relative
	// Effect is what the comparisons expect, relative; zero for the default of
	// the production code. It need not be the Lift.
	Effect float64
	Seed   uint64

	Progress func(runs int)
}

// ExperimentResult says how often differences were found, where there were none
// and where there was one.
type ExperimentResult struct {
	Runs   int     `json:"runs"`
	Looks  int     `json:"looks"`
	Users  int     `json:"users_per_arm"`
	Rate   float64 `json:"rate"`
	Lift   float64 `json:"lift"`
	Effect float64 `json:"expected_effect"`
	Seed   uint64  `json:"seed"`

	FalsePositives Found `json:"false_positives"` // of runs without a difference
	Power          Found `json:"power"`           // of runs with one

	// Coverage is the part of the runs in which the always-valid intervals held
	// the truth at every look.
	CoverageNull float64 `json:"coverage_null"`
	CoverageLift float64 `json:"coverage_lift"`
	// StoppedAfter is the mean part of the users after which a difference that
	// was found was first found.
	StoppedAfter float64 `json:"stopped_after"`

	RatioWarnings float64 `json:"ratio_warnings"` // of splits that are right
	RatioWithheld float64 `json:"ratio_withheld"`

	MostFalsePositives float64 `json:"limit_false_positives"`
	LeastPower         float64 `json:"limit_power"`
	Passed             bool    `json:"passed"`
	Seconds            float64 `json:"seconds"`
}

// Found is the part of the runs in which a test found a difference.
type Found struct {
	AlwaysValid float64 `json:"always_valid"` // at any of the looks
	Peeking     float64 `json:"naive_peeking"`
	Once        float64 `json:"fixed_horizon"` // at the last look alone
}

// Limits of the check.
const (
	mostFalsePositives = report.Alpha
	leastPower         = 0.85
)

// Run simulates. The same seed gives the same result.
func (c *ExperimentCheck) Run(ctx context.Context) (*ExperimentResult, error) {
	switch {
	case c.Runs < 1 || c.Runs > 1_000_000:
		return nil, errors.New("runs: must be 1 to 1000000")
	case c.Looks < 1 || c.Looks > c.Users:
		return nil, errors.New("looks: must be at least 1 and at most the users of an arm")
	case c.Users < 2 || c.Users > 1e9:
		return nil, errors.New("users: must be 2 to 1e9")
	case !(c.Rate > 0 && c.Rate < 1):
		return nil, errors.New("rate: must be between 0 and 1")
	case !(c.Lift > -1 && c.Rate*(1+c.Lift) < 1) || c.Lift == 0:
		return nil, errors.New("lift: must not be 0, and the rate with it must be between 0 and 1")
	case !(c.Effect >= 0 && c.Effect < 10):
		return nil, errors.New("effect: must be 0 to 10")
	}
	begun := time.Now()
	r := &ExperimentResult{
		Runs: c.Runs, Looks: c.Looks, Users: c.Users, Rate: c.Rate, Lift: c.Lift, Effect: c.Effect, Seed: c.Seed,
		MostFalsePositives: mostFalsePositives, LeastPower: leastPower,
	}
	if r.Effect == 0 {
		r.Effect = report.DefaultEffect
	}
	random := rand.New(rand.NewPCG(c.Seed, 0x65787065_72696d65))
	for run := range c.Runs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		null, lift := c.play(random, c.Rate), c.play(random, c.Rate*(1+c.Lift))
		null.count(&r.FalsePositives, &r.CoverageNull)
		lift.count(&r.Power, &r.CoverageLift)
		if lift.always {
			r.StoppedAfter += float64(lift.found) / float64(c.Looks)
		}
		if null.ratio.Warns() {
			r.RatioWarnings++
		}
		if null.ratio.Withholds() {
			r.RatioWithheld++
		}
		if c.Progress != nil {
			c.Progress(run + 1)
		}
	}
	if r.Power.AlwaysValid > 0 {
		r.StoppedAfter /= r.Power.AlwaysValid
	}
	for _, f := range []*float64{
		&r.FalsePositives.AlwaysValid, &r.FalsePositives.Peeking, &r.FalsePositives.Once, &r.Power.AlwaysValid, &r.Power.Peeking, &r.Power.Once,
		&r.CoverageNull, &r.CoverageLift, &r.RatioWarnings, &r.RatioWithheld,
	} {
		*f /= float64(c.Runs)
	}
	r.Passed = r.FalsePositives.AlwaysValid <= mostFalsePositives && r.Power.AlwaysValid >= leastPower
	r.Seconds = math.Round(100*time.Since(begun).Seconds()) / 100
	return r, nil
}

// played is what the tests said of one run.
type played struct {
	always, peeking, once bool
	covered               bool
	found                 int // the look at which always became true
	ratio                 report.RatioCheck
}

func (p *played) count(f *Found, covered *float64) {
	add(&f.AlwaysValid, p.always)
	add(&f.Peeking, p.peeking)
	add(&f.Once, p.once)
	add(covered, p.covered)
}

func add(to *float64, yes bool) {
	if yes {
		*to++
	}
}

// play is one experiment: users come evenly to both arms, and at each look the
// production code compares all that have come so far. Every user comes to
// either arm by chance, as by the assignment.
func (c *ExperimentCheck) play(random *rand.Rand, rate float64) played {
	p := played{covered: true}
	var sequence report.Sequence
	var users, clicks [2]int
	rates := [2]float64{c.Rate, rate}
	for look := 1; look <= c.Looks; look++ {
		come := 2*c.Users*look/c.Looks - users[0] - users[1]
		first := binomial(random, come, 0.5)
		for k, n := range [2]int{first, come - first} {
			users[k] += n
			clicks[k] += binomial(random, n, rates[k])
		}
		control, arm := report.Proportion(users[0], clicks[0]), report.Proportion(users[1], clicks[1])
		r := report.Compare(&control, &arm, report.Settings{Effect: c.Effect})
		sequence.Look(r.AlwaysP, r.AlwaysInterval)
		if sequence.P < report.Alpha && !p.always {
			p.always, p.found = true, look
		}
		p.once = r.FixedP < report.Alpha
		p.peeking = p.peeking || p.once
		truth := rate - c.Rate
		p.covered = p.covered && r.AlwaysInterval.Low <= truth && truth <= r.AlwaysInterval.High
	}
	p.ratio = report.CheckRatio([]float64{float64(users[0]), float64(users[1])}, []float64{1, 1})
	return p
}

// binomial is how many of n independent chances come true: rare ones by the
// gaps between them, which are geometric, and likely ones in halves of the bits
// of random words. It is exact in both cases.
func binomial(random *rand.Rand, n int, p float64) int {
	switch {
	case p > 0.5:
		return n - binomial(random, n, 1-p)
	case p == 0.5:
		return coins(random, n)
	}
	count, log := 0, math.Log1p(-p)
	for at := 0.0; ; {
		at += 1 + math.Floor(math.Log(1-random.Float64())/log)
		if at > float64(n) {
			return count
		}
		count++
	}
}

// coins is how many of n fair coins fall on one side.
func coins(random *rand.Rand, n int) int {
	count := 0
	for ; n >= 64; n -= 64 {
		count += bits.OnesCount64(random.Uint64())
	}
	return count + bits.OnesCount64(random.Uint64()&(1<<n-1))
}

// WriteText prints the result for people.
func (r *ExperimentResult) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%d experiments without a difference and %d with one of %+.4g%%: %.4g%% of the users click, %d users an arm, %d looks\n\n",
		r.Runs, r.Runs, 100*r.Lift, 100*r.Rate, r.Users, r.Looks)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tFALSE POSITIVES\tPOWER\t")
	row := func(name string, a, b float64) { fmt.Fprintf(table, "%s\t%.2f%%\t%.2f%%\t\n", name, 100*a, 100*b) }
	row("always valid, any look", r.FalsePositives.AlwaysValid, r.Power.AlwaysValid)
	row("fixed horizon, last look", r.FalsePositives.Once, r.Power.Once)
	row("fixed horizon, any look", r.FalsePositives.Peeking, r.Power.Peeking)
	if err := table.Flush(); err != nil {
		return err
	}
	verdict := "passed"
	if !r.Passed {
		verdict = "FAILED"
	}
	_, err := fmt.Fprintf(w, `
always-valid intervals held the truth at every look: %.2f%% without and %.2f%% with a difference
a difference was first found after %.0f%% of the users, on average
sample-ratio check of right splits: %.2f%% warned of, %.2f%% withheld
%s: always valid, at most %.2f%% false positives and at least %.2f%% found
`, 100*r.CoverageNull, 100*r.CoverageLift, 100*r.StoppedAfter, 100*r.RatioWarnings, 100*r.RatioWithheld, verdict, 100*r.MostFalsePositives, 100*r.LeastPower)
	return err
}
