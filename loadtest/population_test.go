package loadtest

import (
	"bytes"
	"math"
	"regexp"
	"strings"
	"testing"
)

func TestPopulationIsTheSameForASeed(t *testing.T) {
	a, b, other := NewPopulation(7, 1000), NewPopulation(7, 1000), NewPopulation(8, 1000)
	differ := 0
	for i := range 1000 {
		if a.User(i) != b.User(i) {
			t.Fatalf("User(%d) differs between equal populations", i)
		}
		if a.User(i).Device != other.User(i).Device {
			differ++
		}
	}
	if differ != 1000 {
		t.Errorf("%d of 1000 users have another device under another seed, want all", differ)
	}
	if a.User(1003) != a.User(3) || a.User(-1) != a.User(999) {
		t.Error("numbers outside the population do not wrap around")
	}
}

func TestPopulationIdentifiers(t *testing.T) {
	const users = 50_000
	p := NewPopulation(1, users)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := make(map[string]bool, 3*users)
	for i := range users {
		u := p.User(i)
		if i < 1000 && !uuid.Match(u.Device[:]) {
			t.Fatalf("device %q is no version 4 UUID", u.Device)
		}
		for _, id := range []string{string(u.Device[:]), string(u.Cookie[:]), u.Email()} {
			if seen[id] {
				t.Fatalf("%q belongs to two users", id)
			}
			seen[id] = true
		}
	}
}

func TestPopulationShares(t *testing.T) {
	const users = 100_000
	p := NewPopulation(3, users)
	countries, segments := map[string]float64{}, map[string]float64{}
	var propensity, square float64
	var apps, cookies, lmt int
	for i := range users {
		u := p.User(i)
		countries[u.Country] += 1. / users
		for _, name := range u.Segments.Names() {
			segments[name] += 1. / users
		}
		propensity += u.Propensity / users
		square += u.Propensity * u.Propensity / users
		apps += count(u.InApps)
		cookies += count(u.HasCookie)
		lmt += count(u.LMT)
		if distance := math.Hypot(u.Lat-u.place.lat, (u.Lon-u.place.lon)*math.Cos(u.place.lat*math.Pi/180)); distance > .25 {
			t.Fatalf("user %d lives %.2f degrees from %s", i, distance, u.City)
		}
		if u.Zip == "" || strings.ContainsAny(u.Zip, "#@") {
			t.Fatalf("user %d has zip %q", i, u.Zip)
		}
	}
	var total float64
	for _, pl := range places {
		total += float64(pl.weight)
	}
	for _, country := range []string{"US", "DE", "GB", "FR", "JP", "BR", "IN"} {
		var want float64
		for _, pl := range places {
			if pl.country == country {
				want += float64(pl.weight) / total
			}
		}
		if got := countries[country]; math.Abs(got-want) > .005 {
			t.Errorf("share of %s = %.3f, want %.3f", country, got, want)
		}
	}
	for i, name := range segmentNames {
		if got, want := segments[name], segmentShares[i]; got < want*.6 || got > want*1.5 {
			t.Errorf("share of %s = %.3f, want about %.3f", name, got, want)
		}
	}
	if math.Abs(propensity) > .02 || math.Abs(square-1) > .03 {
		t.Errorf("propensity has mean %.3f and second moment %.3f, want 0 and 1", propensity, square)
	}
	for name, share := range map[string][2]float64{
		"in apps":  {float64(apps) / users, .48},
		"cookie":   {float64(cookies) / users, .70},
		"lmt flag": {float64(lmt) / users, .16},
	} {
		if math.Abs(share[0]-share[1]) > .08 {
			t.Errorf("share with %s = %.3f, want about %.2f", name, share[0], share[1])
		}
	}
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

func TestMembersAreThoseInTheSegment(t *testing.T) {
	p := NewPopulation(5, 20_000)
	for _, name := range SegmentNames() {
		var want []int
		for i := range p.Len() {
			if u := p.User(i); u.In(name) {
				want = append(want, i)
			}
		}
		n := 0
		for u := range p.Members(name) {
			if n >= len(want) || u.Index != want[n] {
				t.Fatalf("%s: member %d is user %d", name, n, u.Index)
			}
			n++
		}
		if n != len(want) || n == 0 {
			t.Errorf("%s: %d members, want %d and some", name, n, len(want))
		}
	}
	for range p.Members("nobody") {
		t.Error("an unknown segment has a member")
	}
}

func TestWriteMembers(t *testing.T) {
	p := NewPopulation(5, 5000)
	for _, id := range []MemberID{MemberDevice, MemberCookie, MemberEmail} {
		var list bytes.Buffer
		n, err := p.WriteMembers(&list, "runners", id, 100)
		if err != nil || n != 100 {
			t.Fatalf("WriteMembers(%s) = %d, %v", id, n, err)
		}
		lines := strings.Split(strings.TrimSuffix(list.String(), "\n"), "\n")
		if len(lines) != 100 {
			t.Fatalf("%s: %d lines, want 100", id, len(lines))
		}
		i := 0
		for u := range p.Members("runners") {
			want := map[MemberID]string{MemberDevice: string(u.Device[:]), MemberCookie: string(u.Cookie[:]), MemberEmail: u.Email()}[id]
			if lines[i] != want {
				t.Fatalf("%s line %d = %q, want %q", id, i, lines[i], want)
			}
			if i++; i == len(lines) {
				break
			}
		}
	}
	if _, err := p.WriteMembers(&bytes.Buffer{}, "nobody", MemberDevice, 0); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("unknown segment: error %v does not name it", err)
	}
	if _, err := p.WriteMembers(&bytes.Buffer{}, "runners", "phone", 0); err == nil || !strings.Contains(err.Error(), `"phone"`) {
		t.Errorf("unknown identifier: error %v does not name it", err)
	}
}

func BenchmarkUser(b *testing.B) {
	p := NewPopulation(1, 10_000_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		u := p.User(i)
		i += 7919
		if u.Country == "" {
			b.Fatal("no country")
		}
	}
}
