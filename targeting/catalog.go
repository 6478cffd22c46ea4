package targeting

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// Load returns the active line items and their version. When the version is
// still have, the line items are not looked at and may be left out.
type Load func(ctx context.Context, have uint64) (items []rtb.LineItem, version uint64, err error)

// Catalog holds the current [Index] and replaces it when campaigns change. It
// is safe to share; no reader ever waits.
type Catalog struct {
	current atomic.Pointer[edition]
	nudge   chan struct{}
	ready   chan struct{}
}

// edition is an Index with the version of the line items that it was built of.
type edition struct {
	index   *Index
	version uint64
}

// NewCatalog returns a Catalog without line items.
func NewCatalog() *Catalog {
	c := &Catalog{nudge: make(chan struct{}, 1), ready: make(chan struct{})}
	c.current.Store(&edition{index: &Index{}})
	return c
}

// Index is the current one; it is never nil. A request asks once and keeps to
// the answer.
func (c *Catalog) Index() *Index { return c.current.Load().index }

// Version is that of the line items of the current Index; zero before the
// first.
func (c *Catalog) Version() uint64 { return c.current.Load().version }

// Ready is closed when the first line items have been loaded.
func (c *Catalog) Ready() <-chan struct{} { return c.ready }

// Nudge makes Follow load at once. It does not wait for that.
func (c *Catalog) Nudge() {
	select {
	case c.nudge <- struct{}{}:
	default: // one is already under way
	}
}

// Follow loads the line items, and again at every interval and after every
// Nudge, and swaps in an Index of those that changed. When loading or building
// fails it logs why, once until the reason changes, and keeps the Index that
// it has. It returns nil when ctx ends; only one Follow may run at a time.
func (c *Catalog) Follow(ctx context.Context, load Load, every time.Duration) error {
	if every <= 0 {
		return errors.New("follow catalog: the interval must be positive")
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	failure := ""
	for {
		err := c.refresh(ctx, load)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && err.Error() != failure:
			failure = err.Error()
			slog.Error("line items not loaded; bidding goes on with those of before",
				"err", err, "version", c.Version())
		case err == nil && failure != "":
			failure = ""
			slog.Info("line items loaded again", "version", c.Version())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-c.nudge:
		}
	}
}

// refresh loads once and swaps if there is something new.
func (c *Catalog) refresh(ctx context.Context, load Load) error {
	loaded := false
	select {
	case <-c.ready:
		loaded = true
	default:
	}
	have := c.Version()
	items, version, err := load(ctx, have)
	if err != nil {
		return err
	}
	if loaded && version == have {
		return nil
	}
	index, err := Build(items)
	if err != nil {
		return err
	}
	c.current.Store(&edition{index, version})
	if !loaded {
		close(c.ready)
	}
	return nil
}
