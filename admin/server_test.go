package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/admin"
	"bidwell/rtb"
	"bidwell/store/sql"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite openapi.json")

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// exchangeIDs are the exchanges that the tests' bidder has.
var exchangeIDs = map[string]rtb.ExchangeID{"generic": 1, "index": 3}

func exchangeID(name string) (rtb.ExchangeID, bool) {
	id, ok := exchangeIDs[name]
	return id, ok
}

func documents(t testing.TB) *sql.Store {
	t.Helper()
	store, err := sql.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "documents.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// site is a running API and a client for it.
type site struct {
	t      testing.TB
	url    string
	server *admin.Server
	docs   *sql.Store
}

func start(t testing.TB, change func(*admin.Parts)) *site {
	t.Helper()
	docs := documents(t)
	parts := admin.Parts{Documents: docs, ExchangeID: exchangeID}
	if change != nil {
		change(&parts)
	}
	server, err := admin.New(admin.DefaultConfig(), parts)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		front.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return &site{t, front.URL, server, docs}
}

// answer is one response, read.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a answer) etag() string { return a.Header.Get("ETag") }

// problems are the locations of the wrong fields, sorted.
func (a answer) problems(t testing.TB) []string {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json; body %s", got, a.Body)
	}
	var p struct {
		Status int
		Title  string
		Errors []struct{ Location, Message string }
	}
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil || p.Status != a.Status || p.Title == "" {
		t.Errorf("not a problem of status %d: %s", a.Status, a.Body)
	}
	var at []string
	for _, e := range p.Errors {
		if e.Message == "" {
			t.Errorf("%s has no message", e.Location)
		}
		at = append(at, e.Location)
	}
	slices.Sort(at)
	return at
}

// do sends a request; headers are pairs.
func (s *site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (s *site) want(status int, method, path, body string, headers ...string) answer {
	s.t.Helper()
	a := s.do(method, path, body, headers...)
	if a.Status != status {
		s.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.Status, status, a.Body)
	}
	return a
}

const (
	acme     = `{"name": "Acme Shoes", "domains": ["acme-shoes.example"], "timezone": "Europe/Berlin"}`
	spring   = `{"advertiser": "acme", "name": "Spring", "budget": {"total": "5000"}}`
	runners  = `{"name": "Runners", "ttl": "720h"}`
	banner   = `{"advertiser": "acme", "type": "banner", "width": 300, "height": 250, "image": "https://cdn.example/a.png", "click_url": "https://acme-shoes.example/"}`
	lineItem = `{
  "campaign": "spring", "name": "Runners 25-44, Berlin", "status": "active",
  "flight": {"start": "2026-12-01T00:00:00+01:00", "end": "2026-12-31T23:59:59+01:00"},
  "budget": {"total": "5000.00", "daily": "200.00"}, "pacing": "even",
  "goal": {"type": "cpc", "value": "0.80", "max_cpm": "6.00"},
  "targeting": {
    "segments": {"any": ["runners"], "all": [], "none": ["bought-30d"]},
    "geo": {"countries": ["DE"], "regions": [], "cities": ["Berlin"], "zips": [], "fences": [{"lat": 52.52, "lon": 13.40, "meters": 5000}]},
    "devices": ["phone"], "os": ["ios", "android"], "languages": ["de"], "connections": [], "carriers": [],
    "inventory": {"allow": [], "deny": ["example.org"], "apps": [], "categories": [], "deals": [], "exchanges": []},
    "hours": {"monday": [[7, 9], [17, 22]]}, "timezone": "user"
  },
  "caps": [{"per": "line-item", "limit": 3, "window": "24h"}, {"per": "advertiser", "limit": 10, "window": "168h"}], "min_gap": "10m",
  "creatives": ["banner-300x250"]
}`
)

// seed puts an advertiser with all that one line item needs.
func (s *site) seed() {
	s.t.Helper()
	s.want(201, "PUT", "/v1/advertisers/acme", acme)
	s.want(201, "PUT", "/v1/segments/runners", runners)
	s.want(201, "PUT", "/v1/segments/bought-30d", `{"name": "Bought"}`)
	s.want(201, "PUT", "/v1/creatives/banner-300x250", banner)
	s.want(201, "PUT", "/v1/campaigns/spring", spring)
	s.want(201, "PUT", "/v1/line-items/runners-berlin", lineItem)
}

