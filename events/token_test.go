package events

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"bidwell/rtb"
)

func testSealer(t testing.TB) *Sealer {
	s, err := NewSealer(1, [32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testEvent(r *rand.Rand) rtb.Event {
	e := rtb.Event{
		Exchange: rtb.ExchangeID(r.Uint32()),
		LineItem: rtb.LineItemID(r.Uint32()),
		Creative: rtb.CreativeID(r.Uint32()),
		Media:    rtb.Media(r.IntN(5)),
		Made:     time.UnixMilli(r.Int64N(1 << 42)),
		Cost:     rtb.Money(r.Int64()),
		Currency: rtb.USD,
	}
	for i := range e.Bid {
		e.Bid[i], e.User[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	return e
}

func TestTokenRoundTrip(t *testing.T) {
	s := testSealer(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		want := testEvent(r)
		token := s.AppendToken([]byte("t="), &want)[2:]
		if len(token) != TokenSize {
			t.Fatalf("token has %d bytes, want %d", len(token), TokenSize)
		}
		var got rtb.Event
		if err := s.Open(token, &got, nil); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("Open = %+v, want %+v", got, want)
		}
	}
}

func TestTokenRefused(t *testing.T) {
	s := testSealer(t)
	e := testEvent(rand.New(rand.NewPCG(3, 4)))
	token := s.AppendToken(nil, &e)

	otherKey, _ := NewSealer(1, [32]byte{9})
	otherID, _ := NewSealer(2, [32]byte{1, 2, 3})
	tests := map[string][]byte{
		"empty":      {},
		"truncated":  token[:len(token)-1],
		"longer":     append(bytes.Clone(token), 'A'),
		"no base64":  append(bytes.Clone(token[:len(token)-1]), '!'),
		"other key":  otherKey.AppendToken(nil, &e),
		"other keys": otherID.AppendToken(nil, &e),
	}
	for i := range token {
		altered := bytes.Clone(token)
		if altered[i]++; altered[i] == 'Z'+1 {
			altered[i] = 'A'
		}
		tests["altered at "+string(rune('0'+i))] = altered
	}
	for name, bad := range tests {
		var got rtb.Event
		if err := s.Open(bad, &got, nil); err == nil {
			t.Errorf("%s: Open succeeded", name)
		} else if got != (rtb.Event{}) {
			t.Errorf("%s: Open filled the event of a bad token", name)
		}
	}
}

func TestTokenDoesNotAllocate(t *testing.T) {
	s := testSealer(t)
	e := testEvent(rand.New(rand.NewPCG(5, 6)))
	buf, work := make([]byte, 0, 1024), make([]byte, 0, 256)
	allocs := testing.AllocsPerRun(100, func() {
		token := s.AppendToken(buf, &e)
		if err := s.Open(token, &e, work); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("sealing and opening allocate %v times, want 0", allocs)
	}
}

func FuzzOpen(f *testing.F) {
	s := testSealer(f)
	e := testEvent(rand.New(rand.NewPCG(7, 8)))
	f.Add(s.AppendToken(nil, &e))
	f.Add([]byte("AAAA"))
	f.Fuzz(func(t *testing.T, token []byte) {
		var got rtb.Event
		if s.Open(token, &got, nil) == nil && !bytes.Equal(s.AppendToken(nil, &got), token) {
			t.Errorf("a token opened that sealing does not give: %q", token)
		}
	})
}

func TestDedup(t *testing.T) {
	d := NewDedup(10)
	r := rand.New(rand.NewPCG(9, 10))
	for range 100 {
		bid := testEvent(r).Bid
		if !d.First(bid, rtb.EventWin) {
			t.Fatal("the first win was taken for a repeat")
		}
		if d.First(bid, rtb.EventWin) {
			t.Fatal("the second win was taken for a first")
		}
		if !d.First(bid, rtb.EventBill) {
			t.Fatal("a bill was taken for a win")
		}
	}
	for range 100_000 { // far more than fit: it must go on and not refuse firsts
		if !d.First(testEvent(r).Bid, rtb.EventWin) {
			t.Fatal("a full table refuses a first")
		}
	}
}

func BenchmarkAppendToken(b *testing.B) {
	s := testSealer(b)
	e := testEvent(rand.New(rand.NewPCG(5, 6)))
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		s.AppendToken(buf, &e)
	}
}
