package openrtb

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prebid/openrtb/v20/native1/request"
	"github.com/prebid/openrtb/v20/openrtb2"

	"bidwell/rtb"
)

// FuzzDecode compares Decode with encoding/json. It must call exactly that an
// error of syntax which is no JSON object, as deep as it may be, and where the
// reference types read a request without complaint it must read the same.
func FuzzDecode(f *testing.F) {
	for _, path := range exemplars(f) {
		f.Add(readFile(f, path))
	}
	for _, fields := range []string{
		``, `,"at":1.0,"tmax":"x","cur":"USD"`, `,"x":[1e5,-0.1,"\ud83d\ude00\n",[],{},null,true]`, `,"device":{"lmt":2,"geo":{"lat":-1.5e1,"lon":"7"}}`,
		`,"regs":{"gdpr":1,"ext":{"gdpr":0,"gpp_sid":[2]}},"user":{"ext":{"consent":"A"}}`, `,"imp":[{"id":7,"bidfloor":1e999}]`,
	} {
		f.Add([]byte(top(fields)))
	}
	var req rtb.Request // reused, as the bidder reuses it
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		err := Decode(body, &req)
		if !bytes.Equal(before, body) {
			t.Fatal("Decode changed the body")
		}
		bare := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		object := json.Valid(bare) && bytes.TrimLeft(bare, " \t\r\n")[0] == '{'
		switch {
		case errors.Is(err, ErrDepth):
			if bytes.Count(bare, []byte("{"))+bytes.Count(bare, []byte("[")) <= MaxDepth {
				t.Fatalf("Decode error = %v of a flat body", err)
			}
			return
		case errors.Is(err, ErrSyntax) == object:
			t.Fatalf("Decode error = %v, but a JSON object: %t", err, object)
		case err == nil:
			checkRequest(t, &req)
		}
		var reference openrtb2.BidRequest
		if object && plainKeys(bare) && json.Unmarshal(bare, &reference) == nil && reference.ID != "" && utf8.Valid(bare) && len(reference.Imp) > 0 {
			compareRequest(t, body, err, &req, &reference)
		}
	})
}

// checkRequest checks what holds of every request that Decode accepts.
func checkRequest(t *testing.T, req *rtb.Request) {
	if !json.Valid(req.ID) || !utf8.Valid(req.ID) || len(req.Imps) == 0 || len(req.Imps) > MaxImps {
		t.Fatalf("id %q, %d imps", req.ID, len(req.Imps))
	}
	if req.TMax < 0 || req.TMax > maxTMax || req.Auction == 0 {
		t.Fatalf("tmax %v, at %d", req.TMax, req.Auction)
	}
	if g := &req.Geo; math.Abs(g.Lat) > 90 || math.Abs(g.Lon) > 180 || math.IsNaN(g.Lat+g.Lon) {
		t.Fatalf("geo %+v", g)
	}
	seen := map[string]bool{}
	for i := range req.Imps {
		imp := &req.Imps[i]
		if imp.Broken {
			continue
		}
		if !json.Valid(imp.ID) || !utf8.Valid(imp.ID) || seen[string(imp.ID)] || imp.Floor < 0 {
			t.Fatalf("imp id %q, floor %d", imp.ID, imp.Floor)
		}
		seen[string(imp.ID)] = true
		if imp.SKAdN != nil && !json.Valid(imp.SKAdN) {
			t.Fatalf("skadn %q", imp.SKAdN)
		}
		for _, d := range imp.Deals {
			if !json.Valid(d.ID) || !utf8.Valid(d.ID) || d.Floor < 0 {
				t.Fatalf("deal %+v", d)
			}
		}
		for _, s := range imp.Banner.Sizes {
			if s.W == 0 || s.H == 0 {
				t.Fatalf("sizes %v", imp.Banner.Sizes)
			}
		}
	}
}

