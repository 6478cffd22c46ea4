package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"bidwell/pacing"
	"bidwell/rtb"

	"github.com/danielgtaylor/huma/v2"
)

// The states of a line item in the pacer.
const (
	StateServing = "serving" // it takes part in bidding
	StateStopped = "stopped" // the dead-man stop holds it, see PacingReport.Reason
	StateEnded   = "ended"   // it took part and does no longer; what it spent and holds stays
	StateWaiting = "waiting" // its flight has not begun, or the bidder does not have it
)

// PacingReport is how a line item spends, as the pacer knows it.
type PacingReport struct {
	State        string
	StoppedSince time.Time // zero unless State is StateStopped
	Reason       string    // for the stop, as people read it

	Accounts []AccountReport // its own money first
	Slots    []SlotReport    // of today, in their order
	PlanOf   rtb.AccountID   // whose money is planned: its own, else that of its campaign; zero without a plan
	Planned  rtb.Money       // what should be spent of that today by now

	Multiplier    float64 // the part of what an impression is worth that it bids, at most 1
	BidRate       float64 // the part of its chances that it may take, at most 1
	Opportunities float64 // that are expected in the rest of the day; zero when unknown
	Caps          []CapReport
}

// AccountReport is the state of an account that a line item draws on.
type AccountReport struct {
	pacing.Statement           // when the lease was last renewed
	Total, Daily     rtb.Money // the limits; zero for none
	Held             rtb.Money // by this bidder, for bids whose outcome is open
}

// SlotReport is a quarter of an hour of the plan. Both sums begin with the day
// and end with the slot, or now in the one that is under way.
type SlotReport struct {
	Start   time.Time // in the advertiser's time zone
	Future  bool      // it has not begun, so nothing is spent in it
	Planned rtb.Money
	Spent   rtb.Money
}

// CapReport compares what a click or a conversion costs with what it may cost.
type CapReport struct {
	Per    string    // click or conversion
	Limit  rtb.Money // on average
	Actual rtb.Money // so far; zero while there was none
}

// Pacing is how a line item spends, in the account currency.
type Pacing struct {
	LineItem     string  `json:"line_item" doc:"Id of the line item"`
	State        string  `json:"state" enum:"serving,stopped,ended,waiting" doc:"stopped: by the dead-man stop, see stopped; ended: it took part in bidding and does no longer, what it spent and holds stays; waiting: its flight has not begun, or the bidder does not have it"`
	Stopped      *Stop   `json:"stopped,omitempty" doc:"Only where the state is stopped; POST …/resume ends it"`
	Spent        Amount  `json:"spent" doc:"Of its own money over its whole life, fees included"`
	SpentToday   Amount  `json:"spent_today"`
	Held         Amount  `json:"held" doc:"For bids whose outcome is open"`
	PlanOf       string  `json:"plan_of,omitempty" doc:"Whose money planned_today and the slots are of: its own, or its campaign's where it has no budget; absent without a plan, as of one that is paced asap" example:"line-item/runners-berlin"`
	PlannedToday Amount  `json:"planned_today" doc:"What the plan would have spent by now"`
	Multiplier   float64 `json:"multiplier" doc:"Part of what an impression is worth that it bids, at most 1: the brake that makes the money last"`
	BidRate      float64 `json:"bid_rate" doc:"Part of its chances that it may take, at most 1: the outer brake"`
	Expected     *int64  `json:"opportunities_left,omitempty" doc:"Chances that are expected in the rest of the day; absent while unknown"`

	Accounts []PacingAccount `json:"accounts" nullable:"false" doc:"All that it draws on: each must have room for a bid"`
	Slots    []PacingSlot    `json:"slots" nullable:"false" doc:"Today in quarters of an hour, plan and actual"`
	Caps     []PacingCap     `json:"caps" nullable:"false" doc:"What a click and a conversion may cost and do cost on average"`
}

