package bidder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"

	"bidwell/events/track"
)

// Handler routes the public listener: bid requests, and notices to tracker.
func (b *Bidder) Handler(tracker *track.Handler) fasthttp.RequestHandler {
	trackPrefix := []byte(track.Prefix)
	return func(ctx *fasthttp.RequestCtx) {
		arrived := ctx.Time() // read once by the server, when the request was complete
		defer recoverRequest(ctx)
		path := ctx.Path()
		switch {
		case bytes.HasPrefix(path, bidPrefix):
			b.serveBid(ctx, arrived)
		case bytes.HasPrefix(path, trackPrefix):
			tracker.Serve(ctx, b.Clock.of(ctx, arrived))
		default:
			ctx.SetStatusCode(fasthttp.StatusNotFound)
		}
		if b.draining.Load() {
			ctx.SetConnectionClose()
		}
	}
}

// recoverRequest turns a panic into a no-bid: a bug costs one answer, not the
// process. It is counted, and logged at most once a second.
func recoverRequest(ctx *fasthttp.RequestCtx) {
	if cause := recover(); cause != nil {
		panics.Inc()
		if panicLog.allow(time.Now(), 1) {
			slog.Error("request failed", "cause", cause, "stack", string(debug.Stack()))
		}
		ctx.Response.Reset()
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
}

var panicLog limiter

// Serve answers on the configured address until ctx ends, then lets the
// requests under way finish for at most drain.
func (b *Bidder) Serve(ctx context.Context, tracker *track.Handler, drain time.Duration) error {
	listener, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for exchanges: %w", err)
	}
	return b.ServeListener(ctx, listener, tracker, drain)
}

// ServeListener is Serve on a listener of the caller's, which it closes.
func (b *Bidder) ServeListener(ctx context.Context, listener net.Listener, tracker *track.Handler, drain time.Duration) error {
	server := &fasthttp.Server{
		Handler:                      b.Handler(tracker),
		ErrorHandler:                 answerError,
		ConnState:                    watch,
		MaxRequestBodySize:           b.cfg.MaxBody,
		ReadBufferSize:               16 << 10,
		WriteBufferSize:              8 << 10,            // a VAST answer with its head, in one write
		Concurrency:                  b.cfg.MaxConns + 1, // the guard keeps the limit, without a 503
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		Logger:                       quiet{},
	}
	shedding, stopShedding := context.WithCancel(ctx)
	defer stopShedding()
	go b.shedder.run(shedding)
	guard := newGuard(b.cfg)
	guarding, stopGuarding := context.WithCancel(context.WithoutCancel(ctx))
	defer stopGuarding()
	go guard.run(guarding)
	guarded := guardedListener{listener, guard, guarding.Done()}

	served := make(chan error, 1)
	go func() { served <- server.Serve(guarded) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	b.draining.Store(true)
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := server.ShutdownWithContext(finish)
	stopGuarding()
	listener.Close() // Shutdown does not know a server that has not begun to accept
	<-served
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // idle connections of exchanges may stay open; nothing is under way on them
	}
	return err
}

// answerError answers what is no HTTP request, too large, or too slow.
func answerError(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		ctx.SetStatusCode(fasthttp.StatusRequestEntityTooLarge)
		refuse(ctx)
	case errors.As(err, &small):
		ctx.SetStatusCode(fasthttp.StatusRequestHeaderFieldsTooLarge)
		refuse(ctx)
	case errors.As(err, &network) && network.Timeout():
		ctx.SetStatusCode(fasthttp.StatusRequestTimeout)
	default:
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
	}
}

// refuse notes that more of the request is on its way than was read.
func refuse(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*guardedConn); ok {
		c.refused.Store(true)
	}
}

// quiet drops the server's own log: what goes wrong on one connection is
// counted, not logged.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
