package events

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bidwell/rtb"
)

// slowLog keeps batches in memory and takes a while for each.
type slowLog struct {
	takes time.Duration
	mu    sync.Mutex
	fails int // so many appends fail first
	sizes []int
	ids   []uint32 // Event.Node of all
}

var errDisk = errors.New("disk is full")

func (l *slowLog) Append(ctx context.Context, batch []rtb.Event) error {
	select {
	case <-time.After(l.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails > 0 {
		l.fails--
		return errDisk
	}
	l.sizes = append(l.sizes, len(batch))
	for i := range batch {
		l.ids = append(l.ids, batch[i].Node)
	}
	return nil
}

func (l *slowLog) Consume(context.Context, uint64, func(uint64, []rtb.Event) error) error {
	return errors.New("nobody reads here")
}

func (l *slowLog) Last(context.Context) (uint64, error) { return uint64(len(l.sizes)), nil }

// running starts a Writer within a bubble; stop ends it and waits.
func running(t *testing.T, log Log, cfg WriterConfig) (w *Writer, stop func()) {
	w = NewWriter(log, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	return w, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// write calls Write for n new events at once and returns the errors.
func write(w *Writer, first, n int, wait time.Duration) (results chan error) {
	results = make(chan error, n)
	for i := range n {
		go func() {
			results <- w.Write(&rtb.Event{Node: uint32(first + i)}, time.Now().Add(wait))
		}()
	}
	return results
}

func expect(t *testing.T, results chan error, want error) {
	t.Helper()
	for range cap(results) {
		if err := <-results; !errors.Is(err, want) {
			t.Errorf("Write = %v, want %v", err, want)
		}
	}
}

func TestWriterGathersWhileOneIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{takes: 10 * time.Millisecond}
		w, stop := running(t, log, WriterConfig{Batch: 50})
		start := time.Now()
		first := write(w, 0, 1, time.Second)
		synctest.Wait() // the first is on its way
		rest := write(w, 1, 119, time.Second)
		expect(t, first, nil)
		if took := time.Since(start); took != log.takes {
			t.Errorf("the first took %v, want %v", took, log.takes)
		}
		expect(t, rest, nil)
		if took := time.Since(start); took != 4*log.takes {
			t.Errorf("all took %v, want %v", took, 4*log.takes)
		}
		stop()
		if !slices.Equal(log.sizes, []int{1, 50, 50, 19}) {
			t.Errorf("batches of %v, want 1, 50, 50 and 19", log.sizes)
		}
		slices.Sort(log.ids)
		if len(slices.Compact(log.ids)) != 120 {
			t.Error("some events are missing, others twice")
		}
	})
}

func TestWriterIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := running(t, &slowLog{takes: 10 * time.Millisecond}, WriterConfig{Batch: 4, Waiting: 10})
		first := write(w, 0, 10, time.Second)
		synctest.Wait()
		expect(t, write(w, 10, 1, time.Second), ErrBusy)
		expect(t, first, nil)
		expect(t, write(w, 11, 10, time.Second), nil) // there is room again
		stop()
	})
}

func TestWriterTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{fails: 3}
		w, stop := running(t, log, WriterConfig{})
		expect(t, write(w, 0, 5, time.Second), nil)
		stop()
		if len(log.ids) != 5 {
			t.Errorf("%d events in the log, want 5", len(log.ids))
		}
	})
}

func TestWriterGivesUpAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{fails: 1 << 30}
		w, stop := running(t, log, WriterConfig{})
		start := time.Now()
		err := w.Write(&rtb.Event{}, start.Add(200*time.Millisecond))
		if !errors.Is(err, ErrLate) && !errors.Is(err, errDisk) {
			t.Errorf("Write = %v, want ErrLate or the error of the log", err)
		}
		if took := time.Since(start); took != 200*time.Millisecond {
			t.Errorf("Write took %v, want 200ms", took)
		}

		// The one who has less time goes first, and the log works again for the
		// others.
		short := write(w, 1, 1, 100*time.Millisecond)
		long := write(w, 2, 1, time.Hour)
		synctest.Wait()
		expect(t, short, ErrLate)
		log.mu.Lock()
		log.fails = 0
		log.mu.Unlock()
		expect(t, long, nil)
		stop()
	})
}

// A log that hangs must not take a later event down with an earlier one.
func TestWriterSkipsWhatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{takes: 150 * time.Millisecond}
		w, stop := running(t, log, WriterConfig{})
		first := write(w, 0, 1, 100*time.Millisecond) // too short for the log
		synctest.Wait()
		second := write(w, 1, 1, 50*time.Millisecond) // over before its turn
		third := func() chan error { time.Sleep(60 * time.Millisecond); return write(w, 2, 1, time.Second) }()
		expect(t, first, ErrLate)
		expect(t, second, ErrLate)
		expect(t, third, nil)
		stop()
	})
}

func TestWriterFlushesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{takes: 10 * time.Millisecond}
		w, stop := running(t, log, WriterConfig{Batch: 3})
		results := write(w, 0, 10, time.Second)
		synctest.Wait()
		stop()
		if len(log.ids) != 10 {
			t.Errorf("%d events in the log, want 10", len(log.ids))
		}
		expect(t, results, nil)
		if err := w.Write(&rtb.Event{}, time.Now().Add(time.Second)); err != ErrStopped {
			t.Errorf("Write after the end = %v, want ErrStopped", err)
		}
	})
}

// An event waits until its Writer runs.
func TestWriterBeforeItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{}
		w := NewWriter(log, WriterConfig{})
		results := write(w, 0, 3, time.Second)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		expect(t, results, nil)
	})
}

// What the log did not take is brought to it until it does, also when nobody
// calls any more: so it is known when the log is well again.
func TestWriterFindsOutThatTheLogIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{fails: 1 << 30}
		w, stop := running(t, log, WriterConfig{})
		if d := w.Failing(); d != 0 {
			t.Errorf("Failing = %v before the first event", d)
		}
		for i := range 3 { // only the first batch is kept
			if err := w.Write(&rtb.Event{Node: uint32(1 + i)}, time.Now().Add(200*time.Millisecond)); err == nil {
				t.Fatal("a log that fails has taken an event")
			}
		}
		time.Sleep(time.Minute)
		if d := w.Failing(); d < time.Minute {
			t.Errorf("Failing = %v after more than a minute", d)
		}
		log.mu.Lock()
		log.fails = 0
		log.mu.Unlock()
		time.Sleep(2 * leftPause)
		if d := w.Failing(); d != 0 || len(log.ids) != 1 {
			t.Errorf("Failing = %v, %d events in the log, want none and 1", d, len(log.ids))
		}
		expect(t, write(w, 7, 1, time.Second), nil)
		stop()
		if !slices.Equal(log.ids, []uint32{1, 7}) {
			t.Errorf("events %v, want 1 and 7", log.ids)
		}
	})
}
