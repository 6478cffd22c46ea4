package loadtest

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"bidwell/rtb"
)

// someSlot finds an offer with a slot that fulfils want.
func someSlot(t *testing.T, cfg TrafficConfig, want func(o *Offer, s *Slot) bool) (*Offer, *Slot) {
	t.Helper()
	traffic := NewTraffic(cfg)
	var o Offer
	for i := range 50_000 {
		traffic.Offer(i, marketMonday, &o)
		for n := range o.Slots {
			if want(&o, &o.Slots[n]) {
				return &o, &o.Slots[n]
			}
		}
	}
	t.Fatal("no such slot in 50,000 offers")
	return nil, nil
}

func TestAuctionPrices(t *testing.T) {
	const cpm = rtb.OneCPM
	market := NewMarket(1)
	o, s := someSlot(t, TrafficConfig{Seed: 1, Users: 1000, Auction: AuctionSecond}, func(o *Offer, s *Slot) bool {
		rival := market.Rival(o, s)
		return rival > s.Floor && s.Floor > 0 && rival < 2*cpm && s.Deal == nil
	})
	rival := market.Rival(o, s)
	deals := map[uint8]*Deal{}
	for at := uint8(1); at <= 3; at++ {
		deals[at] = &Deal{ID: "d", Auction: at}
	}
	tests := []struct {
		name     string
		auction  uint8
		bid      contender
		wins     bool
		clearing rtb.Money
		loss     int
		minToWin rtb.Money
	}{
		{"second price pays just above the rival", 2, contender{price: rival + cpm, floor: s.Floor}, true, rival + priceStep, 0, rival + priceStep},
		{"second price never pays more than it bid", 2, contender{price: rival + 1, floor: s.Floor}, true, rival + 1, 0, rival + priceStep},
		{"second price pays the floor above the rival", 2, contender{price: rival + 2*cpm, floor: rival + cpm}, true, rival + cpm, 0, rival + cpm},
		{"first price pays its bid", 1, contender{price: rival + cpm, floor: s.Floor}, true, rival + cpm, 0, rival + priceStep},
		{"a tie goes to the rival", 1, contender{price: rival, floor: s.Floor}, false, 0, lossHigherBid, rival + priceStep},
		{"below the rival", 2, contender{price: rival - 1, floor: s.Floor}, false, 0, lossHigherBid, rival + priceStep},
		{"fixed deal wins below the rival", 2, contender{price: rival - 1, floor: rival / 2, deal: deals[3]}, true, rival / 2, 0, rival / 2},
		{"first-price deal in a second-price auction", 2, contender{price: rival + cpm, floor: rival / 2, deal: deals[1]}, true, rival + cpm, 0, rival + priceStep},
		{"second-price deal in a first-price auction", 1, contender{price: rival + cpm, floor: rival / 2, deal: deals[2]}, true, rival + priceStep, 0, rival + priceStep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o.Auction = tt.auction
			tt.bid.slot = s
			all := []contender{tt.bid}
			won := market.auction(o, s, all)
			if (won != nil) != tt.wins || all[0].loss != tt.loss || all[0].clearing != tt.clearing || all[0].minToWin != tt.minToWin {
				t.Errorf("won %t, loss %d, clearing %v, min to win %v; want %t, %d, %v, %v", won != nil, all[0].loss,
					all[0].clearing.CPM(), all[0].minToWin.CPM(), tt.wins, tt.loss, tt.clearing.CPM(), tt.minToWin.CPM())
			}
		})
	}

	t.Run("among own bids", func(t *testing.T) {
		o.Auction = 2
		all := []contender{
			{slot: s, price: rival + cpm, floor: s.Floor},
			{slot: s, price: rival + 2*cpm, floor: s.Floor},
			{slot: s, price: rival + 9*cpm, floor: s.Floor, loss: lossBelowFloor},
			{slot: s, price: rival / 2, floor: rival / 4, deal: deals[3]},
		}
		if won := market.auction(o, s, all[:3]); won != &all[1] || all[0].loss != lossHigherBid || all[2].loss != lossBelowFloor {
			t.Errorf("losses %d %d %d, want the second to win", all[0].loss, all[1].loss, all[2].loss)
		}
		all[0].loss, all[1].loss = 0, 0
		if won := market.auction(o, s, all); won != &all[3] || all[1].loss != lossToDeal {
			t.Errorf("losses %d %d %d %d, want the deal to win", all[0].loss, all[1].loss, all[2].loss, all[3].loss)
		}
	})
}

