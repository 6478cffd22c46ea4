package track

import (
	"fmt"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/rtb"
)

// result is what became of a notice.
type result uint8

// The results. Up to lastGood a notice is answered as it wishes, up to
// lastGenuine its token is one of ours and in its place.
const (
	accepted    result = iota // and durable
	repeated                  // durable since before
	failed                    // the player could not show a video
	unwritten                 // the log did not take it in time
	expired                   // the token is older than its life
	premature                 // the token is of a time to come
	unknownPart               // no part of a video
	badValue                  // of a conversion
	malformed                 // no token
	unknownKey                // the token's key is gone, or was never ours
	forged                    // the token was altered or made up
	wrongClass                // the token belongs to another path
	resultCount

	lastGood    = failed
	lastGenuine = badValue
)

var resultNames = [resultCount]string{
	accepted: "accepted", repeated: "repeated", failed: "player-error", unwritten: "unwritten",
	expired: "expired", premature: "premature", unknownPart: "unknown-part", badValue: "bad-value",
	malformed: "malformed", unknownKey: "unknown-key", forged: "forged", wrongClass: "wrong-class",
}

// reasons are what a notice that is refused is told.
var reasons = [resultCount]string{
	expired:     "t: the token has expired",
	premature:   "t: the token is of a time to come",
	unknownPart: "v: not a part of a video",
	badValue:    `v: not an amount from 0 to 10000000 such as "12.50"`,
	malformed:   "t: not a token",
	unknownKey:  "t: not a token of ours",
	forged:      "t: not a token of ours",
	wrongClass:  "t: a token for another path",
}

// The forms of a price in a notice.
const (
	readable = iota
	blank
	unexpanded
	audit
	locked
	unreadable
	formCount
)

var formNames = [formCount]string{
	readable: "read", blank: "blank", unexpanded: "unexpanded", audit: "audit", locked: "no-keys", unreadable: "unreadable",
}

// formOf tells the form by what a Price function said.
func formOf(err error) int {
	switch err {
	case nil:
		return readable
	case ErrNoPrice:
		return blank
	case ErrUnexpanded:
		return unexpanded
	case ErrAudit:
		return audit
	case ErrNoKeys:
		return locked
	}
	return unreadable
}

// What became of notices, and in what form their prices came.
var (
	notices = func() (c [rtb.EventTypeCount][resultCount]*metrics.Counter) {
		for t := rtb.EventWin; t <= rtb.EventConversion; t++ {
			for r := range c[t] {
				c[t][r] = metrics.NewCounter(fmt.Sprintf(`bidwell_notices_total{type=%q,result=%q}`, t, resultNames[r]))
			}
		}
		return c
	}()
	prices = func() (c [rtb.EventTypeCount][formCount]*metrics.Counter) {
		for _, t := range []rtb.EventType{rtb.EventWin, rtb.EventBill, rtb.EventLoss, rtb.EventView} {
			for f := range c[t] {
				c[t][f] = metrics.NewCounter(fmt.Sprintf(`bidwell_notice_prices_total{type=%q,form=%q}`, t, formNames[f]))
			}
		}
		return c
	}()
)