// Stop says since when and why a line item does not bid.
type Stop struct {
	Since  Time   `json:"since"`
	Reason string `json:"reason" example:"no notice for 30m although 1200 bids were made"`
}

// PacingAccount is the state of one account. Its figures are amounts where it
// counts money, and whole numbers otherwise.
type PacingAccount struct {
	Owner      string `json:"owner" doc:"Whose it is" example:"line-item/runners-berlin"`
	Counts     string `json:"counts" enum:"money,impressions,clicks" doc:"Of money the figures are amounts, else whole numbers"`
	Total      string `json:"total,omitempty" doc:"Limit over its whole life; absent without one" example:"5000.00"`
	Daily      string `json:"daily,omitempty" doc:"Limit for a day; absent without one" example:"200.00"`
	Spent      string `json:"spent" doc:"By all bidders, ever" example:"1250.75"`
	SpentToday string `json:"spent_today" example:"61.20"`
	Held       string `json:"held" doc:"By this bidder, for bids whose outcome is open" example:"0.35"`
	Leased     string `json:"leased" doc:"In the hands of all bidders: what they may hold and spend without asking" example:"1.20"`
	Late       string `json:"late" doc:"Part of spent that came after its lease had ended" example:"0.00"`
	DayStart   Time   `json:"day_start,omitempty" doc:"When the advertiser's today began"`
	Nodes      int    `json:"nodes" doc:"Bidders that have a lease"`
}

// PacingSlot is a quarter of an hour.
type PacingSlot struct {
	Start   Time   `json:"start"`
	Planned Amount `json:"planned" doc:"Of the day, by the end of the slot; 0.00 without a plan"`
	Spent   Amount `json:"spent,omitempty" doc:"Of the day, by the end of the slot or now; absent for slots to come"`
}

// PacingCap compares a cost with its cap.
type PacingCap struct {
	Per    string `json:"per" enum:"click,conversion"`
	Limit  Amount `json:"limit" example:"0.60"`
	Actual Amount `json:"actual,omitempty" doc:"Absent while there was none" example:"0.57"`
}

type pacingOutput struct{ Body Pacing }

func (s *Server) registerPacing() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-line-item-pacing", Method: http.MethodGet, Path: "/v1/line-items/{id}/pacing", Tags: []string{lineItems},
		Summary:     "Get how a line item spends",
		Description: "Plan and actual of today, the accounts it draws on, and what holds it back.",
		Errors:      []int{404, 422, 500, 501},
	}, func(ctx context.Context, in *oneInput) (*pacingOutput, error) {
		if s.parts.Pacing == nil {
			return nil, huma.Error501NotImplemented("this process does not pace")
		}
		number, err := s.lineItem(ctx, in.ID)
		if err != nil {
			return nil, s.problem(err)
		}
		report, ok := s.parts.Pacing(number)
		if !ok {
			report = PacingReport{State: StateWaiting}
		}
		body, err := s.pacing(ctx, in.ID, number, &report)
		if err != nil {
			return nil, s.problem(err)
		}
		return &pacingOutput{Body: *body}, nil
	})
}

func (s *Server) registerResume() {
	huma.Register(s.api, huma.Operation{
		OperationID: "resume-line-item", Method: http.MethodPost, Path: "/v1/line-items/{id}/resume", Tags: []string{lineItems},
		Summary:     "Resume a line item that was stopped",
		Description: "Ends a dead-man stop: the line item bids again, and is stopped again if its notices stay away. Nothing changes for one that is not stopped.",
		Errors:      []int{404, 422, 500, 501}, DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *oneInput) (*noOutput, error) {
		if s.parts.Resume == nil {
			return nil, huma.Error501NotImplemented("this process does not pace")
		}
		number, err := s.lineItem(ctx, in.ID)
		if err != nil {
			return nil, s.problem(err)
		}
		if err := s.parts.Resume(number); errors.Is(err, rtb.ErrNotFound) {
			return nil, huma.Error404NotFound(fmt.Sprintf("the bidder does not have line item %q", in.ID))
		} else if err != nil {
			return nil, s.problem(err)
		}
		return nil, nil
	})
}

