package bidder

import "testing"

// Exchanges number auctions of their own from 500 on: cut to eight bits, some
// of them would be first-price auctions, or deals at a fixed price.
func TestKnownAuction(t *testing.T) {
	for of, want := range map[uint16]uint8{0: 0, 1: 1, 2: 2, 3: 3, 4: 0, 257: 0, 259: 0, 500: 0, 513: 0, 65535: 0} {
		if got := knownAuction(of); got != want {
			t.Errorf("auction %d is taken for %d, want %d", of, got, want)
		}
	}
}
