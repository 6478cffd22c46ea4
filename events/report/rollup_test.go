package report_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
)

var begin = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

// memory are rows in memory. A write that fails leaves them as they were.
type memory struct {
	rows   map[string]string
	writes int
	fail   error
}

func (m *memory) LoadRows(_ context.Context, each func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(m.rows)) {
		if err := each([]byte(key), []byte(m.rows[key])); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) SaveRows(_ context.Context, rows iter.Seq2[[]byte, []byte]) error {
	next := maps.Clone(m.rows)
	if next == nil {
		next = map[string]string{}
	}
	for key, value := range rows {
		if value == nil {
			delete(next, string(key))
		} else {
			next[string(key)] = string(value)
		}
	}
	if m.fail != nil {
		return m.fail
	}
	m.writes++
	m.rows = next
	return nil
}

func rollup(t testing.TB, rows report.Rows, cfg report.RollupConfig, watched ...report.Watched) *report.Rollup {
	t.Helper()
	r, err := report.NewRollup(context.Background(), rows, cfg, models.ArmOf)
	if err != nil {
		t.Fatal(err)
	}
	r.Watch(watched)
	return r
}

func armID(experiment uint32, arm int) uint16 {
	id, err := models.ArmID(experiment, arm)
	if err != nil {
		panic(err)
	}
	return id
}

// user is hash-like, as ids of users are.
func user(n int) rtb.UserID {
	return rtb.HashUser(&[32]byte{9}, rtb.IDDevice, fmt.Appendf(nil, "%d", n))
}

