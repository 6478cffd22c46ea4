package loadtest

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"bidwell/rtb"
)

// books are the truth about money: what the exchanges charge, and what the
// bidder was told of it. A bidder's own books must agree with the latter.
type books struct {
	buyers map[string]*buyer

	mu    sync.Mutex
	lines map[string]*line
}

func newBooks(buyers map[string]*buyer) *books {
	return &books{buyers: buyers, lines: map[string]*line{}}
}

// line is what one line item spends, fees included.
type line struct {
	name  string
	buyer *buyer // without documents one that has no limits

	impressions int       // that the exchanges charge
	charged     rtb.Money // for them
	told        int       // of these, those that the bidder was told of with a price, and said so
	delivered   rtb.Money // for them
	unsure      rtb.Money // for those it was told of without ever saying so
	days        map[string]*dayTotal

	rules map[string]*frequencyCount
}

// dayTotal is what a line item was told of on one day of its advertiser.
type dayTotal struct {
	dearest rtb.Money // of its impressions
	sure    rtb.Money
	either  rtb.Money // told about midnight: of this day or the one beside it
}

// of is the line item of a bid: what it calls its tactic, else its campaign.
func (b *books) of(bid *seatBid) *line {
	name := cmp.Or(bid.Tactic, bid.CID, "(none)")
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lines[name]; l != nil {
		return l
	}
	if len(b.lines) >= maxShares { // ids come from outside
		name = "(others)"
		if l := b.lines[name]; l != nil {
			return l
		}
	}
	l := &line{name: name, buyer: b.buyers[name], days: map[string]*dayTotal{}, rules: map[string]*frequencyCount{}}
	if l.buyer == nil {
		l.buyer = &buyer{key: name, zone: time.UTC}
	}
	b.lines[name] = l
	return l
}

// byKey is the line item of a document, with nothing spent when it never bid.
// The books are locked.
func (b *books) byKey(key string) *line {
	for _, l := range b.lines {
		if l.buyer.key == key {
			return l
		}
	}
	for _, of := range b.buyers {
		if of.key == key {
			return &line{buyer: of}
		}
	}
	return &line{buyer: &buyer{key: key}}
}

// charge is what an impression costs, spent by the first copy of its billing
// notice that comes with its price.
type charge struct {
	books  *books
	line   *line
	cost   rtb.Money
	shown  *exposure // nil where nobody counts
	told   bool
	unsure bool
}

// charge is the exchange's for an impression of a line item.
func (b *books) charge(l *line, price rtb.Money) *charge {
	c := &charge{books: b, line: l, cost: l.buyer.fees.On(price)}
	b.mu.Lock()
	defer b.mu.Unlock()
	l.impressions++
	l.charged += c.cost
	return c
}

// tell books a charge that the bidder has acknowledged. from and until are
// what its clock may have said then.
func (c *charge) tell(from, until time.Time) {
	if c.shown != nil {
		c.shown.told.CompareAndSwap(0, time.Now().UnixNano())
	}
	b, l := c.books, c.line
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.told {
		return
	}
	c.told = true
	if c.unsure {
		l.unsure -= c.cost
	}
	l.told++
	l.delivered += c.cost
	first, last := l.day(from), l.day(until)
	first.dearest, last.dearest = max(first.dearest, c.cost), max(last.dearest, c.cost)
	if first == last {
		first.sure += c.cost
		return
	}
	first.either += c.cost
	last.either += c.cost
}

// fail gives up one copy of the notice, which may have arrived all the same.
func (c *charge) fail(unsure bool) {
	c.books.mu.Lock()
	defer c.books.mu.Unlock()
	if unsure && !c.told && !c.unsure {
		c.unsure = true
		c.line.unsure += c.cost
	}
}

// dateOf names a day of an advertiser.
const dateOf = "2006-01-02"

func (l *line) day(at time.Time) *dayTotal {
	date := at.In(l.buyer.zone).Format(dateOf)
	d := l.days[date]
	if d == nil {
		d = &dayTotal{}
		l.days[date] = d
	}
	return d
}

// LineTruth is what one line item spent, as the exchanges have it. All amounts
// have its fees.
type LineTruth struct {
	LineItem    string              `json:"line_item"`
	Impressions int                 `json:"impressions"` // that the exchanges charge
	Charged     string              `json:"charged"`     // for them
	Told        int                 `json:"told"`        // impressions whose billing notice came with its price
	Delivered   string              `json:"delivered"`   // what those say: what the bidder must have booked
	Unsure      string              `json:"unsure"`      // what notices say that may have come although nobody answered
	Days        map[string]DayTruth `json:"days"`        // by the advertiser's date

	charged, delivered, unsure rtb.Money
}

// DayTruth is what was delivered on one day.
type DayTruth struct {
	Delivered string `json:"delivered"`
	Midnight  string `json:"midnight,omitempty"` // delivered so close to midnight that it may be the other day's
}

// truth lists the line items by name.
func (b *books) truth() []LineTruth {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := []LineTruth{}
	for _, l := range b.lines {
		t := LineTruth{
			LineItem: l.buyer.key, Impressions: l.impressions, Told: l.told, Days: map[string]DayTruth{},
			Charged: l.charged.String(), Delivered: l.delivered.String(), Unsure: l.unsure.String(),
			charged: l.charged, delivered: l.delivered, unsure: l.unsure,
		}
		for date, d := range l.days {
			day := DayTruth{Delivered: d.sure.String()}
			if d.either > 0 {
				day.Midnight = d.either.String()
			}
			t.Days[date] = day
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b LineTruth) int { return cmp.Compare(a.LineItem, b.LineItem) })
	return all
}
