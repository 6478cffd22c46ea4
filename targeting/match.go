package targeting

import (
	"math"
	"time"

	"bidwell/rtb"
)

// Context is one request with all that decides who may serve it. The bidder
// fills it; it must not change between [Index.Begin] and the last
// [Index.Match].
type Context struct {
	Request *rtb.Request
	User    *rtb.Profile // nil is an unknown user, also one who could not be looked up
	Now     time.Time
	Rates   *rtb.Rates
	Seat    string // of line items that name none: the exchange profile's
	Coin    uint64 // random; rotates creatives and products

	// Admit is the pacer's valve, asked last: BidMade, or why the line item may
	// not bid now. Nil lets everyone through.
	Admit func(slot int32, coin uint32) rtb.NoBid
	// Fit compares a native creative to the native request of imp. Nil fits
	// nothing.
	Fit func(c *rtb.Creative, imp *rtb.Imp) rtb.NoBid
}

// Candidate is a line item that may serve an impression, and how. The Fit is
// the one that its rotation chose; with RotateOptimize any of [Matches.Fits]
// may take its place.
type Candidate struct {
	LineItem *rtb.LineItem
	Fit
	Capped  bool // a frequency cap or a minimum gap restricts it, see [Index.Recheck]
	Counted bool // its impressions count for the caps of some line item

	fits     uint8 // how many are kept in Matches.fits from first on; zero when one only fits
	first    int32
	position int32
}

// Fit is a creative that fits an impression, and how it would be shown.
type Fit struct {
	Creative *rtb.Creative // of a template, the Ad of a product
	Floor    rtb.Money     // in the account currency; the deal's where one applies
	Size     rtb.Size      // banner: the creative's; video: the player's; else zero
	Deal     int16         // index into the deals of the Imp; -1 in the open auction
	Protocol uint8         // video and audio: OpenRTB list "protocols"
}

// MaxFits is how many of the fitting creatives of a line item are kept, taken
// by chance where there are more.
const MaxFits = 8

// DefaultLimit is how many candidates [Index.Match] stops at.
const DefaultLimit = 64

// Matches is the result of [Index.Match] and the memory that it works in.
// Reuse it: once it has grown, nothing is allocated.
type Matches struct {
	// Candidates are the best by price ceiling, dearest first. They are valid
	// until the next Match; More may move them.
	Candidates []Candidate
	// Reason is why there are none: that of the line item which came furthest.
	Reason rtb.NoBid
	// Limit is how many candidates Match, and each More after it, is content
	// with; zero means DefaultLimit.
	Limit int

	index   *Index
	context *Context
	imp     *rtb.Imp
	walkers [2]walker // of the country's partition and the common one
	now     int64     // nanoseconds
	seat    bool      // the request lets Context.Seat bid
	anySeat bool      // or a seat that a line item names
	unknown bool      // nobody knows the user, so no frequency cap can be kept

	rank  uint16 // of the reason of the line item that came furthest
	level int8   // which late bitsets may be applied

	open    rtb.NoBid // why the open auction is closed; BidMade if it is not
	floor   rtb.Money // of the open auction
	least   rtb.Money // the lowest floor there is
	deals   []deal
	item    *entry // whose deals are being compared
	demands demands

	fits   []Fit  // of the candidates that have several
	kept   int32  // as many of them belong to candidates
	weight uint64 // of the creatives of a line item so far
	step   uint64 // in its sequence: how many impressions the user has seen

	tags    flags   // the user's segments that line items name
	clocks  []clock // by time zone of the Index
	request requestFacts
}

// Begin prepares what all impressions of a request share.
func (x *Index) Begin(m *Matches, c *Context) {
	if m.index != x {
		m.adopt(x)
	}
	m.context = c
	m.now = nanoseconds(c.Now, math.MinInt64)
	m.unknown = c.User == nil || len(c.Request.Users) == 0
	m.request.reset()
	m.demands = demand(c.Request)
	m.seats(x)

	m.tags.clear()
	if c.User != nil && x.tags.count > 0 {
		for _, segment := range c.User.Segments {
			if n := x.tags.find(uint32(segment)); n >= 0 {
				m.tags.add(uint32(n))
			}
		}
	}
	var local *partition
	if country := c.Request.Geo.Country; country != [2]byte{} {
		if n := x.countries.find(pair(country)); n >= 0 {
			local = &x.local[n]
		}
	}
	m.walkers[0].begin(m, local)
	m.walkers[1].begin(m, &x.common)
}

// adopt makes room for what depends on the Index.
func (m *Matches) adopt(x *Index) {
	m.index = x
	m.tags.grow(x.tags.count)
	m.clocks = append(m.clocks[:0], make([]clock, len(x.clocks))...)
	m.request.adopt(x)
}

