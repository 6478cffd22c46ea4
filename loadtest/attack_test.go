package loadtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

// bidder starts a fasthttp server, as the real one is.
func bidder(tb testing.TB, handle fasthttp.RequestHandler) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &fasthttp.Server{Handler: handle, NoDefaultServerHeader: true}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	tb.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func strike(tb testing.TB, a Attack) *AttackReport {
	tb.Helper()
	report, err := a.Run(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func TestAttackSendsEverythingOnTime(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		var got atomic.Int64
		url := bidder(t, func(ctx *fasthttp.RequestCtx) {
			if got.Add(1)%4 == 0 {
				ctx.SetStatusCode(204)
				return
			}
			ctx.SetContentType("application/json")
			ctx.WriteString(bannerAnswer)
		})
		lines := []Line{{Body: []byte(bannerRequest)}, {Body: []byte(videoRequest)}}
		report := strike(t, Attack{URL: url, Lines: lines, Rate: 1000, Duration: 400 * time.Millisecond, Conns: 4, Poisson: poisson, Seed: 7})
		if n := report.Scheduled; !poisson && n != 400 || poisson && math.Abs(float64(n)-400) > 100 {
			t.Errorf("poisson %t: %d requests, want 400", poisson, n)
		}
		if report.Answers != report.Scheduled || int(got.Load()) != report.Scheduled || report.Errors != 0 {
			t.Errorf("poisson %t: %d arrived, %+v", poisson, got.Load(), report)
		}
		if want := report.Scheduled - report.Scheduled/4; report.Bids != want || report.Statuses[200] != want {
			t.Errorf("poisson %t: %d bids, %v, want %d", poisson, report.Bids, report.Statuses, want)
		}
		if report.P50 <= 0 || report.P50 > report.P99 || report.P99 > report.Max {
			t.Errorf("poisson %t: p50 %v, p99 %v, max %v", poisson, report.P50, report.P99, report.Max)
		}
	}
}

// A bidder that stands still for a moment must be charged for all requests
// that were due meanwhile, not only for the one that it held.
func TestAttackCorrectsCoordinatedOmission(t *testing.T) {
	const stall = 200 * time.Millisecond
	var first atomic.Bool
	url := bidder(t, func(ctx *fasthttp.RequestCtx) {
		if first.CompareAndSwap(false, true) {
			time.Sleep(stall) // the stall is what is under test
		}
		ctx.SetStatusCode(204)
	})
	report := strike(t, Attack{URL: url, Lines: []Line{{Body: []byte(videoRequest)}}, Rate: 500, Duration: 400 * time.Millisecond, Conns: 1, TMax: stall / 2})
	// A hundred of two hundred were due during the stall, evenly; the median
	// of all is about zero, and a quarter waited more than half of it.
	if report.Scheduled != 200 || report.Max < 200 || report.P90 < 100 {
		t.Errorf("scheduled %d, p90 %v, max %v: the stall is hidden", report.Scheduled, report.P90, report.Max)
	}
	if report.Late < 45 {
		t.Errorf("%d late, want at least those that waited half of the stall, about 50", report.Late)
	}
}

func TestAttackCountsFailures(t *testing.T) {
	t.Run("dropped", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) { conn.Close() })
		report := strike(t, Attack{URL: url, Lines: []Line{{Body: []byte(videoRequest)}}, Rate: 100, Duration: 100 * time.Millisecond, Conns: 2})
		if report.Errors != report.Scheduled || report.Answers != 0 || report.LastError == "" || report.LateShare != 1 {
			t.Errorf("%+v", report)
		}
	})
	t.Run("timeouts and what could not be sent", func(t *testing.T) {
		release := make(chan struct{})
		url := rawServer(t, func(net.Conn, *bufio.Reader) { <-release })
		defer close(release)
		report := strike(t, Attack{URL: url, Lines: []Line{{Body: []byte(videoRequest)}}, Rate: 500, Duration: 100 * time.Millisecond, Conns: 1, Timeout: 60 * time.Millisecond})
		if report.Scheduled != 50 || report.Timeouts == 0 || report.Unsent == 0 || report.Timeouts+report.Unsent != report.Errors || report.Errors != 50 {
			t.Errorf("%+v", report)
		}
		if report.P50 < 50 {
			t.Errorf("p50 %v ms: requests without an answer do not count as slow", report.P50)
		}
	})
	t.Run("server errors", func(t *testing.T) {
		url := bidder(t, func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(503) })
		report := strike(t, Attack{URL: url, Lines: []Line{{Body: []byte(videoRequest)}}, Rate: 100, Duration: 50 * time.Millisecond, Conns: 1})
		if report.Errors != 5 || report.Statuses[503] != 5 {
			t.Errorf("%+v", report)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		a := Attack{URL: "http://127.0.0.1:1", Lines: []Line{{}}, Rate: 1, Duration: time.Second, Conns: 1}
		if _, err := a.Run(t.Context()); err == nil {
			t.Error("no error without a bidder")
		}
	})
}

func TestAttackRoutesByExchange(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	url := bidder(t, func(ctx *fasthttp.RequestCtx) {
		mu.Lock()
		defer mu.Unlock()
		body := ctx.PostBody()
		if string(ctx.Request.Header.ContentEncoding()) == "gzip" {
			body, _ = ctx.Request.BodyGunzip()
		}
		if string(body) == videoRequest {
			got[string(ctx.Path())]++
		}
		ctx.SetStatusCode(204)
	})
	lines := []Line{{Body: []byte(videoRequest), Exchange: "google"}, {Body: []byte(videoRequest)}}
	a := Attack{URL: url, Lines: lines, Rate: 200, Duration: 20 * time.Millisecond, Conns: 1, Gzip: true}
	strike(t, a)
	a.Exchange = "index"
	strike(t, a)
	a.URL += "/own"
	strike(t, a)
	if got["/bid/google"] != 4 || got["/bid/generic"] != 2 || got["/bid/index"] != 2 || got["/own"] != 4 {
		t.Errorf("arrived at %v", got)
	}
}

