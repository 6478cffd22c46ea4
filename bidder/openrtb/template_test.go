package openrtb

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"

	"bidwell/rtb"
)

// everywhere has each macro in every context that a banner may have it in.
const everywhere = `<div title="{PRODUCT_TITLE}" data-x='{PRODUCT_TITLE}' class=c>` +
	`<a href="{PRODUCT_URL}" target=_blank><img src="{PRODUCT_IMAGE}" alt="{PRODUCT_TITLE}"></a>` +
	`<b id="t">{PRODUCT_TITLE}</b><i id="p">{PRODUCT_PRICE}</i>` +
	`<textarea id="area">{PRODUCT_TITLE}</textarea>` +
	`<p style="background:url('{PRODUCT_IMAGE}')" onclick="say('{PRODUCT_TITLE}')">x</p>` +
	`<a href="https://shop.example/find?q={PRODUCT_TITLE}&r={CACHE_BUSTER}">find</a>` +
	`<style>b:after{content:"{PRODUCT_TITLE}"}</style>` +
	`<script>var t={PRODUCT_TITLE},p="{PRODUCT_PRICE}",i='{PRODUCT_IMAGE}',u="{PRODUCT_URL}";</script></div>`

func bannerTemplate(products ...rtb.Product) *rtb.Creative {
	c := pictureBanner()
	c.Key, c.Assets = "template", rtb.Assets{HTML: everywhere}
	c.Products = products
	return c
}

func nativeTemplate(products ...rtb.Product) *rtb.Creative {
	c := nativeAd()
	c.Assets.Title, c.Assets.Body, c.Assets.Price = "{PRODUCT_TITLE}", "Now: {PRODUCT_TITLE} for {PRODUCT_PRICE}", "{PRODUCT_PRICE}"
	c.Assets.Main.URL, c.Assets.MediaFiles = "{PRODUCT_IMAGE}", nil
	c.Products = products
	return c
}

func videoTemplate(products ...rtb.Product) *rtb.Creative {
	c := videoAd()
	c.Assets.Title, c.Assets.CompanionOf[0].URL = "{PRODUCT_TITLE}: {PRODUCT_PRICE}", "{PRODUCT_IMAGE}"
	c.Products = products
	return c
}

func shoe() rtb.Product {
	return rtb.Product{ID: "shoe-1", Title: "Runner's choice <2> & more", Price: "79 €", Image: "https://cdn.example/p.jpg?a=1&b='2'", URL: "https://shoes.example/p/1?c={CLICK_ID}"}
}

// node finds the first element with a name and, unless it is "", an id.
func node(n *html.Node, name, id string) *html.Node {
	if n.Type == html.ElementNode && n.Data == name && (id == "" || attr(n, "id") == id) {
		return n
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if found := node(c, name, id); found != nil {
			return found
		}
	}
	return nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var out strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.TextNode {
			out.WriteString(c.Data)
		} else {
			out.WriteString(text(c))
		}
	}
	return out.String()
}

// shape is the elements of a document and the names of their attributes.
func shape(n *html.Node) string {
	var out strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch c.Type {
		case html.ElementNode:
			fmt.Fprintf(&out, "<%s", c.Data)
			for _, a := range c.Attr {
				out.WriteString(" " + a.Key)
			}
			out.WriteString(">" + shape(c) + "/")
		case html.CommentNode:
			out.WriteString("<!>")
		}
	}
	return out.String()
}

