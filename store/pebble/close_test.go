package pebble

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"bidwell/rtb"
	"bidwell/store/storetest"
	"bidwell/targeting/audience"
)

// Close comes while an upload is being read: it waits for the upload, which
// fails, and nothing has changed.
func TestCloseDuringUpload(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	storetest.Change(t, s, 1, audience.Add, 0, storetest.Users(0, 10))
	closed := make(chan error, 1)
	_, err := s.Change(t.Context(), storetest.Now, audience.Change{Segment: 1, Mode: audience.Replace}, func(yield func(rtb.UserID, error) bool) {
		go func() { closed <- s.Close() }()
		<-s.stop
		for n := range 5000 {
			if !yield(storetest.User(n), nil) {
				return
			}
		}
		t.Error("the upload was read to its end")
	})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want %v", err, ErrClosed)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := s.Profile(storetest.Now, time.Time{}, []rtb.UserID{storetest.User(1)}, new(rtb.Profile)); !errors.Is(err, ErrClosed) {
		t.Errorf("Profile of a closed store: %v, want %v", err, ErrClosed)
	}
	s = mustOpen(t, small(fs))
	if got := s.SegmentSize(storetest.Now, 1); got != 10 {
		t.Errorf("%d members, want 10", got)
	}
}

// Close comes while an upload is being applied: the next Open finishes it.
func TestCloseDuringApply(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	closed := make(chan error, 1)
	first := true
	s.OnWrite(func([]rtb.UserID) {
		if first {
			first = false
			go func() { closed <- s.Close() }()
			<-s.stop
		}
	})
	_, err := s.Change(t.Context(), storetest.Now, audience.Change{Segment: 1}, storetest.Users(0, 500))
	if !errors.Is(err, ErrClosed) || !errors.Is(err, audience.ErrUnfinished) {
		t.Errorf("error %v, want that the store was closed and the upload is unfinished", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	s = mustOpen(t, small(fs))
	if got := s.SegmentSize(storetest.Now, 1); got != 500 {
		t.Errorf("%d members, want 500", got)
	}
}

// The journal of an upload cannot be read while it is applied: the upload is
// unfinished, and finished before the next one.
func TestUnfinishedUpload(t *testing.T) {
	broken := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, readySuffix) {
			return errorfs.ErrInjected
		}
		return nil
	})}
	s := mustOpen(t, small(errorfs.Wrap(vfs.NewMem(), broken)))
	broken.On()
	_, err := s.Change(t.Context(), storetest.Now, audience.Change{Segment: 1}, storetest.Users(0, 10))
	if !errors.Is(err, audience.ErrUnfinished) {
		t.Errorf("error %v, want %v", err, audience.ErrUnfinished)
	}
	if _, err := s.Change(t.Context(), storetest.Now, audience.Change{Segment: 2}, storetest.Users(0, 10)); err == nil || errors.Is(err, audience.ErrUnfinished) {
		t.Errorf("error %v, want that the one before cannot be finished and this one is not accepted", err)
	}
	broken.Off()
	storetest.Change(t, s, 2, audience.Add, 0, storetest.Users(5, 20))
	if got := storetest.Segments(t, s, storetest.Now, storetest.User(5)); len(got) != 2 {
		t.Errorf("user 5 is in %v, want both segments", got)
	}
	if names, err := s.fs.List(s.journals()); err != nil || len(names) != 0 {
		t.Errorf("journals are left over: %v, %v", names, err)
	}
}

// A sweep takes out what is dead or expired, and users of whom nothing is left.
func TestSweep(t *testing.T) {
	opts := small(vfs.NewMem())
	now := storetest.Now
	opts.now = func() time.Time { return now }
	s := mustOpen(t, opts)
	storetest.Change(t, s, 1, audience.Add, 0, storetest.Users(0, 300))
	storetest.Change(t, s, 2, audience.Add, time.Hour, storetest.Users(200, 500))
	storetest.Change(t, s, 1, audience.Replace, 0, storetest.Users(0, 50))
	now = now.Add(time.Hour)
	if swept, err := s.sweep(); err != nil || swept != 500 {
		t.Errorf("sweep = %d, %v, want 500 users rewritten", swept, err)
	}
	if swept, err := s.sweep(); err != nil || swept != 0 {
		t.Errorf("second sweep = %d, %v, want none", swept, err)
	}
	it, err := s.db.NewIter(&engine.IterOptions{LowerBound: []byte{prefixUser}, UpperBound: []byte{prefixUser + 1}})
	if err != nil {
		t.Fatal(err)
	}
	users := 0
	for ok := it.First(); ok; ok = it.Next() {
		users++
	}
	if err := it.Close(); err != nil || users != 50 {
		t.Errorf("%d users are stored, want 50; %v", users, err)
	}
	if len(s.counts[s.live[2]]) != 0 || s.SegmentSize(now, 1) != 50 {
		t.Errorf("counts after a sweep: %v", s.counts)
	}
}

func TestOpenNamesTheFolder(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, small(fs))
	if _, err := Open("profiles", small(fs)); err == nil || !strings.Contains(err.Error(), "profiles") {
		t.Errorf("opening a store twice: %v, want an error with the folder", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// Whatever is on disk, a record is read or refused, and what is read is
// written back without a loss, sections of a later version included.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{1, 1})
	f.Add([]byte{1, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 0xff, 0xfe})
	f.Add([]byte{1, 0, 1, 7, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{2, 0})
	f.Add(append([]byte{1, 0, 2, exposureSize}, make([]byte, exposureSize)...))
	f.Add(append(append([]byte{1, 0, 2, exposureSize}, bytes.Repeat([]byte{7}, exposureSize)...), 1, 8, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add([]byte{1, 0, 2, exposureSize - 1, 1, 2, 3})
	f.Add([]byte{1, 0, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	var r, again record
	f.Fuzz(func(t *testing.T, value []byte) {
		words, readErr := appendUser([]uint64{0}, 0, value, []rtb.SegmentID{0})
		if err := r.decode(value); (err == nil) != (readErr == nil) {
			t.Fatalf("decode: %v, but read: %v", err, readErr)
		} else if err != nil {
			return
		}
		exposures := words[len(words)-rtb.ExposureWords*len(r.exposures):]
		if members := len(words) - 1 - len(exposures); members > len(r.members) || words[0]>>32 != uint64(len(r.exposures)) {
			t.Fatalf("read %d memberships of %d and %d exposures of %d", members, len(r.members), words[0]>>32, len(r.exposures))
		}
		for i := range r.exposures {
			if w := exposures[rtb.ExposureWords*i:]; rtb.ExposureOf(w[0], w[1], w[2]) != r.exposures[i].Exposure {
				t.Fatalf("exposure %d is %+v, but read as %+v", i, r.exposures[i], rtb.ExposureOf(w[0], w[1], w[2]))
			}
		}
		stored := r.append(nil)
		if err := again.decode(stored); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(stored, again.append(nil)) || len(again.members) != len(r.members) || !slices.Equal(again.exposures, r.exposures) || !bytes.Equal(again.others, r.others) {
			t.Fatal("writing a record has changed it")
		}
	})
}
