package pebble

import (
	"errors"
	"log/slog"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"bidwell/rtb"
)

// sweepDelay lets several replacements share one sweep.
const sweepDelay = time.Minute

// sweepUntilClosed sweeps some time after opening, after a replacement, and
// now and then for what expires.
func (s *Store) sweepUntilClosed() {
	defer s.work.Done()
	timer := time.NewTimer(min(sweepDelay, s.opts.SweepEvery))
	defer timer.Stop()
	for soon := true; ; {
		select {
		case <-s.stop:
			return
		case <-s.sweepNow:
			if !soon {
				soon = true
				timer.Reset(min(sweepDelay, s.opts.SweepEvery))
			}
		case <-timer.C:
			if _, err := s.sweep(); err != nil && !errors.Is(err, ErrClosed) {
				slog.Error("sweep profiles", "dir", s.dir, "error", err)
			}
			soon = false
			timer.Reset(s.opts.SweepEvery)
		}
	}
}

// sweep drops dead and expired memberships and exposures from all records, some thousand
// at a time so that nobody waits long, and returns how many users it rewrote.
func (s *Store) sweep() (swept int, err error) {
	var stale []rtb.UserID
	next := []byte{prefixUser}
	for len(next) > 0 {
		if s.stopping() {
			return swept, ErrClosed
		}
		if stale, next, err = s.findStale(stale[:0], next); err != nil {
			return swept, err
		}
		if err := s.sweepUsers(stale); err != nil {
			return swept, err
		}
		swept += len(stale)
	}
	return swept, nil
}

func (s *Store) sweepUsers(users []rtb.UserID) error {
	if len(users) == 0 {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.rewrite(uint32(s.opts.now().Unix()), users, engine.NoSync,
		func(int, bool, *record) bool { return false }, nil)
}

// findStale appends users from the key from on whose record has something to
// drop. It returns the key to go on from, nil after the last user.
func (s *Store) findStale(stale []rtb.UserID, from []byte) (_ []rtb.UserID, next []byte, err error) {
	it, err := s.db.NewIter(&engine.IterOptions{LowerBound: from, UpperBound: []byte{prefixUser + 1}})
	if err != nil {
		return stale, nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	now := uint32(s.opts.now().Unix())
	s.writing.Lock()
	exposed := s.exposed
	s.writing.Unlock()
	seen := 0
	for ok := it.First(); ok; ok = it.Next() {
		if seen++; len(stale) >= s.opts.batch || seen > 16*s.opts.batch {
			return stale, append([]byte(nil), it.Key()...), it.Error()
		}
		old, err := s.isStale(it.Value(), now, exposed)
		if err != nil {
			return stale, nil, err
		}
		if old {
			stale = append(stale, rtb.UserID(it.Key()[1:]))
		}
	}
	return stale, nil, it.Error()
}

func (s *Store) isStale(value []byte, now, exposed uint32) (bool, error) {
	tags := s.Tags()
	_, rest, err := openRecord(value)
	for err == nil && len(rest) > 0 {
		var kind byte
		var payload []byte
		kind, payload, _, rest, err = nextSection(rest)
		if err == nil && kind == sectionExposures {
			for ; len(payload) > 0; payload = payload[exposureSize:] {
				if x := readExposure(payload); x.expired(exposed) {
					return true, nil
				}
			}
		}
		if err != nil || kind != sectionMembers {
			continue
		}
		for ; len(payload) > 0; payload = payload[memberSize:] {
			m := readMember(payload)
			if m.expired(now) || int64(m.tag) < int64(len(tags)) && tags[m.tag] == 0 {
				return true, nil
			}
		}
	}
	return false, err
}
