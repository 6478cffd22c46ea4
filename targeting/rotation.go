package targeting

import (
	"bidwell/rtb"
)

// sequenceWindow is how far back impressions count as steps of a sequence, in
// seconds.
const sequenceWindow = 30 * 24 * 3600

// choose finds the creatives that fit and takes one as the rotation says. Where
// several fit they are kept in m.fits, from out.first on.
func (x *Index) choose(m *Matches, imp *rtb.Imp, e *entry, item *rtb.LineItem, out *Candidate) rtb.NoBid {
	fits := uint64(0)
	chosen, furthest := -1, rtb.MediaMismatch
	creatives := x.creativesOf(e)
	capped := e.needs&needCreativeCaps != 0
	s := Fit{Deal: out.Deal, Floor: out.Floor}
	out.fits = 0
	for i := range creatives {
		c := &creatives[i]
		s.Creative, s.Size, s.Protocol = c.source, rtb.Size{}, 0 // each fills in its own deal
		reason := m.fit(c, item, imp, &s)
		if capped && reason == rtb.BidMade {
			reason = m.within(x.rules[e.rules].creativeLimits, c.source.ID)
		}
		if reason == rtb.BidMade {
			if fits++; fits == 1 {
				out.Fit = s
			} else {
				m.another(e, out, &s, fits)
			}
		} else if fits == 0 && (chosen < 0 || reason > furthest) {
			chosen, furthest = i, reason
		}
	}
	if fits == 0 {
		if chosen >= 0 {
			out.Creative = creatives[chosen].source
		}
		return furthest
	}
	if e.repeat && fits > 1 {
		x.repeat(m, imp, e, item, out, fits)
	}
	return rtb.BidMade
}

// another takes the nth creative that fits into account, from the second on.
// The first, or the one that took its place, is in out.
func (m *Matches) another(e *entry, out *Candidate, s *Fit, n uint64) {
	if n == 2 {
		out.first, out.fits = m.kept, 1
		m.fits = append(m.fits[:m.kept], out.Fit)
		switch e.rotation {
		case rtb.RotateWeighted:
			m.weight = weight(out.Creative)
		case rtb.RotateSequence:
			m.step = m.seen(rtb.LineItemID(e.id))
		}
	}
	random := coin(m.context.Coin, e.id+uint32(n)*spread32)
	if out.fits < MaxFits {
		m.fits = append(m.fits, *s)
		out.fits++
	} else if at := mix(random^spread) % n; at < MaxFits { // each is kept as often as any other
		kept := m.fits[out.first:]
		copy(kept[at:], kept[at+1:])
		kept[MaxFits-1] = *s
	}
	var takes bool
	switch e.rotation {
	case rtb.RotateWeighted:
		w := weight(s.Creative)
		m.weight += w
		takes = random%m.weight < w
	case rtb.RotateSequence:
		takes = n <= m.step+1
	default: // it takes the place of the one before in one of n cases
		takes = random%n == 0
	}
	if takes {
		out.Fit = *s
	}
}

func weight(c *rtb.Creative) uint64 { return uint64(max(c.Weight, 1)) }

// repeat begins a sequence again that has come to its end.
func (x *Index) repeat(m *Matches, imp *rtb.Imp, e *entry, item *rtb.LineItem, out *Candidate, fits uint64) {
	if e.rotation != rtb.RotateSequence || m.step < fits {
		return
	}
	left := m.step % fits
	creatives := x.creativesOf(e)
	s := out.Fit
	for i := range creatives {
		c := &creatives[i]
		s.Creative, s.Size, s.Protocol = c.source, rtb.Size{}, 0
		if m.fit(c, item, imp, &s) != rtb.BidMade ||
			e.needs&needCreativeCaps != 0 && m.within(x.rules[e.rules].creativeLimits, c.source.ID) != rtb.BidMade {
			continue
		}
		if left == 0 {
			out.Fit = s
			return
		}
		left--
	}
}

// seen is how many impressions of a line item the user has seen. Of somebody
// unknown it is none. Bids in flight do not count: most are never shown, and
// they are dated ahead.
func (m *Matches) seen(item rtb.LineItemID) (n uint64) {
	if m.unknown {
		return 0
	}
	now := m.context.Now.Unix()
	for i := range m.context.User.Exposures {
		x := &m.context.User.Exposures[i]
		if (x.LineItem == item || x.LineItem == 0) && int64(x.Time) <= now && int64(x.Time) > now-sequenceWindow {
			n += uint64(x.Count)
		}
	}
	return n
}

// Step is the place in the sequence of a candidate's line item that the user
// has come to, from 1 on: one more than the impressions seen.
func (m *Matches) Step(c *Candidate) int { return int(m.seen(c.LineItem.ID)) + 1 }
