package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

var shadeStart = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func newShader(t testing.TB, change func(*ShaderConfig)) *Shader {
	t.Helper()
	cfg := DefaultShaderConfig()
	cfg.Control = 0
	if change != nil {
		change(&cfg)
	}
	s, err := NewShader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sale is what an exchange of a test asks for an impression: a log-normal price
// around a CPM of 1, or the floor for half of those that have one.
func sale(r *rand.Rand, exchange int, floor rtb.Money) rtb.Money {
	price := rtb.FromCPM(math.Exp(0.5*float64(exchange) + 0.5*r.NormFloat64()))
	if floor > 0 && r.Float64() < 0.5 {
		return floor
	}
	return max(floor, price)
}

// sell runs auctions, and returns the surplus of the second half of them as a
// part of what one gets who knows how often which price wins, and what the one
// gets who bids a fixed half of the worth.
func sell(s *Shader, auctions int, prices bool) (share, half float64) {
	const draws = 2000
	r := rand.New(rand.NewPCG(1, 2))
	floors := []rtb.Money{0, rtb.FromCPM(0.5), rtb.FromCPM(1.5)}
	sorted := map[[2]int][]rtb.Money{} // the law of the prices
	for x := 1; x <= 2; x++ {
		for f, floor := range floors {
			for range draws {
				sorted[[2]int{x, f}] = append(sorted[[2]int{x, f}], sale(r, x, floor))
			}
			slices.Sort(sorted[[2]int{x, f}])
		}
	}
	got, best, halves := 0.0, 0.0, 0.0
	for i := range auctions {
		x, f := 1+r.IntN(2), r.IntN(len(floors))
		floor, worth := floors[f], rtb.FromCPM(3*math.Exp(0.5*r.NormFloat64()))
		price := sale(r, x, floor)
		o := Outcome{
			At: ShadeContext{Exchange: rtb.ExchangeID(x), Floor: FloorBucket(floor)}, Worth: worth,
			Time: shadeStart.Add(time.Duration(i) * time.Second),
		}
		o.Bid, o.Kind = s.Shade(o.At, worth, floor, r.Uint32())
		if i >= auctions/2 {
			most := 0.0
			for n, p := range sorted[[2]int{x, f}] {
				if n+1 == draws || sorted[[2]int{x, f}][n+1] > p {
					most = max(most, float64(worth-p)*float64(n+1)/draws)
				}
			}
			best += most
			if o.Bid >= price {
				got += float64(worth - o.Bid)
			}
			if b := max(floor, worth/2); b >= price && b <= worth {
				halves += float64(worth - b)
			}
		}
		if o.Bid == 0 {
			continue
		}
		if o.Won = o.Bid >= price; o.Won {
			o.Paid = o.Bid
		}
		if prices {
			o.MinToWin = price
		}
		s.Learn(&o)
		if i%200 == 0 {
			s.Publish()
		}
	}
	return got / best, halves / best
}

func TestShaderFindsTheBestPrice(t *testing.T) {
	for name, tt := range map[string]struct {
		prices bool
		want   float64
	}{"prices are told": {true, 0.96}, "only who has won": {false, 0.9}} {
		share, half := sell(newShader(t, nil), 12_000, tt.prices)
		t.Logf("%s: %.4f of the best, half of the worth %.4f", name, share, half)
		if share < tt.want || share < half+0.02 {
			t.Errorf("%s: %.4f of the best surplus, want %v, and half of the worth brings %.4f", name, share, tt.want, half)
		}
	}
}

func TestWinRatesAreThoseOfTheMarket(t *testing.T) {
	s := newShader(t, nil)
	sell(s, 12_000, true)
	at := ShadeContext{Exchange: 1}
	r := rand.New(rand.NewPCG(5, 6))
	for _, cpm := range []float64{1, 1.65, 2.5} {
		price, wins := rtb.FromCPM(cpm), 0
		for range 10_000 {
			if sale(r, 1, 0) <= price {
				wins++
			}
		}
		if got, want := s.WinRate(at, rtb.FromCPM(3), price), float64(wins)/10_000; math.Abs(got-want) > 0.06 {
			t.Errorf("a CPM of %v wins %.3f, want %.3f", cpm, got, want)
		}
	}
}

// Whatever a Shader was told, a bid is at least the floor and at most the worth.
func TestShadedBidsAreWithinFloorAndWorth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := NewShader(DefaultShaderConfig())
		if err != nil {
			t.Fatal(err)
		}
		money := rapid.Custom(func(t *rapid.T) rtb.Money {
			return rtb.Money(math.Exp2(40 * rapid.Float64Range(0, 1).Draw(t, "octaves")))
		})
		for range rapid.IntRange(0, 50).Draw(t, "outcomes") {
			floor := money.Draw(t, "floor")
			s.Learn(&Outcome{
				At: ShadeContext{Exchange: 1, Floor: FloorBucket(floor)}, Worth: money.Draw(t, "worth"), Bid: money.Draw(t, "bid"),
				Won: rapid.Bool().Draw(t, "won"), MinToWin: money.Draw(t, "price") * rtb.Money(rapid.IntRange(0, 1).Draw(t, "told")), Time: shadeStart,
			})
		}
		s.Publish()
		for range 20 {
			floor, worth := money.Draw(t, "floor"), money.Draw(t, "worth")
			at := ShadeContext{Exchange: rtb.ExchangeID(rapid.IntRange(0, 2).Draw(t, "exchange")), Floor: FloorBucket(floor)}
			bid, kind := s.Shade(at, worth, floor, rapid.Uint32().Draw(t, "coin"))
			switch {
			case worth <= floor && bid != 0, worth > floor && (bid < floor || bid > worth):
				t.Fatalf("bid %d of worth %d, floor %d", bid, worth, floor)
			case kind == ShadingControl && bid != worth:
				t.Fatalf("control bids %d of worth %d", bid, worth)
			}
			if w := s.WinRate(at, worth, max(bid, 1)); !(w >= 0 && w <= 1) {
				t.Fatalf("win rate %v", w)
			}
		}
	})
}

