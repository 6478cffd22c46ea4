package loadtest

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"bidwell/pacing"
)

// period is the time of the log in whole quarters of an hour.
func (l *AuctionLog) period() (from, until time.Time) {
	from = time.Unix(0, l.Time[0]).UTC().Truncate(replaySlot)
	until = time.Unix(0, l.Time[l.Len()-1]).UTC().Truncate(replaySlot).Add(replaySlot)
	return from, until
}

// hold is how long a bid holds its price: longer than any notice takes that is
// late by a number of auctions.
func (r *replaying) hold() (time.Duration, error) {
	const most = 24 * time.Hour
	if r.Hold > 0 || r.Late == 0 {
		return cmp.Or(r.Hold, pacing.HoldTimeout), nil
	}
	l, until := r.Log, r.result.Until.UnixNano()
	longest := time.Duration(0)
	for i, made := range l.Time {
		told := until
		if at := i + r.Late; at < l.Len() {
			told = l.Time[at]
		}
		longest = max(longest, time.Duration(told-made))
	}
	hold := max(pacing.HoldTimeout, longest+r.Delay+time.Minute)
	if hold > most {
		return 0, fmt.Errorf("late: %d auctions take up to %v in this log, and a bid holds its price for %v at most: say how long with hold",
			r.Late, longest.Round(time.Minute), most)
	}
	return hold.Round(time.Second), nil
}

// reference is the price of a click at which the first rows alone would have
// spent their part of the budget.
func (r *replaying) reference() float64 {
	l := r.Log
	n := min(1000, l.Len())
	part := float64(n) / max(r.Forecast, float64(n))
	if r.Forecast == 0 { // the time that they took says how many there may be
		from, until := l.period()
		part = min(1, max(1e-6, float64(l.Time[n-1]-from.UnixNano())/float64(until.Sub(from))))
	}
	rows, all := oracleOrder(l, n, math.Inf(1)), 0.0
	for _, i := range rows {
		all += l.cost(int(i))
	}
	// Of much money, half of the rows are enough: the worst of them are worth
	// next to nothing, and their price for a click says nothing.
	left, reference := min(part*r.Budget, all/2), 0.0
	for _, i := range rows {
		if left -= l.cost(int(i)); left < 0 && reference > 0 {
			break
		}
		reference = max(reference, l.cost(int(i))/l.PCTR[i])
	}
	if reference == 0 {
		reference = 1
	}
	return reference
}
