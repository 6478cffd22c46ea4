package loadtest

import (
	"strings"
	"unicode/utf8"
)

// readNativeRequest finds the native request in a native object: text in
// "request", an object, a string inside a string, with or without the wrapper
// of native 1.0, or 1.0 fields directly in the object. It is nil when there is
// none to be read.
func readNativeRequest(slot *node) *node {
	n := slot.get("request")
	if !n.present() {
		n = slot
	}
	for range 3 {
		if n == nil || n.kind != kindString {
			break
		}
		parsed, err := parseRequest([]byte(n.text))
		if err != nil {
			return nil
		}
		n = parsed
	}
	if inner := n.get("native"); inner.isObject() {
		n = inner
	}
	if !n.isObject() || n.get("assets") == nil {
		return nil
	}
	return n
}

// assetKinds are the members that say what an asset is.
var assetKinds = []string{"title", "img", "video", "data"}

func assetKind(asset *node) string {
	for _, name := range assetKinds {
		if asset.get(name).isObject() {
			return name
		}
	}
	return ""
}

// checkNative judges a native answer (OpenRTB Native 1.2, 5) against its
// request, and returns the texts in it, unescaped.
func (c *bidCheck) checkNative(adm string, slot *node) []string {
	root, duplicates, err := parseAnswer([]byte(adm))
	if err != nil {
		c.fail("native", "adm does not parse: %v", err)
		return nil
	}
	for _, key := range duplicates {
		c.fail("native", "%q is twice in one object of adm", key)
	}
	ad := root
	if inner := root.get("native"); inner.isObject() {
		ad = inner
	}
	request := readNativeRequest(slot)
	if request == nil {
		c.fail("native", "a bid on a native request that cannot be read")
		return nil
	}
	answered := ad.get("assets")
	if answered == nil || answered.kind != kindArray || len(answered.items) == 0 {
		c.fail("native", "no assets")
		return nil
	}
	if !isAddress(ad.get("link", "url").str()) {
		c.fail("native-link", "link.url %s is not an absolute http address", rawOf(ad.get("link", "url")))
	}
	for _, tracker := range append(ad.get("imptrackers").list(), ad.get("link", "clicktrackers").list()...) {
		if !isAddress(tracker.str()) {
			c.fail("native", "tracker %s is not an absolute http address", rawOf(tracker))
		}
	}
	for _, tracker := range ad.get("eventtrackers").list() {
		if address := tracker.get("url"); address != nil && !isAddress(address.str()) {
			c.fail("native", "event tracker %s is not an absolute http address", rawOf(address))
		}
	}
	wanted := request.get("assets").list()
	for _, asset := range wanted {
		if asset.get("required").float() == 1 && findAsset(answered.items, asset) == nil {
			c.fail("native-asset", "the required %s asset %s is missing", assetKind(asset), rawOf(asset.get("id")))
		}
	}
	seen := map[string]bool{}
	for _, asset := range answered.items {
		id, kind := asset.get("id").str(), assetKind(asset)
		if id != "" && seen[id+kind] {
			c.fail("native-asset", "asset %s is answered twice", id)
		}
		seen[id+kind] = true
		asked := findAsset(wanted, asset)
		if asked == nil {
			c.fail("native-asset", "%s asset %s was not asked for", kind, rawOf(asset.get("id")))
			continue
		}
		c.checkAsset(kind, id, asset.get(kind), asked.get(kind))
	}
	var texts []string
	collectTexts(root, &texts)
	return texts
}

// findAsset finds the asset of the same id and kind.
func findAsset(among []*node, like *node) *node {
	for _, asset := range among {
		if id := like.get("id").str(); id != "" && asset.get("id").str() == id && assetKind(asset) == assetKind(like) {
			return asset
		}
	}
	return nil
}

func (c *bidCheck) checkAsset(kind, id string, asset, asked *node) {
	switch kind {
	case "title":
		text, most := asset.get("text").str(), asked.get("len").integer()
		if text == "" || most > 0 && utf8.RuneCountInString(text) > most {
			c.fail("native-title", "title %s has %d characters of %d", id, utf8.RuneCountInString(text), most)
		}
	case "data":
		text, most := asset.get("value").str(), asked.get("len").integer()
		if text == "" || most > 0 && utf8.RuneCountInString(text) > most {
			c.fail("native-data", "data %s has %d characters of %d", id, utf8.RuneCountInString(text), most)
		}
		if said := asset.get("type"); said != nil && said.integer() != asked.get("type").integer() {
			c.fail("native-data", "data %s has type %s, %s was asked for", id, rawOf(said), rawOf(asked.get("type")))
		}
	case "img":
		if !isAddress(asset.get("url").str()) {
			c.fail("native-image", "image %s: %s is not an absolute http address", id, rawOf(asset.get("url")))
		}
		for _, side := range []string{"w", "h"} {
			if least, has := asked.get(side+"min").integer(), asset.get(side).integer(); has < least {
				c.fail("native-image", "image %s has %s %d under the least of %d", id, side, has, least)
			}
		}
		if said, want := asset.get("type"), asked.get("type"); said != nil && want.present() && said.integer() != want.integer() {
			c.fail("native-image", "image %s has type %s, %s was asked for", id, rawOf(said), rawOf(want))
		}
	case "video":
		text := strings.TrimSpace(asset.get("vasttag").str())
		if text == "" {
			c.fail("native-asset", "video %s has no vasttag", id)
			return
		}
		c.checkVAST(text, asked, video)
	}
}
