package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/rtb"

	"pgregory.net/rapid"
)

func compile(t testing.TB, docs admin.Documents) (*admin.Compiler, []rtb.LineItem) {
	t.Helper()
	c := admin.NewCompiler(docs, exchangeID, nil)
	items, version, err := c.LineItems(context.Background(), 0)
	if err != nil || version == 0 {
		t.Fatalf("LineItems: version %d, %v", version, err)
	}
	return c, items
}

func TestCompileLineItem(t *testing.T) {
	s := start(t, nil)
	s.seed()
	_, items := compile(t, s.docs)
	if len(items) != 1 {
		t.Fatalf("%d line items, want 1", len(items))
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if items[0].Location.String() != berlin.String() {
		t.Errorf("Location = %v, want %v", items[0].Location, berlin)
	}
	items[0].Location = berlin
	zone := time.FixedZone("", 3600)
	var hours rtb.WeekHours
	for _, h := range []int{7, 8, 17, 18, 19, 20, 21} {
		hours.Add(time.Monday, h)
	}
	want := rtb.LineItem{
		ID: 1, Key: "runners-berlin", Name: "Runners 25-44, Berlin", Campaign: 1, CampaignKey: "spring", Advertiser: 1,
		Flight: rtb.Flight{Start: time.Date(2026, 12, 1, 0, 0, 0, 0, zone), End: time.Date(2026, 12, 31, 23, 59, 59, 0, zone)},
		Budgets: []rtb.Budget{
			{Account: rtb.LineItemAccount(1, rtb.OfMoney), Total: 5000 * rtb.Unit, Daily: 200 * rtb.Unit},
			{Account: rtb.CampaignAccount(1, rtb.OfMoney), Total: 5000 * rtb.Unit},
		},
		Pacing: rtb.PaceEven,
		Goal:   rtb.Goal{Type: rtb.GoalCPC, Value: 80 * rtb.Unit / 100, Max: 6 * rtb.OneCPM},
		Targeting: rtb.Targeting{
			SegmentsAny: []rtb.SegmentID{1}, SegmentsNone: []rtb.SegmentID{2},
			Countries: [][2]byte{{'D', 'E'}}, Cities: []string{"Berlin"}, Fences: []rtb.Fence{{Lat: 52.52, Lon: 13.40, Meters: 5000}},
			Devices: []uint8{4}, OS: []rtb.OS{rtb.IOS, rtb.Android}, Languages: [][2]byte{{'d', 'e'}},
			DenyDomains: []string{"example.org"}, Hours: hours, UserTime: true,
		},
		Caps:     []rtb.FrequencyCap{{Per: rtb.CapLineItem, Limit: 3, Window: 24 * time.Hour}, {Per: rtb.CapAdvertiser, Limit: 10, Window: 168 * time.Hour}},
		MinGap:   10 * time.Minute,
		Location: berlin,
		Creatives: []rtb.Creative{{
			ID: 1, Key: "banner-300x250", Media: rtb.Banner, Size: rtb.Size{W: 300, H: 250},
			Mime: rtb.ParseMime("image/png"), MimeAll: rtb.ParseMime("image/png"), BannerType: 2, Secure: true,
			Advertisers: []string{"acme-shoes.example"}, Taxonomy: 1, ClickURL: "https://acme-shoes.example/",
			Assets: rtb.Assets{Image: "https://cdn.example/a.png"},
		}},
	}
	if got, want := show(items[0]), show(want); got != want {
		t.Errorf("compiled\n got %s\nwant %s", got, want)
	}
}

func TestCompileRotation(t *testing.T) {
	s := start(t, nil)
	s.seed()
	s.want(201, "PUT", "/v1/creatives/other", banner)
	s.want(201, "PUT", "/v1/creatives/shop", `{"advertiser": "acme", "type": "native", "title": "{PRODUCT_TITLE}", "click_url": "https://acme-shoes.example/",
		"products": [{"id": "a", "title": "A", "price": "1 EUR", "image": "https://cdn.example/a.png", "url": "https://acme-shoes.example/a", "segments": ["runners", "bought-30d"]}, {"id": "b", "title": "B"}]}`)
	for _, tt := range []struct {
		body     string
		rotation rtb.Rotation
		repeat   bool
		weights  []uint16
	}{
		{``, rtb.RotateOptimize, false, []uint16{0, 0, 0}},
		{`, "rotation": "even"`, rtb.RotateEven, false, []uint16{0, 0, 0}},
		{`, "rotation": "weighted", "weights": {"other": 1000, "banner-300x250": 2}`, rtb.RotateWeighted, false, []uint16{2, 1000, 0}},
		{`, "rotation": "sequence", "sequence_repeat": true`, rtb.RotateSequence, true, []uint16{0, 0, 0}},
	} {
		s.want(201, "PUT", "/v1/line-items/rotating", `{"campaign": "spring", "name": "x", "goal": {"type": "cpm", "value": "1"}, "creatives": ["banner-300x250", "other", "shop"]`+tt.body+`}`)
		_, items := compile(t, s.docs)
		item := items[0]
		var weights []uint16
		for _, c := range item.Creatives {
			weights = append(weights, c.Weight)
		}
		if item.Key != "rotating" || item.Rotation != tt.rotation || item.Repeat != tt.repeat || !slices.Equal(weights, tt.weights) {
			t.Errorf("%s: %v, repeat %t, weights %v; want %v, %t, %v", tt.body, item.Rotation, item.Repeat, weights, tt.rotation, tt.repeat, tt.weights)
		}
		want := []rtb.Product{
			{ID: "a", Title: "A", Price: "1 EUR", Image: "https://cdn.example/a.png", URL: "https://acme-shoes.example/a", Segments: []rtb.SegmentID{1, 2}},
			{ID: "b", Title: "B"},
		}
		if got := item.Creatives[2].Products; !reflect.DeepEqual(got, want) {
			t.Errorf("products %+v, want %+v", got, want)
		}
		s.want(204, "DELETE", "/v1/line-items/rotating", "")
	}
	s.want(409, "DELETE", "/v1/segments/runners", "") // a product is for them
}

// show is a line item as text in which equal instants are equal and an empty
// list is none.
func show(item rtb.LineItem) string {
	start, end := item.Flight.Start.Unix(), item.Flight.End.Unix()
	item.Flight = rtb.Flight{}
	return strings.ReplaceAll(fmt.Sprintf("%+v %d %d", item, start, end), fmt.Sprintf("%p", item.Location), "zone")
}

func TestCompileMoney(t *testing.T) {
	s := start(t, nil)
	s.seed()
	s.want(201, "PUT", "/v1/campaigns/open", `{"advertiser": "acme", "name": "x"}`)
	s.want(201, "PUT", "/v1/campaigns/tight", `{"advertiser": "acme", "name": "x", "budget": {"daily": "7"}, "limits": {"impressions": {"daily": 9}, "clicks": {"total": 4}}}`)
	own := func(of rtb.Measure) rtb.AccountID { return rtb.LineItemAccount(2, of) }
	cpm2 := rtb.Goal{Type: rtb.GoalCPM, Value: 2 * rtb.OneCPM, Max: 2 * rtb.OneCPM}
	tests := []struct {
		item    string
		budgets []rtb.Budget
		fees    rtb.Fees
		goal    rtb.Goal
	}{
		{`"campaign": "open", "goal": {"type": "cpm", "value": "2"}`, []rtb.Budget{{Account: own(rtb.OfMoney)}}, rtb.Fees{}, cpm2},
		{`"campaign": "open", "goal": {"type": "cpm", "value": "2"}, "fees": {"share": "0.1234", "cpm": "0.50"}, "limits": {"impressions": {"total": 1000000, "daily": 50000}}`,
			[]rtb.Budget{{Account: own(rtb.OfMoney)}, {Account: own(rtb.OfImpressions), Total: 1_000_000, Daily: 50_000}},
			rtb.Fees{Share: 1234, Fixed: 500_000}, cpm2},
		{`"campaign": "tight", "goal": {"type": "cpc", "value": "1", "max_cpm": "4001", "max_cpc": "0.6", "max_cpa": "25"}, "fees": {"share": "5", "cpm": "4000"}, "limits": {"clicks": {"daily": 3}}, "budget": {"total": "1"}`,
			[]rtb.Budget{{Account: own(rtb.OfMoney), Total: rtb.Unit}, {Account: own(rtb.OfClicks), Daily: 3}, {Account: rtb.CampaignAccount(3, rtb.OfMoney), Daily: 7 * rtb.Unit},
				{Account: rtb.CampaignAccount(3, rtb.OfImpressions), Daily: 9}, {Account: rtb.CampaignAccount(3, rtb.OfClicks), Total: 4}},
			rtb.Fees{Share: rtb.MaxFeeShare, Fixed: 4_000_000_000},
			rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit, Max: 4001 * rtb.OneCPM, MaxCPC: 6 * rtb.Unit / 10, MaxCPA: 25 * rtb.Unit}},
	}
	for _, tt := range tests {
		a := s.do("PUT", "/v1/line-items/aa", `{"name": "x", "creatives": ["banner-300x250"], `+tt.item+`}`)
		if a.Status != 200 && a.Status != 201 {
			t.Fatalf("%s: %d %s", tt.item, a.Status, a.Body)
		}
		_, items := compile(t, s.docs)
		if got := items[0]; !reflect.DeepEqual(got.Budgets, tt.budgets) || got.Fees != tt.fees || got.Goal != tt.goal {
			t.Errorf("%s\n got %+v %+v %+v\nwant %+v %+v %+v", tt.item, got.Budgets, got.Fees, got.Goal, tt.budgets, tt.fees, tt.goal)
		}
	}
}

