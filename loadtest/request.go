package loadtest

import (
	"strconv"

	"bidwell/rtb"
)

// appendRequest appends the bid request of o. Nothing in it needs escaping:
// all names are our own.
func appendRequest(b []byte, o *Offer) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, o.ID[:]...)
	b = append(b, `","imp":[`...)
	for i := range o.Slots {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSlot(b, o, &o.Slots[i])
	}
	b = append(b, ']')
	if o.Publisher.Kind == rtb.App {
		b = appendApp(b, o)
	} else {
		b = appendSite(b, o)
	}
	b = appendDevice(b, o)
	b = appendUser(b, o)
	b = append(b, `,"at":`...)
	b = strconv.AppendUint(b, uint64(o.Auction), 10)
	b = append(b, `,"tmax":`...)
	b = strconv.AppendInt(b, o.TMax.Milliseconds(), 10)
	b = append(b, `,"cur":["USD"]`...)
	p := o.Publisher
	if p.Index%2 == 0 {
		b = append(b, `,"bcat":["IAB25","IAB26","IAB7-39"]`...)
	}
	if p.Index%4 == 1 {
		b = append(b, `,"badv":["blocked.example","www.rival-`...)
		b = append(b, p.Domain...)
		b = append(b, `"]`...)
	}
	b = appendRegs(b, o)
	b = append(b, `,"source":{"tid":"`...)
	b = appendUUID(b, o.seed^1)
	b = append(b, `","fd":0,`...)
	if !p.Modern {
		b = append(b, `"ext":{`...)
	}
	b = append(b, `"schain":{"ver":"1.0","complete":1,"nodes":[{"asi":"market.example","sid":"`...)
	b = append(b, p.ID...)
	b = append(b, `","hp":1}]}`...)
	if !p.Modern {
		b = append(b, '}')
	}
	return append(b, `}}`...)
}

func appendSlot(b []byte, o *Offer, s *Slot) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, s.ID...)
	b = append(b, `","secure":1,"tagid":"`...)
	b = append(b, o.Publisher.Name...)
	b = append(b, '/')
	b = append(b, s.ID...)
	b = append(b, '"')
	if s.Interstitial {
		b = append(b, `,"instl":1`...)
	}
	if s.Floor > 0 {
		b = append(b, `,"bidfloor":`...)
		b = s.Floor.AppendCPM(b)
		b = append(b, `,"bidfloorcur":"USD"`...)
	}
	if s.Banner {
		b = append(b, `,"banner":{`...)
		b = append(b, `"format":[`...)
		for i, size := range s.Sizes[:s.SizeCount] {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendSize(append(b, '{'), size)
			b = append(b, '}')
		}
		b = append(b, `],`...)
		b = appendSize(b, s.Sizes[0])
		b = append(b, `,"pos":`...)
		b = strconv.AppendUint(b, uint64(s.Position), 10)
		b = append(b, `,"battr":[1,3,8],"mimes":["image/jpeg","image/png","image/gif","text/html"]`...)
		if o.Publisher.Kind == rtb.App {
			b = append(b, `,"api":[3,5,6,7]}`...)
		} else {
			b = append(b, `,"api":[7],"topframe":1}`...)
		}
	}
	if s.Video {
		b = append(b, `,"video":{"mimes":["video/mp4","video/webm"],"protocols":[2,3,5,6,7],`...)
		b = appendSize(b, s.Player)
		b = append(b, `,"minduration":5,"maxduration":`...)
		b = strconv.AppendInt(b, int64(s.MaxDuration), 10)
		b = append(b, `,"startdelay":0,"linearity":1,"playbackmethod":[1,2],"delivery":[2],"pos":`...)
		b = strconv.AppendUint(b, uint64(s.Position), 10)
		if o.Publisher.Modern {
			b = append(b, `,"plcmt":1`...)
		} else {
			b = append(b, `,"placement":1`...)
		}
		b = append(b, `,"api":[7]}`...)
	}
	if s.Audio {
		b = append(b, `,"audio":{"mimes":["audio/mpeg","audio/mp4"],"protocols":[2,3,5,6,7,9,10],"minduration":5,"maxduration":`...)
		b = strconv.AppendInt(b, int64(s.MaxDuration), 10)
		b = append(b, `,"startdelay":0,"feed":1}`...)
	}
	if s.Native {
		b = append(b, `,"native":{"request":"`...)
		b = append(b, nativeRequests[o.Publisher.Index%len(nativeRequests)]...)
		b = append(b, `","ver":"1.2"}`...)
	}
	if d := s.Deal; d != nil {
		b = append(b, `,"pmp":{"private_auction":`...)
		b = appendBit(b, d.Private)
		b = append(b, `,"deals":[{"id":"`...)
		b = append(b, d.ID...)
		b = append(b, `","bidfloor":`...)
		b = s.DealFloor.AppendCPM(b)
		b = append(b, `,"bidfloorcur":"USD","at":`...)
		b = strconv.AppendUint(b, uint64(d.Auction), 10)
		b = append(b, `}]}`...)
	}
	return append(b, '}')
}