func TestShadingBeginsGentlyAndBacksOff(t *testing.T) {
	worth := rtb.FromCPM(3)
	s := newShader(t, nil)
	if bid, kind := s.Shade(ShadeContext{Exchange: 9}, worth, 0, 1<<31); kind != Shaded || bid < worth/2 || bid > worth*9/10 {
		t.Errorf("a new Shader bids %v of %v, %v", bid, worth, kind)
	}
	sell(s, 5000, true)
	known, _ := s.Shade(ShadeContext{Exchange: 1}, worth, 0, 1<<31)
	other, _ := s.Shade(ShadeContext{Exchange: 1, Format: 3}, worth, 0, 1<<31)
	if off := float64(other)/float64(known) - 1; math.Abs(off) > 0.25 {
		t.Errorf("a new format bids %v, where the exchange is known to take %v", other, known)
	}
}

func TestSavingsAgainstControl(t *testing.T) {
	s := newShader(t, func(c *ShaderConfig) { c.Control = 0.1 })
	sell(s, 12_000, true)
	s.Publish()
	g := s.Savings()
	if part := float64(g.Control.Bids) / float64(g.Control.Bids+g.Shaded.Bids); math.Abs(part-0.1) > 0.02 {
		t.Errorf("control is %.3f of the bids, want 0.1", part)
	}
	if !g.Distinguished || g.SavedLow < 0.2 || g.SavedHigh > 0.7 || g.SavedLow > g.Saved || g.SurplusLow <= 0 {
		t.Errorf("savings = %+v", g)
	}
	if g.Control.Surplus != 0 || g.Shaded.Surplus <= 0 || math.Abs(g.Shaded.Worth-g.Shaded.Spend-g.Shaded.Surplus) > 1e-6*g.Shaded.Worth {
		t.Errorf("surplus: %+v and %+v", g.Shaded, g.Control)
	}
}

