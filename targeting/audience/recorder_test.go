package audience

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

// shelf is a store of the impressions that it was given.
type shelf struct {
	position uint64
	now      time.Time
	list     []Impression
	err      error
}

func (s *shelf) Recorded() uint64 { return s.position }

func (s *shelf) RecordExposures(_ context.Context, position uint64, now time.Time, list []Impression) error {
	if s.err != nil {
		return s.err
	}
	s.position, s.now, s.list = position, now, append([]Impression(nil), list...)
	return nil
}

func TestRecorder(t *testing.T) {
	made := time.Date(2030, 5, 16, 12, 0, 0, 0, time.UTC)
	user := rtb.UserID{1}
	event := func(bid byte, item rtb.LineItemID, billing bool, user rtb.UserID, after time.Duration) rtb.Event {
		return rtb.Event{Bid: rtb.BidID{bid}, Type: rtb.EventBill, LineItem: item, Campaign: 2, Advertiser: 3, Creative: 4, User: user,
			Made: made, Time: made.Add(after), Billing: billing}
	}
	var s shelf
	r := NewRecorder(&s, func(e *rtb.Event) time.Duration { return time.Duration(e.LineItem) * time.Hour })
	batch := []rtb.Event{
		event(1, 1, true, user, time.Minute),
		event(2, 1, false, user, time.Hour),          // a notice that does not bill
		event(3, 0, true, user, time.Second),         // counted by no cap
		event(4, 1, true, rtb.UserID{}, time.Second), // nobody knows whose
		event(5, 2, true, user, -time.Minute),        // the clock was set back
		event(6, 1<<20, true, user, 2*time.Hour),     // for about ever
		{Bid: rtb.BidID{7}, Type: rtb.EventConversion, Advertiser: 3, User: user, Time: made.Add(3 * time.Hour)}, // uploaded, and not yet
	}
	if err := r.Apply(17, batch); err != nil {
		t.Fatal(err)
	}
	if r.Recorded() != 17 || !s.now.Equal(made.Add(2*time.Hour)) || len(s.list) != 3 {
		t.Fatalf("recorded %+v at %s up to %d", s.list, s.now, r.Recorded())
	}
	want := Impression{User: user, Bid: rtb.BidID{1}, LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 4,
		Time: made.Add(time.Minute), Until: made.Add(time.Minute + time.Hour)}
	if s.list[0] != want {
		t.Errorf("impression %+v, want %+v", s.list[0], want)
	}
	if got := s.list[1]; !got.Time.Equal(made) || !got.Until.Equal(made.Add(2*time.Hour)) {
		t.Errorf("an impression before its bid is at %s until %s", got.Time, got.Until)
	}
	if got := s.list[2]; !got.Until.After(got.Time) {
		t.Errorf("an impression to be remembered for ever is until %s", got.Until)
	}

	s.err = errors.New("disk")
	if err := r.Apply(18, batch); !errors.Is(err, s.err) || !strings.Contains(err.Error(), "18") {
		t.Errorf("Apply = %v, want the store's error and the position", err)
	}
}
