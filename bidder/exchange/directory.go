package exchange

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"bidwell/bidder/openrtb"
	"bidwell/rtb"
)

// Exchange is a profile made ready for the bid path. It does not change.
type Exchange struct {
	Profile
	Form openrtb.Form

	// DefaultCurrency is what Profile.Currency says, USD where it says nothing.
	DefaultCurrency rtb.Currency
	// Header is where the secret is sent.
	Header string

	token []byte
}

// Admits reports whether token, as the exchange sent it, is its secret. Where
// the profile has none, anything is. It takes the same time for every token of
// the right length.
func (e *Exchange) Admits(token []byte) bool {
	return len(e.token) == 0 || subtle.ConstantTimeCompare(e.token, token) == 1
}

// Directory finds exchanges by name and number. It is immutable and safe to
// share; an edited profile makes a new one.
type Directory struct {
	names []string // of all, in their order
	byID  [256]*Exchange
	all   []*Exchange
}

// NewDirectory makes a directory of the given profiles. noticeBase is where
// notices go, such as "https://bid.example.com". The error names every profile
// and field that is wrong.
func NewDirectory(profiles []Profile, noticeBase string) (*Directory, error) {
	d := &Directory{}
	var errs []error
	if err := openrtb.CheckNoticeBase(noticeBase); err != nil {
		errs = append(errs, err)
	}
	for i := range profiles {
		p := profiles[i]
		if err := p.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("exchange %q: %w", p.Name, err))
			continue
		}
		if p.ID == 0 {
			p.ID = BuiltinID(p.Name)
		}
		if d.Lookup([]byte(p.Name)) != nil {
			errs = append(errs, fmt.Errorf("exchange %q: there are two", p.Name))
			continue
		}
		if other := d.byID[p.ID]; other != nil {
			errs = append(errs, fmt.Errorf("exchange %q: number %d is that of %q", p.Name, p.ID, other.Name))
			continue
		}
		e, err := newExchange(p, noticeBase)
		if err != nil {
			errs = append(errs, fmt.Errorf("exchange %q: %w", p.Name, err))
			continue
		}
		d.byID[e.ID] = e
		d.all, d.names = append(d.all, e), append(d.names, e.Name)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(d.all, func(a, b *Exchange) int { return cmp.Compare(a.ID, b.ID) })
	for i, e := range d.all {
		d.names[i] = e.Name
	}
	return d, nil
}

func newExchange(p Profile, noticeBase string) (*Exchange, error) {
	form, err := p.form(noticeBase)
	if err != nil {
		return nil, err
	}
	e := &Exchange{Profile: p, Form: form, DefaultCurrency: rtb.ParseCurrency(p.Currency), Header: p.TokenHeader, token: []byte(p.Token)}
	if e.DefaultCurrency == (rtb.Currency{}) {
		e.DefaultCurrency = rtb.USD
	}
	if e.Header == "" {
		e.Header = DefaultTokenHeader
	}
	e.Price.keys, err = e.Price.open()
	return e, err
}

// Lookup finds an exchange by the name in its bid address. It is nil for an
// unknown one. It does not allocate. Names are few, so that looking at each
// takes less than hashing one.
func (d *Directory) Lookup(name []byte) *Exchange {
	for i := range d.names {
		if d.names[i] == string(name) {
			return d.all[i]
		}
	}
	return nil
}

// ByID finds an exchange by its number. It is nil for an unknown one.
func (d *Directory) ByID(id rtb.ExchangeID) *Exchange { return d.byID[id] }

// All are the exchanges by number. The caller must not change the slice.
func (d *Directory) All() []*Exchange { return d.all }