// nativeRequests are OpenRTB Native 1.2 requests as they stand in a string:
// bare, and wrapped as version 1.0 had it.
var nativeRequests = [...]string{
	`{\"ver\":\"1.2\",\"context\":1,\"contextsubtype\":10,\"plcmttype\":1,\"plcmtcnt\":1,\"assets\":[{\"id\":1,\"required\":1,\"title\":{\"len\":90}},{\"id\":2,\"required\":1,\"img\":{\"type\":3,\"wmin\":300,\"hmin\":150}},{\"id\":3,\"img\":{\"type\":1,\"wmin\":50,\"hmin\":50}},{\"id\":4,\"required\":1,\"data\":{\"type\":1,\"len\":25}},{\"id\":5,\"data\":{\"type\":2,\"len\":140}},{\"id\":6,\"data\":{\"type\":12,\"len\":20}}],\"eventtrackers\":[{\"event\":1,\"methods\":[1]}]}`,
	`{\"native\":{\"ver\":\"1.1\",\"context\":2,\"plcmttype\":4,\"assets\":[{\"id\":11,\"required\":1,\"title\":{\"len\":60}},{\"id\":12,\"required\":1,\"img\":{\"type\":3,\"w\":1200,\"h\":627,\"wmin\":200,\"hmin\":104}},{\"id\":13,\"data\":{\"type\":2,\"len\":90}},{\"id\":14,\"required\":1,\"data\":{\"type\":1,\"len\":30}}]}}`,
}

func appendSize(b []byte, s rtb.Size) []byte {
	b = append(b, `"w":`...)
	b = strconv.AppendUint(b, uint64(s.W), 10)
	b = append(b, `,"h":`...)
	return strconv.AppendUint(b, uint64(s.H), 10)
}

func appendBit(b []byte, is bool) []byte {
	if is {
		return append(b, '1')
	}
	return append(b, '0')
}

func appendSite(b []byte, o *Offer) []byte {
	p := o.Publisher
	b = append(b, `,"site":{"id":"`...)
	b = append(b, p.ID...)
	b = append(b, `-s","name":"`...)
	b = append(b, p.Name...)
	b = append(b, `","domain":"`...)
	b = append(b, p.Domain...)
	b = append(b, `","page":"https://www.`...)
	b = append(b, p.Domain...)
	b = append(b, `/article/`...)
	b = strconv.AppendUint(b, o.seed%5000, 10)
	b = append(b, `.html","ref":"https://search.example/","mobile":`...)
	b = appendBit(b, o.User.DeviceType == 4)
	return appendPublisher(b, o)
}

func appendApp(b []byte, o *Offer) []byte {
	p := o.Publisher
	b = append(b, `,"app":{"id":"`...)
	b = append(b, p.ID...)
	b = append(b, `-a","name":"`...)
	b = append(b, p.Name...)
	b = append(b, `","bundle":"`...)
	b = append(b, p.Bundle...)
	b = append(b, `","domain":"`...)
	b = append(b, p.Domain...)
	b = append(b, `","storeurl":"`...)
	b = append(b, p.StoreURL...)
	b = append(b, `","ver":"4.2.1","paid":0`...)
	return appendPublisher(b, o)
}

