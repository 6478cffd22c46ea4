package loadtest

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bidwell/rtb"
)

// appendExample appends one line of a training log: an impression that was
// shown, with the bid request it came from, and whether it was clicked.
func appendExample(b []byte, o *Offer, s *Slot, ad *Ad, price rtb.Money, clicked, converted bool) []byte {
	b = append(b, `{"time":"`...)
	b = o.Time.UTC().AppendFormat(b, time.RFC3339)
	b = append(b, `","exchange":`...)
	b = appendJSON(b, o.Exchange)
	b = append(b, `,"imp":"`...)
	b = append(b, s.ID...)
	b = append(b, `","line_item":`...)
	b = appendJSON(b, ad.LineItem)
	b = append(b, `,"creative":`...)
	b = appendJSON(b, ad.Creative)
	b = append(b, `,"media":"`...)
	b = append(b, ad.Media.String()...)
	b = append(b, `",`...)
	b = appendSize(b, ad.Size)
	b = append(b, `,"price":`...)
	b = price.AppendCPM(b)
	b = append(b, `,"click":`...)
	b = appendBit(b, clicked)
	b = append(b, `,"conversion":`...)
	b = appendBit(b, converted)
	b = append(b, `,"segments":[`...)
	start := len(b)
	// What may not be looked up when bidding must not be learned from either.
	for i, name := range segmentNames {
		if o.User.Segments.Has(i) && o.known() {
			b = append(b, '"')
			b = append(b, name...)
			b = append(b, `",`...)
		}
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	b = append(b, `],"request":`...)
	b = append(b, o.Body...)
	return append(b, "}\n"...)
}

// known reports whether the bidder can find the profile of the user: the
// request carries an id of theirs and nothing restricts its use.
func (o *Offer) known() bool {
	if o.privacy.gdpr || o.privacy.coppa || o.privacy.lmt || o.privacy.gpp || o.privacy.usOptOut {
		return false
	}
	return o.Publisher.Kind == rtb.App || o.User.HasCookie
}

// appendJSON appends s as a JSON string. Ids of bids are anyone's text.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil { // a string cannot fail
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// sequence writes what many auctions at once produce in the order of the
// auctions, so that a log depends on the seed alone. It holds back at most
// what the auctions in flight have produced.
type sequence struct {
	mu      sync.Mutex
	out     *bufio.Writer
	next    int
	waiting map[int][]byte
	err     error
}

func newSequence(out io.Writer) *sequence {
	return &sequence{out: bufio.NewWriterSize(out, 64<<10), waiting: map[int][]byte{}}
}

// put takes what number i produced, maybe nothing. It keeps no reference to
// text.
func (s *sequence) put(i int, text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i != s.next {
		s.waiting[i] = append([]byte(nil), text...)
		return s.err
	}
	s.write(text)
	for s.next++; ; s.next++ {
		held, ok := s.waiting[s.next]
		if !ok {
			return s.err
		}
		delete(s.waiting, s.next)
		s.write(held)
	}
}

func (s *sequence) write(text []byte) {
	if s.err != nil || len(text) == 0 {
		return
	}
	if _, err := s.out.Write(text); err != nil {
		s.err = fmt.Errorf("training log: %w", err)
	}
}

// flush writes what is left: a run that is interrupted leaves out the numbers
// that it took but never played.
func (s *sequence) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range slices.Sorted(maps.Keys(s.waiting)) {
		s.write(s.waiting[i])
	}
	clear(s.waiting)
	if s.err == nil {
		if err := s.out.Flush(); err != nil {
			s.err = fmt.Errorf("training log: %w", err)
		}
	}
	return s.err
}

// SampleAd is a creative that a training log without a bidder may show.
type SampleAd struct {
	Ad
	Seconds int // video and audio
}

// ReadSampleAds reads CSV with a header naming the columns creative, line_item
// and media, and optionally width, height and seconds. Banners need a size.
func ReadSampleAds(r io.Reader) ([]SampleAd, error) {
	rows := csv.NewReader(r)
	rows.TrimLeadingSpace = true
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("creatives: header: %w", err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[strings.TrimSpace(name)] = i
	}
	for _, name := range []string{"creative", "line_item", "media"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("creatives: header has no column %q", name)
		}
	}
	var ads []SampleAd
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("creatives: %w", err)
		}
		line, _ := rows.FieldPos(0)
		ad := SampleAd{Ad: Ad{Creative: row[column["creative"]], LineItem: row[column["line_item"]]}}
		if ad.Creative == "" {
			return nil, fmt.Errorf("creatives: line %d: creative is empty", line)
		}
		for _, media := range []rtb.Media{rtb.Banner, rtb.Video, rtb.Audio, rtb.Native} {
			if row[column["media"]] == media.String() {
				ad.Media = media
			}
		}
		if ad.Media == 0 {
			return nil, fmt.Errorf("creatives: line %d: media %q: want banner, video, audio or native", line, row[column["media"]])
		}
		number := func(name string) (int, error) {
			i, ok := column[name]
			if !ok || row[i] == "" {
				return 0, nil
			}
			n, err := strconv.ParseUint(row[i], 10, 16)
			if err != nil {
				return 0, fmt.Errorf("creatives: line %d: %s %q: want a whole number up to 65535", line, name, row[i])
			}
			return int(n), nil
		}
		w, err := number("width")
		h, err2 := number("height")
		seconds, err3 := number("seconds")
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, err
		}
		ad.Size, ad.Seconds = rtb.Size{W: uint16(w), H: uint16(h)}, seconds
		if ad.Media == rtb.Banner && (w == 0 || h == 0) {
			return nil, fmt.Errorf("creatives: line %d: a banner needs width and height", line)
		}
		ads = append(ads, ad)
	}
	if len(ads) == 0 {
		return nil, errors.New("creatives: none in the list")
	}
	return ads, nil
}

