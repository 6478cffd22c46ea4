package openrtb

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"bidwell/rtb"
)

// Form is how one exchange wants its answers. Its strings come from a
// validated profile; none of them changes while the profile is in use.
type Form struct {
	Seat       string // seatbid.seat where neither the bid nor its line item names one
	NoticeBase string // where notices go, such as "https://bid.example.com"; see [CheckNoticeBase]

	// Which notices to send: nurl for a win, burl for a billable impression,
	// lurl for a loss (OpenRTB 2.6, 4.2).
	NURL, BURL, LURL bool

	// PixelPrice puts the price macro into the impression pixel of the markup,
	// for exchanges where the pixel is what bills.
	PixelPrice bool

	// NativeWrapped puts the native answer into an object with the one member
	// "native", as exchanges want it that speak Native 1.0. From 1.1 on the
	// native object itself is the root (Native 1.2, 5.1).
	NativeWrapped bool

	// MaxCRID is the longest crid in bytes; zero does not limit it. A creative
	// with a longer key goes by its number.
	MaxCRID int

	// Ext are members for the ext object of every bid, as JSON text without
	// the braces; empty: none.
	Ext string
}

// AppendResponse appends resp as an OpenRTB 2.6 bid response. Bids of one seat
// stand together, seats in the order of their first bid. It does not allocate
// once dst is large enough.
func AppendResponse(dst []byte, resp *rtb.Response, f *Form) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendToken(dst, resp.RequestID)
	if resp.Currency != (rtb.Currency{}) {
		dst = append(dst, `,"cur":"`...)
		dst = append(dst, resp.Currency[:]...)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"seatbid":[`...)
	open := false
	for i := range resp.Bids {
		seat := seatOf(&resp.Bids[i], f)
		if seatBefore(resp.Bids[:i], seat, f) {
			continue
		}
		if open {
			dst = append(dst, ',')
		}
		open = true
		dst = append(dst, `{"bid":[`...)
		dst = appendBid(dst, &resp.Bids[i], f)
		for j := i + 1; j < len(resp.Bids); j++ {
			if seatOf(&resp.Bids[j], f) == seat {
				dst = append(dst, ',')
				dst = appendBid(dst, &resp.Bids[j], f)
			}
		}
		dst = append(dst, ']')
		if seat != "" {
			dst = append(dst, `,"seat":`...)
			dst = appendJSONString(dst, seat)
		}
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// AppendNoBid appends an answer that says in nbr why there is no bid. Without
// an id, which a request that cannot be read has none of, it says only that.
func AppendNoBid(dst []byte, id rtb.Token, reason rtb.NoBid) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendToken(dst, id)
	dst = append(dst, `,"nbr":`...)
	var code uint8
	if int(reason) < len(noBidCodes) {
		code = noBidCodes[reason]
	}
	dst = strconv.AppendUint(dst, uint64(code), 10)
	return append(dst, '}')
}

// noBidCodes are the codes of the OpenRTB list "no-bid reason codes". The list
// speaks of traffic, not of demand, so most of our reasons are its 0,
// "unknown error".
var noBidCodes = [rtb.NoBidCount]uint8{
	rtb.InvalidRequest:     2,
	rtb.NoUsableImp:        2,
	rtb.UnknownExchange:    1, // technical error
	rtb.Overload:           1,
	rtb.TooLate:            15, // insufficient auction time
	rtb.UserOptedOut:       8,  // unmatched user
	rtb.SegmentMissing:     8,
	rtb.DeviceMismatch:     6, // unsupported device
	rtb.OSMismatch:         6,
	rtb.ConnectionMismatch: 6,
	rtb.InventoryDenied:    7, // blocked publisher or site
	rtb.FrequencyCapped:    9, // daily user cap met
}

func seatOf(bid *rtb.Bid, f *Form) string {
	if bid.Seat != "" {
		return bid.Seat
	}
	if bid.LineItem.Seat != "" {
		return bid.LineItem.Seat
	}
	return f.Seat
}

func seatBefore(bids []rtb.Bid, seat string, f *Form) bool {
	for i := range bids {
		if seatOf(&bids[i], f) == seat {
			return true
		}
	}
	return false
}

func appendBid(dst []byte, bid *rtb.Bid, f *Form) []byte {
	c := bid.Creative
	dst = append(dst, `{"id":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, bid.ID[:])
	dst = append(dst, `","impid":`...)
	dst = appendToken(dst, bid.Imp.ID)
	dst = append(dst, `,"price":`...)
	dst = bid.Price.AppendCPM(dst)
	dst = appendNotices(dst, bid, f)

	dst = append(dst, `,"adm":"`...)
	if c.Media == rtb.Native {
		dst = appendNative(dst, bid, f)
	} else {
		dst = appendPieces(dst, answerFor(c, bid.Protocol), bid, f)
	}
	dst = append(dst, '"')
	dst = append(dst, c.Fixed...)

	dst = append(dst, `,"cid":"`...)
	dst = strconv.AppendUint(dst, uint64(bid.LineItem.Campaign), 10)
	// What the buyer's reports know a bid by: the line item.
	dst = append(dst, `","tactic":"`...)
	dst = strconv.AppendUint(dst, uint64(bid.LineItem.ID), 10)
	dst = append(dst, `","crid":`...)
	if f.MaxCRID > 0 && len(c.Key) > f.MaxCRID {
		dst = append(dst, '"')
		dst = strconv.AppendUint(dst, uint64(c.ID), 10)
		dst = append(dst, '"')
	} else {
		dst = appendJSONString(dst, c.Key)
	}
	if bid.Protocol != 0 && (c.Media == rtb.Video || c.Media == rtb.Audio) {
		dst = append(dst, `,"protocol":`...)
		dst = strconv.AppendUint(dst, uint64(bid.Protocol), 10)
	}
	if len(bid.Deal) != 0 {
		dst = append(dst, `,"dealid":`...)
		dst = append(dst, bid.Deal...)
	}
	size := bid.Size
	if size == (rtb.Size{}) {
		size = c.Size
	}
	if size.W != 0 && size.H != 0 {
		dst = append(dst, `,"w":`...)
		dst = strconv.AppendUint(dst, uint64(size.W), 10)
		dst = append(dst, `,"h":`...)
		dst = strconv.AppendUint(dst, uint64(size.H), 10)
	}
	if f.Ext != "" || len(c.FixedExt) != 0 {
		dst = append(dst, `,"ext":{`...)
		dst = append(dst, f.Ext...)
		if f.Ext != "" && len(c.FixedExt) != 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, c.FixedExt...)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// Notifies reports whether the exchange is told where to send notices.
func (f *Form) Notifies() bool { return f.NURL || f.BURL || f.LURL }

// appendNotices writes the notice addresses. The macros stay for the exchange
// to fill in (OpenRTB 2.6, 4.4).
func appendNotices(dst []byte, bid *rtb.Bid, f *Form) []byte {
	if f.NURL {
		dst = append(dst, `,"nurl":"`...)
		dst = append(dst, f.NoticeBase...)
		dst = append(dst, `/e/win?t=`...)
		dst = append(dst, bid.ServerToken...)
		dst = append(dst, `&p=${AUCTION_PRICE}&m=${AUCTION_MIN_TO_WIN}"`...)
	}
	if f.BURL {
		dst = append(dst, `,"burl":"`...)
		dst = append(dst, f.NoticeBase...)
		dst = append(dst, `/e/bill?t=`...)
		dst = append(dst, bid.ServerToken...)
		dst = append(dst, `&p=${AUCTION_PRICE}"`...)
	}
	if f.LURL {
		dst = append(dst, `,"lurl":"`...)
		dst = append(dst, f.NoticeBase...)
		dst = append(dst, `/e/loss?t=`...)
		dst = append(dst, bid.ServerToken...)
		dst = append(dst, `&p=${AUCTION_PRICE}&r=${AUCTION_LOSS}&m=${AUCTION_MIN_TO_WIN}"`...)
	}
	return dst
}

// answerFor is the VAST of the version that was agreed on; a creative with one
// answer only has no versions.
func answerFor(c *rtb.Creative, protocol uint8) []rtb.Piece {
	for i := range c.Versions {
		if c.Versions[i].Protocol == protocol {
			return c.Versions[i].Pieces
		}
	}
	return c.Answer
}

func appendPieces(dst []byte, pieces []rtb.Piece, bid *rtb.Bid, f *Form) []byte {
	for i := range pieces {
		dst = append(dst, pieces[i].Literal...)
		switch pieces[i].Slot {
		case rtb.SlotToken:
			dst = append(dst, bid.Token...)
		case rtb.SlotViewToken:
			dst = append(dst, bid.ViewToken...)
		case rtb.SlotBidID:
			dst = base64.RawURLEncoding.AppendEncode(dst, bid.ID[:])
		case rtb.SlotPrice:
			if f.PixelPrice {
				dst = append(dst, "${AUCTION_PRICE}"...)
			}
		}
	}
	return dst
}

// appendToken echoes a JSON value of the request.
func appendToken(dst []byte, t rtb.Token) []byte {
	if len(t) == 0 {
		return append(dst, `""`...)
	}
	return append(dst, t...)
}

// appendJSONString appends s as a JSON string. What is not UTF-8 becomes
// U+FFFD, so that the answer is valid whatever a name contains.
func appendJSONString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

// appendEscaped appends s as it stands between the quotes of a JSON string.
func appendEscaped[T ~string | ~[]byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\uFFFD"...)
				start = i + 1
			} else if r == '\u2028' || r == '\u2029' { // line ends in JavaScript
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\u202`...)
				dst = append(dst, hex[r&0xF])
				start = i + size
			}
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&0xF])
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}
