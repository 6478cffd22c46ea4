package loadtest

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"bidwell/rtb"
)

// surplus compares what a bidder makes of the impressions on offer with what
// could be made of them. The surplus of an impression is what it is worth, the
// true probability of a click times the value of one, less its price.
//
// The oracle is clairvoyant: it knows the true probability of every ad, with
// all of the person that no request says and no consent allows, and everybody
// else's bids. It shows the best ad and pays the least that wins, if that is
// less than the worth. Beside it stands who knows all that requests can tell
// of a click, and everybody else's bids: with second prices that is to bid
// what the impression is worth on average, and nobody can do better for good.
//
// Impressions with a deal, and those that would not have been shown, are left
// out for both. A bidder that does not answer, or too late, makes nothing.
type surplus struct {
	market   *Market
	stock    *assortment
	insight  *insight
	auctions int // of the run

	mu      sync.Mutex
	first   [3]surplusSums // first price auctions, by third of the run
	second  [3]surplusSums // second price
	leftOut int
	strange int
	beliefs beliefs
}

// surplusSums are those of impressions on offer.
type surplusSums struct {
	imps, wins, bought      int // bought: by the oracle
	bidder, oracle, known   rtb.Money
	paid, least             rtb.Money // for what the bidder won, and what would have been enough
	unanswered, underbid    rtb.Money // the oracle's, where the bidder did not bid, or too little
	overbid, ad, overpaying rtb.Money // what the bidder's wins made less than the oracle
}

// readSurplus reads what the oracle must know of the bidder's documents.
func (x *exchangeRun) readSurplus(ctx context.Context) error {
	stock, err := readAssortment(ctx, x.admin)
	if err != nil {
		return err
	}
	x.surplus = &surplus{
		market: x.market, stock: stock, auctions: x.cfg.Auctions,
		insight: newInsight(x.market, x.traffic.Population(), stock),
		beliefs: newBeliefs(x.cfg.Seed),
	}
	return nil
}

