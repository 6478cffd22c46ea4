package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"bidwell/rtb"
)

// shop is a market with a hidden truth: who clicks what, and who then buys.
type shop struct {
	*rand.Rand
	seed     uint64
	now      time.Time
	bids     uint64
	position uint64
	delay    func() time.Duration // from a click to its conversion
	waiting  []rtb.Event          // conversions to come
	batch    []rtb.Event

	clickRate, buyRate float64 // sums of the truth
}

func newShop(seed uint64) *shop {
	s := &shop{Rand: rand.New(rand.NewPCG(seed, 1)), seed: seed, now: noon}
	s.delay = func() time.Duration { return time.Duration(s.ExpFloat64() * float64(6*time.Hour)) }
	return s
}

func (s *shop) weight(field, value uint64) float64 {
	d := rand.New(rand.NewPCG(s.seed, mix(field*key1, value^key0)))
	return d.NormFloat64()
}

// impression is one that was shown, with its features and the truth about it.
func (s *shop) impression(campaign rtb.CampaignID) (e rtb.Event, click, buy float64) {
	x, y := -4.5, -3.0
	var hashes []uint32
	for field := uint64(1); field <= 8; field++ {
		value := uint64(s.ExpFloat64() * 8)
		hashes = append(hashes, fold(mix(field*key1, value^key0)))
		x += .4 * s.weight(field, value)
		y += .3 * s.weight(field+100, value)
	}
	s.bids++
	e = rtb.Event{Type: rtb.EventView, Time: s.now, Made: s.now, Campaign: campaign, Creative: rtb.CreativeID(1 + s.bids%7), CTR: .01}
	binary.LittleEndian.PutUint64(e.Bid[:], s.bids)
	e.Features.Set(hashes)
	return e, sigmoid(x), sigmoid(y)
}

// play shows n impressions, one a second, and has l learn of them and of what
// they lead to.
func (s *shop) play(t *testing.T, l *Learner, n int) {
	t.Helper()
	for range n {
		s.now = s.now.Add(time.Second)
		e, click, buy := s.impression(1)
		s.batch = append(s.batch, e)
		s.clickRate += click
		if s.Float64() < click {
			c := rtb.Event{Type: rtb.EventClick, Time: s.now.Add(time.Second), Bid: e.Bid, Campaign: e.Campaign}
			s.batch = append(s.batch, c)
			s.buyRate += buy
			if s.Float64() < buy {
				c.Type, c.Time, c.Value = rtb.EventConversion, c.Time.Add(s.delay()), 50*rtb.Unit
				s.waiting = append(s.waiting, c)
			}
		}
		s.waiting = slices.DeleteFunc(s.waiting, func(c rtb.Event) bool {
			due := !c.Time.After(s.now)
			if due {
				s.batch = append(s.batch, c)
			}
			return due
		})
		if len(s.batch) > 100 {
			s.flush(t, l)
		}
	}
	s.flush(t, l)
}

func (s *shop) flush(t *testing.T, l *Learner) {
	t.Helper()
	s.position++
	if err := l.Apply(s.position, s.batch); err != nil {
		t.Fatal(err)
	}
	s.batch = s.batch[:0]
}

