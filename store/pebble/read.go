package pebble

import (
	"bytes"
	"fmt"
	"os"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"bidwell/rtb"
)

// Bits of the first word that [Store.ReadUsers] appends for a user. The upper
// half is the number of exposures.
const (
	headOptedOut = 1 << iota
	headKnown    // something is stored beside memberships
)

// scratch is the memory of one read.
type scratch struct {
	key   [1 + len(rtb.UserID{})]byte
	words []uint64
	ends  []int
}

// Tags is the table from tag to segment, zero for a tag that means none. It is
// immutable, never empty, and replaced by another one when the members of a
// segment are.
func (s *Store) Tags() []rtb.SegmentID { return *s.table.Load() }

// OnWrite has f called after users have changed, before the change is reported
// as done, so that a cache can forget them. f must be quick and must not keep
// the slice.
func (s *Store) OnWrite(f func(users []rtb.UserID)) {
	s.writing.Lock()
	defer s.writing.Unlock()
	all := append((*s.onWrite.Load())[:len(*s.onWrite.Load()):len(*s.onWrite.Load())], f)
	s.onWrite.Store(&all)
}

// ReadUsers appends to words, for each user, one word of flags with the number
// of exposures in its upper half; one a membership, its tag in the upper half
// and its end in Unix seconds (zero for never) in the lower; and three an
// exposure, see [rtb.ExposureOf]. To ends it appends where the words of each
// user end. Tags that mean nothing any more are left out. All users are read
// from one state of the store. It allocates what the database needs for an iterator, but no more once
// words and ends have grown. Where deadline passes it stops with [os.ErrDeadlineExceeded].
func (s *Store) ReadUsers(deadline time.Time, users []rtb.UserID, words []uint64, ends []int) ([]uint64, []int, error) {
	sc := s.scratch.Get().(*scratch)
	defer s.scratch.Put(sc)
	if !s.reading.TryRLock() {
		return words, ends, ErrClosed // only Close ever locks it
	}
	defer s.reading.RUnlock()
	tags := s.Tags()
	// A Get would not look at the Bloom filters of the last level, where nearly
	// all users are, and so read a block for each unknown one.
	it, err := s.db.NewIter(&withFilters)
	for i := 0; err == nil && i < len(users); i++ {
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			err = os.ErrDeadlineExceeded
			break
		}
		words, err = readUser(it, userKey(sc.key[:0], &users[i]), tags, words)
		ends = append(ends, len(words))
	}
	if it != nil {
		if closing := it.Close(); err == nil {
			err = closing
		}
	}
	if err != nil {
		return words, ends, fmt.Errorf("read users in %s: %w", s.dir, err)
	}
	return words, ends, nil
}

// OptedOut appends to out, for each of users, whether they do not want to be
// known.
func (s *Store) OptedOut(users []rtb.UserID, out []bool) ([]bool, error) {
	sc := s.scratch.Get().(*scratch)
	defer s.scratch.Put(sc)
	var err error
	sc.words, sc.ends, err = s.ReadUsers(time.Time{}, users, sc.words[:0], sc.ends[:0])
	if err != nil {
		return out, err
	}
	start := 0
	for _, end := range sc.ends {
		out = append(out, sc.words[start]&headOptedOut != 0)
		start = end
	}
	return out, nil
}

var withFilters = engine.IterOptions{UseL6Filters: true}

func readUser(it *engine.Iterator, key []byte, tags []rtb.SegmentID, words []uint64) ([]uint64, error) {
	at := len(words)
	words = append(words, 0)
	if !it.SeekPrefixGE(key) || !bytes.Equal(it.Key(), key) {
		return words, it.Error()
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return words, err
	}
	return appendUser(words, at, value, tags)
}

func appendUser(words []uint64, at int, value []byte, tags []rtb.SegmentID) ([]uint64, error) {
	flags, rest, err := openRecord(value)
	if err != nil {
		return words, err
	}
	if flags&flagOptedOut != 0 {
		words[at] |= headOptedOut
	}
	sections := rest
	for len(rest) > 0 {
		var kind byte
		var payload []byte
		if kind, payload, _, rest, err = nextSection(rest); err != nil {
			return words, err
		}
		if kind != sectionMembers {
			words[at] |= headKnown
			if kind == sectionExposures {
				words[at] += uint64(len(payload)/exposureSize) << 32
			}
			continue
		}
		for ; len(payload) > 0; payload = payload[memberSize:] {
			m := readMember(payload)
			// A tag beyond the table belongs to a replacement in progress: a
			// cache may need it as soon as that is done.
			if int64(m.tag) >= int64(len(tags)) || tags[m.tag] != 0 {
				words = append(words, uint64(m.tag)<<32|uint64(m.until))
			}
		}
	}
	for words[at]>>32 != 0 && len(sections) > 0 { // exposures come last
		var kind byte
		var payload []byte
		if kind, payload, _, sections, err = nextSection(sections); err != nil {
			return words, err
		}
		if kind == sectionExposures {
			words = appendExposures(words, payload)
		}
	}
	return words, nil
}

// Profile fills p with what is known of the users, taken as one person: all
// segments that one of them is in at this time, what they have seen, and
// whether one of them opted out. On an error, past the deadline included, p is that of an unknown user.
func (s *Store) Profile(now, deadline time.Time, users []rtb.UserID, p *rtb.Profile) error {
	sc := s.scratch.Get().(*scratch)
	defer s.scratch.Put(sc)
	seconds := uint32(now.Unix())
	for {
		p.Reset()
		tags := s.Tags()
		var err error
		sc.words, sc.ends, err = s.ReadUsers(deadline, users, sc.words[:0], sc.ends[:0])
		if err != nil {
			return err
		}
		start := 0
		for _, end := range sc.ends {
			head := sc.words[start]
			p.OptedOut = p.OptedOut || head&headOptedOut != 0
			p.Known = p.Known || head != 0
			members := end - rtb.ExposureWords*int(head>>32)
			for w := sc.words[members:end]; len(w) > 0; w = w[rtb.ExposureWords:] {
				p.Exposures = append(p.Exposures, rtb.ExposureOf(w[0], w[1], w[2]))
			}
			for _, w := range sc.words[start+1 : members] {
				tag, until := int64(w>>32), uint32(w)
				if tag < int64(len(tags)) && tags[tag] != 0 && (until == 0 || until > seconds) {
					p.Segments = append(p.Segments, tags[tag])
				}
			}
			start = end
		}
		p.Known = p.Known || len(p.Segments) > 0
		// While the table was replaced, records may have been read that fit
		// neither the one nor the other.
		if after := s.Tags(); &after[0] == &tags[0] {
			return nil
		}
	}
}
