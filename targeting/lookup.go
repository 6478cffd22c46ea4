package targeting

import (
	"encoding/binary"
	"math/bits"
)

// table maps numbers to small numbers by open addressing. It does not change
// once built, and is two to three times faster than a map.
type table struct {
	slots []tableSlot
	shift uint8
	count int
}

type tableSlot struct {
	key   uint32
	value int32 // plus one; zero marks an empty slot
}

const spread = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio

func newTable(capacity int) table {
	n := bits.Len(uint(max(capacity, 2)*2 - 1))
	return table{slots: make([]tableSlot, 1<<n), shift: uint8(64 - n)}
}

func (t *table) place(key uint32) int { return int(uint64(key) * spread >> t.shift) }

// find returns the value of key, or -1.
func (t *table) find(key uint32) int32 {
	if t.count == 0 {
		return -1
	}
	for i := t.place(key); ; i++ {
		slot := &t.slots[i&(len(t.slots)-1)]
		if slot.value == 0 {
			return -1
		}
		if slot.key == key {
			return slot.value - 1
		}
	}
}

// add puts a new key into t, which grows.
func (t *table) add(key uint32, value int32) {
	if 2*t.count >= len(t.slots) {
		grown := newTable(max(2*t.count, 4))
		for _, slot := range t.slots {
			if slot.value != 0 {
				grown.add(slot.key, slot.value-1)
			}
		}
		*t = grown
	}
	i := t.place(key)
	for t.slots[i&(len(t.slots)-1)].value != 0 {
		i++
	}
	t.slots[i&(len(t.slots)-1)] = tableSlot{key, value + 1}
	t.count++
}

// intern returns the number of key, which is the next free one if it is new.
func (t *table) intern(key uint32) uint32 {
	v := t.find(key)
	if v < 0 {
		v = int32(t.count)
		t.add(key, v)
	}
	return uint32(v)
}

// vocabulary numbers the strings that line items or creatives name. ASCII
// letters compare folded unless it is exact. Its keys are ours, so a request
// cannot make it slow.
type vocabulary struct {
	exact bool
	slots []vocabularySlot
	mask  uint32
	words []string // by number, lower case unless exact
}

type vocabularySlot struct {
	hash   uint32
	number uint32 // plus one; zero marks an empty slot
}

// len is how many strings there are.
func (v *vocabulary) len() int { return len(v.words) }

// intern returns the number of s, which is the next free one if it is new.
func (v *vocabulary) intern(s string) uint32 {
	b := []byte(s)
	if n := v.find(b); n >= 0 {
		return uint32(n)
	}
	if 2*len(v.words) >= len(v.slots) {
		v.slots = make([]vocabularySlot, max(2*len(v.slots), 16))
		v.mask = uint32(len(v.slots) - 1)
		for n, word := range v.words {
			v.put(hashFolded([]byte(word)), uint32(n))
		}
	}
	if !v.exact {
		for i, c := range b {
			b[i] = lower(c)
		}
	}
	v.words = append(v.words, string(b))
	v.put(hashFolded(b), uint32(len(v.words)-1))
	return uint32(len(v.words) - 1)
}

func (v *vocabulary) put(hash, number uint32) {
	i := hash
	for v.slots[i&v.mask].number != 0 {
		i++
	}
	v.slots[i&v.mask] = vocabularySlot{hash, number + 1}
}

// find returns the number of b, or -1 where nothing names it.
func (v *vocabulary) find(b []byte) int32 {
	if len(v.words) == 0 {
		return -1
	}
	hash := hashFolded(b)
	for i := hash; ; i++ {
		slot := v.slots[i&v.mask]
		if slot.number == 0 {
			return -1
		}
		if slot.hash != hash {
			continue
		}
		word := v.words[slot.number-1]
		if v.exact && string(b) == word || !v.exact && equalLower(b, word) {
			return int32(slot.number - 1)
		}
	}
}

// hashFolded is the same for texts that differ in the case of ASCII letters
// only. Setting bit 5 folds a few other bytes as well, which costs nothing but
// a comparison.
func hashFolded(b []byte) uint32 {
	const fold = 0x2020202020202020
	h := uint64(len(b)) * spread
	for len(b) >= 8 {
		h = mix(h ^ (binary.LittleEndian.Uint64(b) | fold))
		b = b[8:]
	}
	var tail uint64
	switch n := len(b); {
	case n >= 4:
		tail = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		tail = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	return uint32(mix(h^(tail|fold)) >> 32)
}

func mix(h uint64) uint64 {
	hi, lo := bits.Mul64(h, spread)
	return hi ^ lo
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// equalLower compares b, in any case, to a lower-case string.
func equalLower(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if lower(c) != word[i] {
			return false
		}
	}
	return true
}

// contains searches a rising list. Lists are short as a rule.
func contains(list []uint32, v uint32) bool {
	lo := 0
	for hi := len(list); hi-lo > 8; {
		mid := int(uint(lo+hi) >> 1)
		if list[mid] <= v {
			lo = mid
		} else {
			hi = mid
		}
	}
	for _, have := range list[lo:] {
		if have >= v {
			return have == v
		}
	}
	return false
}

// containsAny searches a rising list for any of a few numbers.
func containsAny(list, any []uint32) bool {
	for _, v := range any {
		if contains(list, v) {
			return true
		}
	}
	return false
}
