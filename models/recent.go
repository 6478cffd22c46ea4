package models

import (
	"encoding/binary"

	"bidwell/rtb"
)

// recentBids is how many bids are remembered.
const recentBids = 1 << 18

// recent remembers the last bids. Their ids are random, so half of one tells
// them apart.
type recent struct {
	known map[uint64]struct{}
	ring  []uint64 // in the order in which they came
	next  int      // place of the next in it: that of the oldest once it is full
}

// seen reports whether a bid was seen before, and remembers it.
func (r *recent) seen(bid rtb.BidID) bool {
	id := binary.LittleEndian.Uint64(bid[:8]) ^ binary.LittleEndian.Uint64(bid[8:])
	if _, ok := r.known[id]; ok {
		return true
	}
	if len(r.ring) == recentBids {
		delete(r.known, r.ring[r.next])
	}
	r.put(id)
	return false
}

func (r *recent) put(id uint64) {
	if r.known == nil {
		r.known = map[uint64]struct{}{}
	}
	r.known[id] = struct{}{}
	if len(r.ring) < recentBids {
		r.ring = append(r.ring, id)
	} else {
		r.ring[r.next] = id
	}
	r.next = (r.next + 1) % recentBids
}

// walk carries them from the oldest on.
func (r *recent) walk(s *state) {
	n, first := len(r.ring), 0
	if n == recentBids {
		first = r.next
	}
	s.count(&n, recentBids)
	for i := range n {
		if s.reading {
			var id uint64
			if s.uint64(&id); s.failed {
				return
			}
			r.put(id)
		} else {
			s.uint64(&r.ring[(first+i)%len(r.ring)])
		}
	}
}
