package sql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"bidwell/rtb"

	"pgregory.net/rapid"
)

func open(t testing.TB, file string) *Store {
	t.Helper()
	s, err := Open(context.Background(), "sqlite:"+file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, ctx context.Context, kind, id, body string, version uint64) (uint32, uint64) {
	t.Helper()
	number, now, err := s.Put(ctx, kind, id, []byte(body), version)
	if err != nil {
		t.Fatalf("Put(%s, %s): %v", kind, id, err)
	}
	return number, now
}

// What is kept is for its owner only, whatever the umask.
func TestFilesAreTheOwners(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "documents.db"))
	put(t, s, t.Context(), "segments", "runners", `{}`, 0)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestDocumentLives(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "a b?#%.db")), t.Context()
	if _, _, _, err := s.Get(ctx, "segments", "runners"); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("Get of nothing: %v, want ErrNotFound", err)
	}
	before, err := s.Version(ctx)
	if err != nil || before == 0 {
		t.Fatalf("Version of an empty store = %d, %v, want at least 1", before, err)
	}

	number, first := put(t, s, ctx, "segments", "runners", `{"a":1}`, 0)
	if number != 1 || first <= before {
		t.Errorf("first Put = number %d version %d, want 1 and more than %d", number, first, before)
	}
	again, second := put(t, s, ctx, "segments", "runners", `{"a":2}`, first)
	if again != number || second <= first {
		t.Errorf("second Put = number %d version %d, want %d and more than %d", again, second, number, first)
	}
	if _, _, err := s.Put(ctx, "segments", "runners", []byte(`{"a":3}`), first); !errors.Is(err, rtb.ErrConflict) {
		t.Errorf("Put over a newer version: %v, want ErrConflict", err)
	}
	if _, _, err := s.Put(ctx, "segments", "nobody", []byte(`{}`), 7); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("Put of a version of nothing: %v, want ErrNotFound", err)
	}
	body, number, version, err := s.Get(ctx, "segments", "runners")
	if string(body) != `{"a":2}` || number != 1 || version != second || err != nil {
		t.Errorf("Get = %s, %d, %d, %v, want the second body, 1, %d", body, number, version, err, second)
	}
	if now, _ := s.Version(ctx); now != second {
		t.Errorf("Version = %d, want %d, that of the last change: what failed changed nothing", now, second)
	}

	if err := s.Delete(ctx, "segments", "runners", first); !errors.Is(err, rtb.ErrConflict) {
		t.Errorf("Delete of an old version: %v, want ErrConflict", err)
	}
	if err := s.Delete(ctx, "segments", "runners", second); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if err := s.Delete(ctx, "segments", "runners", 0); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("second Delete: %v, want ErrNotFound", err)
	}
	number, third := put(t, s, ctx, "segments", "runners", `{}`, 0)
	if number != 2 || third <= second {
		t.Errorf("Put after Delete = number %d version %d, want a number never given and a newer version", number, third)
	}
	if number, _ := put(t, s, ctx, "creatives", "runners", `{}`, 0); number != 1 {
		t.Errorf("number of the first creative = %d, want 1: kinds count apart", number)
	}
}

