package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/nats"
)

var (
	learnedImpressions = metrics.NewCounter("bidwell_learned_impressions_total")
	learnedClicks      = metrics.NewCounter("bidwell_learned_clicks_total")
	learnedConversions = metrics.NewCounter("bidwell_learned_conversions_total")
	learnedPairs       = metrics.NewGauge("bidwell_learned_pairs", nil)
	learningTime       = metrics.NewHistogram("bidwell_model_publish_seconds")
)

// learning is the consumer of the log that learns from it and hands the bidder
// what it has learned, every now and then. What it knows is kept in a file with
// its position in the log; without the file it learns from the whole log again.
type learning struct {
	lock  io.Closer     // of learning in the data folder
	every time.Duration // between two models
	path  string        // of the file

	log       *nats.Store
	models    *models.Registry
	now       func() time.Time
	publishes bool   // for bidders that are other processes
	held      uint64 // the position up to which they know all already

	mu      sync.Mutex // of the learner
	learner *models.Learner
	told    models.LearnerStats // what the metrics know
	saved   uint64              // position that is in the file
	refit   time.Time           // when the corrections are fitted anew, in the time of the log

	unpublished bool          // what is known; for the one who publishes
	trouble     string        // why, when it failed; likewise
	caughtUp    chan struct{} // closed once all is learned that happened before the start
	learned     atomic.Int64  // up to when all that happened is learned, in nanoseconds; zero for never
	confirmed   atomic.Int64  // up to when bidders know that they have it
}

// publishEvery is how often bidders that are other processes get what was
// learned, at most: all of it goes through the disk each time.
const publishEvery = 2 * time.Second

// learnOrFollow has this process learn, or bid by what another one learns.
func (s *server) learnOrFollow(ctx context.Context) error {
	if !s.cfg.Learn.On {
		showAge(s.models.AsOf)
		return s.models.Follow(ctx, s.bidder.Shader, s.bidder.Creatives)
	}
	lock, err := lockLearning(s.cfg.Data)
	if err != nil {
		return err
	}
	l := &learning{lock: lock, every: s.cfg.Learn.Every}
	s.learning = l
	if !s.cfg.Simulated.IsZero() {
		l.every = min(l.every, 100*time.Millisecond) // in which simulated minutes may pass
	}
	if err := l.open(ctx, &s.cfg, s.books.log, s.models.Registry, &s.exchanges, s.clock.Now); err != nil {
		return err
	}
	showAge(l.learnedUntil)
	s.bidder.Shader, s.bidder.Creatives = l.learner.Shader, l.learner.Creatives // nobody bids yet
	return nil
}

// open goes on from what was written down, or starts from what bidders began
// with.
func (l *learning) open(ctx context.Context, cfg *config, log *nats.Store, registry *models.Registry, known *exchanges, now func() time.Time) error {
	l.log, l.models, l.now, l.path = log, registry, now, filepath.Join(cfg.Data, "learner")
	l.caughtUp = make(chan struct{})
	set := cfg.learner()
	state, err := os.ReadFile(l.path)
	switch {
	case err == nil:
		if l.learner, err = models.RestoreLearner(set, state); err != nil {
			slog.Warn("learning starts again from the beginning of the log", "file", l.path, "cause", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("learn: %w", err)
	}
	if l.learner == nil {
		base, err := registry.Base(ctx)
		if err != nil {
			return fmt.Errorf("learn: %w", err)
		}
		if l.learner, err = models.NewLearner(set, base); err != nil {
			return fmt.Errorf("learn: %w", err)
		}
	} else {
		l.saved, l.told = l.learner.Position(), l.learner.Stats()
		if err := registry.Learn(ctx, l.learner.Model(), l.learner.Metrics()); err != nil {
			return fmt.Errorf("learn: %w", err)
		}
	}
	if l.learner.Shader == nil {
		if l.learner.Shader, err = models.NewShader(models.DefaultShaderConfig()); err != nil {
			return fmt.Errorf("learn: %w", err)
		}
	}
	if l.learner.Creatives == nil {
		l.learner.Creatives = models.NewCreatives()
	}
	rates := rtb.NewRates(cfg.Account, cfg.Rates)
	l.learner.Convert = func(price rtb.Money, c rtb.Currency) rtb.Money {
		converted, _ := rates.ToAccount(price, c)
		return converted
	}
	l.learner.Silent = known.silent
	l.learner.Labelled = registry.Observe
	if !l.publishes {
		return nil
	}
	l.unpublished = true // since the start
	return l.holdBack(ctx)
}

// holdBack finds out what bidders know already. One that was killed has written
// down less, and what they have stays until it has learned the rest again.
func (l *learning) holdBack(ctx context.Context) error {
	published, err := l.models.Published(ctx)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	last, err := l.log.Events().Last(ctx)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	l.held = min(published, last) // what was published may be of a log that is gone
	return nil
}

// close lets others learn. It may be called on nil, where learning is off.
func (l *learning) close() error {
	if l == nil {
		return nil
	}
	return l.lock.Close()
}

// run follows the log until ctx ends. It may be called on nil, where learning is
// off.
func (l *learning) run(ctx context.Context) error {
	if l == nil {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { l.publish(ctx) })
	beside.Go(func() { l.watch(ctx) })
	defer func() {
		stop()
		beside.Wait()
		if err := l.save(); err != nil {
			slog.Error("what was learned is not saved", "cause", err)
		}
	}()
	after, err := l.log.Samples().Last(ctx) // what was sampled before has no wins to come
	if err != nil {
		return err
	}
	var sampling sync.WaitGroup
	defer sampling.Wait()
	sampling.Go(func() {
		_ = follow(ctx, "learner of samples", l.log.Samples(), func() (uint64, error) { return after, nil }, func(position uint64, batch []rtb.Event) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.learner.Sample(batch)
			after = position
			return nil
		})
	})
	return follow(ctx, "learner", l.log.Events(), func() (uint64, error) { return l.position(), nil },
		func(position uint64, batch []rtb.Event) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.learner.Apply(position, batch)
		})
}

