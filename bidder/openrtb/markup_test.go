package openrtb

import (
	"encoding/json"
	"strings"
	"testing"

	"bidwell/rtb"
)

// unescaped is what a JSON string says.
func unescaped(t *testing.T, escaped []byte) string {
	t.Helper()
	var text string
	if err := json.Unmarshal([]byte(`"`+string(escaped)+`"`), &text); err != nil {
		t.Fatalf("%s does not fit into a JSON string: %v", escaped, err)
	}
	return text
}

func markupOf(t *testing.T, c *rtb.Creative) string {
	t.Helper()
	bid := bidFor(c, `"1"`)
	return unescaped(t, appendPieces(nil, c.Answer, &bid, &Form{}))
}

func TestCompileNamesWhatIsWrong(t *testing.T) {
	tests := []struct {
		name   string
		of     func() *rtb.Creative
		change func(c *rtb.Creative)
		want   string // "" when nothing is
	}{
		{"banner", pictureBanner, func(*rtb.Creative) {}, ""},
		{"no medium", pictureBanner, func(c *rtb.Creative) { c.Media = 0 }, "type: "},
		{"no size", pictureBanner, func(c *rtb.Creative) { c.Size.H = 0 }, "size: size missing"},
		{"no picture", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "" }, "assets.image: address missing"},
		{"relative picture", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "//cdn.example/a.jpg" }, "assets.image: not an absolute"},
		{"script as picture", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "javascript:alert(1)" }, "assets.image: not an absolute"},
		{"space in address", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "https://cdn.example/a b.jpg" }, `assets.image: address contains ' '`},
		{"quote in address", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = `https://cdn.example/"onload=x` }, `assets.image: address contains '"'`},
		{"macro in address", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "https://cdn.example/${AUCTION_ID}" }, `assets.image: address contains '{'`},
		{"user in address", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "https://me:pw@cdn.example/" }, "assets.image: address with a user name"},
		{"long address", pictureBanner, func(c *rtb.Creative) { c.Assets.Image += strings.Repeat("x", rtb.MaxAddress) }, "assets.image: address longer"},
		{"no landing page", pictureBanner, func(c *rtb.Creative) { c.ClickURL = "" }, "click_url: missing"},
		{"bad landing page", pictureBanner, func(c *rtb.Creative) { c.ClickURL = "shoes.example" }, "click_url: not an absolute"},
		{"macros in the landing page", pictureBanner, func(c *rtb.Creative) { c.ClickURL += "&c={CLICK_ID}&l={LINE_ITEM}&x={THEIRS}" }, ""},
		{"macro in the host", pictureBanner, func(c *rtb.Creative) { c.ClickURL = "https://{CAMPAIGN}.example/" }, "click_url: address with the macro {CAMPAIGN} in its host"},
		{"half a macro in the landing page", pictureBanner, func(c *rtb.Creative) { c.ClickURL += "{click_id}" }, "click_url: address contains '{'"},
		{"landing page with macros in markup", htmlBanner, func(c *rtb.Creative) { c.ClickURL += "&c={CLICK_ID}" }, "assets.html: uses {CLICK_URL}, but macros"},
		{"bad iurl", pictureBanner, func(c *rtb.Creative) { c.ImageURL = "x" }, "image_url: not an absolute"},
		{"macro in title", pictureBanner, func(c *rtb.Creative) { c.Assets.Title = "win ${AUCTION_PRICE}" }, "assets.title: contains \"${\""},
		{"control in title", pictureBanner, func(c *rtb.Creative) { c.Assets.Title = "a\x00" }, "assets.title: contains a control"},
		{"invalid title", pictureBanner, func(c *rtb.Creative) { c.Assets.Title = "\xff" }, "assets.title: not UTF-8"},
		{"mark in title", pictureBanner, func(c *rtb.Creative) { c.Assets.Title = markToken }, "assets.title: contains a reserved"},
		{"mark in key", videoAd, func(c *rtb.Creative) { c.Key = markToken }, "id: contains a reserved"},
		{"unknown macro", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML = "{CLICKURL}" }, `assets.html: unknown macro "{CLICKURL}"`},
		{"unknown exchange macro", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML = "a${AUCTION_FOO} b" }, `assets.html: unknown macro "${AUCTION_FOO}"`},
		{"template literal", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML = "<script>`${x}`</script>" }, `assets.html: unknown macro "${x}"`},
		{"known macros", htmlBanner, func(c *rtb.Creative) {
			c.Assets.HTML = "${AUCTION_PRICE:B64}${GDPR}${GDPR_CONSENT_12}${AUCTION_MIN_TO_WIN}<style>a{color:red}</style>"
		}, ""},
		{"uncounted click", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML = `<a href="{CLICK_URL}">` }, "assets.html: uses {CLICK_URL} without"},
		{"macro without landing page", htmlBanner, func(c *rtb.Creative) { c.ClickURL = "" }, "click_url: missing"},
		{"mark in html", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML = markBidID }, "assets.html: contains a reserved"},
		{"long html", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML = strings.Repeat("x", maxHTML+1) }, "assets.html: longer"},
		{"no media files", videoAd, func(c *rtb.Creative) { c.Assets.MediaFiles = nil }, "assets.media_files: missing"},
		{"no duration", videoAd, func(c *rtb.Creative) { c.Duration = 0 }, "duration: must be"},
		{"other duration", videoAd, func(c *rtb.Creative) { c.Duration = ms(30000) }, "assets.media_files[1].duration: differs"},
		{"unknown mime", videoAd, func(c *rtb.Creative) { c.Assets.MediaFiles[1].Mime = rtb.MimeOther }, "assets.media_files[1].mime: unknown"},
		{"audio in video", videoAd, func(c *rtb.Creative) { c.Assets.MediaFiles[0].Mime = rtb.ParseMime("audio/mpeg") }, "assets.media_files[0].mime: audio/mpeg is not video"},
		{"video in audio", audioAd, func(c *rtb.Creative) { c.Assets.MediaFiles[0].Mime = rtb.ParseMime("video/mp4") }, "assets.media_files[0].mime: video/mp4 is not audio"},
		{"no media size", videoAd, func(c *rtb.Creative) { c.Assets.MediaFiles[0].Size = rtb.Size{} }, "assets.media_files[0]: size missing"},
		{"wrapper protocol", videoAd, func(c *rtb.Creative) { c.Protocol = 6 }, "protocol: 6 is none of"},
		{"companion without end", videoAd, func(c *rtb.Creative) { c.Assets.CompanionOf[0].URL = "https://cdn.example/c" }, "assets.companions[0].url: does not end"},
		{"native without link", nativeAd, func(c *rtb.Creative) { c.ClickURL = "" }, "click_url: missing"},
		{"native without assets", nativeAd, func(c *rtb.Creative) { c.Assets, c.Advertisers = rtb.Assets{}, nil }, "assets: a native ad needs"},
		{"native image size", nativeAd, func(c *rtb.Creative) { c.Assets.Icon.Size.W = 0 }, "assets.icon: size missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.of()
			tt.change(c)
			err := Compile(c, testBase)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Compile = %v, want no error", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile = %v, want %q", err, tt.want)
			}
			if c.Answer != nil || c.Secure {
				t.Error("a creative that is wrong has an answer")
			}
		})
	}
}

