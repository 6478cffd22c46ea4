package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// BenchConfig sets one comparison of the whole bid with an HTTP echo.
type BenchConfig struct {
	Bidwell   string        // path of the bidwell program
	Self      string        // path of this program, which has the echo server
	Exchange  string        // name of the exchange profile
	Users     int           // known users, each in some segments
	LineItems int           // active line items
	Requests  int           // different requests, sent round and round
	Rounds    int           // of one echo and one bid measurement each
	Round     time.Duration // length of one measurement
	Conns     int
	Notices   int // billing notices sent after the rounds, each of its own bid
	Seed      uint64
	Profile   string // file for a CPU profile of the bidder during the rounds; empty: none
	Progress  io.Writer
}

// DefaultBenchConfig is the comparison that the goals of the project are
// stated for.
func DefaultBenchConfig() BenchConfig {
	return BenchConfig{
		Exchange: "generic", Users: 1_000_000, LineItems: 1_000, Requests: 10_000,
		Rounds: 6, Round: 2 * time.Second, Conns: 64, Notices: 100_000, Seed: 1, Progress: io.Discard,
	}
}

// BenchResult is what [Bench] measured. CPU is that of the server process
// alone, which has one core to itself; the generator runs on the other.
type BenchResult struct {
	Users          int     `json:"users"`
	LineItems      int     `json:"line_items"`
	RequestBytes   int     `json:"request_bytes"`
	AnswerBytes    int     `json:"answer_bytes"`
	BidRate        float64 `json:"bid_rate"`
	EchoMicros     float64 `json:"echo_cpu_us"`
	BidMicros      float64 `json:"bid_cpu_us"`
	EchoRate       float64 `json:"echo_requests_per_second"`
	BidRequestRate float64 `json:"bid_requests_per_second"`
	Ratio          float64 `json:"ratio"`       // echo CPU / bid CPU: median over the rounds
	RatioLeast     float64 `json:"ratio_least"` // of all rounds
	RatioMost      float64 `json:"ratio_most"`  // of all rounds
	Rounds         int     `json:"rounds"`
	Failures       int64   `json:"failures"` // answers that were neither 200 nor 204

	Notices       int64   `json:"notices"` // answered, each durable before
	NoticeRate    float64 `json:"notices_per_second"`
	NoticeMicros  float64 `json:"notice_cpu_us"` // to answer it and to book it
	NoticesBooked int64   `json:"notices_booked"`
}

func (r BenchResult) String() string {
	return fmt.Sprintf(`whole bid against a fasthttp echo: one core for the server, the generator on the other
  %d users, %d line items, requests of %d bytes, answers of %d bytes, %.1f %% answered with a bid
  echo  %6.2f us CPU/request  %7.0f requests/s
  bid   %6.2f us CPU/request  %7.0f requests/s
  ratio %6.3f  (echo CPU / bid CPU, median of %d rounds, %.3f to %.3f)
  notices: %d of %d answered ones booked, %.2f us CPU each, %.0f/s, durable before they are answered
`, r.Users, r.LineItems, r.RequestBytes, r.AnswerBytes, 100*r.BidRate,
		r.EchoMicros, r.EchoRate, r.BidMicros, r.BidRequestRate, r.Ratio, r.Rounds, r.RatioLeast, r.RatioMost,
		r.NoticesBooked, r.Notices, r.NoticeMicros, r.NoticeRate)
}

// Bench starts a bidder with its data and an echo server, each pinned to the
// first core, and loads them in turn from the second with the same requests.
func Bench(ctx context.Context, cfg BenchConfig) (BenchResult, error) {
	if runtime.NumCPU() < 2 {
		return BenchResult{}, errors.New("bench needs two cores: one for the server, one for the generator")
	}
	dir, err := os.MkdirTemp("", "bidwell-bench-")
	if err != nil {
		return BenchResult{}, err
	}
	defer os.RemoveAll(dir)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bid, echo, err := benchServers(ctx, cfg, dir)
	defer func() {
		bid.stop()
		echo.stop()
	}()
	if err != nil {
		return BenchResult{}, err
	}
	bodies, err := benchBodies(ctx, cfg, bid)
	if err != nil {
		return BenchResult{}, err
	}

	defer pinHere(1)()
	fmt.Fprintln(cfg.Progress, "warming up")
	if _, err := echo.load(ctx, cfg, bodies); err != nil {
		return BenchResult{}, err
	}
	for range 2 {
		if _, err := bid.load(ctx, cfg, bodies); err != nil {
			return BenchResult{}, err
		}
	}
	profiled := make(chan error, 1)
	go func() { profiled <- bid.profile(ctx, cfg) }()
	result, err := benchRounds(ctx, cfg, bid, echo, bodies)
	if err := errors.Join(err, <-profiled); err != nil {
		return result, err
	}
	return result, bid.notices(ctx, cfg, bodies, &result)
}

