package targeting

import (
	"fmt"
	"math"
	"testing"
	"time"

	"bidwell/rtb"
)

// situation is a request for a banner and the line item that wins it.
type situation struct {
	item *rtb.LineItem
	req  *rtb.Request
	imp  *rtb.Imp
	user *rtb.Profile
	c    *Context
}

func newSituation() *situation {
	s := &situation{
		item: &rtb.LineItem{ID: 1, Key: "line", Location: time.UTC,
			Goal: rtb.Goal{Type: rtb.GoalCPM, Value: 5 * rtb.OneCPM, Max: 5 * rtb.OneCPM},
			Creatives: []rtb.Creative{{Key: "banner", Media: rtb.Banner, Size: rtb.Size{W: 300, H: 250}, Secure: true,
				Advertisers: []string{"brand.test"}, Categories: []string{"IAB7-39"}}}},
		req: &rtb.Request{Geo: rtb.Geo{Country: [2]byte{'U', 'S'}}, Inventory: rtb.Inventory{Kind: rtb.Site, Domain: []byte("example.com")}},
		imp: &rtb.Imp{HasBanner: true, Floor: rtb.OneCPM, FloorCur: rtb.USD,
			Banner: rtb.BannerSlot{Sizes: []rtb.Size{{W: 300, H: 250}}}},
		user: &rtb.Profile{},
	}
	s.c = &Context{Request: s.req, User: s.user, Now: testNow, Rates: testRates, Seat: "ours", Coin: 1}
	return s
}

func (s *situation) toVideo() {
	s.item.Creatives[0] = rtb.Creative{Media: rtb.Video, Secure: true, Linear: true, Duration: 15 * time.Second,
		MimeAll: rtb.ParseMime("video/mp4") | rtb.ParseMime("video/webm")}
	s.imp.HasBanner, s.imp.HasVideo = false, true
}

