package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// FileDocument is one document of a file for `bidwell apply -f`.
type FileDocument struct {
	ApplyDocument
	ID   string
	File string
	Line int // where it begins; zero in a JSON file

	lines map[string]int // of all fields of its YAML document, by path
	path  string         // where it stands there
}

// Limits of a file.
const (
	maxFileBytes  = 64 << 20
	maxFileValues = 2_000_000
	aliasWeight   = 20 // a value that is repeated counts as so many
)

// ReadFile reads the documents of a YAML or JSON file. A file has any number of
// YAML documents separated by "---". Each is a single document with kind and id
// among its fields, a list of such, or an object of objects by kind and id:
//
//	advertisers:
//	  acme-shoes:
//	    name: Acme Shoes
//
// Keys that begin with "x-" are ignored at the top, so that they may hold
// anchors. Name is used in errors.
func ReadFile(name string, r io.Reader) ([]FileDocument, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("%s: has more than %d bytes", name, maxFileBytes)
	}
	f := &fileReader{name: name}
	if json.Valid(text) {
		// YAML reads most JSON, but not all of it.
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return f.list, f.top(tree, "")
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var node yaml.Node
		if err := d.Decode(&node); err == io.EOF {
			return f.list, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.lines = map[string]int{}
		tree, err := f.value(&node, "", 0)
		if err == nil {
			err = f.top(tree, "")
		}
		if err != nil {
			return nil, err
		}
	}
}

type fileReader struct {
	name    string
	lines   map[string]int
	values  int
	aliases int // how many surround what is read
	list    []FileDocument
}

func (f *fileReader) errorf(line int, format string, args ...any) error {
	at := f.name
	if line > 0 {
		at = fmt.Sprintf("%s:%d", f.name, line)
	}
	return fmt.Errorf(at+": "+format, args...)
}

// value is what a node means, with the lines of all that is in it.
func (f *fileReader) value(n *yaml.Node, path string, depth int) (any, error) {
	f.values++
	if f.aliases > 0 {
		f.values += aliasWeight
	}
	if f.values > maxFileValues || depth > 100 {
		return nil, f.errorf(n.Line, "too many values, or too deep")
	}
	if _, ok := f.lines[path]; !ok {
		f.lines[path] = n.Line
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return f.value(n.Content[0], path, depth)
	case yaml.AliasNode:
		f.aliases++
		defer func() { f.aliases-- }()
		return f.value(n.Alias, path, depth+1)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			v, err := f.value(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return f.object(n, path, depth)
	case yaml.ScalarNode:
		return f.scalar(n)
	}
	return nil, nil // an empty document
}

func (f *fileReader) object(n *yaml.Node, path string, depth int) (any, error) {
	object := make(map[string]any, len(n.Content)/2)
	own := make(map[string]bool, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key, item := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			if err := f.merge(object, own, item, path, depth); err != nil {
				return nil, err
			}
			continue
		}
		if key.Kind != yaml.ScalarNode {
			return nil, f.errorf(key.Line, "a key must be a plain text")
		}
		if own[key.Value] {
			return nil, f.errorf(key.Line, "%q comes twice", key.Value)
		}
		own[key.Value] = true
		at := key.Value
		if path != "" {
			at = path + "." + at
		}
		f.lines[at] = key.Line
		v, err := f.value(item, at, depth+1)
		if err != nil {
			return nil, err
		}
		object[key.Value] = v
	}
	return object, nil
}

// merge adds the fields of another object that this one does not have.
func (f *fileReader) merge(object map[string]any, own map[string]bool, from *yaml.Node, path string, depth int) error {
	v, err := f.value(from, path, depth+1)
	if err != nil {
		return err
	}
	parts, ok := v.([]any)
	if !ok {
		parts = []any{v}
	}
	for _, part := range parts {
		fields, ok := part.(map[string]any)
		if !ok {
			return f.errorf(from.Line, "<< wants an object")
		}
		for name, v := range fields {
			if _, has := object[name]; !has && !own[name] {
				object[name] = v
			}
		}
	}
	return nil
}

func (f *fileReader) scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!null", "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, f.errorf(n.Line, "%v", err)
		}
		if x, ok := v.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
			return nil, f.errorf(n.Line, "%s is not a number", n.Value)
		}
		return v, nil
	}
	return nil, f.errorf(n.Line, "values of type %s are not understood", n.Tag)
}

// top takes the documents out of what stands at the top of a file or in a list.
func (f *fileReader) top(tree any, path string) error {
	switch tree := tree.(type) {
	case nil:
		return nil
	case []any:
		for i, item := range tree {
			if err := f.top(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if kind, ok := tree["kind"]; ok {
			name, _ := kind.(string)
			id, _ := tree["id"].(string)
			return f.add(name, id, tree, path)
		}
		if list, ok := tree["documents"]; ok && len(tree) == 1 {
			return f.top(list, join(path, "documents"))
		}
		return f.byKind(tree, path)
	}
	return f.errorf(f.lines[path], "want documents with kind and id, or objects by kind and id")
}

func (f *fileReader) byKind(tree map[string]any, path string) error {
	for _, name := range keys(tree) {
		at := join(path, name)
		if path == "" && strings.HasPrefix(name, "x-") {
			continue
		}
		if kindOf(name) == nil {
			return f.errorf(f.lines[at], "%q is not a kind of document: want one of %s, or a field kind", name, kindNames())
		}
		byID, ok := tree[name].(map[string]any)
		if !ok && tree[name] != nil {
			return f.errorf(f.lines[at], "%s must be an object of documents by id", name)
		}
		for _, id := range keys(byID) {
			fields, ok := byID[id].(map[string]any)
			if !ok {
				return f.errorf(f.lines[join(at, id)], "%s %s must be an object", name, id)
			}
			if _, has := fields["id"]; !has {
				fields["id"] = id
			} else if fields["id"] != id {
				return f.errorf(f.lines[join(join(at, id), "id")], "%s %s has another id", name, id)
			}
			if err := f.add(name, id, fields, join(at, id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fileReader) add(kind, id string, fields map[string]any, path string) error {
	line := f.lines[path]
	k := kindOf(kind)
	switch {
	case k == nil:
		return f.errorf(line, "kind %q is not known: want one of %s", kind, kindNames())
	case id == "":
		return f.errorf(line, "a %s has no id", k.noun)
	}
	delete(fields, "kind")
	body, err := json.Marshal(fields)
	if err != nil {
		return f.errorf(line, "%v", err)
	}
	f.list = append(f.list, FileDocument{
		ApplyDocument: ApplyDocument{Kind: k.name, Body: body}, ID: id, File: f.name, Line: line, lines: f.lines, path: path,
	})
	return nil
}

// lineOf is the line of a field, or of the nearest thing around it.
func (d *FileDocument) lineOf(field string) int {
	for field != "" {
		if line, ok := d.lines[join(d.path, field)]; ok {
			return line
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return d.Line
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func keys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// errNoDocuments says that a file that was to be applied has nothing in it.
var errNoDocuments = errors.New("no documents to apply")
