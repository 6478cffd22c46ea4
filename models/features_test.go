package models

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

func benchRequest() (*rtb.Request, *rtb.Imp, *rtb.Profile) {
	req := &rtb.Request{
		Exchange: 2,
		Inventory: rtb.Inventory{
			Kind: rtb.App, Bundle: []byte("com.example.weather.forecast"), Publisher: []byte("8842001"),
			Categories: [][]byte{[]byte("IAB15-10")},
		},
		Device: rtb.Device{
			Type: 4, OS: rtb.IOS, Make: []byte("Apple"), Model: []byte("iPhone14,5"),
			Language: [2]byte{'e', 'n'}, Connection: 6,
		},
		Geo:  rtb.Geo{Country: [2]byte{'U', 'S'}, Region: []byte("CA"), City: []byte("Los Angeles")},
		User: rtb.User{BirthYear: 1990, Gender: 'M'},
	}
	imp := req.AddImp()
	imp.TagID = []byte("home-banner-top")
	imp.Floor, imp.FloorCur = rtb.FromCPM(0.4), rtb.USD
	imp.HasBanner = true
	imp.Banner.Sizes = append(imp.Banner.Sizes, rtb.Size{W: 320, H: 50})
	user := &rtb.Profile{Known: true, Segments: []rtb.SegmentID{4, 19, 333}}
	return req, imp, user
}

var noon = time.Unix(1_767_268_800, 0)

// What a bid is scored by must be what the model learns from, bit for bit,
// whatever the request looks like and whatever was scored before it.
func TestBidAndTrainingSeeTheSameFeatures(t *testing.T) {
	var f Features
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name) }
		u8 := func(name string) uint8 { return rapid.Uint8().Draw(t, name) }
		req := &rtb.Request{
			Exchange: rtb.ExchangeID(u8("exchange")),
			Inventory: rtb.Inventory{
				Kind: rtb.InventoryKind(u8("kind") % 4), Domain: text("domain"), Bundle: text("bundle"), ID: text("id"),
				Publisher: text("publisher"), Categories: [][]byte{text("category")},
			},
			Device: rtb.Device{Type: u8("device"), OS: rtb.OS(u8("os")), Make: text("make"), Model: text("model")},
			Geo: rtb.Geo{
				Region: text("region"), City: text("city"),
				HasOffset: rapid.Bool().Draw(t, "offset"), UTCOffset: rapid.Int16().Draw(t, "minutes"),
			},
			User: rtb.User{BirthYear: rapid.Uint16().Draw(t, "born"), Gender: u8("gender")},
		}
		imp := &rtb.Imp{
			TagID: text("tag"), Floor: rtb.Money(rapid.Int64().Draw(t, "floor")),
			HasBanner: rapid.Bool().Draw(t, "banner"), HasVideo: rapid.Bool().Draw(t, "video"),
		}
		if imp.HasBanner {
			imp.Banner.Sizes = []rtb.Size{{W: rapid.Uint16().Draw(t, "w"), H: rapid.Uint16().Draw(t, "h")}}
		}
		user := &rtb.Profile{Known: true}
		for range rapid.IntRange(0, 40).Draw(t, "segments") {
			user.Segments = append(user.Segments, rtb.SegmentID(rapid.IntRange(0, 200).Draw(t, "segment")))
		}
		if rapid.IntRange(0, 9).Draw(t, "no user") == 0 {
			user = nil
		}
		now := time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "now"), 0)

		f.Begin(req, imp, user, now)
		for range rapid.IntRange(1, 4).Draw(t, "candidates") {
			item := &rtb.LineItem{ID: rtb.LineItemID(rapid.Uint32().Draw(t, "item"))}
			creative := &rtb.Creative{ID: rtb.CreativeID(rapid.Uint32().Draw(t, "creative")), Media: rtb.Video}
			size := rtb.Size{W: rapid.Uint16().Draw(t, "cw"), H: 50}
			f.Candidate(item, creative, size)

			prefix := []uint32{1, 2, 3}
			got := Extract(slices.Clone(prefix), req, imp, user, item, creative, size, now)
			if !slices.Equal(got[:3], prefix) || !slices.Equal(got[3:], f.Hashes) {
				t.Fatalf("Extract = %v, bid time saw %v", got, f.Hashes)
			}
			if len(f.Hashes) > MaxFeatures {
				t.Fatalf("%d features, want at most %d", len(f.Hashes), MaxFeatures)
			}
		}
	})
}

// A change here makes every trained model worthless: it must be meant, and
// the starter model trained again.
func TestSampleFeaturesAreThoseOfTheModelsOutThere(t *testing.T) {
	var b []byte
	for _, h := range sampleFeatures() {
		b = binary.LittleEndian.AppendUint32(b, h)
	}
	if got, want := exact(0, b), uint64(sampleHash); got != want {
		t.Errorf("features of the sample bid hash to %#x, want %#x", got, want)
	}
	if n := len(sampleFeatures()); n < 30 || n > 50 {
		t.Errorf("%d features, want 30 to 50", n)
	}
}

