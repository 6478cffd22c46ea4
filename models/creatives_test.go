package models

import (
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"bidwell/rtb"
)

// audience is a hidden truth: the click rates of the creatives 1, 2, … in each
// of the cells that impressions come from.
type audience struct {
	cells []uint8
	rates [][]float64 // by cell, by creative
	model float64     // what the click model says of all of them
}

// played is what a way to choose brought, in clicks per impression that were
// to be expected of what it showed.
type played struct {
	got, best, even float64
	shown           [][]int // by cell, by creative, over the last third
}

func (p *played) regret() float64     { return (p.best - p.got) / p.best }
func (p *played) evenRegret() float64 { return (p.best - p.even) / p.best }

// play shows impressions, learning from each, and publishes every so often as
// the trainer does.
func (a *audience) play(impressions int, share float64, seed uint64) *played {
	r := rand.New(rand.NewPCG(seed, 1))
	c := NewCreatives()
	out := &played{shown: make([][]int, len(a.cells))}
	options := make([]Option, len(a.rates[0]))
	for i := range out.shown {
		out.shown[i] = make([]int, len(options))
	}
	for n := range impressions {
		at := r.IntN(len(a.cells))
		for i := range options {
			options[i] = Option{Creative: rtb.CreativeID(i + 1), P: a.model}
		}
		i, _ := c.Choose(options, a.cells[at], r.Uint64(), share)
		best := 0.0
		for _, rate := range a.rates[at] {
			best = max(best, rate)
			out.even += rate / float64(len(options))
		}
		out.best += best
		out.got += a.rates[at][i]
		if n >= impressions*2/3 {
			out.shown[at][i]++
		}
		c.Learn(options[i].Creative, a.cells[at], options[i].P, r.Float64() < a.rates[at][i])
		if n%500 == 499 {
			c.Publish()
		}
	}
	return out
}

// Over 100,000 impressions of five creatives of which the click model knows
// nothing, what is lost to showing always the best one is a small part of what
// even rotation loses, with and without a limit on exploration.
func TestChooseFindsTheBestCreative(t *testing.T) {
	a := audience{cells: []uint8{0}, rates: [][]float64{{0.004, 0.005, 0.006, 0.008, 0.010}}, model: 0.006}
	for _, share := range []float64{1, 0.02} {
		var regret, even float64
		const seeds = 10
		for seed := range uint64(seeds) {
			p := a.play(100_000, share, seed)
			regret += p.regret() / seeds
			even += p.evenRegret() / seeds
		}
		t.Logf("exploration may cost %g: regret %.3f, of even rotation %.3f", share, regret, even)
		if regret > even/3 {
			t.Errorf("exploration may cost %g: regret %.3f, want a third of even rotation's %.3f at most", share, regret, even)
		}
	}
}

// Creative 1 is the better one in one cell and creative 2 in another: each is
// found where it is better, with the same predictions for both.
func TestChooseLeavesOutWhatHasNoChance(t *testing.T) {
	c := NewCreatives()
	for range 20_000 { // nobody ever clicks it, so most of its draws are zero
		c.Learn(2, 1, .1, false)
	}
	c.Publish()
	for coin := range uint64(20_000) {
		options := []Option{{Creative: 1}, {Creative: 2, P: .01}, {Creative: 3}}
		if i, _ := c.Choose(options, 0, mix(coin^key0, key1), .02); i != 1 {
			t.Fatalf("coin %d: creative %d is shown, which must not be", coin, options[i].Creative)
		}
	}
}

func TestChooseFindsTheBestOfEachCell(t *testing.T) {
	a := audience{cells: []uint8{1, 5}, rates: [][]float64{{0.012, 0.006}, {0.006, 0.012}}, model: 0.009}
	for _, share := range []float64{1, 0.02} {
		var regret, even float64
		const seeds = 10
		for seed := range uint64(seeds) {
			p := a.play(100_000, share, seed)
			regret += p.regret() / seeds
			even += p.evenRegret() / seeds
			for at, shown := range p.shown {
				better := float64(shown[at]) / float64(shown[0]+shown[1])
				if better < 0.8 {
					t.Errorf("share %g, seed %d: in cell %d the better creative has %.2f of the last third, want 0.8", share, seed, a.cells[at], better)
				}
			}
		}
		t.Logf("exploration may cost %g: regret %.3f, of even rotation %.3f", share, regret, even)
		if regret > even/3 {
			t.Errorf("exploration may cost %g: regret %.3f, want a third of even rotation's %.3f at most", share, regret, even)
		}
	}
}

