package loadtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"bidwell/rtb"
)

const adList = `creative, line_item, media, width, height, seconds
banner-300x250,runners-de,banner,300,250,
banner-320x50,all,banner,320,50,
banner-728x90,all,banner,728,90,
video-15,all,video,,,15
audio-60,all,audio,,,60
native-1,all,native,,,
`

func TestReadSampleAds(t *testing.T) {
	ads, err := ReadSampleAds(strings.NewReader(adList))
	if err != nil || len(ads) != 6 {
		t.Fatalf("%d ads, %v", len(ads), err)
	}
	want := SampleAd{Ad: Ad{LineItem: "runners-de", Creative: "banner-300x250", Media: rtb.Banner, Size: rtb.Size{W: 300, H: 250}}}
	if ads[0] != want || ads[3].Seconds != 15 {
		t.Errorf("ads %+v", ads)
	}
	for text, named := range map[string]string{
		"":                                                 "header",
		"creative,media\n":                                 "line_item",
		"creative,line_item,media\n":                       "none",
		"creative,line_item,media\n,l,banner":              "line 2: creative",
		"creative,line_item,media\nc,l,tv":                 `line 2: media "tv"`,
		"creative,line_item,media\nc,l,banner":             "line 2: a banner",
		"creative,line_item,media\nc,l":                    "line 2",
		"creative,line_item,media,width\nc,l,native,70000": `width "70000"`,
	} {
		if _, err := ReadSampleAds(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("ReadSampleAds(%q) = %v, want an error that names %s", text, err, named)
		}
	}
}

func TestSample(t *testing.T) {
	ads, err := ReadSampleAds(strings.NewReader(adList))
	if err != nil {
		t.Fatal(err)
	}
	cfg := SampleConfig{Traffic: TrafficConfig{Seed: 4, Users: 10_000}, Rows: 3000, Ads: ads}
	var log, again bytes.Buffer
	result, err := Sample(t.Context(), cfg, &log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sample(t.Context(), cfg, &again); err != nil || !bytes.Equal(log.Bytes(), again.Bytes()) {
		t.Errorf("another log for the same config, %v", err)
	}
	clicks, rows := checkLog(t, log.String())
	if rows != 3000 || result.Rows != rows || result.Clicks != clicks {
		t.Errorf("%d rows and %d clicks, result %+v", rows, clicks, result)
	}
	if result.CTR < .003 || result.CTR > .03 {
		t.Errorf("CTR %.4f, want about 0.01", result.CTR)
	}
	if strings.Contains(log.String(), `"audio-60"`) {
		t.Error("an ad of 60 seconds was shown in 30")
	}
	for _, ad := range []string{"banner-300x250", "banner-320x50", "banner-728x90", "video-15", "native-1"} {
		if n := strings.Count(log.String(), `"creative":"`+ad+`"`); n < 30 {
			t.Errorf("%s was shown %d times, want more", ad, n)
		}
	}
	first, last := log.String()[:40], log.String()[strings.LastIndex(strings.TrimSpace(log.String()), "\n")+1:][:40]
	if !strings.Contains(first, `"2026-01-05T12:00`) || !strings.Contains(last, `"2026-01-12T11:5`) {
		t.Errorf("the log runs from %s to %s, want a week", first, last)
	}

	if _, err := Sample(t.Context(), SampleConfig{Rows: 1}, &log); err == nil {
		t.Error("no ads: no error")
	}
	if _, err := Sample(t.Context(), SampleConfig{Traffic: cfg.Traffic, Rows: 100, Ads: ads[4:5]}, &log); err == nil || !strings.Contains(err.Error(), "fit") {
		t.Errorf("an ad that never fits: %v", err)
	}
	if _, err := Sample(t.Context(), cfg, brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("a log that cannot be written: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sample(ctx, cfg, &log); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What an installation first learns from is about every format, and clicks are
// as rare in it as in life.
func TestDefaultSampleAds(t *testing.T) {
	var log bytes.Buffer
	result, err := Sample(t.Context(), SampleConfig{Traffic: TrafficConfig{Seed: 1, Users: 100_000}, Rows: 10_000, Ads: DefaultSampleAds()}, &log)
	if err != nil {
		t.Fatal(err)
	}
	if result.CTR < .006 || result.CTR > .015 {
		t.Errorf("CTR %.4f, want about 0.01", result.CTR)
	}
	if result.Auctions > 10_000 {
		t.Errorf("%d auctions for 10,000 rows: some format has no ad", result.Auctions)
	}
	for _, media := range []string{"banner", "video", "audio", "native"} {
		if n := strings.Count(log.String(), `"media":"`+media+`"`); n < 100 {
			t.Errorf("%d rows of %s, want at least 100", n, media)
		}
	}
}

func TestSequenceKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	s := newSequence(&out)
	for _, i := range []int{2, 0, 1, 4, 6, 3, 8} { // 5 and 7 never come
		if err := s.put(i, []byte{'a' + byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.flush(); err != nil || out.String() != "abcdegi" {
		t.Errorf("wrote %q, %v, want abcdegi", out.String(), err)
	}
}

func TestAppendJSON(t *testing.T) {
	for text, want := range map[string]string{"plain": `"plain"`, `a"b\c`: `"a\"b\\c"`, "\n": `"\n"`, "é": `"é"`, "": `""`} {
		if got := string(appendJSON(nil, text)); got != want {
			t.Errorf("appendJSON(%q) = %s, want %s", text, got, want)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	ads, err := ReadSampleAds(strings.NewReader(adList))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if _, err := Sample(b.Context(), SampleConfig{Traffic: TrafficConfig{Seed: 1, Users: 100_000}, Rows: 1000, Ads: ads}, &out); err != nil {
			b.Fatal(err)
		}
	}
}
