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
	winRate  float64
	delay    int     // seconds until a notice comes, at most
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
		won  bool
		cost rtb.Money
		made time.Time
	}
	const cost = rtb.Unit / 200 // a CPM of 5
	r := rand.New(rand.NewPCG(11, 12))
	p := newDesk(start)
	items := []rtb.LineItem{item}
	p.Assign(items, start)
	slot, a := items[0].Slot, p.accounts[item.Budgets[0].Account]
	budget := item.Budgets[0].Daily

	notices := make([][]notice, m.delay+1)
	results := make([]day, days)
	for d := range results {
		result := &results[d]
		for hour := range 24 {
			perSecond := m.demand / m.winRate * float64(budget) / float64(cost) * traffic[hour] / 3600
			perSecond *= 1 + m.drift*(2*r.Float64()-1)
			for s := range 3600 {
				second := hour*3600 + s
				now := start.Add(time.Duration(d*86400+second) * time.Second)
				p.Step(now)
				due := &notices[second%len(notices)]
				for _, n := range *due {
					if n.won {
						p.Settle(slot, n.cost, n.cost, n.made, now)
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
					won := r.Float64() < m.winRate
					if won {
						result.offered += float64(cost) / float64(budget)
					}
					made := now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
					if p.Admit(slot, r.Uint32()) != rtb.BidMade || !p.Take(slot, cost, made) {
						continue
					}
					if won && r.Float64() < m.lost || !won && m.noLosses {
						continue
					}
					at := (second + 1 + r.IntN(m.delay)) % len(notices)
					notices[at] = append(notices[at], notice{won, cost, made})
				}
			}
		}
		result.used = float64(a.today()) / float64(budget)
	}
	return results
}

func TestValves(t *testing.T) {
	noon := monday.Add(12 * time.Hour)
	at := func(pacing rtb.Pacing, spent rtb.Money) *desk {
		item := asap(1, 0, 24*rtb.Unit)
		item.Pacing = pacing
		p := assigned(monday, item)
		p.Take(0, spent/2, monday)
		p.Settle(0, spent/2, spent, monday, monday)
		p.Step(noon.Add(-time.Second))
		p.slots.Load().slots[0].rate = 1
		p.slots.Load().slots[0].asks.Store(1)
		p.slots.Load().slots[0].asked.Store(int64(rtb.Unit)) // far more than there is money for
		p.Step(noon)
		return p
	}
	rate := func(p *desk) float64 { return balance(t, p, "line-item/b").Rate }
	room := func(p *desk) rtb.Money {
		a := p.accounts[named("line-item/b")]
		a.most = float64(100 * rtb.Unit) // the lease is all that there is
		a.renewAt = 0
		p.lease()
		return rtb.Money(a.ceilings[p.slots.Load().slots[0].draws.Load().mode].Load() - a.committed.Load())
	}
	if r := rate(at(rtb.PaceEven, 13*rtb.Unit)); r != minRate {
		t.Errorf("ahead of the plan the rate is %v, want %v", r, minRate)
	}
	if r := rate(at(rtb.PaceEven, 2*rtb.Unit)); r < 0.1 {
		t.Errorf("far behind the plan the rate is %v", r)
	}
	if r := rate(at(rtb.PaceASAP, 20*rtb.Unit)); r != 1 {
		t.Errorf("as soon as possible the rate is %v", r)
	}
	burst := 24 * rtb.Unit / 256
	for pacing, want := range map[rtb.Pacing]rtb.Money{
		rtb.PaceEven: 2*rtb.Unit + burst, rtb.PaceAhead: 3*rtb.Unit + rtb.Unit/5 + burst, rtb.PaceASAP: 14 * rtb.Unit,
	} {
		if got := room(at(pacing, 10*rtb.Unit)); math.Abs(float64(got-want)) > 1000 {
			t.Errorf("pacing %d: at noon %s may be held, want %s", pacing, got, want)
		}
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
		{"four times the budget", market{demand: 4, winRate: 1, delay: 2}, 0.998, 0.005, 0.99, false},
		{"a day like no other", market{demand: 4, winRate: 1, delay: 2, drift: 0.4}, 0.998, 0.005, 0.99, false},
		{"one win in five", market{demand: 4, winRate: 0.2, delay: 10}, 0.998, 0.01, 0.99, false},
		{"losses are not told", market{demand: 4, winRate: 0.2, delay: 10, noLosses: true}, 0.99, 0.02, 0.98, false},
		{"late and lost notices", market{demand: 4, winRate: 0.5, delay: 200, lost: 0.1}, 0.985, 0.02, 0.98, false},
		{"thirty times the budget", market{demand: 30, winRate: 1, delay: 2}, 0.998, 0.006, 0.99, false},
		{"hardly enough", market{demand: 1.1, winRate: 1, delay: 2}, 0.99, 0.02, 0.8, false},
		{"half of the budget", market{demand: 0.5, winRate: 1, delay: 2}, 0.48, 1, 0.48, true},
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
