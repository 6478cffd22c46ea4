package loadtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// readAdmin reads what the bidder's documents say.
func (x *exchangeRun) readAdmin(ctx context.Context) error {
	x.admin = newAdminAPI(x.cfg.Admin)
	buyers, billing, err := readBuyers(ctx, x.admin)
	if err != nil {
		return err
	}
	x.billing, x.books, x.people = billing, newBooks(buyers), newPeople(buyers, x.cfg.Restarted)
	if x.cfg.Surplus {
		return x.readSurplus(ctx)
	}
	return nil
}

// startNotices makes the connections of the notices. They outlast the
// duration of the run, though not told: when that ends, what fails is not
// tried again.
func (x *exchangeRun) startNotices(told context.Context) {
	if x.cfg.Notices {
		x.notices = newNotifier(told, x.base, strings.TrimRight(x.base.path, "/"), &x.cfg, x.tally)
	}
}

// startWatch begins to read the bidder's own view.
func (x *exchangeRun) startWatch(ctx context.Context) (err error) {
	until := time.Now().AddDate(100, 0, 0) // the days that end before the run does are known by then
	if x.cfg.SimulatedTime && x.cfg.Auctions > 0 {
		until = x.timeline.at(x.cfg.Auctions)
	}
	x.watch, err = startWatch(ctx, x.admin, x.books.buyers, until)
	return err
}

// score is the scorecard of a run that took this long.
func (x *exchangeRun) score(ctx context.Context, took time.Duration) (*Scorecard, error) {
	card := x.tally.finish(took)
	card.Truth, card.Frequency, card.Oracle = x.books.truth(), x.books.frequency(), x.oracle.truth()
	if x.surplus != nil {
		x.surplus.truth(card)
		card.Surplus.readReasons(ctx, x.admin)
	}
	if x.watch == nil {
		return card, nil
	}
	books, err := x.watch.reconcile(ctx, card.Truth, x.cfg.Settle)
	if err != nil {
		return card, fmt.Errorf("read the bidder's books: %w", err)
	}
	x.books.overspend(books)
	x.watch.used(x.books, books)
	card.Books = books
	if card.Shading != nil {
		card.Shading.readOwn(ctx, x.admin)
	}
	if err := x.watch.late(ctx, books); err != nil {
		return card, err
	}
	return card, nil
}

// startProgress prints until the function it returns is called.
func (x *exchangeRun) startProgress() (stop func()) {
	if x.cfg.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		var last moment
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				now := x.tally.moment()
				printProgress(x.cfg.Progress, time.Since(x.began), last, now)
				last = now
			}
		}
	})
	return func() {
		close(done)
		group.Wait()
	}
}
