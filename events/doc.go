// Package events knows what happens after a bid: the sealed tokens that a bid
// carries into its notice URLs, which notices are repeats, and the log that
// keeps them.
//
// It also has the way into the log: [Writer] gathers events into batches and
// answers once they are durable, [Samples] passes on what may be lost, and
// [AppendBatch] is the form in which a batch is kept.
//
// A token is an event waiting to happen. It is sealed with AES-256-GCM, so
// that nobody outside can read it, forge a notice or change what one says.
package events
