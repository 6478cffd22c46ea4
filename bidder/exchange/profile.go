// Package exchange knows what differs between ad exchanges, as data.
//
// A [Profile] is a document that people edit: deadlines, limits, which notices
// an exchange calls and how it writes prices. An exchange that speaks OpenRTB
// JSON needs a document and no code; [Builtin] has those of the usual ones.
// A [Directory] is made from the profiles and answers, on the bid path, which
// [Exchange] is behind a URL.
package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"bidwell/bidder/openrtb"
	"bidwell/rtb"
)

// Profile is what the bidder must know of one exchange. It is also the
// document that the admin API keeps.
type Profile struct {
	Name string         `json:"name" doc:"Last part of the bid address, POST /bid/{name}: lower-case letters, digits and hyphens"`
	ID   rtb.ExchangeID `json:"number,omitempty" doc:"Stands for the exchange in notices and line items and never changes; 32 to 255, given by itself for the built-in names"`

	TokenHeader string `json:"token_header,omitempty" doc:"HTTP header in which the exchange sends its secret; X-Bid-Token when empty"`
	Token       Secret `json:"token,omitempty" doc:"Secret that the exchange must send; empty when it sends none"`

	Seat     string   `json:"seat,omitempty" doc:"Our seat with the exchange, answered in seatbid.seat where the line item names none"`
	TMax     Duration `json:"tmax" doc:"Time to answer when the request names none"`
	Reserve  Duration `json:"reserve" doc:"Taken off tmax for the way back"`
	MaxQPS   int      `json:"max_qps,omitempty" doc:"Requests above this many a second are answered without a bid; 0 does not limit"`
	MaxBids  int      `json:"max_bids,omitempty" doc:"Most bids in one answer; 0 does not limit"`
	Currency string   `json:"currency,omitempty" doc:"Currency of requests that name none; USD when empty"`

	Notices []Notice   `json:"notices,omitempty" doc:"Which notices the exchange calls: nurl, burl, lurl"`
	Billing Notice     `json:"billing" doc:"Which of burl, nurl and pixel spends money"`
	Price   PriceMacro `json:"price" doc:"How it writes ${AUCTION_PRICE}"`

	ReasonCodes   bool            `json:"reason_codes,omitempty" doc:"Answer a no-bid with 200 and nbr instead of an empty 204"`
	MaxResponse   int             `json:"max_response,omitempty" doc:"Largest answer in bytes; 0 does not limit"`
	MaxCRID       int             `json:"max_crid,omitempty" doc:"Longest creative id in bytes; 0 does not limit"`
	Gzip          bool            `json:"gzip,omitempty" doc:"Compress answers when the request accepts it"`
	NativeWrapped bool            `json:"native_wrapped,omitempty" doc:"Put native answers into {\"native\": ...}, as Native 1.0 has it"`
	Version       string          `json:"openrtb_version,omitempty" doc:"Answered in the header x-openrtb-version; empty: not sent"`
	BidExt        json.RawMessage `json:"bid_ext,omitempty" doc:"An object whose members every bid carries in its ext"`
}

// Notice is one of the ways in which an exchange tells that something became
// of a bid.
type Notice string

// The notices. A pixel is part of the markup and always there.
const (
	NURL  Notice = "nurl"  // the bid won (OpenRTB 2.6, 4.2.1)
	BURL  Notice = "burl"  // the impression is billable by the exchange's rules
	LURL  Notice = "lurl"  // the bid lost
	Pixel Notice = "pixel" // the ad was shown
)

// DefaultTokenHeader is where an exchange sends its secret when its profile
// names no other header.
const DefaultTokenHeader = "X-Bid-Token"

// Limits of a profile.
const (
	firstOwnID = 32 // numbers below are kept for built-in profiles
	maxTMax    = 5 * time.Second
	maxExt     = 1024
)

