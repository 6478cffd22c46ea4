package pacing

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// HoldTimeout is how long a bid holds its price when nothing is heard of it,
// unless [Pacer.HoldFor] says otherwise.
const HoldTimeout = 5 * time.Minute

// Pacer holds all slots and accounts. Admit, Take, Settle, Release and SlotOf
// may be called at any time from any number of goroutines and neither wait nor
// allocate. The others are for the background.
type Pacer struct {
	slots   atomic.Pointer[table]
	expired atomic.Int64 // the last epoch whose holds have expired

	// An epoch is a stretch of time whose bids share a bucket: unix seconds
	// over width. Whole seconds, so that a token may keep no more than those.
	width   int64
	timeout int64

	mu       sync.Mutex
	last     float64 // of Step
	accounts map[rtb.AccountID]*account
	past     map[rtb.AccountID]Spend // of accounts that nobody draws on

	nextRetire int64
}

// table is what the bid path sees. It is immutable and only ever grows, so
// that a slot stays what it is.
type table struct {
	slots []*slot
	ids   map[rtb.LineItemID]int32

	// gates let a coin below them through: 0 to 2^32, zero for a slot without a
	// line item. They stand together because a request asks many of them.
	gates []atomic.Uint64
}

// slot is the place of one line item.
type slot struct {
	asked   atomic.Int64 // cost of what Take was asked for since the last Step
	refused atomic.Int64 // part of it
	draws   atomic.Pointer[drawing]

	id   rtb.LineItemID
	keep int64   // once the line item is gone: until when, in seconds
	rate float64 // of the gate
	open float64 // less than 1 while there is no money, so that little is asked
}

// drawing is which accounts a line item draws on. Bids made before it began
// are settled where they were held.
type drawing struct {
	accounts []*account
	mode     rtb.Pacing
	closed   bool // the line item is gone
	since    int64
	before   *drawing
}

// NewPacer returns a Pacer without line items.
func NewPacer(now time.Time) *Pacer {
	p := &Pacer{accounts: map[rtb.AccountID]*account{}, past: map[rtb.AccountID]Spend{}, last: seconds(now)}
	p.slots.Store(&table{ids: map[rtb.LineItemID]int32{}})
	p.setTimeout(HoldTimeout, now)
	return p
}

// HoldFor sets how long a bid holds its price when nothing is heard of it: a
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

// Admit says whether a line item may look at an opportunity. The coin is
// random. It is false for a slot that was not assigned.
func (p *Pacer) Admit(slot int32, coin uint32) bool {
	gates := p.slots.Load().gates
	return uint(slot) < uint(len(gates)) && uint64(coin) < gates[slot].Load()
}

// Take holds cost, the price of a bid made now, on every budget of the line
// item, or on none when one of them has no room. While it fails on one budget
// it may for an instant stand in the way of another bid on the others, never
// let one pass. Take needs [Pacer.Step] to run: it is false for a bid that was
// made more than a timeout ago, or long after the last Step.
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
	s.asked.Add(c)
	for i, a := range d.accounts {
		if !a.hold(d.mode, c) {
			for _, b := range d.accounts[:i] {
				b.committed.Add(-c)
			}
			s.refused.Add(c)
			return false
		}
	}
	for _, a := range d.accounts {
		a.ring[epoch&(ringSize-1)].Add(c)
	}
	return true
}

// Settle books paid for a bid that won, and gives its hold back. Cost and made
// are those of Take; made may have lost the part below a second. A win whose
// hold has expired is booked all the same, past the limit if need be, and
// counted as late. To call it once for each bid is up to the caller.
func (p *Pacer) Settle(slot int32, cost, paid rtb.Money, made, _ time.Time) {
	s := p.slot(slot)
	if s == nil {
		return
	}
	epoch, live := p.holding(made)
	for _, a := range s.drawing(made).accounts {
		a.settle(live, epoch, clampMoney(cost), clampMoney(paid))
	}
}

