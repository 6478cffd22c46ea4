package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/rtb"
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

// lockLearning makes sure that one process learns in a data folder, whatever its
// role: two would write the same file, and speak for the same versions.
func lockLearning(dir string) (io.Closer, error) {
	lock, err := vfs.Default.Lock(filepath.Join(dir, "train.lock"))
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, fmt.Errorf("learn: lock the data folder: %w", err)
	case err != nil:
		return nil, fmt.Errorf("another bidwell learns in the data folder %s: a trainer is alone with its bidder, which runs with --learn.on=false", dir)
	}
	return lock, nil
}

// used reports whether a bidwell has kept its books in a data folder.
func used(data string) bool {
	_, err := os.Stat(filepath.Join(data, "accounts"))
	return err == nil
}

// keepCurrency has a data folder stay with the account currency that it began
// with: what was spent and what is under way are numbers of that one.
func keepCurrency(data string, c rtb.Currency) error {
	path := filepath.Join(data, "currency")
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.WriteFile(path, []byte(c.String()+"\n"), 0o600)
	case err != nil:
		return fmt.Errorf("read the currency of the data folder: %w", err)
	}
	if have := string(bytes.TrimSpace(text)); have != c.String() {
		return fmt.Errorf("currency: the budgets and accounts in %s are in %s, not in %s; another currency needs another data folder", data, have, c)
	}
	return nil
}
