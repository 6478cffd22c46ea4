package loadtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"bidwell/models"
	"bidwell/pacing"
	"bidwell/rtb"
)

// Replay runs a log of auctions through the pacing and pricing of the bidder:
// one line item with one budget for all of it.
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
	Hold       time.Duration // how long a bid holds its price; zero: the bidder's default
	Seed       uint64

	Progress func(done int) // told now and then how many auctions are over; nil for none
}

// ReplayResult is what a replay came to. Amounts are in the unit of the log.
type ReplayResult struct {
	Auctions     int     `json:"auctions"`
	Bids         int     `json:"bids"`
	Wins         int     `json:"wins"`
	Spend        float64 `json:"spend"`
	Clicks       int     `json:"clicks"`
	Value        float64 `json:"value"` // sum of pctr over wins
	Budget       float64 `json:"budget"`
	Utilisation  float64 `json:"utilisation"`   // spend over budget
	MaxDeviation float64 `json:"max_deviation"` // of what is spent from the plan, at the end of 96 slots, over the budget
	Overspend    float64 `json:"overspend"`     // spend beyond the budget
	ECPC         float64 `json:"ecpc"`          // spend over clicks; zero without clicks
	ExpectedCPC  float64 `json:"expected_cpc"`  // spend over value

	CapRatio float64 `json:"cap_ratio,omitempty"` // expected CPC over its cap

	// The oracle knows all prices beforehand: it takes the auctions with the
	// most pctr for their price until the budget is spent, the last in part.
	OracleValue float64 `json:"oracle_value"`
	OracleShare float64 `json:"oracle_share"` // value over the oracle's

	From       time.Time `json:"from"`
	Until      time.Time `json:"until"`
	Multiplier float64   `json:"multiplier"` // at the end
	Worth      float64   `json:"worth"`      // of a click at a multiplier of 1
	OutOfOrder int       `json:"out_of_order,omitempty"`
	Seconds    float64   `json:"seconds"`
}

// ReplaySlots is into how many stretches the time of a log is divided to
// compare spend with its plan.
const ReplaySlots = 96

const replaySlot = 15 * time.Minute

var pacings = map[string]rtb.Pacing{"": rtb.PaceEven, "even": rtb.PaceEven, "asap": rtb.PaceASAP, "ahead": rtb.PaceAhead}

// Validate reports every setting that is wrong.
func (r *Replay) Validate() error {
	var errs []error
	positive := func(name string, v float64, zero bool) {
		if !(v > 0 || zero && v == 0) || v > 1e15 {
			errs = append(errs, fmt.Errorf("%s: %v is not an amount", name, v))
		}
	}
	positive("budget", r.Budget, false)
	positive("value", r.Value, true)
	positive("max-cpc", r.MaxCPC, true)
	positive("forecast", r.Forecast, true)
	if !(r.Multiplier >= 0 && r.Multiplier <= 100) || r.Value > 0 && r.Multiplier > 1 {
		errs = append(errs, errors.New("start-multiplier: want more than 0, at most 100, and at most 1 with a value"))
	}
	if r.Auction != AuctionFirst && r.Auction != AuctionSecond {
		errs = append(errs, fmt.Errorf("auction: %q is neither first nor second", r.Auction))
	}
	if _, ok := pacings[r.Pacing]; !ok {
		errs = append(errs, fmt.Errorf("pacing: %q is none of even, asap and ahead", r.Pacing))
	}
	if r.Delay < 0 || r.Delay > 24*time.Hour {
		errs = append(errs, errors.New("delay: want 0 to 24h"))
	}
	if r.Log == nil || r.Log.Len() == 0 {
		errs = append(errs, errors.New("log: no rows"))
	}
	return errors.Join(errs...)
}

// period is the time of the log in whole quarters of an hour.
func (l *AuctionLog) period() (from, until time.Time) {
	from = time.Unix(0, l.Time[0]).UTC().Truncate(replaySlot)
	until = time.Unix(0, l.Time[l.Len()-1]).UTC().Truncate(replaySlot).Add(replaySlot)
	return from, until
}

// waiting is a bid whose outcome the pacer has not been told.
type waiting struct {
	due       int64
	bid, paid rtb.Money
	made      time.Time
	won       bool
	pctr      float64
}

// replaying is a replay under way.
type replaying struct {
	*Replay
	scale  float64 // money for one unit of the log
	pacer  *pacing.Pacer
	books  *pacing.Memory
	ledger *pacing.Ledger
	told   uint64
	now    time.Time
	item   rtb.LineItem
	queue  []waiting
	spent  rtb.Money
	slots  [ReplaySlots]rtb.Money // spent by the end of each
	result ReplayResult
}

