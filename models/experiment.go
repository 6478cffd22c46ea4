package models

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"

	"bidwell/rtb"
)

// Sizes of experiments.
const (
	ExperimentBuckets = 10_000 // of each layer: a hundredth of a percent of the users each
	MaxArms           = 8      // of one experiment
	// MaxExperiment is the highest number of an experiment's document: the arms
	// of those before have all the ids there are.
	MaxExperiment = math.MaxUint16/MaxArms - 1
)

// ArmID is the id of an arm in tokens and in the log. It is made of the number
// of the experiment's document, which is never given twice, and the place of the
// arm, so one id never means two things in one installation.
func ArmID(experiment uint32, arm int) (uint16, error) {
	if experiment == 0 || experiment > MaxExperiment {
		return 0, fmt.Errorf("experiment number %d is out of range: arms have ids for the numbers 1 to %d", experiment, MaxExperiment)
	}
	if arm < 0 || arm >= MaxArms {
		return 0, fmt.Errorf("arm %d is out of range: an experiment has at most %d", arm+1, MaxArms)
	}
	return uint16(experiment*MaxArms + uint32(arm)), nil
}

// ArmOf is the inverse of [ArmID]; of zero, which is no arm, it is zero.
func ArmOf(id uint16) (experiment uint32, arm int) {
	return uint32(id) / MaxArms, int(id) % MaxArms
}

// Experiment is a comparison of several ways to bid, for a stretch of the
// buckets of a layer.
type Experiment struct {
	Number     uint32 // of its document
	Key        string // the id of its document
	Layer      int    // 0 to rtb.MaxLayers-1
	Salt       string // what its users are spread over the arms by
	First      int    // the first of its buckets
	Buckets    int    // how many it has
	Start, End time.Time
	Scope      Scope
	Arms       []Arm
}

// Arm is one way to bid.
type Arm struct {
	Weight   int // its part of the users, against that of the other arms
	Override Override
}

// Scope is what an experiment changes; empty means every line item. A line item
// is in it when it, its campaign or its advertiser is named.
type Scope struct {
	LineItems   []rtb.LineItemID
	Campaigns   []rtb.CampaignID
	Advertisers []rtb.AdvertiserID
}

func (s *Scope) has(item *rtb.LineItem) bool {
	if len(s.LineItems)+len(s.Campaigns)+len(s.Advertisers) == 0 {
		return true
	}
	if _, ok := slices.BinarySearch(s.LineItems, item.ID); ok {
		return true
	}
	if _, ok := slices.BinarySearch(s.Campaigns, item.Campaign); ok {
		return true
	}
	_, ok := slices.BinarySearch(s.Advertisers, item.Advertiser)
	return ok
}

// ShadingOverride says what an arm does with the shading of first prices.
type ShadingOverride uint8

// The overrides of shading.
const (
	ShadingAsIs   ShadingOverride = iota
	ShadingOff                    // bids are made at their worth
	ShadingOn                     // no user of the arm is in the shading's own control group
	ShadingFactor                 // bids are a fixed part of their worth, see Override.Factor
)

// Override is what an arm changes for a line item. The zero value changes
// nothing. Its slices are shared and must not be changed.
type Override struct {
	Value     float64 // factor on the goal's value; zero for none
	Model     uint32  // version of the models to predict with; zero for the current one
	Canary    bool    // predict with the canary, where there is one
	Shading   ShadingOverride
	Factor    float64            // of ShadingFactor, above 0 and at most 1
	Creatives []rtb.CreativeID   // the ones that may be shown, ascending; all when empty
	Caps      []rtb.FrequencyCap // that apply as well as those of the line item
	Holdout   bool               // compute the bid, log it as a ghost, and do not send it
}

// None reports whether o changes nothing.
func (o *Override) None() bool {
	return o.Value == 0 && o.Model == 0 && !o.Canary && o.Shading == ShadingAsIs && len(o.Creatives) == 0 && len(o.Caps) == 0 && !o.Holdout
}

// Allows reports whether the arm may show a creative.
func (o *Override) Allows(id rtb.CreativeID) bool {
	if len(o.Creatives) == 0 {
		return true
	}
	_, ok := slices.BinarySearch(o.Creatives, id)
	return ok
}

// add takes from b what o leaves as it is. Factors on the value multiply, and
// one holdout is enough.
func (o *Override) add(b *Override) {
	switch {
	case o.Value == 0:
		o.Value = b.Value
	case b.Value != 0:
		o.Value *= b.Value
	}
	if o.Model == 0 && !o.Canary {
		o.Model, o.Canary = b.Model, b.Canary
	}
	if o.Shading == ShadingAsIs {
		o.Shading, o.Factor = b.Shading, b.Factor
	}
	if len(o.Creatives) == 0 {
		o.Creatives = b.Creatives
	}
	if len(o.Caps) == 0 {
		o.Caps = b.Caps
	}
	o.Holdout = o.Holdout || b.Holdout
}

