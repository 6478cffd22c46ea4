package targeting

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

// dice returns a number below n.
type dice func(n int) int

func (d dice) chance(percent int) bool { return d(100) < percent }

func one[T any](d dice, values ...T) T { return values[d(len(values))] }

// some returns a few of the values, or as a rule none.
func some[T any](d dice, percent int, values ...T) []T {
	if !d.chance(percent) {
		return nil
	}
	out := make([]T, 1+d(3))
	for i := range out {
		out[i] = one(d, values...)
	}
	return out
}

func texts(values []string) [][]byte {
	var out [][]byte
	for _, v := range values {
		out = append(out, []byte(v))
	}
	return out
}

var (
	testNow     = time.Date(2026, 3, 29, 0, 59, 30, 0, time.UTC) // a Sunday, before Berlin's clocks change
	testZones   = []*time.Location{time.UTC, mustZone("Europe/Berlin"), mustZone("America/New_York"), mustZone("Asia/Kathmandu")}
	countries   = [][2]byte{{'U', 'S'}, {'D', 'E'}, {'F', 'R'}, {'G', 'B'}, {'J', 'P'}, {'B', 'R'}, {'I', 'N'}, {'C', 'A'}, {'M', 'X'}, {'S', 'E'}}
	domains     = []string{"example.com", "news.example.com", "ample.com", "a.b.news.example.com", "shop.test", "www.shop.test"}
	ibaCategory = []string{"IAB7", "IAB7-39", "IAB70", "IAB1-2", "IAB1", "12", "BSW1", "BSW1-2", "IAB-1"}
	testRates   = rtb.NewRates(rtb.USD, map[rtb.Currency]float64{{'E', 'U', 'R'}: 1.1, {'J', 'P', 'Y'}: 0.007})
)

func mustZone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return loc
}

func randomLineItem(d dice, id int) rtb.LineItem {
	item := rtb.LineItem{
		ID:       rtb.LineItemID(id + 1),
		Slot:     int32(id),
		Location: one(d, testZones...),
		Goal:     rtb.Goal{Type: rtb.GoalCPM, Value: rtb.OneCPM, Max: rtb.OneCPM * rtb.Money(1+d(12))},
		Seat:     one(d, "", "", "", "seat-a", "seat-b"),
	}
	if d.chance(20) {
		item.Flight.Start = testNow.Add(time.Duration(d(5)-2) * time.Hour)
	}
	if d.chance(20) {
		item.Flight.End = testNow.Add(time.Duration(d(5)-1) * time.Hour)
	}
	t := &item.Targeting
	t.SegmentsAny = some[rtb.SegmentID](d, 25, 1, 2, 3, 70, 900)
	if d.chance(10) {
		t.SegmentsAny = append(t.SegmentsAny, rtb.SegmentID(1000+d(40))) // few line items: lists of words
	}
	t.SegmentsAll = some[rtb.SegmentID](d, 10, 1, 2, 3)
	t.SegmentsNone = some[rtb.SegmentID](d, 10, 1, 2, 3, 70)
	t.Countries = some(d, 50, countries...)
	if d.chance(5) {
		t.Countries = slices.Clone(countries)[:maxLocal+d(2)]
	}
	t.Regions = some(d, 5, "CA", "us-CA", "DE-BY", "by", "ny")
	t.Cities = some(d, 5, "Berlin", "MÜNCHEN", " york")
	t.Zips = some(d, 5, "94*", "10115", "SW1A 1AA", "9*", "1*")
	t.Fences = some(d, 5, rtb.Fence{Lat: 52.52, Lon: 13.40, Meters: 5000}, rtb.Fence{Lat: 52.4, Lon: 13.1, Meters: 30_000},
		rtb.Fence{Lat: -17, Lon: 179.99, Meters: 10_000}, rtb.Fence{Lat: 52.52, Lon: 13.41, Meters: 50})
	t.Devices = some[uint8](d, 15, 1, 2, 3, 4, 5)
	t.OS = some(d, 15, rtb.Android, rtb.IOS, rtb.Windows)
	t.Languages = some(d, 10, [2]byte{'e', 'n'}, [2]byte{'d', 'e'})
	t.Connections = some[uint8](d, 10, 1, 2, 6)
	t.Carriers = some(d, 5, "Verizon", "310-410")
	t.AllowDomains = some(d, 8, domains...)
	t.DenyDomains = some(d, 8, domains...)
	t.AllowApps = some(d, 5, "com.example.App", "123456")
	t.DenyApps = some(d, 5, "com.example.app", "654321")
	t.AllowCategories = some(d, 8, ibaCategory...)
	t.DenyCategories = some(d, 8, ibaCategory...)
	t.Deals = some(d, 20, "deal-1", "deal-2", "Deal-1")
	t.Exchanges = some[rtb.ExchangeID](d, 10, 1, 2, 3)
	t.Media = some(d, 15, rtb.Site, rtb.App, rtb.DOOH)
	if d.chance(10) {
		t.Hours.Set = true
		t.UserTime = d.chance(50)
		for range d(100) {
			t.Hours.Add(time.Weekday(d(7)), d(24))
		}
	}
	item.Campaign, item.Advertiser = rtb.CampaignID(1+id%3), rtb.AdvertiserID(1+id%2)
	if d.chance(20) {
		for range 1 + d(2) {
			item.Caps = append(item.Caps, rtb.FrequencyCap{
				Per:   one(d, rtb.CapLineItem, rtb.CapCampaign, rtb.CapAdvertiser, rtb.CapCreative),
				Limit: uint16(1 + d(3)), Window: one(d, time.Hour, 90*time.Second, 24*time.Hour),
			})
		}
	}
	if d.chance(5) {
		item.MinGap = one(d, time.Minute, time.Hour)
	}
	item.Creatives = make([]rtb.Creative, d(4))
	if d.chance(10) {
		item.Creatives = make([]rtb.Creative, 8+d(30))
	}
	item.Rotation, item.Repeat = rtb.Rotation(d(4)), d.chance(50)
	for i := range item.Creatives {
		item.Creatives[i] = randomCreative(d)
		item.Creatives[i].ID = rtb.CreativeID(1 + d(8))
	}
	return item
}