func TestReasons(t *testing.T) {
	type S = *situation
	tests := []struct {
		name string
		set  func(s S)
		want rtb.NoBid
	}{
		{"nothing asked", func(S) {}, rtb.BidMade},
		{"broken imp", func(s S) { s.imp.Broken = true }, rtb.NoUsableImp},
		{"imp with nothing to sell", func(s S) { s.imp.HasBanner = false }, rtb.NoUsableImp},

		{"segment line item, unknown user", func(s S) { s.item.Targeting.SegmentsAny = []rtb.SegmentID{7}; s.c.User = nil }, rtb.SegmentMissing},
		{"segment line item, user without segments", func(s S) { s.item.Targeting.SegmentsAny = []rtb.SegmentID{7} }, rtb.SegmentMissing},
		{"all-segments line item, user without segments", func(s S) { s.item.Targeting.SegmentsAll = []rtb.SegmentID{7} }, rtb.SegmentMissing},
		{"all segments but one", func(s S) {
			s.item.Targeting.SegmentsAll, s.user.Segments = []rtb.SegmentID{7, 8}, []rtb.SegmentID{7, 7, 9}
		}, rtb.SegmentMissing},
		{"segment zero is a segment like others", func(s S) { s.item.Targeting.SegmentsAny = []rtb.SegmentID{0} }, rtb.SegmentMissing},
		{"excluded segment", func(s S) {
			s.item.Targeting.SegmentsNone, s.user.Segments = []rtb.SegmentID{7}, []rtb.SegmentID{3, 7}
		}, rtb.SegmentExcluded},
		{"excluded segment, unknown user", func(s S) { s.item.Targeting.SegmentsNone = []rtb.SegmentID{7}; s.c.User = nil }, rtb.BidMade},

		{"no country in the request, none wanted", func(s S) { s.req.Geo = rtb.Geo{} }, rtb.BidMade},
		{"no country in the request, one wanted", func(s S) { s.req.Geo = rtb.Geo{}; s.item.Targeting.Countries = countries[:1] }, rtb.CountryMismatch},
		{"many countries, this one not", func(s S) { s.item.Targeting.Countries = countries[1:] }, rtb.CountryMismatch},
		{"many countries, this one too", func(s S) { s.item.Targeting.Countries = countries }, rtb.BidMade},
		{"unknown device, one wanted", func(s S) { s.item.Targeting.Devices = []uint8{4} }, rtb.DeviceMismatch},
		{"unknown language, one wanted", func(s S) { s.item.Targeting.Languages = [][2]byte{{'e', 'n'}} }, rtb.LanguageMismatch},

		{"hours set but empty", func(s S) { s.item.Targeting.Hours.Set = true }, rtb.OutOfHours},
		{"hours not set", func(s S) { s.item.Targeting.Hours = rtb.WeekHours{Bits: [3]uint64{}} }, rtb.BidMade},
		{"flight begins now", func(s S) { s.item.Flight.Start = testNow }, rtb.BidMade},
		{"flight begins next", func(s S) { s.item.Flight.Start = testNow.Add(1) }, rtb.OutOfFlight},
		{"flight ends now", func(s S) { s.item.Flight.End = testNow }, rtb.OutOfFlight},
		{"flight ends next", func(s S) { s.item.Flight.End = testNow.Add(1) }, rtb.BidMade},
		{"flight ends in year 9999", func(s S) { s.item.Flight.End = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }, rtb.BidMade},
		{"flight began in year 1", func(s S) { s.item.Flight.Start = time.Date(1, 2, 1, 0, 0, 0, 0, time.UTC) }, rtb.BidMade},

		{"region of another country", func(s S) { s.item.Targeting.Regions = []string{"US-CA"}; s.req.Geo.Region = []byte("DE-CA") }, rtb.RegionMismatch},
		{"region in full", func(s S) { s.item.Targeting.Regions = []string{"us-ca"}; s.req.Geo.Region = []byte("CA") }, rtb.BidMade},
		{"region without a country", func(s S) {
			s.item.Targeting.Regions = []string{"CA"}
			s.req.Geo = rtb.Geo{Region: []byte("CA")}
		}, rtb.RegionMismatch},
		{"city folded", func(s S) { s.item.Targeting.Cities = []string{"MÜNCHEN"}; s.req.Geo.City = []byte("münchen") }, rtb.BidMade},
		{"city unknown", func(s S) { s.item.Targeting.Cities = []string{"Berlin"} }, rtb.CityMismatch},
		{"zip by its beginning", func(s S) { s.item.Targeting.Zips = []string{"941*"}; s.req.Geo.Zip = []byte("94105") }, rtb.BidMade},
		{"zip is not a beginning by itself", func(s S) { s.item.Targeting.Zips = []string{"941"}; s.req.Geo.Zip = []byte("94105") }, rtb.ZipMismatch},
		{"zip shorter than the beginning", func(s S) { s.item.Targeting.Zips = []string{"94105*"}; s.req.Geo.Zip = []byte("941") }, rtb.ZipMismatch},
		{"any zip will do, but there is none", func(s S) { s.item.Targeting.Zips = []string{"*"} }, rtb.ZipMismatch},
		{"zip with a gap", func(s S) { s.item.Targeting.Zips = []string{"SW1A*"}; s.req.Geo.Zip = []byte("sw 1a-1aa") }, rtb.BidMade},

		{"inside the fence", func(s S) { s.fence(52.52, 13.40, true) }, rtb.BidMade},
		{"outside the fence", func(s S) { s.fence(52.60, 13.40, true) }, rtb.OutsideFence},
		{"inside, but by IP address", func(s S) { s.fence(52.52, 13.40, false) }, rtb.OutsideFence},
		{"fence, no point", func(s S) { s.fence(0, 0, true); s.req.Geo.HasPoint = false }, rtb.OutsideFence},

		{"carrier by number", func(s S) { s.item.Targeting.Carriers = []string{"310-410"}; s.req.Device.MCCMNC = []byte("310-410") }, rtb.BidMade},
		{"denied domain covers subdomains", func(s S) {
			s.item.Targeting.DenyDomains, s.req.Inventory.Domain = []string{"Example.com"}, []byte("www.a.example.COM")
		}, rtb.InventoryDenied},
		{"denied domain ends at a label", func(s S) {
			s.item.Targeting.DenyDomains, s.req.Inventory.Domain = []string{"example.com"}, []byte("badexample.com")
		}, rtb.BidMade},
		{"subdomain denied, domain is not", func(s S) { s.item.Targeting.DenyDomains = []string{"a.example.com"} }, rtb.BidMade},
		{"allowed domains, none known", func(s S) {
			s.item.Targeting.AllowDomains, s.req.Inventory.Domain = []string{"example.com"}, nil
		}, rtb.InventoryDenied},
		{"allowed app or domain", func(s S) {
			s.item.Targeting.AllowApps, s.item.Targeting.AllowDomains = []string{"com.x"}, []string{"example.com"}
		}, rtb.BidMade},
		{"denied app in other case", func(s S) {
			s.item.Targeting.DenyApps, s.req.Inventory.Bundle = []string{"com.X"}, []byte("COM.x")
		}, rtb.InventoryDenied},
		{"denied category covers children", func(s S) {
			s.item.Targeting.DenyCategories, s.req.Inventory.Categories = []string{"IAB7"}, texts([]string{"IAB1", "IAB7-39"})
		}, rtb.CategoryDenied},
		{"denied child does not cover its parent", func(s S) {
			s.item.Targeting.DenyCategories, s.req.Inventory.Categories = []string{"IAB7-39"}, texts([]string{"IAB7", "IAB7-3"})
		}, rtb.BidMade},
		{"allowed category, none known", func(s S) { s.item.Targeting.AllowCategories = []string{"IAB7"} }, rtb.CategoryDenied},
		{"inventory of another kind", func(s S) { s.item.Targeting.Media = []rtb.InventoryKind{rtb.App} }, rtb.InventoryKindMismatch},

		{"deal line item, open auction", func(s S) { s.item.Targeting.Deals = []string{"D"} }, rtb.DealMissing},
		{"open line item, private auction", func(s S) { s.imp.Private = true }, rtb.DealMissing},
		{"deal line item, deal on offer", func(s S) { s.deal() }, rtb.BidMade},
		{"deal id in other case", func(s S) { s.deal().ID = rtb.Token(`"d"`) }, rtb.DealMissing},
		{"deal for another seat", func(s S) { s.deal().Seats = texts([]string{"theirs"}) }, rtb.SeatNotAllowed},
		{"deal for the exchange's seat", func(s S) { s.deal().Seats = texts([]string{"ours"}) }, rtb.BidMade},
		{"deal for the exchange's seat, line item has its own", func(s S) {
			s.deal().Seats = texts([]string{"ours"})
			s.item.Seat = "other"
		}, rtb.SeatNotAllowed},
		{"deal for another advertiser", func(s S) { s.deal().Advertisers = texts([]string{"else.test"}) }, rtb.AdvertiserBlocked},
		{"deal for this advertiser", func(s S) { s.deal().Advertisers = texts([]string{"www.Brand.test"}) }, rtb.BidMade},
		{"deal above the ceiling", func(s S) { s.deal().Floor = 6 * rtb.OneCPM }, rtb.FloorTooHigh},
		{"deal in an unknown currency", func(s S) { d := s.deal(); d.Floor, d.FloorCur = 1, rtb.Currency{'X', 'Y', 'Z'} }, rtb.CurrencyUnknown},
		{"deal below a floor too high", func(s S) { s.deal().Floor = rtb.OneCPM; s.imp.Floor = 9 * rtb.OneCPM }, rtb.BidMade},
		{"deal without a floor has that of the imp", func(s S) { s.deal(); s.imp.Floor = 9 * rtb.OneCPM }, rtb.FloorTooHigh},
		{"wseat without us", func(s S) { s.req.Seats = texts([]string{"theirs"}) }, rtb.SeatNotAllowed},
		{"bseat with us", func(s S) { s.req.NoSeats = texts([]string{"ours"}) }, rtb.SeatNotAllowed},
		{"wseat, and no seat of ours is known", func(s S) { s.req.Seats = texts([]string{""}); s.c.Seat = "" }, rtb.SeatNotAllowed},

		{"floor at the ceiling", func(s S) { s.imp.Floor = 5 * rtb.OneCPM }, rtb.BidMade},
		{"floor above the ceiling", func(s S) { s.imp.Floor = 5*rtb.OneCPM + 1 }, rtb.FloorTooHigh},
		{"floor above it once converted", func(s S) { s.imp.Floor, s.imp.FloorCur = 4_600_000, rtb.Currency{'E', 'U', 'R'} }, rtb.FloorTooHigh},
		{"largest floor there is", func(s S) { s.imp.Floor = rtb.MaxMoney }, rtb.FloorTooHigh},
		{"floor below zero", func(s S) { s.imp.Floor = -1 }, rtb.BidMade},
		{"unknown currency", func(s S) { s.imp.FloorCur = rtb.Currency{'X', 'Y', 'Z'} }, rtb.CurrencyUnknown},
		{"unknown currency, no floor", func(s S) { s.imp.Floor, s.imp.FloorCur = 0, rtb.UnknownCurrency }, rtb.CurrencyUnknown},

		{"no creatives", func(s S) { s.item.Creatives = nil }, rtb.MediaMismatch},
		{"other size", func(s S) { s.imp.Banner.Sizes[0].W = 301 }, rtb.SizeMismatch},
		{"any size", func(s S) { s.imp.Banner = rtb.BannerSlot{AnySize: true} }, rtb.BidMade},
		{"no sizes at all", func(s S) { s.imp.Banner.Sizes = nil }, rtb.SizeMismatch},
		{"banner type blocked", func(s S) {
			s.item.Creatives[0].BannerType, s.imp.Banner.BlockedTypes = 3, rtb.BitsOf(1, 3)
		}, rtb.AttributeBlocked},
		{"framework that the slot lacks", func(s S) { s.item.Creatives[0].API = rtb.BitsOf(5, 7); s.imp.Banner.APIs = rtb.BitsOf(5) }, rtb.APIMismatch},
		{"unknown types of media only", func(s S) { s.imp.Banner.Mimes = rtb.MimeOther }, rtb.MimeMismatch},
		{"blocked parent category", func(s S) { s.req.Blocked.Categories = texts([]string{"IAB7"}) }, rtb.CreativeCategoryBlocked},
		{"blocked sibling category", func(s S) { s.req.Blocked.Categories = texts([]string{"IAB7-3", "IAB"}) }, rtb.BidMade},
		{"blocked advertiser as a URL", func(s S) { s.req.Blocked.Advertisers = texts([]string{"HTTPS://www.Brand.test/x"}) }, rtb.AdvertiserBlocked},
		{"blocked subdomain of the advertiser", func(s S) { s.req.Blocked.Advertisers = texts([]string{"shop.brand.test"}) }, rtb.BidMade},
		{"blocked app", func(s S) { s.item.Creatives[0].Bundle = "com.App"; s.req.Blocked.Apps = texts([]string{"com.app"}) }, rtb.AppBlocked},
		{"blocked app, and advertisers of others", func(s S) {
			s.item.Creatives[0].Bundle = "com.app"
			s.req.Blocked.Apps, s.req.Blocked.Advertisers = texts([]string{"com.app"}), texts([]string{"else.test"})
		}, rtb.AppBlocked},
		{"blocked advertiser, and categories of others", func(s S) {
			s.req.Blocked.Advertisers, s.req.Blocked.Categories = texts([]string{"brand.test"}), texts([]string{"IAB1"})
		}, rtb.AdvertiserBlocked},
		{"not secure", func(s S) { s.imp.Secure, s.item.Creatives[0].Secure = true, false }, rtb.NotSecure},
		{"other language", func(s S) { s.item.Creatives[0].Language = "de"; s.req.Languages = texts([]string{"en-US"}) }, rtb.CreativeLanguage},
		{"language with its region", func(s S) { s.item.Creatives[0].Language = "en"; s.req.Languages = texts([]string{"EN-us"}) }, rtb.BidMade},
		{"transparency asked", func(s S) { s.req.DSA.Required = 2 }, rtb.TransparencyMissing},
		{"transparency supported", func(s S) { s.req.DSA.Required = 1 }, rtb.BidMade},
		{"transparency given", func(s S) { s.req.DSA.Required = 3; s.item.Creatives[0].DSA = &rtb.CreativeDSA{} }, rtb.BidMade},

		{"video without mimes", func(s S) { s.toVideo() }, rtb.BidMade},
		{"video, one mime of two", func(s S) { s.toVideo(); s.imp.Video.Mimes = rtb.ParseMime("video/webm") }, rtb.BidMade},
		{"video for a banner", func(s S) { s.toVideo(); s.imp.HasBanner, s.imp.HasVideo = true, false }, rtb.MediaMismatch},
		{"video too long", func(s S) { s.toVideo(); s.imp.Video.MaxDuration = 14 }, rtb.DurationMismatch},
		{"video as long as the longest", func(s S) { s.toVideo(); s.imp.Video.MaxDuration = 15 }, rtb.BidMade},
		{"video too short", func(s S) { s.toVideo(); s.imp.Video.MinDuration = 16 }, rtb.DurationMismatch},
		{"exact durations instead of the range", func(s S) {
			s.toVideo()
			s.imp.Video.Durations, s.imp.Video.MaxDuration = []uint16{15}, 5
		}, rtb.BidMade},
		{"video longer than the pod", func(s S) { s.toVideo(); s.imp.Video.PodDuration = 10 }, rtb.DurationMismatch},
		{"unknown duration, limited slot", func(s S) { s.toVideo(); s.item.Creatives[0].Duration = 0; s.imp.Video.MaxDuration = 30 }, rtb.DurationMismatch},
		{"protocols we do not make", func(s S) { s.toVideo(); s.imp.Video.Protocols = rtb.BitsOf(1, 5, 6) }, rtb.ProtocolMismatch},
		{"non-linear slot", func(s S) { s.toVideo(); s.imp.Video.Linearity = 2 }, rtb.PlacementMismatch},
		{"bitrate too high", func(s S) { s.toVideo(); s.item.Creatives[0].Bitrate = 900; s.imp.Video.MaxBitrate = 800 }, rtb.PlacementMismatch},
		{"skippable where that is blocked", func(s S) {
			s.toVideo()
			s.item.Creatives[0].Skippable, s.imp.Video.BlockedAttrs = true, rtb.BitsOf(16)
		}, rtb.AttributeBlocked},

		{"native that fits", func(s S) { s.native(rtb.BidMade) }, rtb.BidMade},
		{"native that lacks an asset", func(s S) { s.native(rtb.NativeAssetsMismatch) }, rtb.NativeAssetsMismatch},
		{"native and nothing to compare it with", func(s S) { s.native(rtb.BidMade); s.c.Fit = nil }, rtb.NativeAssetsMismatch},
		{"paced out", func(s S) { s.c.Admit = func(int32, uint32) rtb.NoBid { return rtb.PacedOut } }, rtb.PacedOut},
		{"notices are missing", func(s S) { s.c.Admit = func(int32, uint32) rtb.NoBid { return rtb.NoticesMissing } }, rtb.NoticesMissing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSituation()
			tt.set(s)
			x, err := Build([]rtb.LineItem{*s.item})
			if err != nil {
				t.Fatal(err)
			}
			var m Matches
			x.Begin(&m, s.c)
			x.Match(&m, s.imp)
			if m.Reason != tt.want || len(m.Candidates) == 1 != (tt.want == rtb.BidMade) {
				t.Errorf("Match gives %v and %d candidates, want %v", m.Reason, len(m.Candidates), tt.want)
			}
			x.Explain(&m, s.imp, func(_ *rtb.LineItem, _ *rtb.Creative, reason rtb.NoBid) {
				if reason != tt.want {
					t.Errorf("Explain gives %v, want %v", reason, tt.want)
				}
			})
		})
	}
}

