package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"bidwell/rtb"
)

// april is when the first key of the tests was made.
var april = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)

func testKey(id byte) Key {
	return Key{ID: id, Made: april.AddDate(0, int(id), 0), Secret: [32]byte{1, 2, 3, id}}
}

func testKeyring(t testing.TB, keys ...Key) *Keyring {
	t.Helper()
	if len(keys) == 0 {
		keys = []Key{testKey(1)}
	}
	r, err := NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func testEvent(r *rand.Rand) rtb.Event {
	e := rtb.Event{
		Bid:        NewBidID(r.Uint64(), r.Uint64()),
		Node:       r.Uint32(),
		Exchange:   rtb.ExchangeID(r.Uint32()),
		LineItem:   rtb.LineItemID(r.Uint32()),
		Campaign:   rtb.CampaignID(r.Uint32()),
		Advertiser: rtb.AdvertiserID(r.Uint32()),
		Creative:   rtb.CreativeID(r.Uint32()),
		Media:      rtb.Media(r.IntN(5)),
		Made:       time.UnixMilli(r.Int64N(1<<47) - 1<<46),
		Cost:       rtb.Money(r.Int64()),
		Fees:       rtb.Fees{Share: uint16(r.Uint32()), Fixed: r.Uint32()},
		Currency:   rtb.USD,
	}
	binary.LittleEndian.PutUint64(e.User[:8], r.Uint64())
	binary.LittleEndian.PutUint64(e.User[8:], r.Uint64())
	for i := range e.Arms {
		e.Arms[i] = uint16(r.Uint32())
	}
	e.Worth, e.Floor, e.Format = rtb.Money(r.Int64()), uint8(r.Uint32()), uint8(r.Uint32())
	e.Auction, e.Shading = uint8(r.IntN(3)), rtb.Shading(r.IntN(4))
	return e
}

// scoredEvent also has what a token of class View brings back.
func scoredEvent(r *rand.Rand) rtb.Event {
	e := testEvent(r)
	e.CTR, e.CVR, e.Model = r.Float32(), r.Float32(), r.Uint32()
	hashes := make([]uint32, r.IntN(rtb.MaxFeatures+1))
	for i := range hashes {
		hashes[i] = r.Uint32() & (1<<rtb.FeatureBits - 1)
	}
	e.Features.Set(hashes)
	return e
}

var classes = []Class{Server, Browser, Conversion, View}

func TestTokenRoundTrip(t *testing.T) {
	ring := testKeyring(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		scored := scoredEvent(r)
		scored.BilledBy = rtb.EventType(r.IntN(rtb.EventTypeCount))
		for _, class := range classes {
			want := scored
			if class != View {
				want.CTR, want.CVR, want.Model, want.Features = 0, 0, 0, rtb.Features{}
			}
			notice := want // what the notice says is not part of the token
			notice.Type, notice.Time, notice.Price, notice.Charge, notice.Billing = rtb.EventClick, april, 1, 2, true
			token := ring.AppendToken([]byte("t="), class, &notice)[2:]
			if len(token) != class.Size() {
				t.Fatalf("token has %d bytes, want %d", len(token), class.Size())
			}
			got := rtb.Event{Type: rtb.EventLoss, Value: 9} // of the last use of the memory
			if err := ring.Open(token, class, &got, nil); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("Open = %+v, want %+v", got, want)
			}
		}
	}
}

