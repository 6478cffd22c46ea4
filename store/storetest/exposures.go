package storetest

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bidwell/rtb"
	"bidwell/targeting/audience"
)

// Exposures is what an engine offers that also stores what users have seen.
type Exposures interface {
	Profiles
	audience.Exposures
}

// TestExposures tests an engine. open returns an empty store each time, and
// has it closed at the end of the test.
func TestExposures(t *testing.T, open func(*testing.T) Exposures) {
	tests := []struct {
		name string
		test func(*testing.T, Exposures)
	}{
		{"recorded", testRecorded},
		{"repeats", testRepeats},
		{"expiry", testExposuresExpire},
		{"opt out and erasure", testExposuresForgotten},
		{"crowded", testCrowded},
		{"random", testRandomExposures},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// impression is the nth bid's: of line item 1, campaign 2, advertiser 3 and
// creative 4 for the nth user, after so long, remembered for an hour.
func impression(user, bid int, after time.Duration) audience.Impression {
	i := audience.Impression{
		User: User(user), LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 4,
		Time: Now.Add(after), Until: Now.Add(after + time.Hour),
	}
	binary.LittleEndian.PutUint64(i.Bid[:], uint64(bid))
	binary.LittleEndian.PutUint64(i.Bid[8:], uint64(bid)*0x9e3779b97f4a7c15)
	return i
}

func record(t *testing.T, s Exposures, position uint64, after time.Duration, list ...audience.Impression) {
	t.Helper()
	if err := s.RecordExposures(t.Context(), position, Now.Add(after), list); err != nil {
		t.Fatalf("RecordExposures: %v", err)
	}
}

// exposuresOf are those of a user, the oldest first.
func exposuresOf(t *testing.T, s Exposures, users ...rtb.UserID) []rtb.Exposure {
	t.Helper()
	p := rtb.Profile{Exposures: []rtb.Exposure{{Count: 99}}} // must be reset
	if err := s.Profile(Now, time.Time{}, users, &p); err != nil {
		t.Fatalf("Profile: %v", err)
	}
	if p.Known != (len(p.Exposures) > 0 || len(p.Segments) > 0 || p.OptedOut) {
		t.Errorf("a user with %d exposures is known: %t", len(p.Exposures), p.Known)
	}
	slices.SortFunc(p.Exposures, func(a, b rtb.Exposure) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Creative, b.Creative))
	})
	return p.Exposures
}

func testRecorded(t *testing.T, s Exposures) {
	if got := s.Recorded(); got != 0 {
		t.Errorf("a new store has recorded up to %d", got)
	}
	exposuresOf(t, s, User(1)) // so that a cache has to forget
	Change(t, s, 7, audience.Add, 0, Users(1, 2))
	late := impression(1, 2, 1500*time.Millisecond)
	late.Creative = 5
	record(t, s, 10, 0, impression(2, 3, 0), late, impression(1, 1, 0))
	if got := s.Recorded(); got != 10 {
		t.Errorf("recorded up to %d, want 10", got)
	}
	now := uint32(Now.Unix())
	want := []rtb.Exposure{
		{LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 4, Time: now, Count: 1},
		{LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 5, Time: now + 2, Count: 1},
	}
	for range 2 { // the second may come from a cache
		if got := exposuresOf(t, s, User(1)); !slices.Equal(got, want) {
			t.Errorf("exposures %+v, want %+v", got, want)
		}
		if got := exposuresOf(t, s, User(3), User(2), User(1)); len(got) != 3 {
			t.Errorf("of two users %d exposures, want 3", len(got))
		}
	}
	wantSegments(t, s, Now, User(1), 7)
	record(t, s, 11, 0)
	if got := s.Recorded(); got != 11 {
		t.Errorf("after a batch without impressions recorded up to %d, want 11", got)
	}
}

func testRepeats(t *testing.T, s Exposures) {
	record(t, s, 5, 0, impression(1, 1, 0), impression(1, 1, time.Second), impression(1, 2, 0))
	for _, position := range []uint64{5, 4, 1} {
		record(t, s, position, 0, impression(1, 3, 0), impression(2, 4, 0))
	}
	record(t, s, 6, time.Minute, impression(1, 2, time.Minute), impression(1, 5, time.Minute))
	if got := exposuresOf(t, s, User(1)); len(got) != 3 {
		t.Errorf("after repeats of bids and batches: %+v, want 3 exposures", got)
	}
	if got := exposuresOf(t, s, User(2)); len(got) != 0 || s.Recorded() != 6 {
		t.Errorf("a batch of before was recorded: %+v, position %d", got, s.Recorded())
	}
}

