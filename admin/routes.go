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
	"reflect"
	"slices"
	"strconv"
	"strings"

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Page is part of a list.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

type oneInput struct {
	ID string `path:"id" maxLength:"64" doc:"Id of the document" example:"spring"`
}

type listInput struct {
	Cursor string `query:"cursor" maxLength:"64" doc:"The next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type deleteInput struct {
	ID      string `path:"id" maxLength:"64" doc:"Id of the document" example:"spring"`
	IfMatch string `header:"If-Match" maxLength:"500" doc:"ETag that the document must still have"`
}

type postInput struct {
	RawBody []byte `contentType:"application/json"`
}

type putInput struct {
	ID          string `path:"id" maxLength:"64" doc:"Id of the document" example:"spring"`
	IfMatch     string `header:"If-Match" maxLength:"500" doc:"ETag that the document must still have"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"8" doc:"* where there must be none yet"`
	RawBody     []byte `contentType:"application/json"`
}

type oneOutput[T any] struct {
	Status   int
	ETag     string `header:"ETag" doc:"Version of the document"`
	Location string `header:"Location"`
	Body     *T
}

type pageOutput[T any] struct{ Body Page[T] }

type noOutput struct{}

// register adds the routes of one kind of document.
func register[T any](s *Server, name string) {
	k := kindOf(name)
	base, one := "/v1/"+name, "/v1/"+name+"/{id}"
	schema := s.schemas.Schema(reflect.TypeFor[T](), true, "")
	op := func(method, path, verb string, status int, errs ...int) huma.Operation {
		plural := map[bool]string{true: name, false: k.noun}[verb == "list"]
		return huma.Operation{
			OperationID: verb + "-" + plural, Method: method, Path: path, Tags: []string{name},
			Summary: strings.ToUpper(verb[:1]) + verb[1:] + " " + strings.ReplaceAll(plural, "-", " "), DefaultStatus: status,
			Errors: append(errs, http.StatusUnprocessableEntity, http.StatusInternalServerError),
		}
	}
	withBody := func(o huma.Operation) huma.Operation {
		// The body is read and checked by decode, which names every wrong
		// field at once; huma describes it.
		o.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{}}
		o.MaxBodyBytes, o.SkipValidateBody = s.cfg.MaxBody+1, true
		return o
	}
	huma.Register(s.api, op(http.MethodGet, base, "list", 200), func(ctx context.Context, in *listInput) (*pageOutput[T], error) {
		out := &pageOutput[T]{Body: Page[T]{Items: []T{}}}
		last := ""
		err := s.docs.List(ctx, name, in.Cursor, in.Limit+1, func(id string, number uint32, version uint64, body []byte) error {
			if len(out.Body.Items) == in.Limit {
				out.Body.Next = last
				return nil
			}
			d, err := s.load(k, id, number, version, body)
			if err != nil {
				return err
			}
			out.Body.Items, last = append(out.Body.Items, *any(d).(*T)), id
			return nil
		})
		return out, s.problem(err)
	})
	huma.Register(s.api, op(http.MethodGet, one, "get", 200, 404), func(ctx context.Context, in *oneInput) (*oneOutput[T], error) {
		body, number, version, err := s.docs.Get(ctx, name, in.ID)
		if err != nil {
			return nil, s.problem(describe(err, k, in.ID))
		}
		d, err := s.load(k, in.ID, number, version, body)
		if err != nil {
			return nil, s.problem(err)
		}
		return &oneOutput[T]{Status: http.StatusOK, ETag: etag(version), Body: any(d).(*T)}, nil
	})
	save := func(ctx context.Context, id string, body []byte, want wanted) (*oneOutput[T], error) {
		d, how, err := s.save(ctx, k, id, body, want)
		if err != nil {
			return nil, s.problem(err)
		}
		out := &oneOutput[T]{Status: http.StatusOK, ETag: etag(d.head().Version), Body: any(d).(*T)}
		if how == Created {
			out.Status, out.Location = http.StatusCreated, base+"/"+d.head().ID
		}
		return out, nil
	}
	post := withBody(op(http.MethodPost, base, "create", 201, 409, 413, 415))
	huma.Register(s.api, post, func(ctx context.Context, in *postInput) (*oneOutput[T], error) {
		return save(ctx, "", in.RawBody, wanted{absent: true, post: true})
	})
	post.RequestBody.Content["application/json"].Schema = schema
	put := withBody(op(http.MethodPut, one, "put", 200, 412, 413, 415))
	put.Description = "Creates or replaces. The same body again changes nothing, the version included."
	huma.Register(s.api, put, func(ctx context.Context, in *putInput) (*oneOutput[T], error) {
		want, err := parseWanted(in.IfMatch, in.IfNoneMatch)
		if err != nil {
			return nil, err
		}
		return save(ctx, in.ID, in.RawBody, want)
	})
	put.RequestBody.Content["application/json"].Schema = schema
	remove := op(http.MethodDelete, one, "delete", 204, 404, 409, 412)
	remove.Description = "Refused with 409 while other documents refer to it."
	huma.Register(s.api, remove, func(ctx context.Context, in *deleteInput) (*noOutput, error) {
		want, err := parseWanted(in.IfMatch, "")
		if err != nil {
			return nil, err
		}
		return nil, s.problem(s.remove(ctx, k, in.ID, want))
	})
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// wanted is what a caller expects to find stored.
type wanted struct {
	present  bool     // If-Match: *
	absent   bool     // If-None-Match: *
	versions []uint64 // If-Match with ETags; none of ours is 0
	post     bool     // what is absent is the name of something new: 409 rather than 412
}

func parseWanted(ifMatch, ifNoneMatch string) (want wanted, err error) {
	if ifNoneMatch != "" {
		if ifNoneMatch != "*" {
			return want, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: "header.If-None-Match", Message: "only * is understood", Value: ifNoneMatch})
		}
		want.absent = true
	}
	if ifMatch == "" {
		return want, nil
	}
	want.present = true
	if strings.TrimSpace(ifMatch) == "*" {
		return want, nil
	}
	for tag := range strings.SplitSeq(ifMatch, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		version, err := strconv.ParseUint(tag, 10, 64)
		if err != nil {
			version = 0 // an ETag that is not ours matches nothing
		}
		want.versions = append(want.versions, version)
	}
	return want, nil
}

// check compares with what is stored; version is 0 when there is nothing.
func (w *wanted) check(k *kind, id string, version uint64) error {
	switch {
	case w.absent && version != 0 && w.post:
		return huma.Error409Conflict(fmt.Sprintf("%s %s exists already", k.noun, id))
	case w.absent && version != 0:
		return huma.Error412PreconditionFailed(fmt.Sprintf("%s %s exists already", k.noun, id))
	case w.present && version == 0:
		return huma.Error412PreconditionFailed(fmt.Sprintf("%s %s does not exist", k.noun, id))
	case len(w.versions) > 0 && !slices.Contains(w.versions, version):
		return huma.Error412PreconditionFailed(fmt.Sprintf("%s %s was changed by someone else: it has ETag %s now", k.noun, id, etag(version)))
	}
	return nil
}

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
		if err := s.inspect(ctx, id, d, c); err != nil {
			return err
		}
		if len(c.errs) > 0 {
			return invalid(c)
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
	case *Creative:
		var owner Advertiser
		if err := s.get(ctx, advertisers, d.Advertiser, &owner); err != nil {
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
	if err := s.get(ctx, campaigns, l.Campaign, &campaign); err != nil {
		return err
	}
	for i, id := range l.Creatives {
		var k Creative
		if err := s.get(ctx, creatives, id, &k); err != nil {
			return err
		}
		if k.Advertiser != campaign.Advertiser {
			c.fail(fmt.Sprintf("creatives[%d]", i), id, "is a creative of %s, the campaign is of %s", k.Advertiser, campaign.Advertiser)
		}
	}
	return nil
}

func (s *Server) get(ctx context.Context, kind, id string, into any) error {
	body, _, _, err := s.docs.Get(ctx, kind, id)
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

func describe(err error, k *kind, id string) error {
	if errors.Is(err, rtb.ErrNotFound) {
		return huma.Error404NotFound(fmt.Sprintf("there is no %s %q", k.noun, id))
	}
	return err
}

// problem turns an error into an answer. What is not the caller's doing is
// logged and its text kept back.
func (s *Server) problem(err error) error {
	var known huma.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.Canceled):
		return huma.NewError(499, "the caller has gone")
	case errors.Is(err, rtb.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, rtb.ErrConflict):
		return huma.Error412PreconditionFailed(err.Error())
	}
	slog.Error("admin request", "error", err)
	return huma.Error500InternalServerError("something went wrong inside; the log says what")
}
