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
	User    *rtb.Profile // nil is an unknown user
	Now     time.Time
	Rates   *rtb.Rates
	Seat    string // of line items that name none: the exchange profile's
	Coin    uint64 // random; rotates creatives

	// Admit is the pacer's valve, asked last. Nil lets everyone through.
	Admit func(slot int32, coin uint32) bool
	// Fit compares a native creative to the native request of imp. Nil fits
	// nothing.
	Fit func(c *rtb.Creative, imp *rtb.Imp) rtb.NoBid
}

// Candidate is a line item that may serve an impression, and how.
type Candidate struct {
	LineItem *rtb.LineItem
	Creative *rtb.Creative
	Floor    rtb.Money // in the account currency; the deal's where one applies
	Deal     int16     // index into the deals of the Imp; -1 in the open auction
	Size     rtb.Size  // banner: the creative's; video: the player's; else zero
	Protocol uint8     // video and audio: OpenRTB list "protocols"
}

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

	rank  uint16 // of the reason of the line item that came furthest
	level int8   // which late bitsets may be applied

	open    rtb.NoBid // why the open auction is closed; BidMade if it is not
	floor   rtb.Money // of the open auction
	least   rtb.Money // the lowest floor there is
	deals   []deal
	item    *entry // whose deals are being compared
	demands demands

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
	m.Candidates = m.Candidates[:0]
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
// Deals, kinds of inventory and sizes have bitsets, but their checks come late.
// A bitset of theirs may drop line items unseen as soon as another line item
// has come as far as the check: then the reason can no longer be missed.
func (m *Matches) note(reason rtb.NoBid) {
	rank := rankOf(reason)
	if rank <= m.rank {
		return
	}
	m.rank = rank
	switch {
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

// done is a position after all others.
const done = int32(math.MaxInt32)

// walker yields the line items of a partition that the bitsets leave, in the
// order of the Index.
type walker struct {
	*partition
	country row
	steps   []step   // of the request
	tagSets []cursor // of the user
	kind    row
	media   []row // of the imp
	streams []row // of them, those that have no sizes
	sizes   []cursor
	bySize  bool
	deals   []cursor
	byDeal  bool

	head  int32 // position in the Index of the current line item; done at the end
	block int   // the next one
	level int8  // of the late bitsets that are applied to bits and rest
	word  int32
	bits  uint64 // what is left of the current word
	rest  block
}

// step is a bitset that every line item must be in.
type step struct {
	row
	reason rtb.NoBid
}

// begin chooses the bitsets that a request asks for.
func (w *walker) begin(m *Matches, p *partition) {
	w.partition = p
	if p == nil {
		return
	}
	req := m.context.Request
	w.country = p.country.row(pair(req.Geo.Country))
	w.kind = p.kind.row(uint32(req.Inventory.Kind))
	w.steps = w.steps[:0]
	w.step(p.exchange.row(uint32(req.Exchange)), rtb.ExchangeMismatch)
	w.step(p.device.row(uint32(req.Device.Type)), rtb.DeviceMismatch)
	w.step(p.os.row(uint32(req.Device.OS)), rtb.OSMismatch)
	w.step(p.connection.row(uint32(req.Device.Connection)), rtb.ConnectionMismatch)
	w.step(p.language.row(pair(req.Device.Language)), rtb.LanguageMismatch)
	w.tagSets = w.tagSets[:0]
	if p.tags.open != nil {
		for _, n := range m.tags.list {
			if set := p.tags.set(n); set != nil {
				w.tagSets = append(w.tagSets, cursor{postings: set})
			}
		}
	}
}

func (w *walker) step(r row, reason rtb.NoBid) {
	if r != nil {
		w.steps = append(w.steps, step{r, reason})
	}
}

// start chooses the bitsets that imp asks for and goes to the beginning.
func (w *walker) start(m *Matches, imp *rtb.Imp) {
	w.head, w.block, w.bits, w.word, w.level = done, 0, 0, blockWords, 0
	w.media, w.streams = w.media[:0], w.streams[:0]
	p := w.partition
	if p == nil {
		return
	}
	for i := range w.tagSets {
		w.tagSets[i].at = 0
	}
	for media, has := range [...]bool{rtb.Video: imp.HasVideo, rtb.Audio: imp.HasAudio, rtb.Native: imp.HasNative} {
		if r := p.media[media]; has && r != nil {
			w.media, w.streams = append(w.media, r), append(w.streams, r)
		}
	}
	w.sizes, w.bySize = w.sizes[:0], false
	if r := p.media[rtb.Banner]; imp.HasBanner && r != nil {
		w.media = append(w.media, r)
		w.bySize = !imp.Banner.AnySize
		for _, size := range imp.Banner.Sizes {
			if set := p.sizes.set(sizeKey(size)); set != nil {
				w.sizes = append(w.sizes, cursor{postings: set})
			}
		}
	}
	w.deals, w.byDeal = w.deals[:0], p.deals.open != nil || m.open != rtb.BidMade
	for i := range m.deals {
		if set := p.deals.set(m.deals[i].number); set != nil {
			w.deals = append(w.deals, cursor{postings: set})
		}
	}
}

// next moves the head to the next line item.
func (w *walker) next(m *Matches) {
	for {
		if w.level != m.level {
			w.raise(m)
		}
		if w.bits != 0 {
			w.head = w.items[int32(w.block-1)*blockBits+w.word*64+lowest(w.bits)]
			w.bits &= w.bits - 1
			return
		}
		for w.word++; w.word < blockWords; w.word++ {
			if w.bits = w.rest[w.word]; w.bits != 0 {
				break
			}
		}
		if w.bits == 0 && !w.load(m) {
			w.head = done
			return
		}
	}
}

// raise applies late bitsets that have become applicable to what is left of
// the current block.
func (w *walker) raise(m *Matches) {
	if w.block > 0 && w.word < blockWords {
		w.late(m, &w.rest, w.block-1, w.level)
		w.bits &= w.rest[w.word]
	}
	w.level = m.level
}

// load finds the next block with a line item in it.
func (w *walker) load(m *Matches) bool {
	if len(w.media) == 0 {
		if w.partition != nil && len(w.items) > 0 && w.block == 0 {
			w.block = 1
			w.noteMedia(m)
		}
		return false
	}
	blocks := len(w.media[0])
	for w.block < blocks {
		b := w.block
		w.block++
		rest := w.media[0][b]
		for _, r := range w.media[1:] {
			rest.or(&r[b])
		}
		if w.country != nil {
			if !rest.and(&w.country[b]) {
				if w.country[b].any() {
					m.note(rtb.MediaMismatch)
				}
				continue
			}
		} else if !rest.any() {
			m.note(rtb.MediaMismatch)
			continue
		}
		if !w.narrow(m, &rest, b) {
			continue
		}
		if m.level > 0 {
			w.late(m, &rest, b, 0)
			if !rest.any() {
				continue
			}
		}
		w.rest, w.level = rest, m.level
		w.word = 0
		w.bits = rest[0]
		return true
	}
	return false
}

// noteMedia notes that a partition has no line item with a creative of a kind
// that is wanted.
func (w *walker) noteMedia(m *Matches) {
	if w.country == nil {
		m.note(rtb.MediaMismatch)
		return
	}
	for b := range w.country {
		if w.country[b].any() {
			m.note(rtb.MediaMismatch)
			return
		}
	}
}

// narrow applies the bitsets whose checks come first, and notes the one that
// leaves nothing.
func (w *walker) narrow(m *Matches, rest *block, b int) bool {
	for i := range w.steps {
		if !rest.and(&w.steps[i].row[b]) {
			m.note(w.steps[i].reason)
			return false
		}
	}
	if w.tags.open != nil {
		any := w.tags.open[b]
		for i := range w.tagSets {
			w.tagSets[i].or(&any, b)
		}
		if !rest.and(&any) {
			m.note(rtb.SegmentMissing)
			return false
		}
	}
	return true
}

// late applies the late bitsets above level from that m allows.
func (w *walker) late(m *Matches, rest *block, b int, from int8) {
	if from < levelDeal && m.level >= levelDeal && w.byDeal {
		var any block
		if m.open == rtb.BidMade {
			any = w.partition.deals.open[b]
		}
		for i := range w.deals {
			w.deals[i].or(&any, b)
		}
		rest.and(&any)
	}
	if from < levelKind && m.level >= levelKind && w.kind != nil {
		rest.and(&w.kind[b])
	}
	if from < levelSize && m.level >= levelSize && w.bySize {
		var any block
		for _, r := range w.streams {
			any.or(&r[b])
		}
		for i := range w.sizes {
			w.sizes[i].or(&any, b)
		}
		rest.and(&any)
	}
}
