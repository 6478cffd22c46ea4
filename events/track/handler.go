// Package track answers the notices that exchanges, browsers and advertisers'
// servers send after a bid: wins, billings, losses, views, clicks, the progress
// of videos and conversions.
//
// A notice opens the token of its own class, is judged by its age, priced, and
// written to the log; it is answered when that is durable.
package track

import (
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"bidwell/events"
	"bidwell/rtb"
)

// Parts are what a Handler is made of; all are required.
type Parts struct {
	Keys    *events.Keyring
	Repeats *events.Dedup // of what is durable: it need not be written again

	// Price reads the price macro of an exchange: the price of one impression
	// in the currency of the bid. It may fail with one of the errors of this
	// package; any other means that the price cannot be read, and then it is
	// rtb.UnreadablePrice.
	Price func(exchange rtb.ExchangeID, macro []byte) (rtb.Money, error)

	// Bill sets e.Billing and e.Charge, by the rest of e.
	Bill func(e *rtb.Event)

	// Write puts e into the log and returns when it is durable there, or with
	// an error, at the latest at the deadline, which is in real time. Then e may
	// be in the log all the same: the ledger knows repeats exactly. It may be
	// called concurrently, and e is the caller's again when it returns.
	Write func(e *rtb.Event, deadline time.Time) error

	// Landing is where a click leads to, nil for nowhere. Whoever clicks can
	// write anything into click.Product: it may choose among the landing pages
	// of the token's own creative, and no others. Landing also fills in what
	// click says of campaign, line item, creative and exchange.
	Landing func(e *rtb.Event, click *rtb.Click) *rtb.Landing
}

// Handler serves the routes below /e/.
type Handler struct{ Parts }

// New returns a Handler of the given parts.
func New(parts Parts) *Handler { return &Handler{parts} }

// Prefix is the start of all paths that a Handler serves.
const Prefix = "/e/"

const (
	// maxAhead is how far the clock of the bidder that made a bid may be ahead.
	maxAhead = 10 * time.Minute

	// maxWait is how long a notice waits for the log, and maxClickWait how long
	// somebody who clicked does.
	maxWait      = time.Second
	maxClickWait = 300 * time.Millisecond
)

// classes are the classes of token that the notices of each type come with.
var classes = [rtb.EventTypeCount]events.Class{
	rtb.EventWin: events.Server, rtb.EventBill: events.Server, rtb.EventLoss: events.Server,
	rtb.EventView: events.View, rtb.EventViewable: events.Browser,
	rtb.EventClick: events.Browser, rtb.EventVideo: events.Browser,
	rtb.EventConversion: events.Conversion,
}

// scratch is the memory that answering one notice needs.
type scratch struct {
	event    rtb.Event
	click    rtb.Click
	work     []byte
	location []byte

	memory [1792]byte // of work, click.ID and location, unless they grow
}

var scratches = sync.Pool{New: func() any {
	s := &scratch{}
	s.work, s.click.ID, s.location = s.memory[0:0:512], s.memory[512:512:768], s.memory[768:768]
	return s
}}

