package loadtest

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"bidwell/rtb"
)

// watch reads the bidder's own view while the market runs.
type watch struct {
	admin   *adminAPI
	before  map[string]rtb.Money // charged before the run
	repeats int64
	until   time.Time // when the simulated time of the run ends

	polled sync.WaitGroup
	stop   context.CancelFunc
	buyers map[string]*buyer         // by line item
	zones  map[string]*time.Location // of those with a daily budget
	days   map[dayOf]*daySeen
	errors int // polls that failed
}

type dayOf struct{ line, date string }

// daySeen is what polls saw of a line item on one day of its advertiser.
type daySeen struct {
	polls   int
	braked  int // polls that found it held back, or a budget spent
	offPlan float64
	bound   string  // the limit that was used most, at the last poll
	most    float64 // how much of it
	end     time.Time
}

// pacingView is what the watch reads of the API's pacing report.
type pacingView struct {
	Multiplier float64 `json:"multiplier"`
	BidRate    float64 `json:"bid_rate"`
	Accounts   []struct {
		Owner      string    `json:"owner"`
		Counts     string    `json:"counts"`
		Total      string    `json:"total"`
		Daily      string    `json:"daily"`
		Spent      string    `json:"spent"`
		SpentToday string    `json:"spent_today"`
		Late       decimal   `json:"late"`
		DayStart   time.Time `json:"day_start"`
	} `json:"accounts"`
	Caps []struct {
		Limit  decimal `json:"limit"`
		Actual decimal `json:"actual"`
	} `json:"caps"`
	Slots []struct {
		Start   time.Time `json:"start"`
		Planned decimal   `json:"planned"`
		Spent   string    `json:"spent"`
	} `json:"slots"`
}

// startWatch reads the books as they are, and then every line item with a
// daily budget of its own or of its campaign again and again. The run ends at the time until, simulated or
// real as the bidder's clock is.
func startWatch(ctx context.Context, a *adminAPI, buyers map[string]*buyer, until time.Time) (*watch, error) {
	w := &watch{admin: a, until: until.Add(time.Second), buyers: map[string]*buyer{}, zones: map[string]*time.Location{}, days: map[dayOf]*daySeen{}}
	var err error
	if w.before, w.repeats, err = readBooks(ctx, a); err != nil {
		return nil, err
	}
	var keys []string
	for _, b := range buyers {
		w.buyers[b.key] = b
		if b.own.Daily > 0 || b.shared.Daily > 0 {
			keys = append(keys, b.key)
			w.zones[b.key] = b.zone
		}
	}
	slices.Sort(keys)
	ctx, w.stop = context.WithCancel(ctx)
	w.polled.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				w.poll(ctx, keys)
			}
		}
	})
	return w, nil
}

// poll reads each line item once.
func (w *watch) poll(ctx context.Context, keys []string) {
	for _, key := range keys {
		var view pacingView
		if err := w.admin.get(ctx, "/v1/line-items/"+url.PathEscape(key)+"/pacing", &view); err != nil {
			if ctx.Err() != nil {
				return
			}
			w.errors++ // a bidder that is being restarted has no answer
			continue
		}
		w.see(key, &view)
	}
}

func (w *watch) see(key string, view *pacingView) {
	var start time.Time
	for i := range view.Accounts {
		if at := view.Accounts[i].DayStart; at.After(start) {
			start = at
		}
	}
	if start.IsZero() {
		return
	}
	start = start.In(w.zones[key])
	of := dayOf{key, start.Format(dateOf)}
	day := w.days[of]
	if day == nil {
		day = &daySeen{end: start.AddDate(0, 0, 1)}
		w.days[of] = day
	}
	day.polls++
	day.bound, day.most = view.bound(start)
	held := view.Multiplier < .995 || view.BidRate < .995
	for _, c := range view.Caps {
		held = held && float64(c.Actual) < .9*float64(c.Limit) // else it may be the price of clicks that holds it back
	}
	day.braked += flagged(held || day.most >= .98)
	own := w.buyers[key].own.Daily
	if own <= 0 {
		return
	}
	// The last slot with a figure is under way and has its plan for its end, so
	// it is left out. A bidder that was restarted does not know the slots before.
	last := len(view.Slots) - 1
	for last >= 0 && view.Slots[last].Spent == "" {
		last--
	}
	for i := range max(0, last) {
		s := &view.Slots[i]
		if actual, err := rtb.ParseMoney(s.Spent); err == nil && s.Spent != "" {
			off := float64(actual-rtb.Money(s.Planned)) / float64(own)
			day.offPlan = max(day.offPlan, off, -off)
		}
	}
}

// bound is the limit of which the largest share is used on the day that begins
// at start, such as "line-item/shoes money".
func (v *pacingView) bound(start time.Time) (name string, most float64) {
	for i := range v.Accounts {
		a := &v.Accounts[i]
		if a.DayStart.Before(start) {
			a.SpentToday = "0"
		}
		for _, l := range [2]struct{ limit, spent string }{{a.Total, a.Spent}, {a.Daily, a.SpentToday}} {
			// Whole numbers are read as units.
			limit, err := rtb.ParseMoney(l.limit)
			spent, err2 := rtb.ParseMoney(l.spent)
			if err != nil || err2 != nil || limit <= 0 {
				continue
			}
			if share := float64(spent) / float64(limit); share >= most {
				name, most = a.Owner+" "+a.Counts, share
			}
		}
	}
	return name, most
}

