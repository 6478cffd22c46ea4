package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rows are examples in the form of a table, as logs of others have them: named
// columns of text and a label. Each distinct value is kept once.
type Rows struct {
	names   []string
	columns []column
	cells   []uint32 // row by row, each the number of a value of its column
	labels  []bool
}

// column is the values of one column, in the order of their first use.
type column struct {
	number map[string]uint32
	values []string
}

const (
	maxColumns = 256
	maxValues  = 4 << 20 // distinct ones of a column; all others count as one
)

// NewRows starts with no row of the named columns.
func NewRows(names []string) (*Rows, error) {
	if len(names) == 0 || len(names) > maxColumns {
		return nil, fmt.Errorf("rows: %d columns, want 1 to %d", len(names), maxColumns)
	}
	r := &Rows{names: slices.Clone(names), columns: make([]column, len(names))}
	for i := range r.columns {
		r.columns[i].number = map[string]uint32{}
	}
	return r, nil
}

// Add appends a row. The values are copied.
func (r *Rows) Add(values [][]byte, label bool) error {
	if len(values) != len(r.columns) {
		return fmt.Errorf("rows: %d values, want %d", len(values), len(r.columns))
	}
	r.cells = r.appendCells(r.cells, values)
	r.labels = append(r.labels, label)
	return nil
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.labels) }

// Positives is the number of rows with a label of true.
func (r *Rows) Positives() int {
	n := 0
	for _, l := range r.labels {
		n += int(flag(l))
	}
	return n
}

func (r *Rows) row(i int) []uint32 { return r.cells[i*len(r.columns):][:len(r.columns)] }

func (r *Rows) appendCells(dst []uint32, values [][]byte) []uint32 {
	for i, v := range values {
		dst = append(dst, r.columns[i].intern(v))
	}
	return dst
}

func (c *column) intern(v []byte) uint32 {
	if n, ok := c.number[string(v)]; ok {
		return n
	}
	if len(c.values) >= maxValues {
		return maxValues - 1
	}
	n := uint32(len(c.values))
	s := string(v)
	c.number[s] = n
	c.values = append(c.values, s)
	return n
}

var errNoRows = errors.New("no rows to learn from")

func missing(s string) bool {
	switch s {
	case "", "NA", "N/A", "nan", "NaN", "null", "NULL", "Null", "None", `\N`, "-":
		return true
	}
	return false
}

// parseNumber is finite; texts such as 0x10 or 1_000 are not numbers here.
func parseNumber(s string) (float64, bool) {
	if s == "" || strings.ContainsAny(s, "xXpP_nN") {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// clockLayouts are the forms of time that logs have; those of digits alone
// also fit identifiers, so that a column has to fit throughout.
var clockLayouts = []string{
	"2006-01-02 15:04:05", time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02",
	"2006/01/02 15:04:05", "02/Jan/2006:15:04:05 -0700",
	"20060102150405.000", "20060102150405", "2006010215", "06010215",
}

// parseClock reads one form of time. Seventeen digits have milliseconds, as
// iPinYou writes them.
func parseClock(layout, s string) (time.Time, bool) {
	if layout == "20060102150405.000" {
		if len(s) != 17 {
			return time.Time{}, false
		}
		s = s[:14] + "." + s[14:]
	}
	t, err := time.Parse(layout, s)
	return t, err == nil && t.Year() >= 1990 && t.Year() < 2100
}

// parseEpoch reads seconds, or milliseconds, since 1970.
func parseEpoch(s string) (time.Time, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return time.Time{}, false
	case v >= 800_000_000 && v < 4_000_000_000:
		return time.Unix(v, 0).UTC(), true
	case v >= 800_000_000_000 && v < 4_000_000_000_000:
		return time.UnixMilli(v).UTC(), true
	}
	return time.Time{}, false
}

// clock is how to read the times of a column, or nil if it is of other things.
func (r *Rows) clock(i int) func(string) (time.Time, bool) {
	c := &r.columns[i]
	fits := func(parse func(string) (time.Time, bool)) bool {
		seen := false
		for _, v := range c.values {
			if missing(v) {
				continue
			}
			if _, ok := parse(v); !ok {
				return false
			}
			seen = true
		}
		return seen
	}
	for _, layout := range clockLayouts {
		parse := func(s string) (time.Time, bool) { return parseClock(layout, s) }
		if fits(parse) {
			return parse
		}
	}
	if name := strings.ToLower(r.names[i]); strings.Contains(name, "time") || strings.Contains(name, "date") || name == "ts" {
		if fits(parseEpoch) {
			return parseEpoch
		}
	}
	return nil
}

// numeric says whether all values of the column are numbers, and all of those
// integers.
func (c *column) numeric() (number, integer bool) {
	integer = true
	for _, v := range c.values {
		if missing(v) {
			continue
		}
		x, ok := parseNumber(v)
		if !ok {
			return false, false
		}
		number = true
		if x != math.Trunc(x) || math.Abs(x) > 1<<52 {
			integer = false
		}
	}
	return number, number && integer
}
