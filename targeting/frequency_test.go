package targeting

import (
	"testing"
	"time"

	"bidwell/rtb"
)

func caps(per rtb.CapScope, limit uint16, window time.Duration) []rtb.FrequencyCap {
	return []rtb.FrequencyCap{{Per: per, Limit: limit, Window: window}}
}

// ago is a number of impressions of line item 1, campaign 2, advertiser 3 and
// creative 4, so many seconds before testNow.
func ago(seconds int64, count uint16) rtb.Exposure {
	return rtb.Exposure{LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 4, Time: uint32(testNow.Unix() - seconds), Count: count}
}

func TestFrequencyCaps(t *testing.T) {
	tests := []struct {
		name string
		caps []rtb.FrequencyCap
		gap  time.Duration
		seen []rtb.Exposure
		want rtb.NoBid
	}{
		{"nothing seen", caps(rtb.CapLineItem, 1, time.Hour), time.Hour, nil, rtb.BidMade},
		{"one of two", caps(rtb.CapLineItem, 2, time.Hour), 0, []rtb.Exposure{ago(5, 1)}, rtb.BidMade},
		{"two of two, apart", caps(rtb.CapLineItem, 2, time.Hour), 0, []rtb.Exposure{ago(5, 1), ago(3599, 1)}, rtb.FrequencyCapped},
		{"two of two, as one", caps(rtb.CapLineItem, 2, time.Hour), 0, []rtb.Exposure{ago(3599, 2)}, rtb.FrequencyCapped},
		{"the window has just slid on", caps(rtb.CapLineItem, 2, time.Hour), 0, []rtb.Exposure{ago(5, 1), ago(3600, 1)}, rtb.BidMade},
		{"a window of parts of a second is rounded up", caps(rtb.CapLineItem, 1, 1500*time.Millisecond), 0, []rtb.Exposure{ago(1, 1)}, rtb.FrequencyCapped},
		{"a clock that was ahead", caps(rtb.CapLineItem, 1, time.Second), 0, []rtb.Exposure{ago(-60, 1)}, rtb.FrequencyCapped},
		{"of the campaign", caps(rtb.CapCampaign, 1, time.Hour), 0, []rtb.Exposure{{LineItem: 9, Campaign: 2, Time: ago(1, 1).Time, Count: 1}}, rtb.FrequencyCapped},
		{"of another campaign", caps(rtb.CapCampaign, 1, time.Hour), 0, []rtb.Exposure{{LineItem: 1, Campaign: 9, Time: ago(1, 1).Time, Count: 1}}, rtb.BidMade},
		{"of the advertiser", caps(rtb.CapAdvertiser, 1, time.Hour), 0, []rtb.Exposure{{LineItem: 9, Campaign: 9, Advertiser: 3, Time: ago(1, 1).Time, Count: 1}}, rtb.FrequencyCapped},
		{"of nobody knows which line item", caps(rtb.CapLineItem, 2, time.Hour), 0, []rtb.Exposure{{Campaign: 9, Time: ago(1, 1).Time, Count: 2}}, rtb.FrequencyCapped},
		{"the second of several caps", append(caps(rtb.CapLineItem, 9, time.Hour), caps(rtb.CapCampaign, 1, time.Minute)...), 0, []rtb.Exposure{ago(5, 1)}, rtb.FrequencyCapped},
		{"within the gap", nil, time.Minute, []rtb.Exposure{ago(59, 1)}, rtb.FrequencyCapped},
		{"after the gap", nil, time.Minute, []rtb.Exposure{ago(60, 4)}, rtb.BidMade},
		{"the gap of another line item", nil, time.Minute, []rtb.Exposure{{LineItem: 9, Campaign: 2, Time: ago(1, 1).Time, Count: 1}}, rtb.BidMade},
		{"all creatives have been seen", caps(rtb.CapCreative, 1, time.Hour), 0, []rtb.Exposure{ago(1, 1), {LineItem: 9, Campaign: 9, Creative: 5, Time: ago(1, 1).Time, Count: 1}}, rtb.FrequencyCapped},
		{"one creative has been seen", caps(rtb.CapCreative, 1, time.Hour), 0, []rtb.Exposure{ago(1, 1)}, rtb.BidMade},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSituation()
			s.item.Campaign, s.item.Advertiser, s.item.Caps, s.item.MinGap = 2, 3, tt.caps, tt.gap
			s.item.Creatives = append(s.item.Creatives, s.item.Creatives[0])
			s.item.Creatives[0].ID, s.item.Creatives[1].ID = 4, 5
			x, err := Build([]rtb.LineItem{*s.item})
			if err != nil {
				t.Fatal(err)
			}
			match := func() rtb.NoBid {
				var m Matches
				x.Begin(&m, s.c)
				x.Match(&m, s.imp)
				explained := rtb.Outbid
				x.Explain(&m, s.imp, func(_ *rtb.LineItem, _ *rtb.Creative, reason rtb.NoBid) { explained = reason })
				if explained != m.Reason {
					t.Errorf("matched: %v, but explained: %v", m.Reason, explained)
				}
				return m.Reason
			}
			s.req.Users = []rtb.UserID{{1}}
			if got := match(); got != rtb.BidMade {
				t.Errorf("a user who has seen nothing: %v", got)
			}
			s.user.Exposures = tt.seen
			if got := match(); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			s.req.Users = nil
			if got := match(); got != rtb.UserUnknown {
				t.Errorf("a user without an identifier: %v, want %v", got, rtb.UserUnknown)
			}
			s.req.Users, s.c.User = []rtb.UserID{{1}}, nil
			if got := match(); got != rtb.UserUnknown {
				t.Errorf("a user who could not be looked up: %v, want %v", got, rtb.UserUnknown)
			}
		})
	}
}

