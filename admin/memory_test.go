package admin_test

import (
	"context"
	"maps"
	"slices"

	"bidwell/rtb"
)

// memory keeps documents in a map, for the fuzzer: instrumented SQLite makes a
// handful of runs a second.
type memory struct {
	version uint64
	kinds   map[string]map[string][]byte

	// Of what was put: the number and the version.
	editions map[[2]string][2]uint64
	last     uint32
}

func (m *memory) Version(context.Context) (uint64, error) { return m.version, nil }

func (m *memory) Get(_ context.Context, kind, id string) ([]byte, uint32, uint64, error) {
	body, ok := m.kinds[kind][id]
	if !ok {
		return nil, 0, 0, rtb.ErrNotFound
	}
	return body, 1, 1, nil
}

func (m *memory) List(_ context.Context, kind, after string, limit int, each func(id string, number uint32, version uint64, body []byte) error) error {
	for i, id := range slices.Sorted(maps.Keys(m.kinds[kind])) {
		if id <= after {
			continue
		}
		if limit--; limit < 0 {
			return nil
		}
		number, version := uint32(i+1), uint64(1)
		if e, ok := m.editions[[2]string{kind, id}]; ok {
			number, version = uint32(e[0]), e[1]
		}
		if err := each(id, number, version, m.kinds[kind][id]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Put(_ context.Context, kind, id string, body []byte, _ uint64) (uint32, uint64, error) {
	if m.kinds[kind] == nil {
		m.kinds[kind] = map[string][]byte{}
	}
	m.kinds[kind][id] = body
	m.version++
	if m.editions == nil {
		m.editions = map[[2]string][2]uint64{}
	}
	at := [2]string{kind, id}
	e, ok := m.editions[at]
	if !ok {
		m.last++
		e[0] = uint64(m.last)
	}
	m.editions[at] = [2]uint64{e[0], m.version}
	return uint32(e[0]), m.version, nil
}

func (m *memory) Delete(_ context.Context, kind, id string, _ uint64) error {
	delete(m.kinds[kind], id)
	delete(m.editions, [2]string{kind, id})
	m.version++
	return nil
}

func (m *memory) View(ctx context.Context, do func(context.Context) error) error   { return do(ctx) }
func (m *memory) Update(ctx context.Context, do func(context.Context) error) error { return do(ctx) }
