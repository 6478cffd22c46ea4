package loadtest

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"bidwell/rtb"
)

// bidAnswer is what the simulator reads of a bid response. Whether the rest
// keeps to the specification is for conform to say.
type bidAnswer struct {
	ID      string       `json:"id"`
	Cur     string       `json:"cur"`
	SeatBid []answerSeat `json:"seatbid"`
}

type answerSeat struct {
	Seat string    `json:"seat"`
	Bid  []seatBid `json:"bid"`
}

type seatBid struct {
	ID     string          `json:"id"`
	ImpID  string          `json:"impid"`
	Price  float64         `json:"price"`
	AdID   string          `json:"adid"`
	Adm    json.RawMessage `json:"adm"` // a string, or for native an object
	NURL   string          `json:"nurl"`
	BURL   string          `json:"burl"`
	LURL   string          `json:"lurl"`
	CID    string          `json:"cid"`
	CRID   string          `json:"crid"`
	DealID string          `json:"dealid"`
	Tactic string          `json:"tactic"`
	W      int             `json:"w"`
	H      int             `json:"h"`
	MType  int             `json:"mtype"`
}

// markup is the text of adm.
func (b *seatBid) markup() string {
	if text, ok := unquote(string(b.Adm)); ok {
		return text
	}
	return string(b.Adm)
}

// hasMarkup reports whether adm says anything.
func (b *seatBid) hasMarkup() bool {
	switch string(b.Adm) {
	case "", `""`, "null":
		return false
	}
	return true
}

// Loss reasons of OpenRTB, list "loss reason codes".
const (
	lossNone          = 0
	lossInvalid       = 3
	lossDealID        = 4
	lossNoMarkup      = 7
	lossNoCreative    = 8
	lossNoPrice       = 9
	lossBelowFloor    = 100
	lossBelowDeal     = 101
	lossHigherBid     = 102
	lossToDeal        = 103
	lossSize          = 203
	lossFormat        = 204
	currencyOfAuction = "USD"
)

// lossNames are for people, by code as scorecards have it.
var lossNames = map[string]string{
	strconv.Itoa(lossInvalid):    "invalid bid response",
	strconv.Itoa(lossDealID):     "invalid deal id",
	strconv.Itoa(lossNoMarkup):   "missing markup",
	strconv.Itoa(lossNoCreative): "missing creative id",
	strconv.Itoa(lossNoPrice):    "missing price",
	strconv.Itoa(lossBelowFloor): "below the floor of the auction",
	strconv.Itoa(lossBelowDeal):  "below the floor of the deal",
	strconv.Itoa(lossHigherBid):  "lost to a higher bid",
	strconv.Itoa(lossToDeal):     "lost to a bid for a deal",
	strconv.Itoa(lossSize):       "creative of a size not allowed",
	strconv.Itoa(lossFormat):     "creative of the wrong format",
}

// contender is one bid in the auction of a slot and what became of it.
type contender struct {
	bid       *seatBid
	seat      string
	slot      *Slot
	line      *line // whose money it is
	price     rtb.Money
	floor     rtb.Money
	deal      *Deal // nil in the open auction
	ad        Ad
	loss      int    // a loss reason, zero for the winner
	violation string // the rule it broke, empty when none
	clearing  rtb.Money
	minToWin  rtb.Money
}

// admit reads a bid and judges whether it may take part.
func admit(o *Offer, bid *seatBid, seat, currency string) contender {
	c := contender{bid: bid, seat: seat}
	for i := range o.Slots {
		if o.Slots[i].ID == bid.ImpID {
			c.slot = &o.Slots[i]
		}
	}
	refuse := func(loss int, violation string) contender {
		c.loss, c.violation = loss, violation
		return c
	}
	if c.slot == nil {
		return refuse(lossInvalid, "unknown-imp")
	}
	s := c.slot
	c.ad = Ad{LineItem: bid.CID, Creative: bid.CRID, Media: mediaOf(bid)}
	c.price, c.floor = rtb.FromCPM(bid.Price), s.Floor
	if bid.DealID != "" {
		if s.Deal == nil || s.Deal.ID != bid.DealID {
			return refuse(lossDealID, "unknown-deal")
		}
		c.deal, c.floor = s.Deal, s.DealFloor
	}
	switch {
	case currency != "" && currency != currencyOfAuction:
		return refuse(lossInvalid, "currency-not-offered")
	case math.IsNaN(bid.Price) || c.price <= 0 || c.price == rtb.MaxMoney:
		return refuse(lossNoPrice, "price-not-positive")
	case c.deal == nil && s.Deal != nil && s.Deal.Private:
		return refuse(lossToDeal, "open-bid-in-private-auction")
	case c.price < c.floor && c.deal != nil:
		return refuse(lossBelowDeal, "below-deal-floor")
	case c.price < c.floor:
		return refuse(lossBelowFloor, "below-floor")
	case bid.CRID == "":
		return refuse(lossNoCreative, "no-creative-id")
	case !bid.hasMarkup():
		return refuse(lossNoMarkup, "no-markup")
	}
	switch {
	case c.ad.Media == rtb.Banner && s.Banner:
		c.ad.Size = rtb.Size{W: pixels(bid.W), H: pixels(bid.H)}
		if bid.W == 0 && bid.H == 0 {
			c.ad.Size = s.Sizes[0]
		} else if !s.offers(c.ad.Size) {
			return refuse(lossSize, "size-not-offered")
		}
	case c.ad.Media == rtb.Video && s.Video:
		c.ad.Size = s.Player
	case c.ad.Media == rtb.Audio && s.Audio, c.ad.Media == rtb.Native && s.Native:
	default:
		return refuse(lossFormat, "format-not-offered")
	}
	return c
}

