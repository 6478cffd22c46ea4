package openrtb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prebid/openrtb/v20/openrtb2"

	"bidwell/rtb"
)

// oddValues are what a field may hold in place of what it should.
var oddValues = []string{
	`null`, `true`, `0`, `-1`, `300.0`, `0.5`, `1e999`, `18446744073709551616`, `""`, `"1"`, `"x"`, `[]`, `[null]`, `["a",{}]`, `[[7]]`, `{}`, `{"id":[1]}`,
}

// One odd field costs at most its imp: every value of every exemplar is
// replaced by every odd value in turn. What the reference types still read
// must be read the same.
func TestDecodeOddFields(t *testing.T) {
	var req rtb.Request
	for _, path := range exemplars(t) {
		if filepath.Base(path) == "large.request.json" {
			continue // nothing in it that the others have not
		}
		body := bytes.TrimSpace(readFile(t, path))
		for i, span := range values(body) {
			before := strings.Join(strings.Fields(string(body[:span[0]])), "")
			for _, odd := range oddValues {
				changed := fmt.Appendf(nil, "%s%s%s", body[:span[0]], odd, body[span[1]:])
				err := Decode(changed, &req)
				switch {
				case i == 0:
					if err == nil {
						t.Fatalf("%s is accepted", changed)
					}
					continue
				case before == `{"id":`:
					if err != nil && !errors.Is(err, ErrNoID) {
						t.Fatalf("%s: id %s: %v", path, odd, err)
					}
				case strings.HasSuffix(before, `"imp":`), strings.HasSuffix(before, `"imp":[`):
					if err != nil && !errors.Is(err, ErrNoImp) {
						t.Fatalf("%s: imp %s: %v", path, odd, err)
					}
				case err != nil:
					t.Fatalf("%s: …%s %s: %v", path, before[max(0, len(before)-40):], odd, err)
				}
				if err != nil {
					continue
				}
				checkRequest(t, &req)
				var reference openrtb2.BidRequest
				if json.Unmarshal(changed, &reference) == nil && reference.ID != "" && len(reference.Imp) > 0 {
					compareRequest(t, changed, err, &req, &reference)
				}
			}
		}
	}
}

// values finds the first and the last byte of every value in a JSON text.
func values(body []byte) (spans [][2]int) {
	s := scanner{buf: body}
	var walk func()
	walk = func() {
		i := len(spans)
		spans = append(spans, [2]int{s.pos})
		switch s.peek() {
		case '{':
			for _, ok := s.firstKey(); ok; _, ok = s.nextKey() {
				walk()
			}
		case '[':
			for ok := s.firstItem(); ok; ok = s.nextItem() {
				walk()
			}
		default:
			s.skip()
		}
		spans[i][1] = s.pos
	}
	walk()
	return spans
}
