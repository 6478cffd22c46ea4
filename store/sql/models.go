package sql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bidwell/models"
	"bidwell/rtb"
)

// about is a version as it is written, besides what has a column.
type about struct {
	Origin  string       `json:"origin"`
	Created time.Time    `json:"created"`
	Metrics aboutMetrics `json:"metrics"`
	Size    int64        `json:"size"`
	SHA256  string       `json:"sha256"`
	Kept    bool         `json:"kept,omitempty"`
	Held    bool         `json:"held,omitempty"`
	Since   time.Time    `json:"since"`
	Share   models.Share `json:"share,omitempty"`
	Pinned  bool         `json:"pinned,omitempty"`
	Before  uint32       `json:"before,omitempty"`
	Reason  string       `json:"reason,omitempty"`
}

type aboutMetrics struct {
	Rows        uint64    `json:"rows"`
	Clicks      uint64    `json:"clicks"`
	From        time.Time `json:"from,omitzero"`
	Through     time.Time `json:"through,omitzero"`
	LogLoss     float64   `json:"log_loss"`
	AUC         float64   `json:"auc"`
	Calibration float64   `json:"calibration"`
}

// ModelRevision is the count of changes to all versions of models. It is never
// 0 and grows with every change.
func (s *Store) ModelRevision(ctx context.Context) (revision uint64, err error) {
	err = s.reader(ctx).QueryRowContext(ctx, "SELECT revision FROM model_changes").Scan(&revision)
	if err != nil {
		return 0, fmt.Errorf("models: revision: %w", err)
	}
	return revision, nil
}

// ModelVersions are those that have changed after a revision, by number, and
// the revision that they are of.
func (s *Store) ModelVersions(ctx context.Context, since uint64) (all models.Versions, revision uint64, err error) {
	err = s.View(ctx, func(ctx context.Context) error {
		if revision, err = s.ModelRevision(ctx); err != nil {
			return err
		}
		all, err = s.modelVersions(ctx, since)
		return err
	})
	return all, revision, err
}

func (s *Store) modelVersions(ctx context.Context, since uint64) (all models.Versions, err error) {
	rows, err := s.reader(ctx).QueryContext(ctx, "SELECT number, revision, status, about FROM models WHERE revision > ? ORDER BY number", since)
	if err != nil {
		return nil, fmt.Errorf("models: list: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		v, err := scanModel(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("models: list: %w", err)
	}
	return all, nil
}

func scanModel(rows *sql.Rows) (v models.Version, err error) {
	var status, text string
	if err := rows.Scan(&v.Number, &v.Revision, &status, &text); err != nil {
		return v, fmt.Errorf("models: list: %w", err)
	}
	var a about
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return v, fmt.Errorf("models: version %d: %w", v.Number, err)
	}
	if v.Status, err = models.ParseStatus(status); err != nil {
		return v, fmt.Errorf("models: version %d: %w", v.Number, err)
	}
	if v.Origin, err = models.ParseOrigin(a.Origin); err != nil {
		return v, fmt.Errorf("models: version %d: %w", v.Number, err)
	}
	if n, err := hex.Decode(v.SHA256[:], []byte(a.SHA256)); err != nil || n != len(v.SHA256) {
		return v, fmt.Errorf("models: version %d: sha256 %q", v.Number, a.SHA256)
	}
	v.Created, v.Size, v.Kept, v.Since, v.Share = a.Created, a.Size, a.Kept, a.Since, a.Share
	v.Held, v.Pinned, v.Before, v.Reason = a.Held, a.Pinned, a.Before, a.Reason
	m := &a.Metrics
	v.Metrics = models.Metrics{
		Rows: m.Rows, Clicks: m.Clicks, From: m.From, Through: m.Through, LogLoss: m.LogLoss, AUC: m.AUC, Calibration: m.Calibration,
	}
	return v, nil
}

// ModelBody is the file of a version. [rtb.ErrNotFound] says that there is none,
// or none any more.
func (s *Store) ModelBody(ctx context.Context, number uint32) (body []byte, err error) {
	err = s.reader(ctx).QueryRowContext(ctx, "SELECT body FROM model_bodies WHERE number = ?", number).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("file of version %d: %w", number, rtb.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("models: file of version %d: %w", number, err)
	}
	return body, nil
}

// ChangeModels calls change with all versions and makes of them what it returns,
// as one transaction, in the order of what is put: at no point may two be live,
// or two canaries. If change fails nothing happens. Other writers wait
// meanwhile.
func (s *Store) ChangeModels(ctx context.Context, change func(all models.Versions) (models.Change, error)) error {
	return s.Update(ctx, func(ctx context.Context) error {
		tx, _ := s.running(ctx)
		all, err := s.modelVersions(ctx, 0)
		if err != nil {
			return err
		}
		c, err := change(all)
		if err != nil || len(c.Put)+len(c.Drop) == 0 {
			return err
		}
		var revision uint64
		var last uint32
		err = tx.QueryRowContext(ctx, "UPDATE model_changes SET revision = revision + 1 RETURNING revision, last").Scan(&revision, &last)
		if err != nil {
			return fmt.Errorf("models: count a change: %w", err)
		}
		for i := range c.Put {
			v := &c.Put[i]
			known := all.Of(v.Number) != nil
			if !known && (v.Number <= last || i < len(c.Put)-1 || c.Body == nil) {
				return fmt.Errorf("models: version %d is not new, not the last or without a body", v.Number)
			}
			if err := putModel(ctx, tx.Tx, v, revision); err != nil {
				return fmt.Errorf("models: put version %d: %w", v.Number, err)
			}
			if !known {
				if err := addModelBody(ctx, tx.Tx, v.Number, c.Body); err != nil {
					return fmt.Errorf("models: add version %d: %w", v.Number, err)
				}
			} else if !v.Kept {
				if _, err := tx.ExecContext(ctx, "DELETE FROM model_bodies WHERE number = ?", v.Number); err != nil {
					return fmt.Errorf("models: drop the file of version %d: %w", v.Number, err)
				}
			}
		}
		for _, number := range c.Drop {
			for _, table := range []string{"model_bodies", "models"} {
				if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE number = ?", number); err != nil {
					return fmt.Errorf("models: drop version %d: %w", number, err)
				}
			}
		}
		return nil
	})
}

func putModel(ctx context.Context, tx *sql.Tx, v *models.Version, revision uint64) error {
	m := &v.Metrics
	text, err := json.Marshal(about{
		Origin: v.Origin.String(), Created: v.Created, Size: v.Size, SHA256: hex.EncodeToString(v.SHA256[:]), Kept: v.Kept, Held: v.Held,
		Since: v.Since, Share: v.Share, Pinned: v.Pinned, Before: v.Before, Reason: v.Reason,
		Metrics: aboutMetrics{
			Rows: m.Rows, Clicks: m.Clicks, From: m.From, Through: m.Through, LogLoss: m.LogLoss, AUC: m.AUC, Calibration: m.Calibration,
		},
	})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO models (number, revision, status, about) VALUES (?, ?, ?, ?)
		ON CONFLICT (number) DO UPDATE SET revision = excluded.revision, status = excluded.status, about = excluded.about`,
		v.Number, revision, v.Status.String(), string(text))
	return err
}

func addModelBody(ctx context.Context, tx *sql.Tx, number uint32, body []byte) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO model_bodies (number, body) VALUES (?, ?)", number, body); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE model_changes SET last = ?", number)
	return err
}