func TestCompileReportsAll(t *testing.T) {
	c := nativeAd()
	c.ClickURL, c.Assets.Main.URL, c.Assets.Title = "", "x", "\x01"
	err := Compile(c, "bid.example.com")
	for _, want := range []string{"notice base", "click_url", "assets.main.url", "assets.title"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile = %v, want %q in it", err, want)
		}
	}
}

func TestCheckNoticeBase(t *testing.T) {
	for base, ok := range map[string]bool{
		"https://bid.example.com": true, "http://127.0.0.1:8080": true, "https://example.com/rtb": true,
		"": false, "bid.example.com": false, "https://bid.example.com/": false, "https://e.com?x": false, "https://e.com#": false,
		"ftp://e.com": false, "https://": false, "https://e.com/\"": false,
	} {
		if err := CheckNoticeBase(base); (err == nil) != ok {
			t.Errorf("CheckNoticeBase(%q) = %v, want ok %t", base, err, ok)
		}
	}
}

func TestCompileSecure(t *testing.T) {
	tests := []struct {
		name   string
		of     func() *rtb.Creative
		change func(c *rtb.Creative)
		base   string
		want   bool
	}{
		{"all https", pictureBanner, func(*rtb.Creative) {}, testBase, true},
		{"plain notices", pictureBanner, func(*rtb.Creative) {}, "http://bid.example.com", false},
		{"plain picture", pictureBanner, func(c *rtb.Creative) { c.Assets.Image = "http://cdn.example/a.jpg" }, testBase, false},
		{"plain iurl", pictureBanner, func(c *rtb.Creative) { c.ImageURL = "http://cdn.example/a.jpg" }, testBase, false},
		{"plain landing page", pictureBanner, func(c *rtb.Creative) { c.ClickURL = "http://shoes.example/" }, testBase, true},
		{"it claimed so", pictureBanner, func(c *rtb.Creative) { c.Assets.Image, c.Secure = "http://cdn.example/a.jpg", true }, testBase, false},
		{"html", htmlBanner, func(*rtb.Creative) {}, testBase, true},
		{"plain in html", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML += `<img src=HTTP://x.example/>` }, testBase, false},
		{"plain in script", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML += `<script>x="http:\/\/x.example"</script>` }, testBase, false},
		{"namespace in html", htmlBanner, func(c *rtb.Creative) { c.Assets.HTML += `<svg xmlns="http://www.w3.org/2000/svg">` }, testBase, true},
		{"plain link in html", htmlBanner, func(c *rtb.Creative) { c.ClickURL = "http://shoes.example/" }, testBase, false},
		{"video", videoAd, func(*rtb.Creative) {}, testBase, true},
		{"plain media file", videoAd, func(c *rtb.Creative) { c.Assets.MediaFiles[1].URL = "http://cdn.example/v.webm" }, testBase, false},
		{"plain companion", videoAd, func(c *rtb.Creative) { c.Assets.CompanionOf[0].URL = "http://cdn.example/c.png" }, testBase, false},
		{"native", nativeAd, func(*rtb.Creative) {}, testBase, true},
		{"plain icon", nativeAd, func(c *rtb.Creative) { c.Assets.Icon.URL = "http://cdn.example/i.png" }, testBase, false},
	}
	for _, tt := range tests {
		c := tt.of()
		tt.change(c)
		if err := Compile(c, tt.base); err != nil {
			t.Errorf("%s: Compile = %v", tt.name, err)
		} else if c.Secure != tt.want {
			t.Errorf("%s: secure = %t, want %t", tt.name, c.Secure, tt.want)
		}
	}
}

