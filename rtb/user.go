package rtb

import "crypto/sha256"

// UserID is a salted hash of an identifier; the identifier itself is kept
// nowhere. Zero means unknown, or not permitted.
type UserID [16]byte

// IDKind says what an identifier is, so that equal strings of different kinds
// never meet.
type IDKind uint8

// The kinds of identifier that uploads and requests name.
const (
	IDCookie  IDKind = iota + 1 // our own, as exchanges return it in user.buyeruid
	IDDevice                    // advertising id of a phone or television: lower case
	IDEmail                     // SHA-256 of the normalised address, in lower-case hex
	IDPhone                     // SHA-256 of the E.164 number, in lower-case hex
	IDPartner                   // an id of an identity provider: "source:id"
)

// HashUser is the only way to a [UserID]: the first half of
// SHA-256(salt, kind, id), ASCII letters of the id folded to lower case for
// the kinds written in hex. An id longer than 256 bytes has none. It does not
// allocate.
func HashUser(salt *[32]byte, kind IDKind, id []byte) UserID {
	var buf [32 + 1 + 256]byte
	if len(id) == 0 || len(id) > 256 {
		return UserID{}
	}
	n := copy(buf[:], salt[:])
	buf[n] = byte(kind)
	n++
	if kind == IDCookie || kind == IDPartner {
		n += copy(buf[n:], id)
	} else {
		for _, c := range id {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			buf[n] = c
			n++
		}
	}
	sum := sha256.Sum256(buf[:n])
	return UserID(sum[:16])
}

// Profile is all that the bidder knows of a user. The Segments and Exposures of
// several identifiers of one request are merged; duplicate segments do no harm.
type Profile struct {
	Segments  []SegmentID
	Exposures []Exposure
	OptedOut  bool
	Known     bool // at least one identifier was found
}

// Reset empties p and keeps its memory.
func (p *Profile) Reset() { *p = Profile{Segments: p.Segments[:0], Exposures: p.Exposures[:0]} }

// Exposure is impressions that a user has seen, as far as frequency caps need
// them. Where there are too many to be kept one by one, several become one
// with the Time of the last: then a cap may hold back longer than it must,
// never shorter. A line item, campaign, advertiser or creative of zero is of
// several that have become one, and counts as each.
type Exposure struct {
	LineItem   LineItemID
	Campaign   CampaignID
	Advertiser AdvertiserID
	Creative   CreativeID
	Time       uint32 // Unix seconds, rounded up
	Count      uint16
}

// ExposureWords is how many words [Exposure.AppendWords] appends.
const ExposureWords = 3

// AppendWords appends e in the form in which stores and caches pass it on.
func (e *Exposure) AppendWords(dst []uint64) []uint64 {
	return append(dst,
		uint64(e.LineItem)<<32|uint64(e.Campaign),
		uint64(e.Advertiser)<<32|uint64(e.Creative),
		uint64(e.Time)<<32|uint64(e.Count))
}

// ExposureOf is the Exposure that became three words.
func ExposureOf(a, b, c uint64) Exposure {
	return Exposure{
		LineItem: LineItemID(a >> 32), Campaign: CampaignID(a),
		Advertiser: AdvertiserID(b >> 32), Creative: CreativeID(b),
		Time: uint32(c >> 32), Count: uint16(c),
	}
}

// ValidDevice reports whether id can be an advertising id: a UUID, or 32 hex
// digits, that is not all zeros. Anything else would make one user of many.
func ValidDevice(id []byte) bool {
	if len(id) != 36 && len(id) != 32 {
		return false
	}
	zeros := true
	for i, c := range id {
		if len(id) == 36 && (i == 8 || i == 13 || i == 18 || i == 23) {
			if c != '-' {
				return false
			}
			continue
		}
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			zeros = zeros && c == '0'
		default:
			return false
		}
	}
	return !zeros
}

// ValidCookie reports whether id can be a cookie of ours: at least eight
// bytes, no white space or control characters, and not the same byte all
// along, as placeholders are.
func ValidCookie(id []byte) bool {
	if len(id) < 8 || len(id) > 256 {
		return false
	}
	same := true
	for _, c := range id {
		if c <= ' ' || c == 0x7f {
			return false
		}
		same = same && c == id[0]
	}
	return !same
}
