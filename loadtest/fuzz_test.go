package loadtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The strict parser must take exactly what is JSON and UTF-8.
func FuzzParseAnswer(f *testing.F) {
	for _, text := range []string{bannerAnswer, nativeAnswer, `[1,-0.5e+7,"\u00e9\ud83d\ude00\ud800x",null,true,{"a":{},"a":[]}]`, `{"a":01}`, "\"\x01\"", "\"\xff\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, _, err := parseAnswer(text)
		want := json.Valid(text) && utf8.Valid(text)
		if err != nil && want && strings.Contains(err.Error(), "deeper") {
			return
		}
		if (err == nil) != want {
			t.Fatalf("%q: error %v, but validity %t", text, err, want)
		}
		if err != nil {
			return
		}
		if again, _, err := parseAnswer(n.raw); err != nil || again.kind != n.kind || again.text != n.text {
			t.Fatalf("%q is not what its raw text is: %v", text, err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			return // a number that does not fit
		}
		if s, ok := value.(string); ok && !strings.ContainsRune(s, utf8.RuneError) && s != n.text {
			t.Fatalf("%q is %q, want %q", text, n.text, s)
		}
	})
}

// No request and no answer may break the checks, whatever they find.
func FuzzCheck(f *testing.F) {
	for _, pair := range [][2]string{{bannerRequest, bannerAnswer}, {videoRequest, videoAnswer}, {audioRequest, audioAnswer}, {nativeRequest, nativeAnswer}} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		c := answerCheck{request: readRequest(request), perImp: 1}
		c.check(answer)
		for _, v := range c.found {
			if v.Rule == "" || v.Detail == "" {
				t.Fatalf("a violation that says nothing: %+v", v)
			}
		}
	})
}

// No bytes of a server may break the client, or make it wait for more than
// there is.
func FuzzReply(f *testing.F) {
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 0000\n\n0"))
	f.Add([]byte("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{}"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		w := newWire(endpoint{})
		w.reader = bufio.NewReaderSize(bytes.NewReader(answer), 16<<10)
		if _, err := w.read(); err == nil && (w.reply.status < 200 || w.reply.status > 999 || len(w.reply.body) > len(answer)) {
			t.Fatalf("%q: status %d, a body of %d bytes", answer, w.reply.status, len(w.reply.body))
		}
		_, _ = decompress(answer) // must only not panic
	})
}

// A server that refuses a large body before it has read it all has answered.
func TestRefusedBody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		head := make([]byte, 512)
		if _, err := conn.Read(head); err != nil {
			t.Error(err)
		}
		conn.Write([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		conn.(*net.TCPConn).CloseWrite()
		for err == nil { // until the client is done, so that the answer is not lost in a reset
			_, err = conn.Read(head)
		}
	}()
	to, err := parseEndpoint("http://" + listener.Addr().String() + "/bid/x")
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(to)
	answer, err := w.do(to.appendRequest(nil, make([]byte, 4<<20), plain), time.Now().Add(10*time.Second))
	w.close()
	if err != nil || answer.status != 413 {
		t.Errorf("answer %+v, error %v, want 413", answer, err)
	}
	<-done
}
