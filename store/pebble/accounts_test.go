package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"bidwell/pacing"
	"bidwell/rtb"
	"bidwell/store/storetest"
)

func TestAccounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	storetest.TestAccounts(t, func() func() (storetest.Accounts, error) {
		disk := vfs.NewCrashableMem()
		return func() (storetest.Accounts, error) {
			disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng})
			return OpenAccounts("accounts", AccountOptions{CacheBytes: 1 << 20, fs: disk, memTable: 64 << 10})
		}
	})
}

func mustOpenAccounts(t testing.TB, dir string, opts AccountOptions) *Accounts {
	t.Helper()
	a, err := OpenAccounts(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// won is the notice that an impression was billed, a minute after the bid.
func won(bid uint64, made time.Time) pacing.Notice {
	n := pacing.Notice{
		Made: made, Time: made.Add(time.Minute), Kind: pacing.KindBill, Spends: true, Node: 1, Exchange: 1,
		LineItem: rtb.LineItemID(1 + bid%20), Price: 2_000_000,
	}
	binary.LittleEndian.PutUint64(n.Bid[:], bid*0x9e3779b97f4a7c15) // spread, as random ids are
	n.Charges = [4]pacing.Charge{
		{Account: rtb.LineItemAccount(n.LineItem, rtb.OfMoney), Amount: 2_100_000}, {Account: rtb.CampaignAccount(1, rtb.OfMoney), Amount: 2_100_000},
		{Account: rtb.LineItemAccount(n.LineItem, rtb.OfImpressions), Amount: 1}, {Account: rtb.CampaignAccount(1, rtb.OfImpressions), Amount: 1},
	}
	return n
}

func mustBook(t testing.TB, a *Accounts, position uint64, notices []pacing.Notice) {
	t.Helper()
	if err := a.Book(t.Context(), position, notices); err != nil {
		t.Fatal(err)
	}
}

// countBids counts the entries below a prefix.
func countBids(t *testing.T, a *Accounts, prefix byte) (n int) {
	t.Helper()
	it, err := a.db.NewIter(&engine.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Bids go from memory to tables and are forgotten, the clicked ones later.
func TestAccountsForget(t *testing.T) {
	opts := AccountOptions{CacheBytes: 1 << 20, fs: vfs.NewMem(), memTable: 64 << 10}
	a := mustOpenAccounts(t, "accounts", opts)
	const hours, perHour = 30, 400
	position := uint64(0)
	for hour := range hours {
		var batch []pacing.Notice
		for n := range perHour {
			batch = append(batch, won(uint64(hour*perHour+n), storetest.Now.Add(time.Duration(hour)*time.Hour)))
		}
		click := batch[0]
		click.Kind, click.Spends, click.Charges = pacing.KindClick, false, [4]pacing.Charge{}
		position++
		mustBook(t, a, position, append(batch, click))
	}
	if got := countBids(t, a, prefixBid); got != 27*perHour {
		t.Errorf("%d bids are remembered, want those of 27 hours, %d", got, 27*perHour)
	}
	if got := countBids(t, a, prefixClicked); got != hours {
		t.Errorf("%d clicked bids are remembered, want %d", got, hours)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = mustOpenAccounts(t, "accounts", opts)
	for hour := 4; hour < hours; hour++ { // all that came then comes again
		var batch []pacing.Notice
		for n := range perHour {
			batch = append(batch, won(uint64(hour*perHour+n), storetest.Now.Add(time.Duration(hour)*time.Hour)))
		}
		position++
		mustBook(t, a, position, batch)
		for i := range batch {
			if !batch[i].Repeats() {
				t.Fatalf("hour %d, bid %d was forgotten", hour, i)
			}
		}
	}
	s, err := a.Statements(t.Context(), storetest.Now)
	if err != nil {
		t.Fatal(err)
	}
	if last := s[len(s)-1]; last.Account != rtb.CampaignAccount(1, rtb.OfImpressions) || last.Spent != hours*perHour {
		t.Errorf("statement %+v, want %d impressions of the campaign", last, hours*perHour)
	}
	conversion := won(5*perHour, storetest.Now.Add(5*time.Hour))
	conversion.Kind, conversion.Spends, conversion.Time = pacing.KindConversion, false, conversion.Made.Add(30*24*time.Hour)
	for range 2 {
		position++
		batch := []pacing.Notice{conversion}
		mustBook(t, a, position, batch)
		if seen := batch[0].Seen; !seen.Has(pacing.KindClick) || seen.Has(pacing.KindConversion) != conversion.Seen.Has(pacing.KindBill) {
			t.Errorf("a conversion after 30 days has seen %b", seen)
		}
		conversion.Seen = batch[0].Seen
	}
	if all, clicked := countBids(t, a, prefixBid), countBids(t, a, prefixClicked); all != 0 || clicked != hours {
		t.Errorf("after 30 days %d bids and %d clicked ones are remembered, want 0 and %d", all, clicked, hours)
	}
	position++
	conversion.Time = conversion.Time.Add(48 * time.Hour)
	mustBook(t, a, position, []pacing.Notice{conversion})
	if clicked := countBids(t, a, prefixClicked); clicked >= hours {
		t.Errorf("after 32 days all %d clicked bids are remembered", clicked)
	}
}

func TestAccountsOfTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	mustOpenAccounts(t, dir, AccountOptions{})
	if _, err := OpenAccounts(dir, AccountOptions{}); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "open in another process") {
		t.Errorf("error %v, want that the folder is in use", err)
	}
}

func TestAccountsDamaged(t *testing.T) {
	row := binary.BigEndian.AppendUint64([]byte{prefixRow}, uint64(rtb.LineItemAccount(7, rtb.OfMoney)))
	for name, entry := range map[string]struct{ key, value []byte }{
		"row of another version": {row, []byte{rowFormat + 1, 0}},
		"row that is cut off":    {row, []byte{rowFormat, 0, 0}},
		"row of another key":     {row[:5], appendRow(nil, new(pacing.Row))},
		"row with more":          {row, append(appendRow(nil, new(pacing.Row)), 0)},
		"tally":                  {[]byte{prefixTally, 0, 0, 0, 1, 1}, []byte{0}},
		"position":               {keyPosition, []byte{1}},
		"unknown":                {[]byte("profiles"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			opts := AccountOptions{fs: vfs.NewMem()}
			a := mustOpenAccounts(t, "accounts", opts)
			if err := a.db.Set(entry.key, entry.value, engine.Sync); err != nil {
				t.Fatal(err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := OpenAccounts("accounts", opts)
			if !errors.Is(err, errEntry) || !strings.Contains(err.Error(), strconv.Quote(string(entry.key))) {
				t.Errorf("error %v, want one that names %s", err, strconv.Quote(string(entry.key)))
			}
			if _, again := OpenAccounts("accounts", opts); again == nil || again.Error() != err.Error() {
				t.Errorf("the second time: %v, want the same error", again)
			}
		})
	}
}

func TestAccountsDamagedBid(t *testing.T) {
	a := mustOpenAccounts(t, "accounts", AccountOptions{InMemory: true})
	n := won(1, storetest.Now)
	mustBook(t, a, 1, []pacing.Notice{n})
	key := binary.BigEndian.AppendUint32([]byte{prefixBid}, hourOf(n.Made))
	if err := a.db.Set(append(key, n.Bid[:]...), []byte{1}, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Book(t.Context(), 2, []pacing.Notice{won(2, storetest.Now), n}); !errors.Is(err, errEntry) {
		t.Errorf("error %v, want %v", err, errEntry)
	}
	// It has changed nothing.
	if position, err := a.Position(t.Context()); position != 1 || err != nil {
		t.Errorf("position %d, %v; want 1", position, err)
	}
	list, err := a.Statements(t.Context(), storetest.Now)
	if err != nil || len(list) != 4 || list[0].Spent != 1 && list[0].Spent != 2_100_000 {
		t.Errorf("statements %+v, %v", list, err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Book(t.Context(), 2, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Book of closed accounts: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func FuzzRow(f *testing.F) {
	var r pacing.Row
	f.Add(appendRow(nil, &r))
	ask := pacing.Ask{Account: 1, Granted: 100, DayStart: storetest.Now, Until: storetest.Now.Add(time.Hour)}
	r.Lease(1, storetest.Now, ask)
	r.Lease(2, storetest.Now, ask)
	r.Book(1, 170, storetest.Now)
	f.Add(appendRow(nil, &r))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeRow(value)
		if err != nil {
			return
		}
		again, err := decodeRow(appendRow(nil, &r))
		if err != nil || !bytes.Equal(appendRow(nil, &again), appendRow(nil, &r)) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
		r.Lease(1, storetest.Now, ask)
		r.Book(1, rtb.MaxMoney, storetest.Now)
		if s := r.Statement(1, storetest.Now); s.Spent < 0 || s.Leased < 0 || s.Late > s.Spent || s.Before > s.Spent {
			t.Errorf("row %+v", s)
		}
	})
}

func FuzzTally(f *testing.F) {
	var tally pacing.Tally
	f.Add(appendTally(nil, &tally))
	n := won(1, storetest.Now)
	tally.Add(&n)
	f.Add(appendTally(nil, &tally))
	f.Fuzz(func(t *testing.T, value []byte) {
		var tally, again pacing.Tally
		if decodeTally(value, &tally) != nil {
			return
		}
		if err := decodeTally(appendTally(nil, &tally), &again); err != nil || again != tally {
			t.Errorf("%+v became %+v, %v", tally, again, err)
		}
	})
}

// million fills accounts with the bids of an hour.
func million(b *testing.B, a *Accounts, bids uint64) (position uint64) {
	batch := make([]pacing.Notice, 1000)
	for bid := uint64(0); bid < bids; position++ {
		for i := range batch {
			batch[i] = won(bid, storetest.Now.Add(time.Duration(bid)*3600*time.Microsecond))
			bid++
		}
		mustBook(b, a, position+1, batch)
	}
	return position
}

// BenchmarkBook is the time of one notice of a batch of 1,000 in accounts that
// know a million bids.
func BenchmarkBook(b *testing.B) {
	const bids = 1_000_000
	a := mustOpenAccounts(b, b.TempDir(), AccountOptions{})
	position := million(b, a, bids)
	next := uint64(bids)
	batch := make([]pacing.Notice, 1000)
	var used time.Duration
	for b.Loop() {
		for i := range batch {
			batch[i] = won(next, storetest.Now.Add(time.Hour))
			next++
		}
		position++
		start := time.Now()
		mustBook(b, a, position, batch)
		used += time.Since(start)
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/1000, "ns/notice")
}

// BenchmarkBookRepeats is the same with notices of which all have come before,
// at random places of the last hour.
func BenchmarkBookRepeats(b *testing.B) {
	const bids = 1_000_000
	a := mustOpenAccounts(b, b.TempDir(), AccountOptions{})
	position := million(b, a, bids)
	rng := rand.New(rand.NewPCG(1, 1))
	batch := make([]pacing.Notice, 1000)
	var used time.Duration
	for b.Loop() {
		for i := range batch {
			bid := rng.Uint64N(bids)
			batch[i] = won(bid, storetest.Now.Add(time.Duration(bid)*3600*time.Microsecond))
		}
		position++
		start := time.Now()
		mustBook(b, a, position, batch)
		used += time.Since(start)
		if !batch[0].Repeats() {
			b.Fatal("forgotten")
		}
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/1000, "ns/notice")
}

// BenchmarkOpenAccounts opens accounts that a crash has left with a million
// bids.
func BenchmarkOpenAccounts(b *testing.B) {
	dir := b.TempDir()
	a := mustOpenAccounts(b, dir, AccountOptions{})
	position := million(b, a, 1_000_000)
	left := b.TempDir() + "/left" // its log is not replayed
	if err := a.db.Checkpoint(left, engine.WithFlushedWAL()); err != nil {
		b.Fatal(err)
	}
	if err := a.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		again := b.TempDir() + "/copy"
		if _, err := vfs.Clone(vfs.Default, vfs.Default, left, again); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		a, err := OpenAccounts(again, AccountOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got, err := a.Position(b.Context()); err != nil || got != position {
			b.Fatalf("position %d, %v; want %d", got, err, position)
		}
		if err := a.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
