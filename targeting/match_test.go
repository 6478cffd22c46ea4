package targeting

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"bidwell/rtb"
)

var adSizes = []rtb.Size{{W: 300, H: 250}, {W: 728, H: 90}, {W: 320, H: 50}, {W: 160, H: 600}, {W: 300, H: 600}, {W: 970, H: 250}, {W: 336, H: 280}, {W: 320, H: 100}}

// benchItems are line items such as an agency has: most for one country, half
// for segments, a few with hours, deals or lists of domains.
func benchItems(n int) []rtb.LineItem {
	d := dice(rand.New(rand.NewPCG(1, 2)).IntN)
	country := func() [2]byte { return countries[min(d(10), d(10))] }
	items := make([]rtb.LineItem, n)
	for i := range items {
		item := &items[i]
		item.ID, item.Slot, item.Key = rtb.LineItemID(i+1), int32(i), fmt.Sprint(i)
		item.Location = testZones[1]
		item.Flight = rtb.Flight{Start: testNow.AddDate(0, -1, 0), End: testNow.AddDate(0, 1, 0)}
		item.Goal = rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit, Max: rtb.Money(500_000 + d(9_500_000))}
		t := &item.Targeting
		if !d.chance(10) {
			t.Countries = append(t.Countries, country())
			for d.chance(20) {
				t.Countries = append(t.Countries, country())
			}
		}
		if d.chance(50) {
			for range 1 + d(3) {
				t.SegmentsAny = append(t.SegmentsAny, rtb.SegmentID(1+d(500)))
			}
		}
		t.SegmentsNone = some(d, 10, rtb.SegmentID(1+d(500)))
		t.Devices = some[uint8](d, 40, 1, 2, 3, 4, 5)
		t.OS = some(d, 20, rtb.Android, rtb.IOS, rtb.Windows)
		t.Languages = some(d, 10, [2]byte{'e', 'n'}, [2]byte{'d', 'e'})
		t.Media = some(d, 20, rtb.Site, rtb.App)
		t.DenyDomains = some(d, 30, fmt.Sprintf("site%d.test", d(50)), fmt.Sprintf("site%d.test", d(500)))
		t.Deals = some(d, 10, fmt.Sprintf("deal-%d", d(300)))
		if d.chance(15) {
			for hour := 6; hour < 22; hour++ {
				for day := range 7 {
					t.Hours.Add(testNow.AddDate(0, 0, day).Weekday(), hour)
				}
			}
		}
		advertiser := fmt.Sprintf("brand%d.test", d(n/20+1))
		media := one(d, rtb.Banner, rtb.Banner, rtb.Banner, rtb.Banner, rtb.Video)
		for range 1 + d(4) {
			c := rtb.Creative{Media: media, Secure: true, Advertisers: []string{advertiser},
				Categories: []string{fmt.Sprintf("IAB%d-%d", 1+d(26), 1+d(20))}, Mime: rtb.ParseMime("image/png")}
			if media == rtb.Banner {
				c.Size = adSizes[min(d(len(adSizes)), d(len(adSizes)))]
			} else {
				c.MimeAll, c.Linear, c.Duration = rtb.ParseMime("video/mp4"), true, 15e9
			}
			item.Creatives = append(item.Creatives, c)
		}
	}
	return items
}

func benchIndex(n int) *Index {
	x, err := Build(benchItems(n))
	if err != nil {
		panic(err)
	}
	return x
}

