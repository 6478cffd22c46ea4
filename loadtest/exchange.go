package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
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
	NoFloors  bool          // leave out the floors
	NoDeals   bool          // leave out the deals
	TMax      time.Duration // in every request; zero means each publisher's own
	Grace     time.Duration // how long after tmax to wait for a late answer
	Conns     int           // connections for bid requests

	Notices     bool // call notices, pixels and clicks
	NoticeConns int  // connections for them
	Fates       NoticeFates
	MinToWin    float64    // share of the exchanges that tell what would have been enough to win, the first of the list
	PriceKeys   *PriceKeys // encrypt the price macro, of one exchange or of all; nil means it is plain

	// Start is when simulated time begins, and Step what passes between two
	// auctions. They decide the hour, and so who is online and what
	// impressions cost. Zero means [DefaultStart], and real time at Rate or,
	// without one, a thousand auctions a second. Span instead of Step is what
	// all Auctions together take.
	Start      time.Time
	Step, Span time.Duration

	// SimulatedTime tells the bidder the simulated time with every request, in
	// the header X-Bidwell-Time, so that its days pass as fast as auctions are
	// played. Speed instead plays them so that this many simulated seconds
	// pass in a real one. With either, auctions are as frequent as people are
	// awake, and Step is the mean.
	SimulatedTime bool
	Speed         float64

	// Admin is the bidder's admin API, such as "http://127.0.0.1:8081": its
	// books are held against the truth. Empty means none. Settle is how long to
	// wait at the end for the books to be complete.
	Admin  string
	Settle time.Duration

	// Surplus compares what the bidder makes with what could be made, and what
	// its bids say of clicks with the truth. All of its line items must be open
	// to all traffic.
	Surplus bool

	// Watch is told of each auction before it is held; it may be called
	// concurrently. Nil means nobody is.
	Watch func(auction int, now time.Time)

	// Restarted is when the bidder was last started anew, if ever: it cannot know
	// of bids that it made before. Nil means it is never.
	Restarted func() time.Time

	Profile  io.Writer // share of the auctions in each quarter of an hour of the day; nil means none
	Progress io.Writer // one line a second; nil means none
	Log      io.Writer // training log, one JSON line for each impression shown; nil means none
}

// DefaultExchangeConfig returns settings for a bidder on this machine.
func DefaultExchangeConfig() ExchangeConfig {
	return ExchangeConfig{
		URL:         "http://localhost:8080",
		Users:       100_000,
		Seed:        1,
		Auction:     AuctionMixed,
		Grace:       time.Second,
		Conns:       16,
		Notices:     true,
		NoticeConns: 64,
		MinToWin:    1,
		Fates:       DefaultNoticeFates(),
		Settle:      30 * time.Second,
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
	check(!c.Notices || c.NoticeConns >= 1 && c.NoticeConns <= 10_000, "notice-conns: must be between 1 and 10,000")
	check(c.Step >= 0, "step: must not be negative")
	check(c.Span >= 0, "span: must not be negative")
	check(c.Span == 0 || c.Auctions > 0, "span: needs a number of auctions")
	check(c.Span == 0 || c.Step == 0, "span: the step follows from it, so only one of them may be given")
	check(c.Speed >= 0 && c.Speed <= 1e6, "speed: must be between 0 and 1,000,000")
	check(c.Speed == 0 || !c.SimulatedTime, "speed: has no meaning when the bidder follows the simulated time")
	check(c.Speed == 0 || c.Rate == 0, "speed: the rate follows from it, so only one of them may be given")
	check(c.Admin == "" || c.Notices, "admin: without notices there are no books to compare")
	check(!c.Surplus || c.Admin != "", "surplus: needs the admin API, to know what could be shown")
	check(!c.Surplus || c.Auctions > 0, "surplus: needs a number of auctions, for the thirds of the run")
	check(c.MinToWin >= 0 && c.MinToWin <= 1, "min-to-win: must be a share between 0 and 1")
	check(c.Settle >= 0, "settle: must not be negative")
	errs = append(errs, c.Fates.Validate())
	return errors.Join(errs...)
}

func (c *ExchangeConfig) traffic() TrafficConfig {
	return TrafficConfig{
		Seed: c.Seed, Users: c.Users, Exchanges: c.Exchanges, Auction: c.Auction, TMax: c.TMax, NoFloors: c.NoFloors, NoDeals: c.NoDeals,
	}
}

// RunExchange plays the exchanges of a market towards one bidder. Whom a
// request is about, what others bid, who clicks and what becomes of notices on
// their way depend on the seed alone, so two runs differ only where the
// bidder's answers do. It ends when the auctions, the duration or ctx do, and
// sends the notices of what it began; the end of ctx is not an error.
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
	if cfg.Admin != "" {
		if err := x.readAdmin(ctx); err != nil {
			return nil, err
		}
		defer x.admin.close()
	}

	told := ctx
	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	x.began = time.Now()
	if x.admin != nil {
		if err := x.startWatch(told); err != nil {
			return nil, err
		}
	}
	x.startNotices(told)
	progress := x.startProgress()
	var group sync.WaitGroup
	for range cfg.Conns {
		group.Go(func() {
			if err := x.connection(ctx); err != nil {
				stop(err)
			}
		})
	}
	group.Wait()
	took := time.Since(x.began)
	if x.watch != nil {
		x.watch.finish(told)
	}
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
	if cfg.Profile != nil {
		if err := writeProfile(cfg.Profile, &x.quarters); err != nil {
			return nil, err
		}
	}
	return x.score(told, took)
}

