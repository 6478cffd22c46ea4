package pacing

import (
	"math"
	"time"

	"bidwell/rtb"
)

// Report is how a line item spends today, for people.
type Report struct {
	LineItem rtb.LineItemID
	Account  rtb.AccountID // whose money is planned: its own, else that of its campaign
	Pacing   rtb.Pacing
	Planned  bool // there is a plan; without one the slots only have what was spent

	// Slots are the quarters of an hour of today, in the advertiser's time
	// zone.
	Slots []ReportSlot

	Multiplier        float64 // what part of its value the line item bids
	Rate              float64 // part of the opportunities that it is let through to
	OpportunitiesLeft float64 // that are to be expected today; zero when unknown
	Caps              []CostReport
}

// ReportSlot is a quarter of an hour. Its amounts are those of the day until
// its end, or until now.
type ReportSlot struct {
	Start          time.Time
	Planned, Spent rtb.Money
	Known          bool // Spent is known: the quarter has begun while the bidder ran
}

// CostReport is a cap of what clicks or conversions cost.
type CostReport struct {
	Event      rtb.EventType // EventClick or EventConversion
	Target     rtb.Money
	Actual     rtb.Money // on average; zero before the first event
	Multiplier float64   // what part of its value the cap lets the line item bid
}

// history is what was planned and spent by the end of each quarter of a day.
// It takes a kilobyte, so only accounts with a plan and with traffic have one.
type history struct {
	day            int64 // when it began
	planned, spent [maxPlan]float32
	known          [maxPlan]bool
}

// note writes down where the account is.
func (a *account) note(now float64) {
	i := (int64(now) - a.dayStart) / quarter
	if i < 0 || i >= maxPlan || a.history == nil && a.seen == 0 && a.today() == 0 {
		return
	}
	if a.history == nil {
		a.history = new(history)
	}
	h := a.history
	if h.day != a.dayStart {
		*h = history{day: a.dayStart}
	}
	end := min(a.dayStart+(i+1)*quarter, a.dayEnd)
	h.planned[i], h.spent[i], h.known[i] = float32(a.plan.at(float64(end))), float32(a.today()), true
}

// Report is how a line item spends today. It is false for one that is not
// assigned.
func (p *Pacer) Report(id rtb.LineItemID) (Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.slots.Load().ids[id]
	s := p.slot(i)
	if !ok || s == nil {
		return Report{}, false
	}
	d := s.draws.Load()
	if d.closed || len(d.accounts) == 0 {
		return Report{}, false
	}
	a := s.own()
	for _, b := range d.accounts {
		if a == nil || !a.planned && b.planned {
			a = b
		}
	}
	r := Report{
		LineItem: id, Account: a.id, Pacing: d.mode, Planned: a.planned && d.mode != rtb.PaceASAP,
		Multiplier: p.Multiplier(i), Rate: s.rate, OpportunitiesLeft: math.Round(a.opportunitiesLeft(p.last)),
	}
	at := int64(p.last)
	for k, begin := 0, a.dayStart; begin < a.dayEnd && k < maxPlan; k, begin = k+1, begin+quarter {
		slot := ReportSlot{Start: time.Unix(begin, 0).In(a.terms.location)}
		end := min(begin+quarter, a.dayEnd)
		if h := a.history; h != nil && h.day == a.dayStart && h.known[k] {
			slot.Planned, slot.Spent, slot.Known = rtb.Money(h.planned[k]), rtb.Money(h.spent[k]), true
		}
		if begin <= at && at < end {
			slot.Spent, slot.Known = rtb.Money(a.today()), true
		}
		if a.planned && (end > at || !slot.Known) {
			slot.Planned = rtb.Money(a.planOf(d.mode)(float64(end)))
		}
		if !r.Planned {
			slot.Planned = 0
		}
		r.Slots = append(r.Slots, slot)
	}
	if c := s.caps; c != nil {
		for _, one := range []struct {
			event rtb.EventType
			r     *ratio
		}{{rtb.EventClick, &c.clicks}, {rtb.EventConversion, &c.conversions}} {
			if one.r.cap > 0 {
				r.Caps = append(r.Caps, CostReport{one.event, rtb.Money(one.r.cap), one.r.actual(), math.Exp(one.r.log)})
			}
		}
	}
	return r, true
}

func (a *account) planOf(mode rtb.Pacing) func(float64) int64 {
	if mode == rtb.PaceAhead {
		return a.plan.ahead
	}
	return a.plan.at
}
