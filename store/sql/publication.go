package sql

import (
	"context"
	"fmt"
	"time"
)

// PutPublication keeps what a trainer has published in place of what was there
// before, or, if body is nil, keeps that and changes asOf alone. A zero asOf
// leaves the one that is there.
func (s *Store) PutPublication(ctx context.Context, body []byte, asOf time.Time) error {
	err := s.Update(ctx, func(ctx context.Context) error {
		tx, _ := s.running(ctx)
		nanos := int64(0)
		if !asOf.IsZero() {
			nanos = asOf.UnixNano()
		}
		_, err := tx.ExecContext(ctx, "UPDATE publication SET as_of = coalesce(nullif(?, 0), as_of), revision = revision + ?", nanos, min(len(body), 1))
		if err != nil || len(body) == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO publication_body (only_row, body) VALUES (1, ?)
			ON CONFLICT (only_row) DO UPDATE SET body = excluded.body`, body)
		return err
	})
	if err != nil {
		return fmt.Errorf("models: put what was published: %w", err)
	}
	return nil
}

// Publication is what was published last, and up to when it knows all that
// happened. The revision grows with every body, and is 0 while there was none.
// The body is nil if it is still the one of the revision that the caller has.
func (s *Store) Publication(ctx context.Context, have uint64) (body []byte, revision uint64, asOf time.Time, err error) {
	err = s.View(ctx, func(ctx context.Context) error {
		var nanos int64
		if err := s.reader(ctx).QueryRowContext(ctx, "SELECT revision, as_of FROM publication").Scan(&revision, &nanos); err != nil {
			return err
		}
		if nanos != 0 {
			asOf = time.Unix(0, nanos).UTC()
		}
		if revision == have || revision == 0 {
			return nil
		}
		return s.reader(ctx).QueryRowContext(ctx, "SELECT body FROM publication_body").Scan(&body)
	})
	if err != nil {
		return nil, 0, time.Time{}, fmt.Errorf("models: what was published: %w", err)
	}
	return body, revision, asOf, nil
}
