package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// DefaultStart is when simulated time begins unless said otherwise: fixed, so
// that a seed alone decides a run. It is a Monday noon.
var DefaultStart = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// ExchangeConfig sets a run of the market simulator against a bidder.
type ExchangeConfig struct {
	URL       string        // the bidder's public listener, such as "http://localhost:8080"
	Exchanges []string      // names as in POST /bid/{name}; empty means generic
	Rate      float64       // bid requests a second; zero means as fast as answers come
	Auctions  int           // bid requests to send; zero means until Duration or the context ends
	Duration  time.Duration // of the run; zero means no end of its own
	Users     int
	Seed      uint64
	Auction   AuctionKind
	TMax      time.Duration // in every request; zero means each publisher's own
	Grace     time.Duration // how long after tmax to wait for a late answer
	Conns     int           // connections for bid requests, and as many again for notices
	Notices   bool          // call notices, pixels and clicks

	// Start is when simulated time begins, and Step what passes between two
	// auctions. They decide the hour, and so who is online and what
	// impressions cost. Zero means [DefaultStart], and real time at Rate or,
	// without one, a thousand auctions a second.
	Start time.Time
	Step  time.Duration

	Progress io.Writer // one line a second; nil means none
	Log      io.Writer // training log, one JSON line for each impression shown; nil means none
}

// DefaultExchangeConfig returns settings for a bidder on this machine.
func DefaultExchangeConfig() ExchangeConfig {
	return ExchangeConfig{
		URL:     "http://localhost:8080",
		Users:   100_000,
		Seed:    1,
		Auction: AuctionMixed,
		Grace:   time.Second,
		Conns:   16,
		Notices: true,
	}
}

// Validate reports every setting that is wrong, not only the first.
func (c ExchangeConfig) Validate() error {
	var errs []error
	check := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	if _, err := parseEndpoint(c.URL); err != nil {
		errs = append(errs, err)
	}
	for _, name := range c.Exchanges {
		check(name != "" && !strings.ContainsAny(name, "/?# %\r\n\t"), fmt.Sprintf("exchange: %q cannot be a part of a path", name))
	}
	check(c.Rate >= 0 && c.Rate <= 1e6, "rate: must be between 0 and 1,000,000")
	check(c.Auctions >= 0, "auctions: must not be negative")
	check(c.Duration >= 0, "duration: must not be negative")
	check(c.Users >= 1 && c.Users <= 1<<31, "users: must be at least 1")
	check(c.Auction == AuctionFirst || c.Auction == AuctionSecond || c.Auction == AuctionMixed, "auction: want first, second or mixed")
	check(c.TMax >= 0 && c.TMax <= 10*time.Second, "tmax: must be between 0 and 10s")
	check(c.Grace >= 0 && c.Grace <= 30*time.Second, "grace: must be between 0 and 30s")
	check(c.Conns >= 1 && c.Conns <= 10_000, "conns: must be between 1 and 10,000")
	check(c.Step >= 0, "step: must not be negative")
	return errors.Join(errs...)
}

// shownShare of the impressions won are shown; for the others the page was
// left in time, so nothing is billed.
const shownShare = .98

// view is what happens to an impression that was won.
type view struct {
	won                       *contender
	shown, clicked, converted bool
	quartiles                 int
}

