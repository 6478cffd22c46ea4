package models

import (
	"encoding/binary"
	"testing"

	"bidwell/rtb"
)

func TestRecentRemembersTheLast(t *testing.T) {
	bid := func(n int) (id rtb.BidID) {
		binary.LittleEndian.PutUint64(id[:], mix(uint64(n), key0))
		return id
	}
	var r recent
	const more = 1000
	for n := range recentBids + more {
		if r.seen(bid(n)) {
			t.Fatalf("bid %d was never there", n)
		}
		if !r.seen(bid(n)) {
			t.Fatalf("bid %d is forgotten at once", n)
		}
	}
	s := &state{}
	r.walk(s)
	var restored recent
	if restored.walk(&state{bytes: s.bytes, reading: true}); len(restored.known) != recentBids {
		t.Fatalf("%d bids are restored of %d", len(restored.known), recentBids)
	}
	for _, r := range []*recent{&r, &restored} {
		if r.seen(bid(more-1)) || r.seen(bid(0)) {
			t.Error("the oldest are not forgotten")
		}
		if !r.seen(bid(more+2)) || !r.seen(bid(recentBids+more-1)) { // two have made room since
			t.Error("younger ones are forgotten")
		}
	}
}
