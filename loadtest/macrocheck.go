package loadtest

import (
	"regexp"
	"slices"
	"strings"
)

var (
	dollarMacro  = regexp.MustCompile(`\$\{[^{}]*\}`)
	openRTBMacro = regexp.MustCompile(`^\$\{AUCTION_(ID|BID_ID|IMP_ID|SEAT_ID|AD_ID|PRICE|CURRENCY|MBR|LOSS|MIN_TO_WIN|` +
		`MULTIPLIER|IMP_TS|DISCOUNT_PCT|DISCOUNT_CPM)(:B64)?\}$`)
	otherMacro = regexp.MustCompile(`\{\{[^{}]*\}\}|\{[A-Z][A-Z0-9_]+\}|\[[A-Z][A-Z0-9_]+\]|%%[A-Za-z_][A-Za-z0-9_:.]*%%`)
)

// vastMacros are those that a video player replaces (VAST 4.3, 6).
var vastMacros = strings.Fields(`[ADCATEGORIES] [ADCOUNT] [ADPLAYHEAD] [ADSERVINGID] [ADTYPE] [APIFRAMEWORKS] [APPBUNDLE]
	[ASSETURI] [BLOCKEDADCATEGORIES] [BREAKMAXADLENGTH] [BREAKMAXADS] [BREAKMAXDURATION] [BREAKMINADLENGTH]
	[BREAKMINDURATION] [BREAKPOSITION] [CACHEBUSTING] [CLICKPOS] [CLICKTYPE] [CLIENTUA] [CONTENTCAT] [CONTENTID]
	[CONTENTPLAYHEAD] [CONTENTURI] [DEVICEIP] [DEVICEUA] [DOMAIN] [ERRORCODE] [EXTENSIONS] [GDPRCONSENT] [IFA]
	[IFATYPE] [INVENTORYSTATE] [LATLONG] [LIMITADTRACKING] [MEDIAMIME] [MEDIAPLAYHEAD] [OMIDPARTNER] [PAGEURL]
	[PLACEMENTTYPE] [PLAYERCAPABILITIES] [PLAYERSIZE] [PLAYERSTATE] [PODSEQUENCE] [REASON] [REGULATIONS]
	[SERVERSIDE] [SERVERUA] [TIMESTAMP] [TRANSACTIONID] [UNIVERSALADID] [VASTVERSIONS] [VERIFICATIONVENDORS]`)

var encodedBrackets = strings.NewReplacer("%24%7B", "${", "%24%7b", "${", "%7B", "{", "%7b", "{", "%7D", "}", "%7d", "}",
	"%5B", "[", "%5b", "[", "%5D", "]", "%5d", "]")

// checkMacros finds macros that nobody is going to replace.
func (c *bidCheck) checkMacros(where, text string) {
	text = encodedBrackets.Replace(text)
	for _, macro := range dollarMacro.FindAllString(text, -1) {
		if !openRTBMacro.MatchString(macro) {
			c.fail("macro", "%s is left in %s", macro, where)
		}
	}
	text = dollarMacro.ReplaceAllString(text, "")
	vast := isVAST(text) || strings.HasPrefix(text, "{") && strings.Contains(text, "<VAST") // the video of a native ad
	for _, macro := range otherMacro.FindAllString(text, -1) {
		if !vast || !slices.Contains(vastMacros, macro) {
			c.fail("macro", "%s is left in %s", macro, where)
		}
	}
}

var (
	insecureAddress = regexp.MustCompile(`(?i)http://[^\s"'<>\\]*`)
	namespace       = regexp.MustCompile(`\b(xmlns(:[\w-]+)?|xsi:\w+)\s*=\s*("[^"]*"|'[^']*')`)
)

// insecure is the first address in the markup that is not https. Names of XML
// namespaces are no addresses.
func insecure(text string) string {
	text = namespace.ReplaceAllString(strings.ReplaceAll(text, `\/`, "/"), "")
	for _, address := range insecureAddress.FindAllString(text, -1) {
		if !strings.HasPrefix(strings.ToLower(address), "http://www.w3.org/") {
			return address
		}
	}
	return ""
}

var (
	htmlTag    = regexp.MustCompile(`<[A-Za-z!]`)
	htmlScript = regexp.MustCompile(`(?i)<script\b`)
	htmlFrame  = regexp.MustCompile(`(?i)<iframe\b`)
)

// checkBanner wants HTML, and none of the blocked types that can be told from
// it (OpenRTB list "banner ad types").
func (c *bidCheck) checkBanner(adm string, slot *node) {
	if !htmlTag.MatchString(adm) {
		c.fail("markup", "%.60q is no HTML", adm)
	}
	blocked := slot.get("btype").ints()
	if slices.Contains(blocked, 3) && htmlScript.MatchString(adm) {
		c.fail("btype", "JavaScript ads are blocked")
	}
	if slices.Contains(blocked, 4) && htmlFrame.MatchString(adm) {
		c.fail("btype", "iframe ads are blocked")
	}
}
