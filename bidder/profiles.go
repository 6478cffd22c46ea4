package bidder

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/dgraph-io/ristretto/v2"

	"bidwell/rtb"
)

var (
	profileHits   = metrics.NewCounter("bidwell_profile_cache_hits_total")
	profileMisses = metrics.NewCounter("bidwell_profile_cache_misses_total")
)

// Profiles knows users. Profile replaces what is in p by what is known, at
// now, of the users taken as one person. After an error, a passed deadline
// included, p is that of an unknown user.
type Profiles interface {
	Profile(now, deadline time.Time, users []rtb.UserID, p *rtb.Profile) error
}

// Source is a store of users that can be cached. What it returns of a user
// names tags, not segments, so that the members of a segment can be replaced
// by a switch of its tag, without a word to the cache.
type Source interface {
	// Tags is the table from tag to segment, zero for a tag without meaning. It
	// is never modified; a later call may return another one.
	Tags() []rtb.SegmentID

	// ReadUsers appends to words, for each user, one word of flags (1: opted
	// out; 2: known beside segments) with the number of exposures in its upper
	// half; one word a membership: its tag in the upper half, in the lower its
	// end in Unix seconds, or zero; and three words an exposure, see
	// [rtb.ExposureOf]. To ends it appends the length of words after each user.
	// It reads all users at once.
	ReadUsers(deadline time.Time, users []rtb.UserID, words []uint64, ends []int) ([]uint64, []int, error)

	// OnWrite has f called with users that have changed, after the change can
	// be read and before it is reported as done.
	OnWrite(f func(users []rtb.UserID))
}

// The slots of the cache: 256 bytes each, read and written as atomic words.
const (
	slotWords   = 32
	slotVersion = iota - 1 // odd while the slot is written
	slotUserLow            // first half of the user's id, also the key in the index
	slotUserHigh
	slotStamp // stamp of the user when read in the upper half, Unix seconds in the lower
	slotHead  // two flags of the Source and the next slot; from bit 32 the number of words, from bit 48 of exposures
	slotFirst

	slotRecord = slotWords - slotFirst // words of memberships and exposures

	// A record that is longer goes on in other slots, so many at most. Their
	// upper half of slotHead is the number of the first, and their slotUserLow
	// is inverted, so that nobody takes one for the beginning of a record.
	maxSlots  = 12
	maxRecord = maxSlots * slotRecord
)

const (
	headOptedOut = 1 << iota
	headKnown

	headFlags = headOptedOut | headKnown
)

// nextSlot is the slot in which a record goes on; zero after the last.
func nextSlot(head uint64) uint32 { return uint32(head) >> 2 }

// Cache keeps the users seen lately in front of a [Source], those that are
// unknown included. It implements [Profiles].
//
// Users live in one array of slots without pointers, which the garbage
// collector does not look at; a ristretto cache says which slot is whose and
// which user to forget when there are more users than slots. A user with more
// than a slot holds, 27 words, of which an exposure takes three, has several;
// one with more than twelve hold is read from the Source each time.
//
// A hit allocates nothing itself; ristretto notes who was asked for and takes a
// new notebook of 512 bytes every 64 calls, which is 8 bytes a call. It locks
// for reading one of 256 shards of the index, chosen by the user, for one map
// lookup. A slot is read without a lock: its version tells when it was written
// meanwhile, and then the user counts as missing. A miss takes a slot from a
// list under a mutex, and allocates the item that it passes to ristretto.
type Cache struct {
	source Source
	index  *ristretto.Cache[uint64, uint32]
	slots  []atomic.Uint64

	// stamps count writes, each for the users that share it. A slot filled from
	// a read that began before a write has an old stamp, so it is never used,
	// whenever it gets into the index.
	stamps []atomic.Uint32

	mu   sync.Mutex
	free []uint32 // slots nobody has

	// hints say which slot a user was last found in, by the low bits of the
	// user's id. They are right nearly always, and then ristretto is asked only
	// now and then, so that it learns who is wanted; its own look-up waits for
	// memory several times.
	hints []atomic.Uint32

	misses sync.Pool
}

