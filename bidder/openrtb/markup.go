package openrtb

import (
	"errors"
	"fmt"
	"math/bits"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"bidwell/rtb"
)

// Limits of what an ad may be made of, in bytes.
const (
	maxText = 1000
	maxHTML = 64 << 10
)

// While markup is being made, these characters of the private use area stand
// where a bid puts its own values. No escaping touches them, and no asset may
// contain them.
const (
	markToken = "\uF8F0"
	markBidID = "\uF8F1"
	markPrice = "\uF8F2"
	markView  = "\uF8F3"
	// These two stand around a value of a product.
	markOpen  = "\uF8F4"
	markClose = "\uF8F5"
	marks     = markToken + markBidID + markPrice + markView + markOpen + markClose
)

// Compile makes the answer of a bid with c from its assets: Answer, Versions,
// Native, Viewable, Fixed and FixedExt. noticeBase is where views and clicks go, such as
// "https://bid.example.com".
//
// It says of c what only the markup tells: Secure, which holds when every
// address in a bid is https, and Linear; and where they are empty Mime,
// MimeAll, Duration, Bitrate and BannerType. The error names every asset that
// is wrong; c must then not be served.
//
// Of a creative with products it makes the Ad of each instead.
func Compile(c *rtb.Creative, noticeBase string) error {
	c.Answer, c.Viewable, c.Versions, c.Native, c.Fixed, c.FixedExt, c.Secure = nil, nil, nil, nil, nil, nil, false
	if len(c.Products) > 0 {
		return compileTemplate(c, noticeBase)
	}
	m := &maker{c: c, base: noticeBase, literals: map[string][]byte{}}
	return m.compile()
}

// compile makes the answer of m.c, which has none yet.
func (m *maker) compile() error {
	c, noticeBase := m.c, m.base
	if err := CheckNoticeBase(noticeBase); err != nil {
		m.errs = append(m.errs, err)
	}
	m.secure = strings.HasPrefix(noticeBase, "https:")
	m.text("id", c.Key)
	if c.ClickURL != "" {
		// The landing page is not part of the ad: it need not be secure.
		var err error
		if m.landing, err = rtb.ParseLanding(c.ClickURL); err != nil {
			m.errs = append(m.errs, fmt.Errorf("click_url: %w", err))
		}
	}
	if c.ImageURL != "" {
		m.address("image_url", c.ImageURL)
	}
	switch c.Media {
	case rtb.Banner:
		m.banner()
	case rtb.Video, rtb.Audio:
		m.stream()
	case rtb.Native:
		m.native()
	default:
		m.fail("type", "neither banner, video, audio nor native")
	}
	if len(m.errs) > 0 {
		c.Answer, c.Viewable, c.Versions, c.Native = nil, nil, nil, nil
		return errors.Join(m.errs...)
	}
	c.Fixed = appendFixed(nil, c)
	c.FixedExt = appendFixedExt(nil, c)
	c.Secure = m.secure
	return nil
}

// CheckNoticeBase reports what is wrong with the address that notices go to.
// It is a scheme and a host, perhaps with a port and a path, and has no slash
// at its end.
func CheckNoticeBase(base string) error {
	u, err := rtb.ParseAddress(base)
	switch {
	case err != nil:
		return fmt.Errorf("notice base %q: %w", base, err)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(base, "#"):
		return fmt.Errorf("notice base %q: has a query or a fragment", base)
	case strings.ContainsAny(base, "\"\\<>&'"):
		return fmt.Errorf("notice base %q: has a character that would have to be escaped", base)
	case strings.HasSuffix(base, "/"):
		return fmt.Errorf("notice base %q: ends in a slash", base)
	}
	return nil
}

// maker makes the markup of one creative.
type maker struct {
	c        *rtb.Creative
	base     string
	landing  *rtb.Landing // of the click URL
	secure   bool         // every address so far is https
	errs     []error
	literals map[string][]byte // equal stretches of the VAST versions share memory

	product *rtb.Product // of a template; else nil
}

func (m *maker) fail(field, reason string) {
	m.errs = append(m.errs, fmt.Errorf("%s: %s", field, reason))
}

// viewAddress is the impression pixel, with marks in it.
func (m *maker) viewAddress() string { return m.base + "/e/view?t=" + markView + "&p=" + markPrice }

// viewableAddress is called when enough of the ad was on the screen for long
// enough.
func (m *maker) viewableAddress() string { return m.base + "/e/view?t=" + markToken + "&v=viewable" }

// clickAddress counts a click and leads to the landing page.
func (m *maker) clickAddress() string { return m.clickBase() + markToken }

// clickBase is that without the token. The id of a product needs no escaping
// anywhere.
func (m *maker) clickBase() string {
	if m.product != nil {
		return m.base + "/e/click?i=" + m.product.ID + "&t="
	}
	return m.base + "/e/click?t="
}

// address checks the address of something an ad loads.
func (m *maker) address(field, s string) {
	u, err := rtb.ParseAddress(s)
	if err != nil {
		m.errs = append(m.errs, fmt.Errorf("%s: %w", field, err))
		return
	}
	m.secure = m.secure && u.Scheme == "https"
}