// Run replays the log.
func (r *Replay) Run(ctx context.Context) (*ReplayResult, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	run := replaying{Replay: r}
	if err := run.prepare(); err != nil {
		return nil, err
	}
	if err := run.play(ctx); err != nil {
		return nil, err
	}
	run.score()
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
	// As fine as the pacer can count: it takes bids up to 2^43 and sums to 2^60.
	const highestBid, highestSum = 1 << 42, 1 << 57
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
	r.item = rtb.LineItem{
		ID: 1, Key: "replay", Location: time.UTC, Pacing: pacings[r.Pacing],
		Flight: rtb.Flight{Start: from, End: until},
		Goal:   rtb.Goal{Type: rtb.GoalCPC, Value: rtb.Money(value), Max: highestBid, MaxCPC: rtb.Money(r.MaxCPC * r.scale)},
		Budgets: []rtb.Budget{{
			Account: rtb.LineItemAccount(1, rtb.OfMoney), Total: rtb.Money(r.Budget * r.scale),
		}},
	}
	r.pacer, r.books = pacing.NewPacer(1, from), pacing.NewMemory()
	r.ledger = pacing.NewLedger(r.books, func(price rtb.Money, _ rtb.Currency) rtb.Money { return price }, func(e *rtb.Event, seen pacing.Kinds) {
		r.pacer.Apply(e, seen, r.now)
	})
	if err := r.pacer.SilenceFor(7 * 24 * time.Hour); err != nil { // a log that is quiet is no fault
		return err
	}
	if r.Hold > 0 {
		if err := r.pacer.HoldFor(r.Hold, from); err != nil {
			return err
		}
	}
	items := []rtb.LineItem{r.item}
	r.pacer.Assign(items, from)
	r.item = items[0]
	if err := r.pacer.Lease(context.Background(), r.books, from); err != nil {
		return err
	}
	return r.pacer.Forecast(r.item.Budgets[0].Account, pacing.Forecast{
		From: from, Until: until, Opportunities: r.Forecast, Shares: r.Profile, Multiplier: min(1, multiplier),
	})
}

// reference is the price of a click at which the first rows alone would have
// spent their part of the budget.
func (r *replaying) reference() float64 {
	l := r.Log
	n := min(1000, l.Len())
	part := float64(n) / max(r.Forecast, float64(n))
	if r.Forecast == 0 { // the time that they took says how many there may be
		from, until := l.period()
		part = min(1, max(1e-6, float64(l.Time[n-1]-from.UnixNano())/float64(until.Sub(from))))
	}
	rows, all := oracleOrder(l, n, math.Inf(1)), 0.0
	for _, i := range rows {
		all += l.cost(int(i))
	}
	// Of much money, half of the rows are enough: the worst of them are worth
	// next to nothing, and their price for a click says nothing.
	left, reference := min(part*r.Budget, all/2), 0.0
	for _, i := range rows {
		if left -= l.cost(int(i)); left < 0 && reference > 0 {
			break
		}
		reference = max(reference, l.cost(int(i))/l.PCTR[i])
	}
	if reference == 0 {
		reference = 1
	}
	return reference
}

// play holds the auctions, row by row, and steps the pacer each second.
func (r *replaying) play(ctx context.Context) error {
	l, slot := r.Log, r.item.Slot
	coins := rand.New(rand.NewPCG(r.Seed, 0x7265706c6179))
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
			r.pacer.Step(next)
			if err := r.pacer.Lease(ctx, r.books, next); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	for i := range l.Len() {
		if i%progressStep == 0 && r.Progress != nil {
			r.Progress(i)
		}
		now := l.Time[i]
		if err := advance(now); err != nil {
			return err
		}
		if err := r.deliver(now); err != nil {
			return err
		}
		if err := r.auction(ctx, i, now, slot, coins.Uint32()); err != nil {
			return err
		}
	}
	if err := advance(until.UnixNano()); err != nil {
		return err
	}
	for ; at < ReplaySlots; at++ {
		r.slots[at] = r.spent
	}
	r.result.Multiplier = r.pacer.Multiplier(slot)
	for len(r.queue) > 0 {
		if err := r.deliver(r.queue[0].due); err != nil {
			return err
		}
	}
	return nil
}

// auction bids on one row and says what came of it.
func (r *replaying) auction(ctx context.Context, i int, now int64, slot int32, coin uint32) error {
	l := r.Log
	if r.pacer.Admit(slot, coin) != rtb.BidMade {
		return nil
	}
	r.pacer.Offer(slot)
	value := models.Value(r.item.Goal, l.PCTR[i], 0)
	bid := rtb.Money(float64(value) * r.pacer.Multiplier(slot))
	made := time.Unix(0, now)
	if bid <= 0 || l.Floor != nil && bid < r.money(l.Floor[i]) {
		return nil
	}
	if !r.pacer.Take(slot, bid, made) {
		// A bidder asks for more as soon as a bid finds its lease used up.
		if err := r.pacer.Lease(ctx, r.books, made); err != nil {
			return err
		}
		if !r.pacer.Take(slot, bid, made) {
			return nil
		}
	}
	r.result.Bids++
	w := waiting{due: now + int64(r.Delay), bid: bid, made: made, pctr: l.PCTR[i]}
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
	if r.Delay == 0 {
		return r.tell(&w)
	}
	r.queue = append(r.queue, w)
	return nil
}