func randomCreative(d dice) rtb.Creative {
	c := rtb.Creative{
		Media:       one(d, rtb.Banner, rtb.Banner, rtb.Banner, rtb.Video, rtb.Video, rtb.Audio, rtb.Native),
		Size:        one(d, rtb.Size{W: 300, H: 250}, rtb.Size{W: 728, H: 90}, rtb.Size{W: 320, H: 50}),
		Mime:        one(d, rtb.ParseMime("image/png"), rtb.ParseMime("text/html")),
		Attributes:  rtb.BitsOf(some[uint8](d, 20, 1, 2, 13)...),
		API:         rtb.BitsOf(some[uint8](d, 20, 1, 5, 7)...),
		BannerType:  one[uint8](d, 1, 2, 3, 4),
		Language:    one(d, "", "en", "de"),
		Secure:      d.chance(80),
		Advertisers: some(d, 90, "brand.test", "shop.brand.test", "other.test"),
		Bundle:      one(d, "", "com.advertised"),
		Categories:  some(d, 70, ibaCategory...),
	}
	if d.chance(80) {
		c.DSA = &rtb.CreativeDSA{}
	}
	if c.Media == rtb.Video || c.Media == rtb.Audio {
		if d.chance(70) {
			c.Size = rtb.Size{}
		}
		c.MimeAll = one(d, rtb.ParseMime("video/mp4"), rtb.ParseMime("video/webm")|rtb.ParseMime("video/mp4"))
		c.Duration = time.Duration(one(d, 0, 6, 15, 15, 30)) * time.Second
		c.Protocol = one[uint8](d, 0, 0, 2, 3, 7)
		c.Bitrate = one[uint32](d, 0, 800, 2000)
		c.Linear = d.chance(80)
		c.Skippable = d.chance(20)
	}
	return c
}

