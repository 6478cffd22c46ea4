package loadtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"bidwell/models"
	"bidwell/pacing"
	"bidwell/rtb"
)

// Replay runs a log of auctions through the pacing and pricing of the bidder:
// one line item with one budget for all of it, and one bidder or several that
// share the budget by leases.
type Replay struct {
	Log     *AuctionLog
	Budget  float64 // in the unit of the prices
	Auction AuctionKind
	Pacing  string // even, asap or ahead; empty: even

	// Value is what a click is worth, and no bid is more than its part of that.
	// Without one a bid may be as high as the budget lets it: then the worth is
	// a hundred times what the first rows suggest.
	Value  float64
	MaxCPC float64 // what a click may cost on average, clicks as predicted; zero for no cap

	Forecast   float64   // auctions expected; zero when unknown
	Profile    []float64 // shares of them in equal stretches of the log's time; empty when unknown
	Multiplier float64   // to begin with, relative to the worth, or to what the first rows suggest; zero: 1
	Delay      time.Duration
	Hold       time.Duration // how long a bid holds its price; zero: the bidder's default, or as long as Late takes
	Seed       uint64

	// Of first-price auctions.
	Unshaded bool    // bid all that an impression is worth
	Feedback string  // FeedbackPrice or FeedbackWinLoss; empty: price
	Control  float64 // part of the bids that is not shaded

	Bidders int     // each row goes to one of them by chance; zero: one
	Late    int     // a win or a loss is told so many auctions later, as well as after Delay
	Losses  string  // told or never; empty: told
	Drop    float64 // after that part of the rows the first bidder is gone, with its lease; zero: never

	Progress func(done int) // told now and then how many auctions are over; nil for none
}

// ReplaySlots is into how many stretches the time of a log is divided to
// compare spend with its plan.
const ReplaySlots = 96

const replaySlot = 15 * time.Minute

// The pacer takes bids up to 2^43 and sums to 2^60.
const highestBid, highestSum = 1 << 42, 1 << 57

// waiting is a bid whose outcome the pacer has not been told.
type waiting struct {
	due       int64
	row       int // after which it is told
	bidder    *replayBidder
	bid, paid rtb.Money
	made      time.Time
	won       bool
	pctr      float64
	at        int // row
	outcome   models.Outcome
}

// replayBidder is one of those that share the budget.
type replayBidder struct {
	*pacing.Pacer
	bids int
}

// replaying is a replay under way.
type replaying struct {
	*Replay
	scale   float64 // money for one unit of the log
	bidders []replayBidder
	alive   []replayBidder // those that are not gone
	books   *pacing.Memory
	ledger  *pacing.Ledger
	told    uint64
	row     int
	now     time.Time
	item    rtb.LineItem
	queue   []waiting
	spent   rtb.Money
	slots   [ReplaySlots]rtb.Money // spent by the end of each
	shading *shading               // nil where bids are not shaded
	kinds   map[string]int
	result  ReplayResult
}

// Run replays the log.
func (r *Replay) Run(ctx context.Context) (*ReplayResult, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	run := replaying{Replay: r, kinds: map[string]int{}}
	if err := run.prepare(); err != nil {
		return nil, err
	}
	if err := run.play(ctx); err != nil {
		return nil, err
	}
	if err := run.score(ctx); err != nil {
		return nil, err
	}
	run.result.Seconds = time.Since(start).Seconds()
	return &run.result, nil
}

