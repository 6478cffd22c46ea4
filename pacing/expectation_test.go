package pacing

import (
	"context"
	"testing"
	"time"

	"bidwell/rtb"
)

// What is known of a multiplier is not mixed with what is known of half of it,
// also where bids are a hundredth of their value.
func TestLevelsOfMultipliers(t *testing.T) {
	for m := 1.0; m > 1./512; m /= 2 {
		if high, low := levelOf(m), levelOf(m/2); low != high+levelOctave {
			t.Errorf("multiplier %v has level %d and its half %d", m, high, low)
		}
	}
	if l := levelOf(lowestMultiplier); l != levelCount-1 {
		t.Errorf("the lowest multiplier has level %d of %d", l, levelCount)
	}
}

// A multiplier at which all bids were refused is not that of the bids that hold.
func TestRefusedBidsHaveNoLevel(t *testing.T) {
	p, now := NewPacer(1, monday), monday
	item := rtb.LineItem{
		ID: 1, Location: time.UTC, Flight: rtb.Flight{Start: monday, End: monday.Add(24 * time.Hour)},
		Budgets: []rtb.Budget{{Account: rtb.LineItemAccount(1, rtb.OfMoney), Total: rtb.Unit}},
	}
	p.Assign([]rtb.LineItem{item}, now)
	if err := p.Lease(context.Background(), NewMemory(), now); err != nil {
		t.Fatal(err)
	}
	a := p.accounts[item.Budgets[0].Account]
	try := func(cost rtb.Money) bool {
		took := p.Take(0, cost, now)
		p.Step(now.Add(time.Second))
		return took
	}
	epoch := p.epoch(now.Unix())
	if try(2 * rtb.Unit) {
		t.Fatal("a bid of more than the budget")
	}
	if a.levels[epoch&(ringSize-1)] != 0 {
		t.Error("a refused bid has a level")
	}
	if now = now.Add(time.Second); !try(1) {
		t.Fatal("there was room")
	}
	if a.levels[epoch&(ringSize-1)] == 0 {
		t.Error("a bid has no level")
	}
}
