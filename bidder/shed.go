package bidder

import (
	"context"
	"math"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// limiter lets through at most a number of requests a second, evenly, with a
// burst of a tenth of a second. It is the generic cell rate algorithm (ITU-T
// I.371) on one atomic word.
type limiter struct {
	next atomic.Int64 // when the next request is due, in nanoseconds
}

// allow reports whether a request at now is within rate requests a second.
func (l *limiter) allow(now time.Time, rate int) bool {
	if rate <= 0 {
		return true
	}
	gap, burst := int64(time.Second)/int64(rate), int64(time.Second)/10
	at := now.UnixNano()
	for {
		next := l.next.Load()
		if next-at > burst {
			return false
		}
		if l.next.CompareAndSwap(next, max(next, at)+gap) {
			return true
		}
	}
}

// shedder turns away a share of the requests while they have to wait for a
// processor: late answers help nobody, and cost those that could be in time.
// What it watches is how long the runtime's goroutines wait to run.
type shedder struct {
	maxDelay time.Duration
	share    atomic.Uint64 // of 2^32
	seen     atomic.Int64  // requests in this interval
}

// shed reports whether to turn away the request with the given random number.
func (s *shedder) shed(coin uint64) bool {
	s.seen.Add(1)
	return coin>>32 < s.share.Load()
}

// While fewer than shedBelow requests come in an interval, it is not they who
// make others wait, and shedding them would not help.
const (
	shedInterval = 100 * time.Millisecond
	shedBelow    = 100
)

// run adjusts the share until ctx ends.
func (s *shedder) run(ctx context.Context) {
	ticker := time.NewTicker(shedInterval)
	defer ticker.Stop()
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	var before []uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		h := sample[0].Value.Float64Histogram()
		delay := time.Duration(0)
		if before != nil && s.seen.Swap(0) >= shedBelow {
			delay = delayQuantile(h, before, 0.9)
		}
		s.adjust(delay)
		before = append(before[:0], h.Counts...)
	}
}

// adjust raises the share quickly while requests wait too long, and lowers it
// slowly afterwards.
func (s *shedder) adjust(delay time.Duration) {
	share := float64(s.share.Load()) / (1 << 32)
	if delay > s.maxDelay {
		share = min(0.95, share+0.05+share/4)
	} else {
		share = max(0, share-0.02)
	}
	s.share.Store(uint64(share * (1 << 32)))
}

// delayQuantile is the q-quantile of what h counted since before.
func delayQuantile(h *metrics.Float64Histogram, before []uint64, q float64) time.Duration {
	var total, sum uint64
	for i, n := range h.Counts {
		total += n - before[i]
	}
	for i, n := range h.Counts {
		sum += n - before[i]
		if sum > 0 && float64(sum) >= q*float64(total) {
			if upper := h.Buckets[i+1]; !math.IsInf(upper, 1) {
				return time.Duration(upper * float64(time.Second))
			}
			return time.Duration(h.Buckets[i] * float64(time.Second))
		}
	}
	return 0
}
