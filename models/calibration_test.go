package models

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drift draws predictions around rate and clicks that are truth times as
// likely, and sums up the corrections made before each click was known.
type drift struct {
	r                         *rand.Rand
	c                         *Calibrator
	predicted, likely, clicks float64 // likely is the sum of the true probabilities
	loss, optimum             float64 // optimum is the log loss of the true probabilities
}

func newDrift(t *testing.T, seed uint64) *drift {
	t.Helper()
	c, err := NewCalibrator(DefaultCalibration())
	if err != nil {
		t.Fatal(err)
	}
	return &drift{r: rand.New(rand.NewPCG(seed, 1)), c: c}
}

func (d *drift) run(n int, campaign uint32, rate float64, truth func(p float64) float64) {
	d.predicted, d.likely, d.clicks, d.loss, d.optimum = 0, 0, 0, 0, 0
	for range n {
		p := clampProbability(sigmoid(logit(rate) + 0.7*d.r.NormFloat64()))
		real := truth(p)
		click := d.r.Float64() < real
		q := d.c.Learn(campaign, p, click)
		d.predicted += q
		d.likely += real
		d.loss += logLoss(q, click)
		d.optimum += logLoss(real, click)
		if click {
			d.clicks++
		}
	}
}

func times(by float64) func(float64) float64 {
	return func(p float64) float64 { return min(p*by, 0.9) }
}

// A model that is off by ten is right on the whole after 2,000 rows, whatever
// went before, and loses little to one that knew.
func TestCalibratorFollowsASuddenShift(t *testing.T) {
	for seed := range uint64(8) {
		for _, tt := range []struct {
			rate, by float64
			quiet    int
		}{{0.1, 0.1, 0}, {0.1, 0.1, 30_000}, {0.2, 0.1, 30_000}, {0.005, 10, 100_000}, {0.1, 0.25, 30_000}} {
			d := newDrift(t, seed)
			d.run(tt.quiet, 1, tt.rate, times(1))
			d.run(2000, 1, tt.rate, times(tt.by))
			d.run(19_000, 1, tt.rate, times(tt.by))
			if c := d.predicted / d.likely; c < 0.8 || c > 1.25 {
				t.Errorf("seed %d: off by %v at %v after %d quiet: predicts %.3f of what is likely from row 2,000 on", seed, tt.by, tt.rate, tt.quiet, c)
			}
			if d.loss > 1.02*d.optimum {
				t.Errorf("seed %d: off by %v at %v after %d quiet: log loss %.1f, of the truth %.1f", seed, tt.by, tt.rate, tt.quiet, d.loss, d.optimum)
			}
		}
	}
}

// A model that is right must not be made wrong by the luck of a few clicks.
func TestCalibratorLeavesARightModelAlone(t *testing.T) {
	for seed := range uint64(8) {
		d := newDrift(t, seed)
		for campaign := range uint32(200) {
			d.run(200, campaign, 0.005, times(1)) // one click each
		}
		for _, l := range d.c.Table().Lines() {
			if l.Factor < 0.65 || l.Factor > 1.7 {
				t.Errorf("seed %d: campaign %d: factor %v after %d clicks of %d", seed, l.Campaign, l.Factor, l.Clicks, l.Rows)
			}
		}
		d.run(100_000, 1000, 0.005, times(1))
		if excess := (d.loss - d.optimum) / d.optimum; excess > 0.006 {
			t.Errorf("seed %d: calibration costs %.2f%% of log loss where there is nothing to correct", seed, 100*excess)
		}
	}
}

func TestCampaignsAreTakenApart(t *testing.T) {
	d := newDrift(t, 1)
	for range 100 {
		d.run(500, 1, 0.02, times(0.5))
		d.run(500, 2, 0.02, times(2))
	}
	table := d.c.Table()
	for campaign, want := range map[uint32]float64{1: 0.5, 2: 2, 3: table.Global()} {
		if got := table.Factor(campaign); math.Abs(got/want-1) > 0.15 {
			t.Errorf("factor of campaign %d is %v, want about %v", campaign, got, want)
		}
		if got, want := table.Apply(campaign, 0.01), 0.01*table.Factor(campaign); math.Abs(got-want) > 1e-12 {
			t.Errorf("Apply(%d, 0.01) = %v, want %v", campaign, got, want)
		}
	}
	if g := table.Global(); g < 0.5 || g > 2 {
		t.Errorf("the factor of all is %v, want between those of both", g)
	}
}

// A model that is too sure of itself is bent; one that is not stays as it is.
func TestRefitBendsWhatIsBent(t *testing.T) {
	bent := func(p float64) float64 { return sigmoid(-1.5 + 0.5*logit(p)) }
	for _, tt := range []struct {
		name  string
		truth func(float64) float64
		used  bool
	}{{"too sure", bent, true}, {"right", times(1), false}, {"half", times(0.5), false}} {
		d := newDrift(t, 5)
		for range 6 {
			d.run(10_000, 7, 0.03, tt.truth)
			d.c.Refit()
		}
		d.run(20_000, 7, 0.03, tt.truth)
		kind, _, b := d.c.Table().Curve()
		if used := kind != "none"; used != tt.used {
			t.Errorf("%s: curve %s in force", tt.name, kind)
		}
		if kind == "platt" && math.Abs(b-0.5) > 0.1 {
			t.Errorf("%s: slope %v, want about 0.5", tt.name, b)
		}
		if excess := d.loss/d.optimum - 1; excess > 0.006 {
			t.Errorf("%s: log loss %.2f%% above that of the truth", tt.name, 100*excess)
		}
	}
}

