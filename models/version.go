package models

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"bidwell/rtb"
)

// Version is one model in the registry, without its body: where it comes from,
// how good it was when it was trained, and what it does now. Number, origin,
// body and metrics never change, the status does.
type Version struct {
	Number   uint32 // rising, never given twice; bids carry it
	Revision uint64 // counts the changes of all versions; this is that of its last
	Origin   Origin
	Created  time.Time
	Metrics  Metrics // of its training, each example predicted before it was learned from
	Size     int64   // of the body, in bytes
	SHA256   [32]byte
	Kept     bool // the body is still there
	Held     bool // an experiment names it, so that its body stays

	Status Status
	Since  time.Time // when it got its status
	Share  Share     // of a canary
	Pinned bool      // of the live one: a person chose it, so that what is learned does not take its place
	Before uint32    // of one that is or was live: the one that was live until then; zero for none
	Reason string    // why it was rolled back
}

// Origin is where a version comes from.
type Origin uint8

// The origins.
const (
	FromStarter Origin = iota + 1 // built into the program
	FromFile                      // uploaded
	FromLearner                   // learned from the log while bidding
)

var originNames = [...]string{FromStarter: "starter", FromFile: "file", FromLearner: "online"}

// Status is what a version does.
type Status uint8

// The statuses. There is one live version, and at most one canary.
const (
	Shadow     Status = iota + 1 // it predicts nothing that counts, but is compared
	Canary                       // it predicts for a share of the users
	Live                         // it predicts for all the others
	Retired                      // it has been live, or never will be
	RolledBack                   // it was taken out of service because it predicted badly
)

var statusNames = [...]string{Shadow: "shadow", Canary: "canary", Live: "live", Retired: "retired", RolledBack: "rolled-back"}

// String is the name that the API uses.
func (o Origin) String() string { return nameIn(originNames[:], int(o)) }

// String is the name that the API uses.
func (s Status) String() string { return nameIn(statusNames[:], int(s)) }

func nameIn(names []string, i int) string {
	if i > 0 && i < len(names) {
		return names[i]
	}
	return "unknown"
}

// ParseStatus finds a status by its name.
func ParseStatus(name string) (Status, error) {
	if i := slices.Index(statusNames[:], name); i > 0 {
		return Status(i), nil
	}
	return 0, fmt.Errorf("status %q: unknown", name)
}

// ParseOrigin finds an origin by its name.
func ParseOrigin(name string) (Origin, error) {
	if i := slices.Index(originNames[:], name); i > 0 {
		return Origin(i), nil
	}
	return 0, fmt.Errorf("origin %q: unknown", name)
}

// Share is a part of the users, in ten-thousandths.
type Share uint16

// WholeShare is all of them.
const WholeShare Share = 10_000

// What is wrong with a change of a version's status. [rtb.ErrNotFound] says
// that there is no such version.
var (
	ErrNoBody     = errors.New("its body is not kept any more")
	ErrTransition = errors.New("nothing was changed")
)

// Versions are all of them, by number. The methods that change anything leave
// them as they are and return the versions that become different.
type Versions []Version

// Of is the version with a number, or nil.
func (v Versions) Of(number uint32) *Version {
	i, ok := slices.BinarySearchFunc(v, number, func(x Version, n uint32) int { return cmp.Compare(x.Number, n) })
	if !ok {
		return nil
	}
	return &v[i]
}

// Live is the one that bids are priced by, or nil.
func (v Versions) Live() *Version { return v.last(func(x *Version) bool { return x.Status == Live }) }

// Canary is the one on trial, or nil.
func (v Versions) Canary() *Version {
	return v.last(func(x *Version) bool { return x.Status == Canary })
}

func (v Versions) last(is func(*Version) bool) *Version {
	for i := len(v) - 1; i >= 0; i-- {
		if is(&v[i]) {
			return &v[i]
		}
	}
	return nil
}

// Promote makes a version live. The one that was live is retired, and this one
// remembers it. Pinned says that a person has chosen it.
func (v Versions) Promote(number uint32, pinned bool, now time.Time) (Versions, error) {
	next, err := v.usable(number)
	if err != nil {
		return nil, err
	}
	live := v.Live()
	if live != nil && live.Number == number {
		next.Pinned = pinned
		return Versions{next}, nil
	}
	next.become(Live, now)
	next.Pinned = pinned
	if live == nil {
		return Versions{next}, nil
	}
	next.Before = live.Number
	former := *live
	former.become(Retired, now)
	return Versions{former, next}, nil
}

// Try makes a version the canary, for a share of the users. The canary before
// becomes a shadow again.
func (v Versions) Try(number uint32, share Share, now time.Time) (Versions, error) {
	if share == 0 || share >= WholeShare {
		return nil, fmt.Errorf("version %d: a canary needs a share between none and all of the users: %w", number, ErrTransition)
	}
	next, err := v.usable(number)
	if err != nil {
		return nil, err
	}
	if next.Status == Live {
		return nil, fmt.Errorf("version %d is live, not a canary: %w", number, ErrTransition)
	}
	var changed Versions
	canary := v.Canary()
	if canary == nil || canary.Number != number {
		next.become(Canary, now)
	}
	next.Share = share
	if canary != nil && canary.Number != number {
		former := *canary
		former.become(Shadow, now)
		changed = append(changed, former)
	}
	return append(changed, next), nil
}