// A cap of one creative leaves the others of the line item.
func TestCreativeCapChoosesAnother(t *testing.T) {
	s := newSituation()
	s.item.Caps = caps(rtb.CapCreative, 2, time.Hour)
	s.item.Creatives = append(s.item.Creatives, s.item.Creatives[0], s.item.Creatives[0])
	for i := range s.item.Creatives {
		s.item.Creatives[i].ID = rtb.CreativeID(4 + i)
	}
	s.req.Users, s.user.Exposures = []rtb.UserID{{1}}, []rtb.Exposure{ago(1, 2)}
	x, err := Build([]rtb.LineItem{*s.item})
	if err != nil {
		t.Fatal(err)
	}
	var m Matches
	shown := map[rtb.CreativeID]int{}
	for coin := range uint64(1000) {
		s.c.Coin = coin * 0x9e3779b97f4a7c15
		x.Begin(&m, s.c)
		x.Match(&m, s.imp)
		shown[m.Candidates[0].Creative.ID]++
	}
	if shown[4] != 0 || shown[5] < 400 || shown[6] < 400 {
		t.Errorf("shown by creative: %v, want none of 4 and as much of 5 as of 6", shown)
	}
	c := m.Candidates[0]
	if got := x.Recheck(&m, &c); got != rtb.BidMade {
		t.Errorf("asked again: %v", got)
	}
	s.user.Exposures = append(s.user.Exposures, rtb.Exposure{Creative: c.Creative.ID, Time: ago(1, 1).Time, Count: 2})
	if got := x.Recheck(&m, &c); got != rtb.FrequencyCapped {
		t.Errorf("asked again after two more impressions: %v", got)
	}
}

func TestRemember(t *testing.T) {
	item := func(id, campaign, advertiser uint32, creative rtb.CreativeID, caps ...rtb.FrequencyCap) rtb.LineItem {
		l := *newSituation().item
		l.ID, l.Campaign, l.Advertiser, l.Caps = rtb.LineItemID(id), rtb.CampaignID(campaign), rtb.AdvertiserID(advertiser), caps
		l.Creatives = []rtb.Creative{{ID: creative, Media: rtb.Banner}}
		return l
	}
	gap := item(6, 4, 3, 6)
	gap.MinGap = time.Minute
	x, err := Build([]rtb.LineItem{
		item(1, 1, 1, 1, rtb.FrequencyCap{Per: rtb.CapLineItem, Limit: 1, Window: time.Hour}, rtb.FrequencyCap{Per: rtb.CapCampaign, Limit: 5, Window: 90 * time.Second}),
		item(2, 1, 1, 2),
		item(3, 2, 2, 3, rtb.FrequencyCap{Per: rtb.CapAdvertiser, Limit: 1, Window: 240 * time.Hour}, rtb.FrequencyCap{Per: rtb.CapCreative, Limit: 1, Window: time.Second}),
		item(4, 3, 2, 4),
		item(5, 4, 3, 3),
		gap,
		item(7, 4, 3, 7),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !x.Capped() {
		t.Error("the Index has caps, but says no")
	}
	want := map[rtb.LineItemID]time.Duration{1: time.Hour, 2: 90 * time.Second, 3: 240 * time.Hour, 4: 240 * time.Hour, 5: time.Second, 6: time.Minute, 7: 0}
	for i := range x.items {
		l := &x.items[i]
		e := rtb.Event{LineItem: l.ID, Campaign: l.Campaign, Advertiser: l.Advertiser, Creative: l.Creatives[0].ID}
		if got := x.Remember(&e); got != want[l.ID] {
			t.Errorf("an impression of line item %d is remembered for %s, want %s", l.ID, got, want[l.ID])
		}
		if x.entries[i].counted != (want[l.ID] > 0) {
			t.Errorf("line item %d counts for a cap: %t", l.ID, x.entries[i].counted)
		}
	}
	if got := x.Remember(&rtb.Event{LineItem: 99, Campaign: 99, Advertiser: 99, Creative: 99}); got != 240*time.Hour {
		t.Errorf("an impression of a line item that is gone is remembered for %s, want as long as any", got)
	}
	none, err := Build([]rtb.LineItem{item(2, 1, 1, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if got := none.Remember(&rtb.Event{LineItem: 99}); none.Capped() || got != 7*24*time.Hour {
		t.Errorf("without caps: %t, an impression of a line item that is gone is remembered for %s", none.Capped(), got)
	}
}
