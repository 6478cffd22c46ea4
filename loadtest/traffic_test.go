package loadtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"

	"github.com/prebid/openrtb/v20/native1"
	nativerequest "github.com/prebid/openrtb/v20/native1/request"
	"github.com/prebid/openrtb/v20/openrtb2"
)

var marketMonday = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

func TestTrafficIsTheSameForASeed(t *testing.T) {
	a := NewTraffic(TrafficConfig{Seed: 7, Users: 1000})
	b := NewTraffic(TrafficConfig{Seed: 7, Users: 1000})
	other := NewTraffic(TrafficConfig{Seed: 8, Users: 1000})
	var x, y, z Offer
	for i := range 500 {
		a.Offer(i, marketMonday, &x)
		b.Offer(499-i, marketMonday, &z) // in another order, into reused memory
		b.Offer(i, marketMonday, &y)
		other.Offer(i, marketMonday, &z)
		if !bytes.Equal(x.Body, y.Body) || x.Publisher.Index != y.Publisher.Index || x.User != y.User {
			t.Fatalf("offer %d differs between equal traffics:\n%s\n%s", i, x.Body, y.Body)
		}
		if bytes.Equal(x.Body, z.Body) {
			t.Fatalf("offer %d is the same under another seed", i)
		}
	}
}

