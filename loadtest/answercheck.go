package loadtest

import (
	"bytes"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Violation is one rule that an answer breaks.
type Violation struct {
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
}

// answerCheck compares one answer to the request it is for.
type answerCheck struct {
	request  *requestView
	rates    map[string]float64 // worth of one unit in a common currency
	perImp   int                // bids for one impression from one seat
	fetch    func(nurl string) (string, error)
	found    []Violation
	bids     int
	onlyGood bool // bids may only be for sound impressions
}

func (c *answerCheck) fail(rule, format string, args ...any) {
	c.found = append(c.found, Violation{rule, fmt.Sprintf(format, args...)})
}

// fields are the known fields of a JSON object and what they must be. A suffix
// [] makes it a list.
type fields map[string]string

var (
	answerFields = fields{
		"id": "id", "seatbid": "object[]", "bidid": "string", "cur": "string", "customdata": "string", "nbr": "integer", "ext": "object",
	}
	seatFields = fields{"bid": "object[]", "seat": "string", "group": "integer", "ext": "object"}
	bidFields  = fields{
		"id": "string", "impid": "id", "price": "number", "adid": "string", "nurl": "string", "burl": "string", "lurl": "string",
		"adm": "string", "adomain": "string[]", "bundle": "string", "iurl": "string", "cid": "string", "crid": "string",
		"tactic": "string", "cattax": "integer", "cat": "string[]", "attr": "integer[]", "apis": "integer[]", "api": "integer",
		"protocol": "integer", "qagmediarating": "integer", "language": "string", "langb": "string", "dealid": "string",
		"w": "integer", "h": "integer", "wratio": "integer", "hratio": "integer", "exp": "integer", "dur": "integer",
		"mtype": "integer", "slotinpod": "integer", "ext": "object",
	}
)

// checkTypes reports the members of n that are not of their type.
func (c *answerCheck) checkTypes(where string, n *node, known fields) {
	for _, m := range n.members {
		want, ok := known[m.name]
		if !ok {
			continue
		}
		values := []*node{m.value}
		element, isList := strings.CutSuffix(want, "[]")
		if isList {
			if m.value.kind != kindArray {
				c.fail("type", "%s.%s is %s, not an array", where, m.name, m.value.kind)
				continue
			}
			values = m.value.items
		}
		for _, v := range values {
			if !v.is(element) {
				c.fail("type", "%s.%s is %s %.40s, not %s", where, m.name, v.kind, v.raw, element)
				break
			}
		}
	}
}

func (n *node) is(want string) bool {
	switch want {
	case "string":
		return n.kind == kindString
	case "object":
		return n.kind == kindObject
	case "number":
		return n.kind == kindNumber
	case "id": // a number is for sameID to judge
		return n.kind == kindString || n.kind == kindNumber
	}
	v, ok := n.number()
	return n.kind == kindNumber && ok && v == math.Trunc(v)
}

// check judges the body of a 200.
func (c *answerCheck) check(body []byte) {
	if !utf8.Valid(body) {
		c.fail("utf8", "the answer is not UTF-8")
		return
	}
	root, duplicates, err := parseAnswer(bytes.TrimSpace(body))
	if err != nil {
		c.fail("json", "%v in %.120q", err, body)
		return
	}
	for _, key := range duplicates {
		c.fail("duplicate-key", "%q is twice in one object", key)
	}
	if !root.isObject() {
		c.fail("type", "the answer is %s, not an object", root.kind)
		return
	}
	if c.request == nil {
		c.fail("bad-request", "a bid on what is no bid request")
		return
	}
	c.checkTypes("answer", root, answerFields)
	if id := root.get("id"); !slices.ContainsFunc(c.request.ids, func(sent *node) bool { return sameID(sent, id) }) {
		c.fail("id", "id %s does not repeat that of the request, %s", rawOf(id), rawOf(c.request.root.get("id")))
	}
	cur := currency(root.get("cur"))
	if !slices.ContainsFunc(c.request.cur, func(allowed string) bool { return strings.EqualFold(allowed, cur) }) {
		c.fail("currency", "%s is not among %v", cur, c.request.cur)
	}
	c.checkSeats(root, cur)
	c.checkIdentifiers(root)
}

func rawOf(n *node) string {
	if n == nil {
		return "(absent)"
	}
	return fmt.Sprintf("%.80s", n.raw)
}

func (c *answerCheck) checkSeats(root *node, cur string) {
	ids := map[string]bool{}
	answered := map[*impView]bool{}
	for s, seatbid := range root.get("seatbid").list() {
		where := fmt.Sprintf("seatbid[%d]", s)
		c.checkTypes(where, seatbid, seatFields)
		seat := seatbid.get("seat").str()
		c.checkSeat(where, seat)
		perImp := map[string]int{}
		for b, bid := range seatbid.get("bid").list() {
			where := fmt.Sprintf("seatbid[%d].bid[%d]", s, b)
			c.bids++
			c.checkTypes(where, bid, bidFields)
			switch id := bid.get("id").str(); {
			case id == "":
				c.fail("bid-id", "%s has no id", where)
			case ids[id]:
				c.fail("bid-id", "%s has the id %q of another bid", where, id)
			default:
				ids[id] = true
			}
			imp := c.request.imp(bid.get("impid"))
			if imp == nil {
				c.fail("impid", "%s is for an impression %s that the request does not have", where, rawOf(bid.get("impid")))
				continue
			}
			if c.onlyGood && !imp.sound {
				c.fail("bad-request", "%s is for the broken impression %s", where, rawOf(imp.id))
			}
			if perImp[imp.id.str()]++; perImp[imp.id.str()] == c.perImp+1 {
				c.fail("bids-per-imp", "more than %d from seat %q for impression %s", c.perImp, seat, rawOf(imp.id))
			}
			answered[imp] = true
			b := bidCheck{answerCheck: c, where: where, bid: bid, imp: imp, seat: seat, cur: cur}
			b.check()
		}
	}
	if c.bids == 0 {
		c.fail("no-bids", "a 200 without a bid")
	}
}

func (c *answerCheck) checkSeat(where, seat string) {
	if wanted := c.request.root.get("wseat").strs(); len(wanted) > 0 && !slices.Contains(wanted, seat) {
		c.fail("seat", "%s: seat %q is not among wseat %v", where, seat, wanted)
	}
	if blocked := c.request.root.get("bseat").strs(); slices.Contains(blocked, seat) {
		c.fail("seat", "%s: seat %q is blocked by bseat", where, seat)
	}
}

// checkIdentifiers looks for the person's identifiers in all texts of the
// answer but the ids that have to be repeated.
func (c *answerCheck) checkIdentifiers(root *node) {
	if len(c.request.identifiers) == 0 {
		return
	}
	var texts []string
	collectTexts(root, &texts)
	all := strings.ToLower(strings.Join(texts, "\n"))
	for _, id := range c.request.identifiers {
		lower := strings.ToLower(id)
		if strings.Contains(all, lower) || strings.Contains(all, strings.ToLower(url.QueryEscape(id))) {
			c.fail("privacy", "%s, but the answer has the identifier %q", c.request.restricted, id)
		}
	}
}

func collectTexts(n *node, texts *[]string) {
	if n.kind == kindString {
		*texts = append(*texts, n.text)
	}
	for _, item := range n.items {
		collectTexts(item, texts)
	}
	for _, m := range n.members {
		if m.name != "id" && m.name != "impid" && m.name != "dealid" {
			collectTexts(m.value, texts)
		}
	}
}