func testLearner(t testing.TB, change func(*LearnerConfig)) *Learner {
	t.Helper()
	cfg := DefaultLearner()
	cfg.Bits = MinBits
	if change != nil {
		change(&cfg)
	}
	base, err := Prior(MinBits, .01)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLearner(cfg, &Model{Clicks: base})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// judge compares what m predicts with the truth about impressions that it has
// not seen.
func (s *shop) judge(m *Model) (clicks, conversions, fit float64) {
	var p, truth, q, buys, loss, best float64
	for range 20_000 {
		e, click, buy := s.impression(1)
		hashes := e.Features.Append(nil)
		c := m.ClickRate(1, hashes)
		p, truth = p+c, truth+click
		q, buys = q+click*m.ConversionRate(1, hashes), buys+click*buy
		loss -= click*math.Log(c) + (1-click)*math.Log1p(-c)
		best -= click*math.Log(click) + (1-click)*math.Log1p(-click)
	}
	return p / truth, q / buys, (loss - best) / best
}

func TestLearnerFindsTheTruth(t *testing.T) {
	for _, keep := range []float64{1, .2} {
		l := testLearner(t, func(cfg *LearnerConfig) { cfg.Keep = keep })
		s := newShop(3)
		_, _, before := s.judge(l.Model())
		s.play(t, l, 150_000)
		m := l.Model()
		clicks, conversions, after := s.judge(m)
		if clicks < .9 || clicks > 1.1 {
			t.Errorf("keep %v: predicts %.3f of the clicks", keep, clicks)
		}
		if conversions < .75 || conversions > 1.3 {
			t.Errorf("keep %v: predicts %.3f of the conversions", keep, conversions)
		}
		if after > before/2 {
			t.Errorf("keep %v: log loss is %.4f above the best, and was %.4f before", keep, after, before)
		}
		if got := m.Order(1); got != 50*rtb.Unit || m.Order(2) != got {
			t.Errorf("an order is worth %v", got)
		}
		stats := l.Stats()
		if stats.Clicks < 1000 || stats.Conversions < 40 || stats.Crowded+stats.Unmatched+stats.Unscored != 0 {
			t.Errorf("stats %+v", stats)
		}
	}
}

// With conversions that take days the last clicks have hardly any: that must
// not look like a bad click.
func TestLateConversionsCount(t *testing.T) {
	l := testLearner(t, func(cfg *LearnerConfig) { cfg.ClickWait = time.Minute })
	s := newShop(5)
	s.delay = func() time.Duration { return time.Duration(s.ExpFloat64() * float64(20*time.Hour)) }
	s.play(t, l, 200_000)
	if _, conversions, _ := s.judge(l.Model()); conversions < .75 || conversions > 1.3 {
		t.Errorf("predicts %.3f of the conversions", conversions)
	}
	hour, week := l.Maturity(1, 3600), l.Maturity(1, 7*24*3600)
	if hour > .12 || week < .9 {
		t.Errorf("%.3f of the conversions come within an hour, %.3f within a week", hour, week)
	}
	list := l.Maturities()
	if len(list) != 2 || list[0].Campaign != 0 || list[1].Campaign != 1 || list[0].Recent != list[1].Recent {
		t.Fatalf("%+v, want those of all and of campaign 1, which is all", list)
	}
	m := list[1]
	if m.Hour != hour || m.Week != week || m.Day < .5 || m.Day > .9 || m.Clicks != l.Stats().Clicks || m.Conversions != l.Stats().Conversions {
		t.Errorf("%+v", m)
	}
	r := m.Recent
	if had := float64(r.Conversions); r.Clicks != int(m.Clicks) || r.Due < .7*had || r.Due > 1.4*had || r.Expected < 1.01*r.Due || r.Expected > 1.9*r.Due {
		t.Errorf("of the recent clicks %+v", r)
	}
}

// What happens to one impression, in every order in which it may be told.
func TestLabels(t *testing.T) {
	type told struct {
		kind rtb.EventType
		at   time.Duration
	}
	const view, click, buy, tick = rtb.EventView, rtb.EventClick, rtb.EventConversion, rtb.EventWin
	tests := []struct {
		name string
		told []told
		want LearnerStats
		open int
	}{
		{"waits", []told{{view, 0}, {tick, 4 * time.Minute}}, LearnerStats{}, 1},
		{"clicked and waits", []told{{view, 0}, {click, 1}, {tick, 4 * time.Minute}}, LearnerStats{}, 1},
		{"not clicked", []told{{view, 0}, {tick, 5 * time.Minute}}, LearnerStats{Impressions: 1}, 0},
		{"clicked", []told{{view, 0}, {click, time.Minute}, {tick, time.Hour}}, LearnerStats{Impressions: 1, Clicks: 1}, 0},
		{"clicked once", []told{{view, 0}, {click, 1}, {click, 2}, {view, 3}, {tick, time.Hour}}, LearnerStats{Impressions: 1, Clicks: 1}, 0},
		{"click first", []told{{click, 0}, {view, 1}, {tick, time.Hour}}, LearnerStats{Impressions: 1, Clicks: 1}, 0},
		{"shown twice", []told{{view, 0}, {view, 1}, {tick, time.Hour}}, LearnerStats{Impressions: 1}, 0},
		{"shown again later", []told{{view, 0}, {tick, time.Hour}, {view, 2 * time.Hour}, {tick, 3 * time.Hour}}, LearnerStats{Impressions: 1}, 0},
		{"bought", []told{{view, 0}, {click, 1}, {buy, time.Hour}}, LearnerStats{Impressions: 1, Clicks: 1, Conversions: 1}, 0},
		{"bought twice", []told{{view, 0}, {click, 1}, {buy, 2}, {buy, 3}, {tick, time.Hour}}, LearnerStats{Impressions: 1, Clicks: 1, Conversions: 1, Unmatched: 1}, 0},
		{"bought too late", []told{{view, 0}, {click, 1}, {buy, 31 * 24 * time.Hour}}, LearnerStats{Impressions: 1, Clicks: 1, Unmatched: 1}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, s := testLearner(t, nil), newShop(1)
			e, _, _ := s.impression(1)
			for i, what := range tt.told {
				before := rtb.Event{Type: tick, Time: s.now.Add(what.at - leap*time.Second)}
				l.take(&before) // so that the clock believes in a pause
				e.Type, e.Time = what.kind, s.now.Add(what.at)
				for range 2 { // a batch that comes again changes nothing
					if err := l.Apply(uint64(i+1), []rtb.Event{e}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if l.Stats() != tt.want || l.Open() != tt.open {
				t.Errorf("stats %+v and %d open, want %+v and %d", l.Stats(), l.Open(), tt.want, tt.open)
			}
		})
	}
}

func TestOneOrderDoesNotMakeThePrice(t *testing.T) {
	l := testLearner(t, nil)
	bid := uint64(0)
	order := func(campaign rtb.CampaignID, value rtb.Money) *rtb.Event {
		bid++
		e := &rtb.Event{Type: rtb.EventConversion, Time: noon, Campaign: campaign, Value: value}
		binary.LittleEndian.PutUint64(e.Bid[:], bid)
		return e
	}
	for range 100 {
		l.take(order(1, 50*rtb.Unit))
	}
	forged := order(1, 10_000_000*rtb.Unit)
	l.take(forged)
	l.take(forged)
	if got := l.Model().Order(1); got > 55*rtb.Unit {
		t.Errorf("after a forged order one is worth %v, want about 50", got)
	}
	l.take(order(2, 10_000_000*rtb.Unit))
	if got := l.Model().Order(2); got > 600*rtb.Unit {
		t.Errorf("the first order of a campaign is worth %v, want no more than ten of others", got)
	}
	for range 200 {
		l.take(order(3, 2_000*rtb.Unit))
	}
	if got := l.Model().Order(3); got < 1_500*rtb.Unit {
		t.Errorf("orders of 2000 are worth %v: a campaign is not believed that always has larger ones", got)
	}
}

// What an advertiser uploads teaches nothing, not even what time it is.
func TestUploadedConversionsTeachNothing(t *testing.T) {
	l, s := testLearner(t, nil), newShop(1)
	e, _, _ := s.impression(1)
	e.Time = s.now
	upload := rtb.Event{Type: rtb.EventConversion, Bid: e.Bid, Advertiser: 1, Time: s.now.Add(time.Hour), Value: 500 * rtb.Unit}
	click := e
	click.Type = rtb.EventClick
	if err := l.Apply(1, []rtb.Event{e, click, upload, upload}); err != nil {
		t.Fatal(err)
	}
	if stats := l.Stats(); stats != (LearnerStats{}) || l.Open() != 1 {
		t.Errorf("stats %+v and %d open, want none and 1", stats, l.Open())
	}
	if orders := l.Model().Orders; len(orders) != 0 {
		t.Errorf("it has learned what orders are worth: %v", orders)
	}
}

func TestWinsInACurrencyWithoutARate(t *testing.T) {
	l := testLearner(t, nil)
	l.Convert = func(rtb.Money, rtb.Currency) rtb.Money { return 0 }
	e := &rtb.Event{Type: rtb.EventWin, Auction: secondPriceAuction, Time: noon, Worth: rtb.OneCPM, Cost: rtb.OneCPM, Price: rtb.OneCPM}
	if o := l.outcome(e, true); o.Paid != o.Bid || o.MinToWin != 0 {
		t.Errorf("%+v, want a win for what was bid, of which nobody says what would have won", o)
	}
}

func TestTheLearnerForgetsWhoItWas(t *testing.T) {
	l, s := testLearner(t, nil), newShop(4)
	e, _, _ := s.impression(1)
	e.User = rtb.UserID([]byte("somebody's hash!"))
	click := e
	click.Type = rtb.EventClick
	l.Apply(1, []rtb.Event{e, click})
	if bytes.Contains(l.AppendState(nil), e.User[:]) {
		t.Error("the state of the learner has the user in it")
	}
}

func TestTheOldestMakesRoom(t *testing.T) {
	l, s := testLearner(t, func(cfg *LearnerConfig) { cfg.MaxOpen = 1000 }), newShop(1)
	for range 5000 {
		e, _, _ := s.impression(1)
		s.batch = append(s.batch, e)
	}
	s.flush(t, l)
	if got := l.Stats(); got.Crowded != 4000 || got.Impressions != 4000 || l.Open() != 1000 {
		t.Errorf("stats %+v, %d open", got, l.Open())
	}
}

// A learner that is written down and read again goes on as the other does.
func TestLearnerGoesOn(t *testing.T) {
	l, s := testLearner(t, nil), newShop(7)
	l.Creatives = NewCreatives()
	s.play(t, l, 20_000)
	l.Refit()
	state := l.AppendState(nil)
	restored, err := RestoreLearner(l.cfg, state)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(restored.AppendState(nil), state) {
		t.Fatal("the state of a restored learner is another one")
	}
	if len(l.Creatives.tallies) == 0 || !reflect.DeepEqual(restored.Creatives.tallies, l.Creatives.tallies) {
		t.Errorf("of %d creatives %d are restored", len(l.Creatives.tallies), len(restored.Creatives.tallies))
	}
	for range 20 {
		batch := s.batch[:0]
		for range 200 {
			s.now = s.now.Add(time.Second)
			e, click, _ := s.impression(rtb.CampaignID(1 + s.IntN(3)))
			batch = append(batch, e)
			if s.Float64() < click {
				e.Type = rtb.EventClick
				batch = append(batch, e)
			}
		}
		s.position++
		for _, learner := range []*Learner{l, restored} {
			if err := learner.Apply(s.position, batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	var one, other bytes.Buffer
	if err := errors.Join(l.Model().Write(&one), restored.Model().Write(&other)); err != nil {
		t.Fatal(err)
	}
	l.clicks.score, restored.clicks.score = Score{}, Score{}
	if !slices.Equal(l.AppendState(nil), restored.AppendState(nil)) || l.Stats() != restored.Stats() {
		t.Error("a restored learner goes another way")
	}
}

func TestRestoreLearnerRefuses(t *testing.T) {
	l, s := testLearner(t, nil), newShop(7)
	s.play(t, l, 500)
	good := l.AppendState(nil)
	changed := slices.Clone(good)
	changed[len(changed)/2] ^= 1
	other := l.cfg
	other.Clicks = []FTRLConfig{RareFTRL()}
	larger := l.cfg
	larger.Bits++
	for name, try := range map[string]struct {
		cfg   LearnerConfig
		bytes []byte
	}{
		"empty": {l.cfg, nil}, "truncated": {l.cfg, good[:len(good)-9]}, "changed": {l.cfg, changed},
		"other settings": {other, good}, "larger table": {larger, good},
	} {
		if _, err := RestoreLearner(try.cfg, try.bytes); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v, want ErrState", name, err)
		}
	}
}

func FuzzRestoreLearner(f *testing.F) {
	l, s := testLearner(f, nil), newShop(7)
	e, _, _ := s.impression(1)
	l.Apply(1, []rtb.Event{e})
	good := l.AppendState(nil)
	f.Add(good[:len(good)-4])
	f.Add(append([]byte(learnerName), learnerVersion))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.ChecksumIEEE(b))
		if restored, err := RestoreLearner(l.cfg, b); err == nil {
			restored.Model()
		}
	})
}

func TestWholeModelsSurviveTheJourney(t *testing.T) {
	l, s := testLearner(t, nil), newShop(2)
	s.play(t, l, 30_000)
	m := l.Model()
	m.Pairs = randomPairs(t)
	var file bytes.Buffer
	if err := m.Write(&file); err != nil {
		t.Fatal(err)
	}
	read, err := ReadModel(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		hashes := features(s.Rand)
		if read.ClickRate(1, hashes) != m.ClickRate(1, hashes) || read.ConversionRate(1, hashes) != m.ConversionRate(1, hashes) ||
			read.Order(1) != m.Order(1) {
			t.Fatal("a model that was read predicts something else")
		}
	}
	for n := range file.Len() {
		if n > 2000 && n < file.Len()-100 {
			continue
		}
		if _, err := ReadModel(bytes.NewReader(file.Bytes()[:n])); err == nil {
			t.Fatalf("the first %d bytes of %d make a model", n, file.Len())
		}
	}
}

func FuzzReadModel(f *testing.F) {
	prior, err := Prior(MinBits, .01)
	if err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	if err := (&Model{Clicks: prior, Orders: map[rtb.CampaignID]rtb.Money{1: rtb.Unit}}).Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(slices.Clone(file.Bytes()[:file.Len()-4]))
	g, err := newPairings(10, nil, 1)
	if err != nil {
		f.Fatal(err)
	}
	g.learn(sampleFeatures(), 0.3, true)
	file.Reset()
	if err := (&Model{Clicks: prior, Pairs: g.all[0].model()}).Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes()[:file.Len()-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		b = binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.ChecksumIEEE(b))
		m, err := ReadModel(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, p := range []float64{m.ClickRate(1, sampleFeatures()), m.ConversionRate(1, sampleFeatures())} {
			if !(p >= 0 && p <= 1) {
				t.Errorf("a rate of %g", p)
			}
		}
	})
}

// An exchange that tells of no loss must not look as if every bid won there.
func TestSilentExchangesAreLearnedFromSamples(t *testing.T) {
	l := testLearner(t, nil)
	cfg := DefaultShaderConfig()
	shader, err := NewShader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Shader, l.Silent = shader, func(id rtb.ExchangeID) bool { return id == 4 }
	r := rand.New(rand.NewPCG(1, 1))
	worth, now := rtb.FromCPM(4), noon
	at := ShadeContext{Exchange: 4, Format: FormatOf(rtb.Banner, rtb.Size{W: 300, H: 250})}
	bid := func(i int) rtb.Event {
		now = now.Add(time.Second)
		price, kind := shader.Shade(at, worth, 0, r.Uint32())
		e := rtb.Event{Time: now, Made: now, Exchange: 4, Format: at.Format, Auction: 1, Shading: kind, Worth: worth, Cost: price}
		binary.LittleEndian.PutUint64(e.Bid[:], uint64(i+1))
		return e
	}
	for i := range 40_000 {
		e := bid(i)
		if i%10 == 0 {
			e.Type = rtb.EventBid
			l.Sample([]rtb.Event{e})
		}
		if rival := rtb.FromCPM(math.Exp(r.NormFloat64() * .3)); e.Cost > rival { // mostly 0.6 to 1.8
			e.Type, e.Price = rtb.EventWin, e.Cost
			if err := l.Apply(uint64(i+1), []rtb.Event{e}); err != nil {
				t.Fatal(err)
			}
		}
		if i%1000 == 0 {
			shader.Publish()
		}
	}
	price, _ := shader.Shade(at, worth, 0, math.MaxUint32)
	if cpm := price.CPM(); cpm < 1 || cpm > 2.2 {
		t.Errorf("bids %.2f where 1.5 or so is best", cpm)
	}
	if rate := shader.WinRate(at, worth, rtb.FromCPM(1)); rate < .3 || rate > .7 {
		t.Errorf("a bid of 1.00 wins %.2f, want half", rate)
	}
	if n := l.Stats().Priced; n < 3800 || n > 4000 {
		t.Errorf("%d outcomes of 4000 samples", n)
	}
}

// Clicks of minutes ago have no conversions yet, and that says nothing.
func TestYoungClicksSayNothingOfConversions(t *testing.T) {
	l, s := testLearner(t, nil), newShop(4)
	s.delay = func() time.Duration { return 100 * 24 * time.Hour }
	e, _, _ := s.impression(1)
	for range 60 {
		s.now = s.now.Add(2 * time.Second)
		e, _, _ = s.impression(1)
		c := e
		c.Type = rtb.EventClick
		s.batch = append(s.batch, e, c)
	}
	s.flush(t, l)
	hashes := e.Features.Append(nil)
	if rate := l.Model().ConversionRate(1, hashes); rate < DefaultConversionRate*.7 || rate > DefaultConversionRate*1.4 {
		t.Errorf("after 60 clicks of the last two minutes a click is believed to convert at %.4f, want some %.4f", rate, DefaultConversionRate)
	}
	// Three months later it says much.
	s.now = s.now.Add(29 * 24 * time.Hour)
	s.play(t, l, 100)
	for range 3000 {
		s.now = s.now.Add(2 * time.Second)
		e, _, _ = s.impression(1)
		c := e
		c.Type = rtb.EventClick
		s.batch = append(s.batch, e, c)
	}
	s.flush(t, l)
	s.now = s.now.Add(20 * 24 * time.Hour)
	s.play(t, l, 100)
	if rate := l.Model().ConversionRate(1, hashes); rate > DefaultConversionRate/2 {
		t.Errorf("3000 clicks without a conversion, and yet one is believed to convert at %.4f", rate)
	}
}
