package pacing

import (
	"math"

	"bidwell/rtb"
)

const (
	ratioGain   = 0.2    // of the logarithm of the multiplier, at most, each ratioPeriod
	ratioPeriod = 1000.0 // opportunities
	ratioTime   = 900.0  // seconds, where opportunities are few
	ratioMemory = 10.0   // periods: mean life of what counts as recent, longer where events are few
	ratioTotal  = 2.0    // weight of what it has cost since the beginning, against of late
	ratioDebt   = 0.5    // but what is owed from before asks for no more than to be so much below the cap

	ratioAim = 0.99 // of the cap, so that chance does not end above it

	// ratioPrior counts so many events at the price of the cap before the
	// first, so that a line item may spend until it has one. It takes no part
	// in where the ratio settles.
	ratioPrior = 3.0

	// recentPrior are events that count as free, so that where nothing is won,
	// and nothing can be learned, bids rise again.
	recentPrior = 0.05
)

// ratio keeps what a click or a conversion costs on average at its cap: a
// second multiplier, which follows cost over what the events were worth at the
// price of the cap. A gradient of each auction would not do: events are rare,
// and one that is clipped is biased.
type ratio struct {
	cap          float64 // money for one event
	log          float64 // of the multiplier
	periods      float64 // since the cap was set
	cost, events float64 // since the cap was set
	recentCost   float64 // decaying
	recentEvents float64
}

// step takes in what was spent and what happened since the last one.
func (r *ratio) step(cost, events, opportunities, dt float64) {
	periods := opportunities/ratioPeriod + dt/ratioTime
	aim := ratioAim * r.cap
	r.cost += cost
	r.events += events
	k := decay(periods, ratioMemory*max(1, min(4, 10/max(1, r.recentEvents))))
	r.recentCost = r.recentCost*k + cost
	r.recentEvents = r.recentEvents*k + events
	total := (r.cost+ratioPrior*aim)/(aim*(r.events+ratioPrior)) - 1
	recent := r.recentCost/(aim*(r.recentEvents+recentPrior)) - 1
	push := max(-1, min(1, recent)) + max(-ratioDebt, min(ratioDebt, ratioTotal*total))
	r.periods += periods
	gain := ratioGain * max(1, ratioMemory/(1+r.periods)) // in haste at first
	r.log = max(math.Log(lowestMultiplier), min(0, r.log-gain*push*min(1, periods)))
}

// actual is what an event has cost on average, zero before the first.
func (r *ratio) actual() rtb.Money {
	if r.events <= 0 {
		return 0
	}
	return rtb.Money(r.cost / r.events)
}

// costCaps are those of a line item. A cap of zero is none.
type costCaps struct {
	clicks, conversions ratio
	charged             int64 // to the line item, at the last Step
}

// capCosts sets the caps of a line item. One that stays keeps what it knows.
func (s *slot) capCosts(goal *rtb.Goal) {
	if goal.MaxCPC <= 0 && goal.MaxCPA <= 0 {
		s.caps = nil
		return
	}
	if s.caps == nil {
		s.caps = new(costCaps)
		if a := s.own(); a != nil {
			s.caps.charged = a.charged
		}
		s.clicks.Store(0)
		s.conversions.Store(0)
	}
	for _, c := range []struct {
		r   *ratio
		max rtb.Money
	}{{&s.caps.clicks, goal.MaxCPC}, {&s.caps.conversions, goal.MaxCPA}} {
		if most := float64(clampMoney(c.max)); most <= 0 {
			*c.r = ratio{}
		} else {
			c.r.cap = most
		}
	}
}

// own is the account of the money of the line item itself.
func (s *slot) own() *account {
	id := rtb.LineItemAccount(s.id, rtb.OfMoney)
	for _, a := range s.draws.Load().accounts {
		if a.id == id {
			return a
		}
	}
	return nil
}

// eventParts is what one click counts in the integers of a slot, so that parts
// of one count too.
const eventParts = 1 << 20

// Count tells a line item of clicks and conversions that its ads have had, or
// that are to be expected of what it won. Whoever calls it does so once for
// each.
func (p *Pacer) Count(slot int32, clicks, conversions float64) {
	if s := p.slot(slot); s != nil {
		s.clicks.Add(int64(clicks * eventParts))
		s.conversions.Add(int64(conversions * eventParts))
	}
}

// count counts the clicks and conversions of this bidder's bids.
func (s *slot) count(t rtb.EventType, seen Kinds) {
	switch {
	case t == rtb.EventClick && !seen.Has(KindClick):
		s.clicks.Add(eventParts)
	case t == rtb.EventConversion && !seen.Has(KindConversion):
		s.conversions.Add(eventParts)
	}
}

// steerCosts moves the multipliers of the caps of a line item.
func (s *slot) steerCosts(opportunities, dt float64) {
	if s.caps == nil {
		return
	}
	a := s.own()
	if a == nil {
		return
	}
	clicks := float64(s.clicks.Swap(0)) / eventParts
	conversions := float64(s.conversions.Swap(0)) / eventParts
	cost := float64(a.charged - s.caps.charged)
	s.caps.charged = a.charged
	if s.caps.clicks.cap > 0 {
		s.caps.clicks.step(cost, clicks, opportunities, dt)
	}
	if s.caps.conversions.cap > 0 {
		s.caps.conversions.step(cost, conversions, opportunities, dt)
	}
}
