package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"bidwell/events"
	"bidwell/rtb"
)

// Batch is a batch of n events that name the writer and the number it has
// among the writer's batches.
func Batch(writer, number, n int) []rtb.Event {
	batch := make([]rtb.Event, n)
	for i := range batch {
		e := &batch[i]
		binary.LittleEndian.PutUint32(e.Bid[0:], uint32(writer))
		binary.LittleEndian.PutUint32(e.Bid[4:], uint32(number))
		binary.LittleEndian.PutUint32(e.Bid[8:], uint32(i))
		e.Type, e.Time, e.Made = rtb.EventBill, Now.Local(), Now.Local().Truncate(time.Millisecond)
		e.LineItem, e.Charge, e.Billing = rtb.LineItemID(writer+1), rtb.Money(number), true
	}
	return batch
}

// BatchName is the writer and the number of a batch made by [Batch].
func BatchName(batch []rtb.Event) (writer, number int) {
	return int(binary.LittleEndian.Uint32(batch[0].Bid[0:])), int(binary.LittleEndian.Uint32(batch[0].Bid[4:]))
}

// Entry is one batch of a log.
type Entry struct {
	Position uint64
	Events   []rtb.Event
}

// ReadLog returns the batches after a position that are there now. It fails
// the test when positions do not grow.
func ReadLog(t *testing.T, log events.Log, after uint64) (entries []Entry) {
	t.Helper()
	last, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last <= after {
		return nil
	}
	errEnd := errors.New("end")
	err = log.Consume(t.Context(), after, func(position uint64, batch []rtb.Event) error {
		if position <= after {
			return fmt.Errorf("position %d after %d", position, after)
		}
		after = position
		entries = append(entries, Entry{position, slices.Clone(batch)})
		if position >= last {
			return errEnd
		}
		return nil
	})
	if err != errEnd {
		t.Fatalf("Consume = %v, want the error of apply", err)
	}
	return entries
}

func appendBatch(t *testing.T, log events.Log, batch []rtb.Event) {
	t.Helper()
	if err := log.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func lastPosition(t *testing.T, log events.Log) uint64 {
	t.Helper()
	last, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// TestLog proves that an engine keeps the promises of events.Log. Each call of
// open closes what the call before has opened, and opens the same log again;
// the first opens an empty one.
func TestLog(t *testing.T, open func(t *testing.T) events.Log) {
	log := open(t)
	t.Run("an empty log has no position", func(t *testing.T) {
		if last := lastPosition(t, log); last != 0 {
			t.Errorf("Last = %d, want 0", last)
		}
	})
	t.Run("order and positions", func(t *testing.T) { testLogOrder(t, log) })
	t.Run("concurrent appends", func(t *testing.T) { testLogConcurrent(t, log) })
	t.Run("what comes later", func(t *testing.T) { testLogFuture(t, log) })
	t.Run("errors of apply", func(t *testing.T) { testLogApplyError(t, log) })
	t.Run("contexts end", func(t *testing.T) { testLogContext(t, log) })
	t.Run("reopened", func(t *testing.T) {
		before := ReadLog(t, log, 0)
		again := open(t)
		sameEntries(t, ReadLog(t, again, 0), before)
		appendBatch(t, again, Batch(9, 1, 3))
		after := ReadLog(t, again, 0)
		sameEntries(t, after[:len(after)-1], before)
		if end := after[len(after)-1]; !slices.Equal(end.Events, Batch(9, 1, 3)) {
			t.Errorf("the batch appended after reopening is %+v", end.Events)
		}
	})
}

func sameEntries(t *testing.T, got, want []Entry) {
	t.Helper()
	same := func(a, b Entry) bool { return a.Position == b.Position && slices.Equal(a.Events, b.Events) }
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("the log has %d batches that differ from the %d before", len(got), len(want))
	}
}

func testLogOrder(t *testing.T, log events.Log) {
	const batches = 30
	for i := range batches {
		appendBatch(t, log, Batch(1, i, 1+i*i))
	}
	entries := ReadLog(t, log, 0)
	if len(entries) != batches {
		t.Fatalf("%d batches, want %d", len(entries), batches)
	}
	for i, entry := range entries {
		if !slices.Equal(entry.Events, Batch(1, i, 1+i*i)) {
			t.Fatalf("batch %d came back as %d events, or others", i, len(entry.Events))
		}
	}
	if last := lastPosition(t, log); last != entries[batches-1].Position {
		t.Errorf("Last = %d, want %d", last, entries[batches-1].Position)
	}
	for i, entry := range entries {
		sameEntries(t, ReadLog(t, log, entry.Position), entries[i+1:])
	}
}

func testLogConcurrent(t *testing.T, log events.Log) {
	const writers, batches = 16, 20
	before := lastPosition(t, log)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range batches {
				if err := log.Append(t.Context(), Batch(w, i, 1+w)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	next := map[int]int{}
	for _, entry := range ReadLog(t, log, before) {
		w, i := BatchName(entry.Events)
		if i != next[w] {
			t.Fatalf("batch %d of writer %d came where %d was due", i, w, next[w])
		}
		if !slices.Equal(entry.Events, Batch(w, i, 1+w)) {
			t.Fatalf("batch %d of writer %d has changed", i, w)
		}
		next[w]++
	}
	for w := range writers {
		if next[w] != batches {
			t.Errorf("%d batches of writer %d, want %d", next[w], w, batches)
		}
	}
}

func testLogFuture(t *testing.T, log events.Log) {
	before := lastPosition(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan int)
	ended := make(chan error)
	for range 2 { // consumers do not know of each other
		go func() {
			ended <- log.Consume(ctx, before, func(_ uint64, batch []rtb.Event) error {
				_, number := BatchName(batch)
				got <- number
				return nil
			})
		}()
	}
	for i := range 10 {
		appendBatch(t, log, Batch(2, i, 5))
		if a, b := <-got, <-got; a != i || b != i {
			t.Fatalf("consumers got batches %d and %d, want %d", a, b, i)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Consume = %v, want that its context was canceled", err)
		}
	}
}

func testLogApplyError(t *testing.T, log events.Log) {
	before := lastPosition(t, log)
	for i := range 5 {
		appendBatch(t, log, Batch(3, i, 2))
	}
	errApply := errors.New("no room in the ledger")
	seen := 0
	err := log.Consume(t.Context(), before, func(position uint64, _ []rtb.Event) error {
		if seen++; seen == 3 {
			return errApply
		}
		before = position
		return nil
	})
	if err != errApply || seen != 3 {
		t.Fatalf("Consume = %v after %d batches, want the error of the third", err, seen)
	}
	if rest := ReadLog(t, log, before); len(rest) != 3 {
		t.Errorf("%d batches after the second, want 3", len(rest))
	}
}

func testLogContext(t *testing.T, log events.Log) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Append(ctx, Batch(4, 0, 1)); err == nil {
		t.Error("Append with an ended context succeeds")
	}
	err := log.Consume(ctx, 0, func(uint64, []rtb.Event) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Consume with an ended context = %v", err)
	}

	// In the midst of many batches it stops as well.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	err = log.Consume(ctx, 0, func(uint64, []rtb.Event) error {
		seen++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || seen != 1 {
		t.Errorf("Consume = %v after %d batches, want the end of its context after 1", err, seen)
	}
}
