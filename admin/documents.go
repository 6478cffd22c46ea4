// Package admin is the control plane: a REST API over the documents that
// people and scripts edit, and the compiler that turns those documents into
// the line items that package targeting serves.
//
// A document is checked as a whole before it is stored: every wrong field is
// named at once, references must exist, and what is referenced cannot be
// deleted. What is stored can therefore be compiled; a document that cannot,
// for example one of an older version, is left out and reported, and the others
// serve on. Nothing on the bid path imports this package.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"bidwell/rtb"
)

// Documents keeps campaigns, line items, creatives and all else that people
// edit as versioned JSON, by kind and id. Every document has a number of its
// own among those of its kind, which is never given to another one, and the
// version of its last change. [rtb.ErrNotFound] and [rtb.ErrConflict] are
// wrapped in what the methods return.
type Documents interface {
	// Version grows with every change to any document and is never 0.
	Version(ctx context.Context) (uint64, error)
	Get(ctx context.Context, kind, id string) (body []byte, number uint32, version uint64, err error)
	// List calls each for up to limit documents after the id given, in the
	// order of their ids.
	List(ctx context.Context, kind, after string, limit int, each func(id string, number uint32, version uint64, body []byte) error) error
	// Put creates or replaces; a version other than 0 must be the stored one.
	Put(ctx context.Context, kind, id string, body []byte, version uint64) (number uint32, now uint64, err error)
	// Delete removes; a version other than 0 must be the stored one.
	Delete(ctx context.Context, kind, id string, version uint64) error
	// View calls do with a context whose calls all see one moment.
	View(ctx context.Context, do func(ctx context.Context) error) error
	// Update calls do with a context whose calls happen together or, when do
	// fails, not at all.
	Update(ctx context.Context, do func(ctx context.Context) error) error
}

// document is what every resource of the API implements.
type document interface {
	head() *Head
	// check puts fields into their usual form and reports those that are wrong
	// in a way that a JSON schema cannot say.
	check(c *checker)
	// refer calls each for every other document that is named.
	refer(each func(field, kind, id string))
}

// The kinds of documents, as in the paths of the API.
const (
	advertisers = "advertisers"
	campaigns   = "campaigns"
	lineItems   = "line-items"
	creatives   = "creatives"
	segments    = "segments"
	exchanges   = "exchanges"
	deals       = "deals"
	experiments = "experiments"
)

// kind is one kind of document.
type kind struct {
	name string // in paths
	noun string // in messages, and as kind in files
	make func() document
}

// kinds are ordered so that each comes after those it refers to.
var kinds = []*kind{
	{advertisers, "advertiser", func() document { return new(Advertiser) }},
	{segments, "segment", func() document { return new(Segment) }},
	{exchanges, "exchange", func() document { return new(Exchange) }},
	{deals, "deal", func() document { return new(Deal) }},
	{creatives, "creative", func() document { return new(Creative) }},
	{campaigns, "campaign", func() document { return new(Campaign) }},
	{lineItems, "line-item", func() document { return new(LineItem) }},
	{experiments, "experiment", func() document { return new(Experiment) }},
}

// kindOf finds a kind by its name or its noun.
func kindOf(name string) *kind {
	for _, k := range kinds {
		if k.name == name || k.noun == name {
			return k
		}
	}
	return nil
}

// pageSize is how many documents are read at a time where all are.
const pageSize = 1000

// eachOf calls each for every document of a kind.
func eachOf(ctx context.Context, docs Documents, kind string, each func(id string, number uint32, version uint64, body []byte) error) error {
	for after := ""; ; {
		n := 0
		err := docs.List(ctx, kind, after, pageSize, func(id string, number uint32, version uint64, body []byte) error {
			after, n = id, n+1
			return each(id, number, version, body)
		})
		if err != nil || n < pageSize {
			return err
		}
	}
}

// read is a stored document with its head filled in.
func read(k *kind, id string, number uint32, version uint64, body []byte) (document, error) {
	d := k.make()
	if err := json.Unmarshal(body, d); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.noun, id, err)
	}
	*d.head() = Head{ID: id, Number: number, Version: version}
	return d, nil
}

// Ads are what clicks must know of all line items and creatives there are,
// whether they serve or not: an ad can be clicked long after it was paused.
type Ads struct {
	LineItems map[rtb.LineItemID]string // ids of documents
	Campaigns map[rtb.CampaignID]string
	Creatives map[rtb.CreativeID]Ad
}

// Ad is one creative.
type Ad struct {
	Key, ClickURL string
	Products      []AdProduct
}

// AdProduct is where a product of a creative leads to; nowhere of its own when
// URL is empty.
type AdProduct struct {
	ID  string `json:"id"`
	URL string `json:"url"`
}

// ReadAds reads them all.
func ReadAds(ctx context.Context, docs Documents) (Ads, error) {
	ads := Ads{map[rtb.LineItemID]string{}, map[rtb.CampaignID]string{}, map[rtb.CreativeID]Ad{}}
	err := docs.View(ctx, func(ctx context.Context) error {
		return errors.Join(
			eachOf(ctx, docs, lineItems, func(id string, number uint32, _ uint64, _ []byte) error {
				ads.LineItems[rtb.LineItemID(number)] = id
				return nil
			}),
			eachOf(ctx, docs, campaigns, func(id string, number uint32, _ uint64, _ []byte) error {
				ads.Campaigns[rtb.CampaignID(number)] = id
				return nil
			}),
			eachOf(ctx, docs, creatives, func(id string, number uint32, _ uint64, body []byte) error {
				var c struct {
					ClickURL string      `json:"click_url"`
					Products []AdProduct `json:"products"`
				}
				if err := json.Unmarshal(body, &c); err != nil {
					return fmt.Errorf("read creative %s: %w", id, err)
				}
				ads.Creatives[rtb.CreativeID(number)] = Ad{id, c.ClickURL, c.Products}
				return nil
			}),
		)
	})
	return ads, err
}

// ExchangeDocument is what people changed about one exchange.
type ExchangeDocument struct {
	Name    string // as in POST /bid/{name}
	Number  uint32
	Profile json.RawMessage // the members that differ from the built-in profile
}

// ExchangeDocuments reads the overrides of exchange profiles, ordered by name,
// and the version they were read at.
func ExchangeDocuments(ctx context.Context, docs Documents) (list []ExchangeDocument, version uint64, err error) {
	err = docs.View(ctx, func(ctx context.Context) error {
		if version, err = docs.Version(ctx); err != nil {
			return err
		}
		return eachOf(ctx, docs, exchanges, func(id string, number uint32, _ uint64, body []byte) error {
			var x Exchange
			if err := json.Unmarshal(body, &x); err != nil {
				return fmt.Errorf("read exchange %s: %w", id, err)
			}
			list = append(list, ExchangeDocument{Name: id, Number: number, Profile: x.Profile})
			return nil
		})
	})
	return list, version, err
}