// exchangeRun is what the connections of a run share.
type exchangeRun struct {
	cfg      ExchangeConfig
	base     endpoint
	traffic  *Traffic
	market   *Market
	timeline timeline
	targets  map[string]endpoint // by exchange
	// By exchange: whether notices say what would have been enough to win.
	tellsLeast map[string]bool
	tally      *tally
	books      *books
	people     *people
	oracle     *oracle
	surplus    *surplus // nil unless asked for
	templates  *templates
	notices    *notifier             // nil when none are sent
	log        *sequence             // nil without a log
	admin      *adminAPI             // nil without one
	watch      *watch                // nil without admin
	billing    map[string]NoticeKind // by exchange, where a document says so
	next       atomic.Int64
	quarters   [96]atomic.Int64 // auctions by quarter of an hour of the day, UTC
	began      time.Time
}

func newExchangeRun(cfg ExchangeConfig, base endpoint) *exchangeRun {
	if cfg.Start.IsZero() {
		cfg.Start = DefaultStart
	}
	if cfg.Step == 0 {
		cfg.Step = time.Millisecond
		if cfg.Rate > 0 {
			cfg.Step = time.Duration(float64(time.Second) / cfg.Rate)
		}
	}
	x := &exchangeRun{
		cfg:        cfg,
		base:       base,
		books:      newBooks(nil),
		people:     newPeople(nil, nil),
		oracle:     newOracle(cfg.Seed),
		templates:  newTemplates(),
		traffic:    NewTraffic(cfg.traffic()),
		market:     NewMarket(cfg.Seed),
		timeline:   newTimeline(cfg.Start, cfg.Step, cfg.Span, cfg.Auctions, cfg.SimulatedTime || cfg.Speed > 0),
		targets:    map[string]endpoint{},
		tellsLeast: map[string]bool{},
		tally:      newTally(cfg.Seed),
	}
	prefix := strings.TrimRight(base.path, "/")
	for i, name := range x.traffic.exchanges {
		x.tellsLeast[name] = i < int(math.Round(cfg.MinToWin*float64(len(x.traffic.exchanges))))
		target := base
		target.path = prefix + "/bid/" + name
		x.targets[name] = target
	}
	if cfg.Log != nil {
		x.log = newSequence(cfg.Log)
	}
	return x
}

// connection sends one bid request at a time until the run ends.
func (x *exchangeRun) connection(ctx context.Context) error {
	c := exchangeConn{run: x, wire: newWire(endpoint{})}
	defer c.wire.close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		i := int(x.next.Add(1) - 1)
		if x.cfg.Auctions > 0 && i >= x.cfg.Auctions {
			return nil
		}
		now := x.timeline.at(i)
		if x.cfg.Watch != nil {
			x.cfg.Watch(i, now)
		}
		due := x.began
		switch {
		case x.cfg.Rate > 0:
			due = due.Add(time.Duration(float64(i) / x.cfg.Rate * float64(time.Second)))
		case x.cfg.Speed > 0:
			due = due.Add(time.Duration(float64(now.Sub(x.cfg.Start)) / x.cfg.Speed))
		}
		if !sleepUntil(ctx, timer, due) {
			return nil
		}
		if err := c.auction(i, now); err != nil {
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

// appendTime appends the header that tells a bidder the simulated time.
func appendTime(dst []byte, now time.Time) []byte {
	dst = append(dst, "X-Bidwell-Time: "...)
	dst = strconv.AppendInt(dst, now.UnixMilli(), 10)
	return append(dst, "\r\n"...)
}
