package models

import "slices"

// forestConfig sets how a forest is grown.
type forestConfig struct {
	trees, depth int
	rate         float64 // of learning
	firmness     float64 // draws leaves to zero
	least        float64 // sum of p(1-p) in a leaf
	rows, inputs float64 // the share that one tree sees
}

// forest is a sum of small decision trees, each grown on what those before it
// left to explain (gradient boosting with second-order steps on binned
// inputs, Chen and Guestrin 2016). It does not learn online.
type forest struct {
	edges [][]float32 // by input, rising: the bin of v is how many are not above it
	trees []tree
	base  float64
}

// tree is full: node i has the children 2i+1 and 2i+2.
type tree struct {
	input []int16 // -1 at a leaf
	bin   []uint8 // bins up to this one go left
	value []float32
}

const forestBins = 48

// bins cuts each input at its quantiles. The rows are of inputs numbers each.
func newBins(rows []float32, inputs int) [][]float32 {
	n := len(rows) / inputs
	edges := make([][]float32, inputs)
	values := make([]float32, 0, min(n, 20_000))
	step := max(1, n/20_000)
	for k := range edges {
		values = values[:0]
		for i := 0; i < n; i += step {
			values = append(values, rows[i*inputs+k])
		}
		slices.Sort(values)
		var e []float32
		for b := 1; b < forestBins; b++ {
			v := values[len(values)*b/forestBins]
			if v > values[0] && (len(e) == 0 || v > e[len(e)-1]) {
				e = append(e, v)
			}
		}
		edges[k] = e
	}
	return edges
}

func bin(edges []float32, v float32) uint8 {
	low, high := 0, len(edges)
	for low < high {
		if at := (low + high) / 2; edges[at] <= v {
			low = at + 1
		} else {
			high = at
		}
	}
	return uint8(low)
}

// growForest grows on rows of inputs numbers each. After each tree it asks
// more whether to go on.
func growForest(rows []float32, inputs int, labels []bool, cfg forestConfig, more func(f *forest) bool) *forest {
	n := len(labels)
	f := &forest{edges: newBins(rows, inputs)}
	binned := make([][]uint8, inputs)
	for k := range binned {
		binned[k] = make([]uint8, n)
		for i := range n {
			binned[k][i] = bin(f.edges[k], rows[i*inputs+k])
		}
	}
	clicks := 0.0
	for _, y := range labels {
		clicks += float64(flag(y))
	}
	f.base = logit(clampProbability((clicks + 0.5) / (float64(n) + 1)))

	g := grower{f: f, cfg: cfg, binned: binned, scores: make([]float64, n), grad: make([]float32, n), hess: make([]float32, n), coin: key1}
	for i := range g.scores {
		g.scores[i] = f.base
	}
	for range cfg.trees {
		g.grow(labels)
		if !more(f) {
			break
		}
	}
	return f
}

type grower struct {
	f          *forest
	cfg        forestConfig
	binned     [][]uint8
	scores     []float64
	grad, hess []float32
	rows       []int32
	inputs     []int
	coin       uint64
}

func (g *grower) uniform() float64 {
	g.coin += 0x9e3779b97f4a7c15
	return float64(mix(g.coin^key0, key2^g.coin)>>11) / (1 << 53)
}

func (g *grower) grow(labels []bool) {
	g.rows = g.rows[:0]
	for i, s := range g.scores {
		p := sigmoid(s)
		g.grad[i] = float32(p - float64(flag(labels[i])))
		g.hess[i] = float32(max(p*(1-p), 1e-7))
		if g.uniform() < g.cfg.rows {
			g.rows = append(g.rows, int32(i))
		}
	}
	g.inputs = g.inputs[:0]
	for k := range g.binned {
		if g.uniform() < g.cfg.inputs {
			g.inputs = append(g.inputs, k)
		}
	}
	size := 2<<g.cfg.depth - 1
	t := tree{input: make([]int16, size), bin: make([]uint8, size), value: make([]float32, size)}
	for i := range t.input {
		t.input[i] = -1
	}
	g.split(&t, 0, 0, g.rows)
	g.f.trees = append(g.f.trees, t)
	for i := range g.scores {
		at := 0
		for t.input[at] >= 0 {
			if g.binned[t.input[at]][i] <= t.bin[at] {
				at = 2*at + 1
			} else {
				at = 2*at + 2
			}
		}
		g.scores[i] += float64(t.value[at])
	}
}

func (g *grower) split(t *tree, node, depth int, rows []int32) {
	var sumG, sumH float64
	for _, i := range rows {
		sumG += float64(g.grad[i])
		sumH += float64(g.hess[i])
	}
	t.value[node] = float32(-g.cfg.rate * sumG / (sumH + g.cfg.firmness))
	if depth == g.cfg.depth || sumH < 2*g.cfg.least {
		return
	}
	whole := sumG * sumG / (sumH + g.cfg.firmness)
	best, bestInput, bestBin := 1e-3, -1, uint8(0)
	var hist [forestBins][2]float32
	for _, k := range g.inputs {
		edges := len(g.f.edges[k])
		if edges == 0 {
			continue
		}
		clear(hist[:edges+1])
		bins := g.binned[k]
		for _, i := range rows {
			h := &hist[bins[i]]
			h[0] += g.grad[i]
			h[1] += g.hess[i]
		}
		var left, weight float64
		for b := range edges {
			left += float64(hist[b][0])
			weight += float64(hist[b][1])
			if weight < g.cfg.least || sumH-weight < g.cfg.least {
				continue
			}
			right := sumG - left
			gain := left*left/(weight+g.cfg.firmness) + right*right/(sumH-weight+g.cfg.firmness) - whole
			if gain > best {
				best, bestInput, bestBin = gain, k, uint8(b)
			}
		}
	}
	if bestInput < 0 {
		return
	}
	t.input[node], t.bin[node] = int16(bestInput), bestBin
	bins, middle := g.binned[bestInput], 0
	for at, i := range rows {
		if bins[i] <= bestBin {
			rows[at], rows[middle] = rows[middle], i
			middle++
		}
	}
	g.split(t, 2*node+1, depth+1, rows[:middle])
	g.split(t, 2*node+2, depth+1, rows[middle:])
}

// logit is the sum of the first trees.
func (f *forest) logit(row []float32, trees int) float64 {
	var binned [512]uint8
	for k, v := range row {
		binned[k] = bin(f.edges[k], v)
	}
	sum := f.base
	for i := range f.trees[:min(trees, len(f.trees))] {
		sum += f.trees[i].at(binned[:len(row)])
	}
	return sum
}

func (t *tree) at(binned []uint8) float64 {
	at := 0
	for t.input[at] >= 0 {
		if binned[t.input[at]] <= t.bin[at] {
			at = 2*at + 1
		} else {
			at = 2*at + 2
		}
	}
	return float64(t.value[at])
}
