package openrtb

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prebid/openrtb/v20/openrtb2"

	"bidwell/rtb"
)

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

func exemplar(tb testing.TB, name string) []byte {
	tb.Helper()
	return readFile(tb, filepath.Join("testdata", filepath.FromSlash(name)+".request.json"))
}

// The two sizes run ours and the reference by turns, so that a change of the
// machine's speed meets both.
func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"generic/banner", "generic/large", "xandr/native", "index/video"} {
		body := exemplar(b, name)
		b.Run(strings.ReplaceAll(name, "/", "-")+"/openrtb", func(b *testing.B) {
			var req rtb.Request
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Decode(body, &req); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(strings.ReplaceAll(name, "/", "-")+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var req openrtb2.BidRequest
				if err := json.Unmarshal(body, &req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNativeRequest(b *testing.B) {
	var req rtb.Request
	if err := Decode(exemplar(b, "xandr/native"), &req); err != nil {
		b.Fatal(err)
	}
	text := req.Imps[0].Native.Request
	var n NativeRequest
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := n.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