// askEvery is how many hits ristretto is told of one by.
const askEvery = 8

// maxStale is how long a slot is used at most, should a Source forget to tell
// of a write.
const maxStale = 5 * time.Minute

// slotCost is what a cached user takes, in bytes: the slot, its entry in the
// index and in ristretto's books, and its share of the stamps.
const slotCost = 256 + 192

// DefaultCacheBytes suits about six hundred thousand users.
const DefaultCacheBytes = 256 << 20

// NewCache returns a cache in front of source that takes about the given
// number of bytes; 256 MB when that is zero. Close it after use.
func NewCache(source Source, bytes int64) (*Cache, error) {
	if bytes == 0 {
		bytes = DefaultCacheBytes
	}
	users := bytes / slotCost
	if users < 64 || users > 1<<30 {
		return nil, fmt.Errorf("profile cache of %d bytes: want at least %d and at most %d", bytes, 64*slotCost, int64(slotCost)<<30)
	}
	c := &Cache{
		source: source,
		slots:  make([]atomic.Uint64, (users+1)*slotWords),
		stamps: make([]atomic.Uint32, 1<<bits.Len64(uint64(2*users))),
		hints:  make([]atomic.Uint32, 1<<bits.Len64(uint64(users))),
		free:   make([]uint32, 0, users),
	}
	for slot := users; slot > 0; slot-- { // slot zero is ristretto's word for none
		c.free = append(c.free, uint32(slot))
	}
	c.misses.New = func() any { return new(miss) }
	// Ristretto evicts in the background; until then a new user needs a slot.
	spare := min(users/8, 16<<10)
	var err error
	c.index, err = ristretto.NewCache(&ristretto.Config[uint64, uint32]{
		NumCounters:        8 * users,
		MaxCost:            users - spare,
		BufferItems:        64,
		IgnoreInternalCost: true,
		KeyToHash:          func(key uint64) (uint64, uint64) { return key, 0 }, // it is a hash
		OnExit:             c.release,
	})
	if err != nil {
		return nil, fmt.Errorf("profile cache: %w", err)
	}
	source.OnWrite(c.invalidate)
	return c, nil
}

// Close stops ristretto's goroutines. No Profile may be under way, and none
// may follow.
func (c *Cache) Close() { c.index.Close() }

// invalidate makes what is cached of users, and what is being read, stale.
func (c *Cache) invalidate(users []rtb.UserID) {
	for i := range users {
		c.stamp(&users[i]).Add(1)
	}
}

func (c *Cache) stamp(user *rtb.UserID) *atomic.Uint32 {
	return &c.stamps[binary.LittleEndian.Uint64(user[8:])&uint64(len(c.stamps)-1)]
}

// release takes a user's slots back from the index.
func (c *Cache) release(slot uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot != 0 {
		c.free = append(c.free, slot)
		slot = nextSlot(c.words(slot)[slotHead].Load())
	}
}

// take fills slots with free ones, or with none when there are not so many.
func (c *Cache) take(slots []uint32) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := len(c.free) - len(slots)
	if left < 0 {
		return false
	}
	copy(slots, c.free[left:])
	c.free = c.free[:left]
	return true
}

func (c *Cache) words(slot uint32) []atomic.Uint64 { return c.slots[int(slot)*slotWords:][:slotWords] }

// maxProfileUsers is how many identifiers of one person are looked at.
const maxProfileUsers = 64

// Profile implements [Profiles]. It reads the Source at most once, unless a
// segment is replaced at that very moment.
func (c *Cache) Profile(now, deadline time.Time, users []rtb.UserID, p *rtb.Profile) error {
	users = users[:min(len(users), maxProfileUsers)]
	seconds := uint32(now.Unix())
	for {
		p.Reset()
		tags := c.source.Tags()
		missing := uint64(0)
		for i := range users {
			if !c.lookup(&users[i], tags, seconds, p) {
				missing |= 1 << i
			}
		}
		profileHits.Add(len(users) - bits.OnesCount64(missing))
		if missing != 0 {
			profileMisses.Add(bits.OnesCount64(missing))
			if err := c.read(deadline, users, missing, tags, seconds, p); err != nil {
				p.Reset()
				return err
			}
		}
		p.Known = p.Known || len(p.Segments) > 0
		// Of users read while the table was replaced, some may fit the old
		// table and some the new one.
		if after := c.source.Tags(); &after[0] == &tags[0] {
			return nil
		}
	}
}

