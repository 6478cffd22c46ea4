package loadtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"bidwell/models"
	"bidwell/rtb"
)

// Feedbacks say what a bidder hears of a first-price auction.
const (
	FeedbackPrice   = "price"    // the lowest price that would have won, whether it won or not
	FeedbackWinLoss = "win-loss" // whether it has won
)

// shading lowers the bids of a replay of first-price auctions with the Shader
// of the bidder. It learns of an auction when the pacer is told of it.
type shading struct {
	*models.Shader
	coins    *rand.Rand
	unit     float64 // money of the Shader for one unit of the log
	learned  int
	fresh    int // learned since the last Publish
	byPrices bool
}

// prepareShading makes a Shader. Its prices are scaled so that the first rows
// of the log have usual prices of an impression.
func (r *replaying) prepareShading() error {
	if r.Auction != AuctionFirst || r.Unshaded {
		return nil
	}
	cfg := models.DefaultShaderConfig()
	cfg.Control = r.Control
	shader, err := models.NewShader(cfg)
	if err != nil {
		return err
	}
	l, sum := r.Log, 0.0
	n := min(1000, l.Len())
	for i := range n {
		sum += l.cost(i)
	}
	if sum == 0 {
		sum = float64(n)
	}
	r.shading = &shading{
		Shader: shader, coins: rand.New(rand.NewPCG(r.Seed, 0x7368616465)),
		unit: float64(rtb.OneCPM) * float64(n) / sum, byPrices: r.Feedback != FeedbackWinLoss,
	}
	return nil
}

// money is an amount of the log as the Shader counts it.
func (s *shading) money(amount float64) rtb.Money { return rtb.Money(math.Round(amount * s.unit)) }

// shade is what to bid for a row that is worth so much to the pacer, in the
// money of the replay.
func (r *replaying) shade(i int, worth rtb.Money) (bid rtb.Money, o models.Outcome) {
	s, l := r.shading, r.Log
	floor := rtb.Money(0)
	if l.Floor != nil {
		floor = s.money(l.Floor[i])
	}
	if l.Exchange != nil {
		o.At.Exchange = rtb.ExchangeID(l.Exchange[i])
	}
	o.At.Floor = models.FloorBucket(floor)
	o.Worth = s.money(float64(worth) / r.scale)
	o.Bid, o.Kind = s.Shade(o.At, o.Worth, floor, s.coins.Uint32())
	if o.Bid >= o.Worth {
		return worth, o
	}
	bid = rtb.Money(math.Ceil(float64(o.Bid) / s.unit * r.scale))
	if l.Floor != nil {
		bid = max(bid, r.money(l.Floor[i]))
	}
	return min(bid, worth), o
}

// learn tells the Shader of an outcome.
func (s *shading) learn(r *replaying, w *waiting, now time.Time) {
	o := &w.outcome
	o.Won, o.Time = w.won, now
	if w.won {
		o.Paid = s.money(float64(w.paid) / r.scale)
	}
	if s.byPrices {
		o.MinToWin = max(1, rtb.Money(math.Ceil(r.Log.cost(w.at)*s.unit))) // up, for as much must win again
	}
	s.Learn(o)
	s.learned++
	s.fresh++
	// A bidder publishes once a second, whatever the traffic.
	if s.fresh >= min(256, 8+s.learned/50) {
		s.Publish()
		s.fresh = 0
	}
}

// Surplus is what the wins of a replay brought beyond their price, beside what
// others would have got from all of the log. Amounts are in its unit.
type Surplus struct {
	Surplus     float64 `json:"surplus"`     // sum of value times pctr less the price, over wins
	Clairvoyant float64 `json:"clairvoyant"` // the same of one who pays the lowest price that wins wherever that is less than the value
	Share       float64 `json:"surplus_share"`

	// The control bids the whole value everywhere, without a budget.
	ControlSurplus float64 `json:"control_surplus"`
	ControlShare   float64 `json:"control_share"`
	ControlWins    int     `json:"control_wins"`
	ControlSpend   float64 `json:"control_spend"`
	Savings        float64 `json:"savings"` // part of the price of a unit of value that was saved against the control

	BidsByKind map[string]int `json:"bids_by_kind,omitempty"` // shaded, explore and control
}

// surplus compares what was won with what could have been.
func (r *replaying) surplus() {
	if r.Value <= 0 {
		return
	}
	s := Surplus{BidsByKind: r.kinds}
	l, controlWorth := r.Log, 0.0
	for i := range l.Len() {
		worth, cost := r.Value*l.PCTR[i], l.cost(i)
		if worth < cost || worth <= 0 {
			continue
		}
		s.Clairvoyant += worth - cost
		s.ControlWins++
		controlWorth += worth
		if r.Auction == AuctionFirst {
			cost = worth
		}
		s.ControlSpend += cost
		s.ControlSurplus += worth - cost
	}
	s.Surplus = r.Value*r.result.Value - r.result.Spend
	if s.Clairvoyant > 0 {
		s.Share, s.ControlShare = s.Surplus/s.Clairvoyant, s.ControlSurplus/s.Clairvoyant
	}
	if r.result.Value > 0 && s.ControlSpend > 0 {
		s.Savings = 1 - r.result.Spend/(r.Value*r.result.Value)/(s.ControlSpend/controlWorth)
	}
	r.result.Surplus = &s
}

// text is the result for people.
func (s *Surplus) text() string {
	if s == nil {
		return ""
	}
	text := fmt.Sprintf("surplus        %.6g, %.4f of the %.6g of one who knows all prices\n", s.Surplus, s.Share, s.Clairvoyant)
	text += fmt.Sprintf("control        %.6g, %.4f, for %.6g and %s, if it bid all values unshaded\n",
		s.ControlSurplus, s.ControlShare, s.ControlSpend, counted(s.ControlWins, "win"))
	text += fmt.Sprintf("savings        %.4f of the price of a unit of value, against the control\n", s.Savings)
	if len(s.BidsByKind) > 0 {
		text += fmt.Sprintf("bids           %d shaded, %d explore, %d control\n",
			s.BidsByKind["shaded"], s.BidsByKind["explore"], s.BidsByKind["control"])
	}
	return text
}
