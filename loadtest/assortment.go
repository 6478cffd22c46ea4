package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// assortment is every ad that a bidder may show and what it is worth to its
// line item, as the documents say. All of its line items are open to all
// traffic, so that anyone who knows the slots knows what could have been
// shown.
type assortment struct {
	ads   []*stocked
	lines map[string]*stocked // the first ad of each line item, by what bids call it; for its goal
}

// stocked is one creative of one line item.
type stocked struct {
	Ad
	line    string    // what bids call the line item: its number
	seconds int       // video and audio
	goal    string    // cpm, cpc, or cpa
	value   rtb.Money // of a thousandth of a CPM goal, of a click, or of a conversion
	most    rtb.Money // that may be bid for an impression

	// What insight knows: the mean probability of a purchase after a click, and
	// the curves of the probability of a click.
	conversion float64
	expected   [len(audiences)][2]atomic.Pointer[curve]
}

// worth is what an impression is worth that is clicked and leads to a purchase
// with these probabilities.
func (a *stocked) worth(click, conversion float64) rtb.Money {
	switch a.goal {
	case "cpc":
		return rtb.Money(float64(a.value) * click)
	case "cpa":
		return rtb.Money(float64(a.value) * click * conversion)
	}
	return a.value
}

// fits reports whether the ad may be shown in a slot. Blocked categories and
// advertisers are not looked at: those of the market are nobody's.
func (a *stocked) fits(s *Slot) bool {
	switch a.Media {
	case rtb.Banner:
		return s.Banner && s.offers(a.Size)
	case rtb.Video:
		return s.Video && a.lasts(s) && (a.Size == rtb.Size{} || a.Size == s.Player)
	case rtb.Audio:
		return s.Audio && a.lasts(s)
	}
	return s.Native
}

// fit reports whether there is an ad for a slot.
func (all *assortment) fit(s *Slot) bool {
	return slices.ContainsFunc(all.ads, func(a *stocked) bool { return a.fits(s) })
}

// shortest is the least duration that the market's players take, in seconds.
const shortest = 5

func (a *stocked) lasts(s *Slot) bool { return a.seconds >= shortest && a.seconds <= s.MaxDuration }

// in is the ad as it is seen in a slot that it fits.
func (a *stocked) in(s *Slot) Ad {
	ad := a.Ad
	if ad.Media == rtb.Video {
		ad.Size = s.Player
	}
	return ad
}

// readAssortment reads the line items that are active, with their creatives.
// It is an error when one of them is restricted in any way but its budget.
func readAssortment(ctx context.Context, a *adminAPI) (*assortment, error) {
	campaigns, err := listAll[struct {
		ID     string
		Number uint32
	}](ctx, a, "campaigns")
	if err != nil {
		return nil, err
	}
	numbers := map[string]string{}
	for _, d := range campaigns {
		numbers[d.ID] = strconv.FormatUint(uint64(d.Number), 10)
	}
	creatives, err := listAll[creativeDocument](ctx, a, "creatives")
	if err != nil {
		return nil, err
	}
	byID := map[string]*creativeDocument{}
	for i := range creatives {
		byID[creatives[i].ID] = &creatives[i]
	}
	items, err := listAll[openDocument](ctx, a, "line-items")
	if err != nil {
		return nil, err
	}
	all := &assortment{lines: map[string]*stocked{}}
	for i := range items {
		d := &items[i]
		if d.Status != "" && d.Status != "active" {
			continue
		}
		first := len(all.ads)
		for _, id := range d.Creatives {
			k := byID[id]
			if k == nil || k.Status != "" && k.Status != "active" {
				continue
			}
			ad, err := d.stock(k, numbers[d.Campaign])
			if err != nil {
				return nil, fmt.Errorf("admin: line item %s: %w", d.ID, err)
			}
			all.ads = append(all.ads, ad)
		}
		if len(all.ads) == first {
			continue
		}
		if err := d.open(); err != nil {
			return nil, fmt.Errorf("admin: line item %s: %w: surplus wants line items that are open to all traffic", d.ID, err)
		}
	}
	if len(all.ads) == 0 {
		return nil, fmt.Errorf("admin: no active line item has creatives: there is no surplus")
	}
	for _, a := range all.ads {
		if all.lines[a.line] == nil {
			all.lines[a.line] = a
		}
	}
	return all, nil
}

