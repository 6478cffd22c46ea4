package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"bidwell/models"
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// load is a stored document as the API shows it.
func (s *Server) load(k *kind, id string, number uint32, version uint64, body []byte) (document, error) {
	d, err := read(k, id, number, version, body)
	if err != nil {
		return nil, err
	}
	s.show(d)
	return d, nil
}

// show makes of a document what others may see: with the size of a segment,
// without the secrets of an exchange.
func (s *Server) show(d document) {
	switch d := d.(type) {
	case *Segment:
		if s.parts.SegmentSize == nil {
			return
		}
		size, err := s.parts.SegmentSize(rtb.SegmentID(d.Number))
		if err != nil {
			slog.Error("size of a segment", "segment", d.ID, "error", err)
			return
		}
		d.Size = &size
	case *Exchange:
		if s.parts.RedactExchange != nil {
			d.Profile = s.parts.RedactExchange(d.Profile)
		}
	}
}

// Change is what became of a document.
type Change string

// The changes.
const (
	Created   Change = "created"
	Updated   Change = "updated"
	Unchanged Change = "unchanged"
)

// save checks and stores one document. An id that is empty is taken from the
// body, or made.
func (s *Server) save(ctx context.Context, k *kind, id string, body []byte, want wanted) (d document, how Change, err error) {
	c := &checker{at: "body"}
	if int64(len(body)) > s.cfg.MaxBody {
		return nil, "", huma.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", s.cfg.MaxBody))
	}
	if d = c.decode(k, s.schemas, body); d == nil {
		return nil, "", huma.Error400BadRequest("the body cannot be read", c.errors()...)
	}
	switch {
	case id == "" && d.head().ID == "":
		id = k.noun + "-" + strings.ToLower(rand.Text()[:16])
	case id == "":
		id = d.head().ID
	case d.head().ID != "" && d.head().ID != id:
		c.fail("id", d.head().ID, "must be %q as in the path, or be left out", id)
	}
	if !rxID.MatchString(id) {
		c.failAt("path.id", id, "must be an id: lower-case letters, digits, dots, dashes and underscores, at most 64")
	}
	err = s.docs.Update(ctx, func(ctx context.Context) error {
		_, _, version, err := s.docs.Get(ctx, k.name, id)
		if err != nil && !errors.Is(err, rtb.ErrNotFound) {
			return err
		}
		if err := want.check(k, id, version); err != nil {
			return err
		}
		d.head().ID = id
		if err := s.succeed(ctx, id, d, c); err != nil {
			return err
		}
		if err := s.inspect(ctx, id, d, c); err != nil {
			return err
		}
		if len(c.errs) > 0 {
			return invalid(c)
		}
		if err := s.holdModels(ctx, d); err != nil {
			return err
		}
		d, how, err = s.store(ctx, k, id, d)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	s.show(d)
	return d, how, nil
}

func (c *checker) errors() []error {
	errs := make([]error, len(c.errs))
	for i, e := range c.errs {
		errs[i] = e
	}
	return errs
}

func invalid(c *checker) error {
	return huma.Error422UnprocessableEntity("validation failed", c.errors()...)
}

// store writes a document unless it is already stored just so. It returns the
// document in its stored form, with its head.
func (s *Server) store(ctx context.Context, k *kind, id string, d document) (document, Change, error) {
	*d.head() = Head{}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, "", err
	}
	// Once more through JSON, so that an empty list is the same as none.
	stored := k.make()
	if err := json.Unmarshal(body, stored); err != nil {
		return nil, "", err
	}
	if body, err = json.Marshal(stored); err != nil {
		return nil, "", err
	}
	have, number, version, err := s.docs.Get(ctx, k.name, id)
	how := Updated
	switch {
	case errors.Is(err, rtb.ErrNotFound):
		how = Created
	case err != nil:
		return nil, "", err
	case bytes.Equal(have, body):
		how = Unchanged
	}
	if how != Unchanged {
		if number, version, err = s.docs.Put(ctx, k.name, id, body, 0); err != nil {
			return nil, "", err
		}
	}
	if _, err := models.ArmID(number, 0); k.name == experiments && err != nil {
		return nil, "", huma.Error409Conflict(err.Error())
	}
	*stored.head() = Head{ID: id, Number: number, Version: version}
	return stored, how, nil
}

// inspect reports what is wrong with a document among the others: references
// to what is not there, creatives of someone else, assets that make no ad.
func (s *Server) inspect(ctx context.Context, id string, d document, c *checker) error {
	var failed error
	d.refer(func(field, kind, id string) {
		if failed != nil || id == "" || kind == deals {
			return // a deal without a document is the exchange's own id
		}
		if kind == exchanges && s.parts.ExchangeID != nil {
			if _, ok := s.parts.ExchangeID(id); ok {
				return // built in
			}
		}
		_, _, _, err := s.docs.Get(ctx, kind, id)
		if errors.Is(err, rtb.ErrNotFound) {
			c.fail(field, id, "there is no %s %q", kindOf(kind).noun, id)
		} else if err != nil {
			failed = err
		}
	})
	if failed != nil || len(c.errs) > 0 {
		return failed
	}
	switch d := d.(type) {
	case *Exchange:
		if s.parts.ValidateExchange != nil {
			c.failAll("profile", s.parts.ValidateExchange(id, d.Profile))
		}
	case *LineItem:
		return s.inspectCreatives(ctx, d, c)
	case *Experiment:
		return s.inspectExperiment(ctx, id, d, c)
	case *Creative:
		var owner Advertiser
		if err := get(ctx, s.docs, advertisers, d.Advertiser, &owner); err != nil {
			return err
		}
		made := d.compile(&owner)
		if s.parts.Answer != nil {
			c.failAll("", s.parts.Answer(&made))
		}
	}
	return nil
}

// inspectCreatives reports creatives of another advertiser.
func (s *Server) inspectCreatives(ctx context.Context, l *LineItem, c *checker) error {
	var campaign Campaign
	if err := get(ctx, s.docs, campaigns, l.Campaign, &campaign); err != nil {
		return err
	}
	for i, id := range l.Creatives {
		var k Creative
		if err := get(ctx, s.docs, creatives, id, &k); err != nil {
			return err
		}
		if k.Advertiser != campaign.Advertiser {
			c.fail(fmt.Sprintf("creatives[%d]", i), id, "is a creative of %s, the campaign is of %s", k.Advertiser, campaign.Advertiser)
		}
	}
	return nil
}

func get(ctx context.Context, docs Documents, kind, id string, into any) error {
	body, _, _, err := docs.Get(ctx, kind, id)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// maxReferrers is how many documents a refused deletion names.
const maxReferrers = 20

// remove deletes a document unless others refer to it.
func (s *Server) remove(ctx context.Context, k *kind, id string, want wanted) error {
	return s.docs.Update(ctx, func(ctx context.Context) error {
		_, _, version, err := s.docs.Get(ctx, k.name, id)
		if errors.Is(err, rtb.ErrNotFound) && want.present {
			return want.check(k, id, 0)
		} else if err != nil {
			return describe(err, k, id)
		}
		if err := want.check(k, id, version); err != nil {
			return err
		}
		by, err := s.referrers(ctx, k, id)
		if err != nil {
			return err
		}
		if len(by) > 0 {
			errs := make([]error, len(by))
			for i, b := range by {
				errs[i] = b
			}
			return huma.Error409Conflict(fmt.Sprintf("%s %s is still referred to", k.noun, id), errs...)
		}
		return s.docs.Delete(ctx, k.name, id, version)
	})
}

// referrers finds the documents that name another one.
func (s *Server) referrers(ctx context.Context, to *kind, id string) (by []*huma.ErrorDetail, err error) {
	quoted := []byte(`"` + id + `"`) // ids need no escaping in JSON
	for _, k := range kinds {
		err := eachOf(ctx, s.docs, k.name, func(from string, number uint32, version uint64, body []byte) error {
			if len(by) == maxReferrers || !bytes.Contains(body, quoted) {
				return nil
			}
			d, err := read(k, from, number, version, body)
			if err != nil {
				return err
			}
			d.refer(func(field, kind, named string) {
				if kind == to.name && named == id && len(by) < maxReferrers {
					by = append(by, &huma.ErrorDetail{Message: fmt.Sprintf("%s %s names it in %s", k.noun, from, field), Location: "/v1/" + k.name + "/" + from, Value: field})
				}
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return by, nil
}
