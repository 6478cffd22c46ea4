package openrtb

import (
	"math"

	"bidwell/rtb"
)

// emptyGeo reports whether nothing is known of a place.
func emptyGeo(g *rtb.Geo) bool {
	return g.Country == [2]byte{} && !g.HasPoint && len(g.Region) == 0 && len(g.City) == 0 &&
		len(g.Zip) == 0 && len(g.Metro) == 0 && !g.HasOffset
}

func (d *decoder) geo(g *rtb.Geo) {
	*g = rtb.Geo{}
	if is, _ := d.object(); !is {
		return
	}
	var lat, lon reading
	for key, ok := d.firstKey(); ok; key, ok = d.nextKey() {
		switch string(key) {
		case "country":
			g.Country = countryOf(d.text())
		case "region":
			g.Region = d.text()
		case "city":
			g.City = d.text()
		case "zip":
			g.Zip = d.text()
		case "metro":
			g.Metro = d.text()
		case "lat":
			g.Lat, lat = d.degrees(90)
		case "lon":
			g.Lon, lon = d.degrees(180)
		case "type":
			g.Precise = d.count(math.MaxUint8) == 1
		case "accuracy":
			g.Accuracy = uint32(d.count(math.MaxUint32))
		case "utcoffset":
			v, r := d.integer()
			g.HasOffset = r == sound && v >= -24*60 && v <= 24*60
			g.UTCOffset = 0
			if g.HasOffset {
				g.UTCOffset = int16(v)
			}
		default:
			d.skip()
		}
	}
	if g.HasPoint = lat == sound && lon == sound; !g.HasPoint {
		g.Lat, g.Lon = 0, 0
	}
}

// degrees reads an angle between -limit and limit.
func (d *decoder) degrees(limit float64) (float64, reading) {
	n, r := d.decimal()
	f := n.float()
	if r == sound && (f < -limit || f > limit) {
		return 0, odd
	}
	return f, r
}

// countryCodes are the three-letter codes of ISO 3166-1, each followed by its
// two-letter code, and that of Kosovo, which is in use without being in it.
const countryCodes = "" +
	"ABWAWAFGAFAGOAOAIAAIALAAXALBALANDADAREAEARGARARMAMASMASATAAQATFTFATGAGAUSAU" +
	"AUTATAZEAZBDIBIBELBEBENBJBESBQBFABFBGDBDBGRBGBHRBHBHSBSBIHBABLMBLBLRBYBLZBZ" +
	"BMUBMBOLBOBRABRBRBBBBRNBNBTNBTBVTBVBWABWCAFCFCANCACCKCCCHECHCHLCLCHNCNCIVCI" +
	"CMRCMCODCDCOGCGCOKCKCOLCOCOMKMCPVCVCRICRCUBCUCUWCWCXRCXCYMKYCYPCYCZECZDEUDE" +
	"DJIDJDMADMDNKDKDOMDODZADZECUECEGYEGERIERESHEHESPESESTEEETHETFINFIFJIFJFLKFK" +
	"FRAFRFROFOFSMFMGABGAGBRGBGEOGEGGYGGGHAGHGIBGIGINGNGLPGPGMBGMGNBGWGNQGQGRCGR" +
	"GRDGDGRLGLGTMGTGUFGFGUMGUGUYGYHKGHKHMDHMHNDHNHRVHRHTIHTHUNHUIDNIDIMNIMINDIN" +
	"IOTIOIRLIEIRNIRIRQIQISLISISRILITAITJAMJMJEYJEJORJOJPNJPKAZKZKENKEKGZKGKHMKH" +
	"KIRKIKNAKNKORKRKWTKWLAOLALBNLBLBRLRLBYLYLCALCLIELILKALKLSOLSLTULTLUXLULVALV" +
	"MACMOMAFMFMARMAMCOMCMDAMDMDGMGMDVMVMEXMXMHLMHMKDMKMLIMLMLTMTMMRMMMNEMEMNGMN" +
	"MNPMPMOZMZMRTMRMSRMSMTQMQMUSMUMWIMWMYSMYMYTYTNAMNANCLNCNERNENFKNFNGANGNICNI" +
	"NIUNUNLDNLNORNONPLNPNRUNRNZLNZOMNOMPAKPKPANPAPCNPNPERPEPHLPHPLWPWPNGPGPOLPL" +
	"PRIPRPRKKPPRTPTPRYPYPSEPSPYFPFQATQAREUREROURORUSRURWARWSAUSASDNSDSENSNSGPSG" +
	"SGSGSSHNSHSJMSJSLBSBSLESLSLVSVSMRSMSOMSOSPMPMSRBRSSSDSSSTPSTSURSRSVKSKSVNSI" +
	"SWESESWZSZSXMSXSYCSCSYRSYTCATCTCDTDTGOTGTHATHTJKTJTKLTKTKMTMTLSTLTONTOTTOTT" +
	"TUNTNTURTRTUVTVTWNTWTZATZUGAUGUKRUAUMIUMURYUYUSAUSUZBUZVATVAVCTVCVENVEVGBVG" +
	"VIRVIVNMVNVUTVUWLFWFWSMWSXKXXKYEMYEZAFZAZMBZMZWEZW"

// alpha2 holds the two-letter code of each three-letter one, so that a look-up
// is one load. It is 35 kB, of which traffic touches a few lines.
var alpha2 = func() (table [26 * 26 * 26][2]byte) {
	for codes := countryCodes; codes != ""; codes = codes[5:] {
		table[alpha3Index(codes[0], codes[1], codes[2])] = [2]byte{codes[3], codes[4]}
	}
	return table
}()

// alpha3Index is the place of three upper-case letters in alpha2.
func alpha3Index(a, b, c byte) int {
	return (int(a-'A')*26+int(b-'A'))*26 + int(c-'A')
}

// countryOf is the upper-case ISO 3166-1 alpha-2 code of an alpha-3 or alpha-2
// code in any case; zero for anything else.
func countryOf(code []byte) [2]byte {
	for _, c := range code {
		if !letter(c) {
			return [2]byte{}
		}
	}
	const upper = 0x20
	switch len(code) {
	case 3:
		return alpha2[alpha3Index(code[0]&^upper, code[1]&^upper, code[2]&^upper)]
	case 2:
		country := [2]byte{code[0] &^ upper, code[1] &^ upper}
		if country == [2]byte{'U', 'K'} {
			return [2]byte{'G', 'B'}
		}
		return country
	}
	return [2]byte{}
}
