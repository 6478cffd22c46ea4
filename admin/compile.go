package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"bidwell/rtb"
)

// reading is what one reading of all documents found. The next takes from it
// what has not changed since: among many thousand line items a change is of a
// few.
type reading struct {
	advertisers map[string]stored[Advertiser]
	campaigns   map[string]stored[Campaign]
	deals       map[string]stored[Deal]
	creatives   map[string]stored[Creative]
	ads         map[string]ad // made of the creatives that line items show
	segments    map[string]rtb.SegmentID
	exchanges   map[string]rtb.ExchangeID // that documents name; zero for one that is not known
	zones       map[string]*time.Location // never forgotten, for there are few
	lineItems   map[string]*compiled
}

// edition is a document as it was at one time. Versions are never given twice.
type edition struct {
	number  uint32
	version uint64
}

// stored is a document that others refer to.
type stored[T any] struct {
	edition
	doc     *T       // nil for one that cannot be used
	problem *Problem // then
}

// ad is what a creative was made into.
type ad struct {
	made    *rtb.Creative // nil for one that cannot be shown
	problem Problem       // then
}

// compiled is what became of a line item. It is never changed.
type compiled struct {
	edition
	item     rtb.LineItem
	serves   bool
	problems []Problem
	refers   []reference // to what it was made from, where it is active
}

// reference names a document by its kind and id.
type reference struct{ kind, id string }

// compilation is a reading under way.
type compilation struct {
	reading
	compiler *Compiler
	last     *reading
	changed  map[reference]bool // since then, or made from what changed
	problems []Problem          // of the document at hand
	all      []Problem
}

// documents reads all that line items refer to.
func (r *compilation) documents(ctx context.Context) (err error) {
	r.exchanges = make(map[string]rtb.ExchangeID, len(r.last.exchanges))
	for name, was := range r.last.exchanges {
		if number, _ := r.exchange(name); number != was {
			r.changed[reference{exchanges, name}] = true
		}
	}
	if r.advertisers, err = readAll(ctx, r, advertisers, r.last.advertisers, func(*Advertiser) (_ reference) { return }); err != nil {
		return err
	}
	if r.campaigns, err = readAll(ctx, r, campaigns, r.last.campaigns, func(k *Campaign) reference { return reference{advertisers, k.Advertiser} }); err != nil {
		return err
	}
	if r.deals, err = readAll(ctx, r, deals, r.last.deals, func(d *Deal) reference { return reference{exchanges, d.Exchange} }); err != nil {
		return err
	}
	if r.creatives, err = readAll(ctx, r, creatives, r.last.creatives, func(c *Creative) reference { return reference{advertisers, c.Advertiser} }); err != nil {
		return err
	}
	r.segments = make(map[string]rtb.SegmentID, len(r.last.segments))
	err = eachOf(ctx, r.compiler.docs, segments, func(id string, number uint32, _ uint64, _ []byte) error {
		r.segments[id] = rtb.SegmentID(number)
		if r.last.segments[id] != r.segments[id] {
			r.changed[reference{segments, id}] = true
		}
		return nil
	})
	gone(r, segments, r.last.segments, r.segments)
	r.keepAds()
	return err
}

// keepAds takes over the ads that were made of what has not changed. A creative
// changes with the segments that its products are for.
func (r *compilation) keepAds() {
	r.ads = make(map[string]ad, len(r.last.ads))
	for id, a := range r.last.ads {
		at := reference{creatives, id}
		if doc := r.creatives[id].doc; doc != nil && !r.changed[at] {
			doc.refer(func(_, kind, to string) {
				if kind == segments && r.changed[reference{kind, to}] {
					r.changed[at] = true
				}
			})
		}
		if !r.changed[at] {
			r.ads[id] = a
		}
	}
}

// gone notes what is no longer there.
func gone[V any](r *compilation, kind string, last, now map[string]V) {
	for id := range last {
		if _, ok := now[id]; !ok {
			r.changed[reference{kind, id}] = true
		}
	}
}

// readAll reads the documents of a kind. One that does not read or is not what
// its kind must be is a problem of its own. A document changes with that which
// it is made from, too.
func readAll[T any](ctx context.Context, r *compilation, name string, last map[string]stored[T], from func(*T) reference) (map[string]stored[T], error) {
	all := make(map[string]stored[T], len(last))
	k := kindOf(name)
	err := eachOf(ctx, r.compiler.docs, name, func(id string, number uint32, version uint64, body []byte) error {
		s, ok := last[id]
		if now := (edition{number, version}); !ok || s.edition != now {
			s = stored[T]{edition: now}
			s.doc, s.problem = parse[T](k, id, now, body)
			r.changed[reference{name, id}] = true
		} else if s.doc != nil && r.changed[from(s.doc)] {
			r.changed[reference{name, id}] = true
		}
		if s.problem != nil {
			r.all = append(r.all, *s.problem)
		}
		all[id] = s
		return nil
	})
	gone(r, name, last, all)
	return all, err
}

