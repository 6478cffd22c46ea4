package loadtest

import (
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
)

// Segments a simulated user may be in. They are the truth about the user: an
// uploaded audience repeats it, and clicks follow it.
const (
	segRunners = iota
	segTravellers
	segGamers
	segParents
	segCars
	segBought
	segStudents
	segCooks
	segInvestors
	segFootball
	segPets
	segGardeners
	segMusic
	segTechies
	segFashion
	segMovers
	segmentCount
)

var segmentNames = [segmentCount]string{
	"runners", "travellers", "gamers", "parents", "in-market-cars", "bought-30d", "students", "cooks",
	"investors", "football-fans", "pet-owners", "gardeners", "music-lovers", "techies", "fashion", "new-movers",
}

// segmentShares are the shares of all users, before age and gender shift them.
var segmentShares = [segmentCount]float64{
	.08, .15, .12, .18, .04, .03, .06, .14, .05, .16, .20, .07, .22, .10, .11, .02,
}

// SegmentNames lists the segments that simulated users may be in.
func SegmentNames() []string { return slices.Clone(segmentNames[:]) }

// Segments is a set of the segments that [SegmentNames] lists, by their place
// in that list.
type Segments uint32

// Has reports whether the set holds the segment of that place.
func (s Segments) Has(place int) bool { return s&(1<<place) != 0 }

// Names lists the names of the set.
func (s Segments) Names() []string {
	var names []string
	for i, name := range segmentNames {
		if s.Has(i) {
			names = append(names, name)
		}
	}
	return names
}

// Population is a number of users that exist only by computation: any of them
// is made when asked for, always the same for a seed, so ten million cost no
// memory. It is safe for concurrent use.
type Population struct {
	seed  uint64
	users int
}

// NewPopulation describes users numbered 0 to users-1; at least one.
func NewPopulation(seed uint64, users int) *Population {
	return &Population{seed: seed, users: max(users, 1)}
}

// Len is the number of users.
func (p *Population) Len() int { return p.users }

// User is one simulated person with one device.
type User struct {
	Index    int
	Device   [36]byte // advertising id, a version 4 UUID in lower case
	Cookie   [24]byte // the bidder's own cookie id, as exchanges return it in user.buyeruid
	Zip      string
	Country  string // ISO 3166-1 alpha-2
	Alpha3   string
	Region   string
	City     string
	Lat, Lon float64
	Offset   int16 // minutes from UTC
	Language string

	DeviceType uint8 // OpenRTB list "device types"
	OS         string
	OSVersion  string
	Connection uint8 // OpenRTB list "connection types"
	Carrier    string
	InApps     bool // is met in apps rather than on sites
	BirthYear  uint16
	Gender     byte // 'M', 'F', or zero where unknown

	Segments   Segments
	Propensity float64 // hidden: how readily the person clicks, standard normal

	HasCookie bool // the exchanges know our cookie id of the person
	LMT       bool // the device limits tracking
	Consents  bool // to every purpose, where the law asks

	gadget *gadget
	place  *place
	seed   uint64
}

// User makes user number i; numbers beyond the last wrap around.
func (p *Population) User(i int) User {
	i %= p.users
	if i < 0 {
		i += p.users
	}
	seed := scramble(p.seed, uint64(i))
	d := dice(seed)
	u := User{Index: i, seed: seed}

	pl := &places[weightedPick(len(places), d.next(), func(i int) uint32 { return places[i].weight })]
	u.place = pl
	u.Country, u.Alpha3, u.Region, u.City, u.Offset = pl.country, pl.alpha3, pl.region, pl.city, pl.offset
	u.Language, u.Carrier = pl.language, pl.carrier
	// About 6 km around the centre, two thirds of them; never beyond 25 km.
	u.Lat = pl.lat + max(-3, min(3, d.normal()))*.055
	u.Lon = pl.lon + max(-3, min(3, d.normal()))*.055/math.Cos(pl.lat*math.Pi/180)
	u.Zip = fillZip(pl.zip, d.next())

	rich := pl.country == "JP" || pl.country == "US" || pl.country == "GB"
	g := &gadgets[weightedPick(len(gadgets), d.next(), func(i int) uint32 {
		if rich {
			return gadgets[i].inJapan
		}
		return gadgets[i].weight
	})]
	u.gadget, u.DeviceType, u.OS, u.OSVersion = g, g.kind, g.os, g.version
	u.InApps = !g.forSite || (g.forApps && d.chance(.6))
	switch {
	case g.kind == 4 && d.chance(.45):
		u.Connection = [4]uint8{5, 6, 6, 7}[d.next()%4] // 3G, 4G, 5G
	case g.kind == 2 || g.kind == 3:
		u.Connection, u.Carrier = 1, ""
	default:
		u.Connection, u.Carrier = 2, ""
	}

	u.BirthYear, u.Gender = p.person(seed)
	u.Segments = p.segments(seed, u.BirthYear, u.Gender)
	d = dice(seed ^ 0x7072_6f70)
	u.Propensity = d.normal()
	u.HasCookie = d.chance(.7)
	u.LMT = d.chance(.05) || (g.apple && d.chance(.35))
	u.Consents = d.chance(.85)
	if d.chance(.15) {
		u.Gender = 0 // the publisher does not know
	}
	appendUUID(u.Device[:0], seed)
	var raw [12]byte
	h := dice(seed ^ 0x636f_6f6b_6965)
	for i := range raw {
		raw[i] = byte(h.next())
	}
	hex.Encode(u.Cookie[:], raw[:])
	return u
}

// Email is the person's address, as an advertiser's customer file has it.
func (u *User) Email() string { return string(u.AppendEmail(nil)) }