// Match finds the line items that may serve imp and leaves the best in m. The
// imp must stay as it is while More is called.
func (x *Index) Match(m *Matches, imp *rtb.Imp) {
	m.Candidates, m.kept = m.Candidates[:0], 0
	m.imp = imp
	a, b := &m.walkers[0], &m.walkers[1]
	if m.Reason = m.offer(imp); m.Reason != rtb.BidMade {
		a.head, b.head = done, done
		return
	}
	a.start(m, imp)
	b.start(m, imp)
	a.next(m)
	b.next(m)
	if !x.More(m) {
		m.Reason = m.furthest(x)
	}
}

// Fits are the creatives of a candidate's line item that fit, MaxFits at most,
// in the order of its document; none when it has but one, that of the
// candidate. They are valid as long as the candidate is.
func (m *Matches) Fits(c *Candidate) []Fit {
	return m.fits[c.first : c.first+int32(c.fits)]
}

// Ceiling is the highest price that any line item may ever bid which Match and
// More have not come to yet; zero when there is none left. Whoever has a better
// offer already need not look at more.
func (m *Matches) Ceiling() rtb.Money {
	head := min(m.walkers[0].head, m.walkers[1].head)
	if head == done {
		return 0
	}
	return m.index.entries[head].ceiling
}

// More appends the next best to the candidates and reports whether there were
// any.
func (x *Index) More(m *Matches) bool {
	limit := m.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	first := len(m.Candidates)
	a, b := &m.walkers[0], &m.walkers[1]
	for len(m.Candidates)-first < limit {
		w := a
		if b.head < a.head {
			w = b
		}
		if w.head == done {
			break
		}
		e := &x.entries[w.head]
		if e.ceiling < m.least && m.rank >= rankFloor {
			a.head, b.head = done, done // as are all that follow
			break
		}
		n := len(m.Candidates)
		if n == cap(m.Candidates) {
			m.Candidates = append(m.Candidates, Candidate{})[:n]
		}
		reason := x.check(m, m.imp, w.head, &m.Candidates[:n+1][n])
		if reason == rtb.BidMade {
			m.Candidates = m.Candidates[:n+1]
			if c := &m.Candidates[n]; c.fits != 0 {
				m.kept = c.first + int32(c.fits)
			}
		}
		m.note(reason)
		w.next(m)
	}
	return len(m.Candidates) > first
}

// offer prepares what an imp offers: its auctions and their floors. The reason
// is one for which no line item can bid on it.
func (m *Matches) offer(imp *rtb.Imp) rtb.NoBid {
	m.rank, m.level = 0, 0
	if imp.Broken || !imp.HasBanner && !imp.HasVideo && !imp.HasAudio && !imp.HasNative {
		return rtb.NoUsableImp
	}
	if !m.anySeat {
		return rtb.SeatNotAllowed
	}
	m.demands &^= demandSecure
	if imp.Secure {
		m.demands |= demandSecure
	}
	m.auctions(imp)
	return rtb.BidMade
}

// The checks come in the order of rtb.NoBid but for two: the seat and the
// currency of a line item are known when its deal is.
const (
	rankDeal     = uint16(rtb.DealMissing) * 4
	rankSeat     = rankDeal + 1
	rankCurrency = rankDeal + 2
	rankFloor    = uint16(rtb.FloorTooHigh) * 4
	rankKind     = uint16(rtb.InventoryKindMismatch) * 4
	rankSize     = uint16(rtb.SizeMismatch) * 4
	rankUser     = uint16(rtb.UserUnknown) * 4
	rankPaced    = uint16(rtb.PacedOut) * 4
	rankBid      = uint16(math.MaxUint16)
)

func rankOf(reason rtb.NoBid) uint16 {
	switch reason {
	case rtb.BidMade:
		return rankBid
	case rtb.SeatNotAllowed:
		return rankSeat
	case rtb.CurrencyUnknown:
		return rankCurrency
	}
	return uint16(reason) * 4
}

// note remembers how far a line item came.
//
// Deals, kinds of inventory, sizes and frequency caps that cannot be kept have
// bitsets, but their checks come late. A bitset of theirs may drop line items
// unseen as soon as another line item has come as far as the check: then the
// reason can no longer be missed.
func (m *Matches) note(reason rtb.NoBid) {
	rank := rankOf(reason)
	if rank <= m.rank {
		return
	}
	m.rank = rank
	switch {
	case rank >= rankUser:
		m.level = levelUser
	case rank >= rankSize:
		m.level = levelSize
	case rank >= rankKind:
		m.level = levelKind
	case rank >= rankCurrency || rank >= rankDeal && m.open != rtb.CurrencyUnknown:
		m.level = levelDeal
	}
}

// The late bitsets that may be applied; each level includes those before.
const (
	levelNone int8 = iota
	levelDeal
	levelKind
	levelSize
	levelUser
)

// furthest is the reason of the line item that came furthest.
func (m *Matches) furthest(x *Index) rtb.NoBid {
	switch m.rank {
	case 0:
		if len(x.items) == 0 {
			return rtb.NotActive
		}
		return rtb.CountryMismatch
	case rankSeat:
		return rtb.SeatNotAllowed
	case rankCurrency:
		return rtb.CurrencyUnknown
	}
	return rtb.NoBid(m.rank / 4)
}
