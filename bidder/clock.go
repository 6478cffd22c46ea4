package bidder

import (
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Clock is what budgets, flights, frequency caps and tokens take for the
// present. Deadlines of requests are always in real time.
//
// A simulated clock stands still until a request says what time it is; the
// market simulator plays a day in minutes with it. It is for tests: whoever
// reaches the public listener can move it.
type Clock struct {
	simulated bool
	millis    atomic.Int64 // of a simulated clock, Unix milliseconds
}

// RealTime is the clock on the wall.
func RealTime() *Clock { return &Clock{} }

// SimulatedTime is a clock that the header [TimeHeader] of bid requests and
// notices moves, forwards only, from start.
func SimulatedTime(start time.Time) *Clock {
	c := &Clock{simulated: true}
	c.millis.Store(start.UnixMilli())
	return c
}

// TimeHeader moves a simulated clock: Unix milliseconds.
const TimeHeader = "X-Bidwell-Time"

var timeHeader = []byte(TimeHeader)

// maxMillis is far beyond any flight, and leaves room for sums.
const maxMillis = math.MaxInt64 / int64(4*time.Millisecond)

// Now is the present.
func (c *Clock) Now() time.Time {
	if !c.simulated {
		return time.Now()
	}
	return time.UnixMilli(c.millis.Load())
}

// of is the present for a request that was complete at the time real.
func (c *Clock) of(ctx *fasthttp.RequestCtx, real time.Time) time.Time {
	if !c.simulated {
		return real
	}
	if v, err := strconv.ParseInt(string(ctx.Request.Header.PeekBytes(timeHeader)), 10, 64); err == nil && v <= maxMillis {
		c.advance(v)
	}
	return c.Now()
}

func (c *Clock) advance(to int64) {
	for {
		v := c.millis.Load()
		if to <= v || c.millis.CompareAndSwap(v, to) {
			return
		}
	}
}
