// Package privacy decides what a bid request permits. The rest of the code
// never asks about a law, only about a permission.
//
// Consent strings are not read yet, so a request under GDPR, or with a GPP
// string, is treated as one without consent: it may be answered, but nothing
// is looked up or kept about the person. Erring on that side costs reach and
// harms nobody.
package privacy

import "bidwell/rtb"

// Permissions are what may be done with a request.
type Permissions struct {
	Bid        bool // answer at all
	Profile    bool // look up or write anything keyed by the user
	PreciseGeo bool // use a position finer than the city
	Measure    bool // keep the user on events
}

// Decide judges the signals of a request. A malformed signal is a
// restriction, never a permission.
func Decide(s *rtb.Signals) Permissions {
	restricted := s.GDPR || s.COPPA || s.LMT || s.Malformed ||
		len(s.GPP) > 0 || s.GPPSID != 0 || optedOut(s.USPrivacy)
	return Permissions{
		Bid:        true,
		Profile:    !restricted,
		PreciseGeo: !restricted,
		Measure:    !restricted,
	}
}

// optedOut reports whether a US Privacy string (IAB CCPA 1.0) forbids the sale
// of personal data: its third character is Y, or the string is not of the form
// "1" followed by three of Y, N and "-". No string is no restriction.
func optedOut(s []byte) bool {
	if len(s) == 0 {
		return false
	}
	if len(s) != 4 || s[0] != '1' {
		return true
	}
	for i := 1; i < 4; i++ {
		switch s[i] {
		case 'Y', 'N', '-', 'y', 'n':
		default:
			return true
		}
	}
	return s[2] == 'Y' || s[2] == 'y'
}

// Redact removes from req what p does not permit, before anyone else sees it.
func Redact(req *rtb.Request, p Permissions) {
	if !p.Profile {
		eids := req.User.EIDs[:0]
		req.User = rtb.User{EIDs: eids}
		req.Device.IFA = nil
		req.Device.IP = nil
		req.Users = req.Users[:0]
	}
	if !p.PreciseGeo {
		req.Geo.HasPoint, req.Geo.Precise = false, false
		req.Geo.Lat, req.Geo.Lon = 0, 0
		req.Geo.Zip = nil
	}
}
