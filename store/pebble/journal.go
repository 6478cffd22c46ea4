package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/rtb"
	"bidwell/targeting/audience"
)

// A journal is one upload: its users in runs, each sorted, and a footer. While
// it is written its name ends in ".part"; the footer written and all of it on
// disk, it is renamed to its number and ".ready". From then on it counts.
const (
	partSuffix  = ".part"
	readySuffix = ".ready"

	footerMagic = "bidwell-upload-1"
	footerSize  = len(footerMagic) + 32
	userSize    = len(rtb.UserID{})
)

// journal is what the footer says.
type journal struct {
	number   uint64
	mode     audience.Mode
	segment  rtb.SegmentID
	until    uint32
	users    int64
	runUsers int64 // in each run but the last
}

func (j *journal) footer() []byte {
	b := append(make([]byte, 0, footerSize), footerMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(j.mode))
	b = binary.LittleEndian.AppendUint32(b, uint32(j.segment))
	b = binary.LittleEndian.AppendUint32(b, j.until)
	b = binary.LittleEndian.AppendUint64(b, uint64(j.users))
	b = binary.LittleEndian.AppendUint64(b, uint64(j.runUsers))
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func (j *journal) parse(footer []byte, size int64) error {
	bad := errors.New("upload journal is damaged")
	if len(footer) != footerSize || !bytes.HasPrefix(footer, []byte(footerMagic)) {
		return bad
	}
	sum := binary.LittleEndian.Uint32(footer[footerSize-4:])
	if crc32.ChecksumIEEE(footer[:footerSize-4]) != sum {
		return bad
	}
	b := footer[len(footerMagic):]
	j.mode = audience.Mode(binary.LittleEndian.Uint32(b))
	j.segment = rtb.SegmentID(binary.LittleEndian.Uint32(b[4:]))
	j.until = binary.LittleEndian.Uint32(b[8:])
	j.users = int64(binary.LittleEndian.Uint64(b[12:]))
	j.runUsers = int64(binary.LittleEndian.Uint64(b[20:]))
	if j.mode > audience.Remove || j.segment == 0 || j.users < 0 || j.runUsers <= 0 || j.users*int64(userSize) != size-int64(footerSize) {
		return bad
	}
	return nil
}

func (s *Store) journals() string { return s.fs.PathJoin(s.dir, "uploads") }

func (s *Store) journalPath(name string) string { return s.fs.PathJoin(s.journals(), name) }

func readyName(number uint64) string { return fmt.Sprintf("%016x%s", number, readySuffix) }

// spooler writes a journal.
type spooler struct {
	file vfs.File
	run  []rtb.UserID
	buf  []byte
	journal
}

func (sp *spooler) add(user rtb.UserID) error {
	if int64(len(sp.run)) == sp.runUsers {
		if err := sp.flush(); err != nil {
			return err
		}
	}
	sp.run = append(sp.run, user)
	return nil
}

// flush sorts the run and writes it.
func (sp *spooler) flush() error {
	slices.SortFunc(sp.run, compareUsers)
	sp.users += int64(len(sp.run))
	for rest := sp.run; len(rest) > 0; {
		n := min(len(rest), 4096)
		sp.buf = sp.buf[:0]
		for i := range rest[:n] {
			sp.buf = append(sp.buf, rest[i][:]...)
		}
		if _, err := sp.file.Write(sp.buf); err != nil {
			return err
		}
		rest = rest[n:]
	}
	sp.run = sp.run[:0]
	return nil
}

// end writes what is left, and the footer, and waits for the disk.
func (sp *spooler) end() error {
	if err := sp.flush(); err != nil {
		return err
	}
	if _, err := sp.file.Write(sp.footer()); err != nil {
		return err
	}
	return sp.file.Sync()
}

func compareUsers(a, b rtb.UserID) int {
	x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])
	if x == y {
		x, y = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// listJournals returns the numbers of the journals that count, in order, and
// deletes what an interruption left of others.
func (s *Store) listJournals(deleteParts bool) ([]uint64, error) {
	names, err := s.fs.List(s.journals())
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		switch {
		case deleteParts && strings.HasSuffix(name, partSuffix):
			if err := s.fs.Remove(s.journalPath(name)); err != nil {
				return nil, err
			}
		case strings.HasSuffix(name, readySuffix):
			number, err := strconv.ParseUint(strings.TrimSuffix(name, readySuffix), 16, 64)
			if err != nil {
				return nil, fmt.Errorf("%s is not the name of an upload journal", s.journalPath(name))
			}
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// merged reads the users of a journal in ascending order: the runs are merged
// with a heap of their heads.
type merged struct {
	file vfs.File
	journal
	heap []*run
}

// run is a part of the file that is sorted.
type run struct {
	head    rtb.UserID
	at, end int64 // in the file, of what is not in buf
	buf     []byte
	left    []byte
}

func openJournal(fs vfs.FS, path string, number uint64) (_ *merged, err error) {
	m := &merged{journal: journal{number: number}}
	if m.file, err = fs.Open(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), m.file.Close())
		}
	}()
	info, err := m.file.Stat()
	if err != nil {
		return nil, err
	}
	footer := make([]byte, min(int64(footerSize), info.Size()))
	if _, err = m.file.ReadAt(footer, info.Size()-int64(len(footer))); err != nil && err != io.EOF {
		return nil, err
	}
	if err = m.parse(footer, info.Size()); err != nil {
		return nil, err
	}
	for at := int64(0); at < m.users; at += m.runUsers {
		r := &run{at: at * int64(userSize), end: min(at+m.runUsers, m.users) * int64(userSize)}
		r.buf = make([]byte, min(64<<10, r.end-r.at))
		if _, err = r.next(m.file); err != nil {
			return nil, err
		}
		m.heap = append(m.heap, r)
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
}

// next makes the next user the head; false after the last.
func (r *run) next(file vfs.File) (bool, error) {
	if len(r.left) == 0 {
		if r.at == r.end {
			return false, nil
		}
		r.left = r.buf[:min(int64(len(r.buf)), r.end-r.at)]
		if n, err := file.ReadAt(r.left, r.at); n < len(r.left) {
			return false, errors.Join(io.ErrUnexpectedEOF, err)
		}
		r.at += int64(len(r.left))
	}
	copy(r.head[:], r.left)
	r.left = r.left[userSize:]
	return true, nil
}

// next returns the smallest user left; false after the last.
func (m *merged) next() (user rtb.UserID, ok bool, err error) {
	if len(m.heap) == 0 {
		return user, false, nil
	}
	user = m.heap[0].head
	more, err := m.heap[0].next(m.file)
	if err != nil {
		return user, false, err
	}
	if !more {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
	}
	m.sink(0)
	return user, true, nil
}

func (m *merged) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(m.heap); child++ {
			if compareUsers(m.heap[child].head, m.heap[least].head) < 0 {
				least = child
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}
