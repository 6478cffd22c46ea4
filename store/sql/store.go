// Package sql keeps documents in SQLite: campaigns and all else that people
// edit. They are few, read as a whole and changed now and then, so they are
// JSON bodies under a kind and an id and not one table for each. It also keeps
// the versions of models, with their files.
//
// Writers wait for one another on a single connection; readers never wait,
// because the file is in write-ahead mode.
package sql

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite" // registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed schema.sql
var documentsSchema string

//go:embed report.sql
var reportSchema string

//go:embed models.sql
var modelsSchema string

//go:embed publication.sql
var publicationSchema string

// schema are the steps that make a file what this program works with. How many
// of them were taken is kept in the file's user_version, so that an older file
// gets the rest, and an older program refuses a newer file instead of damaging
// it. What has been released is not changed, but followed by another step.
var schema = []string{documentsSchema, modelsSchema, reportSchema, publicationSchema}

// Store is one SQLite file. It is safe for concurrent use.
type Store struct {
	write *sql.DB // one connection; its transactions take the write lock at once
	read  *sql.DB
}

// Open opens or creates the file that dsn names as "sqlite:FILE".
func Open(ctx context.Context, dsn string) (*Store, error) {
	file, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok || file == "" {
		return nil, fmt.Errorf("open documents: %q is not of the form sqlite:FILE", dsn)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	// Sync on every commit: a campaign that was confirmed as stopped stays so.
	// What a large change has made of the write-ahead log is given back.
	pragmas := "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=journal_size_limit(67108864)"
	at := (&url.URL{Scheme: "file", Path: path}).String() + "?" + pragmas
	s := &Store{}
	if s.write, err = sql.Open("sqlite", at+"&_txlock=immediate"); err != nil {
		return nil, fmt.Errorf("open documents: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open documents in %s: %w", file, err), s.write.Close())
	}
	if s.read, err = sql.Open("sqlite", at+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(fmt.Errorf("open documents: %w", err), s.write.Close())
	}
	s.read.SetMaxOpenConns(4)
	return s, nil
}

// create makes a file for its owner only, which SQLite would make for all to
// read. Files beside it get the permissions of this one.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // opening and closing it here would drop SQLite's locks
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Close waits for what is running and closes the file.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// begin makes the first connection. Where another process is just making the file,
// or the last to close it, SQLite says that it is busy without waiting.
func (s *Store) begin(ctx context.Context) error {
	for until := time.Now().Add(10 * time.Second); ; {
		err := s.migrate(ctx)
		var from *sqlite.Error
		if !errors.As(err, &from) || from.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var have int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	switch {
	case have == len(schema):
		return nil
	case have > len(schema):
		return fmt.Errorf("the file has schema %d, this program knows %d: use a newer bidwell", have, len(schema))
	}
	for i, step := range schema[have:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("schema %d: %w", have+i+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(schema))); err != nil {
		return err
	}
	return tx.Commit()
}
