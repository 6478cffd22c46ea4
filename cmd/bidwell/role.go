package main

import (
	"errors"
	"fmt"
)

// The roles of a process.
const (
	roleAll   = "all"
	roleTrain = "train" // it learns, for bidders that are other processes
)

// checkRole reports settings that do not go with what the process does. One
// file may serve both roles, so what a role has no use for is no mistake.
func (c *config) checkRole(simulated bool) error {
	var errs []error
	switch c.Role {
	case roleAll:
		if c.Log.Listen != "" && c.Log.URL != "" {
			errs = append(errs, errors.New("log.listen: the log is that of log.url, which listens by itself"))
		}
		if c.Log.Listen != "" && !loopback(c.Log.Listen) {
			errs = append(errs, fmt.Errorf("log.listen: %q is not a loopback address: what is read there travels in the clear", c.Log.Listen))
		}
	case roleTrain:
		if c.Log.URL == "" {
			errs = append(errs, errors.New("log.url: role train learns from a log elsewhere: that of a NATS server, or of a bidder with log.listen, such as nats://127.0.0.1:4222"))
		}
		if simulated {
			errs = append(errs, errors.New("simulated-time: requests move it, and role train gets none"))
		}
	default:
		errs = append(errs, fmt.Errorf("role: %q is neither all nor train", c.Role))
	}
	return errors.Join(errs...)
}
