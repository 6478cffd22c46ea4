package bidder

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/targeting"
)

var (
	holdsRefused   = metrics.NewCounter("bidwell_frequency_holds_refused_total")
	bidsOvertaken  = metrics.NewCounter("bidwell_frequency_bids_overtaken_total")
	holdsConfirmed = metrics.NewCounter("bidwell_frequency_holds_confirmed_total")
)

// Exposures are the bids in flight that count for frequency caps: each is held
// as if it were an impression already, for a second bid for the same user must
// not rely on losing the first. They live in a table of fixed size, without
// locks, and belong to this process alone.
//
// A hold begins before the bid is answered. It ends with the loss; when nothing
// was heard of the bid for the hold timeout; or, once a notice has said that
// the bid was won or shown, an hour after the bid, so that a billing notice may
// be late. It ends with the billing only when [Exposures.Recorded] says that
// the impression is in the user's record: then there is no moment at which it
// counts nowhere. An impression counts from the bid on and, in the sliding
// windows of the caps, from the time of its billing notice.
//
// So a cap holds exactly for every impression that was shown before its hold
// ended and was billed. It can be passed by impressions of which the first
// notice came after the hold timeout, those billed more than an hour after the
// bid (they count from then on), and those in flight when the process died.
type Exposures struct {
	timeout int64 // seconds
	sets    []holdSet
	mask    uint64
}

// maxConfirmed is how long after the bid the billing notice of an impression
// that was won or shown is waited for, in seconds.
const maxConfirmed = 3600

// holdWays is how many holds there are for the users who share a set, and so
// how many one user can have.
const holdWays = 16

// holdSet is the holds of some users. The tags stand together, as they are all
// that is read of other users.
type holdSet struct {
	tags     [holdWays]atomic.Uint64
	holds    [holdWays]hold
	recorded atomic.Uint64 // counts holds that ended because their impression is in the record
}

// hold is one bid in flight. It belongs to who has set its tag to tagWriting,
// and may be read while the tag does not change.
type hold struct {
	bid   atomic.Uint64 // half of its id, which is random
	line  atomic.Uint64 // line item and campaign
	owner atomic.Uint64 // advertiser and creative
	times atomic.Uint64 // end in Unix seconds, times two; odd once the bid is known to be won
}

// A tag is 40 bits of the user, 22 that change with each use of the place, and
// two of these. Users who share a tag share their caps: for a million users and
// 2^16 sets there is one such pair in a hundred thousand tables.
const (
	tagFree uint64 = iota
	tagWriting
	tagLive

	tagState = 3
	tagUse   = 1<<24 - 1 - tagState
	tagUser  = ^uint64(1<<24 - 1)
)

// DefaultHolds is room for the bids of five minutes at three thousand a second.
const DefaultHolds = 1 << 20

// NewExposures makes a table with room for about the given number of holds, 40
// bytes each, that end after timeout when nothing is heard of the bid.
func NewExposures(holds int, timeout time.Duration) (*Exposures, error) {
	if holds < holdWays || holds > 1<<28 {
		return nil, fmt.Errorf("holds: %d: want %d to %d", holds, holdWays, 1<<28)
	}
	if timeout < time.Second || timeout > 24*time.Hour {
		return nil, fmt.Errorf("hold timeout: %s: want a second to a day", timeout)
	}
	n := 1 << bits.Len(uint((holds-1)/holdWays))
	return &Exposures{timeout: int64((timeout + time.Second - 1) / time.Second), sets: make([]holdSet, n), mask: uint64(n - 1)}, nil
}

func newExposures(cfg Config) (*Exposures, error) {
	holds, timeout := cfg.Holds, cfg.HoldTimeout
	if holds == 0 {
		holds = DefaultHolds
	}
	if timeout == 0 {
		timeout = pacing.HoldTimeout
	}
	return NewExposures(holds, timeout)
}

func (x *Exposures) of(user *rtb.UserID) (set *holdSet, tag uint64) {
	return &x.sets[binary.LittleEndian.Uint64(user[:])&x.mask], binary.LittleEndian.Uint64(user[8:]) & tagUser
}

// halfOf is what a bid is known by.
func halfOf(bid *rtb.BidID) uint64 { return binary.LittleEndian.Uint64(bid[8:]) }

