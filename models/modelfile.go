package models

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"bidwell/rtb"
)

// A file of a whole [Model] is, in little-endian order:
//
//	magic, version
//	six parts         each its length, uvarint, and its bytes; no length for what is not there:
//	                  clicks and conversions (files of [Logistic]), their corrections, orders, pairs
//	CRC-32 (IEEE) of all before        uint32
//
// Version 1 has no part for pairs. The number in a registry is not part of it.
// A file of a [Logistic] alone is a Model of clicks without corrections.
const (
	wholeMagic   = "bidwell whole model\n"
	wholeVersion = 2
	withoutPairs = 1
	maxOrders    = 1 << 20
)

// Write writes m. The same model always becomes the same bytes.
func (m *Model) Write(w io.Writer) error {
	if m.Conversions == nil && m.Pairs == nil && m.ClickRatio == nil && m.ConversionRatio == nil && len(m.Orders) == 0 {
		return m.Clicks.Write(w)
	}
	b := append([]byte(wholeMagic), wholeVersion)
	part := func(p []byte) {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	part(m.Clicks.file())
	if m.Conversions == nil {
		part(nil)
	} else {
		part(m.Conversions.file())
	}
	for _, c := range []*Calibration{m.ClickRatio, m.ConversionRatio} {
		if c == nil {
			part(nil)
			continue
		}
		text, err := c.AppendBinary(nil)
		if err != nil {
			return fmt.Errorf("write model: %w", err)
		}
		part(text)
	}
	var orders []byte
	for _, campaign := range slices.Sorted(maps.Keys(m.Orders)) {
		orders = binary.LittleEndian.AppendUint32(orders, uint32(campaign))
		orders = binary.LittleEndian.AppendUint64(orders, uint64(m.Orders[campaign]))
	}
	part(orders)
	if m.Pairs == nil {
		part(nil)
	} else {
		part(m.Pairs.file())
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

// ReadModel reads what [Model.Write] or [Logistic.Write] wrote. It refuses
// what is cut off, damaged, of another version, or does not predict what it
// did where it was trained.
func ReadModel(r io.Reader) (*Model, error) {
	b, err := io.ReadAll(io.LimitReader(r, 2*maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	m, err := parseModel(b)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	return m, nil
}

func parseModel(b []byte) (*Model, error) {
	if !bytes.HasPrefix(b, []byte(wholeMagic)) {
		clicks, err := parseFile(b)
		if err != nil {
			return nil, err
		}
		return &Model{Clicks: clicks}, nil
	}
	version := byte(wholeVersion)
	var parts [6][]byte
	there := len(parts)
	if at := len(wholeMagic); len(b) > at && b[at] == withoutPairs {
		version, there = withoutPairs, there-1
	}
	body, err := checkFile(b, wholeMagic, version)
	if err != nil {
		return nil, err
	}
	f := fileReader{rest: body}
	for i := range parts[:there] {
		n := f.uvarint()
		if f.failed || n > uint64(len(f.rest)) {
			return nil, fmt.Errorf("%w: part %d is cut off", ErrModelDamaged, i)
		}
		parts[i] = f.take(int(n))
	}
	if len(f.rest) > 0 {
		return nil, fmt.Errorf("%w: lengths do not add up", ErrModelDamaged)
	}
	m := &Model{}
	if m.Clicks, err = parseFile(parts[0]); err != nil {
		return nil, err
	}
	if len(parts[1]) > 0 {
		if m.Conversions, err = parseFile(parts[1]); err != nil {
			return nil, fmt.Errorf("conversions: %w", err)
		}
	}
	for i, to := range []**Calibration{&m.ClickRatio, &m.ConversionRatio} {
		if p := parts[2+i]; len(p) > 0 {
			if *to, err = ParseCalibration(p); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrModelDamaged, err)
			}
		}
	}
	if m.Orders, err = parseOrders(parts[4]); err != nil {
		return nil, err
	}
	if len(parts[5]) > 0 {
		if m.Pairs, err = parsePairs(parts[5]); err != nil {
			return nil, fmt.Errorf("pairs: %w", err)
		}
	}
	return m, nil
}

func parseOrders(b []byte) (map[rtb.CampaignID]rtb.Money, error) {
	const size = 4 + 8
	if len(b)%size != 0 || len(b) > maxOrders*size {
		return nil, fmt.Errorf("%w: orders take %d bytes", ErrModelDamaged, len(b))
	}
	if len(b) == 0 {
		return nil, nil
	}
	orders := make(map[rtb.CampaignID]rtb.Money, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		campaign, mean := rtb.CampaignID(binary.LittleEndian.Uint32(b)), rtb.Money(binary.LittleEndian.Uint64(b[4:]))
		if mean < 0 || mean > rtb.MaxMoney {
			return nil, fmt.Errorf("%w: the orders of campaign %d are worth %d", ErrModelDamaged, campaign, mean)
		}
		orders[campaign] = mean
	}
	return orders, nil
}

// checkFile is what stands between the version and the checksum of a file.
func checkFile(b []byte, magic string, version byte) ([]byte, error) {
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return nil, ErrNotModel
	}
	if v := b[len(magic)]; v != version {
		return nil, fmt.Errorf("%w: got %d, want %d", ErrModelVersion, v, version)
	}
	body := len(b) - 4
	if body < len(magic)+1 || crc32.ChecksumIEEE(b[:body]) != binary.LittleEndian.Uint32(b[body:]) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrModelDamaged)
	}
	return b[len(magic)+1 : body], nil
}
