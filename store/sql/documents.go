package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"bidwell/rtb"
)

// txKey carries a running transaction in the context, so that the same four
// methods work inside and outside of one.
type txKey struct{ store *Store }

type transaction struct {
	*sql.Tx
	writes bool
}

// reader is what a query runs on: a transaction or the file.
type reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Store) running(ctx context.Context) (transaction, bool) {
	tx, ok := ctx.Value(txKey{s}).(transaction)
	return tx, ok
}

func (s *Store) reader(ctx context.Context) reader {
	if tx, ok := s.running(ctx); ok {
		return tx.Tx
	}
	return s.read
}

// View calls do with a context whose reads all see one moment of the store.
// The context must not be used after do returns, nor by several goroutines.
func (s *Store) View(ctx context.Context, do func(ctx context.Context) error) error {
	return s.transact(ctx, s.read, false, do)
}

// Update calls do with a context whose calls form one transaction: if do
// fails, nothing of it happened. Other writers wait meanwhile. The context must
// not be used after do returns, nor by several goroutines.
func (s *Store) Update(ctx context.Context, do func(ctx context.Context) error) error {
	return s.transact(ctx, s.write, true, do)
}

func (s *Store) transact(ctx context.Context, db *sql.DB, writes bool, do func(context.Context) error) error {
	if outer, ok := s.running(ctx); ok {
		if writes && !outer.writes {
			return errors.New("documents: Update inside of a View")
		}
		return do(ctx) // joins the one that runs
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("documents: begin: %w", err)
	}
	defer tx.Rollback()
	if err := do(context.WithValue(ctx, txKey{s}, transaction{tx, writes})); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("documents: commit: %w", err)
	}
	return nil
}

// Version is the count of changes to all documents. It is never 0 and grows
// with every change.
func (s *Store) Version(ctx context.Context) (uint64, error) {
	var version uint64
	err := s.reader(ctx).QueryRowContext(ctx, "SELECT version FROM changes").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("documents: version: %w", err)
	}
	return version, nil
}

// Get is the body of a document, its number among those of its kind, and the
// version of its last change. [rtb.ErrNotFound] says that there is none.
func (s *Store) Get(ctx context.Context, kind, id string) (body []byte, number uint32, version uint64, err error) {
	err = s.reader(ctx).QueryRowContext(ctx,
		"SELECT body, number, version FROM documents WHERE kind = ? AND id = ?", kind, id).Scan(&body, &number, &version)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, 0, rtb.ErrNotFound
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("documents: get %s %s: %w", kind, id, err)
	}
	return body, number, version, nil
}

// List calls each for up to limit documents of a kind, ordered by id, that
// come after the id given. An error of each ends the list and is returned. Each
// may use the store; the body is its own.
func (s *Store) List(ctx context.Context, kind, after string, limit int, each func(id string, number uint32, version uint64, body []byte) error) error {
	rows, err := s.reader(ctx).QueryContext(ctx,
		"SELECT id, number, version, body FROM documents WHERE kind = ? AND id > ? ORDER BY id LIMIT ?", kind, after, limit)
	if err != nil {
		return fmt.Errorf("documents: list %s: %w", kind, err)
	}
	defer rows.Close()
	// All rows are read before the first is handed out, so that each may use
	// the connection.
	type document struct {
		id      string
		number  uint32
		version uint64
		body    []byte
	}
	var page []document
	for rows.Next() {
		var d document
		if err := rows.Scan(&d.id, &d.number, &d.version, &d.body); err != nil {
			return fmt.Errorf("documents: list %s: %w", kind, err)
		}
		page = append(page, d)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("documents: list %s: %w", kind, err)
	}
	for _, d := range page {
		if err := each(d.id, d.number, d.version, d.body); err != nil {
			return err
		}
	}
	return nil
}

// Put creates or replaces a document. A version other than 0 must be that of
// the stored one: [rtb.ErrConflict] says that it has changed,
// [rtb.ErrNotFound] that it is gone. It returns the document's number, which
// stays with it until it is deleted, and its new version.
func (s *Store) Put(ctx context.Context, kind, id string, body []byte, version uint64) (number uint32, now uint64, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		tx, _ := s.running(ctx)
		_, have, at, err := s.Get(ctx, kind, id)
		switch {
		case err != nil && !errors.Is(err, rtb.ErrNotFound):
			return err
		case err != nil && version != 0:
			return fmt.Errorf("%s %s: %w", kind, id, rtb.ErrNotFound)
		case version != 0 && version != at:
			return fmt.Errorf("%s %s: %w", kind, id, rtb.ErrConflict)
		case err != nil:
			if have, err = nextNumber(ctx, tx.Tx, kind); err != nil {
				return err
			}
		}
		if now, err = s.changed(ctx, tx.Tx); err != nil {
			return err
		}
		number = have
		_, err = tx.ExecContext(ctx, `INSERT INTO documents (kind, id, number, version, body) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, body = excluded.body`, kind, id, number, now, body)
		if err != nil {
			return fmt.Errorf("documents: put %s %s: %w", kind, id, err)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return number, now, nil
}

// Delete removes a document. A version other than 0 must be that of the stored
// one, as in [Store.Put].
func (s *Store) Delete(ctx context.Context, kind, id string, version uint64) error {
	return s.Update(ctx, func(ctx context.Context) error {
		tx, _ := s.running(ctx)
		_, _, at, err := s.Get(ctx, kind, id)
		if err != nil {
			return err
		}
		if version != 0 && version != at {
			return fmt.Errorf("%s %s: %w", kind, id, rtb.ErrConflict)
		}
		if _, err := s.changed(ctx, tx.Tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM documents WHERE kind = ? AND id = ?", kind, id); err != nil {
			return fmt.Errorf("documents: delete %s %s: %w", kind, id, err)
		}
		return nil
	})
}

func (s *Store) changed(ctx context.Context, tx *sql.Tx) (version uint64, err error) {
	err = tx.QueryRowContext(ctx, "UPDATE changes SET version = version + 1 RETURNING version").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("documents: count a change: %w", err)
	}
	return version, nil
}

func nextNumber(ctx context.Context, tx *sql.Tx, kind string) (uint32, error) {
	var number int64
	err := tx.QueryRowContext(ctx, `INSERT INTO numbers (kind, last) VALUES (?, 1)
		ON CONFLICT (kind) DO UPDATE SET last = last + 1 RETURNING last`, kind).Scan(&number)
	if err != nil {
		return 0, fmt.Errorf("documents: number a %s: %w", kind, err)
	}
	if number > math.MaxUint32 {
		return 0, fmt.Errorf("documents: no numbers left for %s", kind)
	}
	return uint32(number), nil
}
