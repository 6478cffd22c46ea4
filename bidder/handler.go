package bidder

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"bidwell/bidder/openrtb"
	"bidwell/rtb"
)

var (
	bidPrefix      = []byte("/bid/")
	gzipName       = []byte("gzip")
	jsonType       = []byte("application/json")
	versionHeader  = []byte("X-Openrtb-Version")
	contentEncName = []byte(fasthttp.HeaderContentEncoding)
)

// serveBid answers one bid request. A request without a bid gets 204 and an
// empty body, which every exchange accepts.
func (b *Bidder) serveBid(ctx *fasthttp.RequestCtx, arrived time.Time) {
	dir := b.directory.Load()
	ex := dir.Lookup(ctx.Path()[len(bidPrefix):])
	if ex == nil {
		noBids[rtb.UnknownExchange].Inc()
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	if !ctx.IsPost() {
		ctx.SetStatusCode(fasthttp.StatusMethodNotAllowed)
		return
	}
	count := dir.counters[ex.ID]
	count.requests.Inc()
	if !ex.Admits(ctx.Request.Header.Peek(ex.Header)) {
		count.bad.Inc()
		ctx.SetStatusCode(fasthttp.StatusUnauthorized)
		return
	}
	if !dir.limiters[ex.ID].allow(arrived, ex.MaxQPS) || b.shedder.shed(rand.Uint64()) {
		count.shed.Inc()
		noBids[rtb.Overload].Inc()
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		return
	}

	s := scratches.Get().(*scratch)
	s.reset()
	s.exchange, s.arrived, s.now = ex, arrived, b.Clock.of(ctx, arrived)
	b.answer(ctx, s, count)
	scratches.Put(s) // not deferred: after a panic the scratch is not to be trusted
}

// answer reads the request of ctx into s, decides, and writes the answer.
func (b *Bidder) answer(ctx *fasthttp.RequestCtx, s *scratch, count *exchangeCounters) {
	body, status := b.body(ctx, s)
	if status == fasthttp.StatusOK && openrtb.Decode(body, &s.request) != nil {
		status = fasthttp.StatusBadRequest
	}
	if status != fasthttp.StatusOK {
		count.bad.Inc()
		noBids[rtb.InvalidRequest].Inc()
		ctx.SetStatusCode(status)
		return
	}

	s.deadline = b.deadline(s)
	b.bid(s)
	if len(s.response.Bids) > 0 {
		s.body = openrtb.AppendResponse(s.body[:0], &s.response, &s.exchange.Form)
		if limit := s.exchange.MaxResponse; limit > 0 && len(s.body) > limit {
			b.withdraw(s, rtb.AnswerTooLarge)
		}
	}
	end := time.Now()
	if len(s.response.Bids) > 0 && end.After(s.deadline) {
		b.withdraw(s, rtb.TooLate)
	}

	if len(s.response.Bids) > 0 {
		count.bids.Add(len(s.response.Bids))
		b.send(ctx, s)
	} else {
		noBids[s.response.Reason].Inc()
		b.decline(ctx, s)
	}
	bidDuration.observe(end.Sub(s.arrived))
}

// deadline is when the answer must be ready: the request's tmax, or that of
// the profile, less the time the answer needs on the way back.
func (b *Bidder) deadline(s *scratch) time.Time {
	if s.request.TMax <= 0 && s.exchange.TMax <= 0 {
		return s.arrived.Add(b.cfg.MaxWait)
	}
	return s.arrived.Add(s.exchange.Wait(s.request.TMax))
}

// body is the request's body, inflated if need be.
func (b *Bidder) body(ctx *fasthttp.RequestCtx, s *scratch) ([]byte, int) {
	body := ctx.Request.Body()
	encoding := ctx.Request.Header.PeekBytes(contentEncName)
	switch {
	case len(encoding) == 0 || string(encoding) == "identity":
		return body, fasthttp.StatusOK
	case bytes.EqualFold(encoding, gzipName):
		plain, err := inflate(s.plain[:0], body, b.cfg.MaxBody)
		s.plain = plain
		if err == errInflatedTooLarge {
			return nil, fasthttp.StatusRequestEntityTooLarge
		}
		if err != nil {
			return nil, fasthttp.StatusBadRequest
		}
		return plain, fasthttp.StatusOK
	}
	return nil, fasthttp.StatusUnsupportedMediaType
}

// send writes a 200 with the answer in s.body.
func (b *Bidder) send(ctx *fasthttp.RequestCtx, s *scratch) {
	ctx.Response.Header.SetContentTypeBytes(jsonType)
	if s.exchange.Version != "" {
		ctx.Response.Header.SetBytesK(versionHeader, s.exchange.Version)
	}
	if s.exchange.Gzip && ctx.Request.Header.HasAcceptEncodingBytes(gzipName) {
		ctx.Response.Header.SetContentEncodingBytes(gzipName)
		ctx.Response.SetBodyRaw(nil)
		deflate(ctx.Response.BodyWriter(), s.body)
		return
	}
	s.body = ctx.Response.SwapBody(s.body) // takes the buffer of an earlier answer in exchange
}

// decline writes a no-bid: 204, or the reason where the exchange wants it.
func (b *Bidder) decline(ctx *fasthttp.RequestCtx, s *scratch) {
	if !s.exchange.ReasonCodes {
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		return
	}
	s.body = openrtb.AppendNoBid(s.body[:0], s.request.ID, s.response.Reason)
	ctx.Response.Header.SetContentTypeBytes(jsonType)
	ctx.SetBody(s.body)
}
