package models

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"bidwell/rtb"
)

const (
	learnerName    = "bidwell learner\n"
	learnerVersion = 7
	mostCampaigns  = 1 << 22
)

// AppendState appends all that l knows and waits for, which may be hundreds of
// megabytes. With the log from its Position on, [RestoreLearner] goes on as if
// nothing had been.
func (l *Learner) AppendState(b []byte) []byte {
	if b == nil {
		b = make([]byte, 0, l.stateSize+l.stateSize/8)
	}
	begin := len(b)
	b = sealState(b, learnerName, learnerVersion, l.walk)
	l.stateSize = len(b) - begin
	return b
}

// RestoreLearner makes the learner of a state. It fails with ErrState where
// that is damaged, or of other settings.
func RestoreLearner(cfg LearnerConfig, b []byte) (*Learner, error) {
	l, err := newLearner(cfg)
	if err != nil {
		return nil, err
	}
	if err := openState(b, learnerName, learnerVersion, l.walk); err != nil {
		return nil, fmt.Errorf("restore learner: %w", err)
	}
	l.stateSize = len(b)
	return l, nil
}

func (l *Learner) walk(s *state) {
	var base bytes.Buffer
	if !s.reading {
		l.base.Write(&base) // a Buffer takes everything
	}
	known := base.Bytes()
	s.part(&known, 2*maxFile)
	if s.reading && !s.failed {
		m, err := parseModel(known)
		if err == nil {
			err = l.begin(m)
		}
		if err != nil {
			s.failed = true
		}
	}
	if s.failed {
		return
	}
	s.uint64(&l.position)
	s.int64(&l.since)
	s.int64(&l.now)
	s.int64(&l.rival)
	s.fixed(&l.stats)
	s.float64(&l.inverse)
	l.clicks.walk(s)
	l.conversions.walk(s)
	l.open.walk(s)
	l.clicked.walk(s)
	walkMap(s, &l.early, maxEarly, func(s *state, bid *rtb.BidID, at *int64) {
		s.fixed(bid)
		s.int64(at)
	}, func(a, b rtb.BidID) int { return bytes.Compare(a[:], b[:]) })
	walkMap(s, &l.orders, mostCampaigns, func(s *state, campaign *rtb.CampaignID, o **orders) {
		if s.reading {
			*o = new(orders)
		}
		s.uint32((*uint32)(campaign))
		s.float64(&(*o).Count, &(*o).Sum)
	}, cmp.Compare[rtb.CampaignID])
	l.lags.walk(s)
	for _, r := range [...]*recent{&l.seen, &l.told, &l.ordered} {
		r.walk(s)
	}
	l.walkCreatives(s)
	l.walkShader(s)
}

// walkCreatives carries what is known of creatives. A learner that has none
// has none when it is restored, either.
func (l *Learner) walkCreatives(s *state) {
	var known []byte
	if !s.reading && l.Creatives != nil {
		known, _ = l.Creatives.MarshalBinary() // never fails
	}
	if s.part(&known, maxCreatives); s.reading && !s.failed && len(known) > 0 {
		l.Creatives = NewCreatives()
		s.failed = l.Creatives.UnmarshalBinary(known) != nil
	}
}

// walkShader does the same for the shader.
func (l *Learner) walkShader(s *state) {
	var known []byte
	if !s.reading && l.Shader != nil {
		known = l.Shader.Append(nil)
	}
	if s.part(&known, maxFile); s.reading && !s.failed && len(known) > 0 {
		shader, err := RestoreShader(DefaultShaderConfig(), known)
		l.Shader, s.failed = shader, err != nil
	}
}

// walkMap carries a map in the order of its keys.
func walkMap[K comparable, V any](s *state, m *map[K]V, most int, entry func(*state, *K, *V), order func(a, b K) int) {
	n := len(*m)
	s.count(&n, most)
	if !s.reading {
		for _, k := range slices.SortedFunc(maps.Keys(*m), order) {
			v := (*m)[k]
			entry(s, &k, &v)
		}
		return
	}
	*m = map[K]V{}
	for range n {
		var k K
		var v V
		if entry(s, &k, &v); s.failed {
			return
		}
		(*m)[k] = v
	}
}

func (c *course) walk(s *state) {
	s.same(uint64(len(c.learners)))
	for i, f := range c.learners {
		if s.failed {
			return
		}
		s.float64(&c.losses[i])
		f.walk(s)
	}
	s.count(&c.best, len(c.learners)-1)
	if c.pairs != nil {
		c.pairs.walk(s)
	}
	c.calibrator.walk(s)
}

func (g *pairings) walk(s *state) {
	s.float64(&g.plain)
	serves := g.serves + 1
	s.count(&serves, len(g.all))
	g.serves = serves - 1
	for _, one := range g.all {
		one.walk(s)
	}
}

