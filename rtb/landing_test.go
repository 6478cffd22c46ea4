package rtb

import (
	"net/url"
	"strings"
	"testing"
)

var testClick = Click{
	ID: []byte("AZaz09-_"), Campaign: "spring & summer", LineItem: "läufer/#1", Creative: "300x250~a.b", Exchange: "google",
	Bid: BidID{0xFB, 15: 0xFF}, CacheBuster: 18446744073709551615,
}

func TestLanding(t *testing.T) {
	tests := []struct{ address, want, wrong string }{
		{"https://shoes.example/run?a=1&b=2#c", "https://shoes.example/run?a=1&b=2#c", ""},
		{"http://shoes.example:8080", "http://shoes.example:8080", ""},
		{"https://shoes.example/?c={CLICK_ID}", "https://shoes.example/?c=AZaz09-_", ""},
		{"https://shoes.example/{CAMPAIGN}/{LINE_ITEM}?{CREATIVE}#{EXCHANGE}", "https://shoes.example/spring%20%26%20summer/l%C3%A4ufer%2F%231?300x250~a.b#google", ""},
		{"https://shoes.example/?{BID_ID}{CACHE_BUSTER}", "https://shoes.example/?-wAAAAAAAAAAAAAAAAAA_w18446744073709551615", ""},
		{"https://shoes.example?c={CLICK_ID}&d={CLICK_ID}", "https://shoes.example?c=AZaz09-_&d=AZaz09-_", ""},
		{"https://shoes.example/?x={GCLID}&c={CLICK_ID}&y={A}", "https://shoes.example/?x={GCLID}&c=AZaz09-_&y={A}", ""}, // somebody else's
		{"https://shoes.example/a{EXCHANGE}", "https://shoes.example/agoogle", ""},
		{"", "", "missing"},
		{"//shoes.example/", "", "not an absolute"},
		{"javascript:alert({CLICK_ID})", "", "not an absolute"},
		{"{EXCHANGE}://shoes.example/", "", "not an absolute"},
		{"https://{CAMPAIGN}.example/", "", "macro {CAMPAIGN} in its host"},
		{"https://shoes.example{CAMPAIGN}", "", "macro {CAMPAIGN} in its host"},
		{"https://shoes.example:{CAMPAIGN}/", "", "not an address"},
		{"https://{FOO}/", "", "macro {FOO} in its host"},
		{"https://me@shoes.example/", "", "user name"},
		{"https://shoes.example/{click_id}", "", "contains '{'"},
		{"https://shoes.example/{CLICK_ID", "", "contains '{'"},
		{"https://shoes.example/{{CLICK_ID}}", "", "contains '{'"},
		{"https://shoes.example/\r\nSet-Cookie:a", "", `contains '\r'`},
		{"https://shoes.example/ä", "", "contains 'ä'"},
		{"https://shoes.example/" + strings.Repeat("{CACHE_BUSTER}", 200), "", "longer"},
	}
	for _, tt := range tests {
		l, err := ParseLanding(tt.address)
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("ParseLanding(%q) = %v, want %q", tt.address, err, tt.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("ParseLanding(%q) = %v", tt.address, err)
			continue
		}
		if got := string(l.Append(nil, &testClick)); got != tt.want {
			t.Errorf("%s becomes %s, want %s", tt.address, got, tt.want)
		}
		if l.Fixed() != (tt.address == tt.want) {
			t.Errorf("Fixed of %s = %t", tt.address, l.Fixed())
		}
	}
}

func TestLandingDoesNotAllocate(t *testing.T) {
	l, err := ParseLanding("https://shoes.example/{CAMPAIGN}?c={CLICK_ID}&b={BID_ID}&r={CACHE_BUSTER}")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = l.Append(buf[:0], &testClick) }); n != 0 {
		t.Errorf("Append allocates %v times, want 0", n)
	}
}

// Whatever the values, the address leads to the same host and goes into a
// header.
func FuzzLanding(f *testing.F) {
	f.Add("https://shoes.example/{CAMPAIGN}?c={CLICK_ID}", "a/b")
	f.Add("http://a?{EXCHANGE}", "\r\nLocation: //evil.example/@")
	f.Fuzz(func(t *testing.T, address, value string) {
		l, err := ParseLanding(address)
		if err != nil {
			return
		}
		c := Click{ID: []byte(value), Campaign: value, LineItem: value, Creative: value, Exchange: value}
		got := string(l.Append(nil, &c))
		if strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
			t.Fatalf("%q in a header", got)
		}
		before, err := url.Parse(landingPattern.ReplaceAllString(address, "x"))
		if err != nil {
			t.Fatal(err)
		}
		after, err := url.Parse(landingPattern.ReplaceAllString(got, "x"))
		if err != nil {
			t.Fatalf("%q is no address: %v", got, err)
		}
		if before.Scheme != after.Scheme || before.Host != after.Host || after.User != nil {
			t.Fatalf("%q leads elsewhere than %q", got, address)
		}
	})
}
