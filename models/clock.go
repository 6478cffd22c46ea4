package models

import "time"

// leap is how far apart the clocks of bidders may be, in seconds. It is well
// within the wait for a click.
const leap = 60

// clock is the time of a log that several bidders write, each by a clock of its
// own: that of the last event. When one of them is wrong, what it writes is
// further than a leap from what the others do, and does not count. Nor does the
// first event after a pause; but when nobody has agreed with the clock for as
// long as a leap, by the time of those who do not, they are right.
type clock struct {
	now   int64 // Unix seconds; zero before the first event
	rival int64 // the earliest that does not agree; zero for none
}

// hear takes in the time of an event and reports whether the clock has moved.
func (c *clock) hear(t int64) bool {
	switch {
	case c.now == 0:
		c.now = t
	case t >= c.now-leap && t <= c.now+leap:
		c.rival = 0
		if t <= c.now {
			return false
		}
		c.now = t
	case c.rival == 0 || t < c.rival || (t > c.now) != (c.rival > c.now):
		c.rival = t
		return false
	case t-c.rival < leap:
		return false
	default:
		c.now, c.rival = t, 0
	}
	return true
}

// due reports whether the wait of something that began at a time is over. What
// waits in a queue behind others has waited about as long as they have,
// whatever its time says, so that of a clock that is ahead holds nobody up.
func (c *clock) due(since, wait int64) bool { return since+wait <= c.now || since > c.now+leap }

// bound is t, or as late as it may be.
func (c *clock) bound(t time.Time) time.Time {
	if latest := time.Unix(c.now+leap, 0); c.now != 0 && t.After(latest) {
		return latest.UTC()
	}
	return t
}