// event is one of a bid for a user in arms of experiments.
func event(kind rtb.EventType, bid int, who rtb.UserID, arms ...uint16) rtb.Event {
	e := rtb.Event{Type: kind, User: who, Time: begin.Add(time.Minute), LineItem: 5, Campaign: 6, Advertiser: 7}
	binary.LittleEndian.PutUint64(e.Bid[:], uint64(bid)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(e.Bid[8:], uint64(bid))
	copy(e.Arms[:], arms)
	return e
}

func apply(t testing.TB, r *report.Rollup, position uint64, batch ...rtb.Event) {
	t.Helper()
	if err := r.Apply(context.Background(), report.Notices, position, batch); err != nil {
		t.Fatal(err)
	}
}

func ask(metric report.Metric) report.Ask {
	return report.Ask{Experiment: 3, Metric: metric, Arms: []report.Arm{{Name: "control", Weight: 1}, {Name: "other", Weight: 1}}}
}

func result(t testing.TB, r *report.Rollup, a report.Ask) *report.Result {
	t.Helper()
	res, err := r.Result(a)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestRollupCounts(t *testing.T) {
	r := rollup(t, &memory{}, report.RollupConfig{}, report.Watched{Number: 3}, report.Watched{Number: 4, Campaigns: []rtb.CampaignID{99}})
	a, b := armID(3, 0), armID(3, 1)
	bill := event(rtb.EventBill, 10, user(1), a)
	bill.Billing, bill.Charge = true, 5e9
	conversion := event(rtb.EventConversion, 10, user(1), a)
	conversion.Value = 40e9
	unknown := event(rtb.EventView, 19, rtb.UserID{}, b)
	apply(t, r, 1,
		event(rtb.EventView, 8, user(1)), event(rtb.EventClick, 8, user(1)), // before the experiment
		event(rtb.EventWin, 10, user(1), a), bill, bill, event(rtb.EventView, 10, user(1), a), event(rtb.EventView, 10, user(1), a),
		event(rtb.EventClick, 10, user(1), a), conversion, conversion,
		event(rtb.EventView, 11, user(1), a),
		event(rtb.EventBid, 12, user(2), a),            // a sampled bid makes a user
		event(rtb.EventLoss, 13, user(3), b),           // and so does a loss
		event(rtb.EventView, 14, user(3), armID(4, 0)), // out of its scope
		event(rtb.EventView, 15, user(4), armID(8, 1)), // of an experiment that is not there
		event(rtb.EventView, 16, user(1), b),           // an arm that changes is wrong
		unknown)
	res := result(t, r, ask(report.CTR))
	want := []report.Totals{{Users: 2, Impressions: 2, Clicks: 1, Conversions: 1, Value: 40e9, Spend: 5e9}, {Users: 1}}
	if !slices.Equal(res.Totals, want) {
		t.Errorf("totals %+v, want %+v", res.Totals, want)
	}
	if res.Arms[0].Y != 1 || res.Arms[0].D != 2 || res.Arms[0].X != 1 || res.Arms[0].Name != "control" || res.Part != 1 {
		t.Errorf("%+v", res.Arms[0])
	}
	if v := result(t, r, ask(report.Value)); v.Arms[0].Y != 40 || v.Arms[0].D != 2 {
		t.Errorf("value %+v", v.Arms[0])
	}
	if v := result(t, r, ask(report.Spend)); v.Arms[0].Y != 5 || v.Arms[0].X != 1 {
		t.Errorf("spend %+v", v.Arms[0])
	}
	// The second arm as the control comes first.
	second := ask(report.Conversions)
	second.Control = 1
	if v := result(t, r, second); v.Arms[0].Name != "other" || v.Arms[1].Y != 1 || v.Totals[1].Users != 2 {
		t.Errorf("%+v", v.Arms)
	}
}

// Conversions that no bid of ours has caused count for those who are in the
// experiment, while it runs and a month more.
func TestRollupConversionsOfMembers(t *testing.T) {
	end := begin.Add(time.Hour)
	r := rollup(t, &memory{}, report.RollupConfig{}, report.Watched{Number: 3, Start: begin, End: end})
	apply(t, r, 1, event(rtb.EventBid, 1, user(1), armID(3, 1)))
	late, early := event(rtb.EventConversion, 2, user(1)), event(rtb.EventConversion, 3, user(1))
	late.Time, early.Time = end.Add(30*24*time.Hour), begin.Add(-time.Second)
	apply(t, r, 2, late, early, event(rtb.EventConversion, 4, user(2)))
	if res := result(t, r, ask(report.Conversions)); res.Totals[1].Conversions != 0 {
		t.Errorf("%+v", res.Totals)
	}
	apply(t, r, 3, event(rtb.EventConversion, 5, user(1)))
	if res := result(t, r, ask(report.Conversions)); res.Totals[1].Conversions != 1 {
		t.Errorf("%+v", res.Totals)
	}
}

// uploaded is a conversion that an advertiser has uploaded.
func uploaded(order int, who rtb.UserID, of rtb.AdvertiserID, at time.Time) rtb.Event {
	e := event(rtb.EventConversion, order, who)
	e.LineItem, e.Campaign, e.Advertiser, e.Time, e.Made, e.Value = 0, 0, of, at, at, 10e9
	return e
}

// An uploaded conversion counts for every experiment of its advertiser that the
// user was in by then, whatever the arm and in whatever order they come.
func TestRollupUploadedConversions(t *testing.T) {
	w := report.Watched{Number: 3, Start: begin, Campaigns: []rtb.CampaignID{6}, Owners: []rtb.AdvertiserID{7}}
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, w)
	assigned := func(n, arm int, after time.Duration) rtb.Event {
		e := event(rtb.EventAssigned, 0, user(n), armID(3, arm))
		e.Bid, e.LineItem, e.Campaign, e.Advertiser, e.Time = rtb.BidID{}, 0, 0, 0, begin.Add(after)
		return e
	}
	hour := func(n float64) time.Time { return begin.Add(time.Duration(n * float64(time.Hour))) }
	view := event(rtb.EventView, 1, user(1), armID(3, 1))
	view.Time = hour(3)
	apply(t, r, 1, view, assigned(1, 1, 2*time.Hour), assigned(1, 1, 9*time.Hour), assigned(2, 0, 2*time.Hour))
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = rollup(t, rows, report.RollupConfig{}, w) // it knows since when after a restart as well
	apply(t, r, 2,
		uploaded(1, user(1), 7, hour(2.5)), uploaded(2, user(2), 7, hour(2.5)), // either arm, before anything was shown
		uploaded(2, user(2), 7, hour(2.5)), uploaded(2, user(2), 7, hour(4)), // the same again
		uploaded(3, user(1), 7, hour(1.9)), uploaded(4, user(2), 7, hour(1.9)), // before they were in it
		uploaded(5, user(1), 7, begin.Add(-time.Hour)),                     // before anybody was
		uploaded(6, user(1), 8, hour(5)), uploaded(7, user(2), 8, hour(5)), // of another advertiser
		uploaded(8, user(3), 7, hour(5)), // of somebody in no experiment
		uploaded(9, user(2), 7, hour(2)), // in the second of the assignment
	)
	want := []report.Totals{{Users: 1, Conversions: 2, Value: 20e9}, {Users: 1, Impressions: 1, Conversions: 1, Value: 10e9}}
	if res := result(t, r, ask(report.Conversions)); !slices.Equal(res.Totals, want) {
		t.Errorf("%+v, want %+v", res.Totals, want)
	}
	if !r.Knows(user(1)) || !r.Knows(user(2)) || r.Knows(user(3)) {
		t.Error("it does not know who is in the experiment")
	}

	// An experiment of every line item takes those of every advertiser.
	all := rollup(t, &memory{}, report.RollupConfig{}, report.Watched{Number: 3})
	apply(t, all, 1, assigned(1, 1, 0), uploaded(6, user(1), 8, hour(1)))
	if res := result(t, all, ask(report.Conversions)); res.Totals[1].Conversions != 1 {
		t.Errorf("%+v", res.Totals)
	}
}

// As soon as a conversion is uploaded only those count that were: a click's may
// be the same, and no holdout has any. What came of the looks before is of
// another measure.
func TestRollupUploadsReplaceConversionsOfClicks(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3, Owners: []rtb.AdvertiserID{7}})
	clicked := event(rtb.EventConversion, 1, user(1), armID(3, 1))
	clicked.Value = 5e9
	apply(t, r, 1, event(rtb.EventView, 1, user(1), armID(3, 1)), event(rtb.EventView, 2, user(2), armID(3, 1)), event(rtb.EventBid, 3, user(3), armID(3, 0)), clicked)
	res := result(t, r, ask(report.Conversions))
	if res.Uploaded || res.Totals[1].Conversions != 1 || res.Totals[1].Value != 5e9 || res.Looks != 1 {
		t.Errorf("%+v", res)
	}
	result(t, r, ask(report.CTR))
	apply(t, r, 2, uploaded(11, user(1), 7, begin.Add(time.Hour)), uploaded(12, user(2), 7, begin.Add(time.Hour)), uploaded(13, user(3), 7, begin.Add(time.Hour)))
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []report.Totals{{Users: 1, Conversions: 1, Value: 10e9}, {Users: 2, Impressions: 2, Conversions: 2, Value: 20e9}}
	for looks, r := range []*report.Rollup{r, rollup(t, rows, report.RollupConfig{})} {
		res := result(t, r, ask(report.Conversions))
		if !res.Uploaded || !slices.Equal(res.Totals, want) || looks == 0 && res.Looks != 1 || res.Arms[1].Y != 2 {
			t.Errorf("%+v of %+v", res.Totals, res)
		}
	}
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := rollup(t, rows, report.RollupConfig{})
	if u, c := result(t, again, ask(report.Conversions)), result(t, again, ask(report.CTR)); u.Looks != 2 || c.Looks != 2 {
		t.Errorf("%d looks at uploads and %d at clicks, want 2 of each", u.Looks, c.Looks)
	}
}

