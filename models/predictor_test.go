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
			s := serving{live, canary, share}
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
				one := serving{live, first, share}
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
	s := serving{live, nil, 0}
	if s.of(Coin(nil, []byte("r"))) != live {
		t.Error("without a canary another model is chosen")
	}
	// Without users, by the request.
	s = serving{live, first, 5000}
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

func TestChoosingDoesNotAllocate(t *testing.T) {
	p := NewPredictor(&Model{Version: 1, Clicks: randomModel(18)})
	p.Serve(p.Model(), &Model{Version: 2, Clicks: randomModel(18)}, 5000)
	req, imp, user := benchRequest()
	users, id := userNumber(5), []byte("5d4f1b3c-request")
	item, creative := &rtb.LineItem{ID: 3}, &rtb.Creative{ID: 4}
	var f Features
	score := func() {
		f.Begin(req, imp, user, noon)
		p.BeginFor(&f, Coin(users, id))
		p.BeginFor(&f, Coin(nil, id))
		f.Candidate(item, creative, rtb.Size{W: 320, H: 50})
		p.Click(&f)
	}
	score()
	if allocs := testing.AllocsPerRun(100, score); allocs != 0 {
		t.Errorf("choosing a model allocates %v times, want 0", allocs)
	}
}

// BenchmarkChooseModel is what the choice of a model adds to an imp.
func BenchmarkChooseModel(b *testing.B) {
	s := &serving{&Model{Version: 1}, &Model{Version: 2}, 1000}
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