// score counts one auction.
func (k *surplus) score(o *outcome) {
	offer := o.offer
	third := min(2, 3*offer.Index/max(k.auctions, 1))
	var add surplusSums
	var seen [len(slotIDs)]belief
	believed, unseen, leftOut, strange := 0, 0, 0, 0
	for i := range offer.Slots {
		s := &offer.Slots[i]
		if s.Deal != nil {
			leftOut++
			continue
		}
		bid, clearing, odd := k.outcomeOf(o, s)
		strange += odd
		click, conversion := 0.0, 0.0
		if bid != nil {
			click, conversion = k.market.Click(offer, s, &bid.ad), k.market.Conversion(offer, &bid.ad)
			if offer.Auction == 2 {
				if b, ok := k.beliefOf(bid, click, conversion); ok {
					seen[believed], believed = b, believed+1
				}
			}
		}
		if bid == nil && offer.Auction == 2 && k.stock.fit(s) {
			unseen++
		}
		if !k.market.shows(s) {
			continue
		}
		k.compare(offer, s, bid, clearing, click, conversion, &add)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leftOut += leftOut
	k.strange += strange
	for _, b := range seen[:believed] {
		b.third = uint8(third)
		k.beliefs.add(b)
	}
	if offer.Auction == 1 {
		k.first[third].add(&add)
		return
	}
	k.second[third].add(&add)
	k.beliefs.unseen += unseen
}

// outcomeOf is the bidder's best bid on a slot, nil when there is none that
// takes part, and its price when it won, else zero. Bids for what the documents
// do not say are odd.
func (k *surplus) outcomeOf(o *outcome, s *Slot) (bid *contender, clearing rtb.Money, odd int) {
	for i := range o.contenders {
		c := &o.contenders[i]
		if c.slot != s {
			continue
		}
		if k.stock.lines[c.bid.Tactic] == nil {
			odd++
			continue
		}
		switch c.loss {
		case lossNone:
			return c, c.clearing, odd
		case lossHigherBid:
			if bid == nil || c.price > bid.price {
				bid = c
			}
		}
	}
	return bid, 0, odd
}

// compare adds up one impression.
func (k *surplus) compare(o *Offer, s *Slot, bid *contender, clearing rtb.Money, click, conversion float64, sums *surplusSums) {
	least := s.Floor
	if rival := k.market.Rival(o, s); rival > 0 {
		least = max(least, rival+priceStep)
	}
	if least <= 0 {
		least = priceStep
	}
	var best, guess, guessed rtb.Money // guess: the best worth as far as is known; guessed: the true worth of that ad
	fitting := false
	for _, a := range k.stock.ads {
		if !a.fits(s) {
			continue
		}
		fitting = true
		if a.most < least {
			continue
		}
		ad := a.in(s)
		worth := a.worth(k.market.Click(o, s, &ad), k.market.Conversion(o, &ad))
		best = max(best, worth)
		if known := k.insight.worth(o, s, a, &ad); known > guess {
			guess, guessed = known, worth
		}
	}
	if !fitting {
		return
	}
	sums.imps++
	if guess > least {
		sums.known += guessed - least
	}
	gain := max(0, best-least)
	sums.oracle += gain
	if gain > 0 {
		sums.bought++
	}
	switch {
	case bid == nil:
		sums.unanswered += gain
		return
	case clearing == 0:
		sums.underbid += gain
		return
	}
	worth := k.stock.lines[bid.bid.Tactic].worth(click, conversion)
	sums.wins++
	sums.bidder += worth - clearing
	sums.paid += clearing
	sums.least += min(least, clearing)
	if gain == 0 {
		sums.overbid += clearing - worth
		return
	}
	sums.ad += best - worth
	sums.overpaying += clearing - least
}

func (s *surplusSums) add(o *surplusSums) {
	s.imps += o.imps
	s.wins += o.wins
	s.bought += o.bought
	s.bidder += o.bidder
	s.oracle += o.oracle
	s.known += o.known
	s.paid += o.paid
	s.least += o.least
	s.unanswered += o.unanswered
	s.underbid += o.underbid
	s.overbid += o.overbid
	s.ad += o.ad
	s.overpaying += o.overpaying
}

// SurplusTruth is what a bidder made of what was on offer.
type SurplusTruth struct {
	SurplusShare
	Auctions    int           `json:"auctions"`
	FirstPrice  *SurplusShare `json:"first_price,omitempty"` // nil where there were none
	SecondPrice *SurplusShare `json:"second_price,omitempty"`
	LeftOut     int           `json:"left_out"`     // impressions with a deal
	UnknownBids int           `json:"unknown_bids"` // of line items that the documents do not have

	// Reasons are why there was no bid, by the bidder's own count since its
	// start; empty where it does not say.
	Reasons map[string]int `json:"no_bid_reasons,omitempty"`
}

// SurplusShare is a surplus against those of the oracle and of who knows all
// that requests tell.
type SurplusShare struct {
	Impressions      int        `json:"impressions"` // on offer, which some ad fits and which would be shown
	Wins             int        `json:"wins"`
	OracleWins       int        `json:"oracle_wins"`
	Bidder           string     `json:"bidder"`
	Oracle           string     `json:"oracle"`
	Knowable         string     `json:"knowable"`
	Share            float64    `json:"share"` // of the oracle's
	ShareOfKnowable  float64    `json:"share_of_knowable"`
	ByThird          [3]float64 `json:"by_third"`
	KnowableByThird  [3]float64 `json:"knowable_by_third"`
	LastThird        float64    `json:"last_third_share"`
	LastThirdOfKnown float64    `json:"last_third_share_of_knowable"`

	// Where the rest of the oracle's went, as shares of it: to impressions
	// without a bid, to bids that were too low, to bids that were too high, to
	// another ad than the best, and into prices above the least.
	Unanswered float64 `json:"unanswered"`
	Underbid   float64 `json:"underbid"`
	Overbid    float64 `json:"overbid"`
	WorseAd    float64 `json:"worse_ad"`
	Overpaid   float64 `json:"overpaid"`
}

func shareOf(thirds *[3]surplusSums) (s SurplusShare, ok bool) {
	var all surplusSums
	for i := range thirds {
		t := &thirds[i]
		all.add(t)
		s.ByThird[i], s.KnowableByThird[i] = moneyRatio(t.bidder, t.oracle), moneyRatio(t.bidder, t.known)
	}
	s.Impressions, s.Wins, s.OracleWins = all.imps, all.wins, all.bought
	s.Bidder, s.Oracle, s.Knowable = all.bidder.String(), all.oracle.String(), all.known.String()
	s.Share, s.ShareOfKnowable = moneyRatio(all.bidder, all.oracle), moneyRatio(all.bidder, all.known)
	s.LastThird, s.LastThirdOfKnown = s.ByThird[2], s.KnowableByThird[2]
	s.Unanswered, s.Underbid = moneyRatio(all.unanswered, all.oracle), moneyRatio(all.underbid, all.oracle)
	s.Overbid, s.WorseAd = moneyRatio(all.overbid, all.oracle), moneyRatio(all.ad, all.oracle)
	s.Overpaid = moneyRatio(all.overpaying, all.oracle)
	return s, all.imps > 0
}

func moneyRatio(part, whole rtb.Money) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// truth fills in what the scorecard says of it.
func (k *surplus) truth(card *Scorecard) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := &SurplusTruth{Auctions: card.Auctions, LeftOut: k.leftOut, UnknownBids: k.strange}
	var all [3]surplusSums
	for i := range all {
		all[i].add(&k.first[i])
		all[i].add(&k.second[i])
	}
	t.SurplusShare, _ = shareOf(&all)
	if s, ok := shareOf(&k.first); ok {
		t.FirstPrice = &s
		card.Shading = shadingOf(&k.first)
	}
	if s, ok := shareOf(&k.second); ok {
		t.SecondPrice = &s
		card.Calibration = k.beliefs.truth()
	}
	card.Surplus = t
}

