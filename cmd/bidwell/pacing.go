package main

import (
	"context"
	"log/slog"

	"bidwell/admin"
	"bidwell/pacing"
	"bidwell/rtb"
)

// pacing tells the admin API how a line item spends: the pacer's plan and
// brakes, and the accounts as the books have them.
func (s *server) pacing(id rtb.LineItemID) (out admin.PacingReport, ok bool) {
	report, _ := s.pacer.Report(id) // of one that has ended there is none, but it has its accounts
	out = admin.PacingReport{
		State: admin.StateEnded, Multiplier: report.Multiplier, BidRate: report.Rate, Opportunities: report.OpportunitiesLeft,
	}
	for _, item := range s.catalog.Index().LineItems() {
		if item.ID == id {
			out.State = admin.StateServing
			if item.Flight.Start.After(s.clock.Now()) {
				out.State = admin.StateWaiting
			}
		}
	}
	if report.Planned {
		out.PlanOf = report.Account
	}
	for _, slot := range report.Slots {
		out.Slots = append(out.Slots, admin.SlotReport{Start: slot.Start, Future: !slot.Known, Planned: slot.Planned, Spent: slot.Spent})
	}
	for _, c := range report.Caps {
		out.Caps = append(out.Caps, admin.CapReport{Per: c.Event.String(), Limit: c.Target, Actual: c.Actual})
	}
	statements := s.statements()
	for _, b := range s.pacer.Balances() {
		if b.LineItem != id {
			continue
		}
		ok = true
		if !b.Stopped.IsZero() && out.State == admin.StateServing {
			out.State, out.StoppedSince, out.Reason = admin.StateStopped, b.Stopped, b.Why
		}
		a := admin.AccountReport{Statement: statements[b.Account], Total: b.LimitTotal, Daily: b.LimitDaily, Held: b.Held}
		a.Account = b.Account
		if b.Account == out.PlanOf {
			out.Planned = b.Planned
		}
		if b.Account == rtb.LineItemAccount(id, rtb.OfMoney) {
			out.Accounts = append([]admin.AccountReport{a}, out.Accounts...)
		} else {
			out.Accounts = append(out.Accounts, a)
		}
	}
	return out, ok
}

// statements are those of all accounts; none when the books cannot be read.
func (s *server) statements() map[rtb.AccountID]pacing.Statement {
	list, err := s.books.accounts.Statements(context.Background(), s.clock.Now())
	if err != nil {
		slog.Warn("accounts cannot be read", "cause", err)
	}
	byAccount := make(map[rtb.AccountID]pacing.Statement, len(list))
	for _, statement := range list {
		byAccount[statement.Account] = statement
	}
	return byAccount
}
