package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bidwell/events/report"
)

func newExperimentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "experiment", Short: "Read experiments: how the arms differ, and how sure that is"}
	cmd.AddCommand(newExperimentReadCommand())
	return cmd
}

func newExperimentReadCommand() *cobra.Command {
	var in, control, ratio string
	var columns report.Columns
	var settings report.Settings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "read --in FILE.csv --arm COLUMN --metric COLUMN",
		Short: "Read an experiment from a table with a row for each user",
		Long: `Read an experiment from a CSV file with a row for each user and the names of the
columns in its first line. The metric is 0, 1, true, false or a number, and so is
the covariate, which must be of before the experiment.

Every arm is compared with the control, which is the first by name unless
--control names another. The fixed-horizon p-value and interval are right for
one who looks once; the always-valid ones however often one looks. Nothing is
shown where the numbers of users do not fit the weights of the arms.`,
		Example: `  bidwell experiment read --in cookie_cats.csv --arm version --metric retention_7
  bidwell experiment read --in hillstrom.csv --arm segment --control "No E-Mail" --metric visit --covariate history
  bidwell experiment read --in marketing_ab.csv --arm "test group" --control psa --metric converted --ratio psa=4,ad=96`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !(settings.Effect >= 0 && settings.Effect < 100) {
				return errors.New("effect: must be 0 to 100")
			}
			input := cmd.InOrStdin()
			if in != "-" {
				f, err := os.Open(in)
				if err != nil {
					return err
				}
				defer f.Close()
				input = f
			}
			arms, err := report.ReadTable(input, columns, rowsRead(cmd.ErrOrStderr()))
			if err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
			if err := report.Control(arms, control); err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
			if ratio != "" {
				if err := report.Weigh(arms, ratio); err != nil {
					return err
				}
			}
			r, err := report.Read(arms, settings)
			if err != nil {
				return fmt.Errorf("%s: column %s: %w", in, columns.Arm, err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report.Show(r))
			}
			return printReading(cmd.OutOrStdout(), report.Show(r), columns.Metric, columns.Covariate)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&in, "in", "", "table of users, CSV; - for standard input")
	flags.StringVar(&columns.Arm, "arm", "", "column that names the arm")
	flags.StringVar(&columns.Metric, "metric", "", "column of what is compared")
	flags.StringVar(&columns.Covariate, "covariate", "", "column of something of before the experiment, to take noise out")
	flags.StringVar(&control, "control", "", "arm that the others are compared with; the first by name when not given")
	flags.StringVar(&ratio, "ratio", "", "how users should spread over the arms, as 96:4 with the control first and the others by name, or psa=4,ad=96; evenly when not given")
	flags.Float64Var(&settings.Effect, "effect", 0, "relative difference that is expected, set before one looks; 0 for a tenth")
	flags.BoolVar(&asJSON, "json", false, "print the result as JSON")
	for _, name := range []string{"in", "arm", "metric"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// rowsRead reports once a second.
func rowsRead(w io.Writer) func(int) {
	next := time.Now().Add(time.Second)
	return func(rows int) {
		if rows%4096 == 0 && time.Now().After(next) {
			next = next.Add(time.Second)
			fmt.Fprintf(w, "%d rows\n", rows)
		}
	}
}

// printReading prints a table of the arms and one of the comparisons.
func printReading(to io.Writer, r *report.Figures, metric, covariate string) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "ARM\tUSERS\tSHARE\tEXPECTED\t%s\n", strings.ToUpper(metric))
	for i, a := range r.Arms {
		name := a.Name
		if i == 0 {
			name += " (control)"
		}
		rate := "withheld"
		if a.Rate != nil {
			rate = fmt.Sprintf("%.6g", *a.Rate)
		}
		fmt.Fprintf(table, "%s\t%d\t%.2f%%\t%.2f%%\t%s\n", name, a.Users, 100*a.Share, 100*a.Expected, rate)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	verdict := "the numbers of users fit the weights"
	switch {
	case r.Ratio.Withholds:
		verdict = "RESULTS ARE WITHHELD: " + r.Withheld
	case r.Ratio.Warns:
		verdict = "WARNING: the numbers of users hardly fit the weights; look for what loses users before believing a difference"
	}
	fmt.Fprintf(to, "\nsample ratio: chi-square %.4g, p = %.3g: %s\n", r.Ratio.ChiSquare, r.Ratio.P, verdict)
	for i, c := range r.Comparisons {
		fmt.Fprintf(to, "\n%s against %s: %+.4g%s\n", r.Arms[1+i].Name, r.Arms[0].Name, c.Difference, relative(c.Relative))
		table := tabwriter.NewWriter(to, 2, 0, 2, ' ', 0)
		fmt.Fprintf(table, "  always valid\tp = %.3g\t%s\t%s\n", c.AlwaysValid.P, interval(c.AlwaysValid), "look as often as you like")
		fmt.Fprintf(table, "  fixed horizon\tp = %.3g\t%s\t%s\n", c.FixedHorizon.P, interval(c.FixedHorizon), "only for one look, at a time set beforehand")
		if a := c.CUPED; a != nil {
			fmt.Fprintf(table, "  CUPED, always valid\tp = %.3g\t%s\tdifference %+.4g; %s saved %.2f%% of the variance\n",
				a.AlwaysValid.P, interval(a.AlwaysValid), a.Difference, cmp.Or(covariate, "what was before"), 100*a.VarianceSaved)
			fmt.Fprintf(table, "  CUPED, fixed horizon\tp = %.3g\t%s\t\n", a.FixedHorizon.P, interval(a.FixedHorizon))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func relative(r *float64) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf(", %+.2f%%", 100**r)
}

func interval(v report.TestFigures) string {
	if v.Low == nil || v.High == nil {
		return "[nothing is known]"
	}
	return fmt.Sprintf("[%.4g, %.4g]", *v.Low, *v.High)
}