func appendPublisher(b []byte, o *Offer) []byte {
	p := o.Publisher
	b = appendList(append(b, `,"cat":`...), p.Categories)
	b = append(b, `,"privacypolicy":1,"publisher":{"id":"`...)
	b = append(b, p.ID...)
	b = append(b, `","domain":"`...)
	b = append(b, p.Domain...)
	b = append(b, `"},"content":{"language":"`...)
	b = append(b, o.User.Language...)
	return append(b, `"}}`...)
}

func appendList(b []byte, list []string) []byte {
	for i, s := range list {
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, s...)
		b = append(b, '"')
	}
	return append(b, ']')
}

func appendDevice(b []byte, o *Offer) []byte {
	u := &o.User
	b = append(b, `,"device":{"ua":"`...)
	b = append(b, u.gadget.agent...)
	b = append(b, `","ip":"`...)
	b = appendIP(b, u.seed, o.privacy.private())
	b = append(b, `","devicetype":`...)
	b = strconv.AppendUint(b, uint64(u.DeviceType), 10)
	b = append(b, `,"os":"`...)
	b = append(b, u.OS...)
	if u.OSVersion != "" {
		b = append(b, `","osv":"`...)
		b = append(b, u.OSVersion...)
	}
	if u.gadget.maker != "" {
		b = append(b, `","make":"`...)
		b = append(b, u.gadget.maker...)
		b = append(b, `","model":"`...)
		b = append(b, u.gadget.model...)
	}
	b = append(b, `","language":"`...)
	b = append(b, u.Language...)
	if u.Carrier != "" {
		b = append(b, `","carrier":"`...)
		b = append(b, u.Carrier...)
		b = append(b, `","mccmnc":"`...)
		b = append(b, u.place.mccmnc...)
	}
	b = append(b, `",`...)
	b = appendSize(b, rtb.Size{W: u.gadget.width, H: u.gadget.height})
	b = append(b, `,"js":1,"connectiontype":`...)
	b = strconv.AppendUint(b, uint64(u.Connection), 10)
	b = append(b, `,"lmt":`...)
	b = appendBit(b, o.privacy.lmt)
	if o.Publisher.Kind == rtb.App {
		b = append(b, `,"ifa":"`...)
		if o.privacy.private() {
			b = append(b, `00000000-0000-0000-0000-000000000000`...)
		} else {
			b = append(b, u.Device[:]...)
		}
		b = append(b, '"')
	}
	b = appendGeo(b, o)
	return append(b, '}')
}

// appendIP makes an address from the blocks kept for documentation (RFC 5737,
// RFC 3849). For a person whose ids are withheld it is truncated.
func appendIP(b []byte, seed uint64, truncated bool) []byte {
	b = append(b, [...]string{"192.0.2.", "198.51.100.", "203.0.113."}[seed>>8%3]...)
	if truncated {
		return append(b, '0')
	}
	return strconv.AppendUint(b, seed>>16&255, 10)
}

func appendGeo(b []byte, o *Offer) []byte {
	u := &o.User
	b = append(b, `,"geo":{"type":`...)
	precise := o.Publisher.Kind == rtb.App && u.DeviceType != 3 && !o.privacy.private() && u.seed>>20&3 != 0
	if precise {
		b = append(b, `1,"accuracy":20`...)
	} else {
		b = append(b, '2')
	}
	b = append(b, `,"country":"`...)
	b = append(b, u.Alpha3...)
	b = append(b, `","region":"`...)
	b = append(b, u.Region...)
	b = append(b, `","city":"`...)
	b = append(b, u.City...)
	b = append(b, '"')
	lat, lon := u.place.lat, u.place.lon
	if precise {
		lat, lon = u.Lat, u.Lon
	}
	if !o.privacy.coppa {
		b = append(b, `,"zip":"`...)
		b = append(b, u.Zip...)
		b = append(b, `","lat":`...)
		b = appendDegrees(b, lat)
		b = append(b, `,"lon":`...)
		b = appendDegrees(b, lon)
	}
	b = append(b, `,"utcoffset":`...)
	b = strconv.AppendInt(b, int64(u.Offset), 10)
	return append(b, '}')
}

