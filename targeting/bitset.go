package targeting

import "math/bits"

// A block is 512 line items of a partition, one bit each: one cache line, and
// the unit in which bitsets are combined.
const (
	blockWords = 8
	blockBits  = blockWords * 64
)

type block [blockWords]uint64

// and keeps the bits of b that are also in o, and reports whether any is left.
func (b *block) and(o *block) bool {
	b[0] &= o[0]
	b[1] &= o[1]
	b[2] &= o[2]
	b[3] &= o[3]
	b[4] &= o[4]
	b[5] &= o[5]
	b[6] &= o[6]
	b[7] &= o[7]
	return b.any()
}

func (b *block) or(o *block) {
	b[0] |= o[0]
	b[1] |= o[1]
	b[2] |= o[2]
	b[3] |= o[3]
	b[4] |= o[4]
	b[5] |= o[5]
	b[6] |= o[6]
	b[7] |= o[7]
}

func (b *block) any() bool {
	return b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0
}

// row is a dense bitset over the line items of a partition.
type row []block

func newRow(lineItems int) row { return make(row, (lineItems+blockBits-1)/blockBits) }

func (r row) set(i int32)      { r[i/blockBits][i/64%blockWords] |= 1 << (i & 63) }
func (r row) has(i int32) bool { return r[i/blockBits][i/64%blockWords]&(1<<(i&63)) != 0 }

// postings is a bitset that is dense or, where few words have a bit, a list of
// those words in rising order.
type postings struct {
	dense row
	words []uint32
	bits  []uint64
}

// newPostings keeps the given positions, which rise, out of a partition of
// lineItems.
func newPostings(positions []int32, lineItems int) postings {
	var p postings
	for _, i := range positions {
		w := uint32(i) / 64
		if n := len(p.words); n == 0 || p.words[n-1] != w {
			p.words = append(p.words, w)
			p.bits = append(p.bits, 0)
		}
		p.bits[len(p.bits)-1] |= 1 << (i & 63)
	}
	// A word of a list costs 12 bytes and a branch, one of a row 8 and neither.
	if len(p.words) >= (lineItems+63)/64/4 {
		p.dense = newRow(lineItems)
		for k, w := range p.words {
			p.dense[w/blockWords][w%blockWords] = p.bits[k]
		}
		p.words, p.bits = nil, nil
	}
	return p
}

func (p *postings) has(i int32) bool {
	if p.dense != nil {
		return p.dense.has(i)
	}
	k := searchFrom(p.words, 0, uint32(i)/64)
	return k < len(p.words) && p.words[k] == uint32(i)/64 && p.bits[k]&(1<<(i&63)) != 0
}

// cursor reads postings block by block, forward.
type cursor struct {
	*postings
	at int
}

// or adds the bits of block b to dst. Blocks may be skipped, not revisited.
func (c *cursor) or(dst *block, b int) {
	if c.dense != nil {
		dst.or(&c.dense[b])
		return
	}
	first := uint32(b) * blockWords
	c.at = searchFrom(c.words, c.at, first)
	for c.at < len(c.words) && c.words[c.at] < first+blockWords {
		dst[c.words[c.at]%blockWords] |= c.bits[c.at]
		c.at++
	}
}

// searchFrom is the first place at or after from in the rising words whose
// value is at least w. It gallops, as the place is near as a rule.
func searchFrom(words []uint32, from int, w uint32) int {
	lo, step := from, 1
	for lo < len(words) && words[lo] < w {
		from = lo + 1
		lo += step
		step *= 2
	}
	hi := min(lo, len(words))
	for from < hi {
		mid := int(uint(from+hi) >> 1)
		if words[mid] < w {
			from = mid + 1
		} else {
			hi = mid
		}
	}
	return from
}

// flags is a growing set of small numbers that is emptied in the time it took
// to fill.
type flags struct {
	bits []uint64
	list []uint32
}

// grow makes room for the numbers below n and empties f.
func (f *flags) grow(n int) {
	f.clear()
	if words := (n + 63) / 64; words > len(f.bits) {
		f.bits = make([]uint64, words)
	}
}

func (f *flags) clear() {
	for _, v := range f.list {
		f.bits[v/64] = 0
	}
	f.list = f.list[:0]
}

func (f *flags) add(v uint32) {
	if f.bits[v/64]&(1<<(v&63)) == 0 {
		f.bits[v/64] |= 1 << (v & 63)
		f.list = append(f.list, v)
	}
}

func (f *flags) has(v uint32) bool { return f.bits[v/64]&(1<<(v&63)) != 0 }

// hasAny and hasAll are about the numbers of a list.
func (f *flags) hasAny(list []uint32) bool {
	if len(f.list) == 0 {
		return false
	}
	for _, v := range list {
		if f.has(v) {
			return true
		}
	}
	return false
}

func (f *flags) hasAll(list []uint32) bool {
	for _, v := range list {
		if !f.has(v) {
			return false
		}
	}
	return true
}

// lowest is the place of the lowest bit of a word that is not zero.
func lowest(w uint64) int32 { return int32(bits.TrailingZeros64(w)) }
