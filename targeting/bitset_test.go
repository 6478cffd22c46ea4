package targeting

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// A cursor that skips blocks gives the bits that were put in, dense or not.
func TestPostings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const lineItems = 20 * blockBits
		seed := rapid.Uint64().Draw(t, "seed")
		gap := rapid.SampledFrom([]int{2, 60, 700, 5000}).Draw(t, "gap")
		r := rand.New(rand.NewPCG(seed, 1))
		want := map[int32]bool{}
		var positions []int32
		for i := int32(r.IntN(gap)); i < lineItems; i += 1 + int32(r.IntN(gap)) {
			want[i] = true
			positions = append(positions, i)
		}
		p := newPostings(positions, lineItems)
		if dense := gap <= 60; (p.dense != nil) != dense {
			t.Fatalf("gap %d: dense is %t", gap, p.dense != nil)
		}
		c := cursor{postings: &p}
		for b := r.IntN(3); b < lineItems/blockBits; b += 1 + r.IntN(4) {
			var got block
			c.or(&got, b)
			for i := range int32(blockBits) {
				at := int32(b)*blockBits + i
				if bit := got[i/64]>>(i%64)&1 == 1; bit != want[at] || p.has(at) != want[at] {
					t.Fatalf("bit %d is %t by cursor and %t by has, want %t", at, bit, p.has(at), want[at])
				}
			}
		}
	})
}

func TestTable(t *testing.T) {
	var tb table
	if tb.find(0) != -1 {
		t.Error("an empty table has a key")
	}
	want := map[uint32]uint32{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		key := uint32(r.IntN(5000)) * 64
		n := tb.intern(key)
		if old, ok := want[key]; ok && old != n {
			t.Fatalf("intern(%d) = %d, want %d", key, n, old)
		}
		want[key] = n
	}
	for key, n := range want {
		if got := tb.find(key); got != int32(n) {
			t.Fatalf("find(%d) = %d, want %d", key, got, n)
		}
		if got := tb.find(key + 1); got != -1 {
			t.Fatalf("find(%d) = %d, want -1", key+1, got)
		}
	}
}

func TestContains(t *testing.T) {
	for n := range uint32(40) {
		var list []uint32
		for i := range n {
			list = append(list, 3*i)
		}
		for v := range 3*n + 3 {
			if got, want := contains(list, v), v%3 == 0 && v < 3*n; got != want {
				t.Errorf("contains(%d numbers, %d) = %t, want %t", n, v, got, want)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	var f flags
	f.grow(200)
	for _, v := range []uint32{0, 63, 64, 199, 64} {
		f.add(v)
	}
	if !f.hasAll([]uint32{0, 63, 64, 199}) || f.hasAny([]uint32{1, 62, 65, 198}) || len(f.list) != 4 {
		t.Errorf("flags hold %v", f.list)
	}
	f.clear()
	if f.hasAny([]uint32{0, 63, 64, 199}) {
		t.Error("flags remain after clear")
	}
}
