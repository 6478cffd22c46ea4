package bidder

import (
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/targeting"
)

// SetExperiments replaces the experiments that run; nil for none. Requests
// under way go on with the old ones.
func (b *Bidder) SetExperiments(x *models.Experiments) { b.experiments.Store(x) }

// assign finds the experiment arms of the user.
func (b *Bidder) assign(s *scratch) {
	s.experiments = b.experiments.Load()
	var user rtb.UserID
	if len(s.request.Users) > 0 {
		user = s.request.Users[0]
	}
	s.experiments.Assign(user, s.now, &s.arms)
	s.inArms, s.arm = s.arms != [rtb.MaxLayers]uint16{}, models.Override{}
	if s.inArms && b.Samples != nil && !s.explaining {
		b.note(s, user)
	}
}

// note logs that a user is in experiments, when that was not done lately. It
// comes before anything that an arm may change: if only users who got a bid were
// counted, arms that bid less would have other users.
func (b *Bidder) note(s *scratch, user rtb.UserID) {
	id := rtb.BidID(user)
	for i, arm := range s.arms { // in the half that tells marks apart
		id[8+2*i] ^= byte(arm)
		id[9+2*i] ^= byte(arm >> 8)
	}
	if b.noted.First(id, uint8(rtb.EventAssigned)) {
		b.Samples.Offer(&rtb.Event{Type: rtb.EventAssigned, Time: s.now, Made: s.now, Exchange: s.request.Exchange, User: user, Arms: s.arms})
	}
}

// comply narrows a candidate to what the user's arms allow, and says what else
// they change.
func (b *Bidder) comply(s *scratch, c *targeting.Candidate, o *offer) {
	if !s.inArms {
		return
	}
	s.arm = s.experiments.Overrides(&s.arms, c.LineItem)
	o.arm = s.arm
	if o.arm.None() {
		return
	}
	if !o.arm.Allows(c.Creative.ID) {
		o.reason = rtb.ArmRefused
		for _, fit := range s.matches.Fits(c) {
			if o.arm.Allows(fit.Creative.ID) {
				c.Fit, o.reason = fit, rtb.BidMade
				break
			}
		}
	}
	if o.reason == rtb.BidMade && len(o.arm.Caps) > 0 && s.matches.Within(o.arm.Caps, c) != rtb.BidMade {
		o.reason = rtb.ArmRefused
	}
}

// ghost logs the bid that o would have been: of a holdout it is known who would
// have seen an ad, and how likely, without showing it.
func (b *Bidder) ghost(s *scratch, c *targeting.Candidate, o *offer) {
	if b.Samples == nil || s.explaining {
		return
	}
	event := b.event(s, c, o)
	event.Type, event.Time = rtb.EventGhost, s.now
	event.WinRate = float32(b.Shader.WinRate(o.at, o.worth, o.price))
	b.Samples.Offer(&event)
}
