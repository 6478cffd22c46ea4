package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bidwell/models"
	"bidwell/rtb"
)

// succeed makes a document the follower of the one that is stored: it fills in
// what the server decides, and reports changes that are not allowed. It runs
// before anything is stored, in the same transaction.
func (s *Server) succeed(ctx context.Context, id string, d document, c *checker) error {
	x, ok := d.(*Experiment)
	if !ok {
		return nil
	}
	x.Began, x.First = "", nil
	if len(c.errs) > 0 {
		return nil // it may lack anything
	}
	now := s.parts.Now()
	var old *Experiment
	body, number, version, err := s.docs.Get(ctx, experiments, id)
	switch {
	case err == nil:
		read, err := read(kindOf(experiments), id, number, version, body)
		if err != nil {
			return err
		}
		old = read.(*Experiment)
	case !errors.Is(err, rtb.ErrNotFound):
		return err
	}
	if old != nil {
		x.follow(old, now, c)
	}
	if x.Status == Active && x.Start == "" {
		x.Start = timeOf(now.UTC().Truncate(time.Second))
	}
	if x.Status == Active && x.Began == "" && x.begun(now) {
		x.Began = x.Start
	}
	if len(c.errs) > 0 {
		return nil
	}
	return s.placeExperiment(ctx, id, x, c)
}

// begun reports whether an active experiment has begun to assign users.
func (x *Experiment) begun(now time.Time) bool {
	start, err := time.Parse(time.RFC3339, string(x.Start))
	return x.Status == Active && (x.Start == "" || err == nil && !start.After(now))
}

// follow takes over what stays. Of an experiment that has begun, nothing may
// change that says who is in which arm, what the arms do, or what counts as a
// result: what is already in the log would mean something else.
func (x *Experiment) follow(old *Experiment, now time.Time, c *checker) {
	x.First, x.Began = old.First, old.Began
	if x.Began == "" && old.begun(now) {
		x.Began = old.Start
	}
	if x.Began == "" {
		if x.Layer != old.Layer {
			x.First = nil
		}
		return
	}
	if x.Start == "" {
		x.Start = old.Start
	}
	const hint = "cannot change, because users are already assigned since %s: start another experiment"
	for _, f := range []struct {
		field    string
		was, now any
	}{
		{"layer", old.Layer, x.Layer}, {"start", old.Start, x.Start}, {"unit", old.Unit, x.Unit}, {"salt", old.Salt, x.Salt},
		{"metric", old.Metric, x.Metric}, {"expected_effect", old.Effect, x.Effect}, {"scope", old.Scope, x.Scope},
	} {
		if !sameJSON(f.was, f.now) {
			c.fail(f.field, f.now, hint, x.Began)
		}
	}
	if len(old.Arms) != len(x.Arms) {
		c.fail("arms", nil, hint, x.Began)
		return
	}
	for i := range x.Arms {
		if !sameJSON(old.Arms[i], x.Arms[i]) {
			c.fail(fmt.Sprintf("arms[%d]", i), nil, hint, x.Began)
		}
	}
}

// sameJSON compares two values of one type; an empty list is the same as none.
func sameJSON(a, b any) bool {
	was, err := json.Marshal(a)
	is, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(was, is)
}

// neighbour is another experiment that keeps buckets of its layer.
type neighbour struct {
	id    string
	doc   *Experiment
	shape models.Experiment // layer, buckets and flight
}

// neighbours are the other experiments that are not archived.
func (s *Server) neighbours(ctx context.Context, id string) (list []neighbour, err error) {
	err = eachOf(ctx, s.docs, experiments, func(other string, number uint32, version uint64, body []byte) error {
		if other == id {
			return nil
		}
		d, err := read(kindOf(experiments), other, number, version, body)
		if err != nil {
			return err
		}
		doc := d.(*Experiment)
		if doc.Status == Archived || doc.First == nil {
			return nil
		}
		shape := models.Experiment{Layer: doc.Layer, First: *doc.First, Buckets: doc.buckets()}
		if shape.Start, shape.End, err = doc.flight(); err != nil {
			return err
		}
		list = append(list, neighbour{other, doc, shape})
		return nil
	})
	return list, err
}

