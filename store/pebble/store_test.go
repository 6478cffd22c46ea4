package pebble

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"bidwell/rtb"
	"bidwell/store/storetest"
	"bidwell/targeting/audience"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small has several batches and several runs in uploads of some hundred users.
func small(fs vfs.FS) Options {
	return Options{CacheBytes: 1 << 20, fs: fs, batch: 64, runUsers: 100, memTable: 256 << 10, now: func() time.Time { return storetest.Now }}
}

func mustOpen(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open("profiles", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestProfiles(t *testing.T) {
	storetest.TestProfiles(t, func(t *testing.T) storetest.Profiles { return mustOpen(t, small(vfs.NewMem())) })
}

func TestReopen(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	storetest.Change(t, s, 1, audience.Add, 0, storetest.Users(0, 300))
	storetest.Change(t, s, 1, audience.Replace, time.Hour, storetest.Users(100, 400))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, small(fs))
	for n, want := range map[int]int{0: 0, 99: 0, 100: 1, 399: 1, 400: 0} {
		if got := storetest.Segments(t, s, storetest.Now, storetest.User(n)); len(got) != want {
			t.Errorf("user %d is in %v, want %d segments", n, got, want)
		}
	}
	if got := s.SegmentSize(storetest.Now, 1); got != 300 {
		t.Errorf("SegmentSize = %d, want 300", got)
	}
	if got := s.SegmentSize(storetest.Now.Add(time.Hour), 1); got != 0 {
		t.Errorf("SegmentSize after expiry = %d, want 0", got)
	}
}

// Every operation on the file system is a place to crash. One upload runs on a
// file system that is cloned before each of them, as a crash would leave it;
// then each clone is opened and must have the old members or the new ones.
func TestCrashAnywhere(t *testing.T) {
	for _, mode := range []audience.Mode{audience.Add, audience.Replace, audience.Remove} {
		for _, unsynced := range []int{0, 50, 100} {
			t.Run(fmt.Sprintf("%s/unsynced=%d", mode, unsynced), func(t *testing.T) { crashAnywhere(t, mode, unsynced) })
		}
	}
}

func crashAnywhere(t *testing.T, mode audience.Mode, unsynced int) {
	disk := vfs.NewCrashableMem()
	var clones []*vfs.MemFS
	var mu sync.Mutex // the database also writes in the background
	rng := rand.New(rand.NewPCG(7, uint64(unsynced)))
	recording := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			clones = append(clones, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng}))
		}
		return nil
	})}
	s := mustOpen(t, small(errorfs.Wrap(disk, recording)))
	storetest.Change(t, s, 1, audience.Replace, 0, storetest.Users(0, 300))
	if err := s.SetOptOut(t.Context(), storetest.User(250), true); err != nil {
		t.Fatal(err)
	}
	s.OnWrite(func([]rtb.UserID) { // so that some batches are on disk and some are not
		if err := s.db.LogData(nil, engine.Sync); err != nil {
			t.Error(err)
		}
	})
	recording.On()
	storetest.Change(t, s, 1, mode, 0, storetest.Users(200, 500))
	recording.Off()
	mu.Lock()
	defer mu.Unlock()
	clones = append(clones, disk.CrashClone(vfs.CrashCloneCfg{}))
	t.Logf("%d places to crash", len(clones))

	old := func(n int) bool { return n < 300 && n != 250 }
	changed := map[audience.Mode]func(n int) bool{
		audience.Add:     func(n int) bool { return n < 500 && n != 250 },
		audience.Replace: func(n int) bool { return n >= 200 && n < 500 && n != 250 },
		audience.Remove:  func(n int) bool { return n < 200 },
	}[mode]
	before, after := 0, 0
	for i, clone := range clones {
		s := mustOpen(t, small(clone))
		want := old
		if len(storetest.Segments(t, s, storetest.Now, storetest.User(299))) == 0 || len(storetest.Segments(t, s, storetest.Now, storetest.User(450))) == 1 {
			want = changed
			after++
		} else {
			before++
		}
		if err := checkMembers(s, 1, 510, want); err != nil {
			t.Fatalf("crash before operation %d of %d: %v", i, len(clones), err)
		}
		if _, err := s.sweep(); err != nil {
			t.Fatal(err)
		}
		if err := checkMembers(s, 1, 510, want); err != nil {
			t.Fatalf("crash before operation %d of %d, after a sweep: %v", i, len(clones), err)
		}
		if names, err := clone.List(s.journals()); err != nil || len(names) != 0 {
			t.Fatalf("crash before operation %d: journals are left over: %v, %v", i, names, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if before == 0 || after == 0 {
		t.Errorf("%d crashes left the old members and %d the new ones: the upload was not crossed", before, after)
	}
}

// checkMembers says which of the first users differ from want, and whether the
// count does.
func checkMembers(s *Store, segment rtb.SegmentID, users int, want func(n int) bool) error {
	var ids []rtb.UserID
	for n := range users {
		ids = append(ids, storetest.User(n))
	}
	tags := s.Tags()
	words, ends, err := s.ReadUsers(time.Time{}, ids, nil, nil)
	if err != nil {
		return err
	}
	size, start := int64(0), 0
	for n, end := range ends {
		var in []rtb.SegmentID
		for _, w := range words[start+1 : end] {
			in = append(in, tags[w>>32])
		}
		if out := words[start]&headOptedOut != 0; out != (n == 250) {
			return fmt.Errorf("user %d: opted out %t", n, out)
		}
		start = end
		if want(n) {
			size++
		}
		if len(in) > 1 || (len(in) == 1 && in[0] == segment) != want(n) {
			return fmt.Errorf("user %d is in %v, want membership %t", n, in, want(n))
		}
	}
	if got := s.SegmentSize(storetest.Now, segment); got != size {
		return fmt.Errorf("the segment counts %d members, want %d", got, size)
	}
	return nil
}
