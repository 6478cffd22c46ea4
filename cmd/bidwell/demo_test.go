package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// transcript is what a running program prints; it may be read meanwhile.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func TestDemo(t *testing.T) {
	var out transcript
	bidAddress, adminAddress := freeAddresses(t)
	start := time.Now()
	err := run(t.Context(), []string{"demo", "--duration", "3s", "--users", "2000", "--rate", "200", "--cache-mb", "4",
		"--bid.listen", bidAddress, "--admin.listen", adminAddress}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 3*time.Second || took > 3*time.Second+2*patience {
		t.Errorf("took %v", took)
	}
	text := out.String()
	wantText(t, text, "POST http://"+bidAddress+"/bid/generic", "http://"+adminAddress+"/docs", "explain --admin http://"+adminAddress+" bidder/", "segment runners", " req/s ")
	bids := regexp.MustCompile(`(?m)^bids +([0-9]+)`).FindStringSubmatch(text)
	if bids == nil {
		t.Fatalf("no scorecard in\n%s", text)
	}
	if n, err := strconv.Atoi(bids[1]); err != nil || n < 50 {
		t.Errorf("%s bids of about 500 auctions\n%s", bids[1], text)
	}
	if failed := regexp.MustCompile(`(?m)^notice .* [1-9][0-9]* failed`).FindAllString(text, -1); failed != nil {
		t.Errorf("%q", failed)
	}
	if !refused(bidAddress) || !refused(adminAddress) {
		t.Error("the demo still listens")
	}
}

// With few users some segments have no members, and that is no failure.
func TestDemoOfFewUsers(t *testing.T) {
	var out transcript
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	bidAddress, adminAddress := freeAddresses(t)
	go func() {
		ended <- run(ctx, []string{"demo", "--users", "3", "--traffic=false", "--cache-mb", "4",
			"--bid.listen", bidAddress, "--admin.listen", adminAddress}, &out, io.Discard)
	}()
	eventually(t, patience, "address printed", func() bool {
		return len(ended) > 0 || regexp.MustCompile(`Ctrl-C`).MatchString(out.String())
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// A demo beside a program that has its addresses must leave that alone.
func TestDemoBesideAnother(t *testing.T) {
	used := serve(t)
	_, err := command(t, "demo", "--bid.listen", freeAddress(t), "--admin.listen", used.admin)
	wantError(t, err, used.admin, "address already in use")
	_, err = command(t, "demo", "--bid.listen", used.bid, "--admin.listen", freeAddress(t))
	wantError(t, err, used.bid, "address already in use")
	if _, body := used.get("http://" + used.admin + "/v1/advertisers"); !strings.Contains(body, `"items":[]`) {
		t.Errorf("the demo's documents went to the other program: %s", body)
	}
}

func TestDemoRefuses(t *testing.T) {
	_, err := command(t, "demo", "--users", "0", "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t))
	wantError(t, err, "users")
	_, err = command(t, "demo", "--rate", "-1", "--bid.listen", freeAddress(t), "--admin.listen", freeAddress(t))
	wantError(t, err, "rate")
	_, err = command(t, "demo", "--drain", "-1s")
	wantError(t, err, "settings", "drain")
}
