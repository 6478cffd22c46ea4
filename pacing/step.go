package pacing

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"bidwell/rtb"
)

// Step expires holds, turns days, learns and moves the valves, and stops line
// items whose notices are missing. It is meant to be called once a second;
// more or less often does no harm.
func (p *Pacer) Step(now time.Time) {
	for _, s := range p.step(now) {
		slog.Warn("line item stopped: "+s.why, "line-item", s.id)
	}
}

// step returns the slots that it has stopped.
func (p *Pacer) step(now time.Time) []stop {
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
	before := int64(p.last)
	p.last = at
	p.expire(second)
	p.noteLevels(before, second)
	stopped := p.measure(second, dt)
	for _, a := range p.accounts {
		a.rescue(second)
		if dt > 0 {
			a.observe(second, dt)
			a.learn(dt)
			a.expect(p, second, dt)
		}
		a.turn(second)
		if dt > 0 {
			a.steer(at, dt, p.epoch(before), max(p.epoch(before), p.epoch(second-1)))
		}
		a.limits(at)
	}
	p.slots.Load().open()
	p.noteLevels(second, second)
	if second >= p.nextRetire || second < p.nextRetire-60 {
		p.nextRetire = second + 60
		p.retire(second)
	}
	return stopped
}

// noteLevels notes how much of their value line items bid between two times.
// Bids that were refused hold nothing, and a multiplier that rises because all
// are refused says nothing of those that stand.
func (p *Pacer) noteLevels(from, to int64) {
	first, last := max(p.epoch(from), p.expired.Load()+1), p.epoch(to)
	for _, s := range p.slots.Load().slots {
		if s == nil {
			continue
		}
		refusals := s.refusals.Load() // before asks, of which there are more when a bid was made in between
		if s.asks.Load() == refusals && !s.bidding {
			continue
		}
		multiplier := math.Float64frombits(s.multiplier.Load())
		for _, a := range s.draws.Load().accounts {
			for e := first; e <= last; e++ {
				a.bidAt(e, multiplier)
			}
		}
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
			a.expire(e, float64(p.timeout))
		}
	}
	p.expired.Store(to) // last: a bid may only hold in buckets that are empty
}

// measure turns what was asked for into what there was, for each account as
// far as the others let it through. Other bidders that share an account are
// taken to see as much as this one.
func (p *Pacer) measure(now int64, dt float64) (stopped []stop) {
	for _, s := range p.slots.Load().slots {
		if s == nil {
			continue
		}
		d := s.draws.Load()
		if bids := s.asks.Load() - s.refusals.Load(); !d.closed && s.listen(bids, now, dt, max(p.silence, p.timeout)) {
			stopped = append(stopped, stop{s.id, s.why})
		}
		if dt <= 0 {
			continue
		}
		asked, refused, asks, refusals := s.asked.Swap(0), s.refused.Swap(0), s.asks.Swap(0), s.refusals.Swap(0)
		s.bidding = asks > refusals
		dearest, offers := s.dearest.Swap(0), float64(s.offers.Swap(0))
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
		if s.rate > 0 {
			offers /= s.rate
		}
		s.steerCosts(offers, dt)
		for _, a := range d.accounts {
			a.opportunities += offers * a.crowd()
		}
		if asks == 0 {
			continue
		}
		for i, a := range d.accounts {
			all, taken := asked, asked-refused
			if a.measure == rtb.OfImpressions {
				all, taken = asks, asks-refusals
			}
			a.used(taken, a.amount(dearest))
			if s.rate == 0 {
				continue
			}
			others := 1.0
			for k, b := range d.accounts {
				if k != i {
					others = min(others, b.rates[d.mode])
				}
			}
			a.asked += float64(all)
			a.offered += float64(all) / s.rate * others
			a.meanBid = float64(all) / float64(asks)
		}
	}
	return stopped
}

// open sets the gates by the rates of the accounts, and the multipliers of the
// line items by theirs.
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
		gate := int64(math.Ceil(s.rate * (1 << 32)))
		if s.stopped != 0 {
			gate = gateStopped
		}
		t.gates[i].Store(gate)
		multiplier, most := s.multiply(d), maxCost
		if multiplier < 1 {
			for _, a := range d.accounts {
				most = min(most, a.dearest())
			}
		}
		s.multiplier.Store(math.Float64bits(multiplier))
		s.most.Store(most)
	}
	t.tighten()
}

// Resume lets a line item bid again that was stopped because its notices are
// missing.
func (p *Pacer) Resume(id rtb.LineItemID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.slots.Load()
	i, known := t.ids[id]
	if !known {
		return fmt.Errorf("resume: line item %d: %w", id, ErrUnknownLineItem)
	}
	t.slots[i].unsaid = 0
	t.slots[i].hear()
	t.open()
	return nil
}

// ErrUnknownLineItem means that the pacer has no slot for a line item.
var ErrUnknownLineItem = errors.New("unknown line item")