func TestPutIsIdempotent(t *testing.T) {
	s := start(t, nil)
	s.seed()
	first := s.want(200, "GET", "/v1/line-items/runners-berlin", "")
	again := s.want(200, "PUT", "/v1/line-items/runners-berlin", lineItem)
	if again.etag() != first.etag() || again.Body != first.Body || again.etag() == "" {
		t.Errorf("the same PUT changed the document:\n%s %s\n%s %s", first.etag(), first.Body, again.etag(), again.Body)
	}
	// What the API shows can be put back.
	back := s.want(200, "PUT", "/v1/line-items/runners-berlin", first.Body)
	if back.etag() != first.etag() {
		t.Errorf("putting back what was read changed it: %s, want %s", back.etag(), first.etag())
	}
	var got, want map[string]any
	if err := errors.Join(json.Unmarshal([]byte(first.Body), &got), json.Unmarshal([]byte(lineItem), &want)); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"goal", "budget", "caps", "min_gap", "creatives", "flight", "status", "campaign"} {
		if a, b := fmt.Sprint(got[field]), fmt.Sprint(want[field]); a != b {
			t.Errorf("%s = %s, want %s", field, a, b)
		}
	}
	other := s.want(200, "PUT", "/v1/line-items/runners-berlin", strings.Replace(lineItem, "0.80", "0.9", 1))
	if other.etag() == first.etag() || !strings.Contains(other.Body, `"0.90"`) {
		t.Errorf("a changed PUT: %s %s, want a new version and the amount with two decimals", other.etag(), other.Body)
	}
}

func TestVersions(t *testing.T) {
	s := start(t, nil)
	first := s.want(201, "PUT", "/v1/segments/runners", runners)
	if got := first.Header.Get("Location"); got != "/v1/segments/runners" {
		t.Errorf("Location %q, want /v1/segments/runners", got)
	}
	second := s.want(200, "PUT", "/v1/segments/runners", `{"name": "B"}`, "If-Match", first.etag())
	stale := s.want(412, "PUT", "/v1/segments/runners", `{"name": "C"}`, "If-Match", first.etag())
	stale.problems(t)
	s.want(412, "DELETE", "/v1/segments/runners", "", "If-Match", first.etag())
	s.want(412, "PUT", "/v1/segments/runners", `{"name": "C"}`, "If-None-Match", "*")
	s.want(422, "PUT", "/v1/segments/runners", `{"name": "C"}`, "If-None-Match", `"7"`)
	s.want(412, "PUT", "/v1/segments/nobody", `{"name": "C"}`, "If-Match", "*")
	s.want(412, "DELETE", "/v1/segments/nobody", "", "If-Match", "*")
	s.want(412, "PUT", "/v1/segments/runners", `{"name": "C"}`, "If-Match", `"not-ours"`)
	s.want(200, "PUT", "/v1/segments/runners", `{"name": "D"}`, "If-Match", `"1", W/`+second.etag())
	s.want(204, "DELETE", "/v1/segments/runners", "", "If-Match", "*")
	s.want(404, "DELETE", "/v1/segments/runners", "")
	s.want(404, "GET", "/v1/segments/runners", "")
	again := s.want(201, "PUT", "/v1/segments/runners", runners, "If-None-Match", "*")
	if !strings.Contains(again.Body, `"number":2`) {
		t.Errorf("created again as %s, want a number that was never given", again.Body)
	}
}

func TestPost(t *testing.T) {
	s := start(t, nil)
	made := s.want(201, "POST", "/v1/segments", runners)
	at := made.Header.Get("Location")
	if !strings.HasPrefix(at, "/v1/segments/segment-") {
		t.Fatalf("Location %q, want one of a new id", at)
	}
	if got := s.want(200, "GET", at, ""); got.Body != made.Body {
		t.Errorf("GET = %s, want what POST answered: %s", got.Body, made.Body)
	}
	s.want(201, "POST", "/v1/segments", `{"id": "mine", "name": "Mine"}`)
	s.want(409, "POST", "/v1/segments", `{"id": "mine", "name": "Mine"}`).problems(t)
	s.want(422, "POST", "/v1/segments", `{"id": "Not An Id", "name": "Mine"}`)
}

