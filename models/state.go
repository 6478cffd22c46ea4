package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// state carries values into bytes or out of them, by the same walk over the
// same fields, so that what is read is what was written. Once something is cut
// off or out of bounds it has failed and gives zeros.
type state struct {
	bytes   []byte // what was written, or what is left to read
	reading bool
	failed  bool
}

// ErrState means that bytes are not the state of a learner, or damaged.
var ErrState = errors.New("the state of the learner is damaged")

func (s *state) take(n int) []byte {
	if s.failed || len(s.bytes) < n {
		s.failed, s.bytes = true, nil
		return make([]byte, n)
	}
	b := s.bytes[:n]
	s.bytes = s.bytes[n:]
	return b
}

func (s *state) uint64(v *uint64) {
	if s.reading {
		*v = binary.LittleEndian.Uint64(s.take(8))
		return
	}
	s.bytes = binary.LittleEndian.AppendUint64(s.bytes, *v)
}

func (s *state) uint32(v *uint32) {
	if s.reading {
		*v = binary.LittleEndian.Uint32(s.take(4))
		return
	}
	s.bytes = binary.LittleEndian.AppendUint32(s.bytes, *v)
}

func (s *state) int64(v *int64) {
	u := uint64(*v)
	s.uint64(&u)
	*v = int64(u)
}

func (s *state) float64(vs ...*float64) {
	for _, v := range vs {
		u := math.Float64bits(*v)
		s.uint64(&u)
		if *v = math.Float64frombits(u); math.IsNaN(*v) || math.IsInf(*v, 0) {
			s.failed, *v = true, 0
		}
	}
}

func (s *state) float32(vs ...*float32) {
	for _, v := range vs {
		u := math.Float32bits(*v)
		s.uint32(&u)
		if f := float64(math.Float32frombits(u)); math.IsNaN(f) || math.IsInf(f, 0) {
			s.failed, u = true, 0
		}
		*v = math.Float32frombits(u)
	}
}

func (s *state) bool(v *bool) {
	var n int
	if *v {
		n = 1
	}
	s.count(&n, 1)
	*v = n == 1
}

// count carries how many of something there are.
func (s *state) count(n *int, most int) {
	if !s.reading {
		s.bytes = binary.AppendUvarint(s.bytes, uint64(*n))
		return
	}
	v, size := binary.Uvarint(s.bytes)
	if s.failed || size <= 0 || v > uint64(most) {
		s.failed, s.bytes, *n = true, nil, 0
		return
	}
	s.bytes, *n = s.bytes[size:], int(v)
}

// same is a value that must be what it was when the state was written.
func (s *state) same(v uint64) {
	was := v
	s.uint64(&was)
	s.failed = s.failed || was != v
}

// raw carries bytes as they are.
func (s *state) raw(b []byte) {
	if s.reading {
		copy(b, s.take(len(b)))
		return
	}
	s.bytes = append(s.bytes, b...)
}

// fixed carries a value whose fields are all of fixed size. It is slow, and for
// the few.
func (s *state) fixed(v any) {
	var err error
	if !s.reading {
		s.bytes, err = binary.Append(s.bytes, binary.LittleEndian, v)
	} else {
		_, err = binary.Decode(s.take(binary.Size(v)), binary.LittleEndian, v)
	}
	s.failed = s.failed || err != nil
}

// part carries bytes with their length.
func (s *state) part(b *[]byte, most int) {
	n := len(*b)
	s.count(&n, most)
	if s.reading {
		*b = s.take(min(n, len(s.bytes)+1)) // one more than there is fails
		return
	}
	s.bytes = append(s.bytes, *b...)
}

// sealState appends a state and openState opens one, between its name with its
// version, and a checksum.
func sealState(b []byte, name string, version byte, walk func(*state)) []byte {
	begin := len(b)
	s := &state{bytes: append(append(b, name...), version)}
	walk(s)
	return binary.LittleEndian.AppendUint32(s.bytes, crc32.ChecksumIEEE(s.bytes[begin:]))
}

func openState(b []byte, name string, version byte, walk func(*state)) error {
	body, err := checkFile(b, name, version)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	s := &state{bytes: body, reading: true}
	if walk(s); s.failed || len(s.bytes) > 0 {
		return ErrState
	}
	return nil
}