func TestNobodyElseWantsIt(t *testing.T) {
	market := NewMarket(1)
	o, s := someSlot(t, TrafficConfig{Seed: 1, Users: 1000}, func(o *Offer, s *Slot) bool {
		return market.Rival(o, s) == 0 && s.Floor == 0
	})
	o.Auction = 2
	all := []contender{{slot: s, price: rtb.OneCPM}}
	if won := market.auction(o, s, all); won == nil || won.clearing != priceStep {
		t.Errorf("won %v at %v, want a win at a CPM of 0.01", won != nil, all[0].clearing.CPM())
	}
}

func TestAdmit(t *testing.T) {
	o, s := someSlot(t, TrafficConfig{Seed: 1, Users: 1000}, func(o *Offer, s *Slot) bool {
		return s.Banner && !s.Video && !s.Native && s.Floor > 0 && s.Deal != nil && s.Deal.Private
	})
	open, openSlot := someSlot(t, TrafficConfig{Seed: 1, Users: 1000}, func(o *Offer, s *Slot) bool {
		return s.Banner && !s.Video && !s.Native && s.Floor > 0 && s.Deal == nil
	})
	good := func(s *Slot) seatBid {
		return seatBid{ID: "b", ImpID: s.ID, Price: s.Floor.CPM(), CRID: "c", Adm: json.RawMessage(`"<p>"`), W: int(s.Sizes[0].W), H: int(s.Sizes[0].H), MType: 1}
	}
	tests := []struct {
		name      string
		offer     *Offer
		slot      *Slot
		change    func(b *seatBid)
		currency  string
		violation string
		loss      int
	}{
		{"exactly the floor", open, openSlot, func(b *seatBid) {}, "USD", "", 0},
		{"no currency is dollars", open, openSlot, func(b *seatBid) {}, "", "", 0},
		{"another currency", open, openSlot, func(b *seatBid) {}, "EUR", "currency-not-offered", lossInvalid},
		{"below the floor", open, openSlot, func(b *seatBid) { b.Price -= 1e-6 }, "USD", "below-floor", lossBelowFloor},
		{"price zero", open, openSlot, func(b *seatBid) { b.Price = 0 }, "USD", "price-not-positive", lossNoPrice},
		{"negative price", open, openSlot, func(b *seatBid) { b.Price = -1 }, "USD", "price-not-positive", lossNoPrice},
		{"endless price", open, openSlot, func(b *seatBid) { b.Price = math.MaxFloat64 }, "USD", "price-not-positive", lossNoPrice},
		{"unknown imp", open, openSlot, func(b *seatBid) { b.ImpID = "77" }, "USD", "unknown-imp", lossInvalid},
		{"unknown deal", open, openSlot, func(b *seatBid) { b.DealID = "x" }, "USD", "unknown-deal", lossDealID},
		{"no creative id", open, openSlot, func(b *seatBid) { b.CRID = "" }, "USD", "no-creative-id", lossNoCreative},
		{"no markup", open, openSlot, func(b *seatBid) { b.Adm = nil }, "USD", "no-markup", lossNoMarkup},
		{"another size", open, openSlot, func(b *seatBid) { b.W = 1 }, "USD", "size-not-offered", lossSize},
		{"a size that wraps around", open, openSlot, func(b *seatBid) { b.W += 1 << 16 }, "USD", "size-not-offered", lossSize},
		{"no size", open, openSlot, func(b *seatBid) { b.W, b.H = 0, 0 }, "USD", "", 0},
		{"audio for a banner", open, openSlot, func(b *seatBid) { b.MType = 3 }, "USD", "format-not-offered", lossFormat},
		{"native by its looks", open, openSlot, func(b *seatBid) { b.MType, b.Adm = 0, json.RawMessage(`{"native":{}}`) }, "USD", "format-not-offered", lossFormat},
		{"open bid in a private auction", o, s, func(b *seatBid) {}, "USD", "open-bid-in-private-auction", lossToDeal},
		{"at the deal's floor", o, s, func(b *seatBid) { b.DealID, b.Price = s.Deal.ID, s.DealFloor.CPM() }, "USD", "", 0},
		{"below the deal's floor", o, s, func(b *seatBid) { b.DealID, b.Price = s.Deal.ID, s.DealFloor.CPM()-1e-6 }, "USD", "below-deal-floor", lossBelowDeal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bid := good(tt.slot)
			tt.change(&bid)
			c := admit(tt.offer, &bid, "seat", tt.currency)
			if c.violation != tt.violation || c.loss != tt.loss {
				t.Errorf("violation %q, loss %d, want %q and %d", c.violation, c.loss, tt.violation, tt.loss)
			}
		})
	}
}

