package models

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"bidwell/rtb"
)

// field numbers one kind of feature. The numbers are part of every trained
// model: append, never reorder. A model that learned from other features is
// refused when it is read.
type field uint64

const (
	fieldHour field = iota + 1
	fieldWeekday
	fieldExchange
	fieldInventory
	fieldPublisher
	fieldTag
	fieldMedia
	fieldSlot
	fieldPosition
	fieldDevice
	fieldOS
	fieldMake
	fieldModel
	fieldCountry
	fieldRegion
	fieldCity
	fieldLanguage
	fieldConnection
	fieldKind
	fieldCategory
	fieldFlags
	fieldFloor
	fieldGender
	fieldAge
	fieldKnown
	fieldSegmentCount
	fieldSegment
	fieldCreative
	fieldLineItem
	fieldAdvertiser
	fieldCreativeMedia
	fieldCreativeInventory
	fieldCreativeSize
	fieldCreativeHour
	fieldCreativeSegment
	fieldFrequency
	fieldRecency
)

const (
	maxSegments      = 20 // of a user, each a feature
	maxCrossSegments = 8  // of these, crossed with the creative
	maxText          = 256

	// How many features there are before the segments of the user, and how many
	// a candidate has beside its crosses with them. [CellOf] relies on both.
	contextFeatures   = 26
	candidateFeatures = 9

	// MaxFeatures is the most that one candidate has.
	MaxFeatures = contextFeatures + maxSegments + candidateFeatures + maxCrossSegments
)

// All of them fit into the token of a bid.
var _ [rtb.MaxFeatures - MaxFeatures]struct{}

// Features holds the hashed features of one candidate. It is reused: Begin
// for each imp, then Candidate for each candidate of that imp. It does not
// allocate once warm.
type Features struct {
	// Hashes are those of the imp, then those of the last candidate. They are
	// valid until the next call of Begin or Candidate.
	Hashes []uint32

	shared int // how many of Hashes all candidates share
	basis  basis

	// What a Predictor has worked out for the shared part.
	by            *Predictor
	model         *Model
	sum           float32
	paired        paired
	converted     bool // conversionSum is known
	conversionSum float32

	campaign rtb.CampaignID // of the last candidate
}

// Begin computes what all candidates for imp share. The user may be nil. Only
// the segments of a permitted profile may be in it: nothing is checked here.
func (f *Features) Begin(req *rtb.Request, imp *rtb.Imp, user *rtb.Profile, now time.Time) {
	f.by, f.model = nil, nil
	f.Hashes = f.basis.appendShared(f.Hashes[:0], req, imp, user, now)
	f.shared = len(f.Hashes)
}

// Candidate replaces the features of the candidate before. The size is that
// of the slot which the creative would fill.
func (f *Features) Candidate(item *rtb.LineItem, creative *rtb.Creative, size rtb.Size) {
	f.Hashes = f.basis.appendCandidate(f.Hashes[:f.shared], item, creative, size)
	f.campaign = item.Campaign
}

// Version is that of the model that predicts, see [Predictor.Begin].
func (f *Features) Version() uint32 {
	if f.model == nil {
		return 0
	}
	return f.model.Version
}

// Order is what a conversion of the last candidate is worth, as the model that
// predicts has learned; zero when it has not.
func (f *Features) Order() rtb.Money {
	if f.model == nil {
		return 0
	}
	return f.model.Order(f.campaign)
}

// Extract appends the features of one candidate to dst, the same as Begin and
// Candidate make: it is how logs and training see a bid.
func Extract(dst []uint32, req *rtb.Request, imp *rtb.Imp, user *rtb.Profile,
	item *rtb.LineItem, creative *rtb.Creative, size rtb.Size, now time.Time) []uint32 {
	var b basis
	dst = b.appendShared(dst, req, imp, user, now)
	return b.appendCandidate(dst, item, creative, size)
}

// basis is what crosses need to know of the request.
type basis struct {
	inventory uint64
	hour      uint64
	segments  [maxSegments]rtb.SegmentID // distinct, in the order of the profile
	count     int
	known     bool
	exposures []rtb.Exposure // of the user, who owns them
	now       int64          // Unix seconds
}

