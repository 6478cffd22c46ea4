package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"os"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/rtb"
	"bidwell/targeting/audience"
)

var _ audience.Profiles = (*Store)(nil)

// Change implements [audience.Profiles]. Users are written to a journal while
// they are read, 16 bytes each; memory does not grow with their number.
func (s *Store) Change(ctx context.Context, now time.Time, c audience.Change, users iter.Seq2[rtb.UserID, error]) (audience.Outcome, error) {
	if err := s.begin(); err != nil {
		return audience.Outcome{}, err
	}
	defer s.work.Done()
	outcome, err := s.changeSegment(ctx, now, c, users)
	if err != nil {
		return audience.Outcome{}, fmt.Errorf("%s members in %s: %w", c.Mode, s.dir, err)
	}
	return outcome, nil
}

func (s *Store) changeSegment(ctx context.Context, now time.Time, c audience.Change, users iter.Seq2[rtb.UserID, error]) (outcome audience.Outcome, err error) {
	if c.Segment == 0 || c.Mode > audience.Remove {
		return outcome, fmt.Errorf("cannot %s members of segment %d", c.Mode, c.Segment)
	}
	part := s.journalPath(fmt.Sprintf("%d%s", s.spool.Add(1), partSuffix))
	err = s.spoolUsers(ctx, part, c, users)
	if err == nil {
		err = s.lockApplying(ctx)
	}
	if err != nil {
		if gone := s.fs.Remove(part); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return outcome, err
	}
	defer s.unlockApplying()
	if err := s.finish(); err != nil {
		return outcome, errors.Join(err, s.fs.Remove(part))
	}
	number := s.done + 1
	if err := s.fs.Rename(part, s.journalPath(readyName(number))); err != nil {
		return outcome, errors.Join(err, s.fs.Remove(part))
	}
	s.unfinished = true
	if err = s.syncDir(s.journals()); err == nil {
		outcome, err = s.applyJournal(number, now)
	}
	if err != nil {
		return outcome, fmt.Errorf("%w: %w", audience.ErrUnfinished, err)
	}
	return outcome, nil
}

func (s *Store) spoolUsers(ctx context.Context, path string, c audience.Change, users iter.Seq2[rtb.UserID, error]) (err error) {
	file, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sp := &spooler{file: file, journal: journal{
		mode: c.Mode, segment: c.Segment, until: untilOf(c.Until), runUsers: int64(s.opts.runUsers),
	}}
	n := 0
	for user, err := range users {
		if err != nil {
			return err
		}
		if n++; n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if s.stopping() {
				return ErrClosed
			}
		}
		if err := sp.add(user); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return sp.end()
}

// untilOf rounds up to whole seconds. Later than 2106 is for ever.
func untilOf(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	seconds := t.Unix()
	if t.Nanosecond() > 0 {
		seconds++
	}
	if seconds > math.MaxUint32 {
		return 0
	}
	return uint32(max(seconds, 1))
}

// finish applies what an earlier failure left over. The caller has locked
// applying.
func (s *Store) finish() error {
	if !s.unfinished {
		return nil
	}
	return s.applyAll(false)
}

// recover brings the store to where it was going when it was interrupted. It
// is part of Open.
func (s *Store) recover() error {
	if err := s.applyAll(true); err != nil {
		return err
	}
	p := s.pending
	if p.tag == 0 {
		return nil
	}
	// Somebody took the journal away: what it wrote belongs to nobody.
	err := s.rewrite(0, nil, engine.Sync, nil, func(b *engine.Batch) error {
		return errors.Join(b.Delete(keyPending, nil), b.DeleteRange(countKey(p.tag, 0), countKey(p.tag+1, 0), nil))
	})
	s.pending = pending{}
	delete(s.counts, p.tag)
	return err
}

func (s *Store) applyAll(opening bool) error {
	numbers, err := s.listJournals(opening)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if opening && number > s.done {
			slog.Info("finish an interrupted upload", "dir", s.dir, "upload", number)
		}
		if _, err := s.applyJournal(number, s.opts.now()); err != nil {
			return err
		}
	}
	s.unfinished = false
	return nil
}

// applyJournal applies a journal that counts, unless that was done before, and
// deletes it.
func (s *Store) applyJournal(number uint64, now time.Time) (outcome audience.Outcome, err error) {
	path := s.journalPath(readyName(number))
	if number > s.done {
		m, err := openJournal(s.fs, path, number)
		if err != nil {
			return outcome, err
		}
		outcome, err = s.apply(m, uint32(now.Unix()))
		if err = errors.Join(err, m.file.Close()); err != nil {
			return outcome, err
		}
	}
	if err := s.fs.Remove(path); err != nil {
		return outcome, err
	}
	s.unfinished = false
	return outcome, nil
}

