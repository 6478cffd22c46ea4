package targeting

import (
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// attrSkippable is "Skip Button" of the OpenRTB list "creative attributes".
const attrSkippable = 16

// vasts are the VAST versions that package openrtb makes, newest first, and
// vast3 the one for a player that names none (OpenRTB list "protocols").
var vasts = [...]uint8{13, 11, 7, 3, 2}

const vast3 = 3

// Values of video.linearity (OpenRTB 2.6, 3.2.7).
const (
	linear    = 1
	nonLinear = 2
)

// demands are what a request may ask of creatives beyond their slot, and what
// a creative has to be asked.
type demands uint8

const (
	demandCategories   demands = 1 << iota // the creative has some that may be blocked
	demandAdvertisers                      // likewise
	demandDeal                             // the deal is for named advertisers
	demandApps                             // it advertises an app
	demandSecure                           // it is not secure
	demandLanguage                         // it has one
	demandNative                           // it is native
	demandTransparency                     // it has none
)

// creative is what the checks of a creative need, in one cache line.
type creative struct {
	source      *rtb.Creative
	attributes  rtb.Bits
	api         rtb.Bits
	duration    time.Duration
	size        uint32
	mimes       rtb.Mimes
	bitrate     uint32
	bundle      uint32
	names       uint32 // place in Index.names of its categories; its advertisers follow
	categories  uint16 // how many, with the parents of those of the IAB form
	advertisers uint16 // how many, with the domains above them
	media       rtb.Media
	protocol    uint8
	bannerType  uint8
	linear      bool
	demands     demands
	template    uint16 // its place in Index.templates; zero for none
}

// maxNames is how many categories or advertisers a creative may have.
const maxNames = 1000

func (x *Index) compileCreative(c *rtb.Creative) (creative, error) {
	if c.Media < rtb.Banner || c.Media > rtb.Native {
		return creative{}, fmt.Errorf("media: %d is no kind of ad", c.Media)
	}
	f := creative{
		source:     c,
		media:      c.Media,
		protocol:   c.Protocol,
		bannerType: c.BannerType,
		linear:     c.Linear,
		demands:    demandDeal,
		size:       sizeKey(c.Size),
		mimes:      c.Mime,
		bitrate:    c.Bitrate,
		duration:   c.Duration,
		attributes: c.Attributes,
		api:        c.API,
	}
	if c.Media != rtb.Banner && c.MimeAll != 0 {
		f.mimes = c.MimeAll
	}
	if c.Skippable {
		f.attributes.Add(attrSkippable)
	}
	if len(c.Products) > 0 {
		var err error
		if f.template, err = x.compileTemplate(c); err != nil {
			return creative{}, err
		}
	}
	if c.Bundle != "" {
		f.bundle = x.adApps.intern(c.Bundle)
	}
	if len(c.Categories) > maxNames || len(c.Advertisers) > maxNames {
		return creative{}, fmt.Errorf("more than %d categories or advertisers", maxNames)
	}
	var names []uint32
	for _, category := range c.Categories {
		if category == "" {
			continue
		}
		names = append(names, x.adCategories.intern(category))
		if parent := parentCategory([]byte(category)); parent != nil {
			names = append(names, x.adCategories.intern(string(parent)))
		}
	}
	names = rising(names)
	f.names, f.categories = uint32(len(x.names)), uint16(len(names))
	x.names = append(x.names, names...)
	names = names[:0]
	for _, domain := range c.Advertisers {
		b := trimDomain([]byte(domain))
		if len(b) > maxText {
			return creative{}, fmt.Errorf("advertisers: %q is no domain", domain)
		}
		for ; len(b) > 0; b = parentDomain(b) {
			names = append(names, x.advertisers.intern(string(b)))
		}
	}
	names = rising(names)
	if len(names) > math.MaxUint16 {
		return creative{}, fmt.Errorf("advertisers: %d domains and parents of theirs", len(names))
	}
	f.advertisers = uint16(len(names))
	x.names = append(x.names, names...)
	for _, d := range [...]struct {
		demands
		asked bool
	}{
		{demandCategories, f.categories > 0},
		{demandAdvertisers, f.advertisers > 0},
		{demandApps, c.Bundle != ""},
		{demandSecure, !c.Secure},
		{demandLanguage, c.Language != ""},
		{demandNative, c.Media == rtb.Native},
		{demandTransparency, c.DSA == nil},
	} {
		if d.asked {
			f.demands |= d.demands
		}
	}
	return f, nil
}

// demand is what a request asks of creatives.
func demand(req *rtb.Request) demands {
	d := demandNative
	if len(req.Blocked.Categories) > 0 {
		d |= demandCategories
	}
	if len(req.Blocked.Advertisers) > 0 {
		d |= demandAdvertisers
	}
	if len(req.Blocked.Apps) > 0 {
		d |= demandApps
	}
	if len(req.Languages) > 0 {
		d |= demandLanguage
	}
	if req.DSA.Required == 2 || req.DSA.Required == 3 {
		d |= demandTransparency
	}
	return d
}

// fit checks a creative of a line item against imp in the order of rtb.NoBid,
// and says how it would be shown.
func (m *Matches) fit(f *creative, item *rtb.LineItem, imp *rtb.Imp, s *Fit) rtb.NoBid {
	var reason rtb.NoBid
	switch f.media {
	case rtb.Banner:
		if !imp.HasBanner {
			return rtb.MediaMismatch
		}
		s.Size = rtb.Size{W: uint16(f.size >> 16), H: uint16(f.size)}
		reason = fitBanner(f, &imp.Banner)
	case rtb.Video:
		if !imp.HasVideo {
			return rtb.MediaMismatch
		}
		s.Size = rtb.Size{W: imp.Video.W, H: imp.Video.H}
		s.Protocol, reason = fitStream(f, &imp.Video)
	case rtb.Audio:
		if !imp.HasAudio {
			return rtb.MediaMismatch
		}
		s.Protocol, reason = fitStream(f, &imp.Audio)
	case rtb.Native:
		if !imp.HasNative {
			return rtb.MediaMismatch
		}
		reason = fitNative(f, &imp.Native)
	}
	if reason != rtb.BidMade {
		return reason
	}
	if asked := m.demands & f.demands; asked != 0 {
		if reason = m.satisfy(asked, f, item, imp, s); reason != rtb.BidMade {
			return reason
		}
	}
	if f.template != 0 {
		return m.fill(f, imp, s)
	}
	return rtb.BidMade
}

// satisfy checks what is asked of a creative beyond its slot.
func (m *Matches) satisfy(asked demands, f *creative, item *rtb.LineItem, imp *rtb.Imp, s *Fit) (reason rtb.NoBid) {
	c := f.source
	names := m.index.names[f.names:]
	switch {
	case asked&demandCategories != 0 && m.blockedCategories().hasAny(names[:f.categories]):
		return rtb.CreativeCategoryBlocked
	case asked&demandAdvertisers != 0 && m.blockedAdvertisers().hasAny(names[f.categories:][:f.advertisers]):
		return rtb.AdvertiserBlocked
	}
	if asked&demandDeal != 0 {
		if s.Deal, s.Floor, reason = m.dealFor(item, c); reason != rtb.BidMade {
			return reason
		}
	}
	switch {
	case asked&demandApps != 0 && m.blockedApps().has(f.bundle):
		return rtb.AppBlocked
	case asked&demandSecure != 0:
		return rtb.NotSecure
	case asked&demandLanguage != 0 && !speaks(m.context.Request.Languages, c.Language):
		return rtb.CreativeLanguage
	}
	if asked&demandNative != 0 && f.template == 0 {
		if m.context.Fit == nil {
			return rtb.NativeAssetsMismatch
		}
		if reason = m.context.Fit(c, imp); reason != rtb.BidMade {
			return reason
		}
	}
	if asked&demandTransparency != 0 {
		return rtb.TransparencyMissing
	}
	return rtb.BidMade
}

func fitBanner(f *creative, slot *rtb.BannerSlot) rtb.NoBid {
	if !slot.AnySize {
		found := false
		for _, size := range slot.Sizes {
			if sizeKey(size) == f.size {
				found = true
				break
			}
		}
		if !found {
			return rtb.SizeMismatch
		}
	}
	switch {
	case slot.Mimes != 0 && slot.Mimes&f.mimes == 0:
		return rtb.MimeMismatch
	case f.api&^slot.APIs != 0:
		return rtb.APIMismatch
	case f.attributes&slot.BlockedAttrs != 0 || slot.BlockedTypes.Has(f.bannerType):
		return rtb.AttributeBlocked
	}
	return rtb.BidMade
}

// fitStream also chooses the VAST version to answer.
func fitStream(f *creative, slot *rtb.StreamSlot) (protocol uint8, reason rtb.NoBid) {
	switch {
	case f.size != 0 && slot.W != 0 && slot.H != 0 && f.size != sizeKey(rtb.Size{W: slot.W, H: slot.H}):
		return 0, rtb.SizeMismatch
	case slot.Mimes != 0 && slot.Mimes&f.mimes == 0:
		return 0, rtb.MimeMismatch
	case !fitsDuration(f.duration, slot):
		return 0, rtb.DurationMismatch
	}
	protocol = f.protocol
	if slot.Protocols == 0 {
		if protocol == 0 {
			protocol = vast3
		}
	} else if protocol == 0 {
		for _, v := range vasts {
			if slot.Protocols.Has(v) {
				protocol = v
				break
			}
		}
		if protocol == 0 {
			return 0, rtb.ProtocolMismatch
		}
	} else if !slot.Protocols.Has(protocol) {
		return 0, rtb.ProtocolMismatch
	}
	switch {
	case f.api&^slot.APIs != 0:
		return 0, rtb.APIMismatch
	case f.media == rtb.Video && (slot.Linearity == linear && !f.linear || slot.Linearity == nonLinear && f.linear),
		f.bitrate != 0 && (f.bitrate < slot.MinBitrate || slot.MaxBitrate != 0 && f.bitrate > slot.MaxBitrate):
		return 0, rtb.PlacementMismatch
	case f.attributes&slot.BlockedAttrs != 0:
		return 0, rtb.AttributeBlocked
	}
	return protocol, rtb.BidMade
}

// fitsDuration compares to the exact durations where there are any, to the
// nearest second, else to the range and the length of the pod. An unknown
// duration fits only where any would.
func fitsDuration(d time.Duration, slot *rtb.StreamSlot) bool {
	if len(slot.Durations) > 0 {
		seconds := (d + time.Second/2) / time.Second
		for _, exact := range slot.Durations {
			if exact != 0 && time.Duration(exact) == seconds {
				return true
			}
		}
		return false
	}
	longest := slot.MaxDuration
	if slot.PodDuration != 0 && (longest == 0 || slot.PodDuration < longest) {
		longest = slot.PodDuration
	}
	if d == 0 {
		return slot.MinDuration == 0 && longest == 0
	}
	return d >= time.Duration(slot.MinDuration)*time.Second &&
		(longest == 0 || d <= time.Duration(longest)*time.Second)
}

func fitNative(f *creative, slot *rtb.NativeSlot) rtb.NoBid {
	switch {
	case f.api&^slot.APIs != 0:
		return rtb.APIMismatch
	case f.attributes&slot.BlockedAttrs != 0:
		return rtb.AttributeBlocked
	}
	return rtb.BidMade
}

// speaks reports whether one of the language tags has the primary language.
func speaks(tags [][]byte, language string) bool {
	for _, tag := range tags {
		if equalLower(primaryLanguage(tag), language) {
			return true
		}
	}
	return false
}
