package models

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"bidwell/rtb"
)

// BenchmarkPrediction is one prediction from a request to a probability,
// hashing included, of 40 features. Requests differ in site, tag, city, user
// and creative, so that weights are not in the cache for having just been
// used. The median is of single predictions, the clock's own time in it.
func BenchmarkPrediction(b *testing.B) {
	for _, c := range []struct {
		bits  int
		pairs *Pairs
	}{{18, nil}, {22, nil}, {18, randomPairs(b)}, {22, randomPairs(b)}} {
		b.Run(fmt.Sprintf("bits=%d/pairs=%t", c.bits, c.pairs != nil), func(b *testing.B) {
			p := NewPredictor(&Model{Clicks: randomModel(c.bits), Pairs: c.pairs})
			r := rand.New(rand.NewPCG(1, 1))
			type bid struct {
				req      *rtb.Request
				imp      *rtb.Imp
				user     *rtb.Profile
				creative rtb.Creative
			}
			bids := make([]bid, 8192)
			for i := range bids {
				v := &bids[i]
				v.req, v.imp, v.user = benchRequest()
				name := func(s string) []byte { return strconv.AppendUint([]byte(s), uint64(r.Uint32()), 10) }
				v.req.Inventory.Bundle, v.req.Inventory.Publisher, v.imp.TagID = name("com.example."), name("pub-"), name("tag-")
				v.req.Geo.City, v.req.Device.Model = name("City of "), name("Phone ")
				v.user.Segments = []rtb.SegmentID{rtb.SegmentID(r.Uint32()), rtb.SegmentID(r.Uint32()), rtb.SegmentID(r.Uint32()), 4}
				v.creative.ID = rtb.CreativeID(r.Uint32())
			}
			var f Features
			var item rtb.LineItem
			took := make([]time.Duration, 0, 1<<20)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				v := &bids[i&8191]
				i++
				begun := time.Now()
				f.Begin(v.req, v.imp, v.user, noon)
				p.Begin(&f)
				f.Candidate(&item, &v.creative, rtb.Size{W: 320, H: 50})
				p.Click(&f)
				if len(took) < cap(took) {
					took = append(took, time.Since(begun))
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
			b.ReportMetric(float64(len(f.Hashes)), "features")
		})
	}
}
