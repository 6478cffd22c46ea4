package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keys are the secrets of one installation. Losing them makes uploaded
// audiences and notices under way unreadable.
type keys struct {
	Salt   [32]byte // of user hashes
	Tokens [32]byte // of notice tokens
}

// loadKeys reads the secrets from the data folder, and makes them at the first
// start. BIDWELL_KEYS names another file, which must exist.
func loadKeys(data string, getenv func(string) string) (keys, error) {
	path, own := getenv("BIDWELL_KEYS"), false
	if path == "" {
		path, own = filepath.Join(data, "keys"), true
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && own {
		return makeKeys(path)
	}
	if err != nil {
		return keys{}, fmt.Errorf("read keys: %w", err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != 64 {
		return keys{}, fmt.Errorf("read keys: %s does not hold 128 hex digits", path)
	}
	return keys{Salt: [32]byte(raw[:32]), Tokens: [32]byte(raw[32:])}, nil
}

// makeKeys draws new secrets and has them on disk before they are used.
func makeKeys(path string) (keys, error) {
	var raw [64]byte
	rand.Read(raw[:]) // never fails
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return keys{}, fmt.Errorf("make keys: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(raw[:]) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return keys{}, fmt.Errorf("make keys: %w", err)
	}
	return keys{Salt: [32]byte(raw[:32]), Tokens: [32]byte(raw[32:])}, nil
}
