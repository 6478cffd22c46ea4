package loadtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"bidwell/rtb"
)

func TestParseTrackers(t *testing.T) {
	tests := []struct {
		name   string
		media  rtb.Media
		markup string
		want   Trackers
		wrong  bool
	}{
		{"banner", rtb.Banner,
			`<A class=x HREF="https://b.example/c?t=1&amp;u=2" target=_blank><img alt="a > b" src=https://cdn.example/i.png/></A><iframe src = 'https://b.example/f'></iframe>`,
			Trackers{Impression: []string{"https://cdn.example/i.png/", "https://b.example/f"}, Click: []string{"https://b.example/c?t=1&u=2"}}, false},
		{"banner without an end", rtb.Banner, `<img src="https://b.example`, Trackers{}, false},
		{"banner with odd tags", rtb.Banner, `<<a =x href><img data-src="no" src>< img src="no"><link href="no">`, Trackers{}, false},
		{"video", rtb.Video,
			`<VAST version="3.0"><Ad><InLine><Impression> https://b.example/i </Impression><Impression/><Creatives><Creative><Linear>
			<TrackingEvents><Tracking event="start">https://b.example/s</Tracking><Tracking event="pause">https://b.example/p</Tracking><Tracking event="complete"><![CDATA[https://b.example/e?a&b]]></Tracking></TrackingEvents>
			<VideoClicks><ClickThrough>https://b.example/t</ClickThrough><ClickTracking>https://b.example/k</ClickTracking></VideoClicks></Linear></Creative></Creatives></InLine></Ad></VAST>`,
			Trackers{Impression: []string{"https://b.example/i"}, Click: []string{"https://b.example/k", "https://b.example/t"},
				Quartile: [5][]string{0: {"https://b.example/s"}, 4: {"https://b.example/e?a&b"}}}, false},
		{"video cut off", rtb.Video, `<VAST version="3.0"><Ad>`, Trackers{}, true},
		{"not VAST", rtb.Audio, `<html></html>`, Trackers{}, true},
		{"wrapped native", rtb.Native,
			`{"native":{"link":{"url":"https://b.example/u","clicktrackers":["https://b.example/c"]},"imptrackers":["https://b.example/i"],"eventtrackers":[{"event":1,"method":1,"url":"https://b.example/v"},{"event":2,"method":1,"url":"https://b.example/no"}]}}`,
			Trackers{Impression: []string{"https://b.example/i", "https://b.example/v"}, Click: []string{"https://b.example/c", "https://b.example/u"}}, false},
		{"bare native", rtb.Native, `{"link":{"url":"https://b.example/u"},"imptrackers":["https://b.example/i"]}`,
			Trackers{Impression: []string{"https://b.example/i"}, Click: []string{"https://b.example/u"}}, false},
		{"native of another type", rtb.Native, `{"link":7}`, Trackers{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseTrackers(tt.media, tt.markup)
			if (err != nil) != tt.wrong || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ParseTrackers = %+v, %v\nwant %+v, error %t", got, err, tt.want, tt.wrong)
			}
		})
	}
}

// Markup is whatever a bidder sends.
func FuzzParseTrackers(f *testing.F) {
	f.Add(uint8(rtb.Banner), `<a href="x"><img src='y'/>`)
	f.Add(uint8(rtb.Video), `<VAST><Ad><InLine><Impression>x</Impression></InLine></Ad></VAST>`)
	f.Add(uint8(rtb.Native), `{"native":{"link":{"url":"x"}}}`)
	f.Fuzz(func(t *testing.T, media uint8, markup string) {
		trackers, err := ParseTrackers(rtb.Media(media), markup)
		if err != nil {
			return
		}
		n := len(trackers.Impression) + len(trackers.Click)
		for _, quartile := range trackers.Quartile {
			n += len(quartile)
		}
		if n > len(markup) {
			t.Errorf("%d addresses in %d bytes", n, len(markup))
		}
	})
}

// An answer is whatever a bidder sends, and no bid of it may win below the floor.
func FuzzAdmit(f *testing.F) {
	f.Add([]byte(`{"id":"%","seatbid":[{"bid":[{"impid":"1","price":2,"crid":"c","adm":"x","w":300,"h":250}]}]}`))
	f.Add([]byte(`{"seatbid":[{"bid":[{"impid":"1","price":1e300,"adm":{}}]}]}`))
	traffic, market := NewTraffic(TrafficConfig{Seed: 1, Users: 100}), NewMarket(1)
	var o Offer
	traffic.Offer(0, marketMonday, &o)
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer bidAnswer
		if readAnswer(&o, body, &answer) != nil {
			return
		}
		var all []contender
		for _, seat := range answer.SeatBid {
			for i := range seat.Bid {
				all = append(all, admit(&o, &seat.Bid[i], seat.Seat, answer.Cur))
			}
		}
		for i := range o.Slots {
			if won := market.auction(&o, &o.Slots[i], all); won != nil && (won.price < won.floor || won.clearing > won.price || won.clearing <= 0) {
				t.Fatalf("won at %d with a bid of %d and a floor of %d", won.clearing, won.price, won.floor)
			}
		}
	})
}

