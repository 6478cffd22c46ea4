package events

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bidwell/rtb"
)

func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &slowLog{}
		s := NewSamples(log, SamplesConfig{Room: 100, Batch: 50, Every: time.Second}) // room for 128
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()

		dropped, next := samplesDropped.Get(), uint32(0)
		offer := func(n int) {
			for range n {
				s.Offer(&rtb.Event{Node: next})
				next++
			}
		}
		for range 5 { // around the ring
			offer(100)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := samplesDropped.Get() - dropped; n != 0 {
			t.Errorf("%d samples dropped while there was room", n)
		}
		offer(200) // 72 too many
		if n := samplesDropped.Get() - dropped; n != 72 {
			t.Errorf("%d samples dropped, want 72", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		if len(log.ids) != 628 || !slices.IsSorted(log.ids) || slices.Max(log.sizes) != 50 {
			t.Errorf("%d samples in the log in batches of %d, want the first 628 in order, in batches of 50", len(log.ids), slices.Max(log.sizes))
		}
	})
}

func TestSamplesCountsWhatTheLogRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSamples(&slowLog{fails: 1}, SamplesConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dropped, kept := samplesDropped.Get(), samplesKept.Get()
		s.Offer(&rtb.Event{})
		s.Run(ctx)
		s.Offer(&rtb.Event{})
		s.Run(ctx)
		if d, k := samplesDropped.Get()-dropped, samplesKept.Get()-kept; d != 1 || k != 1 {
			t.Errorf("%d samples dropped and %d kept, want one each", d, k)
		}
	})
}

// Offered from many goroutines while batches are taken, each event arrives
// once or is counted.
func TestSamplesConcurrently(t *testing.T) {
	const callers, each = 8, 5000
	log := &slowLog{}
	s := NewSamples(log, SamplesConfig{Room: 64, Batch: 16, Every: time.Microsecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	dropped := samplesDropped.Get()
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				s.Offer(&rtb.Event{Node: uint32(c*each + i), Cost: rtb.Money(c*each + i)})
			}
		})
	}
	all.Wait()
	cancel()
	<-ended
	arrived := len(log.ids)
	slices.Sort(log.ids)
	if n := len(slices.Compact(log.ids)); n != arrived {
		t.Errorf("%d of %d samples are repeats", arrived-n, arrived)
	}
	if n := arrived + int(samplesDropped.Get()-dropped); n != callers*each {
		t.Errorf("%d samples arrived or were counted as dropped, want %d", n, callers*each)
	}
}

func TestOfferDoesNotAllocate(t *testing.T) {
	s := NewSamples(&slowLog{}, SamplesConfig{Room: 64})
	var e rtb.Event
	if allocs := testing.AllocsPerRun(200, func() { s.Offer(&e) }); allocs != 0 {
		t.Errorf("Offer allocates %v times, want 0", allocs)
	}
}

func BenchmarkOffer(b *testing.B) {
	s := NewSamples(&slowLog{}, SamplesConfig{})
	var e rtb.Event
	batch := make([]rtb.Event, 0, 4096)
	for n := 0; b.Loop(); n++ {
		if s.Offer(&e); n%4096 == 0 {
			s.take(batch)
		}
	}
}