func randomRequest(d dice) (*rtb.Request, *rtb.Profile) {
	req := &rtb.Request{
		Exchange: rtb.ExchangeID(d(4)),
		Inventory: rtb.Inventory{
			Kind:       one(d, rtb.NoInventory, rtb.Site, rtb.Site, rtb.App, rtb.DOOH),
			Domain:     []byte(one(d, "", "example.com", "WWW.News.Example.com", "http://a.b.news.example.com/x", "badexample.com", "shop.test")),
			Bundle:     []byte(one(d, "", "com.example.app", "123456", "com.other")),
			Categories: texts(some(d, 60, ibaCategory...)),
		},
		Device: rtb.Device{
			Type: uint8(d(6)), OS: rtb.OS(d(4)), Connection: uint8(d(7)),
			Language: one(d, [2]byte{}, [2]byte{'e', 'n'}, [2]byte{'d', 'e'}),
			Carrier:  []byte(one(d, "", "VERIZON")), MCCMNC: []byte(one(d, "", "310-410")),
		},
		Geo: rtb.Geo{
			Country: one(d, append([][2]byte{{}, {'U', 'S'}, {'U', 'S'}, {'D', 'E'}, {'Z', 'Z'}}, countries...)...),
			Region:  []byte(one(d, "", "CA", "ca", "US-CA", "by", "DE-BY")),
			City:    []byte(one(d, "", "berlin", "münchen", "York")),
			Zip:     []byte(one(d, "", "94105", "10115", "sw1a1aa")),
			Lat:     one(d, 52.52, 52.45, -17.01), Lon: one(d, 13.40, 13.2, -179.99),
			HasPoint: d.chance(80), Precise: d.chance(80),
			HasOffset: d.chance(50), UTCOffset: one[int16](d, 0, 60, -300, 345, 9000),
		},
		Languages: texts(some(d, 15, "en", "DE-at", "fr")),
		Blocked: rtb.Blocked{
			Categories:  texts(some(d, 30, ibaCategory...)),
			Advertisers: texts(some(d, 30, "brand.test", "WWW.Other.test", "https://shop.brand.test/path", "rand.test", "")),
			Apps:        texts(some(d, 20, "com.Advertised", "com.other", "")),
		},
		Seats:   texts(some(d, 10, "seat-a", "ours", "theirs")),
		NoSeats: texts(some(d, 10, "seat-b", "ours", "theirs")),
	}
	if d.chance(10) {
		req.DSA = rtb.DSA{Present: true, Required: uint8(d(4))}
	}
	user := &rtb.Profile{Segments: some[rtb.SegmentID](d, 70, 1, 2, 3, 70, 900, 5000)}
	if d.chance(50) {
		user.Segments = append(user.Segments, rtb.SegmentID(1000+d(40)), rtb.SegmentID(1000+d(40)))
	}
	if d.chance(85) {
		req.Users = append(req.Users, rtb.UserID{1})
	}
	for range d(6) * d(2) {
		user.Exposures = append(user.Exposures, rtb.Exposure{
			LineItem: rtb.LineItemID(d(12)), Campaign: rtb.CampaignID(d(4)), Advertiser: rtb.AdvertiserID(d(3)), Creative: rtb.CreativeID(d(9)),
			Time: uint32(testNow.Unix() - int64(one(d, 0, 30, 59, 60, 89, 90, 3599, 3600, 86399, 86400))), Count: uint16(1 + d(3)),
		})
	}
	return req, user
}

