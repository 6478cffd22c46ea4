package loadtest

import (
	"hash/maphash"
	"strings"
	"sync"

	"bidwell/rtb"
)

// maxTemplates bounds the markups that are remembered.
const maxTemplates = 4096

// templates remembers what markup calls, once for all bids whose markups
// differ in their token and their bid id alone.
type templates struct {
	seed  maphash.Seed
	mu    sync.RWMutex
	known map[uint64]*adTemplate
}

// adTemplate is what markup calls, with marks for the token and the bid id.
type adTemplate struct {
	trackers Trackers
	err      error
}

// The marks need no escaping in any markup, and no markup has them.
const (
	tokenMark = "zqMarkOfTheTokenqz"
	bidMark   = "zqMarkOfTheBidIDqz"
)

func newTemplates() *templates {
	return &templates{seed: maphash.MakeSeed(), known: map[uint64]*adTemplate{}}
}

// trackers is what [ParseTrackers] finds in the markup of a bid.
func (c *templates) trackers(media rtb.Media, bid *seatBid) (Trackers, error) {
	raw := string(bid.Adm)
	token := tokenIn(raw)
	if token == "" || len(bid.ID) < 8 || strings.Contains(token, bid.ID) || strings.Contains(raw, "zqMarkOfThe") {
		return ParseTrackers(media, bid.markup())
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	h.WriteByte(byte(media)) // like all that follows it cannot fail
	for rest, more := raw, true; more; {
		var before string
		before, rest, more = strings.Cut(rest, token)
		for again := true; again; {
			var part string
			part, before, again = strings.Cut(before, bid.ID)
			h.WriteString(part)
			h.WriteByte(0xfe) // no text has these bytes
		}
		h.WriteByte(0xff)
	}
	key := h.Sum64()
	c.mu.RLock()
	t := c.known[key]
	c.mu.RUnlock()
	if t == nil {
		marked := *bid
		marked.Adm = []byte(strings.ReplaceAll(strings.ReplaceAll(raw, token, tokenMark), bid.ID, bidMark))
		t = &adTemplate{}
		t.trackers, t.err = ParseTrackers(media, marked.markup())
		c.mu.Lock()
		if len(c.known) < maxTemplates {
			c.known[key] = t
		}
		c.mu.Unlock()
	}
	if t.err != nil {
		return Trackers{}, t.err
	}
	fill := func(addresses []string) (filled []string) {
		if len(addresses) == 0 {
			return nil
		}
		filled = make([]string, len(addresses))
		for i, address := range addresses {
			if strings.Contains(address, bidMark) {
				address = strings.ReplaceAll(address, bidMark, bid.ID)
			}
			filled[i] = strings.ReplaceAll(address, tokenMark, token)
		}
		return filled
	}
	out := Trackers{Impression: fill(t.trackers.Impression), Click: fill(t.trackers.Click)}
	for i := range out.Quartile {
		out.Quartile[i] = fill(t.trackers.Quartile[i])
	}
	return out, nil
}

// tokenIn is the value of the first parameter t in markup: what makes it
// different from that of any other bid. Empty when it is too short for that.
func tokenIn(markup string) string {
	_, after, found := strings.Cut(markup, "?t=")
	if !found {
		return ""
	}
	end := 0
	for end < len(after) {
		c := after[end]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' {
			break
		}
		end++
	}
	if end < 8 {
		return ""
	}
	return after[:end]
}
