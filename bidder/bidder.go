package bidder

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"sync/atomic"

	"bidwell/bidder/exchange"
	"bidwell/events"
	"bidwell/models"
	"bidwell/pacing"
	"bidwell/privacy"
	"bidwell/rtb"
	"bidwell/targeting"
)

// Parts are what a Bidder is made of; all are required.
type Parts struct {
	Catalog   *targeting.Catalog
	Profiles  Profiles
	Pacer     *pacing.Pacer
	Predictor *models.Predictor
	Keys      *events.Keyring
	Exchanges *exchange.Directory // the first; see [Bidder.SetExchanges]
	Rates     *rtb.Rates
	Salt      *[32]byte       // of user hashes
	Samples   *events.Samples // of the bids, Config.SampleShare of them; nil for none
	Clock     *Clock

	// Shader lowers bids in first-price auctions; nil begins with nothing known.
	Shader *models.Shader

	// Creatives is what is known of creatives beside the predictions; nil begins
	// with nothing.
	Creatives *models.Creatives
}

// Bidder decides on bid requests. It is safe for concurrent use.
type Bidder struct {
	cfg Config
	Parts
	directory atomic.Pointer[directory]
	shedder   shedder
	draining  atomic.Bool

	experiments atomic.Pointer[models.Experiments]
	noted       *events.Dedup // users whose arms were logged lately

	// Exposures are the bids in flight, as far as frequency caps count them.
	Exposures *Exposures

	sampled uint64 // bids whose coin of 32 bits is below it are kept as samples

	// admit is Pacer.Admit, made once: a method value allocates.
	admit func(slot int32, coin uint32) rtb.NoBid
}

// directory is the exchanges with what the bidder keeps beside each.
type directory struct {
	*exchange.Directory
	counters [256]*exchangeCounters
	limiters [256]*limiter
}

// New returns a Bidder that is ready to serve.
func New(cfg Config, parts Parts) (*Bidder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if parts.Catalog == nil || parts.Profiles == nil || parts.Pacer == nil || parts.Predictor == nil ||
		parts.Keys == nil || parts.Exchanges == nil || parts.Rates == nil || parts.Salt == nil || parts.Clock == nil {
		return nil, errors.New("bidder: a part is missing")
	}
	b := &Bidder{cfg: cfg, Parts: parts, admit: parts.Pacer.Admit}
	if b.Creatives == nil {
		b.Creatives = models.NewCreatives()
	}
	if b.Shader == nil {
		var err error
		if b.Shader, err = models.NewShader(models.DefaultShaderConfig()); err != nil {
			return nil, err
		}
	}
	if parts.Samples != nil {
		b.sampled = uint64(cfg.SampleShare * (1 << 32))
	}
	b.noted = events.NewDedup(18)
	b.shedder.maxDelay = cfg.MaxDelay
	var err error
	if b.Exposures, err = newExposures(cfg); err != nil {
		return nil, err
	}
	b.SetExchanges(parts.Exchanges)
	return b, nil
}

// SetExchanges replaces the exchange profiles. Requests under way go on with
// the old ones.
func (b *Bidder) SetExchanges(d *exchange.Directory) {
	next := &directory{Directory: d}
	old := b.directory.Load()
	for _, ex := range d.All() {
		next.counters[ex.ID] = newExchangeCounters(ex.Name)
		next.limiters[ex.ID] = &limiter{}
		if old != nil && old.limiters[ex.ID] != nil {
			next.limiters[ex.ID] = old.limiters[ex.ID]
		}
	}
	b.directory.Store(next)
}

// Exchange is the current profile of an exchange, or nil.
func (b *Bidder) Exchange(id rtb.ExchangeID) *exchange.Exchange { return b.directory.Load().ByID(id) }

// bid decides on s.request, which came from s.exchange, and fills s.response.
func (b *Bidder) bid(s *scratch) {
	req, resp := &s.request, &s.response
	resp.RequestID = req.ID
	resp.Reason = b.open(s)
	if resp.Reason != rtb.BidMade {
		return
	}

	x := s.index
	s.matches.Limit = batch
	x.Begin(&s.matches, &s.context)
	reason := rtb.BidMade // the one that came furthest
	for i := range req.Imps {
		imp := &req.Imps[i]
		if imp.Broken {
			continue
		}
		x.Match(&s.matches, imp)
		if len(s.matches.Candidates) == 0 {
			reason = max(reason, s.matches.Reason)
			continue
		}
		if why := b.offer(s, x, imp); why != rtb.BidMade {
			reason = max(reason, why)
		}
		if s.exchange.MaxBids > 0 && len(resp.Bids) == s.exchange.MaxBids {
			break
		}
	}
	if len(resp.Bids) == 0 {
		resp.Reason = cmp.Or(reason, rtb.NoUsableImp)
	}
}

