package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"bidwell/models"
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Model is one version of the model that bids are priced by.
type Model struct {
	Version uint32  `json:"version" doc:"Its number; it rises, and is never given to another"`
	Origin  string  `json:"origin" enum:"starter,file,online" doc:"starter: built in; file: uploaded; online: learned from the log while bidding"`
	Status  string  `json:"status" enum:"shadow,canary,live,retired,rolled-back" doc:"shadow: only compared; canary: predicts for a share of the users; live: for all the others"`
	Canary  float64 `json:"canary,omitempty" doc:"Share of the users; only of a canary" example:"0.1"`
	Pinned  bool    `json:"pinned,omitempty" doc:"Of the live one: it was chosen, so what is learned does not take its place; promoting online ends that"`
	Before  uint32  `json:"before,omitempty" doc:"Version that was live before it, which a rollback brings back"`
	Reason  string  `json:"reason,omitempty" doc:"Why it was rolled back"`
	Created Time    `json:"created"`
	Since   Time    `json:"since" doc:"When it got its status"`
	From    Time    `json:"from,omitempty" doc:"First example that it learned from"`
	Through Time    `json:"through,omitempty" doc:"Last one"`
	Size    int64   `json:"size" doc:"Of its file, in bytes"`
	SHA256  string  `json:"sha256" doc:"Of its file"`
	Kept    bool    `json:"kept" doc:"Its file is still there, so that it may serve"`
	Serving bool    `json:"serving" doc:"This process predicts with it"`
	Problem string  `json:"problem,omitempty" doc:"Why this process cannot use it; what served before goes on"`

	Experiments []string `json:"experiments,omitempty" doc:"Ids of the experiments with an arm that names it, those that are archived left out; its file is kept as long"`

	Training ModelMetrics  `json:"training" doc:"Each example predicted before it was learned from"`
	Observed *ModelMetrics `json:"observed,omitempty" doc:"Of late, in service or as a shadow, older impressions counting less; absent where nothing is known"`

	Calibration *ModelCalibration `json:"calibration,omitempty" doc:"What corrects its click rates; only where one version is asked for"`
}

// ModelMetrics say how good predictions of clicks were.
type ModelMetrics struct {
	Rows        float64 `json:"rows" doc:"Impressions"`
	Clicks      float64 `json:"clicks"`
	LogLoss     float64 `json:"log_loss" doc:"Mean, in nats"`
	NE          float64 `json:"ne" doc:"Log loss over that of always predicting the mean; 0 where that is not known"`
	AUC         float64 `json:"auc,omitempty" doc:"Absent where it is not kept"`
	Calibration float64 `json:"calibration" doc:"Sum of the predictions over the clicks; 0 without clicks"`
}

// ModelCalibration corrects click rates: bent by the curve, then times the
// factor of the campaign.
type ModelCalibration struct {
	Curve  string            `json:"curve" enum:"none,platt,isotonic"`
	A      float64           `json:"a,omitempty" doc:"Of Platt's curve: the slope on the logit"`
	B      float64           `json:"b,omitempty" doc:"The same: what is added"`
	Factor float64           `json:"factor" doc:"Of campaigns that have none of their own"`
	Lines  []CalibrationLine `json:"lines" nullable:"false"`
}

// CalibrationLine is the correction of one campaign.
type CalibrationLine struct {
	Campaign string  `json:"campaign" doc:"Id of the campaign; its number after a # where it was deleted"`
	Rows     uint64  `json:"rows" doc:"Impressions that it has had"`
	Clicks   uint64  `json:"clicks"`
	Factor   float64 `json:"factor"`
}

type modelInput struct {
	Version string `path:"version" pattern:"^[1-9][0-9]{0,9}$" patternDescription:"the number of a version" doc:"Number of the version" example:"7"`
	IfMatch string `header:"If-Match" maxLength:"500" doc:"ETag that the version must still have"`
}

