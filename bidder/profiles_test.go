package bidder

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"bidwell/rtb"
	"bidwell/store/pebble"
	"bidwell/store/storetest"
	"bidwell/targeting/audience"
)

func openProfiles(t testing.TB, bytes int64) (*pebble.Store, *Cache) {
	t.Helper()
	store, err := pebble.Open("profiles", pebble.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := NewCache(store, bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cache.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, cache
}

// cached is a store that is read through a cache.
type cached struct {
	*pebble.Store
	cache *Cache
}

func (c cached) Profile(now, deadline time.Time, users []rtb.UserID, p *rtb.Profile) error {
	return c.cache.Profile(now, deadline, users, p)
}

// Whatever a store promises has to be true through the cache.
func TestCacheIsAsGoodAsTheStore(t *testing.T) {
	storetest.TestProfiles(t, func(t *testing.T) storetest.Profiles {
		store, cache := openProfiles(t, 1<<20)
		return cached{store, cache}
	})
}

func TestCacheIsAsGoodAsTheStoreWithExposures(t *testing.T) {
	storetest.TestExposures(t, func(t *testing.T) storetest.Exposures {
		store, cache := openProfiles(t, 1<<20)
		return cached{store, cache}
	})
}

// table is a Source of users in memory that counts how often it is read.
type table struct {
	mu     sync.Mutex
	users  map[rtb.UserID][]uint64 // flags, memberships
	tags   []rtb.SegmentID
	reads  int
	during func() // called between reading and answering
	err    error
	writes []func([]rtb.UserID)
}

func (s *table) Tags() []rtb.SegmentID              { return s.tags }
func (s *table) OnWrite(f func(users []rtb.UserID)) { s.writes = append(s.writes, f) }

func (s *table) ReadUsers(_ time.Time, users []rtb.UserID, words []uint64, ends []int) ([]uint64, []int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	for i := range users {
		if record := s.users[users[i]]; record != nil {
			words = append(words, record...)
		} else {
			words = append(words, 0)
		}
		ends = append(ends, len(words))
	}
	if s.during != nil {
		s.during()
	}
	return words, ends, s.err
}

func (s *table) write(user rtb.UserID, record ...uint64) {
	s.users[user] = record
	for _, f := range s.writes {
		f([]rtb.UserID{user})
	}
}

func newTable(t testing.TB) (*table, *Cache) {
	s := &table{users: map[rtb.UserID][]uint64{}, tags: []rtb.SegmentID{0, 10, 20, 30}}
	cache, err := NewCache(s, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return s, cache
}

func profileOf(t *testing.T, c *Cache, now time.Time, users ...rtb.UserID) rtb.Profile {
	t.Helper()
	p := rtb.Profile{Segments: []rtb.SegmentID{77}, Known: true}
	if err := c.Profile(now, time.Time{}, users, &p); err != nil {
		t.Fatal(err)
	}
	c.index.Wait() // until what was read is cached
	return p
}

func wantReads(t *testing.T, s *table, want int) {
	t.Helper()
	if s.reads != want {
		t.Errorf("the source was read %d times, want %d", s.reads, want)
	}
}

func TestCacheReadsOnce(t *testing.T) {
	s, c := newTable(t)
	now := storetest.Now
	known, expiring, unknown := storetest.User(1), storetest.User(2), storetest.User(3)
	soon := uint64(now.Unix() + 60)
	s.users[known] = []uint64{0, 1 << 32, 2 << 32}
	s.users[expiring] = []uint64{0, 1<<32 | soon}

	for range 3 {
		if p := profileOf(t, c, now, known, unknown, expiring); !p.Known || !slices.Equal(p.Segments, []rtb.SegmentID{10, 20, 10}) {
			t.Errorf("profile %+v", p)
		}
	}
	wantReads(t, s, 1) // all three at once, and the unknown one not again
	if p := profileOf(t, c, now.Add(time.Minute), expiring); p.Known || len(p.Segments) > 0 {
		t.Errorf("a hit brought an expired membership: %+v", p)
	}
	s.tags = []rtb.SegmentID{0, 0, 20, 10} // segment 10 has other members now
	if p := profileOf(t, c, now, known); !slices.Equal(p.Segments, []rtb.SegmentID{20}) {
		t.Errorf("a hit brought a member of before a replacement: %+v", p)
	}
	wantReads(t, s, 1)
	profileOf(t, c, now.Add(maxStale), known)
	wantReads(t, s, 2)
}

func TestCacheForgetsOnWrite(t *testing.T) {
	s, c := newTable(t)
	user := storetest.User(1)
	profileOf(t, c, storetest.Now, user)
	s.write(user, headOptedOut)
	if p := profileOf(t, c, storetest.Now, user); !p.OptedOut || !p.Known {
		t.Errorf("after opting out: %+v", p)
	}
	wantReads(t, s, 2)
}

// A write comes after the source has read the user and before the cache keeps
// what it read. The next reader must see the write.
func TestCacheDoesNotKeepWhatIsOld(t *testing.T) {
	s, c := newTable(t)
	user := storetest.User(1)
	for range 2 { // once for a new user, once for one that is cached already
		s.during = func() { s.write(user, 0, 3<<32) }
		s.users[user] = []uint64{0, 1 << 32}
		c.invalidate([]rtb.UserID{user})
		if p := profileOf(t, c, storetest.Now, user); !slices.Equal(p.Segments, []rtb.SegmentID{10}) {
			t.Errorf("profile %+v, want what was read before the write", p)
		}
		s.during = nil
		if p := profileOf(t, c, storetest.Now, user); !slices.Equal(p.Segments, []rtb.SegmentID{30}) {
			t.Errorf("profile %+v, want what was written", p)
		}
	}
}

func TestCacheOfUsersInManySegments(t *testing.T) {
	s, c := newTable(t)
	for n, want := range map[int]int{slotRecord: 1, slotRecord + 1: 1, 2*slotRecord + 3: 1, maxRecord: 1, maxRecord + 1: 2} {
		s.reads = 0
		user := storetest.User(n)
		record := []uint64{0}
		for range n {
			record = append(record, 1<<32)
		}
		s.users[user] = record
		for range 2 {
			if p := profileOf(t, c, storetest.Now, user); len(p.Segments) != n {
				t.Errorf("%d segments, want %d", len(p.Segments), n)
			}
		}
		wantReads(t, s, want)
	}
}

func TestCacheOfExposures(t *testing.T) {
	s, c := newTable(t)
	for n, want := range map[int]int{1: 1, (slotRecord - 2) / rtb.ExposureWords: 1, (slotRecord-2)/rtb.ExposureWords + 1: 1, 64: 1, 150: 2} {
		s.reads = 0
		user := storetest.User(n)
		record := []uint64{headKnown | uint64(n)<<32, 1 << 32, 2 << 32}
		var seen []rtb.Exposure
		for i := range uint32(n) {
			e := rtb.Exposure{LineItem: rtb.LineItemID(i + 1), Campaign: 2, Advertiser: 3, Creative: rtb.CreativeID(i + 7), Time: 1e9 + i, Count: uint16(i + 1)}
			seen, record = append(seen, e), e.AppendWords(record)
		}
		s.users[user] = record
		for range 2 {
			if p := profileOf(t, c, storetest.Now, user); !slices.Equal(p.Exposures, seen) || !slices.Equal(p.Segments, []rtb.SegmentID{10, 20}) || !p.Known {
				t.Errorf("profile %+v, want two segments and %d exposures", p, n)
			}
		}
		wantReads(t, s, want)
		s.write(user, 0)
		if p := profileOf(t, c, storetest.Now, user); len(p.Exposures) != 0 || p.Known {
			t.Errorf("after they were forgotten: %+v", p)
		}
	}
}

func TestCacheAfterAnError(t *testing.T) {
	s, c := newTable(t)
	a, b := storetest.User(1), storetest.User(2)
	s.users[a] = []uint64{0, 1 << 32}
	profileOf(t, c, storetest.Now, a)
	s.err = errors.New("disk")
	var p rtb.Profile
	if err := c.Profile(storetest.Now, time.Time{}, []rtb.UserID{a, b}, &p); !errors.Is(err, s.err) || p.Known || len(p.Segments) > 0 {
		t.Errorf("profile %+v, error %v; want an unknown user and the error of the source", p, err)
	}
}

// Many more users than slots, from several goroutines, with writes between:
// nobody gets the segments of another, and no slot is lost or owned twice.
func TestCacheKeepsItsBounds(t *testing.T) {
	s := &table{users: map[rtb.UserID][]uint64{}}
	const users, slots = 2000, 200
	for n := range users {
		s.tags = append(s.tags, rtb.SegmentID(n))
		e := rtb.Exposure{LineItem: rtb.LineItemID(n), Count: uint16(n)}
		record := []uint64{uint64(n%10/8*n%20) << 32, uint64(n) << 32, uint64(n) << 32} // some are long
		for range record[0] >> 32 {
			record = e.AppendWords(record)
		}
		s.users[storetest.User(n)] = record
	}
	c, err := NewCache(s, slots*slotCost)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			var p rtb.Profile
			for i := range 20_000 {
				n := 1 + (i*i*7+g*131)%(users-1)
				if i%3 == 0 {
					n = 1 + i%50 // some come often
				}
				user := storetest.User(n)
				if i%100 == 0 {
					c.invalidate([]rtb.UserID{user})
				}
				if err := c.Profile(storetest.Now, time.Time{}, []rtb.UserID{user}, &p); err != nil {
					t.Error(err)
					return
				}
				exposures := int(s.users[user][0] >> 32)
				for k := range p.Exposures {
					if p.Exposures[k] != (rtb.Exposure{LineItem: rtb.LineItemID(n), Count: uint16(n)}) {
						t.Errorf("user %d has seen %+v", n, p.Exposures[k])
						return
					}
				}
				if len(p.Exposures) != exposures || len(p.Segments) != 2 || p.Segments[0] != rtb.SegmentID(n) || p.Segments[1] != rtb.SegmentID(n) {
					t.Errorf("user %d is in %v", n, p.Segments)
					return
				}
			}
		})
	}
	group.Wait()
	c.index.Wait()
	owner := map[uint32]int{}
	for _, slot := range c.free {
		owner[slot]++
	}
	held := 0
	c.index.IterValues(func(slot uint32) bool {
		for ; slot != 0; slot = nextSlot(c.words(slot)[slotHead].Load()) {
			owner[slot]++
			held++
		}
		return false
	})
	for slot, owners := range owner {
		if owners != 1 {
			t.Errorf("slot %d is owned %d times", slot, owners)
		}
	}
	if len(owner) != slots {
		t.Errorf("%d slots are accounted for, want %d", len(owner), slots)
	}
	if held < slots/2 {
		t.Errorf("only %d of %d slots are in use", held, slots)
	}
}

