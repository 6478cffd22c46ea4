package loadtest

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// NoticeFates is what becomes of notices on their way from the exchange, the
// page or the player to the bidder. Each notice meets its fate on its own,
// drawn from the seed of the auction.
type NoticeFates struct {
	Delay     time.Duration // mean of what every notice takes, exponentially distributed
	Late      float64       // share that takes longer,
	LateBy    time.Duration // by anything up to this, and so is overtaken by others
	Loss      float64       // share that never comes
	Duplicate float64       // share that comes twice, each time with a delay of its own

	// Blank is the share of notices whose price is blank, AUDIT, or the macro
	// as it was sent. Those charge nobody.
	Blank float64

	// Retries is how often a notice is tried again that was answered with 429
	// or 5xx or not at all, after a tenth of a second and then twice as long
	// each time, in real time.
	Retries int
}

// DefaultNoticeFates are those of a network without faults.
func DefaultNoticeFates() NoticeFates { return NoticeFates{LateBy: time.Hour, Retries: 6} }

// Validate reports every setting that is wrong, not only the first.
func (f NoticeFates) Validate() error {
	var errs []error
	for _, share := range []struct {
		name  string
		value float64
	}{{"notice-late", f.Late}, {"notice-loss", f.Loss}, {"notice-duplicate", f.Duplicate}, {"price-blank", f.Blank}} {
		if !(share.value >= 0 && share.value <= 1) {
			errs = append(errs, fmt.Errorf("%s: must be a share between 0 and 1", share.name))
		}
	}
	if f.Delay < 0 || f.Delay > time.Hour {
		errs = append(errs, errors.New("notice-delay: must be between 0 and 1h"))
	}
	if f.LateBy < 0 || f.LateBy > 30*24*time.Hour {
		errs = append(errs, errors.New("notice-late-by: must be between 0 and 720h"))
	}
	if f.Retries < 0 || f.Retries > 20 {
		errs = append(errs, errors.New("notice-retries: must be between 0 and 20"))
	}
	return errors.Join(errs...)
}

// trip is one copy of a notice on its way.
type trip struct {
	takes time.Duration
	late  bool
	price priceFate
}

// priceFate is what becomes of the price in a notice.
type priceFate uint8

const (
	priceSaid priceFate = iota
	priceBlank
	priceAudit
	priceUnexpanded
)

// draw returns the trips of one notice: none when it is lost.
func (f *NoticeFates) draw(d *dice, trips *[2]trip) []trip {
	// All is drawn whatever comes of it, so that changing one share leaves the
	// other fates as they were.
	lost, twice := d.chance(f.Loss), d.chance(f.Duplicate)
	for i := range trips {
		t := &trips[i]
		*t = trip{takes: time.Duration(-float64(f.Delay) * math.Log(1-d.float())), late: d.chance(f.Late)}
		longer := time.Duration(d.float() * float64(f.LateBy))
		if t.late {
			t.takes += longer
		}
		blank, how := d.chance(f.Blank), d.next()
		if blank {
			t.price = priceBlank + priceFate(how%3)
		}
	}
	switch {
	case lost:
		return nil
	case twice:
		return trips[:2]
	}
	return trips[:1]
}

// When things happen after the auction, before any delay.
const (
	viewedAfter   = 300 * time.Millisecond // the page has rendered the ad
	quartileAfter = 4 * time.Second        // each part of a video
	clickedAfter  = 6 * time.Second
)

// purchase is what a click leads to.
type purchase struct {
	after time.Duration // the click
	value float64       // in units
}

// longestThought is how long after a click a person may still buy.
const longestThought = 6 * time.Hour

// drawPurchase draws when somebody buys, mostly within minutes, and for how
// much.
func drawPurchase(d *dice) purchase {
	after := time.Duration(float64(5*time.Minute) * math.Exp(1.5*d.normal()))
	return purchase{after: min(after, longestThought), value: usualOrder * math.Exp(orderSpread*d.normal())}
}

// usualOrder is the median value of a purchase in units, and orderSpread the
// standard deviation of its logarithm.
const usualOrder, orderSpread = 40, .6

// meanOrder is the mean value of a purchase in units.
var meanOrder = usualOrder * math.Exp(orderSpread*orderSpread/2)
