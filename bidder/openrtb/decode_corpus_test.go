package openrtb

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prebid/openrtb/v20/openrtb2"

	"bidwell/rtb"
)

// corpus opens a file of sample requests written by third parties. They are
// not part of the repository: BIDWELL_CORPUS or the folder beside it has them.
func corpus(t *testing.T, name string) *bufio.Scanner {
	dir := os.Getenv("BIDWELL_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	file, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no sample requests: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	return lines
}

func TestDecodeCorpusRequests(t *testing.T) {
	lines := corpus(t, "requests.jsonl")
	var req rtb.Request
	compared := 0
	for n := 1; lines.Scan(); n++ {
		var sample struct {
			Source string
			Kind   string
			Valid  *bool
			Body   json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &sample); err != nil {
			t.Fatal(err)
		}
		err := Decode(sample.Body, &req)
		var reference openrtb2.BidRequest
		if plainKeys(sample.Body) && json.Unmarshal(sample.Body, &reference) == nil && reference.ID != "" && len(reference.Imp) > 0 {
			compareRequest(t, sample.Body, err, &req, &reference)
			compared++
		}
		if sample.Valid == nil || !*sample.Valid {
			continue // may be refused; that it did not panic is enough
		}
		if err != nil {
			t.Errorf("line %d (%s): %v", n, sample.Source, err)
			continue
		}
		for i := range req.Imps {
			imp := &req.Imps[i]
			if imp.Broken {
				t.Errorf("line %d (%s): imp %s is broken", n, sample.Source, imp.ID)
			}
			if sample.Kind != "none" && !imp.HasBanner && !imp.HasVideo && !imp.HasAudio && !imp.HasNative {
				t.Errorf("line %d (%s): imp %s has no media", n, sample.Source, imp.ID)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if compared == 0 {
		t.Error("no sample was compared with the reference types")
	}
	t.Logf("%d samples compared with the reference types", compared)
}

func TestDecodeCorpusInvalid(t *testing.T) {
	lines := corpus(t, "invalid.jsonl")
	var req rtb.Request
	for lines.Scan() {
		var sample struct {
			Name   string
			Expect []int
			Body   *string `json:"body_b64"`
		}
		if err := json.Unmarshal(lines.Bytes(), &sample); err != nil {
			t.Fatal(err)
		}
		body := generated(sample.Name)
		if sample.Body != nil {
			var err error
			if body, err = base64.StdEncoding.DecodeString(*sample.Body); err != nil {
				t.Fatal(err)
			}
		}
		if body == nil {
			t.Errorf("%s: no body", sample.Name)
			continue
		}
		err := Decode(body, &req)
		if err == nil && len(sample.Expect) == 1 && sample.Expect[0] == 400 {
			t.Errorf("%s: accepted, want an error", sample.Name)
		}
		if err != nil && !slices.Contains(sample.Expect, 400) {
			t.Errorf("%s: %v, want one of %d", sample.Name, err, sample.Expect)
		}
		if err == nil && !slices.Contains(sample.Expect, 200) {
			for i := range req.Imps {
				imp := &req.Imps[i]
				sells := imp.HasBanner || imp.HasVideo || imp.HasAudio || imp.HasNative && len(imp.Native.Request) > 0
				if !imp.Broken && sells && !biddersBusiness[sample.Name] {
					t.Errorf("%s: imp %s looks sound, want %d", sample.Name, imp.ID, sample.Expect)
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// biddersBusiness are samples whose no-bid is not for the decoder to find.
var biddersBusiness = map[string]bool{
	"floor-huge": true, "cur-unknown": true, "floorcur-unknown": true, "wseat-nobody": true, "native-request-broken": true,
}

// generated makes the bodies that are too large for the file.
func generated(name string) []byte {
	const good = `{"id":"edge-1","imp":[{"id":"1","banner":{"w":300,"h":250},"bidfloor":0.1,"secure":1}],"site":{"id":"s1","domain":"example.com","page":"https://example.com/"},"device":{"ua":"Mozilla/5.0","ip":"203.0.113.7"},"user":{"id":"u1"},"at":1,"tmax":120,"cur":["USD"],`
	var b bytes.Buffer
	b.WriteString(good)
	switch name {
	case "badv-100k":
		b.WriteString(`"badv":[`)
		for i := range 100_000 {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"blocked-%06d.example"`, i)
		}
		b.WriteString(`]}`)
	case "nested-arrays-200000":
		b.WriteString(`"ext":{"x":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `}}`)
	case "nested-objects-200000":
		b.WriteString(`"ext":` + strings.Repeat(`{"a":`, 200_000) + `1` + strings.Repeat("}", 200_000) + `}`)
	default:
		return nil
	}
	return b.Bytes()
}
