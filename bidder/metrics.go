package bidder

import (
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/rtb"
)

// exchangeCounters are the counters of one exchange. They live as long as the
// process, so that an edited profile goes on with the same ones.
type exchangeCounters struct {
	requests, bids, bad, shed *metrics.Counter
}

func newExchangeCounters(name string) *exchangeCounters {
	counter := func(metric string) *metrics.Counter {
		return metrics.GetOrCreateCounter(fmt.Sprintf("bidwell_%s_total{exchange=%q}", metric, name))
	}
	return &exchangeCounters{counter("bid_requests"), counter("bids"), counter("bad_requests"), counter("shed")}
}

var (
	noBids = func() (c [rtb.NoBidCount]*metrics.Counter) {
		for reason := range c {
			if rtb.NoBid(reason) == rtb.BidMade {
				continue
			}
			c[reason] = metrics.NewCounter(fmt.Sprintf("bidwell_no_bids_total{reason=%q}", rtb.NoBid(reason)))
		}
		return c
	}()
	panics      = metrics.NewCounter("bidwell_panics_total")
	bidDuration = newDurations("bidwell_bid_duration_seconds")
)

// durations is a histogram that takes no lock: one atomic counter for every
// power of two of microseconds, from 1 us to about half a second.
type durations struct {
	name    string
	buckets [21]atomic.Uint64
	sum     atomic.Int64
}

func newDurations(name string) *durations {
	d := &durations{name: name}
	metrics.RegisterMetricsWriter(d.write)
	return d
}

// observe counts one duration.
func (d *durations) observe(v time.Duration) {
	i := min(bits.Len64(uint64(max(v, 0)/time.Microsecond)), len(d.buckets)-1)
	d.buckets[i].Add(1)
	d.sum.Add(int64(v))
}

// write prints the histogram in the Prometheus text format.
func (d *durations) write(w io.Writer) {
	var total uint64
	for i := range d.buckets {
		total += d.buckets[i].Load()
		if i < len(d.buckets)-1 {
			fmt.Fprintf(w, "%s_bucket{le=\"%g\"} %d\n", d.name, float64(uint64(1)<<i)/1e6, total)
		}
	}
	fmt.Fprintf(w, "%s_bucket{le=\"+Inf\"} %d\n", d.name, total)
	fmt.Fprintf(w, "%s_sum %g\n%s_count %d\n", d.name, time.Duration(d.sum.Load()).Seconds(), d.name, total)
}
