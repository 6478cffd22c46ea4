package admin

import (
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/VictoriaMetrics/metrics"
	"github.com/danielgtaylor/huma/v2"
)

var (
	adminRequests = metrics.NewCounter("bidwell_admin_requests_total")
	adminRefused  = metrics.NewCounter("bidwell_admin_refused_total")
)

// guard keeps web pages out of an API that trusts whoever reaches it: a page
// that the operator happens to have open can send requests to loopback. The
// Host must be a loopback name, so that a name that was rebound to 127.0.0.1
// gets nothing, and a write must not come from another origin.
func guard(mux *http.ServeMux) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		adminRequests.Inc()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Cache-Control", "no-store")

		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !isLoopback(strings.Trim(host, "[]")) {
			refuse(w, http.StatusMisdirectedRequest, "the Host of a request must be a loopback address or localhost")
			return
		}
		if err := cross.Check(r); err != nil {
			refuse(w, http.StatusForbidden, "writes from another origin are refused: "+err.Error())
			return
		}
		if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			refuse(w, http.StatusForbidden, "requests from another site are refused")
			return
		}
		if wrongType(r) {
			refuse(w, http.StatusUnsupportedMediaType, "the body must be application/json")
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			notRouted(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// wrongType reports a body that says it is something other than JSON. Lists of
// users, of conversions and files of models may be anything.
func wrongType(r *http.Request) bool {
	streamed := strings.HasSuffix(r.URL.Path, "/members") || r.URL.Path == "/v1/models" || r.URL.Path == "/v1/conversions"
	if r.Method != http.MethodPost && r.Method != http.MethodPut || streamed || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return false
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return r.Header.Get("Content-Type") != "" && (err != nil || kind != "application/json")
}

func refuse(w http.ResponseWriter, status int, detail string) {
	adminRefused.Inc()
	problem(w, status, detail)
}

// problem answers as RFC 9457 says.
func problem(w http.ResponseWriter, status int, detail string, errs ...*huma.ErrorDetail) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// An error here means that the caller has gone.
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail, Errors: errs})
}

// notRouted answers what the mux has no route for: 404, 405 with the methods
// that are allowed, or a redirect to the clean path.
func notRouted(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	status := &statusOnly{header: http.Header{}}
	mux.ServeHTTP(status, r)
	if allow := status.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
	}
	if status.code < 400 {
		status.code = http.StatusNotFound
	}
	problem(w, status.code, r.Method+" "+r.URL.Path+": no such route")
}

type statusOnly struct {
	header http.Header
	code   int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(code int)        { s.code = code }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
