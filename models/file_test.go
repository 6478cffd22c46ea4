package models

import (
	"bytes"
	"encoding/binary"
	"errors"
	goflag "flag"
	"hash/crc32"
	"os"
	"slices"
	"testing"
)

var writeStarter = goflag.Bool("starter", false, "write starter.bin anew, from the prior alone")

// sampleHash stands for the features that all models out there learned from.
const sampleHash = 0xb240de28bc5c0d33

func TestStarterLoads(t *testing.T) {
	if *writeStarter {
		m, err := Prior(MinBits, 0.002)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("starter.bin", m.file(), 0o644); err != nil {
			t.Fatal(err)
		}
		starter = m.file()
	}
	m, err := Starter()
	if err != nil {
		t.Fatal(err)
	}
	if m.Clicks.Bits() != MinBits {
		t.Errorf("%d bits, want %d", m.Clicks.Bits(), MinBits)
	}
	if p := m.ClickRate(1, sampleFeatures()); p < 1e-5 || p > 0.1 {
		t.Errorf("predicts %v for the sample bid, want a click rate that may be", p)
	}
}

func trained(t testing.TB) *Logistic {
	m, _, err := Train(world(2_000, 1), TrainConfig{Bits: 18, Settings: []FTRLConfig{RareFTRL()}})
	if err != nil {
		t.Fatal(err)
	}
	return m.Clicks
}

func TestModelSurvivesTheFile(t *testing.T) {
	m := trained(t)
	var file, again bytes.Buffer
	if err := m.Write(&file); err != nil {
		t.Fatal(err)
	}
	if err := m.Write(&again); err != nil || !bytes.Equal(file.Bytes(), again.Bytes()) {
		t.Errorf("written twice it differs, %v", err)
	}
	got, err := Read(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want, have := m.Metrics(), got.Metrics()
	if !have.From.Equal(want.From) || !have.Through.Equal(want.Through) {
		t.Errorf("trained %v to %v, want %v to %v", have.From, have.Through, want.From, want.Through)
	}
	have.From, have.Through = want.From, want.Through
	if !slices.Equal(got.weights, m.weights) || got.bias != m.bias || have != want {
		t.Errorf("read %+v, want %+v", have, want)
	}
	if back := got.file(); !bytes.Equal(back, file.Bytes()) {
		t.Error("read and written it differs")
	}
	if file.Len() > 10_000 {
		t.Errorf("%d bytes for 250 weights: zeros are kept", file.Len())
	}
}

// seal puts the right checksum behind a file.
func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.ChecksumIEEE(b))
}

func TestReadRefuses(t *testing.T) {
	file := trained(t).file()
	body := file[:len(file)-4]
	edit := func(at int, b byte) []byte {
		c := slices.Clone(body)
		c[at] = b
		return c
	}
	head := len(fileMagic)
	counts := head + 6 // of rows and clicks
	for range 2 {
		_, n := binary.Uvarint(body[counts:])
		counts += n
	}
	tests := []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, ErrNotModel},
		{"something else", []byte("PK\x03\x04 a whole other kind of file"), ErrNotModel},
		{"another version", seal(edit(head, 9)), ErrModelVersion},
		{"a flipped bit", edit(head+40, body[head+40]^1), ErrModelDamaged},
		{"bits out of range", seal(edit(head+1, 60)), ErrModelDamaged},
		{"another table", seal(edit(head+1, 20)), ErrModelParity},
		{"cut off and sealed", seal(body[:len(body)-100]), ErrModelDamaged},
		{"something behind", seal(append(slices.Clone(body), 0)), ErrModelDamaged},
		{"bias not a number", seal(append(append(slices.Clone(body[:head+2]), 0, 0, 0xc0, 0x7f), body[head+6:]...)), ErrModelDamaged},
		{"more clicks than examples", seal(append(append(slices.Clone(body[:head+6]), 1, 2), body[counts:]...)), ErrModelDamaged},
		{"another bias", seal(append(append(slices.Clone(body[:head+2]), 0, 0, 0, 0x3f), body[head+6:]...)), ErrModelParity},
	}
	for n := range len(file) {
		tests = append(tests, struct {
			name string
			file []byte
			want error
		}{"cut off", file[:n], nil})
	}
	for _, tt := range tests {
		_, err := Read(bytes.NewReader(tt.file))
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s (%d bytes): Read = %v, want %v", tt.name, len(tt.file), err, tt.want)
		}
	}

	other := trained(t)
	other.weights[sampleFeatures()[0]&(1<<18-1)] += 0.01
	patched := other.file()
	sample := sampleFeatures()
	at := bytes.Index(patched, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, sample[0]), sample[1]))
	patched[at]++
	if _, err := Read(bytes.NewReader(seal(patched[:len(patched)-4]))); !errors.Is(err, ErrModelParity) {
		t.Errorf("learned from other features: Read = %v, want %v", err, ErrModelParity)
	}
}

// FuzzRead hands over files with the right checksum, so that what is behind
// it is reached. What is read must predict, and write what reads the same.
func FuzzRead(f *testing.F) {
	m, err := Prior(MinBits, 0.01)
	if err != nil {
		f.Fatal(err)
	}
	m.weights[3], m.weights[200_000] = 1, -1
	m.checks = [][]uint32{{3, 200_000}, nil}
	file := m.file()
	f.Add(file[:len(file)-4])
	f.Add(file[:60])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Read(bytes.NewReader(seal(body)))
		if err != nil {
			return
		}
		if p := m.Predict([]uint32{1, 2, 3}); !(p >= minProbability && p <= maxProbability) {
			t.Fatalf("predicts %v", p)
		}
		file := m.file()
		again, err := Read(bytes.NewReader(file))
		if err != nil {
			t.Fatalf("cannot read what it wrote: %v", err)
		}
		if !bytes.Equal(again.file(), file) {
			t.Fatal("written again it differs")
		}
	})
}
