package models

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func bytesOf(row []string) [][]byte {
	out := make([][]byte, len(row))
	for i, v := range row {
		out[i] = []byte(v)
	}
	return out
}

// outcome is how the rows after those of the training were predicted: by an
// ensemble, by one FTRL of the usual setting, and by who knows the law.
type outcome struct{ all, later, linear, truth Score }

func (a *analog) run(t testing.TB) *outcome {
	t.Helper()
	rows, err := NewRows(a.names)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.train {
		if err := rows.Add(bytesOf(a.rows[i]), a.labels[i]); err != nil {
			t.Fatal(err)
		}
	}
	e, err := NewEnsemble(rows, EnsembleConfig{})
	if err != nil {
		t.Fatal(err)
	}
	o := new(outcome)
	linear := slices.IndexFunc(e.members, func(m member) bool { return m.name == "ftrl" })
	for i := a.train; i < len(a.rows); i++ {
		p, err := e.Predict(bytesOf(a.rows[i]))
		if err != nil {
			t.Fatal(err)
		}
		o.all.Add(p, a.labels[i])
		o.linear.Add(sigmoid(e.logits[linear]), a.labels[i])
		o.truth.Add(a.truth[i], a.labels[i])
		if i >= a.train+2000 {
			o.later.Add(p, a.labels[i])
		}
		e.Learn(a.labels[i])
	}
	return o
}

func TestEnsembleKnowsMoreThanALinearModel(t *testing.T) {
	a := mobile(3)
	a.rows, a.labels, a.train = a.rows[:6000], a.labels[:6000], 4500
	o := a.run(t)
	all, linear := o.all.Metrics(), o.linear.Metrics()
	if all.AUC < linear.AUC+0.005 || all.LogLoss > linear.LogLoss || all.Calibration < 0.8 || all.Calibration > 1.25 {
		t.Errorf("AUC %.4f, log loss %.4f, calibration %.3f; the linear model has %.4f and %.4f",
			all.AUC, all.LogLoss, all.Calibration, linear.AUC, linear.LogLoss)
	}
}

func TestRowsRefuse(t *testing.T) {
	if _, err := NewRows(nil); err == nil {
		t.Error("no columns: no error")
	}
	if _, err := NewRows(make([]string, maxColumns+1)); err == nil {
		t.Error("too many columns: no error")
	}
	rows, err := NewRows([]string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.Add(bytesOf([]string{"x"}), true); err == nil {
		t.Error("a value too few: no error")
	}
	if _, err := NewEnsemble(rows, EnsembleConfig{}); !errors.Is(err, errNoRows) {
		t.Errorf("of no rows: %v", err)
	}
	if err := rows.Add(bytesOf([]string{"x", "y"}), true); err != nil {
		t.Fatal(err)
	}
	e, err := NewEnsemble(rows, EnsembleConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Predict(bytesOf([]string{"x"})); !errors.Is(err, ErrColumns) {
		t.Errorf("a value too few: %v", err)
	}
}

// What a column is, is told by all of its values.
func TestColumnsAreRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		want   []readingKind
	}{
		{"hour", []string{"14102100", "14102123", ""}, []readingKind{readHour, readWeekday}},
		{"C14", []string{"14102100", "14102199"}, []readingKind{readText}}, // no hour is 99
		{"click_time", []string{"2017-11-07 09:30:38", "2017-11-08 23:59:59"}, []readingKind{readHour, readWeekday}},
		{"timestamp", []string{"20130612000102001"}, []readingKind{readHour, readWeekday}},
		{"timestamp", []string{"1510000000", "1510003600"}, []readingKind{readHour, readWeekday}},
		{"phone", []string{"1510000000", "1510003600"}, []readingKind{readText}},
		{"I1", []string{"0", "1", "", "5", "7", "19", "33", "80", "200", "999", "12", "13", "14", "15", "16"}, []readingKind{readBucket, readText}},
		{"price", []string{"0.5", "1.25", "-3e-4"}, []readingKind{readCut}},
		{"scaled", []string{"0.5", "0.25", "0.5", "0.25", "0.5"}, []readingKind{readCut, readText}},
		{"site", []string{"1fbe01fe", "85f751fd"}, []readingKind{readText}},
		{"empty", []string{"", "NULL"}, []readingKind{readText}},
	} {
		rows, err := NewRows([]string{tt.name})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range tt.values {
			if err := rows.Add(bytesOf([]string{v}), false); err != nil {
				t.Fatal(err)
			}
		}
		var got []readingKind
		for _, f := range newEncoder(rows).fields {
			got = append(got, f.kind)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s of %q is read as %v, want %v", tt.name, tt.values, got, tt.want)
		}
	}
}

