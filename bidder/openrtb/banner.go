package openrtb

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"

	"bidwell/rtb"
)

// banner makes the markup of a banner: its own, or a linked picture. The
// impression pixel comes last, so that a slow view never holds up the ad.
func (m *maker) banner() {
	c, a := m.c, &m.c.Assets
	m.size("size", c.Size)
	var markup string
	if a.HTML != "" {
		markup = m.ownHTML(a.HTML)
	} else {
		markup = m.linkedPicture()
	}
	markup += `<img src="` + html.EscapeString(m.viewAddress()) + `" width="1" height="1" alt="" style="position:absolute;visibility:hidden">`
	m.c.Answer = m.pieces(markup)

	lower := strings.ToLower(a.HTML)
	switch {
	case c.BannerType != 0:
	case strings.Contains(lower, "<iframe"):
		c.BannerType = 4
	case strings.Contains(lower, "<script"):
		c.BannerType = 3
	default:
		c.BannerType = 2
	}
	if c.Mime == 0 {
		c.Mime = rtb.ParseMime("text/html")
		if a.HTML == "" {
			c.Mime = pictureMime(a.Image)
		}
	}
	if c.MimeAll == 0 {
		c.MimeAll = c.Mime
	}
}

func (m *maker) linkedPicture() string {
	a := &m.c.Assets
	m.address("assets.image", a.Image)
	m.text("assets.title", a.Title)
	if m.c.ClickURL == "" {
		m.fail("click_url", "missing; a picture leads somewhere")
	}
	return fmt.Sprintf(`<a href="%s" target="_blank" rel="noopener"><img src="%s" width="%d" height="%d" alt="%s" style="border:0"></a>`,
		html.EscapeString(m.clickAddress()), html.EscapeString(a.Image), m.c.Size.W, m.c.Size.H, html.EscapeString(a.Title))
}

var (
	ownMacro = regexp.MustCompile(`\{[A-Z][A-Z0-9_]+\}`)

	// exchangeMacro are the macros that exchanges fill in (OpenRTB 2.6, 4.4) and
	// those for privacy signals that travel with a pixel.
	exchangeMacro = regexp.MustCompile(`^\$\{(AUCTION_(ID|BID_ID|IMP_ID|SEAT_ID|AD_ID|PRICE|CURRENCY|MBR|LOSS|MIN_TO_WIN|MULTIPLIER|IMP_TS|DISCOUNT_PCT|DISCOUNT_CPM)` +
		`|GDPR|GDPR_CONSENT_[0-9]+|US_PRIVACY|GPP_STRING_[0-9]+|GPP_SID)(:B64)?\}`)

	// plainAddress finds what an ad would load without TLS. Namespaces of
	// inline SVG look like addresses and are never loaded.
	plainAddress = regexp.MustCompile(`(?i)http:(\\?/){2}`)
	namespace    = regexp.MustCompile(`(?i)http://www\.w3\.org/`)
)

// ownHTML fills the advertiser's macros in:
//
//	{CLICK_TRACKER}  the address that counts a click and leads to the landing page
//	{CLICK_URL}      the landing page itself, which counts nothing
//	{CACHE_BUSTER}   something new in every bid
//
// and those of a template, see [compileTemplate].
//
// An address is percent-encoded within the query of another one, written as
// it is in a script, and HTML-escaped elsewhere.
func (m *maker) ownHTML(text string) string {
	switch {
	case len(text) > maxHTML:
		m.fail("assets.html", fmt.Sprintf("longer than %d bytes", maxHTML))
		return ""
	case strings.ContainsAny(text, marks):
		m.fail("assets.html", "contains a reserved private-use character")
		return ""
	}
	for rest := text; ; rest = rest[2:] {
		i := strings.Index(rest, "${")
		if i < 0 {
			break
		}
		rest = rest[i:]
		if !exchangeMacro.MatchString(rest) {
			m.fail("assets.html", fmt.Sprintf("unknown macro %.40q", upTo(rest, '}')))
		}
	}
	if strings.Contains(text, "{CLICK_URL}") && !strings.Contains(text, "{CLICK_TRACKER}") && !strings.Contains(text, "{PRODUCT_URL}") {
		m.fail("assets.html", "uses {CLICK_URL} without {CLICK_TRACKER}, so that no click would be counted")
	}
	if m.landing != nil && !m.landing.Fixed() && strings.Contains(text, "{CLICK_URL}") {
		m.fail("assets.html", "uses {CLICK_URL}, but macros of the landing page are filled in by a click on {CLICK_TRACKER} only")
	}
	if m.c.ClickURL == "" && strings.Contains(text, "{CLICK_") {
		m.fail("click_url", "missing; the markup links to it")
	}

	var out strings.Builder
	end := 0
	for _, at := range ownMacro.FindAllStringIndex(text, -1) {
		name := text[at[0]:at[1]]
		if at[0] > 0 && text[at[0]-1] == '$' {
			continue // an exchange's
		}
		out.WriteString(text[end:at[0]])
		end = at[1]
		switch before := text[:at[0]]; name {
		case "{CLICK_TRACKER}":
			out.WriteString(placed(before, m.clickBase()) + markToken)
		case "{CLICK_URL}":
			out.WriteString(placed(before, m.c.ClickURL))
		case "{CACHE_BUSTER}":
			out.WriteString(markBidID)
		default:
			if !m.productMacro(&out, before, name) {
				m.fail("assets.html", fmt.Sprintf("unknown macro %.40q", name))
			}
		}
	}
	out.WriteString(text[end:])
	markup := m.filled(out.String())
	if len(plainAddress.FindAllString(markup, -1)) > len(namespace.FindAllString(markup, -1)) {
		m.secure = false
	}
	return markup
}

func upTo(s string, end byte) string {
	if i := strings.IndexByte(s, end); i >= 0 {
		return s[:i+1]
	}
	return s
}

// placed escapes an address for the place that before leads to.
func placed(before, address string) string {
	word := before[strings.LastIndexAny(before, " \t\r\n\"'`<>()")+1:]
	if strings.Contains(word, "?") || strings.Contains(word, "//") || strings.Contains(word, "{CLICK_") || strings.Contains(word, "{PRODUCT_URL}") {
		return url.QueryEscape(address)
	}
	lower := strings.ToLower(before)
	if strings.LastIndex(lower, "<script") > strings.LastIndex(lower, "</script") {
		return strings.ReplaceAll(address, "'", "%27")
	}
	return html.EscapeString(address)
}
