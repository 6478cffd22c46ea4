package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/nats-io/nats.go/jetstream"

	"bidwell/events"
	"bidwell/rtb"
)

var (
	logGaps    = metrics.NewCounter("bidwell_log_gaps_total")
	logResumes = metrics.NewCounter("bidwell_log_consumer_resumes_total")
)

// stream is an events.Log.
type stream struct {
	js       jetstream.JetStream
	name     string
	subject  string
	start    uint64 // position before the first batch ever
	lossy    bool
	inside   *inside       // to be told of failures; may be nil
	patience time.Duration // how long Append waits for an answer; zero: until its context ends
	buffers  sync.Pool     // of *[]byte
}

func newStream(js jetstream.JetStream, found jetstream.Stream) *stream {
	cfg := found.CachedInfo().Config
	s := &stream{js: js, name: cfg.Name, subject: cfg.Subjects[0], start: max(cfg.FirstSeq, 1) - 1}
	s.buffers.New = func() any { return new([]byte) }
	return s
}

// Append implements [events.Log].
func (s *stream) Append(ctx context.Context, batch []rtb.Event) error {
	if len(batch) == 0 {
		return nil
	}
	if most := s.js.Conn().MaxPayload(); int64(events.BatchSize(batch)) > most {
		return fmt.Errorf("%s: %d events are too large for one batch: %d bytes, at most %d", s.name, len(batch), events.BatchSize(batch), most)
	}
	if s.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.patience)
		defer cancel()
	}
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	*buf = events.AppendBatch((*buf)[:0], batch)
	if _, err := s.js.Publish(ctx, s.subject, *buf); err != nil {
		s.inside.failed(err)
		return fmt.Errorf("append to %s: %w", s.name, err)
	}
	return nil
}

// Last implements [events.Log].
func (s *stream) Last(ctx context.Context) (uint64, error) {
	found, err := s.js.Stream(ctx, s.name)
	if err != nil {
		return 0, fmt.Errorf("last position of %s: %w", s.name, err)
	}
	if last := found.CachedInfo().State.LastSeq; last > s.start {
		return last, nil
	}
	return 0, nil
}

// Consume implements [events.Log]. A subscription that breaks is made again
// from where it was. Batches that have left the log by age, or by a crash that
// a log of samples does not survive, are skipped, counted and reported.
func (s *stream) Consume(ctx context.Context, after uint64, apply func(position uint64, batch []rtb.Event) error) error {
	c := consumption{stream: s, position: after, apply: apply}
	pause := time.Duration(0)
	for {
		position := c.position
		broken := c.follow(ctx)
		var stop *stopError
		switch {
		case errors.As(broken, &stop):
			return stop.error
		case ctx.Err() != nil:
			return ctx.Err()
		case s.js.Conn().IsClosed():
			return fmt.Errorf("%s: the store is closed: %w", s.name, broken)
		}
		if pause = min(2*pause+50*time.Millisecond, 2*time.Second); c.position != position {
			pause = 0
		}
		logResumes.Inc()
		slog.Warn("log of events: subscription broke", "stream", s.name, "position", c.position, "error", broken)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// stopError is an error that ends Consume, where others only end a
// subscription.
type stopError struct{ error }

// consumption is the state of one call of Consume.
type consumption struct {
	*stream
	position uint64 // of the last batch applied
	begun    bool
	apply    func(position uint64, batch []rtb.Event) error
	batch    []rtb.Event
}

// begin makes sure that the log is the one that its consumer knows.
func (c *consumption) begin(ctx context.Context) error {
	last, err := c.Last(ctx)
	if err != nil {
		return err
	}
	c.begun = true
	if c.position < c.start {
		if c.position > 0 {
			c.gap(c.start + 1)
		}
		c.position = c.start
	}
	if last = max(last, c.start); c.position <= last {
		return nil
	}
	if !c.lossy {
		return &stopError{fmt.Errorf("%s ends at position %d, and its consumer has seen %d: it is not the log that the consumer knows", c.name, last, c.position)}
	}
	c.gap(last)
	c.position = last
	return nil
}

func (c *consumption) gap(next uint64) {
	logGaps.Inc()
	slog.Warn("log of events: batches are gone", "stream", c.name, "after", c.position, "next", next)
}

// follow subscribes behind the position and applies what comes, until
// something breaks.
func (c *consumption) follow(ctx context.Context) error {
	if !c.begun {
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	consumer, err := c.js.CreateConsumer(ctx, c.name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       c.position + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(maxPayload), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for number := uint64(1); ; number++ {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := message.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != number {
			return fmt.Errorf("message %d came where %d was due", meta.Sequence.Consumer, number)
		}
		if err := c.take(meta.Sequence.Stream, message.Data()); err != nil {
			return &stopError{err}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// take applies one batch.
func (c *consumption) take(position uint64, data []byte) (err error) {
	if position != c.position+1 {
		c.gap(position)
	}
	if c.batch, err = events.ReadBatch(data, c.batch); err != nil {
		return fmt.Errorf("%s, position %d: %w", c.name, position, err)
	}
	if err := c.apply(position, c.batch); err != nil {
		return err
	}
	c.position = position
	return nil
}
