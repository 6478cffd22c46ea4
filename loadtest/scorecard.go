package loadtest

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"bidwell/rtb"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Scorecard is what a run of the market came to.
type Scorecard struct {
	Seed        uint64  `json:"seed"`
	Seconds     float64 `json:"seconds"`
	Auctions    int     `json:"auctions"`    // bid requests sent, each an auction
	Requests    int     `json:"requests"`    // of these, those that reached the bidder
	Imps        int     `json:"imps"`        // impressions on offer
	Answered    int     `json:"answered"`    // auctions in which the bidder made a bid
	NoBids      int     `json:"no_bids"`     // auctions in which it made none
	Bids        int     `json:"bids"`        // several may answer one auction
	BidRate     float64 `json:"bid_rate"`    // answered / auctions
	Wins        int     `json:"wins"`        // impressions won
	WinRate     float64 `json:"win_rate"`    // wins / bids
	Impressions int     `json:"impressions"` // wins that were shown, and are charged
	Spend       string  `json:"spend"`       // what the exchanges charge
	AvgCPM      string  `json:"avg_cpm"`
	Clicks      int     `json:"clicks"`
	CTR         float64 `json:"ctr"`
	Conversions int     `json:"conversions"`
	Late        int     `json:"late"` // answers after tmax, which took no part
	LateRate    float64 `json:"late_rate"`
	P50         float64 `json:"p50_ms"` // time to answer, in milliseconds
	P99         float64 `json:"p99_ms"`
	Max         float64 `json:"max_ms"`

	Errors     map[string]int             `json:"errors"`     // auctions without a usable answer, by kind
	Violations map[string]int             `json:"violations"` // bids that broke a rule of the auction
	Losses     map[string]int             `json:"losses"`     // by OpenRTB loss reason
	Notices    map[NoticeKind]NoticeCount `json:"notices"`

	Creatives []Share           `json:"creatives"` // by campaign and creative, as bids name them
	Formats   map[string]*Share `json:"formats"`
	Exchanges map[string]*Share `json:"exchanges"`

	Truth     []LineTruth               `json:"truth"`     // by line item, as bids name it or as its document does
	Frequency map[string]FrequencyTruth `json:"frequency"` // by what caps count; empty without documents
	Oracle    OracleTruth               `json:"oracle"`
	Books     *BooksTruth               `json:"books,omitempty"` // nil without the bidder's admin API

	// Nil unless asked for, and where there was no auction of the kind.
	Surplus     *SurplusTruth     `json:"surplus,omitempty"`
	Calibration *CalibrationTruth `json:"calibration,omitempty"` // second price
	Shading     *ShadingTruth     `json:"shading,omitempty"`     // first price
}

// NoticeCount is what became of the notices of a kind.
type NoticeCount struct {
	Sent      int `json:"sent"`                // copies that were called, those that failed included
	Failed    int `json:"failed"`              // of these, those that the bidder never took
	Retried   int `json:"retried,omitempty"`   // calls that were made once more
	Lost      int `json:"lost,omitempty"`      // notices that were never called, as the fates had it
	Late      int `json:"late,omitempty"`      // copies that were
	Duplicate int `json:"duplicate,omitempty"` // second copies
}

// Share is the part of a creative, a format or an exchange.
type Share struct {
	CID         string `json:"cid,omitempty"`
	CRID        string `json:"crid,omitempty"`
	Auctions    int    `json:"auctions,omitempty"`
	Bids        int    `json:"bids"`
	Wins        int    `json:"wins"`
	Impressions int    `json:"impressions"`
	Clicks      int    `json:"clicks"`
	Spend       string `json:"spend"`

	spent rtb.Money
}

// maxShares bounds the list of creatives: ids come from outside.
const maxShares = 10_000

// tally is a Scorecard in the making, shared by all connections.
type tally struct {
	mu        sync.Mutex
	card      Scorecard
	spent     rtb.Money
	creatives map[[2]string]*Share
	latency   *hdrhistogram.Histogram // microseconds
}

func newTally(seed uint64) *tally {
	return &tally{
		card: Scorecard{
			Seed:       seed,
			Errors:     map[string]int{},
			Violations: map[string]int{},
			Losses:     map[string]int{},
			Notices:    map[NoticeKind]NoticeCount{},
			Formats:    map[string]*Share{},
			Exchanges:  map[string]*Share{},
		},
		creatives: map[[2]string]*Share{},
		latency:   hdrhistogram.New(1, 60_000_000, 3),
	}
}

func share(of map[string]*Share, name string) *Share {
	s := of[name]
	if s == nil {
		s = &Share{}
		of[name] = s
	}
	return s
}

