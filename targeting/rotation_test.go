package targeting

import (
	"fmt"
	"testing"
	"time"

	"bidwell/rtb"
)

// several gives the line item of a situation so many creatives, with the ids
// 1, 2, … and the weights given.
func several(s *situation, rotation rtb.Rotation, weights ...uint16) {
	one := s.item.Creatives[0]
	s.item.Rotation, s.item.Creatives = rotation, nil
	for i, w := range weights {
		c := one
		c.ID, c.Key, c.Weight = rtb.CreativeID(i+1), fmt.Sprint(i+1), w
		s.item.Creatives = append(s.item.Creatives, c)
	}
	s.req.Users = []rtb.UserID{{1}}
}

func (s *situation) index(t *testing.T) *Index {
	t.Helper()
	x, err := Build([]rtb.LineItem{*s.item})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// shares shows the line item so many times with a new coin and counts what it
// shows.
func (s *situation) shares(t *testing.T, n int, of func(c *Candidate) string) map[string]int {
	t.Helper()
	x := s.index(t)
	var m Matches
	shown := map[string]int{}
	for i := range n {
		s.c.Coin = coin(uint64(i), 1)
		x.Begin(&m, s.c)
		x.Match(&m, s.imp)
		if len(m.Candidates) == 0 {
			shown[m.Reason.String()]++
			continue
		}
		shown[of(&m.Candidates[0])]++
	}
	return shown
}

func keyOf(c *Candidate) string { return c.Creative.Key }

func TestRotationByChance(t *testing.T) {
	tests := []struct {
		name     string
		rotation rtb.Rotation
		weights  []uint16
		want     []int
	}{
		{"optimize, which the bidder decides", rtb.RotateOptimize, []uint16{0, 0}, []int{5000, 5000}},
		{"even", rtb.RotateEven, []uint16{1, 7, 1, 1}, []int{2500, 2500, 2500, 2500}},
		{"weighted", rtb.RotateWeighted, []uint16{3, 1, 6}, []int{3000, 1000, 6000}},
		{"without a weight is with one", rtb.RotateWeighted, []uint16{4, 0}, []int{8000, 2000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSituation()
			several(s, tt.rotation, tt.weights...)
			shown := s.shares(t, 10_000, keyOf)
			for i, want := range tt.want {
				if got := shown[fmt.Sprint(i+1)]; got < want-250 || got > want+250 {
					t.Errorf("shown %v, want %v", shown, tt.want)
				}
			}
		})
	}
}

// Of more creatives than are kept each is kept as often as any other, and the
// creative that is shown without anybody choosing is any of them.
func TestMoreFitThanAreKept(t *testing.T) {
	s := newSituation()
	several(s, rtb.RotateOptimize, make([]uint16, 20)...)
	x := s.index(t)
	var m Matches
	kept, shown := map[rtb.CreativeID]int{}, map[rtb.CreativeID]int{}
	const n = 10_000
	for i := range n {
		s.c.Coin = coin(uint64(i), 2)
		x.Begin(&m, s.c)
		x.Match(&m, s.imp)
		fits := m.Fits(&m.Candidates[0])
		if len(fits) != MaxFits {
			t.Fatalf("%d are kept, want %d", len(fits), MaxFits)
		}
		for k, f := range fits {
			if kept[f.Creative.ID]++; k > 0 && f.Creative.ID <= fits[k-1].Creative.ID {
				t.Fatalf("%d is kept after %d", f.Creative.ID, fits[k-1].Creative.ID)
			}
		}
		shown[m.Candidates[0].Creative.ID]++
	}
	for id := range rtb.CreativeID(20) {
		if got := kept[id+1]; got < n*MaxFits/20-300 || got > n*MaxFits/20+300 {
			t.Errorf("creative %d is kept %d times, want about %d", id+1, got, n*MaxFits/20)
		}
		if got := shown[id+1]; got < n/20-120 || got > n/20+120 {
			t.Errorf("creative %d is shown %d times, want about %d", id+1, got, n/20)
		}
	}
}

func TestSequence(t *testing.T) {
	seen := func(n uint16, secondsAgo int64) []rtb.Exposure {
		return []rtb.Exposure{{LineItem: 1, Creative: 9, Time: uint32(testNow.Unix() - secondsAgo), Count: n}}
	}
	tests := []struct {
		name   string
		seen   []rtb.Exposure
		repeat bool
		want   string
	}{
		{"nothing seen", nil, false, "1"},
		{"one impression", seen(1, 10), false, "2"},
		{"of just now", seen(1, 0), false, "2"},
		{"a bid in flight", seen(1, -1), false, "1"},
		{"of another line item", []rtb.Exposure{{LineItem: 2, Time: uint32(testNow.Unix()), Count: 2}}, false, "1"},
		{"two", seen(2, 3600), false, "3"},
		{"as many as there are", seen(3, 60), false, "3"},
		{"many more", seen(200, 60), false, "3"},
		{"as many as there are, again", seen(3, 60), true, "1"},
		{"many more, again", seen(200, 60), true, "3"},
		{"almost a month ago", seen(1, sequenceWindow-1), false, "2"},
		{"a month ago", seen(1, sequenceWindow), false, "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSituation()
			several(s, rtb.RotateSequence, 0, 0, 0)
			other := s.item.Creatives[0] // of another size, which takes no step here
			other.Size.W = 728
			s.item.Creatives = append([]rtb.Creative{other}, s.item.Creatives...)
			s.item.Repeat, s.user.Exposures = tt.repeat, tt.seen
			for range 3 {
				if got := s.shares(t, 5, keyOf); got[tt.want] != 5 {
					t.Errorf("shown %v, want %s always", got, tt.want)
				}
			}
			s.req.Users = nil
			if got := s.shares(t, 5, keyOf); got["1"] != 5 {
				t.Errorf("to an unknown user: shown %v, want the first", got)
			}
		})
	}
}

