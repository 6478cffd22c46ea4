package models

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// market is impressions whose click rate is spread around a mean.
type market struct {
	random *rand.Rand
	rate   float64
}

func newMarket(seed uint64, rate float64) *market {
	return &market{rand.New(rand.NewPCG(seed, 1)), rate}
}

// next is an impression: its true rate, and whether it is clicked.
func (m *market) next() (p float64, click bool) {
	logit := math.Log(m.rate/(1-m.rate)) + m.random.NormFloat64()
	p = sigmoid(logit)
	return p, m.random.Float64() < p
}

func shifted(p, by float64) float64 { return sigmoid(math.Log(p/(1-p)) + by) }

func TestWindowFigures(t *testing.T) {
	var w Window
	for _, x := range []struct {
		p     float64
		click bool
	}{{0.1, false}, {0.2, true}, {0.3, false}, {0.4, true}} {
		w.Add(x.p, x.click, 1)
	}
	loss := -(math.Log(0.9) + math.Log(0.2) + math.Log(0.7) + math.Log(0.4)) / 4
	if math.Abs(w.LogLoss()-loss) > 1e-12 || math.Abs(w.Calibration()-0.5) > 1e-12 || w.Rows != 4 || w.Clicks != 2 {
		t.Errorf("log loss %v, calibration %v of %v rows, want %v and 0.5 of 4", w.LogLoss(), w.Calibration(), w.Rows, loss)
	}
	if ne, _ := w.NE(); math.Abs(ne-loss/math.Ln2) > 1e-12 {
		t.Errorf("NE = %v, want %v", ne, loss/math.Ln2)
	}
	var empty Window
	if ne, err := empty.NE(); ne != 0 || err != 0 || empty.Calibration() != 0 || empty.LogLoss() != 0 {
		t.Error("an empty window has figures")
	}
	// With a half-life of one row the window is as good as three: 2*2/(1/(1-1/4)).
	var short Window
	for range 60 {
		short.Add(0.5, true, 0.5)
	}
	if predicted, clicks := short.promised(); math.Abs(predicted-1.5) > 1e-9 || math.Abs(clicks-3) > 1e-9 {
		t.Errorf("promised %v and got %v, want 1.5 and 3", predicted, clicks)
	}
	if n := short.effective(); math.Abs(n-3) > 1e-9 || math.Abs(short.Rows-2) > 1e-9 {
		t.Errorf("%v rows are as good as %v, want 2 and 3", short.Rows, n)
	}
}

// The error of the NE is what it scatters by.
func TestNEScatters(t *testing.T) {
	for _, by := range []float64{0, 0.7} {
		var sum, squares, said float64
		const runs = 300
		for seed := range uint64(runs) {
			m := newMarket(seed, 0.01)
			var w Window
			for range 12_000 {
				p, click := m.next()
				w.Add(shifted(p, by), click, 1-1.0/4000)
			}
			ne, err := w.NE()
			sum, squares, said = sum+ne, squares+ne*ne, said+err
		}
		scatter := math.Sqrt(squares/runs - sum/runs*sum/runs)
		if got := said / runs; got < 0.8*scatter || got > 1.25*scatter {
			t.Errorf("predictions off by %v: the NE scatters by %.4f, its error is said to be %.4f", by, scatter, got)
		}
	}
}

// What predicts well stays, however often one looks.
func TestMonitorSparesTheGood(t *testing.T) {
	cfg := DefaultMonitor()
	cfg.HalfLife = 5000 // so that there are many windows that know little
	const runs, rows = 400, 30_000
	accused := 0
	for seed := range uint64(runs) {
		m := newMarket(seed, []float64{0.002, 0.01, 0.05}[seed%3])
		var live, canary Window
		keep := math.Exp2(-1 / cfg.HalfLife)
		bad := false
		for i := range rows {
			p, click := m.next()
			p *= 0.9 + 0.2*float64(seed%2) // 10 % off is no reason
			if m.random.IntN(4) == 0 {
				canary.Add(p, click, keep)
			} else {
				live.Add(p, click, keep)
			}
			if i%100 == 0 {
				bad = bad || cfg.Judge(&canary, &live, &Metrics{}).Bad || cfg.Judge(&live, nil, &Metrics{}).Bad
			}
		}
		if bad {
			accused++
		}
	}
	if accused > runs/100 {
		t.Errorf("%d of %d good versions were found bad, want at most 1 %%", accused, runs)
	}
	t.Logf("%d of %d good versions were found bad, looking 300 times at each", accused, runs)
}

