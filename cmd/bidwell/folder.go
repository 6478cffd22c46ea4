package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockFolder keeps other processes out of the data folder until it is closed or
// the process ends, however that happens: two that write to the same stores
// would ruin them, and not every store has a lock of its own.
func lockFolder(dir string) (io.Closer, error) {
	lock, err := vfs.Default.Lock(filepath.Join(dir, "lock"))
	var path *fs.PathError
	switch {
	case errors.As(err, &path): // the file cannot be made
		return nil, fmt.Errorf("lock the data folder: %w", err)
	case err != nil:
		return nil, fmt.Errorf("the data folder %s is in use by another bidwell", dir)
	}
	return lock, nil
}
