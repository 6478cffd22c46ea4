package models

import (
	"math/bits"

	"bidwell/rtb"
)

// FormatOf is the class of a creative's format: its medium, and by powers of two
// how large a banner or a player is.
func FormatOf(media rtb.Media, size rtb.Size) uint8 {
	return uint8(media)<<5 | uint8(bits.Len32(uint32(size.W)*uint32(size.H)))&31
}

// Codes of the OpenRTB list "loss reason codes" that mean that a higher bid
// would have won.
const (
	lossUnknown      = 0
	lossBelowFloor   = 100
	lossToHigherBid  = 102
	lossBelowMinimum = 101 // the floor of a deal
)

// priced has the shader learn from a win or a loss for the price, once for each
// bid. Second-price auctions are not shaded, but tell as much of win rates: who
// wins pays what would have been enough.
func (l *Learner) priced(e *rtb.Event) {
	if e.Auction != firstPriceAuction && e.Auction != secondPriceAuction || l.Shader == nil {
		return
	}
	if l.Silent != nil && l.Silent(e.Exchange) {
		l.sampledWon(e)
		return
	}
	won := e.Type != rtb.EventLoss
	if !won && e.Reason != lossUnknown && e.Reason != lossBelowFloor && e.Reason != lossToHigherBid && e.Reason != lossBelowMinimum {
		return // refused, whatever it had bid
	}
	if l.told.seen(e.Bid) {
		return
	}
	o := l.outcome(e, won)
	l.learnPrice(&o)
}

func (l *Learner) learnPrice(o *Outcome) {
	o.Time = l.bound(o.Time)
	l.Shader.Learn(o)
	l.stats.Priced++
}

// outcome is what a notice says of the price.
func (l *Learner) outcome(e *rtb.Event, won bool) Outcome {
	o := Outcome{
		At:   ShadeContext{Exchange: e.Exchange, Format: e.Format, Floor: e.Floor},
		Kind: e.Shading, Worth: e.Worth, Bid: e.Fees.Off(e.Cost), Won: won, Time: e.Time,
		MinToWin: l.account(e.MinToWin, e.Currency),
	}
	price := l.account(e.Price, e.Currency) // zero, too, where the currency has no rate any more
	if won {
		if o.Paid = o.Bid; price > 0 {
			o.Paid = min(o.Bid, price)
		}
		if o.MinToWin == 0 && e.Auction == secondPriceAuction && price > 0 {
			o.MinToWin = o.Paid
		}
		o.MinToWin = min(o.MinToWin, o.Bid)
	} else {
		if o.MinToWin == 0 && price > o.Bid {
			o.MinToWin = price // what the winner paid
		}
		if o.MinToWin > 0 && o.MinToWin <= o.Bid {
			o.MinToWin = o.Bid + 1 // rounded on the way
		}
	}
	return o
}

// sampled is a bid through an exchange that tells of no loss, whose win is
// waited for.
type sampled struct {
	bid rtb.BidID
	Outcome
	won bool
}

// Waits for the wins of sampled bids.
const (
	sampleWait  = 15 * 60 // seconds
	mostSampled = 200_000
)

// Sample takes in samples of bids. Of exchanges that tell of no loss only these
// are learned from, won or not: among notices alone every bid would have won.
func (l *Learner) Sample(batch []rtb.Event) {
	for i := range batch {
		e := &batch[i]
		if e.Type != rtb.EventBid || l.Silent == nil || !l.Silent(e.Exchange) || len(l.samples) >= mostSampled ||
			e.Auction != firstPriceAuction && e.Auction != secondPriceAuction {
			continue
		}
		if l.sampledAt == nil {
			l.sampledAt = map[rtb.BidID]int{}
		}
		l.sampledAt[e.Bid] = l.sampledGone + len(l.samples)
		lost := *e
		lost.Price, lost.MinToWin = 0, 0 // what was bid says nothing of others
		l.samples = append(l.samples, sampled{bid: e.Bid, Outcome: l.outcome(&lost, false)})
	}
}

// sampledWon notes that a sampled bid has won.
func (l *Learner) sampledWon(e *rtb.Event) {
	at, ok := l.sampledAt[e.Bid]
	if s := at - l.sampledGone; ok && e.Type != rtb.EventLoss && !l.samples[s].won {
		made := l.samples[s].Time
		l.samples[s].won, l.samples[s].Outcome = true, l.outcome(e, true)
		l.samples[s].Time = made
	}
}

// settle learns from the samples whose wins would have come by now.
func (l *Learner) settle() {
	n := 0
	for n < len(l.samples) && l.due(l.samples[n].Time.Unix(), sampleWait) {
		l.learnPrice(&l.samples[n].Outcome)
		delete(l.sampledAt, l.samples[n].bid)
		n++
	}
	l.samples, l.sampledGone = l.samples[n:], l.sampledGone+n
}

const (
	firstPriceAuction  = 1
	secondPriceAuction = 2
)

func (l *Learner) account(price rtb.Money, c rtb.Currency) rtb.Money {
	if price <= 0 || l.Convert == nil {
		return max(0, price)
	}
	return l.Convert(price, c)
}

// Publish has the bidders see what was learned of prices and creatives. The
// click and conversion models are in Model.
func (l *Learner) Publish() {
	if l.Shader != nil {
		l.Shader.Publish()
	}
	if l.Creatives != nil {
		l.Creatives.Publish()
	}
}
