package audience

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"bidwell/rtb"
)

// Mode is what an upload does to the members a segment already has.
type Mode uint8

// The modes.
const (
	Add     Mode = iota // the uploaded users join
	Replace             // the uploaded users are the segment from now on
	Remove              // the uploaded users leave
)

var modeNames = [...]string{Add: "add", Replace: "replace", Remove: "remove"}

// String is the name that [ParseMode] reads.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode reads "add", "replace" or "remove"; nothing means "add".
func ParseMode(name string) (Mode, error) {
	if name == "" {
		return Add, nil
	}
	for m, known := range modeNames {
		if name == known {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("mode %q: want add, replace or remove", name)
}

// Change is one change of a segment's members.
type Change struct {
	Segment rtb.SegmentID
	Mode    Mode
	Until   time.Time // when the membership ends; zero for never
}

// Outcome counts what a [Change] did. Each user read is counted once in Added,
// Already, Removed, Missing, Duplicate, OptedOut or Full; Matched and Dropped
// stand beside them.
type Outcome struct {
	Added     int // members now that were not before
	Already   int // members before and after; Until may have been extended
	Removed   int // members before that are none now, because they were listed
	Missing   int // listed for removal, but not members
	Duplicate int // the same user again in the same list
	OptedOut  int // not added, because they do not want to be known
	Full      int // not added, because they are in too many segments
	Matched   int // known in some way before, whatever became of them
	Dropped   int // members before a Replace that it did not list
}

// ErrUnfinished means that a change counts but could not be brought to its
// end: the store does that before the next change, or when it is next opened.
var ErrUnfinished = errors.New("accepted but not finished")

// Profiles stores the members of segments. It is declared here, where it is
// called, and implemented by the stores.
type Profiles interface {
	// Change applies c to users, in any order and with duplicates. It is all or
	// nothing: when users yields an error, that error is returned and nothing
	// has changed; when the process dies, the store when next opened has done
	// all of it or nothing. An error other than ErrUnfinished means nothing.
	// During a Replace readers see the old members until they see the new ones.
	//
	// Until the last user was read, ending ctx breaks it off. After that it
	// runs to its end.
	Change(ctx context.Context, now time.Time, c Change, users iter.Seq2[rtb.UserID, error]) (Outcome, error)

	// SegmentSize is how many members the segment has at this time.
	SegmentSize(now time.Time, segment rtb.SegmentID) int64
}