func (r *replaying) money(amount float64) rtb.Money {
	return rtb.Money(math.Round(amount * r.scale))
}

// deliver tells the pacer what it has to know by now.
func (r *replaying) deliver(now int64) error {
	n := 0
	for n < len(r.queue) && r.queue[n].due <= now {
		if err := r.tell(&r.queue[n]); err != nil {
			return err
		}
		n++
	}
	r.queue = r.queue[n:]
	return nil
}

// tell is the notice of a bid. A win goes through the ledger. A loss changes no
// account, so the pacer hears of it at once, as it does of a win for nothing.
func (r *replaying) tell(w *waiting) error {
	r.told++
	r.now = time.Unix(0, w.due)
	e := rtb.Event{Type: rtb.EventLoss, LineItem: r.item.ID, Node: r.pacer.Node(), Made: w.made, Time: r.now, Cost: w.bid}
	binary.LittleEndian.PutUint64(e.Bid[:], r.told)
	if w.won {
		r.pacer.Count(r.item.Slot, w.pctr, 0)
	}
	if w.paid == 0 {
		r.pacer.Apply(&e, 0, r.now)
		return nil
	}
	e.Type, e.Billing, e.Price, e.Charge = rtb.EventBill, true, w.paid, w.paid
	return r.ledger.Apply(r.told, []rtb.Event{e})
}

// score compares what was spent with the plan, and what was won with the
// oracle.
func (r *replaying) score() {
	l, res := r.Log, &r.result
	res.Auctions, res.OutOfOrder, res.Budget = l.Len(), l.OutOfOrder, r.Budget
	res.Spend = float64(r.spent) / r.scale
	res.Utilisation = res.Spend / r.Budget
	res.Overspend = max(0, float64(r.spent-r.item.Budgets[0].Total)/r.scale)
	if res.Clicks > 0 {
		res.ECPC = res.Spend / float64(res.Clicks)
	}
	if res.Value > 0 {
		res.ExpectedCPC = res.Spend / res.Value
		if r.MaxCPC > 0 {
			res.CapRatio = res.ExpectedCPC / r.MaxCPC
		}
	}
	for i, spent := range r.slots {
		plan := planned(r.Profile, float64(i+1)/ReplaySlots)
		res.MaxDeviation = max(res.MaxDeviation, math.Abs(float64(spent)/r.scale/r.Budget-plan))
	}
	most := math.Inf(1)
	if r.Value > 0 {
		most = r.Value
	}
	left := r.Budget
	for _, i := range oracleOrder(l, l.Len(), most) {
		cost := l.cost(int(i))
		if cost > left {
			res.OracleValue += l.PCTR[i] * left / cost
			break
		}
		left -= cost
		res.OracleValue += l.PCTR[i]
	}
	if res.OracleValue > 0 {
		res.OracleShare = res.Value / res.OracleValue
	}
}

// planned is the part of the budget that the plan spends in a part of the time.
func planned(profile []float64, part float64) float64 {
	if len(profile) == 0 {
		return part
	}
	sum, before := 0.0, 0.0
	at := part * float64(len(profile))
	for i, share := range profile {
		sum += share
		before += share * max(0, min(1, at-float64(i)))
	}
	return before / sum
}

// oracleOrder are the first n rows whose price for a click is at most that, the
// cheapest first.
func oracleOrder(l *AuctionLog, n int, most float64) []int32 {
	price := make([]float32, n)
	rows := make([]int32, 0, n)
	for i := range n {
		if p := l.cost(i) / l.PCTR[i]; l.PCTR[i] > 0 && p <= most {
			price[i] = float32(p)
			rows = append(rows, int32(i))
		}
	}
	slices.SortFunc(rows, func(a, b int32) int { return cmp.Compare(price[a], price[b]) })
	return rows
}

// WriteText prints the result for people.
func (r *ReplayResult) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, `%d auctions from %s to %s
%d bids, %d wins, %d clicks
spend          %.6g of %.6g
utilisation    %.4f
max deviation  %.4f from the plan, at the end of %d slots
overspend      %.6g
value          %.6g (sum of pctr), %.4f of the oracle's %.6g
CPC            %s, %.6g expected
multiplier     %.6g, of a click worth %.6g
`,
		r.Auctions, r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339), r.Bids, r.Wins, r.Clicks,
		r.Spend, r.Budget, r.Utilisation, r.MaxDeviation, ReplaySlots, r.Overspend,
		r.Value, r.OracleShare, r.OracleValue, clickCost(r), r.ExpectedCPC, r.Multiplier, r.Worth)
	return err
}

func clickCost(r *ReplayResult) string {
	if r.Clicks == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.6g", r.ECPC)
}