// open decides what holds for the whole request: seat, currency, permissions
// and the user. It returns BidMade if bidding may go on.
func (b *Bidder) open(s *scratch) rtb.NoBid {
	req := &s.request
	req.Exchange = s.exchange.ID
	s.index = b.Catalog.Index()
	if !s.deadline.After(s.arrived) {
		return rtb.TooLate
	}
	if s.response.Currency = b.currency(s); s.response.Currency == (rtb.Currency{}) {
		return rtb.CurrencyUnknown
	}

	permissions := privacy.Decide(&req.Signals)
	if !permissions.Bid {
		return rtb.UserOptedOut
	}
	if permissions.Profile {
		identify(req, b.Salt)
	}
	privacy.Redact(req, permissions)
	s.context.User = &s.user
	b.lookUp(s)
	if len(req.Users) > 0 {
		// A profile that cannot be read in time is an unknown user.
		if b.Profiles.Profile(s.now, s.deadline, req.Users, &s.user) != nil {
			s.user.Reset()
			s.context.User = nil
		}
		if s.user.OptedOut {
			s.user.Reset()
			req.Users = req.Users[:0]
		}
		b.expose(s)
	}
	b.assign(s)

	s.context.Request = req
	s.context.Now = s.now
	s.context.Rates = b.Rates
	s.context.Seat = s.exchange.Form.Seat
	s.context.Coin = rand.Uint64()
	s.context.Admit = b.admit
	return rtb.BidMade
}

// currency is the one to answer in: the account's if the request allows it,
// else the first that it names and the rates know, and zero if there is none.
// A request that names none is answered in the exchange's default.
func (b *Bidder) currency(s *scratch) rtb.Currency {
	allowed := s.request.Currencies
	if len(allowed) == 0 {
		if b.Rates.Knows(s.exchange.DefaultCurrency) {
			return s.exchange.DefaultCurrency
		}
		return rtb.Currency{}
	}
	var first rtb.Currency
	for _, c := range allowed {
		if c == b.Rates.Account() {
			return c
		}
		if first == (rtb.Currency{}) && b.Rates.Knows(c) {
			first = c
		}
	}
	return first
}

// offer is the price of one candidate.
type offer struct {
	candidate int32
	reason    rtb.NoBid // why it may not be made; BidMade otherwise
	ctr, cvr  float64
	value     rtb.Money // of one impression, in the account currency
	worth     rtb.Money // what it could bid of that now, and does where nothing is shaded
	price     rtb.Money // what it would bid, in the account currency
	auction   uint8
	shading   rtb.Shading
	at        models.ShadeContext
	arm       models.Override // of the user's experiment arms
}

// Candidates come one at a time, that with the highest ceiling first, and at
// most so many are priced for one imp.
const (
	batch         = 1
	maxCandidates = 16
)

// offer makes the best bid on imp that there is money for. It looks at
// candidates until one of those seen offers as much as any of the others may.
func (b *Bidder) offer(s *scratch, x *targeting.Index, imp *rtb.Imp) rtb.NoBid {
	s.predicting = nil
	s.offers = s.offers[:0]
	s.coin = rand.Uint32()
	best, explored := b.price(s, imp, -1), false
	for {
		for (best < 0 || s.offers[best].worth < s.matches.Ceiling()) && len(s.offers) < maxCandidates && x.More(&s.matches) {
			best = b.price(s, imp, best)
		}
		if best < 0 {
			return furthest(s.offers)
		}
		if !explored {
			best, explored = b.explore(s, imp, best), true
		}
		o := &s.offers[best]
		c := &s.matches.Candidates[o.candidate]
		if o.arm.Holdout {
			b.ghost(s, c, o)
			o.reason = rtb.HeldOut
			best = bestOffer(s.offers)
			if best < 0 && len(s.offers) >= maxCandidates {
				return furthest(s.offers)
			}
			continue
		}
		cost := c.LineItem.Fees.On(o.price)
		if b.Pacer.Take(c.LineItem.Slot, cost, s.now) {
			id := events.NewBidID(rand.Uint64(), rand.Uint64())
			if o.reason = b.hold(s, c, &id); o.reason == rtb.BidMade {
				b.add(s, imp, c, o, id)
				return rtb.BidMade
			}
			b.Pacer.Release(c.LineItem.Slot, cost, s.now)
		} else {
			o.reason = rtb.BudgetSpent
		}
		best = bestOffer(s.offers)
	}
}

