package targeting

import (
	"bytes"
	"strings"
	"testing"
)

func TestTrimDomain(t *testing.T) {
	tests := []struct{ in, want string }{
		{"example.com", "example.com"},
		{"WWW.Example.com", "Example.com"},
		{"www.com", "www.com"},
		{"wwwexample.com", "wwwexample.com"},
		{"http://www.example.com/path?x=//y", "example.com"},
		{"https://user@example.com:8080/", "example.com"},
		{"//example.com", "example.com"},
		{"example.com/a//b", "example.com"},
		{"example.com:443", "example.com"},
		{"example.com?a", "example.com"},
		{"*.example.com", "example.com"},
		{".example.com.", "example.com"},
		{" example.com\n", "example.com"},
		{"/", ""}, {"", ""}, {"http://", ""}, {"...", ""}, {"*", "*"},
	}
	for _, tt := range tests {
		if got := trimDomain([]byte(tt.in)); string(got) != tt.want {
			t.Errorf("trimDomain(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzTrimDomain(f *testing.F) {
	for _, s := range []string{"http://www.example.com/", "www.", "*.a.b", "a@b/c", "://", "//", "w", "."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := trimDomain(bytes.Clone(b))
		if !bytes.Contains(b, got) {
			t.Fatalf("trimDomain(%q) = %q, which is not in it", b, got)
		}
		if bytes.ContainsAny(got, "/:?#") || bytes.HasSuffix(got, []byte(".")) || bytes.HasPrefix(got, []byte(".")) {
			t.Fatalf("trimDomain(%q) = %q", b, got)
		}
		if len(got) > 0 && !covers(b, strings.ToLower(string(got))) && isASCII(got) {
			t.Fatalf("%q does not cover %q", b, got)
		}
	})
}

func isASCII(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r >= 0x80 }) < 0
}

func FuzzFold(f *testing.F) {
	f.Add("Straße", "STRASSE")
	f.Add("K", "K")
	f.Add("MÜNCHEN", "münchen")
	f.Add("ſ", "S")
	f.Fuzz(func(t *testing.T, a, b string) {
		want := strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
		if strings.ToValidUTF8(a, "") != a || strings.ToValidUTF8(b, "") != b {
			return
		}
		if got := foldString(a) == foldString(b); got != want {
			t.Fatalf("%q and %q fold to %q and %q, want equal: %t", a, b, foldString(a), foldString(b), want)
		}
	})
}

// Whatever a request sends, looking it up finds what is equal but for case.
func FuzzVocabulary(f *testing.F) {
	words := []string{"a", "ab", "abc", "abcd", "example.com", "iab7-39", "com.example.game", "a-rather-long-name.example.com"}
	var v vocabulary
	for _, w := range words {
		v.intern(w)
		f.Add([]byte(strings.ToUpper(w)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := int32(-1)
		for i, w := range words {
			if isASCII(b) && strings.EqualFold(w, string(b)) {
				want = int32(i)
			}
		}
		if got := v.find(b); got != want {
			t.Fatalf("find(%q) = %d, want %d", b, got, want)
		}
	})
}

func TestParentCategory(t *testing.T) {
	tests := []struct{ in, want string }{
		{"IAB7-39", "IAB7"}, {"iab7-39", "iab7"}, {"IAB7", ""}, {"IAB-1", ""}, {"BSW1-2", ""}, {"APN-58", ""},
		{"IAB7-", ""}, {"IAB7-x", ""}, {"IAB7-39-1", ""}, {"NEX7-101", ""}, {"", ""}, {"-", ""}, {"IAB1a-2", ""},
	}
	for _, tt := range tests {
		if got := parentCategory([]byte(tt.in)); string(got) != tt.want {
			t.Errorf("parentCategory(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