// An upload that is weeks old does not make it forget what came since.
func TestRollupKnowsRepeatsAcrossOldUploads(t *testing.T) {
	r := rollup(t, &memory{}, report.RollupConfig{Bids: 10}, report.Watched{Number: 3})
	apply(t, r, 1, event(rtb.EventBid, 1, user(1), armID(3, 1)))
	day := func(n int) time.Time { return begin.Add(time.Duration(n)*24*time.Hour + time.Hour) }
	apply(t, r, 2, uploaded(100, user(1), 7, day(40)))
	for order := range 12 { // which is more than one generation
		apply(t, r, uint64(3+order), uploaded(order, user(1), 7, day(11)))
	}
	apply(t, r, 20, uploaded(200, user(1), 7, day(42)), uploaded(100, user(1), 7, day(40)), uploaded(0, user(1), 7, day(11)), uploaded(11, user(1), 7, day(11)))
	if res := result(t, r, ask(report.Conversions)); res.Totals[1].Conversions != 14 {
		t.Errorf("%d conversions, want 14", res.Totals[1].Conversions)
	}
}

// Rows of before it was known since when a user is in an experiment count as
// ever since.
func TestRollupReadsOlderMembers(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3})
	apply(t, r, 1, event(rtb.EventView, 1, user(1), armID(3, 1)))
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, value := range rows.rows {
		if key[0] == 'm' {
			rows.rows[key] = value[:len(value)-16]
		}
	}
	r = rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3})
	apply(t, r, 2, uploaded(2, user(1), 7, begin.Add(-time.Hour)))
	if res := result(t, r, ask(report.Conversions)); res.Totals[1].Conversions != 1 || res.Totals[1].Impressions != 1 {
		t.Errorf("%+v", res.Totals)
	}
}

