package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// CrashConfig sets a run of the market during which the bidder is killed, over
// and over again.
type CrashConfig struct {
	Bidwell   string   // path of the program
	Settings  []string // more of them for `bidwell serve`
	Data      string   // folder for what it keeps, and for its log; empty: a temporary one, removed at the end
	Documents string   // file for `bidwell apply`
	Kills     int
	Hold      time.Duration // how long a bid holds its money; longer than notices are late, or they find none
	Lease     time.Duration // how long budgets are leased, in simulated time
	Exchange  ExchangeConfig
	Progress  io.Writer // nil means none
}

// Validate reports every setting that is wrong, not only the first.
func (c CrashConfig) Validate() error {
	var errs []error
	if c.Exchange.Auctions <= 0 {
		errs = append(errs, errors.New("auctions: must be known, to spread the kills over them"))
	}
	if c.Kills < 0 || c.Kills > c.Exchange.Auctions {
		errs = append(errs, errors.New("kills: must be between 0 and the number of auctions"))
	}
	if c.Documents == "" {
		errs = append(errs, errors.New("file: no documents, so nobody would bid"))
	}
	return errors.Join(errs...)
}

// CrashReport is what [Crash] saw.
type CrashReport struct {
	Kills    int     `json:"kills"`
	Notices  int     `json:"notices"`      // that the bidder took, so its log has as many
	ReadyP50 float64 `json:"ready_p50_ms"` // from the start of a killed bidder to ready
	ReadyMax float64 `json:"ready_max_ms"`

	// Whether the books are the same after one more kill at the end, and after
	// the bidder was asked to stop; and how long it took for that.
	Survived  bool       `json:"books_survive_kill"`
	Stopped   bool       `json:"books_survive_stop"`
	StopTook  float64    `json:"stop_ms"`
	Scorecard *Scorecard `json:"scorecard"`
}

func (r *CrashReport) String() string {
	same := map[bool]string{true: "the same", false: "DIFFERENT"}
	return fmt.Sprintf(`%scrash        killed %d times during %d notices; ready again after %.0f ms (median), %.0f ms at most
crash        books after one more kill: %s; after a stop of %.0f ms: %s
`, r.Scorecard, r.Kills, r.Notices, r.ReadyP50, r.ReadyMax, same[r.Survived], r.StopTook, same[r.Stopped])
}

// Check reports what a crash must not do: answer with an error of the server,
// be ready again only after longer than ready, or change the books.
func (r *CrashReport) Check(ready time.Duration) error {
	var errs []error
	if slowest := time.Duration(r.ReadyMax * float64(time.Millisecond)); ready > 0 && slowest > ready {
		errs = append(errs, fmt.Errorf("ready %v after a start, want at most %v", slowest, ready))
	}
	if !r.Survived {
		errs = append(errs, errors.New("the books differ after a kill"))
	}
	if !r.Stopped {
		errs = append(errs, errors.New("the books differ after a stop"))
	}
	for problem, n := range r.Scorecard.Errors {
		if strings.HasPrefix(problem, "status-5") {
			errs = append(errs, fmt.Errorf("%d answers with %s", n, problem))
		}
	}
	return errors.Join(errs...)
}

// Crash runs the market against a bidder of its own that is killed without
// warning (SIGKILL) at random moments and started again on the same data. The
// scorecard then says whether any money was lost or booked twice.
func Crash(ctx context.Context, cfg CrashConfig) (_ *CrashReport, err error) {
	v, err := newVictim(&cfg)
	if err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.prepare(ctx); err != nil {
		return nil, err
	}
	report := &CrashReport{}
	if err := v.market(ctx, cfg.Exchange, report); err != nil {
		return nil, err
	}
	for _, n := range report.Scorecard.Notices {
		report.Notices += n.Sent - n.Failed
	}
	return report, v.survive(ctx, report)
}

// victim is the bidder that is killed.
type victim struct {
	cfg        CrashConfig
	dir        string
	bid, admin string
	api        *adminAPI
	cmd        *exec.Cmd
	exited     chan struct{}
	failure    error        // of the process, once it has exited
	now        atomic.Int64 // simulated, Unix milliseconds
	killed     atomic.Int64 // when it was last, in real time, Unix nanoseconds
	ready      []float64    // milliseconds of every start after a kill
}

// newVictim is a bidder on addresses of its own, that is not yet started. It
// completes the settings.
func newVictim(cfg *CrashConfig) (*victim, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Exchange.Start.IsZero() {
		cfg.Exchange.Start = DefaultStart
	}
	cfg.Exchange.SimulatedTime = true
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	v := &victim{dir: cfg.Data, bid: addresses[0], admin: addresses[1], api: newAdminAPI("http://" + addresses[1])}
	cfg.Exchange.URL, cfg.Exchange.Admin = "http://"+v.bid, "http://"+v.admin
	v.cfg = *cfg
	v.now.Store(cfg.Exchange.Start.UnixMilli())
	if v.dir != "" {
		return v, os.MkdirAll(v.dir, 0o700)
	}
	v.dir, err = os.MkdirTemp("", "bidwell-crash-")
	return v, err
}

// close ends the bidder and removes what was temporary.
func (v *victim) close() error {
	v.kill()
	v.api.close()
	if v.cfg.Data != "" {
		return nil
	}
	return os.RemoveAll(v.dir)
}

