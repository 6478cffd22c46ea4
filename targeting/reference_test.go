package targeting

import (
	"math"
	"slices"
	"strings"
	"time"

	"bidwell/rtb"
)

// The reference decides with plain loops over strings, line item by line item,
// and shares no code with the package but its types.

// verdict is what the reference says of a line item.
type verdict struct {
	reason rtb.NoBid
	shows  []showing // the creatives that fit; empty unless BidMade
}

type showing struct {
	creative *rtb.Creative
	deal     int16
	floor    rtb.Money
	protocol uint8
	size     rtb.Size
}

// ownSeats are the seats that line items name.
func ownSeats(items []rtb.LineItem) (seats []string) {
	for i := range items {
		if s := items[i].Seat; s != "" && !slices.Contains(seats, s) {
			seats = append(seats, s)
		}
	}
	return seats
}

// furtherThan orders reasons by how far a line item came.
func furtherThan(a, b rtb.NoBid) bool {
	place := func(r rtb.NoBid) float64 {
		switch r {
		case rtb.BidMade:
			return 1000
		case rtb.SeatNotAllowed:
			return float64(rtb.DealMissing) + .25
		case rtb.CurrencyUnknown:
			return float64(rtb.DealMissing) + .5
		}
		return float64(r)
	}
	return place(a) > place(b)
}