func parsed(t *testing.T, markup string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(markup))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestTemplateOfABanner(t *testing.T) {
	second := rtb.Product{ID: "boot.2", Title: "Boot", Price: "$10", Image: "https://cdn.example/boot.png"}
	c := compiled(t, bannerTemplate(shoe(), second))
	if !c.Secure || c.BannerType != 3 || c.Answer != nil {
		t.Errorf("the template: secure %t, banner type %d, answer %v", c.Secure, c.BannerType, c.Answer)
	}
	for _, p := range c.Products {
		ad := p.Ad
		if ad.ID != c.ID || ad.Key != c.Key || len(ad.Products) != 0 {
			t.Errorf("the ad is creative %d %q with %d products", ad.ID, ad.Key, len(ad.Products))
		}
		markup := markupOf(t, ad)
		root := parsed(t, markup)
		click := testBase + "/e/click?i=" + p.ID + "&t=" + testToken
		for what, got := range map[string][2]string{
			"title in text":      {text(node(root, "b", "t")), p.Title},
			"price":              {text(node(root, "i", "p")), p.Price},
			"title in textarea":  {text(node(root, "textarea", "")), p.Title},
			"title as attribute": {attr(node(root, "div", ""), "title"), p.Title},
			"in single quotes":   {attr(node(root, "div", ""), "data-x"), p.Title},
			"alternative text":   {attr(node(root, "img", ""), "alt"), p.Title},
			"click":              {attr(node(root, "a", ""), "href"), click},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: %q, want %q\n%s", what, got[0], got[1], markup)
			}
		}
		// Quotes may be percent-encoded, which is the same address.
		if got := strings.ReplaceAll(attr(node(root, "img", ""), "src"), "%27", "'"); got != p.Image {
			t.Errorf("image: %q, want %q", got, p.Image)
		}
		if script := text(node(root, "script", "")); !strings.Contains(script, `u="`+click+`"`) {
			t.Errorf("script: %s, want the click address in it", script)
		}
	}
	if got := c.Products[1].Ad.ClickURL; got != c.ClickURL {
		t.Errorf("a product without a landing page leads to %q, want that of the creative", got)
	}
}

func TestTemplateOfANativeAd(t *testing.T) {
	p := shoe()
	c := compiled(t, nativeTemplate(p))
	ad := c.Products[0].Ad
	bid := bidFor(ad, `"1"`)
	for i := range ad.Native {
		bid.NativeIDs[i] = int32(i)
	}
	var got struct {
		Assets []struct {
			Title *struct{ Text string }
			Img   *struct{ URL string }
			Data  *struct{ Value string }
		}
		Link struct{ URL string }
	}
	answer := unescaped(t, appendNative(nil, &bid, &Form{}))
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	var have []string
	for _, a := range got.Assets {
		switch {
		case a.Title != nil:
			have = append(have, a.Title.Text)
		case a.Img != nil:
			have = append(have, a.Img.URL)
		case a.Data != nil:
			have = append(have, a.Data.Value)
		}
	}
	for _, want := range []string{p.Title, p.Image, p.Price, "Now: " + p.Title + " for " + p.Price} {
		if !slices.Contains(have, want) {
			t.Errorf("assets %q, want %q among them", have, want)
		}
	}
	if want := testBase + "/e/click?i=shoe-1&t=" + testToken; got.Link.URL != want {
		t.Errorf("link %q, want %q", got.Link.URL, want)
	}
	if !strings.Contains(string(ad.Fixed), "cdn.example/p.jpg") {
		t.Errorf("the picture for checks is not the product's: %s", ad.Fixed)
	}
}

func TestTemplateOfAVideo(t *testing.T) {
	p := shoe()
	p.Image = "https://cdn.example/p.jpg"
	c := compiled(t, videoTemplate(p))
	for _, v := range c.Products[0].Ad.Versions {
		bid := bidFor(c.Products[0].Ad, `"1"`)
		title, click := vastTitle(t, unescaped(t, appendPieces(nil, v.Pieces, &bid, &Form{})))
		if want := p.Title + ": " + p.Price; title != want {
			t.Errorf("protocol %d: title %q, want %q", v.Protocol, title, want)
		}
		if want := testBase + "/e/click?i=shoe-1&t=" + testToken; click != want {
			t.Errorf("protocol %d: click %q, want %q", v.Protocol, click, want)
		}
	}
}

func vastTitle(t *testing.T, document string) (title, click string) {
	t.Helper()
	var vast struct {
		Ad []struct {
			InLine struct {
				AdTitle   []string
				Creatives struct {
					Creative []struct {
						Linear struct {
							VideoClicks struct{ ClickThrough string }
						}
					}
				}
			}
		}
	}
	if err := xml.Unmarshal([]byte(document), &vast); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	if len(vast.Ad) != 1 || len(vast.Ad[0].InLine.AdTitle) != 1 || len(vast.Ad[0].InLine.Creatives.Creative) == 0 {
		t.Fatalf("the document has another shape: %s", document)
	}
	return vast.Ad[0].InLine.AdTitle[0], vast.Ad[0].InLine.Creatives.Creative[0].Linear.VideoClicks.ClickThrough
}

