package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bidwell/events"
	"bidwell/pacing"
	"bidwell/rtb"
)

// sickLog takes batches as long as it is well.
type sickLog struct {
	events.Log
	sick atomic.Bool
}

func (l *sickLog) Append(context.Context, []rtb.Event) error {
	if l.sick.Load() {
		return errors.New("disk is full")
	}
	return nil
}

// Nothing is leased while what bids cost cannot be written down or booked, and
// bidding goes on by itself when it can.
func TestNothingIsLeasedWithoutBooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &sickLog{}
		b := &books{writer: events.NewWriter(log, events.WriterConfig{})}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.writer.Run(ctx) }()
		accounts := leased{pacing.NewMemory(), b}
		check := func(when string, well bool) {
			t.Helper()
			grants, err := accounts.Lease(ctx, 1, time.Now(), []pacing.Ask{{Account: 8, Total: 100, Granted: 10, Until: time.Now().Add(time.Hour)}})
			if (err == nil) != well || well && grants[0].Granted != 10 {
				t.Errorf("%s: Lease = %v, %v", when, grants, err)
			}
		}
		check("at first", true)
		log.sick.Store(true)
		if err := b.writer.Write(&rtb.Event{}, time.Now().Add(time.Second)); err == nil {
			t.Fatal("a sick log has taken an event")
		}
		check("after a second of trouble", true)
		time.Sleep(maxFailing)
		check("after a long one", false)
		log.sick.Store(false)
		time.Sleep(5 * time.Second)
		check("well again", true)
		b.behind.Store(true)
		check("the ledger is stuck", false)
		b.behind.Store(false)
		check("the ledger goes on", true)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
