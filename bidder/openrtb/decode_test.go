package openrtb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
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
func oneImp(t *testing.T, fields string) *rtb.Imp {
	t.Helper()
	req := decode(t, `{"id":"r","imp":[{"id":"1"`+fields+`}]}`)
	if len(req.Imps) != 1 {
		t.Fatalf("%d imps, want 1", len(req.Imps))
	}
	return &req.Imps[0]
}

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

func TestDecodeBanner(t *testing.T) {
	type sizes = []rtb.Size
	tests := []struct {
		fields string
		want   sizes
		any    bool
		broken bool
	}{
		{`"w":300,"h":250`, sizes{{W: 300, H: 250}}, false, false},
		{`"w":300.0,"h":2.5e2`, sizes{{W: 300, H: 250}}, false, false},
		{`"w":"300","h":" 250 "`, sizes{{W: 300, H: 250}}, false, false},
		{`"w":[300],"h":[250,1]`, sizes{{W: 300, H: 250}}, false, false},
		{`"format":[{"w":728,"h":90},{"w":970,"h":250}],"w":300,"h":250`, sizes{{W: 728, H: 90}, {W: 970, H: 250}, {W: 300, H: 250}}, false, false},
		{`"w":300,"h":250,"format":[{"w":300,"h":250},{"h":600,"w":300}]`, sizes{{W: 300, H: 250}, {W: 300, H: 600}}, false, false},
		{`"format":{"w":320,"h":50}`, sizes{{W: 320, H: 50}}, false, false},
		{`"format":[{"w":1,"h":1}],"format":[{"w":2,"h":2}]`, sizes{{W: 2, H: 2}}, false, false},
		{`"format":[{"wratio":16,"hratio":9},null,{"w":0,"h":0}]`, nil, true, false},
		{``, nil, true, false},
		{`"w":0,"h":0,"format":[]`, nil, true, false},
		{`"w":null,"h":"","format":null`, nil, true, false},
		{`"w":300`, nil, false, false},
		{`"w":0,"h":250`, nil, false, false},
		{`"w":-1,"h":-1`, nil, true, true},
		{`"w":300.5,"h":250`, nil, false, true},
		{`"w":1180591620717411303424,"h":250`, nil, false, true},
		{`"w":65536,"h":250`, nil, false, true},
		{`"w":65535,"h":250`, sizes{{W: 65535, H: 250}}, false, false},
		{`"w":"wide","h":250`, nil, false, true},
		{`"w":{},"h":250`, nil, false, true},
		{`"format":[{"w":-300,"h":250},{"w":300,"h":250}]`, sizes{{W: 300, H: 250}}, false, true},
		{`"format":["300x250"]`, nil, true, true},
		{`"format":"300x250"`, nil, true, true},
		{`"w":300,"h":250,"battr":["x"]`, sizes{{W: 300, H: 250}}, false, true},
		{`"w":300,"h":250,"btype":{}`, sizes{{W: 300, H: 250}}, false, true},
	}
	for _, tt := range tests {
		imp := oneImp(t, `,"banner":{`+tt.fields+`}`)
		if !imp.HasBanner || imp.Broken != tt.broken {
			t.Errorf("{%s}: has banner %t, broken %t, want true, %t", tt.fields, imp.HasBanner, imp.Broken, tt.broken)
		}
		if b := &imp.Banner; b.AnySize != tt.any || !slices.Equal(b.Sizes, tt.want) {
			t.Errorf("{%s}: sizes %v, any %t, want %v, %t", tt.fields, b.Sizes, b.AnySize, tt.want, tt.any)
		}
	}
}

func TestDecodeBannerLists(t *testing.T) {
	b := oneImp(t, `,"banner":{"w":1,"h":1,"mimes":["IMAGE/JPEG","image/png","application/x-flash"],"battr":[1,"9",14002,63,-1],"btype":4,"api":[3,null,5.0],"pos":7}`).Banner
	if want := rtb.ParseMime("image/jpeg") | rtb.ParseMime("image/png") | rtb.MimeOther; b.Mimes != want {
		t.Errorf("Mimes = %b, want %b", b.Mimes, want)
	}
	if want := rtb.BitsOf(1, 9, 63); b.BlockedAttrs != want {
		t.Errorf("BlockedAttrs = %b, want %b", b.BlockedAttrs, want)
	}
	if b.BlockedTypes != rtb.BitsOf(4) || b.APIs != rtb.BitsOf(3, 5) || b.Position != 7 {
		t.Errorf("types %b, APIs %b, position %d", b.BlockedTypes, b.APIs, b.Position)
	}
	for text, want := range map[string]rtb.Mimes{
		`null`: 0, `[]`: 0, `""`: 0, `[""]`: 0, `7`: rtb.MimeOther, `[7]`: rtb.MimeOther, `"video/mp4"`: rtb.ParseMime("video/mp4"),
	} {
		if got := oneImp(t, `,"banner":{"mimes":`+text+`}`).Banner.Mimes; got != want {
			t.Errorf("mimes %s = %b, want %b", text, got, want)
		}
	}
}

