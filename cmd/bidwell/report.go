package main

import (
	"errors"
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
	cmd := &cobra.Command{Use: "report", Short: "Show what was spent, what the exchanges say of it, and how late conversions are"}
	cmd.AddCommand(newPacingReportCommand(), newDiscrepancyReportCommand(), newShadingReportCommand(), newMaturityReportCommand())
	return cmd
}

func newPacingReportCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "pacing LINE_ITEM",
		Short: "Show how a line item spends: today's plan and actual, and its accounts",
		Long: `Show how a line item spends: its state, by what its bids are lowered, every
account that it draws on, and today's plan and actual by the hour, in the
advertiser's time zone. A bar is what was spent, the stroke where the plan is.
Amounts are rounded to a hundredth of a cent; --json has them in full. It asks a
running bidwell.`,
		Example: "  bidwell report pacing customers-us",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("report pacing: want the id of one line item, such as customers-us")
			}
			return nil
		},
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*admin.Pacing, error) {
		return c.Pacing(cmd.Context(), args[0])
	}, printPacing)
}

func newDiscrepancyReportCommand() *cobra.Command {
	var item, exchange string
	cmd := askCommand(&cobra.Command{
		Use:   "discrepancies",
		Short: "Compare wins, billing notices and views, which count the same impressions",
		Long: `Compare the notices of each line item through each exchange, from the beginning:
billing notices against wins, and the views that our pixel counts against the
impressions that were charged. Of each the difference is shown in percent and in
money. Amounts are rounded to a hundredth of a cent; --json has them in full. It
asks a running bidwell.`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) (*admin.Discrepancies, error) {
		return c.Discrepancies(cmd.Context(), item, exchange)
	}, printDiscrepancies)
	cmd.Flags().StringVar(&item, "line-item", "", "only this line item")
	cmd.Flags().StringVar(&exchange, "exchange", "", "only this exchange")
	return cmd
}

func printDiscrepancies(to io.Writer, d *admin.Discrepancies) error {
	if len(d.Rows) == 0 {
		_, err := fmt.Fprintln(to, "no notices")
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LINE ITEM\tEXCHANGE\tWINS\tBILLS\tVS WINS\tMONEY\tCHARGED\tAMOUNT\tVIEWS\tVS CHARGED\tMONEY\tCLICKS\tREPEATS")
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
			r.Billed, short(r.Charged), r.Counts.View, views, viewMoney, r.Counts.Click, r.Repeats)
	}
	return table.Flush()
}

func printGap(g *admin.Gap) (percent, money string) {
	if g == nil {
		return "", ""
	}
	return strconv.FormatFloat(g.Percent, 'f', 2, 64) + "%", short(g.Money)
}

func printPacing(to io.Writer, p *admin.Pacing) error {
	fmt.Fprintf(to, "%s: %s\n", p.LineItem, p.State)
	if p.Stopped != nil {
		fmt.Fprintf(to, "since %s: %s; POST /v1/line-items/%s/resume lets it bid again\n", p.Stopped.Since, p.Stopped.Reason, p.LineItem)
	}
	plan := "without a plan"
	switch p.PlanOf {
	case "":
	case "line-item/" + p.LineItem:
		plan = "plan " + short(p.PlannedToday)
	default:
		plan = "plan of " + p.PlanOf + " " + short(p.PlannedToday)
	}
	fmt.Fprintf(to, "spent %s today, %s; bids %.4g of its value on %.4g%% of its chances", short(p.SpentToday), plan, p.Multiplier, 100*p.BidRate)
	if p.Expected != nil {
		fmt.Fprintf(to, ", about %d more chances today", *p.Expected)
	}
	fmt.Fprintln(to)
	for _, k := range p.Caps {
		actual := short(k.Actual)
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
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", a.Owner, a.Counts, a.Total, short(a.Spent), a.Daily, short(a.SpentToday), short(a.Held), short(a.Leased), short(a.Late), a.Nodes)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return printSlots(to, p)
}

// short is an amount for people: at most four decimals.
func short[A ~string](a A) string {
	if whole, decimals, _ := strings.Cut(string(a), "."); len(decimals) <= 4 {
		return string(a)
	} else if f, err := strconv.ParseFloat(whole+"."+decimals, 64); err == nil {
		return strconv.FormatFloat(f, 'f', 4, 64)
	}
	return string(a)
}

// barWidth is how many characters the whole day's plan takes.
const barWidth = 40

// printSlots draws a line for each hour: a bar for what is spent, and a mark
// where the plan is. Without a plan there is nothing to say of hours of which no spend is known.
func printSlots(to io.Writer, p *admin.Pacing) error {
	most, last := 0.0, -1 // last is the quarter that shows where we are
	for i, s := range p.Slots {
		most = max(most, figure(s.Planned), figure(s.Spent))
		if s.Spent != "" {
			last = i
		}
	}
	planned := p.PlanOf != ""
	if len(p.Slots) == 0 || last < 0 && !planned {
		return nil
	}
	fmt.Fprintln(to)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "UNTIL\tPLAN\tSPENT\tDIFF\t")
	for i, s := range p.Slots {
		start, err := time.Parse(time.RFC3339, string(s.Start))
		if err != nil {
			return fmt.Errorf("slot %d: %w", i, err)
		}
		end := start.Add(15 * time.Minute)
		until, plan, diff := end.Format("15:04"), s.Planned, ""
		switch {
		case i == last && i+1 < len(p.Slots):
			until, plan = "now", p.PlannedToday
		case end.Minute() != 0 && i+1 < len(p.Slots), !planned && s.Spent == "":
			continue
		}
		if !planned {
			plan = ""
		} else if s.Spent != "" && most > 0 {
			diff = strconv.FormatFloat(100*(figure(s.Spent)-figure(plan))/most, 'f', 1, 64) + "%"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", until, short(plan), short(s.Spent), diff, bar(figure(s.Spent), plan, most))
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

// bar is spent as a bar, in which a stroke marks the plan, if there is one.
func bar(spent float64, plan admin.Amount, most float64) string {
	if most <= 0 {
		return ""
	}
	at := func(f float64) int { return int(math.Round(f / most * barWidth)) }
	line := []rune(strings.Repeat("█", at(spent)))
	if plan == "" {
		return string(line)
	}
	stroke := at(figure(plan))
	for len(line) <= stroke {
		line = append(line, ' ')
	}
	line[stroke] = '|'
	return strings.TrimRight(string(line), " ")
}
