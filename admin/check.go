package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // advertisers' time zones, also on machines without them

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

// Limits that no honest document reaches.
const (
	maxWindow = 10 * 366 * 24 * time.Hour
	maxURL    = 2048
	maxErrors = 100
)

func init() {
	// Names of fields are compared as they are: "Name" is not "name".
	huma.ValidateStrictCasing = true
}

// checker collects what is wrong with one document. Fields are named by their
// place in the body, such as "body.goal.max_cpm".
type checker struct {
	at     string // where the document stands in the body
	errs   []*huma.ErrorDetail
	failed map[string]bool
}

// fail reports a field. Only the first thing wrong with it is kept, and the
// value only where it is short.
func (c *checker) fail(field string, value any, format string, args ...any) {
	location := c.at
	if field != "" {
		location += "." + field
	}
	c.failAt(location, value, fmt.Sprintf(format, args...))
}

func (c *checker) failAt(location string, value any, message string) {
	if len(c.errs) >= maxErrors {
		return
	}
	// What is wrong with a whole object need not be said of its fields.
	for at := location; ; {
		if c.failed[at] {
			return
		}
		end := strings.LastIndexAny(at, ".[")
		if end <= len(c.at) {
			break
		}
		at = at[:end]
	}
	if c.failed == nil {
		c.failed = map[string]bool{}
	}
	c.failed[location] = true
	switch v := value.(type) {
	case string:
		if v == "" || len(v) > 200 {
			value = nil
		}
	case bool, float64, int, uint16, uint32:
	default:
		value = nil
	}
	c.errs = append(c.errs, &huma.ErrorDetail{Location: location, Message: message, Value: value})
}

var rxField = regexp.MustCompile(`^([a-z_]+(?:\[[0-9]+\])?(?:\.[a-z_]+(?:\[[0-9]+\])?)*): (.+)$`)

// failAll reports what another package said is wrong: one error or a join of
// several, each of which may begin with the name of a field and a colon.
func (c *checker) failAll(under string, err error) {
	if err == nil {
		return
	}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range list.Unwrap() {
			c.failAll(under, e)
		}
		return
	}
	field, message := under, err.Error()
	if m := rxField.FindStringSubmatch(message); m != nil {
		// Package openrtb names assets under "assets", the document does not.
		field, message = strings.TrimPrefix(under+"."+strings.TrimPrefix(m[1], "assets."), "."), m[2]
	}
	c.fail(field, nil, "%s", message)
}

var rxRequired = regexp.MustCompile(`^expected required property (\S+) to be present$`)

// rxMoney are fields that people write as bare numbers.
var rxMoney = regexp.MustCompile(`\.(value|max_cpm|max_cpc|max_cpa|total|daily|floor|cpm)$`)

// rxDuration are those that have a unit besides.
var rxDuration = regexp.MustCompile(`\.(min_gap|window|duration|expiry|ttl)$`)

// decode reads the JSON of a document, reports every wrong field, and puts the
// document into its usual form. The document is not nil when the text is an
// object, even if it has wrong fields.
func (c *checker) decode(k *kind, schemas huma.Registry, text []byte) document {
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&tree); err != nil {
		c.fail("", nil, "not JSON: %v", err)
		return nil
	}
	if _, err := d.Token(); err != io.EOF {
		c.fail("", nil, "not JSON: something follows the object")
		return nil
	}
	if _, ok := tree.(map[string]any); !ok {
		c.fail("", nil, "must be an object")
		return nil
	}
	doc := k.make()
	schema := schemas.Schema(reflect.TypeOf(doc), true, "")
	var result huma.ValidateResult
	huma.Validate(schemas, schema, huma.NewPathBuffer([]byte(c.at), len(c.at)), huma.ModeWriteToServer, tree, &result)
	for _, err := range result.Errors {
		detail, ok := err.(*huma.ErrorDetail)
		if !ok {
			detail = &huma.ErrorDetail{Location: c.at, Message: err.Error()}
		}
		if m := rxRequired.FindStringSubmatch(detail.Message); m != nil {
			c.failAt(detail.Location+"."+m[1], nil, "is required")
			continue
		}
		if v, ok := detail.Value.(float64); ok && detail.Message == validation.MsgExpectedString {
			if rxDuration.MatchString(detail.Location) {
				detail.Message = fmt.Sprintf("write it in quotes and with its unit, such as %q", strconv.FormatFloat(v, 'f', -1, 64)+"m")
				c.failAt(detail.Location, detail.Value, detail.Message)
				continue
			}
			decimals := -1
			if rxMoney.MatchString(detail.Location) && v*100 == math.Trunc(v*100) {
				decimals = 2
			}
			detail.Message = fmt.Sprintf("write it in quotes, such as %q", strconv.FormatFloat(v, 'f', decimals, 64))
		}
		c.failAt(detail.Location, detail.Value, detail.Message)
	}
	// The tree rather than the text, so that what was validated is what is
	// read, also where a name comes twice. Fields of a wrong type are already
	// reported; the others are read.
	text, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(text, doc)
	}
	if err != nil && len(c.errs) == 0 {
		c.fail("", nil, "%v", err)
	}
	doc.check(c)
	return doc
}

