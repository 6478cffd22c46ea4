package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// clickTable is a table of which the clicks depend on the site and the hour.
func clickTable(rows int) string {
	var b strings.Builder
	b.WriteString("id,click,hour,site,price\n")
	r := rand.New(rand.NewPCG(1, 1))
	for i := range rows {
		site := r.IntN(20)
		p := 0.05
		if site%3 == 0 {
			p = 0.3
		}
		click := 0
		if r.Float64() < p {
			click = 1
		}
		fmt.Fprintf(&b, "%d,%d,141021%02d,\"site \"\"%d\"\"\",%d\n", i, click, i*24/rows, site, r.IntN(100))
	}
	return b.String()
}

func TestModelEvaluate(t *testing.T) {
	in := write(t, "clicks.csv", clickTable(4000))
	out := mustRun(t, "model", "evaluate", "--in", in, "--label", "click", "--train", "3000", "--json")
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	number := func(name string) float64 {
		v, ok := got[name].(float64)
		if !ok {
			t.Fatalf("%s: no number in %s", name, out)
		}
		return v
	}
	if number("rows") != 4000 || number("train") != 3000 || number("test") != 1000 {
		t.Errorf("counts of %s", out)
	}
	if auc := number("auc"); auc < 0.65 || auc > 0.85 {
		t.Errorf("AUC %v, want about 0.73", auc)
	}
	if ne := number("ne"); ne > 0.95 || ne < 0.7 {
		t.Errorf("NE %v, want about 0.88", ne)
	}
	if c := number("calibration"); math.Abs(c-1) > 0.2 {
		t.Errorf("calibration %v", c)
	}
	if e := number("ece"); !(e >= 0 && e < 0.1) {
		t.Errorf("ECE %v", e)
	}
	if ns := number("ns_per_prediction"); !(ns > 0 && ns < 1e7) {
		t.Errorf("%v ns a prediction", ns)
	}
	if again := mustRun(t, "model", "evaluate", "--in", in, "--label", "click", "--train", "3000"); !strings.Contains(again, fmt.Sprintf("auc %.4f\n", number("auc"))) {
		t.Errorf("the same again gives %s, before %s", again, out)
	}
}

