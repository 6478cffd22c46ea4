package rtb

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestMoneyText(t *testing.T) {
	tests := []struct {
		text string
		want Money
		back string
	}{
		{"12.50", 12_500_000_000, "12.50"},
		{"0.000000001", 1, "0.000000001"},
		{"5", 5 * Unit, "5.00"},
		{"-0.25", -Unit / 4, "-0.25"},
		{"9223372036", 9_223_372_036 * Unit, "9223372036.00"},
	}
	for _, tt := range tests {
		if got, err := ParseMoney(tt.text); err != nil || got != tt.want || got.String() != tt.back {
			t.Errorf("ParseMoney(%q) = %d, %v, printed %q, want %d, %q", tt.text, got, err, got, tt.want, tt.back)
		}
	}
	for _, bad := range []string{"", "-", ".", "1.", ".5", "1e3", "+1", "1,5", "0.0000000001", "9223372037", "99999999999999999999", "1 ", "NaN"} {
		if got, err := ParseMoney(bad); err == nil {
			t.Errorf("ParseMoney(%q) = %d, want an error", bad, got)
		}
	}
}

func TestMoneyPrintsWhatItParses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Money(rapid.Int64Range(-math.MaxInt64/2, math.MaxInt64/2).Draw(t, "money"))
		if got, err := ParseMoney(m.String()); err != nil || got != m {
			t.Fatalf("ParseMoney(%q) = %d, %v, want %d", m, got, err, m)
		}
		if got, err := ParseCPM(string(m.AppendCPM(nil))); err != nil || got != m {
			t.Fatalf("ParseCPM(%q) = %d, %v, want %d", m.AppendCPM(nil), got, err, m)
		}
	})
}

func TestFromCPM(t *testing.T) {
	for cpm, want := range map[float64]Money{
		2.5: 2_500_000, 0.000001: 1, -1: -OneCPM, 1e300: MaxMoney, -1e300: -MaxMoney, math.Inf(1): MaxMoney, math.NaN(): 0,
	} {
		if got := FromCPM(cpm); got != want {
			t.Errorf("FromCPM(%g) = %d, want %d", cpm, got, want)
		}
	}
}

// A floor stays a floor, whichever way it is converted.
func TestRatesRoundUp(t *testing.T) {
	eur := Currency{'E', 'U', 'R'}
	rates := NewRates(USD, map[Currency]float64{eur: 1.0837, {'X', 'X', 'X'}: -1, {'Y', 'Y', 'Y'}: math.Inf(1)})
	rapid.Check(t, func(t *rapid.T) {
		floor := Money(rapid.Int64Range(0, int64(1_000_000*Unit)).Draw(t, "floor"))
		account, ok := rates.ToAccount(floor, eur)
		if !ok || float64(account) < float64(floor)*1.0837 {
			t.Fatalf("ToAccount(%d) = %d, %t", floor, account, ok)
		}
		if price, ok := rates.FromAccount(account, eur); !ok || price < floor {
			t.Fatalf("a price of %d in the account is %d, below the floor of %d", account, price, floor)
		}
	})
	for _, unknown := range []Currency{{'X', 'X', 'X'}, {'Y', 'Y', 'Y'}, UnknownCurrency, {}} {
		if _, ok := rates.ToAccount(1, unknown); ok || rates.Knows(unknown) {
			t.Errorf("%q has a rate", unknown)
		}
	}
}