// A sequence of more steps than creatives are kept still goes through all.
func TestLongSequence(t *testing.T) {
	s := newSituation()
	several(s, rtb.RotateSequence, make([]uint16, 30)...)
	s.item.Repeat = true
	for seen := range uint16(70) {
		s.user.Exposures = []rtb.Exposure{{LineItem: 1, Time: uint32(testNow.Unix()), Count: seen}}
		if want, got := fmt.Sprint(seen%30+1), s.shares(t, 1, keyOf); got[want] != 1 {
			t.Fatalf("after %d impressions: %v, want %s", seen, got, want)
		}
	}
}

// The impressions of a sequence are remembered though no cap counts them, and
// take no room among the bids in flight.
func TestSequenceIsRemembered(t *testing.T) {
	s := newSituation()
	several(s, rtb.RotateSequence, 0, 0)
	x := s.index(t)
	if got := x.Remember(&rtb.Event{LineItem: 1}); got != 30*24*time.Hour {
		t.Errorf("an impression is remembered for %s, want 30 days", got)
	}
	if got := x.Remember(&rtb.Event{LineItem: 77}); got != 30*24*time.Hour {
		t.Errorf("an impression of a line item that is paused is remembered for %s, want 30 days", got)
	}
	if x.Capped() || x.entries[0].counted {
		t.Error("a sequence counts as a frequency cap")
	}
}

func TestUnknownRotation(t *testing.T) {
	s := newSituation()
	s.item.Rotation = 9
	if _, err := Build([]rtb.LineItem{*s.item}); err == nil {
		t.Error("Build takes the rotation 9")
	}
}

// withProducts makes products of the creative of a situation: for each an id, and
// the segments that it is for.
func withProducts(s *situation, products map[string][]rtb.SegmentID, order ...string) {
	c := &s.item.Creatives[0]
	for _, id := range order {
		ad := *c
		ad.Key, ad.Products = id, nil
		c.Products = append(c.Products, rtb.Product{ID: id, Segments: products[id], Ad: &ad})
	}
}

