package openrtb

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"

	"github.com/prebid/openrtb/v20/openrtb2"
)

var updateAnswers = flag.Bool("update", false, "rewrite the golden answers")

const (
	testBase  = "https://bid.example.com"
	testToken = "dG9rZW4-_tok"
	testServe = "c2VydmVy-_tok"
)

var testForm = Form{Seat: "seat-1", NoticeBase: testBase, NURL: true, BURL: true, LURL: true}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// The ads of the tests, not yet compiled.

func pictureBanner() *rtb.Creative {
	return &rtb.Creative{
		ID: 7, Key: "banner-300x250", Media: rtb.Banner, Size: rtb.Size{W: 300, H: 250},
		Advertisers: []string{"shoes.example"}, Categories: []string{"IAB18-5"}, Attributes: rtb.BitsOf(1, 13),
		ClickURL: "https://shoes.example/run?a=1&b=2", Language: "de",
		Assets: rtb.Assets{Image: "https://cdn.example/a.jpg?x=1&y=2", Title: `Run "fast" & <far>`},
	}
}

func htmlBanner() *rtb.Creative {
	c := pictureBanner()
	c.ID, c.Key, c.Taxonomy, c.Expiry = 8, "html", 7, 300
	c.Assets = rtb.Assets{HTML: `<a href='{CLICK_TRACKER}'>Läufer</a><a href="https://m.example/c?u={CLICK_URL}">x</a>` +
		`<img src="https://cdn.example/p.png?r={CACHE_BUSTER}"><script>var u="{CLICK_URL}",p="${AUCTION_PRICE}"</script>`}
	return c
}

func videoAd() *rtb.Creative {
	return &rtb.Creative{
		ID: 9, Key: "video-15s", Media: rtb.Video, Duration: 15 * time.Second, Skippable: true,
		Advertisers: []string{"shoes.example", "laces.example"}, ClickURL: "https://shoes.example/",
		DSA: &rtb.CreativeDSA{Behalf: "Shoes GmbH", Paid: "Shoes & Co", AdRender: 1},
		Assets: rtb.Assets{Title: "Run <15s> ]]>", MediaFiles: []rtb.MediaFile{
			{URL: "https://cdn.example/v.mp4?a=1&b=2", Mime: rtb.ParseMime("video/mp4"), Size: rtb.Size{W: 1280, H: 720}, Bitrate: 1200},
			{URL: "https://cdn.example/v.webm", Mime: rtb.ParseMime("video/webm"), Size: rtb.Size{W: 640, H: 360}, Duration: ms(15400)},
			{URL: "https://cdn.example/v.m3u8", Mime: rtb.ParseMime("application/vnd.apple.mpegurl"), Size: rtb.Size{W: 1280, H: 720}},
		}, CompanionOf: []rtb.Picture{{URL: "https://cdn.example/c.png", Size: rtb.Size{W: 300, H: 60}}}},
	}
}

func audioAd() *rtb.Creative {
	return &rtb.Creative{
		ID: 10, Key: "audio-30s", Media: rtb.Audio, Advertisers: []string{"shoes.example"},
		Assets: rtb.Assets{MediaFiles: []rtb.MediaFile{
			{URL: "https://cdn.example/a.mp3", Mime: rtb.ParseMime("audio/mpeg"), Bitrate: 128, Duration: ms(29500)},
		}},
	}
}

func nativeAd() *rtb.Creative {
	return &rtb.Creative{
		ID: 11, Key: "native", Media: rtb.Native, Advertisers: []string{"shoes.example"}, ClickURL: "https://shoes.example/n",
		Assets: rtb.Assets{
			Title: `Schnell "laufen" \ €`, Body: "Line one", Sponsor: "Shoes", CallTo: "Buy", Rating: "4", Price: "$10",
			Main: rtb.Picture{URL: "https://cdn.example/m.jpg", Size: rtb.Size{W: 1200, H: 627}},
			Icon: rtb.Picture{URL: "https://cdn.example/i.png", Size: rtb.Size{W: 100, H: 100}},
			MediaFiles: []rtb.MediaFile{
				{URL: "https://cdn.example/v.mp4", Mime: rtb.ParseMime("video/mp4"), Size: rtb.Size{W: 1280, H: 720}, Duration: 20 * time.Second},
			},
		},
	}
}

func compiled(t testing.TB, c *rtb.Creative) *rtb.Creative {
	t.Helper()
	if err := Compile(c, testBase); err != nil {
		t.Fatalf("Compile(%s) = %v", c.Key, err)
	}
	return c
}

