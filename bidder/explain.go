package bidder

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"bidwell/bidder/openrtb"
	"bidwell/privacy"
	"bidwell/rtb"
)

// ErrUnknownExchange means that no exchange has the given name.
type ErrUnknownExchange string

func (e ErrUnknownExchange) Error() string { return fmt.Sprintf("no exchange is called %q", string(e)) }

// Explain decides on body as [Bidder.Serve] would at now, holds no money for
// it, and says what became of every line item. It is for people: it allocates
// and takes its time.
func (b *Bidder) Explain(name string, body []byte, now time.Time) (rtb.Explanation, error) {
	dir := b.directory.Load()
	ex := dir.Lookup([]byte(name))
	if ex == nil {
		return rtb.Explanation{}, ErrUnknownExchange(name)
	}
	s := newScratch()
	s.exchange, s.arrived, s.now, s.explaining = ex, time.Now(), now, true
	if err := openrtb.Decode(body, &s.request); err != nil {
		return rtb.Explanation{}, fmt.Errorf("read the request: %w", err)
	}
	if s.deadline = b.deadline(s); s.deadline.After(s.arrived) {
		s.deadline = s.arrived.Add(time.Minute) // reading an explanation is not a race
	}

	out := rtb.Explanation{Exchange: name, Imps: []rtb.ImpExplanation{}}
	resp := &s.response
	resp.RequestID = s.request.ID
	resp.Reason = b.open(s)
	out.User = explainUser(s)
	out.Experiments = s.experiments.Names(&s.arms)
	if resp.Reason != rtb.BidMade {
		out.Outcome = resp.Reason.String()
		return out, nil
	}
	x := s.index
	s.matches.Limit = batch
	x.Begin(&s.matches, &s.context)
	reason := rtb.BidMade
	for i := range s.request.Imps {
		imp := &s.request.Imps[i]
		explained, why := b.explainImp(s, imp)
		if !imp.Broken {
			reason = max(reason, why)
		}
		out.Imps = append(out.Imps, explained)
	}
	if len(resp.Bids) == 0 {
		out.Outcome = cmp.Or(reason, rtb.NoUsableImp).String()
		return out, nil
	}
	out.Outcome = rtb.BidMade.String()
	answer := openrtb.AppendResponse(nil, resp, &ex.Form)
	for i := range resp.Bids { // the tokens of an explanation must not count as notices
		for _, token := range [][]byte{resp.Bids[i].Token, resp.Bids[i].ViewToken, resp.Bids[i].ServerToken} {
			if len(token) > 0 {
				answer = bytes.ReplaceAll(answer, token, []byte("TOKEN"))
			}
		}
	}
	out.Answer = string(answer)
	b.withdraw(s, rtb.BidMade)
	return out, nil
}

// explainUser says whom the bidder took the user for.
func explainUser(s *scratch) string {
	switch {
	case !privacy.Decide(&s.request.Signals).Profile:
		return "not looked up: the request restricts it (GDPR, GPP, COPPA, lmt, dnt, a US Privacy opt-out, or a signal that cannot be read)"
	case len(s.request.Users) == 0:
		return "no usable identifier"
	case !s.user.Known:
		return fmt.Sprintf("unknown, by %d identifiers", len(s.request.Users))
	}
	return fmt.Sprintf("known, by %d identifiers; in %d segments", len(s.request.Users), len(s.user.Segments))
}

