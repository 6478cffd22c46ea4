package models

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// An analog is a table drawn from a known law, made to be like a public set of
// data that is not part of the project: its columns, how skewed they are, how
// rare the labels, and how much can be known at best.
type analog struct {
	names  []string
	rows   [][]string
	labels []bool
	truth  []float64 // probability of each label
	train  int
}

// zipf draws one of n values, the first ones most often.
func zipf(r *rand.Rand, n int, skew float64) int {
	// The inverse of a continuous power law is close enough.
	u := r.Float64()
	if skew == 1 {
		return min(n-1, int(math.Pow(float64(n)+1, u))-1)
	}
	e := 1 - skew
	return max(0, min(n-1, int(math.Pow(u*(math.Pow(float64(n)+1, e)-1)+1, 1/e))-1))
}

// effect is a fixed normal number for a value, the same in all rows.
func effect(seed uint64, parts ...int) float64 {
	h := seed*key1 ^ key2
	for _, p := range parts {
		h = mix(h^uint64(p+1)*key0, key1)
	}
	r := rand.New(rand.NewPCG(h, 77))
	return r.NormFloat64()
}

func hex(v int, salt int) string {
	return fmt.Sprintf("%08x", uint32(mix(uint64(v+1)*key0^uint64(salt), key1)))
}

func (a *analog) add(r *rand.Rand, logit float64, values ...string) {
	p := sigmoid(logit)
	a.rows = append(a.rows, values)
	a.truth = append(a.truth, p)
	a.labels = append(a.labels, r.Float64() < p)
}

// mobile is like Avazu: hashed categories, many of them redundant, with
// interactions, a sixth of the labels positive, AUC at best about 0.78.
func mobile(seed uint64) *analog {
	r := rand.New(rand.NewPCG(seed, 1))
	a := &analog{train: 8000, names: []string{"id", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain",
		"app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21"}}
	const n = 9999
	for i := range n {
		at := time.Date(2014, 10, 21, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 240 * time.Hour / n)
		isApp := r.Float64() < 0.36
		site, app := 0, 0
		if isApp {
			app = 1 + zipf(r, 600, 1.1)
		} else {
			site = 1 + zipf(r, 800, 1.05)
		}
		siteDomain, siteCategory := site*7/9, int(mix(uint64(site), key0)%12)
		appDomain, appCategory := int(mix(uint64(app), key1)%40), int(mix(uint64(app), key0)%15)
		ad := zipf(r, 700, 0.8)
		group, sponsor := ad/6, ad/24
		size := int(mix(uint64(ad), key2) % 5)
		model := zipf(r, 900, 0.95)
		ip := r.IntN(7000)
		if r.Float64() < 0.25 {
			ip = zipf(r, 200, 0.8)
		}
		device := 0
		if r.Float64() < 0.17 {
			device = 1 + r.IntN(5000)
		}
		pos, conn := int(mix(uint64(site+app), key2)%2), zipf(r, 4, 2)
		c20 := zipf(r, 150, 0.9)
		z := -1.95 + 0.5*effect(seed, 1, site) + 0.5*effect(seed, 2, app) + 0.35*effect(seed, 3, group) + 0.25*effect(seed, 4, ad) +
			0.3*effect(seed, 5, sponsor) + 0.2*effect(seed, 6, size) + 0.15*effect(seed, 7, model) + 0.15*effect(seed, 8, at.Hour()/4) +
			0.25*effect(seed, 9, siteCategory, appCategory) + 0.15*effect(seed, 10, conn) + 0.1*effect(seed, 14, c20%10)
		z += 0.45*effect(seed, 11, site, sponsor) + 0.35*effect(seed, 12, siteCategory, size) + 0.3*effect(seed, 13, app, group)
		if ip < 200 {
			z += 0.5 * effect(seed, 15, ip)
		}
		a.add(r, -2.2+1.4*(z+1.95), strconv.Itoa(1e9+i*7919%1000003), at.Format("06010215"), strconv.Itoa(1005-3*flagInt(conn > 2)), strconv.Itoa(pos),
			hex(site, 1), hex(siteDomain, 2), hex(siteCategory, 3), hex(app, 4), hex(appDomain, 5), hex(appCategory, 6), hex(device, 7), hex(ip, 8), hex(model, 9),
			strconv.Itoa(1+flagInt(model%17 == 0)), strconv.Itoa(conn), strconv.Itoa(15000+ad*11), []string{"320", "300", "216", "728", "480"}[size],
			[]string{"50", "250", "36", "90", "320"}[size], strconv.Itoa(1700+group*3), strconv.Itoa(group%4), strconv.Itoa(35+16*(group%30)),
			[]string{"-1", strconv.Itoa(100000 + c20)}[flagInt(c20 > 40)], strconv.Itoa(13+sponsor))
	}
	return a
}

func flagInt(b bool) int { return int(flag(b)) }

