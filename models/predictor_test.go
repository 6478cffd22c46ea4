package models

import (
	"encoding/binary"
	"math"
	"testing"

	"bidwell/rtb"
)

func userNumber(n int) []rtb.UserID {
	var u rtb.UserID
	binary.LittleEndian.PutUint64(u[:], mix(uint64(n)+1, key1))
	binary.LittleEndian.PutUint64(u[8:], mix(uint64(n)+7, key2))
	return []rtb.UserID{u}
}

// The canary has its share of the users, always the same ones, and the next
// canary has others.
func TestCanaryShare(t *testing.T) {
	const users = 100_000
	live, first, second := &Model{Version: 1}, &Model{Version: 2}, &Model{Version: 3}
	chosen := map[uint32]map[int]bool{}
	for _, canary := range []*Model{first, second} {
		for _, share := range []Share{1, 100, 1000, 5000, 9999} {
			s := serving{live: live, canary: canary, share: share}
			of := map[int]bool{}
			for n := range users {
				m := s.of(Coin(userNumber(n), nil))
				if m != s.of(Coin(userNumber(n), []byte("another request"))) {
					t.Fatalf("user %d is given two models", n)
				}
				of[n] = m == canary
				if old := chosen[canary.Version]; old != nil && old[n] && !of[n] {
					t.Fatalf("user %d has left the canary as its share grew", n)
				}
			}
			chosen[canary.Version] = of
			count := 0
			for _, is := range of {
				if is {
					count++
				}
			}
			want := users * float64(share) / float64(WholeShare)
			if math.Abs(float64(count)-want) > 5*math.Sqrt(want) {
				t.Errorf("a share of %d of 10,000 is %d of %d users, want about %.0f", share, count, users, want)
			}
			if share == 1000 && canary == second {
				one := serving{live: live, canary: first, share: share}
				both := 0
				for n := range users {
					if of[n] && one.of(Coin(userNumber(n), nil)) == first {
						both++
					}
				}
				if both < 800 || both > 1200 {
					t.Errorf("%d users are in both canaries of a tenth each, want about 1000", both)
				}
			}
		}
	}
	s := serving{live: live}
	if s.of(Coin(nil, []byte("r"))) != live {
		t.Error("without a canary another model is chosen")
	}
	// Without users, by the request.
	s = serving{live: live, canary: first, share: 5000}
	count := 0
	for n := range 10_000 {
		if s.of(Coin(nil, binary.AppendUvarint([]byte("request-"), uint64(n)))) == first {
			count++
		}
	}
	if count < 4700 || count > 5300 {
		t.Errorf("%d of 10000 requests without a user go to the canary, want half", count)
	}
}

// An imp that has begun finishes with the model that it began with, and says
// which that was.
func TestPredictorNamesItsVersion(t *testing.T) {
	live, canary := &Model{Version: 7, Clicks: randomModel(18)}, &Model{Version: 8, Clicks: randomModel(20)}
	p := NewPredictor(live)
	req, imp, user := benchRequest()
	var f Features
	begin := func(n int) {
		f.Begin(req, imp, user, noon)
		p.BeginFor(&f, Coin(userNumber(n), nil))
		f.Candidate(&rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}, rtb.Size{W: 320, H: 50})
	}
	want := func(m *Model) {
		t.Helper()
		if got, want := p.Click(&f), m.ClickRate(0, f.Hashes); f.Version() != m.Version || math.Abs(got-want) > 1e-6*want {
			t.Errorf("version %d predicts %v, want %v of version %d", f.Version(), got, want, m.Version)
		}
	}
	begin(1)
	p.Serve(live, canary, WholeShare-1)
	want(live)
	begin(1)
	p.Swap(live)
	want(canary)
	begin(1)
	want(live)
	p.Serve(live, canary, WholeShare-1)
	f.Begin(req, imp, user, noon)
	p.Begin(&f)
	f.Candidate(&rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}, rtb.Size{W: 320, H: 50})
	want(live)
}

