package bidder

import (
	"sync"
	"time"

	"bidwell/bidder/exchange"
	"bidwell/bidder/openrtb"
	"bidwell/models"
	"bidwell/rtb"
	"bidwell/targeting"
)

// scratch is all the memory that answering one request needs. It is reused,
// and nothing in it may be kept.
type scratch struct {
	request  rtb.Request
	response rtb.Response
	user     rtb.Profile
	context  targeting.Context
	matches  targeting.Matches
	features models.Features
	native   nativeFit
	offers   []offer
	options  [targeting.MaxFits]models.Option
	exposed  exposed
	index    *targeting.Index

	experiments *models.Experiments
	arms        [rtb.MaxLayers]uint16 // of the user
	inArms      bool                  // in any
	arm         models.Override       // of the candidate at hand

	coin       uint32   // of the imp, for shading
	explaining bool     // nothing is logged of a bid that is only explained
	predicting *rtb.Imp // what features and the predictor have begun

	exchange *exchange.Exchange
	arrived  time.Time // when the request was complete, in real time
	now      time.Time // what it is decided by, see Clock
	deadline time.Time // in real time

	plain []byte // an inflated body
	body  []byte // the answer
	token []byte // sealed tokens of the bids, one after the other
}

var scratches = sync.Pool{New: func() any { return newScratch() }}

func newScratch() *scratch {
	s := &scratch{
		body:  make([]byte, 0, 8<<10),
		token: make([]byte, 0, 8<<10),
	}
	s.context.Fit = s.native.fit // made once: a method value allocates
	return s
}

// reset prepares s for the next request, and forgets the body of the last.
func (s *scratch) reset() {
	s.response.Reset()
	s.user.Reset()
	s.native.imp = nil
	s.offers = s.offers[:0]
	s.body = s.body[:0]
	s.token = s.token[:0]
}

// nativeFit parses the native request of an imp when the first native
// creative asks, and once only.
type nativeFit struct {
	imp     *rtb.Imp
	request openrtb.NativeRequest
	err     error
	ids     [rtb.MaxNativeAssets]int32
}

// fit reports whether c has what the native request of imp wants, and leaves
// the ids of the assets in n.ids.
func (n *nativeFit) fit(c *rtb.Creative, imp *rtb.Imp) rtb.NoBid {
	if n.imp != imp {
		n.imp = imp
		n.err = n.request.Decode(imp.Native.Request)
	}
	if n.err != nil {
		return rtb.NativeAssetsMismatch
	}
	return openrtb.FitNative(&n.request, c, &n.ids)
}
