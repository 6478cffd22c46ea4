package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bidwell/models"
	"bidwell/rtb"
)

// inspectModels reports arms of an active experiment whose version of the model
// could not predict: there is none, its file is not kept any more, or is of no
// use; or those beside it name as many as can serve.
func (s *Server) inspectModels(ctx context.Context, x *Experiment, others []neighbour, c *checker) error {
	if s.parts.Models == nil {
		return nil
	}
	named, by := []uint32{}, []string{}
	for _, o := range others {
		if versions := o.doc.models(); o.doc.Status == Active && len(versions) > 0 {
			named, by = append(named, versions...), append(by, o.id)
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	for i := range x.Arms {
		version, _, _ := x.Arms[i].model()
		if version == 0 {
			continue
		}
		field := fmt.Sprintf("arms[%d].model", i)
		err := s.parts.Models.Check(ctx, version)
		switch {
		case errors.Is(err, rtb.ErrNotFound):
			c.fail(field, x.Arms[i].Model, "there is no version %d of the model", version)
		case errors.Is(err, models.ErrNoBody):
			c.fail(field, x.Arms[i].Model, "the file of version %d is not kept any more", version)
		case errors.Is(err, models.ErrRefused):
			c.fail(field, x.Arms[i].Model, "version %d cannot be used: %v", version, err)
		case err != nil:
			return err
		case !slices.Contains(named, version):
			if len(named) >= models.MaxNamed {
				c.fail(field, x.Arms[i].Model, "active experiments name %d versions of the model at most: pause or archive another (%s)", models.MaxNamed, strings.Join(by, ", "))
				return nil
			}
			named = append(named, version)
		}
	}
	return nil
}

// holdModels has the files of the versions kept that an experiment names. It
// comes before the experiment is stored, so that none is dropped in between.
func (s *Server) holdModels(ctx context.Context, d document) error {
	x, ok := d.(*Experiment)
	if !ok || s.parts.Models == nil || x.Status == Archived || len(x.models()) == 0 {
		return nil
	}
	return s.parts.Models.Hold(ctx, x.models())
}

// experiments are those of the documents, without those whose versions of the
// model cannot predict.
func (s *Server) experiments(ctx context.Context) (*ExperimentSet, error) {
	set, err := Experiments(ctx, s.docs)
	if err != nil || s.parts.Models == nil {
		return set, err
	}
	unusable, err := s.parts.Models.Unusable(ctx, set.Served())
	if err != nil {
		return nil, err
	}
	return set, set.LeaveOut(unusable)
}
