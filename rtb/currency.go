package rtb

import "math"

// Currency is an ISO 4217 code in upper case. The zero value means that none
// was named.
type Currency [3]byte

// Currencies with a meaning of their own.
var (
	USD = Currency{'U', 'S', 'D'}
	// UnknownCurrency stands for a value that is no currency code.
	UnknownCurrency = Currency{'?', '?', '?'}
)

// ParseCurrency reads a code in either case. What is not three letters is
// [UnknownCurrency]; nothing is the zero Currency.
func ParseCurrency[T ~string | ~[]byte](s T) Currency {
	if len(s) == 0 {
		return Currency{}
	}
	if len(s) != 3 {
		return UnknownCurrency
	}
	var c Currency
	for i := range 3 {
		b := s[i] &^ 0x20
		if b < 'A' || b > 'Z' {
			return UnknownCurrency
		}
		c[i] = b
	}
	return c
}

func (c Currency) String() string {
	if c == (Currency{}) {
		return ""
	}
	return string(c[:])
}

// Rates converts between currencies. It is immutable and safe to share.
type Rates struct {
	account Currency
	codes   []Currency
	values  []float64 // account units for one unit of the code
}

// NewRates keeps the worth of one unit of each currency in units of account,
// which itself is always worth 1. Rates that are not positive are left out.
func NewRates(account Currency, worth map[Currency]float64) *Rates {
	r := &Rates{account: account, codes: []Currency{account}, values: []float64{1}}
	for code, value := range worth {
		if code != account && value > 0 && !math.IsInf(value, 0) {
			r.codes = append(r.codes, code)
			r.values = append(r.values, value)
		}
	}
	return r
}

// Account is the currency that budgets and goals are in.
func (r *Rates) Account() Currency { return r.account }

// Knows reports whether amounts in c can be converted.
func (r *Rates) Knows(c Currency) bool { return r.rate(c) != 0 }

// rate is 0 for an unknown currency. A scan of a few three-byte codes is
// faster than a map, and the account's own is first.
func (r *Rates) rate(c Currency) float64 {
	for i := range r.codes {
		if r.codes[i] == c {
			return r.values[i]
		}
	}
	return 0
}

// ToAccount converts an amount in c to the account currency, rounded up, so
// that a floor stays a floor. It is false for a currency without a rate.
func (r *Rates) ToAccount(m Money, c Currency) (Money, bool) {
	if c == r.account {
		return m, true
	}
	rate := r.rate(c)
	return RoundMoney(math.Ceil(float64(m) * rate)), rate != 0
}

// FromAccount converts an amount in the account currency to c, rounded up. It
// is false for a currency without a rate.
func (r *Rates) FromAccount(m Money, c Currency) (Money, bool) {
	if c == r.account {
		return m, true
	}
	rate := r.rate(c)
	if rate == 0 {
		return 0, false
	}
	return RoundMoney(math.Ceil(float64(m) / rate)), true
}