// lookup adds a cached user to p. It is false, and has added nothing, for one
// that is not cached or not fresh.
func (c *Cache) lookup(user *rtb.UserID, tags []rtb.SegmentID, seconds uint32, p *rtb.Profile) bool {
	key := binary.LittleEndian.Uint64(user[:])
	hint := &c.hints[key&uint64(len(c.hints)-1)]
	if rand.Uint32()%askEvery != 0 {
		if slot := hint.Load(); slot != 0 && c.readSlot(slot, key, user, tags, seconds, p) {
			return true
		}
	}
	slot, ok := c.index.Get(key)
	if !ok || !c.readSlot(slot, key, user, tags, seconds, p) {
		return false
	}
	hint.Store(slot)
	return true
}

// readSlot adds what a slot says to p, if it is the user's and fresh.
func (c *Cache) readSlot(slot uint32, key uint64, user *rtb.UserID, tags []rtb.SegmentID, seconds uint32, p *rtb.Profile) bool {
	words := c.words(slot)
	version := words[slotVersion].Load()
	stamp, head := words[slotStamp].Load(), words[slotHead].Load()
	n, exposures := int(uint16(head>>32)), int(head>>48)
	members := n - rtb.ExposureWords*exposures
	if version&1 != 0 || n > maxRecord || members < 0 ||
		words[slotUserLow].Load() != key ||
		words[slotUserHigh].Load() != binary.LittleEndian.Uint64(user[8:]) ||
		uint32(stamp>>32) != c.stamp(user).Load() ||
		int32(seconds-uint32(stamp)) >= int32(maxStale/time.Second) {
		return false
	}
	if n > slotRecord {
		var record [maxRecord]uint64
		if !c.readRecord(record[:n], slot, words, stamp) || words[slotVersion].Load() != version {
			return false
		}
		addRecord(p, record[:n], members, tags, seconds)
		addHead(p, head)
		return true
	}
	before, exposed := len(p.Segments), len(p.Exposures)
	for i := range members {
		addMember(p, words[slotFirst+i].Load(), tags, seconds)
	}
	for i := slotFirst + members; i < slotFirst+n; i += rtb.ExposureWords {
		p.Exposures = append(p.Exposures, rtb.ExposureOf(words[i].Load(), words[i+1].Load(), words[i+2].Load()))
	}
	if words[slotVersion].Load() != version {
		p.Segments, p.Exposures = p.Segments[:before], p.Exposures[:exposed]
		return false
	}
	addHead(p, head)
	return true
}

// readRecord reads a record that is longer than its first slot. It is false
// when one of the others is written meanwhile, or has become somebody else's.
func (c *Cache) readRecord(record []uint64, first uint32, words []atomic.Uint64, stamp uint64) bool {
	for i := range slotRecord {
		record[i] = words[slotFirst+i].Load()
	}
	low, high := words[slotUserLow].Load(), words[slotUserHigh].Load()
	slot := nextSlot(words[slotHead].Load())
	for record = record[slotRecord:]; len(record) > 0; record = record[min(slotRecord, len(record)):] {
		if slot == 0 || int(slot) >= len(c.slots)/slotWords {
			return false
		}
		words = c.words(slot)
		version, head := words[slotVersion].Load(), words[slotHead].Load()
		if version&1 != 0 || uint32(head>>32) != first || words[slotStamp].Load() != stamp ||
			words[slotUserLow].Load() != ^low || words[slotUserHigh].Load() != high {
			return false
		}
		for i := range record[:min(slotRecord, len(record))] {
			record[i] = words[slotFirst+i].Load()
		}
		if words[slotVersion].Load() != version {
			return false
		}
		slot = nextSlot(head)
	}
	return true
}