func TestListPages(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "db")), t.Context()
	for _, id := range []string{"c", "a", "b", "a-1", "a.1"} {
		put(t, s, ctx, "deals", id, `"`+id+`"`, 0)
	}
	put(t, s, ctx, "other", "aa", `{}`, 0)
	var got []string
	for after := ""; ; {
		n := 0
		err := s.List(ctx, "deals", after, 2, func(id string, number uint32, version uint64, body []byte) error {
			if string(body) != `"`+id+`"` || number == 0 || version == 0 {
				t.Errorf("List gave %s, %d, %d, %s", id, number, version, body)
			}
			got, after, n = append(got, id), id, n+1
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if want := []string{"a", "a-1", "a.1", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	stop := errors.New("enough")
	if err := s.List(ctx, "deals", "", 9, func(string, uint32, uint64, []byte) error { return stop }); err != stop {
		t.Errorf("List = %v, want the error of each", err)
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "db")), t.Context()
	before, _ := s.Version(ctx)
	stop := errors.New("no")
	err := s.Update(ctx, func(tx context.Context) error {
		put(t, s, tx, "deals", "a", `{}`, 0)
		if _, _, _, err := s.Get(tx, "deals", "a"); err != nil {
			t.Errorf("Get inside: %v, want what was just put", err)
		}
		if _, _, _, err := s.Get(ctx, "deals", "a"); !errors.Is(err, rtb.ErrNotFound) {
			t.Errorf("Get outside: %v, want ErrNotFound before the commit", err)
		}
		return stop
	})
	if err != stop {
		t.Errorf("Update = %v, want the error of do", err)
	}
	if _, _, _, err := s.Get(ctx, "deals", "a"); !errors.Is(err, rtb.ErrNotFound) {
		t.Errorf("Get after a failed Update: %v, want ErrNotFound", err)
	}
	if now, _ := s.Version(ctx); now != before {
		t.Errorf("Version = %d after a failed Update, want %d", now, before)
	}
	err = s.View(ctx, func(tx context.Context) error {
		_, _, err := s.Put(tx, "deals", "a", []byte(`{}`), 0)
		return err
	})
	if err == nil {
		t.Error("Put inside of a View succeeded")
	}
}

func TestViewSeesOneMoment(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "db")), t.Context()
	err := s.View(ctx, func(view context.Context) error {
		before, err := s.Version(view)
		if err != nil {
			return err
		}
		put(t, s, ctx, "deals", "a", `{}`, 0)
		if _, _, _, err := s.Get(view, "deals", "a"); !errors.Is(err, rtb.ErrNotFound) {
			t.Errorf("Get in the View: %v, want ErrNotFound", err)
		}
		if now, _ := s.Version(view); now != before {
			t.Errorf("Version in the View moved from %d to %d", before, now)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "db")), t.Context()
	_, start := put(t, s, ctx, "deals", "shared", `0`, 0)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5 {
				if _, _, err := s.Put(ctx, "deals", fmt.Sprintf("w%d-%d", w, i), []byte(`{}`), 0); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	numbers := map[uint32]bool{}
	s.List(ctx, "deals", "", 100, func(_ string, number uint32, _ uint64, _ []byte) error {
		numbers[number] = true
		return nil
	})
	if now, _ := s.Version(ctx); len(numbers) != 21 || now != start+20 {
		t.Errorf("%d different numbers and version %d after 21 puts, want 21 and %d", len(numbers), now, start+20)
	}
}

func TestReopen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	s := open(t, file)
	_, version := put(t, s, t.Context(), "deals", "a", `{}`, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, file)
	if _, number, have, err := s.Get(t.Context(), "deals", "a"); number != 1 || have != version || err != nil {
		t.Errorf("Get after reopening = %d, %d, %v, want 1, %d", number, have, err, version)
	}
	if _, err := s.write.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), "sqlite:"+file); err == nil {
		t.Error("Open accepts a file of a newer schema")
	}
	for _, dsn := range []string{"", "sqlite:", "postgres://x", "sqlite:/no/such/folder/db"} {
		if _, err := Open(t.Context(), dsn); err == nil {
			t.Errorf("Open(%q) succeeded", dsn)
		}
	}
}

// The store behaves as a map with counters does, over any history.
func TestStoreIsAMap(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "db")), context.Background()
	if _, err := s.write.Exec("PRAGMA synchronous = OFF"); err != nil {
		t.Fatal(err)
	}
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		kind := fmt.Sprintf("kind%d", run)
		type doc struct {
			body            string
			number, version uint64
		}
		model, last := map[string]doc{}, uint64(0)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
			have, exists := model[id]
			version := rapid.SampledFrom([]uint64{0, have.version, 1 << 40}).Draw(t, "version")
			stale := version != 0 && version != have.version
			if rapid.Bool().Draw(t, "delete") {
				err := s.Delete(ctx, kind, id, version)
				if (err == nil) != (exists && !stale) {
					t.Fatalf("Delete(%s, %d) = %v, exists %t", id, version, err, exists)
				}
				if err == nil {
					delete(model, id)
				}
				continue
			}
			body := rapid.String().Draw(t, "body")
			number, now, err := s.Put(ctx, kind, id, []byte(body), version)
			if (err == nil) != !stale {
				t.Fatalf("Put(%s, %d) = %v, exists %t", id, version, err, exists)
			}
			if err != nil {
				continue
			}
			if !exists {
				last++
				have.number = last
			}
			if uint64(number) != have.number || now <= have.version {
				t.Fatalf("Put = number %d version %d, want %d and more than %d", number, now, have.number, have.version)
			}
			model[id] = doc{body, have.number, now}
		}
		seen := 0
		err := s.List(ctx, kind, "", 9, func(id string, number uint32, version uint64, body []byte) error {
			seen++
			if want := (doc{string(body), uint64(number), version}); model[id] != want {
				return fmt.Errorf("%s is %v, want %v", id, want, model[id])
			}
			return nil
		})
		if err != nil || seen != len(model) {
			t.Fatalf("List gave %d documents of %d: %v", seen, len(model), err)
		}
	})
}
