package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/models"
	"bidwell/rtb"
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
	every time.Duration // between two models
	path  string        // of the file

	mu      sync.Mutex // of the learner
	learner *models.Learner
	told    models.LearnerStats // what the metrics know
	saved   uint64              // position that is in the file
	refit   time.Time           // when the corrections are fitted anew, in the time of the log
}

// openLearning starts from what the bidder began with.
func (s *server) openLearning(ctx context.Context) error {
	if !s.cfg.Learn.On {
		return nil
	}
	cfg := s.cfg.learner()
	l := &learning{every: s.cfg.Learn.Every, path: filepath.Join(s.cfg.Data, "learner")}
	state, err := os.ReadFile(l.path)
	switch {
	case err == nil:
		if l.learner, err = models.RestoreLearner(cfg, state); err != nil {
			slog.Warn("learning starts again from the beginning of the log", "file", l.path, "cause", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("learn: %w", err)
	}
	if l.learner == nil {
		base, err := s.models.Base(ctx)
		if err != nil {
			return fmt.Errorf("learn: %w", err)
		}
		if l.learner, err = models.NewLearner(cfg, base); err != nil {
			return fmt.Errorf("learn: %w", err)
		}
	} else {
		l.saved, l.told = l.learner.Position(), l.learner.Stats()
		if err := s.models.Learn(ctx, l.learner.Model(), l.learner.Metrics()); err != nil {
			return fmt.Errorf("learn: %w", err)
		}
	}
	if l.learner.Shader == nil {
		l.learner.Shader = s.bidder.Shader
	}
	if l.learner.Creatives == nil {
		l.learner.Creatives = s.bidder.Creatives
	}
	s.bidder.Shader, s.bidder.Creatives = l.learner.Shader, l.learner.Creatives // nobody bids yet
	l.learner.Convert = s.convert
	l.learner.Silent = func(id rtb.ExchangeID) bool {
		ex := s.bidder.Exchange(id)
		return ex != nil && !ex.Form.LURL
	}
	l.learner.Labelled = s.models.Observe
	s.learning = l
	if !s.cfg.Simulated.IsZero() {
		s.learning.every = min(s.learning.every, 100*time.Millisecond) // in which simulated minutes may pass
	}
	return nil
}

// learn follows the log until ctx ends.
func (s *server) learn(ctx context.Context) error {
	l := s.learning
	if l == nil {
		return nil
	}
	done := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() { l.publish(ctx, done, s) })
	defer func() {
		close(done)
		publishing.Wait()
		if err := l.save(); err != nil {
			slog.Error("what was learned is not saved", "cause", err)
		}
	}()
	after, err := s.books.log.Samples().Last(ctx) // what was sampled before has no wins to come
	if err != nil {
		return err
	}
	var sampling sync.WaitGroup
	defer sampling.Wait()
	sampling.Go(func() {
		follow(ctx, "learner of samples", s.books.log.Samples(), func() (uint64, error) { return after, nil }, func(position uint64, batch []rtb.Event) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.learner.Sample(batch)
			after = position
			return nil
		})
	})
	return follow(ctx, "learner", s.books.log.Events(), func() (uint64, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.learner.Position(), nil
	}, func(position uint64, batch []rtb.Event) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.learner.Apply(position, batch)
	})
}

// saveEvery is how often what was learned is saved. What was learned since is
// learned again from the log.
const saveEvery = time.Minute

// publish hands over a model whenever there is something new, and saves now and
// then.
func (l *learning) publish(ctx context.Context, done <-chan struct{}, s *server) {
	tick, save := time.NewTicker(l.every), time.NewTicker(saveEvery)
	defer tick.Stop()
	defer save.Stop()
	for {
		select {
		case <-done:
			return
		case <-save.C:
			if err := l.save(); err != nil {
				slog.Error("what was learned is not saved", "cause", err)
			}
			continue
		case <-tick.C:
		}
		if m, metrics := l.model(s.clock.Now()); m != nil {
			if err := s.models.Learn(ctx, m, metrics); err != nil && ctx.Err() == nil {
				slog.Error("what was learned does not become a version", "cause", err)
			}
		}
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

// model is what has been learned, and how good its predictions were; nil when
// there was nothing since the last.
func (l *learning) model(now time.Time) (*models.Model, models.Metrics) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := l.learner.Stats()
	if stats == l.told {
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
	m := l.learner.Model()
	learnedPairs.Set(0)
	if m.Pairs != nil {
		learnedPairs.Set(1)
	}
	l.learner.Publish()
	learningTime.UpdateDuration(begun)
	return m, l.learner.Metrics()
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
