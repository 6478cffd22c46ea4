package pacing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"bidwell/rtb"
)

// traffic is the part of a day's opportunities in each of its hours, as a
// news site in one time zone has them.
var traffic = [24]float64{
	.022, .014, .010, .008, .008, .012, .022, .036, .048, .054, .056, .056,
	.058, .056, .052, .050, .050, .052, .056, .062, .068, .064, .052, .034,
}

// market is the world outside: opportunities, auctions and what is heard of
// them.
type market struct {
	demand   float64 // what could be won in a day, over the daily budget
	rivals   float64 // how many times an opportunity is worth what others bid, on average; zero for 4
	equal    bool    // all opportunities are worth the same, and all prices too
	delay    int     // seconds until a notice comes, at most
	slow     int     // seconds until a notice comes, at least
	lost     float64 // part of the win notices that never comes
	noLosses bool    // losses are not told
	drift    float64 // each hour's traffic differs from the day before by up to this part
}

type day struct {
	used      float64 // spend over the budget
	deviation float64 // most that spend was off the plan, over the budget
	offered   float64 // what could be won, over the budget
	over      rtb.Money
}

// run plays days of opportunities against one evenly paced line item, a
// second at a time.
func (m market) run(item rtb.LineItem, start time.Time, days int) []day {
	type notice struct {
		won        bool
		cost, paid rtb.Money
		made       time.Time
	}
	const cost = rtb.Unit / 200 // a CPM of 5
	r := rand.New(rand.NewPCG(11, 12))
	p := newDesk(start)
	items := []rtb.LineItem{item}
	p.Assign(items, start)
	slot, a := items[0].Slot, p.accounts[item.Budgets[0].Account]
	budget := item.Budgets[0].Daily

	if m.rivals == 0 {
		m.rivals = 4
	}
	notices := make([][]notice, m.slow+m.delay+1)
	results := make([]day, days)
	for d := range results {
		result := &results[d]
		for hour := range 24 {
			perSecond := m.demand * float64(budget) / float64(cost) * traffic[hour] / 3600
			perSecond *= 1 + m.drift*(2*r.Float64()-1)
			for s := range 3600 {
				second := hour*3600 + s
				now := start.Add(time.Duration(d*86400+second) * time.Second)
				p.Step(now)
				due := &notices[second%len(notices)]
				for _, n := range *due {
					if n.won {
						p.Settle(slot, n.cost, n.paid, n.made, now)
					} else {
						p.Lose(slot, n.cost, n.made, now)
					}
				}
				*due = (*due)[:0]

				result.over = max(result.over, rtb.Money(a.today())-budget)
				off := math.Abs(float64(a.plan.at(seconds(now))-a.today())) / float64(budget)
				result.deviation = max(result.deviation, off)

				n := int(perSecond + r.Float64())
				for range n {
					worth, price := m.rivals*float64(cost), float64(cost)
					if !m.equal {
						worth *= math.Exp(0.8 * r.NormFloat64())
						price *= math.Exp(0.6*r.NormFloat64() - 0.18)
					}
					if worth >= price {
						result.offered += price / float64(budget)
					}
					if p.Admit(slot, r.Uint32()) != rtb.BidMade {
						continue
					}
					p.Offer(slot)
					bid := rtb.Money(worth * p.Multiplier(slot))
					made := now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
					if !p.Take(slot, bid, made) {
						continue
					}
					won := float64(bid) >= price
					if won && r.Float64() < m.lost || !won && m.noLosses {
						continue
					}
					at := (second + 1 + m.slow + r.IntN(m.delay)) % len(notices)
					notices[at] = append(notices[at], notice{won, bid, rtb.Money(price), made})
				}
			}
		}
		result.used = float64(a.today()) / float64(budget)
	}
	return results
}

