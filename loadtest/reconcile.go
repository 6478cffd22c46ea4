package loadtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"bidwell/rtb"
)

// BooksTruth compares the books of the bidder with what it was told.
type BooksTruth struct {
	Lines      []BookedLine `json:"lines"` // those whose books are not what they must be come first
	Delivered  string       `json:"delivered"`
	Booked     string       `json:"booked"`
	Difference string       `json:"difference"` // of all lines, without their signs; zero when all agree
	Repeats    int64        `json:"repeats"`    // notices that the bidder took for such
	Settled    float64      `json:"settled_seconds"`

	Overspent  []Overspend `json:"overspent"`
	Overspend  string      `json:"overspend"` // of all of them
	Late       string      `json:"late"`      // booked, though its lease had ended; of all time
	Days       []DaySpent  `json:"days"`      // of the daily budgets, the least used first
	MinUsed    float64     `json:"min_used"`  // where there was demand and more than a few impressions are left; 1 without any
	MeanUsed   float64     `json:"mean_used"`
	MaxOffPlan float64     `json:"max_off_plan"` // largest deviation from the plan on such a day, as a share of the daily budget

	difference, overspend rtb.Money
}

// BookedLine is what the bidder booked for a line item during the run.
type BookedLine struct {
	LineItem   string `json:"line_item"`
	Delivered  string `json:"delivered"`
	Unsure     string `json:"unsure,omitempty"` // may be booked, too
	Booked     string `json:"booked"`
	Difference string `json:"difference"` // booked less delivered, beyond what is unsure

	off rtb.Money
}

// Overspend is a budget that was overrun.
type Overspend struct {
	Budget string `json:"budget"` // whose, such as "line-item/shoes"
	Day    string `json:"day,omitempty"`
	Limit  string `json:"limit"`
	Spent  string `json:"spent"`
	By     string `json:"by"`
}

// discrepancies are the books as the API shows them.
type discrepancies struct {
	Rows []struct {
		LineItem string  `json:"line_item"`
		Charged  decimal `json:"charged"`
		Repeats  int64   `json:"repeats"`
	} `json:"rows"`
}

// readBooks reads what each line item is charged, and how many notices were
// repeats.
func readBooks(ctx context.Context, a *adminAPI) (charged map[string]rtb.Money, repeats int64, err error) {
	var d discrepancies
	if err := a.get(ctx, "/v1/discrepancies", &d); err != nil {
		return nil, 0, err
	}
	charged = map[string]rtb.Money{}
	for _, row := range d.Rows {
		charged[row.LineItem] += rtb.Money(row.Charged)
		repeats += row.Repeats
	}
	return charged, repeats, nil
}

