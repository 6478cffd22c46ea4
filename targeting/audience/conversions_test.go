package audience_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
	"bidwell/store/storetest"
	"bidwell/targeting/audience"
)

// twoAdvertisers are how lists of the tests are read.
func twoAdvertisers() audience.Conversions {
	return audience.Conversions{
		Advertisers: map[string]rtb.AdvertiserID{"acme": 1, "zenith": 2}, Advertiser: 1,
		From: storetest.Now.Add(-30 * 24 * time.Hour), To: storetest.Now.Add(10 * time.Minute),
	}
}

func readConversions(t testing.TB, c audience.Conversions, list string) (all []rtb.Event, count audience.Count, err error) {
	t.Helper()
	im := audience.NewImporter(nil, &salt) // which only lists of members need
	count, err = im.ReadConversions(context.Background(), c, strings.NewReader(list), nil, func(e *rtb.Event) error {
		all = append(all, *e)
		return nil
	})
	return all, count, err
}

func packed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever the form of the list, it says the same.
func TestReadConversionsForms(t *testing.T) {
	at := storetest.Now.Add(-time.Hour).Truncate(time.Second)
	stamp, unix := at.Format(time.RFC3339), at.Unix()
	zone := at.In(time.FixedZone("", 5400)).Format(time.RFC3339)
	csv := fmt.Sprintf("id,time,value,order,advertiser\n%s,%s,12.50,A-1,acme\nada@gmail.com,%d,,\"B,\"\"2\",zenith\n", uuid, stamp, unix)
	want, count, err := readConversions(t, twoAdvertisers(), csv)
	if err != nil || count.Read != 2 || count.Invalid != 0 || len(want) != 2 {
		t.Fatalf("%+v, %v: %+v", count, err, want)
	}
	for i, e := range []rtb.Event{
		{Type: rtb.EventConversion, User: user(rtb.IDDevice, strings.ToLower(uuid)), Value: 12_500_000_000, Advertiser: 1},
		{Type: rtb.EventConversion, User: user(rtb.IDEmail, hashed("ada@gmail.com")), Advertiser: 2},
	} {
		got := want[i]
		if !got.Time.Equal(at) || !got.Made.Equal(at) || got.Bid == (rtb.BidID{}) || !got.Uploaded() {
			t.Errorf("%+v", got)
		}
		got.Time, got.Made, got.Bid = time.Time{}, time.Time{}, rtb.BidID{}
		if got != e {
			t.Errorf("conversion %d is %+v, want %+v", i, got, e)
		}
	}
	for name, list := range map[string]string{
		"gzip":             packed(t, csv),
		"byte order mark":  "\ufeff" + csv,
		"semicolons":       strings.ReplaceAll(strings.Replace(csv, `"B,""2"`, "B|2", 1), ",", ";"),
		"other headings":   strings.Replace(csv, "id,", "Identifier, ", 1),
		"lines of Windows": strings.ReplaceAll(csv, "\n", "\r\n"),
		"another zone":     strings.Replace(csv, stamp, zone, 1),
		"JSON": fmt.Sprintf(`{"id":%q,"time":%q,"value":"12.50","order":"A-1"}`+"\n\n"+
			`  {"email": "A.da+x@gmail.com", "TIME": %d, "order": "B,\"2", "advertiser": "zenith", "value": null}`, strings.ToLower(uuid), stamp, unix),
		"JSON of numbers": fmt.Sprintf(`{"device_id":%q,"time":%d,"value":12.50,"order":"A-1","advertiser":"acme"}`+"\n"+
			`{"sha256_email":%q,"time":"%d","order":"B,\"2","advertiser":"zenith"}`, uuid, unix, hashed("ada@gmail.com"), unix),
	} {
		got, _, err := readConversions(t, twoAdvertisers(), list)
		same := len(got) == len(want) && err == nil
		for i := range got {
			got[i].Time, got[i].Made = want[i].Time, want[i].Made
			same = same && (got[i] == want[i] || name == "semicolons" && i == 1) // it has another order
		}
		if !same {
			t.Errorf("%s: %v: %+v, want %+v", name, err, got, want)
		}
	}
}

