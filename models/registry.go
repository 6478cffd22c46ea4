package models

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/rtb"
)

var (
	servedVersion  = metrics.NewGauge("bidwell_model_version", nil)
	modelSwaps     = metrics.NewCounter("bidwell_model_swaps_total")
	modelRollbacks = metrics.NewCounter("bidwell_model_rollbacks_total")
)

// Snapshots keeps versions of models and their files. [rtb.ErrNotFound] is
// wrapped in what the methods return.
type Snapshots interface {
	// ModelRevision grows with every change to any version and is never 0.
	ModelRevision(ctx context.Context) (uint64, error)
	// ModelVersions are those that have changed after a revision, by number, and
	// the revision that they are of.
	ModelVersions(ctx context.Context, since uint64) (changed Versions, revision uint64, err error)
	ModelBody(ctx context.Context, number uint32) ([]byte, error)
	// ChangeModels makes of all versions what change returns, together or, when
	// change fails, not at all.
	ChangeModels(ctx context.Context, change func(all Versions) (Change, error)) error

	// PutPublication keeps what was published in place of what was before, or, if
	// body is nil, keeps that and changes asOf alone. A zero asOf leaves the one
	// that is there.
	PutPublication(ctx context.Context, body []byte, asOf time.Time) error
	// Publication is what was published last. The revision grows with every body
	// and is 0 while there was none. The body is nil if it is still the one of the
	// revision that the caller has.
	Publication(ctx context.Context, have uint64) (body []byte, revision uint64, asOf time.Time, err error)
}

// RegistryConfig sets how a [Registry] follows the store.
type RegistryConfig struct {
	Poll    time.Duration // how often changes are looked for, and versions judged
	Save    time.Duration // how often what is learned while bidding becomes a version
	Monitor MonitorConfig
}

// DefaultRegistry has a promotion take effect in every process within a second
// or two.
func DefaultRegistry() RegistryConfig {
	return RegistryConfig{Poll: time.Second, Save: 15 * time.Minute, Monitor: DefaultMonitor()}
}

// ErrRefused is wrapped in what is returned for a file that is no model which
// this program can use. Nothing has changed then.
var ErrRefused = errors.New("the model is refused")

// maxCompared is how many shadows are kept in memory to be compared, the newest.
const maxCompared = 3

// Registry knows all versions, of which several processes share the store. It
// has the Predictor of this process serve what the store says, and takes a
// version out of service that its Monitor finds bad.
type Registry struct {
	cfg       RegistryConfig
	store     Snapshots
	now       func() time.Time
	predictor *Predictor
	monitor   *Monitor

	mu       sync.Mutex
	revision uint64            // up to which the store has been read
	all      Versions          // that have a body
	loaded   map[uint32]*Model // those that serve or are compared
	broken   map[uint32]error  // those whose body this program cannot use
	compared []*Model          // the shadows
	named    []uint32          // those that arms of experiments predict with, see Name
	served   bool              // the predictor has what the store says, not only a model to begin with

	following following

	accused uint32 // the live version that was complained of last; for Judge alone
}

// NewRegistry makes a registry whose Predictor has the starter model, until
// [Registry.Open].
func NewRegistry(cfg RegistryConfig, store Snapshots, now func() time.Time) (*Registry, error) {
	if cfg.Poll < time.Millisecond || cfg.Poll > 5*time.Second {
		return nil, fmt.Errorf("models: poll: %v: want 1ms to 5s", cfg.Poll)
	}
	if cfg.Save < time.Second {
		return nil, fmt.Errorf("models: save: %v: want 1s or more", cfg.Save)
	}
	monitor, err := NewMonitor(cfg.Monitor)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	first, err := Starter()
	if err != nil {
		return nil, fmt.Errorf("models: starter: %w", err)
	}
	return &Registry{
		cfg: cfg, store: store, now: now, predictor: NewPredictor(first), monitor: monitor,
		loaded: map[uint32]*Model{}, broken: map[uint32]error{},
	}, nil
}

// Predictor is that of this process.
func (r *Registry) Predictor() *Predictor { return r.predictor }

