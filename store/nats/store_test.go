package nats

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"bidwell/events"
	"bidwell/rtb"
	"bidwell/store/storetest"
)

// The environment of a child process that writes a log until it is killed:
// the folder and, for a benchmark, the size of batches.
const (
	childDir  = "BIDWELL_TEST_LOG"
	childSize = "BIDWELL_TEST_LOG_BATCH"
	childRoom = "BIDWELL_TEST_LOG_ROOM" // no file may be larger, for a while
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if size, err := strconv.Atoi(os.Getenv(childSize)); err == nil {
			fillAndDie(dir, size)
		}
		if room, err := strconv.Atoi(os.Getenv(childRoom)); err == nil {
			runOutOfRoom(dir, uint64(room))
		}
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func testConfig(dir string) Config {
	cfg := DefaultConfig()
	cfg.Dir = dir
	return cfg
}

func openTest(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reopen returns what [storetest.TestLog] asks for.
func reopen(cfg Config, log func(*Store) events.Log) func(t *testing.T) events.Log {
	var open *Store
	return func(t *testing.T) events.Log {
		if open != nil {
			if err := open.Close(); err != nil {
				t.Fatal(err)
			}
		}
		open = openTest(t, cfg)
		return log(open)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	storetest.TestLog(t, reopen(testConfig(t.TempDir()), (*Store).Events))
}

func TestSamples(t *testing.T) {
	t.Parallel()
	storetest.TestLog(t, reopen(testConfig(t.TempDir()), (*Store).Samples))
}

// outsideConfig asks for little: servers refuse a stream that may grow larger
// than their disk.
func outsideConfig(url string) Config {
	cfg := DefaultConfig()
	cfg.URL, cfg.MaxBytes, cfg.SampleBytes = url, 64<<20, 64<<20
	return cfg
}

// outside runs a server as others would, reached over TCP.
func outside(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, StoreDir: dir, JetStream: true, NoSigs: true, NoLog: true, SyncAlways: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s
}

func TestEventsOutside(t *testing.T) {
	t.Parallel()
	s := outside(t, t.TempDir(), -1)
	cfg := outsideConfig(s.ClientURL())
	storetest.TestLog(t, reopen(cfg, (*Store).Events))
}

// A server outside may stop and come back: consumers go on where they were,
// and miss nothing.
func TestConsumeSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := outside(t, dir, -1)
	cfg := outsideConfig(first.ClientURL())
	log := openTest(t, cfg).Events()

	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan int), make(chan error)
	go func() {
		ended <- log.Consume(ctx, 0, func(_ uint64, batch []rtb.Event) error {
			_, number := storetest.BatchName(batch)
			got <- number
			return nil
		})
	}()
	if err := log.Append(t.Context(), storetest.Batch(1, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != 0 {
		t.Fatalf("batch %d came first", n)
	}
	port := first.Addr().(*net.TCPAddr).Port
	first.Shutdown()
	first.WaitForShutdown()
	short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelShort()
	if err := log.Append(short, storetest.Batch(1, 99, 1)); err == nil {
		t.Error("Append succeeds without a server")
	}

	outside(t, dir, port)
	writer := events.NewWriter(log, events.WriterConfig{}) // tries until the connection is back
	writing, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { writer.Run(writing) })
	for i := 1; i <= 3; i++ {
		if err := writer.Write(&storetest.Batch(1, i, 1)[0], time.Now().Add(10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for want := 1; want <= 3; {
		if n := <-got; n == want {
			want++
		} else if n != want-1 { // a repeat
			t.Fatalf("batch %d came, want %d", n, want)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Consume = %v", err)
	}
	stop()
	running.Wait()
}

func TestOpenRefusesAFolderInUse(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := openTest(t, cfg)
	_, err := Open(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "another process uses this folder") {
		t.Fatalf("the second Open = %v", err)
	}
	s.Close()
	openTest(t, cfg)
}

// A log whose files are there but cannot be read must not be replaced by an
// empty one.
func TestOpenRefusesADamagedLog(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := openTest(t, cfg)
	if err := s.Events().Append(t.Context(), storetest.Batch(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	meta := cfg.Dir + "/jetstream/$G/streams/BIDWELL_EVENTS/meta.inf"
	if err := os.WriteFile(meta, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Fatalf("Open = %v", err)
	}
}

func TestOpenRefusesSettings(t *testing.T) {
	_, err := Open(t.Context(), Config{Replicas: 3})
	for _, setting := range []string{"dir", "replicas", "max-age", "max-bytes", "sample-bytes"} {
		if err == nil || !strings.Contains(err.Error(), setting+": ") {
			t.Errorf("Open = %v, which does not name %s", err, setting)
		}
	}
}

// The server in a process lets others in where it is told to listen: they read
// what is there and what comes, go on after it was gone, and change nothing.
func TestGuestsRead(t *testing.T) {
	cfg := testConfig(t.TempDir())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = free.Addr().String()
	free.Close()
	guest := DefaultConfig()
	guest.URL, guest.Guest, guest.MaxAge, guest.Dir = "nats://"+cfg.Listen, true, time.Hour, cfg.Dir
	if _, err := Open(t.Context(), guest); err == nil {
		t.Fatal("there is a log before anybody keeps one")
	}
	owner := openTest(t, cfg)
	if err := owner.Events().Append(t.Context(), storetest.Batch(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	stranger := guest
	for _, stranger.Dir = range []string{"", t.TempDir()} {
		if _, err := Open(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
			t.Errorf("who does not know the secret is let in: %v", err)
		}
	}
	if file, err := os.Stat(secretFile(cfg.Dir)); err != nil || file.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v, want one for nobody else", file, err)
	}
	if err := os.WriteFile(secretFile(stranger.Dir), []byte("no\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "holds no secret") {
		t.Errorf("a file that is cut off: %v", err)
	}
	visitor := openTest(t, guest)
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan uint64, 10), make(chan error, 1)
	go func() {
		done <- visitor.Events().Consume(ctx, 0, func(position uint64, batch []rtb.Event) error {
			got <- position
			return nil
		})
	}()
	first := <-got
	if last, err := visitor.Events().Last(t.Context()); last != first || err != nil {
		t.Errorf("the last position is %d, %v, want %d", last, err, first)
	}
	for _, subject := range []string{"$JS.API.STREAM.DELETE.BIDWELL_EVENTS", "$JS.API.STREAM.PURGE.BIDWELL_EVENTS", "$JS.API.STREAM.NAMES", "bidwell.events"} {
		short, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if answer, err := visitor.conn.RequestWithContext(short, subject, []byte("{}")); err == nil {
			t.Errorf("a guest may call %s: %s", subject, answer.Data)
		}
		stop()
	}
	if found, err := owner.events.js.Stream(t.Context(), "BIDWELL_EVENTS"); err != nil || found.CachedInfo().Config.MaxAge != cfg.MaxAge || found.CachedInfo().State.Msgs != 1 {
		t.Errorf("a guest has changed the log: %+v, %v", found, err)
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	owner = openTest(t, cfg)
	if err := owner.Events().Append(t.Context(), storetest.Batch(1, 3, 1)); err != nil {
		t.Fatal(err)
	}
	if next := <-got; next != first+1 {
		t.Errorf("after position %d comes %d", first, next)
	}
	cancel()
	<-done

	cfg.Dir = t.TempDir()
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second one at the same address: %v", err)
	}
	for _, listen := range []string{"4222", ":4222", "127.0.0.1:0", "127.0.0.1:x"} {
		cfg.Listen = listen
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "listen: ") {
			t.Errorf("listen at %q: %v", listen, err)
		}
	}
	guest.Listen = "127.0.0.1:4222"
	if _, err := Open(t.Context(), guest); err == nil || !strings.Contains(err.Error(), "listen: ") {
		t.Errorf("listen for a log elsewhere: %v", err)
	}
}

// fill appends batches of a thousand events until the log refuses, at most n.
func fill(t *testing.T, log events.Log, n int) (appended int, err error) {
	t.Helper()
	for i := range n {
		if err := log.Append(t.Context(), storetest.Batch(1, i, 1000)); err != nil {
			return i, err
		}
	}
	return n, nil
}

func TestFullEventsRefuse(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.MaxBytes = 1 << 20
	log := openTest(t, cfg).Events()
	n, err := fill(t, log, 20)
	if err == nil || !strings.Contains(err.Error(), "maximum bytes exceeded") {
		t.Fatalf("%d batches of 124 kB fit into a megabyte; Append = %v", n, err)
	}
	if entries := storetest.ReadLog(t, log, 0); len(entries) != n {
		t.Errorf("%d batches are there, but %d were acknowledged", len(entries), n)
	}
}

func TestFullSamplesDropTheOldest(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.SampleBytes = 1 << 20
	log := openTest(t, cfg).Samples()
	const batches = 20
	if n, err := fill(t, log, batches); err != nil {
		t.Fatalf("batch %d: %v", n, err)
	}
	gaps := logGaps.Get()
	entries := storetest.ReadLog(t, log, 0)
	if n := len(entries); n == 0 || n > 8 {
		t.Fatalf("%d batches of 124 kB are kept in a megabyte", n)
	}
	if _, newest := storetest.BatchName(entries[len(entries)-1].Events); newest != batches-1 {
		t.Errorf("the newest batch is %d, want %d", newest, batches-1)
	}
	if n := logGaps.Get() - gaps; n != 1 {
		t.Errorf("%d gaps counted, want 1", n)
	}
}

// A position that the log has not reached belongs to another log. One of money
// says so; one of samples may have lost its end, and goes on.
func TestConsumeAheadOfTheLog(t *testing.T) {
	s := openTest(t, testConfig(t.TempDir()))
	if err := s.Events().Append(t.Context(), storetest.Batch(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	last, _ := s.Events().Last(t.Context())
	err := s.Events().Consume(t.Context(), last+1, func(uint64, []rtb.Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "not the log") {
		t.Errorf("Consume = %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	gaps := logGaps.Get()
	go func() {
		ended <- s.Samples().Consume(ctx, last+1<<40, func(uint64, []rtb.Event) error {
			cancel()
			return nil
		})
	}()
	for ctx.Err() == nil { // Consume begins somewhere among them
		if err := s.Samples().Append(t.Context(), storetest.Batch(1, 2, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, context.Canceled) || logGaps.Get() == gaps {
		t.Errorf("Consume = %v with %d gaps counted", err, logGaps.Get()-gaps)
	}
}

func TestConsumeEndsWithTheStore(t *testing.T) {
	s := openTest(t, testConfig(t.TempDir()))
	got, ended := make(chan bool), make(chan error)
	go func() {
		ended <- s.Events().Consume(t.Context(), 0, func(uint64, []rtb.Event) error {
			got <- true
			return nil
		})
	}()
	if err := s.Events().Append(t.Context(), storetest.Batch(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	<-got
	s.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the store is closed") {
		t.Errorf("Consume = %v", err)
	}
}

// crashed is a copy of the files of an open log: what a crash leaves.
func crashed(t *testing.T, cfg Config) Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = dir
	return cfg
}

// A batch that was on its way when the power went may be on disk in part. It
// was not acknowledged; all before it are there, and the log goes on.
func TestOpenAfterATornWrite(t *testing.T) {
	cfg := testConfig(t.TempDir())
	log := openTest(t, cfg).Events()
	for i := range 5 {
		if err := log.Append(t.Context(), storetest.Batch(1, i, 3)); err != nil {
			t.Fatal(err)
		}
	}
	for _, lost := range []int64{1, 8, 100, int64(events.BatchSize(make([]rtb.Event, 3)))} {
		torn := crashed(t, cfg)
		blocks, err := filepath.Glob(torn.Dir + "/jetstream/*/streams/BIDWELL_EVENTS/msgs/*.blk")
		if err != nil || len(blocks) != 1 {
			t.Fatalf("blocks of messages: %q, %v", blocks, err)
		}
		file, err := os.Stat(blocks[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(blocks[0], file.Size()-lost); err != nil {
			t.Fatal(err)
		}
		log := openTest(t, torn).Events()
		if err := log.Append(t.Context(), storetest.Batch(1, 9, 3)); err != nil {
			t.Fatal(err)
		}
		var numbers []int
		for _, entry := range storetest.ReadLog(t, log, 0) {
			_, number := storetest.BatchName(entry.Events)
			numbers = append(numbers, number)
		}
		if !slices.Equal(numbers, []int{0, 1, 2, 3, 9}) {
			t.Errorf("%d bytes torn off: batches %v, want 0 to 3 and 9", lost, numbers)
		}
	}
}

// Positions go on after all batches have left by age, and after a crash then:
// a consumer would miss what takes a position it has seen.
func TestPositionsOutliveBatches(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t.TempDir())
	s := openTest(t, cfg)
	if err := s.Events().Append(t.Context(), storetest.Batch(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	last, err := s.Events().Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := s.Whole(t.Context()); err != nil || !whole {
		t.Errorf("Whole = %t, %v, want true", whole, err)
	}
	js := s.events.js
	found, err := js.Stream(t.Context(), s.events.name)
	if err != nil {
		t.Fatal(err)
	}
	short := found.CachedInfo().Config
	short.MaxAge, short.Duplicates = 100*time.Millisecond, 100*time.Millisecond
	for found, err = js.UpdateStream(t.Context(), short); err == nil && found.CachedInfo().State.Msgs > 0; {
		found, err = js.Stream(t.Context(), short.Name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := s.Whole(t.Context()); err != nil || whole {
		t.Errorf("Whole = %t, %v after a batch has left, want false", whole, err)
	}
	again := openTest(t, crashed(t, cfg)).Events()
	if got, err := again.Last(t.Context()); err != nil || got != last {
		t.Fatalf("Last = %d, %v, want %d as before", got, err, last)
	}
	if err := again.Append(t.Context(), storetest.Batch(1, 2, 1)); err != nil {
		t.Fatal(err)
	}
	if entries := storetest.ReadLog(t, again, last); len(entries) != 1 || entries[0].Position != last+1 {
		t.Errorf("after position %d came %+v", last, entries)
	}
}

// A log that is made anew must not take the positions of the one before.
func TestPositionsOfANewLog(t *testing.T) {
	s := openTest(t, testConfig(t.TempDir()))
	if err := s.Events().Append(t.Context(), storetest.Batch(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	last, _ := s.Events().Last(t.Context())
	if seconds := int64(last >> 20); time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		t.Errorf("the first position is %d, which is not taken from the clock", last)
	}
	gaps := logGaps.Get()
	if entries := storetest.ReadLog(t, s.Events(), 5); len(entries) != 1 || logGaps.Get() != gaps+1 {
		t.Errorf("a consumer of an older log got %d batches and %d gaps were counted, want one each", len(entries), logGaps.Get()-gaps)
	}
	if storetest.ReadLog(t, s.Events(), 0); logGaps.Get() != gaps+1 {
		t.Error("a new consumer of a new log found a gap")
	}
}

// childWriters append to the log of a child process at once.
const childWriters = 8

// writeUntilKilled is the child: it prints the name of each batch once that is
// acknowledged.
func writeUntilKilled(dir string) {
	s, err := Open(context.Background(), testConfig(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	run := os.Getpid()
	for w := range childWriters {
		go func() {
			for i := 0; ; i++ {
				if err := s.Events().Append(context.Background(), childBatch(run, w, i)); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				os.Stdout.WriteString(fmt.Sprintln(run, w, i))
			}
		}()
	}
	select {}
}

func childBatch(run, writer, number int) []rtb.Event {
	batch := storetest.Batch(writer, number, 1+(writer*7+number)%40)
	for i := range batch {
		batch[i].Node = uint32(run)
	}
	return batch
}

// The log is killed again and again while it is written. Each batch that was
// acknowledged is there when it is opened again, and whole.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	type name struct{ run, writer, number int }
	acknowledged := map[name]bool{}
	for _, acks := range []int{1, 0, 50, 0, 400, 1500} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if acks == 0 {
			cmd.Process.Kill() // while it opens
		}
		for lines, n := bufio.NewScanner(out), 0; lines.Scan(); {
			var id name
			if _, err := fmt.Sscan(lines.Text(), &id.run, &id.writer, &id.number); err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			acknowledged[id] = true
			if n++; n == acks {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
	}

	entries := storetest.ReadLog(t, openTest(t, testConfig(dir)).Events(), 0)
	next := map[name]int{}
	for _, entry := range entries {
		w, i := storetest.BatchName(entry.Events)
		id := name{int(entry.Events[0].Node), w, i}
		if !slices.Equal(entry.Events, childBatch(id.run, w, i)) {
			t.Fatalf("batch %v has changed", id)
		}
		if next[name{id.run, w, 0}] != i {
			t.Fatalf("batch %v came where number %d was due", id, next[name{id.run, w, 0}])
		}
		next[name{id.run, w, 0}]++
		delete(acknowledged, id)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d of the acknowledged batches are not among the %d in the log", len(acknowledged), len(entries))
	}
}
