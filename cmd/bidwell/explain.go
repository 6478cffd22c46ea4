package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bidwell/admin"
	"bidwell/rtb"
)

func newExplainCommand() *cobra.Command {
	var exchange string
	cmd := askCommand(&cobra.Command{
		Use:   "explain FILE",
		Short: "Say for every active line item why it does or does not bid on a request",
		Long: `Say for every active line item why it does or does not bid on the OpenRTB request in
FILE (- for standard input). It asks a running bidwell, which decides as it
would for the exchange and holds no money for it.`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *admin.Client, args []string) (*rtb.Explanation, error) {
		input, err := openInput(cmd, args[0])
		if err != nil {
			return nil, err
		}
		defer input.Close()
		request, err := io.ReadAll(io.LimitReader(input, 16<<20))
		if err != nil {
			return nil, err
		}
		if !json.Valid(request) {
			return nil, fmt.Errorf("explain: %s: not JSON", args[0])
		}
		e, err := c.Explain(cmd.Context(), exchange, request)
		return e, ofFile(args[0], err)
	}, printExplanation)
	cmd.Flags().StringVar(&exchange, "exchange", "generic", "exchange that the request came from")
	return cmd
}

func printExplanation(to io.Writer, e *rtb.Explanation) error {
	fmt.Fprintf(to, "%s: %s\nuser: %s\n", e.Exchange, e.Outcome, e.User)
	if len(e.Experiments) > 0 {
		fmt.Fprintf(to, "experiments that change its bids: %s\n", strings.Join(e.Experiments, "; "))
	}
	for _, imp := range e.Imps {
		fmt.Fprintf(to, "\nimp %q: %s, floor %s CPM\n", imp.ID, imp.Outcome, imp.FloorCPM)
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "RANK\tLINE ITEM\tCREATIVE\tSTAGE\tREASON\tPCTR\tPCVR\tVALUE CPM\tPRICE CPM\tDEAL")
		for _, l := range imp.LineItems {
			rank := ""
			if l.Rank > 0 {
				rank = fmt.Sprint(l.Rank)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
				rank, l.LineItem, l.Creative, l.Stage, l.Reason, likely(l.CTR), likely(l.CVR), l.ValueCPM, l.PriceCPM, l.Deal)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, l := range imp.LineItems {
			if l.Choice != "" && l.Rank > 0 {
				fmt.Fprintf(to, "%s shows %s of %d creatives: %s\n", l.LineItem, l.Creative, len(l.Creatives), l.Choice)
			}
		}
	}
	return nil
}

// likely is a probability in percent, nothing where it was not asked for.
func likely(p float64) string {
	if p <= 0 {
		return ""
	}
	return fmt.Sprintf("%.3f%%", 100*p)
}
