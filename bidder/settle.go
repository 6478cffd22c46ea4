package bidder

import (
	"bidwell/bidder/exchange"
	"bidwell/events/track"
	"bidwell/rtb"
)

// Bill decides whether an event spends money, by the profile of its exchange,
// and how much: it sets Billing and Charge. A price that is encrypted with keys
// we lack counts as what was bid, so that no budget is overrun for want of a
// key. No auction takes more than was bid, and the token is in markup that
// anybody may read: a price that somebody made up must not spend a budget.
func (b *Bidder) Bill(e *rtb.Event) {
	e.Billing, e.Charge = false, 0
	ex := b.Exchange(e.Exchange)
	if ex == nil || e.Type != billing(ex.Billing) {
		return
	}
	e.Billing = true
	paid, ok := b.Rates.ToAccount(e.Price, e.Currency)
	switch {
	case e.Price == rtb.UnreadablePrice:
		e.Charge = e.Cost
	case ok && paid > 0:
		e.Charge = min(paid, e.Cost)
	}
}

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