var rxID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func (c *checker) id(field, id string) {
	if !rxID.MatchString(id) {
		c.fail(field, id, "must be an id: lower-case letters, digits, dots, dashes and underscores, at most 64")
	}
}

// ids checks a list of ids and reports those that come twice.
func (c *checker) ids(field string, ids []string) {
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		at := fmt.Sprintf("%s[%d]", field, i)
		c.id(at, id)
		if seen[id] {
			c.fail(at, id, "is named twice")
		}
		seen[id] = true
	}
}

// words trims a list of short texts and reports empty ones.
func (c *checker) words(field string, words []string) {
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
		if words[i] == "" || strings.ContainsFunc(words[i], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			c.fail(fmt.Sprintf("%s[%d]", field, i), words[i], "must not be empty or contain control characters")
		}
	}
}

// codes puts a list of two-letter codes into upper or lower case.
func (c *checker) codes(field string, codes []string, fold func(string) string, what string) {
	for i := range codes {
		c.code(fmt.Sprintf("%s[%d]", field, i), &codes[i], fold, what)
	}
}

func (c *checker) code(field string, code *string, fold func(string) string, what string) {
	if len(*code) != 2 || !isLetter((*code)[0]) || !isLetter((*code)[1]) {
		c.fail(field, *code, "must be %s", what)
		return
	}
	*code = fold(*code)
}

// known reports a name that a table does not have. The schema says so first
// for what comes through the API; this is for what was stored otherwise.
func known[V any](c *checker, field, name string, table map[string]V) {
	if _, ok := table[name]; !ok {
		c.fail(field, name, "is not known")
	}
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

var rxDomain = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// domains puts domains into lower case without "www." and reports what is none.
func (c *checker) domains(field string, domains []string) {
	for i := range domains {
		d := strings.TrimPrefix(strings.ToLower(strings.TrimSuffix(strings.TrimSpace(domains[i]), ".")), "www.")
		if len(d) > 253 || !rxDomain.MatchString(d) {
			c.fail(fmt.Sprintf("%s[%d]", field, i), domains[i], "must be a domain such as acme-shoes.example, without scheme and path")
			continue
		}
		if _, err := netip.ParseAddr(d); err == nil {
			c.fail(fmt.Sprintf("%s[%d]", field, i), domains[i], "must be a domain, not an address")
			continue
		}
		domains[i] = d
	}
}

// url reports what is not an absolute web address.
func (c *checker) url(field, address string, required bool) {
	if address == "" {
		if required {
			c.fail(field, nil, "is required")
		}
		return
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil ||
		strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '"' || r == '<' || r == '>' }) {
		c.fail(field, address, "must be an absolute http or https address")
	} else if len(address) > maxURL {
		c.fail(field, nil, "must have at most %d bytes", maxURL)
	}
}

func (c *checker) time(field string, t Time) time.Time {
	if t == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, string(t))
	if err != nil {
		c.fail(field, string(t), "must be a time such as 2026-12-01T00:00:00+01:00")
	}
	return at
}

func (c *checker) duration(field string, d Duration, least, most time.Duration) time.Duration {
	if d == "" {
		return 0
	}
	v, err := time.ParseDuration(string(d))
	if err != nil {
		c.fail(field, string(d), `must be a duration such as "24h" or "1m30s"`)
	} else if v < least || v > most {
		c.fail(field, string(d), "must be between %v and %v", least, most)
	}
	return v
}

func (c *checker) location(field, name string) {
	if name == "Local" {
		c.fail(field, name, "must be an IANA time zone such as Europe/Berlin")
	} else if _, err := time.LoadLocation(name); err != nil {
		c.fail(field, name, "must be an IANA time zone such as Europe/Berlin")
	}
}

// amount puts an amount into its usual form, such as "12.50".
func (c *checker) amount(field string, a *Amount) rtb.Money {
	if *a == "" {
		return 0
	}
	m, err := rtb.ParseMoney(string(*a))
	if err != nil || m < 0 || m > maxAmount {
		c.fail(field, string(*a), `must be an amount such as "12.50", at most %s`, maxAmount)
		return 0
	}
	*a = Amount(m.String())
	return m
}

// cpm puts a CPM into its usual form, such as "2.50". It returns the price of
// one impression.
func (c *checker) cpm(field string, p *CPM) rtb.Money {
	if *p == "" {
		return 0
	}
	m, err := rtb.ParseCPM(string(*p))
	if err != nil || m < 0 || m > maxCPM {
		c.fail(field, string(*p), `must be a price per thousand such as "2.50" with at most six decimals, at most %s`, maxCPM*1000)
		return 0
	}
	*p = CPM((m * 1000).String())
	return m
}
