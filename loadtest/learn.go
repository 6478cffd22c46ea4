package loadtest

import (
	"context"
	"errors"
	"fmt"
)

// Learn runs the market against a bidder of its own that has nothing to learn
// from but what it buys, and compares what it makes with what could be made of
// the impressions on offer. Nothing is killed.
func Learn(ctx context.Context, cfg CrashConfig) (_ *Scorecard, err error) {
	cfg.Exchange.Surplus = true
	if cfg.Kills != 0 {
		return nil, errors.New("learn: kills: must be 0")
	}
	// A second of a machine is half an hour of the day: notices are no later
	// than that, and no reason to stop.
	cfg.Settings = append([]string{"--pacing.silence", "24h"}, cfg.Settings...)
	v, err := newVictim(&cfg)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.prepare(ctx); err != nil {
		return nil, err
	}
	cfg.Exchange.Watch = v.watch(nil)
	return RunExchange(ctx, cfg.Exchange)
}
