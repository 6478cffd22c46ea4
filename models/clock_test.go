package models

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bidwell/rtb"
)

func TestClock(t *testing.T) {
	const at = 1_700_000_000
	tests := []struct {
		name string
		said []int64 // after at, in seconds
		want int64
	}{
		{"goes on", []int64{0, 1, 5, 60}, 60},
		{"not back", []int64{0, 50, 20}, 50},
		{"one that is ahead", []int64{0, 3600, 1, 3601, 2, 3602, 3}, 3},
		{"ahead for long, while others write", []int64{0, 3600, 30, 3630, 60, 3660, 90, 3690, 120, 3720}, 120},
		{"one that is behind", []int64{0, -3600, 1, -3599, 2}, 2},
		{"one ahead, one behind", []int64{0, 3600, -3600, 3630, -3570, 3660, -3540, 3690}, 0},
		{"a pause is doubted", []int64{0, 7200, 7259}, 0},
		{"and then believed", []int64{0, 7200, 7259, 7260}, 7260},
		{"few events", []int64{0, 100, 200, 300, 400}, 400},
		{"a start with a wrong clock", []int64{1e9, 0, 30, 60}, 60},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c clock
			for _, s := range tt.said {
				c.hear(at + s)
			}
			if got := c.now - at; got != tt.want {
				t.Errorf("after %v it is %d, want %d", tt.said, got, tt.want)
			}
		})
	}
}

// However wrong the clock of one of three bidders is, the time stays that of
// the others.
func TestClockOfThree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(-1e6, 1e6).Draw(t, "off")
		var c clock
		now := int64(1e9)
		c.hear(now)
		for i, step := range rapid.SliceOfN(rapid.Int64Range(0, leap/4), 1, 200).Draw(t, "steps") {
			now += step
			if said := now; i%3 == 2 {
				c.hear(said + off)
			} else {
				c.hear(said)
			}
			if d := c.now - now; d > leap || d < -leap {
				t.Fatalf("it is %d, and the clock says %d more", now, d)
			}
		}
	})
}

// An impression waits for its click as long as ever, though one bidder of three
// is an hour ahead; and what that one has written keeps nobody waiting.
func TestOneFastClockAgesNothing(t *testing.T) {
	l, s := testLearner(t, nil), newShop(11)
	var labelled, early, clicked int
	asked := map[rtb.BidID]time.Time{}
	l.Labelled = func(lesson *Lesson) {
		labelled++
		if s.now.Sub(asked[lesson.Bid]) < l.cfg.ClickWait-leap*time.Second {
			early++
		}
		if lesson.Clicked {
			clicked++
		}
	}
	for i := range 3000 {
		s.now = s.now.Add(time.Second)
		e, _, _ := s.impression(1)
		asked[e.Bid] = s.now
		c := e // of the one before, four minutes later
		c.Type = rtb.EventClick
		if s.bids > 240 {
			binary.LittleEndian.PutUint64(c.Bid[:], s.bids-240)
		}
		if i%3 == 1 {
			e.Time = e.Time.Add(time.Hour)
			c.Time = c.Time.Add(time.Hour)
		}
		l.take(&e)
		if s.bids > 240 {
			l.take(&c)
		}
	}
	if labelled < 2600 || early != 0 || clicked != labelled {
		t.Errorf("%d of 3000 learned, %d too early, %d clicked", labelled, early, clicked)
	}
}
