package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"

	"bidwell/rtb"
)

// The form of what Creatives keep: a magic word and the version, the number of
// creatives and of cells, then by rising id the clicks and the expected clicks
// of each cell; at the end CRC-32 (IEEE) of all before. Numbers are little-endian.
const (
	creativesMagic   = "bwcr"
	creativesVersion = 1
	creativesHead    = len(creativesMagic) + 1 + 1 + 4
	creativeSize     = 4 + Cells*16
	maxCreatives     = creativesHead + maxTallies*2*creativeSize + 4 // bytes: as many as there are between two Publish
)

// MarshalBinary returns all that was learned, for the snapshot of the learner.
func (c *Creatives) MarshalBinary() ([]byte, error) {
	le := binary.LittleEndian
	out := make([]byte, 0, creativesHead+len(c.tallies)*creativeSize+4)
	out = append(out, creativesMagic...)
	out = append(out, creativesVersion, Cells)
	out = le.AppendUint32(out, uint32(len(c.tallies)))
	for _, id := range slices.Sorted(maps.Keys(c.tallies)) {
		t := c.tallies[id]
		out = le.AppendUint32(out, uint32(id))
		for i := range Cells {
			out = appendFloat64(out, t.clicks[i])
			out = appendFloat64(out, t.expected[i])
		}
	}
	return le.AppendUint32(out, crc32.ChecksumIEEE(out)), nil
}

// UnmarshalBinary takes the place of all that was learned and publishes it.
// After an error everything is as before.
func (c *Creatives) UnmarshalBinary(data []byte) error {
	le := binary.LittleEndian
	if len(data) < creativesHead+4 || string(data[:len(creativesMagic)]) != creativesMagic {
		return errors.New("creatives: not what was learned of creatives, or cut short")
	}
	if v := data[len(creativesMagic)]; v != creativesVersion {
		return fmt.Errorf("creatives: version %d, want %d", v, creativesVersion)
	}
	if n := data[len(creativesMagic)+1]; n != Cells {
		return fmt.Errorf("creatives: %d cells, want %d", n, Cells)
	}
	count := uint64(le.Uint32(data[creativesHead-4:]))
	if want := uint64(creativesHead) + count*uint64(creativeSize) + 4; uint64(len(data)) != want {
		return fmt.Errorf("creatives: %d bytes, want %d for %d creatives", len(data), want, count)
	}
	body := data[:len(data)-4]
	if crc32.ChecksumIEEE(body) != le.Uint32(data[len(body):]) {
		return errors.New("creatives: damaged: the checksum does not match")
	}
	next := make(map[rtb.CreativeID]*tally, count)
	last := uint32(0)
	for at := creativesHead; at < len(body); at += creativeSize {
		id := le.Uint32(body[at:])
		if id <= last {
			return fmt.Errorf("creatives: creative %d comes after %d", id, last)
		}
		last = id
		t := &tally{}
		for i := range Cells {
			t.clicks[i] = math.Float64frombits(le.Uint64(body[at+4+i*16:]))
			t.expected[i] = math.Float64frombits(le.Uint64(body[at+12+i*16:]))
			if !(t.clicks[i] >= 0 && t.clicks[i] <= math.MaxUint32 && t.expected[i] >= 0 && t.expected[i] <= math.MaxUint32) {
				return fmt.Errorf("creatives: creative %d: %g clicks of %g expected", id, t.clicks[i], t.expected[i])
			}
		}
		next[rtb.CreativeID(id)] = t
	}
	c.tallies = next
	c.Publish()
	return nil
}