func randomImp(d dice) *rtb.Imp {
	imp := &rtb.Imp{
		Broken:    d.chance(2),
		Floor:     one(d, 0, 0, rtb.OneCPM, rtb.OneCPM*4, rtb.OneCPM*11),
		FloorCur:  one(d, rtb.Currency{}, rtb.USD, rtb.USD, rtb.Currency{'E', 'U', 'R'}, rtb.Currency{'X', 'Y', 'Z'}),
		Secure:    d.chance(30),
		HasBanner: d.chance(75), HasVideo: d.chance(40), HasAudio: d.chance(10), HasNative: d.chance(20),
		Private: d.chance(15),
	}
	imp.Banner = rtb.BannerSlot{
		Sizes:        some(d, 100, rtb.Size{W: 300, H: 250}, rtb.Size{W: 728, H: 90}, rtb.Size{W: 970, H: 250}),
		AnySize:      d.chance(10),
		BlockedAttrs: rtb.BitsOf(some[uint8](d, 20, 1, 2, 13)...),
		BlockedTypes: rtb.BitsOf(some[uint8](d, 20, 1, 3, 4)...),
		APIs:         rtb.BitsOf(some[uint8](d, 60, 1, 5, 7)...),
	}
	if d.chance(15) {
		imp.Banner.Mimes = one(d, rtb.ParseMime("image/png"), rtb.ParseMime("image/gif"))
	}
	imp.Video = rtb.StreamSlot{
		Mimes:       one(d, 0, rtb.ParseMime("video/webm"), rtb.ParseMime("video/mp4"), rtb.MimeOther),
		Protocols:   rtb.BitsOf(some[uint8](d, 70, 1, 2, 3, 7, 13)...),
		MinDuration: one[uint16](d, 0, 5, 15), MaxDuration: one[uint16](d, 0, 15, 30),
		Durations: some[uint16](d, 20, 6, 15),
		Linearity: uint8(d(3)),
		APIs:      rtb.BitsOf(some[uint8](d, 60, 1, 5, 7)...),
		W:         one[uint16](d, 0, 300), H: one[uint16](d, 0, 250),
		BlockedAttrs: rtb.BitsOf(some[uint8](d, 20, 1, 16)...),
		MinBitrate:   one[uint32](d, 0, 1000), MaxBitrate: one[uint32](d, 0, 1500),
		PodDuration: one[uint16](d, 0, 0, 20),
	}
	imp.Audio = imp.Video
	imp.Native.APIs = imp.Banner.APIs
	imp.Native.BlockedAttrs = imp.Banner.BlockedAttrs
	for range d(3) {
		imp.Deals = append(imp.Deals, rtb.Deal{
			ID:          rtb.Token(one(d, `"deal-1"`, `"deal-2"`, `"deal-9"`)),
			Floor:       one(d, 0, rtb.OneCPM, rtb.OneCPM*7),
			FloorCur:    one(d, rtb.USD, rtb.Currency{'J', 'P', 'Y'}, rtb.Currency{'X', 'Y', 'Z'}),
			Seats:       texts(some(d, 25, "seat-a", "ours", "theirs")),
			Advertisers: texts(some(d, 25, "brand.test", "www.other.test")),
		})
	}
	return imp
}

// compare checks Match and Explain against the reference, and returns how many
// candidates there are.
func compare(t interface {
	Fatalf(format string, args ...any)
	Helper()
}, x *Index, m *Matches, c *Context, imp *rtb.Imp) int {
	t.Helper()
	items := x.LineItems()
	passing := map[*rtb.LineItem]verdict{}
	reasons := make([]rtb.NoBid, len(items))
	seats := ownSeats(items)
	var order []*rtb.LineItem
	furthest := rtb.NotActive
	if len(items) > 0 {
		furthest = rtb.CountryMismatch
	}
	for i := range items {
		v := referenceVerdict(&items[i], seats, c, imp)
		reasons[i] = v.reason
		if v.reason == rtb.BidMade {
			passing[&items[i]] = v
			order = append(order, &items[i])
		}
		if v.reason == rtb.NoUsableImp || i == 0 && v.reason == rtb.SeatNotAllowed || furtherThan(v.reason, furthest) {
			furthest = v.reason
		}
	}
	if len(items) == 0 && (m.offer(imp) != rtb.BidMade) {
		furthest = m.offer(imp)
	}

	x.Match(m, imp)
	want := order[:min(len(order), m.Limit)]
	if len(m.Candidates) != len(want) {
		t.Fatalf("Match found %d candidates, want %d; reason %v", len(m.Candidates), len(want), m.Reason)
	}
	if len(want) == 0 && m.Reason != furthest {
		t.Fatalf("Match gave reason %v, want %v", m.Reason, furthest)
	}
	for i, got := range m.Candidates {
		if got.LineItem != want[i] {
			t.Fatalf("candidate %d is line item %d, want %d", i, got.LineItem.ID, want[i].ID)
		}
		if !slices.Contains(passing[got.LineItem].shows, showing{got.Creative, got.Deal, got.Floor, got.Protocol, got.Size}) {
			t.Fatalf("candidate %d is %+v, want one of %+v", i, got, passing[got.LineItem].shows)
		}
		compareFits(t, m, &got, passing[got.LineItem].shows)
	}
	i := 0
	x.Explain(m, imp, func(item *rtb.LineItem, creative *rtb.Creative, reason rtb.NoBid) {
		if item != &items[i] {
			t.Fatalf("Explain gave line item %d in place %d", item.ID, i)
		}
		if want := reasons[i]; reason != want {
			t.Fatalf("Explain gave line item %d (%+v) the reason %v, want %v", item.ID, item, reason, want)
		}
		i++
	})
	if i != len(items) {
		t.Fatalf("Explain gave %d line items, want %d", i, len(items))
	}
	return len(want)
}

