package openrtb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

// decode reads a body with a Request that has served others before.
func decode(t *testing.T, body string) *rtb.Request {
	t.Helper()
	var req rtb.Request
	for _, name := range []string{"index/video", "generic/large"} {
		if err := Decode(exemplar(t, name), &req); err != nil {
			t.Fatal(err)
		}
	}
	if err := Decode([]byte(body), &req); err != nil {
		t.Fatalf("Decode(%.200s): %v", body, err)
	}
	return &req
}

// top is a sound request with more fields, which start with a comma.
func top(fields string) string {
	return `{"id":"r","imp":[{"id":"1","banner":{"w":300,"h":250}}]` + fields + `}`
}

// oneImp decodes a request whose only imp has the given fields.
func TestDecodeErrors(t *testing.T) {
	const good = `{"id":"r","imp":[{"id":"1","banner":{}}],"x":%s}`
	nested := func(n int) string {
		return fmt.Sprintf(good, strings.Repeat("[", n)+strings.Repeat("]", n))
	}
	tests := []struct {
		name string
		body string
		want error
	}{
		{"nothing", ``, ErrSyntax},
		{"blank", " \r\n\t", ErrSyntax},
		{"null", `null`, ErrSyntax},
		{"array", `[{"id":"r"}]`, ErrSyntax},
		{"number", `0`, ErrSyntax},
		{"open object", `{`, ErrSyntax},
		{"open key", `{"id`, ErrSyntax},
		{"key alone", `{"id"`, ErrSyntax},
		{"colon alone", `{"id":`, ErrSyntax},
		{"open string", `{"id":"r`, ErrSyntax},
		{"two objects", `{"id":"r","imp":[{"id":"1"}]}{}`, ErrSyntax},
		{"trailing text", `{"id":"r","imp":[{"id":"1"}]} x`, ErrSyntax},
		{"trailing space", "{\"id\":\"r\",\"imp\":[{\"id\":\"1\"}]} \r\n", nil},
		{"leading space", "\n {\"id\":\"r\",\"imp\":[{\"id\":\"1\"}]}", nil},
		{"byte order mark", "\xef\xbb\xbf" + top(""), nil},
		{"UTF-16", "\xff\xfe{\x00", ErrSyntax},
		{"NaN", fmt.Sprintf(good, `NaN`), ErrSyntax},
		{"Infinity", fmt.Sprintf(good, `-Infinity`), ErrSyntax},
		{"bad literal", fmt.Sprintf(good, `nul`), ErrSyntax},
		{"literal and more", fmt.Sprintf(good, `trueish`), ErrSyntax},
		{"upper-case literal", fmt.Sprintf(good, `True`), ErrSyntax},
		{"leading zero", fmt.Sprintf(good, `01`), ErrSyntax},
		{"leading plus", fmt.Sprintf(good, `+1`), ErrSyntax},
		{"no digits after the point", fmt.Sprintf(good, `1.`), ErrSyntax},
		{"no digits before the point", fmt.Sprintf(good, `.5`), ErrSyntax},
		{"no exponent", fmt.Sprintf(good, `1e`), ErrSyntax},
		{"minus alone", fmt.Sprintf(good, `-`), ErrSyntax},
		{"hexadecimal", fmt.Sprintf(good, `0x10`), ErrSyntax},
		{"all of a number", fmt.Sprintf(good, `-0.5e+10`), nil},
		{"leading zero in a field we read", `{"id":"r","tmax":0120,"imp":[{"id":"1"}]}`, ErrSyntax},
		{"bad number in a field we read", `{"id":"r","tmax":1.x,"imp":[{"id":"1"}]}`, ErrSyntax},
		{"comma before brace", `{"id":"r","imp":[{"id":"1"}],}`, ErrSyntax},
		{"comma before bracket", fmt.Sprintf(good, `[1,]`), ErrSyntax},
		{"comma first", fmt.Sprintf(good, `[,1]`), ErrSyntax},
		{"no comma", fmt.Sprintf(good, `[1 2]`), ErrSyntax},
		{"wrong bracket", fmt.Sprintf(good, `[1}`), ErrSyntax},
		{"key without quotes", `{id:"r"}`, ErrSyntax},
		{"key in single quotes", `{'id':'r'}`, ErrSyntax},
		{"number as key", `{1:2}`, ErrSyntax},
		{"no colon", `{"id" "r"}`, ErrSyntax},
		{"comment", `/* x */` + top(""), ErrSyntax},
		{"comment inside", fmt.Sprintf(good, `1 // one`), ErrSyntax},
		{"raw newline in a string", fmt.Sprintf(good, "\"a\nb\""), ErrSyntax},
		{"raw NUL in a long string", fmt.Sprintf(good, "\"0123456789abcdef\x00\""), ErrSyntax},
		{"delete character in a string", fmt.Sprintf(good, "\"\x7f\""), nil},
		{"unknown escape", fmt.Sprintf(good, `"\x41"`), ErrSyntax},
		{"short unicode escape", fmt.Sprintf(good, `"\u12"`), ErrSyntax},
		{"bad unicode escape", fmt.Sprintf(good, `"\u12g4"`), ErrSyntax},
		{"bad escape in a key", fmt.Sprintf(good, `{"\q":1}`), ErrSyntax},
		{"every escape", fmt.Sprintf(good, `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\uD800"`), nil},
		{"bytes that are no UTF-8", fmt.Sprintf(good, "\"\xff\xfe\""), nil},
		{"as deep as allowed", nested(MaxDepth - 1), nil},
		{"too deep", nested(MaxDepth), ErrDepth},
		{"far too deep", nested(200_000), ErrDepth},
		{"too deep in a field we read", `{"id":"r","tmax":` + strings.Repeat("[", 100_000), ErrDepth},
		{"too deep in objects", fmt.Sprintf(good, strings.Repeat(`{"a":`, 200_000)), ErrDepth},

		{"no id", `{"imp":[{"id":"1"}]}`, ErrNoID},
		{"id null", `{"id":null,"imp":[{"id":"1"}]}`, ErrNoID},
		{"id empty", `{"id":"","imp":[{"id":"1"}]}`, ErrNoID},
		{"id object", `{"id":{},"imp":[{"id":"1"}]}`, ErrNoID},
		{"id array", `{"id":["r"],"imp":[{"id":"1"}]}`, ErrNoID},
		{"id boolean", `{"id":true,"imp":[{"id":"1"}]}`, ErrNoID},
		{"id not UTF-8", "{\"id\":\"0123456789\xff\",\"imp\":[{\"id\":\"1\"}]}", ErrNoID},
		{"id number", `{"id":12345,"imp":[{"id":"1"}]}`, nil},
		{"keys in upper case", `{"ID":"r","IMP":[{"id":"1"}]}`, ErrNoID},
		{"second id null", `{"id":"r","imp":[{"id":"1"}],"id":null}`, ErrNoID},

		{"no imp", `{"id":"r"}`, ErrNoImp},
		{"imp null", `{"id":"r","imp":null}`, ErrNoImp},
		{"imp empty", `{"id":"r","imp":[]}`, ErrNoImp},
		{"imp object", `{"id":"r","imp":{"id":"1"}}`, ErrNoImp},
		{"imp string", `{"id":"r","imp":"1"}`, ErrNoImp},
		{"imp of null", `{"id":"r","imp":[null]}`, ErrNoImp},
		{"imp of numbers", `{"id":"r","imp":[1,2]}`, ErrNoImp},
		{"second imp empty", `{"id":"r","imp":[{"id":"1"}],"imp":[]}`, ErrNoImp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var req rtb.Request
			if err := Decode([]byte(tt.body), &req); !errors.Is(err, tt.want) {
				t.Errorf("Decode(%.80q) = %v, want %v", tt.body, err, tt.want)
			}
		})
	}
}