func TestTemplateNamesWhatIsWrong(t *testing.T) {
	type C = *rtb.Creative
	tests := []struct {
		name   string
		change func(c C)
		want   string
	}{
		{"no id", func(c C) { c.Products[1].ID = "" }, `products[1].id: ""`},
		{"id that needs escaping", func(c C) { c.Products[0].ID = "a&t=x" }, "products[0].id: "},
		{"id that is a path", func(c C) { c.Products[0].ID = "../x" }, "products[0].id: "},
		{"same id twice", func(c C) { c.Products[1].ID = c.Products[0].ID }, "products[1].id: shoe-1 is there twice"},
		{"no title", func(c C) { c.Products[1].Title = "" }, "products[1].title: missing"},
		{"no price, but its macro", func(c C) { c.Products[1].Price = "" }, "products[1].price: missing"},
		{"no picture, but its macro", func(c C) { c.Products[1].Image = "" }, "products[1].image: missing"},
		{"script as picture", func(c C) { c.Products[1].Image = "javascript:alert(1)" }, "products[1].image: not an absolute"},
		{"quote in picture", func(c C) { c.Products[1].Image = `https://cdn.example/"x` }, "products[1].image: address contains"},
		{"script as landing page", func(c C) { c.Products[1].URL = "javascript:alert(1)" }, "products[1].url: not an absolute"},
		{"macro in the host", func(c C) { c.Products[1].URL = "https://{CAMPAIGN}.example" }, "products[1].url: address with the macro"},
		{"name of a person", func(c C) { c.Products[1].Title = "For you, {FIRST_NAME}" }, `products[1].title: contains the macro "{FIRST_NAME}"`},
		{"in braces as others write it", func(c C) { c.Products[1].Title = "Hi {{user.name}}" }, "products[1].title: contains the macro"},
		{"in percent signs", func(c C) { c.Products[1].Title = "Hi %%NAME%%" }, "products[1].title: contains the macro"},
		{"macro of a product in a product", func(c C) { c.Products[1].Title = "{PRODUCT_PRICE}" }, "products[1].title: contains the macro"},
		{"macro of an exchange", func(c C) { c.Products[1].Price = "${AUCTION_PRICE}" }, "products[1].price: contains the macro"},
		{"half a macro of an exchange", func(c C) { c.Products[1].Title = "${" }, `products[1].title: contains "${"`},
		{"control", func(c C) { c.Products[1].Title = "a\x00b" }, "products[1].title: contains a control"},
		{"mark", func(c C) { c.Products[1].Title = markOpen }, "products[1].title: contains a reserved"},
		{"long title", func(c C) { c.Products[1].Title = strings.Repeat("x", maxText+1) }, "products[1].title: longer"},
		{"unknown macro of a product", func(c C) { c.Assets.HTML += "{PRODUCT_NAME}" }, `assets.html: unknown macro "{PRODUCT_NAME}"`},
		{"macro about a person", func(c C) { c.Assets.HTML += "{USER_ID}" }, `assets.html: unknown macro "{USER_ID}"`},
		{"nothing to fill in", func(c C) { c.Assets.HTML = "<b>x</b>" }, "products: nothing of the creative has a macro"},
		{"a picture alone", func(c C) { c.Assets = rtb.Assets{Image: "https://cdn.example/a.jpg"} }, "assets.html: missing"},
		{"markup within markup", func(c C) { c.Assets.HTML = `<iframe srcdoc="{PRODUCT_TITLE}"></iframe>` }, "assets.html: has srcdoc"},
		{"value as the name of an attribute", func(c C) { c.Assets.HTML = `<b on{PRODUCT_TITLE}="x">` }, "assets.html: {PRODUCT_TITLE} of product shoe-1, "},
		{"quotes that depend", func(c C) { c.Assets.HTML = `<a href="{PRODUCT_TITLE}` }, "assets.html: ends within a tag, an attribute, a script or a style sheet: a quote, a > or an end tag is missing"},
		{"address without quotes", func(c C) { c.Assets.HTML = `<a href={PRODUCT_URL}>{PRODUCT_TITLE}</a>` }, `assets.html: {PRODUCT_URL} stands in an attribute without quotes: write "{PRODUCT_URL}"`},
		{"click tracker without quotes", func(c C) { c.Assets.HTML = `<b title={PRODUCT_TITLE}><a href = {CLICK_TRACKER}>x</a>` }, `assets.html: {CLICK_TRACKER} stands in an attribute without quotes: write "{CLICK_TRACKER}"`},
		{"landing page without quotes", func(c C) {
			c.Products[0].URL, c.Assets.HTML = "https://shoes.example/?a=b", `<a href="{PRODUCT_URL}">{PRODUCT_TITLE}</a><a href={CLICK_URL}>x</a>`
		}, `assets.html: {CLICK_URL} stands in an attribute without quotes`},
		{"within an address without quotes", func(c C) { c.Assets.HTML = `{PRODUCT_TITLE}<a href=https://x.example/?to={PRODUCT_URL}>x</a>` }, `assets.html: an attribute without quotes contains "=": put its value into quotes, "https://x.example/?to=https%3A`},
		{"only the click tracker without quotes", func(c C) { c.Assets.HTML = `{PRODUCT_TITLE}<a href = {CLICK_TRACKER}>x</a>` }, `assets.html: {CLICK_TRACKER} stands in an attribute without quotes`},
		{"another address without quotes", func(c C) { c.Assets.HTML = `<img src={PRODUCT_IMAGE}><a href=https://x.example/?a=b>x</a>` }, `assets.html: an attribute without quotes contains "=": put its value into quotes, "https://x.example/?a=b"`},
		{"open quote", func(c C) { c.Assets.HTML = `<b title="{PRODUCT_TITLE}>x</b>` }, "assets.html: ends within a tag"},
		{"value of one product", func(c C) { c.Products[0].Title, c.Assets.HTML = "plain", `<b data-{PRODUCT_TITLE}="{PRODUCT_PRICE}">` }, `products[1]: assets.html: {PRODUCT_TITLE} of product boot, "Runner's choice <2> & more", is not safe where the macro stands`},
		{"value of the first", func(c C) {
			c.Products[0].Price, c.Assets.HTML = "79 (EUR)", `<p title="{PRODUCT_TITLE}" style="background:{PRODUCT_PRICE}">`
		}, `assets.html: {PRODUCT_PRICE} of product shoe-1, "79 (EUR)", is not safe`},
		{"dollar before a brace", func(c C) { c.Products[0].Price, c.Assets.HTML = "$", "{PRODUCT_PRICE}{a}" }, `assets.html: makes "${" of product shoe-1`},
		{"too many", func(c C) { c.Products = make([]rtb.Product, rtb.MaxProducts+1) }, "products: 201, want at most 200"},
		{"mark in the markup", func(c C) { c.Assets.HTML += markClose }, "assets.html: contains a reserved"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			boot := shoe()
			boot.ID = "boot"
			c := bannerTemplate(shoe(), boot)
			tt.change(c)
			err := Compile(c, testBase)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile = %v, want %q", err, tt.want)
			}
			if c.Secure {
				t.Error("a creative that is wrong is secure")
			}
		})
	}
	native := nativeTemplate(shoe())
	native.Assets.Body = "{PRODUCT_URL}"
	if err := Compile(native, testBase); err == nil || !strings.Contains(err.Error(), "assets.body: {PRODUCT_URL} has no place in a text") {
		t.Errorf("an address in a text: %v", err)
	}
	native.Assets.Body = "{PRODUCT_NAME}"
	if err := Compile(native, testBase); err == nil || !strings.Contains(err.Error(), `assets.body: unknown macro "{PRODUCT_NAME}"`) {
		t.Errorf("an unknown macro in a text: %v", err)
	}
	native = nativeTemplate(shoe())
	native.Products = nil
	if err := Compile(native, testBase); err == nil || !strings.Contains(err.Error(), "assets.title: contains a macro of a product") {
		t.Errorf("macros without products: %v", err)
	}
	late := nativeTemplate(shoe(), shoe())
	late.Products[1].ID, late.Products[1].Title, late.Assets.Body = "x", strings.Repeat("é", 400), "{PRODUCT_TITLE} {PRODUCT_TITLE}"
	if err := Compile(late, testBase); err == nil || !strings.Contains(err.Error(), "products[1]: assets.body: longer") {
		t.Errorf("a text that one product makes too long: %v", err)
	}
}

