package rtb

import (
	"errors"
	"math"
	"strconv"
)

// Money is an amount in billionths of a currency unit, so that one impression
// at a CPM of one millionth still counts. Sums up to nine billion units fit.
type Money int64

const (
	// Unit is one unit of the currency, such as one dollar.
	Unit Money = 1_000_000_000
	// OneCPM is the price of one impression at a CPM of 1.
	OneCPM Money = Unit / 1000
	// MaxMoney is larger than any price; a floor that does not fit becomes it.
	MaxMoney Money = math.MaxInt64
)

// FromCPM converts a price per thousand impressions to the price of one,
// rounded to the nearest billionth. NaN becomes zero; what does not fit
// becomes [MaxMoney] or its negative.
func FromCPM(cpm float64) Money { return RoundMoney(cpm * float64(OneCPM)) }

// RoundMoney is the amount nearest to f billionths, within the same bounds.
func RoundMoney(f float64) Money {
	f = math.Round(f)
	switch {
	case math.IsNaN(f):
		return 0
	case f >= math.MaxInt64:
		return MaxMoney
	case f <= -math.MaxInt64:
		return -MaxMoney
	}
	return Money(f)
}

// CPM is the price per thousand impressions at m for one.
func (m Money) CPM() float64 { return float64(m) / float64(OneCPM) }

// String formats m in units with at least two decimals and no more than it
// needs, such as "12.50" or "0.0025".
func (m Money) String() string { return string(m.Append(nil)) }

// Append appends what [Money.String] returns.
func (m Money) Append(dst []byte) []byte { return appendDecimal(dst, int64(m), 9, 2) }

// AppendCPM appends m as a CPM in plain decimal notation, exactly, such as
// "2.5" or "0.000001".
func (m Money) AppendCPM(dst []byte) []byte { return appendDecimal(dst, int64(m), 6, 0) }

// appendDecimal appends v / 10^scale with at least least decimals.
func appendDecimal(dst []byte, v int64, scale, least int) []byte {
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	pow := uint64(1)
	for range scale {
		pow *= 10
	}
	dst = strconv.AppendUint(dst, u/pow, 10)
	frac := u % pow
	if frac == 0 && least == 0 {
		return dst
	}
	dst = append(dst, '.')
	start := len(dst)
	for range scale {
		pow /= 10
		dst = append(dst, byte('0'+frac/pow%10))
	}
	for len(dst)-start > least && dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

var errMoney = errors.New(`not an amount: want digits with up to nine decimals, such as "12.50"`)

// ParseMoney reads an amount in units such as "12.50". It takes no exponent,
// no sign but a leading minus, and at most nine decimals.
func ParseMoney(s string) (Money, error) { return parseDecimal(s, 9) }

// ParseCPM reads a price per thousand such as "2.50" with at most six decimals
// and returns the price of one impression.
func ParseCPM(s string) (Money, error) { return parseDecimal(s, 6) }

func parseDecimal(s string, scale int) (Money, error) {
	digits, negative := s, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	var v int64
	decimals, seen := -1, false
	for i := range len(digits) {
		c := digits[i]
		switch {
		case c == '.' && decimals < 0 && seen:
			decimals = 0
		case c >= '0' && c <= '9':
			seen = true
			if decimals >= 0 {
				if decimals == scale {
					return 0, errMoney
				}
				decimals++
			}
			if v > (math.MaxInt64-9)/10 {
				return 0, errMoney
			}
			v = v*10 + int64(c-'0')
		default:
			return 0, errMoney
		}
	}
	if !seen || decimals == 0 {
		return 0, errMoney
	}
	for range scale - max(decimals, 0) {
		if v > math.MaxInt64/10 {
			return 0, errMoney
		}
		v *= 10
	}
	if negative {
		v = -v
	}
	return Money(v), nil
}
