package admin

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"bidwell/events/report"
	"bidwell/models"
	"bidwell/rtb"
)

// Experiment compares several ways to bid. Each user is in one arm of it, by a
// hash, and stays there.
type Experiment struct {
	Head
	Name   string          `json:"name" minLength:"1" maxLength:"200" example:"Shading off for new customers"`
	Status Status          `json:"status,omitempty"`
	Layer  int             `json:"layer,omitempty" minimum:"0" maximum:"3" doc:"A user is in at most one experiment of a layer; what happens in one layer says nothing of another"`
	Start  Time            `json:"start,omitempty" doc:"First instant; when it is first active where empty"`
	End    Time            `json:"end,omitempty" doc:"First instant that is out; open-ended when empty"`
	Share  float64         `json:"share" minimum:"0.0001" maximum:"1" doc:"Part of all users, in ten-thousandths" example:"0.5"`
	Unit   string          `json:"unit,omitempty" enum:"user" default:"user" doc:"What is assigned to arms. Users who are not known are in no experiment"`
	Salt   string          `json:"salt,omitempty" maxLength:"64" doc:"What users are spread over the arms by; the id when empty"`
	Scope  ExperimentScope `json:"scope,omitzero" doc:"What it changes; every line item when empty"`
	Metric string          `json:"metric,omitempty" enum:"ctr,clicks,conversions,value,spend" doc:"What is compared; ctr when not given, conversions beside a holdout: clicks by impressions, or the mean over users of clicks, conversions, the value of conversions, or what was spent"`
	Effect float64         `json:"expected_effect,omitempty" minimum:"0" maximum:"10" doc:"Relative difference that is expected, such as 0.1 for a tenth of the control's rate; a tenth when zero. Differences of that size are found soonest" example:"0.1"`
	Arms   []ExperimentArm `json:"arms" minItems:"2" maxItems:"8"`

	Began Time `json:"began,omitempty" readOnly:"true" doc:"When the first users were assigned: from then on arms, layer, scope, metric and start stay as they are"`
	First *int `json:"first_bucket,omitempty" readOnly:"true" doc:"Where its stretch of the layer's 10,000 buckets begins"`
}

// ExperimentScope is what an experiment changes.
type ExperimentScope struct {
	LineItems   []string `json:"line_items,omitempty" maxItems:"1000"`
	Campaigns   []string `json:"campaigns,omitempty" maxItems:"1000"`
	Advertisers []string `json:"advertisers,omitempty" maxItems:"1000"`
}

// ExperimentArm is one way to bid. What is not given stays as it is.
type ExperimentArm struct {
	Name      string   `json:"name" minLength:"1" maxLength:"64" example:"unshaded"`
	Weight    int      `json:"weight" minimum:"1" maximum:"1000" doc:"Its part of the users, against those of the others" example:"1"`
	Control   bool     `json:"control,omitempty" doc:"The others are compared with it; exactly one arm is"`
	Value     float64  `json:"value_factor,omitempty" minimum:"0" maximum:"100" doc:"Multiplies the value of the goal"`
	Model     string   `json:"model,omitempty" pattern:"^(canary|[1-9][0-9]{0,9})$" patternDescription:"the number of a model version, or canary" doc:"Version of the model that predicts, which may be any whose file is kept, or canary. Active experiments name at most eight versions"`
	Shading   string   `json:"shading,omitempty" pattern:"^(on|off|0[.][0-9]{1,6}|1)$" patternDescription:"on, off, or a factor such as 0.85" doc:"Shading of first prices: on, off, or a fixed part of the worth"`
	Creatives []string `json:"creatives,omitempty" maxItems:"200" doc:"Only these may be shown"`
	Caps      []Cap    `json:"caps,omitempty" maxItems:"4" doc:"Apply as well as those of the line item"`
	Holdout   bool     `json:"holdout,omitempty" doc:"Bids are computed and logged, and not sent: what happens without the ads"`
}

var rxShading = regexp.MustCompile(`^(on|off|0[.][0-9]{1,6}|1)$`)

