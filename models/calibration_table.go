package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Calibration corrects predictions. It is immutable and safe to share. The
// zero value, and a nil pointer, correct nothing.
type Calibration struct {
	bend   bend
	global float32 // zero means 1
	lines  []CalibrationLine

	// slots finds the line of a campaign: its position plus one, at the hash
	// of the campaign or, where that is taken, one of the next.
	slots []uint32
}

// CalibrationLine is the correction of one campaign. Rows and clicks are all
// that it has had.
type CalibrationLine struct {
	Campaign     uint32
	Rows, Clicks uint64
	Factor       float32
}

// Apply is the corrected probability, between 1e-6 and 0.9. It takes no lock
// and does not allocate; its cost does not grow with the campaigns.
func (c *Calibration) Apply(campaign uint32, p float64) float64 {
	p = clampProbability(p)
	if c == nil {
		return p
	}
	return clampProbability(c.bend.apply(p) * c.Factor(campaign))
}

// Factor is that of the campaign, or of all campaigns if it is not known.
func (c *Calibration) Factor(campaign uint32) float64 {
	if c == nil {
		return 1
	}
	if len(c.slots) > 0 {
		mask := uint32(len(c.slots) - 1)
		for i := campaignSlot(campaign) & mask; c.slots[i] != 0; i = (i + 1) & mask {
			if l := &c.lines[c.slots[i]-1]; l.Campaign == campaign {
				return float64(l.Factor)
			}
		}
	}
	if c.global == 0 {
		return 1
	}
	return float64(c.global)
}

// Lines are those of all campaigns, by number.
func (c *Calibration) Lines() []CalibrationLine {
	if c == nil {
		return nil
	}
	return slices.Clone(c.lines)
}

// Curve is what predictions are bent by before the factor: "none", "platt" or
// "isotonic". Platt's a and b are 0 and 1 with the others.
func (c *Calibration) Curve() (kind string, a, b float64) {
	if c == nil || c.bend.kind != bendPlatt {
		if c != nil {
			return c.bend.kind.String(), 0, 1
		}
		return bendNone.String(), 0, 1
	}
	return c.bend.kind.String(), c.bend.a, c.bend.b
}

func campaignSlot(campaign uint32) uint32 { return campaign * 0x9e3779b1 >> 7 }

// index fills slots, at most half of them.
func (c *Calibration) index() {
	if len(c.lines) == 0 {
		return
	}
	c.slots = make([]uint32, 2<<bits.Len(uint(len(c.lines)-1)))
	mask := uint32(len(c.slots) - 1)
	for k, l := range c.lines {
		i := campaignSlot(l.Campaign) & mask
		for c.slots[i] != 0 {
			i = (i + 1) & mask
		}
		c.slots[i] = uint32(k + 1)
	}
}

// A calibration is written, in little-endian order, as:
//
//	version, kind of curve
//	a, b float64 (Platt), or the logit at each point, float32 (isotonic)
//	factor of all campaigns            float32
//	campaigns                          uvarint, then for each
//	                                   step from the number before, rows and clicks, uvarint; factor, float32
const calibrationVersion = 1

// ErrCalibration means that bytes are not a calibration.
var ErrCalibration = errors.New("the calibration is damaged")

// AppendBinary appends what [ParseCalibration] reads. The same calibration
// always becomes the same bytes. It never fails.
func (c *Calibration) AppendBinary(b []byte) ([]byte, error) {
	if c == nil {
		c = &Calibration{}
	}
	b = append(b, calibrationVersion, byte(c.bend.kind))
	switch c.bend.kind {
	case bendPlatt:
		b = appendFloat64(appendFloat64(b, c.bend.a), c.bend.b)
	case bendIsotonic:
		for _, v := range c.bend.steps {
			b = appendFloat32(b, v)
		}
	}
	b = appendFloat32(b, float32(c.Global()))
	b = binary.AppendUvarint(b, uint64(len(c.lines)))
	before := uint32(0)
	for _, l := range c.lines {
		b = binary.AppendUvarint(b, uint64(l.Campaign-before))
		b = binary.AppendUvarint(b, l.Rows)
		b = binary.AppendUvarint(b, l.Clicks)
		b = appendFloat32(b, l.Factor)
		before = l.Campaign
	}
	return b, nil
}

// Global is that of campaigns which are not known.
func (c *Calibration) Global() float64 {
	if c == nil || c.global == 0 {
		return 1
	}
	return float64(c.global)
}

// ParseCalibration reads what AppendBinary wrote and nothing after it.
func ParseCalibration(b []byte) (*Calibration, error) {
	f := fileReader{rest: b}
	head := f.take(2)
	if f.failed || head[0] != calibrationVersion || head[1] >= byte(bendKinds) {
		return nil, fmt.Errorf("%w: it begins with %v", ErrCalibration, head)
	}
	c := &Calibration{bend: bend{kind: bendKind(head[1])}}
	switch c.bend.kind {
	case bendPlatt:
		c.bend.a, c.bend.b = f.float64(), f.float64()
	case bendIsotonic:
		c.bend.steps = new([bendPoints]float32)
		for i := range c.bend.steps {
			c.bend.steps[i] = f.float32()
		}
	}
	c.global = f.float32()
	if !f.failed && !validFactor(c.global) {
		return nil, fmt.Errorf("%w: the factor of all campaigns is %v", ErrCalibration, c.global)
	}
	count := f.uvarint()
	if count > uint64(len(f.rest))/7 {
		return nil, fmt.Errorf("%w: %d campaigns in %d bytes", ErrCalibration, count, len(f.rest))
	}
	if count > 0 {
		c.lines = make([]CalibrationLine, count)
	}
	at := uint64(0)
	for i := range c.lines {
		step := f.uvarint()
		l := CalibrationLine{Rows: f.uvarint(), Clicks: f.uvarint(), Factor: f.float32()}
		if f.failed {
			break
		}
		if at += step; step >= 1<<32 || at >= 1<<32 || step == 0 && i > 0 {
			return nil, fmt.Errorf("%w: campaign %d of %d is out of order", ErrCalibration, i, count)
		}
		l.Campaign = uint32(at)
		if l.Clicks > l.Rows || !validFactor(l.Factor) {
			return nil, fmt.Errorf("%w: campaign %d: %d clicks of %d rows, factor %v", ErrCalibration, at, l.Clicks, l.Rows, l.Factor)
		}
		c.lines[i] = l
	}
	if f.failed || len(f.rest) > 0 {
		return nil, fmt.Errorf("%w: lengths do not add up", ErrCalibration)
	}
	c.index()
	return c, nil
}

func validFactor(v float32) bool { return v >= minFactor*0.99 && v <= maxFactor*1.01 }