// profile writes a CPU profile of the server while the rounds go on.
func (s *benchServer) profile(ctx context.Context, cfg BenchConfig) error {
	if cfg.Profile == "" {
		return nil
	}
	seconds := int((time.Duration(2*cfg.Rounds) * cfg.Round).Seconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", s.admin, max(1, seconds)), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer resp.Body.Close()
	f, err := os.Create(cfg.Profile)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

func benchRounds(ctx context.Context, cfg BenchConfig, bid, echo *benchServer, bodies [][]byte) (BenchResult, error) {
	out := BenchResult{Users: cfg.Users, LineItems: cfg.LineItems, Rounds: cfg.Rounds}
	for _, b := range bodies {
		out.RequestBytes += len(b)
	}
	out.RequestBytes /= len(bodies)
	var echoes, bids sample
	var ratios []float64
	for round := range cfg.Rounds {
		e, err := echo.load(ctx, cfg, bodies)
		if err != nil {
			return out, err
		}
		b, err := bid.load(ctx, cfg, bodies)
		if err != nil {
			return out, err
		}
		ratio := e.micros() / b.micros()
		ratios = append(ratios, ratio)
		echoes.add(e)
		bids.add(b)
		fmt.Fprintf(cfg.Progress, "round %d of %d: echo %.2f us, bid %.2f us, ratio %.3f\n", round+1, cfg.Rounds, e.micros(), b.micros(), ratio)
	}
	slices.Sort(ratios)
	out.Ratio = (ratios[(len(ratios)-1)/2] + ratios[len(ratios)/2]) / 2
	out.RatioLeast, out.RatioMost = ratios[0], ratios[len(ratios)-1]
	out.EchoMicros, out.BidMicros = echoes.micros(), bids.micros()
	out.EchoRate, out.BidRequestRate = echoes.rate(), bids.rate()
	out.BidRate = float64(bids.bids) / math.Max(1, float64(bids.requests))
	out.AnswerBytes = int(bids.bytes / max(1, bids.bids))
	out.Failures = bids.failures + echoes.failures
	return out, nil
}

// sample is what one stretch of load cost.
type sample struct {
	requests, bids, bytes, failures int64
	cpu, wall                       time.Duration
}

func (s *sample) add(o sample) {
	s.requests += o.requests
	s.bids += o.bids
	s.bytes += o.bytes
	s.failures += o.failures
	s.cpu += o.cpu
	s.wall += o.wall
}

func (s *sample) micros() float64 {
	return float64(s.cpu.Nanoseconds()) / 1e3 / math.Max(1, float64(s.requests))
}
func (s *sample) rate() float64 { return float64(s.requests) / s.wall.Seconds() }

// benchServer is a server process under measurement.
type benchServer struct {
	cmd    *exec.Cmd
	url    string
	admin  string
	output bytes.Buffer
}

// startPinned starts a program on the first core.
func startPinned(ctx context.Context, url string, args ...string) (*benchServer, error) {
	s := &benchServer{url: url, cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 20 * time.Second
	defer pinHere(0)() // the child inherits it
	return s, s.cmd.Start()
}

// pinHere keeps the calling goroutine's thread on one core until the returned
// function is called. Threads and processes made meanwhile inherit it.
func pinHere(core int) (release func()) {
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if unix.SchedGetaffinity(0, &old) != nil {
		return runtime.UnlockOSThread
	}
	one.Set(core)
	unix.SchedSetaffinity(0, &one) // where it is refused, the figures are only noisier
	return func() {
		unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	}
}

func (s *benchServer) stop() {
	if s == nil || s.cmd.Process == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
}

// cpu is the processor time that the process has used, user and system.
func (s *benchServer) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("unreadable /proc/PID/stat")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}

// load keeps every connection busy for one round.
func (s *benchServer) load(ctx context.Context, cfg BenchConfig, bodies [][]byte) (sample, error) {
	to, err := parseEndpoint(s.url + "/bid/" + cfg.Exchange)
	if err != nil {
		return sample{}, err
	}
	requests := make([][]byte, len(bodies))
	for i, b := range bodies {
		requests[i] = to.appendRequest(nil, b, plain)
	}
	before, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	out, err := poll(to.addr, requests, cfg.Conns, cfg.Round, false)
	if err != nil {
		return out, fmt.Errorf("load %s: %w", s.url, err)
	}
	after, err := s.cpu()
	out.cpu, out.wall = after-before, time.Since(start)
	return out, errors.Join(err, ctx.Err())
}

// Echo answers every request with its own body until ctx ends. It is the
// control of [Bench]: what fasthttp costs without any work.
func Echo(ctx context.Context, address string) error {
	server := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("application/json")
			ctx.SetBody(ctx.PostBody())
		},
		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
		ReadBufferSize:        16 << 10,
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}

// ready waits until url answers 200.
func (s *benchServer) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %s", url, s.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddresses are loopback addresses that nobody listens on just now, all
// different.
func freeAddresses(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end, so that none is given twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// benchServers starts both servers and fills the bidder.
func benchServers(ctx context.Context, cfg BenchConfig, dir string) (bid, echo *benchServer, err error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, nil, err
	}
	if echo, err = startPinned(ctx, "http://"+addresses[0], cfg.Self, "echo", "--listen", addresses[0]); err != nil {
		return nil, nil, err
	}
	if bid, err = startPinned(ctx, "http://"+addresses[1], cfg.Bidwell, "serve", "--data", filepath.Join(dir, "data"),
		"--bid.listen", addresses[1], "--admin.listen", addresses[2], "--public-url", "https://bid.example.com"); err != nil {
		return nil, echo, err
	}
	admin := "http://" + addresses[2]
	bid.admin = admin
	if err := errors.Join(echo.ready(ctx, echo.url), bid.ready(ctx, admin+"/readyz")); err != nil {
		return bid, echo, err
	}
	return bid, echo, benchData(ctx, cfg, dir, admin)
}
