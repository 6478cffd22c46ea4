package openrtb

import (
	"errors"
	"math"

	"bidwell/rtb"
)

// Errors of a native request that no creative can answer.
var (
	// ErrNoAssets means that the native request lists no assets, or more than
	// [MaxAssets].
	ErrNoAssets = errors.New("openrtb: native request without usable assets")
	// ErrAssetIDs means that an asset has no id of its own.
	ErrAssetIDs = errors.New("openrtb: native asset ids missing or repeated")
)

// Limits of a native request. What is beyond MaxAssets might be required, so
// it makes the request unanswerable; trackers beyond theirs are left out.
const (
	MaxAssets   = 64
	MaxTrackers = 16
)

// NativeRequest is the request of a native impression (OpenRTB Native 1.0 to
// 1.2, section 4). It is reused: [NativeRequest.Decode] keeps its memory. It
// holds no reference to the text.
type NativeRequest struct {
	Version  [3]byte // ver, such as "1.2"; zero when not said
	Context  uint8
	Plcmt    uint8 // plcmttype
	Privacy  bool  // the exchange can show a privacy link
	Assets   []NativeAsset
	Trackers []NativeTracker // eventtrackers

	arena []byte
}

// NativeAsset is one asset that the request lists. Kind is zero when this
// package does not know the kind or cannot read it, so that nothing can fill
// the asset.
type NativeAsset struct {
	ID       int32
	Required bool
	Kind     rtb.NativeKind
	Type     uint8 // of an image or of data; zero when not said

	Len        uint16 // most characters of a title or of data; zero: no limit
	W, H       uint16 // of an image; zero when not said
	WMin, HMin uint16
	Mimes      rtb.Mimes // of an image or a video; empty: any

	MinDuration, MaxDuration uint16 // of a video, in seconds; zero when not said
	Protocols                rtb.Bits
}

// NativeTracker is one event that the exchange can track and how.
type NativeTracker struct {
	Event   uint8    // 1 impression, 2 to 4 viewable
	Methods rtb.Bits // 1 image, 2 script
}

// Decode reads the text of a native request: the object itself, wrapped in
// {"native": …} as version 1.0 writes it, or either of them inside a JSON
// string. It does not allocate once n has grown to the usual size.
func (n *NativeRequest) Decode(text []byte) error {
	*n = NativeRequest{Assets: n.Assets[:0], Trackers: n.Trackers[:0], arena: n.arena[:0]}
	s := scanner{buf: text, arena: n.arena}
	for range 2 {
		if s.space() != '"' {
			break
		}
		inner := s.text()
		s.space()
		if s.err != nil || s.pos != len(s.buf) {
			return ErrSyntax
		}
		s = scanner{buf: inner, arena: s.arena}
	}
	if s.space() != '{' {
		return ErrSyntax
	}
	n.root(&s)
	if s.space(); s.err == nil && s.pos != len(s.buf) {
		s.fail(ErrSyntax)
	}
	n.arena = s.arena
	switch {
	case s.err != nil:
		return s.err
	case len(n.Assets) == 0 || len(n.Assets) > MaxAssets:
		return ErrNoAssets
	}
	for i := range n.Assets {
		for j := range n.Assets[:i] {
			if n.Assets[i].ID == n.Assets[j].ID {
				return ErrAssetIDs
			}
		}
		if n.Assets[i].ID < 0 {
			return ErrAssetIDs
		}
	}
	return nil
}

func (n *NativeRequest) root(s *scanner) {
	for key, ok := s.firstKey(); ok; key, ok = s.nextKey() {
		switch string(key) {
		case "native":
			if is, _ := s.object(); is {
				n.root(s)
			}
		case "ver":
			n.Version = [3]byte{}
			copy(n.Version[:], s.text())
		case "context":
			n.Context = uint8(s.count(math.MaxUint8))
		case "plcmttype":
			n.Plcmt = uint8(s.count(math.MaxUint8))
		case "privacy":
			n.Privacy = s.flag(false)
		case "assets":
			n.assets(s)
		case "eventtrackers":
			n.trackers(s)
		default:
			s.skip()
		}
	}
}