// add holds a bid for a user. It is false when there is no room: then the bid
// must not be made, as nobody would know of it.
func (x *Exposures) add(user *rtb.UserID, bid *rtb.BidID, e *rtb.Exposure, now time.Time) bool {
	set, mine := x.of(user)
	second := now.Unix()
	for _, mayExpire := range [...]bool{false, true} {
		for i := range set.tags {
			tag := set.tags[i].Load()
			switch tag & tagState {
			case tagWriting:
				continue
			case tagLive:
				if !mayExpire || int64(set.holds[i].times.Load()>>1) > second {
					continue
				}
			}
			next := mine | (tag+tagState+1)&tagUse
			if !set.tags[i].CompareAndSwap(tag, next|tagWriting) {
				continue // somebody was faster
			}
			h := &set.holds[i]
			h.bid.Store(halfOf(bid))
			h.line.Store(uint64(e.LineItem)<<32 | uint64(e.Campaign))
			h.owner.Store(uint64(e.Advertiser)<<32 | uint64(e.Creative))
			h.times.Store(uint64(second+1+x.timeout) << 1) // a part of a second has passed
			set.tags[i].Store(next | tagLive)
			return true
		}
	}
	return false
}

// inFlight is a hold as it was read.
type inFlight struct {
	bid uint64
	rtb.Exposure
}

// append appends the holds of a user that are alive. What was added before the
// call and has not ended is among them.
func (x *Exposures) append(dst []inFlight, user *rtb.UserID, now time.Time) []inFlight {
	set, mine := x.of(user)
	for i := range set.tags {
		for {
			tag := set.tags[i].Load()
			if tag&(tagUser|tagState) != mine|tagLive {
				break
			}
			h := &set.holds[i]
			bid, line, owner, times := h.bid.Load(), h.line.Load(), h.owner.Load(), h.times.Load()
			if set.tags[i].Load() != tag {
				continue
			}
			if int64(times>>1) > now.Unix() {
				dst = append(dst, inFlight{bid, rtb.Exposure{
					LineItem: rtb.LineItemID(line >> 32), Campaign: rtb.CampaignID(line),
					Advertiser: rtb.AdvertiserID(owner >> 32), Creative: rtb.CreativeID(owner),
					// It may be shown at any moment.
					Time: uint32(now.Unix()) + 1, Count: 1,
				}})
			}
			break
		}
	}
	return dst
}

// records is a number that changes when a hold of the user ends because its
// impression is in the record.
func (x *Exposures) records(user *rtb.UserID) uint64 {
	set, _ := x.of(user)
	return set.recorded.Load()
}

// find is the place of a bid's hold and its tag.
func (set *holdSet) find(mine, bid uint64) (i int, tag uint64, ok bool) {
	for i := range set.tags {
		tag := set.tags[i].Load()
		if tag&(tagUser|tagState) == mine|tagLive && set.holds[i].bid.Load() == bid && set.tags[i].Load() == tag {
			return i, tag, true
		}
	}
	return 0, 0, false
}

// end frees a place, unless it has changed hands since it had the tag.
func (set *holdSet) end(i int, tag uint64) { set.tags[i].CompareAndSwap(tag, tag&^tagState) }

// remove ends the hold of a bid, if it has one.
func (x *Exposures) remove(user *rtb.UserID, bid *rtb.BidID) {
	set, mine := x.of(user)
	if i, tag, ok := set.find(mine, halfOf(bid)); ok {
		set.end(i, tag)
	}
}

// Apply takes one event from the log: a loss ends the hold of its bid, any
// other notice keeps it until an hour after the bid. It may be called
// concurrently and with any event.
func (x *Exposures) Apply(e *rtb.Event) {
	if e.User == (rtb.UserID{}) || e.Type == rtb.EventBid || e.Type == rtb.EventConversion {
		return
	}
	set, mine := x.of(&e.User)
	i, tag, ok := set.find(mine, halfOf(&e.Bid))
	if !ok {
		return
	}
	times := &set.holds[i].times
	for {
		have := times.Load()
		if e.Type == rtb.EventLoss {
			// An exchange that says of the same bid that it was won may yet bill it.
			if have&1 == 0 {
				set.end(i, tag)
			}
			return
		}
		next := max(have>>1, uint64(e.Made.Unix()+1+maxConfirmed))<<1 | 1
		if have == next || set.tags[i].Load() != tag {
			return
		}
		// Should the place change hands right now, and end in the same second,
		// then another bid is held for an hour: too long, never too short.
		if times.CompareAndSwap(have, next) {
			holdsConfirmed.Inc()
			return
		}
	}
}

