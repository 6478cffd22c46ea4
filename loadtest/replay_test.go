package loadtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// supply is what it would cost to win all of a log.
func supply(l *AuctionLog) float64 {
	sum := 0.0
	for i := range l.Len() {
		sum += l.cost(i)
	}
	return sum
}

func replayed(t testing.TB, r Replay) *ReplayResult {
	t.Helper()
	res, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("used %.4f, off by %.4f, %.4f of the oracle, %.2f s", res.Utilisation, res.MaxDeviation, res.OracleShare, res.Seconds)
	return res
}

func TestReplayFollowsThePlan(t *testing.T) {
	plain := AuctionMarket{Rows: 60_000, Seed: 11}
	tests := []struct {
		name            string
		market          AuctionMarket
		part            float64 // of the supply, as budget
		change          func(*Replay)
		used, off, best float64
	}{
		{"a quarter", plain, 1. / 4, nil, 0.998, 0.005, 0.985},
		{"a half", plain, 1. / 2, nil, 0.998, 0.005, 0.985},
		{"an eighth", plain, 1. / 8, nil, 0.998, 0.005, 0.985},
		{"a sixteenth", plain, 1. / 16, nil, 0.998, 0.01, 0.98},
		{"forecast half", plain, 1. / 8, func(r *Replay) { r.Forecast /= 2 }, 0.998, 0.005, 0.98},
		{"forecast double", plain, 1. / 8, func(r *Replay) { r.Forecast *= 2 }, 0.998, 0.005, 0.98},
		{"no forecast", plain, 1. / 8, func(r *Replay) { r.Forecast = 0 }, 0.998, 0.005, 0.98},
		{"begin five times too high", plain, 1. / 8, func(r *Replay) { r.Multiplier = 5 }, 0.998, 0.006, 0.97},
		{"begin five times too low", plain, 1. / 8, func(r *Replay) { r.Multiplier = 0.2 }, 0.998, 0.006, 0.97},
		{"first price", plain, 1. / 4, func(r *Replay) { r.Auction = AuctionFirst }, 0.998, 0.005, 0.7},
		{"floors", AuctionMarket{Rows: 50_000, Seed: 12, Floors: true}, 1. / 8, nil, 0.998, 0.005, 0.985},
		{"all alike", AuctionMarket{Rows: 50_000, Seed: 13, Equal: true}, 1. / 4, nil, 0.998, 0.002, 0.998},
		{"bursts", AuctionMarket{Rows: 50_000, Seed: 14, Bursts: true}, 1. / 4, nil, 0.998, 0.01, 0.9},
		{"two minutes late", plain, 1. / 4, func(r *Replay) { r.Delay = 2 * time.Minute }, 0.99, 0.01, 0.97},
		{"few", AuctionMarket{Rows: 2000, Seed: 15}, 1. / 4, nil, 0.98, 0.05, 0.7},
		{"three days", AuctionMarket{Rows: 50_000, Seed: 16, Days: 3}, 1. / 4, func(r *Replay) { r.Profile = nil }, 0.995, 1, 0.9},
		{"ahead", plain, 1. / 4, func(r *Replay) { r.Pacing = "ahead" }, 0.998, 0.1, 0.97},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := tt.market.Make()
			r := Replay{
				Log: l, Budget: supply(l) * tt.part, Auction: AuctionSecond,
				Forecast: float64(l.Len()), Profile: AuctionProfile(), Seed: 1,
			}
			if tt.change != nil {
				tt.change(&r)
			}
			res := replayed(t, r)
			if res.Overspend > 0 || res.Utilisation > 1 {
				t.Errorf("overspent by %v", res.Overspend)
			}
			if res.Utilisation < tt.used {
				t.Errorf("used %.4f of the budget, want %v", res.Utilisation, tt.used)
			}
			if res.MaxDeviation > tt.off {
				t.Errorf("off the plan by %.4f, want at most %v", res.MaxDeviation, tt.off)
			}
			if res.OracleShare < tt.best || res.OracleShare > 1.001 {
				t.Errorf("%.4f of the oracle's value, want %v", res.OracleShare, tt.best)
			}
		})
	}
}