// steered is an account at noon whose line item has spent some of 24 units and
// would spend a part of the plan if its valve were open.
func steered(t *testing.T, spent rtb.Money, part float64) (rate, multiplier float64) {
	t.Helper()
	item := asap(1, 0, 24*rtb.Unit)
	item.Pacing = rtb.PaceEven
	p := assigned(monday, item)
	a := p.accounts[named("line-item/b")]
	noon := seconds(monday.Add(12 * time.Hour))
	a.pulse.tau, a.flow = 600, 100
	a.rates[rtb.PaceEven], a.duals[rtb.PaceEven].log = 1, -1
	for at := noon; at < noon+60; at++ {
		open := part * float64(a.plan.at(at)-a.plan.at(at-1))
		a.demand, a.demandTime = a.demand+open, a.demandTime+1
		a.course(rtb.PaceEven, at, 1, open, float64(spent)+float64(a.plan.at(at)-a.plan.at(noon)), a.plan.at)
	}
	return a.rates[rtb.PaceEven], a.duals[rtb.PaceEven].multiplier() / math.Exp(-1)
}

func TestMultipliersSteerAndValvesBound(t *testing.T) {
	tests := []struct {
		name             string
		spent            rtb.Money
		part             float64
		rate, multiplier [2]float64
	}{
		{"on the plan", 12 * rtb.Unit, 1, [2]float64{1, 1}, [2]float64{0.999, 1.001}},
		{"a little too fast", 12 * rtb.Unit, 1.4, [2]float64{1, 1}, [2]float64{0.95, 0.97}},
		{"a little too slow", 12 * rtb.Unit, 0.6, [2]float64{1, 1}, [2]float64{1.03, 1.05}},
		{"behind", 11 * rtb.Unit, 1, [2]float64{1, 1}, [2]float64{1.03, 1.1}},
		{"past it", 13 * rtb.Unit, 1, [2]float64{1, 1}, [2]float64{0.9, 0.97}},
		{"far too fast", 12 * rtb.Unit, 10, [2]float64{0.09, 0.11}, [2]float64{0.3, 0.5}},
		{"far too fast and past it", 13 * rtb.Unit, 10, [2]float64{minRate, minRate}, [2]float64{0.3, 0.5}},
		{"nothing", 12 * rtb.Unit, 0, [2]float64{1, 1}, [2]float64{1.08, 1.12}},
	}
	for _, tt := range tests {
		rate, multiplier := steered(t, tt.spent, tt.part)
		if rate < tt.rate[0] || rate > tt.rate[1] {
			t.Errorf("%s: the valve is open to %v, want %v", tt.name, rate, tt.rate)
		}
		if multiplier < tt.multiplier[0] || multiplier > tt.multiplier[1] {
			t.Errorf("%s: the multiplier moves by %v, want %v", tt.name, multiplier, tt.multiplier)
		}
	}
}

func TestRoomFollowsThePlan(t *testing.T) {
	noon := monday.Add(12 * time.Hour)
	burst := 24 * rtb.Unit / 16 // for bids as dear as that one
	for pacing, want := range map[rtb.Pacing]rtb.Money{
		rtb.PaceEven: rtb.Unit/2 + burst, rtb.PaceAhead: rtb.Unit/2 + rtb.Unit*6/5 + burst, rtb.PaceASAP: 25 * rtb.Unit / 2,
	} {
		item := asap(1, 0, 24*rtb.Unit)
		item.Pacing = pacing
		p := assigned(monday, item)
		p.Take(0, rtb.Unit, monday)
		p.Settle(0, rtb.Unit, 23*rtb.Unit/2, monday, monday)
		p.Step(noon.Add(-time.Second))
		p.Step(noon)
		a := p.accounts[named("line-item/b")]
		a.most = float64(100 * rtb.Unit) // the lease is all that there is
		a.renewAt = 0
		p.lease()
		got := rtb.Money(a.ceilings[pacing].Load() - a.committed.Load())
		if math.Abs(float64(got-want)) > 100_000 {
			t.Errorf("pacing %d: at noon %s may be held, want %s", pacing, got, want)
		}
	}
}

