package events

import (
	"context"

	"bidwell/rtb"
)

// Log is the ordered, durable stream of what happened. It is declared here,
// where it is called, and implemented by package store/nats.
//
// A batch has a position: a number that grows from batch to batch, by any
// step, and never changes. A consumer keeps the position of the last batch it
// has applied together with what it made of it, in one write, and asks for
// what comes after; so a batch that it is given twice changes nothing.
type Log interface {
	// Append adds a batch and returns when it is on disk, to survive the loss
	// of power. After an error the batch may or may not be part of the log. It
	// may be called concurrently, and the batch is the caller's again when it
	// returns.
	Append(ctx context.Context, batch []rtb.Event) error

	// Consume calls apply with all batches after a position, in their order and
	// one at a time, those of the future included, until ctx ends or apply
	// returns an error; it returns ctx.Err() or that error. The batch is apply's
	// until it returns. A batch that cannot be read is an error that names its
	// position, and so is a position that the log has never reached.
	Consume(ctx context.Context, after uint64, apply func(position uint64, batch []rtb.Event) error) error

	// Last is the position of the newest batch, zero while there is none.
	Last(ctx context.Context) (uint64, error)
}
