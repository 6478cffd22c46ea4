package openrtb

import (
	"strconv"
	"unicode/utf8"

	"bidwell/rtb"
)

// Data asset types and image asset types (Native 1.2, 7.4 and 7.5).
const (
	dataSponsored  = 1
	dataDesc       = 2
	dataRating     = 3
	dataPrice      = 6
	dataDisplayURL = 11
	dataCTA        = 12

	imageIcon = 1
	imageLogo = 2 // deprecated by the specification; some still ask for it
	imageMain = 3
)

// What an event tracker tells, half of the ad for a second, and how: by an
// image (Native 1.2, 7.6 and 7.7).
const (
	eventViewable = 2
	methodImage   = 1
)

// native makes what a native ad can give for each kind of asset. The answer
// tells impressions by imptrackers, which every version of Native knows, and
// viewable ones by an event tracker where the request offers that.
func (m *maker) native() {
	a := &m.c.Assets
	if m.c.ClickURL == "" {
		m.fail("click_url", "missing; a native ad leads somewhere")
	}
	if m.text("assets.title", a.Title); a.Title != "" {
		m.offer(rtb.NativeAnswer{Kind: rtb.NativeTitle, Chars: runes(a.Title)}, `"title":{"text":`+quoted(a.Title)+`}`)
	}
	m.offerPicture("assets.main", &a.Main, imageMain)
	m.offerPicture("assets.icon", &a.Icon, imageIcon)

	domain := ""
	if len(m.c.Advertisers) > 0 {
		domain = m.c.Advertisers[0]
	}
	for _, data := range []struct {
		field, text string
		kind        uint8
	}{
		{"assets.sponsor", a.Sponsor, dataSponsored},
		{"assets.body", a.Body, dataDesc},
		{"assets.call_to", a.CallTo, dataCTA},
		{"assets.rating", a.Rating, dataRating},
		{"assets.price", a.Price, dataPrice},
		{"adomain", domain, dataDisplayURL},
	} {
		if m.text(data.field, data.text); data.text != "" {
			m.offer(rtb.NativeAnswer{Kind: rtb.NativeData, Type: data.kind, Chars: runes(data.text)},
				`"data":{"value":`+quoted(data.text)+`}`)
		}
	}
	if len(a.MediaFiles) > 0 {
		m.media()
		for _, v := range vastVersions {
			m.offer(rtb.NativeAnswer{Kind: rtb.NativeVideo, Type: v.protocol, Mime: m.c.MimeAll, Size: a.MediaFiles[0].Size},
				`"video":{"vasttag":`+quoted(m.vast(v))+`}`)
		}
	}
	if len(m.c.Native) == 0 {
		m.fail("assets", "a native ad needs at least a title, an image or a text")
	}
	if len(m.c.Native) > rtb.MaxNativeAssets {
		m.fail("assets", "more than "+strconv.Itoa(rtb.MaxNativeAssets)+" native assets")
	}
	m.c.Answer = m.pieces(`],"link":{"url":` + quoted(m.clickAddress()) + `},"imptrackers":[` + quoted(m.viewAddress()) + `]`)
	m.c.Viewable = m.pieces(`,"eventtrackers":[{"event":` + strconv.Itoa(eventViewable) + `,"method":` + strconv.Itoa(methodImage) +
		`,"url":` + quoted(m.viewableAddress()) + `}]`)
}

func (m *maker) offer(answer rtb.NativeAnswer, json string) {
	answer.JSON = m.pieces(json)
	m.c.Native = append(m.c.Native, answer)
}

func (m *maker) offerPicture(field string, p *rtb.Picture, kind uint8) {
	if p.URL == "" {
		return
	}
	m.address(field+".url", p.URL)
	m.size(field, p.Size)
	m.offer(rtb.NativeAnswer{Kind: rtb.NativeImage, Type: kind, Size: p.Size, Mime: pictureMime(p.URL)},
		`"img":{"url":`+quoted(p.URL)+`,"w":`+strconv.Itoa(int(p.Size.W))+`,"h":`+strconv.Itoa(int(p.Size.H))+`}`)
}

func quoted(s string) string { return string(appendJSONString(nil, s)) }

func runes(s string) uint16 { return uint16(min(utf8.RuneCountInString(s), 1<<16-1)) }

