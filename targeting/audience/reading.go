package audience

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Count is how much of a list was read, and what of it is invalid.
type Count struct {
	Read    int
	Invalid int
	Errors  []LineError // the first hundred invalid ones
}

// LineError says why something on a line was refused, without repeating it.
type LineError struct {
	Line   int
	Reason string
}

func (e LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

const maxLineErrors = 100

// Errors of a list as a whole.
var (
	ErrTooManyIDs         = errors.New("the list has too many identifiers")
	ErrNoIDs              = errors.New("the list has no usable identifier")
	ErrTooManyConversions = errors.New("the list has too many conversions")
	ErrNoConversions      = errors.New("the list has no usable conversion")
	ErrUnreadable         = errors.New("the list cannot be read") // no text, damaged gzip, cut off, or too large
)

// reading goes through the lines of a list, whatever is in them.
type reading struct {
	*Count
	ctx      context.Context
	progress func(read int)
	most     int
	tooMany  error
}

// lines calls first with the first line that is not empty and other with those
// after it, until one of them returns an error. Too long ones are refused.
func (g *reading) lines(r io.Reader, maxBytes int64, first, other func(number int, line []byte) error) error {
	in, err := newLines(r, maxBytes)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	for take := first; ; {
		line, err := in.next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUnreadable, err)
		case in.long:
			err = g.refuse(in.number, "longer than 4096 bytes")
		case len(bytes.TrimSpace(line)) == 0:
			continue
		default:
			err = take(in.number, line)
			take = other
		}
		if err != nil {
			return err
		}
	}
}

// refuse counts one that is invalid.
func (g *reading) refuse(number int, reason string) error {
	g.Invalid++
	if len(g.Errors) < maxLineErrors {
		g.Errors = append(g.Errors, LineError{number, reason})
	}
	return g.count(number)
}

// count counts one more and now and then looks up.
func (g *reading) count(number int) error {
	g.Read++
	if g.Read > g.most {
		return fmt.Errorf("line %d: %w", number, g.tooMany)
	}
	if g.Read%8192 != 0 {
		return nil
	}
	if g.progress != nil {
		g.progress(g.Read)
	}
	if err := g.ctx.Err(); err != nil {
		return fmt.Errorf("line %d: %w", number, err)
	}
	return nil
}
