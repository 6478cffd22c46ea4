package loadtest

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var vastStart = regexp.MustCompile(`^\s*(<\?xml[^>]*\?>\s*)?(<!--[\s\S]*?-->\s*)*<(VAST|DAAST)\b`)

func isVAST(adm string) bool { return vastStart.MatchString(adm) }

// vastDocument is what the checks read of a VAST document.
type vastDocument struct {
	XMLName xml.Name
	Version string   `xml:"version,attr"`
	Ads     []vastAd `xml:"Ad"`
}

type vastAd struct {
	InLine  *vastInLine `xml:"InLine"`
	Wrapper *vastInLine `xml:"Wrapper"`
}

type vastInLine struct {
	AdSystem    string         `xml:"AdSystem"`
	AdTitle     string         `xml:"AdTitle"`
	TagURI      string         `xml:"VASTAdTagURI"`
	Impressions []string       `xml:"Impression"`
	Errors      []string       `xml:"Error"`
	Creatives   []vastCreative `xml:"Creatives>Creative"`
}

type vastCreative struct {
	Linear    *vastLinear `xml:"Linear"`
	NonLinear *struct{}   `xml:"NonLinearAds>NonLinear"`
}

type vastLinear struct {
	Duration   string      `xml:"Duration"`
	MediaFiles []vastMedia `xml:"MediaFiles>MediaFile"`
	Tracking   []string    `xml:"TrackingEvents>Tracking"`
	Click      string      `xml:"VideoClicks>ClickThrough"`
	Clicks     []string    `xml:"VideoClicks>ClickTracking"`
}

type vastMedia struct {
	URL      string `xml:",chardata"`
	Type     string `xml:"type,attr"`
	Delivery string `xml:"delivery,attr"`
	Width    string `xml:"width,attr"`
	Height   string `xml:"height,attr"`
	API      string `xml:"apiFramework,attr"`
}

// parseVAST reads the one document that text is.
func parseVAST(text string) (*vastDocument, error) {
	decoder := xml.NewDecoder(strings.NewReader(text))
	var doc vastDocument
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return &doc, nil
		}
		if err != nil {
			return nil, err
		}
		if rest, ok := token.(xml.CharData); ok && strings.TrimSpace(string(rest)) == "" {
			continue
		}
		if _, ok := token.(xml.Comment); !ok {
			return nil, errors.New("something follows the document")
		}
	}
}

// vastProtocols are the values of the OpenRTB list "protocols" for a version,
// first for an inline ad, then for a wrapper.
var vastProtocols = map[string][2]int{
	"1.0": {1, 4}, "2.0": {2, 5}, "3.0": {3, 6}, "4.0": {7, 8}, "4.1": {11, 12}, "4.2": {13, 14}, "4.3": {15, 16},
}

var daastProtocols = map[string][2]int{"1.0": {9, 10}}

// checkVAST judges the markup of a video or an audio bid, or of the video
// asset of a native one.
func (c *bidCheck) checkVAST(adm string, slot *node, media int) {
	doc, err := parseVAST(adm)
	if err != nil {
		c.fail("vast", "the document does not parse: %v", err)
		return
	}
	if doc.XMLName.Local != "VAST" && doc.XMLName.Local != "DAAST" {
		c.fail("vast", "a document of %q, not VAST", doc.XMLName.Local)
		return
	}
	if len(doc.Ads) == 0 {
		c.fail("vast", "no Ad")
	}
	for _, ad := range doc.Ads {
		body, wrapper := ad.InLine, 0
		if body == nil {
			body, wrapper = ad.Wrapper, 1
		}
		if body == nil {
			c.fail("vast", "an Ad that is neither InLine nor Wrapper")
			continue
		}
		c.checkVersion(doc, wrapper, slot)
		c.checkAd(body, wrapper == 1, slot, media)
	}
}

func (c *bidCheck) checkVersion(doc *vastDocument, wrapper int, slot *node) {
	table := vastProtocols
	if doc.XMLName.Local == "DAAST" {
		table = daastProtocols
	}
	protocols, ok := table[doc.Version]
	if !ok {
		c.fail("vast-version", "version %q is none", doc.Version)
		return
	}
	protocol := protocols[wrapper]
	allowed := append(slot.get("protocols").ints(), slot.get("protocol").ints()...)
	if len(allowed) > 0 && !slices.Contains(allowed, protocol) {
		c.fail("vast-version", "version %s is protocol %d, not among %v", doc.Version, protocol, allowed)
	}
	if said := c.bid.get("protocol").integer(); said != 0 && said != protocol {
		c.fail("vast-version", "the bid says protocol %d, the document is %d", said, protocol)
	}
}

