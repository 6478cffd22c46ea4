package rtb

// MaxFeatures is the most features that one candidate has.
const MaxFeatures = 64

// FeatureBits is how many bits of a feature's hash are kept: as many as the
// largest table of weights can tell apart.
const FeatureBits = 24

// Features are the hashed features that a bid was scored with, in the order in
// which package models made them. They travel with the bid, so that training
// learns from what was scored, bit for bit. Like [Event] they hold no pointers.
type Features struct {
	Count  uint8
	Hashes [MaxFeatures][3]byte // little-endian
}

// Set keeps the first MaxFeatures of hashes.
func (f *Features) Set(hashes []uint32) {
	hashes = hashes[:min(len(hashes), MaxFeatures)]
	f.Count = uint8(len(hashes))
	for i, h := range hashes {
		f.Hashes[i] = [3]byte{byte(h), byte(h >> 8), byte(h >> 16)}
	}
}

// Append appends the hashes to dst.
func (f *Features) Append(dst []uint32) []uint32 {
	for _, h := range f.Hashes[:min(f.Count, MaxFeatures)] {
		dst = append(dst, uint32(h[0])|uint32(h[1])<<8|uint32(h[2])<<16)
	}
	return dst
}
