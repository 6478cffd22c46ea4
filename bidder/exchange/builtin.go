package exchange

import (
	"slices"
	"time"

	"bidwell/rtb"
)

// Builtin returns the profiles that need no document. What an account agrees
// on with an exchange (its seat, its secret, its keys, its share of traffic)
// is not in them; a document of the same name replaces one, see [Merge].
func Builtin() []Profile {
	const ms = Duration(time.Millisecond)
	all := []Notice{NURL, BURL, LURL}
	return []Profile{
		// Any OpenRTB 2.x exchange without a profile of its own.
		{ID: 1, Name: "generic", TMax: 100 * ms, Reserve: 20 * ms,
			Notices: all, Billing: BURL, Gzip: true, Version: "2.6"},

		// Google Authorized Buyers: tmax is 80 to 1000 ms by format; above 15 %
		// late or unreadable answers it throttles; a no-bid must be an empty 204; a
		// crid has at most 128 bytes; the price comes encrypted, in the markup. It
		// cannot be opened before the account's keys are filled in.
		{ID: 2, Name: "google", TMax: 100 * ms, Reserve: 25 * ms,
			Billing: Pixel, Price: PriceMacro{Kind: Encrypted}, MaxCRID: 128, Gzip: true, Version: "2.6"},

		// Index Exchange: usually less than 100 ms; OpenRTB 2.6; wants
		// seatbid.seat and its notification macro in adm; secure markup only.
		{ID: 3, Name: "index", TMax: 100 * ms, Reserve: 20 * ms, Seat: "bidwell",
			Billing: Pixel, Gzip: true, Version: "2.6"},

		// Xandr: OpenRTB 2.4, which has neither burl nor lurl; 100 ms for most
		// sellers; at most 15 bids; creatives are registered and audited first.
		{ID: 4, Name: "xandr", TMax: 100 * ms, Reserve: 20 * ms,
			MaxBids: 15, Notices: []Notice{NURL}, Billing: Pixel, Version: "2.4"},

		// PubMatic: 100 ms with the connection included; its integration test
		// wants answers within 75 ms.
		{ID: 5, Name: "pubmatic", TMax: 100 * ms, Reserve: 25 * ms,
			Notices: all, Billing: BURL, Gzip: true, Version: "2.5"},

		// Magnite: a 100 ms budget when the request names none.
		{ID: 6, Name: "magnite", TMax: 100 * ms, Reserve: 20 * ms,
			Notices: all, Billing: BURL, Gzip: true, Version: "2.6"},

		// Smaato: 250 ms in the US and EMEA, 650 ms in APAC, 100 ms recommended;
		// an answer has at most 6,144 bytes.
		{ID: 7, Name: "smaato", TMax: 250 * ms, Reserve: 50 * ms,
			Notices: all, Billing: BURL, MaxResponse: 6144, Gzip: true, Version: "2.6"},

		// Unity: 200 ms; connections stay idle for 90 s and more; gzip advised;
		// offers lurl.
		{ID: 8, Name: "unity", TMax: 200 * ms, Reserve: 30 * ms,
			Notices: all, Billing: BURL, Gzip: true, Version: "2.5"},

		// BidSwitch: carries the deadlines of many supply partners; recommends
		// gzip and warns that some requests stay uncompressed; USD unless said.
		{ID: 9, Name: "bidswitch", TMax: 100 * ms, Reserve: 25 * ms,
			Notices: all, Billing: BURL, Gzip: true, Version: "2.5"},
	}
}

// BuiltinID is the number of a built-in profile, or zero.
func BuiltinID(name string) rtb.ExchangeID {
	for i, n := range builtinNames {
		if n == name {
			return rtb.ExchangeID(i + 1)
		}
	}
	return 0
}

// builtinNames are in the order of their numbers.
var builtinNames = [...]string{"generic", "google", "index", "xandr", "pubmatic", "magnite", "smaato", "unity", "bidswitch"}

// Merge returns the built-in profiles, each replaced by the document of its
// name if there is one, and the other documents after them.
func Merge(documents []Profile) []Profile {
	profiles := Builtin()
	for _, d := range documents {
		i := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == d.Name })
		if i < 0 {
			profiles = append(profiles, d)
		} else {
			profiles[i] = d
		}
	}
	return profiles
}
