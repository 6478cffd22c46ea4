package admin

import (
	"context"
	"strconv"
	"sync"
)

// names finds documents by their numbers, for what the bidder knows by number
// alone. It reads the documents of a kind once a version.
type names struct {
	mu      sync.Mutex
	version uint64
	kinds   map[string]map[uint32]string
}

// of is the id of a document, or its number after a # when it was deleted. Ids
// have no #.
func (n *names) of(ctx context.Context, docs Documents, kind string, number uint32) (string, error) {
	all, err := n.all(ctx, docs, kind)
	if err != nil {
		return "", err
	}
	return nameOf(all, number), nil
}

func nameOf(all map[uint32]string, number uint32) string {
	if id, ok := all[number]; ok {
		return id
	}
	return "#" + strconv.FormatUint(uint64(number), 10)
}

// all are the ids of a kind by number. The map must not be changed.
func (n *names) all(ctx context.Context, docs Documents, kind string) (map[uint32]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	version, err := docs.Version(ctx)
	if err != nil {
		return nil, err
	}
	if version != n.version || n.kinds == nil {
		n.version, n.kinds = version, map[string]map[uint32]string{}
	}
	if all, ok := n.kinds[kind]; ok {
		return all, nil
	}
	// A document that is put meanwhile is missing until the version is read
	// again, which is at the next call.
	all := map[uint32]string{}
	err = eachOf(ctx, docs, kind, func(id string, number uint32, _ uint64, _ []byte) error {
		all[number] = id
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.kinds[kind] = all
	return all, nil
}
