package exchange

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"bidwell/rtb"

	"pgregory.net/rapid"
)

// Keys of the tests: the bytes 0 to 31 web-safe, and 100 to 131 in standard
// base64 with padding.
func sealed() PriceMacro {
	return PriceMacro{
		Kind:          Encrypted,
		EncryptionKey: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		IntegrityKey:  "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=",
	}
}

func TestOpenPlain(t *testing.T) {
	tests := []struct {
		macro string
		want  rtb.Money
		err   error
	}{
		{"2.5", 2_500_000, nil},
		{"0", 0, nil},
		{" 1.00\n", rtb.OneCPM, nil},
		{"13.521766169371157", 13_521_766, nil},
		{"0.0000005", 1, nil},
		{"1e-3", 1_000, nil},
		{"1.5E+2", 150_000_000, nil},
		{"1000000", MaxPrice, nil},
		{".5", 500_000, nil},
		{"1000000.1", 0, ErrPrice},
		{"1e7", 0, ErrPrice},
		{"1e400", 0, ErrPrice},
		{"1e-400", 0, nil},
		{"-1", 0, ErrPrice},
		{"-0", 0, ErrPrice},
		{"NaN", 0, ErrPrice},
		{"Inf", 0, ErrPrice},
		{"0x1p4", 0, ErrPrice},
		{"1_000", 0, ErrPrice},
		{"1,5", 0, ErrPrice},
		{"1.2.3", 0, ErrPrice},
		{"2.5 USD", 0, ErrPrice},
		{strings.Repeat("1", 65), 0, ErrPrice},
		{strings.Repeat("1", 1000), 0, ErrPrice},
		{"", 0, ErrBlank},
		{" \t", 0, ErrBlank},
		{"${AUCTION_PRICE}", 0, ErrUnexpanded},
		{"${AUCTION_PRICE:B64}", 0, ErrUnexpanded},
		{"%24%7BAUCTION_PRICE%7D", 0, ErrUnexpanded},
		{"AUDIT", 0, ErrAudit},
		{"audit", 0, ErrAudit},
	}
	var plain PriceMacro
	for _, tt := range tests {
		got, err := plain.Open([]byte(tt.macro))
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Open(%q) = %d, %v, want %d, %v", tt.macro, got, err, tt.want, tt.err)
		}
	}
}

// The vectors come from a separate program, Python's hmac and hashlib.
func TestOpenEncrypted(t *testing.T) {
	const good = "yMnKy8zNzs_Q0dLT1NXW1-hmXvdxFa02Nz3fXA"
	tests := []struct {
		name, macro string
		want        rtb.Money
		err         error
	}{
		{"zero", "AAAAAAAAAAAAAAAAAAAAAFUP-B0PUPyj0gbKCA", 0, nil},
		{"a millionth", "YWJjZGVmZ2hpamtsbW5vcM5UtPI-bgUvnCm9Gw", 1, nil},
		{"2.50 CPM", good, 2_500_000, nil},
		{"the highest", "_____________________0JIb6hce0A3NK0zMA", MaxPrice, nil},
		{"above the highest", "_____________________0JIb6hce0A2w5bazA", 0, ErrPrice},
		{"all bits", "_____________________723kL93Ia_ISbyfeQ", 0, ErrPrice},
		{"plain", "2.5", 0, ErrPrice},
		{"blank", "", 0, ErrBlank},
		{"unexpanded", "${AUCTION_PRICE}", 0, ErrUnexpanded},
		{"audit", "AUDIT", 0, ErrAudit},
		{"too short", good[:37], 0, ErrPrice},
		{"too long", good + "A", 0, ErrPrice},
		{"not base64", good[:37] + "!", 0, ErrPrice},
		{"line break within", good[:20] + "\n" + good[20:37], 0, ErrPrice},
		{"huge", strings.Repeat("A", 100), 0, ErrPrice},
		{"nothing signed", strings.Repeat("A", 38), 0, ErrForged},
	}
	macro := sealed()
	for _, tt := range tests {
		if got, err := macro.Open([]byte(tt.macro)); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: Open(%q) = %d, %v, want %d, %v", tt.name, tt.macro, got, err, tt.want, tt.err)
		}
	}
	// Written in standard base64 and padded, it is the same price.
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(good) + "=="
	if got, err := macro.Open([]byte(standard)); got != 2_500_000 || err != nil {
		t.Errorf("Open(%q) = %d, %v", standard, got, err)
	}
	other := sealed()
	other.IntegrityKey = other.EncryptionKey
	if _, err := other.Open([]byte(good)); !errors.Is(err, ErrForged) {
		t.Errorf("Open with another key = %v, want %v", err, ErrForged)
	}
	if _, err := (&PriceMacro{Kind: Encrypted}).Open([]byte(good)); !errors.Is(err, ErrNoKeys) {
		t.Errorf("Open without keys = %v, want %v", err, ErrNoKeys)
	}
}

