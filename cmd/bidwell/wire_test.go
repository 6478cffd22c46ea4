package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// wire is a raw connection to the public listener.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, address string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.t.Fatal(err)
	}
}

// read is the next answer with its whole body.
func (w *wire) read() (*http.Response, string, error) {
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func (w *wire) want(status int) (body string) {
	w.t.Helper()
	resp, body, err := w.read()
	if err != nil {
		w.t.Fatalf("%v, want an answer with status %d", err, status)
	}
	if resp.StatusCode != status {
		w.t.Errorf("status %d %s, want %d", resp.StatusCode, body, status)
	}
	return body
}

// wantEnd waits for the end of the connection, by either kind of goodbye.
func (w *wire) wantEnd() {
	w.t.Helper()
	rest, err := io.ReadAll(w.r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Errorf("the connection is still open")
	}
	if len(rest) > 0 {
		w.t.Errorf("after the answer came %q", rest)
	}
}

// message is a POST to /bid/generic.
func message(body string, headers ...string) string {
	head := "POST /bid/generic HTTP/1.1\r\nHost: bid\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

func chunked(body string, size int) string {
	var out strings.Builder
	out.WriteString("POST /bid/generic HTTP/1.1\r\nHost: bid\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&out, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return out.String() + "0\r\n\r\n"
}

const wireLimit = 64 << 10

// robust is a program that is asked by rude clients. In the end it still bids.
func robust(t *testing.T, args ...string) *program {
	p := serve(t, append([]string{"--bid.max-body", fmt.Sprint(wireLimit)}, args...)...)
	p.apply(shop)
	p.await(request, true)
	t.Cleanup(func() {
		p.mustBid(request)
		if _, metrics := p.get("http://" + p.admin + "/metrics"); !strings.Contains(metrics, "bidwell_panics_total 0\n") {
			t.Error("a request made the bidder panic")
		}
	})
	return p
}

func TestWireSlowClients(t *testing.T) {
	const timeout = 300 * time.Millisecond
	p := robust(t, "--bid.read-timeout", timeout.String())
	whole := message(request)
	for name, part := range map[string]string{
		"nothing":      "",
		"half a line":  "POST /bid/gen",
		"half a head":  "POST /bid/generic HTTP/1.1\r\nHost: bid\r\n",
		"half a body":  whole[:len(whole)-10],
		"half a chunk": "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
		"after one":    whole + whole[:len(whole)-10],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dial(t, p.bid)
			start := time.Now()
			w.send(part)
			for {
				resp, body, err := w.read()
				if err != nil {
					break
				}
				if resp.StatusCode != 200 && resp.StatusCode != 408 || resp.StatusCode == 408 && !resp.Close {
					t.Errorf("status %d %s", resp.StatusCode, body)
				}
			}
			w.wantEnd()
			if took := time.Since(start); took < timeout/2 || took > timeout+patience/4 {
				t.Errorf("ended after %v, want %v", took, timeout)
			}
		})
	}
	t.Run("a drop at a time", func(t *testing.T) { // no byte gives another 300ms
		t.Parallel()
		w := dial(t, p.bid)
		start := time.Now()
		ticker := time.NewTicker(timeout / 10)
		defer ticker.Stop()
		for i := range whole {
			if _, err := io.WriteString(w.conn, whole[i:i+1]); err != nil {
				break
			}
			if <-ticker.C; time.Since(start) > 3*timeout {
				break
			}
		}
		if resp, _, err := w.read(); err == nil && resp.StatusCode != 408 {
			t.Errorf("status %d", resp.StatusCode)
		}
		w.wantEnd()
		if took := time.Since(start); took > timeout+patience/4 {
			t.Errorf("ended after %v, want %v", took, timeout)
		}
	})
}

func TestWireBodies(t *testing.T) {
	p := robust(t)
	bomb := zipped(t, request+strings.Repeat(" ", 8<<20))
	if len(bomb) > wireLimit {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	fits := request + strings.Repeat(" ", wireLimit-len(request))
	for _, c := range []struct {
		name, message string
		status        int
	}{
		{"plain", message(request), 200},
		{"identity", message(request, "Content-Encoding: identity"), 200},
		{"gzip", message(zipped(t, request), "Content-Encoding: gzip"), 200},
		{"GZip", message(zipped(t, request), "content-encoding: GZip"), 200},
		{"as large as may be", message(fits), 200},
		{"as large as may be, gzip", message(zipped(t, fits), "Content-Encoding: gzip"), 200},
		{"larger, gzip", message(zipped(t, fits+" "), "Content-Encoding: gzip"), 413},
		{"gzip bomb", message(bomb, "Content-Encoding: gzip"), 413},
		{"cut gzip", message(zipped(t, request)[:60], "Content-Encoding: gzip"), 400},
		{"no gzip", message(request, "Content-Encoding: gzip"), 400},
		{"empty gzip", message("", "Content-Encoding: gzip"), 400},
		{"brotli", message(request, "Content-Encoding: br"), 415},
		{"two encodings", message(request, "Content-Encoding: gzip, gzip"), 415},
		{"chunked", chunked(request, 7), 200},
		{"empty", message(""), 400},
		{"empty chunked", chunked("", 1), 400},
		{"no length", "POST /bid/generic HTTP/1.1\r\nHost: bid\r\n\r\n", 400},
		{"no JSON", message("bid please"), 400},
		{"array", message("[" + request + "]"), 400},
		{"deep", message(strings.Repeat(`{"id":`, 9000)), 400},
		{"form", message(request, "Content-Type: application/x-www-form-urlencoded"), 200},
		{"multipart", message(request, "Content-Type: multipart/form-data; boundary=x"), 200},
		{"GET", "GET /bid/generic HTTP/1.1\r\nHost: bid\r\n\r\n", 405},
		{"PUT", strings.Replace(message(request), "POST", "PUT", 1), 405},
		{"unknown exchange", strings.Replace(message(request), "generic", "bazaar", 1), 404},
		{"no exchange", strings.Replace(message(request), "generic", "", 1), 404},
		{"longer path", strings.Replace(message(request), "generic", "generic/x", 1), 404},
		{"path upwards", strings.Replace(message(request), "/bid/", "/bid/../bid/", 1), 200},
	} {
		t.Run(name(c.name), func(t *testing.T) {
			w := dial(t, p.bid)
			w.send(c.message + message(request))
			w.want(c.status)
			readBid(t, w.want(200)) // the connection is as good as before
		})
	}
	t.Run("too large", func(t *testing.T) {
		for _, text := range []string{message(fits + " "), chunked(fits+" ", 1000), message(strings.Repeat("[", 20*wireLimit))} {
			w := dial(t, p.bid)
			go io.WriteString(w.conn, text) // an error means that the bidder has hung up
			w.want(413)
		}
	})
}

func name(s string) string { return strings.ReplaceAll(s, " ", "-") }

func TestWirePipelined(t *testing.T) {
	p := robust(t)
	w := dial(t, p.bid)
	const n = 20
	var all strings.Builder
	for i := range n {
		all.WriteString(message(strings.Replace(request, `"id":"r"`, fmt.Sprintf(`"id":"r%d"`, i), 1)))
	}
	w.send(all.String())
	for i := range n {
		wantText(t, w.want(200), fmt.Sprintf(`"id":"r%d"`, i)) // in order
	}
	w.send(message(request, "Expect: 100-continue"))
	w.want(100)
	w.want(200)
	w.send(message(request, "Connection: close"))
	w.want(200)
	w.wantEnd()
}

func TestWireGarbage(t *testing.T) {
	p := robust(t, "--bid.read-timeout", "500ms")
	for name, text := range map[string]string{
		"no HTTP":         "bid please\r\n\r\n",
		"TLS":             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"zeros":           strings.Repeat("\x00", 100) + "\r\n\r\n",
		"line only":       "\r\n\r\n\r\n",
		"bad length":      "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nContent-Length: x\r\n\r\n",
		"negative":        "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nContent-Length: -5\r\n\r\n",
		"huge length":     "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"two lengths":     "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
		"length, chunked": "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bad chunk":       "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"unknown coding":  "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nTransfer-Encoding: gzip\r\n\r\n{}",
		"broken header":   "POST /bid/generic HTTP/1.1\r\nHost bid\r\n\r\n",
		"long header":     "POST /bid/generic HTTP/1.1\r\nHost: bid\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
		"long path":       "POST /bid/" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: bid\r\n\r\n",
		"other version":   "POST /bid/generic HTTP/7.3\r\nHost: bid\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			w := dial(t, p.bid)
			go io.WriteString(w.conn, text) // an error means that the bidder has hung up
			resp, body, err := w.read()
			if err != nil { // ended without a word
				w.wantEnd()
				return
			}
			if resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Errorf("status %d %s", resp.StatusCode, body)
			}
			if strings.Contains(body, "fasthttp") || resp.Header.Get("Server") != "" {
				t.Errorf("the answer tells of the server: %v %s", resp.Header, body)
			}
		})
	}
}

// Gzip answers are for those who ask for them.
func TestWireGzipAnswer(t *testing.T) {
	p := robust(t)
	w := dial(t, p.bid)
	w.send(message(request, "Accept-Encoding: gzip"))
	resp, body, err := w.read()
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, %v", resp, err)
	}
	readBid(t, unzipped(t, body))
	w.send(message(request))
	if body := w.want(200); !bytes.HasPrefix([]byte(body), []byte("{")) {
		t.Errorf("an answer that is not text: %q", body)
	}
}
