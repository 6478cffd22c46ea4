package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	yaml := `# a comment
x-shared: &shared
  click_url: https://a.example/
  type: banner
kind: creative
id: one
<<: *shared
width: 300
---
advertisers:
  acme:
    name: Acme
    domains: [acme.example]
campaigns:
  spring: {advertiser: acme, name: Spring, flight: {start: 2026-12-01T00:00:00Z}}
---
- kind: segments
  id: runners
  name: "Runners"
- {kind: deal, id: d, deal: "17"}
`
	// x- keys beside a kind are fields of the document: they belong at the top of
	// a document by kind.
	list, err := ReadFile("demo.yaml", strings.NewReader(strings.Replace(yaml, "x-shared: &shared\n", "shared: &shared\n", 1)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range list {
		got = append(got, fmt.Sprintf("%s %s %d %s", d.Kind, d.ID, d.Line, d.Body))
	}
	want := []string{
		`creatives one 2 {"click_url":"https://a.example/","id":"one","shared":{"click_url":"https://a.example/","type":"banner"},"type":"banner","width":300}`,
		`advertisers acme 11 {"domains":["acme.example"],"id":"acme","name":"Acme"}`,
		`campaigns spring 15 {"advertiser":"acme","flight":{"start":"2026-12-01T00:00:00Z"},"id":"spring","name":"Spring"}`,
		`segments runners 17 {"id":"runners","name":"Runners"}`,
		`deals d 20 {"deal":"17","id":"d"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("ReadFile\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	for field, line := range map[string]int{"domains[0]": 13, "domains[7].x": 13, "name": 12, "nothing": 11, "": 11} {
		if got := list[1].lineOf(field); got != line {
			t.Errorf("lineOf(%q) = %d, want %d", field, got, line)
		}
	}
	if got := list[3].lineOf("name"); got != 19 {
		t.Errorf("lineOf(name) in a list = %d, want 19", got)
	}
}

func TestReadFileOfJSON(t *testing.T) {
	list, err := ReadFile("x.json", strings.NewReader("{\t\"x-note\": 1, \"segments\": {\"a\": {\"name\": \"\\ud83d\\ude00\"}}}"))
	if err != nil || len(list) != 1 || list[0].ID != "a" || list[0].Kind != "segments" {
		t.Fatalf("ReadFile = %v, %v, want one segment", list, err)
	}
	list, err = ReadFile("x.json", strings.NewReader(`{"documents": [{"kind": "segment", "id": "a", "name": "A"}]}`))
	if err != nil || len(list) != 1 {
		t.Fatalf("ReadFile of the body of an apply = %v, %v, want one document", list, err)
	}
}

func TestReadFileRefuses(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	for name, tt := range map[string]struct{ text, want string }{
		"no YAML":              {"a: [", "f.yaml"},
		"unknown kind":         {"\nkind: ad\nid: x\n", `f.yaml:2: kind "ad" is not known`},
		"unknown kinds":        {"ads: {}\n", `f.yaml:1: "ads" is not a kind`},
		"no id":                {"kind: segment\n", "f.yaml:1: a segment has no id"},
		"number for an id":     {"kind: segment\nid: 7\n", "f.yaml:1: a segment has no id"},
		"two ids":              {"segments:\n  a:\n    id: b\n", "f.yaml:3: segments a has another id"},
		"a field twice":        {"kind: segment\nid: a\nname: x\nname: y\n", `f.yaml:4: "name" comes twice`},
		"text":                 {"hello\n", "f.yaml:1: want documents"},
		"a list of texts":      {"segments: [a]\n", "f.yaml:1: segments must be an object"},
		"a text for an object": {"segments:\n  a: b\n", "f.yaml:2: segments a must be an object"},
		"not a number":         {"kind: deal\nid: a\nfloor: .nan\n", "f.yaml:3: .nan is not a number"},
		"binary":               {"kind: deal\nid: a\nfloor: !!binary aGk=\n", "not understood"},
		"an alias of itself":   {"a: &a [*a]\n", "f.yaml"},
		"a bomb":               {bomb, "too many values"},
	} {
		if _, err := ReadFile("f.yaml", strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add("kind: segment\nid: a\n---\n- {kind: deal, id: d, deal: \"17\"}\n")
	f.Add("a: &a {b: 1}\nsegments: {x: {<<: *a, <<: [*a]}}\n")
	f.Add(`{"segments": {"a": {"name": "A"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadFile("f", strings.NewReader(text))
		if err != nil {
			return
		}
		for i := range list {
			d := &list[i]
			if !json.Valid(d.Body) || d.ID == "" || kindOf(d.Kind) == nil {
				t.Fatalf("read %s %q %s", d.Kind, d.ID, d.Body)
			}
			d.lineOf("a.b[1].c")
			if _, err := d.MarshalJSON(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
