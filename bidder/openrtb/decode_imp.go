package openrtb

import (
	"bytes"
	"math"

	"bidwell/rtb"
)

// imps reads the array of impressions. An entry that is no object is dropped;
// one without an id that an answer could name is Broken.
func (d *decoder) imps() {
	req := d.req
	req.Imps = req.Imps[:0]
	if d.peek() != '[' {
		d.skip()
		return
	}
	for ok := d.firstItem(); ok; ok = d.nextItem() {
		if d.peek() != '{' || len(req.Imps) >= MaxImps {
			d.skip()
			continue
		}
		d.imp(req.AddImp())
	}
}

func (d *decoder) imp(imp *rtb.Imp) {
	var unread bool
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "id":
			imp.ID = d.token()
		case "banner":
			imp.HasBanner = d.media(imp)
			imp.Banner = rtb.BannerSlot{Sizes: imp.Banner.Sizes[:0]}
			if imp.HasBanner {
				d.banner(imp)
			}
		case "video":
			imp.HasVideo = d.media(imp)
			imp.Video = rtb.StreamSlot{Durations: imp.Video.Durations[:0]}
			if imp.HasVideo {
				d.stream(imp, &imp.Video)
			}
		case "audio":
			imp.HasAudio = d.media(imp)
			imp.Audio = rtb.StreamSlot{Durations: imp.Audio.Durations[:0]}
			if imp.HasAudio {
				d.stream(imp, &imp.Audio)
			}
		case "native":
			imp.HasNative = d.media(imp)
			imp.Native = rtb.NativeSlot{}
			if imp.HasNative {
				d.native(imp)
			}
		case "pmp":
			d.pmp(imp)
		case "bidfloor":
			imp.Floor, unread = d.money()
			imp.Broken = imp.Broken || unread
		case "bidfloorcur":
			imp.FloorCur = d.currency()
		case "secure":
			imp.Secure = d.flag(true)
		case "instl":
			imp.Instl = d.flag(false)
		case "rwdd":
			imp.Rewarded = d.flag(false)
		case "tagid":
			imp.TagID = d.text()
		case "exp":
			imp.Expiry = uint32(d.count(math.MaxUint32))
		case "ext":
			d.impExt(imp)
		default:
			d.skip()
		}
	}
	if imp.ID == nil {
		imp.Broken = true
	}
}

// media is true at the object of a kind of media. Null is absent, and any
// other value breaks the imp.
func (d *decoder) media(imp *rtb.Imp) bool {
	is, unread := d.object()
	imp.Broken = imp.Broken || unread
	return is
}

func (d *decoder) impExt(imp *rtb.Imp) {
	imp.SKAdN = nil
	if is, _ := d.object(); !is {
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		if string(key) != "skadn" {
			d.skip()
			continue
		}
		imp.SKAdN = nil
		if d.peek() == '{' {
			imp.SKAdN = d.value()
		} else {
			d.skip()
		}
	}
}

// length reads a width, a height or another whole number that a bid must
// respect. What cannot be read, is negative or does not fit breaks the imp.
func (d *decoder) length(imp *rtb.Imp) uint16 {
	v, r := d.integer()
	if r == odd || v < 0 || v > math.MaxUint16 {
		imp.Broken = true
		return 0
	}
	return uint16(v)
}

// bound reads a number of seconds or the like, where more than fits means no
// bound and less than zero nothing. What cannot be read breaks the imp.
func (d *decoder) bound(imp *rtb.Imp, limit int64) int64 {
	v, r := d.integer()
	if r == odd && v < limit {
		imp.Broken = true
	}
	return max(0, min(v, limit))
}

// set reads a list of small integers that a bid must respect.
func (d *decoder) set(imp *rtb.Imp) rtb.Bits {
	b, unread := d.bits()
	imp.Broken = imp.Broken || unread
	return b
}

