package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// learnedUntil says up to when this process knows all that happened.
var learnedUntil atomic.Pointer[func() time.Time]

var _ = metrics.NewGauge("bidwell_learned_age_seconds", func() float64 {
	if until := learnedUntil.Load(); until != nil {
		if at := (*until)(); !at.IsZero() {
			return time.Since(at).Seconds()
		}
	}
	return math.NaN()
})

// showAge has the metric show the age of what is known.
func showAge(until func() time.Time) { learnedUntil.Store(&until) }

// watch notes up to when all that happened is learned, until ctx ends: all that
// was in the log when it looked, once that is learned.
func (l *learning) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	caughtUp := sync.OnceFunc(func() { close(l.caughtUp) })
	for wait := false; ; wait = true {
		if wait {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		asked := time.Now()
		last, err := l.log.Events().Last(ctx)
		if err != nil {
			continue // the consumer says so
		}
		for l.position() < last {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		l.learned.Store(asked.UnixNano())
		caughtUp()
	}
}

// learnedUntil is up to when all that happened is learned; zero for never.
func (l *learning) learnedUntil() time.Time { return instant(l.learned.Load()) }

// confirmedUntil is the same, of what bidders have.
func (l *learning) confirmedUntil() time.Time { return instant(l.confirmed.Load()) }

func instant(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// maxBehind is how old what bidders get may be before something is wrong.
const maxBehind = 30 * time.Second

// ready says why bidders do not get what there is to learn.
func (l *learning) ready() error {
	switch until := l.confirmedUntil(); {
	case until.IsZero():
		return errors.New("what happened before the start is not learned yet")
	case time.Since(until) > maxBehind:
		return fmt.Errorf("what happened since %s is not learned, or does not reach the bidders", until.UTC().Format(time.RFC3339))
	}
	return nil
}