// The reference types refuse a field of the wrong type, and unknown fields
// would be misspelt ones.
func TestRequestsAreWellTyped(t *testing.T) {
	traffic := NewTraffic(TrafficConfig{Seed: 3, Users: 100_000})
	var o Offer
	seen := map[string]int{}
	ids := map[string]bool{}
	var bytesTotal int
	const offers = 10_000
	for i := range offers {
		traffic.Offer(i, marketMonday.Add(time.Duration(i)*40*time.Second), &o)
		bytesTotal += len(o.Body)
		var req openrtb2.BidRequest
		decoder := json.NewDecoder(bytes.NewReader(o.Body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&req); err != nil {
			t.Fatalf("offer %d: %v\n%s", i, err, o.Body)
		}
		if ids[req.ID] {
			t.Fatalf("id %q was used twice", req.ID)
		}
		ids[req.ID] = true
		checkRequest(t, &o, &req)
		for _, kind := range kindsOf(&o, &req) {
			seen[kind]++
		}
	}
	if mean := bytesTotal / offers; mean < 1000 || mean > 2200 {
		t.Errorf("requests have %d bytes on average, want 1 to 2 kB", mean)
	}
	for kind, share := range map[string][2]float64{
		"site": {.3, .7}, "app": {.3, .7}, "banner": {.4, .75}, "video": {.15, .5}, "audio": {.01, .1},
		"native": {.06, .25}, "several imps": {.02, .15}, "several formats": {.02, .12}, "deal": {.04, .2},
		"gdpr": {.15, .45}, "lmt": {.05, .25}, "coppa": {.005, .08}, "buyeruid": {.1, .4}, "ifa": {.2, .5}, "eids": {.1, .3},
		"first price": {.3, .7}, "television": {.01, .08}, "no floor": {.15, .35}, "precise": {.1, .45}, "interstitial": {.01, .1},
	} {
		if got := float64(seen[kind]) / offers; got < share[0] || got > share[1] {
			t.Errorf("share of %s = %.3f, want %.3f to %.3f", kind, got, share[0], share[1])
		}
	}
}

func checkRequest(t *testing.T, o *Offer, req *openrtb2.BidRequest) {
	t.Helper()
	if req.ID != string(o.ID[:]) || len(req.Imp) != len(o.Slots) || req.TMax != o.TMax.Milliseconds() || int64(o.Auction) != req.AT {
		t.Fatalf("the request does not say what the offer does: %s", o.Body)
	}
	if (req.Site == nil) == (req.App == nil) || req.Device == nil || req.User == nil || req.Regs == nil {
		t.Fatalf("an object is missing: %s", o.Body)
	}
	for i, imp := range req.Imp {
		s := &o.Slots[i]
		if rtb.FromCPM(imp.BidFloor) != s.Floor || imp.Secure == nil || *imp.Secure != 1 {
			t.Fatalf("imp %d has floor %v and secure %v, want %v and 1", i, imp.BidFloor, imp.Secure, s.Floor.CPM())
		}
		if imp.Banner == nil && imp.Video == nil && imp.Audio == nil && imp.Native == nil {
			t.Fatalf("imp %d has nothing to sell: %s", i, o.Body)
		}
		if imp.Banner != nil && (len(imp.Banner.Format) != s.SizeCount || s.SizeCount == 0) {
			t.Fatalf("imp %d has formats %v, want %d", i, imp.Banner.Format, s.SizeCount)
		}
		if imp.Native != nil {
			checkNative(t, imp.Native.Request)
		}
		if (imp.PMP != nil) != (s.Deal != nil) {
			t.Fatalf("imp %d has pmp %v, want deal %v", i, imp.PMP, s.Deal)
		}
		if s.Deal != nil && rtb.FromCPM(imp.PMP.Deals[0].BidFloor) != s.DealFloor {
			t.Fatalf("imp %d has deal floor %v, want %v", i, imp.PMP.Deals[0].BidFloor, s.DealFloor.CPM())
		}
	}
	private := o.privacy.private()
	if private && (req.User.ID != "" || req.User.BuyerUID != "" || bytes.Contains(o.Body, o.User.Device[:]) || bytes.Contains(o.Body, []byte("eids"))) {
		t.Fatalf("a request that withholds ids has one: %s", o.Body)
	}
	if lat := req.Device.Geo.Lat; lat != nil && math.Abs(*lat-o.User.place.lat) > .2 {
		t.Fatalf("latitude %v is far from %s", *lat, o.User.City)
	}
}

func checkNative(t *testing.T, text string) {
	t.Helper()
	var wrapped struct{ Native json.RawMessage }
	if err := json.Unmarshal([]byte(text), &wrapped); err != nil {
		t.Fatalf("native request: %v", err)
	}
	if wrapped.Native != nil {
		text = string(wrapped.Native)
	}
	var native nativerequest.Request
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&native); err != nil {
		t.Fatalf("native request: %v\n%s", err, text)
	}
	required := 0
	for _, asset := range native.Assets {
		required += int(asset.Required)
		if asset.Img != nil && asset.Img.Type == native1.ImageAssetTypeMain && asset.Img.WMin == 0 {
			t.Fatalf("main image without a least width: %s", text)
		}
	}
	if required < 2 {
		t.Fatalf("%d required assets, want at least 2: %s", required, text)
	}
}

// kindsOf names what is special about a request, by the reference's reading.
func kindsOf(o *Offer, req *openrtb2.BidRequest) (kinds []string) {
	add := func(is bool, kind string) {
		if is {
			kinds = append(kinds, kind)
		}
	}
	imp := &req.Imp[0]
	add(req.Site != nil, "site")
	add(req.App != nil, "app")
	add(imp.Banner != nil, "banner")
	add(imp.Video != nil, "video")
	add(imp.Audio != nil, "audio")
	add(imp.Native != nil, "native")
	add(len(req.Imp) > 1, "several imps")
	add(count(imp.Banner != nil)+count(imp.Video != nil)+count(imp.Native != nil) > 1, "several formats")
	add(imp.PMP != nil, "deal")
	add(imp.BidFloor == 0, "no floor")
	add(imp.Instl == 1, "interstitial")
	add((req.Regs.GDPR != nil && *req.Regs.GDPR == 1) || strings.Contains(string(req.Regs.Ext), `"gdpr":1`), "gdpr")
	add(req.Device.Lmt != nil && *req.Device.Lmt == 1, "lmt")
	add(req.Regs.COPPA == 1, "coppa")
	add(req.User.BuyerUID != "", "buyeruid")
	add(req.Device.IFA == string(o.User.Device[:]), "ifa")
	add(len(req.User.EIDs) > 0 || strings.Contains(string(req.User.Ext), `"eids"`), "eids")
	add(req.AT == 1, "first price")
	add(req.Device.DeviceType == 3, "television")
	add(req.Device.Geo.Type == 1, "precise")
	return kinds
}

