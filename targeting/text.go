package targeting

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// maxText is how long a name of a request may be to be compared at all. A
// domain has at most 253 bytes.
const maxText = 256

// appendFolded appends s without the white space around it, folded so that
// texts equal under [strings.EqualFold] become the same.
func appendFolded(dst, s []byte) []byte {
	s = bytes.TrimSpace(s)
	for len(s) > 0 {
		if s[0] < utf8.RuneSelf {
			dst = append(dst, lower(s[0]))
			s = s[1:]
			continue
		}
		r, n := utf8.DecodeRune(s)
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[0])
		} else {
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		s = s[n:]
	}
	return dst
}

// foldRune is the least of the runes that equal r when case is ignored, in
// lower case if that is ASCII.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if least < utf8.RuneSelf {
		return rune(lower(byte(least)))
	}
	return least
}

func foldString(s string) string { return string(appendFolded(nil, []byte(s))) }

// appendZip appends a postal code in lower case without the spaces and hyphens
// that some write and others leave out.
func appendZip(dst, s []byte) []byte {
	for _, c := range s {
		if c != ' ' && c != '-' {
			dst = append(dst, lower(c))
		}
	}
	return dst
}

// trimDomain cuts a domain out of what exchanges write in its place: a whole
// URL, "www." or a wildcard before it, a port or a full stop after it.
func trimDomain(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] != '.' && b[0]|0x20 != 'w' && b[0] != '.' {
		plain := true
		for _, c := range b {
			if notInDomain[c] {
				plain = false
				break
			}
		}
		if plain {
			return b
		}
	}
	return trimAddress(b)
}

// notInDomain are the bytes that need a closer look.
var notInDomain = func() (t [256]bool) {
	for c := range t {
		t[c] = c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("/:?#@*"), byte(c)) >= 0
	}
	return t
}()

func trimAddress(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if i := bytes.IndexByte(b, '/'); i >= 0 {
		if i+1 < len(b) && b[i+1] == '/' && (i == 0 || b[i-1] == ':') {
			b = b[i+2:]
			i = bytes.IndexByte(b, '/')
		}
		if i >= 0 {
			b = b[:i]
		}
		if i := bytes.IndexByte(b, '@'); i >= 0 {
			b = b[i+1:]
		}
	}
	for i, c := range b {
		if c == ':' || c == '?' || c == '#' {
			b = b[:i]
			break
		}
	}
	if len(b) > 1 && b[0] == '*' && b[1] == '.' {
		b = b[2:]
	}
	for len(b) > 0 && b[0] == '.' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	if len(b) > 4 && b[0]|0x20 == 'w' && equalLower(b[:4], "www.") && bytes.IndexByte(b[4:], '.') > 0 {
		b = b[4:]
	}
	return b
}

func cleanDomain(s string) string { return string(trimDomain([]byte(s))) }

// parentDomain is what follows the first label of b, or nothing.
func parentDomain(b []byte) []byte {
	if i := bytes.IndexByte(b, '.'); i >= 0 {
		return b[i+1:]
	}
	return nil
}

// covers reports whether domain, in lower case, is above or is the one that is
// written as entry.
func covers(entry []byte, domain string) bool {
	entry = trimDomain(entry)
	n := len(domain) - len(entry)
	if len(entry) == 0 || n < 0 || n > 0 && domain[n-1] != '.' {
		return false
	}
	return equalLower(entry, domain[n:])
}

// parentCategory is the part of a category of the IAB form, such as IAB7-39,
// that names its parent; nothing for any other.
func parentCategory(b []byte) []byte {
	i := bytes.IndexByte(b, '-')
	if i < 4 || i == len(b)-1 || !equalLower(b[:3], "iab") || !digits(b[3:i]) || !digits(b[i+1:]) {
		return nil
	}
	return b[:i]
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// primaryLanguage is the part of a language tag before the first hyphen.
func primaryLanguage(b []byte) []byte {
	if i := bytes.IndexAny(b, "-_"); i >= 0 {
		return b[:i]
	}
	return b
}
