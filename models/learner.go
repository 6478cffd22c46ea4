package models

import (
	"errors"
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// LearnerConfig sets how a [Learner] learns.
type LearnerConfig struct {
	Bits int // size of the tables of weights: 2^Bits

	// Clicks and Conversions are settings that learn side by side; the one that
	// has predicted best of late is in the model.
	Clicks, Conversions []FTRLConfig

	// PairBits is the size of the table of what pairs of features add to clicks:
	// 2^PairBits vectors; zero for none. They are in the model while they predict
	// better than without.
	PairBits int

	// ClickWait is how long after an impression its click is waited for. Then it
	// is learned from, clicked or not: if the clicks were learned from at once,
	// there would be nothing but clicks at first.
	ClickWait time.Duration

	// ConversionWait is how long after a click its conversion counts.
	ConversionWait time.Duration

	// Keep is the part of the impressions without a click that is learned from.
	// The score is shifted for it (see [FTRL]); the corrections see all.
	Keep float64

	// MaxOpen is how many impressions, and how many clicks, may wait for what
	// becomes of them. The oldest make room.
	MaxOpen int

	Calibration CalibrationConfig
}

// DefaultLearner suits a bidder of its own.
func DefaultLearner() LearnerConfig {
	return LearnerConfig{
		Bits:           DefaultBits,
		Clicks:         []FTRLConfig{SteadyFTRL(), DefaultFTRL()},
		Conversions:    []FTRLConfig{scarceFTRL()},
		PairBits:       DefaultPairBits,
		ClickWait:      5 * time.Minute,
		ConversionWait: 30 * 24 * time.Hour,
		Keep:           1,
		MaxOpen:        500_000,
		Calibration:    DefaultCalibration(),
	}
}

// Validate reports every setting that is wrong.
func (c LearnerConfig) Validate() error {
	errs := []error{checkBits(c.Bits), checkPairBits(c.PairBits), c.Calibration.Validate()}
	for _, s := range [][]FTRLConfig{c.Clicks, c.Conversions} {
		if len(s) == 0 || len(s) > 16 {
			errs = append(errs, fmt.Errorf("settings: got %d, want 1 to 16", len(s)))
		}
		for i, one := range s {
			if err := one.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("settings[%d]: %w", i, err))
			}
		}
	}
	if c.ClickWait < time.Second || c.ClickWait > 24*time.Hour {
		errs = append(errs, fmt.Errorf("click-wait: %v: want 1s to 24h", c.ClickWait))
	}
	if c.ConversionWait < time.Minute || c.ConversionWait > 90*24*time.Hour {
		errs = append(errs, fmt.Errorf("conversion-wait: %v: want 1m to 90 days", c.ConversionWait))
	}
	if !(c.Keep > 0 && c.Keep <= 1) {
		errs = append(errs, errors.New("keep: want more than 0, at most 1"))
	}
	if c.MaxOpen < 1000 || c.MaxOpen > 1<<26 {
		errs = append(errs, fmt.Errorf("max-open: %d: want 1000 to %d", c.MaxOpen, 1<<26))
	}
	return errors.Join(errs...)
}

// Learner learns a [Model] from what happens, event by event, in the order of
// the log: each impression that comes back with its features is an example of
// a click, once it has waited long enough, and each click one of a conversion. It begins with a model that is known already and adds to it.
//
// Conversions come days after their click. Each click is learned from at once
// as one without a conversion, and the conversion as one more example when it
// comes (Ktena et al., Addressing Delayed Feedback, 2019). What is learned so
// is q = p/(1+p), and so its odds are the rate p.
//
// A Learner is for one goroutine. It has no clock: time is that of the events.
type Learner struct {
	cfg                 LearnerConfig
	base                *Model
	clicks, conversions *course

	open    queue               // impressions that may yet be clicked
	clicked queue               // clicks that may yet convert
	early   map[rtb.BidID]int64 // clicks that came before their impression
	orders  map[rtb.CampaignID]*orders
	lags    lags

	samples     []sampled // by time
	sampledGone int       // how many there were before, ever
	sampledAt   map[rtb.BidID]int

	seen    recent // bids whose impression was shown
	told    recent // bids whose win or loss the shader knows
	ordered recent // bids whose conversion had a value

	inverse float64 // mean of the inverse chances to win

	since     int64  // of the first impression, Unix seconds
	clock            // the time of the log
	position  uint64 // of the last batch
	stateSize int    // of the last state
	stats     LearnerStats
	hashes    []uint32

	// Shader and Creatives, when set, learn too: from wins and losses, and from
	// what is shown. Convert makes prices of the account currency of others.
	Shader    *Shader
	Creatives *Creatives
	Convert   func(price rtb.Money, c rtb.Currency) rtb.Money

	// Silent, when set, says of which exchanges no losses are heard; see Sample.
	Silent func(rtb.ExchangeID) bool

	// Labelled, when set, is told of each impression once it is known whether it
	// was clicked, before it is learned from.
	Labelled func(*Lesson)
}

