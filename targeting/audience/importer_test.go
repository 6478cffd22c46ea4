package audience_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bidwell/rtb"
	"bidwell/store/pebble"
	"bidwell/store/storetest"
	"bidwell/targeting/audience"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var salt = [32]byte{1, 2, 3}

func newImporter(t testing.TB) (*audience.Importer, *pebble.Store) {
	t.Helper()
	store, err := pebble.Open("profiles", pebble.Options{InMemory: true, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return audience.NewImporter(store, &salt), store
}

func importText(t *testing.T, im *audience.Importer, up audience.Upload, text string) audience.Result {
	t.Helper()
	up.Segment = 1
	result, err := im.Import(t.Context(), storetest.Now, up, strings.NewReader(text), nil)
	if err != nil {
		t.Fatalf("Import: %v", err)
	}
	checkSum(t, result)
	return result
}

// checkSum reports a result whose counts do not add up.
func checkSum(t *testing.T, r audience.Result) {
	t.Helper()
	sum := r.Invalid + r.Added + r.Already + r.Removed + r.Missing + r.Duplicate + r.OptedOut + r.Full
	if sum != r.Read {
		t.Errorf("%d identifiers were read, but %d are accounted for: %+v", r.Read, sum, r)
	}
}

func member(t *testing.T, store *pebble.Store, user rtb.UserID) bool {
	t.Helper()
	return len(storetest.Segments(t, store, storetest.Now, user)) == 1
}

func user(kind rtb.IDKind, id string) rtb.UserID { return rtb.HashUser(&salt, kind, []byte(id)) }

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

const uuid = "6D92078A-8246-4BA4-AE5B-76104861E7DC"

// Each line must name the same user as the identifier in its normal form.
func TestIdentifiers(t *testing.T) {
	tests := []struct {
		name, id string
		kind     audience.Kind
		want     rtb.UserID
	}{
		{"email", "  Ada.L+news@Example.COM ", audience.Auto, user(rtb.IDEmail, hashed("ada.l+news@example.com"))},
		{"gmail", "A.d.a+news@Gmail.com", audience.Auto, user(rtb.IDEmail, hashed("ada@gmail.com"))},
		{"googlemail", "a.da@googlemail.com", audience.Email, user(rtb.IDEmail, hashed("ada@googlemail.com"))},
		{"hashed email", strings.ToUpper(hashed("ada@gmail.com")), audience.Auto, user(rtb.IDEmail, hashed("ada@gmail.com"))},
		{"hashed phone", hashed("+491701234567"), audience.PhoneHash, user(rtb.IDPhone, hashed("+491701234567"))},
		{"phone", "+49 (0) 170 / 123-45.67", audience.Auto, user(rtb.IDPhone, hashed("+491701234567"))},
		{"phone with 00", "0049 170 1234567", audience.Auto, user(rtb.IDPhone, hashed("+491701234567"))},
		{"device", uuid, audience.Auto, user(rtb.IDDevice, strings.ToLower(uuid))},
		{"cookie", "c00k1e-Of-Ours", audience.Auto, user(rtb.IDCookie, "c00k1e-Of-Ours")},
		{"cookie that looks like a phone number", "4917012345678", audience.Cookie, user(rtb.IDCookie, "4917012345678")},
		{"partner", "LiveRamp.com:XyZ:1", audience.Auto, user(rtb.IDPartner, "liveramp.com:XyZ:1")},
		{"quoted", `"ada@example.com"`, audience.Auto, user(rtb.IDEmail, hashed("ada@example.com"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im, store := newImporter(t)
			result := importText(t, im, audience.Upload{Kind: tt.kind}, tt.id+"\n")
			if result.Added != 1 || !member(t, store, tt.want) {
				t.Errorf("%q became another user: %+v", tt.id, result)
			}
		})
	}
}

func TestInvalidIdentifiers(t *testing.T) {
	tests := []struct {
		id     string
		kind   audience.Kind
		reason string
	}{
		{"ada@", audience.Auto, "e-mail"},
		{"@example.com", audience.Auto, "e-mail"},
		{"ada@localhost", audience.Auto, "e-mail"},
		{"ada@exa..mple.com", audience.Auto, "e-mail"},
		{"a da@example.com", audience.Auto, "e-mail"},
		{"+tag@gmail.com", audience.Auto, "e-mail"},
		{"ada", audience.Email, "e-mail"},
		{"0170 1234567", audience.Auto, "country code"},
		{"491701234567", audience.Phone, "country code"},
		{"+49170", audience.Auto, "phone number"},
		{"+4917012345678901234", audience.Auto, "phone number"},
		{"+0170123456", audience.Auto, "country code"},
		{"00000000-0000-0000-0000-000000000000", audience.Auto, "zeros"},
		{"6D92078A-8246-4BA4-AE5B-76104861E7D", audience.Device, "UUID"},
		{"ab" + strings.Repeat("c", 61) + "x", audience.EmailHash, "SHA-256"},
		{hashed(""), audience.Auto, "empty"},
		{"short", audience.Auto, "cookie"},
		{"liveramp.com:", audience.Partner, "source:id"},
		{strings.Repeat("x", 300), audience.Auto, "longer than 256"},
		{strings.Repeat("x", 5000), audience.Auto, "longer than 4096"},
		{`"not closed`, audience.Auto, "quotes"},
	}
	im, _ := newImporter(t)
	for _, tt := range tests {
		result := importText(t, im, audience.Upload{Kind: tt.kind}, "\n"+uuidOr(tt.kind)+"\n"+tt.id+"\n")
		if result.Invalid != 1 || len(result.Errors) != 1 || result.Errors[0].Line != 3 {
			t.Errorf("%.40q: %+v, want one error on line 3", tt.id, result)
			continue
		}
		reason := result.Errors[0].Error()
		if !strings.Contains(reason, tt.reason) || len(tt.id) > 4 && strings.Contains(reason, tt.id) {
			t.Errorf("%.40q: reason %q, want one with %q and without the identifier", tt.id, reason, tt.reason)
		}
	}
}

// uuidOr is a valid identifier of a kind.
func uuidOr(kind audience.Kind) string {
	return map[audience.Kind]string{
		audience.Email: "ada@example.com", audience.Phone: "+491701234567", audience.Partner: "a.b:c",
		audience.EmailHash: hashed("x"), audience.Device: uuid, audience.Auto: uuid,
	}[kind]
}

func TestCSV(t *testing.T) {
	ada, grace := user(rtb.IDEmail, hashed("ada@example.com")), user(rtb.IDEmail, hashed("grace@example.com"))
	device := user(rtb.IDDevice, strings.ToLower(uuid))
	tests := []struct {
		name, text    string
		columns       map[string]audience.Kind
		want          []rtb.UserID
		read, invalid int
	}{
		{"comma", "name,email,ifa\nAda,ada@example.com," + uuid + "\nGrace,grace@example.com,\n", nil, []rtb.UserID{ada, grace, device}, 3, 0},
		{"semicolon, BOM, CRLF", "\ufeffE-Mail;Name\r\nada@example.com;\"L;A\"\r\n", nil, []rtb.UserID{ada}, 1, 0},
		{"tab", "name\temail\nAda\tada@example.com", nil, []rtb.UserID{ada}, 1, 0},
		{"one column", "email\nada@example.com\n\n  \ngrace@example.com\n", nil, []rtb.UserID{ada, grace}, 2, 0},
		{"quotes", "name,email\n\"A \"\"L\"\", 1\",\"ada@example.com\"\n", nil, []rtb.UserID{ada}, 1, 0},
		{"own heading", "Kunde,Post\n1,ada@example.com\n", map[string]audience.Kind{"post": audience.Email}, []rtb.UserID{ada}, 1, 0},
		{"short row", "name,email\nAda\nGrace,grace@example.com\n", nil, []rtb.UserID{grace}, 2, 1},
		{"hash beside", "sha256_email,x\n" + hashed("ada@example.com") + ",1\n", nil, []rtb.UserID{ada}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im, store := newImporter(t)
			result := importText(t, im, audience.Upload{Columns: tt.columns}, tt.text)
			if result.Read != tt.read || result.Invalid != tt.invalid || result.Size != int64(len(tt.want)) {
				t.Errorf("%+v, want %d read, %d invalid, %d members", result, tt.read, tt.invalid, len(tt.want))
			}
			for i, user := range tt.want {
				if !member(t, store, user) {
					t.Errorf("user %d is no member", i)
				}
			}
		})
	}
}

func TestGzipAndProgress(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for n := range 20_000 {
		fmt.Fprintf(z, "cookie-%d\n", n%15_000)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	im, _ := newImporter(t)
	var seen []int
	result, err := im.Import(t.Context(), storetest.Now, audience.Upload{Segment: 1, TTL: time.Hour}, &packed, func(read int) { seen = append(seen, read) })
	if err != nil {
		t.Fatal(err)
	}
	checkSum(t, result)
	if result.Read != 20_000 || result.Added != 15_000 || result.Duplicate != 5_000 || result.Size != 15_000 {
		t.Errorf("%+v", result)
	}
	if !slices.IsSorted(seen) || len(seen) < 2 || seen[len(seen)-1] != 20_000 {
		t.Errorf("progress %v, want it to rise to 20000", seen)
	}
}

// Whatever is wrong with a list as a whole: the members stay as they were.
func TestBrokenListsChangeNothing(t *testing.T) {
	whole := "cookie-one\ncookie-two\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, strings.Repeat(whole, 1000))
	_ = z.Close()
	lost := errors.New("connection lost")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context
		up   audience.Upload
		list io.Reader
		want string
	}{
		{"connection lost", t.Context(), audience.Upload{}, io.MultiReader(strings.NewReader(whole), failing{lost}), "line 3: connection lost"},
		{"half a gzip", t.Context(), audience.Upload{}, bytes.NewReader(packed.Bytes()[:packed.Len()-9]), "unexpected EOF"},
		{"cancelled", cancelled, audience.Upload{}, strings.NewReader(whole), "canceled"},
		{"unknown columns", t.Context(), audience.Upload{}, strings.NewReader("a,b\n1,2\n"), "line 1: several columns"},
		{"UTF-16", t.Context(), audience.Upload{}, strings.NewReader("\xff\xfea\x00"), "UTF-16"},
		{"spreadsheet", t.Context(), audience.Upload{}, strings.NewReader("PK\x03\x04rest"), "spreadsheet"},
		{"empty", t.Context(), audience.Upload{}, strings.NewReader(""), "no usable identifier"},
		{"only invalid", t.Context(), audience.Upload{}, strings.NewReader("email\nx\ny\n"), "no usable identifier"},
		{"too many", t.Context(), audience.Upload{}, strings.NewReader(strings.Repeat(whole, 51)), "line 101: the list has too many"},
		{"too large", t.Context(), audience.Upload{}, strings.NewReader(strings.Repeat(" ", 20_000) + "\n" + whole), "line 1: the list is larger"},
		{"negative TTL", t.Context(), audience.Upload{TTL: -1}, strings.NewReader(whole), "ttl"},
		{"unknown mode", t.Context(), audience.Upload{Mode: 9}, strings.NewReader(whole), "mode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im, store := newImporter(t)
			im.Limit(100, 10_000)
			importText(t, im, audience.Upload{}, "cookie-zero\n")
			tt.up.Segment = 1
			if tt.up.Mode == 0 {
				tt.up.Mode = audience.Replace
			}
			if tt.name == "half a gzip" {
				im.Limit(10_000, 1<<20)
			}
			_, err := im.Import(tt.ctx, storetest.Now, tt.up, tt.list, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if store.SegmentSize(storetest.Now, 1) != 1 || !member(t, store, user(rtb.IDCookie, "cookie-zero")) {
				t.Error("the members have changed")
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestErrorsAreBounded(t *testing.T) {
	im, _ := newImporter(t)
	result := importText(t, im, audience.Upload{}, "cookie-zero\n"+strings.Repeat("bad@\n", 500))
	if result.Invalid != 500 || len(result.Errors) != 100 || result.Errors[99].Line != 101 {
		t.Errorf("%d invalid, %d errors, want 500 and the first 100", result.Invalid, len(result.Errors))
	}
}

func TestNames(t *testing.T) {
	for _, m := range []audience.Mode{audience.Add, audience.Replace, audience.Remove} {
		if got, err := audience.ParseMode(m.String()); err != nil || got != m {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	for k := audience.Auto; k <= audience.Partner; k++ {
		if got, err := audience.ParseKind(k.String()); err != nil || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, err)
		}
	}
	if _, err := audience.ParseMode("x"); err == nil {
		t.Error("ParseMode(x) succeeded")
	}
	if _, err := audience.ParseKind("x"); err == nil {
		t.Error("ParseKind(x) succeeded")
	}
}

// memory is the least that an Importer needs.
type memory map[rtb.UserID]bool

func (m memory) SegmentSize(time.Time, rtb.SegmentID) int64 { return int64(len(m)) }

func (m memory) Change(_ context.Context, _ time.Time, _ audience.Change, users iter.Seq2[rtb.UserID, error]) (o audience.Outcome, err error) {
	fresh := memory{}
	for user, err := range users {
		if err != nil {
			return audience.Outcome{}, err
		}
		if fresh[user] {
			o.Duplicate++
		} else {
			o.Added++
		}
		fresh[user] = true
	}
	maps.Copy(m, fresh)
	return o, nil
}

// An import must not panic, its counts must add up, an error must leave
// nothing behind, and no reason may repeat what was uploaded.
func FuzzImport(f *testing.F) {
	for _, seed := range []string{
		"ada@example.com\n+49 170 1234567\n" + uuid + "\n" + hashed("x"),
		"email;phone\n\"a\"\"@b.c\";00491701234567\r\n;;\n",
		"\ufeffid\tx\ncookie-zero\t\n", "\x1f\x8b\x08\x00", "a,b\n", "PK\x03\x04", "\"\n\"\"\n\"\"\"",
		"liveramp.com:abc\n(0)\n+(0)1\n+\n",
	} {
		f.Add([]byte(seed), uint8(0), false)
		f.Add([]byte(seed), uint8(audience.Phone), true)
	}
	f.Fuzz(func(t *testing.T, list []byte, kind uint8, pack bool) {
		if pack {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(list)
			_ = z.Close()
			list = b.Bytes()
		}
		store := memory{}
		im := audience.NewImporter(store, &salt)
		im.Limit(1000, 64<<10)
		up := audience.Upload{Segment: 1, Kind: audience.Kind(kind % 8)}
		result, err := im.Import(context.Background(), storetest.Now, up, bytes.NewReader(list), nil)
		if err != nil {
			if len(store) != 0 {
				t.Fatalf("after %v there are %d users", err, len(store))
			}
			return
		}
		checkSum(t, result)
		if result.Added != len(store) || len(store) == 0 || store[rtb.UserID{}] {
			t.Fatalf("%+v, but %d users, unknown user among them: %t", result, len(store), store[rtb.UserID{}])
		}
	})
}

// BenchmarkImport loads a million e-mail addresses from gzip into a store on
// disk.
func BenchmarkImport(b *testing.B) {
	for _, mode := range []audience.Mode{audience.Add, audience.Replace} {
		b.Run(mode.String(), func(b *testing.B) {
			const ids = 1_000_000
			var packed bytes.Buffer
			z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
			for n := range ids {
				fmt.Fprintf(z, "customer.%d@example%d.com\n", n, n%97)
			}
			if err := z.Close(); err != nil {
				b.Fatal(err)
			}
			store, err := pebble.Open(b.TempDir(), pebble.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			im := audience.NewImporter(store, &salt)
			if mode == audience.Replace { // onto users that are there
				if _, err := im.Import(b.Context(), storetest.Now, audience.Upload{Segment: 1}, bytes.NewReader(packed.Bytes()), nil); err != nil {
					b.Fatal(err)
				}
			}
			for segment := rtb.SegmentID(1); b.Loop(); {
				result, err := im.Import(b.Context(), storetest.Now, audience.Upload{Segment: segment, Mode: mode}, bytes.NewReader(packed.Bytes()), nil)
				if err != nil || result.Size != ids {
					b.Fatalf("%+v, %v", result, err)
				}
				if mode == audience.Add {
					segment++
				}
			}
			b.ReportMetric(ids*float64(b.N)/b.Elapsed().Seconds(), "ids/s")
		})
	}
}