func TestTemplateMemoryIsLimited(t *testing.T) {
	c := bannerTemplate()
	c.Assets.HTML = "<b>{PRODUCT_TITLE}</b>" + strings.Repeat("x", maxHTML-100)
	for i := range rtb.MaxProducts {
		c.Products = append(c.Products, rtb.Product{ID: fmt.Sprint(i), Title: "x"})
	}
	err := Compile(c, testBase)
	if err == nil || !strings.Contains(err.Error(), "products: the markup of the first 63 of 200 takes more than 4194304 bytes") {
		t.Errorf("Compile = %v", err)
	}
	c.Products = c.Products[:60]
	if err := Compile(c, testBase); err != nil {
		t.Error(err)
	}
}

// An image without TLS makes the template insecure, wherever it stands.
func TestTemplateIsAsSecureAsItsProducts(t *testing.T) {
	for _, markup := range []string{`<img src="{PRODUCT_IMAGE}">`, `<script>var x='{PRODUCT_IMAGE}'</script>`, `<p style="background:url({PRODUCT_IMAGE})">`} {
		plain := shoe()
		plain.ID, plain.Image = "plain", "http://cdn.example/a.jpg"
		c := bannerTemplate(shoe(), plain)
		c.Assets.HTML = markup
		compiled(t, c)
		if c.Secure || !c.Products[0].Ad.Secure || c.Products[1].Ad.Secure {
			t.Errorf("%s: secure %t, the products %t and %t", markup, c.Secure, c.Products[0].Ad.Secure, c.Products[1].Ad.Secure)
		}
	}
}

