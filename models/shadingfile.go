package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"bidwell/rtb"
)

// What a Shader knows is, in little-endian order:
//
//	magic, version
//	since, now                         int64, nanoseconds
//	outcomes                           uvarint
//	for each kind of shading           bids, wins, uvarint; eight sums, float64
//	curves, then curves of the drift   uvarint, then for each, by key
//	                                   key, uint32; known, trials, float64
//	                                   prices, wins, losses, highest prices of late and before:
//	                                   each how many are not zero, uvarint, then for each
//	                                   step from the bin before, uvarint; weight, float32, or price, uvarint
//	CRC-32 (IEEE) of all before        uint32
const (
	shaderMagic   = "bidwell shader\n"
	shaderVersion = 1
)

// What is wrong with the state of a Shader that Restore refuses.
var (
	ErrNotShader     = errors.New("not the state of a shader")
	ErrShaderVersion = errors.New("another version of the state of a shader")
	ErrShaderDamaged = errors.New("the state of the shader is damaged")
)

func (g *spending) sums() [8]*float64 {
	return [8]*float64{&g.paid, &g.worth, &g.paid2, &g.worth2, &g.cross, &g.gain, &g.gain2, &g.asked}
}

// Append appends what the Shader knows. The same knowledge always becomes the
// same bytes.
func (s *Shader) Append(b []byte) []byte {
	from := len(b)
	b = append(b, shaderMagic...)
	b = append(b, shaderVersion)
	b = appendNanos(b, s.since)
	b = appendNanos(b, s.now)
	b = binary.AppendUvarint(b, s.outcomes)
	for i := range s.spread {
		g := &s.spread[i]
		b = binary.AppendUvarint(b, uint64(g.bids))
		b = binary.AppendUvarint(b, uint64(g.wins))
		for _, v := range g.sums() {
			b = appendFloat64(b, *v)
		}
	}
	for _, curves := range [...]map[curveKey]*curve{s.curves, s.drifts} {
		b = binary.AppendUvarint(b, uint64(len(curves)))
		for _, key := range slices.Sorted(maps.Keys(curves)) {
			b = curves[key].append(binary.LittleEndian.AppendUint32(b, uint32(key)))
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
}

func (c *curve) append(b []byte) []byte {
	t := c.trials
	if t == nil {
		t = new(trials)
	}
	for _, v := range [...]float64{c.known, t.count} {
		b = appendFloat64(b, v)
	}
	for _, weights := range [...]*[priceBins]float32{&c.prices, &t.wins, &t.losses} {
		b = appendSparse(b, weights, appendFloat32)
	}
	for i := range c.tops {
		b = appendSparse(b, &c.tops[i], func(b []byte, v rtb.Money) []byte { return binary.AppendUvarint(b, uint64(v)) })
	}
	return b
}

func appendSparse[T float32 | rtb.Money](b []byte, values *[priceBins]T, one func([]byte, T) []byte) []byte {
	n, before := 0, 0
	for _, v := range values {
		if v != 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i, v := range values {
		if v != 0 {
			b = one(binary.AppendUvarint(b, uint64(i-before)), v)
			before = i
		}
	}
	return b
}

func appendNanos(b []byte, t time.Time) []byte {
	v := int64(noTime)
	if !t.IsZero() {
		v = t.UnixNano()
	}
	return binary.LittleEndian.AppendUint64(b, uint64(v))
}

// RestoreShader returns a Shader that knows what another has appended. It
// refuses what is cut off, damaged or of another version.
func RestoreShader(cfg ShaderConfig, b []byte) (*Shader, error) {
	s, err := readShader(cfg, b)
	if err != nil {
		return nil, fmt.Errorf("restore shader: %w", err)
	}
	s.Publish()
	return s, nil
}

// readShader is RestoreShader without the tables that bids read.
func readShader(cfg ShaderConfig, b []byte) (*Shader, error) {
	s, err := NewShader(cfg)
	if err != nil {
		return nil, err
	}
	return s, s.parse(b)
}

func (s *Shader) parse(b []byte) error {
	if len(b) < len(shaderMagic)+1 || string(b[:len(shaderMagic)]) != shaderMagic {
		return ErrNotShader
	}
	if v := b[len(shaderMagic)]; v != shaderVersion {
		return fmt.Errorf("%w: got %d, want %d", ErrShaderVersion, v, shaderVersion)
	}
	body := len(b) - 4
	if body < len(shaderMagic)+1 || crc32.ChecksumIEEE(b[:body]) != binary.LittleEndian.Uint32(b[body:]) {
		return fmt.Errorf("%w: wrong checksum", ErrShaderDamaged)
	}
	f := fileReader{rest: b[len(shaderMagic)+1 : body]}
	s.since, s.now = f.nanos(), f.nanos()
	s.outcomes = f.uvarint()
	for i := range s.spread {
		g := &s.spread[i]
		g.bids, g.wins = int64(f.uvarint()&math.MaxInt64), int64(f.uvarint()&math.MaxInt64)
		for _, v := range g.sums() {
			*v = f.float64()
		}
	}
	for _, curves := range [...]map[curveKey]*curve{s.curves, s.drifts} {
		const least = 4 + 2*8 + 5 // bytes of a curve
		n := f.uvarint()
		if n > uint64(len(f.rest))/least {
			return fmt.Errorf("%w: %d curves", ErrShaderDamaged, n)
		}
		for i := range n {
			key, c := curveKey(f.uint32()), new(curve)
			if c.parse(&f); f.failed {
				return fmt.Errorf("%w: curve %d", ErrShaderDamaged, i)
			}
			if len(s.curves)+len(s.drifts) < s.cfg.MaxCurves {
				curves[key] = c
			}
		}
	}
	if f.failed || len(f.rest) > 0 {
		return fmt.Errorf("%w: lengths do not add up", ErrShaderDamaged)
	}
	if len(s.curves) > 0 && s.curves[rootKey] == nil {
		return fmt.Errorf("%w: the curve of all auctions is missing", ErrShaderDamaged)
	}
	return nil
}

func (c *curve) parse(f *fileReader) {
	t := new(trials)
	c.known, t.count = f.weight(), f.weight()
	weight := func() float32 { return f.weight32() }
	for _, weights := range [...]*[priceBins]float32{&c.prices, &t.wins, &t.losses} {
		readSparse(f, weights, weight)
	}
	for i := range c.tops {
		readSparse(f, &c.tops[i], func() rtb.Money { return rtb.Money(f.uvarint() & math.MaxInt64) })
	}
	if t.count > 0 {
		c.trials = t
	}
}

func readSparse[T float32 | rtb.Money](f *fileReader, values *[priceBins]T, one func() T) {
	n, at := f.uvarint(), uint64(0)
	if n > priceBins {
		f.failed = true
		return
	}
	for i := range n {
		step := f.uvarint()
		if at += step; step > priceBins || at >= priceBins || step == 0 && i > 0 {
			f.failed = true
			return
		}
		values[at] = one()
	}
}

// weight is a number of zero or more.
func (f *fileReader) weight() float64 {
	v := f.float64()
	if v < 0 {
		f.failed = true
	}
	return v
}

func (f *fileReader) weight32() float32 {
	v := f.float32()
	if v < 0 {
		f.failed = true
	}
	return v
}

func (f *fileReader) nanos() time.Time {
	v := int64(binary.LittleEndian.Uint64(f.take(8)))
	if v == noTime {
		return time.Time{}
	}
	return time.Unix(0, v).UTC()
}