// Experiments are all that run. The value is immutable and safe to share; a
// change makes a new one. Users are assigned as overlapping layers do it (Tang
// et al., Overlapping Experiment Infrastructure, KDD 2010): each layer spreads
// all users over the same buckets, by a salt of its own, and the experiments of
// a layer share the buckets out; so a user is in at most one experiment of a
// layer, and what happens in one layer says nothing of another.
//
// A nil Experiments assigns nobody.
type Experiments struct {
	layers [rtb.MaxLayers][]running // ordered by their first bucket
	arms   []*arm                   // by id less base; nil where there is none
	base   uint16
}

type running struct {
	start, end  int64 // Unix milliseconds; end is out
	first, last uint16
	salt        uint64
	id          uint16   // of the first arm
	until       []uint16 // the bucket at which each arm ends, of the experiment's own
}

type arm struct {
	name     string // for people
	scope    *Scope
	override Override
}

// layerSalts keep the buckets of one layer independent of those of another.
var layerSalts = func() (salts [rtb.MaxLayers]uint64) {
	for i := range salts {
		salts[i] = saltOf("layer", fmt.Sprint(i))
	}
	return salts
}()

// saltOf is a salt that is the same in every process.
func saltOf(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return binary.LittleEndian.Uint64(h.Sum(nil))
}

// NewExperiments puts experiments together. An error names the experiment that
// it is about; those that run at the same time must not share buckets.
func NewExperiments(list []Experiment) (*Experiments, error) {
	x := &Experiments{base: math.MaxUint16}
	var last uint16
	for i := range list {
		e := &list[i]
		if err := e.validate(); err != nil {
			return nil, fmt.Errorf("experiment %s: %w", e.Key, err)
		}
		for _, other := range list[:i] {
			if other.Number == e.Number {
				return nil, fmt.Errorf("experiment %s: has the number %d of %s", e.Key, e.Number, other.Key)
			}
			if e.Overlaps(&other) {
				return nil, fmt.Errorf("experiment %s: its buckets %d to %d overlap those of %s, %d to %d of the same layer", e.Key, e.First, e.First+e.Buckets-1,
					other.Key, other.First, other.First+other.Buckets-1)
			}
		}
		id, _ := ArmID(e.Number, 0)
		x.base, last = min(x.base, id), max(last, id+uint16(len(e.Arms)))
	}
	if len(list) == 0 {
		return x, nil
	}
	x.arms = make([]*arm, last-x.base)
	for i := range list {
		x.add(&list[i])
	}
	for i := range x.layers {
		slices.SortFunc(x.layers[i], func(a, b running) int { return cmp.Compare(a.first, b.first) })
	}
	return x, nil
}

func (e *Experiment) validate() error {
	if _, err := ArmID(e.Number, len(e.Arms)-1); err != nil {
		return err
	}
	switch {
	case e.Layer < 0 || e.Layer >= rtb.MaxLayers:
		return fmt.Errorf("layer %d: there are layers 0 to %d", e.Layer, rtb.MaxLayers-1)
	case e.Buckets < 1 || e.First < 0 || e.First+e.Buckets > ExperimentBuckets:
		return fmt.Errorf("buckets %d and %d more: a layer has %d", e.First, e.Buckets, ExperimentBuckets)
	case !e.End.IsZero() && !e.End.After(e.Start):
		return errors.New("ends before it starts")
	}
	total := 0
	for i := range e.Arms {
		a := &e.Arms[i]
		if a.Weight < 1 || a.Weight > ExperimentBuckets {
			return fmt.Errorf("arm %d: weight %d: must be 1 to %d", i+1, a.Weight, ExperimentBuckets)
		}
		o := &a.Override
		if o.Value < 0 || math.IsNaN(o.Value) || math.IsInf(o.Value, 0) {
			return fmt.Errorf("arm %d: value factor %v: must be a positive number", i+1, o.Value)
		}
		if o.Shading == ShadingFactor && !(o.Factor > 0 && o.Factor <= 1) {
			return fmt.Errorf("arm %d: shading factor %v: must be above 0 and at most 1", i+1, o.Factor)
		}
		total += a.Weight
	}
	if total > ExperimentBuckets {
		return fmt.Errorf("weights of %d together: must be at most %d", total, ExperimentBuckets)
	}
	return nil
}

// Overlaps reports whether two experiments would at some time share buckets.
func (e *Experiment) Overlaps(o *Experiment) bool {
	return e.Layer == o.Layer && e.First < o.First+o.Buckets && o.First < e.First+e.Buckets && e.Meets(o)
}

