package sql

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// LoadRows calls each for all rows of the experiment report, in the order of
// their keys. What each is given is its own no longer than until it returns; its
// error ends the list and is returned. It must not use the store.
func (s *Store) LoadRows(ctx context.Context, each func(key, value []byte) error) error {
	rows, err := s.reader(ctx).QueryContext(ctx, "SELECT key, value FROM report_rows ORDER BY key")
	if err != nil {
		return fmt.Errorf("report rows: load: %w", err)
	}
	defer rows.Close()
	var key, value []byte
	for rows.Next() {
		if err := rows.Scan(&key, &value); err != nil {
			return fmt.Errorf("report rows: load: %w", err)
		}
		if err := each(key, value); err != nil {
			return err
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("report rows: load: %w", err)
	}
	return nil
}

// SaveRows puts rows in one transaction, in the order in which they come; a
// value that is nil removes the row. The version of the documents stays as it
// is.
func (s *Store) SaveRows(ctx context.Context, rows iter.Seq2[[]byte, []byte]) error {
	return s.Update(ctx, func(ctx context.Context) error {
		tx, _ := s.running(ctx)
		put, err := tx.PrepareContext(ctx, "INSERT INTO report_rows (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
		if err != nil {
			return fmt.Errorf("report rows: save: %w", err)
		}
		defer put.Close()
		remove, err := tx.PrepareContext(ctx, "DELETE FROM report_rows WHERE key = ?")
		if err != nil {
			return fmt.Errorf("report rows: save: %w", err)
		}
		defer remove.Close()
		for key, value := range rows {
			if value == nil {
				_, err = remove.ExecContext(ctx, key)
			} else {
				_, err = put.ExecContext(ctx, key, value)
			}
			if err != nil {
				return fmt.Errorf("report rows: save: %w", err)
			}
		}
		return nil
	})
}
