package exchange

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bidwell/bidder/openrtb"
	"bidwell/rtb"
)

const testBase = "https://bid.example.com"

func own() Profile {
	return Profile{
		Name: "own-x1", ID: 32, TMax: Duration(100 * time.Millisecond), Reserve: Duration(20 * time.Millisecond),
		Notices: []Notice{BURL}, Billing: BURL,
	}
}

func TestBuiltinIsValid(t *testing.T) {
	profiles := Builtin()
	for i := range profiles {
		p := &profiles[i]
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if BuiltinID(p.Name) != p.ID {
			t.Errorf("BuiltinID(%s) = %d, want %d", p.Name, BuiltinID(p.Name), p.ID)
		}
	}
	if len(profiles) != len(builtinNames) {
		t.Errorf("%d profiles for %d names", len(profiles), len(builtinNames))
	}
}

// Notices and line items carry these numbers; they must never change.
func TestBuiltinNumbers(t *testing.T) {
	for name, want := range map[string]rtb.ExchangeID{
		"generic": 1, "google": 2, "index": 3, "xandr": 4, "pubmatic": 5, "magnite": 6, "smaato": 7, "unity": 8, "bidswitch": 9, "other": 0,
	} {
		if got := BuiltinID(name); got != want {
			t.Errorf("BuiltinID(%s) = %d, want %d", name, got, want)
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	tests := []struct {
		change func(p *Profile)
		want   string
	}{
		{func(*Profile) {}, ""},
		{func(p *Profile) { p.Name = "Own" }, "name: "},
		{func(p *Profile) { p.Name = "../x" }, "name: "},
		{func(p *Profile) { p.Name = strings.Repeat("x", 33) }, "name: "},
		{func(p *Profile) { p.ID = 0 }, "number: "},
		{func(p *Profile) { p.ID = 31 }, "number: "},
		{func(p *Profile) { p.Name = "google" }, `number: "google" has the number 2`},
		{func(p *Profile) { p.Name, p.ID = "google", 0 }, ""},
		{func(p *Profile) { p.TokenHeader = "X Y" }, "token_header: "},
		{func(p *Profile) { p.Token = "short" }, "token: "},
		{func(p *Profile) { p.Token = Redacted }, "token: a redacted secret"},
		{func(p *Profile) { p.Seat = strings.Repeat("s", 65) }, "seat: "},
		{func(p *Profile) { p.TMax = 0 }, "tmax: "},
		{func(p *Profile) { p.TMax = Duration(time.Minute) }, "tmax: "},
		{func(p *Profile) { p.Reserve = p.TMax }, "reserve: "},
		{func(p *Profile) { p.Reserve = -1 }, "reserve: "},
		{func(p *Profile) { p.MaxQPS = -1 }, "max_qps: "},
		{func(p *Profile) { p.MaxBids = -1 }, "max_bids: "},
		{func(p *Profile) { p.MaxResponse = -1 }, "max_response: "},
		{func(p *Profile) { p.MaxCRID = -1 }, "max_crid: "},
		{func(p *Profile) { p.MaxCRID = 9 }, "max_crid: "},
		{func(p *Profile) { p.Currency = "EURO" }, "currency: "},
		{func(p *Profile) { p.Currency = "EUR" }, ""},
		{func(p *Profile) { p.Notices = []Notice{BURL, "vurl"} }, `notices: "vurl"`},
		{func(p *Profile) { p.Notices = []Notice{BURL, Pixel} }, `notices: "pixel"`},
		{func(p *Profile) { p.Notices = []Notice{BURL, BURL} }, `notices: "burl" stands there twice`},
		{func(p *Profile) { p.Billing = NURL }, "billing: nurl spends"},
		{func(p *Profile) { p.Billing = LURL }, `billing: "lurl" is none`},
		{func(p *Profile) { p.Billing = "" }, `billing: "" is none`},
		{func(p *Profile) { p.Billing, p.Notices = Pixel, nil }, ""},
		{func(p *Profile) { p.Price.Kind = "rot13" }, "price.kind: "},
		{func(p *Profile) { p.Price = sealed() }, ""},
		{func(p *Profile) { p.Price = sealed(); p.Price.Kind = Plain }, "price: keys, but not"},
		{func(p *Profile) { p.Price = sealed(); p.Price.IntegrityKey = "" }, "price.integrity_key: want 16"},
		{func(p *Profile) { p.Price = sealed(); p.Price.EncryptionKey = "!" }, "price.encryption_key: not base64"},
		{func(p *Profile) { p.Price = sealed(); p.Price.EncryptionKey = Redacted }, "price.encryption_key: a redacted secret"},
		{func(p *Profile) { p.Version = "3.0" }, "openrtb_version: "},
		{func(p *Profile) { p.BidExt = json.RawMessage(`[1]`) }, "bid_ext: not a JSON object"},
		{func(p *Profile) { p.BidExt = json.RawMessage(`{"dsa":{}}`) }, "bid_ext: \"dsa\""},
		{func(p *Profile) { p.BidExt = json.RawMessage(`{"a":"` + strings.Repeat("x", maxExt) + `"}`) }, "bid_ext: longer"},
		{func(p *Profile) { p.BidExt = json.RawMessage(` { "a" : 1 } `) }, ""},
	}
	for i, tt := range tests {
		p := own()
		tt.change(&p)
		err := p.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("case %d: Validate = %v, want %q", i, err, tt.want)
		}
	}
}

func TestValidateReportsAll(t *testing.T) {
	err := (&Profile{Seat: strings.Repeat("s", 65), Currency: "1"}).Validate()
	for _, field := range []string{"name", "number", "seat", "tmax", "reserve", "currency", "billing"} {
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("Validate = %v, want %s in it", err, field)
		}
	}
}

