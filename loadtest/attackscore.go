package loadtest

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// AttackReport is what an attack measured. Latencies are in milliseconds, from
// the time a request was due; timeouts and requests that were never sent count
// with the time they waited.
type AttackReport struct {
	URL       string      `json:"url"`
	Rate      float64     `json:"rate"`
	Conns     int         `json:"conns"`
	Seconds   float64     `json:"seconds"`
	Scheduled int         `json:"scheduled"`
	Answers   int         `json:"answers"`
	Achieved  float64     `json:"achieved"` // answers each second
	Statuses  map[int]int `json:"statuses"`
	Bids      int         `json:"bids"`
	BidRate   float64     `json:"bid_rate"` // of all requests
	Late      int         `json:"late"`     // answers after their request's tmax, and requests without one in time
	LateShare float64     `json:"late_share"`
	Errors    int         `json:"errors"` // no answer, or a status other than 200 and 204
	Timeouts  int         `json:"timeouts"`
	Unsent    int         `json:"unsent"` // never sent, because all connections were busy until after the end
	LastError string      `json:"last_error,omitempty"`

	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`

	// LagP99 is how late the generator itself sent when a connection was
	// free. Where it is near P99, the generator was measured, not the bidder.
	LagP99 float64 `json:"generator_lag_p99_ms"`

	Series []AttackSecond  `json:"series"`
	Curve  []AttackPercent `json:"curve"`
}

// AttackSecond is one second of an attack, by when its requests were due.
type AttackSecond struct {
	Second    int     `json:"second"`
	Scheduled int     `json:"scheduled"`
	Bids      int     `json:"bids"`
	Errors    int     `json:"errors"`
	Late      int     `json:"late"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

// AttackPercent is one point of the distribution of latency.
type AttackPercent struct {
	Percent float64 `json:"percent"`
	Millis  float64 `json:"ms"`
}

// score collects what happens. One lock is enough: it is held for less than a
// tenth of what a request costs.
type score struct {
	mu        sync.Mutex
	latency   *hdrhistogram.Histogram // in microseconds
	lag       *hdrhistogram.Histogram
	seconds   []second
	statuses  [1000]int
	scheduled int
	answers   int
	bids      int
	judged    int // requests with a tmax
	late      int
	errors    int
	timeouts  int
	never     int
	lastError string
}

type second struct {
	latency                       *hdrhistogram.Histogram
	scheduled, bids, errors, late int
}

// maxLatency is the longest that is told apart, in microseconds.
const maxLatency = int64(10 * time.Minute / time.Microsecond)

func newScore(duration time.Duration) *score {
	return &score{
		latency: hdrhistogram.New(1, maxLatency, 3),
		lag:     hdrhistogram.New(1, maxLatency, 3),
		seconds: make([]second, int((duration+time.Second-1)/time.Second)),
	}
}

func micros(d time.Duration) int64 { return min(max(int64(d/time.Microsecond), 1), maxLatency) }

// begin counts one request and returns its second. The lock is held.
func (s *score) begin(due, latency time.Duration) *second {
	s.scheduled++
	at := &s.seconds[min(int(due/time.Second), len(s.seconds)-1)]
	at.scheduled++
	if at.latency == nil {
		at.latency = hdrhistogram.New(1, maxLatency, 2)
	}
	// Within the range by construction, so there is no error to look at.
	s.latency.RecordValue(micros(latency))
	at.latency.RecordValue(micros(latency))
	return at
}

// answered counts an answer. lag is how late it was sent over a free
// connection, below zero when none was free.
func (s *score) answered(due, latency, lag time.Duration, status int, bid bool, tmax time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.begin(due, latency)
	s.answers++
	s.statuses[status%len(s.statuses)]++
	if lag >= 0 {
		s.lag.RecordValue(micros(lag))
	}
	if bid {
		s.bids++
		at.bids++
	}
	if tmax > 0 {
		s.judged++
		if latency > tmax {
			s.late++
			at.late++
		}
	}
	if status != 200 && status != 204 {
		s.errors++
		at.errors++
	}
}

// failed counts a request without an answer.
func (s *score) failed(due, latency time.Duration, timeout bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.begin(due, latency)
	s.errors++
	at.errors++
	s.judged++
	s.late++
	at.late++
	if timeout {
		s.timeouts++
	}
	s.lastError = err.Error()
}

// unsent counts a request that there was no connection for until it was too late.
func (s *score) unsent(due, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.begin(due, waited)
	s.never++
	s.errors++
	at.errors++
	s.judged++
	s.late++
	at.late++
}

// tell writes a line each second until done.
func (s *score) tell(w io.Writer, start time.Time, done <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	before, bidsBefore := 0, 0
	for {
		select {
		case <-done:
			return
		case now := <-ticker.C:
			s.mu.Lock()
			answers, bids, errs, late := s.answers, s.bids, s.errors, s.late
			p50, p99 := s.latency.ValueAtQuantile(50), s.latency.ValueAtQuantile(99)
			s.mu.Unlock()
			fmt.Fprintf(w, "%4.0fs %7d answers/s %7d bids/s  p50 %.2f ms  p99 %.2f ms  %d late  %d errors\n",
				now.Sub(start).Seconds(), answers-before, bids-bidsBefore, float64(p50)/1000, float64(p99)/1000, late, errs)
			before, bidsBefore = answers, bids
		}
	}
}

func (s *score) report(a *Attack, took time.Duration) *AttackReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := func(h *hdrhistogram.Histogram, percent float64) float64 {
		return float64(h.ValueAtQuantile(percent)) / 1000
	}
	r := &AttackReport{
		URL: a.URL, Rate: a.Rate, Conns: a.Conns, Seconds: took.Seconds(),
		Scheduled: s.scheduled, Answers: s.answers, Achieved: float64(s.answers) / took.Seconds(), Statuses: map[int]int{},
		Bids: s.bids, Late: s.late, Errors: s.errors, Timeouts: s.timeouts, Unsent: s.never, LastError: s.lastError,
		Mean: s.latency.Mean() / 1000, P50: ms(s.latency, 50), P90: ms(s.latency, 90), P99: ms(s.latency, 99),
		P999: ms(s.latency, 99.9), Max: float64(s.latency.Max()) / 1000, LagP99: ms(s.lag, 99),
		Series: []AttackSecond{}, Curve: []AttackPercent{},
	}
	for status, n := range s.statuses {
		if n > 0 {
			r.Statuses[status] = n
		}
	}
	if s.scheduled > 0 {
		r.BidRate = float64(s.bids) / float64(s.scheduled)
	}
	if s.judged > 0 {
		r.LateShare = float64(s.late) / float64(s.judged)
	}
	for i := range s.seconds {
		at := &s.seconds[i]
		if at.latency == nil {
			continue
		}
		r.Series = append(r.Series, AttackSecond{
			Second: i, Scheduled: at.scheduled, Bids: at.bids, Errors: at.errors, Late: at.late,
			P50: ms(at.latency, 50), P90: ms(at.latency, 90), P99: ms(at.latency, 99), Max: float64(at.latency.Max()) / 1000,
		})
	}
	for _, percent := range []float64{0, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97, 98, 99, 99.5, 99.7, 99.9, 99.95, 99.99, 99.999, 100} {
		r.Curve = append(r.Curve, AttackPercent{percent, ms(s.latency, percent)})
	}
	return r
}

// WriteText prints the report for people.
func (r *AttackReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests due in %.1f s at %.0f/s over %d connections: %d answers, %.0f/s\n",
		r.Scheduled, r.Seconds, r.Rate, r.Conns, r.Answers, r.Achieved)
	fmt.Fprintf(&b, "latency from the time due: p50 %.3f ms, p90 %.3f, p99 %.3f, p99.9 %.3f, max %.3f, mean %.3f\n",
		r.P50, r.P90, r.P99, r.P999, r.Max, r.Mean)
	fmt.Fprintf(&b, "of which the generator's own lag: p99 %.3f ms\n", r.LagP99)
	for _, status := range sortedKeys(r.Statuses) {
		fmt.Fprintf(&b, "  %d  %d\n", status, r.Statuses[status])
	}
	fmt.Fprintf(&b, "bids %d (%.1f %%), late %d (%.2f %%), errors %d: %d timeouts, %d never sent\n",
		r.Bids, 100*r.BidRate, r.Late, 100*r.LateShare, r.Errors, r.Timeouts, r.Unsent)
	if r.LastError != "" {
		fmt.Fprintf(&b, "last error: %s\n", r.LastError)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
