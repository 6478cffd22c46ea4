package models

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

var (
	publications        = metrics.NewCounter("bidwell_publications_total")
	publicationsTaken   = metrics.NewCounter("bidwell_publications_taken_total")
	publicationsRefused = metrics.NewCounter("bidwell_publications_refused_total")
)

// following is what a [Registry] knows of publications.
type following struct {
	shader    *Shader    // nil where this registry does not follow
	creatives *Creatives // likewise
	revision  uint64     // of the publication that was read last
	refused   bool       // it was of no use

	// Under the mutex of the registry:
	taken *Publication // the last one of use; nil for none
	asOf  time.Time    // up to when it has all that happened
	as    uint32       // the version that this registry has published for
}

// Publish hands what is learned to the registries that follow, in the name of
// the version that [Registry.Learn] serves it as here. The store keeps the last
// one only.
func (r *Registry) Publish(ctx context.Context, p *Publication, asOf time.Time) error {
	r.mu.Lock()
	p.Version = numberOfVersion(r.learned())
	r.mu.Unlock()
	p.windows = r.monitor.all()
	body, err := p.Append(nil)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := r.store.PutPublication(ctx, body, asOf); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	publications.Inc()
	r.mu.Lock()
	r.following.as = p.Version
	r.mu.Unlock()
	return nil
}

// Confirm says that what was published last knows all that happened until asOf.
func (r *Registry) Confirm(ctx context.Context, asOf time.Time) error {
	return r.store.PutPublication(ctx, nil, asOf)
}

// Outdated says that what was published last is of another version than what is
// learned serves as now.
func (r *Registry) Outdated() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.following.as != numberOfVersion(r.learned())
}

// Published is the position of what was published last, zero where there is
// nothing of use.
func (r *Registry) Published(ctx context.Context) (position uint64, err error) {
	body, _, _, err := r.store.Publication(ctx, 0)
	if err != nil || body == nil {
		return 0, err
	}
	p, err := ParsePublication(body)
	if err != nil {
		slog.Warn("what was published before does not count", "cause", err)
		return 0, nil
	}
	return p.Position, nil
}

// Follow has this process bid by what a trainer publishes, from now on and as
// long as [Registry.Run] does: by its model, where what is learned serves (see
// [Registry.Learn]), its win rates and what it knows of creatives. Shader and
// creatives must not learn by themselves.
func (r *Registry) Follow(ctx context.Context, shader *Shader, creatives *Creatives) error {
	r.following.shader, r.following.creatives = shader, creatives
	return r.follow(ctx)
}

// follow takes over what was published since. What cannot be used is refused
// once, and what served before goes on. It is for one goroutine.
func (r *Registry) follow(ctx context.Context) error {
	f := &r.following
	if f.shader == nil {
		return nil
	}
	body, revision, asOf, err := r.store.Publication(ctx, f.revision)
	if err != nil {
		return err
	}
	if body == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !f.refused {
			f.asOf = asOf
		}
		r.adopt() // which version is live may have changed
		return nil
	}
	f.revision = revision
	p, shader, creatives, err := f.read(body)
	if f.refused = err != nil; f.refused {
		publicationsRefused.Inc()
		slog.Error("what a trainer has published cannot be used; what served before goes on", "revision", revision, "cause", err)
		return nil
	}
	f.shader.follow(shader)
	f.creatives.follow(creatives)
	r.monitor.replace(p.windows)
	publicationsTaken.Inc()
	p.Shader, p.Creatives, p.windows = nil, nil, nil // else the whole body would stay in memory
	r.mu.Lock()
	defer r.mu.Unlock()
	f.taken, f.asOf = p, asOf
	r.adopt()
	return nil
}

// read reads all parts of a publication before any of them is used.
func (f *following) read(body []byte) (p *Publication, shader *Shader, creatives *Creatives, err error) {
	if p, err = ParsePublication(body); err != nil {
		return nil, nil, nil, err
	}
	if shader, err = readShader(f.shader.cfg, p.Shader); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrPublication, err)
	}
	creatives = new(Creatives)
	if err = creatives.UnmarshalBinary(p.Creatives); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrPublication, err)
	}
	return p, shader, creatives, nil
}

// adopt puts the model that was published into service, if the version that it
// is of is the one that what is learned serves as.
func (r *Registry) adopt() {
	p, as := r.following.taken, r.learned()
	if p == nil || as == nil || as.Number != p.Version || r.loaded[as.Number] == p.Model {
		return
	}
	r.serveLearned(p.Model)
}

// AsOf is up to when what was published knows all that happened; zero where
// nothing was.
func (r *Registry) AsOf() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.following.asOf
}

// learned is the version in whose name what is learned serves: the live one, if
// it is the last that was learned, or the one that it all began with, and nobody
// has chosen it; nil for none.
func (r *Registry) learned() *Version {
	live := r.all.Live()
	last := r.all.last(func(v *Version) bool { return v.Origin == FromLearner })
	if live == nil || live.Pinned || last != nil && live.Number != last.Number || r.broken[live.Number] != nil {
		return nil
	}
	return live
}

func numberOfVersion(v *Version) uint32 {
	if v == nil {
		return 0
	}
	return v.Number
}

// serveLearned puts a model into service in the name of its version, which is
// live.
func (r *Registry) serveLearned(m *Model) {
	r.loaded[m.Version] = m
	canary, share := r.predictor.Canary()
	r.predictor.Serve(m, canary, share)
	modelSwaps.Inc()
}

// follow has bids shaded by what next knows, which was read and not published.
// Of what both know nearly alike the tables stay, as in [Shader.Publish], unless
// next has begun anew.
func (s *Shader) follow(next *Shader) {
	for _, c := range [...]struct {
		now, next map[curveKey]*curve
		life      time.Duration
	}{{s.curves, next.curves, s.cfg.HalfLife}, {s.drifts, next.drifts, s.cfg.DriftLife}} {
		by := math.Exp2(-next.since.Sub(s.since).Hours() / c.life.Hours()) // makes weights those of next
		for key, curve := range c.next {
			if old := c.now[key]; old != nil && old.rates != nil && by <= 1 {
				curve.rates = old.rates
				curve.fresh = old.fresh*by + math.Abs(curve.weight()-old.weight()*by)
			}
		}
	}
	leaves := make(map[curveKey]*leaf, len(s.leaves)) // the one that bids read does not change
	for key, l := range s.leaves {
		if next.curves[key] != nil {
			leaves[key] = l
		}
	}
	for key := range s.formats {
		if next.curves[key] == nil {
			delete(s.formats, key)
		}
	}
	s.leaves, s.curves, s.drifts = leaves, next.curves, next.drifts
	s.now, s.since, s.spread, s.outcomes = next.now, next.since, next.spread, next.outcomes
	s.Publish()
}

// follow has bids draw from what next knows.
func (c *Creatives) follow(next *Creatives) {
	c.tallies = next.tallies
	c.current.Store(next.current.Load())
}
