package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"bidwell/rtb"
)

// The warning is news once, not with every change of any campaign.
func TestCapsAreWarnedOfOnce(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	capped := func(n int) []rtb.LineItem {
		items := make([]rtb.LineItem, 3)
		for i := range n {
			items[i].Caps = make([]rtb.FrequencyCap, 1)
		}
		return items
	}
	s := &server{}
	for _, step := range []struct{ items, warnings int }{{0, 0}, {1, 1}, {1, 1}, {2, 2}, {0, 2}, {2, 3}} {
		s.warnOfCaps(capped(step.items))
		if got := strings.Count(log.String(), "frequency caps"); got != step.warnings {
			t.Errorf("%d warnings with %d line items, want %d", got, step.items, step.warnings)
		}
	}
}
