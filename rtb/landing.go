package rtb

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// MaxAddress is the longest address that an ad may have, in bytes.
const MaxAddress = 2048

// ParseAddress takes absolute http and https addresses, written in the
// characters that RFC 3986 allows: they then need no escaping in JSON, in a
// header, in a CDATA section or in a quoted attribute but for "&" and "'".
func ParseAddress(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("address missing")
	}
	if len(s) > MaxAddress {
		return nil, fmt.Errorf("address longer than %d bytes", MaxAddress)
	}
	for _, r := range s {
		if r <= ' ' || r >= 0x7F || strings.ContainsRune("\"<>\\^`{|}", r) {
			return nil, fmt.Errorf("address contains %q, which must be percent-encoded", r)
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not an address")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("not an absolute http or https address")
	case u.Hostname() == "":
		return nil, errors.New("address without a host")
	case u.User != nil:
		return nil, errors.New("address with a user name in it")
	}
	return u, nil
}

// Landing is the address that a click on a creative leads to, cut at its
// macros when the creative is loaded. It does not change and may be shared.
type Landing struct {
	pieces []landingPiece
}

// landingPiece is a stretch of an address and the macro after it.
type landingPiece struct {
	literal string
	macro   landingMacro
}

type landingMacro uint8

// The macros of a landing page.
const (
	noMacro landingMacro = iota
	macroClickID
	macroCampaign
	macroLineItem
	macroCreative
	macroExchange
	macroBidID
	macroCacheBuster
)

var landingMacros = map[string]landingMacro{
	"{CLICK_ID}": macroClickID, "{CAMPAIGN}": macroCampaign, "{LINE_ITEM}": macroLineItem, "{CREATIVE}": macroCreative,
	"{EXCHANGE}": macroExchange, "{BID_ID}": macroBidID, "{CACHE_BUSTER}": macroCacheBuster,
}

var landingPattern = regexp.MustCompile(`\{[A-Z][A-Z0-9_]*\}`)

// ParseLanding reads the address of a landing page. It is an address as
// [ParseAddress] takes it, in whose path, query or fragment there may be
// macros: {CLICK_ID} {CAMPAIGN} {LINE_ITEM} {CREATIVE} {EXCHANGE} {BID_ID}
// {CACHE_BUSTER}. Others of that form are somebody else's and stay as they
// are. There is none in the host, so that no value can lead to another one.
func ParseLanding(address string) (*Landing, error) {
	if len(address) > MaxAddress {
		return nil, fmt.Errorf("address longer than %d bytes", MaxAddress)
	}
	if _, err := ParseAddress(landingPattern.ReplaceAllString(address, "x")); err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(address, "://")
	path := len(address)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		path = len(address) - len(rest) + i
	}
	l, end := &Landing{}, 0
	for _, at := range landingPattern.FindAllStringIndex(address, -1) {
		macro, known := landingMacros[address[at[0]:at[1]]]
		if at[0] < path {
			return nil, fmt.Errorf("address with the macro %s in its host", address[at[0]:at[1]])
		}
		if known {
			l.pieces = append(l.pieces, landingPiece{address[end:at[0]], macro})
			end = at[1]
		}
	}
	l.pieces = append(l.pieces, landingPiece{literal: address[end:]})
	return l, nil
}

// Fixed reports whether the address has no macros that a click fills in.
func (l *Landing) Fixed() bool { return len(l.pieces) == 1 }

// Click is what the macros of a landing page stand for.
type Click struct {
	ID          []byte // the token that a conversion comes back with; may be empty
	Campaign    string // ids of documents, as people know them
	LineItem    string
	Creative    string
	Exchange    string
	Product     []byte // that the address which was clicked names, unauthenticated; never part of a landing page
	Bid         BidID
	CacheBuster uint64 // anything that is new
}

// Append appends the address with its macros filled in. Values are
// percent-encoded but for letters, digits and "-._~", which is right in a path,
// a query and a fragment alike. It does not allocate once dst is large enough.
func (l *Landing) Append(dst []byte, c *Click) []byte {
	for i := range l.pieces {
		dst = append(dst, l.pieces[i].literal...)
		switch l.pieces[i].macro {
		case macroClickID:
			dst = appendPercent(dst, c.ID)
		case macroCampaign:
			dst = appendPercent(dst, c.Campaign)
		case macroLineItem:
			dst = appendPercent(dst, c.LineItem)
		case macroCreative:
			dst = appendPercent(dst, c.Creative)
		case macroExchange:
			dst = appendPercent(dst, c.Exchange)
		case macroBidID:
			dst = base64.RawURLEncoding.AppendEncode(dst, c.Bid[:])
		case macroCacheBuster:
			dst = strconv.AppendUint(dst, c.CacheBuster, 10)
		}
	}
	return dst
}

func appendPercent[T ~string | ~[]byte](dst []byte, s T) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