// Whatever the multiplier to begin with, and however late it is heard what it has
// brought, no more is spent than there is.
func TestReplayOfVeryLateNotices(t *testing.T) {
	market := AuctionMarket{Rows: 100_000, Seed: 1}
	l := market.Make()
	for _, part := range []float64{1. / 4, 1. / 2} {
		for _, start := range []float64{0.2, 1, 5} {
			t.Run(fmt.Sprintf("%v of the supply, from %v", part, start), func(t *testing.T) {
				t.Parallel()
				res := replayed(t, Replay{Log: l, Budget: supply(l) * part, Auction: AuctionSecond, Multiplier: start, Late: l.Len() / 10, Seed: 1})
				if res.Overspend > 0 || res.LateCharges > 0 || res.Utilisation < 0.8 {
					t.Errorf("overspent by %v, %v late, used %.3f", res.Overspend, res.LateCharges, res.Utilisation)
				}
			})
		}
	}
}

// Bidders that share a budget spend it as well as one, although wins are told
// late and one of them is gone half-way with its lease.
func TestReplayOfSeveralBidders(t *testing.T) {
	plain := AuctionMarket{Rows: 50_000, Seed: 31}
	tests := []struct {
		name       string
		part       float64 // of the supply, as budget
		change     func(*Replay)
		used, best float64
	}{
		{"second price, even", 1. / 4, func(r *Replay) { r.Late = 2000 }, 0.95, 0.85},
		{"first price, as soon as possible", 1. / 8, func(r *Replay) {
			r.Auction, r.Unshaded, r.Late, r.Pacing, r.Value = AuctionFirst, true, 2000, "asap", 50_000
		}, 0.97, 0},
		{"by the traffic as it comes", 1. / 4, func(r *Replay) { r.Late, r.Profile = 2000, nil }, 0.93, 0.9},
		{"losses never told", 1. / 4, func(r *Replay) { r.Late, r.Losses, r.Bidders = 300, "never", 3 }, 0.97, 0.9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := plain.Make()
			r := Replay{
				Log: l, Budget: supply(l) * tt.part, Auction: AuctionSecond,
				Forecast: float64(l.Len()), Profile: AuctionProfile(), Seed: 1, Bidders: 8, Drop: 0.5,
			}
			if tt.change != nil {
				tt.change(&r)
			}
			res := replayed(t, r)
			if res.Overspend > 0 || res.LateCharges > 0 {
				t.Errorf("overspent by %v, %v late", res.Overspend, res.LateCharges)
			}
			if res.Utilisation < tt.used || res.Utilisation > 1 {
				t.Errorf("used %.4f of the budget, want %v", res.Utilisation, tt.used)
			}
			if res.OracleShare < tt.best {
				t.Errorf("%.4f of the oracle's value, want %v", res.OracleShare, tt.best)
			}
			bids, least := 0, slices.Min(res.BidsByBidder)
			for _, n := range res.BidsByBidder {
				bids += n
			}
			if bids != res.Bids || len(res.BidsByBidder) != r.Bidders || res.BidsByBidder[0] != least {
				t.Errorf("bids by bidder = %v, all %d", res.BidsByBidder, res.Bids)
			}
		})
	}
}

// A charge that comes when the bid holds nothing any more has no lease.
func TestReplayOfBidsThatHoldTooShort(t *testing.T) {
	l := (&AuctionMarket{Rows: 20_000, Seed: 32}).Make()
	r := Replay{Log: l, Budget: supply(l) / 64, Auction: AuctionFirst, Unshaded: true, Pacing: "asap", Value: 1e5, Bidders: 2, Late: 2000}
	if res := replayed(t, r); res.Overspend > 0 || res.LateCharges > 0 || res.HoldSeconds < 3*3600 {
		t.Errorf("overspent by %v, %v late, held for %v s", res.Overspend, res.LateCharges, res.HoldSeconds)
	}
	r.Hold = time.Minute
	if res := replayed(t, r); res.Overspend == 0 || res.LateCharges == 0 || res.HoldSeconds != 60 {
		t.Errorf("overspent by %v, %v late, held for %v s", res.Overspend, res.LateCharges, res.HoldSeconds)
	}
}

func TestReplayCapsTheCostOfClicks(t *testing.T) {
	l := (&AuctionMarket{Rows: 100_000, Seed: 21}).Make()
	free := Replay{Log: l, Budget: supply(l) / 4, Auction: AuctionSecond, Forecast: float64(l.Len()), Profile: AuctionProfile()}
	cpc := replayed(t, free).ExpectedCPC
	for _, part := range []float64{0.9, 0.7, 0.5} {
		capped := free
		capped.MaxCPC = part * cpc
		res := replayed(t, capped)
		t.Logf("a click for %.4f of its cap", res.CapRatio)
		if res.CapRatio > 1.02 {
			t.Errorf("cap %v of the free cost: %.4f times the cap", part, res.CapRatio)
		}
		if res.CapRatio < 0.95 {
			t.Errorf("cap %v of the free cost: only %.4f of the cap", part, res.CapRatio)
		}
	}
}

