package bidder

import "bidwell/rtb"

// maxUsers is how many identifiers of one request are looked up.
const maxUsers = 4

// identify fills req.Users with the hashes of the identifiers of the user,
// our own cookie first. It is called only where permissions allow it.
func identify(req *rtb.Request, salt *[32]byte) {
	add := func(kind rtb.IDKind, id []byte) {
		if user := rtb.HashUser(salt, kind, id); user != (rtb.UserID{}) && len(req.Users) < maxUsers {
			req.Users = append(req.Users, user)
		}
	}
	if rtb.ValidCookie(req.User.BuyerUID) {
		add(rtb.IDCookie, req.User.BuyerUID)
	}
	if rtb.ValidDevice(req.Device.IFA) {
		add(rtb.IDDevice, req.Device.IFA)
	}
	var partner [256]byte
	for i := range req.User.EIDs {
		e := &req.User.EIDs[i]
		if len(e.Source)+1+len(e.ID) > len(partner) || len(e.ID) == 0 {
			continue
		}
		n := copy(partner[:], e.Source)
		partner[n] = ':'
		n += 1 + copy(partner[n+1:], e.ID)
		add(rtb.IDPartner, partner[:n])
	}
}
