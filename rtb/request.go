package rtb

import "time"

// Token is a JSON value as it was sent, quotes included, so that an answer can
// echo it byte for byte.
type Token []byte

// Text is the token without its quotes. Escapes stay as they were sent.
func (t Token) Text() []byte {
	if len(t) >= 2 && t[0] == '"' {
		return t[1 : len(t)-1]
	}
	return t
}

// Bits is a set of the small integers 0 to 63 that OpenRTB lists use. Larger
// values, which only exchanges' private lists have, are not kept.
type Bits uint64

// BitsOf returns the set of the given values.
func BitsOf(values ...uint8) (b Bits) {
	for _, v := range values {
		b.Add(int64(v))
	}
	return b
}

// Add puts v into the set if it is small enough.
func (b *Bits) Add(v int64) {
	if v >= 0 && v < 64 {
		*b |= 1 << uint(v)
	}
}

// Has reports whether v is in the set.
func (b Bits) Has(v uint8) bool { return v < 64 && b&(1<<v) != 0 }

// Request is one bid request, flattened from the wire and reused. Strings are
// unescaped; they alias the body or Arena.
type Request struct {
	ID         Token
	Exchange   ExchangeID
	Imps       []Imp
	Auction    uint16        // at: 1 first price, 2 second price (also when not said), 3 fixed; 500 and above are the exchange's own
	TMax       time.Duration // zero when not said
	Test       bool
	AllImps    bool       // the imps offered are all there are (OpenRTB 2.6, 3.2.1): says nothing of how many to answer
	Currencies []Currency // cur: empty means that none was named
	Seats      [][]byte   // wseat: the only seats that may bid
	NoSeats    [][]byte   // bseat
	Languages  [][]byte   // wlang and wlangb: languages that creatives may have
	Blocked    Blocked
	Source     Source
	Inventory  Inventory
	Device     Device
	Geo        Geo // device.geo, or user.geo where that one is absent
	User       User
	Signals    Signals
	DSA        DSA

	// Users are the hashed identifiers of the user, best first. The decoder
	// leaves them empty; the bidder fills them once permissions are known.
	Users []UserID

	// Arena holds the unescaped strings and other bytes made while decoding.
	Arena []byte
}

// Blocked is what the publisher does not want to see.
type Blocked struct {
	Categories  [][]byte // bcat: opaque; IAB forms block their children too
	Taxonomy    uint16   // cattax; zero means not said
	Advertisers [][]byte // badv: as sent, in any case, now and then a whole URL
	Apps        [][]byte // bapp
}

// Source is where the request came from.
type Source struct {
	TID           []byte
	ChainComplete bool // schain.complete
	Chain         []SupplyNode
}

// SupplyNode is one seller of the supply chain (SupplyChain 1.0).
type SupplyNode struct {
	ASI, SID []byte
	Pays     bool // hp
}

// InventoryKind says which of the three objects described the inventory.
type InventoryKind uint8

// The kinds of inventory. A request may have one only (OpenRTB 2.6, 3.2.1).
const (
	NoInventory InventoryKind = iota
	Site
	App
	DOOH
)

// Inventory is the site, app or screen where the ad would show.
type Inventory struct {
	Kind       InventoryKind
	ID         []byte
	Domain     []byte // as sent; for a site without one, the host of its page
	Bundle     []byte
	Page       []byte
	StoreURL   []byte
	Publisher  []byte // publisher.id
	Categories [][]byte
	Keywords   []byte
	Content    []byte // content.id
	Language   [2]byte
	Livestream bool
}

// OS is an operating system family.
type OS uint8

// Operating systems. "iPhone OS", "ios" and "iPad" are one.
const (
	OSUnknown OS = iota
	Android
	IOS
	Windows
	MacOS
	Linux
	ChromeOS
	TVOS
	OSOther
)

// Device is what the ad would show on.
type Device struct {
	UA         []byte
	IP         []byte // ip, or ipv6 where that one is absent; as sent
	Type       uint8  // OpenRTB list "device types"
	OS         OS     // from os, sua, or the user agent, in this order
	OSVersion  []byte
	Make       []byte
	Model      []byte
	Browser    []byte  // first brand of sua.browsers
	Mobile     bool    // sua.mobile
	Language   [2]byte // lower case
	Carrier    []byte
	MCCMNC     []byte
	Connection uint8 // OpenRTB list "connection types"
	IFA        []byte
	W, H       uint16
}

// Geo is where the user is.
type Geo struct {
	Country   [2]byte // ISO 3166-1 alpha-2, upper case, also when alpha-3 was sent; zero when unknown
	Region    []byte
	City      []byte
	Zip       []byte
	Metro     []byte
	Lat, Lon  float64
	HasPoint  bool // lat and lon are both there and in range
	Precise   bool // type 1: from the device, not from the IP address
	Accuracy  uint32
	HasOffset bool
	UTCOffset int16 // minutes
}

// User is what the request says of the person.
type User struct {
	ID        []byte
	BuyerUID  []byte
	BirthYear uint16
	Gender    byte // 'M', 'F', 'O' or zero
	EIDs      []EID
}

// EID is one extended identifier.
type EID struct {
	Source []byte
	ID     []byte
}