// Every prefix of a sound body is an error, whatever it is cut in.
func TestDecodeTruncated(t *testing.T) {
	var req rtb.Request
	for _, path := range exemplars(t) {
		body := bytes.TrimSpace(readFile(t, path))
		for n := range body {
			if err := Decode(body[:n:n], &req); err == nil {
				t.Fatalf("%s: the first %d of %d bytes are accepted", path, n, len(body))
			}
		}
	}
}

func texts(list [][]byte) string { return string(bytes.Join(list, []byte("|"))) }

func TestDecodeTop(t *testing.T) {
	req := decode(t, top(`,"at":"1","tmax":933.33,"test":"1","allimps":true,"cur":["usd","EUR",""],"wseat":[1,"two"],"bseat":"nine",
		"wlang":["en",""],"wlangb":["de-DE"],"bcat":["IAB1",7,null,"",{}],"cattax":"2","badv":["A.example"],"bapp":["com.x"]`))
	if req.Auction != 1 || req.TMax != 933*time.Millisecond || !req.Test || !req.AllImps {
		t.Errorf("at %d, tmax %v, test %t, allimps %t", req.Auction, req.TMax, req.Test, req.AllImps)
	}
	if want := []rtb.Currency{rtb.USD, {'E', 'U', 'R'}}; !slices.Equal(req.Currencies, want) {
		t.Errorf("Currencies = %v, want %v", req.Currencies, want)
	}
	b := &req.Blocked
	got := strings.Join([]string{texts(req.Seats), texts(req.NoSeats), texts(req.Languages), texts(b.Categories), texts(b.Advertisers), texts(b.Apps)}, " ")
	if want := "1|two nine en|de-DE IAB1|7 A.example com.x"; got != want || b.Taxonomy != 2 {
		t.Errorf("lists %s, cattax %d, want %s, 2", got, b.Taxonomy, want)
	}
	plain := decode(t, top(""))
	if plain.Auction != 2 || plain.TMax != 0 || plain.Test || plain.AllImps || len(plain.Currencies) > 0 {
		t.Errorf("a request that says nothing: %+v", plain)
	}
	for text, want := range map[string]time.Duration{
		`"120"`: 120 * time.Millisecond, `300.0`: 300 * time.Millisecond, `-5`: 0, `0`: 0, `null`: 0, `""`: 0, `{}`: 0, `"soon"`: 0, `1e300`: maxTMax,
	} {
		if got := decode(t, top(`,"tmax":`+text)).TMax; got != want {
			t.Errorf("tmax %s = %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]uint16{`1`: 1, `3.0`: 3, `999`: 999, `0`: 2, `null`: 2, `-1`: 2, `{}`: 2, `1e9`: math.MaxUint16} {
		if got := decode(t, top(`,"at":`+text)).Auction; got != want {
			t.Errorf("at %s = %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]string{`"EUR"`: "[EUR]", `[]`: "[]", `null`: "[]", `["XXXX"]`: "[???]", `[5]`: "[???]", `{}`: "[???]"} {
		if got := fmt.Sprint(decode(t, top(`,"cur":`+text)).Currencies); got != want {
			t.Errorf("cur %s = %s, want %s", text, got, want)
		}
	}
}

func TestDecodeLimits(t *testing.T) {
	list := func(n int, item string) string {
		return strings.TrimSuffix(strings.Repeat(item+",", n), ",")
	}
	var imps []string
	for i := range 5000 {
		imps = append(imps, fmt.Sprintf(`{"id":"%d","banner":{}}`, i))
	}
	req := decode(t, `{"id":"r","imp":[`+strings.Join(imps, ",")+`]}`)
	if len(req.Imps) != MaxImps || req.Imps[0].Broken {
		t.Errorf("%d imps, broken %t", len(req.Imps), req.Imps[0].Broken)
	}
	var formats strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&formats, `,{"w":%d,"h":1}`, i+1)
	}
	imp := oneImp(t, `,"banner":{"format":[`+formats.String()[1:]+`]},"video":{"rqddurs":[`+list(1000, "15")+`]},"pmp":{"deals":[`+list(5000, `{"id":"d"}`)+`]}`)
	if len(imp.Banner.Sizes) != MaxFormats || len(imp.Deals) != MaxDeals || len(imp.Video.Durations) != maxDurations || imp.Broken {
		t.Errorf("%d formats, %d deals, %d durations, broken %t", len(imp.Banner.Sizes), len(imp.Deals), len(imp.Video.Durations), imp.Broken)
	}
	for _, key := range []string{"bcat", "badv", "bapp", "bseat"} {
		if decode(t, top(`,"`+key+`":[`+list(MaxBlocked, `"x"`)+`]`)).Imps[0].Broken {
			t.Errorf("%s of the most entries is refused", key)
		}
		if !decode(t, top(`,"`+key+`":[`+list(MaxBlocked+1, `"x"`)+`]`)).Imps[0].Broken {
			t.Errorf("%s with an entry too many may be violated", key)
		}
	}
	req = decode(t, top(`,"user":{"eids":[`+list(100, `{"source":"s","uids":[{"id":"i"},{"id":"j"}]}`)+`]},
		"source":{"schain":{"complete":1,"nodes":[`+list(100, `{"asi":"a"}`)+`]}}`))
	if len(req.User.EIDs) != MaxEIDs || len(req.Source.Chain) != MaxSellers || req.Source.ChainComplete {
		t.Errorf("%d eids, %d sellers, complete %t", len(req.User.EIDs), len(req.Source.Chain), req.Source.ChainComplete)
	}
	if n := len(decode(t, top(`,"wseat":[`+list(5000, `"x"`)+`]`)).Seats); n != maxAllowed {
		t.Errorf("%d seats", n)
	}
}

// A Request that served another body says nothing of it, and a key that comes
// twice says nothing of its first value.
func TestDecodeForgets(t *testing.T) {
	full := func() *rtb.Request {
		req := new(rtb.Request)
		for _, path := range exemplars(t) {
			if err := Decode(readFile(t, path), req); err != nil {
				t.Fatal(err)
			}
		}
		return req
	}
	for _, body := range []string{top(""), string(exemplar(t, "pubmatic/banner"))} {
		var fresh rtb.Request
		if err := Decode([]byte(body), &fresh); err != nil {
			t.Fatal(err)
		}
		used := full()
		if err := Decode([]byte(body), used); err != nil {
			t.Fatal(err)
		}
		if a, b := dump(t, &fresh), dump(t, used); a != b {
			t.Errorf("a used Request differs from a fresh one\n%s\n%s", a, b)
		}
	}

	// Every key of every exemplar, then the plain value again.
	plain := map[string]string{
		"site": `{"id":"s"}`, "device": `{"ua":"u"}`, "user": `{"id":"u"}`, "regs": `{}`, "source": `{}`,
		"imp": `[{"id":"1","banner":{"w":300,"h":250}}]`, "bcat": `[]`, "badv": `[]`, "wseat": `[]`, "cur": `[]`, "bapp": `[]`, "app": `null`,
	}
	var first, second strings.Builder
	for key, value := range plain {
		fmt.Fprintf(&second, `,"%s":%s`, key, value)
	}
	for _, path := range exemplars(t) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(readFile(t, path), &fields); err != nil {
			t.Fatal(err)
		}
		first.Reset()
		for key, value := range fields {
			if _, ok := plain[key]; ok && key != "app" {
				fmt.Fprintf(&first, `,"%s":%s`, key, value)
			}
		}
		want := dump(t, decode(t, `{"id":"r"`+second.String()+`}`))
		if got := dump(t, decode(t, `{"id":"r"`+first.String()+second.String()+`}`)); got != want {
			t.Errorf("%s: what came first shows\n got %s\nwant %s", path, got, want)
		}
	}
}

// dump writes all of a Request but its Arena.
func dump(t *testing.T, req *rtb.Request) string {
	t.Helper()
	clone := *req
	clone.Arena = nil
	text, err := json.Marshal(&clone)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "[]", "null")
}

