package events

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"bidwell/rtb"
)

// Why a token does not open. They are told apart to be counted: a few of the
// first come with every scanner, the third means that somebody is trying.
var (
	ErrNotToken   = errors.New("not a token")                      // size, alphabet
	ErrUnknownKey = errors.New("token of an unknown key")          // dropped, or of another installation
	ErrForged     = errors.New("token fails its integrity check")  // altered, made up, or of another key
	ErrWrongClass = errors.New("token of another class than this") // genuine, but in the wrong place
)

// Class is who brings a token back, and so what it may say. What a browser can
// see must never speak for the exchange.
type Class uint8

// The classes.
const (
	Server     Class = iota // notice URLs that an exchange's servers call: nurl, burl, lurl
	Browser                 // pixels, clicks and trackers in the markup
	Conversion              // {CLICK_ID} of a landing page: made by a click
	View                    // the impression pixel in the markup: it also brings back what the bid was scored by
)

// How long after the bid a token counts.
const (
	NoticeLife     = 24 * time.Hour
	ConversionLife = 30 * 24 * time.Hour
)

// Life is how long after the bid a token of the class counts.
func (c Class) Life() time.Duration {
	if c == Conversion {
		return ConversionLife
	}
	return NoticeLife
}

// The sealed form: a key id, the nonce, the ciphertext and its tag. Every token
// of a class has the same length, so that the length says nothing.
//
// Nonces do not repeat under one key. A nonce is the first 96 bits of the bid
// id, and the class in two of them that [NewBidID] leaves clear; so nonces are
// equal only where bid id and class are. Of a bid there is one token in each
// class, however often it is sealed (a click that is repeated seals its
// conversion token again), because all that goes into it is fixed when the bid
// is made. And that two bids draw the same 94 random bits is less likely than
// one in five hundred thousand even for a key that seals 100,000 bids a second
// for a month.
const (
	nonceSize = 12
	plainSize = 65 + 2*rtb.MaxLayers + 8 + 1 + 1 + 1
	viewSize  = plainSize + 4 + 4 + 4 + 1 + 3*rtb.MaxFeatures // of class View
	tagSize   = 16
	overhead  = 1 + nonceSize + tagSize

	// TokenSize is the length of a token, and ViewTokenSize of one of class View.
	TokenSize     = ((plainSize+overhead)*8 + 5) / 6
	ViewTokenSize = ((viewSize+overhead)*8 + 5) / 6

	// The byte of the bid id and the bits in it that hold the class in a nonce.
	// It is not the first one: the first half of an id serves as a hash.
	classByte  = nonceSize - 1
	classShift = 6
	classMask  = 3 << classShift
)

// size is how long the plain text of a token of the class is.
func (c Class) size() int {
	if c == View {
		return viewSize
	}
	return plainSize
}

// Size is how long a token of the class is.
func (c Class) Size() int {
	if c == View {
		return ViewTokenSize
	}
	return TokenSize
}

var tokenText = base64.RawURLEncoding.Strict()

// NewBidID makes a bid id of random bits. All bid ids come from here.
func NewBidID(a, b uint64) (id rtb.BidID) {
	binary.LittleEndian.PutUint64(id[:8], a)
	binary.LittleEndian.PutUint64(id[8:], b)
	id[classByte] &^= classMask
	return id
}

// Key is one key of a [Keyring].
type Key struct {
	ID     byte // stands in every token that it sealed
	Made   time.Time
	Secret [32]byte
}

// Keyring seals and opens tokens: the newest of its keys seals, all of them
// open. It is safe for concurrent use, while keys are swapped too.
type Keyring struct {
	keys atomic.Pointer[keys]
}

type keys struct {
	newest byte
	byID   [256]cipher.AEAD
}

// NewKeyring makes a Keyring of at least one key. Of keys that were made at the
// same time the last one is the newest.
func NewKeyring(list []Key) (*Keyring, error) {
	r := &Keyring{}
	if err := r.Swap(list); err != nil {
		return nil, err
	}
	return r, nil
}

// Swap replaces all keys. After an error they are as before.
func (r *Keyring) Swap(list []Key) error {
	if len(list) == 0 {
		return errors.New("no token keys")
	}
	next := &keys{newest: list[0].ID}
	made := list[0].Made
	for i := range list {
		k := &list[i]
		if next.byID[k.ID] != nil {
			return fmt.Errorf("two token keys with the id %d", k.ID)
		}
		if k.Secret == ([32]byte{}) {
			return fmt.Errorf("token key %d is empty", k.ID)
		}
		block, err := aes.NewCipher(k.Secret[:])
		if err != nil {
			return err
		}
		if next.byID[k.ID], err = cipher.NewGCM(block); err != nil {
			return err
		}
		if !k.Made.Before(made) {
			next.newest, made = k.ID, k.Made
		}
	}
	r.keys.Store(next)
	return nil
}

// AppendToken appends the token of e, of one class, in URL-safe base64 without
// padding. All work is done in the memory of dst, so nothing is allocated once
// that has room.
func (r *Keyring) AppendToken(dst []byte, class Class, e *rtb.Event) []byte {
	keys := r.keys.Load()
	n, size := len(dst), class.Size()
	sealed := class.size() + overhead
	dst = grow(dst, size+sealed)
	work := dst[n+size : n+size+sealed]
	work[0] = keys.newest
	nonce := work[1 : 1+nonceSize]
	copy(nonce, e.Bid[:nonceSize])
	nonce[classByte] = nonce[classByte]&^classMask | byte(class)<<classShift

	plain := work[1+nonceSize : 1+nonceSize+class.size()]
	put(plain, e)
	if class == View {
		putScore(plain[plainSize:], e)
	}
	keys.byID[keys.newest].Seal(plain[:0], nonce, plain, work[:1])
	tokenText.Encode(dst[n:n+size], work)
	return dst[:n+size]
}