func bidFor(c *rtb.Creative, imp string) rtb.Bid {
	bid := rtb.Bid{
		ID: rtb.BidID{0xFB, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xFF}, Imp: &rtb.Imp{ID: rtb.Token(imp)},
		LineItem: &rtb.LineItem{Campaign: 42}, Creative: c, Price: 2_500_001, Token: []byte(testToken), ViewToken: []byte(testToken), ServerToken: []byte(testServe),
	}
	for i := range bid.NativeIDs {
		bid.NativeIDs[i] = -1
	}
	return bid
}

func responseOf(bids ...rtb.Bid) *rtb.Response {
	return &rtb.Response{RequestID: rtb.Token(`"re\u0071/1"`), Currency: rtb.USD, Bids: bids}
}

// Each case is encoded and must equal its golden file, and be what the
// reference types read.
func TestAppendResponseGolden(t *testing.T) {
	banner := bidFor(compiled(t, pictureBanner()), `"1"`)
	html := bidFor(compiled(t, htmlBanner()), `"2"`)
	html.Deal, html.Seat = rtb.Token(`"deal\/9"`), "seat-2"
	adapted := bidFor(banner.Creative, `"3"`)
	adapted.Size, adapted.Price = rtb.Size{W: 336, H: 280}, rtb.OneCPM
	video := bidFor(compiled(t, videoAd()), `"1"`)
	video.Protocol, video.Size = 7, rtb.Size{W: 640, H: 480}
	audio := bidFor(compiled(t, audioAd()), `"1"`)
	native := bidFor(compiled(t, nativeAd()), `"1"`)
	native.NativeIDs[0], native.NativeIDs[1], native.NativeIDs[3] = 11, 0, 123
	tracked := native
	tracked.Viewable = true

	google := Form{NoticeBase: testBase, PixelPrice: true, MaxCRID: 10, Ext: `"agency":"x"`, NativeWrapped: true}
	tests := []struct {
		name string
		resp *rtb.Response
		form *Form
	}{
		{"banner", responseOf(banner), &testForm},
		{"banners-two-seats", responseOf(banner, html, adapted), &testForm},
		{"banner-pixel-billed", responseOf(banner), &google},
		{"video", responseOf(video), &testForm},
		{"video-pixel-billed", responseOf(video), &google},
		{"audio", responseOf(audio), &testForm},
		{"native", responseOf(native), &testForm},
		{"native-wrapped", responseOf(native), &google},
		{"native-viewable", responseOf(tracked), &google},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden := filepath.Join("testdata", "answers", tt.name+".response.json")
			got := AppendResponse(nil, tt.resp, tt.form)
			if *updateAnswers {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("AppendResponse differs from %s\n got %s\nwant %s", golden, got, want)
			}
			checkAnswer(t, got, tt.resp)
		})
	}
}

// checkAnswer reads an answer with the reference types and compares it to what
// was bid.
func checkAnswer(t *testing.T, body []byte, resp *rtb.Response) openrtb2.BidResponse {
	t.Helper()
	var got openrtb2.BidResponse
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("answer does not parse: %v\n%s", err, body)
	}
	if got.ID != "req/1" || got.Cur != resp.Currency.String() {
		t.Errorf("id %q cur %q, want req/1 and %s", got.ID, got.Cur, resp.Currency)
	}
	n := 0
	for _, seat := range got.SeatBid {
		for _, bid := range seat.Bid {
			n++
			i := slices.IndexFunc(resp.Bids, func(b rtb.Bid) bool { return string(b.Imp.ID.Text()) == bid.ImpID })
			if i < 0 {
				t.Errorf("no bid for imp %q", bid.ImpID)
				continue
			}
			want := &resp.Bids[i]
			id, err := base64.RawURLEncoding.DecodeString(bid.ID)
			if err != nil || rtb.BidID(id) != want.ID {
				t.Errorf("bid id %q is not that of the bid: %v", bid.ID, err)
			}
			if rtb.FromCPM(bid.Price) != want.Price {
				t.Errorf("price %v, want %v", bid.Price, want.Price.CPM())
			}
			if !slices.Equal(bid.ADomain, want.Creative.Advertisers) || bid.CID != "42" || rtb.Media(bid.MType) != want.Creative.Media {
				t.Errorf("adomain %v cid %q mtype %d of %s", bid.ADomain, bid.CID, bid.MType, want.Creative.Key)
			}
			if !strings.Contains(bid.AdM, "/e/view?t="+testToken) {
				t.Errorf("no impression pixel in %s", bid.AdM)
			}
			if strings.Contains(bid.AdM, testServe) || strings.Contains(bid.NURL+bid.BURL+bid.LURL, testToken) {
				t.Errorf("a token in the hands of another class: %s %s %s %s", bid.NURL, bid.BURL, bid.LURL, bid.AdM)
			}
			for _, mark := range marks {
				if strings.ContainsRune(bid.AdM, mark) {
					t.Errorf("mark %q left in %s", mark, bid.AdM)
				}
			}
			switch want.Creative.Media {
			case rtb.Video, rtb.Audio:
				readVAST(t, bid.AdM)
			case rtb.Native:
				readNative(t, bid.AdM)
			}
		}
	}
	if n != len(resp.Bids) {
		t.Errorf("%d bids, want %d", n, len(resp.Bids))
	}
	return got
}

