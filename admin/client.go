package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Client speaks to the API of a running bidwell, for the commands apply,
// audience import, conversions import, explain and report.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client for the API at base, such as
// "http://127.0.0.1:8081". It keeps connections until Close.
func NewClient(base string) *Client {
	// No timeout for whole calls: an upload takes as long as it takes. The
	// context ends one.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // it is on this machine
	return &Client{base: strings.TrimRight(base, "/"), http: &http.Client{Transport: transport}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// RefusedError is an answer other than success, with every wrong field that
// the API named.
type RefusedError struct {
	Status int
	Detail string
	Fields []FieldError
}

// FieldError is what is wrong with one field.
type FieldError struct {
	Where   string // a file and line and the document, or the place in the body
	Field   string
	Message string
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "refused with %d: %s", e.Status, e.Detail)
	for _, f := range e.Fields {
		b.WriteString("\n  ")
		for _, part := range []string{f.Where, f.Field} {
			if part != "" {
				b.WriteString(part + ": ")
			}
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

// Apply puts the documents of files, all of them or, when anything is wrong
// with one, none. A dry run only says what would change. The error for wrong
// documents is a [*RefusedError] that names files and lines.
func (c *Client) Apply(ctx context.Context, documents []FileDocument, dryRun bool) (*ApplyResult, error) {
	if len(documents) == 0 {
		return nil, errNoDocuments
	}
	request := applyRequest{Documents: make([]ApplyDocument, len(documents))}
	for i := range documents {
		request.Documents[i] = documents[i].ApplyDocument
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	var result ApplyResult
	err = c.call(ctx, "/v1/apply?dry_run="+strconv.FormatBool(dryRun), "application/json", bytes.NewReader(body), &result)
	var refused *RefusedError
	if errors.As(err, &refused) {
		for i := range refused.Fields {
			place(&refused.Fields[i], documents)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return &result, nil
}

// place turns "body.documents[3].goal.value" into a file and a line.
func place(f *FieldError, documents []FileDocument) {
	rest, ok := strings.CutPrefix(f.Where, "body.documents[")
	number, field, found := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	if !ok || !found || err != nil || i < 0 || i >= len(documents) {
		return
	}
	d := &documents[i]
	f.Field = strings.TrimPrefix(field, ".")
	f.Where = d.File
	if line := d.lineOf(f.Field); line > 0 {
		f.Where = fmt.Sprintf("%s:%d", d.File, line)
	}
	f.Where += ": " + kindOf(d.Kind).noun + " " + d.ID
}

// ImportOptions say what to do with a list of users.
type ImportOptions struct {
	Segment string        // id
	Mode    string        // add, replace or remove; add when empty
	Kind    string        // what the identifiers are, where the list does not say
	TTL     time.Duration // zero for that of the segment
}

// Import uploads a list of users, CSV or one identifier a line, plain or gzip.
// It streams: wrap list to see the progress.
func (c *Client) Import(ctx context.Context, to ImportOptions, list io.Reader) (*ImportResult, error) {
	query := url.Values{}
	for name, value := range map[string]string{"mode": to.Mode, "kind": to.Kind} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if to.TTL != 0 {
		query.Set("ttl", to.TTL.String())
	}
	var result ImportResult
	path := "/v1/segments/" + url.PathEscape(to.Segment) + "/members?" + query.Encode()
	// The wrapper hides the list's type, so that it is sent as it comes.
	if err := c.call(ctx, path, "application/octet-stream", struct{ io.Reader }{list}, &result); err != nil {
		return nil, fmt.Errorf("import into segment %s: %w", to.Segment, err)
	}
	return &result, nil
}

// ConversionOptions say how a list of conversions is to be read.
type ConversionOptions struct {
	Kind       string // what identifiers in a column id are; by their form when empty
	Advertiser string // id of the advertiser of conversions that name none
}

// Convert uploads a list of conversions, CSV or a JSON object a line, plain or
// gzip. It streams: wrap list to see the progress.
func (c *Client) Convert(ctx context.Context, how ConversionOptions, list io.Reader) (*ConversionsResult, error) {
	query := url.Values{}
	for name, value := range map[string]string{"kind": how.Kind, "advertiser": how.Advertiser} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var result ConversionsResult
	// The wrapper hides the list's type, so that it is sent as it comes.
	if err := c.call(ctx, "/v1/conversions?"+query.Encode(), "application/octet-stream", struct{ io.Reader }{list}, &result); err != nil {
		return nil, fmt.Errorf("import conversions: %w", err)
	}
	return &result, nil
}

// Explain asks what the bidder decides on an OpenRTB request from an exchange.
func (c *Client) Explain(ctx context.Context, exchange string, request []byte) (*rtb.Explanation, error) {
	if !json.Valid(request) {
		return nil, errors.New("explain: the request is not JSON")
	}
	body, err := json.Marshal(map[string]any{"exchange": exchange, "request": json.RawMessage(request)})
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	var result rtb.Explanation
	if err := c.call(ctx, "/v1/explain", "application/json", bytes.NewReader(body), &result); err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	return &result, nil
}

// Pacing is how a line item spends.
func (c *Client) Pacing(ctx context.Context, lineItem string) (*Pacing, error) {
	var result Pacing
	if err := c.get(ctx, "/v1/line-items/"+url.PathEscape(lineItem)+"/pacing", &result); err != nil {
		return nil, fmt.Errorf("pacing of %s: %w", lineItem, err)
	}
	return &result, nil
}

// Shading reads what shading has saved.
func (c *Client) Shading(ctx context.Context) (*Shading, error) {
	var result Shading
	if err := c.get(ctx, "/v1/shading", &result); err != nil {
		return nil, fmt.Errorf("shading: %w", err)
	}
	return &result, nil
}

// Maturity reads how late conversions are.
func (c *Client) Maturity(ctx context.Context) (*Maturities, error) {
	var result Maturities
	if err := c.get(ctx, "/v1/maturity", &result); err != nil {
		return nil, fmt.Errorf("maturity: %w", err)
	}
	return &result, nil
}

// Discrepancies compares what the notices say, of one line item and one
// exchange or, where they are empty, of all.
func (c *Client) Discrepancies(ctx context.Context, lineItem, exchange string) (*Discrepancies, error) {
	query := url.Values{}
	for name, value := range map[string]string{"line_item": lineItem, "exchange": exchange} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var result Discrepancies
	if err := c.get(ctx, "/v1/discrepancies?"+query.Encode(), &result); err != nil {
		return nil, fmt.Errorf("discrepancies: %w", err)
	}
	return &result, nil
}

// ExperimentResults is what an experiment says so far, of its own metric where
// none is named.
func (c *Client) ExperimentResults(ctx context.Context, experiment, metric string) (*ExperimentResults, error) {
	path := "/v1/experiments/" + url.PathEscape(experiment) + "/results"
	if metric != "" {
		path += "?metric=" + url.QueryEscape(metric)
	}
	var result ExperimentResults
	if err := c.get(ctx, path, &result); err != nil {
		return nil, fmt.Errorf("results of %s: %w", experiment, err)
	}
	return &result, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// call posts a body.
func (c *Client) call(ctx context.Context, path, kind string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	return c.do(req, into)
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	return c.do(req, into)
}

// do sends a request and reads the answer into what it should be.
func (c *Client) do(req *http.Request, into any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 == 2 {
		return json.Unmarshal(text, into)
	}
	refused := &RefusedError{Status: resp.StatusCode, Detail: resp.Status}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/problem+json" {
		var p huma.ErrorModel
		if err := json.Unmarshal(text, &p); err == nil {
			refused.Detail = p.Detail
			for _, e := range p.Errors {
				refused.Fields = append(refused.Fields, FieldError{Where: e.Location, Message: e.Message})
			}
		}
	}
	return refused
}
