package report

import (
	"encoding/binary"
	"time"

	"bidwell/rtb"
)

// lives are how long a token may bring the same notice again: of notices and of
// conversions, see package events.
var lives = [...]time.Duration{24 * time.Hour, 30 * 24 * time.Hour}

// generations remember what has come of which bid, for the life of a token at
// least unless there are too many bids. There are two: when one is old or full
// the next begins, and the one before it is forgotten.
type generations struct {
	class  uint8 // which of the lives
	number uint32
	begun  time.Time // by the time of the events
	latest time.Time // of them: what is uploaded may be weeks old
	now    map[uint64]uint16
	old    map[uint64]uint16

	changed []mark                       // since the last save
	loaded  map[uint32]map[uint64]uint16 // by number, until settled
}

type mark struct {
	number uint32 // of the generation
	bid    uint64
}

func (g *generations) reset(class uint8) {
	*g = generations{class: class, number: 1, now: map[uint64]uint16{}, loaded: map[uint32]map[uint64]uint16{}}
}

// first marks that an event of a type has come of a bid and reports whether
// that is new. Ids of bids are random, so half of one tells them apart.
func (g *generations) first(e *rtb.Event, most int, garbage *[][]byte) bool {
	if g.begun.IsZero() {
		g.begun = e.Time
	}
	for _, at := range [2]time.Time{g.begun, e.Time} {
		if at.After(g.latest) {
			g.latest = at
		}
	}
	key, bit := binary.LittleEndian.Uint64(e.Bid[:8])^binary.LittleEndian.Uint64(e.Bid[8:]), uint16(1)<<e.Type
	if (g.now[key]|g.old[key])&bit != 0 {
		return false
	}
	if g.latest.Sub(g.begun) >= lives[g.class] || len(g.now) >= most {
		g.drop(g.number-1, g.old, garbage)
		g.old, g.now = g.now, make(map[uint64]uint16, len(g.now))
		g.number++
		g.begun = g.latest
	}
	g.now[key] |= bit
	g.changed = append(g.changed, mark{g.number, key})
	return true
}

func (g *generations) drop(number uint32, marks map[uint64]uint16, garbage *[][]byte) {
	for key := range marks {
		*garbage = append(*garbage, markRow(g.class, number, key))
	}
}

// settle sorts what was loaded.
func (g *generations) settle(garbage *[][]byte) {
	for number, marks := range g.loaded {
		switch number {
		case g.number:
			g.now = marks
		case g.number - 1:
			g.old = marks
		default:
			g.drop(number, marks, garbage)
		}
	}
	g.loaded = nil
}