// addRecord adds the words of a record, of which the first are memberships.
func addRecord(p *rtb.Profile, record []uint64, members int, tags []rtb.SegmentID, seconds uint32) {
	for _, member := range record[:members] {
		addMember(p, member, tags, seconds)
	}
	for w := record[members:]; len(w) > 0; w = w[rtb.ExposureWords:] {
		p.Exposures = append(p.Exposures, rtb.ExposureOf(w[0], w[1], w[2]))
	}
}

func addMember(p *rtb.Profile, member uint64, tags []rtb.SegmentID, seconds uint32) {
	tag, until := member>>32, uint32(member)
	if tag < uint64(len(tags)) && tags[tag] != 0 && (until == 0 || until > seconds) {
		p.Segments = append(p.Segments, tags[tag])
	}
}

func addHead(p *rtb.Profile, head uint64) {
	p.OptedOut = p.OptedOut || head&headOptedOut != 0
	p.Known = p.Known || head&(headOptedOut|headKnown) != 0
}

// miss is the memory of one read of the Source.
type miss struct {
	users  []rtb.UserID
	stamps []uint32
	words  []uint64
	ends   []int
}

// read adds the missing users to p, from the Source, and caches them.
func (c *Cache) read(deadline time.Time, users []rtb.UserID, missing uint64, tags []rtb.SegmentID, seconds uint32, p *rtb.Profile) error {
	m := c.misses.Get().(*miss)
	defer c.misses.Put(m)
	m.users, m.stamps = m.users[:0], m.stamps[:0]
	for ; missing != 0; missing &= missing - 1 {
		user := &users[bits.TrailingZeros64(missing)]
		m.users = append(m.users, *user)
		m.stamps = append(m.stamps, c.stamp(user).Load()) // before it is read
	}
	var err error
	m.words, m.ends, err = c.source.ReadUsers(deadline, m.users, m.words[:0], m.ends[:0])
	if err != nil {
		return err
	}
	start := 0
	for i, end := range m.ends {
		words := m.words[start:end]
		start = end
		addRecord(p, words[1:], len(words)-1-rtb.ExposureWords*int(words[0]>>32), tags, seconds)
		addHead(p, words[0])
		c.keep(&m.users[i], m.stamps[i], words, seconds)
	}
	return nil
}

// keep caches what the Source said of a user, if there is room.
func (c *Cache) keep(user *rtb.UserID, stamp uint32, record []uint64, seconds uint32) {
	head, record := record[0], record[1:]
	if len(record) > maxRecord {
		return
	}
	var taken [maxSlots]uint32
	slots := taken[:max(1, (len(record)+slotRecord-1)/slotRecord)]
	if !c.take(slots) {
		return
	}
	first := slots[0]
	head = head&headFlags | uint64(len(record))<<32 | head>>32<<48
	// Nobody else writes to a slot that was taken, but somebody may still read
	// who found it in the index when it was another user's. The first says that
	// it is written until all are.
	key := binary.LittleEndian.Uint64(user[:])
	low := key
	c.words(first)[slotVersion].Add(1)
	for i, slot := range slots {
		words := c.words(slot)
		if i > 0 {
			words[slotVersion].Add(1)
			low, head = ^key, uint64(first)<<32
		}
		if i+1 < len(slots) {
			head |= uint64(slots[i+1]) << 2
		}
		words[slotUserLow].Store(low)
		words[slotUserHigh].Store(binary.LittleEndian.Uint64(user[8:]))
		words[slotStamp].Store(uint64(stamp)<<32 | uint64(seconds))
		words[slotHead].Store(head)
		part := record[i*slotRecord:]
		for k, word := range part[:min(slotRecord, len(part))] {
			words[slotFirst+k].Store(word)
		}
		if i > 0 {
			words[slotVersion].Add(1)
		}
	}
	c.words(first)[slotVersion].Add(1)
	if !c.index.Set(key, first, int64(len(slots))) {
		c.release(first)
	}
}