func TestDecodeMedia(t *testing.T) {
	for _, kind := range []string{"banner", "video", "audio", "native"} {
		has := func(i *rtb.Imp) bool {
			return map[string]bool{"banner": i.HasBanner, "video": i.HasVideo, "audio": i.HasAudio, "native": i.HasNative}[kind]
		}
		for value, want := range map[string][2]bool{ // has, broken
			`{}`: {true, false}, `null`: {false, false}, `[]`: {false, true}, `"x"`: {false, true}, `1`: {false, true},
		} {
			imp := oneImp(t, `,"`+kind+`":`+value)
			if got := [2]bool{has(imp), imp.Broken}; got != want {
				t.Errorf("%s %s: has, broken = %v, want %v", kind, value, got, want)
			}
		}
		if imp := oneImp(t, `,"`+kind+`":{"w":1,"h":1,"request":"x","battr":[1]},"`+kind+`":null`); has(imp) {
			t.Errorf("a second %s that is null does not count", kind)
		}
	}
}

func TestDecodeStream(t *testing.T) {
	imp := oneImp(t, `,"video":{"mimes":["video/mp4"],"minduration":5,"maxduration":"30","protocols":[2,3,7],"protocol":[5],"w":640,"h":360.0,
		"startdelay":-2,"linearity":1,"placement":3,"plcmt":2,"pos":4,"skip":true,"delivery":[1,2],"api":7,"battr":[13],
		"minbitrate":300,"maxbitrate":6000,"rqddurs":[15,30,"45"],"podid":12,"poddur":120,"podseq":-1,"maxseq":4,"slotinpod":2,"mincpmpersec":0.0000011}`)
	want := rtb.StreamSlot{
		Mimes: rtb.ParseMime("video/mp4"), Protocols: rtb.BitsOf(2, 3, 5, 7), MinDuration: 5, MaxDuration: 30,
		Durations: []uint16{15, 30, 45}, W: 640, H: 360, Linearity: 1, Placement: 3, Plcmt: 2, Position: 4, StartDelay: -2, Skip: true,
		Delivery: rtb.BitsOf(1, 2), APIs: rtb.BitsOf(7), BlockedAttrs: rtb.BitsOf(13), MinBitrate: 300, MaxBitrate: 6000,
		PodID: []byte("12"), PodDuration: 120, PodSequence: -1, MaxSequence: 4, SlotInPod: 2, MinCPMPerSecond: 2,
	}
	if imp.Broken || !reflect.DeepEqual(imp.Video, want) {
		t.Errorf("broken %t, video\n%+v, want\n%+v", imp.Broken, imp.Video, want)
	}
	if imp.HasAudio || imp.HasBanner {
		t.Error("has audio or banner")
	}
	audio := oneImp(t, `,"audio":{"mimes":["audio/mp4"],"maxduration":99999,"minduration":-3,"protocol":9}`)
	if a := audio.Audio; audio.Broken || a.MaxDuration != math.MaxUint16 || a.MinDuration != 0 || a.Protocols != rtb.BitsOf(9) {
		t.Errorf("broken %t, audio %+v", audio.Broken, a)
	}
	for _, fields := range []string{`"w":-1`, `"h":0.5`, `"maxduration":"long"`, `"protocols":[{}]`, `"rqddurs":["x"]`, `"mincpmpersec":"x"`, `"minduration":1.5`} {
		if !oneImp(t, `,"video":{`+fields+`}`).Broken {
			t.Errorf("video {%s} is not broken", fields)
		}
	}
	for _, fields := range []string{`"w":null`, `"mimes":null`, `"pos":"x"`, `"skip":{}`, `"startdelay":"x"`, `"battr":null`, `"ext":[]`, `"companionad":7`} {
		if oneImp(t, `,"video":{`+fields+`}`).Broken {
			t.Errorf("video {%s} is broken", fields)
		}
	}
}

