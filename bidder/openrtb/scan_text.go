package openrtb

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"

	"bidwell/rtb"
)

// validUTF8 is utf8.Valid with a short way for the usual ASCII.
func validUTF8(b []byte) bool {
	rest := b
	for len(rest) >= 8 && binary.LittleEndian.Uint64(rest)&highs == 0 {
		rest = rest[8:]
	}
	return utf8.Valid(rest)
}

// unescape appends the string whose raw text is given to the arena and returns
// it there. A surrogate without its other half becomes U+FFFD. Slices of an
// arena that has since grown stay valid: they keep the old array.
func (s *scanner) unescape(raw []byte) []byte {
	start := len(s.arena)
	s.arena = appendUnescaped(s.arena, raw)
	return s.arena[start:len(s.arena):len(s.arena)]
}

// appendUnescaped trusts raw to contain whole escapes only.
func appendUnescaped(dst, raw []byte) []byte {
	for {
		i := backslash(raw)
		if i+1 >= len(raw) {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(raw)
			raw = raw[min(4, len(raw)):]
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
					low = hex4(raw[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					raw = raw[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// backslash is the place of the first backslash, or the length. Those of a
// document within a string are too close together for [bytes.IndexByte].
func backslash(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:i+8]) ^ 0x5c*ones
		if stop := (x - ones) &^ x & highs; stop != 0 {
			return i + bits.TrailingZeros64(stop)>>3
		}
	}
	for i < len(b) && b[i] != '\\' {
		i++
	}
	return i
}

// text reads a string. A number or a boolean is returned as it was sent, an
// array by its first item; anything else is nil.
func (s *scanner) text() []byte {
	if s.peek() == '"' {
		raw, escaped := s.raw()
		if escaped {
			return s.unescape(raw)
		}
		return raw
	}
	return s.oddText()
}

func (s *scanner) oddText() (text []byte) {
	switch s.peek() {
	case 'n', '{':
		s.skip()
		return nil
	case '[':
		if s.firstItem() {
			text = s.text()
			for s.nextItem() {
				s.skip()
			}
		}
		return text
	}
	return s.value()
}

// blocklist appends the strings of an array, or the one string that stands for
// an array, to dst until that has limit entries, and tells whether there were
// more. Empty entries and those that are no text block nothing and are left
// out.
func (s *scanner) blocklist(dst [][]byte, limit int) (list [][]byte, cut bool) {
	if s.peek() != '[' {
		if text := s.text(); len(text) > 0 {
			dst = append(dst, text)
		}
		return dst, false
	}
	for ok := s.firstItem(); ok; ok = s.nextItem() {
		if len(dst) >= limit {
			cut = true
			s.skip()
		} else if text := s.text(); len(text) > 0 {
			dst = append(dst, text)
		}
	}
	return dst, cut
}

// allowlist is blocklist for a list of the only values that are allowed: an
// entry that cannot be read is kept as an empty string, which nothing equals,
// because leaving it out might lift the restriction. For the same reason it
// does no harm to cut such a list.
func (s *scanner) allowlist(dst [][]byte) [][]byte {
	switch s.peek() {
	case 'n':
		s.skip()
		return dst
	case '"':
		if text := s.text(); len(text) > 0 {
			dst = append(dst, text)
		}
		return dst
	case '[':
	default:
		return append(dst, s.text())
	}
	for ok := s.firstItem(); ok; ok = s.nextItem() {
		if len(dst) >= maxAllowed {
			s.skip()
		} else {
			dst = append(dst, s.text())
		}
	}
	return dst
}

// currency reads one currency code.
func (s *scanner) currency() rtb.Currency {
	switch s.peek() {
	case '"':
		return rtb.ParseCurrency(s.text())
	case 'n':
		s.skip()
		return rtb.Currency{}
	}
	s.skip()
	return rtb.UnknownCurrency
}

// mimes reads a list of media types, or one of them.
func (s *scanner) mimes() (m rtb.Mimes) {
	if s.peek() != '[' {
		return s.mime()
	}
	for ok := s.firstItem(); ok; ok = s.nextItem() {
		m |= s.mime()
	}
	return m
}

func (s *scanner) mime() rtb.Mimes {
	switch s.peek() {
	case '"':
		text := s.text()
		if len(text) == 0 {
			return 0
		}
		return rtb.ParseMime(text)
	case 'n':
		s.skip()
		return 0
	}
	s.skip()
	return rtb.MimeOther
}

// equalFold compares text to a lower-case ASCII word.
func equalFold(text []byte, lower string) bool {
	if len(text) != len(lower) {
		return false
	}
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
