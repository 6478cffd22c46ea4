package models

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"bidwell/rtb"
)

// lags know how late conversions are, by campaign. Of the clicks of an hour ago
// not all that will convert have done so, and a prediction may only be held
// against those that could be heard of by now.
type lags struct {
	campaigns map[rtb.CampaignID]*lag // campaign zero is all of them
	recent    []recentClick           // a ring
	next      int                     // place of the next click in it
	at        map[rtb.BidID]int
}

const (
	lagBins      = 18   // by powers of two of minutes: 2^17 are 91 days
	lagPrior     = 5.0  // conversions that the delays of all campaigns count as
	lagShare     = 10.0 // conversions until a campaign's own factor counts as much as that of all
	recentClicks = 4096
)

// lag is what is known of one campaign.
type lag struct {
	Clicks, Converted uint64

	within [lagBins]float64 // the part of the conversions whose delay is in this bin or one before
	recent Recent           // as of the last table
}

// recentClick is one that the model is held against.
type recentClick struct {
	Bid       rtb.BidID
	Campaign  rtb.CampaignID
	Time      int64
	Converted bool
	Delay     int64 // of the conversion
	Features  rtb.Features
}

// usualDelays lie between those of Chapelle, Modeling Delayed Feedback in
// Display Advertising, 2014 (a third within the hour, half within a day, some
// after weeks) and those of app installs, of which nearly all come within
// hours. Nobody can know of delays longer than the log is.
var usualDelays = [lagBins]float64{.08, .07, .07, .07, .07, .07, .06, .06, .06, .06, .07, .08, .07, .05, .03, .02, .01}

func lagBin(seconds int64) int {
	return min(bits.Len64(uint64(max(0, seconds)/60)), lagBins-1)
}

func newLags() lags {
	return lags{campaigns: map[rtb.CampaignID]*lag{}, at: map[rtb.BidID]int{}}
}

func (g *lags) of(campaign rtb.CampaignID) *lag {
	l := g.campaigns[campaign]
	if l == nil {
		l = new(lag)
		g.campaigns[campaign] = l
	}
	return l
}

// click takes in a click.
func (g *lags) click(s *Lesson) {
	g.of(s.Campaign).Clicks++
	g.of(0).Clicks++
	c := recentClick{Bid: s.Bid, Campaign: s.Campaign, Time: s.Time, Features: s.Features}
	if len(g.recent) < recentClicks {
		g.recent = append(g.recent, c)
	} else {
		delete(g.at, g.recent[g.next].Bid)
		g.recent[g.next] = c
	}
	g.at[s.Bid] = g.next
	g.next = (g.next + 1) % recentClicks
}

// convert takes in the conversion of a click that was so many seconds ago.
func (g *lags) convert(s *Lesson, after int64) {
	for _, l := range [...]*lag{g.of(s.Campaign), g.of(0)} {
		l.Converted++
	}
	if i, ok := g.at[s.Bid]; ok {
		g.recent[i].Converted, g.recent[i].Delay = true, after
	}
}

// fit finds the delays. Of a click of an hour ago only delays up to an hour can
// have been seen, so short ones are seen too often; the product-limit estimator
// for such truncated data goes backwards from the longest (Lynden-Bell, 1971).
// Campaigns with few conversions get the delays of all, and those the usual.
func (g *lags) fit(now int64) {
	type seen struct{ at, least [lagBins]float64 } // delays in each bin; and by them, those whose click is too young for the bin
	counts := map[rtb.CampaignID]*seen{0: new(seen)}
	for i := range g.recent {
		c := &g.recent[i]
		if !c.Converted {
			continue
		}
		for _, campaign := range [...]rtb.CampaignID{0, c.Campaign} {
			s := counts[campaign]
			if s == nil {
				s = new(seen)
				counts[campaign] = s
			}
			s.at[lagBin(c.Delay)]++
			if age := lagBin(now - c.Time); age+1 < lagBins {
				s.least[age+1]++
			}
			if c.Campaign == 0 {
				break
			}
		}
	}
	estimate := func(s *seen, prior *[lagBins]float64) (within [lagBins]float64) {
		risk, young := 0.0, 0.0 // delays up to the bin, and those of them whose click is too young for it
		for j := range lagBins {
			risk += s.at[j] + lagPrior*prior[j]
			young += s.least[j]
		}
		part := 1.0
		for j := lagBins - 1; j >= 0; j-- {
			within[j] = part
			n := s.at[j] + lagPrior*prior[j]
			if r := risk - young; r > 0 {
				part *= max(0, 1-n/r)
			}
			risk -= n
			young -= s.least[j]
		}
		return within
	}
	all := g.of(0)
	all.within = estimate(counts[0], &usualDelays)
	var density [lagBins]float64
	for j, before := 0, 0.0; j < lagBins; j++ {
		density[j], before = all.within[j]-before, all.within[j]
	}
	for campaign, l := range g.campaigns {
		if s := counts[campaign]; campaign != 0 && s != nil {
			l.within = estimate(s, &density)
		} else {
			l.within = all.within
		}
	}
}

