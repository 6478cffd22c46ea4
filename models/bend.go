package models

import "math"

// A bend changes predictions before their mean is set right: a model may be too
// sure of itself, or not sure enough. The zero value changes nothing.
type bend struct {
	kind  bendKind
	a, b  float64              // Platt: the logit becomes a + b * logit
	steps *[bendPoints]float32 // isotonic: the logit at each point, between points on a line
}

type bendKind uint8

const (
	bendNone bendKind = iota
	bendPlatt
	bendIsotonic
	bendKinds
)

func (k bendKind) String() string { return [...]string{"none", "platt", "isotonic"}[k] }

// Predictions are summed up by their logit, 16 classes to each unit.
const (
	bendLow    = -14.0 // logit of the first class
	bendScale  = 16
	bendPoints = 17 * bendScale
)

// bendPosition is the class of a logit, with fraction.
func bendPosition(logit float64) float64 {
	return max(0, min((logit-bendLow)*bendScale, bendPoints-1))
}

func (c *bend) apply(p float64) float64 {
	switch c.kind {
	case bendPlatt:
		return clampProbability(sigmoid(c.a + c.b*logit(p)))
	case bendIsotonic:
		at := bendPosition(logit(p))
		i := min(int(at), bendPoints-2)
		low, high := float64(c.steps[i]), float64(c.steps[i+1])
		return clampProbability(sigmoid(low + (at-float64(i))*(high-low)))
	}
	return p
}

func logit(p float64) float64 { return math.Log(p / (1 - p)) }

// bendData is all that fitting a curve needs: examples and clicks by class of
// predicted logit, older ones counting less.
type bendData struct {
	rows, clicks [bendPoints]float64
	unit         float64 // what the next example counts; grows instead of all others shrinking
}

func (d *bendData) add(p float64, click bool, weight, keep float64) {
	if d.unit /= keep; !(d.unit >= 1) {
		d.unit = 1
	}
	if d.unit > 1e9 {
		for i := range d.rows {
			d.rows[i] /= d.unit
			d.clicks[i] /= d.unit
		}
		d.unit = 1
	}
	i := int(bendPosition(logit(p)) + 0.5)
	d.rows[i] += d.unit * weight
	if click {
		d.clicks[i] += d.unit * weight
	}
}

// totals are in examples, an old one counting for less than one.
func (d *bendData) totals() (rows, clicks float64) {
	for i := range d.rows {
		rows += d.rows[i]
		clicks += d.clicks[i]
	}
	unit := max(d.unit, 1)
	return rows / unit, clicks / unit
}

// platt fits a and b by Newton's method, held to 0 and 1 by a prior worth a
// few clicks (Platt 1999). It reports false when the data does not say.
func (d *bendData) platt() (bend, bool) {
	const priorA, priorB = 0.25, 20 // inverse variances
	unit := max(d.unit, 1)
	a, b := 0.0, 1.0
	for range 50 {
		ga, gb := priorA*a, priorB*(b-1)
		haa, hab, hbb := priorA, 0.0, float64(priorB)
		for i, n := range d.rows {
			if n == 0 {
				continue
			}
			x := bendLow + float64(i)/bendScale
			p := sigmoid(a + b*x)
			g, h := (n*p-d.clicks[i])/unit, n*p*(1-p)/unit
			ga += g
			gb += g * x
			haa += h
			hab += h * x
			hbb += h * x * x
		}
		det := haa*hbb - hab*hab
		if !(det > 0) {
			return bend{}, false
		}
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		// Steps are bounded: far from the answer the parabola misleads.
		if s := max(math.Abs(da)/4, math.Abs(db)/0.5); s > 1 {
			da, db = da/s, db/s
		}
		a, b = a-da, b-db
		if math.Abs(da) < 1e-9 && math.Abs(db) < 1e-9 {
			break
		}
	}
	if !(b >= 0.1 && b <= 5 && math.Abs(a) <= 20) {
		return bend{}, false
	}
	return bend{kind: bendPlatt, a: a, b: b}, true
}

// isotonic fits the best rising steps by pooling adjacent violators (Ayer et
// al. 1955), each pool drawn a little towards the whole, and joins the middles of the pools by
// lines.
func (d *bendData) isotonic() (bend, bool) {
	type pool struct {
		rows, clicks, x float64 // x is the sum of logits
	}
	unit := max(d.unit, 1)
	var pools []pool
	for i, n := range d.rows {
		if n == 0 {
			continue
		}
		n, clicks := n/unit, d.clicks[i]/unit
		pools = append(pools, pool{n, clicks, n * (bendLow + float64(i)/bendScale)})
		for k := len(pools) - 1; k > 0 && pools[k-1].clicks*pools[k].rows >= pools[k].clicks*pools[k-1].rows; k-- {
			pools[k-1].rows += pools[k].rows
			pools[k-1].clicks += pools[k].clicks
			pools[k-1].x += pools[k].x
			pools = pools[:k]
		}
	}
	if len(pools) < 3 {
		return bend{}, false
	}
	rows, clicks := d.totals()
	mean := clicks / rows
	c := bend{kind: bendIsotonic, steps: new([bendPoints]float32)}
	at, level := make([]float64, len(pools)), make([]float64, len(pools))
	for i, p := range pools {
		at[i] = p.x / p.rows
		level[i] = logit(clampProbability((p.clicks + mean*5) / (p.rows + 5)))
	}
	k := 0
	for i := range c.steps {
		x := bendLow + float64(i)/bendScale
		for k < len(pools)-1 && at[k+1] <= x {
			k++
		}
		switch {
		case x <= at[0]:
			c.steps[i] = float32(level[0])
		case k == len(pools)-1:
			c.steps[i] = float32(level[k])
		default:
			c.steps[i] = float32(level[k] + (x-at[k])/(at[k+1]-at[k])*(level[k+1]-level[k]))
		}
	}
	return c, true
}