// Rollback takes the live version or the canary out of service. In place of the
// live one the version comes back that was live before it.
func (v Versions) Rollback(number uint32, reason string, pinned bool, now time.Time) (Versions, error) {
	found := v.Of(number)
	if found == nil {
		return nil, unknownVersion(number)
	}
	bad := *found
	switch bad.Status {
	case Canary:
		bad.become(RolledBack, now)
		bad.Reason = reason
		return Versions{bad}, nil
	case Live:
	default:
		return nil, fmt.Errorf("version %d is %s, only what is live or canary is rolled back: %w", number, bad.Status, ErrTransition)
	}
	previous := v.previous(&bad)
	if previous == nil {
		return nil, fmt.Errorf("version %d: there is none left that was live before it: %w", number, ErrTransition)
	}
	back, chosen := *previous, bad.Pinned
	bad.become(RolledBack, now)
	bad.Reason = reason
	back.become(Live, now)
	back.Pinned = pinned && !chosen // what a person had chosen is gone, and with it that what is learned must wait
	return Versions{bad, back}, nil
}

// previous is what was live before a version, has not been rolled back itself
// and still has its body; nil for none.
func (v Versions) previous(of *Version) *Version {
	for range v { // no longer, for versions can have been live before each other
		if of = v.Of(of.Before); of == nil {
			return nil
		}
		if of.Kept && of.Status != RolledBack && of.Status != Live {
			return of
		}
	}
	return nil
}

// Retire takes a shadow or the canary out of the comparison.
func (v Versions) Retire(number uint32, now time.Time) (Versions, error) {
	found := v.Of(number)
	if found == nil {
		return nil, unknownVersion(number)
	}
	if found.Status != Shadow && found.Status != Canary {
		return nil, fmt.Errorf("version %d is %s, only a shadow or a canary is retired: %w", number, found.Status, ErrTransition)
	}
	next := *found
	next.become(Retired, now)
	return Versions{next}, nil
}

// Admit adds a version: live where there is none, and else a shadow. One that
// was learned while bidding and is fit takes the place of the live one at once,
// unless a person chose that, and of the shadow that was learned before it.
func (v Versions) Admit(next Version, fit bool, now time.Time) Versions {
	next.Number, next.Kept = 1, true
	if len(v) > 0 {
		next.Number = v[len(v)-1].Number + 1
	}
	live := v.Live()
	next.become(Shadow, now)
	var changed Versions
	if next.Origin == FromLearner {
		for i := range v {
			if v[i].Origin == FromLearner && v[i].Status == Shadow {
				former := v[i]
				former.become(Retired, now)
				changed = append(changed, former)
			}
		}
	}
	switch {
	case live == nil:
		next.become(Live, now)
	case next.Origin == FromLearner && fit && !live.Pinned:
		former := *live
		former.become(Retired, now)
		changed = append(changed, former)
		next.become(Live, now)
		next.Before = live.Number
	}
	return append(changed, next)
}

// Hold has the versions with these numbers keep their bodies as long as they are
// held; only lets go of all others.
func (v Versions) Hold(numbers []uint32, only bool) (changed Versions) {
	for _, x := range v {
		switch named := x.Kept && slices.Contains(numbers, x.Number); {
		case named && !x.Held:
			x.Held = true
		case !named && x.Held && only:
			x.Held = false
		default:
			continue
		}
		changed = append(changed, x)
	}
	return changed
}

func (v *Version) become(s Status, now time.Time) {
	v.Status, v.Since, v.Share, v.Pinned, v.Reason = s, now, 0, false, ""
}

// usable is a copy of a version whose body is kept.
func (v Versions) usable(number uint32) (Version, error) {
	found := v.Of(number)
	if found == nil {
		return Version{}, unknownVersion(number)
	}
	if !found.Kept {
		return Version{}, fmt.Errorf("version %d: %w", number, ErrNoBody)
	}
	return *found, nil
}

func unknownVersion(number uint32) error {
	return fmt.Errorf("version %d: %w", number, rtb.ErrNotFound)
}

// How long bodies and versions are kept.
const (
	keepLast   = 20                  // bodies of the last versions, whatever became of them
	keepDaily  = 30 * 24 * time.Hour // one body of each day
	keepRecord = 90 * 24 * time.Hour // what is known of a version without its body
)

// Old are the versions whose body need not be kept any more, and those of which
// nothing need be kept. What serves, is on trial, is compared or is held stays,
// and what the live version would be rolled back to.
func (v Versions) Old(now time.Time) (bodies Versions, gone []uint32) {
	before := uint32(0)
	if live := v.Live(); live != nil {
		if previous := v.previous(live); previous != nil {
			before = previous.Number
		}
	}
	days := map[time.Time]bool{}
	for i := len(v) - 1; i >= 0; i-- { // the last of a day is kept
		x := &v[i]
		age, day := now.Sub(x.Created), x.Created.UTC().Truncate(24*time.Hour)
		of := age < keepDaily && !days[day]
		if x.Kept {
			days[day] = true
		}
		serves := x.Status == Live || x.Status == Canary || x.Status == Shadow || x.Held || x.Number == before
		if of || serves || i >= len(v)-keepLast {
			continue
		}
		if x.Kept {
			old := *x
			old.Kept = false
			bodies = append(bodies, old)
		} else if age >= keepRecord {
			gone = append(gone, x.Number)
		}
	}
	slices.Reverse(bodies)
	slices.Reverse(gone)
	return bodies, gone
}

// Change is what a store does at once to the versions it keeps.
type Change struct {
	Put  Versions // new or different; those that are not Kept lose their body
	Body []byte   // of the last of Put, where that is new
	Drop []uint32 // versions to forget altogether
}