// DefaultSampleAds is a list to learn from that is about no advertiser in
// particular: several creatives of every usual format, so that the luck of one
// does not colour its format.
func DefaultSampleAds() []SampleAd {
	var ads []SampleAd
	add := func(n int, media rtb.Media, size rtb.Size, seconds int, format string) {
		for i := range n {
			ads = append(ads, SampleAd{Seconds: seconds, Ad: Ad{
				LineItem: fmt.Sprintf("sample-%d", i+1), Creative: fmt.Sprintf("%s-%d", format, i+1), Media: media, Size: size}})
		}
	}
	for _, size := range []rtb.Size{
		{W: 320, H: 50}, {W: 320, H: 100}, {W: 300, H: 250}, {W: 728, H: 90}, {W: 160, H: 600}, {W: 300, H: 600},
		{W: 970, H: 250}, {W: 320, H: 480},
	} {
		add(12, rtb.Banner, size, 0, fmt.Sprintf("banner-%dx%d", size.W, size.H))
	}
	for _, seconds := range []int{6, 15, 30} {
		add(6, rtb.Video, rtb.Size{}, seconds, fmt.Sprintf("video-%ds", seconds))
	}
	add(8, rtb.Audio, rtb.Size{}, 15, "audio-15s")
	add(12, rtb.Native, rtb.Size{}, 0, "native")
	return ads
}

// fits reports whether the ad could show in a slot.
func (a *SampleAd) fits(s *Slot) bool {
	switch a.Media {
	case rtb.Banner:
		return s.Banner && s.offers(a.Size)
	case rtb.Video:
		return s.Video && a.Seconds <= s.MaxDuration
	case rtb.Audio:
		return s.Audio && a.Seconds <= s.MaxDuration
	}
	return s.Native
}

// SampleConfig sets a training log that needs no bidder.
type SampleConfig struct {
	Traffic TrafficConfig
	Rows    int // impressions to write
	Start   time.Time
	Span    time.Duration // simulated time that the rows cover; zero means a week
	Ads     []SampleAd
}

// SampleResult is what a training log holds.
type SampleResult struct {
	Rows        int     `json:"rows"`
	Clicks      int     `json:"clicks"`
	CTR         float64 `json:"ctr"`
	Conversions int     `json:"conversions"`
	Auctions    int     `json:"auctions"`
}

// Sample writes a training log: for each impression that any ad fits, one of
// those ads drawn at random, clicked or not by the hidden truth of the seed.
// The log is the same for a config, whatever the machine.
func Sample(ctx context.Context, cfg SampleConfig, w io.Writer) (SampleResult, error) {
	var result SampleResult
	if len(cfg.Ads) == 0 {
		return result, errors.New("creatives: none to show")
	}
	if cfg.Rows < 1 {
		return result, fmt.Errorf("rows: %d, want at least 1", cfg.Rows)
	}
	if cfg.Span <= 0 {
		cfg.Span = 7 * 24 * time.Hour
	}
	if cfg.Start.IsZero() {
		cfg.Start = DefaultStart
	}
	traffic, market := NewTraffic(cfg.Traffic), NewMarket(cfg.Traffic.Seed)
	out := bufio.NewWriterSize(w, 1<<20)
	var o Offer
	var line []byte
	fitting := make([]*SampleAd, 0, len(cfg.Ads))
	for i := 0; result.Rows < cfg.Rows; i++ {
		if i > 20*cfg.Rows+10_000 {
			return result, fmt.Errorf("creatives: they fit too few impressions: %d rows of %d auctions", result.Rows, i)
		}
		if i%1024 == 0 && ctx.Err() != nil {
			return result, ctx.Err()
		}
		// Time follows the rows, so that they cover the span whatever fits.
		now := cfg.Start.Add(time.Duration(float64(cfg.Span) * float64(result.Rows) / float64(cfg.Rows)))
		traffic.Offer(i, now, &o)
		result.Auctions++
		for n := range o.Slots {
			s := &o.Slots[n]
			fitting = fitting[:0]
			for a := range cfg.Ads {
				if cfg.Ads[a].fits(s) {
					fitting = append(fitting, &cfg.Ads[a])
				}
			}
			if len(fitting) == 0 || result.Rows == cfg.Rows {
				continue
			}
			d := dice(scramble(cfg.Traffic.Seed^0x7361_6d70, s.seed))
			ad := fitting[d.next()%uint64(len(fitting))].Ad
			if ad.Media == rtb.Video {
				ad.Size = s.Player
			}
			price := max(s.Floor, market.Rival(&o, s)) + priceStep
			clicked, converted := market.react(&o, s, &ad)
			line = appendExample(line[:0], &o, s, &ad, price, clicked, converted)
			if _, err := out.Write(line); err != nil {
				return result, fmt.Errorf("training log: %w", err)
			}
			result.Rows++
			result.Clicks += flagged(clicked)
			result.Conversions += flagged(converted)
		}
	}
	result.CTR = ratio(result.Clicks, result.Rows)
	if err := out.Flush(); err != nil {
		return result, fmt.Errorf("training log: %w", err)
	}
	return result, nil
}
