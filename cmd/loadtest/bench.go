package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func benchCommand() *cobra.Command {
	cfg := loadtest.DefaultBenchConfig()
	var asJSON bool
	var least float64
	cmd := &cobra.Command{
		Use:   "bench --bidwell PROGRAM",
		Short: "Compare the CPU time of a whole bid with that of a bare HTTP echo",
		Long: `Start a bidder with its line items and users, and a fasthttp echo server, each
pinned to the first core, and load them in turn from the second core with the
same requests. The figure is the server's CPU time per request: that of the
echo over that of the whole bid, with every feature on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			cfg.Self, cfg.Progress = self, cmd.ErrOrStderr()
			result, err := loadtest.Bench(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), result)
			} else {
				_, err = fmt.Fprint(cmd.OutOrStdout(), result)
			}
			if err == nil && (result.Ratio < least || result.Failures > 0) {
				err = fmt.Errorf("ratio %.3f with %d failures, want at least %g without", result.Ratio, result.Failures, least)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Bidwell, "bidwell", "bin/bidwell", "the bidder's program")
	flags.StringVar(&cfg.Exchange, "exchange", cfg.Exchange, "name of the exchange profile")
	flags.IntVar(&cfg.Users, "users", cfg.Users, "known users")
	flags.IntVar(&cfg.LineItems, "line-items", cfg.LineItems, "active line items")
	flags.IntVar(&cfg.Requests, "requests", cfg.Requests, "different requests")
	flags.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "rounds of one echo and one bid measurement")
	flags.DurationVar(&cfg.Round, "round", cfg.Round, "length of one measurement")
	flags.IntVar(&cfg.Notices, "notices", cfg.Notices, "billing notices, each of a bid of its own")
	flags.IntVar(&cfg.Conns, "conns", cfg.Conns, "connections")
	flags.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of users, line items and requests")
	flags.Float64Var(&least, "min-ratio", 0, "fail below this ratio")
	flags.StringVar(&cfg.Profile, "cpuprofile", "", "file for a CPU profile of the bidder during the rounds")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// echoCommand is the control of bench, which starts it.
func echoCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:    "echo",
		Short:  "Answer every request with its own body",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return loadtest.Echo(cmd.Context(), listen) },
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address")
	return cmd
}