func TestList(t *testing.T) {
	s := start(t, nil)
	empty := s.want(200, "GET", "/v1/segments", "")
	if strings.TrimSpace(empty.Body) != `{"items":[]}` {
		t.Errorf("an empty list is %s", empty.Body)
	}
	for i := range 7 {
		s.want(201, "PUT", fmt.Sprintf("/v1/segments/s%d", i), runners)
	}
	var ids []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page := s.want(200, "GET", "/v1/segments?limit=3&cursor="+cursor, "")
		var p struct {
			Items []struct{ ID string }
			Next  string
		}
		if err := json.Unmarshal([]byte(page.Body), &p); err != nil || len(p.Items) > 3 || pages > 2 {
			t.Fatalf("page %d: %v: %s", pages, err, page.Body)
		}
		for _, item := range p.Items {
			ids = append(ids, item.ID)
		}
		cursor = p.Next
	}
	if got := strings.Join(ids, " "); got != "s0 s1 s2 s3 s4 s5 s6" {
		t.Errorf("listed %s", got)
	}
	s.want(422, "GET", "/v1/segments?limit=0", "").problems(t)
	s.want(422, "GET", "/v1/segments?limit=1001", "")
}

// YAML makes numbers of what is not in quotes.
func TestNumbersForTexts(t *testing.T) {
	s := start(t, nil)
	s.seed()
	fees := s.want(422, "PUT", "/v1/line-items/x", `{"campaign": "spring", "name": "x", "goal": {"type": "cpm", "value": "2", "max_cpa": 25}, "fees": {"share": 0.15, "cpm": 0.5}}`)
	for _, want := range []string{`write it in quotes, such as \"0.15\"`, `write it in quotes, such as \"0.50\"`, `write it in quotes, such as \"25.00\"`} {
		if !strings.Contains(fees.Body, want) {
			t.Errorf("no %s in %s", want, fees.Body)
		}
	}
	a := s.want(422, "PUT", "/v1/campaigns/x", `{"advertiser": "acme", "name": 7, "budget": {"daily": 5, "total": 0.255}}`)
	for _, want := range []string{`write it in quotes, such as \"7\"`, `write it in quotes, such as \"5.00\"`, `write it in quotes, such as \"0.255\"`} {
		if !strings.Contains(a.Body, want) {
			t.Errorf("no %s in %s", want, a.Body)
		}
	}
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	s := start(t, nil)
	s.seed()
	tests := []struct {
		name, path, body string
		want             []string
	}{
		{"line item", "line-items/x", `{"campaign": "nowhere", "name": "", "status": "on", "colour": "red", "flight": {"start": "2026-12-02T00:00:00Z", "end": "2026-12-01T00:00:00Z"},
			"budget": {"daily": "-1", "total": 5}, "goal": {"type": "cpc", "value": "0"}, "pacing": "slow",
			"targeting": {"devices": ["fridge"], "geo": {"countries": ["Germany"], "regions": ["US-CA"], "fences": [{"lat": 91, "lon": 0, "meters": 0}]},
				"hours": {"noday": [[1, 2]]}, "segments": {"any": ["nobody"], "all": ["UPPER"]}, "inventory": {"deny": ["https://x.example/"], "exchanges": ["nowhere"]}},
			"caps": [{"per": "month", "limit": 0, "window": "1 day"}], "min_gap": "0s", "creatives": ["nothing"]}`,
			[]string{"body.budget.daily", "body.budget.total", "body.campaign", "body.caps[0].limit", "body.caps[0].per", "body.caps[0].window", "body.colour", "body.creatives[0]",
				"body.flight.end", "body.goal.max_cpm", "body.goal.value", "body.min_gap", "body.name", "body.pacing", "body.status", "body.targeting.devices[0]",
				"body.targeting.geo.countries[0]", "body.targeting.geo.fences[0].lat", "body.targeting.geo.fences[0].meters", "body.targeting.geo.regions[0]",
				"body.targeting.hours", "body.targeting.inventory.deny[0]", "body.targeting.inventory.exchanges[0]", "body.targeting.segments.all[0]", "body.targeting.segments.any[0]"}},
		{"nothing at all", "line-items/x", `{}`, []string{"body.campaign", "body.goal", "body.name"}},
		{"case of names", "segments/x", `{"Name": "x"}`, []string{"body.Name", "body.name"}},
		{"wrong types", "campaigns/x", `{"advertiser": 1, "name": ["x"], "budget": "1", "flight": null}`, []string{"body.advertiser", "body.budget", "body.name"}},
		{"advertiser", "advertisers/x", `{"name": "x", "domains": ["1.2.3.4", "no dots"], "timezone": "Mars/Base"}`, []string{"body.domains[0]", "body.domains[1]", "body.timezone"}},
		{"banner", "creatives/x", `{"advertiser": "acme", "type": "banner", "click_url": "javascript:alert(1)", "duration": "15s", "attributes": [64]}`,
			[]string{"body.attributes[0]", "body.click_url", "body.duration", "body.height", "body.image", "body.width"}},
		{"banner of an unknown picture", "creatives/x", `{"advertiser": "acme", "type": "banner", "width": 1, "height": 1, "click_url": "https://a.example/", "image": "https://a.example/pic"}`, []string{"body.mime"}},
		{"macro in the host of the landing page", "creatives/x", strings.Replace(banner, "https://acme-shoes.example/", "https://{CAMPAIGN}.example/", 1), []string{"body.click_url"}},
		{"half a macro in the landing page", "creatives/x", strings.Replace(banner, "https://acme-shoes.example/", "https://a.example/?c={CLICK_ID", 1), []string{"body.click_url"}},
		{"video", "creatives/x", `{"advertiser": "acme", "type": "video", "click_url": "https://a.example/", "duration": "1500ms", "html": "<b>", "media_files": [{"url": "ftp://x", "mime": "audio/mpeg"}]}`,
			[]string{"body.duration", "body.html", "body.media_files[0].mime", "body.media_files[0].url", "body.media_files[0].width"}},
		{"audio", "creatives/x", `{"advertiser": "acme", "type": "audio", "click_url": "https://a.example/"}`, []string{"body.duration", "body.media_files"}},
		{"native", "creatives/x", `{"advertiser": "nobody", "type": "native", "click_url": "https://a.example/", "icon": {"url": "x", "width": 80, "height": 80}, "language": "german"}`,
			[]string{"body.advertiser", "body.icon.url", "body.language", "body.title"}},
		{"products", "creatives/x", `{"advertiser": "acme", "type": "native", "title": "{PRODUCT_TITLE}", "click_url": "https://a.example/", "main": {"url": "{PRODUCT_IMAGE}", "width": 80, "height": 80},
			"products": [{"id": "a b", "title": ""}, {"id": "a", "title": "x", "image": "x", "url": "javascript:x", "segments": ["runners", "runners", "UPPER"], "name": "Ann"}, {"id": "a", "title": "y"}]}`,
			[]string{"body.products[0].id", "body.products[0].title", "body.products[1].image", "body.products[1].name", "body.products[1].segments[1]", "body.products[1].segments[2]", "body.products[1].url", "body.products[2].id"}},
		{"product for an unknown segment", "creatives/x", `{"advertiser": "acme", "type": "native", "title": "{PRODUCT_TITLE}", "click_url": "https://a.example/", "products": [{"id": "a", "title": "x", "segments": ["nobody"]}]}`,
			[]string{"body.products[0].segments[0]"}},
		{"rotation", "line-items/x", `{"campaign": "spring", "name": "x", "goal": {"type": "cpm", "value": "1"}, "creatives": ["banner-300x250"], "rotation": "random", "weights": {"nobody": 0}, "sequence_repeat": true}`,
			[]string{"body.rotation", "body.sequence_repeat", "body.weights"}},
		{"weights", "line-items/x", `{"campaign": "spring", "name": "x", "goal": {"type": "cpm", "value": "1"}, "creatives": ["banner-300x250"], "rotation": "weighted", "weights": {"banner-300x250": 1001, "video.1": 3}}`,
			[]string{"body.weights.banner-300x250", "body.weights.video.1"}},
		{"deal", "deals/x", `{"deal": "", "exchange": "nowhere", "floor": "1.1234567"}`, []string{"body.deal", "body.exchange", "body.floor"}},
		{"exchange", "exchanges/x", `{"profile": []}`, []string{"body.profile"}},
		{"id of the body", "segments/x", `{"id": "y", "name": "x"}`, []string{"body.id"}},
		{"id of the path", "segments/X!", `{"name": "x"}`, []string{"path.id"}},
		{"duration of a segment", "segments/x", `{"name": "x", "ttl": "7d"}`, []string{"body.ttl"}},
		{"money", "line-items/x", `{"campaign": "spring", "name": "x", "budget": {"total": "0", "daily": "0.00"}, "limits": {"impressions": {"total": 0, "daily": 1.5}, "clicks": {"daily": 1000000000001}, "wins": {}},
			"fees": {"share": "5.0001", "cpm": "4000.000001"}, "goal": {"type": "cpc", "value": "1", "max_cpm": "2", "max_cpc": "0", "max_cpa": "-1"}}`,
			[]string{"body.budget.daily", "body.budget.total", "body.fees.cpm", "body.fees.share", "body.goal.max_cpa", "body.goal.max_cpc",
				"body.limits.clicks.daily", "body.limits.impressions.daily", "body.limits.impressions.total", "body.limits.wins"}},
		{"fees of more than a ceiling", "line-items/x", `{"campaign": "spring", "name": "x", "fees": {"cpm": "2"}, "goal": {"type": "cpc", "value": "1", "max_cpm": "2"}}`, []string{"body.fees.cpm"}},
		{"fees of more than a goal", "line-items/x", `{"campaign": "spring", "name": "x", "fees": {"share": "0.1", "cpm": "2"}, "goal": {"type": "cpm", "value": "2", "max_cpm": "9"}}`, []string{"body.fees.cpm"}},
		{"limits of a campaign", "campaigns/x", `{"advertiser": "acme", "name": "x", "limits": {"clicks": {"total": -1}}}`, []string{"body.limits.clicks.total"}},
		{"dead hours", "line-items/x", strings.Replace(lineItem, `[[7, 9], [17, 22]]`, `[]`, 1), []string{"body.targeting.hours"}},
		{"segments that exclude one another", "line-items/x", strings.Replace(lineItem, `"none": ["bought-30d"]`, `"none": ["runners"]`, 1), []string{"body.targeting.segments.none[0]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.do("PUT", "/v1/"+tt.path, tt.body)
			if a.Status != 422 {
				t.Fatalf("status %d, want 422: %s", a.Status, a.Body)
			}
			if got := a.problems(t); !slices.Equal(got, tt.want) {
				t.Errorf("wrong fields\n got %q\nwant %q\n%s", got, tt.want, a.Body)
			}
		})
	}
}

