package nats

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bidwell/rtb"
	"bidwell/store/storetest"
)

// A log whose disk was full goes on when there is room again, in the same
// process, with all that it had taken and a consumer that misses nothing.
func TestGoesOnAfterADiskWasFull(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+t.TempDir(), childRoom+"=3000000")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "went on\n") {
		t.Errorf("%v, %s", err, out)
	}
}

// runOutOfRoom is the child: its files may not grow past room until the log has
// refused a batch.
func runOutOfRoom(dir string, room uint64) {
	fail := func(format string, v ...any) {
		fmt.Printf(format+"\n", v...)
		os.Exit(1)
	}
	signal.Ignore(unix.SIGXFSZ) // then a write fails
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		fail("limit: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Open(ctx, testConfig(dir))
	if err != nil {
		fail("open: %v", err)
	}
	defer s.Close()
	applied := make(chan int, 1000)
	go s.Events().Consume(ctx, 0, func(_ uint64, batch []rtb.Event) error {
		_, number := storetest.BatchName(batch)
		applied <- number
		return nil
	})

	small := limit
	small.Cur = room
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &small); err != nil {
		fail("limit: %v", err)
	}
	try := func(number int) error {
		ctx, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		defer stop()
		return s.Events().Append(ctx, storetest.Batch(1, number, 1000))
	}
	var taken []int
	number := 0
	for ; err == nil; number++ {
		if number > 500 {
			fail("%d batches fit", number)
		}
		if err = try(number); err == nil {
			taken = append(taken, number)
		}
	}
	for range 3 { // it stays so, and is not tried while there is no room
		time.Sleep(revivePause / 2)
		if try(number) == nil {
			fail("a full disk has taken a batch")
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		fail("limit: %v", err)
	}
	for after := range 3 {
		number++
		for {
			err := try(number)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				fail("batch %d after the disk was full: %v", after, err)
			}
		}
		taken = append(taken, number)
	}
	var got []int
	for len(got) == 0 || got[len(got)-1] != number {
		select {
		case n := <-applied:
			got = append(got, n)
		case <-ctx.Done():
			fail("a consumer has seen %v of %v", got, taken)
		}
	}
	// What was not acknowledged may be there all the same.
	for _, n := range taken {
		if !slices.Contains(got, n) {
			fail("batch %d was taken and is gone: %v", n, got)
		}
	}
	fmt.Println("went on")
	os.Exit(0)
}
