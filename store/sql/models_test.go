package sql

import (
	"bytes"
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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

// A publication every other second must not make the file grow: there is room
// for two, and what is written ahead is used again.
func TestPublicationsTakeNoRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "models.db")
	trainer, bidder := open(t, file), open(t, file)
	coin := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(coin.Uint32())
	}
	size := func(of string) int64 {
		t.Helper()
		info, err := os.Stat(of)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	have := uint64(0)
	for i := range 200 {
		n := len(body) - coin.IntN(len(body)/2)
		body[n-1] = byte(i)
		if err := trainer.PutPublication(t.Context(), body[:n], time.Unix(int64(i+1), 0)); err != nil {
			t.Fatal(err)
		}
		got, revision, _, err := bidder.Publication(t.Context(), have)
		if err != nil || revision <= have || !bytes.Equal(got, body[:n]) {
			t.Fatalf("publication %d: %d bytes of revision %d, %v, want %d after %d", i, len(got), revision, err, n, have)
		}
		have = revision
	}
	if db, wal := size(file), size(file+"-wal"); db > 4<<20 || wal > 16<<20 {
		t.Errorf("after 200 publications of a MiB the file has %d bytes, and what is written ahead %d", db, wal)
	} else {
		t.Logf("after 200 publications: %d bytes, %d ahead", db, wal)
	}
	for _, s := range []*Store{trainer, bidder} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Processes that start at once make the same file.
func TestOpenedAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "models.db")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := Open(t.Context(), "sqlite:"+file)
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				if err := s.PutPublication(t.Context(), []byte("x"), time.Unix(1, 0)); err != nil {
					t.Error(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s := open(t, file)
	if _, revision, _, err := s.Publication(t.Context(), 0); err != nil || revision != 80 {
		t.Errorf("revision %d, %v, want 80", revision, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
