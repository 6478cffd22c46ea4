package nats

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var logRevivals = metrics.NewCounter("bidwell_log_server_restarts_total")

// inside is the server in this process. One that failed to write, as on a full
// disk, refuses every batch from then on: its files may end in the middle of
// one. A new server on the same folder reads them anew, so there is one once
// the folder can be written again. The client finds it by itself.
type inside struct {
	cfg  *Config
	lost chan struct{} // holds one token when the server has failed to write
	done chan struct{}
	stop context.CancelFunc

	mu     sync.Mutex
	server *server.Server // nil while there is none

	log atomic.Pointer[logger] // of the newest server
}

func runInside(cfg *Config) (*inside, error) {
	s, log, err := startServer(cfg)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	in := &inside{cfg: cfg, server: s, lost: make(chan struct{}, 1), done: make(chan struct{}), stop: stop}
	in.log.Store(log)
	go in.watch(ctx)
	return in, nil
}

// InProcessConn is what the client connects by.
func (in *inside) InProcessConn() (net.Conn, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.server == nil {
		return nil, errors.New("the server of the log is starting anew")
	}
	return in.server.InProcessConn()
}

// failed is told why a batch was not taken. A server that could not write gives
// no answer at all, or has no streams any more.
func (in *inside) failed(err error) {
	if in == nil {
		return
	}
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, client.ErrNoResponders):
	case errors.Is(err, context.DeadlineExceeded) && in.log.Load().erred.Load(): // the server has told of an error
	default:
		return
	}
	select {
	case in.lost <- struct{}{}:
	default:
	}
}

// revivePause is how long a server that failed, or did not start, is left alone.
const revivePause = time.Second

func (in *inside) watch(ctx context.Context) {
	defer close(in.done)
	for {
		select {
		case <-in.lost:
		case <-ctx.Done():
			return
		}
		for !in.revive() {
			select {
			case <-time.After(revivePause):
			case <-ctx.Done():
				return
			}
		}
		select { // what was under way still speaks of the old one
		case <-time.After(revivePause):
		case <-ctx.Done():
			return
		}
		select {
		case <-in.lost:
		default:
		}
	}
}

// revive replaces the server, if its folder can be written.
func (in *inside) revive() bool {
	if writable(in.cfg.Dir) != nil {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.server != nil {
		slog.Warn("log of events: its server failed to write, and starts anew")
		logRevivals.Inc()
		in.server.Shutdown()
		in.server.WaitForShutdown()
		in.server = nil
	}
	s, log, err := startServer(in.cfg)
	if err != nil {
		slog.Error("log of events: its server does not start", "cause", err)
		return false
	}
	in.server = s
	in.log.Store(log)
	return true
}

// writable reports why a folder has no room for a few batches.
func writable(dir string) (err error) {
	name := filepath.Join(dir, "room")
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, maxPayload))
	return errors.Join(err, f.Sync(), f.Close())
}

// close may be called on nil, when the log is outside.
func (in *inside) close() {
	if in == nil {
		return
	}
	in.stop()
	<-in.done
	if in.server != nil {
		in.server.Shutdown()
		in.server.WaitForShutdown()
	}
}
