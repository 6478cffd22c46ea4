package loadtest

import (
	"errors"
	"fmt"
	"net"
	"time"

	"bidwell/rtb"
)

// shownShare of the impressions won are shown; for the others the page was
// left in time, so nothing is billed.
const shownShare = .98

// view is what happens to an impression that was won.
type view struct {
	won                       *contender
	shown, clicked, converted bool
	quartiles                 int
}

// exchangeConn is one connection with its reused memory.
type exchangeConn struct {
	run     *exchangeRun
	wire    *wire
	offer   Offer
	request []byte
	answer  bidAnswer
	out     outcome
	asked   time.Time // when the request was sent, in real time
	told    []*notice
	log     []byte
}

// auction plays one auction from the request to the notices.
func (c *exchangeConn) auction(i int, now time.Time) error {
	x := c.run
	o := &c.offer
	if x.notices != nil {
		x.notices.advance(now)
	}
	x.traffic.Offer(i, now, o)
	x.quarters[quarterOf(now)].Add(1)
	c.out = outcome{offer: o, contenders: c.out.contenders[:0], views: c.out.views[:0]}
	c.ask()
	if c.out.problem == "" && !c.out.late {
		for i := range o.Slots {
			s := &o.Slots[i]
			if won := x.market.auction(o, s, c.out.contenders); won != nil {
				c.out.views = append(c.out.views, x.market.show(o, won))
			}
		}
		c.consult()
	}
	if x.surplus != nil {
		x.surplus.score(&c.out)
	}
	x.tally.add(&c.out)
	if x.notices != nil {
		c.tellFates()
	}
	if x.log == nil {
		return nil
	}
	c.log = c.log[:0]
	for i := range c.out.views {
		if v := &c.out.views[i]; v.shown {
			c.log = appendExample(c.log, o, v.won.slot, &v.won.ad, v.won.clearing, v.clicked, v.converted)
		}
	}
	return x.log.put(i, c.log)
}

var errWrongID = errors.New("the answer has another id than the request")

// ask sends the request and reads the answer into c.out.
func (c *exchangeConn) ask() {
	o := &c.offer
	target := c.run.targets[o.Exchange]
	c.wire.to = target
	var now time.Time // unless the bidder is to follow it
	if c.run.cfg.SimulatedTime {
		now = o.Time
	}
	c.request = target.appendRequestAt(c.request[:0], o.Body, plain, now)
	c.asked = time.Now()
	reply, err := c.wire.do(c.request, c.asked.Add(o.TMax+c.run.cfg.Grace))
	c.out.latency = time.Since(c.asked)
	if err != nil {
		c.out.problem = problemOf(err)
		return
	}
	switch {
	case reply.status == 204:
	case reply.status != 200:
		c.out.problem = fmt.Sprintf("status-%d", reply.status)
		return
	default:
		if err := readAnswer(o, reply.body, &c.answer); errors.Is(err, errWrongID) {
			c.out.problem = "wrong-id"
			return
		} else if err != nil {
			c.out.problem = "bad-answer"
			return
		}
	}
	if c.out.late = c.out.latency > o.TMax; c.out.late || reply.status == 204 {
		return
	}
	for i := range c.answer.SeatBid {
		seat := &c.answer.SeatBid[i]
		for j := range seat.Bid {
			bid := admit(o, &seat.Bid[j], seat.Seat, c.answer.Cur)
			bid.line = c.run.books.of(&seat.Bid[j])
			c.out.contenders = append(c.out.contenders, bid)
		}
	}
}

// problemOf names a failure of the transport.
func problemOf(err error) string {
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return "connect"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errDropped):
		return "dropped"
	}
	return "transport"
}

// react draws from the hidden truth whether an impression is clicked and
// whether the click leads to a purchase.
func (m *Market) react(o *Offer, s *Slot, ad *Ad) (clicked, converted bool) {
	d := dice(scramble(m.seed^0x636c_6963_6b, s.seed))
	clicked = d.chance(m.Click(o, s, ad))
	return clicked, clicked && d.chance(m.Conversion(o, ad))
}

// pageOf are the dice of the page that an impression is on.
func (m *Market) pageOf(s *Slot) dice { return dice(scramble(m.seed^0x7368_6f77, s.seed)) }

// shows reports whether an impression would be shown, whoever wins it.
func (m *Market) shows(s *Slot) bool {
	d := m.pageOf(s)
	return d.chance(shownShare)
}

// show draws what a person does with an impression.
func (m *Market) show(o *Offer, won *contender) view {
	v := view{won: won}
	d := m.pageOf(won.slot)
	if v.shown = d.chance(shownShare); !v.shown {
		return v
	}
	v.clicked, v.converted = m.react(o, won.slot, &won.ad)
	if won.ad.Media == rtb.Video || won.ad.Media == rtb.Audio {
		for v.quartiles = 1; v.quartiles < 5 && d.chance(.87); {
			v.quartiles++
		}
	}
	return v
}
