package openrtb

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"bidwell/rtb"
)

// vastVersion is a version of VAST that ads are written in.
type vastVersion struct {
	protocol uint8 // OpenRTB list "protocols"
	name     string
}

// vastVersions are those that answer the in-line protocols of the list. VAST
// 1.0 is not written, and the wrapper protocols are answered by none.
var vastVersions = []vastVersion{
	{2, "2.0"}, {3, "3.0"}, {7, "4.0"}, {11, "4.1"}, {13, "4.2"},
}

// unnamedProtocol answers a player that names no version: VAST 3.0, which old
// players can read and new ones still do.
const unnamedProtocol = 3

// skipAfter is when a skippable ad may be skipped.
const skipAfter = 5 * time.Second

// stream makes the VAST documents of a video or an audio ad.
func (m *maker) stream() {
	m.media()
	m.text("assets.title", m.c.Assets.Title)
	for _, v := range vastVersions {
		if m.c.Protocol != 0 && m.c.Protocol != v.protocol {
			continue
		}
		pieces := m.pieces(m.vast(v))
		m.c.Versions = append(m.c.Versions, rtb.VersionAnswer{Protocol: v.protocol, Pieces: pieces})
		if m.c.Answer == nil || v.protocol == unnamedProtocol {
			m.c.Answer = pieces
		}
	}
	if m.c.Answer == nil {
		m.fail("protocol", fmt.Sprintf("%d is none of 2 (VAST 2.0), 3 (3.0), 7 (4.0), 11 (4.1) and 13 (4.2)", m.c.Protocol))
	}
}

// media checks the media files and says of the creative what they tell.
func (m *maker) media() {
	c := m.c
	files := c.Assets.MediaFiles
	if len(files) == 0 {
		m.fail("assets.media_files", "missing")
		return
	}
	if c.Duration == 0 {
		c.Duration = files[0].Duration
	}
	if c.Duration < time.Second || c.Duration >= 24*time.Hour {
		m.fail("duration", "must be from a second to a day")
	}
	if c.Mime == 0 {
		c.Mime = files[0].Mime
	}
	if c.Bitrate == 0 {
		c.Bitrate = files[0].Bitrate
	}
	c.Linear = true
	c.MimeAll = 0
	for i := range files {
		field := fmt.Sprintf("assets.media_files[%d]", i)
		file := &files[i]
		m.address(field+".url", file.URL)
		c.MimeAll |= file.Mime
		name := file.Mime.Name()
		audio := strings.HasPrefix(name, "audio/")
		switch {
		case name == "":
			m.fail(field+".mime", "unknown media type")
		case audio != (c.Media == rtb.Audio) || strings.HasPrefix(name, "image/") || strings.HasPrefix(name, "text/"):
			m.fail(field+".mime", name+" is not "+streamName(c.Media))
		}
		if !audio && c.Media != rtb.Audio {
			m.size(field, mediaSize(c, file))
		}
		if off := file.Duration - c.Duration; file.Duration != 0 && off.Abs() > time.Second {
			m.fail(field+".duration", "differs from that of the ad")
		}
	}
	for i := range c.Assets.CompanionOf {
		field := fmt.Sprintf("assets.companions[%d]", i)
		m.address(field+".url", c.Assets.CompanionOf[i].URL)
		m.size(field, c.Assets.CompanionOf[i].Size)
		if pictureMime(c.Assets.CompanionOf[i].URL) == 0 {
			m.fail(field+".url", "does not end in .jpg, .png, .gif, .webp, .svg or .avif")
		}
	}
}

func streamName(media rtb.Media) string {
	if media == rtb.Audio {
		return "audio"
	}
	return "video"
}

func mediaSize(c *rtb.Creative, file *rtb.MediaFile) rtb.Size {
	if file.Size == (rtb.Size{}) && c.Media == rtb.Video {
		return c.Size
	}
	return file.Size
}

// vast is the ad as a VAST document of one version, with marks in it.
func (m *maker) vast(v vastVersion) string {
	doc := vastDocument{Version: v.name, Ad: vastAd{ID: markBidID}}
	if v.name >= "4.1" && m.c.Media == rtb.Audio {
		doc.Ad.AdType = "audio"
	}
	if v.name < "4.0" {
		doc.Ad.InLine = m.inLine3(v)
	} else {
		doc.Ad.InLine = m.inLine4(v)
	}
	text, err := xml.Marshal(doc)
	if err != nil {
		m.errs = append(m.errs, fmt.Errorf("VAST %s: %w", v.name, err))
	}
	return `<?xml version="1.0" encoding="UTF-8"?>` + string(text)
}

