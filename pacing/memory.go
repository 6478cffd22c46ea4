package pacing

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"bidwell/rtb"
)

// Memory are Accounts that live as long as the process: for replays, which
// begin anew each time, and for tests. Bids are never forgotten.
type Memory struct {
	mu       sync.Mutex
	position uint64
	rows     map[rtb.AccountID]*Row
	seen     map[rtb.BidID]Kinds
}

// NewMemory returns accounts on which nothing has been spent.
func NewMemory() *Memory {
	return &Memory{rows: map[rtb.AccountID]*Row{}, seen: map[rtb.BidID]Kinds{}}
}

// Book is that of [Accounts].
func (m *Memory) Book(_ context.Context, position uint64, notices []Notice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range notices {
		n := &notices[i]
		if position <= m.position {
			n.Seen = ^Kinds(0)
			continue
		}
		n.Seen = m.seen[n.Bid]
		m.seen[n.Bid] = n.After()
		n.Book(m.row)
	}
	m.position = max(m.position, position)
	return nil
}

func (m *Memory) row(id rtb.AccountID) *Row {
	if m.rows[id] == nil {
		m.rows[id] = new(Row)
	}
	return m.rows[id]
}

// Position is that of [Accounts].
func (m *Memory) Position(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.position, nil
}

// Lease is that of [Accounts].
func (m *Memory) Lease(_ context.Context, node uint32, now time.Time, asks []Ask) ([]Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	grants := make([]Grant, len(asks))
	for i, a := range asks {
		grants[i] = m.row(a.Account).Lease(node, now, a)
	}
	return grants, nil
}

// Statements is that of [Accounts].
func (m *Memory) Statements(_ context.Context, now time.Time) ([]Statement, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Statement, 0, len(m.rows))
	for id, r := range m.rows {
		list = append(list, r.Statement(id, now))
	}
	slices.SortFunc(list, func(a, b Statement) int { return cmp.Compare(a.Account, b.Account) })
	return list, nil
}
