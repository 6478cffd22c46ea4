package pebble

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/pacing"
	"bidwell/rtb"
)

var _ pacing.Accounts = (*Accounts)(nil)

// AccountOptions set how Accounts use the machine. The zero value is usable.
type AccountOptions struct {
	CacheBytes int64 // blocks kept in memory; 32 MB when zero
	InMemory   bool  // keep the files in memory, for tests: Close loses them

	fs       vfs.FS // where files are; the disk when nil
	memTable uint64 // bytes written before they go to a table; 4 MB when zero
}

// Accounts keep money, in a database of their own: the log behind [pacing.Accounts.Book]
// is written in the order of calls, so that after a crash accounts, kinds and
// position are those of one moment, and a lease brings to disk all that was
// booked before it. All accounts are also in memory; what has come of single
// bids is not. All methods may be called by several goroutines.
type Accounts struct {
	dir  string
	db   *engine.DB
	lock *engine.Lock

	using   sync.RWMutex // held while the database is used; Close waits for it
	closing sync.Once

	mu       sync.Mutex // guards what follows, and is held while a change is made
	rows     map[rtb.AccountID]*pacing.Row
	tallies  map[tallyOf]*pacing.Tally
	position uint64
	now      time.Time // how far the notices have come
	draft    draft
	booking  booking
	leases   uint64 // how many writes of leases there were
	synced   uint64 // how many of them are on disk
}

type tallyOf struct {
	lineItem rtb.LineItemID
	exchange rtb.ExchangeID
}

// Keys. Bids are most of the database, and all else comes before them.
const (
	prefixRow     = 'a' // account: its row
	prefixTally   = 't' // line item, exchange: their tally
	prefixClicked = 'y' // hour when it was made, bid: the kinds that came of it
	prefixBid     = 'z' // the same, for all bids
)

var keyPosition = []byte("mposition") // uint64

// OpenAccounts opens the accounts in dir, or begins new ones.
func OpenAccounts(dir string, opts AccountOptions) (*Accounts, error) {
	a, err := openAccounts(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open accounts in %s: %w", dir, err)
	}
	return a, nil
}

func openAccounts(dir string, opts AccountOptions) (_ *Accounts, err error) {
	if opts.CacheBytes <= 0 {
		opts.CacheBytes = 32 << 20
	}
	if opts.fs == nil {
		opts.fs = vfs.Default
		if opts.InMemory {
			opts.fs = vfs.NewMem()
		}
	}
	if opts.memTable == 0 {
		opts.memTable = 4 << 20
	}
	a := &Accounts{dir: dir, rows: map[rtb.AccountID]*pacing.Row{}, tallies: map[tallyOf]*pacing.Tally{}}
	a.draft = draft{of: a, rows: map[rtb.AccountID]*pacing.Row{}, tallies: map[tallyOf]*pacing.Tally{}}
	if err := opts.fs.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if a.lock, err = engine.LockDirectory(dir, opts.fs); err != nil {
		return nil, fmt.Errorf("it is open in another process, or cannot be locked: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.lock.Close())
		}
	}()
	o := databaseOptions(Options{CacheBytes: opts.CacheBytes, fs: opts.fs, memTable: opts.memTable})
	o.Lock = a.lock
	o.Logger = logger("accounts database")
	if a.db, err = engine.Open(dir, o); err != nil {
		return nil, err
	}
	if err := a.load(); err != nil {
		return nil, errors.Join(err, a.db.Close())
	}
	return a, nil
}

