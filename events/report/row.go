package report

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// Rows begin with what they are. Numbers in keys are big-endian, so that rows of
// one kind lie together; those in values little-endian.
const (
	rowPosition   = 'p' // source -> position
	rowShift      = 's' // -> shift
	rowPast       = 'u' // user -> impressions, clicks
	rowMember     = 'm' // experiment, user -> member
	rowGeneration = 'g' // class -> number, begun
	rowMark       = 'd' // class, number, bid -> types
	rowGone       = 'x' // experiment -> 1
	rowLook       = 'l' // experiment, arm, adjusted and uploaded, metric -> sequence
)

const (
	memberSize1 = 2 + 5*4 + 4 + 2*8 // before there were uploads
	memberSize  = memberSize1 + 4 + 4 + 8
)

func pastRow(user rtb.UserID) []byte { return append([]byte{rowPast}, user[:]...) }

func memberRow(k memberKey) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{rowMember}, k.experiment), k.user[:]...)
}

func markRow(class uint8, number uint32, bid uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte{rowMark, class}, number), bid)
}

func lookRow(k lookKey) []byte {
	b := append(binary.BigEndian.AppendUint32([]byte{rowLook}, k.experiment), k.arm, 0)
	if k.adjusted {
		b[len(b)-1] |= 1
	}
	if k.uploaded {
		b[len(b)-1] |= 2
	}
	return append(b, k.metric...)
}

func (m *member) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, m.arm, 0)
	if m.assigned {
		b[len(b)-1] = 1
	}
	for _, n := range [...]uint32{m.before.impressions, m.before.clicks, m.impressions, m.clicks, m.conversions, math.Float32bits(m.missed)} {
		b = le.AppendUint32(b, n)
	}
	b = le.AppendUint64(le.AppendUint64(b, uint64(m.value)), uint64(m.spend))
	return le.AppendUint64(le.AppendUint32(le.AppendUint32(b, m.since), m.uploaded.conversions), uint64(m.uploaded.value))
}

func readMember(b []byte) (m member) {
	n := func(i int) uint32 { return binary.LittleEndian.Uint32(b[2+4*i:]) }
	m = member{
		arm: b[0], assigned: b[1] == 1, before: past{n(0), n(1)}, impressions: n(2), clicks: n(3), conversions: n(4), missed: math.Float32frombits(n(5)),
		value: rtb.Money(binary.LittleEndian.Uint64(b[26:])), spend: rtb.Money(binary.LittleEndian.Uint64(b[34:])),
	}
	if len(b) == memberSize {
		b = b[memberSize1:]
		m.since = binary.LittleEndian.Uint32(b)
		m.uploaded = bought{binary.LittleEndian.Uint32(b[4:]), rtb.Money(binary.LittleEndian.Uint64(b[8:]))}
	}
	return m
}

// maxGarbage is how many rows that nobody reads any more are removed in one
// write: they hurt nobody, and a write keeps others waiting.
const maxGarbage = 20_000

// Save writes what has changed. Call it every few seconds, and at the end.
func (r *Rollup) Save(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.save(ctx)
}

func (r *Rollup) save(ctx context.Context) error {
	some := min(len(r.garbage), maxGarbage)
	if !r.changed && some == 0 && len(r.changedPast)+len(r.changedMembers)+len(r.changedLooks) == 0 {
		return nil
	}
	if err := r.rows.SaveRows(ctx, func(yield func(key, value []byte) bool) { r.eachChange(some, yield) }); err != nil {
		return fmt.Errorf("save experiment report: %w", err)
	}
	clear(r.changedPast)
	clear(r.changedMembers)
	clear(r.changedLooks)
	for i := range r.repeats {
		r.repeats[i].changed = r.repeats[i].changed[:0]
	}
	r.changed = false
	if r.garbage = r.garbage[some:]; len(r.garbage) == 0 {
		r.garbage = nil
	}
	return nil
}

