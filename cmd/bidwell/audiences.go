package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bidwell/admin"
	"bidwell/rtb"
	"bidwell/targeting/audience"
)

// importMembers is the admin API's way into the importer.
func (s *server) importMembers(ctx context.Context, segment rtb.SegmentID, mode, kind string, ttl time.Duration, body io.Reader) (admin.ImportResult, error) {
	up := audience.Upload{Segment: segment, TTL: ttl}
	var err error
	if up.Mode, err = audience.ParseMode(mode); err != nil {
		return admin.ImportResult{}, fmt.Errorf("%w: %w", admin.ErrUpload, err)
	}
	if up.Kind, err = audience.ParseKind(kind); err != nil {
		return admin.ImportResult{}, fmt.Errorf("%w: %w", admin.ErrUpload, err)
	}
	r, err := s.importer.Import(ctx, s.clock.Now(), up, body, nil)
	out := admin.ImportResult{
		Read:      int64(r.Read),
		Added:     int64(r.Added + r.Removed),
		Duplicate: int64(r.Duplicate + r.Already),
		Invalid:   int64(r.Invalid),
		OptedOut:  int64(r.OptedOut),
		Matched:   int64(r.Matched),
		Errors:    []admin.LineError{},
	}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, admin.LineError{Line: int64(e.Line), Reason: e.Reason})
	}
	if wrong := unusable(err); wrong != "" {
		err = uploadError{wrong, err}
	}
	return out, err
}

// unusable is what is wrong with a list, or nothing when the error is not of
// the list. What the store says around it is none of the caller's business.
func unusable(err error) string {
	var line audience.LineError
	if errors.As(err, &line) {
		return line.Error()
	}
	for _, of := range []error{audience.ErrNoIDs, audience.ErrTooManyIDs, audience.ErrNoConversions, audience.ErrTooManyConversions, audience.ErrUnreadable} {
		if errors.Is(err, of) {
			text := err.Error()
			text, _, _ = strings.Cut(text[max(strings.Index(text, of.Error()), 0):], "\n")
			return text
		}
	}
	return ""
}

// uploadError tells the caller what is wrong with a list, and the program why.
type uploadError struct {
	text  string
	cause error
}

func (e uploadError) Error() string   { return e.text }
func (e uploadError) Unwrap() []error { return []error{admin.ErrUpload, e.cause} }
