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
	"time"
)

// CrashConfig sets a run of the market during which the bidder is killed, over
// and over again.
type CrashConfig struct {
	Bidwell   string // path of the program
	Data      string // its data folder; empty: a temporary one, removed at the end
	Documents string // file for `bidwell apply`
	Kills     int
	Exchange  ExchangeConfig // of the market; URL and Admin are filled in
	Progress  io.Writer
}

// CrashReport is what [Crash] saw.
type CrashReport struct {
	Kills     int        `json:"kills"`
	Ready     []float64  `json:"-"`
	ReadyP50  float64    `json:"ready_p50_ms"` // from the start of the process to ready
	ReadyMax  float64    `json:"ready_max_ms"`
	Survived  bool       `json:"books_survived"` // one more kill at the end changed nothing in the books
	Scorecard *Scorecard `json:"scorecard"`
}

func (r *CrashReport) String() string {
	survived := "the books are the same after one more"
	if !r.Survived {
		survived = "THE BOOKS DIFFER after one more"
	}
	return fmt.Sprintf("%scrash        %d times killed; ready again after %.0f ms (median), %.0f ms at most; %s\n",
		r.Scorecard, r.Kills, r.ReadyP50, r.ReadyMax, survived)
}

// Crash runs the market against a bidder of its own that is killed without
// warning (SIGKILL) at random moments and started again on the same data. The
// scorecard then says whether any money was lost or booked twice.
func Crash(ctx context.Context, cfg CrashConfig) (_ *CrashReport, err error) {
	if cfg.Exchange.Auctions <= 0 {
		return nil, errors.New("crash: the number of auctions must be known, to spread the kills over them")
	}
	if cfg.Exchange.Start.IsZero() {
		cfg.Exchange.Start = DefaultStart
	}
	cfg.Exchange.SimulatedTime = true
	if cfg.Kills < 0 || cfg.Kills > cfg.Exchange.Auctions {
		return nil, errors.New("crash: kills: must be between 0 and the number of auctions")
	}
	v := &victim{cfg: cfg, dir: cfg.Data}
	if v.dir == "" {
		if v.dir, err = os.MkdirTemp("", "bidwell-crash-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(v.dir)
	} else if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	for _, address := range []*string{&v.bid, &v.admin} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	cfg.Exchange.URL, cfg.Exchange.Admin = "http://"+v.bid, "http://"+v.admin
	v.now.Store(cfg.Exchange.Start.UnixMilli())
	if err := v.start(ctx); err != nil {
		return nil, err
	}
	defer v.kill()
	if err := command(ctx, cfg.Bidwell, "apply", "--admin", "http://"+v.admin, "-f", cfg.Documents); err != nil {
		return nil, err
	}

	due := make(chan struct{}, 1)
	cfg.Exchange.Watch = v.watch(due)
	market, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan error, 1)
	var card *Scorecard
	go func() {
		var err error
		card, err = RunExchange(market, cfg.Exchange)
		done <- err
	}()
	report := &CrashReport{}
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-due:
			if err := v.again(ctx); err != nil {
				stop(err)
				return nil, errors.Join(err, <-done)
			}
			report.Kills++
			fmt.Fprintf(cfg.Progress, "killed %d of %d times; ready again after %.0f ms\n", report.Kills, cfg.Kills, v.ready[len(v.ready)-1])
		}
	}
	if err != nil {
		return nil, err
	}
	report.Scorecard = card
	if report.Survived, err = v.survives(ctx); err != nil {
		return nil, err
	}
	report.Ready = slices.Sorted(slices.Values(v.ready))
	report.ReadyP50, report.ReadyMax = report.Ready[len(report.Ready)/2], report.Ready[len(report.Ready)-1]
	return report, nil
}

// victim is the bidder that is killed.
type victim struct {
	cfg        CrashConfig
	dir        string
	bid, admin string
	cmd        *exec.Cmd
	exited     chan struct{}
	now        atomic.Int64 // simulated, Unix milliseconds
	ready      []float64    // milliseconds of every start but the first
	started    bool
}

// watch says on due when the next kill is due: the auctions of the kills are
// drawn, and within them the moment is where the market happens to be.
func (v *victim) watch(due chan<- struct{}) func(auction int, now time.Time) {
	d := rand.New(rand.NewPCG(v.cfg.Exchange.Seed, 0x6b696c6c))
	kills := make([]int, v.cfg.Kills)
	for i := range kills {
		kills[i] = 1 + d.IntN(v.cfg.Exchange.Auctions)
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
		if k < int64(len(kills)) && auction >= kills[k] {
			select {
			case due <- struct{}{}:
				next.Add(1)
			default: // the last kill is under way
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
	v.cmd = exec.Command(v.cfg.Bidwell, "serve", "--data", filepath.Join(v.dir, "data"),
		"--bid.listen", v.bid, "--admin.listen", v.admin, "--public-url", "http://"+v.bid,
		"--simulated-time", time.UnixMilli(v.now.Load()).UTC().Format(time.RFC3339),
		"--bid.max-delay", "1m") // waiting for a processor that the market shares is no overload
	v.cmd.Stdout, v.cmd.Stderr = log, log
	began := time.Now()
	if err := v.cmd.Start(); err != nil {
		return err
	}
	cmd, exited := v.cmd, make(chan struct{})
	v.exited = exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	for {
		resp, err := http.Get("http://" + v.admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("the bidder is not ready a minute after its start: %s", v.lastWords())
		}
		select {
		case <-exited:
			return fmt.Errorf("the bidder does not start: %s", v.lastWords())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if v.started {
		v.ready = append(v.ready, float64(time.Since(began).Microseconds())/1000)
	}
	v.started = true
	return nil
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
		v.cmd.Process.Kill()
		<-v.exited
	}
}

func (v *victim) again(ctx context.Context) error {
	v.kill()
	return v.start(ctx)
}

// survives kills the bidder once more and compares its books.
func (v *victim) survives(ctx context.Context) (bool, error) {
	before, err := v.books(ctx)
	if err != nil {
		return false, err
	}
	if err := v.again(ctx); err != nil {
		return false, err
	}
	after, err := v.books(ctx)
	return before == after, err
}

func (v *victim) books(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.admin+"/v1/discrepancies", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET /v1/discrepancies: %s", resp.Status)
	}
	return string(text), err
}