func (n *NativeRequest) assets(s *scanner) {
	n.Assets = n.Assets[:0]
	if s.peek() != '[' {
		s.skip()
		return
	}
	for ok := s.firstItem(); ok; ok = s.nextItem() {
		if is, _ := s.object(); !is {
			continue
		}
		if len(n.Assets) > MaxAssets {
			s.skip()
			continue
		}
		n.Assets = append(n.Assets, NativeAsset{})
		n.Assets[len(n.Assets)-1].decode(s)
	}
}

func (a *NativeAsset) decode(s *scanner) {
	a.ID = -1
	kinds, required := 0, false
	for key, ok := s.firstKey(); ok; key, ok = s.nextKey() {
		switch string(key) {
		case "id":
			a.ID = -1
			if v, r := s.integer(); r == sound && v >= 0 && v <= math.MaxInt32 {
				a.ID = int32(v)
			}
		case "required":
			required = s.flag(true)
		case "title":
			kinds += a.kind(s, rtb.NativeTitle)
		case "img":
			kinds += a.kind(s, rtb.NativeImage)
		case "data":
			kinds += a.kind(s, rtb.NativeData)
		case "video":
			kinds += a.kind(s, rtb.NativeVideo)
		default:
			s.skip()
		}
	}
	if kinds != 1 { // none that is known, several, or one that cannot be read
		*a = NativeAsset{ID: a.ID}
	}
	a.Required = required
}

// kind reads the object that describes one kind of asset. It returns how many
// kinds that makes: 1, 0 for null, and 2, which no asset may have, for what
// cannot be read.
func (a *NativeAsset) kind(s *scanner, kind rtb.NativeKind) (kinds int) {
	is, unread := s.object()
	if !is {
		if unread {
			return 2
		}
		return 0
	}
	*a = NativeAsset{ID: a.ID, Kind: kind}
	kinds = 1
	number := func() uint16 {
		v, r := s.integer()
		if r == odd || v < 0 {
			kinds = 2
		}
		return uint16(max(0, min(v, math.MaxUint16)))
	}
	set := func() rtb.Bits {
		b, unread := s.bits()
		if unread {
			kinds = 2
		}
		return b
	}
	for key, ok := s.firstKey(); ok; key, ok = s.nextKey() {
		switch string(key) {
		case "len":
			a.Len = number()
		case "type":
			a.Type = uint8(min(number(), math.MaxUint8))
		case "w":
			a.W = number()
		case "h":
			a.H = number()
		case "wmin":
			a.WMin = number()
		case "hmin":
			a.HMin = number()
		case "mimes":
			a.Mimes = s.mimes()
		case "minduration":
			a.MinDuration = number()
		case "maxduration":
			a.MaxDuration = number()
		case "protocols":
			a.Protocols = set()
		default:
			s.skip()
		}
	}
	return kinds
}

// Viewable reports whether the exchange calls an image when half of the ad was
// on the screen for a second.
func (n *NativeRequest) Viewable() bool {
	for i := range n.Trackers {
		if n.Trackers[i].Event == eventViewable && n.Trackers[i].Methods.Has(methodImage) {
			return true
		}
	}
	return false
}

func (n *NativeRequest) trackers(s *scanner) {
	n.Trackers = n.Trackers[:0]
	if s.peek() != '[' {
		s.skip()
		return
	}
	for ok := s.firstItem(); ok; ok = s.nextItem() {
		if is, _ := s.object(); !is {
			continue
		}
		var t NativeTracker
		for key, ok := s.firstKey(); ok; key, ok = s.nextKey() {
			switch string(key) {
			case "event":
				t.Event = uint8(s.count(math.MaxUint8))
			case "methods":
				t.Methods, _ = s.bits()
			default:
				s.skip()
			}
		}
		if len(n.Trackers) < MaxTrackers {
			n.Trackers = append(n.Trackers, t)
		}
	}
}