func (s *situation) fence(lat, lon float64, precise bool) {
	s.item.Targeting.Fences = []rtb.Fence{{Lat: 52.52, Lon: 13.405, Meters: 1000}}
	s.req.Geo.Lat, s.req.Geo.Lon, s.req.Geo.HasPoint, s.req.Geo.Precise = lat, lon, true, precise
}

func (s *situation) deal() *rtb.Deal {
	s.item.Targeting.Deals = []string{"D"}
	d := s.imp.AddDeal()
	d.ID = rtb.Token(`"D"`)
	return d
}

func (s *situation) native(reason rtb.NoBid) {
	s.item.Creatives[0].Media = rtb.Native
	s.imp.HasBanner, s.imp.HasNative = false, true
	s.c.Fit = func(*rtb.Creative, *rtb.Imp) rtb.NoBid { return reason }
}

func TestHoursFollowTheClocks(t *testing.T) {
	// Berlin went from 01:59 to 03:00 on this Sunday, and back in October.
	before := time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC)
	october := time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC)
	tests := []struct {
		name   string
		now    time.Time
		offset int16
		known  bool
		user   bool
		hour   int // the only one of Sunday that may serve
		want   bool
	}{
		{"before the change", before, 0, false, false, 1, true},
		{"after the change", before.Add(time.Second), 0, false, false, 3, true},
		{"the hour that is left out", before.Add(time.Second), 0, false, false, 2, false},
		{"the hour that comes twice", october.Add(-time.Hour), 0, false, false, 2, true},
		{"and again", october, 0, false, false, 2, true},
		{"and then the next", october.Add(time.Hour), 0, false, false, 3, true},
		{"the user's", before, -60, true, true, 23, false}, // it is Saturday there
		{"the user's, east", before, 330, true, true, 6, true},
		{"the user's unknown", before, 0, false, true, 1, true},
		{"the user's known, but not asked", before, 330, true, false, 1, true},
		{"no offset in use", before, 5000, true, true, 1, true},
	}
	var m Matches
	s := newSituation()
	s.item.Location = testZones[1]
	for _, tt := range tests {
		s.item.Targeting.Hours = rtb.WeekHours{}
		s.item.Targeting.Hours.Add(time.Sunday, tt.hour)
		s.item.Targeting.UserTime = tt.user
		s.req.Geo.HasOffset, s.req.Geo.UTCOffset = tt.known, tt.offset
		s.c.Now = tt.now
		x, err := Build([]rtb.LineItem{*s.item})
		if err != nil {
			t.Fatal(err)
		}
		x.Begin(&m, s.c)
		if x.Match(&m, s.imp); len(m.Candidates) == 1 != tt.want {
			t.Errorf("%s: Match gives %v, want a bid: %t", tt.name, m.Reason, tt.want)
		}
	}
}

