package loadtest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Line is one request of an input file.
type Line struct {
	File   string
	Number int    // of the line, from 1
	Name   string // its name or source, where the file gives one
	Body   []byte

	// Exchange is the profile it is meant for; empty when not said.
	Exchange string
	// Expect is the status codes that are right; empty when the file does not say.
	Expect []int
	// Valid is whether the request keeps the rules of OpenRTB; nil when that
	// is not said or arguable.
	Valid *bool
	// Kind is banner, video, audio, native, multi, or empty when not said.
	Kind string

	unlabelled bool // a bare body: nothing is known of it
}

// maxLine bounds one line of an input file.
const maxLine = 64 << 20

// ReadFiles reads files of JSON lines. A line is either a bid request itself
// or an object with the request in "body", or its bytes in "body_b64", beside
// "expect", "valid", "kind", "exchange" and "name" or "source". An entry with neither body
// is one of the few that are made by name because they are too long to keep.
func ReadFiles(paths ...string) ([]Line, error) {
	var lines []Line
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		lines, err = readLines(lines, path, file)
		file.Close()
		if err != nil {
			return nil, err
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no requests", strings.Join(paths, ", "))
	}
	return lines, nil
}

func readLines(lines []Line, name string, r io.Reader) ([]Line, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	number := 0
	for scanner.Scan() {
		number++
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 {
			continue
		}
		line, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		line.File, line.Number = name, number
		lines = append(lines, line)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, number+1, err)
	}
	return lines, nil
}

func parseLine(text []byte) (Line, error) {
	var entry struct {
		Body     json.RawMessage `json:"body"`
		Base64   *string         `json:"body_b64"`
		Expect   []int           `json:"expect"`
		Valid    *bool           `json:"valid"`
		Kind     string          `json:"kind"`
		Name     string          `json:"name"`
		Source   string          `json:"source"`
		Exchange string          `json:"exchange"`
		Generate string          `json:"generate"`
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return Line{}, err
	}
	_, body := keys["body"]
	_, base := keys["body_b64"]
	if !body && !base {
		return Line{Body: bytes.Clone(text), unlabelled: true}, nil
	}
	if err := json.Unmarshal(text, &entry); err != nil {
		return Line{}, err
	}
	line := Line{Name: entry.Name, Expect: entry.Expect, Valid: entry.Valid, Kind: entry.Kind, Exchange: entry.Exchange}
	if line.Name == "" {
		line.Name = entry.Source
	}
	var err error
	switch {
	case body:
		line.Body = bytes.Clone(entry.Body)
	case entry.Base64 != nil:
		line.Body, err = base64.StdEncoding.DecodeString(*entry.Base64)
	case entry.Generate != "":
		line.Body, err = generateNamed(entry.Name)
	default:
		err = errors.New("neither body, body_b64 nor generate")
	}
	return line, err
}

// generateNamed makes the bodies that are too long for a file.
func generateNamed(name string) ([]byte, error) {
	const start = `{"id":"edge-1","imp":[{"id":"1","banner":{"w":300,"h":250},"bidfloor":0.1,"secure":1}],` +
		`"site":{"id":"s1","domain":"example.com","page":"https://example.com/"},` +
		`"device":{"ua":"Mozilla/5.0","ip":"203.0.113.7"},"user":{"id":"u1"},"at":1,"tmax":120,"cur":["USD"],`
	body := []byte(start)
	switch name {
	case "badv-100k":
		body = append(body, `"badv":[`...)
		for i := range 100_000 {
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `"blocked-%06d.example"`, i)
		}
		return append(body, "]}"...), nil
	case "nested-arrays-200000":
		body = append(body, `"ext":{"x":`...)
		body = append(body, strings.Repeat("[", 200_000)...)
		body = append(body, strings.Repeat("]", 200_000)...)
		return append(body, "}}"...), nil
	case "nested-objects-200000":
		body = append(body, `"ext":`...)
		body = append(body, strings.Repeat(`{"a":`, 200_000)...)
		body = append(body, '1')
		body = append(body, strings.Repeat("}", 200_000)...)
		return append(body, '}'), nil
	}
	return nil, fmt.Errorf("no way to generate %q is known", name)
}
