package models

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"
)

const (
	maxHashes = 1024     // of one example
	maxLine   = 64 << 10 // bytes
)

// AppendExample appends e as one line, {"t":unix seconds,"y":0 or
// 1,"x":[hashes]}, the form in which examples travel between programs. It
// does not allocate once dst is large enough.
func AppendExample(dst []byte, e Example) []byte {
	dst = append(dst, `{"t":`...)
	dst = strconv.AppendInt(dst, e.Time.Unix(), 10)
	dst = append(dst, `,"y":`...)
	dst = append(dst, '0'+byte(flag(e.Click)))
	dst = append(dst, `,"x":[`...)
	for i, h := range e.Hashes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(h), 10)
	}
	return append(dst, "]}\n"...)
}

// ReadExamples yields the examples that [AppendExample] wrote. It ends at the
// first line it cannot read, with an error that says which. Blank lines are
// skipped.
func ReadExamples(r io.Reader) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxLine)
		var e struct {
			T *int64   `json:"t"`
			Y *uint8   `json:"y"`
			X []uint32 `json:"x"`
		}
		n := 0
		for lines.Scan() {
			n++
			if len(lines.Bytes()) == 0 {
				continue
			}
			e.T, e.Y, e.X = nil, nil, e.X[:0]
			err := json.Unmarshal(lines.Bytes(), &e)
			switch {
			case err != nil:
			case e.T == nil:
				err = errors.New("t: missing")
			case e.Y == nil || *e.Y > 1:
				err = errors.New("y: want 0 or 1")
			case len(e.X) == 0 || len(e.X) > maxHashes:
				err = fmt.Errorf("x: %d features, want 1 to %d", len(e.X), maxHashes)
			}
			if err != nil {
				yield(Example{}, fmt.Errorf("examples: line %d: %w", n, err))
				return
			}
			if !yield(Example{Hashes: e.X, Click: *e.Y == 1, Time: time.Unix(*e.T, 0)}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Example{}, fmt.Errorf("examples: line %d: %w", n+1, err))
		}
	}
}
