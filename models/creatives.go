package models

import (
	"math"
	"sync/atomic"

	"bidwell/rtb"
)

// Creatives knows how much better or worse than predicted the creatives do,
// and draws from what it knows: Thompson sampling (Thompson 1933; Chapelle and
// Li, "An Empirical Evaluation of Thompson Sampling", NIPS 2011).
//
// The click model gives a probability p for each creative in its context. What
// it has not learned yet, or cannot express, is a ratio beside it: the clicks
// of the creative over those that its p promised. The ratio has a Gamma
// posterior, for each of a few cells of the audience one: clicks are Poisson
// with the mean ratio times expected clicks, and the Gamma is conjugate to
// that. A cell begins with what the other cells know, as far as that is worth
// cellPrior expected clicks, and all begin at a ratio of 1.
//
// One goroutine may call Learn, Publish, MarshalBinary and UnmarshalBinary;
// anybody may call the other methods at any time.
type Creatives struct {
	current atomic.Pointer[posteriors]
	tallies map[rtb.CreativeID]*tally
}

// Cells is how many parts the audience has, see [CellOf].
const Cells = 8

const (
	// ratioPrior is how many expected clicks the belief that a cold creative
	// does as predicted is worth: its draws differ by a third.
	ratioPrior = 8
	// cellPrior is how many the belief that a cell is like the others is worth.
	cellPrior = 20
	// cellMemory is how many are remembered of a cell; older ones fade, so that
	// the ratio follows a creative that wears out, and a model that has learned
	// what the ratio stood for.
	cellMemory = 400
	// maxTallies is of how many creatives tallies are kept, twice as many until
	// there is a Publish. Those with the least expected clicks go first.
	maxTallies = 100_000
)

// tally is what a creative was promised and got, by cell.
type tally struct {
	clicks, expected [Cells]float64
}

// posterior is the Gamma distribution of one ratio, in the form that it is
// drawn from: by Wilson and Hilferty the cube root of a Gamma variable is close
// to normal, with this mean and deviation.
type posterior struct {
	mean        float32 // of the ratio itself
	root, width float32 // of its cube root, that of the mean being 1
}

// posteriors are the published ratios: a table by creative, which does not
// change.
type posteriors struct {
	keys    []rtb.CreativeID // zero where the table is empty; a power of two long
	entries [][Cells]posterior
	prior   posterior
}

// NewCreatives returns one that knows nothing.
func NewCreatives() *Creatives {
	c := &Creatives{tallies: map[rtb.CreativeID]*tally{}}
	c.Publish()
	return c
}

// Learn takes one impression of a creative whose click was predicted with the
// probability p. Bids do not see it before the next Publish.
func (c *Creatives) Learn(creative rtb.CreativeID, cell uint8, p float64, click bool) {
	if creative == 0 || !(p > 0 && p <= 1) {
		return
	}
	t := c.tallies[creative]
	if t == nil {
		if len(c.tallies) >= 2*maxTallies {
			c.forget()
		}
		t = &tally{}
		c.tallies[creative] = t
	}
	i := cell % Cells
	keep := 1 - p/cellMemory
	t.expected[i] = t.expected[i]*keep + p
	t.clicks[i] *= keep
	if click {
		t.clicks[i]++
	}
}

// Labelled takes a labelled impression as a [Learner] tells of it.
func (c *Creatives) Labelled(e *Lesson, clicked bool) {
	var hashes [rtb.MaxFeatures]uint32
	c.Learn(e.Creative, CellOf(e.Features.Append(hashes[:0])), float64(e.CTR), clicked)
}

// Publish makes bids draw from all that was learned.
func (c *Creatives) Publish() {
	c.forget()
	size := 2
	for size < 2*len(c.tallies) {
		size *= 2
	}
	next := &posteriors{
		keys: make([]rtb.CreativeID, size), entries: make([][Cells]posterior, size),
		prior: posteriorOf(ratioPrior, ratioPrior),
	}
	for id, t := range c.tallies {
		i := next.place(id)
		next.keys[i] = id
		t.posteriors(&next.entries[i])
	}
	c.current.Store(next)
}

// forget drops the tallies that know least until there are few enough.
func (c *Creatives) forget() {
	for least := 1.0 / 16; len(c.tallies) > maxTallies; least *= 2 {
		for id, t := range c.tallies {
			if sum(&t.expected) < least {
				delete(c.tallies, id)
			}
		}
	}
}

func (t *tally) posteriors(out *[Cells]posterior) {
	clicks, expected := sum(&t.clicks), sum(&t.expected)
	for i := range out {
		// What the others know, without the cell's own clicks: these count once.
		shape := ratioPrior + max(0, clicks-t.clicks[i])
		rate := ratioPrior + max(0, expected-t.expected[i])
		part := min(1, cellPrior/rate)
		out[i] = posteriorOf(part*shape+t.clicks[i], part*rate+t.expected[i])
	}
}

func sum(cells *[Cells]float64) (s float64) {
	for _, v := range cells {
		s += v
	}
	return s
}

