package pacing

import "time"

const (
	quarter = 900                 // seconds
	maxPlan = 25*3600/quarter + 5 // quarters of the longest day, with room for odd ones
)

// plan is how much of the money of a day may be gone by when: a share for each
// quarter of an hour.
type plan struct {
	from, end    int64 // seconds
	base, target int64 // spent today when the plan was made, and to be spent by the end
	first        int64 // when the first quarter begins
	quarters     int
	shares       [maxPlan + 1]float32 // gone at the beginning of each quarter, and at the end
}

// make plans from one time to another, of the day that began at dayStart, with
// quarters in proportion to what is expected of them.
func (p *plan) make(from, end, dayStart, base, target int64, expected func(from, end int64) float64) {
	p.from, p.end, p.base, p.target, p.quarters = from, end, base, target, 0
	if end <= from {
		return
	}
	p.first = from - (from-dayStart)%quarter
	p.quarters = min(maxPlan, int((end-p.first+quarter-1)/quarter))

	var weights [maxPlan]float64
	sum := 0.0
	for i := range p.quarters {
		begin := p.first + int64(i)*quarter
		weights[i] = expected(max(from, begin), min(end, begin+quarter))
		sum += weights[i]
	}
	if sum <= 0 { // nothing is expected at all: then any time is as good
		for i := range p.quarters {
			weights[i] = p.overlap(i)
			sum += weights[i]
		}
	}
	gone := 0.0
	for i := range p.quarters {
		p.shares[i] = float32(gone / sum)
		gone += weights[i]
	}
	p.shares[p.quarters] = 1
}

// overlap is how many seconds of a quarter belong to the plan.
func (p *plan) overlap(i int) float64 {
	begin := p.first + int64(i)*quarter
	return float64(min(p.end, begin+quarter) - max(p.from, begin))
}

// at is how much may be gone today by a time, in seconds.
func (p *plan) at(now float64) int64 {
	return p.base + int64(p.share(now)*float64(p.target-p.base))
}

// ahead is a tenth more than at, within the target.
func (p *plan) ahead(now float64) int64 {
	return p.base + int64(min(1, 1.1*p.share(now))*float64(p.target-p.base))
}

// burst is how far spend may be past the plan for a moment.
func (p *plan) burst() int64 { return (p.target - p.base) / 256 }

func (p *plan) share(now float64) float64 {
	if p.quarters == 0 || now <= float64(p.from) {
		return 0
	}
	if now >= float64(p.end) {
		return 1
	}
	i := min(int(now-float64(p.first))/quarter, p.quarters-1)
	begin := max(float64(p.from), float64(p.first+int64(i)*quarter))
	low, high := float64(p.shares[i]), float64(p.shares[i+1])
	return low + (high-low)*min(1, (now-begin)/p.overlap(i))
}

// dayOf is the calendar day around a time: 23, 24 or 25 hours long.
func dayOf(now int64, location *time.Location) (start, end int64) {
	year, month, day := time.Unix(now, 0).In(location).Date()
	start = min(now, midnight(year, month, day, location))
	for next := day + 1; next <= day+2; next++ { // a zone may have left out a day
		if end = midnight(year, month, next, location); end > now {
			return start, end
		}
	}
	return start, now + 24*3600
}

// midnight is the first moment of a day, which in some places and years is at
// one o'clock, or comes twice. Of a day that a place has left out it is one of the day before.
func midnight(year int, month time.Month, day int, location *time.Location) int64 {
	noon := time.Date(year, month, day, 12, 0, 0, 0, location)
	midnight := time.Date(year, month, day, 0, 0, 0, 0, location)
	for t := midnight.Add(-3 * time.Hour); t.Sub(midnight) < 3*time.Hour; t = t.Add(15 * time.Minute) {
		if t.Day() == noon.Day() {
			return t.Unix()
		}
	}
	return midnight.Unix()
}

// hourOfWeek is 0 to 167, Sunday midnight first.
func hourOfWeek(at int64, location *time.Location) int {
	t := time.Unix(at, 0).In(location)
	return int(t.Weekday())*24 + t.Hour()
}

// nextHour is when the hour on the clock ends.
func nextHour(at int64, location *time.Location) int64 {
	_, offset := time.Unix(at, 0).In(location).Zone()
	local := at + int64(offset)
	past := local % 3600
	if past < 0 {
		past += 3600
	}
	return at - past + 3600
}