// Meets reports whether two experiments run at the same time at some time.
func (e *Experiment) Meets(o *Experiment) bool {
	return (o.End.IsZero() || e.Start.Before(o.End)) && (e.End.IsZero() || o.Start.Before(e.End))
}

func (x *Experiments) add(e *Experiment) {
	r := running{start: math.MinInt64, end: math.MaxInt64, first: uint16(e.First), last: uint16(e.First + e.Buckets - 1), salt: saltOf("experiment", e.Salt)}
	if !e.Start.IsZero() {
		r.start = e.Start.UnixMilli()
	}
	if !e.End.IsZero() {
		r.end = e.End.UnixMilli()
	}
	r.id, _ = ArmID(e.Number, 0)
	scope := &Scope{slices.Sorted(slices.Values(e.Scope.LineItems)), slices.Sorted(slices.Values(e.Scope.Campaigns)), slices.Sorted(slices.Values(e.Scope.Advertisers))}
	total, sum := 0, 0
	for i := range e.Arms {
		total += e.Arms[i].Weight
	}
	for i := range e.Arms {
		a := &e.Arms[i]
		sum += a.Weight
		r.until = append(r.until, uint16((sum*ExperimentBuckets+total/2)/total))
		if a.Override.None() {
			continue
		}
		made := &arm{fmt.Sprintf("%s, arm %d", e.Key, i+1), scope, a.Override}
		made.override.Creatives = slices.Sorted(slices.Values(a.Override.Creatives))
		made.override.Caps = slices.Clone(a.Override.Caps)
		x.arms[r.id-x.base+uint16(i)] = made
	}
	x.layers[e.Layer] = append(x.layers[e.Layer], r)
}

// Assign writes the arm of each layer that a user is in at now, zero for none.
// A user who is not known is in no experiment: the same person would come as
// someone else the next time. It does not allocate.
func (x *Experiments) Assign(user rtb.UserID, now time.Time, arms *[rtb.MaxLayers]uint16) {
	*arms = [rtb.MaxLayers]uint16{}
	if x == nil || user == (rtb.UserID{}) {
		return
	}
	at := now.UnixMilli()
	for layer := range x.layers {
		list := x.layers[layer]
		if len(list) == 0 {
			continue
		}
		b := bucketOf(layerSalts[layer], &user)
		for i := range list {
			if r := &list[i]; r.first > b {
				break
			} else if b <= r.last && r.start <= at && at < r.end {
				arms[layer] = r.arm(&user)
				break
			}
		}
	}
}

// arm spreads the users of the experiment by its own salt: the buckets of the
// layer only say that they are in it, so that experiments that follow one
// another on the same buckets do not inherit each other's arms.
func (r *running) arm(user *rtb.UserID) uint16 {
	b := bucketOf(r.salt, user)
	for i, until := range r.until {
		if b < until {
			return r.id + uint16(i)
		}
	}
	return r.id + uint16(len(r.until)) - 1
}

// Overrides is what the arms that a user is in change for a line item. Where
// two layers change the same, the lower one has it, but factors on the value
// multiply. It does not allocate.
func (x *Experiments) Overrides(arms *[rtb.MaxLayers]uint16, item *rtb.LineItem) Override {
	var o Override
	if x == nil || *arms == ([rtb.MaxLayers]uint16{}) {
		return o
	}
	for _, id := range arms {
		if i := int(id) - int(x.base); id == 0 || i < 0 || i >= len(x.arms) {
			continue
		} else if a := x.arms[i]; a != nil && a.scope.has(item) {
			o.add(&a.override)
		}
	}
	return o
}

// Names says for people which arms that change something a user is in.
func (x *Experiments) Names(arms *[rtb.MaxLayers]uint16) (names []string) {
	if x == nil {
		return nil
	}
	for _, id := range arms {
		if i := int(id) - int(x.base); id != 0 && i >= 0 && i < len(x.arms) && x.arms[i] != nil {
			names = append(names, x.arms[i].name)
		}
	}
	return names
}

// bucketOf is the bucket of a user: hash64(salt, user) mod 10,000. The hash is
// the 128-bit multiplication of wyhash, twice, with the finisher of MurmurHash3
// to end it; both are well mixed also for users whose ids count up.
func bucketOf(salt uint64, user *rtb.UserID) uint16 {
	a, b := binary.LittleEndian.Uint64(user[:8]), binary.LittleEndian.Uint64(user[8:])
	h := mix(a^salt^0xa0761d6478bd642f, b^0xe7037ed1a0b428db^bits.RotateLeft64(salt, 32))
	h = mix(h^salt^0x8ebc6af09c88c6e3, 0x589965cc75374cc3^h)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return uint16((h ^ h>>33) % ExperimentBuckets)
}