func TestDecodeNative(t *testing.T) {
	tests := []struct{ native, want string }{
		{`{"request":"{\"assets\":[{\"id\":1,\"title\":{\"len\":\u0031}}]}"}`, `{"assets":[{"id":1,"title":{"len":1}}]}`},
		{`{"request":"{}"}`, `{}`},
		{`{"request": {"assets" : []} ,"ver":1}`, `{"assets" : []}`},
		{`{"request":""}`, ``},
		{`{"request":null}`, ``},
		{`{"request":7}`, ``},
		{`{"request":[]}`, ``},
		{`{"request":"not JSON"}`, `not JSON`},
		{`{"request":"a","request":"b"}`, `b`},
		{`{"ver":"1.0","assets":[{"id":1}]}`, `{"ver":"1.0","assets":[{"id":1}]}`},
		{`{"request":"","assets":[{"id":1}]}`, `{"request":"","assets":[{"id":1}]}`},
		{`{"assets":null}`, ``},
		{`{}`, ``},
	}
	for _, tt := range tests {
		imp := oneImp(t, `,"native":`+tt.native)
		if got := string(imp.Native.Request); got != tt.want || imp.Broken {
			t.Errorf("%s: request %q, broken %t, want %q", tt.native, got, imp.Broken, tt.want)
		}
	}
	imp := oneImp(t, `,"native":{"request":"{}","api":[3],"battr":[8,14]}`)
	if imp.Native.APIs != rtb.BitsOf(3) || imp.Native.BlockedAttrs != rtb.BitsOf(8, 14) {
		t.Errorf("native %+v", imp.Native)
	}
}

func TestDecodeFloor(t *testing.T) {
	tests := []struct {
		floor  string
		want   rtb.Money
		broken bool
	}{
		{`0`, 0, false},
		{`2.5`, 2_500_000, false},
		{`"2.5"`, 2_500_000, false},
		{`25e-1`, 2_500_000, false},
		{`0.25E+1`, 2_500_000, false},
		{`0.000001`, 1, false},
		{`0.0000001`, 1, false},
		{`0.0000011`, 2, false},
		{`13.521766169371157`, 13_521_767, false},
		{`0.13521766169371157`, 135_218, false},
		{`2.50000000000000000000000000`, 2_500_000, false},
		{`2.50000000000000000000000001`, 2_500_001, false},
		{`0.00000000000000000000000000000000000000000001`, 1, false},
		{`1e-400`, 1, false},
		{`-1`, 0, false},
		{`"-0.5"`, 0, false},
		{`-0`, 0, false},
		{`9223372036854.775806`, math.MaxInt64 - 1, false},
		{`9223372036854.775807`, rtb.MaxMoney, false},
		{`9223372036854.775808`, rtb.MaxMoney, false},
		{`1e300`, rtb.MaxMoney, false},
		{`1e308`, rtb.MaxMoney, false},
		{`1e309`, 0, true},
		{`1e999`, 0, true},
		{`1e99999999999999999999`, 0, true},
		{`0e999`, 0, false},
		{`null`, 0, false},
		{`""`, 0, false},
		{`[]`, 0, false},
		{`[1.5]`, 1_500_000, false},
		{`true`, 1_000_000, false},
		{`{}`, 0, true},
		{`"x"`, 0, true},
		{`"1,5"`, 0, true},
		{`"1.5 USD"`, 0, true},
		{`"NaN"`, 0, true},
		{`"007.5"`, 7_500_000, false},
	}
	for _, tt := range tests {
		imp := oneImp(t, `,"bidfloor":`+tt.floor)
		if imp.Floor != tt.want || imp.Broken != tt.broken {
			t.Errorf("bidfloor %s = %d, broken %t, want %d, %t", tt.floor, imp.Floor, imp.Broken, tt.want, tt.broken)
		}
	}
	for text, want := range map[string]rtb.Currency{
		`"EUR"`: {'E', 'U', 'R'}, `"eur"`: {'E', 'U', 'R'}, `""`: {}, `null`: {}, `"YEN!"`: rtb.UnknownCurrency,
		`978`: rtb.UnknownCurrency, `{}`: rtb.UnknownCurrency, `"E\u0055R"`: {'E', 'U', 'R'},
	} {
		if got := oneImp(t, `,"bidfloorcur":`+text).FloorCur; got != want {
			t.Errorf("bidfloorcur %s = %v, want %v", text, got, want)
		}
	}
}

func TestDecodeImpFields(t *testing.T) {
	imp := oneImp(t, `,"tagid":77,"secure":"1","instl":true,"rwdd":1.0,"exp":"300","ext":{"skadn":{"versions":["4.0"], "x":[1]},"y":2}`)
	if string(imp.TagID) != "77" || !imp.Secure || !imp.Instl || !imp.Rewarded || imp.Expiry != 300 || imp.Broken {
		t.Errorf("imp %+v", imp)
	}
	if want := `{"versions":["4.0"], "x":[1]}`; string(imp.SKAdN) != want {
		t.Errorf("SKAdN = %s, want %s", imp.SKAdN, want)
	}
	for _, ext := range []string{`null`, `"x"`, `7`, `[]`, `{"skadn":null}`, `{"skadn":"x"}`, `{"skadn":{}},"ext":{}`} {
		if imp := oneImp(t, `,"ext":`+ext); imp.SKAdN != nil || imp.Broken {
			t.Errorf("ext %s: SKAdN %s, broken %t", ext, imp.SKAdN, imp.Broken)
		}
	}
	for text, want := range map[string]bool{`0`: false, `""`: false, `null`: false, `"0"`: false, `false`: false, `"false"`: false, `1`: true, `2`: true, `"true"`: true, `"yes"`: true, `{}`: true} {
		if imp := oneImp(t, `,"secure":`+text); imp.Secure != want || imp.Broken {
			t.Errorf("secure %s = %t, broken %t, want %t", text, imp.Secure, imp.Broken, want)
		}
	}
}

