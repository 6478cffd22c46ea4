package loadtest

import (
	"sync"
	"sync/atomic"
	"time"
)

// holdsFor is how long after a bid its bidder must count the impression
// although nobody has told it yet: no hold of a bid in flight is shorter.
const holdsFor = time.Minute

// people remembers who saw what, as far back as frequency caps look. Its
// memory grows with the impressions within the longest window.
type people struct {
	longest   time.Duration // zero: nobody has a cap, and nothing is remembered
	restarted func() time.Time
	shards    [64]struct {
		mu    sync.Mutex
		users map[int][]*exposure
	}
}

// exposure is one impression that somebody saw.
type exposure struct {
	line     *line
	creative string
	at       int64        // simulated time of the auction, Unix nanoseconds
	answered int64        // when the bid came, in real time
	told     atomic.Int64 // when the bidder acknowledged its billing notice, in real time; zero before
}

// frequencyCount counts how a kind of cap was kept.
type frequencyCount struct {
	over   int // impressions shown beyond the cap
	faults int // of these, those that the bidder had to know of
}

func newPeople(buyers map[string]*buyer, restarted func() time.Time) *people {
	p := &people{restarted: restarted}
	for _, b := range buyers {
		p.longest = max(p.longest, b.minGap)
		for _, c := range b.caps {
			p.longest = max(p.longest, c.window)
		}
	}
	for i := range p.shards {
		p.shards[i].users = map[int][]*exposure{}
	}
	return p
}

// see counts an impression and judges it by the caps of its line item: once
// by all that the person saw before, and once by what the bidder knew of that
// when it was asked, at the real time asked. It knew an impression whose
// billing notice it had acknowledged, and one that it had bid for shortly
// before, because it must hold a place for each bid in flight, as long as it
// runs. A notice that is lost or late leaves a bidder in the dark, which is not
// its fault.
func (p *people) see(b *books, user int, e *exposure, asked int64) {
	if p.longest == 0 {
		return
	}
	shard := &p.shards[user%len(p.shards)]
	shard.mu.Lock()
	seen := shard.users[user]
	kept := seen[:0]
	for _, old := range seen {
		if old.at > e.at-int64(p.longest) {
			kept = append(kept, old)
		}
	}
	before := append([]*exposure(nil), kept...)
	shard.users[user] = append(kept, e)
	shard.mu.Unlock()

	memory := int64(0) // since when it remembers its bids, in real time
	if p.restarted != nil {
		memory = p.restarted().UnixNano()
	}
	rules := e.line.buyer.caps
	if gap := e.line.buyer.minGap; gap > 0 {
		rules = append(rules[:len(rules):len(rules)], capRule{per: "min-gap", limit: 1, window: gap})
	}
	for _, rule := range rules {
		shown, known := 0, 0
		for _, old := range before {
			// A bidder that keeps whole seconds may be one off.
			if !rule.counts(old, e) || e.at-old.at > int64(rule.window-time.Second) {
				continue
			}
			shown++
			told := old.told.Load()
			if told > 0 && told < asked || old.answered > memory && old.answered < asked && e.at-old.at < int64(holdsFor) {
				known++
			}
		}
		if shown >= rule.limit {
			b.mu.Lock()
			count := e.line.rules[rule.per]
			if count == nil {
				count = &frequencyCount{}
				e.line.rules[rule.per] = count
			}
			count.over++
			count.faults += flagged(known >= rule.limit)
			b.mu.Unlock()
		}
	}
}

// counts reports whether an old impression counts for a cap on a new one.
func (r *capRule) counts(old, e *exposure) bool {
	switch r.per {
	case "campaign":
		return old.line.buyer.campaign == e.line.buyer.campaign
	case "advertiser":
		return old.line.buyer.advertiser == e.line.buyer.advertiser
	case "creative":
		return old.creative == e.creative
	}
	return old.line == e.line
}

// FrequencyTruth says how the caps of one kind were kept.
type FrequencyTruth struct {
	Over   int `json:"over"`   // impressions beyond the cap, by all that people saw
	Faults int `json:"faults"` // by what the bidder had been told of, or had bid for within a minute
}

// frequency sums the line items by what their caps count.
func (b *books) frequency() map[string]FrequencyTruth {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]FrequencyTruth{}
	for _, l := range b.lines {
		for _, rule := range l.buyer.caps {
			all[rule.per] = FrequencyTruth{} // shown also when it was kept
		}
		if l.buyer.minGap > 0 {
			all["min-gap"] = FrequencyTruth{}
		}
	}
	for _, l := range b.lines {
		for per, n := range l.rules {
			t := all[per]
			t.Over += n.over
			t.Faults += n.faults
			all[per] = t
		}
	}
	return all
}
