package models

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"bidwell/rtb"
)

// testUsers are the first n users: hashes of what counts up, and ids that
// themselves count up, which a weak hash would not spread.
func testUsers(n int, hashed bool) []rtb.UserID {
	users := make([]rtb.UserID, n)
	for i := range users {
		if hashed {
			users[i] = rtb.HashUser(&[32]byte{1}, rtb.IDDevice, fmt.Appendf(nil, "device-%d", i))
		} else {
			binary.BigEndian.PutUint64(users[i][8:], uint64(i+1))
		}
	}
	return users
}

func mustExperiments(t testing.TB, list ...Experiment) *Experiments {
	t.Helper()
	x, err := NewExperiments(list)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func twoArms(number uint32, layer, first, buckets int) Experiment {
	key := fmt.Sprintf("experiment-%d", number)
	return Experiment{Number: number, Key: key, Layer: layer, Salt: key, First: first, Buckets: buckets,
		Arms: []Arm{{Weight: 1}, {Weight: 1, Override: Override{Value: 1.5}}}}
}

// independent fails when the counts differ from what is expected more than
// chance does once in a million.
func independent(t *testing.T, what string, counts []int, expected []float64) {
	t.Helper()
	chi := 0.0
	for i, n := range counts {
		chi += (float64(n) - expected[i]) * (float64(n) - expected[i]) / expected[i]
	}
	if p := (distuv.ChiSquared{K: float64(len(counts) - 1)}).Survival(chi); p < 1e-6 {
		t.Errorf("%s: %d counts have chi-square %.1f, p = %.2g", what, len(counts), chi, p)
	}
}

func TestAssignIsUniformAndOrthogonal(t *testing.T) {
	const n = 100_000
	var now time.Time
	for _, hashed := range []bool{true, false} {
		users := testUsers(n, hashed)

		// The buckets themselves, a hundred at a time.
		for layer, salt := range layerSalts {
			counts, expected := make([]int, 100), make([]float64, 100)
			for i := range users {
				counts[bucketOf(salt, &users[i])/100]++
			}
			for i := range expected {
				expected[i] = n / 100
			}
			independent(t, fmt.Sprintf("buckets of layer %d", layer), counts, expected)
		}

		// Arms of three to one on a part of the layer, and every pair of layers.
		var list []Experiment
		for layer := range rtb.MaxLayers {
			e := twoArms(uint32(layer+1), layer, 1000*layer, 6000)
			e.Arms[0].Weight = 3
			list = append(list, e)
		}
		x := mustExperiments(t, list...)
		arms := make([][rtb.MaxLayers]uint16, n)
		for i := range users {
			x.Assign(users[i], now, &arms[i])
		}
		class := func(user, layer int) int { // 0 not in it, 1 first arm, 2 second arm
			if id := arms[user][layer]; id != 0 {
				_, arm := ArmOf(id)
				return 1 + arm
			}
			return 0
		}
		share := []float64{0.4, 0.45, 0.15}
		for a := range rtb.MaxLayers {
			single, expected := make([]int, 3), make([]float64, 3)
			for i := range users {
				single[class(i, a)]++
			}
			for k := range expected {
				expected[k] = share[k] * n
			}
			independent(t, fmt.Sprintf("arms of layer %d", a), single, expected)
			for b := range a {
				joint, expected := make([]int, 9), make([]float64, 9)
				for i := range users {
					joint[3*class(i, a)+class(i, b)]++
				}
				for k := range expected {
					expected[k] = share[k/3] * share[k%3] * n
				}
				independent(t, fmt.Sprintf("layers %d and %d", a, b), joint, expected)
			}
		}
	}
}

// What follows on the same buckets must not inherit the arms of what was there.
func TestAssignSpreadsAnew(t *testing.T) {
	first, second := twoArms(1, 0, 0, ExperimentBuckets), twoArms(2, 0, 0, ExperimentBuckets)
	a, b := mustExperiments(t, first), mustExperiments(t, second)
	counts, expected := make([]int, 4), []float64{25_000, 25_000, 25_000, 25_000}
	for _, user := range testUsers(100_000, true) {
		var in, then [rtb.MaxLayers]uint16
		a.Assign(user, time.Time{}, &in)
		b.Assign(user, time.Time{}, &then)
		_, i := ArmOf(in[0])
		_, j := ArmOf(then[0])
		counts[2*i+j]++
	}
	independent(t, "one experiment after the other", counts, expected)
}

// The assignment is part of what the log means: these must never change.
func TestAssignStaysTheSame(t *testing.T) {
	x := mustExperiments(t, twoArms(1, 0, 0, 5000), twoArms(2, 0, 5000, 5000), twoArms(7, 2, 0, ExperimentBuckets))
	var got []string
	for _, user := range testUsers(4, true) {
		var arms [rtb.MaxLayers]uint16
		x.Assign(user, time.Time{}, &arms)
		got = append(got, fmt.Sprint(arms))
	}
	if got, want := strings.Join(got, " "), "[17 0 56 0] [9 0 57 0] [9 0 56 0] [9 0 56 0]"; got != want {
		t.Errorf("arms %s, want %s", got, want)
	}
}

func TestAssignKnowsUsersAndTime(t *testing.T) {
	start := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	e := twoArms(3, 1, 0, ExperimentBuckets)
	e.Start, e.End = start, start.Add(time.Hour)
	x := mustExperiments(t, e)
	user := testUsers(1, true)[0]
	for _, c := range []struct {
		user rtb.UserID
		at   time.Duration
		in   bool
	}{{user, 0, true}, {user, time.Hour - time.Millisecond, true}, {user, -time.Millisecond, false}, {user, time.Hour, false}, {rtb.UserID{}, 0, false}} {
		arms := [rtb.MaxLayers]uint16{9, 9, 9, 9}
		x.Assign(c.user, start.Add(c.at), &arms)
		if got := arms[1] != 0; got != c.in || arms[0] != 0 || arms[2] != 0 || arms[3] != 0 {
			t.Errorf("%v after the start: arms %v, want one in layer 1: %v", c.at, arms, c.in)
		}
	}
	arms := [rtb.MaxLayers]uint16{9, 9, 9, 9}
	(*Experiments)(nil).Assign(user, start, &arms)
	if arms != ([rtb.MaxLayers]uint16{}) {
		t.Errorf("no experiments assign %v", arms)
	}
}

func TestOverrides(t *testing.T) {
	a, b := twoArms(1, 0, 0, ExperimentBuckets), twoArms(9, 3, 0, ExperimentBuckets)
	a.Scope.LineItems = []rtb.LineItemID{8, 2}
	a.Scope.Campaigns = []rtb.CampaignID{5}
	a.Arms[1].Override = Override{Value: 2, Creatives: []rtb.CreativeID{7, 3}, Shading: ShadingOff}
	b.Arms[1].Override = Override{Value: 0.5, Canary: true, Holdout: true, Shading: ShadingFactor, Factor: 0.7}
	x := mustExperiments(t, a, b)
	id := func(number uint32, arm int) uint16 {
		id, err := ArmID(number, arm)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	item := &rtb.LineItem{ID: 2, Campaign: 1, Advertiser: 1}
	both := x.Overrides(&[rtb.MaxLayers]uint16{id(1, 1), 0, 0, id(9, 1)}, item)
	if both.Value != 1 || both.Shading != ShadingOff || !both.Canary || !both.Holdout || !both.Allows(3) || both.Allows(4) {
		t.Errorf("both layers give %+v", both)
	}
	for _, c := range []struct {
		item rtb.LineItem
		arms [rtb.MaxLayers]uint16
		want bool
	}{
		{rtb.LineItem{ID: 8}, [rtb.MaxLayers]uint16{id(1, 1)}, true},
		{rtb.LineItem{ID: 3}, [rtb.MaxLayers]uint16{id(1, 1)}, false},
		{rtb.LineItem{ID: 3, Campaign: 5}, [rtb.MaxLayers]uint16{id(1, 1)}, true},
		{rtb.LineItem{ID: 8}, [rtb.MaxLayers]uint16{id(1, 0)}, false},         // control
		{rtb.LineItem{ID: 8}, [rtb.MaxLayers]uint16{id(2, 1)}, false},         // over by now
		{rtb.LineItem{ID: 8}, [rtb.MaxLayers]uint16{0, 0, 0, 0xffff}, false},  // never was
		{rtb.LineItem{ID: 3}, [rtb.MaxLayers]uint16{0, 0, 0, id(9, 1)}, true}, // no scope
	} {
		if o := x.Overrides(&c.arms, &c.item); o.None() == c.want {
			t.Errorf("%v for %+v gives %+v", c.arms, c.item, o)
		}
	}
}

func TestNewExperimentsRefuses(t *testing.T) {
	bad := func(change func(*Experiment)) []Experiment {
		e := twoArms(1, 0, 0, 100)
		change(&e)
		return []Experiment{e}
	}
	for _, c := range []struct {
		list []Experiment
		want string
	}{
		{bad(func(e *Experiment) { e.Number = MaxExperiment + 1 }), "experiment-1: experiment number 8191 is out of range"},
		{bad(func(e *Experiment) { e.Layer = rtb.MaxLayers }), "layer 4"},
		{bad(func(e *Experiment) { e.First = ExperimentBuckets - 99 }), "buckets 9901 and 100 more"},
		{bad(func(e *Experiment) { e.Arms[1].Weight = 0 }), "arm 2: weight 0"},
		{bad(func(e *Experiment) { e.Arms = make([]Arm, MaxArms+1) }), "arm 9 is out of range"},
		{bad(func(e *Experiment) { e.Arms = nil }), "arm 0 is out of range"},
		{bad(func(e *Experiment) { e.Arms[0].Override.Value = -1 }), "value factor -1"},
		{bad(func(e *Experiment) { e.Arms[0].Override.Shading = ShadingFactor }), "shading factor 0"},
		{bad(func(e *Experiment) { e.Start = time.Unix(9, 0); e.End = time.Unix(9, 0) }), "ends before it starts"},
		{[]Experiment{twoArms(1, 0, 0, 100), twoArms(2, 0, 99, 100)}, "experiment-2: its buckets 99 to 198 overlap those of experiment-1, 0 to 99"},
		{[]Experiment{twoArms(1, 0, 0, 100), twoArms(1, 1, 0, 100)}, "has the number 1 of experiment-1"},
	} {
		if _, err := NewExperiments(c.list); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one that says %q", err, c.want)
		}
	}
	a, b := twoArms(1, 0, 0, 100), twoArms(2, 0, 0, 100)
	a.End, b.Start = time.Unix(9, 0), time.Unix(9, 0)
	mustExperiments(t, a, b)
}

func TestArmID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number, arm := rapid.Uint32Range(1, MaxExperiment).Draw(t, "number"), rapid.IntRange(0, MaxArms-1).Draw(t, "arm")
		id, err := ArmID(number, arm)
		if n, a := ArmOf(id); err != nil || id == 0 || n != number || a != arm {
			t.Fatalf("arm %d of %d has id %d, which is arm %d of %d (%v)", arm, number, id, a, n, err)
		}
	})
}

