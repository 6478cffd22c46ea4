package openrtb

import (
	"bytes"
	"math"

	"bidwell/rtb"
)

func (d *decoder) device() {
	dev := &d.req.Device
	*dev = rtb.Device{}
	d.geos[0] = rtb.Geo{}
	d.lmt, d.dnt, d.badDev = false, false, false
	is, unread := d.container()
	if !is {
		d.badDev = unread
		return
	}
	var os, ip6, language, langb []byte
	var agent structuredAgent
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "ua":
			dev.UA = d.text()
		case "ip":
			dev.IP = d.text()
		case "ipv6":
			ip6 = d.text()
		case "devicetype":
			dev.Type = uint8(d.count(math.MaxUint8))
		case "os":
			os = d.text()
		case "osv":
			dev.OSVersion = d.text()
		case "make":
			dev.Make = d.text()
		case "model":
			dev.Model = d.text()
		case "language":
			language = d.text()
		case "langb":
			langb = d.text()
		case "carrier":
			dev.Carrier = d.text()
		case "mccmnc":
			dev.MCCMNC = d.text()
		case "connectiontype":
			dev.Connection = uint8(d.count(math.MaxUint8))
		case "ifa":
			dev.IFA = d.text()
		case "w":
			dev.W = uint16(d.count(math.MaxUint16))
		case "h":
			dev.H = uint16(d.count(math.MaxUint16))
		case "lmt":
			d.lmt, _ = d.restriction()
		case "dnt":
			d.dnt, _ = d.restriction()
		case "geo":
			d.geo(&d.geos[0])
		case "sua":
			agent = d.sua()
		default:
			d.skip()
		}
	}
	if len(dev.IP) == 0 {
		dev.IP = ip6
	}
	if dev.Language = languageOf(language); dev.Language == [2]byte{} {
		dev.Language = languageOf(langb)
	}
	if dev.OS = systemOf(os); dev.OS == rtb.OSUnknown {
		if dev.OS = systemOf(agent.system); dev.OS == rtb.OSUnknown {
			dev.OS = systemOfUserAgent(dev.UA)
		}
	}
	if len(dev.OSVersion) == 0 {
		dev.OSVersion = agent.version
	}
	if len(dev.Model) == 0 {
		dev.Model = agent.model
	}
	dev.Browser, dev.Mobile = agent.browser, agent.mobile
}

// structuredAgent is what we read of a UserAgent object (OpenRTB 2.6, 3.2.29).
type structuredAgent struct {
	system, version, model, browser []byte
	mobile                          bool
}

func (d *decoder) sua() (agent structuredAgent) {
	if is, _ := d.object(); !is {
		return agent
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "platform":
			agent.system, agent.version = d.brand()
		case "browsers":
			agent.browser = nil
			if d.peek() != '[' {
				agent.browser, _ = d.brand()
				continue
			}
			for ok := d.firstItem(); ok; ok = d.nextItem() {
				brand, _ := d.brand()
				if len(agent.browser) == 0 {
					agent.browser = brand
				}
			}
		case "mobile":
			agent.mobile = d.flag(false)
		case "model":
			agent.model = d.text()
		default:
			d.skip()
		}
	}
	return agent
}

// maxVersionParts is how many parts of a version are kept.
const maxVersionParts = 4

// brand reads a BrandVersion object. The parts of a version are joined by
// dots.
func (d *decoder) brand() (brand, version []byte) {
	if is, _ := d.object(); !is {
		return nil, nil
	}
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "brand":
			brand = d.text()
		case "version":
			version = d.version()
		default:
			d.skip()
		}
	}
	return brand, version
}

func (d *decoder) version() []byte {
	if d.peek() != '[' {
		return d.text()
	}
	var joined []byte
	n := 0
	for ok := d.firstItem(); ok; ok = d.nextItem() {
		if n++; n > maxVersionParts {
			d.skip()
			continue
		}
		part := d.text()
		switch {
		case len(part) == 0:
		case joined == nil:
			joined = part
		default:
			start := len(d.arena)
			d.arena = append(d.arena, joined...)
			d.arena = append(d.arena, '.')
			d.arena = append(d.arena, part...)
			joined = d.arena[start:len(d.arena):len(d.arena)]
		}
	}
	return joined
}

// systemNames are the beginnings, in lower case, of what exchanges call an
// operating system. The first that fits counts.
var systemNames = [...]struct {
	prefix string
	os     rtb.OS
}{
	{"android", rtb.Android},
	{"ios", rtb.IOS}, {"iphone", rtb.IOS}, {"ipad", rtb.IOS}, {"ipod", rtb.IOS},
	{"windows phone", rtb.OSOther}, {"windows mobile", rtb.OSOther}, {"windows", rtb.Windows}, {"win", rtb.Windows},
	{"mac", rtb.MacOS}, {"os x", rtb.MacOS}, {"osx", rtb.MacOS},
	{"linux", rtb.Linux}, {"ubuntu", rtb.Linux},
	{"chrome", rtb.ChromeOS}, {"chromium", rtb.ChromeOS}, {"cros", rtb.ChromeOS},
	{"tvos", rtb.TVOS}, {"apple tv", rtb.TVOS}, {"appletv", rtb.TVOS},
	{"unknown", rtb.OSUnknown},
}

// systemOf is the operating system that a name means: OSOther for one that is
// not known here, OSUnknown for none.
func systemOf(name []byte) rtb.OS {
	name = bytes.TrimSpace(name)
	if len(name) < 2 {
		return rtb.OSUnknown
	}
	for i := range systemNames {
		prefix := systemNames[i].prefix
		if len(name) >= len(prefix) && name[0]|0x20 == prefix[0] && equalFold(name[:len(prefix)], prefix) {
			return systemNames[i].os
		}
	}
	return rtb.OSOther
}

// userAgentMarks tell the operating system in a user agent. The order matters:
// phones claim to be Linux or Mac OS X too.
var userAgentMarks = [...]struct {
	mark []byte
	os   rtb.OS
}{
	{[]byte("Windows Phone"), rtb.OSOther},
	{[]byte("Apple TV"), rtb.TVOS}, {[]byte("AppleTV"), rtb.TVOS}, {[]byte("tvOS"), rtb.TVOS},
	{[]byte("iPhone"), rtb.IOS}, {[]byte("iPad"), rtb.IOS}, {[]byte("iPod"), rtb.IOS},
	{[]byte("Tizen"), rtb.OSOther}, {[]byte("Web0S"), rtb.OSOther}, {[]byte("Roku"), rtb.OSOther},
	{[]byte("Android"), rtb.Android},
	{[]byte("CrOS"), rtb.ChromeOS},
	{[]byte("Windows"), rtb.Windows},
	{[]byte("Macintosh"), rtb.MacOS}, {[]byte("Mac OS X"), rtb.MacOS},
	{[]byte("Linux"), rtb.Linux}, {[]byte("X11"), rtb.Linux},
}

// maxUserAgent is how much of a user agent is searched.
const maxUserAgent = 512

func systemOfUserAgent(ua []byte) rtb.OS {
	ua = ua[:min(len(ua), maxUserAgent)]
	for i := range userAgentMarks {
		if bytes.Contains(ua, userAgentMarks[i].mark) {
			return userAgentMarks[i].os
		}
	}
	return rtb.OSUnknown
}
