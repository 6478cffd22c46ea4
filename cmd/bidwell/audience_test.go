package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runners is a shop whose line item is for a segment only.
var runners = strings.Replace(shop, "creatives: [picture, wide]", "creatives: [picture, wide], targeting: {segments: {any: [runners]}}", 1) + `
segments:
  runners: {name: Runners}
`

func zipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func unzipped(t *testing.T, text string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// load uploads a list to the segment runners.
func (p *program) load(list string, args ...string) (stdout string, err error) {
	p.t.Helper()
	args = append([]string{"audience", "import", "--segment", "runners", write(p.t, "list", list), p.api()}, args...)
	return command(p.t, args...)
}

func (p *program) mustLoad(list string, args ...string) (stdout string) {
	p.t.Helper()
	out, err := p.load(list, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func TestAudienceImport(t *testing.T) {
	p := serve(t)
	p.apply(runners)
	p.awaitKnown("everyone", true)
	p.mustNotBid(from(ann))

	wantText(t, p.mustLoad(ann+"\n"), "runners: 1 read, 1 changed, 0 duplicate, 0 invalid")
	p.mustBid(from(ann))
	p.mustNotBid(from(bob))
	p.mustBid(from(strings.ToUpper(ann)))

	wantText(t, p.mustLoad(zipped(t, bob+"\n"+ann+"\n")), "2 read, 1 changed, 1 duplicate")
	p.mustBid(from(bob))
	p.mustBid(from(ann))

	wantText(t, p.mustLoad(ann+"\n", "--mode", "remove"), "1 read, 1 changed")
	p.mustNotBid(from(ann))
	p.mustBid(from(bob))

	table := "name,device_id,email\r\nAnn," + ann + ",ann@example.com\r\n\"Bob, jr.\",,bob@example.com\r\n"
	wantText(t, p.mustLoad(table, "--mode", "replace"), "3 read, 3 changed")
	p.mustBid(from(ann))
	p.mustNotBid(from(bob))

	out := p.mustLoad("cookie-of-bob\n", "--kind", "cookie", "--json")
	wantText(t, out, `"read":1`, `"added":1`, `"errors":[]`)
	cookie := strings.Replace(from(bob), `"device"`, `"user":{"buyeruid":"cookie-of-bob"},"device"`, 1)
	p.mustBid(cookie)
	p.mustNotBid(strings.Replace(cookie, `"device":{`, `"regs":{"gdpr":1},"device":{`, 1))
}

func TestAudienceImportReportsLines(t *testing.T) {
	p := serve(t)
	p.apply(runners)
	p.awaitKnown("everyone", true)
	const secret = "Ann.Private@example"
	list := "email,device_id\n" + secret + ",\nann@example.com,not-a-device\n\"open,\n," + ann + "\n,00000000-0000-0000-0000-000000000000\n"
	out := p.mustLoad(list)
	wantText(t, out, "6 read, 2 changed, 0 duplicate, 4 invalid", "line 2: not an e-mail address", "line 3: not a device id", "line 4: quotes", "line 6: a device id of zeros")
	for _, raw := range []string{secret, "not-a-device", "ann@example.com", ann} {
		if strings.Contains(out, raw) {
			t.Errorf("%s is repeated in\n%s", raw, out)
		}
	}
	p.mustBid(from(ann))

	// A list without anybody changes nothing, even when it should replace.
	for _, empty := range []string{"", "\n\n", "device_id\n", "device_id\nnobody\n"} {
		out, err := p.load(empty, "--mode", "replace")
		wantError(t, err, "422", "import into segment runners: refused with 422: the list has no usable identifier")
		if err != nil && strings.Contains(err.Error(), p.data) {
			t.Errorf("the error names the server's files: %v", err)
		}
		if out != "" {
			t.Errorf("import of %q printed %s", empty, out)
		}
	}
	_, err := p.load("device_id\n" + secret + "\n")
	wantError(t, err, "line 2", "not a device id")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error repeats the identifier: %v", err)
	}
	_, err = p.load(zipped(t, ann)[:20], "--mode", "replace")
	wantError(t, err, "422: the list cannot be read: gzip: unexpected EOF")
	p.mustBid(from(ann))

	// Of many bad lines the first are told.
	many := "device_id\n" + strings.Repeat("nobody\n", 103)
	wantText(t, p.mustLoad(many+ann+"\n"), "line 101: not a device id: want a UUID\n  and 3 more\n")
	_, err = p.load(many)
	wantError(t, err, "line 101: not a device id: want a UUID\n  and 3 more")

	// No identifier is left behind in the data folder.
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	wantNowhere(t, p.data, ann, strings.ToUpper(ann), "ann@example.com", secret, strings.ToLower(secret))
}

func TestAudienceImportRefuses(t *testing.T) {
	p := serve(t)
	p.apply(runners)
	long := strings.Repeat(ann+"\n", 200_000) // is not read to its end before the answer comes
	for _, c := range []struct {
		list, segment string
		args          []string
		named         []string
	}{
		{ann, "walkers", nil, []string{"404", `segment "walkers"`}},
		{long, "walkers", nil, []string{"404", `segment "walkers"`}},
		{ann, "runners", []string{"--mode", "swap"}, []string{"422", "mode", "add, replace or remove"}},
		{ann, "runners", []string{"--kind", "shoe-size"}, []string{"422", `kind "shoe-size"`}},
		{ann, "runners", []string{"--ttl", "-1h"}, []string{"422", "ttl"}},
		{"\xff\xfea\x00", "runners", nil, []string{"422", "UTF-16"}},
		{"PK\x03\x04", "runners", nil, []string{"422", "ZIP"}},
		{"name,age\nAnn,40\n", "runners", nil, []string{"line 1", "device_id"}},
	} {
		args := append([]string{"audience", "import", "--segment", c.segment, write(t, "list", c.list), p.api()}, c.args...)
		_, err := command(t, args...)
		wantError(t, err, c.named...)
	}
	_, err := command(t, "audience", "import", "--segment", "runners", "/nonexistent.csv", p.api())
	wantError(t, err, "/nonexistent.csv")
	_, err = command(t, "audience", "import", write(t, "list", ann), p.api())
	wantError(t, err, `"segment"`)
	p.awaitKnown("everyone", true)
	p.mustNotBid(from(ann))
}

// Users are known by their hashes, so the keys that these are made with have
// to outlive the process.
func TestRestartKeepsAudiencesAndKeys(t *testing.T) {
	p := serve(t)
	p.apply(runners)
	p.mustLoad(ann + "\n")
	path := filepath.Join(p.data, "keys")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("keys: %v, %v", info, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.await(from(ann), true)
	b := p.mustBid(from(ann))
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	again := serve(t, "--data", p.data)
	again.await(from(ann), true)
	again.mustNotBid(from(bob))
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the keys changed, %v", err)
	}
	// A notice of a bid from before the restart is still one of ours.
	url := strings.Replace(b.BURL, p.bid, again.bid, 1)
	if status, body := again.get(strings.Replace(url, "${AUCTION_PRICE}", "4", 1)); status != 204 {
		t.Errorf("burl: status %d %s", status, body)
	}
	again.awaitMoney("everyone", "0.004", "0.01") // the other bidder's hold ended with it
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}

	// With other keys nobody is known.
	t.Setenv("BIDWELL_KEYS", write(t, "keys", strings.Repeat("5a", 64)+"\n"))
	other := serve(t, "--data", p.data)
	other.awaitKnown("everyone", true)
	other.mustNotBid(from(ann))
}