// compareFits checks the creatives that are kept, and the one that a sequence
// has come to, against all that fit.
func compareFits(t interface {
	Fatalf(format string, args ...any)
	Helper()
}, m *Matches, c *Candidate, all []showing) {
	t.Helper()
	fits, next := m.Fits(c), 0
	if want := min(len(all), MaxFits); len(fits) != want && !(len(fits) == 0 && want == 1) {
		t.Fatalf("%d creatives are kept, want %d", len(fits), want)
	}
	for _, f := range fits {
		s := showing{f.Creative, f.Deal, f.Floor, f.Protocol, f.Size}
		at := slices.Index(all[next:], s)
		if at < 0 {
			t.Fatalf("%+v is kept out of order, or does not fit: %+v", s, all)
		}
		next += at + 1
	}
	if c.LineItem.Rotation != rtb.RotateSequence {
		return
	}
	step := 0
	if m.context.User != nil && len(m.context.Request.Users) > 0 {
		for _, e := range m.context.User.Exposures {
			age := m.context.Now.Unix() - int64(e.Time)
			if (e.LineItem == c.LineItem.ID || e.LineItem == 0) && age >= 0 && age < 30*24*3600 {
				step += int(e.Count)
			}
		}
	}
	if step >= len(all) {
		if step = step % len(all); !c.LineItem.Repeat {
			step = len(all) - 1
		}
	}
	if got := (showing{c.Creative, c.Deal, c.Floor, c.Protocol, c.Size}); got != all[step] {
		t.Fatalf("a sequence shows %+v, want the creative %d of %+v", got, step, all)
	}
}

func testContext(req *rtb.Request, user *rtb.Profile) *Context {
	return &Context{
		Request: req, User: user, Now: testNow, Rates: testRates, Seat: "ours", Coin: 42,
		Admit: func(slot int32, _ uint32) rtb.NoBid {
			switch slot % 7 {
			case 3:
				return rtb.PacedOut
			case 5:
				return rtb.NoticesMissing
			}
			return rtb.BidMade
		},
		Fit: func(c *rtb.Creative, _ *rtb.Imp) rtb.NoBid {
			if c.Size.W == 728 {
				return rtb.NativeAssetsMismatch
			}
			return rtb.BidMade
		},
	}
}

// Match finds what a linear scan with plain comparisons finds, in few line
// items that shrink well.
func TestMatchEqualsReference(t *testing.T) {
	var m Matches
	rapid.Check(t, func(t *rapid.T) {
		d := dice(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "") })
		items := make([]rtb.LineItem, d(6))
		for i := range items {
			items[i] = randomLineItem(d, i)
		}
		x, err := Build(items)
		if err != nil {
			t.Fatalf("Build: %v", err)
		}
		m.Limit = 1 + d(4)
		req, user := randomRequest(d)
		x.Begin(&m, testContext(req, user))
		for range 1 + d(2) {
			compare(t, x, &m, testContext(req, user), randomImp(d))
		}
	})
}

// The same with so many line items that partitions have several blocks, and
// with Matches that go from one Index to another.
func TestMatchEqualsReferenceAtScale(t *testing.T) {
	var m Matches
	for seed := range uint64(9) {
		d := dice(rand.New(rand.NewPCG(seed, 0)).IntN)
		items := make([]rtb.LineItem, []int{6000, 300, 30}[seed%3])
		for i := range items {
			items[i] = randomLineItem(d, i)
		}
		x, err := Build(items)
		if err != nil {
			t.Fatalf("Build: %v", err)
		}
		for range 30 {
			m.Limit = one(d, 1, 3, 16, 64, 10_000)
			req, user := randomRequest(d)
			c := testContext(req, user)
			if d.chance(20) {
				c.Admit = func(int32, uint32) rtb.NoBid { return rtb.PacedOut }
			}
			x.Begin(&m, c)
			for range 2 {
				compare(t, x, &m, c, randomImp(d))
			}
		}
	}
}

