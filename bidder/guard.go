package bidder

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// guard ends connections that take too long: to send a request, to take an
// answer, or to send the next request. The server's own time limits set the
// timers of a connection three times a request; a look at all connections a few
// times a second costs less, and is late by no more than a round.
type guard struct {
	read, write, idle time.Duration

	slots chan struct{}

	mu    sync.Mutex
	conns map[*guardedConn]struct{}
}

func newGuard(cfg Config) *guard {
	return &guard{
		read: cfg.ReadTimeout, write: cfg.WriteTimeout, idle: cfg.IdleTimeout,
		slots: make(chan struct{}, cfg.MaxConns),
		conns: map[*guardedConn]struct{}{},
	}
}

// guardedListener accepts connections into the care of a guard. While there
// are as many as may be, others wait to be accepted.
type guardedListener struct {
	net.Listener
	guard *guard
	done  <-chan struct{}
}

// Accept waits for the next connection.
func (l guardedListener) Accept() (net.Conn, error) {
	select {
	case l.guard.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.guard.slots
		return nil, err
	}
	c := &guardedConn{Conn: conn, guard: l.guard}
	c.enter(fasthttp.StateNew)
	l.guard.mu.Lock()
	l.guard.conns[c] = struct{}{}
	l.guard.mu.Unlock()
	return c, nil
}

// guardedConn is a connection with what it is doing and since when.
type guardedConn struct {
	net.Conn
	guard *guard
	state atomic.Int32 // a fasthttp.ConnState
	since atomic.Int64 // when a round first saw it in that state, in nanoseconds; zero: none has
	gone  sync.Once

	refused atomic.Bool // answered before the request had come in whole
}

// enter notes that the connection begins something else.
func (c *guardedConn) enter(state fasthttp.ConnState) {
	c.since.Store(0) // first, or a round would take the old time for that of the new state
	c.state.Store(int32(state))
}

// lingering is how long a connection stays open for the rest of a request that
// was refused. Closed at once, it would be reset, and the peer might lose the
// answer with it.
const lingering = time.Second

// Close ends the connection.
func (c *guardedConn) Close() error {
	if c.refused.Load() {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			c.SetReadDeadline(time.Now().Add(lingering))
			_, _ = io.Copy(io.Discard, c.Conn) // ends with the peer's patience or ours
		}
	}
	return c.end()
}

// end closes the connection at once.
func (c *guardedConn) end() error {
	c.gone.Do(func() {
		c.guard.mu.Lock()
		delete(c.guard.conns, c)
		c.guard.mu.Unlock()
		<-c.guard.slots
	})
	return c.Conn.Close()
}

// watch is the server's hook for what its connections do.
func watch(conn net.Conn, state fasthttp.ConnState) {
	if c, ok := conn.(*guardedConn); ok && (state == fasthttp.StateActive || state == fasthttp.StateIdle) {
		c.enter(state)
	}
}

// run looks at all connections until ctx ends.
func (g *guard) run(ctx context.Context) {
	ticker := time.NewTicker(max(10*time.Millisecond, min(g.read/8, g.write/8, 250*time.Millisecond)))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			g.round(now)
		}
	}
}

// longAgo as a deadline fails a read at once.
var longAgo = time.Unix(1, 0)

// round ends the connections that are over time at now. Reads of them fail, so
// that the server can still answer 408; a connection on which that does not help
// is closed.
func (g *guard) round(now time.Time) {
	at := now.UnixNano()
	g.mu.Lock()
	var over, stuck []*guardedConn
	for c := range g.conns {
		if c.since.CompareAndSwap(0, at) {
			continue
		}
		age := time.Duration(at - c.since.Load())
		switch fasthttp.ConnState(c.state.Load()) {
		case fasthttp.StateIdle:
			if age > g.idle {
				over = append(over, c)
			}
		default:
			if age > g.read {
				over = append(over, c)
			}
			if age > g.read+g.write {
				stuck = append(stuck, c)
			}
		}
	}
	g.mu.Unlock()
	for _, c := range over {
		c.SetReadDeadline(longAgo)
	}
	for _, c := range stuck {
		c.end()
	}
}
