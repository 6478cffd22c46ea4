package loadtest

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AuctionLog is a log of auctions in order, column by column: some thirty
// bytes a row, so that millions fit.
type AuctionLog struct {
	Time  []int64   // unix nanoseconds; rows without a time are spread over a day
	Price []float64 // the highest bid of the others, in the unit of the log
	Floor []float64 // nil when the log has none
	PCTR  []float64 // the predicted click rate
	Click []bool    // nil when the log has none

	// Exchange is where each auction was, as a number in the order in which the
	// log names them, from 1; nil when the log has none.
	Exchange  []uint8
	Exchanges []string // the names: that of number n is Exchanges[n-1]

	// Timeless says that the log had no times, and that these are made up.
	Timeless bool

	OutOfOrder int // rows that are earlier than one before them, and count as simultaneous
}

const (
	maxAuctions  = 100_000_000
	maxLogAmount = 1e12 // of a price or a floor
	maxRowFields = 1000

	maxLogExchanges = 255
)

// Len is how many auctions there are.
func (l *AuctionLog) Len() int { return len(l.Price) }

// cost is what winning costs at least.
func (l *AuctionLog) cost(i int) float64 {
	if l.Floor != nil && l.Floor[i] > l.Price[i] {
		return l.Floor[i]
	}
	return l.Price[i]
}

// ReadAuctionLog reads CSV, plain or gzip, whose first row names its columns: price and pctr,
// and as it likes time, click, exchange and floor. Times are unix seconds or
// milliseconds, RFC 3339, or digits such as 20131023000102003. Other columns
// are an error, for they may be misspelt. Progress is told now and then how
// many rows there are; nil for none.
func ReadAuctionLog(in io.Reader, progress func(done int)) (*AuctionLog, error) {
	plain := bufio.NewReaderSize(in, 256<<10)
	if start, _ := plain.Peek(2); string(start) == "\x1f\x8b" {
		unpacked, err := gzip.NewReader(plain)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		plain = bufio.NewReaderSize(unpacked, 256<<10)
	}
	r := csv.NewReader(plain)
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: want a first row that names the columns")
	} else if err != nil {
		return nil, csvError(err)
	}
	columns := map[string]int{}
	if len(header) > maxRowFields {
		return nil, fmt.Errorf("line 1: %d columns, want at most %d", len(header), maxRowFields)
	}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if !slices.Contains([]string{"time", "price", "pctr", "click", "exchange", "floor"}, name) {
			return nil, fmt.Errorf("line 1: column %q is none of time, price, pctr, click, exchange and floor", name)
		}
		if _, twice := columns[name]; twice {
			return nil, fmt.Errorf("line 1: column %q is there twice", name)
		}
		columns[name] = i
	}
	for _, name := range []string{"price", "pctr"} {
		if _, ok := columns[name]; !ok {
			return nil, fmt.Errorf("line 1: there is no column %q", name)
		}
	}
	l := &AuctionLog{}
	timeAt, hasTime := columns["time"]
	floorAt, hasFloor := columns["floor"]
	clickAt, hasClick := columns["click"]
	exchangeAt, hasExchange := columns["exchange"]
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, csvError(err)
		}
		line, _ := r.FieldPos(0)
		if l.Len() == maxAuctions {
			return nil, fmt.Errorf("line %d: more than %d rows", line, maxAuctions)
		}
		price, err := parseAmount(row[columns["price"]], maxLogAmount)
		if err != nil {
			return nil, fmt.Errorf("line %d: price: %w", line, err)
		}
		pctr, err := parseAmount(row[columns["pctr"]], 1)
		if err != nil {
			return nil, fmt.Errorf("line %d: pctr: %w", line, err)
		}
		l.Price, l.PCTR = append(l.Price, price), append(l.PCTR, pctr)
		if hasFloor {
			floor := 0.0
			if text := row[floorAt]; text != "" {
				if floor, err = parseAmount(text, maxLogAmount); err != nil {
					return nil, fmt.Errorf("line %d: floor: %w", line, err)
				}
			}
			l.Floor = append(l.Floor, floor)
		}
		if hasClick {
			switch row[clickAt] {
			case "0", "", "false":
				l.Click = append(l.Click, false)
			case "1", "true":
				l.Click = append(l.Click, true)
			default:
				return nil, fmt.Errorf("line %d: click: %q is neither 0 nor 1", line, row[clickAt])
			}
		}
		if hasExchange {
			n, err := l.exchange(row[exchangeAt])
			if err != nil {
				return nil, fmt.Errorf("line %d: exchange: %w", line, err)
			}
			l.Exchange = append(l.Exchange, n)
		}
		if hasTime {
			at, err := parseLogTime(row[timeAt])
			if err != nil {
				return nil, fmt.Errorf("line %d: time: %w", line, err)
			}
			if n := len(l.Time); n > 0 && at < l.Time[n-1] {
				at = l.Time[n-1]
				l.OutOfOrder++
			}
			l.Time = append(l.Time, at)
		}
		if progress != nil && l.Len()%progressStep == 0 {
			progress(l.Len())
		}
	}
	if l.Len() == 0 {
		return nil, errors.New("there is no row but the first")
	}
	if !hasTime {
		l.Timeless = true
		l.Time = make([]int64, l.Len())
		for i := range l.Time {
			l.Time[i] = DefaultStart.Truncate(24*time.Hour).UnixNano() + int64((float64(i)+0.5)/float64(l.Len())*float64(24*time.Hour))
		}
	}
	if span := l.Time[l.Len()-1] - l.Time[0]; span > int64(maxSpan) {
		return nil, fmt.Errorf("the rows are of %d days, want at most %d", span/int64(24*time.Hour), maxSpan/(24*time.Hour))
	}
	return l, nil
}

