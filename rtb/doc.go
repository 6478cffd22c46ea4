// Package rtb holds the words that every other package speaks: a bid
// [Request], the [LineItem] that answers it, the [Profile] of a user, the
// [Event] that follows, and [Money]. It imports nothing of this module and
// has no behaviour beyond resetting, comparing and formatting.
//
// A [Request] and everything it points to lives as long as the scratch it was
// decoded into: its byte slices alias the body of the HTTP request. Whatever
// outlives the handler is copied.
package rtb

import "errors"

// Errors that every store shares.
var (
	// ErrNotFound means that nothing is stored under the given key.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the stored version is not the one the caller read.
	ErrConflict = errors.New("changed by someone else")
)

// Numbers of the things a campaign is made of. Zero is never given out. A
// number belongs to one document for good and is not given again after its
// deletion.
type (
	AdvertiserID uint32
	CampaignID   uint32
	LineItemID   uint32
	CreativeID   uint32
	SegmentID    uint32
	ExchangeID   uint8
)

// BidID names one bid; it is random.
type BidID [16]byte