// prepare assigns the line item to a new pacer.
func (r *replaying) prepare() error {
	l := r.Log
	dearest := 0.0
	for i := range l.Len() {
		dearest = max(dearest, l.cost(i))
	}
	// As fine as the pacer can count.
	r.scale = 1e9
	for r.scale > 1 && (r.Budget*r.scale > highestSum || 16*dearest*r.scale > highestBid) {
		r.scale /= 10
	}
	if r.Budget*r.scale > highestSum || dearest*r.scale > highestBid {
		return fmt.Errorf("budget: %v is too much, or the highest price, %v", r.Budget, dearest)
	}
	from, until := l.period()
	r.result.From, r.result.Until = from, until

	worth, multiplier := r.Value, cmp.Or(r.Multiplier, 1)
	if worth == 0 {
		const room = 100
		worth, multiplier = room*r.reference(), multiplier/room
	}
	r.result.Worth = worth
	value := worth * r.scale
	if value > highestSum {
		return fmt.Errorf("value: %v is too much", worth)
	}
	// A value may be far above all prices, as long as the multiplier is low. But
	// what bids hold is in the way of a plan, and of those who share a budget.
	most := rtb.Money(highestBid)
	if len(r.Profile) == 0 {
		most = highestSum
	}
	r.item = rtb.LineItem{
		ID: 1, Key: "replay", Location: time.UTC, Pacing: pacings[r.Pacing],
		Flight: rtb.Flight{Start: from, End: until},
		Goal:   rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Money(value), Max: most, MaxCPC: rtb.Money(r.MaxCPC * r.scale)},
		Budgets: []rtb.Budget{{
			Account: rtb.LineItemAccount(1, rtb.OfMoney), Total: rtb.Money(r.Budget * r.scale),
		}},
	}
	if err := r.prepareShading(); err != nil {
		return err
	}
	r.books = pacing.NewMemory()
	r.ledger = pacing.NewLedger(r.books, func(price rtb.Money, _ rtb.Currency) rtb.Money { return price }, func(e *rtb.Event, seen pacing.Kinds) {
		for i := range r.bidders {
			r.bidders[i].Apply(e, seen, r.now)
		}
	})
	hold, err := r.hold()
	if err != nil {
		return err
	}
	r.result.HoldSeconds = hold.Seconds()
	// Without a profile nobody knows what share of the traffic comes when, but
	// for rows that have got their times from us.
	shares, follow := r.Profile, len(r.Profile) == 0
	if follow && l.Timeless {
		shares = []float64{1}
	}
	r.bidders = make([]replayBidder, max(1, r.Bidders))
	r.alive = r.bidders
	for i := range r.bidders {
		p := pacing.NewPacer(uint32(i+1), from)
		r.bidders[i].Pacer = p
		if err := p.SilenceFor(7 * 24 * time.Hour); err != nil { // a log that is quiet is no fault
			return err
		}
		if err := p.HoldFor(hold, from); err != nil {
			return err
		}
		items := []rtb.LineItem{r.item}
		p.Assign(items, from)
		r.item.Slot = items[0].Slot
		if err := p.Lease(context.Background(), r.books, from); err != nil {
			return err
		}
		if err := p.Forecast(r.item.Budgets[0].Account, pacing.Forecast{
			From: from, Until: until, Opportunities: r.Forecast, Shares: shares, Multiplier: min(1, multiplier),
			Stream: follow,
		}); err != nil {
			return err
		}
	}
	return nil
}

// play holds the auctions, row by row, and steps the pacer each second.
func (r *replaying) play(ctx context.Context) error {
	l, slot := r.Log, r.item.Slot
	coins, dealer := rand.New(rand.NewPCG(r.Seed, 0x7265706c6179)), rand.New(rand.NewPCG(r.Seed, 0x6465616c6572))
	drop := int(math.Ceil(r.Drop * float64(l.Len())))
	from, until := r.result.From, r.result.Until
	tick := max(time.Second, until.Sub(from)/1_000_000).Truncate(time.Second)
	next, width := from.Add(tick), until.Sub(from)/ReplaySlots
	at := 0 // slot
	advance := func(now int64) error {
		for ; next.UnixNano() <= now; next = next.Add(tick) {
			for at < ReplaySlots && !next.Before(from.Add(time.Duration(at+1)*width)) {
				r.slots[at] = r.spent
				at++
			}
			if err := r.deliver(next.UnixNano()); err != nil {
				return err
			}
			for b := range r.alive {
				r.alive[b].Step(next)
				if err := r.alive[b].Lease(ctx, r.books, next); err != nil {
					return err
				}
			}
		}
		return ctx.Err()
	}
	for i := range l.Len() {
		if i%progressStep == 0 && r.Progress != nil {
			r.Progress(i)
		}
		now := l.Time[i]
		if r.row = i; drop > 0 && i == drop {
			r.alive = r.bidders[1:]
		}
		if err := advance(now); err != nil {
			return err
		}
		if err := r.deliver(now); err != nil {
			return err
		}
		b := &r.alive[0]
		if len(r.alive) > 1 {
			b = &r.alive[dealer.IntN(len(r.alive))]
		}
		if err := r.auction(ctx, b, i, now, slot, coins.Uint32()); err != nil {
			return err
		}
	}
	if err := advance(until.UnixNano()); err != nil {
		return err
	}
	for ; at < ReplaySlots; at++ {
		r.slots[at] = r.spent
	}
	for b := range r.alive {
		r.result.Multiplier += r.alive[b].Multiplier(slot) / float64(len(r.alive))
	}
	r.row = math.MaxInt
	for len(r.queue) > 0 {
		if err := r.deliver(max(r.queue[0].due, until.UnixNano())); err != nil {
			return err
		}
	}
	return nil
}

