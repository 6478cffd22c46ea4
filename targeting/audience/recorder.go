package audience

import (
	"context"
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// Impression is one impression that a user has seen, on its way into the
// user's record.
type Impression struct {
	User       rtb.UserID
	Bid        rtb.BidID
	LineItem   rtb.LineItemID
	Campaign   rtb.CampaignID
	Advertiser rtb.AdvertiserID
	Creative   rtb.CreativeID
	Time       time.Time // the latest that it can have been
	Until      time.Time // no cap looks back at it from then on
}

// Exposures stores what users have seen. It is declared here, where it is
// called, and implemented by the stores.
type Exposures interface {
	// RecordExposures adds the impressions of the log up to and including a
	// position, and keeps that position, in one write that is there as a whole
	// or not at all. Impressions of a position that is not after the last one
	// change nothing, and a bid counts once, as far as what was kept of the
	// user tells. It need not be on disk: after a crash the log has it still.
	// Nothing is kept of users who opted out, and at now nothing of what ended
	// before. When it returns every reader of the users sees them.
	RecordExposures(ctx context.Context, position uint64, now time.Time, list []Impression) error

	// Recorded is the last position that RecordExposures has applied, zero
	// before the first.
	Recorded() uint64
}

// Recorder keeps the records of users current: it makes exposures of the
// billable impressions in the log. It is not safe for concurrent use.
type Recorder struct {
	store Exposures
	keep  func(e *rtb.Event) time.Duration
	list  []Impression
}

// NewRecorder returns a Recorder that writes to store. keep says for how long
// an impression must be remembered, zero for one that no cap counts.
func NewRecorder(store Exposures, keep func(e *rtb.Event) time.Duration) *Recorder {
	return &Recorder{store: store, keep: keep}
}

// Recorded is the position after which the log has to be read.
func (r *Recorder) Recorded() uint64 { return r.store.Recorded() }

// Apply records the billable impressions of a batch of the log. A batch that
// was applied before changes nothing.
//
// An impression counts from the time of its notice, though it was seen between
// the bid and the notice: so a cap may hold back longer than it must, never
// shorter. The time that passes is that of the notices, not the clock's: what a
// replay of the log makes is the same.
func (r *Recorder) Apply(position uint64, batch []rtb.Event) error {
	r.list = r.list[:0]
	now := time.Unix(0, 0)
	for i := range batch {
		e := &batch[i]
		if e.Uploaded() {
			continue // its time is that of its advertiser
		}
		seen := e.Time
		if e.Made.After(seen) {
			seen = e.Made // the clock was set back meanwhile
		}
		if seen.After(now) {
			now = seen
		}
		if !e.Billing || e.User == (rtb.UserID{}) {
			continue
		}
		keep := r.keep(e)
		if keep <= 0 {
			continue
		}
		r.list = append(r.list, Impression{
			User: e.User, Bid: e.Bid, LineItem: e.LineItem, Campaign: e.Campaign, Advertiser: e.Advertiser, Creative: e.Creative,
			Time: seen, Until: seen.Add(min(keep, math.MaxInt64/2)),
		})
	}
	if err := r.store.RecordExposures(context.Background(), position, now, r.list); err != nil {
		return fmt.Errorf("record the impressions of batch %d: %w", position, err)
	}
	return nil
}
