package models

import (
	"math"
	"slices"
	"strings"
	"time"
)

// encoder turns the rows of a table into what learners take: one hash for
// each field, and numbers that say what became of earlier rows with the same
// values. It sees each row once, in order, and a label only after the row, so
// that what it says of a row never has the row's own label in it.
type encoder struct {
	rows    *Rows
	fields  []tableField
	pairs   []pairField
	clock   int // the field whose times are fine enough to measure gaps; -1 for none
	n       int
	clicks  float64
	started float64 // rate of labels in the rows that it was made from
	sizes   int     // how many fields have one

	// Of the row at hand.
	Hashes  []uint32  // one for each field
	Numbers []float32 // for a forest
	Rates   []float64 // for a linear model: 1, the sizes of numbers, then what earlier rows say
	ids     []uint32
	tallies []*pastCount
	now     float32
}

// tableField is one reading of a column.
type tableField struct {
	column int
	kind   readingKind
	clock  func(string) (time.Time, bool)
	cuts   []float32 // of the decimals

	parsed  []reading   // by number of the value
	tallies []pastCount // by id
	ids     map[uint64]uint32
	seed    field
	wide    bool // many values: how often one came says something
	opaque  bool // numbers that are names: their size says nothing
	split   byte // between the parts of a value that is a list; zero if it is none
	size    *numberSize
}

type readingKind uint8

const (
	readText    readingKind = iota
	readBucket              // an integer by its size
	readCut                 // a decimal by its rank
	readHour                // the hour
	readWeekday             // the day
)

// reading is what one value of a column means to a field.
type reading struct {
	id     uint32
	hash   uint32
	number float32
	parts  []uint32 // hashes of the parts of a list
}

type pairField struct {
	a, b    int
	tallies map[uint64]*pastCount
}

// pastCount is what became of the rows with one value.
type pastCount struct{ n, clicks, last float32 }

const (
	maxTableFields = 96
	maxPairs       = 14
	seedTable      = field(1) << 20 // apart from the fields of bids
	noNumber       = -1e30
	rareRows       = 2 // a value that came less often has the hash of rare ones
)

// newEncoder looks at all rows once to tell what their columns are.
func newEncoder(rows *Rows) *encoder {
	e := &encoder{rows: rows, clock: -1}
	n := rows.Len()
	e.started = (float64(rows.Positives()) + 0.5) / (float64(n) + 1)
	for i := range rows.columns {
		c := &rows.columns[i]
		add := func(f tableField) {
			if len(e.fields) < maxTableFields {
				if f.kind == readCut { // integers are names as often as sizes
					f.size = newNumberSize(rows, i)
					e.sizes++
				}
				f.column, f.seed = i, seedTable+field(len(e.fields))
				f.ids = map[uint64]uint32{}
				e.fields = append(e.fields, f)
			}
		}
		if parse := rows.clock(i); parse != nil {
			if len(c.values) > n/20 && e.clock < 0 {
				e.clock = len(e.fields)
			}
			add(tableField{kind: readHour, clock: parse})
			add(tableField{kind: readWeekday, clock: parse})
			continue
		}
		number, integer := c.numeric()
		switch {
		case integer:
			// Those that hardly ever come twice are numbers of rows or people.
			opaque := n >= 1000 && len(c.values) > n*9/10
			if len(c.values) > 12 && !opaque {
				add(tableField{kind: readBucket})
			}
			add(tableField{kind: readText, wide: len(c.values) > 50, opaque: opaque})
		case number:
			add(tableField{kind: readCut, cuts: cutsOf(c)})
			if len(c.values) <= n/2 {
				add(tableField{kind: readText, wide: len(c.values) > 50})
			}
		default:
			add(tableField{kind: readText, wide: len(c.values) > 50, split: c.separator()})
		}
	}
	return e
}

// separator is what stands between the parts of values that are lists, such
// as the segments of a user: many values have it, and their parts come again
// in others. It is zero where there is none.
func (c *column) separator() byte {
	for _, by := range []byte("|;, ") {
		lists, parts, distinct := 0, 0, map[string]bool{}
		for _, v := range c.values {
			if strings.IndexByte(v, by) < 0 {
				continue
			}
			lists++
			for part := range strings.SplitSeq(v, string(by)) {
				parts++
				distinct[part] = true
			}
		}
		if lists > 1 && 10*lists > 3*len(c.values) && 2*len(distinct) <= parts {
			return by
		}
	}
	return 0
}

// cutsOf cuts decimals into some twenty classes.
func cutsOf(c *column) []float32 {
	var values []float32
	for _, v := range c.values {
		if x, ok := parseNumber(v); ok {
			values = append(values, float32(x))
		}
	}
	slices.Sort(values)
	var cuts []float32
	for b := 1; b < 20; b++ {
		if v := values[len(values)*b/20]; len(cuts) == 0 || v > cuts[len(cuts)-1] {
			cuts = append(cuts, v)
		}
	}
	return cuts
}

// read is what a value of its column means to the field.
func (f *tableField) read(rows *Rows, value uint32) reading {
	for len(f.parsed) <= int(value) {
		f.parsed = append(f.parsed, f.parse(rows.columns[f.column].values[len(f.parsed)]))
	}
	return f.parsed[value]
}