// goldenTokens are what testEvent with the seed 7, 8 is in each class. If they
// change, tokens under way no longer open.
var goldenTokens = [...]string{
	Server:     "AeyZ4Fix4EiDR-ESPQz1NTp32ouDRBCA8Y6QaLO7M-bAWreKzBeDOshJPshBLAIISug7QUSdZDnIO3mnXNVIYLHbFOtMeqdxycCIzrOP-wBlW_MJ0jzLFLrjWlAq_I-bptOGCUylQXeOndHOothmLwM",
	Browser:    "AeyZ4Fix4EiDR-ESfU_Y4X-vFQPW9wQ57MfjhBJxH-ZF4i9WwmC6lG9H-H1bJsbfUfxGVEzZC3ZEnS6_HfQoOTJMOpy1kHp0fIfOfnPKoMY54by0S_M8UVUd1ukwnzqGVWPNWvtTsVXByK3dFa8Dqhk",
	Conversion: "AeyZ4Fix4EiDR-ESvQ51OckF4q1iysh7vqrqKblYhxyFKcj2mrp9qDhdTSsnymR46waMmF_lNDqPuLFITIjXqbdE3NSZTRtxHeGUZ0Td1n3yc844-_6i0IbDXbOFU-q-7u3of9kSG5BbfT9gpnHmL5A",
	View:       "AeyZ4Fix4EiDR-ES_UfHx2quRWyAl7xloj6T8ryMeZTns7ZmljMxniOq8T1bbVznniPZwHM7zh7mU7LoGMaeGIs31DJOY2A7YvY3ETkwKlmXKmrntwe_eAzWGairGP1iaIYrsdIuzXnzOKTZLjni6eBUMmYyf8sZQ2kcSHi7HWwTYropZEytAw3g5atR_WfmPhZa6WH1c5z-239JS2_QKMOqsenxcpfoyzy_4xqygwANXTn0M89VAS2QoruYc83K-WFYoOmw6FIm-j9-9J_aw_nD9FbkJCrJZa8r6l8_e-k-0r4T3C7JfoHUF_epDX3EsRQLS8Wp5x2d0ScCce_f2vDAd5ufdAEMuNAXzRKE8fYaWLL8c7hPXVKmUoLLn_yROI8idlCIKgt9AhqU9TxgL_NTjUPQcu7I0MwxDIR6",
}

func TestTokenLayout(t *testing.T) {
	ring := testKeyring(t)
	e := scoredEvent(rand.New(rand.NewPCG(7, 8)))
	for class, want := range goldenTokens {
		if got := string(ring.AppendToken(nil, Class(class), &e)); got != want {
			t.Errorf("token of class %d is %s, want %s", class, got, want)
		}
	}
}

// The bits of the class are those that a bid id leaves clear, so that bids and
// classes never share a nonce.
func TestNonces(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	var set rtb.BidID // every bit that was seen
	seen := map[[nonceSize]byte]bool{}
	ring := testKeyring(t)
	for range 1000 {
		e := testEvent(r)
		for i := range e.Bid {
			set[i] |= e.Bid[i]
		}
		for _, class := range classes {
			sealed, err := tokenText.DecodeString(string(ring.AppendToken(nil, class, &e)))
			if err != nil {
				t.Fatal(err)
			}
			nonce := [nonceSize]byte(sealed[1:])
			if seen[nonce] {
				t.Fatalf("nonce %x serves twice", nonce)
			}
			seen[nonce] = true
		}
	}
	want := rtb.BidID(bytes.Repeat([]byte{0xff}, 16))
	want[classByte] = 0xff &^ classMask
	if set != want {
		t.Errorf("bits of bid ids %x, want %x", set, want)
	}
	// A click that is repeated seals its token again: nothing new under its nonce.
	e := testEvent(r)
	first := ring.AppendToken(nil, Conversion, &e)
	e.Type, e.Time, e.Price = rtb.EventClick, april, 7
	if again := ring.AppendToken(nil, Conversion, &e); !bytes.Equal(first, again) {
		t.Errorf("two tokens of one bid and class: %s and %s", first, again)
	}
}

