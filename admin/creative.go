package admin

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"bidwell/rtb"
)

// Creative is one ad. Banner markup, VAST and native answers are made from its
// assets.
type Creative struct {
	Head
	Advertiser string   `json:"advertiser" doc:"Id of its advertiser" example:"acme-shoes"`
	Name       string   `json:"name,omitempty" maxLength:"200"`
	Status     Status   `json:"status,omitempty"`
	Type       string   `json:"type" enum:"banner,video,audio,native"`
	Width      uint16   `json:"width,omitempty" maximum:"10000" doc:"In pixels; required for banners"`
	Height     uint16   `json:"height,omitempty" maximum:"10000" doc:"In pixels; required for banners"`
	Domains    []string `json:"adomain,omitempty" maxItems:"16" maxLength:"253" doc:"Domains of the advertiser; those of its document when empty"`
	Categories []string `json:"categories,omitempty" maxItems:"16" maxLength:"32" doc:"Content categories; those of the advertiser when empty"`
	Taxonomy   uint16   `json:"cattax,omitempty" maximum:"1000" doc:"OpenRTB taxonomy of the categories; 1 when not given"`
	Attributes []int    `json:"attributes,omitempty" maxItems:"32" doc:"OpenRTB list \"creative attributes\", 1 to 63"`
	ClickURL   string   `json:"click_url" maxLength:"2048" doc:"Landing page. Macros: {CLICK_ID} {CAMPAIGN} {LINE_ITEM} {CREATIVE} {EXCHANGE} {BID_ID} {CACHE_BUSTER}" example:"https://acme-shoes.example/spring"`
	Language   string   `json:"language,omitempty" doc:"ISO 639-1; empty when it has no words"`
	API        []int    `json:"api,omitempty" maxItems:"16" doc:"OpenRTB list \"API frameworks\" that it needs, 1 to 63"`

	HTML  string `json:"html,omitempty" maxLength:"65536" doc:"Banner: own markup instead of a picture. Macros: {CLICK_URL} {CLICK_TRACKER} {CACHE_BUSTER}, and with products {PRODUCT_TITLE} {PRODUCT_PRICE} {PRODUCT_IMAGE} {PRODUCT_URL}"`
	Image string `json:"image,omitempty" maxLength:"2048" doc:"Banner: address of the picture"`
	Mime  string `json:"mime,omitempty" maxLength:"64" doc:"Banner: media type of the picture where its address does not tell" example:"image/png"`

	MediaFiles []MediaFile `json:"media_files,omitempty" maxItems:"32" doc:"Video and audio: encodings of the same ad"`
	Duration   Duration    `json:"duration,omitempty" doc:"Video and audio: length in whole seconds" example:"15s"`
	Skippable  bool        `json:"skippable,omitempty" doc:"Video: may be skipped"`
	Companions []Picture   `json:"companions,omitempty" maxItems:"8" doc:"Video and audio: pictures to show beside it"`

	Title   string  `json:"title,omitempty" maxLength:"200" doc:"Native: headline; video and audio: title"`
	Body    string  `json:"body,omitempty" maxLength:"1000" doc:"Native: text"`
	Sponsor string  `json:"sponsor,omitempty" maxLength:"100" doc:"Native: who pays"`
	CTA     string  `json:"cta,omitempty" maxLength:"50" doc:"Native: text of the button"`
	Icon    Picture `json:"icon,omitzero" doc:"Native: small picture"`
	Main    Picture `json:"main,omitzero" doc:"Native: large picture"`
	Rating  string  `json:"rating,omitempty" maxLength:"20" doc:"Native: such as 4.5"`
	Price   string  `json:"price,omitempty" maxLength:"50" doc:"Native: such as €79"`

	ImageURL string   `json:"image_url,omitempty" maxLength:"2048" doc:"A picture of the ad for checks of its contents (iurl)"`
	Bundle   string   `json:"bundle,omitempty" maxLength:"200" doc:"Store id of the advertised app"`
	DSA      DSA      `json:"dsa,omitzero" doc:"Who is behind the ad, for requests that demand it"`
	Expiry   Duration `json:"expiry,omitempty" doc:"How long a bid with it may still be shown; the exchange's default when empty"`

	Products []Product `json:"products,omitempty" maxItems:"200" doc:"Makes it a template: it is shown with one of these, chosen by the user's segments. {PRODUCT_TITLE} and {PRODUCT_PRICE} may stand in html and in all texts, {PRODUCT_IMAGE} and {PRODUCT_URL} in html, and {PRODUCT_IMAGE} as the url of a picture. All clicks lead to the product. There are no macros about people"`
}

