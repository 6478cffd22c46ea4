package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func attackCommand() *cobra.Command {
	var (
		attack   loadtest.Attack
		limits   loadtest.AttackLimits
		in       []string
		htmlFile string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "attack --url URL --in FILE --rate R --duration D --conns N",
		Short: "Send requests at fixed times and measure from the time each was due",
		Long: `An open loop: requests are sent at their times whether or not answers come back, and latency counts from the time a request
was due. The report names the generator's own lag; where that is near p99, the generator was measured. Fails when a limit does
not hold.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if attack.Lines, err = loadtest.ReadFiles(in...); err != nil {
				return err
			}
			attack.Progress = cmd.ErrOrStderr()
			report, err := attack.Run(cmd.Context())
			if err != nil {
				return err
			}
			if htmlFile != "" {
				if err := writePage(htmlFile, report); err != nil {
					return err
				}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			return errors.Join(err, limits.Check(report))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&attack.URL, "url", "", "address that takes bid requests; without a path, /bid/ and the exchange")
	flags.StringVar(&attack.Exchange, "exchange", "", "exchange to be, where --url has no path and a line names none (default generic)")
	flags.StringSliceVar(&in, "in", nil, "files of JSON lines: bid requests, or objects with a body, sent round and round")
	flags.Float64Var(&attack.Rate, "rate", 1000, "requests a second")
	flags.DurationVar(&attack.Duration, "duration", 10*time.Second, "how long")
	flags.IntVar(&attack.Conns, "conns", 64, "connections, each with one request at a time")
	flags.Float64Var(&attack.Step, "step", 0, "added to the rate after each --step-every")
	flags.DurationVar(&attack.StepEvery, "step-every", 5*time.Second, "length of a step")
	flags.BoolVar(&attack.Poisson, "poisson", false, "random gaps between requests instead of equal ones")
	flags.Uint64Var(&attack.Seed, "seed", 1, "of the random gaps")
	flags.BoolVar(&attack.Gzip, "gzip", false, "send bodies compressed and ask for compressed answers")
	flags.DurationVar(&attack.Timeout, "timeout", 2*time.Second, "after which there is no answer any more")
	flags.DurationVar(&attack.TMax, "tmax", 0, "deadline of requests that name none")
	flags.DurationVar(&limits.MaxP99, "max-p99", 0, "fail when p99 is over this")
	flags.Float64Var(&limits.MaxLate, "max-late", -1, "fail when the share of answers after tmax is over this")
	flags.Float64Var(&limits.MinBidRate, "min-bid-rate", 0, "fail when the share of requests with a bid is under this")
	flags.IntVar(&limits.MaxErrors, "max-errors", -1, "fail when there are more errors than this")
	flags.StringVar(&htmlFile, "html", "", "file to write a page with charts to")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	require(cmd, "url", "in")
	return cmd
}

func writePage(path string, report *loadtest.AttackReport) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(report.WriteHTML(file), file.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
