package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Attack sends bid requests at fixed times, whether or not answers come back
// (an open loop). Latency counts from the time a request was due, so a bidder
// that stalls is charged for everyone who had to wait, and so is a generator
// that has too few connections.
type Attack struct {
	URL      string // without a path, requests go to /bid/ and their exchange
	Exchange string // for lines that do not name one; empty: generic
	Lines    []Line // sent in order, round and round
	Rate     float64
	Duration time.Duration
	Conns    int

	// Step is added to the rate after each StepEvery.
	Step      float64
	StepEvery time.Duration

	Poisson  bool // random gaps, exponentially distributed; otherwise all alike
	Seed     uint64
	Gzip     bool
	Timeout  time.Duration // after which there is no answer any more; 0: 2 s
	TMax     time.Duration // for requests that do not say one; 0: they are never late
	Progress io.Writer     // a line each second; nil for none
}

// Validate reports every setting that is wrong.
func (a *Attack) Validate() error {
	var errs []error
	if _, err := parseEndpoint(a.URL); err != nil {
		errs = append(errs, err)
	}
	wrong := func(is bool, text string) {
		if is {
			errs = append(errs, errors.New(text))
		}
	}
	wrong(len(a.Lines) == 0, "in: no requests")
	wrong(!(a.Rate > 0 && a.Rate <= 1e7), "rate: must be above 0 and at most ten million")
	wrong(a.Duration <= 0, "duration: must be positive")
	wrong(a.Conns <= 0 || a.Conns > 20_000, "conns: must be 1 to 20000")
	wrong(a.Timeout < 0 || a.TMax < 0, "timeout and tmax: must not be negative")
	wrong(a.Timeout > time.Minute, "timeout: must not be over a minute")
	wrong(a.Step != 0 && a.StepEvery <= 0, "step-every: must be positive")
	return errors.Join(errs...)
}

// schedule says when requests are due.
type schedule struct {
	mu        sync.Mutex
	due       float64 // of the next request, in seconds from the start
	sent      int
	end       float64
	rate      float64
	step      float64
	stepEvery float64
	random    *rand.Rand // nil for equal gaps
}

func (a *Attack) schedule() *schedule {
	s := &schedule{end: a.Duration.Seconds(), rate: a.Rate, step: a.Step, stepEvery: a.StepEvery.Seconds()}
	if a.Poisson {
		s.random = rand.New(rand.NewPCG(a.Seed, 0x6c6f6164))
		s.due = s.gap()
	}
	return s
}

func (s *schedule) gap() float64 {
	gap := 1 / max(s.rateAt(s.due), 1e-3)
	if s.random != nil {
		gap *= s.random.ExpFloat64()
	}
	return gap
}

func (s *schedule) rateAt(due float64) float64 {
	rate := s.rate
	if s.step != 0 {
		rate += s.step * float64(int(due/s.stepEvery))
	}
	return rate
}

// next is the number of the next request and when it is due. It is false
// after the last.
func (s *schedule) next() (number int, due time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due > s.end-1e-9 { // gaps add up with an error
		return 0, 0, false
	}
	number, due = s.sent, time.Duration(s.due*1e9)
	s.sent++
	s.due += s.gap()
	return number, due, true
}

// shot is a request, ready to be written.
type shot struct {
	bytes []byte
	tmax  time.Duration
}

// load makes the bytes of all requests once.
func (a *Attack) load() ([]shot, error) {
	to, err := parseEndpoint(a.URL)
	if err != nil {
		return nil, err
	}
	enc := plain
	if a.Gzip {
		enc = gzipped
	}
	shots := make([]shot, len(a.Lines))
	for i := range a.Lines {
		line := &a.Lines[i]
		to := to.to(line.Exchange, a.Exchange)
		shots[i] = shot{bytes: to.appendRequest(nil, line.Body, enc), tmax: a.TMax}
		if request := readRequest(line.Body); request != nil {
			if ms := request.root.get("tmax").float(); ms > 0 {
				shots[i].tmax = time.Duration(ms * float64(time.Millisecond))
			}
		}
	}
	return shots, nil
}

