package pebble

import (
	"math"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/rtb"
	"bidwell/store/storetest"
	"bidwell/targeting/audience"
)

func TestExposures(t *testing.T) {
	storetest.TestExposures(t, func(t *testing.T) storetest.Exposures { return mustOpen(t, small(vfs.NewMem())) })
}

func seenBy(user int, bid byte, at time.Time) audience.Impression {
	return audience.Impression{User: storetest.User(user), Bid: rtb.BidID{8: bid}, LineItem: 1, Campaign: 2, Advertiser: 3, Creative: 4,
		Time: at, Until: at.Add(time.Hour)}
}

// Exposures and position outlive the process, and a crash loses both or none.
func TestExposuresAndPositionStayTogether(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := mustOpen(t, small(disk))
	for n := range 20 {
		at := storetest.Now.Add(time.Duration(n) * time.Second)
		if err := s.RecordExposures(t.Context(), uint64(n+1), at, []audience.Impression{seenBy(1, byte(n), at)}); err != nil {
			t.Fatal(err)
		}
		if n == 9 { // is on disk, and so are those before
			if err := s.SetOptOut(t.Context(), storetest.User(2), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	crashed := mustOpen(t, small(disk.CrashClone(vfs.CrashCloneCfg{})))
	var p rtb.Profile
	if err := crashed.Profile(storetest.Now, time.Time{}, []rtb.UserID{storetest.User(1)}, &p); err != nil {
		t.Fatal(err)
	}
	if got := crashed.Recorded(); got < 10 || uint64(len(p.Exposures)) != got {
		t.Errorf("after a crash %d exposures at position %d", len(p.Exposures), got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, small(disk))
	if err := s.Profile(storetest.Now, time.Time{}, []rtb.UserID{storetest.User(1)}, &p); err != nil {
		t.Fatal(err)
	}
	if got := s.Recorded(); got != 20 || len(p.Exposures) != 20 {
		t.Errorf("opened again: %d exposures at position %d, want 20 at 20", len(p.Exposures), got)
	}
}

func TestSweepDropsExposures(t *testing.T) {
	s := mustOpen(t, small(vfs.NewMem()))
	record := func(position uint64, now time.Time, list ...audience.Impression) {
		t.Helper()
		if err := s.RecordExposures(t.Context(), position, now, list); err != nil {
			t.Fatal(err)
		}
	}
	swept := func(want int) {
		t.Helper()
		if n, err := s.sweep(); err != nil || n != want {
			t.Errorf("swept %d users, %v; want %d", n, err, want)
		}
	}
	at := storetest.Now.Add(-1000 * time.Hour) // the clock that counts is the log's
	record(1, at, seenBy(1, 1, at), seenBy(2, 2, at.Add(time.Minute)))
	swept(0)
	record(2, at.Add(time.Hour))
	swept(1)
	swept(0)
	words, ends, err := s.ReadUsers(time.Time{}, []rtb.UserID{storetest.User(1), storetest.User(2)}, nil, nil)
	if err != nil || len(words) != 2+rtb.ExposureWords || ends[0] != 1 {
		t.Errorf("left are the words %x, %v, %v; want one exposure of the second user", words, ends, err)
	}
}

func TestCountsDoNotOverflow(t *testing.T) {
	var r record
	for n := range maxExposures + 1 {
		i := seenBy(1, byte(n), storetest.Now.Add(time.Duration(n)*time.Second))
		r.expose(&i)
		r.exposures[len(r.exposures)-1].Count = math.MaxUint16
	}
	if len(r.exposures) != maxExposures || r.exposures[0].Count != math.MaxUint16 {
		t.Errorf("%d exposures, the first of %d", len(r.exposures), r.exposures[0].Count)
	}
	late := seenBy(1, 200, time.Unix(1<<40, 1))
	r.expose(&late)
	if x := r.exposures[len(r.exposures)-1]; x.Time != math.MaxUint32 || x.until != math.MaxUint32 {
		t.Errorf("a time that is too far off became %+v", x)
	}
}