// RunExchange plays the exchanges of a market towards one bidder. Whom a
// request is about, what others bid and who clicks depend on the seed alone, so
// two runs differ only where the bidder's answers do. It ends when the
// auctions, the duration or ctx do, and sends the notices of what it began;
// the end of ctx is not an error.
func RunExchange(ctx context.Context, cfg ExchangeConfig) (*Scorecard, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	base, err := parseEndpoint(strings.TrimRight(cfg.URL, "/"))
	if err != nil {
		return nil, err
	}
	probe := newWire(base)
	err = probe.dial(time.Now().Add(5 * time.Second))
	probe.close()
	if err != nil {
		return nil, fmt.Errorf("connect to the bidder: %w", err)
	}
	x := newExchangeRun(cfg, base)

	parent := ctx
	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	x.began = time.Now()
	progress := x.startProgress()
	var group sync.WaitGroup
	for range cfg.Conns {
		group.Go(func() {
			if err := x.connection(ctx, parent); err != nil {
				stop(err)
			}
		})
	}
	group.Wait()
	took := time.Since(x.began)
	if x.notices != nil {
		x.notices.finish()
	}
	progress()
	if x.log != nil {
		if err := x.log.flush(); err != nil {
			return nil, err
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return nil, cause
	}
	return x.tally.finish(took), nil
}

// exchangeRun is what the connections of a run share.
type exchangeRun struct {
	cfg     ExchangeConfig
	traffic *Traffic
	market  *Market
	targets map[string]endpoint // by exchange
	tally   *tally
	notices *notifier // nil when none are sent
	log     *sequence // nil without a log
	next    atomic.Int64
	began   time.Time
}

func newExchangeRun(cfg ExchangeConfig, base endpoint) *exchangeRun {
	x := &exchangeRun{
		cfg:     cfg,
		traffic: NewTraffic(TrafficConfig{Seed: cfg.Seed, Users: cfg.Users, Exchanges: cfg.Exchanges, Auction: cfg.Auction, TMax: cfg.TMax}),
		market:  NewMarket(cfg.Seed),
		targets: map[string]endpoint{},
		tally:   newTally(cfg.Seed),
	}
	if x.cfg.Start.IsZero() {
		x.cfg.Start = DefaultStart
	}
	if x.cfg.Step == 0 {
		x.cfg.Step = time.Millisecond
		if cfg.Rate > 0 {
			x.cfg.Step = time.Duration(float64(time.Second) / cfg.Rate)
		}
	}
	prefix := strings.TrimRight(base.path, "/")
	for _, name := range x.traffic.exchanges {
		target := base
		target.path = prefix + "/bid/" + name
		x.targets[name] = target
	}
	if cfg.Notices {
		x.notices = newNotifier(base, prefix, cfg.Conns, x.tally.notice)
	}
	if cfg.Log != nil {
		x.log = newSequence(cfg.Log)
	}
	return x
}

// startProgress prints until the function it returns is called.
func (x *exchangeRun) startProgress() (stop func()) {
	if x.cfg.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		var last moment
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				now := x.tally.moment()
				printProgress(x.cfg.Progress, time.Since(x.began), last, now)
				last = now
			}
		}
	})
	return func() {
		close(done)
		group.Wait()
	}
}

// connection sends one bid request at a time until the run ends. told is the
// context that notices follow: they outlast the duration of the run.
func (x *exchangeRun) connection(ctx, told context.Context) error {
	c := exchangeConn{run: x, told: told, wire: newWire(endpoint{})}
	defer c.wire.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		i := int(x.next.Add(1) - 1)
		if x.cfg.Auctions > 0 && i >= x.cfg.Auctions {
			return nil
		}
		if x.cfg.Rate > 0 {
			due := x.began.Add(time.Duration(float64(i) / x.cfg.Rate * float64(time.Second)))
			if !sleepUntil(ctx, timer, due) {
				return nil
			}
		}
		if err := c.auction(i); err != nil {
			return err
		}
		if c.out.problem == "connect" && !sleepUntil(ctx, timer, time.Now().Add(100*time.Millisecond)) {
			return nil
		}
	}
	return nil
}

