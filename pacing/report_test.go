package pacing

import (
	"math"
	"testing"
	"time"

	"bidwell/rtb"
)

func TestReport(t *testing.T) {
	item := even(96 * rtb.Unit)
	item.Goal = rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit, Max: rtb.Unit, MaxCPC: 2 * rtb.Unit}
	p := assigned(monday, item)
	noon := monday.Add(12 * time.Hour)
	for at := monday; !at.After(noon); at = at.Add(time.Minute) { // half a unit behind all the time
		if at != monday {
			p.Take(0, rtb.Unit/15, at)
			p.Settle(0, rtb.Unit/15, rtb.Unit/15, at, at)
			p.Offer(0)
		}
		p.Step(at)
	}
	p.Count(0, 12, 0)
	p.Step(noon.Add(time.Second))
	r, ok := p.Report(1)
	if !ok || !r.Planned || r.Account != named("line-item/b") || len(r.Slots) != 96 {
		t.Fatalf("Report = %+v", r)
	}
	for i, slot := range r.Slots {
		if want := monday.Add(time.Duration(i) * 15 * time.Minute); !slot.Start.Equal(want) || slot.Known != (i <= 48) {
			t.Errorf("slot %d begins at %v, known %t", i, slot.Start, slot.Known)
		}
		if want := float64(i + 1); math.Abs(slot.Planned.CPM()/1000-want) > 0.1 {
			t.Errorf("slot %d: %s planned, want %v", i, slot.Planned, want)
		}
		if want := min(float64(i+1), 48); slot.Known && math.Abs(slot.Spent.CPM()/1000-want) > 0.1 {
			t.Errorf("slot %d: %s spent, want %v", i, slot.Spent, want)
		}
	}
	if len(r.Caps) != 1 || r.Caps[0].Event != rtb.EventClick || r.Caps[0].Target != 2*rtb.Unit || math.Abs(r.Caps[0].Actual.CPM()/1000-4) > 0.01 {
		t.Errorf("caps = %+v, want 48 units for 12 clicks", r.Caps)
	}
	if r.OpportunitiesLeft < 500 || r.OpportunitiesLeft > 1000 || r.Multiplier <= 0 || r.Multiplier > 1 {
		t.Errorf("%v opportunities left, multiplier %v", r.OpportunitiesLeft, r.Multiplier)
	}
	if _, ok := p.Report(2); ok {
		t.Error("there is a report of a line item that is not there")
	}
	p.Assign(nil, noon)
	if _, ok := p.Report(1); ok {
		t.Error("there is a report of a line item that is gone")
	}
}

func TestReportWithoutAPlan(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	r, ok := p.Report(1)
	if !ok || r.Planned || r.Multiplier != 1 || r.Rate != 1 || r.OpportunitiesLeft != 0 {
		t.Errorf("Report = %+v", r)
	}
	for _, slot := range r.Slots {
		if slot.Planned != 0 {
			t.Fatalf("%s are planned", slot.Planned)
		}
	}
}
