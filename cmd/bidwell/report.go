package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bidwell/admin"
)

func newReportCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "report", Short: "Show what was spent, and what the exchanges say of it"}
	cmd.AddCommand(newPacingReportCommand(), newDiscrepancyReportCommand())
	return cmd
}

func newPacingReportCommand() *cobra.Command {
	var address string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pacing LINE_ITEM",
		Short: "Show how a line item spends: today's plan and actual, and its accounts",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := admin.NewClient(address)
			defer client.Close()
			p, err := client.Pacing(cmd.Context(), args[0])
			if err != nil {
				return unreachable(err, address)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(p)
			}
			return printPacing(cmd.OutOrStdout(), p)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	adminFlag(cmd, &address)
	return cmd
}

func newDiscrepancyReportCommand() *cobra.Command {
	var item, exchange, address string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "discrepancies",
		Short: "Compare wins, billing notices and views, which count the same impressions",
		Long: `Compare the notices of each line item through each exchange, from the beginning:
billing notices against wins, and the views that our pixel counts against the
impressions that were charged. Of each the difference is shown in percent and in
money. It asks a running bidwell.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := admin.NewClient(address)
			defer client.Close()
			d, err := client.Discrepancies(cmd.Context(), item, exchange)
			if err != nil {
				return unreachable(err, address)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(d)
			}
			return printDiscrepancies(cmd.OutOrStdout(), d)
		},
	}
	cmd.Flags().StringVar(&item, "line-item", "", "only this line item")
	cmd.Flags().StringVar(&exchange, "exchange", "", "only this exchange")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	adminFlag(cmd, &address)
	return cmd
}

func printDiscrepancies(to io.Writer, d *admin.Discrepancies) error {
	if len(d.Rows) == 0 {
		_, err := fmt.Fprintln(to, "no notices")
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LINE ITEM\tEXCHANGE\tWINS\tBILLS\tDIFF\tMONEY\tCHARGED\tFOR\tVIEWS\tDIFF\tMONEY\tCLICKS\tREPEATS")
	rows := d.Rows
	if len(rows) > 1 {
		d.Total.LineItem = "total"
		rows = append(rows, d.Total)
	}
	for i := range rows {
		r := &rows[i]
		bills, billMoney := printGap(r.BillsToWins)
		views, viewMoney := printGap(r.ViewsToBilled)
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\t%d\t%s\t%d\t%s\t%s\t%d\t%d\n", r.LineItem, r.Exchange, r.Counts.Win, r.Counts.Bill, bills, billMoney,
			r.Billed, r.Charged, r.Counts.View, views, viewMoney, r.Counts.Click, r.Repeats)
	}
	return table.Flush()
}

func printGap(g *admin.Gap) (percent, money string) {
	if g == nil {
		return "", ""
	}
	return strconv.FormatFloat(g.Percent, 'f', 2, 64) + "%", g.Money
}

func printPacing(to io.Writer, p *admin.Pacing) error {
	fmt.Fprintf(to, "%s: %s\n", p.LineItem, p.State)
	if p.Stopped != nil {
		fmt.Fprintf(to, "since %s: %s; POST /v1/line-items/%s/resume lets it bid again\n", p.Stopped.Since, p.Stopped.Reason, p.LineItem)
	}
	fmt.Fprintf(to, "spent %s today, plan %s; bids %.4g of its value on %.4g%% of its chances", p.SpentToday, p.PlannedToday, p.Multiplier, 100*p.BidRate)
	if p.Expected != nil {
		fmt.Fprintf(to, ", about %d more today", *p.Expected)
	}
	fmt.Fprintln(to)
	for _, k := range p.Caps {
		actual := string(k.Actual)
		if actual == "" {
			actual = "nothing so far: there was none"
		}
		fmt.Fprintf(to, "a %s may cost %s on average and costs %s\n", k.Per, k.Limit, actual)
	}
	if len(p.Accounts) > 0 {
		fmt.Fprintln(to)
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ACCOUNT\tCOUNTS\tTOTAL\tSPENT\tDAILY\tTODAY\tHELD\tLEASED\tLATE\tNODES")
		for _, a := range p.Accounts {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", a.Owner, a.Counts, a.Total, a.Spent, a.Daily, a.SpentToday, a.Held, a.Leased, a.Late, a.Nodes)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return printSlots(to, p.Slots)
}

// barWidth is how many characters the whole day's plan takes.
const barWidth = 40

// printSlots draws a line for each hour: a bar for what is spent, and a mark
// where the plan is.
func printSlots(to io.Writer, slots []admin.PacingSlot) error {
	if len(slots) == 0 {
		return nil
	}
	most := 0.0
	for _, s := range slots {
		most = max(most, figure(s.Planned), figure(s.Spent))
	}
	fmt.Fprintln(to)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "UNTIL\tPLAN\tSPENT\tDIFF\t")
	for i, s := range slots {
		next := i + 1
		start, err := time.Parse(time.RFC3339, string(s.Start))
		if err != nil {
			return fmt.Errorf("slot %d: %w", i, err)
		}
		end := start.Add(15 * time.Minute)
		// The last that has begun shows where we are, and the last of all
		// where the day ends.
		now := s.Spent != "" && (next == len(slots) || slots[next].Spent == "")
		if end.Minute() != 0 && !now && next < len(slots) {
			continue
		}
		until, diff := end.Format("15:04"), ""
		if now && next < len(slots) {
			until = "now"
		}
		if s.Spent != "" && most > 0 {
			diff = strconv.FormatFloat(100*(figure(s.Spent)-figure(s.Planned))/most, 'f', 1, 64) + "%"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", until, s.Planned, s.Spent, diff, bar(figure(s.Spent), figure(s.Planned), most))
	}
	return table.Flush()
}

// figure is an amount as a number to draw with.
func figure(a admin.Amount) float64 {
	f, err := strconv.ParseFloat(string(a), 64)
	if err != nil {
		return 0
	}
	return f
}

// bar is spent as a bar, in which a stroke marks the plan.
func bar(spent, planned, most float64) string {
	if most <= 0 {
		return ""
	}
	at := func(f float64) int { return int(math.Round(f / most * barWidth)) }
	line := []rune(strings.Repeat("█", at(spent)))
	for len(line) <= at(planned) {
		line = append(line, ' ')
	}
	line[at(planned)] = '|'
	return strings.TrimRight(string(line), " ")
}
