package admin

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsPage string

var docsTemplate = template.Must(template.New("docs").Parse(docsPage))

// registerDocs serves the description of the API and a page made from it. The
// page has no scripts and needs nothing from elsewhere, so it works on a machine
// without a network.
func (s *Server) registerDocs(mux *http.ServeMux) {
	spec := sync.OnceValues(s.OpenAPI)
	page := sync.OnceValues(func() ([]byte, error) { return renderDocs(s.api.OpenAPI()) })
	serve := func(kind string, make func() ([]byte, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			text, err := make()
			if err != nil {
				s.writeError(w, err)
				return
			}
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(text) // fails when the caller has gone
		}
	}
	mux.HandleFunc("GET /openapi.json", serve("application/openapi+json", spec))
	mux.HandleFunc("GET /docs", serve("text/html; charset=utf-8", page))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/docs", http.StatusFound)
	})
}

// OpenAPI is the description of the API, OpenAPI 3.1 as indented JSON.
func (s *Server) OpenAPI() ([]byte, error) {
	text, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

type docsOperation struct {
	Method, Path, ID, Summary, Description string
	Params                                 []docsField
	Body, Answer                           string // names of schemas
}

type docsField struct {
	Name, Type, About string
	Required          bool
}

type docsSchema struct {
	Name   string
	Fields []docsField
}

type docsData struct {
	Title, About string
	Tags         []string
	Operations   map[string][]docsOperation
	Schemas      []docsSchema
}

func renderDocs(api *huma.OpenAPI) ([]byte, error) {
	data := docsData{Title: api.Info.Title, About: api.Info.Description, Operations: map[string][]docsOperation{}}
	paths := make([]string, 0, len(api.Paths))
	for path := range api.Paths {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		item := api.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			tag := op.Tags[0]
			if !slices.Contains(data.Tags, tag) {
				data.Tags = append(data.Tags, tag)
			}
			data.Operations[tag] = append(data.Operations[tag], docsOf(op))
		}
	}
	slices.Sort(data.Tags)
	schemas := api.Components.Schemas.Map()
	for name, schema := range schemas {
		data.Schemas = append(data.Schemas, docsSchema{Name: name, Fields: docsFields(schema)})
	}
	slices.SortFunc(data.Schemas, func(a, b docsSchema) int { return strings.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	if err := docsTemplate.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("docs: %w", err)
	}
	return out.Bytes(), nil
}

func docsOf(op *huma.Operation) docsOperation {
	d := docsOperation{Method: op.Method, Path: op.Path, ID: op.OperationID, Summary: op.Summary, Description: op.Description}
	for _, p := range op.Parameters {
		d.Params = append(d.Params, docsField{Name: p.Name + " (" + p.In + ")", Type: typeName(p.Schema), About: p.Description, Required: p.Required})
	}
	if op.RequestBody != nil {
		d.Body = contentName(op.RequestBody.Content)
	}
	for status, r := range op.Responses {
		if strings.HasPrefix(status, "2") {
			d.Answer = contentName(r.Content)
		}
	}
	return d
}

func contentName(content map[string]*huma.MediaType) string {
	names := make([]string, 0, len(content))
	for kind, media := range content {
		if media.Schema != nil && media.Schema.Ref != "" {
			return typeName(media.Schema)
		}
		names = append(names, kind)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func docsFields(schema *huma.Schema) []docsField {
	names := make([]string, 0, len(schema.Properties))
	for name := range schema.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	fields := make([]docsField, 0, len(names))
	for _, name := range names {
		p := schema.Properties[name]
		about := p.Description
		values := p.Enum
		if p.Items != nil && len(values) == 0 {
			values = p.Items.Enum
		}
		if len(values) > 0 {
			about = strings.TrimSpace(about + " One of " + strings.Trim(fmt.Sprint(values), "[]") + ".")
		}
		if p.ReadOnly {
			about = strings.TrimSpace(about + " Read-only.")
		}
		fields = append(fields, docsField{Name: name, Type: typeName(p), About: about, Required: slices.Contains(schema.Required, name)})
	}
	return fields
}

// typeName says in a few characters what a value is.
func typeName(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray:
		return "list of " + typeName(s.Items)
	case s.Type == "":
		return "any"
	}
	return s.Type
}
