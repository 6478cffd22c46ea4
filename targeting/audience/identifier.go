package audience

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"bidwell/rtb"
)

// Kind says how an identifier is written. It decides how it is checked and
// normalised before [rtb.HashUser].
type Kind uint8

// The kinds of identifier in a list.
const (
	Auto      Kind = iota // told by its form
	Email                 // an address in clear
	EmailHash             // SHA-256 of the normalised address, in hex
	Phone                 // a number in clear, with its country code
	PhoneHash             // SHA-256 of the number in E.164 with its plus, in hex
	Device                // advertising id of a phone or television, a UUID
	Cookie                // our own cookie, as in user.buyeruid
	Partner               // "source:id" of an identity provider
)

var kindNames = [...]string{Auto: "auto", Email: "email", EmailHash: "sha256_email", Phone: "phone",
	PhoneHash: "sha256_phone", Device: "device_id", Cookie: "cookie", Partner: "partner"}

// String is the name of the column that holds this kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseKind reads the name of a kind, or any other heading that a column of
// this kind may have. Nothing means [Auto].
func ParseKind(name string) (Kind, error) {
	if name == "" || name == "auto" {
		return Auto, nil
	}
	if k, ok := headings[name]; ok {
		return k, nil
	}
	return 0, fmt.Errorf("kind %q: want auto, email, sha256_email, phone, sha256_phone, device_id, cookie or partner", name)
}

// headings are the column names that are known, in lower case.
var headings = map[string]Kind{
	"email": Email, "e-mail": Email, "email_address": Email, "mail": Email,
	"sha256_email": EmailHash, "email_sha256": EmailHash, "hashed_email": EmailHash,
	"phone": Phone, "phone_number": Phone, "mobile": Phone, "tel": Phone,
	"sha256_phone": PhoneHash, "phone_sha256": PhoneHash, "hashed_phone": PhoneHash,
	"device_id": Device, "device": Device, "ifa": Device, "idfa": Device, "gaid": Device, "aaid": Device, "maid": Device,
	"cookie": Cookie, "cookie_id": Cookie, "user_id": Cookie, "buyeruid": Cookie,
	"partner": Partner, "partner_id": Partner, "eid": Partner,
	"id": Auto, "identifier": Auto,
}

// headed is the kind of the identifiers below a heading in lower case. Those of
// no kind that the heading tells are of the other one.
func headed(name string, other Kind) (kind Kind, known bool) {
	if kind, known = headings[name]; kind == Auto {
		kind = other
	}
	return kind, known
}

// Reasons why an identifier is refused. They never contain the identifier.
const (
	badEmail     = "not an e-mail address"
	badHash      = "not a SHA-256 in 64 hexadecimal digits"
	emptyHash    = "the hash of an empty value"
	badPhone     = "not a phone number of 8 to 15 digits"
	noCountry    = "a phone number without its country code, such as +49"
	badDevice    = "not a device id: want a UUID"
	zeroDevice   = "a device id of zeros only, as sent where tracking is off"
	badCookie    = "not a cookie of ours: want 8 to 256 characters without white space"
	badPartner   = `not an id in the form "source:id"`
	tooLong      = "an identifier longer than 256 bytes"
	noIdentifier = "no identifier"
)

// A hasher turns identifiers into users. It is reused from line to line.
type hasher struct {
	salt *[32]byte
	buf  [256]byte
}

// user checks and normalises id and returns its hash, or the reason why it is
// refused. It does not modify id and does not allocate.
func (h *hasher) user(kind Kind, id []byte) (user rtb.UserID, reason string) {
	id = bytes.TrimSpace(id)
	switch {
	case len(id) == 0:
		return user, noIdentifier
	case len(id) > 256:
		return user, tooLong
	}
	if kind == Auto {
		kind = detect(id)
	}
	switch kind {
	case Email:
		n, reason := normaliseEmail(h.buf[:0], id)
		if reason != "" {
			return user, reason
		}
		return h.digest(rtb.IDEmail, n), ""
	case Phone:
		n, reason := normalisePhone(h.buf[:0], id)
		if reason != "" {
			return user, reason
		}
		return h.digest(rtb.IDPhone, n), ""
	case EmailHash, PhoneHash:
		var sum [32]byte
		if len(id) != 64 {
			return user, badHash
		}
		if _, err := hex.Decode(sum[:], id); err != nil {
			return user, badHash
		}
		if sum == sha256OfNothing {
			return user, emptyHash
		}
		if kind == PhoneHash {
			return rtb.HashUser(h.salt, rtb.IDPhone, id), ""
		}
		return rtb.HashUser(h.salt, rtb.IDEmail, id), ""
	case Device:
		if !rtb.ValidDevice(id) {
			if len(bytes.Trim(id, "0-")) == 0 {
				return user, zeroDevice
			}
			return user, badDevice
		}
		return rtb.HashUser(h.salt, rtb.IDDevice, id), ""
	case Partner:
		source, rest, found := bytes.Cut(id, []byte{':'})
		if !found || len(source) == 0 || len(rest) == 0 || !visible(id) {
			return user, badPartner
		}
		n := append(appendLower(h.buf[:0], source), ':')
		return rtb.HashUser(h.salt, rtb.IDPartner, append(n, rest...)), ""
	default:
		if !rtb.ValidCookie(id) {
			return user, badCookie
		}
		return rtb.HashUser(h.salt, rtb.IDCookie, id), ""
	}
}