// Clicks that depend on one of many tags are told by it, in whatever company.
func TestListsAreTakenApart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	a := &analog{names: []string{"tags"}, train: 2500}
	for range 4000 {
		row, rate := "t0", -3.5
		for i := 1; i < 25; i++ {
			if r.IntN(4) == 0 {
				row += "|t" + strconv.Itoa(i)
				if i%6 == 0 {
					rate += 1.5
				}
			}
		}
		a.add(r, rate, row)
	}
	o := a.run(t)
	if m := o.all.Metrics(); m.AUC < 0.68 {
		t.Errorf("AUC %.3f, of the truth %.3f", m.AUC, o.truth.Metrics().AUC)
	}
	rows, err := NewRows([]string{"agent"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"windows_ie", "mac os", "one,two", "three"} {
		if err := rows.Add(bytesOf([]string{v}), false); err != nil {
			t.Fatal(err)
		}
	}
	if by := rows.columns[0].separator(); by != 0 {
		t.Errorf("values that share no parts are split by %q", by)
	}
}

func TestTimesAreTakenApart(t *testing.T) {
	rows, err := NewRows([]string{"hour"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"14102100", "14102115", "14102215"} {
		if err := rows.Add(bytesOf([]string{v}), false); err != nil {
			t.Fatal(err)
		}
	}
	e := newEncoder(rows)
	for i, want := range [][2]float32{{0, 2}, {15, 2}, {15, 3}} { // a Tuesday and a Wednesday
		cell := rows.row(i)[0]
		if h, d := e.fields[0].read(rows, cell).number, e.fields[1].read(rows, cell).number; h != want[0] || d != want[1] {
			t.Errorf("row %d: hour %v of day %v, want %v", i, h, d, want)
		}
	}
}

// A pass of the filter comes close to the weights that the labels come from.
func TestPosteriorFindsTheWeights(t *testing.T) {
	want := []float64{-1, 0.8, -0.5}
	p := newStackPosterior([]float64{0, 0, 0}, []float64{1, 1, 1})
	a := randomPoints(1, 20_000)
	for i, x := range a.x {
		p.learnOffset([]float64{1, x[0], x[1]}, 0, a.u[i] < sigmoid(want[0]+want[1]*x[0]+want[2]*x[1]))
	}
	for i, w := range want {
		if d := p.mean[i] - w; d > 0.08 || d < -0.08 {
			t.Errorf("weight %d is %v, want about %v", i, p.mean[i], w)
		}
	}
}

// Trees find what no sum of the inputs tells.
func TestForestFindsAnInteraction(t *testing.T) {
	a := randomPoints(2, 8000)
	var rows []float32
	var labels []bool
	for i, x := range a.x {
		rows = append(rows, float32(x[0]), float32(x[1]))
		rate := 0.1
		if (x[0] > 0) == (x[1] > 0.5) {
			rate = 0.6
		}
		labels = append(labels, a.u[i] < rate)
	}
	cfg := forestConfig{trees: 60, depth: 3, rate: 0.1, firmness: 1, least: 1, rows: 0.8, inputs: 1}
	f := growForest(rows[:12_000], 2, labels[:6000], cfg, func(*forest) bool { return true })
	var s Score
	for i := 6000; i < 8000; i++ {
		s.Add(sigmoid(f.logit(rows[2*i:2*i+2], cfg.trees)), labels[i])
	}
	if m := s.Metrics(); m.AUC < 0.73 || m.NE() > 0.85 {
		t.Errorf("AUC %.3f, NE %.3f, want over 0.73 and under 0.85", m.AUC, m.NE())
	}
}

// BenchmarkEnsemblePredict is one prediction of a row of 39 columns.
func BenchmarkEnsemblePredict(b *testing.B) {
	a := display(1)
	rows, err := NewRows(a.names)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 3000 {
		if err := rows.Add(bytesOf(a.rows[i]), a.labels[i]); err != nil {
			b.Fatal(err)
		}
	}
	e, err := NewEnsemble(rows, EnsembleConfig{})
	if err != nil {
		b.Fatal(err)
	}
	i := 3000
	b.ReportAllocs()
	for b.Loop() {
		if i++; i == len(a.rows) {
			i = 3000
		}
		if _, err := e.Predict(bytesOf(a.rows[i])); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnsemble measures how well analogs of public data are predicted:
// ns/op is of the training and all predictions together.
func BenchmarkEnsemble(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(analogs)) {
		for seed := range uint64(5) {
			b.Run(fmt.Sprintf("%s/seed=%d", name, seed+1), func(b *testing.B) {
				for b.Loop() {
					o := analogs[name](seed + 1).run(b)
					all, later := o.all.Metrics(), o.later.Metrics()
					linear, truth := o.linear.Metrics(), o.truth.Metrics()
					b.ReportMetric(all.AUC, "auc")
					b.ReportMetric(all.LogLoss, "logloss")
					b.ReportMetric(all.NE(), "ne")
					b.ReportMetric(all.Calibration, "cal")
					b.ReportMetric(later.Calibration, "cal-later")
					b.ReportMetric(linear.AUC, "linear-auc")
					b.ReportMetric(linear.LogLoss, "linear-logloss")
					b.ReportMetric(linear.NE(), "linear-ne")
					b.ReportMetric(truth.AUC, "truth-auc")
					b.ReportMetric(truth.NE(), "truth-ne")
				}
			})
		}
	}
}