// sleepUntil is false when ctx ended first.
func sleepUntil(ctx context.Context, timer *time.Timer, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// exchangeConn is one connection with its reused memory.
type exchangeConn struct {
	run     *exchangeRun
	told    context.Context
	wire    *wire
	offer   Offer
	request []byte
	answer  bidAnswer
	out     outcome
	log     []byte
}

// auction plays one auction from the request to the notices.
func (c *exchangeConn) auction(i int) error {
	x := c.run
	o := &c.offer
	x.traffic.Offer(i, x.cfg.Start.Add(time.Duration(i)*x.cfg.Step), o)
	c.out = outcome{offer: o, contenders: c.out.contenders[:0], views: c.out.views[:0]}
	c.ask()
	if c.out.problem == "" && !c.out.late {
		for i := range o.Slots {
			s := &o.Slots[i]
			if won := x.market.auction(o, s, c.out.contenders); won != nil {
				c.out.views = append(c.out.views, x.market.show(o, won))
			}
		}
	}
	x.tally.add(&c.out)
	if x.notices != nil {
		c.tellFates()
	}
	if x.log == nil {
		return nil
	}
	c.log = c.log[:0]
	for i := range c.out.views {
		if v := &c.out.views[i]; v.shown {
			c.log = appendExample(c.log, o, v.won.slot, &v.won.ad, v.won.clearing, v.clicked, v.converted)
		}
	}
	return x.log.put(i, c.log)
}

var errWrongID = errors.New("the answer has another id than the request")

// ask sends the request and reads the answer into c.out.
func (c *exchangeConn) ask() {
	o := &c.offer
	target := c.run.targets[o.Exchange]
	c.wire.to = target
	c.request = target.appendRequest(c.request[:0], o.Body, plain)
	sent := time.Now()
	reply, err := c.wire.do(c.request, sent.Add(o.TMax+c.run.cfg.Grace))
	c.out.latency = time.Since(sent)
	if err != nil {
		c.out.problem = problemOf(err)
		return
	}
	switch {
	case reply.status == 204:
	case reply.status != 200:
		c.out.problem = fmt.Sprintf("status-%d", reply.status)
		return
	default:
		if err := readAnswer(o, reply.body, &c.answer); errors.Is(err, errWrongID) {
			c.out.problem = "wrong-id"
			return
		} else if err != nil {
			c.out.problem = "bad-answer"
			return
		}
	}
	if c.out.late = c.out.latency > o.TMax; c.out.late || reply.status == 204 {
		return
	}
	for i := range c.answer.SeatBid {
		seat := &c.answer.SeatBid[i]
		for j := range seat.Bid {
			c.out.contenders = append(c.out.contenders, admit(o, &seat.Bid[j], seat.Seat, c.answer.Cur))
		}
	}
}

// problemOf names a failure of the transport.
func problemOf(err error) string {
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return "connect"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errDropped):
		return "dropped"
	}
	return "transport"
}

// react draws from the hidden truth whether an impression is clicked and
// whether the click leads to a purchase.
func (m *Market) react(o *Offer, s *Slot, ad *Ad) (clicked, converted bool) {
	d := dice(scramble(m.seed^0x636c_6963_6b, s.seed))
	clicked = d.chance(m.Click(o, s, ad))
	return clicked, clicked && d.chance(m.Conversion(o, ad))
}

// show draws what a person does with an impression.
func (m *Market) show(o *Offer, won *contender) view {
	v := view{won: won}
	d := dice(scramble(m.seed^0x7368_6f77, won.slot.seed))
	if v.shown = d.chance(shownShare); !v.shown {
		return v
	}
	v.clicked, v.converted = m.react(o, won.slot, &won.ad)
	if won.ad.Media == rtb.Video || won.ad.Media == rtb.Audio {
		for v.quartiles = 1; v.quartiles < 5 && d.chance(.87); {
			v.quartiles++
		}
	}
	return v
}

// tellFates queues the notices of every bid.
func (c *exchangeConn) tellFates() {
	o := &c.offer
	for i := range c.out.contenders {
		b := &c.out.contenders[i]
		f := fate{media: b.ad.Media, macros: Macros{
			AuctionID: string(o.ID[:]), BidID: b.bid.ID, ImpID: b.bid.ImpID, SeatID: b.seat, AdID: b.bid.AdID,
			Currency: currencyOfAuction, Loss: b.loss, GDPR: o.privacy.gdpr,
		}}
		if f.macros.GDPR {
			if f.macros.Consent = consentNone; o.privacy.consent {
				f.macros.Consent = consentAll
			}
		}
		if b.loss != lossNone {
			if b.bid.LURL == "" {
				continue
			}
			f.loss, f.macros.MinToWin = b.bid.LURL, b.minToWin
		} else {
			f.win, f.macros.Price = b.bid.NURL, b.clearing
			for j := range c.out.views {
				if v := &c.out.views[j]; v.won == b && v.shown {
					f.macros.ImpTime = o.Time
					f.bill, f.markup = b.bid.BURL, f.macros.Expand(b.adm)
					f.clicked, f.quartiles = v.clicked, v.quartiles
				}
			}
		}
		c.run.notices.tell(c.told, f)
	}
}
