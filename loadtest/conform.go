package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Conform plays an exchange's certification: it sends every line of its input
// and judges every answer by the rules of OpenRTB and of the request.
type Conform struct {
	URL       string // without a path, requests go to /bid/ and their exchange
	Exchange  string // for lines that do not name one; empty: generic
	Lines     []Line
	Encodings []string           // "plain", "gzip"; empty: both
	Conns     int                // connections at once; 0: 4
	Timeout   time.Duration      // after which a request hangs; 0: 5 s
	PerImp    int                // bids that one seat may make for one impression; 0: 1
	Rates     map[string]float64 // worth of one unit of each currency in a common one, to compare floors
	Examples  int                // violations of a rule kept to show; 0: 5
}

// ConformReport is what a certification found.
type ConformReport struct {
	Lines      int                `json:"lines"`
	Sent       int                `json:"sent"`
	Statuses   map[int]int        `json:"statuses"`
	Answers    int                `json:"answers"` // with at least one bid
	Bids       int                `json:"bids"`
	Gzipped    int                `json:"gzipped"`  // answers that came compressed
	Late       int                `json:"late"`     // answers after the request's tmax
	Eligible   int                `json:"eligible"` // valid banner and video requests sent
	Answered   int                `json:"answered"` // of these, with a bid
	BidRate    float64            `json:"bid_rate"` // Answered / Eligible
	Violations int                `json:"violations"`
	ByRule     map[string]int     `json:"by_rule"`
	Examples   []ConformViolation `json:"examples"`
}

// ConformViolation is one rule that the answer to one request broke.
type ConformViolation struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Name     string `json:"name,omitempty"`
	Encoding string `json:"encoding"`
	Violation
}

// Validate reports every setting that is wrong.
func (c *Conform) Validate() error {
	var errs []error
	if _, err := parseEndpoint(c.URL); err != nil {
		errs = append(errs, err)
	}
	for _, e := range c.Encodings {
		if e != plain.String() && e != gzipped.String() {
			errs = append(errs, fmt.Errorf("encoding: %q is neither plain nor gzip", e))
		}
	}
	if c.Conns < 0 || c.Timeout < 0 || c.PerImp < 0 || c.Examples < 0 {
		errs = append(errs, errors.New("conns, timeout, bids-per-imp and examples must not be negative"))
	}
	if len(c.Lines) == 0 {
		errs = append(errs, errors.New("in: no requests"))
	}
	return errors.Join(errs...)
}

// trial is one line in one encoding.
type trial struct {
	line     *Line
	encoding encoding
}

// result is what came of a trial.
type result struct {
	status  int // 0 when there was no answer
	bids    int
	gzipped bool
	late    bool
	found   []Violation
}

// Run sends everything and returns when the last answer is judged. It fails
// only where nothing can be said of the bidder.
func (c *Conform) Run(ctx context.Context) (*ConformReport, error) {
	run := *c
	if run.Conns == 0 {
		run.Conns = 4
	}
	if run.Timeout == 0 {
		run.Timeout = 5 * time.Second
	}
	if run.PerImp == 0 {
		run.PerImp = 1
	}
	if run.Examples == 0 {
		run.Examples = 5
	}
	if len(run.Encodings) == 0 {
		run.Encodings = []string{plain.String(), gzipped.String()}
	}
	if err := run.Validate(); err != nil {
		return nil, err
	}
	to, _ := parseEndpoint(run.URL) // Validate parsed it
	probe := newWire(to)
	if err := probe.dial(time.Now().Add(run.Timeout)); err != nil {
		return nil, err
	}
	probe.close()

	var trials []trial
	for i := range run.Lines {
		for _, e := range []encoding{plain, gzipped} {
			if slices.Contains(run.Encodings, e.String()) {
				trials = append(trials, trial{&run.Lines[i], e})
			}
		}
	}
	results := make([]result, len(trials))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(run.Conns, len(trials)) {
		workers.Go(func() {
			w := newWire(to)
			defer w.close()
			for i := range next {
				results[i] = run.try(w, trials[i])
			}
		})
	}
	var err error
feed:
	for i := range trials {
		select {
		case next <- i:
		case <-ctx.Done():
			err = ctx.Err()
			break feed
		}
	}
	close(next)
	workers.Wait()
	if err != nil {
		return nil, err
	}
	return run.report(trials, results), nil
}