func (b *basis) appendShared(dst []uint32, req *rtb.Request, imp *rtb.Imp, user *rtb.Profile, now time.Time) []uint32 {
	inv, dev, geo := &req.Inventory, &req.Device, &req.Geo

	// Hours of the user and of UTC are different values.
	local, second := uint64(0), now.Unix()
	b.now = second
	if geo.HasOffset {
		local, second = 1<<8, second+int64(geo.UTCOffset)*60
	}
	hour := second / 3600
	b.hour = number(fieldHour, uint64(hour%24)|local)

	place := inv.Domain
	if inv.Kind == rtb.App || len(place) == 0 {
		place = inv.Bundle
	}
	if len(place) == 0 {
		place = inv.ID
	}
	if len(place) > 4 && string(place[:4]) == "www." {
		place = place[4:]
	}
	b.inventory = folded(fieldInventory, place)

	var category []byte
	if len(inv.Categories) > 0 {
		category = inv.Categories[0]
	}
	age := uint64(0)
	if y := int64(req.User.BirthYear); y != 0 {
		age = uint64(1+max(0, 1970+second/31_556_952-y)/5) & 0xff
	}

	dst = append(dst,
		fold(b.hour),
		fold(number(fieldWeekday, uint64((hour/24+4)%7)|local)),
		fold(number(fieldExchange, uint64(req.Exchange))),
		fold(b.inventory),
		fold(exact(fieldPublisher, inv.Publisher)),
		fold(exact(fieldTag, imp.TagID)),
		fold(number(fieldMedia, media(imp))),
		fold(number(fieldSlot, slotSize(imp))),
		fold(number(fieldPosition, position(imp))),
		fold(number(fieldDevice, uint64(dev.Type))),
		fold(number(fieldOS, uint64(dev.OS))),
		fold(folded(fieldMake, dev.Make)),
		fold(folded(fieldModel, dev.Model)),
		fold(number(fieldCountry, pair(geo.Country))),
		fold(mix(folded(fieldRegion, geo.Region), pair(geo.Country)^key2)),
		fold(mix(folded(fieldCity, geo.City), pair(geo.Country)^key2)),
		fold(number(fieldLanguage, pair(dev.Language))),
		fold(number(fieldConnection, uint64(dev.Connection))),
		fold(number(fieldKind, uint64(inv.Kind))),
		fold(exact(fieldCategory, category)),
		fold(number(fieldFlags, flag(imp.Instl)|flag(imp.Rewarded)<<1|flag(imp.Secure)<<2|flag(len(imp.Deals) > 0)<<3)),
		fold(number(fieldFloor, bucket(int64(imp.Floor/(rtb.OneCPM/100)))<<32|currency(imp.FloorCur))),
		fold(number(fieldGender, uint64(req.User.Gender))),
		fold(number(fieldAge, age)),
	)
	return b.appendUser(dst, user)
}

func (b *basis) appendUser(dst []uint32, user *rtb.Profile) []uint32 {
	b.count, b.known, b.exposures = 0, false, nil
	if user != nil {
		b.known, b.exposures = user.Known, user.Exposures
		b.take(user.Segments)
	}
	dst = append(dst,
		fold(number(fieldKnown, flag(b.known))),
		fold(number(fieldSegmentCount, bucket(int64(b.count)))),
	)
	for _, s := range b.segments[:b.count] {
		dst = append(dst, fold(number(fieldSegment, uint64(s))))
	}
	return dst
}

// take keeps the first distinct segments: those of several identifiers of one
// person may repeat, which must not count twice.
func (b *basis) take(segments []rtb.SegmentID) {
	var seen uint64 // by the low bits; a set bit only says that a look is worth it
next:
	for _, s := range segments {
		bit := uint64(1) << (s & 63)
		if seen&bit != 0 {
			for _, have := range b.segments[:b.count] {
				if have == s {
					continue next
				}
			}
		}
		seen |= bit
		b.segments[b.count] = s
		if b.count++; b.count == maxSegments {
			return
		}
	}
}

func (b *basis) appendCandidate(dst []uint32, item *rtb.LineItem, creative *rtb.Creative, size rtb.Size) []uint32 {
	c := number(fieldCreative, uint64(creative.ID))
	dst = append(dst,
		fold(c),
		fold(number(fieldLineItem, uint64(item.ID))),
		fold(number(fieldAdvertiser, uint64(item.Advertiser))),
		fold(number(fieldCreativeMedia, uint64(creative.Media))),
		fold(cross(fieldCreativeInventory, c, b.inventory)),
		fold(cross(fieldCreativeSize, c, uint64(size.W)<<16|uint64(size.H))),
		fold(cross(fieldCreativeHour, c, b.hour)),
	)
	dst = b.appendHistory(dst, item)
	for _, s := range b.segments[:min(b.count, maxCrossSegments)] {
		dst = append(dst, fold(cross(fieldCreativeSegment, c, uint64(s))))
	}
	return dst
}