var sha256OfNothing = sha256.Sum256(nil)

// digest hashes a clear identifier the way lists of hashes are made, so that
// both name the same user.
func (h *hasher) digest(kind rtb.IDKind, normal []byte) rtb.UserID {
	sum := sha256.Sum256(normal)
	var text [64]byte
	hex.Encode(text[:], sum[:])
	return rtb.HashUser(h.salt, kind, text[:])
}

// detect tells the kind of an identifier by its form.
func detect(id []byte) Kind {
	switch {
	case isUUID(id):
		return Device
	case bytes.IndexByte(id, '@') >= 0:
		return Email
	case len(id) == 64 && isHex(id):
		return EmailHash
	case looksLikePhone(id):
		return Phone
	}
	if colon := bytes.IndexByte(id, ':'); colon > 0 && bytes.IndexByte(id[:colon], '.') > 0 {
		return Partner // the sources of extended ids are domains
	}
	return Cookie
}

// looksLikePhone is true for a plus and digits, and for 10 to 15 digits, with
// or without the usual separators.
func looksLikePhone(id []byte) bool {
	digits := 0
	for i, c := range id {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '+' && i == 0:
		case !separator(c):
			return false
		}
	}
	return digits > 0 && (id[0] == '+' || digits >= 10 && digits <= 15)
}

func separator(c byte) bool {
	return c == ' ' || c == '-' || c == '(' || c == ')' || c == '.' || c == '/'
}

// normaliseEmail appends the address in lower case; at Gmail, where dots and
// what follows a plus make no difference, without these.
func normaliseEmail(dst, id []byte) ([]byte, string) {
	at := bytes.IndexByte(id, '@')
	if at <= 0 || len(id) > 254 || at != bytes.LastIndexByte(id, '@') {
		return nil, badEmail
	}
	for _, c := range id {
		if c <= ' ' || c == 0x7f || c == ',' || c == ';' || c == '<' || c == '>' || c == '"' {
			return nil, badEmail
		}
	}
	domain := id[at+1:]
	dot := bytes.LastIndexByte(domain, '.')
	if dot <= 0 || dot == len(domain)-1 || domain[0] == '.' || bytes.Contains(domain, []byte("..")) {
		return nil, badEmail
	}
	dst = appendLower(dst, id)
	lower := dst[at+1:]
	if string(lower) != "gmail.com" && string(lower) != "googlemail.com" {
		return dst, ""
	}
	n := 0
	for _, c := range dst[:at] {
		if c == '+' {
			break
		}
		if c != '.' {
			dst[n] = c
			n++
		}
	}
	if n == 0 {
		return nil, badEmail
	}
	n += copy(dst[n:], dst[at:])
	return dst[:n], ""
}

// normalisePhone appends the number in E.164: a plus, the country code, and
// no separators. A number without a country code means another phone in every
// country, so it is refused.
func normalisePhone(dst, id []byte) ([]byte, string) {
	national := bytes.Index(id, []byte("(0)")) // +49 (0) 170: the zero is only dialled at home
	dst = append(dst, '+')
	plus := false
	for i, c := range id {
		switch {
		case c == '+' && i == 0:
			plus = true
		case c >= '0' && c <= '9':
			if i != national+1 || national <= 0 {
				dst = append(dst, c)
			}
		case !separator(c):
			return nil, badPhone
		}
	}
	if !plus {
		if len(dst) < 3 || dst[1] != '0' || dst[2] != '0' {
			return nil, noCountry
		}
		dst = append(dst[:1], dst[3:]...)
	}
	if digits := len(dst) - 1; digits < 8 || digits > 15 {
		return nil, badPhone
	}
	if dst[1] == '0' {
		return nil, noCountry
	}
	return dst, ""
}

func isUUID(id []byte) bool {
	if len(id) != 36 {
		return false
	}
	for i, c := range id {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !hexDigit(c) {
			return false
		}
	}
	return true
}

func isHex(id []byte) bool {
	for _, c := range id {
		if !hexDigit(c) {
			return false
		}
	}
	return true
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func visible(id []byte) bool {
	for _, c := range id {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

func appendLower(dst, s []byte) []byte {
	for _, c := range s {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