func TestEachFieldMatters(t *testing.T) {
	req, imp, user := benchRequest()
	item, creative := &rtb.LineItem{ID: 1, Advertiser: 1}, &rtb.Creative{ID: 1, Media: rtb.Banner}
	size := rtb.Size{W: 320, H: 50}
	extract := func() []uint32 { return Extract(nil, req, imp, user, item, creative, size, noon) }
	base := extract()

	tests := []struct {
		name    string
		set     func()
		changes int // hashes that differ
	}{
		{"exchange", func() { req.Exchange++ }, 1},
		{"bundle", func() { req.Inventory.Bundle = []byte("com.example.other") }, 2},
		{"publisher", func() { req.Inventory.Publisher = nil }, 1},
		{"tag", func() { imp.TagID = []byte("home-banner-tow") }, 1},
		{"media", func() { imp.HasVideo = true }, 1},
		{"slot", func() { imp.Banner.Sizes[0].H++ }, 1},
		{"position", func() { imp.Banner.Position++ }, 1},
		{"device", func() { req.Device.Type++ }, 1},
		{"os", func() { req.Device.OS++ }, 1},
		{"country", func() { req.Geo.Country = [2]byte{'G', 'B'} }, 3},
		{"region", func() { req.Geo.Region = []byte("NV") }, 1},
		{"city", func() { req.Geo.City = nil }, 1},
		{"language", func() { req.Device.Language = [2]byte{'f', 'r'} }, 1},
		{"connection", func() { req.Device.Connection++ }, 1},
		{"kind", func() { req.Inventory.Kind = rtb.DOOH }, 1},
		{"category", func() { req.Inventory.Categories[0] = []byte("IAB1") }, 1},
		{"flags", func() { imp.Rewarded = true }, 1},
		{"floor", func() { imp.Floor *= 3 }, 1},
		{"offset", func() { req.Geo.HasOffset, req.Geo.UTCOffset = true, 0 }, 3},
		{"known", func() { user.Known = false }, 3}, // the history is that of somebody known
		{"frequency", func() { user.Exposures = append(user.Exposures, rtb.Exposure{Count: 1, Time: uint32(noon.Unix())}) }, 2},
		{"frequency of another campaign", func() { user.Exposures = append(user.Exposures, rtb.Exposure{Campaign: 9, Count: 1}) }, 0},
		{"creative", func() { creative.ID++ }, 7},
		{"line item", func() { item.ID++ }, 1},
		{"advertiser", func() { item.Advertiser++ }, 1},
		{"size", func() { size.W++ }, 1},
		{"segment", func() { user.Segments[1]++ }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req0, imp0, item0, creative0, user0, size0 := *req, *imp, *item, *creative, *user, size
			user.Segments = slices.Clone(user.Segments)
			imp.Banner.Sizes = slices.Clone(imp.Banner.Sizes)
			req.Inventory.Categories = slices.Clone(req.Inventory.Categories)
			tt.set()
			got := extract()
			*req, *imp, *item, *creative, *user, size = req0, imp0, item0, creative0, user0, size0

			if len(got) != len(base) {
				t.Fatalf("%d features, want %d", len(got), len(base))
			}
			changes := 0
			for i := range got {
				if got[i] != base[i] {
					changes++
				}
			}
			if changes != tt.changes {
				t.Errorf("%d hashes changed, want %d", changes, tt.changes)
			}
		})
	}
}

func TestNamesAreEqualInAnyCase(t *testing.T) {
	for _, pair := range [][2]string{
		{"News.Example.COM", "news.example.com"}, {"", ""}, {"A", "a"}, {"Los Angeles", "LOS ANGELES"},
		{"a-Name-of-more-than-sixteen-Bytes", "A-name-of-more-than-sixteen-bytes"},
	} {
		if folded(fieldCity, []byte(pair[0])) != folded(fieldCity, []byte(pair[1])) {
			t.Errorf("%q and %q differ", pair[0], pair[1])
		}
	}
	if exact(fieldTag, []byte("A")) == exact(fieldTag, []byte("a")) {
		t.Error("tags are equal in any case, want as sent")
	}
}

func TestTextOfEveryLengthIsItsOwn(t *testing.T) {
	seen := map[uint64]int{}
	for n := range maxText + 1 {
		h := exact(fieldTag, bytes.Repeat([]byte{0}, n))
		if before, ok := seen[h]; ok {
			t.Errorf("%d and %d zero bytes hash alike", before, n)
		}
		seen[h] = n
	}
}

func TestBucket(t *testing.T) {
	for v, want := range map[int64]uint64{
		math.MinInt64: 1 << 16, -1: 1 << 16, 0: 1<<16 + 1, 1: 1<<16 + 2, 2: 1<<16 + 3,
		3: 1, 4: 1, 5: 2, 7: 3, 8: 4, 100: 21, 1000: 47, math.MaxInt64: 1906,
	} {
		if got := bucket(v); got != want {
			t.Errorf("bucket(%d) = %d, want %d", v, got, want)
		}
	}
}

// Numbers in a row are the usual ids: they must spread over the table as
// chance would have it.
func TestHashesSpread(t *testing.T) {
	const bits, n = 18, 1 << 18
	hashes := map[string]func(i int) uint64{
		"number": func(i int) uint64 { return number(fieldCreative, uint64(i)) },
		"cross": func(i int) uint64 {
			return cross(fieldCreativeSize, number(fieldCreative, uint64(i>>6)), uint64(i&63)<<16)
		},
		"text": func(i int) uint64 { return exact(fieldTag, binary.BigEndian.AppendUint32(nil, uint32(i))) },
	}
	for name, hash := range hashes {
		var used [1 << bits]bool
		count := 0
		for i := range n {
			if at := fold(hash(i)) & (1<<bits - 1); !used[at] {
				used[at] = true
				count++
			}
		}
		want := n * (1 - math.Exp(-1))
		if math.Abs(float64(count)-want) > 0.01*want {
			t.Errorf("%s: %d ids use %d places, want about %.0f", name, n, count, want)
		}
	}
}
