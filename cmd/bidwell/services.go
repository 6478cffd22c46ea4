package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bidwell/admin"
	"bidwell/bidder"
	"bidwell/bidder/openrtb"
	"bidwell/events"
	"bidwell/events/track"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/store/pebble"
	"bidwell/store/sql"
	"bidwell/targeting"
	"bidwell/targeting/audience"
)

// server is one running bidwell: the stores, and the services on top of them.
type server struct {
	cfg   config
	lock  io.Closer // of the data folder
	keys  *keyFile
	ring  *events.Keyring // of the token keys
	clock *bidder.Clock

	exchanges
	profiles *pebble.Store
	cache    *bidder.Cache // in front of profiles

	compiler *admin.Compiler
	catalog  *targeting.Catalog
	pacer    *pacing.Pacer
	books    books
	trials   trials
	models   shelf
	learning *learning // nil where it is off
	bidder   *bidder.Bidder
	tracker  *track.Handler
	importer *audience.Importer
	admin    *admin.Server

	known     atomic.Pointer[known]
	listening chan struct{} // closed once both listeners are open
	draining  atomic.Bool
}

// openServer opens the stores and puts the services together. Close it.
func openServer(ctx context.Context, cfg config, getenv func(string) string) (_ *server, err error) {
	s := &server{cfg: cfg, exchanges: exchanges{publicURL: cfg.PublicURL}, clock: bidder.RealTime(), catalog: targeting.NewCatalog(), listening: make(chan struct{})}
	if !cfg.Simulated.IsZero() {
		s.clock = bidder.SimulatedTime(cfg.Simulated)
		slog.Warn("time is simulated: requests move the clock", "from", cfg.Simulated)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	if s.lock, err = lockFolder(cfg.Data); err != nil {
		return nil, err
	}
	if err := keepCurrency(cfg.Data, cfg.Account); err != nil {
		return nil, err
	}
	if s.keys, err = openKeys(cfg.Data, cfg.KeyLife, time.Now(), getenv); err != nil {
		return nil, err
	}
	if s.ring, err = events.NewKeyring(s.keys.Tokens); err != nil {
		return nil, err
	}
	if s.profiles, err = pebble.Open(filepath.Join(cfg.Data, "profiles"), pebble.Options{}); err != nil {
		return nil, err
	}
	if s.documents, err = sql.Open(ctx, "sqlite:"+filepath.Join(cfg.Data, "documents.db")); err != nil {
		return nil, err
	}
	if err := s.openBooks(ctx); err != nil {
		return nil, err
	}
	s.importer = audience.NewImporter(s.profiles, &s.keys.Salt)
	if err := s.refreshExchanges(ctx); err != nil {
		return nil, err
	}
	if err := s.openModels(ctx); err != nil {
		return nil, err
	}
	if err := s.buildBidder(); err != nil {
		return nil, err
	}
	s.buildBooks()
	if err := s.learnOrFollow(ctx); err != nil {
		return nil, err
	}
	if err := s.openTrials(ctx); err != nil {
		return nil, err
	}
	if err := s.readKnown(ctx); err != nil {
		return nil, err
	}
	return s, s.buildAdmin()
}

func (s *server) buildBidder() (err error) {
	if s.cache, err = bidder.NewCache(s.profiles, int64(s.cfg.CacheMB)<<20); err != nil {
		return err
	}
	s.bidder, err = bidder.New(s.cfg.Bid, bidder.Parts{
		Catalog:   s.catalog,
		Profiles:  s.cache,
		Pacer:     s.pacer,
		Predictor: s.models.Predictor(),
		Keys:      s.ring,
		Exchanges: s.directory.Load(),
		Rates:     rtb.NewRates(s.cfg.Account, s.cfg.Rates),
		Salt:      &s.keys.Salt,
		Samples:   s.books.samples,
		Clock:     s.clock,
	})
	if err != nil {
		return err
	}
	s.tracker = track.New(track.Parts{
		Keys:    s.ring,
		Repeats: events.NewDedup(20),
		Price:   s.bidder.OpenPrice,
		Bill:    s.bidder.Bill,
		Write:   s.books.writer.Write,
		Landing: s.landing,
	})
	return nil
}

func (s *server) buildAdmin() (err error) {
	s.compiler = admin.NewCompiler(s.documents, s.exchangeID, s.prepare)
	cfg := admin.DefaultConfig()
	cfg.Listen = s.cfg.Admin
	cfg.DrainWait = max(s.cfg.Drain, time.Millisecond)
	parts := admin.Parts{
		Documents:        s.documents,
		Compiler:         s.compiler,
		Import:           s.importMembers,
		Convert:          s.importConversions,
		SegmentSize:      func(id rtb.SegmentID) (int64, error) { return s.profiles.SegmentSize(s.clock.Now(), id), nil },
		Explain:          s.explain,
		Pacing:           s.pacing,
		Resume:           s.pacer.Resume,
		Discrepancies:    s.books.accounts.Tallies,
		Shading:          s.bidder.Shader.Savings,
		Models:           s.models.Registry,
		ValidateExchange: s.validateExchange,
		RedactExchange:   redactExchange,
		ExchangeID:       s.exchangeID,
		ExchangeName:     s.exchangeName,
		ExchangeProblems: s.exchangeProblems,
		Answer:           s.prepare,
		Ready:            s.ready,
		ExperimentResult: s.trials.rollup.Result,
		Now:              s.clock.Now,
	}
	if s.learning != nil {
		parts.Maturity = s.learning.maturity
	}
	s.admin, err = admin.New(cfg, parts)
	return err
}

// prepare makes the markup of a creative.
func (s *server) prepare(c *rtb.Creative) error { return openrtb.Compile(c, s.cfg.PublicURL) }

func (s *server) exchangeID(name string) (rtb.ExchangeID, bool) {
	ex := s.directory.Load().Lookup([]byte(name))
	if ex == nil {
		return 0, false
	}
	return ex.ID, true
}

func (s *server) exchangeName(id rtb.ExchangeID) (string, bool) {
	ex := s.directory.Load().ByID(id)
	if ex == nil {
		return "", false
	}
	return ex.Name, true
}

func (s *server) explain(name string, body []byte) (rtb.Explanation, error) {
	explanation, err := s.bidder.Explain(name, body, s.clock.Now())
	var unknown bidder.ErrUnknownExchange
	if errors.As(err, &unknown) {
		return explanation, fmt.Errorf("%w: %w", rtb.ErrNotFound, err)
	}
	return explanation, err
}

func (s *server) ready() error {
	if s.draining.Load() {
		return errors.New("stopping")
	}
	for _, wait := range []struct {
		until <-chan struct{}
		what  string
	}{
		{s.catalog.Ready(), "campaigns are not loaded yet"},
		{s.books.caughtUp, "what happened before the start is not booked yet"},
		{s.books.recorded, "impressions from before the start are not counted yet"},
	} {
		select {
		case <-wait.until:
		default:
			return errors.New(wait.what)
		}
	}
	return s.books.trouble() // then it soon bids no more: traffic should go elsewhere
}

// load is what the catalog follows: documents in, line items with markup and
// pacer slots out. Exchange profiles are documents too and change with them.
func (s *server) load(ctx context.Context, have uint64) ([]rtb.LineItem, uint64, error) {
	version, err := s.documents.Version(ctx)
	if err != nil || (version == have && s.loaded() && !s.trials.stale) {
		return nil, version, err
	}
	if err := s.refreshExchanges(ctx); err != nil {
		slog.Warn("exchange profiles stay as they were", "cause", err)
	} else {
		s.bidder.SetExchanges(s.directory.Load())
	}
	err = s.refreshTrials(ctx)
	if err != nil && !s.trials.stale {
		slog.Warn("experiments stay as they were", "cause", err)
	}
	s.trials.stale = err != nil
	items, version, err := s.compiler.LineItems(ctx, have)
	if err != nil || items == nil {
		return items, version, err
	}
	s.pacer.Assign(items, s.clock.Now())
	s.keepKnown(items)
	return items, version, nil
}

func (s *server) loaded() bool {
	select {
	case <-s.catalog.Ready():
		return true
	default:
		return false
	}
}

// run serves until ctx ends, then drains: readyz fails first, requests under
// way finish, and the stores are closed last.
func (s *server) run(ctx context.Context) error {
	defer s.close()
	people, err := s.admin.Listen(ctx)
	if err != nil {
		return fmt.Errorf("listen for people (--admin.listen): %w", err)
	}
	exchanges, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Bid.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for exchanges (--bid.listen): %w", err), people.Close())
	}
	close(s.listening)
	group, ctx := errgroup.WithContext(ctx)

	// What requests need goes on until the last of them has been answered.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	inside, inner := errgroup.WithContext(inner)
	inside.Go(func() error { return ignoreCanceled(s.catalog.Follow(inner, s.load, s.cfg.Reload)) })
	inside.Go(func() error { return s.lease(inner) })
	booking, stopBooking := context.WithCancel(inner)
	defer stopBooking()
	booked := make(chan struct{})
	inside.Go(func() error {
		defer close(booked)
		return s.books.run(booking, s)
	})
	inside.Go(func() error { return ignoreCanceled(s.keys.run(inner, s.ring)) })
	inside.Go(func() error { return ignoreCanceled(s.models.Run(inner)) })
	inside.Go(func() error { return ignoreCanceled(s.learning.run(inner)) })

	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdmin()
	var adminErr error
	adminDone := make(chan struct{})
	go func() {
		defer close(adminDone)
		adminErr = s.admin.Serve(adminCtx, people)
	}()

	// The listener of the exchanges closes after readyz has begun to fail.
	bidding, stopBidding := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer stopBidding()
		defer s.draining.Store(true)
		select {
		case <-ctx.Done():
			s.draining.Store(true)
			slog.Info("stopping", "delay", s.cfg.Delay, "drain", s.cfg.Drain)
			select {
			case <-time.After(s.cfg.Delay):
			case <-adminDone:
			}
			return nil
		case <-adminDone:
			return adminErr
		case <-inner.Done(): // inside.Wait says why
			return nil
		}
	})
	group.Go(func() error { return s.bidder.ServeListener(bidding, exchanges, s.tracker, s.cfg.Drain) })
	if !strings.HasPrefix(s.cfg.PublicURL, "https://") {
		slog.Warn("impressions that demand https get no bid", "public-url", s.cfg.PublicURL)
	}
	slog.Info("serving", "exchanges", s.cfg.Bid.Listen, "admin", "http://"+s.cfg.Admin, "public-url", s.cfg.PublicURL)

	err = group.Wait()
	stopAdmin()
	<-adminDone // it uses the stores
	if err == nil {
		err = adminErr
	}
	stopBooking()
	<-booked // before what is not held is given back
	stop()
	err = errors.Join(err, inside.Wait())
	slog.Info("stopped")
	return err
}

// lease lets the pacer lease budgets and steer, once it is known what was
// spent before, and who has seen what.
func (s *server) lease(ctx context.Context) error {
	for _, known := range []<-chan struct{}{s.books.caughtUp, s.books.recorded} {
		select {
		case <-ctx.Done():
			return nil
		case <-known:
		}
	}
	every := time.Second
	if !s.cfg.Simulated.IsZero() {
		every = time.Millisecond // in which a simulated second may pass
	}
	return ignoreCanceled(s.pacer.Run(ctx, leased{s.books.accounts, &s.books}, s.clock.Now, every))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *server) close() {
	var errs []error
	if s.cache != nil {
		s.cache.Close()
	}
	if s.profiles != nil {
		errs = append(errs, s.profiles.Close())
	}
	if s.documents != nil {
		errs = append(errs, s.documents.Close())
	}
	errs = append(errs, s.models.close(), s.books.close(), s.trials.close(), s.learning.close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close()) // last: another may open the stores now
	}
	if err := errors.Join(errs...); err != nil {
		slog.Error("close stores", "cause", err)
	}
}
