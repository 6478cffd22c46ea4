package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

type explainInput struct {
	Body struct {
		Exchange string          `json:"exchange" minLength:"1" maxLength:"64" example:"generic" doc:"As in POST /bid/{exchange}"`
		Request  json.RawMessage `json:"request" doc:"An OpenRTB bid request"`
	}
}

type explainOutput struct{ Body rtb.Explanation }

func (s *Server) registerExplain() {
	huma.Register(s.api, huma.Operation{
		OperationID: "explain", Method: http.MethodPost, Path: "/v1/explain", Tags: []string{"explain"},
		Summary:     "Explain a decision",
		Description: "Decides on a bid request as the bidder does, without bidding, and says for every line item which rule stopped it or what it would bid.",
		Errors:      []int{400, 404, 413, 415, 422, 501}, MaxBodyBytes: s.cfg.MaxBody + 1,
	}, func(_ context.Context, in *explainInput) (*explainOutput, error) {
		if s.parts.Explain == nil {
			return nil, huma.Error501NotImplemented("this process does not bid")
		}
		explanation, err := s.parts.Explain(in.Body.Exchange, in.Body.Request)
		if errors.Is(err, rtb.ErrNotFound) {
			return nil, huma.Error404NotFound(fmt.Sprintf("there is no exchange %q", in.Body.Exchange))
		} else if err != nil {
			return nil, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: "body.request", Message: err.Error()})
		}
		if explanation.Imps == nil {
			explanation.Imps = []rtb.ImpExplanation{}
		}
		return &explainOutput{Body: explanation}, nil
	})
}