// placeExperiment gives an experiment its stretch of buckets: where it is
// already, or else the first that is free for as long as it runs. Those that are
// paused keep theirs.
func (s *Server) placeExperiment(ctx context.Context, id string, x *Experiment, c *checker) error {
	shape := models.Experiment{Layer: x.Layer, Buckets: x.buckets()}
	var err error
	if shape.Start, shape.End, err = x.flight(); err != nil {
		return err
	}
	if x.Status == Archived {
		return nil // it needs none; what it had may be another's by now
	}
	all, err := s.neighbours(ctx, id)
	if err != nil {
		return err
	}
	var others []neighbour
	for _, o := range all {
		if o.shape.Layer == x.Layer && o.shape.Meets(&shape) {
			others = append(others, o)
		}
	}
	slices.SortFunc(others, func(a, b neighbour) int { return cmp.Compare(a.shape.First, b.shape.First) })
	fits := func(first int) *neighbour {
		shape.First = first
		for i := range others {
			if shape.Overlaps(&others[i].shape) {
				return &others[i]
			}
		}
		return nil
	}
	if x.First != nil {
		over := *x.First+shape.Buckets > models.ExperimentBuckets
		other := fits(*x.First)
		if !over && other == nil {
			return nil
		}
		if x.Began != "" {
			if other != nil {
				c.fail("share", x.Share, "its buckets begin at %d, and some of them are those of %s: its users cannot move to others", *x.First, other.id)
			} else {
				c.fail("share", x.Share, "its buckets begin at %d, so it can have %v at most: its users cannot move to others", *x.First,
					float64(models.ExperimentBuckets-*x.First)/models.ExperimentBuckets)
			}
			return nil
		}
	}
	for first := 0; first+shape.Buckets <= models.ExperimentBuckets; {
		other := fits(first)
		if other == nil {
			x.First = &first
			return nil
		}
		first = other.shape.First + other.shape.Buckets
	}
	names := make([]string, len(others))
	for i := range others {
		names[i] = fmt.Sprintf("%s (%v)", others[i].id, others[i].doc.Share)
	}
	c.fail("share", x.Share, "layer %d has no room for it beside %s: at most %v is free in one stretch; take another layer", x.Layer, strings.Join(names, ", "),
		float64(freeStretch(others))/models.ExperimentBuckets)
	return nil
}

// freeStretch is the longest stretch that no other experiment has; others are
// ordered by their first bucket.
func freeStretch(others []neighbour) int {
	most, at := 0, 0
	for i := range others {
		most = max(most, others[i].shape.First-at)
		at = max(at, others[i].shape.First+others[i].shape.Buckets)
	}
	return max(most, models.ExperimentBuckets-at)
}

// inspectExperiment reports an experiment of another layer that changes the same
// for the same line items: what an arm does would then depend on the other
// experiment. Layers may share what they multiply, the value.
func (s *Server) inspectExperiment(ctx context.Context, id string, x *Experiment, c *checker) error {
	if x.Status != Active {
		return nil
	}
	all, err := s.neighbours(ctx, id)
	if err != nil {
		return err
	}
	if err := s.inspectModels(ctx, x, all, c); err != nil {
		return err
	}
	var shape models.Experiment
	if shape.Start, shape.End, err = x.flight(); err != nil {
		return err
	}
	mine := x.overrides()
	for _, o := range all {
		if o.doc.Status != Active || o.doc.Layer == x.Layer || !o.shape.Meets(&shape) {
			continue
		}
		var same []string
		for name := range o.doc.overrides() {
			if mine[name] && name != "value_factor" {
				same = append(same, name)
			}
		}
		if len(same) == 0 {
			continue
		}
		meet, err := s.scopesMeet(ctx, &x.Scope, &o.doc.Scope)
		if err != nil {
			return err
		}
		if meet {
			slices.Sort(same)
			c.fail("layer", x.Layer, "%s in layer %d changes %s as well, for the same line items: put both into one layer", o.id, o.doc.Layer, strings.Join(same, ", "))
			return nil
		}
	}
	return nil
}

// scopesMeet reports whether some line item may be in both scopes.
func (s *Server) scopesMeet(ctx context.Context, a, b *ExperimentScope) (bool, error) {
	if a.empty() || b.empty() {
		return true, nil
	}
	over, err := owners(ctx, s.docs, a)
	if err != nil {
		return false, err
	}
	under, err := owners(ctx, s.docs, b)
	if err != nil {
		return false, err
	}
	for _, pair := range [2]struct {
		scope *ExperimentScope
		all   map[reference]bool
	}{{a, under}, {b, over}} {
		for _, ref := range pair.scope.references() {
			if pair.all[ref] {
				return true, nil
			}
		}
	}
	return false, nil
}

func (e *ExperimentScope) empty() bool {
	return len(e.LineItems)+len(e.Campaigns)+len(e.Advertisers) == 0
}

func (e *ExperimentScope) references() (list []reference) {
	for _, id := range e.LineItems {
		list = append(list, reference{lineItems, id})
	}
	for _, id := range e.Campaigns {
		list = append(list, reference{campaigns, id})
	}
	for _, id := range e.Advertisers {
		list = append(list, reference{advertisers, id})
	}
	return list
}

// owners are the documents of a scope and all that they belong to.
func owners(ctx context.Context, docs Documents, scope *ExperimentScope) (map[reference]bool, error) {
	all := map[reference]bool{}
	campaignsOf := slices.Clone(scope.Campaigns)
	for _, id := range scope.LineItems {
		all[reference{lineItems, id}] = true
		var l LineItem
		if err := get(ctx, docs, lineItems, id, &l); err != nil {
			return nil, fmt.Errorf("line item %s: %w", id, err)
		}
		campaignsOf = append(campaignsOf, l.Campaign)
	}
	for _, id := range campaignsOf {
		all[reference{campaigns, id}] = true
		var k Campaign
		if err := get(ctx, docs, campaigns, id, &k); err != nil {
			return nil, fmt.Errorf("campaign %s: %w", id, err)
		}
		all[reference{advertisers, k.Advertiser}] = true
	}
	for _, id := range scope.Advertisers {
		all[reference{advertisers, id}] = true
	}
	return all, nil
}