// lineItem is the number of a line item.
func (s *Server) lineItem(ctx context.Context, id string) (rtb.LineItemID, error) {
	_, number, _, err := s.docs.Get(ctx, lineItems, id)
	return rtb.LineItemID(number), describe(err, kindOf(lineItems), id)
}

// pacing is a report as the API shows it.
func (s *Server) pacing(ctx context.Context, id string, number rtb.LineItemID, r *PacingReport) (*Pacing, error) {
	out := &Pacing{
		LineItem: id, State: r.State, Spent: "0.00", SpentToday: "0.00", Held: "0.00", PlannedToday: Amount(r.Planned.String()),
		Multiplier: r.Multiplier, BidRate: r.BidRate,
		Accounts: make([]PacingAccount, 0, len(r.Accounts)), Slots: make([]PacingSlot, 0, len(r.Slots)), Caps: make([]PacingCap, 0, len(r.Caps)),
	}
	if r.State == StateStopped {
		out.Stopped = &Stop{Since: timeOf(r.StoppedSince), Reason: r.Reason}
	}
	if r.Opportunities > 0 {
		n := int64(r.Opportunities)
		out.Expected = &n
	}
	for i := range r.Accounts {
		a := &r.Accounts[i]
		owner := kindOf(lineItems).noun + "/" + id
		if !a.Account.LineItem() || a.Account.Number() != uint32(number) {
			var err error
			if owner, err = s.owner(ctx, a.Account); err != nil {
				return nil, err
			}
		}
		out.Accounts = append(out.Accounts, a.show(owner))
		if a.Account == r.PlanOf {
			out.PlanOf = owner
		}
		if a.Account == rtb.LineItemAccount(number, rtb.OfMoney) {
			out.Spent, out.SpentToday, out.Held = Amount(a.Spent.String()), Amount((a.Spent - a.Before).String()), Amount(a.Held.String())
		}
	}
	for _, slot := range r.Slots {
		shown := PacingSlot{Start: timeOf(slot.Start), Planned: Amount(slot.Planned.String())}
		if !slot.Future {
			shown.Spent = Amount(slot.Spent.String())
		}
		out.Slots = append(out.Slots, shown)
	}
	for _, k := range r.Caps {
		shown := PacingCap{Per: k.Per, Limit: Amount(k.Limit.String())}
		if k.Actual > 0 {
			shown.Actual = Amount(k.Actual.String())
		}
		out.Caps = append(out.Caps, shown)
	}
	return out, nil
}

func (a *AccountReport) show(owner string) PacingAccount {
	of := a.Account.Measure()
	figure := func(m rtb.Money) string {
		if of == rtb.OfMoney {
			return m.String()
		}
		return strconv.FormatInt(int64(m), 10)
	}
	limit := func(m rtb.Money) string {
		if m == 0 {
			return ""
		}
		return figure(m)
	}
	return PacingAccount{
		Owner: owner, Counts: of.String(), Total: limit(a.Total), Daily: limit(a.Daily),
		Spent: figure(a.Spent), SpentToday: figure(a.Spent - a.Before), Held: figure(a.Held), Leased: figure(a.Leased), Late: figure(a.Late),
		DayStart: timeOf(a.DayStart), Nodes: a.Nodes,
	}
}

// owner is whose an account is, such as "campaign/spring".
func (s *Server) owner(ctx context.Context, id rtb.AccountID) (string, error) {
	kind := kindOf(campaigns)
	if id.LineItem() {
		kind = kindOf(lineItems)
	}
	name, err := s.names.of(ctx, s.docs, kind.name, id.Number())
	return kind.noun + "/" + name, err
}

// timeOf is an instant as the API writes it; empty when it is zero.
func timeOf(t time.Time) Time {
	if t.IsZero() {
		return ""
	}
	return Time(t.Format(time.RFC3339))
}
