package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"bidwell/rtb"
)

// features are those of some bid.
func features(r *rand.Rand) []uint32 {
	req, imp, user := benchRequest()
	user.Segments = user.Segments[:0]
	for range r.IntN(maxSegments + 3) {
		user.Segments = append(user.Segments, rtb.SegmentID(r.IntN(50)))
	}
	req.Device.OS = rtb.OS(r.IntN(4))
	req.Inventory.Publisher = []byte{byte(r.IntN(20))}
	at := noon.Add(time.Duration(r.IntN(24)) * time.Hour)
	return Extract(nil, req, imp, user, &rtb.LineItem{ID: 1, Campaign: 1}, &rtb.Creative{ID: rtb.CreativeID(1 + r.IntN(4))}, rtb.Size{W: 300, H: 250}, at)
}

// randomPairs have learned nonsense, but much of it.
func randomPairs(t testing.TB) *Pairs {
	t.Helper()
	g, err := newPairings(DefaultPairBits, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		g.learn(features(r), 0.3, r.Float64() < 0.4)
	}
	return g.all[1].model()
}

// What is worked out for the imp and then for each candidate must be what the
// learner sums up at once, whatever the number of segments.
func TestPairsAddWhatWasLearned(t *testing.T) {
	m := randomPairs(t)
	r := rand.New(rand.NewPCG(1, 1))
	seen := map[int]bool{}
	largest := 0.0
	for range 2000 {
		hashes := features(r)
		segments := segmentsOf(len(hashes))
		if segments < 0 {
			t.Fatalf("%d features: no number of segments", len(hashes))
		}
		seen[segments] = true
		var sums, pull [pairFields]vector
		want := m.logit(hashes, places[segments], sums[:], pull[:])
		if got := float64(m.of(hashes)); math.Abs(got-want) > 1e-5*max(1, math.Abs(want)) {
			t.Fatalf("%d segments: adds %v, the learner %v", segments, got, want)
		}
		largest = max(largest, math.Abs(want))
	}
	if len(seen) != maxSegments+1 {
		t.Errorf("%d numbers of segments seen, want %d", len(seen), maxSegments+1)
	}
	if largest < 0.1 {
		t.Errorf("nothing was learned: the pairs add %v at most", largest)
	}
	if m.of([]uint32{1, 2, 3}) != 0 {
		t.Error("a list of features that no candidate has is given something")
	}
}

// Each feature is in the field that the table says: a change of it changes no
// other field.
func TestEachFeatureHasItsField(t *testing.T) {
	for segments, fields := range places {
		if got := segmentsOf(len(fields)); got != segments {
			t.Errorf("%d features: %d segments, want %d", len(fields), got, segments)
		}
	}
	before := func() []uint32 {
		req, imp, user := benchRequest()
		return Extract(nil, req, imp, user, &rtb.LineItem{ID: 1, Campaign: 1}, &rtb.Creative{ID: 1}, rtb.Size{W: 300, H: 250}, noon)
	}()
	for name, c := range map[string]struct {
		want   uint8
		change func(req *rtb.Request, imp *rtb.Imp, user *rtb.Profile, item *rtb.LineItem)
	}{
		"device": {deviceField, func(req *rtb.Request, _ *rtb.Imp, _ *rtb.Profile, _ *rtb.LineItem) {
			req.Device.Type, req.Device.Connection = 7, 7
		}},
		"publisher": {inventoryField, func(req *rtb.Request, imp *rtb.Imp, _ *rtb.Profile, _ *rtb.LineItem) {
			req.Inventory.Publisher, imp.TagID = []byte("p"), []byte("t")
		}},
		"city": {placeField, func(req *rtb.Request, _ *rtb.Imp, _ *rtb.Profile, _ *rtb.LineItem) {
			req.Geo.City, req.Device.Language = []byte("Ulm"), [2]byte{'x', 'x'}
		}},
		"floor": {slotField, func(_ *rtb.Request, imp *rtb.Imp, _ *rtb.Profile, _ *rtb.LineItem) {
			imp.Floor, imp.Instl = rtb.FromCPM(77), !imp.Instl
		}},
		"age":       {personField, func(req *rtb.Request, _ *rtb.Imp, _ *rtb.Profile, _ *rtb.LineItem) { req.User.BirthYear = 1911 }},
		"segments":  {segmentField, func(_ *rtb.Request, _ *rtb.Imp, user *rtb.Profile, _ *rtb.LineItem) { user.Segments[0] += 1000 }},
		"line item": {adField, func(_ *rtb.Request, _ *rtb.Imp, _ *rtb.Profile, item *rtb.LineItem) { item.ID, item.Advertiser = 9, 9 }},
		"history": {historyField, func(_ *rtb.Request, _ *rtb.Imp, user *rtb.Profile, _ *rtb.LineItem) {
			user.Exposures = []rtb.Exposure{{Campaign: 1, Count: 3, Time: uint32(noon.Unix() - 60)}}
		}},
	} {
		req, imp, user := benchRequest()
		item := &rtb.LineItem{ID: 1, Campaign: 1}
		c.change(req, imp, user, item)
		after := Extract(nil, req, imp, user, item, &rtb.Creative{ID: 1}, rtb.Size{W: 300, H: 250}, noon)
		changed := 0
		for i, field := range places[segmentsOf(len(after))] {
			if after[i] == before[i] || field == noField {
				continue
			}
			if changed++; field != c.want {
				t.Errorf("%s: feature %d has the field %d, want %d", name, i, field, c.want)
			}
		}
		if changed == 0 {
			t.Errorf("%s: nothing changes", name)
		}
	}
}