// plainKeys reports whether the reference reads keys as Decode does: it merges
// what a repeated key says, and matches keys in any case.
func plainKeys(body []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	type level struct {
		object, value bool
		keys          map[string]bool
	}
	var levels []level
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
		last := len(levels) - 1
		switch v := token.(type) {
		case json.Delim:
			if v == '}' || v == ']' {
				levels = levels[:last]
			} else {
				if last >= 0 {
					levels[last].value = false
				}
				levels = append(levels, level{object: v == '{', keys: map[string]bool{}})
			}
			continue
		case string:
			if last >= 0 && levels[last].object && !levels[last].value {
				if levels[last].keys[v] || strings.ToLower(v) != v || !ascii(v) {
					return false
				}
				levels[last].keys[v], levels[last].value = true, true
				continue
			}
		}
		if last >= 0 {
			levels[last].value = false
		}
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// compareRequest compares what both read, where the reference read all of the
// body without complaint.
func compareRequest(t *testing.T, body []byte, err error, req *rtb.Request, want *openrtb2.BidRequest) {
	if err != nil {
		if errors.Is(err, ErrNoImp) && bytes.Contains(body, []byte("null")) {
			return // a null in imp is an empty imp to the reference
		}
		t.Fatalf("Decode error = %v of a request that the reference reads", err)
	}
	text := func(field string, got []byte, want string) {
		if string(got) != want && !strings.ContainsRune(want, utf8.RuneError) {
			t.Fatalf("%s = %q, want %q", field, got, want)
		}
	}
	number := func(field string, got, want int64) {
		if got != want {
			t.Fatalf("%s = %d, want %d", field, got, want)
		}
	}
	list := func(field string, got [][]byte, want []string) {
		n := 0
		for _, w := range want {
			if w == "" {
				continue
			}
			if n < len(got) {
				text(field, got[n], w)
			}
			n++
		}
		number(field, int64(len(got)), int64(n))
	}
	var id string
	if json.Unmarshal(req.ID, &id) != nil || id != want.ID {
		t.Fatalf("id %s, want %q", req.ID, want.ID)
	}
	if want.TMax >= 0 && want.TMax < maxTMax.Milliseconds() {
		number("tmax", req.TMax.Milliseconds(), want.TMax)
	}
	if at := want.AT; at > 0 && at <= math.MaxUint16 {
		number("at", int64(req.Auction), want.AT)
	}
	list("bcat", req.Blocked.Categories, want.BCat)
	list("badv", req.Blocked.Advertisers, want.BAdv)
	list("bapp", req.Blocked.Apps, want.BApp)
	list("bseat", req.NoSeats, want.BSeat)
	number("test", asBit(req.Test), asBit(want.Test != 0))
	if dev := want.Device; dev != nil {
		text("device.ua", req.Device.UA, dev.UA)
		text("device.ifa", req.Device.IFA, dev.IFA)
		text("device.make", req.Device.Make, dev.Make)
		text("device.carrier", req.Device.Carrier, dev.Carrier)
		if dev.DeviceType >= 0 {
			number("devicetype", int64(req.Device.Type), int64(dev.DeviceType))
		}
		number("lmt", asBit(req.Signals.LMT), asBit(dev.Lmt != nil && *dev.Lmt != 0 || dev.DNT != nil && *dev.DNT != 0))
		if g := dev.Geo; g != nil {
			text("device.geo.city", req.Device.IFA, dev.IFA)
			if g.Lat != nil && g.Lon != nil && math.Abs(*g.Lat) < 89 && math.Abs(*g.Lon) < 179 {
				if !req.Geo.HasPoint || math.Abs(req.Geo.Lat-*g.Lat)+math.Abs(req.Geo.Lon-*g.Lon) > 1e-9 {
					t.Fatalf("geo %+v, want %v %v", req.Geo, *g.Lat, *g.Lon)
				}
			}
		}
	}
	if user := want.User; user != nil {
		text("user.id", req.User.ID, user.ID)
		text("user.buyeruid", req.User.BuyerUID, user.BuyerUID)
	}
	if regs := want.Regs; regs != nil {
		number("coppa", asBit(req.Signals.COPPA || regs.COPPA == 0), 1)
		number("gdpr", asBit(req.Signals.GDPR || regs.GDPR == nil || *regs.GDPR == 0), 1)
	}
	switch inv := &req.Inventory; {
	case want.App != nil:
		number("kind", int64(inv.Kind), int64(rtb.App))
		text("app.bundle", inv.Bundle, want.App.Bundle)
		list("app.cat", inv.Categories, want.App.Cat[:min(len(want.App.Cat), maxCategories)])
	case want.Site != nil:
		number("kind", int64(inv.Kind), int64(rtb.Site))
		text("site.page", inv.Page, want.Site.Page)
		if want.Site.Domain != "" {
			text("site.domain", inv.Domain, want.Site.Domain)
		}
	}
	if bytes.Contains(body, []byte("null")) {
		return // a null in imp is an empty imp to the reference
	}
	number("imps", int64(len(req.Imps)), int64(min(len(want.Imp), MaxImps)))
	for i := range req.Imps {
		compareImp(t, &req.Imps[i], &want.Imp[i], text, number)
	}
}

func asBit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func compareImp(t *testing.T, imp *rtb.Imp, want *openrtb2.Imp, text func(string, []byte, string), number func(string, int64, int64)) {
	var id string
	if imp.ID != nil && (json.Unmarshal(imp.ID, &id) != nil || id != want.ID) || imp.ID == nil && want.ID != "" {
		t.Fatalf("imp id %s, want %q", imp.ID, want.ID)
	}
	floor := min(max(0, want.BidFloor)*1e6, math.MaxInt64) // one impression, in billionths
	if got := float64(imp.Floor); got < floor*(1-1e-12) || got > floor*(1+1e-12)+1 {
		t.Fatalf("floor %d, want %v rounded up", imp.Floor, floor)
	}
	text("tagid", imp.TagID, want.TagID)
	if cur := rtb.ParseCurrency(want.BidFloorCur); imp.FloorCur != cur {
		t.Fatalf("bidfloorcur %v, want %v", imp.FloorCur, cur)
	}
	number("secure", asBit(imp.Secure), asBit(want.Secure != nil && *want.Secure != 0))
	number("banner", asBit(imp.HasBanner), asBit(want.Banner != nil))
	number("video", asBit(imp.HasVideo), asBit(want.Video != nil))
	number("audio", asBit(imp.HasAudio), asBit(want.Audio != nil))
	number("native", asBit(imp.HasNative), asBit(want.Native != nil))
	if b := want.Banner; b != nil && !imp.Broken {
		var sizes []rtb.Size
		any := true
		add := func(w, h int64, keep bool) {
			any = any && (w == 0 && h == 0 || keep && (w == 0 || h == 0))
			size := rtb.Size{W: uint16(w), H: uint16(h)}
			for _, s := range sizes {
				if s == size {
					return
				}
			}
			if w > 0 && h > 0 && (len(sizes) < MaxFormats || !keep) {
				sizes = append(sizes, size)
			}
		}
		for _, format := range b.Format {
			add(format.W, format.H, true)
		}
		var w, h int64
		if b.W != nil {
			w = *b.W
		}
		if b.H != nil {
			h = *b.H
		}
		add(w, h, false)
		number("sizes", int64(len(imp.Banner.Sizes)), int64(len(sizes)))
		for i, s := range sizes {
			if imp.Banner.Sizes[i] != s {
				t.Fatalf("sizes %v, want %v", imp.Banner.Sizes, sizes)
			}
		}
		number("any size", asBit(imp.Banner.AnySize), asBit(any))
		var attrs rtb.Bits
		for _, a := range b.BAttr {
			attrs.Add(int64(a))
		}
		number("battr", int64(imp.Banner.BlockedAttrs), int64(attrs))
	}
	if v := want.Video; v != nil && !imp.Broken {
		number("minduration", int64(imp.Video.MinDuration), max(0, min(v.MinDuration, math.MaxUint16)))
		number("maxduration", int64(imp.Video.MaxDuration), max(0, min(v.MaxDuration, math.MaxUint16)))
		text("podid", imp.Video.PodID, v.PodID)
		var protocols rtb.Bits
		for _, p := range v.Protocols {
			protocols.Add(int64(p))
		}
		if imp.Video.Protocols&protocols != protocols {
			t.Fatalf("protocols %b, want %b", imp.Video.Protocols, protocols)
		}
	}
	if n := want.Native; n != nil && n.Request != "" {
		text("native.request", imp.Native.Request, n.Request)
	}
	if p := want.PMP; p != nil {
		number("private_auction", asBit(imp.Private), asBit(p.PrivateAuction != 0))
		for i := range imp.Deals {
			if !bytes.Contains(imp.Deals[i].ID, []byte{'"'}) {
				t.Fatalf("deal id %s", imp.Deals[i].ID)
			}
		}
		if len(p.Deals) <= MaxDeals {
			named := 0
			for _, d := range p.Deals {
				if d.ID != "" {
					named++
				}
			}
			number("deals", int64(len(imp.Deals)), int64(named))
		}
	}
}

// FuzzNativeRequest compares with the reference types.
func FuzzNativeRequest(f *testing.F) {
	for _, text := range []string{
		`{"assets":[{"id":1,"required":1,"title":{"len":90}},{"id":2,"img":{"type":3,"w":1,"h":2,"mimes":["image/png"]}},{"id":3,"data":{"type":2}}]}`,
		`{"native":{"ver":"1.0","assets":[{"id":1,"video":{"mimes":["video/mp4"],"protocols":[2]}}],"eventtrackers":[{"event":1,"methods":[1]}]}}`,
		`"{\"assets\":[{\"id\":1,\"title\":{\"len\":90}}]}"`, `{"assets":[{"id":"1","img":null,"title":{}}]}`,
	} {
		f.Add([]byte(text))
	}
	var n NativeRequest
	f.Fuzz(func(t *testing.T, text []byte) {
		err := n.Decode(text)
		if err == nil {
			if len(n.Assets) == 0 || len(n.Assets) > MaxAssets || len(n.Trackers) > MaxTrackers {
				t.Fatalf("%d assets, %d trackers", len(n.Assets), len(n.Trackers))
			}
			seen := map[int32]bool{}
			for _, a := range n.Assets {
				if a.ID < 0 || seen[a.ID] || a.Kind > rtb.NativeVideo {
					t.Fatalf("assets %+v", n.Assets)
				}
				seen[a.ID] = true
			}
		}
		var reference request.Request
		if !plainKeys(text) || !json.Valid(text) || bytes.Contains(text, []byte("native")) || bytes.Contains(text, []byte("null")) || json.Unmarshal(text, &reference) != nil {
			return
		}
		if errors.Is(err, ErrSyntax) {
			t.Fatalf("Decode error = %v of a request that the reference reads", err)
		}
		if err != nil {
			return
		}
		if len(n.Assets) != len(reference.Assets) {
			t.Fatalf("%d assets, want %d", len(n.Assets), len(reference.Assets))
		}
		for i, want := range reference.Assets {
			got := n.Assets[i]
			if int64(got.ID) != want.ID || got.Required != (want.Required != 0) {
				t.Fatalf("asset %+v, want %+v", got, want)
			}
			if want.Title != nil && got.Kind == rtb.NativeTitle && int64(got.Len) != min(want.Title.Len, math.MaxUint16) {
				t.Fatalf("asset %+v, want title %+v", got, want.Title)
			}
			if want.Img != nil && got.Kind == rtb.NativeImage && int64(got.W) != min(want.Img.W, math.MaxUint16) {
				t.Fatalf("asset %+v, want image %+v", got, want.Img)
			}
		}
	})
}
