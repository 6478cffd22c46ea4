package models

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// The part of a model file for [Pairs] is, in little-endian order:
//
//	version, bits, fields
//	bias                               float32
//	for each field                     its vector, eight float32
//	for each pair of fields, a > b     its strength, float32
//	vectors that are not zero          uvarint, then for each
//	                                   step from the place before, uvarint; eight float32
//	for each of some lists of places   what the pairs add to it, float32
const pairsVersion = 1

// file is the part.
func (p *Pairs) file() []byte {
	b := []byte{pairsVersion, byte(bits.Len(uint(len(p.vectors) - 1))), pairFields}
	b = appendFloat32(b, p.bias)
	for i := range p.linear {
		b = appendVector(b, &p.linear[i])
	}
	for a := range pairFields {
		for c := range a {
			b = appendFloat32(b, p.strength[a*pairFields+c])
		}
	}
	count := 0
	for i := range p.vectors {
		if p.vectors[i] != (vector{}) {
			count++
		}
	}
	b = binary.AppendUvarint(b, uint64(count))
	before := 0
	for i := range p.vectors {
		if p.vectors[i] != (vector{}) {
			b = binary.AppendUvarint(b, uint64(i-before))
			b = appendVector(b, &p.vectors[i])
			before = i
		}
	}
	for _, hashes := range p.checks() {
		b = appendFloat32(b, p.of(hashes))
	}
	return b
}

func appendVector(b []byte, v *vector) []byte {
	for _, x := range v {
		b = appendFloat32(b, x)
	}
	return b
}

// checks are lists of features, of users with few segments and with many, whose
// vectors come from all over the table.
func (p *Pairs) checks() [][]uint32 {
	var used []uint32
	for i := range p.vectors {
		if p.vectors[i] != (vector{}) {
			used = append(used, uint32(i))
		}
	}
	lists := make([][]uint32, maxChecks)
	for k := range lists {
		fields := places[k*maxSegments/(maxChecks-1)]
		lists[k] = make([]uint32, len(fields))
		for i := range fields {
			if len(used) > 0 {
				lists[k][i] = used[(i*maxChecks+k)*len(used)/(MaxFeatures*maxChecks)]
			}
		}
	}
	return lists
}

func parsePairs(b []byte) (*Pairs, error) {
	f := fileReader{rest: b}
	if v := f.take(1)[0]; v != pairsVersion {
		return nil, fmt.Errorf("%w: got %d, want %d", ErrModelVersion, v, pairsVersion)
	}
	size, fields := int(f.take(1)[0]), int(f.take(1)[0])
	if size == 0 || checkPairBits(size) != nil {
		return nil, fmt.Errorf("%w: a table of %d bits", ErrModelDamaged, size)
	}
	if fields != pairFields {
		return nil, fmt.Errorf("%w: %d fields, this program has %d", ErrModelParity, fields, pairFields)
	}
	p := &Pairs{factors{
		fields: fields, bias: f.factor(), linear: make([]vector, fields), strength: make([]float32, fields*fields),
	}}
	for i := range p.linear {
		p.linear[i] = f.vector()
	}
	for a := range fields {
		for c := range a {
			s := f.factor()
			p.strength[a*fields+c], p.strength[c*fields+a] = s, s
		}
	}
	count := f.uvarint()
	if count > min(1<<size, uint64(len(f.rest))/(4*rank)) {
		return nil, fmt.Errorf("%w: %d vectors", ErrModelDamaged, count)
	}
	p.vectors = make([]vector, 1<<size)
	place := uint64(0)
	for i := range count {
		step := f.uvarint()
		if place += step; step > 1<<size || place >= 1<<size || step == 0 && i > 0 {
			return nil, fmt.Errorf("%w: vector %d is out of order", ErrModelDamaged, i)
		}
		p.vectors[place] = f.vector()
	}
	for i, hashes := range p.checks() {
		want, got := f.float32(), p.of(hashes)
		if !f.failed && !(math.Abs(float64(got-want)) <= 1e-5*max(1, math.Abs(float64(want)))) {
			return nil, fmt.Errorf("%w: check %d: adds %g, want %g", ErrModelParity, i, got, want)
		}
	}
	if f.failed || len(f.rest) > 0 {
		return nil, fmt.Errorf("%w: lengths do not add up, or a number is beyond all bounds", ErrModelDamaged)
	}
	return p, nil
}

func (f *fileReader) vector() (v vector) {
	for k := range v {
		v[k] = f.factor()
	}
	return v
}

// mostFactor is far more than any number of pairs that predict something. What
// is multiplied and summed up from such ones stays a number, for whoever goes on
// learning from there too.
const mostFactor = 1e6

func (f *fileReader) factor() float32 {
	v := f.float32()
	if v < -mostFactor || v > mostFactor {
		f.failed = true
		return 0
	}
	return v
}
