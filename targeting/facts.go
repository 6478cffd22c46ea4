package targeting

import (
	"github.com/golang/geo/s2"

	"bidwell/rtb"
)

// requestFacts is what line items ask of a request in terms of the numbers of
// the vocabularies. Each fact is found out when the first line item asks.
type requestFacts struct {
	known facts

	regions []uint32
	city    int32
	zips    []uint32
	precise bool
	point   s2.Point
	leaf    s2.CellID

	carriers   []uint32
	domains    []uint32 // of the inventory, with those above it
	app        int32
	categories []uint32 // of the inventory, with the parents of IAB forms

	adCategories, advertisers, adApps flags // blocked

	text []byte
}

// facts are those that are known.
type facts uint8

const (
	factPlace facts = 1 << iota
	factCarrier
	factInventory
	factCategories
	factBlockedCategories
	factBlockedAdvertisers
	factBlockedApps
)

func (f *requestFacts) reset() { f.known = 0 }

// adopt makes room for what depends on the Index.
func (f *requestFacts) adopt(x *Index) {
	f.adCategories.grow(x.adCategories.len())
	f.advertisers.grow(x.advertisers.len())
	f.adApps.grow(x.adApps.len())
	f.known = 0
}

// need reports whether a fact has still to be found out, and marks it.
func (f *requestFacts) need(fact facts) bool {
	if f.known&fact != 0 {
		return false
	}
	f.known |= fact
	return true
}

// locate reads region, city, zip and point.
func (f *requestFacts) locate(x *Index, g *rtb.Geo) {
	if !f.need(factPlace) {
		return
	}
	f.regions = f.regions[:0]
	f.city = -1
	f.zips = f.zips[:0]
	if x.regions.len() > 0 {
		f.region(x, g)
	}
	if x.cities.len() > 0 && len(g.City) <= maxText {
		f.text = appendFolded(f.text[:0], g.City)
		f.city = x.cities.find(f.text)
	}
	if x.zips.len() > 0 && len(g.Zip) > 0 && len(g.Zip) <= maxText {
		f.zip(x, g.Zip)
	}
	f.precise = g.HasPoint && g.Precise
	if f.precise {
		f.point = pointOf(g.Lat, g.Lon)
		f.leaf = leafOf(g.Lat, g.Lon)
	}
}

// region looks up "ca" and "us-ca". Requests write either; one that contradicts
// the country is no region of it.
func (f *requestFacts) region(x *Index, g *rtb.Geo) {
	if len(g.Region) == 0 || len(g.Region) > maxText {
		return
	}
	country := g.Country
	f.text = append(f.text[:0], "xx-"...)
	f.text = appendFolded(f.text, g.Region)
	full, region := f.text, f.text[3:]
	if len(region) > 3 && region[2] == '-' && isLetter(region[0]) && isLetter(region[1]) {
		own := [2]byte{region[0], region[1]}
		if country != [2]byte{} && pair(country) != pair(own) {
			return
		}
		country = own
		full, region = region, region[3:]
	}
	if country == [2]byte{} {
		return // which of the many called CA?
	}
	full[0], full[1] = lower(country[0]), lower(country[1])
	if n := x.regions.find(full); n >= 0 {
		f.regions = append(f.regions, uint32(n))
	}
	if n := x.regions.find(region); n >= 0 {
		f.regions = append(f.regions, uint32(n))
	}
}

// zip looks up the whole code and those of its beginnings that line items name.
func (f *requestFacts) zip(x *Index, zip []byte) {
	f.text = appendZip(f.text[:0], zip)
	if n := x.zips.find(f.text); n >= 0 {
		f.zips = append(f.zips, uint32(n))
	}
	whole := len(f.text)
	for _, n := range x.zipStarts {
		if n > whole {
			break
		}
		// The beginning and its star go behind the code itself.
		f.text = append(append(f.text[:whole], f.text[:n]...), '*')
		if n := x.zips.find(f.text[whole:]); n >= 0 {
			f.zips = append(f.zips, uint32(n))
		}
	}
}

// carriersOf looks up the carrier by name and by MCC-MNC.
func (f *requestFacts) carriersOf(x *Index, d *rtb.Device) []uint32 {
	if !f.need(factCarrier) {
		return f.carriers
	}
	f.carriers = f.carriers[:0]
	for _, name := range [...][]byte{d.Carrier, d.MCCMNC} {
		if len(name) == 0 || len(name) > maxText {
			continue
		}
		f.text = appendFolded(f.text[:0], name)
		if n := x.carriers.find(f.text); n >= 0 {
			f.carriers = append(f.carriers, uint32(n))
		}
	}
	return f.carriers
}

// inventory looks up the domain, those above it, and the bundle.
func (f *requestFacts) inventory(x *Index, v *rtb.Inventory) {
	if !f.need(factInventory) {
		return
	}
	f.domains = f.domains[:0]
	if domain := trimDomain(v.Domain); x.domains.len() > 0 && len(domain) <= maxText {
		for ; len(domain) > 0; domain = parentDomain(domain) {
			if n := x.domains.find(domain); n >= 0 {
				f.domains = append(f.domains, uint32(n))
			}
		}
	}
	f.app = -1
	if len(v.Bundle) > 0 {
		f.app = x.apps.find(v.Bundle)
	}
}

func (f *requestFacts) isApp(list []uint32) bool {
	return f.app >= 0 && contains(list, uint32(f.app))
}

// categoriesOf looks up the categories of the inventory and their parents.
func (f *requestFacts) categoriesOf(x *Index, v *rtb.Inventory) []uint32 {
	if !f.need(factCategories) {
		return f.categories
	}
	f.categories = f.categories[:0]
	for _, category := range v.Categories {
		if n := x.categories.find(category); n >= 0 {
			f.categories = append(f.categories, uint32(n))
		}
		if n := x.categories.find(parentCategory(category)); n >= 0 {
			f.categories = append(f.categories, uint32(n))
		}
	}
	return f.categories
}

// blockedCategories are those of bcat that creatives have. A list of any
// length is looked up once per request.
func (m *Matches) blockedCategories() *flags {
	f := &m.request
	if f.need(factBlockedCategories) {
		f.adCategories.clear()
		for _, category := range m.context.Request.Blocked.Categories {
			if n := m.index.adCategories.find(category); n >= 0 {
				f.adCategories.add(uint32(n))
			}
		}
		if len(f.adCategories.list) == 0 {
			m.demands &^= demandCategories // none of ours: ask no more
		}
	}
	return &f.adCategories
}

// blockedAdvertisers are those of badv that creatives name or are below.
func (m *Matches) blockedAdvertisers() *flags {
	f := &m.request
	if f.need(factBlockedAdvertisers) {
		f.advertisers.clear()
		for _, domain := range m.context.Request.Blocked.Advertisers {
			if n := m.index.advertisers.find(trimDomain(domain)); n >= 0 {
				f.advertisers.add(uint32(n))
			}
		}
		if len(f.advertisers.list) == 0 {
			m.demands &^= demandAdvertisers // none of ours: ask no more
		}
	}
	return &f.advertisers
}

// blockedApps are those of bapp that creatives advertise.
func (m *Matches) blockedApps() *flags {
	f := &m.request
	if f.need(factBlockedApps) {
		f.adApps.clear()
		for _, bundle := range m.context.Request.Blocked.Apps {
			if n := m.index.adApps.find(bundle); n >= 0 {
				f.adApps.add(uint32(n))
			}
		}
		if len(f.adApps.list) == 0 {
			m.demands &^= demandApps // none of ours: ask no more
		}
	}
	return &f.adApps
}