// Compiling again changes nothing, with another notice base only that.
func TestCompileAgain(t *testing.T) {
	c := compiled(t, videoAd())
	first := markupOf(t, c)
	if again := markupOf(t, compiled(t, c)); again != first {
		t.Errorf("compiled again %s, want %s", again, first)
	}
	if err := Compile(c, "https://other.example"); err != nil {
		t.Fatal(err)
	}
	if got, want := markupOf(t, c), strings.ReplaceAll(first, testBase, "https://other.example"); got != want {
		t.Errorf("with another base %s, want %s", got, want)
	}
}

func TestBannerMarkup(t *testing.T) {
	const (
		tracker = testBase + "/e/click?t=" + testToken
		pixel   = `<img src="` + testBase + "/e/view?t=" + testToken + `&amp;p=" width="1" height="1" alt="" style="position:absolute;visibility:hidden">`
		encoded = "https%3A%2F%2Fshoes.example%2Frun%3Fa%3D1%26b%3D2"
	)
	tests := []struct{ name, html, want string }{
		{"picture", "", `<a href="` + tracker + `" target="_blank" rel="noopener"><img src="https://cdn.example/a.jpg?x=1&amp;y=2" width="300" height="250"` +
			` alt="Run &#34;fast&#34; &amp; &lt;far&gt;" style="border:0"></a>`},
		{"attribute", `<a href="{CLICK_TRACKER}">`, `<a href="` + tracker + `">`},
		{"landing page", `<a href="{CLICK_URL}" ping="{CLICK_TRACKER}">`, `<a href="https://shoes.example/run?a=1&amp;b=2" ping="` + tracker + `">`},
		{"bare attribute", `<a href={CLICK_TRACKER}>`, `<a href=` + tracker + `>`},
		{"in a query", `<a href="https://m.example/?u={CLICK_URL}&t={CLICK_TRACKER}">`,
			`<a href="https://m.example/?u=` + encoded + `&t=` + "https%3A%2F%2Fbid.example.com%2Fe%2Fclick%3Ft%3D" + testToken + `">`},
		{"chained", `<a href="{CLICK_TRACKER}&u={CLICK_URL}">`, `<a href="` + tracker + `&u=` + encoded + `">`},
		{"script", `<script>a="{CLICK_URL}";b='{CLICK_TRACKER}'</script>`, `<script>a="https://shoes.example/run?a=1&b=2";b='` + tracker + `'</script>`},
		{"after a script", `<script></script><a href="{CLICK_URL}" ping="{CLICK_TRACKER}">`,
			`<script></script><a href="https://shoes.example/run?a=1&amp;b=2" ping="` + tracker + `">`},
		{"cache buster", `<img src="https://x.example/?{CACHE_BUSTER}">`, `<img src="https://x.example/?-wECAwQFBgcICQoLDA0O_w">`},
		{"exchange's macro", `${AUCTION_PRICE}`, `${AUCTION_PRICE}`},
		{"no macro", "<b>{ a } {} {A} \u20ac \"</b>", "<b>{ a } {} {A} \u20ac \"</b>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := pictureBanner()
			c.Assets.HTML = tt.html
			if got := markupOf(t, compiled(t, c)); got != tt.want+pixel {
				t.Errorf("markup\n got %s\nwant %s", got, tt.want+pixel)
			}
		})
	}
}