func TestAttackStopsWhenTold(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		w.WriteHeader(204)
	}))
	defer server.Close()
	a := Attack{URL: server.URL, Lines: []Line{{Body: []byte(videoRequest)}}, Rate: 0.01, Duration: time.Hour, Conns: 3, Progress: io.Discard}
	report, err := a.Run(ctx)
	if err != nil || report.Answers != 1 {
		t.Errorf("report %+v, error %v, want the one answer", report, err)
	}
}

func TestScheduleSteps(t *testing.T) {
	a := Attack{Rate: 100, Duration: 3 * time.Second, Step: 100, StepEvery: time.Second}
	plan := a.schedule()
	var each [3]int
	last := time.Duration(-1)
	for {
		_, due, ok := plan.next()
		if !ok {
			break
		}
		if due <= last {
			t.Fatalf("%v after %v", due, last)
		}
		last = due
		each[due/time.Second]++
	}
	for i, want := range []int{100, 200, 300} {
		if d := each[i] - want; d < -2 || d > 2 {
			t.Errorf("second %d has %d requests, want %d", i, each[i], want)
		}
	}
}

func TestScheduleIsTheSameForASeed(t *testing.T) {
	draw := func(seed uint64) (due []time.Duration) {
		a := Attack{Rate: 100, Duration: time.Second, Poisson: true, Seed: seed}
		for plan := a.schedule(); ; {
			_, d, ok := plan.next()
			if !ok {
				return due
			}
			due = append(due, d)
		}
	}
	one, same, other := draw(1), draw(1), draw(2)
	if len(one) == 0 || len(one) != len(same) || one[len(one)-1] != same[len(same)-1] || one[0] == other[0] {
		t.Errorf("first of seed 1 %v and %v, of seed 2 %v", one[0], same[0], other[0])
	}
}

func TestAttackLimits(t *testing.T) {
	report := &AttackReport{P99: 20, LateShare: 0.02, BidRate: 0.5, Errors: 3}
	none := AttackLimits{MaxLate: -1, MaxErrors: -1}
	if err := none.Check(report); err != nil {
		t.Errorf("without limits: %v", err)
	}
	held := AttackLimits{MaxP99: 20 * time.Millisecond, MaxLate: 0.02, MinBidRate: 0.5, MaxErrors: 3}
	if err := held.Check(report); err != nil {
		t.Errorf("limits that hold: %v", err)
	}
	for text, broken := range map[string]AttackLimits{
		"p99":      {MaxP99: 19 * time.Millisecond, MaxLate: -1, MaxErrors: -1},
		"late":     {MaxLate: 0, MaxErrors: -1},
		"bid rate": {MaxLate: -1, MinBidRate: 0.6, MaxErrors: -1},
		"errors":   {MaxLate: -1, MaxErrors: 2},
	} {
		if err := broken.Check(report); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

func TestAttackValidate(t *testing.T) {
	err := (&Attack{URL: "x", Conns: -1, Step: 1, Timeout: time.Hour}).Validate()
	for _, name := range []string{"url", "in", "rate", "duration", "conns", "timeout", "step-every"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// The page must show its charts without a network.
func TestAttackHTML(t *testing.T) {
	attack := Attack{URL: "http://127.0.0.1/<bid>", Rate: 100, Duration: 2 * time.Second, Conns: 2}
	score := newScore(attack.Duration)
	for i := range 200 {
		score.answered(time.Duration(i)*10*time.Millisecond, time.Duration(i+1)*time.Millisecond, 0, 200+4*(i%2), i%2 == 0, 0)
	}
	score.failed(1999*time.Millisecond, time.Second, true, errDropped)
	report := score.report(&attack, attack.Duration)
	if len(report.Series) != 2 || len(report.Curve) == 0 {
		t.Fatalf("%d seconds, %d points", len(report.Series), len(report.Curve))
	}
	var page bytes.Buffer
	if err := report.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	html := page.String()
	if strings.Count(html, "<svg") != 3 || strings.Count(html, "<polyline") < 7 {
		t.Errorf("not three charts: %s", html)
	}
	for _, outside := range []string{"<script", "<link", "src=", "@import", "<bid>", "NaN"} {
		if strings.Contains(html, outside) {
			t.Errorf("the page has %s", outside)
		}
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil || !strings.Contains(text.String(), "p99.9") {
		t.Errorf("%v: %s", err, text.String())
	}
}

// Sending must cost so little that the generator is not what is measured.
func TestSendingDoesNotAllocate(t *testing.T) {
	url := bidder(t, func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(204) })
	to, err := parseEndpoint(url)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(to)
	defer w.close()
	request := to.to().appendRequest(nil, []byte(videoRequest), plain)
	deadline := time.Now().Add(time.Minute)
	send := func() {
		if _, err := w.do(request, deadline); err != nil {
			t.Fatal(err)
		}
	}
	send()
	// The server is in the same process; it may allocate now and then.
	if allocs := testing.AllocsPerRun(200, send); allocs >= 1 {
		t.Errorf("a request allocates %v times, want 0", allocs)
	}
}

func BenchmarkAttack(b *testing.B) {
	url := bidder(b, func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(204) })
	to, err := parseEndpoint(url)
	if err != nil {
		b.Fatal(err)
	}
	w := newWire(to)
	defer w.close()
	request := to.to().appendRequest(nil, []byte(bannerRequest), plain)
	deadline := time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.do(request, deadline); err != nil {
			b.Fatal(err)
		}
	}
}