func TestBodiesThatCannotBeRead(t *testing.T) {
	s := start(t, nil)
	for name, body := range map[string]string{
		"not JSON": `{`, "two objects": `{} {}`, "a list": `[]`, "null": `null`, "deep": strings.Repeat("[", 20000),
	} {
		if a := s.do("PUT", "/v1/segments/x", body); a.Status != 400 {
			t.Errorf("%s: status %d, want 400: %.200s", name, a.Status, a.Body)
		} else {
			a.problems(t)
		}
	}
	s.want(400, "PUT", "/v1/segments/x", "").problems(t)
	s.want(413, "PUT", "/v1/segments/x", `{"name": "`+strings.Repeat("x", 1<<20)+`"}`).problems(t)
	s.want(415, "PUT", "/v1/segments/x", runners, "Content-Type", "text/plain").problems(t)
	s.want(201, "PUT", "/v1/segments/x", runners, "Content-Type", "application/json; charset=utf-8")
	s.want(413, "POST", "/v1/apply", strings.Repeat(" ", 16<<20+1)).problems(t)
	s.want(404, "GET", "/v1/nothing", "").problems(t)
	if a := s.want(405, "PATCH", "/v1/segments/x", ""); !strings.Contains(a.Header.Get("Allow"), "PUT") {
		t.Errorf("405 allows %q, want PUT among them", a.Header.Get("Allow"))
	}
}

