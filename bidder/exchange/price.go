package exchange

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the exchanges' price encryption is defined on it
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"bidwell/rtb"
)

// Why a price macro tells no price. An impression with one of these is real,
// but what it cost must come from elsewhere.
var (
	// ErrBlank means that the macro was replaced by nothing.
	ErrBlank = errors.New("price macro is blank")
	// ErrUnexpanded means that the macro stands there as we sent it.
	ErrUnexpanded = errors.New("price macro was not replaced")
	// ErrAudit means that the exchange replaced it by "AUDIT", as it does for a
	// look at the ad without an auction (OpenRTB 2.6, 4.4).
	ErrAudit = errors.New("price macro says AUDIT")
	// ErrPrice means that the macro is no price in the agreed form.
	ErrPrice = errors.New("not a price")
	// ErrForged means that an encrypted price is not what the exchange wrote, or
	// that the keys are not those it uses.
	ErrForged = errors.New("encrypted price fails its integrity check")
	// ErrNoKeys means that the profile has no keys to open the price with.
	ErrNoKeys = errors.New("no keys for encrypted prices")
)

// MaxPrice is the highest price of one impression that is believed: a CPM of a
// million.
const MaxPrice = 1_000_000 * rtb.OneCPM

// PriceKind is how an exchange writes ${AUCTION_PRICE}.
type PriceKind string

// The kinds of price macro.
const (
	Plain     PriceKind = "plain"     // a decimal number, the CPM
	Encrypted PriceKind = "encrypted" // IV, price XOR HMAC-SHA1, signature; see PriceMacro
)

// PriceMacro opens the prices in notices. The zero value is plain.
//
// The encrypted form, of Google and those who took it over, is web-safe base64
// of 28 bytes: a 16-byte initialisation vector, the price XORed with the first
// 8 bytes of HMAC-SHA1(encryption key, vector), and the first 4 bytes of
// HMAC-SHA1(integrity key, price, vector). The price is a big-endian number of
// millionths of the CPM.
type PriceMacro struct {
	Kind          PriceKind `json:"kind,omitempty" enum:"plain,encrypted" doc:"plain when empty"`
	EncryptionKey Secret    `json:"encryption_key,omitempty" doc:"base64, web-safe or standard; with the account at the exchange"`
	IntegrityKey  Secret    `json:"integrity_key,omitempty" doc:"base64, web-safe or standard"`

	keys *priceKeys // decoded; nil until the directory is made
}

type priceKeys struct{ encryption, integrity hmacKey }

// Validate reports what is wrong with the kind and the keys. Encrypted without
// any keys is valid: an account has them later than a profile.
func (p *PriceMacro) Validate() error {
	switch p.Kind {
	case "", Plain:
		if p.EncryptionKey != "" || p.IntegrityKey != "" {
			return errors.New("price: keys, but not encrypted")
		}
		return nil
	case Encrypted:
		_, err := p.open()
		return err
	}
	return fmt.Errorf("price.kind: %q is neither plain nor encrypted", p.Kind)
}

// open decodes the keys; nil without any.
func (p *PriceMacro) open() (*priceKeys, error) {
	if p.EncryptionKey == "" && p.IntegrityKey == "" {
		return nil, nil
	}
	encryption, err := decodeKey(p.EncryptionKey)
	if err != nil {
		return nil, fmt.Errorf("price.encryption_key: %w", err)
	}
	integrity, err := decodeKey(p.IntegrityKey)
	if err != nil {
		return nil, fmt.Errorf("price.integrity_key: %w", err)
	}
	return &priceKeys{newHMACKey(encryption), newHMACKey(integrity)}, nil
}

func decodeKey(s Secret) ([]byte, error) {
	if s == Redacted {
		return nil, errors.New("a redacted secret")
	}
	key, err := base64.RawURLEncoding.DecodeString(string(webSafe([]byte(s))))
	if err != nil {
		return nil, errors.New("not base64")
	}
	if len(key) < 16 || len(key) > 128 {
		return nil, errors.New("want 16 to 128 bytes")
	}
	return key, nil
}

// webSafe rewrites standard base64 in place and drops the padding.
func webSafe(text []byte) []byte {
	for i, c := range text {
		switch c {
		case '+':
			text[i] = '-'
		case '/':
			text[i] = '_'
		}
	}
	return bytes.TrimRight(text, "=")
}

// Open reads the price of one impression from what the exchange put in place
// of the macro. Besides an error of the form it may return one of the errors
// above for a notice without a price.
func (p *PriceMacro) Open(macro []byte) (rtb.Money, error) {
	macro = bytes.TrimSpace(macro)
	switch {
	case len(macro) == 0:
		return 0, ErrBlank
	case len(macro) > 128:
		return 0, ErrPrice
	case bytes.EqualFold(macro, []byte("AUDIT")):
		return 0, ErrAudit
	case bytes.Contains(macro, []byte("AUCTION_PRICE")): // "${…}", also percent-encoded, or with ":B64"
		return 0, ErrUnexpanded
	case p.Kind != Encrypted:
		return openPlain(macro)
	}
	keys := p.keys
	if keys == nil {
		var err error
		if keys, err = p.open(); err != nil {
			return 0, err
		}
		if keys == nil {
			return 0, ErrNoKeys
		}
	}
	return keys.open(macro)
}

