package pebble

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"bidwell/rtb"
	"bidwell/targeting/audience"
)

var _ audience.Exposures = (*Store)(nil)

// The section sectionExposures has, for each exposure, all little-endian: line
// item, campaign, advertiser, creative, time, until and mark (4 bytes each),
// count (2 bytes).
const (
	sectionExposures = 2
	exposureSize     = 7*4 + 2

	// maxExposures bounds those of one user, and so the size of a record and
	// the work of a bid.
	maxExposures = 64
)

// exposure is impressions that a user has seen.
type exposure struct {
	rtb.Exposure
	until uint32 // Unix seconds; nothing asks for it from then on
	mark  uint32 // a part of the id of the last bid, which is random
}

func (x *exposure) expired(now uint32) bool { return x.until <= now }

func readExposure(b []byte) (x exposure) {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	x.LineItem, x.Campaign = rtb.LineItemID(word(0)), rtb.CampaignID(word(1))
	x.Advertiser, x.Creative = rtb.AdvertiserID(word(2)), rtb.CreativeID(word(3))
	x.Time, x.until, x.mark = word(4), word(5), word(6)
	x.Count = binary.LittleEndian.Uint16(b[28:])
	return x
}

func (x *exposure) append(dst []byte) []byte {
	for _, word := range [...]uint32{uint32(x.LineItem), uint32(x.Campaign), uint32(x.Advertiser), uint32(x.Creative), x.Time, x.until, x.mark} {
		dst = binary.LittleEndian.AppendUint32(dst, word)
	}
	return binary.LittleEndian.AppendUint16(dst, x.Count)
}

// appendExposures appends the exposures of a section in words.
func appendExposures(words []uint64, payload []byte) []uint64 {
	for ; len(payload) > 0; payload = payload[exposureSize:] {
		x := readExposure(payload)
		words = x.AppendWords(words)
	}
	return words
}

// expose adds an impression, unless its bid is there already, and reports
// whether it did.
func (r *record) expose(i *audience.Impression) bool {
	x := exposure{
		Exposure: rtb.Exposure{
			LineItem: i.LineItem, Campaign: i.Campaign, Advertiser: i.Advertiser, Creative: i.Creative,
			Time: secondsUp(i.Time), Count: 1,
		},
		until: secondsUp(i.Until),
		mark:  binary.LittleEndian.Uint32(i.Bid[8:]),
	}
	for k := range r.exposures {
		if y := &r.exposures[k]; y.mark == x.mark && (y.Creative == x.Creative || y.Creative == 0) {
			return false
		}
	}
	r.exposures = append(r.exposures, x)
	if len(r.exposures) > maxExposures {
		r.crowd()
	}
	return true
}

// secondsUp is the time in whole Unix seconds, so that no cap ends early. What
// is too far off is as far as numbers go.
func secondsUp(t time.Time) uint32 {
	seconds := t.Unix()
	if t.Nanosecond() > 0 {
		seconds++
	}
	return uint32(min(max(seconds, 0), math.MaxUint32))
}

// crowd makes one of two exposures: of the same creative if there are such,
// else of the same line item, campaign or advertiser, else of any; and of
// those the two whose later one is the oldest. What they do not have in common
// becomes zero.
func (r *record) crowd() {
	list := r.exposures
	slices.SortStableFunc(list, func(a, b exposure) int { return cmp.Compare(a.Time, b.Time) })
	common := func(a, b *exposure) int {
		switch {
		case a.LineItem == b.LineItem && a.Creative == b.Creative:
			return 4
		case a.LineItem == b.LineItem:
			return 3
		case a.Campaign == b.Campaign:
			return 2
		case a.Advertiser == b.Advertiser:
			return 1
		}
		return 0
	}
	from, into, best := 0, 1, -1
	for j := 1; j < len(list); j++ { // the first that is found ends earliest
		for i := range j {
			if c := common(&list[i], &list[j]); c > best {
				from, into, best = i, j, c
			}
		}
	}
	a, b := &list[from], &list[into]
	if a.Creative != b.Creative {
		b.Creative = 0
	}
	if a.LineItem != b.LineItem {
		b.LineItem = 0
	}
	if a.Campaign != b.Campaign {
		b.Campaign = 0
	}
	if a.Advertiser != b.Advertiser {
		b.Advertiser = 0
	}
	b.until = max(a.until, b.until)
	b.Count = uint16(min(uint32(a.Count)+uint32(b.Count), math.MaxUint16))
	r.exposures = slices.Delete(list, from, from+1)
}

// dropExposures drops those that no cap asks for any more.
func (r *record) dropExposures(now uint32) (dropped bool) {
	before := len(r.exposures)
	r.exposures = slices.DeleteFunc(r.exposures, func(x exposure) bool { return x.expired(now) })
	return len(r.exposures) < before
}

// Recorded implements [audience.Exposures].
func (s *Store) Recorded() uint64 {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.recorded
}

// RecordExposures implements [audience.Exposures].
func (s *Store) RecordExposures(_ context.Context, position uint64, now time.Time, list []audience.Impression) error {
	if err := s.begin(); err != nil {
		return fmt.Errorf("record exposures in %s: %w", s.dir, err)
	}
	defer s.work.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	if position <= s.recorded {
		return nil
	}
	s.exposed = max(s.exposed, uint32(min(max(now.Unix(), 0), math.MaxUint32)))

	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b audience.Impression) int { return compareUsers(a.User, b.User) })
	users, first := make([]rtb.UserID, 0, len(list)), make([]int, 0, len(list)+1)
	for i := range list {
		if i == 0 || list[i].User != list[i-1].User {
			users, first = append(users, list[i].User), append(first, i)
		}
	}
	first = append(first, len(list))
	err := s.rewrite(0, users, engine.NoSync, func(i int, _ bool, r *record) bool {
		if r.flags&flagOptedOut != 0 {
			return false
		}
		changed := false
		for k := first[i]; k < first[i+1]; k++ {
			if secondsUp(list[k].Until) > s.exposed && r.expose(&list[k]) {
				changed = true
			}
		}
		return changed
	}, func(b *engine.Batch) error {
		return b.Set(keyRecorded, binary.LittleEndian.AppendUint64(nil, position), nil)
	})
	if err != nil {
		return fmt.Errorf("record exposures in %s: %w", s.dir, err)
	}
	s.recorded = position
	return nil
}