func referenceVerdict(item *rtb.LineItem, seats []string, c *Context, imp *rtb.Imp) verdict {
	req, t := c.Request, &item.Targeting
	fail := func(r rtb.NoBid) verdict { return verdict{reason: r} }
	in := func(list [][]byte, s string) bool {
		return slices.ContainsFunc(list, func(b []byte) bool { return string(b) == s })
	}
	if imp.Broken || !(imp.HasBanner || imp.HasVideo || imp.HasAudio || imp.HasNative) {
		return fail(rtb.NoUsableImp)
	}
	mayBid := func(seat string) bool {
		return (len(req.Seats) == 0 || seat != "" && in(req.Seats, seat)) && !(seat != "" && in(req.NoSeats, seat))
	}
	if !mayBid(c.Seat) && !slices.ContainsFunc(seats, mayBid) {
		return fail(rtb.SeatNotAllowed)
	}

	if len(t.Countries) > 0 && !slices.Contains(t.Countries, req.Geo.Country) {
		return fail(rtb.CountryMismatch)
	}
	offered := map[rtb.Media]bool{rtb.Banner: imp.HasBanner, rtb.Video: imp.HasVideo, rtb.Audio: imp.HasAudio, rtb.Native: imp.HasNative}
	if !slices.ContainsFunc(item.Creatives, func(c rtb.Creative) bool { return offered[c.Media] }) {
		return fail(rtb.MediaMismatch)
	}
	if len(t.Exchanges) > 0 && !slices.Contains(t.Exchanges, req.Exchange) {
		return fail(rtb.ExchangeMismatch)
	}
	if len(t.Devices) > 0 && !slices.Contains(t.Devices, req.Device.Type) {
		return fail(rtb.DeviceMismatch)
	}
	if len(t.OS) > 0 && !slices.Contains(t.OS, req.Device.OS) {
		return fail(rtb.OSMismatch)
	}
	if len(t.Connections) > 0 && !slices.Contains(t.Connections, req.Device.Connection) {
		return fail(rtb.ConnectionMismatch)
	}
	if len(t.Languages) > 0 && !slices.Contains(t.Languages, req.Device.Language) {
		return fail(rtb.LanguageMismatch)
	}
	isIn := func(s rtb.SegmentID) bool { return c.User != nil && slices.Contains(c.User.Segments, s) }
	if len(t.SegmentsAny) > 0 && !slices.ContainsFunc(t.SegmentsAny, isIn) {
		return fail(rtb.SegmentMissing)
	}
	for _, s := range t.SegmentsAll {
		if !isIn(s) {
			return fail(rtb.SegmentMissing)
		}
	}
	if slices.ContainsFunc(t.SegmentsNone, isIn) {
		return fail(rtb.SegmentExcluded)
	}

	// Where it may bid.
	type way struct {
		deal        int16
		floor       rtb.Money
		known       bool
		advertisers [][]byte
	}
	convert := func(floor rtb.Money, cur rtb.Currency) (rtb.Money, bool) {
		if cur == (rtb.Currency{}) {
			cur = rtb.USD
		}
		return c.Rates.ToAccount(floor, cur)
	}
	seat := item.Seat
	if seat == "" {
		seat = c.Seat
	}
	var ways []way
	if len(t.Deals) == 0 {
		if imp.Private {
			return fail(rtb.DealMissing)
		}
		floor, known := convert(imp.Floor, imp.FloorCur)
		ways = append(ways, way{-1, floor, known, nil})
	} else {
		seated := false
		for i, d := range imp.Deals {
			if !slices.Contains(t.Deals, strings.Trim(string(d.ID), `"`)) {
				continue
			}
			seated = true
			if len(d.Seats) > 0 && !(seat != "" && in(d.Seats, seat)) {
				continue
			}
			floor, cur := d.Floor, d.FloorCur
			if floor == 0 {
				floor, cur = imp.Floor, imp.FloorCur
			}
			money, known := convert(floor, cur)
			ways = append(ways, way{int16(i), money, known, d.Advertisers})
		}
		if !seated {
			return fail(rtb.DealMissing)
		}
		if len(ways) == 0 {
			return fail(rtb.SeatNotAllowed)
		}
	}
	if !mayBid(seat) {
		return fail(rtb.SeatNotAllowed)
	}
	ways = slices.DeleteFunc(ways, func(w way) bool { return !w.known })
	if len(ways) == 0 {
		return fail(rtb.CurrencyUnknown)
	}
	ways = slices.DeleteFunc(ways, func(w way) bool { return w.floor > item.Goal.Max })
	if len(ways) == 0 {
		return fail(rtb.FloorTooHigh)
	}

	if c.Now.Before(item.Flight.Start) || !item.Flight.End.IsZero() && !c.Now.Before(item.Flight.End) {
		return fail(rtb.OutOfFlight)
	}
	if t.Hours.Set {
		local := c.Now.In(item.Location)
		if t.UserTime && req.Geo.HasOffset && req.Geo.UTCOffset >= -720 && req.Geo.UTCOffset <= 840 {
			local = c.Now.In(time.FixedZone("user", int(req.Geo.UTCOffset)*60))
		}
		if h := int(local.Weekday())*24 + local.Hour(); t.Hours.Bits[h/64]>>(h%64)&1 == 0 {
			return fail(rtb.OutOfHours)
		}
	}
	geo := &req.Geo
	if len(t.Regions) > 0 && !slices.ContainsFunc(t.Regions, func(want string) bool {
		country, region := string(geo.Country[:]), string(geo.Region)
		if len(region) > 3 && region[2] == '-' {
			if country != "\x00\x00" && !strings.EqualFold(country, region[:2]) {
				return false
			}
			country, region = region[:2], region[3:]
		}
		return country != "\x00\x00" && region != "" &&
			(strings.EqualFold(want, region) || strings.EqualFold(want, country+"-"+region))
	}) {
		return fail(rtb.RegionMismatch)
	}
	if len(t.Cities) > 0 && !slices.ContainsFunc(t.Cities, func(want string) bool {
		return strings.EqualFold(strings.TrimSpace(want), strings.TrimSpace(string(geo.City)))
	}) {
		return fail(rtb.CityMismatch)
	}
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(s))
	}
	if len(t.Zips) > 0 && !slices.ContainsFunc(t.Zips, func(want string) bool {
		zip := plain(string(geo.Zip))
		if start, ok := strings.CutSuffix(want, "*"); ok {
			return zip != "" && strings.HasPrefix(zip, plain(start))
		}
		return zip == plain(want)
	}) {
		return fail(rtb.ZipMismatch)
	}
	if len(t.Fences) > 0 && !(geo.HasPoint && geo.Precise && slices.ContainsFunc(t.Fences, func(f rtb.Fence) bool {
		return haversine(f.Lat, f.Lon, geo.Lat, geo.Lon) <= f.Meters
	})) {
		return fail(rtb.OutsideFence)
	}
	if len(t.Carriers) > 0 && !slices.ContainsFunc(t.Carriers, func(want string) bool {
		return strings.EqualFold(want, string(req.Device.Carrier)) || strings.EqualFold(want, string(req.Device.MCCMNC))
	}) {
		return fail(rtb.CarrierMismatch)
	}
	onSite := func(list []string) bool {
		return slices.ContainsFunc(list, func(d string) bool { return isBelow(string(req.Inventory.Domain), d) })
	}
	inApp := func(list []string) bool {
		return slices.ContainsFunc(list, func(b string) bool {
			return len(req.Inventory.Bundle) > 0 && strings.EqualFold(b, string(req.Inventory.Bundle))
		})
	}
	if len(t.AllowDomains)+len(t.AllowApps) > 0 && !onSite(t.AllowDomains) && !inApp(t.AllowApps) ||
		onSite(t.DenyDomains) || inApp(t.DenyApps) {
		return fail(rtb.InventoryDenied)
	}
	about := func(list []string) bool {
		return slices.ContainsFunc(req.Inventory.Categories, func(have []byte) bool {
			return slices.ContainsFunc(list, func(c string) bool { return isCategory(string(have), c) })
		})
	}
	if len(t.AllowCategories) > 0 && !about(t.AllowCategories) || about(t.DenyCategories) {
		return fail(rtb.CategoryDenied)
	}
	if len(t.Media) > 0 && !slices.Contains(t.Media, req.Inventory.Kind) {
		return fail(rtb.InventoryKindMismatch)
	}

	var v verdict
	v.reason = rtb.MediaMismatch
	for i := range item.Creatives {
		creative := &item.Creatives[i]
		if !offered[creative.Media] {
			continue
		}
		reason, protocol, size := referenceSlot(creative, imp)
		s := showing{creative: creative, protocol: protocol, size: size, deal: -2}
		for _, w := range ways {
			if len(w.advertisers) > 0 && !(len(creative.Advertisers) > 0 && !slices.ContainsFunc(creative.Advertisers, func(d string) bool {
				return !slices.ContainsFunc(w.advertisers, func(allowed []byte) bool { return isBelow(d, string(allowed)) })
			})) {
				continue
			}
			if s.deal == -2 || w.floor < s.floor {
				s.deal, s.floor = w.deal, w.floor
			}
		}
		blocked := func(list [][]byte, is func(blocked string) bool) bool {
			return slices.ContainsFunc(list, func(b []byte) bool { return is(string(b)) })
		}
		switch {
		case reason != rtb.BidMade:
		case blocked(req.Blocked.Categories, func(b string) bool {
			return slices.ContainsFunc(creative.Categories, func(c string) bool { return isCategory(c, b) })
		}):
			reason = rtb.CreativeCategoryBlocked
		case blocked(req.Blocked.Advertisers, func(b string) bool {
			return slices.ContainsFunc(creative.Advertisers, func(d string) bool { return isBelow(d, b) })
		}), s.deal == -2:
			reason = rtb.AdvertiserBlocked
		case blocked(req.Blocked.Apps, func(b string) bool { return b != "" && strings.EqualFold(b, creative.Bundle) }):
			reason = rtb.AppBlocked
		case imp.Secure && !creative.Secure:
			reason = rtb.NotSecure
		case creative.Language != "" && len(req.Languages) > 0 && !blocked(req.Languages, func(tag string) bool {
			return strings.EqualFold(strings.SplitN(strings.ReplaceAll(tag, "_", "-"), "-", 2)[0], creative.Language)
		}):
			reason = rtb.CreativeLanguage
		case creative.Media == rtb.Native && c.Fit(creative, imp) != rtb.BidMade:
			reason = c.Fit(creative, imp)
		case creative.DSA == nil && (req.DSA.Required == 2 || req.DSA.Required == 3):
			reason = rtb.TransparencyMissing
		case referenceCaps(item, creative, c) != rtb.BidMade:
			reason = referenceCaps(item, creative, c)
		default:
			v.shows = append(v.shows, s)
		}
		if furtherThan(reason, v.reason) {
			v.reason = reason
		}
	}
	if v.reason == rtb.BidMade {
		if reason := referenceCaps(item, nil, c); reason != rtb.BidMade {
			return fail(reason)
		}
		if reason := c.Admit(item.Slot, 0); reason != rtb.BidMade {
			return fail(reason)
		}
	}
	return v
}

