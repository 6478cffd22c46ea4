package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func replayCommand() *cobra.Command {
	var (
		replay                   loadtest.Replay
		in, auction, profileFile string
		shade, asJSON            bool
	)
	cmd := &cobra.Command{
		Use:   "replay --in FILE.csv --budget B",
		Short: "Run an auction log through the real pacing and pricing",
		Long: `Bids on each row of a log with the pacer and the pricing that the bidder uses, for one line item with one budget, and prints
what that came to beside an oracle that knew all prices. The first row of the CSV names its columns: price (the highest bid of the
others) and pctr, and as it likes time, click, exchange and floor. Prices, floors, --budget, --value and --max-cpc are in one unit, of one impression.
Times are unix seconds or milliseconds, RFC 3339 or yyyyMMddHHmmssSSS; rows without a time are spread evenly over a day.

The plan spends along --profile, over the time of the log, which is widened to whole quarters of an hour. "loadtest exchange
--profile-out" writes such a file. Without one, --pacing even follows the traffic as it comes, so that it buys the most by the end, and the
maximum deviation, which is from spending evenly in time, says little; --profile with the one line "1" keeps to that plan.

With --auction first bids are shaded by what past auctions of the log say: where, at which floor, and what the bidder hears of them
(--feedback). With a --value the surplus is printed beside that of one who knows all prices, and that of a control which bids all values as they are.

With --bidders several share the budget, each with leases of its own from the same accounts. Of wins told --late, or never of losses, the bidders
only know what they hold; no more than the budget is ever spent, as long as bids hold their price until the notice comes. --pacing asap wants a --value:
without one it bids a hundred times what the first rows suggest.`,
		Example: `  loadtest generate --kind auctions --count 200000 --out auctions.csv
  loadtest replay --in auctions.csv --budget 3500000 --forecast 200000
  loadtest replay --in auctions.csv --budget 3500000 --auction first --profile shares.txt --json
  loadtest replay --in first.csv --budget 1e12 --pacing asap --auction first --value 80000 --feedback win-loss
  loadtest replay --in auctions.csv --budget 3500000 --forecast 200000 --bidders 8 --late 10000 --drop 0.5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkReplayFlags(cmd.Flags(), loadtest.AuctionKind(auction), shade); err != nil {
				return err
			}
			file := os.Stdin
			if in != "-" {
				opened, err := os.Open(in)
				if err != nil {
					return err
				}
				defer opened.Close()
				file = opened
			}
			var err error
			if replay.Log, err = loadtest.ReadAuctionLog(file, progress(cmd.ErrOrStderr(), "rows read")); err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
			if profileFile != "" {
				if replay.Profile, err = readShares(profileFile); err != nil {
					return err
				}
			}
			replay.Unshaded = !shade
			replay.Auction = loadtest.AuctionKind(auction)
			replay.Progress = progress(cmd.ErrOrStderr(), "auctions")
			result, err := replay.Run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), result)
			}
			return result.WriteText(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&in, "in", "", "the log, CSV; - for standard input")
	flags.Float64Var(&replay.Budget, "budget", 0, "money for all of the log")
	flags.StringVar(&auction, "auction", string(loadtest.AuctionSecond), "second or first price")
	flags.StringVar(&replay.Pacing, "pacing", "even", "even, asap or ahead")
	flags.Float64Var(&replay.Value, "value", 0, "what a click is worth: no bid is more than its part of that; 0 for as much as the budget lets it be")
	flags.Float64Var(&replay.MaxCPC, "max-cpc", 0, "what a click may cost on average, clicks as pctr predicts them; 0 no cap")
	flags.Float64Var(&replay.Forecast, "forecast", 0, "auctions expected; 0 unknown")
	flags.StringVar(&profileFile, "profile", "", "file with the share of the traffic in equal stretches of the log's time, one number a line")
	flags.Float64Var(&replay.Multiplier, "start-multiplier", 0, "to begin with, of --value, or of what the first rows suggest (default 1)")
	flags.DurationVar(&replay.Delay, "delay", 0, "until the pacer hears of a win or a loss")
	flags.DurationVar(&replay.Hold, "hold", 0, "how long a bid holds its price when nothing is heard of it (default 5m0s, or longer than --late takes in this log)")
	flags.IntVar(&replay.Bidders, "bidders", 1, "that share the budget by leases; each row goes to one of them by chance")
	flags.IntVar(&replay.Late, "late", 0, "auctions until a win or a loss is told, as well as --delay; at the end of the log all are told")
	flags.StringVar(&replay.Losses, "losses", "told", "told or never: then what a lost bid holds is free when --hold is over")
	flags.Float64Var(&replay.Drop, "drop", 0, "part of the rows after which the first bidder is gone and its lease with it; 0 never")
	flags.BoolVar(&shade, "shade", true, "lower bids in first-price auctions to what past ones say is best")
	flags.StringVar(&replay.Feedback, "feedback", loadtest.FeedbackPrice, "of first-price auctions: price, that would have won, or win-loss only")
	flags.Float64Var(&replay.Control, "control", 0, "part of the bids in first-price auctions that is not shaded")
	flags.Uint64Var(&replay.Seed, "seed", 1, "of what chance decides")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	require(cmd, "in")
	require(cmd, "budget")
	return cmd
}

// readShares reads one number a line.
func readShares(name string) ([]float64, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	defer file.Close()
	shares, err := parseShares(file)
	if err != nil {
		return nil, fmt.Errorf("profile: %s: %w", name, err)
	}
	return shares, nil
}

func parseShares(r io.Reader) ([]float64, error) {
	var shares []float64
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || !(share >= 0) || share > 1e15 {
			return nil, fmt.Errorf("line %d: %q is not a number of zero or more", n, text)
		}
		if shares = append(shares, share); len(shares) > 100_000 {
			return nil, fmt.Errorf("line %d: too many", n)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(shares) == 0 {
		return nil, errors.New("no shares")
	}
	return shares, nil
}