func TestAppendResponseGroupsSeats(t *testing.T) {
	banner := compiled(t, pictureBanner())
	imps := []string{`"a"`, `"b"`, `"c"`, `"d"`}
	seats := []string{"x", "", "x", "y"}
	resp := responseOf()
	for i := range imps {
		resp.Bids = append(resp.Bids, bidFor(banner, imps[i]))
		resp.Bids[i].Seat = seats[i]
	}
	resp.Bids[3].Seat, resp.Bids[3].LineItem = "", &rtb.LineItem{Campaign: 42, Seat: `y"`}

	got := checkAnswer(t, AppendResponse(nil, resp, &testForm), resp)
	var order []string
	for _, s := range got.SeatBid {
		text := s.Seat + ":"
		for _, b := range s.Bid {
			text += b.ImpID
		}
		order = append(order, text)
	}
	if want := []string{"x:ac", "seat-1:b", `y":d`}; !slices.Equal(order, want) {
		t.Errorf("seats %q, want %q", order, want)
	}
}

func TestAppendResponseWithoutBids(t *testing.T) {
	got := string(AppendResponse(nil, &rtb.Response{RequestID: rtb.Token(`"1"`)}, &testForm))
	if want := `{"id":"1","seatbid":[]}`; got != want {
		t.Errorf("AppendResponse = %s, want %s", got, want)
	}
}

func TestAppendResponseNotices(t *testing.T) {
	resp := responseOf(bidFor(compiled(t, pictureBanner()), `"1"`))
	bid := checkAnswer(t, AppendResponse(nil, resp, &testForm), resp).SeatBid[0].Bid[0]
	price := "&p=${AUCTION_PRICE}"
	for _, n := range []struct{ name, got, want string }{
		{"nurl", bid.NURL, testBase + "/e/win?t=" + testServe + price + "&m=${AUCTION_MIN_TO_WIN}"},
		{"burl", bid.BURL, testBase + "/e/bill?t=" + testServe + price},
		{"lurl", bid.LURL, testBase + "/e/loss?t=" + testServe + price + "&r=${AUCTION_LOSS}&m=${AUCTION_MIN_TO_WIN}"},
	} {
		if n.got != n.want {
			t.Errorf("%s = %s, want %s", n.name, n.got, n.want)
		}
	}
	if strings.Contains(bid.AdM, "${") {
		t.Errorf("price macro in a pixel that does not bill: %s", bid.AdM)
	}

	bid = checkAnswer(t, AppendResponse(nil, resp, &Form{NoticeBase: testBase, PixelPrice: true}), resp).SeatBid[0].Bid[0]
	if bid.NURL+bid.BURL+bid.LURL != "" {
		t.Errorf("notices %q %q %q, want none", bid.NURL, bid.BURL, bid.LURL)
	}
	if want := "/e/view?t=" + testToken + "&amp;p=${AUCTION_PRICE}\""; !strings.Contains(bid.AdM, want) {
		t.Errorf("markup %s, want %s in it", bid.AdM, want)
	}
}

func TestAppendResponseCRID(t *testing.T) {
	resp := responseOf(bidFor(compiled(t, pictureBanner()), `"1"`)) // its key has 14 bytes
	for limit, want := range map[int]string{0: "banner-300x250", 14: "banner-300x250", 13: "7"} {
		got := checkAnswer(t, AppendResponse(nil, resp, &Form{MaxCRID: limit}), resp)
		if crid := got.SeatBid[0].Bid[0].CrID; crid != want {
			t.Errorf("crid = %q with a limit of %d, want %q", crid, limit, want)
		}
	}
}

func TestAppendResponseExt(t *testing.T) {
	withDSA, without := compiled(t, videoAd()), compiled(t, pictureBanner())
	const dsa = `"dsa":{"behalf":"Shoes GmbH","paid":"Shoes & Co","adrender":1}`
	tests := []struct {
		c         *rtb.Creative
		ext, want string
	}{
		{without, ``, ``},
		{without, `"a":1`, `{"a":1}`},
		{withDSA, ``, `{` + dsa + `}`},
		{withDSA, `"a":1`, `{"a":1,` + dsa + `}`},
	}
	for _, tt := range tests {
		resp := responseOf(bidFor(tt.c, `"1"`))
		got := checkAnswer(t, AppendResponse(nil, resp, &Form{Ext: tt.ext}), resp)
		if ext := string(got.SeatBid[0].Bid[0].Ext); ext != tt.want {
			t.Errorf("ext of %s with %q = %s, want %s", tt.c.Key, tt.ext, ext, tt.want)
		}
	}
}