func TestDecodeImpIDs(t *testing.T) {
	tests := []struct {
		name   string
		imps   string
		ids    string // of all that are kept
		broken string // one letter each
	}{
		{"strings", `{"id":"a"},{"id":"b"}`, `"a" "b"`, "--"},
		{"number", `{"id":7}`, `7`, "-"},
		{"missing", `{},{"id":"b"}`, ` "b"`, "x-"},
		{"empty, null, object", `{"id":""},{"id":null},{"id":{}}`, `  `, "xxx"},
		{"not UTF-8", "{\"id\":\"\xff\"},{\"id\":\"b\"}", ` "b"`, "x-"},
		{"null and numbers between", `null,{"id":"a"},7,"x",[]`, `"a"`, "-"},
		{"equal", `{"id":"a"},{"id":"b"},{"id":"a"}`, `"a" "b" "a"`, "x-x"},
		{"equal when unescaped", `{"id":"a\/b"},{"id":"a/b"},{"id":"a\u002fb"}`, `"a\/b" "a/b" "a\u002fb"`, "xxx"},
		{"different escapes", `{"id":"a\/b"},{"id":"a\\/b"}`, `"a\/b" "a\\/b"`, "--"},
		{"number and string", `{"id":7},{"id":"7"}`, `7 "7"`, "xx"},
		{"id twice", `{"id":"a","id":"b"}`, `"b"`, "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := decode(t, `{"id":"r","imp":[`+tt.imps+`]}`)
			var ids []string
			broken := ""
			for i := range req.Imps {
				ids = append(ids, string(req.Imps[i].ID))
				broken += map[bool]string{true: "x", false: "-"}[req.Imps[i].Broken]
			}
			if got := strings.Join(ids, " "); got != tt.ids || broken != tt.broken {
				t.Errorf("ids %s, broken %s, want %s, %s", got, broken, tt.ids, tt.broken)
			}
		})
	}
}

func TestDecodeDeals(t *testing.T) {
	imp := oneImp(t, `,"pmp":{"private_auction":1,"deals":[
		{"id":"d1","bidfloor":1.5,"bidfloorcur":"EUR","at":3,"wseat":["7",8,null],"wadomain":["a.example"]},
		{"id":5},{"id":""},{"bidfloor":1},null,{"id":"bad","bidfloor":"x"},{"id":"d3","wseat":{},"wadomain":[],"at":null}]}`)
	if !imp.Private || imp.Broken || len(imp.Deals) != 3 {
		t.Fatalf("private %t, broken %t, %d deals", imp.Private, imp.Broken, len(imp.Deals))
	}
	d := imp.Deals[0]
	if string(d.ID) != `"d1"` || d.Floor != 1_500_000 || d.FloorCur.String() != "EUR" || d.Auction != 3 ||
		texts(d.Seats) != "7|8|" || len(d.Seats) != 3 || texts(d.Advertisers) != "a.example" {
		t.Errorf("deal %+v", d)
	}
	if d := imp.Deals[1]; string(d.ID) != `5` || d.Floor != 0 || len(d.Seats) != 0 || d.Auction != 0 {
		t.Errorf("deal %+v", d)
	}
	if d := imp.Deals[2]; string(d.ID) != `"d3"` || len(d.Seats) != 1 || len(d.Advertisers) != 0 {
		t.Errorf("deal %+v: what cannot be read must keep others out", d)
	}
	if imp := oneImp(t, `,"pmp":{"private_auction":1,"deals":[{"id":"x"}]},"pmp":null`); imp.Private || len(imp.Deals) != 0 || imp.Broken {
		t.Errorf("a second pmp that is null does not count: %+v", imp)
	}
	if !oneImp(t, `,"pmp":7`).Broken {
		t.Error("a pmp that is a number does not break the imp")
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
	if plain.Auction != 2 || plain.TMax != 0 || plain.Test || plain.AllImps || plain.Currencies != nil && len(plain.Currencies) > 0 {
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
	req = decode(t, `{"id":"r","imp":[`+strings.Join(imps, ",")+`],"allimps":1}`)
	if !req.Imps[0].Broken {
		t.Error("allimps with more imps than are kept can be answered")
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
