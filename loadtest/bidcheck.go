package loadtest

import (
	"math"
	"net/url"
	"slices"
	"strings"
)

// bidCheck judges one bid against the impression it is for.
type bidCheck struct {
	*answerCheck
	where string
	bid   *node
	imp   *impView
	seat  string
	cur   string
}

func (c *bidCheck) fail(rule, format string, args ...any) {
	c.answerCheck.fail(rule, c.where+": "+format, args...)
}

func (c *bidCheck) check() {
	c.checkPrice()
	c.checkBlocked()
	c.checkLanguage()
	c.checkDSA()
	for _, name := range []string{"nurl", "burl", "lurl", "iurl"} {
		if address := c.bid.get(name); address != nil {
			c.checkAddress(name, address.str())
		}
	}
	adm := c.markup()
	media := c.media(adm)
	if media == 0 {
		return
	}
	c.checkSize(media)
	slot := c.imp.media[media]
	c.checkLists(slot)
	if adm == "" {
		return
	}
	texts := []string{adm}
	switch media {
	case banner:
		c.checkBanner(adm, slot)
	case video, audio:
		c.checkVAST(adm, slot, media)
	case native:
		texts = append(texts, c.checkNative(adm, slot)...)
	}
	for _, text := range texts {
		c.checkMacros("adm", text)
		if c.imp.secure {
			if address := insecure(text); address != "" {
				c.fail("secure", "%s in markup for a secure impression", address)
			}
		}
	}
}

// checkPrice judges the price against the floor, that of the deal where the
// bid is for one, and the deal itself.
func (c *bidCheck) checkPrice() {
	price, ok := c.bid.get("price").number()
	if !ok || price <= 0 || math.IsInf(price, 0) {
		c.fail("price", "price %s is not a positive number", rawOf(c.bid.get("price")))
		return
	}
	floor, floorCur, rule := c.imp.floor, c.imp.floorCur, "floor"
	if id := c.bid.get("dealid").str(); id != "" {
		deal := c.imp.deal(id)
		if deal == nil {
			c.fail("deal", "dealid %q is not among the deals of the impression", id)
			return
		}
		floor, floorCur, rule = max(0, deal.get("bidfloor").float()), currency(deal.get("bidfloorcur")), "deal-floor"
		c.checkDeal(deal)
	} else if c.imp.private {
		c.fail("private-auction", "no dealid in a private auction")
	}
	if floorCur != c.cur {
		from, known := c.rates[c.cur]
		to, knownFloor := c.rates[floorCur]
		if !known || !knownFloor {
			return
		}
		price, floor = price*from*(1+1e-9), floor*to // a rounding error of the conversion is no offence
	}
	if price < floor {
		c.fail(rule, "price %s %s is below the floor of %v %s", rawOf(c.bid.get("price")), c.cur, floor, floorCur)
	}
}

func (c *bidCheck) checkDeal(deal *node) {
	if wanted := deal.get("wseat").strs(); len(wanted) > 0 && !slices.Contains(wanted, c.seat) {
		c.fail("deal-seat", "seat %q is not among those of the deal, %v", c.seat, wanted)
	}
	wanted := deal.get("wadomain").strs()
	if len(wanted) == 0 {
		return
	}
	for _, domain := range c.bid.get("adomain").strs() {
		if !slices.ContainsFunc(wanted, func(w string) bool { return covers(w, domain) }) {
			c.fail("deal-advertiser", "%q is not among the advertisers of the deal, %v", domain, wanted)
		}
	}
}

