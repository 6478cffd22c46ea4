package openrtb

import (
	"bytes"
	"math"
	"math/bits"

	"bidwell/rtb"
)

// reading is what came of reading a number.
type reading uint8

const (
	absent reading = iota // null, an empty string or an empty array
	sound
	odd // not a number, or not one that fits
)

// numberLen is the length of the JSON number that b starts with, or 0.
func numberLen(b []byte) int {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	n := digits(b[i:])
	if n == 0 || n > 1 && b[i] == '0' {
		return 0
	}
	i += n
	if i < len(b) && b[i] == '.' {
		n = digits(b[i+1:])
		if n == 0 {
			return 0
		}
		i += 1 + n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		n = digits(b[i:])
		if n == 0 {
			return 0
		}
		i += n
	}
	return i
}

// digits is the number of digits that b starts with.
func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

// decimal is a number as it was written: digits times ten to the power of exp,
// and a little more where digits were left out.
type decimal struct {
	digits   uint64 // at most 19 digits
	exp      int
	negative bool
	more     bool // digits that did not fit were not all zero
}

// maxExp is beyond every exponent that matters.
const maxExp = 1 << 20

// parseDecimal reads a number whose grammar has been checked by [numberLen].
func parseDecimal(b []byte) (d decimal) {
	i := 0
	if b[0] == '-' {
		d.negative = true
		i++
	}
	point := false
	for ; i < len(b); i++ {
		c := b[i]
		switch {
		case c >= '0' && c <= '9':
			if d.digits < 1e18 {
				d.digits = d.digits*10 + uint64(c-'0')
				if point {
					d.exp--
				}
				continue
			}
			if c != '0' {
				d.more = true
			}
			if !point {
				d.exp++
			}
		case c == '.':
			point = true
		default: // e or E
			exp, negative := 0, false
			for _, c := range b[i+1:] {
				switch {
				case c == '-':
					negative = true
				case c != '+' && exp < maxExp:
					exp = exp*10 + int(c-'0')
				}
			}
			if negative {
				exp = -exp
			}
			d.exp += exp
			return d
		}
	}
	return d
}

// decimal reads a number, a string that contains one, or a boolean as 0 or 1.
// An array counts as its first item.
func (s *scanner) decimal() (d decimal, r reading) {
	switch s.peek() {
	case '"':
		text := bytes.TrimSpace(s.text())
		if len(text) == 0 {
			return decimal{}, absent
		}
		for len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9' {
			text = text[1:]
		}
		if numberLen(text) != len(text) {
			return wordDecimal(text)
		}
		return parseDecimal(text), sound
	case 't':
		s.literal("true")
		return decimal{digits: 1}, sound
	case 'f':
		s.literal("false")
		return decimal{}, sound
	case 'n':
		s.literal("null")
		return decimal{}, absent
	case '{':
		s.skip()
		return decimal{}, odd
	case '[':
		if s.firstItem() {
			d, r = s.decimal()
			for s.nextItem() {
				s.skip()
			}
		}
		return d, r
	}
	n := numberLen(s.buf[s.pos:])
	if n == 0 {
		s.fail(ErrSyntax)
		return decimal{}, odd
	}
	d = parseDecimal(s.buf[s.pos : s.pos+n])
	s.pos += n
	return d, sound
}

func wordDecimal(text []byte) (decimal, reading) {
	switch {
	case equalFold(text, "true"):
		return decimal{digits: 1}, sound
	case equalFold(text, "false"):
		return decimal{}, sound
	}
	return decimal{}, odd
}

// integer is the value without its fraction, kept within an int64. It is not
// whole when there was a fraction, or when it did not fit.
func (d decimal) integer() (v int64, whole bool) {
	u, e := d.digits, d.exp
	whole = !d.more
	for ; e > 0 && u != 0; e-- {
		if u > math.MaxInt64/10 {
			u, whole = math.MaxInt64, false
			break
		}
		u *= 10
	}
	for ; e < 0 && u != 0; e++ {
		if u%10 != 0 {
			whole = false
		}
		u /= 10
	}
	if u > math.MaxInt64 {
		u, whole = math.MaxInt64, false
	}
	if d.negative {
		return -int64(u), whole
	}
	return int64(u), whole
}

// zero reports whether the number is exactly zero.
func (d decimal) zero() bool { return d.digits == 0 }

