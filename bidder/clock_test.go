package bidder

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestSimulatedTimeGoesForwardsOnly(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	c := SimulatedTime(start)
	real := time.Now()
	for _, step := range []struct {
		header string
		want   int64
	}{
		{"", 1_000_000}, {"1000500", 1_000_500}, {"1000100", 1_000_500}, {"soon", 1_000_500},
		{"-5", 1_000_500}, {"9223372036854775807", 1_000_500}, {"1000501", 1_000_501},
	} {
		var ctx fasthttp.RequestCtx
		if step.header != "" {
			ctx.Request.Header.Set(TimeHeader, step.header)
		}
		if got := c.of(&ctx, real); got.UnixMilli() != step.want || !c.Now().Equal(got) {
			t.Errorf("after %q it is %d, and %d later, want %d", step.header, got.UnixMilli(), c.Now().UnixMilli(), step.want)
		}
	}
}

func TestRealTimeIgnoresTheHeader(t *testing.T) {
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.Set(TimeHeader, "1")
	real := time.Now()
	if got := RealTime().of(&ctx, real); !got.Equal(real) {
		t.Errorf("it is %v, want %v", got, real)
	}
}
