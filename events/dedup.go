package events

import (
	"encoding/binary"
	"sync/atomic"

	"bidwell/rtb"
)

// Dedup remembers what has come of which bid, in a table of fixed size. When
// the table is full, the newest takes the place of one of four older ones, so
// a repeat is recognised as long as less than about the table's size came
// between. It is safe for concurrent use and takes no lock.
type Dedup struct {
	mask  uint64
	marks []atomic.Uint64
}

// NewDedup makes room for 2^bits marks of eight bytes each.
func NewDedup(bits int) *Dedup {
	return &Dedup{mask: 1<<bits - 1, marks: make([]atomic.Uint64, 1<<bits)}
}

// First marks that something has come of a bid, and reports whether that is
// new. What it is, is a number of the caller's.
func (d *Dedup) First(bid rtb.BidID, what uint8) bool {
	home, mark := place(bid, what)
	for i := range uint64(4) {
		slot := &d.marks[(home+i)&d.mask]
		if slot.CompareAndSwap(0, mark) {
			return true
		}
		if slot.Load() == mark {
			return false
		}
	}
	d.marks[(home+mark>>62)&d.mask].Store(mark)
	return true
}

// Seen reports whether something is marked to have come of a bid.
func (d *Dedup) Seen(bid rtb.BidID, what uint8) bool {
	home, mark := place(bid, what)
	for i := range uint64(4) {
		if d.marks[(home+i)&d.mask].Load() == mark {
			return true
		}
	}
	return false
}

// place is where a mark goes and what it is. Bid ids are random, so their
// halves are hashes already.
func place(bid rtb.BidID, what uint8) (home, mark uint64) {
	home = binary.LittleEndian.Uint64(bid[:8]) + uint64(what)*0xff51afd7ed558ccd
	mark = binary.LittleEndian.Uint64(bid[8:])*0x9e3779b97f4a7c15 + uint64(what)
	return home, max(mark, 1)
}