func TestNewCacheRefusesSizes(t *testing.T) {
	for _, bytes := range []int64{-1, 1, 1 << 50} {
		if c, err := NewCache(&table{}, bytes); err == nil {
			c.Close()
			t.Errorf("NewCache of %d bytes succeeded", bytes)
		}
	}
}

func TestCacheHitDoesNotAllocate(t *testing.T) {
	store, c := openProfiles(t, 1<<20)
	storetest.Change(t, store, 1, audience.Add, time.Hour, storetest.Users(0, 10))
	users := []rtb.UserID{storetest.User(1), storetest.User(500)} // one known, one not
	if err := store.RecordExposures(t.Context(), 1, storetest.Now, []audience.Impression{
		{User: users[0], LineItem: 1, Time: storetest.Now, Until: storetest.Now.Add(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	profileOf(t, c, storetest.Now, users...)
	var p rtb.Profile
	misses := profileMisses.Get()
	deadline := time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(1000, func() { _ = c.Profile(storetest.Now, deadline, users, &p) }); n != 0 {
		t.Errorf("a hit allocates %v times, want 0", n)
	}
	if profileMisses.Get() != misses || len(p.Segments) != 1 || len(p.Exposures) != 1 {
		t.Errorf("these were no hits: %+v", p)
	}
}

var million = sync.OnceValues(func() (*pebble.Store, error) {
	store, err := pebble.Open("profiles", pebble.Options{InMemory: true})
	if err != nil {
		return nil, err
	}
	for segment := range 3 {
		_, err = store.Change(context.Background(), storetest.Now, audience.Change{Segment: rtb.SegmentID(1 + segment)}, func(yield func(rtb.UserID, error) bool) {
			for n := range benchUsers {
				if !yield(benchUser(uint64(n)), nil) {
					return
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return store, nil
})

const benchUsers = 1_000_000

// benchUser is cheap and spread like a hash.
func benchUser(n uint64) (user rtb.UserID) {
	n = (n + 1) * 0x9e3779b97f4a7c15
	binary.LittleEndian.PutUint64(user[:], n^n>>29)
	binary.LittleEndian.PutUint64(user[8:], (n^n>>32)*0xbf58476d1ce4e5b9)
	return user
}

// BenchmarkProfile reads one of a million users, each in three segments: from
// the cache, from the store because the cache has forgotten, from the store
// alone, and one that is unknown, at first and again.
func BenchmarkProfile(b *testing.B) {
	store, err := million()
	if err != nil {
		b.Fatal(err)
	}
	now, deadline := storetest.Now, time.Now().Add(time.Hour)
	run := func(name string, bytes int64, users, base uint64, forget bool) {
		b.Run(name, func(b *testing.B) {
			c, err := NewCache(store, bytes)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			var p rtb.Profile
			read := func(n uint64) {
				user := [1]rtb.UserID{benchUser(base + n%users)}
				if forget {
					c.invalidate(user[:])
				}
				if err := c.Profile(now, deadline, user[:], &p); err != nil {
					b.Fatal(err)
				}
			}
			if !forget {
				for n := range users { // fill the cache
					read(n)
					if n%8192 == 0 {
						c.index.Wait()
					}
				}
				c.index.Wait()
			}
			b.ReportAllocs()
			n, misses := uint64(0), profileMisses.Get()
			for b.Loop() {
				read(n * 7919)
				n++
			}
			b.ReportMetric(100-100*float64(profileMisses.Get()-misses)/float64(n), "%hits")
		})
	}
	run("hit", 512<<20, benchUsers, 0, false)
	run("miss", 512<<20, benchUsers, 0, true)
	run("unknown-hit", 512<<20, benchUsers, 10*benchUsers, false)
	run("unknown-miss", 512<<20, benchUsers, 10*benchUsers, true)
	b.Run("store", func(b *testing.B) {
		var p rtb.Profile
		b.ReportAllocs()
		n := uint64(0)
		for b.Loop() {
			user := [1]rtb.UserID{benchUser(n * 7919 % benchUsers)}
			if err := store.Profile(now, deadline, user[:], &p); err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
}
