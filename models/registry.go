package models

import "context"

// Snapshots keeps versions of models and their files. [rtb.ErrNotFound] is
// wrapped in what the methods return.
type Snapshots interface {
	// ModelRevision grows with every change to any version and is never 0.
	ModelRevision(ctx context.Context) (uint64, error)
	// ModelVersions are those that have changed after a revision, by number, and
	// the revision that they are of.
	ModelVersions(ctx context.Context, since uint64) (changed Versions, revision uint64, err error)
	ModelBody(ctx context.Context, number uint32) ([]byte, error)
	// ChangeModels makes of all versions what change returns, together or, when
	// change fails, not at all.
	ChangeModels(ctx context.Context, change func(all Versions) (Change, error)) error
}
