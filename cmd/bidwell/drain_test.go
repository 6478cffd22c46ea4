package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hold begins a request whose answer waits for the body: the program has read
// the head once it says so.
func hold(t *testing.T, address, path string, length int) *wire {
	t.Helper()
	w := dial(t, address)
	w.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", path, length))
	w.want(100)
	return w
}

func refused(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		conn.Close()
	}
	return err != nil
}

func TestDrain(t *testing.T) {
	const drain = 5 * time.Second
	p := serve(t, "--drain", drain.String())
	p.apply(shop)
	p.await(request, true)

	// Busy connections, each with one request after the other, until the
	// program ends them.
	var answers atomic.Int64
	var busy sync.WaitGroup
	for range 4 {
		w := dial(t, p.bid)
		busy.Go(func() {
			for {
				if _, err := w.conn.Write([]byte(message(request))); err != nil {
					return // ended between two answers
				}
				if _, err := w.r.Peek(1); err != nil {
					return // likewise
				}
				resp, body, err := w.read()
				if err != nil || resp.StatusCode != 200 || !strings.HasSuffix(body, "}") {
					t.Errorf("answer cut off: %v, %q", err, body)
					return
				}
				answers.Add(1)
				if resp.Close {
					w.wantEnd()
					return
				}
			}
		})
	}
	held := []*wire{
		hold(t, p.bid, "/bid/generic", len(request)),
		hold(t, p.bid, "/bid/generic", len(request)),
	}
	eventually(t, patience, "traffic", func() bool { return answers.Load() > 100 })

	start := time.Now()
	p.cancel()
	eventually(t, drain, "listener closed", func() bool { return refused(p.bid) })
	// What watches readyz learns no later than others are turned away.
	if status, body := p.get("http://" + p.admin + "/readyz"); status != 503 || !strings.Contains(body, "stopping") {
		t.Errorf("readyz: status %d %s", status, body)
	}
	if status, _ := p.get("http://" + p.admin + "/healthz"); status != 200 {
		t.Errorf("healthz: status %d", status)
	}
	for _, w := range held {
		w.send(request)
		resp, body, err := w.read()
		if err != nil || resp.StatusCode != 200 || !resp.Close {
			t.Fatalf("answer to a request under way: %v, %v", resp, err)
		}
		readBid(t, body)
		w.wantEnd()
	}
	busy.Wait()
	if err := p.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	if took := time.Since(start); took > drain {
		t.Errorf("stopped after %v", took)
	}
	if !refused(p.admin) {
		t.Error("the admin API still listens")
	}
}

// An upload under way is finished before the stores are closed.
func TestDrainFinishesUploads(t *testing.T) {
	p := serve(t)
	p.apply(runners)
	w := hold(t, p.admin, "/v1/segments/runners/members", len(ann))
	p.cancel()
	eventually(t, patience, "admin API closed", func() bool { return refused(p.admin) })
	w.send(ann)
	wantText(t, w.want(200), `"added":1`)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	again := serve(t, "--data", p.data)
	again.await(from(ann), true)
}

// A client that does not finish does not keep the program from stopping.
func TestDrainEnds(t *testing.T) {
	p := serve(t, "--drain", "200ms")
	hold(t, p.bid, "/bid/generic", len(request))
	start := time.Now()
	if err := p.stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("stopped after %v, want 200ms", took)
	}
}
