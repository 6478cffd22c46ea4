package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"time"

	"bidwell/rtb"
)

// A model file is, in little-endian order:
//
//	magic, version, bits
//	bias                               float32
//	rows, clicks                       uvarint
//	from, through                      int64, seconds, or the least int64 for none
//	log loss, AUC, calibration         float64
//	weights that are not zero          uvarint, then for each
//	                                   step from the index before, uvarint; weight, float32
//	checks                             uvarint, then for each
//	                                   features, uvarint; uint32 each; prediction, float64
//	CRC-32 (IEEE) of all before        uint32
//
// The first check is of the features of a fixed bid, so that a program which
// extracts other features does not use the model.
const (
	fileMagic   = "bidwell model\n"
	fileVersion = 1
	maxFile     = 256 << 20 // bytes: more than a full table of MaxBits takes
	noTime      = math.MinInt64
)

// What is wrong with a model that Read refuses.
var (
	ErrNotModel     = errors.New("not a model file")
	ErrModelVersion = errors.New("another version of the model file")
	ErrModelDamaged = errors.New("the model file is damaged")
	ErrModelParity  = errors.New("the model predicts other than where it was trained")
)

// Write writes m. The same model always becomes the same bytes.
func (m *Logistic) Write(w io.Writer) error {
	if _, err := w.Write(m.file()); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

func (m *Logistic) file() []byte {
	b := []byte(fileMagic)
	b = append(b, fileVersion, byte(m.Bits()))
	b = appendFloat32(b, m.bias)
	b = binary.AppendUvarint(b, m.metrics.Rows)
	b = binary.AppendUvarint(b, m.metrics.Clicks)
	b = appendTime(b, m.metrics.From)
	b = appendTime(b, m.metrics.Through)
	for _, v := range [...]float64{m.metrics.LogLoss, m.metrics.AUC, m.metrics.Calibration} {
		b = appendFloat64(b, v)
	}

	count := 0
	for _, w := range m.weights {
		if w != 0 {
			count++
		}
	}
	b = binary.AppendUvarint(b, uint64(count))
	before := 0
	for i, w := range m.weights {
		if w != 0 {
			b = binary.AppendUvarint(b, uint64(i-before))
			b = appendFloat32(b, w)
			before = i
		}
	}

	checks := slices.Concat([][]uint32{sampleFeatures()}, m.checks)
	b = binary.AppendUvarint(b, uint64(len(checks)))
	for _, hashes := range checks {
		b = binary.AppendUvarint(b, uint64(len(hashes)))
		for _, h := range hashes {
			b = binary.LittleEndian.AppendUint32(b, h)
		}
		b = appendFloat64(b, m.Predict(hashes))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// Read reads what [Logistic.Write] wrote. It refuses what is cut off, damaged,
// of another version, or does not predict what it did where it was trained.
func Read(r io.Reader) (*Logistic, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	m, err := parseFile(b)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	return m, nil
}

func parseFile(b []byte) (*Logistic, error) {
	if len(b) < len(fileMagic)+2 || string(b[:len(fileMagic)]) != fileMagic {
		return nil, ErrNotModel
	}
	if v := b[len(fileMagic)]; v != fileVersion {
		return nil, fmt.Errorf("%w: got %d, want %d", ErrModelVersion, v, fileVersion)
	}
	body := len(b) - 4
	if len(b) > maxFile || body < len(fileMagic)+2 || crc32.ChecksumIEEE(b[:body]) != binary.LittleEndian.Uint32(b[body:]) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrModelDamaged)
	}
	bits := int(b[len(fileMagic)+1])
	if err := checkBits(bits); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModelDamaged, err)
	}
	f := fileReader{rest: b[len(fileMagic)+2 : body]}
	m := &Logistic{bias: f.float32()}
	m.metrics.Rows, m.metrics.Clicks = f.uvarint(), f.uvarint()
	m.metrics.From, m.metrics.Through = f.time(), f.time()
	m.metrics.LogLoss, m.metrics.AUC, m.metrics.Calibration = f.float64(), f.float64(), f.float64()

	if t := &m.metrics; t.Clicks > t.Rows || t.Rows > 1<<53 || !(t.LogLoss >= 0 && t.LogLoss <= 100) {
		return nil, fmt.Errorf("%w: a log loss of %g in %d examples with %d clicks", ErrModelDamaged, t.LogLoss, t.Rows, t.Clicks)
	}

	count := f.uvarint()
	if count > min(1<<bits, uint64(len(f.rest))/5) {
		return nil, fmt.Errorf("%w: %d weights", ErrModelDamaged, count)
	}
	m.weights = make([]float32, 1<<bits)
	index := uint64(0)
	for i := range count {
		step := f.uvarint()
		if index += step; step > 1<<bits || index >= 1<<bits || step == 0 && i > 0 {
			return nil, fmt.Errorf("%w: weight %d is out of order", ErrModelDamaged, i)
		}
		m.weights[index] = f.float32()
	}
	m.index()
	if err := f.checks(m); err != nil {
		return nil, err
	}
	if f.failed || len(f.rest) > 0 {
		return nil, fmt.Errorf("%w: lengths do not add up", ErrModelDamaged)
	}
	return m, nil
}

