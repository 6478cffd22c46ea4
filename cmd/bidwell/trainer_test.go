package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bidwell/models"
	"bidwell/store/sql"
)

// soon is how long what was learned may take to reach every bidder.
const soon = 5 * time.Second

// taught is a bidder that does not learn by itself, and lets a trainer read its
// log at an address.
func taught(t *testing.T, args ...string) (p *program, log string) {
	t.Helper()
	log = freeAddress(t)
	p = serve(t, append([]string{"--public-url", "https://bid.example.com", "--learn.on=false", "--log.listen", log}, args...)...)
	return p, log
}

func trainerArgs(data, log, admin string) []string {
	return []string{"serve", "--role", "train", "--data", data, "--log.url", "nats://" + log, "--admin.listen", admin,
		"--learn.click-wait", "1s", "--learn.bits", "18", "--reload", "20ms"}
}

// train starts a trainer and waits until it is ready.
func train(t *testing.T, p *program, log string) (admin string, stop func() error) {
	t.Helper()
	admin = freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, trainerArgs(p.data, log, admin), io.Discard, io.Discard) }()
	stop = sync.OnceValue(func() error {
		cancel()
		p.http.CloseIdleConnections()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("bidwell serve --role train: %v", err)
		}
	})
	eventually(t, patience, "ready", func() bool {
		select {
		case err := <-ended:
			ended <- nil
			t.Fatalf("bidwell serve --role train: %v", err)
		default:
		}
		status, _ := p.get("http://" + admin + "/readyz")
		return status == http.StatusOK
	})
	return admin, stop
}

// show shows the ad once, and has it clicked.
func (p *program) show(clicked bool) {
	p.t.Helper()
	b := p.mustBid(request)
	if got := p.notify(p.reach(pixelInMarkup.FindString(b.AdM), "")); got.status != http.StatusOK {
		p.t.Fatalf("view: %+v", got)
	}
	if !clicked {
		return
	}
	if got := p.notify(p.reach(clickInMarkup.FindString(b.AdM), "")); got.status != http.StatusFound {
		p.t.Fatalf("click: %+v", got)
	}
}

// pass lets the time of the log go on.
func (p *program) pass() {
	p.t.Helper()
	if got := p.notify(p.reach(p.mustBid(request).NURL, "1")); got.status != http.StatusNoContent {
		p.t.Fatalf("nurl: %+v", got)
	}
}

// metric is the value of a metric without labels on an admin listener.
func (p *program) metric(admin, name string) float64 {
	p.t.Helper()
	_, body := p.get("http://" + admin + "/metrics")
	for line := range strings.SplitSeq(body, "\n") {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return value
		}
	}
	p.t.Fatalf("no metric %s in\n%s", name, body)
	return 0
}

// A process of its own learns, and the bidder bids by that within seconds, goes
// on when the other is gone, and knows it after a restart.
func TestATrainerTeachesTheBidder(t *testing.T) {
	p, log := taught(t)
	p.apply(shop)
	p.awaitExplained(`"outcome":"bid"`)
	before := p.clickRate()
	watch, stop := train(t, p, log)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/debug/pprof/": 200, "/v1/models": 404, "/docs": 404} {
		if status, body := p.get("http://" + watch + path); status != want {
			t.Errorf("%s of a trainer: %d %s, want %d", path, status, body, want)
		}
	}
	if _, err := command(t, trainerArgs(p.data, log, freeAddress(t))...); err == nil {
		t.Error("two trainers learn in one folder")
	} else {
		wantError(t, err, "another bidwell learns in the data folder "+p.data, "--learn.on=false")
	}

	for range 20 {
		p.show(true)
	}
	taken, learnedAt, learned := p.metric(p.admin, "bidwell_publications_taken_total"), time.Time{}, 0.0
	eventually(t, patience, "learned from clicks", func() bool {
		p.pass()
		if learnedAt.IsZero() && p.metric(watch, "bidwell_learned_clicks_total") >= 20 {
			learnedAt = time.Now() // by the trainer, which publishes next
		}
		learned = p.clickRate()
		return learned > 5*before
	})
	if took := time.Since(learnedAt); !learnedAt.IsZero() && took > soon {
		t.Errorf("what was learned took %v to the bidder, want at most %v", took, soon)
	}
	if p.metric(p.admin, "bidwell_publications_taken_total") <= taken {
		t.Error("bidwell_publications_taken_total does not count what a trainer publishes")
	}
	eventually(t, patience, "the bidder knows all until just now", func() bool {
		return p.metric(p.admin, "bidwell_learned_age_seconds") < soon.Seconds()
	})

	// Without a trainer the bidder goes on, and its restart changes nothing.
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	p, log = taught(t, "--data", p.data)
	p.awaitExplained(`"outcome":"bid"`)
	if got := p.clickRate(); got < learned/2 {
		t.Errorf("after a restart %v is believed, before it was %v", got, learned)
	}
	age := p.metric(p.admin, "bidwell_learned_age_seconds")
	eventually(t, patience, "the age of what was learned grows without a trainer", func() bool {
		return p.metric(p.admin, "bidwell_learned_age_seconds") > age+0.1
	})

	// A bidder that learns itself and a trainer keep each other out.
	_, stop = train(t, p, log)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	_, err := command(t, "serve", "--data", p.data, "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t), "--cache-mb", "4")
	wantError(t, err, "another bidwell learns in the data folder")

	// A restart of the bidder does not matter to the trainer.
	p = serve(t, "--data", p.data, "--learn.on=false", "--log.listen", log)
	p.awaitExplained(`"outcome":"bid"`)
	eventually(t, patience, "the trainer has found the bidder again", func() bool {
		return p.metric(p.admin, "bidwell_learned_age_seconds") < soon.Seconds()
	})
	if err := errors.Join(stop(), p.stop()); err != nil {
		t.Fatal(err)
	}
	p = serve(t, "--data", p.data, "--log.listen", log)
	_, err = command(t, trainerArgs(p.data, log, freeAddress(t))...)
	wantError(t, err, "another bidwell learns in the data folder")
}

