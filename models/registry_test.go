package models_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/sql"
)

var noon = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)

// prior is the file of a model that predicts rate for everything.
func prior(t testing.TB, rate float64) []byte {
	t.Helper()
	m, err := models.Prior(models.MinBits, rate)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := m.Write(&file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func openStore(t testing.TB) *sql.Store {
	t.Helper()
	store, err := sql.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "models.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func newRegistry(t testing.TB, store models.Snapshots) *models.Registry {
	t.Helper()
	r, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openRegistry(t testing.TB, store models.Snapshots, file []byte) *models.Registry {
	t.Helper()
	r := newRegistry(t, store)
	if err := r.Open(context.Background(), file); err != nil {
		t.Fatal(err)
	}
	return r
}

// statuses are those of all versions, by number from 1.
func statuses(t testing.TB, r *models.Registry) string {
	t.Helper()
	all, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range all {
		out = append(out, v.Status.String())
	}
	return strings.Join(out, " ")
}

func wantServed(t testing.TB, r *models.Registry, live, canary uint32) {
	t.Helper()
	trial, _ := r.Predictor().Canary()
	have := uint32(0)
	if trial != nil {
		have = trial.Version
	}
	if got := r.Predictor().Model().Version; got != live || have != canary {
		t.Errorf("versions %d and %d serve, want %d and %d; they are %s", got, have, live, canary, statuses(t, r))
	}
	if !r.Serves(live) || canary != 0 && !r.Serves(canary) || r.Serves(99) {
		t.Error("Serves says otherwise than the Predictor")
	}
}

func save(t testing.TB, r *models.Registry, origin models.Origin, rate float64) models.Version {
	t.Helper()
	v, added, err := r.Save(t.Context(), models.Version{Origin: origin}, prior(t, rate))
	if err != nil || !added {
		t.Fatalf("Save = %+v, %t, %v", v, added, err)
	}
	return v
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestRegistryOpens(t *testing.T) {
	store := openStore(t)
	r := openRegistry(t, store, nil)
	wantServed(t, r, 1, 0)
	v := must[models.Version](t)(r.Version(t.Context(), 1))
	if v.Origin != models.FromStarter || v.Status != models.Live || v.Pinned || v.Size == 0 || !v.Created.Equal(noon) || v.Metrics.Rows == 0 {
		t.Errorf("the first version is %+v, want the starter, live and not pinned", v)
	}
	wantServed(t, openRegistry(t, store, nil), 1, 0)

	// A file that is new goes live, and only once.
	for _, file := range [][]byte{prior(t, 0.01), prior(t, 0.01), nil} {
		r = openRegistry(t, store, file)
		wantServed(t, r, 2, 0)
	}
	if v := must[models.Version](t)(r.Version(t.Context(), 2)); v.Origin != models.FromFile || !v.Pinned || v.Before != 1 {
		t.Errorf("the file is %+v, want it live and pinned, after version 1", v)
	}
	must[models.Version](t)(r.Promote(t.Context(), 1, nil))
	wantServed(t, openRegistry(t, store, prior(t, 0.01)), 1, 0)

	half := prior(t, 0.02)
	if err := newRegistry(t, store).Open(t.Context(), half[:len(half)/2]); !errors.Is(err, models.ErrRefused) || !errors.Is(err, models.ErrModelDamaged) {
		t.Errorf("Open with half a file: %v", err)
	}
	if got := statuses(t, r); got != "live retired" {
		t.Errorf("after it was refused they are %s", got)
	}
	wantServed(t, openRegistry(t, openStore(t), prior(t, 0.01)), 1, 0)
}

// What is done through one registry is served by all of them.
func TestRegistriesShareAStore(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	one, other := openRegistry(t, store, nil), openRegistry(t, store, nil)
	version := must[models.Version](t)
	step := func(what string, live, canary uint32) {
		t.Helper()
		wantServed(t, one, live, canary)
		if err := other.Refresh(ctx); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		wantServed(t, other, live, canary)
	}
	save(t, one, models.FromFile, 0.01)
	step("added", 1, 0)
	if got := version(one.Try(ctx, 2, 1000, nil)); got.Share != 1000 || got.Status != models.Canary {
		t.Errorf("Try = %+v", got)
	}
	step("on trial", 1, 2)
	if _, share := other.Predictor().Canary(); share != 1000 {
		t.Errorf("the canary has a share of %d, want 1000", share)
	}
	version(one.Try(ctx, 2, 3000, nil))
	step("a greater share", 1, 2)
	if _, share := other.Predictor().Canary(); share != 3000 {
		t.Errorf("the canary has a share of %d, want 3000", share)
	}
	if got := version(one.Promote(ctx, 2, nil)); got.Before != 1 || !got.Pinned {
		t.Errorf("Promote = %+v", got)
	}
	step("promoted", 2, 0)
	if got := other.Predictor().Model().ClickRate(0, nil); got < 0.0099 || got > 0.0101 {
		t.Errorf("the promoted model predicts %v, want 0.01", got)
	}
	version(one.Rollback(ctx, 2, "a whim", nil))
	step("rolled back", 1, 0)
	if got := version(other.Version(ctx, 2)); got.Status != models.RolledBack || got.Reason != "a whim" {
		t.Errorf("rolled back it is %+v", got)
	}
	save(t, one, models.FromFile, 0.03)
	version(one.Retire(ctx, 3, nil))
	step("retired", 1, 0)

	// Nothing happens where the caller expects something else.
	stale := errors.New("stale")
	for name, err := range map[string]error{
		"Promote": second(one.Promote(ctx, 2, func(*models.Version) error { return stale })),
		"Try":     second(one.Try(ctx, 2, 100, func(*models.Version) error { return stale })),
		"Retire":  second(one.Retire(ctx, 2, func(*models.Version) error { return stale })),
	} {
		if !errors.Is(err, stale) {
			t.Errorf("%s = %v, want what match said", name, err)
		}
	}
	if _, err := one.Promote(ctx, 9, nil); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("Promote of nothing = %v", err)
	}
	step("refused", 1, 0)
}

func second[T any](_ T, err error) error { return err }

func TestRegistryRefusesFiles(t *testing.T) {
	r := openRegistry(t, openStore(t), nil)
	file := prior(t, 0.01)
	flipped := slices.Clone(file)
	flipped[len(flipped)/2] ^= 1
	for name, body := range map[string][]byte{"cut off": file[:len(file)-9], "flipped": flipped, "empty": {}, "text": []byte("weights: 1")} {
		if v, _, err := r.Save(t.Context(), models.Version{Origin: models.FromFile}, body); !errors.Is(err, models.ErrRefused) {
			t.Errorf("%s: saved as %+v, %v", name, v, err)
		}
	}
	if got := statuses(t, r); got != "live" {
		t.Errorf("after all were refused: %s", got)
	}
	first := save(t, r, models.FromFile, 0.01)
	again, added, err := r.Save(t.Context(), models.Version{Origin: models.FromFile}, file)
	if again != first || added || err != nil {
		t.Errorf("saved again: %+v, %t, %v, want what there is", again, added, err)
	}
}

// corrupt makes a version live whose body no program can use.
func corrupt(t *testing.T, store models.Snapshots) {
	t.Helper()
	err := store.ChangeModels(t.Context(), func(all models.Versions) (models.Change, error) {
		body := prior(t, 0.02)
		put := all.Admit(models.Version{Origin: models.FromFile, Created: noon}, false, noon)
		after := append(slices.Clone(all), put...)
		live, err := after.Promote(put[0].Number, true, noon)
		return models.Change{Put: live, Body: body[:len(body)-1]}, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRegistryStaysWithWhatWorks(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	r := openRegistry(t, store, nil)
	save(t, r, models.FromFile, 0.01)
	must[models.Version](t)(r.Promote(ctx, 2, nil))
	corrupt(t, store)
	if err := r.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	wantServed(t, r, 2, 0)
	if err := r.Problem(3); !errors.Is(err, models.ErrModelDamaged) {
		t.Errorf("Problem = %v, want that the file is damaged", err)
	}
	if r.Problem(2) != nil {
		t.Errorf("Problem of what serves = %v", r.Problem(2))
	}
	// A process that starts now goes back as far as it must.
	wantServed(t, openRegistry(t, store, nil), 2, 0)
	if _, err := r.Promote(ctx, 3, nil); !errors.Is(err, models.ErrRefused) {
		t.Errorf("Promote of it = %v", err)
	}
	must[models.Version](t)(r.Rollback(ctx, 3, "damaged", nil))
	wantServed(t, r, 2, 0)

	alone := openStore(t)
	openRegistry(t, alone, nil)
	for range 2 {
		corrupt(t, alone)
	}
	if err := alone.ChangeModels(ctx, func(all models.Versions) (models.Change, error) {
		all[0].Kept = false
		return models.Change{Put: all[:1]}, nil
	}); err != nil {
		t.Fatal(err)
	}
	r = openRegistry(t, alone, nil) // the starter that is in the program
	wantServed(t, r, 0, 0)
}

// learned is a version as a learner saves it.
func learned(rows, clicks uint64, ne, calibration float64) models.Version {
	v := models.Version{Origin: models.FromLearner, Metrics: models.Metrics{Rows: rows, Clicks: clicks, LogLoss: 1, AUC: 0.7, Calibration: calibration}}
	v.Metrics.LogLoss = ne / v.Metrics.NE()
	return v
}

func TestRegistryOfALearner(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	r := openRegistry(t, store, nil)
	rate := 0.001
	version := must[models.Version](t)
	learn := func(v models.Version) models.Version {
		t.Helper()
		rate += 0.001
		saved, added, err := r.Save(ctx, v, prior(t, rate))
		if err != nil || !added {
			t.Fatalf("Save: %t, %v", added, err)
		}
		return saved
	}
	for _, tt := range []struct {
		name string
		v    models.Version
		want string
	}{
		{"too few clicks", learned(1000, 20, 0.9, 1), "live shadow"},
		{"not calibrated", learned(100_000, 900, 0.9, 1.5), "live retired shadow"},
		{"knows nothing", learned(100_000, 900, 1.2, 1), "live retired retired shadow"},
		{"fit", learned(100_000, 900, 0.9, 1.1), "retired retired retired retired live"},
		{"fit as well", learned(100_000, 900, 0.92, 1.1), "retired retired retired retired retired live"},
		{"worse", learned(100_000, 900, 0.99, 1.1), "retired retired retired retired retired live shadow"},
	} {
		learn(tt.v)
		if got := statuses(t, r); got != tt.want {
			t.Fatalf("%s: they are %s, want %s", tt.name, got, tt.want)
		}
	}
	file := save(t, r, models.FromFile, 0.5)
	version(r.Promote(ctx, file.Number, nil))
	good := learn(learned(100_000, 900, 0.5, 1))
	wantServed(t, r, file.Number, 0)
	if good.Status != models.Shadow {
		t.Errorf("beside a version that a person chose it is %v", good.Status)
	}
	if got := version(r.PromoteLearned(ctx)); got.Number != good.Number || got.Pinned {
		t.Errorf("PromoteLearned = %+v, want version %d, not pinned", got, good.Number)
	}
	next := learn(learned(100_000, 900, 0.5, 1))
	wantServed(t, r, next.Number, 0)

	// While nothing has been learned the live one only gives way.
	r = openRegistry(t, openStore(t), prior(t, 0.3))
	version(r.Promote(ctx, 1, nil))
	if got := version(r.PromoteLearned(ctx)); got.Number != 1 || got.Pinned {
		t.Errorf("PromoteLearned = %+v, want the first, not pinned", got)
	}
}

// What is learned serves at once where it may, and becomes a version now and
// then.
func TestRegistryLearns(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	now := noon
	r, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	good, early := learned(100_000, 900, 0.9, 1).Metrics, learned(1000, 9, 0.9, 1).Metrics
	learn := func(rate float64, m models.Metrics, after time.Duration) {
		t.Helper()
		now = now.Add(after)
		clicks, err := models.Prior(models.MinBits, rate)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Learn(ctx, &models.Model{Clicks: clicks}, m); err != nil {
			t.Fatal(err)
		}
	}
	serves := func(rate float64) {
		t.Helper()
		if got := r.Predictor().Model().ClickRate(0, nil); got < 0.99*rate || got > 1.01*rate {
			t.Errorf("the model in service predicts %v, want %v", got, rate)
		}
	}
	learn(0.011, early, time.Hour)
	wantServed(t, r, 1, 0)
	serves(0.011)
	if got := statuses(t, r); got != "live" {
		t.Errorf("what knows little became a version: %s", got)
	}
	learn(0.012, good, time.Second)
	wantServed(t, r, 2, 0)
	serves(0.012)
	learn(0.013, good, time.Second)
	wantServed(t, r, 2, 0)
	serves(0.013)
	file := save(t, r, models.FromFile, 0.2)
	must[models.Version](t)(r.Try(ctx, file.Number, 2000, nil))
	wantServed(t, r, 2, file.Number)
	serves(0.013) // not what was saved of it
	learn(0.014, good, time.Second)
	wantServed(t, r, 2, file.Number)
	serves(0.014)
	rows := func(number uint32) float64 { w := r.Monitor().Window(number); return math.Round(w.Rows) }
	r.Observe(lesson(2, 0.01, false))
	learn(0.015, good, time.Hour)
	wantServed(t, r, 4, file.Number)
	serves(0.015)

	// It goes on from where the last was, with what is yet to be known of that.
	r.Observe(lesson(2, 0.01, false))
	r.Observe(lesson(4, 0.01, false))
	if rows(4) != 3 {
		t.Errorf("the next version has %v impressions, want the 3 of both", rows(4))
	}

	// What was taken back does not come again at once under another name.
	for range 200 {
		r.Observe(lesson(4, 0.9, false))
	}
	if err := r.Judge(ctx); err != nil {
		t.Fatal(err)
	}
	learn(0.016, good, time.Second)
	wantServed(t, r, 2, file.Number)
	serves(0.012)
	if rows(2) != 0 || rows(4) < 200 {
		t.Errorf("taken back, the versions have %v and %v impressions, want none and more than 200", rows(2), rows(4))
	}
	must[models.Version](t)(r.Promote(ctx, file.Number, nil))
	learn(0.017, good, time.Hour)
	wantServed(t, r, file.Number, 0)
	serves(0.2)
	must[models.Version](t)(r.PromoteLearned(ctx))
	serves(0.017)
	learn(0.018, good, time.Second)
	serves(0.018)

	// From the beginning of the log it would begin with what was there before.
	base := func(rate float64) {
		t.Helper()
		m, err := r.Base(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.ClickRate(0, nil); got < 0.99*rate || got > 1.01*rate {
			t.Errorf("the base predicts %v, want %v", got, rate)
		}
	}
	base(0.2)
	must[models.Version](t)(r.Promote(ctx, 2, nil))
	must[models.Version](t)(r.Promote(ctx, file.Number, nil))
	base(0.2)
	first, err := models.Starter()
	if err != nil {
		t.Fatal(err)
	}
	r = openRegistry(t, openStore(t), nil)
	base(first.ClickRate(0, nil))
}

// lesson is an impression of a version.
func lesson(version uint32, ctr float64, clicked bool) *models.Lesson {
	return &models.Lesson{Model: version, CTR: float32(ctr), Clicked: clicked}
}

func TestRegistryRollsBack(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	r := openRegistry(t, store, prior(t, 0.05))
	save(t, r, models.FromFile, 0.1)
	save(t, r, models.FromFile, 0.04)
	version := must[models.Version](t)
	version(r.Promote(ctx, 2, nil))
	version(r.Try(ctx, 3, 5000, nil))
	random := rand.New(rand.NewPCG(1, 2))
	show := func(rows int, number uint32, ctr float64) {
		for range rows {
			r.Observe(lesson(number, ctr, random.Float64() < 0.05))
		}
		if err := r.Judge(ctx); err != nil {
			t.Fatal(err)
		}
	}
	show(200, 2, 0.1) // twice what it is, but of only about twenty that were promised
	wantServed(t, r, 2, 3)
	show(3000, 3, 0.05)
	wantServed(t, r, 2, 3)
	version(r.Try(ctx, 3, 6000, nil))
	if w := r.Monitor().Window(3); w.Rows < 2900 {
		t.Errorf("with another share %v rows of the canary are left of 3000", w.Rows)
	}
	show(2000, 2, 0.1)
	wantServed(t, r, 1, 3)
	if got := version(r.Version(ctx, 2)); got.Status != models.RolledBack || !strings.Contains(got.Reason, "calibration") {
		t.Errorf("the bad one is %+v", got)
	}
	if got := version(r.Version(ctx, 1)); got.Pinned {
		t.Error("what came back is pinned, although nobody chose it")
	}
	show(3000, 1, 0.05)
	show(6000, 3, 0.02)
	wantServed(t, r, 1, 0)
	show(20_000, 1, 0.15) // there is none to go back to
	wantServed(t, r, 1, 0)

	// In service again it begins anew.
	version(r.Promote(ctx, 2, nil))
	if w := r.Monitor().Window(2); w.Rows != 0 {
		t.Errorf("%v rows of its first time in service count again", w.Rows)
	}

	// Somebody else may be faster.
	version(r.Try(ctx, 3, 5000, nil))
	for range 2000 {
		r.Observe(lesson(3, 0.9, false))
	}
	version(openRegistry(t, store, nil).Retire(ctx, 3, nil))
	if err := r.Judge(ctx); err != nil {
		t.Errorf("Judge = %v after the bad one was retired elsewhere", err)
	}
	if got := version(r.Version(ctx, 3)); got.Status != models.Retired {
		t.Errorf("then it is %v", got.Status)
	}
}

// A shadow is asked about the same impressions, and so is what needed no
// prediction for its price.
func TestRegistryObservesShadows(t *testing.T) {
	r := openRegistry(t, openStore(t), prior(t, 0.05))
	shadow := save(t, r, models.FromFile, 0.1)
	for i := range 1000 {
		r.Observe(lesson(1, 0.05*float64(i%2), i%20 == 0))
	}
	for number, want := range map[uint32]float64{1: 1, shadow.Number: 2} {
		w := r.Monitor().Window(number)
		if c := w.Calibration(); w.Rows < 900 || c < 0.95*want || c > 1.05*want {
			t.Errorf("version %d: calibration %v of %v rows, want %v", number, c, w.Rows, want)
		}
	}
}

// Run follows without being told.
func TestRegistryRuns(t *testing.T) {
	store := openStore(t)
	cfg := models.DefaultRegistry()
	cfg.Poll = time.Millisecond
	follower, err := models.NewRegistry(cfg, store, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Open(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- follower.Run(ctx) }()
	other := openRegistry(t, store, nil)
	v := save(t, other, models.FromFile, 0.2)
	must[models.Version](t)(other.Promote(t.Context(), v.Number, nil))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !follower.Serves(v.Number) {
		select {
		case err := <-done:
			t.Fatalf("Run = %v before it was stopped", err)
		case <-t.Context().Done():
			t.Fatal("it does not follow")
		case <-tick.C:
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	cfg.Poll = time.Minute
	if _, err := models.NewRegistry(cfg, store, time.Now); err == nil {
		t.Error("a poll of a minute is accepted")
	}
}

func TestRegistryDropsOldBodies(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	now := noon
	r, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	r.Observe(lesson(1, 0.5, true))
	for i := range 60 {
		now = now.Add(time.Hour)
		v := learned(100_000, 900, 0.9, 1)
		if _, _, err := r.Save(ctx, v, prior(t, 0.001+float64(i)*0.001)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, v := range all {
		_, err := r.Body(ctx, v.Number)
		if v.Kept != (err == nil) {
			t.Errorf("version %d: kept %t, but %v", v.Number, v.Kept, err)
		}
		if v.Kept {
			kept++
		}
	}
	if len(all) != 61 || kept < 20 || kept > 24 {
		t.Errorf("%d versions and %d bodies, want 61, and the last 20 and one a day", len(all), kept)
	}
	wantServed(t, r, 61, 0)
	if w := r.Monitor().Window(1); w.Rows != 0 {
		t.Error("a version whose body is gone is still watched")
	}
}

// BenchmarkPromote is what a process needs to follow a promotion to a large
// model, once it looks for changes: to read the file, check it and swap.
func BenchmarkPromote(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var files [2][]byte
	for i := range files {
		learner, err := models.NewFTRL(models.DefaultBits, models.RareFTRL())
		if err != nil {
			b.Fatal(err)
		}
		hashes := make([]uint32, 64)
		for range 40_000 {
			for k := range hashes {
				hashes[k] = random.Uint32()
			}
			learner.Update(hashes, random.IntN(20) == 0)
		}
		var file bytes.Buffer
		if err := learner.Model().Write(&file); err != nil {
			b.Fatal(err)
		}
		files[i] = file.Bytes()
	}
	store, ctx := openStore(b), context.Background()
	writer, err := models.NewRegistry(models.DefaultRegistry(), store, time.Now)
	if err == nil {
		err = writer.Open(ctx, files[0])
	}
	if err == nil {
		_, _, err = writer.Save(ctx, models.Version{Origin: models.FromFile}, files[1])
	}
	if err != nil {
		b.Fatal(err)
	}
	follower := openRegistry(b, store, nil)
	for number := uint32(2); b.Loop(); number = 3 - number {
		b.StopTimer()
		must[models.Version](b)(writer.Promote(ctx, number, nil))
		b.StartTimer()
		if err := follower.Refresh(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(files[1]))/1e6, "MB")
}