func (m *maker) inLine3(v vastVersion) *inLine3 {
	linear := &linear3{
		Duration: clock(m.c.Duration), TrackingEvents: m.tracking(), VideoClicks: m.videoClicks(), MediaFiles: m.mediaFiles(),
	}
	if v.name >= "3.0" {
		linear.SkipOffset = m.skipOffset()
	}
	ad := &inLine3{
		AdSystem: adSystem, AdTitle: m.title(), Error: m.errorAddress(), Impression: cdata{m.viewAddress()},
		Creatives: []creative3{{ID: m.c.Key, Linear: linear}},
	}
	if companions := m.companions(); companions != nil {
		ad.Creatives = append(ad.Creatives, creative3{ID: m.c.Key, CompanionAds: companions})
	}
	return ad
}

func (m *maker) inLine4(v vastVersion) *inLine4 {
	id := universalAdID{Registry: "unknown", Text: m.c.Key}
	if v.name == "4.0" {
		id.Value = m.c.Key
	}
	ad := &inLine4{
		AdSystem: adSystem, Error: m.errorAddress(), Impression: cdata{m.viewAddress()},
		AdTitle: m.title(),
		Creatives: []creative4{{ID: m.c.Key, UniversalAdID: id, Linear: &linear4{
			SkipOffset: m.skipOffset(), TrackingEvents: m.tracking(), Duration: clock(m.c.Duration),
			MediaFiles: m.mediaFiles(), VideoClicks: m.videoClicks(),
		}}},
	}
	if m.c.Media != rtb.Audio { // which nobody sees
		ad.ViewableImpression = &viewable{Viewable: cdata{m.viewableAddress()}}
	}
	if v.name >= "4.1" {
		ad.AdServingID = markBidID
	}
	if companions := m.companions(); companions != nil {
		ad.Creatives = append(ad.Creatives, creative4{ID: m.c.Key, UniversalAdID: id, CompanionAds: companions})
	}
	return ad
}

func (m *maker) title() string {
	if m.c.Assets.Title != "" {
		return m.c.Assets.Title
	}
	return m.c.Key
}

// errorAddress takes the player's own macro for the reason (VAST 4.2, 6).
func (m *maker) errorAddress() cdata { return cdata{m.videoAddress("error") + "&c=[ERRORCODE]"} }

func (m *maker) videoAddress(event string) string {
	return m.base + "/e/video?t=" + markToken + "&v=" + event
}

func (m *maker) tracking() []tracking {
	var list []tracking
	for _, event := range []string{"start", "firstQuartile", "midpoint", "thirdQuartile", "complete"} {
		list = append(list, tracking{Event: event, Text: m.videoAddress(event)})
	}
	return list
}

func (m *maker) videoClicks() *videoClicks {
	if m.c.ClickURL == "" {
		return nil
	}
	return &videoClicks{ClickThrough: cdata{m.clickAddress()}}
}

func (m *maker) skipOffset() string {
	if !m.c.Skippable || m.c.Duration <= skipAfter {
		return ""
	}
	return clock(skipAfter)
}

func (m *maker) mediaFiles() []mediaFile {
	var list []mediaFile
	for i := range m.c.Assets.MediaFiles {
		file := &m.c.Assets.MediaFiles[i]
		size := mediaSize(m.c, file)
		if m.c.Media == rtb.Audio {
			size = rtb.Size{} // VAST 4.1, 3.9.1: 0 for audio ads
		}
		delivery := "progressive"
		if strings.HasPrefix(file.Mime.Name(), "application/") {
			delivery = "streaming" // DASH and HLS
		}
		list = append(list, mediaFile{
			Delivery: delivery, Type: file.Mime.Name(), Width: size.W, Height: size.H, Bitrate: file.Bitrate, Text: file.URL,
		})
	}
	return list
}

