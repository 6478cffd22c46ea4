package openrtb

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"bidwell/rtb"
)

func TestDecodeInventory(t *testing.T) {
	site := decode(t, top(`,"site":{"id":38,"domain":"a.example","page":"https:\/\/a.example\/x","cat":"IAB1","keywords":["k","l"],
		"publisher":{"id":7,"id":8},"content":{"id":5,"language":"EN","livestream":"1"}}`)).Inventory
	want := rtb.Inventory{
		Kind: rtb.Site, ID: []byte("38"), Domain: []byte("a.example"), Page: []byte("https://a.example/x"), Publisher: []byte("8"),
		Categories: [][]byte{[]byte("IAB1")}, Keywords: []byte("k"), Content: []byte("5"), Language: [2]byte{'e', 'n'}, Livestream: true,
	}
	if !reflect.DeepEqual(site, want) {
		t.Errorf("site %+v, want %+v", site, want)
	}
	app := decode(t, top(`,"app":{"bundle":1190023456,"storeurl":"https://s.example","cat":[1,null],"content":{"langb":"pt-BR"}}`)).Inventory
	if app.Kind != rtb.App || string(app.Bundle) != "1190023456" || string(app.StoreURL) != "https://s.example" ||
		texts(app.Categories) != "1" || app.Language != [2]byte{'p', 't'} {
		t.Errorf("app %+v", app)
	}
	const s, a, d = `,"site":{"id":"S"}`, `,"app":{"id":"A"}`, `,"dooh":{"id":"D"}`
	for fields, want := range map[string]string{
		"": "0:", s: "1:S", a: "2:A", d: "3:D", s + a: "2:A", a + s: "2:A", a + s + d: "2:A", d + s: "1:S", s + d: "1:S", d + a: "2:A",
		s + s: "1:S", `,"site":null`: "0:", `,"site":[]` + d: "3:D", `,"app":"x"` + s: "1:S", s + `,"site":null`: "0:",
		`,"site":{"id":"T","page":"x.example"}` + s: "1:S",
	} {
		req := decode(t, top(fields))
		inv := req.Inventory
		kinds := 0
		for _, kind := range []string{`"site":{`, `"app":{`, `"dooh":{`} {
			kinds += min(strings.Count(fields, kind), 1)
		}
		if several := kinds > 1; req.Imps[0].Broken != several && !strings.Contains(fields, "null") {
			t.Errorf("%s: broken %t, want %t: an ad can show in one place only", fields, req.Imps[0].Broken, several)
		}
		if got := fmt.Sprintf("%d:%s", inv.Kind, inv.ID); got != want || len(inv.Page) > 0 {
			t.Errorf("%s: inventory %s, page %q, want %s", fields, got, inv.Page, want)
		}
	}
	for page, want := range map[string]string{
		"https://news.example:8443/a?b=c": "news.example", "http://user:pw@n.example": "n.example", "n.example/x": "n.example",
		"//n.example?x": "", "n.example#x": "n.example", "https://localhost/": "", "https://": "", "": "", "about:blank": "", "https://[2001:db8::1]/": "",
	} {
		if got := string(decode(t, top(`,"site":{"page":"`+page+`","domain":""}`)).Inventory.Domain); got != want {
			t.Errorf("host of %q = %q, want %q", page, got, want)
		}
	}
	if app := decode(t, top(`,"app":{"page":"https://n.example/"}`)).Inventory; len(app.Domain) > 0 {
		t.Errorf("an app has the domain %q", app.Domain)
	}
}

func TestDecodeSource(t *testing.T) {
	const chain = `{"complete":1,"nodes":[{"asi":"a.example","sid":1,"hp":1},{"asi":"b.example","sid":"2","hp":0}]}`
	tests := []struct{ source, want string }{
		{`{"tid":"t","schain":` + chain + `}`, "t true a.example/1/true b.example/2/false"},
		{`{"ext":{"schain":` + chain + `},"tid":5}`, "5 true a.example/1/true b.example/2/false"},
		{`{"schain":{"complete":1,"nodes":[{"asi":"n"}]},"ext":{"schain":` + chain + `}}`, " true n//false"},
		{`{"ext":{"schain":` + chain + `},"schain":{"nodes":[{"asi":"n"}]}}`, " false n//false"},
		{`{"schain":` + chain + `,"schain":null}`, " false"},
		{`{"ext":{"schain":` + chain + `},"ext":{}}`, " false"},
		{`{"ext":"x","schain":"x"}`, " false"},
		{`{"schain":{"complete":"1","nodes":[null,{"asi":"a"}]}}`, " false a//false"},
		{`{"schain":{"complete":1,"nodes":null}}`, " true"},
		{`null`, " false"},
		{`[]`, " false"},
	}
	for _, tt := range tests {
		src := decode(t, top(`,"source":`+tt.source)).Source
		got := fmt.Sprintf("%s %t", src.TID, src.ChainComplete)
		for _, n := range src.Chain {
			got += fmt.Sprintf(" %s/%s/%t", n.ASI, n.SID, n.Pays)
		}
		if got != tt.want {
			t.Errorf("source %s\n got %s\nwant %s", tt.source, got, tt.want)
		}
	}
}