func (x *Experiment) check(c *checker) {
	x.Status.check(c)
	if x.Layer < 0 || x.Layer >= rtb.MaxLayers {
		c.fail("layer", x.Layer, "must be 0 to %d", rtb.MaxLayers-1)
	}
	start, end := c.time("start", x.Start), c.time("end", x.End)
	if !start.IsZero() && !end.IsZero() && !end.After(start) {
		c.fail("end", string(x.End), "must be after start")
	}
	if n := x.Share * models.ExperimentBuckets; !(x.Share > 0 && x.Share <= 1) || math.Abs(n-math.Round(n)) > 1e-6 {
		c.fail("share", x.Share, "must be above 0, at most 1, and whole ten-thousandths, such as 0.25")
	}
	if x.Unit == "" {
		x.Unit = "user"
	}
	known(c, "unit", x.Unit, map[string]struct{}{"user": {}})
	holdout := slices.ContainsFunc(x.Arms, func(a ExperimentArm) bool { return a.Holdout })
	if x.Metric == "" {
		x.Metric = string(report.CTR)
		if holdout {
			x.Metric = string(report.Conversions)
		}
	}
	if metric, err := report.ParseMetric(x.Metric); err != nil {
		c.fail("metric", x.Metric, "is not known")
	} else if holdout && metric != report.Conversions && metric != report.Value {
		c.fail("metric", x.Metric, "must be conversions or value beside a holdout, which sees no ads")
	}
	if !(x.Effect >= 0 && x.Effect <= 10) {
		c.fail("expected_effect", x.Effect, "must be 0 to 10")
	}
	c.ids("scope.line_items", x.Scope.LineItems)
	c.ids("scope.campaigns", x.Scope.Campaigns)
	c.ids("scope.advertisers", x.Scope.Advertisers)
	x.checkArms(c)
}

func (x *Experiment) checkArms(c *checker) {
	names, controls := map[string]bool{}, 0
	for i := range x.Arms {
		a, field := &x.Arms[i], fmt.Sprintf("arms[%d]", i)
		switch {
		case a.Name == "":
			c.fail(field+".name", nil, "is required")
		case names[a.Name]:
			c.fail(field+".name", a.Name, "is the name of another arm")
		}
		names[a.Name] = true
		if a.Weight < 1 || a.Weight > 1000 {
			c.fail(field+".weight", a.Weight, "must be 1 to 1000")
		}
		if a.Control {
			controls++
		}
		a.check(c, field)
	}
	switch {
	case len(x.Arms) < 2 || len(x.Arms) > models.MaxArms:
		c.fail("arms", nil, "must be 2 to %d", models.MaxArms)
	case controls != 1:
		c.fail("arms", nil, "exactly one must be the control, %d are", controls)
	}
}

func (a *ExperimentArm) check(c *checker, field string) {
	if !(a.Value >= 0 && a.Value <= 100) {
		c.fail(field+".value_factor", a.Value, "must be 0 to 100; 0 leaves the value as it is")
	}
	if _, _, ok := a.model(); !ok {
		c.fail(field+".model", a.Model, "must be the number of a model version, or canary")
	}
	if a.Shading != "" && (!rxShading.MatchString(a.Shading) || a.factor() == 0) {
		c.fail(field+".shading", a.Shading, "must be on, off, or a factor above 0 and at most 1, such as 0.85")
	}
	c.ids(field+".creatives", a.Creatives)
	for i := range a.Caps {
		a.Caps[i].check(c, fmt.Sprintf("%s.caps[%d]", field, i))
	}
}

// model is what the name of a model stands for.
func (a *ExperimentArm) model() (version uint32, canary, ok bool) {
	switch a.Model {
	case "":
		return 0, false, true
	case "canary":
		return 0, true, true
	}
	n, err := strconv.ParseUint(a.Model, 10, 32)
	return uint32(n), false, err == nil && n > 0
}

