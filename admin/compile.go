package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bidwell/rtb"
)

// Compiler turns documents into line items. Its method LineItems is what
// targeting.Catalog follows. It is safe for concurrent use.
type Compiler struct {
	docs     Documents
	exchange func(name string) (rtb.ExchangeID, bool)
	answer   func(*rtb.Creative) error

	mu       sync.Mutex
	version  uint64 // at which problems were found
	problems []Problem
	logged   map[Problem]bool
}

// Problem says why a document that should take part in bidding does not.
type Problem struct {
	Kind   string `json:"kind" doc:"Kind of the document" example:"line-items"`
	ID     string `json:"id" doc:"Id of the document"`
	Reason string `json:"reason"`
}

// NewCompiler makes a compiler. The function exchange knows the numbers of
// exchanges by name; answer prepares the markup of a creative and says what is
// wrong with its assets. Without them nothing is known or prepared.
func NewCompiler(docs Documents, exchange func(name string) (rtb.ExchangeID, bool), answer func(*rtb.Creative) error) *Compiler {
	if exchange == nil {
		exchange = func(string) (rtb.ExchangeID, bool) { return 0, false }
	}
	if answer == nil {
		answer = func(*rtb.Creative) error { return nil }
	}
	return &Compiler{docs: docs, exchange: exchange, answer: answer}
}

// LineItems reads the active line items of active campaigns and advertisers and
// the version they were read at; when that is still have it returns the version
// alone. A document that cannot be used is left out, see [Compiler.Problems],
// and the others are not touched by it. The line items are new on each call and
// belong to the caller; they come in the order of their ids.
func (c *Compiler) LineItems(ctx context.Context, have uint64) ([]rtb.LineItem, uint64, error) {
	version, err := c.docs.Version(ctx)
	if err != nil || version == have {
		return nil, version, err
	}
	run := compilation{compiler: c, creatives: map[string]*rtb.Creative{}}
	err = c.docs.View(ctx, func(ctx context.Context) error {
		if version, err = c.docs.Version(ctx); err != nil {
			return err
		}
		return run.read(ctx)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("compile line items: %w", err)
	}
	items := run.compile()
	c.report(version, run.problems)
	return items, version, nil
}

// Problems are what was left out by the last reading of the current version.
func (c *Compiler) Problems(ctx context.Context) ([]Problem, error) {
	c.mu.Lock()
	version := c.version
	c.mu.Unlock()
	if _, _, err := c.LineItems(ctx, version); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.problems), nil
}

// report keeps problems for the API and logs those that are new.
func (c *Compiler) report(version uint64, problems []Problem) {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Reason, b.Reason))
	})
	problems = slices.Compact(problems)
	c.mu.Lock()
	defer c.mu.Unlock()
	if version < c.version {
		return // overtaken by a newer reading
	}
	logged := make(map[Problem]bool, len(problems))
	for _, p := range problems {
		if logged[p] = true; !c.logged[p] {
			slog.Warn("document left out of bidding", "kind", p.Kind, "id", p.ID, "reason", p.Reason)
		}
	}
	c.version, c.problems, c.logged = version, problems, logged
}

// compilation is one reading of all documents.
type compilation struct {
	compiler *Compiler

	advertisers map[string]*Advertiser
	campaigns   map[string]*Campaign
	ads         map[string]*Creative
	segments    map[string]rtb.SegmentID
	deals       map[string]*Deal
	lineItems   []*LineItem

	creatives map[string]*rtb.Creative // made so far; nil for one that cannot be used
	zones     map[string]*time.Location
	problems  []Problem
}

func (r *compilation) problem(kind, id, format string, args ...any) {
	r.problems = append(r.problems, Problem{Kind: kind, ID: id, Reason: fmt.Sprintf(format, args...)})
}

