package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
)

// ExperimentSet is what the documents of experiments say together.
type ExperimentSet struct {
	Version uint64 // of the documents
	// Made is what bidders assign by: the experiments that are active, those
	// that have yet to begin included.
	Made *models.Experiments
	Runs []models.Experiment // of which Made is made, by their numbers
	// Watched are all that there are, for the report.
	Watched  []report.Watched
	Problems []Problem // what cannot be used and was left out
	// Models are the versions of the model that arms name, those of experiments
	// that are paused included, with the ids of the experiments. Their files
	// must be kept.
	Models map[uint32][]string
}

// Experiments reads them all. What cannot be used is left out, and the others
// run on.
func Experiments(ctx context.Context, docs Documents) (*ExperimentSet, error) {
	set := &ExperimentSet{Models: map[uint32][]string{}}
	var active []models.Experiment
	err := docs.View(ctx, func(ctx context.Context) (err error) {
		if set.Version, err = docs.Version(ctx); err != nil {
			return err
		}
		number := func(kind, id string) (uint32, error) {
			_, n, _, err := docs.Get(ctx, kind, id)
			return n, err
		}
		k := kindOf(experiments)
		return eachOf(ctx, docs, experiments, func(id string, n uint32, version uint64, body []byte) error {
			x, problem := parse[Experiment](k, id, edition{n, version}, body)
			if problem == nil && x.Status != Archived {
				for _, v := range x.models() {
					set.Models[v] = append(set.Models[v], id)
				}
			}
			if problem == nil && x.Status != Active && x.Began == "" {
				return nil
			}
			if problem == nil {
				e, err := x.compile(number)
				var owners []rtb.AdvertiserID
				if err == nil {
					owners, err = ownersOf(ctx, docs, &x.Scope)
				}
				if err == nil {
					set.Watched = append(set.Watched, report.Watched{
						Number: e.Number, Start: e.Start, End: e.End, Archived: x.Status == Archived, LineItems: e.Scope.LineItems, Campaigns: e.Scope.Campaigns, Advertisers: e.Scope.Advertisers,
						Owners: owners,
					})
					if x.Status == Active {
						active = append(active, e)
					}
					return nil
				}
				problem = &Problem{Kind: k.name, ID: id, Reason: err.Error()}
			}
			set.Problems = append(set.Problems, *problem)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read experiments: %w", err)
	}
	// The older one stays where two cannot run beside one another.
	slices.SortFunc(active, func(a, b models.Experiment) int { return cmp.Compare(a.Number, b.Number) })
	for _, e := range active {
		with := append(slices.Clone(set.Runs), e)
		if _, err := models.NewExperiments(with); err != nil {
			set.leftOut(&e, strings.TrimPrefix(err.Error(), "experiment "+e.Key+": "))
			continue
		}
		if n := len(namedBy(with)); n > models.MaxNamed {
			set.leftOut(&e, fmt.Sprintf("with it active experiments name %d versions of the model, and at most %d can serve", n, models.MaxNamed))
			continue
		}
		set.Runs = with
	}
	set.Made, err = models.NewExperiments(set.Runs)
	return set, err
}

func (set *ExperimentSet) leftOut(e *models.Experiment, why string) {
	set.Problems = append(set.Problems, Problem{Kind: experiments, ID: e.Key, Reason: why})
}

// Served are the versions of the model that arms of what runs name, ascending.
func (set *ExperimentSet) Served() []uint32 { return namedBy(set.Runs) }

func namedBy(runs []models.Experiment) (versions []uint32) {
	for i := range runs {
		for j := range runs[i].Arms {
			if v := runs[i].Arms[j].Override.Model; v != 0 {
				versions = append(versions, v)
			}
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// LeaveOut takes out the experiments with an arm that names one of these
// versions, which cannot predict for the reasons given. One that ran without it
// would count users of the arm who are treated like all the others.
func (set *ExperimentSet) LeaveOut(unusable map[uint32]error) (err error) {
	if len(unusable) == 0 {
		return nil
	}
	set.Runs = slices.DeleteFunc(set.Runs, func(e models.Experiment) bool {
		for i := range e.Arms {
			if why := unusable[e.Arms[i].Override.Model]; why != nil {
				set.leftOut(&e, fmt.Sprintf("arms[%d].model %v", i, why))
				return true
			}
		}
		return false
	})
	set.Made, err = models.NewExperiments(set.Runs)
	return err
}

// ownersOf are the advertisers to whom belongs what a scope names.
func ownersOf(ctx context.Context, docs Documents, scope *ExperimentScope) (list []rtb.AdvertiserID, err error) {
	all, err := owners(ctx, docs, scope)
	if err != nil {
		return nil, err
	}
	for ref := range all {
		if ref.kind != advertisers {
			continue
		}
		_, number, _, err := docs.Get(ctx, advertisers, ref.id)
		if err != nil {
			return nil, fmt.Errorf("advertiser %s: %w", ref.id, err)
		}
		list = append(list, rtb.AdvertiserID(number))
	}
	slices.Sort(list)
	return list, nil
}
