package openrtb

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bidwell/rtb"
)

func oneImp(t *testing.T, fields string) *rtb.Imp {
	t.Helper()
	req := decode(t, `{"id":"r","imp":[{"id":"1"`+fields+`}]}`)
	if len(req.Imps) != 1 {
		t.Fatalf("%d imps, want 1", len(req.Imps))
	}
	return &req.Imps[0]
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

// A protocol beyond what a set holds is still a restriction: left out, it would
// let any version of VAST through.
func TestProtocolsNobodyKnowsAllowNothing(t *testing.T) {
	for fields, want := range map[string]rtb.Bits{
		`"protocols":[1000]`: rtb.BitsOf(0), `"protocols":[-1]`: rtb.BitsOf(0), `"protocols":"300"`: rtb.BitsOf(0), `"protocol":64`: rtb.BitsOf(0),
		`"protocols":[1000,3]`: rtb.BitsOf(3), `"protocols":[]`: 0, `"protocols":null`: 0, `"protocols":[null]`: 0,
	} {
		if imp := oneImp(t, `,"video":{`+fields+`}`); imp.Broken || imp.Video.Protocols != want {
			t.Errorf("%s: broken %t, protocols %b, want %b", fields, imp.Broken, imp.Video.Protocols, want)
		}
	}
}
