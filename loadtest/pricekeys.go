package loadtest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the exchanges' price encryption is defined on it
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"bidwell/rtb"
)

// PriceKeys encrypt what stands for ${AUCTION_PRICE}, as Google and those who
// took its form over do: web-safe base64 of a 16-byte initialisation vector,
// the price XORed with the first 8 bytes of HMAC-SHA1(encryption key, vector),
// and the first 4 bytes of HMAC-SHA1(integrity key, price, vector). The price
// is a big-endian number of millionths of the CPM.
type PriceKeys struct {
	Exchange              string // whose prices are encrypted; empty means all
	Encryption, Integrity []byte
}

// ParsePriceKeys reads the encryption and the integrity key, in hexadecimal
// with a comma between them, and before them the name of the exchange with "="
// unless it is all of them.
func ParsePriceKeys(text string) (*PriceKeys, error) {
	exchange, rest, ok := strings.Cut(text, "=")
	if !ok {
		exchange, rest = "", text
	}
	first, second, ok := strings.Cut(rest, ",")
	if !ok {
		return nil, errors.New("price keys: want the encryption and the integrity key with a comma between them")
	}
	keys := PriceKeys{Exchange: exchange}
	for _, part := range []struct {
		name, text string
		to         *[]byte
	}{{"encryption", first, &keys.Encryption}, {"integrity", second, &keys.Integrity}} {
		key, err := hex.DecodeString(strings.TrimSpace(part.text))
		if err != nil {
			return nil, fmt.Errorf("price keys: %s key: %w", part.name, err)
		}
		if len(key) < 16 || len(key) > 128 {
			return nil, fmt.Errorf("price keys: %s key of %d bytes, want 16 to 128", part.name, len(key))
		}
		*part.to = key
	}
	return &keys, nil
}

// covers reports whether the prices of an exchange are encrypted.
func (k *PriceKeys) covers(exchange string) bool {
	return k != nil && (k.Exchange == "" || k.Exchange == exchange)
}

// Seal encrypts the price of one impression. The vector must differ between
// prices.
func (k *PriceKeys) Seal(price rtb.Money, vector [16]byte) string {
	sign := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha1.New, key)
		for _, part := range parts {
			h.Write(part) // a hash does not fail
		}
		return h.Sum(nil)
	}
	var plain [8]byte
	// A billionth of a unit is a millionth of the CPM.
	binary.BigEndian.PutUint64(plain[:], uint64(price))
	sealed := append(make([]byte, 0, 28), vector[:]...)
	for i, pad := range sign(k.Encryption, vector[:])[:8] {
		sealed = append(sealed, plain[i]^pad)
	}
	sealed = append(sealed, sign(k.Integrity, plain[:], vector[:])[:4]...)
	return base64.RawURLEncoding.EncodeToString(sealed)
}
