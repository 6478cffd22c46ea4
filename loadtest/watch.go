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
	zones  map[string]*time.Location // by line item
	days   map[dayOf]*daySeen
	errors int // polls that failed
}

type dayOf struct{ line, date string }

// daySeen is what polls saw of a line item on one day of its advertiser.
type daySeen struct {
	polls   int
	braked  int // polls that found it held back, or its budget spent
	offPlan float64
	end     time.Time
}

// pacingView is what the watch reads of the API's pacing report.
type pacingView struct {
	Multiplier float64 `json:"multiplier"`
	BidRate    float64 `json:"bid_rate"`
	Accounts   []struct {
		Owner      string    `json:"owner"`
		Counts     string    `json:"counts"`
		Daily      string    `json:"daily"`
		SpentToday string    `json:"spent_today"`
		DayStart   time.Time `json:"day_start"`
	} `json:"accounts"`
	Slots []struct {
		Start   time.Time `json:"start"`
		Planned decimal   `json:"planned"`
		Spent   string    `json:"spent"`
	} `json:"slots"`
}

// startWatch reads the books as they are, and then every line item with a
// daily budget again and again. The run ends at the time until, simulated or
// real as the bidder's clock is.
func startWatch(ctx context.Context, a *adminAPI, buyers map[string]*buyer, until time.Time) (*watch, error) {
	w := &watch{admin: a, until: until, zones: map[string]*time.Location{}, days: map[dayOf]*daySeen{}}
	var err error
	if w.before, w.repeats, err = readBooks(ctx, a); err != nil {
		return nil, err
	}
	var keys []string
	for _, b := range buyers {
		if b.own.Daily > 0 {
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
	for i := range view.Accounts {
		a := &view.Accounts[i]
		if a.Owner != "line-item/"+key || a.Counts != "money" || a.DayStart.IsZero() {
			continue
		}
		daily, err := rtb.ParseMoney(a.Daily)
		spent, err2 := rtb.ParseMoney(a.SpentToday)
		if err != nil || err2 != nil || daily <= 0 {
			continue
		}
		start := a.DayStart.In(w.zones[key])
		of := dayOf{key, start.Format(dateOf)}
		day := w.days[of]
		if day == nil {
			day = &daySeen{end: start.AddDate(0, 0, 1)}
			w.days[of] = day
		}
		day.polls++
		day.braked += flagged(view.Multiplier < .995 || view.BidRate < .995 || float64(spent) >= .98*float64(daily))
		// The slot under way has its plan for its end, so it is left out.
		day.offPlan = 0
		for i := range view.Slots {
			s := &view.Slots[i]
			actual, err := rtb.ParseMoney(s.Spent)
			if err != nil || i+1 == len(view.Slots) || view.Slots[i+1].Spent == "" {
				break
			}
			off := float64(actual-rtb.Money(s.Planned)) / float64(daily)
			day.offPlan = max(day.offPlan, off, -off)
		}
	}
}

// DaySpent is how a line item used its daily budget on a day that ended in
// the run.
type DaySpent struct {
	LineItem string  `json:"line_item"`
	Day      string  `json:"day"`
	Daily    string  `json:"daily"`
	Spent    string  `json:"spent"` // what was delivered, fees included
	Used     float64 `json:"used"`  // share of the budget
	OffPlan  float64 `json:"off_plan"`

	// Demand is whether there was more to buy than the budget could pay: in
	// most of the polls of the day the line item was held back by its
	// multiplier or its bid rate, or its budget was all but spent. One that bid
	// for all that it may at full value could not have spent more.
	Demand bool `json:"demand"`
}

// finish ends the polls with one more.
func (w *watch) finish(ctx context.Context) {
	w.stop()
	w.polled.Wait()
	w.poll(ctx, slices.Sorted(maps.Keys(w.zones)))
}

// used fills in how the daily budgets were used.
func (w *watch) used(b *books, t *BooksTruth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byKey := map[string]*line{}
	for _, l := range b.lines {
		byKey[l.buyer.key] = l
	}
	t.MinUsed, t.MeanUsed = 1, 1
	sum, n := 0.0, 0
	for of, day := range w.days {
		l := byKey[of.line]
		if l == nil || day.end.After(w.until) {
			continue
		}
		var total dayTotal
		if d := l.days[of.date]; d != nil {
			total = *d
		}
		spent, daily := total.sure+total.either/2, rtb.Money(l.buyer.own.Daily)
		seen := DaySpent{
			LineItem: of.line, Day: of.date, Daily: daily.String(), Spent: spent.String(), Used: float64(spent) / float64(daily),
			OffPlan: day.offPlan, Demand: 2*day.braked > day.polls,
		}
		t.Days = append(t.Days, seen)
		if seen.Demand {
			t.MinUsed, t.MaxOffPlan = min(t.MinUsed, seen.Used), max(t.MaxOffPlan, seen.OffPlan)
			sum, n = sum+seen.Used, n+1
		}
	}
	if n > 0 {
		t.MeanUsed = sum / float64(n)
	}
	slices.SortFunc(t.Days, func(a, b DaySpent) int {
		return cmp.Or(cmp.Compare(a.Used, b.Used), cmp.Compare(a.LineItem, b.LineItem), cmp.Compare(a.Day, b.Day))
	})
}