func TestRollupGhosts(t *testing.T) {
	r := rollup(t, &memory{}, report.RollupConfig{}, report.Watched{Number: 3})
	ghost := func(bid, n int, rate float32) rtb.Event {
		e := event(rtb.EventGhost, bid, user(n), armID(3, 0))
		e.WinRate = rate
		return e
	}
	apply(t, r, 1, ghost(0, 1, 0.5), ghost(0, 1, 0.5), ghost(0, 2, 0.25), event(rtb.EventConversion, 9, user(2)),
		event(rtb.EventView, 4, user(3), armID(3, 1)), event(rtb.EventConversion, 4, user(3), armID(3, 1)),
		event(rtb.EventView, 5, user(4), armID(3, 1)), event(rtb.EventLoss, 6, user(5), armID(3, 1)))
	a := ask(report.Conversions)
	a.Arms[0].Holdout = true
	res := result(t, r, a)
	if len(res.Increments) != 1 {
		t.Fatalf("%+v", res)
	}
	// Of the holdout 0.75 and 0.25 of a user would have seen an ad, 0.25 of one
	// conversion is theirs.
	if i := res.Increments[0]; i.Treated != 0.5 || i.Control != 0.25 || i.Lift != 1 {
		t.Errorf("%+v", i)
	}
}

// An arm that bids less has fewer users with events, but as many who were
// assigned.
func TestRollupCountsTheAssigned(t *testing.T) {
	rows := &memory{}
	w := report.Watched{Number: 3, Campaigns: []rtb.CampaignID{6}}
	r := rollup(t, rows, report.RollupConfig{}, w)
	for n := range 1000 {
		assigned := event(rtb.EventAssigned, 0, user(n), armID(3, n%2))
		assigned.Bid, assigned.LineItem, assigned.Campaign, assigned.Advertiser = rtb.BidID{}, 0, 0, 0
		batch := []rtb.Event{assigned}
		if n%2 == 0 || n%10 == 1 {
			batch = append(batch, event(rtb.EventView, n, user(n), armID(3, n%2)))
		}
		if n%3 == 0 { // the two come through different logs
			slices.Reverse(batch)
		}
		apply(t, r, uint64(n+1), batch...)
	}
	apply(t, r, 2000, event(rtb.EventView, 5000, user(5000), armID(3, 0))) // whose assignment was lost
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*report.Rollup{r, rollup(t, rows, report.RollupConfig{}, w)} {
		res := result(t, r, ask(report.Spend))
		if res.Totals[0].Users != 500 || res.Totals[1].Users != 500 || res.Totals[0].Impressions != 500 || res.Totals[1].Impressions != 100 || !res.Assigned || res.Ratio.Warns() {
			t.Errorf("%+v %+v", res.Totals, res.Ratio)
		}
	}
}

// play is a log of several batches with repeats.
func play(random *rand.Rand, users, batches, size int) [][]rtb.Event {
	log := make([][]rtb.Event, batches)
	bid := 0
	for i := range log {
		for range size {
			bid++
			n := random.IntN(users)
			arms := []uint16{armID(3, n%2)}
			if random.IntN(4) == 0 {
				arms = nil
			}
			for _, kind := range []rtb.EventType{rtb.EventWin, rtb.EventView, rtb.EventClick, rtb.EventConversion} {
				if random.IntN(2) == 0 {
					break
				}
				e := event(kind, bid, user(n), arms...)
				e.Time = begin.Add(time.Duration(bid) * time.Minute)
				e.Value = rtb.Money(random.IntN(9)) * 1e9
				e.Billing, e.Charge = kind == rtb.EventWin, 1e6
				log[i] = append(log[i], e)
				if random.IntN(8) == 0 {
					log[i] = append(log[i], e)
				}
			}
		}
	}
	return log
}

