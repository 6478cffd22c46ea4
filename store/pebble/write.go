package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"bidwell/rtb"
)

// writer is the memory of a write, reused under s.writing.
type writer struct {
	record  record
	key     []byte
	value   []byte
	changed []rtb.UserID
	delta   map[countOf]int64
}

type countOf struct{ tag, until uint32 }

// rewrite reads the records of users, which are in ascending order and
// distinct, has edit change each, and writes in one batch what has changed,
// together with the counts and what also adds. Dead and expired memberships
// and exposures are dropped from what is rewritten. The caller holds s.writing.
//
// edit learns whether there was a record and returns whether it modified it.
func (s *Store) rewrite(now uint32, users []rtb.UserID, sync *engine.WriteOptions,
	edit func(i int, found bool, r *record) bool, also func(*engine.Batch) error) error {
	if len(users) == 0 && also == nil {
		return nil
	}
	w := &s.writer
	w.changed = w.changed[:0]
	if w.delta == nil {
		w.delta = map[countOf]int64{}
	}
	clear(w.delta)
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.rewriteUsers(b, now, users, edit); err != nil {
		return err
	}
	for of, delta := range w.delta {
		if delta == 0 {
			continue
		}
		var err error
		if n := s.counts[of.tag][of.until] + delta; n > 0 {
			err = b.Set(countKey(of.tag, of.until), binary.LittleEndian.AppendUint64(nil, uint64(n)), nil)
		} else {
			err = b.Delete(countKey(of.tag, of.until), nil)
		}
		if err != nil {
			return err
		}
	}
	if also != nil {
		if err := also(b); err != nil {
			return err
		}
	}
	if err := b.Commit(sync); err != nil {
		return err
	}
	for of, delta := range w.delta {
		s.setCount(of.tag, of.until, s.counts[of.tag][of.until]+delta)
	}
	if len(w.changed) > 0 {
		for _, f := range *s.onWrite.Load() {
			f(w.changed)
		}
	}
	return nil
}