// furthest is the reason of the offer that came furthest.
func furthest(offers []offer) rtb.NoBid {
	reason := rtb.BidMade
	for i := range offers {
		reason = max(reason, offers[i].reason)
	}
	return reason
}

// bestOffer is the offer worth most that may be made, the first of equals, or -1.
func bestOffer(offers []offer) int {
	best := -1
	for i := range offers {
		if offers[i].reason == rtb.BidMade && (best < 0 || offers[i].worth > offers[best].worth) {
			best = i
		}
	}
	return best
}

// silentSamples is how many times as many bids are kept as samples of an
// exchange that tells of no loss.
const silentSamples = 10

// add appends the bid that o is to the response, with its tokens.
func (b *Bidder) add(s *scratch, imp *rtb.Imp, c *targeting.Candidate, o *offer, id rtb.BidID) {
	resp := &s.response
	resp.Bids = append(resp.Bids, rtb.Bid{
		ID:       id,
		Imp:      imp,
		LineItem: c.LineItem,
		Creative: c.Creative,
		Seat:     c.LineItem.Seat,
		Cost:     c.LineItem.Fees.On(o.price),
		Size:     c.Size,
		Protocol: c.Protocol,
	})
	bid := &resp.Bids[len(resp.Bids)-1]
	bid.Price, _ = b.Rates.FromAccount(o.price, resp.Currency)
	if deal := dealOf(imp, c); deal != nil {
		bid.Deal = deal.ID
	}
	if c.Creative.Media == rtb.Native {
		s.native.fit(c.Creative, imp)
		bid.NativeIDs = s.native.ids
		bid.Viewable = s.native.request.Viewable()
	}
	event := b.event(s, c, o)
	event.Bid, event.Cost = bid.ID, bid.Cost
	sampled := b.sampled
	if !s.exchange.Form.LURL { // losses are known from samples alone
		sampled *= silentSamples
	}
	if sampled != 0 && s.context.Coin>>32 < sampled && !s.explaining {
		sample := event
		sample.Type, sample.Time, sample.Price = rtb.EventBid, s.now, bid.Price
		sample.WinRate = float32(b.Shader.WinRate(o.at, o.worth, o.price))
		b.Samples.Offer(&sample)
	}
	bid.Token = b.seal(s, events.Browser, &event)
	s.arm = o.arm
	b.features(s, imp, c)
	event.CTR, event.CVR, event.Model = float32(o.ctr), float32(o.cvr), s.features.Version()
	event.Features.Set(s.features.Hashes)
	bid.ViewToken = b.seal(s, events.View, &event)
	if s.exchange.Form.Notifies() {
		bid.ServerToken = b.seal(s, events.Server, &event)
	}
}

// event is what is known of an offer, but for the bid that it may become.
func (b *Bidder) event(s *scratch, c *targeting.Candidate, o *offer) rtb.Event {
	event := rtb.Event{
		Node:       b.Pacer.Node(),
		Exchange:   s.exchange.ID,
		LineItem:   c.LineItem.ID,
		Campaign:   c.LineItem.Campaign,
		Advertiser: c.LineItem.Advertiser,
		Creative:   c.Creative.ID,
		Media:      c.Creative.Media,
		Made:       s.now,
		Fees:       c.LineItem.Fees,
		Currency:   s.response.Currency,
		BilledBy:   billing(s.exchange.Billing),
		Worth:      o.worth,
		Floor:      o.at.Floor,
		Format:     o.at.Format,
		Auction:    o.auction,
		Shading:    o.shading,
		Arms:       s.arms,
	}
	if len(s.request.Users) > 0 {
		event.User = s.request.Users[0]
	}
	return event
}

// seal appends a token to s.token and returns it.
func (b *Bidder) seal(s *scratch, class events.Class, event *rtb.Event) []byte {
	n := len(s.token)
	s.token = b.Keys.AppendToken(s.token, class, event)
	return s.token[n:len(s.token):len(s.token)]
}

// withdraw takes back the bids of s.response: their holds are released.
func (b *Bidder) withdraw(s *scratch, why rtb.NoBid) {
	for i := range s.response.Bids {
		bid := &s.response.Bids[i]
		b.Pacer.Release(bid.LineItem.Slot, bid.Cost, s.now)
		if s.exposed.made > 0 {
			b.Exposures.remove(&s.request.Users[0], &bid.ID)
		}
	}
	s.response.Bids = s.response.Bids[:0]
	s.response.Reason = why
}