func TestProfileDocument(t *testing.T) {
	const document = `{"name":"own-x1","number":40,"token":"12345678","seat":"s","tmax":"120ms","reserve":"25ms","max_qps":100,"notices":["nurl","burl"],` +
		`"billing":"burl","price":{"kind":"encrypted","encryption_key":"AAECAwQFBgcICQoLDA0ODw","integrity_key":"AAECAwQFBgcICQoLDA0ODw=="},"bid_ext":{"agency":7}}`
	var p Profile
	if err := json.Unmarshal([]byte(document), &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if time.Duration(p.TMax) != 120*time.Millisecond || p.MaxQPS != 100 || p.ID != 40 {
		t.Errorf("read %+v", p)
	}
	if text, err := json.Marshal(p); err != nil || string(text) != document {
		t.Errorf("written %s, %v\nwant    %s", text, err, document)
	}
	for _, wrong := range []string{`{"tmax":"soon"}`, `{"tmax":100}`} {
		if err := json.Unmarshal([]byte(wrong), &p); err == nil {
			t.Errorf("%s is read as %s", wrong, p.TMax)
		}
	}
}

func TestRedacted(t *testing.T) {
	p := own()
	p.Token, p.Price = "12345678", sealed()
	shown := p.Redacted()
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	printed := string(text) + fmt.Sprintf("%v %+v %#v %s", p, &p, p, p.Token)
	for _, secret := range []Secret{p.Token, p.Price.EncryptionKey, p.Price.IntegrityKey} {
		if strings.Contains(printed, string(secret)) {
			t.Errorf("%q is shown in %s", string(secret), printed)
		}
	}
	if err := shown.Validate(); err == nil {
		t.Error("a redacted profile is valid")
	}
	shown.Seat = "edited"
	if got := shown.KeepSecrets(&p); got.Seat != "edited" || got.Token != p.Token || got.Price.EncryptionKey != p.Price.EncryptionKey ||
		got.Price.IntegrityKey != p.Price.IntegrityKey || got.Validate() != nil {
		t.Errorf("KeepSecrets lost something: %v", got.Validate())
	}
	shown.Token = "new-secret"
	if got := shown.KeepSecrets(&p); got.Token != "new-secret" {
		t.Errorf("KeepSecrets kept the old token")
	}
	none := own()
	if got := none.Redacted(); got.Token != "" || got.Price.EncryptionKey != "" {
		t.Errorf("no secret is shown as %q", string(got.Token))
	}
}

func TestWait(t *testing.T) {
	const ms = time.Millisecond
	p := own() // 100 ms, of which 20 in reserve
	for tmax, want := range map[time.Duration]time.Duration{
		0: 80 * ms, 300 * ms: 280 * ms, 30 * ms: 10 * ms, 20 * ms: 0, 5 * ms: 0, -ms: 80 * ms, time.Hour: 4980 * ms,
	} {
		if got := p.Wait(tmax); got != want {
			t.Errorf("Wait(%v) = %v, want %v", tmax, got, want)
		}
	}
}

func TestDirectory(t *testing.T) {
	custom := own()
	custom.Token, custom.TokenHeader, custom.Currency, custom.Seat = "12345678", "X-Key", "eur", "s"
	custom.BidExt, custom.MaxCRID = json.RawMessage(` {"b": "x", "a": [1] } `), 64
	google := Builtin()[1]
	google.ID, google.Seat, google.Price = 0, "acme", sealed()
	d, err := NewDirectory(Merge([]Profile{custom, google}), testBase)
	if err != nil {
		t.Fatal(err)
	}
	e := d.Lookup([]byte("own-x1"))
	if e == nil || e != d.ByID(32) || e.Name != "own-x1" || e.DefaultCurrency != (rtb.Currency{'E', 'U', 'R'}) || e.Header != "X-Key" {
		t.Fatalf("Lookup(own-x1) = %+v", e)
	}
	want := openrtb.Form{Seat: "s", NoticeBase: testBase, BURL: true, MaxCRID: 64, Ext: `"a":[1],"b":"x"`}
	if e.Form != want {
		t.Errorf("form %+v, want %+v", e.Form, want)
	}
	for token, admitted := range map[string]bool{"12345678": true, "12345679": false, "1234567": false, "": false} {
		if e.Admits([]byte(token)) != admitted {
			t.Errorf("Admits(%q) = %t", token, !admitted)
		}
	}
	if g := d.ByID(2); g != d.Lookup([]byte("google")) || g.Seat != "acme" || !g.Form.PixelPrice || g.Form.NURL || g.DefaultCurrency != rtb.USD ||
		g.Header != DefaultTokenHeader || !g.Admits(nil) || g.ID != 2 {
		t.Errorf("google = %+v", g)
	}
	if d.Lookup([]byte("Google")) != nil || d.Lookup(nil) != nil || d.ByID(0) != nil || d.ByID(255) != nil {
		t.Error("found what is not there")
	}
	all := d.All()
	if len(all) != 10 {
		t.Fatalf("%d exchanges, want 10", len(all))
	}
	for i := range all[1:] {
		if all[i].ID >= all[i+1].ID {
			t.Errorf("%d before %d", all[i].ID, all[i+1].ID)
		}
	}
	name := []byte("bidswitch")
	if allocs := testing.AllocsPerRun(100, func() { d.Lookup(name); d.ByID(9); e.Admits(name); e.Wait(0) }); allocs != 0 {
		t.Errorf("Lookup allocates %v times, want 0", allocs)
	}
}

func TestNewDirectoryRefuses(t *testing.T) {
	same, sameNumber, wrong := own(), own(), own()
	sameNumber.Name = "other"
	wrong.Name, wrong.ID, wrong.TMax = "wrong", 33, 0
	_, err := NewDirectory([]Profile{own(), same, sameNumber, wrong}, "https://bid.example.com/")
	for _, want := range []string{
		`exchange "own-x1": there are two`, `exchange "other": number 32 is that of "own-x1"`, `exchange "wrong": tmax: `, "notice base",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewDirectory = %v, want %q in it", err, want)
		}
	}
}

// The answers of every built-in exchange are made with its form.
func TestBuiltinForms(t *testing.T) {
	d, err := NewDirectory(Builtin(), testBase)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range d.All() {
		if e.Form.NoticeBase != testBase || e.Form.PixelPrice != (e.Billing == Pixel) || e.Form.BURL != (e.Billing == BURL) {
			t.Errorf("%s: form %+v for billing by %s", e.Name, e.Form, e.Billing)
		}
		if wait := e.Wait(0); wait <= 0 || wait > 200*time.Millisecond {
			t.Errorf("%s: waits %v", e.Name, wait)
		}
	}
}