// Run attacks until the duration is over and the last answer is in, or ctx
// ends; then it reports what came until then.
func (a *Attack) Run(ctx context.Context) (*AttackReport, error) {
	run := *a
	if run.Timeout == 0 {
		run.Timeout = 2 * time.Second
	}
	if err := run.Validate(); err != nil {
		return nil, err
	}
	shots, err := run.load()
	if err != nil {
		return nil, err
	}
	to, _ := parseEndpoint(run.URL) // load parsed it
	gunners := make([]*gunner, 0, run.Conns)
	defer func() {
		for _, g := range gunners {
			g.wire.close()
			g.alarm.close()
		}
	}()
	for range run.Conns {
		g := &gunner{attack: &run, wire: newWire(to), shots: shots}
		if g.alarm, err = newAlarm(); err != nil {
			return nil, err
		}
		gunners = append(gunners, g)
		if err := g.wire.dial(time.Now().Add(run.Timeout)); err != nil {
			return nil, err
		}
	}
	score := newScore(run.Duration)
	plan := run.schedule()
	start := time.Now()
	stop := context.AfterFunc(ctx, func() {
		for _, g := range gunners {
			g.alarm.interrupt()
		}
	})
	var firing sync.WaitGroup
	for _, g := range gunners {
		firing.Go(func() { g.fire(ctx, start, plan, score) })
	}
	done := make(chan struct{})
	var telling sync.WaitGroup
	if run.Progress != nil {
		telling.Go(func() { score.tell(run.Progress, start, done) })
	}
	firing.Wait()
	close(done)
	telling.Wait()
	stop()
	return score.report(&run, time.Since(start)), nil
}

// gunner is one connection and who sends over it.
type gunner struct {
	attack *Attack
	wire   *wire
	alarm  *alarm
	shots  []shot
}

// fire takes the next request that nobody sent yet, waits until it is due and
// sends it. A request that is due while all connections are busy is taken late
// and its latency includes that.
func (g *gunner) fire(ctx context.Context, start time.Time, plan *schedule, score *score) {
	timeout, giveUp := g.attack.Timeout, g.attack.Duration+g.attack.Timeout
	for ctx.Err() == nil {
		number, due, ok := plan.next()
		if !ok {
			return
		}
		now := time.Since(start)
		idle := now < due
		if idle {
			if err := g.alarm.wait(due - now); err != nil {
				return // only after interrupt
			}
			now = time.Since(start)
		} else if now > giveUp {
			score.unsent(due, now-due)
			continue
		}
		s := &g.shots[number%len(g.shots)]
		answer, err := g.wire.do(s.bytes, start.Add(now+timeout))
		latency := time.Since(start) - due
		if err != nil {
			var timeout net.Error
			score.failed(due, latency, errors.As(err, &timeout) && timeout.Timeout(), err)
			continue
		}
		status := answer.status
		bid := status == 200 && (len(answer.contentEncoding) > 0 || bytes.Contains(answer.body, impidKey))
		lag := time.Duration(-1)
		if idle {
			lag = now - due
		}
		score.answered(due, latency, lag, status, bid, s.tmax)
	}
}

var impidKey = []byte(`"impid"`)

// AttackLimits are what a run must hold to pass. A negative or zero value
// where zero makes no sense is not checked.
type AttackLimits struct {
	MaxP99     time.Duration // checked when above 0
	MaxLate    float64       // share of the answers to requests with a tmax; checked when 0 or above
	MinBidRate float64
	MaxErrors  int // checked when 0 or above
}

// Check names every limit that the report does not hold.
func (l AttackLimits) Check(r *AttackReport) error {
	var errs []error
	if p99 := time.Duration(r.P99 * float64(time.Millisecond)); l.MaxP99 > 0 && p99 > l.MaxP99 {
		errs = append(errs, fmt.Errorf("p99 of %v is over %v", p99, l.MaxP99))
	}
	if l.MaxLate >= 0 && r.LateShare > l.MaxLate {
		errs = append(errs, fmt.Errorf("late share of %.4f is over %.4f", r.LateShare, l.MaxLate))
	}
	if r.BidRate < l.MinBidRate {
		errs = append(errs, fmt.Errorf("bid rate of %.4f is under %.4f", r.BidRate, l.MinBidRate))
	}
	if l.MaxErrors >= 0 && r.Errors > l.MaxErrors {
		errs = append(errs, fmt.Errorf("%d errors are over %d", r.Errors, l.MaxErrors))
	}
	return errors.Join(errs...)
}
