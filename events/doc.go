// Package events knows what happens after a bid: the sealed token that a bid
// carries into its notice URLs, and which notices are repeats.
//
// A token is an event waiting to happen. It is sealed with AES-256-GCM, so
// that nobody outside can read it, forge a notice or change what one says.
package events
