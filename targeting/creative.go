package targeting

import (
	"fmt"
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

// creative is what the checks of a creative need.
type creative struct {
	media      rtb.Media
	protocol   uint8
	bannerType uint8
	secure     bool
	linear     bool
	transparent,
	hasLanguage,
	hasBundle bool
	size        uint32
	mimes       rtb.Mimes
	bitrate     uint32
	bundle      uint32
	duration    time.Duration
	attributes  rtb.Bits
	api         rtb.Bits
	categories  []uint32 // with the parents of those of the IAB form
	advertisers []uint32 // with the domains above them
}

func (x *Index) compileCreative(c *rtb.Creative) (creative, error) {
	if c.Media < rtb.Banner || c.Media > rtb.Native {
		return creative{}, fmt.Errorf("media: %d is no kind of ad", c.Media)
	}
	f := creative{
		media:       c.Media,
		protocol:    c.Protocol,
		bannerType:  c.BannerType,
		secure:      c.Secure,
		linear:      c.Linear,
		transparent: c.DSA != nil,
		hasLanguage: c.Language != "",
		hasBundle:   c.Bundle != "",
		size:        sizeKey(c.Size),
		mimes:       c.Mime,
		bitrate:     c.Bitrate,
		duration:    c.Duration,
		attributes:  c.Attributes,
		api:         c.API,
	}
	if c.Media != rtb.Banner && c.MimeAll != 0 {
		f.mimes = c.MimeAll
	}
	if c.Skippable {
		f.attributes.Add(attrSkippable)
	}
	if f.hasBundle {
		f.bundle = x.adApps.intern(c.Bundle)
	}
	for _, category := range c.Categories {
		if category == "" {
			continue
		}
		f.categories = append(f.categories, x.adCategories.intern(category))
		if parent := parentCategory([]byte(category)); parent != nil {
			f.categories = append(f.categories, x.adCategories.intern(string(parent)))
		}
	}
	f.categories = rising(f.categories)
	for _, domain := range c.Advertisers {
		for b := trimDomain([]byte(domain)); len(b) > 0; b = parentDomain(b) {
			f.advertisers = append(f.advertisers, x.advertisers.intern(string(b)))
		}
	}
	f.advertisers = rising(f.advertisers)
	return f, nil
}

// fit checks one creative against imp in the order of rtb.NoBid, and says
// what size and protocol it would be answered with.
func (m *Matches) fit(f *creative, c *rtb.Creative, item *rtb.LineItem, imp *rtb.Imp, out *Candidate) rtb.NoBid {
	var reason rtb.NoBid
	out.Size, out.Protocol = rtb.Size{}, 0
	switch f.media {
	case rtb.Banner:
		if !imp.HasBanner {
			return rtb.MediaMismatch
		}
		reason = fitBanner(f, &imp.Banner)
		out.Size = c.Size
	case rtb.Video:
		if !imp.HasVideo {
			return rtb.MediaMismatch
		}
		out.Protocol, reason = fitStream(f, &imp.Video)
		out.Size = rtb.Size{W: imp.Video.W, H: imp.Video.H}
	case rtb.Audio:
		if !imp.HasAudio {
			return rtb.MediaMismatch
		}
		out.Protocol, reason = fitStream(f, &imp.Audio)
	case rtb.Native:
		if !imp.HasNative {
			return rtb.MediaMismatch
		}
		reason = fitNative(f, &imp.Native)
	}
	if reason != rtb.BidMade {
		return reason
	}

	req := m.context.Request
	if len(f.categories) > 0 && len(req.Blocked.Categories) > 0 && m.blockedCategories().hasAny(f.categories) {
		return rtb.CreativeCategoryBlocked
	}
	if len(f.advertisers) > 0 && len(req.Blocked.Advertisers) > 0 && m.blockedAdvertisers().hasAny(f.advertisers) {
		return rtb.AdvertiserBlocked
	}
	if m.dealNames {
		if out.Deal, out.Floor, reason = m.dealFor(item, c); reason != rtb.BidMade {
			return reason
		}
	}
	if f.hasBundle && len(req.Blocked.Apps) > 0 && m.blockedApps().has(f.bundle) {
		return rtb.AppBlocked
	}
	if imp.Secure && !f.secure {
		return rtb.NotSecure
	}
	if f.hasLanguage && len(req.Languages) > 0 && !speaks(req.Languages, c.Language) {
		return rtb.CreativeLanguage
	}
	if f.media == rtb.Native {
		if m.context.Fit == nil {
			return rtb.NativeAssetsMismatch
		}
		if reason = m.context.Fit(c, imp); reason != rtb.BidMade {
			return reason
		}
	}
	if !f.transparent && (req.DSA.Required == 2 || req.DSA.Required == 3) {
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
