package loadtest

// place is a city that users live in. The point is its real centre; users are
// spread around it.
type place struct {
	country, alpha3 string
	region, city    string
	zip             string // '#' becomes a digit, '@' a letter
	lat, lon        float64
	offset          int16 // minutes from UTC, without summer time
	language        string
	carrier, mccmnc string
	weight          uint32 // share of all users, relative
	gdpr            bool
}

var places = [...]place{
	{"US", "USA", "NY", "New York", "100##", 40.7128, -74.0060, -300, "en", "Verizon", "311-480", 90, false},
	{"US", "USA", "CA", "Los Angeles", "900##", 34.0522, -118.2437, -480, "en", "T-Mobile", "310-260", 70, false},
	{"US", "USA", "IL", "Chicago", "606##", 41.8781, -87.6298, -360, "en", "AT&T", "310-410", 45, false},
	{"US", "USA", "TX", "Houston", "770##", 29.7604, -95.3698, -360, "es", "AT&T", "310-410", 40, false},
	{"US", "USA", "WA", "Seattle", "981##", 47.6062, -122.3321, -480, "en", "T-Mobile", "310-260", 25, false},
	{"DE", "DEU", "BE", "Berlin", "10###", 52.5200, 13.4050, 60, "de", "Telekom", "262-01", 50, true},
	{"DE", "DEU", "HH", "Hamburg", "20###", 53.5511, 9.9937, 60, "de", "Vodafone", "262-02", 25, true},
	{"DE", "DEU", "BY", "München", "80###", 48.1351, 11.5820, 60, "de", "O2", "262-03", 30, true},
	{"DE", "DEU", "NW", "Köln", "50###", 50.9375, 6.9603, 60, "de", "Telekom", "262-01", 25, true},
	{"GB", "GBR", "ENG", "London", "SE# #@@", 51.5074, -0.1278, 0, "en", "EE", "234-30", 70, false},
	{"GB", "GBR", "ENG", "Manchester", "M# #@@", 53.4808, -2.2426, 0, "en", "O2", "234-10", 25, false},
	{"GB", "GBR", "SCT", "Edinburgh", "EH# #@@", 55.9533, -3.1883, 0, "en", "Vodafone", "234-15", 15, false},
	{"FR", "FRA", "IDF", "Paris", "750##", 48.8566, 2.3522, 60, "fr", "Orange", "208-01", 60, true},
	{"FR", "FRA", "ARA", "Lyon", "690##", 45.7640, 4.8357, 60, "fr", "SFR", "208-10", 20, true},
	{"FR", "FRA", "PAC", "Marseille", "130##", 43.2965, 5.3698, 60, "fr", "Bouygues", "208-20", 15, true},
	{"JP", "JPN", "13", "Tokyo", "1##-00##", 35.6762, 139.6503, 540, "ja", "NTT DOCOMO", "440-10", 65, false},
	{"JP", "JPN", "27", "Osaka", "53#-00##", 34.6937, 135.5023, 540, "ja", "SoftBank", "440-20", 30, false},
	{"BR", "BRA", "SP", "São Paulo", "01###-###", -23.5505, -46.6333, -180, "pt", "Vivo", "724-06", 60, false},
	{"BR", "BRA", "RJ", "Rio de Janeiro", "20###-###", -22.9068, -43.1729, -180, "pt", "Claro", "724-05", 30, false},
	{"IN", "IND", "MH", "Mumbai", "4000##", 19.0760, 72.8777, 330, "hi", "Jio", "405-857", 55, false},
	{"IN", "IND", "KA", "Bengaluru", "5600##", 12.9716, 77.5946, 330, "en", "Airtel", "404-45", 40, false},
	{"IN", "IND", "DL", "Delhi", "1100##", 28.7041, 77.1025, 330, "hi", "Jio", "405-857", 25, false},
	{"ES", "ESP", "MD", "Madrid", "280##", 40.4168, -3.7038, 60, "es", "Movistar", "214-07", 25, true},
	{"ES", "ESP", "CT", "Barcelona", "080##", 41.3874, 2.1686, 60, "es", "Orange", "214-03", 20, true},
	{"IT", "ITA", "RM", "Roma", "001##", 41.9028, 12.4964, 60, "it", "TIM", "222-01", 25, true},
	{"CA", "CAN", "ON", "Toronto", "M#@ #@#", 43.6532, -79.3832, -300, "en", "Rogers", "302-720", 30, false},
	{"AU", "AUS", "NSW", "Sydney", "20##", -33.8688, 151.2093, 600, "en", "Telstra", "505-01", 20, false},
	{"NL", "NLD", "NH", "Amsterdam", "10## @@", 52.3676, 4.9041, 60, "nl", "KPN", "204-08", 20, true},
}

// gadget is a kind of device.
type gadget struct {
	kind             uint8 // OpenRTB list "device types"
	os, version      string
	maker, model     string
	agent            string
	width, height    uint16
	android, apple   bool
	weight, inJapan  uint32 // relative shares, in Japan and the US where iPhones lead
	forApps, forSite bool
}

var gadgets = [...]gadget{
	{4, "Android", "14", "Samsung", "SM-S911B", "Mozilla/5.0 (Linux; Android 14; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36", 360, 780, true, false, 25, 12, true, true},
	{4, "Android", "13", "Xiaomi", "2201117TY", "Mozilla/5.0 (Linux; Android 13; 2201117TY) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36", 393, 873, true, false, 18, 5, true, true},
	{4, "Android", "15", "Google", "Pixel 8", "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Mobile Safari/537.36", 412, 915, true, false, 7, 8, true, true},
	{4, "iOS", "17.5", "Apple", "iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", 390, 844, false, true, 16, 38, true, true},
	{4, "iOS", "16.7", "Apple", "iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 16_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1", 375, 667, false, true, 5, 8, true, true},
	{5, "iOS", "17.4", "Apple", "iPad", "Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1", 820, 1180, false, true, 4, 5, true, true},
	{5, "Android", "13", "Samsung", "SM-X200", "Mozilla/5.0 (Linux; Android 13; SM-X200) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", 800, 1280, true, false, 3, 2, true, true},
	{2, "Windows", "10", "", "", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", 1920, 1080, false, false, 15, 14, false, true},
	{2, "macOS", "14.5", "Apple", "Macintosh", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", 1440, 900, false, false, 5, 9, false, true},
	{2, "Linux", "", "", "", "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", 1920, 1080, false, false, 1, 1, false, true},
	{3, "Android", "11", "Sony", "BRAVIA 4K", "Mozilla/5.0 (Linux; Android 11; BRAVIA 4K VH2) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36", 1920, 1080, true, false, 3, 4, true, false},
	{3, "tvOS", "17.5", "Apple", "AppleTV", "AppleCoreMedia/1.0.0.21L569 (Apple TV; U; CPU OS 17_5 like Mac OS X; en_us)", 1920, 1080, false, true, 1, 3, true, false},
}

// weightedPick returns the index whose share of the weights r falls into.
func weightedPick(n int, r uint64, weight func(i int) uint32) int {
	var total uint64
	for i := range n {
		total += uint64(weight(i))
	}
	r %= total
	for i := range n {
		w := uint64(weight(i))
		if r < w {
			return i
		}
		r -= w
	}
	return n - 1
}
