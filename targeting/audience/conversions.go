package audience

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"bidwell/rtb"
)

// Conversions say how a list of conversions is to be read.
type Conversions struct {
	Kind        Kind                        // of identifiers of which the list does not say it
	Advertiser  rtb.AdvertiserID            // of conversions that name none; zero when they have to
	Advertisers map[string]rtb.AdvertiserID // by the ids of their documents
	From, To    time.Time                   // when they may have happened, both included
}

// ReadConversions reads a list of conversions and calls take with each, in the
// form of [rtb.Event.Uploaded]; the event lives only during the call. The list
// is text or gzip: CSV with a heading, or a JSON object a line. Its columns are
// an identifier of the user, below any heading that lists of users may have,
// and time, value, order and advertiser, of which all but time may be missing.
//
// The order is what the advertiser calls the conversion: the same one gives the
// same Bid in whatever list it comes. Where there is none, user, time and value
// stand for it. Neither identifiers nor orders are in the event, only salted
// hashes.
//
// It stops at the first error of take, which it returns. An error, except where
// it is of take or of ctx, is of the list as a whole; then what came before the
// line that it names has been taken.
func (im *Importer) ReadConversions(ctx context.Context, c Conversions, r io.Reader, progress func(read int), take func(e *rtb.Event) error) (Count, error) {
	var count Count
	l := &conversions{
		reading: reading{ctx: ctx, Count: &count, progress: progress, most: im.maxIDs, tooMany: ErrTooManyConversions},
		how:     &c, take: take,
	}
	l.hasher.salt = im.salt
	err := l.lines(r, im.maxBytes, l.first, func(number int, line []byte) error { return l.read(number, line) })
	if err == nil && count.Read == count.Invalid {
		err = ErrNoConversions
	}
	return count, err
}

// conversions is one list of them while it is read.
type conversions struct {
	reading
	how  *Conversions
	take func(e *rtb.Event) error
	read func(number int, line []byte) error // one line, by the form of the list

	hasher  hasher
	event   rtb.Event
	comma   byte
	columns []column
	fields  [][]byte
}

// column is what a field of a conversion says.
type column uint8

const (
	columnID column = iota
	columnTime
	columnValue
	columnOrder
	columnAdvertiser
	columnCount
)

var columnNames = [columnCount]string{columnID: "identifier", columnTime: "time", columnValue: "value", columnOrder: "order", columnAdvertiser: "advertiser"}

// conversion is one line of a list, taken apart.
type conversion struct {
	fields [columnCount][]byte
	kind   Kind
}

// Reasons why a list, or a conversion, is refused. They contain nothing of what
// is in it: where there is no heading, a heading may be an identifier.
const (
	allColumns   = "id (or email, phone, device_id, cookie, sha256_email, sha256_phone, partner), time, value, order and advertiser"
	noHeading    = "want CSV whose first line names the columns, or a JSON object a line; the names are " + allColumns
	badTime      = `time: want RFC 3339, such as 2026-11-28T15:04:05Z, or Unix seconds`
	futureTime   = "time: it is still to come; Unix times are in seconds"
	badValue     = `value: want an amount such as "12.50", of up to 10000000`
	badOrder     = "order: longer than 256 bytes"
	badObject    = "not a JSON object"
	badMember    = "want text or a number"
	noAdvertiser = "advertiser: missing, and there is more than one"
	unknownOne   = "advertiser: there is none with this id"
)

// columnOf is what a heading, or the name of a member, says; the kind is of
// identifiers.
func (l *conversions) columnOf(name string) (c column, kind Kind, ok bool) {
	for c := columnTime; c < columnCount; c++ {
		if name == columnNames[c] {
			return c, 0, true
		}
	}
	kind, ok = headed(name, l.how.Kind)
	return columnID, kind, ok
}

// first finds out what form the list has.
func (l *conversions) first(number int, line []byte) error {
	if bytes.TrimSpace(line)[0] == '{' {
		l.read = l.readObject
		return l.readObject(number, line)
	}
	var row conversion
	l.read = func(number int, line []byte) error { return l.readRow(number, line, &row) }
	l.comma = delimiter(line)
	fields, ok := split(nil, bytes.Clone(line), l.comma)
	if !ok {
		return LineError{number, noHeading}
	}
	var has [columnCount]bool
	for i, field := range fields {
		c, kind, known := l.columnOf(strings.ToLower(string(bytes.TrimSpace(field))))
		switch {
		case !known && i == 0:
			return LineError{number, noHeading}
		case !known:
			return LineError{number, fmt.Sprintf("the name of column %d is none of %s", i+1, allColumns)}
		case has[c]:
			return LineError{number, fmt.Sprintf("column %d is a second one for the %s: want one", i+1, columnNames[c])}
		case c == columnID:
			row.kind = kind
		}
		has[c] = true
		l.columns = append(l.columns, c)
	}
	for c := columnID; c <= columnTime; c++ {
		if !has[c] {
			return LineError{number, fmt.Sprintf("no column has the %s: want %s", columnNames[c], allColumns)}
		}
	}
	return nil
}