func testExposuresExpire(t *testing.T, s Exposures) {
	record(t, s, 1, 0, impression(1, 1, 0), impression(1, 2, time.Minute))
	record(t, s, 2, time.Hour, impression(1, 3, time.Hour), impression(2, 4, -time.Hour)) // the last has ended already
	if got := exposuresOf(t, s, User(1)); len(got) != 2 || got[0].Time != uint32(Now.Unix())+60 {
		t.Errorf("after an hour: %+v, want those of one minute and of now", got)
	}
	if got := exposuresOf(t, s, User(2)); len(got) != 0 {
		t.Errorf("what ended before was recorded: %+v", got)
	}
}

func testExposuresForgotten(t *testing.T, s Exposures) {
	record(t, s, 1, 0, impression(1, 1, 0), impression(2, 2, 0))
	if err := s.SetOptOut(t.Context(), User(1), true); err != nil {
		t.Fatal(err)
	}
	if err := s.EraseUser(t.Context(), User(2), true); err != nil {
		t.Fatal(err)
	}
	record(t, s, 2, 0, impression(1, 3, 0))
	for n := 1; n <= 2; n++ {
		if got := exposuresOf(t, s, User(n)); len(got) != 0 {
			t.Errorf("user %d still has %+v", n, got)
		}
	}
}

// A user sees more than is kept one by one: every count over any stretch of
// time up to now is at least the truth.
func testCrowded(t *testing.T, s Exposures) {
	for user, spread := range []int{1, 3, 40, 200} { // creatives
		r := rand.New(rand.NewPCG(3, uint64(spread)))
		var all []rtb.Exposure
		for n := range 300 {
			i := impression(user, n, time.Duration(n)*time.Second)
			c := r.IntN(spread)
			i.Creative, i.LineItem = rtb.CreativeID(1+c), rtb.LineItemID(1+c/4)
			i.Campaign, i.Advertiser = rtb.CampaignID(1+c/16), rtb.AdvertiserID(1+c/100)
			record(t, s, s.Recorded()+1, 0, i)
			all = append(all, rtb.Exposure{LineItem: i.LineItem, Campaign: i.Campaign, Advertiser: i.Advertiser, Creative: i.Creative,
				Time: uint32(i.Time.Unix()), Count: 1})
		}
		kept := exposuresOf(t, s, User(user))
		if len(kept) > 256 || len(kept) == 0 {
			t.Fatalf("%d exposures are kept of a user, want some, and at most 256", len(kept))
		}
		is := []func(a, b *rtb.Exposure) bool{
			func(a, b *rtb.Exposure) bool { return a.Creative == b.Creative || a.Creative == 0 },
			func(a, b *rtb.Exposure) bool { return a.LineItem == b.LineItem || a.LineItem == 0 },
			func(a, b *rtb.Exposure) bool { return a.Campaign == b.Campaign || a.Campaign == 0 },
			func(a, b *rtb.Exposure) bool { return a.Advertiser == b.Advertiser || a.Advertiser == 0 },
		}
		total := 0
		for i := range kept {
			total += int(kept[i].Count)
		}
		if total != len(all) {
			t.Errorf("%d impressions became %d", len(all), total)
		}
		for _, of := range all {
			for after := range 300 {
				for _, same := range is {
					count := func(list []rtb.Exposure) (n int) {
						for i := range list {
							if int64(list[i].Time) >= Now.Unix()+int64(after) && same(&list[i], &of) {
								n += int(list[i].Count)
							}
						}
						return n
					}
					if after%29 == 0 && count(kept) < count(all) {
						t.Fatalf("after %d seconds %d impressions of %+v are left of %d", after, count(kept), of, count(all))
					}
				}
			}
		}
	}
}

// Random impressions of few users, with repeats, against a plain list.
func testRandomExposures(t *testing.T, s Exposures) {
	r := rand.New(rand.NewPCG(4, 4))
	type key struct{ user, bid int }
	want := map[key]audience.Impression{}
	bid := 0
	for position := range uint64(200) {
		at := time.Duration(position) * time.Minute
		var list []audience.Impression
		for range r.IntN(4) {
			n := bid - r.IntN(3)
			if r.IntN(2) == 0 || n < 1 {
				bid++
				n = bid
			}
			i := impression(n%5, n, at)
			i.Creative = rtb.CreativeID(1 + n%7)
			list = append(list, i)
			if _, known := want[key{n % 5, n}]; !known {
				want[key{n % 5, n}] = i
			}
		}
		record(t, s, position+1, at, list...)
		for user := range 5 {
			times := map[uint32]int{}
			for _, x := range exposuresOf(t, s, User(user)) {
				if x.Time+3600 > uint32(Now.Add(at).Unix()) {
					times[x.Time] += int(x.Count)
				}
			}
			for k, i := range want {
				if k.user == user && i.Until.After(Now.Add(at)) {
					times[uint32(i.Time.Unix())]--
				}
			}
			for second, n := range times {
				if n != 0 {
					t.Fatalf("after batch %d user %d has %+d impressions of second %d", position, user, n, second)
				}
			}
		}
	}
}
