package storetest

import (
	"bytes"
	"errors"
	"iter"
	"maps"
	"testing"

	"bidwell/events/report"
)

// row is one row of a report; a value that is nil removes.
type row struct{ key, value []byte }

func sequence(rows ...row) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for _, r := range rows {
			if !yield(r.key, r.value) {
				return
			}
		}
	}
}

func allRows(t *testing.T, rows report.Rows) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := rows.LoadRows(t.Context(), func(key, value []byte) error {
		if _, twice := all[string(key)]; twice {
			t.Errorf("row %q comes twice", key)
		}
		all[string(key)] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRows proves that an engine keeps the promises of report.Rows. Each call of
// open closes what the call before has opened, and opens the same rows again;
// the first opens none.
func TestRows(t *testing.T, open func(t *testing.T) report.Rows) {
	rows := open(t)
	want := map[string]string{}
	check := func(when string) {
		t.Helper()
		if got := allRows(t, rows); !maps.Equal(got, want) {
			t.Fatalf("%s there are %q, want %q", when, got, want)
		}
	}
	check("at first")
	save := func(list ...row) {
		t.Helper()
		if err := rows.SaveRows(t.Context(), sequence(list...)); err != nil {
			t.Fatal(err)
		}
	}
	save()
	check("after nothing")
	save(row{[]byte("a"), []byte("1")}, row{[]byte{0, 255}, []byte{0}}, row{[]byte("b"), []byte("2")})
	want = map[string]string{"a": "1", "\x00\xff": "\x00", "b": "2"}
	check("after a write")
	save(row{[]byte("a"), nil}, row{[]byte("none"), nil}, row{[]byte("b"), []byte("3")}, row{[]byte("c"), nil}, row{[]byte("c"), []byte("4")})
	want = map[string]string{"\x00\xff": "\x00", "b": "3", "c": "4"}
	check("after a change")

	// The writer may use one buffer for all.
	buffer := make([]byte, 1)
	err := rows.SaveRows(t.Context(), func(yield func(key, value []byte) bool) {
		for i := range 3 {
			buffer[0] = byte('x' + i)
			if !yield(bytes.Clone(buffer), buffer) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want["x"], want["y"], want["z"] = "x", "y", "z"
	check("after a reused buffer")

	rows = open(t)
	check("reopened")
	errStop := errors.New("stop")
	seen := 0
	err = rows.LoadRows(t.Context(), func([]byte, []byte) error {
		if seen++; seen == 2 {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) || seen != 2 {
		t.Errorf("LoadRows = %v after %d rows, want the error of the second", err, seen)
	}
}
