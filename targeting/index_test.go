package targeting

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"bidwell/rtb"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

func TestBuildNamesWhatIsWrong(t *testing.T) {
	tests := []struct {
		set  func(item *rtb.LineItem)
		want string
	}{
		{func(i *rtb.LineItem) { i.Goal.Max = 0 }, "goal.max"},
		{func(i *rtb.LineItem) { i.Targeting.Cities = []string{"Berlin", " "} }, "targeting.cities[1]"},
		{func(i *rtb.LineItem) { i.Targeting.AllowDomains = []string{"http://"} }, "targeting.allow_domains[0]"},
		{func(i *rtb.LineItem) { i.Targeting.Deals = []string{""} }, "targeting.deals[0]"},
		{func(i *rtb.LineItem) { i.Targeting.Countries = [][2]byte{{'U', 0}} }, "country"},
		{func(i *rtb.LineItem) { i.Targeting.Media = []rtb.InventoryKind{9} }, "targeting.media"},
		{func(i *rtb.LineItem) { i.Targeting.Fences = make([]rtb.Fence, 1001) }, "targeting.fences: 1001"},
		{func(i *rtb.LineItem) {
			i.Targeting.Fences = []rtb.Fence{{Lat: 1, Lon: 1, Meters: 1}, {Lat: 91, Meters: 1}}
		}, "targeting.fences[1]"},
		{func(i *rtb.LineItem) { i.Targeting.Fences = []rtb.Fence{{Lat: 1, Lon: 1}} }, "targeting.fences[0]"},
		{func(i *rtb.LineItem) { i.Creatives = []rtb.Creative{{Key: "odd"}} }, `creative "odd": media`},
		{func(i *rtb.LineItem) {
			i.Caps = []rtb.FrequencyCap{{Per: rtb.CapCampaign, Limit: 1, Window: 1}, {Per: rtb.CapCampaign, Window: 1}}
		}, "caps[1]"},
		{func(i *rtb.LineItem) { i.Caps = []rtb.FrequencyCap{{Limit: 1, Window: 1}} }, "caps[0]"},
		{func(i *rtb.LineItem) { i.MinGap = -1 }, "min_gap"},
	}
	for _, tt := range tests {
		good, bad := *newSituation().item, *newSituation().item
		bad.Key = "bad"
		tt.set(&bad)
		_, err := Build([]rtb.LineItem{good, bad})
		if err == nil || !strings.Contains(err.Error(), `line item "bad": `) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Build = %v, want an error about %q", err, tt.want)
		}
	}
}

func TestBuildKeepsItsOwnOrder(t *testing.T) {
	items := make([]rtb.LineItem, 5)
	for i, ceiling := range []rtb.Money{3, 9, 3, 1, 9} {
		items[i] = rtb.LineItem{ID: rtb.LineItemID(5 - i), Goal: rtb.Goal{Max: ceiling}}
	}
	x, err := Build(items)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []rtb.LineItemID{1, 4, 3, 5, 2} {
		if got := x.LineItems()[i].ID; got != want {
			t.Errorf("line item %d is %d, want %d", i, got, want)
		}
	}
	if items[0].ID != 5 {
		t.Error("Build reordered what it was given")
	}
}

func TestNoLineItems(t *testing.T) {
	s := newSituation()
	var m Matches
	for _, x := range []*Index{{}, NewCatalog().Index()} {
		x.Begin(&m, s.c)
		if x.Match(&m, s.imp); m.Reason != rtb.NotActive || len(m.Candidates) != 0 {
			t.Errorf("Match without line items gives %v", m.Reason)
		}
	}
}

// Line items that name all the countries there are must not be kept once for
// each of them.
func TestMemoryDoesNotGrowWithCountries(t *testing.T) {
	var all [][2]byte
	for a := byte('A'); a < 'K'; a++ {
		for b := byte('A'); b < 'U'; b++ {
			all = append(all, [2]byte{a, b})
		}
	}
	heap := func(countries func(i int) [][2]byte) uint64 {
		items := benchItems(5000)
		for i := range items {
			items[i].Targeting.Countries = countries(i)
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		x, err := Build(items)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(x)
		return after.HeapAlloc - before.HeapAlloc
	}
	one := heap(func(i int) [][2]byte { return all[i%200 : i%200+1] })
	every := heap(func(int) [][2]byte { return all })
	if every > 3*one {
		t.Errorf("200 countries for each line item take %d bytes, one country %d", every, one)
	}
}
