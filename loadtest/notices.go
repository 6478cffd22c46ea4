package loadtest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"bidwell/rtb"
)

// Macros are the values that an exchange puts into notice addresses and
// markup: OpenRTB 2.6, 4.4, and the privacy macros of IAB TCF and GPP.
type Macros struct {
	AuctionID, BidID, ImpID, SeatID, AdID string
	Price, MinToWin                       rtb.Money // left blank when zero
	Currency                              string
	Loss                                  int
	ImpTime                               time.Time // zero unless the ad was shown
	GDPR                                  bool
	Consent, USPrivacy                    string
}

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

// NoticeKind is why an address is called.
type NoticeKind string

// The kinds of notice.
const (
	NoticeWin        NoticeKind = "nurl"
	NoticeBill       NoticeKind = "burl"
	NoticeLoss       NoticeKind = "lurl"
	NoticeImpression NoticeKind = "impression"
	NoticeClick      NoticeKind = "click"
	NoticeVideo      NoticeKind = "video"
)

// fate is all that happens to one bid after the auction, in order.
type fate struct {
	win, bill, loss string
	media           rtb.Media
	markup          string // empty when the ad was not shown
	clicked         bool
	quartiles       int // how many of the five a viewer reached
	macros          Macros
}

// notifier calls the addresses that bids name, at the bidder's listener
// whatever host they name: in a test the public host leads nowhere. Only
// addresses on the bidder's own host are called, so no third party is.
type notifier struct {
	to     endpoint // of the bidder
	prefix string   // path before that of the address
	wait   time.Duration
	fates  chan fate
	record func(kind NoticeKind, err error)
	group  sync.WaitGroup
}

func newNotifier(to endpoint, prefix string, workers int, record func(NoticeKind, error)) *notifier {
	n := &notifier{to: to, prefix: prefix, wait: 5 * time.Second, fates: make(chan fate, 4*workers), record: record}
	for range workers {
		n.group.Go(n.work)
	}
	return n
}

// tell queues what follows an auction. It waits while all workers are busy, so
// a slow bidder slows the market rather than filling memory.
func (n *notifier) tell(ctx context.Context, f fate) {
	select {
	case n.fates <- f:
		return
	default:
	}
	select {
	case n.fates <- f:
	case <-ctx.Done():
	}
}

// finish waits until all notices are sent. Nothing may be told afterwards.
func (n *notifier) finish() {
	close(n.fates)
	n.group.Wait()
}

func (n *notifier) work() {
	w := newWire(n.to)
	defer w.close()
	var request []byte
	for f := range n.fates {
		own := hostOf(f.win)
		if own == "" {
			own = hostOf(f.bill)
		}
		call := func(kind NoticeKind, address string) {
			if address == "" {
				return
			}
			address = f.macros.Expand(address)
			var err error
			if request, err = n.appendGet(request[:0], address); err == nil {
				err = get(w, request, time.Now().Add(n.wait))
			}
			n.record(kind, err)
		}
		// A page calls whatever its ad names; we call what leads to the bidder.
		render := func(kind NoticeKind, addresses []string) {
			for _, address := range addresses {
				if host := hostOf(address); host != "" && (host == own || strings.HasPrefix(pathOf(address), "/e/")) {
					call(kind, address)
				}
			}
		}

		call(NoticeLoss, f.loss)
		call(NoticeWin, f.win)
		if f.markup == "" {
			continue
		}
		trackers, err := ParseTrackers(f.media, f.markup)
		if err != nil {
			n.record(NoticeImpression, err)
		}
		render(NoticeImpression, trackers.Impression)
		call(NoticeBill, f.bill)
		for _, quartile := range trackers.Quartile[:f.quartiles] {
			render(NoticeVideo, quartile)
		}
		if f.clicked {
			render(NoticeClick, trackers.Click)
		}
	}
}

// hostOf is the host of an absolute https or http address, else "".
func hostOf(address string) string {
	rest, ok := strings.CutPrefix(address, "https://")
	if !ok {
		if rest, ok = strings.CutPrefix(address, "http://"); !ok {
			return ""
		}
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// pathOf is the path and query of an absolute address.
func pathOf(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	start := strings.IndexAny(rest, "/?#")
	if start < 0 {
		return "/"
	}
	rest, _, _ = strings.Cut(rest[start:], "#")
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest
}

var (
	errNotAbsolute = errors.New("the address is not absolute")
	errBadAddress  = errors.New("the address has a space or a control character")
)

// appendGet appends the request for an address.
func (n *notifier) appendGet(dst []byte, address string) ([]byte, error) {
	if hostOf(address) == "" {
		return dst, errNotAbsolute
	}
	for i := range len(address) {
		if address[i] <= ' ' || address[i] == 0x7f {
			return dst, errBadAddress
		}
	}
	dst = append(dst, "GET "...)
	dst = append(dst, n.prefix...)
	dst = append(dst, pathOf(address)...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, n.to.host...)
	return append(dst, "\r\n\r\n"...), nil
}

// get calls an address. A redirect is an answer; it is not followed.
func get(w *wire, request []byte, deadline time.Time) error {
	r, err := w.do(request, deadline)
	if err != nil {
		return err
	}
	if r.status < 200 || r.status >= 400 {
		return fmt.Errorf("status %d", r.status)
	}
	return nil
}
