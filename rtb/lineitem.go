package rtb

import (
	"strconv"
	"time"
)

// LineItem is one buying instruction of a campaign. It is made when campaigns
// change and never modified afterwards, so bids may point to it.
type LineItem struct {
	ID          LineItemID
	Key         string // the id of its document, as people know it
	Name        string
	Campaign    CampaignID
	CampaignKey string // the id of its document
	Advertiser  AdvertiserID
	Seat        string // answered in seatbid.seat; empty: that of the exchange's profile
	Flight      Flight
	Budgets     []Budget // its own and those of its campaign; each must have room
	Fees        Fees     // on top of the price of the media; part of all its budgets
	Pacing      Pacing
	Goal        Goal
	Targeting   Targeting
	Caps        []FrequencyCap
	MinGap      time.Duration  // between two impressions of it for one user; zero for none
	Location    *time.Location // the advertiser's time zone, never nil
	Creatives   []Creative     // in the order of the document
	Rotation    Rotation       // among those of them that fit
	Repeat      bool           // RotateSequence begins anew after the last one

	// Slot is its place in the pacer, which outlives every catalog.
	Slot int32
}

// Flight is when a line item may serve. A zero End means open-ended.
type Flight struct{ Start, End time.Time }

// Budget is a limit on what an account spends, in its measure; zero means none.
// Line items with the same Account draw on the same budget.
type Budget struct {
	Account      AccountID
	Total, Daily Money // impressions and clicks count one each
}

// Measure is what an account counts.
type Measure uint8

// The measures.
const (
	OfMoney       Measure = iota // in the account currency
	OfImpressions                // that were billed
	OfClicks
)

var measureNames = [...]string{OfMoney: "money", OfImpressions: "impressions", OfClicks: "clicks"}

// String is the name used in the API.
func (m Measure) String() string {
	if int(m) < len(measureNames) {
		return measureNames[m]
	}
	return "unknown"
}

// AccountID names an account: whose it is and what it counts. The number is
// that of the document, so an account outlives every edit.
type AccountID uint64

const (
	lineItemAccount AccountID = 1 << 40
	campaignAccount AccountID = 2 << 40
)

// LineItemAccount is the account of a line item's own.
func LineItemAccount(id LineItemID, of Measure) AccountID {
	return lineItemAccount | AccountID(of)<<32 | AccountID(id)
}

// CampaignAccount is the account that the line items of a campaign share.
func CampaignAccount(id CampaignID, of Measure) AccountID {
	return campaignAccount | AccountID(of)<<32 | AccountID(id)
}

// Measure is what the account counts.
func (a AccountID) Measure() Measure { return Measure(a >> 32) }

// Number is that of the line item or the campaign.
func (a AccountID) Number() uint32 { return uint32(a) }

// LineItem reports whether the account is a line item's own.
func (a AccountID) LineItem() bool { return a>>40 == lineItemAccount>>40 }

// String is for people and logs, such as "line-item/17/money".
func (a AccountID) String() string {
	owner := "campaign"
	if a.LineItem() {
		owner = "line-item"
	}
	return owner + "/" + strconv.FormatUint(uint64(a.Number()), 10) + "/" + a.Measure().String()
}

// Pacing is how a line item spreads its daily budget over the day.
type Pacing uint8

// The ways to pace.
const (
	PaceEven  Pacing = iota // along the expected traffic of the hours of the week
	PaceASAP                // no brake but the budget
	PaceAhead               // like even, but allowed to run ahead of it by a tenth
)

// GoalType is what the advertiser pays for.
type GoalType uint8

// The goals.
const (
	GoalCPM GoalType = iota + 1
	GoalCPC
	GoalCPA
	GoalROAS
)

// Goal is what an impression is worth. Value is the price of one impression
// for GoalCPM, of one click or conversion otherwise, and for GoalROAS what a
// conversion brings as long as nobody has told.
type Goal struct {
	Type   GoalType
	Value  Money
	Return uint32 // for GoalROAS: what the spend shall bring, in hundredths of it
	Max    Money  // the highest bid for one impression; never zero

	// MaxCPC and MaxCPA are what a click and a conversion may cost on average;
	// zero for no such cap.
	MaxCPC, MaxCPA Money
}

