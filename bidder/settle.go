package bidder

import (
	"errors"

	"bidwell/bidder/exchange"
	"bidwell/events/track"
	"bidwell/rtb"
)

// Bill decides whether an event spends money, by the profile that its exchange
// had when the bid was made, and how much: it sets Billing and Charge. No auction takes more than was
// bid, and a pixel's price is in the hands of whoever sees the ad, so the
// media never costs more than the bid, nor the whole more than what is held
// for it. Money that was spent, we cannot know how much, counts as what was
// held: then no budget is overrun for want of a key or a rate, or because a
// profile has the wrong ones. It is the Bill of [track.Parts].
func (b *Bidder) Bill(e *rtb.Event) {
	e.Billing, e.Charge = false, 0
	by := e.BilledBy
	if ex := b.Exchange(e.Exchange); by == 0 && ex != nil { // a token of an older version
		by = billing(ex.Billing)
	}
	if by == 0 || e.Type != by {
		return
	}
	e.Billing = true
	paid, known := b.Rates.ToAccount(e.Price, e.Currency)
	switch {
	case e.Price == rtb.UnreadablePrice, e.Price > 0 && !known:
		e.Charge = e.Cost
	case e.Price > 0:
		e.Charge = min(e.Cost, e.Fees.On(min(paid, e.Fees.Off(e.Cost))))
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

// OpenPrice reads a price macro as the profile of the exchange says; when there
// is none any more it can only be plain. It is the Price of [track.Parts].
func (b *Bidder) OpenPrice(id rtb.ExchangeID, macro []byte) (rtb.Money, error) {
	var macros exchange.PriceMacro // plain where the exchange is gone
	opener := &macros
	if ex := b.Exchange(id); ex != nil {
		opener = &ex.Price
	}
	price, err := opener.Open(macro)
	switch {
	case err == nil:
		return price, nil
	case errors.Is(err, exchange.ErrBlank):
		return 0, track.ErrNoPrice
	case errors.Is(err, exchange.ErrUnexpanded):
		return 0, track.ErrUnexpanded
	case errors.Is(err, exchange.ErrAudit):
		return 0, track.ErrAudit
	case errors.Is(err, exchange.ErrNoKeys):
		return rtb.UnreadablePrice, track.ErrNoKeys
	}
	return rtb.UnreadablePrice, err
}
