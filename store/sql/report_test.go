package sql

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"testing"

	"bidwell/events/report"
	"bidwell/store/storetest"
)

func TestReportRows(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "documents.db")
	var before *Store
	storetest.TestRows(t, func(t *testing.T) report.Rows {
		if before != nil {
			before.Close()
		}
		s, err := Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		before = s
		return s
	})
}

// Rows of the report are no documents: bidders must not look for changes.
func TestReportRowsLeaveTheVersion(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "documents.db"))
	before, err := s.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = s.SaveRows(t.Context(), func(yield func(key, value []byte) bool) { yield([]byte("k"), []byte("v")) })
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Version(t.Context())
	if err != nil || after != before {
		t.Errorf("version %d after %d, %v", after, before, err)
	}
}

func BenchmarkSaveRows(b *testing.B) {
	s, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "documents.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	value := bytes.Repeat([]byte{7}, 41)
	n := uint64(0)
	const rows = 10_000
	for b.Loop() {
		err := s.SaveRows(context.Background(), func(yield func(key, value []byte) bool) {
			for range rows {
				n++
				if !yield(binary.BigEndian.AppendUint64([]byte("m"), n*0x9e3779b97f4a7c15), value) {
					return
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}