// Predictor and Model must agree to the bit: what is learned is compared with
// what was bid.
func TestPredictorAddsPairs(t *testing.T) {
	m := &Model{Clicks: randomModel(18), Pairs: randomPairs(t)}
	p := NewPredictor(m)
	var f Features
	for _, segments := range []int{0, 3, maxSegments} {
		req, imp, user := benchRequest()
		user.Segments = user.Segments[:0]
		for k := range segments {
			user.Segments = append(user.Segments, rtb.SegmentID(k+1))
		}
		f.Begin(req, imp, user, noon)
		p.Begin(&f)
		for id := range rtb.CreativeID(3) {
			f.Candidate(&rtb.LineItem{ID: 1, Campaign: 1}, &rtb.Creative{ID: id + 1}, rtb.Size{W: 300, H: 250})
			got, want := p.Click(&f), m.ClickRate(1, f.Hashes)
			plain := (&Model{Clicks: m.Clicks}).ClickRate(1, f.Hashes)
			if math.Abs(got-want) > 1e-6*want || got == plain {
				t.Errorf("%d segments: the predictor says %v, its model %v, and without pairs %v", segments, got, want, plain)
			}
		}
		if allocs := testing.AllocsPerRun(100, func() {
			f.Begin(req, imp, user, noon)
			p.Begin(&f)
			f.Candidate(&rtb.LineItem{ID: 1, Campaign: 1}, &rtb.Creative{ID: 1}, rtb.Size{W: 300, H: 250})
			p.Click(&f)
		}); allocs != 0 {
			t.Errorf("predicting allocates %v times, want 0", allocs)
		}
	}
}

// teach shows l impressions of which the truth is some function, and returns
// the mean log loss of its model on others.
func teach(t *testing.T, l *Learner, seed uint64, n int, truth func(hashes []uint32) float64) float64 {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	now := noon
	batch := make([]rtb.Event, 0, 2)
	for i := range n {
		now = now.Add(time.Second)
		hashes := features(r)
		e := rtb.Event{Type: rtb.EventView, Time: now, Made: now, Campaign: 1, Creative: 1, CTR: .01}
		binary.LittleEndian.PutUint64(e.Bid[:], uint64(i+1))
		e.Features.Set(hashes)
		batch = append(batch[:0], e)
		if r.Float64() < truth(hashes) {
			e.Type = rtb.EventClick
			batch = append(batch, e)
		}
		if err := l.Apply(l.Position()+1, batch); err != nil {
			t.Fatal(err)
		}
	}
	m, loss := l.Model(), 0.0
	const others = 10_000
	for range others {
		hashes := features(r)
		p, q := truth(hashes), m.ClickRate(1, hashes)
		loss += p*logLoss(q, true) + (1-p)*logLoss(q, false)
	}
	return loss / others
}

// Pairs serve where they predict better, and only there.
func TestLearnerUsesPairsWhereTheyWin(t *testing.T) {
	publisher := func(hashes []uint32) uint32 { return mixed(hashes[4], 1) }
	hour := func(hashes []uint32) uint32 { return mixed(hashes[0], 2) }
	for _, tt := range []struct {
		name  string
		truth func(hashes []uint32) float64
		pairs bool
	}{
		{"pairs matter", func(h []uint32) float64 {
			if (publisher(h)^hour(h))&1 == 0 {
				return 0.2
			}
			return 0.02
		}, true},
		{"nothing matters", func([]uint32) float64 { return 0.05 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			with := testLearner(t, nil)
			without := testLearner(t, func(c *LearnerConfig) { c.PairBits = 0 })
			a, b := teach(t, with, 1, 60_000, tt.truth), teach(t, without, 1, 60_000, tt.truth)
			if got := with.Model().Pairs != nil; got != tt.pairs {
				t.Errorf("pairs serve: %t, want %t; log loss with them %.5f, without %.5f", got, tt.pairs, a, b)
			}
			if tt.pairs && a > 0.97*b || a > 1.002*b {
				t.Errorf("log loss %.5f, without pairs %.5f", a, b)
			}
			if m := without.Model(); m.Pairs != nil {
				t.Error("pairs that were not asked for")
			}
		})
	}
}