// models are the versions that the arms name, ascending.
func (x *Experiment) models() (versions []uint32) {
	for i := range x.Arms {
		if v, _, _ := x.Arms[i].model(); v != 0 {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// factor is that of the shading; 1 for words, zero for what is no factor.
func (a *ExperimentArm) factor() float64 {
	if a.Shading == "on" || a.Shading == "off" {
		return 1
	}
	f, err := strconv.ParseFloat(a.Shading, 64)
	if err != nil {
		return 0
	}
	return f
}

func (x *Experiment) refer(each func(field, kind, id string)) {
	list := func(field, kind string, ids []string) {
		for i, id := range ids {
			each(fmt.Sprintf("%s[%d]", field, i), kind, id)
		}
	}
	list("scope.line_items", lineItems, x.Scope.LineItems)
	list("scope.campaigns", campaigns, x.Scope.Campaigns)
	list("scope.advertisers", advertisers, x.Scope.Advertisers)
	for i := range x.Arms {
		list(fmt.Sprintf("arms[%d].creatives", i), creatives, x.Arms[i].Creatives)
	}
}

// control is the place of the control among the arms.
func (x *Experiment) control() int {
	for i := range x.Arms {
		if x.Arms[i].Control {
			return i
		}
	}
	return 0
}

// buckets is how many of the layer's buckets the experiment has.
func (x *Experiment) buckets() int { return int(math.Round(x.Share * models.ExperimentBuckets)) }

// overrides name what an experiment changes.
func (x *Experiment) overrides() map[string]bool {
	all := map[string]bool{}
	for i := range x.Arms {
		a := &x.Arms[i]
		for name, is := range map[string]bool{
			"model": a.Model != "", "shading": a.Shading != "", "creatives": len(a.Creatives) > 0, "caps": len(a.Caps) > 0,
			"value_factor": a.Value != 0, "holdout": a.Holdout,
		} {
			if is {
				all[name] = true
			}
		}
	}
	return all
}

// compile makes of the document what the bidder assigns by. Number finds the
// number of a document.
func (x *Experiment) compile(number func(kind, id string) (uint32, error)) (models.Experiment, error) {
	e := models.Experiment{Number: x.Number, Key: x.ID, Layer: x.Layer, Salt: x.salt(), Buckets: x.buckets()}
	if x.First == nil {
		return e, errors.New("it has no buckets: put it once more")
	}
	e.First = *x.First
	var err error
	if e.Start, e.End, err = x.flight(); err != nil {
		return e, err
	}
	// Where something is not there the experiment does not run: with less in its
	// scope it would be another, and with nothing it would change every line item.
	find := func(kind, id string) uint32 {
		n, problem := number(kind, id)
		if problem != nil && err == nil {
			err = fmt.Errorf("%s %s: %w", kindOf(kind).noun, id, problem)
		}
		return n
	}
	for _, id := range x.Scope.LineItems {
		e.Scope.LineItems = append(e.Scope.LineItems, rtb.LineItemID(find(lineItems, id)))
	}
	for _, id := range x.Scope.Campaigns {
		e.Scope.Campaigns = append(e.Scope.Campaigns, rtb.CampaignID(find(campaigns, id)))
	}
	for _, id := range x.Scope.Advertisers {
		e.Scope.Advertisers = append(e.Scope.Advertisers, rtb.AdvertiserID(find(advertisers, id)))
	}
	for i := range x.Arms {
		arm := x.Arms[i].compile()
		for _, id := range x.Arms[i].Creatives {
			arm.Override.Creatives = append(arm.Override.Creatives, rtb.CreativeID(find(creatives, id)))
		}
		e.Arms = append(e.Arms, arm)
	}
	return e, err
}

// compile makes all of an arm but its creatives. What it reads has been checked.
func (a *ExperimentArm) compile() models.Arm {
	o := models.Override{Value: a.Value, Holdout: a.Holdout}
	o.Model, o.Canary, _ = a.model()
	switch a.Shading {
	case "":
	case "on":
		o.Shading = models.ShadingOn
	case "off":
		o.Shading = models.ShadingOff
	default:
		o.Shading, o.Factor = models.ShadingFactor, a.factor()
	}
	for _, k := range a.Caps {
		window, _ := time.ParseDuration(string(k.Window))
		o.Caps = append(o.Caps, rtb.FrequencyCap{Per: capScopes[k.Per], Limit: k.Limit, Window: window})
	}
	return models.Arm{Weight: a.Weight, Override: o}
}

func (x *Experiment) salt() string {
	if x.Salt != "" {
		return x.Salt
	}
	return x.ID
}

// flight is when users are assigned; a zero time is open.
func (x *Experiment) flight() (start, end time.Time, err error) {
	if x.Start != "" {
		if start, err = time.Parse(time.RFC3339, string(x.Start)); err != nil {
			return start, end, err
		}
	}
	if x.End != "" {
		end, err = time.Parse(time.RFC3339, string(x.End))
	}
	return start, end, err
}
