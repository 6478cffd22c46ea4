package pacing

import (
	"cmp"
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"bidwell/rtb"
)

var fleetSeeds = flag.Int("fleet.seeds", 1, "how many days of eight bidders to play for each market")

// fleet is a day of several bidders that share one budget.
type fleet struct {
	pacing  rtb.Pacing
	second  bool                       // the price is that of the second
	losses  int                        // auctions until a loss is told; negative: it never is
	lag     int                        // auctions until a win is told
	winRate func(hour float64) float64 // by the hours of the day
	count   bool                       // the budget is one of impressions
	nodes   int                        // zero for eight, of which one is gone at noon
	seed    uint64
}

const (
	fleetNodes    = 8
	fleetAuctions = 300_000
	fleetWins     = 90_000 // that could be had at the mean win rate of 0.3
)

type fleetResult struct {
	used    float64
	over    rtb.Money // most that was spent past the budget
	late    rtb.Money
	bids    int
	relieve float64 // part of what was held at the end of the day that did not count
}

// play runs the day: auctions are dealt to the bidders at random, notices come
// so many auctions later, and at noon one bidder is gone without a word.
func (f fleet) play(t testing.TB) fleetResult {
	const mean = rtb.Unit / 200 // a CPM of 5
	budget := fleetWins * mean / 4
	if f.second {
		budget = budget / 2
	}
	item := rtb.LineItem{
		ID: 1, Campaign: 2, Location: time.UTC, Pacing: f.pacing, Flight: rtb.Flight{Start: monday, End: monday.Add(24 * time.Hour)},
		Budgets: []rtb.Budget{
			{Account: rtb.LineItemAccount(1, rtb.OfMoney), Daily: 2 * budget},
			{Account: rtb.CampaignAccount(2, rtb.OfMoney), Total: budget, Daily: budget},
		},
	}
	limited := item.Budgets[1].Account
	if f.count {
		limited = rtb.CampaignAccount(2, rtb.OfImpressions)
		budget = fleetWins / 4
		item.Budgets[0].Daily, item.Budgets[1] = 0, rtb.Budget{Account: limited, Total: budget, Daily: budget}
	}
	r := rand.New(rand.NewPCG(f.seed, 7))
	books := NewMemory()
	nodes := make([]*Pacer, cmp.Or(f.nodes, fleetNodes))
	for i := range nodes {
		p := NewPacer(uint32(i+1), monday)
		if err := firstError(p.HoldFor(6*time.Hour, monday), p.LeaseFor(time.Minute), p.SilenceFor(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		p.Assign([]rtb.LineItem{item}, monday)
		nodes[i] = p
	}
	now := monday
	ledger := NewLedger(books, func(price rtb.Money, _ rtb.Currency) rtb.Money { return price }, func(e *rtb.Event, seen Kinds) {
		for _, p := range nodes {
			p.Apply(e, seen, now)
		}
	})

	type notice struct {
		due int
		e   rtb.Event
	}
	var wins, losses []notice // in the order in which they come
	var batch []rtb.Event
	var result fleetResult
	position, auction, gone := uint64(0), 0, -1
	tell := func() {
		batch = batch[:0]
		for _, queue := range []*[]notice{&wins, &losses} {
			for len(*queue) > 0 && (*queue)[0].due <= auction {
				(*queue)[0].e.Time = now
				batch = append(batch, (*queue)[0].e)
				*queue = (*queue)[1:]
			}
		}
		position++
		if err := ledger.Apply(position, batch); err != nil {
			t.Fatal(err)
		}
		row := books.row(limited)
		result.over = max(result.over, row.Spent-budget)
		result.late = row.Late
	}
	const step = 20 // seconds
	due := 0.0
	for second := 0; second < 86400; second += step {
		now = monday.Add(time.Duration(second) * time.Second)
		if second == 43200 && len(nodes) == fleetNodes {
			gone = int(f.seed) % len(nodes)
		}
		tell()
		for i, p := range nodes {
			if i == gone {
				continue
			}
			p.Step(now)
			if err := p.Lease(t.Context(), books, now); err != nil {
				t.Fatal(err)
			}
		}
		due += fleetAuctions * traffic[second/3600] / 3600 * step
		for ; due >= 1; due-- {
			auction++
			i := r.IntN(len(nodes))
			if i == gone {
				continue
			}
			p := nodes[i]
			made := now.Add(time.Duration(r.IntN(step*1000)) * time.Millisecond)
			value := float64(mean) * math.Exp(0.4*r.NormFloat64()-0.08)
			// The value is more than the price of the others as often as the
			// win rate says.
			others := float64(mean) * math.Exp(0.6*r.NormFloat64()-0.08-math.Hypot(0.4, 0.6)*quantile(f.winRate(float64(second)/3600)))
			if p.Admit(0, r.Uint32()) != rtb.BidMade {
				continue
			}
			p.Offer(0)
			price := rtb.Money(value * p.Multiplier(0))
			won := float64(price) > others
			charge := price
			if f.second {
				charge = min(price, rtb.Money(others)+1)
			}
			if !p.Take(0, price, made) {
				select {
				case <-p.wake: // as Run does
					if err := p.Lease(t.Context(), books, now); err != nil {
						t.Fatal(err)
					}
				default:
				}
				continue
			}
			result.bids++
			e := rtb.Event{Node: p.Node(), LineItem: 1, Campaign: 2, Made: made.Truncate(time.Millisecond), Cost: price, Type: rtb.EventLoss}
			binary.LittleEndian.PutUint64(e.Bid[:], uint64(auction))
			switch {
			case won:
				e.Type, e.Billing, e.Charge = rtb.EventBill, true, charge
				wins = append(wins, notice{auction + f.lag, e})
			case f.losses >= 0:
				losses = append(losses, notice{auction + f.losses, e})
			}
		}
	}
	held, relief := int64(0), int64(0)
	for i, p := range nodes {
		if a := p.accounts[limited]; i != gone {
			held, relief = held+a.own(), relief+a.relief
		}
	}
	result.relieve = float64(relief) / float64(max(1, held))
	now, auction = now.Add(time.Hour), math.MaxInt
	tell()
	result.used = float64(books.row(limited).Spent) / float64(budget)
	for i, p := range nodes {
		if i != gone {
			p.Step(now.Add(24 * time.Hour))
			if a := p.accounts[limited]; a.own() != 0 {
				t.Errorf("node %d: %d is held in the end", i, a.own())
			}
		}
	}
	return result
}

// quantile is below which a normal variable is with a probability.
func quantile(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func steady(float64) float64 { return 0.3 }

// drifting is a market in which it gets easier to win, and harder, by half.
func drifting(hour float64) float64 { return 0.3 * (1 + 0.5*math.Sin(2*math.Pi*(hour+3)/14)) }

// rising doubles in the evening, just before the budget ends.
func rising(hour float64) float64 { return 0.2 + 0.25*max(0, min(1, (hour-17)/6)) }

// What a dead bidder holds stays reserved for its notices, but the living do
// not make room for it as if it were bidding beside them.
func TestTheDeadDoNotBid(t *testing.T) {
	const daily = 100 * rtb.Unit
	items := []rtb.LineItem{{ID: 1, Location: time.UTC, Budgets: []rtb.Budget{{Account: rtb.LineItemAccount(1, rtb.OfMoney), Daily: daily}}}}
	books := NewMemory()
	var nodes [2]*Pacer
	for i := range nodes {
		p := NewPacer(uint32(i+1), monday)
		if err := p.HoldFor(time.Hour, monday); err != nil {
			t.Fatal(err)
		}
		p.Assign(items, monday)
		nodes[i] = p
	}
	now := monday
	lease := func(living ...*Pacer) *account {
		for range 2 { // the first is told of the second
			now = now.Add(LeaseRenewal / 2)
			for _, p := range living {
				p.Step(now)
				if err := p.Lease(t.Context(), books, now); err != nil {
					t.Fatal(err)
				}
			}
		}
		return nodes[0].accounts[rtb.LineItemAccount(1, rtb.OfMoney)]
	}
	lease(nodes[:]...)
	for _, p := range nodes {
		for p.Take(0, rtb.Unit/100, now) {
		}
	}
	if a := lease(nodes[:]...); a.crowd() != 2 || a.heldBeside == 0 {
		t.Fatalf("%v bidders, %d held beside", a.crowd(), a.heldBeside)
	}
	lease(nodes[0])
	a := lease(nodes[0])
	row := books.row(a.id)
	if a.crowd() != 1 || a.heldBeside != 0 {
		t.Errorf("%v bidders, %d held beside; want one and nothing", a.crowd(), a.heldBeside)
	}
	if s := row.Statement(a.id, now); s.Stranded == 0 || s.Leased < s.Stranded+rtb.Money(a.hand()) {
		t.Errorf("%+v: the bids of the dead must stay reserved", s)
	}
}

// Eight bidders never spend more than the budget they share, and nearly all of
// it, although they hear of a win ten thousand auctions late and one of them
// is gone half-way with its lease.
func TestFleetKeepsItsBudget(t *testing.T) {
	markets := []struct {
		name string
		f    fleet
		used float64 // on the mean of the days
	}{
		{"first price, even", fleet{pacing: rtb.PaceEven, losses: 10_000, lag: 10_000, winRate: steady}, 0.95},
		{"first price, as soon as possible", fleet{pacing: rtb.PaceASAP, losses: 10_000, lag: 10_000, winRate: steady}, 0.98},
		{"second price, even", fleet{pacing: rtb.PaceEven, second: true, losses: 10_000, lag: 10_000, winRate: steady}, 0.95},
		{"second price, as soon as possible", fleet{pacing: rtb.PaceASAP, second: true, losses: 10_000, lag: 10_000, winRate: steady}, 0.98},
		{"losses at once", fleet{pacing: rtb.PaceEven, losses: 1, lag: 10_000, winRate: steady}, 0.98},
		{"losses never", fleet{pacing: rtb.PaceEven, second: true, losses: -1, lag: 10_000, winRate: steady}, 0.4}, // bids hold for six hours
		{"drifting", fleet{pacing: rtb.PaceEven, losses: 10_000, lag: 10_000, winRate: drifting}, 0.94},
		{"rising at the end", fleet{pacing: rtb.PaceEven, second: true, losses: 10_000, lag: 10_000, winRate: rising}, 0.94},
		{"rising at the end, alone", fleet{pacing: rtb.PaceEven, second: true, losses: 10_000, lag: 10_000, winRate: rising, nodes: 1}, 0.96},
		{"impressions", fleet{pacing: rtb.PaceEven, losses: 10_000, lag: 10_000, winRate: steady, count: true}, 0.9},
	}
	for _, m := range markets {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			mean := 0.0
			for seed := range *fleetSeeds {
				m.f.seed = uint64(seed + 1)
				r := m.f.play(t)
				t.Logf("used %.4f, over %d, late %s, %d bids, relief %.2f", r.used, r.over, r.late, r.bids, r.relieve)
				if r.over > 0 {
					t.Errorf("%d past the budget", r.over)
				}
				mean += r.used / float64(*fleetSeeds)
			}
			if mean < m.used {
				t.Errorf("used %.4f of the budget, want %v", mean, m.used)
			}
		})
	}
}
