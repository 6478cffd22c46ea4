package rtb

import "time"

// EventType is what happened to a bid.
type EventType uint8

// The events. The names of those that come as notices are the last part of the
// paths under /e/. Conversions are uploaded as well.
const (
	EventWin EventType = iota + 1
	EventBill
	EventLoss
	EventView // the pixel in the markup: the ad was shown
	EventClick
	EventVideo      // a quartile, see Event.Part
	EventViewable   // enough of it was on the screen for long enough
	EventConversion // what the advertiser wants people to do after a click
	EventBid        // a sample of the bids, for learning
	EventGhost      // a bid that was not sent because its user is in a holdout, for comparison
	EventAssigned   // a user in experiments has come, whatever was bid
	eventTypeCount
)

// EventTypeCount is one more than the last type, for tables indexed by it.
const EventTypeCount = int(eventTypeCount)

var eventNames = [EventTypeCount]string{
	EventWin: "win", EventBill: "bill", EventLoss: "loss", EventView: "view", EventClick: "click", EventVideo: "video",
	EventViewable: "viewable", EventConversion: "conversion", EventBid: "bid",
	EventGhost: "ghost", EventAssigned: "assigned",
}

// String is the name used in paths, metrics and the API.
func (t EventType) String() string {
	if int(t) < EventTypeCount && t > 0 {
		return eventNames[t]
	}
	return "unknown"
}

// Event is one thing that happened to a bid. What the bidder knew when it made
// the bid travels in the token of the notice URL; what follows comes with the
// notice. It holds no pointers into anything and may be copied and kept.
type Event struct {
	// From the token.
	Bid        BidID
	Node       uint32 // the bidder that made the bid and holds its cost, see package pacing
	Exchange   ExchangeID
	LineItem   LineItemID
	Campaign   CampaignID
	Advertiser AdvertiserID
	Creative   CreativeID
	Media      Media
	User       UserID    // zero where it may not be kept
	Made       time.Time // when the bid was made; the token keeps milliseconds
	Cost       Money     // what the bid holds, in the account currency, fees included
	Fees       Fees      // of the line item when the bid was made
	Currency   Currency  // of the bid
	BilledBy   EventType // the notice that spends, by the exchange's profile of then; zero when not known. Not in the log

	// Of the price, from the token as well.
	Arms    [MaxLayers]uint16 // the experiment arm of each layer that the user was in; zero for none
	Worth   Money             // the media price that it would have bid unshaded, in the account currency
	Floor   uint8             // class of the floor, see package models
	Format  uint8             // class of the format, likewise
	Auction uint8             // 1 first price, 2 second price
	Shading Shading

	// Of the prediction, from the token of the impression pixel alone.
	CTR, CVR float32  // as they made the price; zero where nothing was predicted
	Model    uint32   // the version that predicted
	Features Features // what it saw

	// From the notice.
	Type     EventType
	Time     time.Time // when it came
	Price    Money     // what it said, in Currency; zero when it said nothing
	Reason   uint16    // of a loss: OpenRTB list "loss reason codes"
	MinToWin Money     // the lowest bid that would have won, in Currency; zero when unknown
	Part     uint8     // of a video: 1 start, 2 to 4 the quartiles, 5 complete
	Value    Money     // of a conversion, in the account currency
	WinRate  float32   // of a sampled bid or a ghost: the chance to win, as predicted

	// Decided when it came, so that a replay of the log changes nothing.
	Billing bool  // this notice spends the money
	Charge  Money // what it spends, in the account currency, fees included; never more than Cost
}

// Uploaded reports whether e is a conversion that its advertiser has uploaded.
// It is of no bid: it has a user, an advertiser and a value, and its Bid is a
// hash of what the advertiser calls it, so that it is known when it comes again.
// Its Time and Made are when it happened, which may be weeks before it came.
func (e *Event) Uploaded() bool {
	return e.Type == EventConversion && e.LineItem == 0 && e.Campaign == 0
}

// MaxConversion is the highest value of a conversion that is believed.
const MaxConversion = 10_000_000 * Unit

// MaxLayers is how many experiments one user can be in at a time.
const MaxLayers = 4

// Shading is how a price was made of what an impression is worth.
type Shading uint8

// The kinds of shading.
const (
	ShadeNone    Shading = iota // bid at its worth: a second-price auction, or a fixed price
	ShadeControl                // bid at its worth, to compare with
	Shaded                      // lowered to what past wins and losses say is needed
	ShadeExplore                // a price beside that one, so that its chances stay known
)

var shadingNames = [...]string{ShadeNone: "none", ShadeControl: "control", Shaded: "shaded", ShadeExplore: "explore"}

// String is the name used in the API.
func (k Shading) String() string {
	if int(k) < len(shadingNames) {
		return shadingNames[k]
	}
	return "unknown"
}

// UnreadablePrice is the Price of a notice that names one which cannot be read:
// it is encrypted with keys that we do not have, or no price in the form that
// the exchange's profile says.
const UnreadablePrice Money = -1

// Fees are what an impression costs the advertiser on top of the price of the
// media. Budgets, goals and caps all include them.
type Fees struct {
	Share uint16 // of the media price, in ten-thousandths
	Fixed uint32 // for one impression, in billionths of the account currency
}

// MaxFeeShare is the highest Share: five times the media price.
const MaxFeeShare = 50_000

// mostWithFees is the highest media price whose cost with any fees is a Money.
const mostWithFees = MaxMoney / (MaxFeeShare/10_000 + 2)

// On is what an impression costs whose media cost price.
func (f Fees) On(price Money) Money {
	if f == (Fees{}) || price <= 0 {
		return price
	}
	if price > mostWithFees {
		return MaxMoney
	}
	// In two parts, so that the product does not overflow. Rounded up: no
	// fraction of a unit is left unpaid.
	share := Money(f.Share)
	return price + price/10_000*share + (price%10_000*share+9_999)/10_000 + Money(f.Fixed)
}

// Off is the highest media price that costs no more than value with its fees;
// zero when the fees alone are more than that.
func (f Fees) Off(value Money) Money {
	if f == (Fees{}) {
		return value
	}
	value -= Money(f.Fixed)
	if value <= 0 {
		return 0
	}
	d := 10_000 + Money(f.Share)
	price := min(value/d*10_000+value%d*10_000/d, mostWithFees)
	for price > 0 && f.On(price) > value+Money(f.Fixed) {
		price--
	}
	return price
}