// walk carries the vectors that have learned something.
func (g *pairing) walk(s *state) {
	s.same(uint64(len(g.vectors)))
	s.float64(&g.loss)
	s.uint64(&g.coin)
	s.float32(&g.bias, &g.biasSq)
	for a := range g.linear {
		g.linear[a].walk(s)
		g.linearSq[a].walk(s)
	}
	for i := range g.strength {
		s.float32(&g.strength[i], &g.strongSq[i])
	}
	walkTable(s, len(g.vectors), func(i int) bool { return g.vectors[i] != (vector{}) }, func(i int) {
		g.vectors[i].walk(s)
		g.squares[i].walk(s)
	})
}

func (v *vector) walk(s *state) {
	for k := range v {
		s.float32(&v[k])
	}
}

// walkTable carries the entries of a table that are in use.
func walkTable(s *state, size int, used func(i int) bool, entry func(i int)) {
	n := 0
	if !s.reading {
		for i := range size {
			if used(i) {
				n++
			}
		}
	}
	s.count(&n, size)
	at := 0
	for range n {
		step := 0
		for !s.reading && !used(at+step) {
			step++
		}
		s.failed = s.failed || at == size
		if s.count(&step, size-1-at); s.failed {
			return
		}
		entry(at + step)
		at += step + 1
	}
}

// walk carries the coordinates that have learned something.
func (f *FTRL) walk(s *state) {
	var settings [1]FTRLConfig
	settings[0] = f.cfg
	s.fixed(&settings)
	s.failed = s.failed || settings[0] != f.cfg
	s.same(uint64(len(f.table)))
	s.uint64(&f.coin)
	s.float64(&f.biasZ, &f.biasN)
	walkTable(s, len(f.table), func(i int) bool { return f.table[i].n != 0 }, func(i int) {
		c := &f.table[i]
		s.float32(&c.z, &c.n, &c.weight)
	})
}

func (c *Calibrator) walk(s *state) {
	s.float64(&c.data.unit)
	for i := range c.data.rows {
		s.float64(&c.data.rows[i], &c.data.clicks[i])
	}
	for i := range c.curves {
		v := &c.curves[i]
		v.bend.walk(s)
		v.ratio.walk(s)
		s.bool(&v.fitted)
		s.float64(&v.gain)
	}
	used := int(c.used)
	s.count(&used, int(bendKinds)-1)
	c.used = bendKind(used)
	walkMap(s, &c.campaigns, mostCampaigns, func(s *state, campaign *uint32, r **ratio) {
		if s.reading {
			*r = new(ratio)
		}
		s.uint32(campaign)
		(*r).walk(s)
	}, cmp.Compare[uint32])
}

func (c *bend) walk(s *state) {
	kind := int(c.kind)
	s.count(&kind, int(bendKinds)-1)
	c.kind = bendKind(kind)
	s.float64(&c.a, &c.b)
	if c.kind == bendIsotonic {
		if c.steps == nil {
			c.steps = new([bendPoints]float32)
		}
		for i := range c.steps {
			s.float32(&c.steps[i])
		}
	}
}

func (r *ratio) walk(s *state) {
	s.uint64(&r.rows)
	s.uint64(&r.clicks)
	for i := range r.memories {
		m := &r.memories[i]
		s.float64(&m.clicks, &m.predicted, &m.trust, &m.prior)
	}
}

func (q *queue) walk(s *state) {
	n := q.len()
	s.count(&n, q.most)
	if !s.reading {
		for i := range q.lessons[q.head:] {
			if lesson := &q.lessons[q.head+i]; lesson.Bid != (rtb.BidID{}) {
				lesson.walk(s)
			}
		}
		return
	}
	for range n {
		var lesson Lesson
		if lesson.walk(s); s.failed {
			return
		}
		q.push(lesson)
	}
}

func (x *Lesson) walk(s *state) {
	s.raw(x.Bid[:])
	s.int64(&x.Time)
	s.uint32((*uint32)(&x.Campaign))
	s.uint32((*uint32)(&x.Creative))
	s.float32(&x.CTR, &x.WinRate)
	s.uint32(&x.Model)
	s.bool(&x.Clicked)
	n := int(x.Features.Count)
	s.count(&n, rtb.MaxFeatures)
	x.Features.Count = uint8(n)
	for i := range n {
		s.raw(x.Features.Hashes[i][:])
	}
}

func (g *lags) walk(s *state) {
	walkMap(s, &g.campaigns, mostCampaigns, func(s *state, campaign *rtb.CampaignID, l **lag) {
		if s.reading {
			*l = new(lag)
		}
		s.uint32((*uint32)(campaign))
		s.uint64(&(*l).Clicks)
		s.uint64(&(*l).Converted)
	}, cmp.Compare[rtb.CampaignID])
	n := len(g.recent)
	s.count(&n, recentClicks)
	s.count(&g.next, recentClicks-1)
	if s.reading {
		g.recent = make([]recentClick, n)
	}
	for i := range g.recent {
		c := &g.recent[i]
		if s.fixed(c); s.failed {
			return
		}
		g.at[c.Bid] = i
	}
}
