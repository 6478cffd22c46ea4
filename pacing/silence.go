package pacing

import (
	"errors"
	"fmt"
	"time"

	"bidwell/rtb"
)

// SilenceTimeout is how long no notice of a line item may come, although wins
// should have come, before it stops; see [Pacer.SilenceFor].
const SilenceTimeout = 30 * time.Minute

const (
	missedWins  = 20.0  // that should have come, before silence counts
	unknownRate = 0.01  // wins for a bid, as long as few have been seen
	knownWins   = 20.0  // from then on the rate is known
	rateLife    = 86400 // seconds: mean life of what is known of it
	mostUnsaid  = 20    // billing notices in a row that may tell no price
)

// watch is the dead man's switch of a line item. A line item that bids and
// hears nothing may be spending without limit: wins are known by their notices
// alone, and holds expire.
type watch struct {
	bids, wins float64 // of this bidder, decaying
	silent     float64 // bids since the last notice
	due        int64   // since when wins should have come, in seconds; zero if they need not have
	stopped    int64   // since when the line item does not bid, in seconds; zero if it may
	why        string
	unsaid     int // billing notices without a price since the last one with
}

// stop is a line item that has been stopped.
type stop struct {
	id  rtb.LineItemID
	why string
}

// SilenceFor sets how long no notice of a line item may come, although wins
// should have come, before the line item stops: a minute to a week. It is
// never less than the hold timeout.
func (p *Pacer) SilenceFor(timeout time.Duration) error {
	if timeout < time.Minute || timeout > 7*24*time.Hour {
		return errors.New("silence timeout: want a minute to a week")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silence = int64(timeout / time.Second)
	return nil
}

// hear notes that a notice has come.
func (w *watch) hear() {
	w.silent, w.due = 0, 0
	if w.unsaid < mostUnsaid {
		w.stopped, w.why = 0, ""
	}
}

// bill notes a billing notice, and whether it told a price. Notices that never
// do leave every budget as it is: a line item may spend without limit.
func (w *watch) bill(told bool) {
	if w.unsaid++; told {
		w.unsaid = 0
	}
}

func (w *watch) win() { w.wins++ }

// listen takes in the bids of the last seconds and reports whether the line
// item has just been stopped.
func (w *watch) listen(bids, now int64, dt float64, timeout int64) bool {
	if dt <= 0 {
		return false
	}
	k := decay(dt, rateLife)
	w.bids, w.wins = w.bids*k+float64(bids), w.wins*k
	w.silent += float64(bids)
	if w.stopped != 0 {
		return false
	}
	if w.unsaid >= mostUnsaid {
		w.stopped = now
		w.why = fmt.Sprintf("%d billing notices in a row told no price, so nobody knows what its impressions cost", w.unsaid)
		return true
	}
	rate := unknownRate
	if w.wins > 0 && (w.wins >= knownWins || w.wins < unknownRate*w.bids) {
		rate = w.wins / w.bids
	}
	expected := w.silent * min(1, rate)
	switch {
	case expected < missedWins:
		w.due = 0
	case w.due == 0 || now < w.due:
		w.due = now
	case now-w.due >= timeout:
		w.stopped = now
		w.why = fmt.Sprintf("no notice came for %v although %.0f bids were made, of which about %.0f should have won",
			time.Duration(timeout)*time.Second, w.silent, expected)
		return true
	}
	return false
}