func TestCompileTargeting(t *testing.T) {
	s := start(t, nil)
	s.seed()
	s.want(201, "PUT", "/v1/deals/known", `{"deal": "PMP-1", "exchange": "index"}`)
	s.want(201, "PUT", "/v1/deals/anywhere", `{"deal": "PMP-2"}`)
	tests := []struct {
		targeting string
		want      rtb.Targeting
	}{
		{`{}`, rtb.Targeting{}},
		{`{"devices": ["mobile", "phone", "tv", "set-top", "connected", "desktop", "tablet", "screen"]}`, rtb.Targeting{Devices: []uint8{1, 2, 3, 4, 5, 6, 7, 8}}},
		{`{"connections": ["cellular", "wifi"]}`, rtb.Targeting{Connections: []uint8{2, 3, 4, 5, 6, 7}}},
		{`{"connections": ["5g", "ethernet"]}`, rtb.Targeting{Connections: []uint8{1, 7}}},
		{`{"geo": {"regions": ["us-ca"], "countries": ["us"], "zips": ["101*", "SW1A 1AA"]}}`,
			rtb.Targeting{Countries: [][2]byte{{'U', 'S'}}, Regions: []string{"us-ca"}, Zips: []string{"101*", "SW1A 1AA"}}},
		{`{"inventory": {"deals": ["known"]}}`, rtb.Targeting{Deals: []string{"PMP-1"}, Exchanges: []rtb.ExchangeID{3}}},
		{`{"inventory": {"deals": ["known", "anywhere"]}}`, rtb.Targeting{Deals: []string{"PMP-1", "PMP-2"}}},
		{`{"inventory": {"deals": ["known", "Raw/17"]}}`, rtb.Targeting{Deals: []string{"PMP-1", "Raw/17"}}},
		{`{"inventory": {"deals": ["known"], "exchanges": ["generic"]}}`, rtb.Targeting{Deals: []string{"PMP-1"}, Exchanges: []rtb.ExchangeID{1}}},
		{`{"inventory": {"allow": ["WWW.News.example"], "apps": ["com.x"], "deny_apps": ["1"], "categories": ["IAB1"], "deny_categories": ["IAB25"], "media": ["app", "site", "dooh"]}}`,
			rtb.Targeting{AllowDomains: []string{"news.example"}, AllowApps: []string{"com.x"}, DenyApps: []string{"1"}, AllowCategories: []string{"IAB1"},
				DenyCategories: []string{"IAB25"}, Media: []rtb.InventoryKind{rtb.App, rtb.Site, rtb.DOOH}}},
		{`{"carriers": ["262-01"], "os": ["tvos", "other"], "timezone": "advertiser"}`, rtb.Targeting{Carriers: []string{"262-01"}, OS: []rtb.OS{rtb.TVOS, rtb.OSOther}}},
		{`{"hours": {"sunday": [[23, 24]]}}`, rtb.Targeting{Hours: rtb.WeekHours{Set: true, Bits: [3]uint64{1 << 23}}}},
	}
	for _, tt := range tests {
		body := fmt.Sprintf(`{"campaign": "spring", "name": "x", "goal": {"type": "cpm", "value": "2"}, "creatives": ["banner-300x250"], "targeting": %s}`, tt.targeting)
		s.do("DELETE", "/v1/line-items/aa", "")
		s.want(201, "PUT", "/v1/line-items/aa", body)
		_, items := compile(t, s.docs)
		if len(items) != 2 || items[0].Key != "aa" {
			t.Fatalf("%s: compiled %d line items, want it first of 2", tt.targeting, len(items))
		}
		if !reflect.DeepEqual(items[0].Targeting, tt.want) {
			t.Errorf("%s\n got %+v\nwant %+v", tt.targeting, items[0].Targeting, tt.want)
		}
		if g := items[0].Goal; g.Value != 2*rtb.OneCPM || g.Max != g.Value {
			t.Errorf("goal = %+v, want a CPM of 2 as value and ceiling", g)
		}
	}
}

