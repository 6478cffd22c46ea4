package privacy

import (
	"testing"

	"bidwell/rtb"
)

func TestDecide(t *testing.T) {
	free := Permissions{Bid: true, Profile: true, PreciseGeo: true, Measure: true}
	restricted := Permissions{Bid: true}
	tests := []struct {
		name    string
		signals rtb.Signals
		want    Permissions
	}{
		{"nothing said", rtb.Signals{}, free},
		{"gdpr without consent", rtb.Signals{GDPR: true}, restricted},
		{"gdpr with any consent string: it is not read yet", rtb.Signals{GDPR: true, Consent: []byte("CPXxRfAPXxRfA")}, restricted},
		{"consent string alone", rtb.Signals{Consent: []byte("CPXxRfAPXxRfA")}, free},
		{"children", rtb.Signals{COPPA: true}, restricted},
		{"limit ad tracking", rtb.Signals{LMT: true}, restricted},
		{"malformed", rtb.Signals{Malformed: true}, restricted},
		{"gpp", rtb.Signals{GPP: []byte("DBABMA~x")}, restricted},
		{"gpp sections only", rtb.Signals{GPPSID: rtb.BitsOf(7)}, restricted},
		{"no sale opt-out", rtb.Signals{USPrivacy: []byte("1YNN")}, free},
		{"not applicable", rtb.Signals{USPrivacy: []byte("1---")}, free},
		{"sale opt-out", rtb.Signals{USPrivacy: []byte("1YYN")}, restricted},
		{"sale opt-out, lower case", rtb.Signals{USPrivacy: []byte("1nyn")}, restricted},
		{"too short", rtb.Signals{USPrivacy: []byte("1")}, restricted},
		{"other version", rtb.Signals{USPrivacy: []byte("2YNN")}, restricted},
		{"other letters", rtb.Signals{USPrivacy: []byte("1YXN")}, restricted},
		{"text", rtb.Signals{USPrivacy: []byte("uspConsentString")}, restricted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Decide(&tt.signals); got != tt.want {
				t.Errorf("Decide(%+v) = %+v, want %+v", tt.signals, got, tt.want)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	request := func() *rtb.Request {
		return &rtb.Request{
			Users:  []rtb.UserID{{1}},
			User:   rtb.User{ID: []byte("u"), BuyerUID: []byte("b"), BirthYear: 1990, EIDs: []rtb.EID{{ID: []byte("e")}}},
			Device: rtb.Device{IFA: []byte("ifa"), IP: []byte("203.0.113.7"), UA: []byte("ua")},
			Geo:    rtb.Geo{Country: [2]byte{'D', 'E'}, Zip: []byte("10115"), Lat: 52.5, Lon: 13.4, HasPoint: true, Precise: true},
		}
	}

	kept := request()
	Redact(kept, Decide(&rtb.Signals{}))
	if len(kept.Users) != 1 || kept.User.BuyerUID == nil || kept.Device.IFA == nil || !kept.Geo.Precise {
		t.Errorf("Redact removed something that is permitted: %+v", kept)
	}

	cut := request()
	Redact(cut, Decide(&rtb.Signals{COPPA: true}))
	if len(cut.Users) != 0 || cut.User.ID != nil || cut.User.BuyerUID != nil || cut.User.BirthYear != 0 ||
		len(cut.User.EIDs) != 0 || cut.Device.IFA != nil || cut.Device.IP != nil {
		t.Errorf("Redact left the person in: %+v", cut)
	}
	if cut.Geo.HasPoint || cut.Geo.Precise || cut.Geo.Zip != nil || cut.Geo.Lat != 0 {
		t.Errorf("Redact left the place in: %+v", cut.Geo)
	}
	if cut.Geo.Country != [2]byte{'D', 'E'} || string(cut.Device.UA) != "ua" {
		t.Errorf("Redact removed what identifies nobody: %+v", cut)
	}
}