// exchange is the number of a name.
func (l *AuctionLog) exchange(name string) (uint8, error) {
	i := slices.Index(l.Exchanges, name)
	if i < 0 {
		if len(l.Exchanges) == maxLogExchanges {
			return 0, fmt.Errorf("%q is one more than %d", name, maxLogExchanges)
		}
		l.Exchanges = append(l.Exchanges, strings.Clone(name))
		i = len(l.Exchanges) - 1
	}
	return uint8(i + 1), nil
}

const maxSpan = 366 * 24 * time.Hour

// csvError is an error of the reader with the line first, as all others.
func csvError(err error) error {
	if bad := (*csv.ParseError)(nil); errors.As(err, &bad) {
		return fmt.Errorf("line %d: %w", bad.Line, bad.Err)
	}
	return err
}

func parseAmount(text string, most float64) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	if v < 0 || v > most {
		return 0, fmt.Errorf("%s is not between 0 and %g", text, most)
	}
	return v, nil
}

// parseLogTime reads a time in unix nanoseconds. Digits mean what their number
// says: 14 or 17 are a date and a time in UTC, 13 milliseconds, fewer seconds.
func parseLogTime(text string) (int64, error) {
	form, whole, fraction := time.RFC3339Nano, text, ""
	if dot := strings.IndexByte(text, '.'); dot >= 0 && dot <= 13 {
		whole, fraction = text[:dot], text[dot+1:]
	}
	digits := whole != "" && strings.Trim(whole+fraction, "0123456789") == ""
	switch {
	case digits && len(whole) < 13:
		seconds, err := strconv.ParseInt(whole, 10, 64)
		nanos, err2 := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		if err != nil || err2 != nil || seconds > 1<<33 {
			return 0, fmt.Errorf("%q is too far in the future", text)
		}
		return seconds*int64(time.Second) + nanos, nil
	case digits && len(whole) == 13:
		ms, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || ms > 1<<33*1000 {
			return 0, fmt.Errorf("%q is too far in the future", text)
		}
		return ms * int64(time.Millisecond), nil
	case digits && fraction == "" && len(text) == 14:
		form = "20060102150405"
	case digits && fraction == "" && len(text) == 17:
		form, text = "20060102150405.000", text[:14]+"."+text[14:]
	case len(text) > 10 && text[10] == ' ':
		form = time.DateTime
	}
	t, err := time.Parse(form, text)
	if err != nil {
		return 0, fmt.Errorf("%q is neither unix seconds or milliseconds, nor RFC 3339, nor yyyyMMddHHmmssSSS", text)
	}
	if t.Year() < 1970 || t.Unix() > 1<<33 {
		return 0, fmt.Errorf("%q is out of range", text)
	}
	return t.UnixNano(), nil
}
