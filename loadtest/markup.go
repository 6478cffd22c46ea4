package loadtest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"strings"

	"bidwell/rtb"
)

// Trackers are the addresses in the markup of an ad that a browser or player
// would call.
type Trackers struct {
	Impression []string
	Click      []string
	Quartile   [5][]string // start, first quartile, midpoint, third quartile, complete
}

var quartileNames = [5]string{"start", "firstQuartile", "midpoint", "thirdQuartile", "complete"}

// ParseTrackers reads what an ad calls: the images, frames, scripts and links
// of a banner, the tracking elements of a VAST document, the trackers and
// links of a native answer.
func ParseTrackers(media rtb.Media, markup string) (Trackers, error) {
	switch media {
	case rtb.Video, rtb.Audio:
		return vastTrackers(markup)
	case rtb.Native:
		return nativeTrackers(markup)
	}
	return bannerTrackers(markup), nil
}

// bannerTrackers reads the tags of HTML, leniently as browsers do.
func bannerTrackers(text string) (t Trackers) {
	for {
		open := strings.IndexByte(text, '<')
		if open < 0 {
			return t
		}
		text = text[open+1:]
		name, rest := tagName(text)
		switch name {
		case "img", "iframe", "script":
			if value := attribute(rest, "src"); value != "" {
				t.Impression = append(t.Impression, value)
			}
		case "a", "area":
			if value := attribute(rest, "href"); value != "" {
				t.Click = append(t.Click, value)
			}
		}
	}
}

func tagName(text string) (name, rest string) {
	end := 0
	for end < len(text) && (text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z') {
		end++
	}
	return strings.ToLower(text[:end]), text[end:]
}

// attribute finds the value of one attribute before the end of the tag.
func attribute(text, want string) string {
	for {
		text = strings.TrimLeft(text, " \t\r\n/")
		if text == "" || text[0] == '>' {
			return ""
		}
		end := strings.IndexAny(text, "= \t\r\n/>")
		if end < 0 {
			return ""
		}
		if end == 0 { // a stray '='
			text = text[1:]
			continue
		}
		name := text[:end]
		text = strings.TrimLeft(text[end:], " \t\r\n")
		if !strings.HasPrefix(text, "=") {
			continue
		}
		text = strings.TrimLeft(text[1:], " \t\r\n")
		var value string
		switch {
		case text == "":
			return ""
		case text[0] == '"' || text[0] == '\'':
			stop := strings.IndexByte(text[1:], text[0])
			if stop < 0 {
				return ""
			}
			value, text = text[1:stop+1], text[stop+2:]
		default:
			stop := strings.IndexAny(text, " \t\r\n>")
			if stop < 0 {
				stop = len(text)
			}
			value, text = text[:stop], text[stop:]
		}
		if strings.EqualFold(name, want) {
			return html.UnescapeString(value)
		}
	}
}

func vastTrackers(text string) (t Trackers, err error) {
	var document struct {
		XMLName xml.Name `xml:"VAST"`
		Ads     []struct {
			InLine *struct {
				Impressions []string `xml:"Impression"`
				Creatives   []struct {
					Linear *struct {
						Tracking []struct {
							Event string `xml:"event,attr"`
							URL   string `xml:",chardata"`
						} `xml:"TrackingEvents>Tracking"`
						Through  string   `xml:"VideoClicks>ClickThrough"`
						Trackers []string `xml:"VideoClicks>ClickTracking"`
					} `xml:"Linear"`
				} `xml:"Creatives>Creative"`
			} `xml:"InLine"`
		} `xml:"Ad"`
	}
	if err := xml.Unmarshal([]byte(text), &document); err != nil {
		return t, fmt.Errorf("VAST: %w", err)
	}
	add := func(to *[]string, url string) {
		if url = strings.TrimSpace(url); url != "" {
			*to = append(*to, url)
		}
	}
	for _, ad := range document.Ads {
		if ad.InLine == nil {
			continue
		}
		for _, url := range ad.InLine.Impressions {
			add(&t.Impression, url)
		}
		for _, creative := range ad.InLine.Creatives {
			if creative.Linear == nil {
				continue
			}
			for _, tracking := range creative.Linear.Tracking {
				for i, name := range quartileNames {
					if tracking.Event == name {
						add(&t.Quartile[i], tracking.URL)
					}
				}
			}
			for _, url := range creative.Linear.Trackers {
				add(&t.Click, url)
			}
			add(&t.Click, creative.Linear.Through)
		}
	}
	return t, nil
}

// nativeTrackers reads a native answer of any version, wrapped or bare.
func nativeTrackers(text string) (t Trackers, err error) {
	type answer struct {
		Link struct {
			URL      string   `json:"url"`
			Trackers []string `json:"clicktrackers"`
		} `json:"link"`
		ImpTrackers   []string `json:"imptrackers"`
		EventTrackers []struct {
			Event  int    `json:"event"`
			Method int    `json:"method"`
			URL    string `json:"url"`
		} `json:"eventtrackers"`
	}
	var wrapped struct {
		Native *answer `json:"native"`
		answer
	}
	if err := json.Unmarshal([]byte(text), &wrapped); err != nil {
		return t, fmt.Errorf("native: %w", err)
	}
	a := &wrapped.answer
	if wrapped.Native != nil {
		a = wrapped.Native
	}
	t.Impression = a.ImpTrackers
	for _, tracker := range a.EventTrackers {
		if tracker.Event == 1 && tracker.URL != "" { // an impression
			t.Impression = append(t.Impression, tracker.URL)
		}
	}
	t.Click = a.Link.Trackers
	if a.Link.URL != "" {
		t.Click = append(t.Click, a.Link.URL)
	}
	return t, nil
}