type creativeDocument struct {
	ID, Status, Type, Duration string
	Width, Height              uint16
}

// openDocument is what decides about a line item that is open to all traffic.
type openDocument struct {
	ID, Campaign, Status string
	Number               uint32
	Creatives            []string
	Goal                 struct {
		Type   string
		Value  decimal
		MaxCPM decimal `json:"max_cpm"`
	}
	Targeting json.RawMessage
	Caps      []json.RawMessage
	MinGap    string `json:"min_gap"`
	Flight    struct{ Start, End string }
}

// open is an error where the line item may not bid for all that is on offer.
func (d *openDocument) open() error {
	switch {
	case len(d.Caps) > 0:
		return fmt.Errorf("caps: there are %d", len(d.Caps))
	case d.MinGap != "":
		return fmt.Errorf("min_gap: %s", d.MinGap)
	case d.Flight.Start != "" || d.Flight.End != "":
		return fmt.Errorf("flight: it is not always active")
	case len(d.Targeting) == 0:
		return nil
	}
	var targeting any
	if err := json.Unmarshal(d.Targeting, &targeting); err != nil {
		return fmt.Errorf("targeting: %w", err)
	}
	if path := restriction("targeting", targeting); path != "" {
		return fmt.Errorf("%s: restricts it", path)
	}
	return nil
}

// restriction is the path of something that is not empty; a time zone
// restricts nothing.
func restriction(path string, of any) string {
	switch v := of.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if name == "timezone" {
				continue
			}
			if found := restriction(path+"."+name, v[name]); found != "" {
				return found
			}
		}
		return ""
	case []any:
		if len(v) == 0 {
			return ""
		}
	case nil:
		return ""
	case string:
		if v == "" {
			return ""
		}
	case bool:
		if !v {
			return ""
		}
	case float64:
		if v == 0 {
			return ""
		}
	}
	return path
}

// stock is one creative of the line item.
func (d *openDocument) stock(k *creativeDocument, campaign string) (*stocked, error) {
	a := &stocked{
		Ad:   Ad{LineItem: campaign, Creative: k.ID, Size: rtb.Size{W: k.Width, H: k.Height}},
		line: strconv.FormatUint(uint64(d.Number), 10),
		goal: d.Goal.Type, value: rtb.Money(d.Goal.Value), most: rtb.Money(d.Goal.MaxCPM) / 1000,
	}
	switch d.Goal.Type {
	case "cpc", "cpa":
	case "roas": // pays for conversions by what they bring
		a.goal, a.value = "cpa", rtb.Money(meanOrder*float64(rtb.Unit)*float64(rtb.Unit)/float64(max(a.value, 1)))
	case "cpm":
		a.value /= 1000
		if a.most == 0 {
			a.most = a.value
		}
	default:
		return nil, fmt.Errorf("goal.type: %q: nobody knows what an impression is worth to it", d.Goal.Type)
	}
	for _, media := range []rtb.Media{rtb.Banner, rtb.Video, rtb.Audio, rtb.Native} {
		if strings.EqualFold(k.Type, media.String()) {
			a.Media = media
		}
	}
	if a.Media == 0 {
		return nil, fmt.Errorf("creative %s: type: %q is no kind of ad", k.ID, k.Type)
	}
	if a.Media == rtb.Native || a.Media == rtb.Audio {
		a.Size = rtb.Size{}
	}
	if k.Duration != "" {
		length, err := time.ParseDuration(k.Duration)
		if err != nil {
			return nil, fmt.Errorf("creative %s: duration: %w", k.ID, err)
		}
		a.seconds = int(length / time.Second)
	}
	return a, nil
}