// allowed reads a list of the only values that a bid may have. One that the set
// cannot hold counts as 0, which no bid has: left out, it might lift the
// restriction.
func (d *decoder) allowed(imp *rtb.Imp) rtb.Bits {
	start := d.pos
	b := d.set(imp)
	if b == 0 && d.err == nil && bytes.ContainsAny(d.buf[start:d.pos], "0123456789") {
		b.Add(0)
	}
	return b
}

func (d *decoder) banner(imp *rtb.Imp) {
	slot := &imp.Banner
	var own rtb.Size
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "w":
			own.W = d.length(imp)
		case "h":
			own.H = d.length(imp)
		case "format":
			d.formats(imp)
		case "mimes":
			slot.Mimes = d.mimes()
		case "battr":
			slot.BlockedAttrs = d.set(imp)
		case "btype":
			slot.BlockedTypes = d.set(imp)
		case "api":
			slot.APIs = d.set(imp)
		case "pos":
			slot.Position = uint8(d.count(math.MaxUint8))
		default:
			d.skip()
		}
	}
	slot.AnySize = len(slot.Sizes) == 0 && own == rtb.Size{}
	addSize(slot, own)
}

func (d *decoder) formats(imp *rtb.Imp) {
	slot := &imp.Banner
	slot.Sizes = slot.Sizes[:0]
	switch d.peek() {
	case '[':
		for ok := d.firstItem(); ok; ok = d.nextItem() {
			d.format(imp)
		}
	default: // one object stands for an array of one
		d.format(imp)
	}
}

func (d *decoder) format(imp *rtb.Imp) {
	is, unread := d.object()
	imp.Broken = imp.Broken || unread
	if !is {
		return
	}
	var size rtb.Size
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "w":
			size.W = d.length(imp)
		case "h":
			size.H = d.length(imp)
		default:
			d.skip()
		}
	}
	if len(imp.Banner.Sizes) < MaxFormats {
		addSize(&imp.Banner, size)
	}
}

// addSize appends a size that has both sides and is not there yet.
func addSize(slot *rtb.BannerSlot, size rtb.Size) {
	if size.W == 0 || size.H == 0 {
		return
	}
	for _, s := range slot.Sizes {
		if s == size {
			return
		}
	}
	slot.Sizes = append(slot.Sizes, size)
}

func (d *decoder) stream(imp *rtb.Imp, slot *rtb.StreamSlot) {
	var unread bool
	var protocol rtb.Bits
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "mimes":
			slot.Mimes = d.mimes()
		case "minduration":
			slot.MinDuration = uint16(d.bound(imp, math.MaxUint16))
		case "maxduration":
			slot.MaxDuration = uint16(d.bound(imp, math.MaxUint16))
		case "protocols":
			slot.Protocols = d.allowed(imp)
		case "protocol": // OpenRTB 2.0 and 2.1
			protocol = d.allowed(imp)
		case "w":
			slot.W = d.length(imp)
		case "h":
			slot.H = d.length(imp)
		case "startdelay":
			v, _ := d.integer()
			slot.StartDelay = int32(max(math.MinInt32, min(v, math.MaxInt32)))
		case "linearity":
			slot.Linearity = uint8(d.bound(imp, math.MaxUint8))
		case "placement":
			slot.Placement = uint8(d.count(math.MaxUint8))
		case "plcmt":
			slot.Plcmt = uint8(d.count(math.MaxUint8))
		case "pos":
			slot.Position = uint8(d.count(math.MaxUint8))
		case "skip":
			slot.Skip = d.flag(false)
		case "delivery":
			slot.Delivery = d.set(imp)
		case "api":
			slot.APIs = d.set(imp)
		case "battr":
			slot.BlockedAttrs = d.set(imp)
		case "minbitrate":
			slot.MinBitrate = uint32(d.bound(imp, math.MaxUint32))
		case "maxbitrate":
			slot.MaxBitrate = uint32(d.bound(imp, math.MaxUint32))
		case "rqddurs":
			d.durations(imp, slot)
		case "podid":
			slot.PodID = d.text()
		case "poddur":
			slot.PodDuration = uint16(d.bound(imp, math.MaxUint16))
		case "podseq":
			slot.PodSequence = d.place()
		case "maxseq":
			slot.MaxSequence = uint16(d.bound(imp, math.MaxUint16))
		case "slotinpod":
			slot.SlotInPod = d.place()
		case "mincpmpersec":
			slot.MinCPMPerSecond, unread = d.money()
			imp.Broken = imp.Broken || unread
		default:
			d.skip()
		}
	}
	slot.Protocols |= protocol
}

