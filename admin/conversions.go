package admin

import (
	"net/http"
	"reflect"

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// ConversionList says how a list of conversions is to be read.
type ConversionList struct {
	Kind        string                      // what the identifiers are, where the list does not say; may be empty
	Advertiser  rtb.AdvertiserID            // of conversions that name none; zero where each has to
	Advertisers map[string]rtb.AdvertiserID // by their ids
}

// ConversionsResult counts what became of a list of conversions.
type ConversionsResult struct {
	Read          int64       `json:"read" doc:"Conversions read"`
	Accepted      int64       `json:"accepted" doc:"That are in the log now and were not before"`
	Duplicate     int64       `json:"duplicate" doc:"Of an order that is in the log already, or twice in the list"`
	Invalid       int64       `json:"invalid" doc:"That cannot be read"`
	OptedOut      int64       `json:"opted_out" doc:"Left out because the person has opted out"`
	InExperiments int64       `json:"in_experiments" doc:"Accepted ones of users who are in an experiment by now. None at all says that the identifiers are other than those of bid requests"`
	Errors        []LineError `json:"errors" nullable:"false" doc:"The first hundred invalid lines"`
}

// registerConversions adds the upload of conversions, which streams like that of
// audiences.
func (s *Server) registerConversions(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/conversions", s.uploadConversions)
	s.describeUpload(reflect.TypeFor[ConversionsResult](), &huma.Operation{
		OperationID: "upload-conversions", Path: "/v1/conversions", Tags: []string{"conversions"},
		Summary: "Upload conversions",
		Description: "Streams CSV whose first line names the columns, or a JSON object a line, plain or gzip: an identifier of the user (id, email, phone, device_id, cookie, " +
			"sha256_email, sha256_phone or partner), time (RFC 3339 or Unix seconds, of the last 30 days), value (in the account currency), order (what the advertiser calls it) and advertiser (the id of its " +
			"document). Identifier and time are required. Identifiers and orders are hashed and not stored. Each order of an advertiser counts once, however often it is sent; without an order, " +
			"user, time and value stand for it. Invalid lines are left out. When the list breaks off, what came before is accepted: send the whole list again.",
		Parameters: []*huma.Param{
			textParam("kind", "query", "What identifiers in a column id are; by their form when not given", false),
			textParam("advertiser", "query", "Id of the advertiser of conversions that name none; not needed where there is only one", false),
		},
	}, "text/csv", "application/x-ndjson")
}

func (s *Server) uploadConversions(w http.ResponseWriter, r *http.Request) {
	if s.parts.Convert == nil {
		problem(w, http.StatusNotImplemented, "this process keeps no log")
		return
	}
	query := r.URL.Query()
	all, err := s.names.all(r.Context(), s.docs, advertisers)
	if err != nil {
		s.writeError(w, err)
		return
	}
	how := ConversionList{Kind: query.Get("kind"), Advertisers: make(map[string]rtb.AdvertiserID, len(all))}
	for number, id := range all {
		how.Advertisers[id] = rtb.AdvertiserID(number)
		if len(all) == 1 {
			how.Advertiser = rtb.AdvertiserID(number)
		}
	}
	c := &checker{at: "query"}
	if len(all) == 0 {
		c.fail("advertiser", nil, "there is none yet, and so nobody whose conversions these are")
	} else if id := query.Get("advertiser"); id != "" {
		if how.Advertiser = how.Advertisers[id]; how.Advertiser == 0 {
			c.fail("advertiser", id, "there is no advertiser %q", id)
		}
	}
	for name := range query {
		if name != "kind" && name != "advertiser" {
			c.fail(name, nil, "unknown query parameter")
		}
	}
	if len(c.errs) > 0 {
		problem(w, http.StatusUnprocessableEntity, "validation failed", c.errs...)
		return
	}
	list := s.receive(w, r)
	result, err := s.parts.Convert(r.Context(), how, list)
	if result.Errors == nil {
		result.Errors = []LineError{}
	}
	s.answerUpload(w, list, err, &result, result.Errors, result.Invalid)
}
