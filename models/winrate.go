package models

import (
	"math"

	"bidwell/rtb"
)

// Prices are counted in bins, 32 to an octave, so that each is some 2 % wide.
const (
	octaveBits  = 5
	priceBins   = 512
	worthSteps  = 256 // of the table of bids: 16 to an octave
	worthBins   = 32  // of the curves by worth: two to an octave
	stepBins    = priceBins / worthSteps
	classBins   = priceBins / worthBins
	floorBins   = priceBins / 256
	lowestPrice = rtb.Money(1 << 11) // a CPM of 0.002
)

var firstBin = int(math.Float64bits(float64(lowestPrice)) >> (52 - octaveBits))

// priceBin is the bin of a price: the bits of a float are close to its
// logarithm.
func priceBin(price rtb.Money) int {
	return max(0, min(priceBins-1, int(math.Float64bits(float64(price))>>(52-octaveBits))-firstBin))
}

// binEdge is the lowest price of a bin.
func binEdge(bin int) float64 {
	return math.Float64frombits(uint64(firstBin+bin) << (52 - octaveBits))
}

// FloorBucket is one of 256 classes of floors, 16 to an octave, so that each
// usual floor has one of its own. Zero is no floor, or one that hardly counts.
func FloorBucket(floor rtb.Money) uint8 { return uint8(priceBin(floor) / floorBins) }

// curveKey names a curve: its level, the exchange, the format, and the floor
// or the worth.
type curveKey uint32

const (
	rootKey   curveKey = 0
	levelOne  curveKey = 1 << 24 // of the exchange
	levelTwo  curveKey = 2 << 24 // and the format
	byFloor   curveKey = 3 << 24
	byWorth   curveKey = 4 << 24
	levelMask curveKey = 7 << 24
)

func exchangeKey(x rtb.ExchangeID) curveKey { return levelOne | curveKey(x)<<16 }

func formatKey(at ShadeContext) curveKey {
	return levelTwo | curveKey(at.Exchange)<<16 | curveKey(at.Format)<<8
}

func floorKey(at ShadeContext) curveKey {
	return formatKey(at)&^levelMask | byFloor | curveKey(at.Floor)
}

func worthKey(at ShadeContext, worth rtb.Money) curveKey {
	return formatKey(at)&^levelMask | byWorth | curveKey(priceBin(worth)/classBins)
}

// curve is what is known of how often bids win. Where the lowest price that
// would have won is known it counts that. Where only the winner is known, a win
// says no more than that the price was at most the bid, and a loss that it was
// higher (current status data); then it counts both by bid.
type curve struct {
	prices [priceBins]float32
	trials *trials // nil for none
	known  float64 // sum of prices
	fresh  float64 // weight since rates were estimated
	rates  *[priceBins]float32
	tops   [2][priceBins]rtb.Money // the highest price met in a bin, of late and before
}

type trials struct {
	wins, losses [priceBins]float32
	count        float64
}

func (c *curve) weight() float64 {
	if c.trials == nil {
		return c.known
	}
	return c.known + c.trials.count
}

func (c *curve) learn(o *Outcome, weight float64) {
	c.fresh += weight
	if o.MinToWin > 0 {
		bin := priceBin(o.MinToWin)
		// All that the floor alone would have won is one price.
		if low := int(o.At.Floor) * floorBins; bin < low+floorBins && o.At.Floor > 0 {
			bin = low
		} else if o.MinToWin > c.tops[0][bin] {
			c.tops[0][bin] = o.MinToWin
		}
		c.prices[bin] += float32(weight)
		c.known += weight
		return
	}
	if c.trials == nil {
		c.trials = new(trials)
	}
	c.trials.count += weight
	if bin := priceBin(o.Bid); o.Won {
		c.trials.wins[bin] += float32(weight)
	} else {
		c.trials.losses[bin] += float32(weight)
	}
}

func (c *curve) scale(by float64) {
	c.known *= by
	c.fresh *= by
	for i := range c.prices {
		c.prices[i] *= float32(by)
	}
	if t := c.trials; t != nil {
		t.count *= by
		for i := range t.wins {
			t.wins[i] *= float32(by)
			t.losses[i] *= float32(by)
		}
	}
	c.tops[1], c.tops[0] = c.tops[0], [priceBins]rtb.Money{}
}

