package pacing

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// HoldTimeout is how long a bid holds its cost when nothing is heard of it,
// unless [Pacer.HoldFor] says otherwise.
const HoldTimeout = 5 * time.Minute

// Pacer holds all slots and accounts of one bidder. Admit, Take, Release and
// SlotOf may be called at any time from any number of goroutines and neither
// wait nor allocate. The others are for the background.
type Pacer struct {
	slots   atomic.Pointer[table]
	expired atomic.Int64 // the last epoch whose holds have expired

	// An epoch is a stretch of time whose bids share a bucket: unix seconds
	// over width.
	width   int64
	timeout int64

	node    uint32
	wake    chan struct{} // tells Run that leases are wanted before it is time
	leasing sync.Mutex    // held while Accounts are asked; before mu
	renewal int64         // seconds, see LeaseFor
	silence int64         // seconds, see SilenceFor

	mu       sync.Mutex
	last     float64 // of Step
	accounts map[rtb.AccountID]*account
	closing  bool // Run has ended: leases go back

	nextRetire int64
}

// table is what the bid path sees. It is immutable and only ever grows, so
// that a slot stays what it is.
type table struct {
	slots []*slot
	ids   map[rtb.LineItemID]int32

	// gates let a coin below them through: 0 to 2^32, zero for a slot without a
	// line item, gateStopped for one whose notices are missing. They stand
	// together because a request asks many of them.
	gates []atomic.Int64
}

const gateStopped = -1

// slot is the place of one line item.
type slot struct {
	asked    atomic.Int64 // cost of what Take was asked for since the last Step
	asks     atomic.Int64 // how often
	refused  atomic.Int64 // part of asked
	refusals atomic.Int64 // part of asks
	dearest  atomic.Int64 // cost that was asked for since the last Step
	draws    atomic.Pointer[drawing]

	offers              atomic.Int64  // opportunities that were priced since the last Step
	clicks, conversions atomic.Int64  // since the last Step, in eventParts
	multiplier          atomic.Uint64 // bits of a float64
	most                atomic.Int64  // cost of one bid
	caps                *costCaps     // nil for none

	id      rtb.LineItemID
	keep    int64   // once the line item is gone: until when, in seconds
	rate    float64 // of the gate
	open    float64 // less than 1 while there is no money, so that little is asked
	bidding bool    // and not refused, between the two last Steps
	watch
}

// drawing is which accounts a line item draws on. Bids made before it began
// are settled where they were held.
type drawing struct {
	accounts []*account
	mode     rtb.Pacing
	closed   bool  // the line item is gone
	since    int64 // milliseconds
	before   *drawing
}

// NewPacer returns a Pacer without line items. The node is the random number
// of this run of the process, under which [Accounts] know it.
func NewPacer(node uint32, now time.Time) *Pacer {
	p := &Pacer{
		node: node, wake: make(chan struct{}, 1), accounts: map[rtb.AccountID]*account{}, last: seconds(now),
		renewal: int64(LeaseRenewal / time.Second), silence: int64(SilenceTimeout / time.Second),
	}
	p.slots.Store(&table{ids: map[rtb.LineItemID]int32{}})
	p.setTimeout(HoldTimeout, now)
	return p
}

// Node is the number under which Accounts know this bidder. It is part of the
// token of each bid, so that the notice finds its way back.
func (p *Pacer) Node() uint32 { return p.node }