// reconcile reads the books until they agree with what was delivered, or have
// not moved for a while.
func (w *watch) reconcile(ctx context.Context, truth []LineTruth, settle time.Duration) (*BooksTruth, error) {
	began := time.Now()
	moved := began
	var last map[string]rtb.Money
	for {
		charged, repeats, err := readBooks(ctx, w.admin)
		if err == nil {
			if !maps.Equal(charged, last) {
				moved, last = time.Now(), charged
			}
			t := compareBooks(truth, w.before, charged)
			t.Repeats, t.Settled = repeats-w.repeats, time.Since(began).Seconds()
			still := time.Since(moved) > min(settle, 5*time.Second)
			if t.difference == 0 || still || time.Since(began) > settle {
				return t, nil
			}
		} else if time.Since(began) > settle || ctx.Err() != nil {
			return nil, err
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// compareBooks holds what was booked since the run began against what was
// delivered in it.
func compareBooks(truth []LineTruth, before, charged map[string]rtb.Money) *BooksTruth {
	t := &BooksTruth{Lines: []BookedLine{}, Overspent: []Overspend{}, Days: []DaySpent{}}
	var delivered, booked rtb.Money
	add := func(name string, l LineTruth) {
		sum := charged[name] - before[name]
		line := BookedLine{LineItem: name, Delivered: l.delivered.String(), Booked: sum.String()}
		switch {
		case sum < l.delivered:
			line.off = sum - l.delivered
		case sum > l.delivered+l.unsure:
			line.off = sum - l.delivered - l.unsure
		}
		if l.unsure > 0 {
			line.Unsure = l.unsure.String()
		}
		line.Difference = line.off.String()
		t.difference += max(line.off, -line.off)
		delivered, booked = delivered+l.delivered, booked+sum
		t.Lines = append(t.Lines, line)
	}
	known := map[string]bool{}
	for _, l := range truth {
		known[l.LineItem] = true
		add(l.LineItem, l)
	}
	for _, name := range slices.Sorted(maps.Keys(charged)) {
		if !known[name] && charged[name] != before[name] {
			add(name, LineTruth{LineItem: name})
		}
	}
	slices.SortStableFunc(t.Lines, func(a, b BookedLine) int {
		return cmp.Compare(max(b.off, -b.off), max(a.off, -a.off))
	})
	t.Delivered, t.Booked, t.Difference = delivered.String(), booked.String(), t.difference.String()
	return t
}

// overspend holds what was delivered against the budgets: of line items and of
// campaigns, by day and in total. What was told about midnight counts for no
// day, because it may belong to the other one.
func (b *books) overspend(t *BooksTruth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	type sums struct {
		limits budgetDocument
		total  rtb.Money
		days   map[string]rtb.Money
	}
	owners := map[string]*sums{}
	add := func(owner string, limits budgetDocument, l *line) {
		s := owners[owner]
		if s == nil {
			s = &sums{limits: limits, days: map[string]rtb.Money{}}
			owners[owner] = s
		}
		s.total += l.delivered
		for date, d := range l.days {
			s.days[date] += d.sure
		}
	}
	for _, l := range b.lines {
		add("line-item/"+l.buyer.key, l.buyer.own, l)
		if l.buyer.campaign != "" {
			add("campaign/"+l.buyer.campaign, l.buyer.shared, l)
		}
	}
	check := func(owner, day string, limit decimal, spent rtb.Money) {
		by := spent - rtb.Money(limit)
		if limit <= 0 || by <= 0 {
			return
		}
		t.overspend += by
		t.Overspent = append(t.Overspent, Overspend{Budget: owner, Day: day, Limit: rtb.Money(limit).String(), Spent: spent.String(), By: by.String()})
	}
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		s := owners[owner]
		check(owner, "", s.limits.Total, s.total)
		for _, date := range slices.Sorted(maps.Keys(s.days)) {
			check(owner, date, s.limits.Daily, s.days[date])
		}
	}
	t.Overspend = t.overspend.String()
}

// writeText writes the comparison for people.
func (t *BooksTruth) writeText(p *printer) {
	p.linef("books        delivered %s, booked %s, difference %s, %d repeats, settled in %.1f s", t.Delivered, t.Booked, t.Difference, t.Repeats, t.Settled)
	for _, l := range t.Lines {
		if l.off == 0 && l.Difference != "" {
			continue
		}
		p.linef("books        %s: delivered %s, booked %s, difference %s", l.LineItem, l.Delivered, l.Booked, l.Difference)
	}
	p.linef("budgets      overspend %s, late %s", t.Overspend, t.Late)
	for _, o := range t.Overspent {
		p.linef("overspent    %s %s: %s of %s, by %s", o.Budget, o.Day, o.Spent, o.Limit, o.By)
	}
	demand := 0
	for _, d := range t.Days {
		demand += flagged(d.Demand)
	}
	p.linef("pacing       %d days of daily budgets, %d with demand: used %.4f at least, %.4f on average, off the plan by %.4f at most",
		len(t.Days), demand, t.MinUsed, t.MeanUsed, t.MaxOffPlan)
	for i, d := range t.Days {
		if i == 20 {
			p.linef("pacing       and %d more", len(t.Days)-i)
			break
		}
		how := fmt.Sprintf("the rest buys %.0f of the dearest impressions, off the plan by %.4f", d.Left, d.OffPlan)
		switch {
		case d.Bound != d.Budget+" money":
			how = "bound by " + d.Bound
		case !d.Demand:
			how = "no demand for more"
		}
		p.linef("pacing       %s on %s: %s of %s (%.4f), %s", d.Budget, d.Day, d.Spent, d.Daily, d.Used, how)
	}
}
