package bidder

import (
	"math"
	"slices"
	"testing"

	"bidwell/events"
	"bidwell/models"
	"bidwell/rtb"
)

// What a bid was scored by is, bit for bit, what comes back with the pixel,
// stands in the log and is learned from; and it is what Extract makes of the
// request.
func TestScoredIsLearned(t *testing.T) {
	item := perClick(lineItem(1, 5, banner(1, 300, 250)))
	f := newFixture(t, []rtb.LineItem{item})
	s := newScratch()
	for _, body := range [][]byte{
		request("0", ""),
		request("0.7", `,"device":{"ua":"x","make":"Maker","model":"One","os":"iOS","devicetype":4,"geo":{"country":"DEU","city":"Berlin"}},"user":{"gender":"F","yob":1980}`),
	} {
		if f.answer(t, s, "generic", body) == nil {
			t.Fatal(s.response.Reason)
		}
		bid := &s.response.Bids[0]
		var seen rtb.Event
		if err := f.Keys.Open(bid.ViewToken, events.View, &seen, nil); err != nil {
			t.Fatal(err)
		}
		seen.Type = rtb.EventView
		logged, err := events.ReadBatch(events.AppendBatch(nil, []rtb.Event{seen}), nil)
		if err != nil {
			t.Fatal(err)
		}
		learned := logged[0].Features.Append(nil)
		want := models.Extract(nil, &s.request, bid.Imp, &s.user, bid.LineItem, bid.Creative, bid.Size, s.now)
		if !slices.Equal(learned, want) || !slices.Equal(learned, s.features.Hashes) {
			t.Fatalf("learned from\n%v, scored by\n%v, and the request has\n%v", learned, s.features.Hashes, want)
		}
		if scored := f.Predictor.Model().ClickRate(bid.LineItem.Campaign, learned); math.Abs(scored/float64(logged[0].CTR)-1) > 1e-6 { // sums in another order
			t.Errorf("the log says that %g was predicted, and the model %g", logged[0].CTR, scored)
		}
		f.withdraw(s, rtb.BidMade)
	}
}