// Product is an item of a product feed.
type Product struct {
	ID       string   `json:"id" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores" doc:"Of the feed; stands in the address that counts its clicks" example:"shoe-4711"`
	Title    string   `json:"title" minLength:"1" maxLength:"200"`
	Price    string   `json:"price,omitempty" maxLength:"50" example:"79 EUR"`
	Image    string   `json:"image,omitempty" maxLength:"2048" doc:"Address of a picture"`
	URL      string   `json:"url,omitempty" maxLength:"2048" doc:"Landing page, with the macros of click_url; that of the creative when empty"`
	Segments []string `json:"segments,omitempty" maxItems:"16" doc:"Shown to users in any of these; to users in none of the segments of any product when empty"`
}

// MediaFile is one encoding of a video or an audio ad.
type MediaFile struct {
	URL     string `json:"url" maxLength:"2048"`
	Mime    string `json:"mime" maxLength:"64" example:"video/mp4"`
	Width   uint16 `json:"width,omitempty" maximum:"10000"`
	Height  uint16 `json:"height,omitempty" maximum:"10000"`
	Bitrate uint32 `json:"bitrate,omitempty" maximum:"1000000" doc:"kbit/s"`
}

// Picture is an image with its size in pixels.
type Picture struct {
	URL    string `json:"url" maxLength:"2048"`
	Width  uint16 `json:"width" minimum:"1" maximum:"10000"`
	Height uint16 `json:"height" minimum:"1" maximum:"10000"`
}

// DSA is the transparency that the EU's Digital Services Act asks for.
type DSA struct {
	Behalf   string `json:"behalf,omitempty" maxLength:"100" doc:"On whose behalf the ad is shown"`
	Paid     string `json:"paid,omitempty" maxLength:"100" doc:"Who paid for it"`
	AdRender uint8  `json:"adrender,omitempty" maximum:"1" doc:"1 when the ad shows this itself"`
}

func (k *Creative) refer(each func(field, kind, id string)) {
	each("advertiser", advertisers, k.Advertiser)
	for i := range k.Products {
		for j, id := range k.Products[i].Segments {
			each(fmt.Sprintf("products[%d].segments[%d]", i, j), segments, id)
		}
	}
}

var mediaNames = map[string]rtb.Media{"banner": rtb.Banner, "video": rtb.Video, "audio": rtb.Audio, "native": rtb.Native}

func (k *Creative) check(c *checker) {
	k.Status.check(c)
	c.id("advertiser", k.Advertiser)
	c.domains("adomain", k.Domains)
	c.words("categories", k.Categories)
	c.numbers("attributes", k.Attributes)
	c.numbers("api", k.API)
	if k.ClickURL == "" {
		c.fail("click_url", nil, "is required")
	} else if _, err := rtb.ParseLanding(k.ClickURL); err != nil {
		c.fail("click_url", k.ClickURL, "cannot be a landing page: %v", err)
	}
	c.url("image_url", k.ImageURL, false)
	c.duration("expiry", k.Expiry, time.Second, maxWindow)
	if k.Language != "" {
		c.code("language", &k.Language, strings.ToLower, "a language of two letters such as de")
	}
	switch k.Type {
	case "banner":
		k.checkBanner(c)
	case "video", "audio":
		k.checkStream(c)
	case "native":
		k.checkNative(c)
	}
	known(c, "type", k.Type, mediaNames)
	k.checkForeign(c)
	k.checkProducts(c)
}

// checkProducts leaves texts and addresses to what makes ads of them.
func (k *Creative) checkProducts(c *checker) {
	seen := map[string]bool{}
	for i := range k.Products {
		p, field := &k.Products[i], fmt.Sprintf("products[%d]", i)
		if seen[p.ID] {
			c.fail(field+".id", p.ID, "is named twice")
		}
		seen[p.ID] = true
		c.url(field+".image", p.Image, false)
		if p.URL != "" {
			if _, err := rtb.ParseLanding(p.URL); err != nil {
				c.fail(field+".url", p.URL, "cannot be a landing page: %v", err)
			}
		}
		c.ids(field+".segments", p.Segments)
	}
}

// picture checks the address of a picture, which may be that of a product.
func (k *Creative) picture(c *checker, field, address string) {
	if address == "{PRODUCT_IMAGE}" && len(k.Products) > 0 {
		return
	}
	c.url(field, address, true)
}

func (c *checker) numbers(field string, list []int) {
	for i, v := range list {
		if v < 1 || v > 63 {
			c.fail(fmt.Sprintf("%s[%d]", field, i), v, "must be between 1 and 63")
		}
	}
}

