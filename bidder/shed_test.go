package bidder

import (
	"math"
	"runtime/metrics"
	"testing"
	"time"
)

func TestLimiterKeepsTheRate(t *testing.T) {
	var l limiter
	start := time.Unix(1_900_000_000, 0)
	count := func(from, to time.Duration) (allowed int) {
		for at := from; at < to; at += 100 * time.Microsecond { // 10,000 a second ask
			if l.allow(start.Add(at), 1000) {
				allowed++
			}
		}
		return allowed
	}
	if n := count(0, time.Second); n < 1000 || n > 1101 {
		t.Errorf("first second: %d allowed, want 1000 and a burst of a tenth", n)
	}
	if n := count(time.Second, 2*time.Second); n < 999 || n > 1001 {
		t.Errorf("second second: %d allowed, want 1000", n)
	}
	if n := count(time.Hour, time.Hour+time.Second); n < 1000 || n > 1101 {
		t.Errorf("after a pause: %d allowed, want 1000 and a burst", n)
	}
	if !l.allow(start, 0) {
		t.Error("a rate of 0 limits")
	}
}

func TestShedderFollowsTheDelay(t *testing.T) {
	s := shedder{maxDelay: 10 * time.Millisecond}
	share := func() float64 { // of a thousand evenly spread random numbers
		shed := 0
		for i := range uint64(1000) {
			if s.shed(i * (math.MaxUint64 / 1000)) {
				shed++
			}
		}
		return float64(shed) / 1000
	}
	if share() != 0 {
		t.Fatal("sheds without delay")
	}
	for range 20 {
		s.adjust(time.Second)
	}
	if got := share(); math.Abs(got-0.95) > 0.002 {
		t.Errorf("share after long delay = %g, want 0.95", got)
	}
	for range 60 {
		s.adjust(time.Millisecond)
	}
	if got := share(); got != 0 {
		t.Errorf("share after recovery = %g, want 0", got)
	}
}

func TestDelayQuantile(t *testing.T) {
	h := &metrics.Float64Histogram{
		Buckets: []float64{0, 0.001, 0.010, math.Inf(1)},
		Counts:  []uint64{1000, 90, 20},
	}
	before := []uint64{1000, 0, 10}
	if got := delayQuantile(h, before, 0.5); got != 10*time.Millisecond {
		t.Errorf("median = %s, want 10ms: what was counted before does not count", got)
	}
	if got := delayQuantile(h, before, 0.99); got != 10*time.Millisecond {
		t.Errorf("p99 = %s, want the lower bound of the last bucket", got)
	}
	if got := delayQuantile(h, h.Counts, 0.9); got != 0 {
		t.Errorf("quantile of nothing = %s, want 0", got)
	}
}
