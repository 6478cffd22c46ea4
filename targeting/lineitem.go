package targeting

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"bidwell/rtb"
)

// needs says which checks of a line item are not idle.
type needs uint32

const (
	needAny needs = 1 << iota
	needAll
	needNone
	needDeals
	needHours
	needRegion
	needCity
	needZip
	needFence
	needCarrier
	needInventory
	needCategory
	needCaps
	needCreativeCaps

	needPlace  = needRegion | needCity | needZip | needFence
	needRules  = needPlace | needHours | needCarrier | needInventory | needCategory
	needPeople = needAll | needNone
)

// entry is what every check of a line item needs: one cache line of what is
// read for each, the rest in rules.
type entry struct {
	ceiling    rtb.Money
	start, end int64 // nanoseconds
	needs      needs
	id         uint32
	slot       int32 // of the pacer
	rules      int32
	creatives  int32 // place of the first
	count      int32
	kinds      uint8 // set of inventory kinds
	ownSeat    bool
	counted    bool // its impressions count for a frequency cap
	rotation   rtb.Rotation
	repeat     bool
}

// rules are the restrictions of a line item that has any beyond those that
// bitsets decide, as rising numbers out of the vocabularies.
type rules struct {
	any, all, none                  []uint32 // segments
	deals                           []uint32
	hours                           rtb.WeekHours
	clock                           int32
	userTime                        bool
	regions, cities, zips, carriers []uint32
	fences                          fences
	allowDomains, denyDomains       []uint32
	allowApps, denyApps             []uint32
	allowCategories, denyCategories []uint32
	limits, creativeLimits          []limit
}

func (x *Index) creativesOf(e *entry) []creative {
	return x.creatives[e.creatives : e.creatives+e.count]
}

// compile fills e from item.
func (x *Index) compile(e *entry, item *rtb.LineItem, clocks *clockSet) error {
	if item.Goal.Max <= 0 {
		return errors.New("goal.max: must be positive")
	}
	t := &item.Targeting
	*e = entry{
		ceiling:   item.Goal.Max,
		start:     nanoseconds(item.Flight.Start, math.MinInt64),
		end:       nanoseconds(item.Flight.End, math.MaxInt64),
		id:        uint32(item.ID),
		slot:      item.Slot,
		creatives: int32(len(x.creatives)),
		count:     int32(len(item.Creatives)),
		ownSeat:   item.Seat != "",
		rotation:  item.Rotation,
		repeat:    item.Repeat,
	}
	if item.Rotation > rtb.RotateSequence {
		return fmt.Errorf("rotation: %d is none", item.Rotation)
	}
	if item.Rotation == rtb.RotateSequence {
		if x.sequences == nil {
			x.sequences = map[rtb.LineItemID]bool{}
		}
		x.sequences[item.ID] = true
	}
	if e.ownSeat {
		x.seats = append(x.seats, item.Seat)
	}
	for _, kind := range t.Media {
		if kind > rtb.DOOH {
			return fmt.Errorf("targeting.media: %d is no kind of inventory", kind)
		}
		e.kinds |= 1 << kind
	}
	for _, codes := range [][][2]byte{t.Countries, t.Languages} {
		for _, code := range codes {
			if !isLetter(code[0]) || !isLetter(code[1]) {
				return fmt.Errorf("targeting: %q is no country or language of two letters", code[:])
			}
		}
	}

	var r rules
	list := func(dst *[]uint32, need needs, v *vocabulary, field string, values []string, clean func(string) string) error {
		for i, s := range values {
			s = clean(s)
			if s == "" {
				return fmt.Errorf("targeting.%s[%d]: %q is empty", field, i, values[i])
			}
			*dst = append(*dst, v.intern(s))
		}
		if len(values) > 0 {
			e.needs |= need
			*dst = rising(*dst)
		}
		return nil
	}
	verbatim := func(s string) string { return s }
	if err := cmpErr(
		list(&r.deals, needDeals, &x.deals, "deals", t.Deals, verbatim),
		list(&r.cities, needCity, &x.cities, "cities", t.Cities, foldString),
		list(&r.carriers, needCarrier, &x.carriers, "carriers", t.Carriers, foldString),
		list(&r.allowDomains, needInventory, &x.domains, "allow_domains", t.AllowDomains, cleanDomain),
		list(&r.denyDomains, needInventory, &x.domains, "deny_domains", t.DenyDomains, cleanDomain),
		list(&r.allowApps, needInventory, &x.apps, "allow_apps", t.AllowApps, strings.TrimSpace),
		list(&r.denyApps, needInventory, &x.apps, "deny_apps", t.DenyApps, strings.TrimSpace),
		list(&r.allowCategories, needCategory, &x.categories, "allow_categories", t.AllowCategories, strings.TrimSpace),
		list(&r.denyCategories, needCategory, &x.categories, "deny_categories", t.DenyCategories, strings.TrimSpace),
		list(&r.regions, needRegion, &x.regions, "regions", t.Regions, foldString),
		list(&r.zips, needZip, &x.zips, "zips", t.Zips, x.cleanZip),
	); err != nil {
		return err
	}
	x.segments(&r.any, t.SegmentsAny)
	x.segments(&r.all, t.SegmentsAll)
	x.segments(&r.none, t.SegmentsNone)
	for need, named := range map[needs]int{
		needAny: len(r.any), needAll: len(r.all), needNone: len(r.none), needFence: len(t.Fences),
	} {
		if named > 0 {
			e.needs |= need
		}
	}
	if t.Hours.Set {
		e.needs |= needHours
		r.hours, r.userTime, r.clock = t.Hours, t.UserTime, clocks.number(item.Location)
	}
	if err := r.fences.build(t.Fences); err != nil {
		return fmt.Errorf("targeting.fences%w", err)
	}
	if err := x.compileCaps(e, &r, item); err != nil {
		return err
	}
	if e.needs != 0 {
		e.rules = int32(len(x.rules))
		x.rules = append(x.rules, r)
	}
	for i := range item.Creatives {
		c, err := x.compileCreative(&item.Creatives[i])
		if err != nil {
			return fmt.Errorf("creative %q: %w", item.Creatives[i].Key, err)
		}
		x.creatives = append(x.creatives, c)
	}
	return nil
}

// cmpErr is the first error, if any.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) segments(dst *[]uint32, ids []rtb.SegmentID) {
	for _, id := range ids {
		*dst = append(*dst, x.tags.intern(uint32(id)))
	}
	*dst = rising(*dst)
}

// cleanZip folds a postal code and keeps account of the lengths of prefixes,
// which are interned with their star.
func (x *Index) cleanZip(s string) string {
	start, prefix := strings.CutSuffix(strings.TrimSpace(s), "*")
	zip := string(appendZip(nil, []byte(start)))
	if !prefix {
		return zip
	}
	if len(zip) <= maxText && !slices.Contains(x.zipStarts, len(zip)) {
		x.zipStarts = append(x.zipStarts, len(zip))
	}
	return zip + "*"
}

// rising sorts list and drops repeated numbers.
func rising(list []uint32) []uint32 {
	slices.Sort(list)
	return slices.Compact(list)
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// nanoseconds is t as a number; open stands for the zero time, and what is too
// far off to be a number is as far as numbers go.
func nanoseconds(t time.Time, open int64) int64 {
	switch {
	case t.IsZero():
		return open
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}
