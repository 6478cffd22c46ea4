package pacing

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDayOf(t *testing.T) {
	tests := []struct {
		zone  string
		now   time.Time
		start string
		hours float64
	}{
		{"UTC", monday.Add(time.Hour), "2026-03-02 00:00", 24},
		{"UTC", monday, "2026-03-02 00:00", 24},
		{"Asia/Kolkata", monday, "2026-03-02 00:00", 24},
		{"Europe/Berlin", time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC), "2026-03-29 00:00", 23},
		{"Europe/Berlin", time.Date(2026, 10, 25, 12, 0, 0, 0, time.UTC), "2026-10-25 00:00", 25},
		{"Australia/Lord_Howe", time.Date(2026, 4, 5, 1, 0, 0, 0, time.UTC), "2026-04-05 00:00", 24.5},
		{"America/Sao_Paulo", time.Date(2018, 11, 4, 12, 0, 0, 0, time.UTC), "2018-11-04 01:00", 23}, // no midnight
		{"America/Sao_Paulo", time.Date(2018, 2, 17, 12, 0, 0, 0, time.UTC), "2018-02-17 00:00", 25},
		{"Pacific/Apia", time.Date(2011, 12, 29, 20, 0, 0, 0, time.UTC), "2011-12-29 00:00", 24}, // the day after is missing
	}
	for _, tt := range tests {
		l := zone(t, tt.zone)
		start, end := dayOf(tt.now.Unix(), l)
		got, hours := time.Unix(start, 0).In(l).Format("2006-01-02 15:04"), float64(end-start)/3600
		if got != tt.start || hours != tt.hours {
			t.Errorf("%s, %v: day from %s, %v hours, want %s, %v", tt.zone, tt.now, got, hours, tt.start, tt.hours)
		}
	}
}

func TestDaysFollowEachOther(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Gaza"} {
		l := zone(t, name)
		at := time.Date(2010, 1, 1, 12, 0, 0, 0, time.UTC).Unix()
		_, at = dayOf(at, l)
		for range 20 * 365 {
			start, end := dayOf(at, l)
			if start != at || end <= start || end-start > maxPlan*quarter {
				t.Fatalf("%s: after %v the day is %v to %v", name, time.Unix(at, 0).In(l), time.Unix(start, 0).In(l), time.Unix(end, 0).In(l))
			}
			if again, _ := dayOf(end-1, l); again != start {
				t.Fatalf("%s: the last second of the day from %v is not in it", name, time.Unix(start, 0).In(l))
			}
			at = end
		}
	}
}

// planned is the plan of a line item that is first seen at a time.
func planned(item rtb.LineItem, now time.Time) *account {
	return assigned(now, item).Pacer.accounts[named("line-item/"+item.Key)]
}