// The plain reader takes an answer as package json does, or not at all.
func FuzzScanAnswer(f *testing.F) {
	for _, text := range []string{bannerAnswer, nativeAnswer, videoAnswer, `{}`, `{"id":"x","seatbid":[{"seat":"s","bid":[{"price":-0.5,"adm":{"a":[1,"\n"]},"w":3,"ext":{"x":null}}]}],"cur":"USD"} `,
		`{"ID":"x"}`, `{"id":"x","id":"y"}`, `{"id":"\u0041"}`, `{"price":01}`, `{"id":null}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var plain, want bidAnswer
		if !scanAnswer(string(body), &plain) {
			return
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q: read, but %v", body, err)
		}
		for _, seats := range [][]answerSeat{plain.SeatBid, want.SeatBid} {
			for i := range seats {
				if len(seats[i].Bid) == 0 { // nil or empty, nobody minds
					seats[i].Bid = nil
				}
			}
		}
		if len(plain.SeatBid)+len(want.SeatBid) == 0 {
			plain.SeatBid, want.SeatBid = nil, nil
		}
		if !reflect.DeepEqual(plain, want) {
			t.Fatalf("%q: read %+v, want %+v", body, plain, want)
		}
	})
}

// Whatever stands in quotes is what package json says.
func FuzzUnquote(f *testing.F) {
	for _, text := range []string{`"a\"b\\\/\n"`, `"\u00e9"`, `""`, `"a`, `x`, "\"\xff\"", `"a" `} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := unquote(raw)
		var want string
		if err := json.Unmarshal([]byte(raw), &want); (err == nil) != ok || got != want {
			t.Fatalf("unquote(%q) = %q, %t, want %q, %v", raw, got, ok, want, err)
		}
	})
}

// What is remembered of a markup is what is in it.
func TestTemplates(t *testing.T) {
	c := newTemplates()
	markups := []struct {
		media rtb.Media
		text  string
	}{
		{rtb.Banner, `<a href="https://b.example/e/click?t=TOKEN&amp;x=1"><img src='https://cdn.example/BIDID.png'></a><img src="https://b.example/e/view?t=TOKEN&p=${AUCTION_PRICE}">`},
		{rtb.Banner, `<a href="https://b.example/e/click?t=TOKEN&amp;x=2"><img src='https://cdn.example/BIDID.png'></a><img src="https://b.example/e/view?t=TOKEN&p=${AUCTION_PRICE}">`},
		{rtb.Video, `<VAST version="3.0"><Ad id="BIDID"><InLine><Impression><![CDATA[https://b.example/e/view?t=TOKEN]]></Impression><Creatives><Creative><Linear><TrackingEvents><Tracking event="start">https://b.example/e/video?t=TOKEN</Tracking></TrackingEvents></Linear></Creative></Creatives></InLine></Ad></VAST>`},
		{rtb.Native, `{"native":{"link":{"url":"https://b.example/e/click?t=TOKEN"},"imptrackers":["https://b.example/e/view?t=TOKEN&b=BIDID"]}}`},
		{rtb.Video, `<VAST><Ad id="BIDID">?t=TOKEN`},
		{rtb.Banner, `<img src="https://b.example/no/token">`},
	}
	for round := range 3 {
		for _, markup := range markups {
			token, id := fmt.Sprintf("Tok-%d_abcdefgh", round), fmt.Sprintf("bid-id-%d", round)
			text := strings.NewReplacer("TOKEN", token, "BIDID", id).Replace(markup.text)
			raw, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := ParseTrackers(markup.media, text)
			got, err := c.trackers(markup.media, &seatBid{ID: id, Adm: raw})
			if (err != nil) != (wantErr != nil) || !reflect.DeepEqual(got, want) {
				t.Errorf("%s\n got %+v, %v\nwant %+v, %v", text, got, err, want, wantErr)
			}
		}
	}
	if len(c.known) != len(markups)-1 {
		t.Errorf("%d markups are remembered, want %d", len(c.known), len(markups)-1)
	}
}