// An order is the same in whatever list it comes, and another one of another
// advertiser. Conversions without one are told apart by all that they say.
func TestReadConversionsKnowsOrders(t *testing.T) {
	at := storetest.Now.Add(-time.Hour).Unix()
	bid := func(line string) rtb.BidID {
		t.Helper()
		got, _, err := readConversions(t, twoAdvertisers(), "cookie,time,value,order,advertiser\n"+line)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v", line, err)
		}
		return got[0].Bid
	}
	ordered, plain := bid(fmt.Sprintf("cookie-one,%d,1,A-1,", at)), bid(fmt.Sprintf("cookie-one,%d,1,,", at))
	for line, want := range map[string]rtb.BidID{
		fmt.Sprintf("cookie-two,%d,2, A-1 ,acme", at-7200): ordered, // corrected since
		fmt.Sprintf("cookie-one,%d,1.00,,acme", at):        plain,
	} {
		if bid(line) != want {
			t.Errorf("%s is another conversion", line)
		}
	}
	seen := map[rtb.BidID]string{ordered: "", plain: ""}
	for _, line := range []string{
		"cookie-one,%d,1,A-2,", "cookie-one,%d,1,a-1,", "cookie-one,%d,1,A-1,zenith",
		"cookie-two,%d,1,,", "cookie-one,%d,1.01,,", "cookie-one,%d,1,,zenith", "cookie-one,1%d,1,,",
	} {
		line = strings.Replace(line, "1%d", fmt.Sprint(at+1), 1)
		if strings.Contains(line, "%d") {
			line = fmt.Sprintf(line, at)
		}
		id := bid(line)
		if other, known := seen[id]; known {
			t.Errorf("%s is taken for %q", line, other)
		}
		seen[id] = line
	}
}

