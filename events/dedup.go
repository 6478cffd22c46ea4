package events

import (
	"encoding/binary"
	"sync/atomic"

	"bidwell/rtb"
)

// Dedup remembers which notices have come, in a table of fixed size. When the
// table is full, the newest notice takes the place of one of four older ones,
// so a repeat is recognised as long as fewer notices than about the table's
// size came between. It is safe for concurrent use and takes no lock.
type Dedup struct {
	mask  uint64
	marks []atomic.Uint64
}

// NewDedup makes room for 2^bits notices of eight bytes each.
func NewDedup(bits int) *Dedup {
	return &Dedup{mask: 1<<bits - 1, marks: make([]atomic.Uint64, 1<<bits)}
}

// First reports whether this is the first notice of type t for bid.
func (d *Dedup) First(bid rtb.BidID, t rtb.EventType) bool {
	// Bid ids are random, so their halves are hashes already.
	mark := binary.LittleEndian.Uint64(bid[8:])*0x9e3779b97f4a7c15 + uint64(t)
	if mark == 0 {
		mark = 1
	}
	home := binary.LittleEndian.Uint64(bid[:8]) + uint64(t)*0xff51afd7ed558ccd
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
