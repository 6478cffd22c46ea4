// Package pacing says whether there is money for a bid, and how fast to spend
// it.
//
// Every line item has a slot, which draws on the accounts of its budgets: its
// own, and those it shares with the other line items of its campaign. A bid
// holds its price on all of them ([Pacer.Take]). A win turns the hold into
// spend ([Pacer.Settle]), a loss gives it back ([Pacer.Release]), and what
// nobody reports on expires. Spent, held and the price of the next bid
// together never pass a limit.
//
// For a line item that does not spend as soon as possible, a plan says how
// much of the day's money may be gone by when, and a valve ([Pacer.Admit])
// lets through as many opportunities as it takes to follow the plan.
//
// Once a second [Pacer.Step] expires holds, turns days, learns the traffic of
// the hours of the week and moves the valves. The bid path reads and adds to
// a few integers and waits for nothing.
package pacing