func TestAssignDoesNotAllocate(t *testing.T) {
	x, item, users := benchExperiments(t)
	var arms [rtb.MaxLayers]uint16
	var sum float64
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		x.Assign(users[i%len(users)], time.Time{}, &arms)
		o := x.Overrides(&arms, item)
		sum += o.Value
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if sum == 0 {
		t.Error("no user is in an arm that changes anything")
	}
}

func benchExperiments(t testing.TB) (*Experiments, *rtb.LineItem, []rtb.UserID) {
	var list []Experiment
	for layer := range rtb.MaxLayers {
		for i := range 4 {
			list = append(list, twoArms(uint32(4*layer+i+1), layer, 2500*i, 2500))
		}
	}
	return mustExperiments(t, list...), &rtb.LineItem{ID: 1}, testUsers(1024, true)
}

func BenchmarkAssign(b *testing.B) {
	x, _, users := benchExperiments(b)
	var arms [rtb.MaxLayers]uint16
	for i := 0; b.Loop(); i++ {
		x.Assign(users[i&1023], time.Time{}, &arms)
	}
}

func BenchmarkOverrides(b *testing.B) {
	x, item, users := benchExperiments(b)
	var arms [rtb.MaxLayers]uint16
	x.Assign(users[0], time.Time{}, &arms)
	var sum float64
	for b.Loop() {
		o := x.Overrides(&arms, item)
		sum += o.Value
	}
	_ = sum
}