// matured is the part of the conversions that are heard of within so many
// seconds of the click.
func (l *lag) matured(seconds int64) float64 {
	seconds = max(0, seconds) // a clock may have been set back
	i, low, before := lagBin(seconds), int64(0), 0.0
	if i > 0 {
		low, before = 60<<(i-1), l.within[i-1]
	}
	return before + (l.within[i]-before)*min(1, float64(seconds-low)/float64(max(60, low)))
}

// table are the factors by which a model's conversion rates are too low. What
// it has learned says how clicks differ; how many convert at all is set by the
// recent ones: those that did, over those that should have by now by what was
// known before, which counts as lagShare conversions. The model's own level
// means nothing as long as clicks are young, for each was learned from as one
// without a conversion. Each campaign's factor is shrunk to that of all.
func (g *lags) table(now int64, rate, known func(f *rtb.Features) float64) *Calibration {
	if len(g.recent) == 0 {
		return nil
	}
	g.fit(now)
	var learned, before, due, converted float64
	for i := range g.recent {
		c := &g.recent[i]
		p := known(&c.Features)
		learned, before = learned+rate(&c.Features), before+p
		due += p * g.of(c.Campaign).matured(now-c.Time)
		if c.Converted {
			converted++
		}
	}
	global := clampLevel((converted + lagShare) / (due + lagShare) * before / learned)
	for _, l := range g.campaigns {
		l.recent = Recent{}
	}
	for i := range g.recent {
		c := &g.recent[i]
		l, p := g.of(c.Campaign), global*rate(&c.Features)
		l.recent.add(c.Converted, p, l.matured(now-c.Time))
	}
	t := &Calibration{global: float32(global)}
	all := Recent{}
	for _, campaign := range slices.SortedFunc(maps.Keys(g.campaigns), cmp.Compare[rtb.CampaignID]) {
		l := g.of(campaign)
		if r := &l.recent; r.Clicks > 0 && campaign != 0 {
			factor := clampLevel(global * (float64(r.Conversions) + lagShare) / (r.Due + lagShare))
			t.lines = append(t.lines, CalibrationLine{Campaign: uint32(campaign), Rows: l.Clicks, Clicks: l.Converted, Factor: float32(factor)})
			r.scale(factor / global)
		}
		all.Clicks, all.Conversions = all.Clicks+l.recent.Clicks, all.Conversions+l.recent.Conversions
		all.Due, all.Expected = all.Due+l.recent.Due, all.Expected+l.recent.Expected
	}
	g.of(0).recent = all
	t.index()
	return t
}

func (r *Recent) add(converted bool, rate, matured float64) {
	r.Clicks++
	if converted {
		r.Conversions++
	}
	r.Due += rate * matured
	r.Expected += rate
}

func (r *Recent) scale(factor float64) { r.Due, r.Expected = r.Due*factor, r.Expected*factor }

// clampLevel bounds what a few clicks may do.
func clampLevel(f float64) float64 { return max(2*minFactor, min(maxFactor/2, f)) }

// Maturity is the part of the conversions of a campaign that are heard of
// within the given delay of their click, in seconds, as of the last Model.
func (l *Learner) Maturity(campaign rtb.CampaignID, seconds int64) float64 {
	return l.lags.of(campaign).matured(seconds)
}
