package models_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bidwell/models"
	"bidwell/rtb"
	"bidwell/store/sql"
)

// pupil is a registry that follows what a trainer publishes.
type pupil struct {
	*models.Registry
	shader    *models.Shader
	creatives *models.Creatives
}

func openPupil(t testing.TB, store models.Snapshots) *pupil {
	t.Helper()
	shader, err := models.NewShader(models.DefaultShaderConfig())
	if err != nil {
		t.Fatal(err)
	}
	p := &pupil{openRegistry(t, store, nil), shader, models.NewCreatives()}
	if err := p.Follow(t.Context(), p.shader, p.creatives); err != nil {
		t.Fatal(err)
	}
	return p
}

// poll is what [models.Registry.Run] does each time.
func (p *pupil) poll(t testing.TB) {
	t.Helper()
	if err := errors.Join(p.Refresh(t.Context()), p.Follow(t.Context(), p.shader, p.creatives)); err != nil {
		t.Fatal(err)
	}
}

func wantRate(t testing.TB, r *models.Registry, rate float64) {
	t.Helper()
	if got := r.Predictor().Model().ClickRate(0, nil); got < 0.99*rate || got > 1.01*rate {
		t.Errorf("the model in service predicts %v, want %v", got, rate)
	}
}

// knowledge is a publication whose model predicts rate for everything, and that
// knows creative 5 to do twice as well.
func knowledge(t testing.TB, rate float64) *models.Publication {
	t.Helper()
	clicks, err := models.Prior(models.MinBits, rate)
	if err != nil {
		t.Fatal(err)
	}
	shader, err := models.NewShader(models.DefaultShaderConfig())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		shader.Learn(&models.Outcome{Kind: models.Shaded, Worth: rtb.FromCPM(4), Bid: rtb.FromCPM(1), MinToWin: rtb.FromCPM(1), Paid: rtb.FromCPM(1), Won: true, Time: noon.Add(time.Duration(i) * time.Second)})
	}
	creatives := models.NewCreatives()
	for i := range 1000 {
		creatives.Learn(5, 0, 0.1, i%5 == 0)
	}
	known, err := creatives.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return &models.Publication{Position: 10, Model: &models.Model{Clicks: clicks}, Shader: shader.Append(nil), Creatives: known}
}

