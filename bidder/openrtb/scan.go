package openrtb

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"bidwell/rtb"
)

// MaxDepth is how deep arrays and objects may nest, in fields that are skipped
// too.
const MaxDepth = 256

// Errors of a body that is refused: all of them mean HTTP 400.
var (
	// ErrSyntax means that the body is not exactly one JSON object.
	ErrSyntax = errors.New("openrtb: not a JSON object")
	// ErrDepth means that the body nests deeper than [MaxDepth].
	ErrDepth = errors.New("openrtb: nested too deeply")
)

// scanner walks once over a JSON text. The first error sticks: it moves pos to
// the end, where every further step fails at once, so callers need not check.
//
// A method that reads a value expects pos at its first byte and leaves pos
// behind its last one.
type scanner struct {
	buf   []byte
	pos   int
	depth int
	err   error
	arena []byte // takes the unescaped strings
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.pos = len(s.buf)
}

// peek returns the byte at pos, or 0, which starts no token, at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.buf) {
		return s.buf[s.pos]
	}
	return 0
}

// space moves to the next byte that is not white space and returns it.
func (s *scanner) space() byte {
	for s.pos < len(s.buf) {
		c := s.buf[s.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
		s.pos++
	}
	return 0
}

// follows is true where c is next and no white space after it, as nearly
// always, and moves behind c.
func (s *scanner) follows(c byte) bool {
	i := s.pos
	if i+1 < len(s.buf) && s.buf[i] == c && s.buf[i+1] > ' ' {
		s.pos = i + 1
		return true
	}
	return false
}

// firstKey enters the object at pos and reads its first key. It is false, with
// the object left behind, when that is empty.
//
//	for key, ok := s.firstKey(); ok; key, ok = s.nextKey() { read the value }
func (s *scanner) firstKey() (key []byte, ok bool) {
	s.pos++
	if s.depth++; s.depth > MaxDepth {
		s.fail(ErrDepth)
		return nil, false
	}
	if s.space() == '}' {
		s.pos++
		s.depth--
		return nil, false
	}
	return s.key()
}

// nextKey reads the next key of the object, or leaves it.
func (s *scanner) nextKey() (key []byte, ok bool) {
	if s.follows(',') {
		return s.key()
	}
	switch s.space() {
	case ',':
		s.pos++
		s.space()
		return s.key()
	case '}':
		s.pos++
		s.depth--
	default:
		s.fail(ErrSyntax)
	}
	return nil, false
}

// key reads a key and its colon. A key with escapes is unescaped: "i\u0064" is
// "id".
func (s *scanner) key() (key []byte, ok bool) {
	if s.peek() != '"' {
		s.fail(ErrSyntax)
		return nil, false
	}
	key, escaped := s.raw()
	if !s.follows(':') {
		if s.space() != ':' {
			s.fail(ErrSyntax)
			return nil, false
		}
		s.pos++
		s.space()
	}
	if escaped {
		key = s.unescape(key)
	}
	return key, true
}

// firstItem enters the array at pos. It is false, with the array left behind,
// when that is empty.
//
//	for ok := s.firstItem(); ok; ok = s.nextItem() { read the value }
func (s *scanner) firstItem() bool {
	s.pos++
	if s.depth++; s.depth > MaxDepth {
		s.fail(ErrDepth)
		return false
	}
	if s.space() == ']' {
		s.pos++
		s.depth--
		return false
	}
	return s.err == nil
}

// nextItem moves to the next value of the array, or leaves it.
func (s *scanner) nextItem() bool {
	if s.follows(',') {
		return true
	}
	switch s.space() {
	case ',':
		s.pos++
		s.space()
		return true
	case ']':
		s.pos++
		s.depth--
	default:
		s.fail(ErrSyntax)
	}
	return false
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// stops marks the bytes of x at which a string ends or needs a closer look: a
// quote (0x22), a backslash (0x5c) or a control character. Flipping bit 1 moves
// the quote below 0x21 beside the control characters and the space above. The
// lowest mark is right; those above it may be wrong.
func stops(x uint64) uint64 {
	return (((x ^ 0x02*ones) - 0x21*ones) | ((x ^ 0x5c*ones) - ones)) &^ x & highs
}

// raw reads the string at pos and returns what is between its quotes, and
// whether that contains escapes. The usual one, which has none and more than a
// few bytes after it, is read here, and calls nothing.
func (s *scanner) raw() (text []byte, escaped bool) {
	buf := s.buf
	start := s.pos + 1
	i := start
	for i+8 <= len(buf) {
		stop := stops(binary.LittleEndian.Uint64(buf[i : i+8]))
		if stop == 0 {
			i += 8
			continue
		}
		if i += bits.TrailingZeros64(stop) >> 3; buf[i] == '"' {
			s.pos = i + 1
			return buf[start:i], false
		}
		break
	}
	return s.rawFrom(start, i)
}

// rawFrom is raw for a string that begins at start and has no escape before i.
func (s *scanner) rawFrom(start, i int) (text []byte, escaped bool) {
	buf := s.buf
	for i < len(buf) {
		switch c := buf[i]; {
		case c == '"':
			s.pos = i + 1
			return buf[start:i], escaped
		case c == '\\':
			escaped = true
			n := escapeLen(buf[i:])
			if n == 0 {
				s.fail(ErrSyntax)
				return nil, false
			}
			i += n
		case c < ' ':
			s.fail(ErrSyntax)
			return nil, false
		default:
			i++
		}
		for i+8 <= len(buf) {
			stop := stops(binary.LittleEndian.Uint64(buf[i : i+8]))
			i += bits.TrailingZeros64(stop) >> 3 // 64 where there is none
			if stop != 0 {
				break
			}
		}
	}
	s.fail(ErrSyntax)
	return nil, false
}

// escapeLen is the length of the escape that b starts with, or 0 when JSON has
// no such escape.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(b[2:]) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 is the number that the first four hexadecimal digits of b write, or -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// skip reads any value for its grammar alone.
func (s *scanner) skip() {
	switch c := s.peek(); c {
	case '"':
		s.raw()
	case '{':
		for _, ok := s.firstKey(); ok; _, ok = s.nextKey() {
			s.skip()
		}
	case '[':
		for ok := s.firstItem(); ok; ok = s.nextItem() {
			s.skip()
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		n := numberLen(s.buf[s.pos:])
		if n == 0 {
			s.fail(ErrSyntax)
			return
		}
		s.pos += n
	}
}

// value reads any value and returns it as it was sent.
func (s *scanner) value() []byte {
	start := s.pos
	s.skip()
	if s.err != nil {
		return nil
	}
	return s.buf[start:s.pos]
}

func (s *scanner) literal(word string) {
	end := s.pos + len(word)
	if end > len(s.buf) || string(s.buf[s.pos:end]) != word {
		s.fail(ErrSyntax)
		return
	}
	s.pos = end
}

// object is true when the value at pos is an object. Any other value is
// skipped; null then counts as absent, and everything else as odd.
func (s *scanner) object() (is, odd bool) {
	if s.peek() == '{' {
		return true, false
	}
	odd = s.peek() != 'n'
	s.skip()
	return false, odd
}

// token reads a string or a number to be echoed. It is nil for every other
// value, for the empty string, and for one that is not UTF-8, which an answer
// must be.
func (s *scanner) token() rtb.Token {
	c := s.peek()
	t := s.value()
	if c != '"' && c != '-' && (c < '0' || c > '9') || len(t) < 3 && c == '"' || !validUTF8(t) {
		return nil
	}
	return t
}