// text checks words that people will read. An exchange would replace a macro
// in them, so there must be none.
func (m *maker) text(field, s string) {
	switch {
	case len(s) > maxText:
		m.fail(field, fmt.Sprintf("longer than %d bytes", maxText))
	case !utf8.ValidString(s):
		m.fail(field, "not UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F || r == 0xFFFE || r == 0xFFFF }):
		m.fail(field, "contains a control character")
	case strings.ContainsAny(s, marks):
		m.fail(field, "contains a reserved private-use character")
	case strings.Contains(s, "${"):
		m.fail(field, `contains "${", which exchanges take for a macro`)
	case strings.Contains(s, "{PRODUCT_"):
		m.fail(field, "contains a macro of a product, but the creative has no products")
	}
}

func (m *maker) size(field string, s rtb.Size) {
	if s.W == 0 || s.H == 0 {
		m.fail(field, "size missing")
	}
}

// pieces cuts markup at its marks and escapes what is between them, for the JSON
// string around it.
func (m *maker) pieces(markup string) []rtb.Piece {
	var pieces []rtb.Piece
	for markup != "" {
		literal, slot := markup, rtb.SlotNone
		markup = ""
		for i, r := range literal {
			if s := slotOf(r); s != rtb.SlotNone {
				literal, markup, slot = literal[:i], literal[i+len(markToken):], s
				break
			}
		}
		pieces = append(pieces, rtb.Piece{Literal: m.shared(appendEscaped(nil, []byte(literal))), Slot: slot})
	}
	return pieces
}

func slotOf(r rune) rtb.Slot {
	switch string(r) {
	case markToken:
		return rtb.SlotToken
	case markBidID:
		return rtb.SlotBidID
	case markPrice:
		return rtb.SlotPrice
	case markView:
		return rtb.SlotViewToken
	}
	return rtb.SlotNone
}

func (m *maker) shared(text []byte) []byte {
	if have, ok := m.literals[string(text)]; ok {
		return have
	}
	text = text[:len(text):len(text)]
	m.literals[string(text)] = text
	return text
}

// pictureMime is the media type that the end of an address tells, or none.
func pictureMime(address string) rtb.Mimes {
	u, err := url.Parse(address)
	if err != nil {
		return 0
	}
	ext := strings.TrimPrefix(path.Ext(u.Path), ".")
	if strings.EqualFold(ext, "svg") {
		ext = "svg+xml"
	}
	if mime := rtb.ParseMime("image/" + ext); mime != rtb.MimeOther {
		return mime
	}
	return 0
}

// appendFixed writes the members of a bid that do not change. A bid without an
// own picture for iurl shows what it is made of.
func appendFixed(dst []byte, c *rtb.Creative) []byte {
	dst = appendStrings(dst, "adomain", c.Advertisers)
	dst = appendStringMember(dst, "bundle", c.Bundle)
	for _, picture := range []string{c.ImageURL, c.Assets.Image, c.Assets.Main.URL, c.Assets.Icon.URL} {
		if picture != "" {
			dst = appendStringMember(dst, "iurl", picture)
			break
		}
	}
	dst = appendStrings(dst, "cat", c.Categories)
	if len(c.Categories) > 0 && c.Taxonomy != 0 {
		dst = appendNumberMember(dst, "cattax", uint64(c.Taxonomy))
	}
	dst = appendBits(dst, "attr", c.Attributes)
	dst = appendBits(dst, "apis", c.API)
	dst = appendStringMember(dst, "language", c.Language)
	dst = appendNumberMember(dst, "mtype", uint64(c.Media))
	if c.Media == rtb.Video || c.Media == rtb.Audio {
		dst = appendNumberMember(dst, "dur", uint64(c.Duration.Round(time.Second)/time.Second))
	}
	if c.Expiry != 0 {
		dst = appendNumberMember(dst, "exp", uint64(c.Expiry))
	}
	return dst[:len(dst):len(dst)]
}

// appendFixedExt writes the transparency that the Digital Services Act asks
// for (IAB DSA transparency, bid.ext.dsa).
func appendFixedExt(dst []byte, c *rtb.Creative) []byte {
	if c.DSA == nil {
		return nil
	}
	dst = append(dst, `"dsa":{"behalf":`...)
	dst = appendJSONString(dst, c.DSA.Behalf)
	dst = append(dst, `,"paid":`...)
	dst = appendJSONString(dst, c.DSA.Paid)
	dst = appendNumberMember(dst, "adrender", uint64(c.DSA.AdRender))
	dst = append(dst, '}')
	return dst[:len(dst):len(dst)]
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendNumberMember(dst []byte, name string, n uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), n, 10)
}

func appendStringMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendJSONString(appendName(dst, name), value)
}

func appendStrings(dst []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return dst
	}
	dst = append(appendName(dst, name), '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, v)
	}
	return append(dst, ']')
}

func appendBits(dst []byte, name string, set rtb.Bits) []byte {
	if set == 0 {
		return dst
	}
	dst = append(appendName(dst, name), '[')
	for i := 0; set != 0; i, set = i+1, set&(set-1) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(bits.TrailingZeros64(uint64(set))), 10)
	}
	return append(dst, ']')
}
