package loadtest

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is what sort of JSON value a node is.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
	kindSkipped // nested too deep to be of interest
)

func (k kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object", "value nested too deep"}[k]
}

// node is one JSON value. The methods of a nil node are those of an absent
// value, so that lookups chain.
type node struct {
	kind    kind
	raw     []byte // as it was sent
	text    string // string: unescaped; number: as sent; boolean: "true" or ""
	items   []*node
	members []member
}

type member struct {
	name  string
	value *node
}

// maxTreeDepth is how deep values are kept. In a request what is deeper is
// only skipped; in an answer it is an error.
const maxTreeDepth = 256

// parser reads one JSON value. It is strict for answers. Requests may break
// the grammar on purpose, and a bidder may still find a request in them, so
// there it also takes control characters, bytes that are not UTF-8, a byte
// order mark and text after the value.
type parser struct {
	src        []byte
	pos        int
	lenient    bool
	duplicates []string // keys that an object had twice
}

// parseAnswer reads a strict JSON text and the keys that are in one object
// more than once.
func parseAnswer(src []byte) (*node, []string, error) {
	p := parser{src: src}
	n, err := p.document()
	return n, p.duplicates, err
}

// parseRequest reads the first JSON value of a request.
func parseRequest(src []byte) (*node, error) {
	if len(src) >= 3 && string(src[:3]) == "\xef\xbb\xbf" {
		src = src[3:]
	}
	p := parser{src: src, lenient: true}
	return p.document()
}

func (p *parser) document() (*node, error) {
	p.space()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(p.src) && !p.lenient {
		return nil, p.errorf("text after the value")
	}
	return n, nil
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", p.pos, fmt.Sprintf(format, args...))
}

func (p *parser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) value(depth int) (*node, error) {
	start := p.pos
	n := &node{}
	var err error
	switch c := p.peek(); {
	case (c == '{' || c == '[') && depth >= maxTreeDepth:
		if !p.lenient {
			return nil, p.errorf("nested deeper than %d", maxTreeDepth)
		}
		n.kind = kindSkipped
		err = p.skipNested()
	case c == '{':
		n.kind = kindObject
		err = p.object(n, depth)
	case c == '[':
		n.kind = kindArray
		err = p.array(n, depth)
	case c == '"':
		n.kind = kindString
		n.text, err = p.string()
	case c == '-' || '0' <= c && c <= '9':
		n.kind = kindNumber
		n.text, err = p.number()
	default:
		err = p.word(n)
	}
	n.raw = p.src[start:p.pos]
	return n, err
}

func (p *parser) word(n *node) error {
	for _, w := range [...]struct {
		text string
		kind kind
		as   string
	}{{"null", kindNull, ""}, {"true", kindBool, "true"}, {"false", kindBool, ""}} {
		if rest := p.src[p.pos:]; len(rest) >= len(w.text) && string(rest[:len(w.text)]) == w.text {
			n.kind, n.text = w.kind, w.as
			p.pos += len(w.text)
			return nil
		}
	}
	if p.pos >= len(p.src) {
		return p.errorf("the text ends early")
	}
	return p.errorf("no value starts with %q", p.src[p.pos])
}

func (p *parser) object(n *node, depth int) error {
	p.pos++
	p.space()
	if p.peek() == '}' {
		p.pos++
		return nil
	}
	seen := make(map[string]bool)
	for {
		if p.peek() != '"' {
			return p.errorf("an object wants a name in quotes")
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		if seen[name] {
			p.duplicates = append(p.duplicates, name)
		}
		seen[name] = true
		p.space()
		if p.peek() != ':' {
			return p.errorf("no colon after %q", name)
		}
		p.pos++
		p.space()
		value, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name, value})
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
			p.space()
		case '}':
			p.pos++
			return nil
		default:
			return p.errorf("an object wants a comma or a brace")
		}
	}
}

func (p *parser) array(n *node, depth int) error {
	p.pos++
	p.space()
	if p.peek() == ']' {
		p.pos++
		return nil
	}
	for {
		value, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, value)
		p.space()
		switch p.peek() {
		case ',':
			p.pos++
			p.space()
		case ']':
			p.pos++
			return nil
		default:
			return p.errorf("an array wants a comma or a bracket")
		}
	}
}

// skipNested passes over an array or object by counting brackets.
func (p *parser) skipNested() error {
	depth := 0
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case '"':
			if _, err := p.string(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				p.pos++
				return nil
			}
		}
		p.pos++
	}
	return p.errorf("the text ends early")
}

func (p *parser) number() (string, error) {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	digits := func() bool {
		from := p.pos
		for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
			p.pos++
		}
		return p.pos > from
	}
	leading := p.peek()
	whole := p.pos
	if !digits() {
		return "", p.errorf("a number without digits")
	}
	if leading == '0' && p.pos-whole > 1 {
		return "", p.errorf("a number with a leading zero")
	}
	if p.peek() == '.' {
		p.pos++
		if !digits() {
			return "", p.errorf("a number without digits after the point")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !digits() {
			return "", p.errorf("a number without digits in the exponent")
		}
	}
	return string(p.src[start:p.pos]), nil
}