// However often the program dies and wherever it reads the log again from, the
// result is that of reading it once.
func TestRollupReadsEachEventOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		log := play(random, 20, rapid.IntRange(1, 12).Draw(rt, "batches"), rapid.IntRange(1, 20).Draw(rt, "size"))
		once := rollup(t, &memory{}, report.RollupConfig{}, report.Watched{Number: 3})
		for i, batch := range log {
			apply(t, once, uint64(10*i+10), batch...)
		}
		want := result(t, once, ask(report.Value))

		rows := &memory{}
		cfg := report.RollupConfig{Save: rapid.IntRange(1, 30).Draw(rt, "save"), Bids: rapid.SampledFrom([]int{50, 1000}).Draw(rt, "bids")}
		r := rollup(t, rows, cfg, report.Watched{Number: 3})
		for i := 0; i < len(log); i++ {
			switch rapid.IntRange(0, 5).Draw(rt, "fate") {
			case 0: // it dies, and reads on from where it had saved
				r = rollup(t, rows, cfg, report.Watched{Number: 3})
				i = int(r.Position(report.Notices)) / 10
				if i == len(log) {
					continue
				}
			case 1: // a write fails
				rows.fail = errors.New("disk full")
				_ = r.Save(t.Context())
				rows.fail = nil
			case 2:
				if err := r.Save(t.Context()); err != nil {
					rt.Fatal(err)
				}
			case 3: // a batch comes twice
				apply(t, r, uint64(10*i+10), log[i]...)
			}
			apply(t, r, uint64(10*i+10), log[i]...)
		}
		if err := r.Save(t.Context()); err != nil {
			rt.Fatal(err)
		}
		for _, r := range []*report.Rollup{r, rollup(t, rows, cfg, report.Watched{Number: 3})} {
			if got := result(t, r, ask(report.Value)); !slices.Equal(got.Totals, want.Totals) || got.Arms[0].XX != want.Arms[0].XX || got.Arms[1].YX != want.Arms[1].YX {
				rt.Fatalf("totals %+v, want %+v", got.Totals, want.Totals)
			}
			if at := r.Position(report.Notices); at != uint64(10*len(log)) {
				rt.Fatalf("position %d", at)
			}
		}
	})
}

