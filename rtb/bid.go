package rtb

// Response answers a Request. Without bids it is a no-bid, and Reason says
// why. It is reused; its slices alias the Request.
type Response struct {
	RequestID Token
	Currency  Currency
	Bids      []Bid
	Reason    NoBid
}

// Reset empties r and keeps its memory.
func (r *Response) Reset() { *r = Response{Bids: r.Bids[:0]} }

// Bid is an offer for one impression.
type Bid struct {
	ID       BidID
	Imp      *Imp
	LineItem *LineItem
	Creative *Creative
	Seat     string
	Price    Money  // for one impression, in the currency of the Response
	Cost     Money  // in the account currency, fees included: what was held
	Deal     Token  // empty in the open auction
	Size     Size   // of the slot it would fill; zero when that has none
	Token    []byte // for what browsers call
	Protocol uint8  // VAST version answered, OpenRTB list "protocols"
	Viewable bool   // the native request asks for an event tracker of viewable impressions

	ViewToken []byte // for the impression pixel

	// ServerToken is for what the exchange calls; empty when it calls nothing.
	ServerToken []byte

	// NativeIDs are the ids of the request's assets for each of
	// Creative.Native, or -1 where the request does not want it.
	NativeIDs [MaxNativeAssets]int32
}

// MaxNativeAssets is how many assets a native creative may have.
const MaxNativeAssets = 16

// NoBid is why a Request, an Imp or a LineItem got no bid. It is a value, not
// an error.
type NoBid uint8

// Why there is no bid. Those from NotActive on are said of one line
// item; a Request reports the one that came furthest.
const (
	BidMade NoBid = iota

	// Of the whole request.
	InvalidRequest
	UnknownExchange
	Overload
	TooLate
	SeatNotAllowed
	CurrencyUnknown
	NoUsableImp
	UserOptedOut

	// Of a line item, in the order in which they are checked.
	NotActive
	CountryMismatch
	MediaMismatch
	ExchangeMismatch
	DeviceMismatch
	OSMismatch
	ConnectionMismatch
	LanguageMismatch
	SegmentMissing
	SegmentExcluded
	DealMissing
	FloorTooHigh // the floor is above the most it may ever pay
	OutOfFlight
	OutOfHours
	RegionMismatch
	CityMismatch
	ZipMismatch
	OutsideFence
	CarrierMismatch
	InventoryDenied
	CategoryDenied
	InventoryKindMismatch
	SizeMismatch
	MimeMismatch
	DurationMismatch
	ProtocolMismatch
	APIMismatch
	PlacementMismatch
	AttributeBlocked
	CreativeCategoryBlocked
	AdvertiserBlocked
	AppBlocked
	NotSecure
	CreativeLanguage
	NativeAssetsMismatch
	TransparencyMissing
	ProductMissing // a template has no product for the user, or none that fits
	CreativeNotApproved
	UserUnknown // a frequency cap cannot be kept for somebody who is not known
	FrequencyCapped
	NoticesMissing // it bids and wins should have come, but no notice arrives: stopped
	PacedOut
	BelowFloor // its value is below the floor
	ArmRefused // the user's arm of an experiment shows another creative, or no more of them
	HeldOut    // the user is in a holdout of an experiment: the bid is logged, not made
	BudgetSpent
	Outbid // another line item won inside
	AnswerTooLarge

	noBidCount
)

// NoBidCount is the number of reasons, for tables indexed by NoBid.
const NoBidCount = int(noBidCount)

var noBidNames = [NoBidCount]string{
	BidMade: "bid", InvalidRequest: "invalid-request", UnknownExchange: "unknown-exchange", Overload: "overload",
	TooLate: "too-late", SeatNotAllowed: "seat-not-allowed", CurrencyUnknown: "currency-unknown",
	NoUsableImp: "no-usable-imp", UserOptedOut: "user-opted-out",
	NotActive: "not-active", CountryMismatch: "country", MediaMismatch: "media", ExchangeMismatch: "exchange",
	DeviceMismatch: "device", OSMismatch: "os", ConnectionMismatch: "connection", LanguageMismatch: "language",
	SegmentMissing: "segment-missing", SegmentExcluded: "segment-excluded", DealMissing: "deal-missing",
	FloorTooHigh: "floor-too-high", OutOfFlight: "flight", OutOfHours: "hours", RegionMismatch: "region",
	CityMismatch: "city", ZipMismatch: "zip", OutsideFence: "fence", CarrierMismatch: "carrier",
	InventoryDenied: "inventory", CategoryDenied: "category", InventoryKindMismatch: "inventory-kind",
	SizeMismatch: "size", MimeMismatch: "mime", DurationMismatch: "duration", ProtocolMismatch: "protocol",
	APIMismatch: "api", PlacementMismatch: "placement", AttributeBlocked: "attribute-blocked",
	CreativeCategoryBlocked: "creative-category-blocked", AdvertiserBlocked: "advertiser-blocked",
	AppBlocked: "app-blocked", NotSecure: "not-secure", CreativeLanguage: "creative-language",
	NativeAssetsMismatch: "native-assets", TransparencyMissing: "transparency-missing",
	ProductMissing:      "product-missing",
	CreativeNotApproved: "creative-not-approved", UserUnknown: "user-unknown", FrequencyCapped: "frequency-cap",
	NoticesMissing: "notices-missing", PacedOut: "paced-out",
	BelowFloor: "below-floor", ArmRefused: "experiment-arm", HeldOut: "holdout", BudgetSpent: "budget-spent", Outbid: "outbid", AnswerTooLarge: "answer-too-large",
}

// String is the name used in metrics, the API and explain.
func (n NoBid) String() string {
	if int(n) < len(noBidNames) && noBidNames[n] != "" {
		return noBidNames[n]
	}
	return "unknown"
}