// parse reads and checks one document. It returns the document or what is wrong
// with it.
func parse[T any](k *kind, id string, now edition, body []byte) (*T, *Problem) {
	d, err := read(k, id, now.number, now.version, body)
	if err != nil {
		return nil, &Problem{Kind: k.name, ID: id, Reason: err.Error()}
	}
	c := checker{at: k.noun}
	if d.check(&c); len(c.errs) > 0 {
		return nil, &Problem{Kind: k.name, ID: id, Reason: c.errs[0].Location + " " + c.errs[0].Message}
	}
	return any(d).(*T), nil
}

// compile makes the line items, in the order of their ids. One that has not
// changed, nor anything that it was made from, is taken as it was.
func (r *compilation) compile(ctx context.Context) (items []rtb.LineItem, err error) {
	r.lineItems = make(map[string]*compiled, len(r.last.lineItems))
	items = make([]rtb.LineItem, 0, len(r.last.lineItems)+len(r.last.lineItems)/16)
	k := kindOf(lineItems)
	err = eachOf(ctx, r.compiler.docs, lineItems, func(id string, number uint32, version uint64, body []byte) error {
		c, now := r.last.lineItems[id], edition{number, version}
		if c == nil || c.edition != now || r.touched(c.refers) {
			c = &compiled{edition: now}
			l, problem := parse[LineItem](k, id, now, body)
			if problem != nil {
				c.problems = []Problem{*problem}
			} else if l.Status == Active {
				r.make(l, c)
			}
		}
		r.lineItems[id] = c
		r.all = append(r.all, c.problems...)
		if c.serves {
			items = append(items, c.item)
		}
		return nil
	})
	return items, err
}

func (r *compilation) touched(refers []reference) bool {
	if len(r.changed) == 0 {
		return false
	}
	for _, to := range refers {
		if r.changed[to] {
			return true
		}
	}
	return false
}

// make turns an active line item into what the bidder serves, if it may.
func (r *compilation) make(l *LineItem, c *compiled) {
	l.refer(func(_, kind, id string) { c.refers = append(c.refers, reference{kind, id}) })
	r.problems = nil
	defer func() { c.problems = r.problems }()
	campaign := r.campaigns[l.Campaign].doc
	if campaign == nil {
		r.problem(l.ID, "campaign %s is not usable", l.Campaign)
		return
	}
	owner := r.advertisers[campaign.Advertiser].doc
	if owner == nil {
		r.problem(l.ID, "advertiser %s is not usable", campaign.Advertiser)
		return
	}
	if campaign.Status != Active || owner.Status != Active {
		return
	}
	item, err := r.lineItem(l, campaign, owner)
	if err != nil {
		r.problem(l.ID, "%v", err)
		return
	}
	c.item, c.serves = item, true
}

// problem says what is wrong with a line item.
func (r *compilation) problem(id, format string, args ...any) {
	r.problems = append(r.problems, Problem{Kind: lineItems, ID: id, Reason: fmt.Sprintf(format, args...)})
}

func (r *compilation) addCreatives(l *LineItem, owner *Advertiser, item *rtb.LineItem) error {
	for _, id := range l.Creatives {
		doc := r.creatives[id].doc
		switch {
		case doc == nil:
			r.problem(l.ID, "creative %s is not usable", id)
			continue
		case doc.Status != Active:
			continue
		case doc.Advertiser != owner.ID:
			r.problem(l.ID, "creative %s is of another advertiser, %s", id, doc.Advertiser)
			continue
		}
		a := r.ad(doc, owner)
		if a.made == nil {
			r.problems = append(r.problems, a.problem)
			continue
		}
		item.Creatives = append(item.Creatives, *a.made)
		item.Creatives[len(item.Creatives)-1].Weight = l.Weights[id]
	}
	if len(item.Creatives) == 0 {
		return errors.New("has no creative that may be shown")
	}
	return nil
}

// ad makes a creative, once.
func (r *compilation) ad(doc *Creative, owner *Advertiser) ad {
	if a, ok := r.ads[doc.ID]; ok {
		return a
	}
	a := ad{made: new(doc.compile(owner))}
	err := cmp.Or(r.compiler.answer(a.made), r.productSegments(doc, a.made))
	if err == nil && len(a.made.Advertisers) == 0 {
		err = errors.New("neither it nor its advertiser has a domain to answer as adomain")
	}
	if err != nil {
		a = ad{problem: Problem{Kind: creatives, ID: doc.ID, Reason: err.Error()}}
	}
	r.ads[doc.ID] = a
	return a
}

// productSegments says of the products of a creative whom they are for.
func (r *compilation) productSegments(doc *Creative, made *rtb.Creative) error {
	for i := range made.Products {
		for _, id := range doc.Products[i].Segments {
			number, ok := r.segments[id]
			if !ok {
				return fmt.Errorf("segment %s does not exist", id)
			}
			made.Products[i].Segments = append(made.Products[i].Segments, number)
		}
	}
	return nil
}

// zone is the same pointer for the same name.
func (r *compilation) zone(name string) (*time.Location, error) {
	if zone := r.zones[name]; zone != nil {
		return zone, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, err
	}
	r.zones[name] = zone
	return zone, nil
}

// exchange is the number of an exchange, the same in all of a reading.
func (r *compilation) exchange(name string) (rtb.ExchangeID, bool) {
	number, ok := r.exchanges[name]
	if !ok {
		number, _ = r.compiler.exchange(name)
		r.exchanges[name] = number
	}
	return number, number != 0
}
