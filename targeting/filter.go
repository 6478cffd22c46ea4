package targeting

import (
	"bidwell/rtb"
)

// check asks all that bitsets have not decided of the line item at a position,
// in the order of rtb.NoBid, and fills out. With BidMade it is a candidate;
// otherwise out.Creative is the creative that came furthest, if it came to
// creatives.
func (x *Index) check(m *Matches, imp *rtb.Imp, position int32, out *Candidate) rtb.NoBid {
	e := &x.entries[position]
	item := &x.items[position]
	out.LineItem, out.Creative = item, nil
	// The pacer's valve is the last check, but the cheapest one of those that
	// most line items fail; once another line item has come as far, the reason
	// of this one cannot matter.
	early := m.rank >= rankPaced
	if early {
		if reason := m.admit(e); reason != rtb.BidMade {
			return reason
		}
	}
	if e.needs&needPeople != 0 {
		r := &x.rules[e.rules]
		if !m.tags.hasAll(r.all) {
			return rtb.SegmentMissing
		}
		if m.tags.hasAny(r.none) {
			return rtb.SegmentExcluded
		}
	}
	if reason := m.auction(e, item, out); reason != rtb.BidMade {
		return reason
	}
	if m.now < e.start || m.now >= e.end {
		return rtb.OutOfFlight
	}
	if e.needs&needRules != 0 {
		if reason := m.obey(&x.rules[e.rules], e.needs); reason != rtb.BidMade {
			return reason
		}
	}
	if e.kinds != 0 && e.kinds&(1<<m.context.Request.Inventory.Kind) == 0 {
		return rtb.InventoryKindMismatch
	}
	if reason := x.choose(m, imp, e, item, out); reason != rtb.BidMade {
		return reason
	}
	if e.needs&needCaps != 0 {
		if reason := m.within(x.rules[e.rules].limits, 0); reason != rtb.BidMade {
			return reason
		}
	}
	if !early {
		if reason := m.admit(e); reason != rtb.BidMade {
			return reason
		}
	}
	out.position, out.Capped, out.Counted = position, e.needs&(needCaps|needCreativeCaps) != 0, e.counted
	return rtb.BidMade
}

func (m *Matches) admit(e *entry) rtb.NoBid {
	if m.context.Admit == nil {
		return rtb.BidMade
	}
	return m.context.Admit(e.slot, uint32(coin(m.context.Coin, e.id)>>32))
}

// obey checks the rules that few line items have.
func (m *Matches) obey(r *rules, needs needs) rtb.NoBid {
	facts := &m.request
	req := m.context.Request
	if needs&needHours != 0 && !r.hours.Has(m.hour(r)) {
		return rtb.OutOfHours
	}
	if needs&needPlace != 0 {
		facts.locate(m.index, &req.Geo)
		switch {
		case needs&needRegion != 0 && !containsAny(r.regions, facts.regions):
			return rtb.RegionMismatch
		case needs&needCity != 0 && (facts.city < 0 || !contains(r.cities, uint32(facts.city))):
			return rtb.CityMismatch
		case needs&needZip != 0 && !containsAny(r.zips, facts.zips):
			return rtb.ZipMismatch
		case needs&needFence != 0 && !(facts.precise && r.fences.contain(facts.point, facts.leaf)):
			return rtb.OutsideFence
		}
	}
	if needs&needCarrier != 0 && !containsAny(r.carriers, facts.carriersOf(m.index, &req.Device)) {
		return rtb.CarrierMismatch
	}
	if needs&needInventory != 0 {
		facts.inventory(m.index, &req.Inventory)
		if len(r.allowDomains)+len(r.allowApps) > 0 &&
			!containsAny(r.allowDomains, facts.domains) && !facts.isApp(r.allowApps) ||
			containsAny(r.denyDomains, facts.domains) || facts.isApp(r.denyApps) {
			return rtb.InventoryDenied
		}
	}
	if needs&needCategory != 0 {
		categories := facts.categoriesOf(m.index, &req.Inventory)
		if len(r.allowCategories) > 0 && !containsAny(r.allowCategories, categories) ||
			containsAny(r.denyCategories, categories) {
			return rtb.CategoryDenied
		}
	}
	return rtb.BidMade
}

// hour is the hour of the week where the hours of a line item count.
func (m *Matches) hour(r *rules) int {
	geo := &m.context.Request.Geo
	if r.userTime && knownOffset(geo) {
		return hourAt(m.context.Now, geo.UTCOffset)
	}
	return m.clocks[r.clock].at(m.context.Now, m.index.clocks[r.clock])
}

const spread32 = 0x9E3779B9

// coin derives the randomness of one choice from that of the request.
func coin(request uint64, choice uint32) uint64 {
	return mix(request ^ uint64(choice)*spread)
}
