package track

import (
	"fmt"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"bidwell/events"
	"bidwell/rtb"
)

// fixture is a Handler with what it was asked to apply.
type fixture struct {
	*Handler
	sealer  *events.Sealer
	applied []rtb.Event
	bids    byte
}

func newFixture(t testing.TB) *fixture {
	sealer, err := events.NewSealer(1, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{sealer: sealer}
	f.Handler = New(Parts{
		Sealer: sealer,
		Dedup:  events.NewDedup(10),
		Price: func(_ rtb.ExchangeID, macro []byte) (rtb.Money, error) {
			if len(macro) == 0 {
				return 0, ErrNoPrice
			}
			return rtb.ParseCPM(string(macro))
		},
		Apply: func(e *rtb.Event) { f.applied = append(f.applied, *e) },
		Landing: func(c rtb.CreativeID) string {
			if c == 7 {
				return "https://shoes.example/run"
			}
			return ""
		},
	})
	return f
}

// token is that of a new bid on a creative.
func (f *fixture) token(creative rtb.CreativeID) string {
	f.bids++
	return string(f.sealer.AppendToken(nil, &rtb.Event{Bid: rtb.BidID{f.bids}, Creative: creative, LineItem: 3, Cost: rtb.OneCPM}))
}

func (f *fixture) get(t testing.TB, uri string) *fasthttp.Response {
	t.Helper()
	var req fasthttp.Request
	req.SetRequestURI(uri)
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, nil, nil)
	f.Serve(&ctx, time.Unix(1_900_000_000, 0))
	return &ctx.Response
}

func TestServe(t *testing.T) {
	tests := []struct {
		path, query string
		creative    rtb.CreativeID
		status      int
		want        rtb.EventType // applied; zero for none
		price       rtb.Money
	}{
		{"/e/win", "&p=2.5", 7, 204, rtb.EventWin, rtb.FromCPM(2.5)},
		{"/e/bill", "&p=", 7, 204, rtb.EventBill, 0},
		{"/e/loss", "&p=x&r=102", 7, 204, rtb.EventLoss, 0},
		{"/e/view", "", 7, 200, rtb.EventView, 0},
		{"/e/video", "&v=midpoint", 7, 200, rtb.EventVideo, 0},
		{"/e/click", "", 7, 302, rtb.EventClick, 0},
		{"/e/click", "", 8, 404, rtb.EventClick, 0}, // a creative without a landing page
		{"/e/other", "", 7, 404, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.path+tt.query, func(t *testing.T) {
			f := newFixture(t)
			uri := fmt.Sprintf("http://bid.example%s?t=%s%s", tt.path, f.token(tt.creative), tt.query)
			for range 2 { // a repeat is answered like the first
				resp := f.get(t, uri)
				if resp.StatusCode() != tt.status {
					t.Errorf("status %d, want %d", resp.StatusCode(), tt.status)
				}
				if tt.status == 302 && string(resp.Header.Peek("Location")) != "https://shoes.example/run" {
					t.Errorf("redirects to %q", resp.Header.Peek("Location"))
				}
				if tt.status == 200 && len(resp.Body()) != 43 {
					t.Errorf("pixel of %d bytes, want 43", len(resp.Body()))
				}
			}
			if tt.want == 0 {
				if len(f.applied) != 0 {
					t.Errorf("applied %+v", f.applied)
				}
				return
			}
			if len(f.applied) != 1 || f.applied[0].Type != tt.want || f.applied[0].Price != tt.price || f.applied[0].LineItem != 3 {
				t.Errorf("applied %+v, want one event of type %d", f.applied, tt.want)
			}
		})
	}
}

func TestServeTellsQuartilesApart(t *testing.T) {
	f := newFixture(t)
	token := f.token(7)
	for _, quartile := range []string{"start", "firstQuartile", "midpoint", "thirdQuartile", "complete", "start"} {
		f.get(t, "http://bid.example/e/video?t="+token+"&v="+quartile)
	}
	if len(f.applied) != 5 {
		t.Errorf("%d events applied of five quartiles and a repeat", len(f.applied))
	}
}

func TestServeRefusesBadTokens(t *testing.T) {
	f := newFixture(t)
	token := f.token(7)
	for _, bad := range []string{"", "?t=", "?t=" + token[1:], "?t=B" + token[1:], "?t=" + token + "A"} {
		if status := f.get(t, "http://bid.example/e/click"+bad).StatusCode(); status != 400 {
			t.Errorf("%q: status %d, want 400", bad, status)
		}
	}
	if len(f.applied) != 0 {
		t.Errorf("applied %+v", f.applied)
	}
}

func TestServeDoesNotAllocate(t *testing.T) {
	f := newFixture(t)
	f.Apply = func(*rtb.Event) {}
	var req fasthttp.Request
	req.SetRequestURI("http://bid.example/e/bill?t=" + f.token(7) + "&p=2.5")
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, nil, nil)
	now := time.Unix(1_900_000_000, 0)
	f.Price = func(rtb.ExchangeID, []byte) (rtb.Money, error) { return 1, nil }
	f.Serve(&ctx, now)
	if allocs := testing.AllocsPerRun(100, func() { f.Serve(&ctx, now) }); allocs != 0 {
		t.Errorf("a notice allocates %v times, want 0", allocs)
	}
}
