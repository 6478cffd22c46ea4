package audience

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bidwell/rtb"
)

// Upload says what to do with a list.
type Upload struct {
	Segment rtb.SegmentID
	Mode    Mode
	TTL     time.Duration // how long a membership lasts; zero for ever
	Kind    Kind          // of a list without a heading, or of a column named "id"

	// Columns names columns that do not have one of the usual headings.
	Columns map[string]Kind
}

// Result counts what became of the identifiers of a list, of which a line of
// CSV may have several. Read is the sum of Invalid and those that [Outcome]
// counts once each.
type Result struct {
	Count
	Size int64 // members of the segment afterwards
	Outcome
}

// Importer loads lists of users into segments. It is safe for use by several
// goroutines.
type Importer struct {
	profiles Profiles
	salt     *[32]byte

	maxIDs   int
	maxBytes int64
}

// NewImporter returns an Importer that hashes with salt, which has to be the
// one that the bidder hashes with. A list may have 50 million identifiers and
// 8 GiB when unpacked.
func NewImporter(profiles Profiles, salt *[32]byte) *Importer {
	return &Importer{profiles: profiles, salt: salt, maxIDs: 50_000_000, maxBytes: 8 << 30}
}

// Limit replaces the limits of [NewImporter]. It is called before the first
// Import.
func (im *Importer) Limit(ids int, unpackedBytes int64) {
	im.maxIDs, im.maxBytes = ids, unpackedBytes
}

// Import reads a list and applies it to a segment, whole or not at all. The
// list is text or gzip, either CSV with a heading or one identifier a line.
// progress, if not nil, is called now and then with the identifiers read so
// far. On an error other than [ErrUnfinished] nothing has changed, and the
// Result only counts what was read and what was invalid.
func (im *Importer) Import(ctx context.Context, now time.Time, up Upload, r io.Reader, progress func(read int)) (Result, error) {
	var result Result
	if err := up.validate(); err != nil {
		return result, err
	}
	change := Change{Segment: up.Segment, Mode: up.Mode}
	if up.TTL > 0 {
		change.Until = now.Add(up.TTL)
	}
	list := &list{up: &up, reading: reading{ctx: ctx, Count: &result.Count, progress: progress, most: im.maxIDs, tooMany: ErrTooManyIDs}}
	list.hasher.salt = im.salt
	users := func(yield func(rtb.UserID, error) bool) {
		if err := list.read(r, im.maxBytes, yield); err != nil {
			yield(rtb.UserID{}, err)
		}
	}
	outcome, err := im.profiles.Change(ctx, now, change, users)
	if err != nil {
		return result, fmt.Errorf("import into segment %d: %w", up.Segment, err)
	}
	if progress != nil {
		progress(result.Read)
	}
	result.Outcome = outcome
	result.Size = im.profiles.SegmentSize(now, up.Segment)
	return result, nil
}

func (up *Upload) validate() error {
	var errs []error
	if up.Segment == 0 {
		errs = append(errs, errors.New("segment: missing"))
	}
	if int(up.Mode) >= len(modeNames) {
		errs = append(errs, fmt.Errorf("mode: unknown %s", up.Mode))
	}
	if int(up.Kind) >= len(kindNames) {
		errs = append(errs, fmt.Errorf("kind: unknown %s", up.Kind))
	}
	if up.TTL < 0 {
		errs = append(errs, errors.New("ttl: negative"))
	}
	if up.TTL > 0 && up.Mode == Remove {
		errs = append(errs, errors.New("ttl: has no meaning with remove"))
	}
	for name, kind := range up.Columns {
		if int(kind) >= len(kindNames) {
			errs = append(errs, fmt.Errorf("columns: %q has an unknown %s", name, kind))
		}
	}
	return errors.Join(errs...)
}

// list is one list while it is read.
type list struct {
	reading
	up      *Upload
	hasher  hasher
	comma   byte
	columns []int  // positions of the fields that hold identifiers
	kinds   []Kind // of each of columns
	fields  [][]byte
	valid   bool // at least one identifier was
}

// errStopped ends the reading when the store wants no more.
var errStopped = errors.New("stopped by the store")

// read yields the users of a list. It returns what is wrong with the list as a
// whole.
func (l *list) read(r io.Reader, maxBytes int64, yield func(rtb.UserID, error) bool) error {
	err := l.lines(r, maxBytes,
		func(number int, line []byte) error { return l.readFirst(number, line, yield) },
		func(number int, line []byte) error { return l.readLine(number, line, yield) })
	switch {
	case errors.Is(err, errStopped):
		return nil
	case err == nil && !l.valid:
		return ErrNoIDs
	}
	return err
}

// readFirst finds out whether the list is a CSV: its first line has a known
// heading then.
func (l *list) readFirst(number int, line []byte, yield func(rtb.UserID, error) bool) error {
	l.comma = delimiter(line)
	heading := bytes.Clone(line) // split modifies it
	fields, ok := split(nil, heading, l.comma)
	for i, field := range fields {
		name := strings.ToLower(string(bytes.TrimSpace(field)))
		kind, known := l.up.column(name)
		if ok && known {
			l.columns = append(l.columns, i)
			l.kinds = append(l.kinds, kind)
		}
	}
	if len(l.columns) > 0 {
		return nil
	}
	if l.comma != 0 && l.up.Kind == Auto {
		return LineError{number, "several columns, but none of a known name: want a heading with one of " +
			"email, phone, device_id, cookie, sha256_email, sha256_phone, partner"}
	}
	l.comma = 0
	l.columns, l.kinds = []int{0}, []Kind{l.up.Kind}
	return l.readLine(number, line, yield)
}

// column is the kind of the column that has this heading in lower case.
func (up *Upload) column(name string) (Kind, bool) {
	for heading, kind := range up.Columns {
		if strings.ToLower(heading) == name {
			return kind, true
		}
	}
	return headed(name, up.Kind)
}

func (l *list) readLine(number int, line []byte, yield func(rtb.UserID, error) bool) error {
	fields, ok := split(l.fields[:0], line, l.comma)
	l.fields = fields
	if !ok {
		return l.refuse(number, "quotes that do not close, or text beside them")
	}
	found := false
	for i, column := range l.columns {
		if column >= len(fields) || len(bytes.TrimSpace(fields[column])) == 0 {
			continue
		}
		found = true
		user, reason := l.hasher.user(l.kinds[i], fields[column])
		if reason != "" {
			if err := l.refuse(number, reason); err != nil {
				return err
			}
			continue
		}
		if err := l.count(number); err != nil {
			return err
		}
		l.valid = true
		if !yield(user, nil) {
			return errStopped
		}
	}
	if !found {
		return l.refuse(number, noIdentifier)
	}
	return nil
}