func TestCompileCreatives(t *testing.T) {
	s := start(t, nil)
	s.want(201, "PUT", "/v1/advertisers/acme", `{"name": "A", "domains": ["www.Acme.example"], "categories": ["IAB18"], "seat": "s9"}`)
	s.want(201, "PUT", "/v1/campaigns/c", `{"advertiser": "acme", "name": "C"}`)
	for id, body := range map[string]string{
		"script": `{"type": "banner", "width": 1, "height": 2, "html": "<SCRIPT src=https://a.example/x.js></SCRIPT>"}`,
		"frame":  `{"type": "banner", "width": 1, "height": 2, "html": "<iframe src='http://a.example/'>", "api": [5], "attributes": [1, 2]}`,
		"plain":  `{"type": "banner", "width": 1, "height": 2, "image": "https://a.example/p", "mime": "image/gif", "adomain": ["b.example"], "categories": ["12"], "cattax": 2, "expiry": "90s"}`,
		"video": `{"type": "video", "duration": "15s", "skippable": true, "language": "DE", "bundle": "com.acme", "image_url": "https://a.example/i.png",
			"media_files": [{"url": "https://a.example/1.mp4", "mime": "video/MP4", "width": 640, "height": 360, "bitrate": 900}, {"url": "https://a.example/1.webm", "mime": "video/webm", "width": 640, "height": 360}],
			"companions": [{"url": "https://a.example/c.png", "width": 300, "height": 250}], "dsa": {"behalf": "Acme", "paid": "Acme", "adrender": 1}}`,
		"native": `{"type": "native", "title": "T", "body": "B", "sponsor": "S", "cta": "C", "rating": "4", "price": "5", "icon": {"url": "https://a.example/i.png", "width": 80, "height": 80}, "main": {"url": "https://a.example/m.png", "width": 1200, "height": 627}}`,
	} {
		body = `{"advertiser": "acme", "click_url": "https://acme.example/", ` + body[1:]
		s.want(201, "PUT", "/v1/creatives/"+id, body)
	}
	s.want(201, "PUT", "/v1/line-items/l", `{"campaign": "c", "name": "L", "goal": {"type": "cpm", "value": "2"}, "creatives": ["script", "frame", "plain", "video", "native"]}`)
	_, items := compile(t, s.docs)
	if len(items) != 1 || len(items[0].Creatives) != 5 || items[0].Seat != "s9" || items[0].Location != time.UTC {
		t.Fatalf("compiled %+v", items)
	}
	ads := items[0].Creatives
	if a := ads[0]; a.BannerType != 3 || !a.Secure || a.Mime != rtb.ParseMime("text/html") || a.Advertisers[0] != "acme.example" || a.Categories[0] != "IAB18" {
		t.Errorf("script = %+v", a)
	}
	if a := ads[1]; a.BannerType != 4 || a.Secure || !a.API.Has(5) || a.Attributes != rtb.BitsOf(1, 2) {
		t.Errorf("frame = %+v", a)
	}
	if a := ads[2]; a.BannerType != 2 || a.Mime != rtb.ParseMime("image/gif") || a.Advertisers[0] != "b.example" || a.Categories[0] != "12" || a.Taxonomy != 2 || a.Expiry != 90 {
		t.Errorf("plain = %+v", a)
	}
	both := rtb.ParseMime("video/mp4") | rtb.ParseMime("video/webm")
	if a := ads[3]; a.Media != rtb.Video || !a.Linear || !a.Skippable || a.Duration != 15*time.Second || a.MimeAll != both || a.Mime != rtb.ParseMime("video/mp4") ||
		a.Bitrate != 900 || a.Language != "de" || len(a.Assets.MediaFiles) != 2 || len(a.Assets.CompanionOf) != 1 || a.DSA == nil || a.DSA.AdRender != 1 || a.Size != (rtb.Size{}) {
		t.Errorf("video = %+v", a)
	}
	if a := ads[4]; a.Media != rtb.Native || a.Assets.Icon.Size != (rtb.Size{W: 80, H: 80}) || a.Assets.CallTo != "C" || a.Assets.Sponsor != "S" {
		t.Errorf("native = %+v", a)
	}
}

