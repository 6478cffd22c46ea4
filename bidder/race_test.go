//go:build race

package bidder

// Under the race detector a sync.Pool drops some of what is put back, by
// chance, so that nothing can be said of allocations.
func init() { racing = true }
