package openrtb

import (
	"bytes"
	"math"

	"bidwell/rtb"
)

// place is one of the objects where privacy signals are found. The old and the
// new place of a signal are read apart, so that what a repeated object said
// first is forgotten, and judged together.
type place uint8

const (
	inRegs place = iota
	inRegsExt
	inUser
	inUserExt
	placeCount
)

// placeSignals is what one place says.
type placeSignals struct {
	gdpr, coppa             bool
	consent, usPrivacy, gpp []byte
	sections                rtb.Bits
	odd                     rtb.Bits // by signal: what could not be read
}

// signal numbers the members of placeSignals.
const (
	gdprSignal uint8 = iota
	coppaSignal
	consentSignal
	usPrivacySignal
	gppSignal
	sectionsSignal
)

// mark notes whether the last value of a signal could be read.
func (p *placeSignals) mark(signal uint8, isOdd bool) {
	p.odd &^= 1 << signal
	if isOdd {
		p.odd |= 1 << signal
	}
}

// judge settles the privacy signals of the request. Of two places the stricter
// counts; where two strings differ nobody can tell which, which is as bad as
// one that cannot be read.
func (d *decoder) judge() {
	sig := &d.req.Signals
	sig.LMT = d.lmt || d.dnt
	sig.Malformed = d.badUser || d.badDev || d.badRegs
	for i := range d.signals {
		p := &d.signals[i]
		sig.GDPR = sig.GDPR || p.gdpr
		sig.COPPA = sig.COPPA || p.coppa
		sig.GPPSID |= p.sections
		differ := merge(&sig.Consent, p.consent)
		differ = merge(&sig.USPrivacy, p.usPrivacy) || differ
		differ = merge(&sig.GPP, p.gpp) || differ
		sig.Malformed = sig.Malformed || differ || p.odd != 0
	}
	dsa := &d.req.DSA
	for _, other := range d.dsa {
		dsa.Present = dsa.Present || other.Present
		dsa.Required = max(dsa.Required, other.Required)
		dsa.PubRender = max(dsa.PubRender, other.PubRender)
	}
}

// merge keeps the first string that says anything and reports whether another
// contradicts it.
func merge(kept *[]byte, text []byte) (differ bool) {
	if len(text) == 0 {
		return false
	}
	if len(*kept) == 0 {
		*kept = text
		return false
	}
	return !bytes.Equal(*kept, text)
}

// container is true at an object. Null, an empty string and an empty array,
// which some languages write for an empty object, are skipped as absent; any
// other value is odd.
func (d *decoder) container() (is, isOdd bool) {
	c := d.peek()
	if c == '{' {
		return true, false
	}
	v := d.value()
	switch c {
	case 'n':
		return false, false
	case '"':
		return false, len(v) > 2
	case '[':
		return false, len(v) < 2 || len(bytes.TrimSpace(v[1:len(v)-1])) > 0
	}
	return false, true
}

// signalText reads a privacy string, which must be a string.
func (d *decoder) signalText() (text []byte, isOdd bool) {
	switch d.peek() {
	case '"':
		return d.text(), false
	case 'n':
		d.skip()
		return nil, false
	}
	d.skip()
	return nil, true
}

func (d *decoder) regs() {
	d.badRegs = false
	d.signals[inRegs], d.signals[inRegsExt] = placeSignals{}, placeSignals{}
	d.dsa = [2]rtb.DSA{}
	is, unread := d.container()
	if !is {
		d.badRegs = unread
		return
	}
	d.regsAt(inRegs)
}

// regsAt reads the regs object or its ext, which may hold the same.
func (d *decoder) regsAt(at place) {
	p := &d.signals[at]
	var isOdd bool
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "gdpr":
			p.gdpr, isOdd = d.restriction()
			p.mark(gdprSignal, isOdd)
		case "coppa":
			p.coppa, isOdd = d.restriction()
			p.mark(coppaSignal, isOdd)
		case "us_privacy":
			p.usPrivacy, isOdd = d.signalText()
			p.mark(usPrivacySignal, isOdd)
		case "gpp":
			p.gpp, isOdd = d.signalText()
			p.mark(gppSignal, isOdd)
		case "gpp_sid":
			p.sections, isOdd = d.bits()
			p.mark(sectionsSignal, isOdd)
		case "dsa":
			d.dsa[at] = d.transparency()
		case "ext":
			if at != inRegs {
				d.skip()
				continue
			}
			d.signals[inRegsExt], d.dsa[inRegsExt] = placeSignals{}, rtb.DSA{}
			is, unread := d.container()
			d.badRegs = unread
			if is {
				d.regsAt(inRegsExt)
			}
		default:
			d.skip()
		}
	}
}

