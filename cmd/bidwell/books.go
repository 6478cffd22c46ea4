package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"bidwell/events"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/store/nats"
	"bidwell/store/pebble"
	"bidwell/targeting/audience"
)

// books are where it is kept what happened and what it cost: the log of
// notices, the accounts, and those who bring the one into the other.
//
// The consumers of the log are, each with the position in the store it writes:
//
//	ledger    accounts   money, impressions and clicks; then the pacer's holds
//	report    report.db  what came of the bids for users in experiments
//	recorder  profiles   impressions of capped users; then the bidder's holds of them
type books struct {
	log      *nats.Store
	writer   *events.Writer
	samples  *events.Samples
	accounts *pebble.Accounts
	ledger   *pacing.Ledger
	recorder *audience.Recorder

	// caughtUp is closed once all that was in the log at the start is booked, and
	// recorded once all its impressions are: before that it is not known what was
	// spent, nor who has seen what, and nothing may be leased.
	caughtUp, recorded chan struct{}

	behind atomic.Bool // the ledger cannot book what is in the log

	// uploading is held while a batch of conversions is looked up, written and
	// booked: of two uploads of one list one knows what the other has done.
	uploading sync.Mutex
}

// openBooks opens the log and the accounts.
func (s *server) openBooks(ctx context.Context) (err error) {
	b := &s.books
	b.caughtUp, b.recorded = make(chan struct{}), make(chan struct{})
	cfg := nats.DefaultConfig()
	cfg.URL, cfg.Dir, cfg.MaxAge = s.cfg.Log.URL, filepath.Join(s.cfg.Data, "log"), s.cfg.Log.Keep
	cfg.Replicas, cfg.Listen = s.cfg.Log.Replicas, s.cfg.Log.Listen
	if b.log, err = nats.Open(ctx, cfg); err != nil {
		return err
	}
	if b.accounts, err = pebble.OpenAccounts(filepath.Join(s.cfg.Data, "accounts"), pebble.AccountOptions{}); err != nil {
		return err
	}
	if err := b.recoverable(ctx); err != nil {
		if s.cfg.Log.URL == "" {
			return err
		}
		slog.Warn("budgets may be spent twice", "cause", err)
	}
	b.writer = events.NewWriter(b.log.Events(), events.WriterConfig{})
	b.samples = events.NewSamples(b.log.Samples(), events.SamplesConfig{})
	now := s.clock.Now()
	s.pacer = pacing.NewPacer(rand.Uint32(), now)
	return errors.Join(
		s.pacer.HoldFor(s.cfg.Pacing.Hold, now),
		s.pacer.LeaseFor(s.cfg.Pacing.Lease),
		s.pacer.SilenceFor(s.cfg.Pacing.Silence),
	)
}

// recoverable makes sure that new accounts can be made from the log: from a part
// of it they would give money back that was spent.
func (b *books) recoverable(ctx context.Context) error {
	at, err := b.accounts.Position(ctx)
	if err != nil || at > 0 {
		return err
	}
	whole, err := b.log.Whole(ctx)
	if err == nil && !whole {
		err = errors.New("the accounts are empty, and the log does not reach back to its beginning, so what was spent is not known: " +
			"restore the folder accounts from a copy, or move the folder log away too, and all budgets begin anew")
	}
	return err
}

// convert is a price in the account currency, zero where that is not known.
func (s *server) convert(price rtb.Money, c rtb.Currency) rtb.Money {
	converted, _ := s.bidder.Rates.ToAccount(price, c)
	return converted
}

// buildBooks puts the consumers together, once the bidder that they tell is
// there.
func (s *server) buildBooks() {
	s.books.ledger = pacing.NewLedger(s.books.accounts, s.convert, func(e *rtb.Event, seen pacing.Kinds) {
		s.pacer.Apply(e, seen, s.clock.Now())
		s.bidder.Exposures.Apply(e)
	})
	s.books.recorder = audience.NewRecorder(s.profiles, func(e *rtb.Event) time.Duration { return s.catalog.Index().Remember(e) })
}