// LearnerStats say what a Learner has seen.
type LearnerStats struct {
	Impressions, Clicks, Conversions uint64 // that were learned from
	Unscored                         uint64 // impressions without features
	Unmatched                        uint64 // clicks and conversions without an impression or click that waits
	Crowded                          uint64 // impressions and clicks that did not wait to the end, for there were too many
	Priced                           uint64 // wins and losses in first-price auctions
}

// NewLearner starts from base, which must not be nil.
func NewLearner(cfg LearnerConfig, base *Model) (*Learner, error) {
	l, err := newLearner(cfg)
	if err != nil {
		return nil, err
	}
	return l, l.begin(base)
}

func newLearner(cfg LearnerConfig) (*Learner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Learner{cfg: cfg, early: map[rtb.BidID]int64{}, orders: map[rtb.CampaignID]*orders{}, lags: newLags()}
	l.open.most, l.clicked.most = cfg.MaxOpen, cfg.MaxOpen
	return l, nil
}

// begin prepares the courses to add to what base knows.
func (l *Learner) begin(base *Model) (err error) {
	l.base = base
	if l.clicks, err = newCourse(l.cfg, l.cfg.Clicks, base.Clicks, l.cfg.Keep); err != nil {
		return err
	}
	if l.cfg.PairBits > 0 {
		if l.clicks.pairs, err = newPairings(l.cfg.PairBits, base.Pairs, l.cfg.Keep); err != nil {
			return err
		}
	}
	l.conversions, err = newCourse(l.cfg, l.cfg.Conversions, base.Conversions, 1)
	return err
}

// Position is that of the last batch that was applied.
func (l *Learner) Position() uint64 { return l.position }

// Stats are what it has seen so far.
func (l *Learner) Stats() LearnerStats { return l.stats }

// Open is how many impressions wait for a click.
func (l *Learner) Open() int { return l.open.len() }

// Apply learns from the batch at a position of the log. A batch that was
// applied before changes nothing.
func (l *Learner) Apply(position uint64, batch []rtb.Event) error {
	if position <= l.position {
		return nil
	}
	for i := range batch {
		l.take(&batch[i])
	}
	l.position = position
	return nil
}

func (l *Learner) take(e *rtb.Event) {
	if e.Uploaded() {
		// It follows no click of ours, and what people pay who saw no ad says nothing
		// of the orders that ads bring. Nor does its time say what time it is.
		return
	}
	if !e.Time.IsZero() && l.hear(e.Time.Unix()) {
		l.expire()
		l.settle()
	}
	switch e.Type {
	case rtb.EventView:
		l.shown(e)
	case rtb.EventClick:
		l.click(e)
	case rtb.EventConversion:
		l.convert(e)
	case rtb.EventWin, rtb.EventBill, rtb.EventLoss:
		l.priced(e)
	}
}

// shown has an impression wait for its click.
func (l *Learner) shown(e *rtb.Event) {
	if e.Features.Count == 0 {
		l.stats.Unscored++
		return
	}
	if l.open.find(e.Bid) != nil || l.clicked.find(e.Bid) != nil || l.seen.seen(e.Bid) {
		return // a repeat
	}
	lesson := lessonOf(e)
	lesson.WinRate = l.winRate(e)
	if l.since == 0 {
		l.since = lesson.Time
	}
	if old, crowded := l.open.push(lesson); crowded {
		l.stats.Crowded++
		l.learnClick(&old)
	}
	if _, was := l.early[e.Bid]; was {
		delete(l.early, e.Bid)
		l.click(e)
	}
}

// expire learns from those that have waited long enough.
func (l *Learner) expire() {
	for {
		first := l.open.first()
		if first == nil || !l.due(first.Time, int64(l.cfg.ClickWait/time.Second)) {
			break
		}
		lesson := l.open.pop()
		l.learnClick(&lesson)
	}
	for {
		first := l.clicked.first()
		if first == nil || !l.due(first.Time, int64(l.cfg.ConversionWait/time.Second)) {
			return
		}
		l.clicked.pop()
	}
}

// maxEarly bounds what clicks that come before their impression take.
const maxEarly = 10_000

func (l *Learner) click(e *rtb.Event) {
	shown := l.open.find(e.Bid)
	if shown == nil {
		// The pixel and the click come over different connections.
		if l.clicked.find(e.Bid) == nil {
			if len(l.early) >= maxEarly {
				l.stats.Unmatched += uint64(len(l.early))
				clear(l.early)
			}
			l.early[e.Bid] = l.now
		}
		return
	}
	if shown.Clicked {
		return // a repeat
	}
	shown.Clicked = true

	// Without a conversion, until there is one.
	lesson := *shown
	lesson.Time = l.now
	l.hashes = lesson.Features.Append(l.hashes[:0])
	l.conversions.learn(l.hashes, false)
	l.lags.click(&lesson)
	if _, crowded := l.clicked.push(lesson); crowded {
		l.stats.Crowded++
	}
}