// The landscape is log-normal around the usual price, and follows the day.
func TestRivalPrices(t *testing.T) {
	traffic, market := NewTraffic(TrafficConfig{Seed: 2, Users: 10_000}), NewMarket(2)
	var o Offer
	var sum, square float64
	n, absent := 0, 0
	for i := range 20_000 {
		traffic.Offer(i, marketMonday.Add(time.Duration(i)*30*time.Second), &o)
		s := &o.Slots[0]
		rival := market.Rival(&o, s)
		if rival != market.Rival(&o, s) {
			t.Fatal("Rival differs when asked twice")
		}
		if rival == 0 {
			absent++
			continue
		}
		x := math.Log(rival.CPM() / usualPrice(&o, s))
		sum, square, n = sum+x, square+x*x, n+1
	}
	mean := sum / float64(n)
	deviation := math.Sqrt(square/float64(n) - mean*mean)
	if math.Abs(mean) > .15 || deviation < spread || deviation > spread*1.2 {
		t.Errorf("logarithm of price over usual price: mean %.3f, deviation %.3f, want 0 and a little over %.2f", mean, deviation, spread)
	}
	if share := float64(absent) / 20_000; share < .08 || share > .22 {
		t.Errorf("nobody else wants %.3f of the impressions, want about 0.14", share)
	}
}

// Clicks are as rare as real ones, and what explains them can be learned: the
// rate differs between creatives, and the truth separates clicks from the rest.
func TestClickTruth(t *testing.T) {
	var means [3]float64
	for seed := range means {
		traffic, market := NewTraffic(TrafficConfig{Seed: uint64(seed), Users: 10_000}), NewMarket(uint64(seed))
		var o Offer
		var low, high float64 = 1, 0
		n := 0
		for i := range 10_000 {
			traffic.Offer(i, marketMonday, &o)
			s := &o.Slots[0]
			if !s.Banner {
				continue
			}
			ad := Ad{LineItem: "line", Creative: [...]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}[i%10], Media: rtb.Banner, Size: s.Sizes[0]}
			p := market.Click(&o, s, &ad)
			low, high = min(low, p), max(high, p)
			means[seed] += p
			n++
		}
		means[seed] /= float64(n)
		if high < 10*low || high > .5 {
			t.Errorf("seed %d: probabilities from %.5f to %.5f", seed, low, high)
		}
		if means[seed] < .004 || means[seed] > .016 {
			t.Errorf("seed %d: mean %.4f, want about 0.01", seed, means[seed])
		}
	}
	o, s := someSlot(t, TrafficConfig{Seed: 1, Users: 1000}, func(o *Offer, s *Slot) bool { return s.Banner && o.User.In("runners") })
	market := NewMarket(1)
	about, other := Ad{Creative: "c", LineItem: "runners"}, Ad{Creative: "c", LineItem: "others"}
	if a, b := market.Click(o, s, &about), market.Click(o, s, &other); a < 1.5*b {
		t.Errorf("a runner clicks an ad for runners with %.4f, another with %.4f, want it clearly higher", a, b)
	}
}
