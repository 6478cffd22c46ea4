package bidder

import (
	"bidwell/bidder/exchange"
	"bidwell/events/track"
	"bidwell/rtb"
)

// Settle applies one event to the budgets: the billing notice of the
// exchange's profile turns a hold into spend, a loss releases it. A price that
// is encrypted with keys we lack counts as what was bid, so that no budget is
// overrun for want of a key.
func (b *Bidder) Settle(e *rtb.Event) {
	slot, known := b.Pacer.SlotOf(e.LineItem)
	ex := b.Exchange(e.Exchange)
	if !known || ex == nil {
		return
	}
	switch e.Type {
	case rtb.EventLoss:
		if b.resolved.First(e.Bid, resolution) {
			b.Pacer.Release(slot, e.Cost, e.Made, e.Time)
		}
	case billing(ex.Billing):
		paid, ok := b.Rates.ToAccount(e.Price, e.Currency)
		if e.Price == rtb.UnreadablePrice {
			paid = e.Cost // money was spent, and not more than was bid
		}
		if ok && paid > 0 {
			// No auction takes more than was bid, and the token is in markup
			// that anybody may read: a price that somebody made up must not
			// spend a budget.
			paid = min(paid, e.Cost)
			cost := e.Cost
			if !b.resolved.First(e.Bid, resolution) {
				cost = 0 // billed although lost: the hold is gone
			}
			b.Pacer.Settle(slot, cost, paid, e.Made, e.Time)
		}
	}
}

// resolution is what resolved knows a bid's end by, a loss or a billing.
const resolution = rtb.EventLoss

// billing is the event that spends money where an exchange bills by n.
func billing(n exchange.Notice) rtb.EventType {
	switch n {
	case exchange.NURL:
		return rtb.EventWin
	case exchange.BURL:
		return rtb.EventBill
	}
	return rtb.EventView
}

// OpenPrice reads a price macro as the profile of the exchange says. It is the
// Price of [track.Parts].
func (b *Bidder) OpenPrice(id rtb.ExchangeID, macro []byte) (rtb.Money, error) {
	ex := b.Exchange(id)
	if ex == nil || len(macro) == 0 {
		return 0, track.ErrNoPrice
	}
	price, err := ex.Price.Open(macro)
	if err == exchange.ErrBlank || err == exchange.ErrUnexpanded || err == exchange.ErrAudit {
		return 0, track.ErrNoPrice
	}
	if err == exchange.ErrNoKeys {
		return rtb.UnreadablePrice, err
	}
	return price, err
}
