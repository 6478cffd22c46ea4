package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"bidwell/admin"
	"bidwell/store/nats"
	"bidwell/store/sql"
)

// trainer is a process that learns, and judges the versions that serve, for
// bidders that are other processes. It has what learning needs and no more.
type trainer struct {
	cfg config
	exchanges
	log      *nats.Store
	models   shelf
	learning *learning
	watch    *admin.Server
}

// openTrainer opens what learning needs. Run or close it.
func openTrainer(ctx context.Context, cfg config) (_ *trainer, err error) {
	t := &trainer{cfg: cfg, exchanges: exchanges{publicURL: cfg.PublicURL}}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if !used(cfg.Data) { // else it would teach nobody, and nobody would know
		return nil, fmt.Errorf("data: no bidder has kept its books in %s yet: a trainer works in the data folder of its bidder, on the same machine", cfg.Data)
	}
	lock, err := lockLearning(cfg.Data) // before anything waits for the log
	if err != nil {
		return nil, err
	}
	t.learning = &learning{lock: lock, publishes: true, every: max(cfg.Learn.Every, publishEvery)}
	if err := keepCurrency(cfg.Data, cfg.Account); err != nil {
		return nil, err
	}
	at := nats.DefaultConfig()
	at.URL, at.Guest, at.Dir = cfg.Log.URL, true, filepath.Join(cfg.Data, "log")
	if t.log, err = nats.Open(ctx, at); err != nil {
		return nil, err
	}
	if t.documents, err = sql.Open(ctx, "sqlite:"+filepath.Join(cfg.Data, "documents.db")); err != nil {
		return nil, err
	}
	if err := t.refreshExchanges(ctx); err != nil {
		return nil, err
	}
	if err := t.models.open(ctx, &cfg, nil, time.Now); err != nil {
		return nil, err
	}
	if err := t.learning.open(ctx, &cfg, t.log, t.models.Registry, &t.exchanges, time.Now); err != nil {
		return nil, err
	}
	showAge(t.learning.confirmedUntil)
	set := admin.DefaultConfig()
	set.Listen, set.DrainWait = cfg.Admin, max(cfg.Drain, time.Millisecond)
	t.watch, err = admin.NewWatch(set, t.learning.ready)
	return t, err
}

// run learns until ctx ends.
func (t *trainer) run(ctx context.Context) error {
	defer t.close()
	people, err := t.watch.Listen(ctx)
	if err != nil {
		return fmt.Errorf("listen for people (--admin.listen): %w", err)
	}
	return t.serve(ctx, people)
}

func (t *trainer) serve(ctx context.Context, people net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return t.watch.Serve(ctx, people) })
	group.Go(func() error { return ignoreCanceled(t.models.Run(ctx)) })
	group.Go(func() error { return ignoreCanceled(t.learning.run(ctx)) })
	group.Go(func() error { t.followExchanges(ctx, t.cfg.Reload); return nil })
	slog.Info("learning", "data", t.cfg.Data, "watch", "http://"+t.cfg.Admin)
	err := group.Wait()
	slog.Info("stopped")
	return err
}

// followExchanges reads the profiles of exchanges again whenever documents have
// changed, until ctx ends.
func (s *exchanges) followExchanges(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	have, trouble := uint64(0), ""
	for {
		version, err := s.documents.Version(ctx)
		if err == nil && version != have {
			if err = s.refreshExchanges(ctx); err == nil {
				have = version
			}
		}
		if err != nil && ctx.Err() == nil && err.Error() != trouble {
			slog.Warn("exchange profiles stay as they were", "cause", err)
		}
		if trouble = ""; err != nil {
			trouble = err.Error()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *trainer) close() {
	var errs []error
	if t.log != nil {
		errs = append(errs, t.log.Close())
	}
	if t.documents != nil {
		errs = append(errs, t.documents.Close())
	}
	errs = append(errs, t.models.close(), t.learning.close()) // last: another may learn now
	if err := errors.Join(errs...); err != nil {
		slog.Error("close stores", "cause", err)
	}
}