// FuzzTemplate: whatever a feed says, it stays text. The markup has the shape
// that it has with a harmless product, and the title is what it was; JSON and
// VAST are valid and say the same.
func FuzzTemplate(f *testing.F) {
	f.Add("Shoe", "79 EUR", "https://cdn.example/a.jpg", "shoe-1")
	f.Add(`"><script>alert(1)</script>`, "</textarea><b>", "https://cdn.example/'+alert(1)+'", "a")
	f.Add("'-alert(1)-'", `\u003cscript`, "https://cdn.example/);x:url(", "b")
	f.Add("]]><Impression>x</Impression>", "&quot;&lt;", "https://cdn.example/a.jpg?x=</style>", "c")
	f.Add("</script><!--", "${", "https://cdn.example/%0a", "d")
	f.Add("`${alert(1)}`\u2028", "\\", "https://cdn.example/a;b=\"", "e")
	harmless := bannerTemplate(rtb.Product{ID: "x", Title: "Shoe", Price: "1", Image: "https://cdn.example/a.jpg"})
	if err := Compile(harmless, testBase); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, title, price, image, id string) {
		p := rtb.Product{ID: id, Title: title, Price: price, Image: image}
		for _, c := range []*rtb.Creative{bannerTemplate(p), nativeTemplate(p), videoTemplate(p)} {
			if Compile(c, testBase) != nil {
				continue
			}
			if !utf8.ValidString(title) {
				t.Fatalf("%q is taken", title)
			}
			ad := c.Products[0].Ad
			bid := bidFor(ad, `"1"`)
			switch c.Media {
			case rtb.Banner:
				markup := markupOf(t, ad)
				root := parsed(t, markup)
				if got, want := shape(root), shape(parsed(t, markupOf(t, harmless.Products[0].Ad))); got != want {
					t.Fatalf("shape %s, want %s\n%s", got, want, markup)
				}
				same := func(place, got string) {
					if got != title {
						t.Fatalf("%s: %q, want %q\n%s", place, got, title, markup)
					}
				}
				same("text", text(node(root, "b", "t")))
				same("attribute", attr(node(root, "div", ""), "title"))
				same("single quotes", attr(node(root, "div", ""), "data-x"))
				if area := text(node(root, "textarea", "")); strings.TrimPrefix(title, "\n") != area {
					t.Fatalf("textarea: %q, want %q", area, title)
				}
				if src := attr(node(root, "img", ""), "src"); !strings.HasPrefix(strings.ToLower(src), "http") {
					t.Fatalf("the picture is %q", src)
				}
			case rtb.Native:
				for i := range ad.Native {
					bid.NativeIDs[i] = int32(i)
				}
				answer := unescaped(t, appendNative(nil, &bid, &Form{}))
				var got struct {
					Assets []struct{ Title *struct{ Text string } }
				}
				d := json.NewDecoder(strings.NewReader(answer))
				if err := d.Decode(&got); err != nil || d.More() || got.Assets[0].Title.Text != title {
					t.Fatalf("%v: %+v, want the title %q\n%s", err, got, title, answer)
				}
			case rtb.Video:
				got, _ := vastTitle(t, unescaped(t, appendPieces(nil, ad.Answer, &bid, &Form{})))
				if got != title+": "+price {
					t.Fatalf("VAST title %q, want %q", got, title+": "+price)
				}
			}
		}
	})
}
