package models

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// MonitorConfig sets when a version in service is found to predict badly.
type MonitorConfig struct {
	// HalfLife is after how many impressions of a version one counts half.
	HalfLife float64

	// Clicks is how many a version must have promised before it is judged.
	Clicks float64

	// Calibration, the sum of the predictions over the clicks, must stay within
	// these.
	Least, Most float64

	// Worse is the part by which the normalised entropy of a canary may be above
	// that of the live version. Promise is the same for the live version against
	// its own training, whose impressions are others: a bidder wins what it
	// values most, and among those there is less to tell apart.
	Worse, Promise float64

	// Doubt is how likely a good version may be to look as bad as one that is
	// rolled back. It is small because every impression is another look.
	Doubt float64
}

// DefaultMonitor returns settings for click rates of a per mille and above.
func DefaultMonitor() MonitorConfig {
	return MonitorConfig{HalfLife: 50_000, Clicks: 50, Least: 0.8, Most: 1.25, Worse: 0.05, Promise: 0.25, Doubt: 1e-5}
}

// Validate reports every setting that is wrong.
func (c MonitorConfig) Validate() error {
	var errs []error
	if !(c.HalfLife >= 100 && c.HalfLife <= 1e9) {
		errs = append(errs, fmt.Errorf("half-life: %v: want 100 to 1e9 impressions", c.HalfLife))
	}
	if !(c.Clicks >= 1 && c.Clicks <= 1e6) {
		errs = append(errs, fmt.Errorf("clicks: %v: want 1 to 1e6", c.Clicks))
	}
	if !(c.Least > 0 && c.Least < 1 && c.Most > 1) {
		errs = append(errs, fmt.Errorf("calibration: %v to %v: want 1 between, and more than 0", c.Least, c.Most))
	}
	if !(c.Worse >= 0 && c.Promise >= 0) {
		errs = append(errs, errors.New("worse, promise: must not be negative"))
	}
	if !(c.Doubt > 0 && c.Doubt <= 0.01) {
		errs = append(errs, fmt.Errorf("doubt: %v: want more than 0 and at most 0.01", c.Doubt))
	}
	return errors.Join(errs...)
}

// Window is what became of the impressions of one version, older ones counting
// less. The zero value is empty.
type Window struct {
	Rows, Clicks float64
	Predicted    float64 // sum of the predictions

	squares    float64    // sum of the squared weights of rows: how many of them it is as good as
	predictedS float64    // the same of the predictions
	loss       [2]float64 // sums of the log loss, without and with a click
	lossS      [2]float64 // and of its squares
}

// Add counts an impression that was predicted with p. What was counted before
// counts keep times what it did.
func (w *Window) Add(p float64, click bool, keep float64) {
	for _, sum := range [...]*float64{&w.Rows, &w.Clicks, &w.Predicted, &w.loss[0], &w.loss[1], &w.lossS[0], &w.lossS[1]} {
		*sum *= keep
	}
	w.squares = w.squares*keep*keep + 1
	w.predictedS = w.predictedS*keep*keep + p
	p = max(minProbability, min(p, maxProbability))
	w.Rows++
	w.Predicted += p
	of, loss := 0, -math.Log1p(-p)
	if click {
		w.Clicks++
		of, loss = 1, -math.Log(p)
	}
	w.loss[of] += loss
	w.lossS[of] += loss * loss
}

// Calibration is the sum of the predictions over the clicks; zero without
// clicks.
func (w *Window) Calibration() float64 {
	if w.Clicks <= 0 {
		return 0
	}
	return w.Predicted / w.Clicks
}

// LogLoss is the mean, in nats; zero for an empty window.
func (w *Window) LogLoss() float64 {
	if w.Rows <= 0 {
		return 0
	}
	return (w.loss[0] + w.loss[1]) / w.Rows
}

// NE is the log loss over that of always predicting the mean of the window, and
// its standard error; zeros where the mean says it all.
func (w *Window) NE() (ne, err float64) {
	if w.Clicks <= 0 || w.Clicks >= w.Rows {
		return 0, 0
	}
	q := w.Clicks / w.Rows
	entropy := -(q*math.Log(q) + (1-q)*math.Log1p(-q))
	mean := w.LogLoss()
	ne = mean / entropy
	// By the delta method: what one impression adds to the loss, less what its
	// label adds to the entropy.
	slope := ne / entropy * math.Log((1-q)/q)
	variance := 0.0
	for click, of := range [...]float64{w.Rows - w.Clicks, w.Clicks} {
		shift := -mean/entropy - slope*(float64(click)-q)
		variance += w.lossS[click]/(entropy*entropy) + 2*shift*w.loss[click]/entropy + of*shift*shift
	}
	variance /= w.Rows
	return ne, math.Sqrt(max(0, variance) / w.effective())
}

// effective is how many rows of equal weight would say as much.
func (w *Window) effective() float64 {
	if w.squares <= 0 {
		return 0
	}
	return w.Rows * w.Rows / w.squares
}

// promised are the clicks that were predicted, as many as would say as much if
// they all had equal weight, and the clicks that came in the same measure.
func (w *Window) promised() (predicted, clicks float64) {
	if w.predictedS <= 0 {
		return 0, 0
	}
	scale := w.Predicted / w.predictedS
	return w.Predicted * scale, w.Clicks * scale
}

