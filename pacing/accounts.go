package pacing

import (
	"context"
	"time"

	"bidwell/rtb"
)

// Accounts is where money is kept: what has been spent and what is leased, for
// all bidders that share budgets. It is declared here, where it is called, and
// implemented by the stores.
//
// A bidder leases permission to bid; only notices spend money. What an account
// has spent and what is leased from it are together never more than its
// limits, so a bidder that dies takes at most its leases with it, and those
// only until they end.
type Accounts interface {
	// Book applies the notices of the log up to and including a position, and
	// keeps that position, in one write that is there as a whole or not at all.
	// It sets Seen of each notice. Notices of a position that is not after the
	// last one change nothing, and Seen says that all of them have come. Once
	// it has returned Statements knows of them; after a crash they may have to be
	// booked again, from the position that Position returns. What has come of a
	// bid is remembered for KeepBids after it was made, and for KeepClicks where
	// a click or a conversion has; the notices themselves say what time it is.
	Book(ctx context.Context, position uint64, notices []Notice) error

	// Position is the last one that Book has applied, zero before the first.
	Position(ctx context.Context) (uint64, error)

	// Lease asks for permission to bid in the name of a node, and returns what
	// was granted, in the order of asks. When it returns the grants are on disk,
	// to survive the loss of power. Asking again with the same ask changes
	// nothing but the end of the lease.
	Lease(ctx context.Context, node uint32, now time.Time, asks []Ask) ([]Grant, error)

	// Statements lists the state of every account, by account.
	Statements(ctx context.Context, now time.Time) ([]Statement, error)
}

// Notice is an event on its way into the accounts, as [Ledger] presents it.
type Notice struct {
	Bid      rtb.BidID
	Made     time.Time // of the bid: what was made too long ago is forgotten
	Time     time.Time // of the notice: it decides which day the charge belongs to
	Kind     Kind
	Spends   bool   // it bills: its charges are due, unless another notice of the bid has spent before
	Node     uint32 // whose lease pays
	Exchange rtb.ExchangeID
	LineItem rtb.LineItemID
	Price    rtb.Money // what the notice said, in the account currency, for the discrepancy report
	Charges  [4]Charge // those with an account of zero do not count

	// Seen are the kinds that had come before of this bid, KindSpend among them.
	// If it has Kind, the notice is a repeat and is counted as one. The charges
	// of a notice that Spends are booked unless Seen has KindSpend; those of
	// another notice, such as a click's, unless Seen has Kind.
	Seen Kinds

	// Late is the part of the money booked to the line item that no lease
	// covered. Book sets it.
	Late rtb.Money
}

// How long after a bid was made what has come of it is remembered: as long as
// its notices are accepted, and some time for those that the log holds up.
const (
	KeepBids   = 26 * time.Hour
	KeepClicks = 31 * 24 * time.Hour
)

// Due reports whether the charges are to be booked, once Seen is known.
func (n *Notice) Due() bool {
	if n.Spends {
		return !n.Seen.Has(KindSpend)
	}
	return !n.Seen.Has(n.Kind)
}

// Repeats reports whether the notice says nothing new, once Seen is known.
func (n *Notice) Repeats() bool { return n.Seen.Has(n.Kind) && !n.Due() }

// Book takes the charges from the rows of their accounts, where they are due,
// and sets Late.
func (n *Notice) Book(row func(rtb.AccountID) *Row) {
	n.Late = 0
	if !n.Due() {
		return
	}
	for _, c := range n.Charges {
		if c.Account == 0 {
			continue
		}
		late := row(c.Account).Book(n.Node, c.Amount, n.Time)
		if c.ownMoney() {
			n.Late = addMoney(n.Late, late)
		}
	}
}

// After is Seen for the next notice of the bid.
func (n *Notice) After() Kinds {
	s := n.Seen | 1<<n.Kind
	if n.Spends {
		s |= 1 << KindSpend
	}
	return s
}

// Charge is what a notice takes from one account.
type Charge struct {
	Account rtb.AccountID
	Amount  rtb.Money
}

// ownMoney reports that the charge is money of a line item's own account, which
// has all that the line item spends.
func (c Charge) ownMoney() bool { return c.Account.LineItem() && c.Account.Measure() == rtb.OfMoney }

// Kind is what counts once for each bid: a type of event, for a video each of
// its parts, and the spending of money, by whichever notice does that.
type Kind uint8

// Kinds is a set of them.
type Kinds uint32

// The kinds.
const (
	KindWin Kind = iota
	KindBill
	KindLoss
	KindView
	KindClick
	KindViewable
	KindConversion
	KindSpend // the notice that the exchange's profile bills by
	KindVideo // and the four after it: start, quartiles, complete
)

// KindCount is one more than the last kind, for tables indexed by it.
const KindCount = int(KindVideo) + 5

// Has reports whether the set has a kind.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// Ask is what a bidder wants from one account.
type Ask struct {
	Account          rtb.AccountID
	Total, Daily     rtb.Money // the limits; zero for none
	DayStart, DayEnd time.Time // of the advertiser's today

	// Granted is all that the node wants to have been granted since it began.
	// What it holds in hand at any time is Granted less what was charged to it.
	// Less than before returns the difference, as far as it is not charged.
	Granted rtb.Money
	Until   time.Time // the lease ends then, unless the node asks again

	// Usable is until when the node bids with the lease, unless it asks again;
	// zero is Until. After that only bids in flight have it.
	Usable time.Time

	// Multiplier is what part of their value the bids of the node are, as far as
	// this account has its say; zero where it has none. Nodes that draw on one
	// account keep theirs together.
	Multiplier float64
}

// Grant answers an Ask.
type Grant struct {
	Statement
	Granted rtb.Money // as in Ask: at most what was asked for, at least what was charged
	Charged rtb.Money // to this node, as far as it is booked
}

// Statement is the state of one account.
type Statement struct {
	Account          rtb.AccountID
	Spent            rtb.Money // by all nodes, ever
	Before           rtb.Money // of it before the day began
	DayStart, DayEnd time.Time // zero as long as nobody has asked
	Late             rtb.Money // of Spent: charged to no lease, because it had ended
	Leased           rtb.Money // in the hands of all nodes
	Stranded         rtb.Money // part of Leased: of nodes that bid no more with it, mostly because they have died
	Nodes            int       // that have a lease and may bid with it
	Multiplier       float64   // the geometric mean of theirs; zero when unknown
}

// Tally is what the notices of one line item through one exchange say, for the
// discrepancy report: the same impressions are counted by several notices, of
// which one spends money.
type Tally struct {
	LineItem rtb.LineItemID
	Exchange rtb.ExchangeID
	Counts   [KindCount]uint64    // by Kind
	Prices   [KindCount]rtb.Money // sums of Price, in the account currency
	Charged  rtb.Money            // all that was spent, fees included
	Repeats  uint64               // of a kind that had come, one that spends included
}

// Add counts a notice that was booked. The price of a repeat counts where it
// spends, because then the notices before it did not know one.
func (t *Tally) Add(n *Notice) {
	if n.Seen.Has(n.Kind) {
		t.Repeats++
	} else {
		t.Counts[n.Kind]++
	}
	if !n.Repeats() {
		t.Prices[n.Kind] = addMoney(t.Prices[n.Kind], max(n.Price, 0))
	}
	if !n.Due() {
		return
	}
	if n.Spends {
		t.Counts[KindSpend]++
	}
	for _, c := range n.Charges {
		if c.ownMoney() {
			t.Charged = addMoney(t.Charged, max(c.Amount, 0))
		}
	}
}
