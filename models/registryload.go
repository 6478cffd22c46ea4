package models

import (
	"bidwell/rtb"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Run follows the store until ctx ends: what became live there serves here
// after the next poll. A model that cannot be used is left out and what served
// before goes on.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Poll)
	defer tick.Stop()
	trouble := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		err := r.Refresh(ctx)
		if r.following.shader != nil {
			err = errors.Join(err, r.follow(ctx)) // versions are judged where they are learned
		} else {
			err = errors.Join(err, r.Judge(ctx))
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && err.Error() != trouble:
			trouble = err.Error()
			slog.Error("models stay as they are", "cause", err)
		case err == nil && trouble != "":
			trouble = ""
			slog.Info("models are followed again")
		}
	}
}

// Judge takes a version out of service that the monitor finds bad. It is for one
// goroutine, [Registry.Run] calls it.
func (r *Registry) Judge(ctx context.Context) error {
	r.mu.Lock()
	all := r.all
	r.mu.Unlock()
	live, canary := r.monitor.Judge(all)
	var errs []error
	for _, c := range []struct {
		of      *Version
		verdict Verdict
	}{{all.Canary(), canary}, {all.Live(), live}} {
		if !c.verdict.Bad {
			continue
		}
		number := c.of.Number
		if c.of.Status == Live && all.previous(c.of) == nil {
			if r.accused != number {
				slog.Warn("the live model predicts badly, and there is none to go back to", "version", number, "cause", c.verdict.Reason)
			}
			r.accused = number
			continue
		}
		_, err := r.apply(ctx, number, func(v *Version) error {
			if v.Status != c.of.Status {
				return errChanged
			}
			return nil
		}, false, func(all Versions, now time.Time) (Versions, error) {
			return all.Rollback(number, c.verdict.Reason, false, now)
		})
		if errors.Is(err, errChanged) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("roll back version %d: %w", number, err))
			continue
		}
		modelRollbacks.Inc()
		slog.Warn("model rolled back", "version", number, "was", c.of.Status.String(), "cause", c.verdict.Reason)
	}
	return errors.Join(errs...)
}

var errChanged = errors.New("somebody else was faster")

// Refresh reads what has changed in the store and puts it into service.
func (r *Registry) Refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	revision, err := r.store.ModelRevision(ctx)
	if err != nil || revision == r.revision {
		return err
	}
	changed, revision, err := r.store.ModelVersions(ctx, r.revision)
	if err != nil {
		return err
	}
	all := slices.Clone(r.all)
	live := r.all.Live()
	for _, c := range changed {
		known := all.Of(c.Number)
		switch serves := c.Status == Live || c.Status == Canary; {
		case !serves || known != nil && (known.Status == Live || known.Status == Canary):
		case known == nil && c.Origin == FromLearner && live != nil && live.Origin == FromLearner && live.Number == c.Before:
			r.monitor.Follow(live.Number, c.Number)
		default:
			r.monitor.Begin(c.Number)
		}
		if known != nil {
			*known = c
		} else {
			all = append(all, c)
			slices.SortFunc(all, func(a, b Version) int { return int(a.Number) - int(b.Number) })
		}
	}
	all = slices.DeleteFunc(all, func(v Version) bool { return !v.Kept })
	if err := r.load(ctx, all); err != nil {
		return err // and the same changes are read again
	}
	r.monitor.Retain(all)
	r.all, r.revision = all, revision
	return nil
}

// load puts what serves into service and keeps what is compared at hand.
func (r *Registry) load(ctx context.Context, all Versions) error {
	live, canary := all.Live(), all.Canary()
	if was := r.predictor.Model().Version; live != nil && was != live.Number {
		delete(r.loaded, was) // it may be more than its file: what was learned in its name, see Learn
	}
	var liveModel, canaryModel *Model
	var err error
	wanted := map[uint32]*Model{}
	want := func(v *Version) (m *Model) {
		if v == nil || err != nil {
			return nil
		}
		if m = wanted[v.Number]; m != nil {
			return m
		}
		if m, err = r.model(ctx, v.Number); m != nil {
			wanted[v.Number] = m
		}
		return m
	}
	liveModel, canaryModel = want(live), want(canary)
	if liveModel == nil && live != nil && !r.served { // at the start there is none to stay with
		of := live
		for range all { // no longer, for versions can have been live before each other
			if of = all.previous(of); of == nil || liveModel != nil {
				break
			}
			liveModel = want(of)
		}
	}
	var compared []*Model
	for i := len(all) - 1; i >= 0 && len(compared) < maxCompared; i-- {
		if all[i].Status == Shadow {
			if m := want(&all[i]); m != nil {
				compared = append(compared, m)
			}
		}
	}
	var named []*Model
	for _, number := range r.named {
		if m := want(all.Of(number)); m != nil && m != liveModel && m != canaryModel {
			named = append(named, m)
		}
	}
	if err != nil {
		return err
	}
	for number := range r.broken {
		if all.Of(number) == nil {
			delete(r.broken, number)
		}
	}
	before := r.predictor.serving.Load()
	next := serving{live: before.live, canary: canaryModel}
	if liveModel != nil {
		next.live = liveModel
	}
	if canaryModel != nil {
		next.share = canary.Share
	}
	copy(next.named[:], named)
	for i := range all { // also where no arm is told of: the log has the impressions of all processes
		if all[i].Held && all[i].Status != Live {
			r.monitor.Part(all[i].Number)
		}
	}
	wanted[next.live.Version] = next.live
	r.loaded, r.compared, r.served = wanted, compared, true
	if next != *before {
		r.predictor.serving.Store(&next)
		modelSwaps.Inc()
		servedVersion.Set(float64(next.live.Version))
		slog.Info("model in service", "version", next.live.Version, "canary", numberOf(canaryModel), "share", next.share, "named", len(named))
	}
	return nil
}

func numberOf(m *Model) uint32 {
	if m == nil {
		return 0
	}
	return m.Version
}

// model is that of a version, read unless it is at hand; nil where its body is
// of no use. Others are errors of the store.
func (r *Registry) model(ctx context.Context, number uint32) (*Model, error) {
	if m := r.loaded[number]; m != nil {
		return m, nil
	}
	if r.broken[number] != nil {
		return nil, nil
	}
	body, err := r.store.ModelBody(ctx, number)
	if err != nil && !errors.Is(err, rtb.ErrNotFound) {
		return nil, err
	}
	if err == nil {
		var m *Model
		if m, err = usable(body); err == nil {
			m.Version = number
			return m, nil
		}
	}
	r.broken[number] = err
	slog.Error("a model cannot be used; what served before goes on", "version", number, "cause", err)
	return nil, nil
}
