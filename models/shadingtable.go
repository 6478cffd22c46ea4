package models

import (
	"maps"
	"math"

	"bidwell/rtb"
)

// A format is what all floors of one exchange and format share: how much more
// often bids win than on average that are worth so much, or of late.
type format struct {
	drift  *[priceBins]float32 // by price, nil for none; in logits of the win rate
	shifts [worthBins]*[priceBins]float32
	prices *[priceBins]rtb.Money // to bid for each bin
}

// leaf is what to bid for all that is worth so much, in one context.
type leaf struct {
	bins   [worthSteps]uint16    // of prices; zero for the floor
	prices *[priceBins]rtb.Money // the price to bid for a bin
	logits *[priceBins]float32   // of the win rate
	shifts *[worthBins]*[priceBins]float32
	blind  bool // few auctions told what would have won
}

func (l *leaf) price(worth, floor rtb.Money) rtb.Money {
	price := l.prices[l.bins[priceBin(worth)/stepBins]]
	return max(floor, min(price, worth))
}

func (l *leaf) winRate(worth, price rtb.Money) float64 {
	bin := priceBin(price)
	x := l.logits[bin]
	if s := l.shifts[priceBin(worth)/classBins]; s != nil {
		x += s[bin]
	}
	return sigmoid(float64(x))
}

const (
	refresh = 0.04 // a curve is estimated anew when so much of it is new

	// Before anything is known a bid is lowered by some 30 %: what wins is taken
	// to be log-logistic, of the fourth power.
	priorTrust  = 20.0 // auctions
	priorCentre = 0.75 // of its worth: a bid that wins every other auction
	mostShift   = 3.0  // of a logit, by worth or of late
	driftTrust  = 10.0 // times as much as other curves: chance must not look like drift
)

// Publish lets bids be shaded by what was learned until now. Only what has
// learned much since the last time is computed anew, so it may be called once
// a second.
func (s *Shader) Publish() {
	one := math.Exp2(s.now.Sub(s.since).Hours() / s.cfg.HalfLife.Hours())
	next := &shadeTables{leaves: s.leaves, savings: s.savings()}
	changed := map[curveKey]*leaf{}
	root := s.curves[rootKey]
	if root == nil {
		if s.leaves[rootKey] == nil {
			changed[rootKey] = s.leaf(new([priceBins]float32), &format{prices: s.tops(nil)}, 0, 0, true)
		}
	} else if root.stale() || s.leaves[rootKey] == nil || root.rates == nil {
		base := new([priceBins]float32)
		for i := range base {
			base[i] = 0.5
		}
		if root.trials != nil {
			base = root.trials.fit()
		}
		root.refresh(base, s.cfg.Trust, one)
		changed[rootKey] = s.leaf(root.rates, &format{prices: s.tops(root)}, 0, root.weight()/one, root.blind())
	}
	// Parents before their children: keys rise with the level.
	for _, level := range [...]curveKey{levelOne, levelTwo, byWorth, byFloor} {
		for key, c := range s.curves {
			if key&levelMask != level || !c.stale() && c.rates != nil {
				continue
			}
			switch level {
			case levelOne:
				c.refresh(root.rates, s.cfg.Trust, one)
				changed[key] = s.leaf(c.rates, &format{prices: s.tops(c)}, 0, s.familiar(c, root)/one, c.blind())
			case levelTwo:
				c.refresh(s.above(key).rates, s.cfg.Trust, one)
				f := s.format(key, c)
				changed[key] = s.leaf(c.rates, f, 0, s.familiar(c, root)/one, c.blind())
			case byWorth:
				parent := s.above(key)
				c.refresh(parent.rates, s.cfg.Trust, one)
				if f := s.formats[levelTwo|key&0xffff00]; f != nil {
					f.shift(int(key&0xff), c, parent)
				}
			case byFloor:
				parent := s.above(key)
				c.refresh(parent.rates, s.cfg.Trust, one)
				f := s.formats[levelTwo|key&0xffff00]
				if f == nil { // there was no room for its curve
					f = &format{prices: s.tops(parent)}
				}
				changed[key] = s.leaf(c.rates, f, int(key&0xff)*floorBins, s.familiar(c, parent)/one, c.blind())
			}
		}
	}
	if len(changed) > 0 {
		next.leaves = maps.Clone(s.leaves)
		maps.Copy(next.leaves, changed)
		s.leaves = next.leaves
	}
	s.live.Store(next)
}

// stale says that enough is new for rates to be estimated again.
func (c *curve) stale() bool { return c.fresh > refresh*c.weight() }

func (c *curve) refresh(above *[priceBins]float32, trust, one float64) {
	c.rates = c.estimate(above, trust, one)
	c.fresh = 0
}

