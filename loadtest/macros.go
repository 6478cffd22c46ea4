package loadtest

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bidwell/rtb"
)

// Macros are the values that an exchange puts into notice addresses and
// markup: OpenRTB 2.6, 4.4, and the privacy macros of IAB TCF and GPP.
type Macros struct {
	AuctionID, BidID, ImpID, SeatID, AdID string
	Price, MinToWin                       rtb.Money // left blank when zero
	PriceText                             string    // in place of Price, such as one that is encrypted; unexpanded leaves the macro
	Currency                              string
	Loss                                  int
	ImpTime                               time.Time // zero unless the ad was shown
	GDPR                                  bool
	Consent, USPrivacy                    string
}

// unexpanded as a price is that of an exchange which forgot the macro.
const unexpanded = "${AUCTION_PRICE}"

// Expand replaces the macros of text. Values are escaped to stand in the query
// of an address; a macro followed by ":B64" becomes URL-safe base64. What is
// no macro of ours stays.
func (m *Macros) Expand(text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			out.WriteString("${" + rest)
			return out.String()
		}
		bare, encoded := strings.CutSuffix(name, ":B64")
		value, known := m.value(bare)
		switch {
		case !known:
			out.WriteString("${" + name + "}")
		case encoded:
			out.WriteString(base64.RawURLEncoding.EncodeToString([]byte(value)))
		default:
			out.WriteString(url.QueryEscape(value))
		}
		text = after
	}
}

func (m *Macros) value(name string) (value string, known bool) {
	switch name {
	case "AUCTION_ID":
		return m.AuctionID, true
	case "AUCTION_BID_ID":
		return m.BidID, true
	case "AUCTION_IMP_ID":
		return m.ImpID, true
	case "AUCTION_SEAT_ID":
		return m.SeatID, true
	case "AUCTION_AD_ID":
		return m.AdID, true
	case "AUCTION_PRICE":
		if m.PriceText != "" {
			return m.PriceText, m.PriceText != unexpanded
		}
		return cpmOrBlank(m.Price), true
	case "AUCTION_CURRENCY":
		return m.Currency, true
	case "AUCTION_MBR":
		return "", true // the market does not reveal it
	case "AUCTION_LOSS":
		return strconv.Itoa(m.Loss), true
	case "AUCTION_MIN_TO_WIN":
		return cpmOrBlank(m.MinToWin), true
	case "AUCTION_MULTIPLIER":
		return "1", true
	case "AUCTION_IMP_TS":
		if m.ImpTime.IsZero() {
			return "", true
		}
		return strconv.FormatInt(m.ImpTime.UnixMilli(), 10), true
	case "AUCTION_DISCOUNT_PCT", "AUCTION_DISCOUNT_CPM":
		return "0", true
	case "GDPR":
		if m.GDPR {
			return "1", true
		}
		return "0", true
	case "US_PRIVACY":
		return m.USPrivacy, true
	case "GPP_SID":
		return "", true
	}
	switch {
	case strings.HasPrefix(name, "GDPR_CONSENT_"):
		return m.Consent, true
	case strings.HasPrefix(name, "GPP_STRING_"):
		return "", true
	}
	return "", false
}

func cpmOrBlank(m rtb.Money) string {
	if m <= 0 {
		return ""
	}
	return string(m.AppendCPM(nil))
}