// FitNative decides which assets of n the native creative c gives: ids[i] is
// the id of the asset that c.Native[i] answers, or -1. It is
// [rtb.NativeAssetsMismatch] when a required asset cannot be given as asked,
// a text that is too long included, or when nothing at all can be; optional
// assets that do not fit are left out. It does not allocate.
func FitNative(n *NativeRequest, c *rtb.Creative, ids *[rtb.MaxNativeAssets]int32) rtb.NoBid {
	for i := range ids {
		ids[i] = -1
	}
	var used uint16 // a bit for each of c.Native
	// What is required comes before what is not, and what names its type before
	// what takes any, so that a choosy asset finds its answer still free.
	for pass := range 4 {
		required, typed := pass < 2, pass%2 == 0
		for i := range n.Assets {
			a := &n.Assets[i]
			if a.Required != required || (a.Type != 0) != typed {
				continue
			}
			k := nativeAnswerFor(a, c, used)
			if k < 0 {
				if required {
					return rtb.NativeAssetsMismatch
				}
				continue
			}
			used |= 1 << k
			ids[k] = a.ID
		}
	}
	if used == 0 {
		return rtb.NativeAssetsMismatch
	}
	return rtb.BidMade
}

func nativeAnswerFor(a *NativeAsset, c *rtb.Creative, used uint16) int {
	best := -1
	if a.ID < 0 {
		return best
	}
	for k := range min(len(c.Native), rtb.MaxNativeAssets) {
		have := &c.Native[k]
		if used&(1<<k) != 0 || have.Kind != a.Kind || a.Kind == 0 {
			continue
		}
		ok := false
		switch a.Kind {
		case rtb.NativeTitle:
			ok = a.Len == 0 || have.Chars <= a.Len
		case rtb.NativeData:
			ok = have.Type == a.Type && (a.Len == 0 || have.Chars <= a.Len)
		case rtb.NativeImage:
			ok = pictureFits(a, have)
		case rtb.NativeVideo:
			ok = videoFits(a, c, have)
		}
		// Of a video the newest version allowed, which comes last.
		if ok && (best < 0 || a.Kind == rtb.NativeVideo && a.Protocols != 0) {
			best = k
		}
	}
	return best
}

// pictureFits: w and h alone are exact; beside wmin and hmin they are what the
// page would like, and larger pictures are scaled down (Native 1.2, 4.4).
func pictureFits(a *NativeAsset, have *rtb.NativeAnswer) bool {
	switch {
	case a.Type != 0 && a.Type != have.Type && !(a.Type == imageLogo && have.Type == imageIcon):
		return false
	case a.Mimes != 0 && a.Mimes&have.Mime == 0:
		return false
	case have.Size.W < a.WMin || have.Size.H < a.HMin:
		return false
	case a.WMin == 0 && a.W != 0 && have.Size.W != a.W:
		return false
	case a.HMin == 0 && a.H != 0 && have.Size.H != a.H:
		return false
	}
	return true
}

func videoFits(a *NativeAsset, c *rtb.Creative, have *rtb.NativeAnswer) bool {
	seconds := uint16(min(c.Duration.Seconds(), 1<<16-1))
	switch {
	case a.Protocols == 0 && have.Type != unnamedProtocol, a.Protocols != 0 && !a.Protocols.Has(have.Type):
		return false
	case a.Mimes != 0 && a.Mimes&have.Mime == 0:
		return false
	case seconds < a.MinDuration, a.MaxDuration != 0 && seconds > a.MaxDuration:
		return false
	}
	return true
}

// appendNative appends the native answer, escaped for the JSON string that adm
// is.
func appendNative(dst []byte, bid *rtb.Bid, f *Form) []byte {
	if f.NativeWrapped {
		dst = append(dst, `{\"native\":`...)
	}
	dst = append(dst, `{\"ver\":\"1.2\",\"assets\":[`...)
	open := false
	native := bid.Creative.Native
	for k := range min(len(native), rtb.MaxNativeAssets) {
		id := bid.NativeIDs[k]
		if id < 0 {
			continue
		}
		if open {
			dst = append(dst, ',')
		}
		open = true
		dst = append(dst, `{\"id\":`...)
		dst = strconv.AppendInt(dst, int64(id), 10)
		dst = append(dst, ',')
		dst = appendPieces(dst, native[k].JSON, bid, f)
		dst = append(dst, '}')
	}
	dst = appendPieces(dst, bid.Creative.Answer, bid, f)
	if bid.Viewable {
		dst = appendPieces(dst, bid.Creative.Viewable, bid, f)
	}
	dst = append(dst, '}')
	if f.NativeWrapped {
		dst = append(dst, '}')
	}
	return dst
}
