//go:build !linux

package loadtest

import (
	"os"
	"sync"
	"time"
)

// alarm waits as precisely as the runtime does.
type alarm struct {
	stopped chan struct{}
	once    sync.Once
}

func newAlarm() (*alarm, error) { return &alarm{stopped: make(chan struct{})}, nil }

// wait returns after d, or at once with an error after interrupt.
func (a *alarm) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-a.stopped:
		return os.ErrClosed
	}
}

// interrupt ends a wait, and all later ones. Anyone may call it.
func (a *alarm) interrupt() { a.once.Do(func() { close(a.stopped) }) }

func (a *alarm) close() {}