func TestDecodeDevice(t *testing.T) {
	dev := decode(t, top(`,"device":{"ua":"U\"A","ipv6":"2001:db8::1","ip":"","devicetype":4.0,"make":"M","model":"","os":"ANDROID","osv":"10_0_2",
		"language":"en-US,en;q=0.5","carrier":26201,"mccmnc":"262-01","connectiontype":"6","ifa":"ABC","w":"390","h":844.0,
		"sua":{"browsers":[{"brand":"Chromium"},{"brand":"X"}],"platform":{"brand":"Windows","version":["15","0"]},"mobile":1,"model":"P8"}}`)).Device
	want := rtb.Device{
		UA: []byte(`U"A`), IP: []byte("2001:db8::1"), Type: 4, OS: rtb.Android, OSVersion: []byte("10_0_2"), Make: []byte("M"), Model: []byte("P8"),
		Browser: []byte("Chromium"), Mobile: true, Language: [2]byte{'e', 'n'}, Carrier: []byte("26201"), MCCMNC: []byte("262-01"), Connection: 6,
		IFA: []byte("ABC"), W: 390, H: 844,
	}
	if !reflect.DeepEqual(dev, want) {
		t.Errorf("device\n%+v, want\n%+v", dev, want)
	}
	for _, odd := range []string{`null`, `[]`, `"x"`, `5`, `{"ua":{},"ip":[],"w":"wide","h":-1,"devicetype":{},"sua":"x","geo":7,"os":[]}`} {
		if dev := decode(t, top(`,"device":`+odd)).Device; dev.W != 0 || len(dev.UA) > 0 || dev.OS != rtb.OSUnknown {
			t.Errorf("device %s = %+v", odd, dev)
		}
	}
	version := decode(t, top(`,"device":{"sua":{"platform":{"brand":"macOS","version":["14","5",1,"0","9","9"]}}}`)).Device
	if string(version.OSVersion) != "14.5.1.0" || version.OS != rtb.MacOS {
		t.Errorf("version %s, os %d", version.OSVersion, version.OS)
	}
}

func TestDecodeOS(t *testing.T) {
	for name, want := range map[string]rtb.OS{
		"iPhone OS": rtb.IOS, "ios": rtb.IOS, "iOS": rtb.IOS, "ipad": rtb.IOS, "iPadOS": rtb.IOS, "IOS 17": rtb.IOS,
		"OS X": rtb.MacOS, "Osx": rtb.MacOS, "macos": rtb.MacOS, "Mac OS X": rtb.MacOS, "Macintosh": rtb.MacOS,
		"Android": rtb.Android, "android ": rtb.Android, "Windows 10": rtb.Windows, "WIN": rtb.Windows, "Windows Phone": rtb.OSOther,
		"Linux": rtb.Linux, "Chrome OS": rtb.ChromeOS, "tvOS": rtb.TVOS, "Apple TV": rtb.TVOS, "Roku OS": rtb.OSOther, "webOS": rtb.OSOther,
		"": rtb.OSUnknown, "unknown": rtb.OSUnknown, "0": rtb.OSUnknown,
	} {
		if got := systemOf([]byte(name)); got != want {
			t.Errorf("systemOf(%q) = %d, want %d", name, got, want)
		}
	}
	for ua, want := range map[string]rtb.OS{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)": rtb.IOS, "Mozilla/5.0 (Linux; Android 14; Pixel 8)": rtb.Android,
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)": rtb.ChromeOS, "Mozilla/5.0 (Windows NT 10.0; Win64; x64)": rtb.Windows,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)": rtb.MacOS, "Mozilla/5.0 (X11; Linux x86_64)": rtb.Linux,
		"Mozilla/5.0 (Linux; Tizen 2.3)": rtb.OSOther, "AppleTV11,1/11.1": rtb.TVOS, "curl/8": rtb.OSUnknown, "": rtb.OSUnknown,
	} {
		if got := systemOfUserAgent([]byte(ua)); got != want {
			t.Errorf("systemOfUserAgent(%q) = %d, want %d", ua, got, want)
		}
	}
	for fields, want := range map[string]rtb.OS{
		`"os":"","sua":{"platform":{"brand":"Windows"}},"ua":"iPhone"`: rtb.Windows,
		`"os":"","ua":"iPhone"`: rtb.IOS, `"ua":"iPhone","os":"Roku"`: rtb.OSOther, `"ua":"iPhone","os":7`: rtb.IOS,
	} {
		if got := decode(t, top(`,"device":{`+fields+`}`)).Device.OS; got != want {
			t.Errorf("device {%s}: OS %d, want %d", fields, got, want)
		}
	}
}