// What a choice gives up, by what is known, is no more than its share: in the
// mean over coins, for options of any difference.
func TestExplorationCostsNoMoreThanItsShare(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	ways := map[Choice]int{}
	for range 30 {
		c := NewCreatives()
		options := make([]Option, 2+r.IntN(4))
		for i := range options {
			id := rtb.CreativeID(i + 1)
			ratio := 0.3 + 1.5*r.Float64()
			for range r.IntN(8000) {
				c.Learn(id, 3, 0.005, r.Float64() < 0.005*ratio)
			}
			options[i] = Option{Creative: id, P: 0.005 * (0.5 + r.Float64())}
		}
		c.Publish()
		for _, share := range []float64{0, 0.02, 0.1} {
			best, got := 0.0, 0.0
			const n = 20_000
			for range n {
				i, how := c.Choose(options, 3, r.Uint64(), share)
				ways[how]++
				most := 0.0
				for k := range options {
					most = max(most, options[k].Mean)
				}
				if how != ChoseDraw && options[i].Mean != most {
					t.Fatalf("%v chose %+v of %+v", how, options[i], options)
				}
				best += most
				got += options[i].Mean
			}
			if lost := (best - got) / best; lost > share*1.1+1e-12 {
				t.Errorf("of %+v: %.4f is given up, want %g at most", options, lost, share)
			}
		}
	}
	if ways[ChoseBest] == 0 || ways[ChoseDraw] == 0 || ways[HeldToBest] == 0 {
		t.Errorf("ways of choosing: %v, want some of each", ways)
	}
}

// What a Learner labels is learned, under the cell that the bid drew from.
func TestLabelled(t *testing.T) {
	req := &rtb.Request{}
	imp := req.AddImp()
	imp.HasBanner = true
	user := &rtb.Profile{Known: true, Segments: []rtb.SegmentID{4}}
	hashes := Extract(nil, req, imp, user, &rtb.LineItem{ID: 3}, &rtb.Creative{ID: 9}, rtb.Size{}, time.Unix(1e9, 0))
	e := Lesson{Creative: 9, CTR: 0.25}
	e.Features.Set(hashes)
	c := NewCreatives()
	c.Labelled(&e, true)
	c.Labelled(&e, false)
	tally := c.tallies[9]
	if tally == nil || tally.expected[CellOf(hashes)] < 0.49 || tally.clicks[CellOf(hashes)] < 0.99 {
		t.Errorf("two impressions and a click in cell %d became %+v", CellOf(hashes), tally)
	}
}

// Draws have the mean and the deviation of the posterior.
func TestDrawsFollowThePosterior(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, learned := range []struct{ impressions, clicks int }{{0, 0}, {100, 0}, {1000, 20}, {1000, 5}, {20_000, 300}} {
		c := NewCreatives()
		const p = 0.01
		for i := range learned.impressions {
			c.Learn(7, 2, p, i*learned.clicks/learned.impressions != (i+1)*learned.clicks/learned.impressions)
		}
		c.Publish()
		shape, rate := float64(ratioPrior), float64(ratioPrior)
		if tally := c.tallies[7]; tally != nil {
			shape, rate = shape+tally.clicks[2], rate+tally.expected[2]
		}
		var sum, squares float64
		const n = 200_000
		for range n {
			d := c.Doubt(7, 2, r.Uint64()) * c.Mean(7, 2, p) / p
			sum += d
			squares += d * d
		}
		mean := sum / n
		deviation := math.Sqrt(squares/n - mean*mean)
		if want := shape / rate; math.Abs(mean/want-1) > 0.02 || math.Abs(c.Mean(7, 2, p)/p/want-1) > 1e-6 {
			t.Errorf("%+v: mean of draws %.4f, Mean %.4f, want %.4f", learned, mean, c.Mean(7, 2, p)/p, want)
		}
		if want := math.Sqrt(shape) / rate; math.Abs(deviation/want-1) > 0.04 {
			t.Errorf("%+v: deviation of draws %.4f, want %.4f", learned, deviation, want)
		}
	}
}