// One clock asked again and again, as it is by a scratch that lives on, says
// what the standard library says.
func TestClockAgreesWithTime(t *testing.T) {
	zones := append([]*time.Location{mustZone("Australia/Lord_Howe"), mustZone("Asia/Kolkata")}, testZones...)
	for _, zone := range zones {
		var c clock
		for now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC); now.Year() == 2026; now = now.Add(7*time.Minute + 13*time.Second) {
			local := now.In(zone)
			if got, want := c.at(now, zone), int(local.Weekday())*24+local.Hour(); got != want {
				t.Fatalf("%s at %s: hour %d, want %d", zone, local, got, want)
			}
		}
	}
	for _, now := range []time.Time{testNow, time.Date(1969, 12, 31, 23, 30, 0, 0, time.UTC), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for offset := int16(minOffset); offset <= maxOffset; offset += 15 {
			local := now.In(time.FixedZone("", int(offset)*60))
			if got, want := hourAt(now, offset), int(local.Weekday())*24+local.Hour(); got != want {
				t.Fatalf("hourAt(%s, %d) = %d, want %d", now, offset, got, want)
			}
		}
	}
}

func TestClocksAreShared(t *testing.T) {
	s := newClockSet()
	berlin := s.number(mustZone("Europe/Berlin"))
	if again := s.number(mustZone("Europe/Berlin")); again != berlin {
		t.Errorf("the same zone has the numbers %d and %d", berlin, again)
	}
	if a, b := s.number(time.FixedZone("X", 3600)), s.number(time.FixedZone("X", 7200)); a == b {
		t.Error("two zones of one name have one number")
	}
	if utc := s.number(nil); s.list[utc] != time.UTC {
		t.Error("no zone is not UTC")
	}
}