func TestReplayNeverBidsMoreThanAClickIsWorth(t *testing.T) {
	l := &AuctionLog{}
	for i := range 1000 { // a click costs 100 or 1000
		l.Time = append(l.Time, DefaultStart.UnixNano()+int64(i)*int64(30*time.Second))
		l.Price, l.PCTR = append(l.Price, float64(1+9*(i%2))), append(l.PCTR, 0.01)
	}
	res := replayed(t, Replay{Log: l, Budget: 5000, Auction: AuctionSecond, Value: 500})
	if res.Wins > 500 || res.Wins < 450 || res.ExpectedCPC > 101 {
		t.Errorf("%d wins at %v a click", res.Wins, res.ExpectedCPC)
	}
	asap := replayed(t, Replay{Log: l, Budget: 5000, Auction: AuctionFirst, Unshaded: true, Value: 500, Pacing: "asap"})
	if asap.Wins != 500 || asap.Spend != 2500 {
		t.Errorf("as soon as possible: %d wins for %v", asap.Wins, asap.Spend)
	}
}

// First-price bids that are shaded bring a surplus; unshaded ones bring none.
func TestReplayShadesFirstPriceBids(t *testing.T) {
	l := (&AuctionMarket{Rows: 30_000, Seed: 41, Days: 2, Exchanges: []string{"a", "b", "c"}}).Make()
	clicks := 0.0
	for _, p := range l.PCTR {
		clicks += p
	}
	base := Replay{Log: l, Budget: 1e12, Auction: AuctionFirst, Pacing: "asap", Value: supply(l) / clicks, Seed: 1}
	shares := map[string]float64{}
	for name, change := range map[string]func(*Replay){
		"price": func(*Replay) {}, "win-loss": func(r *Replay) { r.Feedback = FeedbackWinLoss },
		"late":    func(r *Replay) { r.Late = 200 },
		"control": func(r *Replay) { r.Control = 0.5 }, "unshaded": func(r *Replay) { r.Unshaded = true },
	} {
		r := base
		change(&r)
		res := replayed(t, r)
		shares[name] = res.Surplus.Share
		t.Logf("%s: %.4f of the clairvoyant, %.4f saved", name, res.Share, res.Savings)
		if res.ControlSurplus != 0 || res.Overspend > 0 {
			t.Errorf("%s: control %v, overspent %v", name, res.ControlSurplus, res.Overspend)
		}
	}
	switch {
	case shares["price"] < 0.68, shares["late"] < 0.97*shares["price"], shares["win-loss"] < 0.92*shares["price"]:
		t.Errorf("shares = %v", shares)
	case math.Abs(shares["unshaded"]) > 1e-6, math.Abs(shares["control"]/shares["price"]-0.5) > 0.06:
		t.Errorf("without shading, and half of it: shares = %v", shares)
	}
}

// Nobody knows how much traffic comes when, and the multiplier begins wrong.
func TestReplayFollowsTheTraffic(t *testing.T) {
	even := AuctionMarket{Rows: 50_000, Seed: 101, Even: true}
	for _, tt := range []struct {
		name   string
		market AuctionMarket
		best   float64
	}{
		{"the same at any time", even, 0.985},
		{"a day", AuctionMarket{Rows: 50_000, Seed: 101}, 0.97},
		{"a day of equals", AuctionMarket{Rows: 20_000, Seed: 102, Equal: true}, 0.97},
		{"three days, click rates alike", AuctionMarket{Rows: 50_000, Seed: 103, Days: 3, Flat: true}, 0.96},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := tt.market.Make()
			for _, multiplier := range []float64{0.2, 5} {
				res := replayed(t, Replay{Log: l, Budget: supply(l) / 4, Auction: AuctionSecond, Multiplier: multiplier, Seed: 1})
				if res.OracleShare < tt.best || res.Overspend > 0 {
					t.Errorf("multiplier %v: %.4f of the oracle, want %v; overspent %v", multiplier, res.OracleShare, tt.best, res.Overspend)
				}
			}
		})
	}
}

