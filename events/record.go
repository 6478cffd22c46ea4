package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"bidwell/rtb"
)

// A batch on its way into a log: a version, the number of events in four
// bytes, and that many records of one size, all little-endian. There is no
// checksum: the engines that keep batches have their own.
const (
	recordVersion = 1
	headerSize    = 1 + 4
	recordSize    = 16 + 4 + 1 + 4*4 + 1 + 16 + 8 + 8 + 2 + 4 + 3 + // from the token
		1 + 8 + 8 + 2 + 8 + 1 + 8 + // from the notice
		1 + 8 // decided
)

// BatchSize is how long a batch of n events is.
func BatchSize(n int) int { return headerSize + n*recordSize }

// AppendBatch appends the binary form of batch. Event.Made keeps milliseconds
// and Event.Time microseconds. It allocates nothing once dst has room.
func AppendBatch(dst []byte, batch []rtb.Event) []byte {
	n := len(dst)
	dst = grow(dst, BatchSize(len(batch)))
	b := dst[n:]
	b[0] = recordVersion
	binary.LittleEndian.PutUint32(b[1:], uint32(len(batch)))
	b = b[headerSize:]
	for i := range batch {
		putRecord((*[recordSize]byte)(b), &batch[i])
		b = b[recordSize:]
	}
	return dst
}

func putRecord(b *[recordSize]byte, e *rtb.Event) {
	le := binary.LittleEndian
	copy(b[0:16], e.Bid[:])
	le.PutUint32(b[16:], e.Node)
	b[20] = byte(e.Exchange)
	le.PutUint32(b[21:], uint32(e.LineItem))
	le.PutUint32(b[25:], uint32(e.Campaign))
	le.PutUint32(b[29:], uint32(e.Advertiser))
	le.PutUint32(b[33:], uint32(e.Creative))
	b[37] = byte(e.Media)
	copy(b[38:54], e.User[:])
	le.PutUint64(b[54:], uint64(e.Made.UnixMilli()))
	le.PutUint64(b[62:], uint64(e.Cost))
	le.PutUint16(b[70:], e.Fees.Share)
	le.PutUint32(b[72:], e.Fees.Fixed)
	copy(b[76:79], e.Currency[:])
	b[79] = byte(e.Type)
	le.PutUint64(b[80:], uint64(e.Time.UnixMicro()))
	le.PutUint64(b[88:], uint64(e.Price))
	le.PutUint16(b[96:], e.Reason)
	le.PutUint64(b[98:], uint64(e.MinToWin))
	b[106] = e.Part
	le.PutUint64(b[107:], uint64(e.Value))
	b[115] = 0
	if e.Billing {
		b[115] = 1
	}
	le.PutUint64(b[116:], uint64(e.Charge))
}

var errBatchHeader = errors.New("batch of events: shorter than its header")

// ReadBatch is the inverse of [AppendBatch]. It writes the events over batch
// and returns it with their number as its length; it allocates only when batch
// has too little room. After an error the batch is empty.
func ReadBatch(data []byte, batch []rtb.Event) ([]rtb.Event, error) {
	batch = batch[:0]
	if len(data) < headerSize {
		return batch, errBatchHeader
	}
	if data[0] != recordVersion {
		return batch, fmt.Errorf("batch of events: version %d, want %d", data[0], recordVersion)
	}
	n := int64(binary.LittleEndian.Uint32(data[1:]))
	if want := headerSize + n*recordSize; int64(len(data)) != want {
		return batch, fmt.Errorf("batch of events: %d bytes, but %d events need %d", len(data), n, want)
	}
	if int64(cap(batch)) < n {
		batch = make([]rtb.Event, 0, n)
	}
	data = data[headerSize:]
	for i := range batch[:n] {
		if err := readRecord((*[recordSize]byte)(data), &batch[:n][i]); err != nil {
			return batch, fmt.Errorf("batch of events: number %d of %d: %w", i+1, n, err)
		}
		data = data[recordSize:]
	}
	return batch[:n], nil
}

func readRecord(b *[recordSize]byte, e *rtb.Event) error {
	le := binary.LittleEndian
	if t := b[79]; t == 0 || int(t) >= rtb.EventTypeCount {
		return fmt.Errorf("unknown type %d", t)
	}
	if b[115] > 1 {
		return fmt.Errorf("billing is %d, want 0 or 1", b[115])
	}
	*e = rtb.Event{
		Bid:        rtb.BidID(b[0:16]),
		Node:       le.Uint32(b[16:]),
		Exchange:   rtb.ExchangeID(b[20]),
		LineItem:   rtb.LineItemID(le.Uint32(b[21:])),
		Campaign:   rtb.CampaignID(le.Uint32(b[25:])),
		Advertiser: rtb.AdvertiserID(le.Uint32(b[29:])),
		Creative:   rtb.CreativeID(le.Uint32(b[33:])),
		Media:      rtb.Media(b[37]),
		User:       rtb.UserID(b[38:54]),
		Made:       readTime(time.UnixMilli(int64(le.Uint64(b[54:])))),
		Cost:       rtb.Money(le.Uint64(b[62:])),
		Fees:       rtb.Fees{Share: le.Uint16(b[70:]), Fixed: le.Uint32(b[72:])},
		Currency:   rtb.Currency(b[76:79]),
		Type:       rtb.EventType(b[79]),
		Time:       readTime(time.UnixMicro(int64(le.Uint64(b[80:])))),
		Price:      rtb.Money(le.Uint64(b[88:])),
		Reason:     le.Uint16(b[96:]),
		MinToWin:   rtb.Money(le.Uint64(b[98:])),
		Part:       b[106],
		Value:      rtb.Money(le.Uint64(b[107:])),
		Billing:    b[115] == 1,
		Charge:     rtb.Money(le.Uint64(b[116:])),
	}
	return nil
}

// readTime keeps the zero time equal to itself: it has no place.
func readTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t
}
