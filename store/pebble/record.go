package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A user's record is
//
//	format   1 byte, recordFormat
//	flags    1 byte
//	sections kind (1 byte), length (uvarint), that many bytes
//
// A section of an unknown kind is kept as it is, so that an older program does
// not lose what a newer one wrote. The section sectionMembers has eight bytes a
// membership: tag and until, both little-endian; for sectionExposures see there.
const (
	recordFormat   = 1
	flagOptedOut   = 1 << 0
	sectionMembers = 1
	memberSize     = 8

	// maxMembers bounds the segments of one user, and so the size of a record
	// and the work of a bid.
	maxMembers = 2048
)

var errRecord = errors.New("user record is damaged")

// member is one membership. Until is in Unix seconds; zero is for ever.
type member struct{ tag, until uint32 }

func (m member) expired(now uint32) bool { return m.until != 0 && m.until <= now }

// record is a user's record in memory. It is reused.
type record struct {
	flags     byte
	members   []member
	exposures []exposure
	others    []byte // the other sections, as stored
}

func (r *record) reset() {
	*r = record{members: r.members[:0], exposures: r.exposures[:0], others: r.others[:0]}
}

// empty reports that there is nothing to store.
func (r *record) empty() bool {
	return r.flags == 0 && len(r.members) == 0 && len(r.exposures) == 0 && len(r.others) == 0
}

// sections walks over the sections of a stored record: it returns the flags
// and the bytes after them.
func openRecord(value []byte) (flags byte, sections []byte, err error) {
	if len(value) < 2 {
		return 0, nil, errRecord
	}
	if value[0] != recordFormat {
		return 0, nil, fmt.Errorf("user record has format %d, want %d: it was written by another version", value[0], recordFormat)
	}
	return value[1], value[2:], nil
}

// nextSection cuts the first section off. whole includes its kind and length.
func nextSection(sections []byte) (kind byte, payload, whole, rest []byte, err error) {
	size, n := binary.Uvarint(sections[1:])
	if n <= 0 || size > uint64(len(sections)-1-n) {
		return 0, nil, nil, nil, errRecord
	}
	end := 1 + n + int(size)
	kind = sections[0]
	if kind == sectionMembers && size%memberSize != 0 || kind == sectionExposures && size%exposureSize != 0 {
		return 0, nil, nil, nil, errRecord
	}
	return kind, sections[1+n : end], sections[:end], sections[end:], nil
}

func (r *record) decode(value []byte) error {
	r.reset()
	flags, rest, err := openRecord(value)
	r.flags = flags
	for err == nil && len(rest) > 0 {
		var kind byte
		var payload, whole []byte
		if kind, payload, whole, rest, err = nextSection(rest); err != nil {
			break
		}
		switch kind {
		case sectionMembers:
			for ; len(payload) > 0; payload = payload[memberSize:] {
				r.members = append(r.members, readMember(payload))
			}
		case sectionExposures:
			for ; len(payload) > 0; payload = payload[exposureSize:] {
				r.exposures = append(r.exposures, readExposure(payload))
			}
		default:
			r.others = append(r.others, whole...)
		}
	}
	return err
}

func readMember(payload []byte) member {
	return member{binary.LittleEndian.Uint32(payload), binary.LittleEndian.Uint32(payload[4:])}
}

func (r *record) append(dst []byte) []byte {
	dst = append(dst, recordFormat, r.flags)
	if len(r.members) > 0 {
		dst = append(dst, sectionMembers)
		dst = binary.AppendUvarint(dst, uint64(len(r.members)*memberSize))
		for _, m := range r.members {
			dst = binary.LittleEndian.AppendUint32(dst, m.tag)
			dst = binary.LittleEndian.AppendUint32(dst, m.until)
		}
	}
	if len(r.exposures) > 0 {
		dst = append(dst, sectionExposures)
		dst = binary.AppendUvarint(dst, uint64(len(r.exposures)*exposureSize))
		for i := range r.exposures {
			dst = r.exposures[i].append(dst)
		}
	}
	return append(dst, r.others...)
}

// find returns the position of a tag, or -1.
func (r *record) find(tag uint32) int {
	for i := range r.members {
		if r.members[i].tag == tag {
			return i
		}
	}
	return -1
}

// remove drops a membership; the order of the others changes.
func (r *record) remove(i int) {
	last := len(r.members) - 1
	r.members[i] = r.members[last]
	r.members = r.members[:last]
}
