// Package targeting decides which line items may serve an impression.
//
// An [Index] is built once from the active line items and never changes. It
// keeps the line items by descending price ceiling, in partitions by country,
// and for each targeting dimension one bitset per value with one bit per line
// item. [Index.Match] ANDs the bitsets that apply to the impression, 512 line
// items at a time, puts the few that are left through the exact checks, and
// stops when it has enough of the dearest. [Index.Explain] asks the same
// questions of every line item and names the first that it fails. [Catalog]
// swaps in a new Index when campaigns change, so a bid request never waits for
// one to be built.
//
// # How values are compared
//
// Names of domains, apps, categories, regions, cities and carriers are
// interned when the Index is built; a request looks each of its own up once
// and line items then compare numbers. Domains, apps and categories are folded
// to lower-case ASCII; regions, cities and carriers by the rules of
// [strings.EqualFold]. A domain covers its subdomains, and IAB7 covers
// IAB7-39, in targeting lists as well as in the publisher's blocklists.
//
// The package holds no state about users or money: budgets belong to package
// pacing, which is asked last, through [Context].
package targeting
