package report

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

const cats = "userid,version,sum_gamerounds,retention_1,retention_7\n" +
	"116,gate_30,3,False,False\n" +
	"337,gate_30,38,True,False\n" +
	"377,gate_40,165,True,True\n" +
	"\"483\",gate_40,1, false ,FALSE\n"

func TestReadTable(t *testing.T) {
	arms, err := ReadTable(strings.NewReader("\ufeff"+cats), Columns{Arm: "version", Metric: "retention_1", Covariate: "sum_gamerounds"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(arms) != 2 || arms[0].Name != "gate_30" || arms[1].Name != "gate_40" {
		t.Fatalf("%+v", arms)
	}
	want := Sample{}
	want.Add(User{0, 1, 3})
	want.Add(User{1, 1, 38})
	if arms[0].Sample != want || arms[0].NotBinary {
		t.Errorf("%+v, want %+v", arms[0].Sample, want)
	}
	if arms, err = ReadTable(strings.NewReader(cats), Columns{Arm: "version", Metric: "sum_gamerounds"}, nil); err != nil || arms[1].Y != 166 || !arms[1].NotBinary {
		t.Errorf("%+v, %v", arms, err)
	}
	if arms, err = ReadTable(strings.NewReader(cats), Columns{Arm: "version", Metric: "userid"}, nil); err != nil || arms[0].Y != 453 {
		t.Errorf("the column after the byte order mark: %+v, %v", arms, err)
	}
}

func TestReadTableNamesLineAndColumn(t *testing.T) {
	columns := Columns{Arm: "arm", Metric: "y", Covariate: "x"}
	for _, c := range []struct{ text, want string }{
		{"", "line 1: no header"},
		{"arm,x\n", `line 1: there is no column "y"; the columns are arm, x`},
		{"arm,x,y,y\n", "line 1: column y comes twice"},
		{"arm,x,y\na,1,2\nb,1,yes\n", `line 3: column y: "yes" is no number, true or false`},
		{"arm,x,y\na,,2\n", `line 2: column x: "" is no number`},
		{"arm,x,y\n\na,NaN,2\n", `line 3: column x: "NaN"`},
		{"arm,x,y\na,1,1e200\n", `line 2: column y: "1e200"`},
		{"arm,x,y\n  ,1,1\n", "line 2: column arm: no arm"},
		{"arm,x,y\na,1\n", "line 2: wrong number of fields, other"},
		{"arm,x,y\n\"a\nb\",1,z\n", "line 3: column y"},
		{"arm,x,y\na,\"1,1\n", "line 2: byte 8: extraneous"},
	} {
		if _, err := ReadTable(strings.NewReader(c.text), columns, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one that says %q", c.text, err, c.want)
		}
	}
	many := "arm,x,y\n"
	for i := range maxTableArms + 1 {
		many += fmt.Sprintf("%d,1,1\n", i)
	}
	if _, err := ReadTable(strings.NewReader(many), columns, nil); err == nil || !strings.Contains(err.Error(), "line 66: column arm: \"64\" is arm number 65") {
		t.Errorf("error %v", err)
	}
}

func TestControlAndRatio(t *testing.T) {
	make3 := func() []ArmSample { return []ArmSample{{Name: "ad"}, {Name: "b=c"}, {Name: "psa"}} }
	arms := make3()
	if err := Control(arms, "psa"); err != nil || names(arms) != "psa, ad, b=c" {
		t.Errorf("%s, %v", names(arms), err)
	}
	if err := Weigh(arms, "4:95:1"); err != nil || arms[0].Weight != 4 || arms[1].Weight != 95 || arms[2].Weight != 1 {
		t.Errorf("%+v, %v", arms, err)
	}
	arms = make3()
	if err := Weigh(arms, "psa=4, b=c=0.5,ad=95"); err != nil || arms[0].Weight != 95 || arms[1].Weight != 0.5 || arms[2].Weight != 4 {
		t.Errorf("%+v, %v", arms, err)
	}
	for _, text := range []string{"", "1:2", "1:2:0", "1:2:x", "psa=1", "psa=1,psa=1,ad=1", "psa=1,ad=1,c=1", "psa=1,ad=NaN,b=c=1", "psa=1,ad,b=c=1"} {
		if err := Weigh(make3(), text); err == nil || !strings.HasPrefix(err.Error(), "ratio: ") {
			t.Errorf("%q: error %v", text, err)
		}
	}
	if err := Control(arms, "PSA"); err == nil || !strings.Contains(err.Error(), "the arms are ad, b=c, psa") {
		t.Errorf("error %v", err)
	}
}

// Whatever a file says, the reading has figures that can be printed, and its
// errors name a line.
func FuzzReadTable(f *testing.F) {
	f.Add(cats, "version", "retention_1", "sum_gamerounds")
	f.Add("arm,y\na,1e99\nb,-1e99\na,1e99\n", "arm", "y", "")
	for _, size := range []string{"e99", "e59", "e-150"} { // so many that something is said of them
		table := "arm,y,x\n"
		for i := range 1000 {
			table += fmt.Sprintf("%c,%d%s,%d%s\n", "ab"[i%2], i%5, size, i%7, size)
		}
		f.Add(table, "arm", "y", "x")
	}
	f.Add("arm,y\na,1\n\"b\n\",tRUE\n", "arm", "y", "y")
	f.Fuzz(func(t *testing.T, text, arm, metric, covariate string) {
		arms, err := ReadTable(strings.NewReader(text), Columns{arm, metric, covariate}, nil)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") {
				t.Fatalf("error %v names no line", err)
			}
			return
		}
		r, err := Read(arms, Settings{})
		if err != nil {
			return
		}
		for _, c := range r.Comparisons {
			for _, p := range []float64{c.FixedP, c.AlwaysP, r.Ratio.P} {
				if !(p >= 0 && p <= 1) {
					t.Fatalf("p = %v in %+v", p, c)
				}
			}
			if math.IsNaN(c.Difference) || math.IsNaN(c.FixedInterval.Low) || math.IsNaN(c.AlwaysInterval.High) {
				t.Fatalf("%+v", c)
			}
			if a := c.CUPED; a != nil && (math.IsNaN(a.Difference) || !(a.FixedP >= 0 && a.FixedP <= 1) || !(a.AlwaysP >= 0 && a.AlwaysP <= 1)) {
				t.Fatalf("%+v", a)
			}
		}
	})
}
