// Package storetest is the test suite that every storage engine must pass.
package storetest

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bidwell/rtb"
	"bidwell/targeting/audience"
)

// Profiles is what an engine that stores users offers: it is written by
// package audience and package privacy and read by package bidder.
type Profiles interface {
	audience.Profiles
	Profile(now, deadline time.Time, users []rtb.UserID, p *rtb.Profile) error
	SetOptOut(ctx context.Context, user rtb.UserID, out bool) error
	OptedOut(users []rtb.UserID, out []bool) ([]bool, error)
	EraseUser(ctx context.Context, user rtb.UserID, keepOptOut bool) error
	DropSegment(ctx context.Context, segment rtb.SegmentID) error
}

// Now is the time of all tests, until they say otherwise.
var Now = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)

// User is the nth user of the tests. They are spread over all ids.
func User(n int) (user rtb.UserID) {
	salt := [32]byte{1}
	return rtb.HashUser(&salt, rtb.IDCookie, []byte{byte(n), byte(n >> 8), byte(n >> 16), 1})
}

// Users are the users from up to, but without, to, in no order.
func Users(from, to int) iter.Seq2[rtb.UserID, error] {
	return func(yield func(rtb.UserID, error) bool) {
		for _, n := range rand.Perm(to - from) {
			if !yield(User(from+n), nil) {
				return
			}
		}
	}
}

// Change applies a change at [Now] that must succeed.
func Change(t *testing.T, p audience.Profiles, segment rtb.SegmentID, mode audience.Mode, ttl time.Duration, users iter.Seq2[rtb.UserID, error]) audience.Outcome {
	t.Helper()
	c := audience.Change{Segment: segment, Mode: mode}
	if ttl > 0 {
		c.Until = Now.Add(ttl)
	}
	outcome, err := p.Change(t.Context(), Now, c, users)
	if err != nil {
		t.Fatalf("%s segment %d: %v", mode, segment, err)
	}
	return outcome
}

// Segments are the sorted segments of a user at a time, without duplicates.
func Segments(t *testing.T, p Profiles, now time.Time, users ...rtb.UserID) []rtb.SegmentID {
	t.Helper()
	profile := rtb.Profile{Segments: []rtb.SegmentID{999}, OptedOut: true, Known: true} // must be reset
	if err := p.Profile(now, time.Time{}, users, &profile); err != nil {
		t.Fatalf("Profile: %v", err)
	}
	slices.Sort(profile.Segments)
	return slices.Compact(profile.Segments)
}

