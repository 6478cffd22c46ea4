package bidder

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"bidwell/bidder/exchange"
	"bidwell/events"
	"bidwell/events/track"
	"bidwell/models"
	"bidwell/rtb"
)

// What the bid knew comes back with both tokens, each in the hands that it is
// made for.
func TestTokensOfABid(t *testing.T) {
	item := lineItem(3, 5, banner(1, 300, 250))
	item.Campaign, item.Fees = 44, rtb.Fees{Share: 1000, Fixed: 7}
	f := newFixture(t, []rtb.LineItem{item})
	s := newScratch()
	answer := string(f.answer(t, s, "generic", request("0", `,"cur":["EUR"]`)))
	bid := &s.response.Bids[0]
	want := rtb.Event{
		Bid: bid.ID, Node: 77, Exchange: s.exchange.ID, LineItem: 3, Campaign: 44, Advertiser: item.Advertiser, Creative: 1,
		Media: rtb.Banner, User: s.request.Users[0], Made: testNow.Local(), Cost: item.Fees.On(item.Fees.Off(rtb.FromCPM(5))), Fees: item.Fees,
		Currency: rtb.Currency{'E', 'U', 'R'}, BilledBy: billing(s.exchange.Billing),
		Worth: item.Fees.Off(rtb.FromCPM(5)), Format: models.FormatOf(rtb.Banner, rtb.Size{W: 300, H: 250}), Auction: 2,
	}
	scored := want
	scored.Features.Set(s.features.Hashes)
	for class, token := range map[events.Class][]byte{events.Server: bid.ServerToken, events.Browser: bid.Token, events.View: bid.ViewToken} {
		var got rtb.Event
		if class == events.View {
			want = scored
		}
		if err := f.Keys.Open(token, class, &got, nil); err != nil || got != want {
			t.Errorf("class %d: %v\n got %+v\nwant %+v", class, err, got, want)
		}
		want.Features = rtb.Features{}
	}
	if n := strings.Count(answer, string(bid.ViewToken)); n != 1 {
		t.Errorf("the token of the pixel stands %d times in %s", n, answer)
	}
	if held := f.Pacer.Balances()[0].Held; held != want.Cost {
		t.Errorf("%s is held for a bid that costs %s", held, want.Cost)
	}
	adm := answer[strings.Index(answer, `"adm":`):]
	if n := strings.Count(answer, string(bid.ServerToken)); n != 3 || strings.Contains(adm, string(bid.ServerToken)) {
		t.Errorf("the server's token stands %d times in %s", n, answer)
	}
	if n := strings.Count(answer, string(bid.Token)); n != 1 || strings.Count(adm, string(bid.Token)) != 1 {
		t.Errorf("the browser's token stands %d times in %s", n, answer)
	}

	explained, err := f.Explain("generic", request("0", ""), testNow)
	if err != nil || strings.Count(explained.Answer, "TOKEN") != 5 {
		t.Errorf("the answer of an explanation has tokens: %v, %s", err, explained.Answer)
	}
}