// With too many users a part is kept, chosen by the user alone, and it is said
// which.
func TestRollupSheds(t *testing.T) {
	rows := &memory{}
	cfg := report.RollupConfig{Users: 500, Save: 100}
	r := rollup(t, rows, cfg, report.Watched{Number: 3})
	const users = 3000
	for n := range users {
		apply(t, r, uint64(n+1), event(rtb.EventView, n, user(n), armID(3, n%2)))
	}
	res := result(t, r, ask(report.Clicks))
	kept := res.Totals[0].Users + res.Totals[1].Users
	if res.Part != 0.125 || kept > 500 || math.Abs(float64(kept)-users*res.Part) > 5*math.Sqrt(users*res.Part) {
		t.Errorf("%d of %d users are kept, part %v", kept, users, res.Part)
	}
	if res.Ratio.Warns() {
		t.Errorf("shedding is of one arm: %+v", res.Ratio)
	}
	for range 3 {
		if err := r.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stored := map[byte]int{}
	for key := range rows.rows {
		stored[key[0]]++
	}
	if stored['m'] != int(kept) || stored['u'] != int(kept) {
		t.Errorf("%v rows for %d users", stored, kept)
	}
	again := result(t, rollup(t, rows, cfg), ask(report.Clicks))
	if !slices.Equal(again.Totals, res.Totals) || again.Part != res.Part {
		t.Errorf("loaded %+v, saved %+v", again.Totals, res.Totals)
	}
}

// Before anybody is forgotten, those make room whose experiment is over.
func TestRollupLetsEndedExperimentsGo(t *testing.T) {
	rows := &memory{}
	cfg := report.RollupConfig{Users: 500, Save: 100}
	watched := []report.Watched{{Number: 3}, {Number: 4, Archived: true}, {Number: 5, Archived: true}}
	r := rollup(t, rows, cfg, watched...)
	position := uint64(0)
	fill := func(experiment uint32, from, until int) {
		for n := from; n < until; n++ {
			position++
			apply(t, r, position, event(rtb.EventView, n, user(n), armID(experiment, n%2)))
		}
	}
	of := func(experiment uint32) report.Ask {
		a := ask(report.CTR)
		a.Experiment = experiment
		return a
	}
	fill(4, 0, 200)
	fill(5, 200, 400)
	fill(3, 400, 600)
	if _, err := r.Result(of(4)); !errors.Is(err, report.ErrLetGo) {
		t.Errorf("the oldest that is over: error %v", err)
	}
	if res := result(t, r, of(5)); res.Part != 1 || res.Totals[0].Users != 100 {
		t.Errorf("there was room for the other that is over: %+v", res)
	}
	fill(4, 0, 200) // and has no way back
	fill(3, 600, 900)
	if res := result(t, r, of(3)); res.Part != 1 || res.Totals[0].Users != 250 {
		t.Errorf("%+v", res)
	}
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	members := 0
	for key := range rows.rows {
		if key[0] == 'm' {
			members++
		}
	}
	again := rollup(t, rows, cfg, watched...)
	if _, err := again.Result(of(5)); !errors.Is(err, report.ErrLetGo) || members != 500 {
		t.Errorf("loaded: error %v, %d rows of users", err, members)
	}
	fill(3, 900, 901) // now half of all must go
	if res := result(t, r, of(3)); res.Part != 0.5 {
		t.Errorf("%+v", res)
	}
}

// Users who are in no experiment take nobody's place in one.
func TestRollupShedsNobodyForOthers(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{Users: 500, Save: 100}, report.Watched{Number: 3})
	const users = 400
	for n := range users {
		apply(t, r, uint64(n+1), event(rtb.EventView, n, user(n), armID(3, n%2)))
	}
	for n := users; n < 20_000; n++ {
		other := event(rtb.EventView, n, user(n), 0)
		apply(t, r, uint64(n+1), other)
	}
	res := result(t, r, ask(report.Clicks))
	if kept := res.Totals[0].Users + res.Totals[1].Users; kept != users || res.Part != 1 {
		t.Errorf("%d of %d users are kept, part %v", kept, users, res.Part)
	}
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for key := range rows.rows {
		if key[0] == 'u' {
			stored++
		}
	}
	if stored > 500 {
		t.Errorf("what %d users did is stored, want at most 500", stored)
	}
}

// A repeat is known for the life of a token, and rows of what came before are
// removed.
func TestRollupForgetsBids(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3})
	at := func(bid int, after time.Duration) rtb.Event {
		e := event(rtb.EventView, bid, user(1), armID(3, 0))
		e.Time = begin.Add(after)
		return e
	}
	apply(t, r, 1, at(1, 0), at(2, 23*time.Hour), at(3, 25*time.Hour), at(1, 25*time.Hour), at(2, 46*time.Hour))
	if res := result(t, r, ask(report.CTR)); res.Totals[0].Impressions != 3 {
		t.Errorf("%+v", res.Totals)
	}
	apply(t, r, 2, at(4, 50*time.Hour), at(1, 51*time.Hour)) // long after its token has ended
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	marks := 0
	for key := range rows.rows {
		if key[0] == 'd' {
			marks++
		}
	}
	if marks != 3 { // bids 3, 4 and 1
		t.Errorf("%d marks are kept, want 3", marks)
	}
}

func TestRollupForgetsUsers(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3})
	apply(t, r, 1, event(rtb.EventView, 1, user(1), armID(3, 0)), event(rtb.EventView, 2, user(2), armID(3, 0)))
	if err := errors.Join(r.Save(t.Context()), r.Forget(t.Context(), user(1))); err != nil {
		t.Fatal(err)
	}
	id := user(1)
	for key := range rows.rows {
		if strings.Contains(key, string(id[:])) {
			t.Errorf("a row %q is left", key)
		}
	}
	if res := result(t, r, ask(report.CTR)); res.Totals[0].Users != 1 {
		t.Errorf("%+v", res.Totals)
	}
}

