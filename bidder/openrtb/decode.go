package openrtb

import (
	"bytes"
	"errors"
	"math"
	"math/bits"
	"time"

	"bidwell/rtb"
)

// Errors of a request that is JSON but cannot be answered at all: all of them
// mean HTTP 400.
var (
	// ErrNoID means that the request has no id that an answer could echo.
	ErrNoID = errors.New("openrtb: no id")
	// ErrNoImp means that imp is not an array with at least one object.
	ErrNoImp = errors.New("openrtb: no imp")
)

// Limits of what is kept of a request. Beyond those of imps, formats, deals,
// extended identifiers and sellers the rest is ignored. A blocklist that is cut
// makes every imp Broken instead, so that no bid can violate what was cut.
const (
	MaxImps    = 64
	MaxFormats = 64
	MaxDeals   = 256
	MaxBlocked = 100_000 // of bcat, badv, bapp and bseat each
	MaxEIDs    = 32
	MaxSellers = 32

	maxAllowed    = 1000 // of wseat, wlang and wadomain each
	maxCurrencies = 64
	maxCategories = 256 // of the inventory
	maxDurations  = 64
)

// maxTMax keeps odd times out of arithmetic; no exchange waits for an hour.
const maxTMax = time.Hour

// decoder is the state of one [Decode].
type decoder struct {
	scanner
	req *rtb.Request

	cut         bool  // a blocklist was longer than MaxBlocked
	inventories uint8 // bits of the objects there are among site, app and dooh

	chain   bool // source.schain was there, so source.ext.schain does not count
	eids    uint8
	geos    [2]rtb.Geo // of device and of user
	signals [placeCount]placeSignals
	lmt     bool // device.lmt
	dnt     bool // device.dnt
	dsa     [2]rtb.DSA
	badUser bool // user is there, but is no object
	badDev  bool // the same of device
	badRegs bool // the same of regs
}

// Decode reads one OpenRTB 2.x bid request into req, which it resets first.
// What it fills aliases body and req.Arena. The error is [ErrSyntax],
// [ErrDepth], [ErrNoID] or [ErrNoImp]; req is then not to be used.
//
// Of a key that an object has twice the last counts. Keys are case-sensitive,
// as JSON's are. A byte order mark in UTF-8 is skipped.
func Decode(body []byte, req *rtb.Request) error {
	req.Reset()
	req.Auction = 2
	var d decoder
	d.buf = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	d.arena = req.Arena
	d.req = req
	if d.space() != '{' {
		return ErrSyntax
	}
	d.request()
	d.space()
	if d.err == nil && d.pos != len(d.buf) {
		d.err = ErrSyntax
	}
	req.Arena = d.arena // what it grew to, also after an error
	switch {
	case d.err != nil:
		return d.err
	case req.ID == nil:
		return ErrNoID
	case len(req.Imps) == 0:
		return ErrNoImp
	}
	d.finish()
	return nil
}

func (d *decoder) request() {
	req := d.req
	var cut bool
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "id":
			req.ID = d.token()
		case "imp":
			d.imps()
		case "site":
			d.inventory(rtb.Site)
		case "app":
			d.inventory(rtb.App)
		case "dooh":
			d.inventory(rtb.DOOH)
		case "device":
			d.device()
		case "user":
			d.user()
		case "at":
			req.Auction = d.auction(2)
		case "tmax":
			req.TMax = d.tmax()
		case "cur":
			d.currencies()
		case "test":
			req.Test = d.flag(true)
		case "allimps":
			req.AllImps = d.flag(true)
		case "wseat":
			req.Seats = d.allowlist(req.Seats[:0])
		case "bseat":
			req.NoSeats, cut = d.blocklist(req.NoSeats[:0], MaxBlocked)
			d.cut = d.cut || cut
		case "wlang", "wlangb":
			d.languages()
		case "bcat":
			req.Blocked.Categories, cut = d.blocklist(req.Blocked.Categories[:0], MaxBlocked)
			d.cut = d.cut || cut
		case "cattax":
			req.Blocked.Taxonomy = uint16(d.count(math.MaxUint16))
		case "badv":
			req.Blocked.Advertisers, cut = d.blocklist(req.Blocked.Advertisers[:0], MaxBlocked)
			d.cut = d.cut || cut
		case "bapp":
			req.Blocked.Apps, cut = d.blocklist(req.Blocked.Apps[:0], MaxBlocked)
			d.cut = d.cut || cut
		case "source":
			d.source()
		case "regs":
			d.regs()
		default:
			d.skip()
		}
	}
}

// auction reads an auction type; unsaid is the answer for none.
func (d *decoder) auction(unsaid uint16) uint16 {
	if v := d.count(math.MaxUint16); v > 0 {
		return uint16(v)
	}
	return unsaid
}

func (d *decoder) tmax() time.Duration {
	ms, _ := d.integer()
	if ms <= 0 {
		return 0
	}
	return time.Duration(min(ms, maxTMax.Milliseconds())) * time.Millisecond
}

func (d *decoder) currencies() {
	list := d.req.Currencies[:0]
	if d.peek() == '[' {
		for ok := d.firstItem(); ok; ok = d.nextItem() {
			if c := d.currency(); c != (rtb.Currency{}) && len(list) < maxCurrencies {
				list = append(list, c)
			}
		}
	} else if c := d.currency(); c != (rtb.Currency{}) {
		list = append(list, c)
	}
	d.req.Currencies = list
}

// languages reads wlang or wlangb; the specification allows only one of them,
// so a second adds to the first.
func (d *decoder) languages() {
	req := d.req
	start := len(req.Languages)
	req.Languages = d.allowlist(req.Languages)
	kept := req.Languages[:start]
	for _, language := range req.Languages[start:] {
		if len(language) > 0 {
			kept = append(kept, language)
		}
	}
	req.Languages = kept
}

// finish settles what only the whole request can tell.
func (d *decoder) finish() {
	req := d.req
	req.Geo = d.geos[0]
	if emptyGeo(&req.Geo) {
		req.Geo = d.geos[1]
	}
	d.judge()
	imps := req.Imps
	if len(imps) > 1 {
		d.repeated(imps)
	}
	// Nobody can tell where an ad would show that two objects describe.
	if d.cut || bits.OnesCount8(d.inventories) > 1 {
		for i := range imps {
			imps[i].Broken = true
		}
	}
	req.Arena = d.arena
}

// repeated marks the imps whose ids say the same, which may be escaped
// differently. It borrows the end of the arena, and unescapes each id once.
func (d *decoder) repeated(imps []rtb.Imp) {
	var ids [MaxImps][]byte
	start := len(d.arena)
	for i := range imps {
		ids[i] = imps[i].ID.Text()
		if bytes.IndexByte(ids[i], '\\') >= 0 {
			ids[i] = d.unescape(ids[i])
		}
		for j := range i {
			if bytes.Equal(ids[i], ids[j]) {
				imps[i].Broken, imps[j].Broken = true, true
			}
		}
	}
	d.arena = d.arena[:start]
}
