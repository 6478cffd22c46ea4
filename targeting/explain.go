package targeting

import "bidwell/rtb"

// Explain puts every line item through the checks of [Index.Match] and calls
// each with the first that it fails, or with BidMade; creative is the one it
// would show, or the one that came furthest, or nil. Begin comes first, as for
// Match. It is for people, not for the bid path.
func (x *Index) Explain(m *Matches, imp *rtb.Imp, each func(item *rtb.LineItem, creative *rtb.Creative, reason rtb.NoBid)) {
	m.Candidates, m.kept = m.Candidates[:0], 0
	whole := m.offer(imp)
	a, b := &m.walkers[0], &m.walkers[1]
	a.start(m, imp)
	b.start(m, imp)
	var i, j int32 // the next line item of each partition
	for position := range int32(len(x.items)) {
		item := &x.items[position]
		reason := rtb.CountryMismatch
		var c Candidate
		switch {
		case whole != rtb.BidMade:
			reason = whole
		case a.partition != nil && i < int32(len(a.items)) && a.items[i] == position:
			reason = a.first(i)
			i++
		case j < int32(len(b.items)) && b.items[j] == position:
			reason = b.first(j)
			j++
		}
		if reason == rtb.BidMade {
			reason = x.check(m, imp, position, &c)
		}
		each(item, c.Creative, reason)
	}
}

// first is the first bitset that line item i of a partition is missing from.
func (w *walker) first(i int32) rtb.NoBid {
	if w.country != nil && !w.country.has(i) {
		return rtb.CountryMismatch
	}
	media := false
	for _, r := range w.media {
		media = media || r.has(i)
	}
	if !media {
		return rtb.MediaMismatch
	}
	for _, s := range w.steps {
		if !s.row.has(i) {
			return s.reason
		}
	}
	if w.tags.open != nil && !w.tags.open.has(i) {
		for k := range w.tagSets {
			if w.tagSets[k].has(i) {
				return rtb.BidMade
			}
		}
		return rtb.SegmentMissing
	}
	return rtb.BidMade
}