type promoteInput struct {
	Version string `path:"version" pattern:"^([1-9][0-9]{0,9}|online)$" patternDescription:"the number of a version, or online" doc:"Number of the version; online for the last one that was learned while bidding" example:"7"`
	IfMatch string `header:"If-Match" maxLength:"500" doc:"ETag that the version must still have"`
	Body    *struct {
		Canary float64 `json:"canary,omitempty" minimum:"0.0001" maximum:"0.9999" doc:"Share of the users for a trial; live for everybody when absent" example:"0.1"`
	}
}

type rollbackInput struct {
	Version string `path:"version" pattern:"^[1-9][0-9]{0,9}$" patternDescription:"the number of a version" doc:"Number of the version" example:"7"`
	IfMatch string `header:"If-Match" maxLength:"500" doc:"ETag that the version must still have"`
	Body    *struct {
		Reason string `json:"reason,omitempty" maxLength:"500" example:"clicks of bots"`
	}
}

type modelOutput struct {
	ETag string `header:"ETag" doc:"Of its last change"`
	Body Model
}

type modelPageInput struct {
	Cursor string `query:"cursor" pattern:"^[0-9]{0,10}$" doc:"The next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// modelKind names versions in messages.
var modelKind = &kind{name: "models", noun: "model"}

func (s *Server) registerModels(mux *http.ServeMux) {
	op := func(id, method, path, summary, about string, errs ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: "/v1/models" + path, Tags: []string{"models"}, Summary: summary, Description: about,
			Errors: append(errs, 422, 500, 501),
		}
	}
	huma.Register(s.api, op("list-models", http.MethodGet, "", "List models", "The newest first."),
		func(ctx context.Context, in *modelPageInput) (*pageOutput[Model], error) {
			page, err := s.listModels(ctx, in)
			return page, s.problem(err)
		})
	huma.Register(s.api, op("get-model", http.MethodGet, "/{version}", "Get model", "With its calibration and what has become of its impressions.", 404),
		func(ctx context.Context, in *modelInput) (*modelOutput, error) {
			return s.oneModel(ctx, in.Version, func(r *models.Registry) (models.Version, error) { return r.Version(ctx, versionOf(in.Version)) })
		})
	huma.Register(s.api, op("promote-model", http.MethodPost, "/{version}/promote", "Promote model",
		"Makes a version live, in every process within seconds, or with canary the one on trial. What was live is retired, and can be brought back. "+
			"A version that is promoted stays live until another is; online makes the last one live that was learned while bidding, and lets later ones take its place.", 404, 409, 412, 415),
		func(ctx context.Context, in *promoteInput) (*modelOutput, error) {
			match, err := modelMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return s.oneModel(ctx, in.Version, func(r *models.Registry) (models.Version, error) {
				number := versionOf(in.Version)
				switch {
				case in.Body != nil && in.Body.Canary != 0 && in.Version == "online":
					return models.Version{}, huma.Error422UnprocessableEntity("validation failed",
						&huma.ErrorDetail{Location: "body.canary", Message: "online is promoted for everybody; name a version for a trial", Value: in.Body.Canary})
				case in.Body != nil && in.Body.Canary != 0:
					return r.Try(ctx, number, models.Share(math.Round(in.Body.Canary*float64(models.WholeShare))), match)
				case in.Version == "online":
					return r.PromoteLearned(ctx)
				}
				return r.Promote(ctx, number, match)
			})
		})
	huma.Register(s.api, op("roll-back-model", http.MethodPost, "/{version}/rollback", "Roll back model",
		"Takes the canary or the live version out of service. The version comes back that was live before the live one.", 404, 409, 412, 415),
		func(ctx context.Context, in *rollbackInput) (*modelOutput, error) {
			match, err := modelMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			reason := "by hand"
			if in.Body != nil && in.Body.Reason != "" {
				reason = in.Body.Reason
			}
			return s.oneModel(ctx, in.Version, func(r *models.Registry) (models.Version, error) {
				return r.Rollback(ctx, versionOf(in.Version), reason, match)
			})
		})
	huma.Register(s.api, op("retire-model", http.MethodPost, "/{version}/retire", "Retire model", "Takes a shadow or the canary out of the comparison.", 404, 409, 412),
		func(ctx context.Context, in *modelInput) (*modelOutput, error) {
			match, err := modelMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			return s.oneModel(ctx, in.Version, func(r *models.Registry) (models.Version, error) { return r.Retire(ctx, versionOf(in.Version), match) })
		})
	s.registerModelFiles(mux)
}

// versionOf is 0 for what is no number; no version has that.
func versionOf(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func modelMatch(ifMatch string) (models.Match, error) {
	want, err := parseWanted(ifMatch, "")
	if err != nil {
		return nil, err
	}
	return func(v *models.Version) error {
		return want.check(modelKind, strconv.FormatUint(uint64(v.Number), 10), v.Revision)
	}, nil
}

// modelProblem says what is the caller's doing.
func modelProblem(err error) error {
	switch {
	case errors.Is(err, models.ErrTransition), errors.Is(err, models.ErrNoBody):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, models.ErrRefused):
		return huma.Error422UnprocessableEntity(err.Error())
	}
	return err
}

var errNoModels = huma.Error501NotImplemented("this process keeps no models")

// oneModel answers with one version.
func (s *Server) oneModel(ctx context.Context, id string, do func(*models.Registry) (models.Version, error)) (*modelOutput, error) {
	if s.parts.Models == nil {
		return nil, errNoModels
	}
	v, err := do(s.parts.Models)
	if err != nil {
		return nil, s.problem(modelProblem(describe(err, modelKind, id)))
	}
	set, err := Experiments(ctx, s.docs)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &modelOutput{ETag: etag(v.Revision), Body: s.showModel(&v, set)}
	if out.Body.Calibration, err = s.modelCalibration(ctx, &v); err != nil {
		return nil, s.problem(err)
	}
	return out, nil
}

func (s *Server) listModels(ctx context.Context, in *modelPageInput) (*pageOutput[Model], error) {
	if s.parts.Models == nil {
		return nil, errNoModels
	}
	all, err := s.parts.Models.List(ctx)
	if err != nil {
		return nil, err
	}
	set, err := Experiments(ctx, s.docs)
	if err != nil {
		return nil, err
	}
	out := &pageOutput[Model]{Body: Page[Model]{Items: []Model{}}}
	cursor := versionOf(in.Cursor)
	for i := len(all) - 1; i >= 0; i-- {
		if cursor != 0 && all[i].Number >= cursor {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.Next = strconv.FormatUint(uint64(all[i+1].Number), 10)
			break
		}
		out.Body.Items = append(out.Body.Items, s.showModel(&all[i], set))
	}
	return out, nil
}

func (s *Server) showModel(v *models.Version, set *ExperimentSet) Model {
	m := Model{
		Version: v.Number, Origin: v.Origin.String(), Status: v.Status.String(), Canary: float64(v.Share) / float64(models.WholeShare), Pinned: v.Pinned,
		Before: v.Before, Reason: v.Reason, Created: timeOf(v.Created.UTC()), Since: timeOf(v.Since.UTC()), From: timeOf(v.Metrics.From.UTC()),
		Through: timeOf(v.Metrics.Through.UTC()), Size: v.Size, SHA256: hex.EncodeToString(v.SHA256[:]), Kept: v.Kept,
		Serving: s.parts.Models.Serves(v.Number), Experiments: set.Models[v.Number],
		Training: ModelMetrics{
			Rows: float64(v.Metrics.Rows), Clicks: float64(v.Metrics.Clicks), LogLoss: v.Metrics.LogLoss, NE: v.Metrics.NE(), AUC: v.Metrics.AUC,
			Calibration: v.Metrics.Calibration,
		},
	}
	if err := s.parts.Models.Problem(v.Number); err != nil {
		m.Problem = err.Error()
	}
	if w := s.parts.Models.Monitor().Window(v.Number); w.Rows > 0 {
		ne, _ := w.NE()
		m.Observed = &ModelMetrics{Rows: math.Round(w.Rows), Clicks: math.Round(w.Clicks), LogLoss: w.LogLoss(), NE: ne, Calibration: w.Calibration()}
	}
	return m
}

// modelCalibration is nil for a version without one, or that cannot be read.
func (s *Server) modelCalibration(ctx context.Context, v *models.Version) (*ModelCalibration, error) {
	if !v.Kept {
		return nil, nil
	}
	model, err := s.parts.Models.Model(ctx, v.Number)
	switch {
	case errors.Is(err, models.ErrRefused), errors.Is(err, rtb.ErrNotFound): // Problem says so where it matters
		return nil, nil
	case err != nil:
		return nil, err
	}
	table := model.ClickRatio
	if table == nil {
		return nil, nil
	}
	names, err := s.names.all(ctx, s.docs, campaigns)
	if err != nil {
		return nil, err
	}
	out := &ModelCalibration{Factor: table.Factor(0), Lines: []CalibrationLine{}}
	if out.Curve, out.A, out.B = table.Curve(); out.Curve != "platt" {
		out.A, out.B = 0, 0
	}
	for _, l := range table.Lines() {
		out.Lines = append(out.Lines, CalibrationLine{Campaign: nameOf(names, l.Campaign), Rows: l.Rows, Clicks: l.Clicks, Factor: float64(l.Factor)})
	}
	return out, nil
}

// registerModelFiles adds what goes past huma, which would read it whole.
func (s *Server) registerModelFiles(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/models", s.uploadModel)
	mux.HandleFunc("GET /v1/models/{version}/body", s.downloadModel)
	model := s.schemas.Schema(reflect.TypeFor[Model](), true, "")
	failed := s.schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")
	binary := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	answers := func(status, about string, content map[string]*huma.MediaType) map[string]*huma.Response {
		return map[string]*huma.Response{
			status:    {Description: about, Content: content},
			"default": {Description: "Error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: failed}}},
		}
	}
	s.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "add-model", Method: http.MethodPost, Path: "/v1/models", Tags: []string{"models"}, Summary: "Add model",
		Description: "Takes a file that bidwell model train has written; it becomes a shadow. A file that is cut off, damaged, of another version, or predicts other than where it was trained is refused with 422, and nothing changes. A file that is there already is answered with 200.",
		RequestBody: &huma.RequestBody{Required: true, Content: binary},
		Responses:   answers("201", "Created", map[string]*huma.MediaType{"application/json": {Schema: model}}),
	})
	s.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "get-model-body", Method: http.MethodGet, Path: "/v1/models/{version}/body", Tags: []string{"models"}, Summary: "Get the file of a model",
		Description: "As bidwell model train writes it. The files of old versions are not kept.",
		Parameters:  []*huma.Param{{Name: "version", In: "path", Description: "Number of the version", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		Responses:   answers("200", "OK", binary),
	})
}

func (s *Server) uploadModel(w http.ResponseWriter, r *http.Request) {
	if s.parts.Models == nil {
		s.writeError(w, errNoModels)
		return
	}
	deadlines := http.NewResponseController(w)
	// A writer without deadlines, as in tests, has nothing to move on.
	_ = deadlines.SetWriteDeadline(time.Time{})
	body, err := io.ReadAll(&upload{r: http.MaxBytesReader(w, r.Body, s.cfg.MaxModel), deadlines: deadlines})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the model has more than %d bytes", large.Limit))
		return
	case err != nil:
		problem(w, http.StatusBadRequest, "the model ended early: "+err.Error())
		return
	}
	v, added, err := s.parts.Models.Save(r.Context(), models.Version{Origin: models.FromFile}, body)
	if err != nil {
		s.writeError(w, modelProblem(err))
		return
	}
	set, err := Experiments(r.Context(), s.docs)
	if err != nil {
		s.writeError(w, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("ETag", etag(v.Revision))
	if added {
		header.Set("Location", "/v1/models/"+strconv.FormatUint(uint64(v.Number), 10))
		w.WriteHeader(http.StatusCreated)
	}
	// An error here means that the caller has gone.
	_ = json.NewEncoder(w).Encode(s.showModel(&v, set))
}

func (s *Server) downloadModel(w http.ResponseWriter, r *http.Request) {
	if s.parts.Models == nil {
		s.writeError(w, errNoModels)
		return
	}
	id := r.PathValue("version")
	body, err := s.parts.Models.Body(r.Context(), versionOf(id))
	if err != nil {
		s.writeError(w, describe(err, &kind{noun: "file of model"}, id))
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // fails when the caller has gone
}