// Verdict is what a [Monitor] says of a version.
type Verdict struct {
	Bad    bool
	Reason string // of a bad one, as people read it
}

// Judge compares a version with what it should be as good as: a canary with the
// live version, which is the reference, and the live version, which has none,
// with its training.
func (c *MonitorConfig) Judge(w, reference *Window, trained *Metrics) Verdict {
	predicted, clicks := w.promised()
	if max(predicted, clicks) < c.Clicks {
		return Verdict{}
	}
	if outside := w.Predicted < c.Least*w.Clicks || w.Predicted > c.Most*w.Clicks; outside && poissonBound(clicks, predicted) < c.Doubt {
		return Verdict{true, fmt.Sprintf("calibration %.3f is not within %v to %v: about %.0f clicks came of %.0f promised", w.Calibration(), c.Least, c.Most, clicks, predicted)}
	}
	ne, err := w.NE()
	most, than := 0.0, ""
	if reference != nil {
		if p, k := reference.promised(); max(p, k) < c.Clicks {
			return Verdict{}
		}
		live, liveErr := reference.NE()
		err = math.Hypot(err, (1+c.Worse)*liveErr)
		most, than = live*(1+c.Worse), fmt.Sprintf("%.4f of the live version", live)
	} else if trained.Clicks >= uint64(math.Ceil(c.Clicks)) {
		promise := trained.NE()
		err *= math.Sqrt(1 + w.effective()/float64(trained.Rows)) // that of its training is about as much a row
		most, than = promise*(1+c.Promise), fmt.Sprintf("%.4f in its training", promise)
	}
	if most > 0 && ne > 0 && ne-most > deviation(c.Doubt)*err {
		return Verdict{true, fmt.Sprintf("normalised entropy %.4f against %s: worse by more than chance", ne, than)}
	}
	return Verdict{}
}

// poissonBound is Chernoff's bound on the chance that a Poisson count is as far
// from its mean as this, on either side.
func poissonBound(count, mean float64) float64 {
	if mean <= 0 {
		return 1
	}
	exponent := mean - count
	if count > 0 {
		exponent += count * math.Log(count/mean)
	}
	return min(1, 2*math.Exp(-exponent))
}

// deviation is by how many standard errors a normal number exceeds its mean
// with a chance of at most doubt, by the bound exp(-z*z/2).
func deviation(doubt float64) float64 { return math.Sqrt(-2 * math.Log(doubt)) }

// Monitor keeps score of every version by what became of the impressions that
// it priced. It is safe for concurrent use, and not for the bid path.
type Monitor struct {
	cfg     MonitorConfig
	keep    float64
	mu      sync.Mutex
	windows map[uint32]*Window
}

// NewMonitor starts without any impressions.
func NewMonitor(cfg MonitorConfig) (*Monitor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	return &Monitor{cfg: cfg, keep: math.Exp2(-1 / cfg.HalfLife), windows: map[uint32]*Window{}}, nil
}

// Observe counts an impression that a version predicted with p, once it is
// known whether it was clicked. Version 0 is none.
func (m *Monitor) Observe(version uint32, p float64, click bool) {
	if version == 0 || !(p > 0 && p < 1) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.windows[version]
	if w == nil {
		w = new(Window)
		m.windows[version] = w
	}
	w.Add(p, click, m.keep)
}

// Window is what is known of a version; empty for one of which nothing is.
func (m *Monitor) Window(version uint32) Window {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.windows[version]; w != nil {
		return *w
	}
	return Window{}
}

// Judge is the verdict on the live version and on the canary among all
// versions; a version that is not there is not bad.
func (m *Monitor) Judge(all Versions) (live, canary Verdict) {
	of := all.Live()
	if of == nil {
		return live, canary
	}
	window := m.Window(of.Number)
	live = m.cfg.Judge(&window, nil, &of.Metrics)
	if trial := all.Canary(); trial != nil {
		w := m.Window(trial.Number)
		canary = m.cfg.Judge(&w, &window, &trial.Metrics)
	}
	return live, canary
}

// Begin forgets what is known of a version, such as of one that goes into
// service again.
func (m *Monitor) Begin(version uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.windows, version)
}

// Follow has a version take over the score of the one before it, whose last
// impressions still count for both: what is learned goes on from version to
// version, and what the one predicted at its end the next does at its beginning.
func (m *Monitor) Follow(before, version uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.windows[before]
	if w == nil {
		w = new(Window)
		m.windows[before] = w
	}
	m.windows[version] = w
}

// Part ends what [Monitor.Follow] began: a version that shares its score with
// another begins one of its own.
func (m *Monitor) Part(version uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other, w := range m.windows {
		if other != version && w == m.windows[version] {
			delete(m.windows, version)
			return
		}
	}
}

// all are the windows of all versions.
func (m *Monitor) all() map[uint32]Window {
	m.mu.Lock()
	defer m.mu.Unlock()
	windows := make(map[uint32]Window, len(m.windows))
	for number, w := range m.windows {
		windows[number] = *w
	}
	return windows
}

// replace has the monitor know what another does, and nothing else.
func (m *Monitor) replace(windows map[uint32]Window) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.windows)
	for number, w := range windows {
		m.windows[number] = &w
	}
}

// Retain forgets the versions that are not kept.
func (m *Monitor) Retain(kept Versions) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for number := range m.windows {
		if v := kept.Of(number); v == nil || !v.Kept {
			delete(m.windows, number)
		}
	}
}
