package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram in the environment makes the test binary the program itself, for
// tests that kill it.
const asProgram = "BIDWELL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	// The janitor of fasthttp's workers looks up every ten seconds only.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// command runs the whole program to its end.
func command(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), args, &out, io.Discard)
	return out.String(), err
}

func mustRun(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	out, err := command(t, args...)
	if err != nil {
		t.Fatalf("bidwell %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want one with %q", err, text)
		}
	}
}

func wantText(t *testing.T, got string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("no %q in\n%s", text, got)
		}
	}
}

func write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, _ := freeAddresses(t)
	return address
}

// freeAddresses are two, taken at once so that they differ.
func freeAddresses(t *testing.T) (one, other string) {
	t.Helper()
	for _, address := range []*string{&one, &other} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		*address = l.Addr().String()
	}
	return one, other
}

// patience is how long a test waits for what ought to happen soon, on a
// machine that has other things to do.
const patience = 10 * time.Second

// eventually waits until done.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-ticker.C:
		}
	}
}

// program is a running `bidwell serve`.
type program struct {
	t          *testing.T
	data       string // folder
	bid, admin string // host:port
	http       *http.Client
	cancel     func()       // tells it to stop
	stop       func() error // stops it and returns what run returned
}

// serve starts the program on free ports and waits until it is ready. Without
// --data it gets a folder of its own.
func serve(t *testing.T, args ...string) *program {
	t.Helper()
	bid, admin := freeAddresses(t)
	p := &program{t: t, data: flagOf(args, "--data"), bid: bid, admin: admin, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       patience,
	}}
	if p.data == "" {
		p.data = t.TempDir()
		args = append(args, "--data", p.data)
	}
	// A wait for a processor is no overload here.
	args = append([]string{"serve", "--bid.listen", p.bid, "--admin.listen", p.admin, "--bid.max-delay", "1m", "--cache-mb", "4",
		"--reload", "20ms", "--drain-delay", "0s", "--public-url", "http://" + p.bid}, args...)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, io.Discard, io.Discard) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		p.http.CloseIdleConnections()
		return <-ended
	})
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("bidwell serve: %v", err)
		}
	})
	eventually(t, patience, "ready", func() bool {
		select {
		case err := <-ended:
			ended <- nil
			t.Fatalf("bidwell %s: %v", strings.Join(args, " "), err)
		default:
		}
		status, _ := p.get("http://" + p.admin + "/readyz")
		return status == http.StatusOK
	})
	return p
}

func flagOf(args []string, name string) string {
	for i, arg := range args[:max(0, len(args)-1)] {
		if arg == name {
			return args[i+1]
		}
	}
	return ""
}

// api are the arguments that lead a command to the program.
func (p *program) api() string { return "--admin=http://" + p.admin }

// get is status 0 when there was no answer.
func (p *program) get(url string) (status int, body string) {
	p.t.Helper()
	resp, err := p.http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Errorf("answer of %s: %v", url, err)
	}
	return resp.StatusCode, string(text)
}

// post sends a bid request of the exchange generic.
func (p *program) post(request string) (status int, body string) {
	p.t.Helper()
	resp, err := p.http.Post("http://"+p.bid+"/bid/generic", "application/json", strings.NewReader(request))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// bid is what the tests look at in a bid.
type bid struct {
	ID, ImpID        string
	CRID, AdM        string
	Price            float64
	W, H             int
	NURL, BURL, LURL string
}

// mustBid sends a request that has to get exactly one bid.
func (p *program) mustBid(request string) bid {
	p.t.Helper()
	status, body := p.post(request)
	if status != http.StatusOK {
		p.t.Fatalf("status %d %s, want a bid on %s", status, body, request)
	}
	return readBid(p.t, body)
}

func readBid(t *testing.T, body string) bid {
	t.Helper()
	var answer struct {
		ID      string
		Cur     string
		SeatBid []struct{ Bid []bid }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if answer.ID != "r" || len(answer.SeatBid) != 1 || len(answer.SeatBid[0].Bid) != 1 {
		t.Fatalf("answer %s, want one bid on the request r", body)
	}
	return answer.SeatBid[0].Bid[0]
}

func (p *program) mustNotBid(request string) {
	p.t.Helper()
	if status, body := p.post(request); status != http.StatusNoContent || body != "" {
		p.t.Fatalf("status %d %s, want an empty 204 to %s", status, body, request)
	}
}

// apply applies documents and waits until the bidder has them.
func (p *program) apply(documents string) (stdout string) {
	p.t.Helper()
	return mustRun(p.t, "apply", "-f", write(p.t, "documents.yaml", documents), p.api())
}

// await waits until the request gets, or does not get, a bid.
func (p *program) await(request string, bids bool) {
	p.t.Helper()
	want := map[bool]int{true: http.StatusOK, false: http.StatusNoContent}[bids]
	eventually(p.t, patience, http.StatusText(want)+" to "+request, func() bool {
		status, _ := p.post(request)
		return status == want
	})
}

// awaitMoney waits until the books have what notices said: those are answered
// when they are durable, and booked a moment later.
func (p *program) awaitMoney(item, spent, held string) {
	p.t.Helper()
	last := ""
	eventually(p.t, patience, item+" has spent "+spent+" and holds "+held, func() bool {
		got := p.pacing(item)
		if text := fmt.Sprintf("%+v", got); text != last {
			p.t.Log(text)
			last = text
		}
		return got.Spent == spent && got.Held == held
	})
}

// pacing is how the line item spends.
func (p *program) pacing(item string) (out struct {
	State, Spent, Held string
}) {
	p.t.Helper()
	status, body := p.get("http://" + p.admin + "/v1/line-items/" + item + "/pacing")
	if err := json.Unmarshal([]byte(body), &out); err != nil || status != http.StatusOK {
		p.t.Fatalf("pacing of %s: status %d, %v: %s", item, status, err, body)
	}
	return out
}
