package loadtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A request and a right answer for each kind of ad. The cases change one thing
// in either, so that exactly one rule is broken.
const (
	bannerRequest = `{"id":"r-1","imp":[{"id":"1","secure":1,"bidfloor":1.5,"banner":{"format":[{"w":300,"h":250},{"w":320,"h":50}],` +
		`"battr":[3],"btype":[3],"api":[5]}}],"site":{"id":"s"},"cur":["USD","EUR"],"badv":["Blocked.example"],"bcat":["IAB7"],` +
		`"bapp":["com.blocked"],"wlang":["en"],"wseat":["acme"],"bseat":["evil"],"regs":{},"user":{"id":"person-4711","ext":{}},` +
		`"device":{"ifa":"6D92078A-8246-4BA4-AE5B-76104861E7DC","ip":"203.0.113.77"},"tmax":10000}`
	bannerAnswer = `{"id":"r-1","cur":"USD","seatbid":[{"seat":"acme","bid":[{"id":"b1","impid":"1","price":2.5,"w":300,"h":250,"mtype":1,` +
		`"adm":"<a href=\"https://bid.example.com/c?p=${AUCTION_PRICE}\"><img xmlns=\"http://brand.example/ns\" src=\"https://cdn.example.com/a.jpg\"></a>",` +
		`"adomain":["brand.example"],"bundle":"com.ok","cat":["IAB17-1"],"attr":[1],"apis":[5],"language":"en","cid":"c","crid":"cr","iurl":"https://cdn.example.com/a.jpg",` +
		`"nurl":"https://bid.example.com/e/win?p=${AUCTION_PRICE:B64}","burl":"https://bid.example.com/e/bill","lurl":"https://bid.example.com/e/loss?r=${AUCTION_LOSS}","ext":{}}]}]}`

	videoRequest = `{"id":"r-1","imp":[{"id":"1","bidfloor":1,"video":{"mimes":["video/mp4"],"minduration":5,"maxduration":30,"protocols":[2,3,7],"linearity":1,"w":640,"h":360}}],` +
		`"app":{"id":"a"}}`
	videoAnswer = `{"id":"r-1","seatbid":[{"bid":[{"id":"b1","impid":"1","price":2.5,"mtype":2,"dur":15,"protocol":3,"adomain":["brand.example"],"adm":"` +
		`<?xml version='1.0' encoding='UTF-8'?><VAST version='3.0' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'><Ad id='1'><InLine><AdSystem>b</AdSystem><AdTitle>t</AdTitle>` +
		`<Error><![CDATA[https://e.example.com/e?c=[ERRORCODE]]]></Error><Impression><![CDATA[https://e.example.com/i]]></Impression><Creatives><Creative><Linear><Duration>00:00:15</Duration>` +
		`<TrackingEvents><Tracking event='start'><![CDATA[https://e.example.com/v]]></Tracking></TrackingEvents>` +
		`<VideoClicks><ClickThrough><![CDATA[https://brand.example/]]></ClickThrough></VideoClicks>` +
		`<MediaFiles><MediaFile delivery='progressive' type='video/mp4' width='640' height='360'><![CDATA[https://cdn.example.com/a.mp4]]></MediaFile></MediaFiles>` +
		`</Linear></Creative></Creatives></InLine></Ad></VAST>"}]}]}`

	audioRequest = `{"id":"r-1","imp":[{"id":"1","audio":{"mimes":["audio/mpeg"],"minduration":5,"maxduration":30,"protocols":[3]}}],"app":{"id":"a"}}`

	nativeRequest = `{"id":"r-1","imp":[{"id":"1","native":{"ver":"1.2","request":"{\"native\":{\"ver\":\"1.2\",\"assets\":[{\"id\":1,\"required\":1,\"title\":{\"len\":25}},` +
		`{\"id\":2,\"required\":1,\"img\":{\"type\":3,\"wmin\":300,\"hmin\":200}},{\"id\":3,\"data\":{\"type\":1,\"len\":10}},{\"id\":4,\"video\":{\"mimes\":[\"video/mp4\"],\"protocols\":[3],\"minduration\":5,\"maxduration\":30}}]}}"}}],"app":{"id":"a"}}`
	nativeAnswer = `{"id":"r-1","seatbid":[{"bid":[{"id":"b1","impid":"1","price":2.5,"mtype":4,"adomain":["brand.example"],"adm":"{\"native\":{\"ver\":\"1.2\",\"assets\":[` +
		`{\"id\":1,\"title\":{\"text\":\"Shoes that run\"}},{\"id\":2,\"img\":{\"type\":3,\"url\":\"https://cdn.example.com/a.jpg\",\"w\":600,\"h\":400}},{\"id\":3,\"data\":{\"type\":1,\"value\":\"Acme\"}}],` +
		`\"link\":{\"url\":\"https://brand.example/\"},\"eventtrackers\":[{\"event\":1,\"method\":1,\"url\":\"https://e.example.com/i\"}]}}"}]}]}`
)

var audioAnswer = strings.NewReplacer("video/mp4", "audio/mpeg", `"mtype":2`, `"mtype":3`).Replace(videoAnswer)

