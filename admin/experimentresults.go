package admin

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"

	"bidwell/events/report"
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// ExperimentResults is what an experiment says so far.
type ExperimentResults struct {
	Experiment string  `json:"experiment" doc:"Id of the experiment"`
	Metric     string  `json:"metric" enum:"ctr,clicks,conversions,value,spend"`
	Primary    bool    `json:"primary" doc:"The metric is the one that was set before the experiment began. Of several others one is found different by chance"`
	Began      Time    `json:"began,omitempty" doc:"Absent as long as nobody was assigned"`
	Looks      int     `json:"looks" doc:"That were taken at this metric, this one included"`
	Users      string  `json:"users" enum:"assigned,seen" doc:"Who is counted: all who were assigned; or, where the log has no assignments, those of whom some event names the arm, of which an arm that bids less may have fewer"`
	Uploaded   bool    `json:"uploaded" doc:"Conversions are those that were uploaded. As soon as there is one, those of clicks count no more: they may be the same, and users who saw no ad have none"`
	UsersPart  float64 `json:"users_part" doc:"Part of all users that are kept: 1, or a half, a quarter and so on where there are too many. All counts are of this part"`

	report.Figures
	Totals     []ArmTotals        `json:"totals" nullable:"false" doc:"In the order of arms; empty where results are withheld"`
	Increments []IncrementFigures `json:"increments,omitempty" doc:"What the ads add, where the control is a holdout: users who saw one against those who would have, weighted by the predicted chance to win"`
}

// ArmTotals are what came of the users of an arm.
type ArmTotals struct {
	Arm         string `json:"arm"`
	Impressions uint64 `json:"impressions"`
	Clicks      uint64 `json:"clicks"`
	Conversions uint64 `json:"conversions"`
	Value       Amount `json:"value" doc:"Of the conversions"`
	Spend       Amount `json:"spend" doc:"Fees included"`
}

// IncrementFigures are what the ads of one arm add.
type IncrementFigures struct {
	Arm        string   `json:"arm"`
	Treated    float64  `json:"treated" doc:"Conversions, or their value, of a user who saw an ad"`
	Control    float64  `json:"control" doc:"And of one of the holdout who would have"`
	Difference float64  `json:"difference"`
	P          float64  `json:"p" doc:"Fixed horizon: right only for one who looks once"`
	Low        *float64 `json:"low,omitempty" doc:"Of the 95 % interval of the difference"`
	High       *float64 `json:"high,omitempty"`
	Lift       *float64 `json:"lift,omitempty" doc:"Relative to control"`
	LiftLow    *float64 `json:"lift_low,omitempty"`
	LiftHigh   *float64 `json:"lift_high,omitempty"`
	Added      float64  `json:"added" doc:"What the users who saw an ad did that they would not have done"`
}

type resultsInput struct {
	ID     string `path:"id" maxLength:"64" doc:"Id of the experiment" example:"spring"`
	Metric string `query:"metric" enum:"ctr,clicks,conversions,value,spend" doc:"Another than that of the experiment"`
}

type resultsOutput struct{ Body ExperimentResults }

func (s *Server) registerExperimentResults() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-experiment-results", Method: http.MethodGet, Path: "/v1/experiments/{id}/results", Tags: []string{experiments},
		Summary: "Get what an experiment says",
		Description: "Users, rates and differences by arm. Each call is a look; the always-valid figures are right however often one looks. " +
			"Where the numbers of users do not fit the weights of the arms (p below 0.001) all results are withheld.",
		Errors: []int{404, 410, 422, 500, 501},
	}, func(ctx context.Context, in *resultsInput) (*resultsOutput, error) {
		if s.parts.ExperimentResult == nil {
			return nil, huma.Error501NotImplemented("this process does not read the log")
		}
		body, number, version, err := s.docs.Get(ctx, experiments, in.ID)
		if err != nil {
			return nil, s.problem(describe(err, kindOf(experiments), in.ID))
		}
		d, err := read(kindOf(experiments), in.ID, number, version, body)
		if err != nil {
			return nil, s.problem(err)
		}
		x := d.(*Experiment)
		ask := x.ask()
		if in.Metric != "" {
			ask.Metric = report.Metric(in.Metric)
		}
		holdout := slices.ContainsFunc(x.Arms, func(a ExperimentArm) bool { return a.Holdout })
		if holdout && ask.Metric != report.Conversions && ask.Metric != report.Value {
			return nil, huma.Error422UnprocessableEntity("metric: who is held out sees no ad, so only conversions and value can be compared")
		}
		result, err := s.parts.ExperimentResult(ask)
		if errors.Is(err, report.ErrLetGo) {
			return nil, huma.Error410Gone(err.Error())
		}
		if err != nil {
			return nil, s.problem(err)
		}
		out := showResult(result)
		if holdout && !result.Uploaded && out.Withheld == "" {
			out.withhold("who is held out clicks on nothing, so nothing is known of their conversions: upload those of all arms (bidwell conversions import)")
		}
		out.Experiment, out.Metric, out.Primary, out.Began = in.ID, string(ask.Metric), string(ask.Metric) == x.Metric, x.Began
		if x.Began == "" && x.begun(s.parts.Now()) {
			out.Began = x.Start
		}
		return &resultsOutput{Body: *out}, nil
	})
}

// ask is what the report is asked of an experiment.
func (x *Experiment) ask() report.Ask {
	a := report.Ask{Experiment: x.Number, Control: x.control(), Metric: report.Metric(x.Metric), Settings: report.Settings{Effect: x.Effect}}
	for i := range x.Arms {
		a.Arms = append(a.Arms, report.Arm{Name: x.Arms[i].Name, Weight: float64(x.Arms[i].Weight), Holdout: x.Arms[i].Holdout})
	}
	return a
}

func showResult(r *report.Result) *ExperimentResults {
	out := &ExperimentResults{Users: "seen", Looks: r.Looks, Uploaded: r.Uploaded, UsersPart: r.Part, Figures: *report.Show(r.Reading), Totals: []ArmTotals{}}
	if r.Assigned {
		out.Users = "assigned"
	}
	if out.Withheld != "" {
		return out
	}
	for i, t := range r.Totals {
		out.Totals = append(out.Totals, ArmTotals{
			Arm: r.Arms[i].Name, Impressions: t.Impressions, Clicks: t.Clicks, Conversions: t.Conversions, Value: money(t.Value), Spend: money(t.Spend),
		})
	}
	for i, v := range r.Increments {
		out.Increments = append(out.Increments, IncrementFigures{
			Arm: r.Arms[1+i].Name, Treated: v.Treated, Control: v.Control, Difference: v.Difference, P: v.P, Low: number(v.Interval.Low), High: number(v.Interval.High),
			Lift: number(v.Lift), LiftLow: number(v.LiftInterval.Low), LiftHigh: number(v.LiftInterval.High), Added: v.Added,
		})
	}
	return out
}

// withhold takes out all that compares.
func (r *ExperimentResults) withhold(why string) {
	r.Withheld, r.Comparisons, r.Increments = why, []report.ComparisonFigures{}, nil
	for i := range r.Arms {
		r.Arms[i].Rate = nil
	}
}

func money(m rtb.Money) Amount { return Amount(m.String()) }

// number is v, or nothing where JSON has no word for it.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