// Signals are the privacy strings and flags of a Request, not yet judged. Old
// and new places of each are read; where they differ, the stricter counts.
type Signals struct {
	GDPR      bool // anything but absent, null or 0
	COPPA     bool
	LMT       bool // lmt or dnt: anything but absent, null or 0
	Malformed bool // one of the fields had a type that cannot be read
	Consent   []byte
	USPrivacy []byte
	GPP       []byte
	GPPSID    Bits
}

// DSA is the transparency that the request demands (regs.ext.dsa).
type DSA struct {
	Present   bool
	Required  uint8
	PubRender uint8
}

// Media is a kind of ad. The values are OpenRTB's mtype.
type Media uint8

// The media.
const (
	Banner Media = iota + 1
	Video
	Audio
	Native
)

func (m Media) String() string {
	switch m {
	case Banner:
		return "banner"
	case Video:
		return "video"
	case Audio:
		return "audio"
	case Native:
		return "native"
	}
	return "none"
}

// Size is in pixels, or device-independent pixels.
type Size struct{ W, H uint16 }

// Imp is one impression on offer.
type Imp struct {
	ID       Token
	Broken   bool  // a field cannot be read: no bid on this imp
	Floor    Money // rounded up; in FloorCur
	FloorCur Currency
	Secure   bool
	Instl    bool
	Rewarded bool
	TagID    []byte
	Expiry   uint32 // exp, in seconds

	HasBanner, HasVideo, HasAudio, HasNative bool

	Banner  BannerSlot
	Video   StreamSlot
	Audio   StreamSlot
	Native  NativeSlot
	Private bool // pmp.private_auction
	Deals   []Deal
	SKAdN   []byte // ext.skadn as sent, an object
}

// BannerSlot is the banner object of an Imp.
type BannerSlot struct {
	Sizes        []Size // format first, then w and h
	AnySize      bool   // no size was given, or only zeros
	Mimes        Mimes
	BlockedAttrs Bits // battr
	BlockedTypes Bits // btype
	APIs         Bits
	Position     uint8
}

// StreamSlot is the video or the audio object of an Imp. Zero means not said.
type StreamSlot struct {
	Mimes                    Mimes
	Protocols                Bits
	MinDuration, MaxDuration uint16   // seconds
	Durations                []uint16 // rqddurs: exact durations, instead of the range
	W, H                     uint16
	Linearity                uint8
	Placement                uint8
	Plcmt                    uint8
	Position                 uint8
	StartDelay               int32
	Skip                     bool
	Delivery                 Bits
	APIs                     Bits
	BlockedAttrs             Bits
	MinBitrate, MaxBitrate   uint32 // kbit/s

	PodID           []byte
	PodDuration     uint16
	PodSequence     int8
	MaxSequence     uint16
	SlotInPod       int8
	MinCPMPerSecond Money // in the currency of the floor
}

// NativeSlot is the native object of an Imp. Request is parsed only where a
// native creative might answer.
type NativeSlot struct {
	Request      []byte // unescaped JSON text of the native request; empty when there is none
	APIs         Bits
	BlockedAttrs Bits
}

// Deal is one private deal of an Imp.
type Deal struct {
	ID          Token
	Floor       Money
	FloorCur    Currency
	Auction     uint16 // at; zero means that of the Request
	Seats       [][]byte
	Advertisers [][]byte // wadomain
}

// Reset empties r and keeps the memory of its slices, those of its imps and
// deals included. It saves the slices one by one: a copy of the whole struct
// costs more than the rest of it.
func (r *Request) Reset() {
	imps, currencies, users, arena := r.Imps[:0], r.Currencies[:0], r.Users[:0], r.Arena[:0]
	seats, noSeats, languages := r.Seats[:0], r.NoSeats[:0], r.Languages[:0]
	blocked := Blocked{Categories: r.Blocked.Categories[:0], Advertisers: r.Blocked.Advertisers[:0], Apps: r.Blocked.Apps[:0]}
	chain, categories, eids := r.Source.Chain[:0], r.Inventory.Categories[:0], r.User.EIDs[:0]
	*r = Request{}
	r.Imps, r.Currencies, r.Users, r.Arena = imps, currencies, users, arena
	r.Seats, r.NoSeats, r.Languages = seats, noSeats, languages
	r.Blocked = blocked
	r.Source.Chain, r.Inventory.Categories, r.User.EIDs = chain, categories, eids
}

// AddImp appends an empty Imp, reusing the memory of an earlier one.
func (r *Request) AddImp() *Imp {
	if len(r.Imps) == cap(r.Imps) {
		r.Imps = append(r.Imps, Imp{})
	} else {
		r.Imps = r.Imps[:len(r.Imps)+1]
	}
	imp := &r.Imps[len(r.Imps)-1]
	imp.reset()
	return imp
}

func (i *Imp) reset() {
	deals, sizes, video, audio := i.Deals[:0], i.Banner.Sizes[:0], i.Video.Durations[:0], i.Audio.Durations[:0]
	*i = Imp{}
	i.Deals, i.Banner.Sizes, i.Video.Durations, i.Audio.Durations = deals, sizes, video, audio
}

// AddDeal appends an empty Deal, reusing the memory of an earlier one.
func (i *Imp) AddDeal() *Deal {
	if len(i.Deals) == cap(i.Deals) {
		i.Deals = append(i.Deals, Deal{})
	} else {
		i.Deals = i.Deals[:len(i.Deals)+1]
	}
	d := &i.Deals[len(i.Deals)-1]
	*d = Deal{Seats: d.Seats[:0], Advertisers: d.Advertisers[:0]}
	return d
}
