package openrtb

import (
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"bidwell/rtb"
)

// readDocument is VAST as a player reads it, apart from how it is written.
type readDocument struct {
	XMLName xml.Name `xml:"VAST"`
	Version string   `xml:"version,attr"`
	Ads     []struct {
		ID     string `xml:"id,attr"`
		AdType string `xml:"adType,attr"`
		InLine struct {
			AdSystem    string   `xml:"AdSystem"`
			AdTitle     string   `xml:"AdTitle"`
			AdServingID string   `xml:"AdServingId"`
			Errors      []string `xml:"Error"`
			Impressions []string `xml:"Impression"`
			Viewable    []string `xml:"ViewableImpression>Viewable"`
			Creatives   []struct {
				UniversalAdID struct {
					Registry string `xml:"idRegistry,attr"`
					Text     string `xml:",chardata"`
				} `xml:"UniversalAdId"`
				Linear *struct {
					SkipOffset string `xml:"skipoffset,attr"`
					Duration   string
					Tracking   []struct {
						Event string `xml:"event,attr"`
						URL   string `xml:",chardata"`
					} `xml:"TrackingEvents>Tracking"`
					ClickThrough string `xml:"VideoClicks>ClickThrough"`
					MediaFiles   []struct {
						Delivery string `xml:"delivery,attr"`
						Type     string `xml:"type,attr"`
						Width    string `xml:"width,attr"`
						Height   string `xml:"height,attr"`
						Bitrate  int    `xml:"bitrate,attr"`
						URL      string `xml:",chardata"`
					} `xml:"MediaFiles>MediaFile"`
				}
				Companions []struct {
					Width        int    `xml:"width,attr"`
					ClickThrough string `xml:"CompanionClickThrough"`
					Static       struct {
						Type string `xml:"creativeType,attr"`
						URL  string `xml:",chardata"`
					} `xml:"StaticResource"`
				} `xml:"CompanionAds>Companion"`
			} `xml:"Creatives>Creative"`
		}
	} `xml:"Ad"`
}

func readVAST(t *testing.T, text string) *readDocument {
	t.Helper()
	var doc readDocument
	d := xml.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("VAST does not parse: %v\n%s", err, text)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("something follows the VAST: %v\n%s", err, text)
	}
	if len(doc.Ads) != 1 || len(doc.Ads[0].InLine.Creatives) == 0 || doc.Ads[0].InLine.Creatives[0].Linear == nil {
		t.Fatalf("VAST without an in-line linear ad: %s", text)
	}
	if strings.Contains(strings.ToLower(text), "http:") {
		t.Errorf("VAST of https assets loads over http: %s", text)
	}
	return &doc
}

func vastOf(t *testing.T, c *rtb.Creative, protocol uint8) (string, *readDocument) {
	t.Helper()
	bid := bidFor(c, `"1"`)
	text := unescaped(t, appendPieces(nil, answerFor(c, protocol), &bid, &testForm))
	return text, readVAST(t, text)
}

func TestVASTVersions(t *testing.T) {
	c := compiled(t, videoAd())
	for protocol, version := range map[uint8]string{0: "3.0", 2: "2.0", 3: "3.0", 7: "4.0", 11: "4.1", 13: "4.2", 5: "3.0"} {
		text, doc := vastOf(t, c, protocol)
		if doc.Version != version {
			t.Errorf("protocol %d answered with VAST %s, want %s", protocol, doc.Version, version)
		}
		ad := &doc.Ads[0].InLine
		linear := ad.Creatives[0].Linear
		if want := "00:00:05"; (linear.SkipOffset == want) != (version != "2.0") {
			t.Errorf("VAST %s: skipoffset %q", version, linear.SkipOffset)
		}
		if (ad.AdServingID != "") != (version >= "4.1") || (ad.Creatives[0].UniversalAdID.Text != "") != (version >= "4.0") {
			t.Errorf("VAST %s: AdServingId %q, UniversalAdId %q", version, ad.AdServingID, ad.Creatives[0].UniversalAdID.Text)
		}
		if want := testBase + "/e/view?t=" + testToken + "&v=viewable"; len(ad.Viewable) > 1 || (strings.Join(ad.Viewable, "") == want) != (version >= "4.0") {
			t.Errorf("VAST %s: viewable %q", version, ad.Viewable)
		}
		// The schemas are sequences: 2.0 and 3.0 have one, 4.x another.
		order := []string{"<AdSystem", "<AdTitle", "<Error", "<Impression", "<Creatives", "<Linear", "<Duration", "<TrackingEvents", "<VideoClicks", "<MediaFiles"}
		if version >= "4.0" {
			order = []string{"<AdSystem", "<Error", "<Impression", "<ViewableImpression", "<AdTitle", "<Creatives", "<UniversalAdId", "<Linear", "<TrackingEvents", "<Duration", "<MediaFiles", "<VideoClicks"}
		}
		at := -1
		for _, element := range order {
			next := strings.Index(text, element)
			if next <= at {
				t.Errorf("VAST %s: %s out of order in %s", version, element, text)
			}
			at = next
		}
	}
}