// run keeps the books until ctx ends, and then until everything that was
// answered is booked.
func (b *books) run(ctx context.Context, s *server) error {
	// The writer ends first, then the consumers have the rest of the log.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	defer stopReading()
	var writers, readers sync.WaitGroup
	failed := make(chan error, 5)
	start := func(group *sync.WaitGroup, work func() error) {
		group.Go(func() {
			if err := ignoreCanceled(work()); err != nil {
				failed <- err
			}
		})
	}
	start(&writers, func() error { return b.writer.Run(writing) })
	start(&writers, func() error { return b.samples.Run(writing) })
	start(&readers, func() error { return b.keep(reading) })
	start(&readers, func() error { return b.record(reading, s) })
	start(&readers, func() error { return s.trials.count(reading, b) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopWriting()
	writers.Wait()
	if err == nil {
		if late := b.finish(context.WithoutCancel(ctx)); late != nil {
			slog.Warn("the rest of the log is booked at the next start", "cause", late)
		}
	}
	stopReading()
	readers.Wait()
	select {
	case other := <-failed:
		err = errors.Join(err, other)
	default:
	}
	return err
}

// keep brings the log into the accounts.
func (b *books) keep(ctx context.Context) error {
	begun := false
	return b.follow(ctx, "ledger", b.caughtUp, func() (uint64, error) {
		b.behind.Store(begun) // it has failed, until the batch where it did is booked
		begun = true
		return b.accounts.Position(ctx)
	}, func(position uint64, batch []rtb.Event) error {
		err := b.ledger.Apply(position, batch)
		if err == nil {
			b.behind.Store(false)
		}
		return err
	})
}

// maxFailing is how long the log may take nothing before nothing is leased.
const maxFailing = 5 * time.Second

// leased are the accounts as the pacer leases from them.
type leased struct {
	pacing.Accounts
	books *books
}

// Lease grants nothing while what bids cost cannot be written down: their holds
// would expire, and the money be bid with again. So bidding stops when the
// leases at hand have ended, long before that.
func (l leased) Lease(ctx context.Context, node uint32, now time.Time, asks []pacing.Ask) ([]pacing.Grant, error) {
	if err := l.books.trouble(); err != nil {
		return nil, err
	}
	return l.Accounts.Lease(ctx, node, now, asks)
}

// trouble is why what bids cost cannot be written down just now.
func (b *books) trouble() error {
	switch {
	case b.writer.Failing() > maxFailing:
		return errors.New("the log takes no notices")
	case b.behind.Load():
		return errors.New("the ledger cannot book the log")
	}
	return nil
}

// record brings the log into the profiles.
func (b *books) record(ctx context.Context, s *server) error {
	select { // the line items say what is remembered, and for how long
	case <-s.catalog.Ready():
	case <-ctx.Done():
		return nil
	}
	return b.follow(ctx, "recorder", b.recorded, func() (uint64, error) { return b.recorder.Recorded(), nil },
		func(position uint64, batch []rtb.Event) error {
			if err := b.recorder.Apply(position, batch); err != nil {
				return err
			}
			s.bidder.Exposures.Recorded(batch) // not before: an impression must always count somewhere
			return nil
		})
}

// follow has a consumer take the log from its position on. It closes caughtUp
// once the consumer has all that is in the log now.
func (b *books) follow(ctx context.Context, name string, caughtUp chan struct{}, position func() (uint64, error), apply func(uint64, []rtb.Event) error) error {
	last, err := b.log.Events().Last(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	done := sync.OnceFunc(func() { close(caughtUp) })
	return follow(ctx, name, b.log.Events(), func() (uint64, error) {
		at, err := position()
		if err == nil && at >= last {
			done()
		}
		return at, err
	}, func(position uint64, batch []rtb.Event) error {
		if err := apply(position, batch); err != nil {
			return err
		}
		if position >= last {
			done()
		}
		return nil
	})
}

// follow has apply take the log from where it stands, over and over again when
// it fails: what a consumer could not write now it may write in a while, and
// nothing is lost meanwhile.
func follow(ctx context.Context, name string, log events.Log, position func() (uint64, error), apply func(uint64, []rtb.Event) error) error {
	wait, trouble := time.Second, ""
	for {
		at, err := position()
		if err == nil {
			err = log.Consume(ctx, at, func(position uint64, batch []rtb.Event) error {
				err := apply(position, batch)
				if err == nil && trouble != "" {
					slog.Info("a consumer of the log goes on", "consumer", name)
					wait, trouble = time.Second, ""
				}
				return err
			})
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("the log has ended")
		}
		if err.Error() != trouble {
			trouble = err.Error()
			slog.Error("a consumer of the log waits before it tries again", "consumer", name, "cause", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, 30*time.Second)
	}
}

// finish waits until the ledger has booked all that is in the log.
func (b *books) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	last, err := b.log.Events().Last(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		at, err := b.accounts.Position(ctx)
		if err != nil || at >= last && b.recorder.Recorded() >= last {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// close closes the stores that are open.
func (b *books) close() error {
	var errs []error
	if b.log != nil {
		errs = append(errs, b.log.Close())
	}
	if b.accounts != nil {
		errs = append(errs, b.accounts.Close())
	}
	return errors.Join(errs...)
}
