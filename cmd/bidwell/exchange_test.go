package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// putExchange sends a profile to the admin API.
func (p *program) putExchange(name, profile string) (status int, body string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodPut, "http://"+p.admin+"/v1/exchanges/"+name, strings.NewReader(`{"profile":`+profile+`}`))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// serves reports whether an exchange may send requests.
func (p *program) serves(exchange string) bool {
	p.t.Helper()
	resp, err := p.http.Post("http://"+p.bid+"/bid/"+exchange, "application/json", strings.NewReader(request))
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent
}

// Two profiles of one number cannot both serve. The second is refused, and one
// that slipped in stops neither the others nor a start.
func TestExchangesOfOneNumber(t *testing.T) {
	p := serve(t, "--reload", "1h")
	for _, name := range []string{"zeta", "alpha"} { // neither is loaded when the other comes
		if status, body := p.putExchange(name, `{"number":40}`); status != http.StatusCreated {
			t.Fatalf("%s: status %d %s", name, status, body)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	again := serve(t, "--data", p.data)
	if !again.serves("zeta") || again.serves("alpha") {
		t.Errorf("zeta serves: %t, alpha: %t; want the older one", again.serves("zeta"), again.serves("alpha"))
	}
	if _, body := again.get("http://" + again.admin + "/v1/problems"); !strings.Contains(body, `{"kind":"exchanges","id":"alpha","reason":"`) || strings.Contains(body, `"id":"zeta"`) {
		t.Errorf("problems %s, want alpha alone", body)
	}
	if status, body := again.putExchange("beta", `{"number":40}`); status != http.StatusUnprocessableEntity || !strings.Contains(body, `number`) || !strings.Contains(body, "zeta") {
		t.Errorf("status %d %s, want 422 that names zeta", status, body)
	}
	if status, body := again.putExchange("alpha", `{"number":41}`); status != http.StatusOK {
		t.Errorf("status %d %s", status, body)
	}
	eventually(t, patience, "alpha serves", func() bool { return again.serves("alpha") })
	if _, body := again.get("http://" + again.admin + "/v1/problems"); !strings.Contains(body, `"problems":[]`) {
		t.Errorf("problems %s, want none any more", body)
	}
}

// Members are read in any case, so secrets are hidden in any case.
func TestSecretsOfExchangesStayHidden(t *testing.T) {
	p := serve(t)
	const key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
	for _, profile := range []string{
		`{"token":"` + key + `"}`, `{"TOKEN":"` + key + `"}`, `{"to\u212aen":"` + key + `"}`,
		`{"price":{"kind":"encrypted","encryption_key":"` + key + `","integrity_key":"` + key + `"}}`,
		`{"Price":{"kind":"encrypted","Encryption_Key":"` + key + `","INTEGRITY_KEY":"` + key + `"}}`,
	} {
		status, body := p.putExchange("mine", profile)
		_, shown := p.get("http://" + p.admin + "/v1/exchanges/mine")
		if status > 201 || strings.Contains(body+shown, key) || !strings.Contains(shown, "********") {
			t.Errorf("%s: status %d %s, then %s", profile, status, body, shown)
		}
	}
}
