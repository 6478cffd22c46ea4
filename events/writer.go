package events

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/rtb"
)

// Errors of [Writer.Write]. After any but ErrBusy and ErrStopped the event may
// or may not be part of the log, or may become part of it later.
var (
	ErrBusy    = errors.New("too many events wait for the log")
	ErrLate    = errors.New("the log did not take the event in time")
	ErrStopped = errors.New("the writer of the log has stopped")
)

var (
	logBatches = metrics.NewCounter("bidwell_log_batches_total")
	logEvents  = metrics.NewCounter("bidwell_log_events_total")
	logErrors  = metrics.NewCounter("bidwell_log_append_errors_total")
	logBusy    = metrics.NewCounter("bidwell_log_busy_total")
	logLate    = metrics.NewCounter("bidwell_log_late_total")
	logCommit  = metrics.NewHistogram("bidwell_log_commit_seconds")
)

// WriterConfig sets how a Writer gathers events. The zero value is usable.
type WriterConfig struct {
	Batch   int // most events in one batch; 4096 when zero
	Waiting int // most events that wait, those on their way included; 16384 when zero
}

// Writer puts events into a log and waits for them to be durable. While one
// batch is on its way to the disk the next one gathers, so the cost of a disk
// write is shared by all who wait for it: the more wait, the larger the batch.
type Writer struct {
	log    Log
	cfg    WriterConfig
	timers sync.Pool
	wake   chan struct{} // holds one token when the queue is no longer empty

	left    []rtb.Event  // a batch that the log did not take, Run's
	failing atomic.Int64 // since when it takes none, Unix nanoseconds; zero when it does

	mu      sync.Mutex
	queue   []*group // the last one still gathers
	waiting int      // events in the queue and on their way
	spare   []rtb.Event
	stopped bool
}

// group is the events of one batch and those who wait for them.
type group struct {
	batch    []rtb.Event
	deadline time.Time     // the latest of all
	done     chan struct{} // closed when err is final
	err      error
}

// NewWriter makes a Writer for log. It writes nothing until it runs.
func NewWriter(log Log, cfg WriterConfig) *Writer {
	if cfg.Batch <= 0 {
		cfg.Batch = 4096
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = 16384
	}
	w := &Writer{log: log, cfg: cfg, wake: make(chan struct{}, 1)}
	w.timers.New = func() any { return time.NewTimer(time.Hour) }
	return w
}

// Write returns nil once e is durable in the log. It copies e, and waits until
// deadline at most. It may be called concurrently.
func (w *Writer) Write(e *rtb.Event, deadline time.Time) error {
	g, err := w.join(e, deadline)
	if err != nil {
		return err
	}
	timer := w.timers.Get().(*time.Timer)
	timer.Reset(time.Until(deadline))
	select {
	case <-g.done:
		err = g.err
	case <-timer.C:
		logLate.Inc()
		err = ErrLate
	}
	timer.Stop()
	w.timers.Put(timer)
	return err
}

// join adds e to the group that gathers.
func (w *Writer) join(e *rtb.Event, deadline time.Time) (*group, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil, ErrStopped
	}
	if w.waiting >= w.cfg.Waiting {
		logBusy.Inc()
		return nil, ErrBusy
	}
	if n := len(w.queue); n == 0 || len(w.queue[n-1].batch) >= w.cfg.Batch {
		w.queue = append(w.queue, &group{batch: w.spare, done: make(chan struct{})})
		w.spare = nil
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	g := w.queue[len(w.queue)-1]
	g.batch = append(g.batch, *e)
	if deadline.After(g.deadline) {
		g.deadline = deadline
	}
	w.waiting++
	return g, nil
}

// Failing is for how long the log has taken nothing of what was brought to it;
// zero when it takes what comes.
func (w *Writer) Failing() time.Duration {
	if since := w.failing.Load(); since != 0 {
		return max(1, time.Since(time.Unix(0, since)))
	}
	return 0
}

// leftPause is how long a batch rests that the log did not take.
const leftPause = time.Second

// Run writes batches until ctx ends, then what still waits, and returns. From
// then on Write refuses; so ctx should end after those who call it.
//
// While the log fails, one batch that it did not take is brought to it again
// and again, although nobody waits for it any more: it is how Run finds out
// that the log is well again when nobody calls Write.
func (w *Writer) Run(ctx context.Context) error {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for ctx.Err() == nil {
		if w.left != nil {
			again.Reset(leftPause)
		}
		select {
		case <-w.wake:
			w.writeAll(ctx)
		case <-again.C:
			w.writeLeft(ctx)
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.writeAll(ctx)
	w.writeLeft(context.WithoutCancel(ctx))
	return nil
}

// writeAll writes groups until none is left. The end of ctx does not stop it:
// each event has its deadline.
func (w *Writer) writeAll(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.mu.Unlock()
			return
		}
		g := w.queue[0]
		w.queue = append(w.queue[:0], w.queue[1:]...)
		w.mu.Unlock()

		g.err = w.commit(ctx, g)
		close(g.done)

		keep := g.err != nil && w.left == nil
		if keep {
			w.left = g.batch
		}
		w.mu.Lock()
		w.waiting -= len(g.batch)
		if !keep {
			w.spare = g.batch[:0]
		}
		w.mu.Unlock()
		if g.err == nil && w.left != nil {
			w.writeLeft(ctx)
		}
	}
}

// writeLeft brings the batch that was left to the log.
func (w *Writer) writeLeft(ctx context.Context) {
	if w.left == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leftPause)
	defer cancel()
	if w.append(ctx, w.left) == nil {
		w.left = nil
	}
}

// append brings a batch to the log, once.
func (w *Writer) append(ctx context.Context, batch []rtb.Event) error {
	err := w.log.Append(ctx, batch)
	if err != nil {
		logErrors.Inc()
		w.failing.CompareAndSwap(0, time.Now().UnixNano())
		return err
	}
	w.failing.Store(0)
	logBatches.Inc()
	logEvents.Add(len(batch))
	return nil
}

// commit appends the batch of g, again and again while that fails and anyone
// waits for it. So a batch may be in the log twice, which its consumers bear.
func (w *Writer) commit(ctx context.Context, g *group) error {
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, g.deadline)
	defer cancel()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if ctx.Err() != nil {
			return ErrLate
		}
		err := w.append(ctx, g.batch)
		if err == nil {
			logCommit.UpdateDuration(start)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("append %d events to the log: %w", len(g.batch), err)
		case <-time.After(pause):
		}
	}
}
