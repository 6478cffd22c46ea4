package loadtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// pollConn is one connection with one request in flight.
type pollConn struct {
	fd   int
	next int    // of the requests
	left int    // requests it may still send
	in   []byte // of the answer, as far as it has come
}

// poll sends requests over some connections, one at a time on each, for about
// the given time: round and round, or each once. It never sleeps: a generator that does has to
// be woken by the server's writes, which the server then pays for, and the more
// the less busy the generator is.
func poll(address string, requests [][]byte, conns int, duration time.Duration, once bool) (out sample, err error) {
	peer, err := netip.ParseAddrPort(address)
	if err != nil || !peer.Addr().Is4() {
		return out, fmt.Errorf("address %q: want an IPv4 address and a port", address)
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return out, err
	}
	defer unix.Close(ep)
	all := make([]pollConn, conns)
	for i := range all {
		c := &all[i]
		if c.fd, err = dialPolled(peer); err != nil {
			return out, err
		}
		defer unix.Close(c.fd)
		c.next, c.left = i*len(requests)/conns, math.MaxInt
		if once {
			c.left = (i+1)*len(requests)/conns - c.next
		}
		c.in = make([]byte, 0, 64<<10)
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
			return out, err
		}
		if err := c.send(requests); err != nil {
			return out, err
		}
	}
	events := make([]unix.EpollEvent, conns)
	end := time.Now().Add(duration)
	idle := end.Add(5 * time.Second)
	for busy := conns; busy > 0; {
		n, err := unix.EpollWait(ep, events, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return out, err
		}
		now := time.Now()
		if now.After(idle) {
			return out, errors.New("the server has stopped answering")
		}
		for _, event := range events[:max(n, 0)] {
			c := &all[event.Fd]
			answered, err := c.receive(&out)
			if err != nil {
				return out, err
			}
			if !answered {
				continue
			}
			if now.After(end) || c.left == 0 {
				busy--
			} else if err := c.send(requests); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func dialPolled(peer netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(peer.Port()), Addr: peer.Addr().As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(fd, true),
	)
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("connect to %s: %w", peer, err)
	}
	return fd, nil
}

// send writes the connection's next request.
func (c *pollConn) send(requests [][]byte) error {
	rest := requests[c.next%len(requests)]
	c.next++
	c.left--
	for len(rest) > 0 {
		n, err := unix.Write(c.fd, rest)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("send: %w", err)
		}
		rest = rest[max(n, 0):]
	}
	return nil
}

var (
	headEnd      = []byte("\r\n\r\n")
	lengthHeader = []byte("\r\nContent-Length: ")
)

// receive reads what has come, and counts the answer if that is all of it.
func (c *pollConn) receive(out *sample) (answered bool, err error) {
	n, err := unix.Read(c.fd, c.in[len(c.in):cap(c.in)])
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	if err != nil || n == 0 {
		return false, errors.Join(errors.New("the server closed a connection"), err)
	}
	c.in = c.in[:len(c.in)+n]
	head := bytes.Index(c.in, headEnd)
	if head < 0 || len(c.in) < 12 {
		return false, nil
	}
	length := 0
	if at := bytes.Index(c.in[:head], lengthHeader); at >= 0 {
		digits := c.in[at+len(lengthHeader) : head]
		if i := bytes.IndexByte(digits, '\r'); i >= 0 {
			digits = digits[:i]
		}
		if length, err = parseLength(digits); err != nil {
			return false, err
		}
	}
	total := head + len(headEnd) + length
	if total > cap(c.in) {
		return false, errAnswerTooLarge
	}
	if len(c.in) < total {
		return false, nil
	}
	out.requests++
	switch string(c.in[9:12]) {
	case "200":
		out.bids++
		out.bytes += int64(length)
	case "204":
	default:
		out.failures++
	}
	c.in = c.in[:0]
	return true, nil
}