func TestDecodeLanguage(t *testing.T) {
	for tag, want := range map[string]string{
		"en": "en", "EN": "en", "en-US,en;q=0.5": "en", "pt_BR": "pt", "English": "en", "GERMAN": "de", "deu": "\x00\x00", "x": "\x00\x00",
		"": "\x00\x00", "*": "\x00\x00", "12": "\x00\x00",
	} {
		if got := languageOf([]byte(tag)); string(got[:]) != want {
			t.Errorf("languageOf(%q) = %q, want %q", tag, got, want)
		}
	}
}

func TestDecodeCountry(t *testing.T) {
	for code, want := range map[string]string{
		"USA": "US", "usa": "US", "GBR": "GB", "DEU": "DE", "ZWE": "ZW", "ABW": "AW", "XKX": "XK", "US": "US", "de": "DE", "UK": "GB",
		"": "\x00\x00", "ZZZ": "\x00\x00", "U": "\x00\x00", "U1": "\x00\x00", "U[A": "\x00\x00", "Germany": "\x00\x00", "\xc3\x84": "\x00\x00",
	} {
		if got := countryOf([]byte(code)); string(got[:]) != want {
			t.Errorf("countryOf(%q) = %q, want %q", code, got, want)
		}
	}
	if len(countryCodes)%5 != 0 || strings.ToUpper(countryCodes) != countryCodes {
		t.Error("the table of countries is out of step")
	}
}

func TestDecodeGeo(t *testing.T) {
	geo := func(fields string) rtb.Geo { return decode(t, top(`,"device":{"geo":{`+fields+`}}`)).Geo }
	got := geo(`"country":"FRA","region":75,"city":"Paris","zip":"75001","metro":9,"lat":"48.85","lon":2.35,"type":1,"accuracy":20,"utcoffset":"-90"`)
	want := rtb.Geo{
		Country: [2]byte{'F', 'R'}, Region: []byte("75"), City: []byte("Paris"), Zip: []byte("75001"), Metro: []byte("9"), Lat: 48.85, Lon: 2.35,
		HasPoint: true, Precise: true, Accuracy: 20, HasOffset: true, UTCOffset: -90,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("geo %+v, want %+v", got, want)
	}
	for fields, want := range map[string]bool{
		`"lat":90,"lon":-180`: true, `"lat":-0.0,"lon":0`: true, `"lat":1e1,"lon":"-1e1"`: true, `"lat":900,"lon":0`: false, `"lat":90.0001,"lon":0`: false,
		`"lat":0,"lon":180.5`: false, `"lat":1`: false, `"lon":1`: false, `"lat":null,"lon":1`: false, `"lat":"","lon":""`: false,
		`"lat":{},"lon":1`: false, `"lat":1e999,"lon":1`: false, `"lat":"north","lon":1`: false, ``: false,
	} {
		if g := geo(fields); g.HasPoint != want || !want && (g.Lat != 0 || g.Lon != 0) {
			t.Errorf("geo {%s}: %+v, want a point: %t", fields, g, want)
		}
	}
	for fields, want := range map[string]bool{`"utcoffset":0`: true, `"utcoffset":840`: true, `"utcoffset":9999`: false, `"utcoffset":null`: false, `"utcoffset":1.5`: false} {
		if g := geo(fields); g.HasOffset != want || !want && g.UTCOffset != 0 {
			t.Errorf("geo {%s}: %+v, want an offset: %t", fields, g, want)
		}
	}
	const user = `,"user":{"geo":{"country":"POL"}}`
	for fields, want := range map[string]string{
		user: "PL", user + `,"device":{"geo":{"country":"DEU"}}`: "DE", `,"device":{"geo":{"country":"DEU"}}` + user: "DE",
		user + `,"device":{"geo":{}}`: "PL", user + `,"device":{"geo":null}`: "PL", user + `,"device":{"geo":{"city":"x"}}`: "\x00\x00",
	} {
		if got := decode(t, top(fields)).Geo.Country; string(got[:]) != want {
			t.Errorf("%s: country %q, want %q", fields, got, want)
		}
	}
}