// HoldFor sets how long a bid holds its cost when nothing is heard of it: a
// second to a day. Call it before the first bid.
func (p *Pacer) HoldFor(timeout time.Duration, now time.Time) error {
	if timeout < time.Second || timeout > 24*time.Hour {
		return errors.New("hold timeout: want a second to a day")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setTimeout(timeout, now)
	return nil
}

func (p *Pacer) setTimeout(timeout time.Duration, now time.Time) {
	p.timeout = int64((timeout + time.Second - 1) / time.Second)
	p.width = (p.timeout + liveBuckets - 1) / liveBuckets
	p.expired.Store(p.lastExpired(now.Unix()))
}

// lastExpired is the last epoch that was over a timeout ago.
func (p *Pacer) lastExpired(now int64) int64 { return p.epoch(now-p.timeout) - 1 }

func (p *Pacer) epoch(at int64) int64 {
	e := at / p.width
	if at%p.width < 0 {
		e--
	}
	return e
}

func (p *Pacer) slot(i int32) *slot {
	slots := p.slots.Load().slots
	if uint(i) >= uint(len(slots)) {
		return nil
	}
	return slots[i]
}

// Admit says whether a line item may look at an opportunity: BidMade, PacedOut
// or NoticesMissing. The coin is random. A slot that was not assigned is paced
// out.
func (p *Pacer) Admit(slot int32, coin uint32) rtb.NoBid {
	gates := p.slots.Load().gates
	if uint(slot) >= uint(len(gates)) {
		return rtb.PacedOut
	}
	gate := gates[slot].Load()
	switch {
	case int64(coin) < gate:
		return rtb.BidMade
	case gate == gateStopped:
		return rtb.NoticesMissing
	}
	return rtb.PacedOut
}

// Offer counts an opportunity that a line item was let through to and has a
// price for, whether it bids or not.
func (p *Pacer) Offer(slot int32) {
	if s := p.slot(slot); s != nil {
		s.offers.Add(1)
	}
}

// Multiplier is the part of its value that a line item bids, more than 0 and
// at most 1, so that its money lasts as planned and its caps of costs hold.
func (p *Pacer) Multiplier(slot int32) float64 {
	s := p.slot(slot)
	if s == nil {
		return 1
	}
	return math.Float64frombits(s.multiplier.Load())
}

// Most is what a bid of a line item should cost at most. One that is worth far
// more than others cost is as good as won with less, and leaves money for them.
func (p *Pacer) Most(slot int32) rtb.Money {
	s := p.slot(slot)
	if s == nil {
		return rtb.Money(maxCost)
	}
	return rtb.Money(s.most.Load())
}

// Take holds cost, what a bid made now will take at most, on every budget of
// the line item, or on none when one of them has no room. While it fails on
// one budget it may for an instant stand in the way of another bid on the
// others, never let one pass. Take needs [Pacer.Step] to run: it is false for
// a bid that was made more than a timeout ago, or long after the last Step.
func (p *Pacer) Take(slot int32, cost rtb.Money, made time.Time) bool {
	s := p.slot(slot)
	c := int64(cost)
	if s == nil || c < 0 || c > maxCost {
		return false
	}
	d := s.draws.Load()
	epoch, expired := p.epoch(made.Unix()), p.expired.Load()
	if d.closed || epoch <= expired || epoch >= expired+ringSize {
		return false
	}
	if d.before != nil {
		d = d.at(made)
	}
	s.asks.Add(1)
	s.asked.Add(c)
	if c > s.dearest.Load() {
		raise(&s.dearest, c)
	}
	for i, a := range d.accounts {
		if !a.hold(d.mode, a.amount(c)) {
			for _, b := range d.accounts[:i] {
				b.committed.Add(-b.amount(c))
			}
			a.refuse(a.amount(c))
			s.refused.Add(c)
			s.refusals.Add(1)
			if a.dry(c) {
				p.hurry()
			}
			return false
		}
	}
	for _, a := range d.accounts {
		a.ring[epoch&(ringSize-1)].Add(a.amount(c))
	}
	return true
}

// hurry wakes the goroutine that leases, if it is not awake.
func (p *Pacer) hurry() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Release gives back what a bid has held that never left the house. Cost and
// made are those of Take. To call it once for each bid is up to the caller.
func (p *Pacer) Release(slot int32, cost rtb.Money, made time.Time) {
	s := p.slot(slot)
	if s == nil {
		return
	}
	epoch, live := p.holding(made)
	if !live {
		return
	}
	c := clampMoney(cost)
	for _, a := range s.draws.Load().at(made).accounts {
		if amount := a.amount(c); a.withdraw(epoch, amount) {
			a.committed.Add(-amount)
		}
	}
}

// Apply takes in a notice that the [Ledger] has booked; seen is what had come
// before it of the same bid, so that no hold is taken out twice. If this
// bidder made the bid, the notice that spends replaces the hold by the charge,
// a loss releases the hold, and impressions and clicks are counted. A charge
// whose hold has expired is counted all the same, past the limit if need be,
// and known to be late. Any notice, also of a bid made elsewhere, is a sign
// that the line item's notices arrive. Apply waits for Step.
func (p *Pacer) Apply(e *rtb.Event, seen Kinds, now time.Time) {
	spends := e.Billing && e.Charge > 0 && !seen.Has(KindSpend)
	loses := e.Type == rtb.EventLoss && !seen.Has(KindSpend) && !seen.Has(KindLoss)
	clicks := e.Type == rtb.EventClick && !seen.Has(KindClick)
	p.mu.Lock()
	defer p.mu.Unlock()
	ours := e.Node == p.node
	i, known := p.SlotOf(e.LineItem)
	if !known {
		if ours {
			p.charge(e, spends, clicks)
		}
		return
	}
	s := p.slot(i)
	if e.Billing {
		s.bill(e.Charge > 0)
	}
	s.hear()
	if !ours {
		return
	}
	s.count(e.Type, seen)
	if spends {
		s.win()
	}
	epoch, live := p.holding(e.Made)
	age := max(0, now.Sub(e.Made).Seconds())
	cost, charge := clampMoney(e.Cost), clampMoney(e.Charge)
	for _, a := range s.draws.Load().at(e.Made).accounts {
		switch {
		case spends && a.measure != rtb.OfClicks:
			a.settle(live, !seen.Has(KindLoss), epoch, a.amount(cost), a.amount(charge), age)
		case loses && live:
			a.release(epoch, a.amount(cost), age)
		case clicks && a.measure == rtb.OfClicks:
			a.click()
		}
	}
}

// charge is for a bid of a line item that is gone, and with it all holds: other
// line items may still draw on the accounts of its campaign.
func (p *Pacer) charge(e *rtb.Event, spends, clicks bool) {
	for m := rtb.OfMoney; m <= rtb.OfClicks; m++ {
		for _, id := range [2]rtb.AccountID{rtb.LineItemAccount(e.LineItem, m), rtb.CampaignAccount(e.Campaign, m)} {
			a := p.accounts[id]
			switch {
			case a == nil:
			case m == rtb.OfClicks && clicks:
				a.click()
			case m != rtb.OfClicks && spends:
				a.settle(false, true, 0, 0, a.amount(clampMoney(e.Charge)), 0)
			}
		}
	}
}

// holding says whether the ring still has the holds of a time.
func (p *Pacer) holding(made time.Time) (epoch int64, live bool) {
	epoch = p.epoch(made.Unix())
	expired := p.expired.Load()
	return epoch, epoch > expired && epoch < expired+ringSize
}

// at is what the line item drew on when a bid was made.
func (d *drawing) at(made time.Time) *drawing {
	for d.before != nil && made.UnixMilli() < d.since {
		d = d.before
	}
	return d
}

// SlotOf is the slot of a line item, also of one that is gone as long as it
// has an account.
func (p *Pacer) SlotOf(id rtb.LineItemID) (int32, bool) {
	i, ok := p.slots.Load().ids[id]
	return i, ok
}

// raise makes a number at least v.
func raise(n *atomic.Int64, v int64) {
	for {
		old := n.Load()
		if v <= old || n.CompareAndSwap(old, v) {
			return
		}
	}
}