func TestSavingsWhereAllCostAlike(t *testing.T) {
	for worth := rtb.Money(900_000); worth < 1_000_000; worth += 1234 {
		for _, part := range []float64{0, 0.61, 0.7, 0.83} {
			s, err := NewShader(DefaultShaderConfig())
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				o := Outcome{Worth: worth, Bid: worth, Paid: worth, Kind: ShadingControl, Won: true, Time: noon.Add(time.Duration(i) * time.Second)}
				s.Learn(&o)
				o.Kind, o.Bid = Shaded, max(1, rtb.Money(part*float64(worth)))
				o.Paid = rtb.Money(part * float64(worth))
				s.Learn(&o)
			}
			s.Publish()
			v := s.Savings()
			for _, x := range [...]float64{v.Saved, v.SavedLow, v.SavedHigh, v.Surplus, v.SurplusLow, v.SurplusHigh} {
				if math.IsNaN(x) || math.IsInf(x, 0) {
					t.Fatalf("worth %d, of which %v is paid: %+v, want numbers", worth, part, v)
				}
			}
		}
	}
}

func TestRisingPoolsNeighbours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rates [priceBins]float32
		sum := 0.0
		for i := range rates {
			rates[i] = rapid.Float32Range(0, 1).Draw(t, "rate")
			sum += float64(rates[i])
		}
		rising(&rates)
		for i, r := range rates {
			if i > 0 && r < rates[i-1] {
				t.Fatalf("bin %d falls from %v to %v", i, rates[i-1], r)
			}
			sum -= float64(r)
		}
		if math.Abs(sum) > 1e-3 {
			t.Fatalf("the mean has moved by %v", sum/priceBins)
		}
	})
}

func TestShaderIsRestored(t *testing.T) {
	for _, prices := range []bool{true, false} {
		s := newShader(t, nil)
		sell(s, 3000, prices)
		state := s.Append(nil)
		back, err := RestoreShader(s.cfg, state)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Append(nil), s.Append(nil)) {
			t.Error("what was restored is other than what was appended")
		}
		for _, cpm := range []float64{0.5, 1, 2} {
			at, price := ShadeContext{Exchange: 1}, rtb.FromCPM(cpm)
			got, want := back.WinRate(at, rtb.FromCPM(3), price), s.WinRate(at, rtb.FromCPM(3), price)
			if math.Abs(got-want) > 0.08 {
				t.Errorf("restored, a CPM of %v wins %.3f instead of %.3f", cpm, got, want)
			}
		}
	}
}

func TestDamagedShadersAreRefused(t *testing.T) {
	s := newShader(t, nil)
	sell(s, 500, true)
	state := s.Append(nil)
	other := bytes.Clone(state)
	other[len(shaderMagic)]++
	flipped := bytes.Clone(state)
	flipped[len(state)/2] ^= 1
	for name, tt := range map[string]struct {
		state []byte
		want  error
	}{
		"nothing": {nil, ErrNotShader}, "another file": {[]byte("bidwell model\n\x01"), ErrNotShader},
		"version": {other, ErrShaderVersion}, "cut off": {state[:len(state)/2], ErrShaderDamaged}, "one bit": {flipped, ErrShaderDamaged},
	} {
		if _, err := RestoreShader(s.cfg, tt.state); !errors.Is(err, tt.want) {
			t.Errorf("%s: error = %v, want %v", name, err, tt.want)
		}
	}
}

// A state that is refused or not, its bytes never make RestoreShader panic.
func FuzzRestoreShader(f *testing.F) {
	s := newShader(f, nil)
	f.Add(s.Append(nil))
	sell(s, 5, false)
	f.Add(s.Append(nil))
	f.Fuzz(func(t *testing.T, state []byte) {
		if n := len(state); n >= 4 { // a wrong checksum would hide the rest
			binary.LittleEndian.PutUint32(state[n-4:], crc32.ChecksumIEEE(state[:n-4]))
		}
		s, err := RestoreShader(DefaultShaderConfig(), state)
		if err != nil {
			return
		}
		if bid, _ := s.Shade(ShadeContext{}, 1000, 10, 1<<31); bid < 10 || bid > 1000 {
			t.Errorf("bid %d of 10 to 1000", bid)
		}
	})
}

