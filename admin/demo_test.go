package admin_test

import (
	"os"
	"strings"
	"testing"

	"bidwell/admin"
	"bidwell/bidder/exchange"
	"bidwell/bidder/openrtb"
	"bidwell/rtb"
	"bidwell/targeting"
)

// The demo's documents are applied by every first run of the program: all of
// them must serve, with the real markup, and be there after a second time.
func TestDemoServes(t *testing.T) {
	f, err := os.Open("../cmd/bidwell/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	documents, err := admin.ReadFile("demo.yaml", f)
	if err != nil {
		t.Fatal(err)
	}
	known := func(name string) (rtb.ExchangeID, bool) {
		id := exchange.BuiltinID(name)
		return id, id != 0
	}
	answer := func(c *rtb.Creative) error { return openrtb.Compile(c, "https://bid.example.com") }
	s := start(t, func(p *admin.Parts) { p.ExchangeID, p.Answer = known, answer })
	first, err := s.client().Apply(t.Context(), documents, false)
	if err != nil || first.Created != len(documents) {
		t.Fatalf("Apply = %+v, %v", first, err)
	}
	again, err := s.client().Apply(t.Context(), documents, false)
	if err != nil || again.Unchanged != len(documents) {
		t.Fatalf("second Apply changed something: %+v, %v", again, err)
	}
	compiler := admin.NewCompiler(s.docs, known, answer)
	items, _, err := compiler.LineItems(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := compiler.Problems(t.Context()); len(problems) > 0 || err != nil {
		t.Errorf("problems %v, %v", problems, err)
	}
	if _, err := targeting.Build(items); err != nil {
		t.Errorf("Build: %v", err)
	}
	templates, byConversion := 0, 0
	formats := map[rtb.Media]bool{} // of line items without targeting
	for i := range items {
		checkLineItem(t, &items[i])
		converts := items[i].Goal.Type == rtb.GoalCPA || items[i].Goal.Type == rtb.GoalROAS
		if converts {
			byConversion++
		}
		for _, c := range items[i].Creatives {
			ads := []*rtb.Creative{&c}
			if converts && !strings.Contains(c.ClickURL, "?click_id={CLICK_ID}") {
				t.Errorf("no conversion can come of creative %s of %s: %s", c.Key, items[i].Key, c.ClickURL)
			}
			if len(c.Products) > 0 {
				templates, ads = templates+1, nil
			}
			for _, p := range c.Products {
				ads = append(ads, p.Ad)
			}
			for _, ad := range ads {
				if !c.Secure || len(ad.Answer) == 0 {
					t.Errorf("creative %s %s is not secure, or has no answer", c.Key, ad.Product)
				}
			}
			if show(rtb.LineItem{Targeting: items[i].Targeting}) == show(rtb.LineItem{}) {
				formats[c.Media] = true
			}
		}
	}
	if byConversion < 2 {
		t.Errorf("%d line items with goals of conversions, want at least 2", byConversion)
	}
	if templates == 0 {
		t.Error("no line item shows a template")
	}
	if len(items) < 40 || len(formats) != 4 {
		t.Errorf("%d line items, formats without targeting %v: want at least 40 and all four", len(items), formats)
	}
}