func TestReferencedDocumentsStay(t *testing.T) {
	s := start(t, nil)
	s.seed()
	for path, by := range map[string]string{
		"/v1/advertisers/acme":         "/v1/campaigns/spring",
		"/v1/campaigns/spring":         "/v1/line-items/runners-berlin",
		"/v1/segments/bought-30d":      "/v1/line-items/runners-berlin",
		"/v1/creatives/banner-300x250": "/v1/line-items/runners-berlin",
	} {
		a := s.want(409, "DELETE", path, "")
		if at := a.problems(t); !slices.Contains(at, by) {
			t.Errorf("DELETE %s is refused because of %q, want %s among them", path, at, by)
		}
	}
	for _, path := range []string{"/v1/line-items/runners-berlin", "/v1/campaigns/spring", "/v1/creatives/banner-300x250", "/v1/segments/runners", "/v1/segments/bought-30d", "/v1/advertisers/acme"} {
		s.want(204, "DELETE", path, "")
	}
}

func TestCreativesOfOthers(t *testing.T) {
	s := start(t, nil)
	s.seed()
	s.want(201, "PUT", "/v1/advertisers/other", acme)
	s.want(201, "PUT", "/v1/creatives/foreign", strings.Replace(banner, `"acme"`, `"other"`, 1))
	a := s.want(422, "PUT", "/v1/line-items/x", strings.Replace(lineItem, `"banner-300x250"`, `"foreign"`, 1))
	if got := a.problems(t); !slices.Equal(got, []string{"body.creatives[0]"}) {
		t.Errorf("wrong fields %q, want the creative", got)
	}
}

