package models

import "slices"

// crosses are pairs of fields, the most telling first: those whose own history
// predicts better than the histories of both apart. It looks at the first n
// rows.
func (e *encoder) crosses(n int) [][2]int {
	rows := e.rows
	mean := e.started
	take := min(1, 20_000/float64(n))
	takeClick := min(1, max(take, 4000/(float64(n)*mean)))
	takeOther := min(1, max(0, 20_000-float64(n)*mean*takeClick)/(float64(n)*(1-mean)))

	var picked []int
	coin := uint64(key2)
	for i, label := range rows.labels[:n] {
		coin += 0x9e3779b97f4a7c15
		u := float64(mix(coin^key0, key2^coin)>>11) / (1 << 53)
		if label && u < takeClick || !label && u < takeOther {
			picked = append(picked, i)
		}
	}
	clicks := 0.0
	fields := min(len(e.fields), 44)
	ids := make([]uint32, 0, len(picked)*fields)
	for _, i := range picked {
		cells := rows.row(i)
		for k := range fields {
			f := &e.fields[k]
			ids = append(ids, f.read(rows, cells[f.column]).id)
		}
		clicks += float64(flag(rows.labels[i]))
	}
	q := (clicks + 0.5) / (float64(len(picked)) + 1)
	base, firm := logit(q), max(10, min(1/q, 200))

	// What each field knows of each row by those before it.
	single := make([]float32, len(picked)*fields)
	loss := make([]float64, fields)
	useful := make([]bool, fields)
	for k := range fields {
		tallies := make([]pastCount, len(e.fields[k].ids))
		common := 0
		for at, i := range picked {
			t := &tallies[ids[at*fields+k]]
			if t.n >= rareRows {
				common++
			}
			p := (float64(t.clicks) + firm*q) / (float64(t.n) + firm)
			single[at*fields+k] = float32(logit(p) - base)
			loss[k] += logLoss(clampProbability(p), rows.labels[i])
			t.n++
			t.clicks += float32(flag(rows.labels[i]))
		}
		useful[k] = len(e.fields[k].ids) > 1 && common > len(picked)/10
	}
	type cross struct {
		a, b int
		gain float64
	}
	var found []cross
	tallies := map[uint64]pastCount{}
	for a := range fields {
		for b := a + 1; b < fields; b++ {
			if !useful[a] || !useful[b] || e.fields[a].column == e.fields[b].column {
				continue
			}
			clear(tallies)
			var both, pair float64
			for at, i := range picked {
				key := uint64(ids[at*fields+a])<<32 | uint64(ids[at*fields+b])
				t := tallies[key]
				ra, rb := float64(single[at*fields+a]), float64(single[at*fields+b])
				half := sigmoid(base + (ra+rb)/2)
				p := (float64(t.clicks) + firm*half) / (float64(t.n) + firm)
				label := rows.labels[i]
				pair += logLoss(clampProbability(p), label)
				both += logLoss(clampProbability(sigmoid(base+ra+rb)), label)
				t.n++
				t.clicks += float32(flag(label))
				tallies[key] = t
			}
			found = append(found, cross{a, b, min(both, loss[a], loss[b]) - pair})
		}
	}
	slices.SortStableFunc(found, func(x, y cross) int {
		switch {
		case x.gain > y.gain:
			return -1
		case x.gain < y.gain:
			return 1
		}
		return 0
	})
	var out [][2]int
	for _, c := range found {
		out = append(out, [2]int{c.a, c.b})
	}
	return out
}

// keep follows the histories of these pairs from now on.
func (e *encoder) keep(pairs [][2]int) {
	for _, p := range pairs[:min(len(pairs), maxPairs)] {
		e.pairs = append(e.pairs, pairField{a: p[0], b: p[1], tallies: map[uint64]*pastCount{}})
	}
}
