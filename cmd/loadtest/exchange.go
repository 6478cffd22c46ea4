package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bidwell/loadtest"
	"bidwell/rtb"
)

// marketFlags are the settings of a simulated market and the limits that it
// must hold, shared by the commands that play one.
type marketFlags struct {
	cfg    loadtest.ExchangeConfig
	limits loadtest.ExchangeLimits

	auction, start, priceKeys string
	difference, overspend     string
}

func newMarketFlags() *marketFlags {
	return &marketFlags{cfg: loadtest.DefaultExchangeConfig(), limits: loadtest.DefaultExchangeLimits()}
}

func (m *marketFlags) add(flags *pflag.FlagSet) {
	cfg, fates, limits := &m.cfg, &m.cfg.Fates, &m.limits
	flags.StringSliceVar(&cfg.Exchanges, "exchange", []string{"generic"}, "exchanges to be, by their names in POST /bid/NAME")
	flags.IntVar(&cfg.Users, "users", cfg.Users, "simulated people")
	flags.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "of everything that is drawn")
	flags.StringVar(&m.auction, "auction", string(cfg.Auction), "first or second price, or mixed: each publisher its own")
	flags.BoolVar(&cfg.NoFloors, "no-floors", false, "leave out the floors of the publishers")
	flags.BoolVar(&cfg.NoDeals, "no-deals", false, "leave out the deals of the publishers")
	flags.IntVar(&cfg.Conns, "conns", cfg.Conns, "connections for bid requests")
	flags.IntVar(&cfg.NoticeConns, "notice-conns", cfg.NoticeConns, "connections for notices")
	flags.DurationVar(&cfg.TMax, "tmax", 0, "deadline in every request; 0 each publisher's own, 80 to 300 ms")
	flags.DurationVar(&cfg.Grace, "grace", cfg.Grace, "how long to wait for an answer that is late")
	flags.StringVar(&m.start, "start", "", `when simulated time begins, RFC 3339 or "now" (default 2026-01-05T12:00:00Z, a Monday noon)`)
	flags.DurationVar(&fates.Delay, "notice-delay", fates.Delay, "mean time that a notice takes")
	flags.Float64Var(&fates.Late, "notice-late", fates.Late, "share of the notices that take longer and are overtaken")
	flags.DurationVar(&fates.LateBy, "notice-late-by", fates.LateBy, "by how much at most")
	flags.Float64Var(&fates.Loss, "notice-loss", fates.Loss, "share of the notices that never come")
	flags.Float64Var(&fates.Duplicate, "notice-duplicate", fates.Duplicate, "share of the notices that come twice")
	flags.IntVar(&fates.Retries, "notice-retries", fates.Retries, "how often a notice is tried again that got 429, 5xx or no answer")
	flags.Float64Var(&fates.Blank, "price-blank", fates.Blank, "share of the notices whose price is blank, AUDIT or not filled in")
	flags.Float64Var(&cfg.MinToWin, "min-to-win", cfg.MinToWin, "share of the exchanges, the first of the list, whose notices say what would have been enough to win")
	flags.StringVar(&m.priceKeys, "price-key", "", "encryption and integrity key in hexadecimal with a comma between: encrypt the prices in notices; with NAME= before, those of that exchange")
	flags.IntVar(&limits.MinBids, "min-bids", 0, "fail with fewer bids")
	flags.IntVar(&limits.MinWins, "min-wins", 0, "fail with fewer wins")
	flags.Float64Var(&limits.MinBidRate, "min-bid-rate", 0, "fail when the share of auctions with a bid is lower")
	flags.Float64Var(&limits.MaxLate, "max-late", limits.MaxLate, "fail when the share of answers after tmax is higher")
	flags.IntVar(&limits.MaxErrors, "max-errors", limits.MaxErrors, "fail with more auctions without a usable answer")
	flags.IntVar(&limits.MaxViolations, "max-violations", limits.MaxViolations, "fail with more bids that break a rule of their auction; -1 no limit")
	flags.IntVar(&limits.MaxFailedNotices, "max-failed-notices", limits.MaxFailedNotices, "fail with more failed notices")
	flags.DurationVar(&limits.MaxP99, "max-p99", 0, "fail when p99 of the time to answer is higher")
	flags.DurationVar(&cfg.Settle, "settle", cfg.Settle, "how long to wait at the end for the bidder's books to agree")
	flags.StringVar(&m.difference, "max-difference", "0", "fail when the bidder's books are off by more of the account currency than this; -1 no limit")
	flags.StringVar(&m.overspend, "max-overspend", "0", "fail when budgets are overrun by more than this; -1 no limit")
	flags.IntVar(&limits.MaxCapFaults, "max-cap-faults", limits.MaxCapFaults, "fail with more impressions beyond a frequency cap that the bidder had to know of; -1 no limit")
	flags.Float64Var(&limits.MinUsed, "min-used", 0, "fail when a daily budget with demand is used to a smaller share")
	flags.Float64Var(&limits.MaxOffPlan, "max-off-plan", limits.MaxOffPlan, "fail when spend is further off the plan, as a share of the daily budget; -1 no limit")
	flags.Float64Var(&limits.MinClickRatio, "min-click-ratio", 0, "fail when the clicks for the money are a smaller share of the oracle's")
	flags.Float64Var(&limits.MinSurplus, "min-surplus", 0, "fail when the surplus is a smaller share of the oracle's; needs --surplus")
	flags.Float64Var(&limits.MinLastSurplus, "min-last-surplus", 0, "the same over the last third of the auctions")
	flags.Float64Var(&limits.CalibrationWithin, "calibration-within", 0, "fail when second price bids believe in more or fewer clicks than there are by a larger part; 0 no limit")
}

