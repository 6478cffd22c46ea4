package pacing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

// silent lets a line item bid each second until it is stopped, and returns
// after how many seconds that was; zero when it was not.
func silent(p *desk, from time.Time, perSecond, seconds int) int {
	for s := range seconds {
		now := from.Add(time.Duration(s) * time.Second)
		p.Step(now)
		if p.Admit(0, 0) == rtb.NoticesMissing {
			return s
		}
		for range perSecond {
			p.Take(0, 10, now)
		}
	}
	return 0
}

func TestLineItemsWithoutNoticesStop(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	if s := silent(p, monday, 1, 3*3600); s < 2000+1800 || s > 2000+1900 {
		t.Fatalf("stopped after %d seconds, want half an hour after two thousand bids", s)
	}
	b := balance(t, p, "line-item/b")
	if b.Stopped.Before(monday.Add(time.Hour)) || b.Rate != 0 || !strings.Contains(b.Why, "no notice came for 30m0s") {
		t.Errorf("%+v", b)
	}
	stopped := monday.Add(2 * time.Hour)
	if p.Step(stopped); p.Admit(0, 0) != rtb.NoticesMissing {
		t.Error("it has begun again by itself")
	}

	// Any notice, of any bidder, is a sign of life.
	p.Apply(&rtb.Event{Type: rtb.EventView, LineItem: 1, Node: 99}, 0, stopped)
	p.Step(stopped.Add(time.Second))
	if p.Admit(0, 0) != rtb.BidMade || !balance(t, p, "line-item/b").Stopped.IsZero() {
		t.Error("it stays stopped although a notice came")
	}
	again := stopped.Add(time.Minute)
	if s := silent(p, again, 1, 3*3600); s < 2000+1700 || s > 2000+1900 {
		t.Errorf("stopped again after %d seconds", s)
	}
	if err := p.Resume(1); err != nil || p.Admit(0, 0) != rtb.BidMade {
		t.Errorf("Resume: %v, Admit = %v", err, p.Admit(0, 0))
	}
	if err := p.Resume(5); !errors.Is(err, ErrUnknownLineItem) {
		t.Errorf("Resume of one that nobody knows: %v", err)
	}
}

// Impressions that are billed without a price cost something, nobody knows
// what.
func TestLineItemsBilledWithoutAPriceStop(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	now := monday
	bill := func(charge rtb.Money) {
		now = now.Add(time.Second)
		p.Apply(&rtb.Event{Type: rtb.EventBill, LineItem: 1, Billing: true, Charge: charge, Made: now}, 0, now)
		p.Apply(&rtb.Event{Type: rtb.EventView, LineItem: 1, Made: now}, 0, now)
		p.Step(now.Add(time.Millisecond))
	}
	for range 100 { // one in nineteen tells a price
		for range 19 {
			bill(0)
		}
		bill(10)
	}
	if p.Admit(0, 0) != rtb.BidMade {
		t.Fatal("stopped although some notices tell a price")
	}
	for range 20 {
		bill(0)
	}
	if b := balance(t, p, "line-item/b"); p.Admit(0, 0) != rtb.NoticesMissing || !strings.Contains(b.Why, "told no price") {
		t.Fatalf("Admit = %v, %+v", p.Admit(0, 0), b)
	}
	bill(0)
	if p.Admit(0, 0) != rtb.NoticesMissing {
		t.Error("another notice without a price has begun it again")
	}
	if err := p.Resume(1); err != nil || p.Admit(0, 0) != rtb.BidMade {
		t.Errorf("Resume: %v, Admit = %v", err, p.Admit(0, 0))
	}
	for range 20 {
		bill(0)
	}
	if bill(10); p.Admit(0, 0) != rtb.BidMade {
		t.Error("a price has not begun it again")
	}
}

// Once the win rate is known, the wins that should have come count.
func TestSilenceIsMeasuredInWins(t *testing.T) {
	p := assigned(monday, asap(1, 0, 0))
	if err := p.SilenceFor(10 * time.Minute); err != nil {
		t.Fatal(err)
	}
	now := monday
	for range 500 { // one win in ten
		now = now.Add(time.Second)
		p.Step(now)
		for i := range 10 {
			p.Take(0, 10, now)
			if i == 0 {
				p.Settle(0, 10, 10, now, now)
			}
		}
	}
	if s := silent(p, now, 1, 3600); s < 180+600 || s > 220+600 {
		t.Errorf("stopped after %d seconds, want ten minutes after 200 bids", s)
	}
	// Bids that are too few to miss a win, and none at all, stop nothing.
	now = now.Add(time.Hour)
	if err := p.Resume(1); err != nil {
		t.Fatal(err)
	}
	p.Step(now)
	for range 100 {
		p.Take(0, 10, now)
	}
	if s := silent(p, now, 0, 7200); s != 0 {
		t.Errorf("stopped after %d seconds without bids", s)
	}
	for _, d := range []time.Duration{0, time.Second, 8 * 24 * time.Hour} {
		if p.SilenceFor(d) == nil {
			t.Errorf("SilenceFor(%v) is accepted", d)
		}
	}
}
