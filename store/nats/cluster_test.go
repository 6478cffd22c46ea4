package nats

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bidwell/events"
	"bidwell/store/storetest"
)

// cluster runs three servers that keep streams together.
func cluster(t *testing.T) (servers [3]*server.Server, urls string) {
	t.Helper()
	var routes [3]string
	for i := range routes { // ports that were free a moment ago
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		routes[i] = l.Addr().String()
		l.Close()
	}
	var all []string
	for i := range servers {
		_, port, _ := net.SplitHostPort(routes[i])
		clusterPort, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		opts := &server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: -1, StoreDir: t.TempDir(),
			JetStream: true, NoSigs: true, NoLog: true, SyncAlways: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: clusterPort},
		}
		for _, r := range routes {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: r})
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = s
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}
	for _, s := range servers {
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("a server is not ready")
		}
		all = append(all, s.ClientURL())
	}
	return servers, strings.Join(all, ",")
}

// A log with three replicas keeps its promises when the server that leads it
// stops in the middle.
func TestCluster(t *testing.T) {
	t.Parallel()
	servers, urls := cluster(t)
	cfg := outsideConfig(urls)
	cfg.Replicas = 3
	s, err := openSoon(t, cfg)
	for tries := 0; err != nil && tries < 40; tries++ { // until the servers have elected one
		s, err = openSoon(t, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })

	w := events.NewWriter(s.Events(), events.WriterConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	const batches = 20
	stopped := 0
	for i := range batches {
		if i == batches/2 {
			for _, s := range servers {
				if s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "BIDWELL_EVENTS") {
					s.Shutdown()
					s.WaitForShutdown()
					stopped++
				}
			}
		}
		if err := w.Write(&storetest.Batch(1, i, 1)[0], time.Now().Add(20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	running.Wait()
	if stopped != 1 {
		t.Fatalf("%d servers led the stream, want 1", stopped)
	}
	next := 0
	for _, entry := range storetest.ReadLog(t, s.Events(), 0) {
		if _, number := storetest.BatchName(entry.Events); number == next {
			next++
		} else if number != next-1 { // a repeat
			t.Fatalf("batch %d came where %d was due", number, next)
		}
	}
	if next != batches {
		t.Errorf("%d batches came back, want %d", next, batches)
	}
}

// openSoon opens a log that must answer within half a second.
func openSoon(t *testing.T, cfg Config) (*Store, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	return Open(ctx, cfg)
}