// eachChange yields the rows that are to be written. Removals come first, for a
// user may be back.
func (r *Rollup) eachChange(garbage int, yield func(key, value []byte) bool) {
	le := binary.LittleEndian
	for _, key := range r.garbage[:garbage] {
		if key[0] == rowPast {
			if _, back := r.past[rtb.UserID(key[1:])]; back { // and has been written since
				continue
			}
		}
		if !yield(key, nil) {
			return
		}
	}
	var b []byte
	for user := range r.changedPast {
		b = b[:0]
		if p, ok := r.past[user]; ok {
			b = le.AppendUint32(le.AppendUint32(b, p.impressions), p.clicks)
		} else {
			b = nil
		}
		if !yield(pastRow(user), b) {
			return
		}
	}
	for key := range r.changedMembers {
		if m, ok := r.members[key]; ok {
			b = m.append(b[:0])
		} else {
			b = nil
		}
		if !yield(memberRow(key), b) {
			return
		}
	}
	for i := range r.repeats {
		g := &r.repeats[i]
		for _, m := range g.changed {
			marks := g.now
			switch m.number {
			case g.number:
			case g.number - 1:
				marks = g.old
			default:
				continue // forgotten before it was ever written
			}
			if !yield(markRow(g.class, m.number, m.bid), le.AppendUint16(nil, marks[m.bid])) {
				return
			}
		}
		if !g.begun.IsZero() && !yield([]byte{rowGeneration, g.class}, le.AppendUint64(le.AppendUint32(nil, g.number), uint64(g.begun.UnixMicro()))) {
			return
		}
	}
	for key := range r.changedLooks {
		s := r.looks[key]
		b := le.AppendUint32(nil, uint32(s.Looks))
		for _, v := range [...]float64{s.P, s.Low, s.High} {
			b = le.AppendUint64(b, math.Float64bits(v))
		}
		if !yield(lookRow(key), b) {
			return
		}
	}
	for experiment := range r.gone {
		if !yield(binary.BigEndian.AppendUint32([]byte{rowGone}, experiment), []byte{1}) {
			return
		}
	}
	for i, at := range r.positions {
		if !yield([]byte{rowPosition, byte(i)}, le.AppendUint64(nil, at)) {
			return
		}
	}
	yield([]byte{rowShift}, []byte{r.shift})
}

// load takes one row that was saved.
func (r *Rollup) load(key, value []byte) error {
	le, be := binary.LittleEndian, binary.BigEndian
	is := func(kind byte, keySize, valueSize int) bool {
		return key[0] == kind && len(key) == 1+keySize && len(value) == valueSize
	}
	switch {
	case len(key) == 0:
		return fmt.Errorf("a row without a key")
	case is(rowPosition, 1, 8) && key[1] < byte(sources):
		r.positions[key[1]] = le.Uint64(value)
	case is(rowShift, 0, 1):
		r.shift = value[0]
	case is(rowGone, 4, 1):
		r.gone[be.Uint32(key[1:])] = struct{}{}
	case is(rowPast, 16, 8):
		r.past[rtb.UserID(key[1:])] = past{le.Uint32(value), le.Uint32(value[4:])}
	case is(rowMember, 20, memberSize), is(rowMember, 20, memberSize1):
		r.members[memberKey{rtb.UserID(key[5:]), be.Uint32(key[1:])}] = readMember(value)
	case is(rowGeneration, 1, 12) && int(key[1]) < len(r.repeats):
		g := &r.repeats[key[1]]
		g.number, g.begun = le.Uint32(value), time.UnixMicro(int64(le.Uint64(value[4:])))
	case is(rowMark, 13, 2) && int(key[1]) < len(r.repeats):
		g, number := &r.repeats[key[1]], be.Uint32(key[2:])
		if g.loaded[number] == nil {
			g.loaded[number] = map[uint64]uint16{}
		}
		g.loaded[number][be.Uint64(key[6:])] = le.Uint16(value)
	case len(key) > 7 && key[0] == rowLook && len(value) == 28:
		metric, err := ParseMetric(string(key[7:]))
		if err != nil {
			return fmt.Errorf("row %q: %w", key, err)
		}
		f := func(i int) float64 { return math.Float64frombits(le.Uint64(value[4+8*i:])) }
		r.looks[lookKey{be.Uint32(key[1:]), key[5], metric, key[6]&1 != 0, key[6]&2 != 0}] = Sequence{Looks: int(le.Uint32(value)), P: f(0), Interval: Interval{f(1), f(2)}}
	default:
		return fmt.Errorf("row %q with %d bytes is not known", key, len(value))
	}
	return nil
}