func (k *Creative) checkBanner(c *checker) {
	if k.Width == 0 {
		c.fail("width", nil, "is required for a banner")
	}
	if k.Height == 0 {
		c.fail("height", nil, "is required for a banner")
	}
	switch {
	case k.HTML == "" && k.Image == "":
		c.fail("image", nil, "a banner needs image or html")
	case k.HTML != "" && k.Image != "":
		c.fail("image", nil, "a banner has either image or html")
	case k.Image != "":
		c.url("image", k.Image, true)
		switch {
		case k.Mime != "" && rtb.ParseMime(k.Mime) == rtb.MimeOther:
			c.fail("mime", k.Mime, "is not a media type that exchanges name, such as image/png")
		case k.Mime == "" && mimeOf(k.Image) == rtb.MimeOther:
			c.fail("mime", nil, "is required where the address of the picture does not end in .jpg, .png, .gif, .webp, .svg or .avif")
		}
	}
}

// mimeOf tells the media type of a picture from its address.
func mimeOf(address string) rtb.Mimes {
	u, err := url.Parse(address)
	if err != nil {
		return rtb.MimeOther
	}
	switch strings.ToLower(path.Ext(u.Path)) {
	case ".jpg", ".jpeg":
		return rtb.ParseMime("image/jpeg")
	case ".png":
		return rtb.ParseMime("image/png")
	case ".gif":
		return rtb.ParseMime("image/gif")
	case ".webp":
		return rtb.ParseMime("image/webp")
	case ".svg":
		return rtb.ParseMime("image/svg+xml")
	case ".avif":
		return rtb.ParseMime("image/avif")
	}
	return rtb.MimeOther
}

func (k *Creative) checkStream(c *checker) {
	if k.Duration == "" {
		c.fail("duration", nil, "is required for %s", k.Type)
	} else if d := c.duration("duration", k.Duration, time.Second, time.Hour); d%time.Second != 0 {
		c.fail("duration", string(k.Duration), "must be whole seconds")
	}
	if len(k.MediaFiles) == 0 {
		c.fail("media_files", nil, "%s needs at least one", k.Type)
	}
	k.checkMediaFiles(c)
	if (k.Width == 0) != (k.Height == 0) {
		c.fail("height", nil, "width and height go together")
	}
	for i := range k.Companions {
		k.picture(c, fmt.Sprintf("companions[%d].url", i), k.Companions[i].URL)
	}
}

func (k *Creative) checkMediaFiles(c *checker) {
	for i := range k.MediaFiles {
		f, field := &k.MediaFiles[i], fmt.Sprintf("media_files[%d]", i)
		c.url(field+".url", f.URL, true)
		f.Mime = strings.ToLower(f.Mime)
		switch {
		case rtb.ParseMime(f.Mime) == rtb.MimeOther:
			c.fail(field+".mime", f.Mime, "is not a media type that exchanges name, such as video/mp4 or audio/mpeg")
		case strings.HasPrefix(f.Mime, "image/"), k.Type == "audio" && !strings.HasPrefix(f.Mime, "audio/"), k.Type != "audio" && strings.HasPrefix(f.Mime, "audio/"):
			c.fail(field+".mime", f.Mime, "does not fit the type %s", k.Type)
		}
		if (f.Width == 0) != (f.Height == 0) {
			c.fail(field+".height", nil, "width and height go together")
		}
		if k.Type == "video" && f.Width == 0 {
			c.fail(field+".width", nil, "is required for video")
		}
	}
}

func (k *Creative) checkNative(c *checker) {
	if k.Title == "" {
		c.fail("title", nil, "is required for native")
	}
	if k.Icon != (Picture{}) {
		k.picture(c, "icon.url", k.Icon.URL)
	}
	if k.Main != (Picture{}) {
		k.picture(c, "main.url", k.Main.URL)
	}
	k.checkMediaFiles(c)
	if len(k.MediaFiles) > 0 && k.Duration == "" {
		c.fail("duration", nil, "is required where native has media_files")
	}
	c.duration("duration", k.Duration, time.Second, time.Hour)
}

// checkForeign reports assets of another type of ad: they would be ignored.
func (k *Creative) checkForeign(c *checker) {
	stream := k.Type == "video" || k.Type == "audio"
	for _, f := range []struct {
		field   string
		present bool
		allowed bool
	}{
		{"html", k.HTML != "", k.Type == "banner"},
		{"image", k.Image != "", k.Type == "banner"},
		{"mime", k.Mime != "", k.Type == "banner"},
		{"media_files", len(k.MediaFiles) > 0, stream || k.Type == "native"},
		{"duration", k.Duration != "", stream || k.Type == "native"},
		{"skippable", k.Skippable, k.Type == "video"},
		{"companions", len(k.Companions) > 0, stream},
		{"title", k.Title != "", k.Type != "banner"},
		{"body", k.Body != "", k.Type == "native"},
		{"sponsor", k.Sponsor != "", k.Type == "native"},
		{"cta", k.CTA != "", k.Type == "native"},
		{"icon", k.Icon != Picture{}, k.Type == "native"},
		{"main", k.Main != Picture{}, k.Type == "native"},
		{"rating", k.Rating != "", k.Type == "native"},
		{"price", k.Price != "", k.Type == "native"},
	} {
		if f.present && !f.allowed {
			c.fail(f.field, nil, "does not belong to type %s", k.Type)
		}
	}
}