// referenceCaps asks the caps of creatives, or without one all others.
func referenceCaps(item *rtb.LineItem, creative *rtb.Creative, c *Context) rtb.NoBid {
	caps := slices.Clone(item.Caps)
	if item.MinGap > 0 {
		caps = append(caps, rtb.FrequencyCap{Per: rtb.CapLineItem, Limit: 1, Window: item.MinGap})
	}
	for _, k := range caps {
		if (k.Per == rtb.CapCreative) != (creative != nil) {
			continue
		}
		if c.User == nil || len(c.Request.Users) == 0 {
			return rtb.UserUnknown
		}
		shown := 0
		for _, e := range c.User.Exposures {
			same := map[rtb.CapScope]bool{
				rtb.CapLineItem:   e.LineItem == item.ID || e.LineItem == 0,
				rtb.CapCampaign:   e.Campaign == item.Campaign || e.Campaign == 0,
				rtb.CapAdvertiser: e.Advertiser == item.Advertiser || e.Advertiser == 0,
				rtb.CapCreative:   creative != nil && e.Creative == creative.ID || e.Creative == 0,
			}[k.Per]
			if same && time.Unix(int64(e.Time), 0).Add(k.Window).After(c.Now.Truncate(time.Second)) {
				shown += int(e.Count)
			}
		}
		if shown >= int(k.Limit) {
			return rtb.FrequencyCapped
		}
	}
	return rtb.BidMade
}

