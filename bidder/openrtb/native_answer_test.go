package openrtb

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"bidwell/rtb"

	"github.com/prebid/openrtb/v20/native1/response"
	"pgregory.net/rapid"
)

func readNative(t *testing.T, text string) *response.Response {
	t.Helper()
	var wrapped struct{ Native json.RawMessage }
	if err := json.Unmarshal([]byte(text), &wrapped); err != nil {
		t.Fatalf("native answer does not parse: %v\n%s", err, text)
	}
	if wrapped.Native != nil {
		text = string(wrapped.Native)
	}
	var got response.Response
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatalf("native answer does not parse: %v\n%s", err, text)
	}
	if got.Ver != "1.2" || got.Link.URL != testBase+"/e/click?t="+testToken {
		t.Errorf("ver %q link %q", got.Ver, got.Link.URL)
	}
	if len(got.ImpTrackers) != 1 || !strings.HasPrefix(got.ImpTrackers[0], testBase+"/e/view?t="+testToken) {
		t.Errorf("imptrackers %q", got.ImpTrackers)
	}
	for _, e := range got.EventTrackers {
		if e.Event != eventViewable || e.Method != methodImage || e.URL != testBase+"/e/view?t="+testToken+"&v=viewable" {
			t.Errorf("event tracker %+v", e)
		}
	}
	for _, a := range got.Assets {
		if a.ID == nil {
			t.Errorf("asset without id: %+v", a)
		}
		if a.Video != nil {
			readVAST(t, a.Video.VASTTag)
		}
	}
	return &got
}

// answerNative fits, encodes and reads back.
func answerNative(t *testing.T, c *rtb.Creative, n *NativeRequest) *response.Response {
	t.Helper()
	bid := bidFor(c, `"1"`)
	if reason := FitNative(n, c, &bid.NativeIDs); reason != rtb.BidMade {
		t.Fatalf("FitNative = %v, want a fit", reason)
	}
	resp := responseOf(bid)
	answer := checkAnswer(t, AppendResponse(nil, resp, &testForm), resp)
	return readNative(t, answer.SeatBid[0].Bid[0].AdM)
}

// Viewable impressions are told where the request offers it, by an image.
func TestNativeViewable(t *testing.T) {
	c := compiled(t, nativeAd())
	for trackers, want := range map[string]int{
		``: 0, `{"event":1,"methods":[1,2]}`: 0, `{"event":2,"methods":[2]}`: 0, `{"event":3,"methods":[1]}`: 0,
		`{"event":2,"methods":[1]}`: 1, `{"event":1,"methods":[1]},{"event":2,"methods":[2,1]}`: 1,
	} {
		var n NativeRequest
		if err := n.Decode([]byte(`{"assets":[{"id":1,"title":{}}],"eventtrackers":[` + trackers + `]}`)); err != nil {
			t.Fatal(err)
		}
		for _, form := range []*Form{{}, {NativeWrapped: true}} {
			bid := bidFor(c, `"1"`)
			bid.NativeIDs[0], bid.Viewable = 1, n.Viewable()
			resp := responseOf(bid)
			answer := checkAnswer(t, AppendResponse(nil, resp, form), resp)
			if got := readNative(t, answer.SeatBid[0].Bid[0].AdM).EventTrackers; len(got) != want {
				t.Errorf("%s answered by %+v, want %d", trackers, got, want)
			}
		}
	}
}