// put writes what a token keeps of an event. The order of the fields is part
// of the format: a golden test holds it.
func put(p []byte, e *rtb.Event) {
	le := binary.LittleEndian
	copy(p[0:4], e.Bid[nonceSize:])
	le.PutUint32(p[4:], e.Node)
	le.PutUint32(p[8:], uint32(e.LineItem))
	le.PutUint32(p[12:], uint32(e.Campaign))
	le.PutUint32(p[16:], uint32(e.Advertiser))
	le.PutUint32(p[20:], uint32(e.Creative))
	le.PutUint64(p[24:], uint64(e.Cost))
	le.PutUint32(p[32:], e.Fees.Fixed)
	le.PutUint16(p[36:], e.Fees.Share)
	made := uint64(e.Made.UnixMilli()) // 48 bits of it are enough for 4,000 years
	le.PutUint32(p[38:], uint32(made))
	le.PutUint16(p[42:], uint16(made>>32))
	p[44] = byte(e.Exchange)
	p[45] = byte(e.Media)&15 | byte(e.BilledBy)<<4
	copy(p[46:49], e.Currency[:])
	copy(p[49:65], e.User[:])
	for i, arm := range e.Arms {
		le.PutUint16(p[65+2*i:], arm)
	}
	p = p[65+2*rtb.MaxLayers:]
	le.PutUint64(p, uint64(e.Worth))
	p[8], p[9] = e.Floor, e.Format
	p[10] = e.Auction&15 | byte(e.Shading)<<4
}

// putScore writes what a bid was scored by.
func putScore(p []byte, e *rtb.Event) {
	le := binary.LittleEndian
	le.PutUint32(p, math.Float32bits(e.CTR))
	le.PutUint32(p[4:], math.Float32bits(e.CVR))
	le.PutUint32(p[8:], e.Model)
	p[12] = e.Features.Count
	p = p[13:]
	for i := range e.Features.Hashes {
		copy(p[3*i:], e.Features.Hashes[i][:])
	}
}

// get is the reverse of put.
func get(p []byte, e *rtb.Event) {
	le := binary.LittleEndian
	copy(e.Bid[nonceSize:], p[0:4])
	e.Node = le.Uint32(p[4:])
	e.LineItem = rtb.LineItemID(le.Uint32(p[8:]))
	e.Campaign = rtb.CampaignID(le.Uint32(p[12:]))
	e.Advertiser = rtb.AdvertiserID(le.Uint32(p[16:]))
	e.Creative = rtb.CreativeID(le.Uint32(p[20:]))
	e.Cost = rtb.Money(le.Uint64(p[24:]))
	e.Fees = rtb.Fees{Fixed: le.Uint32(p[32:]), Share: le.Uint16(p[36:])}
	made := uint64(le.Uint32(p[38:])) | uint64(le.Uint16(p[42:]))<<32
	e.Made = time.UnixMilli(int64(made<<16) >> 16)
	e.Exchange = rtb.ExchangeID(p[44])
	e.Media, e.BilledBy = rtb.Media(p[45]&15), rtb.EventType(p[45]>>4)
	e.Currency = rtb.Currency(p[46:49])
	e.User = rtb.UserID(p[49:65])
	for i := range e.Arms {
		e.Arms[i] = le.Uint16(p[65+2*i:])
	}
	p = p[65+2*rtb.MaxLayers:]
	e.Worth = rtb.Money(le.Uint64(p))
	e.Floor, e.Format = p[8], p[9]
	e.Auction, e.Shading = p[10]&15, rtb.Shading(p[10]>>4)
}

// getScore is the reverse of putScore.
func getScore(p []byte, e *rtb.Event) {
	le := binary.LittleEndian
	e.CTR, e.CVR = math.Float32frombits(le.Uint32(p)), math.Float32frombits(le.Uint32(p[4:]))
	e.Model = le.Uint32(p[8:])
	e.Features.Count = min(p[12], rtb.MaxFeatures)
	p = p[13:]
	for i := range e.Features.Hashes {
		e.Features.Hashes[i] = [3]byte(p[3*i:])
	}
}

// grow returns dst with room for n more bytes and its length raised by them.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		bigger := make([]byte, len(dst), 2*cap(dst)+n)
		copy(bigger, dst)
		dst = bigger
	}
	return dst[:len(dst)+n]
}

// Open fills e from a token of a class: all that is "from the token", and
// nothing else. On an error, one of those above, e stays as it was. work is
// memory for it to use; it needs no particular size.
func (r *Keyring) Open(token []byte, class Class, e *rtb.Event, work []byte) error {
	if len(token) != TokenSize && len(token) != ViewTokenSize {
		return ErrNotToken
	}
	size := tokenText.DecodedLen(len(token))
	work = grow(work[:0], size)
	if n, err := tokenText.Decode(work, token); err != nil || n != size {
		return ErrNotToken
	}
	aead := r.keys.Load().byID[work[0]]
	if aead == nil {
		return ErrUnknownKey
	}
	nonce, sealed := work[1:1+nonceSize], work[1+nonceSize:]
	plain, err := aead.Open(sealed[:0], nonce, sealed, work[:1])
	if err != nil {
		return ErrForged
	}
	if Class(nonce[classByte]>>classShift) != class || len(plain) != class.size() {
		return ErrWrongClass
	}
	nonce[classByte] &^= classMask
	*e = rtb.Event{}
	copy(e.Bid[:nonceSize], nonce)
	get(plain, e)
	if class == View {
		getScore(plain[plainSize:], e)
	}
	return nil
}
