package openrtb

import (
	"bytes"

	"bidwell/rtb"
)

// inventory reads app, site or dooh, unless one that goes before it was there
// already: app, then site, then dooh.
func (d *decoder) inventory(kind rtb.InventoryKind) {
	inv := &d.req.Inventory
	if is, _ := d.object(); !is {
		d.inventories &^= 1 << kind
		if inv.Kind == kind {
			*inv = rtb.Inventory{Categories: inv.Categories[:0]}
		}
		return
	}
	d.inventories |= 1 << kind
	if inv.Kind == rtb.App && kind != rtb.App || inv.Kind == rtb.Site && kind == rtb.DOOH {
		d.skip()
		return
	}
	*inv = rtb.Inventory{Kind: kind, Categories: inv.Categories[:0]}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "id":
			inv.ID = d.text()
		case "domain":
			inv.Domain = d.text()
		case "bundle":
			inv.Bundle = d.text()
		case "page":
			inv.Page = d.text()
		case "storeurl":
			inv.StoreURL = d.text()
		case "cat":
			inv.Categories, _ = d.blocklist(inv.Categories[:0], maxCategories)
		case "keywords":
			inv.Keywords = d.text()
		case "publisher":
			d.publisher(inv)
		case "content":
			d.content(inv)
		default:
			d.skip()
		}
	}
	if kind == rtb.Site && len(inv.Domain) == 0 {
		inv.Domain = hostOf(inv.Page)
	}
}

func (d *decoder) publisher(inv *rtb.Inventory) {
	inv.Publisher = nil
	if is, _ := d.object(); !is {
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		if string(key) == "id" {
			inv.Publisher = d.text()
		} else {
			d.skip()
		}
	}
}

func (d *decoder) content(inv *rtb.Inventory) {
	inv.Content, inv.Livestream, inv.Language = nil, false, [2]byte{}
	if is, _ := d.object(); !is {
		return
	}
	var language, langb [2]byte
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "id":
			inv.Content = d.text()
		case "livestream":
			inv.Livestream = d.flag(false)
		case "language":
			language = languageOf(d.text())
		case "langb":
			langb = languageOf(d.text())
		default:
			d.skip()
		}
	}
	if inv.Language = language; language == [2]byte{} {
		inv.Language = langb
	}
}

// hostOf is the host of an address, with or without a scheme.
func hostOf(page []byte) []byte {
	host := page
	if i := bytes.Index(host, []byte("://")); i >= 0 {
		host = host[i+3:]
	}
	if i := bytes.IndexAny(host, "/?#\\"); i >= 0 {
		host = host[:i]
	}
	if i := bytes.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if i := bytes.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if bytes.IndexByte(host, '.') < 0 {
		return nil
	}
	return host
}

func (d *decoder) source() {
	d.resetChain()
	src := &d.req.Source
	src.TID = nil
	if is, _ := d.object(); !is {
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "tid":
			src.TID = d.text()
		case "schain":
			d.resetChain()
			if is, _ := d.object(); is {
				d.chain = true
				d.supplyChain()
			}
		case "ext":
			d.sourceExt()
		default:
			d.skip()
		}
	}
}

func (d *decoder) resetChain() {
	src := &d.req.Source
	src.Chain, src.ChainComplete, d.chain = src.Chain[:0], false, false
}

// sourceExt reads the supply chain in the place it had before OpenRTB 2.6.
func (d *decoder) sourceExt() {
	if !d.chain {
		d.resetChain()
	}
	if is, _ := d.object(); !is {
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		if string(key) != "schain" || d.chain || d.peek() != '{' {
			d.skip()
			continue
		}
		d.resetChain()
		d.supplyChain()
	}
}

// supplyChain reads a SupplyChain object. A chain with more sellers than are
// kept does not count as complete.
func (d *decoder) supplyChain() {
	src := &d.req.Source
	complete, cut := false, false
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch {
		case string(key) == "complete":
			complete = d.flag(false)
		case string(key) == "nodes" && d.peek() == '[':
			src.Chain = src.Chain[:0]
			for ok := d.firstItem(); ok; ok = d.nextItem() {
				if d.peek() == '{' && len(src.Chain) < MaxSellers {
					src.Chain = append(src.Chain, d.seller())
				} else {
					cut = true
					d.skip()
				}
			}
		default:
			d.skip()
		}
	}
	src.ChainComplete = complete && !cut
}

func (d *decoder) seller() (node rtb.SupplyNode) {
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "asi":
			node.ASI = d.text()
		case "sid":
			node.SID = d.text()
		case "hp":
			node.Pays = d.flag(false)
		default:
			d.skip()
		}
	}
	return node
}

// languageNames are the names that exchanges write where a code belongs.
var languageNames = [...]struct {
	name string
	code [2]byte
}{
	{"english", [2]byte{'e', 'n'}}, {"german", [2]byte{'d', 'e'}}, {"deutsch", [2]byte{'d', 'e'}},
	{"french", [2]byte{'f', 'r'}}, {"spanish", [2]byte{'e', 's'}}, {"italian", [2]byte{'i', 't'}},
	{"portuguese", [2]byte{'p', 't'}}, {"dutch", [2]byte{'n', 'l'}}, {"polish", [2]byte{'p', 'l'}},
	{"russian", [2]byte{'r', 'u'}}, {"turkish", [2]byte{'t', 'r'}}, {"arabic", [2]byte{'a', 'r'}},
	{"hindi", [2]byte{'h', 'i'}}, {"chinese", [2]byte{'z', 'h'}}, {"japanese", [2]byte{'j', 'a'}},
	{"korean", [2]byte{'k', 'o'}},
}

// languageOf is the ISO 639-1 code, in lower case, that a language tag such as
// "en-US,en;q=0.5" starts with, or that a name such as "English" means.
func languageOf(tag []byte) [2]byte {
	n := 0
	for n < len(tag) && letter(tag[n]) {
		n++
	}
	if n == 2 {
		return [2]byte{tag[0] | 0x20, tag[1] | 0x20}
	}
	for _, l := range languageNames {
		if equalFold(tag[:n], l.name) {
			return l.code
		}
	}
	return [2]byte{}
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
