package loadtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"bidwell/bidder/exchange"
	"bidwell/rtb"

	"github.com/prebid/openrtb/v20/openrtb2"
)

// What the simulator seals is what the bidder opens.
func TestPriceKeys(t *testing.T) {
	keys, err := ParsePriceKeys(strings.Repeat("01", 32) + ", " + strings.Repeat("fe", 16))
	if err != nil {
		t.Fatal(err)
	}
	macro := exchange.PriceMacro{
		Kind:          exchange.Encrypted,
		EncryptionKey: exchange.Secret(base64.StdEncoding.EncodeToString(keys.Encryption)),
		IntegrityKey:  exchange.Secret(base64.StdEncoding.EncodeToString(keys.Integrity)),
	}
	for i, price := range []rtb.Money{1, 12_345, rtb.FromCPM(2.5), 7 * rtb.Unit} {
		text := keys.Seal(price, [16]byte{byte(i)})
		got, err := macro.Open([]byte(text))
		if err != nil || got != price || len(text) != 38 {
			t.Errorf("%d sealed as %q opens as %d, %v", price, text, got, err)
		}
	}
	for _, text := range []string{"", "00", "xx,00", strings.Repeat("00", 15) + "," + strings.Repeat("00", 16), strings.Repeat("00", 16) + ",0"} {
		if _, err := ParsePriceKeys(text); err == nil || !strings.Contains(err.Error(), "price keys") {
			t.Errorf("ParsePriceKeys(%q) = %v, want an error that says so", text, err)
		}
	}
}

func TestFatesAreDrawnAsSet(t *testing.T) {
	fates := NoticeFates{Delay: time.Second, Late: .1, LateBy: time.Hour, Loss: .05, Duplicate: .2, Blank: .03}
	const n = 40_000
	var lost, twice, copies, late, blank int
	var takes, longest time.Duration
	var trips [2]trip
	for i := range n {
		d := dice(scramble(9, uint64(i)))
		drawn := fates.draw(&d, &trips)
		lost += flagged(len(drawn) == 0)
		twice += flagged(len(drawn) == 2)
		for _, one := range drawn {
			copies++
			late += flagged(one.late)
			blank += flagged(one.price != priceSaid)
			if longest = max(longest, one.takes); !one.late {
				takes += one.takes
			}
		}
	}
	near := func(what string, got, want float64) {
		if math.Abs(got/want-1) > .1 {
			t.Errorf("%s: %.4f, want about %.4f", what, got, want)
		}
	}
	near("lost", float64(lost)/n, .05)
	near("twice", float64(twice)/n, .95*.2)
	near("late", float64(late)/float64(copies), .1)
	near("blank", float64(blank)/float64(copies), .03)
	near("mean delay in seconds", takes.Seconds()/float64(copies-late), 1)
	if longest < 55*time.Minute || longest > time.Hour+time.Minute {
		t.Errorf("the longest takes %v, want about an hour", longest)
	}
	if err := (NoticeFates{Delay: -1, Late: 2, Loss: -1, Duplicate: math.NaN(), Blank: 1.1, LateBy: -1, Retries: -1}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("Validate = %v, want seven errors", err)
	}
}

// Simulated days have the shape of real ones, and end when they should.
func TestTimeline(t *testing.T) {
	const n = 50_000
	for _, start := range []time.Time{DefaultStart, time.Date(2026, 3, 7, 23, 50, 0, 0, time.UTC)} {
		line := newTimeline(start, 0, 48*time.Hour, n, true)
		counts := [24]int{}
		last := start
		for i := range n {
			at := line.at(i)
			if at.Before(last) || at.After(start.Add(48*time.Hour)) {
				t.Fatalf("auction %d is at %v after %v", i, at, last)
			}
			counts[at.Hour()]++
			last = at
		}
		if left := start.Add(48 * time.Hour).Sub(last); left > time.Minute || !line.at(0).Equal(start) {
			t.Errorf("from %v to %v, want 48 h from %v", line.at(0), last, start)
		}
		// When it is 18 UTC most of the market's people are awake, at 4 few are.
		if float64(counts[18]) < 1.4*float64(counts[4]) || counts[4] == 0 {
			t.Errorf("auctions by hour %v, want many more at 18 than at 4", counts)
		}
	}
	flat := newTimeline(DefaultStart, time.Second, 0, 0, false)
	if at := flat.at(90); !at.Equal(DefaultStart.Add(90 * time.Second)) {
		t.Errorf("auction 90 is at %v, want 90 s after the start", at)
	}
	week := newTimeline(DefaultStart, time.Minute, 0, 0, true)
	if at := week.at(7 * 24 * 60); at.Sub(DefaultStart.Add(weekOf)).Abs() > time.Second {
		t.Errorf("a week of minutes ends at %v", at)
	}
}