// What could not be spent in time is spread over the rest of the day.
func TestWhatIsMissingIsPlannedAnew(t *testing.T) {
	item := asap(1, 0, 24*rtb.Unit)
	item.Pacing = rtb.PaceEven
	p := assigned(monday, item)
	for hour := range 13 {
		p.Step(monday.Add(time.Duration(hour) * time.Hour))
	}
	a := p.accounts[named("line-item/b")]
	six := float64(monday.Add(18 * time.Hour).Unix())
	if got := rtb.Money(a.plan.at(six)); math.Abs(float64(got-12*rtb.Unit)) > float64(rtb.Unit) {
		t.Errorf("by six in the evening %s are planned, want half of the budget", got)
	}
}

// A line item without a brake whose money is gone asks for little, and for all
// as soon as there is money again.
func TestSpentLineItemsAskForLittle(t *testing.T) {
	item := asap(1, cent, 0)
	p := assigned(monday, item)
	p.Take(0, cent, monday)
	now := monday
	for range 10 {
		p.Take(0, cent, now)
		now = now.Add(time.Second)
		p.Step(now)
	}
	if p.Admit(0, 1<<31) == rtb.BidMade || p.Admit(0, 1<<23) != rtb.BidMade {
		t.Errorf("without money the rate is %v", balance(t, p, "line-item/b").Rate)
	}
	p.Assign([]rtb.LineItem{asap(1, 5*cent, 0)}, now)
	p.Take(0, cent, now)
	p.Step(now.Add(time.Second))
	if p.Admit(0, 1<<32-1) != rtb.BidMade {
		t.Errorf("with money again the rate is %v", balance(t, p, "line-item/b").Rate)
	}
}

func TestSpendFollowsThePlan(t *testing.T) {
	item := rtb.LineItem{
		ID: 1, Key: "k", Location: time.UTC, Pacing: rtb.PaceEven,
		Budgets: []rtb.Budget{{Account: named("line-item/k"), Daily: 50 * rtb.Unit}},
	}
	tests := []struct {
		name           string
		market         market
		used, off      float64 // bounds for the second day, when the hours are known
		firstUsed      float64 // for the first, with all hours alike
		spendsAllTaken bool
	}{
		{"four times the budget", market{demand: 4, delay: 2}, 0.998, 0.005, 0.99, false},
		{"a day like no other", market{demand: 4, delay: 2, drift: 0.4}, 0.998, 0.008, 0.99, false},
		{"losses are not told", market{demand: 4, delay: 10, noLosses: true}, 0.99, 0.02, 0.98, false},
		{"notices take three minutes", market{demand: 4, delay: 60, slow: 150}, 0.99, 0.01, 0.98, false},
		{"late and lost notices", market{demand: 4, delay: 200, lost: 0.1}, 0.985, 0.02, 0.98, false},
		{"thirty times the budget", market{demand: 30, delay: 2}, 0.998, 0.006, 0.99, false},
		{"all prices alike", market{demand: 4, delay: 2, equal: true}, 0.998, 0.006, 0.99, false},
		{"all prices alike, and late notices", market{demand: 4, delay: 60, slow: 150, equal: true}, 0.99, 0.02, 0.98, false},
		{"hardly enough", market{demand: 1.1, delay: 2}, 0.94, 0.06, 0.8, false},
		{"half of the budget", market{demand: 0.5, delay: 2}, 0.4, 1, 0.4, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			days := tt.market.run(item, monday, 2)
			t.Logf("used, deviation: first day %.4f %.4f, second day %.4f %.4f", days[0].used, days[0].deviation, days[1].used, days[1].deviation)
			for i, d := range days {
				if d.over > 0 {
					t.Errorf("day %d: %s over the budget", i, d.over)
				}
			}
			if days[0].used < tt.firstUsed || days[1].used < tt.used {
				t.Errorf("used %.4f and %.4f of the budget, want %v and %v", days[0].used, days[1].used, tt.firstUsed, tt.used)
			}
			if days[1].deviation > tt.off {
				t.Errorf("off the plan by %.4f, want at most %v", days[1].deviation, tt.off)
			}
			if tt.spendsAllTaken && days[1].used < 0.99*days[1].offered {
				t.Errorf("used %.4f of %.4f that there was", days[1].used, days[1].offered)
			}
		})
	}
}