func (c *bidCheck) checkAd(ad *vastInLine, wrapper bool, slot *node, media int) {
	address := func(rule, what, s string) {
		if !isAddress(playerMacros(strings.TrimSpace(s))) {
			c.fail(rule, "%s %.120q is not an absolute http address", what, s)
		}
	}
	if strings.TrimSpace(ad.AdSystem) == "" {
		c.fail("vast", "no AdSystem")
	}
	if len(ad.Impressions) == 0 {
		c.fail("vast-impression", "no Impression")
	}
	for _, impression := range ad.Impressions {
		address("vast-impression", "Impression", impression)
	}
	for _, e := range ad.Errors {
		address("vast", "Error", e)
	}
	if wrapper {
		address("vast", "VASTAdTagURI", ad.TagURI)
		return
	}
	if strings.TrimSpace(ad.AdTitle) == "" {
		c.fail("vast", "no AdTitle")
	}
	var linear *vastLinear
	overlay := false
	for _, creative := range ad.Creatives {
		if creative.Linear != nil && linear == nil {
			linear = creative.Linear
		}
		overlay = overlay || creative.NonLinear != nil
	}
	linearity := 1
	if media == video {
		linearity = slot.get("linearity").integer()
	}
	switch {
	case linearity == 2:
		if !overlay {
			c.fail("vast-linear", "a non-linear ad was wanted and there is none")
		}
		return
	case linear == nil && (linearity == 1 || !overlay):
		c.fail("vast-linear", "no Linear creative")
		return
	case linear == nil:
		return
	}
	c.checkDuration(linear.Duration, slot)
	c.checkMediaFiles(linear.MediaFiles, slot, media)
	for _, t := range linear.Tracking {
		address("vast", "Tracking", t)
	}
	for _, t := range linear.Clicks {
		address("vast", "ClickTracking", t)
	}
	if strings.TrimSpace(linear.Click) != "" {
		address("vast", "ClickThrough", linear.Click)
	}
}

// playerMacros replaces what the player would, so that the rest can be judged.
func playerMacros(s string) string {
	return otherMacro.ReplaceAllStringFunc(s, func(macro string) string {
		if slices.Contains(vastMacros, macro) {
			return "x"
		}
		return macro
	})
}

var vastTime = regexp.MustCompile(`^(\d\d):([0-5]\d):([0-5]\d)(\.\d{1,3})?$`)

func parseVASTTime(s string) (time.Duration, error) {
	m := vastTime.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("%.40q is not HH:MM:SS or HH:MM:SS.mmm", s)
	}
	hours, _ := strconv.Atoi(m[1]) // digits, as the pattern says
	minutes, _ := strconv.Atoi(m[2])
	seconds, _ := strconv.ParseFloat(m[3]+m[4], 64)
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds*1e9), nil
}

func (c *bidCheck) checkDuration(text string, slot *node) {
	d, err := parseVASTTime(text)
	if err != nil || d == 0 {
		c.fail("vast-duration", "Duration %q: %v", text, err)
		return
	}
	seconds := d.Seconds()
	if exact := slot.get("rqddurs").ints(); len(exact) > 0 {
		if !slices.ContainsFunc(exact, func(e int) bool { return math.Abs(float64(e)-seconds) < 0.5 }) {
			c.fail("vast-duration", "%v is not among the durations %v s", d, exact)
		}
	} else {
		if least := slot.get("minduration").float(); seconds < least {
			c.fail("vast-duration", "%v is under the minduration of %v s", d, least)
		}
		most, extended := slot.get("maxduration").float(), slot.get("maxextended").float()
		if most > 0 && extended >= 0 && seconds > most+extended {
			c.fail("vast-duration", "%v is over the maxduration of %v s", d, most)
		}
	}
	if said := c.bid.get("dur"); said != nil && math.Abs(said.float()-seconds) > 1 {
		c.fail("vast-duration", "the bid says dur %s, the document %v", rawOf(said), d)
	}
}

func (c *bidCheck) checkMediaFiles(files []vastMedia, slot *node, media int) {
	if len(files) == 0 {
		c.fail("vast-media-file", "no MediaFile")
		return
	}
	mimes := slot.get("mimes").strs()
	apis := slot.get("api").ints()
	allowed := len(mimes) == 0
	for _, f := range files {
		if !isAddress(strings.TrimSpace(f.URL)) {
			c.fail("vast-media-file", "MediaFile %.120q is not an absolute http address", f.URL)
		}
		if f.Delivery != "progressive" && f.Delivery != "streaming" {
			c.fail("vast-media-file", "delivery %q", f.Delivery)
		}
		if media != audio {
			for _, size := range []string{f.Width, f.Height} {
				if v, err := strconv.Atoi(size); err != nil || v < 0 {
					c.fail("vast-media-file", "size %q x %q", f.Width, f.Height)
					break
				}
			}
		}
		if f.API == "VPAID" && len(apis) > 0 && !slices.Contains(apis, 1) && !slices.Contains(apis, 2) {
			c.fail("api", "a VPAID MediaFile, but VPAID is not among %v", apis)
		}
		allowed = allowed || slices.ContainsFunc(mimes, func(m string) bool { return strings.EqualFold(m, f.Type) })
	}
	if !allowed {
		c.fail("vast-media-file", "no MediaFile of %v", mimes)
	}
}