// The always-valid p-value is the least of all looks, also after a restart.
func TestRollupRemembersLooks(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3})
	bid := 0
	var batch []rtb.Event
	more := func(arm, views, clicks int) {
		for i := range views {
			bid++
			who := user(bid)
			batch = append(batch, event(rtb.EventView, bid, who, armID(3, arm)))
			if i < clicks {
				batch = append(batch, event(rtb.EventClick, bid, who, armID(3, arm)))
			}
		}
	}
	more(0, 2000, 200)
	more(1, 2000, 300)
	apply(t, r, 1, batch...)
	first := result(t, r, ask(report.CTR))
	batch = nil
	more(0, 2000, 200)
	more(1, 2000, 120)
	apply(t, r, 2, batch...)
	second := result(t, r, ask(report.CTR))
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := result(t, rollup(t, rows, report.RollupConfig{}), ask(report.CTR))
	a, b, c := first.Comparisons[0], second.Comparisons[0], third.Comparisons[0]
	if a.AlwaysP > 0.01 || b.AlwaysP != a.AlwaysP || c.AlwaysP != a.AlwaysP || third.Looks != 3 {
		t.Errorf("p = %v, %v, %v after %d looks", a.AlwaysP, b.AlwaysP, c.AlwaysP, third.Looks)
	}
	if b.FixedP < 0.01 {
		t.Errorf("the fixed horizon has p = %v, want one that has grown", b.FixedP)
	}
}

func TestRollupRefusesRowsItDoesNotKnow(t *testing.T) {
	for _, key := range []string{"", "x", "u123", "p\x07", "d", "l\x00\x00\x00\x01\x00\x00joy"} {
		rows := &memory{rows: map[string]string{key: strings.Repeat("7", 28)}}
		if _, err := report.NewRollup(t.Context(), rows, report.RollupConfig{}, models.ArmOf); err == nil || !strings.Contains(err.Error(), "load experiment report: ") {
			t.Errorf("%q: error %v", key, err)
		}
	}
}

func BenchmarkRollupApply(b *testing.B) {
	r := rollup(b, &memory{}, report.RollupConfig{Save: math.MaxInt}, report.Watched{Number: 3})
	log := play(rand.New(rand.NewPCG(1, 2)), 100_000, 200, 1000)
	events := 0
	for i := 0; b.Loop(); i++ {
		batch := log[i%len(log)]
		apply(b, r, uint64(i+1), batch...)
		events += len(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}

// A log that lost its end goes on with positions that were there before.
func TestRollupRewinds(t *testing.T) {
	r := rollup(t, &memory{}, report.RollupConfig{}, report.Watched{Number: 3})
	put := func(position uint64, n int) {
		t.Helper()
		if err := r.Apply(t.Context(), report.Samples, position, []rtb.Event{event(rtb.EventBid, n, user(n), armID(3, 0))}); err != nil {
			t.Fatal(err)
		}
	}
	put(5, 1)
	r.Rewind(report.Samples, 9)
	put(5, 2)
	if res := result(t, r, ask(report.CTR)); r.Position(report.Samples) != 5 || r.Position(report.Notices) != 0 || res.Totals[0].Users != 1 {
		t.Errorf("%+v at %d", res.Totals, r.Position(report.Samples))
	}
	r.Rewind(report.Samples, 3)
	put(4, 3)
	if res := result(t, r, ask(report.CTR)); res.Totals[0].Users != 2 {
		t.Errorf("%+v", res.Totals)
	}
}

// Sums of the highest values that are believed are more than Money holds: they
// stop there, rather than become negative.
func TestRollupOfMoreThanMoneyHolds(t *testing.T) {
	rows := &memory{}
	r := rollup(t, rows, report.RollupConfig{}, report.Watched{Number: 3, Owners: []rtb.AdvertiserID{7}})
	batch := []rtb.Event{event(rtb.EventView, 1, user(1), armID(3, 1)), event(rtb.EventView, 2, user(2), armID(3, 1)), event(rtb.EventView, 3, user(3), armID(3, 0))}
	const each = 1000
	for n := range 2 * each {
		e := uploaded(10+n, user(1+n%2), 7, begin.Add(time.Hour))
		e.Value = rtb.MaxConversion
		batch = append(batch, e)
	}
	apply(t, r, 1, batch...)
	if err := r.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*report.Rollup{r, rollup(t, rows, report.RollupConfig{})} {
		got := result(t, r, ask(report.Value)).Totals[1]
		if got.Conversions != 2*each || got.Value != math.MaxInt64 {
			t.Errorf("%+v", got)
		}
	}
}