// read takes in what was given as text.
func (m *marketFlags) read() (err error) {
	m.cfg.Auction = loadtest.AuctionKind(m.auction)
	if m.cfg.Start, err = parseStart(m.start); err != nil {
		return err
	}
	if m.priceKeys != "" {
		if m.cfg.PriceKeys, err = loadtest.ParsePriceKeys(m.priceKeys); err != nil {
			return err
		}
	}
	for _, limit := range []struct {
		flag, text string
		to         *rtb.Money
	}{{"max-difference", m.difference, &m.limits.MaxDifference}, {"max-overspend", m.overspend, &m.limits.MaxOverspend}} {
		if *limit.to, err = rtb.ParseMoney(limit.text); err != nil {
			return fmt.Errorf("--%s: %w", limit.flag, err)
		}
	}
	return nil
}

func newExchangeCommand() *cobra.Command {
	market := newMarketFlags()
	cfg := &market.cfg
	var (
		logFile, creatives, profile string
		dry, asJSON                 bool
	)
	cmd := &cobra.Command{
		Use:   "exchange",
		Short: "Simulate a market: traffic, auctions, notices and clicks",
		Long: `Sends simulated bid requests to a bidder, runs first- and second-price auctions and deals against what others would pay,
calls the notices, pixels and clicks of what was won, and prints a scorecard. Who is online, what others bid and who clicks
follow from --seed alone, so two runs differ only where the answers do. Notice addresses may name any host: they are called
at --url. Notices may be late, lost, repeated, or tell no price, each by its own draw from the seed. Fails when a limit does not hold; a bid that breaks a rule of its auction always does unless --max-violations says so.

With --admin the bidder's books are read, too: what it booked must be what the notices that it acknowledged said, to the last
unit, no budget may be overrun on any day of its advertiser, and no person may see more than a frequency cap allows, as far as
the bidder had been told. Notices that may have come although nobody answered may be booked or not.

With --simulated-time a day passes as fast as the machine can. It needs a bidder of its own: "bidwell serve --simulated-time T" with
T not after --start, an empty --data folder, --public-url with https (most requests demand it), --pacing.hold longer than
--notice-late-by, and --pacing.lease of some minutes, as a real second is many simulated minutes. Its clock never goes back: another run needs a later
--start or a fresh folder. "loadtest crash --kills 0" starts such a bidder by itself.

Of the scorecard, "truth" is what the exchanges charge, what of it notices told the bidder, and what notices without an answer may have told;
"books" compares that with what the bidder booked; "budgets" is spend beyond a budget, and charges that came later than their hold; "pacing" is each daily budget
against what was spent, and why not more; "oracle" compares the clicks for the money with those of a buyer who knows every price and every click before.

With --log every impression shown becomes a line of a training log for "bidwell model train --in FILE". With --dry there is no
bidder: ads from --creatives are shown at random, clicked by the same hidden truth, until --auctions rows are written.`,
		Example: `  loadtest exchange --url http://localhost:8080 --rate 500 --duration 1m
  loadtest exchange --auctions 100000 --seed 7 --auction second --json --min-bids 1000
  bidwell serve --data /tmp/market --simulated-time 2026-01-05T00:00:00Z --public-url https://bid.example.com --pacing.hold 75m --pacing.lease 5m
  bidwell apply -f scripts/money.yaml
  loadtest exchange --auctions 1000000 --simulated-time --start 2026-01-05T00:00:00Z --span 24h \
    --notice-loss 0.05 --notice-duplicate 0.05 --notice-late 0.1 --admin http://127.0.0.1:8081
  loadtest exchange --dry --auctions 300000 --log clicks.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := market.read(); err != nil {
				return err
			}
			if dry && profile != "" {
				return errors.New("--profile-out counts auctions of a bidder: --dry has none")
			}
			if profile != "" {
				file, err := os.Create(profile)
				if err != nil {
					return fmt.Errorf("profile: %w", err)
				}
				defer func() { err = errors.Join(err, file.Close()) }()
				cfg.Profile = file
			}
			if dry && logFile == "" {
				return errors.New("--dry writes a training log and nothing else: name its file with --log")
			}
			var log io.Writer
			out := cmd.OutOrStdout()
			if logFile == "-" {
				log, out = out, cmd.ErrOrStderr()
			} else if logFile != "" {
				file, err := os.Create(logFile)
				if err != nil {
					return fmt.Errorf("log: %w", err)
				}
				defer func() { err = errors.Join(err, file.Close()) }()
				log = file
			}
			if dry {
				return sampleLog(cmd, *cfg, creatives, asJSON, log, out)
			}
			cfg.Log, cfg.Progress = log, cmd.ErrOrStderr()
			card, err := loadtest.RunExchange(cmd.Context(), *cfg)
			if card == nil {
				return err
			}
			if asJSON {
				err = errors.Join(err, printJSON(out, card))
			} else {
				err = errors.Join(err, card.WriteText(out))
			}
			if card.Bids == 0 && card.Requests > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "there was no bid: bidwell_no_bids_total at the bidder's /metrics has the reasons; most requests want https, so see its --public-url")
			}
			return errors.Join(err, market.limits.Check(card))
		},
	}
	market.add(cmd.Flags())
	flags := cmd.Flags()
	flags.StringVar(&cfg.URL, "url", cfg.URL, "the bidder's public listener")
	flags.Float64Var(&cfg.Rate, "rate", 0, "bid requests a second; 0 as fast as answers come")
	flags.DurationVar(&cfg.Duration, "duration", 0, "how long; 0 until --auctions are held or the run is interrupted")
	flags.IntVar(&cfg.Auctions, "auctions", 0, "bid requests to send; 0 until --duration")
	flags.BoolVar(&cfg.Notices, "notices", cfg.Notices, "call notices, pixels and clicks")
	flags.DurationVar(&cfg.Step, "step", 0, "simulated time between two auctions (default real time at --rate, or 1ms)")
	flags.DurationVar(&cfg.Span, "span", 0, "simulated time that all auctions together take (default that of --step, or a week for --dry)")
	flags.StringVar(&logFile, "log", "", "file for the training log; - for standard output")
	flags.BoolVar(&dry, "dry", false, "without a bidder: only the training log")
	flags.StringVar(&creatives, "creatives", "", "for --dry: CSV with the columns creative,line_item,media,width,height,seconds (default a list of all formats)")
	flags.BoolVar(&cfg.SimulatedTime, "simulated-time", false, "tell the bidder the simulated time with every request: it must be \"bidwell serve --simulated-time\"")
	flags.Float64Var(&cfg.Speed, "speed", 0, "simulated seconds that pass in a real one; 0 as --rate has it")
	flags.StringVar(&profile, "profile-out", "", "file for the share of the auctions in each quarter of an hour of the day, as \"loadtest replay --profile\" reads it")
	flags.StringVar(&cfg.Admin, "admin", "", "the bidder's admin API, such as http://127.0.0.1:8081: compare its books, budgets and caps with the truth")
	flags.BoolVar(&cfg.Surplus, "surplus", false, "compare what the bidder makes, and what its bids say of clicks, with the truth; needs --admin, --auctions and line items that are open to all traffic")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func parseStart(text string) (time.Time, error) {
	switch text {
	case "":
		return time.Time{}, nil
	case "now":
		return time.Now(), nil
	}
	start, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return start, fmt.Errorf(`start: %q is neither "now" nor a time such as 2026-01-05T12:00:00Z`, text)
	}
	return start, nil
}

// sampleLog writes a training log without a bidder.
func sampleLog(cmd *cobra.Command, cfg loadtest.ExchangeConfig, creatives string, asJSON bool, log, out io.Writer) error {
	ads := loadtest.DefaultSampleAds()
	if creatives != "" {
		file, err := os.Open(creatives)
		if err != nil {
			return fmt.Errorf("creatives: %w", err)
		}
		defer file.Close()
		if ads, err = loadtest.ReadSampleAds(file); err != nil {
			return err
		}
	}
	result, err := loadtest.Sample(cmd.Context(), loadtest.SampleConfig{
		Traffic: loadtest.TrafficConfig{Seed: cfg.Seed, Users: cfg.Users, Exchanges: cfg.Exchanges, Auction: cfg.Auction, TMax: cfg.TMax},
		Rows:    cfg.Auctions, Start: cfg.Start, Span: cfg.Span, Ads: ads,
	}, log)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(out, result)
	}
	_, err = fmt.Fprintf(out, "%d impressions of %d auctions, %d clicks, CTR %.2f%%, %d conversions\n",
		result.Rows, result.Auctions, result.Clicks, 100*result.CTR, result.Conversions)
	return err
}
