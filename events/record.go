package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"bidwell/rtb"
)

// A batch on its way into a log: a version, the number of events in four
// bytes, that many records of one size, and then the features of those events
// that have some, in the same order; all little-endian. There is no checksum:
// the engines that keep batches have their own.
//
// Version 1 had shorter records, the beginning of these, and no features.
const (
	recordVersion = 2
	headerSize    = 1 + 4
	recordSize1   = 16 + 4 + 1 + 4*4 + 1 + 16 + 8 + 8 + 2 + 4 + 3 + // from the token
		1 + 8 + 8 + 2 + 8 + 1 + 8 + // from the notice
		1 + 8 // decided
	recordSize = recordSize1 +
		2*rtb.MaxLayers + 8 + 1 + 1 + 1 + // of the price
		4 + 4 + 4 + 1 + // of the prediction, and how many features there are
		4 // win rate
)

// BatchSize is how long a batch is.
func BatchSize(batch []rtb.Event) int {
	size := headerSize + len(batch)*recordSize
	for i := range batch {
		size += 3 * int(batch[i].Features.Count)
	}
	return size
}

// AppendBatch appends the binary form of batch. Event.Made keeps milliseconds
// and Event.Time microseconds. It allocates nothing once dst has room.
func AppendBatch(dst []byte, batch []rtb.Event) []byte {
	n := len(dst)
	dst = grow(dst, BatchSize(batch))
	b := dst[n:]
	b[0] = recordVersion
	binary.LittleEndian.PutUint32(b[1:], uint32(len(batch)))
	b = b[headerSize:]
	for i := range batch {
		putRecord((*[recordSize]byte)(b), &batch[i])
		b = b[recordSize:]
	}
	for i := range batch {
		for _, h := range batch[i].Features.Hashes[:batch[i].Features.Count] {
			b = b[copy(b, h[:]):]
		}
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
	for i, arm := range e.Arms {
		le.PutUint16(b[124+2*i:], arm)
	}
	le.PutUint64(b[132:], uint64(e.Worth))
	b[140], b[141] = e.Floor, e.Format
	b[142] = e.Auction&15 | byte(e.Shading)<<4
	le.PutUint32(b[143:], math.Float32bits(e.CTR))
	le.PutUint32(b[147:], math.Float32bits(e.CVR))
	le.PutUint32(b[151:], e.Model)
	b[155] = e.Features.Count
	le.PutUint32(b[156:], math.Float32bits(e.WinRate))
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
	size := recordSize
	switch data[0] {
	case recordVersion:
	case 1:
		size = recordSize1
	default:
		return batch, fmt.Errorf("batch of events: version %d, want %d", data[0], recordVersion)
	}
	n := int64(binary.LittleEndian.Uint32(data[1:]))
	records := data[headerSize:]
	if want := n * int64(size); int64(len(records)) < want || size == recordSize1 && int64(len(records)) > want {
		return batch, fmt.Errorf("batch of events: %d bytes, but %d events need %d", len(data), n, headerSize+want)
	}
	if int64(cap(batch)) < n {
		batch = make([]rtb.Event, 0, n)
	}
	features := records[n*int64(size):]
	for i := range batch[:n] {
		e := &batch[:n][i]
		err := readRecord((*[recordSize1]byte)(records), e)
		if err == nil && size == recordSize {
			features, err = readScore(records[recordSize1:recordSize], features, e)
		}
		if err != nil {
			return batch, fmt.Errorf("batch of events: number %d of %d: %w", i+1, n, err)
		}
		records = records[size:]
	}
	if len(features) > 0 {
		return batch, fmt.Errorf("batch of events: %d bytes more than its events need", len(features))
	}
	return batch[:n], nil
}

func readRecord(b *[recordSize1]byte, e *rtb.Event) error {
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

// readScore reads what version 2 added, and takes the features of e off the
// front of those that are left.
func readScore(b, features []byte, e *rtb.Event) (rest []byte, err error) {
	le := binary.LittleEndian
	for i := range e.Arms {
		e.Arms[i] = le.Uint16(b[2*i:])
	}
	b = b[2*rtb.MaxLayers:]
	e.Worth = rtb.Money(le.Uint64(b))
	e.Floor, e.Format = b[8], b[9]
	e.Auction, e.Shading = b[10]&15, rtb.Shading(b[10]>>4)
	e.CTR, e.CVR = math.Float32frombits(le.Uint32(b[11:])), math.Float32frombits(le.Uint32(b[15:]))
	e.Model = le.Uint32(b[19:])
	e.WinRate = math.Float32frombits(le.Uint32(b[24:]))
	count := int(b[23])
	if count > rtb.MaxFeatures || 3*count > len(features) {
		return nil, fmt.Errorf("%d features, but %d bytes are left for them", count, len(features))
	}
	e.Features.Count = uint8(count)
	for i := range count {
		e.Features.Hashes[i] = [3]byte(features[3*i:])
	}
	return features[3*count:], nil
}

// readTime keeps the zero time equal to itself: it has no place.
func readTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t
}
