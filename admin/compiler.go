package admin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// Compiler turns documents into line items. Its method LineItems is what
// targeting.Catalog follows. It is safe for concurrent use.
type Compiler struct {
	docs     Documents
	exchange func(name string) (rtb.ExchangeID, bool)
	answer   func(*rtb.Creative) error

	running sync.Mutex // one reading at a time, each building on the last
	last    reading

	mu       sync.Mutex
	version  uint64 // at which problems were found
	problems []Problem
	logged   map[Problem]bool
}

// Problem says why a document that should take part in bidding does not.
type Problem struct {
	Kind   string `json:"kind" doc:"Kind of the document" example:"line-items"`
	ID     string `json:"id" doc:"Id of the document"`
	Reason string `json:"reason"`
}

// NewCompiler makes a compiler. The function exchange knows the numbers of
// exchanges by name; answer prepares the markup of a creative and says what is
// wrong with its assets. Without them nothing is known or prepared.
func NewCompiler(docs Documents, exchange func(name string) (rtb.ExchangeID, bool), answer func(*rtb.Creative) error) *Compiler {
	if exchange == nil {
		exchange = func(string) (rtb.ExchangeID, bool) { return 0, false }
	}
	if answer == nil {
		answer = func(*rtb.Creative) error { return nil }
	}
	return &Compiler{docs: docs, exchange: exchange, answer: answer}
}

// LineItems reads the active line items of active campaigns and advertisers and
// the version they were read at; when that is still have it returns the version
// alone. A document that cannot be used is left out, see [Compiler.Problems],
// and the others are not touched by it. The line items come in the order of
// their ids. They belong to the caller, but what they point to is shared with
// those of other calls and never changes.
func (c *Compiler) LineItems(ctx context.Context, have uint64) ([]rtb.LineItem, uint64, error) {
	version, err := c.docs.Version(ctx)
	if err != nil || version == have {
		return nil, version, err
	}
	c.running.Lock()
	defer c.running.Unlock()
	run := compilation{compiler: c, last: &c.last, changed: map[reference]bool{}}
	if run.zones = c.last.zones; run.zones == nil {
		run.zones = map[string]*time.Location{}
	}
	var items []rtb.LineItem
	err = c.docs.View(ctx, func(ctx context.Context) error {
		if version, err = c.docs.Version(ctx); err != nil {
			return err
		}
		if err := run.documents(ctx); err != nil {
			return err
		}
		items, err = run.compile(ctx)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("compile line items: %w", err) // the last reading stays whole
	}
	c.last = run.reading
	c.report(version, run.all)
	return items, version, nil
}

// Problems are what was left out by the last reading of the current version.
func (c *Compiler) Problems(ctx context.Context) ([]Problem, error) {
	c.mu.Lock()
	version := c.version
	c.mu.Unlock()
	if _, _, err := c.LineItems(ctx, version); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.problems), nil
}

// report keeps problems for the API and logs those that are new.
func (c *Compiler) report(version uint64, problems []Problem) {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Reason, b.Reason))
	})
	problems = slices.Compact(problems)
	c.mu.Lock()
	defer c.mu.Unlock()
	if version < c.version {
		return // overtaken by a newer reading
	}
	logged := make(map[Problem]bool, len(problems))
	for _, p := range problems {
		if logged[p] = true; !c.logged[p] {
			slog.Warn("document left out of bidding", "kind", p.Kind, "id", p.ID, "reason", p.Reason)
		}
	}
	c.version, c.problems, c.logged = version, problems, logged
}

type problemsOutput struct {
	Body struct {
		Problems []Problem `json:"problems" nullable:"false"`
	}
}

func (s *Server) registerProblems() {
	huma.Register(s.api, huma.Operation{
		OperationID: "list-problems", Method: http.MethodGet, Path: "/v1/problems", Tags: []string{"problems"},
		Summary:     "List problems",
		Description: "Documents that should take part in bidding and do not, and why. The others serve on.",
		Errors:      []int{500},
	}, func(ctx context.Context, _ *struct{}) (*problemsOutput, error) {
		problems, err := s.compiler.Problems(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		out := &problemsOutput{}
		out.Body.Problems = append([]Problem{}, problems...)
		set, err := s.experiments(ctx)
		if err != nil {
			return nil, s.problem(err)
		}
		out.Body.Problems = append(out.Body.Problems, set.Problems...)
		if s.parts.ExchangeProblems != nil {
			out.Body.Problems = append(out.Body.Problems, s.parts.ExchangeProblems()...)
			slices.SortStableFunc(out.Body.Problems, func(a, b Problem) int { return cmp.Compare(a.Kind, b.Kind) })
		}
		return out, nil
	})
}