func TestBill(t *testing.T) {
	f := newFixture(t, nil)
	billedBy := map[rtb.EventType]rtb.ExchangeID{} // an exchange for each way to bill
	for _, profile := range exchange.Builtin() {
		billedBy[billing(profile.Billing)] = exchange.BuiltinID(profile.Name)
	}
	if billedBy[rtb.EventBill] == 0 || billedBy[rtb.EventView] == 0 {
		t.Fatalf("built-in exchanges bill by %v", billedBy)
	}
	const cpm = rtb.OneCPM
	eur, tenth := rtb.Currency{'E', 'U', 'R'}, rtb.Fees{Share: 1000, Fixed: uint32(cpm)}
	tests := []struct {
		name     string
		price    rtb.Money
		currency rtb.Currency
		fees     rtb.Fees
		cost     rtb.Money
		charge   rtb.Money
	}{
		{"second price", 8 * cpm, rtb.USD, rtb.Fees{}, 10 * cpm, 8 * cpm},
		{"first price", 10 * cpm, rtb.USD, rtb.Fees{}, 10 * cpm, 10 * cpm},
		{"more than was bid", 11 * cpm, rtb.USD, rtb.Fees{}, 10 * cpm, 10 * cpm},
		{"absurd", rtb.MaxMoney, eur, tenth, 12 * cpm, 12 * cpm},
		{"no price", 0, rtb.USD, rtb.Fees{}, 10 * cpm, 0},
		{"encrypted", rtb.UnreadablePrice, rtb.USD, tenth, 12 * cpm, 12 * cpm},
		{"other currency", 5 * cpm, eur, rtb.Fees{}, 10 * cpm, 5*cpm + cpm/2}, // 1.1 dollars a euro
		{"currency whose rate is gone", 5 * cpm, rtb.Currency{'X', 'Y', 'Z'}, rtb.Fees{}, 10 * cpm, 10 * cpm},
		{"with fees", 5 * cpm, rtb.USD, tenth, 12 * cpm, 6*cpm + cpm/2}, // 5 and a tenth of it and 1
		{"more than was bid, with fees", 99 * cpm, rtb.USD, tenth, 12 * cpm, 12 * cpm},
		{"fees that eat all", 5 * cpm, rtb.USD, rtb.Fees{Fixed: uint32(cpm)}, cpm / 2, 0},
	}
	for by, ex := range billedBy {
		for _, tt := range tests {
			for kind := rtb.EventWin; kind <= rtb.EventConversion; kind++ {
				e := rtb.Event{Type: kind, Exchange: ex, Price: tt.price, Currency: tt.currency, Fees: tt.fees, Cost: tt.cost, Billing: true, Charge: 1}
				charge := rtb.Money(0)
				if kind == by {
					charge = tt.charge
				}
				if f.Bill(&e); e.Billing != (kind == by) || e.Charge != charge {
					t.Errorf("%s, %s where %s bills: billing %t, charge %s, want %s", tt.name, kind, by, e.Billing, e.Charge, charge)
				}
			}
		}
	}
	e := rtb.Event{Type: rtb.EventBill, Exchange: 255, Price: cpm, Cost: cpm, Currency: rtb.USD, Billing: true, Charge: 1}
	if f.Bill(&e); e.Billing || e.Charge != 0 {
		t.Errorf("an exchange that is gone bills %s", e.Charge)
	}
	// What the bid was made under counts, whatever the profile says now.
	for _, ex := range []rtb.ExchangeID{billedBy[rtb.EventBill], billedBy[rtb.EventView], 255} {
		for kind, charge := range map[rtb.EventType]rtb.Money{rtb.EventWin: cpm, rtb.EventBill: 0, rtb.EventView: 0} {
			e := rtb.Event{Type: kind, Exchange: ex, BilledBy: rtb.EventWin, Price: cpm, Cost: cpm, Currency: rtb.USD}
			if f.Bill(&e); e.Charge != charge || e.Billing != (charge > 0) {
				t.Errorf("%s of a bid that the win pays, through exchange %d: billing %t, charge %s", kind, ex, e.Billing, e.Charge)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { f.Bill(&e) }); n != 0 {
		t.Errorf("Bill allocates %v times, want 0", n)
	}
}

// Whatever the numbers, a charge is between nothing and what is held, and no
// more than the price with its fees.
func TestBillNeverTakesMore(t *testing.T) {
	f := newFixture(t, nil)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		price := rtb.Money(r.Uint64() >> (1 + r.IntN(63)))
		e := rtb.Event{
			Type: rtb.EventBill, Exchange: exchange.BuiltinID("generic"), Price: price, Currency: rtb.USD,
			Fees: rtb.Fees{Share: uint16(r.IntN(rtb.MaxFeeShare + 1)), Fixed: r.Uint32() >> r.IntN(32)},
			Cost: rtb.Money(r.Uint64() >> (1 + r.IntN(63))),
		}
		if f.Bill(&e); e.Charge < 0 || e.Charge > e.Cost || e.Charge > e.Fees.On(price) {
			t.Fatalf("charge %s of %+v", e.Charge, e)
		}
	}
}

func TestOpenPrice(t *testing.T) {
	f := newFixture(t, nil)
	plain, sealed := exchange.BuiltinID("generic"), exchange.BuiltinID("google")
	for _, tt := range []struct {
		exchange rtb.ExchangeID
		macro    string
		price    rtb.Money
		want     error
	}{
		{plain, "8.5", rtb.FromCPM(8.5), nil}, {plain, "", 0, track.ErrNoPrice}, {plain, " ", 0, track.ErrNoPrice},
		{plain, "${AUCTION_PRICE}", 0, track.ErrUnexpanded}, {plain, "${AUCTION_PRICE:B64}", 0, track.ErrUnexpanded},
		{plain, "AUDIT", 0, track.ErrAudit}, {plain, "audit", 0, track.ErrAudit}, {plain, "x", rtb.UnreadablePrice, exchange.ErrPrice},
		{plain, "-1", rtb.UnreadablePrice, exchange.ErrPrice}, {plain, "1e309", rtb.UnreadablePrice, exchange.ErrPrice}, {plain, "0", 0, nil},
		{sealed, strings.Repeat("A", 38), rtb.UnreadablePrice, track.ErrNoKeys}, {sealed, "AUDIT", 0, track.ErrAudit},
		{255, "1", rtb.FromCPM(1), nil}, {255, "", 0, track.ErrNoPrice}, {255, strings.Repeat("A", 38), rtb.UnreadablePrice, exchange.ErrPrice},
	} {
		t.Run(fmt.Sprintf("%d %s", tt.exchange, tt.macro), func(t *testing.T) {
			if price, err := f.OpenPrice(tt.exchange, []byte(tt.macro)); price != tt.price || !errors.Is(err, tt.want) {
				t.Errorf("OpenPrice = %s, %v, want %s, %v", price, err, tt.price, tt.want)
			}
		})
	}
}