// A new cell of a known creative begins near what the others know, and comes
// to what is true of it; what is old fades.
func TestCellsShrinkToTheCreative(t *testing.T) {
	c := NewCreatives()
	r := rand.New(rand.NewPCG(1, 9))
	learn := func(cell uint8, ratio float64, impressions int) {
		for range impressions {
			c.Learn(1, cell, 0.01, r.Float64() < 0.01*ratio)
		}
		c.Publish()
	}
	ratio := func(cell uint8) float64 { return c.Mean(1, cell, 1) }
	learn(1, 2, 20_000)
	if got := ratio(6); got < 1.6 || got > 2.2 {
		t.Errorf("a cell without impressions has the ratio %.2f, want nearly the 2 of the creative", got)
	}
	learn(6, 0.5, 20_000)
	if got := ratio(6); got < 0.4 || got > 0.75 {
		t.Errorf("after 20,000 impressions its ratio is %.2f, want about its own 0.5", got)
	}
	if got := ratio(1); got < 1.7 || got > 2.2 {
		t.Errorf("the first cell has the ratio %.2f, want still 2", got)
	}
	learn(1, 1, 200_000)
	if got := ratio(1); got < 0.85 || got > 1.15 {
		t.Errorf("a creative that wore out has the ratio %.2f, want 1", got)
	}
	if got := c.Mean(2, 1, 1); got != 1 {
		t.Errorf("an unknown creative has the ratio %g, want 1", got)
	}
	for _, p := range []float64{0, -1, 2, math.NaN(), math.Inf(1)} {
		c.Learn(3, 0, p, true)
	}
	c.Learn(0, 0, 0.5, true)
	if len(c.tallies) != 1 {
		t.Errorf("%d creatives are known after impressions that say nothing, want 1", len(c.tallies))
	}
}

// The cell is that of the first segment, whatever the candidate.
func TestCellOf(t *testing.T) {
	cell := func(creative rtb.CreativeID, segments ...rtb.SegmentID) uint8 {
		req := &rtb.Request{}
		imp := req.AddImp()
		imp.HasBanner = true
		user := &rtb.Profile{Known: true, Segments: segments}
		hashes := Extract(nil, req, imp, user, &rtb.LineItem{ID: 3}, &rtb.Creative{ID: creative}, rtb.Size{W: 300, H: 250}, time.Unix(1e9, 0))
		cell := CellOf(hashes)
		var kept rtb.Features
		if kept.Set(hashes); CellOf(kept.Append(nil)) != cell {
			t.Errorf("cell %d when bidding, %d when learning", cell, CellOf(kept.Append(nil)))
		}
		return cell
	}
	if got := cell(1); got != 0 {
		t.Errorf("a user without segments is in cell %d, want 0", got)
	}
	used := map[uint8]bool{}
	for s := rtb.SegmentID(1); s < 100; s++ {
		alone := cell(1, s)
		if alone == 0 || alone >= Cells {
			t.Fatalf("segment %d is cell %d, want 1 to %d", s, alone, Cells-1)
		}
		used[alone] = true
		many := []rtb.SegmentID{s}
		for more := range rtb.SegmentID(25) {
			many = append(many, 1000+more)
			if got := cell(2, many...); got != alone {
				t.Fatalf("segment %d is cell %d alone, but %d before %d others", s, alone, got, more+1)
			}
		}
	}
	if len(used) != Cells-1 {
		t.Errorf("a hundred segments are in %d cells, want %d", len(used), Cells-1)
	}
	if got := CellOf(nil); got != 0 {
		t.Errorf("no features are cell %d, want 0", got)
	}
}

func TestCreativesComeBackFromASnapshot(t *testing.T) {
	c := NewCreatives()
	r := rand.New(rand.NewPCG(8, 8))
	for range 50_000 {
		c.Learn(rtb.CreativeID(1+r.IntN(200)), uint8(r.IntN(Cells)), 0.001+r.Float64()/50, r.Float64() < 0.01)
	}
	c.Publish()
	data, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	d := NewCreatives()
	if err := d.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		id, cell, coin := rtb.CreativeID(r.IntN(250)), uint8(r.IntN(Cells)), r.Uint64()
		if a, b := c.Doubt(id, cell, coin)*c.Mean(id, cell, 1), d.Doubt(id, cell, coin)*d.Mean(id, cell, 1); a != b {
			t.Fatalf("creative %d draws %g before and %g after", id, a, b)
		}
	}
	for n := range data {
		if err := d.UnmarshalBinary(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken", n, len(data))
		}
	}
	for at := 0; at < len(data); at += 37 {
		data[at] ^= 4
		if err := d.UnmarshalBinary(data); err == nil {
			t.Fatalf("taken with byte %d changed", at)
		}
		data[at] ^= 4
	}
	if !reflect.DeepEqual(c.tallies, d.tallies) {
		t.Error("what was refused left a trace")
	}
}