// With fates, every copy of a notice is called at its time, whatever the
// connections: never before the simulated time that it names, and those that
// are lost never.
func TestExchangeFates(t *testing.T) {
	run := func(conns int) (string, *testBidder) {
		bidder := startBidder(t, &testBidder{})
		card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) {
			cfg.Conns, cfg.NoticeConns, cfg.Auctions = conns, 2*conns, 1000
			cfg.SimulatedTime, cfg.Span = true, 24*time.Hour
			cfg.Fates = NoticeFates{Delay: time.Second, Late: .1, LateBy: time.Hour, Loss: .05, Duplicate: .05, Blank: .05}
			cfg.PriceKeys = &PriceKeys{Encryption: make([]byte, 16), Integrity: make([]byte, 16)}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if card.Wins < 200 || len(bidder.times) == 0 {
			t.Fatalf("%d wins, %d times", card.Wins, len(bidder.times))
		}
		lost, late, twice, sent := 0, 0, 0, 0
		for _, n := range card.Notices {
			lost, late, twice, sent = lost+n.Lost, late+n.Late, twice+n.Duplicate, sent+n.Sent
		}
		total := 0
		repeated := 0
		for _, n := range bidder.notices {
			total += n
			repeated += flagged(n > 1)
		}
		if total != sent || lost < sent/40 || late < sent/20 || twice < sent/40 || repeated == 0 {
			t.Errorf("%d notices came, scorecard has %d sent, %d lost, %d late, %d twice", total, sent, lost, late, twice)
		}
		text, err := json.Marshal(withoutTimes(card))
		if err != nil {
			t.Fatal(err)
		}
		return string(text), bidder
	}
	card, bidder := run(1)
	again, other := run(8)
	if card != again {
		t.Errorf("another scorecard with more connections\n%s\n%s", card, again)
	}
	if fmt.Sprint(bidder.notices) != fmt.Sprint(other.notices) {
		t.Error("other notices with more connections")
	}
	first, last := bidder.times[0], bidder.times[0]
	for _, at := range bidder.times {
		first, last = min(first, at), max(last, at)
	}
	if first != DefaultStart.UnixMilli() || last < DefaultStart.Add(24*time.Hour).UnixMilli() {
		t.Errorf("told times from %v to %v, want a day from %v on", time.UnixMilli(first), time.UnixMilli(last), DefaultStart)
	}
	var blank, sealed int
	for notice := range bidder.notices {
		u, err := url.Parse(notice)
		if err != nil {
			t.Fatal(err)
		}
		switch price := u.Query().Get("p"); {
		case u.Path != "/e/bill" && u.Path != "/e/win":
		case price == "" || price == "AUDIT" || strings.HasPrefix(price, "${"):
			blank++
		case u.Path == "/e/win" && len(price) == 38:
			sealed++
		}
	}
	if blank < 10 || sealed < 200 {
		t.Errorf("%d prices blank, %d sealed", blank, sealed)
	}
}

// A click that leads to a purchase calls the conversion with the id that the
// landing page was given.
func TestExchangeConversions(t *testing.T) {
	appealing := strings.Join(SegmentNames(), " ")
	bidder := startBidder(t, &testBidder{landing: "https://landing.example/?a=b&click_id=", answer: func(_ *openrtb2.BidRequest, resp map[string]any) {
		for _, bid := range resp["seatbid"].([]any)[0].(map[string]any)["bid"].([]map[string]any) {
			bid["crid"] = appealing
		}
	}})
	card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions = 2000 }))
	if err != nil {
		t.Fatal(err)
	}
	conversions := 0
	for notice := range bidder.notices {
		if u, err := url.Parse(notice); err == nil && u.Path == "/e/conversion" {
			conversions++
			if bidder.notices["/e/click?t="+u.Query().Get("t")] == 0 || u.Query().Get("v") == "" {
				t.Errorf("conversion %s of no click", notice)
			}
		}
	}
	if conversions == 0 || conversions != card.Conversions || card.Notices[NoticeConversion].Sent != conversions {
		t.Errorf("%d conversions came, scorecard has %d and %+v", conversions, card.Conversions, card.Notices[NoticeConversion])
	}
	for text, want := range map[string]string{
		"https://a.example/?click_id=x": "x", "https://a.example/?bidwell_click_id=y&z": "y", "https://a.example/": "", "%": "",
	} {
		if got := clickID([]byte(text)); got != want {
			t.Errorf("clickID(%q) = %q, want %q", text, got, want)
		}
	}
}

// A notice that the bidder cannot take now is tried again.
func TestExchangeTriesAgain(t *testing.T) {
	bidder := startBidder(t, &testBidder{busy: true})
	card, err := RunExchange(t.Context(), testRun(bidder.URL, func(cfg *ExchangeConfig) { cfg.Auctions = 100 }))
	if err != nil {
		t.Fatal(err)
	}
	for kind, n := range card.Notices {
		if n.Failed != 0 || n.Retried != n.Sent {
			t.Errorf("%s: %+v, want each taken at the second try", kind, n)
		}
	}
}