// Targeting is where and to whom a line item may serve. An empty list does not
// restrict.
type Targeting struct {
	SegmentsAny, SegmentsAll, SegmentsNone []SegmentID

	Countries [][2]byte
	Regions   []string // "CA" or "US-CA", in any case; the country is then required
	Cities    []string
	Zips      []string // a trailing "*" makes it a prefix
	Fences    []Fence

	Devices     []uint8 // OpenRTB list "device types"
	OS          []OS
	Languages   [][2]byte
	Connections []uint8
	Carriers    []string // name or MCC-MNC

	AllowDomains, DenyDomains []string // a domain covers its subdomains
	AllowApps, DenyApps       []string // bundles
	AllowCategories           []string // inventory categories; IAB forms cover their children
	DenyCategories            []string
	Deals                     []string // deal ids: only through one of these
	Exchanges                 []ExchangeID
	Media                     []InventoryKind // site, app, dooh

	Hours    WeekHours
	UserTime bool // hours are in the user's time zone where known, else the advertiser's
}

// WeekHours is a set of hours of the week, Sunday midnight first. Set is false
// when there is no restriction, so that an empty set means never.
type WeekHours struct {
	Set  bool
	Bits [3]uint64
}

// Add puts one hour of a day into the set.
func (w *WeekHours) Add(day time.Weekday, hour int) {
	w.Set = true
	h := int(day)*24 + hour
	w.Bits[h>>6] |= 1 << (h & 63)
}

// Has reports whether an hour of the week, 0 to 167, may serve.
func (w *WeekHours) Has(hour int) bool {
	return !w.Set || w.Bits[hour>>6]&(1<<(hour&63)) != 0
}

// Fence is a circle on the ground.
type Fence struct{ Lat, Lon, Meters float64 }

// Rotation is how a line item chooses among its creatives that fit.
type Rotation uint8

// The rotations.
const (
	RotateOptimize Rotation = iota // that which is most likely to be clicked, as far as is known
	RotateEven                     // each as often as any other
	RotateWeighted                 // by Creative.Weight
	RotateSequence                 // in their order, one step for each impression that the user has seen
)

var rotationNames = [...]string{RotateOptimize: "optimize", RotateEven: "even", RotateWeighted: "weighted", RotateSequence: "sequence"}

// String is the name used in the API.
func (r Rotation) String() string {
	if int(r) < len(rotationNames) {
		return rotationNames[r]
	}
	return "unknown"
}

// CapScope is what a frequency cap counts.
type CapScope uint8

// The scopes of a frequency cap.
const (
	CapLineItem CapScope = iota + 1
	CapCampaign
	CapAdvertiser
	CapCreative
)

// FrequencyCap limits the impressions that one user sees.
type FrequencyCap struct {
	Per    CapScope
	Limit  uint16
	Window time.Duration
}

// Creative is one ad that a line item may show.
type Creative struct {
	ID         CreativeID
	Key        string // the id of its document; answered as crid
	Media      Media
	Size       Size          // banner; video may leave it zero for any player
	Duration   time.Duration // video and audio
	Mime       Mimes         // of the image, or of the first media file
	MimeAll    Mimes         // of all media files: one that is allowed is enough
	Protocol   uint8         // OpenRTB list "protocols" of the VAST made from it; zero: the newest that is allowed
	API        Bits          // frameworks it needs, such as VPAID, MRAID, OMID; empty: none
	Bitrate    uint32        // kbit/s of video and audio; zero when unknown
	Linear     bool
	Skippable  bool
	Attributes Bits   // OpenRTB list "creative attributes"
	BannerType uint8  // OpenRTB list "banner ad types": 1 XHTML text, 2 XHTML banner, 3 JavaScript, 4 iframe
	Language   string // ISO 639-1, lower case; "" when it has no words
	Secure     bool   // every address in it is https
	Weight     uint16 // among the creatives of its line item, for RotateWeighted; zero counts as one

	Advertisers []string // adomain, lower case, without "www."
	Bundle      string   // of the advertised app
	Categories  []string // OpenRTB categories
	Taxonomy    uint16   // cattax of Categories
	ClickURL    string   // landing page, with macros: see Landing
	ImageURL    string   // iurl: a picture of it for checks of its contents
	DSA         *CreativeDSA
	Expiry      uint32 // exp, in seconds; zero: the exchange's default

	Assets Assets

	// Products makes it a template: it is shown with one of them, never without.
	// Of itself it then has no answer.
	Products []Product
	// Product is the id of that which the Ad of a template shows.
	Product string

	// Answer is what package openrtb made of Assets: the markup of a banner,
	// the VAST of a video or an audio ad for players that name no version they
	// know, or what follows the assets of a native ad.
	Answer []Piece
	// Viewable follows the Answer of a native ad where the request asks to be
	// told of viewable impressions.
	Viewable []Piece
	// Versions are the VAST documents for the players that do name one.
	Versions []VersionAnswer
	// Native is what a native ad can give for the request's assets.
	Native []NativeAnswer
	// Fixed are the members of the bid object that are the same in every bid
	// with this creative, as JSON text with a comma before each.
	Fixed []byte
	// FixedExt are the members of the bid's ext object that are the same in
	// every bid with this creative, as JSON text with commas between them.
	FixedExt []byte
}