// Monitor is that of this process. It knows what [Registry.Observe] tells it.
func (r *Registry) Monitor() *Monitor { return r.monitor }

// Open puts into service what the store says. In a store without versions the
// starter model becomes the first, or the one in file if there is one; later on
// a file that the store does not have goes live, and stays so whatever is
// learned.
func (r *Registry) Open(ctx context.Context, file []byte) error {
	origin, body := FromFile, file
	if file == nil {
		origin, body = FromStarter, starter
	}
	m, err := usable(body)
	if err != nil {
		return err
	}
	err = r.store.ChangeModels(ctx, func(all Versions) (Change, error) {
		now := r.now()
		if len(all) > 0 && (file == nil || all.same(sha256.Sum256(file)) != nil) {
			return Change{}, nil
		}
		c := r.admit(all, newVersion(Version{Origin: origin}, m, body, now), false, body, now)
		added := &c.Put[len(c.Put)-1]
		if live := all.Live(); file != nil && live != nil {
			former := *live
			former.become(Retired, now)
			added.become(Live, now)
			added.Before, added.Pinned = live.Number, true
			c.Put = slices.Insert(c.Put, 0, former)
		}
		return c, nil
	})
	if err != nil {
		return err
	}
	return r.Refresh(ctx)
}

// usable reads a model as bidders do.
func usable(body []byte) (*Model, error) {
	m, err := ReadModel(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return m, nil
}

func newVersion(v Version, m *Model, body []byte, now time.Time) Version {
	if v.Metrics == (Metrics{}) {
		v.Metrics = m.Clicks.Metrics()
	}
	if v.Created.IsZero() {
		v.Created = now
	}
	v.Size, v.SHA256 = int64(len(body)), sha256.Sum256(body)
	return v
}

// same is the version with a body of this hash that is kept, or nil.
func (v Versions) same(hash [32]byte) *Version {
	return v.last(func(x *Version) bool { return x.Kept && x.SHA256 == hash })
}

// admit adds a version and drops what is old.
func (r *Registry) admit(all Versions, next Version, fit bool, body []byte, now time.Time) Change {
	changed := all.Admit(next, fit, now)
	after := slices.Clone(all)
	for _, c := range changed {
		if known := after.Of(c.Number); known != nil {
			*known = c
		} else {
			after = append(after, c)
		}
	}
	bodies, gone := after.Old(now)
	last := len(changed) - 1
	put := append(slices.Clone(changed[:last]), bodies...)
	return Change{Put: append(put, changed[last]), Body: body, Drop: gone}
}

// Save adds a version with its body. The origin must be set; metrics that are
// not are those in the body. It is a shadow, unless it was learned while bidding
// and may take the place of the live version, see [Versions.Admit]. A file that
// is there already is not added again. [ErrRefused] says that the body is of no
// use.
func (r *Registry) Save(ctx context.Context, v Version, body []byte) (saved Version, added bool, err error) {
	m, err := usable(body)
	if err != nil {
		return Version{}, false, err
	}
	now := r.now()
	v = newVersion(v, m, body, now)
	err = r.store.ChangeModels(ctx, func(all Versions) (Change, error) {
		if known := all.same(v.SHA256); known != nil && v.Origin != FromLearner {
			saved = *known
			return Change{}, nil
		}
		c := r.admit(all, v, r.fit(all, &v.Metrics), body, now)
		saved, added = c.Put[len(c.Put)-1], true
		return c, nil
	})
	if err != nil {
		return Version{}, false, err
	}
	if added { // need not be read once more
		m.Version = saved.Number
		r.mu.Lock()
		r.loaded[saved.Number] = m
		r.mu.Unlock()
	}
	if err := r.Refresh(ctx); err != nil {
		return saved, added, err
	}
	if now, err := r.Version(ctx, saved.Number); err == nil {
		saved = now
	}
	return saved, added, nil
}

// Learn takes in what the learner of this process knows by now, with how good
// its predictions have been. Now and then it becomes a version; the first as soon
// as it is fit to serve. While the last such version is live, or the one that it
// all began with, and nobody has chosen it, what is learned since serves in its
// name in this process at once.
func (r *Registry) Learn(ctx context.Context, m *Model, metrics Metrics) error {
	r.mu.Lock()
	all := r.all
	if as := r.learned(); as != nil {
		fresh := *m
		fresh.Version = as.Number
		r.serveLearned(&fresh)
	}
	last := all.last(func(v *Version) bool { return v.Origin == FromLearner })
	now := r.now()
	r.mu.Unlock()
	if last == nil && !r.fit(all, &metrics) || last != nil && now.Sub(last.Created) < r.cfg.Save {
		return nil
	}
	var file bytes.Buffer
	if err := m.Write(&file); err != nil {
		return err
	}
	_, _, err := r.Save(ctx, Version{Origin: FromLearner, Metrics: metrics}, file.Bytes())
	return err
}

// Base is what a learner begins with that learns from the whole log: what was
// live before anything of that was learned.
func (r *Registry) Base(ctx context.Context) (*Model, error) {
	all, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	of := all.Live()
	for range all {
		if of == nil || of.Origin != FromLearner {
			break
		}
		of = all.Of(of.Before)
	}
	if of != nil && of.Origin != FromLearner && of.Kept {
		m, err := r.Model(ctx, of.Number)
		if err == nil || !errors.Is(err, ErrRefused) {
			return m, err
		}
	}
	return Starter()
}

// fit reports whether what is learned may take the place of the live version:
// it has seen enough, is calibrated, and knows about as much as the live one
// does in service or, while that is not known, did in its training, or, where
// its training was another, more than the mean.
func (r *Registry) fit(all Versions, m *Metrics) bool {
	cfg := &r.cfg.Monitor
	if float64(m.Clicks) < cfg.Clicks || !(m.Calibration >= cfg.Least && m.Calibration <= cfg.Most) {
		return false
	}
	most := 1.0
	if live := all.Live(); live != nil {
		window := r.monitor.Window(live.Number)
		if predicted, clicks := window.promised(); max(predicted, clicks) >= cfg.Clicks {
			if ne, _ := window.NE(); ne > 0 {
				most = ne
			}
		} else if live.Origin == FromLearner && live.Metrics.NE() > 0 {
			most = live.Metrics.NE()
		}
	}
	return m.NE() <= most*(1+cfg.Worse)
}

// Match refuses a version that is not as the caller expects it; nil refuses
// none.
type Match func(*Version) error

// Promote makes a version live, and it stays so whatever is learned.
func (r *Registry) Promote(ctx context.Context, number uint32, match Match) (Version, error) {
	return r.apply(ctx, number, match, true, func(all Versions, now time.Time) (Versions, error) {
		return all.Promote(number, true, now)
	})
}

// PromoteLearned makes the last version live that was learned while bidding,
// and lets those that follow take its place. While there is none, the live one
// lets them.
func (r *Registry) PromoteLearned(ctx context.Context) (Version, error) {
	all, _, err := r.store.ModelVersions(ctx, 0)
	if err != nil {
		return Version{}, err
	}
	of := all.last(func(v *Version) bool { return v.Origin == FromLearner && v.Kept && v.Status != RolledBack })
	if of == nil {
		of = all.Live()
	}
	if of == nil {
		return Version{}, fmt.Errorf("no version: %w", rtb.ErrNotFound)
	}
	return r.apply(ctx, of.Number, nil, true, func(all Versions, now time.Time) (Versions, error) {
		return all.Promote(of.Number, false, now)
	})
}

// Try makes a version the canary for a share of the users.
func (r *Registry) Try(ctx context.Context, number uint32, share Share, match Match) (Version, error) {
	return r.apply(ctx, number, match, true, func(all Versions, now time.Time) (Versions, error) {
		return all.Try(number, share, now)
	})
}

// Rollback takes the live version or the canary out of service. What was live
// before the live one comes back. It stays whatever is learned, unless it was a
// person who had chosen the one that leaves.
func (r *Registry) Rollback(ctx context.Context, number uint32, reason string, match Match) (Version, error) {
	return r.apply(ctx, number, match, false, func(all Versions, now time.Time) (Versions, error) {
		return all.Rollback(number, reason, true, now)
	})
}

// Retire takes a shadow or the canary out of the comparison.
func (r *Registry) Retire(ctx context.Context, number uint32, match Match) (Version, error) {
	return r.apply(ctx, number, match, false, func(all Versions, now time.Time) (Versions, error) {
		return all.Retire(number, now)
	})
}

// apply changes versions by a rule. What is going to serve must be of use to
// this program.
func (r *Registry) apply(ctx context.Context, number uint32, match Match, serves bool, rule func(Versions, time.Time) (Versions, error)) (Version, error) {
	if serves {
		if err := r.check(ctx, number); err != nil {
			return Version{}, err
		}
	}
	err := r.store.ChangeModels(ctx, func(all Versions) (Change, error) {
		of := all.Of(number)
		if of == nil {
			return Change{}, unknownVersion(number)
		}
		if match != nil {
			if err := match(of); err != nil {
				return Change{}, err
			}
		}
		changed, err := rule(all, r.now())
		return Change{Put: changed}, err
	})
	if err != nil {
		return Version{}, err
	}
	if err := r.Refresh(ctx); err != nil {
		return Version{}, err
	}
	return r.Version(ctx, number)
}

// check reads the body of a version, unless that has been done.
func (r *Registry) check(ctx context.Context, number uint32) error {
	r.mu.Lock()
	known, broken := r.loaded[number], r.broken[number]
	r.mu.Unlock()
	if known != nil || broken != nil {
		return broken
	}
	body, err := r.store.ModelBody(ctx, number)
	switch {
	case errors.Is(err, rtb.ErrNotFound):
		return nil // the rule says whether it is unknown or only its body gone
	case err != nil:
		return err
	}
	_, err = usable(body)
	return err
}

// List are all versions, by number.
func (r *Registry) List(ctx context.Context) (Versions, error) {
	all, _, err := r.store.ModelVersions(ctx, 0)
	return all, err
}

// Version is one of them.
func (r *Registry) Version(ctx context.Context, number uint32) (Version, error) {
	all, err := r.List(ctx)
	if err != nil {
		return Version{}, err
	}
	v := all.Of(number)
	if v == nil {
		return Version{}, unknownVersion(number)
	}
	return *v, nil
}

// Body is the file of a version.
func (r *Registry) Body(ctx context.Context, number uint32) ([]byte, error) {
	return r.store.ModelBody(ctx, number)
}

// Model is a version as bidders read it. [ErrRefused] says that this program
// cannot use it.
func (r *Registry) Model(ctx context.Context, number uint32) (*Model, error) {
	r.mu.Lock()
	m := r.loaded[number]
	r.mu.Unlock()
	if m != nil {
		return m, nil
	}
	body, err := r.store.ModelBody(ctx, number)
	if err != nil {
		return nil, err
	}
	if m, err = usable(body); err != nil {
		return nil, err
	}
	m.Version = number
	return m, nil
}

// Problem is why this process cannot use a version that should serve or be
// compared; nil when it can, or need not.
func (r *Registry) Problem(number uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken[number]
}

// Serves reports whether this process predicts with a version.
func (r *Registry) Serves(number uint32) bool {
	return r.predictor.serving.Load().version(number) != nil
}

// Observe tells the monitor of an impression, once it is known whether it was
// clicked: of the version that predicted it, and of every shadow, which is asked
// now.
func (r *Registry) Observe(e *Lesson) {
	r.mu.Lock()
	of, shadows := r.loaded[e.Model], r.compared
	r.mu.Unlock()
	p := float64(e.CTR)
	if p == 0 && of == nil && len(shadows) == 0 {
		return
	}
	hashes := e.Features.Append(make([]uint32, 0, rtb.MaxFeatures))
	if p == 0 && of != nil { // its price needed no prediction, but that can be made up for
		p = of.ClickRate(e.Campaign, hashes)
	}
	r.monitor.Observe(e.Model, p, e.Clicked)
	for _, m := range shadows {
		if m.Version == e.Model {
			continue // an arm predicts with it
		}
		r.monitor.Observe(m.Version, m.ClickRate(e.Campaign, hashes), e.Clicked)
	}
}