// transparency reads a DSA object. One that cannot be read demands the most.
func (d *decoder) transparency() (dsa rtb.DSA) {
	is, unread := d.container()
	if !is {
		if unread {
			dsa = rtb.DSA{Present: true, Required: 3}
		}
		return dsa
	}
	dsa.Present = true
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "dsarequired":
			v, r := d.integer()
			if r == odd {
				v = 3
			}
			dsa.Required = uint8(max(0, min(v, math.MaxUint8)))
		case "pubrender":
			dsa.PubRender = uint8(d.count(math.MaxUint8))
		default:
			d.skip()
		}
	}
	return dsa
}

func (d *decoder) user() {
	user := &d.req.User
	*user = rtb.User{EIDs: user.EIDs[:0]}
	d.geos[1] = rtb.Geo{}
	d.badUser, d.eids = false, 0
	d.signals[inUser], d.signals[inUserExt] = placeSignals{}, placeSignals{}
	is, unread := d.container()
	if !is {
		d.badUser = unread
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "id":
			user.ID = d.text()
		case "buyeruid":
			user.BuyerUID = d.text()
		case "yob":
			user.BirthYear = 0
			if year := d.count(math.MaxUint16); year >= 1900 && year < 2100 {
				user.BirthYear = uint16(year)
			}
		case "gender":
			user.Gender = genderOf(d.text())
		case "geo":
			d.geo(&d.geos[1])
		case "consent":
			d.consent(inUser)
		case "eids":
			d.userIDs(inUser)
		case "ext":
			d.userExt()
		default:
			d.skip()
		}
	}
}

// userExt reads what was in user.ext before OpenRTB 2.6.
func (d *decoder) userExt() {
	d.signals[inUserExt] = placeSignals{}
	is, unread := d.container()
	d.badUser = unread
	if !is {
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "consent":
			d.consent(inUserExt)
		case "eids":
			d.userIDs(inUserExt)
		default:
			d.skip()
		}
	}
}

func (d *decoder) consent(at place) {
	p := &d.signals[at]
	var isOdd bool
	p.consent, isOdd = d.signalText()
	p.mark(consentSignal, isOdd)
}

// userIDs reads a list of extended identifiers. Those of both places count; a
// place that comes twice starts the list anew.
func (d *decoder) userIDs(at place) {
	user := &d.req.User
	if seen := uint8(1) << at; d.eids&seen != 0 {
		user.EIDs, d.eids = user.EIDs[:0], seen
	} else {
		d.eids |= seen
	}
	if d.peek() != '[' {
		d.skip()
		return
	}
	for ok := d.firstItem(); ok; ok = d.nextItem() {
		if d.peek() != '{' || len(user.EIDs) >= MaxEIDs {
			d.skip()
			continue
		}
		start := len(user.EIDs)
		var source []byte
		for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
			switch string(key) {
			case "source":
				source = d.text()
			case "uids":
				user.EIDs = d.uids(user.EIDs[:start])
			default:
				d.skip()
			}
		}
		if len(source) == 0 {
			user.EIDs = user.EIDs[:start]
		}
		for i := range user.EIDs[start:] {
			user.EIDs[start+i].Source = source
		}
	}
}

func (d *decoder) uids(eids []rtb.EID) []rtb.EID {
	if d.peek() != '[' {
		d.skip()
		return eids
	}
	for ok := d.firstItem(); ok; ok = d.nextItem() {
		if d.peek() != '{' {
			d.skip()
			continue
		}
		var id []byte
		for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
			if string(key) == "id" {
				id = d.text()
			} else {
				d.skip()
			}
		}
		if len(id) > 0 && len(eids) < MaxEIDs {
			eids = append(eids, rtb.EID{ID: id})
		}
	}
	return eids
}

// genderOf reads M, F and O, in any case or as words.
func genderOf(text []byte) byte {
	switch {
	case equalFold(text, "m"), equalFold(text, "male"):
		return 'M'
	case equalFold(text, "f"), equalFold(text, "female"):
		return 'F'
	case equalFold(text, "o"), equalFold(text, "other"):
		return 'O'
	}
	return 0
}
