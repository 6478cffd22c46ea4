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

// Profile is all that the bidder knows of a user. The Segments of several
// identifiers of one request are merged; duplicates do no harm.
type Profile struct {
	Segments []SegmentID
	OptedOut bool
	Known    bool // at least one identifier was found
}

// Reset empties p and keeps its memory.
func (p *Profile) Reset() { *p = Profile{Segments: p.Segments[:0]} }