// A bitset of a late check must not hide how far line items came: here most
// fail by deal, kind or size, and little passes.
func TestReasonIsTheFurthest(t *testing.T) {
	d := dice(newRand(7).IntN)
	reasons := map[rtb.NoBid]int{}
	var m Matches
	for range 1500 {
		items := make([]rtb.LineItem, 1+d(4))
		for i := range items {
			item := newSituation().item
			item.ID, item.Slot = rtb.LineItemID(i+1), int32(i)
			item.Goal.Max = rtb.OneCPM * rtb.Money(1+d(3))
			t := &item.Targeting
			t.Deals = some(d, 50, "deal-1", "deal-2")
			t.Media = some(d, 70, rtb.App, rtb.DOOH, rtb.Site)
			t.SegmentsNone = some[rtb.SegmentID](d, 20, 1)
			t.DenyDomains = some(d, 30, "example.com")
			t.Zips = some(d, 20, "1*")
			item.Creatives[0].Size.W = one[uint16](d, 300, 728, 970)
			item.Creatives[0].Secure = d.chance(30)
			if d.chance(20) {
				item.Flight.End = testNow
			}
			items[i] = *item
		}
		x, err := Build(items)
		if err != nil {
			t.Fatal(err)
		}
		s := newSituation()
		s.imp.Private, s.imp.Secure = d.chance(30), true
		s.imp.Floor = rtb.OneCPM * rtb.Money(d(4))
		s.imp.FloorCur = one(d, rtb.USD, rtb.USD, rtb.UnknownCurrency)
		s.user.Segments = []rtb.SegmentID{1}
		s.c.Admit = func(int32, uint32) rtb.NoBid { return rtb.BidMade }
		s.imp.Deals = []rtb.Deal{{ID: rtb.Token(`"deal-1"`), Seats: texts(some(d, 40, "theirs"))}}
		m.Limit = DefaultLimit
		x.Begin(&m, s.c)
		compare(t, x, &m, s.c, s.imp)
		reasons[m.Reason]++
	}
	for _, reason := range []rtb.NoBid{rtb.SegmentExcluded, rtb.DealMissing, rtb.SeatNotAllowed, rtb.CurrencyUnknown, rtb.FloorTooHigh,
		rtb.OutOfFlight, rtb.ZipMismatch, rtb.InventoryDenied, rtb.InventoryKindMismatch, rtb.SizeMismatch, rtb.NotSecure} {
		if reasons[reason] == 0 {
			t.Errorf("never was %v the furthest", reason)
		}
	}
}

// Segments, deals and sizes that few of many line items name are kept as lists,
// which every imp reads from the beginning.
func TestRareValues(t *testing.T) {
	d := dice(newRand(8).IntN)
	items := make([]rtb.LineItem, 3000)
	for i := range items {
		item := newSituation().item
		item.ID, item.Slot = rtb.LineItemID(i+1), int32(i)
		item.Targeting.SegmentsAny = []rtb.SegmentID{rtb.SegmentID(d(300))}
		if d.chance(30) {
			item.Targeting.Deals = []string{string('a' + rune(d(26)))}
		}
		item.Creatives[0].Size.H = uint16(1 + d(40))
		items[i] = *item
	}
	x, err := Build(items)
	if err != nil {
		t.Fatal(err)
	}
	var m Matches
	found := 0
	for range 100 {
		s := newSituation()
		s.c.Admit = func(int32, uint32) rtb.NoBid { return rtb.BidMade }
		for range 30 {
			s.user.Segments = append(s.user.Segments, rtb.SegmentID(d(300)))
		}
		m.Limit = one(d, 2, 5000)
		x.Begin(&m, s.c)
		for range 3 {
			s.imp.Deals, s.imp.Banner.Sizes = nil, nil
			for range d(4) {
				s.imp.Deals = append(s.imp.Deals, rtb.Deal{ID: rtb.Token{'"', 'a' + byte(d(26)), '"'}})
			}
			for range 1 + d(3) {
				s.imp.Banner.Sizes = append(s.imp.Banner.Sizes, rtb.Size{W: 300, H: uint16(1 + d(40))})
			}
			found += compare(t, x, &m, s.c, s.imp)
		}
	}
	if found < 1000 {
		t.Errorf("%d candidates in all, so little was compared", found)
	}
}