// checks compares predictions. They may differ by rounding alone.
func (f *fileReader) checks(m *Logistic) error {
	count := f.uvarint()
	if count < 1 || count > 1+maxChecks {
		return fmt.Errorf("%w: %d checks", ErrModelDamaged, count)
	}
	for i := range count {
		n := f.uvarint()
		if n > maxHashes || n*4 > uint64(len(f.rest)) {
			return fmt.Errorf("%w: check %d is cut off", ErrModelDamaged, i)
		}
		hashes := make([]uint32, n)
		for k := range hashes {
			hashes[k] = f.uint32()
		}
		want := f.float64()
		if f.failed {
			return fmt.Errorf("%w: check %d is cut off", ErrModelDamaged, i)
		}
		if i == 0 && !slices.Equal(hashes, sampleFeatures()) {
			return fmt.Errorf("%w: it learned from other features than this program extracts", ErrModelParity)
		}
		if got := m.Predict(hashes); math.Abs(got-want) > 1e-5*want {
			return fmt.Errorf("%w: check %d: predicts %g, want %g", ErrModelParity, i, got, want)
		}
		if i > 0 {
			m.checks = append(m.checks, hashes)
		}
	}
	return nil
}

// fileReader takes numbers off the front of rest. After the first one that is
// cut off or not finite it has failed and gives zeros.
type fileReader struct {
	rest   []byte
	failed bool
}

func (f *fileReader) take(n int) []byte {
	if len(f.rest) < n {
		f.failed, f.rest = true, nil
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fileReader) uint32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }

func (f *fileReader) float32() float32 {
	return float32(f.finite(float64(math.Float32frombits(f.uint32()))))
}

func (f *fileReader) float64() float64 {
	return f.finite(math.Float64frombits(binary.LittleEndian.Uint64(f.take(8))))
}

func (f *fileReader) finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		f.failed = true
		return 0
	}
	return v
}

func (f *fileReader) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.failed, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fileReader) time() time.Time {
	v := int64(binary.LittleEndian.Uint64(f.take(8)))
	if v == noTime {
		return time.Time{}
	}
	return time.Unix(v, 0).UTC()
}

func appendTime(b []byte, t time.Time) []byte {
	v := int64(noTime)
	if !t.IsZero() {
		v = t.Unix()
	}
	return binary.LittleEndian.AppendUint64(b, uint64(v))
}

func appendFloat32(b []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
}

func appendFloat64(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

// sampleFeatures are those of a bid that never changes: every field of it is
// set, so that any change of the extraction shows.
func sampleFeatures() []uint32 {
	req := rtb.Request{
		Exchange: 3,
		Inventory: rtb.Inventory{
			Kind: rtb.Site, Domain: []byte("www.News.example"), Publisher: []byte("pub-1"),
			Categories: [][]byte{[]byte("IAB12-3")},
		},
		Device: rtb.Device{
			Type: 4, OS: rtb.Android, Make: []byte("Maker"), Model: []byte("Model with a long name X9"),
			Language: [2]byte{'d', 'e'}, Connection: 2,
		},
		Geo: rtb.Geo{
			Country: [2]byte{'D', 'E'}, Region: []byte("BE"), City: []byte("Berlin"), HasOffset: true, UTCOffset: 60,
		},
		User: rtb.User{BirthYear: 1985, Gender: 'F'},
	}
	imp := rtb.Imp{
		TagID: []byte("slot-7"), Floor: rtb.FromCPM(1.25), FloorCur: rtb.USD, Secure: true, HasBanner: true, HasVideo: true,
		Banner: rtb.BannerSlot{Sizes: []rtb.Size{{W: 300, H: 250}}, Position: 1},
		Deals:  make([]rtb.Deal, 1),
	}
	user := rtb.Profile{
		Known: true, Segments: []rtb.SegmentID{7, 71, 7, 900},
		Exposures: []rtb.Exposure{{Campaign: 3, Count: 4, Time: 1_699_990_000}, {Campaign: 4, Count: 9, Time: 1_699_999_000}},
	}
	item := rtb.LineItem{ID: 5, Campaign: 3, Advertiser: 2}
	creative := rtb.Creative{ID: 11, Media: rtb.Banner}
	return Extract(nil, &req, &imp, &user, &item, &creative, rtb.Size{W: 300, H: 250}, time.Unix(1_700_000_000, 0))
}
