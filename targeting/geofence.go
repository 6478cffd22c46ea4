package targeting

import (
	"fmt"
	"math"
	"slices"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"

	"bidwell/rtb"
)

const (
	earthRadius = 6_371_008.8 // metres, mean
	maxFences   = 1000
)

// fences are the circles of one line item. Each is covered by a few S2 cells
// of about its size; the cells that hold a point lead to the circles worth
// measuring.
type fences struct {
	cells []fenceCell // by where they begin; an enclosing cell before those in it
}

// fenceCell is one cell of the cover of one circle.
type fenceCell struct {
	first, last s2.CellID // leaf cells
	around      int32     // the next cell that encloses this one, or -1
	circle      circle
}

// circle is a centre on the unit sphere and the square of the chord to its
// rim. Comparing squared chords is comparing haversines: one is four times the
// other.
type circle struct {
	centre s2.Point
	chord2 float64
}

func (f *fences) build(list []rtb.Fence) error {
	if len(list) > maxFences {
		return fmt.Errorf(": %d are more than %d", len(list), maxFences)
	}
	for i, fence := range list {
		if !(math.Abs(fence.Lat) <= 90 && math.Abs(fence.Lon) <= 180) {
			return fmt.Errorf("[%d]: %v, %v is no place", i, fence.Lat, fence.Lon)
		}
		if !(fence.Meters > 0 && fence.Meters <= math.Pi*earthRadius) {
			return fmt.Errorf("[%d]: a radius of %v meters", i, fence.Meters)
		}
		angle := fence.Meters / earthRadius
		half := 2 * math.Sin(angle/2)
		c := circle{centre: pointOf(fence.Lat, fence.Lon), chord2: half * half}
		// The cover is a little wider than the circle, whatever rounding does.
		cover := s2.CapFromCenterAngle(c.centre, s1.Angle(angle*(1+1e-9)+1e-12))
		for _, cell := range cover.CellUnionBound() {
			f.cells = append(f.cells, fenceCell{first: cell.RangeMin(), last: cell.RangeMax(), around: -1, circle: c})
		}
	}
	slices.SortStableFunc(f.cells, func(a, b fenceCell) int {
		switch {
		case a.first < b.first || a.first == b.first && a.last > b.last:
			return -1
		case a.first == b.first && a.last == b.last:
			return 0
		}
		return 1
	})
	// Of two cells one holds the other or they are apart, so the cells around
	// one are those that are open where it begins.
	open := int32(-1)
	for i := range f.cells {
		for open >= 0 && f.cells[open].last < f.cells[i].first {
			open = f.cells[open].around
		}
		f.cells[i].around = open
		open = int32(i)
	}
	return nil
}

// contain reports whether a point is in one of the circles.
func (f *fences) contain(point s2.Point, leaf s2.CellID) bool {
	lo, hi := 0, len(f.cells)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if f.cells[mid].first <= leaf {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for i := int32(lo - 1); i >= 0; i = f.cells[i].around {
		c := &f.cells[i]
		if c.last >= leaf && c.circle.contains(point) {
			return true
		}
	}
	return false
}

func (c *circle) contains(p s2.Point) bool {
	x, y, z := p.X-c.centre.X, p.Y-c.centre.Y, p.Z-c.centre.Z
	return x*x+y*y+z*z <= c.chord2
}

func pointOf(lat, lon float64) s2.Point {
	return s2.PointFromLatLng(s2.LatLngFromDegrees(lat, lon))
}

func leafOf(lat, lon float64) s2.CellID {
	return s2.CellIDFromLatLng(s2.LatLngFromDegrees(lat, lon))
}