func posteriorOf(shape, rate float64) posterior {
	shape = max(shape, 0.1) // of a creative that nobody ever clicks
	return posterior{
		mean: float32(shape / rate), root: float32(1 - 1/(9*shape)), width: float32(1 / (3 * math.Sqrt(shape))),
	}
}

// place is where id is, or would be put.
func (p *posteriors) place(id rtb.CreativeID) int {
	mask := uint32(len(p.keys) - 1)
	i := uint32(id) * 0x9E3779B9 >> 7 & mask
	for p.keys[i] != 0 && p.keys[i] != id {
		i = (i + 1) & mask
	}
	return int(i)
}

func (p *posteriors) of(id rtb.CreativeID, cell uint8) *posterior {
	if i := p.place(id); p.keys[i] != 0 {
		return &p.entries[i][cell%Cells]
	}
	return &p.prior
}

// draw is a value of the ratio; coin is random.
func (p *posterior) draw(coin uint64) float64 {
	root := p.root + p.width*normal(coin)
	return float64(p.mean * max(0, root*root*root))
}

// normal is close to a normal variable: the sum of four uniform ones. It has
// no tails beyond 3.4 deviations, which nobody misses here.
func normal(coin uint64) float32 {
	const mean, deviation = 4 * 32767.5, 37837.23 // of the sum: 65536 / √3
	n := coin&0xFFFF + coin>>16&0xFFFF + coin>>32&0xFFFF + coin>>48
	return (float32(n) - mean) / deviation
}

// Mean returns p times the mean of the creative's ratio.
func (c *Creatives) Mean(creative rtb.CreativeID, cell uint8, p float64) float64 {
	return p * float64(c.current.Load().of(creative, cell).mean)
}

// Option is a creative that might be shown. Choose fills in what follows P.
type Option struct {
	Creative rtb.CreativeID
	P        float64 // what the click model says

	Mean float64 // P times the mean of the creative's ratio
	Draw float64 // P times a draw of it
}

// Choice says how a creative was chosen.
type Choice uint8

// The ways to choose.
const (
	ChoseBest  Choice = iota // it has the highest draw and the highest mean
	ChoseDraw                // it has the highest draw, another one the highest mean: exploration
	HeldToBest               // another one had the highest draw, but exploration costs enough already
)

// Choose draws for each of the options, one at least, and returns the one to
// show: that with the highest draw, unless it is held back. One with a P of zero
// is shown only if all have that.
//
// What exploration may cost is limited by share, as a part of the clicks that
// always showing the best mean would bring, and so of what is paid for them. A
// draw that gives up the part l of the best mean is followed with the
// probability share/l, or always where l is less. So every bid gives up share
// at most in expectation, whatever happened before, on every machine: nothing
// has to be counted or agreed on. Creatives that are nearly as good are tried
// freely, and bad ones rarely.
func (c *Creatives) Choose(options []Option, cell uint8, coin uint64, share float64) (chosen int, how Choice) {
	now := c.current.Load()
	best, drawn := 0, 0
	for i := range options {
		o := &options[i]
		p := now.of(o.Creative, cell)
		o.Mean = o.P * float64(p.mean)
		o.Draw = o.P * p.draw(mix(coin^key0, uint64(o.Creative)^key1))
		if o.Mean > options[best].Mean {
			best = i
		}
		if o.Draw > options[drawn].Draw || o.P > 0 && !(options[drawn].P > 0) { // a draw may be zero, too
			drawn = i
		}
	}
	if drawn == best {
		return best, ChoseBest
	}
	if !Affords(options[best].Mean, options[drawn].Mean, share, coin) {
		return best, HeldToBest
	}
	return drawn, ChoseDraw
}

// Affords says whether what is drawn may be followed in place of the best.
func Affords(best, drawn, share float64, coin uint64) bool {
	return (best-drawn)*unit(mix(coin^key2, key1)) <= share*best
}

// Doubt is a draw of the creative's ratio over its mean. Between line items it is
// the model that says which is better, and learns it: the mean, which remembers
// what the model did not know in the past, would count that twice. With the same
// coin it is the draw that Choose makes. It takes no lock and does not allocate.
func (c *Creatives) Doubt(creative rtb.CreativeID, cell uint8, coin uint64) float64 {
	p := c.current.Load().of(creative, cell)
	return p.draw(mix(coin^key0, uint64(creative)^key1)) / float64(p.mean)
}

// unit is a number from 0 to 1.
func unit(coin uint64) float64 { return float64(coin>>11) / (1 << 53) }

// CellOf is the part of the audience that an impression with these features
// belongs to: zero for users without segments, else one of the others by the
// first segment of the profile. Bid and training see the same features, and so
// the same cell.
func CellOf(hashes []uint32) uint8 {
	// Each segment is a feature, and the first few are crossed with the creative.
	segments := len(hashes) - contextFeatures - candidateFeatures
	if segments <= 0 {
		return 0
	}
	first := hashes[contextFeatures] & (1<<rtb.FeatureBits - 1) // as much as the log keeps
	return uint8(1 + mix(uint64(first)^key0, key2)%(Cells-1))
}
