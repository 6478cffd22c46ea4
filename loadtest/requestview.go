package loadtest

import "strings"

// The kinds of ad, by OpenRTB's mtype.
const (
	banner = 1
	video  = 2
	audio  = 3
	native = 4
)

var mediaNames = [...]string{banner: "banner", video: "video", audio: "audio", native: "native"}

// requestView is a bid request as the conformance checks read it: generously, since
// what matters is whether the answer keeps to whatever can be understood.
type requestView struct {
	root *node
	ids  []*node // more than one where the key is repeated
	imps []*impView
	cur  []string

	identifiers []string // of the person, where the answer must not have them
	restricted  string   // why it must not
	dsa         *node    // set where the answer must carry transparency data
}

// impView is one impression of a request.
type impView struct {
	node     *node
	id       *node
	sound    bool // an own id and something to sell
	secure   bool
	floor    float64
	floorCur string
	private  bool
	deals    []*node
	media    [5]*node // by mtype; nil where it is not on offer
}

// readRequest reads a request body. It returns nil where there is no object.
func readRequest(body []byte) *requestView {
	root, err := parseRequest(body)
	if err != nil || !root.isObject() {
		return nil
	}
	o := &requestView{root: root, cur: root.get("cur").strs()}
	for i := range root.members {
		if root.members[i].name == "id" {
			o.ids = append(o.ids, root.members[i].value)
		}
	}
	if len(o.cur) == 0 {
		o.cur = []string{"USD"}
	}
	count := map[string]int{}
	imps := root.get("imp")
	for _, n := range imps.list() {
		imp := readImp(n)
		count[imp.id.str()]++
		o.imps = append(o.imps, imp)
	}
	for _, imp := range o.imps {
		imp.sound = imp.sound && count[imp.id.str()] == 1
	}
	o.readPrivacy()
	dsa := root.get("regs", "dsa")
	if !dsa.present() {
		dsa = root.get("regs", "ext", "dsa")
	}
	if required := dsa.get("dsarequired").integer(); required == 2 || required == 3 {
		o.dsa = dsa
	}
	return o
}

func readImp(n *node) *impView {
	imp := &impView{
		node: n, id: n.get("id"),
		secure:   n.get("secure").float() == 1,
		floor:    max(0, n.get("bidfloor").float()),
		floorCur: currency(n.get("bidfloorcur")),
		private:  n.get("pmp", "private_auction").float() == 1,
		deals:    n.get("pmp", "deals").list(),
	}
	for m, name := range mediaNames {
		if v := n.get(name); name != "" && v.isObject() {
			imp.media[m] = v
			imp.sound = true
		}
	}
	imp.sound = imp.sound && imp.id.str() != ""
	return imp
}

// currency is the code in upper case, USD where none is named.
func currency(n *node) string {
	if s := n.str(); s != "" {
		return strings.ToUpper(s)
	}
	return "USD"
}

// imp finds the impression that an answer names, a sound one if there is one.
func (o *requestView) imp(id *node) *impView {
	var found *impView
	for _, imp := range o.imps {
		if imp.id.present() && sameID(imp.id, id) && (found == nil || imp.sound) {
			found = imp
		}
	}
	return found
}

// hasBroken reports whether one of the impressions is not sound.
func (o *requestView) hasBroken() bool {
	for _, imp := range o.imps {
		if !imp.sound {
			return true
		}
	}
	return false
}

// wantsBannerOrVideo reports whether a banner or a video is on offer.
func (o *requestView) wantsBannerOrVideo() bool {
	for _, imp := range o.imps {
		if imp.media[banner] != nil || imp.media[video] != nil {
			return true
		}
	}
	return false
}

// sameID compares an id of the answer to that of the request. One that was
// sent as a number may come back as a number or as a string.
func sameID(sent, answered *node) bool {
	if sent == nil || answered == nil || sent.str() == "" || sent.str() != answered.str() {
		return false
	}
	return answered.kind == kindString || sent.kind == kindNumber
}

// deal finds a deal of the impression.
func (i *impView) deal(id string) *node {
	for _, d := range i.deals {
		if d.get("id").str() == id {
			return d
		}
	}
	return nil
}

// readPrivacy finds out whether the person's identifiers may be used, and what
// they are. A short identifier could occur in an answer by chance, and one
// that is part of another id has to; these are left out.
func (o *requestView) readPrivacy() {
	r := o.root
	first := func(a, b *node) *node {
		if a.present() {
			return a
		}
		return b
	}
	gdpr := first(r.get("regs", "gdpr"), r.get("regs", "ext", "gdpr"))
	consent := first(r.get("user", "consent"), r.get("user", "ext", "consent"))
	usp := first(r.get("regs", "us_privacy"), r.get("regs", "ext", "us_privacy")).str()
	device := r.get("device")
	switch {
	case r.get("regs", "coppa").float() != 0:
		o.restricted = "coppa"
	case device.get("lmt").float() != 0:
		o.restricted = "lmt"
	case device.get("dnt").float() != 0:
		o.restricted = "dnt"
	case gdpr.float() == 1 && consent.str() == "":
		o.restricted = "gdpr without a consent string"
	case len(usp) == 4 && (usp[2] == 'Y' || usp[2] == 'y'):
		o.restricted = "us_privacy opt-out"
	default:
		return
	}
	candidates := []string{r.get("user", "id").str(), r.get("user", "buyeruid").str()}
	for _, name := range []string{"ifa", "ip", "ipv6", "didsha1", "didmd5", "dpidsha1", "dpidmd5", "macsha1", "macmd5"} {
		candidates = append(candidates, device.get(name).str())
	}
	for _, eids := range []*node{r.get("user", "eids"), r.get("user", "ext", "eids")} {
		for _, eid := range eids.list() {
			for _, uid := range eid.get("uids").list() {
				candidates = append(candidates, uid.get("id").str())
			}
		}
	}
	for _, id := range candidates {
		if len(id) >= 6 && strings.Trim(id, "0-.:") != "" && !o.usedElsewhere(id) {
			o.identifiers = append(o.identifiers, id)
		}
	}
}

func (o *requestView) usedElsewhere(id string) bool {
	for _, n := range o.ids {
		if strings.Contains(n.str(), id) {
			return true
		}
	}
	for _, imp := range o.imps {
		if strings.Contains(imp.id.str(), id) {
			return true
		}
		for _, d := range imp.deals {
			if strings.Contains(d.get("id").str(), id) {
				return true
			}
		}
	}
	return false
}
