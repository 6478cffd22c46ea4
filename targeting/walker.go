package targeting

import (
	"math"

	"bidwell/rtb"
)

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
	if from < levelUser && m.level >= levelUser && m.unknown {
		rest.and(&w.uncapped[b])
	}
}
