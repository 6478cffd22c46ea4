package loadtest

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// endpoint is where bid requests go.
type endpoint struct {
	addr   string // host:port to dial
	host   string // for the Host header
	path   string // with the query
	secure bool
	routed bool // the address had no path, so each exchange has its own
}

func parseEndpoint(address string) (endpoint, error) {
	u, err := url.Parse(address)
	if err != nil {
		return endpoint{}, fmt.Errorf("url: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return endpoint{}, fmt.Errorf("url: %q is not an http or https address", address)
	}
	e := endpoint{host: u.Host, path: u.RequestURI(), secure: u.Scheme == "https", routed: u.Path == "" || u.Path == "/"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[e.secure]
	}
	e.addr = net.JoinHostPort(u.Hostname(), port)
	return e, nil
}

// to is the endpoint of the first exchange that is named, "generic" if none
// is, where the address left that open.
func (e endpoint) to(exchanges ...string) endpoint {
	if e.routed {
		e.path = "/bid/" + url.PathEscape(cmp.Or(append(exchanges, "generic")...))
	}
	return e
}

// encoding is how a body travels. gzipped also asks for a compressed answer.
type encoding uint8

const (
	plain encoding = iota
	gzipped
)

func (e encoding) String() string {
	if e == gzipped {
		return "gzip"
	}
	return "plain"
}

// appendRequest appends the bytes of one HTTP/1.1 POST.
func (e endpoint) appendRequest(dst, body []byte, enc encoding) []byte {
	return e.appendRequestAt(dst, body, enc, time.Time{})
}

// appendRequestAt also tells the simulated time, unless it is zero.
func (e endpoint) appendRequestAt(dst, body []byte, enc encoding, now time.Time) []byte {
	dst = append(dst, "POST "...)
	dst = append(dst, e.path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, e.host...)
	dst = append(dst, "\r\nContent-Type: application/json\r\nX-Openrtb-Version: 2.6\r\n"...)
	if !now.IsZero() {
		dst = appendTime(dst, now)
	}
	if enc == gzipped {
		body = compress(body)
		dst = append(dst, "Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

func compress(body []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(body) // a bytes.Buffer does not fail
	w.Close()
	return buf.Bytes()
}

// maxAnswer bounds what one answer may weigh, before and after unpacking.
const maxAnswer = 16 << 20

func decompress(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxAnswer {
		return nil, errAnswerTooLarge
	}
	return out, nil
}

// reply is one HTTP answer. Its slices are reused by the next.
type reply struct {
	status          int
	body            []byte
	contentType     []byte
	contentEncoding []byte
	location        []byte
	stray           bool // a body where the status allows none
}

// wire is one keep-alive connection with at most one request in flight. It is
// an HTTP/1.1 client of its own because a certification must see what
// libraries repair or hide (a 204 with a body, a connection closed without an
// answer), and because a load generator must cost less than what it loads.
type wire struct {
	to     endpoint
	conn   net.Conn
	reader *bufio.Reader
	used   bool // it answered before, so the peer may have closed it while idle
	reply  reply
}

func newWire(to endpoint) *wire { return &wire{to: to, reader: bufio.NewReaderSize(nil, 16<<10)} }

func (w *wire) close() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

func (w *wire) dial(deadline time.Time) error {
	dialer := net.Dialer{Deadline: deadline}
	var err error
	if w.to.secure {
		w.conn, err = tls.DialWithDialer(&dialer, "tcp", w.to.addr, &tls.Config{MinVersion: tls.VersionTLS12})
	} else {
		w.conn, err = dialer.Dial("tcp", w.to.addr)
	}
	if err != nil {
		w.conn = nil
		return err
	}
	w.reader.Reset(w.conn)
	w.used = false
	return nil
}

var (
	errAnswerTooLarge = errors.New("the answer is larger than 16 MiB")
	errNotHTTP        = errors.New("not an HTTP/1.1 answer")
	errDropped        = errors.New("the connection was closed without an answer")
)

// do sends the bytes of one request and reads its answer. A connection that
// the peer closed while it was idle is opened again once.
func (w *wire) do(request []byte, deadline time.Time) (*reply, error) {
	for {
		if w.conn == nil {
			if err := w.dial(deadline); err != nil {
				return nil, err
			}
		}
		again := w.used
		started, err := w.exchange(request, deadline)
		if err == nil {
			return &w.reply, nil
		}
		w.close()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil, err
		case again && !started:
			continue
		case !started:
			return nil, fmt.Errorf("%w: %w", errDropped, err)
		}
		return nil, err
	}
}

// exchange writes one request and reads one answer. started is whether any
// byte of an answer came.
func (w *wire) exchange(request []byte, deadline time.Time) (started bool, err error) {
	if err := w.conn.SetDeadline(deadline); err != nil {
		return false, err
	}
	// A server may refuse a body before it has read all of it: then writing
	// fails, but there is an answer to read.
	_, writeErr := w.conn.Write(request)
	if _, err := w.reader.Peek(1); err != nil {
		if writeErr != nil {
			err = writeErr
		}
		return false, err
	}
	keep, err := w.read()
	if err != nil {
		return true, err
	}
	w.used = true
	if !keep || writeErr != nil {
		w.close()
	}
	return true, nil
}

// read reads the head and the body of one answer, past any 1xx, and tells
// whether the connection may be used again.
func (w *wire) read() (keep bool, err error) {
	r := &w.reply
	for {
		r.status, r.body, r.stray = 0, r.body[:0], false
		r.contentType, r.contentEncoding, r.location = r.contentType[:0], r.contentEncoding[:0], r.location[:0]
		length, chunked := -1, false
		keep = true
		line, err := w.line()
		if err != nil {
			return false, err
		}
		if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' || line[9] == '0' {
			return false, errNotHTTP
		}
		for _, c := range line[9:12] {
			if c < '0' || c > '9' {
				return false, errNotHTTP
			}
			r.status = r.status*10 + int(c-'0')
		}
		for {
			if line, err = w.line(); err != nil {
				return false, err
			}
			if len(line) == 0 {
				break
			}
			colon := bytes.IndexByte(line, ':')
			if colon <= 0 {
				return false, errNotHTTP
			}
			name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
			switch {
			case asciiFold(name, "content-length"):
				if length, err = parseLength(value); err != nil {
					return false, err
				}
			case asciiFold(name, "transfer-encoding"):
				chunked = asciiFold(value, "chunked")
			case asciiFold(name, "content-type"):
				r.contentType = append(r.contentType, value...)
			case asciiFold(name, "content-encoding"):
				r.contentEncoding = append(r.contentEncoding, value...)
			case asciiFold(name, "location"):
				r.location = append(r.location, value...)
			case asciiFold(name, "connection"):
				keep = !asciiFold(value, "close")
			}
		}
		switch {
		case r.status >= 100 && r.status < 200:
			continue
		case r.status == 204 || r.status == 304:
			r.stray = length > 0 || chunked || w.reader.Buffered() > 0
			return keep && !r.stray, nil
		case chunked:
			return keep, w.readChunks()
		case length >= 0:
			return keep, w.readBody(length)
		}
		return false, w.readToEnd()
	}
}

// line is the next line of a head without its end; it lives until the next read.
func (w *wire) line() ([]byte, error) {
	line, err := w.reader.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("inside the head of the answer: %w", err)
	}
	line = line[:len(line)-1]
	if len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	return line, nil
}

func parseLength(text []byte) (int, error) {
	n := 0
	if len(text) == 0 {
		return 0, errNotHTTP
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, errNotHTTP
		}
		if n = n*10 + int(c-'0'); n > maxAnswer {
			return 0, errAnswerTooLarge
		}
	}
	return n, nil
}