// openPlain reads a decimal CPM, with an exponent where a program printed it
// so.
func openPlain(macro []byte) (rtb.Money, error) {
	if len(macro) > 64 {
		return 0, ErrPrice
	}
	for _, c := range macro {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0, ErrPrice
		}
	}
	cpm, err := strconv.ParseFloat(string(macro), 64)
	if err != nil || cpm < 0 || macro[0] == '-' {
		return 0, ErrPrice
	}
	return believe(rtb.FromCPM(cpm))
}

func believe(price rtb.Money) (rtb.Money, error) {
	if price < 0 || price > MaxPrice {
		return 0, ErrPrice
	}
	return price, nil
}

// The parts of an encrypted price, in bytes.
const (
	ivSize        = 16
	cipherSize    = 8
	signatureSize = 4
	sealedSize    = ivSize + cipherSize + signatureSize
)

func (k *priceKeys) open(macro []byte) (rtb.Money, error) {
	var text [48]byte
	if len(macro) > len(text) {
		return 0, ErrPrice
	}
	web := webSafe(text[:copy(text[:], macro)])
	var sealed [64]byte
	if len(web) != base64.RawURLEncoding.EncodedLen(sealedSize) {
		return 0, ErrPrice
	}
	n, err := base64.RawURLEncoding.Strict().Decode(sealed[:], web)
	if err != nil || n != sealedSize {
		return 0, ErrPrice
	}
	iv, cipher, signature := sealed[:ivSize], sealed[ivSize:ivSize+cipherSize], sealed[ivSize+cipherSize:sealedSize]

	pad := k.encryption.sum(iv, nil)
	var plain [cipherSize]byte
	subtle.XORBytes(plain[:], cipher, pad[:])
	want := k.integrity.sum(plain[:], iv)
	if subtle.ConstantTimeCompare(signature, want[:signatureSize]) != 1 {
		return 0, ErrForged
	}
	micros := binary.BigEndian.Uint64(plain[:])
	if micros > uint64(MaxPrice) {
		return 0, ErrPrice
	}
	return rtb.Money(micros) * rtb.OneCPM / 1_000_000, nil
}

// Seal appends price as the exchange would write it, for simulators and tests.
// iv must differ between prices; plain prices do not use it.
func (p *PriceMacro) Seal(dst []byte, price rtb.Money, iv [ivSize]byte) ([]byte, error) {
	if _, err := believe(price); err != nil {
		return dst, err
	}
	if p.Kind != Encrypted {
		return price.AppendCPM(dst), nil
	}
	keys := p.keys
	if keys == nil {
		var err error
		if keys, err = p.open(); err != nil {
			return dst, err
		}
		if keys == nil {
			return dst, ErrNoKeys
		}
	}
	var plain [cipherSize]byte
	binary.BigEndian.PutUint64(plain[:], uint64(price)*1_000_000/uint64(rtb.OneCPM))
	var sealed [sealedSize]byte
	copy(sealed[:], iv[:])
	pad := keys.encryption.sum(iv[:], nil)
	subtle.XORBytes(sealed[ivSize:], plain[:], pad[:cipherSize])
	signature := keys.integrity.sum(plain[:], iv[:])
	copy(sealed[ivSize+cipherSize:], signature[:signatureSize])
	return base64.RawURLEncoding.AppendEncode(dst, sealed[:]), nil
}

// hmacKey is a key of HMAC-SHA1 (RFC 2104), padded and mixed beforehand so that
// a price is opened without allocating.
type hmacKey struct{ inner, outer [sha1.BlockSize]byte }

func newHMACKey(key []byte) (k hmacKey) {
	if len(key) > sha1.BlockSize {
		sum := sha1.Sum(key) //nolint:gosec // see above
		key = sum[:]
	}
	copy(k.inner[:], key)
	copy(k.outer[:], key)
	for i := range k.inner {
		k.inner[i] ^= 0x36
		k.outer[i] ^= 0x5c
	}
	return k
}

// sum signs a followed by b, which together are at most an IV and a price.
func (k *hmacKey) sum(a, b []byte) [sha1.Size]byte {
	var text [sha1.BlockSize + ivSize + cipherSize]byte
	n := copy(text[:], k.inner[:])
	n += copy(text[n:], a)
	n += copy(text[n:], b)
	inner := sha1.Sum(text[:n]) //nolint:gosec // see above
	n = copy(text[:], k.outer[:])
	n += copy(text[n:], inner[:])
	return sha1.Sum(text[:n]) //nolint:gosec // see above
}