// readRow reads a line of CSV.
func (l *conversions) readRow(number int, line []byte, row *conversion) error {
	fields, ok := split(l.fields[:0], line, l.comma)
	l.fields = fields
	if !ok {
		return l.refuse(number, "quotes that do not close, or text beside them")
	}
	if len(fields) > len(l.columns) {
		return l.refuse(number, fmt.Sprintf("%d fields, but %d columns", len(fields), len(l.columns)))
	}
	row.fields = [columnCount][]byte{}
	for i, field := range fields {
		row.fields[l.columns[i]] = field
	}
	return l.add(number, row)
}

// readObject reads a line of JSON.
func (l *conversions) readObject(number int, line []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil || members == nil {
		return l.refuse(number, badObject)
	}
	var row conversion
	for name, raw := range members {
		c, kind, known := l.columnOf(strings.ToLower(name))
		if !known {
			return l.refuse(number, "a name that is none of "+allColumns)
		}
		text, ok := textOf(raw)
		switch {
		case !ok:
			return l.refuse(number, columnNames[c]+": "+badMember)
		case text != nil && row.fields[c] != nil:
			return l.refuse(number, columnNames[c]+": more than one")
		case text == nil:
			continue
		case c == columnID:
			row.kind = kind
		}
		row.fields[c] = text
	}
	return l.add(number, &row)
}

// textOf is a JSON string or a number as it stands there; nil for null.
func textOf(raw json.RawMessage) (text []byte, ok bool) {
	switch c := raw[0]; {
	case c == 'n':
		return nil, true
	case c == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), err == nil
	default:
		return raw, c == '-' || c >= '0' && c <= '9'
	}
}

// add makes an event of one conversion.
func (l *conversions) add(number int, row *conversion) error {
	if reason := l.make(row); reason != "" {
		return l.refuse(number, reason)
	}
	if err := l.count(number); err != nil {
		return err
	}
	return l.take(&l.event)
}

// make sets the event, or returns why there is none.
func (l *conversions) make(row *conversion) (reason string) {
	e := &l.event
	*e = rtb.Event{Type: rtb.EventConversion, Advertiser: l.how.Advertiser}
	for i, field := range row.fields {
		row.fields[i] = bytes.TrimSpace(field)
	}
	if e.User, reason = l.hasher.user(row.kind, row.fields[columnID]); reason != "" {
		return reason
	}
	at, ok := parseTime(string(row.fields[columnTime]))
	switch {
	case !ok:
		return badTime
	case at.After(l.how.To):
		return futureTime
	case at.Before(l.how.From):
		return fmt.Sprintf("time: before %s, too long ago", l.how.From.UTC().Format(time.RFC3339))
	}
	e.Time, e.Made = at, at
	if text := row.fields[columnValue]; len(text) > 0 {
		var err error
		if e.Value, err = rtb.ParseMoney(string(text)); err != nil || e.Value < 0 || e.Value > rtb.MaxConversion {
			return badValue
		}
	}
	if id := row.fields[columnAdvertiser]; len(id) > 0 {
		e.Advertiser = l.how.Advertisers[string(id)]
		if e.Advertiser == 0 {
			return unknownOne
		}
	} else if e.Advertiser == 0 {
		return noAdvertiser
	}
	order := row.fields[columnOrder]
	if len(order) > 256 {
		return badOrder
	}
	e.Bid = l.orderOf(e, order)
	return ""
}

// Marks in a hash of an order, in the place where users have the kind of their
// identifier: no order has the hash of a user.
const (
	orderNamed   = 0xff
	orderUnnamed = 0xfe
)

// orderOf is the hash by which a conversion is known when it comes again.
func (l *conversions) orderOf(e *rtb.Event, order []byte) rtb.BidID {
	b := append(make([]byte, 0, 32+1+4+256), l.hasher.salt[:]...)
	le := binary.LittleEndian
	if len(order) > 0 {
		b = append(le.AppendUint32(append(b, orderNamed), uint32(e.Advertiser)), order...)
	} else {
		b = append(le.AppendUint32(append(b, orderUnnamed), uint32(e.Advertiser)), e.User[:]...)
		b = le.AppendUint64(le.AppendUint64(b, uint64(e.Time.UnixMicro())), uint64(e.Value))
	}
	sum := sha256.Sum256(b)
	return rtb.BidID(sum[:16])
}

// parseTime reads RFC 3339 or Unix seconds, to the microsecond that the log
// keeps.
func parseTime(text string) (time.Time, bool) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), seconds > 0 && seconds < 1<<50
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.Truncate(time.Microsecond), err == nil
}