// TestProfiles tests an engine. open returns an empty store each time, and
// has it closed at the end of the test.
func TestProfiles(t *testing.T, open func(*testing.T) Profiles) {
	tests := []struct {
		name string
		test func(*testing.T, Profiles)
	}{
		{"unknown user", testUnknown},
		{"add", testAdd},
		{"replace", testReplace},
		{"remove", testRemove},
		{"several ids of one person", testMerge},
		{"expiry", testExpiry},
		{"longer of two memberships", testLonger},
		{"opt-out", testOptOut},
		{"erase", testErase},
		{"drop segment", testDrop},
		{"broken list", testBroken},
		{"cancelled", testCancelled},
		{"deadline", testDeadline},
		{"random changes", testRandom},
		{"replace while reading", testReplaceAtomic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

func wantOutcome(t *testing.T, got, want audience.Outcome) {
	t.Helper()
	if got != want {
		t.Errorf("outcome %+v, want %+v", got, want)
	}
}

func wantSegments(t *testing.T, p Profiles, now time.Time, user rtb.UserID, want ...rtb.SegmentID) {
	t.Helper()
	if got := Segments(t, p, now, user); !slices.Equal(got, want) {
		t.Errorf("segments %v, want %v", got, want)
	}
}

func wantSize(t *testing.T, p Profiles, now time.Time, segment rtb.SegmentID, want int64) {
	t.Helper()
	if got := p.SegmentSize(now, segment); got != want {
		t.Errorf("segment %d has %d members, want %d", segment, got, want)
	}
}

func testUnknown(t *testing.T, p Profiles) {
	profile := rtb.Profile{Segments: []rtb.SegmentID{1}, Known: true, OptedOut: true}
	if err := p.Profile(Now, time.Time{}, []rtb.UserID{User(1), User(2)}, &profile); err != nil {
		t.Fatal(err)
	}
	if profile.Known || profile.OptedOut || len(profile.Segments) != 0 {
		t.Errorf("profile of an unknown user: %+v", profile)
	}
	if err := p.Profile(Now, time.Time{}, nil, &profile); err != nil || profile.Known {
		t.Errorf("profile of nobody: %+v, %v", profile, err)
	}
	wantSize(t, p, Now, 1, 0)
}

func testAdd(t *testing.T, p Profiles) {
	wantOutcome(t, Change(t, p, 1, audience.Add, 0, Users(0, 100)), audience.Outcome{Added: 100})
	wantOutcome(t, Change(t, p, 1, audience.Add, 0, Users(50, 150)), audience.Outcome{Added: 50, Already: 50, Matched: 50})
	wantOutcome(t, Change(t, p, 2, audience.Add, 0, Users(0, 10)), audience.Outcome{Added: 10, Matched: 10})
	twice := func(yield func(rtb.UserID, error) bool) {
		_ = yield(User(500), nil) && yield(User(501), nil) && yield(User(500), nil) && yield(User(500), nil)
	}
	wantOutcome(t, Change(t, p, 1, audience.Add, 0, twice), audience.Outcome{Added: 2, Duplicate: 2})
	wantSize(t, p, Now, 1, 152)
	wantSize(t, p, Now, 2, 10)
	wantSegments(t, p, Now, User(5), 1, 2)
	wantSegments(t, p, Now, User(149), 1)
	wantSegments(t, p, Now, User(150))
}

func testReplace(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Replace, 0, Users(0, 100))
	Change(t, p, 2, audience.Add, 0, Users(0, 100))
	wantOutcome(t, Change(t, p, 1, audience.Replace, 0, Users(60, 120)),
		audience.Outcome{Added: 20, Already: 40, Matched: 40, Dropped: 60})
	wantSize(t, p, Now, 1, 60)
	wantSegments(t, p, Now, User(59), 2)
	wantSegments(t, p, Now, User(60), 1, 2)
	wantSegments(t, p, Now, User(119), 1)
	Change(t, p, 1, audience.Add, 0, Users(0, 1))
	wantSegments(t, p, Now, User(0), 1, 2)
	wantSize(t, p, Now, 1, 61)
}

func testRemove(t *testing.T, p Profiles) {
	wantOutcome(t, Change(t, p, 1, audience.Remove, 0, Users(0, 3)), audience.Outcome{Missing: 3})
	Change(t, p, 1, audience.Add, 0, Users(0, 100))
	Change(t, p, 2, audience.Add, 0, Users(0, 50))
	wantOutcome(t, Change(t, p, 1, audience.Remove, 0, Users(40, 110)),
		audience.Outcome{Removed: 60, Missing: 10, Matched: 60})
	wantSize(t, p, Now, 1, 40)
	wantSegments(t, p, Now, User(39), 1, 2)
	wantSegments(t, p, Now, User(40), 2)
	wantSegments(t, p, Now, User(99))
}

func testMerge(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 0, Users(0, 2))
	Change(t, p, 2, audience.Add, 0, Users(1, 3))
	if got := Segments(t, p, Now, User(0), User(7), User(2)); !slices.Equal(got, []rtb.SegmentID{1, 2}) {
		t.Errorf("segments %v, want 1 and 2", got)
	}
	if err := p.SetOptOut(t.Context(), User(7), true); err != nil {
		t.Fatal(err)
	}
	var profile rtb.Profile
	if err := p.Profile(Now, time.Time{}, []rtb.UserID{User(0), User(7)}, &profile); err != nil || !profile.OptedOut {
		t.Errorf("one id has opted out, but the person has not: %+v, %v", profile, err)
	}
	want := []bool{true, false, false, false, true}
	if got, err := p.OptedOut([]rtb.UserID{User(0), User(9), User(1), User(7)}, []bool{true}); err != nil || !slices.Equal(got, want) {
		t.Errorf("opted out %v, %v; want %v", got, err, want)
	}
}

func testExpiry(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, time.Hour, Users(0, 10))
	Change(t, p, 1, audience.Add, 0, Users(10, 12))
	wantSize(t, p, Now, 1, 12)
	wantSegments(t, p, Now.Add(time.Hour-time.Second), User(0), 1)
	late := Now.Add(time.Hour)
	wantSegments(t, p, late, User(0))
	wantSegments(t, p, late, User(10), 1)
	wantSize(t, p, late, 1, 2)
	var profile rtb.Profile
	if err := p.Profile(late, time.Time{}, []rtb.UserID{User(0)}, &profile); err != nil || profile.Known {
		t.Errorf("a user with expired memberships only is still known: %+v, %v", profile, err)
	}
	got, err := p.Change(t.Context(), late, audience.Change{Segment: 1}, Users(0, 12))
	if err != nil {
		t.Fatal(err)
	}
	wantOutcome(t, got, audience.Outcome{Added: 10, Already: 2, Matched: 2})
	wantSize(t, p, late, 1, 12)
}

