package pebble

import (
	"encoding/binary"
	"math"
	"time"

	"bidwell/pacing"
	"bidwell/rtb"
)

// Rows and tallies begin with a byte that names their format. After it come
// varints in the order of the fields below; a time is seconds and nanoseconds,
// a multiplier the bits of its number.
const (
	rowFormat   = 3
	tallyFormat = 1
)

func appendRow(dst []byte, r *pacing.Row) []byte {
	dst = append(dst, rowFormat)
	dst = appendMoney(appendMoney(appendMoney(dst, r.Spent), r.Before), r.Late)
	dst = appendTime(appendTime(dst, r.DayStart), r.DayEnd)
	dst = binary.AppendUvarint(dst, uint64(len(r.Leases)))
	for _, l := range r.Leases {
		dst = binary.AppendUvarint(dst, uint64(l.Node))
		dst = appendTime(appendTime(appendMoney(appendMoney(dst, l.Granted), l.Charged), l.Usable), l.Until)
		dst = binary.AppendUvarint(dst, math.Float64bits(l.Multiplier))
	}
	return dst
}

func decodeRow(value []byte) (pacing.Row, error) {
	f := fields{rest: value}
	f.format(rowFormat)
	r := pacing.Row{Spent: f.money(), Before: f.money(), Late: f.money(), DayStart: f.time(), DayEnd: f.time()}
	for range f.count(uint64(len(value))) { // a lease takes more than a byte
		l := pacing.RowLease{Node: f.node(), Granted: f.money(), Charged: f.money(), Usable: f.time(), Until: f.time(), Multiplier: math.Float64frombits(f.uint())}
		f.bad = f.bad || l.Charged > l.Granted || !(l.Multiplier >= 0 && l.Multiplier <= 1)
		r.Leases = append(r.Leases, l)
	}
	f.bad = f.bad || r.Before > r.Spent || r.Late > r.Spent
	return r, f.end()
}

func appendTally(dst []byte, t *pacing.Tally) []byte {
	dst = append(dst, tallyFormat)
	dst = binary.AppendUvarint(appendMoney(dst, t.Charged), t.Repeats)
	dst = binary.AppendUvarint(dst, uint64(pacing.KindCount))
	for k := range pacing.KindCount {
		dst = appendMoney(binary.AppendUvarint(dst, t.Counts[k]), t.Prices[k])
	}
	return dst
}

func decodeTally(value []byte, t *pacing.Tally) error {
	f := fields{rest: value}
	f.format(tallyFormat)
	t.Charged, t.Repeats = f.money(), f.uint()
	for k := range f.count(uint64(pacing.KindCount)) {
		t.Counts[k], t.Prices[k] = f.uint(), f.money()
	}
	return f.end()
}

// appendMoney appends an amount that is not negative.
func appendMoney(dst []byte, m rtb.Money) []byte { return binary.AppendUvarint(dst, uint64(m)) }

func appendTime(dst []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(dst, t.Unix()), uint64(t.Nanosecond()))
}

// fields reads a stored value field by field. Once something does not fit, all
// that follows is zero.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) format(want byte) {
	if len(f.rest) == 0 || f.rest[0] != want {
		f.bad = true
		return
	}
	f.rest = f.rest[1:]
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if f.bad || n <= 0 {
		f.bad = true
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) money() rtb.Money {
	m := rtb.Money(f.uint())
	if m < 0 {
		f.bad = true
		return 0
	}
	return m
}

func (f *fields) node() uint32 {
	v := f.uint()
	f.bad = f.bad || v != uint64(uint32(v))
	return uint32(v)
}

func (f *fields) count(most uint64) int {
	n := f.uint()
	if n > most {
		f.bad = true
		return 0
	}
	return int(n)
}

func (f *fields) time() time.Time {
	seconds, n := binary.Varint(f.rest)
	if f.bad || n <= 0 {
		f.bad = true
		return time.Time{}
	}
	f.rest = f.rest[n:]
	nanoseconds := f.uint()
	if f.bad || nanoseconds >= uint64(time.Second) {
		f.bad = true
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC()
}

func (f *fields) end() error {
	if f.bad || len(f.rest) > 0 {
		return errEntry
	}
	return nil
}
