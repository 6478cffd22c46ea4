package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"bidwell/models"
	"bidwell/rtb"
)

// TestModels proves that an engine keeps the promises of models.Snapshots. Each
// call of open closes what the call before has opened, and opens the same store
// again; the first opens an empty one.
func TestModels(t *testing.T, open func(*testing.T) models.Snapshots) {
	s := open(t)
	t.Run("empty", func(t *testing.T) {
		all, revision := modelVersions(t, s, 0)
		if len(all) != 0 || revision == 0 {
			t.Errorf("%d versions at revision %d, want none at one that is not 0", len(all), revision)
		}
		if _, err := s.ModelBody(t.Context(), 1); !errors.Is(err, rtb.ErrNotFound) {
			t.Errorf("file of nothing: %v, want ErrNotFound", err)
		}
	})
	t.Run("add and change", func(t *testing.T) { testModelLives(t, s) })
	t.Run("all or nothing", func(t *testing.T) { testModelsRefused(t, s) })
	t.Run("one live, one canary", func(t *testing.T) { testModelsUnique(t, s) })
	t.Run("drop", func(t *testing.T) { testModelsDropped(t, s) })
	t.Run("concurrent", func(t *testing.T) { testModelsConcurrent(t, s) })
	t.Run("publication", func(t *testing.T) { testPublication(t, s) })
	t.Run("reopened", func(t *testing.T) {
		before, revision := modelVersions(t, s, 0)
		published, _, _, err := s.Publication(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		again := open(t)
		if body, _, _, err := again.Publication(t.Context(), 0); err != nil || body == nil || !bytes.Equal(body, published) {
			t.Errorf("after reopening %d bytes are published, %v, want %d", len(body), err, len(published))
		}
		after, now := modelVersions(t, again, 0)
		if !reflect.DeepEqual(before, after) || now != revision {
			t.Errorf("after reopening %d versions at revision %d, want the %d at %d", len(after), now, len(before), revision)
		}
	})
}

func modelVersions(t *testing.T, s models.Snapshots, since uint64) (models.Versions, uint64) {
	t.Helper()
	all, revision, err := s.ModelVersions(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	if alone, err := s.ModelRevision(t.Context()); err != nil || alone < revision {
		t.Fatalf("ModelRevision = %d, %v, want %d or more", alone, err, revision)
	}
	return all, revision
}

// model is a version with something in every field, and its body.
func model(number uint32, status models.Status) (models.Version, []byte) {
	body := bytes.Repeat([]byte{byte(number), 0, 0xff}, 50_000)
	v := models.Version{
		Number: number, Origin: models.FromLearner, Created: Now.Add(time.Duration(number) * time.Minute), Size: int64(len(body)), SHA256: sha256.Sum256(body),
		Kept: true, Status: status, Since: Now.Add(time.Hour), Before: number / 2,
		Metrics: models.Metrics{Rows: 1e6, Clicks: uint64(number), From: Now.Add(-time.Hour), Through: Now, LogLoss: 0.0625, AUC: 0.7, Calibration: 1.125},
	}
	switch status {
	case models.Canary:
		v.Share, v.Held = 1000, true
	case models.Live:
		v.Pinned = true
	case models.RolledBack:
		v.Reason = `calibration "2.0"`
	}
	return v, body
}

func changeModels(ctx context.Context, s models.Snapshots, c models.Change) error {
	return s.ChangeModels(ctx, func(models.Versions) (models.Change, error) { return c, nil })
}

func mustChangeModels(t *testing.T, s models.Snapshots, body []byte, put ...models.Version) {
	t.Helper()
	if err := changeModels(t.Context(), s, models.Change{Put: put, Body: body}); err != nil {
		t.Fatal(err)
	}
}

func testModelLives(t *testing.T, s models.Snapshots) {
	_, start := modelVersions(t, s, 0)
	live, body := model(1, models.Live)
	mustChangeModels(t, s, body, live)
	_, first := modelVersions(t, s, 0)
	canary, canaryBody := model(2, models.Canary)
	former := live
	former.Reason = "kept as it was"
	mustChangeModels(t, s, canaryBody, former, canary)
	_, second := modelVersions(t, s, 0)
	if first <= start || second <= first {
		t.Fatalf("revisions %d, %d, %d do not grow", start, first, second)
	}
	former.Revision, canary.Revision = second, second
	for since, want := range map[uint64]models.Versions{0: {former, canary}, start: {former, canary}, first: {former, canary}, second: nil} {
		if got, _ := modelVersions(t, s, since); !equalModels(got, want) {
			t.Errorf("since %d: %+v, want %+v", since, got, want)
		}
	}
	bad := canary
	bad.Status, bad.Share, bad.Reason = models.RolledBack, 0, `calibration "2.0"`
	mustChangeModels(t, s, nil, bad)
	got, _ := modelVersions(t, s, second)
	if len(got) != 1 || got[0].Number != 2 || got[0].Status != models.RolledBack || got[0].Reason != bad.Reason {
		t.Errorf("since %d: %+v, want the one that was rolled back", second, got)
	}
	for number, want := range map[uint32][]byte{1: body, 2: canaryBody} {
		if got, err := s.ModelBody(t.Context(), number); err != nil || !bytes.Equal(got, want) {
			t.Errorf("file of version %d: %d bytes, %v", number, len(got), err)
		}
	}
	bad.Kept = false
	mustChangeModels(t, s, nil, bad)
	if _, err := s.ModelBody(t.Context(), 2); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("file that is not kept: %v, want ErrNotFound", err)
	}
	if got, _ := modelVersions(t, s, 0); len(got) != 2 || got[1].Kept {
		t.Errorf("%+v, want both, the second without a file", got)
	}
}

// equalModels compares with times as instants.
func equalModels(a, b models.Versions) bool {
	return slices.EqualFunc(a, b, func(x, y models.Version) bool {
		for _, v := range []*models.Version{&x, &y} {
			for _, at := range []*time.Time{&v.Created, &v.Since, &v.Metrics.From, &v.Metrics.Through} {
				*at = at.UTC()
			}
		}
		return reflect.DeepEqual(x, y)
	})
}

func testModelsRefused(t *testing.T, s models.Snapshots) {
	before, revision := modelVersions(t, s, 0)
	stop := errors.New("no")
	if err := s.ChangeModels(t.Context(), func(all models.Versions) (models.Change, error) {
		if !reflect.DeepEqual(all, before) {
			t.Errorf("change sees %+v, want %+v", all, before)
		}
		return models.Change{Put: all[:1]}, stop
	}); !errors.Is(err, stop) {
		t.Errorf("ChangeModels = %v, want the error of change", err)
	}
	if err := changeModels(t.Context(), s, models.Change{}); err != nil {
		t.Errorf("no change: %v", err)
	}
	known, _ := model(1, models.Live)
	known.Reason = "must not stay"
	next, body := model(3, models.Shadow)
	past, _ := model(2, models.Shadow)
	past.Number = 0
	for name, c := range map[string]models.Change{
		"without a body": {Put: models.Versions{known, next}},
		"not the last":   {Put: models.Versions{known, next, known}, Body: body},
		"of no number":   {Put: models.Versions{known, past}, Body: body},
	} {
		if err := changeModels(t.Context(), s, c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if after, now := modelVersions(t, s, 0); !reflect.DeepEqual(after, before) || now != revision {
		t.Errorf("what was refused changed something: %+v, revision %d, want %d", after, now, revision)
	}
}

func testModelsUnique(t *testing.T, s models.Snapshots) {
	canary, body := model(3, models.Canary)
	mustChangeModels(t, s, body, canary)
	for _, status := range []models.Status{models.Live, models.Canary} {
		second, body := model(4, status)
		if err := changeModels(t.Context(), s, models.Change{Put: models.Versions{second}, Body: body}); err == nil {
			t.Errorf("a second one is %s", status)
		}
	}
	live, _ := model(1, models.Retired)
	canary.Status, canary.Share = models.Live, 0
	mustChangeModels(t, s, nil, live, canary)
}

func testModelsDropped(t *testing.T, s models.Snapshots) {
	v, body := model(4, models.Shadow)
	mustChangeModels(t, s, body, v)
	if err := changeModels(t.Context(), s, models.Change{Drop: []uint32{2, 4}}); err != nil {
		t.Fatal(err)
	}
	all, _ := modelVersions(t, s, 0)
	if all.Of(2) != nil || all.Of(4) != nil || all.Of(3) == nil {
		t.Errorf("after versions 2 and 4 were dropped: %+v", all)
	}
	if _, err := s.ModelBody(t.Context(), 4); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("file of a dropped version: %v, want ErrNotFound", err)
	}
	if err := changeModels(t.Context(), s, models.Change{Put: models.Versions{v}, Body: body}); err == nil {
		t.Error("the number of a version that was dropped is given again")
	}
}

// Several at once lose nothing: each sees what the one before has done.
func testModelsConcurrent(t *testing.T, s models.Snapshots) {
	const writers, each = 4, 5
	before, _ := modelVersions(t, s, 0)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				err := s.ChangeModels(t.Context(), func(all models.Versions) (models.Change, error) {
					v, _ := model(all[len(all)-1].Number+10, models.Shadow)
					v.Reason = fmt.Sprint(w, i)
					return models.Change{Put: models.Versions{v}, Body: []byte(v.Reason)}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	after, _ := modelVersions(t, s, 0)
	if len(after) != len(before)+writers*each {
		t.Errorf("%d versions, want %d more than %d", len(after), writers*each, len(before))
	}
	for _, v := range after[len(before):] {
		if body, err := s.ModelBody(t.Context(), v.Number); err != nil || string(body) != v.Reason {
			t.Errorf("file of version %d is %q, %v, want %q", v.Number, body, err, v.Reason)
		}
	}
}

// The last publication takes the place of the one before; versions do not change
// with it.
func testPublication(t *testing.T, s models.Snapshots) {
	_, versions := modelVersions(t, s, 0)
	want := func(have uint64, body string, revision uint64, asOf time.Time) uint64 {
		t.Helper()
		b, r, at, err := s.Publication(t.Context(), have)
		if err != nil || string(b) != body || (b == nil) != (body == "") || r < revision || !at.Equal(asOf) {
			t.Fatalf("Publication(%d) = %.20q, %d, %v, %v, want %q, %d or more, %v", have, b, r, at, err, body, revision, asOf)
		}
		return r
	}
	put := func(body []byte, asOf time.Time) {
		t.Helper()
		if err := s.PutPublication(t.Context(), body, asOf); err != nil {
			t.Fatal(err)
		}
	}
	if r := want(0, "", 0, time.Time{}); r != 0 {
		t.Errorf("revision %d of nothing, want 0", r)
	}
	put(nil, Now)
	if r := want(0, "", 0, Now); r != 0 {
		t.Errorf("revision %d of a time alone, want 0", r)
	}
	put([]byte("first"), Now.Add(time.Second))
	first := want(0, "first", 1, Now.Add(time.Second))
	want(first, "", first, Now.Add(time.Second))
	put(nil, Now.Add(time.Minute))
	if r := want(0, "first", first, Now.Add(time.Minute)); r != first {
		t.Errorf("revision %d of a time alone, want %d", r, first)
	}
	put([]byte("second"), time.Time{})
	second := want(first, "second", first+1, Now.Add(time.Minute))
	want(second, "", second, Now.Add(time.Minute))
	want(second+7, "second", second, Now.Add(time.Minute)) // one who has read another store
	if _, now := modelVersions(t, s, 0); now != versions {
		t.Errorf("revision of the versions is %d, was %d", now, versions)
	}
}