func TestPartsHaveTheirSay(t *testing.T) {
	s := start(t, func(p *admin.Parts) {
		p.Answer = func(c *rtb.Creative) error {
			if c.Assets.Title == "bad" {
				return errors.New("title: no good")
			}
			return nil
		}
		p.ValidateExchange = func(name string, profile json.RawMessage) error {
			if name != "index" || !strings.Contains(string(profile), "max_qps") {
				return errors.New("max_qps: missing")
			}
			return nil
		}
		p.RedactExchange = func(json.RawMessage) json.RawMessage { return json.RawMessage(`{"token":"-"}`) }
		p.SegmentSize = func(id rtb.SegmentID) (int64, error) { return int64(id) * 100, nil }
	})
	s.want(201, "PUT", "/v1/advertisers/acme", acme)
	native := `{"advertiser": "acme", "type": "native", "title": "%s", "click_url": "https://a.example/"}`
	bad := s.want(422, "PUT", "/v1/creatives/n", fmt.Sprintf(native, "bad"))
	if !strings.Contains(bad.Body, "no good") {
		t.Errorf("%s does not say what is wrong with the assets", bad.Body)
	}
	s.want(201, "PUT", "/v1/creatives/n", fmt.Sprintf(native, "good"))
	s.want(422, "PUT", "/v1/exchanges/index", `{"profile": {}}`)
	made := s.want(201, "PUT", "/v1/exchanges/index", `{"profile": {"max_qps": 5, "token": "secret"}}`)
	for _, a := range []answer{made, s.want(200, "GET", "/v1/exchanges/index", ""), s.want(200, "GET", "/v1/exchanges", "")} {
		if strings.Contains(a.Body, "secret") {
			t.Errorf("%s shows a secret", a.Body)
		}
	}
	list, _, err := admin.ExchangeDocuments(t.Context(), s.docs)
	if err != nil || len(list) != 1 || list[0].Name != "index" || !strings.Contains(string(list[0].Profile), "secret") {
		t.Errorf("ExchangeDocuments = %v, %v, want the profile as it was put", list, err)
	}
	s.want(201, "PUT", "/v1/segments/a", runners)
	if a := s.want(200, "GET", "/v1/segments/a", ""); !strings.Contains(a.Body, `"size":100`) {
		t.Errorf("%s, want the size 100", a.Body)
	}
	back := s.want(200, "GET", "/v1/segments/a", "")
	if again := s.want(200, "PUT", "/v1/segments/a", back.Body); again.etag() != back.etag() {
		t.Error("the size that is read became part of the document")
	}
}

