package models

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// Shading says how the price of a bid came about.
type Shading = rtb.Shading

// What a Shader does with a bid.
const (
	NotShaded      = rtb.ShadeNone
	ShadingControl = rtb.ShadeControl
	Shaded         = rtb.Shaded
	ShadingExplore = rtb.ShadeExplore
)

// ShaderConfig sets how bids in first-price auctions are lowered. The zero
// value is not valid; start from DefaultShaderConfig.
type ShaderConfig struct {
	Control float64 // part of the bids that stays as it is, to compare with

	// Explore is the part of the bids that is moved at random by up to a factor
	// of two, never above the worth, where exchanges tell only who has won: bids
	// that are always the same say nothing of others. Where they tell what
	// would have won nothing is moved.
	Explore float64

	HalfLife  time.Duration // in which what was learned counts half
	DriftLife time.Duration // the same of what follows the market within the day

	// Trust is how many auctions of its own outweigh what a curve takes from
	// the one above it.
	Trust float64

	MaxCurves int // bounds the memory: some 10 kB each
}

// DefaultShaderConfig suits an exchange with some thousand auctions a day or more.
func DefaultShaderConfig() ShaderConfig {
	return ShaderConfig{
		Control: 0.02, Explore: 0.02,
		HalfLife: 4 * 24 * time.Hour, DriftLife: 3 * time.Hour,
		Trust: 30, MaxCurves: 4096,
	}
}

// Validate reports every setting that is wrong.
func (c ShaderConfig) Validate() error {
	var errs []error
	if !(c.Control >= 0 && c.Explore >= 0 && c.Control+c.Explore <= 1) {
		errs = append(errs, errors.New("control, explore: want parts of the bids, at most all of them"))
	}
	if c.HalfLife < time.Minute || c.DriftLife < time.Minute {
		errs = append(errs, errors.New("half-life, drift-life: want a minute or more"))
	}
	if !(c.Trust >= 1 && c.Trust <= 1e6) {
		errs = append(errs, errors.New("trust: want 1 to 1,000,000 auctions"))
	}
	if c.MaxCurves < 16 || c.MaxCurves > 1<<20 {
		errs = append(errs, errors.New("max-curves: want 16 to 1,048,576"))
	}
	return errors.Join(errs...)
}

// ShadeContext is what a win-rate curve is kept by.
type ShadeContext struct {
	Exchange rtb.ExchangeID
	Format   uint8 // medium and class of size, as the caller numbers them
	Floor    uint8 // of FloorBucket
}

// Shader lowers bids in first-price auctions to what past wins and losses say
// is best: the price b that makes the most of (worth-b) W(b), where W is how
// often b wins. It learns W from outcomes ([Shader.Learn]) and prices from
// tables that [Shader.Publish] swaps in. Learn, Publish and Append belong to
// one goroutine; the others may be called by any and wait for nothing.
//
// Amounts of one exchange and format must be in one currency, and are told
// apart between [lowestPrice] and 65,536 times as much.
type Shader struct {
	cfg           ShaderConfig
	control, test uint64 // of 2^32 coins: those below are control, those between explore
	live          atomic.Pointer[shadeTables]

	curves   map[curveKey]*curve
	drifts   map[curveKey]*curve
	leaves   map[curveKey]*leaf
	formats  map[curveKey]*format
	now      time.Time // of the latest outcome
	since    time.Time // where weights are one
	spread   [shadingKinds]spending
	outcomes uint64
}

const shadingKinds = 4

// NewShader returns a Shader that knows nothing and lowers bids by little.
func NewShader(cfg ShaderConfig) (*Shader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Shader{
		cfg: cfg, curves: map[curveKey]*curve{}, drifts: map[curveKey]*curve{},
		leaves: map[curveKey]*leaf{}, formats: map[curveKey]*format{},
		control: uint64(cfg.Control * (1 << 32)),
	}
	s.test = s.control + uint64(cfg.Explore*(1<<32))
	s.Publish()
	return s, nil
}

// shadeTables is what the bid path sees. It is immutable.
type shadeTables struct {
	leaves  map[curveKey]*leaf
	savings Savings
}

// find is the leaf that knows most of a context.
func (t *shadeTables) find(at ShadeContext) *leaf {
	if l := t.leaves[floorKey(at)]; l != nil {
		return l
	}
	if l := t.leaves[formatKey(at)]; l != nil {
		return l
	}
	if l := t.leaves[exchangeKey(at.Exchange)]; l != nil {
		return l
	}
	return t.leaves[rootKey]
}

