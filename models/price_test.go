package models

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

func TestValue(t *testing.T) {
	cpm := rtb.FromCPM
	tests := []struct {
		name     string
		goal     rtb.Goal
		ctr, cvr float64
		want     rtb.Money
	}{
		{"CPM is the value", rtb.Goal{Type: rtb.GoalCPM, Value: cpm(2), Max: cpm(5)}, 0.1, 0.1, cpm(2)},
		{"CPM is capped", rtb.Goal{Type: rtb.GoalCPM, Value: cpm(7), Max: cpm(5)}, 0, 0, cpm(5)},
		{"CPC is by clicks", rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit, Max: cpm(50)}, 0.002, 0, cpm(2)},
		{"CPC is capped", rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit, Max: cpm(5)}, 0.5, 0, cpm(5)},
		{"CPA is by conversions", rtb.Goal{Type: rtb.GoalCPA, Value: 50 * rtb.Unit, Max: cpm(50)}, 0.002, 0.25, cpm(25)},
		{"no goal is worth nothing", rtb.Goal{Value: rtb.Unit, Max: rtb.Unit}, 1, 1, 0},
		{"not a number is nothing", rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit, Max: cpm(5)}, math.NaN(), 0, 0},
		{"negative is nothing", rtb.Goal{Type: rtb.GoalCPM, Value: -1, Max: cpm(5)}, 0, 0, 0},
		{"without a maximum nothing", rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Unit}, 0.1, 0, 0},
		{"the most there is", rtb.Goal{Type: rtb.GoalCPC, Value: rtb.MaxMoney, Max: rtb.MaxMoney}, 1, 1, rtb.MaxMoney},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Value(tt.goal, tt.ctr, tt.cvr); got != tt.want {
				t.Errorf("Value(%v, %v, %v) = %v, want %v", tt.goal, tt.ctr, tt.cvr, got, tt.want)
			}
		})
	}
}

func TestValueStaysWithinTheGoal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		goal := rtb.Goal{
			Type:  rtb.GoalType(rapid.IntRange(0, 4).Draw(t, "type")),
			Value: rtb.Money(rapid.Int64().Draw(t, "value")), Max: rtb.Money(rapid.Int64().Draw(t, "max")),
		}
		ctr, cvr := rapid.Float64().Draw(t, "ctr"), rapid.Float64().Draw(t, "cvr")
		got := Value(goal, ctr, cvr)
		if got < 0 || got > max(0, goal.Max) {
			t.Fatalf("Value(%v, %v, %v) = %d, want 0 to %d", goal, ctr, cvr, got, goal.Max)
		}
		if ctr, cvr := math.Abs(math.Mod(ctr, 1)), math.Abs(math.Mod(cvr, 1)); Value(goal, ctr/2, cvr) > Value(goal, ctr, cvr) {
			t.Fatalf("Value(%v) falls as the click rate rises to %v", goal, ctr)
		}
	})
}
