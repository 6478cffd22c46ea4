package nats

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bidwell/events"
	"bidwell/rtb"
	"bidwell/store/storetest"
)

// BenchmarkWriter writes single events through the whole way to the disk.
func BenchmarkWriter(b *testing.B) {
	for _, writers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			w := events.NewWriter(openTest(b, testConfig(b.TempDir())).Events(), events.WriterConfig{})
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { w.Run(ctx) })
			e := storetest.Batch(1, 1, 1)[0]

			b.ReportAllocs()
			b.SetParallelism(max(writers/runtime.GOMAXPROCS(0), 1))
			before := cpuTime()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := w.Write(&e, time.Now().Add(10*time.Second)); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			cancel()
			running.Wait()
		})
	}
}

// cpuTime is the processor time that this process has used, the system's
// included.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkConsume reads a log of batches of several sizes.
func BenchmarkConsume(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			log := openTest(b, testConfig(b.TempDir())).Samples() // filled faster
			for i := range 2000 {
				if err := log.Append(b.Context(), storetest.Batch(1, i, size)); err != nil {
					b.Fatal(err)
				}
			}
			last, err := log.Last(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			read := 0
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				log.Consume(ctx, 0, func(position uint64, batch []rtb.Event) error {
					if read += len(batch); position == last {
						cancel()
					}
					return nil
				})
				cancel()
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkOpen opens a log of a million events after its process was killed.
// They are in the log of samples, which is filled faster and read alike.
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{100, 1} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childDir+"="+dir, childSize+"="+strconv.Itoa(size))
			if out, _ := cmd.Output(); len(out) > 0 {
				b.Fatalf("the child says %q", out)
			}
			killed := b.TempDir()
			for b.Loop() {
				b.StopTimer()
				if err := os.RemoveAll(killed); err != nil {
					b.Fatal(err)
				}
				if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				s := openTest(b, testConfig(killed))
				b.StopTimer()
				last, err := s.Samples().Last(b.Context())
				if missing := s.samples.start + uint64(million/size) - last; err != nil || missing > 1000 {
					b.Fatalf("%d batches are missing: %v", missing, err)
				}
				s.Close()
				b.StartTimer()
			}
		})
	}
}

const million = 1_000_000

// fillAndDie is the child of BenchmarkOpen.
func fillAndDie(dir string, size int) {
	s, err := Open(context.Background(), testConfig(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := range million / size / 16 {
				if err := s.Samples().Append(context.Background(), storetest.Batch(w, i, size)); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
			}
		})
	}
	all.Wait()
	unix.Kill(os.Getpid(), unix.SIGKILL)
}