// swap replaces the old texts by the new ones and fails where one is not there.
func swap(t *testing.T, text string, pairs []string) string {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in %s", pairs[i], text)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

// answering starts a server that gives the same answer to everything.
func answering(t *testing.T, status int, header map[string]string, body []byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		if len(body) > 0 {
			w.Write(body)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/bid/generic"
}

// rawServer answers every connection with what serve writes to it.
func rawServer(t *testing.T, serve func(conn net.Conn, r *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					io.Copy(io.Discard, request.Body)
					serve(conn, r)
				}
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return "http://" + listener.Addr().String() + "/bid/generic"
}

var jsonHeader = map[string]string{"Content-Type": "application/json"}

func certify(t *testing.T, c Conform) *ConformReport {
	t.Helper()
	if len(c.Encodings) == 0 {
		c.Encodings = []string{"plain"}
	}
	report, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wantRules fails unless exactly these rules are broken.
func wantRules(t *testing.T, report *ConformReport, want ...string) {
	t.Helper()
	if got := sortedKeys(report.ByRule); !slices.Equal(got, want) {
		t.Errorf("broken rules %v, want %v: %+v", got, want, report.Examples)
	}
}

func TestConformRightAnswersPass(t *testing.T) {
	deal := []string{`"bidfloor":1.5`, `"bidfloor":9,"pmp":{"private_auction":1,"deals":[{"id":"d1","bidfloor":2,"wseat":["acme"],"wadomain":["brand.example"]}]}`}
	tests := []struct {
		name            string
		request, answer string
		change, reply   []string
	}{
		{"banner", bannerRequest, bannerAnswer, nil, nil},
		{"video", videoRequest, videoAnswer, nil, nil},
		{"audio", audioRequest, audioAnswer, nil, nil},
		{"native", nativeRequest, nativeAnswer, nil, nil},
		{"native without the wrapper", nativeRequest, nativeAnswer, []string{`{\"native\":{\"ver\"`, `{\"ver\"`, `]}}"`, `]}"`}, nil},
		{"deal below the open floor", bannerRequest, bannerAnswer, deal, []string{`"price"`, `"dealid":"d1","price"`}},
		{"id as a number", bannerRequest, bannerAnswer, []string{`"id":"r-1"`, `"id":17`}, []string{`"id":"r-1"`, `"id":17`}},
		{"escaped id", bannerRequest, bannerAnswer, []string{`"id":"r-1"`, `"id":"\u0072\/1"`}, []string{`"id":"r-1"`, `"id":"r/1"`}},
		{"lone surrogate", bannerRequest, bannerAnswer, []string{`"id":"r-1"`, `"id":"\ud800"`}, []string{`"id":"r-1"`, `"id":"\ud800"`}},
		{"no size on offer", bannerRequest, bannerAnswer, []string{`"format":[{"w":300,"h":250},{"w":320,"h":50}],`, ``}, nil},
		{"w and h on offer", bannerRequest, bannerAnswer, []string{`"format":[{"w":300,"h":250},{"w":320,"h":50}],`, `"w":300,"h":250.0,`}, nil},
		{"flexible format", bannerRequest, bannerAnswer, []string{`{"w":300,"h":250}`, `{"wratio":6,"hratio":5,"wmin":200}`}, nil},
		{"range of sizes", bannerRequest, bannerAnswer, []string{`"format":[{"w":300,"h":250},{"w":320,"h":50}],`, `"w":320,"h":480,"wmin":200,"hmin":200,"wmax":400,"hmax":500,`}, nil},
		{"other currency on the list", bannerRequest, bannerAnswer, nil, []string{`"cur":"USD"`, `"cur":"EUR"`}},
		{"http where not secure", bannerRequest, bannerAnswer, []string{`"secure":1`, `"secure":0`}, []string{`https://cdn`, `http://cdn`, `https://bid`, `http://bid`}},
		{"native in a string", nativeRequest, nativeAnswer, nil, []string{`\"Shoes`, `\"\u00dcber`}},
		{"identifier without a restriction", bannerRequest, bannerAnswer, nil, []string{`/e/bill`, `/e/bill?u=person-4711`}},
		{"short identifier", bannerRequest, bannerAnswer, []string{`"regs":{}`, `"regs":{"coppa":1}`, `person-4711`, `c`}, nil},
		{"transparency", bannerRequest, bannerAnswer, []string{`"regs":{}`, `"regs":{"ext":{"dsa":{"dsarequired":3,"pubrender":0}}}`}, []string{`"ext":{}`, `"ext":{"dsa":{"behalf":"Acme","paid":"Acme","adrender":1}}`}},
		{"exact duration", videoRequest, videoAnswer, []string{`"minduration":5,"maxduration":30`, `"rqddurs":[15,30]`}, nil},
		{"subdomain of the deal's advertiser", bannerRequest, bannerAnswer, []string{deal[0], strings.Replace(deal[1], "brand.example", "http://WWW.brand.example/", 1)}, []string{`"price"`, `"dealid":"d1","price"`, `"brand.example"`, `"shop.brand.example"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			valid := true
			line := Line{Body: []byte(swap(t, tt.request, tt.change)), Valid: &valid}
			url := answering(t, 200, jsonHeader, []byte(swap(t, tt.answer, tt.reply)))
			report := certify(t, Conform{URL: url, Lines: []Line{line}})
			wantRules(t, report)
			if report.Bids != 1 || report.Answers != 1 {
				t.Errorf("%d bids in %d answers, want one", report.Bids, report.Answers)
			}
		})
	}
}

func TestConformRules(t *testing.T) {
	type change = []string
	deal := `"bidfloor":1.5,"pmp":{"deals":[{"id":"d1","bidfloor":2,"wseat":["acme"],"wadomain":["brand.example"]}]}`
	second := `"price":2.5,"w":300,"h":250,"mtype":1,"adm":"<b>b</b>","adomain":["brand.example"]}`
	wrapper := change{`<InLine><AdSystem>b</AdSystem><AdTitle>t</AdTitle>`, `<Wrapper><AdSystem>b</AdSystem><VASTAdTagURI>https://v.example.com/</VASTAdTagURI>`, `</InLine>`, `</Wrapper>`}
	nativeMust := change{`\"id\":3,\"data\"`, `\"id\":3,\"required\":1,\"data\"`}
	tests := []struct {
		rule, name      string
		request, answer string
		change, reply   change
	}{
		{"utf8", "bad byte", bannerRequest, bannerAnswer, nil, change{`"cid":"c"`, "\"cid\":\"\xff\""}},
		{"json", "comma too many", bannerRequest, bannerAnswer, nil, change{`"ext":{}`, `"ext":{},`}},
		{"json", "two values", bannerRequest, bannerAnswer, nil, change{`{"id":"r-1"`, `{}{"id":"r-1"`}},
		{"json", "control character", bannerRequest, bannerAnswer, nil, change{`"cid":"c"`, "\"cid\":\"\n\""}},
		{"duplicate-key", "price twice", bannerRequest, bannerAnswer, nil, change{`"price":2.5`, `"price":2.5,"price":2.5`}},
		{"type", "price as text", bannerRequest, bannerAnswer, nil, change{`"price":2.5`, `"price":"2.5"`}},
		{"type", "cat as text", bannerRequest, bannerAnswer, nil, change{`["IAB17-1"]`, `"IAB17-1"`}},
		{"type", "width as a fraction", bannerRequest, bannerAnswer, nil, change{`"crid":"cr"`, `"crid":"cr","exp":1.5`}},
		{"type", "ext is null", bannerRequest, bannerAnswer, nil, change{`"ext":{}`, `"ext":null`}},
		{"type", "list element", bannerRequest, bannerAnswer, nil, change{`"attr":[1]`, `"attr":["1"]`}},
		{"type", "answer is a list", bannerRequest, `[]`, nil, nil},
		{"id", "other id", bannerRequest, bannerAnswer, nil, change{`"id":"r-1"`, `"id":"r-2"`}},
		{"id", "id of a number for text", bannerRequest, bannerAnswer, change{`"id":"r-1"`, `"id":"17"`}, change{`"id":"r-1"`, `"id":17`}},
		{"currency", "not on the list", bannerRequest, bannerAnswer, change{`["USD","EUR"]`, `["EUR"]`, `"bidfloor":1.5,`, ``}, nil},
		{"currency", "nothing said and not dollars", videoRequest, videoAnswer, nil, change{`"id":"r-1"`, `"id":"r-1","cur":"EUR"`}},
		{"no-bids", "empty seatbid", bannerRequest, `{"id":"r-1","seatbid":[]}`, nil, nil},
		{"impid", "unknown", bannerRequest, bannerAnswer, nil, change{`"impid":"1"`, `"impid":"2"`}},
		{"bid-id", "empty", bannerRequest, bannerAnswer, nil, change{`"id":"b1"`, `"id":""`}},
		{"bid-id", "twice", bannerRequest, bannerAnswer, change{`"imp":[`, `"imp":[{"id":"2","banner":{}},`}, change{`"bid":[`, `"bid":[{"id":"b1","impid":"2",` + second + `,`}},
		{"bids-per-imp", "two", bannerRequest, bannerAnswer, nil, change{`"bid":[`, `"bid":[{"id":"b2","impid":"1",` + second + `,`}},
		{"price", "zero", bannerRequest, bannerAnswer, nil, change{`"price":2.5`, `"price":0`}},
		{"price", "negative", bannerRequest, bannerAnswer, nil, change{`"price":2.5`, `"price":-1`}},
		{"price", "overflow", bannerRequest, bannerAnswer, nil, change{`"price":2.5`, `"price":1e999`}},
		{"floor", "below", bannerRequest, bannerAnswer, nil, change{`"price":2.5`, `"price":1.4999999`}},
		{"floor", "below in euro", bannerRequest, bannerAnswer, change{`"bidfloor":1.5`, `"bidfloor":2.4,"bidfloorcur":"EUR"`}, nil},
		{"deal", "unknown", bannerRequest, bannerAnswer, nil, change{`"price"`, `"dealid":"d1","price"`}},
		{"deal-floor", "below", bannerRequest, bannerAnswer, change{`"bidfloor":1.5`, deal}, change{`"price":2.5`, `"dealid":"d1","price":1.9`}},
		{"private-auction", "open bid", bannerRequest, bannerAnswer, change{`"bidfloor":1.5`, strings.Replace(deal, `"pmp":{`, `"pmp":{"private_auction":1,`, 1)}, nil},
		{"deal-seat", "other", bannerRequest, bannerAnswer, change{`"bidfloor":1.5`, strings.Replace(deal, "acme", "umbrella", 1)}, change{`"price"`, `"dealid":"d1","price"`}},
		{"deal-advertiser", "other", bannerRequest, bannerAnswer, change{`"bidfloor":1.5`, strings.Replace(deal, "brand", "other", 1)}, change{`"price"`, `"dealid":"d1","price"`}},
		{"seat", "not wanted", bannerRequest, bannerAnswer, nil, change{`"seat":"acme"`, `"seat":"other"`}},
		{"seat", "none", bannerRequest, bannerAnswer, nil, change{`"seat":"acme",`, ``}},
		{"seat", "blocked", bannerRequest, bannerAnswer, change{`"wseat":["acme"],"bseat":["evil"]`, `"bseat":["acme"]`}, nil},
		{"size", "not on offer", bannerRequest, bannerAnswer, nil, change{`"w":300`, `"w":301`}},
		{"size", "absent", bannerRequest, bannerAnswer, nil, change{`"w":300,"h":250,`, ``}},
		{"mtype", "none of them", bannerRequest, bannerAnswer, nil, change{`"mtype":1`, `"mtype":5`}},
		{"mtype", "markup of another", bannerRequest, bannerAnswer, nil, change{`"mtype":1`, `"mtype":2`}},
		{"mtype", "absent with two media", bannerRequest, bannerAnswer, change{`"banner":`, `"video":{},"banner":`}, change{`"mtype":1,`, ``}},
		{"media", "not on offer", bannerRequest, videoAnswer, change{`"wseat":["acme"],`, ``}, nil},
		{"media", "audio for a video", videoRequest, audioAnswer, nil, nil},
		{"markup", "absent", bannerRequest, bannerAnswer, nil, change{`"adm":`, `"nothing":`}},
		{"markup", "no HTML", bannerRequest, bannerAnswer, nil, change{`"adm":"<a href=\"https://bid.example.com/c?p=${AUCTION_PRICE}\"><img xmlns=\"http://brand.example/ns\" src=\"https://cdn.example.com/a.jpg\"></a>"`, `"adm":"buy"`}},
		{"btype", "script", bannerRequest, bannerAnswer, nil, change{`"adm":"`, `"adm":"<script></script>`}},
		{"btype", "iframe", bannerRequest, bannerAnswer, change{`"btype":[3]`, `"btype":[4]`}, change{`"adm":"`, `"adm":"<IFRAME></IFRAME>`}},
		{"adomain", "absent", bannerRequest, bannerAnswer, nil, change{`"adomain":["brand.example"],`, ``}},
		{"adomain", "an address", bannerRequest, bannerAnswer, nil, change{`["brand.example"]`, `["https://brand.example"]`}},
		{"badv", "itself", bannerRequest, bannerAnswer, nil, change{`["brand.example"]`, `["BLOCKED.example"]`}},
		{"badv", "subdomain", bannerRequest, bannerAnswer, nil, change{`["brand.example"]`, `["shop.blocked.example"]`}},
		{"badv", "listed as an address", bannerRequest, bannerAnswer, change{`"Blocked.example"`, `"https://www.brand.example/x"`}, nil},
		{"bcat", "child", bannerRequest, bannerAnswer, nil, change{`IAB17-1`, `IAB7-39`}},
		{"bcat", "opaque", bannerRequest, bannerAnswer, change{`"IAB7"`, `"bsw1"`}, change{`IAB17-1`, `BSW1`}},
		{"battr", "blocked", bannerRequest, bannerAnswer, nil, change{`"attr":[1]`, `"attr":[1,3]`}},
		{"api", "not there", bannerRequest, bannerAnswer, nil, change{`"apis":[5]`, `"apis":[6]`}},
		{"bapp", "blocked", bannerRequest, bannerAnswer, nil, change{`com.ok`, `com.blocked`}},
		{"wlang", "other", bannerRequest, bannerAnswer, nil, change{`"language":"en"`, `"language":"de"`}},
		{"secure", "picture", bannerRequest, bannerAnswer, nil, change{`src=\"https`, `src=\"http`}},
		{"secure", "escaped slashes", nativeRequest, nativeAnswer, change{`"id":"1",`, `"id":"1","secure":1,`}, change{`https://cdn`, `http:\\/\\/cdn`}},
		{"secure", "notice", bannerRequest, bannerAnswer, nil, change{`"burl":"https`, `"burl":"http`}},
		{"notice", "relative", bannerRequest, bannerAnswer, nil, change{`"burl":"https://bid.example.com`, `"burl":"`}},
		{"notice", "without a host", bannerRequest, bannerAnswer, nil, change{`"lurl":"https://bid.example.com`, `"lurl":"https://`}},
		{"notice", "other scheme", bannerRequest, bannerAnswer, nil, change{`"iurl":"https`, `"iurl":"ftp`}},
		{"macro", "unknown dollar", bannerRequest, bannerAnswer, nil, change{`c?p=${AUCTION_PRICE}`, `c?p=${CLICK_URL}`}},
		{"macro", "misspelt", bannerRequest, bannerAnswer, nil, change{`${AUCTION_LOSS}`, `${AUCTION_LOST}`}},
		{"macro", "braces", bannerRequest, bannerAnswer, nil, change{`/a.jpg\"`, `/{CACHE_BUSTER}\"`}},
		{"macro", "encoded braces", bannerRequest, bannerAnswer, nil, change{`/a.jpg\"`, `/%7BCACHE_BUSTER%7D\"`}},
		{"macro", "double braces", bannerRequest, bannerAnswer, nil, change{`/a.jpg\"`, `/{{ cb }}\"`}},
		{"macro", "brackets", bannerRequest, bannerAnswer, nil, change{`/a.jpg\"`, `/[TIMESTAMP]\"`}},
		{"macro", "brackets unknown to VAST", videoRequest, videoAnswer, nil, change{`com/v`, `com/v?[CLICK_URL]`}},
		{"macro", "percent", bannerRequest, bannerAnswer, nil, change{`/a.jpg\"`, `/%%CACHEBUSTER%%\"`}},
		{"privacy", "coppa", bannerRequest, bannerAnswer, change{`"regs":{}`, `"regs":{"coppa":1}`}, change{`/e/bill`, `/e/bill?u=person-4711`}},
		{"privacy", "lmt", bannerRequest, bannerAnswer, change{`"device":{`, `"device":{"lmt":2,`}, change{`/e/bill`, `/e/bill?u=6d92078a-8246-4ba4-ae5b-76104861e7dc`}},
		{"privacy", "dnt", bannerRequest, bannerAnswer, change{`"device":{`, `"device":{"dnt":1,`}, change{`/e/bill`, `/e/bill?ip=203.0.113.77`}},
		{"privacy", "gdpr", bannerRequest, bannerAnswer, change{`"regs":{}`, `"regs":{"ext":{"gdpr":1}}`, `"user":{`, `"user":{"buyeruid":"buyer/42",`}, change{`/e/bill`, `/e/bill?u=buyer%2F42`}},
		{"privacy", "us_privacy", bannerRequest, bannerAnswer, change{`"regs":{}`, `"regs":{"us_privacy":"1YYN"}`, `"ext":{}`, `"ext":{"eids":[{"source":"s","uids":[{"id":"extended-1"}]}]}`}, change{`/e/bill`, `/e/bill?u=extended-1`}},
		{"dsa", "absent", bannerRequest, bannerAnswer, change{`"regs":{}`, `"regs":{"dsa":{"dsarequired":2}}`}, nil},
		{"dsa", "nobody renders", bannerRequest, bannerAnswer, change{`"regs":{}`, `"regs":{"dsa":{"dsarequired":2,"pubrender":0}}`}, change{`"ext":{}`, `"ext":{"dsa":{"behalf":"Acme","paid":"Acme"}}`}},

		{"vast", "does not parse", videoRequest, videoAnswer, nil, change{`</Creatives>`, ``}},
		{"vast", "two documents", videoRequest, videoAnswer, nil, change{`</VAST>`, `</VAST><VAST/>`}},
		{"vast", "no ad", videoRequest, videoAnswer, nil, change{`<Ad id='1'>`, `<Bd id='1'>`, `</Ad>`, `</Bd>`}},
		{"vast", "no title", videoRequest, videoAnswer, nil, change{`<AdTitle>t</AdTitle>`, ``}},
		{"vast", "relative tracking", videoRequest, videoAnswer, nil, change{`https://e.example.com/v`, `/v`}},
		{"vast-version", "none", videoRequest, videoAnswer, nil, change{`'3.0'`, `'3'`}},
		{"vast-version", "not allowed", videoRequest, videoAnswer, nil, change{`'3.0'`, `'4.1'`, `"protocol":3,`, ``}},
		{"vast-version", "bid says another", videoRequest, videoAnswer, nil, change{`"protocol":3`, `"protocol":7`}},
		{"vast-version", "wrapper", videoRequest, videoAnswer, nil, append(slices.Clone(wrapper), `"protocol":3,`, ``)},
		{"vast-impression", "absent", videoRequest, videoAnswer, nil, change{`Impression>`, `Nothing>`, `</Impression>`, `</Nothing>`}},
		{"vast-impression", "relative", videoRequest, videoAnswer, nil, change{`https://e.example.com/i`, `/i`}},
		{"vast-linear", "absent", videoRequest, videoAnswer, nil, change{`<Linear>`, `<Bent>`, `</Linear>`, `</Bent>`}},
		{"vast-linear", "overlay wanted", videoRequest, videoAnswer, change{`"linearity":1`, `"linearity":2`}, nil},
		{"vast-duration", "not a time", videoRequest, videoAnswer, nil, change{`00:00:15`, `15s`}},
		{"vast-duration", "short", videoRequest, videoAnswer, nil, change{`00:00:15`, `00:00:04`, `"dur":15`, `"dur":4`}},
		{"vast-duration", "long", videoRequest, videoAnswer, nil, change{`00:00:15`, `00:00:30.500`, `"dur":15`, `"dur":30`}},
		{"vast-duration", "not exact", videoRequest, videoAnswer, change{`"minduration":5,"maxduration":30`, `"rqddurs":[10,30]`}, nil},
		{"vast-duration", "bid says another", videoRequest, videoAnswer, nil, change{`"dur":15`, `"dur":30`}},
		{"vast-media-file", "absent", videoRequest, videoAnswer, nil, change{`<MediaFile `, `<None `, `</MediaFile>`, `</None>`}},
		{"vast-media-file", "mime", videoRequest, videoAnswer, nil, change{`video/mp4`, `video/webm`}},
		{"vast-media-file", "relative", videoRequest, videoAnswer, nil, change{`https://cdn.example.com/a.mp4`, `a.mp4`}},
		{"vast-media-file", "delivery", videoRequest, videoAnswer, nil, change{`progressive`, `fast`}},
		{"vast-media-file", "no size", videoRequest, videoAnswer, nil, change{`width='640' `, ``}},
		{"vast-media-file", "audio mime", audioRequest, audioAnswer, change{`"audio/mpeg"`, `"audio/ogg"`}, nil},
		{"vast-duration", "audio too long", audioRequest, audioAnswer, change{`"maxduration":30`, `"maxduration":10`}, nil},
		{"api", "VPAID", videoRequest, videoAnswer, change{`"linearity"`, `"api":[7],"linearity"`}, change{`<MediaFile `, `<MediaFile apiFramework='VPAID' `}},

		{"native", "does not parse", nativeRequest, nativeAnswer, nil, change{`}}"}]}]}`, `}"}]}]}`}},
		{"native", "no assets", nativeRequest, nativeAnswer, nil, change{`\"assets\"`, `\"things\"`}},
		{"native", "key twice", nativeRequest, nativeAnswer, nil, change{`\"ver\":\"1.2\"`, `\"ver\":\"1.2\",\"ver\":\"1.2\"`}},
		{"native", "tracker", nativeRequest, nativeAnswer, nil, change{`https://e.example.com/i`, `/i`}},
		{"native", "request that cannot be read", nativeRequest, nativeAnswer, change{`"{\"native\"`, `"\"native\"`}, nil},
		{"native-asset", "required one missing", nativeRequest, nativeAnswer, nativeMust, change{`,{\"id\":3,\"data\":{\"type\":1,\"value\":\"Acme\"}}`, ``}},
		{"native-asset", "not asked for", nativeRequest, nativeAnswer, nil, change{`\"id\":3`, `\"id\":9`}},
		{"native-asset", "another kind", nativeRequest, nativeAnswer, change{`\"id\":3`, `\"id\":5`}, change{`{\"id\":3,\"data\":`, `{\"id\":5,\"img\":`}},
		{"native-asset", "twice", nativeRequest, nativeAnswer, nil, change{`\"assets\":[`, `\"assets\":[{\"id\":1,\"title\":{\"text\":\"Shoes that run\"}},`}},
		{"native-asset", "video without a tag", nativeRequest, nativeAnswer, nil, change{`{\"id\":3`, `{\"id\":4,\"video\":{}},{\"id\":3`}},
		{"native-title", "long", nativeRequest, nativeAnswer, nil, change{`Shoes that run`, `Shoes that run faster than you`}},
		{"native-title", "empty", nativeRequest, nativeAnswer, nil, change{`Shoes that run`, ``}},
		{"native-image", "small", nativeRequest, nativeAnswer, nil, change{`\"w\":600`, `\"w\":299`}},
		{"native-image", "size absent", nativeRequest, nativeAnswer, nil, change{`,\"w\":600,\"h\":400`, `,\"w\":600`}},
		{"native-image", "relative", nativeRequest, nativeAnswer, nil, change{`https://cdn.example.com`, ``}},
		{"native-image", "icon for a picture", nativeRequest, nativeAnswer, nil, change{`\"img\":{\"type\":3`, `\"img\":{\"type\":1`}},
		{"native-data", "long", nativeRequest, nativeAnswer, nil, change{`Acme`, `Acme of Wisconsin`}},
		{"native-data", "other type", nativeRequest, nativeAnswer, nil, change{`\"data\":{\"type\":1`, `\"data\":{\"type\":2`}},
		{"native-link", "absent", nativeRequest, nativeAnswer, nil, change{`\"link\"`, `\"lnk\"`}},
		{"vast-duration", "native video", nativeRequest, nativeAnswer, nil, change{`{\"id\":3`, `{\"id\":4,\"video\":{\"vasttag\":\"` + strings.Replace(vastText(), "00:00:15", "00:01:15", 1) + `\"}},{\"id\":3`}},
	}
	for _, tt := range tests {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			line := Line{Body: []byte(swap(t, tt.request, tt.change))}
			url := answering(t, 200, jsonHeader, []byte(swap(t, tt.answer, tt.reply)))
			report := certify(t, Conform{URL: url, Lines: []Line{line}, Rates: map[string]float64{"USD": 1, "EUR": 1.1}})
			if tt.rule == "type" {
				delete(report.ByRule, "price") // of what is no number
			}
			wantRules(t, report, tt.rule)
		})
	}
}

func vastText() string {
	from := strings.Index(videoAnswer, "<VAST")
	return videoAnswer[from:strings.Index(videoAnswer, `"}]}]}`)]
}

func TestConformBrokenRequests(t *testing.T) {
	no, yes := false, true
	twoImps := strings.Replace(bannerRequest, `"imp":[`, `"imp":[{"banner":{}},`, 1)
	broken := strings.NewReplacer(`"imp":[`, `"imp":[{"id":"2"},`).Replace(bannerRequest)
	tests := []struct {
		name   string
		line   Line
		status int
		answer string
		want   []string
	}{
		{"refused", Line{Body: []byte(`{}`), Valid: &no}, 400, "", nil},
		{"bid on nothing sound", Line{Body: []byte(bannerRequest), Valid: &no}, 200, bannerAnswer, []string{"status"}},
		{"bid on a sound impression", Line{Body: []byte(twoImps), Valid: &no}, 200, bannerAnswer, nil},
		{"bid on a broken impression", Line{Body: []byte(broken), Valid: &no}, 200, strings.Replace(bannerAnswer, `"impid":"1"`, `"impid":"2"`, 1), []string{"bad-request", "media"}},
		{"bid on what is no request", Line{Body: []byte(`[]`)}, 200, bannerAnswer, []string{"bad-request"}},
		{"a valid one refused", Line{Body: []byte(bannerRequest), Valid: &yes}, 400, "", []string{"status"}},
		{"server error", Line{Body: []byte(bannerRequest)}, 500, "", []string{"status"}},
		{"expected", Line{Body: []byte(`x`), Expect: []int{400}}, 400, "", nil},
		{"not expected", Line{Body: []byte(bannerRequest), Expect: []int{400}}, 200, bannerAnswer, []string{"status"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := answering(t, tt.status, jsonHeader, []byte(tt.answer))
			wantRules(t, certify(t, Conform{URL: url, Lines: []Line{tt.line}}), tt.want...)
		})
	}
}

func TestConformTransport(t *testing.T) {
	line := []Line{{Body: []byte(bannerRequest)}}
	t.Run("no-content-body", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) {
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}")
		})
		wantRules(t, certify(t, Conform{URL: url, Lines: line}), "no-content-body")
	})
	t.Run("connection", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) { conn.Close() })
		wantRules(t, certify(t, Conform{URL: url, Lines: line}), "connection")
	})
	t.Run("half an answer", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}")
			conn.Close()
		})
		wantRules(t, certify(t, Conform{URL: url, Lines: line}), "connection")
	})
	t.Run("not HTTP", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) { io.WriteString(conn, "no bid, sorry\r\n\r\n") })
		wantRules(t, certify(t, Conform{URL: url, Lines: line}), "connection")
	})
	t.Run("timeout", func(t *testing.T) {
		release := make(chan struct{})
		url := rawServer(t, func(net.Conn, *bufio.Reader) { <-release })
		defer close(release)
		wantRules(t, certify(t, Conform{URL: url, Lines: line, Timeout: 30 * time.Millisecond}), "timeout")
	})
	t.Run("closed while idle", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) {
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			conn.Close()
		})
		report := certify(t, Conform{URL: url, Lines: slices.Repeat(line, 5), Conns: 1})
		wantRules(t, report)
		if report.Statuses[204] != 5 {
			t.Errorf("statuses %v, want five of 204", report.Statuses)
		}
	})
	t.Run("chunked", func(t *testing.T) {
		url := rawServer(t, func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
			for _, part := range []string{bannerAnswer[:100], bannerAnswer[100:]} {
				fmt.Fprintf(conn, "%x\r\n%s\r\n", len(part), part)
			}
			io.WriteString(conn, "0\r\n\r\n")
		})
		report := certify(t, Conform{URL: url, Lines: slices.Repeat(line, 3), Conns: 1})
		wantRules(t, report)
		if report.Bids != 3 {
			t.Errorf("%d bids, want 3", report.Bids)
		}
	})
	t.Run("content-type", func(t *testing.T) {
		url := answering(t, 200, map[string]string{"Content-Type": "text/plain"}, []byte(bannerAnswer))
		wantRules(t, certify(t, Conform{URL: url, Lines: line}), "content-type")
	})
	t.Run("nobody listens", func(t *testing.T) {
		c := Conform{URL: "http://127.0.0.1:1/", Lines: line}
		if _, err := c.Run(t.Context()); err == nil {
			t.Error("no error without a bidder")
		}
	})
}