func TestDecodeUser(t *testing.T) {
	u := decode(t, top(`,"user":{"id":12,"buyeruid":"b","yob":"1990","gender":"male","eids":[{"source":"a","uids":[{"id":"1"},{"id":2},{"id":""}]},
		{"uids":[{"id":"x"}]},{"source":"n"},null,{"uids":[{"id":"3"}],"source":"c"}],"ext":{"eids":[{"source":"d","uids":[{"atype":1,"id":"4"},null]}]}}`)).User
	got := fmt.Sprintf("%s %s %d %c", u.ID, u.BuyerUID, u.BirthYear, u.Gender)
	for _, e := range u.EIDs {
		got += fmt.Sprintf(" %s:%s", e.Source, e.ID)
	}
	if want := "12 b 1990 M a:1 a:2 c:3 d:4"; got != want {
		t.Errorf("user %s, want %s", got, want)
	}
	for text, want := range map[string]byte{`"M"`: 'M', `"f"`: 'F', `"Female"`: 'F', `"O"`: 'O', `"U"`: 0, `""`: 0, `null`: 0, `1`: 0, `{}`: 0} {
		if got := decode(t, top(`,"user":{"gender":`+text+`}`)).User.Gender; got != want {
			t.Errorf("gender %s = %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]uint16{`1899`: 0, `1900`: 1900, `2.0e3`: 2000, `-1990`: 0, `1e9`: 0, `"x"`: 0, `null`: 0} {
		if got := decode(t, top(`,"user":{"yob":`+text+`}`)).User.BirthYear; got != want {
			t.Errorf("yob %s = %d, want %d", text, got, want)
		}
	}
	const one, two = `[{"source":"s","uids":[{"id":"1"}]}]`, `[{"source":"s","uids":[{"id":"2"}],"uids":[{"id":"3"}]}]`
	if u := decode(t, top(`,"user":{"eids":`+one+`,"eids":`+two+`}`)).User; len(u.EIDs) != 1 || string(u.EIDs[0].ID) != "3" {
		t.Errorf("eids twice: %+v", u.EIDs)
	}
}

func TestDecodeSignals(t *testing.T) {
	type want struct {
		flags                   string // of G(DPR), C(OPPA), L(MT), M(alformed)
		consent, usPrivacy, gpp string
		sections                rtb.Bits
	}
	tests := []struct {
		fields string
		want   want
	}{
		{``, want{}},
		{`,"regs":{"gdpr":1,"coppa":1,"us_privacy":"1YNN","gpp":"DB","gpp_sid":[2,8]},"user":{"consent":"CQ"}`, want{"GC", "CQ", "1YNN", "DB", rtb.BitsOf(2, 8)}},
		{`,"regs":{"ext":{"gdpr":1,"coppa":1,"us_privacy":"1YNN","gpp":"DB","gpp_sid":7}},"user":{"ext":{"consent":"CQ"}}`, want{"GC", "CQ", "1YNN", "DB", rtb.BitsOf(7)}},
		{`,"regs":{"gdpr":0,"ext":{"gdpr":1}}`, want{flags: "G"}},
		{`,"regs":{"gdpr":1,"ext":{"gdpr":0}}`, want{flags: "G"}},
		{`,"regs":{"gdpr":0,"coppa":"0","ext":{"gdpr":null}}`, want{}},
		{`,"regs":{"gdpr":1,"gdpr":0}`, want{}},
		{`,"regs":{"gdpr":1},"regs":{}`, want{}},
		{`,"regs":{"ext":{"gdpr":{},"us_privacy":7}},"regs":{"ext":{}}`, want{}},
		{`,"regs":{"ext":{"gdpr":1},"ext":null}`, want{}},
		{`,"regs":{"gdpr":"1"}`, want{flags: "G"}},
		{`,"regs":{"gdpr":true,"coppa":false}`, want{flags: "G"}},
		{`,"regs":{"gdpr":2}`, want{flags: "G"}},
		{`,"regs":{"gdpr":-1}`, want{flags: "G"}},
		{`,"regs":{"gdpr":""}`, want{flags: "G"}},
		{`,"regs":{"gdpr":"yes"}`, want{flags: "GM"}},
		{`,"regs":{"gdpr":{}}`, want{flags: "GM"}},
		{`,"regs":{"gdpr":{},"gdpr":0}`, want{}},
		{`,"regs":{"coppa":"x"}`, want{flags: "CM"}},
		{`,"regs":{"us_privacy":1}`, want{flags: "M"}},
		{`,"regs":{"us_privacy":"1"}`, want{usPrivacy: "1"}},
		{`,"regs":{"gpp":[]}`, want{flags: "M"}},
		{`,"regs":{"gpp_sid":["2",6.0]}`, want{sections: rtb.BitsOf(2, 6)}},
		{`,"regs":{"gpp_sid":["two"]}`, want{flags: "M"}},
		{`,"regs":{"gpp":"A","gpp_sid":[2],"ext":{"gpp":"A","gpp_sid":[6]}}`, want{gpp: "A", sections: rtb.BitsOf(2, 6)}},
		{`,"regs":{"gpp":"A","ext":{"gpp":"B"}}`, want{flags: "M", gpp: "A"}},
		{`,"regs":{"us_privacy":"","ext":{"us_privacy":"1YYN"}}`, want{usPrivacy: "1YYN"}},
		{`,"regs":"x"`, want{flags: "M"}},
		{`,"regs":7`, want{flags: "M"}},
		{`,"regs":[]`, want{}},
		{`,"regs":[ ]`, want{}},
		{`,"regs":[1]`, want{flags: "M"}},
		{`,"regs":null`, want{}},
		{`,"regs":"x","regs":{}`, want{}},
		{`,"regs":{"ext":"{gdpr:1}"}`, want{flags: "M"}},
		{`,"regs":{"ext":""}`, want{}},
		{`,"user":{"consent":"A","ext":{"consent":"A"}}`, want{consent: "A"}},
		{`,"user":{"consent":"A","ext":{"consent":"B"}}`, want{flags: "M", consent: "A"}},
		{`,"user":{"consent":5}`, want{flags: "M"}},
		{`,"user":{"consent":5,"consent":null}`, want{}},
		{`,"user":{"consent":"A"},"user":{}`, want{}},
		{`,"user":{"consent":"A"},"user":null`, want{}},
		{`,"user":{"consent":"A\/B"}`, want{consent: "A/B"}},
		{`,"user":"x"`, want{flags: "M"}},
		{`,"user":{"ext":5}`, want{flags: "M"}},
		{`,"device":"x"`, want{flags: "M"}},
		{`,"device":{"lmt":1}`, want{flags: "L"}},
		{`,"device":{"lmt":0,"dnt":"0"}`, want{}},
		{`,"device":{"dnt":2}`, want{flags: "L"}},
		{`,"device":{"lmt":"unknown"}`, want{flags: "L"}},
		{`,"device":{"dnt":{}}`, want{flags: "L"}},
		{`,"device":{"dnt":null,"lmt":false}`, want{}},
		{`,"device":{"lmt":1},"device":{}`, want{}},
	}
	for _, tt := range tests {
		s := decode(t, top(tt.fields)).Signals
		got := want{consent: string(s.Consent), usPrivacy: string(s.USPrivacy), gpp: string(s.GPP), sections: s.GPPSID}
		for _, f := range []struct {
			set  bool
			flag string
		}{{s.GDPR, "G"}, {s.COPPA, "C"}, {s.LMT, "L"}, {s.Malformed, "M"}} {
			if f.set {
				got.flags += f.flag
			}
		}
		if got != tt.want {
			t.Errorf("%s\n got %+v\nwant %+v", tt.fields, got, tt.want)
		}
	}
}

func TestDecodeDSA(t *testing.T) {
	for regs, want := range map[string]rtb.DSA{
		`{}`: {}, `{"ext":{"dsa":null}}`: {}, `{"ext":{"dsa":{}}}`: {Present: true},
		`{"ext":{"dsa":{"dsarequired":2,"pubrender":"1"}}}`:           {Present: true, Required: 2, PubRender: 1},
		`{"dsa":{"dsarequired":3.0},"ext":{"dsa":{"dsarequired":1}}}`: {Present: true, Required: 3},
		`{"ext":{"dsa":{"dsarequired":"x"}}}`:                         {Present: true, Required: 3},
		`{"ext":{"dsa":7}}`:                                           {Present: true, Required: 3},
		`{"ext":{"dsa":{"dsarequired":3}},"ext":{}}`:                  {},
	} {
		if got := decode(t, top(`,"regs":`+regs)).DSA; got != want {
			t.Errorf("regs %s: DSA %+v, want %+v", regs, got, want)
		}
	}
}
