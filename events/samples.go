package events

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/rtb"
)

var (
	samplesKept    = metrics.NewCounter("bidwell_samples_total")
	samplesDropped = metrics.NewCounter("bidwell_samples_dropped_total")
)

// SamplesConfig sets how Samples gathers events. The zero value is usable.
type SamplesConfig struct {
	Room  int           // events kept in memory, rounded up to a power of two; 16384 when zero
	Batch int           // most events in one batch; 4096 when zero
	Every time.Duration // how often batches are written; 200 ms when zero
}

// Samples puts events into a log that may lose some. It never makes its caller
// wait: what comes too fast for the log is dropped and counted.
type Samples struct {
	log Log
	cfg SamplesConfig

	// A ring after Vyukov. A slot is free for the event of number n when its
	// turn is n, and holds it when its turn is n+1.
	slots []slot
	mask  uint64
	tail  atomic.Uint64 // number of the next event offered
	_     [56]byte
	head  uint64 // number of the next event taken; Run's
}

type slot struct {
	turn  atomic.Uint64
	event rtb.Event
}

// NewSamples makes Samples for log. It writes nothing until it runs.
func NewSamples(log Log, cfg SamplesConfig) *Samples {
	if cfg.Room <= 0 {
		cfg.Room = 16384
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 4096
	}
	if cfg.Every <= 0 {
		cfg.Every = 200 * time.Millisecond
	}
	room := uint64(1)
	for room < uint64(cfg.Room) {
		room *= 2
	}
	s := &Samples{log: log, cfg: cfg, slots: make([]slot, room), mask: room - 1}
	for i := range s.slots {
		s.slots[i].turn.Store(uint64(i))
	}
	return s
}

// Offer copies e, or drops it when there is no room. It takes no lock, does
// not allocate and may be called concurrently.
func (s *Samples) Offer(e *rtb.Event) {
	n := s.tail.Load()
	for {
		slot := &s.slots[n&s.mask]
		turn := slot.turn.Load()
		switch {
		case turn == n:
			if s.tail.CompareAndSwap(n, n+1) {
				slot.event = *e
				slot.turn.Store(n + 1)
				return
			}
			n = s.tail.Load()
		case turn < n: // still holds the event of a round ago
			samplesDropped.Inc()
			return
		default: // another caller was faster
			n = s.tail.Load()
		}
	}
}

// take moves events to batch until that is full.
func (s *Samples) take(batch []rtb.Event) []rtb.Event {
	for len(batch) < cap(batch) {
		slot := &s.slots[s.head&s.mask]
		if slot.turn.Load() != s.head+1 {
			break
		}
		batch = append(batch, slot.event)
		slot.turn.Store(s.head + s.mask + 1)
		s.head++
	}
	return batch
}

// Run writes batches until ctx ends, then what is left, and returns. A batch
// that the log does not take is lost.
func (s *Samples) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.Every)
	defer ticker.Stop()
	batch := make([]rtb.Event, 0, s.cfg.Batch)
	for done := false; !done; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			done = true
		}
		for full := true; full; full = len(batch) == cap(batch) {
			if batch = s.take(batch[:0]); len(batch) > 0 {
				s.write(ctx, batch)
			}
		}
	}
	return nil
}

func (s *Samples) write(ctx context.Context, batch []rtb.Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.log.Append(ctx, batch) != nil {
		samplesDropped.Add(len(batch))
		return
	}
	samplesKept.Add(len(batch))
}
