package pacing

import (
	"math"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

func even(daily rtb.Money) rtb.LineItem {
	item := asap(1, 0, daily)
	item.Pacing = rtb.PaceEven
	return item
}

func TestForecastShapesThePlan(t *testing.T) {
	p := assigned(monday, even(100*rtb.Unit))
	id := named("line-item/b")
	f := Forecast{From: monday, Until: monday.Add(24 * time.Hour), Opportunities: 1000, Shares: []float64{1, 3, 4, 2}, Multiplier: 0.25}
	if err := p.Forecast(id, f); err != nil {
		t.Fatal(err)
	}
	a := p.accounts[id]
	for hour, want := range map[int]rtb.Money{0: 0, 3: 5, 6: 10, 12: 40, 18: 80, 21: 90, 24: 100} {
		got := a.plan.at(float64(monday.Unix() + int64(hour)*3600))
		if math.Abs(float64(got)-float64(want*rtb.Unit)) > 1e5 {
			t.Errorf("by %d o'clock %s are planned, want %d", hour, rtb.Money(got), want)
		}
	}
	if got := p.Multiplier(0); math.Abs(got-0.25) > 1e-9 {
		t.Errorf("it begins with a multiplier of %v", got)
	}
	if err := p.Forecast(named("line-item/c"), f); err == nil || !strings.Contains(err.Error(), "no such account") {
		t.Errorf("forecast of an unknown account: %v", err)
	}
}

// A forecast that is wrong is corrected by what is seen, against the shape of
// the day.
func TestWhatIsSeenCorrectsTheForecast(t *testing.T) {
	for _, wrong := range []float64{0.5, 1, 2} {
		p := assigned(monday, even(100*rtb.Unit))
		f := Forecast{From: monday, Until: monday.Add(24 * time.Hour), Opportunities: wrong * 86400, Shares: []float64{1, 3}}
		if err := p.Forecast(named("line-item/b"), f); err != nil {
			t.Fatal(err)
		}
		if r, _ := p.Report(1); math.Abs(r.OpportunitiesLeft-wrong*86400) > 1 {
			t.Errorf("at first %v opportunities are left, want the forecast", r.OpportunitiesLeft)
		}
		for second := range 6 * 3600 { // a quarter of the day with an eighth of the traffic
			if p.slots.Load().slots[0].rate = 1; second%2 == 0 {
				p.Offer(0)
			}
			p.Step(monday.Add(time.Duration(second+1) * time.Second))
		}
		r, _ := p.Report(1)
		if want := 86400 * 7.0 / 8; math.Abs(r.OpportunitiesLeft/want-1) > 0.15 {
			t.Errorf("forecast of %v times what comes: %v left after an eighth, want about %v", wrong, r.OpportunitiesLeft, want)
		}
	}
}

func TestForecastsAreValidated(t *testing.T) {
	ok := Forecast{From: monday, Until: monday.Add(time.Hour), Opportunities: 1, Shares: []float64{1}}
	for want, change := range map[string]func(*Forecast){
		"ends before":      func(f *Forecast) { f.Until = f.From },
		"opportunities":    func(f *Forecast) { f.Opportunities = math.NaN() },
		"multiplier":       func(f *Forecast) { f.Multiplier = 1.5 },
		"add up":           func(f *Forecast) { f.Shares = []float64{0, 0} },
		"shares[1]":        func(f *Forecast) { f.Shares = []float64{1, -1} },
		"want at most":     func(f *Forecast) { f.Shares = make([]float64, maxShares+1) },
		"shares: they add": func(f *Forecast) { f.Shares = []float64{math.MaxFloat64, math.MaxFloat64} },
	} {
		f := ok
		change(&f)
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", f.Opportunities, err, want)
		}
	}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}

// Where money is scarce a bid leaves some for others.
func TestDearBidsLeaveMoney(t *testing.T) {
	p := assigned(monday, even(32*rtb.Unit))
	if got := p.Most(0); got < 32*rtb.Unit {
		t.Errorf("a bid of all its value may cost %s", got)
	}
	f := Forecast{From: monday, Until: monday.Add(24 * time.Hour), Stream: true, Multiplier: 0.5}
	if err := p.Forecast(named("line-item/b"), f); err != nil {
		t.Fatal(err)
	}
	if got := p.Most(0); got != rtb.Unit {
		t.Errorf("of 32 a bid may cost %s, want 1", got)
	}
	p.Take(0, 2*rtb.Unit, monday)
	p.Settle(0, 2*rtb.Unit, 2*rtb.Unit, monday, monday)
	p.Step(monday.Add(time.Second))
	if got := p.Most(0); got != 16*rtb.Unit {
		t.Errorf("where payments are of 2 a bid may cost %s, want 16", got)
	}
}
