package report

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"bidwell/rtb"
)

// Rows keeps what a Rollup has read of the log, under short keys. It is declared
// here, where it is called, and implemented by package store/sql.
type Rows interface {
	// LoadRows calls each for all rows. What it is given is its own no longer
	// than until it returns.
	LoadRows(ctx context.Context, each func(key, value []byte) error) error
	// SaveRows puts rows in one write that is there as a whole or not at all. A
	// value that is nil removes the row.
	SaveRows(ctx context.Context, rows iter.Seq2[[]byte, []byte]) error
}

// Source is one of the logs that a Rollup reads, each with positions of its own.
type Source uint8

// The logs.
const (
	Notices Source = iota // all that came
	Samples               // of bids
	sources
)

// Watched is an experiment that a Rollup counts for.
type Watched struct {
	Number     uint32
	Start, End time.Time // zero for open
	Archived   bool      // it is over: its users make room when there are too many
	// Empty lists are every line item, otherwise what is named in one of them.
	LineItems   []rtb.LineItemID
	Campaigns   []rtb.CampaignID
	Advertisers []rtb.AdvertiserID

	// Owners are the advertisers to whom belongs what is named: what they say of
	// conversions that no bid has caused is of this experiment.
	Owners []rtb.AdvertiserID
}

// maxLate is how long after the end of an experiment conversions count.
const maxLate = 30 * 24 * time.Hour

func (w *Watched) has(e *rtb.Event) bool {
	return len(w.LineItems)+len(w.Campaigns)+len(w.Advertisers) == 0 || e.Uploaded() && slices.Contains(w.Owners, e.Advertiser) ||
		slices.Contains(w.LineItems, e.LineItem) || slices.Contains(w.Campaigns, e.Campaign) || slices.Contains(w.Advertisers, e.Advertiser)
}

// RollupConfig bounds what a Rollup keeps. The zero value is usable.
type RollupConfig struct {
	// Users is the most users, and the most places of users in experiments, that
	// are kept; 1,048,576 when zero, which takes about 280 MB. With more, the users
	// of experiments that are over are let go, and then half of all are forgotten,
	// chosen by a hash, and results say of what part they are.
	Users int
	// Bids is the most bids of which it is remembered what came of them, in each
	// of two generations; 524,288 when zero. It bounds how far apart two notices
	// of one kind may come for the second to be known as a repeat, as does the
	// life of a token.
	Bids int
	// Save is the number of changes after which rows are written; 20,000 when
	// zero.
	Save int
}

// Rollup reads the log and keeps, of each user in each experiment, what came of
// the bids. Users count whose assignment is in the log: the bidder writes it
// before it bids, so it does not depend on the arm. Where there is none of an
// experiment, all count of whom some event names the arm. What a user did before
// is a covariate.
//
// It is safe for concurrent use.
type Rollup struct {
	rows  Rows
	cfg   RollupConfig
	armOf func(id uint16) (experiment uint32, arm int)

	mu        sync.Mutex
	watched   map[uint32]*Watched
	gone      map[uint32]struct{} // experiments whose users were let go
	positions [sources]uint64
	shift     uint8 // users whose hash ends in so many zeros are kept
	past      map[rtb.UserID]past
	members   map[memberKey]member
	repeats   [2]generations // of notices, of conversions
	looks     map[lookKey]Sequence

	changedPast    map[rtb.UserID]struct{}
	changedMembers map[memberKey]struct{}
	changedLooks   map[lookKey]struct{}
	changed        bool // a position or another single row
	garbage        [][]byte
}

// past is what a user did, in and out of experiments.
type past struct{ impressions, clicks uint32 }

type memberKey struct {
	user       rtb.UserID
	experiment uint32
}

// member is a user in an experiment.
type member struct {
	arm                              uint8
	assigned                         bool   // and not only seen because of a bid
	since                            uint32 // Unix seconds; zero when not known
	before                           past   // the experiment
	impressions, clicks, conversions uint32
	missed                           float32 // the chance that none of the ghost bids would have won; 1 without ghosts
	value, spend                     rtb.Money
	uploaded                         bought // conversions that were uploaded; the others came with a click
}

// bought is what a user has bought.
type bought struct {
	conversions uint32
	value       rtb.Money
}

type lookKey struct {
	experiment         uint32
	arm                uint8
	metric             Metric
	adjusted, uploaded bool
}

