package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func newLearnCommand() *cobra.Command {
	market := newMarketFlags()
	cfg := loadtest.CrashConfig{Hold: time.Hour, Lease: 30 * time.Minute}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "learn --bidwell PROGRAM --file DOCUMENTS",
		Short: "Let a bidder learn from what it buys, and compare its surplus with the oracle's",
		Long: `Starts a bidder of its own with DOCUMENTS, an empty data folder and simulated time, and plays a market against it as
"loadtest exchange --surplus" does. All line items must be open to all traffic: no targeting, no caps, no flight.

The surplus of an impression is the true probability of a click times the value of a click, less the price. The oracle knows
all prices, every true probability and all about every person, which no bidder may; "knowable" is what is left to one who knows
all that requests tell of clicks. Bids in second price auctions divided by the value of a click are what the bidder
believes of clicks, over all that is on offer and not only what it bought: "calibration" holds them against the truth. In first
price auctions "shading" says what was paid beyond the least price that would have won.`,
		Example: `  loadtest learn --file scripts/learning.yaml --auction second --no-floors --no-deals
  loadtest learn --file scripts/learning.yaml --auction first --min-to-win 0 --setting=--log.samples=0 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := market.read(); err != nil {
				return err
			}
			cfg.Exchange = market.cfg
			cfg.Exchange.Progress = cmd.ErrOrStderr()
			card, err := loadtest.Learn(cmd.Context(), cfg)
			if card == nil {
				return err
			}
			if asJSON {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), card))
			} else {
				err = errors.Join(err, card.WriteText(cmd.OutOrStdout()))
			}
			return errors.Join(err, market.limits.Check(card))
		},
	}
	flags := cmd.Flags()
	market.add(flags)
	flags.Float64Var(&market.cfg.Rate, "rate", 0, "bid requests a second of real time, for the bidder to keep up with learning; 0 as fast as answers come")
	flags.IntVar(&market.cfg.Auctions, "auctions", 300_000, "bid requests to send")
	flags.DurationVar(&market.cfg.Span, "span", 24*time.Hour, "simulated time that all auctions together take")
	flags.StringVar(&cfg.Bidwell, "bidwell", "bin/bidwell", "the bidder's program")
	flags.StringSliceVar(&cfg.Settings, "setting", nil, "more settings of the bidder, such as --setting=--log.samples=0")
	flags.StringVarP(&cfg.Documents, "file", "f", "scripts/learning.yaml", "documents for \"bidwell apply\"")
	flags.StringVar(&cfg.Data, "data", "", "folder for the bidder's data and log (default a temporary one)")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