func (s *Store) rewriteUsers(b *engine.Batch, now uint32, users []rtb.UserID, edit func(i int, found bool, r *record) bool) (err error) {
	if len(users) == 0 {
		return nil
	}
	it, err := s.db.NewIter(&engine.IterOptions{
		LowerBound: userKey(nil, &users[0]),
		UpperBound: append(userKey(nil, &users[len(users)-1]), 0),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	w := &s.writer
	ok := it.First()
	for i := range users {
		w.key = userKey(w.key[:0], &users[i])
		if ok && bytes.Compare(it.Key(), w.key) < 0 {
			if ok = it.Next(); ok && bytes.Compare(it.Key(), w.key) < 0 {
				ok = it.SeekGE(w.key)
			}
		}
		if err := it.Error(); err != nil {
			return err
		}
		found := ok && bytes.Equal(it.Key(), w.key)
		w.record.reset()
		if found {
			if err := w.record.decode(it.Value()); err != nil {
				return err
			}
		}
		if err := s.rewriteUser(b, now, i, &users[i], found, edit); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) rewriteUser(b *engine.Batch, now uint32, i int, user *rtb.UserID, found bool, edit func(i int, found bool, r *record) bool) error {
	w, r := &s.writer, &s.writer.record
	pruned := r.dropExposures(s.exposed)
	for k := 0; k < len(r.members); {
		m := r.members[k]
		dead := s.dead(m.tag)
		if !dead && !m.expired(now) {
			k++
			continue
		}
		if !dead {
			w.delta[countOf(m)]--
		}
		r.remove(k)
		pruned = true
	}
	modified := edit(i, found && !r.empty(), r)
	switch {
	case !modified && !pruned:
		return nil
	case r.empty():
		if !found {
			return nil
		}
		if modified {
			w.changed = append(w.changed, *user)
		}
		return b.Delete(w.key, nil)
	}
	if modified {
		w.changed = append(w.changed, *user)
	}
	w.value = r.append(w.value[:0])
	return b.Set(w.key, w.value, nil)
}

// dead reports that a tag means no segment and is not about to.
func (s *Store) dead(tag uint32) bool {
	table := s.Tags()
	return tag != s.pending.tag && (int64(tag) >= int64(len(table)) || table[tag] == 0)
}

func (s *Store) setCount(tag, until uint32, n int64) {
	of := s.counts[tag]
	switch {
	case n > 0:
		if of == nil {
			of = map[uint32]int64{}
			s.counts[tag] = of
		}
		of[until] = n
	case of != nil:
		delete(of, until)
	}
}

// members counts the members under a tag that are not expired.
func (s *Store) members(tag, now uint32) (n int64) {
	for until, count := range s.counts[tag] {
		if until == 0 || until > now {
			n += count
		}
	}
	return n
}

// SegmentSize is how many members the segment has at this time, exactly.
func (s *Store) SegmentSize(now time.Time, segment rtb.SegmentID) int64 {
	s.writing.Lock()
	defer s.writing.Unlock()
	tag := s.live[segment]
	if tag == 0 {
		return 0
	}
	return s.members(tag, uint32(now.Unix()))
}

// forget empties a user's record, but for the flags.
func (s *Store) forget(r *record) {
	for _, m := range r.members {
		s.writer.delta[countOf(m)]-- // rewriteUser has dropped the dead ones
	}
	r.members, r.exposures, r.others = r.members[:0], r.exposures[:0], r.others[:0]
}

// SetOptOut records that a user does not want to be known, and forgets all
// else about them; or that they do not mind any more. It is on disk when it
// returns.
func (s *Store) SetOptOut(_ context.Context, user rtb.UserID, out bool) error {
	err := s.begin()
	if err == nil {
		defer s.work.Done()
		err = s.rewriteOne(user, func(_ int, _ bool, r *record) bool {
			was := r.flags&flagOptedOut != 0
			if out {
				s.forget(r)
				r.flags |= flagOptedOut
				return true
			}
			r.flags &^= flagOptedOut
			return was
		})
	}
	if err != nil {
		return fmt.Errorf("opt out in %s: %w", s.dir, err)
	}
	return nil
}

// EraseUser deletes what is known of a user, but for their opt-out if that is
// to be kept. It waits for an upload that is being applied, which might bring
// the user back; one that starts to be applied later does. It is on disk when
// it returns.
func (s *Store) EraseUser(ctx context.Context, user rtb.UserID, keepOptOut bool) error {
	return s.exclusively(ctx, "erase a user", func() error {
		return s.rewriteOne(user, func(_ int, found bool, r *record) bool {
			s.forget(r)
			if !keepOptOut {
				r.flags = 0
			}
			return found
		})
	})
}

// DropSegment forgets all members of a segment.
func (s *Store) DropSegment(ctx context.Context, segment rtb.SegmentID) error {
	return s.exclusively(ctx, fmt.Sprintf("drop segment %d", segment), func() error {
		s.writing.Lock()
		defer s.writing.Unlock()
		return s.flip(segment, 0, nil)
	})
}

// exclusively runs f while no upload is being applied, nor one left over.
func (s *Store) exclusively(ctx context.Context, what string, f func() error) error {
	err := s.begin()
	if err == nil {
		defer s.work.Done()
		if err = s.lockApplying(ctx); err == nil {
			defer s.unlockApplying()
			if err = s.finish(); err == nil {
				err = f()
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s in %s: %w", what, s.dir, err)
	}
	return nil
}

func (s *Store) rewriteOne(user rtb.UserID, edit func(int, bool, *record) bool) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.rewrite(uint32(s.opts.now().Unix()), []rtb.UserID{user}, engine.Sync, edit, nil)
}

// flip makes tag the live tag of a segment, or none when it is zero, on disk
// and for readers. also may add to the batch.
func (s *Store) flip(segment rtb.SegmentID, tag uint32, also func(*engine.Batch) error) error {
	old := s.live[segment]
	err := s.rewrite(0, nil, engine.Sync, nil, func(b *engine.Batch) error {
		if also != nil {
			if err := also(b); err != nil {
				return err
			}
		}
		if old != 0 {
			if err := b.DeleteRange(countKey(old, 0), countKey(old+1, 0), nil); err != nil {
				return err
			}
		}
		if tag == 0 {
			return b.Delete(segmentKey(segment), nil)
		}
		return b.Set(segmentKey(segment), binary.LittleEndian.AppendUint32(nil, tag), nil)
	})
	if err != nil {
		return err
	}
	if tag == 0 {
		delete(s.live, segment)
	} else {
		s.live[segment] = tag
	}
	s.publish()
	delete(s.counts, old)
	select {
	case s.sweepNow <- struct{}{}:
	default: // it is already due
	}
	return nil
}
