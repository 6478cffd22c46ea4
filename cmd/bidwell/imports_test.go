package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "bidwell/"

// mayImport is the architecture: which packages of this module each package
// may import. The arrows go one way; a new arrow is a change to this table.
var mayImport = map[string]string{
	"rtb":                "",
	"privacy":            "rtb",
	"targeting":          "rtb",
	"targeting/audience": "rtb models",
	"pacing":             "rtb",
	"models":             "rtb",
	"events":             "rtb",
	"events/report":      "rtb",
	"events/track":       "rtb events",
	"bidder/openrtb":     "rtb",
	"bidder/exchange":    "rtb bidder/openrtb",
	"bidder":             "rtb privacy targeting pacing models events events/track bidder/exchange bidder/openrtb",
	"admin":              "rtb targeting/audience pacing models privacy events/report",
	"store/pebble":       "rtb pacing targeting/audience",
	"store/nats":         "rtb events",
	"store/sql":          "rtb models",
	"store/storetest":    "*",
	"loadtest":           "rtb pacing models events/report",
	"cmd/bidwell":        "*",
	"cmd/loadtest":       "rtb loadtest",
}

func TestImportsGoOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		checkImports(t, strings.TrimPrefix(pkg.ImportPath, module), pkg.Imports)
	}
	if seen != len(mayImport) {
		t.Errorf("%d packages, but the table has %d: add the new one, or remove the old", seen, len(mayImport))
	}
}

func checkImports(t *testing.T, pkg string, imports []string) {
	allowed, known := mayImport[pkg]
	if !known {
		t.Errorf("package %s is not in the table", pkg)
	}
	if allowed == "*" {
		return
	}
	for _, path := range imports {
		ours, is := strings.CutPrefix(path, module)
		if is && !slices.Contains(strings.Fields(allowed), ours) {
			t.Errorf("package %s may not import %s", pkg, ours)
		}
		if path == "net/http" && strings.HasPrefix(pkg, "bidder") {
			t.Errorf("package %s may not import net/http", pkg)
		}
	}
}