// auction bids on one row and says what came of it.
func (r *replaying) auction(ctx context.Context, b *replayBidder, i int, now int64, slot int32, coin uint32) error {
	l := r.Log
	if b.Admit(slot, coin) != rtb.BidMade {
		return nil
	}
	b.Offer(slot)
	value := models.Value(r.item.Goal, l.PCTR[i], 0)
	bid := rtb.Money(min(highestBid, float64(value)*b.Multiplier(slot)))
	bid = min(bid, b.Most(slot))
	made := time.Unix(0, now)
	var outcome models.Outcome
	if r.shading != nil && bid > 0 {
		bid, outcome = r.shade(i, bid)
	}
	if bid <= 0 || l.Floor != nil && bid < r.money(l.Floor[i]) {
		return nil
	}
	if !b.Take(slot, bid, made) {
		// A bidder asks for more as soon as a bid finds its lease used up.
		if err := b.Lease(ctx, r.books, made); err != nil {
			return err
		}
		if !b.Take(slot, bid, made) {
			return nil
		}
	}
	r.result.Bids++
	b.bids++
	w := waiting{due: now + int64(r.Delay), row: i + r.Late, bidder: b, bid: bid, made: made, pctr: l.PCTR[i], at: i, outcome: outcome}
	if r.shading != nil {
		r.kinds[outcome.Kind.String()]++
	}
	if price := r.money(l.cost(i)); bid >= price {
		w.won, w.paid = true, price
		if r.Auction == AuctionFirst {
			w.paid = bid
		}
		r.spent += w.paid
		r.result.Wins++
		r.result.Value += l.PCTR[i]
		if l.Click != nil && l.Click[i] {
			r.result.Clicks++
		}
	}
	switch {
	case !w.won && r.Losses == "never":
		return nil
	case r.Delay == 0 && r.Late == 0:
		return r.tell(&w)
	}
	r.queue = append(r.queue, w)
	return nil
}

func (r *replaying) money(amount float64) rtb.Money {
	return rtb.Money(math.Round(amount * r.scale))
}

// deliver tells what is to be known by now.
func (r *replaying) deliver(now int64) error {
	n := 0
	for n < len(r.queue) && r.queue[n].due <= now && r.queue[n].row <= r.row {
		if r.Late > 0 {
			r.queue[n].due = now
		}
		if err := r.tell(&r.queue[n]); err != nil {
			return err
		}
		n++
	}
	r.queue = r.queue[n:]
	return nil
}

// tell is the notice of a bid. A win goes through the ledger. A loss changes no
// account, so the bidder hears of it at once, as it does of a win for nothing.
func (r *replaying) tell(w *waiting) error {
	r.told++
	r.now = time.Unix(0, w.due)
	e := rtb.Event{Type: rtb.EventLoss, LineItem: r.item.ID, Node: w.bidder.Node(), Made: w.made, Time: r.now, Cost: w.bid}
	binary.LittleEndian.PutUint64(e.Bid[:], r.told)
	if r.shading != nil {
		r.shading.learn(r, w, r.now)
	}
	if w.won {
		w.bidder.Count(r.item.Slot, w.pctr, 0)
	}
	if w.paid == 0 {
		w.bidder.Apply(&e, 0, r.now)
		return nil
	}
	e.Type, e.Billing, e.Price, e.Charge = rtb.EventBill, true, w.paid, w.paid
	return r.ledger.Apply(r.told, []rtb.Event{e})
}