// checkBlocked judges advertiser, category and app against the block lists.
func (c *bidCheck) checkBlocked() {
	request := c.request.root
	domains := c.bid.get("adomain").strs()
	if len(domains) == 0 {
		c.fail("adomain", "no adomain")
	}
	blocked := request.get("badv").strs()
	for _, domain := range domains {
		if !strings.Contains(domain, ".") || strings.ContainsAny(domain, "/: ") {
			c.fail("adomain", "%q is not a domain", domain)
		}
		for _, b := range blocked {
			if covers(b, domain) {
				c.fail("badv", "%q is blocked by %q", domain, b)
			}
		}
	}
	bcat := request.get("bcat").strs()
	for _, cat := range c.bid.get("cat").strs() {
		for _, b := range bcat {
			if strings.EqualFold(b, cat) || isIABChild(cat, b) {
				c.fail("bcat", "category %q is blocked by %q", cat, b)
			}
		}
	}
	if bundle := c.bid.get("bundle").str(); bundle != "" {
		for _, b := range request.get("bapp").strs() {
			if strings.EqualFold(b, bundle) {
				c.fail("bapp", "app %q is blocked", bundle)
			}
		}
	}
}

// covers reports whether domain is entry or one of its subdomains. Entries may
// be whole addresses, and "www." means nothing.
func covers(entry, domain string) bool {
	entry, domain = bareDomain(entry), bareDomain(domain)
	return entry != "" && (entry == domain || strings.HasSuffix(domain, "."+entry))
}

func bareDomain(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if _, after, ok := strings.Cut(s, "://"); ok {
		s = after
	}
	if i := strings.IndexAny(s, "/?#:"); i >= 0 {
		s = s[:i]
	}
	return strings.TrimPrefix(strings.Trim(s, "."), "www.")
}

// isIABChild reports whether cat, such as IAB7-39, is below parent, IAB7.
func isIABChild(cat, parent string) bool {
	return len(parent) > 3 && len(cat) > len(parent) && strings.EqualFold(parent[:3], "IAB") &&
		strings.EqualFold(cat[:len(parent)], parent) && cat[len(parent)] == '-'
}

// checkLists judges attributes and APIs against those of the slot.
func (c *bidCheck) checkLists(slot *node) {
	blocked := slot.get("battr").ints()
	for _, attr := range c.bid.get("attr").ints() {
		if slices.Contains(blocked, attr) {
			c.fail("battr", "attribute %d is blocked", attr)
		}
	}
	apis := c.bid.get("apis").ints()
	if api := c.bid.get("api").integer(); api != 0 {
		apis = append(apis, api)
	}
	if allowed := slot.get("api").ints(); len(allowed) > 0 {
		for _, api := range apis {
			if !slices.Contains(allowed, api) {
				c.fail("api", "API %d is not among %v", api, allowed)
			}
		}
	}
}

func (c *bidCheck) checkLanguage() {
	for list, field := range map[string]string{"wlang": "language", "wlangb": "langb"} {
		wanted, has := c.request.root.get(list).strs(), c.bid.get(field).str()
		if len(wanted) > 0 && has != "" && !slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, has) }) {
			c.fail("wlang", "%s %q is not among %v", field, has, wanted)
		}
	}
}

// checkDSA wants the transparency data of ext.dsa where the request demands it.
func (c *bidCheck) checkDSA() {
	if c.request.dsa == nil {
		return
	}
	dsa := c.bid.get("ext", "dsa")
	if dsa.get("behalf").str() == "" || dsa.get("paid").str() == "" {
		c.fail("dsa", "dsarequired, but ext.dsa does not say on whose behalf and who paid")
		return
	}
	render := c.request.dsa.get("pubrender")
	if render.present() && render.integer() == 0 && dsa.get("adrender").integer() != 1 {
		c.fail("dsa", "the publisher renders no transparency and neither does the ad")
	}
}

// checkAddress wants an absolute address with a host, and https where the
// impression is secure.
func (c *bidCheck) checkAddress(name, address string) {
	if !isAddress(address) {
		c.fail("notice", "%s %.120q is not an absolute http address", name, address)
		return
	}
	if c.imp.secure && !strings.HasPrefix(strings.ToLower(address), "https://") {
		c.fail("secure", "%s %.120q for a secure impression", name, address)
	}
	c.checkMacros(name, address)
}

