package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"bidwell/admin"
	"bidwell/bidder/exchange"
	"bidwell/rtb"
	"bidwell/store/sql"
)

// exchanges are the profiles of the exchanges, built in and changed by documents.
type exchanges struct {
	documents *sql.Store
	publicURL string
	directory atomic.Pointer[exchange.Directory]
	leftOut   atomic.Pointer[[]admin.Problem] // those that do not serve
}

// silent reports whether an exchange tells of no losses.
func (s *exchanges) silent(id rtb.ExchangeID) bool {
	ex := s.directory.Load().ByID(id)
	return ex != nil && !ex.Form.LURL
}

// refreshExchanges reads the documents that change or add exchange profiles. One
// that cannot serve, such as for the number of an older one, is left out: it
// must neither hold up the changes of the others nor a start.
func (s *exchanges) refreshExchanges(ctx context.Context) error {
	documents, _, err := admin.ExchangeDocuments(ctx, s.documents)
	if err != nil {
		return fmt.Errorf("read exchange profiles: %w", err)
	}
	directory, err := exchange.NewDirectory(exchange.Builtin(), s.publicURL)
	if err != nil {
		return err
	}
	slices.SortFunc(documents, func(a, b admin.ExchangeDocument) int { return cmp.Compare(a.Number, b.Number) })
	var profiles []exchange.Profile
	problems := []admin.Problem{}
	for _, d := range documents {
		p, err := exchangeProfile(d.Name, d.Number, d.Profile)
		if err == nil {
			var next *exchange.Directory
			if next, err = exchange.NewDirectory(exchange.Merge(append(profiles, p)), s.publicURL); err == nil {
				directory, profiles = next, append(profiles, p)
			}
		}
		if err != nil {
			problem := admin.Problem{Kind: "exchanges", ID: d.Name, Reason: err.Error()}
			if problems = append(problems, problem); !slices.Contains(s.exchangeProblems(), problem) {
				slog.Warn("exchange profile does not serve", "exchange", d.Name, "cause", err)
			}
		}
	}
	s.leftOut.Store(&problems)
	s.directory.Store(directory)
	return nil
}

// exchangeProblems are the documents that the last refresh has left out.
func (s *exchanges) exchangeProblems() []admin.Problem {
	if left := s.leftOut.Load(); left != nil {
		return *left
	}
	return nil
}

// exchangeProfile is the built-in profile of that name, or the generic one,
// with what the document changes of it.
func exchangeProfile(id string, number uint32, changes json.RawMessage) (exchange.Profile, error) {
	p := exchange.Builtin()[0]
	p.ID = rtb.ExchangeID(min(31+number, 255))
	for _, b := range exchange.Builtin() {
		if b.Name == id {
			p = b
			p.ID = exchange.BuiltinID(id)
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(changes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return exchange.Profile{}, fmt.Errorf("exchange %q: %w", id, err)
	}
	p.Name = id
	return p, p.Validate()
}

// validateExchange checks a document before it is stored.
func (s *exchanges) validateExchange(name string, profile json.RawMessage) error {
	if _, err := exchangeProfile(name, 1, profile); err != nil {
		return err
	}
	var named struct{ Number rtb.ExchangeID } // else it gets one by itself
	if err := json.Unmarshal(profile, &named); err != nil {
		return err
	}
	if other := s.directory.Load().ByID(named.Number); other != nil && other.Name != name {
		return fmt.Errorf("number: %d is that of %q", named.Number, other.Name)
	}
	return nil
}

// redactExchange takes the secrets out of what a document changes. Names count
// in any case, as they do where the document is read.
func redactExchange(profile json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(profile, &members) != nil {
		return json.RawMessage("{}")
	}
	hide := func(m map[string]json.RawMessage, names ...string) {
		for member := range m {
			if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(member, name) }) {
				m[member], _ = json.Marshal(exchange.Redacted)
			}
		}
	}
	hide(members, "token")
	for member, value := range members {
		var price map[string]json.RawMessage
		if strings.EqualFold(member, "price") && json.Unmarshal(value, &price) == nil {
			hide(price, "encryption_key", "integrity_key")
			members[member], _ = json.Marshal(price)
		}
	}
	shown, err := json.Marshal(members)
	if err != nil {
		return json.RawMessage("{}")
	}
	return shown
}
