// Package track answers the notices that exchanges and browsers send after a
// bid: wins, billings, losses, views, clicks and video progress.
package track

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"bidwell/events"
	"bidwell/rtb"
)

// Errors that a Price function tells apart from a price that cannot be read.
var (
	// ErrNoPrice means that the notice names no price: blank, AUDIT, or a macro
	// that the exchange did not expand.
	ErrNoPrice = errors.New("notice without a price")
)

// Parts are what a Handler is made of; all are required.
type Parts struct {
	Sealer *events.Sealer
	Dedup  *events.Dedup

	// Price reads the price macro of an exchange: the price of one impression
	// in the currency of the bid. ErrNoPrice says that there is none.
	Price func(exchange rtb.ExchangeID, macro []byte) (rtb.Money, error)

	// Apply takes each event once, in the order of arrival. It may be called
	// concurrently, and e lives only during the call.
	Apply func(e *rtb.Event)

	// Landing is the address a click on a creative leads to, or "".
	Landing func(creative rtb.CreativeID) string
}

// Handler serves the routes below /e/.
type Handler struct{ Parts }

// New returns a Handler of the given parts.
func New(parts Parts) *Handler { return &Handler{parts} }

// Prefix is the start of all paths that a Handler serves.
const Prefix = "/e/"

// counters counts what became of the notices of one type.
type counters struct{ accepted, repeated, refused *metrics.Counter }

var (
	eventNames = [...]string{
		rtb.EventWin: "win", rtb.EventBill: "bill", rtb.EventLoss: "loss",
		rtb.EventView: "view", rtb.EventClick: "click", rtb.EventVideo: "video",
	}
	notices = func() (c [len(eventNames)]counters) {
		for t := rtb.EventWin; int(t) < len(eventNames); t++ {
			counter := func(result string) *metrics.Counter {
				return metrics.NewCounter(fmt.Sprintf(`bidwell_notices_total{type=%q,result=%q}`, eventNames[t], result))
			}
			c[t] = counters{counter("accepted"), counter("repeated"), counter("refused")}
		}
		return c
	}()
	unreadablePrices = metrics.NewCounter("bidwell_notice_prices_unreadable_total")
)

// scratch is the memory that answering one notice needs.
type scratch struct {
	event rtb.Event
	work  []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{work: make([]byte, 0, 256)} }}

// pixel is the smallest transparent GIF: 43 bytes.
var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// Serve answers one notice: 204, a pixel, a redirect to the landing page of
// the token's own creative, or 400 for a token that does not open. A repeat is
// answered like the first and applied once.
func (h *Handler) Serve(ctx *fasthttp.RequestCtx, now time.Time) {
	if !ctx.IsGet() && !ctx.IsHead() && !ctx.IsPost() {
		ctx.SetStatusCode(fasthttp.StatusMethodNotAllowed)
		return
	}
	t := eventType(ctx.Path()[len(Prefix):])
	if t == 0 {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	count := &notices[t]
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)

	args := ctx.QueryArgs()
	e := &s.event
	if h.Sealer.Open(args.Peek("t"), e, s.work) != nil {
		count.refused.Inc()
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		return
	}
	e.Type, e.Time = t, now
	if t == rtb.EventWin || t == rtb.EventBill || t == rtb.EventView || t == rtb.EventLoss {
		price, err := h.Price(e.Exchange, args.Peek("p"))
		if err != nil && !errors.Is(err, ErrNoPrice) {
			unreadablePrices.Inc()
		}
		e.Price = price
	}
	if h.first(e, args.Peek("v")) {
		count.accepted.Inc()
		h.Apply(e)
	} else {
		count.repeated.Inc()
	}
	h.answer(ctx, e)
}

// first reports whether e has not come before. The quartiles of a video are
// told apart by what the notice calls them.
func (h *Handler) first(e *rtb.Event, quartile []byte) bool {
	t := e.Type
	if t == rtb.EventVideo {
		t += rtb.EventType(quartileOf(quartile)) << 4
	}
	return h.Dedup.First(e.Bid, t)
}

func (h *Handler) answer(ctx *fasthttp.RequestCtx, e *rtb.Event) {
	switch e.Type {
	case rtb.EventClick:
		landing := h.Landing(e.Creative)
		if landing == "" {
			ctx.SetStatusCode(fasthttp.StatusNotFound)
			return
		}
		ctx.Response.Header.Set(fasthttp.HeaderLocation, landing)
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		ctx.SetStatusCode(fasthttp.StatusFound)
	case rtb.EventView, rtb.EventVideo:
		ctx.SetContentType("image/gif")
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		ctx.SetBody(pixel)
	default:
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
}

// eventType is zero for a name that is none.
func eventType(name []byte) rtb.EventType {
	for t := rtb.EventWin; int(t) < len(eventNames); t++ {
		if string(name) == eventNames[t] {
			return t
		}
	}
	return 0
}

var quartiles = [...][]byte{[]byte("start"), []byte("firstQuartile"), []byte("midpoint"), []byte("thirdQuartile"), []byte("complete")}

func quartileOf(name []byte) int {
	for i, q := range quartiles {
		if bytes.Equal(name, q) {
			return i + 1
		}
	}
	return 0
}
