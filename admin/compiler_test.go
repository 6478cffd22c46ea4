package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"bidwell/admin"
	"bidwell/rtb"
	"bidwell/store/sql"

	"pgregory.net/rapid"
)

// However documents change, a compiler that has seen all that came before finds
// what one finds that sees them for the first time.
func TestCompileWhatChanged(t *testing.T) {
	known := map[string]rtb.ExchangeID{}
	exchange := func(name string) (rtb.ExchangeID, bool) { id, ok := known[name]; return id, ok }
	answer := func(c *rtb.Creative) error {
		if c.Assets.Title == "bad" {
			return errors.New("title: no good")
		}
		return nil
	}
	pick := func(t *rapid.T, values ...string) string { return rapid.SampledFrom(values).Draw(t, "value") }
	status := func(t *rapid.T) string { return pick(t, "active", "active", "active", "paused") }
	bodies := map[string]func(t *rapid.T) string{
		"advertisers": func(t *rapid.T) string {
			return fmt.Sprintf(`{"name": "x", "domains": ["%s.example"], "timezone": "%s", "status": "%s"}`, pick(t, "a", "b"), pick(t, "UTC", "Europe/Berlin", "Mars/Base"), status(t))
		},
		"campaigns": func(t *rapid.T) string {
			return fmt.Sprintf(`{"advertiser": "%s", "name": "x", "status": "%s", "limits": {"clicks": {"total": %s}}}`, pick(t, "1", "2"), status(t), pick(t, "1", "2", "-1"))
		},
		"creatives": func(t *rapid.T) string {
			return fmt.Sprintf(`{"advertiser": "%s", "type": "native", "title": "%s", "status": "%s", "click_url": "https://a.example/", "products": [%s]}`, pick(t, "1", "2"), pick(t, "good", "fine", "bad"), status(t),
				pick(t, "", `{"id": "p", "title": "x", "segments": ["1"]}`, `{"id": "p", "title": "x"}, {"id": "q", "title": "y", "segments": ["2", "3"]}`))
		},
		"segments": func(t *rapid.T) string { return `{"name": "x"}` },
		"deals": func(t *rapid.T) string {
			return fmt.Sprintf(`{"deal": "%s", "exchange": "%s"}`, pick(t, "d", "e"), pick(t, "", "one", "two"))
		},
		"line-items": func(t *rapid.T) string {
			return fmt.Sprintf(`{"campaign": "%s", "name": "x", "status": "%s", "goal": {"type": "cpm", "value": "%s"}, "creatives": ["%s", "%s"], %s "targeting": {"segments": {"any": ["%s"]}, "inventory": {"deals": [%s], "exchanges": [%s]}}}`,
				pick(t, "1", "2"), status(t), pick(t, "1", "2", "none"), pick(t, "1", "2"), "3", pick(t, "", `"rotation": "weighted", "weights": {"3": 7},`, `"rotation": "sequence", "sequence_repeat": true,`), pick(t, "1", "2", "3"), pick(t, "", "", `"1"`, `"2"`), pick(t, "", "", `"one"`, `"two"`))
		},
	}
	kinds := slices.Sorted(maps.Keys(bodies))
	look := func(c *admin.Compiler) (text string) {
		items, _, err := c.LineItems(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range items {
			text += show(items[i]) + "\n"
		}
		problems, err := c.Problems(t.Context())
		return fmt.Sprint(text, problems, err)
	}
	served := 0
	rapid.Check(t, func(t *rapid.T) {
		clear(known)
		known["one"] = 1
		docs := &memory{version: 1, kinds: map[string]map[string][]byte{}}
		put := func(kind, id string) {
			if _, _, err := docs.Put(context.Background(), kind, id, []byte(bodies[kind](t)), 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, kind := range kinds {
			for _, id := range []string{"1", "2", "3"} {
				put(kind, id)
			}
		}
		seen := admin.NewCompiler(docs, exchange, answer)
		for range 20 {
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				kind, id := rapid.SampledFrom(kinds).Draw(t, "kind"), pick(t, "1", "2", "3")
				switch rapid.IntRange(0, 5).Draw(t, "change") {
				case 0:
					if err := docs.Delete(context.Background(), kind, id, 0); err != nil {
						t.Fatal(err)
					}
				case 1:
					known["two"] = rtb.ExchangeID(rapid.IntRange(2, 3).Draw(t, "number"))
				case 2:
					delete(known, pick(t, "one", "two"))
				default:
					put(kind, id)
				}
			}
			got, want := look(seen), look(admin.NewCompiler(docs, exchange, answer))
			if got != want {
				t.Fatalf("after changes\n%s\nand at first sight\n%s", got, want)
			}
			served += strings.Count(got, "Slot:0")
		}
	})
	if served == 0 {
		t.Error("nothing was ever served")
	}
}

// A reading that fails leaves the next one with all that is to be done.
func TestCompileAfterAFailure(t *testing.T) {
	s := start(t, nil)
	s.seed()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	docs := &stopping{Store: s.docs, kind: "line-items"}
	c := admin.NewCompiler(docs, exchangeID, nil)
	if items, _, err := c.LineItems(ctx, 0); err != nil || len(items) != 1 {
		t.Fatalf("%d line items, %v", len(items), err)
	}
	s.want(200, "PUT", "/v1/advertisers/acme", strings.Replace(acme, "Europe/Berlin", "America/Chicago", 1))
	docs.stop = cancel
	if _, _, err := c.LineItems(ctx, 0); err == nil {
		t.Fatal("a reading that was cut short did not fail")
	}
	docs.stop = nil
	if items, _, err := c.LineItems(t.Context(), 0); err != nil || len(items) != 1 || items[0].Location.String() != "America/Chicago" {
		t.Errorf("compiled %+v, %v, want the new time zone", items, err)
	}
}

// stopping ends the context before it lists a kind.
type stopping struct {
	*sql.Store
	kind string
	stop context.CancelFunc
}

func (s *stopping) List(ctx context.Context, kind, after string, limit int, each func(id string, number uint32, version uint64, body []byte) error) error {
	if kind == s.kind && s.stop != nil {
		s.stop()
	}
	return s.Store.List(ctx, kind, after, limit, each)
}

// BenchmarkCompile reads all documents for the first time, and again after one
// line item has changed, and after the advertiser of all has.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 20_000} {
		docs := documents(b)
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(lineItem)); err != nil {
			b.Fatal(err)
		}
		err := docs.Update(b.Context(), func(ctx context.Context) error {
			for kind, all := range map[string]map[string]string{
				"advertisers": {"acme": acme}, "campaigns": {"spring": spring}, "creatives": {"banner-300x250": banner}, "segments": {"runners": runners, "bought-30d": runners},
			} {
				for id, body := range all {
					if _, _, err := docs.Put(ctx, kind, id, []byte(body), 0); err != nil {
						return err
					}
				}
			}
			for i := range n {
				if _, _, err := docs.Put(ctx, "line-items", fmt.Sprintf("l%d", i), compact.Bytes(), 0); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("first/%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, items := compile(b, docs); len(items) != n {
					b.Fatal(len(items))
				}
			}
		})
		c, _ := compile(b, docs)
		for name, change := range map[string][3]string{
			"one": {"line-items", "l7", compact.String()}, "advertiser": {"advertisers", "acme", acme},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if _, _, err := docs.Put(b.Context(), change[0], change[1], []byte(change[2]), 0); err != nil {
						b.Fatal(err)
					}
					if items, _, err := c.LineItems(b.Context(), 0); err != nil || len(items) != n {
						b.Fatal(len(items), err)
					}
				}
			})
		}
	}
}
