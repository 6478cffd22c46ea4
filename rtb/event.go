package rtb

import "time"

// EventType is what happened to a bid.
type EventType uint8

// The events. Their names are the last part of the paths under /e/.
const (
	EventWin EventType = iota + 1
	EventBill
	EventLoss
	EventView
	EventClick
	EventVideo
)

// Event is one thing that happened to a bid. All of it but Type, Time and
// Price comes from the token in the notice URL.
type Event struct {
	Type     EventType
	Time     time.Time
	Bid      BidID
	Exchange ExchangeID
	LineItem LineItemID
	Creative CreativeID
	Media    Media
	User     UserID    // zero where it may not be kept
	Made     time.Time // when the bid was made
	Cost     Money     // what the bid held, in the account currency
	Currency Currency  // of the bid
	Price    Money     // what the notice said, in Currency; zero when it said nothing
}

// UnreadablePrice is the Price of a notice that names one which is encrypted
// with keys that we do not have.
const UnreadablePrice Money = -1
