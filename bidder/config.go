// Package bidder answers the bid requests of ad exchanges.
//
// [Bidder.Serve] runs the public listener. A request goes through serveBid:
// shed or decode, decide, encode. [Bidder.Bid] is the decision alone, and
// [Bidder.Explain] runs the same code and says what it did. Nothing on this
// path allocates, logs or waits, but for one bounded read of the user's
// profile.
package bidder

import (
	"errors"
	"time"
)

// Config sets how the bidder serves bid requests. The zero value is not
// valid; start from [DefaultConfig].
type Config struct {
	Listen string // address for exchanges and browsers, such as ":8080"

	// MaxWait bounds the work on one request when the exchange sends no tmax
	// and its profile has none.
	MaxWait time.Duration

	// MaxBody refuses larger requests with 413, in bytes; it bounds inflated
	// bodies as well.
	MaxBody int

	// ReadTimeout bounds the arrival of one request, from its first byte to its
	// last, and WriteTimeout that of the answer. IdleTimeout is how long a
	// connection may wait for its next request.
	ReadTimeout, WriteTimeout, IdleTimeout time.Duration

	// MaxDelay is how long requests may wait for a processor before a part of
	// them is shed.
	MaxDelay time.Duration

	// Holds is how many bids in flight frequency caps can count at a time, 40
	// bytes each, and HoldTimeout how long one counts of which nothing is heard;
	// see [Exposures]. Zero means DefaultHolds and pacing.HoldTimeout.
	Holds       int
	HoldTimeout time.Duration

	// SampleShare is the part of the bids that is kept as samples, 0 to 1.
	SampleShare float64

	// Explore is what the choice among creatives, and that among line items, may
	// give up to learn, as a part of what always showing the best known would
	// bring, 0 to 1. What is paid is by the prediction for the creative that is
	// shown.
	Explore float64

	// MaxConns is how many connections are served at a time.
	MaxConns int
}

// DefaultConfig returns settings that suit an exchange in the same region.
func DefaultConfig() Config {
	return Config{
		Listen:       ":8080",
		MaxWait:      80 * time.Millisecond,
		MaxBody:      4 << 20,
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 5 * time.Second,
		IdleTimeout:  150 * time.Second,
		MaxDelay:     25 * time.Millisecond,
		Explore:      0.02,
		MaxConns:     100_000,
	}
}

// Validate reports every setting that is wrong, not only the first.
func (c Config) Validate() error {
	var errs []error
	if c.Listen == "" {
		errs = append(errs, errors.New("listen: empty address"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"max-wait", c.MaxWait}, {"read-timeout", c.ReadTimeout}, {"write-timeout", c.WriteTimeout},
		{"idle-timeout", c.IdleTimeout}, {"max-delay", c.MaxDelay},
	} {
		if d.value <= 0 {
			errs = append(errs, errors.New(d.name+": must be positive"))
		}
	}
	if c.MaxBody < 1024 {
		errs = append(errs, errors.New("max-body: must be at least 1024 bytes"))
	}
	if !(c.Explore >= 0 && c.Explore <= 1) {
		errs = append(errs, errors.New("explore: must be from 0 to 1"))
	}
	if c.MaxConns < 1 {
		errs = append(errs, errors.New("max-conns: must be at least 1"))
	}
	return errors.Join(errs...)
}
