package targeting

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"bidwell/rtb"
)

// Index finds the line items that may serve an impression. It is immutable and
// safe to share.
type Index struct {
	items     []rtb.LineItem // by descending price ceiling; entries likewise
	entries   []entry
	rules     []rules // of the entries that have any
	creatives []creative
	names     []uint32 // categories and advertisers of creatives
	templates []template
	compiled  map[*rtb.Product]uint16 // place in templates by their first product; only while building
	clocks    []*time.Location
	seats     []string // that line items name

	countries table // country code to its place in local
	local     []partition
	common    partition // line items for every country, or for too many

	counted map[scope]int64 // by what frequency caps count: the longest window, in seconds; has all line items
	longest int64           // of them

	sequences map[rtb.LineItemID]bool // line items whose creatives come in sequence

	tags       table // segments that line items name, numbered
	deals      vocabulary
	domains    vocabulary
	apps       vocabulary
	categories vocabulary // of inventory
	regions    vocabulary
	cities     vocabulary
	carriers   vocabulary
	zips       vocabulary
	zipStarts  []int // lengths of the prefixes among zips, rising

	adCategories vocabulary // of creatives, with the parents of IAB forms
	advertisers  vocabulary // domains, with those above them
	adApps       vocabulary // bundles that creatives advertise
}

// maxLocal is how many countries a line item may name and still be kept in the
// partition of each. One that names more is kept in the common partition, once,
// so that memory grows with line items and not with countries.
const maxLocal = 8

// partition is a part of the line items with a bitset for each value of each
// dimension. Bit i is line item items[i].
type partition struct {
	items []int32 // positions in the Index, rising

	media [rtb.Native + 1]row // line items with a creative of that kind

	country, exchange, device, os, connection, language, kind dimension

	tags, deals, sizes union

	uncapped row // line items without frequency caps
}

// dimension answers which line items of a partition accept a value.
type dimension struct {
	rows table
	list []row // line items that name the value, or name none
	open row   // line items that name none
}

// row is nil when no line item of the partition is particular about it.
func (d *dimension) row(value uint32) row {
	if i := d.rows.find(value); i >= 0 {
		return d.list[i]
	}
	return d.open
}

// union answers which line items of a partition accept one of several values.
type union struct {
	sets table
	list []postings // line items that name the value
	open row        // line items that name none; nil when none is particular
}

func (u *union) set(value uint32) *postings {
	if i := u.sets.find(value); i >= 0 {
		return &u.list[i]
	}
	return nil
}