// try sends one request and judges what comes.
func (c *Conform) try(w *wire, t trial) (r result) {
	fail := func(rule, format string, args ...any) {
		r.found = append(r.found, Violation{rule, fmt.Sprintf(format, args...)})
	}
	view := readRequest(t.line.Body)
	to := w.to.to(t.line.Exchange, c.Exchange)
	request := to.appendRequest(nil, t.line.Body, t.encoding)
	start := time.Now()
	reply, err := w.do(request, start.Add(c.Timeout))
	took := time.Since(start)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			fail("timeout", "no answer in %v", c.Timeout)
		} else {
			fail("connection", "%v", err)
		}
		return r
	}
	r.status = reply.status
	if view != nil {
		tmax := view.root.get("tmax").float()
		r.late = tmax > 0 && took.Seconds()*1000 > tmax
	}
	if !c.expected(t.line, view, reply.status) {
		fail("status", "%d, expected %s", reply.status, expectation(t.line))
		return r
	}
	body := reply.body
	if coding := strings.ToLower(string(reply.contentEncoding)); coding != "" && coding != "identity" {
		unpacked, err := decompress(body)
		switch {
		case t.encoding == plain:
			fail("gzip", "content encoding %q, which was not asked for", coding)
			return r
		case coding != "gzip":
			fail("gzip", "content encoding %q", coding)
			return r
		case err != nil:
			fail("gzip", "the answer does not unpack: %v", err)
			return r
		}
		body, r.gzipped = unpacked, true
	}
	switch reply.status {
	case http.StatusNoContent:
		if reply.stray {
			fail("no-content-body", "a 204 with a body")
		}
	case http.StatusOK:
		media, _, _ := strings.Cut(string(reply.contentType), ";")
		if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
			fail("content-type", "%q", reply.contentType)
		}
		check := answerCheck{request: view, rates: c.Rates, perImp: c.PerImp, fetch: c.fetch, onlyGood: len(t.line.Expect) == 0 && t.line.broken()}
		check.check(body)
		r.bids = check.bids
		r.found = append(r.found, check.found...)
	}
	return r
}

// broken is true for a request that is known to break the rules.
func (l *Line) broken() bool { return l.Valid != nil && !*l.Valid }

// expected judges the status. A request that breaks a rule may be answered
// with bids on its sound impressions only if others are what is broken.
func (c *Conform) expected(line *Line, o *requestView, status int) bool {
	switch {
	case len(line.Expect) > 0:
		return slices.Contains(line.Expect, status)
	case line.broken():
		return status == 204 || status == 400 || status == 200 && o != nil && o.hasBroken()
	case line.Valid != nil:
		return status == 200 || status == 204
	}
	return status == 200 || status == 204 || status == 400
}

func expectation(line *Line) string {
	switch {
	case len(line.Expect) > 0:
		return fmt.Sprint(line.Expect)
	case line.broken():
		return "400 or 204, or 200 for a sound impression beside a broken one"
	case line.Valid != nil:
		return "200 or 204"
	}
	return "200, 204 or 400"
}

// fetch gets the markup that a notice URL delivers, from the bidder itself and
// from nowhere else.
func (c *Conform) fetch(nurl string) (string, error) {
	from, err := url.Parse(nurl)
	if err != nil {
		return "", err
	}
	if bidder, err := url.Parse(c.URL); err != nil || from.Host != bidder.Host {
		return "", fmt.Errorf("%s is not the bidder", from.Host)
	}
	client := http.Client{Timeout: c.Timeout}
	defer client.CloseIdleConnections()
	response, err := client.Get(nurl)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answers %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return string(body), err
}

func (c *Conform) report(trials []trial, results []result) *ConformReport {
	r := &ConformReport{Lines: len(c.Lines), Sent: len(trials), Statuses: map[int]int{}, ByRule: map[string]int{}, Examples: []ConformViolation{}}
	for i, res := range results {
		line := trials[i].line
		if res.status != 0 {
			r.Statuses[res.status]++
		}
		if res.bids > 0 {
			r.Answers++
		}
		r.Bids += res.bids
		if res.gzipped {
			r.Gzipped++
		}
		if res.late {
			r.Late++
		}
		if line.eligible() {
			r.Eligible++
			if res.bids > 0 {
				r.Answered++
			}
		}
		for _, v := range res.found {
			r.Violations++
			if r.ByRule[v.Rule]++; r.ByRule[v.Rule] <= c.Examples {
				r.Examples = append(r.Examples, ConformViolation{line.File, line.Number, line.Name, trials[i].encoding.String(), v})
			}
		}
	}
	if r.Eligible > 0 {
		r.BidRate = float64(r.Answered) / float64(r.Eligible)
	}
	return r
}

// eligible is true for a request that a bidder with fitting campaigns should
// bid on: valid, and for a banner or a video. A bare body counts by what it
// offers; nobody says whether it is valid.
func (l *Line) eligible() bool {
	if l.unlabelled {
		o := readRequest(l.Body)
		return o != nil && o.wantsBannerOrVideo()
	}
	if l.Valid == nil || !*l.Valid {
		return false
	}
	if l.Kind == "" {
		o := readRequest(l.Body)
		return o != nil && o.wantsBannerOrVideo()
	}
	return l.Kind == "banner" || l.Kind == "video"
}

// WriteText prints the report for people.
func (r *ConformReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "sent %d requests of %d lines\n", r.Sent, r.Lines)
	for _, status := range sortedKeys(r.Statuses) {
		fmt.Fprintf(&b, "  %d  %d\n", status, r.Statuses[status])
	}
	fmt.Fprintf(&b, "bids %d in %d answers, %d gzip, %d after tmax\n", r.Bids, r.Answers, r.Gzipped, r.Late)
	fmt.Fprintf(&b, "valid banner and video requests answered with a bid: %d of %d, %.1f %%\n", r.Answered, r.Eligible, 100*r.BidRate)
	fmt.Fprintf(&b, "violations %d\n", r.Violations)
	for _, rule := range sortedKeys(r.ByRule) {
		fmt.Fprintf(&b, "  %s  %d\n", rule, r.ByRule[rule])
		for _, e := range r.Examples {
			if e.Rule == rule {
				fmt.Fprintf(&b, "    %s:%d %s %s: %s\n", e.File, e.Line, e.Encoding, e.Name, e.Detail)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