func TestConformGzip(t *testing.T) {
	line := []Line{{Body: []byte(bannerRequest)}}
	packed := func(fit bool) map[string]string {
		if fit {
			return map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}
		}
		return jsonHeader
	}
	t.Run("both ways", func(t *testing.T) {
		var got [2]bool // what arrived plain and packed was right
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body io.Reader = r.Body
			zipped := r.Header.Get("Content-Encoding") == "gzip"
			if zipped {
				var err error
				if body, err = gzip.NewReader(r.Body); err != nil {
					t.Error(err)
					return
				}
			}
			text, _ := io.ReadAll(body)
			w.Header().Set("Content-Type", "application/json")
			answer := []byte(bannerAnswer)
			if r.Header.Get("Accept-Encoding") == "gzip" {
				w.Header().Set("Content-Encoding", "gzip")
				answer = compress(answer)
				got[1] = zipped && string(text) == bannerRequest
			} else {
				got[0] = !zipped && string(text) == bannerRequest
			}
			w.Write(answer)
		}))
		defer server.Close()
		report := certify(t, Conform{URL: server.URL, Lines: line, Encodings: []string{"plain", "gzip"}, Conns: 1})
		wantRules(t, report)
		if !got[0] || !got[1] || report.Sent != 2 || report.Gzipped != 1 || report.Bids != 2 {
			t.Errorf("arrived %v, report %+v", got, report)
		}
	})
	t.Run("does not unpack", func(t *testing.T) {
		url := answering(t, 200, packed(true), []byte(bannerAnswer))
		wantRules(t, certify(t, Conform{URL: url, Lines: line, Encodings: []string{"gzip"}}), "gzip")
	})
	t.Run("not asked for", func(t *testing.T) {
		url := answering(t, 200, packed(true), compress([]byte(bannerAnswer)))
		wantRules(t, certify(t, Conform{URL: url, Lines: line}), "gzip")
	})
	t.Run("not said", func(t *testing.T) {
		url := answering(t, 200, packed(false), compress([]byte(bannerAnswer)))
		wantRules(t, certify(t, Conform{URL: url, Lines: line, Encodings: []string{"gzip"}}), "utf8")
	})
}

