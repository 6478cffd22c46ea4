package targeting

import "bidwell/rtb"

// maxDeals is how many deals of an imp a Candidate can point to.
const maxDeals = 1 << 15

// deal is a deal of the imp that line items name.
type deal struct {
	*rtb.Deal
	number uint32 // in Index.deals
	index  int16
	known  bool      // the currency of its floor
	floor  rtb.Money // in the account currency
}

// auctions reads the floors of imp and its deals.
func (m *Matches) auctions(imp *rtb.Imp) {
	floor, known := m.floorOf(imp.Floor, imp.FloorCur)
	m.floor, m.open, m.least = floor, rtb.BidMade, rtb.MaxMoney
	switch {
	case imp.Private:
		m.open = rtb.DealMissing
	case !known:
		m.open = rtb.CurrencyUnknown
	default:
		m.least = floor
	}
	m.deals = m.deals[:0]
	for i := range imp.Deals[:min(len(imp.Deals), maxDeals)] {
		d := &imp.Deals[i]
		n := m.index.deals.find(d.ID.Text())
		if n < 0 {
			continue
		}
		next := deal{Deal: d, number: uint32(n), index: int16(i), known: known, floor: floor}
		if d.Floor > 0 {
			next.floor, next.known = m.floorOf(d.Floor, d.FloorCur)
		}
		if next.known {
			m.least = min(m.least, next.floor)
		}
		m.deals = append(m.deals, next)
	}
}

// floorOf converts a floor to the account currency. A floor that names no
// currency is in US dollars (OpenRTB 2.6, 3.2.4).
func (m *Matches) floorOf(floor rtb.Money, currency rtb.Currency) (rtb.Money, bool) {
	if currency == (rtb.Currency{}) {
		currency = rtb.USD
	}
	return m.context.Rates.ToAccount(max(floor, 0), currency)
}

// seats finds out which seats the request lets bid.
func (m *Matches) seats(x *Index) {
	m.seat = m.seatAllowed(m.context.Seat)
	m.anySeat = m.seat
	for i := 0; i < len(x.seats) && !m.anySeat; i++ {
		m.anySeat = m.seatAllowed(x.seats[i])
	}
}

// seatAllowed reports whether the request lets a seat bid.
func (m *Matches) seatAllowed(seat string) bool {
	req := m.context.Request
	return (len(req.Seats) == 0 || hasSeat(req.Seats, seat)) && !hasSeat(req.NoSeats, seat)
}

func hasSeat(seats [][]byte, seat string) bool {
	for _, s := range seats {
		if seat != "" && string(s) == seat {
			return true
		}
	}
	return false
}

// auction finds where a line item may bid: in the open auction, or through the
// deal with the lowest floor of those it names.
func (m *Matches) auction(e *entry, item *rtb.LineItem, out *Candidate) rtb.NoBid {
	out.Deal, out.Floor = -1, m.floor
	m.demands &^= demandDeal
	if e.needs&needDeals == 0 {
		if m.open == rtb.DealMissing {
			return rtb.DealMissing
		}
	} else if !m.named(e) {
		return rtb.DealMissing
	}
	allowed := m.seat
	if e.ownSeat {
		allowed = m.seatAllowed(item.Seat)
	}
	if !allowed {
		return rtb.SeatNotAllowed
	}
	if e.needs&needDeals != 0 {
		var reason rtb.NoBid
		m.item = e
		out.Deal, out.Floor, reason = m.dealFor(item, nil)
		return reason
	}
	if m.open != rtb.BidMade {
		return m.open
	}
	if m.floor > e.ceiling {
		return rtb.FloorTooHigh
	}
	return rtb.BidMade
}

// named reports whether imp has one of the deals of a line item.
func (m *Matches) named(e *entry) bool {
	list := m.index.rules[e.rules].deals
	for i := range m.deals {
		if contains(list, m.deals[i].number) {
			return true
		}
	}
	return false
}

// dealFor chooses among the deals of imp that the line item m.item names, and
// c may be shown through unless it is nil.
func (m *Matches) dealFor(item *rtb.LineItem, c *rtb.Creative) (index int16, floor rtb.Money, reason rtb.NoBid) {
	list := m.index.rules[m.item.rules].deals
	index, reason = -1, rtb.SeatNotAllowed
	for i := range m.deals {
		d := &m.deals[i]
		if !contains(list, d.number) || !m.seatOf(item, d) {
			continue
		}
		why := rtb.BidMade
		switch {
		case !d.known:
			why = rtb.CurrencyUnknown
		case d.floor > m.item.ceiling:
			why = rtb.FloorTooHigh
		case len(d.Advertisers) > 0 && c == nil:
			m.demands |= demandDeal
		case len(d.Advertisers) > 0 && !coversAll(d.Advertisers, c.Advertisers):
			why = rtb.AdvertiserBlocked
		}
		if why == rtb.BidMade && (index < 0 || d.floor < floor) {
			index, floor = d.index, d.floor
		}
		if rankOf(why) > rankOf(reason) {
			reason = why
		}
	}
	return index, floor, reason
}

// seatOf reports whether a deal is for our seat (OpenRTB 2.6, 3.2.12, wseat).
func (m *Matches) seatOf(item *rtb.LineItem, d *deal) bool {
	if len(d.Seats) == 0 {
		return true
	}
	if item.Seat != "" {
		return hasSeat(d.Seats, item.Seat)
	}
	return hasSeat(d.Seats, m.context.Seat)
}

// coversAll reports whether there are domains and the entries cover them all.
func coversAll(entries [][]byte, domains []string) bool {
	for _, domain := range domains {
		covered := false
		for _, entry := range entries {
			if covers(entry, domain) {
				covered = true
				break
			}
		}
		if !covered {
			return false
		}
	}
	return len(domains) > 0
}
