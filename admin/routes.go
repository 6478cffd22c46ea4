package admin

import (
	"context"
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