// DaySpent is how a daily budget was used on a day that ended in the run.
type DaySpent struct {
	Budget string  `json:"budget"` // whose, such as "line-item/shoes"
	Day    string  `json:"day"`
	Daily  string  `json:"daily"`
	Spent  string  `json:"spent"` // what was delivered, fees included
	Used   float64 `json:"used"`  // share of the budget
	Left   float64 `json:"left"`  // how many impressions the rest would buy, at the price of the day's dearest
	Bound  string  `json:"bound"` // the limit that was used most, this one or another

	// OffPlan is for line items that have a plan and could follow it: not for
	// pacing "asap", nor where another limit bound.
	OffPlan float64 `json:"off_plan"`

	// Demand is whether there was more to buy than the budget could pay: in
	// most of the polls of the day a line item was held back by its multiplier
	// or its bid rate, or a budget of its was all but spent, and no other limit
	// was used more than this one. One that bid for all that it may at full
	// value could not have spent more.
	Demand bool `json:"demand"`
}

// fewLeft is how many of the dearest impressions the rest of a budget may buy
// while it counts as used up. At the end of the day there are always some bids
// in flight of which nobody knows whether they were won, longer where notices
// are lost or late; a bidder that must not overspend leaves their money alone,
// and of a budget for a few hundred impressions that is some percent.
const fewLeft = 10

// finish ends the polls with one more.
func (w *watch) finish(ctx context.Context) {
	w.stop()
	w.polled.Wait()
	w.poll(ctx, slices.Sorted(maps.Keys(w.zones)))
}

// used fills in how the daily budgets were used: those of line items, and those
// of campaigns by what all their line items spent together.
func (w *watch) used(b *books, t *BooksTruth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	type spending struct {
		DaySpent
		daily, total, dearest rtb.Money
	}
	days := map[dayOf]*spending{}
	for of, day := range w.days {
		if day.end.After(w.until) {
			continue
		}
		l := b.byKey(of.line)
		wants := 2*day.braked > day.polls
		for _, owner := range []struct {
			name  string
			daily decimal
		}{{"line-item/" + of.line, l.buyer.own.Daily}, {"campaign/" + l.buyer.campaign, l.buyer.shared.Daily}} {
			if owner.daily <= 0 {
				continue
			}
			of := dayOf{owner.name, of.date}
			s := days[of]
			if s == nil {
				s = &spending{daily: rtb.Money(owner.daily), DaySpent: DaySpent{Budget: owner.name, Day: of.date, Bound: day.bound}}
				days[of] = s
			}
			if d := l.days[of.date]; d != nil {
				s.total += d.sure + d.either/2
				s.dearest = max(s.dearest, d.dearest)
			}
			if day.bound != owner.name+" money" {
				continue
			}
			s.Bound = day.bound
			s.Demand = s.Demand || wants
			if owner.name == "line-item/"+l.buyer.key && !l.buyer.asap {
				s.OffPlan = day.offPlan
			}
		}
	}
	t.MinUsed, t.MeanUsed = 1, 1
	sum, n := 0.0, 0
	for _, s := range days {
		s.Daily, s.Spent, s.Used = s.daily.String(), s.total.String(), float64(s.total)/float64(s.daily)
		if s.dearest > 0 {
			s.Left = max(0, float64(s.daily-s.total)/float64(s.dearest))
		}
		t.Days = append(t.Days, s.DaySpent)
		if !s.Demand {
			continue
		}
		t.MaxOffPlan = max(t.MaxOffPlan, s.OffPlan)
		if s.dearest == 0 || s.Left > fewLeft {
			t.MinUsed = min(t.MinUsed, s.Used)
		}
		sum, n = sum+s.Used, n+1
	}
	if n > 0 {
		t.MeanUsed = sum / float64(n)
	}
	slices.SortFunc(t.Days, func(a, b DaySpent) int {
		return cmp.Or(cmp.Compare(a.Used, b.Used), cmp.Compare(a.Budget, b.Budget), cmp.Compare(a.Day, b.Day))
	})
}

// late sums the money of line items that came for leases that had ended, ever.
func (w *watch) late(ctx context.Context, t *BooksTruth) error {
	var sum rtb.Money
	for key := range w.buyers {
		var view pacingView
		if err := w.admin.get(ctx, "/v1/line-items/"+url.PathEscape(key)+"/pacing", &view); err != nil {
			return err
		}
		for i := range view.Accounts {
			if a := &view.Accounts[i]; a.Owner == "line-item/"+key && a.Counts == "money" {
				sum += rtb.Money(a.Late)
			}
		}
	}
	t.Late = sum.String()
	return nil
}
