package bidder

import (
	"fmt"

	"bidwell/models"
	"bidwell/rtb"
	"bidwell/targeting"
)

// choose takes one of the creatives of a candidate that fit, where its line
// item leaves the choice to experience. The draw decides what is shown, and
// nothing else: the price is made of the prediction for it.
func (b *Bidder) choose(s *scratch, imp *rtb.Imp, c *targeting.Candidate, o *offer) {
	if c.LineItem.Rotation != rtb.RotateOptimize {
		return
	}
	fits := s.matches.Fits(c)
	if len(fits) < 2 {
		return
	}
	chosen, _ := b.draw(s, imp, c, fits)
	c.Fit = fits[chosen]
	if c.LineItem.Goal.Type == rtb.GoalCPM { // whose value needs no prediction, but the creatives learn from it
		o.ctr = s.options[chosen].P
	}
}

// draw leaves what is known of each of fits in s.options, and says which to
// show. The fit of c changes.
func (b *Bidder) draw(s *scratch, imp *rtb.Imp, c *targeting.Candidate, fits []targeting.Fit) (int, models.Choice) {
	after := c.LineItem.Goal.Type == rtb.GoalCPA || c.LineItem.Goal.Type == rtb.GoalROAS
	for i := range fits {
		c.Fit = fits[i]
		b.features(s, imp, c)
		p := b.Predictor.Click(&s.features)
		if after { // a click is worth what follows it
			p *= b.Predictor.Conversion(&s.features)
		}
		if !s.arm.Allows(c.Creative.ID) {
			p = 0 // is never drawn
		}
		s.options[i] = models.Option{Creative: c.Creative.ID, P: p}
	}
	return b.Creatives.Choose(s.options[:len(fits)], models.CellOf(s.features.Hashes), s.context.Coin, b.cfg.Explore)
}

// explore chooses among the offers by their worth and a draw of how far off that
// may be: what is never shown is never learned of, and might be the best. It
// returns the place of one, best where nothing else is drawn, or that would give
// up too much. Only what is predicted to be clicked is in doubt. Offers of a
// holdout take part as all others do: ghosts must be those who would have been
// shown the ad.
func (b *Bidder) explore(s *scratch, imp *rtb.Imp, best int) int {
	if b.cfg.Explore == 0 || s.predicting != imp {
		return best
	}
	cell, most, drawn := models.CellOf(s.features.Hashes), 0.0, best
	for i := range s.offers {
		o := &s.offers[i]
		c := &s.matches.Candidates[o.candidate]
		if o.reason != rtb.BidMade {
			continue
		}
		draw := float64(o.worth)
		if c.LineItem.Goal.Type != rtb.GoalCPM {
			draw *= b.Creatives.Doubt(c.Creative.ID, cell, s.context.Coin)
		}
		if draw > most {
			most, drawn = draw, i
		}
	}
	if models.Affords(float64(s.offers[best].worth), float64(s.offers[drawn].worth), b.cfg.Explore, s.context.Coin) {
		return drawn
	}
	return best
}

// explainChoice says which creatives of a candidate fit, and why that one is
// shown.
func (b *Bidder) explainChoice(s *scratch, imp *rtb.Imp, c *targeting.Candidate, l *rtb.LineItemExplanation) {
	l.Product = c.Creative.Product
	fits := s.matches.Fits(c)
	if len(fits) < 2 {
		return
	}
	for i := range fits {
		l.Creatives = append(l.Creatives, rtb.CreativeExplanation{Creative: fits[i].Creative.Key, Product: fits[i].Creative.Product})
	}
	switch c.LineItem.Rotation {
	case rtb.RotateOptimize:
		b.explainDraw(s, imp, c, l)
	case rtb.RotateEven:
		l.Choice = "even: by chance"
	case rtb.RotateWeighted:
		l.Choice = fmt.Sprintf("weighted: by chance, with a weight of %d", max(c.Creative.Weight, 1))
	case rtb.RotateSequence:
		l.Choice = fmt.Sprintf("sequence: impression %d of the line item for this user", s.matches.Step(c))
	}
}

// explainDraw draws once more, with the same coin and so the same result.
func (b *Bidder) explainDraw(s *scratch, imp *rtb.Imp, c *targeting.Candidate, l *rtb.LineItemExplanation) {
	shown, fits := c.Fit, s.matches.Fits(c)
	_, how := b.draw(s, imp, c, fits)
	l.Choice = [...]string{
		models.ChoseBest:  "optimize: it has the highest draw, and is the best known",
		models.ChoseDraw:  "optimize: it has the highest draw",
		models.HeldToBest: "optimize: it is the best known; trying that with the highest draw would cost too much",
	}[how]
	for i := range fits {
		c.Fit = fits[i]
		b.features(s, imp, c)
		e := &l.Creatives[i]
		e.CTR, e.Known, e.Draw = b.Predictor.Click(&s.features), s.options[i].Mean, s.options[i].Draw
	}
	c.Fit = shown
}