// explainImp bids on one imp and reports what every line item came to.
func (b *Bidder) explainImp(s *scratch, imp *rtb.Imp) (rtb.ImpExplanation, rtb.NoBid) {
	out := rtb.ImpExplanation{ID: string(imp.ID.Text()), LineItems: []rtb.LineItemExplanation{}}
	floor, known := b.Rates.ToAccount(imp.Floor, cmp.Or(imp.FloorCur, rtb.USD))
	if out.FloorCPM = string(floor.AppendCPM(nil)); !known {
		out.FloorCPM = "unknown currency"
	}
	if imp.Broken {
		out.Outcome = rtb.NoUsableImp.String()
		return out, rtb.NoUsableImp
	}

	x := s.index
	x.Match(&s.matches, imp)
	why, before := s.matches.Reason, len(s.user.Exposures)
	seen := s.user.Exposures
	offered := map[rtb.LineItemID]rtb.LineItemExplanation{}
	if len(s.matches.Candidates) > 0 {
		why = b.offer(s, x, imp)
		seen = s.user.Exposures
		s.user.Exposures = seen[:before] // the bid itself must not stand in the way of others
		for x.More(&s.matches) {         // people want to see the others' prices too
			b.price(s, imp, -1)
		}
		for rank, l := range b.explainOffers(s, imp, why == rtb.BidMade) {
			if l.Stage == "bid" || l.Stage == "auction" {
				l.Rank = rank + 1
			}
			offered[s.matches.Candidates[s.offers[rank].candidate].LineItem.ID] = l
		}
	}
	out.Outcome = why.String()

	x.Explain(&s.matches, imp, func(item *rtb.LineItem, creative *rtb.Creative, reason rtb.NoBid) {
		l, ok := offered[item.ID]
		if !ok {
			if reason == rtb.BidMade {
				reason = rtb.Outbid // more could serve than are looked at, and all have a higher ceiling
			}
			l = rtb.LineItemExplanation{LineItem: item.Key, Stage: stageOf(reason), Reason: reason.String()}
			if creative != nil {
				l.Creative = creative.Key
			}
		}
		out.LineItems = append(out.LineItems, l)
	})
	s.user.Exposures = seen
	slices.SortStableFunc(out.LineItems, func(a, b rtb.LineItemExplanation) int {
		return cmp.Compare(rankOrLast(a.Rank), rankOrLast(b.Rank))
	})
	return out, why
}

// explainOffers sorts s.offers, the one that was made first and then those worth
// most, and explains each.
func (b *Bidder) explainOffers(s *scratch, imp *rtb.Imp, made bool) []rtb.LineItemExplanation {
	winner := rtb.LineItemID(0)
	if made {
		winner = s.response.Bids[len(s.response.Bids)-1].LineItem.ID
	}
	wins := func(o *offer) bool { return s.matches.Candidates[o.candidate].LineItem.ID == winner }
	slices.SortStableFunc(s.offers, func(x, y offer) int {
		switch {
		case wins(&x):
			return -1
		case wins(&y):
			return 1
		}
		if byReason := cmp.Compare(x.reason, y.reason); byReason != 0 {
			return byReason
		}
		return cmp.Compare(y.worth, x.worth)
	})
	out := make([]rtb.LineItemExplanation, len(s.offers))
	for i, o := range s.offers {
		c := &s.matches.Candidates[o.candidate]
		l := &out[i]
		s.arm = o.arm
		b.features(s, imp, c)
		*l = rtb.LineItemExplanation{
			LineItem: c.LineItem.Key,
			Creative: c.Creative.Key,
			Model:    s.features.Version(),
			CTR:      b.Predictor.Click(&s.features),
			CVR:      o.cvr,
			ValueCPM: string(o.value.AppendCPM(nil)),
			PriceCPM: string(o.price.AppendCPM(nil)),
			Stage:    "bid",
		}
		b.explainChoice(s, imp, c, l)
		if i == 0 && made && slices.ContainsFunc(s.offers[1:], func(other offer) bool { return other.reason == rtb.BidMade && other.worth > o.worth }) {
			l.Choice = strings.TrimPrefix(l.Choice+"; drawn before others that seem to be worth more: what is never shown is never learned of", "; ")
		}
		if deal := dealOf(imp, c); deal != nil {
			l.Deal = string(deal.ID.Text())
		}
		reason := o.reason
		if reason == rtb.BidMade && c.LineItem.ID != winner {
			reason = rtb.Outbid
		}
		if reason != rtb.BidMade {
			l.Stage, l.Reason = stageOf(reason), reason.String()
		}
	}
	return out
}

func rankOrLast(rank int) int {
	if rank == 0 {
		return int(^uint(0) >> 1)
	}
	return rank
}

// stageOf is the part of the decision in which a reason arises.
func stageOf(reason rtb.NoBid) string {
	switch {
	case reason == rtb.BidMade:
		return "bid"
	case reason == rtb.Outbid:
		return "auction"
	case reason == rtb.PacedOut || reason == rtb.NoticesMissing || reason == rtb.BudgetSpent || reason == rtb.FrequencyCapped:
		return "pacing"
	case reason == rtb.BelowFloor:
		return "price"
	case reason <= rtb.FloorTooHigh:
		return "match"
	case reason < rtb.SizeMismatch:
		return "filter"
	}
	return "creative"
}
