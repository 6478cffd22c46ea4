package pebble

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"bidwell/pacing"
)

// booking is the memory that booking needs, reused.
type booking struct {
	visits []visit
	value  []byte
}

// visit is one notice on the way to the kinds of its bid. In the order of keys
// the database is read and written at few places: those of the last hours.
type visit struct {
	key    bidKey
	notice int
}

// bidKey is prefix, hour when the bid was made, bid.
type bidKey [1 + 4 + 16]byte

// clickedKey is the key of the same bid among those clicked.
func clickedKey(key []byte) []byte { return append([]byte{prefixClicked}, key[1:]...) }

const anyKind = ^pacing.Kinds(0)

// Book implements [pacing.Accounts]. What was booked comes to disk with the
// next lease, or some time later.
func (a *Accounts) Book(ctx context.Context, position uint64, notices []pacing.Notice) error {
	for i := range notices {
		if k := notices[i].Kind; int(k) >= pacing.KindCount || k == pacing.KindSpend {
			return fmt.Errorf("book: notices[%d]: kind %d: unknown", i, k)
		}
	}
	if err := a.use(ctx); err != nil {
		return err
	}
	defer a.using.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if position <= a.position {
		for i := range notices {
			notices[i].Seen, notices[i].Late = anyKind, 0
		}
		return nil
	}
	if err := a.book(position, notices); err != nil {
		return fmt.Errorf("book in %s: %w", a.dir, err)
	}
	return nil
}

// Seen sets Seen of notices as Book would that booked them now, and books
// nothing.
func (a *Accounts) Seen(ctx context.Context, notices []pacing.Notice) error {
	if err := a.use(ctx); err != nil {
		return err
	}
	defer a.using.RUnlock()
	b := a.db.NewBatch() // which comes to nothing
	defer b.Close()
	if err := a.see(new(booking), b, notices); err != nil {
		return fmt.Errorf("look up notices in %s: %w", a.dir, err)
	}
	return nil
}

func (a *Accounts) book(position uint64, notices []pacing.Notice) error {
	defer a.draft.discard()
	b := a.db.NewBatch()
	defer b.Close()
	now, err := a.forget(b, notices)
	if err == nil {
		err = a.see(&a.booking, b, notices)
	}
	if err != nil {
		return err
	}
	for i := range notices {
		n := &notices[i]
		n.Book(a.draft.row)
		a.draft.tally(tallyOf{n.LineItem, n.Exchange}).Add(n)
	}
	a.booking.value = binary.LittleEndian.AppendUint64(a.booking.value[:0], position)
	if err := b.Set(keyPosition, a.booking.value, nil); err != nil {
		return err
	}
	if err := a.draft.write(b); err != nil {
		return err
	}
	a.position, a.now = position, now
	return nil
}

// forget drops the bids of the hours that are too long ago. It goes by the
// earliest notice of a batch: a single one that is ahead of the others changes
// nothing.
func (a *Accounts) forget(b *engine.Batch, notices []pacing.Notice) (now time.Time, err error) {
	if len(notices) == 0 {
		return a.now, nil
	}
	now = notices[0].Time
	for i := range notices {
		if notices[i].Time.Before(now) {
			now = notices[i].Time
		}
	}
	if !now.After(a.now) {
		return a.now, nil
	}
	for _, r := range [...]struct {
		prefix byte
		keep   time.Duration
	}{{prefixBid, pacing.KeepBids}, {prefixClicked, pacing.KeepClicks}} {
		if end := hourOf(now.Add(-r.keep)); end > hourOf(a.now.Add(-r.keep)) {
			if err := b.DeleteRange([]byte{r.prefix}, binary.BigEndian.AppendUint32([]byte{r.prefix}, end), nil); err != nil {
				return now, err
			}
		}
	}
	return now, nil
}

// hourOf counts the hours since 1970.
func hourOf(t time.Time) uint32 { return uint32(max(0, t.Unix()) / 3600) }

// see sets Seen of all notices and writes what the bids have seen after them.
func (a *Accounts) see(k *booking, b *engine.Batch, notices []pacing.Notice) (err error) {
	k.visits = k.visits[:0]
	for i := range notices {
		v := visit{notice: i}
		v.key[0] = prefixBid
		binary.BigEndian.PutUint32(v.key[1:], hourOf(notices[i].Made))
		copy(v.key[5:], notices[i].Bid[:])
		k.visits = append(k.visits, v)
	}
	slices.SortFunc(k.visits, func(x, y visit) int {
		return cmp.Or(bytes.Compare(x.key[:], y.key[:]), cmp.Compare(x.notice, y.notice))
	})
	it, err := a.db.NewIter(&withFilters)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for from := 0; from < len(k.visits); {
		to := from + 1
		for to < len(k.visits) && k.visits[to].key == k.visits[from].key {
			to++
		}
		if err := k.seeBid(b, it, k.visits[from:to], notices); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// seeBid is see for all visits to one bid.
func (k *booking) seeBid(b *engine.Batch, it *engine.Iterator, visits []visit, notices []pacing.Notice) error {
	key := visits[0].key[:]
	young, searching := false, false // whether it belongs among all bids, and may have more among those clicked
	for _, v := range visits {
		n := &notices[v.notice]
		old := n.Time.Sub(n.Made) >= pacing.KeepBids
		young = young || !old
		searching = searching || old || n.Kind == pacing.KindConversion
	}
	before, err := readKinds(it, key)
	if err == nil && searching {
		var more pacing.Kinds
		more, err = readKinds(it, clickedKey(key))
		before |= more
	}
	if err != nil {
		return err
	}
	seen := before
	for _, v := range visits {
		n := &notices[v.notice]
		n.Seen = seen
		seen = n.After()
	}
	if seen == before {
		return nil
	}
	k.value = binary.LittleEndian.AppendUint32(k.value[:0], uint32(seen))
	if young {
		err = b.Set(key, k.value, nil)
	}
	if err == nil && (seen.Has(pacing.KindClick) || seen.Has(pacing.KindConversion)) {
		err = b.Set(clickedKey(key), k.value, nil)
	}
	return err
}

// readKinds returns what has come of a bid; nothing has of one that is not
// there.
func readKinds(it *engine.Iterator, key []byte) (pacing.Kinds, error) {
	if !it.SeekPrefixGE(key) || !bytes.Equal(it.Key(), key) {
		return 0, it.Error()
	}
	value, err := it.ValueAndErr()
	if err == nil && len(value) != 4 {
		err = fmt.Errorf("entry %q: %w", key, errEntry)
	}
	if err != nil {
		return 0, err
	}
	return pacing.Kinds(binary.LittleEndian.Uint32(value)), nil
}
