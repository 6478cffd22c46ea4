package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func newCrashCommand() *cobra.Command {
	market := newMarketFlags()
	cfg := loadtest.CrashConfig{}
	var (
		ready  time.Duration
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "crash --bidwell PROGRAM --file DOCUMENTS",
		Short: "Kill a bidder over and over again while it trades, and check its books",
		Long: `Starts a bidder of its own with DOCUMENTS and simulated time, plays a market against it as "loadtest exchange" does, and
kills it (SIGKILL) at random moments; each time it is started again on the same data. At the end the bidder's books must
be what the notices that it acknowledged said, to the last unit, no budget may be overrun, and one more kill and a stop
may not change the books. Prints the scorecard, and how long the bidder took to be ready again.`,
		Example: `  loadtest crash --file scripts/money.yaml --kills 40 --auctions 200000 --exchange generic,index,winners
  loadtest crash --file scripts/money.yaml --kills 0 --min-used 0.98 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := market.read(); err != nil {
				return err
			}
			cfg.Exchange, cfg.Progress = market.cfg, cmd.ErrOrStderr()
			report, err := loadtest.Crash(cmd.Context(), cfg)
			if report == nil {
				return err
			}
			if asJSON {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), report))
			} else {
				_, failed := fmt.Fprint(cmd.OutOrStdout(), report)
				err = errors.Join(err, failed)
			}
			return errors.Join(err, market.limits.Check(report.Scorecard), report.Check(ready))
		},
	}
	// A bidder that is starting takes no notices, and kills may come close
	// after one another.
	market.cfg.Fates.Retries = 12
	flags := cmd.Flags()
	market.add(flags)
	flags.IntVar(&market.cfg.Auctions, "auctions", 1_000_000, "bid requests to send")
	flags.DurationVar(&market.cfg.Span, "span", 24*time.Hour, "simulated time that all auctions together take")
	flags.StringVar(&cfg.Bidwell, "bidwell", "bin/bidwell", "the bidder's program")
	flags.StringSliceVar(&cfg.Settings, "setting", nil, "more settings of the bidder, such as --setting=--log.samples=0")
	flags.StringVarP(&cfg.Documents, "file", "f", "", "documents for \"bidwell apply\", such as scripts/money.yaml")
	flags.StringVar(&cfg.Data, "data", "", "folder for the bidder's data and log (default a temporary one)")
	flags.IntVar(&cfg.Kills, "kills", 200, "how often the bidder is killed")
	flags.DurationVar(&cfg.Hold, "hold", 75*time.Minute, "how long a bid holds its money: longer than notices are late")
	flags.DurationVar(&cfg.Lease, "lease", 5*time.Minute, "how long budgets are leased; a real second is many simulated minutes")
	flags.DurationVar(&ready, "max-ready", 3*time.Second, "fail when the bidder takes longer to be ready again; 0 no limit")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
