package nats

import (
	"context"
	"fmt"
	"runtime"
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