func (t *tally) creative(cid, crid string) *Share {
	key := [2]string{cid, crid}
	s := t.creatives[key]
	if s == nil {
		if len(t.creatives) >= maxShares {
			key = [2]string{"(others)", "(others)"}
			if s = t.creatives[key]; s != nil {
				return s
			}
		}
		s = &Share{CID: key[0], CRID: key[1]}
		t.creatives[key] = s
	}
	return s
}

// outcome is what became of one auction.
type outcome struct {
	offer      *Offer
	latency    time.Duration
	problem    string // why there was no usable answer, empty when there was
	late       bool
	contenders []contender
	views      []view // of the impressions won
}

// add counts one auction.
func (t *tally) add(o *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.card
	c.Auctions++
	c.Requests += flagged(o.problem != "connect")
	c.Imps += len(o.offer.Slots)
	exchange := share(c.Exchanges, o.offer.Exchange)
	exchange.Auctions++
	if o.latency > 0 {
		// The histogram ends at a minute, longer than any request may take.
		_ = t.latency.RecordValue(o.latency.Microseconds())
	}
	switch {
	case o.problem != "":
		c.Errors[o.problem]++
		return
	case o.late:
		c.Late++
		return
	case len(o.contenders) == 0:
		c.NoBids++
		return
	}
	c.Answered++
	c.Bids += len(o.contenders)
	exchange.Bids += len(o.contenders)
	for i := range o.contenders {
		b := &o.contenders[i]
		if b.violation != "" {
			c.Violations[b.violation]++
		}
		if b.loss != lossNone {
			c.Losses[strconv.Itoa(b.loss)]++
		}
		t.creative(b.bid.CID, b.bid.CRID).Bids++
		share(c.Formats, b.ad.Media.String()).Bids++
	}
	for i := range o.views {
		v := &o.views[i]
		c.Wins++
		c.Conversions += flagged(v.converted)
		for _, s := range []*Share{t.creative(v.won.bid.CID, v.won.bid.CRID), share(c.Formats, v.won.ad.Media.String()), exchange} {
			s.Wins++
			if v.shown {
				s.Impressions++
				s.Clicks += flagged(v.clicked)
				s.spent += v.won.clearing
			}
		}
		if v.shown {
			c.Impressions++
			c.Clicks += flagged(v.clicked)
			t.spent += v.won.clearing
		}
	}
}

// notice counts one copy of a notice that was called.
func (t *tally) notice(kind NoticeKind, err error) {
	t.count(kind, func(c *NoticeCount) {
		c.Sent++
		c.Failed += flagged(err != nil)
	})
}

// retried counts a call that is made once more.
func (t *tally) retried(kind NoticeKind) { t.count(kind, func(c *NoticeCount) { c.Retried++ }) }

// drawn counts the fate of a notice.
func (t *tally) drawn(kind NoticeKind, trips []trip) {
	late := 0
	for i := range trips {
		late += flagged(trips[i].late)
	}
	if len(trips) == 1 && late == 0 {
		return
	}
	t.count(kind, func(c *NoticeCount) {
		c.Lost += flagged(len(trips) == 0)
		c.Duplicate += flagged(len(trips) == 2)
		c.Late += late
	})
}

func (t *tally) count(kind NoticeKind, change func(c *NoticeCount)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.card.Notices[kind]
	change(&c)
	t.card.Notices[kind] = c
}

func flagged(is bool) int {
	if is {
		return 1
	}
	return 0
}

// finish returns the scorecard of a run that took this long.
func (t *tally) finish(took time.Duration) *Scorecard {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.card
	c.Seconds = took.Seconds()
	c.BidRate = ratio(c.Answered, c.Auctions)
	c.WinRate = ratio(c.Wins, c.Bids)
	c.CTR = ratio(c.Clicks, c.Impressions)
	c.LateRate = ratio(c.Late, c.Auctions)
	c.Spend, c.AvgCPM = t.spent.String(), averageCPM(t.spent, c.Impressions)
	c.P50 = float64(t.latency.ValueAtQuantile(50)) / 1000
	c.P99 = float64(t.latency.ValueAtQuantile(99)) / 1000
	c.Max = float64(t.latency.Max()) / 1000
	c.Creatives = sortedShares(t.creatives)
	for _, shares := range []map[string]*Share{c.Formats, c.Exchanges} {
		for _, s := range shares {
			s.Spend = s.spent.String()
		}
	}
	return &c
}

// sortedShares lists the dearest first.
func sortedShares(shares map[[2]string]*Share) []Share {
	list := make([]Share, 0, len(shares))
	for _, s := range shares {
		s.Spend = s.spent.String()
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.spent, a.spent), cmp.Compare(b.Bids, a.Bids),
			cmp.Compare(a.CID, b.CID), cmp.Compare(a.CRID, b.CRID))
	})
	return list
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func averageCPM(spent rtb.Money, impressions int) string {
	if impressions == 0 {
		return "0"
	}
	return string((spent / rtb.Money(impressions)).AppendCPM(nil))
}