func testLonger(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 2*time.Hour, Users(0, 1))
	Change(t, p, 1, audience.Add, time.Hour, Users(0, 1))
	wantSegments(t, p, Now.Add(90*time.Minute), User(0), 1)
	Change(t, p, 1, audience.Add, 3*time.Hour, Users(0, 1))
	wantSegments(t, p, Now.Add(150*time.Minute), User(0), 1)
	wantSize(t, p, Now.Add(150*time.Minute), 1, 1)
	wantSize(t, p, Now.Add(4*time.Hour), 1, 0)
	Change(t, p, 1, audience.Add, 0, Users(0, 1))
	Change(t, p, 1, audience.Add, time.Hour, Users(0, 1))
	wantSegments(t, p, Now.AddDate(9, 0, 0), User(0), 1)
	Change(t, p, 1, audience.Replace, time.Hour, Users(0, 1))
	wantSegments(t, p, Now.Add(time.Hour), User(0))
}

func testOptOut(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 0, Users(0, 10))
	if err := p.SetOptOut(t.Context(), User(3), true); err != nil {
		t.Fatal(err)
	}
	var profile rtb.Profile
	if err := p.Profile(Now, time.Time{}, []rtb.UserID{User(3)}, &profile); err != nil || !profile.OptedOut || !profile.Known || len(profile.Segments) != 0 {
		t.Errorf("profile after opting out: %+v, %v", profile, err)
	}
	wantSize(t, p, Now, 1, 9)
	wantOutcome(t, Change(t, p, 1, audience.Add, 0, Users(0, 10)), audience.Outcome{Already: 9, OptedOut: 1, Matched: 10})
	wantOutcome(t, Change(t, p, 1, audience.Replace, 0, Users(2, 4)), audience.Outcome{Already: 1, OptedOut: 1, Matched: 2, Dropped: 8})
	wantSegments(t, p, Now, User(3))
	if err := p.SetOptOut(t.Context(), User(3), false); err != nil {
		t.Fatal(err)
	}
	wantOutcome(t, Change(t, p, 1, audience.Add, 0, Users(3, 4)), audience.Outcome{Added: 1})
	wantSegments(t, p, Now, User(3), 1)
}

func testErase(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 0, Users(0, 10))
	for _, n := range []int{1, 77} { // 77 is unknown, which is no error
		if err := p.EraseUser(t.Context(), User(n), false); err != nil {
			t.Fatal(err)
		}
	}
	wantSize(t, p, Now, 1, 9)
	wantSegments(t, p, Now, User(1))
	for _, keep := range []bool{true, false} {
		if err := p.SetOptOut(t.Context(), User(2), true); err != nil {
			t.Fatal(err)
		}
		if err := p.EraseUser(t.Context(), User(2), keep); err != nil {
			t.Fatal(err)
		}
		var profile rtb.Profile
		if err := p.Profile(Now, time.Time{}, []rtb.UserID{User(2)}, &profile); err != nil || profile.OptedOut != keep || profile.Known != keep {
			t.Errorf("after erasing with keepOptOut %t: %+v, %v", keep, profile, err)
		}
	}
}

func testDrop(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 0, Users(0, 10))
	Change(t, p, 2, audience.Add, 0, Users(0, 10))
	if err := p.DropSegment(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	wantSize(t, p, Now, 1, 0)
	wantSegments(t, p, Now, User(0), 2)
	wantOutcome(t, Change(t, p, 1, audience.Add, 0, Users(5, 6)), audience.Outcome{Added: 1, Matched: 1})
	wantSegments(t, p, Now, User(5), 1, 2)
	wantSegments(t, p, Now, User(0), 2)
}

func testBroken(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 0, Users(0, 10))
	cut := errors.New("connection lost")
	for _, mode := range []audience.Mode{audience.Add, audience.Replace, audience.Remove} {
		broken := func(yield func(rtb.UserID, error) bool) {
			for n := range 5000 {
				if !yield(User(n+5), nil) {
					return
				}
			}
			yield(rtb.UserID{}, cut)
		}
		if _, err := p.Change(t.Context(), Now, audience.Change{Segment: 1, Mode: mode}, broken); !errors.Is(err, cut) {
			t.Errorf("%s of a broken list: error %v, want %v", mode, err, cut)
		}
		wantSize(t, p, Now, 1, 10)
		wantSegments(t, p, Now, User(7), 1)
		wantSegments(t, p, Now, User(4000))
	}
}

