package models

import "bidwell/rtb"

// Value is what one impression is worth to a goal, at most goal.Max and never
// negative. The probabilities are those of a click and of a conversion after
// a click; a goal uses those it needs. For a return on spend, goal.Value is what
// a conversion brings.
func Value(goal rtb.Goal, ctr, cvr float64) rtb.Money {
	worth := float64(goal.Value)
	switch goal.Type {
	case rtb.GoalCPM:
		return max(0, min(goal.Value, goal.Max))
	case rtb.GoalCPC:
		worth *= ctr
	case rtb.GoalCPA:
		worth *= ctr * cvr
	case rtb.GoalROAS:
		worth *= ctr * cvr * 100 / float64(goal.Return)
	default:
		return 0
	}
	if !(worth > 0) || goal.Max <= 0 { // also when it is not a number
		return 0
	}
	if worth >= float64(goal.Max) {
		return goal.Max
	}
	return rtb.Money(worth)
}