// FuzzCreatives: whatever is read is written the same again, and nothing
// panics.
func FuzzCreatives(f *testing.F) {
	c := NewCreatives()
	empty, _ := c.MarshalBinary()
	c.Learn(5, 1, 0.5, true)
	c.Learn(6, 2, 0.5, false)
	two, _ := c.MarshalBinary()
	f.Add(empty)
	f.Add(two)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := NewCreatives()
		if c.UnmarshalBinary(data) != nil {
			return
		}
		again, err := c.MarshalBinary()
		if err != nil || string(again) != string(data) {
			t.Fatalf("read %x, wrote %x (%v)", data, again, err)
		}
	})
}

// There are never more tallies than memory was planned for, and those that
// know most stay.
func TestTalliesAreLimited(t *testing.T) {
	c := NewCreatives()
	for id := rtb.CreativeID(1); id <= maxTallies+1000; id++ {
		c.Learn(id, 0, 0.01, false)
	}
	for range 100 {
		c.Learn(42, 0, 0.5, true)
	}
	c.Publish()
	if n := len(c.tallies); n > maxTallies || c.tallies[42] == nil {
		t.Errorf("%d creatives are kept, the best known one: %t; want at most %d and true", n, c.tallies[42] != nil, maxTallies)
	}
}

// Bids draw while the trainer learns and publishes.
func TestDrawWhilePublishing(t *testing.T) {
	c := NewCreatives()
	var bids sync.WaitGroup
	stop := make(chan struct{})
	for n := range uint64(2) {
		bids.Go(func() {
			options := []Option{{Creative: 1, P: 0.01}, {Creative: 2, P: 0.02}, {Creative: 900, P: 0.01}}
			for coin := n; ; coin = mix(coin^key0, key1) {
				c.Choose(options, uint8(coin), coin, 0.02)
				for _, o := range options {
					if !(o.Draw >= 0 && o.Draw < 1 && o.Mean > 0) {
						t.Errorf("%+v", o)
						return
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 200 {
		for id := range rtb.CreativeID(10 * (1 + i%20)) {
			c.Learn(id+1, uint8(i), 0.01, i%50 == 0)
		}
		c.Publish()
	}
	close(stop)
	bids.Wait()
}

func TestChooseDoesNotAllocate(t *testing.T) {
	c := NewCreatives()
	for id := range rtb.CreativeID(1000) {
		c.Learn(id, 1, 0.01, id%3 == 0)
	}
	c.Publish()
	var options [8]Option
	coin := uint64(1)
	allocs := testing.AllocsPerRun(100, func() {
		for i := range options {
			options[i] = Option{Creative: rtb.CreativeID(i * 77), P: 0.01}
		}
		coin = mix(coin^key0, key1)
		c.Choose(options[:], uint8(coin%Cells), coin, 0.02)
		c.Doubt(3, 1, coin)
	})
	if allocs != 0 {
		t.Errorf("Choose allocates %v times, want 0", allocs)
	}
}

func benchCreatives() *Creatives {
	c := NewCreatives()
	r := rand.New(rand.NewPCG(1, 1))
	for id := rtb.CreativeID(1); id <= 20_000; id++ {
		for range 8 {
			c.Learn(id, uint8(r.IntN(Cells)), 0.01, r.IntN(50) == 0)
		}
	}
	c.Publish()
	return c
}

func BenchmarkDraw(b *testing.B) {
	c := benchCreatives()
	coin, sum := uint64(1), 0.0
	b.ReportAllocs()
	for b.Loop() {
		coin = coin*key1 + 1
		sum += c.Doubt(rtb.CreativeID(coin>>32%20_000), uint8(coin>>60), coin)
	}
	if sum == 0 {
		b.Error("nothing was drawn")
	}
}

func BenchmarkChoose(b *testing.B) {
	c := benchCreatives()
	var options [4]Option
	coin := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		coin = coin*key1 + 1
		for i := range options {
			options[i] = Option{Creative: rtb.CreativeID(coin>>40%20_000) + rtb.CreativeID(i), P: 0.01}
		}
		c.Choose(options[:], uint8(coin>>60), coin, 0.02)
	}
}