// prepare starts the bidder with the documents. A start reads them at once,
// where a running bidder looks for changes once in a while.
func (v *victim) prepare(ctx context.Context) error {
	if err := v.start(ctx); err != nil {
		return err
	}
	if err := command(ctx, v.cfg.Bidwell, "apply", "--admin", "http://"+v.admin, "-f", v.cfg.Documents); err != nil {
		return err
	}
	v.kill()
	return v.start(ctx)
}

// market plays it, with the kills.
func (v *victim) market(ctx context.Context, cfg ExchangeConfig, report *CrashReport) error {
	due := make(chan struct{}, 1)
	cfg.Watch = v.watch(due)
	cfg.Restarted = func() time.Time { return time.Unix(0, v.killed.Load()) }
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		var err error
		report.Scorecard, err = RunExchange(ctx, cfg)
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return err
		case <-due:
			if err := v.again(ctx); err != nil {
				stop()
				return errors.Join(err, <-done)
			}
			report.Kills++
			fmt.Fprintf(v.cfg.Progress, "killed %d of %d times; ready again after %.0f ms\n", report.Kills, v.cfg.Kills, v.ready[len(v.ready)-1])
		}
	}
}

// watch says on due when the next kill is due: the auctions of the kills are
// drawn, and within them the moment is where the market happens to be.
func (v *victim) watch(due chan<- struct{}) func(auction int, now time.Time) {
	d := rand.New(rand.NewPCG(v.cfg.Exchange.Seed, 0x6b696c6c))
	kills := make([]int, v.cfg.Kills)
	for i := range kills {
		kills[i] = d.IntN(v.cfg.Exchange.Auctions)
	}
	slices.Sort(kills)
	var next atomic.Int64
	return func(auction int, now time.Time) {
		for {
			at := v.now.Load()
			if now.UnixMilli() <= at || v.now.CompareAndSwap(at, now.UnixMilli()) {
				break
			}
		}
		k := next.Load()
		if k < int64(len(kills)) && auction >= kills[k] && next.CompareAndSwap(k, k+1) {
			select {
			case due <- struct{}{}:
			default: // two are waiting already: later
				next.Add(-1)
			}
		}
	}
}

func (v *victim) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(v.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	v.cmd = exec.Command(v.cfg.Bidwell, append([]string{"serve", "--data", filepath.Join(v.dir, "data"),
		"--bid.listen", v.bid, "--admin.listen", v.admin, "--public-url", "https://bid.example.com", // impressions demand https
		"--simulated-time", time.UnixMilli(v.now.Load()).UTC().Format(time.RFC3339),
		"--pacing.hold", v.cfg.Hold.String(), "--pacing.lease", v.cfg.Lease.String(),
		"--drain-delay", "0s",
		"--bid.max-delay", "1m", // waiting for a processor that the market shares is no overload
	}, v.cfg.Settings...)...)
	v.cmd.Stdout, v.cmd.Stderr = log, log
	began := time.Now()
	if err := v.cmd.Start(); err != nil {
		return fmt.Errorf("start the bidder: %w", err)
	}
	cmd, exited := v.cmd, make(chan struct{})
	v.exited = exited
	go func() {
		v.failure = cmd.Wait()
		close(exited)
	}()
	if err := v.await(ctx, began); err != nil {
		return err
	}
	if v.killed.Load() > 0 {
		v.ready = append(v.ready, float64(time.Since(began).Microseconds())/1000)
	}
	return nil
}

// await waits until the bidder is ready.
func (v *victim) await(ctx context.Context, began time.Time) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := v.api.http.Get(v.api.base + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("the bidder is not ready a minute after its start: %s", v.lastWords())
		}
		select {
		case <-v.exited:
			return fmt.Errorf("the bidder does not start: %s", v.lastWords())
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// lastWords is the end of the bidder's log.
func (v *victim) lastWords() string {
	text, err := os.ReadFile(filepath.Join(v.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (v *victim) kill() {
	if v.exited != nil {
		_ = v.cmd.Process.Kill() // it may have exited
		<-v.exited
		v.killed.Store(time.Now().UnixNano())
	}
}

// stop asks the bidder to.
func (v *victim) stop(ctx context.Context) error {
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the bidder: %w", err)
	}
	select {
	case <-v.exited:
	case <-ctx.Done():
		return ctx.Err()
	}
	if v.failure != nil {
		return fmt.Errorf("the bidder was asked to stop: %w: %s", v.failure, v.lastWords())
	}
	return nil
}

func (v *victim) again(ctx context.Context) error {
	v.kill()
	return v.start(ctx)
}

// survive kills the bidder once more, then stops it, and compares its books.
func (v *victim) survive(ctx context.Context, report *CrashReport) error {
	before, err := v.books(ctx)
	if err != nil {
		return err
	}
	if err := v.again(ctx); err != nil {
		return err
	}
	killed, err := v.books(ctx)
	if err != nil {
		return err
	}
	ready := slices.Sorted(slices.Values(v.ready))
	report.ReadyP50, report.ReadyMax = ready[len(ready)/2], ready[len(ready)-1]
	began := time.Now()
	if err := v.stop(ctx); err != nil {
		return err
	}
	report.StopTook = float64(time.Since(began).Microseconds()) / 1000
	if err := v.start(ctx); err != nil {
		return err
	}
	stopped, err := v.books(ctx)
	report.Survived, report.Stopped = before == killed, before == stopped
	return err
}

// books are all that the bidder says of its money, as it says it.
func (v *victim) books(ctx context.Context) (string, error) {
	var all any
	if err := v.api.get(ctx, "/v1/discrepancies", &all); err != nil {
		return "", err
	}
	return fmt.Sprint(all), nil
}