// referenceSeal is the form as its description has it, on crypto/hmac.
func referenceSeal(encryption, integrity []byte, micros uint64, iv []byte) string {
	sign := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha1.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	price := binary.BigEndian.AppendUint64(nil, micros)
	out := bytes.Clone(iv)
	for i, pad := range sign(encryption, iv)[:8] {
		out = append(out, price[i]^pad)
	}
	out = append(out, sign(integrity, price, iv)[:4]...)
	return base64.RawURLEncoding.EncodeToString(out)
}

// What is sealed opens to the same price, equals the reference, and does not
// open once any bit of it was changed.
func TestSealThenOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encryption := rapid.SliceOfN(rapid.Byte(), 16, 128).Draw(t, "encryption")
		integrity := rapid.SliceOfN(rapid.Byte(), 16, 128).Draw(t, "integrity")
		price := rtb.Money(rapid.Int64Range(0, int64(MaxPrice)).Draw(t, "price"))
		iv := [ivSize]byte(rapid.SliceOfN(rapid.Byte(), ivSize, ivSize).Draw(t, "iv"))
		macro := PriceMacro{
			Kind:          Encrypted,
			EncryptionKey: Secret(base64.StdEncoding.EncodeToString(encryption)),
			IntegrityKey:  Secret(base64.RawURLEncoding.EncodeToString(integrity)),
		}
		text, err := macro.Seal([]byte("p="), price, iv)
		if err != nil {
			t.Fatal(err)
		}
		text = text[len("p="):]
		if want := referenceSeal(encryption, integrity, uint64(price), iv[:]); string(text) != want {
			t.Fatalf("Seal = %s, want %s", text, want)
		}
		if got, err := macro.Open(text); got != price || err != nil {
			t.Fatalf("Open(%s) = %d, %v, want %d", text, got, err, price)
		}
		flipped := bytes.Clone(text)
		flipped[rapid.IntRange(0, len(text)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, err := macro.Open(flipped); err == nil {
			t.Fatalf("Open(%s), changed from %s, = %d", flipped, text, got)
		}

		var plain PriceMacro
		if text, err = plain.Seal(nil, price, iv); err != nil {
			t.Fatal(err)
		}
		if got, err := plain.Open(text); got != price || err != nil {
			t.Fatalf("Open(%s) = %d, %v, want %d", text, got, err, price)
		}
	})
}

func TestSealRefuses(t *testing.T) {
	macro := sealed()
	for _, price := range []rtb.Money{-1, MaxPrice + 1} {
		if got, err := macro.Seal(nil, price, [ivSize]byte{}); !errors.Is(err, ErrPrice) {
			t.Errorf("Seal(%d) = %s, %v, want %v", price, got, err, ErrPrice)
		}
	}
	if _, err := (&PriceMacro{Kind: Encrypted}).Seal(nil, 1, [ivSize]byte{}); !errors.Is(err, ErrNoKeys) {
		t.Errorf("Seal without keys = %v, want %v", err, ErrNoKeys)
	}
}

func FuzzOpen(f *testing.F) {
	for _, seed := range []string{"2.5", "${AUCTION_PRICE}", "AUDIT", "", "1e-9", strings.Repeat("A", 38), "-1", "=+/"} {
		f.Add([]byte(seed))
	}
	encrypted, plain := sealed(), PriceMacro{}
	f.Fuzz(func(t *testing.T, macro []byte) {
		before := bytes.Clone(macro)
		for _, m := range []*PriceMacro{&encrypted, &plain} {
			price, err := m.Open(macro)
			if price < 0 || price > MaxPrice || err != nil && price != 0 {
				t.Errorf("Open(%q) = %d, %v", macro, price, err)
			}
		}
		if !bytes.Equal(before, macro) {
			t.Errorf("Open changed %q to %q", before, macro)
		}
	})
}

// Through the directory the keys are decoded once, so that opening a price
// leaves no garbage.
func TestOpenDoesNotAllocate(t *testing.T) {
	google := Builtin()[1]
	google.Price = sealed()
	d, err := NewDirectory([]Profile{google}, testBase)
	if err != nil {
		t.Fatal(err)
	}
	price := &d.ByID(google.ID).Price
	macro, err := price.Seal(nil, rtb.OneCPM, [ivSize]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		if got, err := price.Open(macro); got != rtb.OneCPM || err != nil {
			t.Errorf("Open = %d, %v", got, err)
		}
	})
	if allocs != 0 {
		t.Errorf("Open allocates %v times, want 0", allocs)
	}
}

func BenchmarkOpen(b *testing.B) {
	google := Builtin()[1]
	google.Price = sealed()
	d, err := NewDirectory([]Profile{google}, testBase)
	if err != nil {
		b.Fatal(err)
	}
	price := &d.ByID(google.ID).Price
	macro, _ := price.Seal(nil, rtb.OneCPM, [ivSize]byte{1})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := price.Open(macro); err != nil {
			b.Fatal(err)
		}
	}
}