// What predicts badly is found soon, and the reason says why.
func TestMonitorFindsTheBad(t *testing.T) {
	cfg := DefaultMonitor()
	noise := rand.New(rand.NewPCG(9, 9))
	for _, tt := range []struct {
		name   string
		worse  func(p float64) float64
		clicks float64 // by then at the latest, nineteen times of twenty
		reason string
	}{
		{"twice too high", func(p float64) float64 { return min(2*p, 0.9) }, 120, "calibration "},
		{"half too low", func(p float64) float64 { return p / 2 }, 220, "calibration "},
		{"a third too high", func(p float64) float64 { return min(1.4*p, 0.9) }, 450, "calibration "},
		{"noise, on average right", func(p float64) float64 { return p * []float64{0.05, 1.95}[noise.IntN(2)] }, 900, "normalised entropy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			late := 0
			for seed := range uint64(60) {
				m := newMarket(1000+seed, 0.01)
				var live, canary Window
				verdict, clicks := Verdict{}, 0.0
				for !verdict.Bad && clicks < 10*tt.clicks {
					p, click := m.next()
					if click {
						clicks++
					}
					canary.Add(tt.worse(p), click, 1)
					p, click = m.next()
					live.Add(p, click, 1)
					verdict = cfg.Judge(&canary, &live, &Metrics{})
				}
				if clicks > tt.clicks {
					late++
				}
				if !strings.Contains(verdict.Reason, tt.reason) {
					t.Fatalf("after %v clicks: %+v, want the reason %q", clicks, verdict, tt.reason)
				}
			}
			if late > 3 {
				t.Errorf("%d of 60 were found only after more than %v clicks", late, tt.clicks)
			}
		})
	}
}

func TestMonitorKeepsThePromise(t *testing.T) {
	cfg := DefaultMonitor()
	m := newMarket(5, 0.02)
	var w Window
	for range 40_000 {
		_, click := m.next()
		w.Add(0.0297, click, 1) // about the mean, so that it is calibrated and knows nothing
	}
	if c := w.Calibration(); c < 0.9 || c > 1.1 {
		t.Fatalf("calibration %v, the test is wrong", c)
	}
	promise := Metrics{Rows: 100_000, Clicks: 3000, LogLoss: 0.09}
	if ne := promise.NE(); ne > 0.75 {
		t.Fatalf("the promise is %v, the test is wrong", ne)
	}
	v := cfg.Judge(&w, nil, &promise)
	if !v.Bad || !strings.Contains(v.Reason, "in its training") {
		t.Errorf("an NE of 1 where 0.7 was promised: %+v", v)
	}
	promise.LogLoss *= 1.2
	if v := cfg.Judge(&w, nil, &promise); v.Bad {
		t.Errorf("a little worse than promised: %+v", v)
	}
	promise.LogLoss /= 2
	promise.Clicks = 30
	if v := cfg.Judge(&w, nil, &promise); v.Bad {
		t.Errorf("promised on 30 clicks: %+v", v)
	}
}

func TestMonitorByVersion(t *testing.T) {
	cfg := DefaultMonitor()
	monitor, err := NewMonitor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := newMarket(3, 0.05)
	all := versions("lcs")
	for range 6000 {
		p, click := m.next()
		monitor.Observe(1, p, click)
		p, click = m.next()
		monitor.Observe(2, p/3, click)
		monitor.Observe(0, p, click)
		monitor.Observe(3, math.NaN(), click)
	}
	live, canary := monitor.Judge(all)
	if live.Bad || !canary.Bad {
		t.Errorf("live %+v and canary %+v, want the canary found bad", live, canary)
	}
	for _, number := range []uint32{0, 3} {
		if w := monitor.Window(number); w.Rows != 0 {
			t.Errorf("version %d has %v rows", number, w.Rows)
		}
	}
	monitor.Begin(2)
	if live, canary := monitor.Judge(all); live.Bad || canary.Bad || monitor.Window(1).Rows == 0 {
		t.Errorf("after it began anew: live %+v, canary %+v", live, canary)
	}
	all[0].Kept = false
	if monitor.Retain(all); monitor.Window(1).Rows != 0 {
		t.Error("a version without a body is still watched")
	}
	if live, canary := monitor.Judge(nil); live.Bad || canary.Bad {
		t.Error("none is bad")
	}
}

func TestMonitorRefusesSettings(t *testing.T) {
	for name, change := range map[string]func(*MonitorConfig){
		"half-life":   func(c *MonitorConfig) { c.HalfLife = 1 },
		"clicks":      func(c *MonitorConfig) { c.Clicks = 0 },
		"calibration": func(c *MonitorConfig) { c.Most = 1 },
		"worse":       func(c *MonitorConfig) { c.Worse = -1 },
		"doubt":       func(c *MonitorConfig) { c.Doubt = math.NaN() },
	} {
		cfg := DefaultMonitor()
		change(&cfg)
		if _, err := NewMonitor(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
