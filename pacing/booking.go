package pacing

import (
	"context"
	"fmt"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/rtb"
)

// What became of the notices that the ledger has read, and the money of line
// items, in units of the account currency. Late is the part of spent that no
// lease covered.
var (
	bookedNotices   = metrics.NewCounter(`bidwell_ledger_notices_total{result="booked"}`)
	repeatedNotices = metrics.NewCounter(`bidwell_ledger_notices_total{result="repeated"}`)
	unknownNotices  = metrics.NewCounter(`bidwell_ledger_notices_total{result="unknown"}`)
	spentMoney      = metrics.NewFloatCounter(`bidwell_ledger_money_total{result="spent"}`)
	lateMoney       = metrics.NewFloatCounter(`bidwell_ledger_money_total{result="late"}`)
)

// Ledger brings the events of the log into the accounts. It is the only one
// who spends.
type Ledger struct {
	accounts Accounts
	convert  func(price rtb.Money, c rtb.Currency) rtb.Money
	tell     func(e *rtb.Event, seen Kinds)
	notices  []Notice
	events   []int // where in the batch each notice comes from
}

// NewLedger returns a ledger over accounts. convert says what a price is in the
// account currency. tell hears of each event that brought something new, once
// it is booked, and of what had come of its bid before; e lives only during the
// call.
func NewLedger(a Accounts, convert func(price rtb.Money, c rtb.Currency) rtb.Money, tell func(e *rtb.Event, seen Kinds)) *Ledger {
	return &Ledger{accounts: a, convert: convert, tell: tell}
}

// Apply books a batch of the log. It is for one caller at a time, such as the
// Consume of events.Log, from the position that the accounts have on.
func (l *Ledger) Apply(position uint64, batch []rtb.Event) error {
	l.notices, l.events = l.notices[:0], l.events[:0]
	for i := range batch {
		if batch[i].Type == rtb.EventBid {
			continue
		}
		n, ok := l.notice(&batch[i])
		if !ok {
			unknownNotices.Inc()
			continue
		}
		l.notices, l.events = append(l.notices, n), append(l.events, i)
	}
	if err := l.accounts.Book(context.Background(), position, l.notices); err != nil {
		return fmt.Errorf("book position %d of the log: %w", position, err)
	}
	for i := range l.notices {
		n, e := &l.notices[i], &batch[l.events[i]]
		if n.Repeats() {
			repeatedNotices.Inc()
			continue
		}
		bookedNotices.Inc()
		if n.Spends && n.Due() {
			spentMoney.Add(float64(e.Charge) / float64(rtb.Unit))
			lateMoney.Add(float64(n.Late) / float64(rtb.Unit))
		}
		l.tell(e, n.Seen)
	}
	return nil
}

// kindOf is the kind of each type of event but for video.
var kindOf = [rtb.EventTypeCount]Kind{
	rtb.EventWin: KindWin, rtb.EventBill: KindBill, rtb.EventLoss: KindLoss, rtb.EventView: KindView,
	rtb.EventClick: KindClick, rtb.EventViewable: KindViewable, rtb.EventConversion: KindConversion,
}

// notice is an event as the accounts see it. It is false for one that this
// version does not know.
func (l *Ledger) notice(e *rtb.Event) (n Notice, ok bool) {
	n = Notice{
		Bid: e.Bid, Made: e.Made, Time: e.Time, Node: e.Node, Exchange: e.Exchange, LineItem: e.LineItem,
		Spends: e.Billing && e.Charge > 0,
	}
	switch {
	case e.Type == rtb.EventVideo && e.Part >= 1 && e.Part <= 5:
		n.Kind = KindVideo + Kind(e.Part) - 1
	case e.Type == rtb.EventVideo || e.Type == 0 || int(e.Type) >= len(kindOf):
		return n, false
	default:
		n.Kind = kindOf[e.Type]
	}
	if e.Price > 0 {
		n.Price = l.convert(e.Price, e.Currency)
	}
	switch {
	case n.Spends:
		n.Charges = [4]Charge{
			{rtb.LineItemAccount(e.LineItem, rtb.OfMoney), e.Charge}, {rtb.CampaignAccount(e.Campaign, rtb.OfMoney), e.Charge},
			{rtb.LineItemAccount(e.LineItem, rtb.OfImpressions), 1}, {rtb.CampaignAccount(e.Campaign, rtb.OfImpressions), 1},
		}
	case n.Kind == KindClick:
		n.Charges = [4]Charge{
			{rtb.LineItemAccount(e.LineItem, rtb.OfClicks), 1}, {rtb.CampaignAccount(e.Campaign, rtb.OfClicks), 1},
		}
	}
	return n, true
}