func TestOperations(t *testing.T) {
	ready := errors.New("no catalog yet")
	s := start(t, func(p *admin.Parts) { p.Ready = func() error { return ready } })
	s.want(200, "GET", "/healthz", "")
	if a := s.want(503, "GET", "/readyz", ""); !strings.Contains(a.Body, "no catalog yet") {
		t.Errorf("readyz says %q", a.Body)
	}
	ready = nil
	s.want(200, "GET", "/readyz", "")
	if a := s.want(200, "GET", "/metrics", ""); !strings.Contains(a.Body, "bidwell_admin_requests_total") || !strings.Contains(a.Body, "process_resident_memory_bytes") {
		t.Errorf("metrics lack our counter or those of the process")
	}
	s.want(200, "GET", "/debug/pprof/goroutine?debug=1", "")
	if a := s.want(302, "GET", "/", ""); a.Header.Get("Location") != "/docs" {
		t.Errorf("/ leads to %q, want /docs", a.Header.Get("Location"))
	}
	docs := s.want(200, "GET", "/docs", "")
	for _, want := range []string{"/v1/line-items/{id}", "upload-members", "max_cpm"} {
		if !strings.Contains(docs.Body, want) {
			t.Errorf("/docs lacks %s", want)
		}
	}
	for _, no := range []string{"<script", "src=", "//cdn", "@import"} {
		if strings.Contains(docs.Body, no) {
			t.Errorf("/docs has %s: it must work without a network", no)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store"} {
		if got := docs.Header.Get(name); got != want {
			t.Errorf("header %s %q, want %q", name, got, want)
		}
	}
}

func TestWebPagesAreKeptOut(t *testing.T) {
	s := start(t, nil)
	local := strings.TrimPrefix(s.url, "http://")
	tests := []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"a script without a browser", "PUT", nil, 201},
		{"our own page", "PUT", []string{"Sec-Fetch-Site", "same-origin", "Origin", s.url}, 200},
		{"localhost", "GET", []string{"Host", "localhost:1"}, 200},
		{"IPv6", "GET", []string{"Host", "[::1]:8081"}, 200},
		{"a rebound name", "GET", []string{"Host", "evil.example"}, 421},
		{"a name that looks local", "GET", []string{"Host", "127.0.0.1.evil.example"}, 421},
		{"another address", "GET", []string{"Host", "192.168.1.1:8081"}, 421},
		{"a form on another site", "PUT", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"another port", "PUT", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"an old browser", "PUT", []string{"Origin", "https://evil.example"}, 403},
		{"an origin of nowhere", "DELETE", []string{"Origin", "null"}, 403},
		{"an image on another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a link on another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"the same host", "GET", []string{"Host", local}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.do(tt.method, "/v1/segments/a", runners, tt.headers...)
			if a.Status != tt.want {
				t.Errorf("status %d, want %d: %s", a.Status, tt.want, a.Body)
			}
		})
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	docs := documents(t)
	for listen, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true,
		":8081": false, "0.0.0.0:8081": false, "10.0.0.1:8081": false, "[::]:8081": false, "example.com:80": false, "8081": false, "": false,
	} {
		cfg := admin.DefaultConfig()
		cfg.Listen = listen
		_, err := admin.New(cfg, admin.Parts{Documents: docs})
		if (err == nil) != ok {
			t.Errorf("New with listen %q: %v, want success %t", listen, err, ok)
		}
	}
	if _, err := admin.New(admin.DefaultConfig(), admin.Parts{}); err == nil {
		t.Error("New without Documents succeeded")
	}
	cfg := admin.DefaultConfig()
	cfg.MaxBody, cfg.DrainWait = 0, 0
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "max-body") || !strings.Contains(err.Error(), "drain-wait") {
		t.Errorf("Validate = %v, want both settings named", err)
	}
}

func TestServeDrains(t *testing.T) {
	reading, release := make(chan struct{}), make(chan struct{})
	cfg := admin.DefaultConfig()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = listener.Addr().String()
	server, err := admin.New(cfg, admin.Parts{Documents: documents(t), Ready: func() error {
		close(reading)
		<-release
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(t.Context()); err == nil {
		t.Error("Listen on an address that is taken succeeded")
	}
	ctx, stop := context.WithCancel(t.Context())
	served, got := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		resp, err := client.Get("http://" + cfg.Listen + "/readyz")
		if err == nil {
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				err = errors.New(resp.Status)
			}
		}
		got <- err
	}()
	<-reading
	stop()
	close(release)
	if err := <-got; err != nil {
		t.Errorf("the request that ran at the stop: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestOpenAPIIsCommitted(t *testing.T) {
	s := start(t, nil)
	served := s.want(200, "GET", "/openapi.json", "")
	if *update {
		if err := os.WriteFile("openapi.json", []byte(served.Body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, []byte(served.Body)) {
		t.Error("openapi.json differs from what is served: run go test ./admin -run OpenAPI -update")
	}
	if !strings.Contains(served.Body, `"openapi": "3.1.0"`) {
		t.Error("not OpenAPI 3.1")
	}
}

func TestWatch(t *testing.T) {
	cfg := admin.DefaultConfig()
	cfg.Listen = "0.0.0.0:8081"
	if _, err := admin.NewWatch(cfg, nil); err == nil {
		t.Error("NewWatch listens for all the world")
	}
	cfg.Listen = "127.0.0.1:0"
	ready := errors.New("not yet")
	server, err := admin.NewWatch(cfg, func() error { return ready })
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) int {
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+path, nil))
		return w.Code
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200, "/debug/pprof/": 200, "/": 404, "/v1/models": 404} {
		if got := get(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if ready = nil; get("/readyz") != 200 {
		t.Error("ready, and /readyz says otherwise")
	}
}
