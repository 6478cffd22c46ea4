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

	"bidwell/rtb"
)

// publication has something in every part.
func publication(t testing.TB) *Publication {
	t.Helper()
	clicks, err := Prior(MinBits, .01)
	if err != nil {
		t.Fatal(err)
	}
	s := newShader(t, nil)
	sell(s, 50, false)
	c := NewCreatives()
	c.Learn(5, 1, 0.5, true)
	known, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var w Window
	w.Add(0.5, true, 1)
	w.Add(0.1, false, 0.5)
	return &Publication{
		Position: 1 << 40, Version: 7, Model: &Model{Clicks: clicks, Orders: map[rtb.CampaignID]rtb.Money{1: rtb.Unit}},
		Shader: s.Append(nil), Creatives: known, windows: map[uint32]Window{7: w, 3: {}},
	}
}

func appended(t testing.TB, p *Publication) []byte {
	t.Helper()
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPublicationsSurviveTheJourney(t *testing.T) {
	p := publication(t)
	b := appended(t, p)
	back, err := ParsePublication(b)
	if err != nil {
		t.Fatal(err)
	}
	if back.Model.Version != p.Version || back.Position != p.Position || back.windows[7] != p.windows[7] || len(back.windows) != 2 {
		t.Errorf("got %+v of %+v", back, p)
	}
	if got, want := back.Model.ClickRate(1, sampleFeatures()), p.Model.ClickRate(1, sampleFeatures()); got != want {
		t.Errorf("the model predicts %v, want %v", got, want)
	}
	if !bytes.Equal(appended(t, back), b) {
		t.Error("what was read is written as other bytes")
	}
}

// reseal makes the checksum right again, which would hide the rest.
func reseal(b []byte) []byte {
	if n := len(b); n >= 4 {
		binary.LittleEndian.PutUint32(b[n-4:], crc32.ChecksumIEEE(b[:n-4]))
	}
	return b
}

// Of a publication nothing is taken when any part of it is bad.
func TestDamagedPublicationsAreRefused(t *testing.T) {
	good := appended(t, publication(t))
	change := func(do func(p *Publication)) []byte {
		p := publication(t)
		do(p)
		return appended(t, p)
	}
	flipped, version, tail := slices.Clone(good), slices.Clone(good), append(slices.Clone(good[:len(good)-4]), 0, 0, 0, 0, 0)
	flipped[len(good)/2] ^= 1
	version[len(publicationName)]++
	f := following{shader: newShader(t, nil), creatives: NewCreatives()}
	if _, _, _, err := f.read(good); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":           {nil, ErrNotModel},
		"a model":           {[]byte(wholeMagic + "\x01 and so on"), ErrNotModel},
		"cut off":           {good[:len(good)-9], ErrModelDamaged},
		"one bit":           {flipped, ErrModelDamaged},
		"another version":   {version, ErrModelVersion},
		"more than it says": {reseal(tail), ErrPublication},
		"shader":            {change(func(p *Publication) { p.Shader[len(p.Shader)/2] ^= 1 }), ErrShaderDamaged},
		"no shader":         {change(func(p *Publication) { p.Shader = nil }), ErrNotShader},
		"creatives":         {change(func(p *Publication) { p.Creatives = p.Creatives[1:] }), ErrPublication},
		"parity":            {parityBroken(t), ErrModelParity},
	} {
		if _, _, _, err := f.read(tt.b); !errors.Is(err, tt.want) || !errors.Is(err, ErrPublication) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// parityBroken is a publication that is whole, and whose model promises other
// predictions than it makes.
func parityBroken(t *testing.T) []byte {
	t.Helper()
	p := publication(t)
	whole := appended(t, p)
	file := p.Model.Clicks.file()
	at := bytes.Index(whole, file)
	if at < 0 {
		t.Fatal("no model in the publication")
	}
	inner := whole[at : at+len(file)]
	i := len(fileMagic) + 2 // the bias
	binary.LittleEndian.PutUint32(inner[i:], math.Float32bits(math.Float32frombits(binary.LittleEndian.Uint32(inner[i:]))+1))
	reseal(inner)
	// The model around it has a checksum of its own.
	start := bytes.Index(whole, []byte(wholeMagic))
	var model bytes.Buffer
	if err := p.Model.Write(&model); err != nil {
		t.Fatal(err)
	}
	reseal(whole[start : start+model.Len()])
	return reseal(whole)
}

func FuzzParsePublication(f *testing.F) {
	good := appended(f, publication(f))
	f.Add(good)
	f.Add([]byte(publicationName + "\x01\x00\x00\x00\x00"))
	following := following{shader: newShader(f, nil), creatives: NewCreatives()}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, shader, creatives, err := following.read(reseal(slices.Clone(b)))
		if err != nil {
			return
		}
		p.Model.ClickRate(1, sampleFeatures())
		now := newShader(t, nil)
		now.follow(shader)
		if bid, _ := now.Shade(ShadeContext{}, 1000, 10, 1<<31); bid < 10 || bid > 1000 {
			t.Errorf("bid %d of 10 to 1000", bid)
		}
		creatives.Mean(5, 1, 0.1)
		appended(t, p)
	})
}

