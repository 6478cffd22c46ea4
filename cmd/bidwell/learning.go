package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	modelSwaps         = metrics.NewCounter("bidwell_model_swaps_total")
	learningTime       = metrics.NewHistogram("bidwell_model_publish_seconds")
)

// learning is the consumer of the log that learns from it and hands the bidder
// what it has learned, every now and then.
type learning struct {
	every time.Duration // between two models

	mu      sync.Mutex // of the learner
	learner *models.Learner
	told    models.LearnerStats // what the metrics know
	refit   time.Time           // when the corrections are fitted anew, in the time of the log
}

// openLearning starts from what the bidder begins with.
func (s *server) openLearning() error {
	if !s.cfg.Learn.On {
		return nil
	}
	cfg := models.DefaultLearner()
	cfg.Bits, cfg.ClickWait, cfg.Keep = s.cfg.Learn.Bits, s.cfg.Learn.ClickWait, s.cfg.Learn.Keep
	learner, err := models.NewLearner(cfg, s.bidder.Predictor.Model())
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	s.learning = &learning{every: s.cfg.Learn.Every, learner: learner}
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
	publishing.Go(func() { l.publish(done, s) })
	defer publishing.Wait()
	defer close(done)
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

// publish hands over a model whenever there is something new.
func (l *learning) publish(done <-chan struct{}, s *server) {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if m := l.model(s.clock.Now()); m != nil {
			m.Version = s.bidder.Predictor.Model().Version
			s.bidder.Predictor.Swap(m)
			modelSwaps.Inc()
		}
	}
}

// refitEvery is how often the corrections are fitted anew.
const refitEvery = 6 * time.Hour

// model is what has been learned, nil when there was nothing since the last.
func (l *learning) model(now time.Time) *models.Model {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := l.learner.Stats()
	if stats == l.told {
		return nil
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
		slog.Info("corrections fitted anew", "impressions", m.Rows, "clicks", m.Clicks, "ne", m.NE(), "calibration", m.Calibration)
	}
	m := l.learner.Model()
	learningTime.UpdateDuration(begun)
	return m
}

// checkLearning reports every setting that is wrong.
func (c *config) checkLearning() error {
	cfg := models.DefaultLearner()
	cfg.Bits, cfg.ClickWait, cfg.Keep = c.Learn.Bits, c.Learn.ClickWait, c.Learn.Keep
	var errs []error
	if c.Learn.Every < 10*time.Millisecond || c.Learn.Every > time.Hour {
		errs = append(errs, errors.New("learn.every: must be from 10ms to 1h"))
	}
	if err := cfg.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("learn: %w", err))
	}
	return errors.Join(errs...)
}