// Recorded ends the holds of the bids that a batch of the log bills. It is
// called when their impressions are in the records of the users and caches
// have forgotten those users, see audience.Recorder.
func (x *Exposures) Recorded(batch []rtb.Event) {
	for i := range batch {
		e := &batch[i]
		if !e.Billing || e.User == (rtb.UserID{}) {
			continue
		}
		// Before the hold goes: who misses it sees that it may have been recorded.
		set, _ := x.of(&e.User)
		set.recorded.Add(1)
		x.remove(&e.User, &e.Bid)
	}
}

// exposed is what one request knows of the holds of its user.
type exposed struct {
	holds   []inFlight       // those seen, its own among them
	records [maxUsers]uint64 // of each of the user's identifiers, before they were read
	users   int
	made    int // holds of bids in the answer
}

// lookUp reads the holds of a user. It comes before the user's record is read:
// a hold that is gone by now is in there.
func (b *Bidder) lookUp(s *scratch) {
	x := &s.exposed
	*x = exposed{holds: x.holds[:0], users: min(len(s.request.Users), maxUsers)}
	if !s.index.Capped() {
		x.users = 0
		return
	}
	for i := range s.request.Users[:x.users] {
		x.records[i] = b.Exposures.records(&s.request.Users[i])
	}
	for i := range s.request.Users[:x.users] {
		x.holds = b.Exposures.append(x.holds, &s.request.Users[i], s.now)
	}
}

// expose adds the holds that were read to what the user has seen.
func (b *Bidder) expose(s *scratch) {
	for i := range s.exposed.holds {
		s.user.Exposures = append(s.user.Exposures, s.exposed.holds[i].Exposure)
	}
}

// hold makes a bid of the candidate count for the frequency caps. Without
// BidMade it does not, and must not be made.
func (b *Bidder) hold(s *scratch, c *targeting.Candidate, bid *rtb.BidID) rtb.NoBid {
	if !c.Counted || len(s.request.Users) == 0 {
		return rtb.BidMade
	}
	user := &s.request.Users[0]
	own := inFlight{halfOf(bid), rtb.Exposure{
		LineItem: c.LineItem.ID, Campaign: c.LineItem.Campaign, Advertiser: c.LineItem.Advertiser, Creative: c.Creative.ID,
		Time: uint32(s.now.Unix()) + 1, Count: 1,
	}}
	if !b.Exposures.add(user, bid, &own.Exposure, s.now) {
		holdsRefused.Inc()
		return rtb.FrequencyCapped
	}
	// Of two bids for a user that are made at the same moment, the one that looks
	// last sees the other; both may, and then neither is made.
	if c.Capped && b.overtaken(s, c, own.bid) {
		b.Exposures.remove(user, bid)
		bidsOvertaken.Inc()
		return rtb.FrequencyCapped
	}
	s.exposed.made++
	s.exposed.holds = append(s.exposed.holds, own)
	s.user.Exposures = append(s.user.Exposures, own.Exposure)
	return rtb.BidMade
}

// overtaken asks the caps of a candidate again, with the holds that came since
// those of the user were read.
func (b *Bidder) overtaken(s *scratch, c *targeting.Candidate, own uint64) bool {
	x := &s.exposed
	known := len(x.holds)
	for i := range s.request.Users[:x.users] {
		x.holds = b.Exposures.append(x.holds, &s.request.Users[i], s.now)
	}
	found := x.holds[known:]
	x.holds = x.holds[:known]
	for _, h := range found {
		if h.bid != own && !slices.ContainsFunc(x.holds, func(k inFlight) bool { return k.bid == h.bid }) {
			x.holds = append(x.holds, h)
			s.user.Exposures = append(s.user.Exposures, h.Exposure)
		}
	}
	for i := range s.request.Users[:x.users] {
		if b.Exposures.records(&s.request.Users[i]) != x.records[i] {
			return true // what is missing may be in the record by now, which was read before
		}
	}
	return s.index.Recheck(&s.matches, c) != rtb.BidMade
}