func TestNativeAnswer(t *testing.T) {
	c := compiled(t, nativeAd())
	got := answerNative(t, c, &NativeRequest{Assets: []NativeAsset{
		{ID: 10, Required: true, Kind: rtb.NativeTitle, Len: 90},
		{ID: 20, Required: true, Kind: rtb.NativeImage, Type: imageMain, WMin: 300, HMin: 157},
		{ID: 30, Kind: rtb.NativeData, Type: dataDesc, Len: 140},
		{ID: 40, Kind: rtb.NativeData, Type: dataCTA},
		{ID: 50, Kind: rtb.NativeVideo, Protocols: rtb.BitsOf(2, 7), MaxDuration: 30, Mimes: rtb.ParseMime("video/mp4")},
		{ID: 60, Kind: rtb.NativeData, Type: 5}, // downloads, which it has not
		{ID: 70, Kind: rtb.NativeData, Type: dataDisplayURL},
	}})
	values := map[int64]string{}
	for _, a := range got.Assets {
		switch {
		case a.Title != nil:
			values[*a.ID] = a.Title.Text
		case a.Data != nil:
			values[*a.ID] = a.Data.Value
		case a.Img != nil:
			values[*a.ID] = a.Img.URL
			if a.Img.W != 1200 || a.Img.H != 627 {
				t.Errorf("image %+v, want 1200x627", a.Img)
			}
		case a.Video != nil:
			values[*a.ID] = "VAST " + readVAST(t, a.Video.VASTTag).Version
		}
	}
	want := map[int64]string{10: `Schnell "laufen" \ €`, 20: "https://cdn.example/m.jpg", 30: "Line one", 40: "Buy", 50: "VAST 4.0", 70: "shoes.example"}
	if len(values) != len(want) {
		t.Errorf("assets %v, want %v", values, want)
	}
	for id, value := range want {
		if values[id] != value {
			t.Errorf("asset %d = %q, want %q", id, values[id], value)
		}
	}
}

func TestFitNative(t *testing.T) {
	c := compiled(t, nativeAd())
	title := NativeAsset{ID: 1, Kind: rtb.NativeTitle}
	required := func(a NativeAsset) NativeAsset { a.Required = true; return a }
	tests := []struct {
		name   string
		assets []NativeAsset
		want   []int32 // ids answered; nil: no fit
	}{
		{"nothing asked", nil, nil},
		{"any title", []NativeAsset{title}, []int32{1}},
		{"title just fits", []NativeAsset{{ID: 1, Required: true, Kind: rtb.NativeTitle, Len: 20}}, []int32{1}},
		{"title too long", []NativeAsset{{ID: 1, Required: true, Kind: rtb.NativeTitle, Len: 19}}, nil},
		{"optional title too long", []NativeAsset{{ID: 1, Kind: rtb.NativeTitle, Len: 19}, {ID: 2, Kind: rtb.NativeImage}}, []int32{2}},
		{"nothing optional fits", []NativeAsset{{ID: 1, Kind: rtb.NativeTitle, Len: 19}}, nil},
		{"two titles required", []NativeAsset{required(title), {ID: 2, Required: true, Kind: rtb.NativeTitle}}, nil},
		{"two titles, one required", []NativeAsset{title, {ID: 2, Required: true, Kind: rtb.NativeTitle}}, []int32{2}},
		{"unknown kind required", []NativeAsset{title, {ID: 2, Required: true}}, nil},
		{"unknown kind", []NativeAsset{title, {ID: 2}}, []int32{1}},
		{"exact size", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, W: 1200, H: 627}}, []int32{3}},
		{"exact width alone", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, W: 100}}, []int32{3}},
		{"other size", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, W: 1200, H: 628}}, nil},
		{"wished size over minimum", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, W: 600, WMin: 300}}, []int32{3}},
		{"too small", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, Type: imageIcon, WMin: 101}}, nil},
		{"logo is an icon", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, Type: imageLogo, HMin: 100}}, []int32{3}},
		{"mime", []NativeAsset{{ID: 3, Required: true, Kind: rtb.NativeImage, Type: imageIcon, Mimes: rtb.ParseMime("image/jpeg")}}, nil},
		{"choosy image after any", []NativeAsset{
			{ID: 3, Required: true, Kind: rtb.NativeImage}, {ID: 4, Required: true, Kind: rtb.NativeImage, Type: imageMain},
		}, []int32{3, 4}},
		{"three images", []NativeAsset{
			{ID: 3, Required: true, Kind: rtb.NativeImage}, {ID: 4, Required: true, Kind: rtb.NativeImage}, {ID: 5, Required: true, Kind: rtb.NativeImage},
		}, nil},
		{"data too long", []NativeAsset{{ID: 6, Required: true, Kind: rtb.NativeData, Type: dataSponsored, Len: 4}}, nil},
		{"data missing", []NativeAsset{{ID: 6, Required: true, Kind: rtb.NativeData, Type: 8}}, nil},
		{"video", []NativeAsset{{ID: 7, Required: true, Kind: rtb.NativeVideo, MinDuration: 20, MaxDuration: 20}}, []int32{7}},
		{"video too long", []NativeAsset{{ID: 7, Required: true, Kind: rtb.NativeVideo, MaxDuration: 19}}, nil},
		{"video too short", []NativeAsset{{ID: 7, Required: true, Kind: rtb.NativeVideo, MinDuration: 21}}, nil},
		{"video protocol", []NativeAsset{{ID: 7, Required: true, Kind: rtb.NativeVideo, Protocols: rtb.BitsOf(5, 6)}}, nil},
		{"video mime", []NativeAsset{{ID: 7, Required: true, Kind: rtb.NativeVideo, Mimes: rtb.ParseMime("video/webm")}}, nil},
		{"id unknown", []NativeAsset{{ID: -1, Required: true, Kind: rtb.NativeTitle}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ids [rtb.MaxNativeAssets]int32
			reason := FitNative(&NativeRequest{Assets: tt.assets}, c, &ids)
			if tt.want == nil {
				if reason != rtb.NativeAssetsMismatch {
					t.Errorf("FitNative = %v with %v, want %v", reason, ids, rtb.NativeAssetsMismatch)
				}
				return
			}
			var got []int32
			for _, id := range ids {
				if id >= 0 {
					got = append(got, id)
				}
			}
			slices.Sort(got)
			if reason != rtb.BidMade || !slices.Equal(got, tt.want) {
				t.Errorf("FitNative = %v with %v, want %v", reason, got, tt.want)
			}
		})
	}
}

