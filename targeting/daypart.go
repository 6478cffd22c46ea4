package targeting

import (
	"time"

	"bidwell/rtb"
)

const weekSeconds = 7 * 24 * 3600

// Offsets from UTC that are in use, in minutes. Anything beyond is a mistake
// of the sender and as good as unknown.
const (
	minOffset = -12 * 60
	maxOffset = 14 * 60
)

// clockSet numbers time zones. Every time.LoadLocation makes another value of
// the same zone, so zones are told apart by what they say.
type clockSet struct {
	list    []*time.Location
	seen    map[*time.Location]int32
	byNames map[clockName]int32
}

// clockName is a zone by its name and its offsets in the winters and summers
// of half a century.
type clockName struct {
	name    string
	offsets [2 * 50]int32
}

func newClockSet() *clockSet {
	return &clockSet{seen: map[*time.Location]int32{}, byNames: map[clockName]int32{}}
}

func (s *clockSet) number(loc *time.Location) int32 {
	if loc == nil {
		loc = time.UTC
	}
	if n, ok := s.seen[loc]; ok {
		return n
	}
	name := clockName{name: loc.String()}
	for i := range name.offsets {
		_, offset := time.Date(2000+i/2, time.Month(1+i%2*6), 1, 0, 0, 0, 0, loc).Zone()
		name.offsets[i] = int32(offset)
	}
	n, ok := s.byNames[name]
	if !ok {
		n = int32(len(s.list))
		s.list = append(s.list, loc)
		s.byNames[name] = n
	}
	s.seen[loc] = n
	return n
}

// clock remembers the hour of the week of one time zone for as long as it
// lasts, since looking it up takes longer than the rest of the checks.
type clock struct {
	from, until int64 // Unix seconds
	hour        int
}

// at returns the hour of the week, 0 to 167, in loc. It follows the changes
// to and from daylight-saving time.
func (c *clock) at(now time.Time, loc *time.Location) int {
	seconds := now.Unix()
	if seconds >= c.from && seconds < c.until {
		return c.hour
	}
	local := now.In(loc)
	c.hour = int(local.Weekday())*24 + local.Hour()
	c.from = seconds
	c.until = seconds + 3600 - int64(local.Minute()*60+local.Second())
	if _, change := local.ZoneBounds(); !change.IsZero() {
		c.until = min(c.until, change.Unix())
	}
	return c.hour
}

// hourAt returns the hour of the week at an offset from UTC in minutes.
func hourAt(now time.Time, offset int16) int {
	const sinceSunday = 4 * 24 * 3600 // the first second of Unix time was on a Thursday
	s := (now.Unix() + int64(offset)*60 + sinceSunday) % weekSeconds
	if s < 0 {
		s += weekSeconds
	}
	return int(s / 3600)
}

// knownOffset reports whether the request says what time it is for the user.
func knownOffset(g *rtb.Geo) bool {
	return g.HasOffset && g.UTCOffset >= minOffset && g.UTCOffset <= maxOffset
}