func TestParseCurrency(t *testing.T) {
	for text, want := range map[string]Currency{
		"": {}, "USD": USD, "usd": USD, "YENS": UnknownCurrency, "U$D": UnknownCurrency, "12 ": UnknownCurrency,
	} {
		if got := ParseCurrency(text); got != want {
			t.Errorf("ParseCurrency(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestHashUser(t *testing.T) {
	salt, other := &[32]byte{1}, &[32]byte{2}
	id := []byte("9B1D5A2E-7c40-4e0b-b6d3-1f2a3c4d5e6f")
	base := HashUser(salt, IDDevice, id)
	if base == (UserID{}) || base != HashUser(salt, IDDevice, []byte("9b1d5a2e-7C40-4e0b-b6d3-1f2a3c4d5e6f")) {
		t.Error("the case of a device id matters")
	}
	if base == HashUser(other, IDDevice, id) || base == HashUser(salt, IDCookie, id) {
		t.Error("salt or kind do not matter")
	}
	if HashUser(salt, IDCookie, []byte("AbCdEfGh")) == HashUser(salt, IDCookie, []byte("abcdefgh")) {
		t.Error("the case of a cookie does not matter")
	}
	if HashUser(salt, IDCookie, nil) != (UserID{}) || HashUser(salt, IDCookie, make([]byte, 257)) != (UserID{}) {
		t.Error("no id, or one that is too long, has a hash")
	}
	if allocs := testing.AllocsPerRun(100, func() { HashUser(salt, IDDevice, id) }); allocs != 0 {
		t.Errorf("HashUser allocates %v times", allocs)
	}
}

func TestValidIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"9B1D5A2E-7C40-4E0B-B6D3-1F2A3C4D5E6F": true, "9b1d5a2e7c404e0bb6d31f2a3c4d5e6f": true,
		"00000000-0000-0000-0000-000000000000": false, "": false, "9B1D5A2E-7C40-4E0B-B6D3": false,
		"9B1D5A2E07C40-4E0B-B6D3-1F2A3C4D5E6F": false, "zxcjbzxmc-zxcbmz-zxbcz-zxczx-zxczxcz": false,
	} {
		if got := ValidDevice([]byte(id)); got != want {
			t.Errorf("ValidDevice(%q) = %t", id, got)
		}
	}
	for id, want := range map[string]bool{
		"2269828760903472551": true, "short": false, "00000000": false, "has space in": false, "": false, "undefine\n": false,
	} {
		if got := ValidCookie([]byte(id)); got != want {
			t.Errorf("ValidCookie(%q) = %t", id, got)
		}
	}
}

func TestRequestReset(t *testing.T) {
	var r Request
	imp := r.AddImp()
	imp.ID, imp.Broken = Token(`"1"`), true
	imp.Banner.Sizes = append(imp.Banner.Sizes, Size{300, 250})
	d := imp.AddDeal()
	d.ID, d.Seats = Token(`"d"`), append(d.Seats, []byte("s"))
	r.Users = append(r.Users, UserID{1})
	r.Blocked.Apps = append(r.Blocked.Apps, []byte("a"))
	r.Signals.COPPA = true
	r.Reset()
	if len(r.Imps) != 0 || len(r.Users) != 0 || len(r.Blocked.Apps) != 0 || r.Signals.COPPA || cap(r.Imps) == 0 {
		t.Errorf("after Reset: %+v", r)
	}
	imp = r.AddImp()
	if imp.ID != nil || imp.Broken || len(imp.Banner.Sizes) != 0 || len(imp.Deals) != 0 || cap(imp.Banner.Sizes) == 0 {
		t.Errorf("reused imp: %+v", imp)
	}
	if d = imp.AddDeal(); d.ID != nil || len(d.Seats) != 0 || cap(d.Seats) == 0 {
		t.Errorf("reused deal: %+v", d)
	}
}

func TestBitsAndMimes(t *testing.T) {
	b := BitsOf(0, 7, 63)
	b.Add(-1)
	b.Add(14002)
	if !b.Has(0) || !b.Has(7) || !b.Has(63) || b.Has(8) || b.Has(200) {
		t.Errorf("bits = %b", b)
	}
	if ParseMime("VIDEO/mp4").Name() != "video/mp4" || ParseMime("image/jpg") != ParseMime("image/jpeg") || ParseMime("x/y") != MimeOther || MimeOther.Name() != "" {
		t.Error("media types are not told apart")
	}
}

func TestEveryReasonHasAName(t *testing.T) {
	names := map[string]NoBid{}
	for n := range NoBid(NoBidCount) {
		name := n.String()
		if other, taken := names[name]; taken || name == "unknown" {
			t.Errorf("reason %d is called %q, as is %d", n, name, other)
		}
		names[name] = n
	}
	if NoBid(250).String() != "unknown" {
		t.Error("a number that is no reason has a name")
	}
}
