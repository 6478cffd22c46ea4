package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/models"
)

// maturity is how late conversions are, as far as was learned.
func (l *learning) maturity() []models.Maturity {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.learner.Maturities()
}

func newMaturityReportCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "maturity",
		Short: "Show how late conversions are, by campaign",
		Long: `Show what part of the conversions is heard of within an hour, a day and a week
of the click, by campaign; and of the last clicks, 4,096 of all campaigns
together, how many conversions were heard of, how many should have been by now
and how many should be in the end, by the rates that bids are made by. Where a
campaign has few conversions it has the delays of all, and before there are any
what is usual. It asks a running bidwell.`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) (*admin.Maturities, error) {
		return c.Maturity(cmd.Context())
	}, printMaturity)
}

func printMaturity(to io.Writer, m *admin.Maturities) error {
	if m.All.Clicks == 0 {
		_, err := fmt.Fprintln(to, "no clicks yet")
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CAMPAIGN\tCLICKS\tCONVERSIONS\tIN AN HOUR\tA DAY\tA WEEK\tRECENT CLICKS\tCONVERSIONS\tDUE\tEXPECTED")
	for _, c := range append(m.Campaigns, m.All) {
		name := c.Campaign
		if name == "" {
			name = "all"
		}
		r := &c.Recent
		fmt.Fprintf(table, "%s\t%d\t%d\t%.1f%%\t%.1f%%\t%.1f%%\t%d\t%d\t%.1f\t%.1f\n",
			name, c.Clicks, c.Conversions, 100*c.WithinHour, 100*c.WithinDay, 100*c.WithinWeek, r.Clicks, r.Conversions, r.Due, r.Expected)
	}
	return table.Flush()
}