// Shade is what to bid for an impression in a first-price auction, never less
// than the floor nor more than its worth; zero when it is not worth its floor.
// The coin is random. It neither waits nor allocates.
func (s *Shader) Shade(at ShadeContext, worth, floor rtb.Money, coin uint32) (rtb.Money, Shading) {
	floor = max(floor, 1)
	if worth <= floor {
		return 0, NotShaded
	}
	if uint64(coin) < s.control {
		return worth, ShadingControl
	}
	l := s.live.Load().find(at)
	price := l.price(worth, floor)
	if uint64(coin) < s.test && l.blind {
		// The rest of the coin says by how much.
		u := float64(coin*0x9e3779b1) / (1 << 32)
		price = max(floor, min(worth, rtb.Money(float64(price)*math.Exp2(2*u-1))))
		return price, ShadingExplore
	}
	return price, Shaded
}

// WinRate is how often a bid of a price wins that is worth so much: what
// brings more others want too.
func (s *Shader) WinRate(at ShadeContext, worth, price rtb.Money) float64 {
	return s.live.Load().find(at).winRate(worth, price)
}

// Outcome is what became of a bid in a first-price auction. Bids that were
// refused for another reason than their price have none.
type Outcome struct {
	At       ShadeContext
	Kind     Shading
	Worth    rtb.Money // the highest price it would have bid
	Bid      rtb.Money
	MinToWin rtb.Money // the lowest price that would have won, also of a win; zero when nobody says
	Paid     rtb.Money // zero when it was lost
	Won      bool
	Time     time.Time // when the bid was made, or its outcome heard of
}

// Learn takes in an outcome. What is nonsense is left out.
func (s *Shader) Learn(o *Outcome) {
	if o.Bid <= 0 || o.Worth <= 0 || o.Won && o.Paid < 0 || o.MinToWin < 0 {
		return
	}
	if s.since.IsZero() {
		s.since, s.now = o.Time, o.Time
	}
	if o.Time.After(s.now) {
		s.now = o.Time
	}
	s.outcomes++
	if int(o.Kind) < shadingKinds {
		s.spread[o.Kind].add(o)
	}
	if s.now.Sub(s.since) > 16*s.cfg.DriftLife {
		s.rescale()
	}
	age := s.now.Sub(s.since).Hours()
	slow, fast := math.Exp2(age/s.cfg.HalfLife.Hours()), math.Exp2(age/s.cfg.DriftLife.Hours())
	format := formatKey(o.At)
	for _, key := range [...]curveKey{rootKey, exchangeKey(o.At.Exchange), format, worthKey(o.At, o.Worth), floorKey(o.At)} {
		if c := s.curve(s.curves, key); c != nil {
			c.learn(o, slow)
		}
	}
	if c := s.curve(s.drifts, format); c != nil {
		c.learn(o, fast)
	}
}

// curve is that of a key, a new one when there is room.
func (s *Shader) curve(in map[curveKey]*curve, key curveKey) *curve {
	c := in[key]
	if c == nil && len(s.curves)+len(s.drifts) >= s.cfg.MaxCurves {
		s.evict()
	}
	if c == nil && len(s.curves)+len(s.drifts) < s.cfg.MaxCurves {
		c = new(curve)
		in[key] = c
	}
	return c
}

// evict makes room: a quarter of the curves of single floors go, those that know
// least. Their bids then follow the curve of the format. Otherwise floors that
// are never the same would leave no room for an exchange that comes later.
func (s *Shader) evict() {
	var floors []curveKey
	for key := range s.curves {
		if key&levelMask == byFloor {
			floors = append(floors, key)
		}
	}
	slices.SortFunc(floors, func(a, b curveKey) int {
		return cmp.Or(cmp.Compare(s.curves[a].weight(), s.curves[b].weight()), cmp.Compare(a, b))
	})
	s.leaves = maps.Clone(s.leaves) // the one that bids read does not change
	for _, key := range floors[:(len(floors)+3)/4] {
		delete(s.curves, key)
		delete(s.leaves, key)
	}
}

// rescale makes the weight of an outcome one again.
func (s *Shader) rescale() {
	age := s.now.Sub(s.since).Hours()
	for _, c := range s.curves {
		c.scale(math.Exp2(-age / s.cfg.HalfLife.Hours()))
	}
	for _, c := range s.drifts {
		c.scale(math.Exp2(-age / s.cfg.DriftLife.Hours()))
	}
	s.since = s.now
}