// Build returns an Index of its own sorted copy of items. The slices that items
// point to are shared and must not change any more. The error names every line
// item and field that is wrong.
func Build(items []rtb.LineItem) (*Index, error) {
	x := &Index{items: make([]rtb.LineItem, len(items)), deals: vocabulary{exact: true}}
	order := make([]int32, len(items)) // a line item is too large to be moved about
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		a, b := &items[i], &items[j]
		return cmp.Or(cmp.Compare(b.Goal.Max, a.Goal.Max), cmp.Compare(a.ID, b.ID), cmp.Compare(i, j))
	})
	for to, from := range order {
		x.items[to] = items[from]
	}
	var errs []error
	x.entries = make([]entry, len(x.items))
	clocks := newClockSet()
	for i := range x.items {
		if err := x.compile(&x.entries[i], &x.items[i], clocks); err != nil {
			errs = append(errs, fmt.Errorf("line item %q: %w", x.items[i].Key, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	x.clocks = clocks.list
	slices.Sort(x.seats)
	x.seats = slices.Compact(x.seats)
	slices.Sort(x.zipStarts)
	x.compiled = nil
	x.markCounted()
	x.divide()
	return x, nil
}

// LineItems are the line items by descending price ceiling. They belong to the
// Index.
func (x *Index) LineItems() []rtb.LineItem { return x.items }

// divide puts the line items into their partitions.
func (x *Index) divide() {
	var common []int32
	var local [][]int32
	for i := range x.items {
		codes := x.items[i].Targeting.Countries
		if len(codes) == 0 || len(codes) > maxLocal {
			common = append(common, int32(i))
			continue
		}
		for _, code := range codes {
			n := x.countries.intern(pair(code))
			if int(n) == len(local) {
				local = append(local, nil)
			}
			if last := len(local[n]) - 1; last < 0 || local[n][last] != int32(i) {
				local[n] = append(local[n], int32(i))
			}
		}
	}
	var b partitionBuilder
	b.build(x, &x.common, common, true)
	x.local = make([]partition, len(local))
	for n := range local {
		b.build(x, &x.local[n], local[n], false)
	}
}

// pair is a country or language code as a number, ASCII letters folded.
func pair(code [2]byte) uint32 { return uint32(lower(code[0]))<<8 | uint32(lower(code[1])) }

func sizeKey(s rtb.Size) uint32 { return uint32(s.W)<<16 | uint32(s.H) }

// partitionBuilder collects the positions of a partition by value. It is
// reused, as most partitions are small.
type partitionBuilder struct {
	country, exchange, device, os, connection, language, kind, tags, deals, sizes columnBuilder
	keys                                                                          []uint32
}

func (b *partitionBuilder) build(x *Index, p *partition, items []int32, countries bool) {
	p.items, p.uncapped = items, newRow(len(items))
	columns := [...]*columnBuilder{&b.country, &b.exchange, &b.device, &b.os, &b.connection, &b.language,
		&b.kind, &b.tags, &b.deals, &b.sizes}
	for _, c := range columns {
		c.reset()
	}
	for at, position := range items {
		i := int32(at)
		item, e := &x.items[position], &x.entries[position]
		t := &item.Targeting
		if countries {
			b.country.add(i, b.pairs(t.Countries))
		}
		b.exchange.add(i, numbers(b, t.Exchanges))
		b.device.add(i, numbers(b, t.Devices))
		b.os.add(i, numbers(b, t.OS))
		b.connection.add(i, numbers(b, t.Connections))
		b.language.add(i, b.pairs(t.Languages))
		b.kind.add(i, numbers(b, t.Media))
		b.tags.add(i, x.required(e))
		if e.needs&needDeals != 0 {
			b.deals.add(i, x.rules[e.rules].deals)
		} else {
			b.deals.add(i, nil)
		}
		if e.needs&needCaps == 0 {
			p.uncapped.set(i)
		}
		for k := range x.creativesOf(e) {
			c := &x.creativesOf(e)[k]
			if p.media[c.media] == nil {
				p.media[c.media] = newRow(len(items))
			}
			p.media[c.media].set(i)
			if c.media == rtb.Banner {
				b.sizes.add(i, append(b.keys[:0], c.size))
			}
		}
	}
	n := len(items)
	b.country.dimension(&p.country, n)
	b.exchange.dimension(&p.exchange, n)
	b.device.dimension(&p.device, n)
	b.os.dimension(&p.os, n)
	b.connection.dimension(&p.connection, n)
	b.language.dimension(&p.language, n)
	b.kind.dimension(&p.kind, n)
	b.tags.union(&p.tags, n)
	b.deals.union(&p.deals, n)
	b.sizes.union(&p.sizes, n)
}

// required are the numbers of segments of which the user must be in one for
// the line item to have a chance.
func (x *Index) required(e *entry) []uint32 {
	switch {
	case e.needs&needAny != 0:
		return x.rules[e.rules].any
	case e.needs&needAll != 0:
		return x.rules[e.rules].all[:1]
	}
	return nil
}

func (b *partitionBuilder) pairs(codes [][2]byte) []uint32 {
	b.keys = b.keys[:0]
	for _, code := range codes {
		b.keys = append(b.keys, pair(code))
	}
	return b.keys
}

func numbers[T ~uint8](b *partitionBuilder, values []T) []uint32 {
	b.keys = b.keys[:0]
	for _, v := range values {
		b.keys = append(b.keys, uint32(v))
	}
	return b.keys
}

// columnBuilder collects, for one dimension, the line items by value.
type columnBuilder struct {
	values table
	lists  [][]int32
	open   []int32
}

func (c *columnBuilder) reset() {
	c.values = table{}
	c.lists = c.lists[:0]
	c.open = c.open[:0]
}

// add puts line item i under each of its values, or under none.
func (c *columnBuilder) add(i int32, values []uint32) {
	if len(values) == 0 {
		c.open = append(c.open, i)
	}
	for _, v := range values {
		n := int(c.values.intern(v))
		if n == len(c.lists) {
			if n < cap(c.lists) {
				c.lists = c.lists[:n+1]
				c.lists[n] = c.lists[n][:0]
			} else {
				c.lists = append(c.lists, nil)
			}
		}
		c.lists[n] = append(c.lists[n], i)
	}
}

func (c *columnBuilder) openRow(lineItems int) row {
	r := newRow(lineItems)
	for _, i := range c.open {
		r.set(i)
	}
	return r
}

func (c *columnBuilder) dimension(d *dimension, lineItems int) {
	if len(c.lists) == 0 {
		return
	}
	d.rows, d.open = c.values, c.openRow(lineItems)
	d.list = make([]row, len(c.lists))
	for n, list := range c.lists {
		d.list[n] = slices.Clone(d.open)
		for _, i := range list {
			d.list[n].set(i)
		}
	}
}

func (c *columnBuilder) union(u *union, lineItems int) {
	if len(c.lists) == 0 {
		return
	}
	u.sets, u.open = c.values, c.openRow(lineItems)
	u.list = make([]postings, len(c.lists))
	for n, list := range c.lists {
		u.list[n] = newPostings(list, lineItems)
	}
}
