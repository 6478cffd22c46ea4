package loadtest

import (
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

// WriteHTML writes the report as one page with charts, drawn here as SVG, so
// that it shows the same without a network and in ten years.
func (r *AttackReport) WriteHTML(w io.Writer) error {
	seconds := make([]float64, len(r.Series))
	var p50, p90, p99, most, due, bids, errs, late []float64
	for i, s := range r.Series {
		seconds[i] = float64(s.Second)
		p50, p90, p99, most = append(p50, s.P50), append(p90, s.P90), append(p99, s.P99), append(most, s.Max)
		due, bids = append(due, float64(s.Scheduled)), append(bids, float64(s.Bids))
		errs, late = append(errs, float64(s.Errors)), append(late, float64(s.Late))
	}
	// The distribution is drawn over the number of nines, so that its tail
	// gets as much room as its middle.
	var nines, curve []float64
	ticks := map[float64]string{}
	for _, c := range r.Curve {
		if c.Percent < 100 {
			nines, curve = append(nines, -math.Log10(1-c.Percent/100)), append(curve, c.Millis)
		}
	}
	for _, percent := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		ticks[-math.Log10(1-percent/100)] = fmt.Sprintf("%g %%", percent)
	}
	return attackPage.Execute(w, map[string]any{
		"Report": r,
		"Charts": []chart{
			{Title: "Latency by second, ms", X: seconds, XTicks: secondTicks(seconds), Log: true, Lines: []chartLine{
				{"p50", "#2a7", p50}, {"p90", "#27b", p90}, {"p99", "#d80", p99}, {"max", "#c33", most}}},
			{Title: "Requests by second", X: seconds, XTicks: secondTicks(seconds), Lines: []chartLine{
				{"due", "#27b", due}, {"bids", "#2a7", bids}, {"late", "#d80", late}, {"errors", "#c33", errs}}},
			{Title: "Distribution of latency, ms", X: nines, XTicks: ticks, Log: true, Lines: []chartLine{{"latency", "#27b", curve}}},
		},
	})
}

// secondTicks labels about ten seconds of the axis.
func secondTicks(seconds []float64) map[float64]string {
	ticks := map[float64]string{}
	for i := 0; i < len(seconds); i += len(seconds)/10 + 1 {
		ticks[seconds[i]] = fmt.Sprintf("%g s", seconds[i])
	}
	return ticks
}

// chart is a few lines over one axis. Log makes its other axis logarithmic.
type chart struct {
	Title  string
	X      []float64
	XTicks map[float64]string
	Log    bool
	Lines  []chartLine
}

type chartLine struct {
	Name, Colour string
	Y            []float64
}

const (
	chartWidth, chartHeight = 860, 260
	chartLeft, chartRight   = 64, 12
	chartTop, chartBottom   = 12, 28
)

// SVG draws the chart.
func (c chart) SVG() template.HTML {
	least, most := math.Inf(1), 0.0
	for _, l := range c.Lines {
		for _, y := range l.Y {
			most = max(most, y)
			if y > 0 {
				least = min(least, y)
			}
		}
	}
	if most == 0 {
		least, most = 0.1, 1
	}
	low, high := 0.0, most*1.05
	scale := func(y float64) float64 { return y }
	yTicks := map[float64]string{}
	if c.Log {
		scale = math.Log10
		low, high = math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
		if high == low {
			high++
		}
		for e := low; e <= high; e++ {
			yTicks[e] = fmt.Sprintf("%g", math.Pow(10, e))
		}
	} else {
		for i := range 5 {
			y := high * float64(i) / 4
			yTicks[y] = fmt.Sprintf("%.4g", y)
		}
	}
	first, last := 0.0, 1.0
	if n := len(c.X); n > 0 {
		first, last = c.X[0], c.X[n-1]
	}
	if last <= first {
		last = first + 1
	}
	x := func(v float64) float64 { return chartLeft + (v-first)/(last-first)*(chartWidth-chartLeft-chartRight) }
	y := func(v float64) float64 {
		v = (min(max(v, low), high) - low) / (high - low)
		return chartHeight - chartBottom - v*(chartHeight-chartTop-chartBottom)
	}

	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img">`, chartWidth, chartHeight)
	for _, v := range sortedKeys(yTicks) {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			chartLeft, chartWidth-chartRight, y(v), y(v), chartLeft-6, y(v)+4, yTicks[v])
	}
	for _, v := range sortedKeys(c.XTicks) {
		if v <= last {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(v), chartHeight-8, c.XTicks[v])
		}
	}
	for _, l := range c.Lines {
		fmt.Fprintf(&b, `<polyline stroke="%s" points="`, l.Colour)
		for i, v := range l.Y {
			at := low
			if v > 0 {
				at = scale(v)
			}
			fmt.Fprintf(&b, "%.1f,%.1f ", x(c.X[i]), y(at))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // numbers and our own names only
}

var attackPage = template.Must(template.New("attack").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Attack on {{.Report.URL}}</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#223}
table{border-collapse:collapse}td,th{padding:.15em 1em .15em 0;text-align:left}td{font-variant-numeric:tabular-nums}
svg{width:100%;font:11px system-ui,sans-serif}svg line{stroke:#ddd}svg text{fill:#667}svg polyline{fill:none;stroke-width:1.6}
</style></head><body>
{{with .Report}}<h1>Attack on {{.URL}}</h1>
<p>{{.Scheduled}} requests due in {{printf "%.1f" .Seconds}} s at {{.Rate}} a second over {{.Conns}} connections. Latency counts from the time
a request was due.</p>
<table>
<tr><th>answers</th><td>{{.Answers}}, {{printf "%.0f" .Achieved}} a second</td></tr>
{{range $status, $n := .Statuses}}<tr><th>status {{$status}}</th><td>{{$n}}</td></tr>
{{end}}<tr><th>bids</th><td>{{.Bids}}, rate {{printf "%.4f" .BidRate}}</td></tr>
<tr><th>late</th><td>{{.Late}}, share {{printf "%.4f" .LateShare}}</td></tr>
<tr><th>errors</th><td>{{.Errors}}: {{.Timeouts}} timeouts, {{.Unsent}} never sent {{.LastError}}</td></tr>
<tr><th>p50</th><td>{{printf "%.3f" .P50}} ms</td></tr>
<tr><th>p90</th><td>{{printf "%.3f" .P90}} ms</td></tr>
<tr><th>p99</th><td>{{printf "%.3f" .P99}} ms</td></tr>
<tr><th>p99.9</th><td>{{printf "%.3f" .P999}} ms</td></tr>
<tr><th>max</th><td>{{printf "%.3f" .Max}} ms</td></tr>
<tr><th>generator's own lag, p99</th><td>{{printf "%.3f" .LagP99}} ms</td></tr>
</table>{{end}}
{{range .Charts}}<h2>{{.Title}}</h2>
{{.SVG}}
<p>{{range .Lines}}<span style="color:{{.Colour}}">&#9632;</span> {{.Name}} &nbsp; {{end}}</p>
{{end}}</body></html>
`))