// readReasons reads the bidder's counters. One that has none says nothing.
func (t *SurplusTruth) readReasons(ctx context.Context, a *adminAPI) {
	text, err := a.read(ctx, "/metrics")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, `bidwell_no_bids_total{reason="`)
		reason, count, closed := strings.Cut(rest, `"} `)
		if n, err := strconv.Atoi(strings.TrimSpace(count)); ok && closed && err == nil && n > 0 {
			if t.Reasons == nil {
				t.Reasons = map[string]int{}
			}
			t.Reasons[reason] = n
		}
	}
}

// writeText writes it for people.
func (t *SurplusTruth) writeText(p *printer) {
	t.line(p, "surplus", &t.SurplusShare)
	for _, kind := range []struct {
		name string
		s    *SurplusShare
	}{{"first price", t.FirstPrice}, {"second price", t.SecondPrice}} {
		if kind.s != nil && kind.s.Impressions != t.Impressions {
			t.line(p, kind.name, kind.s)
		}
	}
	p.linef("surplus      the oracle knows all prices and all of every person; knowable is what requests tell of clicks, and all prices")
	p.counts("no bid", t.Reasons)
	if t.LeftOut > 0 || t.UnknownBids > 0 {
		p.linef("surplus      left out: %d impressions with a deal; %d bids of line items without documents", t.LeftOut, t.UnknownBids)
	}
}

func (t *SurplusTruth) line(p *printer, name string, s *SurplusShare) {
	p.linef("%-12s %s of the oracle's %s: %.4f, by thirds %.4f %.4f %.4f", name, s.Bidder, s.Oracle, s.Share, s.ByThird[0], s.ByThird[1], s.ByThird[2])
	p.linef("%-12s of the knowable %s: %.4f, by thirds %.4f %.4f %.4f; won %d, the oracle %d of %d", name,
		s.Knowable, s.ShareOfKnowable, s.KnowableByThird[0], s.KnowableByThird[1], s.KnowableByThird[2], s.Wins, s.OracleWins, s.Impressions)
	p.linef("%-12s missing: %.4f no bid, %.4f bid too low, %.4f too high, %.4f another ad than the best, %.4f paid above the least", name,
		s.Unanswered, s.Underbid, s.Overbid, s.WorseAd, s.Overpaid)
}