func TestTokenRefused(t *testing.T) {
	ring := testKeyring(t)
	e := testEvent(rand.New(rand.NewPCG(3, 4)))
	token := ring.AppendToken(nil, Browser, &e)
	other := testKey(1)
	other.Secret[31]++
	otherID := testKey(1)
	otherID.ID = 2

	type test struct {
		name  string
		token []byte
		class Class
		want  error
	}
	tests := []test{
		{"empty", nil, Browser, ErrNotToken},
		{"truncated", token[:len(token)-1], Browser, ErrNotToken},
		{"truncated at the front", token[1:], Browser, ErrNotToken},
		{"longer", append(bytes.Clone(token), 'A'), Browser, ErrNotToken},
		{"no base64", append(bytes.Clone(token[:len(token)-1]), '!'), Browser, ErrNotToken},
		{"line end inside", append(bytes.Clone(token[:len(token)-1]), '\n'), Browser, ErrNotToken},
		{"spare bits", append(bytes.Clone(token[:len(token)-1]), token[len(token)-1]+1), Browser, ErrNotToken},
		{"other key of the same id", testKeyring(t, other).AppendToken(nil, Browser, &e), Browser, ErrForged},
		{"same key of another id", testKeyring(t, otherID).AppendToken(nil, Browser, &e), Browser, ErrUnknownKey},
		{"browser's for the server", token, Server, ErrWrongClass},
		{"browser's for a conversion", token, Conversion, ErrWrongClass},
		{"server's for the browser", ring.AppendToken(nil, Server, &e), Browser, ErrWrongClass},
		{"conversion for the browser", ring.AppendToken(nil, Conversion, &e), Browser, ErrWrongClass},
		{"conversion for the server", ring.AppendToken(nil, Conversion, &e), Server, ErrWrongClass},
	}
	sealed, err := tokenText.DecodeString(string(token))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for bit := range 8 {
			altered := bytes.Clone(sealed)
			altered[i] ^= 1 << bit
			want := ErrForged
			if i == 0 {
				want = ErrUnknownKey
			}
			tests = append(tests, test{"a bit flipped", tokenText.AppendEncode(nil, altered), Browser, want})
		}
	}
	for i := range token {
		for _, c := range "AZaz09-_%=!\x00\r" {
			if altered := bytes.Clone(token); altered[i] != byte(c) {
				altered[i] = byte(c)
				tests = append(tests, test{"a character replaced", altered, Browser, nil})
			}
		}
	}
	for _, tt := range tests {
		got := rtb.Event{Cost: 7}
		err := ring.Open(tt.token, tt.class, &got, nil)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Open(%q) = %v, want %v", tt.name, tt.token, err, tt.want)
		}
		if got != (rtb.Event{Cost: 7}) {
			t.Errorf("%s: Open filled the event of a bad token", tt.name)
		}
	}
}

func TestKeyringRotates(t *testing.T) {
	e := testEvent(rand.New(rand.NewPCG(3, 4)))
	old, middle, newest := testKey(1), testKey(2), testKey(3)
	ring := testKeyring(t, old)
	first := ring.AppendToken(nil, Server, &e)
	if err := ring.Swap([]Key{newest, old, middle}); err != nil {
		t.Fatal(err)
	}
	second := ring.AppendToken(nil, Server, &e)
	if sealed, _ := tokenText.DecodeString(string(second)); sealed[0] != newest.ID {
		t.Errorf("key %d seals, want the newest", sealed[0])
	}
	var got rtb.Event
	for _, token := range [][]byte{first, second} {
		if err := ring.Open(token, Server, &got, nil); err != nil || got != e {
			t.Errorf("Open = %v, %+v", err, got)
		}
	}
	for _, bad := range [][]Key{nil, {}, {old, old}, {{ID: 1}}} {
		if err := ring.Swap(bad); err == nil {
			t.Errorf("Swap(%v) succeeded", bad)
		}
	}
	if err := ring.Open(second, Server, &got, nil); err != nil {
		t.Errorf("after a Swap that failed: %v", err)
	}
	if err := ring.Swap([]Key{newest}); err != nil {
		t.Fatal(err)
	}
	if err := ring.Open(first, Server, &got, nil); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a token of a key that was dropped: %v", err)
	}
	if _, err := NewKeyring(nil); err == nil || !strings.Contains(err.Error(), "no token keys") {
		t.Errorf("NewKeyring without keys: %v", err)
	}
}