func TestReplayCountsInWords(t *testing.T) {
	var text strings.Builder
	r := ReplayResult{Auctions: 1, Bids: 2, Wins: 1, Clicks: 1, Surplus: &Surplus{ControlWins: 1}}
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 auction from", "2 bids, 1 win, 1 click\n", " and 1 win, if"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}

func TestReplayRepeats(t *testing.T) {
	l := (&AuctionMarket{Rows: 5000, Seed: 3}).Make()
	r := Replay{Log: l, Budget: supply(l) / 4, Auction: AuctionSecond, Seed: 9}
	a, b := *replayed(t, r), *replayed(t, r)
	a.Seconds, b.Seconds = 0, 0
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\nand then %+v", a, b)
	}
}

func TestReplayRefusesBadSettings(t *testing.T) {
	l := &AuctionLog{Time: []int64{0}, Price: []float64{1}, PCTR: []float64{.1}}
	twoDays := &AuctionLog{Time: []int64{0, int64(48 * time.Hour)}, Price: []float64{1, 1}, PCTR: []float64{.1, .1}}
	for want, r := range map[string]Replay{
		"budget":           {Log: l, Auction: AuctionFirst},
		"auction":          {Log: l, Budget: 1, Auction: AuctionMixed},
		"pacing":           {Log: l, Budget: 1, Auction: AuctionFirst, Pacing: "slow"},
		"start-multiplier": {Log: l, Budget: 1, Auction: AuctionFirst, Value: 1, Multiplier: 2},
		"bidders":          {Log: l, Budget: 1, Auction: AuctionFirst, Bidders: 1001},
		"late":             {Log: l, Budget: 1, Auction: AuctionFirst, Late: -1},
		"losses":           {Log: l, Budget: 1, Auction: AuctionFirst, Losses: "some"},
		"feedback":         {Log: l, Budget: 1, Auction: AuctionFirst, Feedback: "all"},
		"control":          {Log: l, Budget: 1, Auction: AuctionFirst, Control: 1},
		"drop":             {Log: l, Budget: 1, Auction: AuctionFirst, Drop: 0.5},
		"say how long":     {Log: twoDays, Budget: 1, Auction: AuctionFirst, Late: 1},
		"delay":            {Log: l, Budget: 1, Auction: AuctionFirst, Delay: -1},
		"log":              {Budget: 1, Auction: AuctionFirst},
		"shares":           {Log: l, Budget: 1, Auction: AuctionFirst, Profile: []float64{0, 0}},
		"hold timeout":     {Log: l, Budget: 1, Auction: AuctionFirst, Hold: 1},
	} {
		if _, err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one of %s", err, want)
		}
	}
}