// apply brings the users of a journal into the database, a batch at a time.
// Doing it again, in whole or in part, changes nothing.
func (s *Store) apply(m *merged, now uint32) (audience.Outcome, error) {
	a := application{s: s, now: now, journal: m.journal}
	if err := a.start(); err != nil {
		return a.outcome, err
	}
	batch := make([]rtb.UserID, 0, s.opts.batch)
	var last rtb.UserID
	for first := true; ; first = false {
		user, ok, err := m.next()
		if err != nil {
			return a.outcome, err
		}
		if ok && !first && user == last {
			a.outcome.Duplicate++
			continue
		}
		if !ok || len(batch) == cap(batch) {
			if s.stopping() {
				return a.outcome, ErrClosed
			}
			if err := a.write(batch); err != nil {
				return a.outcome, err
			}
			batch = batch[:0]
		}
		if !ok {
			return a.outcome, a.end()
		}
		batch = append(batch, user)
		last = user
	}
}

// application is a journal while it is applied.
type application struct {
	s   *Store
	now uint32
	journal
	live    uint32 // the segment's tag before; zero for none
	tag     uint32 // the one that is written
	outcome audience.Outcome
}

// start finds the tag to write under. A segment without members gets them all
// at once, whatever the mode.
func (a *application) start() error {
	s := a.s
	s.writing.Lock()
	defer s.writing.Unlock()
	a.live = s.live[a.segment]
	a.tag = a.live
	if a.mode == audience.Remove || a.mode == audience.Add && a.live != 0 {
		return nil
	}
	if s.pending.journal == a.number {
		a.tag = s.pending.tag // where an interruption left off
		return nil
	}
	a.tag = s.next
	p := pending{a.number, a.tag}
	err := s.rewrite(0, nil, engine.NoSync, nil, func(b *engine.Batch) error {
		value := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, p.journal), p.tag)
		return errors.Join(
			b.Set(keyNext, binary.LittleEndian.AppendUint32(nil, p.tag+1), nil),
			b.Set(keyPending, value, nil))
	})
	if err == nil {
		s.pending = p
		s.next = p.tag + 1
	}
	return err
}

// fresh reports that the users are written under a tag of their own.
func (a *application) fresh() bool { return a.tag != a.live }

func (a *application) write(users []rtb.UserID) error {
	a.s.writing.Lock()
	defer a.s.writing.Unlock()
	return a.s.rewrite(a.now, users, engine.NoSync, a.edit, nil)
}

// edit changes the record of one user.
func (a *application) edit(_ int, found bool, r *record) bool {
	if found {
		a.outcome.Matched++
	}
	at := -1
	if a.tag != 0 {
		at = r.find(a.tag)
	}
	if a.mode == audience.Remove {
		if at < 0 {
			a.outcome.Missing++
			return false
		}
		a.outcome.Removed++
		a.s.writer.delta[countOf(r.members[at])]--
		r.remove(at)
		return true
	}
	switch {
	case r.flags&flagOptedOut != 0:
		a.outcome.OptedOut++
		return false
	case at >= 0:
		a.outcome.Already++
		m := &r.members[at]
		if m.until == 0 || a.until != 0 && a.until <= m.until {
			return false
		}
		a.s.writer.delta[countOf(*m)]--
		m.until = a.until
		a.s.writer.delta[countOf(*m)]++
		return true
	}
	before := a.live != 0 && a.fresh() && r.find(a.live) >= 0
	switch {
	case before:
		a.outcome.Already++
	case len(r.members) >= maxMembers:
		a.outcome.Full++
		return false
	default:
		a.outcome.Added++
	}
	m := member{a.tag, a.until}
	a.s.writer.delta[countOf(m)]++
	r.members = append(r.members, m)
	return true
}

// end makes the new members visible, if they are not, and books the journal as
// done, in one batch that is on disk when it returns.
func (a *application) end() error {
	s := a.s
	s.writing.Lock()
	defer s.writing.Unlock()
	done := func(b *engine.Batch) error {
		return errors.Join(
			b.Set(keyDone, binary.LittleEndian.AppendUint64(nil, a.number), nil),
			b.Delete(keyPending, nil))
	}
	var err error
	if a.fresh() {
		if a.live != 0 {
			a.outcome.Dropped = max(int(s.members(a.live, a.now))-a.outcome.Already, 0)
		}
		err = s.flip(a.segment, a.tag, done)
	} else {
		err = s.rewrite(0, nil, engine.Sync, nil, done)
	}
	if err == nil {
		s.done = a.number
		s.pending = pending{}
	}
	return err
}
