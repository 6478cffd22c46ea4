package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/rtb"
)

func (s *site) client() *admin.Client {
	c := admin.NewClient(s.url + "/")
	s.t.Cleanup(c.Close)
	return c
}

func readFile(t testing.TB, text string) []admin.FileDocument {
	t.Helper()
	list, err := admin.ReadFile("file.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// The line item comes first: the order of a file does not matter.
const file = `kind: line-item
id: everywhere
campaign: spring
name: Everywhere
goal: {type: cpm, value: "2.5"}
creatives: [banner]
---
creatives:
  banner:
    advertiser: acme
    type: banner
    width: 300
    height: 250
    image: https://cdn.example/a.png
    click_url: https://acme.example/
campaigns:
  spring: {advertiser: acme, name: Spring}
advertisers:
  acme: {name: Acme, domains: [acme.example]}
`

func TestApply(t *testing.T) {
	s := start(t, nil)
	c := s.client()
	before, _ := s.docs.Version(t.Context())
	dry, err := c.Apply(t.Context(), readFile(t, file), true)
	if err != nil || !dry.DryRun || dry.Created != 4 {
		t.Fatalf("dry run = %+v, %v, want 4 to be created", dry, err)
	}
	if now, _ := s.docs.Version(t.Context()); now != before {
		t.Errorf("a dry run moved the version from %d to %d", before, now)
	}
	first, err := c.Apply(t.Context(), readFile(t, file), false)
	if err != nil || first.DryRun || first.Created != 4 || first.Updated+first.Unchanged != 0 {
		t.Fatalf("Apply = %+v, %v, want 4 created", first, err)
	}
	var order []string
	for _, d := range first.Documents {
		order = append(order, d.Kind+"/"+d.ID)
	}
	if want := []string{"advertisers/acme", "creatives/banner", "campaigns/spring", "line-items/everywhere"}; !slices.Equal(order, want) {
		t.Errorf("applied %q, want %q", order, want)
	}
	_, items := compile(t, s.docs)
	again, err := c.Apply(t.Context(), readFile(t, file), false)
	if err != nil || again.Unchanged != 4 {
		t.Fatalf("second Apply = %+v, %v, want 4 unchanged", again, err)
	}
	if _, more := compile(t, s.docs); len(items) != 1 || len(more) != 1 || show(items[0]) != show(more[0]) {
		t.Errorf("applying twice changed the line items: %+v, %+v", items, more)
	}
	third, err := c.Apply(t.Context(), readFile(t, strings.Replace(file, `"2.5"`, `"3"`, 1)), false)
	if err != nil || third.Updated != 1 || third.Unchanged != 3 {
		t.Errorf("third Apply = %+v, %v, want 1 updated", third, err)
	}
	if _, err := c.Apply(t.Context(), nil, false); err == nil {
		t.Error("Apply of no documents succeeded")
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	s := start(t, nil)
	bad := strings.NewReplacer("type: cpm", "type: cpx", "height: 250", "heigth: 250", "advertiser: acme, name", "advertiser: nobody, name").Replace(file)
	_, err := s.client().Apply(t.Context(), readFile(t, bad), false)
	var refused *admin.RefusedError
	if !errors.As(err, &refused) || refused.Status != 422 {
		t.Fatalf("Apply = %v, want a refusal", err)
	}
	for _, want := range []string{"file.yaml:5: line-item everywhere: goal.type: ", "file.yaml:13: creative banner: heigth: unexpected", "file.yaml:9: creative banner: height: is required"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	// References are looked at once the documents themselves are right.
	_, err = s.client().Apply(t.Context(), readFile(t, strings.Replace(file, "advertiser: acme, name", "advertiser: nobody, name", 1)), false)
	if err == nil || !strings.Contains(err.Error(), `file.yaml:17: campaign spring: advertiser: there is no advertiser "nobody"`) {
		t.Errorf("Apply with a lost reference = %v", err)
	}
	if a := s.want(200, "GET", "/v1/advertisers", ""); strings.Contains(a.Body, "acme") {
		t.Error("part of a refused apply was stored")
	}
	twice := readFile(t, "segments: {a: {name: A}}\n---\nsegments: {a: {name: B}}\n")
	if _, err := s.client().Apply(t.Context(), twice, false); err == nil || !strings.Contains(err.Error(), "comes twice") {
		t.Errorf("Apply of a document twice = %v", err)
	}
	for _, body := range []string{`{"documents": [7]}`, `{"documents": [{"id": "a"}]}`, `{"documents": [{"kind": "ad", "id": "a"}]}`, `{"documents": [{"kind": "segment", "name": "a"}]}`, `{"documents": [null]}`} {
		s.want(422, "POST", "/v1/apply", body).problems(t)
	}
	s.want(400, "POST", "/v1/apply", `{"docs": []}`).problems(t)
	s.want(400, "POST", "/v1/apply", `[`).problems(t)
	s.want(422, "POST", "/v1/apply", `{"documents": [{"kind": "segment", "id": "a", "name": "`+strings.Repeat("x", 1<<20)+`"}]}`)
}

func TestServerApply(t *testing.T) {
	s := start(t, nil)
	var list []admin.ApplyDocument
	for _, d := range readFile(t, file) {
		list = append(list, d.ApplyDocument)
	}
	result, err := s.server.Apply(t.Context(), list, false)
	if err != nil || result.Created != 4 {
		t.Fatalf("Apply = %+v, %v, want 4 created", result, err)
	}
}

func TestUpload(t *testing.T) {
	type call struct {
		segment    rtb.SegmentID
		mode, kind string
		ttl        time.Duration
		text       string
	}
	var got call
	var fail error
	s := start(t, func(p *admin.Parts) {
		p.Import = func(_ context.Context, segment rtb.SegmentID, mode, kind string, ttl time.Duration, body io.Reader) (admin.ImportResult, error) {
			text, err := io.ReadAll(body)
			got = call{segment, mode, kind, ttl, string(text)}
			if err != nil {
				return admin.ImportResult{}, fmt.Errorf("read: %w", err)
			}
			return admin.ImportResult{Read: 3, Added: 1, Duplicate: 1, Invalid: 1, Errors: []admin.LineError{{Line: 2, Reason: "no id"}}}, fail
		}
	})
	s.want(201, "PUT", "/v1/segments/other", `{"name": "O"}`)
	s.want(201, "PUT", "/v1/segments/runners", runners)
	c := s.client()
	result, err := c.Import(t.Context(), admin.ImportOptions{Segment: "runners"}, strings.NewReader("a\nb\n"))
	if want := (call{2, "add", "", 720 * time.Hour, "a\nb\n"}); err != nil || got != want || result.Added != 1 || len(result.Errors) != 1 {
		t.Errorf("Import gave %+v and %+v, %v, want %+v", got, result, err, want)
	}
	_, err = c.Import(t.Context(), admin.ImportOptions{Segment: "runners", Mode: "replace", Kind: "email", TTL: time.Hour}, strings.NewReader("x"))
	if want := (call{2, "replace", "email", time.Hour, "x"}); err != nil || got != want {
		t.Errorf("Import gave %+v, %v, want %+v", got, err, want)
	}
	if _, err = c.Import(t.Context(), admin.ImportOptions{Segment: "runners", Mode: "remove"}, strings.NewReader("x")); err != nil || got.ttl != 0 {
		t.Errorf("Import to remove: ttl %v, %v, want none", got.ttl, err)
	}
	// Nothing is bound to JSON or to the size of a document.
	large := strings.Repeat("0123456789\n", 1<<18)
	if s.want(200, "POST", "/v1/segments/runners/members", large, "Content-Type", "text/csv"); len(got.text) != len(large) {
		t.Errorf("%d bytes arrived, want %d", len(got.text), len(large))
	}
	s.want(404, "POST", "/v1/segments/nobody/members", "x").problems(t)
	for _, query := range []string{"mode=steal", "ttl=1d", "ttl=-1h", "what=1"} {
		s.want(422, "POST", "/v1/segments/runners/members?"+query, "x").problems(t)
	}
	fail = fmt.Errorf("%w: the list has no usable identifier", admin.ErrUpload)
	a := s.want(422, "POST", "/v1/segments/runners/members", "x")
	if at := a.problems(t); !slices.Equal(at, []string{"body line 2"}) || !strings.Contains(a.Body, "no usable identifier") {
		t.Errorf("a bad list is answered with %s", a.Body)
	}
	fail = errors.New("disk full at /secret")
	if a := s.want(500, "POST", "/v1/segments/runners/members", "x"); strings.Contains(a.Body, "secret") {
		t.Errorf("%s tells what is inside", a.Body)
	}
	start(t, nil).want(501, "POST", "/v1/segments/runners/members", "x")
}

func TestUploadConversions(t *testing.T) {
	var how admin.ConversionList
	var text string
	var fail error
	s := start(t, func(p *admin.Parts) {
		p.Convert = func(_ context.Context, list admin.ConversionList, body io.Reader) (admin.ConversionsResult, error) {
			all, err := io.ReadAll(body)
			how, text = list, string(all)
			return admin.ConversionsResult{Read: 3, Accepted: 2, Invalid: 1, Errors: []admin.LineError{{Line: 4, Reason: "no identifier"}}}, errors.Join(err, fail)
		}
	})
	c := s.client()
	if _, err := c.Convert(t.Context(), admin.ConversionOptions{}, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "422") || !strings.Contains(err.Error(), "there is none yet") {
		t.Errorf("without an advertiser: %v", err)
	}
	s.want(201, "PUT", "/v1/advertisers/acme", `{"name": "Acme", "domains": ["acme.example"]}`)
	result, err := c.Convert(t.Context(), admin.ConversionOptions{}, strings.NewReader("a,b"))
	if err != nil || result.Accepted != 2 || len(result.Errors) != 1 || text != "a,b" {
		t.Errorf("%+v, %v of %q", result, err, text)
	}
	// The only advertiser there is needs no name.
	if how.Advertiser != 1 || how.Kind != "" || len(how.Advertisers) != 1 || how.Advertisers["acme"] != 1 {
		t.Errorf("%+v", how)
	}
	s.want(201, "PUT", "/v1/advertisers/zenith", `{"name": "Zenith", "domains": ["zenith.example"]}`)
	if _, err := c.Convert(t.Context(), admin.ConversionOptions{}, strings.NewReader("")); err != nil || how.Advertiser != 0 || len(how.Advertisers) != 2 {
		t.Errorf("%+v, %v", how, err)
	}
	if _, err := c.Convert(t.Context(), admin.ConversionOptions{Advertiser: "zenith", Kind: "cookie"}, strings.NewReader("")); err != nil || how.Advertiser != 2 || how.Kind != "cookie" {
		t.Errorf("%+v, %v", how, err)
	}
	for _, query := range []string{"advertiser=nobody", "mode=add"} {
		s.want(422, "POST", "/v1/conversions?"+query, "x").problems(t)
	}
	large := strings.Repeat("0123456789\n", 1<<18)
	if s.want(200, "POST", "/v1/conversions", large, "Content-Type", "text/csv"); len(text) != len(large) {
		t.Errorf("%d bytes arrived, want %d", len(text), len(large))
	}
	fail = fmt.Errorf("%w: the list has no usable conversion", admin.ErrUpload)
	if a := s.want(422, "POST", "/v1/conversions", "x"); !slices.Equal(a.problems(t), []string{"body line 4"}) || !strings.Contains(a.Body, "no usable conversion") {
		t.Errorf("a bad list is answered with %s", a.Body)
	}
	fail = fmt.Errorf("%w: the log is full", admin.ErrNotNow)
	if a := s.want(503, "POST", "/v1/conversions", "x"); a.Header.Get("Retry-After") == "" || !strings.Contains(a.Body, "the log is full") {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	start(t, nil).want(501, "POST", "/v1/conversions", "x")
}

// A caller that goes away in the middle is no success.
func TestUploadCutShort(t *testing.T) {
	read := make(chan error, 1)
	s := start(t, func(p *admin.Parts) {
		p.Import = func(_ context.Context, _ rtb.SegmentID, _, _ string, _ time.Duration, body io.Reader) (admin.ImportResult, error) {
			_, err := io.ReadAll(body)
			read <- err
			return admin.ImportResult{}, err
		}
	})
	s.want(201, "PUT", "/v1/segments/runners", runners)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/segments/runners/members HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the importer read %v, want an unexpected end", err)
	}
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
		t.Errorf("answered %q, %v, want 400", text, err)
	}
	conn.Close()
}

func TestExplain(t *testing.T) {
	s := start(t, func(p *admin.Parts) {
		p.Explain = func(exchange string, request []byte) (rtb.Explanation, error) {
			if exchange != "generic" {
				return rtb.Explanation{}, rtb.ErrNotFound
			}
			if !json.Valid(request) || !strings.Contains(string(request), `"imp"`) {
				return rtb.Explanation{}, errors.New("no imp")
			}
			return rtb.Explanation{Exchange: exchange, Outcome: "bid", Imps: []rtb.ImpExplanation{{ID: "1", LineItems: []rtb.LineItemExplanation{{LineItem: "x", Stage: "bid"}}}}}, nil
		}
	})
	got, err := s.client().Explain(t.Context(), "generic", []byte(`{"id": "a", "imp": []}`))
	if err != nil || got.Outcome != "bid" || got.Imps[0].LineItems[0].LineItem != "x" {
		t.Errorf("Explain = %+v, %v", got, err)
	}
	if _, err := s.client().Explain(t.Context(), "generic", []byte(`{"id": "a"}`)); err == nil || !strings.Contains(err.Error(), "body.request: no imp") {
		t.Errorf("Explain of a bad request = %v", err)
	}
	if _, err := s.client().Explain(t.Context(), "generic", []byte(`{`)); err == nil {
		t.Error("Explain of no JSON succeeded")
	}
	s.want(404, "POST", "/v1/explain", `{"exchange": "nowhere", "request": {"imp": []}}`).problems(t)
	s.want(422, "POST", "/v1/explain", `{"exchange": ""}`).problems(t)
	start(t, nil).want(501, "POST", "/v1/explain", `{"exchange": "generic", "request": {}}`)
}