// Keys are swapped while tokens are sealed and opened.
func TestKeyringSwapsWhileInUse(t *testing.T) {
	keys := []Key{testKey(1), testKey(2), testKey(3)}
	ring := testKeyring(t, keys...)
	var group sync.WaitGroup
	for seed := range uint64(2) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 2000 {
				e := testEvent(r)
				var got rtb.Event
				if err := ring.Open(ring.AppendToken(nil, Browser, &e), Browser, &got, nil); err != nil || got != e {
					t.Errorf("Open = %v, %+v, want %+v", err, got, e)
					return
				}
			}
		})
	}
	for i := range 2000 {
		keys[i%3].Made = april.AddDate(1, 0, i) // another one is the newest
		if err := ring.Swap(keys); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
}

func TestTokenDoesNotAllocate(t *testing.T) {
	ring := testKeyring(t)
	e := testEvent(rand.New(rand.NewPCG(5, 6)))
	buf, work := make([]byte, 0, 1024), make([]byte, 0, 256)
	allocs := testing.AllocsPerRun(100, func() {
		token := ring.AppendToken(buf, Browser, &e)
		if err := ring.Open(token, Browser, &e, work); err != nil {
			t.Fatal(err)
		}
		if ring.Open(token, Server, &e, work) == nil || ring.Open(token[1:], Server, &e, work) == nil {
			t.Fatal("a bad token opens")
		}
	})
	if allocs != 0 {
		t.Errorf("sealing and opening allocate %v times, want 0", allocs)
	}
}

func FuzzOpen(f *testing.F) {
	ring := testKeyring(f, testKey(1), testKey(2))
	e := testEvent(rand.New(rand.NewPCG(7, 8)))
	for _, class := range classes {
		f.Add(ring.AppendToken(nil, class, &e), byte(class))
	}
	f.Add([]byte("AAAA"), byte(Server))
	f.Fuzz(func(t *testing.T, token []byte, class byte) {
		got := rtb.Event{Cost: 7}
		err := ring.Open(token, Class(class), &got, nil)
		if err == nil && !bytes.Equal(ring.AppendToken(nil, Class(class), &got), token) {
			t.Errorf("a token opened that sealing does not give: %q", token)
		}
		if err != nil && got != (rtb.Event{Cost: 7}) {
			t.Errorf("%v, but the event became %+v", err, got)
		}
	})
}

func TestDedup(t *testing.T) {
	d := NewDedup(10)
	r := rand.New(rand.NewPCG(9, 10))
	for range 100 {
		bid := NewBidID(r.Uint64(), r.Uint64())
		if d.Seen(bid, 1) {
			t.Fatal("something has come that was not marked")
		}
		if !d.First(bid, 1) {
			t.Fatal("the first was taken for a repeat")
		}
		if d.First(bid, 1) || !d.Seen(bid, 1) {
			t.Fatal("the second was taken for a first")
		}
		if d.Seen(bid, 2) || !d.First(bid, 2) {
			t.Fatal("one thing was taken for another")
		}
	}
	for range 100_000 { // far more than fit: it must go on and not refuse firsts
		if !d.First(NewBidID(r.Uint64(), r.Uint64()), 1) {
			t.Fatal("a full table refuses a first")
		}
	}
}

func BenchmarkAppendToken(b *testing.B) {
	ring := testKeyring(b)
	e := testEvent(rand.New(rand.NewPCG(5, 6)))
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		ring.AppendToken(buf, Browser, &e)
	}
}

func BenchmarkOpen(b *testing.B) {
	ring := testKeyring(b)
	e := testEvent(rand.New(rand.NewPCG(5, 6)))
	token, work := ring.AppendToken(nil, Browser, &e), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if err := ring.Open(token, Browser, &e, work); err != nil {
			b.Fatal(err)
		}
	}
}