func (w *wire) readBody(length int) error {
	r := &w.reply
	from := len(r.body)
	if need := from + length; cap(r.body) < need {
		grown := make([]byte, from, need+need/4)
		copy(grown, r.body)
		r.body = grown
	}
	r.body = r.body[:from+length]
	if _, err := io.ReadFull(w.reader, r.body[from:]); err != nil {
		return fmt.Errorf("inside the body of the answer: %w", err)
	}
	return nil
}

func (w *wire) readChunks() error {
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		if i := bytes.IndexByte(line, ';'); i >= 0 {
			line = line[:i]
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return errNotHTTP
		}
		if int(size)+len(w.reply.body) > maxAnswer {
			return errAnswerTooLarge
		}
		if err := w.readBody(int(size)); err != nil {
			return err
		}
		for { // the end of the chunk, or the trailers after the last
			if line, err = w.line(); err != nil {
				return err
			}
			if len(line) == 0 {
				break
			}
			if size > 0 {
				return errNotHTTP
			}
		}
		if size == 0 {
			return nil
		}
	}
}

func (w *wire) readToEnd() error {
	body, err := io.ReadAll(io.LimitReader(w.reader, maxAnswer+1))
	w.reply.body = append(w.reply.body, body...)
	if err == nil && len(body) > maxAnswer {
		err = errAnswerTooLarge
	}
	return err
}

// asciiFold compares s to a lower-case ASCII text.
func asciiFold(s []byte, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i, c := range s {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