// Product is an item of a product feed that a template is shown with.
type Product struct {
	ID       string      // of the feed; stands in the address that counts its clicks
	Title    string      // for {PRODUCT_TITLE}
	Price    string      // for {PRODUCT_PRICE}, such as "79 EUR"
	Image    string      // for {PRODUCT_IMAGE}: address of a picture
	URL      string      // landing page, for {PRODUCT_URL} and all clicks; empty: that of the creative
	Segments []SegmentID // whom it is for, any of them; empty: everybody

	// Ad is the creative with the product in it, made by package openrtb. It has
	// the id and the key of the template.
	Ad *Creative
}

// MaxProducts is how many products a template may have.
const MaxProducts = 200

// CreativeDSA is the advertiser's own transparency information, answered in
// ext.dsa where a request demands it.
type CreativeDSA struct {
	Behalf, Paid string
	AdRender     uint8
}

// Assets are what an ad is made of.
type Assets struct {
	HTML        string // banner: own markup; empty: made from Image. Macros: {CLICK_URL} {CLICK_TRACKER} {CACHE_BUSTER} and, in a template, {PRODUCT_...}
	Image       string // banner: address of the picture
	Title       string // native, VAST AdTitle
	Body        string // native
	Sponsor     string // native
	CallTo      string // native: text of the button
	Icon        Picture
	Main        Picture
	Rating      string
	Price       string
	MediaFiles  []MediaFile // video, audio, native video
	CompanionOf []Picture
}

// Picture is an image with its size.
type Picture struct {
	URL  string
	Size Size
}

// MediaFile is one encoding of a video or an audio ad.
type MediaFile struct {
	URL      string
	Mime     Mimes
	Size     Size
	Bitrate  uint32 // kbit/s
	Duration time.Duration
}

// Slot says what goes between two literals of an answer.
type Slot uint8

// What a Piece may be followed by.
const (
	SlotNone      Slot = iota
	SlotToken          // the browser's token of the bid: URL-safe base64, which needs no escaping anywhere
	SlotBidID          // the id of the bid, in the same alphabet
	SlotPrice          // the price macro where the exchange bills by pixel, else nothing
	SlotViewToken      // the token of the impression pixel, in the same alphabet
)

// Piece is a stretch of markup that is already escaped for the JSON string it
// will stand in, and what follows it.
type Piece struct {
	Literal []byte
	Slot    Slot
}

// VersionAnswer is a VAST document of one version.
type VersionAnswer struct {
	Protocol uint8 // OpenRTB list "protocols"
	Pieces   []Piece
}

// NativeAnswer is what a native creative can give for one kind of asset.
type NativeAnswer struct {
	Kind  NativeKind
	Type  uint8 // OpenRTB Native list "data asset types" or "image asset types"; of a video the OpenRTB "protocols"
	Size  Size
	Chars uint16 // length of the text
	Mime  Mimes
	JSON  []Piece // the asset's value, escaped for the JSON string it will stand in, without the id
}

// NativeKind is a kind of native asset.
type NativeKind uint8

// Kinds of native assets.
const (
	NativeTitle NativeKind = iota + 1
	NativeImage
	NativeData
	NativeVideo
)