// Who follows a shader bids as it does, from the first publication on and though
// it makes few of the tables anew.
func TestShadersFollow(t *testing.T) {
	teacher, follower := newShader(t, nil), newShader(t, nil)
	r := rand.New(rand.NewPCG(3, 4))
	at, dearer := shadeStart, rtb.Money(1)
	apart := func() (most float64) {
		for range 200 {
			where := ShadeContext{Exchange: rtb.ExchangeID(1 + r.IntN(2)), Floor: FloorBucket([]rtb.Money{0, rtb.FromCPM(0.5)}[r.IntN(2)])}
			worth, price := rtb.FromCPM(3), rtb.FromCPM(0.5+2*r.Float64())
			most = max(most, math.Abs(teacher.WinRate(where, worth, price)-follower.WinRate(where, worth, price)))
		}
		return most
	}
	learn := func(n int) {
		for range n {
			x, floor := 1+r.IntN(2), []rtb.Money{0, rtb.FromCPM(0.5)}[r.IntN(2)]
			o := Outcome{At: ShadeContext{Exchange: rtb.ExchangeID(x), Floor: FloorBucket(floor)}, Worth: rtb.FromCPM(3), Bid: rtb.FromCPM(1.5), Kind: Shaded, Time: at}
			o.MinToWin = dearer * sale(r, x, floor)
			if o.Won = o.Bid >= o.MinToWin; o.Won {
				o.Paid = o.Bid
			}
			teacher.Learn(&o)
			at = at.Add(time.Minute)
		}
		teacher.Publish()
	}
	take := func() {
		t.Helper()
		next, err := readShader(follower.cfg, teacher.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		follower.follow(next)
	}
	for i := range 60 { // 50 hours, so that weights are scaled anew
		learn(50)
		if i%7 == 0 {
			teacher.evict()
			teacher.Publish()
		}
		take()
		if most := apart(); most > 0.08 {
			t.Fatalf("after %d publications the win rates are %.3f apart", i+1, most)
		}
		if got, want := follower.Savings(), teacher.Savings(); got != want {
			t.Fatalf("savings %+v, want %+v", got, want)
		}
	}
	before := follower.live.Load()
	take()
	for key, l := range follower.live.Load().leaves {
		if before.leaves[key] != l {
			t.Errorf("the table of curve %x is made anew, of what has not changed", uint32(key))
		}
	}
	take()
	teacher, at, dearer = newShader(t, nil), shadeStart.AddDate(-16, 0, 0), 3 // one that begins anew in another market
	learn(3000)
	take()
	if most := apart(); most > 0.08 {
		t.Errorf("after it began anew the win rates are %.3f apart", most)
	}
	teacher = newShader(t, nil) // one that has lost everything
	take()
	if most := apart(); most > 0 {
		t.Errorf("after all was forgotten the win rates are %.3f apart", most)
	}
}

func BenchmarkFollowShader(b *testing.B) {
	teacher, follower := newShader(b, nil), newShader(b, nil)
	r := rand.New(rand.NewPCG(1, 2))
	for range 60_000 {
		worth := rtb.FromCPM(1 + 20*r.Float64())
		teacher.Learn(&Outcome{
			At:   ShadeContext{Exchange: rtb.ExchangeID(1 + r.IntN(10)), Format: uint8(r.IntN(4)), Floor: uint8(r.IntN(20))},
			Kind: Shaded, Worth: worth, Bid: worth / 2, MinToWin: worth / 3, Paid: worth / 3, Won: true, Time: shadeStart,
		})
	}
	state := teacher.Append(nil)
	b.ReportMetric(float64(len(teacher.curves)+len(teacher.drifts)), "curves")
	b.SetBytes(int64(len(state)))
	for b.Loop() {
		next, err := readShader(follower.cfg, state)
		if err != nil {
			b.Fatal(err)
		}
		follower.follow(next)
	}
}