func TestTemplateShowsTheProductForTheUser(t *testing.T) {
	feed := map[string][]rtb.SegmentID{"shoe": {7}, "boot": {7, 8}, "sock": {8}, "gift": nil, "card": nil}
	order := []string{"gift", "shoe", "boot", "sock", "card"}
	tests := []struct {
		name     string
		segments []rtb.SegmentID
		order    []string
		want     map[string]int
	}{
		{"two products of the segment", []rtb.SegmentID{7}, order, map[string]int{"shoe": 500, "boot": 500}},
		{"those of the other", []rtb.SegmentID{8, 99}, order, map[string]int{"boot": 500, "sock": 500}},
		{"the segment that is named first", []rtb.SegmentID{8, 7}, order, map[string]int{"shoe": 500, "boot": 500}},
		{"in no segment", nil, order, map[string]int{"gift": 500, "card": 500}},
		{"in no segment, and nothing for everybody", []rtb.SegmentID{9}, order[1:4], map[string]int{"product-missing": 1000}},
		{"nothing for everybody, but in the segment", []rtb.SegmentID{8}, order[1:4], map[string]int{"boot": 500, "sock": 500}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSituation()
			withProducts(s, feed, tt.order...)
			s.user.Segments = tt.segments
			got := s.shares(t, 1000, keyOf)
			for _, id := range append(order, "product-missing") {
				if want := tt.want[id]; got[id] < want*4/5 || got[id] > want*6/5 {
					t.Errorf("shown %v, want about %v", got, tt.want)
				}
			}
			if s.c.User = nil; len(tt.order) == len(order) {
				if got := s.shares(t, 100, keyOf); got["gift"]+got["card"] != 100 {
					t.Errorf("to a user who could not be looked up: %v", got)
				}
			}
		})
	}
}

// A native template shows a product that has what the request wants, from the
// next list where the first has none.
func TestNativeTemplateFits(t *testing.T) {
	s := newSituation()
	s.item.Creatives[0].Media = rtb.Native
	s.imp.HasBanner, s.imp.HasNative = false, true
	withProducts(s, map[string][]rtb.SegmentID{"long": {7}, "short": {7}, "any": nil}, "long", "short", "any")
	s.user.Segments = []rtb.SegmentID{7}
	refused := map[string]bool{"long": true}
	s.c.Fit = func(c *rtb.Creative, _ *rtb.Imp) rtb.NoBid {
		if refused[c.Key] {
			return rtb.NativeAssetsMismatch
		}
		return rtb.BidMade
	}
	for _, step := range []struct{ refuse, want string }{{"", "short"}, {"short", "any"}, {"any", "product-missing"}} {
		refused[step.refuse] = true
		if got := s.shares(t, 50, keyOf); got[step.want] != 50 {
			t.Errorf("without %v: %v, want %s", refused, got, step.want)
		}
	}
}

// A template beside other creatives is one of them, also for the caps of a
// creative.
func TestTemplateAmongOthers(t *testing.T) {
	s := newSituation()
	several(s, rtb.RotateEven, 0, 0)
	withProducts(s, nil, "a", "b")
	got := s.shares(t, 2000, keyOf)
	if got["a"] < 400 || got["b"] < 400 || got["2"] < 800 {
		t.Errorf("shown %v, want a quarter each of the products and half of the other creative", got)
	}
	s.item.Caps = caps(rtb.CapCreative, 1, time.Hour)
	s.user.Exposures = []rtb.Exposure{{LineItem: 1, Creative: 1, Time: uint32(testNow.Unix()), Count: 1}}
	if got := s.shares(t, 100, keyOf); got["2"] != 100 {
		t.Errorf("after an impression of the template: %v, want only the other", got)
	}
}

func TestTemplatesAreShared(t *testing.T) {
	s := newSituation()
	withProducts(s, nil, "a")
	x, err := Build([]rtb.LineItem{*s.item, *s.item})
	if err != nil {
		t.Fatal(err)
	}
	if len(x.templates) != 2 { // the first is none
		t.Errorf("%d templates for two line items with the same creative, want one", len(x.templates)-1)
	}
	s.item.Creatives[0].Products[0].Ad = nil
	if _, err := Build([]rtb.LineItem{*s.item}); err == nil {
		t.Error("Build takes a product without an ad")
	}
}