func (m *maker) companions() *companionAds {
	pictures := m.c.Assets.CompanionOf
	if len(pictures) == 0 {
		return nil
	}
	list := &companionAds{}
	for i := range pictures {
		one := companion{
			Width: pictures[i].Size.W, Height: pictures[i].Size.H,
			Static: staticResource{Type: pictureMime(pictures[i].URL).Name(), Text: pictures[i].URL},
		}
		if m.c.ClickURL != "" {
			one.ClickThrough = &cdata{m.clickAddress()}
		}
		list.Companions = append(list.Companions, one)
	}
	return list
}

// clock writes a duration as HH:MM:SS, with milliseconds where it has any.
func clock(d time.Duration) string {
	s := fmt.Sprintf("%02d:%02d:%02d", d/time.Hour, d/time.Minute%60, d/time.Second%60)
	if ms := d / time.Millisecond % 1000; ms != 0 {
		s += fmt.Sprintf(".%03d", ms)
	}
	return s
}

const adSystem = "bidwell"

// The elements of a VAST document that we write. The schemas of 2.0 and 3.0
// order some of them otherwise than those of 4.x, hence two of each.
type (
	vastDocument struct {
		XMLName xml.Name `xml:"VAST"`
		Version string   `xml:"version,attr"`
		Ad      vastAd
	}
	vastAd struct {
		ID     string `xml:"id,attr"`
		AdType string `xml:"adType,attr,omitempty"`
		InLine any    // *inLine3 or *inLine4
	}
	cdata struct {
		Text string `xml:",cdata"`
	}
	inLine3 struct {
		XMLName    xml.Name `xml:"InLine"`
		AdSystem   string
		AdTitle    string
		Error      cdata
		Impression cdata
		Creatives  []creative3 `xml:"Creatives>Creative"`
	}
	inLine4 struct {
		XMLName            xml.Name `xml:"InLine"`
		AdSystem           string
		Error              cdata
		Impression         cdata
		ViewableImpression *viewable
		AdServingID        string `xml:"AdServingId,omitempty"`
		AdTitle            string
		Creatives          []creative4 `xml:"Creatives>Creative"`
	}
	viewable  struct{ Viewable cdata }
	creative3 struct {
		ID           string `xml:"id,attr"`
		Linear       *linear3
		CompanionAds *companionAds
	}
	creative4 struct {
		ID            string        `xml:"id,attr"`
		UniversalAdID universalAdID `xml:"UniversalAdId"`
		Linear        *linear4
		CompanionAds  *companionAds
	}
	universalAdID struct {
		Registry string `xml:"idRegistry,attr"`
		Value    string `xml:"idValue,attr,omitempty"`
		Text     string `xml:",chardata"`
	}
	linear3 struct {
		SkipOffset     string `xml:"skipoffset,attr,omitempty"`
		Duration       string
		TrackingEvents []tracking `xml:"TrackingEvents>Tracking"`
		VideoClicks    *videoClicks
		MediaFiles     []mediaFile `xml:"MediaFiles>MediaFile"`
	}
	linear4 struct {
		SkipOffset     string     `xml:"skipoffset,attr,omitempty"`
		TrackingEvents []tracking `xml:"TrackingEvents>Tracking"`
		Duration       string
		MediaFiles     []mediaFile `xml:"MediaFiles>MediaFile"`
		VideoClicks    *videoClicks
	}
	tracking struct {
		Event string `xml:"event,attr"`
		Text  string `xml:",cdata"`
	}
	videoClicks struct {
		ClickThrough cdata
	}
	mediaFile struct {
		Delivery string `xml:"delivery,attr"`
		Type     string `xml:"type,attr"`
		Width    uint16 `xml:"width,attr"`
		Height   uint16 `xml:"height,attr"`
		Bitrate  uint32 `xml:"bitrate,attr,omitempty"`
		Text     string `xml:",cdata"`
	}
	companionAds struct {
		Companions []companion `xml:"Companion"`
	}
	companion struct {
		Width        uint16         `xml:"width,attr"`
		Height       uint16         `xml:"height,attr"`
		Static       staticResource `xml:"StaticResource"`
		ClickThrough *cdata         `xml:"CompanionClickThrough"`
	}
	staticResource struct {
		Type string `xml:"creativeType,attr"`
		Text string `xml:",cdata"`
	}
)