// compile makes what the bidder shows of a creative, without the answer.
func (k *Creative) compile(owner *Advertiser) rtb.Creative {
	duration, _ := time.ParseDuration(string(k.Duration))
	expiry, _ := time.ParseDuration(string(k.Expiry))
	out := rtb.Creative{
		ID: rtb.CreativeID(k.Number), Key: k.ID,
		Media: mediaNames[k.Type], Size: rtb.Size{W: k.Width, H: k.Height}, Duration: duration,
		Linear: k.Type == "video", Skippable: k.Skippable,
		Attributes: bitsOf(k.Attributes), API: bitsOf(k.API), Language: k.Language,
		Advertisers: k.Domains, Categories: k.Categories, Taxonomy: max(k.Taxonomy, 1),
		Bundle: k.Bundle, ClickURL: k.ClickURL, ImageURL: k.ImageURL, Expiry: uint32(expiry / time.Second),
		Assets: rtb.Assets{
			HTML: k.HTML, Image: k.Image, Title: k.Title, Body: k.Body, Sponsor: k.Sponsor, CallTo: k.CTA,
			Icon: k.Icon.compile(), Main: k.Main.compile(), Rating: k.Rating, Price: k.Price,
		},
	}
	if len(out.Advertisers) == 0 {
		out.Advertisers = owner.Domains
	}
	if len(out.Categories) == 0 {
		out.Categories, out.Taxonomy = owner.Categories, max(owner.Taxonomy, 1)
	}
	if k.DSA != (DSA{}) {
		out.DSA = &rtb.CreativeDSA{Behalf: k.DSA.Behalf, Paid: k.DSA.Paid, AdRender: k.DSA.AdRender}
	}
	for _, p := range k.Companions {
		out.Assets.CompanionOf = append(out.Assets.CompanionOf, p.compile())
	}
	for _, p := range k.Products {
		out.Products = append(out.Products, rtb.Product{ID: p.ID, Title: p.Title, Price: p.Price, Image: p.Image, URL: p.URL})
	}
	for _, f := range k.MediaFiles {
		mime := rtb.ParseMime(f.Mime)
		out.MimeAll |= mime
		out.Assets.MediaFiles = append(out.Assets.MediaFiles, rtb.MediaFile{
			URL: f.URL, Mime: mime, Size: rtb.Size{W: f.Width, H: f.Height}, Bitrate: f.Bitrate, Duration: duration,
		})
	}
	if len(k.MediaFiles) > 0 {
		out.Mime, out.Bitrate = out.Assets.MediaFiles[0].Mime, k.MediaFiles[0].Bitrate
	}
	if k.Type == "banner" {
		k.compileBanner(&out)
	}
	out.Secure = k.secure()
	return out
}

// compileBanner tells the media type and the OpenRTB "banner ad type" of a
// banner: 2 is plain HTML, 3 needs JavaScript, 4 is an iframe.
func (k *Creative) compileBanner(out *rtb.Creative) {
	out.BannerType = 2
	if k.HTML == "" {
		if out.Mime = mimeOf(k.Image); k.Mime != "" {
			out.Mime = rtb.ParseMime(k.Mime)
		}
		out.MimeAll = out.Mime
		return
	}
	out.Mime = rtb.ParseMime("text/html")
	out.MimeAll = out.Mime
	switch html := strings.ToLower(k.HTML); {
	case strings.Contains(html, "<script"):
		out.BannerType = 3
	case strings.Contains(html, "<iframe"):
		out.BannerType = 4
	}
}

func (p Picture) compile() rtb.Picture {
	return rtb.Picture{URL: p.URL, Size: rtb.Size{W: p.Width, H: p.Height}}
}

// secure reports whether nothing of the ad is fetched without encryption. The
// landing page is not part of the ad.
func (k *Creative) secure() bool {
	addresses := []string{k.Image, k.Icon.URL, k.Main.URL, k.ImageURL, k.HTML}
	for _, f := range k.MediaFiles {
		addresses = append(addresses, f.URL)
	}
	for _, p := range k.Companions {
		addresses = append(addresses, p.URL)
	}
	for _, a := range addresses {
		if strings.Contains(strings.ToLower(a), "http:") {
			return false
		}
	}
	return true
}

func bitsOf(list []int) (b rtb.Bits) {
	for _, v := range list {
		b.Add(int64(v))
	}
	return b
}
