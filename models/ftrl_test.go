package models

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// world draws examples from known weights: 200 ads on 50 sites with a click
// rate of some per cent.
func world(n int, seed uint64) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		truth := rand.New(rand.NewPCG(7, 7))
		var ad, site [200]float64
		for i := range ad {
			ad[i], site[i] = truth.NormFloat64()*0.8, truth.NormFloat64()*0.8
		}
		r := rand.New(rand.NewPCG(seed, 1))
		hashes := make([]uint32, 2)
		for i := range n {
			a, s := r.IntN(200), r.IntN(50)
			hashes[0], hashes[1] = fold(number(fieldCreative, uint64(a))), fold(number(fieldInventory, uint64(s)))
			click := r.Float64() < sigmoid(-3+ad[a]+site[s])
			if !yield(Example{Hashes: hashes, Click: click, Time: noon.Add(time.Duration(i) * time.Second)}, nil) {
				return
			}
		}
	}
}

func TestTrainLearns(t *testing.T) {
	m, metrics, err := Train(world(60_000, 1), TrainConfig{Bits: 18, Settings: []FTRLConfig{DefaultFTRL(), RareFTRL()}})
	if err != nil {
		t.Fatal(err)
	}
	if metrics.Rows != 60_000 || !metrics.From.Equal(noon) || !metrics.Through.Equal(noon.Add(59_999*time.Second)) {
		t.Errorf("metrics of the rows: %+v", metrics)
	}
	if metrics != m.Clicks.Metrics() || !m.Clicks.Trained().Equal(metrics.Through) {
		t.Errorf("the model keeps %+v, want %+v", m.Clicks.Metrics(), metrics)
	}

	var score scoreboard
	for e := range world(60_000, 3) {
		score.add(m.ClickRate(1, e.Hashes), e.Click)
	}
	got := score.metrics()
	if got.AUC < 0.74 || got.NE() > 0.92 || math.Abs(got.Calibration-1) > 0.1 {
		t.Errorf("on new examples: %+v, NE %v, want AUC over 0.74, NE under 0.92, calibration about 1", got, got.NE())
	}
}