// A bid without adm may be delivered by its notice URL, from the bidder only.
func TestConformMarkupFromNotice(t *testing.T) {
	var base, price string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bid", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, swap(t, bannerAnswer, []string{`"adm":`, `"was":`, `"https://bid.example.com/e/win`, `"` + base + `/win`, `:B64`, ``}))
	})
	mux.HandleFunc("GET /win", func(w http.ResponseWriter, r *http.Request) {
		price = r.FormValue("p")
		io.WriteString(w, "<b>buy</b>")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	base = server.URL
	line := []Line{{Body: []byte(strings.Replace(bannerRequest, `"secure":1`, `"secure":0`, 1))}}
	wantRules(t, certify(t, Conform{URL: server.URL + "/bid", Lines: line}))
	if price != "2.5" {
		t.Errorf("the notice said price %q, want 2.5", price)
	}
}

func TestConformCountsBidRateAndExamples(t *testing.T) {
	url := answering(t, 200, jsonHeader, []byte(strings.Replace(bannerAnswer, `"cid":"c"`, `"cid":1`, 1)))
	yes := true
	good := Line{File: "in", Number: 3, Name: "n", Body: []byte(bannerRequest), Valid: &yes, Kind: "banner"}
	other := Line{Body: []byte(nativeRequest), Valid: &yes, Kind: "native"}
	refused := Line{Body: []byte(`[`), Expect: []int{200}}
	report := certify(t, Conform{URL: url, Lines: []Line{good, good, good, other, refused}, Examples: 2, Conns: 3})
	if report.Eligible != 3 || report.Answered != 3 || report.BidRate != 1 {
		t.Errorf("eligible %d, answered %d, rate %v, want 3, 3, 1", report.Eligible, report.Answered, report.BidRate)
	}
	examples := 0
	for _, e := range report.Examples {
		if e.Rule == "type" {
			examples++
		}
	}
	if examples != 2 || report.ByRule["type"] != 4 || report.Violations <= 4 {
		t.Errorf("%d examples of %d, %d in all, want 2 of 4 and more", examples, report.ByRule["type"], report.Violations)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil || !strings.Contains(text.String(), "in:3 plain n: ") {
		t.Errorf("the report does not name the line: %v\n%s", err, text.String())
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

func TestReadFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.jsonl")
	text := `{"name":"a","expect":[400],"body_b64":"` + base64.StdEncoding.EncodeToString([]byte("\xff")) + `"}
{"body": {"id": "x" },"valid":true,"kind":"banner","source":"s"}

{"id":"bare","imp":[]}
{"name":"badv-100k","body_b64":null,"generate":"g","expect":[200]}
{"name":"nested-arrays-200000","body_b64":null,"generate":"g"}
{"name":"nested-objects-200000","body_b64":null,"generate":"g"}
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	lines, err := ReadFiles(path)
	if err != nil || len(lines) != 6 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if l := lines[0]; string(l.Body) != "\xff" || l.Name != "a" || l.Expect[0] != 400 || l.Number != 1 {
		t.Errorf("%+v", l)
	}
	if l := lines[1]; string(l.Body) != `{"id": "x" }` || !*l.Valid || l.Kind != "banner" || l.Name != "s" {
		t.Errorf("%+v", l)
	}
	if l := lines[2]; string(l.Body) != `{"id":"bare","imp":[]}` || l.Number != 4 {
		t.Errorf("%+v", l)
	}
	for i, want := range []string{"badv", "ext", "ext"} {
		body := lines[3+i].Body
		o := readRequest(body)
		if o == nil || o.root.get(want) == nil || len(o.imps) != 1 || len(body) < 400_000 {
			t.Errorf("line %d: %d bytes that are no request with %s", i, len(body), want)
		}
	}
	if n := len(readRequest(lines[3].Body).root.get("badv").items); n != 100_000 {
		t.Errorf("%d blocked, want 100000", n)
	}
	for _, bad := range []string{`{"body_b64":"%"}`, `{"name":"who","body_b64":null,"generate":"x"}`, `{"body_b64":null}`, `x`} {
		if _, err := readLines(nil, "in", strings.NewReader("\n"+bad)); err == nil || !strings.HasPrefix(err.Error(), "in:2: ") {
			t.Errorf("%s: error %v does not name line 2", bad, err)
		}
	}
}