// The fences of a line item say what measuring every one of them says, also
// where cells are odd: poles, the date line, cube edges, and half the globe.
func TestFences(t *testing.T) {
	d := dice(newRand(9).IntN)
	places := [][2]float64{{52.52, 13.40}, {0, 0}, {90, 0}, {-90, 10}, {-17, 180}, {-17, -179.99}, {45, 45}, {35.26, 45}, {0, 135}}
	near := func(scale float64) (lat, lon float64) {
		p := one(d, places...)
		lat = p[0] + (float64(d(2001))/1000-1)*scale
		lon = p[1] + (float64(d(2001))/1000-1)*scale
		return math.Max(-90, math.Min(90, lat)), math.Max(-180, math.Min(180, lon))
	}
	inside := 0
	for range 200 {
		scale := one(d, 0.001, 0.05, 1.0, 20.0)
		var list []rtb.Fence
		for range 1 + d(30) {
			lat, lon := near(scale)
			list = append(list, rtb.Fence{Lat: lat, Lon: lon, Meters: scale * float64(1+d(60_000))})
		}
		if d.chance(5) {
			list = append(list, rtb.Fence{Lat: 10, Lon: 10, Meters: 12_000_000})
		}
		var f fences
		if err := f.build(list); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			lat, lon := near(scale)
			want := false
			for _, fence := range list {
				want = want || haversine(fence.Lat, fence.Lon, lat, lon) <= fence.Meters
			}
			if got := f.contain(pointOf(lat, lon), leafOf(lat, lon)); got != want {
				t.Fatalf("%v, %v inside %v: %t, want %t", lat, lon, list, got, want)
			}
			if want {
				inside++
			}
		}
	}
	if inside < 500 || inside > 9500 {
		t.Errorf("%d of 10000 points are inside, so little was tested", inside)
	}
}

