package loadtest

import (
	"strings"
	"time"
)

// tellFates sends the notices of every bid on their way.
func (c *exchangeConn) tellFates() {
	c.told = c.told[:0]
	for i := range c.out.contenders {
		b := &c.out.contenders[i]
		t := c.teller(i, b)
		if b.loss != lossNone {
			t.send(NoticeLoss, 0, b.bid.LURL, 0, nil)
			continue
		}
		t.macros.Price = b.clearing
		var v *view // nil when it was won but not shown
		for j := range c.out.views {
			if c.out.views[j].won == b && c.out.views[j].shown {
				v = &c.out.views[j]
			}
		}
		t.win(b, v)
	}
	if len(c.told) > 0 {
		c.run.notices.put(c.told)
	}
}

// teller sends the notices of one bid.
type teller struct {
	conn   *exchangeConn
	bid    int // place among the answer's
	own    string
	macros Macros
}

func (c *exchangeConn) teller(i int, b *contender) *teller {
	o := &c.offer
	t := &teller{conn: c, bid: i, own: hostOf(b.bid.NURL), macros: Macros{
		AuctionID: string(o.ID[:]), BidID: b.bid.ID, ImpID: b.bid.ImpID, SeatID: b.seat, AdID: b.bid.AdID,
		Currency: currencyOfAuction, Loss: b.loss, GDPR: o.privacy.gdpr,
	}}
	if c.run.tellsLeast[o.Exchange] {
		t.macros.MinToWin = b.minToWin
	}
	if t.own == "" {
		t.own = hostOf(b.bid.BURL)
	}
	if o.privacy.gdpr {
		if t.macros.Consent = consentNone; o.privacy.consent {
			t.macros.Consent = consentAll
		}
	}
	return t
}

// win sends what follows a win; v is nil when the ad was not shown.
func (t *teller) win(b *contender, v *view) {
	c := t.conn
	x := c.run
	trackers, err := x.templates.trackers(b.ad.Media, b.bid)
	if err != nil {
		x.tally.notice(NoticeImpression, err)
	}
	spends, ok := x.billing[c.offer.Exchange]
	if !ok {
		spends = billing(b, &trackers)
	}
	var money *charge
	if v != nil || spends == NoticeWin {
		money = x.books.charge(b.line, b.clearing)
	}
	if v != nil {
		money.shown = &exposure{line: b.line, creative: b.bid.CRID, at: c.offer.Time.UnixNano(), answered: c.asked.Add(c.out.latency).UnixNano()}
		x.people.see(x.books, c.offer.User.Index, money.shown, c.asked.UnixNano())
	}
	of := func(kind NoticeKind) *charge {
		if kind == spends {
			return money
		}
		return nil
	}
	t.send(NoticeWin, 0, b.bid.NURL, 0, of(NoticeWin))
	if v == nil {
		return
	}
	t.macros.ImpTime = c.offer.Time
	t.render(NoticeImpression, 0, trackers.Impression, viewedAfter, of(NoticeImpression))
	t.send(NoticeBill, 0, b.bid.BURL, viewedAfter, of(NoticeBill))
	for q, quartile := range trackers.Quartile[:v.quartiles] {
		t.render(NoticeVideo, q<<8, quartile, viewedAfter+time.Duration(q)*quartileAfter, nil)
	}
	if !v.clicked {
		return
	}
	from := len(c.told)
	t.render(NoticeClick, 0, trackers.Click, clickedAfter, nil)
	if v.converted {
		s := &sale{dice: t.dice(NoticeConversion, 0)}
		s.purchase = drawPurchase(&s.dice)
		for _, one := range c.told[from:] {
			one.sale = s
		}
	}
}

// billing is the notice that the exchange charges by, as the bid shows: the
// pixel where the price is asked for in the markup, else the billing notice,
// else the win.
func billing(b *contender, trackers *Trackers) NoticeKind {
	for _, address := range trackers.Impression {
		if strings.Contains(address, "${AUCTION_PRICE") {
			return NoticeImpression
		}
	}
	if b.bid.BURL != "" {
		return NoticeBill
	}
	return NoticeWin
}

// render sends what an ad calls. A page calls whatever its ad names; we call
// what leads to the bidder, so no third party is.
func (t *teller) render(kind NoticeKind, n int, addresses []string, after time.Duration, money *charge) {
	for i, address := range addresses {
		host := hostOf(address)
		if host == "" || host != t.own && !strings.HasPrefix(pathOf(address), "/e/") {
			continue
		}
		spends := money
		if money != nil && !strings.Contains(address, "${AUCTION_PRICE") {
			spends = nil // another pixel of the same ad
		}
		t.send(kind, n+i, address, after, spends)
	}
}

// dice are those of one notice: its fate depends on the auction's seed and on
// what it is, not on when it is told.
func (t *teller) dice(kind NoticeKind, n int) dice {
	seed := scramble(t.conn.offer.seed^0x6661_7465, uint64(t.bid))
	return dice(scramble(seed, textHash(string(kind))+uint64(n)))
}

// send puts the copies of one notice that will come among those to be told.
func (t *teller) send(kind NoticeKind, n int, address string, after time.Duration, money *charge) {
	if address == "" {
		return
	}
	x := t.conn.run
	d := t.dice(kind, n)
	var trips [2]trip
	drawn := x.cfg.Fates.draw(&d, &trips)
	x.tally.drawn(kind, drawn)
	for i := range drawn {
		trip := &drawn[i]
		one := &notice{
			due:   t.conn.offer.Time.Add(after + trip.takes).UnixNano(),
			order: uint64(t.conn.offer.Index)<<24 | uint64(len(t.conn.told)&0xffffff),
			kind:  kind,
		}
		m := t.macros
		t.price(&m, trip.price, &d)
		if trip.price == priceSaid {
			one.charge = money
		}
		one.address = m.Expand(address)
		t.conn.told = append(t.conn.told, one)
	}
}

// price sets what the price macro becomes.
func (t *teller) price(m *Macros, fate priceFate, d *dice) {
	switch {
	case fate == priceBlank:
		m.Price = 0
	case fate == priceAudit:
		m.PriceText = "AUDIT"
	case fate == priceUnexpanded:
		m.PriceText = unexpanded
	case t.conn.run.cfg.PriceKeys.covers(t.conn.offer.Exchange) && m.Price > 0:
		var vector [16]byte
		for i := range vector {
			vector[i] = byte(d.next())
		}
		m.PriceText = t.conn.run.cfg.PriceKeys.Seal(m.Price, vector)
	}
}
