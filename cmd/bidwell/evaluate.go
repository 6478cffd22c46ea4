package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bidwell/models"
)

func newModelEvaluateCommand() *cobra.Command {
	var cfg evaluation
	var in string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "evaluate --in FILE.csv --label COLUMN --train N",
		Short: "Measure how well clicks of a table are predicted",
		Long: `Measure how well the labels of a table are predicted.

The first line names the columns; every column but the label is a feature.
Learns from the first N rows in order, then predicts each of the others before
it learns from it. Times are taken apart into hour and weekday, integers are
both sizes and names, and what is empty is a value of its own.

The learners are those of the bidder, several settings of each, and trees on
what became of earlier rows; they are weighed by how well they predict the
later part of the first N rows, so that nothing is set by hand. No prediction is
above 0.9, as in the bidder: a label that is 1 more often than that is predicted
too low.

NE is the log loss over that of always predicting the mean, calibration the sum
of the predictions over the positives, also without the first 2000 rows that were
predicted (0 where there are no more), ECE the mean error of the calibration.
With few positives among the predicted rows all of them are chance.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			input, err := openInput(cmd, in)
			if err != nil {
				return err
			}
			defer input.Close()
			cfg.progress = cmd.ErrOrStderr()
			result, err := cfg.run(input)
			if err != nil {
				return fmt.Errorf("evaluate %s: %w", in, err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			result.print(cmd.OutOrStdout())
			return nil
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "table of comma-separated values; - for standard input")
	cmd.Flags().StringVar(&cfg.label, "label", "", "column to predict, of 0 and 1")
	cmd.Flags().IntVar(&cfg.train, "train", 0, "how many of the first rows to learn from")
	cmd.Flags().StringVar(&cfg.delimiter, "delimiter", ",", `one character between values; \t or tab for a tab`)
	cmd.Flags().StringSliceVar(&cfg.ignore, "ignore", nil, "columns to leave out")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	for _, name := range []string{"in", "label", "train"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// evaluation is what the command is asked for.
type evaluation struct {
	label     string
	train     int
	delimiter string
	ignore    []string
	progress  io.Writer
}

// evaluationResult is what the command prints. All but the first three counts
// are of the rows after those learned from.
type evaluationResult struct {
	Rows           int              `json:"rows"`
	Train          int              `json:"train"`
	TrainPositives int              `json:"train_positives"`
	Test           int              `json:"test"`
	TestPositives  int              `json:"test_positives"`
	AUC            float64          `json:"auc"`
	LogLoss        float64          `json:"log_loss"`
	NE             float64          `json:"ne"`
	Calibration    float64          `json:"calibration"`
	Later          float64          `json:"calibration_after_2000"`
	ECE            float64          `json:"ece"`
	Nanoseconds    float64          `json:"ns_per_prediction"`
	TrainSeconds   float64          `json:"train_seconds"`
	TestSeconds    float64          `json:"test_seconds"`
	Learners       []learnerOutcome `json:"learners"`
}

// learnerOutcome is how one learner did on the later part of the rows that
// were learned from, and its part in the whole.
type learnerOutcome struct {
	Name    string  `json:"name"`
	LogLoss float64 `json:"log_loss"`
	AUC     float64 `json:"auc"`
	Weight  float64 `json:"weight"`
}

func (r *evaluationResult) print(w io.Writer) {
	fmt.Fprintf(w, "%d rows: learned from %d with %d positives in %.1f s, predicted %d with %d positives in %.1f s\n",
		r.Rows, r.Train, r.TrainPositives, r.TrainSeconds, r.Test, r.TestPositives, r.TestSeconds)
	fmt.Fprintf(w, "auc %.4f\nlog_loss %.5f\nne %.4f\ncalibration %.3f\ncalibration_after_2000 %.3f\nece %.5f\nns_per_prediction %.0f\n",
		r.AUC, r.LogLoss, r.NE, r.Calibration, r.Later, r.ECE, r.Nanoseconds)
	for _, l := range r.Learners {
		fmt.Fprintf(w, "learner %s: log_loss %.5f, auc %.4f on the later part of the first rows; weight %.2f\n", l.Name, l.LogLoss, l.AUC, l.Weight)
	}
}

// settled is after how many rows the predictions are to have found a new mean.
const settled = 2000

func (v *evaluation) run(input io.Reader) (*evaluationResult, error) {
	if v.train < 1 {
		return nil, fmt.Errorf("train: %d rows, want at least 1", v.train)
	}
	table, err := openTable(input, v.delimiter, v.label, v.ignore)
	if err != nil {
		return nil, err
	}
	rows, err := models.NewRows(table.names)
	if err != nil {
		return nil, err
	}
	for rows.Len() < v.train {
		values, label, err := table.next()
		if err == io.EOF {
			return nil, fmt.Errorf("train: %d rows, but the table has %d", v.train, rows.Len())
		}
		if err != nil {
			return nil, err
		}
		if err := rows.Add(values, label); err != nil {
			return nil, fmt.Errorf("line %d: %w", table.line, err)
		}
	}

	begun := time.Now()
	report := begun.Add(time.Second)
	tell := func(format string, args ...any) {
		if now := time.Now(); now.After(report) {
			fmt.Fprintf(v.progress, format+"\n", args...)
			report = now.Add(time.Second)
		}
	}
	ensemble, err := models.NewEnsemble(rows, models.EnsembleConfig{Progress: func(what string, done float64) {
		tell("learning, %.0f%%: %s", 100*done, what)
	}})
	if err != nil {
		return nil, err
	}
	result := &evaluationResult{Train: v.train, TrainPositives: rows.Positives(), TrainSeconds: time.Since(begun).Seconds()}

	begun = time.Now()
	var score, later models.Score
	var predicting time.Duration
	for {
		values, label, err := table.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		asked := time.Now()
		p, err := ensemble.Predict(values)
		predicting += time.Since(asked)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", table.line, err)
		}
		score.Add(p, label)
		if result.Test++; result.Test > settled {
			later.Add(p, label)
		}
		ensemble.Learn(label)
		if result.Test%1024 == 0 {
			tell("%d rows predicted", result.Test)
		}
	}
	if result.Test == 0 {
		return nil, fmt.Errorf("train: all %d rows of the table, which leaves none to predict", v.train)
	}
	m := score.Metrics()
	result.Rows = result.Train + result.Test
	result.TestPositives = int(m.Clicks)
	result.AUC, result.LogLoss, result.NE, result.Calibration = m.AUC, m.LogLoss, m.NE(), m.Calibration
	result.Later, result.ECE = later.Metrics().Calibration, score.ECE()
	result.Nanoseconds = float64(predicting) / float64(result.Test)
	result.TestSeconds = time.Since(begun).Seconds()
	for _, l := range ensemble.Members() {
		result.Learners = append(result.Learners, learnerOutcome(l))
	}
	return result, nil
}

// labelledTable reads rows of values in which one column is the label.
type labelledTable struct {
	lines     *bufio.Scanner
	delimiter byte
	columns   int
	label     int
	ignored   []bool
	header    []string
	names     []string // of the features
	line      int      // the last one read, from 1

	fields, values [][]byte
	unquoted       []byte
}

const (
	maxTableLine    = 1 << 20 // bytes
	maxTableColumns = 4096
)

// openTable reads the header row.
func openTable(r io.Reader, delimiter, label string, ignore []string) (*labelledTable, error) {
	switch delimiter {
	case `\t`, "tab":
		delimiter = "\t"
	}
	if len(delimiter) != 1 || strings.ContainsAny(delimiter, "\"\r\n") || delimiter[0] >= 0x80 {
		return nil, fmt.Errorf("delimiter: got %q, want one character, not a quote", delimiter)
	}
	t := &labelledTable{lines: bufio.NewScanner(r), delimiter: delimiter[0], label: -1}
	t.lines.Buffer(make([]byte, 64<<10), maxTableLine)
	fields, err := t.read()
	if err == io.EOF {
		return nil, errors.New("the table is empty; want a header row")
	}
	if err != nil {
		return nil, err
	}
	if len(fields) > maxTableColumns {
		return nil, fmt.Errorf("line %d: %d columns, want at most %d", t.line, len(fields), maxTableColumns)
	}
	t.columns = len(fields)
	t.ignored = make([]bool, t.columns)
	ignore = slices.Clone(ignore)
	for i, f := range fields {
		name := string(bytes.TrimSpace(f))
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		if slices.Contains(t.header, name) {
			if _, err := strconv.ParseFloat(name, 64); err == nil || name == "" {
				return nil, fmt.Errorf("line %d: two columns are named %q; the first line must name the columns", t.line, name)
			}
			return nil, fmt.Errorf("line %d: two columns are named %q", t.line, name)
		}
		t.header = append(t.header, name)
		at := slices.Index(ignore, name)
		switch {
		case name == label:
			t.label = i
			if at >= 0 {
				return nil, fmt.Errorf("ignore: %q is the label", name)
			}
		case at >= 0:
			t.ignored[i] = true
			ignore = slices.Delete(ignore, at, at+1)
		default:
			t.names = append(t.names, name)
		}
	}
	if t.label < 0 && t.columns == 1 {
		return nil, fmt.Errorf("label: no column is named %q; the only column is %q: is --delimiter right?", label, t.header[0])
	}
	if t.label < 0 {
		return nil, fmt.Errorf("label: no column is named %q; the columns are %s", label, strings.Join(t.header, ", "))
	}
	if len(ignore) > 0 {
		return nil, fmt.Errorf("ignore: no column is named %q; the columns are %s", ignore[0], strings.Join(t.header, ", "))
	}
	if len(t.names) == 0 {
		return nil, errors.New("the table has no column but the label and what is ignored")
	}
	return t, nil
}

// next is the next row, valid until the one after, or io.EOF.
func (t *labelledTable) next() (values [][]byte, label bool, err error) {
	fields, err := t.read()
	if err != nil {
		return nil, false, err
	}
	if len(fields) != t.columns {
		return nil, false, fmt.Errorf("line %d: %d values, want %d as in the header", t.line, len(fields), t.columns)
	}
	t.values = t.values[:0]
	for i, f := range fields {
		switch {
		case i == t.label:
			switch string(bytes.TrimSpace(f)) {
			case "0":
			case "1":
				label = true
			default:
				return nil, false, fmt.Errorf("line %d: column %q: %.40q, want 0 or 1", t.line, t.header[i], f)
			}
		case !t.ignored[i]:
			t.values = append(t.values, bytes.TrimSpace(f))
		}
	}
	return t.values, label, nil
}

// read splits the next line that is not blank.
func (t *labelledTable) read() ([][]byte, error) {
	for t.lines.Scan() {
		t.line++
		line := bytes.TrimSuffix(t.lines.Bytes(), []byte("\r"))
		if len(bytes.TrimSpace(line)) == 0 && t.columns != 1 {
			if t.delimiter == '\t' && t.columns > 1 && len(line) > 0 {
				return t.split(line) // a row of empty values
			}
			continue
		}
		return t.split(line)
	}
	if err := t.lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("longer than %d bytes", maxTableLine)
		}
		return nil, fmt.Errorf("line %d: %w", t.line+1, err)
	}
	return nil, io.EOF
}

// split takes a line apart (RFC 4180, but that a quoted value may not go over
// several lines).
func (t *labelledTable) split(line []byte) ([][]byte, error) {
	t.fields, t.unquoted = t.fields[:0], slices.Grow(t.unquoted[:0], len(line))
	for {
		if len(t.fields) > maxTableColumns {
			return nil, fmt.Errorf("line %d: more than %d values", t.line, maxTableColumns)
		}
		if len(line) == 0 || line[0] != '"' {
			end := bytes.IndexByte(line, t.delimiter)
			if end < 0 {
				t.fields = append(t.fields, line)
				return t.fields, nil
			}
			t.fields = append(t.fields, line[:end])
			line = line[end+1:]
			continue
		}
		begin := len(t.unquoted)
		line = line[1:]
		for {
			end := bytes.IndexByte(line, '"')
			if end < 0 {
				return nil, fmt.Errorf("line %d: value %d: the quote is not closed", t.line, len(t.fields)+1)
			}
			t.unquoted = append(t.unquoted, line[:end]...)
			line = line[end+1:]
			if len(line) == 0 || line[0] != '"' {
				break
			}
			t.unquoted = append(t.unquoted, '"')
			line = line[1:]
		}
		t.fields = append(t.fields, t.unquoted[begin:])
		if len(line) == 0 {
			return t.fields, nil
		}
		if line[0] != t.delimiter {
			return nil, fmt.Errorf("line %d: value %d: text after the closing quote", t.line, len(t.fields))
		}
		line = line[1:]
	}
}
