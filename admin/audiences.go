package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Errors that Parts.Import and Parts.Convert wrap. The answer carries their text.
var (
	ErrUpload = errors.New("the list cannot be used") // 422
	ErrNotNow = errors.New("not now")                 // 503
)

// ImportResult counts what became of a list of users.
type ImportResult struct {
	Read      int64       `json:"read" doc:"Identifiers read"`
	Added     int64       `json:"added" doc:"Users that were not in the segment; with remove, users that were"`
	Duplicate int64       `json:"duplicate" doc:"Already in the segment, or twice in the list"`
	Invalid   int64       `json:"invalid" doc:"Not identifiers of their kind"`
	OptedOut  int64       `json:"opted_out" doc:"Left out because the person has opted out"`
	Matched   int64       `json:"matched" doc:"Users that were known before"`
	Errors    []LineError `json:"errors" nullable:"false" doc:"The first hundred invalid lines"`
}

// LineError is what is wrong with one line of a list. It never repeats the
// identifier.
type LineError struct {
	Line   int64  `json:"line"`
	Reason string `json:"reason"`
}

// uploadPause is how long an upload may stand still.
const uploadPause = 30 * time.Second

// registerMembers adds the upload of audiences. The body streams past huma,
// which would read it whole.
func (s *Server) registerMembers(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/segments/{id}/members", s.uploadMembers)
	s.describeUpload(reflect.TypeFor[ImportResult](), &huma.Operation{
		OperationID: "upload-members", Path: "/v1/segments/{id}/members", Tags: []string{segments},
		Summary:     "Upload members",
		Description: "Streams CSV or one identifier a line, plain or gzip. E-mail addresses and phone numbers are normalised and hashed; identifiers are not stored. The whole list takes effect, or nothing of it.",
		Parameters: []*huma.Param{
			textParam("id", "path", "Id of the segment", true),
			textParam("mode", "query", "What to do with the users; add when not given", false, "add", "replace", "remove"),
			textParam("kind", "query", "What the identifiers are, where the list does not say", false),
			textParam("ttl", "query", "How long they stay, such as 720h; that of the segment when not given", false),
		},
	}, "text/csv", "text/plain")
}

func textParam(name, in, about string, required bool, values ...any) *huma.Param {
	return &huma.Param{Name: name, In: in, Description: about, Required: required, Schema: &huma.Schema{Type: huma.TypeString, Enum: values}}
}

// describeUpload adds the description of a route that takes a list, in one of
// the forms of text or packed.
func (s *Server) describeUpload(result reflect.Type, op *huma.Operation, forms ...string) {
	content := map[string]*huma.MediaType{"application/gzip": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	for _, form := range forms {
		content[form] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	ok := map[string]*huma.MediaType{"application/json": {Schema: s.schemas.Schema(result, true, "")}}
	failed := map[string]*huma.MediaType{"application/problem+json": {Schema: s.schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")}}
	op.Method = http.MethodPost
	op.RequestBody = &huma.RequestBody{Required: true, Content: content}
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: ok}, "default": {Description: "Error", Content: failed}}
	s.api.OpenAPI().AddOperation(op)
}

func (s *Server) uploadMembers(w http.ResponseWriter, r *http.Request) {
	if s.parts.Import == nil {
		problem(w, http.StatusNotImplemented, "this process keeps no profiles")
		return
	}
	query, id := r.URL.Query(), r.PathValue("id")
	c := &checker{at: "query"}
	mode := query.Get("mode")
	switch mode {
	case "":
		mode = "add"
	case "add", "replace", "remove":
	default:
		c.fail("mode", mode, "must be add, replace or remove")
	}
	ttl := c.duration("ttl", Duration(query.Get("ttl")), time.Second, maxWindow)
	for name := range query {
		if name != "mode" && name != "kind" && name != "ttl" {
			c.fail(name, nil, "unknown query parameter")
		}
	}
	if len(c.errs) > 0 {
		problem(w, http.StatusUnprocessableEntity, "validation failed", c.errs...)
		return
	}
	body, number, _, err := s.docs.Get(r.Context(), segments, id)
	var segment Segment
	if err == nil {
		err = json.Unmarshal(body, &segment)
	}
	if err != nil {
		s.writeError(w, describe(err, kindOf(segments), id))
		return
	}
	if ttl == 0 && mode != "remove" {
		ttl, _ = time.ParseDuration(string(segment.TTL))
	}
	list := s.receive(w, r)
	result, err := s.parts.Import(r.Context(), rtb.SegmentID(number), mode, query.Get("kind"), ttl, list)
	if result.Errors == nil {
		result.Errors = []LineError{}
	}
	s.answerUpload(w, list, err, &result, result.Errors, result.Invalid)
}

// receive begins to read a list of any length.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) *upload {
	deadlines := http.NewResponseController(w)
	// A writer without deadlines, as in tests, has nothing to move on.
	_ = deadlines.SetWriteDeadline(time.Time{})
	return &upload{r: http.MaxBytesReader(w, r.Body, s.cfg.MaxUpload), deadlines: deadlines}
}

// answerUpload answers with the result, or with what is wrong with the list and
// its lines.
func (s *Server) answerUpload(w http.ResponseWriter, list *upload, err error, result any, lines []LineError, invalid int64) {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		// An error here means that the caller has gone.
		_ = json.NewEncoder(w).Encode(result)
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the list has more than %d bytes", large.Limit))
	case errors.Is(err, ErrUpload):
		details := make([]*huma.ErrorDetail, len(lines))
		for i, e := range lines {
			details[i] = &huma.ErrorDetail{Location: fmt.Sprintf("body line %d", e.Line), Message: e.Reason}
		}
		if more := invalid - int64(len(lines)); more > 0 {
			details = append(details, &huma.ErrorDetail{Message: fmt.Sprintf("and %d more", more)})
		}
		problem(w, http.StatusUnprocessableEntity, err.Error(), details...)
	case errors.Is(err, ErrNotNow):
		w.Header().Set("Retry-After", "10")
		problem(w, http.StatusServiceUnavailable, err.Error())
	case list.failed != nil:
		problem(w, http.StatusBadRequest, "the list ended early: "+list.failed.Error())
	default:
		s.writeError(w, err)
	}
}

// upload moves the deadline of the connection on as long as bytes come, so that
// a long list is not cut off and a caller that went silent is.
type upload struct {
	r         io.Reader
	deadlines *http.ResponseController
	failed    error
}

func (u *upload) Read(p []byte) (int, error) {
	_ = u.deadlines.SetReadDeadline(time.Now().Add(uploadPause)) // as above
	n, err := u.r.Read(p)
	if err != nil && err != io.EOF {
		u.failed = err
	}
	return n, err
}

// writeError answers outside of huma.
func (s *Server) writeError(w http.ResponseWriter, err error) {
	err = s.problem(err)
	var model *huma.ErrorModel
	if errors.As(err, &model) {
		problem(w, model.Status, model.Detail, model.Errors...)
		return
	}
	problem(w, http.StatusInternalServerError, err.Error())
}
