// Package pacing says whether there is money for a bid, how fast to spend it,
// and what was spent.
//
// Every line item has a slot, which draws on the accounts of its budgets: its
// own, and those it shares with the other line items of its campaign, in money,
// impressions and clicks. A bid holds what it may cost on all of them
// ([Pacer.Take]). The notice that spends turns the hold into a charge, a loss
// gives it back ([Pacer.Apply]), and what nobody reports on expires.
//
// What was spent is in [Accounts], which several bidders share; the [Ledger]
// alone spends, by the notices of the log. A bidder leases from them what its
// bids may cost ([Pacer.Lease]): what it holds and what was charged to it never
// passes what it was granted, and what all were granted and what was spent
// never passes a limit. Towards the end of a budget most of what is held will
// not be paid; then holds count at what is expected of them, with a margin
// that makes it as good as impossible for more to be paid.
//
// For a line item that does not spend as soon as possible, a plan says how
// much of the day's money may be gone by when. To follow it, a line item bids
// a part of what an impression is worth ([Pacer.Multiplier]), the same part at
// any time, so that it buys what brings most for its money; what clicks and
// conversions may cost is kept by a second such multiplier. Where that cannot
// slow spend enough, as when all prices are alike, a valve ([Pacer.Admit])
// lets through a part of the opportunities. A line item that bids and hears
// nothing, although it should have won, is stopped.
//
// Once a second [Pacer.Step] expires holds, turns days, learns the traffic of
// the hours of the week and moves multipliers and valves. The bid path reads and adds to
// a few integers and waits for nothing.
package pacing