// An id is echoed as it was sent, whatever its type and escapes.
func TestAppendResponseEchoesTokens(t *testing.T) {
	for _, token := range []string{`"a"`, `"\ud83d\ude00\/"`, `12345678901234567890`, `"ü"`} {
		bid := bidFor(compiled(t, pictureBanner()), token)
		bid.Deal = rtb.Token(token)
		resp := &rtb.Response{RequestID: rtb.Token(token), Bids: []rtb.Bid{bid}}
		got := string(AppendResponse(nil, resp, &testForm))
		for _, member := range []string{`{"id":` + token + `,`, `"impid":` + token + `,`, `"dealid":` + token + `,`} {
			if !strings.Contains(got, member) {
				t.Errorf("no %s in %s", member, got)
			}
		}
	}
}

func TestAppendNoBid(t *testing.T) {
	tests := []struct {
		id     string
		reason rtb.NoBid
		want   string
	}{
		{`"r"`, rtb.InvalidRequest, `{"id":"r","nbr":2}`},
		{`"r"`, rtb.TooLate, `{"id":"r","nbr":15}`},
		{`7`, rtb.BudgetSpent, `{"id":7,"nbr":0}`},
		{``, rtb.Overload, `{"id":"","nbr":1}`},
		{`"r"`, rtb.NoBid(255), `{"id":"r","nbr":0}`},
	}
	for _, tt := range tests {
		if got := string(AppendNoBid(nil, rtb.Token(tt.id), tt.reason)); got != tt.want {
			t.Errorf("AppendNoBid(%s, %v) = %s, want %s", tt.id, tt.reason, got, tt.want)
		}
	}
	for reason, code := range noBidCodes {
		if code > 17 {
			t.Errorf("%v has the code %d, which is not in the list", rtb.NoBid(reason), code)
		}
	}
}

// What we write must be JSON and read as what encoding/json writes reads.
func FuzzAppendJSONString(f *testing.F) {
	for _, seed := range []string{
		"", "plain", `"\/`, "\x00\x1f\x7f\n\r\t\b\f", "ü€😀", "\xff\xc3", "\xed\xa0\x80", "a\u2028b\u2029", "\xf0\x9f\x98", "</script>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		ours := appendJSONString(nil, s)
		if again := appendJSONString(nil, string(s)); !bytes.Equal(ours, again) {
			t.Fatalf("of bytes %s, of a string %s", ours, again)
		}
		theirs, err := json.Marshal(string(s))
		if err != nil {
			t.Fatal(err)
		}
		var got, want string
		if err := json.Unmarshal(ours, &got); err != nil {
			t.Fatalf("%s is not JSON: %v", ours, err)
		}
		if err := json.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("appendJSONString(%q) reads %q, want %q", s, got, want)
		}
	})
}

func TestAppendResponseDoesNotAllocate(t *testing.T) {
	native := bidFor(compiled(t, nativeAd()), `"1"`)
	native.NativeIDs[0] = 1
	resp := responseOf(bidFor(compiled(t, pictureBanner()), `"1"`), bidFor(compiled(t, videoAd()), `"2"`), native)
	body := AppendResponse(nil, resp, &testForm)
	allocs := testing.AllocsPerRun(100, func() {
		body = AppendResponse(body[:0], resp, &testForm)
		body = AppendNoBid(body, resp.RequestID, rtb.PacedOut)
	})
	if allocs != 0 {
		t.Errorf("AppendResponse allocates %v times, want 0", allocs)
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	for _, c := range []*rtb.Creative{pictureBanner(), videoAd(), nativeAd()} {
		b.Run(c.Media.String(), func(b *testing.B) {
			bid := bidFor(compiled(b, c), `"1"`)
			bid.NativeIDs[0], bid.NativeIDs[1], bid.NativeIDs[3] = 1, 2, 3
			bid.Token, bid.ServerToken = bytes.Repeat([]byte("t"), 151), bytes.Repeat([]byte("s"), 151)
			bid.ViewToken = bytes.Repeat([]byte("v"), 424)
			resp := responseOf(bid)
			body := AppendResponse(nil, resp, &testForm)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				body = AppendResponse(body[:0], resp, &testForm)
			}
		})
	}
}