// display is like Criteo: 13 skewed counts with gaps, 26 hashed categories of
// all sizes, a quarter of the labels positive.
func display(seed uint64) *analog {
	r := rand.New(rand.NewPCG(seed, 2))
	a := &analog{train: 8000}
	for i := range 13 {
		a.names = append(a.names, fmt.Sprintf("I%d", i+1))
	}
	sizes := []int{1000, 500, 20000, 8000, 250, 15, 9000, 500, 3, 15000, 4500, 18000, 3000, 26, 8500, 15000, 10, 4000, 1800, 4, 16000, 14, 15, 12000, 70, 9000}
	for i := range sizes {
		a.names = append(a.names, fmt.Sprintf("C%d", i+1))
	}
	for range 10038 {
		user := r.NormFloat64()
		z := -1.45 + 0.25*user
		var row []string
		for i := range 13 {
			x := 0.7*effect(seed, 100, i)*user + r.NormFloat64()
			count := math.Floor(math.Exp(1.5+0.25*float64(i%5)+1.3*x) - 1)
			if r.Float64() < 0.05+0.04*float64(i%6) {
				row = append(row, "")
				z += 0.25 * effect(seed, 101, i)
				continue
			}
			row = append(row, strconv.Itoa(int(count)))
			z += 0.22 * effect(seed, 102, i) * math.Tanh(x)
			if i%4 == 0 && x > 0.8 {
				z += 0.3 * effect(seed, 103, i)
			}
		}
		var drawn []int
		for i, n := range sizes {
			v := zipf(r, n, 1.0)
			if i%3 == 2 && i > 2 { // redundant
				v = int(mix(uint64(drawn[i-1]), key0) % uint64(n))
			}
			drawn = append(drawn, v)
			if r.Float64() < 0.03*float64(i%5) {
				row = append(row, "")
				continue
			}
			row = append(row, hex(v, i))
			z += 0.22 * effect(seed, 104, i, v)
		}
		z += 0.4*effect(seed, 105, drawn[5], drawn[8]) + 0.35*effect(seed, 106, drawn[13], drawn[16]) + 0.3*effect(seed, 107, drawn[1]%40, drawn[22])
		a.add(r, -1.6+1.3*(z+1.45), row...)
	}
	return a
}

// installs is like TalkingData: clicks of which 2 in 1,000 install an app; by
// app, by channel within the app, and hardly ever for an address that clicks
// all day.
func installs(seed uint64) *analog {
	r := rand.New(rand.NewPCG(seed, 3))
	a := &analog{train: 71439, names: []string{"ip", "app", "device", "os", "channel", "click_time"}}
	for i := range 100_000 {
		at := time.Date(2017, 11, 6, 16, 0, 0, 0, time.UTC).Add(time.Duration(i) * 72 * time.Hour / 100_000)
		bot := r.Float64() < 0.85
		ip := zipf(r, 18_000, 0.75)
		if !bot {
			ip = 20_000 + r.IntN(60_000)
		}
		app := zipf(r, 160, 1.15)
		if !bot && r.Float64() < 0.4 {
			app = zipf(r, 400, 0.4)
		}
		channel := int(mix(uint64(app), uint64(zipf(r, 6, 0.8)+1)*key0) % 170)
		device, os := 1, zipf(r, 130, 1.0)
		if u := r.Float64(); u < 0.05 {
			device = 2
		} else if u < 0.06 {
			device = 3 + r.IntN(100)
		} else if !bot && u < 0.1 {
			device = 0
		}
		z := -9.2 + 1.9*effect(seed, 200, app) + 1.1*effect(seed, 201, app, channel) + 0.3*effect(seed, 202, os) + 0.7*effect(seed, 203, channel)
		if !bot {
			z += 2.6
		}
		if device == 0 {
			z += 1.5
		}
		a.add(r, -10.6+1.4*(z+9.2), strconv.Itoa(ip), strconv.Itoa(app), strconv.Itoa(device), strconv.Itoa(os), strconv.Itoa(channel), at.Format("2006-01-02 15:04:05"))
	}
	return a
}

// jump is how the rows to predict differ from those to learn from.
type jump struct {
	before, after float64 // logit of the click rate, about
	signal        float64 // how much there is to know
	moved         bool    // other inventory, of which what was learned is wrong
}

// jumps are like iPinYou 2997, where little can be known and a quarter of the
// clicks come on other inventory, so that a model is off by some ten; and
// otherwise.
var jumps = map[string]jump{
	"jump":          {-5.05, -6.45, 1, true},
	"jump-more":     {-4.35, -5.75, 1, true},
	"jump-clear":    {-5.05, -6.45, 1.6, true},
	"jump-by-10":    {-5.05, -7.35, 1, true},
	"jump-unmoved":  {-5.05, -6.45, 1, false},
	"jump-no-sign":  {-5.05, -6.45, 0, true},
	"jump-few":      {-6, -8.3, 1, true},
	"jump-up":       {-6.45, -5.05, 1, true},
	"jump-up-by-10": {-7.35, -5.05, 1, true},
	"steady":        {-5.75, -5.75, 1, false},
	"steady-moved":  {-5.75, -5.75, 1, true},
	"steady-few":    {-7.3, -7.3, 1, false},
}

