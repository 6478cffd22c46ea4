package loadtest

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanAnswer reads the body of an answer many times faster than package json.
// It knows plain answers only, and gives up at what is unusual, such as a
// field that comes twice or in capitals, for package json to say what it is.
// What it does read, package json reads the same. The answer's texts share the
// memory of body.
func scanAnswer(body string, answer *bidAnswer) bool {
	s := answerScan{text: body}
	ok := s.object(func(key string) bool {
		switch key {
		case "id":
			return s.string(&answer.ID)
		case "cur":
			return s.string(&answer.Cur)
		case "seatbid":
			return s.array(func() bool {
				answer.SeatBid = append(answer.SeatBid, answerSeat{})
				seat := &answer.SeatBid[len(answer.SeatBid)-1]
				return s.object(func(key string) bool {
					switch key {
					case "seat":
						return s.string(&seat.Seat)
					case "bid":
						return s.array(func() bool {
							seat.Bid = append(seat.Bid, seatBid{})
							return s.bid(&seat.Bid[len(seat.Bid)-1])
						})
					}
					return s.skip(key)
				})
			})
		}
		return s.skip(key)
	})
	s.space()
	return ok && s.at == len(s.text)
}

func (s *answerScan) bid(b *seatBid) bool {
	return s.object(func(key string) bool {
		switch key {
		case "id":
			return s.string(&b.ID)
		case "impid":
			return s.string(&b.ImpID)
		case "price":
			var text string
			if !s.number(&text) {
				return false
			}
			var err error
			b.Price, err = strconv.ParseFloat(text, 64)
			return err == nil
		case "adid":
			return s.string(&b.AdID)
		case "adm":
			from := s.at
			if !s.value(0) {
				return false
			}
			b.Adm = json.RawMessage(s.text[from:s.at])
			return true
		case "nurl":
			return s.string(&b.NURL)
		case "burl":
			return s.string(&b.BURL)
		case "lurl":
			return s.string(&b.LURL)
		case "cid":
			return s.string(&b.CID)
		case "crid":
			return s.string(&b.CRID)
		case "dealid":
			return s.string(&b.DealID)
		case "tactic":
			return s.string(&b.Tactic)
		case "w":
			return s.integer(&b.W)
		case "h":
			return s.integer(&b.H)
		case "mtype":
			return s.integer(&b.MType)
		}
		return s.skip(key)
	})
}

// answerScan reads JSON at a place in a text. Its methods are false where they
// give up.
type answerScan struct {
	text string
	at   int
}

func (s *answerScan) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// eat takes one character, past white space.
func (s *answerScan) eat(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// object calls member after each key, which then reads the value. No more than
// 64 members are plain, and none that comes twice.
func (s *answerScan) object(member func(key string) bool) bool {
	if !s.eat('{') {
		return false
	}
	if s.eat('}') {
		return true
	}
	var seen [64]string
	for n := 0; n < len(seen); n++ {
		var key string
		if !s.string(&key) || !s.eat(':') {
			return false
		}
		for _, other := range seen[:n] {
			if other == key {
				return false
			}
		}
		seen[n] = key
		s.space()
		if !member(key) {
			return false
		}
		if s.eat('}') {
			return true
		}
		if !s.eat(',') {
			return false
		}
	}
	return false
}

func (s *answerScan) array(element func() bool) bool {
	if !s.eat('[') {
		return false
	}
	if s.eat(']') {
		return true
	}
	for {
		s.space()
		if !element() {
			return false
		}
		if s.eat(']') {
			return true
		}
		if !s.eat(',') {
			return false
		}
	}
}

// skip passes over the value of a field that nobody reads. Package json takes
// fields in capitals for the same, so those are not plain.
func (s *answerScan) skip(key string) bool {
	for i := range len(key) {
		if c := key[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return false
		}
	}
	return s.value(0)
}

// value passes over any value.
func (s *answerScan) value(depth int) bool {
	if s.at >= len(s.text) || depth > 32 {
		return false
	}
	switch s.text[s.at] {
	case '"':
		_, ok := s.quoted()
		return ok
	case '{':
		s.at++
		if s.eat('}') {
			return true
		}
		for {
			s.space()
			if _, ok := s.quoted(); !ok || !s.eat(':') {
				return false
			}
			s.space()
			if !s.value(depth + 1) {
				return false
			}
			if s.eat('}') {
				return true
			}
			if !s.eat(',') {
				return false
			}
		}
	case '[':
		return s.array(func() bool { return s.value(depth + 1) })
	case 't', 'f', 'n':
		for _, word := range [...]string{"true", "false", "null"} {
			if strings.HasPrefix(s.text[s.at:], word) {
				s.at += len(word)
				return true
			}
		}
		return false
	}
	var text string
	return s.number(&text)
}

// quoted passes over a string and returns what is between the quotes, with its
// escapes, which it checks.
func (s *answerScan) quoted() (inside string, ok bool) {
	if s.at >= len(s.text) || s.text[s.at] != '"' {
		return "", false
	}
	from := s.at + 1
	for i := from; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			return s.text[from:i], true
		case c < ' ':
			return "", false
		case c == '\\':
			i++
			if i >= len(s.text) || !strings.ContainsRune(`"\/bfnrt`, rune(s.text[i])) {
				return "", false // \u is not plain
			}
		}
	}
	return "", false
}

// string reads a string that needs no unquoting.
func (s *answerScan) string(into *string) bool {
	s.space()
	inside, ok := s.quoted()
	if !ok || strings.IndexByte(inside, '\\') >= 0 || !utf8.ValidString(inside) {
		return false
	}
	*into = inside
	return true
}

// number passes over a number.
func (s *answerScan) number(into *string) bool {
	from := s.at
	digits := func() bool {
		start := s.at
		for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
			s.at++
		}
		return s.at > start
	}
	if s.at < len(s.text) && s.text[s.at] == '-' {
		s.at++
	}
	first := s.at
	if !digits() || s.text[first] == '0' && s.at > first+1 {
		return false
	}
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		if !digits() {
			return false
		}
	}
	if s.at < len(s.text) && (s.text[s.at] == 'e' || s.text[s.at] == 'E') {
		return false // not plain
	}
	*into = s.text[from:s.at]
	return true
}

func (s *answerScan) integer(into *int) bool {
	var text string
	if !s.number(&text) {
		return false
	}
	n, err := strconv.Atoi(text)
	*into = n
	return err == nil
}

// unquote is the text of a JSON string, plain or not.
func unquote(raw string) (string, bool) {
	s := answerScan{text: raw}
	inside, ok := s.quoted()
	if !ok || s.at != len(raw) || !utf8.ValidString(inside) {
		var text string
		err := json.Unmarshal([]byte(raw), &text)
		return text, err == nil
	}
	if strings.IndexByte(inside, '\\') < 0 {
		return inside, true
	}
	var out strings.Builder
	out.Grow(len(inside))
	for {
		before, after, found := strings.Cut(inside, `\`)
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		c := after[0]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		}
		out.WriteByte(c)
		inside = after[1:]
	}
}