func pixels(n int) uint16 { return uint16(max(0, min(n, math.MaxUint16))) }

// offers reports whether the banner has this size.
func (s *Slot) offers(size rtb.Size) bool {
	for _, offered := range s.Sizes[:s.SizeCount] {
		if offered == size {
			return true
		}
	}
	return false
}

// mediaOf is mtype, or where that is absent what the markup looks like.
func mediaOf(bid *seatBid) rtb.Media {
	if bid.MType >= 1 && bid.MType <= 4 {
		return rtb.Media(bid.MType)
	}
	switch adm := strings.TrimSpace(bid.markup()); {
	case strings.HasPrefix(adm, "{"):
		return rtb.Native
	case strings.Contains(adm[:min(len(adm), 200)], "<VAST"):
		return rtb.Video
	}
	return rtb.Banner
}

// auction settles one slot among the contenders for it. Fixed-price deals come
// before the open auction; then the highest bid wins if it is above the
// highest of everyone else. It fills loss, clearing and minToWin, and returns
// the winner or nil.
func (m *Market) auction(o *Offer, s *Slot, all []contender) *contender {
	rival := m.Rival(o, s)
	var best *contender
	for i := range all {
		c := &all[i]
		if c.slot != s || c.loss != lossNone {
			continue
		}
		if best == nil || c.beats(best) {
			best = c
		}
	}
	for i := range all {
		c := &all[i]
		if c.slot != s {
			continue
		}
		c.minToWin = c.floor
		if rival > 0 && !c.fixed() {
			c.minToWin = max(c.floor, rival+priceStep)
		}
		switch {
		case c.loss != lossNone || c == best:
		case best.fixed() && !c.fixed():
			c.loss = lossToDeal
		default:
			c.loss = lossHigherBid
		}
	}
	if best == nil {
		return nil
	}
	if !best.fixed() && best.price <= rival {
		best.loss = lossHigherBid
		return nil
	}
	best.clearing = best.price
	switch {
	case best.fixed():
		best.clearing = best.floor
	case best.auctionKind(o) == 2:
		best.clearing = best.floor
		if rival > 0 && rival+priceStep > best.clearing {
			best.clearing = min(best.price, rival+priceStep)
		}
	}
	if best.clearing <= 0 {
		best.clearing = min(best.price, priceStep) // nobody else came and there is no floor
	}
	return best
}

// fixed reports whether the bid answers a deal at a fixed price ("at": 3).
func (c *contender) fixed() bool { return c.deal != nil && c.deal.Auction == 3 }

func (c *contender) auctionKind(o *Offer) uint8 {
	if c.deal != nil {
		return c.deal.Auction
	}
	return o.Auction
}

func (c *contender) beats(other *contender) bool {
	if c.fixed() != other.fixed() {
		return c.fixed()
	}
	return c.price > other.price
}

// readAnswer reads the body of a 200. Bids of an answer to another request are
// nobody's.
func readAnswer(o *Offer, body []byte, answer *bidAnswer) error {
	*answer = bidAnswer{}
	if len(body) == 0 {
		return nil
	}
	if !scanAnswer(string(body), answer) {
		*answer = bidAnswer{}
		if err := json.Unmarshal(body, answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	if len(answer.SeatBid) > 0 && answer.ID != string(o.ID[:]) {
		return errWrongID
	}
	return nil
}