// estimate is how often a price at the top of each bin wins, given what is
// known without this curve. Known prices give the part of them that is lower;
// from trials comes by how much more often bids of about that price have won
// than was to be expected: one step of a local logistic regression.
func (c *curve) estimate(above *[priceBins]float32, trust, one float64) *[priceBins]float32 {
	rates := new([priceBins]float32)
	trust *= one
	sum := 0.0
	for i := range rates {
		sum += float64(c.prices[i])
		rates[i] = float32((sum + trust*float64(above[i])) / (c.known + trust))
	}
	if c.trials != nil && c.trials.count > 0 {
		c.trials.correct(rates, trust/4)
	}
	rising(rates)
	return rates
}

// reach is how far trials count for other prices, in bins to either side.
const reach = 6

func (t *trials) correct(rates *[priceBins]float32, trust float64) {
	var score, information [priceBins]float64
	for i := range rates {
		n := float64(t.wins[i] + t.losses[i])
		if n == 0 {
			continue
		}
		p := min(1-1e-4, max(1e-4, float64(rates[i])))
		u, v := float64(t.wins[i])-n*p, n*p*(1-p)
		for k := max(0, i-reach); k <= min(priceBins-1, i+reach); k++ {
			w := 1 - math.Abs(float64(k-i))/(reach+1)
			score[k] += w * u
			information[k] += w * v
		}
	}
	// Where nobody has bid the correction is that of the nearest bids.
	shift, at := [priceBins]float64{}, -1
	for i := range rates {
		if information[i] == 0 {
			if at >= 0 {
				shift[i] = shift[at]
			}
			continue
		}
		shift[i] = max(-1.5, min(1.5, score[i]/(information[i]+trust/4)))
		if at < 0 {
			for k := range i {
				shift[k] = shift[i]
			}
		}
		at = i
	}
	for i := range rates {
		rates[i] = float32(sigmoid(logOdds(float64(rates[i])) + shift[i]))
	}
}

// rising pools neighbours until no price wins less often than a lower one.
func rising(rates *[priceBins]float32) {
	var sums [priceBins]float64
	var counts [priceBins]int
	n := 0
	for _, r := range rates {
		sums[n], counts[n] = float64(r), 1
		n++
		for n > 1 && sums[n-2]*float64(counts[n-1]) > sums[n-1]*float64(counts[n-2]) {
			sums[n-2] += sums[n-1]
			counts[n-2] += counts[n-1]
			n--
		}
	}
	i := 0
	for k := range n {
		for range counts[k] {
			rates[i] = float32(sums[k] / float64(counts[k]))
			i++
		}
	}
}

func logOdds(p float64) float64 {
	return logit(min(1-1e-6, max(1e-6, p)))
}

// fit is the logistic curve in the logarithm of the price that goes with
// trials best; the base of all curves where prices are not told.
func (t *trials) fit() *[priceBins]float32 {
	const centre, prior = priceBins / 2, 2.0
	const unit = 32.0 // bins: an octave
	a, k := 0.0, 2.0
	for range 30 {
		ga, gk := -prior*0.01*a, -prior*(k-2)
		haa, hak, hkk := prior*0.01, 0.0, prior
		for i := range t.wins {
			n := float64(t.wins[i] + t.losses[i])
			if n == 0 {
				continue
			}
			x := (float64(i) + 0.5 - centre) / unit
			p := sigmoid(a + k*x)
			u, v := float64(t.wins[i])-n*p, n*max(1e-6, p*(1-p))
			ga, gk = ga+u, gk+u*x
			haa, hak, hkk = haa+v, hak+v*x, hkk+v*x*x
		}
		det := haa*hkk - hak*hak
		if det <= 0 {
			break
		}
		da, dk := (ga*hkk-gk*hak)/det, (gk*haa-ga*hak)/det
		a, k = a+max(-3, min(3, da)), max(0.2, min(20, k+max(-1, min(1, dk))))
	}
	rates := new([priceBins]float32)
	for i := range rates {
		rates[i] = float32(sigmoid(a + k*(float64(i)+1-centre)/unit))
	}
	return rates
}