// load reads into memory what is not about single bids.
func (a *Accounts) load() error {
	it, err := a.db.NewIter(&engine.IterOptions{UpperBound: []byte{prefixClicked}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if err = a.loadKey(it.Key(), it.Value()); err != nil {
			err = fmt.Errorf("entry %q: %w", it.Key(), err)
		}
	}
	return errors.Join(err, it.Close())
}

func (a *Accounts) loadKey(key, value []byte) error {
	switch {
	case key[0] == prefixRow && len(key) == 9:
		row, err := decodeRow(value)
		a.rows[rtb.AccountID(binary.BigEndian.Uint64(key[1:]))] = &row
		return err
	case key[0] == prefixTally && len(key) == 6:
		t := pacing.Tally{LineItem: rtb.LineItemID(binary.BigEndian.Uint32(key[1:])), Exchange: rtb.ExchangeID(key[5])}
		err := decodeTally(value, &t)
		a.tallies[tallyOf{t.LineItem, t.Exchange}] = &t
		return err
	case bytes.Equal(key, keyPosition) && len(value) == 8:
		a.position = binary.LittleEndian.Uint64(value)
		return nil
	}
	return errEntry
}

var errEntry = errors.New("damaged or of another version")

// Close waits until all calls have returned, and closes the files. What was
// booked is on disk then.
func (a *Accounts) Close() (err error) {
	a.closing.Do(func() {
		a.using.Lock() // for good
		if err = errors.Join(a.db.LogData(nil, engine.Sync), a.db.Close(), a.lock.Close()); err != nil {
			err = fmt.Errorf("close accounts in %s: %w", a.dir, err)
		}
	})
	return err
}

// use has Close wait until the caller gives a.using back.
func (a *Accounts) use(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !a.using.TryRLock() { // only Close ever locks it
		return ErrClosed
	}
	return nil
}

// Position implements [pacing.Accounts].
func (a *Accounts) Position(ctx context.Context) (uint64, error) {
	if err := a.use(ctx); err != nil {
		return 0, err
	}
	defer a.using.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.position, nil
}

// Lease implements [pacing.Accounts].
func (a *Accounts) Lease(ctx context.Context, node uint32, now time.Time, asks []pacing.Ask) ([]pacing.Grant, error) {
	for i := range asks {
		if asks[i].Account == 0 {
			return nil, fmt.Errorf("lease: asks[%d]: account: missing", i)
		}
	}
	if err := a.use(ctx); err != nil {
		return nil, err
	}
	defer a.using.RUnlock()
	grants, written, err := a.lease(node, now, asks)
	if err == nil {
		err = a.sync(written)
	}
	if err != nil {
		return nil, fmt.Errorf("lease in %s: %w", a.dir, err)
	}
	return grants, nil
}

// lease writes what changes, and returns how many writes of leases must be on
// disk before the answer may leave.
func (a *Accounts) lease(node uint32, now time.Time, asks []pacing.Ask) (_ []pacing.Grant, written uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.draft.discard()
	grants := make([]pacing.Grant, len(asks))
	for i := range asks {
		grants[i] = a.draft.row(asks[i].Account).Lease(node, now, asks[i])
	}
	a.draft.dropUnchanged()
	if len(a.draft.rows) == 0 {
		return grants, a.leases, nil
	}
	b := a.db.NewBatch()
	defer b.Close()
	if err := a.draft.write(b); err != nil {
		return nil, 0, err
	}
	a.leases++
	return grants, a.leases, nil
}

// sync waits until the first writes of leases are on disk. Booking goes on in
// the meantime.
func (a *Accounts) sync(written uint64) error {
	a.mu.Lock()
	synced := a.synced
	a.mu.Unlock()
	if synced >= written {
		return nil
	}
	if err := a.db.LogData(nil, engine.Sync); err != nil {
		return err
	}
	a.mu.Lock()
	a.synced = max(a.synced, written)
	a.mu.Unlock()
	return nil
}

// Statements implements [pacing.Accounts].
func (a *Accounts) Statements(ctx context.Context, now time.Time) ([]pacing.Statement, error) {
	if err := a.use(ctx); err != nil {
		return nil, err
	}
	defer a.using.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]pacing.Statement, 0, len(a.rows))
	for _, id := range slices.Sorted(maps.Keys(a.rows)) {
		list = append(list, a.rows[id].Statement(id, now))
	}
	return list, nil
}

// Tallies lists what the notices said, by line item and exchange.
func (a *Accounts) Tallies(ctx context.Context) ([]pacing.Tally, error) {
	if err := a.use(ctx); err != nil {
		return nil, err
	}
	defer a.using.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]pacing.Tally, 0, len(a.tallies))
	for _, t := range a.tallies {
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b pacing.Tally) int {
		return cmp.Or(cmp.Compare(a.LineItem, b.LineItem), cmp.Compare(a.Exchange, b.Exchange))
	})
	return list, nil
}

// draft is what a change is about to make of rows and tallies. The accounts see
// it only once it is written.
type draft struct {
	of      *Accounts
	rows    map[rtb.AccountID]*pacing.Row
	tallies map[tallyOf]*pacing.Tally

	key, value []byte // scratch
}

func (d *draft) row(id rtb.AccountID) *pacing.Row {
	row := d.rows[id]
	if row == nil {
		row = new(pacing.Row)
		if old := d.of.rows[id]; old != nil {
			*row = old.Clone()
		}
		d.rows[id] = row
	}
	return row
}

// dropUnchanged takes out the rows that are as they were.
func (d *draft) dropUnchanged() {
	var none pacing.Row
	for id, row := range d.rows {
		d.key = appendRow(d.key[:0], cmp.Or(d.of.rows[id], &none))
		d.value = appendRow(d.value[:0], row)
		if bytes.Equal(d.key, d.value) {
			delete(d.rows, id)
		}
	}
}

func (d *draft) tally(of tallyOf) *pacing.Tally {
	t := d.tallies[of]
	if t == nil {
		t = &pacing.Tally{LineItem: of.lineItem, Exchange: of.exchange}
		if old := d.of.tallies[of]; old != nil {
			*t = *old
		}
		d.tallies[of] = t
	}
	return t
}

// write commits a batch together with the draft. The caller syncs it.
func (d *draft) write(b *engine.Batch) error {
	for id, row := range d.rows {
		d.key = binary.BigEndian.AppendUint64(append(d.key[:0], prefixRow), uint64(id))
		d.value = appendRow(d.value[:0], row)
		if err := b.Set(d.key, d.value, nil); err != nil {
			return err
		}
	}
	for of, t := range d.tallies {
		d.key = append(binary.BigEndian.AppendUint32(append(d.key[:0], prefixTally), uint32(of.lineItem)), byte(of.exchange))
		d.value = appendTally(d.value[:0], t)
		if err := b.Set(d.key, d.value, nil); err != nil {
			return err
		}
	}
	if err := b.Commit(engine.NoSync); err != nil {
		return err
	}
	maps.Copy(d.of.rows, d.rows)
	maps.Copy(d.of.tallies, d.tallies)
	return nil
}

func (d *draft) discard() {
	clear(d.rows)
	clear(d.tallies)
}