func TestPlan(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, time.UTC) }
	hours := rtb.WeekHours{}
	for h := 8; h < 12; h++ {
		hours.Add(time.Monday, h)
	}
	item := func(change func(*rtb.LineItem)) rtb.LineItem {
		i := rtb.LineItem{ID: 1, Key: "k", Location: time.UTC, Budgets: []rtb.Budget{{Account: named("line-item/k")}}}
		change(&i)
		return i
	}
	tests := []struct {
		name   string
		change func(*rtb.LineItem)
		now    time.Time
		want   map[time.Time]rtb.Money
	}{
		{"a whole day", func(i *rtb.LineItem) { i.Budgets[0].Daily = 96 },
			at(2, 0, 0), map[time.Time]rtb.Money{at(2, 0, 0): 0, at(2, 6, 0): 24, at(2, 6, 8): 24, at(2, 12, 0): 48, at(3, 0, 0): 96}},
		{"the rest of a day", func(i *rtb.LineItem) { i.Budgets[0].Daily = 96 },
			at(2, 18, 7), map[time.Time]rtb.Money{at(2, 18, 0): 0, at(2, 18, 7): 0, at(3, 0, 0): 96}},
		{"a flight that begins and ends at noon", func(i *rtb.LineItem) {
			i.Budgets[0].Daily = 96
			i.Flight = rtb.Flight{Start: at(2, 12, 0), End: at(2, 18, 0)}
		}, at(2, 0, 0), map[time.Time]rtb.Money{at(2, 12, 0): 0, at(2, 15, 0): 48, at(2, 18, 0): 96, at(2, 20, 0): 96}},
		{"four hours of Monday", func(i *rtb.LineItem) { i.Budgets[0].Daily, i.Targeting.Hours = 96, hours },
			at(2, 0, 0), map[time.Time]rtb.Money{at(2, 8, 0): 0, at(2, 9, 0): 24, at(2, 11, 0): 72, at(2, 12, 0): 96}},
		{"hours of the user say nothing of ours", func(i *rtb.LineItem) {
			i.Budgets[0].Daily, i.Targeting.Hours, i.Targeting.UserTime = 96, hours, true
		}, at(2, 0, 0), map[time.Time]rtb.Money{at(2, 8, 0): 32}},
		{"a total over the days left", func(i *rtb.LineItem) {
			i.Budgets[0].Total, i.Flight.End = 960, at(12, 0, 0)
		}, at(2, 0, 0), map[time.Time]rtb.Money{at(2, 12, 0): 48, at(3, 0, 0): 96}},
		{"a total over half a day and one more", func(i *rtb.LineItem) {
			i.Budgets[0].Total, i.Flight.End = 96, at(4, 0, 0)
		}, at(2, 12, 0), map[time.Time]rtb.Money{at(2, 18, 0): 16, at(3, 0, 0): 32}},
		{"a total over the Mondays left", func(i *rtb.LineItem) {
			i.Budgets[0].Total, i.Flight.End, i.Targeting.Hours = 96, at(10, 0, 0), hours
		}, at(2, 0, 0), map[time.Time]rtb.Money{at(2, 12, 0): 48}},
		{"the total is less than a day's", func(i *rtb.LineItem) { i.Budgets[0] = rtb.Budget{Account: named("line-item/k"), Total: 48, Daily: 96} },
			at(2, 0, 0), map[time.Time]rtb.Money{at(2, 12, 0): 24, at(3, 0, 0): 48}},
		{"the flight is over", func(i *rtb.LineItem) { i.Budgets[0].Daily, i.Flight.End = 96, at(1, 0, 0) },
			at(2, 0, 0), map[time.Time]rtb.Money{at(2, 12, 0): 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := planned(item(tt.change), tt.now)
			if !a.planned {
				t.Fatal("there is no plan")
			}
			for at, want := range tt.want {
				if got := a.plan.at(float64(at.Unix())); math.Abs(float64(got-int64(want))) > 1 {
					t.Errorf("at %v: %d, want %d", at.Format("2 15:04"), got, want)
				}
			}
		})
	}
	open := planned(item(func(i *rtb.LineItem) { i.Budgets[0].Total = 96 }), at(2, 0, 0))
	if open.planned {
		t.Error("a total without an end is planned")
	}
}

// Whatever the hours, the plan rises from nothing to all.
func TestPlansRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := monday.Unix()
		length := rapid.Int64Range(1, 25*3600).Draw(t, "length")
		from := start + rapid.Int64Range(0, length).Draw(t, "from")
		base := rapid.Int64Range(0, 1<<40).Draw(t, "base")
		target := base + rapid.Int64Range(0, 1<<50).Draw(t, "target")
		weights := rapid.SliceOfN(rapid.Float64Range(0, 1000), 26, 26).Draw(t, "weights")
		var p plan
		p.make(from, start+length, start, base, target, func(at, end int64) float64 { return weights[(at-start)/3600] * float64(end-at) })
		before := int64(0)
		for at := start; at <= start+length+900; at += 97 {
			got := p.at(float64(at))
			if got < before || got < base || got > target || p.ahead(float64(at)) < got {
				t.Fatalf("at %d: %d after %d, base %d, target %d", at-start, got, before, base, target)
			}
			before = got
		}
		if length > from-start && before != target {
			t.Fatalf("ends at %d, want %d", before, target)
		}
	})
}

func TestProfile(t *testing.T) {
	var p profile
	for h := range 23 {
		p.learn(h, 5)
		if w := p.weight(h); w != 1 {
			t.Fatalf("after %d hours an hour weighs %v, want 1", h+1, w)
		}
	}
	p.learn(23, 10)
	p.learn(24+3, 15) // Monday at three
	for hour, want := range map[int]float64{3: 5, 24 + 3: 15, 48 + 3: 10, 6*24 + 23: 10} {
		if got := p.weight(hour); got != want {
			t.Errorf("hour %d weighs %v, want %v", hour, got, want)
		}
	}
	p.learn(3, 15)
	if got := p.weight(3); math.Abs(got-8) > 1e-6 {
		t.Errorf("after another week the hour weighs %v, want 8", got)
	}
	p.learn(0, 0)
	p.learn(0, 0)
	for range 50 {
		p.learn(0, 0)
	}
	if got := p.weight(0); got <= 0 {
		t.Errorf("an hour without traffic weighs %v: nothing will ever be learned of it", got)
	}
}