var errEndsInString = errors.New("the text ends inside a string")

func (p *parser) string() (string, error) {
	p.pos++
	var out []byte
	for {
		if p.pos >= len(p.src) {
			return "", errEndsInString
		}
		c := p.src[p.pos]
		switch {
		case c == '"':
			p.pos++
			return string(out), nil
		case c == '\\':
			var err error
			if out, err = p.escape(out); err != nil {
				return "", err
			}
		case c < 0x20 && !p.lenient:
			return "", p.errorf("control character %#02x in a string", c)
		case c < utf8.RuneSelf || p.lenient:
			out = append(out, c)
			p.pos++
		default:
			r, size := utf8.DecodeRune(p.src[p.pos:])
			if r == utf8.RuneError && size == 1 {
				return "", p.errorf("byte %#02x is not UTF-8", c)
			}
			out = append(out, p.src[p.pos:p.pos+size]...)
			p.pos += size
		}
	}
}

func (p *parser) escape(out []byte) ([]byte, error) {
	if p.pos+1 >= len(p.src) {
		return nil, errEndsInString
	}
	c := p.src[p.pos+1]
	p.pos += 2
	switch c {
	case '"', '\\', '/':
		return append(out, c), nil
	case 'b':
		return append(out, '\b'), nil
	case 'f':
		return append(out, '\f'), nil
	case 'n':
		return append(out, '\n'), nil
	case 'r':
		return append(out, '\r'), nil
	case 't':
		return append(out, '\t'), nil
	case 'u':
		r, ok := p.hex4()
		if !ok {
			return nil, p.errorf(`\u without four hexadecimal digits`)
		}
		if utf16.IsSurrogate(r) {
			if p.pos+1 < len(p.src) && p.src[p.pos] == '\\' && p.src[p.pos+1] == 'u' {
				back := p.pos
				p.pos += 2
				low, ok := p.hex4()
				if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
					return utf8.AppendRune(out, pair), nil
				}
				p.pos = back
			}
			// A lone surrogate has no UTF-8; keep it distinguishable, so that
			// an answer must repeat the very same one.
			return append(out, 0xed, 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f), nil
		}
		return utf8.AppendRune(out, r), nil
	}
	return nil, p.errorf(`unknown escape \%c`, c)
}

func (p *parser) hex4() (rune, bool) {
	if p.pos+4 > len(p.src) {
		return 0, false
	}
	v, err := strconv.ParseUint(string(p.src[p.pos:p.pos+4]), 16, 16)
	if err != nil {
		return 0, false
	}
	p.pos += 4
	return rune(v), true
}

// get is the last member of that name, or nil.
func (n *node) get(path ...string) *node {
	for _, name := range path {
		var found *node
		if n != nil {
			for i := range n.members {
				if n.members[i].name == name {
					found = n.members[i].value
				}
			}
		}
		n = found
	}
	return n
}

// present is true for a value that is there and not null.
func (n *node) present() bool { return n != nil && n.kind != kindNull }

func (n *node) isObject() bool { return n != nil && n.kind == kindObject }

// list is the elements of an array, or a lone value as a list of one: senders
// write scalars for lists now and then.
func (n *node) list() []*node {
	switch {
	case !n.present():
		return nil
	case n.kind == kindArray:
		return n.items
	}
	return []*node{n}
}

// str is the text of a string or number, "" for anything else.
func (n *node) str() string {
	if n != nil && (n.kind == kindString || n.kind == kindNumber) {
		return n.text
	}
	return ""
}

// strs is the texts of a list, without empty ones.
func (n *node) strs() []string {
	var out []string
	for _, item := range n.list() {
		if s := item.str(); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// number reads a number, a numeric string, or a boolean as 0 or 1.
func (n *node) number() (float64, bool) {
	if n == nil {
		return 0, false
	}
	if n.kind == kindBool {
		if n.text != "" {
			return 1, true
		}
		return 0, true
	}
	v, err := strconv.ParseFloat(n.str(), 64)
	return v, err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

// float is number, or 0.
func (n *node) float() float64 {
	v, _ := n.number()
	return v
}

// integer is the whole number that n is, or 0.
func (n *node) integer() int {
	v := n.float()
	if v != math.Trunc(v) || math.Abs(v) > 1<<40 {
		return 0
	}
	return int(v)
}

// ints is the whole numbers of a list.
func (n *node) ints() []int {
	var out []int
	for _, item := range n.list() {
		if v, ok := item.number(); ok && v == math.Trunc(v) && math.Abs(v) < 1<<40 {
			out = append(out, int(v))
		}
	}
	return out
}