func testCancelled(t *testing.T, p Profiles) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	users := func(yield func(rtb.UserID, error) bool) {
		for n := range 100 {
			if !yield(User(n), nil) {
				return
			}
		}
		cancel()
	}
	if _, err := p.Change(ctx, Now, audience.Change{Segment: 1}, users); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	wantSize(t, p, Now, 1, 0)
}

func testDeadline(t *testing.T, p Profiles) {
	Change(t, p, 1, audience.Add, 0, Users(0, 1))
	profile := rtb.Profile{Segments: []rtb.SegmentID{9}, Known: true}
	err := p.Profile(Now, time.Now().Add(-time.Second), []rtb.UserID{User(0)}, &profile)
	if err == nil || profile.Known || len(profile.Segments) > 0 {
		t.Errorf("past the deadline: %+v, %v; want an unknown user and an error", profile, err)
	}
}

// testRandom compares the store with a plain map after many changes.
func testRandom(t *testing.T, p Profiles) {
	r := rand.New(rand.NewPCG(1, 2))
	const users, segments = 60, 4
	var model [users]map[rtb.SegmentID]time.Time
	var out [users]bool
	for n := range model {
		model[n] = map[rtb.SegmentID]time.Time{}
	}
	forever := Now.AddDate(50, 0, 0)
	now := Now
	for step := range 150 {
		segment := rtb.SegmentID(1 + r.IntN(segments))
		switch op := r.IntN(10); {
		case op == 0:
			n := r.IntN(users)
			out[n] = !out[n]
			if err := p.SetOptOut(t.Context(), User(n), out[n]); err != nil {
				t.Fatal(err)
			}
			if out[n] {
				clear(model[n])
			}
		case op == 1:
			n := r.IntN(users)
			if err := p.EraseUser(t.Context(), User(n), true); err != nil {
				t.Fatal(err)
			}
			clear(model[n])
		case op == 2:
			now = now.Add(time.Duration(r.IntN(3)) * time.Minute)
		default:
			c := audience.Change{Segment: segment, Mode: audience.Mode(r.IntN(3))}
			until := forever
			if c.Mode != audience.Remove && r.IntN(2) == 0 {
				until = now.Add(time.Duration(1+r.IntN(5)) * time.Minute)
				c.Until = until
			}
			listed := r.Perm(users)[:r.IntN(users)]
			seq := func(yield func(rtb.UserID, error) bool) {
				for _, n := range listed {
					if !yield(User(n), nil) {
						return
					}
				}
			}
			if _, err := p.Change(t.Context(), now, c, seq); err != nil {
				t.Fatal(err)
			}
			if c.Mode == audience.Replace {
				for n := range model {
					delete(model[n], segment)
				}
			}
			for _, n := range listed {
				switch {
				case c.Mode == audience.Remove:
					delete(model[n], segment)
				case !out[n] && until.After(model[n][segment]):
					model[n][segment] = until
				}
			}
		}
		sizes := map[rtb.SegmentID]int64{}
		for n := range model {
			var want []rtb.SegmentID
			for segment, until := range model[n] {
				if until.After(now) {
					want = append(want, segment)
					sizes[segment]++
				}
			}
			slices.Sort(want)
			if got := Segments(t, p, now, User(n)); !slices.Equal(got, want) {
				t.Fatalf("step %d: user %d is in %v, want %v", step, n, got, want)
			}
		}
		for segment := rtb.SegmentID(1); segment <= segments; segment++ {
			wantSize(t, p, now, segment, sizes[segment])
		}
	}
}

// testReplaceAtomic reads two users while they take turns in a segment, each
// by a Replace: at every moment exactly one of them is in it. A third is
// always in it.
func testReplaceAtomic(t *testing.T, p Profiles) {
	const turns = 20
	round := func(turn int) iter.Seq2[rtb.UserID, error] {
		return func(yield func(rtb.UserID, error) bool) {
			_ = yield(User(turn%2), nil) && yield(User(2), nil)
			for n := range 300 {
				if !yield(User(10+n), nil) {
					return
				}
			}
		}
	}
	Change(t, p, 1, audience.Replace, 0, round(0))
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		var profile rtb.Profile
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			err := p.Profile(Now, time.Time{}, []rtb.UserID{User(0), User(1)}, &profile)
			if err == nil && len(profile.Segments) != 1 {
				err = errors.New("neither the old members nor the new ones: of two users that take turns, not one is in the segment")
			}
			if err == nil {
				err = p.Profile(Now, time.Time{}, []rtb.UserID{User(2)}, &profile)
				if err == nil && len(profile.Segments) != 1 {
					err = errors.New("a user of the old members and the new ones was in neither")
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for turn := 1; turn <= turns; turn++ {
		Change(t, p, 1, audience.Replace, 0, round(turn))
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