func (f *tableField) parse(s string) reading {
	r := reading{number: noNumber}
	class := uint64(1) << 62 // missing
	if !missing(s) {
		switch f.kind {
		case readText:
			class = exact(f.seed, []byte(s))
			r.parts = f.list(s)
			if x, ok := parseNumber(s); ok && !f.opaque {
				r.number = float32(x)
			}
		case readBucket:
			x, ok := parseNumber(s)
			if !ok {
				class = exact(f.seed, []byte(s))
				break
			}
			r.number = float32(x)
			class = bucket(int64(max(-1<<40, min(x, 1<<60))))
			if x < 0 {
				class = 1<<32 | bucket(int64(min(-x, 1<<60)))
			}
		case readCut:
			if x, ok := parseNumber(s); ok {
				r.number = float32(x)
				class = uint64(bin(f.cuts, r.number))
			}
		case readHour, readWeekday:
			t, ok := f.clock(s)
			if !ok {
				break
			}
			class = uint64(t.Hour())
			r.number = float32(t.Hour())
			if f.kind == readWeekday {
				class = uint64(t.Weekday())
				r.number = float32(t.Weekday())
			}
		}
	}
	r.hash = fold(number(f.seed, class))
	id, ok := f.ids[class]
	if !ok {
		id = uint32(len(f.ids))
		f.ids[class] = id
	}
	r.id = id
	return r
}

// maxParts is how many parts of a list count.
const maxParts = 32

func (f *tableField) list(s string) (hashes []uint32) {
	if f.split == 0 {
		return nil
	}
	for part := range strings.SplitSeq(s, string(f.split)) {
		if part = strings.TrimSpace(part); part != "" && len(hashes) < maxParts {
			hashes = append(hashes, fold(exact(f.seed+maxTableFields, []byte(part))))
		}
	}
	return hashes
}

// appendParts appends the hashes of the parts of all lists in the row.
func (e *encoder) appendParts(dst []uint32, cells []uint32) []uint32 {
	for i := range e.fields {
		if f := &e.fields[i]; f.split != 0 {
			dst = append(dst, f.read(e.rows, cells[f.column]).parts...)
		}
	}
	return dst
}

// begin works out the row of these cells.
func (e *encoder) begin(cells []uint32) {
	e.Hashes, e.Numbers, e.Rates = e.Hashes[:0], e.Numbers[:0], append(e.Rates[:0], 1)
	e.ids, e.tallies = e.ids[:0], e.tallies[:0]
	mean, firm := e.prior()
	base := logit(mean)
	for i := range e.fields {
		if f := &e.fields[i]; f.size != nil {
			e.Rates = append(e.Rates, f.size.of(f.read(e.rows, cells[f.column]).number))
		}
	}
	e.now = float32(e.n)
	if e.clock >= 0 {
		f := &e.fields[e.clock]
		if t, ok := f.clock(e.rows.columns[f.column].values[cells[f.column]]); ok {
			e.now = float32(t.Unix() % (1 << 24))
		}
	}
	for i := range e.fields {
		f := &e.fields[i]
		r := f.read(e.rows, cells[f.column])
		for len(f.tallies) <= int(r.id) {
			f.tallies = append(f.tallies, pastCount{})
		}
		t := &f.tallies[r.id]
		e.ids = append(e.ids, r.id)
		e.tallies = append(e.tallies, t)
		hash := r.hash
		if t.n < rareRows {
			hash = fold(number(f.seed, 1<<63))
		}
		e.Hashes = append(e.Hashes, hash)

		rate := logit((float64(t.clicks)+firm*mean)/(float64(t.n)+firm)) - base
		e.Rates = append(e.Rates, rate)
		e.Numbers = append(e.Numbers, float32(rate))
		if f.kind != readText || r.number > -1e30 {
			e.Numbers = append(e.Numbers, r.number)
		} else {
			e.Numbers = append(e.Numbers, 0)
		}
		if f.wide {
			e.Rates = append(e.Rates, e.often(t), e.gap(t))
			e.Numbers = append(e.Numbers, float32(e.often(t)), float32(e.gap(t)))
		}
	}
	for i := range e.pairs {
		t := e.pairs[i].pastCount(e.ids)
		e.tallies = append(e.tallies, t)
		a, b := e.rateOf(e.pairs[i].a, mean, firm), e.rateOf(e.pairs[i].b, mean, firm)
		q := sigmoid(base + (a+b)/2)
		rate := logit((float64(t.clicks)+firm*q)/(float64(t.n)+firm)) - base
		e.Rates = append(e.Rates, rate-(a+b)/2, e.often(t))
		e.Numbers = append(e.Numbers, float32(rate), float32(e.often(t)), float32(e.gap(t)))
	}
}

func (e *encoder) rateOf(i int, mean, firm float64) float64 {
	t := e.tallies[i]
	return logit((float64(t.clicks)+firm*mean)/(float64(t.n)+firm)) - logit(mean)
}

// often is how many of the earlier rows had it, on a scale of logarithms.
func (e *encoder) often(t *pastCount) float64 {
	return math.Log1p(float64(t.n)) / 4
}

// gap is how long ago the last one was, on such a scale; seconds where the
// table has them, else rows.
func (e *encoder) gap(t *pastCount) float64 {
	if t.n == 0 {
		return 3
	}
	return math.Log1p(math.Abs(float64(e.now-t.last))) / 8
}

// prior is the mean of the labels so far and how many rows it is worth.
func (e *encoder) prior() (mean, firm float64) {
	mean = (e.clicks + 200*e.started) / (float64(e.n) + 200)
	mean = max(1e-5, min(mean, 0.9))
	return mean, max(10, min(0.5/mean, 200))
}

func (p *pairField) pastCount(ids []uint32) *pastCount {
	key := uint64(ids[p.a])<<32 | uint64(ids[p.b])
	t := p.tallies[key]
	if t == nil {
		t = new(pastCount)
		p.tallies[key] = t
	}
	return t
}

// end says what became of the row that began last.
func (e *encoder) end(label bool) {
	for _, t := range e.tallies {
		t.n++
		t.last = e.now
		if label {
			t.clicks++
		}
	}
	e.n++
	if label {
		e.clicks++
	}
}
