package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/admin"
	"bidwell/events"
	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/targeting/audience"
)

// What became of conversions that were uploaded.
var (
	acceptedConversions  = metrics.NewCounter(`bidwell_uploaded_conversions_total{result="accepted"}`)
	duplicateConversions = metrics.NewCounter(`bidwell_uploaded_conversions_total{result="duplicate"}`)
	invalidConversions   = metrics.NewCounter(`bidwell_uploaded_conversions_total{result="invalid"}`)
	optedOutConversions  = metrics.NewCounter(`bidwell_uploaded_conversions_total{result="opted-out"}`)
)

const (
	// conversionsAhead is how far the clocks of advertisers may be ahead.
	conversionsAhead = 10 * time.Minute

	// conversionBatch is how many conversions go into the log at once: notices
	// wait no longer than that for their turn.
	conversionBatch = 2048

	// bookedWithin is how long the ledger may take for a batch.
	bookedWithin = 30 * time.Second
)

// importConversions is the admin API's way to bring a list of conversions into
// the log.
func (s *server) importConversions(ctx context.Context, how admin.ConversionList, body io.Reader) (admin.ConversionsResult, error) {
	kind, err := audience.ParseKind(how.Kind)
	if err != nil {
		return admin.ConversionsResult{}, fmt.Errorf("%w: %w", admin.ErrUpload, err)
	}
	now := s.clock.Now()
	u := conversionUpload{server: s}
	count, err := s.importer.ReadConversions(ctx, audience.Conversions{
		Kind: kind, Advertiser: how.Advertiser, Advertisers: how.Advertisers, From: now.Add(-events.ConversionLife), To: now.Add(conversionsAhead),
	}, body, nil, func(e *rtb.Event) error { return u.add(ctx, e) })
	if !errors.Is(err, admin.ErrNotNow) { // what is wrong with the list is no fault of those that have gathered
		if late := u.flush(ctx); late != nil {
			err = late
		}
	}
	r := &u.result
	r.Read, r.Invalid = int64(count.Read), int64(count.Invalid)
	for _, e := range count.Errors {
		r.Errors = append(r.Errors, admin.LineError{Line: int64(e.Line), Reason: e.Reason})
	}
	acceptedConversions.AddInt64(r.Accepted)
	duplicateConversions.AddInt64(r.Duplicate)
	invalidConversions.AddInt64(r.Invalid)
	optedOutConversions.AddInt64(r.OptedOut)
	return *r, u.explain(err)
}

// conversionUpload is one list of conversions on its way into the log.
type conversionUpload struct {
	server  *server
	result  admin.ConversionsResult
	batch   []rtb.Event
	users   []rtb.UserID
	out     []bool
	notices []pacing.Notice
}

func (u *conversionUpload) add(ctx context.Context, e *rtb.Event) error {
	if u.batch = append(u.batch, *e); len(u.batch) < conversionBatch {
		return nil
	}
	return u.flush(ctx)
}

// flush writes what has gathered, but for what nobody may know and what is known
// already. It returns when that is durable and booked: an upload is no faster
// than the ledger, which would otherwise come too late to what bids have spent.
func (u *conversionUpload) flush(ctx context.Context) error {
	if len(u.batch) == 0 {
		return nil
	}
	books := &u.server.books
	books.uploading.Lock()
	defer books.uploading.Unlock()
	if err := books.trouble(); err != nil {
		return fmt.Errorf("%w: %w", admin.ErrNotNow, err)
	}
	err := u.leaveOut()
	if err == nil {
		err = u.findRepeats(ctx)
	}
	if err != nil || len(u.batch) == 0 {
		return err
	}
	if err := books.log.Events().Append(ctx, u.batch); err != nil {
		slog.Error("conversions are not written", "cause", err)
		return fmt.Errorf("%w: the log does not take them", admin.ErrNotNow)
	}
	u.result.Accepted += int64(len(u.batch))
	for i := range u.batch {
		if u.server.trials.rollup.Knows(u.batch[i].User) {
			u.result.InExperiments++
		}
	}
	u.batch = u.batch[:0]
	return books.awaitBooked(ctx)
}

// leaveOut takes out those of users who opted out.
func (u *conversionUpload) leaveOut() (err error) {
	u.users = u.users[:0]
	for i := range u.batch {
		u.users = append(u.users, u.batch[i].User)
	}
	if u.out, err = u.server.profiles.OptedOut(u.users, u.out[:0]); err != nil {
		return err
	}
	u.keep(func(i int) bool { return !u.out[i] }, &u.result.OptedOut)
	return nil
}

// findRepeats takes out those that the ledger has booked before, and those that
// come twice in the batch.
func (u *conversionUpload) findRepeats(ctx context.Context) error {
	u.notices = u.notices[:0]
	for i := range u.batch {
		e := &u.batch[i]
		u.notices = append(u.notices, pacing.Notice{Bid: e.Bid, Made: e.Made, Time: e.Time, Kind: pacing.KindConversion})
	}
	if err := u.server.books.accounts.Seen(ctx, u.notices); err != nil {
		return err
	}
	u.keep(func(i int) bool { return !u.notices[i].Seen.Has(pacing.KindConversion) }, &u.result.Duplicate)
	return nil
}

// keep keeps some of the batch and counts the others.
func (u *conversionUpload) keep(is func(i int) bool, others *int64) {
	kept := u.batch[:0]
	for i := range u.batch {
		if is(i) {
			kept = append(kept, u.batch[i])
		}
	}
	*others += int64(len(u.batch) - len(kept))
	u.batch = kept
}

// explain tells the caller what is wrong, and how much is in the log.
func (u *conversionUpload) explain(err error) error {
	if err == nil {
		return nil
	}
	done := ""
	if n := u.result.Accepted; n > 0 {
		done = fmt.Sprintf("; %d conversions are accepted, so send the whole list again: none counts twice", n)
	}
	if errors.Is(err, admin.ErrNotNow) {
		return fmt.Errorf("%w%s", err, done)
	}
	if wrong := unusable(err); wrong != "" {
		return uploadError{wrong + done, err}
	}
	return err
}

// awaitBooked waits until the ledger has what is in the log now.
func (b *books) awaitBooked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bookedWithin)
	defer cancel()
	last, err := b.log.Events().Last(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if at, err := b.accounts.Position(ctx); err == nil && at >= last {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the ledger is behind the log", admin.ErrNotNow)
		case <-tick.C:
		}
	}
}