// place reads a place in a pod, which may be negative: -1 is the last.
func (d *decoder) place() int8 {
	v, _ := d.integer()
	return int8(max(math.MinInt8, min(v, math.MaxInt8)))
}

func (d *decoder) durations(imp *rtb.Imp, slot *rtb.StreamSlot) {
	slot.Durations = slot.Durations[:0]
	if d.peek() != '[' {
		if v := d.bound(imp, math.MaxUint16); v > 0 {
			slot.Durations = append(slot.Durations, uint16(v))
		}
		return
	}
	for ok := d.firstItem(); ok; ok = d.nextItem() {
		if v := d.bound(imp, math.MaxUint16); v > 0 && len(slot.Durations) < maxDurations {
			slot.Durations = append(slot.Durations, uint16(v))
		}
	}
}

// native reads the native object. Its request is a string of JSON, the JSON
// itself, or, in the manner of version 1.0, spread over the native object.
func (d *decoder) native(imp *rtb.Imp) {
	slot := &imp.Native
	start, assets := d.pos, false
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "request":
			slot.Request = nil
			switch d.peek() {
			case '"':
				slot.Request = d.text()
			case '{':
				slot.Request = d.value()
			default:
				d.skip()
			}
		case "assets":
			assets = d.peek() == '['
			d.skip()
		case "api":
			slot.APIs = d.set(imp)
		case "battr":
			slot.BlockedAttrs = d.set(imp)
		default:
			d.skip()
		}
	}
	if len(slot.Request) == 0 && assets && d.err == nil {
		slot.Request = d.buf[start:d.pos]
	}
}

func (d *decoder) pmp(imp *rtb.Imp) {
	imp.Private, imp.Deals = false, imp.Deals[:0]
	is, unread := d.object()
	imp.Broken = imp.Broken || unread
	if !is {
		return
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "private_auction":
			imp.Private = d.flag(true)
		case "deals":
			d.deals(imp)
		default:
			d.skip()
		}
	}
}

// deals reads the deals of an imp. One that cannot be named or whose terms
// cannot be read is dropped, which leaves the open auction as it was.
func (d *decoder) deals(imp *rtb.Imp) {
	imp.Deals = imp.Deals[:0]
	if d.peek() != '[' {
		d.skip()
		return
	}
	for ok := d.firstItem(); ok; ok = d.nextItem() {
		if d.peek() != '{' || len(imp.Deals) >= MaxDeals {
			d.skip()
			continue
		}
		if !d.deal(imp.AddDeal()) {
			imp.Deals = imp.Deals[:len(imp.Deals)-1]
		}
	}
}

func (d *decoder) deal(deal *rtb.Deal) (usable bool) {
	unread := false
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "id":
			deal.ID = d.token()
		case "bidfloor":
			deal.Floor, unread = d.money()
		case "bidfloorcur":
			deal.FloorCur = d.currency()
		case "at":
			deal.Auction = d.auction(0)
		case "wseat":
			deal.Seats = d.allowlist(deal.Seats[:0])
		case "wadomain":
			deal.Advertisers = d.allowlist(deal.Advertisers[:0])
		default:
			d.skip()
		}
	}
	return deal.ID != nil && !unread
}