// benchContexts are banner requests from the big countries with 20 segments
// and short blocklists.
func benchContexts() []*Context {
	d := dice(rand.New(rand.NewPCG(3, 4)).IntN)
	contexts := make([]*Context, 64)
	for i := range contexts {
		req := &rtb.Request{
			Exchange:  1,
			Inventory: rtb.Inventory{Kind: rtb.Site, Domain: []byte(fmt.Sprintf("www.site%d.test", d(500)))},
			Device:    rtb.Device{Type: uint8(1 + d(5)), OS: rtb.OS(1 + d(3)), Connection: 2, Language: [2]byte{'e', 'n'}},
			Geo:       rtb.Geo{Country: countries[min(d(10), d(10), d(10))]},
		}
		for range 10 {
			req.Blocked.Categories = append(req.Blocked.Categories, []byte(fmt.Sprintf("IAB%d-%d", 1+d(26), 1+d(20))))
			req.Blocked.Advertisers = append(req.Blocked.Advertisers, []byte(fmt.Sprintf("blocked%d.test", d(1000))))
		}
		user := &rtb.Profile{Known: true}
		for range 20 {
			user.Segments = append(user.Segments, rtb.SegmentID(1+d(5000)))
		}
		imp := req.AddImp()
		imp.HasBanner, imp.Secure, imp.Floor, imp.FloorCur = true, true, rtb.OneCPM, rtb.USD
		imp.Banner.Sizes = append(imp.Banner.Sizes, adSizes[min(d(8), d(8))], adSizes[d(8)])
		contexts[i] = testContext(req, user)
		contexts[i].Admit = func(int32, uint32) rtb.NoBid { return rtb.BidMade }
		contexts[i].Now = testNow.Add(12 * 3600e9)
	}
	return contexts
}

func TestMatchDoesNotAllocate(t *testing.T) {
	d := dice(rand.New(rand.NewPCG(5, 6)).IntN)
	items := benchItems(3000)
	for i := range 1000 {
		items = append(items, randomLineItem(d, 3000+i))
	}
	x, err := Build(items)
	if err != nil {
		t.Fatal(err)
	}
	contexts := benchContexts()
	for range 64 {
		req, user := randomRequest(d)
		req.Imps = append(req.Imps, *randomImp(d), *randomImp(d))
		contexts = append(contexts, testContext(req, user))
	}
	var m Matches
	found := 0
	all := func() {
		for _, c := range contexts {
			x.Begin(&m, c)
			for i := range c.Request.Imps {
				x.Match(&m, &c.Request.Imps[i])
				found += len(m.Candidates)
			}
		}
	}
	all()
	if allocs := testing.AllocsPerRun(50, all); allocs != 0 {
		t.Errorf("Match allocates %v times for %d requests, want 0", allocs, len(contexts))
	}
	if found == 0 {
		t.Error("nothing matched, so nothing was measured")
	}
}

func BenchmarkMatch(b *testing.B) {
	contexts := benchContexts()
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("lineItems=%d", n), func(b *testing.B) {
			x := benchIndex(n)
			var m Matches
			b.ReportAllocs()
			i, found := 0, 0
			for b.Loop() {
				c := contexts[i%len(contexts)]
				i++
				x.Begin(&m, c)
				x.Match(&m, &c.Request.Imps[0])
				found += len(m.Candidates)
			}
			b.ReportMetric(float64(found)/float64(i), "candidates/op")
		})
	}
}

// BenchmarkLinearScan is what BenchmarkMatch saves: the same questions asked
// of every line item in turn until there are enough.
func BenchmarkLinearScan(b *testing.B) {
	contexts := benchContexts()
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("lineItems=%d", n), func(b *testing.B) {
			x := benchIndex(n)
			var m Matches
			i, found := 0, 0
			for b.Loop() {
				c := contexts[i%len(contexts)]
				i++
				found += linearScan(x, &m, c, &c.Request.Imps[0])
			}
			b.ReportMetric(float64(found)/float64(i), "candidates/op")
		})
	}
}

func linearScan(x *Index, m *Matches, c *Context, imp *rtb.Imp) (found int) {
	x.Begin(m, c)
	m.offer(imp)
	req := c.Request
	var out Candidate
	for i := range x.items {
		t := &x.items[i].Targeting
		if x.entries[i].ceiling < m.least {
			break
		}
		if accepts(t.Countries, req.Geo.Country) && accepts(t.Exchanges, req.Exchange) && accepts(t.Devices, req.Device.Type) &&
			accepts(t.OS, req.Device.OS) && accepts(t.Connections, req.Device.Connection) && accepts(t.Languages, req.Device.Language) &&
			(len(t.SegmentsAny) == 0 || m.tags.hasAny(x.rules[x.entries[i].rules].any)) &&
			x.check(m, imp, int32(i), &out) == rtb.BidMade {
			if found++; found == DefaultLimit {
				break
			}
		}
	}
	return found
}

func accepts[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

func BenchmarkBuild(b *testing.B) {
	items := benchItems(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(items); err != nil {
			b.Fatal(err)
		}
	}
}
