package targeting

import (
	"fmt"
	"math"

	"bidwell/rtb"
)

// template is the products that a creative may be shown with, by whom they are
// for: the lists of segments in the order in which the products name them, and
// at the end those for everybody.
type template struct {
	lists []productList
}

// productList is the ads of the products for one segment.
type productList struct {
	everybody bool
	tag       uint32
	ads       []*rtb.Creative
}

// compileTemplate numbers the products of c. Copies of a creative in several
// line items share them.
func (x *Index) compileTemplate(c *rtb.Creative) (uint16, error) {
	if n, ok := x.compiled[&c.Products[0]]; ok {
		return n, nil
	}
	var t template
	var open []*rtb.Creative
	lists := map[uint32]int{}
	for i := range c.Products {
		p := &c.Products[i]
		if p.Ad == nil {
			return 0, fmt.Errorf("products[%d]: has no ad", i)
		}
		if len(p.Segments) == 0 {
			open = append(open, p.Ad)
		}
		for _, segment := range p.Segments {
			tag := x.tags.intern(uint32(segment))
			n, ok := lists[tag]
			if !ok {
				n = len(t.lists)
				lists[tag] = n
				t.lists = append(t.lists, productList{tag: tag})
			}
			t.lists[n].ads = append(t.lists[n].ads, p.Ad)
		}
	}
	if len(open) > 0 {
		t.lists = append(t.lists, productList{everybody: true, ads: open})
	}
	if len(x.templates) == 0 {
		x.templates = append(x.templates, template{}) // zero is for none
		x.compiled = map[*rtb.Product]uint16{}
	}
	n := len(x.templates)
	if n > math.MaxUint16 {
		return 0, fmt.Errorf("products: more than %d creatives have some", math.MaxUint16)
	}
	x.templates = append(x.templates, t)
	x.compiled[&c.Products[0]] = uint16(n)
	return uint16(n), nil
}

// fill chooses the product that a template is shown with: one of those for the
// first segment that has any and that the user is in, else one of those for
// everybody, by chance. Of a native template it is one that has what the
// request wants.
func (m *Matches) fill(f *creative, imp *rtb.Imp, s *Fit) rtb.NoBid {
	lists := m.index.templates[f.template].lists
	for i := range lists {
		l := &lists[i]
		if !l.everybody && !m.tags.has(l.tag) {
			continue
		}
		at := coin(m.context.Coin, uint32(f.source.ID)*spread32^productChoice) % uint64(len(l.ads))
		for range l.ads {
			s.Creative = l.ads[at]
			if f.media != rtb.Native || m.context.Fit != nil && m.context.Fit(s.Creative, imp) == rtb.BidMade {
				return rtb.BidMade
			}
			if at++; at == uint64(len(l.ads)) {
				at = 0
			}
		}
	}
	s.Creative = f.source
	return rtb.ProductMissing
}

// productChoice keeps the coin of a product apart from that of a creative.
const productChoice = 0x70726F64
