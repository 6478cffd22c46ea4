package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

The first line names the columns; every column but the label is a feature. The
label is 0 or 1, 0.0 or 1.0, false or true, no or yes. The table may be packed by
gzip. Learns from the first N rows in order, then predicts each of the others
before it learns from it. The same table gives the same figures. Times are taken apart into hour and weekday, integers are
both sizes and names, and what is empty is a value of its own.

The learners are those of the bidder, several settings of each, and trees on
what became of earlier rows; they are weighed by how well they predict the
later part of the first N rows, so that nothing is set by hand. No prediction is
above 0.9, as in the bidder: a label that is 1 more often than that is predicted
too low.

NE is the log loss over that of always predicting the mean, calibration the sum
of the predictions over the positives, calibration_after_2000 that without the
first 2000 rows that were predicted, ECE the mean error of the calibration. What
the predicted rows do not define is null in JSON: AUC and NE without a positive
or without a negative row, calibration without a positive one. With few
positives among the predicted rows all of them are chance.`,
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
	cmd.Flags().StringVar(&in, "in", "", "table of comma-separated values, plain or gzip; - for standard input")
	cmd.Flags().StringVar(&cfg.label, "label", "", "column to predict, of 0 and 1, false and true, or no and yes")
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
// are of the rows after those learned from; what those do not define is nil.
type evaluationResult struct {
	Rows           int              `json:"rows"`
	Train          int              `json:"train"`
	TrainPositives int              `json:"train_positives"`
	Test           int              `json:"test"`
	TestPositives  int              `json:"test_positives"`
	AUC            *float64         `json:"auc"`
	LogLoss        float64          `json:"log_loss"`
	NE             *float64         `json:"ne"`
	Calibration    *float64         `json:"calibration"`
	Later          *float64         `json:"calibration_after_2000"`
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
	why := "no positive rows"
	if r.TestPositives > 0 {
		why = "no negative rows"
	}
	whyLater := fmt.Sprintf("no positive rows after the first %d", settled)
	if r.Test <= settled {
		whyLater = fmt.Sprintf("no more than %d rows predicted", settled)
	}
	show := func(name, form string, v *float64, why string) {
		if v == nil {
			fmt.Fprintf(w, "%s undefined: %s\n", name, why)
			return
		}
		fmt.Fprintf(w, "%s "+form+"\n", name, *v)
	}
	show("auc", "%.4f", r.AUC, why)
	show("log_loss", "%.5f", &r.LogLoss, "")
	show("ne", "%.4f", r.NE, why)
	show("calibration", "%.3f", r.Calibration, why)
	show("calibration_after_2000", "%.3f", r.Later, whyLater)
	show("ece", "%.5f", &r.ECE, "")
	show("ns_per_prediction", "%.0f", &r.Nanoseconds, "")
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
	report := time.Now().Add(time.Second)
	tell := func(format string, args ...any) {
		if now := time.Now(); now.After(report) {
			fmt.Fprintf(v.progress, format+"\n", args...)
			report = now.Add(time.Second)
		}
	}
	for rows.Len() < v.train {
		values, label, err := table.next()
		if err == io.EOF && rows.Len() == 0 {
			return nil, errors.New("the table has a header row and no other")
		}
		if err == io.EOF {
			return nil, fmt.Errorf("train: %d rows, but the table has %d", v.train, rows.Len())
		}
		if err != nil {
			return nil, err
		}
		if err := rows.Add(values, label); err != nil {
			return nil, fmt.Errorf("line %d: %w", table.line, err)
		}
		if rows.Len()%1024 == 0 {
			tell("%d rows read", rows.Len())
		}
	}

	values, label, err := table.next()
	if err == io.EOF {
		return nil, fmt.Errorf("train: all %d rows of the table, which leaves none to predict", v.train)
	}
	if err != nil {
		return nil, err
	}

	begun := time.Now()
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
	for err != io.EOF {
		if err != nil {
			return nil, err
		}
		asked := time.Now()
		var p float64
		p, err = ensemble.Predict(values)
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
		values, label, err = table.next()
	}
	m, l := score.Metrics(), later.Metrics()
	result.Rows = result.Train + result.Test
	result.TestPositives = int(m.Clicks)
	result.LogLoss, result.ECE = m.LogLoss, score.ECE()
	if m.Clicks > 0 && m.Clicks < m.Rows {
		ne := m.NE()
		result.AUC, result.NE = &m.AUC, &ne
	}
	if m.Clicks > 0 {
		result.Calibration = &m.Calibration
	}
	if l.Clicks > 0 {
		result.Later = &l.Calibration
	}
	result.Nanoseconds = float64(predicting) / float64(result.Test)
	result.TestSeconds = time.Since(begun).Seconds()
	for _, l := range ensemble.Members() {
		result.Learners = append(result.Learners, learnerOutcome(l))
	}
	return result, nil
}
