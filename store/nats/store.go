// Package nats keeps the log of events in NATS JetStream: in a server inside
// this process, which is the default, or in a cluster outside.
//
// There are two streams. The one for money is on disk before Append returns:
// the server inside syncs each message, so a batch should be large, which is
// what [bidwell/events.Writer] sees to. Its batches leave by age alone; when
// the stream is full it refuses new ones rather than drop one that a consumer
// may not have seen. The stream for samples syncs now and then and drops the
// oldest.
//
// One message is one batch, and the position of a batch is its sequence number
// in the stream. A new stream starts at a number taken from the clock, so the
// position of a consumer that has outlived its log is a gap and not a place in
// the new one. Consumers keep their position themselves; here they are no more
// than a subscription.
package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bidwell/events"
)

// Config says where the log is. Start from [DefaultConfig].
type Config struct {
	// URL is that of a NATS server or cluster with JetStream, or several with
	// commas between them; user and password may be part of it. When it is
	// empty, a server runs in this process and keeps its files in Dir. Whether
	// a cluster syncs each message is its own setting, sync_interval: always.
	URL string
	Dir string

	// Listen is an address such as 127.0.0.1:4222 at which the server in this
	// process lets others in, to read and nothing else, who know the secret in
	// Dir; empty: nobody.
	Listen string

	// Guest opens what others keep, and changes nothing of it. The secret is that
	// in Dir, if that is set and has one.
	Guest bool

	// Replicas is how many servers of a cluster keep the log; 1 without a URL.
	Replicas int

	// MaxAge is how long batches are kept, and so how long a consumer may be
	// away without missing one.
	MaxAge time.Duration

	// MaxBytes is the most that money events take on disk, before more are
	// refused.
	MaxBytes int64

	// SampleBytes is the most that samples take on disk, before the oldest go.
	SampleBytes int64
}

// DefaultConfig is a server in this process, with room for some 250 million
// money events.
func DefaultConfig() Config {
	return Config{Replicas: 1, MaxAge: 7 * 24 * time.Hour, MaxBytes: 32 << 30, SampleBytes: 1 << 30}
}

// Validate reports every setting that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.URL == "" && c.Dir == "" {
		errs = append(errs, errors.New("dir: empty, and there is no url"))
	}
	if c.Listen != "" && c.URL != "" {
		errs = append(errs, errors.New("listen: the log at a url listens by itself"))
	}
	if _, _, err := c.listen(); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	if c.Guest && c.URL == "" {
		errs = append(errs, errors.New("guest: there is no url"))
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		errs = append(errs, errors.New("replicas: must be from 1 to 5"))
	} else if c.URL == "" && c.Replicas != 1 {
		errs = append(errs, errors.New("replicas: must be 1 without a url"))
	}
	if c.MaxAge < time.Minute {
		errs = append(errs, errors.New("max-age: must be a minute or more"))
	}
	if c.MaxBytes < 1<<20 {
		errs = append(errs, errors.New("max-bytes: must be a megabyte or more"))
	}
	if c.SampleBytes < 1<<20 {
		errs = append(errs, errors.New("sample-bytes: must be a megabyte or more"))
	}
	return errors.Join(errs...)
}

// listen is the address that the server in this process listens at, if any.
func (c *Config) listen() (host string, port int, err error) {
	if c.Listen == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 || host == "" {
		return "", 0, fmt.Errorf("%q is no address such as 127.0.0.1:4222", c.Listen)
	}
	return host, int(number), nil
}

// Store is an open log. All its methods may be called by several goroutines.
type Store struct {
	inside  *inside // nil when the log is outside
	lock    *lock
	conn    *client.Conn
	events  *stream
	samples *stream
}