func (r *compilation) read(ctx context.Context) (err error) {
	if r.advertisers, err = readAll[Advertiser](ctx, r, advertisers); err != nil {
		return err
	}
	if r.campaigns, err = readAll[Campaign](ctx, r, campaigns); err != nil {
		return err
	}
	if r.ads, err = readAll[Creative](ctx, r, creatives); err != nil {
		return err
	}
	if r.deals, err = readAll[Deal](ctx, r, deals); err != nil {
		return err
	}
	r.segments = map[string]rtb.SegmentID{}
	err = eachOf(ctx, r.compiler.docs, segments, func(id string, number uint32, _ uint64, _ []byte) error {
		r.segments[id] = rtb.SegmentID(number)
		return nil
	})
	if err != nil {
		return err
	}
	items, err := readAll[LineItem](ctx, r, lineItems)
	if err != nil {
		return err
	}
	for _, item := range items {
		r.lineItems = append(r.lineItems, item)
	}
	slices.SortFunc(r.lineItems, func(a, b *LineItem) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// readAll reads the documents of a kind. One that does not read or is not what
// its kind must be is a problem of its own.
func readAll[T any](ctx context.Context, r *compilation, name string) (map[string]*T, error) {
	all := map[string]*T{}
	k := kindOf(name)
	err := eachOf(ctx, r.compiler.docs, name, func(id string, number uint32, version uint64, body []byte) error {
		d, err := read(k, id, number, version, body)
		if err != nil {
			r.problem(name, id, "%v", err)
			return nil
		}
		c := checker{at: k.noun}
		if d.check(&c); len(c.errs) > 0 {
			r.problem(name, id, "%s %s", c.errs[0].Location, c.errs[0].Message)
			return nil
		}
		all[id] = any(d).(*T)
		return nil
	})
	return all, err
}

func (r *compilation) compile() []rtb.LineItem {
	items := make([]rtb.LineItem, 0, len(r.lineItems))
	for _, l := range r.lineItems {
		if l.Status != Active {
			continue
		}
		campaign := r.campaigns[l.Campaign]
		if campaign == nil {
			r.problem(lineItems, l.ID, "campaign %s is not usable", l.Campaign)
			continue
		}
		owner := r.advertisers[campaign.Advertiser]
		if owner == nil {
			r.problem(lineItems, l.ID, "advertiser %s is not usable", campaign.Advertiser)
			continue
		}
		if campaign.Status != Active || owner.Status != Active {
			continue
		}
		item, err := r.lineItem(l, campaign, owner)
		if err != nil {
			r.problem(lineItems, l.ID, "%v", err)
			continue
		}
		items = append(items, item)
	}
	return items
}

func (r *compilation) lineItem(l *LineItem, campaign *Campaign, owner *Advertiser) (item rtb.LineItem, err error) {
	item = rtb.LineItem{
		ID: rtb.LineItemID(l.Number), Key: l.ID, Name: l.Name,
		Campaign: rtb.CampaignID(campaign.Number), Advertiser: rtb.AdvertiserID(owner.Number), Seat: owner.Seat,
		Budgets: l.budgets(campaign), Fees: l.Fees.compile(), Pacing: paces[l.Pacing], Goal: l.Goal.compile(),
	}
	if item.Flight, err = flight(l.Flight, campaign.Flight); err != nil {
		return item, err
	}
	if item.Location, err = r.zone(owner.Timezone); err != nil {
		return item, err
	}
	for _, k := range l.Caps {
		window, err := time.ParseDuration(string(k.Window))
		if err != nil {
			return item, err
		}
		item.Caps = append(item.Caps, rtb.FrequencyCap{Per: capScopes[k.Per], Limit: k.Limit, Window: window})
	}
	if err := r.targeting(&l.Targeting, &item.Targeting); err != nil {
		return item, err
	}
	return item, r.addCreatives(l, owner, &item)
}

func (r *compilation) addCreatives(l *LineItem, owner *Advertiser, item *rtb.LineItem) error {
	for _, id := range l.Creatives {
		doc := r.ads[id]
		switch {
		case doc == nil:
			r.problem(lineItems, l.ID, "creative %s is not usable", id)
			continue
		case doc.Status != Active:
			continue
		case doc.Advertiser != owner.ID:
			r.problem(lineItems, l.ID, "creative %s is of another advertiser, %s", id, doc.Advertiser)
			continue
		}
		made, ok := r.creatives[id]
		if !ok {
			made = new(doc.compile(owner))
			err := r.compiler.answer(made)
			if err == nil && len(made.Advertisers) == 0 {
				err = errors.New("neither it nor its advertiser has a domain to answer as adomain")
			}
			if err != nil {
				r.problem(creatives, id, "%v", err)
				made = nil
			}
			r.creatives[id] = made
		}
		if made != nil {
			item.Creatives = append(item.Creatives, *made)
		}
	}
	if len(item.Creatives) == 0 {
		return errors.New("has no creative that may be shown")
	}
	return nil
}

// flight is the time that a line item has in common with its campaign.
func flight(item, campaign Flight) (rtb.Flight, error) {
	var f rtb.Flight
	for _, part := range []Flight{item, campaign} {
		if part.Start != "" {
			start, err := time.Parse(time.RFC3339, string(part.Start))
			if err != nil {
				return f, err
			}
			if start.After(f.Start) {
				f.Start = start
			}
		}
		if part.End != "" {
			end, err := time.Parse(time.RFC3339, string(part.End))
			if err != nil {
				return f, err
			}
			if f.End.IsZero() || end.Before(f.End) {
				f.End = end
			}
		}
	}
	if !f.End.IsZero() && !f.End.After(f.Start) {
		return f, errors.New("its flight and that of its campaign have no time in common")
	}
	return f, nil
}

func (g *Goal) compile() rtb.Goal {
	out := rtb.Goal{Type: goals[g.Type]}
	if out.Type == rtb.GoalCPM {
		out.Value, _ = rtb.ParseCPM(string(g.Value))
		out.Max = out.Value
	} else {
		out.Value, _ = rtb.ParseMoney(string(g.Value))
	}
	if g.MaxCPM != "" {
		out.Max, _ = rtb.ParseCPM(string(g.MaxCPM))
	}
	out.MaxCPC, _ = rtb.ParseMoney(string(g.MaxCPC))
	out.MaxCPA, _ = rtb.ParseMoney(string(g.MaxCPA))
	return out
}

// zone is the same pointer for the same name within one reading.
func (r *compilation) zone(name string) (*time.Location, error) {
	if zone := r.zones[name]; zone != nil {
		return zone, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, err
	}
	if r.zones == nil {
		r.zones = map[string]*time.Location{}
	}
	r.zones[name] = zone
	return zone, nil
}

func (r *compilation) targeting(t *Targeting, out *rtb.Targeting) (err error) {
	for _, list := range []struct {
		ids []string
		out *[]rtb.SegmentID
	}{{t.Segments.Any, &out.SegmentsAny}, {t.Segments.All, &out.SegmentsAll}, {t.Segments.None, &out.SegmentsNone}} {
		for _, id := range list.ids {
			number, ok := r.segments[id]
			if !ok {
				return fmt.Errorf("segment %s does not exist", id)
			}
			*list.out = append(*list.out, number)
		}
	}
	for _, code := range t.Geo.Countries {
		out.Countries = append(out.Countries, [2]byte([]byte(code)))
	}
	for _, code := range t.Languages {
		out.Languages = append(out.Languages, [2]byte([]byte(code)))
	}
	for _, f := range t.Geo.Fences {
		out.Fences = append(out.Fences, rtb.Fence(f))
	}
	out.Regions, out.Cities, out.Zips, out.Carriers = t.Geo.Regions, t.Geo.Cities, t.Geo.Zips, t.Carriers
	if out.Devices, err = numbersOf("device", t.Devices, deviceTypes); err != nil {
		return err
	}
	if out.Connections, err = numbersOf("connection", t.Connections, connectionTypes); err != nil {
		return err
	}
	for _, name := range t.OS {
		system, ok := systems[name]
		if !ok {
			return fmt.Errorf("operating system %q is not known", name)
		}
		out.OS = append(out.OS, system)
	}
	out.UserTime = t.Timezone == "user"
	set, wrong := hours(t.Hours)
	if wrong != "" {
		return fmt.Errorf("hours: %s", wrong)
	}
	out.Hours = set
	return r.inventory(&t.Inventory, out)
}

func (r *compilation) inventory(in *InventoryTargeting, out *rtb.Targeting) error {
	out.AllowDomains, out.DenyDomains = in.Allow, in.Deny
	out.AllowApps, out.DenyApps = in.Apps, in.DenyApps
	out.AllowCategories, out.DenyCategories = in.Categories, in.DenyCategories
	for _, name := range in.Media {
		media, ok := inventoryKinds[name]
		if !ok {
			return fmt.Errorf("inventory %q is not known", name)
		}
		out.Media = append(out.Media, media)
	}
	for _, name := range in.Exchanges {
		number, ok := r.compiler.exchange(name)
		if !ok {
			return fmt.Errorf("exchange %s is not known", name)
		}
		out.Exchanges = append(out.Exchanges, number)
	}
	return r.addDeals(in.Deals, out)
}

// addDeals replaces deal documents by what they stand for. An id without a
// document is the exchange's own. Where all deals are of known exchanges and the
// line item names none, it serves on those.
func (r *compilation) addDeals(ids []string, out *rtb.Targeting) error {
	var from []rtb.ExchangeID
	anywhere := len(out.Exchanges) > 0
	for _, id := range ids {
		d := r.deals[id]
		if d == nil {
			out.Deals = append(out.Deals, id)
			anywhere = true
			continue
		}
		out.Deals = append(out.Deals, d.Deal)
		if d.Exchange == "" {
			anywhere = true
			continue
		}
		number, ok := r.compiler.exchange(d.Exchange)
		if !ok {
			return fmt.Errorf("exchange %s of deal %s is not known", d.Exchange, id)
		}
		from = append(from, number)
	}
	if !anywhere {
		slices.Sort(from)
		out.Exchanges = slices.Compact(from)
	}
	return nil
}

// numbersOf replaces names by OpenRTB's numbers, each once and in order.
func numbersOf(what string, names []string, table map[string][]uint8) ([]uint8, error) {
	var list []uint8
	for _, name := range names {
		numbers, ok := table[name]
		if !ok {
			return nil, fmt.Errorf("%s %q is not known", what, name)
		}
		list = append(list, numbers...)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