func (l *Learner) learnClick(lesson *Lesson) {
	l.stats.Impressions++
	if lesson.Clicked {
		l.stats.Clicks++
	}
	if l.Labelled != nil {
		l.Labelled(lesson)
	}
	l.hashes = lesson.Features.Append(l.hashes[:0])
	if l.Creatives != nil {
		l.Creatives.Labelled(lesson, lesson.Clicked)
	}
	weight := l.weight(lesson)
	p := l.clicks.learn(l.hashes, lesson.Clicked)
	l.clicks.correct(uint32(lesson.Campaign), p, lesson.Clicked, weight)
}

// winRate is the chance that a bid had to win, one where nobody knows.
func (l *Learner) winRate(e *rtb.Event) float32 {
	if l.Shader == nil || e.Auction != firstPriceAuction && e.Auction != secondPriceAuction {
		return 1
	}
	at := ShadeContext{Exchange: e.Exchange, Format: e.Format, Floor: e.Floor}
	return float32(l.Shader.WinRate(at, e.Worth, e.Fees.Off(e.Cost)))
}

// mostWeight is how much more than the mean an impression may count.
const mostWeight = 4

// weight is for how many impressions on offer one stands that was won, to the
// corrections. Those that were believed to be worth too much are won too often:
// counted as they come, all that is bid on would seem worth too little (inverse
// propensity weighting, Horvitz and Thompson 1952). The mean weight is one. The
// models learn without: they know more from many examples than from few that
// weigh more.
func (l *Learner) weight(lesson *Lesson) float64 {
	const life = 5000 // impressions
	inverse := 1 / max(0.05, float64(lesson.WinRate))
	if l.inverse == 0 {
		l.inverse = inverse
	}
	l.inverse += (inverse - l.inverse) / life
	return min(mostWeight, inverse/l.inverse)
}

// convert learns from the first conversion of a click. More of them count for
// what an order is worth.
func (l *Learner) convert(e *rtb.Event) {
	l.order(e)
	lesson, ok := l.clicked.remove(e.Bid)
	if !ok {
		l.stats.Unmatched++
		return
	}
	l.stats.Conversions++
	l.hashes = lesson.Features.Append(l.hashes[:0])
	l.conversions.learn(l.hashes, true)
	l.lags.convert(&lesson, l.now-lesson.Time)
}

// orders are the conversions of one campaign, older ones counting less.
type orders struct{ Count, Sum float64 }

const orderLife = 500 // conversions

func (l *Learner) order(e *rtb.Event) {
	if e.Value <= 0 || l.ordered.seen(e.Bid) {
		return
	}
	value := min(float64(e.Value), l.mostOrder(e.Campaign))
	for _, campaign := range [...]rtb.CampaignID{e.Campaign, 0} {
		o := l.orders[campaign]
		if o == nil {
			o = new(orders)
			l.orders[campaign] = o
		}
		o.Count = o.Count*(1-1.0/orderLife) + 1
		o.Sum = o.Sum*(1-1.0/orderLife) + value
		if campaign == 0 {
			break
		}
	}
}

// A conversion comes from whoever has clicked, with any value. Of a campaign that
// is known from some it counts at most as several of them, and else of all.
const (
	knownOrders = 10
	unusual     = 10 // times the mean
)

func (l *Learner) mostOrder(campaign rtb.CampaignID) float64 {
	for _, of := range [...]rtb.CampaignID{campaign, 0} {
		if o := l.orders[of]; o != nil && o.Count >= knownOrders {
			return unusual * o.Sum / o.Count
		}
	}
	return math.MaxFloat64
}

// Model is what has been learned so far. It does not change any more.
func (l *Learner) Model() *Model {
	m := &Model{
		Clicks:      l.clicks.model(),
		Pairs:       l.clicks.paired(),
		Conversions: l.conversions.model(),
		ClickRatio:  l.clicks.calibrator.Table(),
		Orders:      make(map[rtb.CampaignID]rtb.Money, len(l.orders)),
	}
	m.ConversionRatio = l.lags.table(l.now, func(f *rtb.Features) float64 {
		l.hashes = f.Append(l.hashes[:0])
		return odds(m.Conversions.bias + m.Conversions.sum(l.hashes))
	}, func(f *rtb.Features) float64 {
		if l.base.Conversions == nil {
			return DefaultConversionRate
		}
		l.hashes = f.Append(l.hashes[:0])
		return odds(l.base.Conversions.bias + l.base.Conversions.sum(l.hashes))
	})
	for campaign, o := range l.orders {
		m.Orders[campaign] = rtb.Money(math.Round(o.Sum / o.Count))
	}
	return m
}

// Paired reports whether what pairs of features add is in the model now.
func (l *Learner) Paired() bool { return l.clicks.pairs != nil && l.clicks.pairs.serves >= 0 }

// Refit fits the corrections anew; do so now and then, such as once a night.
func (l *Learner) Refit() { l.clicks.calibrator.Refit() }

// Metrics are those of the predictions of clicks of late, each made before it
// was learned from, corrected as bids are.
func (l *Learner) Metrics() Metrics {
	m := l.clicks.metrics()
	if l.since != 0 {
		m.From, m.Through = time.Unix(l.since, 0).UTC(), time.Unix(l.now, 0).UTC()
	}
	return m
}
