package sql

import (
	"database/sql"
	"path/filepath"
	"testing"

	"bidwell/models"
	"bidwell/store/storetest"
)

func TestModels(t *testing.T) {
	file := filepath.Join(t.TempDir(), "models.db")
	var last *Store
	storetest.TestModels(t, func(t *testing.T) models.Snapshots {
		if last != nil {
			if err := last.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(t.Context(), "sqlite:"+file)
		if err != nil {
			t.Fatal(err)
		}
		last = s
		return s
	})
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file from before there were models gets their tables, and keeps the rest.
func TestOlderFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "documents.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{documentsSchema, "PRAGMA user_version = 1",
		`INSERT INTO documents (kind, id, number, version, body) VALUES ('deals', 'a', 7, 3, X'7b7d')`} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := open(t, file)
		if _, number, version, err := s.Get(t.Context(), "deals", "a"); number != 7 || version != 3 || err != nil {
			t.Errorf("the document has number %d and version %d, %v, want 7 and 3", number, version, err)
		}
		if revision, err := s.ModelRevision(t.Context()); revision != 1 || err != nil {
			t.Errorf("ModelRevision = %d, %v, want 1", revision, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
