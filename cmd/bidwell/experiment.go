package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/events/report"
)

func newExperimentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "experiment", Short: "Read experiments: how the arms differ, and how sure that is"}
	cmd.AddCommand(newExperimentResultsCommand(), newExperimentReadCommand())
	return cmd
}

func newExperimentResultsCommand() *cobra.Command {
	var metric string
	cmd := askCommand(&cobra.Command{
		Use:   "results EXPERIMENT",
		Short: "Show what an experiment says so far",
		Long: `Show what an experiment says so far: the users of each arm, what came of them,
and how the arms differ from the control. Each call is a look. The always-valid
p-value and interval are right however often one looks and whenever one stops.
CUPED is the same with what the users did before taken out. Nothing is shown
where the numbers of users do not fit the weights of the arms. It asks a running
bidwell.`,
		Example: "  bidwell experiment results shading-off",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("experiment results: want the id of one experiment, such as shading-off")
			}
			return nil
		},
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.ExperimentResults, error) {
		if metric != "" {
			if _, err := report.ParseMetric(metric); err != nil {
				return nil, err
			}
		}
		return c.ExperimentResults(cmd.Context(), args[0], metric)
	}, printResults)
	cmd.Flags().StringVar(&metric, "metric", "", "ctr, clicks, conversions, value or spend; that of the experiment when not given")
	return cmd
}

// printResults prints the experiment, and then what any table of users would
// say.
func printResults(to io.Writer, r *admin.ExperimentResults) error {
	since := "has not begun"
	if r.Began != "" {
		since = "since " + string(r.Began)
	}
	which := ""
	if !r.Primary {
		which = ", which is not the metric that was set beforehand"
	}
	fmt.Fprintf(to, "%s: %s by user%s; %s, look %d\n", r.Experiment, r.Metric, which, since, r.Looks)
	if r.Users == "seen" && len(r.Arms) > 0 && r.Arms[0].Users > 0 {
		fmt.Fprintln(to, "the log has no assignments: users are those of whom some event names the arm, and an arm that bids less may have fewer")
	}
	if r.Uploaded {
		fmt.Fprintln(to, "conversions are those that were uploaded; those of clicks are not counted beside them")
	}
	if r.UsersPart < 1 {
		fmt.Fprintf(to, "of all users %.4g%% are kept; all counts are of these\n", 100*r.UsersPart)
	}
	fmt.Fprintln(to)
	if len(r.Totals) > 0 {
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ARM\tIMPRESSIONS\tCLICKS\tCONVERSIONS\tVALUE\tSPEND")
		for _, t := range r.Totals {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%s\n", t.Arm, t.Impressions, t.Clicks, t.Conversions, short(t.Value), short(t.Spend))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(to)
	}
	if err := printReading(to, &r.Figures, r.Metric, ""); err != nil {
		return err
	}
	for _, v := range r.Increments {
		fmt.Fprintf(to, "\n%s adds %+.4g to the %.4g of users who would have seen it%s: p %s %s, fixed horizon; %.4g in all\n", v.Arm, v.Difference, v.Control,
			relative(v.Lift), chance(v.P), interval(report.TestFigures{Low: v.Low, High: v.High}), v.Added)
	}
	return nil
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
			input, err := openInput(cmd, in)
			if err != nil {
				return err
			}
			defer input.Close()
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
	fmt.Fprintf(to, "\nsample ratio: chi-square %.4g, p %s: %s\n", r.Ratio.ChiSquare, chance(r.Ratio.P), verdict)
	for i, c := range r.Comparisons {
		fmt.Fprintf(to, "\n%s against %s: %+.4g%s\n", r.Arms[1+i].Name, r.Arms[0].Name, c.Difference, relative(c.Relative))
		table := tabwriter.NewWriter(to, 2, 0, 2, ' ', 0)
		fmt.Fprintf(table, "  always valid\tp %s\t%s\t%s\n", chance(c.AlwaysValid.P), interval(c.AlwaysValid), "look as often as you like")
		fmt.Fprintf(table, "  fixed horizon\tp %s\t%s\t%s\n", chance(c.FixedHorizon.P), interval(c.FixedHorizon), "only for one look, at a time set beforehand")
		if a := c.CUPED; a != nil {
			fmt.Fprintf(table, "  CUPED, always valid\tp %s\t%s\tdifference %+.4g; %s saved %.2f%% of the variance\n",
				chance(a.AlwaysValid.P), interval(a.AlwaysValid), a.Difference, cmp.Or(covariate, "what was before"), 100*a.VarianceSaved)
			fmt.Fprintf(table, "  CUPED, fixed horizon\tp %s\t%s\t\n", chance(a.FixedHorizon.P), interval(a.FixedHorizon))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// chance is a p-value with what stands before it.
func chance(p float64) string {
	if p < 1e-99 {
		return "< 1e-99"
	}
	return fmt.Sprintf("= %.3g", p)
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