func TestShaderRefusesBadSettings(t *testing.T) {
	for _, change := range []func(*ShaderConfig){
		func(c *ShaderConfig) { c.Control = 1.1 }, func(c *ShaderConfig) { c.Explore = -1 }, func(c *ShaderConfig) { c.HalfLife = 0 },
		func(c *ShaderConfig) { c.DriftLife = time.Second }, func(c *ShaderConfig) { c.Trust = math.NaN() }, func(c *ShaderConfig) { c.MaxCurves = 1 },
	} {
		cfg := DefaultShaderConfig()
		change(&cfg)
		if _, err := NewShader(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func TestShadeDoesNotAllocate(t *testing.T) {
	s := newShader(t, nil)
	sell(s, 1000, true)
	at := ShadeContext{Exchange: 1, Floor: FloorBucket(rtb.FromCPM(0.5))}
	if n := testing.AllocsPerRun(100, func() { s.Shade(at, rtb.FromCPM(3), rtb.FromCPM(0.5), 1<<30) }); n != 0 {
		t.Errorf("Shade allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { s.WinRate(at, rtb.FromCPM(3), rtb.FromCPM(1)) }); n != 0 {
		t.Errorf("WinRate allocates %v times, want 0", n)
	}
}

func BenchmarkShade(b *testing.B) {
	s := newShader(b, nil)
	sell(s, 5000, true)
	at := ShadeContext{Exchange: 1, Floor: FloorBucket(rtb.FromCPM(0.5))}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Shade(at, rtb.Money(1_000_000+i&0xfffff), rtb.FromCPM(0.5), uint32(i))
	}
}

func BenchmarkShaderPublish(b *testing.B) {
	s := newShader(b, nil)
	sell(s, 12_000, true)
	r := rand.New(rand.NewPCG(3, 4))
	for b.Loop() {
		for range 1000 { // what comes in a second
			price := sale(r, 1+r.IntN(2), 0)
			s.Learn(&Outcome{At: ShadeContext{Exchange: rtb.ExchangeID(1 + r.IntN(2))}, Worth: rtb.FromCPM(3), Bid: rtb.FromCPM(1), MinToWin: price, Time: s.now})
		}
		s.Publish()
	}
}

// Floors that are never the same must not take the room of what comes later.
func TestNewExchangesFindRoom(t *testing.T) {
	cfg := DefaultShaderConfig()
	cfg.MaxCurves = 256
	s, err := NewShader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	outcome := func(x rtb.ExchangeID, floor uint8, won bool) {
		s.Learn(&Outcome{
			At: ShadeContext{Exchange: x, Format: 1, Floor: floor}, Kind: Shaded, Worth: rtb.FromCPM(4), Bid: rtb.FromCPM(1),
			MinToWin: rtb.FromCPM(0.5), Won: won, Paid: rtb.FromCPM(1), Time: time.Unix(1_900_000_000, 0),
		})
	}
	for x := range 8 {
		for floor := range 120 {
			outcome(rtb.ExchangeID(x+1), uint8(floor), true)
		}
	}
	s.Publish()
	if n := len(s.curves) + len(s.drifts); n > cfg.MaxCurves {
		t.Errorf("%d curves, want at most %d", n, cfg.MaxCurves)
	}
	for range 100 {
		outcome(99, 3, true)
	}
	s.Publish()
	for _, key := range []curveKey{exchangeKey(99), formatKey(ShadeContext{Exchange: 99, Format: 1})} {
		if s.curves[key] == nil || s.live.Load().leaves[key] == nil {
			t.Errorf("a new exchange has no curve %x", key)
		}
	}
	for key := range s.leaves {
		if s.curves[key] == nil {
			t.Errorf("a table of bids without its curve, %x", key)
		}
	}
}