func TestTrafficFollowsTheHour(t *testing.T) {
	traffic := NewTraffic(TrafficConfig{Seed: 3, Users: 100_000})
	night := func(hour int) (japan int) {
		var o Offer
		for i := range 4000 {
			traffic.Offer(i, time.Date(2026, 1, 6, hour, 0, 0, 0, time.UTC), &o)
			japan += count(o.User.Country == "JP")
		}
		return japan
	}
	// 12 UTC is the evening in Japan, 18 UTC three in the morning.
	if evening, asleep := night(12), night(18); evening < 2*asleep {
		t.Errorf("%d offers from Japan in its evening, %d in its night, want at least twice as many", evening, asleep)
	}
}

func TestTrafficSettings(t *testing.T) {
	names := []string{"generic", "index", "pubmatic"}
	traffic := NewTraffic(TrafficConfig{Seed: 3, Users: 1000, Exchanges: names, Auction: AuctionSecond, TMax: 5 * time.Second})
	var o Offer
	seen := map[string]int{}
	for i := range 2000 {
		traffic.Offer(i, marketMonday, &o)
		seen[o.Exchange]++
		if o.Auction != 2 || o.TMax != 5*time.Second {
			t.Fatalf("offer %d has at %d and tmax %v, want 2 and 5s", i, o.Auction, o.TMax)
		}
	}
	for _, name := range names {
		if seen[name] < 200 {
			t.Errorf("%s got %d of 2000 offers", name, seen[name])
		}
	}
}

// The fields are read back at the places where IAB TCF 2.2 has them.
func TestConsentStrings(t *testing.T) {
	for text, all := range map[string]bool{consentAll: true, consentNone: false} {
		segments := strings.Split(text, ".")
		if len(segments) != 2 || !strings.HasPrefix(text, "C") {
			t.Fatalf("%q is not a version 2 string of two segments", text)
		}
		core, err := base64.RawURLEncoding.DecodeString(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		at := func(from, width int) (v uint64) {
			for i := from; i < from+width; i++ {
				v = v<<1 | uint64(core[i/8]>>(7-i%8)&1)
			}
			return v
		}
		purposes, vendors, ranged, entries := at(152, 24), at(213, 16), at(229, 1), at(230, 12)
		if vendors != 1400 || ranged != 1 || at(201, 6) != 3 || at(207, 6) != 4 {
			t.Errorf("consent to all %t: %d vendors, range %d", all, vendors, ranged)
		}
		if all && (purposes != 0xffe000 || entries != 1 || at(242, 1) != 1 || at(243, 16) != 1 || at(259, 16) != 1400) {
			t.Errorf("full consent: purposes %x, %d entries", purposes, entries)
		}
		if !all && (purposes != 0 || entries != 0) {
			t.Errorf("no consent: purposes %x, %d entries", purposes, entries)
		}
	}
}

func TestOfferHardlyAllocates(t *testing.T) {
	traffic := NewTraffic(TrafficConfig{Seed: 3, Users: 1_000_000})
	var o Offer
	i := 0
	for ; i < 100; i++ {
		traffic.Offer(i, marketMonday, &o)
	}
	// Only the zip of each user drawn.
	if allocs := testing.AllocsPerRun(500, func() { traffic.Offer(i, marketMonday, &o); i++ }); allocs > 5 {
		t.Errorf("Offer allocates %v times, want at most one for each of 4 users drawn", allocs)
	}
}

func BenchmarkOffer(b *testing.B) {
	traffic := NewTraffic(TrafficConfig{Seed: 3, Users: 10_000_000})
	var o Offer
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		traffic.Offer(i, marketMonday, &o)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
