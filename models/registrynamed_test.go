package models_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"bidwell/models"
	"bidwell/rtb"
)

// name tells a registry what experiments name.
func name(t *testing.T, r *models.Registry, versions ...uint32) {
	t.Helper()
	if err := r.Name(t.Context(), versions, versions); err != nil {
		t.Fatal(err)
	}
}

// wantServes demands that just these versions are in service.
func wantServes(t *testing.T, r *models.Registry, want ...uint32) {
	t.Helper()
	var have []uint32
	for number := range uint32(40) {
		if r.Serves(number) {
			have = append(have, number)
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("versions %v serve, want %v; they are %s", have, want, statuses(t, r))
	}
}

// What experiments name serves whatever becomes of it, in the processes that
// have been told.
func TestRegistryServesWhatIsNamed(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	one, other := openRegistry(t, store, nil), openRegistry(t, store, nil)
	version := must[models.Version](t)
	for i := range 4 {
		save(t, one, models.FromFile, 0.01*float64(i+1))
	}
	version(one.Promote(ctx, 2, nil))
	version(one.Retire(ctx, 3, nil))
	wantServes(t, one, 2)
	name(t, one, 1, 3, 4)
	wantServes(t, one, 1, 2, 3, 4) // one that has been live, one that is retired, a shadow
	if err := other.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	wantServes(t, other, 2)

	// They come and go with what people do to versions.
	version(one.Try(ctx, 3, 1000, nil))
	version(one.Promote(ctx, 4, nil))
	wantServed(t, one, 4, 3)
	wantServes(t, one, 1, 3, 4)
	version(one.Rollback(ctx, 3, "a whim", nil))
	version(one.Promote(ctx, 5, nil))
	wantServes(t, one, 1, 3, 4, 5)
	name(t, one, 4, 4)
	wantServes(t, one, 4, 5)
	for _, v := range must[models.Versions](t)(one.List(ctx)) {
		if v.Held != (v.Number == 4) {
			t.Errorf("version %d is held: %t", v.Number, v.Held)
		}
	}
	name(t, one)
	wantServes(t, one, 5)

	// A process that starts serves them once it is told.
	name(t, one, 3)
	again := openRegistry(t, store, nil)
	wantServes(t, again, 5)
	name(t, again, 3)
	wantServes(t, again, 3, 5)

	if err := one.Name(ctx, nil, []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9}); err == nil {
		t.Errorf("%d versions are accepted, want at most %d", 9, models.MaxNamed)
	}
	wantServes(t, one, 3, 5)
}

// An impression of an arm counts for its version, once, and not for those that
// shared its score before.
func TestRegistryObservesWhatIsNamed(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	now := noon
	r, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	learn := func(rate float64, after time.Duration) {
		t.Helper()
		now = now.Add(after)
		clicks := must[*models.Logistic](t)(models.Prior(models.MinBits, rate))
		if err := r.Learn(ctx, &models.Model{Clicks: clicks}, learned(100_000, 900, 0.9, 1).Metrics); err != nil {
			t.Fatal(err)
		}
	}
	rows := func(number uint32) int { w := r.Monitor().Window(number); return int(w.Rows + 0.5) }
	learn(0.01, time.Hour)
	name(t, r, 1, 2)
	learn(0.011, time.Second) // serves in the name of version 2
	wantServes(t, r, 1, 2)
	learn(0.012, time.Hour)
	r.Observe(lesson(2, 0.01, false))
	r.Observe(lesson(3, 0.01, false))
	wantServes(t, r, 1, 2, 3)
	if rows(2) != 1 || rows(3) != 1 {
		t.Errorf("the versions have %d and %d impressions, want one each", rows(2), rows(3))
	}
	// So it is in a process that only reads the log of the others.
	reader := openRegistry(t, store, nil)
	scored := func(number uint32) int { w := reader.Monitor().Window(number); return int(w.Rows + 0.5) }
	reader.Monitor().Follow(2, 3)
	learn(0.013, time.Hour)
	if err := reader.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	reader.Observe(lesson(2, 0.01, false))
	reader.Observe(lesson(4, 0.01, false))
	if scored(2) != 1 || scored(4) != 1 {
		t.Errorf("read from the log, the versions have %d and %d impressions, want one each", scored(2), scored(4))
	}

	// What was learned in the name of a version while it was live is not what an
	// experiment asks for.
	m := must[*models.Model](t)(r.Model(ctx, 2))
	if got := m.ClickRate(0, nil); got < 0.0099 || got > 0.0101 {
		t.Errorf("version 2 predicts %v, want the 0.01 of its file", got)
	}

	shadow := save(t, r, models.FromFile, 0.2)
	name(t, r, shadow.Number)
	r.Observe(lesson(shadow.Number, 0, false)) // its price needed no prediction
	r.Observe(lesson(4, 0.01, false))
	if rows(shadow.Number) != 2 {
		t.Errorf("the shadow has %d impressions, want that of its arm and another that it was asked about", rows(shadow.Number))
	}
}

// The body of a version that is named outlives the others of its age.
func TestRegistryKeepsWhatIsNamed(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	now := noon
	r, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	age := func(hours int) {
		t.Helper()
		for range hours {
			now = now.Add(time.Hour)
			if _, _, err := r.Save(ctx, learned(100_000, 900, 0.9, 1), prior(t, 0.001+now.Sub(noon).Hours()*0.0001)); err != nil {
				t.Fatal(err)
			}
		}
	}
	kept := func(want ...uint32) {
		t.Helper()
		for number := range uint32(6) {
			if _, err := r.Body(ctx, number); (err == nil) != slices.Contains(want, number) {
				t.Errorf("file of version %d: %v, want those of %v", number, err, want)
			}
		}
	}
	age(5)
	name(t, r, 3)
	if err := r.Hold(ctx, []uint32{4, 99}); err != nil {
		t.Fatal(err)
	}
	age(30)
	kept(3, 4)
	wantServes(t, r, 3, 36)
	name(t, r, 3)
	age(1)
	kept(3)

	// What is gone is a reason, and does not come back.
	why, err := r.Unusable(ctx, []uint32{2, 3, 99})
	if err != nil || len(why) != 2 || !errors.Is(why[2], models.ErrNoBody) || !errors.Is(why[99], rtb.ErrNotFound) {
		t.Errorf("Unusable = %v, %v", why, err)
	}
	if err := errors.Join(r.Check(ctx, 3), r.Check(ctx, 37)); err != nil {
		t.Errorf("Check of what is kept = %v", err)
	}
	if err := r.Check(ctx, 2); !errors.Is(err, models.ErrNoBody) {
		t.Errorf("Check of what is not = %v", err)
	}
	name(t, r, 2, 3, 99)
	wantServes(t, r, 3, 37)
	name(t, r)
	age(1)
	kept()
}

// A file that this program cannot use does not serve, and says so.
func TestRegistryNamesWhatIsDamaged(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	r := openRegistry(t, store, nil)
	corrupt(t, store)
	if err := r.Check(ctx, 2); !errors.Is(err, models.ErrRefused) {
		t.Errorf("Check = %v, want that it is refused", err)
	}
	must[models.Version](t)(r.Rollback(ctx, 2, "damaged", nil))
	name(t, r, 1, 2)
	wantServes(t, r, 1)
	if why, err := r.Unusable(ctx, []uint32{1, 2}); err != nil || len(why) != 1 || !errors.Is(why[2], models.ErrModelDamaged) {
		t.Errorf("Unusable = %v, %v, want that version 2 is damaged", why, err)
	}
}