func mixed(h, salt uint32) uint32 { return uint32(mix(uint64(h)^key0, uint64(salt)*key1)) }

// A model with pairs that a learner begins with is not forgotten, and the
// restored learner goes on as the first does.
func TestPairsAreKept(t *testing.T) {
	cfg := DefaultLearner()
	cfg.Bits = MinBits
	prior, err := Prior(MinBits, .05)
	if err != nil {
		t.Fatal(err)
	}
	base := &Model{Clicks: prior, Pairs: randomPairs(t)}
	l, err := NewLearner(cfg, base)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 3))
	for range 100 {
		hashes := features(r)
		if got, want := l.Model().ClickRate(1, hashes), base.ClickRate(1, hashes); math.Abs(got-want) > 1e-6 {
			t.Fatalf("a learner that has learned nothing predicts %v, what it knew %v", got, want)
		}
	}
	teach(t, l, 4, 3000, func([]uint32) float64 { return 0.1 })
	again, err := RestoreLearner(cfg, l.AppendState(nil))
	if err != nil {
		t.Fatal(err)
	}
	truth := func(h []uint32) float64 { return 0.02 + 0.1*float64(h[4]&1) }
	if a, b := teach(t, l, 5, 3000, truth), teach(t, again, 5, 3000, truth); a != b {
		t.Errorf("log loss %v, restored %v", a, b)
	}
}

func TestReadRefusesPairs(t *testing.T) {
	part := randomPairs(t).file()
	read := func(b []byte) error {
		_, err := parsePairs(b)
		return err
	}
	if err := read(part); err != nil {
		t.Fatal(err)
	}
	changed := func(at int, v byte) []byte {
		b := bytes.Clone(part)
		b[at] = v
		return b
	}
	for _, tt := range []struct {
		name string
		part []byte
		want error
	}{
		{"version", changed(0, 9), ErrModelVersion},
		{"bits", changed(1, 40), ErrModelDamaged},
		{"fields", changed(2, 3), ErrModelParity},
		{"one weight", changed(3+4+3, part[3+4+3]^0x80), ErrModelParity},
		{"one weight beyond all bounds", changed(3+4+3, part[3+4+3]^0x40), ErrModelDamaged},
		{"a byte more", append(bytes.Clone(part), 0), ErrModelDamaged},
		{"a byte less", part[:len(part)-1], ErrModelDamaged},
	} {
		if err := read(tt.part); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for n := 1; n < len(part); n += 997 {
		if err := read(part[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are read", n, len(part))
		}
	}
}

// A file may hold any numbers, and checks see few of them: what it may hold
// never becomes infinite, whoever learns from there on.
func TestPairsOfAFileStayNumbers(t *testing.T) {
	for _, c := range []struct {
		name string
		size float32
		ok   bool
	}{{"as learned", 0, true}, {"the most", mostFactor, true}, {"more", 2 * mostFactor, false}, {"far more", math.MaxFloat32, false}} {
		t.Run(c.name, func(t *testing.T) {
			m, seen := randomPairs(t), map[uint32]bool{}
			for _, hashes := range m.checks() {
				for _, h := range hashes {
					seen[h] = true
				}
			}
			changed := 0
			for i := range m.vectors {
				if v := &m.vectors[i]; *v != (vector{}) && !seen[uint32(i)] && c.size > 0 {
					for k := range v {
						v[k] = c.size * float32(1-2*(k&1))
					}
					changed++
				}
			}
			if c.size > 0 && changed == 0 {
				t.Fatal("the checks see all")
			}
			read, err := parsePairs(m.file())
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrModelDamaged) {
				t.Fatalf("%v", err)
			}
			if err != nil {
				return
			}
			g, err := newPairings(DefaultPairBits, read, 1)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(6, 6))
			for range 3000 {
				hashes := features(r)
				if add := float64(read.of(hashes)); math.IsNaN(add) || math.IsInf(add, 0) {
					t.Fatalf("the pairs add %g", add)
				}
				g.learn(hashes, 0.01, r.Float64() < 0.01)
			}
			for _, one := range g.all {
				if _, err := parsePairs(one.model().file()); err != nil {
					t.Errorf("what is learned from there: %v", err)
				}
			}
		})
	}
}
