package main

import (
	"errors"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func experimentCommand() *cobra.Command {
	var check loadtest.ExperimentCheck
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "experiment",
		Short: "Check how often experiments find a difference, where there is none and where there is one",
		Long: `Simulates experiments of two arms and looks at each many times, as people do, with the statistics that "bidwell experiment results"
prints. Half of the experiments have no difference: what is found there are false positives. Beside the always-valid test it shows the
fixed-horizon one, for one who looks once at the end, and for one who looks each time and stops when he likes what he sees.

It fails unless the always-valid test has at most 5 % false positives and finds at least 85 % of the differences.`,
		Example: "  loadtest experiment\n  loadtest experiment --rate 0.05 --lift 0.1 --users 50000 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			check.Progress = progress(cmd.ErrOrStderr(), "experiments")
			result, err := check.Run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), result)
			} else {
				err = result.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !result.Passed {
				err = errors.New("the always-valid test has too many false positives, or finds too few differences")
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&check.Runs, "runs", 2000, "experiments of each kind")
	flags.IntVar(&check.Looks, "looks", 100, "at each experiment")
	flags.IntVar(&check.Users, "users", 100_000, "of each arm")
	flags.Float64Var(&check.Rate, "rate", 0.01, "part of the control's users who click")
	flags.Float64Var(&check.Lift, "lift", 0.2, "relative difference of the experiments that have one")
	flags.Float64Var(&check.Effect, "effect", 0, "relative difference that the comparison expects; 0 for its default, a tenth")
	flags.Uint64Var(&check.Seed, "seed", 1, "of what chance decides")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