func TestVASTSaysWhatTheAssetsAre(t *testing.T) {
	_, doc := vastOf(t, compiled(t, videoAd()), 13)
	ad := &doc.Ads[0].InLine
	linear := ad.Creatives[0].Linear
	if ad.AdTitle != "Run <15s> ]]>" || ad.AdSystem != "bidwell" || linear.Duration != "00:00:15" {
		t.Errorf("title %q system %q duration %q", ad.AdTitle, ad.AdSystem, linear.Duration)
	}
	if want := []string{testBase + "/e/view?t=" + testToken + "&p="}; !slices.Equal(ad.Impressions, want) {
		t.Errorf("impressions %q, want %q", ad.Impressions, want)
	}
	if want := []string{testBase + "/e/video?t=" + testToken + "&v=error&c=[ERRORCODE]"}; !slices.Equal(ad.Errors, want) {
		t.Errorf("errors %q, want %q", ad.Errors, want)
	}
	if want := testBase + "/e/click?t=" + testToken; linear.ClickThrough != want {
		t.Errorf("click %q, want %q", linear.ClickThrough, want)
	}
	var events []string
	for _, e := range linear.Tracking {
		events = append(events, e.Event)
		if want := testBase + "/e/video?t=" + testToken + "&v=" + e.Event; e.URL != want {
			t.Errorf("tracking %q, want %q", e.URL, want)
		}
	}
	if want := []string{"start", "firstQuartile", "midpoint", "thirdQuartile", "complete"}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
	if f := linear.MediaFiles; len(f) != 3 || f[0].URL != "https://cdn.example/v.mp4?a=1&b=2" || f[0].Type != "video/mp4" ||
		f[0].Width != "1280" || f[0].Height != "720" || f[0].Bitrate != 1200 || f[0].Delivery != "progressive" || f[2].Delivery != "streaming" {
		t.Errorf("media files %+v", f)
	}
	if len(ad.Creatives) != 2 || len(ad.Creatives[1].Companions) != 1 {
		t.Fatalf("creatives %+v, want a companion", ad.Creatives)
	}
	if c := ad.Creatives[1].Companions[0]; c.Width != 300 || c.Static.Type != "image/png" || c.Static.URL != "https://cdn.example/c.png" || c.ClickThrough != linear.ClickThrough {
		t.Errorf("companion %+v", c)
	}
}

func TestVASTOfAudio(t *testing.T) {
	c := compiled(t, audioAd())
	_, doc := vastOf(t, c, 11)
	linear := doc.Ads[0].InLine.Creatives[0].Linear
	if f := linear.MediaFiles; doc.Ads[0].AdType != "audio" || len(f) != 1 || f[0].Type != "audio/mpeg" || f[0].Width != "0" || f[0].Height != "0" {
		t.Errorf("ad type %q, media files %+v", doc.Ads[0].AdType, f)
	}
	if len(doc.Ads[0].InLine.Viewable) > 0 || linear.ClickThrough != "" || linear.SkipOffset != "" || linear.Duration != "00:00:29.500" || doc.Ads[0].InLine.AdTitle != "audio-30s" {
		t.Errorf("linear %+v, title %q", linear, doc.Ads[0].InLine.AdTitle)
	}
	if c.Duration != ms(29500) || c.Bitrate != 128 || c.Mime != rtb.ParseMime("audio/mpeg") || c.MimeAll != c.Mime || !c.Linear {
		t.Errorf("Compile filled %v, %d kbit/s, %b, %b, linear %t", c.Duration, c.Bitrate, c.Mime, c.MimeAll, c.Linear)
	}
}

// A pinned protocol is the only one that is answered.
func TestVASTPinnedVersion(t *testing.T) {
	c := videoAd()
	c.Protocol = 2
	compiled(t, c)
	for _, protocol := range []uint8{0, 2, 13} {
		if _, doc := vastOf(t, c, protocol); doc.Version != "2.0" {
			t.Errorf("protocol %d answered with %s, want 2.0", protocol, doc.Version)
		}
	}
}

// Five documents share what is equal in them.
func TestVASTVersionsShareMemory(t *testing.T) {
	c := compiled(t, videoAd())
	sum, distinct := 0, map[*byte]int{}
	for _, v := range c.Versions {
		for _, p := range v.Pieces {
			if sum += len(p.Literal); len(p.Literal) > 0 {
				distinct[&p.Literal[0]] = len(p.Literal)
			}
		}
	}
	kept := 0
	for _, n := range distinct {
		kept += n
	}
	if len(c.Versions) != 5 || kept*2 > sum {
		t.Errorf("%d versions of %d bytes keep %d bytes, want at most half", len(c.Versions), sum, kept)
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		15 * time.Second: "00:00:15", 61*time.Minute + 1500*time.Millisecond: "01:01:01.500", 23*time.Hour + 59*time.Second: "23:00:59",
	} {
		if got := clock(d); got != want {
			t.Errorf("clock(%v) = %s, want %s", d, got, want)
		}
	}
}
