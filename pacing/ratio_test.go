package pacing

import (
	"math"
	"testing"
	"time"

	"bidwell/rtb"
)

// What a click costs rises with the multiplier, as on a market where cheap
// ones are few. The cap finds where it costs what it may.
func TestRatioSettlesAtTheCap(t *testing.T) {
	for _, cap := range []float64{0.5, 2, 50} {
		r := ratio{cap: cap}
		for range 10_000 {
			m := math.Exp(r.log)
			clicks := m
			r.step(clicks*10*m, clicks, 1000, 60)
		}
		if got := r.cost / r.events; cap < 10 && math.Abs(got/cap-1) > 0.02 || got > 1.02*cap {
			t.Errorf("a cap of %v: a click costs %v", cap, got)
		}
		if cap > 10 && r.log != 0 {
			t.Errorf("a cap that does not bind lowers bids to %v", math.Exp(r.log))
		}
	}
}

func TestMultiplierIsTheSmallest(t *testing.T) {
	item := even(24 * rtb.Unit)
	item.Goal = rtb.Goal{Type: rtb.GoalCPC, MaxCPC: 1, MaxCPA: 1}
	item.Budgets = append(item.Budgets, rtb.Budget{Account: named("campaign/x"), Daily: 24 * rtb.Unit})
	p := assigned(monday, item, asap(2, 0, rtb.Unit))
	s, campaign := p.slots.Load().slots[0], p.accounts[named("campaign/x")]
	for _, tt := range []struct{ own, campaign, clicks, conversions, want float64 }{
		{0, 0, 0, 0, 0}, {-1, -2, 0, 0, -2}, {-2, -1, -1, 0, -2}, {-1, 0, -1.5, 0, -1.5}, {-1, 0, -1.5, -3, -3},
	} {
		s.own().duals[rtb.PaceEven].log, campaign.duals[rtb.PaceEven].log = tt.own, tt.campaign
		s.caps.clicks.log, s.caps.conversions.log = tt.clicks, tt.conversions
		p.slots.Load().open()
		if got := p.Multiplier(0); got != math.Exp(tt.want) {
			t.Errorf("%+v: multiplier %v", tt, got)
		}
	}
	if p.Multiplier(1) != 1 || p.Multiplier(7) != 1 {
		t.Error("as soon as possible, or unknown: the multiplier is not 1")
	}
	if s.caps.clicks.log > -3+slackLog {
		t.Errorf("a cap that does not bind stays at %v", s.caps.clicks.log)
	}
	item.Goal.MaxCPC, item.Goal.MaxCPA = 0, 0
	p.Assign([]rtb.LineItem{item}, monday)
	if s.caps != nil {
		t.Error("caps that were taken back still count")
	}
}

func TestClicksAndConversionsAreCounted(t *testing.T) {
	item := even(24 * rtb.Unit)
	item.Goal = rtb.Goal{Type: rtb.GoalCPC, MaxCPC: rtb.Unit, MaxCPA: rtb.Unit}
	p := assigned(monday, item)
	for _, e := range []struct {
		kind rtb.EventType
		seen Kinds
		node uint32
	}{{rtb.EventClick, 0, 1}, {rtb.EventClick, 1 << KindClick, 1}, {rtb.EventClick, 0, 2}, {rtb.EventConversion, 0, 1}, {rtb.EventView, 0, 1}} {
		p.Apply(&rtb.Event{Type: e.kind, LineItem: 1, Node: e.node, Made: monday}, e.seen, monday)
	}
	p.Step(monday.Add(time.Second))
	caps := p.slots.Load().slots[0].caps
	if caps.clicks.events != 1 || caps.conversions.events != 1 {
		t.Errorf("%v clicks and %v conversions, want one each", caps.clicks.events, caps.conversions.events)
	}
}

func TestSteeringDoesNotAllocate(t *testing.T) {
	p := assigned(monday, even(24*rtb.Unit))
	sum := 0.0
	if n := testing.AllocsPerRun(100, func() { p.Offer(0); sum += p.Multiplier(0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
