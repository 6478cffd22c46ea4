package targeting

import (
	"errors"
	"fmt"
	"time"

	"bidwell/rtb"
)

// limit is a frequency cap. A minimum gap is one, too: of a single impression
// in that time.
type limit struct {
	per    rtb.CapScope
	count  uint32
	id     uint32 // of what is counted; for a creative, of whichever is asked about
	window int64  // in seconds
}

// scope is what a frequency cap counts.
type scope struct {
	per rtb.CapScope
	id  uint32
}

// compileCaps fills the limits of a line item and notes what they count.
func (x *Index) compileCaps(e *entry, r *rules, item *rtb.LineItem) error {
	ids := [...]uint32{rtb.CapLineItem: uint32(item.ID), rtb.CapCampaign: uint32(item.Campaign), rtb.CapAdvertiser: uint32(item.Advertiser), rtb.CapCreative: 0}
	if x.counted == nil {
		x.counted = map[scope]int64{}
	}
	own := scope{rtb.CapLineItem, uint32(item.ID)}
	x.counted[own] = max(x.counted[own], 0) // so that it is known
	for i, c := range item.Caps {
		if c.Per < rtb.CapLineItem || c.Per > rtb.CapCreative || c.Limit == 0 || c.Window <= 0 {
			return fmt.Errorf("caps[%d]: want a scope, a limit and a window", i)
		}
		l := limit{per: c.Per, count: uint32(c.Limit), id: ids[c.Per], window: secondsUp(c.Window)}
		if c.Per != rtb.CapCreative {
			e.needs |= needCaps
			r.limits = append(r.limits, l)
			x.count(scope{l.per, l.id}, l.window)
			continue
		}
		e.needs |= needCreativeCaps
		r.creativeLimits = append(r.creativeLimits, l)
		for k := range item.Creatives {
			x.count(scope{rtb.CapCreative, uint32(item.Creatives[k].ID)}, l.window)
		}
	}
	if item.MinGap < 0 {
		return errors.New("min_gap: is negative")
	}
	if item.MinGap > 0 {
		e.needs |= needCaps
		l := limit{per: rtb.CapLineItem, count: 1, id: uint32(item.ID), window: secondsUp(item.MinGap)}
		r.limits = append(r.limits, l)
		x.count(own, l.window)
	}
	return nil
}

// secondsUp is a positive duration in seconds, so that no cap ends early.
func secondsUp(d time.Duration) int64 { return int64((d-1)/time.Second) + 1 }

func (x *Index) count(s scope, window int64) {
	x.counted[s] = max(x.counted[s], window)
	x.longest = max(x.longest, window)
}

// markCounted finds the line items whose impressions count for a cap, be it
// that of another line item.
func (x *Index) markCounted() {
	for i := range x.items {
		item := &x.items[i]
		window := x.windowOf(item.ID, item.Campaign, item.Advertiser, 0)
		for k := range item.Creatives {
			window = max(window, x.counted[scope{rtb.CapCreative, uint32(item.Creatives[k].ID)}])
		}
		x.entries[i].counted = window > 0
	}
}

// windowOf is the longest window of a cap that counts an impression, in
// seconds.
func (x *Index) windowOf(item rtb.LineItemID, campaign rtb.CampaignID, advertiser rtb.AdvertiserID, creative rtb.CreativeID) int64 {
	return max(
		x.counted[scope{rtb.CapLineItem, uint32(item)}],
		x.counted[scope{rtb.CapCampaign, uint32(campaign)}],
		x.counted[scope{rtb.CapAdvertiser, uint32(advertiser)}],
		x.counted[scope{rtb.CapCreative, uint32(creative)}])
}

// Capped reports whether any line item has a frequency cap or a minimum gap.
func (x *Index) Capped() bool { return x.longest > 0 }

// goneWindow is how long impressions are remembered of line items that are not
// in the Index, in seconds.
const goneWindow = 7 * 24 * 3600

// Remember is how long the impression that e bills must be remembered: the
// longest window of any cap that counts it or, of a line item with a sequence,
// as long as the sequence goes on; zero when neither. That of a line item which
// is not in the Index is remembered for at least a week, as the line item may
// only be paused and its caps are not known here.
func (x *Index) Remember(e *rtb.Event) time.Duration {
	window := x.windowOf(e.LineItem, e.Campaign, e.Advertiser, e.Creative)
	if _, known := x.counted[scope{rtb.CapLineItem, uint32(e.LineItem)}]; !known {
		window = max(window, x.longest, goneWindow)
		if len(x.sequences) > 0 {
			window = max(window, sequenceWindow)
		}
	}
	if x.sequences[e.LineItem] {
		window = max(window, sequenceWindow)
	}
	return time.Duration(window) * time.Second
}

// Recheck asks the frequency caps of a candidate again, after exposures were
// added to the user of the Context.
func (x *Index) Recheck(m *Matches, c *Candidate) rtb.NoBid {
	e := &x.entries[c.position]
	if e.needs&(needCaps|needCreativeCaps) == 0 {
		return rtb.BidMade
	}
	r := &x.rules[e.rules]
	if reason := m.within(r.limits, 0); reason != rtb.BidMade {
		return reason
	}
	return m.within(r.creativeLimits, c.Creative.ID)
}

// within reports whether one more impression keeps to the limits. A limit
// cannot be kept for a user who is not known by any identifier.
func (m *Matches) within(limits []limit, creative rtb.CreativeID) rtb.NoBid {
	if len(limits) == 0 {
		return rtb.BidMade
	}
	if m.unknown {
		return rtb.UserUnknown
	}
	now := m.context.Now.Unix()
	for i := range limits {
		l := &limits[i]
		id := l.id
		if l.per == rtb.CapCreative {
			id = uint32(creative)
		}
		if seen(m.context.User.Exposures, l.per, id, now-l.window) >= l.count {
			return rtb.FrequencyCapped
		}
	}
	return rtb.BidMade
}

// Within reports whether one more impression of a candidate keeps to caps that
// are not those of its line item, as far as impressions are remembered for the
// caps that are.
func (m *Matches) Within(caps []rtb.FrequencyCap, c *Candidate) rtb.NoBid {
	ids := [...]uint32{
		rtb.CapLineItem: uint32(c.LineItem.ID), rtb.CapCampaign: uint32(c.LineItem.Campaign),
		rtb.CapAdvertiser: uint32(c.LineItem.Advertiser), rtb.CapCreative: uint32(c.Creative.ID),
	}
	for i := range caps {
		k := &caps[i]
		l := [1]limit{{per: k.Per, count: uint32(k.Limit), id: ids[k.Per], window: secondsUp(k.Window)}}
		if reason := m.within(l[:], c.Creative.ID); reason != rtb.BidMade {
			return reason
		}
	}
	return rtb.BidMade
}

// seen counts the impressions after a time.
func seen(exposures []rtb.Exposure, per rtb.CapScope, id uint32, after int64) (n uint32) {
	for i := range exposures {
		x := &exposures[i]
		if int64(x.Time) <= after {
			continue
		}
		of := uint32(x.Creative)
		switch per {
		case rtb.CapLineItem:
			of = uint32(x.LineItem)
		case rtb.CapCampaign:
			of = uint32(x.Campaign)
		case rtb.CapAdvertiser:
			of = uint32(x.Advertiser)
		}
		if of == id || of == 0 {
			n += uint32(x.Count)
		}
	}
	return n
}
