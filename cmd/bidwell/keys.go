package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bidwell/events"
)

// keys are the secrets of one installation. Losing them makes uploaded
// audiences and notices under way unreadable.
type keys struct {
	Salt   [32]byte     // of user hashes; never changes
	Tokens []events.Key // of notice tokens, the oldest first, never empty
}

// keyFile is where the keys are kept. It makes a new token key when the newest
// is older than life, and drops those that no token under way can need.
type keyFile struct {
	keys
	path   string
	life   time.Duration
	warned bool // that it cannot be written
}

// keyLinger is how long a key is kept after it has stopped sealing: the life of
// the longest-lived tokens, and a day.
const keyLinger = events.ConversionLife + 24*time.Hour

// openKeys reads the secrets from the data folder, and makes them at the first
// start of a new folder. BIDWELL_KEYS names another file, which must exist.
func openKeys(data string, life time.Duration, now time.Time, getenv func(string) string) (*keyFile, error) {
	f := &keyFile{path: getenv("BIDWELL_KEYS"), life: life}
	own := f.path == ""
	if own {
		f.path = filepath.Join(data, "keys")
	}
	k, err := readKeys(f.path)
	if errors.Is(err, fs.ErrNotExist) && own && used(data) {
		return nil, fmt.Errorf("the keys %s are gone, without which no notice counts and no user is known again: restore the file, or begin with a new data folder", f.path)
	}
	if errors.Is(err, fs.ErrNotExist) && own {
		rand.Read(f.Salt[:]) // never fails
		f.Tokens = []events.Key{newKey(1, now)}
		if err := writeKeys(f.path, &f.keys); err != nil {
			return nil, fmt.Errorf("make keys: %w", err)
		}
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	f.keys = k
	f.rotate(now)
	return f, nil
}

func newKey(id byte, now time.Time) events.Key {
	k := events.Key{ID: id, Made: now.UTC().Truncate(time.Second)}
	rand.Read(k.Secret[:])
	return k
}

// keysText is the form of the file.
type keysText struct {
	Salt   string         `json:"salt"`
	Tokens []tokenKeyText `json:"tokens"`
}

type tokenKeyText struct {
	ID   byte      `json:"id"`
	Made time.Time `json:"made"`
	Key  string    `json:"key"`
}

// readKeys takes the keys from a file. What it says in an error is never a part
// of them.
func readKeys(path string) (keys, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return keys{}, err
	}
	k, err := parseKeys(text)
	if err != nil {
		return keys{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// parseKeys also takes the form of the first version: 128 hex digits, a salt
// and one token key that was made at an unknown time.
func parseKeys(text []byte) (k keys, err error) {
	if raw, err := hex.DecodeString(strings.TrimSpace(string(text))); err == nil && len(raw) == 64 {
		k.Salt = [32]byte(raw)
		k.Tokens = []events.Key{{ID: 1, Secret: [32]byte(raw[32:])}}
		return k, nil
	}
	var in keysText
	if json.Unmarshal(text, &in) != nil {
		return k, errors.New("holds neither the JSON that bidwell writes nor 128 hex digits")
	}
	if k.Salt, err = parseSecret(in.Salt); err != nil {
		return k, fmt.Errorf("salt: %w", err)
	}
	for i, t := range in.Tokens {
		secret, err := parseSecret(t.Key)
		if err != nil {
			return k, fmt.Errorf("tokens[%d].key: %w", i, err)
		}
		k.Tokens = append(k.Tokens, events.Key{ID: t.ID, Made: t.Made, Secret: secret})
	}
	slices.SortStableFunc(k.Tokens, func(a, b events.Key) int { return a.Made.Compare(b.Made) })
	if _, err := events.NewKeyring(k.Tokens); err != nil {
		return k, fmt.Errorf("tokens: %w", err)
	}
	return k, nil
}

func parseSecret(text string) (secret [32]byte, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(secret) {
		return secret, errors.New("not 64 hex digits")
	}
	return [32]byte(raw), nil
}

// rotate makes a new token key where the newest has grown too old, and drops
// the ones that are done with, if the file can be written. It reports whether
// the keys are others than before.
func (f *keyFile) rotate(now time.Time) bool {
	next := f.keys
	next.Tokens = slices.Clone(f.Tokens)
	// A key stops sealing when the next one is made.
	for len(next.Tokens) > 1 && now.Sub(next.Tokens[1].Made) > keyLinger {
		next.Tokens = next.Tokens[1:]
	}
	if newest := next.Tokens[len(next.Tokens)-1]; now.Sub(newest.Made) > f.life {
		id := newest.ID + 1
		for slices.ContainsFunc(next.Tokens, func(k events.Key) bool { return k.ID == id }) {
			id++
		}
		next.Tokens = append(next.Tokens, newKey(id, now))
	} else if len(next.Tokens) == len(f.Tokens) {
		return false
	}
	if err := writeKeys(f.path, &next); err != nil {
		if !f.warned {
			slog.Warn("token keys are not rotated: their file cannot be written", "cause", err)
		}
		f.warned = true
		return false
	}
	slog.Info("token keys", "newest", next.Tokens[len(next.Tokens)-1].ID, "kept", len(next.Tokens)-1)
	f.Tokens, f.warned = next.Tokens, false
	return true
}

// keyCheck is how often a running server looks after its keys.
const keyCheck = time.Hour

// run rotates the keys of ring until ctx ends. It reads the file each time, so
// that one which is replaced from outside is taken over too.
func (f *keyFile) run(ctx context.Context, ring *events.Keyring) error {
	ticker := time.NewTicker(keyCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			f.refresh(now, ring)
		}
	}
}

// refresh leaves the salt alone, which requests read meanwhile.
func (f *keyFile) refresh(now time.Time, ring *events.Keyring) {
	before := f.Tokens
	switch k, err := readKeys(f.path); {
	case err != nil:
		slog.Warn("keys stay as they were", "cause", err)
		return
	case k.Salt != f.Salt:
		slog.Warn("keys stay as they were: the file has another salt", "file", f.path)
		return
	default:
		f.Tokens = k.Tokens
	}
	if f.rotate(now) || !slices.Equal(f.Tokens, before) {
		if err := ring.Swap(f.Tokens); err != nil {
			slog.Error("token keys", "cause", err)
		}
	}
}

// writeKeys has the keys on disk before it returns, or the old ones still.
func writeKeys(path string, k *keys) (err error) {
	if path, err = writable(path); err != nil {
		return err
	}
	out := keysText{Salt: hex.EncodeToString(k.Salt[:])}
	for _, t := range k.Tokens {
		out.Tokens = append(out.Tokens, tokenKeyText{t.ID, t.Made, hex.EncodeToString(t.Secret[:])})
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
}

// replaceFile has the text in the file, durably, or the file as it was.
func replaceFile(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = cmp.Or(err, f.Chmod(0o600), f.Sync()); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return cmp.Or(folder.Sync(), folder.Close())
}

// writable is the file that path leads to, if it may be written: that its
// folder can be written does not say so.
func writable(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(real, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	return real, f.Close()
}
