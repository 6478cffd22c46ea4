package report

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Columns say what a table of users means.
type Columns struct {
	Arm       string
	Metric    string // 0, 1, true, false or a number
	Covariate string // likewise; "" for none
}

// maxTableArms is how many different arms a table may have: more are no arms.
const maxTableArms = 64

// ReadTable reads the arms of a CSV table with a row for each user and the
// names of the columns in its first row. Arms come in the order of their names.
// An error names the line and the column. Progress is called with the rows so
// far.
func ReadTable(r io.Reader, columns Columns, progress func(rows int)) ([]ArmSample, error) {
	table := csv.NewReader(r)
	table.ReuseRecord = true
	header, err := table.Read()
	if err == io.EOF {
		return nil, errors.New("line 1: no header")
	} else if err != nil {
		return nil, tableError(err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff") // as spreadsheets write it
	header = slices.Clone(header)
	arm, err := columnOf(header, columns.Arm)
	if err != nil {
		return nil, err
	}
	metric, err := columnOf(header, columns.Metric)
	if err != nil {
		return nil, err
	}
	covariate := -1
	if columns.Covariate != "" {
		if covariate, err = columnOf(header, columns.Covariate); err != nil {
			return nil, err
		}
	}
	arms, rows := map[string]*Sample{}, 0
	for {
		row, err := table.Read()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, tableError(err)
		}
		at := func(column int, text string) error {
			line, _ := table.FieldPos(column)
			return fmt.Errorf("line %d: column %s: %s", line, header[column], text)
		}
		u := User{Denominator: 1}
		var ok bool
		if u.Metric, ok = cell(row[metric]); !ok {
			return nil, at(metric, fmt.Sprintf("%.40q is no number, true or false", row[metric]))
		}
		if covariate >= 0 {
			if u.Covariate, ok = cell(row[covariate]); !ok {
				return nil, at(covariate, fmt.Sprintf("%.40q is no number, true or false", row[covariate]))
			}
		}
		s := arms[row[arm]]
		if s == nil {
			switch {
			case strings.TrimSpace(row[arm]) == "":
				return nil, at(arm, "no arm")
			case len(arms) == maxTableArms:
				return nil, at(arm, fmt.Sprintf("%.40q is arm number %d: at most %d", row[arm], maxTableArms+1, maxTableArms))
			}
			s = &Sample{}
			arms[strings.Clone(row[arm])] = s
		}
		s.Add(u)
		if rows++; progress != nil {
			progress(rows)
		}
	}
	var list []ArmSample
	for name, s := range arms {
		list = append(list, ArmSample{Name: name, Weight: 1, Sample: *s})
	}
	slices.SortFunc(list, func(a, b ArmSample) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func columnOf(header []string, name string) (int, error) {
	found := -1
	for i, h := range header {
		if h != name {
			continue
		}
		if found >= 0 {
			return 0, fmt.Errorf("line 1: column %s comes twice", name)
		}
		found = i
	}
	if found < 0 {
		return 0, fmt.Errorf("line 1: there is no column %q; the columns are %.400s", name, strings.Join(header, ", "))
	}
	return found, nil
}

// tableError is an error of the CSV with the line first, as all others have it.
func tableError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) && errors.Is(err, csv.ErrFieldCount) {
		return fmt.Errorf("line %d: %w, other than in the first line", parse.Line, parse.Err)
	} else if errors.As(err, &parse) {
		return fmt.Errorf("line %d: byte %d: %w", parse.Line, parse.Column, parse.Err)
	}
	return err
}

// cellLimit bounds numbers so that products of their variances can be added up;
// what is as far below 1 is nothing.
const cellLimit = 1e60

func cell(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	switch text {
	case "0":
		return 0, true
	case "1":
		return 1, true
	}
	switch strings.ToLower(text) {
	case "true":
		return 1, true
	case "false":
		return 0, true
	}
	v, err := strconv.ParseFloat(text, 64)
	if math.Abs(v) < 1/cellLimit {
		v = 0
	}
	return v, err == nil && math.Abs(v) <= cellLimit
}

// Control makes the named arm the first. Without a name the first stays it.
func Control(arms []ArmSample, name string) error {
	if name == "" {
		return nil
	}
	i := slices.IndexFunc(arms, func(a ArmSample) bool { return a.Name == name })
	if i < 0 {
		return fmt.Errorf("control: there is no arm %q; the arms are %s", name, names(arms))
	}
	control := arms[i]
	copy(arms[1:i+1], arms[:i])
	arms[0] = control
	return nil
}

// Weigh sets the weights of the arms from a text: "96:4" in the order of the
// arms, or by name, "psa=4,ad=96".
func Weigh(arms []ArmSample, text string) error {
	if strings.Contains(text, "=") {
		return weighByName(arms, text)
	}
	parts := strings.Split(text, ":")
	if len(parts) != len(arms) {
		return fmt.Errorf("ratio: %q has %d parts for %d arms, %s", text, len(parts), len(arms), names(arms))
	}
	for i, part := range parts {
		if err := arms[i].weigh(part); err != nil {
			return err
		}
	}
	return nil
}

func weighByName(arms []ArmSample, text string) error {
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		eq := strings.LastIndexByte(part, '=')
		if eq < 0 {
			return fmt.Errorf("ratio: %q: want NAME=WEIGHT", part)
		}
		name := strings.TrimSpace(part[:eq])
		i := slices.IndexFunc(arms, func(a ArmSample) bool { return a.Name == name })
		if i < 0 || seen[name] {
			return fmt.Errorf("ratio: %q: want each of %s once", name, names(arms))
		}
		seen[name] = true
		if err := arms[i].weigh(part[eq+1:]); err != nil {
			return err
		}
	}
	if len(seen) != len(arms) {
		return fmt.Errorf("ratio: %q: want each of %s once", text, names(arms))
	}
	return nil
}

func (a *ArmSample) weigh(text string) error {
	w, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(w > 0 && w <= 1e9) {
		return fmt.Errorf("ratio: %q of arm %s is no weight: want a number above 0", text, a.Name)
	}
	a.Weight = w
	return nil
}

func names(arms []ArmSample) string {
	list := make([]string, len(arms))
	for i := range arms {
		list[i] = arms[i].Name
	}
	return strings.Join(list, ", ")
}
