package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"bidwell/events/report"
	"bidwell/models"
	"bidwell/pacing"
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Config sets how the API is served. The zero value is not valid; start from
// DefaultConfig.
type Config struct {
	Listen string // a loopback address, as long as there are no accounts

	MaxBody   int64 // of a document, in bytes
	MaxApply  int64 // of POST /v1/apply, in bytes
	MaxUpload int64 // of a list of users or conversions as it is sent, in bytes
	MaxModel  int64 // of the file of a model, in bytes

	// DrainWait bounds how long Serve waits for requests when it stops.
	DrainWait time.Duration
}

// DefaultConfig returns settings for one machine.
func DefaultConfig() Config {
	return Config{
		Listen:    "127.0.0.1:8081",
		MaxBody:   1 << 20,
		MaxApply:  16 << 20,
		MaxUpload: 4 << 30,
		MaxModel:  512 << 20,
		DrainWait: 10 * time.Second,
	}
}

// Validate reports every setting that is wrong.
func (c Config) Validate() error {
	var errs []error
	if err := loopback(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	if c.MaxBody <= 0 || c.MaxApply <= 0 || c.MaxUpload <= 0 || c.MaxModel <= 0 {
		errs = append(errs, errors.New("max-body, max-apply, max-upload, max-model: must be positive"))
	}
	if c.DrainWait <= 0 {
		errs = append(errs, errors.New("drain-wait: must be positive"))
	}
	return errors.Join(errs...)
}

// loopback refuses an address that others could reach: there are no accounts
// yet, so whoever reaches the API may change everything.
func loopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if isLoopback(host) {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address: the admin API has no accounts yet, so it listens on 127.0.0.1, [::1] or localhost only; reach it from elsewhere through an SSH tunnel", listen)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Parts are what a Server is made of. Only Documents is required; a route whose
// part is missing answers 501.
type Parts struct {
	Documents Documents

	// Compiler is the one that the catalog follows, so that the problems shown
	// are those of what serves. Without it the server makes one of its own.
	Compiler *Compiler

	// Import puts the users of a list into a segment, or takes them out. The
	// mode is add, replace or remove; kind says what the identifiers are, and
	// is empty when the caller did not; ttl is 0 for good.
	Import func(ctx context.Context, segment rtb.SegmentID, mode, kind string, ttl time.Duration, body io.Reader) (ImportResult, error)
	// Convert brings a list of conversions into the log. What it has accepted is
	// durable when it returns, also with an error.
	Convert func(ctx context.Context, how ConversionList, body io.Reader) (ConversionsResult, error)
	// SegmentSize is the number of members.
	SegmentSize func(segment rtb.SegmentID) (int64, error)
	// Explain decides on a request as a bid would and says why. It returns
	// rtb.ErrNotFound for an unknown exchange.
	Explain func(exchange string, request []byte) (rtb.Explanation, error)
	// Pacing is how a line item spends; false when the pacer does not have it.
	Pacing func(rtb.LineItemID) (PacingReport, bool)
	// Resume ends a stop, see PacingReport. It returns rtb.ErrNotFound for a
	// line item that the pacer does not have, and nil where there is no stop.
	Resume func(rtb.LineItemID) error
	// Discrepancies are what the notices say of every line item through every
	// exchange.
	Discrepancies func(context.Context) ([]pacing.Tally, error)
	// Shading is what lowering bids in first-price auctions has saved.
	Shading func() models.Savings
	// Maturity is how late conversions are, by campaign, as far as was learned.
	Maturity func() []models.Maturity
	// Models are the versions of the models that bids are priced by.
	Models *models.Registry
	// ValidateExchange checks what a document changes of the profile of an
	// exchange, or the whole profile of one that is not built in.
	ValidateExchange func(name string, profile json.RawMessage) error
	// RedactExchange takes the secrets out of a profile before it is shown.
	RedactExchange func(profile json.RawMessage) json.RawMessage
	// ExchangeID finds the number of an exchange by its name, and ExchangeName
	// its name by the number.
	ExchangeID   func(name string) (rtb.ExchangeID, bool)
	ExchangeName func(rtb.ExchangeID) (name string, ok bool)
	// ExchangeProblems are the documents of exchanges that do not serve.
	ExchangeProblems func() []Problem
	// Answer prepares the markup of a creative and says what is wrong with its
	// assets.
	Answer func(*rtb.Creative) error
	// ExperimentResult is what the log says of an experiment.
	ExperimentResult func(report.Ask) (*report.Result, error)
	// Now is the bidder's clock; the real one where it is nil.
	Now func() time.Time
	// Ready says why traffic should go elsewhere; nil when it may come.
	Ready func() error
}

// Server is the control plane's HTTP side.
type Server struct {
	cfg      Config
	parts    Parts
	docs     Documents
	compiler *Compiler
	api      huma.API
	schemas  huma.Registry
	handler  http.Handler
	names    names
}

// New makes a server that does not listen yet.
func New(cfg Config, parts Parts) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if parts.Documents == nil {
		return nil, errors.New("admin: no Documents")
	}
	if parts.Now == nil {
		parts.Now = time.Now
	}
	s := &Server{cfg: cfg, parts: parts, docs: parts.Documents, compiler: parts.Compiler}
	if s.compiler == nil {
		s.compiler = NewCompiler(parts.Documents, parts.ExchangeID, parts.Answer)
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("bidwell", "1")
	config.Info.Description = "The control plane of bidwell: advertisers, campaigns, line items, creatives, segments, exchanges, deals and experiments. " +
		"Amounts and CPMs are decimal strings in the account currency, times RFC 3339, durations Go style. " +
		"PUT creates or replaces under the caller's own id; ETag and If-Match carry versions; errors are RFC 9457 problems that name every wrong field."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", "" // served below, without scripts from elsewhere
	config.CreateHooks = nil                                             // no $schema in documents: a GET can be PUT back
	s.api = humago.New(mux, config)
	s.schemas = s.api.OpenAPI().Components.Schemas
	s.routes(mux)
	s.handler = guard(mux)
	return s, nil
}

// Handler serves the whole API; it is what tests and other listeners use.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen opens the configured address for Serve.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if err := loopback(listener.Addr().String()); err != nil {
		return nil, errors.Join(fmt.Errorf("admin: %w", err), listener.Close())
	}
	return listener, nil
}

// Serve answers on the listener, which it closes, until ctx ends, then lets
// running requests finish.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second, // an upload moves it on as it reads
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainWait)
		defer cancel()
		err := server.Shutdown(drain)
		if err != nil {
			err = errors.Join(fmt.Errorf("admin: stop: %w", err), server.Close())
		}
		stopped <- err
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return <-stopped
}

func (s *Server) routes(mux *http.ServeMux) {
	register[Advertiser](s, advertisers)
	register[Campaign](s, campaigns)
	register[LineItem](s, lineItems)
	register[Creative](s, creatives)
	register[Segment](s, segments)
	register[Exchange](s, exchanges)
	register[Deal](s, deals)
	register[Experiment](s, experiments)
	s.registerExperimentResults()
	s.registerApply()
	s.registerMembers(mux)
	s.registerConversions(mux)
	s.registerExplain()
	s.registerPacing()
	s.registerResume()
	s.registerDiscrepancies()
	s.registerShading()
	s.registerMaturity()
	s.registerModels(mux)
	s.registerProblems()
	s.registerDocs(mux)

	watched(mux, s.parts.Ready)
}
