package events

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

// fullEvent has something in every field.
func fullEvent(r *rand.Rand) rtb.Event {
	e := scoredEvent(r)
	e.Node, e.Campaign, e.Advertiser = r.Uint32(), rtb.CampaignID(r.Uint32()), rtb.AdvertiserID(r.Uint32())
	e.Fees = rtb.Fees{Share: uint16(r.Uint32()), Fixed: r.Uint32()}
	e.Type = rtb.EventType(1 + r.IntN(rtb.EventTypeCount-1))
	e.Time = time.UnixMicro(r.Int64N(1 << 52))
	e.Price, e.MinToWin, e.Value, e.Charge = rtb.Money(r.Int64()), rtb.Money(r.Int64()), rtb.Money(r.Int64()), -rtb.Money(r.Int64())
	e.WinRate = r.Float32()
	e.Reason, e.Part, e.Billing = uint16(r.Uint32()), uint8(r.Uint32()), r.IntN(2) == 0
	return e
}

func fullBatch(seed uint64, n int) []rtb.Event {
	r := rand.New(rand.NewPCG(seed, 0))
	batch := make([]rtb.Event, n)
	for i := range batch {
		batch[i] = fullEvent(r)
	}
	return batch
}

func TestBatchRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 7, 4096} {
		want := fullBatch(uint64(n), n)
		if n > 1 {
			want[0] = rtb.Event{Type: rtb.EventWin} // zero times included
			want[1].Price, want[1].Charge = rtb.UnreadablePrice, rtb.MaxMoney
			want[1].Made, want[1].Cost = time.UnixMilli(-1), math.MinInt64
		}
		data := AppendBatch([]byte("x"), want)[1:]
		if len(data) != BatchSize(want) {
			t.Fatalf("%d events take %d bytes, want %d", n, len(data), BatchSize(want))
		}
		got, err := ReadBatch(data, make([]rtb.Event, 5))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("a batch of %d came back changed", n)
		}
	}
	if recordSize > 160 {
		t.Errorf("a record takes %d bytes", recordSize)
	}
}

func TestReadBatchRefuses(t *testing.T) {
	full := fullBatch(1, 3)
	full[0].Features, full[1].Features, full[2].Features = rtb.Features{}, rtb.Features{}, rtb.Features{Count: 2}
	good := AppendBatch(nil, full)
	change := func(at int, to byte) []byte {
		data := bytes.Clone(good)
		data[at] = to
		return data
	}
	tests := []struct {
		name, want string
		data       []byte
	}{
		{"empty", "shorter than its header", nil},
		{"header alone", "5 bytes, but 3 events need 485", good[:5]},
		{"longer", "1 bytes more than its events need", append(bytes.Clone(good), 0)},
		{"features cut off", "number 3 of 3: 2 features, but 5 bytes are left for them", good[:len(good)-1]},
		{"too many features", "number 3 of 3: 200 features", change(headerSize+2*recordSize+155, 200)},
		{"records cut off", "300 bytes, but 3 events need 485", good[:300]},
		{"version 1, longer", "491 bytes, but 3 events need 377", change(0, 1)},
		{"version", "version 9, want 2", change(0, 9)},
		{"count", "but 255 events need", change(1, 255)},
		{"huge count", "but 4278190083 events need", change(4, 255)},
		{"type", "number 2 of 3: unknown type 99", change(headerSize+recordSize+79, 99)},
		{"no type", "number 1 of 3: unknown type 0", change(headerSize+79, 0)},
		{"billing", "number 3 of 3: billing is 2", change(headerSize+2*recordSize+115, 2)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			batch, err := ReadBatch(tt.data, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadBatch = %v, want %q", err, tt.want)
			}
			if len(batch) != 0 {
				t.Errorf("%d events of a bad batch", len(batch))
			}
		})
	}
}

// Version 1 is what a log from before holds: it had none of what came later.
func TestReadVersion1(t *testing.T) {
	want := fullBatch(3, 3)
	var data []byte
	data = append(data, 1, 3, 0, 0, 0)
	for i := range want {
		var record [recordSize]byte
		putRecord(&record, &want[i])
		data = append(data, record[:recordSize1]...)
		e := &want[i]
		e.Arms, e.Worth, e.Floor, e.Format, e.Auction, e.Shading = [rtb.MaxLayers]uint16{}, 0, 0, 0, 0, 0
		e.CTR, e.CVR, e.Model, e.WinRate, e.Features = 0, 0, 0, 0, rtb.Features{}
	}
	got, err := ReadBatch(data, nil)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("a batch of version 1 came back changed: %v", err)
	}
}

func TestBatchesDoNotAllocate(t *testing.T) {
	batch := fullBatch(1, 100)
	data := AppendBatch(nil, batch)
	allocs := testing.AllocsPerRun(100, func() {
		data = AppendBatch(data[:0], batch)
		var err error
		if batch, err = ReadBatch(data, batch); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("a batch written and read allocates %v times, want 0", allocs)
	}
}

func FuzzReadBatch(f *testing.F) {
	f.Add(AppendBatch(nil, nil))
	f.Add(AppendBatch(nil, fullBatch(1, 2)))
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := ReadBatch(data, nil)
		if err == nil && data[0] == recordVersion && !bytes.Equal(AppendBatch(nil, batch), data) {
			t.Errorf("a batch was read that is never written: %x", data)
		}
	})
}

func BenchmarkAppendBatch(b *testing.B) {
	batch := fullBatch(1, 100)
	var data []byte
	for b.Loop() {
		data = AppendBatch(data[:0], batch)
	}
}

func BenchmarkReadBatch(b *testing.B) {
	data := AppendBatch(nil, fullBatch(1, 100))
	var batch []rtb.Event
	for b.Loop() {
		batch, _ = ReadBatch(data, batch)
	}
}