// serveAll is a Predictor with version 1 live, 2 on trial with hardly anybody,
// and 3 and 7 for arms.
func serveAll() *Predictor {
	model := func(version uint32) *Model { return &Model{Version: version, Clicks: randomModel(18)} }
	p := NewPredictor(model(1))
	p.serving.Store(&serving{live: p.Model(), named: [MaxNamed]*Model{model(3), model(7)}})
	p.Serve(p.Model(), model(2), 1) // which leaves the others
	return p
}

// An arm is predicted by the version it names, wherever that is in service, and
// else by what its user would have without the arm.
func TestPredictorUses(t *testing.T) {
	p := serveAll()
	alone := NewPredictor(p.Model())
	canary, _ := p.Canary()
	inTrial := NewPredictor(p.Model())
	inTrial.Serve(p.Model(), canary, WholeShare-1)
	for _, tt := range []struct {
		name    string
		p       *Predictor
		version uint32
		canary  bool
		want    uint32
	}{
		{"no arm", p, 0, false, 1},
		{"the live one", p, 1, false, 1},
		{"the version on trial", p, 2, false, 2},
		{"the canary", p, 0, true, 2},
		{"one that is named", p, 3, false, 3},
		{"the last that is named", p, 7, false, 7},
		{"between those", p, 5, false, 1},
		{"above all", p, 8, false, 1},
		{"the canary before a version", p, 7, true, 2},
		{"no canary", alone, 0, true, 1},
		{"nothing named", alone, 3, false, 1},
		{"not there, of a user of the canary", inTrial, 3, false, 2},
		{"the live one, of a user of the canary", inTrial, 1, false, 1},
		{"no arm, of a user of the canary", inTrial, 0, false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, imp, user := benchRequest()
			coin := Coin(userNumber(1), nil)
			var f Features
			f.Begin(req, imp, user, noon)
			tt.p.BeginFor(&f, coin)
			tt.p.Use(&f, tt.version, tt.canary, coin)
			f.Candidate(&rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}, rtb.Size{W: 320, H: 50})
			m := tt.p.serving.Load().version(tt.want)
			if got, want := tt.p.Click(&f), m.ClickRate(0, f.Hashes); f.Version() != tt.want || math.Abs(got-want) > 1e-6*want {
				t.Errorf("version %d predicts %v, want %v of version %d", f.Version(), got, want, tt.want)
			}
		})
	}
}

func TestChoosingDoesNotAllocate(t *testing.T) {
	p := serveAll()
	canary, _ := p.Canary()
	p.Serve(p.Model(), canary, 5000)
	req, imp, user := benchRequest()
	users, id := userNumber(5), []byte("5d4f1b3c-request")
	item, creative := &rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}
	var f Features
	score := func() {
		f.Begin(req, imp, user, noon)
		p.BeginFor(&f, Coin(users, id))
		p.BeginFor(&f, Coin(nil, id))
		for _, version := range []uint32{0, 7, 9} {
			p.Use(&f, version, version == 0, Coin(users, id))
			f.Candidate(item, creative, rtb.Size{W: 320, H: 50})
			p.Click(&f)
		}
	}
	score()
	if allocs := testing.AllocsPerRun(100, score); allocs != 0 {
		t.Errorf("choosing a model allocates %v times, want 0", allocs)
	}
}

// BenchmarkUse is what the arms of two candidates add, one of which has a model
// of its own.
func BenchmarkUse(b *testing.B) {
	p := serveAll()
	req, imp, user := benchRequest()
	var f Features
	f.Begin(req, imp, user, noon)
	b.ReportAllocs()
	for b.Loop() {
		p.Use(&f, 0, false, 5)
		p.Use(&f, 7, false, 5)
	}
}

// BenchmarkChooseModel is what the choice of a model adds to an imp.
func BenchmarkChooseModel(b *testing.B) {
	s := &serving{live: &Model{Version: 1}, canary: &Model{Version: 2}, share: 1000}
	for name, users := range map[string][]rtb.UserID{"user": userNumber(5), "request": nil} {
		b.Run(name, func(b *testing.B) {
			id := []byte("5d4f1b3c-0a1b-4c5d-8e9f-001122334455")
			b.ReportAllocs()
			for b.Loop() {
				s.of(Coin(users, id))
			}
		})
	}
}
