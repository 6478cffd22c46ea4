package bidder

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

var errInflatedTooLarge = errors.New("inflated body is too large")

// inflater is a gzip reader with the reader it reads from, to be reused.
type inflater struct {
	source bytes.Reader
	gzip   gzip.Reader
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// inflate appends what the gzip stream src holds to dst, and fails when that
// is more than limit bytes.
func inflate(dst, src []byte, limit int) ([]byte, error) {
	in := inflaters.Get().(*inflater)
	defer inflaters.Put(in)
	in.source.Reset(src)
	defer in.source.Reset(nil)
	if err := in.gzip.Reset(&in.source); err != nil {
		return dst, err
	}
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := in.gzip.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > limit {
			return dst, errInflatedTooLarge
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

var deflaters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant of the same package
	}
	return w
}}

// deflate writes src to w as a gzip stream. Writing to an answer's buffer does
// not fail.
func deflate(w io.Writer, src []byte) {
	z := deflaters.Get().(*gzip.Writer)
	defer deflaters.Put(z)
	z.Reset(w)
	z.Write(src)
	z.Close()
}