// isAddress reports whether s is an absolute http address once its macros are
// replaced.
func isAddress(s string) bool {
	s = dollarMacro.ReplaceAllString(s, "x")
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(s, " \t\r\n\"<>")
}

// markup is the ad, from adm or, where that is empty, from the notice URL.
func (c *bidCheck) markup() string {
	adm := strings.TrimSpace(c.bid.get("adm").str())
	if adm != "" {
		return adm
	}
	nurl := c.bid.get("nurl").str()
	if nurl == "" || c.fetch == nil {
		c.fail("markup", "no adm, and no nurl that delivers it")
		return ""
	}
	nurl = strings.ReplaceAll(nurl, "${AUCTION_PRICE}", c.bid.get("price").str())
	adm, err := c.fetch(dollarMacro.ReplaceAllString(nurl, ""))
	if adm = strings.TrimSpace(adm); err != nil || adm == "" {
		c.fail("markup", "no adm, and nurl does not deliver it: %v", err)
		return ""
	}
	return adm
}

// media is the mtype of the bid, said or seen from the markup; 0 when it is
// none that is on offer.
func (c *bidCheck) media(adm string) int {
	said := c.bid.get("mtype").integer()
	seen := markupMedia(adm, c.imp)
	if said == 0 {
		said = seen
		offered := 0
		for _, slot := range c.imp.media {
			if slot != nil {
				offered++
			}
		}
		if offered > 1 {
			c.fail("mtype", "no mtype for an impression of several media")
		}
	}
	if said < banner || said > native {
		c.fail("mtype", "mtype %s is none", rawOf(c.bid.get("mtype")))
		return 0
	}
	if stream := func(m int) bool { return m == video || m == audio }; adm != "" && said != seen && !(stream(said) && stream(seen)) {
		c.fail("mtype", "mtype %d, but the markup is %s: %.60q", said, mediaNames[seen], adm)
		return 0
	}
	if c.imp.media[said] == nil {
		c.fail("media", "%s is not on offer", mediaNames[said])
		return 0
	}
	return said
}

// markupMedia is what kind of ad the markup is.
func markupMedia(adm string, imp *impView) int {
	switch {
	case strings.HasPrefix(adm, "{"):
		return native
	case !isVAST(adm):
		return banner
	case imp.media[video] == nil && imp.media[audio] != nil:
		return audio
	}
	return video
}

// checkSize wants w and h of a banner to be among those on offer.
func (c *bidCheck) checkSize(media int) {
	w, h := c.bid.get("w").integer(), c.bid.get("h").integer()
	if w < 0 || h < 0 {
		c.fail("size", "%dx%d", w, h)
	}
	if media != banner {
		return
	}
	slot := c.imp.media[banner]
	offered := slot.get("format").list()
	if slot.get("w").integer() > 0 && slot.get("h").integer() > 0 {
		offered = append(slices.Clone(offered), slot)
	}
	any := true
	for _, f := range offered {
		fw, fh := f.get("w").integer(), f.get("h").integer()
		ratioW, ratioH := f.get("wratio").integer(), f.get("hratio").integer()
		switch {
		case fw > 0 && fh > 0:
			any = false
			if w == fw && h == fh || w > 0 && h > 0 && inRange(slot, w, h) {
				return
			}
		case ratioW > 0 && ratioH > 0:
			any = false
			if w > 0 && w >= f.get("wmin").integer() && w*ratioH == h*ratioW {
				return
			}
		}
	}
	if !any {
		c.fail("size", "%dx%d is not on offer", w, h)
	}
}

// inRange is the deprecated way to offer sizes, wmin to wmax and hmin to hmax.
func inRange(slot *node, w, h int) bool {
	wmax, hmax := slot.get("wmax").integer(), slot.get("hmax").integer()
	return wmax > 0 && hmax > 0 && w <= wmax && h <= hmax && w >= slot.get("wmin").integer() && h >= slot.get("hmin").integer()
}
