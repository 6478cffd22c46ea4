package admin

import (
	"encoding/json"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Head is what the server says about a document. In a request the id may be
// given where it equals that of the path; the rest is ignored there.
type Head struct {
	ID      string `json:"id,omitempty" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" patternDescription:"an id: lower-case letters, digits, dots, dashes and underscores, at most 64" doc:"The caller's own id" example:"spring"`
	Number  uint32 `json:"number,omitempty" readOnly:"true" doc:"Number among the documents of this kind; it is never given to another"`
	Version uint64 `json:"version,omitempty" readOnly:"true" doc:"Version of the last change, as in the ETag"`
}

func (h *Head) head() *Head { return h }

// Amount is a sum in the account currency as a decimal string.
type Amount string

// Schema describes an Amount to the API.
func (Amount) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[0-9]{1,10}(\.[0-9]{1,9})?$`,
		PatternDescription: `an amount in the account currency as a decimal string such as "12.50"`, Examples: []any{"12.50"}}
}

// CPM is a price per thousand impressions in the account currency as a decimal
// string.
type CPM string

// Schema describes a CPM to the API.
func (CPM) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[0-9]{1,7}(\.[0-9]{1,6})?$`,
		PatternDescription: `a price per thousand impressions as a decimal string such as "2.50"`, Examples: []any{"2.50"}}
}

// Duration is a length of time as Go writes it, such as "24h" or "1m30s".
type Duration string

// Schema describes a Duration to the API.
func (Duration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`,
		PatternDescription: `a duration such as "24h" or "1m30s"`, Examples: []any{"24h"}}
}

// Time is an instant as RFC 3339 writes it.
type Time string

// Schema describes a Time to the API.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-12-01T00:00:00+01:00"}}
}

// Status says whether a document takes part in bidding.
type Status string

// The statuses. What is archived stays readable.
const (
	Active   Status = "active"
	Paused   Status = "paused"
	Archived Status = "archived"
)

// Schema describes a Status to the API.
func (Status) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Enum: []any{"active", "paused", "archived"}, Default: "active",
		Description: "Only what is active bids"}
}

var statuses = map[string]struct{}{"active": {}, "paused": {}, "archived": {}}

func (s *Status) check(c *checker) {
	if *s == "" {
		*s = Active
	}
	known(c, "status", string(*s), statuses)
}

// Advertiser is a company that advertises.
type Advertiser struct {
	Head
	Name       string   `json:"name" minLength:"1" maxLength:"200" example:"Acme Shoes"`
	Status     Status   `json:"status,omitempty"`
	Domains    []string `json:"domains" minItems:"1" maxItems:"16" maxLength:"253" doc:"Its domains, answered as adomain where a creative names none" example:"[\"acme-shoes.example\"]"`
	Seat       string   `json:"seat,omitempty" maxLength:"64" doc:"Buyer seat; empty for that of the exchange's profile"`
	Timezone   string   `json:"timezone,omitempty" maxLength:"64" doc:"IANA time zone of its days and hours; empty for UTC" example:"Europe/Berlin"`
	Categories []string `json:"categories,omitempty" maxItems:"16" maxLength:"32" doc:"Content categories of its ads, where a creative names none" example:"[\"IAB18\"]"`
	Taxonomy   uint16   `json:"cattax,omitempty" maximum:"1000" doc:"OpenRTB taxonomy of the categories; 1 when not given"`
}

func (a *Advertiser) check(c *checker) {
	a.Status.check(c)
	c.domains("domains", a.Domains)
	c.location("timezone", a.Timezone)
	c.words("categories", a.Categories)
}

func (a *Advertiser) refer(func(field, kind, id string)) {}

// Flight is a span of time.
type Flight struct {
	Start Time `json:"start,omitempty" doc:"First instant; at once when empty"`
	End   Time `json:"end,omitempty" doc:"First instant that is out; open-ended when empty"`
}

func (f *Flight) check(c *checker) {
	start, end := c.time("flight.start", f.Start), c.time("flight.end", f.End)
	if !start.IsZero() && !end.IsZero() && !end.After(start) {
		c.fail("flight.end", string(f.End), "must be after flight.start")
	}
}

// Campaign groups line items that share money and time.
type Campaign struct {
	Head
	Advertiser string `json:"advertiser" doc:"Id of its advertiser" example:"acme-shoes"`
	Name       string `json:"name" minLength:"1" maxLength:"200" example:"Spring"`
	Status     Status `json:"status,omitempty"`
	Budget     Budget `json:"budget,omitzero" doc:"Shared by its line items"`
	Limits     Limits `json:"limits,omitzero" doc:"Shared by its line items"`
	Flight     Flight `json:"flight,omitzero" doc:"No line item serves outside of it"`
}

func (k *Campaign) check(c *checker) {
	k.Status.check(c)
	c.id("advertiser", k.Advertiser)
	k.Budget.check(c)
	k.Limits.check(c)
	k.Flight.check(c)
}

func (k *Campaign) refer(each func(field, kind, id string)) {
	each("advertiser", advertisers, k.Advertiser)
}

// Segment is a set of users. Its members are uploaded to
// POST /v1/segments/{id}/members.
type Segment struct {
	Head
	Name        string   `json:"name" minLength:"1" maxLength:"200" example:"Runners"`
	Description string   `json:"description,omitempty" maxLength:"2000"`
	TTL         Duration `json:"ttl,omitempty" doc:"How long a member stays after an upload that does not say; for good when empty"`
	Size        *int64   `json:"size,omitempty" readOnly:"true" doc:"Members"`
}

func (s *Segment) check(c *checker) {
	s.Size = nil
	c.duration("ttl", s.TTL, 0, maxWindow)
}

func (s *Segment) refer(func(field, kind, id string)) {}

// Exchange changes or adds the profile of an ad exchange. Its id is the name in
// POST /bid/{name}.
type Exchange struct {
	Head
	Name    string          `json:"name,omitempty" maxLength:"200"`
	Profile json.RawMessage `json:"profile" doc:"The members of the exchange's profile that differ from the built-in one"`
}

func (x *Exchange) check(c *checker) {
	if len(x.Profile) == 0 || x.Profile[0] != '{' {
		c.fail("profile", nil, "must be an object")
		return
	}
}

func (x *Exchange) refer(func(field, kind, id string)) {}

// Deal is a private deal that an exchange offers.
type Deal struct {
	Head
	Deal     string `json:"deal" minLength:"1" maxLength:"128" doc:"Id of the deal at the exchange" example:"PMP-2026-117"`
	Exchange string `json:"exchange,omitempty" doc:"Name of the exchange; any when empty" example:"index"`
	Floor    CPM    `json:"floor,omitempty" doc:"Agreed price, for people; the floor in the request counts"`
	Name     string `json:"name,omitempty" maxLength:"200"`
}

func (d *Deal) check(c *checker) {
	c.cpm("floor", &d.Floor)
	if strings.TrimSpace(d.Deal) != d.Deal {
		c.fail("deal", d.Deal, "must not begin or end with a space")
	}
	if d.Exchange != "" {
		c.id("exchange", d.Exchange)
	}
}

func (d *Deal) refer(each func(field, kind, id string)) {
	if d.Exchange != "" {
		each("exchange", exchanges, d.Exchange)
	}
}
