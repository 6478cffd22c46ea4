package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// labelledTable reads rows of values in which one column is the label.
type labelledTable struct {
	lines     *bufio.Scanner
	delimiter byte
	columns   int
	label     int
	ignored   []bool
	header    []string
	names     []string // of the features
	line      int      // the last one read, from 1

	fields, values [][]byte
	unquoted       []byte
}

const (
	maxTableLine    = 1 << 20 // bytes
	maxTableColumns = 4096
)

// openTable reads the header row. It unpacks gzip.
func openTable(r io.Reader, delimiter, label string, ignore []string) (*labelledTable, error) {
	switch delimiter {
	case `\t`, "tab":
		delimiter = "\t"
	}
	if len(delimiter) != 1 || strings.ContainsAny(delimiter, "\"\r\n") || delimiter[0] >= 0x80 {
		return nil, fmt.Errorf("delimiter: got %q, want one character, not a quote", delimiter)
	}
	r, err := unpack(r)
	if err != nil {
		return nil, err
	}
	t := &labelledTable{lines: bufio.NewScanner(r), delimiter: delimiter[0], label: -1}
	t.lines.Buffer(make([]byte, 64<<10), maxTableLine)
	fields, err := t.read()
	if err == io.EOF {
		return nil, errors.New("the table is empty; want a header row")
	}
	if err != nil {
		return nil, err
	}
	if len(fields) > maxTableColumns {
		return nil, fmt.Errorf("line %d: %d columns, want at most %d", t.line, len(fields), maxTableColumns)
	}
	t.columns = len(fields)
	t.ignored = make([]bool, t.columns)
	ignore = slices.Clone(ignore)
	for i, f := range fields {
		name := string(bytes.TrimSpace(f))
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		if slices.Contains(t.header, name) {
			if _, err := strconv.ParseFloat(name, 64); err == nil || name == "" {
				return nil, fmt.Errorf("line %d: two columns are named %q; the first line must name the columns", t.line, name)
			}
			return nil, fmt.Errorf("line %d: two columns are named %q", t.line, name)
		}
		t.header = append(t.header, name)
		at := slices.Index(ignore, name)
		switch {
		case name == label:
			t.label = i
			if at >= 0 {
				return nil, fmt.Errorf("ignore: %q is the label", name)
			}
		case at >= 0:
			t.ignored[i] = true
			ignore = slices.Delete(ignore, at, at+1)
		default:
			t.names = append(t.names, name)
		}
	}
	if t.label < 0 && t.columns == 1 {
		return nil, fmt.Errorf("label: no column is named %q; the only column is %q: is --delimiter right?", label, t.header[0])
	}
	if t.label < 0 {
		return nil, fmt.Errorf("label: no column is named %q; the columns are %s", label, strings.Join(t.header, ", "))
	}
	if len(ignore) > 0 {
		return nil, fmt.Errorf("ignore: no column is named %q; the columns are %s", ignore[0], strings.Join(t.header, ", "))
	}
	if len(t.names) == 0 {
		return nil, errors.New("the table has no column but the label and what is ignored")
	}
	return t, nil
}

// unpack looks at the first bytes: gzip is unpacked, and what is no text
// refused.
func unpack(r io.Reader) (io.Reader, error) {
	packed := bufio.NewReaderSize(r, 64<<10)
	head, err := packed.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return unpacked, nil
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return nil, errors.New("the table is in UTF-16: save it as UTF-8")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PAR1")):
		return nil, errors.New("the table is an archive, a spreadsheet or Parquet: want text, plain or gzip")
	}
	return packed, nil
}

// parseLabel reads the ways in which tables write no and yes.
func parseLabel(s []byte) (label, ok bool) {
	switch strings.ToLower(string(s)) {
	case "0", "0.0", "false", "no":
		return false, true
	case "1", "1.0", "true", "yes":
		return true, true
	}
	return false, false
}

// next is the next row, valid until the one after, or io.EOF.
func (t *labelledTable) next() (values [][]byte, label bool, err error) {
	fields, err := t.read()
	if err != nil {
		return nil, false, err
	}
	if len(fields) != t.columns {
		return nil, false, fmt.Errorf("line %d: %d values, want %d as in the header", t.line, len(fields), t.columns)
	}
	t.values = t.values[:0]
	for i, f := range fields {
		switch {
		case i == t.label:
			var ok bool
			if label, ok = parseLabel(bytes.TrimSpace(f)); !ok {
				return nil, false, fmt.Errorf("line %d: column %q: %.40q, want 0 or 1 (or false or true, no or yes)", t.line, t.header[i], f)
			}
		case !t.ignored[i]:
			t.values = append(t.values, bytes.TrimSpace(f))
		}
	}
	return t.values, label, nil
}

// read splits the next line that is not blank.
func (t *labelledTable) read() ([][]byte, error) {
	for t.lines.Scan() {
		t.line++
		line := bytes.TrimSuffix(t.lines.Bytes(), []byte("\r"))
		if len(bytes.TrimSpace(line)) == 0 && t.columns != 1 {
			if t.delimiter == '\t' && t.columns > 1 && len(line) > 0 {
				return t.split(line) // a row of empty values
			}
			continue
		}
		return t.split(line)
	}
	if err := t.lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("longer than %d bytes", maxTableLine)
		}
		return nil, fmt.Errorf("line %d: %w", t.line+1, err)
	}
	return nil, io.EOF
}

// split takes a line apart (RFC 4180, but that a quoted value may not go over
// several lines).
func (t *labelledTable) split(line []byte) ([][]byte, error) {
	t.fields, t.unquoted = t.fields[:0], slices.Grow(t.unquoted[:0], len(line))
	for {
		if len(t.fields) > maxTableColumns {
			return nil, fmt.Errorf("line %d: more than %d values", t.line, maxTableColumns)
		}
		if len(line) == 0 || line[0] != '"' {
			end := bytes.IndexByte(line, t.delimiter)
			if end < 0 {
				t.fields = append(t.fields, line)
				return t.fields, nil
			}
			t.fields = append(t.fields, line[:end])
			line = line[end+1:]
			continue
		}
		begin := len(t.unquoted)
		line = line[1:]
		for {
			end := bytes.IndexByte(line, '"')
			if end < 0 {
				return nil, fmt.Errorf("line %d: value %d: the quote is not closed", t.line, len(t.fields)+1)
			}
			t.unquoted = append(t.unquoted, line[:end]...)
			line = line[end+1:]
			if len(line) == 0 || line[0] != '"' {
				break
			}
			t.unquoted = append(t.unquoted, '"')
			line = line[1:]
		}
		t.fields = append(t.fields, t.unquoted[begin:])
		if len(line) == 0 {
			return t.fields, nil
		}
		if line[0] != t.delimiter {
			return nil, fmt.Errorf("line %d: value %d: text after the closing quote", t.line, len(t.fields))
		}
		line = line[1:]
	}
}
