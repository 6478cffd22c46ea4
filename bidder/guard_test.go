package bidder

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// guarded is one end of a connection in a guard's care, and the other end.
func guarded(t *testing.T, g *guard) (*guardedConn, net.Conn) {
	t.Helper()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	peer, err := net.Dial("tcp", raw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	c, err := guardedListener{raw, g, t.Context().Done()}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*guardedConn), peer
}

func testGuard() (*guard, time.Time) {
	cfg := DefaultConfig()
	cfg.ReadTimeout, cfg.WriteTimeout, cfg.IdleTimeout, cfg.MaxConns = 5*time.Second, 3*time.Second, time.Minute, 2
	g := newGuard(cfg)
	start := time.Now()
	g.round(start)
	return g, start
}

func TestGuardEndsWhatTakesTooLong(t *testing.T) {
	tests := []struct {
		name   string
		states []fasthttp.ConnState
		age    time.Duration
		want   error
	}{
		{"new, nothing sent for long", nil, 6 * time.Second, os.ErrDeadlineExceeded},
		{"request under way for too long", []fasthttp.ConnState{fasthttp.StateActive}, 6 * time.Second, os.ErrDeadlineExceeded},
		{"answer not taken", []fasthttp.ConnState{fasthttp.StateActive}, 9 * time.Second, net.ErrClosed},
		{"idle too long", []fasthttp.ConnState{fasthttp.StateActive, fasthttp.StateIdle}, 61 * time.Second, os.ErrDeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, start := testGuard()
			c, _ := guarded(t, g)
			for _, state := range tt.states {
				watch(c, state)
			}
			g.round(start) // sees it
			g.round(start.Add(tt.age))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, tt.want) {
				t.Errorf("read error = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestGuardLeavesOthersAlone(t *testing.T) {
	g, start := testGuard()
	idle, peer := guarded(t, g)
	watch(idle, fasthttp.StateActive)
	watch(idle, fasthttp.StateIdle)
	g.round(start)
	g.round(start.Add(59 * time.Second))
	watch(idle, fasthttp.StateActive) // the next request begins just in time
	g.round(start.Add(63 * time.Second))
	g.round(start.Add(67 * time.Second))
	peer.Write([]byte("x"))
	if n, err := idle.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read = %d, %v: a connection in time was ended", n, err)
	}
}

func TestGuardKeepsTheLimit(t *testing.T) {
	g, _ := testGuard()
	first, _ := guarded(t, g)
	guarded(t, g)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	done := make(chan struct{})
	accepted := make(chan error, 1)
	go func() {
		_, err := guardedListener{raw, g, done}.Accept()
		accepted <- err
	}()
	if len(g.slots) != 2 || len(g.conns) != 2 {
		t.Fatalf("%d slots, %d connections, want 2", len(g.slots), len(g.conns))
	}
	close(done)
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept over the limit = %v, want it to wait until the listener ends", err)
	}
	first.Close()
	first.Close() // a second close gives back nothing
	if len(g.slots) != 1 || len(g.conns) != 1 {
		t.Errorf("%d slots, %d connections after a close, want 1", len(g.slots), len(g.conns))
	}
}

// The answer to a request that is too large reaches a peer that sends the whole
// of it before it reads.
func TestGuardLetsARefusalArrive(t *testing.T) {
	g, _ := testGuard()
	c, peer := guarded(t, g)
	ended := make(chan error, 1)
	go func() {
		c.Read(make([]byte, 100))
		c.Write([]byte("too large"))
		c.refused.Store(true)
		ended <- c.Close()
	}()
	if _, err := peer.Write(make([]byte, 32<<20)); err != nil {
		t.Fatalf("the request was cut off: %v", err)
	}
	answer := make([]byte, 9)
	if _, err := io.ReadFull(peer, answer); err != nil || string(answer) != "too large" {
		t.Errorf("answer %q, %v", answer, err)
	}
	peer.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