func (j jump) analog(seed uint64) *analog {
	r := rand.New(rand.NewPCG(seed, 4))
	a := &analog{train: 26773, names: []string{"weekday", "hour", "IP", "region", "city", "adexchange", "domain", "slotid", "slotwidth", "slotheight",
		"slotvisibility", "slotformat", "slotprice", "creative", "useragent"}}
	for i := range 26773 + 21150 {
		test := i >= 26773
		hour := zipf(r, 24, 0.3)
		domain, slot := zipf(r, 2500, 0.9), zipf(r, 6000, 0.8)
		exchange := 1 + zipf(r, 3, 0.5)
		creative := zipf(r, 6, 0.5)
		base := j.before
		if test {
			base = j.after
			if j.moved {
				exchange = 1 + (exchange+r.IntN(2))%4 // one that was rare before
				creative = 3 + zipf(r, 6, 0.5)
			}
		} else if r.Float64() < 0.03 {
			exchange = 4
		}
		city := zipf(r, 370, 0.7)
		region := city / 11
		price := zipf(r, 120, 0.7)
		agent := zipf(r, 12, 0.9)
		z := base + j.signal*(0.2*effect(seed, 300, domain)+0.2*effect(seed, 301, slot%50)+0.3*effect(seed, 302, hour)+0.5*effect(seed, 303, agent)+
			0.25*effect(seed, 304, region))
		if !test && exchange == 4 {
			z += 1.8
		}
		a.add(r, z, strconv.Itoa(i/7000%7), strconv.Itoa(hour), fmt.Sprintf("%d.%d.%d.*", 1+r.IntN(200), r.IntN(200), r.IntN(250)), strconv.Itoa(region*3), strconv.Itoa(city),
			strconv.Itoa(exchange), hex(domain, 1), "mm_"+hex(slot, 2), []string{"300", "728", "160"}[slot%3], []string{"250", "90", "600"}[slot%3],
			strconv.Itoa(slot%4), strconv.Itoa(slot%2), strconv.Itoa(price), hex(creative, 3), []string{"windows_ie", "windows_chrome", "android_maxthon", "mac_safari", "ios_safari", "windows_other",
				"linux_chrome", "other_other", "windows_firefox", "windows_sogou", "windows_theworld", "android_safari"}[agent])
	}
	return a
}

// rare is like iPinYou 1458: 8 clicks in 10,000, a tenth of them easily told.
func rare(seed uint64) *analog {
	r := rand.New(rand.NewPCG(seed, 5))
	a := &analog{train: 60_000, names: []string{"hour", "region", "exchange", "domain", "slot", "format", "price", "creative", "agent", "tag"}}
	for range 100_000 {
		domain, slot, tag, agent := zipf(r, 3000, 0.9), zipf(r, 9000, 0.8), zipf(r, 45, 0.6), zipf(r, 12, 0.9)
		creative, hour := zipf(r, 12, 0.5), zipf(r, 24, 0.2)
		z := -8.3 + 0.6*effect(seed, 400, domain) + 0.7*effect(seed, 401, tag) + 0.9*effect(seed, 402, agent) + 0.5*effect(seed, 403, creative) + 0.3*effect(seed, 404, hour)
		if tag%9 == 4 {
			z += 2
		}
		a.add(r, z, strconv.Itoa(hour), strconv.Itoa(zipf(r, 35, 0.6)), strconv.Itoa(1+r.IntN(4)), hex(domain, 1), hex(slot, 2), strconv.Itoa(slot%3),
			strconv.Itoa(zipf(r, 200, 0.7)), hex(creative, 3), strconv.Itoa(agent), strconv.Itoa(10000+tag))
	}
	return a
}

// shipped is like iPinYou 1458 with the predictions of another model, which is
// too sure of itself, and the price that was paid; 80 clicks to learn from.
func shipped(seed uint64) *analog {
	r := rand.New(rand.NewPCG(seed, 6))
	a := &analog{train: 100_000, names: []string{"price", "pctr"}}
	for range 200_000 {
		other := -9.2 + 0.8*r.NormFloat64()
		if r.Float64() < 0.01 {
			other += 3 + 2*r.Float64()
		}
		a.add(r, -7.55+0.7*(other+9), strconv.Itoa(zipf(r, 300, 0.3)), strconv.FormatFloat(sigmoid(other), 'g', 6, 64))
	}
	return a
}

var analogs = func() map[string]func(seed uint64) *analog {
	all := map[string]func(seed uint64) *analog{"mobile": mobile, "display": display, "installs": installs, "rare": rare, "shipped": shipped}
	for name, j := range jumps {
		all[name] = j.analog
	}
	return all
}()

// points are pairs of normal numbers, and a number to draw a label by.
type points struct {
	x [][2]float64
	u []float64
}

func randomPoints(seed uint64, n int) *points {
	r := rand.New(rand.NewPCG(seed, 9))
	p := new(points)
	for range n {
		p.x = append(p.x, [2]float64{r.NormFloat64(), r.NormFloat64()})
		p.u = append(p.u, r.Float64())
	}
	return p
}
