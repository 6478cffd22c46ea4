package main

import (
	"bidwell/admin"
	"bidwell/pacing"
	"bidwell/rtb"
)

// pacing tells the admin API what the pacer knows of a line item.
func (s *server) pacing(id rtb.LineItemID) (report admin.PacingReport, ok bool) {
	report.State = admin.StateEnded
	for _, item := range s.catalog.Index().LineItems() {
		if item.ID == id {
			report.State = admin.StateServing
		}
	}
	report.Multiplier = 1
	if steered, known := s.pacer.Report(id); known {
		report.Multiplier, report.Opportunities = steered.Multiplier, steered.OpportunitiesLeft
		for _, slot := range steered.Slots {
			report.Slots = append(report.Slots, admin.SlotReport{Start: slot.Start, Future: !slot.Known, Planned: slot.Planned, Spent: slot.Spent})
		}
		for _, c := range steered.Caps {
			report.Caps = append(report.Caps, admin.CapReport{Per: c.Event.String(), Limit: c.Target, Actual: c.Actual})
		}
	}
	for _, b := range s.pacer.Balances() {
		if b.LineItem != id {
			continue
		}
		ok = true
		account := admin.AccountReport{
			Statement: pacing.Statement{Account: b.Account, Spent: b.Spent, Before: b.Spent - b.SpentToday, Late: b.Late},
			Total:     b.LimitTotal, Daily: b.LimitDaily, Held: b.Held,
		}
		if b.Account == rtb.LineItemAccount(id, rtb.OfMoney) {
			report.Planned, report.BidRate = b.Planned, b.Rate
			report.Accounts = append([]admin.AccountReport{account}, report.Accounts...)
		} else {
			report.Accounts = append(report.Accounts, account)
		}
	}
	return report, ok
}
