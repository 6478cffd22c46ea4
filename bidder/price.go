package bidder

import (
	"math"
	"time"

	"bidwell/models"
	"bidwell/rtb"
	"bidwell/targeting"
)

// price appends to s.offers the candidates in s.matches that are not there yet,
// and returns the best offer, given the best of those before.
func (b *Bidder) price(s *scratch, imp *rtb.Imp, best int) int {
	for i := len(s.offers); i < len(s.matches.Candidates); i++ {
		c := &s.matches.Candidates[i]
		o := offer{candidate: int32(i)}
		b.comply(s, c, &o)
		if o.reason != rtb.BidMade {
			s.offers = append(s.offers, o)
			continue
		}
		b.choose(s, imp, c, &o)
		o.value = b.value(s, imp, c, &o)
		// Of that it bids the part that lets its money last, fees included.
		b.Pacer.Offer(c.LineItem.Slot)
		o.price = c.LineItem.Fees.Off(o.value)
		most := o.price
		if part := b.Pacer.Multiplier(c.LineItem.Slot); part < 1 {
			o.price = c.LineItem.Fees.Off(rtb.Money(float64(o.value) * part))
		}
		floor := max(c.Floor, b.secondsFloor(imp, c), 1)
		if limit := c.LineItem.Fees.Off(b.Pacer.Most(c.LineItem.Slot)); o.price > limit {
			o.price = max(limit, min(o.price, floor))
		}
		o.auction = knownAuction(s.request.Auction)
		if deal := dealOf(imp, c); deal != nil {
			if o.auction = knownAuction(auctionOf(&s.request, deal)); o.auction == fixedPrice {
				o.price = min(o.price, floor)
			}
		}
		o.worth = o.price
		switch {
		case most < floor:
			o.reason = rtb.BelowFloor
		case o.price < floor: // its whole value would do, but not the part that its money lasts for
			o.reason = rtb.PacedOut
		default:
			b.shade(s, c, &o, floor)
			if best < 0 || o.worth > s.offers[best].worth {
				best = len(s.offers)
			}
		}
		s.offers = append(s.offers, o)
	}
	return best
}

// shade lowers the price of an offer in a first-price auction to what past wins
// and losses say is best.
func (b *Bidder) shade(s *scratch, c *targeting.Candidate, o *offer, floor rtb.Money) {
	o.at = models.ShadeContext{
		Exchange: s.exchange.ID, Format: models.FormatOf(c.Creative.Media, c.Size), Floor: models.FloorBucket(floor),
	}
	if o.auction != firstPrice || o.worth <= floor {
		return
	}
	coin := s.coin
	switch o.arm.Shading {
	case models.ShadingOff:
		o.shading = rtb.ShadeControl
		return
	case models.ShadingFactor:
		o.price, o.shading = max(floor, rtb.Money(float64(o.worth)*o.arm.Factor)), rtb.ShadeExplore
		return
	case models.ShadingOn:
		coin = math.MaxUint32 // which is in no control group
	}
	o.price, o.shading = b.Shader.Shade(o.at, o.worth, floor, coin)
}

// value is what an impression of a candidate is worth to its goal, by what o
// keeps of the predictions.
func (b *Bidder) value(s *scratch, imp *rtb.Imp, c *targeting.Candidate, o *offer) rtb.Money {
	goal := c.LineItem.Goal
	switch goal.Type {
	case rtb.GoalCPM: // worth the same whoever clicks
	case rtb.GoalCPC:
		b.features(s, imp, c)
		o.ctr = b.Predictor.Click(&s.features)
	default:
		b.features(s, imp, c)
		o.ctr, o.cvr = b.Predictor.Click(&s.features), b.Predictor.Conversion(&s.features)
		if order := s.features.Order(); goal.Type == rtb.GoalROAS && order > 0 {
			goal.Value = order
		}
	}
	if o.arm.Value > 0 {
		if value := float64(goal.Value) * o.arm.Value; value < float64(rtb.MaxMoney) { // which is rounded up
			goal.Value = rtb.Money(value)
		} else {
			goal.Value = rtb.MaxMoney
		}
	}
	return models.Value(goal, o.ctr, o.cvr)
}

// features leaves those of a candidate in s.features.
func (b *Bidder) features(s *scratch, imp *rtb.Imp, c *targeting.Candidate) {
	if s.predicting != imp {
		s.predicting = imp
		s.features.Begin(&s.request, imp, &s.user, s.now)
		b.Predictor.BeginFor(&s.features, models.Coin(s.request.Users, s.request.ID.Text()))
	}
	if s.inArms {
		b.Predictor.Use(&s.features, s.arm.Model, s.arm.Canary, models.Coin(s.request.Users, s.request.ID.Text()))
	}
	s.features.Candidate(c.LineItem, c.Creative, c.Size)
}

// Types of auction (OpenRTB 2.6, 3.2.1); with fixedPrice, which is of deals
// only, the floor is the price (3.2.12).
const (
	firstPrice = 1
	fixedPrice = 3
)

// knownAuction is the type where it is one of the specification's, and zero for
// those that exchanges number from 500 on as they like.
func knownAuction(of uint16) uint8 {
	if of > fixedPrice {
		return 0
	}
	return uint8(of)
}

func auctionOf(req *rtb.Request, deal *rtb.Deal) uint16 {
	if deal.Auction != 0 {
		return deal.Auction
	}
	return req.Auction
}

func dealOf(imp *rtb.Imp, c *targeting.Candidate) *rtb.Deal {
	if c.Deal < 0 {
		return nil
	}
	return &imp.Deals[c.Deal]
}

// secondsFloor is the floor that a pod's price per second makes for the
// duration of the candidate, in the account currency.
func (b *Bidder) secondsFloor(imp *rtb.Imp, c *targeting.Candidate) rtb.Money {
	slot := &imp.Video
	if c.Creative.Media == rtb.Audio {
		slot = &imp.Audio
	}
	if slot.MinCPMPerSecond == 0 || c.Creative.Duration == 0 {
		return 0
	}
	if slot.MinCPMPerSecond > rtb.MaxMoney/3600 {
		return rtb.MaxMoney
	}
	floor, ok := b.Rates.ToAccount(slot.MinCPMPerSecond*rtb.Money(c.Creative.Duration/time.Second), imp.FloorCur)
	if !ok {
		return rtb.MaxMoney
	}
	return floor
}