func TestOnlyActiveDocumentsServe(t *testing.T) {
	s := start(t, nil)
	s.seed()
	count := func() int {
		_, items := compile(t, s.docs)
		return len(items)
	}
	for path, body := range map[string]string{
		"/v1/advertisers/acme":          acme,
		"/v1/campaigns/spring":          spring,
		"/v1/line-items/runners-berlin": strings.Replace(lineItem, `"status": "active",`, "", 1),
		"/v1/creatives/banner-300x250":  banner,
	} {
		for _, status := range []string{"paused", "archived"} {
			s.want(200, "PUT", path, `{"status": "`+status+`", `+strings.TrimSpace(body)[1:])
			if n := count(); n != 0 {
				t.Errorf("%d line items serve while %s is %s", n, path, status)
			}
		}
		s.want(200, "PUT", path, body)
		if n := count(); n != 1 {
			t.Errorf("%d line items serve with %s active again, want 1", n, path)
		}
	}
}

func TestVersionAloneWhenNothingChanged(t *testing.T) {
	s := start(t, nil)
	s.seed()
	c := admin.NewCompiler(s.docs, exchangeID, nil)
	_, version, err := c.LineItems(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	items, again, err := c.LineItems(t.Context(), version)
	if items != nil || again != version || err != nil {
		t.Errorf("LineItems(%d) = %d items, %d, %v, want the version alone", version, len(items), again, err)
	}
	s.want(204, "DELETE", "/v1/line-items/runners-berlin", "")
	items, again, err = c.LineItems(t.Context(), version)
	if items == nil || len(items) != 0 || again == version || err != nil {
		t.Errorf("LineItems after the last was deleted = %v, %d, %v, want an empty list and a new version", items, again, err)
	}
}

// A document that breaks takes down itself and nothing else.
func TestBrokenDocumentsAreLeftOut(t *testing.T) {
	answer := func(c *rtb.Creative) error {
		if c.Key == "bad" {
			return errors.New("image: gone")
		}
		return nil
	}
	s := start(t, func(p *admin.Parts) { p.Compiler = admin.NewCompiler(p.Documents, exchangeID, answer) })
	s.seed()
	s.want(201, "PUT", "/v1/creatives/bad", banner)
	s.want(201, "PUT", "/v1/advertisers/other", acme)
	put := func(kind, id, body string) {
		t.Helper()
		if _, _, err := s.docs.Put(t.Context(), kind, id, []byte(body), 0); err != nil {
			t.Fatal(err)
		}
	}
	with := func(old, new string) string { return strings.Replace(lineItem, old, new, 1) }
	put("line-items", "a-not-json", `{`)
	put("line-items", "a-wrong-type", `{"campaign": 7}`)
	put("line-items", "a-goal", with(`"cpc"`, `"cpx"`))
	put("line-items", "a-campaign", with(`"spring"`, `"nowhere"`))
	put("line-items", "a-segment", with(`"runners"`, `"nobody"`))
	put("line-items", "a-device", with(`"phone"`, `"fridge"`))
	put("line-items", "a-exchange", with(`"exchanges": []`, `"exchanges": ["nowhere"]`))
	put("line-items", "a-flight", with(`"2026-12-31T23:59:59+01:00"`, `"2020-01-01T00:00:00Z"`))
	put("line-items", "a-creative", with(`"banner-300x250"`, `"nothing"`))
	put("line-items", "a-bad-creative", with(`"banner-300x250"`, `"bad"`))
	put("line-items", "half", with(`"banner-300x250"`, `"bad", "banner-300x250"`))
	put("campaigns", "lost", `{"advertiser": "nobody", "name": "x"}`)
	put("line-items", "a-lost", with(`"spring"`, `"lost"`))
	put("campaigns", "over", `{"advertiser": "acme", "name": "x", "flight": {"end": "2025-01-01T00:00:00Z"}}`)
	put("line-items", "a-over", with(`"spring"`, `"over"`))
	put("campaigns", "theirs", `{"advertiser": "other", "name": "x"}`)
	put("line-items", "a-foreign", with(`"spring"`, `"theirs"`))
	put("advertisers", "mars", `{"name": "x", "domains": ["x.example"], "timezone": "Mars/Base"}`)

	var got struct{ Problems []admin.Problem }
	body := s.want(200, "GET", "/v1/problems", "").Body
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	reported := map[string]bool{}
	for _, p := range got.Problems {
		reported[p.ID] = true
		if p.Reason == "" || p.Kind == "" {
			t.Errorf("problem %+v says nothing", p)
		}
	}
	for _, id := range []string{"a-not-json", "a-wrong-type", "a-goal", "a-campaign", "a-segment", "a-device", "a-exchange", "a-flight", "a-creative", "a-bad-creative", "bad", "a-lost", "a-over", "a-foreign", "mars"} {
		if !reported[id] {
			t.Errorf("%s is not among the problems %v", id, got.Problems)
		}
	}
	c := admin.NewCompiler(s.docs, exchangeID, answer)
	items, _, err := c.LineItems(t.Context(), 0)
	if err != nil || len(items) != 2 || items[0].Key != "half" || items[1].Key != "runners-berlin" {
		t.Fatalf("serving %v, %v, want half and runners-berlin", items, err)
	}
	if len(items[0].Creatives) != 1 {
		t.Errorf("half has %d creatives, want the one that is not broken", len(items[0].Creatives))
	}
}

// Whatever is stored, reading it twice gives the same line items, and each is
// one that targeting can rely on.
func FuzzCompile(f *testing.F) {
	f.Add([]byte(lineItem), []byte(banner), []byte(spring), []byte(acme))
	f.Add([]byte(`{"campaign": "spring", "goal": {"type": "cpm", "value": "1"}, "creatives": ["c"], "targeting": {"hours": {"monday": [[0, 24]]}}}`),
		[]byte(`{"advertiser": "acme", "type": "native", "title": "x", "click_url": "https://a.example/"}`), []byte(`{"advertiser": "acme"}`), []byte(`{"domains": ["a.example"]}`))
	f.Add([]byte(`{"campaign": "spring", "goal": {"type": "cpc", "value": "1", "max_cpm": "3", "max_cpc": "2", "max_cpa": "9"}, "creatives": ["c"], "fees": {"share": "0.15", "cpm": "0.5"}, "limits": {"impressions": {"total": 7}, "clicks": {"daily": 1}}}`),
		[]byte(banner), []byte(`{"advertiser": "acme", "limits": {"clicks": {"total": 5}}}`), []byte(acme))
	f.Add([]byte(`{"targeting": {"geo": {"countries": ["D"]}, "languages": [""]}}`), []byte(`null`), []byte(`[]`), []byte(`{"timezone": "Local"}`))
	f.Fuzz(func(t *testing.T, item, creative, campaign, advertiser []byte) {
		docs := &memory{version: 1, kinds: map[string]map[string][]byte{
			"line-items": {"l": item}, "creatives": {"c": creative, "banner-300x250": creative}, "campaigns": {"spring": campaign},
			"advertisers": {"acme": advertiser}, "segments": {"bought-30d": nil, "runners": nil},
		}}
		_, items := compile(t, docs)
		_, again := compile(t, docs)
		if fmt.Sprint(len(items)) != fmt.Sprint(len(again)) || len(items) == 1 && show(items[0]) != show(again[0]) {
			t.Fatalf("read twice\n%+v\n%+v", items, again)
		}
		for _, item := range items {
			checkLineItem(t, &item)
		}
	})
}

// checkLineItem is what package rtb promises of a line item.
func checkLineItem(t testing.TB, item *rtb.LineItem) {
	t.Helper()
	g := item.Goal
	switch {
	case item.ID == 0 || item.Campaign == 0 || item.Advertiser == 0 || item.Key == "":
		t.Fatalf("line item without numbers: %+v", item)
	case item.Location == nil:
		t.Fatal("no Location")
	case g.Type == 0 || g.Value <= 0 || g.Max <= 0:
		t.Fatalf("goal %+v", g)
	case item.Fees.Share > rtb.MaxFeeShare || item.Fees.Off(g.Max) <= 0 || g.MaxCPC < 0 || g.MaxCPA < 0:
		t.Fatalf("fees %+v of goal %+v", item.Fees, g)
	case slices.ContainsFunc(item.Budgets, func(b rtb.Budget) bool { return b.Account == 0 || b.Total < 0 || b.Daily < 0 }):
		t.Fatalf("budgets %+v", item.Budgets)
	case len(item.Creatives) == 0 || len(item.Budgets) == 0:
		t.Fatalf("no creatives or no budget: %+v", item)
	case !item.Flight.End.IsZero() && !item.Flight.End.After(item.Flight.Start):
		t.Fatalf("flight %+v", item.Flight)
	}
	for _, c := range item.Creatives {
		if c.ID == 0 || c.Media == 0 || len(c.Advertisers) == 0 || c.ClickURL == "" || c.Media == rtb.Banner && (c.Size.W == 0 || c.Size.H == 0) || c.MimeAll == 0 && c.Media != rtb.Native {
			t.Fatalf("creative %+v", c)
		}
	}
}

// What the API takes can be compiled, and taking it again changes nothing.
func TestAcceptedDocumentsCompile(t *testing.T) {
	s := start(t, nil)
	s.seed()
	rapid.Check(t, func(t *rapid.T) {
		pick := func(label string, values ...string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 0, 3, rapid.ID).Draw(t, label)
		}
		item := map[string]any{
			"campaign": "spring", "name": rapid.StringN(1, 40, 200).Draw(t, "name"), "creatives": []string{"banner-300x250"},
			"pacing": rapid.SampledFrom([]string{"even", "asap", "ahead"}).Draw(t, "pacing"),
			"goal": map[string]any{"type": rapid.SampledFrom([]string{"cpm", "cpc"}).Draw(t, "goal"),
				"value":   fmt.Sprintf("%d.%d", rapid.IntRange(0, 99).Draw(t, "units"), rapid.IntRange(1, 999).Draw(t, "decimals")),
				"max_cpm": fmt.Sprintf("%d", rapid.IntRange(1, 99).Draw(t, "max")), "max_cpa": fmt.Sprintf("%d.5", rapid.IntRange(0, 99).Draw(t, "cpa"))},
			"limits": map[string]any{"impressions": map[string]any{"daily": rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "impressions")}},
			"fees":   map[string]any{"share": fmt.Sprintf("%d.%04d", rapid.IntRange(0, 4).Draw(t, "whole"), rapid.IntRange(0, 9999).Draw(t, "share"))},
			"targeting": map[string]any{
				"devices": pick("devices", "phone", "tablet", "mobile", "tv"), "os": pick("os", "ios", "android", "tvos"),
				"connections": pick("connections", "wifi", "cellular", "5g"), "languages": pick("languages", "de", "EN", "fr"),
				"segments": map[string]any{"any": pick("any", "runners", "bought-30d")},
				"geo":      map[string]any{"countries": pick("countries", "de", "US", "FR")},
			},
		}
		body, err := json.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		first := s.do("PUT", "/v1/line-items/random", string(body))
		if first.Status != 200 && first.Status != 201 {
			t.Fatalf("PUT %s: %d %s", body, first.Status, first.Body)
		}
		_, items := compile(s.t, s.docs)
		again := s.do("PUT", "/v1/line-items/random", first.Body)
		if again.Status != 200 || again.etag() != first.etag() {
			t.Fatalf("PUT of what was answered: %d %s, want 200 and %s", again.Status, again.etag(), first.etag())
		}
		_, more := compile(s.t, s.docs)
		if len(items) != 2 || len(more) != 2 || show(items[0]) != show(more[0]) {
			t.Fatalf("applied twice\n%+v\n%+v", items, more)
		}
		checkLineItem(s.t, &items[0])
	})
}
