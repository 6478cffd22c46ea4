package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bidwell/admin"
	"bidwell/events"
	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/sql"
)

// trials are the consumer of the log that counts what comes of experiments. What
// it counted is written with the positions in the logs, to a file of its own: a
// write takes its time, and people who change a campaign need not wait for it.
type trials struct {
	store  *sql.Store
	rollup *report.Rollup
	stale  bool   // the experiments could not be read when they changed
	gone   uint64 // until there assignments are not waited for any more
}

// saveTrialsEvery is how often what was counted is written.
const saveTrialsEvery = 5 * time.Second

// openTrials reads what was counted before, and the experiments.
func (s *server) openTrials(ctx context.Context) (err error) {
	if s.trials.store, err = sql.Open(ctx, "sqlite:"+filepath.Join(s.cfg.Data, "report.db")); err != nil {
		return err
	}
	if s.trials.rollup, err = report.NewRollup(ctx, s.trials.store, report.RollupConfig{}, models.ArmOf); err != nil {
		return err
	}
	return s.refreshTrials(ctx)
}

// refreshTrials reads the experiments for the bidder and the report. What arms
// predict with is loaded first, and an experiment whose arm cannot have it does
// not run. The report is told before the bidder: of an arm that it does not know
// it counts nothing.
func (s *server) refreshTrials(ctx context.Context) error {
	set, err := admin.Experiments(ctx, s.documents)
	if err != nil {
		return err
	}
	if err := s.models.Name(ctx, slices.Collect(maps.Keys(set.Models)), set.Served()); err != nil {
		return fmt.Errorf("models of experiments: %w", err)
	}
	unusable, err := s.models.Unusable(ctx, set.Served())
	if err != nil {
		return err
	}
	if err := set.LeaveOut(unusable); err != nil {
		return err
	}
	s.trials.rollup.Watch(set.Watched)
	s.bidder.SetExperiments(set.Made)
	for _, p := range set.Problems {
		slog.Warn("an experiment does not run", "experiment", p.ID, "cause", p.Reason)
	}
	return nil
}

func (t *trials) close() error {
	if t.store == nil {
		return nil
	}
	return t.store.Close()
}

// count follows the logs until ctx ends, then writes what is not written yet.
func (t *trials) count(ctx context.Context, b *books) error {
	var all sync.WaitGroup
	var failed [2]error
	all.Go(func() {
		failed[0] = t.follow(ctx, "report", report.Notices, b.log.Events(), func(batch []rtb.Event) error {
			return t.awaitAssigned(ctx, batch, b.log.Samples())
		})
	})
	all.Go(func() {
		failed[1] = t.follow(ctx, "report of samples", report.Samples, b.log.Samples(), func([]rtb.Event) error { return nil })
	})
	tick := time.NewTicker(saveTrialsEvery)
	defer tick.Stop()
	for saving := true; saving; {
		select {
		case <-tick.C:
			t.save(ctx)
		case <-ctx.Done():
			saving = false
		}
	}
	all.Wait()
	t.save(context.WithoutCancel(ctx))
	if failed[0] != nil {
		return failed[0]
	}
	return failed[1]
}

// follow has a log counted. Before is called ahead of each batch.
func (t *trials) follow(ctx context.Context, name string, of report.Source, log events.Log, before func(batch []rtb.Event) error) error {
	return follow(ctx, name, log, func() (uint64, error) {
		last, err := log.Last(ctx)
		if err != nil {
			return 0, err
		}
		t.rollup.Rewind(of, last)
		return t.rollup.Position(of), nil
	}, func(position uint64, batch []rtb.Event) error {
		if err := before(batch); err != nil {
			return err
		}
		return t.rollup.Apply(ctx, of, position, batch)
	})
}

// maxAssigning is how long nothing may come of the log of samples.
const maxAssigning = 10 * time.Second

// awaitAssigned waits, before conversions that were uploaded are counted, until
// it is known who is in which experiment by now: that comes through the log of
// samples, and after a start both are read side by side. It does not wait for
// samples that never come, as they left their log by age.
func (t *trials) awaitAssigned(ctx context.Context, batch []rtb.Event, samples events.Log) error {
	uploaded := false
	for i := range batch {
		uploaded = uploaded || batch[i].Uploaded()
	}
	if !uploaded {
		return nil
	}
	last, err := samples.Last(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for known, moved := uint64(0), time.Now(); ; {
		at := t.rollup.Position(report.Samples)
		if at != known {
			known, moved = at, time.Now()
		}
		if at >= last || last <= t.gone {
			return nil
		}
		if time.Since(moved) > maxAssigning {
			slog.Warn("uploaded conversions are counted without all assignments", "read", at, "written", last)
			t.gone = last
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// save writes what was counted. What cannot be written now is tried again.
func (t *trials) save(ctx context.Context) {
	if err := t.rollup.Save(ctx); err != nil && ctx.Err() == nil {
		slog.Error("what was counted of experiments is not saved", "cause", err)
	}
}