// AppendEmail appends what [User.Email] returns.
func (u *User) AppendEmail(dst []byte) []byte {
	d := dice(u.seed ^ 0x6d61_696c)
	r := d.next()
	dst = append(dst, givenNames[r%uint64(len(givenNames))]...)
	dst = append(dst, '.')
	dst = append(dst, familyNames[r>>8%uint64(len(familyNames))]...)
	dst = strconv.AppendInt(dst, int64(u.Index), 36)
	return append(append(dst, "@mail."...), "example"...)
}

var givenNames = [...]string{"anna", "ben", "carla", "david", "emma", "felix", "grace", "hiro", "ines", "joao", "kavya", "liam", "maria", "noah", "olga", "priya"}
var familyNames = [...]string{"meyer", "smith", "martin", "tanaka", "silva", "sharma", "garcia", "rossi", "jansen", "brown", "dubois", "weber", "sato", "costa", "khan", "wilson"}

// In reports whether the user is in a segment that [SegmentNames] lists.
func (u *User) In(segment string) bool {
	place := slices.Index(segmentNames[:], segment)
	return place >= 0 && u.Segments.Has(place)
}

// person draws age and gender apart from the rest, because segments follow
// from them and are asked for on their own by [Population.Members].
func (p *Population) person(seed uint64) (born uint16, gender byte) {
	d := dice(seed ^ 0x70_6572_736f_6e)
	born = uint16(2010 - d.next()%60)
	if gender = 'F'; d.chance(.5) {
		gender = 'M'
	}
	return born, gender
}

func (p *Population) segments(seed uint64, born uint16, gender byte) Segments {
	d := dice(seed ^ 0x7365_676d)
	young, old := born > 1998, born < 1970
	var s Segments
	for i, share := range segmentShares {
		switch i {
		case segGamers, segMusic:
			share = shift(share, young, 1.8, .8)
		case segStudents:
			share = shift(share, young, 3.2, .2)
		case segParents:
			share = shift(share, young || old, .4, 1.7)
		case segInvestors, segGardeners:
			share = shift(share, old, 1.7, .8)
		case segFootball:
			share = shift(share, gender == 'M', 1.5, .5)
		case segFashion:
			share = shift(share, gender == 'F', 1.4, .6)
		}
		if d.chance(share) {
			s |= 1 << i
		}
	}
	return s
}

func shift(share float64, applies bool, yes, no float64) float64 {
	if applies {
		return share * yes
	}
	return share * no
}

// Members goes through the users that are in a segment, in order. An unknown
// segment has none.
func (p *Population) Members(segment string) iter.Seq[User] {
	place := slices.Index(segmentNames[:], segment)
	return func(yield func(User) bool) {
		if place < 0 {
			return
		}
		for i := range p.users {
			seed := scramble(p.seed, uint64(i))
			born, gender := p.person(seed)
			if p.segments(seed, born, gender).Has(place) && !yield(p.User(i)) {
				return
			}
		}
	}
}

// MemberID says which identifier a list of members holds.
type MemberID string

// The identifiers that lists may hold.
const (
	MemberDevice MemberID = "device"
	MemberCookie MemberID = "cookie"
	MemberEmail  MemberID = "email"
)

// WriteMembers writes one identifier a line of everyone in a segment, at most
// limit of them where limit is above zero, and returns how many.
func (p *Population) WriteMembers(w io.Writer, segment string, id MemberID, limit int) (int, error) {
	if !slices.Contains(segmentNames[:], segment) {
		return 0, fmt.Errorf("segment %q: unknown, want one of %v", segment, segmentNames)
	}
	if id != MemberDevice && id != MemberCookie && id != MemberEmail {
		return 0, fmt.Errorf("identifier %q: want device, cookie or email", id)
	}
	var line []byte
	n := 0
	for u := range p.Members(segment) {
		switch line = line[:0]; id {
		case MemberDevice:
			line = append(line, u.Device[:]...)
		case MemberCookie:
			line = append(line, u.Cookie[:]...)
		case MemberEmail:
			line = u.AppendEmail(line)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return n, err
		}
		if n++; n == limit {
			break
		}
	}
	return n, nil
}

func fillZip(pattern string, r uint64) string {
	out := []byte(pattern)
	for i, c := range out {
		switch c {
		case '#':
			out[i] = byte('0' + r%10)
			r /= 10
		case '@':
			out[i] = "ABDEFGHJLNPQRSTUWXYZ"[r%20]
			r /= 20
		}
	}
	return string(out)
}

// appendUUID appends a version 4 UUID in lower case made of seed.
func appendUUID(dst []byte, seed uint64) []byte {
	d := dice(seed ^ 0x7575_6964)
	hi := d.next()&^0xf000 | 0x4000
	lo := d.next()&^(3<<62) | 1<<63
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		v := hi
		if i >= 16 {
			v = lo
		}
		dst = append(dst, "0123456789abcdef"[v>>(60-4*(i%16))&15])
	}
	return dst
}

// dice is a splitmix64 generator: seeded by value, one per thing drawn, so
// that the order in which things are drawn never matters.
type dice uint64

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// float is uniform in [0, 1).
func (d *dice) float() float64 { return float64(d.next()>>11) / (1 << 53) }

func (d *dice) chance(p float64) bool { return d.float() < p }

// normal is standard normal (Box and Muller, one of the pair).
func (d *dice) normal() float64 {
	return math.Sqrt(-2*math.Log(1-d.float())) * math.Cos(2*math.Pi*d.float())
}

// scramble mixes two numbers into one seed.
func scramble(a, b uint64) uint64 {
	d := dice(a ^ b*0xff51afd7ed558ccd)
	return d.next() ^ b
}