// blind says that mostly nobody tells what would have won.
func (c *curve) blind() bool { return c.trials != nil && c.trials.count > c.known }

// above is the closest curve that is kept above the one of a key.
func (s *Shader) above(key curveKey) *curve {
	if key&levelMask > levelTwo {
		if c := s.curves[levelTwo|key&0xffff00]; c != nil {
			return c
		}
	}
	if c := s.curves[levelOne|key&0xff0000]; c != nil {
		return c
	}
	return s.curves[rootKey]
}

// familiar is what is known of a curve, with a part of what is known beside it.
func (s *Shader) familiar(c, beside *curve) float64 { return c.weight() + beside.weight()/20 }

// tops are the prices to bid for each bin: the highest that was met in it, for
// many bid round amounts, or its middle.
func (s *Shader) tops(c *curve) *[priceBins]rtb.Money {
	prices := new([priceBins]rtb.Money)
	for i := range prices {
		if c != nil {
			prices[i] = max(c.tops[0][i], c.tops[1][i])
		}
		if prices[i] == 0 {
			prices[i] = rtb.Money((binEdge(i) + binEdge(i+1)) / 2)
		}
	}
	return prices
}

// format brings what floors share up to date.
func (s *Shader) format(key curveKey, c *curve) *format {
	f := &format{prices: s.tops(c)}
	if d := s.drifts[key]; d != nil {
		one := math.Exp2(s.now.Sub(s.since).Hours() / s.cfg.DriftLife.Hours())
		d.refresh(c.rates, driftTrust*s.cfg.Trust, one)
		f.drift = difference(d, c)
	}
	if old := s.formats[key]; old != nil {
		f.shifts = old.shifts
	}
	s.formats[key] = f
	return f
}

// shift notes how much more often bids win that are worth so much.
func (f *format) shift(class int, c, above *curve) {
	f.shifts[class] = difference(c, above)
}

// difference is by how much more often bids win by one curve than by another,
// in logits.
func difference(c, above *curve) *[priceBins]float32 {
	shift := new([priceBins]float32)
	for i := range shift {
		x := logOdds(float64(c.rates[i])) - logOdds(float64(above.rates[i]))
		shift[i] = float32(max(-mostShift, min(mostShift, x)))
	}
	return shift
}

func logits(rates *[priceBins]float32) *[priceBins]float32 {
	x := new([priceBins]float32)
	for i, r := range rates {
		x[i] = float32(logOdds(float64(r)))
	}
	return x
}

// leaf finds the best bid for all that an impression may be worth: of rates of
// a context in general, moved by what is known of the worth and of late, with
// what was assumed before anything was known.
func (s *Shader) leaf(rates *[priceBins]float32, f *format, floor int, known float64, blind bool) *leaf {
	shifts := f.shifts
	l := &leaf{prices: f.prices, logits: logits(rates), shifts: &shifts, blind: blind}
	if f.drift != nil {
		for i := range l.logits {
			l.logits[i] += f.drift[i]
		}
	}
	prior := priorTrust / (priorTrust + known)
	// All up to the end of the bucket of a floor is sold for the floor.
	first := floor
	if floor > 0 {
		first = floor + floorBins - 1
	}
	var wins [priceBins]float64
	plain := -1.0 // the last of wins, when they are those without a shift
	for class := range worthBins {
		if class*classBins+classBins <= floor {
			continue
		}
		// Most classes are never seen and share one curve.
		if shift, high := shifts[class], 0.0; shift != nil || plain != wins[priceBins-1] {
			for i := first; i < priceBins; i++ {
				x := float64(l.logits[i])
				if shift != nil {
					x += float64(shift[i])
				}
				high = max(high, sigmoid(x))
				wins[i] = high
			}
			if plain = -1; shift == nil {
				plain = high
			}
		}
		for step := class * classBins / stepBins; step < (class+1)*classBins/stepBins; step++ {
			worth := (binEdge(step*stepBins) + binEdge((step+1)*stepBins)) / 2
			best, at := 0.0, first
			for i := first; i < priceBins; i++ {
				price := float64(f.prices[i])
				if i == first && floor > 0 {
					price = binEdge(floor)
				}
				if worth-price <= best {
					break
				}
				w := wins[i]
				if prior > 1e-3 {
					x := price / (priorCentre * worth)
					x *= x
					w = (1-prior)*w + prior*(1-1/(1+x*x))
				}
				if gain := (worth - price) * w; gain > best {
					best, at = gain, i
				}
			}
			if at == first && floor > 0 {
				at = 0
			}
			l.bins[step] = uint16(at)
		}
	}
	return l
}