func TestReadAuctionLog(t *testing.T) {
	text := "\ufeffTime,price,pctr,floor,click,exchange\n" +
		"20131023000102003,68,0.001,,1,1\n" +
		"1382486463,70.5,0.5,80,0,2\n" +
		"1382486464.25,0,0,0,0,2\n" +
		"1382486465000,1,1,1,0,2\n" +
		"2013-10-23T00:01:06Z,1,1,1,0,2\n" +
		"2013-10-23 00:01:05,1,1,1,0,2\n"
	l, err := ReadAuctionLog(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []int64{1382486462003, 1382486463000, 1382486464250, 1382486465000, 1382486466000, 1382486466000}
	for i, at := range want {
		if l.Time[i] != at*int64(time.Millisecond) {
			t.Errorf("row %d at %v, want %v", i, time.Unix(0, l.Time[i]).UTC(), time.UnixMilli(at).UTC())
		}
	}
	if l.OutOfOrder != 1 || !l.Click[0] || l.Click[1] || l.cost(1) != 80 || l.cost(0) != 68 {
		t.Errorf("log = %+v", l)
	}
	l, err = ReadAuctionLog(strings.NewReader("price,pctr\n1,0\n2,0\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if from, until := l.period(); until.Sub(from) != 12*time.Hour+replaySlot || time.Duration(l.Time[1]-l.Time[0]) != 12*time.Hour {
		t.Errorf("without times: from %v to %v", from, until)
	}
}

func TestReadAuctionLogNamesTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                         "the file is empty",
		"price\n":                                  `line 1: there is no column "pctr"`,
		"price,pctr,cost\n":                        `line 1: column "cost"`,
		"price,pctr,price\n":                       `line 1: column "price" is there twice`,
		"price,pctr\n":                             "no row",
		"price,pctr\n1,0.5\n1\n":                   "line 3: wrong number of fields",
		"price,pctr\n1,0.5\nx,0.5\n":               `line 3: price: "x" is not a number`,
		"price,pctr\n1,1.5\n":                      "line 2: pctr: 1.5 is not between 0 and 1",
		"price,pctr\n-1,.5\n":                      "line 2: price: -1 is not between",
		"price,pctr\nNaN,.5\n":                     "line 2: price:",
		"price,pctr,click\n1,.5,2\n":               `line 2: click: "2"`,
		"price,pctr,floor\n1,.5,a\n":               "line 2: floor:",
		"price,pctr,time\n1,.5,yesterday\n":        "line 2: time:",
		"price,pctr,time\n1,.5,99999999999\n":      "line 2: time:",
		"price,pctr,time\n1,.5,0\n1,.5,8e9\n":      "line 3: time:",
		"price,pctr,time\n1,.5,0\n1,.5,80000000\n": "days",
	} {
		if _, err := ReadAuctionLog(strings.NewReader(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error = %v, want %q", text, err, want)
		}
	}
}

func TestAuctionLogsAreReadAsWritten(t *testing.T) {
	made := (&AuctionMarket{Rows: 3000, Seed: 5, Exchanges: []string{"x", "y"}, Bursts: true}).Make()
	var buf bytes.Buffer
	w := bufio.NewWriter(&buf)
	if n, err := made.Write(w); err != nil || n != 3000 || w.Flush() != nil {
		t.Fatal(n, err)
	}
	read, err := ReadAuctionLog(&buf, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range made.Len() {
		same := made.Price[i] == read.Price[i] && made.Floor[i] == read.Floor[i] && made.Click[i] == read.Click[i] &&
			made.Exchanges[made.Exchange[i]-1] == read.Exchanges[read.Exchange[i]-1]
		if d := made.Time[i] - read.Time[i]; !same || d < 0 || d >= int64(time.Millisecond) {
			t.Fatalf("row %d differs", i)
		}
	}
}

// Whatever a log is, reading it does not panic, and what is read has sane rows.
func FuzzReadAuctionLog(f *testing.F) {
	f.Add("time,price,pctr,click,exchange,floor\n20131023000102003,68,0.001,1,1,20\n")
	f.Add("time,price,pctr\n1382486462,68,0.001\n1382486462.5,1,1\n")
	f.Add("price,pctr\n1,0.5\n\"2\",0.5\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ReadAuctionLog(strings.NewReader(text), nil)
		if err != nil {
			return
		}
		for i := range l.Len() {
			if l.Price[i] < 0 || !(l.PCTR[i] >= 0 && l.PCTR[i] <= 1) || i > 0 && l.Time[i] < l.Time[i-1] {
				t.Fatalf("row %d: price %v, pctr %v, time %d", i, l.Price[i], l.PCTR[i], l.Time[i])
			}
		}
	})
}

// Where nearly all of the value is in a few rows, each of which is worth more
// than all of the money, none is missed.
func TestReplayWinsWhatIsWorthMost(t *testing.T) {
	l := (&AuctionMarket{Rows: 60_000, Seed: 104}).Make()
	for i := range l.PCTR {
		if l.PCTR[i] /= 3; i%1000 == 500 {
			l.PCTR[i] = 0.8
		}
	}
	for _, part := range []float64{1. / 64, 1. / 8} {
		for _, multiplier := range []float64{0.2, 5} {
			res := replayed(t, Replay{Log: l, Budget: supply(l) * part, Auction: AuctionSecond, Multiplier: multiplier, Seed: 1})
			if res.OracleShare < 0.99 || res.Overspend > 0 {
				t.Errorf("%v of the supply, multiplier %v: %.4f of the oracle, overspent %v", part, multiplier, res.OracleShare, res.Overspend)
			}
		}
	}
}

func TestAuctionLogsMayBePacked(t *testing.T) {
	const text = "time,price,pctr,click\n1767571200661,95,0.002,0\n1767571200700,12,0.001,1\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, text)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := ReadAuctionLog(strings.NewReader(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadAuctionLog(bytes.NewReader(packed.Bytes()), nil)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := ReadAuctionLog(bytes.NewReader(packed.Bytes()[:packed.Len()-5]), nil); err == nil {
		t.Error("a log that is cut off is read")
	}
}
