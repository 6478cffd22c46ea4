package openrtb

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"bidwell/rtb"
)

func TestNativeRequest(t *testing.T) {
	const plain = `{"ver":"1.2","context":1,"plcmttype":"2","privacy":1,"assets":[
		{"id":1,"required":1,"title":{"len":90}},
		{"id":"2","required":"1","img":{"type":3,"w":1200.0,"h":627,"wmin":600,"hmin":314,"mimes":["image\/jpeg"]}},
		{"id":3,"data":{"type":12,"len":15}},
		{"id":4,"required":false,"video":{"mimes":["video/mp4"],"minduration":5,"maxduration":30,"protocols":[2,3]}}],
		"eventtrackers":[{"event":1,"methods":[1,2]},{"event":"2","methods":1},7]}`
	want := NativeRequest{
		Version: [3]byte{'1', '.', '2'}, Context: 1, Plcmt: 2, Privacy: true,
		Assets: []NativeAsset{
			{ID: 1, Required: true, Kind: rtb.NativeTitle, Len: 90},
			{ID: 2, Required: true, Kind: rtb.NativeImage, Type: 3, W: 1200, H: 627, WMin: 600, HMin: 314, Mimes: rtb.ParseMime("image/jpeg")},
			{ID: 3, Kind: rtb.NativeData, Type: 12, Len: 15},
			{ID: 4, Kind: rtb.NativeVideo, Mimes: rtb.ParseMime("video/mp4"), MinDuration: 5, MaxDuration: 30, Protocols: rtb.BitsOf(2, 3)},
		},
		Trackers: []NativeTracker{{Event: 1, Methods: rtb.BitsOf(1, 2)}, {Event: 2, Methods: rtb.BitsOf(1)}},
	}
	inString := strconv.Quote(strings.NewReplacer("\n", "", "\t", "").Replace(plain))
	var n NativeRequest
	for name, text := range map[string]string{
		"plain": plain, "wrapped": `{"native":` + plain + `}`, "in a string": inString, "wrapped in a string": strconv.Quote(`{"native":` + strings.ReplaceAll(strings.ReplaceAll(plain, "\n", ""), "\t", "") + `}`),
		"in a string in a string": strconv.Quote(inString), "with space": " \n" + plain + "\r\n",
	} {
		err := n.Decode([]byte(text))
		got := n
		got.arena = nil
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, want)
		}
	}
}

func TestNativeRequestErrors(t *testing.T) {
	asset := func(fields string) string { return `{"assets":[{` + fields + `}]}` }
	var many []string
	for i := range MaxAssets + 1 {
		many = append(many, fmt.Sprintf(`{"id":%d,"title":{}}`, i))
	}
	tests := []struct {
		text string
		want error
	}{
		{``, ErrSyntax}, {`x`, ErrSyntax}, {`[]`, ErrSyntax}, {`null`, ErrSyntax}, {`"`, ErrSyntax}, {`"\q"`, ErrSyntax}, {`"x"`, ErrSyntax},
		{`"{}" "{}"`, ErrSyntax}, {`"\"\\\"{}\\\"\""`, ErrSyntax}, {`{"assets":[{"id":1,"title":{}}]} x`, ErrSyntax}, {`{"assets":[{"id":1,}]}`, ErrSyntax},
		{`{"native":` + strings.Repeat(`{"native":`, 1000), ErrDepth},
		{`{}`, ErrNoAssets}, {`{"assets":[]}`, ErrNoAssets}, {`{"assets":null}`, ErrNoAssets}, {`{"assets":{}}`, ErrNoAssets}, {`{"assets":[null,7]}`, ErrNoAssets},
		{`{"assets":[` + strings.Join(many, ",") + `]}`, ErrNoAssets},
		{`{"assets":[` + strings.Join(many[1:], ",") + `]}`, nil},
		{asset(`"title":{"len":9}`), ErrAssetIDs}, {asset(`"id":null,"title":{}`), ErrAssetIDs}, {asset(`"id":"x","title":{}`), ErrAssetIDs},
		{asset(`"id":-1,"title":{}`), ErrAssetIDs}, {asset(`"id":1.5,"title":{}`), ErrAssetIDs}, {asset(`"id":2147483648,"title":{}`), ErrAssetIDs},
		{`{"assets":[{"id":1,"title":{}},{"id":"1","data":{}}]}`, ErrAssetIDs},
		{asset(`"id":0,"title":{}`), nil}, {asset(`"id":2147483647,"title":{}`), nil},
		{`{"assets":[{"id":1}],"assets":[{"id":1}]}`, nil},
	}
	var n NativeRequest
	for _, tt := range tests {
		if err := n.Decode([]byte(tt.text)); !errors.Is(err, tt.want) {
			t.Errorf("Decode(%.100s) = %v, want %v", tt.text, err, tt.want)
		}
	}
}

// What cannot be read or is not known leaves an asset that nothing can fill.
func TestNativeRequestUnknownAssets(t *testing.T) {
	var n NativeRequest
	for fields, want := range map[string]NativeAsset{
		`"required":1,"hologram":{}`:                {Required: true},
		`"required":{}`:                             {Required: true},
		`"required":0`:                              {},
		`"title":{},"img":{"w":1}`:                  {},
		`"title":7`:                                 {},
		`"title":null,"img":{"w":1}`:                {Kind: rtb.NativeImage, W: 1},
		`"img":null,"required":1`:                   {Required: true},
		`"title":{"len":"long"}`:                    {},
		`"img":{"w":-5}`:                            {},
		`"img":{"w":0.5}`:                           {},
		`"video":{"protocols":{}},"required":"yes"`: {Required: true},
		`"title":{"len":99999}`:                     {Kind: rtb.NativeTitle, Len: 65535},
		`"data":{"type":999,"len":null}`:            {Kind: rtb.NativeData, Type: 255},
		`"img":{"mimes":["image/tiff"],"ext":[{}]}`: {Kind: rtb.NativeImage, Mimes: rtb.MimeOther},
	} {
		want.ID = 5
		if err := n.Decode([]byte(`{"assets":[{"id":5,` + fields + `}]}`)); err != nil || n.Assets[0] != want {
			t.Errorf("{%s}: %v\n got %+v\nwant %+v", fields, err, n.Assets, want)
		}
	}
}

func TestNativeRequestDoesNotAllocate(t *testing.T) {
	var req rtb.Request
	if err := Decode(exemplar(t, "xandr/native"), &req); err != nil {
		t.Fatal(err)
	}
	inString := []byte(strconv.Quote(string(req.Imps[0].Native.Request)))
	var n NativeRequest
	run := func() {
		if err := errors.Join(n.Decode(req.Imps[0].Native.Request), n.Decode(inString)); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if len(n.Assets) != 6 || len(n.Trackers) != 2 {
		t.Fatalf("%d assets, %d trackers", len(n.Assets), len(n.Trackers))
	}
	if allocs := testing.AllocsPerRun(100, run); allocs != 0 {
		t.Errorf("Decode allocates %v times, want 0", allocs)
	}
}