// A bidder that reads a damaged publication bids by the one before.
func TestADamagedPublicationIsRefused(t *testing.T) {
	p, log := taught(t)
	p.apply(shop)
	p.awaitExplained(`"outcome":"bid"`)
	before := p.clickRate()
	_, stop := train(t, p, log)
	for range 20 {
		p.show(true)
	}
	learned := 0.0
	eventually(t, patience, "learned from clicks", func() bool {
		p.pass()
		learned = p.clickRate()
		return learned > 5*before
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	store, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(p.data, "models.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	body, _, _, err := store.Publication(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	refused := p.metric(p.admin, "bidwell_publications_refused_total")
	learned = p.clickRate() // the last may have come since
	if err := store.PutPublication(t.Context(), body[:len(body)-100], time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "refused", func() bool { return p.metric(p.admin, "bidwell_publications_refused_total") == refused+1 })
	if got := p.clickRate(); got != learned {
		t.Errorf("after a damaged publication %v is believed, before it was %v", got, learned)
	}
	p.mustBid(request)
}

// A trainer that is killed at any moment goes on where it was, and learns
// nothing twice and leaves nothing out.
func TestATrainerIsKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, log := taught(t)
	p.apply(shop)
	p.awaitExplained(`"outcome":"bid"`)
	admin := freeAddress(t)
	start := func() *exec.Cmd {
		t.Helper()
		cmd := exec.Command(self, trainerArgs(p.data, log, admin)...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	ready := func() bool {
		status, _ := p.get("http://" + admin + "/readyz")
		return status == http.StatusOK
	}
	// What bidders have never goes back.
	store, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(p.data, "models.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var seen struct {
		position, revision uint64
		publications       int
	}
	look := func() {
		body, revision, _, err := store.Publication(t.Context(), seen.revision)
		if err != nil {
			t.Fatal(err)
		}
		if body == nil {
			return
		}
		p, err := models.ParsePublication(body)
		if err != nil {
			t.Fatal(err)
		}
		if p.Position < seen.position {
			t.Errorf("publication %d is of position %d, after one of %d", revision, p.Position, seen.position)
		}
		seen.position, seen.revision = p.Position, revision
		seen.publications++
	}
	const kills, each = 4, 10
	shown := 0
	for kill := range kills {
		cmd := start()
		for i := range each {
			p.show(i%2 == 0)
			shown++
		}
		if kill > 0 { // else in the middle of its start
			eventually(t, patience, "ready", func() bool { look(); return ready() })
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	cmd := start()
	eventually(t, patience, "ready", func() bool { look(); return ready() })
	if seen.publications < kills {
		t.Errorf("%d publications", seen.publications)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join(p.data, "learner"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := models.DefaultLearner()
	cfg.Bits, cfg.ClickWait = 18, time.Second
	l, err := models.RestoreLearner(cfg, state)
	if err != nil {
		t.Fatal(err)
	}
	if got := int(l.Stats().Impressions) + l.Open(); got != shown {
		t.Errorf("%d impressions are learned or wait, of %d: %+v", got, shown, l.Stats())
	}
	if s := l.Stats(); s.Unmatched > 0 || s.Crowded > 0 || s.Unscored > 0 {
		t.Errorf("%+v", s)
	}
}

func TestRolesRefuseSettings(t *testing.T) {
	data := t.TempDir()
	for name, c := range map[string]struct {
		args  []string
		named []string
	}{
		"no such role":      {[]string{"--role", "bid"}, []string{`role: "bid" is neither all nor train`}},
		"train without log": {[]string{"--role", "train"}, []string{"log.url: role train learns from a log elsewhere"}},
		"train in a dream":  {[]string{"--role", "train", "--log.url", "nats://127.0.0.1:1", "--simulated-time", "2026-01-05T00:00:00Z", "--bid.listen", "127.0.0.1:0"}, []string{"simulated-time: "}},
		"log for all":       {[]string{"--log.listen", "0.0.0.0:4222"}, []string{`log.listen: "0.0.0.0:4222" is not a loopback address`}},
		"log without port":  {[]string{"--log.listen", "127.0.0.1"}, []string{"log.listen: "}},
		"any port":          {[]string{"--log.listen", "127.0.0.1:0", "--bid.listen", freeAddress(t)}, []string{"listen: ", "127.0.0.1:4222"}},
		"two logs":          {[]string{"--log.listen", "127.0.0.1:4222", "--log.url", "nats://127.0.0.1:1"}, []string{"log.listen: the log is that of log.url"}},
		"nobody there":      {[]string{"--role", "train", "--log.url", "nats://127.0.0.1:1"}, []string{"data: no bidder has kept its books in " + data}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := command(t, append([]string{"serve", "--data", data, "--admin.listen", freeAddress(t)}, c.args...)...)
			wantError(t, err, c.named...)
		})
	}
	_, err := command(t, "demo", "--role", "train", "--log.url", "nats://127.0.0.1:1")
	wantError(t, err, "role: the demo is one process")
}

// A trainer that has lost something publishes nothing before it has learned all
// again that bidders know; and what bidders have not got is published again.
func TestATrainerHoldsBack(t *testing.T) {
	store, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "models.db"))
	if err != nil {
		t.Fatal(err)
	}
	registry, err := models.NewRegistry(models.DefaultRegistry(), store, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Open(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	base, err := registry.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg := models.DefaultLearner()
	cfg.Bits = 18
	l := &learning{models: registry, now: time.Now, publishes: true, unpublished: true, held: 100}
	if l.learner, err = models.NewLearner(cfg, base); err != nil {
		t.Fatal(err)
	}
	if l.learner.Shader, err = models.NewShader(models.DefaultShaderConfig()); err != nil {
		t.Fatal(err)
	}
	l.learner.Creatives = models.NewCreatives()
	published := func() uint64 {
		t.Helper()
		p, err := registry.Published(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, step := range []struct{ learned, published uint64 }{{0, 0}, {99, 0}, {100, 100}, {120, 100}} { // nothing happened at 120
		if err := l.learner.Apply(step.learned, nil); err != nil {
			t.Fatal(err)
		}
		l.handOver(t.Context())
		if got := published(); got != step.published {
			t.Errorf("at position %d what is published is of %d, want %d", step.learned, got, step.published)
		}
	}
	if err := l.ready(); err == nil {
		t.Error("ready, though nobody knows up to when all is learned")
	}
	now := time.Now()
	l.learned.Store(now.UnixNano())
	l.handOver(t.Context())
	if _, _, asOf, err := store.Publication(t.Context(), 1); err != nil || !asOf.Equal(now) || l.ready() != nil {
		t.Errorf("bidders know all until %v, %v, want %v; ready: %v", asOf, err, now, l.ready())
	}
	old := now.Add(-2 * maxBehind)
	l.confirmed.Store(old.UnixNano())
	if err := l.ready(); err == nil {
		t.Error("ready, though what bidders have is old")
	}
	if err := store.Close(); err != nil { // as when the disk is full
		t.Fatal(err)
	}
	l.unpublished = true
	l.handOver(t.Context())
	if !l.unpublished || !l.confirmedUntil().Equal(old) {
		t.Error("what could not be written counts as published")
	}
}
