package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bidwell/events"
	"bidwell/rtb"
)

const day = 24 * time.Hour

var newYear = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func noEnvironment(string) string { return "" }

func mustOpenKeys(t *testing.T, data string, now time.Time, getenv func(string) string) *keyFile {
	t.Helper()
	f, err := openKeys(data, 30*day, now, getenv)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func idsOf(f *keyFile) (ids []byte) {
	for _, k := range f.Tokens {
		ids = append(ids, k.ID)
	}
	return ids
}

// A key seals for its life, opens for as long as one of its tokens can be
// alive, and is gone then.
func TestKeysRotate(t *testing.T) {
	data := t.TempDir()
	first := mustOpenKeys(t, data, newYear, noEnvironment)
	ring, err := events.NewKeyring(first.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	e := rtb.Event{Bid: events.NewBidID(1, 2), Made: newYear}
	token := ring.AppendToken(nil, events.Conversion, &e)

	for _, step := range []struct {
		after time.Duration
		ids   []byte
	}{
		{0, []byte{1}}, {30 * day, []byte{1}}, {30*day + time.Hour, []byte{1, 2}}, {60 * day, []byte{1, 2}},
		{60*day + 2*time.Hour, []byte{1, 2, 3}},
		{61*day + 2*time.Hour, []byte{2, 3}}, // 31 days after the second was made
		{400 * day, []byte{3, 4}},            // the server was off: what it sealed last may still come
		{431*day + time.Second, []byte{4, 5}},
	} {
		f := mustOpenKeys(t, data, newYear.Add(step.after), noEnvironment)
		if ids := idsOf(f); !slices.Equal(ids, step.ids) {
			t.Fatalf("after %s the keys are %v, want %v", step.after, ids, step.ids)
		}
		if f.Salt != first.Salt {
			t.Fatal("another salt: uploaded audiences are lost")
		}
		if ring, err = events.NewKeyring(f.Tokens); err != nil {
			t.Fatal(err)
		}
		err := ring.Open(token, events.Conversion, &e, nil)
		if known := slices.Contains(step.ids, 1); known != (err == nil) || !known && !errors.Is(err, events.ErrUnknownKey) {
			t.Errorf("after %s the first token: %v", step.after, err)
		}
		sealed, err := base64.RawURLEncoding.DecodeString(string(ring.AppendToken(nil, events.Server, &e)))
		if newest := step.ids[len(step.ids)-1]; err != nil || sealed[0] != newest {
			t.Errorf("after %s key %d seals, want %d", step.after, sealed[0], newest)
		}
	}
	info, err := os.Stat(filepath.Join(data, "keys"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("keys: %v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "*.new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A number serves again once its key is gone.
func TestKeysWrapAround(t *testing.T) {
	f := &keyFile{path: filepath.Join(t.TempDir(), "keys"), life: day}
	f.Tokens = []events.Key{newKey(0, newYear.Add(-2*day)), newKey(255, newYear.Add(-day-time.Hour))}
	if !f.rotate(newYear) || !slices.Equal(idsOf(f), []byte{0, 255, 1}) {
		t.Errorf("keys %v, want 0, 255 and 1", idsOf(f))
	}
}

func TestKeysOfTheFirstVersion(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "keys")
	if err := os.WriteFile(path, []byte(strings.Repeat("5a", 32)+strings.Repeat("a5", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // its age is not known, so a new one seals from the first start on
		f := mustOpenKeys(t, data, newYear, noEnvironment)
		if hex.EncodeToString(f.Salt[:]) != strings.Repeat("5a", 32) || !slices.Equal(idsOf(f), []byte{1, 2}) {
			t.Errorf("salt %x, keys %v", f.Salt, idsOf(f))
		}
		if old := f.Tokens[0]; hex.EncodeToString(old.Secret[:]) != strings.Repeat("a5", 32) {
			t.Errorf("key %x", old.Secret)
		}
	}
}

// A file that cannot be written is used as it is.
func TestKeysThatCannotBeWritten(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))

	folder := t.TempDir()
	path := filepath.Join(folder, "keys")
	text := []byte(strings.Repeat("5a", 64))
	if err := os.WriteFile(path, text, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // stops root as well
		t.Fatal(err)
	}
	named := func(string) string { return path }
	f := mustOpenKeys(t, t.TempDir(), newYear, named)
	ring, err := events.NewKeyring(f.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	f.refresh(newYear.Add(time.Hour), ring)
	if !slices.Equal(idsOf(f), []byte{1}) {
		t.Errorf("keys %v, want the one of the file", idsOf(f))
	}
	if n := strings.Count(log.String(), "not rotated"); n != 1 || strings.Contains(log.String(), "5a5a5a") {
		t.Errorf("%d warnings, want 1 that keeps the secret: %s", n, log.String())
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, text) {
		t.Errorf("the file became %q, %v", now, err)
	}
}

// A link stays a link: the file that it leads to is replaced.
func TestKeysBehindALink(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "link")
	if err := os.WriteFile(filepath.Join(folder, "keys"), []byte(strings.Repeat("5a", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("keys", path); err != nil {
		t.Fatal(err)
	}
	mustOpenKeys(t, t.TempDir(), newYear, func(string) string { return path })
	if to, err := os.Readlink(path); err != nil || to != "keys" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if text, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(text, []byte("{")) {
		t.Errorf("the file holds %.20q, %v", text, err)
	}
}

// A running server rotates, and takes over what is put in place of the file.
func TestKeysWhileRunning(t *testing.T) {
	data := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := mustOpenKeys(t, data, time.Now(), noEnvironment)
		ring, err := events.NewKeyring(f.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.run(ctx, ring) }()
		e := rtb.Event{Bid: events.NewBidID(1, 2)}
		first := string(ring.AppendToken(nil, events.Server, &e))

		time.Sleep(30*day + 2*time.Hour)
		synctest.Wait()
		second := string(ring.AppendToken(nil, events.Server, &e))
		if second == first {
			t.Error("the first key seals after its life")
		}

		other := keys{Salt: f.Salt, Tokens: append(slices.Clone(f.Tokens), newKey(77, time.Now()))}
		if err := writeKeys(f.path, &other); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keyCheck)
		synctest.Wait()
		third := string(ring.AppendToken(nil, events.Server, &e))
		if third == second {
			t.Error("a key that was put into the file does not seal")
		}
		if err := os.WriteFile(f.path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keyCheck)
		synctest.Wait()
		for _, token := range []string{first, second, third} {
			if err := ring.Open([]byte(token), events.Server, &e, nil); err != nil {
				t.Error(err)
			}
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestParseKeysNamesWhatIsWrong(t *testing.T) {
	secret := strings.Repeat("5a", 32)
	for text, want := range map[string]string{
		``:                          "neither",
		`{`:                         "neither",
		`[]`:                        "neither",
		secret:                      "neither",
		`{}`:                        "salt: not 64 hex digits",
		`{"salt":"` + secret + `"}`: "tokens: no token keys",
		`{"salt":"` + secret + `","tokens":[{"id":1,"key":"` + secret[2:] + `"}]}`:                             "tokens[0].key: not 64 hex digits",
		`{"salt":"` + secret + `","tokens":[{"id":1,"key":"` + secret + `"},{"id":1,"key":"` + secret + `"}]}`: "tokens: two token keys with the id 1",
		`{"salt":"` + secret + `","tokens":[{"id":1,"key":"` + strings.Repeat("00", 32) + `"}]}`:               "tokens: token key 1 is empty",
		`{"salt":"` + secret + `","tokens":[{"id":256,"key":"` + secret + `"}]}`:                               "neither",
		`{"salt":"` + secret + `","tokens":[{"id":1,"made":"yesterday","key":"` + secret + `"}]}`:              "neither",
	} {
		_, err := parseKeys([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseKeys(%.60s) = %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "5a5a") {
			t.Errorf("the error repeats the keys: %v", err)
		}
	}
}

// New keys in a folder that has books would open nothing and know nobody.
func TestKeysThatAreGone(t *testing.T) {
	data := t.TempDir()
	mustOpenKeys(t, data, newYear, noEnvironment)
	for _, step := range []func() error{
		func() error { return os.Mkdir(filepath.Join(data, "accounts"), 0o700) },
		func() error { return os.Remove(filepath.Join(data, "keys")) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openKeys(data, 30*day, newYear, noEnvironment); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("openKeys = %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, "keys")); err == nil {
		t.Error("new keys were made")
	}
}

// Amounts of one currency must not become amounts of another.
func TestCurrencyOfAFolder(t *testing.T) {
	data := t.TempDir()
	for range 2 {
		if err := keepCurrency(data, rtb.USD); err != nil {
			t.Fatal(err)
		}
	}
	err := keepCurrency(data, rtb.ParseCurrency("EUR"))
	if err == nil || !strings.Contains(err.Error(), "are in USD, not in EUR") {
		t.Errorf("keepCurrency = %v", err)
	}
}