// Creatives take turns, all that fit and only those.
func TestCreativesRotate(t *testing.T) {
	s := newSituation()
	fits := s.item.Creatives[0]
	wide := fits
	wide.Size = rtb.Size{W: 728, H: 90}
	s.item.Creatives = []rtb.Creative{wide, fits, wide, wide, fits, fits}
	x, err := Build([]rtb.LineItem{*s.item})
	if err != nil {
		t.Fatal(err)
	}
	shown := map[*rtb.Creative]int{}
	var m Matches
	r := newRand(4)
	for range 3000 {
		s.c.Coin = r.Uint64()
		x.Begin(&m, s.c)
		x.Match(&m, s.imp)
		shown[m.Candidates[0].Creative]++
	}
	for i := range s.item.Creatives {
		got := shown[&s.item.Creatives[i]]
		if fitting := i == 1 || i >= 4; fitting && (got < 850 || got > 1150) || !fitting && got > 0 {
			t.Errorf("creative %d is shown %d times of 3000", i, got)
		}
	}
}

func TestProtocolIsTheNewestOfBoth(t *testing.T) {
	tests := []struct {
		slot rtb.Bits
		own  uint8
		want uint8
	}{
		{0, 0, 3}, {0, 7, 7}, {rtb.BitsOf(2, 3, 5, 6), 0, 3}, {rtb.BitsOf(2, 3, 7, 11), 0, 11},
		{rtb.BitsOf(13, 2, 15), 0, 13}, {rtb.BitsOf(2, 3), 2, 2},
	}
	var m Matches
	for _, tt := range tests {
		s := newSituation()
		s.toVideo()
		s.imp.Video.Protocols, s.item.Creatives[0].Protocol = tt.slot, tt.own
		x, err := Build([]rtb.LineItem{*s.item})
		if err != nil {
			t.Fatal(err)
		}
		x.Begin(&m, s.c)
		if x.Match(&m, s.imp); len(m.Candidates) != 1 || m.Candidates[0].Protocol != tt.want {
			t.Errorf("slot %b, creative %d: %+v, want protocol %d", tt.slot, tt.own, m.Candidates, tt.want)
		}
	}
}