// What a trainer learns serves in every bidder under the number that it serves
// as at the trainer, and as long as it does there.
func TestBiddersFollowATrainer(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	now := noon
	trainer, err := models.NewRegistry(models.DefaultRegistry(), store, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	bidder := openPupil(t, store)
	if !bidder.AsOf().IsZero() {
		t.Errorf("knows all until %v, and nobody has learned", bidder.AsOf())
	}
	good := learned(100_000, 900, 0.9, 1).Metrics
	learn := func(rate float64, m models.Metrics, after time.Duration) {
		t.Helper()
		now = now.Add(after)
		p := knowledge(t, rate)
		if err := errors.Join(trainer.Learn(ctx, p.Model, m), trainer.Publish(ctx, p, now)); err != nil {
			t.Fatal(err)
		}
		bidder.poll(t)
		if got := bidder.AsOf(); !got.Equal(now) {
			t.Errorf("knows all until %v, want %v", got, now)
		}
	}
	version := must[models.Version](t)

	learn(0.011, models.Metrics{}, time.Second)
	wantServed(t, bidder.Registry, 1, 0)
	wantRate(t, bidder.Registry, 0.011)
	if got := bidder.creatives.Mean(5, 0, 0.1); got < 0.15 {
		t.Errorf("a creative that does twice as well is believed to be clicked with %v instead of 0.1", got)
	}
	at := models.ShadeContext{Exchange: 1}
	if low, high := bidder.shader.WinRate(at, rtb.FromCPM(4), rtb.FromCPM(0.5)), bidder.shader.WinRate(at, rtb.FromCPM(4), rtb.FromCPM(2)); low > 0.2 || high < 0.8 {
		t.Errorf("half the price wins %v, twice the price %v", low, high)
	}
	if got := bidder.shader.Savings().Shaded.Bids; got != 2000 {
		t.Errorf("savings of %d bids, want 2000", got)
	}
	learn(0.012, good, time.Hour)
	wantServed(t, bidder.Registry, 2, 0)
	wantRate(t, bidder.Registry, 0.012)
	learn(0.013, good, time.Second)
	wantRate(t, bidder.Registry, 0.013)

	// A canary and a shadow stay what they are, and so does what is learned.
	file := save(t, trainer, models.FromFile, 0.2)
	version(bidder.Try(ctx, file.Number, 2000, nil))
	learn(0.014, good, time.Second)
	wantServed(t, bidder.Registry, 2, file.Number)
	wantRate(t, bidder.Registry, 0.014)
	if canary, _ := bidder.Predictor().Canary(); canary.ClickRate(0, nil) < 0.19 {
		t.Errorf("the canary predicts %v, want 0.2", canary.ClickRate(0, nil))
	}

	// A bidder that starts now begins with all that.
	again := openPupil(t, store)
	wantServed(t, again.Registry, 2, file.Number)
	wantRate(t, again.Registry, 0.014)
	if again.AsOf() != bidder.AsOf() || again.creatives.Mean(5, 0, 0.1) < 0.15 {
		t.Errorf("after a restart all is known until %v, creative 5 %v", again.AsOf(), again.creatives.Mean(5, 0, 0.1))
	}

	// What somebody has chosen stays, whatever is learned.
	version(bidder.Promote(ctx, file.Number, nil))
	learn(0.015, good, time.Second) // the trainer has not heard of it
	wantServed(t, bidder.Registry, file.Number, 0)
	wantRate(t, bidder.Registry, 0.2)
	if err := trainer.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if !trainer.Outdated() {
		t.Error("what was published is of version 2, which is not live any more, and the trainer does not know")
	}
	learn(0.016, good, time.Second)
	wantRate(t, bidder.Registry, 0.2)
	version(bidder.PromoteLearned(ctx))
	if err := trainer.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if !trainer.Outdated() {
		t.Error("what is learned serves again, and the trainer has nothing to say")
	}
	learn(0.017, good, 0)
	wantServed(t, bidder.Registry, 2, 0)
	wantRate(t, bidder.Registry, 0.017)
	if trainer.Outdated() {
		t.Error("what was published just now is outdated")
	}

	// A rollback comes back to the version as it was saved, and stays.
	learn(0.018, good, time.Hour)
	last := bidder.Predictor().Model().Version
	if last != 4 {
		t.Fatalf("version %d serves, want 4, which has just been learned", last)
	}
	version(bidder.Rollback(ctx, last, "a whim", nil))
	wantServed(t, bidder.Registry, 2, 0)
	wantRate(t, bidder.Registry, 0.012)
	for range 2 {
		learn(0.019, good, time.Second)
		wantServed(t, bidder.Registry, 2, 0)
		wantRate(t, bidder.Registry, 0.012)
	}
}

// A publication that is of no use is refused, once, and the one before stays,
// with the time until when it knows all.
func TestBiddersRefuseBadPublications(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	trainer, bidder := openRegistry(t, store, nil), openPupil(t, store)
	publish := func(rate float64, asOf time.Time) {
		t.Helper()
		if err := trainer.Publish(ctx, knowledge(t, rate), asOf); err != nil {
			t.Fatal(err)
		}
	}
	publish(0.011, noon)
	bidder.poll(t)
	wantRate(t, bidder.Registry, 0.011)
	publish(0.012, noon)
	good, _, _, err := store.Publication(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	good[len(good)/2] ^= 1
	if err := store.PutPublication(ctx, good, noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if p, err := trainer.Published(ctx); p != 0 || err != nil {
		t.Errorf("Published = %d, %v, of what is damaged", p, err)
	}
	for range 3 {
		bidder.poll(t)
		if err := trainer.Confirm(ctx, noon.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	wantRate(t, bidder.Registry, 0.011)
	if got := bidder.AsOf(); !got.Equal(noon) {
		t.Errorf("knows all until %v, but what that is about was refused", got)
	}
	publish(0.013, noon.Add(2*time.Hour))
	bidder.poll(t)
	wantRate(t, bidder.Registry, 0.013)
	if p, err := trainer.Published(ctx); p != 10 || err != nil {
		t.Errorf("Published = %d, %v, want 10", p, err)
	}
	if err := trainer.Confirm(ctx, noon.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	bidder.poll(t)
	if got := bidder.AsOf(); !got.Equal(noon.Add(3 * time.Hour)) {
		t.Errorf("knows all until %v, want what was confirmed", got)
	}
}

// What people see of a version in service is what the trainer has observed, and
// the trainer alone judges it.
func TestBiddersSeeWhatTheTrainerObserves(t *testing.T) {
	store, ctx := openStore(t), t.Context()
	trainer, bidder := openRegistry(t, store, nil), openPupil(t, store)
	for range 3000 {
		trainer.Observe(lesson(1, 0.2, false))
	}
	if err := trainer.Publish(ctx, knowledge(t, 0.01), noon); err != nil {
		t.Fatal(err)
	}
	bidder.poll(t)
	if got, want := bidder.Monitor().Window(1), trainer.Monitor().Window(1); got != want || got.Rows < 2900 {
		t.Errorf("the bidder shows %+v, want %+v", got, want)
	}
}

// Run follows without being told, within its poll.
func TestRegistryRunsBehindATrainer(t *testing.T) {
	store, err := sql.Open(t.Context(), "sqlite:"+t.TempDir()+"/models.db")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	trainer, bidder := openRegistry(t, store, nil), openPupil(t, store)
	if err := trainer.Publish(t.Context(), knowledge(t, 0.011), noon); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- bidder.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); bidder.AsOf().IsZero(); <-tick.C {
		if time.Since(begun) > 5*time.Second {
			t.Fatal("nothing after 5 seconds")
		}
	}
	wantRate(t, bidder.Registry, 0.011)
	cancel()
	<-done
}