// Release gives back what a bid that lost has held. Cost and made are those of
// Take. To call it once for each bid, and not after Settle, is up to the
// caller.
func (p *Pacer) Release(slot int32, cost rtb.Money, made, _ time.Time) {
	s := p.slot(slot)
	if s == nil {
		return
	}
	epoch, live := p.holding(made)
	if !live {
		return
	}
	for _, a := range s.drawing(made).accounts {
		a.release(epoch, clampMoney(cost))
	}
}

// holding says whether the ring still has the holds of a time.
func (p *Pacer) holding(made time.Time) (epoch int64, live bool) {
	epoch = p.epoch(made.Unix())
	expired := p.expired.Load()
	return epoch, epoch > expired && epoch < expired+ringSize
}

// drawing is what the line item drew on when a bid was made.
func (s *slot) drawing(made time.Time) *drawing {
	d := s.draws.Load()
	for d.before != nil && made.Unix() < d.since {
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

// Run calls Step once a second until ctx ends.
func (p *Pacer) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.Step(now)
		}
	}
}

// Step expires holds, turns days, learns and moves the valves. It is meant to
// be called once a second; more or less often does no harm.
func (p *Pacer) Step(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, second := seconds(now), now.Unix()
	dt := max(0, at-p.last)
	if at < p.last-float64(p.timeout)/2 {
		// The clock was set back, past what the ring can tell apart.
		for _, a := range p.accounts {
			a.strand(second + p.timeout)
		}
		p.expired.Store(p.lastExpired(second))
	}
	p.last = at
	p.expire(second)
	if dt > 0 {
		p.measure()
	}
	for _, a := range p.accounts {
		a.rescue(second)
		if dt > 0 {
			a.observe(second, dt)
		}
		a.turn(second)
		if dt > 0 {
			a.steer(at, dt)
		}
		a.limits(at)
	}
	p.slots.Load().open()
	if second >= p.nextRetire || second < p.nextRetire-60 {
		p.nextRetire = second + 60
		p.retire(second)
	}
}

func (p *Pacer) expire(now int64) {
	to := p.lastExpired(now)
	from := p.expired.Load()
	if to <= from {
		return
	}
	for e := max(from+1, to-ringSize+1); e <= to; e++ {
		for _, a := range p.accounts {
			a.expire(e)
		}
	}
	p.expired.Store(to) // last: a bid may only hold in buckets that are empty
}

// measure turns what was asked for into what there was, for each account as
// far as the others let it through.
func (p *Pacer) measure() {
	for _, s := range p.slots.Load().slots {
		if s == nil {
			continue
		}
		asked, refused := s.asked.Swap(0), s.refused.Swap(0)
		d := s.draws.Load()
		if d.closed {
			continue
		}
		switch {
		case d.mode != rtb.PaceASAP || asked > refused:
			s.open = 1
		case asked > 0: // all of it was refused: the money is gone
			s.open = max(s.open/4, minRate)
		default:
			s.open = min(1, s.open*riseRate)
		}
		if asked == 0 || s.rate == 0 {
			continue
		}
		traffic := float64(asked) / s.rate
		for i, a := range d.accounts {
			a.traffic += traffic
			others := 1.0
			for k, b := range d.accounts {
				if k != i {
					others = min(others, b.rates[d.mode])
				}
			}
			a.offered += traffic * others
		}
	}
}

// open sets the gates by the rates of the accounts.
func (t *table) open() {
	for i, s := range t.slots {
		if s == nil {
			continue
		}
		d := s.draws.Load()
		if d.closed {
			s.rate = 0
		} else {
			s.rate = s.open
			for _, a := range d.accounts {
				s.rate = min(s.rate, a.rates[d.mode])
			}
		}
		t.gates[i].Store(uint64(math.Ceil(s.rate * (1 << 32))))
	}
}