// Wait is how long the bidder may work on a request with the given tmax, which
// is zero where the request named none. It is never negative.
func (p *Profile) Wait(tmax time.Duration) time.Duration {
	if tmax <= 0 {
		tmax = time.Duration(p.TMax)
	}
	return max(0, min(tmax, maxTMax)-time.Duration(p.Reserve))
}

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){0,31}$`)
	headerPattern  = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	versionPattern = regexp.MustCompile(`^2\.[0-9]{1,2}$`)
)

// Validate reports every field that is wrong, not only the first.
func (p *Profile) Validate() error {
	var errs []error
	fail := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(field+": "+format, args...))
	}
	if !namePattern.MatchString(p.Name) {
		fail("name", "want 1 to 32 lower-case letters, digits and single hyphens")
	}
	switch own := BuiltinID(p.Name); {
	case own != 0 && p.ID != 0 && p.ID != own:
		fail("number", "%q has the number %d", p.Name, own)
	case own == 0 && p.ID < firstOwnID:
		fail("number", "must be from %d to %d", firstOwnID, math.MaxUint8)
	}
	if p.TokenHeader != "" && !headerPattern.MatchString(p.TokenHeader) {
		fail("token_header", "not a header name")
	}
	if p.Token != "" && len(p.Token) < 8 || len(p.Token) > 256 {
		fail("token", "want 8 to 256 characters")
	}
	if p.Token == Redacted {
		fail("token", "a redacted secret")
	}
	if len(p.Seat) > 64 {
		fail("seat", "longer than 64 bytes")
	}
	if p.TMax <= 0 || time.Duration(p.TMax) > maxTMax {
		fail("tmax", "must be above zero and at most %s", maxTMax)
	}
	if p.Reserve < 0 || p.Reserve >= p.TMax {
		fail("reserve", "must not be negative and must be less than tmax")
	}
	for _, limit := range []struct {
		field string
		value int
	}{
		{"max_qps", p.MaxQPS}, {"max_bids", p.MaxBids}, {"max_response", p.MaxResponse}, {"max_crid", p.MaxCRID},
	} {
		if limit.value < 0 {
			fail(limit.field, "must not be negative")
		}
	}
	if p.MaxCRID > 0 && p.MaxCRID < 10 {
		fail("max_crid", "must be 0 or at least 10: a creative's number may have ten digits")
	}
	if rtb.ParseCurrency(p.Currency) == rtb.UnknownCurrency {
		fail("currency", "%q is not a currency code", p.Currency)
	}
	for i, n := range p.Notices {
		if n != NURL && n != BURL && n != LURL {
			fail("notices", "%q is none of nurl, burl and lurl", n)
		} else if slices.Contains(p.Notices[:i], n) {
			fail("notices", "%q stands there twice", n)
		}
	}
	switch p.Billing {
	case NURL, BURL:
		if !slices.Contains(p.Notices, p.Billing) {
			fail("billing", "%s spends the money, so it must be among the notices", p.Billing)
		}
	case Pixel:
	default:
		fail("billing", "%q is none of burl, nurl and pixel", p.Billing)
	}
	if err := p.Price.Validate(); err != nil {
		errs = append(errs, err)
	}
	if p.Version != "" && !versionPattern.MatchString(p.Version) {
		fail("openrtb_version", "want a version such as 2.6")
	}
	if _, err := extMembers(p.BidExt); err != nil {
		fail("bid_ext", "%w", err)
	}
	return errors.Join(errs...)
}

// extMembers is the text of an object without its braces.
func extMembers(object json.RawMessage) (string, error) {
	if len(object) == 0 || string(object) == "null" {
		return "", nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return "", errors.New("not a JSON object")
	}
	if _, ok := members["dsa"]; ok {
		return "", errors.New(`"dsa" belongs to the creative`)
	}
	text, err := json.Marshal(members) // compact, and no member twice
	if err != nil {
		return "", err
	}
	if len(text) > maxExt {
		return "", fmt.Errorf("longer than %d bytes", maxExt)
	}
	return string(text[1 : len(text)-1]), nil
}

// form is how answers to the exchange look.
func (p *Profile) form(noticeBase string) (openrtb.Form, error) {
	ext, err := extMembers(p.BidExt)
	return openrtb.Form{
		Seat:          p.Seat,
		NoticeBase:    noticeBase,
		NURL:          slices.Contains(p.Notices, NURL),
		BURL:          slices.Contains(p.Notices, BURL),
		LURL:          slices.Contains(p.Notices, LURL),
		PixelPrice:    p.Billing == Pixel,
		NativeWrapped: p.NativeWrapped,
		MaxCRID:       p.MaxCRID,
		Ext:           ext,
	}, err
}

// Redacted returns a copy of p with [Redacted] for its secrets, to be shown.
func (p Profile) Redacted() Profile {
	p.Token = p.Token.redacted()
	p.Price.EncryptionKey = p.Price.EncryptionKey.redacted()
	p.Price.IntegrityKey = p.Price.IntegrityKey.redacted()
	p.Price.keys = nil
	return p
}

// KeepSecrets returns a copy of p in which a secret that reads [Redacted] is
// the one that old has, so that a profile can be shown, edited and sent back.
func (p Profile) KeepSecrets(old *Profile) Profile {
	keep := func(now, was Secret) Secret {
		if now == Redacted {
			return was
		}
		return now
	}
	p.Token = keep(p.Token, old.Token)
	p.Price.EncryptionKey = keep(p.Price.EncryptionKey, old.Price.EncryptionKey)
	p.Price.IntegrityKey = keep(p.Price.IntegrityKey, old.Price.IntegrityKey)
	p.Price.keys = nil
	return p
}

// Secret is text that is stored, but not printed.
type Secret string

// Redacted stands for a secret that is not shown.
const Redacted Secret = "********"

func (s Secret) redacted() Secret {
	if s == "" {
		return ""
	}
	return Redacted
}

// String keeps the secret out of logs and messages.
func (s Secret) String() string { return string(s.redacted()) }

// GoString keeps the secret out of %#v.
func (s Secret) GoString() string { return `"` + string(s.redacted()) + `"` }

// Duration is a time in Go's notation, such as "100ms".
type Duration time.Duration

// String is the duration in Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d in Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`%q is not a duration such as "100ms"`, text)
	}
	*d = Duration(v)
	return nil
}
