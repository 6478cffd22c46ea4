package loadtest

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
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
}

// NoticeCount is how many notices of a kind were sent, those that failed
// included.
type NoticeCount struct {
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
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

// notice counts one call.
func (t *tally) notice(kind NoticeKind, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.card.Notices[kind]
	c.Sent++
	c.Failed += flagged(err != nil)
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

// moment is what the progress line needs of a tally.
type moment struct {
	auctions, answered, bids, wins, impressions, clicks int
	spent                                               rtb.Money
}

func (t *tally) moment() moment {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.card
	return moment{c.Auctions, c.Answered, c.Bids, c.Wins, c.Impressions, c.Clicks, t.spent}
}

// printProgress writes one line for people: what the last second was like, and
// what the whole run has come to.
func printProgress(w io.Writer, elapsed time.Duration, last, now moment) {
	fmt.Fprintf(w, "%5s  %d req/s  %.0f%% bid  %.0f%% won   total %s  CPM %.2f  CTR %.2f%%\n",
		elapsed.Round(time.Second), now.auctions-last.auctions,
		100*ratio(now.answered-last.answered, now.auctions-last.auctions),
		100*ratio(now.wins-last.wins, now.bids-last.bids),
		dollars(now.spent),
		now.spent.CPM()/float64(max(now.impressions, 1)),
		100*ratio(now.clicks, now.impressions))
}

// dollars is an amount for people. The market's currency is the US dollar.
func dollars(m rtb.Money) string {
	decimals := 2
	if m > 0 && m < rtb.Unit {
		decimals = 4
	}
	return "$" + strconv.FormatFloat(float64(m)/float64(rtb.Unit), 'f', decimals, 64)
}

// spentText is the exact amount of a scorecard for people.
func spentText(exact string) string {
	m, err := rtb.ParseMoney(exact)
	if err != nil {
		return exact
	}
	return dollars(m)
}

// cpmText is the exact CPM of a scorecard for people.
func cpmText(exact string) string {
	m, err := rtb.ParseCPM(exact)
	if err != nil {
		return exact
	}
	return strconv.FormatFloat(m.CPM(), 'f', 2, 64)
}

// counted is "1 click" or "2 clicks".
func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// String is what [Scorecard.WriteText] writes.
func (c *Scorecard) String() string {
	var text strings.Builder
	if err := c.WriteText(&text); err != nil { // a builder takes everything
		panic(err)
	}
	return text.String()
}

// WriteText writes the scorecard for people.
func (c *Scorecard) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.linef("auctions     %d in %.1f s (%.0f/s), %s on offer", c.Auctions, c.Seconds, float64(c.Auctions)/max(c.Seconds, 1e-9), counted(c.Imps, "impression"))
	p.linef("bids         %d, in %.1f%% of the auctions", c.Bids, 100*c.BidRate)
	p.linef("wins         %d, %.1f%% of the bids; %d shown", c.Wins, 100*c.WinRate, c.Impressions)
	p.linef("spend        %s, average CPM %s", spentText(c.Spend), cpmText(c.AvgCPM))
	p.linef("clicks       %d, CTR %.2f%%, %s", c.Clicks, 100*c.CTR, counted(c.Conversions, "conversion"))
	p.linef("answers      p50 %.2f ms, p99 %.2f ms, max %.2f ms, late %d (%.2f%%)", c.P50, c.P99, c.Max, c.Late, 100*c.LateRate)
	p.counts("error", c.Errors)
	p.counts("violation", c.Violations)
	for _, code := range slices.Sorted(maps.Keys(c.Losses)) {
		p.linef("lost         %s %s: %d", code, lossNames[code], c.Losses[code])
	}
	for _, kind := range []NoticeKind{NoticeWin, NoticeBill, NoticeLoss, NoticeImpression, NoticeClick, NoticeVideo} {
		if n := c.Notices[kind]; n.Sent > 0 {
			p.linef("notice       %-10s %d sent, %d failed", kind, n.Sent, n.Failed)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Exchanges)) {
		s := c.Exchanges[name]
		p.linef("exchange     %-10s %s, %s, %s, spend %s", name,
			counted(s.Auctions, "auction"), counted(s.Bids, "bid"), counted(s.Wins, "win"), spentText(s.Spend))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Formats)) {
		p.linef("format       %-10s %s", name, c.Formats[name].text())
	}
	for i := range c.Creatives {
		s := &c.Creatives[i]
		if i == 20 {
			p.linef("creative     and %d more", len(c.Creatives)-i)
			break
		}
		p.linef("creative     %s of %s: %s", s.CRID, s.CID, s.text())
	}
	return p.err
}

func (s *Share) text() string {
	return fmt.Sprintf("%s, %s, %s, spend %s", counted(s.Bids, "bid"), counted(s.Wins, "win"), counted(s.Clicks, "click"), spentText(s.Spend))
}

// printer keeps the first error of writing.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) linef(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) counts(what string, counts map[string]int) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		p.linef("%-12s %s: %d", what, name, counts[name])
	}
}
