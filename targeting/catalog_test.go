package targeting

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bidwell/rtb"
)

func lineItems(ids ...rtb.LineItemID) []rtb.LineItem {
	var items []rtb.LineItem
	for _, id := range ids {
		item := *newSituation().item
		item.ID = id
		items = append(items, item)
	}
	return items
}

func TestFollow(t *testing.T) {
	var log bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(old)

	synctest.Test(t, func(t *testing.T) {
		var (
			mu      sync.Mutex // of what follows: the store
			items   []rtb.LineItem
			version uint64
			failure error
			asked   bool
		)
		load := func(_ context.Context, have uint64) ([]rtb.LineItem, uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			if failure != nil {
				return nil, 0, failure
			}
			if asked && have == version {
				return nil, version, nil
			}
			asked = true
			return items, version, nil
		}
		store := func(v uint64, list []rtb.LineItem, err error) {
			mu.Lock()
			defer mu.Unlock()
			version, items, failure = v, list, err
		}
		c := NewCatalog()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		store(0, nil, errors.New("no store yet"))
		go func() { ended <- c.Follow(ctx, load, time.Second) }()
		step := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		expect := func(when string, lineItems int, version uint64) {
			t.Helper()
			if got := len(c.Index().LineItems()); got != lineItems || c.Version() != version {
				t.Errorf("%s: %d line items of version %d, want %d of %d", when, got, c.Version(), lineItems, version)
			}
		}

		step(3500 * time.Millisecond)
		select {
		case <-c.Ready():
			t.Error("ready without line items")
		default:
		}
		if got := strings.Count(log.String(), "no store yet"); got != 1 {
			t.Errorf("four failures of one kind are logged %d times", got)
		}

		store(7, lineItems(1, 2), nil)
		step(time.Second)
		<-c.Ready()
		expect("first load", 2, 7)
		if !strings.Contains(log.String(), "loaded again") {
			t.Error("the recovery is not logged")
		}

		before := c.Index()
		step(5 * time.Second)
		if c.Index() != before {
			t.Error("the Index is rebuilt though nothing changed")
		}

		store(8, lineItems(1, 2, 3), nil)
		c.Nudge()
		c.Nudge()
		synctest.Wait()
		expect("after a nudge", 3, 8)

		store(9, []rtb.LineItem{{Key: "broken"}}, nil)
		step(2 * time.Second)
		expect("line items that cannot be built", 3, 8)
		if got := strings.Count(log.String(), "goal.max"); got != 1 {
			t.Errorf("a line item that cannot be built is logged %d times", got)
		}
		store(10, nil, nil)
		step(time.Second)
		expect("all line items gone", 0, 10)

		stop()
		if err := <-ended; err != nil {
			t.Errorf("Follow = %v after its end", err)
		}

		// A second Follow of the same Catalog does not take "unchanged" for "none".
		store(11, lineItems(4), nil)
		ctx, stop = context.WithCancel(t.Context())
		go func() { ended <- c.Follow(ctx, load, time.Second) }()
		synctest.Wait()
		expect("followed again", 1, 11)
		stop()
		<-ended
		ctx, stop = context.WithCancel(t.Context())
		go func() { ended <- c.Follow(ctx, load, time.Second) }()
		synctest.Wait()
		expect("followed a third time", 1, 11)
		stop()
		<-ended
	})
	if err := NewCatalog().Follow(t.Context(), nil, 0); err == nil {
		t.Error("Follow takes an interval of zero")
	}
}

// Requests read the Index while it is swapped under them; run with -race.
func TestSwapWhileMatching(t *testing.T) {
	c := NewCatalog()
	ctx, stop := context.WithCancel(t.Context())
	version := uint64(0)
	load := func(context.Context, uint64) ([]rtb.LineItem, uint64, error) {
		version++
		ids := []rtb.LineItemID{1, 2, 3, 4}
		return lineItems(ids[:1+version%4]...), version, nil
	}
	followed := make(chan error)
	go func() { followed <- c.Follow(ctx, load, time.Hour) }()
	<-c.Ready()

	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			s := newSituation()
			var m Matches
			seen := map[*Index]bool{}
			for len(seen) < 20 {
				x := c.Index()
				seen[x] = true
				x.Begin(&m, s.c)
				x.Match(&m, s.imp)
				if len(m.Candidates) != len(x.LineItems()) {
					t.Errorf("%d candidates of %d line items", len(m.Candidates), len(x.LineItems()))
					return
				}
				c.Nudge()
			}
		})
	}
	readers.Wait()
	stop()
	if err := <-followed; err != nil {
		t.Error(err)
	}
}