func (l *learning) position() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.learner.Position()
}

// saveEvery is how often what was learned is saved. What was learned since is
// learned again from the log.
const saveEvery = time.Minute

// publish hands over what is new, at first as soon as that is all, and saves now
// and then.
func (l *learning) publish(ctx context.Context) {
	tick, save := time.NewTicker(l.every), time.NewTicker(saveEvery)
	defer tick.Stop()
	defer save.Stop()
	caughtUp := l.caughtUp
	for {
		select {
		case <-ctx.Done():
			return
		case <-save.C:
			if err := l.save(); err != nil {
				slog.Error("what was learned is not saved", "cause", err)
			}
			continue
		case <-caughtUp:
			caughtUp = nil
		case <-tick.C:
		}
		l.handOver(ctx)
	}
}

// handOver hands over what is new since the last time.
func (l *learning) handOver(ctx context.Context) {
	learned := l.learned.Load() // before the model is made, which has it all
	p, metrics := l.model(l.now(), l.publishes && (l.unpublished || l.models.Outdated()))
	if p != nil {
		if err := l.models.Learn(ctx, p.Model, metrics); err != nil && ctx.Err() == nil {
			slog.Error("what was learned does not become a version", "cause", err)
		}
	}
	if !l.publishes {
		return
	}
	var err error
	switch until := instant(learned); {
	case p != nil && p.Position < l.held:
		l.unpublished = true
		return
	case p != nil:
		err = l.models.Publish(ctx, p, until)
		l.unpublished = err != nil
	case learned > l.confirmed.Load():
		err = l.models.Confirm(ctx, until)
	}
	switch {
	case err == nil:
		l.confirmed.Store(learned)
		if l.trouble != "" {
			l.trouble = ""
			slog.Info("what is learned reaches the bidders again")
		}
	case ctx.Err() == nil && err.Error() != l.trouble:
		l.trouble = err.Error()
		slog.Error("what was learned does not reach the bidders", "cause", err)
	}
}

// save writes down what is known.
func (l *learning) save() error {
	l.mu.Lock()
	position := l.learner.Position()
	if position == l.saved {
		l.mu.Unlock()
		return nil
	}
	state := l.learner.AppendState(nil)
	l.mu.Unlock()
	if err := replaceFile(l.path, state); err != nil {
		return err
	}
	l.saved = position // the only one who saves
	return nil
}

// refitEvery is how often the corrections are fitted anew.
const refitEvery = 6 * time.Hour

// model is what has been learned, with the rest of what bidders in other
// processes need, and how good its predictions were; nil when there was nothing
// since the last, unless that is wanted again.
func (l *learning) model(now time.Time, again bool) (*models.Publication, models.Metrics) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := l.learner.Stats()
	if stats == l.told && !again {
		return nil, models.Metrics{}
	}
	begun := time.Now()
	learnedImpressions.AddInt64(int64(stats.Impressions - l.told.Impressions))
	learnedClicks.AddInt64(int64(stats.Clicks - l.told.Clicks))
	learnedConversions.AddInt64(int64(stats.Conversions - l.told.Conversions))
	l.told = stats
	if l.refit.IsZero() {
		l.refit = now.Add(refitEvery)
	}
	if now.After(l.refit) {
		l.learner.Refit()
		l.refit = now.Add(refitEvery)
		m := l.learner.Metrics()
		slog.Info("corrections fitted anew", "impressions", m.Rows, "clicks", m.Clicks, "ne", m.NE(), "calibration", m.Calibration, "pairs", l.learner.Paired())
	}
	p := &models.Publication{Position: l.learner.Position(), Model: l.learner.Model()}
	learnedPairs.Set(0)
	if p.Model.Pairs != nil {
		learnedPairs.Set(1)
	}
	l.learner.Publish()
	if l.publishes {
		p.Shader = l.learner.Shader.Append(nil)
		p.Creatives, _ = l.learner.Creatives.MarshalBinary() // never fails
	}
	learningTime.UpdateDuration(begun)
	return p, l.learner.Metrics()
}

func (c *config) learner() models.LearnerConfig {
	cfg := models.DefaultLearner()
	cfg.Bits, cfg.PairBits, cfg.ClickWait, cfg.Keep = c.Learn.Bits, c.Learn.Pairs, c.Learn.ClickWait, c.Learn.Keep
	return cfg
}

// checkLearning reports every setting that is wrong.
func (c *config) checkLearning() error {
	var errs []error
	if c.Learn.Every < 10*time.Millisecond || c.Learn.Every > time.Hour {
		errs = append(errs, errors.New("learn.every: must be from 10ms to 1h"))
	}
	if err := c.learner().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("learn: %w", err))
	}
	return errors.Join(errs...)
}