func TestReadConversionsRefusesLines(t *testing.T) {
	now := storetest.Now
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	good := "cookie-one," + stamp(0) + ",1,A-0,acme"
	for _, tt := range []struct{ line, reason string }{
		{"ada," + stamp(0) + ",,,", "not a cookie of ours"},
		{"," + stamp(0) + ",,,", "no identifier"},
		{"cookie-one,,,,", "time: want RFC 3339"},
		{"cookie-one,2026-11-28,,,", "time: want RFC 3339"},
		{"cookie-one,2026-11-28T15:00:00,,,", "time: want RFC 3339"}, // in which zone?
		{"cookie-one,0,,,", "time: want RFC 3339"},
		{"cookie-one," + stamp(11*time.Minute) + ",,,", "still to come"},
		{fmt.Sprintf("cookie-one,%d,,,", now.UnixMilli()), "Unix times are in seconds"},
		{"cookie-one," + stamp(-31*24*time.Hour) + ",,,", "time: before " + stamp(-30*24*time.Hour)},
		{"cookie-one," + stamp(0) + ",\"12,50\",,", "value: want an amount"},
		{"cookie-one," + stamp(0) + ",-1,,", "value: want an amount"},
		{"cookie-one," + stamp(0) + ",10000000.01,,", "value: want an amount"},
		{"cookie-one," + stamp(0) + ",1e3,,", "value: want an amount"},
		{"cookie-one," + stamp(0) + ",," + strings.Repeat("x", 257) + ",", "order: longer than 256"},
		{"cookie-one," + stamp(0) + ",,,nobody-we-know", "advertiser: there is none"},
		{"cookie-one," + stamp(0) + ",,,acme,more", "6 fields, but 5 columns"},
		{"\"cookie-one," + stamp(0) + ",,,acme", "quotes"},
		{strings.Repeat("x", 5000), "longer than 4096"},
	} {
		list := "cookie,time,value,order,advertiser\n" + good + "\n" + tt.line + "\n" + strings.Replace(good, "A-0", "A-1", 1)
		got, count, err := readConversions(t, twoAdvertisers(), list)
		if err != nil || len(got) != 2 || count.Read != 3 || count.Invalid != 1 || len(count.Errors) != 1 || count.Errors[0].Line != 3 || !strings.Contains(count.Errors[0].Reason, tt.reason) {
			t.Errorf("%.60q: %d taken, %+v, %v; want line 3 refused: %q", tt.line, len(got), count, err, tt.reason)
			continue
		}
		if reason := count.Errors[0].Reason; strings.Contains(reason, "nobody-we-know") || strings.Contains(reason, "12,50") {
			t.Errorf("the reason repeats what is in the list: %s", reason)
		}
	}
	object := `{"cookie":"cookie-one","time":"` + stamp(0) + `"`
	for line, reason := range map[string]string{
		object:                                        "not a JSON object",
		object + "} {}":                               "not a JSON object",
		`["cookie-one"]`:                              "not a JSON object",
		"null":                                        "not a JSON object",
		object + `,"amount":1}`:                       "a name that is none of id",
		object + `,"value":{"amount":1}}`:             "value: want text or a number",
		object + `,"value":true}`:                     "value: want text or a number",
		object + `,"value":1e3}`:                      "value: want an amount",
		object + `,"email":"a@b.example"}`:            "identifier: more than one",
		object + `,"order":"1","Order":"2"}`:          "order: more than one",
		`{"cookie":"","time":"` + stamp(0) + `"}`:     "no identifier",
		`{"time":"` + stamp(0) + `"}`:                 "no identifier",
		`{"cookie":"cookie-one"}`:                     "time: want RFC 3339",
		`{"cookie":"cookie-one","time":1764342000.5}`: "time: want RFC 3339",
	} {
		got, count, err := readConversions(t, twoAdvertisers(), object+"}\n"+line+"\n")
		if err != nil || len(got) != 1 || count.Invalid != 1 || count.Errors[0].Line != 2 || !strings.Contains(count.Errors[0].Reason, reason) {
			t.Errorf("%s: %d taken, %+v, %v; want line 2 refused: %q", line, len(got), count, err, reason)
		}
	}

	// Where there are several advertisers each has to be named.
	several := twoAdvertisers()
	several.Advertiser = 0
	if got, count, err := readConversions(t, several, "cookie,time,value,order,advertiser\n"+good+"\ncookie-one,"+stamp(0)+",,,\n"); err != nil || len(got) != 1 || !strings.Contains(fmt.Sprint(count.Errors), "line 3: advertiser: missing") {
		t.Errorf("%d taken, %+v, %v", len(got), count, err)
	}
	// Of many the first hundred are told.
	many := "cookie,time\n" + strings.Repeat("x,y\n", 150) + "cookie-one," + stamp(0)
	if _, count, err := readConversions(t, twoAdvertisers(), many); err != nil || count.Invalid != 150 || len(count.Errors) != 100 || count.Errors[99].Line != 101 {
		t.Errorf("%d invalid, %d told, %v", count.Invalid, len(count.Errors), err)
	}
}

