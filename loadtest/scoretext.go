package loadtest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"bidwell/rtb"
)

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
	for _, kind := range NoticeKinds {
		if n := c.Notices[kind]; n != (NoticeCount{}) {
			p.linef("notice       %-10s %d sent, %d failed%s", kind, n.Sent, n.Failed, n.fates())
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
	c.writeTruth(p)
	return p.err
}

// writeTruth writes what the simulator alone knows.
func (c *Scorecard) writeTruth(p *printer) {
	var charged, delivered, unsure rtb.Money
	for i := range c.Truth {
		charged, delivered, unsure = charged+c.Truth[i].charged, delivered+c.Truth[i].delivered, unsure+c.Truth[i].unsure
	}
	p.linef("truth        charged %s with fees, of which notices told %s, and perhaps %s", charged, delivered, unsure)
	for _, per := range slices.Sorted(maps.Keys(c.Frequency)) {
		f := c.Frequency[per]
		p.linef("caps         per %s: %d impressions beyond the cap, %d of them the bidder had to know of", per, f.Over, f.Faults)
	}
	if o := c.Oracle; o.Bought > 0 {
		p.linef("oracle       %.2f clicks to be expected, %.2f for one who knows all: %.4f (%d offers, %d bought)", o.Clicks, o.Best, o.Ratio, o.Offers, o.Bought)
	}
	if c.Books != nil {
		c.Books.writeText(p)
	}
	if c.Surplus != nil {
		c.Surplus.writeText(p)
	}
	if c.Calibration != nil {
		c.Calibration.writeText(p)
	}
	if c.Shading != nil {
		c.Shading.writeText(p)
	}
}

// fates is what befell notices, where anything did.
func (n NoticeCount) fates() (text string) {
	for _, part := range []struct {
		count int
		what  string
	}{{n.Retried, "tried again"}, {n.Lost, "lost"}, {n.Late, "late"}, {n.Duplicate, "twice"}} {
		if part.count > 0 {
			text += fmt.Sprintf(", %d %s", part.count, part.what)
		}
	}
	return text
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
