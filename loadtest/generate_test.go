package loadtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func generate(t *testing.T, g Generate) string {
	t.Helper()
	var out, again bytes.Buffer
	if _, err := g.Write(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write(&again); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Errorf("%s: the same settings give other bytes, or %v", g.Kind, err)
	}
	other := g
	other.Seed++
	again.Reset()
	if _, err := other.Write(&again); err != nil || bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Errorf("%s: another seed gives the same bytes, or %v", g.Kind, err)
	}
	return out.String()
}

func TestGenerateRequests(t *testing.T) {
	text := generate(t, Generate{Kind: "requests", Count: 600, Seed: 5, Users: 1000, Exchanges: []string{"google", "index"}})
	lines, err := readLines(nil, "out", strings.NewReader(text))
	if err != nil || len(lines) != 600 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	kinds, exchanges, bytes := map[string]int{}, map[string]int{}, 0
	for _, line := range lines {
		kinds[line.Kind]++
		exchanges[line.Exchange]++
		bytes += len(line.Body)
		root, duplicates, err := parseAnswer(line.Body) // the strict parser
		if err != nil || len(duplicates) > 0 {
			t.Fatalf("%s: %v, twice %v", line.Body, err, duplicates)
		}
		view := readRequest(line.Body)
		if root.get("id").str() == "" || len(view.imps) == 0 || view.hasBroken() || !*line.Valid {
			t.Fatalf("not a valid request: %s", line.Body)
		}
		for _, imp := range view.imps {
			for m, slot := range imp.media {
				if slot != nil && line.Kind != "multi" && line.Kind != mediaNames[m] {
					t.Fatalf("a %s request has a %s slot", line.Kind, mediaNames[m])
				}
			}
			if slot := imp.media[native]; slot != nil && readNativeRequest(slot) == nil {
				t.Fatalf("a native request that cannot be read: %s", slot.raw)
			}
		}
	}
	for _, kind := range []string{"banner", "video", "audio", "native", "multi"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s among %v", kind, kinds)
		}
	}
	if exchanges["google"] == 0 || exchanges["google"]+exchanges["index"] != 600 {
		t.Errorf("exchanges %v", exchanges)
	}
	if mean := bytes / 600; mean < 1000 || mean > 2500 {
		t.Errorf("requests of %d bytes, want about 1500", mean)
	}
}

// Requests must meet the uploaded users.
func TestGenerateUsersAreThoseOfTheRequests(t *testing.T) {
	g := Generate{Kind: "users", Seed: 5, Users: 500}
	devices := map[string]bool{}
	for line := range strings.Lines(generate(t, g)) {
		devices[strings.TrimSpace(line)] = true
	}
	g.ID = MemberCookie
	cookies := map[string]bool{}
	for line := range strings.Lines(generate(t, g)) {
		cookies[strings.TrimSpace(line)] = true
	}
	if len(devices) != 500 || len(cookies) != 500 {
		t.Fatalf("%d devices and %d cookies, want 500", len(devices), len(cookies))
	}
	text := generate(t, Generate{Kind: "requests", Count: 300, Seed: 5, Users: 500})
	hits := 0
	lines, err := readLines(nil, "out", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		root := readRequest(line.Body).root
		ifa, buyer := strings.ToLower(root.get("device", "ifa").str()), root.get("user", "buyeruid").str()
		if devices[ifa] || cookies[buyer] {
			hits++
		} else if ifa != "" && strings.Trim(ifa, "0-") != "" || buyer != "" {
			t.Errorf("neither device %q nor cookie %q is a user's", ifa, buyer)
		}
	}
	if hits < 100 {
		t.Errorf("%d of 300 requests are of known users", hits)
	}

	g = Generate{Kind: "users", Seed: 5, Users: 500, Segment: "runners", ID: MemberEmail}
	members := strings.Count(generate(t, g), "@")
	if members == 0 || members >= 250 {
		t.Errorf("%d of 500 are runners", members)
	}
	g.Count = 3
	if text := generate(t, g); strings.Count(text, "\n") != 3 {
		t.Errorf("not three of them: %q", text)
	}
}

// Every reference must be to a document that is there. That the documents are
// what the admin API takes is tested by the commands, which may know both.
func TestGenerateLineItems(t *testing.T) {
	type item struct {
		Campaign, Advertiser string
		Creatives            []string
		Type                 string
		Targeting            struct {
			Segments struct{ Any, None []string }
			Geo      struct{ Countries []string }
			Hours    map[string][][2]int
		}
	}
	for _, count := range []int{1, 9, 250} {
		text := generate(t, Generate{Kind: "line-items", Count: count, Seed: 3})
		var all map[string]map[string]item
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
		if len(all["line-items"]) != count || len(all) != 5 {
			t.Fatalf("%d line items of %d in %d kinds", len(all["line-items"]), count, len(all))
		}
		must := func(kind, id string) {
			if _, ok := all[kind][id]; !ok {
				t.Errorf("no %s %q", kind, id)
			}
		}
		wide, types := 0, map[string]int{}
		for _, l := range all["line-items"] {
			must("campaigns", l.Campaign)
			owner := all["campaigns"][l.Campaign].Advertiser
			must("advertisers", owner)
			for _, id := range l.Creatives {
				must("creatives", id)
				if k := all["creatives"][id]; k.Advertiser != owner {
					t.Errorf("creative %s of %s for a line item of %s", id, k.Advertiser, owner)
				}
				types[all["creatives"][id].Type]++
			}
			if len(l.Creatives) == 0 {
				t.Error("a line item without creatives")
			}
			for _, id := range append(l.Targeting.Segments.Any, l.Targeting.Segments.None...) {
				must("segments", id)
			}
			if len(l.Targeting.Geo.Countries) == 0 {
				wide++
			}
		}
		if count == 250 && (wide < 25 || wide > 125 || len(types) != 4) {
			t.Errorf("%d of 250 are worldwide, media %v", wide, types)
		}
	}
}

func TestGenerateValidate(t *testing.T) {
	for name, g := range map[string]Generate{
		"kind":    {Kind: "x", Count: 1},
		"count":   {Kind: "requests"},
		"users":   {Kind: "users", Users: -1},
		"segment": {Kind: "users", Segment: "x"},
		"id":      {Kind: "users", ID: "x"},

		"exchanges": {Kind: "requests", Count: 1, Exchanges: []string{`a"b`}},
	} {
		if _, err := g.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	told := 0
	g := Generate{Kind: "users", Users: 3 * progressStep, Progress: func(int) { told++ }}
	if _, err := g.Write(&bytes.Buffer{}); err != nil || told != 3 {
		t.Errorf("told %d times, %v", told, err)
	}
	if _, err := g.Write(failing{}); err == nil {
		t.Error("no error when nothing can be written")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, fmt.Errorf("full") }
