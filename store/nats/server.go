package nats

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// maxPayload is the largest message: several times the largest batch of a
// Writer. The protocol allows no more than 64 MB.
const maxPayload = 4 << 20

// startServer runs a JetStream server that listens nowhere, unless it is told
// to. What is wrong with it later is set in its logger.
func startServer(cfg *Config) (*server.Server, *logger, error) {
	host, port, err := cfg.listen()
	if err != nil {
		return nil, nil, err
	}
	options := &server.Options{
		ServerName:             "bidwell",
		DontListen:             cfg.Listen == "",
		Host:                   host,
		Port:                   port,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               cfg.Dir,
		SyncAlways:             true,
		JetStreamMaxMemory:     64 << 20, // the subscriptions of consumers, which are small
		JetStreamMaxStore:      math.MaxInt64,
		MaxPayload:             maxPayload,
		DisableJetStreamBanner: true,
	}
	if cfg.Listen != "" {
		secret, err := keepSecret(cfg.Dir)
		if err != nil {
			return nil, nil, err
		}
		options.CustomClientAuthentication = door{secret}
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, nil, err
	}
	out := &logger{}
	s.SetLoggerV2(out, false, false, false)
	s.Start()
	err = out.fatal()
	if err == nil && !s.ReadyForConnections(time.Minute) {
		err = errors.New("the server of the log is not ready after a minute")
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, nil, err
	}
	return s, out, nil
}

// logger passes on what a server has to say when it is a warning or worse.
type logger struct {
	stopped atomic.Pointer[string]
	erred   atomic.Bool // there was an error
}

func (l *logger) Noticef(string, ...any) {}
func (l *logger) Debugf(string, ...any)  {}
func (l *logger) Tracef(string, ...any)  {}
func (l *logger) Warnf(format string, v ...any) {
	slog.Warn("log of events", "server", fmt.Sprintf(format, v...))
}
func (l *logger) Errorf(format string, v ...any) {
	l.erred.Store(true)
	slog.Error("log of events", "server", fmt.Sprintf(format, v...))
}
func (l *logger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.stopped.CompareAndSwap(nil, &text)
}

// fatal is what kept the server from starting, or nil.
func (l *logger) fatal() error {
	if text := l.stopped.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

// logClientError reports what goes wrong on the connection beside a call.
func logClientError(_ *client.Conn, _ *client.Subscription, err error) {
	slog.Warn("log of events", "client", err)
}

// lock keeps other processes out of a folder while this one lives.
type lock struct{ file *os.File }

func lockDir(dir string) (*lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("another process uses this folder")
		}
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return &lock{file}, nil
}

// release may be called on nil, when there never was a lock.
func (l *lock) release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
