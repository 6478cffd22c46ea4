package report

import "errors"

// ErrLetGo means that an experiment is over and its users were let go, to make
// room for those of others.
var ErrLetGo = errors.New("the experiment is over, and its users were let go to make room for those of others")

// letGo forgets the users of the experiment that is over, the oldest if there
// are several, and reports whether there was one. It is over when it is archived
// or is no more.
func (r *Rollup) letGo() bool {
	oldest, found := uint32(0), false
	for key := range r.members {
		if w := r.watched[key.experiment]; (w == nil || w.Archived) && (!found || key.experiment < oldest) {
			oldest, found = key.experiment, true
		}
	}
	if found {
		r.gone[oldest] = struct{}{}
		r.changed = true
		r.tidy()
	}
	return found
}

// counts reports whether an experiment is counted.
func (r *Rollup) counts(experiment uint32) bool {
	_, gone := r.gone[experiment]
	return !gone && r.watched[experiment] != nil
}