// Nothing of a row may help to predict it but what comes before its label.
func TestModelEvaluateDoesNotLookAhead(t *testing.T) {
	lines := strings.SplitAfter(clickTable(2000), "\n")
	run := func(lines []string) *evaluationResult {
		v := evaluation{label: "click", train: 1200, delimiter: ",", progress: io.Discard}
		r, err := v.run(strings.NewReader(strings.Join(lines, "")))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	all := run(lines[:1901])
	// The loss of one more row is that of its label alone.
	without, with := run(lines[:1900]), run(lines[:1901])
	if all.LogLoss != with.LogLoss {
		t.Errorf("the same rows give %v and %v", all.LogLoss, with.LogLoss)
	}
	last := with.LogLoss*float64(with.Test) - without.LogLoss*float64(without.Test)
	flipped := slices.Clone(lines[:1901])
	fields := strings.Split(flipped[1900], ",")
	fields[1] = map[string]string{"0": "1", "1": "0"}[fields[1]]
	flipped[1900] = strings.Join(fields, ",")
	other := run(flipped)
	lost := other.LogLoss*float64(other.Test) - without.LogLoss*float64(without.Test)
	if sum := math.Exp(-last) + math.Exp(-lost); math.Abs(sum-1) > 1e-6 {
		t.Errorf("a label and its opposite were given %v together, want 1", sum)
	}
}

func TestModelEvaluateRefuses(t *testing.T) {
	const head = "click,site\n"
	good := head + strings.Repeat("0,a\n1,b\n", 10)
	for name, tt := range map[string]struct {
		table, label, delimiter string
		train                   int
		ignore                  []string
		want                    string
	}{
		"empty":            {"", "click", ",", 1, nil, "the table is empty"},
		"header alone":     {head, "click", ",", 1, nil, "a header row and no other"},
		"no label":         {good, "clicks", ",", 1, nil, `no column is named "clicks"; the columns are click, site`},
		"label of another": {head + "0,a\n2,b\n", "click", ",", 2, nil, `line 3: column "click": "2", want 0 or 1`},
		"label of words":   {head + "maybe,a\n", "click", ",", 1, nil, `line 2: column "click": "maybe", want 0 or 1 (or false or true`},
		"UTF-16":           {"\xff\xfec\x00", "click", ",", 1, nil, "UTF-16"},
		"spreadsheet":      {"PK\x03\x04", "click", ",", 1, nil, "spreadsheet"},
		"broken gzip":      {"\x1f\x8b\x00\x00", "click", ",", 1, nil, "gzip"},
		"label is empty":   {head + ",a\n", "click", ",", 1, nil, `line 2: column "click"`},
		"fields":           {head + "0,a\n\n0,a,b\n", "click", ",", 2, nil, "line 4: 3 values, want 2"},
		"train beyond":     {good, "click", ",", 21, nil, "21 rows, but the table has 20"},
		"nothing to score": {good, "click", ",", 20, nil, "leaves none"},
		"train":            {good, "click", ",", 0, nil, "train: 0 rows"},
		"ignore":           {good, "click", ",", 5, []string{"sites"}, `ignore: no column is named "sites"`},
		"ignore the label": {good, "click", ",", 5, []string{"click"}, `"click" is the label`},
		"ignore all":       {good, "click", ",", 5, []string{"site"}, "no column but the label"},
		"twice":            {"a,click,a\n", "click", ",", 5, nil, `two columns are named "a"`},
		"delimiter":        {good, "click", ";;", 5, nil, "delimiter"},
		"quote":            {head + "0,\"a\n", "click", ",", 1, nil, "line 2: value 2: the quote is not closed"},
		"after the quote":  {head + "0,\"a\"b\n", "click", ",", 1, nil, "line 2: value 2: text after"},
		"long line":        {head + "0," + strings.Repeat("a", maxTableLine), "click", ",", 1, nil, "line 2: longer"},
		"columns":          {"click" + strings.Repeat(",", 2*maxTableColumns), "click", ",", 1, nil, "line 1: more than"},
	} {
		v := evaluation{label: tt.label, train: tt.train, delimiter: tt.delimiter, ignore: tt.ignore, progress: io.Discard}
		if _, err := v.run(strings.NewReader(tt.table)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

// Tables with hardly anything in them give numbers all the same.
func TestModelEvaluateOfLittle(t *testing.T) {
	for name, table := range map[string]string{
		"two rows":       "click,a\n0,x\n1,x\n",
		"no positives":   "click,a\n" + strings.Repeat("0,x\n", 50),
		"all positives":  "click,a\n" + strings.Repeat("1,x\n", 50),
		"empty values":   "click,a,b\n" + strings.Repeat("1,,\n0,,\n", 50),
		"odd numbers":    "click,a\n" + strings.Repeat("1,1e308\n0,-1e308\n0,NaN\n0,Inf\n1,-7\n", 20),
		"tabs":           strings.ReplaceAll("click,a\n"+strings.Repeat("1,x\n0,y\n", 50), ",", "\t"),
		"crlf and bom":   "\ufeffclick,a\r\n" + strings.Repeat("1,x\r\n0,y\r\n", 50),
		"times":          "click,time\n" + strings.Repeat("1,2017-11-07 09:30:38\n0,2017-11-08 10:00:00\n0,\n", 20),
		"decimals":       "click,a\n" + strings.Repeat("1,0.5\n0,1.25\n0,-3e-4\n", 20),
		"values unheard": "click,a\n1,x\n0,y\n" + strings.Repeat("0,z\n", 20),
	} {
		delimiter := ","
		if name == "tabs" {
			delimiter = `\t`
		}
		v := evaluation{label: "click", train: 1, delimiter: delimiter, progress: io.Discard}
		r, err := v.run(strings.NewReader(table))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !(r.LogLoss > 0) || r.AUC != nil && !(*r.AUC >= 0 && *r.AUC <= 1) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// What the predicted rows do not define is not a number that looks like one.
func TestModelEvaluateUndefined(t *testing.T) {
	half := "click,a\n" + strings.Repeat("1,x\n0,y\n", 20)
	for _, tt := range []struct {
		name, rows string
		null       []string
		say        string
	}{
		{"no positives", strings.Repeat("0,x\n", 30), []string{"auc", "ne", "calibration", "calibration_after_2000"}, "auc undefined: no positive rows\n"},
		{"no negatives", strings.Repeat("1,x\n", 30), []string{"auc", "ne", "calibration_after_2000"}, "ne undefined: no negative rows\n"},
		{"few", half[len("click,a\n"):], []string{"calibration_after_2000"}, "calibration_after_2000 undefined: no more than 2000 rows predicted\n"},
		{"none later", "1,x\n" + strings.Repeat("0,y\n", 2100), []string{"calibration_after_2000"}, "calibration_after_2000 undefined: no positive rows after the first 2000\n"},
		{"many", strings.Repeat("1,x\n0,y\n", 1001), nil, "calibration_after_2000 0.9"},
	} {
		args := []string{"model", "evaluate", "--in", write(t, "rows.csv", half+tt.rows), "--label", "click", "--train", "40"}
		out := mustRun(t, append(args, "--json")...)
		var got map[string]*json.RawMessage
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %s: %v", tt.name, out, err)
		}
		for _, name := range []string{"auc", "ne", "calibration", "calibration_after_2000", "log_loss", "ece"} {
			if v, ok := got[name]; !ok || (v == nil) != slices.Contains(tt.null, name) {
				t.Errorf("%s: %s in %s", tt.name, name, out)
			}
		}
		if text := mustRun(t, args...); !strings.Contains(text, tt.say) {
			t.Errorf("%s: want %q in\n%s", tt.name, tt.say, text)
		}
	}
}

// However a table writes its labels, packed or not, its figures are the same.
func TestModelEvaluateReadsLabels(t *testing.T) {
	plain := clickTable(600)
	run := func(r io.Reader) *evaluationResult {
		v := evaluation{label: "click", train: 400, delimiter: ",", progress: io.Discard}
		got, err := v.run(r)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := run(strings.NewReader(plain))
	for _, words := range [][2]string{{"0.0", "1.0"}, {"false", "true"}, {"No", "YES"}} {
		lines := strings.SplitAfter(plain, "\n")
		for i, line := range lines[1 : len(lines)-1] {
			fields := strings.SplitN(line, ",", 3)
			lines[i+1] = fields[0] + "," + words[fields[1][0]-'0'] + "," + fields[2]
		}
		if got := run(strings.NewReader(strings.Join(lines, ""))); got.LogLoss != want.LogLoss || *got.AUC != *want.AUC {
			t.Errorf("labels of %q: log loss %v, want %v", words, got.LogLoss, want.LogLoss)
		}
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, plain)
	w.Close()
	if got := run(&packed); got.LogLoss != want.LogLoss {
		t.Errorf("packed: log loss %v, want %v", got.LogLoss, want.LogLoss)
	}
	var half bytes.Buffer
	w = gzip.NewWriter(&half)
	io.WriteString(w, plain)
	w.Close()
	v := evaluation{label: "click", train: 400, delimiter: ",", progress: io.Discard}
	if _, err := v.run(bytes.NewReader(half.Bytes()[:half.Len()/2])); err == nil || !strings.Contains(err.Error(), "line ") {
		t.Errorf("half of a packed table: %v", err)
	}
}

// A line is taken apart as the reader of the standard library takes it apart,
// where that reads it.
func FuzzEvaluateSplit(f *testing.F) {
	f.Add([]byte(`a,"b ""c""",,d`))
	f.Add([]byte(`"",x`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsAny(line, "\r\n") {
			return
		}
		table := labelledTable{delimiter: ','}
		got, err := table.split(line)
		reader := csv.NewReader(bytes.NewReader(line))
		want, wantErr := reader.Read()
		if wantErr != nil {
			return
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("split(%q) = %q, %v, want %q", line, got, err, want)
		}
		for i := range got {
			if string(got[i]) != want[i] {
				t.Fatalf("split(%q) = %q, want %q", line, got, want)
			}
		}
	})
}

func FuzzEvaluate(f *testing.F) {
	f.Add([]byte("click,a,b\n0,1,x\n1,2,\"y\"\n0,,z\n"), uint8(1))
	f.Add([]byte(clickTable(20)), uint8(10))
	f.Add([]byte("time,click\n14102100,0\n14102101,1\n14102102,0\n"), uint8(2))
	f.Fuzz(func(t *testing.T, table []byte, train uint8) {
		v := evaluation{label: "click", train: int(train), delimiter: ",", progress: io.Discard}
		r, err := v.run(bytes.NewReader(table))
		if err != nil {
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
