// Package pebble stores what is known of users on the local disk, in a Pebble
// database: the default engine, and fast enough to be read while a bid waits.
//
// Each user has one small record. A membership in it does not name a segment
// but a tag, a number that stands for one generation of a segment's members.
// A table in memory says which segment each live tag means. To replace the
// members of a segment is to write them under a new tag, which no reader
// knows, and then to switch the table: readers see the old members or the new
// ones. Dead tags are ignored, and swept out in the background.
//
// Every upload is first written to a journal file. Once that is complete and on
// disk the upload counts, and is applied again when the store was interrupted;
// a journal that is not complete is deleted.
package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/rtb"
)

// ErrClosed means that the store is closed, or about to be.
var ErrClosed = errors.New("store is closed")

// Options set how a Store uses the machine. The zero value is usable.
type Options struct {
	CacheBytes int64         // blocks kept in memory; 128 MB when zero
	SweepEvery time.Duration // how often expired memberships are swept out; an hour when zero
	InMemory   bool          // keep the files in memory, for tests: Close loses them

	fs       vfs.FS           // where files are; the disk when nil
	now      func() time.Time // for sweeps and recovery; time.Now when nil
	batch    int              // users written at once; 4096 when zero
	runUsers int              // users of a journal that are sorted in memory; a million when zero
	memTable uint64           // bytes written before they go to a table; 32 MB when zero
}

// Store keeps users. All its methods may be called by several goroutines.
type Store struct {
	dir  string
	db   *engine.DB
	fs   vfs.FS
	opts Options

	table   atomic.Pointer[[]rtb.SegmentID] // by tag; zero for a dead or unfinished one
	onWrite atomic.Pointer[[]func([]rtb.UserID)]
	scratch sync.Pool

	// applying holds one token for who applies a journal, one after the other.
	applying   chan struct{}
	unfinished bool // a journal is left over; guarded by applying

	// writing guards the records and what follows from them.
	writing sync.Mutex
	live    map[rtb.SegmentID]uint32    // segment to tag
	counts  map[uint32]map[uint32]int64 // tag to until to memberships
	next    uint32                      // the next tag
	done    uint64                      // number of the journal applied last
	pending pending
	writer  writer

	recorded uint64 // position of the log that exposures were recorded up to
	exposed  uint32 // the time that the log has come to since the store was opened, in Unix seconds

	closing  sync.Mutex // guards closed and the start of work
	closed   bool
	stop     chan struct{}
	work     sync.WaitGroup
	reading  sync.RWMutex // held while the database is read; Close waits for it
	sweepNow chan struct{}
	spool    atomic.Uint64 // names of unfinished journals
}

// pending is the tag that an unfinished journal writes under.
type pending struct {
	journal uint64
	tag     uint32
}

// Keys. Users are most of the database, so they have a prefix of their own and
// whatever else there is comes before.
const (
	prefixCount   = 'c' // tag, until: number of memberships
	prefixMeta    = 'm' // one of the names below
	prefixSegment = 's' // segment: its live tag
	prefixUser    = 'u' // user: its record
)

var (
	keyNext    = []byte("mnext")    // uint32
	keyDone    = []byte("mdone")    // uint64
	keyPending = []byte("mpending") // uint64, uint32

	keyRecorded = []byte("mrecorded") // uint64
)