func TestIsotonicFollowsAStep(t *testing.T) {
	step := func(p float64) float64 {
		if p < 0.02 {
			return 0.002
		}
		return 0.1
	}
	d := newDrift(t, 2)
	for range 4 {
		d.run(30_000, 7, 0.02, step)
		d.c.Refit()
	}
	table := d.c.Table()
	if kind, _, _ := table.Curve(); kind != "isotonic" {
		t.Errorf("curve %s in force, want isotonic", kind)
	}
	for p, want := range map[float64]float64{0.008: 0.002, 0.05: 0.1} {
		if got := table.Apply(7, p); math.Abs(got/want-1) > 0.25 {
			t.Errorf("Apply(%v) = %v, want about %v", p, got, want)
		}
	}
	before := 0.0
	for p := 1e-6; p < 0.9; p *= 1.01 {
		if q := table.Apply(7, p); q < before {
			t.Fatalf("Apply(%v) = %v, less than before", p, q)
		} else {
			before = q
		}
	}
}

func TestCorrectionsAreAlwaysProbabilities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultCalibration()
		cfg.PlattClicks, cfg.IsotonicClicks = 1, 1
		c, err := NewCalibrator(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 300).Draw(t, "rows") {
			p := rapid.SampledFrom([]float64{0, 1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1, 7, -1, math.NaN(), math.Inf(1)}).Draw(t, "p")
			if q := c.Learn(rapid.Uint32().Draw(t, "campaign"), p, rapid.Bool().Draw(t, "click")); !(q >= minProbability && q <= maxProbability) {
				t.Fatalf("Learn(%v) = %v", p, q)
			}
			if rapid.IntRange(0, 20).Draw(t, "refit") == 0 {
				c.Refit()
			}
		}
		table := c.Table()
		b, _ := table.AppendBinary(nil)
		back, err := ParseCalibration(b)
		if err != nil {
			t.Fatalf("ParseCalibration: %v", err)
		}
		if again, _ := back.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Fatalf("written again: %x, want %x", again, b)
		}
		if !slices.Equal(back.Lines(), table.Lines()) {
			t.Fatalf("lines %v, want %v", back.Lines(), table.Lines())
		}
		campaign, p := rapid.Uint32().Draw(t, "of"), rapid.Float64().Draw(t, "at")
		q := table.Apply(campaign, p)
		if !(q >= minProbability && q <= maxProbability) || back.Apply(campaign, p) != q {
			t.Fatalf("Apply(%d, %v) = %v, after reading %v", campaign, p, q, back.Apply(campaign, p))
		}
	})
}

func TestNoCalibrationCorrectsNothing(t *testing.T) {
	for _, c := range []*Calibration{nil, {}} {
		if got := c.Apply(5, 0.3); got != 0.3 {
			t.Errorf("Apply = %v, want what it was given", got)
		}
		b, err := c.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseCalibration(b); err != nil || back.Apply(5, 0.3) != 0.3 {
			t.Errorf("after writing and reading: %v, %v", back, err)
		}
	}
}

func TestParseCalibrationRefusesDamage(t *testing.T) {
	d := newDrift(t, 3)
	for campaign := range uint32(20) {
		d.run(500, campaign*97, 0.05, func(p float64) float64 { return sigmoid(-1.5 + 0.5*logit(p)) })
		d.c.Refit()
	}
	good, _ := d.c.Table().AppendBinary(nil)
	if _, err := ParseCalibration(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := ParseCalibration(good[:n]); !errors.Is(err, ErrCalibration) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	if _, err := ParseCalibration(append(slices.Clone(good), 0)); !errors.Is(err, ErrCalibration) {
		t.Errorf("with a byte more: %v", err)
	}
}

func FuzzParseCalibration(f *testing.F) {
	c, err := NewCalibrator(DefaultCalibration())
	if err != nil {
		f.Fatal(err)
	}
	for i := range uint32(1000) {
		c.Learn(i%7, 0.01, i%50 == 0)
	}
	b, _ := c.Table().AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCalibration(b)
		if err != nil {
			return
		}
		if q := c.Apply(1, 0.5); !(q >= minProbability && q <= maxProbability) {
			t.Fatalf("Apply = %v", q)
		}
		again, _ := c.AppendBinary(nil)
		if back, err := ParseCalibration(again); err != nil || !slices.Equal(back.Lines(), c.Lines()) {
			t.Fatalf("written again it reads as %v, %v", back, err)
		}
	})
}

func TestApplyDoesNotAllocate(t *testing.T) {
	d := newDrift(t, 1)
	for campaign := range uint32(1000) {
		d.run(10, campaign, 0.05, times(1))
	}
	table := d.c.Table()
	if allocs := testing.AllocsPerRun(100, func() { table.Apply(77, 0.01) }); allocs != 0 {
		t.Errorf("Apply allocates %v times, want 0", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() { d.c.Learn(77, 0.01, false) }); allocs != 0 {
		t.Errorf("Learn allocates %v times, want 0", allocs)
	}
}

func BenchmarkCalibrationApply(b *testing.B) {
	c, err := NewCalibrator(DefaultCalibration())
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint32(100_000) {
		c.Learn(i%5000, 0.01, i%100 == 0)
	}
	table := c.Table()
	i := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		table.Apply(i%5000, 0.01)
	}
}

func BenchmarkCalibratorLearn(b *testing.B) {
	c, err := NewCalibrator(DefaultCalibration())
	if err != nil {
		b.Fatal(err)
	}
	i := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		c.Learn(i%5000, 0.01, i%100 == 0)
	}
}