// pixel is the smallest transparent GIF: 43 bytes.
var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// Serve answers one notice that came at now: 204, a pixel, or a redirect to
// the landing page of the token's own creative. A repeat is answered like the
// first. 429 asks to come again, because the log did not take it in time. 400
// says that the token does not count, or what else is wrong.
//
// A click leads somewhere whenever its token is genuine, for somebody is
// waiting. But one that comes too late counts nothing, nor does one that the
// log did not take.
func (h *Handler) Serve(ctx *fasthttp.RequestCtx, now time.Time) {
	if !ctx.IsGet() && !ctx.IsHead() && !ctx.IsPost() {
		ctx.SetStatusCode(fasthttp.StatusMethodNotAllowed)
		return
	}
	args := ctx.QueryArgs()
	t := typeOf(ctx.Path()[len(Prefix):], args)
	if t == 0 {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	if t == rtb.EventConversion && ctx.IsPost() && !args.Has("t") {
		args = ctx.PostArgs()
	}
	s := scratches.Get().(*scratch)
	became := h.take(s, t, args, ctx.Time(), now)
	notices[t][became].Inc()
	h.answer(ctx, s, t, became)
	scratches.Put(s) // not deferred: after a panic the scratch is not to be trusted
}

// typeOf is zero for a path that is none of ours.
func typeOf(name []byte, args *fasthttp.Args) rtb.EventType {
	switch string(name) {
	case "view":
		if string(args.Peek("v")) == "viewable" {
			return rtb.EventViewable
		}
		return rtb.EventView
	case "win":
		return rtb.EventWin
	case "bill":
		return rtb.EventBill
	case "loss":
		return rtb.EventLoss
	case "click":
		return rtb.EventClick
	case "video":
		return rtb.EventVideo
	case "conversion":
		return rtb.EventConversion
	}
	return 0
}

// take makes an event of a notice and has it written. arrived is now in real
// time.
func (h *Handler) take(s *scratch, t rtb.EventType, args *fasthttp.Args, arrived, now time.Time) result {
	e := &s.event
	switch h.Keys.Open(args.Peek("t"), classes[t], e, s.work) {
	case nil:
	case events.ErrUnknownKey:
		return unknownKey
	case events.ErrForged:
		return forged
	case events.ErrWrongClass:
		return wrongClass
	default:
		return malformed
	}
	e.Type, e.Time = t, now
	switch age := now.Sub(e.Made); {
	case age > classes[t].Life():
		return expired
	case age < -maxAhead:
		return premature
	}
	if became := h.read(e, args); became != accepted {
		return became
	}

	what := mark(e)
	if h.Repeats.Seen(e.Bid, what) {
		return repeated
	}
	wait := maxWait
	if t == rtb.EventClick {
		wait = maxClickWait
	}
	if h.Write(e, arrived.Add(wait)) != nil {
		return unwritten
	}
	h.Repeats.First(e.Bid, what) // not before: a repeat of what is lost must be written
	return accepted
}

// mark tells apart what is no repeat of each other: a notice that comes back
// with a price says more than one without.
func mark(e *rtb.Event) uint8 {
	what := uint8(e.Type) | e.Part<<4
	if e.Price != 0 || e.Value != 0 {
		what |= 1 << 7
	}
	return what
}

func (h *Handler) answer(ctx *fasthttp.RequestCtx, s *scratch, t rtb.EventType, became result) {
	genuine := became <= lastGenuine
	switch {
	case t == rtb.EventClick && genuine:
		h.redirect(ctx, s, became)
	case became == unwritten:
		ctx.SetStatusCode(fasthttp.StatusTooManyRequests)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	case became > lastGood:
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		ctx.SetContentType("text/plain")
		ctx.SetBodyString(reasons[became])
	case t == rtb.EventWin || t == rtb.EventBill || t == rtb.EventLoss:
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	default:
		ctx.SetContentType("image/gif")
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		ctx.SetBody(pixel)
	}
}

// redirect leads to the landing page that the creative, or the product that
// was shown, had when it was loaded, whatever else the request says.
func (h *Handler) redirect(ctx *fasthttp.RequestCtx, s *scratch, became result) {
	click := &s.click
	*click = rtb.Click{ID: click.ID[:0], Bid: s.event.Bid, CacheBuster: uint64(ctx.Time().UnixNano()), Product: ctx.QueryArgs().Peek("i")}
	landing := h.Landing(&s.event, click)
	click.Product = nil // it is the request's
	if landing == nil {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	if became != expired && became != premature {
		click.ID = h.Keys.AppendToken(click.ID, events.Conversion, &s.event)
	}
	s.location = landing.Append(s.location[:0], click)
	ctx.Response.Header.SetBytesV(fasthttp.HeaderLocation, s.location)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.SetStatusCode(fasthttp.StatusFound)
}