// Open opens the store in dir, or makes one. It finishes an upload that was
// interrupted after it counted.
func Open(dir string, opts Options) (*Store, error) {
	s, err := open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open profiles in %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, opts Options) (_ *Store, err error) {
	if opts.CacheBytes <= 0 {
		opts.CacheBytes = 128 << 20
	}
	if opts.SweepEvery <= 0 {
		opts.SweepEvery = time.Hour
	}
	if opts.fs == nil {
		opts.fs = vfs.Default
		if opts.InMemory {
			opts.fs = vfs.NewMem()
		}
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	if opts.batch <= 0 {
		opts.batch = 4096
	}
	if opts.runUsers <= 0 {
		opts.runUsers = 1 << 20
	}
	if opts.memTable == 0 {
		opts.memTable = 32 << 20
	}
	s := &Store{
		dir: dir, fs: opts.fs, opts: opts,
		applying: make(chan struct{}, 1),
		stop:     make(chan struct{}),
		sweepNow: make(chan struct{}, 1),
		live:     map[rtb.SegmentID]uint32{},
		counts:   map[uint32]map[uint32]int64{},
	}
	s.scratch.New = func() any { return new(scratch) }
	s.onWrite.Store(new([]func([]rtb.UserID)))

	if s.db, err = engine.Open(dir, databaseOptions(opts)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	if err := s.load(); err != nil {
		return nil, err
	}
	if err := s.fs.MkdirAll(s.journals(), 0o755); err != nil {
		return nil, err
	}
	if err := s.syncDir(dir); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	s.work.Add(1)
	go s.sweepUntilClosed()
	return s, nil
}

func databaseOptions(opts Options) *engine.Options {
	o := &engine.Options{
		FS:                 opts.fs,
		CacheSize:          opts.CacheBytes,
		MemTableSize:       opts.memTable,
		FormatMajorVersion: engine.FormatNewest,
		Logger:             logger("profile database"),
		// An upload is a burst of writes; more files at the top are better
		// than readers and writers waiting for them to be merged.
		L0CompactionThreshold: 4,
		L0StopWritesThreshold: 24,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most users asked for are unknown
		o.Levels[i].Compression = func() *block.CompressionProfile { return block.NoCompression }
	}
	return o
}

// logger passes on what the database of its name has to complain of.
type logger string

func (logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	slog.Error(string(l), "error", fmt.Sprintf(format, args...))
}

// Fatalf must not return: the database can no longer write its log and would
// lose what it acknowledges.
func (l logger) Fatalf(format string, args ...any) {
	panic(string(l) + ": " + fmt.Sprintf(format, args...))
}

// load reads into memory what is not about single users.
func (s *Store) load() error {
	it, err := s.db.NewIter(&engine.IterOptions{UpperBound: []byte{prefixUser}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = s.loadKey(it.Key(), it.Value())
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return err
	}
	s.next = max(s.next, 1)
	s.publish()
	return nil
}

func (s *Store) loadKey(key, value []byte) error {
	switch {
	case key[0] == prefixSegment && len(key) == 5 && len(value) == 4:
		s.live[rtb.SegmentID(binary.BigEndian.Uint32(key[1:]))] = binary.LittleEndian.Uint32(value)
	case key[0] == prefixCount && len(key) == 9 && len(value) == 8:
		s.setCount(binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint32(key[5:]), int64(binary.LittleEndian.Uint64(value)))
	case string(key) == string(keyNext) && len(value) == 4:
		s.next = binary.LittleEndian.Uint32(value)
	case string(key) == string(keyDone) && len(value) == 8:
		s.done = binary.LittleEndian.Uint64(value)
	case string(key) == string(keyPending) && len(value) == 12:
		s.pending = pending{binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint32(value[8:])}
	case string(key) == string(keyRecorded) && len(value) == 8:
		s.recorded = binary.LittleEndian.Uint64(value)
	default:
		return fmt.Errorf("entry %q is damaged or of another version", key)
	}
	return nil
}

// publish makes the table that readers use from s.live.
func (s *Store) publish() {
	table := make([]rtb.SegmentID, s.next)
	for segment, tag := range s.live {
		table[tag] = segment
	}
	s.table.Store(&table)
}

// Close waits until readers, uploads and background work have stopped, and
// closes the files. An upload that is still being read fails with [ErrClosed];
// one that counts already is finished by the next Open.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.closing.Unlock()

	s.work.Wait()
	s.reading.Lock() // for good
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close profiles in %s: %w", s.dir, err)
	}
	return nil
}

// begin registers work that Close has to wait for.
func (s *Store) begin() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.work.Add(1)
	return nil
}

func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// lockApplying waits for the turn to apply a journal.
func (s *Store) lockApplying(ctx context.Context) error {
	select {
	case s.applying <- struct{}{}:
		return nil
	case <-s.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) unlockApplying() { <-s.applying }

func (s *Store) syncDir(dir string) error {
	f, err := s.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func userKey(dst []byte, user *rtb.UserID) []byte {
	return append(append(dst, prefixUser), user[:]...)
}

func segmentKey(segment rtb.SegmentID) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixSegment}, uint32(segment))
}

func countKey(tag, until uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{prefixCount}, tag), until)
}