// appendDegrees writes five decimals, about a metre, and is many times faster
// than the shortest float that reads back the same.
func appendDegrees(b []byte, v float64) []byte {
	n := int64(v * 1e5)
	if n < 0 {
		b = append(b, '-')
		n = -n
	}
	b = strconv.AppendInt(b, n/100_000, 10)
	b = append(b, '.')
	for pow := int64(10_000); pow > 0; pow /= 10 {
		b = append(b, byte('0'+n/pow%10))
	}
	return b
}

func appendUser(b []byte, o *Offer) []byte {
	u, p := &o.User, o.Publisher
	b = append(b, `,"user":{`...)
	start := len(b)
	if !o.privacy.private() {
		b = append(b, `"id":"`...)
		b = appendUUID(b, u.seed^uint64(p.Exchange+1)<<32)
		b = append(b, `",`...)
		if u.HasCookie && p.Kind == rtb.Site {
			b = append(b, `"buyeruid":"`...)
			b = append(b, u.Cookie[:]...)
			b = append(b, `",`...)
		}
		if o.tellsAge() {
			b = append(b, `"yob":`...)
			b = strconv.AppendUint(b, uint64(u.BirthYear), 10)
			b = append(b, ',')
			if u.Gender != 0 {
				b = append(b, `"gender":"`...)
				b = append(b, u.Gender)
				b = append(b, `",`...)
			}
		}
	}
	consent := ""
	if o.privacy.gdpr {
		if consent = consentNone; o.privacy.consent {
			consent = consentAll
		}
	}
	eids := !o.privacy.private() && u.seed>>26&3 == 0
	if p.Modern {
		if consent != "" {
			b = append(b, `"consent":"`...)
			b = append(b, consent...)
			b = append(b, `",`...)
		}
		if eids {
			b = appendEIDs(b, u)
			b = append(b, ',')
		}
	} else if consent != "" || eids {
		b = append(b, `"ext":{`...)
		if consent != "" {
			b = append(b, `"consent":"`...)
			b = append(b, consent...)
			b = append(b, '"')
			if eids {
				b = append(b, ',')
			}
		}
		if eids {
			b = appendEIDs(b, u)
		}
		b = append(b, `},`...)
	}
	if len(b) > start {
		b = b[:len(b)-1] // the last comma
	}
	return append(b, '}')
}

// tellsAge reports whether the request says when the person was born, and the
// gender where the publisher knows it.
func (o *Offer) tellsAge() bool { return !o.privacy.private() && o.User.seed>>24&3 == 0 }

func appendEIDs(b []byte, u *User) []byte {
	b = append(b, `"eids":[{"source":"id.example","uids":[{"id":"`...)
	b = appendPartnerID(b, u)
	return append(b, `","atype":3}]}]`...)
}

func appendPartnerID(b []byte, u *User) []byte {
	b = append(b, "ID-"...)
	return strconv.AppendUint(b, scramble(u.seed, 0x6569_64), 36)
}

func appendRegs(b []byte, o *Offer) []byte {
	s := &o.privacy
	b = append(b, `,"regs":{"coppa":`...)
	b = appendBit(b, s.coppa)
	if !s.gdpr && !s.usPrivacy && !s.gpp {
		return append(b, '}')
	}
	b = append(b, ',')
	modern := o.Publisher.Modern
	if !modern {
		b = append(b, `"ext":{`...)
	}
	start := len(b)
	if s.gdpr {
		b = append(b, `"gdpr":1,`...)
	}
	switch {
	case s.usOptOut:
		b = append(b, `"us_privacy":"1YYN",`...)
	case s.usPrivacy:
		b = append(b, `"us_privacy":"1YNN",`...)
	}
	if s.gpp {
		b = append(b, `"gpp":"DBABLA~BVQqAAAAAgA.QA","gpp_sid":[7],`...)
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	if !modern {
		b = append(b, '}')
	}
	return append(b, '}')
}
