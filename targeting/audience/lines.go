package audience

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// maxLine is the longest line that is read; a longer one is skipped and
// counted as invalid.
const maxLine = 4 << 10

var (
	errUTF16   = errors.New("the list is in UTF-16: save it as UTF-8")
	errArchive = errors.New("the list is a ZIP archive or a spreadsheet: send text or gzip")
)

// lines reads the lines of a list, unpacking gzip.
type lines struct {
	r      *bufio.Reader
	left   int64 // bytes that may still be read
	number int
	long   bool // the line just read was too long; only its beginning is kept
}

// newLines looks at the first bytes of r: gzip is unpacked, the byte order
// mark of UTF-8 skipped, and what is no text refused. At most limit bytes of
// text are read.
func newLines(r io.Reader, limit int64) (*lines, error) {
	packed := bufio.NewReaderSize(r, 64<<10)
	head, err := packed.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	l := &lines{r: packed, left: limit}
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		l.r = bufio.NewReaderSize(unpacked, 64<<10)
		if head, err = l.r.Peek(4); err != nil && err != io.EOF {
			return nil, fmt.Errorf("gzip: %w", err)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xef, 0xbb, 0xbf}):
		_, err = l.r.Discard(3)
		return l, err
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return nil, errUTF16
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return nil, errArchive
	}
	return l, nil
}

// next returns the next line without its end, valid until the call after. It
// returns io.EOF after the last one.
func (l *lines) next() ([]byte, error) {
	l.number++
	l.long = false
	line, err := l.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		l.long = true
	}
	size := int64(len(line))
	for err == bufio.ErrBufferFull && size <= l.left {
		var rest []byte
		rest, err = l.r.ReadSlice('\n')
		size += int64(len(rest))
	}
	if l.left -= size; l.left < 0 {
		return nil, fmt.Errorf("line %d: the list is larger than the limit", l.number)
	}
	switch {
	case err == io.EOF && size == 0:
		return nil, io.EOF
	case err != nil && err != io.EOF:
		return nil, fmt.Errorf("line %d: %w", l.number, err)
	case l.long:
		return nil, nil
	}
	line = bytes.TrimSuffix(line, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) > maxLine {
		l.long = true
		return nil, nil
	}
	return line, nil
}

// delimiter guesses what separates the fields of a heading; zero if nothing.
func delimiter(heading []byte) byte {
	best, most := byte(0), 0
	for _, c := range [...]byte{',', ';', '\t'} {
		if n := bytes.Count(heading, []byte{c}); n > most {
			best, most = c, n
		}
	}
	return best
}

// split cuts line into fields (RFC 4180, but a quoted field ends with its
// line). Quotes are removed inside line itself. It is false where a quote is
// not closed or followed by other than the delimiter.
func split(fields [][]byte, line []byte, comma byte) ([][]byte, bool) {
	for {
		if len(line) == 0 || line[0] != '"' {
			end := -1
			if comma != 0 {
				end = bytes.IndexByte(line, comma)
			}
			if end < 0 {
				return append(fields, line), true
			}
			fields = append(fields, line[:end])
			line = line[end+1:]
			continue
		}
		from, to := 1, 0
		for closed := false; !closed; from++ {
			switch {
			case from >= len(line):
				return fields, false
			case line[from] != '"':
				line[to] = line[from]
				to++
			case from+1 < len(line) && line[from+1] == '"':
				line[to] = '"'
				to++
				from++
			default:
				closed = true
			}
		}
		fields = append(fields, line[:to])
		switch {
		case from == len(line):
			return fields, true
		case comma == 0 || line[from] != comma:
			return fields, false
		}
		line = line[from+1:]
	}
}