func TestBannerTypeAndMime(t *testing.T) {
	tests := []struct {
		html string
		kind uint8
		mime string
	}{
		{"", 2, "image/jpeg"}, {"<b>x</b>", 2, "text/html"}, {"<SCRIPT src=x>", 3, "text/html"}, {"<iframe><script>", 4, "text/html"},
	}
	for _, tt := range tests {
		c := pictureBanner()
		c.Assets.HTML = tt.html
		if compiled(t, c); c.BannerType != tt.kind || c.Mime.Name() != tt.mime {
			t.Errorf("%q: type %d mime %s, want %d and %s", tt.html, c.BannerType, c.Mime.Name(), tt.kind, tt.mime)
		}
	}
}

// Whatever the markup is, a bid with it is JSON, and the markup comes out as
// it went in.
func FuzzOwnHTML(f *testing.F) {
	f.Add(`<a href="{CLICK_TRACKER}">`, "https://shoes.example/?a='b&c")
	f.Add("\xff\u2028</script>{CACHE_BUSTER}${AUCTION_ID}", "https://x.example")
	f.Fuzz(func(t *testing.T, html, click string) {
		c := pictureBanner()
		c.Assets.HTML, c.ClickURL = html, click
		if Compile(c, testBase) != nil || html == "" {
			return
		}
		resp := responseOf(bidFor(c, `"1"`))
		got := checkAnswer(t, AppendResponse(nil, resp, &testForm), resp).SeatBid[0].Bid[0].AdM
		if ownMacro.MatchString(strings.ReplaceAll(got, "${", "")) {
			t.Errorf("a macro is left in %s", got)
		}
		if !strings.ContainsAny(html, "{") && !strings.HasPrefix(got, strings.ToValidUTF8(html, "\uFFFD")) &&
			!strings.HasPrefix(got, string([]rune(html))) {
			t.Errorf("markup %q became %q", html, got)
		}
	})
}
