package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bidwell/admin"
)

func newShadingReportCommand() *cobra.Command {
	return askCommand(&cobra.Command{
		Use:   "shading",
		Short: "Show what lowering bids in first-price auctions saves",
		Long: `Compare bids in first-price auctions that were lowered to what past wins and
losses say is needed with those of a control group, a random part of the bids
that is left as it is. It asks a running bidwell.`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) (*admin.Shading, error) {
		return c.Shading(cmd.Context())
	}, printShading)
}

func printShading(to io.Writer, s *admin.Shading) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BIDS\tOF THEM\tWON\tSPENT\tWORTH\tSURPLUS")
	for _, g := range []struct {
		name string
		*admin.ShadedBids
	}{{"shaded", &s.Shaded}, {"control", &s.Control}} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\n", g.name, g.Bids, g.Wins, short(g.Spend), short(g.Worth), short(g.Surplus))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if s.Saved == nil {
		_, err := fmt.Fprintln(to, "too few wins to compare: thirty in each group are needed")
		return err
	}
	_, err := fmt.Fprintf(to, "saved %.1f%% of the price for the same worth (%.1f%% to %.1f%%); a bid brings %.1f%% of its worth more (%.1f%% to %.1f%%)\n",
		100*s.Saved.Estimate, 100*s.Saved.Low, 100*s.Saved.High, 100*s.Surplus.Estimate, 100*s.Surplus.Low, 100*s.Surplus.High)
	return err
}
