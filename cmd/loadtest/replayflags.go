package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"bidwell/loadtest"
)

// checkReplayFlags reports every flag that was given and would change nothing.
// A setting of [loadtest.Replay] that is zero means its default, and a default
// is had by leaving the flag out.
func checkReplayFlags(flags *pflag.FlagSet, auction loadtest.AuctionKind, shade bool) error {
	var errs []error
	given := func(name string, value ...string) bool {
		f := flags.Lookup(name)
		return f.Changed && (len(value) == 0 || slices.Contains(value, f.Value.String()))
	}
	for _, name := range [...]string{"pacing", "losses", "feedback", "profile"} {
		if given(name, "") {
			errs = append(errs, fmt.Errorf("%s: nothing is given: leave --%[1]s out for the default", name))
		}
	}
	for _, name := range [...]string{"bidders", "start-multiplier", "hold"} {
		if given(name, "0", "0s") {
			errs = append(errs, fmt.Errorf("%s: want more than 0; leave --%[1]s out for the default", name))
		}
	}
	for _, name := range [...]string{"shade", "feedback", "control"} {
		switch {
		case !given(name):
		case auction != loadtest.AuctionFirst:
			errs = append(errs, fmt.Errorf("%s: only bids in first-price auctions are shaded: want --auction first", name))
		case !shade && name != "shade":
			errs = append(errs, fmt.Errorf("%s: no bid is shaded with --shade=false", name))
		}
	}
	return errors.Join(errs...)
}
