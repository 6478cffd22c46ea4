package bidder

import (
	"context"
	"slices"
	"testing"
	"time"

	"bidwell/events"
	"bidwell/models"
	"bidwell/rtb"
)

// keptLog keeps what is appended.
type keptLog struct{ events []rtb.Event }

func (l *keptLog) Append(_ context.Context, batch []rtb.Event) error {
	l.events = append(l.events, batch...)
	return nil
}

func (l *keptLog) Consume(context.Context, uint64, func(uint64, []rtb.Event) error) error { return nil }

func (l *keptLog) Last(context.Context) (uint64, error) { return 0, nil }

// Each override changes the bids of the users of its arm, and no others; what
// is logged names the arm.
func TestArmsChangeBids(t *testing.T) {
	const id = "9b1d5a2e-7c40-4e0b-b6d3-1f2a3c4d5e6f"
	body := []byte(`{"id":"r","at":1,"imp":[{"id":"1","banner":{"w":300,"h":250}}],"app":{"id":"a","bundle":"com.example"},"device":{"ifa":"` + id + `"}}`)
	unknown := []byte(`{"id":"r","at":1,"imp":[{"id":"1","banner":{"w":300,"h":250}}],"app":{"id":"a","bundle":"com.example"}}`)
	tests := []struct {
		name     string
		override models.Override
		price    func(plain, worth rtb.Money) rtb.Money
		creative rtb.CreativeID
		shading  rtb.Shading
		reason   rtb.NoBid
	}{
		{"nothing", models.Override{}, func(plain, _ rtb.Money) rtb.Money { return plain }, 0, rtb.Shaded, rtb.BidMade},
		{"unshaded", models.Override{Shading: models.ShadingOff}, func(_, worth rtb.Money) rtb.Money { return worth }, 0, rtb.ShadeControl, rtb.BidMade},
		{"half", models.Override{Shading: models.ShadingFactor, Factor: .5}, func(_, worth rtb.Money) rtb.Money { return worth / 2 }, 0, rtb.ShadeExplore, rtb.BidMade},
		{"worth half", models.Override{Value: .5, Shading: models.ShadingOff}, func(_, worth rtb.Money) rtb.Money { return worth / 2 }, 0, rtb.ShadeControl, rtb.BidMade},
		{"worth more than there is", models.Override{Value: 1e15, Shading: models.ShadingOff}, func(_, worth rtb.Money) rtb.Money { return worth }, 0, rtb.ShadeControl, rtb.BidMade},
		{"the other creative", models.Override{Creatives: []rtb.CreativeID{101}}, nil, 101, rtb.Shaded, rtb.BidMade},
		{"no creative", models.Override{Creatives: []rtb.CreativeID{999}}, nil, 0, 0, rtb.ArmRefused},
		{"a canary that is not there", models.Override{Canary: true, Model: 7}, func(plain, _ rtb.Money) rtb.Money { return plain }, 0, rtb.Shaded, rtb.BidMade},
		{"holdout", models.Override{Holdout: true}, nil, 0, 0, rtb.HeldOut},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, []rtb.LineItem{rotating(1, 2, rtb.RotateSequence)})
			log := &keptLog{}
			f.Samples, f.sampled = events.NewSamples(log, events.SamplesConfig{}), 0
			shader, err := models.NewShader(models.ShaderConfig{
				HalfLife: time.Hour, DriftLife: time.Hour, Trust: 30, MaxCurves: 64, // without control or exploration
			})
			if err != nil {
				t.Fatal(err)
			}
			f.Shader = shader
			s := newScratch()
			if f.answer(t, s, "generic", body) == nil {
				t.Fatal(s.response.Reason)
			}
			plain, worth := s.response.Bids[0].Price, s.offers[0].worth
			f.withdraw(s, rtb.BidMade)

			running, err := models.NewExperiments([]models.Experiment{{
				Number: 3, Key: "x", Salt: "x", Buckets: models.ExperimentBuckets, Start: testNow.Add(-time.Hour),
				Arms: []models.Arm{{Weight: 1, Override: tt.override}, {Weight: 1, Override: tt.override}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			f.SetExperiments(running)
			f.answer(t, s, "generic", body)
			if tt.reason != rtb.BidMade {
				if s.response.Reason != tt.reason || len(s.response.Bids) != 0 {
					t.Errorf("reason %s with %d bids, want %s", s.response.Reason, len(s.response.Bids), tt.reason)
				}
			} else {
				if len(s.response.Bids) != 1 {
					t.Fatal(s.response.Reason)
				}
				bid := &s.response.Bids[0]
				if want := tt.price; want != nil && bid.Price != want(plain, worth) {
					t.Errorf("bids %s of %s, and %s without the experiment", bid.Price, worth, plain)
				}
				if tt.creative != 0 && bid.Creative.ID != tt.creative {
					t.Errorf("shows %d, want %d", bid.Creative.ID, tt.creative)
				}
				var e rtb.Event
				if err := f.Keys.Open(bid.ServerToken, events.Server, &e, nil); err != nil {
					t.Fatal(err)
				}
				if n, _ := models.ArmOf(e.Arms[0]); n != 3 || e.Shading != tt.shading {
					t.Errorf("the token names the arms %v and the shading %s, want %s", e.Arms, e.Shading, tt.shading)
				}
				f.withdraw(s, rtb.BidMade)
			}
			explained, err := f.Explain("generic", body, testNow) // which logs nothing
			if err != nil || len(explained.Experiments) > 1 || (len(explained.Experiments) == 0) != tt.override.None() {
				t.Errorf("explained with the experiments %q: %v", explained.Experiments, err)
			}
			if f.answer(t, s, "generic", unknown) == nil || s.response.Bids[0].Price != plain {
				t.Errorf("somebody who is not known gets %s, want the bid without an experiment", s.response.Reason)
			}

			done, stop := context.WithCancel(t.Context())
			stop()
			if err := f.Samples.Run(done); err != nil {
				t.Fatal(err)
			}
			ghosts := slices.DeleteFunc(log.events, func(e rtb.Event) bool { return e.Type != rtb.EventGhost })
			if tt.reason != rtb.HeldOut {
				if len(ghosts) != 0 {
					t.Errorf("ghosts %+v", ghosts)
				}
			} else if n := len(ghosts); n != 1 || ghosts[0].LineItem != 1 || ghosts[0].User == (rtb.UserID{}) || !(ghosts[0].WinRate > 0) {
				t.Errorf("%d ghosts: %+v", n, ghosts)
			}
		})
	}
}

// Who is in an experiment is logged whatever comes of the request, once, and
// again in other arms.
func TestAssignmentsAreLogged(t *testing.T) {
	body := []byte(`{"id":"r","at":1,"imp":[{"id":"1","banner":{"w":300,"h":250}}],"app":{"id":"a","bundle":"com.example"},"device":{"ifa":"9b1d5a2e-7c40-4e0b-b6d3-1f2a3c4d5e6f"}}`)
	unknown := []byte(`{"id":"r","at":1,"imp":[{"id":"1","banner":{"w":300,"h":250}}],"app":{"id":"a","bundle":"com.example"}}`)
	f := newFixture(t, []rtb.LineItem{rotating(1, 2, rtb.RotateSequence)})
	log := &keptLog{}
	f.Samples, f.sampled = events.NewSamples(log, events.SamplesConfig{}), 0
	s := newScratch()
	for number := uint32(3); number < 5; number++ {
		holdout := models.Arm{Weight: 1, Override: models.Override{Holdout: true}}
		running, err := models.NewExperiments([]models.Experiment{{
			Number: number, Key: "x", Salt: "x", Layer: 2, Buckets: models.ExperimentBuckets, Arms: []models.Arm{holdout, holdout},
		}})
		if err != nil {
			t.Fatal(err)
		}
		f.SetExperiments(running)
		for range 3 {
			f.answer(t, s, "generic", body)
			if f.answer(t, s, "generic", unknown) == nil {
				t.Fatal(s.response.Reason)
			}
			f.withdraw(s, rtb.BidMade)
		}
	}
	done, stop := context.WithCancel(t.Context())
	stop()
	if err := f.Samples.Run(done); err != nil {
		t.Fatal(err)
	}
	noted := slices.DeleteFunc(log.events, func(e rtb.Event) bool { return e.Type != rtb.EventAssigned })
	if len(noted) != 2 {
		t.Fatalf("%d assignments: %+v", len(noted), noted)
	}
	for i, e := range noted {
		if n, _ := models.ArmOf(e.Arms[2]); int(n) != 3+i || e.User == (rtb.UserID{}) || e.User != noted[0].User || !e.Time.Equal(s.now) {
			t.Errorf("%+v", e)
		}
	}
}

func TestNotingDoesNotAllocate(t *testing.T) {
	f := newFixture(t, []rtb.LineItem{rotating(1, 2, rtb.RotateSequence)})
	f.Samples = events.NewSamples(&keptLog{}, events.SamplesConfig{})
	s := newScratch()
	s.arms = [rtb.MaxLayers]uint16{24}
	user := rtb.UserID{1}
	if n := testing.AllocsPerRun(1000, func() {
		user[3]++
		user[4] += user[3] & 1
		f.note(s, user)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
