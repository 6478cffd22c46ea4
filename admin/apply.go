package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// ApplyResult says what became of each document of an apply, in the order of
// the kinds and then in that of the request.
type ApplyResult struct {
	DryRun    bool          `json:"dry_run" doc:"Nothing was stored"`
	Created   int           `json:"created"`
	Updated   int           `json:"updated"`
	Unchanged int           `json:"unchanged"`
	Documents []ApplyChange `json:"documents" nullable:"false"`
}

// ApplyChange is what became of one document.
type ApplyChange struct {
	Kind    string `json:"kind" example:"line-items"`
	ID      string `json:"id"`
	Change  Change `json:"change" enum:"created,updated,unchanged"`
	Version uint64 `json:"version"`
}

// ApplyDocument is a document with its kind and id among its fields.
type ApplyDocument struct {
	Kind string          // such as "line-items"; "line-item" is understood as well
	Body json.RawMessage // an object with an id
}

// Schema describes an ApplyDocument to the API.
func (ApplyDocument) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Required: []string{"kind", "id"}, AdditionalProperties: true,
		Description: "The document as its own route takes it, with kind and id",
		Properties:  map[string]*huma.Schema{"kind": {Type: huma.TypeString}, "id": {Type: huma.TypeString}}}
	for _, k := range kinds {
		s.Properties["kind"].Enum = append(s.Properties["kind"].Enum, k.name, k.noun)
	}
	return s
}

// MarshalJSON puts the kind among the fields.
func (a ApplyDocument) MarshalJSON() ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(a.Body, &fields); err != nil {
		return nil, err
	}
	kind, err := json.Marshal(a.Kind)
	if err != nil {
		return nil, err
	}
	fields["kind"] = kind
	return json.Marshal(fields)
}

type applyRequest struct {
	Documents []ApplyDocument `json:"documents" maxItems:"100000"`
}

type applyInput struct {
	DryRun  bool   `query:"dry_run" doc:"Check and compare only"`
	RawBody []byte `contentType:"application/json"`
}

type applyOutput struct{ Body ApplyResult }

var errDryRun = errors.New("dry run")

func (s *Server) registerApply() {
	op := huma.Operation{
		OperationID: "apply", Method: http.MethodPost, Path: "/v1/apply", Tags: []string{"apply"},
		Summary:     "Put many documents at once",
		Description: "All of them are stored or, when anything is wrong with one, none. They may refer to one another in any order. What is the same already is not touched.",
		Errors:      []int{400, 413, 415, 422, 500}, MaxBodyBytes: s.cfg.MaxApply + 1, SkipValidateBody: true,
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{}},
	}
	huma.Register(s.api, op, func(ctx context.Context, in *applyInput) (*applyOutput, error) {
		var body struct {
			Documents []json.RawMessage `json:"documents"`
		}
		d := json.NewDecoder(bytes.NewReader(in.RawBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&body); err != nil {
			return nil, huma.Error400BadRequest(`the body cannot be read: want {"documents": [...]}`, &huma.ErrorDetail{Location: "body", Message: err.Error()})
		}
		result, err := s.apply(ctx, body.Documents, in.DryRun)
		if err != nil {
			return nil, s.problem(err)
		}
		return &applyOutput{Body: *result}, nil
	})
	op.RequestBody.Content["application/json"].Schema = huma.SchemaFromType(s.schemas, reflect.TypeFor[applyRequest]())
}

// Apply stores many documents at once, as POST /v1/apply does: all of them or,
// when anything is wrong with one, none.
func (s *Server) Apply(ctx context.Context, documents []ApplyDocument, dryRun bool) (*ApplyResult, error) {
	texts := make([]json.RawMessage, len(documents))
	for i, d := range documents {
		text, err := d.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("apply %s: %w", d.Kind, err)
		}
		texts[i] = text
	}
	return s.apply(ctx, texts, dryRun)
}

// applied is one document on its way.
type applied struct {
	kind *kind
	id   string
	doc  document
	c    *checker
}

func (s *Server) apply(ctx context.Context, texts []json.RawMessage, dryRun bool) (*ApplyResult, error) {
	var list []applied
	var errs []error
	seen := map[[2]string]bool{}
	for i, text := range texts {
		a := s.readApplied(text, fmt.Sprintf("body.documents[%d]", i))
		if a.kind != nil && a.id != "" {
			if key := [2]string{a.kind.name, a.id}; seen[key] {
				a.c.fail("id", a.id, "this %s comes twice", a.kind.noun)
			} else {
				seen[key] = true
			}
		}
		if errs = append(errs, a.c.errors()...); len(errs) > maxErrors {
			break
		}
		list = append(list, a)
	}
	if len(errs) > 0 {
		return nil, huma.Error422UnprocessableEntity("validation failed", errs...)
	}
	slices.SortStableFunc(list, func(a, b applied) int { return slices.Index(kinds, a.kind) - slices.Index(kinds, b.kind) })

	result := &ApplyResult{DryRun: dryRun, Documents: make([]ApplyChange, 0, len(list))}
	err := s.docs.Update(ctx, func(ctx context.Context) error {
		for i := range list {
			a := &list[i]
			if err := s.succeed(ctx, a.id, a.doc, a.c); err != nil {
				return err
			}
			stored, how, err := s.store(ctx, a.kind, a.id, a.doc)
			if err != nil {
				return err
			}
			a.doc = stored
			result.add(a, how)
		}
		// Only now is everything there that the documents may refer to.
		for _, a := range list {
			if err := s.inspect(ctx, a.id, a.doc, a.c); err != nil {
				return err
			}
			if errs = append(errs, a.c.errors()...); len(errs) > maxErrors {
				break
			}
		}
		switch {
		case len(errs) > 0:
			return huma.Error422UnprocessableEntity("validation failed", errs...)
		case dryRun:
			return errDryRun
		}
		for _, a := range list {
			if err := s.holdModels(ctx, a.doc); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, err
	}
	return result, nil
}

func (r *ApplyResult) add(a *applied, how Change) {
	switch how {
	case Created:
		r.Created++
	case Updated:
		r.Updated++
	case Unchanged:
		r.Unchanged++
	}
	r.Documents = append(r.Documents, ApplyChange{Kind: a.kind.name, ID: a.id, Change: how, Version: a.doc.head().Version})
}

// readApplied takes the kind out of a document and reads the rest.
func (s *Server) readApplied(text json.RawMessage, at string) applied {
	a := applied{c: &checker{at: at}}
	if int64(len(text)) > s.cfg.MaxBody {
		a.c.fail("", nil, "has more than %d bytes", s.cfg.MaxBody)
		return a
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		a.c.fail("", nil, "must be an object")
		return a
	}
	var name string
	if json.Unmarshal(fields["kind"], &name) != nil {
		a.c.fail("kind", nil, "is required: one of %s", kindNames())
		return a
	}
	if a.kind = kindOf(name); a.kind == nil {
		a.c.fail("kind", name, "must be one of %s", kindNames())
		return a
	}
	delete(fields, "kind")
	text, err := json.Marshal(fields)
	if err != nil {
		a.c.fail("", nil, "%v", err)
		return a
	}
	if a.doc = a.c.decode(a.kind, s.schemas, text); a.doc == nil {
		return a
	}
	if a.id = a.doc.head().ID; a.id == "" {
		a.c.fail("id", nil, "is required")
	}
	a.c.id("id", a.id)
	return a
}

func kindNames() string {
	names := ""
	for i, k := range kinds {
		if i > 0 {
			names += ", "
		}
		names += k.noun
	}
	return names
}
