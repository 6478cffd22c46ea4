package main

import (
	"context"
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
	if err := stop(); err != nil {
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
	const kills, each = 4, 10
	shown := 0
	for kill := range kills {
		cmd := start()
		for i := range each {
			p.show(i%2 == 0)
			shown++
		}
		if kill > 0 { // else in the middle of its start
			eventually(t, patience, "ready", ready)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	cmd := start()
	eventually(t, patience, "ready", ready)
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
		"nobody there":      {[]string{"--role", "train", "--log.url", "nats://" + freeAddress(t)}, []string{"open log of events in NATS"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := command(t, append([]string{"serve", "--data", data, "--admin.listen", freeAddress(t)}, c.args...)...)
			wantError(t, err, c.named...)
		})
	}
	_, err := command(t, "demo", "--role", "train", "--log.url", "nats://127.0.0.1:1")
	wantError(t, err, "role: the demo is one process")
}