// NewRollup makes a Rollup of what rows has. ArmOf tells the experiment and the
// arm of an arm's id.
func NewRollup(ctx context.Context, rows Rows, cfg RollupConfig, armOf func(id uint16) (experiment uint32, arm int)) (*Rollup, error) {
	if cfg.Users <= 0 {
		cfg.Users = 1 << 20
	}
	if cfg.Bids <= 0 {
		cfg.Bids = 1 << 19
	}
	if cfg.Save <= 0 {
		cfg.Save = 20_000
	}
	r := &Rollup{
		rows: rows, cfg: cfg, armOf: armOf, watched: map[uint32]*Watched{}, gone: map[uint32]struct{}{},
		past: map[rtb.UserID]past{}, members: map[memberKey]member{}, looks: map[lookKey]Sequence{},
		changedPast: map[rtb.UserID]struct{}{}, changedMembers: map[memberKey]struct{}{}, changedLooks: map[lookKey]struct{}{},
	}
	for i := range r.repeats {
		r.repeats[i].reset(uint8(i))
	}
	if err := rows.LoadRows(ctx, r.load); err != nil {
		return nil, fmt.Errorf("load experiment report: %w", err)
	}
	r.tidy()
	return r, nil
}

// Watch says what experiments there are, whether they still run or not. Events
// of others are not counted, so it must be told of one before users are
// assigned.
func (r *Rollup) Watch(list []Watched) {
	watched := make(map[uint32]*Watched, len(list))
	for i := range list {
		w := list[i]
		watched[w.Number] = &w
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = watched
}

// Position is after which a log has to be read.
func (r *Rollup) Position(of Source) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.positions[of]
}

// Rewind tells where a log that may lose its end has ended: what comes next
// would otherwise be taken for what was read before.
func (r *Rollup) Rewind(of Source, last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.positions[of] > last {
		r.positions[of], r.changed = last, true
	}
}

// Apply counts a batch of a log. A batch that was applied before changes
// nothing. What it changed is written now and then, with the position, so after
// a crash the log is read again from there.
func (r *Rollup) Apply(ctx context.Context, of Source, position uint64, batch []rtb.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if position <= r.positions[of] {
		return nil
	}
	for i := range batch {
		r.count(&batch[i])
	}
	r.positions[of], r.changed = position, true
	if len(r.changedPast)+len(r.changedMembers) >= r.cfg.Save {
		return r.save(ctx)
	}
	return nil
}

// count takes one event into account.
func (r *Rollup) count(e *rtb.Event) {
	if e.User == (rtb.UserID{}) || !r.keeps(&e.User) {
		return
	}
	if e.Type == rtb.EventConversion {
		r.convert(e)
		return
	}
	before, asked := r.past[e.User], false
	for _, id := range e.Arms {
		if id == 0 {
			continue
		}
		experiment, arm := r.armOf(id)
		if !r.counts(experiment) || e.Type != rtb.EventAssigned && !r.watched[experiment].has(e) {
			continue
		}
		if !asked && repeats(e) && !r.repeats[0].first(e, r.cfg.Bids, &r.garbage) {
			return
		}
		asked = true
		r.join(memberKey{e.User, experiment}, uint8(arm), before, e)
	}
	if (e.Type == rtb.EventView || e.Type == rtb.EventClick) && r.keeps(&e.User) { // which may have changed
		now := before
		if e.Type == rtb.EventView {
			now.impressions++
		} else {
			now.clicks++
		}
		r.past[e.User] = now
		r.changedPast[e.User] = struct{}{}
		r.shed()
	}
}

// repeats reports whether an event would count twice if it came twice. Ghosts
// would, too, but they are our own and have no notices that could.
func repeats(e *rtb.Event) bool {
	return e.Billing || e.Type == rtb.EventView || e.Type == rtb.EventClick || e.Type == rtb.EventConversion
}