func TestReadConversionsRefusesLists(t *testing.T) {
	stamp := storetest.Now.Format(time.RFC3339)
	for list, want := range map[string]string{
		"":                                "the list has no usable conversion",
		"id,time\n":                       "the list has no usable conversion",
		"id,time\nx,y\n":                  "the list has no usable conversion",
		"ada@example.com," + stamp + "\n": "line 1: want CSV whose first line names the columns",
		"[\n":                             "line 1: want CSV whose first line names the columns",
		"\n\nid,order\n":                  "line 3: no column has the time",
		"time,order\n":                    "line 1: no column has the identifier",
		"id,time,amount\n":                "line 1: the name of column 3 is none of id",
		"id,time,email\n":                 "line 1: column 3 is a second one for the identifier",
		"id,time,Time\n":                  "line 1: column 3 is a second one for the time",
		"PK\x03\x04":                      "the list cannot be read",
		packed(t, "id,time\n")[:12]:       "the list cannot be read",
		"\xff\xfei\x00":                   "UTF-16",
	} {
		got, _, err := readConversions(t, twoAdvertisers(), list)
		if err == nil || !strings.Contains(err.Error(), want) || len(got) != 0 {
			t.Errorf("%q: %d taken, error %v; want %q", list, len(got), err, want)
		}
		if err != nil && strings.Contains(err.Error(), "ada@") {
			t.Errorf("the error repeats an identifier: %v", err)
		}
	}

	im := audience.NewImporter(nil, &salt)
	im.Limit(2, 1000)
	list := "cookie,time\n" + strings.Repeat("cookie-one,"+stamp+"\n", 3)
	taken, broken := 0, errors.New("broken")
	read := func(list string, err error) (audience.Count, error) {
		return im.ReadConversions(t.Context(), twoAdvertisers(), strings.NewReader(list), nil, func(*rtb.Event) error { taken++; return err })
	}
	if _, err := read(list, nil); !errors.Is(err, audience.ErrTooManyConversions) || !strings.Contains(err.Error(), "line 4") || taken != 2 {
		t.Errorf("%d taken, %v", taken, err)
	}
	if count, err := read(list, broken); err != broken || count.Read != 1 || taken != 3 {
		t.Errorf("%+v, %v, %d taken", count, err, taken)
	}
	if _, err := read("cookie,time\n"+strings.Repeat(" \n", 1000), nil); !errors.Is(err, audience.ErrUnreadable) {
		t.Errorf("too large: %v", err)
	}
}

// Whatever comes, it does not panic, its counts add up, and what is taken is
// within bounds, the same each time, and the same conversion however it is
// packed.
func FuzzReadConversions(f *testing.F) {
	stamp := storetest.Now.Format(time.RFC3339)
	for _, seed := range []string{
		"id,time,value,order,advertiser\n" + uuid + "," + stamp + ",12.50,A-1,acme\n",
		"email;time\n\"a\"\"@b.c\";" + fmt.Sprint(storetest.Now.Unix()) + "\r\n;;\n",
		`{"id":"cookie-one","time":"` + stamp + `","value":1.5}` + "\n{}\n[]\n{\"id\":null}",
		"\ufeffcookie\ttime\ncookie-one\t9223372036854775807\n", "\x1f\x8b\x08\x00", "{", "time", "PK\x03\x04", "\"\n\"\"\n",
		"id,time\nliveramp.com:abc," + stamp + "\nliveramp.com:abc,-1\n",
	} {
		f.Add([]byte(seed), uint8(0), false)
		f.Add([]byte(seed), uint8(audience.Cookie), true)
	}
	f.Fuzz(func(t *testing.T, list []byte, kind uint8, pack bool) {
		if pack {
			list = []byte(packed(t, string(list)))
		}
		how := twoAdvertisers()
		how.Kind = audience.Kind(kind % 8)
		im := audience.NewImporter(nil, &salt)
		im.Limit(1000, 64<<10)
		read := func() (all []rtb.Event, count audience.Count, err error) {
			count, err = im.ReadConversions(context.Background(), how, bytes.NewReader(list), nil, func(e *rtb.Event) error {
				all = append(all, *e)
				return nil
			})
			return all, count, err
		}
		all, count, err := read()
		if valid := count.Read - count.Invalid; valid != len(all) && !(errors.Is(err, audience.ErrTooManyConversions) && valid == len(all)+1) {
			t.Fatalf("%+v, but %d were taken, %v", count, len(all), err)
		}
		for _, e := range all {
			if !e.Uploaded() || e.User == (rtb.UserID{}) || e.Bid == (rtb.BidID{}) || e.Advertiser < 1 || e.Advertiser > 2 ||
				e.Time.Before(how.From) || e.Time.After(how.To) || e.Value < 0 || e.Value > rtb.MaxConversion {
				t.Fatalf("%+v", e)
			}
		}
		if again, _, _ := read(); !slices.Equal(again, all) {
			t.Fatalf("it reads %+v, and then %+v", all, again)
		}
	})
}