// Open opens the log, or makes one. A log in this process that was killed
// recovers: it loses nothing that was acknowledged.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open log of events: %w", err)
	}
	s := &Store{}
	if err := s.open(ctx, cfg); err != nil {
		s.Close()
		where := cfg.Dir
		if cfg.URL != "" {
			where = "NATS" // the address may hold a password
		}
		return nil, fmt.Errorf("open log of events in %s: %w", where, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, cfg Config) (err error) {
	options := []client.Option{
		client.Name("bidwell"),
		client.MaxReconnects(-1),
		client.ReconnectWait(250 * time.Millisecond),
		client.ReconnectBufSize(-1), // while there is no connection, fail
		client.ErrorHandler(logClientError),
	}
	if cfg.URL == "" {
		if s.lock, err = lockDir(cfg.Dir); err != nil {
			return err
		}
		if s.inside, err = runInside(&cfg); err != nil {
			return err
		}
		options = append(options, client.InProcessServer(s.inside))
	}
	if cfg.Guest && cfg.Dir != "" {
		secret, err := readSecret(cfg.Dir)
		if err != nil {
			return err
		}
		options = append(options, client.Token(secret))
	}
	if s.conn, err = client.Connect(cfg.URL, options...); err != nil {
		return err
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		return err
	}
	s.events, err = openStream(ctx, js, cfg, jetstream.StreamConfig{
		Name:      "BIDWELL_EVENTS",
		Subjects:  []string{"bidwell.events"},
		MaxBytes:  cfg.MaxBytes,
		Discard:   jetstream.DiscardNew,
		Replicas:  cfg.Replicas,
		DenyPurge: true, DenyDelete: true,
	})
	if err != nil {
		return err
	}
	s.samples, err = openStream(ctx, js, cfg, jetstream.StreamConfig{
		Name:        "BIDWELL_SAMPLES",
		Subjects:    []string{"bidwell.samples"},
		MaxBytes:    cfg.SampleBytes,
		Discard:     jetstream.DiscardOld,
		Replicas:    1,
		PersistMode: jetstream.AsyncPersistMode,
	})
	if err != nil {
		return err
	}
	s.samples.lossy = true
	s.events.inside = s.inside
	return nil
}

// answerWait is how long a cluster may take to acknowledge a batch. A server
// that stops takes batches with it that nobody will answer for; the server in
// this process does not, and sending its batches twice would make it slower.
const answerWait = 500 * time.Millisecond

// openStream opens the stream that want describes, or makes it, and gives it
// the limits of want.
func openStream(ctx context.Context, js jetstream.JetStream, cfg Config, want jetstream.StreamConfig) (*stream, error) {
	want.Storage = jetstream.FileStorage
	want.MaxAge = cfg.MaxAge
	found, err := js.Stream(ctx, want.Name)
	if cfg.Guest {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = errors.New("there is none yet: the bidder makes it")
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", want.Name, err)
		}
		return newStream(js, found), nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := unread(cfg, want.Name); err != nil {
			return nil, err
		}
		want.FirstSeq = uint64(time.Now().Unix()) << 20 // a million batches a second would catch up with the clock
		found, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another bidder was faster
			found, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	have := found.CachedInfo().Config
	if have.MaxAge != want.MaxAge || have.MaxBytes != want.MaxBytes || have.Replicas != want.Replicas {
		have.MaxAge, have.MaxBytes, have.Replicas = want.MaxAge, want.MaxBytes, want.Replicas
		if found, err = js.UpdateStream(ctx, have); err != nil {
			return nil, fmt.Errorf("stream %s: change its limits: %w", want.Name, err)
		}
	}
	s := newStream(js, found)
	if cfg.URL != "" {
		s.patience = answerWait
	}
	return s, nil
}

// unread makes sure that a stream which the server does not know has no
// messages on disk, so that a damaged log is never replaced by an empty one.
func unread(cfg Config, name string) error {
	if cfg.URL != "" {
		return nil
	}
	blocks, err := filepath.Glob(filepath.Join(cfg.Dir, "jetstream", "*", "streams", name, "msgs", "*.blk"))
	if err == nil && len(blocks) > 0 {
		err = fmt.Errorf("stream %s: %s cannot be read: restore the folder from a copy, or move it away to start an empty log",
			name, filepath.Dir(filepath.Dir(blocks[0])))
	}
	return err
}

// Events is the log of money: what Append has taken is on disk.
func (s *Store) Events() events.Log { return s.events }

// Whole reports whether the log of money has all batches since it began; the
// oldest leave by age.
func (s *Store) Whole(ctx context.Context) (bool, error) {
	found, err := s.events.js.Stream(ctx, s.events.name)
	if err != nil {
		return false, fmt.Errorf("beginning of %s: %w", s.events.name, err)
	}
	return found.CachedInfo().State.FirstSeq <= s.events.start+1, nil
}

// Samples is the log of what may be lost. Its last seconds do not survive a
// crash, and its oldest batches make room for new ones.
func (s *Store) Samples() events.Log { return s.samples }

// Close ends all use of the log and stops the server if it is in this process.
func (s *Store) Close() error {
	if s.conn != nil {
		s.conn.Close()
	}
	s.inside.close()
	return s.lock.release()
}