// When a creative fits, each required asset is answered once, by something of
// its kind that is not longer or smaller than asked.
func TestFitNativeKeepsPromises(t *testing.T) {
	c := compiled(t, nativeAd())
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Uint16Range(0, 4)
		assets := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) NativeAsset {
			return NativeAsset{
				Required: rapid.Bool().Draw(t, "required"), Kind: rtb.NativeKind(rapid.IntRange(0, 4).Draw(t, "kind")),
				Type: uint8(rapid.IntRange(0, 12).Draw(t, "type")), Len: small.Draw(t, "len") * 10,
				WMin: small.Draw(t, "wmin") * 50, HMin: small.Draw(t, "hmin") * 50, MaxDuration: small.Draw(t, "max") * 10,
			}
		}), 0, 8).Draw(t, "assets")
		for i := range assets {
			assets[i].ID = int32(i)
		}
		var ids [rtb.MaxNativeAssets]int32
		if FitNative(&NativeRequest{Assets: assets}, c, &ids) != rtb.BidMade {
			return
		}
		for i, a := range assets {
			by := slices.Index(ids[:], int32(i))
			if by < 0 {
				if a.Required {
					t.Fatalf("required asset %+v is not answered: %v", a, ids)
				}
				continue
			}
			if slices.Index(ids[by+1:], int32(i)) >= 0 {
				t.Fatalf("asset %d is answered twice: %v", i, ids)
			}
			have := c.Native[by]
			if have.Kind != a.Kind || a.Len > 0 && have.Chars > a.Len && a.Kind != rtb.NativeImage && a.Kind != rtb.NativeVideo ||
				a.Kind == rtb.NativeImage && (have.Size.W < a.WMin || have.Size.H < a.HMin) {
				t.Fatalf("asset %+v is answered by %+v", a, have)
			}
		}
	})
}

func TestFitNativeDoesNotAllocate(t *testing.T) {
	c := compiled(t, nativeAd())
	n := &NativeRequest{Assets: []NativeAsset{{ID: 1, Required: true, Kind: rtb.NativeTitle}, {ID: 2, Kind: rtb.NativeImage}, {ID: 3, Kind: rtb.NativeVideo}}}
	var ids [rtb.MaxNativeAssets]int32
	if allocs := testing.AllocsPerRun(100, func() { FitNative(n, c, &ids) }); allocs != 0 {
		t.Errorf("FitNative allocates %v times, want 0", allocs)
	}
}