func TestTrainKeepsTheBetterSetting(t *testing.T) {
	dull := FTRLConfig{Alpha: 1e-6, Beta: 1, L1: 1, L2: 1}
	for _, settings := range [][]FTRLConfig{{dull, DefaultFTRL()}, {DefaultFTRL(), dull}} {
		_, got, err := Train(world(5_000, 1), TrainConfig{Bits: 18, Settings: settings})
		if err != nil {
			t.Fatal(err)
		}
		_, want, _ := Train(world(5_000, 1), TrainConfig{Bits: 18, Settings: []FTRLConfig{DefaultFTRL()}})
		if got != want {
			t.Errorf("Train with %v: %+v, want %+v", settings, got, want)
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	bad := errors.New("line 3: cut off")
	broken := func(yield func(Example, error) bool) { yield(Example{}, bad) }
	if _, _, err := Train(broken, DefaultTrainConfig()); !errors.Is(err, bad) {
		t.Errorf("Train = %v, want the reader's error", err)
	}
	if _, _, err := Train(world(0, 1), TrainConfig{Bits: 18, Settings: []FTRLConfig{DefaultFTRL()}}); !errors.Is(err, ErrNoExamples) {
		t.Errorf("Train of nothing = %v, want ErrNoExamples", err)
	}
	long := func(yield func(Example, error) bool) { yield(Example{Hashes: make([]uint32, maxHashes+1)}, nil) }
	for name, tt := range map[string]struct {
		examples iter.Seq2[Example, error]
		cfg      TrainConfig
		want     string
	}{
		"bits":     {world(1, 1), TrainConfig{Bits: 40, Settings: []FTRLConfig{DefaultFTRL()}}, "40 bits"},
		"settings": {world(1, 1), TrainConfig{Bits: 18}, "settings"},
		"alpha":    {world(1, 1), TrainConfig{Bits: 18, Settings: []FTRLConfig{{Beta: 1}}}, "settings[0]: alpha"},
		"l1":       {world(1, 1), TrainConfig{Bits: 18, Settings: []FTRLConfig{{Alpha: 1, Beta: 1, L1: math.NaN()}}}, "l1"},
		"features": {long, TrainConfig{Bits: 18, Settings: []FTRLConfig{DefaultFTRL()}}, "1025 features"},
	} {
		if _, _, err := Train(tt.examples, tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Train = %v, want an error with %q", name, err, tt.want)
		}
	}
}

// The first step of FTRL by hand: from nothing p = 1/2, g = -1/2.
func TestUpdateFollowsTheFormula(t *testing.T) {
	f, err := NewFTRL(18, FTRLConfig{Alpha: 0.1, Beta: 1, L1: 0.2, L2: 1})
	if err != nil {
		t.Fatal(err)
	}
	if p := f.Update([]uint32{9}, true); p != 0.5 {
		t.Errorf("first prediction %v, want 0.5", p)
	}
	m := f.Model()
	// z = -1/2, n = 1/4: w = -(z + l1) / ((1 + 1/2)/0.1 + 1), the bias without l1.
	if got, want := float64(m.weights[9]), 0.3/16; math.Abs(got-want) > 1e-7 {
		t.Errorf("weight %v, want %v", got, want)
	}
	if got, want := float64(m.bias), 0.5/16; math.Abs(got-want) > 1e-7 {
		t.Errorf("bias %v, want %v", got, want)
	}
	if allocs := testing.AllocsPerRun(100, func() { f.Update([]uint32{9, 10}, false) }); allocs != 0 {
		t.Errorf("Update allocates %v times, want 0", allocs)
	}
}

func TestMetrics(t *testing.T) {
	var s scoreboard
	for _, v := range []struct {
		p     float64
		click bool
	}{{0.8, true}, {0.6, false}, {0.5, true}, {0.2, false}, {0.2, false}, {0.2, true}} {
		s.add(v.p, v.click)
	}
	m := s.metrics()
	// Pairs of a click and another in the right order: 3, 2 and two halves, of 9.
	if want := 6.0 / 9; math.Abs(m.AUC-want) > 1e-9 {
		t.Errorf("AUC %v, want %v", m.AUC, want)
	}
	want := -(math.Log(.8) + math.Log(.4) + math.Log(.5) + 2*math.Log(.8) + math.Log(.2)) / 6
	if math.Abs(m.LogLoss-want) > 1e-9 || math.Abs(m.NE()-want/math.Ln2) > 1e-9 {
		t.Errorf("log loss %v, NE %v, want %v, %v", m.LogLoss, m.NE(), want, want/math.Ln2)
	}
	if math.Abs(m.Calibration-2.5/3) > 1e-9 {
		t.Errorf("calibration %v, want %v", m.Calibration, 2.5/3)
	}
	var none scoreboard
	if m := none.metrics(); m != (Metrics{AUC: 0.5}) || m.NE() != 0 {
		t.Errorf("metrics of nothing: %+v", m)
	}
}

func TestExamplesSurviveTheJourney(t *testing.T) {
	want := []Example{
		{Hashes: []uint32{0, 1, math.MaxUint32}, Click: true, Time: time.Unix(1_700_000_000, 0)},
		{Hashes: []uint32{5}, Time: time.Unix(-5, 0)},
	}
	var text []byte
	for _, e := range want {
		text = AppendExample(text, e)
	}
	if line := `{"t":1700000000,"y":1,"x":[0,1,4294967295]}` + "\n"; !bytes.HasPrefix(text, []byte(line)) {
		t.Errorf("AppendExample = %s, want %s", text, line)
	}
	i := 0
	for got, err := range ReadExamples(bytes.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Hashes, want[i].Hashes) || got.Click != want[i].Click || !got.Time.Equal(want[i].Time) {
			t.Errorf("example %d: %v, want %v", i, got, want[i])
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d examples, want %d", i, len(want))
	}
}

func TestReadExamplesNamesTheLine(t *testing.T) {
	const good = `{"t":1,"y":0,"x":[1]}` + "\n\n"
	for text, want := range map[string]string{
		good + `{"t":1,"y":0`:                                     "line 3",
		good + `{"y":0,"x":[1]}`:                                  "line 3: t: missing",
		good + `{"t":1,"x":[1]}`:                                  "line 3: y: want 0 or 1",
		good + `{"t":1,"y":2,"x":[1]}`:                            "line 3: y: want 0 or 1",
		good + `{"t":1,"y":1,"x":[]}`:                             "line 3: x: 0 features",
		good + `{"t":1,"y":1,"x":[-1]}`:                           "line 3",
		good + `{"t":1,"y":1,"x":[4294967296]}`:                   "line 3",
		good + `{"t":1` + strings.Repeat(" ", maxLine):            "line 3",
		`{"t":1,"y":1,"x":[` + strings.Repeat("1,", 1024) + `1]}`: "line 1: x: 1025 features",
	} {
		var got error
		for _, err := range ReadExamples(strings.NewReader(text)) {
			got = err
		}
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("ReadExamples(%.40q) = %v, want %q", text, got, want)
		}
	}
}

func FuzzReadExamples(f *testing.F) {
	f.Add([]byte(`{"t":1,"y":0,"x":[1,2]}` + "\n" + `{"t":1,"y":1,"x":[3]}`))
	f.Add([]byte(`{"t":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		failed := false
		for e, err := range ReadExamples(bytes.NewReader(text)) {
			if failed {
				t.Fatal("goes on after an error")
			}
			if failed = err != nil; failed {
				continue
			}
			again := AppendExample(nil, e)
			for back, err := range ReadExamples(bytes.NewReader(again)) {
				if err != nil || back.Click != e.Click || !back.Time.Equal(e.Time) || !bytes.Equal(AppendExample(nil, back), again) {
					t.Fatalf("%s comes back as %v, %v", again, back, err)
				}
			}
		}
	})
}

// A weight of 3 is the example three times, but for the steps in between; a
// weight of none is not an example.
func TestLearnWeighs(t *testing.T) {
	cfg := FTRLConfig{Alpha: 1e-3, Beta: 1, L2: 1}
	once, thrice := newFTRL(t, cfg), newFTRL(t, cfg)
	once.Learn([]uint32{1, 2}, true, 3)
	once.Learn([]uint32{1, 2}, true, 0)
	for range 3 {
		thrice.Update([]uint32{1, 2}, true)
	}
	if a, b := once.Logit([]uint32{1, 2}), thrice.Logit([]uint32{1, 2}); math.Abs(a/b-1) > 0.15 || a == 0 {
		t.Errorf("weight 3 gives logit %v, three times %v", a, b)
	}
	if m := once.Metrics(); m.Rows != 1 {
		t.Errorf("%d rows counted, want 1", m.Rows)
	}
}

func newFTRL(t *testing.T, cfg FTRLConfig) *FTRL {
	t.Helper()
	f, err := NewFTRL(MinBits, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// With a tenth of the negatives the model still predicts clicks as often as
// they come, nearly as well as with all.
func TestNegativesAreLeftOutWithoutBias(t *testing.T) {
	all, tenth := DefaultFTRL(), DefaultFTRL()
	tenth.Negatives = 0.1
	full, fewer := newFTRL(t, all), newFTRL(t, tenth)
	for e := range world(60_000, 1) {
		full.Update(e.Hashes, e.Click)
		fewer.Update(e.Hashes, e.Click)
	}
	var a, b scoreboard
	m, n := full.Model(), fewer.Model()
	for e := range world(60_000, 3) {
		a.add(m.Predict(e.Hashes), e.Click)
		b.add(n.Predict(e.Hashes), e.Click)
	}
	want, got := a.metrics(), b.metrics()
	if math.Abs(got.Calibration-1) > 0.1 || got.NE() > want.NE()+0.02 {
		t.Errorf("with a tenth: NE %v, calibration %v; with all: %v, %v", got.NE(), got.Calibration, want.NE(), want.Calibration)
	}
	if rows := float64(fewer.biasN) / float64(full.biasN); rows > 0.9 {
		t.Errorf("with a tenth, the bias has seen %v of all", rows)
	}
}

// A model made from what changed is the one made from everything.
func TestSnapshotsAreWhole(t *testing.T) {
	for _, cfg := range []FTRLConfig{DefaultFTRL(), RareFTRL()} {
		f, r := newFTRL(t, cfg), rand.New(rand.NewPCG(1, 1))
		for round := range 12 {
			for range []int{0, 5, 400, 3000}[round%4] {
				f.Update([]uint32{r.Uint32N(100), r.Uint32(), r.Uint32()}, r.IntN(5) == 0)
			}
			got := f.Model()
			f.last = nil
			want := f.Model()
			if !slices.Equal(got.weights, want.weights) || got.bias != want.bias {
				t.Fatalf("round %d: the weights differ", round)
			}
			if !slices.Equal(got.present, want.present) {
				t.Fatalf("round %d: the marks differ", round)
			}
			for i := range f.table {
				if f.table[i].weight != got.weights[i] {
					t.Fatalf("round %d: weight %d is %v, want %v", round, i, got.weights[i], f.table[i].weight)
				}
			}
		}
	}
}

// BenchmarkFTRL is one example of 40 features, learned from. No two examples
// share features, so that every one of them waits for memory.
func BenchmarkFTRL(b *testing.B) {
	for _, bits := range []int{18, 22} {
		b.Run(fmt.Sprintf("bits=%d", bits), func(b *testing.B) {
			f, err := NewFTRL(bits, DefaultFTRL())
			if err != nil {
				b.Fatal(err)
			}
			hashes := make([]uint32, 40)
			h := uint32(1)
			b.ReportAllocs()
			for b.Loop() {
				for k := range hashes {
					h = h*1664525 + 1013904223
					hashes[k] = h ^ h>>13
				}
				f.Update(hashes, h>>20&63 == 0)
			}
		})
	}
}

// BenchmarkSnapshot is a model published after 1,000 examples.
func BenchmarkSnapshot(b *testing.B) {
	f, err := NewFTRL(DefaultBits, DefaultFTRL())
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	hashes := make([]uint32, 40)
	f.Model()
	b.ReportAllocs()
	for b.Loop() {
		for range 1000 {
			for k := range hashes {
				hashes[k] = r.Uint32N(1 << 20)
			}
			f.Update(hashes, r.IntN(100) == 0)
		}
		f.Model()
	}
}
