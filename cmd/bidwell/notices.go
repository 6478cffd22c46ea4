package main

import (
	"context"
	"log/slog"
	"maps"

	"bidwell/admin"
	"bidwell/rtb"
)

// known is what notices must know of line items and their ads. It outlives
// them, for an ad can be clicked long after its line item has ended.
type known struct {
	landings  map[rtb.CreativeID]*rtb.Landing
	products  map[shown]*rtb.Landing    // those that have their own
	creatives map[rtb.CreativeID]string // ids of documents
	lineItems map[rtb.LineItemID]string
	campaigns map[rtb.CampaignID]string
}

// shown is a product of a creative.
type shown struct {
	creative rtb.CreativeID
	product  string
}

// readKnown makes known what there was before the start: ads of line items that
// do not serve any more are still clicked.
func (s *server) readKnown(ctx context.Context) error {
	ads, err := admin.ReadAds(ctx, s.documents)
	if err != nil {
		return err
	}
	first := &known{map[rtb.CreativeID]*rtb.Landing{}, map[shown]*rtb.Landing{}, map[rtb.CreativeID]string{}, ads.LineItems, ads.Campaigns}
	for id, ad := range ads.Creatives {
		first.creatives[id] = ad.Key
		if landing, err := rtb.ParseLanding(ad.ClickURL); err == nil { // else it never served
			first.landings[id] = landing
		}
		for _, p := range ad.Products {
			if landing, err := rtb.ParseLanding(p.URL); err == nil {
				first.products[shown{id, p.ID}] = landing
			}
		}
	}
	s.known.Store(first)
	return nil
}

// keepKnown adds what items say to what is known.
func (s *server) keepKnown(items []rtb.LineItem) {
	old := s.known.Load()
	next := &known{maps.Clone(old.landings), maps.Clone(old.products), maps.Clone(old.creatives), maps.Clone(old.lineItems), maps.Clone(old.campaigns)}
	addresses := landings{}
	for i := range items {
		item := &items[i]
		next.lineItems[item.ID], next.campaigns[item.Campaign] = item.Key, item.CampaignKey
		for j := range item.Creatives {
			c := &item.Creatives[j]
			if next.creatives[c.ID] = c.Key; c.ClickURL == "" {
				delete(next.landings, c.ID)
			} else if landing := addresses.of(c, c.ClickURL); landing != nil {
				next.landings[c.ID] = landing
			}
			for k := range c.Products {
				p := &c.Products[k]
				if at := (shown{c.ID, p.ID}); p.URL == "" {
					delete(next.products, at)
				} else if landing := addresses.of(c, p.URL); landing != nil {
					next.products[at] = landing
				}
			}
		}
	}
	s.known.Store(next)
}

// landings are landing pages by their address.
type landings map[string]*rtb.Landing

func (l landings) of(c *rtb.Creative, address string) *rtb.Landing {
	if have := l[address]; have != nil {
		return have
	}
	landing, err := rtb.ParseLanding(address)
	if err != nil { // then it would not have compiled
		slog.Error("landing page", "creative", c.Key, "cause", err)
		return nil
	}
	l[address] = landing
	return landing
}

// landing is where a click leads to, and what its macros stand for. A product
// that is named and known is one of the creative's own.
func (s *server) landing(e *rtb.Event, click *rtb.Click) *rtb.Landing {
	known := s.known.Load()
	click.Creative, click.LineItem, click.Campaign = known.creatives[e.Creative], known.lineItems[e.LineItem], known.campaigns[e.Campaign]
	if ex := s.bidder.Exchange(e.Exchange); ex != nil {
		click.Exchange = ex.Name
	}
	if len(click.Product) > 0 {
		if landing := known.products[shown{e.Creative, string(click.Product)}]; landing != nil {
			return landing
		}
	}
	return known.landings[e.Creative]
}
