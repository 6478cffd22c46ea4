package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"bidwell/loadtest"
)

func conformCommand() *cobra.Command {
	var (
		conform    loadtest.Conform
		in         []string
		encoding   string
		rates      map[string]string
		minBidRate float64
		asJSON     bool
	)
	cmd := &cobra.Command{
		Use:   "conform --url URL --in FILE[,FILE]",
		Short: "Play an exchange's certification and judge every answer",
		Long: `Sends every line of the input, plain and then again with gzip, and judges each answer by the rules of OpenRTB and of its
request. A line is a bid request, or an object with "body" or "body_b64" and, where known, "expect" (status codes) and "valid".
Fails when a rule is broken.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if conform.Rates, err = parseRates(rates); err != nil {
				return err
			}
			if encoding != "both" {
				conform.Encodings = []string{encoding}
			}
			if conform.Lines, err = loadtest.ReadFiles(in...); err != nil {
				return err
			}
			report, err := conform.Run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			switch {
			case err != nil:
				return err
			case report.Violations > 0:
				return fmt.Errorf("%d violations", report.Violations)
			case report.BidRate < minBidRate:
				return fmt.Errorf("bid rate %.3f is under %.3f", report.BidRate, minBidRate)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&conform.URL, "url", "", "address that takes bid requests, such as http://127.0.0.1:8080/bid/generic")
	flags.StringVar(&conform.Exchange, "exchange", "", "exchange to be, where --url has no path and the line names none (default generic)")
	flags.StringSliceVar(&in, "in", nil, "files of JSON lines")
	flags.StringVar(&encoding, "encoding", "both", "plain, gzip or both")
	flags.IntVar(&conform.Conns, "conns", 4, "connections at once")
	flags.DurationVar(&conform.Timeout, "timeout", 0, "after which a request hangs (default 5s)")
	flags.IntVar(&conform.PerImp, "bids-per-imp", 1, "bids that a seat may make for one impression")
	flags.StringToStringVar(&rates, "rates", nil, "worth of currencies in one of them, such as USD=1,EUR=1.08, to compare floors")
	flags.IntVar(&conform.Examples, "examples", 5, "violations of a rule to show")
	flags.Float64Var(&minBidRate, "min-bid-rate", 0, "share of valid banner and video requests that must get a bid")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	require(cmd, "url", "in")
	return cmd
}

func parseRates(texts map[string]string) (map[string]float64, error) {
	rates := make(map[string]float64, len(texts))
	for code, text := range texts {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || value <= 0 || math.IsInf(value, 0) {
			return nil, fmt.Errorf("rates: %s=%s is not a positive number", code, text)
		}
		rates[strings.ToUpper(code)] = value
	}
	return rates, nil
}

// require marks flags that a command cannot do without.
func require(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // only for a name that is no flag of the command
		}
	}
}