// referenceSlot compares a creative to the object of imp for its kind.
func referenceSlot(c *rtb.Creative, imp *rtb.Imp) (rtb.NoBid, uint8, rtb.Size) {
	attrs := c.Attributes
	if c.Skippable {
		attrs |= 1 << 16
	}
	stream := &imp.Video
	switch c.Media {
	case rtb.Banner:
		b := &imp.Banner
		switch {
		case !b.AnySize && !slices.Contains(b.Sizes, c.Size):
			return rtb.SizeMismatch, 0, rtb.Size{}
		case b.Mimes != 0 && b.Mimes&c.Mime == 0:
			return rtb.MimeMismatch, 0, rtb.Size{}
		case c.API&b.APIs != c.API:
			return rtb.APIMismatch, 0, rtb.Size{}
		case attrs&b.BlockedAttrs != 0, b.BlockedTypes.Has(c.BannerType):
			return rtb.AttributeBlocked, 0, rtb.Size{}
		}
		return rtb.BidMade, 0, c.Size
	case rtb.Native:
		switch {
		case c.API&imp.Native.APIs != c.API:
			return rtb.APIMismatch, 0, rtb.Size{}
		case attrs&imp.Native.BlockedAttrs != 0:
			return rtb.AttributeBlocked, 0, rtb.Size{}
		}
		return rtb.BidMade, 0, rtb.Size{}
	case rtb.Audio:
		stream = &imp.Audio
	}
	player := rtb.Size{W: stream.W, H: stream.H}
	if c.Size != (rtb.Size{}) && player.W > 0 && player.H > 0 && c.Size != player {
		return rtb.SizeMismatch, 0, rtb.Size{}
	}
	if stream.Mimes != 0 && stream.Mimes&c.MimeAll == 0 {
		return rtb.MimeMismatch, 0, rtb.Size{}
	}
	seconds := c.Duration.Seconds()
	if len(stream.Durations) > 0 {
		if seconds == 0 || !slices.Contains(stream.Durations, uint16(math.Round(seconds))) {
			return rtb.DurationMismatch, 0, rtb.Size{}
		}
	} else {
		limits := []uint16{stream.MaxDuration, stream.PodDuration}
		for _, longest := range limits {
			if longest > 0 && (seconds == 0 || seconds > float64(longest)) {
				return rtb.DurationMismatch, 0, rtb.Size{}
			}
		}
		if seconds < float64(stream.MinDuration) {
			return rtb.DurationMismatch, 0, rtb.Size{}
		}
	}
	protocol := c.Protocol
	switch {
	case stream.Protocols == 0 && protocol == 0:
		protocol = 3
	case stream.Protocols == 0:
	case protocol == 0:
		for _, v := range []uint8{2, 3, 7, 11, 13} {
			if stream.Protocols.Has(v) {
				protocol = v
			}
		}
		if protocol == 0 {
			return rtb.ProtocolMismatch, 0, rtb.Size{}
		}
	case !stream.Protocols.Has(protocol):
		return rtb.ProtocolMismatch, 0, rtb.Size{}
	}
	switch {
	case c.API&stream.APIs != c.API:
		return rtb.APIMismatch, 0, rtb.Size{}
	case c.Media == rtb.Video && stream.Linearity == 1 && !c.Linear,
		c.Media == rtb.Video && stream.Linearity == 2 && c.Linear,
		c.Bitrate > 0 && c.Bitrate < stream.MinBitrate,
		c.Bitrate > 0 && stream.MaxBitrate > 0 && c.Bitrate > stream.MaxBitrate:
		return rtb.PlacementMismatch, 0, rtb.Size{}
	case attrs&stream.BlockedAttrs != 0:
		return rtb.AttributeBlocked, 0, rtb.Size{}
	}
	if c.Media == rtb.Audio {
		player = rtb.Size{}
	}
	return rtb.BidMade, protocol, player
}

func bare(domain string) string {
	domain = strings.ToLower(domain)
	if _, rest, ok := strings.Cut(domain, "//"); ok {
		domain = rest
	}
	domain, _, _ = strings.Cut(domain, "/")
	return strings.TrimPrefix(domain, "www.")
}

func isBelow(domain, above string) bool {
	domain, above = bare(domain), bare(above)
	return above != "" && (domain == above || strings.HasSuffix(domain, "."+above))
}

func isCategory(have, want string) bool {
	return have == want || strings.HasPrefix(have, want+"-") && strings.HasPrefix(want, "IAB") &&
		!strings.Contains(want, "-") && len(want) > 3
}

func haversine(lat1, lon1, lat2, lon2 float64) float64 {
	const rad = math.Pi / 180
	a := math.Sin((lat2 - lat1) * rad / 2)
	b := math.Sin((lon2 - lon1) * rad / 2)
	h := a*a + math.Cos(lat1*rad)*math.Cos(lat2*rad)*b*b
	return 2 * 6_371_008.8 * math.Asin(math.Min(1, math.Sqrt(h)))
}