// join puts an event to a user's account in one experiment. The arm is that of
// the first event: it never changes while an experiment runs.
func (r *Rollup) join(key memberKey, arm uint8, before past, e *rtb.Event) {
	m, ok := r.members[key]
	at := uint32(max(e.Time.Unix(), 0))
	if !ok {
		m = member{arm: arm, before: before, missed: 1, since: at}
	} else if m.arm != arm {
		return
	}
	old := m
	m.since = min(m.since, at) // there are two logs
	switch e.Type {
	case rtb.EventAssigned:
		m.assigned = true
	case rtb.EventView:
		m.impressions++
	case rtb.EventClick:
		m.clicks++
	case rtb.EventGhost:
		m.missed *= 1 - min(max(e.WinRate, 0), 1)
	case rtb.EventConversion:
		conversions, value := &m.conversions, &m.value
		if e.Uploaded() {
			conversions, value = &m.uploaded.conversions, &m.uploaded.value
		}
		*conversions++
		*value = plus(*value, e.Value)
	}
	if e.Billing {
		m.spend = plus(m.spend, e.Charge)
	}
	if ok && m == old {
		return
	}
	r.members[key] = m
	r.changedMembers[key] = struct{}{}
	r.shed()
}

// convert counts a conversion for every experiment that its user is in by then,
// and not only for those that the bid names: what the users of a holdout do, no
// bid of ours has caused.
func (r *Rollup) convert(e *rtb.Event) {
	type place struct {
		key memberKey
		arm uint8
	}
	var places []place
	add := func(w *Watched, arm uint8) {
		if w.has(e) && !e.Time.Before(w.Start) && (w.End.IsZero() || e.Time.Before(w.End.Add(maxLate))) {
			places = append(places, place{memberKey{e.User, w.Number}, arm})
		}
	}
	for _, w := range r.watched {
		if m, ok := r.members[memberKey{e.User, w.Number}]; ok && e.Time.Unix() >= int64(m.since) {
			add(w, m.arm)
		}
	}
	for _, id := range e.Arms {
		experiment, arm := r.armOf(id)
		if _, in := r.members[memberKey{e.User, experiment}]; id != 0 && r.counts(experiment) && !in {
			add(r.watched[experiment], uint8(arm))
		}
	}
	if len(places) == 0 || !r.repeats[1].first(e, r.cfg.Bids, &r.garbage) {
		return
	}
	for _, p := range places {
		r.join(p.key, p.arm, r.past[e.User], e)
	}
}

// Knows reports whether a user is in an experiment that is watched, as far as
// the logs have been read.
func (r *Rollup) Knows(user rtb.UserID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for number := range r.watched {
		if _, in := r.members[memberKey{user, number}]; in {
			return true
		}
	}
	return false
}

// keeps reports whether a user is in the part of which anything is kept. Ids of
// users are hashes already; the multiplication keeps this choice apart from
// that of arms.
func (r *Rollup) keeps(user *rtb.UserID) bool {
	return r.shift == 0 || binary.LittleEndian.Uint64(user[8:])*0x9e3779b97f4a7c15>>(64-r.shift) == 0
}

// shed forgets users when there are too many in experiments: those of
// experiments that are over, then half of all. And it forgets what half of the
// others did when that is too much.
func (r *Rollup) shed() {
	for len(r.members) > r.cfg.Users {
		if r.letGo() {
			continue
		}
		r.shift++
		r.changed = true
		r.tidy()
	}
	// Most of these are in no experiment, and may never be in one. Whose past is
	// forgotten is chance, and the same in every arm: it takes out less noise.
	if len(r.past) > r.cfg.Users {
		for user := range r.past {
			if len(r.past) <= r.cfg.Users/2 {
				break
			}
			r.garbage = append(r.garbage, pastRow(user))
			delete(r.past, user)
			delete(r.changedPast, user)
		}
	}
}

// tidy drops what is not in the part that is kept.
func (r *Rollup) tidy() {
	for user := range r.past {
		if !r.keeps(&user) {
			r.garbage = append(r.garbage, pastRow(user))
			delete(r.past, user)
			delete(r.changedPast, user)
		}
	}
	for key := range r.members {
		if _, gone := r.gone[key.experiment]; gone || !r.keeps(&key.user) {
			r.garbage = append(r.garbage, memberRow(key))
			delete(r.members, key)
			delete(r.changedMembers, key)
		}
	}
	for i := range r.repeats {
		r.repeats[i].settle(&r.garbage)
	}
}

// Forget removes all that is kept of a user.
func (r *Rollup) Forget(ctx context.Context, user rtb.UserID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.past[user]; ok {
		delete(r.past, user)
		r.changedPast[user] = struct{}{}
	}
	for key := range r.members {
		if key.user == user {
			delete(r.members, key)
			r.changedMembers[key] = struct{}{}
		}
	}
	return r.save(ctx)
}
