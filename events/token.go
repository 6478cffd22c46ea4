package events

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"bidwell/rtb"
)

// ErrToken means that a token was not sealed by this bidder, or was altered.
var ErrToken = errors.New("token does not open")

// The sealed form: a key id, the twelve bytes of the bid id that serve as
// nonce, the ciphertext and its tag. Every token has the same length, so that
// the length says nothing.
const (
	nonceSize  = 12
	plainSize  = 4 + 1 + 4 + 4 + 1 + 16 + 8 + 8 + 3
	sealedSize = 1 + nonceSize + plainSize + 16

	// TokenSize is the length of every token.
	TokenSize = (sealedSize*8 + 5) / 6
)

var tokenText = base64.RawURLEncoding.Strict()

// Sealer seals and opens tokens. It is safe for concurrent use.
type Sealer struct {
	id   byte
	aead cipher.AEAD
}

// NewSealer makes a Sealer whose tokens name the key id, so that keys can be
// told apart once there is more than one.
func NewSealer(id byte, key [32]byte) (*Sealer, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{id: id, aead: aead}, nil
}

// AppendToken appends the token of e in URL-safe base64 without padding. The
// bid id must be random: its first twelve bytes are the nonce. All work is
// done in the memory of dst, so nothing is allocated once that has room.
func (s *Sealer) AppendToken(dst []byte, e *rtb.Event) []byte {
	n := len(dst)
	dst = grow(dst, TokenSize+sealedSize)
	work := dst[n+TokenSize : n+TokenSize+sealedSize]
	work[0] = s.id
	nonce := work[1 : 1+nonceSize]
	copy(nonce, e.Bid[:nonceSize])

	plain := work[1+nonceSize : 1+nonceSize+plainSize]
	copy(plain[0:4], e.Bid[nonceSize:])
	plain[4] = byte(e.Exchange)
	binary.LittleEndian.PutUint32(plain[5:], uint32(e.LineItem))
	binary.LittleEndian.PutUint32(plain[9:], uint32(e.Creative))
	plain[13] = byte(e.Media)
	copy(plain[14:30], e.User[:])
	binary.LittleEndian.PutUint64(plain[30:], uint64(e.Made.UnixMilli()))
	binary.LittleEndian.PutUint64(plain[38:], uint64(e.Cost))
	copy(plain[46:49], e.Currency[:])

	s.aead.Seal(plain[:0], nonce, plain, work[:1])
	tokenText.Encode(dst[n:n+TokenSize], work)
	return dst[:n+TokenSize]
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

// Open fills e from a token: all of it but Type, Time and Price. work is
// memory for it to use; it needs no particular size.
func (s *Sealer) Open(token []byte, e *rtb.Event, work []byte) error {
	if len(token) != TokenSize {
		return ErrToken
	}
	work = grow(work[:0], sealedSize)
	n, err := tokenText.Decode(work, token)
	if err != nil || n != sealedSize || work[0] != s.id {
		return ErrToken
	}
	nonce, sealed := work[1:1+nonceSize], work[1+nonceSize:]
	plain, err := s.aead.Open(sealed[:0], nonce, sealed, work[:1])
	if err != nil || len(plain) != plainSize {
		return ErrToken
	}
	*e = rtb.Event{
		Exchange: rtb.ExchangeID(plain[4]),
		LineItem: rtb.LineItemID(binary.LittleEndian.Uint32(plain[5:])),
		Creative: rtb.CreativeID(binary.LittleEndian.Uint32(plain[9:])),
		Media:    rtb.Media(plain[13]),
		User:     rtb.UserID(plain[14:30]),
		Made:     time.UnixMilli(int64(binary.LittleEndian.Uint64(plain[30:]))),
		Cost:     rtb.Money(binary.LittleEndian.Uint64(plain[38:])),
		Currency: rtb.Currency(plain[46:49]),
	}
	copy(e.Bid[:nonceSize], nonce)
	copy(e.Bid[nonceSize:], plain[0:4])
	return nil
}