func exemplars(tb testing.TB) []string {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "*", "*.request.json"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no requests in testdata: %v", err)
	}
	return paths
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	bodies := [][]byte{[]byte(top(`,"bcat":["\u0041"],"device":{"sua":{"platform":{"brand":"x","version":["1","2"]}}}`)), []byte(`{"id":"r","imp":[{"id":"a\/b"},{"id":"a/b"}]}`)}
	for _, path := range exemplars(t) {
		bodies = append(bodies, readFile(t, path))
	}
	var req rtb.Request
	run := func() {
		for _, body := range bodies {
			if err := Decode(body, &req); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	if allocs := testing.AllocsPerRun(100, run); allocs != 0 {
		t.Errorf("Decode allocates %v times, want 0", allocs)
	}
	broken := bodies[len(bodies)-1]
	broken = broken[:len(broken)/2]
	if allocs := testing.AllocsPerRun(100, func() { _ = Decode(broken, &req) }); allocs != 0 {
		t.Errorf("Decode of half a body allocates %v times, want 0", allocs)
	}
}

// Ids are compared with one another, so each is unescaped once only: with one
// pass a pair, a body of four megabytes took most of a second.
func TestManyLongEscapedIDs(t *testing.T) {
	long := strings.Repeat(`\/`, 20_000)
	var b strings.Builder
	b.WriteString(`{"id":"1","imp":[`)
	for i := range MaxImps - 1 {
		fmt.Fprintf(&b, `{"id":"%s%d","banner":{}},`, long, i)
	}
	fmt.Fprintf(&b, `{"id":"%s7","banner":{}}]}`, strings.ReplaceAll(long, `\`, ""))
	req := decode(t, b.String())
	for i := range req.Imps {
		if same := i == 7 || i == MaxImps-1; req.Imps[i].Broken != same {
			t.Errorf("imp %d: broken %t, want %t", i, req.Imps[i].Broken, same)
		}
	}
}