// appendHistory says how often the user has seen the campaign, as far as it is
// remembered, and how long ago that was last.
func (b *basis) appendHistory(dst []uint32, item *rtb.LineItem) []uint32 {
	frequency, recency := uint64(0), uint64(0) // of somebody who is not known
	if b.known {
		var count, last int64
		for i := range b.exposures {
			if e := &b.exposures[i]; e.Campaign == item.Campaign && e.Count > 0 {
				count += int64(e.Count)
				last = max(last, int64(e.Time))
			}
		}
		frequency, recency = 1<<20|bucket(count), 1<<20
		if count > 0 {
			recency |= 1 << 19
			recency |= bucket(max(0, b.now-last) / 60)
		}
	}
	return append(dst, fold(number(fieldFrequency, frequency)), fold(number(fieldRecency, recency)))
}

func media(imp *rtb.Imp) uint64 {
	return flag(imp.HasBanner) | flag(imp.HasVideo)<<1 | flag(imp.HasAudio)<<2 | flag(imp.HasNative)<<3
}

func slotSize(imp *rtb.Imp) uint64 {
	switch {
	case imp.HasBanner && len(imp.Banner.Sizes) > 0:
		s := imp.Banner.Sizes[0]
		return uint64(s.W)<<16 | uint64(s.H)
	case imp.HasVideo:
		return uint64(imp.Video.W)<<16 | uint64(imp.Video.H)
	}
	return 0
}

func position(imp *rtb.Imp) uint64 {
	switch {
	case imp.HasBanner:
		return uint64(imp.Banner.Position)
	case imp.HasVideo:
		return uint64(imp.Video.Position) | uint64(imp.Video.Plcmt)<<8 | uint64(imp.Video.Placement)<<16
	}
	return 0
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func pair(p [2]byte) uint64 { return uint64(p[0])<<8 | uint64(p[1]) }

func currency(c rtb.Currency) uint64 { return uint64(c[0])<<16 | uint64(c[1])<<8 | uint64(c[2]) }

// bucket makes a value out of an integer: the small ones stand for themselves,
// the others for floor(ln(v)^2), so that each class is a little wider than
// the one before.
func bucket(v int64) uint64 {
	if v <= 2 {
		return 1<<16 | uint64(max(v, -1)+1)
	}
	l := math.Log(float64(v))
	return uint64(l * l)
}

// The hash is that of wyhash: 64 by 64 bits multiplied, the halves folded.
const (
	key0 = 0xa0761d6478bd642f
	key1 = 0xe7037ed1a0b428db
	key2 = 0x8ebc6af09c88c6e3
)

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// fold keeps the bits that travel with a bid. A model uses as many of them as
// its table has.
func fold(h uint64) uint32 { return (uint32(h>>32) ^ uint32(h)) & (1<<rtb.FeatureBits - 1) }

func number(f field, v uint64) uint64 { return mix(mix(v^key0, uint64(f)*key1), key2) }

func cross(f field, a, b uint64) uint64 { return mix(mix(a^uint64(f)*key1, b^key0), key2) }

// exact hashes text as it is.
func exact(f field, s []byte) uint64 { return text(f, s, 0) }

// folded hashes text without regard to the case of its letters. It sets one
// bit in each byte, which also joins a few signs that names do not have.
func folded(f field, s []byte) uint64 { return text(f, s, 0x2020202020202020) }

func text(f field, s []byte, or uint64) uint64 {
	s = s[:min(len(s), maxText)]
	n := uint64(len(s))
	h := uint64(f) * key1
	for len(s) > 16 {
		h = mix((binary.LittleEndian.Uint64(s)|or)^key1, (binary.LittleEndian.Uint64(s[8:])|or)^h)
		s = s[16:]
	}
	var a, b uint64
	switch k := len(s); {
	case k >= 8:
		a, b = binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[k-8:])
	case k >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(s)), uint64(binary.LittleEndian.Uint32(s[k-4:]))
	case k > 0:
		a = uint64(s[0])<<16 | uint64(s[k>>1])<<8 | uint64(s[k-1])
	}
	return mix(mix((a|or)^key1, (b|or)^h), n^key2)
}