// finite reports whether a double can hold the number.
func (d decimal) finite() bool {
	if d.digits == 0 {
		return true
	}
	top := d.exp
	for u := d.digits; u != 0; u /= 10 {
		top++
	}
	return top < 309 || top == 309 && d.float() <= math.MaxFloat64
}

var powersOfTen = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// float is the number as a double, right to the last bit or two.
func (d decimal) float() float64 {
	f := float64(d.digits)
	switch {
	case d.digits == 0 || d.exp == 0:
	case d.exp > 0 && d.exp < len(powersOfTen):
		f *= powersOfTen[d.exp]
	case d.exp < 0 && -d.exp < len(powersOfTen):
		f /= powersOfTen[-d.exp]
	default:
		f *= math.Pow(10, float64(d.exp))
	}
	if d.negative {
		return -f
	}
	return f
}

// perMille reads the number as a price of a thousand and returns that of one,
// rounded up to the next billionth: a floor must not become lower. What is
// negative is zero.
func (d decimal) perMille() rtb.Money {
	if d.negative || d.digits == 0 {
		return 0
	}
	u, e := d.digits, d.exp+6 // OneCPM is ten to the power of six
	more := d.more
	if e < -19 {
		return 1
	}
	if e < 0 {
		pow := uint64(1)
		for ; e < 0; e++ {
			pow *= 10
		}
		if u%pow != 0 {
			more = true
		}
		u /= pow
	}
	for ; e > 0; e-- {
		high, low := bits.Mul64(u, 10)
		if high != 0 || low > math.MaxInt64 {
			return rtb.MaxMoney
		}
		u = low
	}
	if more {
		u++
	}
	if u >= math.MaxInt64 {
		return rtb.MaxMoney
	}
	return rtb.Money(u)
}

// integer reads a whole number; 300.0 is one. A fraction is cut off and called
// odd, as is a number beyond int64, which becomes the largest or the smallest.
func (s *scanner) integer() (v int64, r reading) {
	// The usual way: up to 18 digits and nothing behind them.
	buf := s.buf
	i := s.pos
	for i < len(buf) && buf[i]-'0' <= 9 {
		v = v*10 + int64(buf[i]-'0')
		i++
	}
	if n := i - s.pos; n > 0 && n <= 18 && i < len(buf) && buf[i] != '.' && buf[i]|0x20 != 'e' && (n == 1 || buf[s.pos] != '0') {
		s.pos = i
		return v, sound
	}
	d, r := s.decimal()
	if r != sound {
		return 0, r
	}
	v, whole := d.integer()
	if !whole {
		r = odd
	}
	return v, r
}

// count reads a number that is kept between 0 and limit, and 0 where it cannot
// be read. It is for what no decision hangs on.
func (s *scanner) count(limit int64) int64 {
	v, _ := s.integer()
	return max(0, min(v, limit))
}

// flag reads 0 or 1 in whatever form; unread is the answer for what cannot be
// read.
func (s *scanner) flag(unread bool) bool {
	d, r := s.decimal()
	if r == odd {
		return unread
	}
	return !d.zero()
}

// restriction reads a privacy flag, which only absence, null and 0 leave
// unset. It is odd when the value is no number at all.
func (s *scanner) restriction() (set bool, isOdd bool) {
	if s.peek() == 'n' {
		s.skip()
		return false, false
	}
	d, r := s.decimal()
	if r != sound {
		return true, r == odd
	}
	return !d.zero(), false
}

// bits reads a list of small integers, or one of them. Values that the set
// cannot hold are left out; isOdd tells that one could not be read.
func (s *scanner) bits() (b rtb.Bits, isOdd bool) {
	if s.peek() != '[' {
		v, r := s.integer()
		if r == sound {
			b.Add(v)
		}
		return b, r == odd
	}
	for ok := s.firstItem(); ok; ok = s.nextItem() {
		v, r := s.integer()
		switch r {
		case sound:
			b.Add(v)
		case odd:
			isOdd = true
		}
	}
	return b, isOdd
}

// money reads a price of a thousand; see [decimal.perMille]. It is odd when it
// cannot be read or no double holds it.
func (s *scanner) money() (m rtb.Money, isOdd bool) {
	d, r := s.decimal()
	if r == odd || !d.finite() {
		return 0, true
	}
	return d.perMille(), false
}