// A publisher may block a hundred thousand advertisers.
func TestLongBlocklist(t *testing.T) {
	s := newSituation()
	for i := range 100_000 {
		s.req.Blocked.Advertisers = append(s.req.Blocked.Advertisers, []byte(fmt.Sprintf("www.no%d.test", i)))
		s.req.Blocked.Categories = append(s.req.Blocked.Categories, []byte(fmt.Sprintf("IAB%d-%d", i, i)))
	}
	x, err := Build([]rtb.LineItem{*s.item})
	if err != nil {
		t.Fatal(err)
	}
	var m Matches
	x.Begin(&m, s.c)
	if x.Match(&m, s.imp); m.Reason != rtb.BidMade {
		t.Errorf("an advertiser who is not on the list: %v", m.Reason)
	}
	s.req.Blocked.Advertisers = append(s.req.Blocked.Advertisers, []byte("brand.test"))
	x.Begin(&m, s.c)
	if x.Match(&m, s.imp); m.Reason != rtb.AdvertiserBlocked {
		t.Errorf("the last advertiser of the list: %v", m.Reason)
	}
	if allocs := testing.AllocsPerRun(2, func() { x.Begin(&m, s.c); x.Match(&m, s.imp) }); allocs != 0 {
		t.Errorf("a long blocklist allocates %v times", allocs)
	}
}
