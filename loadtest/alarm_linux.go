package loadtest

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm waits with the precision of the kernel's timers, some 50 us. The
// runtime rounds a sleep up to the next millisecond when a program is
// otherwise idle, which would be most of the latency of a fast bidder.
type alarm struct {
	fd   int
	file *os.File // the same descriptor, in the runtime's poller
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &alarm{fd, os.NewFile(uintptr(fd), "alarm")}, nil
}

// wait returns after d, or at once with an error after interrupt.
func (a *alarm) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := unix.TimerfdSettime(a.fd, 0, &spec, nil); err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	var expired [8]byte
	_, err := a.file.Read(expired[:])
	return err
}

// interrupt ends a wait, and all later ones. Anyone may call it.
func (a *alarm) interrupt() { a.file.SetReadDeadline(time.Unix(1, 0)) }

func (a *alarm) close() { a.file.Close() }
